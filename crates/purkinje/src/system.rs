//! What a published system provides. Everything else in the library works with this trait, or with its object-safe twin
//! [`Network`](crate::network::Network); nothing asks which system it has.

use std::fmt::{self, Display};

use burn::tensor::Device;
use purkinje_eval::EvaluateOptions;
use purkinje_eval::bootstrap::Unit;
use purkinje_eval::metrics::SingleClass;
use purkinje_models::compat::Compat;
use purkinje_models::encoder::{Classify, Encoder};
use purkinje_models::layers::{Context, WeightError, Weights};
use purkinje_record::{Lead, LeadSet};
use purkinje_signal::{Prepared, Preprocess};
use purkinje_store::Store;
use purkinje_train::TrainError;
use purkinje_train::source::Source;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::probe::{FrozenHead, LinearHead};

/// What gets a vector.
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
    /// Every level.
    pub const ALL: [Level; 5] = [
        Level::Recording,
        Level::Lead,
        Level::Beat,
        Level::Group,
        Level::Token,
    ];

    /// Its name.
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
    /// Number of the beat in its lead, or of the token in the recording, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<usize>,
    /// The R-peak of the beat, or the start of the token in its lead, in seconds from the start of what the model sees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_s: Option<f64>,
    /// The lead group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<&'static str>,
}

/// Vectors of a batch at one level.
pub struct LevelVectors {
    /// `[records, places of one record, width]`, places that hold nothing included.
    pub values: Vec<f32>,
    /// What each vector of each record stands for; `None` for one that stands for nothing (padding).
    pub places: Vec<Vec<Option<Place>>>,
}

/// Logits as sums: of heads that are affine in what the leads contribute.
pub struct Parts {
    /// The logits of a recording without signal `[labels]`.
    pub bias: Vec<f32>,
    /// What each lead adds to them `[records, leads, labels]`.
    pub contributions: Vec<f32>,
}

/// A stretch of a lead that a network attends to.
#[derive(Clone, Debug, PartialEq)]
pub struct Stretch {
    /// Position of the lead among those the network was given.
    pub lead: usize,
    /// Start and end, in seconds from the start of what the model sees.
    pub time_s: (f64, f64),
    /// Its share of the attention.
    pub weight: f32,
    /// The share it would have if all places were attended to alike.
    pub uniform: f32,
}

/// What one recording is for a network: one input, or one for each crop.
#[derive(Clone, Debug)]
pub struct Sight<I> {
    /// The leads the network is given.
    pub leads: LeadSet,
    /// Samples of a lead after preprocessing.
    pub samples: usize,
    /// What it sees, of each crop.
    pub crops: Vec<I>,
}

/// The rows of a store as an encoder sees them.
pub type Rows<'a, E> = Box<dyn Source<Input = <E as Encoder>::Input> + Send + 'a>;

/// A size a system was published in, or a smaller one to try things with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Its name: `tiny`, `base`.
    pub name: &'static str,
    /// Its parameters, as people say it: `57 M`.
    pub parameters: &'static str,
}

/// What a system is, in words.
#[derive(Debug)]
pub struct About {
    /// As commands and configurations call it.
    pub name: &'static str,
    /// As its authors call it.
    pub title: &'static str,
    /// What it is, in half a sentence.
    pub summary: &'static str,
    /// Its sizes, the smallest first; it is the default.
    pub sizes: &'static [Size],
    /// Classification heads by name, the first is the default.
    pub heads: &'static [&'static str],
    /// Heads that a probe fits on frozen vectors, by name, the first is the default.
    pub frozen_heads: &'static [&'static str],
    /// Levels that encoders have vectors at.
    pub levels: &'static [Level],
    /// Levels that heads add, by the name of the head.
    pub head_levels: &'static [(&'static str, Level)],
    /// Whether it looks at crops of a recording, so that several can be aggregated.
    pub crops: bool,
    /// The preprocessing its networks expect, by name.
    pub preset: &'static str,
}

/// How the metrics of a classifier are computed, where a published program does otherwise than is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EvaluationRules {
    /// What a class without positives or without negatives counts in means over classes.
    pub single_class: SingleClass,
    /// What resamples draw.
    pub unit: Unit,
    /// Seed of the resamples, if the program has one of its own.
    pub seed: Option<u64>,
}

impl EvaluationRules {
    /// Evaluation by these rules; `seed` goes before that of the program.
    pub(crate) fn apply(self, options: &mut EvaluateOptions, seed: Option<u64>) {
        options.single_class = self.single_class;
        options.bootstrap.unit = self.unit;
        options.bootstrap.seed = seed.or(self.seed).unwrap_or(options.bootstrap.seed);
    }
}

/// A published system: its networks, what they see, and what they can say.
///
/// The trait is static so that training stays generic; [`Registry`](crate::Registry) holds systems as objects. Its parts
/// that are only about one task stand in traits of their own: [`Finetunes`](crate::finetune::Finetunes),
/// [`Pretrains`](crate::pretrain::Pretrains), [`Imports`](crate::import::Imports).
pub trait System: Sized + Send + Sync + 'static {
    /// Every hyper-parameter of a network.
    type Config: Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// The network.
    type Encoder: Encoder + 'static;
    /// A head for labels.
    type Head: Copy + PartialEq + Display + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// The network with a head.
    type Classifier: Classify<Encoder = Self::Encoder> + 'static;

    /// What it is.
    const ABOUT: About;

    /// The configuration of a size by its name.
    fn size(name: &str) -> Option<Self::Config>;

    /// Checks that a configuration makes sense.
    ///
    /// # Errors
    /// A sentence that names the field.
    fn validate(config: &Self::Config) -> Result<(), String>;

    /// Whose behaviour a configuration follows.
    fn compat(config: &Self::Config) -> Compat;

    /// A configuration that follows the behaviour `compat`.
    fn with_compat(config: Self::Config, compat: Compat) -> Self::Config;

    /// The configuration of a network.
    fn config(encoder: &Self::Encoder) -> &Self::Config;

    /// A network over weights, which may hold more than it needs.
    ///
    /// # Errors
    /// When a parameter is missing or has another shape.
    fn encoder(config: Self::Config, weights: Weights) -> Result<Self::Encoder, WeightError>;

    /// A network with random weights.
    fn random(config: Self::Config, seed: u64, device: &Device) -> Self::Encoder;

    /// What a model with a head keeps of the parameters of its encoder, with shapes.
    fn kept_with_head(config: &Self::Config) -> Vec<(String, Vec<usize>)>;

    /// The head of a name among [`About::heads`].
    fn head(name: &str) -> Option<Self::Head>;

    /// The parameters of a head on vectors of `width` numbers, with shapes.
    fn head_parameters(head: Self::Head, width: usize, outputs: usize)
    -> Vec<(String, Vec<usize>)>;

    /// Adds the parameters of a head, drawn anew.
    fn initialise_head(
        head: Self::Head,
        weights: &mut Weights,
        width: usize,
        outputs: usize,
        seed: u64,
        device: &Device,
    );

    /// What the names of the parameters of a linear head begin with, before `weight` and `bias`.
    const LINEAR: &'static str;

    /// A head that a probe fits on frozen vectors, by its name among [`About::frozen_heads`].
    fn frozen_head(name: &str) -> Option<Box<dyn FrozenHead>> {
        match name {
            "linear" => Some(Box::new(LinearHead::new(Self::LINEAR))),
            _ => None,
        }
    }

    /// How metrics are computed under this behaviour.
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

    /// What the network sees of a recording that was prepared by `contract`: of so many crops, where it crops.
    ///
    /// # Errors
    /// A sentence saying why it cannot be seen.
    fn see(
        encoder: &Self::Encoder,
        prepared: &Prepared,
        contract: &Preprocess,
        crops: usize,
    ) -> Result<Vec<<Self::Encoder as Encoder>::Input>, String>;

    /// What it sees of rows of a store; where the published program draws crops at random, from the stream of `seed` if it
    /// is followed.
    ///
    /// # Errors
    /// When the store does not lead to `contract`.
    fn rows<'a>(
        encoder: &Self::Encoder,
        store: &'a Store,
        rows: Vec<usize>,
        contract: &Preprocess,
        compat: Compat,
        seed: u64,
    ) -> Result<Rows<'a, Self::Encoder>, TrainError>;

    /// A contract as it is used where a behaviour is followed.
    fn followed(contract: Preprocess, compat: Compat) -> Preprocess {
        let _ = compat;
        contract
    }

    /// Whether two recordings can be in one batch.
    fn alike(a: &<Self::Encoder as Encoder>::Input, b: &<Self::Encoder as Encoder>::Input) -> bool;

    /// Whether the R-peaks that beats were cut at were found in the signal; `None` where no beats are cut.
    fn beats_detected(input: &<Self::Encoder as Encoder>::Input) -> Option<bool> {
        let _ = input;
        None
    }

    /// The leads that the vectors of [`Encoder::vectors`] stand for, as standard positions (0 for I .. 11 for V6); one
    /// entry where there is one vector for the recording.
    fn vector_leads(batch: &<Self::Encoder as Encoder>::Batch) -> Vec<usize>;

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
    /// When the device does not give them.
    fn embed(
        encoder: &Self::Encoder,
        batch: &<Self::Encoder as Encoder>::Batch,
        sights: &[&Sight<<Self::Encoder as Encoder>::Input>],
        level: Level,
        ctx: &Context,
    ) -> Result<LevelVectors>;

    /// Whether logits of this head are sums over leads, so that they can be explained.
    fn explains(head: Self::Head) -> bool;

    /// The logits of a batch as sums over leads; only for heads that [`explains`](System::explains) accepts.
    ///
    /// # Errors
    /// When the device does not give them.
    fn contributions(
        encoder: &Self::Encoder,
        head: Self::Head,
        batch: &<Self::Encoder as Encoder>::Batch,
        leads: &LeadSet,
        ctx: &Context,
    ) -> Result<Parts>;

    /// What the network attends to in each recording of a batch.
    ///
    /// # Errors
    /// When the device does not give it.
    fn attention(
        encoder: &Self::Encoder,
        batch: &<Self::Encoder as Encoder>::Batch,
        sights: &[&Sight<<Self::Encoder as Encoder>::Input>],
        ctx: &Context,
    ) -> Result<Vec<Vec<Stretch>>>;
}
