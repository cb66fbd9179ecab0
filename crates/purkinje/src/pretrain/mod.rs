//! Pre-training: trains an encoder on a store without labels.
//!
//! There is one driver for all systems. A system provides [stages](Pretrains::stages), each with its objective,
//! validation and intermediate results ([`Pretrains::stage`]). The driver selects the records, resolves and compares
//! configurations, trains with checkpoints and validations, saves models, and skips what a resumed run has finished.

mod config;
mod driver;
mod layout;
mod options;
mod reports;
mod rows;
mod stage;

use std::path::PathBuf;

use purkinje_models::compat::Compat;
use purkinje_signal::Preprocess;
use purkinje_train::early_stopping::Behaviour;
use purkinje_train::{StepReport, TrainConfig};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use self::config::{RunConfig, RunOf};
pub use self::options::PretrainOptions;
pub(crate) use self::reports::{Reports, TokenizerOf, check_longest};
pub use self::stage::{Learned, Stage, Validate};

use crate::keys::{Described, Key, describe};
use crate::registry::{Complete, Entry};
use crate::system::System;
use crate::{Device, Error, Model, Registry, Reporter, Result};

/// A network's hyper-parameters and the settings of its system's pre-training.
#[derive(Clone, Debug, PartialEq)]
pub struct Own<C, X> {
    /// The network.
    pub network: C,
    /// Settings that are specific to the system's pre-training.
    pub settings: X,
}

/// [`Own`] for a system.
pub type OwnOf<S> = Own<<S as System>::Config, <S as Pretrains>::Settings>;

/// How a pre-training is divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stages {
    /// One stage, in the run's folder.
    One,
    /// Stages with these names, each in a folder of its own.
    Several(Vec<String>),
}

/// A system that can be pre-trained.
pub trait Pretrains: System {
    /// Settings of its pre-training beside the hyper-parameters of the network.
    type Settings: Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Keys of `--set`: fields of its settings and of the network.
    fn pretrain_keys() -> Vec<Key<OwnOf<Self>>> {
        Vec::new()
    }

    /// Default records per batch.
    const BATCH: usize = 64;

    /// Default settings for a network.
    fn settings(network: &Self::Config) -> Self::Settings;

    /// Default schedule and optimizer of a stage for a network size, given by name.
    fn training(size: &str) -> TrainConfig;

    /// Checks the settings, alone and together with the network.
    ///
    /// # Errors
    /// A message that names the setting.
    fn check_pretraining(own: &OwnOf<Self>) -> Result<(), String> {
        let _ = own;
        Ok(())
    }

    /// The variant of early stopping and dynamic regularisation for paper or released program.
    fn stopping(compat: Compat) -> Behaviour {
        let _ = compat;
        Behaviour::Paper
    }

    /// Default preprocessing of the network's input; `stored` is the contract of the store.
    fn contract(stored: &Preprocess) -> Preprocess {
        stored.clone()
    }

    /// Shortest recording that is used, in seconds.
    fn least_seconds(own: &OwnOf<Self>) -> Option<f64> {
        let _ = own;
        None
    }

    /// The stages of a run.
    fn stages(own: &OwnOf<Self>) -> Stages {
        let _ = own;
        Stages::One
    }

    /// Training configuration of stage `number` (from 1) on `records` records; by default that of the run, with another
    /// seed for each stage.
    ///
    /// # Errors
    /// When the configuration is invalid for the stage.
    fn stage_training(config: &RunOf<Self>, number: usize, records: usize) -> Result<TrainConfig> {
        let _ = records;
        let mut train = config.train.clone();
        train.seed = train.seed.wrapping_add(number as u64 - 1);
        Ok(train)
    }

    /// The encoder that stage `number` starts from; `before` is the result of the previous stage.
    ///
    /// # Errors
    /// When weights to start from cannot be read.
    fn begin(
        config: &RunOf<Self>,
        number: usize,
        before: Option<&Self::Encoder>,
        device: &Device,
    ) -> Result<Self::Encoder> {
        let _ = number;
        Ok(match before {
            Some(before) => before.clone(),
            None => Self::random(config.network.clone(), config.train.seed, device.inner()),
        })
    }

    /// Runs a stage: computes what it needs, and calls [`Stage::learn`] with its objective. `encoder` is the one it
    /// [starts from](Pretrains::begin). Intermediate results must be written atomically, and must be reused when the
    /// run is resumed.
    ///
    /// # Errors
    /// When data cannot be read, files cannot be written, or training fails.
    fn stage(
        stage: &Stage<'_, Self>,
        encoder: &Self::Encoder,
        before: Option<&Self::Encoder>,
    ) -> Result<Learned>;
}

/// The result of a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageResult {
    /// Its name; `None` where there is one stage only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its last update; `None` if this call made none.
    pub last: Option<StepReport>,
}

/// The result of pre-training.
#[derive(Clone, Debug, Serialize)]
pub struct Pretrained {
    /// The system, by its name.
    pub system: &'static str,
    /// Number of training records.
    pub records: usize,
    /// Number of parameters.
    pub parameters: usize,
    /// The stages of the run.
    pub stages: Vec<StageResult>,
    /// Folder of the model.
    pub folder: PathBuf,
    /// The model.
    #[serde(skip)]
    pub model: Model,
}

/// Pre-trains an encoder of one of these systems and saves it in the folder `model` of the run.
///
/// A stopped run continues from its checkpoint when it is resumed, and ends with the same weights, bit for bit on the
/// CPU.
///
/// # Errors
/// When options, store and system do not fit together, the folder holds another run, or training fails; an error for
/// which [`Error::is_stop`] is true when `reporter` requested a stop.
pub fn pretrain(
    options: &PretrainOptions,
    device: &Device,
    registry: &Registry,
    reporter: &dyn Reporter,
) -> Result<Pretrained> {
    let system = registry.named(&options.system).ok_or_else(|| {
        Error::invalid(format!(
            "unknown system `{}`: expected one of {}",
            options.system,
            registry.names().join(", ")
        ))
    })?;
    system.pretrain(options, device, registry, reporter)
}

/// Pre-training of a system as an object.
pub trait AnyPretrains {
    /// The settings that are specific to this system, with their defaults.
    ///
    /// # Errors
    /// When the system's smallest size has no configuration.
    fn pretrain_keys(&self) -> Result<Vec<Described>>;

    /// See [`pretrain`].
    ///
    /// # Errors
    /// As there.
    fn pretrain(
        &self,
        options: &PretrainOptions,
        device: &Device,
        registry: &Registry,
        reporter: &dyn Reporter,
    ) -> Result<Pretrained>;
}

impl<S: Complete> AnyPretrains for Entry<S> {
    fn pretrain_keys(&self) -> Result<Vec<Described>> {
        Ok(describe(
            &S::pretrain_keys(),
            &config::own_defaults::<S>(None)?,
        ))
    }

    fn pretrain(
        &self,
        options: &PretrainOptions,
        device: &Device,
        registry: &Registry,
        reporter: &dyn Reporter,
    ) -> Result<Pretrained> {
        driver::run::<S>(options, device, registry, reporter)
    }
}
