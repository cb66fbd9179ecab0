//! Percentile intervals by resampling patients.
//!
//! Recordings of one patient resemble each other, so the unit drawn is the patient with all its
//! recordings (cluster bootstrap; Field and Welsh 2007, doi:10.1111/j.1467-9868.2007.00593.x).
//! A resample draws as many patients as there are, with replacement; the interval is the
//! percentile interval (Efron and Tibshirani 1993, chapter 13). Resample r of seed s is the same
//! on every machine and for any number of threads.
//!
//! Scores are sorted once per class. A resample only changes how often each record counts, so it
//! costs one pass over the sorted records.

use std::{collections::HashMap, hash::Hash};

use purkinje_base::random::Counter;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    EvalError,
    error::check_length,
    metrics::{Confusion, Ranking, SingleClass, Sweep, exact_matches, macro_mean},
};

/// How intervals are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BootstrapOptions {
    /// Number of resamples; 0 gives no intervals.
    pub resamples: usize,
    /// Seed of the draws.
    pub seed: u64,
    /// Fraction of the resamples inside the interval, between 0 and 1.
    pub level: f64,
    /// What is resampled.
    #[serde(default)]
    pub unit: Unit,
}

/// What a resample draws with replacement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Patients with all their records.
    #[default]
    Patients,
    /// Single records, stratified by combination of labels: as in HuBERT-ECG's released program. Its intervals are too
    /// narrow where patients repeat.
    RecordsByLabels,
}

impl Default for BootstrapOptions {
    /// 1000 resamples, seed 0, 95 %.
    fn default() -> Self {
        Self {
            resamples: 1000,
            seed: 0,
            level: 0.95,
            unit: Unit::Patients,
        }
    }
}

impl BootstrapOptions {
    fn check(&self) -> Result<(), EvalError> {
        if self.level > 0.0 && self.level < 1.0 {
            return Ok(());
        }
        Err(EvalError::Setting {
            setting: "bootstrap level",
            found: self.level.to_string(),
            expected: "between 0 and 1 (for example 0.95)",
        })
    }
}

/// Ends of an interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// A value with its interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Value on all records; `None` if undefined (a class without positives or without negatives).
    pub value: Option<f64>,
    /// Interval over the resamples in which the value is defined; `None` without resamples.
    pub interval: Option<Interval>,
}

/// Which patient each record belongs to.
#[derive(Clone, Debug)]
pub struct Patients {
    /// Patient of every record, `0..count`.
    of_record: Vec<u32>,
    count: usize,
}

impl Patients {
    /// Numbers the patients in the order of their first record.
    ///
    /// Where patients are unknown, give every record its own identifier; intervals are then too
    /// narrow if patients repeat.
    pub fn new<P: Hash + Eq>(ids: &[P]) -> Self {
        let mut numbers = HashMap::new();
        let of_record = ids
            .iter()
            .map(|id| {
                let next = numbers.len() as u32;
                *numbers.entry(id).or_insert(next)
            })
            .collect();
        Self {
            of_record,
            count: numbers.len(),
        }
    }

    /// Number of patients.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Number of records.
    pub fn records(&self) -> usize {
        self.of_record.len()
    }
}

/// Intervals of one class.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClassIntervals {
    pub auroc: Option<Interval>,
    pub auprc: Option<Interval>,
    pub precision: Option<Interval>,
    pub recall: Option<Interval>,
    pub f1: Option<Interval>,
    pub specificity: Option<Interval>,
    /// Resamples without a positive or without a negative record.
    pub undefined_resamples: usize,
}

/// Intervals of all classes, their means and the exact-match accuracy.
#[derive(Clone, Debug)]
pub(crate) struct Intervals {
    pub classes: Vec<ClassIntervals>,
    /// Of the means over the classes defined in each resample.
    pub macros: ClassIntervals,
    pub exact_match: Option<Interval>,
}

/// How means over classes are taken.
#[derive(Clone, Copy)]
pub(crate) struct Means<'a> {
    pub(crate) single_class: SingleClass,
    /// Classes that are left out; none where the list is shorter.
    pub(crate) untrained: &'a [bool],
}

impl From<SingleClass> for Means<'_> {
    fn from(single_class: SingleClass) -> Self {
        Means {
            single_class,
            untrained: &[],
        }
    }
}

impl Means<'_> {
    /// Whether a class counts.
    pub(crate) fn has(&self, class: usize) -> bool {
        !self.untrained.get(class).copied().unwrap_or(false)
    }
}

/// Intervals for the decisions and rankings of one model.
pub(crate) fn intervals<'a>(
    rankings: &[Ranking],
    scores: &[f32],
    labels: &[bool],
    thresholds: &[f32],
    patients: &Patients,
    means_over: impl Into<Means<'a>>,
    options: &BootstrapOptions,
) -> Result<Intervals, EvalError> {
    options.check()?;
    let means_over = means_over.into();
    let (singly, groups);
    let patients = match options.unit {
        Unit::Patients => {
            groups = vec![(0..patients.count as u32).collect()];
            patients
        }
        Unit::RecordsByLabels => {
            singly = Patients::new(&(0..patients.records()).collect::<Vec<_>>());
            groups = label_groups(labels, rankings.len());
            &singly
        }
    };
    let classes: Vec<Vec<Entry>> = rankings
        .iter()
        .zip(thresholds)
        .map(|(ranking, &threshold)| entries(ranking, patients, threshold))
        .collect();
    let mut right = vec![0u64; patients.count];
    let mut size = vec![0u64; patients.count];
    for (record, matched) in exact_matches(scores, labels, thresholds)?
        .into_iter()
        .enumerate()
    {
        let patient = patients.of_record[record] as usize;
        right[patient] += u64::from(matched);
        size[patient] += 1;
    }

    // [resample, class x (auroc, auprc, precision, recall, f1, specificity) + their means + exact match]
    let width = METRICS * (classes.len() + 1) + 1;
    let table = resample(patients.count, &groups, width, options, |weights, row| {
        for (entries, row) in classes.iter().zip(row.chunks_exact_mut(METRICS)) {
            row.copy_from_slice(&class_metrics(entries, weights));
        }
        let (per_class, means) = row.split_at_mut(METRICS * classes.len());
        for (metric, mean) in means[..METRICS].iter_mut().enumerate() {
            let own = per_class.iter().skip(metric).step_by(METRICS);
            *mean = mean_of(own, means_over);
        }
        let total = |of: &[u64]| -> f64 {
            let sum: u64 = of.iter().zip(weights).map(|(n, &w)| n * u64::from(w)).sum();
            sum as f64
        };
        means[METRICS] = total(&right) / total(&size);
    });
    let class_intervals = |class: usize| {
        let [auroc, auprc, precision, recall, f1, specificity] =
            std::array::from_fn(|metric| table.interval(METRICS * class + metric, options.level));
        ClassIntervals {
            auroc,
            auprc,
            precision,
            recall,
            f1,
            specificity,
            undefined_resamples: table.undefined(METRICS * class),
        }
    };
    Ok(Intervals {
        classes: (0..classes.len()).map(class_intervals).collect(),
        macros: class_intervals(classes.len()),
        exact_match: table.interval(width - 1, options.level),
    })
}

/// Difference of two models on the same records, second minus first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Difference and its interval.
    pub estimate: Estimate,
    /// Two-sided bootstrap p-value, 2 min(fraction of resamples <= 0, fraction >= 0) with one resample added on either
    /// side; `None` without resamples.
    pub p_value: Option<f64>,
}

/// Paired differences of two models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairedDifference {
    /// Per class, difference in AUROC.
    pub auroc: Vec<Difference>,
    /// Per class, difference in average precision.
    pub auprc: Vec<Difference>,
    /// Difference in macro AUROC over the classes defined for both.
    pub macro_auroc: Difference,
    /// Difference in macro average precision over the classes defined for both.
    pub macro_auprc: Difference,
}

/// Compares two models evaluated on the same records: both are resampled together, so variation that both models share
/// cancels.
///
/// `first` and `second` are scores `[records, classes]`, `labels` has the same shape, `patients`
/// one entry per record.
///
/// # Errors
/// Shapes that do not fit, scores that are not finite, a level outside (0, 1).
pub fn paired_difference<P: Hash + Eq>(
    first: &[f32],
    second: &[f32],
    labels: &[bool],
    classes: usize,
    patients: &[P],
    options: &BootstrapOptions,
) -> Result<PairedDifference, EvalError> {
    options.check()?;
    let patients = match options.unit {
        Unit::Patients => Patients::new(patients),
        Unit::RecordsByLabels => Patients::new(&(0..patients.len()).collect::<Vec<_>>()),
    };
    let models = [
        Ranking::of_matrix(first, labels, classes)?,
        Ranking::of_matrix(second, labels, classes)?,
    ];
    check_length(
        "The list of patients",
        patients.records(),
        first.len() / classes,
        || "one per record".into(),
    )?;
    let models = models.map(|rankings| -> Vec<Vec<Entry>> {
        rankings
            .iter()
            .map(|ranking| entries(ranking, &patients, f32::MAX))
            .collect()
    });

    // [class x (auroc, auprc) + their means]
    let width = 2 * (classes + 1);
    let differences = |weights: &[u32], row: &mut [f64]| {
        for class in 0..classes {
            let [a, b] = [0, 1].map(|model: usize| class_metrics(&models[model][class], weights));
            row[2 * class] = b[0] - a[0];
            row[2 * class + 1] = b[1] - a[1];
        }
        let (per_class, means) = row.split_at_mut(2 * classes);
        for (metric, mean) in means.iter_mut().enumerate() {
            *mean = mean_of(
                per_class.iter().skip(metric).step_by(2),
                SingleClass::Skip.into(),
            );
        }
    };
    let mut observed = vec![0.0; width];
    differences(&vec![1; patients.count], &mut observed);
    let groups = match options.unit {
        Unit::Patients => vec![(0..patients.count as u32).collect()],
        Unit::RecordsByLabels => label_groups(labels, classes),
    };
    let table = resample(patients.count, &groups, width, options, differences);
    let difference = |column: usize| Difference {
        estimate: Estimate {
            value: Some(observed[column]).filter(|value| !value.is_nan()),
            interval: table.interval(column, options.level),
        },
        p_value: table.p_value(column),
    };
    Ok(PairedDifference {
        auroc: (0..classes).map(|class| difference(2 * class)).collect(),
        auprc: (0..classes)
            .map(|class| difference(2 * class + 1))
            .collect(),
        macro_auroc: difference(width - 2),
        macro_auprc: difference(width - 1),
    })
}

/// Metrics per class in a row of the resample table.
const METRICS: usize = 6;

/// An entry of a ranking with the patient instead of the record: 8 bytes, read in order.
#[derive(Clone, Copy)]
struct Entry {
    patient: u32,
    positive: bool,
    ends_tie: bool,
    called: bool,
}

fn entries(ranking: &Ranking, patients: &Patients, threshold: f32) -> Vec<Entry> {
    ranking
        .places()
        .iter()
        .map(|place| Entry {
            patient: patients.of_record[place.record as usize],
            positive: place.positive,
            ends_tie: place.ends_tie,
            called: place.score > threshold,
        })
        .collect()
}

/// AUROC, average precision, precision, recall, F1, specificity with record weights; NaN where undefined.
fn class_metrics(entries: &[Entry], weights: &[u32]) -> [f64; METRICS] {
    let (mut sweep, mut confusion) = (Sweep::default(), Confusion::default());
    for entry in entries {
        let weight = weights[entry.patient as usize];
        sweep.add(weight, entry.positive, entry.ends_tie);
        confusion.add(weight, entry.called, entry.positive);
    }
    [
        sweep.auroc().unwrap_or(f64::NAN),
        sweep.average_precision().unwrap_or(f64::NAN),
        confusion.precision(),
        confusion.recall(),
        confusion.f1(),
        confusion.specificity(),
    ]
}

fn mean_of<'a>(values: impl Iterator<Item = &'a f64>, over: Means<'_>) -> f64 {
    let counted = values.enumerate().filter(|(class, _)| over.has(*class));
    let defined = counted.map(|(_, value)| Some(*value).filter(|value| !value.is_nan()));
    macro_mean(defined, over.single_class)
        .value
        .unwrap_or(f64::NAN)
}

/// Values of every resample, `[resamples, width]`; NaN where undefined.
struct ResampleTable {
    values: Vec<f64>,
    width: usize,
}

/// Records of each combination of labels, combinations in the order of their first record.
fn label_groups(labels: &[bool], classes: usize) -> Vec<Vec<u32>> {
    let mut numbers: HashMap<&[bool], usize> = HashMap::new();
    let mut groups: Vec<Vec<u32>> = Vec::new();
    for (record, labels) in (0u32..).zip(labels.chunks_exact(classes.max(1))) {
        let group = *numbers.entry(labels).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(record);
    }
    groups
}

/// The percentile interval of the values of the resamples, without those that are NaN; `None` without values.
///
/// # Errors
/// A level outside (0, 1).
pub fn percentile_interval(values: &[f64], level: f64) -> Result<Option<Interval>, EvalError> {
    let options = BootstrapOptions {
        level,
        ..BootstrapOptions::default()
    };
    options.check()?;
    let table = ResampleTable {
        values: values.to_vec(),
        width: 1,
    };
    Ok(table.interval(0, level))
}

/// Fills a row per resample from the number of times every patient was drawn, as many draws in each group as it has
/// members.
fn resample(
    patients: usize,
    groups: &[Vec<u32>],
    width: usize,
    options: &BootstrapOptions,
    fill: impl Fn(&[u32], &mut [f64]) + Sync,
) -> ResampleTable {
    let stream = Counter::new(options.seed, "bootstrap over patients");
    let mut values = vec![f64::NAN; options.resamples * width];
    values
        .par_chunks_exact_mut(width)
        .enumerate()
        .for_each_init(
            || vec![0u32; patients],
            |weights, (resample, row)| {
                let stream = stream.row(resample as u64);
                weights.fill(0);
                let mut draw = 0;
                for group in groups {
                    for _ in group {
                        weights[group[stream.below(draw, group.len())] as usize] += 1;
                        draw += 1;
                    }
                }
                fill(weights, row);
            },
        );
    ResampleTable { values, width }
}

impl ResampleTable {
    fn defined(&self, column: usize) -> Vec<f64> {
        self.values
            .iter()
            .skip(column)
            .step_by(self.width)
            .copied()
            .filter(|value| !value.is_nan())
            .collect()
    }

    fn undefined(&self, column: usize) -> usize {
        self.values.len() / self.width - self.defined(column).len()
    }

    fn interval(&self, column: usize, level: f64) -> Option<Interval> {
        let mut values = self.defined(column);
        values.sort_unstable_by(f64::total_cmp);
        Some(Interval {
            low: quantile(&values, (1.0 - level) / 2.0)?,
            high: quantile(&values, (1.0 + level) / 2.0)?,
        })
    }

    fn p_value(&self, column: usize) -> Option<f64> {
        let values = self.defined(column);
        if values.is_empty() {
            return None;
        }
        let share = |count: usize| (count + 1) as f64 / (values.len() + 1) as f64;
        let not_above = share(values.iter().filter(|&&value| value <= 0.0).count());
        let not_below = share(values.iter().filter(|&&value| value >= 0.0).count());
        Some((2.0 * not_above.min(not_below)).min(1.0))
    }
}

/// Quantile by linear interpolation between order statistics (type 7 of Hyndman and Fan 1996,
/// NumPy's default).
fn quantile(sorted: &[f64], fraction: f64) -> Option<f64> {
    let place = fraction * (sorted.len().checked_sub(1)?) as f64;
    let below = sorted[place.floor() as usize];
    let above = sorted[place.ceil() as usize];
    Some(below + (above - below) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores that know the label only in part, two records per patient.
    fn example(records: usize, classes: usize, skill: f32) -> (Vec<f32>, Vec<bool>, Vec<usize>) {
        let stream = Counter::new(7, "example");
        let labels: Vec<bool> = (0..records * classes)
            .map(|i| stream.below(i as u64, 10) < 3)
            .collect();
        let noise = Counter::new(8, "noise");
        let scores = labels
            .iter()
            .enumerate()
            .map(|(i, &label)| {
                let uniform = noise.below(i as u64, 1 << 20) as f32 / (1 << 20) as f32;
                uniform + skill * f32::from(u8::from(label))
            })
            .collect();
        (
            scores,
            labels,
            (0..records).map(|record| record / 2).collect(),
        )
    }

    fn intervals_of(seed: u64, resamples: usize) -> Intervals {
        let (scores, labels, patients) = example(300, 3, 0.4);
        let rankings = Ranking::of_matrix(&scores, &labels, 3).unwrap();
        let options = BootstrapOptions {
            resamples,
            seed,
            ..Default::default()
        };
        intervals(
            &rankings,
            &scores,
            &labels,
            &[0.5; 3],
            &Patients::new(&patients),
            SingleClass::Skip,
            &options,
        )
        .unwrap()
    }

    #[test]
    fn records_can_be_drawn_by_labels_as_released() {
        // One positive record: patients drawn at random lose it in a third of the resamples, groups never.
        let labels: Vec<bool> = (0..40).map(|record| record == 7).collect();
        let scores: Vec<f32> = (0..40).map(|record| (record * 17 % 40) as f32).collect();
        let rankings = Ranking::of_matrix(&scores, &labels, 1).unwrap();
        let patients = Patients::new(&(0..40).map(|record| record / 2).collect::<Vec<_>>());
        let undefined = |unit| {
            let options = BootstrapOptions {
                unit,
                ..Default::default()
            };
            let found = intervals(
                &rankings,
                &scores,
                &labels,
                &[20.0],
                &patients,
                SingleClass::Skip,
                &options,
            );
            found.unwrap().classes[0].undefined_resamples
        };
        assert!(undefined(Unit::Patients) > 200);
        assert_eq!(undefined(Unit::RecordsByLabels), 0);
        assert_eq!(
            label_groups(&[true, false, false, true, true, false], 2),
            [vec![0, 2], vec![1]]
        );
        let ends = percentile_interval(&[3.0, 1.0, f64::NAN, 2.0], 0.5)
            .unwrap()
            .unwrap();
        assert_eq!((ends.low, ends.high), (1.5, 2.5));
        assert!(percentile_interval(&[1.0], 2.0).is_err());
    }

    #[test]
    fn intervals_do_not_depend_on_threads() {
        let one = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        let four = rayon::ThreadPoolBuilder::new()
            .num_threads(4)
            .build()
            .unwrap();
        let (a, b) = (
            one.install(|| intervals_of(3, 200)),
            four.install(|| intervals_of(3, 200)),
        );
        assert_eq!(format!("{a:?}"), format!("{b:?}"));
        assert_ne!(format!("{a:?}"), format!("{:?}", intervals_of(4, 200)));
    }

    #[test]
    fn weighted_metrics_equal_metrics_of_repeated_records() {
        let (scores, labels, patients) = example(60, 1, 0.3);
        let patients = Patients::new(&patients);
        let weights: Vec<u32> = (0..patients.count() as u32).map(|i| i % 4).collect();
        let (mut repeated, mut repeated_labels) = (Vec::new(), Vec::new());
        for record in 0..60 {
            for _ in 0..weights[patients.of_record[record] as usize] {
                repeated.push(scores[record]);
                repeated_labels.push(labels[record]);
            }
        }
        let ranking = Ranking::new(&scores, &labels).unwrap();
        let expected = Ranking::new(&repeated, &repeated_labels).unwrap();
        let confusion = Confusion::count(repeated, repeated_labels, 0.6);
        let found = class_metrics(&entries(&ranking, &patients, 0.6), &weights);
        let expected = [
            expected.auroc().unwrap(),
            expected.average_precision().unwrap(),
            confusion.precision(),
            confusion.recall(),
            confusion.f1(),
        ];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn patients_widen_the_interval() {
        // Ten copies of every record: as independent records the interval would shrink by
        // sqrt(10); drawn by patient it stays that of the originals.
        let (scores, labels, _) = example(200, 1, 0.4);
        let copies = |ids: bool| {
            let scores: Vec<f32> = scores.iter().flat_map(|&s| [s; 10]).collect();
            let labels: Vec<bool> = labels.iter().flat_map(|&l| [l; 10]).collect();
            let ids: Vec<usize> = (0..2000).map(|i| if ids { i / 10 } else { i }).collect();
            let rankings = Ranking::of_matrix(&scores, &labels, 1).unwrap();
            let found = intervals(
                &rankings,
                &scores,
                &labels,
                &[0.5],
                &Patients::new(&ids),
                SingleClass::Skip,
                &BootstrapOptions::default(),
            )
            .unwrap();
            let interval = found.classes[0].auroc.unwrap();
            interval.high - interval.low
        };
        let factor = copies(true) / copies(false);
        assert!((2.6..3.8).contains(&factor), "{factor}");
    }

    #[test]
    fn the_interval_has_the_width_of_theory() {
        // Hanley and McNeil's standard error of the AUROC.
        let (scores, labels, _) = example(400, 1, 0.3);
        let ranking = Ranking::new(&scores, &labels).unwrap();
        let auroc = ranking.auroc().unwrap();
        let positives = ranking.positives() as f64;
        let negatives = 400.0 - positives;
        let (q1, q2) = (auroc / (2.0 - auroc), 2.0 * auroc * auroc / (1.0 + auroc));
        let variance = auroc * (1.0 - auroc)
            + (positives - 1.0) * (q1 - auroc * auroc)
            + (negatives - 1.0) * (q2 - auroc * auroc);
        let expected = 2.0 * 1.96 * (variance / (positives * negatives)).sqrt();
        let ids: Vec<usize> = (0..400).collect();
        let found = intervals(
            &[ranking],
            &scores,
            &labels,
            &[0.5],
            &Patients::new(&ids),
            SingleClass::Skip,
            &BootstrapOptions {
                resamples: 4000,
                ..Default::default()
            },
        )
        .unwrap();
        let interval = found.classes[0].auroc.unwrap();
        assert!(interval.low < auroc && auroc < interval.high);
        let width = interval.high - interval.low;
        assert!(
            (width / expected - 1.0).abs() < 0.15,
            "{width} against {expected}"
        );
    }

    #[test]
    fn differences_are_paired() {
        let (good, labels, patients) = example(400, 2, 0.5);
        let (bad, _, _) = example(400, 2, 0.2);
        let options = BootstrapOptions {
            resamples: 500,
            ..Default::default()
        };
        let compare = |a: &[f32], b: &[f32]| {
            paired_difference(a, b, &labels, 2, &patients, &options).unwrap()
        };
        let same = compare(&good, &good);
        assert_eq!(
            same.macro_auroc.estimate.interval,
            Some(Interval {
                low: 0.0,
                high: 0.0
            })
        );
        assert_eq!(same.macro_auroc.p_value, Some(1.0));
        let better = compare(&bad, &good);
        assert!(better.macro_auroc.estimate.interval.unwrap().low > 0.0);
        assert!(better.macro_auroc.p_value.unwrap() < 0.01);
        let worse = compare(&good, &bad);
        assert_eq!(
            worse.auroc[1].estimate.value.unwrap(),
            -better.auroc[1].estimate.value.unwrap()
        );
    }

    #[test]
    fn rare_classes_count_undefined_resamples() {
        let scores = [0.9, 0.1, 0.2, 0.3, 0.4];
        let labels = [true, false, false, false, false];
        let rankings = Ranking::of_matrix(&scores, &labels, 1).unwrap();
        let run = |resamples| {
            intervals(
                &rankings,
                &scores,
                &labels,
                &[0.5],
                &Patients::new(&["a", "b", "c", "d", "e"]),
                SingleClass::Skip,
                &BootstrapOptions {
                    resamples,
                    ..Default::default()
                },
            )
            .unwrap()
            .classes[0]
        };
        // The positive record is missed with probability (4/5)^5 = 0.33.
        assert!((270..390).contains(&run(1000).undefined_resamples));
        assert_eq!(run(0).auroc, None);
    }

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), Some(3.0));
        assert_eq!(quantile(&[1.0], 0.025), Some(1.0));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
