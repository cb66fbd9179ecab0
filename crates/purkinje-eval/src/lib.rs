//! Evaluation of models: metrics, intervals, label fractions, linear probes, result tables.
//!
//! From embeddings to a table of results:
//!
//! ```text
//! embeddings --probe--> scores [record, class] --evaluate_split--> TaskMetrics --report--> table
//!                                                    metrics + bootstrap
//! ```
//!
//! - [`evaluate_split`] is the main function: scores, labels and patients in, [`TaskMetrics`] out.
//! - [`metrics`] holds the definitions (AUROC, average precision, F1, calibration, ...).
//! - [`multi_class`] evaluates mutually exclusive classes, [`challenge`] computes the score of the Challenge of 2020/21,
//!   [`crops`] aggregates the scores of several crops of a recording.
//! - [`survival`] evaluates scores against right-censored times to an event.
//! - [`bootstrap`] resamples patients (by default) for 95 % intervals and paired differences.
//! - [`probe`] fits the linear probe, by which the protocol evaluates encoders.
//! - [`fraction`] samples label fractions as the published programs do.
//! - [`text`] scores generated reports against written ones (BLEU, ROUGE-L, METEOR, CIDEr, negated findings).
//! - [`report`] holds results with everything needed to interpret them, including the row of the same encoder with random weights.
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
pub mod text;

pub use error::EvalError;
pub use evaluate::{
    ClassMetrics, ClassRanking, EvaluateOptions, FEW_POSITIVES, MacroMetrics, RankingMetrics,
    TaskMetrics, best_thresholds, evaluate_split,
};
