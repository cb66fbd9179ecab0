//! What happens to samples between a file and a model.
//!
//! - [`repair`] replaces missing samples, [`resample`] changes the rate, [`filter`] band-passes and decimates;
//! - [`Preprocess`] names all of that as one serialisable value, the contract that travels with
//!   every store and checkpoint, and applies it to a recording;
//! - [`signal_input`] crops and decimates leads, [`hubert_input`] lays them end to end first, as HuBERT-ECG wants its input;
//! - [`descriptors`] describes the pieces that its first iteration clusters;
//! - [`r_peaks`] finds R-peaks, [`beats`] cuts a recording into heartbeat tokens;
//! - [`quality`] says what is wrong with a recording before anybody trains on it.
//!
//! Filters and detector repeat the arithmetic of the reference programs sample by sample: the
//! result does not depend on the machine's vector width, so R-peak indices are the same everywhere.

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

pub use beats::{BeatTokens, Tokenizer};
pub use preprocess::{Prepared, Preparer, Preprocess, PreprocessError};
