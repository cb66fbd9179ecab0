//! Keys of what belongs to one system alone: parts of a configuration that are given as text.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Keys with their values as a user gives them.
pub type Given = BTreeMap<String, String>;

/// A key of one system: a part of `T` that can be read and written as text.
pub struct Key<T: 'static> {
    /// How it is called: lower case, words joined by hyphens.
    pub key: &'static str,
    /// What it says, and which values it takes.
    pub help: &'static str,
    /// Its value as text.
    pub get: fn(&T) -> String,
    /// Takes a value; the error says what was expected.
    pub set: fn(&mut T, &str) -> Result<(), String>,
}

/// A key as people are told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    /// How it is called.
    pub key: String,
    /// Its value where nothing else is said.
    pub default: String,
    /// What it says, and which values it takes.
    pub help: String,
}

/// All keys with the values `defaults` has.
pub fn describe<T>(keys: &[Key<T>], defaults: &T) -> Vec<Described> {
    let described = keys.iter().map(|key| Described {
        key: key.key.to_owned(),
        default: (key.get)(defaults),
        help: key.help.to_owned(),
    });
    described.collect()
}

/// Writes what was given into `into`. Underscores in keys are read as hyphens.
///
/// # Errors
/// For a key that `title` does not have, with those it has, and for a value that makes no sense.
pub fn apply<T>(
    keys: &[Key<T>],
    given: &Given,
    into: &mut T,
    defaults: &T,
    title: &str,
) -> Result<()> {
    for (key, value) in given {
        let name = key.replace('_', "-");
        let Some(found) = keys.iter().find(|key| key.key == name) else {
            return Err(unknown(key, &describe(keys, defaults), title));
        };
        (found.set)(into, value.trim())
            .map_err(|problem| Error::invalid(format!("`--set {key}={value}`: {problem}")))?;
    }
    Ok(())
}

fn unknown(key: &str, settings: &[Described], title: &str) -> Error {
    if settings.is_empty() {
        return Error::invalid(format!(
            "`--set {key}`: {title} has no settings of its own here"
        ));
    }
    let known = settings
        .iter()
        .map(|setting| format!("{} = {}", setting.key, setting.default));
    let known: Vec<String> = known.collect();
    Error::invalid(format!(
        "`--set {key}`: {title} has no such setting; it has, with defaults: {}",
        known.join(", ")
    ))
}

/// A number, or whatever else is written as people write it.
///
/// # Errors
/// Says what was expected.
pub fn parsed<V: FromStr>(text: &str, expected: &str) -> Result<V, String> {
    text.parse().map_err(|_| format!("expected {expected}"))
}

/// A number from 0 to 1.
///
/// # Errors
/// Says so for any other.
pub fn fraction(text: &str) -> Result<f64, String> {
    let found: f64 = parsed(text, "a fraction from 0 to 1")?;
    match (0.0..=1.0).contains(&found) {
        true => Ok(found),
        false => Err("expected a fraction from 0 to 1".to_owned()),
    }
}

/// One of several words, as configuration files have them.
///
/// # Errors
/// Lists the words.
pub fn word<V: DeserializeOwned>(text: &str) -> Result<V, String> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).map_err(|e| e.to_string())
}

/// The word for a value.
pub fn word_of(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    match value.as_str() {
        Some(word) => word.to_owned(),
        None => value.to_string(),
    }
}

/// Values with something between them.
pub fn joined(values: impl IntoIterator<Item = impl Display>, between: &str) -> String {
    let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    values.join(between)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Own {
        share: f64,
    }

    const SETTINGS: [Key<Own>; 1] = [Key {
        key: "hidden-share",
        help: "what is hidden",
        get: |own| own.share.to_string(),
        set: |own, text| {
            own.share = fraction(text)?;
            Ok(())
        },
    }];

    #[test]
    fn keys_are_listed_where_one_is_unknown() {
        let mut own = Own::default();
        let give = |key: &str, value: &str, own: &mut Own| {
            let given = Given::from([(key.to_owned(), value.to_owned())]);
            apply(&SETTINGS, &given, own, &Own::default(), "Some system")
        };
        give("hidden_share", "0.25", &mut own).unwrap();
        assert_eq!(own.share, 0.25);
        let error = give("share", "1", &mut own).unwrap_err().to_string();
        assert!(error.contains("hidden-share = 0"), "{error}");
        let error = give("hidden-share", "2", &mut own).unwrap_err().to_string();
        assert!(error.contains("from 0 to 1"), "{error}");
        let none: [Key<Own>; 0] = [];
        let given = Given::from([("a".to_owned(), String::new())]);
        let error = apply(&none, &given, &mut own, &Own::default(), "Some system");
        assert!(error.unwrap_err().to_string().contains("no settings"));
    }
}
