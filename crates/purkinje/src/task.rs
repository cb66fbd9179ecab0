//! A label set of a store with its training, validation and test splits.

use std::collections::{BTreeMap, HashMap};

use purkinje_eval::challenge::ChallengeScore;
use purkinje_eval::fraction::LabelFraction;
use purkinje_eval::metrics::labels_from;
use purkinje_eval::survival::concordance;
use purkinje_eval::{EvaluateOptions, best_thresholds, bootstrap::BootstrapOptions};
use purkinje_store::{QualityFilter, Split, Store};

use crate::reporter::Reporter;
use crate::text::count;
use crate::{Error, Result};

/// Smallest number of classes scored by the PhysioNet/CinC Challenge for which its score is reported, if they are not
/// most of the classes.
const CHALLENGE_CLASSES: usize = 10;

/// Training records that share a value of a text of the store from which on it is a class.
const RECORDS_OF_A_VALUE: usize = 20;

/// One split of a task.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SplitRows {
    /// Rows of the store.
    pub rows: Vec<usize>,
    /// `[rows, classes]`.
    pub labels: Vec<bool>,
}

impl SplitRows {
    /// The rows at the positions for which `keeps` holds.
    fn filtered(&self, classes: usize, keeps: impl Fn(usize) -> bool) -> SplitRows {
        let places: Vec<usize> = (0..self.rows.len()).filter(|i| keeps(*i)).collect();
        self.at(classes, &places)
    }

    /// The rows at these positions.
    fn at(&self, classes: usize, places: &[usize]) -> SplitRows {
        SplitRows {
            rows: places.iter().map(|&i| self.rows[i]).collect(),
            labels: places
                .iter()
                .flat_map(|&i| &self.labels[i * classes..(i + 1) * classes])
                .copied()
                .collect(),
        }
    }
}

impl SplitRows {
    /// Rows with each of so many classes.
    pub fn positives(&self, classes: usize) -> Vec<usize> {
        let of = |class| self.labels.iter().skip(class).step_by(classes.max(1));
        (0..classes)
            .map(|class| of(class).filter(|label| **label).count())
            .collect()
    }
}

/// A task of a store with its three splits.
#[derive(Clone, Debug)]
pub struct Task {
    /// Name of the label set.
    pub name: String,
    /// Classes in column order.
    pub classes: Vec<String>,
    /// The training split.
    pub train: SplitRows,
    /// The validation split: epochs, penalties and thresholds are selected on it.
    pub validation: SplitRows,
    /// The test split: it is evaluated once.
    pub test: SplitRows,
    /// Patient of each test row; the record where the patient is unknown.
    pub patients: Vec<String>,
    /// For tasks about death: years of follow-up of each test row, and whether it ended in death.
    pub follow_up: Option<(Vec<f32>, Vec<bool>)>,
}

impl Task {
    /// A task with only the split to evaluate, reduced to records that keep the limits of `quality`.
    ///
    /// # Errors
    /// When the store has no such label set, or the split has no record labelled in it.
    pub fn evaluated(
        store: &Store,
        name: &str,
        split: Split,
        quality: Option<&QualityFilter>,
    ) -> Result<Task> {
        let (test, classes) = part(store, name, split, quality)?;
        Ok(Task {
            name: name.to_owned(),
            classes,
            train: SplitRows::default(),
            validation: SplitRows::default(),
            patients: patients_of(store, &test)?,
            follow_up: follow_up(store, name, &test)?,
            test,
        })
    }

    /// Reduces the split to evaluate to the classes for which `keeps` holds.
    pub fn keep(&mut self, keeps: impl Fn(usize) -> bool) {
        let width = self.classes.len();
        let kept: Vec<usize> = (0..width).filter(|&class| keeps(class)).collect();
        let rows = self.test.labels.chunks(width);
        self.test.labels = rows
            .flat_map(|row| kept.iter().map(|&class| row[class]))
            .collect();
        self.classes = kept
            .iter()
            .map(|&class| self.classes[class].clone())
            .collect();
    }

    /// The same with the columns of these classes, in their order.
    ///
    /// # Errors
    /// When the task lacks one of them.
    pub fn with_classes(mut self, classes: &[String]) -> Result<Task> {
        let width = self.classes.len();
        let place = |class: &String| {
            let same = |own: &String| own.eq_ignore_ascii_case(class);
            self.classes.iter().position(same).ok_or_else(|| {
                Error::invalid(format!(
                    "task `{}` has no class `{class}`; it has {}",
                    self.name,
                    self.classes.join(", ")
                ))
            })
        };
        let places: Vec<usize> = classes.iter().map(place).collect::<Result<_>>()?;
        let rows = self.test.labels.chunks(width.max(1));
        self.test.labels = rows
            .flat_map(|row| places.iter().map(|&place| row[place]))
            .collect();
        self.classes = classes.to_vec();
        Ok(self)
    }

    /// The records that are labelled in `other` too, and the labels there as scores: 1 and 0. Both have the same classes.
    pub fn judged_by(&self, other: &Task) -> (Task, Vec<f32>) {
        let width = self.classes.len();
        let places: HashMap<usize, usize> = other.test.rows.iter().copied().zip(0..).collect();
        let both = self.test.rows.iter().enumerate();
        let both: Vec<(usize, usize)> = both
            .filter_map(|(own, row)| Some((own, *places.get(row)?)))
            .collect();
        let own: Vec<usize> = both.iter().map(|&(own, _)| own).collect();
        let labels = both
            .iter()
            .flat_map(|&(_, at)| &other.test.labels[at * width..(at + 1) * width]);
        let scores = labels.map(|&label| f32::from(u8::from(label))).collect();
        let task = Task {
            test: self.test.at(width, &own),
            patients: own.iter().map(|&at| self.patients[at].clone()).collect(),
            follow_up: None,
            ..self.clone()
        };
        (task, scores)
    }

    /// Loads the label set `name` of a store, reduced to records that keep the limits of `quality`, if any.
    ///
    /// If the store has no validation split, a tenth of the training patients are used for it; `reporter` gets a note.
    ///
    /// # Errors
    /// When the store has no such label set, or a split has no record labelled in it.
    pub fn load(
        store: &Store,
        name: &str,
        quality: Option<&QualityFilter>,
        reporter: &dyn Reporter,
    ) -> Result<Task> {
        let part = |split| part(store, name, split, quality);
        let (mut train, classes) = part(Split::Train)?;
        let (test, _) = part(Split::Test)?;
        let patients = patients_of(store, &test)?;
        let validation = match store.indices(Split::Val).is_empty() {
            false => part(Split::Val)?.0,
            true => {
                let names = patients_of(store, &train)?;
                let kept = |i: usize| is_held_out(&names[i]);
                let rest = |held| train.filtered(classes.len(), |i| kept(i) == held);
                let (validation, rest) = (rest(true), rest(false));
                reporter.note(&format!(
                    "the store has no validation split: {} of {} training records (a tenth of the patients) are held out for validation",
                    validation.rows.len(),
                    train.rows.len()
                ));
                train = rest;
                validation
            }
        };
        Ok(Task {
            name: name.to_owned(),
            classes,
            train,
            validation,
            follow_up: follow_up(store, name, &test)?,
            test,
            patients,
        })
    }

    /// The training split reduced to a fraction of its labels.
    ///
    /// # Errors
    /// When no record remains, or the fraction is not between 0 and 1.
    pub fn fraction(&self, fraction: &LabelFraction) -> Result<SplitRows> {
        let n = self.classes.len();
        let chosen = fraction.draw(&self.train.labels, n)?;
        Ok(self.train.at(n, &chosen))
    }

    /// The decision threshold of each class with the best F1, from the probabilities of the validation records
    /// `[records, classes]`.
    ///
    /// # Errors
    /// When the number of probabilities does not match that of the labels.
    pub fn thresholds(&self, validation: &[f32]) -> Result<Vec<f32>> {
        let labels = &self.validation.labels;
        Ok(best_thresholds(
            validation,
            labels,
            self.classes.len(),
            0.5,
        )?)
    }

    /// How the test split is evaluated at these thresholds.
    pub fn evaluation(&self, thresholds: &[f32], resamples: usize) -> EvaluateOptions {
        EvaluateOptions {
            thresholds: thresholds.to_vec(),
            bootstrap: BootstrapOptions {
                resamples,
                ..BootstrapOptions::default()
            },
            ..EvaluateOptions::new(self.classes.clone())
        }
    }

    /// Further metrics of the test split: the Challenge score, if the Challenge scores most of the classes or at least
    /// ten; and for a single label about death the concordance index with the right-censored survival time.
    ///
    /// # Errors
    /// When the number of scores `[records, classes]` does not match that of the labels.
    pub fn other_metrics(&self, scores: &[f32], thresholds: &[f32]) -> Result<Vec<(String, f64)>> {
        let mut metrics = Vec::new();
        let challenge = ChallengeScore::published(&self.classes);
        let scored = challenge.scored().count();
        if scored >= 2 && (scored >= CHALLENGE_CLASSES || 2 * scored > self.classes.len()) {
            let limits = thresholds.iter().cycle();
            let calls: Vec<bool> = scores.iter().zip(limits).map(|(s, t)| s > t).collect();
            let score = challenge.of(&self.test.labels, &calls)?;
            metrics.push((format!("Challenge score ({scored} classes)"), score));
        }
        if let (Some((times, events)), [_]) = (&self.follow_up, &self.classes[..]) {
            let found = concordance(scores, times, events)?;
            metrics.extend(found.index().map(|index| ("concordance".to_owned(), index)));
        }
        Ok(metrics)
    }
}

/// The rows of one split of a label set that keep the limits of `quality`, and its classes.
fn part(
    store: &Store,
    name: &str,
    split: Split,
    quality: Option<&QualityFilter>,
) -> Result<(SplitRows, Vec<String>)> {
    let rate_hz = store.info().rate_hz;
    let kept = |row: usize| match quality {
        None => true,
        Some(quality) => store
            .row(row)
            .is_ok_and(|row| quality.check_row(&row, rate_hz).is_ok()),
    };
    let labelled = store.info().label_sets.iter().any(|set| set.name == name);
    if let (false, Some(place)) = (labelled, store.text(name)) {
        let (mut part, classes) = values_of_text(store, place, split)?;
        part = part.filtered(classes.len(), |at| kept(part.rows[at]));
        return Ok((part, classes));
    }
    let mut labels = store.label_matrix_of(name, split)?;
    labels.retain(kept);
    if labels.rows.is_empty() {
        return Err(Error::invalid(format!(
            "store `{}`: the split `{}` has no record labelled in task `{name}`",
            store.dir().display(),
            split.name()
        ))
        .with_help(
            "prepare the store with this split, choose another task, or relax the limits on quality",
        ));
    }
    let classes = labels.classes.clone();
    let part = SplitRows {
        labels: labels_from(&labels.multi_hot)?,
        rows: labels.rows,
    };
    Ok((part, classes))
}

/// The values of a further text of a store, such as the language of reports or the recorder, as the classes of a task: those of at least
/// [`RECORDS_OF_A_VALUE`] training records. What is not a diagnosis but can be told from vectors may be what a model goes by.
fn values_of_text(store: &Store, place: usize, split: Split) -> Result<(SplitRows, Vec<String>)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for row in store.indices(Split::Train) {
        if let Some(value) = store.row(row)?.text(place) {
            *counts.entry(value).or_default() += 1;
        }
    }
    counts.retain(|_, count| *count >= RECORDS_OF_A_VALUE);
    let classes: Vec<&str> = counts.into_keys().collect();
    if classes.len() < 2 {
        return Err(Error::invalid(format!(
            "the text `{}` of store `{}` has {} that at least {RECORDS_OF_A_VALUE} training records share, expected 2 or more",
            store.info().texts[place],
            store.dir().display(),
            count(classes.len(), "value"),
        )));
    }
    let mut part = SplitRows::default();
    for row in store.indices(split) {
        let value = store.row(row)?.text(place);
        let own = value.and_then(|value| classes.iter().position(|class| *class == value));
        if let Some(own) = own {
            part.rows.push(row);
            part.labels
                .extend((0..classes.len()).map(|class| class == own));
        }
    }
    Ok((part, classes.into_iter().map(str::to_owned).collect()))
}

/// The patient of each row of a split; the record where the patient is unknown.
fn patients_of(store: &Store, part: &SplitRows) -> Result<Vec<String>> {
    let patient = |&row: &usize| {
        let row = store.row(row)?;
        Ok(row.patient().unwrap_or(row.id()).to_owned())
    };
    part.rows.iter().map(patient).collect()
}

/// Years of follow-up and whether they ended in death, for a task about death where both are known for every row. The
/// label `death` is the event itself; death within a horizon is not.
fn follow_up(store: &Store, name: &str, part: &SplitRows) -> Result<Option<(Vec<f32>, Vec<bool>)>> {
    let Some(years) = store
        .value("follow_up_years")
        .filter(|_| name.starts_with("death"))
    else {
        return Ok(None);
    };
    let death = store.value("death");
    let (mut times, mut events) = (Vec::new(), Vec::new());
    for (place, &row) in part.rows.iter().enumerate() {
        let row = store.row(row)?;
        let own = (name == "death").then(|| part.labels[place]);
        let event = match death {
            Some(death) => row.value(death).map(|dead| dead > 0.0),
            None => own,
        };
        let (Some(time), Some(event)) = (row.value(years), event) else {
            return Ok(None);
        };
        times.push(time);
        events.push(event);
    }
    Ok(Some((times, events)))
}

/// Whether a patient is held out for validation where a data set has no validation split: one in ten, by the hash of
/// the name.
fn is_held_out(patient: &str) -> bool {
    let hash = blake3::hash(patient.as_bytes());
    u16::from_le_bytes([hash.as_bytes()[0], hash.as_bytes()[1]]).is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_the_patients_is_held_out_whatever_the_others_are() {
        let held = (0..10_000).filter(|p| is_held_out(&format!("patient {p}")));
        let count = held.count();
        assert!((900..1100).contains(&count), "{count}");
    }

    #[test]
    fn thresholds_come_from_validation() {
        let part = |labels: [bool; 4]| SplitRows {
            rows: vec![0, 1, 2, 3],
            labels: labels.to_vec(),
        };
        let task = |test| Task {
            name: "t".to_owned(),
            classes: vec!["a".to_owned()],
            train: SplitRows::default(),
            validation: part([false, false, true, true]),
            test,
            patients: Vec::new(),
            follow_up: None,
        };
        let found = task(part([false, true, true, true])).thresholds(&[0.1, 0.2, 0.6, 0.9]);
        assert_eq!(found.unwrap(), [0.4]);
    }

    #[test]
    fn rows_keep_their_labels() {
        let part = SplitRows {
            rows: vec![5, 6, 9],
            labels: vec![true, false, false, true, true, true],
        };
        let kept = part.filtered(2, |place| place != 1);
        assert_eq!(kept.rows, [5, 9]);
        assert_eq!(kept.labels, [true, false, true, true]);
    }
}
