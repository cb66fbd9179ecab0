//! CLEAR's published files.

use purkinje_models::checkpoint::{Layout, Stage};
use purkinje_models::clear::ClearConfig;
use purkinje_models::hug::Head;

use super::Clear;
use crate::import::Imports;
use crate::keys::{Key, key};

impl Imports for Clear {
    type Layout = Layout;

    const PUBLISHED_PRESET: &'static str = "clear-mimic";

    const IMPORT_KEYS: &'static [Key<ClearConfig>] = &[key!(
        "mask",
        "encoder mask of the program that made the checkpoint: none (first revision), additive (current) or boolean (paper)",
        config.encoder_mask
    )];

    fn published_network(
        layout: &Layout,
        heads: usize,
        decoder_heads: Option<usize>,
    ) -> (ClearConfig, Option<(Head, usize)>) {
        let base = ClearConfig::base();
        let config = ClearConfig {
            embed_dim: layout.embed_dim,
            depth: layout.depth,
            heads,
            mlp_dim: layout.mlp_dim,
            decoder_embed_dim: layout.decoder_embed_dim,
            decoder_depth: layout.decoder_depth,
            decoder_heads: decoder_heads.unwrap_or(base.decoder_heads),
            ..base
        };
        let head = match layout.stage {
            Stage::Pretrain => None,
            Stage::Linear => Some(Head::Linear),
            Stage::Hug => Some(Head::Hug),
        };
        (config, head.zip(layout.classes))
    }

    /// Experts stand with the classifier, and not before the last norms as in published files.
    fn held_order(config: &ClearConfig, head: Option<(Head, usize)>) -> Option<Vec<String>> {
        let mut all = config.parameters();
        if let Some((head, outputs)) = head {
            all.extend(head.parameters(config.embed_dim, outputs));
        }
        Some(all.into_iter().map(|(name, _)| name).collect())
    }

    fn published_layout(config: &ClearConfig, head: Option<(Head, usize)>) -> Layout {
        Layout {
            stage: match head {
                None => Stage::Pretrain,
                Some((Head::Linear, _)) => Stage::Linear,
                Some((Head::Hug, _)) => Stage::Hug,
            },
            embed_dim: config.embed_dim,
            depth: config.depth,
            mlp_dim: config.mlp_dim,
            decoder_embed_dim: config.decoder_embed_dim,
            decoder_depth: config.decoder_depth,
            classes: head.map(|(_, outputs)| outputs),
        }
    }
}
