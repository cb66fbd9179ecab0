//! Label fractions: training on 1 %, 10 % or all labels, with the published sampling.
//!
//! All methods reproduce the random numbers of the original program, so a result at 1 % was trained on the same 170
//! records.

use purkinje_base::legacy_random::{numpy_permutation, python_sample, share_of, stratified_subset};
use serde::{Deserialize, Serialize};

use crate::EvalError;

/// How a label fraction is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FractionMethod {
    /// Records at random (`random.sample`); rare classes may be lost.
    Random,
    /// The fraction of every class, at least one record each; a record counts for the first of
    /// its labels only.
    Stratified,
    /// The last records of a random permutation, as scikit-learn's `train_test_split(train_size=...)` draws them and
    /// with it MERL and DERI (seed 42); rare classes may be lost.
    Permuted,
}

/// A label fraction with everything needed to sample it again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelFraction {
    /// Fraction of the training records, greater than 0 and at most 1.
    pub share: f64,
    /// How they are drawn.
    pub method: FractionMethod,
    /// Seed of the draw.
    pub seed: u32,
}

impl LabelFraction {
    /// All training records.
    pub const ALL: Self = Self {
        share: 1.0,
        method: FractionMethod::Random,
        seed: 0,
    };

    /// Indices of the chosen training records, in the order of the original program; all records in file order if the
    /// fraction is 1.
    ///
    /// `labels` is `[records, classes]`, row-major. `Random` and `Permuted` draw `floor(records * share)`
    /// records and do not look at the labels.
    ///
    /// # Errors
    /// A fraction outside (0, 1], a label matrix that is not `records x classes`, or a fraction
    /// that leaves no record.
    pub fn draw(&self, labels: &[bool], classes: usize) -> Result<Vec<usize>, EvalError> {
        if classes == 0 {
            return Err(EvalError::Empty {
                what: "The list of classes",
            });
        }
        let records = labels.len() / classes;
        crate::error::check_length("The label matrix", labels.len(), records * classes, || {
            format!("whole rows of {classes} classes")
        })?;
        if !(self.share > 0.0 && self.share <= 1.0) {
            return Err(EvalError::Setting {
                setting: "label fraction",
                found: self.share.to_string(),
                expected: "greater than 0 and at most 1",
            });
        }
        if self.share == 1.0 {
            return Ok((0..records).collect());
        }
        let chosen = match self.method {
            FractionMethod::Random => {
                python_sample(records, share_of(records, self.share), u64::from(self.seed))?
            }
            FractionMethod::Stratified => {
                stratified_subset(labels, classes, self.share, self.seed)?
            }
            FractionMethod::Permuted => numpy_permutation(records, self.seed)
                .split_off(records - share_of(records, self.share)),
        };
        if chosen.is_empty() {
            return Err(EvalError::EmptyFraction {
                fraction: self.share,
                records,
            });
        }
        Ok(chosen)
    }
}

/// Batch sizes and steps for a number of training records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchPlan {
    /// Training batch.
    pub batch: usize,
    /// Whole batches in an epoch; the incomplete one is dropped.
    pub steps_per_epoch: usize,
    /// Validation and test batch: 1.5 times the training batch.
    pub evaluation_batch: usize,
}

impl BatchPlan {
    /// Halves `wanted` (integer division) while it exceeds the number of training records.
    ///
    /// # Errors
    /// [`EvalError::Empty`] if there are no records, [`EvalError::Setting`] if `wanted` is 0.
    pub fn new(records: usize, wanted: usize) -> Result<Self, EvalError> {
        if records == 0 {
            return Err(EvalError::Empty {
                what: "The training set",
            });
        }
        if wanted == 0 {
            return Err(EvalError::Setting {
                setting: "batch size",
                found: "0".into(),
                expected: "at least 1",
            });
        }
        let mut batch = wanted;
        while batch > records {
            batch /= 2;
        }
        Ok(Self {
            batch,
            steps_per_epoch: records / batch,
            evaluation_batch: batch * 3 / 2,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_follow_the_published_table() {
        // As published: records, batch, steps.
        for (records, batch, steps) in [
            (17084, 256, 66),
            (1708, 256, 6),
            (170, 128, 1),
            (7197, 256, 28),
            (719, 256, 2),
            (71, 64, 1),
            (495, 256, 1),
            (49, 32, 1),
            (16546, 256, 64),
            (165, 128, 1),
        ] {
            let plan = BatchPlan::new(records, 256).unwrap();
            assert_eq!(
                (plan.batch, plan.steps_per_epoch),
                (batch, steps),
                "{records}"
            );
            assert_eq!(plan.evaluation_batch, batch + batch / 2);
        }
        assert_eq!(BatchPlan::new(1, 256).unwrap().batch, 1);
        assert!(BatchPlan::new(0, 256).is_err());
        assert!(BatchPlan::new(5, 0).is_err());
    }

    #[test]
    fn fractions_have_the_published_sizes() {
        let labels = vec![false; 17084 * 2];
        let draw = |share, method| {
            LabelFraction {
                share,
                method,
                seed: 0,
            }
            .draw(&labels, 2)
        };
        assert_eq!(draw(0.01, FractionMethod::Random).unwrap().len(), 170);
        assert_eq!(draw(0.1, FractionMethod::Random).unwrap().len(), 1708);
        assert_eq!(draw(0.1, FractionMethod::Stratified).unwrap().len(), 1708);
        assert_eq!(
            draw(1.0, FractionMethod::Random).unwrap().last(),
            Some(&17083)
        );
        assert_eq!(draw(0.1, FractionMethod::Permuted).unwrap().len(), 1708);
        assert!(draw(0.0, FractionMethod::Random).is_err());
        assert!(draw(1.1, FractionMethod::Random).is_err());
        assert!(draw(1e-6, FractionMethod::Random).is_err());
        assert!(LabelFraction::ALL.draw(&labels[1..], 2).is_err());
    }
}
