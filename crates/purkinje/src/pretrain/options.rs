//! Options of pre-training.

use std::path::PathBuf;

use purkinje_models::compat::Compat;
use purkinje_record::LeadSet;
use purkinje_signal::Preprocess;
use purkinje_train::Span;
use serde::{Deserialize, Serialize};

use crate::keys::Given;

/// Options of pre-training. Absent values come from [`config`](PretrainOptions::config), from the run that is resumed,
/// or else from the defaults of the system and size.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainOptions {
    /// The system, by its name.
    pub system: String,
    /// Prepared store.
    pub data: PathBuf,
    /// Folder of the run: configuration, logs, checkpoints, models.
    pub out: PathBuf,
    /// TOML file with any of the fields of a run's own `config.toml`.
    pub config: Option<PathBuf>,
    /// Continue the run in the folder.
    pub resume: bool,
    /// Size of the network by its name; the smallest if absent.
    pub size: Option<String>,
    /// Whether to follow the paper or the released program.
    pub compat: Option<Compat>,
    /// Settings that are specific to the system (`--set`).
    pub set: Given,
    /// Leads to train on; those of the store or of the contract if absent.
    pub leads: Option<LeadSet>,
    /// Preprocessing of the network's input; if absent, that of the system, or that of the store.
    pub preprocess: Option<Preprocess>,
    /// Limits on signal quality that records must keep, as [`QualityFilter`](purkinje_store::QualityFilter) reads them.
    pub quality: Option<String>,
    /// Epochs in each stage.
    pub epochs: Option<usize>,
    /// Updates in each stage, instead of epochs.
    pub updates: Option<usize>,
    /// Records per batch.
    pub batch: Option<usize>,
    /// Batches whose gradients are accumulated for one update.
    pub accumulate: Option<usize>,
    /// Highest learning rate.
    pub lr: Option<f64>,
    /// Warm-up of the learning rate.
    pub warmup: Option<Span>,
    /// Seed of every random choice; 0 if absent.
    pub seed: Option<u64>,
    /// Use bfloat16 matrix products on devices that support them.
    pub mixed_precision: bool,
    /// Updates between validations on the validation split of the store; no validation if absent.
    pub validate_every: Option<usize>,
    /// Validations without improvement after which a stage stops.
    pub patience: Option<usize>,
    /// Raise weight decay and dropout at every quarter of the patience.
    pub dynamic_regularisation: bool,
    /// Also save the model every this many epochs.
    pub keep_every: Option<usize>,
}
