//! Layers all systems share. On the CPU they run on fused kernels, elsewhere as plain tensor operations.

mod attention;
mod context;
mod cpu;
pub(crate) mod init;
mod kernels;
mod linear;
mod norm;
#[cfg(test)]
mod twins;
pub mod update;
mod weights;

pub use attention::{AttentionWeights, attention, attention_weights};
pub use context::{Context, Trace};
pub use linear::{Activation, linear};
pub use norm::{add_layer_norm, layer_norm};
pub use weights::{Parameter, WeightError, Weights};
