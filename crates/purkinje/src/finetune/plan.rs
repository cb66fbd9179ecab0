//! Resolves the configuration of a run: general defaults, then those of the system, then the recipe, then the caller's
//! fields.

use purkinje_models::compat::Compat;
use purkinje_store::{Split, Store};
use purkinje_train::early_stopping::Behaviour;
use purkinje_train::{Decay, Span};
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::FinetuneOptions;
use super::config::{FinetuneConfig, Start, upgrade};
use super::patients::is_of_patients;
use crate::learns::Learns;
use crate::model::Model;
use crate::{Error, Result};

/// Number of intervals, each ending in a penalty of the weight decay, that the patience is divided into (HuBERT-ECG
/// paper, section 4.3).
pub(crate) const INTERVALS: usize = 3;

/// The configurations of a run and of its baseline from random weights.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub run: FinetuneConfig,
    pub scratch: FinetuneConfig,
}

/// Resolves a run; `stored` is the configuration of the run to resume, whose fields are kept where `options` does not
/// change them.
pub(super) fn plan(
    model: &Model,
    store: &Store,
    options: &FinetuneOptions,
    stored: Option<&FinetuneConfig>,
) -> Result<Plan> {
    let network: &dyn Learns = &**model.network();
    let mut changes = options.changes.clone();
    changes.insert("task".into(), Value::String(options.task.clone()));
    upgrade(&mut changes, network);
    check_keys(model, &changes)?;
    let base = match stored {
        Some(stored) => stored.clone(),
        None => {
            let start: Option<Start> = asked(&changes, "start")?;
            let compat: Option<Compat> = asked(&changes, "compat")?;
            let start = start.unwrap_or(Start::Finetune);
            let mut base =
                FinetuneConfig::defaults(model, store, start, compat.unwrap_or_default());
            network.defaults(&mut base);
            if let Some(recipe) = asked::<String>(&changes, "recipe")? {
                follow(model, store, options, &mut base, &recipe)?;
            }
            base
        }
    };
    let run = resolve(network, base, &changes, stored.is_none())?;
    check(model, &run)?;
    let scratch = match &run.recipe {
        None => run.clone(),
        Some(recipe) => {
            let mut twin = run.clone();
            network.start_from_scratch(&mut twin)?;
            let mut published = twin.clone();
            match follow(model, store, options, &mut published, recipe) {
                Ok(()) => {
                    changes.remove("start");
                    resolve(network, published, &changes, true)?
                }
                // No recipe was published for random weights: use this one with all parameters trained.
                Err(_) => twin,
            }
        }
    };
    Ok(Plan { run, scratch })
}

/// A field of `changes` that other defaults depend on.
pub(super) fn asked<T: DeserializeOwned>(changes: &Table, key: &str) -> Result<Option<T>> {
    let value = changes.get(key).cloned().map(Value::try_into);
    value
        .transpose()
        .map_err(|error| Error::invalid(format!("the configuration, `{key}`: {error}")))
}

fn follow(
    model: &Model,
    store: &Store,
    options: &FinetuneOptions,
    config: &mut FinetuneConfig,
    recipe: &str,
) -> Result<()> {
    let registry = model.registry();
    if model.network().recipes().is_empty() {
        let able = registry.with_recipes();
        return Err(registry.unsupported(
            format!("`--recipe {recipe}` (published recipes)"),
            model.about(),
            |about| able.contains(&about.name),
        ));
    }
    config.task.clone_from(&options.task);
    let classes = match is_of_patients(store, &options.task) {
        true => 0,
        false => store
            .label_matrix_of(&options.task, Split::Train)?
            .classes
            .len(),
    };
    let size = options.recipe_size.as_deref();
    model.network().follow(config, recipe, size, classes)
}

/// Applies the caller's fields and fills in those that follow from them.
fn resolve(
    network: &dyn Learns,
    base: FinetuneConfig,
    changes: &Table,
    fresh: bool,
) -> Result<FinetuneConfig> {
    let mut changes = changes.clone();
    complete_stopping(&base, &mut changes)?;
    let mut config = base.with(&changes)?;
    let schedule = &mut config.train.schedule;
    if fresh && let Decay::Cosine { end } = &mut schedule.decay {
        *end = schedule.lr.min(1e-5);
        schedule.warmup = Span::Epochs(config.train.epochs / 10);
        config = config.with(&changes)?;
    }
    network.settle(&mut config)?;
    Ok(config)
}

/// Fills in the rest of early stopping where the caller gave only some of its fields and the base has none.
fn complete_stopping(base: &FinetuneConfig, changes: &mut Table) -> Result<()> {
    let own = base.train.validation.as_ref().and_then(|v| v.stopping);
    let compat: Option<Compat> = asked(changes, "compat")?;
    let Some(stopping) = table_at(changes, &["train", "validation", "stopping"]) else {
        return Ok(());
    };
    if own.is_some() {
        return Ok(());
    }
    if !stopping.contains_key("patience") {
        return Err(Error::invalid(
            "`--dynamic-regularisation` needs `--patience N`: weight decay and dropout rise at each third of the patience",
        ));
    }
    let behaviour = behaviour(compat.unwrap_or(base.compat));
    let behaviour = Value::try_from(behaviour).map_err(|e| Error::invalid(e.to_string()))?;
    let rest = [
        ("intervals", Value::Integer(INTERVALS as i64)),
        ("dynamic_regularisation", Value::Boolean(false)),
        ("behaviour", behaviour),
    ];
    for (key, value) in rest {
        stopping.entry(key).or_insert(value);
    }
    Ok(())
}

fn table_at<'t>(table: &'t mut Table, path: &[&str]) -> Option<&'t mut Table> {
    path.iter().try_fold(table, |table, key| {
        table.get_mut(*key).and_then(Value::as_table_mut)
    })
}

/// What an improvement resets in early stopping.
pub(crate) fn behaviour(compat: Compat) -> Behaviour {
    match compat {
        Compat::Paper => Behaviour::Paper,
        Compat::Released => Behaviour::ReleasedFinetune,
    }
}

/// Settings that the system does not have name those that have them.
fn check_keys(model: &Model, changes: &Table) -> Result<()> {
    let settings: Option<Table> = asked(changes, "settings")?;
    let known = model.network().finetune_keys();
    for key in settings.iter().flat_map(Table::keys) {
        if known.iter().any(|own| own.key == *key) {
            continue;
        }
        let able = model.registry().with_setting(key);
        if !able.is_empty() {
            return Err(model.registry().unsupported(
                format!("the setting `{key}`"),
                model.about(),
                |about| able.contains(&about.name),
            ));
        }
    }
    Ok(())
}

fn check(model: &Model, config: &FinetuneConfig) -> Result<()> {
    model.check_crops(config.crops)?;
    if config.batch == 0 {
        return Err(Error::invalid("`--batch 0`: expected at least 1"));
    }
    if let Span::Fraction(fraction) = config.train.schedule.warmup
        && !(0.0..=1.0).contains(&fraction)
    {
        return Err(Error::invalid(format!(
            "`--warmup {fraction}`: expected a fraction from 0 to 1"
        )));
    }
    model.network().check_finetuning(config)
}
