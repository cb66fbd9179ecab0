//! Diagnosis without training: how well a sentence for each label fits a recording, by the vectors of both.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use purkinje_eval::metrics::{SingleClass, macro_auroc};
use purkinje_eval::{RankingMetrics, TaskMetrics, best_thresholds, evaluate_split};
use purkinje_models::compat::Compat;
use purkinje_store::{Split, Store};
use purkinje_text::Tokenizer;
use purkinje_text::neighbours::normalise;
use serde::{Deserialize, Serialize};

use crate::inputs::{Input, ReadOptions, StoreRows};
use crate::model::Model;
use crate::network::RowsOfVectors;
use crate::occlusion::Occlusion;
use crate::probe::quality_filter;
use crate::prompts::{Prompt, with_prompts};
use crate::reporter::{Reporter, go_on};
use crate::shift::shifted;
use crate::task::Task;
use crate::text_encoder::each_alone;
use crate::windows::{Used, WindowOptions};
use crate::{Error, Result};

/// How the scores of several sentences of a label become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Together {
    /// Their mean.
    #[default]
    Mean,
    /// The largest.
    Max,
    /// That of the first sentence.
    First,
}

/// How a recording is compared with a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Similarity {
    /// The product of their vectors.
    Dot,
    /// The cosine of the angle between them.
    Cosine,
}

/// What a zero-shot diagnosis is measured on, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ZeroShotOptions {
    /// Label set of the store; its classes are matched with the labels of the prompts by name.
    pub task: String,
    /// Split of the store.
    pub split: Split,
    /// How several sentences of a label are taken together.
    pub together: Together,
    /// How recordings and sentences are compared; as the model was trained if absent.
    pub similarity: Option<Similarity>,
    /// How much of each record the model is given, and how its vectors are aggregated.
    pub windows: WindowOptions,
    /// Bootstrap resamples for the 95 % intervals.
    pub resamples: usize,
    /// Seed of resamples and of the twin.
    pub seed: u64,
    /// Also measure the same network with random weights.
    pub twin: bool,
    /// Which prompts are for which classes, where names differ.
    pub map: Vec<(String, String)>,
    /// Measure only the classes that have a counterpart in another label set, such as `super:cpsc2018`; all if empty.
    pub shift: String,
    /// Label sets of the store by others, which are measured against the task as the model is.
    pub against: Vec<String>,
    /// Choose thresholds on the validation split of the store, where it has one that is not judged.
    pub calibrate: bool,
    /// Limits on signal quality that records must keep; none when empty.
    pub quality: String,
    /// Accept a store that was prepared differently than the model expects.
    pub any_preprocessing: bool,
}

impl Default for ZeroShotOptions {
    fn default() -> Self {
        ZeroShotOptions {
            task: String::new(),
            split: Split::Test,
            together: Together::Mean,
            similarity: None,
            windows: WindowOptions::default(),
            resamples: 1000,
            seed: 0,
            twin: true,
            map: Vec::new(),
            shift: String::new(),
            against: Vec::new(),
            calibrate: true,
            quality: String::new(),
            any_preprocessing: false,
        }
    }
}

/// The result on a store.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ZeroShot {
    /// Folder of the model; `None` for a model that was not read from disk.
    pub model: Option<PathBuf>,
    /// The store.
    pub data: PathBuf,
    /// The label set.
    pub task: String,
    /// Split of the store.
    pub split: &'static str,
    /// The sentences of each class, in the order of the classes.
    pub prompts: Vec<Prompt>,
    /// How several sentences of a label were taken together.
    pub together: Together,
    /// How much of all records together was used.
    pub used: Used,
    /// How the scores rank records.
    pub ranking: RankingMetrics,
    /// Decisions at thresholds of best F1 on other records, where there are any; scores are no probabilities.
    pub decisions: Option<Decisions>,
    /// How others rank the records, by label set.
    pub against: Vec<Against>,
    /// The mean rank correlation between the scores of two labels: near 1 where all sentences rank the recordings alike, as those of a
    /// network whose vectors have one direction do.
    pub label_correlation: f64,
    /// The same of the network with random weights.
    pub random_weights: Option<RankingMetrics>,
    /// The mean AUROC where every class has the sentences of another one, over all such exchanges by a fixed distance: near one half where the
    /// sentences matter. `None` for one class.
    pub shuffled_prompts: Option<f64>,
    /// The score of each class for each record.
    #[serde(skip)]
    pub predictions: Vec<Prediction>,
}

/// Decisions of a zero-shot diagnosis.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decisions {
    /// The store whose records the thresholds were chosen on.
    pub chosen_on: PathBuf,
    /// Its split.
    pub split: &'static str,
    /// Records that were used for it.
    pub records: usize,
    /// Metrics at the thresholds.
    pub metrics: TaskMetrics,
}

/// A label set of others, measured against the task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Against {
    /// Its name.
    pub name: String,
    /// How it ranks the records that are labelled in both.
    pub ranking: RankingMetrics,
}

/// The scores of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Its id.
    pub id: String,
    /// Its patient; the record where that is unknown.
    pub patient: String,
    /// One for each class.
    pub scores: Vec<f32>,
    /// The labels.
    pub labels: Vec<bool>,
    /// Why its quality allows no result, if it does not.
    pub unusable: Option<String>,
}

/// Diagnoses labelled records of a store by sentences. Thresholds are chosen on `calibration`, else on the validation split of the store, if
/// it is not the one judged.
///
/// # Errors
/// When the model reads no texts or has no tokenizer, no class has a prompt, the store does not fit, or a stop was requested.
pub fn zero_shot(
    model: &Model,
    store: &Store,
    prompts: &[Prompt],
    calibration: Option<&Store>,
    options: &ZeroShotOptions,
    reporter: &dyn Reporter,
) -> Result<ZeroShot> {
    let quality = quality_filter(&options.quality)?;
    let labelled = |store, split| Task::evaluated(store, &options.task, split, quality.as_ref());
    let mut all = labelled(store, options.split)?;
    if !options.shift.is_empty() {
        let kept = shifted(&options.shift)?;
        let has = |class: &String| kept.iter().any(|own| own.eq_ignore_ascii_case(class));
        let kept: Vec<String> = all
            .classes
            .iter()
            .filter(|class| has(class))
            .cloned()
            .collect();
        if kept.is_empty() {
            return Err(Error::invalid(format!(
                "task `{}` has none of the classes of `--shift {}`; it has {}",
                all.name,
                options.shift,
                all.classes.join(", ")
            )));
        }
        all = all.with_classes(&kept)?;
    }
    let (task, prompts) = with_prompts(all, prompts, &options.map, reporter)?;
    let diagnosis = Diagnosis {
        prompts: &prompts,
        options,
        reporter,
    };
    let none = vec![0.0; task.classes.len()];
    let rows = &task.test.rows;
    let (scores, used) = diagnosis.scores(model, store, rows, "zero-shot")?;
    let of_store = options.calibrate && options.split != Split::Val;
    let chosen_on = match calibration {
        Some(other) => {
            let mut part = (labelled(other, Split::Val), Split::Val);
            if part.0.is_err() {
                part = (labelled(other, Split::Test), Split::Test);
            }
            if other.dir() == store.dir() && part.1 == options.split {
                return Err(Error::invalid(format!(
                    "thresholds would be chosen on the split `{}` of {}, which is judged",
                    options.split.name(),
                    store.dir().display()
                ))
                .with_help("name another store with `--calibrate`, or judge another split"));
            }
            Some((other, part.0?))
        }
        // A store without a labelled validation split gives no thresholds.
        None if of_store => labelled(store, Split::Val).ok().map(|part| (store, part)),
        None => None,
    };
    let decisions = match chosen_on {
        None => None,
        Some((other, part)) => {
            let part = part.with_classes(&task.classes)?;
            Some(diagnosis.decisions(model, (&task, &scores), other, &part)?)
        }
    };
    let against = options.against.iter().map(|name| {
        let other = Task::evaluated(store, name, options.split, quality.as_ref())?;
        let (both, scores) = task.judged_by(&other.with_classes(&task.classes)?);
        Ok(Against {
            name: name.clone(),
            ranking: diagnosis.measured(&both, &scores, &none)?.ranking(),
        })
    });
    let against = against.collect::<Result<_>>()?;
    let random_weights = match options.twin {
        false => None,
        true => {
            let twin = twin(model, options.seed);
            let (scores, _) = diagnosis.scores(&twin, store, rows, "random weights")?;
            Some(diagnosis.measured(&task, &scores, &none)?.ranking())
        }
    };
    Ok(ZeroShot {
        model: model.folder().map(Path::to_owned),
        data: store.dir().to_owned(),
        task: task.name.clone(),
        split: options.split.name(),
        together: options.together,
        used,
        ranking: diagnosis.measured(&task, &scores, &none)?.ranking(),
        decisions,
        against,
        label_correlation: rank_correlation(&scores, task.classes.len()),
        random_weights,
        shuffled_prompts: shuffled(&task, &scores)?,
        predictions: predictions(store, &task, &scores)?,
        prompts,
    })
}

/// Several label sets.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ZeroShots {
    /// Each by itself.
    pub sets: Vec<ZeroShot>,
    /// The plain mean of their mean AUROC, which is what publications print.
    pub mean_auroc: Option<f64>,
}

/// [`zero_shot`] of several label sets of a store.
///
/// # Errors
/// As there.
pub fn zero_shots(
    model: &Model,
    store: &Store,
    prompts: &[Prompt],
    calibration: Option<&Store>,
    tasks: &[String],
    options: &ZeroShotOptions,
    reporter: &dyn Reporter,
) -> Result<ZeroShots> {
    let sets = tasks.iter().map(|task| {
        let options = ZeroShotOptions {
            task: task.clone(),
            ..options.clone()
        };
        zero_shot(model, store, prompts, calibration, &options, reporter)
    });
    let sets = sets.collect::<Result<Vec<_>>>()?;
    let areas: Option<Vec<f64>> = sets.iter().map(|set| set.ranking.auroc.value).collect();
    let mean = areas.filter(|areas| !areas.is_empty());
    Ok(ZeroShots {
        mean_auroc: mean.map(|areas| areas.iter().sum::<f64>() / areas.len() as f64),
        sets,
    })
}

/// The mean AUROC where classes have the scores of others, over all distances between a class and the one whose scores it has.
fn shuffled(task: &Task, scores: &[f32]) -> Result<Option<f64>> {
    let (classes, labels) = (task.classes.len(), &task.test.labels);
    let (mut sum, mut count) = (0.0, 0.0);
    for distance in 1..classes {
        let turned: Vec<f32> = (0..scores.len())
            .map(|at| {
                let (row, class) = (at / classes, at % classes);
                scores[row * classes + (class + distance) % classes]
            })
            .collect();
        let found = macro_auroc(&turned, labels, classes, SingleClass::default())?;
        if let Some(area) = found.value {
            sum += area;
            count += 1.0;
        }
    }
    Ok((count > 0.0).then_some(sum / count))
}

/// Sentences for the classes of a task, and how recordings are compared with them.
struct Diagnosis<'a> {
    prompts: &'a [Prompt],
    options: &'a ZeroShotOptions,
    reporter: &'a dyn Reporter,
}

impl Diagnosis<'_> {
    /// The score of each class for rows of a store `[rows, classes]`.
    fn scores(
        &self,
        model: &Model,
        store: &Store,
        rows: &[usize],
        what: &str,
    ) -> Result<(Vec<f32>, Used)> {
        let ZeroShotOptions {
            any_preprocessing,
            windows,
            together,
            similarity,
            ..
        } = self.options;
        let leads = &model.preprocess().leads;
        let contract = model.check_store(store, leads, *any_preprocessing)?;
        let sentences = Sentences::of(model, self.prompts, *similarity)?;
        let source = StoreRows::under(model, store, &contract, Compat::Paper, 0)?;
        let inputs = rows.iter().map(|&row| Input::Row(&source, row));
        let progress = self.reporter.begin(what, rows.len(), "records");
        let (mut scores, mut used) = (Vec::new(), Used::default());
        for found in model.vectors_all(inputs, *windows)? {
            go_on(self.reporter)?;
            let (vectors, own) = found?;
            used.add(&own);
            scores.extend(sentences.scores(model, &vectors.values, *together)?);
            progress.add(1);
        }
        progress.finish();
        Ok((scores, used))
    }

    fn measured(&self, task: &Task, scores: &[f32], thresholds: &[f32]) -> Result<TaskMetrics> {
        let mut how = task.evaluation(thresholds, self.options.resamples);
        how.probabilities = false;
        how.bootstrap.seed = self.options.seed;
        let (labels, patients) = (&task.test.labels, &task.patients);
        Ok(evaluate_split(scores, labels, patients, &how)?)
    }

    /// Decisions of a task at the thresholds of best F1 on labelled records of a store.
    fn decisions(
        &self,
        model: &Model,
        (task, scores): (&Task, &[f32]),
        store: &Store,
        part: &Task,
    ) -> Result<Decisions> {
        let rows = &part.test.rows;
        let (own, _) = self.scores(model, store, rows, "thresholds")?;
        let classes = task.classes.len();
        let thresholds = best_thresholds(&own, &part.test.labels, classes, f32::INFINITY)?;
        let split = match rows.first() {
            Some(&row) => store.row(row)?.split(),
            None => Split::Val,
        };
        Ok(Decisions {
            chosen_on: store.dir().to_owned(),
            split: split.name(),
            records: rows.len(),
            metrics: self.measured(task, scores, &thresholds)?,
        })
    }
}

fn predictions(store: &Store, task: &Task, scores: &[f32]) -> Result<Vec<Prediction>> {
    let classes = task.classes.len();
    let each = task.test.rows.iter().zip(&task.patients).enumerate();
    each.map(|(at, (&row, patient))| {
        let own = at * classes..(at + 1) * classes;
        let row = store.row(row)?;
        let unusable = row.usable(store.info().rate_hz).err();
        Ok(Prediction {
            id: row.id().to_owned(),
            unusable: unusable.map(|reason| reason.to_string()),
            patient: patient.clone(),
            scores: scores[own.clone()].to_vec(),
            labels: task.test.labels[own].to_vec(),
        })
    })
    .collect()
}

/// The scores of records as a table: id, patient, for each class its score and label, and whether its quality allows a result.
///
/// # Errors
/// When it cannot be written.
pub fn predictions_csv(found: &ZeroShot) -> Result<Vec<u8>> {
    let problem = |error: csv::Error| Error::invalid(format!("the table of scores: {error}"));
    let mut table = csv::Writer::from_writer(Vec::new());
    let names = found.prompts.iter().map(|prompt| &prompt.label);
    let header = names.flat_map(|name| [name.clone(), format!("{name} label")]);
    let first = ["id", "patient"].map(str::to_owned).into_iter();
    let quality = ["usable", "unusable_because"].map(str::to_owned);
    table
        .write_record(first.chain(header).chain(quality))
        .map_err(problem)?;
    for own in &found.predictions {
        let cells = own.scores.iter().zip(&own.labels);
        let cells =
            cells.flat_map(|(score, &label)| [score.to_string(), u8::from(label).to_string()]);
        let first = [own.id.clone(), own.patient.clone()].into_iter();
        let quality = [
            own.unusable.is_none().to_string(),
            own.unusable.clone().unwrap_or_default(),
        ];
        table
            .write_record(first.chain(cells).chain(quality))
            .map_err(problem)?;
    }
    let finished = table.into_inner();
    finished.map_err(|error| Error::invalid(format!("the table of scores: {error}")))
}

/// The mean Spearman correlation of two columns of scores `[records, classes]`; 0 where there are fewer than two columns.
fn rank_correlation(scores: &[f32], classes: usize) -> f64 {
    let columns: Vec<Vec<f64>> = (0..classes)
        .map(|class| {
            let own = scores.iter().skip(class).step_by(classes);
            let mut ranks = ranks(&own.copied().collect::<Vec<f32>>());
            let mean = ranks.iter().sum::<f64>() / ranks.len().max(1) as f64;
            ranks.iter_mut().for_each(|rank| *rank -= mean);
            let length = ranks.iter().map(|r| r * r).sum::<f64>().sqrt();
            if length > 0.0 {
                ranks.iter_mut().for_each(|rank| *rank /= length);
            }
            ranks
        })
        .collect();
    let mut sum = 0.0;
    for (a, first) in columns.iter().enumerate() {
        for second in &columns[..a] {
            sum += first.iter().zip(second).map(|(x, y)| x * y).sum::<f64>();
        }
    }
    let pairs = classes * classes.saturating_sub(1) / 2;
    sum / pairs.max(1) as f64
}

/// The rank of each value; equal values have the mean of theirs.
fn ranks(values: &[f32]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for equal in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = first as f64 + (equal.len() - 1) as f64 / 2.0;
        equal.iter().for_each(|&at| ranks[at] = rank);
        first += equal.len();
    }
    ranks
}

/// The score of every prompt for a recording, in the order of the prompts.
///
/// # Errors
/// As [`zero_shot`], and when the recording cannot be read.
pub fn scores_of<'a>(
    model: &'a Model,
    inputs: impl Iterator<Item = Input<'a>> + 'a,
    prompts: &[Prompt],
    (together, similarity): (Together, Option<Similarity>),
    read: impl Into<ReadOptions>,
) -> Result<impl Iterator<Item = Result<(Vec<f32>, Used)>> + 'a> {
    let sentences = Sentences::of(model, prompts, similarity)?;
    let found = model.vectors_all(inputs, read.into())?;
    Ok(found.map(move |found| {
        let (vectors, used) = found?;
        Ok((sentences.scores(model, &vectors.values, together)?, used))
    }))
}

/// What the score of every prompt loses where a lead or a stretch of a recording is silenced.
///
/// # Errors
/// As [`scores_of`], and for rows of a store.
pub fn occlusion_of(
    model: &Model,
    input: Input<'_>,
    prompts: &[Prompt],
    (together, similarity): (Together, Option<Similarity>),
    read: &ReadOptions,
) -> Result<Occlusion> {
    let sentences = Sentences::of(model, prompts, similarity)?;
    model.occlude(input, read, "similarity", |seen| {
        let vectors = model.network().vectors(seen, model.device())?;
        let each = vectors
            .values
            .chunks_exact(vectors.leads.len() * model.width());
        let scores = each.map(|vector| sentences.scores(model, vector, together));
        Ok(scores.collect::<Result<Vec<_>>>()?.concat())
    })
}

/// The same network with random weights, and the same tokenizer.
pub(crate) fn twin(model: &Model, seed: u64) -> Model {
    let network = model.network().random_twin(seed, model.device());
    let twin = Model::encoder(
        network,
        model.preprocess().clone(),
        model.device(),
        model.registry(),
    );
    twin.with_tokenizer(model.tokenizer().cloned())
}

/// The vectors of all sentences.
pub(crate) struct Sentences {
    similarity: Option<Similarity>,
    /// `[sentences, width]`.
    vectors: Vec<f32>,
    width: usize,
    /// Sentences of each label.
    counts: Vec<usize>,
}

impl Sentences {
    pub fn of(model: &Model, prompts: &[Prompt], similarity: Option<Similarity>) -> Result<Self> {
        let texts = prompts.iter().flat_map(|prompt| &prompt.texts);
        let texts: Vec<&str> = texts.map(String::as_str).collect();
        let mut vectors = text_vectors(model, &texts)?.values;
        if similarity == Some(Similarity::Cosine) {
            normalise(&mut vectors, model.width());
        }
        Ok(Sentences {
            similarity,
            vectors,
            width: model.width(),
            counts: prompts.iter().map(|prompt| prompt.texts.len()).collect(),
        })
    }

    /// How much a recording and each sentence resemble each other by what the network was trained with.
    fn as_trained(&self, model: &Model, recording: &[f32]) -> Result<Vec<f32>> {
        let rows = |values| RowsOfVectors {
            values,
            width: self.width,
        };
        let (network, device) = (model.network(), model.device());
        let each = network.similarity(rows(recording), rows(&self.vectors), device)?;
        each.ok_or_else(|| reads_no_texts(model))
    }

    /// The score of each label for what has this vector.
    pub fn scores(&self, model: &Model, recording: &[f32], together: Together) -> Result<Vec<f32>> {
        let each = match self.similarity {
            None => self.as_trained(model, recording)?,
            Some(how) => {
                let mut recording = recording.to_vec();
                if how == Similarity::Cosine {
                    normalise(&mut recording, self.width);
                }
                let rows = self.vectors.chunks_exact(self.width);
                let product = |own: &[f32]| own.iter().zip(&recording).map(|(a, b)| a * b).sum();
                rows.map(product).collect()
            }
        };
        let mut rest = each.as_slice();
        let scores = self.counts.iter().map(|&count| {
            let (own, others) = rest.split_at(count);
            rest = others;
            match together {
                Together::Mean => own.iter().sum::<f32>() / count as f32,
                Together::Max => own.iter().copied().fold(f32::NEG_INFINITY, f32::max),
                Together::First => own[0],
            }
        });
        Ok(scores.collect())
    }
}

/// Vectors of texts.
#[derive(Clone, Debug, PartialEq)]
pub struct TextVectors {
    /// `[texts, width]`.
    pub values: Vec<f32>,
    /// Texts that were cut because they are longer than the network reads.
    pub cut: usize,
}

/// One vector for each text: the same bits alone and among others.
///
/// # Errors
/// When the model reads no texts or has no tokenizer, or a text has no words.
pub fn text_vectors(model: &Model, texts: &[&str]) -> Result<TextVectors> {
    let network = model.network();
    let tokenizer = tokenizer_of(model)?;
    let (longest, mut cut) = (network.longest_text(), 0);
    let cutting = tokenizer.cut_to(longest)?;
    let mut ids = Vec::with_capacity(texts.len());
    for text in texts {
        let text = network.clean_text(text);
        if text.is_empty() {
            return Err(Error::invalid(
                "a text has no words; give it some, or leave it out",
            ));
        }
        let mut own = tokenizer.ids(&text)?;
        if own.len() > longest {
            cut += 1;
            own = cutting.ids(&text)?;
        }
        ids.push(own);
    }
    let values = each_alone(&ids, tokenizer.pad(), model.width(), |texts| {
        let found = network.text_vectors(texts, model.device())?;
        found.ok_or_else(|| reads_no_texts(model))
    })?;
    Ok(TextVectors { values, cut })
}

/// The tokenizer of a model.
pub(crate) fn tokenizer_of(model: &Model) -> Result<&Arc<Tokenizer>> {
    if model.network().table_of_words().is_none() {
        return Err(reads_no_texts(model));
    }
    model.tokenizer().ok_or_else(|| {
        Error::invalid("the model has no tokenizer, so that texts cannot be read").with_help(
            "import the checkpoint again with `--tokenizer FILE`, the `tokenizer.json` that it was trained with",
        )
    })
}

fn reads_no_texts(model: &Model) -> Error {
    Error::invalid(format!(
        "this {} model reads no texts; expected one that was trained on recordings with reports",
        model.about().title
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_rank_alike_are_correlated() {
        let scores = [
            0.1, 5.0, -1.0, 0.2, 6.0, -2.0, 0.2, 6.0, -2.0, 0.9, 70.0, -3.0,
        ];
        assert!((rank_correlation(&scores, 3) - (1.0 - 1.0 - 1.0) / 3.0).abs() < 1e-12);
        assert_eq!(rank_correlation(&scores, 1), 0.0);
        assert_eq!(ranks(&[2.0, 1.0, 2.0, 5.0]), [1.5, 0.0, 1.5, 3.0]);
    }
}
