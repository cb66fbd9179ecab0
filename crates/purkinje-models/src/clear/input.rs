//! The input of CLEAR: standardised heartbeat tokens with their lead and time.

use purkinje_signal::beats::BeatTokens;

use super::config::{BEATS, TOKEN_SAMPLES};
pub use crate::batch::BatchError;

/// Several recordings with the same leads, standardised token by token.
#[derive(Clone, Debug)]
pub struct ClearBatch {
    /// Recordings.
    pub size: usize,
    /// Position of each lead block among the twelve standard leads (0 for I .. 11 for V6).
    pub leads: Vec<usize>,
    /// `[size, tokens, 96]`, each token with mean 0 and variance 1 over its samples.
    pub tokens: Vec<f32>,
    /// `[size, tokens]`.
    pub lead_index: Vec<u8>,
    /// `[size, tokens]`.
    pub time_index: Vec<u8>,
    /// `[size, tokens]`.
    pub padding: Vec<bool>,
}

impl ClearBatch {
    /// A batch of recordings.
    ///
    /// # Errors
    /// When there is none, their leads differ, or a field has the wrong length.
    pub fn new(inputs: &[BeatTokens]) -> Result<Self, BatchError> {
        let first = inputs.first().ok_or(BatchError::Empty)?;
        let count = first.lead_index.len();
        let mut batch = ClearBatch {
            size: inputs.len(),
            leads: first
                .lead_index
                .iter()
                .step_by(BEATS)
                .map(|&row| usize::from(row.max(1)) - 1)
                .collect(),
            tokens: Vec::with_capacity(inputs.len() * count * TOKEN_SAMPLES),
            lead_index: Vec::with_capacity(inputs.len() * count),
            time_index: Vec::with_capacity(inputs.len() * count),
            padding: Vec::with_capacity(inputs.len() * count),
        };
        for (position, input) in inputs.iter().enumerate() {
            if input.lead_index != first.lead_index {
                return Err(BatchError::Leads { position });
            }
            check(input, position)?;
            batch.lead_index.extend_from_slice(&input.lead_index);
            batch.time_index.extend_from_slice(&input.time_index);
            batch.padding.extend_from_slice(&input.padding);
            for token in input.samples.chunks_exact(TOKEN_SAMPLES) {
                standardise(token, &mut batch.tokens);
            }
        }
        Ok(batch)
    }

    /// Tokens of one recording.
    pub fn token_count(&self) -> usize {
        self.leads.len() * BEATS
    }
}

fn check(input: &BeatTokens, position: usize) -> Result<(), BatchError> {
    let field = |field, problem| {
        Err(BatchError::Field {
            position,
            field,
            problem,
        })
    };
    let count = input.lead_index.len();
    if count == 0 || !count.is_multiple_of(BEATS) {
        return field(
            "lead_index",
            format!("has {count} entries; expected {BEATS} for each lead"),
        );
    }
    if input.lead_index.iter().any(|l| !(1..=12).contains(l)) {
        return field(
            "lead_index",
            "holds a value outside 1..=12, expected the index of a standard lead".into(),
        );
    }
    if input.time_index.iter().any(|t| *t > 15) {
        return field(
            "time_index",
            "holds a value above 15; the recording is longer than 15 s, shorten it first".into(),
        );
    }
    for (name, found, expected) in [
        ("samples", input.samples.len(), count * TOKEN_SAMPLES),
        ("time_index", input.time_index.len(), count),
        ("padding", input.padding.len(), count),
    ] {
        if found != expected {
            return field(name, format!("has {found} entries; expected {expected}"));
        }
    }
    Ok(())
}

/// Mean 0, variance 1 (divisor 95, plus 1e-6): relative amplitudes of beats and leads are lost.
fn standardise(token: &[f32], out: &mut Vec<f32>) {
    let n = token.len() as f64;
    let mean = token.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
    let square = |x: &f32| (f64::from(*x) - mean).powi(2);
    let variance = token.iter().map(square).sum::<f64>() / (n - 1.0);
    let scale = 1.0 / (variance + 1e-6).sqrt();
    out.extend(
        token
            .iter()
            .map(|x| ((f64::from(*x) - mean) * scale) as f32),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(leads: &[u8]) -> BeatTokens {
        let n = leads.len() * BEATS;
        BeatTokens {
            samples: (0..n * TOKEN_SAMPLES).map(|i| (i % 17) as f32).collect(),
            lead_index: leads.iter().flat_map(|l| [*l; BEATS]).collect(),
            time_index: vec![1; n],
            padding: vec![false; n],
            r_peaks: Vec::new(),
            detected: true,
        }
    }

    #[test]
    fn tokens_are_standardised_and_empty_slots_stay_zero() {
        let mut one = input(&[1]);
        one.samples[..TOKEN_SAMPLES].fill(0.0);
        let batch = ClearBatch::new(&[one]).unwrap();
        assert!(batch.tokens[..TOKEN_SAMPLES].iter().all(|x| *x == 0.0));
        let token = &batch.tokens[TOKEN_SAMPLES..2 * TOKEN_SAMPLES];
        let mean: f32 = token.iter().sum::<f32>() / 96.0;
        let var: f32 = token.iter().map(|x| x * x).sum::<f32>() / 95.0;
        assert!(mean.abs() < 1e-6 && (var - 1.0).abs() < 1e-4);
    }

    #[test]
    fn leads_must_agree_and_times_must_fit_the_table() {
        assert_eq!(ClearBatch::new(&[input(&[2, 8])]).unwrap().leads, [1, 7]);
        let mixed = ClearBatch::new(&[input(&[1, 2]), input(&[1])]);
        assert_eq!(mixed.unwrap_err(), BatchError::Leads { position: 1 });
        let mut late = input(&[1]);
        late.time_index[3] = 16;
        assert!(
            ClearBatch::new(&[late])
                .unwrap_err()
                .to_string()
                .contains("15 s")
        );
    }
}
