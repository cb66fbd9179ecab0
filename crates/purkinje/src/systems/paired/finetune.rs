//! Fine-tuning.

use purkinje_models::compat::Compat;
use purkinje_models::paired::{PairConfig as _, Paired as _, Part};

use super::{ConfigOf, Family, PairSystem};
use crate::finetune::{FinetuneConfig, Finetunes, ValidationRules, recipe};
use crate::keys::NoSettings;
use crate::{Error, Result};

/// What `--trainable` calls the head alone.
const HEAD: &str = "linear";

impl<F: Family> Finetunes for PairSystem<F> {
    type Tuning = NoSettings;

    fn recipes() -> Vec<String> {
        F::RECIPES
            .iter()
            .map(|&(name, _)| name.to_owned())
            .collect()
    }

    fn follow(
        config: &mut FinetuneConfig,
        tuning: &mut NoSettings,
        _: &ConfigOf<F>,
        name: &str,
        _: Option<&str>,
        _: usize,
    ) -> Result<()> {
        // What a table cannot say: no limit on gradients.
        config.train.optimizer.clip_norm = None;
        config.train.optimizer.decay_all = true;
        recipe::<Self>(F::RECIPES, name, config, tuning)
    }

    /// The encoder of recordings alone: what labels alone can train.
    fn untrained(mut config: ConfigOf<F>) -> ConfigOf<F> {
        *config.part() = Part::Encoder;
        config
    }

    const ENCODERS: &'static [&'static str] = F::ENCODERS;

    fn with_encoder(mut config: ConfigOf<F>, name: &str) -> Result<ConfigOf<F>, String> {
        let found = config.encoder().named(name)?;
        config.set_encoder(found).map(|()| config)
    }

    fn check_finetuning(config: &FinetuneConfig) -> Result<()> {
        match config.batch {
            1 if config.trainable != HEAD => Err(Error::invalid(
                "`--batch 1`: batch normalisation learns from at least 2 recordings at a time",
            )),
            _ => Ok(()),
        }
    }

    fn validation(compat: Compat) -> ValidationRules {
        ValidationRules {
            claims_test_maximum: compat == Compat::Released,
            ..ValidationRules::default()
        }
    }

    /// A body that does not learn is in evaluation mode; in the released programs its running statistics follow the batches and its
    /// dropouts act.
    fn for_training(encoder: F::Network, _: &NoSettings, config: &FinetuneConfig) -> F::Network {
        match (config.trainable == HEAD, config.compat) {
            (true, Compat::Paper) => encoder.still(),
            _ => encoder,
        }
    }
}
