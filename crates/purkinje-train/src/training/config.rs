//! What decides a run: its length, schedule, optimizer and validation.

use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::optimizer::AdamwConfig;
use crate::schedule::{CosineSchedule, LinearSchedule};
use crate::validation::ValidationConfig;

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
pub(super) enum Schedule {
    Cosine(CosineSchedule),
    Linear(LinearSchedule),
}

impl Schedule {
    pub(super) fn at(&self, step: usize) -> f64 {
        match self {
            Schedule::Cosine(schedule) => schedule.at(step),
            Schedule::Linear(schedule) => schedule.at(step),
        }
    }
}

pub(super) fn schedule(config: &TrainConfig, per_epoch: usize) -> Result<Schedule, TrainError> {
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
