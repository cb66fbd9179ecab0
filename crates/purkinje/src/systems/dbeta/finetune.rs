//! Fine-tuning of D-BETA.

use purkinje_models::dbeta::{self, DbetaConfig};
use purkinje_train::optimizer::Epsilon;
use purkinje_train::{Decay, Learning, LearningOf, Span};
use serde::Serialize;

use super::Dbeta;
use crate::finetune::{FinetuneConfig, Finetunes, learning_by_name, recipe as recipe_of};
use crate::keys::{Key, probability};
use crate::{Error, Result};

/// The recipes, which are configurations.
const RECIPES: &[(&str, &str)] = &[
    ("dbeta-dx", include_str!("recipes/dbeta-dx.toml")),
    ("dbeta-id", include_str!("recipes/dbeta-id.toml")),
];
/// What `--trainable` calls everything but the convolutions at the start.
const BEHIND: &str = "behind-convolutions";
/// What the names of the parameters of these begin with.
const CONVOLUTIONS: &str = "ecg_encoder.feature_extractor.";

/// What only D-BETA's fine-tuning has: probabilities of dropout, those of the model if open.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Tuning {
    /// Of embeddings, of the input of the layers and of their outputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f64>,
    /// On attention weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention_dropout: Option<f64>,
    /// After the activation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation_dropout: Option<f64>,
}

fn or_words(value: Option<f64>) -> String {
    value.map_or_else(|| "that of the model".to_owned(), |value| value.to_string())
}

impl Finetunes for Dbeta {
    type Tuning = Tuning;

    const FINETUNE_KEYS: &'static [Key<Tuning>] = &[
        Key {
            key: "dropout",
            help: "dropout of the encoder but for that on attention and after the activation",
            get: |own| or_words(own.dropout),
            set: |own, text| {
                own.dropout = Some(probability(text)?);
                Ok(())
            },
        },
        Key {
            key: "attention-dropout",
            help: "dropout on attention weights",
            get: |own| or_words(own.attention_dropout),
            set: |own, text| {
                own.attention_dropout = Some(probability(text)?);
                Ok(())
            },
        },
        Key {
            key: "activation-dropout",
            help: "dropout after the activation",
            get: |own| or_words(own.activation_dropout),
            set: |own, text| {
                own.activation_dropout = Some(probability(text)?);
                Ok(())
            },
        },
    ];

    fn recipes() -> Vec<String> {
        RECIPES.iter().map(|&(name, _)| name.to_owned()).collect()
    }

    fn follow(
        config: &mut FinetuneConfig,
        tuning: &mut Tuning,
        _: &DbetaConfig,
        recipe: &str,
        _: Option<&str>,
        classes: usize,
    ) -> Result<()> {
        // What a table cannot say: neither decay nor warm-up, and no limit on gradients.
        let train = &mut config.train;
        (train.schedule.decay, train.schedule.warmup) = (Decay::Constant, Span::Updates(0));
        (train.optimizer.clip_norm, train.optimizer.epsilon) = (None, Epsilon::BeforeCorrection);
        recipe_of::<Self>(RECIPES, recipe, config, tuning)?;
        match (config.angles.is_some(), classes) {
            (true, 1..) => Err(Error::invalid(format!(
                "`--recipe {recipe}` is for `--task patient`, task `{}` has labels",
                config.task
            ))),
            (false, 0) => Err(Error::invalid(format!(
                "`--recipe {recipe}` is for labels; `--task patient` takes dbeta-id"
            ))),
            _ => Ok(()),
        }
    }

    fn for_training(encoder: dbeta::Dbeta, tuning: &Tuning, _: &FinetuneConfig) -> dbeta::Dbeta {
        let mut config = encoder.config().clone();
        let set = |own: &mut f32, asked: Option<f64>| *own = asked.map_or(*own, |p| p as f32);
        set(&mut config.ecg.dropout, tuning.dropout);
        set(&mut config.ecg.input_dropout, tuning.dropout);
        set(&mut config.ecg.attention_dropout, tuning.attention_dropout);
        set(
            &mut config.ecg.activation_dropout,
            tuning.activation_dropout,
        );
        encoder.with_dropouts(config)
    }

    fn learning(
        config: &FinetuneConfig,
        _: &Tuning,
        _: &DbetaConfig,
        head: &[String],
    ) -> Result<Box<LearningOf<'static>>> {
        match config.trainable == BEHIND {
            true => Ok(Box::new(|name| {
                (!name.starts_with(CONVOLUTIONS)).then(Learning::default)
            })),
            false => learning_by_name(config, head),
        }
    }
}
