//! D-BETA: recordings and their reports, pre-trained together; one vector for a recording, one for a text.

mod finetune;
mod import;
pub mod objective;
mod pretrain;

use std::fmt;

use burn::Tensor;
use burn::tensor::Device;
use purkinje_models::compat::Compat;
use purkinje_models::dbeta::{self, DbetaBatch, DbetaClassifier, DbetaConfig, Part, Pool};
use purkinje_models::layers::{Context, WeightError, Weights};
use purkinje_models::paired::Signal;
use purkinje_models::random::Stream;
use purkinje_models::text::TextIds;
use purkinje_signal::{Prepared, Preprocess};
use purkinje_store::Store;
use purkinje_text::clean;
use purkinje_train::TrainError;
use purkinje_train::source::StoreSignals;
use serde::{Deserialize, Serialize};

use super::leads::SignalCutter;
use super::{of_part, whole};
use crate::Result;
use crate::network::values;
use crate::system::{About, Level, LevelVectors, Rows, Sight, Size, System};

/// Word pieces of the longest text.
const LONGEST: usize = 512;

/// D-BETA (ICML 2025).
pub struct Dbeta;

/// A classification head: a linear layer on the vector of a recording, or on the mean of its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Head {
    /// On the vector.
    #[serde(rename = "linear")]
    Linear,
    /// On the mean of the tokens.
    #[serde(rename = "linear-mean")]
    LinearMean,
}

impl Head {
    fn pool(self) -> Pool {
        match self {
            Head::Linear => Pool::Feature,
            Head::LinearMean => Pool::Mean,
        }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Head::Linear => "linear",
            Head::LinearMean => "linear-mean",
        })
    }
}

impl System for Dbeta {
    type Config = DbetaConfig;
    type Encoder = dbeta::Dbeta;
    type Head = Head;
    type Classifier = DbetaClassifier;

    const ABOUT: About = About {
        name: "dbeta",
        title: "D-BETA",
        summary: "masked recordings and reports, and which belong together",
        sizes: &[
            Size {
                name: "tiny",
                parameters: "2.5 M",
            },
            Size {
                name: "small",
                parameters: "15 M",
            },
            Size {
                name: "base",
                parameters: "321 M",
            },
        ],
        heads: &["linear", "linear-mean"],
        frozen_heads: &["linear"],
        levels: &[Level::Recording, Level::Token],
        head_levels: &[],
        features: &[],
        crops: false,
        preset: "d-beta",
        other_presets: &["d-beta-100"],
    };

    const LINEAR: &'static str = dbeta::LINEAR;

    fn size(name: &str) -> Option<DbetaConfig> {
        DbetaConfig::size(name)
    }

    fn validate(config: &DbetaConfig) -> Result<(), String> {
        config.validate()
    }

    fn compat(config: &DbetaConfig) -> Compat {
        config.compat
    }

    /// Padding reaches the encoder of texts in the released program.
    fn with_compat(config: DbetaConfig, compat: Compat) -> DbetaConfig {
        let paper = compat == Compat::Paper;
        let learned = |own: bool| own && paper;
        DbetaConfig {
            compat,
            text_mask: paper,
            normalise: learned(config.normalise),
            learned_scale: learned(config.learned_scale),
            learned_bias: learned(config.learned_bias),
            ..config
        }
    }

    fn config(encoder: &dbeta::Dbeta) -> &DbetaConfig {
        encoder.config()
    }

    /// Without the parts that the weights lack.
    fn encoder(config: DbetaConfig, weights: Weights) -> Result<dbeta::Dbeta, WeightError> {
        let has = |root: &str| weights.iter().any(|own| own.name.starts_with(root));
        let part = match (
            has("ecg_encoder."),
            has("language_encoder."),
            has("mim_head."),
        ) {
            (true, false, _) => Part::Ecg,
            (false, true, _) => Part::Text,
            (true, true, false) => Part::Vectors,
            _ => config.part,
        };
        let config = DbetaConfig { part, ..config };
        let whole = DbetaConfig {
            part: Part::All,
            ..config.clone()
        };
        let weights = of_part(&weights, config.parameters(), whole.parameters());
        dbeta::Dbeta::new(config, weights)
    }

    fn random(config: DbetaConfig, seed: u64, device: &Device) -> dbeta::Dbeta {
        dbeta::Dbeta::random(config, seed, device)
    }

    /// What gives vectors of recordings.
    fn kept_with_head(config: &DbetaConfig) -> Vec<(String, Vec<usize>)> {
        config.ecg_parameters()
    }

    fn head(name: &str) -> Option<Head> {
        match name {
            "linear" => Some(Head::Linear),
            "linear-mean" => Some(Head::LinearMean),
            _ => None,
        }
    }

    fn head_parameters(_: Head, width: usize, outputs: usize) -> Vec<(String, Vec<usize>)> {
        DbetaClassifier::parameters(width, outputs)
    }

    /// Xavier-uniform, as the framework of the original does it.
    fn initialise_head(
        _: Head,
        weights: &mut Weights,
        width: usize,
        outputs: usize,
        seed: u64,
        device: &Device,
    ) {
        let bound = (6.0 / (width + outputs) as f64).sqrt();
        let mut stream = Stream::new(seed, "head");
        for (name, shape) in DbetaClassifier::parameters(width, outputs) {
            let count = shape.iter().product();
            let data = match shape.len() {
                1 => vec![0.0; count],
                _ => (0..count)
                    .map(|_| ((2.0 * stream.uniform() - 1.0) * bound) as f32)
                    .collect(),
            };
            weights.insert(name, &shape, data, device);
        }
    }

    fn classifier(
        encoder: dbeta::Dbeta,
        head: Head,
        outputs: usize,
    ) -> Result<DbetaClassifier, WeightError> {
        DbetaClassifier::new(encoder, head.pool(), outputs)
    }

    fn see(
        _: &dbeta::Dbeta,
        prepared: &Prepared,
        contract: &Preprocess,
        _: usize,
    ) -> Result<Vec<Signal>, String> {
        whole(cutter(contract), prepared)
    }

    fn rows<'a>(
        _: &dbeta::Dbeta,
        store: &'a Store,
        rows: Vec<usize>,
        contract: &Preprocess,
        _: Compat,
        _: u64,
    ) -> Result<Rows<'a, dbeta::Dbeta>, TrainError> {
        let cutter = cutter(contract)?;
        Ok(Box::new(StoreSignals::new(store, rows, contract, cutter)?))
    }

    fn alike(a: &Signal, b: &Signal) -> bool {
        a.samples.len() == b.samples.len()
    }

    fn embed(
        encoder: &dbeta::Dbeta,
        batch: &DbetaBatch,
        sights: &[&Sight<Signal>],
        level: Level,
        ctx: &Context,
    ) -> Result<LevelVectors> {
        if level != Level::Token {
            let vectors = values(encoder.ecg_vectors(batch, ctx))?;
            return Ok(LevelVectors::of_recordings(vectors, sights.len()));
        }
        let states = encoder.ecg_states(batch, None, ctx);
        let tokens = states.dims()[1] - 1;
        // Convolutions without padding: a token begins at its first sample.
        let strides = encoder.config().ecg.convolutions.iter();
        let stride = strides.map(|own| own.stride).product();
        let vectors = values(states.narrow(1, 1, tokens))?;
        Ok(LevelVectors::of_tokens(vectors, tokens, stride, sights))
    }

    fn table_of_words(encoder: &dbeta::Dbeta) -> Option<usize> {
        let config = encoder.config();
        (config.part != Part::Ecg).then(|| config.text.vocabulary())
    }

    /// As much as the published tokenizer allows and the table of positions has, if there is one.
    fn longest_text(encoder: &dbeta::Dbeta) -> usize {
        encoder
            .config()
            .text
            .positions()
            .unwrap_or(LONGEST)
            .min(LONGEST)
    }

    fn clean_text(encoder: &dbeta::Dbeta, text: &str) -> String {
        cleaned(encoder.config().compat, text)
    }

    fn text_vectors(encoder: &dbeta::Dbeta, texts: &TextIds, ctx: &Context) -> Option<Tensor<2>> {
        Self::table_of_words(encoder).map(|_| encoder.text_vectors(texts, ctx))
    }

    fn similarity(
        encoder: &dbeta::Dbeta,
        recordings: Tensor<2>,
        texts: Tensor<2>,
        ctx: &Context,
    ) -> Option<Tensor<2>> {
        Self::table_of_words(encoder).map(|_| encoder.similarity(recordings, texts, ctx))
    }
}

/// Fewer leads than twelve in the places of the published order (aVF before aVL).
fn cutter(contract: &Preprocess) -> Result<SignalCutter, TrainError> {
    SignalCutter::new(contract, &Preprocess::d_beta().leads, None)
}

/// A report or a prompt as networks read it: as the program did when its published weights were trained, or cleaned of what machines put
/// around statements. `docs/differences.md` has both.
fn cleaned(compat: Compat, text: &str) -> String {
    match compat {
        Compat::Released => clean::d_beta_released(text),
        Compat::Paper => clean::d_beta(text).trim().to_owned(),
    }
}
