//! The input of HuBERT-ECG: the concatenated leads of a recording, and which samples are real.

use super::config::HubertConfig;
pub use crate::batch::BatchError;
use crate::compat::Compat;

/// One recording: its concatenated leads.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HubertInput {
    /// Leads one after the other, decimated as the front end expects.
    pub samples: Vec<f32>,
    /// Which samples are real; `None` where all are.
    pub real: Option<Vec<bool>>,
}

/// Several recordings of equal length.
#[derive(Clone, Debug)]
pub struct HubertBatch {
    /// Recordings.
    pub size: usize,
    /// Samples of one.
    pub samples: usize,
    /// `[size, samples]`.
    pub values: Vec<f32>,
    /// Which samples are real `[size, samples]`; `None` where it is not known.
    pub real: Option<Vec<bool>>,
}

impl HubertBatch {
    /// A batch of recordings for a network of this configuration.
    ///
    /// # Errors
    /// When there is none, their lengths differ, a sample is not finite, or they are too short for one token.
    pub fn new(config: &HubertConfig, inputs: &[HubertInput]) -> Result<Self, BatchError> {
        let first = inputs.first().ok_or(BatchError::Empty)?;
        let samples = first.samples.len();
        let mut batch = HubertBatch {
            size: inputs.len(),
            samples,
            values: Vec::with_capacity(inputs.len() * samples),
            real: None,
        };
        for (position, input) in inputs.iter().enumerate() {
            let field = |field, problem| {
                Err(BatchError::Field {
                    position,
                    field,
                    problem,
                })
            };
            let found = input.samples.len();
            if found != samples {
                let problem = format!("has {found} values; the first recording has {samples}");
                return field("samples", problem);
            }
            if config.tokens(samples) == 0 {
                let least = config.reach().0;
                let problem = format!(
                    "has {samples} values, expected at least {least}, which the front end needs for one token"
                );
                return field("samples", problem);
            }
            if let Some(at) = input.samples.iter().position(|x| !x.is_finite()) {
                let problem = format!(
                    "is {} at {at}; repair the recording first",
                    input.samples[at]
                );
                return field("samples", problem);
            }
            if let Some(real) = &input.real
                && real.len() != samples
            {
                let problem = format!("has {} values for {samples} samples", real.len());
                return field("real", problem);
            }
            batch.values.extend_from_slice(&input.samples);
        }
        if inputs.iter().any(|input| input.real.is_some()) {
            let mut all = Vec::with_capacity(batch.values.len());
            for input in inputs {
                match &input.real {
                    Some(real) => all.extend_from_slice(real),
                    None => all.resize(all.len() + samples, true),
                }
            }
            batch.real = Some(all);
        }
        Ok(batch)
    }

    /// The same recordings with all samples treated as real.
    pub fn without_mask(&self) -> Self {
        HubertBatch {
            real: None,
            ..self.clone()
        }
    }

    /// Which tokens are of real samples `[size, tokens]`; `None` where the batch does not state which samples are real.
    ///
    /// [`Compat::Released`] does what the program does: as many tokens from the start as the front
    /// end makes of the *number* of real samples, so that padding at the end of every lead masks the last leads. A
    /// computed length of 0 keeps all tokens, one of -k all but the last k. [`Compat::Paper`] keeps a token if at least
    /// half of its samples are real, wherever they are. A recording without a real token keeps all.
    pub fn valid_tokens(&self, config: &HubertConfig) -> Option<Vec<bool>> {
        let real = self.real.as_ref()?;
        let tokens = config.tokens(self.samples);
        let mut all = Vec::with_capacity(self.size * tokens);
        for real in real.chunks_exact(self.samples) {
            match config.compat {
                Compat::Released => {
                    let kept = released_length(config, real.iter().filter(|r| **r).count(), tokens);
                    all.extend((0..tokens).map(|t| t < kept));
                }
                Compat::Paper => {
                    let (reach, step) = config.reach();
                    let before = all.len();
                    all.extend((0..tokens).map(|t| {
                        let under = &real[t * step..t * step + reach];
                        2 * under.iter().filter(|r| **r).count() >= reach
                    }));
                    if !all[before..].contains(&true) {
                        all[before..].fill(true);
                    }
                }
            }
        }
        Some(all)
    }
}

/// Number of tokens that the program keeps for a number of real samples.
fn released_length(config: &HubertConfig, real: usize, tokens: usize) -> usize {
    let layers = config.conv_kernel.iter().zip(&config.conv_stride);
    // Lengths go below zero for short inputs, and divisions round down.
    let length = layers.fold(real as i64, |length, (&kernel, &stride)| {
        (length - kernel as i64).div_euclid(stride as i64) + 1
    });
    let tokens = tokens as i64;
    let kept = if length <= 0 { tokens + length } else { length };
    kept.clamp(0, tokens) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(real: Vec<bool>, config: &HubertConfig) -> HubertBatch {
        let input = HubertInput {
            samples: vec![0.5; real.len()],
            real: Some(real),
        };
        HubertBatch::new(config, &[input]).unwrap()
    }

    #[test]
    fn padding_at_the_end_of_leads_hides_the_tokens_under_it_or_the_last_leads() {
        // A fifth of each lead is padding.
        let real: Vec<bool> = (0..6000).map(|i| i % 500 < 400).collect();
        let paper = HubertConfig::base();
        let valid = batch(real.clone(), &paper).valid_tokens(&paper).unwrap();
        for (token, valid) in valid.iter().enumerate() {
            let under = (64 * token..64 * token + 82).filter(|i| i % 500 < 400);
            assert_eq!(*valid, under.count() >= 41, "{token}");
        }
        assert!(valid[92 - 6] && valid.iter().filter(|v| !**v).count() >= 12);
        let released = HubertConfig {
            compat: Compat::Released,
            ..paper
        };
        let valid = batch(real, &released).valid_tokens(&released).unwrap();
        let kept = released.tokens(4800);
        assert!(valid.iter().enumerate().all(|(t, v)| *v == (t < kept)));
    }

    #[test]
    fn edge_cases_of_the_program_are_kept() {
        let config = HubertConfig {
            compat: Compat::Released,
            ..HubertConfig::base()
        };
        // No real sample gives a length of -1: all tokens but the last.
        assert_eq!(released_length(&config, 0, 93), 92);
        assert_eq!(released_length(&config, 6000, 93), 93);
        assert_eq!(released_length(&config, 82, 93), 1);
        let zero = (1..82).find(|n| released_length(&config, *n, 93) == 93);
        assert!(zero.is_some());
        let paper = HubertConfig::base();
        let none = batch(vec![false; 6000], &paper).valid_tokens(&paper);
        assert_eq!(none.unwrap(), vec![true; 93]);
    }

    #[test]
    fn recordings_that_do_not_fit_are_named() {
        let config = HubertConfig::base();
        let input = |n| HubertInput {
            samples: vec![0.0; n],
            real: None,
        };
        assert_eq!(
            HubertBatch::new(&config, &[]).unwrap_err(),
            BatchError::Empty
        );
        for (inputs, part) in [
            (vec![input(81)], "at least 82"),
            (vec![input(100), input(101)], "recording 1"),
            (
                vec![HubertInput {
                    samples: vec![f32::NAN; 100],
                    real: None,
                }],
                "NaN at 0",
            ),
            (
                vec![HubertInput {
                    samples: vec![0.0; 100],
                    real: Some(vec![true]),
                }],
                "`real` has 1",
            ),
        ] {
            let error = HubertBatch::new(&config, &inputs).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
