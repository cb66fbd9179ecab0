//! What a writer starts from: its tokenizer, its sizes, and weights if there are some.

use purkinje_models::checkpoint::read_safetensors;
use purkinje_models::layers::Weights;
use purkinje_models::text::{Gpt2Config, R2GenConfig};
use purkinje_models::writing::DecoderConfig;
use purkinje_text::train::{Marks, train as train_tokenizer};
use purkinje_text::{Tokenizer, has_tokenizer};
use serde::{Deserialize, Serialize};

use super::TrainOptions;
use crate::keys::joined;
use crate::model::Model;
use crate::{Error, Result};

/// Rows of the table of word pieces of a random decoder.
const VOCABULARY: usize = 2048;

/// Which decoder writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecoderKind {
    /// A GPT-2 whose layers attend to the recording.
    #[default]
    Gpt2,
    /// The decoder of R2Gen, whose norms follow a memory of what was written.
    R2Gen,
}

/// The tokenizer, the sizes of the decoder, and its weights if it starts from some.
pub(super) fn start(
    options: &TrainOptions,
    texts: &[String],
    others: &[String],
    model: &Model,
) -> Result<(Tokenizer, DecoderConfig, Option<Weights>)> {
    if let Some(folder) = &options.decoder_model {
        if options.decoder != DecoderKind::Gpt2 {
            return Err(Error::invalid(
                "`--decoder-model` is the folder of a GPT-2; leave it out, or give `--decoder gpt2`",
            ));
        }
        let fail = |problem: String| {
            Error::invalid(format!("the decoder `{}`: {problem}", folder.display())).with_help(
                "expected a folder with `config.json`, `model.safetensors` and the tokenizer (`tokenizer.json`, or `vocab.json` and `merges.txt`) of a GPT-2",
            )
        };
        if !has_tokenizer(folder) {
            return Err(fail("it has no tokenizer".to_owned()));
        }
        let stated = std::fs::read(folder.join("config.json"))
            .map_err(|error| fail(format!("cannot read `config.json`: {error}")))?;
        let stated: serde_json::Value = serde_json::from_slice(&stated)
            .map_err(|error| fail(format!("`config.json`: {error}")))?;
        let published = Gpt2Config::from_published(&stated).map_err(fail)?;
        let tokenizer = Tokenizer::read(folder)?;
        let decoder = Gpt2Config {
            vocab_size: published
                .vocab_size
                .max(tokenizer.largest_id() as usize + 1),
            add_cross_attention: true,
            ..published
        };
        check_length(options, decoder.n_positions)?;
        let (stored, _) = read_safetensors(&folder.join("model.safetensors"))?;
        let mut weights = Weights::default();
        for (name, tensor) in stored {
            // Files of the model without its last layer leave the first part of names out.
            let name = match name.starts_with("transformer.") || name.starts_with("lm_head.") {
                true => name,
                false => format!("transformer.{name}"),
            };
            weights.insert(name, &tensor.shape, tensor.data, model.device().inner());
        }
        return Ok((tokenizer, DecoderConfig::Gpt2(decoder), Some(weights)));
    }
    let all: Vec<String> = texts.iter().chain(others).cloned().collect();
    let tokenizer = train_tokenizer(&all, VOCABULARY, Marks::Both)?;
    let size = |sizes: [(&str, [usize; 3]); 3]| {
        let found = sizes.iter().find(|(name, _)| *name == options.size);
        found.map(|(_, size)| *size).ok_or_else(|| {
            Error::invalid(format!(
                "`--decoder-size {}`: expected {}",
                options.size,
                joined(sizes.iter().map(|(name, _)| *name), ", ")
            ))
        })
    };
    let rows = tokenizer.largest_id() as usize + 1;
    let positions = options.max_tokens.max(2);
    let decoder = match options.decoder {
        DecoderKind::Gpt2 => {
            let [n_layer, n_embd, n_head] = size([
                ("tiny", [2, 32, 2]),
                ("small", [4, 128, 4]),
                ("distil", [6, 768, 12]),
            ])?;
            DecoderConfig::Gpt2(Gpt2Config {
                vocab_size: rows,
                n_positions: positions,
                n_embd,
                n_layer,
                n_head,
                add_cross_attention: true,
                ..Gpt2Config::default()
            })
        }
        DecoderKind::R2Gen => {
            let [layers, width, heads] = size([
                ("tiny", [1, 32, 2]),
                ("small", [3, 128, 4]),
                ("published", [3, 512, 8]),
            ])?;
            DecoderConfig::R2Gen(R2GenConfig {
                vocabulary: rows,
                features: width,
                width,
                inner: width,
                heads,
                memory_heads: heads,
                layers,
                positions,
                ..R2GenConfig::default()
            })
        }
    };
    check_length(options, positions)?;
    Ok((tokenizer, decoder, None))
}

fn check_length(options: &TrainOptions, positions: usize) -> Result<()> {
    match (2..=positions).contains(&options.max_tokens) {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "`--max-tokens {}`: expected 2 to {positions}, the positions of the decoder",
            options.max_tokens
        ))),
    }
}
