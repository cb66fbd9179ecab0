//! The decoder of R2Gen: a transformer with a relational memory of what was written, which sets the norms of its layers.

mod config;
mod network;
mod report;

pub use config::R2GenConfig;
pub use network::{R2Gen, R2GenState};
pub use report::{R2GenReport, R2GenReportConfig};
