//! Mutually exclusive classes: one label per record; the class with the highest score is predicted.

use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::error::{check_finite, check_length};
use crate::metrics::{Confusion, MacroMean, Ranking, SingleClass, column, macro_mean};

/// Metrics of mutually exclusive classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MultiClassMetrics {
    /// Fraction of records whose prediction equals the label.
    pub accuracy: f64,
    /// Mean AUROC of each class against all others.
    pub auroc: MacroMean,
    /// Mean average precision of each class against all others.
    pub auprc: MacroMean,
    /// Mean recall; its `skipped` counts classes that occur neither among labels nor among predictions.
    pub recall: MacroMean,
    /// Mean specificity, likewise.
    pub specificity: MacroMean,
    /// Classes without a record, by index: AUROC and average precision are not defined for them.
    pub absent: Vec<usize>,
}

/// Evaluates `scores` `[records, classes]` against one class index per record.
///
/// `undefined_auroc` and `undefined_auprc` say how means treat classes that never (or always) occur: they are left out
/// by default; HuBERT-ECG's program counts one half in tests ([`SingleClass::Half`]) and 0 in validation
/// ([`SingleClass::Zero`]), and 0 for average precision. Among equal scores the first class is predicted.
///
/// # Errors
/// Shapes that do not fit, a label beyond the classes, or a score that is not finite.
pub fn multi_class(
    scores: &[f32],
    labels: &[usize],
    classes: usize,
    undefined_auroc: SingleClass,
    undefined_auprc: SingleClass,
) -> Result<MultiClassMetrics, EvalError> {
    if labels.is_empty() || classes == 0 {
        return Err(EvalError::Empty {
            what: "The list of labels or classes",
        });
    }
    check_length(
        "The score matrix",
        scores.len(),
        labels.len().saturating_mul(classes),
        || format!("{classes} for each of the {} labels", labels.len()),
    )?;
    check_finite("The score matrix", scores, classes)?;
    if let Some(label) = labels.iter().find(|label| **label >= classes) {
        return Err(EvalError::Setting {
            setting: "label",
            found: format!("{label} of {classes} classes"),
            expected: "a class index, counted from 0",
        });
    }
    let called: Vec<usize> = scores
        .chunks_exact(classes)
        .map(|row| (1..classes).fold(0, |best, c| if row[c] > row[best] { c } else { best }))
        .collect();
    let right = called.iter().zip(labels).filter(|(c, l)| c == l).count();
    let (mut confusions, mut rankings) = (Vec::new(), Vec::new());
    for class in 0..classes {
        let truth: Vec<bool> = labels.iter().map(|label| *label == class).collect();
        let mut confusion = Confusion::default();
        for (called, truth) in called.iter().zip(&truth) {
            confusion.add(1, *called == class, *truth);
        }
        confusions.push(confusion);
        rankings.push(Ranking::new(&column(scores, classes, class), &truth)?);
    }
    let occurring = |metric: fn(&Confusion) -> f64| {
        let values = confusions.iter().map(|c| {
            let occurs = c.true_positives + c.false_positives + c.false_negatives > 0;
            occurs.then(|| metric(c))
        });
        macro_mean(values, SingleClass::Skip)
    };
    Ok(MultiClassMetrics {
        accuracy: right as f64 / labels.len() as f64,
        auroc: macro_mean(rankings.iter().map(Ranking::auroc), undefined_auroc),
        auprc: macro_mean(
            rankings.iter().map(Ranking::average_precision),
            undefined_auprc,
        ),
        recall: occurring(Confusion::recall),
        specificity: occurring(Confusion::specificity),
        absent: (0..classes)
            .filter(|class| rankings[*class].positives() == 0)
            .collect(),
    })
}

/// Probabilities from logits `[records, classes]`: each row's exponentials, divided by their sum. Apply it before one
/// class is ranked against the others, because logits of different records are not comparable.
pub fn softmax(logits: &[f32], classes: usize) -> Vec<f32> {
    logits
        .chunks(classes.max(1))
        .flat_map(|row| {
            let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f32 = row.iter().map(|v| (v - max).exp()).sum();
            row.iter().map(move |v| (v - max).exp() / sum)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_example_by_hand() {
        // Calls: 0, 1, 0; the third class occurs nowhere.
        let scores = [0.8, 0.1, 0.1, 0.2, 0.7, 0.1, 0.5, 0.4, 0.1];
        let evaluate =
            |policy| multi_class(&scores, &[0, 1, 1], 3, policy, SingleClass::Skip).unwrap();
        let found = evaluate(SingleClass::Skip);
        assert_eq!((found.accuracy, &found.absent[..]), (2.0 / 3.0, &[2][..]));
        assert_eq!((found.recall.value, found.recall.skipped), (Some(0.75), 1));
        assert_eq!(found.specificity.value, Some(0.75));
        assert_eq!((found.auroc.value, found.auroc.skipped), (Some(1.0), 1));
        assert_eq!(evaluate(SingleClass::Zero).auroc.value, Some(2.0 / 3.0));
        assert_eq!(evaluate(SingleClass::Half).auroc.value, Some(2.5 / 3.0));
        let rows = softmax(&[1000.0, 1000.0, 0.0, 2f32.ln()], 2);
        assert!(
            rows.iter()
                .zip([0.5, 0.5, 1.0 / 3.0, 2.0 / 3.0])
                .all(|(a, b)| (a - b).abs() < 1e-6)
        );
        for labels in [&[0, 1][..], &[0, 1, 3], &[]] {
            let policy = SingleClass::Skip;
            assert!(multi_class(&scores, labels, 3, policy, policy).is_err());
        }
    }
}
