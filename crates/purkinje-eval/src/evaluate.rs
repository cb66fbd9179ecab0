//! Evaluation of a split: scores, labels and patients in, [`TaskMetrics`] out.

use std::hash::Hash;

use serde::{Deserialize, Serialize};

use crate::{
    EvalError,
    bootstrap::{BootstrapOptions, Estimate, Interval, Means, Patients, intervals},
    error::check_length,
    metrics::{
        Confusion, MacroMean, Ranking, SingleClass, brier, calibration_error, check_matrix, column,
        exact_matches, log_loss, macro_mean,
    },
};

/// How a split is evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluateOptions {
    /// Names of the classes, in column order.
    pub classes: Vec<String>,
    /// Decision threshold of every class; a record is positive if its score is strictly greater.
    /// Choose thresholds on validation data ([`best_thresholds`]), never on the split evaluated.
    pub thresholds: Vec<f32>,
    /// Whether scores are probabilities. Only then log-loss, Brier score and calibration error
    /// are computed; logits and similarities have none.
    pub probabilities: bool,
    /// How means over classes treat a class whose labels are all equal.
    pub single_class: SingleClass,
    /// Classes of which the model was given no positive training label, in column order: their scores rank nothing (a fitted head
    /// gives all records the same), so that means over classes leave them out. Empty where that is not known, or where
    /// published metrics count them.
    #[serde(default)]
    pub untrained: Vec<bool>,
    /// Resampling of patients.
    pub bootstrap: BootstrapOptions,
}

/// Fewer positive records than this say little about a class.
pub const FEW_POSITIVES: usize = 10;

impl EvaluateOptions {
    /// Probabilities, threshold 0.5 for every class, undefined classes skipped, 1000 resamples.
    pub fn new(classes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let classes: Vec<String> = classes.into_iter().map(Into::into).collect();
        Self {
            thresholds: vec![0.5; classes.len()],
            classes,
            probabilities: true,
            single_class: SingleClass::Skip,
            untrained: Vec::new(),
            bootstrap: BootstrapOptions::default(),
        }
    }
}

/// Metrics of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassMetrics {
    /// Name of the class.
    pub class: String,
    /// Records with this label.
    pub positives: usize,
    /// Fraction of records with this label; the average precision of a random order.
    pub prevalence: f64,
    /// Area under the ROC curve.
    pub auroc: Estimate,
    /// Average precision.
    pub auprc: Estimate,
    /// Threshold of the decisions below (strictly greater is positive).
    pub threshold: f32,
    /// Counts at the threshold.
    pub confusion: Confusion,
    /// Positive predictive value at the threshold.
    pub precision: Estimate,
    /// Sensitivity at the threshold.
    pub recall: Estimate,
    /// Fraction of records without the label that are predicted negative at the threshold.
    #[serde(default)]
    pub specificity: Estimate,
    /// F1 at the threshold.
    pub f1: Estimate,
    /// Brier score, for probabilities.
    pub brier: Option<f64>,
    /// Calibration error with 15 bins of equal width, for probabilities.
    pub calibration_error: Option<f64>,
    /// Resamples in which AUROC was undefined and which its interval therefore leaves out.
    pub undefined_resamples: usize,
    /// Whether fewer than [`FEW_POSITIVES`] records have this label.
    #[serde(default)]
    pub few_positives: bool,
    /// Whether no training record had this label: means over classes leave it out.
    #[serde(default)]
    pub untrained: bool,
}

/// Unweighted means over classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MacroMetrics {
    /// Mean AUROC.
    pub auroc: Estimate,
    /// Mean average precision.
    pub auprc: Estimate,
    /// Mean precision.
    pub precision: Estimate,
    /// Mean recall.
    pub recall: Estimate,
    /// Mean specificity.
    #[serde(default)]
    pub specificity: Estimate,
    /// Mean F1.
    pub f1: Estimate,
    /// Classes whose AUROC is undefined, among those that count.
    pub undefined_auroc: usize,
    /// Classes that are left out because no training record had their label.
    #[serde(default)]
    pub untrained: usize,
}

/// All metrics of one split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskMetrics {
    /// Records of the split.
    pub records: usize,
    /// Patients of the split.
    pub patients: usize,
    /// Per class, in column order.
    pub classes: Vec<ClassMetrics>,
    /// Means over classes.
    pub macro_mean: MacroMetrics,
    /// Fraction of records for which the decisions of all classes equal the labels.
    pub exact_match: Estimate,
    /// Mean binary cross entropy over records and classes, for probabilities.
    pub log_loss: Option<f64>,
    /// How the means treated undefined classes.
    pub single_class: SingleClass,
    /// How the intervals were drawn.
    pub bootstrap: BootstrapOptions,
}

/// How scores rank records: [`TaskMetrics`] without what follows from thresholds, for scores that have none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RankingMetrics {
    /// Records of the split.
    pub records: usize,
    /// Patients of the split.
    pub patients: usize,
    /// Per class, in column order.
    pub classes: Vec<ClassRanking>,
    /// Mean AUROC of the classes.
    pub auroc: Estimate,
    /// Mean AUPRC of the classes.
    pub auprc: Estimate,
    /// Classes whose AUROC is undefined, among those that count.
    pub undefined_auroc: usize,
    /// Classes that are left out of the means because no training record had their label.
    #[serde(default)]
    pub untrained: usize,
    /// How the intervals were drawn.
    pub bootstrap: BootstrapOptions,
}

/// How the scores of one class rank records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassRanking {
    /// Class name.
    pub class: String,
    /// Records with the class.
    pub positives: usize,
    /// Their share.
    pub prevalence: f64,
    /// Area under the ROC curve.
    pub auroc: Estimate,
    /// Area under the precision-recall curve, as average precision.
    pub auprc: Estimate,
    /// Whether fewer than [`FEW_POSITIVES`] records have it.
    #[serde(default)]
    pub few_positives: bool,
    /// Whether no training record had it.
    #[serde(default)]
    pub untrained: bool,
}

impl TaskMetrics {
    /// The part that needs no thresholds.
    pub fn ranking(&self) -> RankingMetrics {
        let classes = self.classes.iter().map(|class| ClassRanking {
            class: class.class.clone(),
            positives: class.positives,
            prevalence: class.prevalence,
            auroc: class.auroc,
            auprc: class.auprc,
            few_positives: class.few_positives,
            untrained: class.untrained,
        });
        RankingMetrics {
            records: self.records,
            patients: self.patients,
            classes: classes.collect(),
            auroc: self.macro_mean.auroc,
            auprc: self.macro_mean.auprc,
            undefined_auroc: self.macro_mean.undefined_auroc,
            untrained: self.macro_mean.untrained,
            bootstrap: self.bootstrap,
        }
    }
}

const CALIBRATION_BINS: usize = 15;

/// Evaluates one split.
///
/// `scores` and `labels` are `[records, classes]`, row-major, `patients` names the patient of
/// every record; intervals resample patients.
///
/// # Errors
/// Shapes that do not fit each other or the classes, scores that are not finite, values outside
/// \[0, 1\] when `probabilities` is set, or a setting out of range.
pub fn evaluate_split<P: Hash + Eq>(
    scores: &[f32],
    labels: &[bool],
    patients: &[P],
    options: &EvaluateOptions,
) -> Result<TaskMetrics, EvalError> {
    let classes = options.classes.len();
    check_matrix(scores, labels, classes)?;
    let records = scores.len() / classes;
    check_options(scores, (records, patients.len()), options)?;
    let patients = Patients::new(patients);
    let rankings = Ranking::of_matrix(scores, labels, classes)?;
    let over = Means {
        single_class: options.single_class,
        untrained: &options.untrained,
    };
    let drawn = intervals(
        &rankings,
        scores,
        labels,
        &options.thresholds,
        &patients,
        over,
        &options.bootstrap,
    )?;

    let per_class: Vec<ClassMetrics> = options
        .classes
        .iter()
        .enumerate()
        .map(|(class, name)| {
            let (ranking, drawn) = (&rankings[class], &drawn.classes[class]);
            let class_scores = column(scores, classes, class);
            let class_labels = column(labels, classes, class);
            let threshold = options.thresholds[class];
            let confusion = Confusion::count(
                class_scores.iter().copied(),
                class_labels.iter().copied(),
                threshold,
            );
            let probabilities = options.probabilities.then_some(&class_scores);
            ClassMetrics {
                class: name.clone(),
                positives: ranking.positives(),
                prevalence: ranking.positives() as f64 / records as f64,
                auroc: estimate(ranking.auroc(), drawn.auroc),
                auprc: estimate(ranking.average_precision(), drawn.auprc),
                threshold,
                confusion,
                precision: estimate(Some(confusion.precision()), drawn.precision),
                recall: estimate(Some(confusion.recall()), drawn.recall),
                specificity: estimate(Some(confusion.specificity()), drawn.specificity),
                f1: estimate(Some(confusion.f1()), drawn.f1),
                brier: probabilities.map(|p| brier(p, &class_labels)),
                calibration_error: probabilities
                    .map(|p| calibration_error(p, &class_labels, CALIBRATION_BINS)),
                undefined_resamples: drawn.undefined_resamples,
                few_positives: ranking.positives() < FEW_POSITIVES,
                untrained: !over.has(class),
            }
        })
        .collect();

    let mean = |metric: fn(&ClassMetrics) -> &Estimate| -> MacroMean {
        let counted = per_class.iter().filter(|class| !class.untrained);
        macro_mean(
            counted.map(|class| metric(class).value),
            options.single_class,
        )
    };
    let auroc = mean(|class| &class.auroc);
    let exact = exact_matches(scores, labels, &options.thresholds)?;
    let macro_mean = MacroMetrics {
        auroc: estimate(auroc.value, drawn.macros.auroc),
        auprc: estimate(mean(|class| &class.auprc).value, drawn.macros.auprc),
        precision: estimate(mean(|class| &class.precision).value, drawn.macros.precision),
        recall: estimate(mean(|class| &class.recall).value, drawn.macros.recall),
        specificity: estimate(
            mean(|class| &class.specificity).value,
            drawn.macros.specificity,
        ),
        f1: estimate(mean(|class| &class.f1).value, drawn.macros.f1),
        undefined_auroc: auroc.skipped,
        untrained: per_class.iter().filter(|class| class.untrained).count(),
    };
    let right = exact.iter().filter(|&&matched| matched).count();
    Ok(TaskMetrics {
        records,
        patients: patients.count(),
        classes: per_class,
        macro_mean,
        exact_match: estimate(Some(right as f64 / records as f64), drawn.exact_match),
        log_loss: options.probabilities.then(|| log_loss(scores, labels)),
        single_class: options.single_class,
        bootstrap: options.bootstrap,
    })
}

/// Checks that options fit scores of so many records, with so many patients named.
fn check_options(
    scores: &[f32],
    (records, patients): (usize, usize),
    options: &EvaluateOptions,
) -> Result<(), EvalError> {
    let classes = options.classes.len();
    check_length("The list of patients", patients, records, || {
        "one per record".into()
    })?;
    check_length(
        "The list of thresholds",
        options.thresholds.len(),
        classes,
        || "one per class".into(),
    )?;
    if !options.untrained.is_empty() {
        check_length(
            "The list of untrained classes",
            options.untrained.len(),
            classes,
            || "none, or one per class".into(),
        )?;
    }
    if options.probabilities {
        check_probabilities(scores, classes)?;
    }
    Ok(())
}

/// Per class the threshold with the largest F1 on validation data; `fallback` for classes
/// without positive records.
///
/// # Errors
/// Shapes that do not fit, or a score that is not finite.
pub fn best_thresholds(
    scores: &[f32],
    labels: &[bool],
    classes: usize,
    fallback: f32,
) -> Result<Vec<f32>, EvalError> {
    let rankings = Ranking::of_matrix(scores, labels, classes)?;
    Ok(rankings
        .iter()
        .map(|ranking| ranking.best_f1_threshold().unwrap_or(fallback))
        .collect())
}

/// An estimate; without a value there is no interval either.
fn estimate(value: Option<f64>, interval: Option<Interval>) -> Estimate {
    Estimate {
        value,
        interval: interval.filter(|_| value.is_some()),
    }
}

fn check_probabilities(scores: &[f32], classes: usize) -> Result<(), EvalError> {
    match scores.iter().position(|score| !(0.0..=1.0).contains(score)) {
        None => Ok(()),
        Some(at) => Err(EvalError::Setting {
            setting: "probabilities",
            found: format!(
                "set, and record {} has the score {} for class {}",
                at / classes,
                scores[at],
                at % classes
            ),
            expected: "switched off for scores outside 0 to 1 (or the scores passed through a sigmoid)",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_split_by_hand() {
        let scores = [0.9, 0.2, 0.8, 0.6, 0.3, 0.7, 0.1, 0.1];
        let labels = [true, false, true, true, false, true, true, false];
        let options = EvaluateOptions {
            bootstrap: BootstrapOptions {
                resamples: 0,
                ..Default::default()
            },
            ..EvaluateOptions::new(["AF", "LBBB"])
        };
        let found = evaluate_split(&scores, &labels, &["p", "p", "q", "r"], &options).unwrap();
        assert_eq!((found.records, found.patients), (4, 3));
        let af = &found.classes[0];
        assert_eq!((af.positives, af.prevalence), (3, 0.75));
        assert_eq!(af.auroc.value, Some(2.0 / 3.0));
        assert_eq!(
            (af.precision.value, af.recall.value),
            (Some(1.0), Some(2.0 / 3.0))
        );
        assert_eq!(found.classes[1].auroc.value, Some(1.0));
        assert_eq!(found.classes[1].specificity.value, Some(1.0));
        assert_eq!(found.macro_mean.auroc.value, Some((2.0 / 3.0 + 1.0) / 2.0));
        assert_eq!(found.exact_match.value, Some(0.75));
        assert_eq!(found.macro_mean.auroc.interval, None);
        let json = serde_json::to_string(&found).unwrap();
        assert_eq!(serde_json::from_str::<TaskMetrics>(&json).unwrap(), found);
    }

    #[test]
    fn scores_must_be_what_the_options_say() {
        let mut options = EvaluateOptions::new(["AF"]);
        let run = |options: &EvaluateOptions| {
            evaluate_split(&[-3.0, 2.0], &[false, true], &[0, 1], options)
        };
        let message = run(&options).unwrap_err().to_string();
        assert!(
            message.contains("record 0 has the score -3 for class 0"),
            "{message}"
        );
        options.probabilities = false;
        let found = run(&options).unwrap();
        assert_eq!((found.log_loss, found.classes[0].brier), (None, None));
        assert!(evaluate_split(&[0.1, 0.2], &[false, true], &[0], &options).is_err());
        options.bootstrap.level = 95.0;
        assert!(run(&options).is_err());
        options.bootstrap.level = 0.95;
        options.thresholds.push(0.5);
        assert!(run(&options).is_err());
    }

    #[test]
    fn intervals_follow_the_policy_of_their_mean() {
        let mut options = EvaluateOptions::new(["AF", "LBBB"]);
        options.single_class = SingleClass::Zero;
        let (scores, labels) = (
            [0.9, 0.2, 0.8, 0.6, 0.1, 0.3],
            [true, false, false, false, true, false],
        );
        let found = evaluate_split(&scores, &labels, &[0, 1, 2], &options).unwrap();
        let auroc = &found.macro_mean.auroc;
        let interval = auroc.interval.unwrap();
        // AF alone is at most 1: half of that is the most the mean of both can be.
        assert_eq!(auroc.value, Some(0.25));
        assert!(interval.high <= 0.5, "{interval:?}");
    }

    #[test]
    fn classes_without_a_training_label_are_left_out_of_means() {
        let (scores, labels) = (
            [0.9, 0.5, 0.8, 0.5, 0.1, 0.5, 0.2, 0.5],
            [true, false, true, true, false, true, false, false],
        );
        let mut options = EvaluateOptions::new(["AF", "LBBB"]);
        let run = |options: &EvaluateOptions| {
            evaluate_split(&scores, &labels, &[0, 1, 2, 3], options).unwrap()
        };
        let published = run(&options);
        assert_eq!(published.macro_mean.auroc.value, Some(0.75));
        assert_eq!(published.macro_mean.untrained, 0);
        options.untrained = vec![false, true];
        let found = run(&options);
        assert_eq!(found.macro_mean.auroc.value, Some(1.0));
        assert_eq!(found.macro_mean.auroc.interval.unwrap().low, 1.0);
        assert_eq!(found.macro_mean.auprc.value, found.classes[0].auprc.value);
        assert_eq!(found.macro_mean.f1.value, found.classes[0].f1.value);
        assert_eq!(found.macro_mean.untrained, 1);
        // The class itself is measured all the same.
        assert_eq!(found.classes[1].auroc.value, Some(0.5));
        assert!(found.classes[1].untrained && !found.classes[0].untrained);
        assert!(found.classes[0].few_positives);
        options.untrained = vec![true, true];
        assert_eq!(run(&options).macro_mean.auroc, Estimate::default());
        options.untrained = vec![true];
        assert!(evaluate_split(&scores, &labels, &[0, 1, 2, 3], &options).is_err());
    }

    #[test]
    fn a_class_with_one_label_value_is_counted_not_hidden() {
        let options = EvaluateOptions::new(["AF", "LBBB"]);
        let scores = [0.9, 0.2, 0.8, 0.6];
        let labels = [true, false, false, false];
        let found = evaluate_split(&scores, &labels, &[0, 1], &options).unwrap();
        assert_eq!(found.macro_mean.undefined_auroc, 1);
        assert_eq!(found.classes[1].auroc, Estimate::default());
        assert_eq!(found.macro_mean.auroc.value, Some(1.0));
        let thresholds = best_thresholds(&scores, &labels, 2, 0.5).unwrap();
        assert_eq!(thresholds, [0.85, 0.5]);
    }
}
