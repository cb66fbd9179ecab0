//! What networks of recordings and their reports have in common that compare both in one space: inputs, the branch of texts, contrastive
//! losses, the classifier.

mod classifier;
mod contrastive;
mod encoder;
mod initial;
mod signals;
mod texts;

use burn::tensor::{Device, Tensor};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::compat::Compat;
use crate::encoder::Encoder;
use crate::layers::{Context, ResNetConfig, WeightError, Weights};
use crate::random::Stream;
use crate::text::{TextConfig, TextIds};

pub use classifier::{LINEAR, PairClassifier, Pool};
pub use contrastive::{contrastive, cosines, top};
pub use encoder::{EcgEncoder, NAMES as ENCODERS};
pub(crate) use initial::random_weights;
pub use signals::{Signal, Signals};
pub use texts::{Learned, Read, TEXT, text_entries};
pub(crate) use texts::{project, project3, projection_entries, read};

/// What the names of the parameters of the encoder of recordings begin with.
pub const ECG: &str = "ecg_encoder.";
/// The least length that vectors are divided by.
const SHORTEST: f64 = 1e-12;

/// Which parts of a network there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Everything.
    #[default]
    All,
    /// What gives vectors of recordings and texts.
    Vectors,
    /// What gives vectors of recordings, in the space of texts.
    Ecg,
    /// The encoder of recordings alone; its vectors are means over time.
    Encoder,
}

/// Names and shapes of entries.
pub type Entries = Vec<(String, Vec<usize>)>;

/// The hyper-parameters of such a network.
pub trait PairConfig:
    Clone + std::fmt::Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The encoder of recordings.
    fn encoder(&self) -> EcgEncoder;

    /// The same with another one.
    ///
    /// # Errors
    /// When the network cannot have it.
    fn set_encoder(&mut self, encoder: EcgEncoder) -> Result<(), String>;

    /// Samples of a lead.
    fn samples(&mut self) -> &mut usize;

    /// The encoder of texts.
    fn text(&self) -> &TextConfig;

    /// The same, to change it.
    fn text_mut(&mut self) -> &mut TextConfig;

    /// Which layers of it learn.
    fn text_learns(&mut self) -> &mut Learned;

    /// Length of vectors in the space of texts.
    fn vector_width(&self) -> usize;

    /// Word pieces of the longest text.
    fn text_tokens(&mut self) -> &mut usize;

    /// Which parts there are.
    fn part(&mut self) -> &mut Part;

    /// Whether it follows the paper or the released program.
    fn compat(&mut self) -> &mut Compat;

    /// What gives vectors of recordings in the space of texts, the encoder of recordings included.
    fn ecg_entries(&self) -> Entries;

    /// What only pre-training needs.
    fn pretraining_entries(&self) -> Entries;

    /// Checks that all sizes fit each other.
    ///
    /// # Errors
    /// A message that names the field.
    fn validate(&self) -> Result<(), String>;

    /// Every entry of the parts there are.
    fn entries(&self) -> Entries {
        let part = *self.clone().part();
        if part == Part::Encoder {
            return self.encoder().entries(ECG);
        }
        let mut all = self.ecg_entries();
        if part != Part::Ecg {
            all.extend(text_entries(self.text()));
        }
        if part == Part::All {
            all.extend(self.pretraining_entries());
        }
        all
    }

    /// Names of the entries that are state.
    fn state(&self) -> Vec<String>;
}

/// The methods of a [`PairConfig`] that are fields of the same name.
macro_rules! pair_fields {
    () => {
        fn samples(&mut self) -> &mut usize {
            &mut self.samples
        }

        fn text(&self) -> &TextConfig {
            &self.text
        }

        fn text_mut(&mut self) -> &mut TextConfig {
            &mut self.text
        }

        fn text_learns(&mut self) -> &mut Learned {
            &mut self.text_learns
        }

        fn vector_width(&self) -> usize {
            self.width
        }

        fn text_tokens(&mut self) -> &mut usize {
            &mut self.text_tokens
        }

        fn part(&mut self) -> &mut Part {
            &mut self.part
        }

        fn compat(&mut self) -> &mut Compat {
            &mut self.compat
        }
    };
}
pub(crate) use pair_fields;

/// What the sizes `tiny` and `small` have in common, which are for 10 seconds at 100 Hz.
pub(crate) struct Small {
    /// The encoder of recordings.
    pub ecg: ResNetConfig,
    /// The encoder of texts.
    pub text: TextConfig,
    /// Width of recordings and texts.
    pub width: usize,
}

impl Small {
    /// Samples of a lead.
    pub const SAMPLES: usize = 1000;
    /// Word pieces of the longest text.
    pub const TEXT_TOKENS: usize = 128;

    /// One of the two.
    pub fn named(name: &str) -> Option<Self> {
        let (widths, blocks, width) = match name {
            "tiny" => ([8, 16, 24, 32], 1, 32),
            "small" => ([32, 64, 128, 256], 2, 128),
            _ => return None,
        };
        Some(Small {
            ecg: ResNetConfig {
                widths: widths.to_vec(),
                blocks: vec![blocks; 4],
                ..ResNetConfig::default()
            },
            text: small_text(name)?,
            width,
        })
    }
}

/// An encoder of texts of the size `tiny` or `small`.
pub fn small_text(name: &str) -> Option<TextConfig> {
    match name {
        "tiny" => Some(TextConfig::small_bert(2, 64)),
        "small" => Some(TextConfig::small_bert(4, 128)),
        _ => None,
    }
}

/// The terms of a loss, and the vectors of recordings and texts that are told apart.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Each `[1]`, in the order of [`Paired::TERMS`].
    pub losses: Vec<Tensor<1>>,
    /// `[batch, width]`.
    pub ecg: Tensor<2>,
    /// `[batch, width]`.
    pub text: Tensor<2>,
}

/// A network of recordings and their reports.
pub trait Paired: Encoder<Input = Signal, Batch = Signals> + std::fmt::Debug + 'static {
    /// Its hyper-parameters.
    type Config: PairConfig;
    /// What is drawn for a batch beside dropout.
    type Draws: Send + Sync;

    /// Names of the terms of its loss.
    const TERMS: &'static [&'static str];

    /// The terms that the released program does not minimise.
    const RELEASED_WITHOUT: &'static [&'static str];

    /// A network with these weights, which may hold more than its parts need.
    ///
    /// # Errors
    /// When an entry is missing or has another shape.
    fn with(config: Self::Config, weights: Weights) -> Result<Self, WeightError>;

    /// A network with random weights.
    fn random(config: Self::Config, seed: u64, device: &Device) -> Self;

    /// The hyper-parameters.
    fn config(&self) -> &Self::Config;

    /// The same network whose encoder stays in evaluation mode while what is behind it learns.
    #[must_use]
    fn still(self) -> Self;

    /// The same network without any dropout.
    #[must_use]
    fn without_dropout(&self) -> Self;

    /// What the encoder of recordings alone gives, as the mean over time `[batch, channels]`.
    fn averages(&self, batch: &Signals, ctx: &Context) -> Tensor<2>;

    /// Samples of a lead from one token to the next.
    fn token_stride(&self) -> usize;

    /// Vectors of tokens `[batch, tokens, width]`; `None` where there are none.
    fn token_vectors(&self, batch: &Signals, ctx: &Context) -> Option<Tensor<3>>;

    /// Reads texts; padding is seen where the released program sees it.
    fn read(&self, texts: &TextIds, ctx: &Context) -> Read {
        let mut config = self.config().clone();
        let learned = match *config.compat() {
            Compat::Paper => Some(*config.text_learns()),
            Compat::Released => None,
        };
        read(self.weights(), config.text(), learned, texts, ctx)
    }

    /// The projected vectors of texts, of length 1 `[texts, width]`.
    fn text_vectors(&self, texts: &TextIds, ctx: &Context) -> Tensor<2> {
        unit(project(self.read(texts, ctx).pooled, self.weights(), ctx))
    }

    /// What is drawn for so many records.
    fn draws(&self, records: usize, stream: &mut Stream) -> Self::Draws;

    /// The terms of the loss of a batch and what was read of its texts; `real` says which places of the texts are word pieces
    /// `[texts, length]`.
    fn terms(
        &self,
        batch: &Signals,
        read: &Read,
        real: &[bool],
        draws: &Self::Draws,
        ctx: &Context,
    ) -> Terms;

    /// Whether the states of all word pieces are needed, or the vector of a text alone.
    const READS_STATES: bool;
}

/// Checks what configurations say of texts and losses.
pub(crate) fn check(text: &TextConfig, tokens: usize, temperature: f64) -> Result<(), String> {
    let TextConfig::Bert(_) = text else {
        return Err("text: expected a BERT, whose first word piece stands for the text".to_owned());
    };
    if let Some(most) = text.positions().filter(|&most| tokens > most || tokens < 3) {
        return Err(format!(
            "text_tokens: {tokens}, expected 3 to {most}, which the encoder of texts has positions for"
        ));
    }
    match temperature > 0.0 {
        true => Ok(()),
        false => Err(format!("temperature: {temperature}, expected more than 0")),
    }
}

/// Rows divided by their length.
pub(crate) fn unit(x: Tensor<2>) -> Tensor<2> {
    let length = x.clone().square().sum_dim(1).sqrt();
    x / length.clamp_min(SHORTEST)
}

pub(crate) fn unit3(x: Tensor<3>) -> Tensor<3> {
    let length = x.clone().square().sum_dim(2).sqrt();
    x / length.clamp_min(SHORTEST)
}

/// The mean of tokens.
pub(crate) fn mean(x: Tensor<3>) -> Tensor<2> {
    let [batch, _, width] = x.dims();
    x.mean_dim(1).reshape([batch, width])
}
