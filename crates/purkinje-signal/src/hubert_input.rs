//! From stored rows to the input of HuBERT-ECG's network: crop, fill missing samples, concatenate the leads, decimate,
//! mask.
//!
//! Source: the published program of HuBERT-ECG. Rows come in the form of the `hubert` contract (500 Hz, each lead from
//! -1 to 1). The leads are decimated *after* concatenation, as in the original, so the filter slightly mixes
//! neighbouring leads at their borders.

use crate::beats::Sample;
use crate::filter::{Decimator, FilterError};

/// Samples of one lead in a crop: five seconds at 500 Hz.
pub const CROP_SAMPLES: usize = 2500;

/// Samples of one lead in the longer window from which test-time augmentation takes its crops.
pub const LONG_CROP_SAMPLES: usize = 5000;

/// Factor of decimation in every published run: 500 Hz become 100 Hz.
pub const DECIMATION: usize = 5;

/// The input of the network for one crop.
#[derive(Clone, Debug, PartialEq)]
pub struct HubertInput {
    /// Lead after lead, `[lead * time]`.
    pub signal: Vec<f32>,
    /// For every sample, whether it is between the first and the last column with any value other than 0, after
    /// decimation as in the published program: ringing of the filter hides padding (see `docs/differences.md`, 13.2).
    pub attention: Vec<bool>,
    /// The same before decimation: whether the original sample is real and not padding.
    pub real: Vec<bool>,
}

/// Why a crop cannot be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CropError {
    /// The crop reaches beyond the end.
    #[error(
        "the row has {found} samples per lead, expected at least {samples} from sample {start} on; choose an earlier start, or leave the recording out"
    )]
    TooShort {
        /// Where the crop begins.
        start: usize,
        /// Its length.
        samples: usize,
        /// Samples per lead.
        found: usize,
    },
    /// It has another length than the network reads.
    #[error(
        "the row has {found} samples per lead, the network reads exactly {expected}; prepare recordings of that length, or leave the recording out"
    )]
    Length {
        /// Samples per lead.
        found: usize,
        /// What the network reads.
        expected: usize,
    },
    /// The number of samples is not a multiple of the leads.
    #[error("found {samples} samples for {leads} leads, expected leads x time, row by row")]
    Shape {
        /// Samples of all leads.
        samples: usize,
        /// Leads.
        leads: usize,
    },
    /// The crop cannot be decimated.
    #[error(transparent)]
    Filter(#[from] FilterError),
}

/// Makes inputs; reuse it for many rows.
#[derive(Clone, Debug)]
pub struct HubertInputs {
    decimator: Option<Decimator>,
}

impl HubertInputs {
    /// With a decimation factor, or none.
    ///
    /// # Errors
    /// [`FilterError::Decimation`] for an invalid factor.
    pub fn new(decimation: Option<usize>) -> Result<Self, FilterError> {
        let decimator = decimation.map(Decimator::new).transpose()?;
        Ok(HubertInputs { decimator })
    }

    /// The input of a crop of `samples` samples from `start` on: `rows` is `[lead, time]`, row-major, `leads` rows.
    ///
    /// Plain crops start at 0; random ones anywhere from 0 to [`last_start`] inclusive.
    ///
    /// # Errors
    /// See [`CropError`].
    pub fn crop<S: Sample>(
        &self,
        rows: &[S],
        leads: usize,
        start: usize,
        samples: usize,
    ) -> Result<HubertInput, CropError> {
        let mut flat = stretch(rows, leads, start, samples)?;
        fill_with_mean(&mut flat);
        let mut real = attention(&flat, leads);
        let attention = match &self.decimator {
            None => real.clone(),
            Some(decimator) => {
                flat = decimator.apply(&flat)?;
                // The first of every `factor` samples is kept.
                real = real.into_iter().step_by(decimator.factor()).collect();
                attention(&flat, leads)
            }
        };
        Ok(HubertInput {
            attention,
            real,
            signal: flat.into_iter().map(|value| value as f32).collect(),
        })
    }
}

/// Samples `start..start + samples` of every lead, `[lead, time]`.
pub(crate) fn stretch<S: Sample>(
    rows: &[S],
    leads: usize,
    start: usize,
    samples: usize,
) -> Result<Vec<f64>, CropError> {
    if leads == 0 || !rows.len().is_multiple_of(leads) {
        return Err(CropError::Shape {
            samples: rows.len(),
            leads,
        });
    }
    let found = rows.len() / leads;
    let end = start.checked_add(samples).filter(|end| *end <= found);
    let (Some(end), true) = (end, samples > 0) else {
        return Err(CropError::TooShort {
            start,
            samples,
            found,
        });
    };
    Ok(rows
        .chunks_exact(found)
        .flat_map(|row| &row[start..end])
        .map(|value| value.to_f64())
        .collect())
}

/// The last sample at which a crop may start; `None` when the row is shorter than the crop.
pub fn last_start(len: usize, samples: usize) -> Option<usize> {
    len.checked_sub(samples)
}

/// Where crop `crop` of `crops` begins, spread evenly over a row of `len` samples; 0 for a single one and for a row that is
/// shorter than a crop of `samples`.
pub fn crop_start(len: usize, samples: usize, crop: usize, crops: usize) -> usize {
    let last = last_start(len, samples).unwrap_or(0);
    crop * last / crops.saturating_sub(1).max(1)
}

/// Columns `start..start + count` of a flat input `[lead * time]`, flat again: a crop of test-time augmentation.
///
/// # Errors
/// [`CropError::Shape`] and [`CropError::TooShort`].
pub fn columns(
    flat: &[f32],
    leads: usize,
    start: usize,
    count: usize,
) -> Result<Vec<f32>, CropError> {
    if leads == 0 || flat.is_empty() || !flat.len().is_multiple_of(leads) {
        return Err(CropError::Shape {
            samples: flat.len(),
            leads,
        });
    }
    let found = flat.len() / leads;
    match start.checked_add(count).filter(|end| *end <= found) {
        Some(end) => Ok(flat
            .chunks_exact(found)
            .flat_map(|row| &row[start..end])
            .copied()
            .collect()),
        None => Err(CropError::TooShort {
            start,
            samples: count,
            found,
        }),
    }
}

/// Replaces NaN by the mean of all other values; by 0 where there is none.
pub fn fill_with_mean(values: &mut [f64]) {
    let (sum, count) = values
        .iter()
        .filter(|value| !value.is_nan())
        .fold((0.0, 0usize), |(sum, count), value| {
            (sum + value, count + 1)
        });
    if count == values.len() {
        return;
    }
    let mean = if count == 0 { 0.0 } else { sum / count as f64 };
    values
        .iter_mut()
        .filter(|value| value.is_nan())
        .for_each(|value| *value = mean);
}

/// From the first to the last column with any value other than 0, the same for all leads.
pub(crate) fn attention(flat: &[f64], leads: usize) -> Vec<bool> {
    let len = flat.len() / leads;
    let used = |column: &usize| (0..leads).any(|lead| flat[lead * len + column] != 0.0);
    let first = (0..len).find(used);
    let last = (0..len).rev().find(used);
    let inside = |column: usize| {
        first
            .zip(last)
            .is_some_and(|(first, last)| (first..=last).contains(&column))
    };
    // Samples left over after division by the leads belong to no column.
    (0..flat.len())
        .map(|k| k < leads * len && inside(k % len.max(1)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crops_are_laid_end_to_end() {
        let inputs = HubertInputs::new(None).unwrap();
        let rows: Vec<f32> = (0..20).map(|k| k as f32).collect();
        let input = inputs.crop(&rows, 2, 3, 4).unwrap();
        assert_eq!(input.signal, [3.0, 4.0, 5.0, 6.0, 13.0, 14.0, 15.0, 16.0]);
        assert_eq!(input.attention, [true; 8]);
        assert_eq!(
            columns(&input.signal, 2, 1, 2).unwrap(),
            [4.0, 5.0, 14.0, 15.0]
        );
        assert_eq!(last_start(10, 4), Some(6));
        assert_eq!(last_start(3, 4), None);
    }

    #[test]
    fn what_is_missing_is_filled_and_padding_is_masked() {
        let inputs = HubertInputs::new(None).unwrap();
        let rows = [0.0, 1.0, f64::NAN, 0.0, 0.0, 3.0, 2.0, 0.0];
        let input = inputs.crop(&rows, 2, 0, 4).unwrap();
        assert_eq!(input.signal[2], 6.0 / 7.0);
        assert_eq!(
            input.attention,
            [false, true, true, false, false, true, true, false]
        );
        let silent = inputs.crop(&[f64::NAN; 8], 2, 0, 4).unwrap();
        assert_eq!(
            (silent.signal, silent.attention),
            (vec![0.0; 8], vec![false; 8])
        );
    }

    #[test]
    fn padding_is_seen_before_decimation_and_not_after_as_released() {
        // The last fifth of every lead is zeros.
        let rows: Vec<f64> = (0..12 * 2500)
            .map(|k| match k % 2500 < 2000 {
                true => (k as f64 * 0.01).sin() + 0.3,
                false => 0.0,
            })
            .collect();
        let inputs = HubertInputs::new(Some(DECIMATION)).unwrap();
        let input = inputs.crop(&rows, 12, 0, 2500).unwrap();
        let expected: Vec<bool> = (0..6000).map(|k| k % 500 < 400).collect();
        assert_eq!(input.real, expected);
        assert_eq!(input.attention, [true; 6000]);
        let whole = HubertInputs::new(None).unwrap();
        let input = whole.crop(&rows, 12, 0, 2500).unwrap();
        assert_eq!(input.real, input.attention);
        assert_eq!(
            input.attention.iter().filter(|real| **real).count(),
            12 * 2000
        );
    }

    #[test]
    fn crops_are_spread_evenly_over_the_recording() {
        let starts = |len, crops| -> Vec<usize> {
            (0..crops)
                .map(|c| crop_start(len, 2500, c, crops))
                .collect()
        };
        assert_eq!(starts(5000, 1), [0]);
        assert_eq!(starts(5000, 3), [0, 1250, 2500]);
        assert_eq!(starts(2500, 2), [0, 0]);
        assert_eq!(starts(100, 2), [0, 0]);
    }

    #[test]
    fn impossible_crops_are_refused() {
        let inputs = HubertInputs::new(Some(DECIMATION)).unwrap();
        let rows = [0.5f32; 60];
        assert_eq!(inputs.crop(&rows, 2, 0, 30).unwrap().signal.len(), 12);
        for (leads, start, samples) in [
            (2, 1, 30),
            (2, usize::MAX, 30),
            (2, 0, 0),
            (2, 0, 13),
            (0, 0, 1),
            (7, 0, 1),
        ] {
            assert!(inputs.crop(&rows, leads, start, samples).is_err());
        }
        assert!(columns(&rows, 2, 29, 2).is_err() && columns(&[], 2, 0, 0).is_err());
        assert!(HubertInputs::new(Some(0)).is_err());
    }
}
