//! The input of the encoder of recordings, and which of its tokens training hides.

use super::config::{DbetaConfig, LEADS};
use crate::batch::BatchError;
use crate::paired::Signal;

/// Several recordings of equal length.
#[derive(Clone, Debug)]
pub struct DbetaBatch {
    /// Recordings.
    pub size: usize,
    /// Samples of a lead.
    pub samples: usize,
    /// `[size, leads, samples]`.
    pub values: Vec<f32>,
}

impl DbetaBatch {
    /// A batch of recordings of twelve leads for a network of this configuration.
    ///
    /// # Errors
    /// When there is none, their lengths differ, a sample is not finite, or they are too short for one token.
    pub fn new(config: &DbetaConfig, inputs: &[Signal]) -> Result<Self, BatchError> {
        let first = inputs.first().ok_or(BatchError::Empty)?;
        let all = first.samples.len();
        let samples = all / LEADS;
        for (position, input) in inputs.iter().enumerate() {
            let field = |problem| BatchError::Field {
                position,
                field: "samples",
                problem,
            };
            if input.samples.len() != all || !all.is_multiple_of(LEADS) {
                let found = input.samples.len();
                return Err(field(format!(
                    "has {found} values; expected {LEADS} leads of {samples} samples, as the first recording has"
                )));
            }
            if config.ecg.tokens(samples) == 0 {
                return Err(field(format!(
                    "has {samples} samples a lead, which is too short for one token"
                )));
            }
            if let Some(at) = input.samples.iter().position(|x| !x.is_finite()) {
                return Err(field(format!(
                    "is {} at {at}; repair the recording first",
                    input.samples[at]
                )));
            }
        }
        Ok(DbetaBatch {
            size: inputs.len(),
            samples,
            values: inputs
                .iter()
                .flat_map(|i| i.samples.iter().copied())
                .collect(),
        })
    }
}

/// Which tokens of each recording are left, in a random order, and where each token went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropping {
    /// Tokens of a recording.
    pub tokens: usize,
    /// Tokens that are left of each.
    pub kept: usize,
    /// `[recordings, tokens]`: all tokens in their new order, those that are left first.
    pub order: Vec<usize>,
    /// `[recordings, tokens]`: the place of each token in that order.
    pub restore: Vec<usize>,
}

impl Dropping {
    /// The order of `noise` `[recordings, tokens]`, from the smallest value.
    pub fn from_noise(noise: &[f32], tokens: usize, kept: usize) -> Self {
        let mut order = Vec::with_capacity(noise.len());
        let mut restore = vec![0; noise.len()];
        for (record, noise) in noise.chunks_exact(tokens.max(1)).enumerate() {
            let mut own: Vec<usize> = (0..tokens).collect();
            own.sort_by(|&a, &b| noise[a].total_cmp(&noise[b]));
            for (place, &token) in own.iter().enumerate() {
                restore[record * tokens + token] = place;
            }
            order.extend(own);
        }
        Dropping {
            tokens,
            kept,
            order,
            restore,
        }
    }

    /// Which tokens are hidden `[recordings, tokens]`.
    pub fn hidden(&self) -> impl Iterator<Item = bool> + '_ {
        self.restore.iter().map(|&place| place >= self.kept)
    }
}
