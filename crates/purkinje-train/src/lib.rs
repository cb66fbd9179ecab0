//! placeholder
pub mod run_log;
pub mod schedule;
pub mod tensorboard;
