//! The encoders of recordings: a residual network or a transformer.

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{Entries, mean};
use crate::layers::{BatchNorm, Context, ResNetConfig, VitConfig, Weights};

/// Names of the encoders as published.
pub const NAMES: [&str; 8] = [
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "vit-tiny",
    "vit-small",
    "vit-middle",
    "vit-base",
];

/// An encoder of recordings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum EcgEncoder {
    /// Convolutions.
    ResNet(ResNetConfig),
    /// A transformer over patches.
    Vit(VitConfig),
}

impl Default for EcgEncoder {
    fn default() -> Self {
        EcgEncoder::ResNet(ResNetConfig::default())
    }
}

impl EcgEncoder {
    /// A published one, by its name; the blocks of a residual network with the widths of `self`, if that is one.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn named(&self, name: &str) -> Result<Self, String> {
        let own = ResNetConfig::named(name).map(|found| {
            EcgEncoder::ResNet(match self {
                EcgEncoder::ResNet(own) => ResNetConfig {
                    widths: own.widths.clone(),
                    leads: own.leads,
                    ..found
                },
                EcgEncoder::Vit(_) => found,
            })
        });
        let found = own.or_else(|| VitConfig::named(name).map(EcgEncoder::Vit));
        found.ok_or_else(|| format!("expected one of {}", NAMES.join(", ")))
    }

    /// Leads of the input.
    pub fn leads(&self) -> usize {
        match self {
            EcgEncoder::ResNet(own) => own.leads,
            EcgEncoder::Vit(own) => own.leads,
        }
    }

    /// Length of its vectors.
    pub fn channels(&self) -> usize {
        match self {
            EcgEncoder::ResNet(own) => own.channels(),
            EcgEncoder::Vit(own) => own.width,
        }
    }

    /// Every entry with its shape, each name with `prefix` in front.
    pub fn entries(&self, prefix: &str) -> Entries {
        match self {
            EcgEncoder::ResNet(own) => own.entries(prefix),
            EcgEncoder::Vit(own) => own.entries(prefix),
        }
    }

    /// Names of the entries that are state.
    pub fn state(&self, prefix: &str) -> Vec<String> {
        match self {
            EcgEncoder::ResNet(own) => own.state(prefix),
            EcgEncoder::Vit(_) => Vec::new(),
        }
    }

    /// Adds random weights.
    pub(crate) fn insert(&self, weights: &mut Weights, prefix: &str, seed: u64, device: &Device) {
        match self {
            EcgEncoder::ResNet(own) => own.insert(weights, prefix, seed, device),
            EcgEncoder::Vit(own) => own.insert(weights, prefix, seed, device),
        }
    }

    /// Its vector, the mean over time `[batch, channels]`, for `x` `[batch, samples, leads]`.
    pub(crate) fn average(
        &self,
        x: Tensor<3>,
        weights: &Weights,
        prefix: &str,
        ctx: &Context,
    ) -> Tensor<2> {
        match self {
            EcgEncoder::ResNet(own) => mean(own.run(x, weights, prefix, BatchNorm::default(), ctx)),
            EcgEncoder::Vit(own) => own.run(x, weights, prefix, ctx),
        }
    }

    /// Checks that an input of so many samples can be read.
    ///
    /// # Errors
    /// A message that names the field.
    pub(crate) fn validate(&self, samples: usize) -> Result<(), String> {
        match self {
            EcgEncoder::ResNet(own) => {
                if own.widths.is_empty() || own.widths.len() != own.blocks.len() {
                    return Err(format!(
                        "encoder: {} widths and {} numbers of blocks, expected as many, at least one",
                        own.widths.len(),
                        own.blocks.len()
                    ));
                }
                Ok(())
            }
            EcgEncoder::Vit(own) => own.validate(samples),
        }
    }
}
