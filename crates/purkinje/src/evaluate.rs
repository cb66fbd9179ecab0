//! Evaluation of a classifier on labelled records of a store, without further training.

use std::path::{Path, PathBuf};

use purkinje_eval::challenge::renamed;
use purkinje_eval::{TaskMetrics, evaluate_split};
use purkinje_models::checkpoint::Labels;
use purkinje_models::compat::Compat;
use purkinje_record::LeadSet;
use purkinje_store::{Split, Store};
use serde::{Deserialize, Serialize};

use crate::inputs::{Input, ReadOptions, StoreRows};
use crate::model::Model;
use crate::predict::probabilities;
use crate::probe::quality_filter;
use crate::reporter::{Reporter, go_on};
use crate::task::Task;
use crate::windows::{Used, WindowOptions};
use crate::{Error, Result};

/// What a classifier is evaluated on, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluateOptions {
    /// Label set of the store; its classes are matched with the labels of the model by name.
    pub task: String,
    /// Split of the store.
    pub split: Split,
    /// How much of each record the model is given, and how its probabilities are aggregated.
    pub windows: WindowOptions,
    /// Use a decision threshold of 0.5 instead of the thresholds of the model.
    pub half: bool,
    /// Follow the paper, or the released program where it differs.
    pub compat: Compat,
    /// Leads to use; those of the model if absent.
    pub leads: Option<LeadSet>,
    /// Bootstrap resamples for the 95 % intervals.
    pub resamples: usize,
    /// Seed of resamples and crops. If absent: that of the released program where `compat` follows it and it has one,
    /// else 0.
    pub seed: Option<u64>,
    /// Limits on signal quality that records must keep, as [`QualityFilter`](purkinje_store::QualityFilter) reads them;
    /// none when empty.
    pub quality: String,
    /// Accept a store that was prepared differently than the model expects.
    pub any_preprocessing: bool,
}

impl Default for EvaluateOptions {
    fn default() -> Self {
        EvaluateOptions {
            task: String::new(),
            split: Split::Test,
            windows: WindowOptions::default(),
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
    /// Options for evaluating on the test split of a label set.
    pub fn new(task: impl Into<String>) -> Self {
        EvaluateOptions {
            task: task.into(),
            ..EvaluateOptions::default()
        }
    }
}

/// The result of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluated {
    /// Folder of the model; `None` for a model that was not read from disk.
    pub model: Option<PathBuf>,
    /// The store.
    pub data: PathBuf,
    /// The label set.
    pub task: String,
    /// Split of the store.
    pub split: &'static str,
    /// How much of each record was asked for, and how its probabilities were aggregated.
    pub windows: WindowOptions,
    /// How much of all records together was used.
    pub used: Used,
    /// The behaviour that was followed: paper or released program.
    pub compat: Compat,
    /// Metrics of the classes that the model has labels for.
    pub metrics: TaskMetrics,
    /// Further metrics by name, such as the Challenge score.
    pub other: Vec<(String, f64)>,
}

/// Evaluates a classifier on labelled records of a store.
///
/// # Errors
/// When the model has no classification head or no label for any class of the task, the store does not fit it, or a
/// stop was requested.
pub fn evaluate(
    model: &Model,
    store: &Store,
    options: &EvaluateOptions,
    reporter: &dyn Reporter,
) -> Result<Evaluated> {
    let labels = model.labelled()?;
    let leads = options.leads.as_ref().unwrap_or(&model.preprocess().leads);
    let contract = model.check_store(store, leads, options.any_preprocessing)?;
    let quality = quality_filter(&options.quality)?;
    let all = Task::evaluated(store, &options.task, options.split, quality.as_ref())?;
    let (task, columns) = common(all, labels, reporter)?;
    let rules = model.network().evaluation(options.compat);
    let seed = options.seed.or(rules.seed).unwrap_or(0);

    let source = StoreRows::under(model, store, &contract, options.compat, seed)?;
    let rows = &task.test.rows;
    let inputs = rows.iter().map(|&row| Input::Row(&source, row));
    let read = ReadOptions {
        windows: options.windows,
        ..ReadOptions::new()
    };
    let progress = reporter.begin("evaluate", rows.len(), "records");
    let (mut scores, mut used) = (Vec::new(), Used::default());
    for found in model.logits_all(inputs, read, options.compat)? {
        go_on(reporter)?;
        let (logits, own) = found?;
        used.add(&own);
        let found = probabilities(&logits);
        scores.extend(columns.iter().map(|&column| found[column]));
        progress.add(1);
    }
    progress.finish();
    let threshold = |&column: &usize| match (options.half, labels.classes[column].threshold) {
        (false, Some(threshold)) => threshold as f32,
        _ => 0.5,
    };
    let thresholds: Vec<f32> = columns.iter().map(threshold).collect();
    let mut how = task.evaluation(&thresholds, options.resamples);
    if options.compat == Compat::Paper {
        let untrained = |&column: &usize| labels.classes[column].training_positives == Some(0);
        how.untrained = columns.iter().map(untrained).collect();
    }
    rules.apply(&mut how, Some(seed));
    let metrics = evaluate_split(&scores, &task.test.labels, &task.patients, &how)?;
    Ok(Evaluated {
        model: model.folder().map(Path::to_owned),
        data: store.dir().to_owned(),
        other: task.other_metrics(&scores, &thresholds)?,
        task: task.name,
        split: options.split.name(),
        windows: options.windows,
        used,
        compat: options.compat,
        metrics,
    })
}

/// Reduces a task to the classes that the model has labels for; returns the output of the model for each class.
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
            "the model has no label for any class of task `{}` (classes: {}; labels of the model: {})",
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
            "{} of {} classes have no label in the model and are not evaluated: {}",
            unknown.len(),
            task.classes.len(),
            unknown.join(", ")
        ));
    }
    task.keep(|class| places[class].is_some());
    Ok((task, places.into_iter().flatten().collect()))
}
