//! D-BETA (Pham, Saeed, Ma, ICML 2025): an encoder of recordings and one of their reports, pre-trained together on masked words,
//! masked stretches of signal, matching, and a sigmoid loss between the two vectors.

mod config;
mod heads;
mod input;
mod network;
mod objective;
mod published;

pub use config::{Convolutions, DbetaConfig, EcgConfig, POSITION_TABLE, Part};
pub use heads::{DbetaClassifier, LINEAR, Pool, mean_of_entries};
pub use input::{DbetaBatch, Dropping};
pub use network::{Dbeta, Fused, Masked, TEXT};
pub use objective::{EtsReduction, Losses, Pairs, SignalTarget, ets, signal_targets};
