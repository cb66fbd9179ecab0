//! Encoders of texts with the weights and texts that the peer made, and exact search among vectors.

use std::hint::black_box;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use purkinje::reporter::Silent;
use purkinje::text_encoder::TextEncoder;
use purkinje_models::layers::{Context, Weights};
use purkinje_models::text::{TextConfig, TextIds};
use purkinje_text::neighbours::least_similar;

use crate::Result;
use crate::exchange::{Answer, Shared, shown};
use crate::worker::Row;

/// Hidden states of texts.
pub struct Encode {
    config: TextConfig,
    weights: Weights,
    texts: TextIds,
    device: Device,
}

impl Encode {
    /// The encoder and texts of row `name`.
    pub fn new(name: &str, exchange: &Path) -> Result<Self> {
        let device = Device::flex();
        let config = std::fs::read(exchange.join(format!("{name}.config.json")))?;
        let config = serde_json::from_slice(&config)?;
        let config = TextConfig::from_published(&config)?;
        let weights = Shared::weights(name, exchange, &device)?;
        weights.require(&config.parameters(""))?;
        let shared = Shared::batch(name, exchange)?;
        let (ids, real) = (shared.integers_as("ids")?, shared.integers("real")?);
        let texts = TextIds {
            length: ids.len() / usize::try_from(shared.integers("size")?[0])?,
            ids,
            real: real.iter().map(|real| *real == 1).collect(),
        };
        Ok(Encode {
            config,
            weights,
            texts,
            device,
        })
    }

    fn states(&self) -> Result<(Vec<usize>, Vec<f32>)> {
        let ctx = Context::inference(&self.device);
        shown(
            self.config
                .states(&self.weights, "", &self.texts, true, &ctx),
        )
    }
}

impl Row for Encode {
    fn answer(&mut self) -> Result<Answer> {
        let (shape, states) = self.states()?;
        Ok(Answer::default().f32("states", &shape, &states))
    }

    fn run(&mut self) -> Result<()> {
        black_box(self.states()?);
        Ok(())
    }
}

/// Vectors of report-like texts.
pub struct Corpus {
    encoder: TextEncoder,
    texts: Vec<String>,
}

impl Corpus {
    /// The texts of row `name`; the encoder is that in the folder `PURKINJE_TEXT_MODELS`.
    pub fn new(name: &str, exchange: &Path) -> Result<Self> {
        let folder = std::env::var_os("PURKINJE_TEXT_MODELS")
            .ok_or("PURKINJE_TEXT_MODELS names no folder")?;
        let texts = std::fs::read_to_string(exchange.join(format!("{name}.texts.txt")))?;
        Ok(Corpus {
            encoder: TextEncoder::open(&PathBuf::from(folder), &purkinje::Device::cpu())?,
            texts: texts.lines().map(str::to_owned).collect(),
        })
    }

    fn vectors(&self) -> Result<Vec<f32>> {
        let texts: Vec<&str> = self.texts.iter().map(String::as_str).collect();
        Ok(self.encoder.vectors(&texts, &Silent)?)
    }
}

impl Row for Corpus {
    fn answer(&mut self) -> Result<Answer> {
        let vectors = self.vectors()?;
        let shape = [self.texts.len(), self.encoder.width()];
        Ok(Answer::default().f32("vectors", &shape, &vectors))
    }

    fn run(&mut self) -> Result<()> {
        black_box(self.vectors()?);
        Ok(())
    }
}

/// The 64 rows least similar to each query.
pub struct LeastSimilar {
    rows: Vec<f32>,
    queries: Vec<f32>,
    width: usize,
}

impl LeastSimilar {
    /// The rows and queries of row `name`.
    pub fn new(name: &str, exchange: &Path) -> Result<Self> {
        let shared = Shared::batch(name, exchange)?;
        let (shape, rows) = shared.f32("rows")?;
        Ok(LeastSimilar {
            rows,
            queries: shared.f32("queries")?.1,
            width: shape[1],
        })
    }
}

impl Row for LeastSimilar {
    fn answer(&mut self) -> Result<Answer> {
        let found = least_similar(&self.rows, &self.queries, self.width, 64);
        let products: Vec<f32> = found.iter().flatten().map(|found| found.product).collect();
        Ok(Answer::default().f32("products", &[found.len(), 64], &products))
    }

    fn run(&mut self) -> Result<()> {
        black_box(least_similar(&self.rows, &self.queries, self.width, 64));
        Ok(())
    }
}
