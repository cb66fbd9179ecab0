//! What only the fine-tuning of one system has: typed, and as the table `[settings]` of a configuration.

use toml::Table;

use super::{FinetuneConfig, Finetunes};
use crate::keys::{apply, given};
use crate::{Error, Result};

/// The settings of a table.
///
/// # Errors
/// Names a key that the system does not have, with those there are, or a value that makes no sense.
pub(crate) fn read<S: Finetunes>(settings: &Table) -> Result<S::Tuning> {
    let (mut tuning, defaults) = (S::Tuning::default(), S::Tuning::default());
    let (keys, title) = (S::FINETUNE_KEYS, S::ABOUT.title);
    apply(keys, &given(settings), &mut tuning, &defaults, title)?;
    Ok(tuning)
}

/// The table of settings.
///
/// # Errors
/// When they are no plain values.
pub(crate) fn written<S: Finetunes>(tuning: &S::Tuning) -> Result<Table> {
    Table::try_from(tuning).map_err(|error| Error::invalid(format!("TOML: {error}")))
}

impl FinetuneConfig {
    /// The settings of the system.
    ///
    /// # Errors
    /// Names a key that it does not have, with those there are, or a value that makes no sense.
    pub fn tuning<S: Finetunes>(&self) -> Result<S::Tuning> {
        read::<S>(&self.settings)
    }

    /// Changes fields, and settings of the system.
    ///
    /// # Errors
    /// As [`tuning`](FinetuneConfig::tuning), and those of the change.
    pub(crate) fn tune<S: Finetunes>(
        &mut self,
        change: impl FnOnce(&mut Self, &mut S::Tuning) -> Result<()>,
    ) -> Result<()> {
        let mut tuning = self.tuning::<S>()?;
        change(self, &mut tuning)?;
        self.settings = written::<S>(&tuning)?;
        Ok(())
    }
}
