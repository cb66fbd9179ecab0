//! Published recipes as data: a table of the fields of a run's configuration.

use toml::Table;

use super::{FinetuneConfig, Finetunes};
use crate::keys;
use crate::{Error, Result};

/// Applies the recipe `name` of those there are, name and text. Settings of the system are in its table `settings`.
///
/// # Errors
/// When there is none of that name; the message names those that there are.
pub(crate) fn recipe<S: Finetunes>(
    all: &[(&str, &str)],
    name: &str,
    config: &mut FinetuneConfig,
    tuning: &mut S::Tuning,
) -> Result<()> {
    let found = all.iter().find(|(own, _)| *own == name);
    let (_, text) = found.ok_or_else(|| {
        Error::invalid(format!(
            "unknown recipe `{name}`: expected one of {}",
            keys::joined(S::recipes(), ", ")
        ))
    })?;
    let fail = |error: toml::de::Error| Error::invalid(format!("the recipe `{name}`: {error}"));
    let mut fields: Table = text.parse().map_err(fail)?;
    if let Some(toml::Value::Table(settings)) = fields.remove("settings") {
        for own in S::FINETUNE_KEYS {
            let value = settings.get(own.key).and_then(|value| value.as_str());
            if let Some(value) = value {
                (own.set)(tuning, value).map_err(Error::invalid)?;
            }
        }
    }
    *config = config.with(&fields)?;
    Ok(())
}
