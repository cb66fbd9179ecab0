//! Hand-crafted descriptors (features) of HuBERT-ECG's first iteration: one row for each of the 93 tokens of a
//! recording.
//!
//! Source: the published program of HuBERT-ECG. Rows are clustered to cluster indices. The released program computes
//! some of them in unintended ways; [`Choices`] lists these with their corrections, [`Choices::paper`] and
//! [`Choices::released`] are the two sets.

mod cepstra;
mod pieces;
mod time_frequency;

use serde::{Deserialize, Serialize};

use crate::beats::Sample;
use crate::filter::FilterError;
use crate::hubert_input::CROP_SAMPLES;
use cepstra::Cepstra;
pub use cepstra::{CEPSTRA, COEFFICIENTS, FILTERS};
use pieces::Pieces;
use time_frequency::TimeFrequency;
pub use time_frequency::{NAMES, TIME_FREQUENCY};

/// Rows of a recording: as many as the network has tokens.
pub const TOKENS: usize = 93;

/// Leads of a recording.
pub const LEADS: usize = 12;

/// The kind of descriptors in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Sixteen numbers on amplitude, shape and spectrum ([`NAMES`]).
    TimeFrequency,
    /// Thirteen cepstra, their first and their second differences.
    Cepstra,
    /// The sixteen, followed by the thirteen cepstra.
    Mixed,
}

impl Kind {
    /// Width of a row.
    pub fn width(self) -> usize {
        match self {
            Kind::TimeFrequency => TIME_FREQUENCY,
            Kind::Cepstra => CEPSTRA,
            Kind::Mixed => TIME_FREQUENCY + COEFFICIENTS,
        }
    }
}

/// The rate at which pieces are analysed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AnalysisRate {
    /// Pieces of 32 samples.
    #[serde(rename = "50")]
    Hz50,
    /// Pieces of 64 samples: the rate of the published models.
    #[default]
    #[serde(rename = "100")]
    Hz100,
    /// Pieces of 322 samples.
    #[serde(rename = "500")]
    Hz500,
}

impl AnalysisRate {
    /// The rate in hertz; `None` for others than 50, 100 and 500.
    pub fn from_hz(rate_hz: u32) -> Option<Self> {
        match rate_hz {
            50 => Some(AnalysisRate::Hz50),
            100 => Some(AnalysisRate::Hz100),
            500 => Some(AnalysisRate::Hz500),
            _ => None,
        }
    }

    /// In hertz.
    pub fn hz(self) -> u32 {
        match self {
            AnalysisRate::Hz50 => 50,
            AnalysisRate::Hz100 => 100,
            AnalysisRate::Hz500 => 500,
        }
    }

    /// Samples of a piece.
    pub fn piece_samples(self) -> usize {
        match self {
            AnalysisRate::Hz50 => 32,
            AnalysisRate::Hz100 => 64,
            AnalysisRate::Hz500 => 322,
        }
    }
}

/// The departures of the released program from the paper, one field for each (docs/differences.md, 13.3 to 13.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct Choices {
    /// Start of pieces.
    pub layout: Layout,
    /// Treatment of missing samples.
    pub missing: Missing,
    /// The value of undefined descriptors.
    pub undefined: Undefined,
    /// The band of the cepstra's filters.
    pub band: Band,
    /// The frames over which differences of cepstra are computed.
    pub differences: Differences,
}

/// Start of pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// At the start of the tokens.
    Tokens,
    /// Leads are trimmed first, so that pieces begin 20 to 460 ms after their tokens (released).
    Trimmed,
}

/// Treatment of missing samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// Replaced by the mean of all others before filtering, as in the network's input.
    Mended,
    /// Filtered, which makes their whole lead missing, and replaced afterwards (released).
    Spread,
}

/// The value of skewness, kurtosis and crest factor of a constant piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undefined {
    /// 0.
    Zero,
    /// NaN (released), on which clustering fails.
    NotANumber,
}

/// The band of the cepstra's filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Band {
    /// From 0.5 Hz to 40 Hz, or to 0.8 of half the rate where that is less: the band that decimation leaves.
    Signal,
    /// From 20 Hz, the preset for speech, to half the rate, where an ECG has no energy; filters, transform and lifter
    /// in single precision (released).
    Speech,
}

/// The frames over which differences of cepstra are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Differences {
    /// Neighbouring tokens.
    Neighbours,
    /// Only the frame of the piece itself, so that they are all zero (released).
    OneFrame,
}

impl Choices {
    /// The paper's intention.
    pub fn paper() -> Self {
        Choices {
            layout: Layout::Tokens,
            missing: Missing::Mended,
            undefined: Undefined::Zero,
            band: Band::Signal,
            differences: Differences::Neighbours,
        }
    }

    /// The released program.
    pub fn released() -> Self {
        Choices {
            layout: Layout::Trimmed,
            missing: Missing::Spread,
            undefined: Undefined::NotANumber,
            band: Band::Speech,
            differences: Differences::OneFrame,
        }
    }
}

impl Default for Choices {
    fn default() -> Self {
        Choices::paper()
    }
}

/// Why descriptors cannot be computed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptorError {
    /// The samples are not twelve leads of at least five seconds.
    #[error(
        "found {samples} samples, expected {LEADS} leads of at least {CROP_SAMPLES} samples each (five seconds at 500 Hz); leave the recording out"
    )]
    Shape {
        /// Samples found.
        samples: usize,
    },
    /// All samples are missing.
    #[error("all samples of the first five seconds are missing: leave the recording out")]
    AllMissing,
    /// An infinite sample.
    #[error("the first five seconds have an infinite sample; check how the recording was scaled")]
    Infinite,
    /// The leads cannot be decimated.
    #[error(transparent)]
    Filter(#[from] FilterError),
}

/// Computes descriptors; reuse it for many recordings, since transforms are planned once and buffers reused.
#[derive(Clone, Debug)]
pub struct Descriptors {
    kind: Kind,
    pieces: Pieces,
    time_frequency: TimeFrequency,
    cepstra: Cepstra,
    choices: Choices,
}

impl Descriptors {
    /// Descriptors of a kind, at a rate, with these choices.
    ///
    /// # Errors
    /// [`FilterError`] if the leads cannot be decimated to the rate, which is possible for all three rates.
    pub fn new(kind: Kind, rate: AnalysisRate, choices: Choices) -> Result<Self, FilterError> {
        Ok(Descriptors {
            kind,
            pieces: Pieces::new(rate, choices.layout, choices.missing)?,
            time_frequency: TimeFrequency::new(rate.piece_samples(), choices.undefined),
            cepstra: Cepstra::new(rate, choices.band),
            choices,
        })
    }

    /// Width of a row.
    pub fn width(&self) -> usize {
        self.kind.width()
    }

    /// The descriptors of a recording: `[93, width]`.
    ///
    /// `rows` is `[lead, time]` at 500 Hz in the form of the `hubert` contract; the first five seconds are used.
    ///
    /// # Errors
    /// See [`DescriptorError`].
    pub fn of<S: Sample>(&mut self, rows: &[S]) -> Result<Vec<f32>, DescriptorError> {
        let mut out = Vec::new();
        self.extend(rows, &mut out)?;
        Ok(out)
    }

    /// As [`Descriptors::of`], appended to `out`; on an error `out` is unchanged.
    ///
    /// # Errors
    /// See [`DescriptorError`].
    pub fn extend<S: Sample>(
        &mut self,
        rows: &[S],
        out: &mut Vec<f32>,
    ) -> Result<(), DescriptorError> {
        let (flat, starts, len) = self.pieces.of(rows)?;
        let width = self.kind.width();
        let from = out.len();
        out.resize(from + TOKENS * width, 0.0);
        let table = &mut out[from..];
        for (start, row) in starts.zip(table.chunks_exact_mut(width)) {
            let piece = &flat[start..start + len];
            match self.kind {
                Kind::TimeFrequency => self.time_frequency.write_row(piece, row),
                Kind::Cepstra => self.cepstra.write_row(piece, &mut row[..COEFFICIENTS]),
                Kind::Mixed => {
                    let (first, second) = row.split_at_mut(TIME_FREQUENCY);
                    self.time_frequency.write_row(piece, first);
                    self.cepstra.write_row(piece, second);
                }
            }
        }
        if self.kind == Kind::Cepstra && self.choices.differences == Differences::Neighbours {
            cepstra::append_differences(table);
        }
        Ok(())
    }

    /// The pieces that the rows of [`Descriptors::of`] describe, `[93, piece]`.
    ///
    /// # Errors
    /// See [`DescriptorError`].
    pub fn pieces<S: Sample>(&mut self, rows: &[S]) -> Result<Vec<f64>, DescriptorError> {
        let (flat, starts, len) = self.pieces.of(rows)?;
        Ok(starts
            .flat_map(|start| &flat[start..start + len])
            .copied()
            .collect())
    }

    /// The row of a single piece without neighbours, of any kind's width; differences of cepstra are 0.
    /// `None` for a piece that has another number of samples than [`AnalysisRate::piece_samples`].
    pub fn of_piece(&mut self, piece: &[f64]) -> Option<Vec<f32>> {
        if piece.len() != self.pieces.len() {
            return None;
        }
        let mut row = vec![0.0; self.kind.width()];
        match self.kind {
            Kind::TimeFrequency => self.time_frequency.write_row(piece, &mut row),
            Kind::Cepstra => self.cepstra.write_row(piece, &mut row[..COEFFICIENTS]),
            Kind::Mixed => {
                let (first, second) = row.split_at_mut(TIME_FREQUENCY);
                self.time_frequency.write_row(piece, first);
                self.cepstra.write_row(piece, second);
            }
        }
        Some(row)
    }

    /// The constants behind the cepstra.
    pub fn cepstral_constants(&self) -> CepstralConstants<'_> {
        self.cepstra.constants()
    }
}

/// Constants behind the cepstra, as they are used.
#[derive(Clone, Copy, Debug)]
pub struct CepstralConstants<'a> {
    /// Weights of the filters over the bins below half the rate, `[23, bins]`.
    pub filters: &'a [f64],
    /// Window, one value per sample.
    pub window: &'a [f64],
    /// Cosine transform from filters to coefficients, `[23, 13]`, without the lifter.
    pub transform: &'a [f64],
    /// Factor of every coefficient.
    pub lifter: &'a [f64],
}

#[cfg(test)]
mod tests;
