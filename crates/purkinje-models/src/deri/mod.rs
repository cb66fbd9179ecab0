//! DERI (Chen et al., IJCAI 2025): recordings and reports, aligned at several levels, each decoded from the other.

mod config;
mod initial;
mod network;
mod objective;

pub use config::{DecoderConfig, DeriConfig};
pub use network::{Deri, DeriBatch, DeriInput, Pass, Views};
pub use objective::{DeriLosses, Weighted, contrastive, top};
