//! Reports in words: what writes them from vectors of recordings, its training, and how good they are.
//!
//! Any encoder can have a [`Writer`]: a decoder that attends to the vector of the recording, or to its vectors at a level. The encoder does not
//! change while the writer learns.

mod baselines;
mod decoder;
mod evaluate;
mod labels;
mod objective;
mod page;
mod pairs;
mod table;
mod train;
mod write;

use std::path::Path;

use burn::tensor::{Tensor, TensorData};
use purkinje_models::checkpoint::ReadWriter;
use purkinje_models::decoding::Decoding;
use purkinje_models::layers::{Context, Weights};
use purkinje_models::writing::{ReportWriter, WriterConfig};
use purkinje_text::Tokenizer;
use serde::{Deserialize, Serialize};

pub use self::baselines::{Baseline, baselines};
pub use self::decoder::DecoderKind;
pub use self::evaluate::{
    Evaluated, Group, Judged, Judging, Row, evaluate_reports, scores_of_pairs,
};
pub use self::labels::{LabelRow, Labelling};
pub use self::page::page_of;
pub use self::table::{read_pairs, write_table};
pub use self::train::{Select, TrainOptions, TrainedWriter, train_writer};
pub use self::write::{WrittenReport, picture, write_reports};

use crate::system::Level;
use crate::{Device, Error, Result};

/// What stands beside every generated report.
pub const SENTENCE: &str =
    "Reports are generated text, not findings. Research use only, not a medical device.";

/// What a writer is, and what it learned from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WriterAbout {
    /// Its sizes.
    pub network: WriterConfig,
    /// Word pieces of the longest report, its start included.
    pub max_tokens: usize,
    /// The vector of a recording it is written from, where the encoder has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature: Option<String>,
    /// The level of the vectors it is written from.
    #[serde(default = "of_recordings")]
    pub level: Level,
    /// The store it learned from, by its name.
    pub data: String,
    /// The text column.
    pub text: String,
    /// Reports it learned from.
    pub reports: usize,
    /// How many of them are in which language; the empty name stands for those of which that is not known.
    pub languages: Vec<(String, usize)>,
}

fn of_recordings() -> Level {
    Level::Recording
}

impl WriterAbout {
    /// What it learned from, in a sentence.
    pub fn told(&self) -> String {
        if self.reports == 0 {
            return format!(
                "What writes its reports was published with `{}`; see there which texts it learned from.",
                self.data
            );
        }
        let languages = self.languages.iter().map(|(name, count)| {
            let name = if name.is_empty() { "unknown" } else { name };
            format!("{name} {count}")
        });
        format!(
            "Its reports were learned from {} texts `{}` of {} (by language: {}).",
            self.reports,
            self.text,
            self.data,
            crate::keys::joined(languages, ", ")
        )
    }
}

/// Writes reports from vectors of recordings.
#[derive(Clone, Debug)]
pub struct Writer {
    about: WriterAbout,
    network: ReportWriter,
    tokenizer: Tokenizer,
    start: u32,
}

/// How reports are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WriteOptions {
    /// Sequences followed at a time; 1 for the most likely word piece at each step.
    pub beams: usize,
    /// What sums of log-probabilities are divided by: the number of word pieces to this power.
    pub length_penalty: f64,
    /// Word pieces of the longest report, its start included; as long as it learned if open.
    pub max_tokens: Option<usize>,
    /// Recordings that are written at once.
    pub batch: usize,
}

impl Default for WriteOptions {
    fn default() -> Self {
        WriteOptions {
            beams: 3,
            length_penalty: 1.0,
            max_tokens: None,
            batch: 16,
        }
    }
}

/// A written report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Its text.
    pub report: String,
    /// What it was chosen by: the sum of the log-probabilities of its word pieces, divided by their number to the power of the length
    /// penalty.
    pub score: f64,
    /// Its word pieces, its end included.
    pub tokens: usize,
    /// Whether it was cut at the limit.
    pub cut: bool,
}

impl Writer {
    /// A writer of its parts.
    ///
    /// # Errors
    /// When they do not fit each other.
    pub fn new(about: WriterAbout, weights: Weights, tokenizer: Tokenizer) -> Result<Self> {
        about.network.validate().map_err(Error::invalid)?;
        let rows = about.network.decoder.vocabulary();
        let largest = tokenizer.largest_id() as usize;
        if largest >= rows {
            return Err(Error::invalid(format!(
                "the tokenizer of the writer has ids up to {largest}, its table {rows} rows: it is that of another model"
            )));
        }
        let start = tokenizer.start().ok_or_else(|| {
            Error::invalid(
                "the tokenizer of the writer has no mark that begins a text ([BOS] or <s>)",
            )
        })?;
        let network = ReportWriter::new(about.network.clone(), weights)?;
        Ok(Writer {
            about,
            network,
            tokenizer,
            start,
        })
    }

    /// What a model folder has of it.
    pub(crate) fn read(own: ReadWriter, folder: &Path, device: &Device) -> Result<Self> {
        let about: WriterAbout = serde_json::from_value(own.config).map_err(|error| {
            Error::invalid(format!("`writer.json` does not describe a writer: {error}"))
        })?;
        let mut weights = Weights::default();
        for (name, tensor) in own.weights {
            weights.insert(name, &tensor.shape, tensor.data, device.inner());
        }
        let origin = folder.join("writer-tokenizer.json").display().to_string();
        Writer::new(
            about,
            weights,
            Tokenizer::from_json(own.tokenizer, &origin)?,
        )
    }

    /// What it is.
    pub fn about(&self) -> &WriterAbout {
        &self.about
    }

    /// Its parameters.
    pub fn weights(&self) -> &Weights {
        self.network.weights()
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The reports of recordings with these vectors, those of a recording one after another. A report does not depend on those that are
    /// written beside it.
    ///
    /// # Errors
    /// When the options do not fit the decoder, or vectors have another length.
    pub fn write(
        &self,
        vectors: &[Vec<f32>],
        options: &WriteOptions,
        device: &Device,
    ) -> Result<Vec<Report>> {
        let width = self.about.network.width;
        let whole = |own: &&Vec<f32>| own.is_empty() || !own.len().is_multiple_of(width);
        if let Some(found) = vectors.iter().find(whole) {
            return Err(Error::invalid(format!(
                "a recording has {} numbers, the writer expects vectors of {width}",
                found.len()
            )));
        }
        let how = Decoding {
            beams: options.beams,
            max_tokens: options.max_tokens.unwrap_or(self.about.max_tokens),
            start: self.start,
            end: self.tokenizer.end(),
            finish: self.about.network.decoder.finish(options.length_penalty),
        };
        let ctx = Context::inference(device.inner());
        let mut reports = Vec::with_capacity(vectors.len());
        let alike = vectors.chunk_by(|a, b| a.len() == b.len());
        for some in alike.flat_map(|own| own.chunks(options.batch.max(1))) {
            let shape = [some.len(), some[0].len() / width, width];
            let values = TensorData::new(some.concat(), shape);
            let vectors = Tensor::<3>::from_data(values, device.inner());
            let written = self.network.write(vectors, &how, &ctx);
            for own in written.map_err(|error| Error::invalid(error.to_string()))? {
                reports.push(Report {
                    report: self.tokenizer.text(&own.tokens)?.trim().to_owned(),
                    score: own.score,
                    tokens: own.tokens.len() - 1,
                    cut: own.tokens.last() != Some(&how.end),
                });
            }
        }
        Ok(reports)
    }
}
