//! What a system provides for fine-tuning.

use std::collections::BTreeSet;

use burn::tensor::Device;
use purkinje_eval::metrics::SingleClass;
use purkinje_models::compat::Compat;
use purkinje_models::encoder::Encoder;
use purkinje_models::layers::Weights;
use purkinje_signal::Preprocess;
use purkinje_store::Store;
use purkinje_train::{Learning, LearningOf, TrainError};
use serde::Serialize;
use toml::Table;

use super::{FinetuneConfig, Start};
use crate::keys::Key;
use crate::system::{Rows, System};
use crate::{Error, Result};

/// The records of a store as inputs of training and evaluation.
pub struct Sources<'a, E: Encoder> {
    /// For training; random crops differ in every epoch.
    pub training: Rows<'a, E>,
    /// For validation and for the test split.
    pub evaluation: Rows<'a, E>,
}

/// How validation in a released program departs from the paper (`docs/differences.md`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ValidationRules {
    /// The last, incomplete batch is left out.
    pub whole_batches: bool,
    /// Crops are random and differ at every validation.
    pub drawn_crops: bool,
    /// The class weights of the loss come from the validation records, not from the training records.
    pub own_class_weights: bool,
    /// The logits of a batch are taken as probabilities if all lie between 0 and 1.
    pub small_logits_are_probabilities: bool,
    /// The value of a class without positives or without negatives in means over classes.
    pub single_class: SingleClass,
    /// The test split is measured at every validation, and the best of these is what the program prints. Nothing is chosen by it here.
    pub claims_test_maximum: bool,
}

/// A system whose classifiers can be fine-tuned, from pre-trained or random weights.
///
/// Everything has a default: the head and the encoder weights that a classifier keeps are trained on the records as
/// [`System::rows`] gives them; there are no settings and no published recipes.
pub trait Finetunes: System {
    /// Settings that are specific to its fine-tuning; [`NoSettings`](crate::keys::NoSettings) if nothing. It is written as
    /// a table of plain values by their keys, and read back through [`FINETUNE_KEYS`](Finetunes::FINETUNE_KEYS); what the
    /// table lacks is as by default.
    type Tuning: Default + Serialize;

    /// What `--set` takes.
    const FINETUNE_KEYS: &'static [Key<Self::Tuning>] = &[];

    /// Names of published recipes.
    fn recipes() -> Vec<String> {
        Vec::new()
    }

    /// Changes the defaults of a run, which are those of CLEAR: half a cosine from 5e-4, 20 epochs, AdamW, gradients
    /// clipped to norm 3. `start` and `compat` are already set.
    fn defaults(config: &mut FinetuneConfig) {
        let _ = config;
    }

    /// Applies a published recipe: `size` is the model size it was published for, that of the network if absent;
    /// `classes` is the number of classes of the task.
    ///
    /// # Errors
    /// When no recipe has this name, size and start, or it is for another kind of task.
    fn follow(
        config: &mut FinetuneConfig,
        tuning: &mut Self::Tuning,
        network: &Self::Config,
        recipe: &str,
        size: Option<&str>,
        classes: usize,
    ) -> Result<()> {
        let _ = (config, tuning, network, size, classes);
        Err(Error::invalid(format!(
            "unknown recipe `{recipe}`: {} has no published recipes; leave out `--recipe`",
            Self::ABOUT.title
        )))
    }

    /// Changes a recipe for pre-trained weights to one for random weights.
    fn from_scratch(config: &mut FinetuneConfig, tuning: &mut Self::Tuning) {
        let _ = tuning;
        config.start = Start::Scratch;
        config.trainable = "all".into();
    }

    /// The configuration for training from random weights without a model.
    fn untrained(config: Self::Config) -> Self::Config {
        config
    }

    /// Published names of the encoders of recordings that its networks can have.
    const ENCODERS: &'static [&'static str] = &[];

    /// The same configuration with an encoder of recordings by its name among [`ENCODERS`](Finetunes::ENCODERS).
    ///
    /// # Errors
    /// The message says why the network cannot have it.
    fn with_encoder(config: Self::Config, name: &str) -> Result<Self::Config, String> {
        let _ = (config, name);
        Err(format!("{} has no encoders by name", Self::ABOUT.title))
    }

    /// Fills in what follows from other fields, after everything that was asked for.
    fn settle(config: &mut FinetuneConfig, tuning: &Self::Tuning) {
        let _ = (config, tuning);
    }

    /// Settings, by their keys, in `config.toml` of runs before settings were a table of their own.
    fn settings_of_old(fields: &Table) -> Table {
        let _ = fields;
        Table::new()
    }

    /// Checks what is specific to the system in a configuration.
    ///
    /// # Errors
    /// A message that names what does not fit together.
    fn check_finetuning(config: &FinetuneConfig) -> Result<()> {
        let _ = config;
        Ok(())
    }

    /// The encoder weights that a classifier uses.
    fn trained_weights(encoder: &Self::Encoder) -> Weights {
        let kept = Self::kept_with_head(Self::config(encoder));
        let names = kept.iter().map(|(name, _)| name.as_str());
        encoder.weights().subset(names)
    }

    /// The network as it is trained: dropout and the like as settings and configuration say.
    fn for_training(
        encoder: Self::Encoder,
        tuning: &Self::Tuning,
        config: &FinetuneConfig,
    ) -> Self::Encoder {
        let _ = (tuning, config);
        encoder
    }

    /// How each parameter is trained, according to [`FinetuneConfig::trainable`]. `head` are the names of the
    /// parameters of the head. By default `all`, `linear` (the head), or substrings of parameter names separated by
    /// commas.
    ///
    /// # Errors
    /// When the value means nothing to the system.
    fn learning(
        config: &FinetuneConfig,
        tuning: &Self::Tuning,
        network: &Self::Config,
        head: &[String],
    ) -> Result<Box<LearningOf<'static>>> {
        let _ = (tuning, network);
        learning_by_name(config, head)
    }

    /// The records of a store for training and evaluation.
    ///
    /// # Errors
    /// When `contract` cannot be reached from the preprocessing of the store.
    fn sources<'a>(
        encoder: &Self::Encoder,
        store: &'a Store,
        contract: &Preprocess,
        config: &FinetuneConfig,
        tuning: &Self::Tuning,
    ) -> Result<Sources<'a, Self::Encoder>, TrainError> {
        let _ = tuning;
        let (seed, all) = (config.train.seed, (0..store.len()).collect::<Vec<_>>());
        let rows = |rows| Self::rows(encoder, store, rows, contract, Compat::Paper, seed);
        Ok(Sources {
            training: rows(all.clone())?,
            evaluation: rows(all)?,
        })
    }

    /// Rules of validation that follow the paper or the released program.
    fn validation(compat: Compat) -> ValidationRules {
        let _ = compat;
        ValidationRules::default()
    }

    /// Converts the weights of a classifier of two mutually exclusive classes to those of a classifier of one label
    /// with the same probability.
    ///
    /// # Errors
    /// When its head does not allow it.
    fn one_of_two(weights: &Weights, device: &Device) -> Result<Weights> {
        let _ = (weights, device);
        Err(Error::invalid(format!(
            "two_classes = true: classifiers of {} cannot train one label as two mutually exclusive classes; set two_classes = false",
            Self::ABOUT.title
        )))
    }
}

/// How each parameter is trained: `all`, `linear` (the head), or substrings of parameter names separated by commas.
///
/// # Errors
/// When [`FinetuneConfig::trainable`] is empty.
pub(crate) fn learning_by_name(
    config: &FinetuneConfig,
    head: &[String],
) -> Result<Box<LearningOf<'static>>> {
    let text = config.trainable.as_str();
    if text.is_empty() {
        return Err(Error::invalid(
            "`--trainable` is empty: expected all, linear, or substrings of parameter names separated by commas",
        ));
    }
    let (all, linear) = (text == "all", text == "linear");
    let head: BTreeSet<String> = head.iter().cloned().collect();
    let parts: Vec<String> = text.split(',').map(str::to_owned).collect();
    Ok(Box::new(move |name| {
        let named = || !linear && parts.iter().any(|part| name.contains(part));
        (all || head.contains(name) || named()).then(Learning::default)
    }))
}
