//! One run: what it is made of, an update, and what follows an update.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use purkinje_models::layers::{Context, Weights};
use purkinje_models::random::Stream;

use super::outputs::Outputs;
use super::{Next, Observer, RunFolder, StepReport, TrainConfig, Trained};
use crate::TrainError;
use crate::checkpoint;
use crate::early_stopping::Regularisation;
use crate::named_losses::Means;
use crate::objective::Objective;
use crate::optimizer::Optimizer;
use crate::schedule::Rates;
use crate::validation::Validations;

/// The checkpoint of a run.
const CHECKPOINT: &str = "checkpoint.safetensors";

/// How long a run is.
#[derive(Clone, Copy)]
pub(super) struct Length {
    /// Batches of one update.
    parts: usize,
    /// Batches of one pass over the data, those of an incomplete update included.
    batches_per_epoch: usize,
    /// Updates of one pass.
    per_epoch: usize,
    /// Updates of the run.
    steps: usize,
}

impl Length {
    fn of<O: Objective>(objective: &O, config: &TrainConfig) -> Result<Self, TrainError> {
        let parts = config.accumulate.max(1);
        if parts > 1 && objective.needs_whole_batch() {
            return Err(TrainError::WholeBatch {
                objective: objective.name().to_owned(),
                accumulate: parts,
            });
        }
        let batches_per_epoch = objective.steps_per_epoch();
        let per_epoch = batches_per_epoch / parts;
        if per_epoch == 0 {
            return Err(TrainError::NoData {
                batch: objective.batch_size() * parts,
            });
        }
        let steps = match config.updates {
            Some(updates) if !config.ends_with_epoch => updates,
            _ => per_epoch * config.epochs,
        };
        Ok(Length {
            parts,
            batches_per_epoch,
            per_epoch,
            steps,
        })
    }

    /// The batches of an update, counted over all epochs.
    pub(super) fn batches(&self, step: usize) -> Range<usize> {
        let (epoch, step) = (step / self.per_epoch, step % self.per_epoch);
        let first = epoch * self.batches_per_epoch + step * self.parts;
        first..first + self.parts
    }
}

/// What the batches of one update said, their means.
#[derive(Default)]
struct Said {
    /// The total loss.
    loss: f64,
    losses: Means,
    metrics: Means,
}

/// A run between two updates.
pub(super) struct Run<'a, O> {
    objective: &'a O,
    config: &'a TrainConfig,
    /// The device, as the graphs of training passes see it.
    graph: Device,
    length: Length,
    rates: Rates,
    dropout_seeds: Stream,
    weights: Weights,
    optimizer: Optimizer,
    validations: Option<Validations>,
    outputs: Outputs,
    checkpoint: Option<PathBuf>,
    /// When the last checkpoint was written.
    saved: Instant,
    /// Updates made.
    done: usize,
}

impl<'a, O: Objective> Run<'a, O> {
    /// A run from its start, or from the checkpoint of its folder.
    pub(super) fn open(
        objective: &'a O,
        mut weights: Weights,
        config: &'a TrainConfig,
        folder: &RunFolder,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let length = Length::of(objective, config)?;
        let rates = config.rates(length.per_epoch)?;
        let mut optimizer = fresh(objective, &weights, config);
        let mut validations = config.validation.clone().map(|validation| {
            let start = Regularisation {
                weight_decay: config.optimizer.weight_decay,
                dropouts: objective.regulated(),
            };
            Validations::new(validation, start, folder.path.as_deref())
        });
        let checkpoint = folder.path.as_deref().map(|path| path.join(CHECKPOINT));
        let mut done = 0;
        if let Some(file) = checkpoint
            .as_deref()
            .filter(|f| folder.resume && f.exists())
        {
            let (step, stored) = checkpoint::load(file, &mut weights, &mut optimizer, device)?;
            done = step;
            if config.restarts_from.is_some_and(|from| step > from) {
                optimizer = fresh(objective, &weights, config);
            }
            if let (Some(validations), Some(stored)) = (&mut validations, stored) {
                validations.restore(&stored, &weights, device)?;
            }
        }
        Ok(Run {
            objective,
            config,
            graph: device.clone().autodiff(),
            length,
            rates,
            dropout_seeds: Stream::new(config.seed, "dropout"),
            weights,
            optimizer,
            validations,
            outputs: Outputs::open(folder.path.as_deref(), done)?,
            checkpoint,
            saved: Instant::now(),
            done,
        })
    }

    pub(super) fn length(&self) -> Length {
        self.length
    }

    /// The updates that are still to be made; none where validation has ended the run.
    pub(super) fn updates_left(&self) -> Range<usize> {
        match self.stopped() {
            true => self.done..self.done,
            false => self.done..self.length.steps,
        }
    }

    /// Validates the weights a run starts with, if it asks for that.
    pub(super) fn validate_start(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        match self.done {
            0 => self.validate(false, observer),
            _ => Ok(()),
        }
    }

    /// Makes update `step` from the next batches; `None` when there are no more.
    pub(super) fn update(
        &mut self,
        step: usize,
        batches: &Receiver<Result<O::Batch, TrainError>>,
    ) -> Result<Option<StepReport>, TrainError> {
        let start = Instant::now();
        let regularisation = self.validations.as_ref().and_then(|v| v.regularisation());
        let regularisation = regularisation.cloned();
        let Some(said) = self.gather(step, batches, regularisation.as_ref())? else {
            return Ok(None);
        };
        let loss = said.loss;
        if let Some(now) = regularisation {
            self.optimizer.config_mut().weight_decay = now.weight_decay;
        }
        let restarts = self.config.restarts_from.is_some_and(|from| step >= from);
        let lr = self.rates.at(if restarts { 0 } else { step });
        let norm = self.optimizer.update(&mut self.weights, lr);
        if restarts {
            self.optimizer = fresh(self.objective, &self.weights, self.config);
        }
        if !loss.is_finite() || !norm.is_finite() {
            return Err(TrainError::NotFinite {
                step: step + 1,
                loss,
                norm,
            });
        }
        self.done = step + 1;
        let records = self.objective.batch_size() * self.length.parts;
        let report = StepReport {
            step: self.done,
            steps: self.length.steps,
            epoch: step / self.length.per_epoch + 1,
            loss,
            losses: said.losses.finish(),
            metrics: said.metrics.finish(),
            lr,
            gradient_norm: norm,
            records_per_s: records as f64 / start.elapsed().as_secs_f64(),
        };
        match report.taken_name() {
            Some(name) => Err(TrainError::Name {
                objective: self.objective.name().to_owned(),
                name: name.to_owned(),
            }),
            None => Ok(Some(report)),
        }
    }

    /// Gathers the gradients of the batches of one update.
    fn gather(
        &mut self,
        step: usize,
        batches: &Receiver<Result<O::Batch, TrainError>>,
        regularisation: Option<&Regularisation>,
    ) -> Result<Option<Said>, TrainError> {
        let (objective, parts) = (self.objective, self.length.parts);
        let mut seeds = self.dropout_seeds.at(step as u64);
        let mut said = Said::default();
        for _ in 0..parts {
            let Ok(batch) = batches.recv() else {
                return Ok(None);
            };
            let batch = batch?;
            let ctx = Context::training(&self.graph, objective.dropout(), seeds.next_u64())
                .mixed_precision(self.config.mixed_precision)
                .with_regulated(regularisation.map_or(&[], |now| &now.dropouts));
            let tracked = self.weights.tracked(|name| {
                let learning = objective.learning(name);
                learning.is_some_and(|learning| learning.from <= step)
            });
            let losses = objective.losses(&tracked, &batch, &ctx);
            self.weights.store(ctx.take_handed_back())?;
            // The mean over all parts is what a batch of their size would give.
            let loss = match parts {
                1 => losses.total(),
                _ => losses.total() / parts as f64,
            };
            self.optimizer.gather(&tracked, loss.backward());
            said.loss += f64::from(loss.inner().into_scalar::<f32>());
            said.losses.add(losses.values());
            said.metrics.add(losses.metrics().iter().cloned());
        }
        Ok(Some(said))
    }

    /// Logs an update, tells the observer, validates and writes a checkpoint where one is due.
    pub(super) fn after(
        &mut self,
        report: &StepReport,
        observer: &mut dyn Observer,
    ) -> Result<Next, TrainError> {
        self.outputs.write(report)?;
        let stop = observer.step(report) == Next::Stop;
        let ends_epoch = self.done.is_multiple_of(self.length.per_epoch);
        self.validate(ends_epoch, observer)?;
        let stopped = self.stopped();
        let due = self.saved.elapsed() >= Duration::from_secs(self.config.checkpoint_every_s);
        if ends_epoch || due || stop || stopped || self.done == self.length.steps {
            self.save()?;
        }
        if stop {
            return Err(TrainError::Stopped { step: self.done });
        }
        let ended = ends_epoch && observer.epoch(report.epoch, &self.weights)? == Next::Stop;
        Ok(match ended || stopped {
            true => Next::Stop,
            false => Next::Continue,
        })
    }

    /// Asks for a validation of the weights if one is due, and writes down what followed.
    fn validate(
        &mut self,
        ends_epoch: bool,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let (done, ends_run) = (self.done, self.done == self.length.steps);
        let Some(validations) = &mut self.validations else {
            return Ok(());
        };
        if !validations.due(done, ends_epoch, ends_run) {
            return Ok(());
        }
        let Some(found) = observer.validate(done, &self.weights)? else {
            return Ok(());
        };
        validations.take(done, &found, &self.weights)?;
        self.outputs
            .validation(done, &found, validations.regularisation())
    }

    /// Writes a checkpoint, where there is a folder for it.
    fn save(&mut self) -> Result<(), TrainError> {
        let Some(file) = &self.checkpoint else {
            return Ok(());
        };
        self.outputs.flush()?;
        let validations = self.validations.as_ref().map(Validations::stored);
        checkpoint::save(
            file,
            &self.weights,
            &self.optimizer,
            self.done,
            validations.transpose()?,
        )?;
        self.saved = Instant::now();
        Ok(())
    }

    /// Whether validation has ended the run.
    fn stopped(&self) -> bool {
        self.validations.as_ref().is_some_and(Validations::stopped)
    }

    pub(super) fn flush(&mut self) -> Result<(), TrainError> {
        self.outputs.flush()
    }

    pub(super) fn finish(self) -> Trained {
        Trained {
            weights: self.weights,
            kept: self.validations.and_then(Validations::into_kept),
            steps: self.done,
        }
    }
}

/// An optimizer at its start.
fn fresh<O: Objective>(objective: &O, weights: &Weights, config: &TrainConfig) -> Optimizer {
    Optimizer::new(weights, |name| objective.learning(name), config.optimizer)
}
