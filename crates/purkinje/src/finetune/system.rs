//! What a system says about the training of its classifiers.

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

/// The records of a store as the network sees them while it is trained.
pub struct Sources<'a, E: Encoder> {
    /// For training steps: where crops are drawn, others in every epoch.
    pub training: Rows<'a, E>,
    /// For validation and for the test split.
    pub evaluation: Rows<'a, E>,
}

/// How validation departs from what is meant, where a published program is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ValidationRules {
    /// The last incomplete batch is left out.
    pub whole_batches: bool,
    /// Crops are drawn, others at every validation.
    pub drawn_crops: bool,
    /// The loss weighs labels by their rarity among the validation records, not among the training records.
    pub own_class_weights: bool,
    /// A batch whose logits all lie between 0 and 1 counts as probabilities.
    pub small_logits_are_probabilities: bool,
    /// What a class without positives or without negatives counts.
    pub single_class: SingleClass,
}

/// A system whose classifiers can be trained whole, from pre-trained or random weights.
///
/// Everything has a default: the weights of the encoder that a classifier keeps and those of the head learn, from the
/// records as [`System::rows`] gives them, without published runs.
pub trait Finetunes: System {
    /// What only its fine-tuning has; [`NoSettings`](crate::keys::NoSettings) if nothing. It is written as
    /// a table of plain values by their keys, and read back through [`FINETUNE_KEYS`](Finetunes::FINETUNE_KEYS); what the
    /// table lacks is as by default.
    type Tuning: Default + Serialize;

    /// What `--set` takes.
    const FINETUNE_KEYS: &'static [Key<Self::Tuning>] = &[];

    /// Published runs by name.
    fn recipes() -> Vec<String> {
        Vec::new()
    }

    /// Changes the defaults of a run, which are those of CLEAR: half a cosine from 5e-4, 20 epochs, AdamW, gradients
    /// clipped to norm 3. `start` and `compat` are already what the run will have.
    fn defaults(config: &mut FinetuneConfig) {
        let _ = config;
    }

    /// Takes over a published run: `size` is the size it was published for, that of the network if absent; the task has
    /// so many classes.
    ///
    /// # Errors
    /// When there is none of this name, size and start, or it is for another kind of task.
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
            "there is no recipe `{recipe}`: no runs of {} were published",
            Self::ABOUT.title
        )))
    }

    /// What a run from random weights does otherwise, where one from pre-trained weights follows a published run.
    fn from_scratch(config: &mut FinetuneConfig, tuning: &mut Self::Tuning) {
        let _ = tuning;
        config.start = Start::Scratch;
        config.trainable = "all".into();
    }

    /// A network from which training from random weights starts, where there is no model to take the sizes from.
    fn untrained(config: Self::Config) -> Self::Config {
        config
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

    /// Checks a configuration, beyond what holds for all systems.
    ///
    /// # Errors
    /// Names what does not fit together.
    fn check_finetuning(config: &FinetuneConfig) -> Result<()> {
        let _ = config;
        Ok(())
    }

    /// The weights of the encoder that take part in training.
    fn trained_weights(encoder: &Self::Encoder) -> Weights {
        let kept = Self::kept_with_head(Self::config(encoder));
        let names = kept.iter().map(|(name, _)| name.as_str());
        encoder.weights().subset(names)
    }

    /// The network as it is trained: dropout and the like as the settings say.
    fn for_training(encoder: Self::Encoder, tuning: &Self::Tuning) -> Self::Encoder {
        let _ = tuning;
        encoder
    }

    /// How each parameter learns: what [`FinetuneConfig::trainable`] means. `head` are the names of the parameters of the
    /// head. By default `all`, `linear` (the head), or parts of names separated by commas.
    ///
    /// # Errors
    /// When it says nothing the system knows.
    fn learning(
        config: &FinetuneConfig,
        tuning: &Self::Tuning,
        network: &Self::Config,
        head: &[String],
    ) -> Result<Box<LearningOf<'static>>> {
        let _ = (tuning, network);
        let text = config.trainable.as_str();
        if text.is_empty() {
            return Err(Error::invalid(
                "`--trainable`: expected all, linear or parts of parameter names",
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

    /// The records of a store for training and evaluation.
    ///
    /// # Errors
    /// When the store does not lead to `contract`.
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

    /// How validation is done under this behaviour.
    fn validation(compat: Compat) -> ValidationRules {
        let _ = compat;
        ValidationRules::default()
    }

    /// The weights of a classifier that was trained on two classes that exclude each other as those of one with a single
    /// label, of the same probability.
    ///
    /// # Errors
    /// When its head does not allow it.
    fn one_of_two(weights: &Weights, device: &Device) -> Result<Weights> {
        let _ = (weights, device);
        Err(Error::invalid(format!(
            "classifiers of {} do not learn one label as two classes that exclude each other",
            Self::ABOUT.title
        )))
    }
}
