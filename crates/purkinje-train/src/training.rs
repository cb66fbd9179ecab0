//! The training loop: steps, schedule, log, checkpoints, resumption.

mod config;
mod divergence;
mod outputs;
mod run;
mod stored;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::mpsc;

use burn::tensor::Device;
use purkinje_models::layers::Weights;
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::objective::Objective;
use crate::validation::{Kept, Validated};

pub use self::config::TrainConfig;
use self::run::Run;

/// Where a run writes and whether it continues.
#[derive(Clone, Debug)]
pub struct RunFolder {
    /// The folder; `None` keeps nothing.
    pub path: Option<PathBuf>,
    /// Continue from the folder's checkpoint when there is one.
    pub resume: bool,
}

/// One update, for progress displays.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct StepReport {
    /// Updates made, this one included.
    pub step: usize,
    /// Updates of the whole run.
    pub steps: usize,
    /// Pass over the data, from 1.
    pub epoch: usize,
    /// Loss before the update, the weighted sum of all terms.
    pub loss: f64,
    /// The terms of the loss by name, without their weights; none where the loss is a single one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<(String, f64)>,
    /// What else the objective measured, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<(String, f64)>,
    /// Learning rate of the update.
    pub lr: f64,
    /// Gradient norm before clipping.
    pub gradient_norm: f64,
    /// Records a second in this step, data included.
    pub records_per_s: f64,
}

impl StepReport {
    /// The loss in words, with its terms where there are several: `1.2345 (contrastive 0.9, reconstruction 0.3345)`.
    pub fn loss_text(&self) -> String {
        let total = format!("{:.4}", self.loss);
        if self.losses.is_empty() {
            return total;
        }
        let terms = self.losses.iter();
        let terms: Vec<String> = terms.map(|(name, v)| format!("{name} {v:.4}")).collect();
        format!("{total} ({})", terms.join(", "))
    }

    /// What is logged of an update, by name.
    fn scalars(&self) -> impl Iterator<Item = (&str, f64)> {
        let own = [
            ("loss", self.loss),
            ("learning_rate", self.lr),
            ("gradient_norm", self.gradient_norm),
            ("records_per_s", self.records_per_s),
        ];
        own.into_iter().chain(self.named())
    }

    fn named(&self) -> impl Iterator<Item = (&str, f64)> {
        let named = self.losses.iter().chain(&self.metrics);
        named.map(|(name, value)| (name.as_str(), *value))
    }

    /// A name that stands for two things in the log.
    fn taken_name(&self) -> Option<&str> {
        const ENTRY: [&str; 4] = ["event", "step", "time_s", "epoch"];
        let mut seen = BTreeSet::from(ENTRY);
        self.scalars()
            .map(|(name, _)| name)
            .find(|name| !seen.insert(*name))
    }
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
    /// Before the first update, with those made earlier: 0, unless the run is resumed.
    fn begin(&mut self, _done: usize) {}

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
    /// Anything that must end the run; [`TrainError::Interrupted`] to stop it as [`Next::Stop`] does: the validation is then
    /// made when the run is resumed.
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
/// When data cannot be read, a file cannot be written, a checkpoint belongs to another configuration, or the run has diverged
/// ([`TrainError::Diverged`]): a loss, a gradient norm or a weight is not finite, or the loss is more than 10 times that of the
/// first update (or than 10, where that is smaller than 1) in 20 successive updates, or in the last 3 of the run. Checkpoints
/// are not replaced while the loss is that high.
pub fn train<O: Objective>(
    objective: &O,
    weights: Weights,
    config: &TrainConfig,
    folder: &RunFolder,
    device: &Device,
    observer: &mut dyn Observer,
) -> Result<Trained, TrainError> {
    let mut run = Run::open(objective, weights, config, folder, device)?;
    observer.begin(run.done());
    if run.validate_start(observer)? == Next::Stop {
        return Ok(run.finish());
    }
    let (updates, length) = (run.updates_left(), run.length());
    std::thread::scope(|scope| {
        let (sender, batches) = mpsc::sync_channel(PREFETCH);
        let ahead = updates.clone();
        scope.spawn(move || {
            for batch in ahead.flat_map(|step| length.batches(step)) {
                // A closed channel means that training ended early.
                if sender.send(objective.batch(batch)).is_err() {
                    return;
                }
            }
        });
        for step in updates {
            let Some(report) = run.update(step, &batches)? else {
                break;
            };
            if run.after(&report, observer)? == Next::Stop {
                break;
            }
        }
        drop(batches);
        run.flush()
    })?;
    Ok(run.finish())
}
