//! MERL (Liu et al., ICML 2024, arXiv 2403.06659): recordings and reports in one space, and two views of a recording.

mod config;
mod network;

pub use config::MerlConfig;
pub use network::Merl;
