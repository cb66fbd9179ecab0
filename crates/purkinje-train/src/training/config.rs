//! What decides a run: its length, schedule, optimizer and validation.

use serde::{Deserialize, Serialize};

use super::stored::Stored;
use crate::optimizer::OptimizerConfig;
use crate::schedule::{Rates, Schedule, ScheduleError, Span};
use crate::validation::ValidationConfig;

/// How long and how fast to learn. Files of runs that were started before there was one [`Schedule`] are read too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct TrainConfig {
    /// Passes over the data.
    pub epochs: usize,
    /// Learning rates.
    pub schedule: Schedule,
    /// Updates of the schedule; those of `epochs` if absent. The run ends with them, whatever `epochs` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updates: Option<usize>,
    /// The run ends with its last epoch all the same, at a rate of 0 beyond the line: the published pre-training of
    /// HuBERT-ECG.
    pub ends_with_epoch: bool,
    /// From this update on, optimizer and schedule begin anew at every update: the published program of HuBERT-ECG where
    /// parts are frozen at first (see `docs/differences.md`). At the rate of the first update, 0 with a warm-up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts_from: Option<usize>,
    /// Batches whose gradients make one update.
    pub accumulate: usize,
    /// Seed of every random choice.
    pub seed: u64,
    /// Optimizer.
    pub optimizer: OptimizerConfig,
    /// Matrix products in bfloat16 where the device has units for it.
    pub mixed_precision: bool,
    /// Seconds between checkpoints inside an epoch; one is always written at its end.
    pub checkpoint_every_s: u64,
    /// When the observer is asked to validate, and what follows from that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<ValidationConfig>,
}

impl Default for TrainConfig {
    /// CLEAR's pre-training, for 25 epochs.
    fn default() -> Self {
        TrainConfig {
            epochs: 25,
            schedule: Schedule::cosine(5e-4, 1e-5, Span::Epochs(2)),
            updates: None,
            ends_with_epoch: false,
            restarts_from: None,
            accumulate: 1,
            seed: 0,
            optimizer: OptimizerConfig::pretrain(),
            mixed_precision: false,
            checkpoint_every_s: 300,
            validation: None,
        }
    }
}

impl TrainConfig {
    /// The learning rates of a run with `per_epoch` updates in a pass over the data.
    pub(super) fn rates(&self, per_epoch: usize) -> Result<Rates, ScheduleError> {
        let updates = self.updates.unwrap_or(self.epochs * per_epoch);
        self.schedule.rates(updates, per_epoch)
    }
}
