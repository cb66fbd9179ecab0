//! Hand-made descriptors of HuBERT-ECG's first iteration: one row for each of the 93 tokens of a recording.
//!
//! Source: the published program of HuBERT-ECG. Rows are what clustering makes code indices of. The published
//! program computes some of them in ways nobody would choose; [`Choices`] names each of these ways beside what is
//! meant, [`Choices::paper`] and [`Choices::released`] are the two sets.

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

/// Which numbers a row holds.
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
    /// Numbers of a row.
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
    /// The rate of so many hertz; `None` for others than 50, 100 and 500.
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

/// Where the published program does not do what is meant, one field for each place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct Choices {
    /// Where pieces begin.
    pub layout: Layout,
    /// What becomes of missing samples.
    pub missing: Missing,
    /// What stands for a number that is not defined.
    pub undefined: Undefined,
    /// The band of the cepstra's filters.
    pub band: Band,
    /// What the cepstra's differences are taken over.
    pub differences: Differences,
}

/// Where pieces begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// Where the tokens begin.
    Tokens,
    /// Leads are trimmed first, so that pieces begin 20 to 460 ms behind their tokens (released).
    Trimmed,
}

/// What becomes of missing samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// They become the mean of all others before anything is filtered, as in the network's input.
    Mended,
    /// They are filtered, which makes their whole lead missing, and replaced then (released).
    Spread,
}

/// What stands for skewness, kurtosis and crest factor of a constant piece.
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
    /// From 0.5 Hz to 40 Hz, or to 0.8 of half the rate where that is less: what decimation leaves.
    Signal,
    /// From 20 Hz, the preset for speech, to half the rate, where nothing is left of an ECG; filters, transform
    /// and lifter in single precision (released).
    Speech,
}

/// What the cepstra's differences are taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Differences {
    /// Neighbouring tokens.
    Neighbours,
    /// The one frame of the piece itself: they are all zero (released).
    OneFrame,
}

impl Choices {
    /// What is meant.
    pub fn paper() -> Self {
        Choices {
            layout: Layout::Tokens,
            missing: Missing::Mended,
            undefined: Undefined::Zero,
            band: Band::Signal,
            differences: Differences::Neighbours,
        }
    }

    /// What the published program computes.
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

/// Why a recording has no descriptors.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptorError {
    /// The samples are no twelve leads of at least five seconds.
    #[error(
        "{samples} samples are no {LEADS} leads of at least {CROP_SAMPLES} samples each (five seconds at 500 Hz): leave the recording out"
    )]
    Shape {
        /// Samples found.
        samples: usize,
    },
    /// Nothing but missing samples.
    #[error("all samples of the first five seconds are missing: leave the recording out")]
    AllMissing,
    /// A sample that is no number of reasonable size.
    #[error("the first five seconds hold an infinite sample: check how the recording was scaled")]
    Infinite,
    /// The leads cannot be decimated.
    #[error(transparent)]
    Filter(#[from] FilterError),
}

/// Makes descriptors; keep one for many recordings: transforms are planned once, buffers reused.
#[derive(Clone, Debug)]
pub struct Descriptors {
    kind: Kind,
    pieces: Pieces,
    time_frequency: TimeFrequency,
    cepstra: Cepstra,
    choices: Choices,
}

impl Descriptors {
    /// Descriptors of a kind, at a rate, in one of the ways there are.
    ///
    /// # Errors
    /// [`FilterError`] if the leads could not be decimated to the rate; that of all three rates exists.
    pub fn new(kind: Kind, rate: AnalysisRate, choices: Choices) -> Result<Self, FilterError> {
        Ok(Descriptors {
            kind,
            pieces: Pieces::new(rate, choices.layout, choices.missing)?,
            time_frequency: TimeFrequency::new(rate.piece_samples(), choices.undefined),
            cepstra: Cepstra::new(rate, choices.band),
            choices,
        })
    }

    /// Numbers of a row.
    pub fn width(&self) -> usize {
        self.kind.width()
    }

    /// The descriptors of a recording: `[93, width]`.
    ///
    /// `rows` is `[lead, time]` at 500 Hz in the form of the `hubert` contract; the first five seconds count.
    ///
    /// # Errors
    /// See [`DescriptorError`].
    pub fn of<S: Sample>(&mut self, rows: &[S]) -> Result<Vec<f32>, DescriptorError> {
        let mut out = Vec::new();
        self.extend(rows, &mut out)?;
        Ok(out)
    }

    /// As [`Descriptors::of`], behind what `out` holds already; an error leaves it as it was.
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

    /// The pieces themselves, `[93, piece]`: what the rows of [`Descriptors::of`] describe.
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
    /// Window, one value a sample.
    pub window: &'a [f64],
    /// Cosine transform from filters to coefficients, `[23, 13]`, without the lifter.
    pub transform: &'a [f64],
    /// Factor of every coefficient.
    pub lifter: &'a [f64],
}

#[cfg(test)]
mod tests;
