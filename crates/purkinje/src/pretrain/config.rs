//! The configuration of a pre-training run.

use std::path::PathBuf;

use purkinje_record::LeadSet;
use purkinje_signal::Preprocess;
use purkinje_train::early_stopping::{Behaviour, StoppingConfig};
use purkinje_train::{Keep, Span, TrainConfig, ValidationConfig};
use serde::{Deserialize, Serialize};

use super::layout::{File, read};
use super::options::PretrainOptions;
use super::{Own, OwnOf, Pretrains};
use crate::keys;
use crate::registry::sized;
use crate::run_folder::{self, CONFIG};
use crate::system::System;
use crate::{Error, Result};

/// Number of intervals, each ending in a penalty of dynamic regularisation, that the patience is divided into
/// (HuBERT-ECG).
const PENALTY_INTERVALS: usize = 4;

/// Everything that determines the result of a run. `C` are the hyper-parameters of the network, `X` the settings of its
/// system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig<C, X> {
    /// The system, by its name.
    pub system: String,
    /// Prepared store.
    pub data: PathBuf,
    /// Leads used.
    pub leads: LeadSet,
    /// Records per batch.
    pub batch: usize,
    /// Limits on signal quality that records must keep; none when empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub quality: String,
    /// Settings that are specific to the system.
    pub settings: X,
    /// Schedule and optimizer of each stage.
    pub train: TrainConfig,
    /// Hyper-parameters of the network.
    pub network: C,
    /// Preprocessing of the network's input; if absent, that of the system, or that of the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preprocess: Option<Preprocess>,
}

/// The configuration of a run of the system `S`.
pub type RunOf<S> = RunConfig<<S as System>::Config, <S as Pretrains>::Settings>;

impl<C: Clone, X: Clone> RunConfig<C, X> {
    /// The part of the configuration that the system's `--set` keys can change.
    pub fn own(&self) -> Own<C, X> {
        Own {
            network: self.network.clone(),
            settings: self.settings.clone(),
        }
    }
}

/// The default network and settings of a size.
pub(super) fn own_defaults<S: Pretrains>(size: Option<&str>) -> Result<OwnOf<S>> {
    let network = sized::<S>(size.unwrap_or(S::ABOUT.sizes[0].name))?;
    Ok(Own {
        settings: S::settings(&network),
        network,
    })
}

/// Resolves the configuration in this order: defaults, then the configuration file or that of the resumed run, then
/// options. `stored` is the contract of the store, `systems` are the names of all systems.
pub(super) fn resolve<S: Pretrains>(
    options: &PretrainOptions,
    stored: &Preprocess,
    systems: &[&str],
) -> Result<RunOf<S>> {
    let size = options.size.as_deref();
    let own = own_defaults::<S>(size)?;
    let contract = match &options.preprocess {
        Some(contract) => contract.clone(),
        None => S::contract(stored),
    };
    let own = Own {
        network: S::for_contract(own.network, &contract),
        ..own
    };
    let defaults = RunConfig {
        system: S::ABOUT.name.to_owned(),
        data: options.data.clone(),
        leads: S::contract(stored).leads,
        batch: S::BATCH,
        quality: String::new(),
        settings: own.settings.clone(),
        train: S::training(size.unwrap_or(S::ABOUT.sizes[0].name)),
        network: own.network.clone(),
        preprocess: None,
    };
    let begun = options.out.join(CONFIG);
    let file = match &options.config {
        Some(path) => Some(path.clone()),
        None => Some(begun).filter(|path| options.resume && path.is_file()),
    };
    let mut config = match file {
        Some(path) => {
            let read: RunOf<S> = read(&File { path, systems }, &defaults)?;
            let network = match size {
                Some(_) => S::with_compat(own.network.clone(), S::compat(&read.network)),
                None => read.network.clone(),
            };
            RunConfig { network, ..read }
        }
        None => defaults,
    };
    config.data.clone_from(&options.data);
    if let Some(compat) = options.compat {
        config.network = S::with_compat(config.network, compat);
    }
    let mut changed = config.own();
    keys::apply(
        &S::pretrain_keys(),
        &options.set,
        &mut changed,
        &own,
        S::ABOUT.title,
    )?;
    S::check_pretraining(&changed).map_err(Error::invalid)?;
    (config.network, config.settings) = (changed.network, changed.settings);
    if let Some(leads) = &options.leads {
        config.leads.clone_from(leads);
    }
    if let Some(quality) = &options.quality {
        config.quality.clone_from(quality);
    }
    if let Some(contract) = &options.preprocess {
        config.preprocess = Some(contract.clone());
    }
    config.batch = options.batch.unwrap_or(config.batch);
    let compat = S::compat(&config.network);
    train(&mut config.train, options, S::stopping(compat))?;
    if config.batch == 0 {
        return Err(Error::invalid("`--batch 0`: expected at least 1"));
    }
    S::validate(&config.network)
        .map_err(|problem| Error::invalid(format!("network configuration: {problem}")))?;
    Ok(config)
}

/// Applies the options that are about training.
fn train(run: &mut TrainConfig, options: &PretrainOptions, behaviour: Behaviour) -> Result<()> {
    if options.epochs.is_some() && options.updates.is_some() {
        return Err(Error::invalid(
            "`--epochs` and `--updates` were both given, expected at most one of them to set the length of training",
        ));
    }
    if let Some(epochs) = options.epochs {
        run.epochs = epochs;
        run.updates = None;
    }
    run.updates = options.updates.or(run.updates);
    run.schedule.warmup = options.warmup.unwrap_or(run.schedule.warmup);
    if let (Span::Epochs(epochs), None) = (&mut run.schedule.warmup, run.updates) {
        *epochs = run.epochs.min(*epochs);
    }
    run.schedule.lr = options.lr.unwrap_or(run.schedule.lr);
    run.seed = options.seed.unwrap_or(run.seed);
    run.accumulate = options.accumulate.unwrap_or(run.accumulate);
    run.mixed_precision |= options.mixed_precision;
    if let Some(every) = options.validate_every {
        run.validation = Some(ValidationConfig {
            every: Some(every),
            keep: match behaviour {
                Behaviour::Paper => Keep::Best,
                _ => Keep::LastImprovement,
            },
            stopping: None,
            ..ValidationConfig::default()
        });
    }
    match (&mut run.validation, options.patience) {
        (Some(validation), Some(patience)) => {
            validation.stopping = Some(StoppingConfig {
                patience,
                intervals: PENALTY_INTERVALS,
                dynamic_regularisation: options.dynamic_regularisation,
                behaviour,
            });
            Ok(())
        }
        (None, Some(patience)) => Err(Error::invalid(format!(
            "`--patience {patience}` counts validations, but validation is off"
        ))
        .with_help("give `--validate-every N` to validate every N updates")),
        (_, None) if options.dynamic_regularisation => Err(Error::invalid(
            "`--dynamic-regularisation` needs a patience, but none was given",
        )
        .with_help("give `--patience N`")),
        _ => Ok(()),
    }
}

/// Writes the configuration of a run. A folder that holds a run is refused unless `--resume` is given and the
/// configuration is the same.
pub(super) fn begin<S: Pretrains>(
    options: &PretrainOptions,
    config: &RunOf<S>,
    stored: &Preprocess,
    systems: &[&str],
) -> Result<()> {
    let path = options.out.join(CONFIG);
    let defaults = RunConfig {
        leads: S::contract(stored).leads,
        ..config.clone()
    };
    let old: Option<RunOf<S>> = match path.is_file() {
        true => Some(read(&File { path, systems }, &defaults)?),
        false => None,
    };
    run_folder::begin(&options.out, options.resume, old.as_ref(), config)
}
