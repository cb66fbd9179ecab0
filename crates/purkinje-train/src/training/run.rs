//! One run: what it is made of, an update, and what follows an update.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use purkinje_models::layers::{Context, Weights};
use purkinje_models::random::Stream;

use super::divergence::Divergence;
use super::outputs::Outputs;
use super::{Next, Observer, RunFolder, StepReport, TrainConfig, Trained};
use crate::TrainError;
use crate::checkpoint::{self, Position};
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
    /// Updates the checkpoint had, if there is one.
    kept: Option<usize>,
    divergence: Divergence,
    /// Whether what follows the last update is still to be done, as the run was interrupted.
    unvalidated: bool,
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
        let (mut kept, mut first_loss, mut unvalidated) = (None, None, false);
        if let Some(file) = checkpoint
            .as_deref()
            .filter(|f| folder.resume && f.exists())
        {
            let stored = checkpoint::load(file, &mut weights, &mut optimizer, device)?;
            (kept, first_loss) = (Some(stored.steps), stored.first_loss);
            unvalidated = stored.unvalidated;
            if config.restarts_from.is_some_and(|from| stored.steps > from) {
                optimizer = fresh(objective, &weights, config);
            }
            if let (Some(validations), Some(stored)) = (&mut validations, stored.validations) {
                validations.restore(&stored, &weights, device)?;
            }
        }
        let done = kept.unwrap_or(0);
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
            kept,
            divergence: Divergence::resumed(first_loss),
            unvalidated,
            saved: Instant::now(),
            done,
        })
    }

    pub(super) fn length(&self) -> Length {
        self.length
    }

    /// Updates made.
    pub(super) fn done(&self) -> usize {
        self.done
    }

    /// The updates that are still to be made; none where validation has ended the run.
    pub(super) fn updates_left(&self) -> Range<usize> {
        match self.stopped() {
            true => self.done..self.done,
            false => self.done..self.length.steps,
        }
    }

    /// Validates the weights a run starts with, if it asks for that, or does what an interrupted run left undone.
    pub(super) fn validate_start(
        &mut self,
        observer: &mut dyn Observer,
    ) -> Result<Next, TrainError> {
        let left = std::mem::take(&mut self.unvalidated);
        if self.done > 0 && !left {
            return Ok(Next::Continue);
        }
        if !self.validate(observer)? {
            return Err(self.interrupted());
        }
        if !left {
            return Ok(Next::Continue);
        }
        self.save()?;
        self.end_epoch(observer)
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
            let found = format!("its loss is {loss}, the norm of its gradients {norm}");
            return Err(self.diverged(step + 1, found));
        }
        self.divergence.take(loss);
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
        let ends_run = self.done == self.length.steps;
        let place = (self.done, self.length.steps);
        if let Some(found) = self.divergence.found(report.loss, place) {
            return Err(self.diverged(self.done, found));
        }
        let stop = observer.step(report) == Next::Stop || !self.validate(observer)?;
        self.unvalidated = stop;
        let (ends_epoch, stopped) = (self.ends_epoch(), self.stopped());
        let due = self.saved.elapsed() >= Duration::from_secs(self.config.checkpoint_every_s);
        // A checkpoint of weights that are getting lost would replace the one to return to.
        let good = ends_run || !self.divergence.suspected();
        if good && (ends_epoch || due || stop || stopped || ends_run) {
            self.check_weights()?;
            self.save()?;
        }
        if stop {
            return Err(self.interrupted());
        }
        self.end_epoch(observer)
    }

    /// Whether the last update was the last of its epoch.
    fn ends_epoch(&self) -> bool {
        self.done.is_multiple_of(self.length.per_epoch)
    }

    /// Tells the observer of the end of an epoch, if this is one, and says whether the run goes on.
    fn end_epoch(&mut self, observer: &mut dyn Observer) -> Result<Next, TrainError> {
        let epoch = self.done / self.length.per_epoch;
        let ended = self.ends_epoch() && observer.epoch(epoch, &self.weights)? == Next::Stop;
        Ok(match ended || self.stopped() {
            true => Next::Stop,
            false => Next::Continue,
        })
    }

    fn interrupted(&self) -> TrainError {
        TrainError::Stopped {
            step: self.done,
            kept: self.kept_in_words(),
        }
    }

    /// Asks for a validation of the weights if one is due, and writes down what followed; false if it was interrupted.
    fn validate(&mut self, observer: &mut dyn Observer) -> Result<bool, TrainError> {
        let (done, ends_run) = (self.done, self.done == self.length.steps);
        let ends_epoch = self.ends_epoch();
        let Some(validations) = &mut self.validations else {
            return Ok(true);
        };
        if !validations.due(done, ends_epoch, ends_run) {
            return Ok(true);
        }
        let found = match observer.validate(done, &self.weights) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(true),
            Err(TrainError::Interrupted) => return Ok(false),
            Err(error) => return Err(error),
        };
        if let Some(loss) = found.loss.filter(|loss| !loss.is_finite()) {
            let found = format!("the loss of its validation is {loss}");
            return Err(self.diverged(done, found));
        }
        validations.take(done, &found, &self.weights)?;
        self.outputs
            .validation(done, &found, validations.regularisation())?;
        Ok(true)
    }

    /// Checks that weights are finite: an update may leave others although its loss was.
    fn check_weights(&self) -> Result<(), TrainError> {
        let broken = self.weights.iter().filter(|p| !p.state).find(|p| {
            let data = p.value.to_data();
            let values = data.as_slice::<f32>().unwrap_or_default();
            values.iter().any(|value| !value.is_finite())
        });
        match broken {
            None => Ok(()),
            Some(p) => {
                let found = format!("`{}` has values that are not finite", p.name);
                Err(self.diverged(self.done, found))
            }
        }
    }

    fn diverged(&self, step: usize, found: String) -> TrainError {
        TrainError::Diverged {
            step,
            found,
            kept: self.last_checkpoint(),
            lr: self.config.schedule.lr,
        }
    }

    /// What is left of a run that is interrupted.
    fn kept_in_words(&self) -> String {
        match (&self.checkpoint, self.kept) {
            (Some(file), Some(step)) if step == self.done => format!(
                "the checkpoint `{}` holds everything up to here: go on with --resume",
                file.display()
            ),
            _ => self.last_checkpoint(),
        }
    }

    fn last_checkpoint(&self) -> String {
        match (&self.checkpoint, self.kept) {
            (Some(file), Some(step)) => format!(
                "the last good checkpoint, `{}`, is of step {step}",
                file.display()
            ),
            _ => "no checkpoint was written".to_owned(),
        }
    }

    /// Writes a checkpoint, where there is a folder for it.
    fn save(&mut self) -> Result<(), TrainError> {
        let Some(file) = &self.checkpoint else {
            return Ok(());
        };
        self.outputs.flush()?;
        let validations = self.validations.as_ref().map(Validations::stored);
        let position = Position {
            steps: self.done,
            validations: validations.transpose()?,
            first_loss: self.divergence.first(),
            unvalidated: self.unvalidated,
        };
        checkpoint::save(file, &self.weights, &self.optimizer, position)?;
        self.kept = Some(self.done);
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
