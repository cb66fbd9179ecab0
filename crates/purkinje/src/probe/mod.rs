//! Probing: evaluates the vectors of a frozen encoder by fitting heads on them, with the same encoder with random
//! weights as the baseline.

mod head;
mod reference;

use std::path::{Path, PathBuf};

use purkinje_eval::evaluate_split;
use purkinje_eval::fraction::{FractionMethod, LabelFraction};
use purkinje_eval::report::{EncoderRows, ModelResult, ResultTable};
use purkinje_models::layers::Weights;
use purkinje_record::LeadSet;
use purkinje_signal::Preprocess;
use purkinje_store::{QualityFilter, Store};
use serde::{Deserialize, Serialize, Serializer};

use crate::features::{FeatureOptions, Features, MEMORY_LIMIT};
use crate::made::{Made, provenance};
use crate::model::{Model, described, labels, with_positives};
use crate::predict::probabilities;
use crate::reporter::{Reporter, go_on};
use crate::results::{made, write_results};
use crate::task::Task;
use crate::windows::WindowOptions;
use crate::{Device, Error, Result};

pub use self::head::{
    FittedHead, Fitting, FrozenHead, HeadOptions, HeadStart, LinearHead, PENALTIES, logits_of,
    tensor,
};

/// Options of a probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProbeOptions {
    /// Name of the model in results; the folder it was read from if absent.
    pub name: Option<String>,
    /// Label sets of the store.
    pub tasks: Vec<String>,
    /// Fractions of the training labels.
    pub fractions: Vec<f64>,
    /// How a fraction is sampled.
    pub sampling: FractionMethod,
    /// Names of the heads; the first of the system if empty.
    pub heads: Vec<String>,
    /// How heads are fitted.
    pub head: HeadOptions,
    /// How much of each record the encoder is given.
    pub windows: WindowOptions,
    /// Seed of fractions, heads and random weights.
    pub seed: u32,
    /// Leads to use; those of the model if absent.
    pub leads: Option<LeadSet>,
    /// Bootstrap resamples for the 95 % intervals.
    pub resamples: usize,
    /// Limits on signal quality that records must keep, as [`QualityFilter`] reads them; none when empty.
    pub quality: String,
    /// Accept a store that was prepared differently than the model expects.
    pub any_preprocessing: bool,
    /// Limit on the bytes of vectors held in memory, for each of the two encoders; beyond it they are kept on disk
    /// while the probe runs.
    pub memory_limit: u64,
    /// Folder for vectors on disk; the system's temporary folder if absent.
    pub folder: Option<PathBuf>,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        ProbeOptions {
            name: None,
            tasks: Vec::new(),
            fractions: vec![1.0],
            sampling: FractionMethod::Random,
            heads: Vec::new(),
            head: HeadOptions::default(),
            windows: WindowOptions::default(),
            seed: 0,
            leads: None,
            resamples: 1000,
            quality: String::new(),
            any_preprocessing: false,
            memory_limit: MEMORY_LIMIT,
            folder: None,
        }
    }
}

/// The results of a probe; serialises to the `results.json` of a run.
#[derive(Clone, Debug)]
pub struct Probed {
    /// One table of results for each task.
    pub tables: Vec<ResultTable>,
    /// The fitted heads, each on the encoder.
    pub classifiers: Vec<Classifier>,
}

impl Serialize for Probed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.tables.serialize(serializer)
    }
}

/// An encoder with a fitted head.
#[derive(Clone, Debug)]
pub struct Classifier {
    /// The label set.
    pub task: String,
    /// Fraction of the training labels.
    pub fraction: f64,
    /// The name of the head.
    pub head: String,
    /// Encoder, head, thresholds and the mean recording that is the reference of explanations.
    pub model: Model,
    /// How it was made, for the model card.
    pub made: Made,
}

impl Probed {
    /// Writes `results.json`, `tables.txt` and a model folder `{task}-{fraction}-{head}` for each classifier into a folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, out: &Path) -> Result<()> {
        for classifier in &self.classifiers {
            let Classifier {
                task,
                fraction,
                head,
                ..
            } = classifier;
            let folder = out.join(format!("{task}-{fraction}-{head}"));
            classifier.model.save(&folder, classifier.made.clone())?;
        }
        write_results(out, &self.tables)
    }
}

/// A fitted head with its decision thresholds and metrics.
pub struct Evaluated {
    /// Its parameters, under the system's names.
    pub weights: Weights,
    /// Decision threshold of each class.
    pub thresholds: Vec<f32>,
    /// Its metrics on the test split.
    pub result: ModelResult,
}

/// Fits heads on the frozen vectors of a model, and of the same encoder with random weights as the baseline.
///
/// The vectors of all records of the store are computed once for each of the two encoders, and held in memory or on
/// disk ([`Features`]).
///
/// # Errors
/// When the system has no such head, the store does not fit the model or lacks a task, or a stop was requested.
pub fn probe(
    model: &Model,
    store: &Store,
    options: &ProbeOptions,
    reporter: &dyn Reporter,
) -> Result<Probed> {
    let leads = options.leads.as_ref().unwrap_or(&model.preprocess().leads);
    let contract = model.check_store(store, leads, options.any_preprocessing)?;
    let quality = quality_filter(&options.quality)?;
    let tasks = options
        .tasks
        .iter()
        .map(|name| Task::load(store, name, quality.as_ref(), reporter))
        .collect::<Result<Vec<_>>>()?;
    let names = head_names(model, &options.heads);
    let heads = names
        .iter()
        .map(|name| frozen_head(model, name))
        .collect::<Result<Vec<_>>>()?;
    let random = model.random_twin(u64::from(options.seed));
    let held = FeatureOptions {
        windows: options.windows,
        memory_limit: options.memory_limit,
        folder: options.folder.clone(),
    };
    let features = |model: &Model, what: &str| {
        Features::compute(model, store, &contract, &held, what, reporter)
    };
    let pretrained = features(model, "encode")?;
    let untrained = features(&random, "encode with random weights")?;
    let name = options.name.clone().unwrap_or_else(|| model.name());
    let mut found = Probed {
        tables: Vec::new(),
        classifiers: Vec::new(),
    };
    for task in &tasks {
        let mut rows = Vec::new();
        for &share in &options.fractions {
            for (head_name, head) in names.iter().zip(&heads) {
                go_on(reporter)?;
                let protocol = Protocol {
                    head_name,
                    head: &**head,
                    fraction: LabelFraction {
                        share,
                        method: options.sampling,
                        seed: options.seed,
                    },
                    options: &options.head,
                    seed: u64::from(options.seed),
                    resamples: options.resamples,
                };
                let fitted = fit(&pretrained, task, &name, &protocol)?;
                let twin = fit(&untrained, task, &name, &protocol)?;
                let at = (&pretrained, task, &protocol);
                let classifier = classifier(model, store, &contract, at, &fitted, reporter)?;
                let own = EncoderRows {
                    trained: fitted.result,
                    random_weights: twin.result,
                    made_by: provenance(reporter, Some(model), Some(store)),
                };
                let labels = classifier.labelled()?;
                found.classifiers.push(Classifier {
                    task: task.name.clone(),
                    fraction: share,
                    head: head_name.clone(),
                    made: made("probe", model, labels, (store, task), &own),
                    model: classifier,
                });
                rows.push(own);
            }
        }
        found.tables.push(ResultTable::new(rows)?);
    }
    Ok(found)
}

/// Parses limits on signal quality; `None` when the text is empty.
///
/// # Errors
/// When the text is not a valid quality filter.
pub(crate) fn quality_filter(text: &str) -> Result<Option<QualityFilter>> {
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = text.parse::<QualityFilter>();
    let parsed = parsed.map_err(|error| Error::invalid(error.to_string()))?;
    Ok(Some(parsed))
}

fn head_names(model: &Model, wanted: &[String]) -> Vec<String> {
    match wanted {
        [] => model.about().frozen_heads[..1]
            .iter()
            .map(|name| (*name).to_owned())
            .collect(),
        wanted => wanted.to_vec(),
    }
}

/// The head with a name for frozen vectors of the model.
///
/// # Errors
/// [`Error::Unsupported`] where the system has no such head.
pub fn frozen_head(model: &Model, name: &str) -> Result<Box<dyn FrozenHead>> {
    let has = |about: &crate::system::About| about.frozen_heads.contains(&name);
    let head = has(model.about())
        .then(|| model.network().frozen_head(name))
        .flatten();
    head.ok_or_else(|| {
        model.registry().unsupported(
            format!(
                "`--head {name}` on frozen vectors ({} has {})",
                model.about().title,
                model.about().frozen_heads.join(", ")
            ),
            model.about(),
            has,
        )
    })
}

/// How one head is fitted and evaluated.
#[derive(Clone, Copy)]
pub struct Protocol<'a> {
    /// The name of the head.
    pub head_name: &'a str,
    /// The head.
    pub head: &'a dyn FrozenHead,
    /// Fraction of the training labels.
    pub fraction: LabelFraction,
    /// Options of the fit.
    pub options: &'a HeadOptions,
    /// Seed of random initial weights and of batches.
    pub seed: u64,
    /// Bootstrap resamples for the intervals.
    pub resamples: usize,
}

/// Fits a head on features and evaluates it once on the test split.
///
/// # Errors
/// When vectors cannot be read, or the labels do not allow a fit, for instance with one class only.
pub fn fit(
    features: &Features,
    task: &Task,
    model: &str,
    protocol: &Protocol<'_>,
) -> Result<Evaluated> {
    let train = task.fraction(&protocol.fraction)?;
    let device = Device::cpu();
    let FittedHead { weights, selection } = protocol.head.fit(&Fitting {
        features,
        task,
        train: &train,
        options: protocol.options,
        seed: protocol.seed,
        device: device.inner(),
    })?;
    let scores = |rows: &[usize]| -> Result<Vec<f32>> {
        let logits = logits_of(protocol.head, &weights, features, rows, device.inner())?;
        Ok(probabilities(&logits))
    };
    let thresholds = task.thresholds(&scores(&task.validation.rows)?)?;
    let test = scores(&task.test.rows)?;
    let mut options = task.evaluation(&thresholds, protocol.resamples);
    let positives = train.positives(task.classes.len());
    options.untrained = positives.iter().map(|count| *count == 0).collect();
    let metrics = evaluate_split(&test, &task.test.labels, &task.patients, &options)?;
    Ok(Evaluated {
        weights,
        result: ModelResult {
            task: task.name.clone(),
            split: "test".into(),
            model: model.to_owned(),
            head: protocol.head_name.to_owned(),
            fraction: protocol.fraction,
            training_records: train.rows.len(),
            seeds: vec![
                ("label fraction".into(), u64::from(protocol.fraction.seed)),
                ("head".into(), protocol.seed),
            ],
            selection,
            other: task.other_metrics(&test, &thresholds)?,
            metrics,
        },
        thresholds,
    })
}

/// Encoder and head as one model, with the mean of its training records as the reference of explanations.
fn classifier(
    model: &Model,
    store: &Store,
    contract: &Preprocess,
    (features, task, protocol): (&Features, &Task, &Protocol<'_>),
    fitted: &Evaluated,
    reporter: &dyn Reporter,
) -> Result<Model> {
    let meaning = described(labels(&task.name, &task.classes, &fitted.thresholds), store);
    let train = task.fraction(&protocol.fraction)?;
    let positives = train.positives(task.classes.len());
    let meaning = with_positives(meaning, &positives);
    let weights = on_device(&fitted.weights, model.device());
    let classifier = model.clone().with_leads(contract.leads.clone()).with_head(
        protocol.head_name,
        &weights,
        meaning,
    )?;
    let rows = train.rows;
    let at_hand = reference::from_features(&classifier, features, protocol.head, fitted, &rows)?;
    let reference = match at_hand {
        Some(reference) => Some(reference),
        None => classifier.reference(store, &rows, contract, reporter)?,
    };
    classifier.with_reference(reference)
}

/// Copies weights to a device.
pub(crate) fn on_device(weights: &Weights, device: &Device) -> Weights {
    let mut moved = Weights::default();
    for (name, shape, data) in weights.to_host() {
        let state = weights.parameter(&name).is_some_and(|p| p.state);
        match state {
            true => moved.insert_state(name, &shape, data, device.inner()),
            false => moved.insert(name, &shape, data, device.inner()),
        }
    }
    moved
}
