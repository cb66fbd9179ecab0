//! The interface of a published system. Everything else in the library works with this trait, or with its object-safe
//! counterpart [`Network`](crate::network::Network), and never asks which system it is.

use std::fmt::{self, Display};

use burn::tensor::{Device, Tensor};
use purkinje_eval::EvaluateOptions;
use purkinje_eval::bootstrap::Unit;
use purkinje_eval::metrics::SingleClass;
use purkinje_models::compat::Compat;
use purkinje_models::encoder::{Classify, Encoder};
use purkinje_models::layers::{Context, WeightError, Weights};
use purkinje_models::text::TextIds;
use purkinje_record::{Lead, LeadSet};
use purkinje_signal::{Prepared, Preprocess};
use purkinje_store::Store;
use purkinje_train::TrainError;
use purkinje_train::source::Records;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::probe::{FrozenHead, LinearHead};
use crate::windows::BeatCount;
use crate::{Error, Result};

/// The unit that a vector stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// A recording.
    Recording,
    /// A lead.
    Lead,
    /// A heartbeat in a lead.
    Beat,
    /// A lead group of the head (limb, augmented, chest, their pairs, all).
    Group,
    /// A token: a stretch of the signal.
    Token,
}

impl Level {
    /// All levels.
    pub const ALL: [Level; 5] = [
        Level::Recording,
        Level::Lead,
        Level::Beat,
        Level::Group,
        Level::Token,
    ];

    /// The name of the level.
    pub fn name(self) -> &'static str {
        match self {
            Level::Recording => "recording",
            Level::Lead => "lead",
            Level::Beat => "beat",
            Level::Group => "group",
            Level::Token => "token",
        }
    }
}

impl Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a vector stands for within its recording.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Place {
    /// The lead, for leads, beats and tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lead: Option<Lead>,
    /// Index of the beat in its lead, or of the token in the recording, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<usize>,
    /// The R-peak of the beat, or the start of the token in its lead, in seconds: from the start of the input as a system states it, of
    /// the recording as results do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_s: Option<f64>,
    /// The lead group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<std::borrow::Cow<'static, str>>,
    /// Start of its window in seconds of the recording, where every window has vectors of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_s: Option<f64>,
}

/// Vectors of a batch at one level.
pub struct LevelVectors {
    /// `[records, places per record, width]`, padding included.
    pub values: Vec<f32>,
    /// What each vector of each record stands for; `None` for padding.
    pub places: Vec<Vec<Option<Place>>>,
}

impl LevelVectors {
    /// One vector for each of so many recordings.
    pub fn of_recordings(values: Vec<f32>, recordings: usize) -> Self {
        LevelVectors {
            values,
            places: vec![vec![Some(Place::default())]; recordings],
        }
    }

    /// One vector for each of `tokens` tokens of a recording, which are of all leads; one begins every `stride` samples.
    pub fn of_tokens<I>(
        values: Vec<f32>,
        tokens: usize,
        stride: usize,
        sights: &[&Sight<I>],
    ) -> Self {
        let places = sights.iter().map(|sight| {
            let place = |number| Place {
                number: Some(number),
                time_s: Some((number * stride) as f64 / sight.rate_hz),
                ..Place::default()
            };
            (0..tokens).map(|number| Some(place(number))).collect()
        });
        LevelVectors {
            values,
            places: places.collect(),
        }
    }
}

/// Logits as sums over leads, for heads that are affine in the contributions of the leads.
pub struct Parts {
    /// The logits of a recording without signal `[labels]`.
    pub bias: Vec<f32>,
    /// The contributions of the leads `[records, leads, labels]`.
    pub contributions: Vec<f32>,
}

/// A stretch of a lead that a network attends to.
#[derive(Clone, Debug, PartialEq)]
pub struct Stretch {
    /// Index of the lead among those of the input.
    pub lead: usize,
    /// Start and end, in seconds from the start of the model's input.
    pub time_s: (f64, f64),
    /// Its fraction of the attention.
    pub weight: f32,
    /// The fraction it would have under uniform attention.
    pub uniform: f32,
}

/// The inputs of a network for one recording: one for each crop.
#[derive(Clone, Debug)]
pub struct Sight<I> {
    /// The leads in the input.
    pub leads: LeadSet,
    /// Samples of a lead after preprocessing.
    pub samples: usize,
    /// Their rate in hertz.
    pub rate_hz: f64,
    /// One input for each crop.
    pub crops: Vec<I>,
}

/// The rows of a store as inputs of an encoder.
pub type Rows<'a, E> = Box<dyn Records<Input = <E as Encoder>::Input> + Send + 'a>;

/// A size that a system was published in, or a smaller one for experiments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Its name: `tiny`, `base`.
    pub name: &'static str,
    /// Number of parameters, for display: `57 M`.
    pub parameters: &'static str,
}

/// The description of a system.
#[derive(Debug)]
pub struct About {
    /// Its name in commands and configurations.
    pub name: &'static str,
    /// The name its authors use.
    pub title: &'static str,
    /// What it is, in a short phrase.
    pub summary: &'static str,
    /// Its sizes, from the smallest, which is the default.
    pub sizes: &'static [Size],
    /// Names of its classification heads; the first is the default.
    pub heads: &'static [&'static str],
    /// Names of the heads that a probe can fit on frozen vectors; the first is the default.
    pub frozen_heads: &'static [&'static str],
    /// Levels at which its encoders give vectors.
    pub levels: &'static [Level],
    /// Levels that heads add, with the name of the head.
    pub head_levels: &'static [(&'static str, Level)],
    /// Names of the vectors of a recording, where there are several; the first is the default.
    pub features: &'static [&'static str],
    /// Whether it reads crops of a recording, whose outputs can be aggregated.
    pub crops: bool,
    /// Name of the preset of preprocessing that its networks expect.
    pub preset: &'static str,
    /// Names of other presets that networks of one's own can be pre-trained with, if chosen.
    pub other_presets: &'static [&'static str],
}

/// How a released program computes metrics where it differs from the paper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EvaluationRules {
    /// The value of a class without positives or without negatives in means over classes.
    pub single_class: SingleClass,
    /// The unit of bootstrap resampling.
    pub unit: Unit,
    /// Seed of the resamples, if the program has one of its own.
    pub seed: Option<u64>,
}

impl EvaluationRules {
    /// Applies the rules; `seed` takes precedence over that of the program.
    pub(crate) fn apply(self, options: &mut EvaluateOptions, seed: Option<u64>) {
        options.single_class = self.single_class;
        options.bootstrap.unit = self.unit;
        options.bootstrap.seed = seed.or(self.seed).unwrap_or(options.bootstrap.seed);
    }
}

/// A published system: its networks, their inputs and their outputs.
///
/// The trait is static so that training stays generic; [`Registry`](crate::Registry) holds systems as trait objects.
/// What concerns one task only is in separate traits: [`Finetunes`](crate::finetune::Finetunes),
/// [`Pretrains`](crate::pretrain::Pretrains), [`Imports`](crate::import::Imports).
pub trait System: Sized + Send + Sync + 'static {
    /// Every hyper-parameter of a network.
    type Config: Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// The network.
    type Encoder: Encoder + 'static;
    /// A classification head.
    type Head: Copy + PartialEq + Display + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// The network with a head.
    type Classifier: Classify<Encoder = Self::Encoder> + 'static;

    /// What it is.
    const ABOUT: About;

    /// The configuration of a size, given by name.
    fn size(name: &str) -> Option<Self::Config>;

    /// Checks that a configuration is valid.
    ///
    /// # Errors
    /// A message that names the field.
    fn validate(config: &Self::Config) -> Result<(), String>;

    /// Whether a configuration follows the paper or the released program.
    fn compat(config: &Self::Config) -> Compat;

    /// The configuration changed to follow `compat`.
    fn with_compat(config: Self::Config, compat: Compat) -> Self::Config;

    /// The configuration of a network of one's own for the input that `contract` gives, where it depends on it.
    fn for_contract(config: Self::Config, contract: &Preprocess) -> Self::Config {
        let _ = contract;
        config
    }

    /// The configuration of a network.
    fn config(encoder: &Self::Encoder) -> &Self::Config;

    /// A network with these weights, which may hold more than it needs.
    ///
    /// # Errors
    /// When a parameter is missing or has another shape.
    fn encoder(config: Self::Config, weights: Weights) -> Result<Self::Encoder, WeightError>;

    /// A network with random weights.
    fn random(config: Self::Config, seed: u64, device: &Device) -> Self::Encoder;

    /// The encoder parameters that a model with a head keeps, with shapes.
    fn kept_with_head(config: &Self::Config) -> Vec<(String, Vec<usize>)>;

    /// The head with a name among [`About::heads`].
    fn head(name: &str) -> Option<Self::Head>;

    /// Length of the vectors that a head sees.
    fn head_width(encoder: &Self::Encoder, head: Self::Head) -> usize {
        let _ = head;
        encoder.width()
    }

    /// The parameters of a head on vectors of length `width`, with shapes.
    fn head_parameters(head: Self::Head, width: usize, outputs: usize)
    -> Vec<(String, Vec<usize>)>;

    /// Adds randomly initialised parameters of a head.
    fn initialise_head(
        head: Self::Head,
        weights: &mut Weights,
        width: usize,
        outputs: usize,
        seed: u64,
        device: &Device,
    );

    /// Prefix of the parameter names of a linear head, before `weight` and `bias`.
    const LINEAR: &'static str;

    /// A head that a probe can fit on frozen vectors, by its name among [`About::frozen_heads`].
    fn frozen_head(name: &str) -> Option<Box<dyn FrozenHead>> {
        match name {
            "linear" => Some(Box::new(LinearHead::new(Self::LINEAR))),
            _ => None,
        }
    }

    /// Rules for computing metrics that follow the paper or the released program.
    fn evaluation(compat: Compat) -> EvaluationRules {
        let _ = compat;
        EvaluationRules::default()
    }

    /// A network with a head, whose parameters are among its weights.
    ///
    /// # Errors
    /// When a parameter of the head is missing or has another shape.
    fn classifier(
        encoder: Self::Encoder,
        head: Self::Head,
        outputs: usize,
    ) -> Result<Self::Classifier, WeightError>;

    /// The inputs of the network for a recording that was preprocessed under `contract`: one for each of `crops` crops.
    ///
    /// # Errors
    /// A message that says why the recording cannot be used.
    fn see(
        encoder: &Self::Encoder,
        prepared: &Prepared,
        contract: &Preprocess,
        crops: usize,
    ) -> Result<Vec<<Self::Encoder as Encoder>::Input>, String>;

    /// The inputs for rows of a store. Where `compat` follows a released program that takes random crops, they are
    /// drawn from the stream of `seed`.
    ///
    /// # Errors
    /// When `contract` cannot be reached from the preprocessing of the store.
    fn rows<'a>(
        encoder: &Self::Encoder,
        store: &'a Store,
        rows: Vec<usize>,
        contract: &Preprocess,
        compat: Compat,
        seed: u64,
    ) -> Result<Rows<'a, Self::Encoder>, TrainError>;

    /// The contract as the paper or the released program applies it.
    fn followed(contract: Preprocess, compat: Compat) -> Preprocess {
        let _ = compat;
        contract
    }

    /// Whether two recordings can be in one batch.
    fn alike(a: &<Self::Encoder as Encoder>::Input, b: &<Self::Encoder as Encoder>::Input) -> bool;

    /// Samples of a lead in one crop, at the rate of the preprocessing; `None` where the network reads all of its input.
    fn crop_samples(encoder: &Self::Encoder) -> Option<usize> {
        let _ = encoder;
        None
    }

    /// Checks that the network can read an input, so that one recording does not fail a batch of others.
    ///
    /// # Errors
    /// A message that says what is wrong and what to do.
    fn check(input: &<Self::Encoder as Encoder>::Input) -> Result<(), String> {
        let _ = input;
        Ok(())
    }

    /// The beats in an input; `None` for systems that do not use beats.
    fn beats(input: &<Self::Encoder as Encoder>::Input) -> Option<BeatCount> {
        let _ = input;
        None
    }

    /// The leads that the vectors of [`Encoder::vectors`] stand for, as standard positions (0 for I .. 11 for V6); one
    /// entry where there is one vector for the recording.
    fn vector_leads(batch: &<Self::Encoder as Encoder>::Batch) -> Vec<usize> {
        let _ = batch;
        vec![0]
    }

    /// Levels of a model with this head, or without one.
    fn levels(head: Option<Self::Head>) -> Vec<Level> {
        let name = head.map(|head| head.to_string());
        let added = Self::ABOUT.head_levels.iter();
        let added = added.filter(|(head, _)| name.as_deref() == Some(*head));
        let own = Self::ABOUT.levels.iter().copied();
        own.chain(added.map(|(_, level)| *level)).collect()
    }

    /// The vectors of a batch at a level among [`levels`](System::levels).
    ///
    /// # Errors
    /// When they cannot be copied from the device.
    fn embed(
        encoder: &Self::Encoder,
        batch: &<Self::Encoder as Encoder>::Batch,
        sights: &[&Sight<<Self::Encoder as Encoder>::Input>],
        level: Level,
        ctx: &Context,
    ) -> Result<LevelVectors>;

    /// Whether the logits of this head are sums over leads, so that predictions can be explained.
    fn explains(head: Self::Head) -> bool {
        let _ = head;
        false
    }

    /// The logits of a batch as sums over leads; only for heads that [`explains`](System::explains) accepts.
    ///
    /// # Errors
    /// When they cannot be copied from the device.
    fn contributions(
        encoder: &Self::Encoder,
        head: Self::Head,
        batch: &<Self::Encoder as Encoder>::Batch,
        leads: &LeadSet,
        ctx: &Context,
    ) -> Result<Parts> {
        let _ = (encoder, head, batch, leads, ctx);
        Err(Error::invalid(
            "the logits of this head are no sums over leads",
        ))
    }

    /// The attention of the network in each recording of a batch; nothing where it shows none.
    ///
    /// # Errors
    /// When it cannot be copied from the device.
    fn attention(
        encoder: &Self::Encoder,
        batch: &<Self::Encoder as Encoder>::Batch,
        sights: &[&Sight<<Self::Encoder as Encoder>::Input>],
        ctx: &Context,
    ) -> Result<Vec<Vec<Stretch>>> {
        let _ = (encoder, batch, ctx);
        Ok(vec![Vec::new(); sights.len()])
    }

    /// The same configuration with another vector of a recording, by its name among [`About::features`].
    fn with_feature(config: Self::Config, name: &str) -> Option<Self::Config> {
        let _ = (config, name);
        None
    }

    /// Rows of the table of word pieces; `None` where the network reads no texts.
    fn table_of_words(encoder: &Self::Encoder) -> Option<usize> {
        let _ = encoder;
        None
    }

    /// Word pieces of the longest text that a network reads; longer ones are cut.
    fn longest_text(encoder: &Self::Encoder) -> usize {
        let _ = encoder;
        0
    }

    /// A text as its networks were trained to read it.
    fn clean_text(encoder: &Self::Encoder, text: &str) -> String {
        let _ = encoder;
        text.trim().to_owned()
    }

    /// One vector for each text `[texts, width]`; `None` where the network reads none.
    fn text_vectors(encoder: &Self::Encoder, texts: &TextIds, ctx: &Context) -> Option<Tensor<2>> {
        let _ = (encoder, texts, ctx);
        None
    }

    /// How well texts fit recordings `[recordings, texts]`, by their vectors; `None` where the network compares none.
    fn similarity(
        encoder: &Self::Encoder,
        recordings: Tensor<2>,
        texts: Tensor<2>,
        ctx: &Context,
    ) -> Option<Tensor<2>> {
        let _ = (encoder, recordings, texts, ctx);
        None
    }
}
