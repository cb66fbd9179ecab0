//! Keys of what belongs to one system alone: parts of a configuration that are given as text, on the command line
//! (`--set key=value`) or in a table of a file.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::{Error, Result};

/// Keys with their values as a user gives them.
pub type Given = BTreeMap<String, String>;

/// The settings of what has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

/// A key of one system: a part of `T` that can be read and written as text.
pub struct Key<T: 'static> {
    /// How it is called: lower case, words joined by hyphens.
    pub key: &'static str,
    /// What it says, and which values it takes.
    pub help: &'static str,
    /// Its value as text; in words where it is left to something else (`that of the model`).
    pub get: fn(&T) -> String,
    /// Takes a value; the error says what was expected.
    pub set: fn(&mut T, &str) -> Result<(), String>,
}

// Derived, these would ask the same of `T`.
impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Key<T> {}

/// A key of one field, its value as text being that of `Display`, which a function or `|text| ..` reads; without any, that of a word of
/// configuration files.
macro_rules! key {
    ($key:literal, $help:literal, $own:ident.$($field:ident).+ $(,)?) => {
        $crate::keys::Key {
            key: $key,
            help: $help,
            get: |$own| $crate::keys::word_of(&$own.$($field).+),
            set: |$own, text| {
                $own.$($field).+ = $crate::keys::word(text)?;
                Ok(())
            },
        }
    };
    ($key:literal, $help:literal, $own:ident.$($field:ident).+, |$text:ident| $read:expr $(,)?) => {
        $crate::keys::Key {
            key: $key,
            help: $help,
            get: |$own| $own.$($field).+.to_string(),
            set: |$own, $text| {
                $own.$($field).+ = $read?;
                Ok(())
            },
        }
    };
    ($key:literal, $help:literal, $own:ident.$($field:ident).+, $read:path $(,)?) => {
        $crate::keys::key!($key, $help, $own.$($field).+, |text| $read(text))
    };
}
pub(crate) use key;

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

/// One line for each key: its name, what it says, its default.
pub fn listed(keys: &[Described]) -> String {
    let width = keys.iter().map(|own| own.key.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Described { key, default, help } in keys {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {key:<width$}  {help} [default: {default}]");
    }
    text
}

/// A key as it is spelt: words joined by hyphens, for which underscores are taken too.
pub fn spelt(key: &str) -> String {
    key.replace('_', "-")
}

/// The values of a table in a file of configuration.
pub fn given(table: &Table) -> Given {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    let values = table.iter();
    values
        .map(|(key, value)| (spelt(key), text(value)))
        .collect()
}

/// Writes what was given into `into`, in the order of the keys.
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
        let name = spelt(key);
        let Some(found) = keys.iter().find(|key| key.key == name) else {
            return Err(unknown(key, &describe(keys, defaults), title));
        };
        (found.set)(into, value.trim()).map_err(|problem| {
            Error::invalid(format!("the setting `{key}` is `{value}`: {problem}"))
        })?;
    }
    Ok(())
}

fn unknown(key: &str, keys: &[Described], title: &str) -> Error {
    let there_are = match keys {
        [] => format!("{title} has none here"),
        keys => format!("those of {title} are\n{}", listed(keys)),
    };
    Error::invalid(format!(
        "there is no setting `{key}`; {}",
        there_are.trim_end()
    ))
}

/// A number, or whatever else is written as people write it.
///
/// # Errors
/// Says what was expected.
pub fn parsed<V: FromStr>(text: &str, expected: &str) -> Result<V, String> {
    text.parse().map_err(|_| format!("expected {expected}"))
}

/// `true` or `false`.
///
/// # Errors
/// Says so for anything else.
pub fn boolean(text: &str) -> Result<bool, String> {
    parsed(text, "true or false")
}

/// The text itself.
///
/// # Errors
/// Never.
pub fn as_given(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
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

/// A number from 0 to below 1.
///
/// # Errors
/// Says so for any other.
pub fn probability(text: &str) -> Result<f64, String> {
    const EXPECTED: &str = "a number from 0 to below 1";
    let found: f64 = parsed(text, EXPECTED)?;
    match (0.0..1.0).contains(&found) {
        true => Ok(found),
        false => Err(format!("expected {EXPECTED}")),
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

    #[derive(Debug, Default, PartialEq)]
    struct Own {
        share: f64,
        waits: usize,
        drops: Option<f64>,
    }

    const KEYS: [Key<Own>; 3] = [
        key!("hidden-share", "what is hidden", own.share, fraction),
        key!("waits", "how long it waits", own.waits, |text| parsed(
            text,
            "a whole number of at least 0"
        )),
        Key {
            key: "p",
            help: "drops",
            get: |own| match own.drops {
                Some(p) => p.to_string(),
                None => "that of the model".to_owned(),
            },
            set: |own, text| {
                own.drops = Some(probability(text)?);
                Ok(())
            },
        },
    ];

    fn read(given: &Given) -> Result<Own> {
        let mut own = Own::default();
        apply(&KEYS, given, &mut own, &Own::default(), "Some system")?;
        Ok(own)
    }

    #[test]
    fn values_are_read_from_the_command_line_and_from_files() {
        let of = |key: &str, value: &str| Given::from([(key.to_owned(), value.to_owned())]);
        assert_eq!(read(&of("hidden_share", " 0.25 ")).unwrap().share, 0.25);
        let table = "hidden_share = 0.5\nwaits = 3\np = \"0.125\"";
        let expected = Own {
            share: 0.5,
            waits: 3,
            drops: Some(0.125),
        };
        assert_eq!(read(&given(&table.parse().unwrap())).unwrap(), expected);
        for (key, wrong, expected) in [
            ("hidden-share", "2", "from 0 to 1"),
            ("p", "1.0", "below 1"),
            ("p", "many", "below 1"),
            ("p", "nan", "below 1"),
            ("waits", "-1", "at least 0"),
            ("waits", "[3]", "at least 0"),
        ] {
            let error = read(&of(key, wrong)).unwrap_err().to_string();
            assert!(
                error.contains(expected) && error.contains(&format!("`{key}` is `{wrong}`")),
                "{error}"
            );
        }
    }

    #[test]
    fn keys_are_listed_where_one_is_unknown() {
        let one = Given::from([("share".to_owned(), "1".to_owned())]);
        let error = read(&one).unwrap_err().to_string();
        for line in [
            "no setting `share`; those of Some system are",
            "  hidden-share  what is hidden [default: 0]",
            "  p             drops [default: that of the model]",
        ] {
            assert!(error.contains(line), "{error}");
        }
        let none: [Key<Own>; 0] = [];
        let mut own = Own::default();
        let error = apply(&none, &one, &mut own, &Own::default(), "Some system");
        assert!(error.unwrap_err().to_string().contains("has none here"));
    }
}
