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
use crate::objective::Objective;
use crate::optimizer::{Adamw, AdamwConfig};
use crate::run_log::RunLog;
use crate::schedule::{CosineSchedule, LinearSchedule};
use crate::tensorboard::EventWriter;

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
    /// In a straight line to 0, after 8 % of all updates: HuBERT-ECG.
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
    Ok(match config.decay {
        Decay::Cosine => Schedule::Cosine(CosineSchedule::from_epochs(
            config.lr,
            config.min_lr,
            config.epochs,
            per_epoch,
            config.warmup_epochs,
            None,
        )?),
        Decay::Linear => Schedule::Linear(LinearSchedule::with_share(
            config.lr,
            config.epochs * per_epoch,
            LinearSchedule::WARMUP,
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
}

/// Sees nothing.
impl Observer for () {}

/// Names of the files of a run.
const CHECKPOINT: &str = "checkpoint.safetensors";
const LOG: &str = "log.jsonl";
const EVENTS: &str = "tensorboard";
/// Batches assembled ahead of their step.
const PREFETCH: usize = 2;

/// Trains `weights` and returns them.
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
) -> Result<Weights, TrainError> {
    let parts = config.accumulate.max(1);
    let batches_per_epoch = objective.steps_per_epoch();
    let per_epoch = batches_per_epoch / parts;
    if per_epoch == 0 {
        return Err(TrainError::NoData {
            batch: objective.batch_size() * parts,
        });
    }
    let steps = per_epoch * config.epochs;
    let schedule = schedule(config, per_epoch)?;
    let mut optimizer = Adamw::new(&weights, |n| objective.trains(n), config.optimizer)
        .with_rates(&weights, |n| objective.rate(n));
    let file = folder.path.as_deref().map(|path| path.join(CHECKPOINT));
    let mut first = 0;
    if let Some(file) = file.as_deref().filter(|f| folder.resume && f.exists()) {
        first = checkpoint::load(file, &mut weights, &mut optimizer, device)?;
    }
    let mut outputs = Outputs::open(folder.path.as_deref(), first)?;
    let dropout_seeds = Stream::new(config.seed, "dropout");
    let graph = device.clone().autodiff();
    let mut saved = Instant::now();

    std::thread::scope(|scope| {
        let (sender, batches) = mpsc::sync_channel(PREFETCH);
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
            for _ in 0..parts {
                let Ok(batch) = batches.recv() else {
                    return outputs.flush();
                };
                let batch = batch?;
                let ctx = Context::training(&graph, objective.dropout(), seeds.next_u64())
                    .mixed_precision(config.mixed_precision);
                let tracked = weights.tracked(|name| objective.trains(name));
                let loss = objective.loss(&tracked, &batch, &ctx);
                // The mean over all parts is what a batch of their size would give.
                let loss = match parts {
                    1 => loss,
                    _ => loss / parts as f64,
                };
                optimizer.gather(&tracked, loss.backward());
                mean += f64::from(loss.inner().into_scalar::<f32>());
            }
            let loss = mean;
            let lr = schedule.at(step);
            let norm = optimizer.update(&mut weights, lr);
            if !loss.is_finite() || !norm.is_finite() {
                return Err(TrainError::NotFinite {
                    step: step + 1,
                    loss,
                    norm,
                });
            }
            let report = StepReport {
                step: step + 1,
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
            let ends_epoch = (step + 1) % per_epoch == 0;
            let due = saved.elapsed() >= Duration::from_secs(config.checkpoint_every_s);
            if let Some(file) = file.as_deref().filter(|_| ends_epoch || due || stop) {
                outputs.flush()?;
                checkpoint::save(file, &weights, &optimizer)?;
                saved = Instant::now();
            }
            if stop {
                return Err(TrainError::Stopped { step: step + 1 });
            }
            if ends_epoch && observer.epoch(report.epoch, &weights)? == Next::Stop {
                break;
            }
        }
        drop(batches);
        outputs.flush()
    })?;
    Ok(weights)
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

    fn flush(&mut self) -> Result<(), TrainError> {
        if let Some((_, events)) = &mut self.0 {
            events.flush()?;
        }
        Ok(())
    }
}
