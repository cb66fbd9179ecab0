//! The layout of a run's configuration, and how older ones are read.

use std::path::PathBuf;

use purkinje_train::TrainConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::config::RunConfig;
use crate::error::During as _;
use crate::{Error, Result};

/// A file with a configuration, and the names of all systems.
pub(super) struct File<'a> {
    pub(super) path: PathBuf,
    pub(super) systems: &'a [&'a str],
}

/// Reads a configuration; what it leaves out is as in `defaults`.
pub(super) fn read<C, X>(file: &File<'_>, defaults: &RunConfig<C, X>) -> Result<RunConfig<C, X>>
where
    C: Serialize + DeserializeOwned,
    X: Serialize + DeserializeOwned,
{
    let path = &file.path;
    let text = std::fs::read_to_string(path).map_err(|error| Error::file("read", path, error))?;
    parse(&text, defaults, file.systems).during(|| format!("configuration {}", path.display()))
}

fn parse<C, X>(
    text: &str,
    defaults: &RunConfig<C, X>,
    systems: &[&str],
) -> Result<RunConfig<C, X>>
where
    C: Serialize + DeserializeOwned,
    X: Serialize + DeserializeOwned,
{
    let found: Table = text.parse().map_err(bad::<toml::de::Error>)?;
    let found = modern(found, &defaults.system, systems)?;
    let mut whole = Table::try_from(defaults).map_err(bad)?;
    // A file that leaves these out wants none.
    whole.remove("preprocess");
    whole.remove("quality");
    for (key, value) in found {
        let value = match (whole.get(&key), value) {
            (Some(Value::Table(base)), Value::Table(own)) => Value::Table(match key.as_str() {
                "settings" => filled::<X>(base, own),
                "network" => filled::<C>(base, own),
                "train" => filled::<TrainConfig>(base, own),
                _ => own,
            }),
            (_, value) => value,
        };
        whole.insert(key, value);
    }
    let config: RunConfig<C, X> = whole.try_into().map_err(bad)?;
    match config.system == defaults.system {
        true => Ok(config),
        false => Err(other(&config.system, &defaults.system)),
    }
}

fn bad<E: std::fmt::Display>(error: E) -> Error {
    Error::invalid(error.to_string())
}

fn other(found: &str, expected: &str) -> Error {
    Error::invalid(format!(
        "it is for the system `{found}`, expected `{expected}`"
    ))
}

/// A table that is complete as it stands; one that is not, with the rest from `base`.
fn filled<T: DeserializeOwned>(base: &Table, own: Table) -> Table {
    if own.clone().try_into::<T>().is_ok() {
        return own;
    }
    let mut all = base.clone();
    all.extend(own);
    all
}

/// The same configuration in the layout of today. In the older one there is no `system`, the network stands under the name
/// of the system, and settings stand beside it.
fn modern(mut found: Table, system: &str, systems: &[&str]) -> Result<Table> {
    const SHARED: [&str; 6] = ["data", "leads", "batch", "quality", "train", "preprocess"];
    let named = systems.iter().find(|name| found.contains_key(**name));
    let name = match named {
        Some(name) if !found.contains_key("system") => *name,
        // Of today's layout, perhaps without the system.
        _ => return Ok(found),
    };
    if name != system {
        return Err(other(name, system));
    }
    let mut table = Table::new();
    if let Some(network) = found.remove(name) {
        table.insert("network".to_owned(), network);
    }
    let mut settings = Table::new();
    for (key, value) in found {
        match SHARED.contains(&key.as_str()) {
            true => table.insert(key, value),
            false => settings.insert(key, value),
        };
    }
    table.insert("settings".to_owned(), Value::Table(settings));
    Ok(table)
}
