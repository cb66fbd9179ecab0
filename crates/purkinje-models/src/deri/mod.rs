//! DERI (Chen et al., IJCAI 2025): recordings and reports, aligned at several levels, each decoded from the other.

mod config;
mod network;
mod objective;
pub mod report;

pub use config::{DecoderConfig, DeriConfig, Feature};
pub use network::{Deri, Pass, Views};
pub use objective::DeriLosses;
