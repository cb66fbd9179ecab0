//! Processing of samples between a file and a model.
//!
//! - [`repair`] replaces missing samples, [`resample`] changes the rate, [`filter`] band-passes and decimates;
//! - [`Preprocess`] is the preprocessing contract: one serialisable value that describes all of this, is part of every store and checkpoint, and can be applied to a recording;
//! - [`signal_input`] crops and decimates leads, [`hubert_input`] concatenates them first, as HuBERT-ECG's input;
//! - [`descriptors`] computes the features that its first iteration clusters;
//! - [`r_peaks`] finds R-peaks, [`beats`] cuts a recording into heartbeat tokens;
//! - [`quality`] measures signal quality.
//!
//! Filters and detector reproduce the arithmetic of the reference programs sample by sample: the result does not depend
//! on the vector width of the CPU, so R-peak indices are the same everywhere.

#![deny(missing_docs)]

pub mod beats;
pub mod descriptors;
pub mod filter;
pub mod hubert_input;
pub mod preprocess;
pub mod quality;
pub mod r_peaks;
pub mod repair;
pub mod resample;
pub mod signal_input;
mod simd;
pub mod windows;

pub use beats::{BeatTokens, Tokenizer};
pub use preprocess::{Prepared, Preparer, Preprocess, PreprocessError};
pub use windows::Windows;
