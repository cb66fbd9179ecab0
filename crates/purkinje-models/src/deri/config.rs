//! Hyper-parameters, and the names and shapes of all entries.

use serde::{Deserialize, Serialize};

use crate::compat::Compat;
use crate::layers::ResNetConfig;
use crate::layers::vit1d::{attention_entries, gated_entries};
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
    /// Word pieces of a text, padding included.
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
    /// What cosines are divided by in losses.
    pub temperature: f64,
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
            text_tokens: 256,
            width: 256,
            text_inner: 256,
            heads: 4,
            masked_heads: 2,
            mask_ratio: 0.1,
            decoder: DecoderConfig::default(),
            temperature: 0.07,
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

    /// What gives vectors of recordings.
    pub fn ecg_entries(&self) -> Vec<(String, Vec<usize>)> {
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
            self.tokens() + 1,
            self.width,
            self.text.width(),
        ));
        // The separator behind the tokens is that of the other decoder.
        all.push(("decode_e.sep_embedding".to_owned(), vec![self.width]));
        all.extend(self.projection_entries());
        all.extend(self.ecg.entries("ecg_encoder."));
        all
    }

    fn projection_entries(&self) -> Vec<(String, Vec<usize>)> {
        let (inner, text) = (self.text_inner, self.text.width());
        vec![
            ("proj_t.0.weight".to_owned(), vec![inner, text]),
            ("proj_t.0.bias".to_owned(), vec![inner]),
            ("proj_t.2.weight".to_owned(), vec![self.width, inner]),
            ("proj_t.2.bias".to_owned(), vec![self.width]),
        ]
    }

    /// What gives vectors of texts, beside the projection.
    pub fn text_entries(&self) -> Vec<(String, Vec<usize>)> {
        let d = self.text.width();
        let mut all = self.text.parameters("lm_model.");
        all.push(("lm_model.pooler.dense.weight".to_owned(), vec![d, d]));
        all.push(("lm_model.pooler.dense.bias".to_owned(), vec![d]));
        all
    }

    /// What pre-training needs beside.
    pub fn pretraining_entries(&self) -> Vec<(String, Vec<usize>)> {
        let mut all = Vec::new();
        for name in ["linear1", "linear2"] {
            all.extend(framed_entries(name, self.kept(), self.width));
        }
        let decoder = self
            .decoder
            .entries("decode_e", self.text_tokens, self.width, self.width);
        all.extend(
            decoder
                .into_iter()
                .filter(|(name, _)| name != "decode_e.sep_embedding"),
        );
        all
    }

    /// Checks that all sizes fit each other.
    ///
    /// # Errors
    /// A message that names the field.
    pub fn validate(&self) -> Result<(), String> {
        for (name, heads) in [("heads", self.heads), ("masked_heads", self.masked_heads)] {
            if heads == 0 || !self.width.is_multiple_of(heads) {
                return Err(format!(
                    "{name}: {heads} does not divide the width {}",
                    self.width
                ));
            }
        }
        if self.ecg.widths.is_empty() || self.ecg.widths.len() != self.ecg.blocks.len() {
            return Err(format!(
                "ecg: {} widths and {} numbers of blocks, expected as many, at least one",
                self.ecg.widths.len(),
                self.ecg.blocks.len()
            ));
        }
        if !(0.0..1.0).contains(&self.mask_ratio) || self.kept() == 0 {
            return Err(format!(
                "mask_ratio: {} leaves no tokens of {}",
                self.mask_ratio,
                self.tokens()
            ));
        }
        match self.temperature > 0.0 {
            true => Ok(()),
            false => Err(format!(
                "temperature: {}, expected more than 0",
                self.temperature
            )),
        }
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
        assert_eq!(count(config.text_entries()), 109_482_240);
        // What receives a gradient.
        assert_eq!(
            count(config.ecg_entries()) + count(config.pretraining_entries()),
            9_023_872
        );
    }
}
