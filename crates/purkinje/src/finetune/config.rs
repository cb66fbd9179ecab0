//! The configuration of a fine-tuning run: the contents of its `config.toml`.

use std::path::{Path, PathBuf};

use purkinje_eval::crops::Aggregation;
use purkinje_eval::fraction::LabelFraction;
use purkinje_models::angles::Angles;
use purkinje_models::compat::Compat;
use purkinje_record::LeadSet;
use purkinje_store::Store;
use purkinje_train::optimizer::OptimizerConfig;
use purkinje_train::{TrainConfig, ValidationConfig};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::keys::spelt;
use crate::learns::Learns;
use crate::model::Model;
use crate::network::Network;
use crate::run_folder::CONFIG;
use crate::{Error, Result};

/// Fields of older configurations that are now in `[settings]`.
const OLD_SETTINGS: [&str; 5] = [
    "frozen_until",
    "layer_wise",
    "layerdrop",
    "dropout",
    "random_crop",
];

/// Tables whose fields can be overridden one by one; any other value is replaced whole.
const NESTED: [&str; 7] = [
    "fraction",
    "settings",
    "train",
    "train.optimizer",
    "train.schedule",
    "train.validation",
    "train.validation.stopping",
];

/// Where a run starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// From pre-trained weights.
    Finetune,
    /// From random ones.
    Scratch,
}

/// What early stopping looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValidatedOn {
    /// Records kept for that.
    Validation,
    /// The records trained on, as published where no validation part exists; keep some of them instead.
    Training,
}

/// Everything that decides the outcome of a fine-tuning run; written beside it as `config.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinetuneConfig {
    /// Prepared store.
    pub data: PathBuf,
    /// Label set of the store.
    pub task: String,
    /// Model that the run starts from; training from random weights takes only its configuration.
    pub model: Option<PathBuf>,
    /// System to train, where no model is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Size of the network, where no model is given.
    pub size: Option<String>,
    /// Encoder of recordings by its published name, where no model is given and it is not that of the size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<String>,
    /// Whether to start from pre-trained or random weights.
    pub start: Start,
    /// The published recipe that is followed.
    pub recipe: Option<String>,
    /// Whether training and evaluation follow the paper or the released program.
    pub compat: Compat,
    /// Classification head by name.
    pub head: String,
    /// Which parameters are trained: `all`, `linear` (the head), another name the system defines, or substrings of
    /// parameter names.
    pub trainable: String,
    /// Whether the loss weights positive labels by the ratio of negatives to positives, or mutually exclusive classes
    /// by their inverse frequency.
    pub class_weights: bool,
    /// Whether a single label is trained as two mutually exclusive classes.
    pub two_classes: bool,
    /// Split used for early stopping and for selecting weights.
    pub validated_on: ValidatedOn,
    /// Number of crops per recording in evaluation.
    pub crops: usize,
    /// How their probabilities are aggregated.
    pub aggregation: Aggregation,
    /// Whether decision thresholds are 0.5 instead of those with the best F1 on validation.
    pub half: bool,
    /// Records per batch.
    pub batch: usize,
    /// Fraction of the training labels.
    pub fraction: LabelFraction,
    /// Leads to use; those of the model if absent.
    pub leads: Option<LeadSet>,
    /// Limits on signal quality that records must keep; none when empty.
    pub quality: String,
    /// With patients instead of labels: factor and margin of the angles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub angles: Option<Angles>,
    /// Settings that are specific to the system.
    #[serde(default)]
    pub settings: Table,
    /// Schedule, optimizer, validation.
    pub train: TrainConfig,
}

impl FinetuneConfig {
    /// Defaults for all systems, before those of the system, a recipe and the caller.
    pub(super) fn defaults(model: &Model, store: &Store, start: Start, compat: Compat) -> Self {
        FinetuneConfig {
            data: store.dir().to_owned(),
            task: String::new(),
            model: model.folder().map(Path::to_owned),
            system: None,
            size: None,
            encoder: None,
            start,
            recipe: None,
            compat,
            head: model
                .about()
                .heads
                .first()
                .copied()
                .unwrap_or_default()
                .into(),
            trainable: "all".into(),
            class_weights: false,
            two_classes: false,
            validated_on: ValidatedOn::Validation,
            crops: 1,
            aggregation: Aggregation::default(),
            half: false,
            batch: 64,
            fraction: LabelFraction::ALL,
            leads: None,
            quality: String::new(),
            angles: None,
            settings: Table::new(),
            train: TrainConfig {
                epochs: 20,
                optimizer: OptimizerConfig {
                    clip_norm: Some(3.0),
                    ..OptimizerConfig::finetune()
                },
                validation: Some(ValidationConfig::default()),
                ..TrainConfig::default()
            },
        }
    }

    /// The configuration of the run in a folder, if there is one; layouts of older versions are accepted.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn stored(out: &Path, network: &dyn Network) -> Result<Option<FinetuneConfig>> {
        let path = out.join(CONFIG);
        if !path.exists() {
            return Ok(None);
        }
        let mut table = read_table(&path)?;
        upgrade(&mut table, network);
        if !table.contains_key("model") && !table.contains_key("system") {
            // In older versions only one system could be trained without a model, and this size was its default.
            table.insert("system".into(), network.about().name.into());
            table.entry("size").or_insert_with(|| "small".into());
        }
        let read = || {
            let mut config = from_table(table)?;
            config.settings = network.settings(&config.settings)?;
            Ok(config)
        };
        let config = read()
            .map_err(|error: Error| error.during(format!("cannot read `{}`", path.display())))?;
        Ok(Some(config))
    }

    /// The configuration with the fields in `changes` replaced.
    ///
    /// # Errors
    /// For an unknown field or an invalid value.
    pub(crate) fn with(&self, changes: &Table) -> Result<FinetuneConfig> {
        let table = Table::try_from(self);
        let mut table = table.map_err(|error| Error::invalid(format!("TOML: {error}")))?;
        overlay(&mut table, changes, "");
        from_table(table)
    }
}

/// Reads a TOML configuration file.
///
/// # Errors
/// When it cannot be read or is not valid TOML.
pub fn read_table(path: &Path) -> Result<Table> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::file("read", path, error))?;
    text.parse()
        .map_err(|error| Error::invalid(format!("configuration `{}`: {error}", path.display())))
}

/// Converts fields of older versions to the current layout.
pub(super) fn upgrade(table: &mut Table, network: &dyn Learns) {
    let mut old = Table::new();
    for key in OLD_SETTINGS {
        if let Some(value) = table.remove(key) {
            old.insert(key.to_owned(), value);
        }
    }
    if !old.is_empty() && !table.contains_key("settings") {
        table.insert("settings".into(), network.settings_of_old(&old).into());
    }
    if let Some(Value::Table(settings)) = table.get_mut("settings") {
        for (key, value) in std::mem::take(settings) {
            let spelt = spelt(&key);
            // Where both spellings are given, the right one holds.
            if spelt == key || !settings.contains_key(&spelt) {
                settings.insert(spelt, value);
            }
        }
    }
}

fn from_table(table: Table) -> Result<FinetuneConfig> {
    let config: std::result::Result<FinetuneConfig, _> = table.try_into();
    config.map_err(|error| {
        Error::invalid(format!("the configuration: {error}")).with_help(
            "valid fields are those of the `config.toml` that every run writes; settings of the system are in `[settings]`",
        )
    })
}

fn overlay(base: &mut Table, changes: &Table, path: &str) {
    // A length given in epochs replaces one in updates.
    if path == "train" && changes.contains_key("epochs") && !changes.contains_key("updates") {
        base.remove("updates");
    }
    for (key, value) in changes {
        let at = match path {
            "" => key.clone(),
            path => format!("{path}.{key}"),
        };
        match (base.get_mut(key), value) {
            (Some(Value::Table(own)), Value::Table(new)) if NESTED.contains(&at.as_str()) => {
                overlay(own, new, &at);
            }
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_fields_are_changed_and_choices_replaced_whole() {
        let mut base: Table = "batch = 64\n[train]\nepochs = 2\nupdates = 9\n[train.schedule]\nlr = 0.1\nwarmup = { epochs = 2 }"
            .parse()
            .unwrap();
        let changes: Table =
            "[train]\nepochs = 3\n[train.schedule]\nwarmup = { fraction = 0.5 }\n[settings]\np = 1"
                .parse()
                .unwrap();
        overlay(&mut base, &changes, "");
        let expected: Table = "batch = 64\n[train]\nepochs = 3\n[train.schedule]\nlr = 0.1\nwarmup = { fraction = 0.5 }\n[settings]\np = 1"
            .parse()
            .unwrap();
        assert_eq!(base, expected);
    }
}
