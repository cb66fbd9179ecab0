//! Fine-tuning of HuBERT-ECG, by its published runs too.

use burn::tensor::Device;
use purkinje_eval::crops::Aggregation;
use purkinje_eval::metrics::SingleClass;
use purkinje_models::compat::Compat;
use purkinje_models::hubert::{self, HubertConfig};
use purkinje_models::layers::Weights;
use purkinje_signal::Preprocess;
use purkinje_store::Store;
use purkinje_train::early_stopping::StoppingConfig;
use purkinje_train::optimizer::OptimizerConfig;
use purkinje_train::{Keep, Learning, LearningOf, Schedule, Span, TrainConfig, TrainError};
use toml::Table;

use super::cutter::{HubertCutter, StoreCrops};
use super::recipes::{self, Recipe, Size, TaskType, Trained};
use super::trainable::{Freezing, layer_wise_rate};
use super::tuning::{self, Tuning};
use super::two_classes::one_of_two;
use super::{Hubert, crop};
use crate::finetune::{
    FinetuneConfig, Finetunes, INTERVALS, Sources, Start, ValidatedOn, ValidationRules, behaviour,
};
use crate::keys::Key;
use crate::{Error, Result};

impl Finetunes for Hubert {
    type Tuning = Tuning;

    const FINETUNE_KEYS: &'static [Key<Tuning>] = tuning::KEYS;

    fn recipes() -> Vec<String> {
        // Cannot fail: the tables are part of the program, and tests read them.
        recipes::names().unwrap_or_default()
    }

    fn defaults(config: &mut FinetuneConfig) {
        let released = config.compat == Compat::Released;
        config.train = TrainConfig {
            schedule: Schedule::linear(1e-4),
            optimizer: OptimizerConfig::hubert(),
            ..config.train.clone()
        };
        config.half = released;
        if let Some(validation) = &mut config.train.validation
            && released
        {
            validation.keep = Keep::LastImprovement;
        }
    }

    fn follow(
        config: &mut FinetuneConfig,
        tuning: &mut Tuning,
        network: &HubertConfig,
        recipe: &str,
        size: Option<&str>,
        classes: usize,
    ) -> Result<()> {
        let size = match size {
            Some(name) => size_named(name)?,
            None => size_of(network),
        };
        let found = recipes::recipe(recipe, size, config.start);
        let found = found.map_err(|error| Error::invalid(error.to_string()))?;
        follow(config, tuning, found, network, classes)
    }

    /// Frozen parts would keep their random weights.
    fn from_scratch(config: &mut FinetuneConfig, tuning: &mut Tuning) {
        config.start = Start::Scratch;
        config.trainable = "all".into();
        tuning.freeze_until = None;
    }

    /// Nothing is ever hidden from a network that is not pre-trained.
    fn untrained(config: HubertConfig) -> HubertConfig {
        HubertConfig {
            mask_time_prob: 0.0,
            ..config
        }
    }

    fn settle(config: &mut FinetuneConfig, tuning: &Tuning) {
        let released = config.compat == Compat::Released;
        config.train.restarts_from = tuning.freeze_until.filter(|_| released);
    }

    fn settings_of_old(fields: &Table) -> Table {
        tuning::of_old(fields)
    }

    fn check_finetuning(config: &FinetuneConfig) -> Result<()> {
        // Said before the run and not after it.
        if config.two_classes && config.head == "label-embedding" {
            return Err(Error::invalid(
                "`--head label-embedding`: this recipe learns two mutually exclusive classes, which takes a linear or an mlp head",
            ));
        }
        Ok(())
    }

    fn for_training(
        mut encoder: hubert::Hubert,
        tuning: &Tuning,
        _: &FinetuneConfig,
    ) -> hubert::Hubert {
        if let Some(p) = tuning.layerdrop {
            encoder.config_mut().layerdrop = p as f32;
        }
        match tuning.dropout {
            Some(p) => encoder.with_regulated(&[p; 3]),
            None => encoder,
        }
    }

    /// `all`, `linear` (the head), `last-N` (N layers, feature projection and head), or parts of names.
    fn learning(
        config: &FinetuneConfig,
        tuning: &Tuning,
        network: &HubertConfig,
        _: &[String],
    ) -> Result<Box<LearningOf<'static>>> {
        learning(config, tuning, network)
    }

    fn sources<'a>(
        encoder: &hubert::Hubert,
        store: &'a Store,
        contract: &Preprocess,
        config: &FinetuneConfig,
        tuning: &Tuning,
    ) -> Result<Sources<'a, hubert::Hubert>, TrainError> {
        let (samples, decimation) = crop(encoder.config());
        let cutter = HubertCutter::new(samples, decimation)?;
        let seed = config.train.seed;
        let random_crop = !tuning.fixed_crop;
        let (mut training, mut evaluation) = (cutter.clone(), cutter);
        if random_crop {
            training = training.random(seed);
        }
        if config.compat == Compat::Released {
            // Random crops in validation too; the mask of real samples in training only.
            training = training.marked();
            evaluation = evaluation.from_long_pieces(seed);
            if random_crop {
                evaluation = evaluation.random(seed.wrapping_add(1));
            }
        }
        let rows = || (0..store.len()).collect::<Vec<_>>();
        Ok(Sources {
            training: Box::new(StoreCrops::new(store, rows(), contract, training)?),
            evaluation: Box::new(StoreCrops::new(store, rows(), contract, evaluation)?),
        })
    }

    /// As published, the last incomplete batch is left out, crops are random, the weights of the loss are those of the
    /// validation table, and a batch of small logits counts as probabilities.
    fn validation(compat: Compat) -> ValidationRules {
        match compat {
            Compat::Paper => ValidationRules::default(),
            Compat::Released => ValidationRules {
                whole_batches: true,
                drawn_crops: true,
                own_class_weights: true,
                small_logits_are_probabilities: true,
                single_class: SingleClass::Zero,
                ..ValidationRules::default()
            },
        }
    }

    fn one_of_two(weights: &Weights, device: &Device) -> Result<Weights> {
        Ok(one_of_two(weights, device)?)
    }
}

/// Takes over a published run. Its dropout multiplier is for pre-trained networks; others have the dropout they were made
/// with.
fn follow(
    config: &mut FinetuneConfig,
    tuning: &mut Tuning,
    recipe: &Recipe,
    network: &HubertConfig,
    classes: usize,
) -> Result<()> {
    let two = recipe.task == TaskType::MultiClass && recipe.outputs == 2;
    config.two_classes = two && classes == 1;
    if recipe.task == TaskType::MultiClass && !config.two_classes {
        return Err(Error::invalid(format!(
            "`--recipe {}` is for one label (two mutually exclusive classes); task `{}` has {classes}",
            recipe.name, config.task
        )));
    }
    tuning.layerdrop = Some(recipe.layerdrop);
    tuning.dropout = (recipe.start == Start::Finetune).then(|| recipe.dropout());
    tuning.fixed_crop = !recipe.random_crop;
    config.class_weights = recipe.class_weights;
    config.validated_on = match config.compat {
        Compat::Paper => ValidatedOn::Validation,
        Compat::Released => recipe.validated_on,
    };
    config.batch = recipe.batch_size;
    config.trainable = match recipe.trained {
        Trained::All => "all".into(),
        Trained::Blocks(n) => format!("last-{}", n.min(network.num_hidden_layers)),
    };
    if let Some(test) = recipe.tests.first() {
        config.crops = test.crops.max(1);
        config.aggregation = match test.aggregation.as_deref() {
            Some("mean") => Aggregation::Mean,
            _ => Aggregation::Max,
        };
    }
    let train = &mut config.train;
    train.schedule.lr = recipe.lr;
    train.updates = Some(recipe.max_steps);
    train.schedule.warmup = Span::Fraction(recipe.warmup_share);
    if let Some(validation) = &mut train.validation {
        validation.every = Some(recipe.validation_interval);
        validation.stopping = Some(StoppingConfig {
            patience: recipe.patience,
            intervals: INTERVALS,
            dynamic_regularisation: recipe.dynamic_regularisation,
            behaviour: behaviour(config.compat),
        });
    }
    Ok(())
}

/// How the parameters of a classifier learn.
fn learning(
    config: &FinetuneConfig,
    tuning: &Tuning,
    network: &HubertConfig,
) -> Result<Box<LearningOf<'static>>> {
    // What is frozen follows the behaviour of the run, not that of the network it starts from.
    let network = HubertConfig {
        compat: config.compat,
        ..network.clone()
    };
    let text = config.trainable.as_str();
    let is_head =
        |name: &str| name.starts_with("classifier") || name.starts_with("label_embedding");
    let layers = network.num_hidden_layers;
    let freezing = match text.strip_prefix("last-") {
        None => None,
        Some(count) => {
            let count = count.parse::<usize>().ok().filter(|n| *n <= layers);
            let count = count.ok_or_else(|| {
                Error::invalid(format!(
                    "`--trainable {text}`: expected last-0 to last-{layers} for this encoder"
                ))
            })?;
            Some(Freezing::last(count, false, &network))
        }
    };
    if matches!(text, "moe" | "") {
        return Err(Error::invalid(format!(
            "`--trainable {text}`: HuBERT-ECG takes all, linear, last-N or parts of names"
        )));
    }
    let (all, linear) = (text == "all", text == "linear");
    let parts: Vec<String> = text.split(',').map(str::to_owned).collect();
    let first = tuning.freeze_until.unwrap_or(0);
    let lr = config.train.schedule.lr;
    let layer_wise = tuning.layer_wise;
    Ok(Box::new(move |name| {
        let trains = match freezing {
            Some(freezing) => freezing.trains(name, &network),
            None => all || is_head(name) || !linear && parts.iter().any(|p| name.contains(p)),
        };
        let rate = match layer_wise {
            true => layer_wise_rate(name, lr, &network).map(|rate| rate / lr),
            false => Some(1.0),
        };
        // The feature projection and the head learn from the start.
        let waits = name.starts_with("encoder.") || name.starts_with("feature_extractor.");
        rate.filter(|_| trains).map(|rate| Learning {
            rate,
            from: if waits { first } else { 0 },
        })
    }))
}

/// The published size a network has; that of SMALL for smaller ones.
fn size_of(config: &HubertConfig) -> Size {
    let large = HubertConfig::large().hidden_size;
    match config.hidden_size {
        d if d >= large => Size::Large,
        d if d >= HubertConfig::base().hidden_size => Size::Base,
        _ => Size::Small,
    }
}

/// A published size by name.
fn size_named(text: &str) -> Result<Size> {
    match text {
        "small" => Ok(Size::Small),
        "base" => Ok(Size::Base),
        "large" => Ok(Size::Large),
        _ => Err(Error::invalid(format!(
            "`--recipe-size {text}`: expected small, base or large"
        ))),
    }
}
