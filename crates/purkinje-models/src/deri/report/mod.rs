//! Reports written from recordings: by a GPT-2 that attends to one token of the recording, or by the decoder of R2Gen (Chen et al.,
//! Generating Radiology Reports via Memory-driven Transformer, EMNLP 2020), which attends to all of its tokens.

mod gpt2;
mod r2gen;

pub use gpt2::{Gpt2Report, Gpt2ReportConfig};
pub use r2gen::{R2Gen, R2GenConfig, R2GenReport, R2GenReportConfig, R2GenState};

/// What stands in front of the names of the encoder of recordings.
const ENCODER: &str = "encoder.";
/// The map from its vectors to the width of the decoder.
const HEAD: &str = "encoder.head";
