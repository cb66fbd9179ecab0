//! Hyper-parameters, and the names and shapes of all entries.

use serde::{Deserialize, Serialize};

use crate::compat::Compat;
use crate::layers::ResNetConfig;
use crate::layers::vit1d::{attention_entries, gated_entries};
use crate::paired::{
    ECG, EcgEncoder, Entries, Learned, PairConfig, Part, Small, pair_fields, projection_entries,
};
use crate::text::{BertConfig, TextConfig};

/// Entries beside tokens where separators stand in front of them and behind them.
const FRAME: usize = 2;

/// A decoder from the tokens of one modality to those of the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecoderConfig {
    /// Width inside gated layers.
    pub inner: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of a head.
    pub head_width: usize,
    /// Probability of dropout in the first and the last layer.
    pub dropout: f32,
    /// Probability with which a branch of the last block is left out; it grows from 0 over the blocks.
    pub drop_path: f32,
}

impl Default for DecoderConfig {
    /// As published.
    fn default() -> Self {
        DecoderConfig {
            inner: 256,
            depth: 2,
            heads: 8,
            head_width: 64,
            dropout: 0.2,
            drop_path: 0.1,
        }
    }
}

impl DecoderConfig {
    /// Probability with which a branch of block `number` is left out.
    pub fn drop_path_of(&self, number: usize) -> f32 {
        match self.depth {
            0 | 1 => 0.0,
            depth => self.drop_path * number as f32 / (depth - 1) as f32,
        }
    }

    /// Entries of the decoder `name` for `tokens` of `width`, to `out`.
    fn entries(
        &self,
        name: &str,
        tokens: usize,
        width: usize,
        out: usize,
    ) -> Vec<(String, Vec<usize>)> {
        let mut all = vec![
            (
                format!("{name}.pos_embedding"),
                vec![1, tokens + FRAME, width],
            ),
            (format!("{name}.sep_embedding"), vec![width]),
        ];
        all.extend(gated_entries(
            &format!("{name}.to_patch"),
            width,
            self.inner,
            width,
        ));
        for i in 0..self.depth {
            let block = format!("{name}.block{i}");
            all.extend(attention_entries(
                &format!("{block}.attn"),
                width,
                self.heads * self.head_width,
            ));
            all.push((format!("{block}.ff.norm.weight"), vec![width]));
            all.push((format!("{block}.ff.norm.bias"), vec![width]));
            all.extend(gated_entries(
                &format!("{block}.ff.fn"),
                width,
                self.inner,
                width,
            ));
        }
        all.push((format!("{name}.norm.weight"), vec![width]));
        all.push((format!("{name}.norm.bias"), vec![width]));
        all.extend(gated_entries(
            &format!("{name}.head"),
            width,
            self.inner,
            out,
        ));
        all
    }
}

/// What the vector of a recording is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Feature {
    /// The mean of the aligned tokens and the text decoded from them.
    #[default]
    Mix,
    /// The mean of the aligned tokens alone.
    Align,
}

/// The whole network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeriConfig {
    /// The encoder of recordings.
    pub ecg: ResNetConfig,
    /// Samples of a lead.
    pub samples: usize,
    /// The encoder of texts.
    pub text: TextConfig,
    /// Which of its layers learn.
    pub text_learns: Learned,
    /// Word pieces of the longest text.
    pub text_tokens: usize,
    /// Width of recordings, texts and both together.
    pub width: usize,
    /// Width inside the projection of texts.
    pub text_inner: usize,
    /// Attention heads over all tokens.
    pub heads: usize,
    /// Attention heads over those that are left.
    pub masked_heads: usize,
    /// The share of tokens that is left out.
    pub mask_ratio: f64,
    /// Both decoders.
    pub decoder: DecoderConfig,
    /// Whether texts are decoded from the tokens and a separator behind them, as in pre-training, or from the tokens alone, as in the
    /// released probe.
    pub separator: bool,
    /// What the vector of a recording is.
    pub feature: Feature,
    /// What cosines are divided by in losses.
    pub temperature: f64,
    /// Which parts there are.
    pub part: Part,
    /// Whether it follows the paper or the released program.
    pub compat: Compat,
}

impl Default for DeriConfig {
    /// As published.
    fn default() -> Self {
        DeriConfig {
            ecg: ResNetConfig::default(),
            samples: 5000,
            text: TextConfig::Bert(BertConfig::default()),
            text_learns: Learned::None,
            text_tokens: 256,
            width: 256,
            text_inner: 256,
            heads: 4,
            masked_heads: 2,
            mask_ratio: 0.1,
            decoder: DecoderConfig::default(),
            separator: true,
            feature: Feature::Mix,
            temperature: 0.07,
            part: Part::All,
            compat: Compat::Paper,
        }
    }
}

impl DeriConfig {
    /// Tokens of a recording: every third time step of the encoder's output.
    pub fn tokens(&self) -> usize {
        self.ecg.output_length(self.samples).div_ceil(3)
    }

    /// Tokens that are left in a view.
    pub fn kept(&self) -> usize {
        (self.tokens() as f64 * (1.0 - self.mask_ratio)) as usize
    }

    /// The configuration of a size: `tiny`, `small` or `published`. The smaller ones are for 10 seconds at 100 Hz.
    pub fn size(name: &str) -> Option<Self> {
        if name == "published" {
            return Some(DeriConfig::default());
        }
        let Small { ecg, text, width } = Small::named(name)?;
        Some(DeriConfig {
            ecg,
            samples: Small::SAMPLES,
            text,
            text_learns: Learned::All,
            text_tokens: Small::TEXT_TOKENS,
            width,
            text_inner: width,
            decoder: DecoderConfig {
                inner: width,
                heads: 4,
                head_width: width / 4,
                ..DecoderConfig::default()
            },
            ..DeriConfig::default()
        })
    }
}

impl PairConfig for DeriConfig {
    fn encoder(&self) -> EcgEncoder {
        EcgEncoder::ResNet(self.ecg.clone())
    }

    /// The decoders need tokens, which a transformer over patches does not give in the published network.
    fn set_encoder(&mut self, encoder: EcgEncoder) -> Result<(), String> {
        match encoder {
            EcgEncoder::ResNet(own) => {
                self.ecg = own;
                Ok(())
            }
            EcgEncoder::Vit(_) => Err(
                "DERI has no decoders for a transformer over patches; expected a residual network (MERL takes both)"
                    .to_owned(),
            ),
        }
    }

    pair_fields!();

    fn ecg_entries(&self) -> Entries {
        let mut all = vec![
            (
                "downconv.weight".to_owned(),
                vec![self.width, self.ecg.channels(), 1],
            ),
            ("downconv.bias".to_owned(), vec![self.width]),
        ];
        all.extend(framed_entries("att_pool_head", self.tokens(), self.width));
        all.extend(self.decoder.entries(
            "decode_t",
            self.tokens() + usize::from(self.separator),
            self.width,
            self.text.width(),
        ));
        if self.separator {
            // The separator behind the tokens is that of the other decoder.
            all.push(("decode_e.sep_embedding".to_owned(), vec![self.width]));
        }
        let text = self.text.width();
        all.extend(projection_entries(text, self.text_inner, self.width));
        all.extend(self.ecg.entries(ECG));
        all
    }

    fn pretraining_entries(&self) -> Entries {
        let mut all = Vec::new();
        for name in ["linear1", "linear2"] {
            all.extend(framed_entries(name, self.kept(), self.width));
        }
        let decoder = self
            .decoder
            .entries("decode_e", self.text_tokens, self.width, self.width);
        let known = |name: &str| self.separator && name == "decode_e.sep_embedding";
        all.extend(decoder.into_iter().filter(|(name, _)| !known(name)));
        all
    }

    fn state(&self) -> Vec<String> {
        self.ecg.state(ECG)
    }

    fn validate(&self) -> Result<(), String> {
        for (name, heads) in [("heads", self.heads), ("masked_heads", self.masked_heads)] {
            if heads == 0 || !self.width.is_multiple_of(heads) {
                return Err(format!(
                    "{name}: {heads} does not divide the width {}",
                    self.width
                ));
            }
        }
        self.encoder().validate(self.samples)?;
        if !(0.0..1.0).contains(&self.mask_ratio) || self.kept() == 0 {
            return Err(format!(
                "mask_ratio: {} leaves no tokens of {}",
                self.mask_ratio,
                self.tokens()
            ));
        }
        crate::paired::check(&self.text, self.text_tokens, self.temperature)
    }
}

/// Attention over tokens between two separators.
fn framed_entries(name: &str, tokens: usize, width: usize) -> Vec<(String, Vec<usize>)> {
    vec![
        (
            format!("{name}.positional_embedding"),
            vec![1, tokens + FRAME, width],
        ),
        (format!("{name}.sep_embedding"), vec![width]),
        (
            format!("{name}.mhsa.in_proj_weight"),
            vec![3 * width, width],
        ),
        (format!("{name}.mhsa.in_proj_bias"), vec![3 * width]),
        (format!("{name}.mhsa.out_proj.weight"), vec![width, width]),
        (format!("{name}.mhsa.out_proj.bias"), vec![width]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paired::text_entries;

    #[test]
    fn the_published_network_has_its_number_of_parameters() {
        let config = DeriConfig::default();
        config.validate().unwrap();
        assert_eq!((config.tokens(), config.kept()), (105, 94));
        let state = config.ecg.state("ecg_encoder.");
        let count = |all: Vec<(String, Vec<usize>)>| -> usize {
            let own = all.iter().filter(|(name, _)| !state.contains(name));
            own.map(|(_, shape)| shape.iter().product::<usize>()).sum()
        };
        assert_eq!(count(text_entries(&config.text)), 109_482_240);
        // What receives a gradient.
        assert_eq!(
            count(config.ecg_entries()) + count(config.pretraining_entries()),
            9_023_872
        );
        for size in ["tiny", "small"] {
            let config = DeriConfig::size(size).unwrap();
            config.validate().unwrap();
            assert_eq!(config.tokens(), 21);
        }
    }
}
