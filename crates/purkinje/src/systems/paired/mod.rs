//! What systems have in common that compare recordings and their reports in one space: everything but the network itself. Each such
//! system is a [`Family`].

mod finetune;
mod import;
mod objective;
mod pretrain;
mod settings;

use std::fmt;
use std::marker::PhantomData;

use burn::Tensor;
use burn::tensor::Device;
use purkinje_models::compat::Compat;
use purkinje_models::layers::{Context, WeightError, Weights};
use purkinje_models::paired::{
    LINEAR, PairClassifier, PairConfig, Paired, Part, Pool, Signal, Signals, cosines,
};
use purkinje_models::random::Stream;
use purkinje_models::text::TextIds;
use purkinje_signal::{Prepared, Preprocess};
use purkinje_store::Store;
use purkinje_train::TrainError;
use purkinje_train::source::StoreSignals;
use serde::{Deserialize, Serialize};

pub use self::settings::{PairOwn, Settings};
use super::leads::SignalCutter;
use super::{of_part, whole};
use crate::Result;
use crate::keys::Key;
use crate::network::values;
use crate::system::{About, Level, LevelVectors, Rows, Sight, System};

/// One of these systems.
pub trait Family: Send + Sync + 'static {
    /// Its network.
    type Network: Paired;

    /// What it is.
    const ABOUT: About;

    /// Published names of the encoders of recordings it can have.
    const ENCODERS: &'static [&'static str];

    /// Its published fine-tuning recipes: name and text.
    const RECIPES: &'static [(&'static str, &'static str)];

    /// The configuration of a size, given by name.
    fn size(name: &str) -> Option<ConfigOf<Self>>;

    /// Settings of pre-training that only this one has.
    fn keys() -> Vec<Key<PairOwn<ConfigOf<Self>>>>;

    /// The same configuration with another vector of a recording, by its name among [`About::features`].
    fn with_feature(config: ConfigOf<Self>, name: &str) -> Option<ConfigOf<Self>> {
        let _ = (config, name);
        None
    }
}

/// The configuration of the network of a family.
pub type ConfigOf<F> = <<F as Family>::Network as Paired>::Config;

/// The system of a family.
pub struct PairSystem<F: ?Sized>(PhantomData<fn() -> F>);

/// A classification head: a linear layer on the vector of a recording, or on the mean over time of what its encoder gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Head {
    /// On the vector.
    #[serde(rename = "linear")]
    Linear,
    /// On the mean over time, without the space of texts.
    #[serde(rename = "linear-average")]
    LinearAverage,
}

/// Names of the heads.
pub const HEADS: &[&str] = &["linear", "linear-average"];

impl Head {
    fn pool(self) -> Pool {
        match self {
            Head::Linear => Pool::Vector,
            Head::LinearAverage => Pool::Average,
        }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Head::Linear => HEADS[0],
            Head::LinearAverage => HEADS[1],
        })
    }
}

impl<F: Family> System for PairSystem<F> {
    type Config = ConfigOf<F>;
    type Encoder = F::Network;
    type Head = Head;
    type Classifier = PairClassifier<F::Network>;

    const ABOUT: About = F::ABOUT;

    const LINEAR: &'static str = LINEAR;

    fn size(name: &str) -> Option<ConfigOf<F>> {
        F::size(name)
    }

    fn validate(config: &ConfigOf<F>) -> Result<(), String> {
        config.validate()
    }

    fn compat(config: &ConfigOf<F>) -> Compat {
        *config.clone().compat()
    }

    fn with_compat(mut config: ConfigOf<F>, compat: Compat) -> ConfigOf<F> {
        *config.compat() = compat;
        config
    }

    /// Networks read recordings of one length; a transformer has as many patches as it had.
    fn for_contract(mut config: ConfigOf<F>, contract: &Preprocess) -> ConfigOf<F> {
        if let Some(samples) = contract.samples().filter(|own| own != config.samples()) {
            *config.samples() = samples;
            // What fits was there before.
            let _ = config.set_encoder(config.encoder());
        }
        config
    }

    fn config(encoder: &F::Network) -> &ConfigOf<F> {
        encoder.config()
    }

    /// Without the parts that the weights lack.
    fn encoder(mut config: ConfigOf<F>, weights: Weights) -> Result<F::Network, WeightError> {
        let has = |entries: &[(String, Vec<usize>)]| {
            entries
                .iter()
                .all(|(name, _)| weights.parameter(name).is_some())
        };
        let part = [Part::All, Part::Vectors, Part::Ecg, Part::Encoder]
            .into_iter()
            .find(|&part| {
                *config.part() = part;
                has(&config.entries())
            });
        // Where even the encoder is incomplete the error names what is missing.
        *config.part() = part.unwrap_or(Part::All);
        let mut whole = config.clone();
        *whole.part() = Part::All;
        let weights = of_part(&weights, config.entries(), whole.entries());
        F::Network::with(config, weights)
    }

    fn random(config: ConfigOf<F>, seed: u64, device: &Device) -> F::Network {
        F::Network::random(config, seed, device)
    }

    /// What gives vectors of recordings.
    fn kept_with_head(config: &ConfigOf<F>) -> Vec<(String, Vec<usize>)> {
        let mut config = config.clone();
        if *config.part() != Part::Encoder {
            *config.part() = Part::Ecg;
        }
        config.entries()
    }

    fn head(name: &str) -> Option<Head> {
        match name {
            "linear" => Some(Head::Linear),
            "linear-average" => Some(Head::LinearAverage),
            _ => None,
        }
    }

    fn head_width(encoder: &F::Network, head: Head) -> usize {
        use purkinje_models::encoder::Encoder as _;
        match head {
            Head::Linear => encoder.width(),
            Head::LinearAverage => encoder.config().encoder().channels(),
        }
    }

    fn head_parameters(_: Head, width: usize, outputs: usize) -> Vec<(String, Vec<usize>)> {
        PairClassifier::<F::Network>::parameters(width, outputs)
    }

    /// Uniform within one over the root of the inputs, as the framework of the originals does it.
    fn initialise_head(
        _: Head,
        weights: &mut Weights,
        width: usize,
        outputs: usize,
        seed: u64,
        device: &Device,
    ) {
        let bound = 1.0 / (width as f64).sqrt();
        let mut stream = Stream::new(seed, "head");
        for (name, shape) in PairClassifier::<F::Network>::parameters(width, outputs) {
            let count: usize = shape.iter().product();
            let draws = (0..count).map(|_| ((2.0 * stream.uniform() - 1.0) * bound) as f32);
            weights.insert(name, &shape, draws.collect(), device);
        }
    }

    fn classifier(
        encoder: F::Network,
        head: Head,
        outputs: usize,
    ) -> Result<PairClassifier<F::Network>, WeightError> {
        PairClassifier::new(encoder, head.pool(), outputs)
    }

    fn see(
        encoder: &F::Network,
        prepared: &Prepared,
        contract: &Preprocess,
        _: usize,
    ) -> Result<Vec<Signal>, String> {
        whole(cutter(contract, samples_of(encoder)), prepared)
    }

    fn rows<'a>(
        encoder: &F::Network,
        store: &'a Store,
        rows: Vec<usize>,
        contract: &Preprocess,
        _: Compat,
        _: u64,
    ) -> Result<Rows<'a, F::Network>, TrainError> {
        let cutter = cutter(contract, samples_of(encoder))?;
        Ok(Box::new(StoreSignals::new(store, rows, contract, cutter)?))
    }

    fn alike(a: &Signal, b: &Signal) -> bool {
        a.samples.len() == b.samples.len()
    }

    fn levels(_: Option<Head>) -> Vec<Level> {
        F::ABOUT.levels.to_vec()
    }

    fn embed(
        encoder: &F::Network,
        batch: &Signals,
        sights: &[&Sight<Signal>],
        level: Level,
        ctx: &Context,
    ) -> Result<LevelVectors> {
        use purkinje_models::encoder::Encoder as _;
        let tokens = match level {
            Level::Token => encoder.token_vectors(batch, ctx),
            _ => None,
        };
        let Some(tokens) = tokens else {
            let vectors = values(encoder.vectors(batch, ctx))?;
            return Ok(LevelVectors::of_recordings(vectors, sights.len()));
        };
        // The stretch of a token begins where the centre of its convolutions lies.
        let (count, stride) = (tokens.dims()[1], encoder.token_stride());
        Ok(LevelVectors::of_tokens(
            values(tokens)?,
            count,
            stride,
            sights,
        ))
    }

    fn with_feature(config: ConfigOf<F>, name: &str) -> Option<ConfigOf<F>> {
        F::with_feature(config, name)
    }

    fn table_of_words(encoder: &F::Network) -> Option<usize> {
        let config = encoder.config();
        matches!(*config.clone().part(), Part::All | Part::Vectors)
            .then(|| config.text().vocabulary())
    }

    fn longest_text(encoder: &F::Network) -> usize {
        *encoder.config().clone().text_tokens()
    }

    fn clean_text(_: &F::Network, text: &str) -> String {
        cleaned(text)
    }

    fn text_vectors(encoder: &F::Network, texts: &TextIds, ctx: &Context) -> Option<Tensor<2>> {
        Self::table_of_words(encoder).map(|_| encoder.text_vectors(texts, ctx))
    }

    /// Cosines.
    fn similarity(
        encoder: &F::Network,
        recordings: Tensor<2>,
        texts: Tensor<2>,
        ctx: &Context,
    ) -> Option<Tensor<2>> {
        Self::table_of_words(encoder).map(|_| cosines(recordings, texts, ctx))
    }
}

/// Twelve leads as they come, fewer in the places of the published order, of the length that a network reads.
fn cutter(contract: &Preprocess, samples: usize) -> Result<SignalCutter, TrainError> {
    SignalCutter::new(contract, &Preprocess::deri().leads, Some(samples))
}

/// Samples of a lead that a network reads.
fn samples_of<N: Paired>(encoder: &N) -> usize {
    *encoder.config().clone().samples()
}

/// A report or a prompt as networks read it: lower case, its lines joined. The published texts are so already; prompts are made so by
/// the published programs.
fn cleaned(text: &str) -> String {
    let text = text.replace(['\n', '\r', '\t'], " ");
    text.trim().to_lowercase()
}
