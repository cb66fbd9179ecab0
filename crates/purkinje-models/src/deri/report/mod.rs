//! Reports written from recordings by a GPT-2 that attends to one token of the recording, encoder and decoder as one network under the names
//! of the released checkpoints.

mod gpt2;

pub use gpt2::{Gpt2Report, Gpt2ReportConfig};

/// What stands in front of the names of the encoder of recordings.
const ENCODER: &str = "encoder.";
/// The map from its vectors to the width of the decoder.
const HEAD: &str = "encoder.head";
