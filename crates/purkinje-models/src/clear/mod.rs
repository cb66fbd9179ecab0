//! CLEAR: a masked autoencoder of heartbeats whose sparse attention follows cardiac conduction
//! (arXiv 2512.24002, AAAI 2026).

mod config;
mod input;
mod masking;
mod network;
mod objective;

pub use config::{
    BEATS, ClearConfig, Compat, EncoderMask, LEADS, TABLE_ROWS, TOKEN_SAMPLES, TokenContext,
};
pub use input::{BatchError, ClearBatch};
pub use masking::Masking;
pub use network::{Clear, Encoded};
pub use objective::Reconstruction;
