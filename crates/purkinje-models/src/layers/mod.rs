//! Layers used by all systems. On the CPU they run as fused kernels, elsewhere as plain tensor operations.

mod attention;
mod batch_norm;
mod batch_norm_kernels;
mod block;
mod cache;
mod context;
mod conv;
mod cpu;
mod cross_entropy;
mod dropout;
pub(crate) mod init;
mod kernels;
mod linear;
mod norm;
mod resnet1d;
#[cfg(test)]
mod twins;
pub mod update;
pub(crate) mod vit1d;
mod weights;

pub use attention::{
    Attending, AttentionWeights, Projection, attention, attention_weights, attention_weights_with,
    attention_with, causal_mask,
};
pub(crate) use attention::{Projected, mix};
pub use batch_norm::{BatchNorm, BatchNormWeights, batch_norm, conv1d_batch_norm};
pub use block::{BlockDropout, BlockSettings, BlockWeights, post_norm_block, pre_norm_block};
pub use cache::KeyValues;
pub(crate) use cache::reordered;
pub use context::{Context, Trace};
pub(crate) use conv::kernel_norm;
pub use conv::{Convolution, channel_norm, conv1d, weight_norm};
pub(crate) use cpu::log_softmax;
pub use cross_entropy::linear_cross_entropy;
pub use dropout::{DropoutMask, dropout};
pub use linear::{Activation, linear, linear_input_first, linear_map, quick_gelu};
pub use norm::{add_layer_norm, layer_norm, rms_norm};
pub use resnet1d::ResNetConfig;
pub use vit1d::VitConfig;
pub use weights::{HandedBack, Parameter, WeightError, Weights};
