//! What the outputs of an imported model mean.

use std::path::Path;

use purkinje_datasets::import::superclass;
use purkinje_models::checkpoint::Labels;
use purkinje_store::Store;

use super::{Imports, Outputs};
use crate::error::During as _;
use crate::model::{described, labels as named};
use crate::{Error, Result};

/// The diagnostic superclasses of PTB-XL, in the order of published models: by name.
const SUPERDIAGNOSTIC: [&str; 5] = ["CD", "HYP", "MI", "NORM", "STTC"];

/// The labels of so many outputs, and whether they are two that exclude each other; `None` where there are no outputs.
pub(super) fn of_outputs<S: Imports>(
    given: Option<&str>,
    outputs: Option<usize>,
    notes: &mut Vec<String>,
) -> Result<Option<(Labels, bool)>> {
    let Some(outputs) = outputs else {
        return match given {
            None => Ok(None),
            Some(given) => Err(Error::invalid(format!(
                "`--labels {given}` was given, but the checkpoint has no classifier"
            ))),
        };
    };
    let (labels, one_of_two) = match given {
        Some(given) => read::<S>(given)?,
        None => {
            notes.push(format!(
                "What the {outputs} outputs mean is not known; `--labels` names them."
            ));
            let names: Vec<String> = (0..outputs).map(|i| format!("output {i}")).collect();
            (named("unknown", &names, &[]), false)
        }
    };
    match labels.classes.len() == outputs {
        true => Ok(Some((labels, one_of_two))),
        false => Err(Error::invalid(format!(
            "the checkpoint has {outputs} outputs, but `--labels {}` names {}; nothing was written",
            given.unwrap_or_default(),
            labels.classes.len()
        ))),
    }
}

fn read<S: Imports>(given: &str) -> Result<(Labels, bool)> {
    let path = Path::new(given);
    if path.is_file() {
        return Ok((of_file(path)?, false));
    }
    if let Some((store, task)) = given.rsplit_once(':') {
        let store = Store::open(store)?;
        let set = store.label_set(task)?;
        let names: Vec<String> = store.info().label_sets[set].class_names();
        return Ok((described(named(task, &names, &[]), &store), false));
    }
    let known = match given {
        "superdiagnostic" => Some(Outputs {
            names: SUPERDIAGNOSTIC.map(str::to_owned).to_vec(),
            one_of_two: false,
        }),
        given => S::published_outputs(given).during(|| {
            format!("`--labels {given}` names no labels; give a text file with a name a line")
        })?,
    };
    match known {
        Some(outputs) => {
            let mut labels = named(given, &outputs.names, &[]);
            for class in &mut labels.classes {
                class.description = superclass(&class.name).map(str::to_owned);
            }
            Ok((labels, outputs.one_of_two))
        }
        None => Err(Error::invalid(format!(
            "`--labels {given}` is neither a file, nor STORE:TASK, nor a published order: superdiagnostic{}",
            S::published_orders()
                .iter()
                .map(|name| format!(", {name}"))
                .collect::<String>()
        ))),
    }
}

fn of_file(path: &Path) -> Result<Labels> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::file("read", path, error))?;
    if path
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("json"))
    {
        return serde_json::from_str(&text).map_err(|error| {
            Error::invalid(format!("`{}` is no labels.json: {error}", path.display()))
        });
    }
    let names = text.lines().map(str::trim).filter(|name| !name.is_empty());
    let names: Vec<String> = names.map(str::to_owned).collect();
    let task = path.file_stem().unwrap_or_default().to_string_lossy();
    Ok(named(&task, &names, &[]))
}
