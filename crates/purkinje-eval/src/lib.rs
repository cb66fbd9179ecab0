//! How good a model is: metrics, intervals, label fractions, linear probes, result tables.
//!
//! The way through this crate, from predictions to a table:
//!
//! ```text
//! embeddings --probe--> scores [record, class] --evaluate_split--> TaskMetrics --report--> table
//!                                                    metrics + bootstrap
//! ```
//!
//! - [`evaluate_split`] is the one driver: scores, labels and patients in, [`TaskMetrics`] out.
//! - [`metrics`] holds the definitions (AUROC, average precision, F1, calibration, ...).
//! - [`multi_class`] judges classes that exclude each other, [`challenge`] gives the score of the Challenge of 2020/21,
//!   [`crops`] joins the scores of several crops of a recording.
//! - [`survival`] compares scores with times to an event, of which some were not waited for.
//! - [`bootstrap`] resamples patients, never records, for 95 % intervals and paired differences.
//! - [`probe`] fits the linear probe, the protocol's way of judging an encoder.
//! - [`fraction`] draws label fractions as the published programs do.
//! - [`report`] keeps results with everything needed to read them, among it the row of the same
//!   encoder with random weights.
//!
//! Matrices are plain row-major slices: scores `[records, classes]` (`f32`), labels
//! `[records, classes]` (`bool`), features `[records, width]` (`f32`).

#![deny(missing_docs)]

pub mod bootstrap;
pub mod challenge;
pub mod crops;
mod error;
mod evaluate;
pub mod fraction;
pub mod metrics;
pub mod multi_class;
pub mod probe;
pub mod report;
mod sums;
pub mod survival;

pub use error::EvalError;
pub use evaluate::{
    ClassMetrics, EvaluateOptions, MacroMetrics, TaskMetrics, best_thresholds, evaluate_split,
};
