//! What a classifier is worth on the records of a store, as it is.

use std::path::{Path, PathBuf};

use purkinje_eval::challenge::renamed;
use purkinje_eval::crops::{Aggregation, aggregate};
use purkinje_eval::{TaskMetrics, evaluate_split};
use purkinje_models::checkpoint::Labels;
use purkinje_models::compat::Compat;
use purkinje_record::LeadSet;
use purkinje_store::{Split, Store};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::model::Model;
use crate::network::Seen;
use crate::predict::probabilities;
use crate::probe::quality_filter;
use crate::reporter::{Reporter, go_on};
use crate::task::Task;
use crate::{Error, Result};

/// Records of one pass.
const BATCH: usize = 64;

/// On what a classifier is evaluated, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluateOptions {
    /// Label set of the store; classes and labels of the model are matched by their names.
    pub task: String,
    /// Split of the store.
    pub split: Split,
    /// Crops of a recording, where the system looks at crops.
    pub crops: usize,
    /// How the probabilities of crops are aggregated.
    pub aggregation: Aggregation,
    /// Decide at 0.5 and not at the thresholds of the model.
    pub half: bool,
    /// What is meant, or what the published program of the system does.
    pub compat: Compat,
    /// Leads, if not those of the model.
    pub leads: Option<LeadSet>,
    /// Resamples of the 95 % intervals.
    pub resamples: usize,
    /// Seed of resamples and crops; that of the published program where it is followed and has one, else 0.
    pub seed: Option<u64>,
    /// Limits on the quality of records; none when empty.
    pub quality: String,
    /// Take a store that was prepared otherwise than the model expects.
    pub any_preprocessing: bool,
}

impl Default for EvaluateOptions {
    fn default() -> Self {
        EvaluateOptions {
            task: String::new(),
            split: Split::Test,
            crops: 1,
            aggregation: Aggregation::default(),
            half: false,
            compat: Compat::Paper,
            leads: None,
            resamples: 1000,
            seed: None,
            quality: String::new(),
            any_preprocessing: false,
        }
    }
}

impl EvaluateOptions {
    /// The test split of a label set.
    pub fn new(task: impl Into<String>) -> Self {
        EvaluateOptions {
            task: task.into(),
            ..EvaluateOptions::default()
        }
    }
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluated {
    /// Folder of the model; `None` for one that was just made.
    pub model: Option<PathBuf>,
    /// The store.
    pub data: PathBuf,
    /// The label set.
    pub task: String,
    /// Split of the store.
    pub split: &'static str,
    /// Crops of a recording.
    pub crops: usize,
    /// How their probabilities were aggregated.
    pub aggregation: Aggregation,
    /// Whose behaviour was followed.
    pub compat: Compat,
    /// Metrics of the classes that the model knows.
    pub metrics: TaskMetrics,
    /// Further metrics by name, such as the Challenge score.
    pub other: Vec<(String, f64)>,
}

/// Evaluates a classifier on labelled records of a store.
///
/// # Errors
/// When the model has no head or knows no class of the task, the store does not fit it, or a stop was requested.
pub fn evaluate(
    model: &Model,
    store: &Store,
    options: &EvaluateOptions,
    reporter: &dyn Reporter,
) -> Result<Evaluated> {
    model.check_crops(options.crops)?;
    let labels = model.labelled()?;
    let leads = options.leads.as_ref().unwrap_or(&model.preprocess().leads);
    let contract = model.check_store(store, leads, options.any_preprocessing)?;
    let quality = quality_filter(&options.quality)?;
    let all = Task::evaluated(store, &options.task, options.split, quality.as_ref())?;
    let (task, columns) = common(all, labels, reporter)?;
    let rules = model.network().evaluation(options.compat);
    let seed = options.seed.or(rules.seed).unwrap_or(0);

    // Over the whole store: what is drawn for a record depends on its row.
    let all = (0..store.len()).collect();
    let source = model
        .network()
        .rows(store, all, &contract, options.compat, seed)?;
    let (rows, crops) = (&task.test.rows, options.crops);
    let progress = reporter.begin("evaluate", rows.len(), "records");
    let mut logits: Vec<Vec<f32>> = vec![Vec::new(); crops];
    for rows in rows.chunks(BATCH) {
        go_on(reporter)?;
        let seen: Result<Vec<Seen>> = rows.par_iter().map(|&row| source.see(row, crops)).collect();
        let seen = seen?;
        let seen: Vec<&Seen> = seen.iter().collect();
        for (crop, all) in logits.iter_mut().enumerate() {
            all.extend(model.network().logits(&seen, crop, model.device())?);
        }
        progress.add(rows.len());
    }
    progress.finish();
    let found = aggregate(&probabilities(&logits.concat()), crops, options.aggregation)?;
    let scores: Vec<f32> = found
        .chunks(labels.classes.len())
        .flat_map(|row| columns.iter().map(|&column| row[column]))
        .collect();
    let threshold = |&column: &usize| match (options.half, labels.classes[column].threshold) {
        (false, Some(threshold)) => threshold as f32,
        _ => 0.5,
    };
    let thresholds: Vec<f32> = columns.iter().map(threshold).collect();
    let mut how = task.evaluation(&thresholds, options.resamples);
    rules.apply(&mut how, Some(seed));
    let metrics = evaluate_split(&scores, &task.test.labels, &task.patients, &how)?;
    Ok(Evaluated {
        model: model.folder().map(Path::to_owned),
        data: store.dir().to_owned(),
        other: task.other_metrics(&scores, &thresholds)?,
        task: task.name,
        split: options.split.name(),
        crops,
        aggregation: options.aggregation,
        compat: options.compat,
        metrics,
    })
}

/// What of a task a model can be evaluated on, and in which of its outputs each class stands.
fn common(mut task: Task, labels: &Labels, reporter: &dyn Reporter) -> Result<(Task, Vec<usize>)> {
    let place = |class: &String| {
        let named = |same: &dyn Fn(&str) -> bool| labels.classes.iter().position(|l| same(&l.name));
        named(&|name| name.eq_ignore_ascii_case(class))
            .or_else(|| named(&|name| renamed(name) == renamed(class)))
    };
    let places: Vec<Option<usize>> = task.classes.iter().map(place).collect();
    let unknown: Vec<&str> = task
        .classes
        .iter()
        .zip(&places)
        .filter_map(|(class, place)| place.is_none().then_some(class.as_str()))
        .collect();
    if unknown.len() == task.classes.len() {
        let names: Vec<&str> = labels.classes.iter().map(|l| l.name.as_str()).collect();
        return Err(Error::invalid(format!(
            "no class of task `{}` ({}) is a label of the model ({})",
            task.name,
            task.classes.join(", "),
            names.join(", ")
        ))
        .with_help(
            "choose another task, or name the outputs of an imported model with `import-checkpoint --labels`",
        ));
    }
    if !unknown.is_empty() {
        reporter.note(&format!(
            "{} of {} classes are no labels of the model and are not evaluated: {}",
            unknown.len(),
            task.classes.len(),
            unknown.join(", ")
        ));
    }
    let width = task.classes.len();
    let kept: Vec<usize> = (0..width)
        .filter(|&class| places[class].is_some())
        .collect();
    task.test.labels = task
        .test
        .labels
        .chunks(width)
        .flat_map(|row| kept.iter().map(|&class| row[class]))
        .collect();
    task.classes = kept
        .iter()
        .map(|&class| task.classes[class].clone())
        .collect();
    Ok((task, places.into_iter().flatten().collect()))
}
