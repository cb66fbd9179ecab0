//! Definitions of the metrics, computed in f64 from exact integer counts.
//!
//! Ranking metrics ([`Ranking::auroc`], [`Ranking::average_precision`]) need scores that order
//! records, not probabilities; sort once with [`Ranking::new`] and compute any of them.
//! Decision metrics ([`Confusion`]) call a record positive if its score is *strictly greater*
//! than the threshold; undefined ratios (0/0) are 0. [`log_loss`], [`brier`] and
//! [`calibration_error`] need probabilities.
//!
//! All agree with scikit-learn's functions of the same meaning. Matrices are row-major
//! `[records, classes]`.

use serde::{Deserialize, Serialize};

use crate::{
    EvalError,
    error::{check_finite, check_length},
};

/// Records of one class in order of falling score, with ties marked.
#[derive(Clone, Debug)]
pub struct Ranking {
    places: Vec<Place>,
}

/// One record's place in a [`Ranking`].
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Index of the record.
    pub record: u32,
    /// Its score.
    pub score: f32,
    /// Its label.
    pub positive: bool,
    /// Whether the next place has a lower score (or there is none).
    pub ends_tie: bool,
}

impl Ranking {
    /// Sorts the records of one class: O(n log n).
    ///
    /// # Errors
    /// Lists of different length, no record, or a score that is not finite.
    pub fn new(scores: &[f32], labels: &[bool]) -> Result<Self, EvalError> {
        check_length("The list of labels", labels.len(), scores.len(), || {
            "one per score".into()
        })?;
        check_finite("The list of scores", scores, 1)?;
        let records = u32::try_from(scores.len()).map_err(|_| EvalError::Setting {
            setting: "number of records",
            found: scores.len().to_string(),
            expected: "below 2^32",
        })?;
        if records == 0 {
            return Err(EvalError::Empty {
                what: "The list of scores",
            });
        }
        let mut places: Vec<Place> = (0..records)
            .zip(scores.iter().zip(labels))
            .map(|(record, (&score, &positive))| Place {
                record,
                // -0.0 and 0.0 are one score; adding zero makes them one bit pattern.
                score: score + 0.0,
                positive,
                ends_tie: true,
            })
            .collect();
        places.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.record.cmp(&b.record)));
        for i in 1..places.len() {
            places[i - 1].ends_tie = places[i - 1].score != places[i].score;
        }
        Ok(Self { places })
    }

    /// The rankings of all columns of a score matrix.
    ///
    /// # Errors
    /// As [`Ranking::new`], with record and column named.
    pub fn of_matrix(
        scores: &[f32],
        labels: &[bool],
        classes: usize,
    ) -> Result<Vec<Self>, EvalError> {
        check_matrix(scores, labels, classes)?;
        (0..classes)
            .map(|class| {
                Self::new(
                    &column(scores, classes, class),
                    &column(labels, classes, class),
                )
            })
            .collect()
    }

    /// The places in the order of falling score.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Records with a positive label.
    pub fn positives(&self) -> usize {
        self.places.iter().filter(|place| place.positive).count()
    }

    /// Area under the ROC curve: the fraction of (positive, negative) pairs in the right order,
    /// ties counting half (Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747). `None`
    /// if the class has no positives or no negatives.
    pub fn auroc(&self) -> Option<f64> {
        self.sweep().auroc()
    }

    /// Average precision, AP = sum_k (R_k - R_(k-1)) P_k over the distinct scores in falling order, without
    /// interpolation (scikit-learn's `average_precision_score`). Its baseline is the prevalence, which a random order
    /// reaches on average. `None` without positives.
    pub fn average_precision(&self) -> Option<f64> {
        self.sweep().average_precision()
    }

    /// The threshold with the largest F1, to be chosen on validation data. It lies halfway
    /// between two neighbouring scores where such a number exists; among equal F1 the highest
    /// is taken. `None` without positives.
    pub fn best_f1_threshold(&self) -> Option<f32> {
        let positives = self.positives();
        let (mut hits, mut best, mut best_f1) = (0usize, None, -1.0);
        for (i, place) in self.places.iter().enumerate() {
            hits += usize::from(place.positive);
            if !place.ends_tie {
                continue;
            }
            let f1 = 2.0 * hits as f64 / (i + 1 + positives) as f64;
            if f1 > best_f1 {
                best_f1 = f1;
                best = Some(match self.places.get(i + 1) {
                    Some(next) => between(next.score, place.score),
                    None => place.score.next_down(),
                });
            }
        }
        best.filter(|_| positives > 0)
    }

    /// The score from which on (`>=`) calling records positive gives the largest F1 on these very records, as MERL's
    /// and DERI's programs choose it; among equal F1 the lowest score. `None` without positives.
    ///
    /// They choose it on the records that they evaluate, which makes the F1 too high: of use to compare with their
    /// figures, not to decide. Their accuracy is that of [`Confusion::count`] at this threshold, where the record it
    /// came from is negative.
    pub fn own_f1_threshold(&self) -> Option<OwnThreshold> {
        let positives = self.positives();
        let mut best: Option<OwnThreshold> = None;
        let mut hits = 0usize;
        for (i, place) in self.places.iter().enumerate() {
            hits += usize::from(place.positive);
            if !place.ends_tie {
                continue;
            }
            // Rounded as in the programs: the choice between equal values hangs on the last digit.
            let precision = hits as f64 / (i + 1) as f64;
            let recall = hits as f64 / positives as f64;
            let f1 = match hits {
                0 => 0.0,
                _ => 2.0 * precision * recall / (precision + recall),
            };
            if best.is_none_or(|best| f1 >= best.f1) {
                best = Some(OwnThreshold {
                    threshold: place.score,
                    f1,
                });
            }
        }
        best.filter(|_| positives > 0)
    }

    fn sweep(&self) -> Sweep {
        let mut sweep = Sweep::default();
        for place in &self.places {
            sweep.add(1, place.positive, place.ends_tie);
        }
        sweep
    }
}

/// A threshold chosen on the records it is used on; see [`Ranking::own_f1_threshold`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OwnThreshold {
    /// The lowest score called positive.
    pub threshold: f32,
    /// F1 there, a fraction.
    pub f1: f64,
}

/// Counts gathered in one pass over a ranking in which record i counts `weight` times.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sweep {
    positives: u64,
    negatives: u64,
    tied_positives: u64,
    tied_negatives: u64,
    /// Twice the number of pairs in the right order, ties counting half.
    doubled_pairs: u64,
    precision_sum: f64,
}

impl Sweep {
    /// Takes the next place of the ranking.
    #[inline]
    pub fn add(&mut self, weight: u32, positive: bool, ends_tie: bool) {
        // Branch-free: labels are unpredictable for the CPU.
        let (weight, positive) = (u64::from(weight), u64::from(positive));
        self.tied_positives += weight * positive;
        self.tied_negatives += weight * (1 - positive);
        if ends_tie {
            self.doubled_pairs += self.tied_negatives * (2 * self.positives + self.tied_positives);
            self.positives += self.tied_positives;
            self.negatives += self.tied_negatives;
            if self.tied_positives > 0 {
                self.precision_sum += self.tied_positives as f64 * self.positives as f64
                    / (self.positives + self.negatives) as f64;
            }
            (self.tied_positives, self.tied_negatives) = (0, 0);
        }
    }

    pub fn auroc(&self) -> Option<f64> {
        (self.positives > 0 && self.negatives > 0).then(|| {
            self.doubled_pairs as f64 / (2.0 * self.positives as f64 * self.negatives as f64)
        })
    }

    pub fn average_precision(&self) -> Option<f64> {
        (self.positives > 0).then(|| self.precision_sum / self.positives as f64)
    }
}

/// How a mean over classes treats a class whose metric is undefined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SingleClass {
    /// Leaves the class out and counts how many were left out.
    #[default]
    Skip,
    /// Makes the mean undefined, as the published programs do (NaN in scikit-learn 1.4 and later).
    Released,
    /// Counts the class as 0, as HuBERT-ECG's published program does for AUROC and average precision.
    Zero,
    /// Counts the class as one half, as that program does for the AUROC of mutually exclusive classes.
    Half,
}

/// An unweighted mean over classes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MacroMean {
    /// The mean; `None` if it is undefined (no class defined, or [`SingleClass::Released`]).
    pub value: Option<f64>,
    /// Classes whose metric is undefined; the policy says whether they were left out.
    pub skipped: usize,
}

/// Mean of the defined values under a policy for the undefined ones.
pub fn macro_mean(values: impl IntoIterator<Item = Option<f64>>, policy: SingleClass) -> MacroMean {
    let (mut sum, mut used, mut skipped) = (0.0, 0usize, 0usize);
    for value in values {
        match value {
            Some(value) => (sum, used) = (sum + value, used + 1),
            None => skipped += 1,
        }
    }
    let stand_in = match policy {
        SingleClass::Zero => Some(0.0),
        SingleClass::Half => Some(0.5),
        SingleClass::Skip | SingleClass::Released => None,
    };
    if let Some(value) = stand_in {
        (sum, used) = (sum + value * skipped as f64, used + skipped);
    }
    let undefined = used == 0 || (policy == SingleClass::Released && skipped > 0);
    MacroMean {
        value: (!undefined).then(|| sum / used as f64),
        skipped,
    }
}

/// Macro AUROC of a score matrix `[records, classes]`: per class as [`Ranking::auroc`].
///
/// # Errors
/// Shapes that do not fit, or a score that is not finite.
pub fn macro_auroc(
    scores: &[f32],
    labels: &[bool],
    classes: usize,
    policy: SingleClass,
) -> Result<MacroMean, EvalError> {
    let rankings = Ranking::of_matrix(scores, labels, classes)?;
    Ok(macro_mean(rankings.iter().map(Ranking::auroc), policy))
}

/// Counts of decisions against labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// Positive, predicted positive.
    pub true_positives: u64,
    /// Negative, predicted positive.
    pub false_positives: u64,
    /// Positive, predicted negative.
    pub false_negatives: u64,
    /// Negative, predicted negative.
    pub true_negatives: u64,
}

impl Confusion {
    /// Counts one class; positive means `score > threshold`.
    pub fn count(
        scores: impl IntoIterator<Item = f32>,
        labels: impl IntoIterator<Item = bool>,
        threshold: f32,
    ) -> Self {
        let mut confusion = Self::default();
        for (score, label) in scores.into_iter().zip(labels) {
            confusion.add(1, score > threshold, label);
        }
        confusion
    }

    #[inline]
    pub(crate) fn add(&mut self, weight: u32, called: bool, label: bool) {
        let weight = u64::from(weight);
        self.true_positives += weight * u64::from(called & label);
        self.false_positives += weight * u64::from(called & !label);
        self.false_negatives += weight * u64::from(!called & label);
        self.true_negatives += weight * u64::from(!called & !label);
    }

    /// TP / (TP + FP), 0 if nothing was predicted positive.
    pub fn precision(&self) -> f64 {
        ratio(
            self.true_positives,
            self.true_positives + self.false_positives,
        )
    }

    /// TP / (TP + FN) (sensitivity), 0 without positives.
    pub fn recall(&self) -> f64 {
        ratio(
            self.true_positives,
            self.true_positives + self.false_negatives,
        )
    }

    /// 2 TP / (2 TP + FP + FN), 0 if neither labels nor decisions are positive.
    pub fn f1(&self) -> f64 {
        let doubled = 2 * self.true_positives;
        ratio(
            doubled,
            doubled + self.false_positives + self.false_negatives,
        )
    }

    /// (TP + TN) / all, 0 without records.
    pub fn accuracy(&self) -> f64 {
        let right = self.true_positives + self.true_negatives;
        ratio(right, right + self.false_positives + self.false_negatives)
    }

    /// TN / (TN + FP), 0 without negatives.
    pub fn specificity(&self) -> f64 {
        ratio(
            self.true_negatives,
            self.true_negatives + self.false_positives,
        )
    }
}

/// For every record, whether the decisions of all classes equal the labels; the mean is the exact-match (subset)
/// accuracy. `thresholds` holds one value per class.
///
/// # Errors
/// Shapes that do not fit.
pub fn exact_matches(
    scores: &[f32],
    labels: &[bool],
    thresholds: &[f32],
) -> Result<Vec<bool>, EvalError> {
    let classes = thresholds.len();
    check_matrix(scores, labels, classes)?;
    Ok(scores
        .chunks_exact(classes)
        .zip(labels.chunks_exact(classes))
        .map(|(scores, labels)| {
            scores
                .iter()
                .zip(thresholds)
                .zip(labels)
                .all(|((score, threshold), &label)| (score > threshold) == label)
        })
        .collect())
}

/// Mean binary cross entropy, -mean(y ln p + (1-y) ln(1-p)), over all values given.
///
/// Probabilities are kept `f32::EPSILON` away from 0 and 1, as scikit-learn does for f32, so
/// that one saturated value does not make the mean infinite.
pub fn log_loss(probabilities: &[f32], labels: &[bool]) -> f64 {
    let margin = f64::from(f32::EPSILON);
    mean_over(probabilities, labels, |probability, label| {
        let p = probability.clamp(margin, 1.0 - margin);
        -if label { p.ln() } else { (1.0 - p).ln() }
    })
}

/// Brier score, mean (p - y)^2 (Brier 1950).
pub fn brier(probabilities: &[f32], labels: &[bool]) -> f64 {
    mean_over(probabilities, labels, |probability, label| {
        (probability - f64::from(u8::from(label))).powi(2)
    })
}

/// Expected calibration error of one class with `bins` intervals of equal width:
/// sum_b n_b/n |mean label - mean probability| (Naeini, Cooper, Hauskrecht 2015).
///
/// Returns NaN for no records or no bins.
pub fn calibration_error(probabilities: &[f32], labels: &[bool], bins: usize) -> f64 {
    if bins == 0 || probabilities.is_empty() {
        return f64::NAN;
    }
    let mut gaps = vec![0.0; bins];
    for (&probability, &label) in probabilities.iter().zip(labels) {
        let probability = f64::from(probability);
        let bin = ((probability * bins as f64) as usize).min(bins - 1);
        gaps[bin] += f64::from(u8::from(label)) - probability;
    }
    gaps.iter().map(|gap| gap.abs()).sum::<f64>() / probabilities.len() as f64
}

/// Labels as truth values, from a matrix of zeros and ones.
///
/// # Errors
/// [`EvalError::Setting`] at the first value that is neither.
pub fn labels_from(multi_hot: &[u8]) -> Result<Vec<bool>, EvalError> {
    match multi_hot.iter().position(|&label| label > 1) {
        None => Ok(multi_hot.iter().map(|&label| label == 1).collect()),
        Some(at) => Err(EvalError::Setting {
            setting: "label",
            found: format!("{} at index {at} of the label matrix", multi_hot[at]),
            expected: "0 or 1",
        }),
    }
}

/// Column `class` of a row-major matrix with `classes` columns.
pub fn column<T: Copy>(matrix: &[T], classes: usize, class: usize) -> Vec<T> {
    matrix
        .iter()
        .skip(class)
        .step_by(classes.max(1))
        .copied()
        .collect()
}

/// Fails unless scores and labels are finite matrices of the same shape with `classes` columns.
pub(crate) fn check_matrix(
    scores: &[f32],
    labels: &[bool],
    classes: usize,
) -> Result<(), EvalError> {
    if classes == 0 {
        return Err(EvalError::Empty {
            what: "The list of classes",
        });
    }
    if scores.is_empty() {
        return Err(EvalError::Empty {
            what: "The score matrix",
        });
    }
    let whole_rows = scores.len() / classes * classes;
    check_length("The score matrix", scores.len(), whole_rows, || {
        format!("whole rows of {classes} classes")
    })?;
    check_length("The label matrix", labels.len(), scores.len(), || {
        "the shape of the score matrix".into()
    })?;
    check_finite("The score matrix", scores, classes)
}

/// A number t with `low <= t < high`, in the middle if f32 has one.
fn between(low: f32, high: f32) -> f32 {
    let middle = low / 2.0 + high / 2.0;
    if low <= middle && middle < high {
        middle
    } else {
        low
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

fn mean_over(values: &[f32], labels: &[bool], term: impl Fn(f64, bool) -> f64) -> f64 {
    let sum: f64 = values
        .iter()
        .zip(labels)
        .map(|(&value, &label)| term(f64::from(value), label))
        .sum();
    sum / values.len() as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, O(n^2).
    fn auroc_by_pairs(scores: &[f32], labels: &[bool]) -> Option<f64> {
        let (mut right, mut pairs) = (0.0, 0.0);
        for (i, &positive) in labels.iter().enumerate() {
            for (j, &other) in labels.iter().enumerate() {
                if positive && !other {
                    pairs += 1.0;
                    right += match scores[i].partial_cmp(&scores[j]) {
                        Some(std::cmp::Ordering::Greater) => 1.0,
                        Some(std::cmp::Ordering::Equal) => 0.5,
                        _ => 0.0,
                    };
                }
            }
        }
        (pairs > 0.0).then(|| right / pairs)
    }

    /// The definition, one threshold at a time.
    fn average_precision_by_thresholds(scores: &[f32], labels: &[bool]) -> Option<f64> {
        let positives = labels.iter().filter(|&&label| label).count() as f64;
        let mut thresholds = scores.to_vec();
        thresholds.sort_by(|a, b| b.total_cmp(a));
        thresholds.dedup();
        let (mut sum, mut last_recall) = (0.0, 0.0);
        for threshold in thresholds {
            let called = |score: f32| score >= threshold;
            let hits = scores
                .iter()
                .zip(labels)
                .filter(|&(&s, &l)| called(s) && l)
                .count() as f64;
            let calls = scores.iter().filter(|&&s| called(s)).count() as f64;
            let recall = hits / positives;
            sum += (recall - last_recall) * hits / calls;
            last_recall = recall;
        }
        (positives > 0.0).then_some(sum)
    }

    /// Few distinct scores, so that ties are common.
    fn column_with_ties() -> impl Strategy<Value = (Vec<f32>, Vec<bool>)> {
        prop::collection::vec((-6i8..6, any::<bool>()), 1..60).prop_map(|rows| {
            rows.into_iter()
                .map(|(score, label)| (f32::from(score) / 4.0, label))
                .unzip()
        })
    }

    fn close(a: Option<f64>, b: Option<f64>) -> bool {
        match (a, b) {
            (Some(a), Some(b)) => (a - b).abs() < 1e-12,
            (a, b) => a == b,
        }
    }

    proptest! {
        #[test]
        fn ranking_metrics_equal_their_definitions((scores, labels) in column_with_ties()) {
            let ranking = Ranking::new(&scores, &labels).unwrap();
            prop_assert!(close(ranking.auroc(), auroc_by_pairs(&scores, &labels)));
            prop_assert!(close(
                ranking.average_precision(),
                average_precision_by_thresholds(&scores, &labels)
            ));
        }

        #[test]
        fn ranking_metrics_see_only_the_order((scores, labels) in column_with_ties()) {
            let plain = Ranking::new(&scores, &labels).unwrap();
            let warped: Vec<f32> = scores.iter().map(|s| (3.0 * s).exp() - 7.0).collect();
            let warped = Ranking::new(&warped, &labels).unwrap();
            prop_assert_eq!(plain.auroc(), warped.auroc());
            prop_assert_eq!(plain.average_precision(), warped.average_precision());
        }

        #[test]
        fn reversed_scores_mirror_the_auroc((scores, labels) in column_with_ties()) {
            let reversed: Vec<f32> = scores.iter().map(|s| -s).collect();
            let plain = Ranking::new(&scores, &labels).unwrap().auroc();
            let mirrored = Ranking::new(&reversed, &labels).unwrap().auroc();
            prop_assert!(close(plain, mirrored.map(|value| 1.0 - value)));
        }

        #[test]
        fn no_threshold_beats_the_best((scores, labels) in column_with_ties()) {
            let ranking = Ranking::new(&scores, &labels).unwrap();
            let f1 = |t| Confusion::count(scores.iter().copied(), labels.iter().copied(), t).f1();
            match ranking.best_f1_threshold() {
                None => prop_assert!(!labels.contains(&true)),
                Some(best) => {
                    for &score in &scores {
                        prop_assert!(f1(best) >= f1(score));
                        prop_assert!(f1(best) >= f1(score.next_down()));
                    }
                    let own = ranking.own_f1_threshold().unwrap();
                    prop_assert!((own.f1 - f1(best)).abs() < 1e-12);
                    prop_assert!((own.f1 - f1(own.threshold.next_down())).abs() < 1e-12);
                }
            }
        }
    }

    #[test]
    fn single_class_columns_follow_the_policy() {
        let scores = [0.1, 0.2, 0.9, 0.3];
        let labels = [true, false, false, false]; // second class has no positive
        let skip = macro_auroc(&scores, &labels, 2, SingleClass::Skip).unwrap();
        assert_eq!((skip.value, skip.skipped), (Some(0.0), 1));
        let released = macro_auroc(&scores, &labels, 2, SingleClass::Released).unwrap();
        assert_eq!((released.value, released.skipped), (None, 1));
        assert_eq!(macro_mean([None, None], SingleClass::Skip).value, None);
        let values = [Some(0.8), None];
        assert_eq!(macro_mean(values, SingleClass::Zero).value, Some(0.4));
        assert_eq!(macro_mean(values, SingleClass::Half).value, Some(0.65));
    }

    #[test]
    fn decisions_are_strict_and_undefined_ratios_zero() {
        let at_threshold = Confusion::count([0.5, 0.6], [true, true], 0.5);
        assert_eq!(at_threshold.true_positives, 1);
        let nothing = Confusion::count([0.1], [false], 0.5);
        assert_eq!(
            (nothing.precision(), nothing.recall(), nothing.f1()),
            (0.0, 0.0, 0.0)
        );
        assert_eq!(nothing.specificity(), 1.0);
    }

    #[test]
    fn the_threshold_of_the_records_themselves_is_one_of_their_scores() {
        // From 0.9 on F1 is 2/3, from 0.5 (twice) on 2/5, from 0.1 on 2/3.
        let (scores, labels) = ([0.5, 0.9, 0.5, 0.1], [false, true, false, true]);
        let found = Ranking::new(&scores, &labels).unwrap().own_f1_threshold();
        let found = found.unwrap();
        assert_eq!(found.threshold, 0.1);
        assert!((found.f1 - 2.0 / 3.0).abs() < 1e-15, "{found:?}");
        // The record at the threshold is then called negative.
        let confusion = Confusion::count(scores, labels, found.threshold);
        assert_eq!(confusion.accuracy(), 0.25);
        assert_eq!(Confusion::default().accuracy(), 0.0);
        let none = Ranking::new(&scores, &[false; 4]).unwrap();
        assert_eq!(none.own_f1_threshold(), None);
        let ranking = Ranking::new(&[3.0, 2.0, 1.0], &[true, false, false]).unwrap();
        assert_eq!(ranking.own_f1_threshold().unwrap().threshold, 3.0);
    }

    #[test]
    fn bad_input_is_refused_with_its_place() {
        let error = macro_auroc(&[0.1, 0.2, f32::NAN, 0.4], &[true; 4], 2, SingleClass::Skip);
        assert_eq!(
            error
                .unwrap_err()
                .to_string()
                .split(',')
                .take(2)
                .collect::<String>(),
            "The score matrix holds NaN at record 1 column 0"
        );
        assert!(macro_auroc(&[0.1; 3], &[true; 3], 2, SingleClass::Skip).is_err());
        assert!(macro_auroc(&[0.1; 4], &[true; 3], 2, SingleClass::Skip).is_err());
        assert!(macro_auroc(&[], &[], 2, SingleClass::Skip).is_err());
        assert!(macro_auroc(&[0.1], &[true], 0, SingleClass::Skip).is_err());
    }

    #[test]
    fn labels_are_zeros_and_ones() {
        assert_eq!(labels_from(&[0, 1]).unwrap(), [false, true]);
        let message = labels_from(&[0, 2]).unwrap_err().to_string();
        assert!(message.contains("2 at index 1"), "{message}");
    }

    #[test]
    fn probability_metrics_follow_their_formulas() {
        let (p, y) = ([0.8, 0.3, 1.0], [true, false, true]);
        let expected = -(f64::from(0.8f32).ln() + f64::from(0.7f32).ln()) / 3.0;
        assert!((log_loss(&p, &y) - expected).abs() < 1e-6);
        assert!(log_loss(&[0.0], &[true]).is_finite());
        assert!((brier(&p, &y) - (0.04 + 0.09) / 3.0).abs() < 1e-7);
        // Bins of width 0.5: {0.3 -> label 0}, {0.8, 1.0 -> labels 1, 1}.
        assert!((calibration_error(&p, &y, 2) - (0.3 + 0.2) / 3.0).abs() < 1e-7);
        assert!(calibration_error(&p, &y, 0).is_nan());
    }
}
