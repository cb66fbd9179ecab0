//! Fine-tuning on patients instead of labels.

use std::collections::HashMap;
use std::path::PathBuf;

use purkinje_models::encoder::Encoder as _;
use purkinje_models::layers::Weights;
use purkinje_signal::Preprocess;
use purkinje_store::{Split, Store};
use purkinje_train::patients::{PATIENTS, PatientTraining, add_patients};
use purkinje_train::{Next, Objective as _, Observer, RunFolder, StepReport, train};
use serde::Serialize;

use super::{FinetuneConfig, FinetuneOptions, Sources, begin, plan, say};
use crate::identify::{Identified, IdentifyOptions, identify};
use crate::made::{Made, PROGRAM, lines, provenance, unlabelled_data};
use crate::model::Model;
use crate::probe::quality_filter;
use crate::registry::Complete;
use crate::reporter::{Reporter, Updates};
use crate::{Device, Error, Result};

/// The task that is about patients, unless a store has labels of that name.
pub const PATIENT: &str = "patient";

/// Whether a task is about the patients of a store and not about labels.
pub fn is_of_patients(store: &Store, task: &str) -> bool {
    task == PATIENT
        && !store
            .info()
            .label_sets
            .iter()
            .any(|set| set.name == PATIENT)
}

/// One training on patients.
pub struct PatientJob<'a> {
    /// The records.
    pub store: &'a Store,
    /// Preprocessing of the network's input.
    pub contract: &'a Preprocess,
    /// Rows of the store, and the patient of each, counted from 0.
    pub records: (Vec<usize>, Vec<usize>),
    /// How many patients there are.
    pub patients: usize,
    /// The configuration.
    pub config: &'a FinetuneConfig,
    /// Folder for log and checkpoints; nothing is written if absent.
    pub folder: Option<PathBuf>,
    /// Whether to continue from the checkpoint in `folder`.
    pub resume: bool,
    /// The compute device.
    pub device: &'a Device,
    /// Receives progress and may request a stop.
    pub reporter: &'a dyn Reporter,
}

/// What a training on patients gave.
#[derive(Clone, Debug, Serialize)]
pub struct LearnedPatients {
    /// The encoder.
    #[serde(skip)]
    pub model: Model,
    /// Recordings it was trained on.
    pub records: usize,
    /// Their patients.
    pub patients: usize,
    /// How patients of the test split are told apart, beside the same network with random weights.
    pub test: Identified,
    /// The configuration of the run.
    pub config: FinetuneConfig,
}

/// Trains an encoder to tell the patients of the training split apart, all of whose recordings are used, and measures it once on the test
/// split. The last weights are kept.
///
/// # Errors
/// When the store does not fit the model, fewer than two patients are known, fewer than five in the test split have two recordings, training
/// diverges, or a stop was requested.
pub fn learn_patients(
    model: &Model,
    store: &Store,
    options: &FinetuneOptions,
    reporter: &dyn Reporter,
) -> Result<LearnedPatients> {
    let stored = match &options.out {
        Some(out) if options.resume => FinetuneConfig::stored(out, &**model.network())?,
        _ => None,
    };
    let config = plan::plan(model, store, options, stored.as_ref())?.run;
    let leads = config.leads.as_ref().unwrap_or(&model.preprocess().leads);
    let contract = model.check_store(store, leads, options.any_preprocessing)?;
    let quality = quality_filter(&config.quality)?;
    let rate_hz = store.info().rate_hz;
    let mut places: HashMap<&str, usize> = HashMap::new();
    let (mut rows, mut patients) = (Vec::new(), Vec::new());
    for index in store.indices(Split::Train) {
        let row = store.row(index)?;
        let kept = quality
            .as_ref()
            .is_none_or(|q| q.check_row(&row, rate_hz).is_ok());
        if let Some(patient) = row.patient().filter(|_| kept) {
            let next = places.len();
            patients.push(*places.entry(patient).or_insert(next));
            rows.push(index);
        }
    }
    if places.len() < 2 {
        return Err(Error::invalid(format!(
            "the training split of {} names {} patients, expected at least two to tell apart",
            store.dir().display(),
            places.len()
        )));
    }
    if let Some(out) = &options.out {
        begin(out, options.resume, stored.as_ref(), &config)?;
        say(out, &provenance(reporter, Some(model), Some(store)))?;
    }
    let records = rows.len();
    let network = model.network().learn_patients(PatientJob {
        store,
        contract: &contract,
        records: (rows, patients),
        patients: places.len(),
        config: &config,
        folder: options.out.as_ref().map(|out| out.join("trained")),
        resume: options.resume,
        device: model.device(),
        reporter,
    })?;
    let preprocess = model.preprocess().clone().with_leads(leads.clone());
    let learned = Model::encoder(network, preprocess, model.device(), model.registry());
    let judged = IdentifyOptions {
        any_preprocessing: options.any_preprocessing,
        quality: config.quality.clone(),
        twin: Some(config.train.seed),
        ..IdentifyOptions::default()
    };
    let found = LearnedPatients {
        test: identify(&learned, store, &judged, reporter)?,
        model: learned,
        records,
        patients: places.len(),
        config: config.clone(),
    };
    if let Some(out) = &options.out {
        let sentence = format!(
            "{PROGRAM} finetune: {} patients in {records} records of `{}`, seed {}",
            found.patients,
            store.info().name,
            config.train.seed
        );
        let made_by = provenance(reporter, Some(model), Some(store));
        let made = Made {
            how: [vec![sentence], lines(&made_by)].concat(),
            training_data: unlabelled_data(store, records),
            ..Made::default()
        };
        found
            .model
            .save(&out.join("model"), made.from_model(model))?;
    }
    Ok(found)
}

/// Trains the encoder of a system; returns its weights.
pub(crate) fn run<S: Complete>(own: &S::Encoder, job: PatientJob<'_>) -> Result<S::Encoder> {
    let config = job.config;
    let tuning = config.tuning::<S>()?;
    let (device, seed) = (job.device.inner(), config.train.seed);
    let mut weights = S::trained_weights(own);
    add_patients(&mut weights, job.patients, own.width(), seed, device);
    let encoder = S::for_training(own.with_weights(weights.clone()), &tuning, config);
    let Sources { training, .. } = S::sources(&encoder, job.store, job.contract, config, &tuning)?;
    let learning = S::learning(config, &tuning, S::config(&encoder), &[])?;
    let angles = config.angles.unwrap_or_default();
    let batch = config.batch.min(job.records.0.len());
    let objective = PatientTraining::new(
        encoder,
        &*training,
        job.records,
        angles,
        &*learning,
        batch,
        seed,
    );
    let updates = config.train.updates.unwrap_or_else(|| {
        objective.steps_per_epoch() / config.train.accumulate.max(1) * config.train.epochs
    });
    let mut watch = Watch {
        updates: Updates::begin(job.reporter, "train", updates),
    };
    let folder = RunFolder {
        path: job.folder,
        resume: job.resume,
    };
    let trained = train(
        &objective,
        weights,
        &config.train,
        &folder,
        device,
        &mut watch,
    )?;
    watch.updates.finish();
    let kept: Vec<String> = S::trained_weights(own)
        .iter()
        .map(|own| own.name.clone())
        .collect();
    let weights: Weights = trained.chosen().subset(kept.iter().map(String::as_str));
    debug_assert!(weights.parameter(PATIENTS).is_none());
    Ok(own.with_weights(weights))
}

struct Watch<'a> {
    updates: Updates<'a>,
}

impl Observer for Watch<'_> {
    fn begin(&mut self, done: usize) {
        self.updates.resume(done);
    }

    fn step(&mut self, report: &StepReport) -> Next {
        self.updates.made(&format!(
            "epoch {} loss {}",
            report.epoch,
            report.loss_text()
        ))
    }
}
