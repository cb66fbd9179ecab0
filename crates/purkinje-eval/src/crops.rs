//! Aggregation of scores over several crops of a recording (test-time augmentation).

use serde::{Deserialize, Serialize};

use crate::EvalError;

/// How scores of crops are aggregated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    /// Their mean.
    #[default]
    Mean,
    /// Their maximum, as in all published runs of HuBERT-ECG. For mutually exclusive classes the maxima no longer sum
    /// to 1.
    Max,
}

/// Aggregates `scores` `[crop, record, class]` over `crops` crops to `[record, class]`.
///
/// # Errors
/// When `crops` is 0, or the number of scores is not a multiple of it.
pub fn aggregate(scores: &[f32], crops: usize, how: Aggregation) -> Result<Vec<f32>, EvalError> {
    if crops == 0 || !scores.len().is_multiple_of(crops) {
        return Err(EvalError::Setting {
            setting: "crops",
            found: format!("{crops} for {} scores", scores.len()),
            expected: "at least 1, each with as many scores",
        });
    }
    let each = scores.len() / crops;
    Ok((0..each)
        .map(|place| {
            let values = scores.iter().skip(place).step_by(each);
            match how {
                Aggregation::Mean => {
                    let sum: f64 = values.map(|v| f64::from(*v)).sum();
                    (sum / crops as f64) as f32
                }
                Aggregation::Max => values.fold(f32::NEG_INFINITY, |max, v| max.max(*v)),
            }
        })
        .collect())
}

/// Probabilities from logits as in the validation of HuBERT-ECG's released program: the sigmoid is applied to a batch
/// of `batch_records` records only if one of its values is outside 0 to 1, so that a batch of small logits is taken as
/// probabilities. Elsewhere in Purkinje the sigmoid is applied to all logits.
pub fn probabilities_released(logits: &[f32], classes: usize, batch_records: usize) -> Vec<f32> {
    let batch = classes.saturating_mul(batch_records).max(1);
    logits
        .chunks(batch)
        .flat_map(|batch| {
            let inside = batch.iter().all(|v| (0.0..=1.0).contains(v));
            batch.iter().map(move |v| match inside {
                true => *v,
                false => 1.0 / (1.0 + (-v).exp()),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crops_become_one_score() {
        let scores = [0.1, 0.8, 0.5, 0.2];
        assert_eq!(aggregate(&scores, 2, Aggregation::Max).unwrap(), [0.5, 0.8]);
        assert_eq!(
            aggregate(&scores, 2, Aggregation::Mean).unwrap(),
            [0.3, 0.5]
        );
        assert!(aggregate(&scores, 3, Aggregation::Max).is_err());
        assert!(aggregate(&scores, 0, Aggregation::Max).is_err());
    }

    #[test]
    fn small_logits_count_as_probabilities_as_released() {
        let found = probabilities_released(&[0.2, 0.9, 0.2, -2.0], 1, 2);
        assert_eq!(found[..2], [0.2, 0.9]);
        assert!((found[2] - 0.549834).abs() < 1e-6 && (found[3] - 0.1192029).abs() < 1e-6);
    }
}
