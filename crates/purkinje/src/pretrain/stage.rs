//! One stage of pre-training.

use std::cell::OnceCell;
use std::path::PathBuf;
use std::sync::Arc;

use purkinje_models::encoder::Encoder as _;
use purkinje_models::layers::Weights;
use purkinje_signal::Preprocess;
use purkinje_store::Store;
use purkinje_text::Tokenizer;
use purkinje_train::{
    Next, Objective, Observer, RunFolder, StepReport, TrainConfig, TrainError, Validated, train,
};

use super::{Pretrains, RunOf};
use crate::reporter::Updates;
use crate::{Device, Error, Model, Reporter, Result};

/// The inputs of a stage.
pub struct Stage<'a, S: Pretrains> {
    /// Its number, from 1.
    pub number: usize,
    /// The name of the stage; `None` where there is one stage only.
    pub name: Option<String>,
    /// The folder of the stage.
    pub dir: PathBuf,
    /// The configuration of the run.
    pub config: &'a RunOf<S>,
    /// Schedule and optimizer of this stage.
    pub train: TrainConfig,
    /// The store.
    pub store: &'a Store,
    /// Records to train on.
    pub rows: &'a [usize],
    /// Records to validate on; empty if the run does not validate.
    pub validation: &'a [usize],
    /// Preprocessing of the network's input.
    pub contract: &'a Preprocess,
    /// The compute device.
    pub device: &'a Device,
    /// Receives progress and may request a stop.
    pub reporter: &'a dyn Reporter,
    pub(super) keep_every: Option<usize>,
    pub(super) resume: bool,
    pub(super) tokenizer: OnceCell<Arc<Tokenizer>>,
    pub(super) save: &'a Save<'a>,
    pub(super) model: &'a AsModel<'a>,
}

/// Saves weights, with a tokenizer, in a folder of the stage after a number of epochs.
pub(super) type Save<'a> =
    dyn Fn(&Weights, Option<&Arc<Tokenizer>>, &str, usize) -> Result<()> + 'a;

/// The model that weights and a tokenizer make.
pub(super) type AsModel<'a> = dyn Fn(&Weights, Option<&Arc<Tokenizer>>) -> Model + 'a;

/// Computes validation loss and metric of weights.
pub type Validate<'a> = dyn Fn(&Weights) -> Result<Validated, TrainError> + 'a;

/// The result of [`Stage::learn`].
#[derive(Debug)]
pub struct Learned {
    pub(super) weights: Weights,
    pub(super) last: Option<StepReport>,
    pub(super) tokenizer: Option<Arc<Tokenizer>>,
}

impl<S: Pretrains> Stage<'_, S> {
    /// The tokenizer of the texts that are learned from: models of this stage are saved with it.
    pub fn keep_tokenizer(&self, tokenizer: Tokenizer) -> Arc<Tokenizer> {
        self.tokenizer.get_or_init(|| Arc::new(tokenizer)).clone()
    }

    /// The model that would be kept with these weights.
    pub fn model(&self, weights: &Weights) -> Model {
        (self.model)(weights, self.tokenizer.get())
    }

    /// Trains `encoder` on an objective, from the checkpoint in the stage's folder if the run is resumed. `validate` is
    /// called if the run validates.
    ///
    /// # Errors
    /// As [`train`]; when `reporter` asks to stop, after a checkpoint.
    pub fn learn<O: Objective>(
        &self,
        encoder: &S::Encoder,
        objective: &O,
        validate: Option<&Validate<'_>>,
    ) -> Result<Learned> {
        let weights = encoder.weights().clone();
        let (steps, per_epoch) = self.steps(objective.steps_per_epoch());
        let place = self.name.as_ref().map(|name| format!("{name}: "));
        self.reporter.note(&format!(
            "{}{} parameters, {} records, {} leads, {steps} steps, {per_epoch} in an epoch, on {}",
            place.unwrap_or_default(),
            weights.count(),
            self.rows.len(),
            self.contract.leads.len(),
            self.device
        ));
        let mut watch = Watch {
            stage: self,
            validate: validate.filter(|_| !self.validation.is_empty()),
            updates: Updates::begin(self.reporter, "pre-train", steps),
            last: None,
            failed: None,
        };
        let folder = RunFolder {
            path: Some(self.dir.clone()),
            resume: self.resume,
        };
        let device = self.device.inner();
        let trained = train(objective, weights, &self.train, &folder, device, &mut watch);
        watch.updates.finish();
        match (trained, watch.failed) {
            (_, Some(error)) => Err(error),
            (Err(error), None) => Err(error.into()),
            (Ok(trained), None) => Ok(Learned {
                weights: trained.chosen(),
                last: watch.last,
                tokenizer: self.tokenizer.get().cloned(),
            }),
        }
    }

    /// Number of updates in total and per epoch of so many batches.
    fn steps(&self, batches: usize) -> (usize, usize) {
        let train = &self.train;
        let per_epoch = batches / train.accumulate.max(1);
        let steps = match train.updates {
            Some(updates) if !train.ends_with_epoch => updates,
            _ => per_epoch * train.epochs,
        };
        (steps, per_epoch)
    }
}

struct Watch<'a, 's, S: Pretrains> {
    stage: &'a Stage<'s, S>,
    validate: Option<&'a Validate<'a>>,
    updates: Updates<'a>,
    last: Option<StepReport>,
    /// An error outside the trainer.
    failed: Option<Error>,
}

impl<S: Pretrains> Observer for Watch<'_, '_, S> {
    fn begin(&mut self, done: usize) {
        self.updates.resume(done);
    }

    fn step(&mut self, report: &StepReport) -> Next {
        self.last = Some(report.clone());
        self.updates.made(&format!(
            "epoch {} loss {} {:.0} records/s",
            report.epoch,
            report.loss_text(),
            report.records_per_s
        ))
    }

    fn epoch(&mut self, epoch: usize, weights: &Weights) -> Result<Next, TrainError> {
        let every = self.stage.keep_every;
        if every.is_some_and(|n| epoch.is_multiple_of(n.max(1))) {
            let folder = format!("model-epoch-{epoch}");
            (self.stage.save)(weights, self.stage.tokenizer.get(), &folder, epoch).map_err(
                |error| {
                    let text = error.to_string();
                    self.failed = Some(error);
                    TrainError::Data(text)
                },
            )?;
        }
        Ok(Next::Continue)
    }

    fn validate(
        &mut self,
        _step: usize,
        weights: &Weights,
    ) -> Result<Option<Validated>, TrainError> {
        self.validate.map(|validate| validate(weights)).transpose()
    }
}
