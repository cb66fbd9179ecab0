//! Agreement of labels read from texts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::error::check_length;
use crate::metrics::Confusion;

/// Means over the labels that occur in either list, as fractions. A ratio that is undefined counts 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelScores {
    /// Mean over labels of TP / (TP + FP).
    pub precision: f64,
    /// Mean over labels of TP / (TP + FN).
    pub recall: f64,
    /// Mean over labels of 2 TP / (2 TP + FP + FN).
    pub f1: f64,
    /// Fraction of pairs with the same label.
    pub accuracy: f64,
    /// Labels that occur.
    pub labels: usize,
}

/// Compares one label per reference with one per generated text: DERI's clinical efficacy, once every text has the label whose
/// description it is most similar to. (scikit-learn's macro averages with `zero_division=0`.)
///
/// # Errors
/// [`EvalError::Empty`] for no labels, [`EvalError::Length`] for lists of different length.
pub fn label_scores<L: Ord>(reference: &[L], generated: &[L]) -> Result<LabelScores, EvalError> {
    check_length(
        "The list of labels of generated texts",
        generated.len(),
        reference.len(),
        || "one per reference".into(),
    )?;
    if reference.is_empty() {
        return Err(EvalError::Empty {
            what: "The list of labels",
        });
    }
    let mut counts: BTreeMap<&L, Confusion> = BTreeMap::new();
    let mut equal = 0usize;
    for (label, found) in reference.iter().zip(generated) {
        if label == found {
            equal += 1;
            counts.entry(label).or_default().true_positives += 1;
        } else {
            counts.entry(label).or_default().false_negatives += 1;
            counts.entry(found).or_default().false_positives += 1;
        }
    }
    let mean = |metric: fn(&Confusion) -> f64| {
        counts.values().map(metric).sum::<f64>() / counts.len() as f64
    };
    Ok(LabelScores {
        precision: mean(Confusion::precision),
        recall: mean(Confusion::recall),
        f1: mean(Confusion::f1),
        accuracy: equal as f64 / reference.len() as f64,
        labels: counts.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_by_hand() {
        // AF: 1 of 2 found, right 1 of 1; SR: 1 of 1 found, right 1 of 2; LBBB is never right.
        let found = label_scores(&["AF", "AF", "SR", "AF"], &["AF", "SR", "SR", "LBBB"]).unwrap();
        let third = 1.0 / 3.0;
        assert!((found.precision - (1.0 + 0.5) * third).abs() < 1e-12);
        assert!((found.recall - (third + 1.0) * third).abs() < 1e-12);
        assert!((found.f1 - (0.5 + 2.0 * third) * third).abs() < 1e-12);
        assert_eq!((found.accuracy, found.labels), (0.5, 3));
    }

    #[test]
    fn lists_must_fit() {
        assert!(label_scores(&[1], &[1, 2]).is_err());
        assert!(label_scores::<u8>(&[], &[]).is_err());
        assert_eq!(label_scores(&[7], &[7]).unwrap().f1, 1.0);
    }
}
