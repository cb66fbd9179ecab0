//! Encoders of texts with published weights, and which texts say something else.

use std::path::{Path, PathBuf};

use purkinje_models::checkpoint::read_safetensors;
use purkinje_models::encoder::Encoder;
use purkinje_models::layers::{Context, Parameter, Weights};
use purkinje_models::text::{TextConfig, TextIds};
use purkinje_text::neighbours::{least_similar, normalise};
use purkinje_text::{TextBatch, Tokenizer};
use serde_json::Value;

use crate::model::hash_of;
use crate::network::values;
use crate::reporter::{Reporter, go_on};
use crate::{Device, Error, Result};

/// Texts of one pass.
const TEXTS: usize = 64;
/// Texts are cut to this many word pieces, as D-BETA's program cuts those of its index.
const LONGEST: usize = 256;
/// The files of an encoder.
const FILES: [&str; 2] = ["config.json", "model.safetensors"];

/// An encoder of texts in a folder as Hugging Face lays it out: T5 of version 1.1 or BERT, with its tokenizer.
pub struct TextEncoder {
    config: TextConfig,
    weights: Weights,
    /// What the names of the weights begin with.
    prefix: String,
    /// Word pieces of the longest text.
    longest: usize,
    /// Cuts texts.
    tokenizer: Tokenizer,
    /// Does not.
    whole: Tokenizer,
    device: Device,
    folder: PathBuf,
}

/// An error in the folder of a text encoder.
fn fail(folder: &Path, problem: String) -> Error {
    Error::invalid(format!("the text encoder `{}`: {problem}", folder.display())).with_help(
        "expected a folder with `config.json`, `model.safetensors` and `tokenizer.json` of a BERT or a T5 of version 1.1",
    )
}

/// A network with the encoder of texts of a folder in place of its own, whose names begin with `prefix`; as it is where no folder is
/// named.
///
/// # Errors
/// As [`TextEncoder::open`].
pub(crate) fn start_from<E: Encoder>(
    folder: &str,
    network: E,
    prefix: &str,
    device: &Device,
) -> Result<E> {
    if folder.is_empty() {
        return Ok(network);
    }
    let mut weights = network.weights().clone();
    TextEncoder::open(Path::new(folder), device)?.put_into(&mut weights, prefix);
    Ok(network.with_weights(weights))
}

impl TextEncoder {
    /// The sizes that `config.json` of a folder states.
    ///
    /// # Errors
    /// When it cannot be read, or is of another kind of network.
    pub fn sizes(folder: &Path) -> Result<TextConfig> {
        let fail = |problem| fail(folder, problem);
        let stated = std::fs::read(folder.join("config.json"))
            .map_err(|error| fail(format!("cannot read `config.json`: {error}")))?;
        let stated: Value = serde_json::from_slice(&stated)
            .map_err(|error| fail(format!("`config.json`: {error}")))?;
        TextConfig::from_published(&stated).map_err(fail)
    }

    /// Reads `config.json`, `model.safetensors` and `tokenizer.json` of a folder.
    ///
    /// # Errors
    /// When a file is missing or of another kind of network, a weight is missing or has another shape, or the tokenizer has more word pieces
    /// than the network.
    pub fn open(folder: &Path, device: &Device) -> Result<Self> {
        let fail = |problem| fail(folder, problem);
        let config = Self::sizes(folder)?;
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
        let tokenizer = Tokenizer::read(folder)?;
        let (largest, rows) = (tokenizer.largest_id() as usize, config.vocabulary());
        if largest >= rows {
            return Err(fail(format!(
                "its tokenizer has ids up to {largest}, its table {rows} rows"
            )));
        }
        let longest = config.positions().unwrap_or(LONGEST).min(LONGEST);
        Ok(TextEncoder {
            tokenizer: tokenizer.cut_to(longest)?,
            longest,
            whole: tokenizer,
            folder: std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()),
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

    /// Puts its weights in the place of those of a network, where their names begin with `prefix`.
    fn put_into(&self, weights: &mut Weights, prefix: &str) {
        let own: Vec<Parameter> = self
            .weights
            .iter()
            .filter_map(|own| {
                let name = own.name.strip_prefix(self.prefix.as_str())?;
                let name = format!("{prefix}{name}");
                let there = weights.parameter(&name)?;
                (there.shape == own.shape).then(|| Parameter {
                    name,
                    ..own.clone()
                })
            })
            .collect();
        for parameter in own {
            weights.put(parameter);
        }
    }

    /// The folder it was read from, as an absolute path where there is one.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// BLAKE3 of its files.
    ///
    /// # Errors
    /// When they cannot be read any more.
    pub fn hash(&self) -> Result<String> {
        hash_of(&FILES.map(|name| self.folder.join(name)))
    }

    /// A vector of length 1 for each text `[texts, width]`: the mean over its word pieces, the same alone and among others.
    ///
    /// # Errors
    /// When the tokenizer cannot read a text, or a stop was requested.
    pub fn vectors(&self, texts: &[&str], reporter: &dyn Reporter) -> Result<Vec<f32>> {
        let progress = reporter.begin("read texts", texts.len(), "texts");
        let (vectors, _) = self.each(texts, |count| {
            progress.add(count);
            go_on(reporter)
        })?;
        progress.finish();
        Ok(vectors)
    }

    /// The same, and how many texts were cut because they are longer than 256 word pieces; calls `go` before each pass with its number of
    /// texts.
    pub(crate) fn each(
        &self,
        texts: &[&str],
        go: impl Fn(usize) -> Result<()>,
    ) -> Result<(Vec<f32>, usize)> {
        let (ids, cut) = self.ids(texts)?;
        let mut vectors = each_alone(&ids, self.tokenizer.pad(), self.width(), |texts| {
            go(texts.size())?;
            self.means(texts)
        })?;
        normalise(&mut vectors, self.width());
        Ok((vectors, cut))
    }

    /// The same in batches of `size` texts in their order, each a mean over its padding too, as D-BETA's program computes those of its index.
    ///
    /// # Errors
    /// As [`TextEncoder::vectors`], and what `go` returns.
    pub fn batched(
        &self,
        texts: &[&str],
        size: usize,
        go: impl Fn(usize) -> Result<()>,
    ) -> Result<(Vec<f32>, usize)> {
        let (ids, cut) = self.ids(texts)?;
        let mut vectors = Vec::with_capacity(texts.len() * self.width());
        for ids in ids.chunks(size.max(1)) {
            go(ids.len())?;
            vectors.extend(self.means(&text_ids(ids, self.tokenizer.pad()))?);
        }
        normalise(&mut vectors, self.width());
        Ok((vectors, cut))
    }

    /// Word pieces, and how many texts were cut.
    fn ids(&self, texts: &[&str]) -> Result<(Vec<Vec<u32>>, usize)> {
        let ids = texts.iter().map(|text| self.tokenizer.ids(text));
        let ids: Vec<Vec<u32>> = ids.collect::<Result<_, _>>()?;
        let full = ids
            .iter()
            .zip(texts)
            .filter(|(ids, _)| ids.len() >= self.longest);
        let cut = full.filter(|(ids, text)| {
            let whole = self.whole.ids(text);
            whole.is_ok_and(|whole| whole.len() > ids.len())
        });
        let cut = cut.count();
        Ok((ids, cut))
    }

    /// The mean of the states of each text over all places of the batch `[texts, width]`.
    fn means(&self, texts: &TextIds) -> Result<Vec<f32>> {
        let ctx = Context::inference(self.device.inner());
        let states = self
            .config
            .states(&self.weights, &self.prefix, texts, true, &ctx);
        values(states.mean_dim(1))
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

/// A batch for a network.
fn text_ids(ids: &[Vec<u32>], pad: u32) -> TextIds {
    let TextBatch { ids, real, length } = TextBatch::new(ids, pad);
    TextIds { ids, real, length }
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
            let found = run(&text_ids(&own, pad))?;
            for (&at, vector) in some.iter().zip(found.chunks_exact(width)) {
                vectors[at * width..(at + 1) * width].copy_from_slice(vector);
            }
        }
    }
    Ok(vectors)
}

#[cfg(test)]
pub(crate) mod tests {
    use purkinje_models::random::Stream;
    use purkinje_models::text::BertConfig;
    use purkinje_text::train::{Marks, train};

    use super::*;
    use crate::reporter::Silent;

    /// A small BERT with random weights, written to a folder as Hugging Face lays it out.
    pub(crate) fn tiny_encoder(folder: &Path) -> TextEncoder {
        std::fs::create_dir_all(folder).unwrap();
        let texts = ["sinus rhythm", "atrial fibrillation", "normal ecg", "block"];
        let tokenizer = train(&texts.map(str::to_owned), 60, Marks::End).unwrap();
        let config = TextConfig::Bert(BertConfig {
            vocab_size: 64,
            hidden_size: 16,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            intermediate_size: 32,
            ..BertConfig::default()
        });
        let mut weights = Weights::default();
        for (name, shape) in config.parameters("") {
            let values = config.initial(&name, &shape, &mut Stream::new(3, &name));
            let values = values.iter().map(|x| 20.0 * x).collect();
            weights.insert(name, &shape, values, Device::cpu().inner());
        }
        let at = |name: &str| folder.join(name);
        std::fs::write(at("config.json"), serde_json::to_vec(&config).unwrap()).unwrap();
        std::fs::write(at("tokenizer.json"), tokenizer.json()).unwrap();
        purkinje_train::checkpoint::save_weights(&at("model.safetensors"), &weights, 0).unwrap();
        TextEncoder::open(folder, &Device::cpu()).unwrap()
    }

    #[test]
    fn vectors_do_not_depend_on_other_texts() {
        let folder = tempfile::tempdir().unwrap();
        let encoder = tiny_encoder(folder.path());
        let texts = ["block", "sinus rhythm. normal ecg. block. block", "normal"];
        let all = encoder.vectors(&texts, &Silent).unwrap();
        for (text, vector) in texts.iter().zip(all.chunks_exact(16)) {
            assert_eq!(encoder.vectors(&[text], &Silent).unwrap(), vector);
        }
        let (padded, _) = encoder.batched(&texts, 3, |_| Ok(())).unwrap();
        assert_ne!(padded[..16], all[..16]);
        assert_eq!(padded[16..32], all[16..32]);
    }

    #[test]
    fn folders_of_others_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        drop(tiny_encoder(folder.path()));
        let path = folder.path().join("config.json");
        let config = std::fs::read_to_string(&path).unwrap();
        for (from, to, problem) in [
            ("\"bert\"", "\"gpt2\"", "of the type `gpt2`, expected t5"),
            ("\"hidden_size\":16", "\"hidden_size\":18", "shape"),
            ("\"vocab_size\":64", "\"vocab_size\":9", "shape"),
        ] {
            assert!(config.contains(from), "{config}");
            std::fs::write(&path, config.replace(from, to)).unwrap();
            let error = TextEncoder::open(folder.path(), &Device::cpu());
            let error = error.err().unwrap().to_string();
            assert!(error.contains(problem), "{error}");
        }
        std::fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
        std::fs::write(&path, config).unwrap();
        let error = TextEncoder::open(folder.path(), &Device::cpu());
        let error = error.err().unwrap().to_string();
        assert!(error.contains("tokenizer.json"), "{error}");
    }
}
