//! The decoder of R2Gen (Chen et al., Generating Radiology Reports via Memory-driven Transformer, EMNLP 2020): a transformer with a
//! relational memory of what was written, which sets the norms of its layers.

mod config;
mod network;

pub use config::R2GenConfig;
pub use network::{R2Gen, R2GenState};
