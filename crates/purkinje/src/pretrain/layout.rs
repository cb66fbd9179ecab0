//! Reading of configurations, including older layouts.

use std::path::PathBuf;

use purkinje_train::TrainConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::config::RunConfig;
use crate::error::During as _;
use crate::{Error, Result};

/// A configuration file, and the names of all systems.
pub(super) struct File<'a> {
    pub(super) path: PathBuf,
    pub(super) systems: &'a [&'a str],
}

/// Reads a configuration; fields it lacks come from `defaults`.
pub(super) fn read<C, X>(file: &File<'_>, defaults: &RunConfig<C, X>) -> Result<RunConfig<C, X>>
where
    C: Serialize + DeserializeOwned,
    X: Serialize + DeserializeOwned,
{
    let path = &file.path;
    let text = std::fs::read_to_string(path).map_err(|error| Error::file("read", path, error))?;
    parse(&text, defaults, file.systems).during(|| format!("configuration {}", path.display()))
}

fn parse<C, X>(text: &str, defaults: &RunConfig<C, X>, systems: &[&str]) -> Result<RunConfig<C, X>>
where
    C: Serialize + DeserializeOwned,
    X: Serialize + DeserializeOwned,
{
    let found: Table = text.parse().map_err(bad::<toml::de::Error>)?;
    let found = modern(found, &defaults.system, systems)?;
    let mut whole = Table::try_from(defaults).map_err(bad)?;
    // Without these fields in the file there is no such setting, whatever the defaults are.
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
        "found a configuration of the system `{found}`, expected `{expected}`"
    ))
}

/// Returns a complete table as it is, and fills an incomplete one from `base`.
fn filled<T: DeserializeOwned>(base: &Table, own: Table) -> Table {
    if own.clone().try_into::<T>().is_ok() {
        return own;
    }
    let mut all = base.clone();
    all.extend(own);
    all
}

/// Converts a configuration to the current layout. The older layout has no `system`: the network is under the name of
/// the system, and settings are at the top level.
fn modern(mut found: Table, system: &str, systems: &[&str]) -> Result<Table> {
    const SHARED: [&str; 6] = ["data", "leads", "batch", "quality", "train", "preprocess"];
    let named = systems.iter().find(|name| found.contains_key(**name));
    let name = match named {
        Some(name) if !found.contains_key("system") => *name,
        // In the current layout, perhaps without the system.
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::pretrain::config::{RunOf, resolve};
    use crate::pretrain::{PretrainOptions, Pretrains};
    use crate::systems::{Clear, Hubert};
    use purkinje_signal::Preprocess;

    const SYSTEMS: [&str; 2] = ["clear", "hubert"];

    fn defaults<S: Pretrains>() -> RunOf<S> {
        let options = PretrainOptions {
            data: "store".into(),
            ..PretrainOptions::default()
        };
        resolve::<S>(&options, &Preprocess::clear(), &SYSTEMS).unwrap()
    }

    /// The same configuration as it was written before there was one layout.
    fn older<S: Pretrains>(config: &RunOf<S>, leads: bool) -> String {
        let mut table = Table::try_from(config).unwrap();
        let network = table.remove("network").unwrap();
        let name = table.remove("system").unwrap();
        table.insert(name.as_str().unwrap().to_owned(), network);
        if let Some(Value::Table(settings)) = table.remove("settings") {
            table.extend(settings);
        }
        if !leads {
            table.remove("leads");
        }
        table.to_string()
    }

    fn round_trip<S: Pretrains>(leads: bool) {
        let defaults = defaults::<S>();
        let mut config = defaults.clone();
        config.batch = 7;
        config.train.seed = 42;
        config.train.epochs = 3;
        for text in [
            toml::to_string(&config).unwrap(),
            older::<S>(&config, leads),
        ] {
            let read: RunOf<S> = parse(&text, &defaults, &SYSTEMS).unwrap();
            assert!(read == config, "{text}");
        }
    }

    #[test]
    fn older_layouts_are_read() {
        round_trip::<Clear>(true);
        round_trip::<Hubert>(false);
        let text = older::<Hubert>(&defaults::<Hubert>(), false);
        let error = parse(&text, &defaults::<Clear>(), &SYSTEMS).err().unwrap();
        assert!(error.to_string().contains("system `hubert`"), "{error}");
        // As a run of the first program wrote it, with the parts of the schedule side by side.
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches/compare-hubert.toml");
        let text = std::fs::read_to_string(file).unwrap();
        let read: RunOf<Hubert> = parse(&text, &defaults::<Hubert>(), &SYSTEMS).unwrap();
        assert_eq!(read.settings.clusters, [[100], [200]]);
        assert_eq!((read.network.hidden_size, read.train.epochs), (192, 12));
    }

    #[test]
    fn a_file_may_leave_out_what_is_as_usual() {
        let defaults = defaults::<Hubert>();
        let text = "batch = 3\n[settings]\nlayer = 1\n[train]\nepochs = 2\n";
        let read: RunOf<Hubert> = parse(text, &defaults, &SYSTEMS).unwrap();
        let mut expected = defaults.clone();
        (
            expected.batch,
            expected.settings.layer,
            expected.train.epochs,
        ) = (3, 1, 2);
        assert!(read == expected);
        let error = parse("[settings]\nlayers = 1\n", &defaults, &SYSTEMS);
        let error = error.err().unwrap().to_string();
        assert!(error.contains("layers"), "{error}");
    }
}
