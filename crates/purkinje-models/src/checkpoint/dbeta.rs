//! The published names of D-BETA: the parameters of a network, and detection of the network in a file.

use std::borrow::Cow;

use super::shapes::Shapes;
use super::system::{Facts, Published};
use super::{CheckpointError, StateDict};
use crate::dbeta::{Convolutions, DbetaClassifier, DbetaConfig, LINEAR, Part};
use crate::text::TextConfig;

const SYSTEM: &str = "D-BETA";
/// What names of a network begin with, whatever a wrapper puts in front.
const ROOTS: [&str; 9] = [
    "class_embedding",
    "ecg_encoder.",
    "language_encoder.",
    "multi_modal_",
    "modality_type_embeddings.",
    "unimodal_",
    "mlm_head.",
    "mim_head.",
    "itm_head.",
];
/// The table of word pieces, and its second name.
const TABLE: &str = "language_encoder.shared.weight";
const TABLE_AGAIN: &str = "language_encoder.encoder.embed_tokens.weight";
/// Ends of the names of the positional kernel's two tensors: newer, as published.
const WEIGHT_NORM: [(&str, &str); 2] = [
    (".parametrizations.weight.original0", ".weight_g"),
    (".parametrizations.weight.original1", ".weight_v"),
];

/// The structure of a D-BETA network, from shapes and configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct DbetaLayout {
    /// Sizes from the shapes; what is not visible in them from the configuration, or as published.
    pub config: DbetaConfig,
    /// Outputs of a linear layer on its vectors.
    pub outputs: Option<usize>,
}

impl Published for DbetaLayout {
    const REPEATED: &'static [(&'static str, &'static str)] = &[(TABLE, TABLE_AGAIN)];

    fn recognises(name: &str) -> bool {
        let name = bare(name);
        // Other systems have an `ecg_encoder` too, of other parts.
        let own = [
            "ecg_encoder.encoder.",
            "ecg_encoder.feature_extractor.",
            "ecg_encoder.conv_pos.",
            "multi_modal_",
            "unimodal_",
            "mim_head.",
        ];
        own.iter().any(|root| name.starts_with(root))
    }

    fn tidied(found: StateDict) -> StateDict {
        let table = found.names().any(|name| bare(name) == TABLE);
        if table {
            return found;
        }
        let named = |(name, tensor): (String, _)| match bare(&name) {
            TABLE_AGAIN => (TABLE.to_owned(), tensor),
            _ => (name, tensor),
        };
        found.into_iter().map(named).collect()
    }

    fn read(found: &StateDict, facts: &Facts) -> Result<Self, CheckpointError> {
        let unknown = |problem: String| CheckpointError::UnknownLayout {
            system: SYSTEM,
            tensors: found.len(),
            problem,
        };
        let stated = DbetaConfig::from_published(&facts.config).map_err(unknown)?;
        let read = Shapes::new(found, Self::canonical);
        let config = read.config(stated, facts).map_err(unknown)?;
        config.validate().map_err(unknown)?;
        Ok(DbetaLayout {
            outputs: read.first(&format!("{LINEAR}bias")),
            config,
        })
    }

    fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let mut all = self.config.parameters();
        if let Some(outputs) = self.outputs {
            all.extend(DbetaClassifier::parameters(self.config.hidden, outputs));
        }
        all
    }

    fn canonical(name: &str) -> Cow<'_, str> {
        let name = bare(name);
        for (newer, published) in WEIGHT_NORM {
            if let Some(stem) = name.strip_suffix(newer) {
                return Cow::Owned(format!("{stem}{published}"));
            }
        }
        Cow::Borrowed(name)
    }

    fn published(&self, name: &str) -> String {
        name.to_owned()
    }

    fn heads(&self, _: &Facts) -> Result<(usize, Option<usize>), CheckpointError> {
        Ok((self.config.ecg.heads, None))
    }
}

/// A name without what a wrapper puts in front.
fn bare(name: &str) -> &str {
    let starts = std::iter::once(0).chain(name.match_indices('.').map(|(at, _)| at + 1));
    for start in starts {
        let rest = &name[start..];
        if ROOTS.iter().any(|root| rest.starts_with(root)) {
            return rest;
        }
    }
    name
}

/// What shapes say.
trait DbetaShapes {
    fn config(&self, stated: DbetaConfig, facts: &Facts) -> Result<DbetaConfig, String>;
    fn text(&self, stated: &TextConfig) -> Result<TextConfig, String>;
}

impl DbetaShapes for Shapes<'_> {
    fn config(&self, stated: DbetaConfig, facts: &Facts) -> Result<DbetaConfig, String> {
        let mut config = stated;
        let (ecg, text) = (self.has("ecg_encoder."), self.has("language_encoder."));
        config.part = match (ecg, text, self.has("mim_head.")) {
            (true, true, true) => Part::All,
            (true, true, false) => Part::Vectors,
            (true, false, _) => Part::Ecg,
            (false, true, _) => Part::Text,
            (false, false, _) => {
                return Err("neither an encoder of recordings nor one of texts".into());
            }
        };
        let stated_heads = |own: &str| {
            let model = facts
                .config
                .get("model")
                .and_then(|model| model.as_object());
            model.unwrap_or(&facts.config).contains_key(own)
        };
        // 64 wide, as in every published part.
        let heads = |stated: usize, is_stated: bool, width: usize| match is_stated {
            true => stated,
            false => (width / 64).max(1),
        };
        if ecg {
            let own = &mut config.ecg;
            own.width = self.shape("class_embedding", 1)?[0];
            own.layers = self.numbered("ecg_encoder.encoder.layers.");
            own.feed_forward = self.shape("ecg_encoder.encoder.layers.0.fc1.weight", 2)?[0];
            let is_stated = stated_heads("encoder_attention_heads");
            own.heads = facts
                .heads
                .unwrap_or(heads(own.heads, is_stated, own.width));
            let position = self.shape("ecg_encoder.conv_pos.pos_conv.0.weight_v", 3)?;
            own.position_kernel = position[2];
            if !own.width.is_multiple_of(position[1]) {
                return Err(format!(
                    "groups of {} channels do not divide the width {}",
                    position[1], own.width
                ));
            }
            own.position_groups = own.width / position[1];
            let blocks = self.numbered("ecg_encoder.feature_extractor.conv_layers.");
            let strides: Vec<usize> = own.convolutions.iter().map(|conv| conv.stride).collect();
            own.convolutions = (0..blocks)
                .map(|i| {
                    let name = format!("ecg_encoder.feature_extractor.conv_layers.{i}.0.weight");
                    let kernel = self.shape(&name, 3)?;
                    Ok(Convolutions {
                        channels: kernel[0],
                        kernel: kernel[2],
                        stride: strides.get(i).copied().unwrap_or(kernel[2]),
                    })
                })
                .collect::<Result<_, String>>()?;
            config.hidden = self.shape("multi_modal_ecg_proj.weight", 2)?[0];
        }
        if text {
            config.text = self.text(&config.text)?;
            config.hidden = self.shape("multi_modal_language_proj.weight", 2)?[0];
        }
        let is_stated = stated_heads("num_heads");
        config.fusion_heads = heads(config.fusion_heads, is_stated, config.hidden);
        if config.part == Part::All {
            config.fusion_layers = self.numbered("multi_modal_ecg_layers.");
            let up = "multi_modal_ecg_layers.0.intermediate.dense.weight";
            config.fusion_feed_forward = self.shape(up, 2)?[0];
            config.vocabulary = self.shape("mlm_head.bias", 1)?[0];
            config.decoder_width = self.shape("mim_head.decoder_embed.weight", 2)?[0];
            config.decoder_layers = self.numbered("mim_head.decoder.resblocks.");
            let is_stated = stated_heads("mem_decoder_num_heads");
            config.decoder_heads = heads(config.decoder_heads, is_stated, config.decoder_width);
        }
        // What was never stated of a smaller network may not fit it.
        config.signal_layer = config
            .signal_layer
            .min(config.fusion_layers as i64 - 1)
            .max(-1);
        if config.part != Part::All && !config.hidden.is_multiple_of(config.fusion_heads) {
            config.fusion_heads = 1;
        }
        config.learned_scale = self.contains("ets_head.log_scale");
        config.learned_bias = self.contains("ets_head.bias");
        Ok(config)
    }

    fn text(&self, stated: &TextConfig) -> Result<TextConfig, String> {
        let mut text = stated.clone();
        match &mut text {
            TextConfig::T5(own) => {
                let table = self.shape(TABLE, 2)?;
                (own.vocab_size, own.d_model) = (table[0], table[1]);
                own.num_layers = self.numbered("language_encoder.encoder.block.");
                let layer = "language_encoder.encoder.block.0.layer";
                let bias = format!("{layer}.0.SelfAttention.relative_attention_bias.weight");
                let bias = self.shape(&bias, 2)?;
                (own.relative_attention_num_buckets, own.num_heads) = (bias[0], bias[1]);
                let inner = self.shape(&format!("{layer}.0.SelfAttention.q.weight"), 2)?[0];
                own.d_kv = inner / own.num_heads;
                let up = format!("{layer}.1.DenseReluDense.wi_0.weight");
                own.d_ff = self.shape(&up, 2)?[0];
            }
            TextConfig::Bert(own) => {
                let embeddings = "language_encoder.embeddings";
                let table = self.shape(&format!("{embeddings}.word_embeddings.weight"), 2)?;
                (own.vocab_size, own.hidden_size) = (table[0], table[1]);
                own.num_hidden_layers = self.numbered("language_encoder.encoder.layer.");
                let places = format!("{embeddings}.position_embeddings.weight");
                own.max_position_embeddings = self.shape(&places, 2)?[0];
            }
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrappers_and_newer_names_are_seen_through() {
        for (name, own) in [
            (
                "model.ecg_encoder.layer_norm.weight",
                "ecg_encoder.layer_norm.weight",
            ),
            ("class_embedding", "class_embedding"),
            (
                "module.net.unimodal_ecg_pooler.dense.bias",
                "unimodal_ecg_pooler.dense.bias",
            ),
            (
                "ecg_encoder.conv_pos.pos_conv.0.parametrizations.weight.original1",
                "ecg_encoder.conv_pos.pos_conv.0.weight_v",
            ),
            ("proj.weight", "proj.weight"),
        ] {
            assert_eq!(DbetaLayout::canonical(name), own);
        }
        assert!(DbetaLayout::recognises("x.mim_head.mask_token"));
        assert!(!DbetaLayout::recognises("encoder.layers.0.fc1.weight"));
    }
}
