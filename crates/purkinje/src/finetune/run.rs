//! The training of one classifier, for any system.

use std::path::PathBuf;
use std::sync::Arc;

use purkinje_eval::fraction::BatchPlan;
use purkinje_eval::report::{ModelResult, Selection};
use purkinje_eval::{EvaluateOptions, evaluate_split};
use purkinje_models::compat::Compat;
use purkinje_models::encoder::{Classify, Encoder};
use purkinje_models::layers::Weights;
use purkinje_signal::Preprocess;
use purkinje_store::Store;
use purkinje_train::run_log::read_run_log;
use purkinje_train::{
    Classification, Kept, Next, Observer, RunFolder, StepReport, Targets, TrainError, Trained,
    Validated, train,
};

use super::validate::{SourceOf, TEST_AUROC, Validation, loss, one_column, scores, targets};
use super::{FinetuneConfig, Finetunes, Sources, Start, ValidatedOn};
use crate::network::{Loaded, Network, head_named};
use crate::registry::Complete;
use crate::reporter::{Reporter, Updates};
use crate::task::{SplitRows, Task};
use crate::{Device, Result};

/// One training within a call of [`finetune`](super::finetune).
pub struct Job<'a> {
    /// The records.
    pub store: &'a Store,
    /// Preprocessing of the network's input.
    pub contract: &'a Preprocess,
    /// The label set, by split.
    pub task: &'a Task,
    /// The configuration.
    pub config: &'a FinetuneConfig,
    /// Name of the model in results.
    pub name: &'a str,
    /// Name of this training in progress displays.
    pub what: &'a str,
    /// Folder for log and checkpoints; nothing is written if absent.
    pub folder: Option<PathBuf>,
    /// Whether to continue from the checkpoint in `folder`.
    pub resume: bool,
    /// Bootstrap resamples for the intervals.
    pub resamples: usize,
    /// The compute device.
    pub device: &'a Device,
    /// Receives progress and may request a stop.
    pub reporter: &'a dyn Reporter,
}

/// A trained classifier.
pub struct Tuned {
    /// The network with its head; two mutually exclusive classes were converted to one label.
    pub network: Arc<dyn Network>,
    /// Decision threshold of each class.
    pub thresholds: Vec<f32>,
    /// Rows of the store it was trained on.
    pub rows: Vec<usize>,
    /// Training records with each label.
    pub training_positives: Vec<usize>,
    /// The metrics on the test split.
    pub result: ModelResult,
}

/// Trains one classifier, selects its weights on validation, evaluates the test split once.
pub(crate) fn run<S: Complete>(own: &S::Encoder, job: &Job<'_>) -> Result<Tuned> {
    let (config, task) = (job.config, job.task);
    let tuning = config.tuning::<S>()?;
    let head = head_named::<S>(&config.head)?;
    let classes = task.classes.len();
    let outputs = match config.two_classes {
        true => 2,
        false => classes,
    };
    let device = job.device.inner();
    let mut weights = S::trained_weights(own);
    let (width, seed) = (S::head_width(own, head), config.train.seed);
    S::initialise_head(head, &mut weights, width, outputs, seed, device);
    let encoder = S::for_training(own.with_weights(weights), &tuning, config);
    let Sources {
        training,
        evaluation,
    } = S::sources(&encoder, job.store, job.contract, config, &tuning)?;
    let names = head_names::<S>(head, width, outputs);
    let learning = S::learning(config, &tuning, S::config(&encoder), &names)?;
    let classifier = S::classifier(encoder, head, outputs)?;

    let part = task.fraction(&config.fraction)?;
    let batches = BatchPlan::new(part.rows.len(), config.batch)?;
    let objective = Classification::new(
        classifier.clone(),
        &*training,
        Targets {
            records: part.rows.clone(),
            labels: targets(&part, config.two_classes),
            classes: outputs,
        },
        loss(&part, classes, config),
        &*learning,
        batches.batch,
        seed,
    );
    let validation = Validation {
        config,
        rules: S::validation(config.compat),
        classes,
        part: match config.validated_on {
            ValidatedOn::Validation => &task.validation,
            ValidatedOn::Training => &part,
        },
        test: &task.test,
        training: &part,
        device,
        reporter: job.reporter,
    };
    let per_epoch = batches.steps_per_epoch / config.train.accumulate.max(1);
    let updates = config
        .train
        .updates
        .unwrap_or(per_epoch * config.train.epochs);
    let mut watch = Watch {
        updates: Updates::begin(job.reporter, job.what, updates),
        best: None,
        claimed: None,
        validate: |step: usize, weights: &Weights| {
            let model = classifier.with_weights(weights.clone());
            validation.of(&model, &*evaluation, step)
        },
    };
    let folder = RunFolder {
        path: job.folder.clone(),
        resume: job.resume,
    };
    let start = classifier.encoder().weights().clone();
    let trained = train(
        &objective,
        start,
        &config.train,
        &folder,
        device,
        &mut watch,
    )?;
    watch.updates.finish();
    say_if_early(&trained, updates, job.reporter);
    let selection = selection(&trained, config);
    let model = classifier.with_weights(trained.chosen());
    let positives = part.positives(classes);
    let (thresholds, mut result) =
        evaluate::<S>(&model, &*evaluation, job, (selection, &positives))?;
    result.training_records = part.rows.len();
    result.other.extend(claimed(job, watch.claimed));

    let mut weights = model.encoder().weights().clone();
    if config.two_classes {
        weights = S::one_of_two(&weights, device)?;
    }
    let network = Loaded::<S> {
        encoder: own.with_weights(weights.clone()),
        head: None,
    };
    Ok(Tuned {
        network: network.with_head(&config.head, classes, &weights)?,
        thresholds,
        training_positives: positives,
        rows: part.rows,
        result,
    })
}

fn say_if_early(trained: &Trained, updates: usize, reporter: &dyn Reporter) {
    if trained.steps < updates {
        reporter.note(&format!(
            "early stopping after {} of {updates} updates: validation no longer improved",
            trained.steps
        ));
    }
}

/// The best of the test split over all validations, where a released program prints it; `own` is that since the run was last resumed, the
/// earlier ones are in its log only.
fn claimed(job: &Job<'_>, own: Option<f64>) -> Option<(String, f64)> {
    let log = job.folder.as_ref().map(|folder| folder.join("log.jsonl"));
    let log = log.and_then(|path| read_run_log(&path).ok());
    let log = log.unwrap_or_default();
    let earlier = log.iter().filter_map(|entry| entry.number(TEST_AUROC));
    let best = own.into_iter().chain(earlier).reduce(f64::max)?;
    let name = "test maximum over epochs (claimed as released, not selected)";
    Some((name.to_owned(), best))
}

/// The names of the parameters of a head.
pub(crate) fn head_names<S: Finetunes>(head: S::Head, width: usize, outputs: usize) -> Vec<String> {
    let parameters = S::head_parameters(head, width, outputs);
    parameters.into_iter().map(|(name, _)| name).collect()
}

fn selection(trained: &Trained, config: &FinetuneConfig) -> Selection {
    Selection {
        split: match config.validated_on {
            ValidatedOn::Validation => "validation",
            ValidatedOn::Training => "train",
        }
        .into(),
        criterion: "macro AUROC".into(),
        chosen: match &trained.kept {
            Some(Kept { step, .. }) => format!("update {step} of {}", trained.steps),
            None => "last update".into(),
        },
        value: trained.kept.as_ref().and_then(|kept| kept.metric),
    }
}

/// Chooses thresholds on the validation split and evaluates the selected weights on the test split.
fn evaluate<S: Finetunes>(
    model: &S::Classifier,
    source: &SourceOf<'_, S::Classifier>,
    job: &Job<'_>,
    (selection, positives): (Selection, &[usize]),
) -> Result<(Vec<f32>, ModelResult)> {
    let (task, config) = (job.task, job.config);
    let scores = |part: &SplitRows| {
        let one = |raw: &[f32]| one_column(raw, config.two_classes);
        let crops = (config.crops, config.aggregation);
        scores(
            model,
            source,
            &part.rows,
            crops,
            (job.device.inner(), job.reporter),
            one,
        )
    };
    let thresholds = match config.half {
        true => vec![0.5; task.classes.len()],
        false => task.thresholds(&scores(&task.validation)?)?,
    };
    let test = scores(&task.test)?;
    let mut options: EvaluateOptions = task.evaluation(&thresholds, job.resamples);
    if config.compat == Compat::Paper {
        options.untrained = positives.iter().map(|count| *count == 0).collect();
    }
    S::evaluation(config.compat).apply(&mut options, None);
    let metrics = evaluate_split(&test, &task.test.labels, &task.patients, &options)?;
    let head = head_named::<S>(&config.head)?;
    let result = ModelResult {
        task: task.name.clone(),
        split: "test".into(),
        model: job.name.to_owned(),
        head: match config.start {
            Start::Finetune => format!("{head} fine-tuned"),
            Start::Scratch => format!("{head} from scratch"),
        },
        fraction: config.fraction,
        training_records: 0,
        seeds: vec![
            ("label fraction".into(), u64::from(config.fraction.seed)),
            ("training".into(), config.train.seed),
        ],
        selection,
        other: task.other_metrics(&test, &thresholds)?,
        metrics,
    };
    Ok((thresholds, result))
}

struct Watch<'a, F> {
    updates: Updates<'a>,
    best: Option<f64>,
    /// The best of the test split at all validations, where a released program looks at it.
    claimed: Option<f64>,
    validate: F,
}

impl<F> Observer for Watch<'_, F>
where
    F: FnMut(usize, &Weights) -> Result<Validated, TrainError>,
{
    fn begin(&mut self, done: usize) {
        self.updates.resume(done);
    }

    fn step(&mut self, report: &StepReport) -> Next {
        let best = self.best;
        let best = best.map_or(String::new(), |v| format!(", validation AUROC {v:.3}"));
        self.updates
            .made(&format!("loss {}{best}", report.loss_text()))
    }

    fn validate(
        &mut self,
        step: usize,
        weights: &Weights,
    ) -> Result<Option<Validated>, TrainError> {
        let found = (self.validate)(step, weights)?;
        self.best = self.best.into_iter().chain(found.metric).reduce(f64::max);
        let test = found.others.iter().filter(|(name, _)| *name == TEST_AUROC);
        let test = test.map(|(_, value)| *value);
        self.claimed = self.claimed.into_iter().chain(test).reduce(f64::max);
        Ok(Some(found))
    }
}
