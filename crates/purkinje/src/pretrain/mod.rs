//! Pre-training: from a store to an encoder, without labels.
//!
//! There is one driver for all systems. A system gives it [stages](Pretrains::stages), each with its objective, its validation
//! and whatever it makes on the way ([`Pretrains::stage`]); the driver finds the records, resolves and compares configurations,
//! trains with checkpoints and validations, saves models, and skips what a run that is resumed has finished.

mod config;
mod driver;
mod layout;
mod options;
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
pub use self::stage::{Learned, Stage, Validate};

use crate::keys::{Described, Key, describe};
use crate::registry::{Complete, Entry};
use crate::system::System;
use crate::{Device, Error, Model, Registry, Reporter, Result};

/// A network's hyper-parameters, and what only the pre-training of its system has.
#[derive(Clone, Debug, PartialEq)]
pub struct Own<C, X> {
    /// The network.
    pub network: C,
    /// What only the pre-training has.
    pub settings: X,
}

/// The same of a system.
pub type OwnOf<S> = Own<<S as System>::Config, <S as Pretrains>::Settings>;

/// How a pre-training is divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stages {
    /// Not at all: everything lies in the run's folder.
    One,
    /// Into stages of these names, each in a folder of its own.
    Several(Vec<String>),
}

/// A system that can be pre-trained.
pub trait Pretrains: System {
    /// What only its pre-training has, beside the hyper-parameters of the network.
    type Settings: Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// What `--set` takes: parts of its settings and of the network.
    const PRETRAIN_KEYS: &'static [Key<OwnOf<Self>>] = &[];

    /// Records of one step, where nothing else is said.
    const BATCH: usize = 64;

    /// Its settings for a network, where nothing else is said.
    fn settings(network: &Self::Config) -> Self::Settings;

    /// How long and how fast a network of a size (by its name) learns in a stage, where nothing else is said.
    fn training(size: &str) -> TrainConfig;

    /// Checks that settings make sense, alone and with the network.
    ///
    /// # Errors
    /// A sentence that names the setting.
    fn check_pretraining(own: &OwnOf<Self>) -> Result<(), String> {
        let _ = own;
        Ok(())
    }

    /// What early stopping and dynamic regularisation do where a behaviour is followed.
    fn stopping(compat: Compat) -> Behaviour {
        let _ = compat;
        Behaviour::Paper
    }

    /// How recordings of a store are given to the network, where nothing else is said; `stored` is the contract of the store.
    fn contract(stored: &Preprocess) -> Preprocess {
        stored.clone()
    }

    /// Seconds that a recording must have; shorter ones are left out.
    fn least_seconds(own: &OwnOf<Self>) -> Option<f64> {
        let _ = own;
        None
    }

    /// The stages of a run.
    fn stages(own: &OwnOf<Self>) -> Stages {
        let _ = own;
        Stages::One
    }

    /// The training of stage `number`, counted from 1, on `records` records: that of the run with another seed for each
    /// stage.
    ///
    /// # Errors
    /// When it makes no sense.
    fn stage_training(config: &RunOf<Self>, number: usize, records: usize) -> Result<TrainConfig> {
        let _ = records;
        let mut train = config.train.clone();
        train.seed = train.seed.wrapping_add(number as u64 - 1);
        Ok(train)
    }

    /// The encoder that stage `number` begins with; `before` is that of the stage before.
    fn begin(
        config: &RunOf<Self>,
        number: usize,
        before: Option<&Self::Encoder>,
        device: &Device,
    ) -> Self::Encoder {
        let _ = number;
        match before {
            Some(before) => before.clone(),
            None => Self::random(config.network.clone(), config.train.seed, device.inner()),
        }
    }

    /// Does a stage: makes what it needs, and calls [`Stage::learn`] with its objective. `encoder` is what it
    /// [begins](Pretrains::begin) with. What it makes must be whole or not there, and be found again when the run is resumed.
    ///
    /// # Errors
    /// When data cannot be read, files cannot be written, or training fails.
    fn stage(
        stage: &Stage<'_, Self>,
        encoder: &Self::Encoder,
        before: Option<&Self::Encoder>,
    ) -> Result<Learned>;
}

/// What became of a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageResult {
    /// Its name; `None` where there is one stage only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its last update; `None` if it made none now.
    pub last: Option<StepReport>,
}

/// A pre-trained encoder, and how it came about.
#[derive(Clone, Debug, Serialize)]
pub struct Pretrained {
    /// The system, by its name.
    pub system: &'static str,
    /// Records it learned from.
    pub records: usize,
    /// Numbers in its weights.
    pub parameters: usize,
    /// Its stages.
    pub stages: Vec<StageResult>,
    /// Where the model lies.
    pub folder: PathBuf,
    /// The model.
    #[serde(skip)]
    pub model: Model,
}

/// Pre-trains an encoder of one of these systems and saves it in the folder `model` of the run.
///
/// A run that was stopped goes on where it was when it is resumed, and ends with the same bits on the CPU.
///
/// # Errors
/// When options, store and system do not go together, the folder holds another run, or training fails; an error that
/// [is a stop](Error::is_stop) when `reporter` asked for it.
pub fn pretrain(
    options: &PretrainOptions,
    device: &Device,
    registry: &Registry,
    reporter: &dyn Reporter,
) -> Result<Pretrained> {
    let system = registry.named(&options.system).ok_or_else(|| {
        Error::invalid(format!(
            "there is no system `{}`: expected one of {}",
            options.system,
            registry.names().join(", ")
        ))
    })?;
    system.pretrain(options, device, registry, reporter)
}

/// Pre-training of a system as an object.
pub trait AnyPretrains {
    /// The settings that only this system has, with their defaults.
    ///
    /// # Errors
    /// None, where the smallest size is one.
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
            S::PRETRAIN_KEYS,
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
