//! Hyper-parameters of CLEAR, and the choices in which paper and released program differ.

pub use purkinje_signal::beats::{BEATS_PER_LEAD as BEATS, TOKEN_SAMPLES};
use serde::{Deserialize, Serialize};

pub use crate::compat::Compat;

/// Leads of the full model, one CLS token each.
pub const LEADS: usize = 12;
/// Rows of the lead and time tables.
pub const TABLE_ROWS: usize = 16;

/// What the CLS tokens of the encoder may attend to (see `docs/differences.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EncoderMask {
    /// Everything: the first public revision.
    None,
    /// Everything, with 1 added to the logits outside a window: the current program.
    Additive,
    /// Itself and the kept tokens of its own lead: the view-guided mask of the paper.
    Boolean,
}

/// Which neighbouring beats the token embedding includes (see `docs/differences.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenContext {
    /// Both neighbours in the lead-major sequence, masked or not, across leads and wrapping around the end: the
    /// program.
    Circular,
    /// The neighbouring beats of the same lead that are kept.
    Kept,
    /// Only the beat itself.
    Own,
}

/// Hyper-parameters of a CLEAR encoder and decoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClearConfig {
    /// Encoder width D.
    pub embed_dim: usize,
    /// Encoder layers.
    pub depth: usize,
    /// Encoder heads.
    pub heads: usize,
    /// Width of the feed-forward layers of encoder and decoder.
    pub mlp_dim: usize,
    /// Decoder width.
    pub decoder_embed_dim: usize,
    /// Decoder layers; 0 for a model without decoder.
    pub decoder_depth: usize,
    /// Decoder heads.
    pub decoder_heads: usize,
    /// Dropout probability at attention weights and after attention, ReLU and feed-forward.
    pub dropout: f32,
    /// Fraction of tokens masked in pre-training.
    pub mask_ratio: f64,
    /// Paper or released program; sets the defaults of the fields below.
    pub compat: Compat,
    /// Encoder mask.
    pub encoder_mask: EncoderMask,
    /// Token embedding.
    pub token_context: TokenContext,
    /// Each record draws its own mask (paper), or the batch shares one (program).
    pub mask_per_record: bool,
    /// Empty beat slots are left out of attention and loss instead of counting as heartbeats (see `docs/differences.md`).
    pub skip_padding: bool,
}

impl ClearConfig {
    /// CLEAR base: 12 layers of width 768.
    pub fn base() -> Self {
        ClearConfig {
            embed_dim: 768,
            depth: 12,
            heads: 8,
            mlp_dim: 1024,
            decoder_embed_dim: 512,
            decoder_depth: 4,
            decoder_heads: 16,
            dropout: 0.1,
            mask_ratio: 0.8,
            compat: Compat::Paper,
            encoder_mask: EncoderMask::Boolean,
            token_context: TokenContext::Kept,
            mask_per_record: true,
            skip_padding: false,
        }
    }

    /// CLEAR_large: 24 layers of width 1024 in encoder and decoder.
    pub fn large() -> Self {
        ClearConfig {
            embed_dim: 1024,
            depth: 24,
            heads: 16,
            decoder_embed_dim: 1024,
            decoder_depth: 24,
            ..Self::base()
        }
    }

    /// 2.28 M parameters; two cores pre-train it in minutes.
    pub fn tiny() -> Self {
        ClearConfig {
            embed_dim: 192,
            depth: 6,
            heads: 6,
            mlp_dim: 384,
            decoder_embed_dim: 128,
            decoder_depth: 2,
            decoder_heads: 4,
            ..Self::base()
        }
    }

    /// The named size, or `None`.
    pub fn size(name: &str) -> Option<Self> {
        match name {
            "tiny" => Some(Self::tiny()),
            "base" => Some(Self::base()),
            "large" => Some(Self::large()),
            _ => None,
        }
    }

    /// The same sizes with the choices of the paper or of the released program.
    pub fn with_compat(self, compat: Compat) -> Self {
        match compat {
            Compat::Paper => ClearConfig {
                compat,
                encoder_mask: EncoderMask::Boolean,
                token_context: TokenContext::Kept,
                mask_per_record: true,
                ..self
            },
            Compat::Released => ClearConfig {
                compat,
                encoder_mask: EncoderMask::Additive,
                token_context: TokenContext::Circular,
                mask_per_record: false,
                skip_padding: false,
                ..self
            },
        }
    }

    /// Checks that the configuration is valid.
    ///
    /// # Errors
    /// A message that names the field.
    pub fn validate(&self) -> Result<(), String> {
        let positive = [
            ("embed_dim", self.embed_dim),
            ("depth", self.depth),
            ("heads", self.heads),
            ("mlp_dim", self.mlp_dim),
            ("decoder_embed_dim", self.decoder_embed_dim),
            ("decoder_heads", self.decoder_heads),
        ];
        for (field, value) in positive {
            if value == 0 {
                return Err(format!("`{field}` is 0; expected at least 1"));
            }
        }
        for (width, heads, value, count) in [
            ("embed_dim", "heads", self.embed_dim, self.heads),
            (
                "decoder_embed_dim",
                "decoder_heads",
                self.decoder_embed_dim,
                self.decoder_heads,
            ),
        ] {
            if value % count != 0 {
                return Err(format!(
                    "`{width}` ({value}) is not a multiple of `{heads}` ({count})"
                ));
            }
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(format!(
                "`dropout` is {}; expected 0 <= p < 1",
                self.dropout
            ));
        }
        if !(0.0..1.0).contains(&self.mask_ratio) {
            return Err(format!(
                "`mask_ratio` is {}; expected 0 <= ratio < 1",
                self.mask_ratio
            ));
        }
        Ok(())
    }

    /// Number of `tokens` tokens that stay visible at the mask ratio: truncated in double precision, as the program
    /// does (35 of 180 at 0.8).
    pub fn kept(&self, tokens: usize) -> usize {
        ((tokens as f64) * (1.0 - self.mask_ratio)) as usize
    }

    /// Every parameter of encoder and decoder with its shape, in state-dict order.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let (d, dd) = (self.embed_dim, self.decoder_embed_dim);
        let positions = LEADS + LEADS * BEATS;
        let mut all: Vec<(String, Vec<usize>)> = [
            ("cls_token", vec![LEADS, d]),
            ("mask_token", vec![1, 1, dd]),
            ("pos_embed", vec![1, positions, d]),
            ("decoder_pos_embed", vec![1, positions, dd]),
            ("token_embed.tokenConv.weight", vec![d, TOKEN_SAMPLES, 3]),
            ("spa_embed.embed.weight", vec![TABLE_ROWS, d]),
            ("tem_embed.embed.weight", vec![TABLE_ROWS, d]),
        ]
        .map(|(name, shape)| (name.to_owned(), shape))
        .into();
        self.stack(&mut all, "encoder_transformer", self.depth, d);
        self.stack(&mut all, "decoder_transformer", self.decoder_depth, dd);
        all.extend(
            [
                ("decoder_embed.weight", vec![dd, d]),
                ("decoder_embed.bias", vec![dd]),
                ("norm_layer.weight", vec![d]),
                ("norm_layer.bias", vec![d]),
                ("decoder_norm.weight", vec![dd]),
                ("decoder_norm.bias", vec![dd]),
                ("decoder_pred.weight", vec![TOKEN_SAMPLES, dd]),
                ("decoder_pred.bias", vec![TOKEN_SAMPLES]),
            ]
            .map(|(name, shape)| (name.to_owned(), shape)),
        );
        all
    }

    fn stack(&self, all: &mut Vec<(String, Vec<usize>)>, name: &str, depth: usize, width: usize) {
        for i in 0..depth {
            for (part, shape) in [
                ("self_attn.in_proj_weight", vec![3 * width, width]),
                ("self_attn.in_proj_bias", vec![3 * width]),
                ("self_attn.out_proj.weight", vec![width, width]),
                ("self_attn.out_proj.bias", vec![width]),
                ("norm1.weight", vec![width]),
                ("norm1.bias", vec![width]),
                ("ff.0.weight", vec![self.mlp_dim, width]),
                ("ff.0.bias", vec![self.mlp_dim]),
                ("ff.3.weight", vec![width, self.mlp_dim]),
                ("ff.3.bias", vec![width]),
                ("norm2.weight", vec![width]),
                ("norm2.bias", vec![width]),
            ] {
                all.push((format!("{name}.layers.{i}.{part}"), shape));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(config: &ClearConfig) -> usize {
        let sizes = config.parameters();
        sizes.iter().map(|(_, s)| s.iter().product::<usize>()).sum()
    }

    #[test]
    fn parameter_counts_are_the_published_ones() {
        assert_eq!(count(&ClearConfig::base()), 56_639_072);
        assert_eq!(count(&ClearConfig::large()), 304_367_712);
        assert_eq!(ClearConfig::base().parameters().len(), 207);
        assert_eq!(ClearConfig::large().parameters().len(), 591);
    }

    #[test]
    fn kept_tokens_are_truncated_in_double_precision() {
        for (ratio, kept) in [
            (0.8, 35),
            (0.9, 17),
            (0.75, 45),
            (0.5, 90),
            (0.55, 80),
            (0.0, 180),
        ] {
            let config = ClearConfig {
                mask_ratio: ratio,
                ..ClearConfig::base()
            };
            assert_eq!(config.kept(180), kept, "{ratio}");
        }
    }

    #[test]
    fn impossible_sizes_are_named() {
        let odd = ClearConfig {
            heads: 5,
            ..ClearConfig::base()
        };
        assert!(odd.validate().unwrap_err().contains("`embed_dim` (768)"));
    }
}
