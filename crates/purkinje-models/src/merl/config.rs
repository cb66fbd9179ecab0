//! Hyper-parameters, and the names and shapes of all entries.

use serde::{Deserialize, Serialize};

use crate::compat::Compat;
use crate::layers::{BatchNormWeights, VitConfig};
use crate::paired::{
    ECG, EcgEncoder, Entries, Learned, PairConfig, Part, Small, check, pair_fields,
    projection_entries,
};
use crate::text::{BertConfig, TextConfig};

/// Names of the batch normalisations of the projection of recordings behind a transformer.
pub(super) const NORMS: [&str; 2] = ["proj_e.1", "proj_e.4"];

/// The whole network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MerlConfig {
    /// The encoder of recordings.
    pub ecg: EcgEncoder,
    /// Samples of a lead.
    pub samples: usize,
    /// The encoder of texts.
    pub text: TextConfig,
    /// Which of its layers learn.
    pub text_learns: Learned,
    /// Word pieces of the longest text.
    pub text_tokens: usize,
    /// Width of recordings and texts.
    pub width: usize,
    /// Width inside the projections.
    pub inner: usize,
    /// Attention heads of the pooling.
    pub heads: usize,
    /// Probability of dropout of the two views.
    pub dropout: f32,
    /// What cosines are divided by in losses.
    pub temperature: f64,
    /// Which parts there are.
    pub part: Part,
    /// Whether it follows the paper or the released program.
    pub compat: Compat,
}

impl Default for MerlConfig {
    /// As published, with a residual network.
    fn default() -> Self {
        MerlConfig {
            ecg: EcgEncoder::default(),
            samples: 5000,
            text: TextConfig::Bert(BertConfig::default()),
            text_learns: Learned::None,
            text_tokens: 256,
            width: 256,
            inner: 256,
            heads: 4,
            dropout: 0.1,
            temperature: 0.07,
            part: Part::All,
            compat: Compat::Paper,
        }
    }
}

impl MerlConfig {
    /// Tokens that are pooled; none of a transformer.
    pub fn tokens(&self) -> Option<usize> {
        match &self.ecg {
            EcgEncoder::ResNet(own) => Some(own.output_length(self.samples)),
            EcgEncoder::Vit(_) => None,
        }
    }

    /// The configuration of a size: `tiny`, `small` or `published`. The smaller ones are for 10 seconds at 100 Hz.
    pub fn size(name: &str) -> Option<Self> {
        if name == "published" {
            return Some(MerlConfig::default());
        }
        let Small { ecg, text, width } = Small::named(name)?;
        Some(MerlConfig {
            ecg: EcgEncoder::ResNet(ecg),
            samples: Small::SAMPLES,
            text,
            text_learns: Learned::All,
            text_tokens: Small::TEXT_TOKENS,
            width,
            inner: width,
            ..MerlConfig::default()
        })
    }
}

impl PairConfig for MerlConfig {
    fn encoder(&self) -> EcgEncoder {
        self.ecg.clone()
    }

    fn set_encoder(&mut self, encoder: EcgEncoder) -> Result<(), String> {
        self.ecg = match encoder {
            // As many patches as the recordings have.
            EcgEncoder::Vit(own) => EcgEncoder::Vit(VitConfig {
                patches: 100,
                patch: (self.samples / 100).max(1),
                ..own
            }),
            own => own,
        };
        Ok(())
    }

    pair_fields!();

    fn ecg_entries(&self) -> Entries {
        let (d, channels) = (self.width, self.ecg.channels());
        let mut all = Vec::new();
        match self.tokens() {
            Some(tokens) => {
                let pool = |part: &str| format!("att_pool_head.{part}");
                all.extend([
                    ("downconv.weight".to_owned(), vec![d, channels, 1]),
                    ("downconv.bias".to_owned(), vec![d]),
                    (pool("positional_embedding"), vec![1, tokens + 1, d]),
                    (pool("cls_token"), vec![1, 1, d]),
                    (pool("mhsa.in_proj_weight"), vec![3 * d, d]),
                    (pool("mhsa.in_proj_bias"), vec![3 * d]),
                    (pool("mhsa.out_proj.weight"), vec![d, d]),
                    (pool("mhsa.out_proj.bias"), vec![d]),
                    (pool("c_proj.weight"), vec![d, d]),
                    (pool("c_proj.bias"), vec![d]),
                ]);
            }
            None => {
                let map = |number: usize, rows: usize, columns: usize| {
                    let name = |part| format!("proj_e.{number}.{part}");
                    [
                        (name("weight"), vec![rows, columns]),
                        (name("bias"), vec![rows]),
                    ]
                };
                all.extend(map(0, self.inner, channels));
                all.extend(BatchNormWeights::entries(NORMS[0], self.inner));
                all.extend(map(3, d, self.inner));
                all.extend(BatchNormWeights::entries(NORMS[1], d));
            }
        }
        let text = self.text.width();
        all.extend(projection_entries(text, self.inner, d));
        all.extend(self.ecg.entries(ECG));
        all
    }

    fn pretraining_entries(&self) -> Entries {
        let inputs = match self.tokens() {
            Some(_) => self.width,
            None => self.ecg.channels(),
        };
        let view = |name: &str| (format!("{name}.weight"), vec![self.width, inputs]);
        vec![view("linear1"), view("linear2")]
    }

    fn state(&self) -> Vec<String> {
        let mut all = self.ecg.state(ECG);
        if self.tokens().is_none() && self.part != Part::Encoder {
            all.extend(NORMS.iter().flat_map(|name| BatchNormWeights::state(name)));
        }
        all
    }

    fn validate(&self) -> Result<(), String> {
        if self.heads == 0 || !self.width.is_multiple_of(self.heads) {
            return Err(format!(
                "heads: {} does not divide the width {}",
                self.heads, self.width
            ));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(format!("dropout: {}, expected 0 to below 1", self.dropout));
        }
        self.ecg.validate(self.samples)?;
        check(&self.text, self.text_tokens, self.temperature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_networks_have_their_numbers_of_parameters() {
        let count = |encoder: &str| {
            let mut config = MerlConfig::default();
            let encoder = config.ecg.named(encoder).unwrap();
            config.set_encoder(encoder).unwrap();
            config.validate().unwrap();
            let state = config.state();
            let all = config.entries();
            let own = all.iter().filter(|(name, _)| !state.contains(name));
            own.map(|(_, shape)| shape.iter().product::<usize>())
                .sum::<usize>()
        };
        // Without the 10-class layer that nothing uses.
        assert_eq!(count("resnet18"), 114_270_858 - 5_130);
        assert_eq!(count("vit-tiny"), 115_432_576);
        for size in ["tiny", "small"] {
            MerlConfig::size(size).unwrap().validate().unwrap();
        }
    }
}
