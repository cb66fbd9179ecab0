//! Fine-tuning of CLEAR.

use burn::tensor::Device;
use purkinje_models::clear;
use purkinje_models::clear::ClearConfig;
use purkinje_models::layers::Weights;
use purkinje_train::{Learning, LearningOf};

use super::Clear;
use super::trainable::Trainable;
use crate::finetune::{FinetuneConfig, Finetunes};
use crate::keys::NoSettings;
use crate::{Error, Result};

impl Finetunes for Clear {
    type Tuning = NoSettings;

    /// With the decoder: it takes no part, but what was trained before stays with the weights.
    fn trained_weights(encoder: &clear::Clear) -> Weights {
        encoder.weights().clone()
    }

    /// `all`, `linear` (the last layer), `moe` (HUG and the last layer), or parts of names; never the decoder.
    fn learning(
        config: &FinetuneConfig,
        _: &NoSettings,
        _: &ClearConfig,
        _: &[String],
    ) -> Result<Box<LearningOf<'static>>> {
        let trainable = match config.trainable.as_str() {
            "all" => Trainable::All,
            "moe" => Trainable::Moe,
            "linear" => Trainable::Linear,
            "" => {
                return Err(Error::invalid(
                    "`--trainable`: expected all, moe, linear or parts of parameter names",
                ));
            }
            parts => Trainable::Parts(parts.split(',').map(str::to_owned).collect()),
        };
        Ok(Box::new(move |name| {
            trainable.accepts(name).then(Learning::default)
        }))
    }

    fn one_of_two(_: &Weights, _: &Device) -> Result<Weights> {
        Err(Error::invalid(
            "`two_classes`: heads of CLEAR learn labels that may occur together; leave it out",
        ))
    }

    fn check_finetuning(config: &FinetuneConfig) -> Result<()> {
        match config.two_classes {
            true => Self::one_of_two(&Weights::default(), &Device::flex()).map(|_| ()),
            false => Ok(()),
        }
    }
}
