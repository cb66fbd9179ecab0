//! The part of published report models that writes: its sizes from shapes, its parameters under the names of a writer.

use std::borrow::Cow;

use serde_json::Value;

use super::StateDict;
use super::report::Mapped;
use super::shapes::Shapes;
use crate::text::{Gpt2Config, R2GenConfig};
use crate::writing::{DecoderConfig, WriterConfig};

/// What the map from a vector to the width of the decoder is called.
const HEAD: &str = "encoder.head.";
/// What names of a GPT-2 begin with.
const GPT2: &str = "decoder.encoder_decoder.decoder.";
/// What names of an R2Gen begin with.
const R2GEN: &str = "encoder_decoder.";

/// The writer of a file.
#[derive(Clone, Debug)]
pub struct FileWriter {
    /// Its sizes.
    pub config: WriterConfig,
    /// Its parameters under the names of a writer.
    pub state: StateDict,
    /// Where each of them stands in the file.
    pub mapped: Vec<Mapped>,
}

/// The writer of a file, if there is one. Attention heads and probabilities of dropout leave no trace in it: those of a GPT-2 are as `stated`
/// by the `config.json` that it started from, those of R2Gen as published; without `stated` heads are 64 wide.
///
/// # Errors
/// A sentence that names what does not fit.
pub fn published_writer(
    found: &StateDict,
    stated: Option<&Value>,
) -> Result<Option<FileWriter>, String> {
    let own = |name: &str| {
        let name = name.strip_prefix("module.").unwrap_or(name);
        if let Some(rest) = name.strip_prefix(HEAD) {
            return Some(format!("head.{rest}"));
        }
        // The published file holds the table of tokens a second time.
        let rest = name.strip_prefix(GPT2).or(name.strip_prefix(R2GEN))?;
        (!rest.starts_with("lm_head.")).then(|| format!("decoder.{rest}"))
    };
    let named = found
        .iter()
        .filter_map(|(name, tensor)| Some((own(name)?, tensor.clone())));
    let state: StateDict = named.collect();
    let shapes = Shapes::new(&state, |name| Cow::Borrowed(name));
    let decoder = if shapes.has("decoder.transformer.") {
        let table = shapes.shape("decoder.transformer.wte.weight", 2)?;
        let stated = stated.map(Gpt2Config::from_published).transpose()?;
        let published = stated.unwrap_or_else(|| Gpt2Config {
            n_head: (table[1] / 64).max(1),
            ..Gpt2Config::default()
        });
        DecoderConfig::Gpt2(Gpt2Config {
            vocab_size: table[0],
            n_embd: table[1],
            n_positions: shapes.shape("decoder.transformer.wpe.weight", 2)?[0],
            n_layer: shapes.numbered("decoder.transformer.h."),
            add_cross_attention: true,
            ..published
        })
    } else if shapes.has("decoder.att_embed.") {
        let features = shapes.shape("decoder.att_embed.0.weight", 2)?;
        let norm = "decoder.model.decoder.layers.0.sublayer.0.norm.mlp_gamma.0.weight";
        let inner = "decoder.model.encoder.layers.0.feed_forward.w_1.weight";
        DecoderConfig::R2Gen(R2GenConfig {
            vocabulary: shapes.shape("decoder.logit.weight", 2)?[0],
            features: features[1],
            width: features[0],
            inner: shapes.shape(inner, 2)?[0],
            layers: shapes.numbered("decoder.model.decoder.layers."),
            slots: shapes.shape(norm, 2)?[1] / features[0],
            ..R2GenConfig::default()
        })
    } else {
        return Ok(None);
    };
    let config = WriterConfig {
        width: shapes.shape("head.weight", 2)?[1],
        decoder,
    };
    config.validate()?;
    let needed = config.entries();
    let missing = needed.iter().find(|(name, shape)| !shapes.is(name, shape));
    if let Some((name, shape)) = missing {
        return Err(format!(
            "the part that writes has no `{name}` of the shape {shape:?}"
        ));
    }
    let needed = |name: &str| needed.iter().any(|(own, _)| own == name);
    let mapped = found.iter().filter_map(|(theirs, tensor)| {
        let ours = own(theirs).filter(|ours| needed(ours))?;
        Some(Mapped {
            theirs: theirs.to_owned(),
            ours,
            shape: tensor.shape.clone(),
        })
    });
    Ok(Some(FileWriter {
        config: config.clone(),
        mapped: mapped.collect(),
        state: state.into_iter().filter(|(name, _)| needed(name)).collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::NamedTensor;

    fn file(config: &WriterConfig, decoder: &str) -> StateDict {
        let named = config.entries().into_iter().map(|(name, shape)| {
            let data = vec![0.5; shape.iter().product()];
            let name = match name.strip_prefix("head.") {
                Some(rest) => format!("module.{HEAD}{rest}"),
                None => format!("module.{decoder}{}", &name["decoder.".len()..]),
            };
            (name, NamedTensor { shape, data })
        });
        named.collect()
    }

    #[test]
    fn sizes_of_writers_are_read_from_shapes() {
        let gpt2 = Gpt2Config {
            vocab_size: 13,
            n_positions: 10,
            n_embd: 128,
            n_layer: 2,
            n_head: 2,
            add_cross_attention: true,
            ..Gpt2Config::default()
        };
        let r2gen = R2GenConfig {
            vocabulary: 13,
            features: 24,
            width: 32,
            inner: 10,
            layers: 2,
            slots: 2,
            ..R2GenConfig::default()
        };
        for (decoder, root) in [
            (DecoderConfig::Gpt2(gpt2), GPT2),
            (DecoderConfig::R2Gen(r2gen), R2GEN),
        ] {
            let config = WriterConfig { width: 6, decoder };
            let whole = file(&config, root);
            let found = published_writer(&whole, None).unwrap().unwrap();
            assert_eq!(found.config, config);
            assert_eq!(found.state.names().count(), config.entries().len());
            assert_eq!(found.mapped.len(), config.entries().len());
            assert!(found.mapped.iter().all(|own| whole.contains(&own.theirs)));
            let part = whole.into_iter();
            let part = part
                .filter(|(name, _)| !name.ends_with("head.bias"))
                .collect();
            let error = published_writer(&part, None).unwrap_err();
            assert!(error.contains("`head.bias`"), "{error}");
        }
        assert!(
            published_writer(&StateDict::default(), None)
                .unwrap()
                .is_none()
        );
    }
}
