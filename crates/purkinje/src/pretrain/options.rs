//! What a caller asks of pre-training.

use std::path::PathBuf;

use purkinje_models::compat::Compat;
use purkinje_record::LeadSet;
use purkinje_signal::Preprocess;
use purkinje_train::Span;
use serde::{Deserialize, Serialize};

use crate::keys::Given;

/// What a caller asks of pre-training. What is left open comes from [`config`](PretrainOptions::config), from the run that
/// is resumed, or else from the defaults of the system and size.
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
    /// Size of the network by its name; the smallest if open.
    pub size: Option<String>,
    /// Whose behaviour the network follows.
    pub compat: Option<Compat>,
    /// Settings of the system.
    pub set: Given,
    /// Leads to learn from; those of the store or of the contract if open.
    pub leads: Option<LeadSet>,
    /// How recordings are given to the network; as the system expects them, or as they are stored, if open.
    pub preprocess: Option<Preprocess>,
    /// Limits on the quality of records, as [`QualityFilter`](purkinje_store::QualityFilter) reads them.
    pub quality: Option<String>,
    /// Passes over the data, in each stage.
    pub epochs: Option<usize>,
    /// Updates in each stage, instead of passes.
    pub updates: Option<usize>,
    /// Records of one step.
    pub batch: Option<usize>,
    /// Batches whose gradients make one update.
    pub accumulate: Option<usize>,
    /// Highest learning rate.
    pub lr: Option<f64>,
    /// How long the learning rate rises.
    pub warmup: Option<Span>,
    /// Seed of every random choice; 0 if open.
    pub seed: Option<u64>,
    /// Matrix products in bfloat16 where the device has units for it.
    pub mixed_precision: bool,
    /// Updates between validations on the validation part of the store; none if open.
    pub validate_every: Option<usize>,
    /// Validations without improvement after which a stage stops.
    pub patience: Option<usize>,
    /// Weight decay and dropout rise at every quarter of the patience.
    pub dynamic_regularisation: bool,
    /// Also keep the model after every so many epochs.
    pub keep_every: Option<usize>,
}
