//! Encoders of texts with published weights, and which texts say something else.

use std::path::Path;

use purkinje_models::checkpoint::read_safetensors;
use purkinje_models::layers::{Context, Weights};
use purkinje_models::text::{TextConfig, TextIds};
use purkinje_text::neighbours::{least_similar, normalise};
use purkinje_text::{TextBatch, Tokenizer};
use serde_json::Value;

use crate::network::values;
use crate::reporter::{Reporter, go_on};
use crate::{Device, Error, Result};

/// Texts of one pass.
const TEXTS: usize = 64;
/// Texts are cut to this many word pieces, as D-BETA's program cuts those of its index.
const LONGEST: usize = 256;

/// An encoder of texts in a folder as Hugging Face lays it out: T5 of version 1.1 or BERT, with its tokenizer.
pub struct TextEncoder {
    config: TextConfig,
    weights: Weights,
    /// What the names of the weights begin with.
    prefix: String,
    tokenizer: Tokenizer,
    device: Device,
}

impl TextEncoder {
    /// Reads `config.json`, `model.safetensors` and `tokenizer.json` of a folder.
    ///
    /// # Errors
    /// When a file is missing or of another kind of network, a weight is missing or has another shape, or the tokenizer has more word pieces
    /// than the network.
    pub fn open(folder: &Path, device: &Device) -> Result<Self> {
        let fail = |problem: String| {
            Error::invalid(format!("the text encoder `{}`: {problem}", folder.display())).with_help(
                "expected a folder with `config.json`, `model.safetensors` and `tokenizer.json` of a BERT or a T5 of version 1.1",
            )
        };
        let stated = std::fs::read(folder.join("config.json"))
            .map_err(|error| fail(format!("cannot read `config.json`: {error}")))?;
        let stated: Value = serde_json::from_slice(&stated)
            .map_err(|error| fail(format!("`config.json`: {error}")))?;
        let config = TextConfig::from_published(&stated).map_err(&fail)?;
        let (stored, _) = read_safetensors(&folder.join("model.safetensors"))?;
        let expected = config.parameters("");
        // Checkpoints of whole models put the name of the part in front.
        let first = expected.first().map_or("", |(name, _)| name.as_str());
        let names = stored.iter().map(|(name, _)| name);
        let prefixes = names.filter_map(|name| name.strip_suffix(first));
        let prefix = prefixes
            .min_by_key(|prefix| prefix.len())
            .ok_or_else(|| fail(format!("`model.safetensors` has no `{first}`")))?
            .to_owned();
        let mut weights = Weights::default();
        for (name, tensor) in stored {
            weights.insert(name, &tensor.shape, tensor.data, device.inner());
        }
        weights
            .require(&config.parameters(&prefix))
            .map_err(|error| fail(error.to_string()))?;
        let tokenizer = Tokenizer::read(&folder.join("tokenizer.json"))?;
        let (largest, rows) = (tokenizer.largest_id() as usize, config.vocabulary());
        if largest >= rows {
            return Err(fail(format!(
                "its tokenizer has ids up to {largest}, its table {rows} rows"
            )));
        }
        Ok(TextEncoder {
            tokenizer: tokenizer.cut_to(LONGEST)?,
            config,
            weights,
            prefix,
            device: device.clone(),
        })
    }

    /// Numbers of a vector.
    pub fn width(&self) -> usize {
        self.config.width()
    }

    /// A vector of length 1 for each text `[texts, width]`: the mean over its word pieces, the same alone and among others.
    ///
    /// # Errors
    /// When the tokenizer cannot read a text, or a stop was requested.
    pub fn vectors(&self, texts: &[&str], reporter: &dyn Reporter) -> Result<Vec<f32>> {
        let ids = texts.iter().map(|text| self.tokenizer.ids(text));
        let ids: Vec<Vec<u32>> = ids.collect::<Result<_, _>>()?;
        let ctx = Context::inference(self.device.inner());
        let progress = reporter.begin("read texts", ids.len(), "texts");
        let found = each_alone(&ids, self.tokenizer.pad(), self.width(), |texts| {
            go_on(reporter)?;
            progress.add(texts.ids.len() / texts.length.max(1));
            let states = self
                .config
                .states(&self.weights, &self.prefix, texts, true, &ctx);
            values(states.mean_dim(1))
        });
        progress.finish();
        let mut vectors = found?;
        normalise(&mut vectors, self.width());
        Ok(vectors)
    }

    /// For each text the `k` others that are least similar to it, from the least on; fewer where there are fewer. The texts are distinct.
    ///
    /// # Errors
    /// As [`TextEncoder::vectors`].
    pub fn least_similar(
        &self,
        texts: &[&str],
        k: usize,
        reporter: &dyn Reporter,
    ) -> Result<Vec<Vec<u32>>> {
        let vectors = self.vectors(texts, reporter)?;
        let progress = reporter.begin("compare texts", texts.len(), "texts");
        let mut least = Vec::with_capacity(texts.len());
        let width = self.width();
        for queries in vectors.chunks(1024 * width.max(1)) {
            go_on(reporter)?;
            let found = least_similar(&vectors, queries, width, k + 1);
            progress.add(found.len());
            for found in found {
                let own = least.len();
                let others = found
                    .iter()
                    .map(|found| found.row)
                    .filter(|&row| row != own);
                least.push(others.take(k).map(|row| row as u32).collect());
            }
        }
        progress.finish();
        Ok(least)
    }
}

/// The vectors `[texts, width]` that `run` gives texts of one length: none has padding, so that each is as if it were alone.
pub(crate) fn each_alone(
    ids: &[Vec<u32>],
    pad: u32,
    width: usize,
    mut run: impl FnMut(&TextIds) -> Result<Vec<f32>>,
) -> Result<Vec<f32>> {
    let mut order: Vec<usize> = (0..ids.len()).collect();
    order.sort_by_key(|&at| ids[at].len());
    let mut vectors = vec![0.0; ids.len() * width];
    for same in order.chunk_by(|&a, &b| ids[a].len() == ids[b].len()) {
        for some in same.chunks(TEXTS) {
            let own: Vec<Vec<u32>> = some.iter().map(|&at| ids[at].clone()).collect();
            let batch = TextBatch::new(&own, pad);
            let found = run(&TextIds {
                ids: batch.ids,
                real: batch.real,
                length: batch.length,
            })?;
            for (&at, vector) in some.iter().zip(found.chunks_exact(width)) {
                vectors[at * width..(at + 1) * width].copy_from_slice(vector);
            }
        }
    }
    Ok(vectors)
}
