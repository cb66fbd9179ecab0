//! Hyper-parameters, the names and shapes of all parameters, and their random values.

use serde::{Deserialize, Serialize};

use crate::layers::init;
use crate::random::Stream;

/// The hyper-parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct R2GenConfig {
    /// Tokens that can be written.
    pub vocabulary: usize,
    /// Width of what the encoder reads.
    pub features: usize,
    /// Width.
    pub width: usize,
    /// Width between the feed-forward layers.
    pub inner: usize,
    /// Attention heads.
    pub heads: usize,
    /// Layers of the encoder, and as many of the decoder.
    pub layers: usize,
    /// Slots of the relational memory.
    pub slots: usize,
    /// Attention heads of the memory.
    pub memory_heads: usize,
    /// Positions of the longest text.
    pub positions: usize,
    /// Probability of dropout.
    pub dropout: f32,
    /// Probability of dropout on mapped features.
    pub feature_dropout: f32,
}

impl Default for R2GenConfig {
    /// As released with DERI, for a BERT vocabulary with a start and an end token.
    fn default() -> Self {
        R2GenConfig {
            vocabulary: 30_525,
            features: 512,
            width: 512,
            inner: 512,
            heads: 8,
            layers: 3,
            slots: 3,
            memory_heads: 8,
            positions: 5000,
            dropout: 0.1,
            feature_dropout: 0.5,
        }
    }
}

impl R2GenConfig {
    /// Checks that the sizes fit each other.
    ///
    /// # Errors
    /// A message that names the field.
    pub fn validate(&self) -> Result<(), String> {
        for (name, heads) in [("heads", self.heads), ("memory_heads", self.memory_heads)] {
            if heads == 0 || !self.width.is_multiple_of(heads) {
                return Err(format!(
                    "{name}: {heads} does not divide the width {}",
                    self.width
                ));
            }
        }
        for (name, found, least) in [
            ("width", self.width, 2),
            ("slots", self.slots, 1),
            ("vocabulary", self.vocabulary, 1),
            ("positions", self.positions, 1),
        ] {
            if found < least {
                return Err(format!("{name}: {found}, expected at least {least}"));
            }
        }
        Ok(())
    }

    /// The same network without dropout.
    #[must_use]
    pub fn without_dropout(mut self) -> Self {
        (self.dropout, self.feature_dropout) = (0.0, 0.0);
        self
    }

    /// Every parameter with its shape, in state-dict order. The table of positions follows from the sizes and has no entry.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let (d, inner) = (self.width, self.inner);
        let mut all = Entries(Vec::new());
        all.map("att_embed.0", d, self.features);
        for i in 0..self.layers {
            let layer = format!("model.encoder.layers.{i}");
            all.attention(&format!("{layer}.self_attn"), d);
            all.map(&format!("{layer}.feed_forward.w_1"), inner, d);
            all.map(&format!("{layer}.feed_forward.w_2"), d, inner);
            for part in 0..2 {
                all.norm(&format!("{layer}.sublayer.{part}.norm"), d);
            }
        }
        all.norm("model.encoder.norm", d);
        for i in 0..self.layers {
            let layer = format!("model.decoder.layers.{i}");
            all.attention(&format!("{layer}.self_attn"), d);
            all.attention(&format!("{layer}.src_attn"), d);
            all.map(&format!("{layer}.feed_forward.w_1"), inner, d);
            all.map(&format!("{layer}.feed_forward.w_2"), d, inner);
            for part in 0..3 {
                let norm = format!("{layer}.sublayer.{part}.norm");
                all.norm(&norm, d);
                for of in ["gamma", "beta"] {
                    all.map(&format!("{norm}.mlp_{of}.0"), d, self.slots * d);
                    all.map(&format!("{norm}.mlp_{of}.2"), d, d);
                }
            }
        }
        all.norm("model.decoder.norm", d);
        let table = "model.tgt_embed.0.lut.weight".to_owned();
        all.0.push((table, vec![self.vocabulary, d]));
        all.attention("model.rm.attn", d);
        all.map("model.rm.mlp.0", d, d);
        all.map("model.rm.mlp.2", d, d);
        all.map("model.rm.W", 2 * d, d);
        all.map("model.rm.U", 2 * d, d);
        all.map("logit", self.vocabulary, d);
        all.0
    }

    /// Random values of a parameter: matrices of the transformer Xavier-uniform; the maps of features and to tokens uniform within one
    /// over the root of their inputs; biases of the maps that set norms 0.1.
    pub fn initial(&self, name: &str, shape: &[usize], stream: &mut Stream) -> Vec<f32> {
        let count = shape.iter().product();
        let inputs = match name {
            _ if name.starts_with("att_embed.") => self.features,
            _ if name.contains(".w_2.") => self.inner,
            _ => self.width,
        };
        let default = 1.0 / (inputs as f64).sqrt();
        match (name, shape) {
            _ if name.ends_with("gamma") => vec![1.0; count],
            _ if name.ends_with("beta") => vec![0.0; count],
            _ if name.contains(".mlp_") && shape.len() == 1 => vec![0.1; count],
            (_, &[rows, columns]) if name.starts_with("model.") => {
                let bound = (6.0 / (rows + columns) as f64).sqrt();
                init::uniform(count, bound, stream)
            }
            _ => init::uniform(count, default, stream),
        }
    }
}

struct Entries(Vec<(String, Vec<usize>)>);

impl Entries {
    fn map(&mut self, name: &str, to: usize, from: usize) {
        self.0.push((format!("{name}.weight"), vec![to, from]));
        self.0.push((format!("{name}.bias"), vec![to]));
    }

    fn attention(&mut self, name: &str, d: usize) {
        for part in 0..4 {
            self.map(&format!("{name}.linears.{part}"), d, d);
        }
    }

    fn norm(&mut self, name: &str, d: usize) {
        self.0.push((format!("{name}.gamma"), vec![d]));
        self.0.push((format!("{name}.beta"), vec![d]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_decoder_has_its_number_of_parameters() {
        let config = R2GenConfig::default();
        config.validate().unwrap();
        let all = config.parameters();
        let count: usize = all.iter().map(|(_, s)| s.iter().product::<usize>()).sum();
        assert_eq!(count, 65_695_037);
    }
}
