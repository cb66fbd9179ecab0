use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::EvalError;

/// Column-wise `(x - mean) / scale`, learnt on the training records and kept with the probe.
///
/// The scale is the standard deviation with divisor n (scikit-learn's `StandardScaler`); columns
/// that are constant up to rounding get scale 1 and so become 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standardizer {
    /// Mean of every column.
    pub mean: Vec<f64>,
    /// Scale of every column, greater than 0.
    pub scale: Vec<f64>,
}

impl Standardizer {
    /// The standardizer that changes nothing.
    pub fn identity(width: usize) -> Self {
        Self {
            mean: vec![0.0; width],
            scale: vec![1.0; width],
        }
    }

    /// Means and scales of `features`, `[records, width]` row-major.
    ///
    /// # Errors
    /// No records, no columns, an incomplete row, or a value that is not finite.
    pub fn fit(features: &[f32], width: usize) -> Result<Self, EvalError> {
        super::check_features(features, width)?;
        let records = (features.len() / width) as f64;
        let mean = column_sums(features, width, |value, _| value, &vec![0.0; width])
            .into_iter()
            .map(|sum| sum / records)
            .collect::<Vec<_>>();
        let squares = column_sums(features, width, |value, mean| (value - mean).powi(2), &mean);
        let scale = squares
            .into_iter()
            .zip(&mean)
            .map(|(sum, mean)| {
                let deviation = (sum / records).sqrt();
                // The mean of equal f64 values is off by at most n rounding errors.
                let rounding = records * f64::EPSILON * mean.abs();
                if deviation > rounding { deviation } else { 1.0 }
            })
            .collect();
        Ok(Self { mean, scale })
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.mean.len()
    }

    /// Standardizes one row into `out`, which may be longer.
    pub(crate) fn apply(&self, row: &[f32], out: &mut [f64]) {
        for (((out, &value), mean), scale) in
            out.iter_mut().zip(row).zip(&self.mean).zip(&self.scale)
        {
            *out = (f64::from(value) - mean) / scale;
        }
    }
}

/// Sum of `term(value, center of the column)` over the records; in a fixed order whatever the
/// number of threads.
fn column_sums(
    features: &[f32],
    width: usize,
    term: impl Fn(f64, f64) -> f64 + Sync,
    center: &[f64],
) -> Vec<f64> {
    let partial: Vec<Vec<f64>> = features
        .par_chunks(1024 * width)
        .map(|rows| {
            let mut sums = vec![0.0; width];
            for row in rows.chunks_exact(width) {
                for ((sum, &value), &center) in sums.iter_mut().zip(row).zip(center) {
                    *sum += term(f64::from(value), center);
                }
            }
            sums
        })
        .collect();
    let mut total = vec![0.0; width];
    for sums in partial {
        crate::sums::axpy(1.0, &sums, &mut total);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_get_mean_zero_and_deviation_one() {
        let features = [1.0, 0.1, -4.0, 3.0, 0.1, 8.0f32];
        let standardizer = Standardizer::fit(&features, 3).unwrap();
        assert_eq!(standardizer.mean, [2.0, f64::from(0.1f32), 2.0]);
        assert_eq!(standardizer.scale, [1.0, 1.0, 6.0]);
        let mut out = [0.0; 3];
        standardizer.apply(&features[..3], &mut out);
        assert_eq!(out, [-1.0, 0.0, -1.0]);
    }

    #[test]
    fn constant_columns_stay_safe_in_long_data() {
        let features = vec![1e6f32 / 3.0; 9999];
        assert_eq!(Standardizer::fit(&features, 1).unwrap().scale, [1.0]);
    }

    #[test]
    fn bad_features_are_named() {
        let error = Standardizer::fit(&[1.0, 2.0, f32::INFINITY, 4.0], 2).unwrap_err();
        assert!(error.to_string().contains("inf at record 1, column 0"));
        assert!(Standardizer::fit(&[1.0; 3], 2).is_err());
        assert!(Standardizer::fit(&[], 2).is_err());
        assert!(Standardizer::fit(&[1.0], 0).is_err());
    }
}
