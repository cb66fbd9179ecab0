//! Settings that belong to one system: `key = value`, listed with their defaults.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use toml::Value;

use crate::system::About;
use crate::{Error, Result};

/// What values a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// true or false.
    Flag,
    /// A whole number, 0 or more.
    Count,
    /// A whole number.
    Integer,
    /// A number from 0 up to, but without, 1.
    Probability,
}

impl Kind {
    fn accepts(self, value: &Value) -> bool {
        match (self, value) {
            (Kind::Flag, Value::Boolean(_)) | (Kind::Integer, Value::Integer(_)) => true,
            (Kind::Count, Value::Integer(n)) => *n >= 0,
            (Kind::Probability, Value::Float(p)) => (0.0..1.0).contains(p),
            (Kind::Probability, Value::Integer(p)) => *p == 0,
            _ => false,
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Kind::Flag => "true or false",
            Kind::Count => "a whole number of at least 0",
            Kind::Integer => "a whole number",
            Kind::Probability => "a number from 0 to below 1",
        }
    }
}

/// A setting of one system.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name: lower case, words joined by hyphens.
    pub key: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// What holds where it is not given, in words: `false`, `that of the model`.
    pub default: &'static str,
    /// What it does, in half a sentence.
    pub help: &'static str,
}

/// One line for each setting: key, default, what it does.
pub fn listed(settings: &[Setting]) -> String {
    let width = settings.iter().map(|s| s.key.len()).max().unwrap_or(0);
    let mut text = String::new();
    for setting in settings {
        let Setting {
            key, default, help, ..
        } = setting;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {key:<width$}  {help} [default: {default}]");
    }
    text
}

/// Values of settings by key; underscores in keys are read as hyphens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "BTreeMap<String, Value>", into = "BTreeMap<String, Value>")]
pub struct Settings(BTreeMap<String, Value>);

impl From<BTreeMap<String, Value>> for Settings {
    fn from(values: BTreeMap<String, Value>) -> Self {
        let hyphens = |(key, value): (String, Value)| (key.replace('_', "-"), value);
        Settings(values.into_iter().map(hyphens).collect())
    }
}

impl From<Settings> for BTreeMap<String, Value> {
    fn from(settings: Settings) -> Self {
        settings.0
    }
}

impl Settings {
    /// Settings given as `key=value`, the later for the earlier.
    ///
    /// # Errors
    /// For a text without `=`.
    pub fn parse<S: AsRef<str>>(pairs: &[S]) -> Result<Settings> {
        let mut values = BTreeMap::new();
        for pair in pairs {
            let pair = pair.as_ref();
            let (key, value) = pair.split_once('=').ok_or_else(|| {
                Error::invalid(format!(
                    "`--set {pair}`: expected key=value, for instance layerdrop=0.05"
                ))
            })?;
            values.insert(key.trim().to_owned(), value_of(value.trim()));
        }
        Ok(values.into())
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys that are set, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether a flag is set to true.
    pub fn flag(&self, key: &str) -> bool {
        matches!(self.0.get(key), Some(Value::Boolean(true)))
    }

    /// A whole number that is not negative.
    pub fn count(&self, key: &str) -> Option<usize> {
        self.integer(key).and_then(|n| usize::try_from(n).ok())
    }

    /// A whole number.
    pub fn integer(&self, key: &str) -> Option<i64> {
        self.0.get(key).and_then(Value::as_integer)
    }

    /// A number.
    pub fn number(&self, key: &str) -> Option<f64> {
        match self.0.get(key)? {
            Value::Integer(n) => Some(*n as f64),
            value => value.as_float(),
        }
    }

    /// Sets a value, or removes it.
    pub fn put(&mut self, key: &str, value: Option<Value>) {
        match value {
            Some(value) => self.0.insert(key.to_owned(), value),
            None => self.0.remove(key),
        };
    }

    /// Checks keys and values against the settings of a system.
    ///
    /// # Errors
    /// Names the first unknown key with those there are, or the first value that is none.
    pub fn check(&self, known: &[Setting], system: &About) -> Result<()> {
        for (key, value) in &self.0 {
            let Some(setting) = known.iter().find(|setting| setting.key == key) else {
                let there_are = match known {
                    [] => format!("{} has none", system.title),
                    known => format!("those of {} are\n{}", system.title, listed(known)),
                };
                return Err(Error::invalid(format!(
                    "there is no setting `{key}`; {}",
                    there_are.trim_end()
                )));
            };
            if !setting.kind.accepts(value) {
                return Err(Error::invalid(format!(
                    "the setting `{key}` is {value}, expected {}",
                    setting.kind.expected()
                )));
            }
        }
        Ok(())
    }
}

/// A value as TOML writes it; anything else is a text.
fn value_of(text: &str) -> Value {
    let table: Option<toml::Table> = format!("v = {text}").parse().ok();
    table
        .and_then(|mut table| table.remove("v"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::System as _;
    use crate::systems::Clear;

    const KNOWN: [Setting; 2] = [
        Setting {
            key: "freeze-until",
            kind: Kind::Count,
            default: "0",
            help: "waits",
        },
        Setting {
            key: "p",
            kind: Kind::Probability,
            default: "that of the model",
            help: "drops",
        },
    ];

    #[test]
    fn values_are_read_and_checked() {
        let about = &Clear::ABOUT;
        let settings = Settings::parse(&["freeze_until=3", "p=0.5", "p=0.25"]).unwrap();
        assert_eq!(settings.count("freeze-until"), Some(3));
        assert_eq!(settings.number("p"), Some(0.25));
        settings.check(&KNOWN, about).unwrap();
        for (wrong, expected) in [
            ("p=1.0", "below 1"),
            ("p=many", "below 1"),
            ("freeze-until=-1", "at least 0"),
            ("q=1", "freeze-until  waits [default: 0]"),
        ] {
            let settings = Settings::parse(&[wrong]).unwrap();
            let error = settings.check(&KNOWN, about).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(Settings::parse(&["p"]).is_err());
        let text = toml::to_string(&settings).unwrap();
        assert_eq!(toml::from_str::<Settings>(&text).unwrap(), settings);
    }
}
