//! The training loop: steps, schedule, log, checkpoints, resumption.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use purkinje_models::layers::{Context, Weights};
use purkinje_models::random::Stream;
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::checkpoint;
use crate::early_stopping::Regularisation;
use crate::objective::Objective;
use crate::optimizer::{Adamw, AdamwConfig};
use crate::run_log::RunLog;
use crate::schedule::{CosineSchedule, LinearSchedule};
use crate::tensorboard::EventWriter;
use crate::validation::{Kept, Validated, ValidationConfig, Validations};

/// How long and how fast to learn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Passes over the data.
    pub epochs: usize,
    /// Learning rate after warm-up.
    pub lr: f64,
    /// Learning rate the cosine falls towards.
    pub min_lr: f64,
    /// Passes during which the rate rises from 0, before a cosine.
    pub warmup_epochs: usize,
    /// How the rate falls.
    #[serde(default)]
    pub decay: Decay,
    /// Share of the updates during which the rate rises, before a straight line.
    #[serde(default = "LinearSchedule::default_warmup")]
    pub warmup_share: f64,
    /// Updates of the schedule; those of `epochs` if absent. The run ends with them, whatever `epochs` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updates: Option<usize>,
    /// The run ends with its last epoch all the same, at a rate of 0 beyond the line: the published pre-training of
    /// HuBERT-ECG.
    #[serde(default)]
    pub ends_with_epoch: bool,
    /// From this update on, optimizer and schedule begin anew at every update: the published program of HuBERT-ECG where
    /// parts are frozen at first (its specification, 13.13). At the rate of the first update, 0 with a warm-up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts_from: Option<usize>,
    /// Batches whose gradients make one update.
    #[serde(default = "one")]
    pub accumulate: usize,
    /// Seed of every random choice.
    pub seed: u64,
    /// Optimizer.
    pub optimizer: AdamwConfig,
    /// Matrix products in bfloat16 where the device has units for it.
    pub mixed_precision: bool,
    /// Seconds between checkpoints inside an epoch; one is always written at its end.
    pub checkpoint_every_s: u64,
    /// When the observer is asked to validate, and what follows from that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<ValidationConfig>,
}

impl Default for TrainConfig {
    /// CLEAR's pre-training (CLEAR-HUG specification 6.1), for 25 epochs.
    fn default() -> Self {
        TrainConfig {
            epochs: 25,
            lr: 5e-4,
            min_lr: 1e-5,
            warmup_epochs: 2,
            decay: Decay::Cosine,
            warmup_share: LinearSchedule::WARMUP,
            updates: None,
            ends_with_epoch: false,
            restarts_from: None,
            accumulate: 1,
            seed: 0,
            optimizer: AdamwConfig::pretrain(),
            mixed_precision: false,
            checkpoint_every_s: 300,
            validation: None,
        }
    }
}

fn one() -> usize {
    1
}

/// How a learning rate falls after its warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Along a cosine to `min_lr`: CLEAR-HUG.
    #[default]
    Cosine,
    /// In a straight line to 0, after a share of all updates: HuBERT-ECG.
    Linear,
}

/// A learning rate for each update.
enum Schedule {
    Cosine(CosineSchedule),
    Linear(LinearSchedule),
}

impl Schedule {
    fn at(&self, step: usize) -> f64 {
        match self {
            Schedule::Cosine(schedule) => schedule.at(step),
            Schedule::Linear(schedule) => schedule.at(step),
        }
    }
}

fn schedule(config: &TrainConfig, per_epoch: usize) -> Result<Schedule, TrainError> {
    let updates = config.updates.unwrap_or(config.epochs * per_epoch);
    Ok(match config.decay {
        Decay::Cosine => Schedule::Cosine(CosineSchedule::new(
            config.lr,
            config.min_lr,
            updates,
            (config.warmup_epochs * per_epoch).min(updates),
        )?),
        Decay::Linear => Schedule::Linear(LinearSchedule::with_share(
            config.lr,
            updates,
            config.warmup_share,
        )?),
    })
}

/// Where a run writes and whether it continues.
#[derive(Clone, Debug)]
pub struct RunFolder {
    /// The folder; `None` keeps nothing.
    pub path: Option<PathBuf>,
    /// Continue from the folder's checkpoint when there is one.
    pub resume: bool,
}

/// One update, for progress displays.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq)]
pub struct StepReport {
    /// Updates made, this one included.
    pub step: usize,
    /// Updates of the whole run.
    pub steps: usize,
    /// Pass over the data, from 1.
    pub epoch: usize,
    /// Loss before the update.
    pub loss: f64,
    /// Learning rate of the update.
    pub lr: f64,
    /// Gradient norm before clipping.
    pub gradient_norm: f64,
    /// Records a second in this step, data included.
    pub records_per_s: f64,
}

/// Whether to go on after an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Train on.
    Continue,
    /// Stop here; the weights are final.
    Stop,
}

/// Sees a run go by.
pub trait Observer {
    /// After every update. [`Next::Stop`] writes a checkpoint and ends the run with [`TrainError::Stopped`].
    fn step(&mut self, _report: &StepReport) -> Next {
        Next::Continue
    }

    /// After every epoch (counted from 1), with the weights as they are.
    ///
    /// # Errors
    /// Anything that must end the run.
    fn epoch(&mut self, _epoch: usize, _weights: &Weights) -> Result<Next, TrainError> {
        Ok(Next::Continue)
    }

    /// Validates the weights after `step` updates, when the configuration says so; `None` if there is nothing to validate on.
    ///
    /// # Errors
    /// Anything that must end the run.
    fn validate(
        &mut self,
        _step: usize,
        _weights: &Weights,
    ) -> Result<Option<Validated>, TrainError> {
        Ok(None)
    }
}

/// Sees nothing.
impl Observer for () {}

/// Names of the files of a run.
const CHECKPOINT: &str = "checkpoint.safetensors";
const LOG: &str = "log.jsonl";
const EVENTS: &str = "tensorboard";
/// Batches assembled ahead of their step.
const PREFETCH: usize = 2;

/// What a run leaves.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The weights at its end.
    pub weights: Weights,
    /// Those its validations chose, if any were good enough to be kept.
    pub kept: Option<Kept>,
    /// Updates made.
    pub steps: usize,
}

impl Trained {
    /// The weights that were chosen, or the last.
    pub fn chosen(self) -> Weights {
        self.kept.map_or(self.weights, |kept| kept.weights)
    }
}

/// Trains `weights`.
///
/// With a run folder it appends to a JSON-lines log and TensorBoard events and writes checkpoints atomically; a run that
/// was killed and resumed ends with the weights of one that was not, bit for bit on the CPU.
///
/// # Errors
/// When data cannot be read, a file cannot be written, a checkpoint belongs to another configuration, or the loss is no
/// longer finite.
pub fn train<O: Objective>(
    objective: &O,
    mut weights: Weights,
    config: &TrainConfig,
    folder: &RunFolder,
    device: &Device,
    observer: &mut dyn Observer,
) -> Result<Trained, TrainError> {
    let parts = config.accumulate.max(1);
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
    let schedule = schedule(config, per_epoch)?;
    let fresh =
        |weights: &Weights| Adamw::new(weights, |n| objective.learning(n), config.optimizer);
    let mut optimizer = fresh(&weights);
    let mut validations = config.validation.clone().map(|validation| {
        let start = Regularisation {
            weight_decay: config.optimizer.weight_decay,
            dropouts: objective.regulated(),
        };
        Validations::new(validation, start, folder.path.as_deref())
    });
    let file = folder.path.as_deref().map(|path| path.join(CHECKPOINT));
    let mut first = 0;
    if let Some(file) = file.as_deref().filter(|f| folder.resume && f.exists()) {
        let (step, stored) = checkpoint::load(file, &mut weights, &mut optimizer, device)?;
        first = step;
        if config.restarts_from.is_some_and(|from| step > from) {
            optimizer = fresh(&weights);
        }
        if let (Some(validations), Some(stored)) = (&mut validations, stored) {
            validations.restore(&stored, &weights, device)?;
        }
    }
    let mut outputs = Outputs::open(folder.path.as_deref(), first)?;
    let dropout_seeds = Stream::new(config.seed, "dropout");
    let graph = device.clone().autodiff();
    let mut saved = Instant::now();
    let mut done = first;
    if let Some(validations) = validations
        .as_mut()
        .filter(|v| first == 0 && v.due(0, false, false))
    {
        validate(validations, 0, &weights, observer, &mut outputs)?;
    }
    let stopped =
        |validations: &Option<Validations>| validations.as_ref().is_some_and(Validations::stopped);

    std::thread::scope(|scope| {
        let (sender, batches) = mpsc::sync_channel(PREFETCH);
        let steps = if stopped(&validations) { first } else { steps };
        scope.spawn(move || {
            for step in first..steps {
                let (epoch, step) = (step / per_epoch, step % per_epoch);
                for part in 0..parts {
                    let batch = epoch * batches_per_epoch + step * parts + part;
                    // A closed channel means that training ended early.
                    if sender.send(objective.batch(batch)).is_err() {
                        return;
                    }
                }
            }
        });
        for step in first..steps {
            let start = Instant::now();
            let mut seeds = dropout_seeds.at(step as u64);
            let mut mean = 0.0;
            let regularisation = validations.as_ref().and_then(|v| v.regularisation());
            for _ in 0..parts {
                let Ok(batch) = batches.recv() else {
                    return outputs.flush();
                };
                let batch = batch?;
                let ctx = Context::training(&graph, objective.dropout(), seeds.next_u64())
                    .mixed_precision(config.mixed_precision)
                    .with_regulated(regularisation.map_or(&[], |now| &now.dropouts));
                let tracked = weights.tracked(|name| {
                    let learning = objective.learning(name);
                    learning.is_some_and(|learning| learning.from <= step)
                });
                let loss = objective.loss(&tracked, &batch, &ctx);
                weights.store(ctx.take_handed_back())?;
                // The mean over all parts is what a batch of their size would give.
                let loss = match parts {
                    1 => loss,
                    _ => loss / parts as f64,
                };
                optimizer.gather(&tracked, loss.backward());
                mean += f64::from(loss.inner().into_scalar::<f32>());
            }
            let loss = mean;
            if let Some(now) = regularisation {
                optimizer.config_mut().weight_decay = now.weight_decay;
            }
            let restarts = config.restarts_from.is_some_and(|from| step >= from);
            let lr = schedule.at(if restarts { 0 } else { step });
            let norm = optimizer.update(&mut weights, lr);
            if restarts {
                optimizer = fresh(&weights);
            }
            if !loss.is_finite() || !norm.is_finite() {
                return Err(TrainError::NotFinite {
                    step: step + 1,
                    loss,
                    norm,
                });
            }
            done = step + 1;
            let report = StepReport {
                step: done,
                steps,
                epoch: step / per_epoch + 1,
                loss,
                lr,
                gradient_norm: norm,
                records_per_s: (objective.batch_size() * parts) as f64
                    / start.elapsed().as_secs_f64(),
            };
            outputs.write(&report)?;
            let stop = observer.step(&report) == Next::Stop;
            let ends_epoch = done.is_multiple_of(per_epoch);
            if let Some(validations) = &mut validations
                && validations.due(done, ends_epoch, done == steps)
            {
                validate(validations, done, &weights, observer, &mut outputs)?;
            }
            let stopped = stopped(&validations);
            let due = saved.elapsed() >= Duration::from_secs(config.checkpoint_every_s);
            if let Some(file) = file
                .as_deref()
                .filter(|_| ends_epoch || due || stop || stopped || done == steps)
            {
                outputs.flush()?;
                let validations = validations.as_ref().map(Validations::stored);
                checkpoint::save(file, &weights, &optimizer, done, validations.transpose()?)?;
                saved = Instant::now();
            }
            if stop {
                return Err(TrainError::Stopped { step: done });
            }
            if ends_epoch && observer.epoch(report.epoch, &weights)? == Next::Stop || stopped {
                break;
            }
        }
        drop(batches);
        outputs.flush()
    })?;
    Ok(Trained {
        weights,
        kept: validations.and_then(Validations::into_kept),
        steps: done,
    })
}

/// Asks for a validation of `weights` after `step` updates and writes down what followed.
fn validate(
    validations: &mut Validations,
    step: usize,
    weights: &Weights,
    observer: &mut dyn Observer,
    outputs: &mut Outputs,
) -> Result<(), TrainError> {
    let Some(found) = observer.validate(step, weights)? else {
        return Ok(());
    };
    validations.take(step, found, weights)?;
    outputs.validation(step, found, validations.regularisation())
}

/// Log and events of a run with a folder.
struct Outputs(Option<(RunLog, EventWriter)>);

impl Outputs {
    fn open(folder: Option<&Path>, resumed_at: usize) -> Result<Self, TrainError> {
        let Some(folder) = folder else {
            return Ok(Outputs(None));
        };
        std::fs::create_dir_all(folder).map_err(|e| TrainError::io(folder, e))?;
        let log = folder.join(LOG);
        let log = if resumed_at > 0 {
            RunLog::resume(&log, resumed_at as u64)?
        } else {
            RunLog::create(&log)?
        };
        let events = EventWriter::create(&folder.join(EVENTS), resumed_at as u64 + 1)?;
        Ok(Outputs(Some((log, events))))
    }

    fn write(&mut self, report: &StepReport) -> Result<(), TrainError> {
        if let Some((log, events)) = &mut self.0 {
            let step = report.step as u64;
            let scalars = [
                ("loss", report.loss),
                ("learning_rate", report.lr),
                ("gradient_norm", report.gradient_norm),
                ("records_per_s", report.records_per_s),
            ];
            events.scalars(step, scalars)?;
            log.write(
                "train",
                step,
                scalars.into_iter().chain([("epoch", report.epoch as f64)]),
            )?;
        }
        Ok(())
    }

    fn validation(
        &mut self,
        step: usize,
        found: Validated,
        regularisation: Option<&Regularisation>,
    ) -> Result<(), TrainError> {
        if let Some((log, events)) = &mut self.0 {
            let step = step as u64;
            let values: Vec<(&str, f64)> = [
                ("validation_loss", Some(found.loss)),
                ("validation_metric", found.metric),
                ("weight_decay", regularisation.map(|r| r.weight_decay)),
                (
                    "dropout",
                    regularisation.and_then(|r| r.dropouts.last().copied()),
                ),
            ]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
            events.scalars(step, values.iter().copied())?;
            log.write("validation", step, values)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), TrainError> {
        if let Some((_, events)) = &mut self.0 {
            events.flush()?;
        }
        Ok(())
    }
}
