//! From prepared rows to a signal `[lead, time]`: crop, decimate each lead, mark which samples are real.

use crate::beats::Sample;
use crate::filter::{Decimator, FilterError};
use crate::hubert_input::{CropError, attention, stretch};

/// A crop of a recording as input of networks that process every lead separately.
#[derive(Clone, Debug, PartialEq)]
pub struct SignalInput {
    /// Leads.
    pub leads: usize,
    /// `[lead, time]`; 0 where a sample is missing.
    pub samples: Vec<f32>,
    /// Which samples are real `[lead, time]`: not missing samples, and not zeros in all leads before the first and
    /// after the last other value, which are padding. `None` if not requested.
    pub real: Option<Vec<bool>>,
}

/// Makes inputs; reuse it for many recordings.
#[derive(Clone, Debug)]
pub struct SignalInputs {
    decimator: Option<Decimator>,
    marked: bool,
}

impl SignalInputs {
    /// With a factor by which every lead is decimated separately, or none.
    ///
    /// # Errors
    /// [`FilterError::Decimation`] for an impossible factor.
    pub fn new(decimation: Option<usize>) -> Result<Self, FilterError> {
        Ok(SignalInputs {
            decimator: decimation.map(Decimator::new).transpose()?,
            marked: false,
        })
    }

    /// Also marks which samples are real.
    pub fn marked(self) -> Self {
        SignalInputs {
            marked: true,
            ..self
        }
    }

    /// The crop of `samples` samples from `start` on: `rows` is `[lead, time]`, row-major, `leads` rows.
    ///
    /// # Errors
    /// See [`CropError`].
    pub fn crop<S: Sample>(
        &self,
        rows: &[S],
        leads: usize,
        start: usize,
        samples: usize,
    ) -> Result<SignalInput, CropError> {
        let mut signal = stretch(rows, leads, start, samples)?;
        let missing: Vec<usize> = (0..signal.len()).filter(|&i| signal[i].is_nan()).collect();
        for &index in &missing {
            signal[index] = 0.0;
        }
        let mut real = self.marked.then(|| attention(&signal, leads));
        if let Some(real) = &mut real {
            for index in missing {
                real[index] = false;
            }
        }
        if let Some(decimator) = &self.decimator {
            let each = signal.chunks_exact(samples).map(|row| decimator.apply(row));
            signal = each.collect::<Result<Vec<_>, _>>()?.concat();
            // The first of every `factor` samples is kept.
            let factor = decimator.factor();
            real = real.map(|real| {
                let rows = real.chunks_exact(samples);
                rows.flat_map(|row| row.iter().step_by(factor))
                    .copied()
                    .collect()
            });
        }
        Ok(SignalInput {
            leads,
            samples: signal.into_iter().map(|value| value as f32).collect(),
            real,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_samples_and_padding_are_not_real() {
        let rows = [0.0, 1.0, f64::NAN, 0.0, 4.0, 0.0, 0.0, 0.0, 2.0, 0.0];
        let inputs = SignalInputs::new(None).unwrap();
        let plain = inputs.crop(&rows, 2, 0, 5).unwrap();
        assert_eq!(
            plain.samples,
            [0.0, 1.0, 0.0, 0.0, 4.0, 0.0, 0.0, 0.0, 2.0, 0.0]
        );
        assert_eq!((plain.leads, plain.real), (2, None));
        let cut = inputs.marked().crop(&rows, 2, 0, 4).unwrap();
        assert_eq!(cut.samples, [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0]);
        let real = [false, true, false, true, false, true, true, true];
        assert_eq!(cut.real.unwrap(), real);
    }

    #[test]
    fn leads_are_decimated_each_for_itself() {
        let (leads, samples, factor) = (3, 301, 5);
        let rows: Vec<f32> = (0..leads * samples)
            .map(|k| ((k % samples) as f32 * 0.02 + (k / samples) as f32).sin())
            .collect();
        let inputs = SignalInputs::new(Some(factor)).unwrap().marked();
        let all = inputs.crop(&rows, leads, 0, samples).unwrap();
        assert_eq!(all.samples.len(), leads * 61);
        assert_eq!(all.real.unwrap().len(), leads * 61);
        for (lead, row) in rows.chunks_exact(samples).enumerate() {
            let alone = inputs.crop(row, 1, 0, samples).unwrap();
            assert_eq!(alone.samples, all.samples[lead * 61..][..61]);
        }
    }

    #[test]
    fn impossible_crops_are_refused() {
        let inputs = SignalInputs::new(Some(5)).unwrap();
        let rows = [0.5f32; 60];
        for (leads, start, samples) in [(2, 1, 30), (2, 0, 0), (2, 0, 20), (0, 0, 1), (7, 0, 1)] {
            assert!(inputs.crop(&rows, leads, start, samples).is_err());
        }
        assert!(SignalInputs::new(Some(0)).is_err());
    }
}
