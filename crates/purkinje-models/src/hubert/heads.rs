//! Classifiers on the mean of the token states.

use burn::tensor::{Device, Tensor, activation};
use serde::{Deserialize, Serialize};

use super::input::HubertBatch;
use super::network::{Encoded, Hubert, flags};
use super::objective::cosine;
use crate::layers::{Activation, Context, WeightError, Weights, dropout, init, linear};
use crate::random::Stream;

/// The head between the mean of the tokens and the outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Head {
    /// One linear layer.
    Linear,
    /// Two linear layers.
    Mlp {
        /// Width between them.
        hidden: usize,
        /// Activation between the layers.
        activation: HeadActivation,
    },
    /// The cosine with a learned vector for each label; logits are in [-1, 1].
    LabelEmbedding,
}

/// The activation between the two layers of a head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeadActivation {
    /// Hyperbolic tangent.
    #[default]
    Tanh,
    /// max(x, 0).
    Relu,
    /// x Phi(x).
    Gelu,
    /// Logistic function.
    Sigmoid,
}

impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Head::Linear => "linear",
            Head::Mlp { .. } => "two-layer",
            Head::LabelEmbedding => "label-embedding",
        })
    }
}

impl Head {
    /// Its parameters for encoder width `d`, in state-dict order.
    pub fn parameters(self, d: usize, outputs: usize) -> Vec<(String, Vec<usize>)> {
        let linear = |name: &str, rows: usize, columns: usize| {
            [
                (format!("{name}.weight"), vec![rows, columns]),
                (format!("{name}.bias"), vec![rows]),
            ]
        };
        match self {
            Head::Linear => linear("classifier", outputs, d).into(),
            Head::Mlp { hidden, .. } => [
                linear("classifier.0", hidden, d),
                linear("classifier.2", outputs, hidden),
            ]
            .concat(),
            Head::LabelEmbedding => vec![("label_embedding.weight".into(), vec![outputs, d])],
        }
    }

    /// Adds randomly initialised parameters of this head to `weights`.
    pub fn initialise(
        self,
        weights: &mut Weights,
        d: usize,
        outputs: usize,
        seed: u64,
        device: &Device,
    ) {
        let stream = Stream::new(seed, "initial head");
        let parameters = self.parameters(d, outputs);
        for (i, (name, shape)) in parameters.iter().enumerate() {
            let mut draw = stream.at(i as u64);
            let count = shape.iter().product();
            let data = match self {
                Head::LabelEmbedding => init::normal(count, 1.0, &mut draw),
                _ => {
                    let fan_in = init::fan_in(name, shape, &parameters);
                    init::uniform(count, 1.0 / (fan_in as f64).sqrt(), &mut draw)
                }
            };
            weights.insert(name.as_str(), shape, data, device);
        }
    }

    /// Logits `[batch, outputs]` of pooled vectors `[batch, d]`.
    pub fn logits(self, pooled: Tensor<2>, weights: &Weights, ctx: &Context) -> Tensor<2> {
        let map = |x: Tensor<2>, name: &str| {
            let w = weights.get(&format!("{name}.weight"));
            let b = weights.get(&format!("{name}.bias"));
            linear(x, w, b, Activation::Identity, false, ctx)
        };
        match self {
            Head::Linear => map(pooled, "classifier"),
            Head::Mlp {
                activation: act, ..
            } => {
                let hidden = map(pooled, "classifier.0");
                let hidden = match act {
                    HeadActivation::Tanh => activation::tanh(hidden),
                    HeadActivation::Relu => activation::relu(hidden),
                    HeadActivation::Gelu => activation::gelu(hidden),
                    HeadActivation::Sigmoid => activation::sigmoid(hidden),
                };
                map(hidden, "classifier.2")
            }
            Head::LabelEmbedding => cosine(pooled, weights.get("label_embedding.weight"), ctx),
        }
    }
}

/// A HuBERT-ECG encoder with a head.
#[derive(Clone, Debug)]
pub struct HubertClassifier {
    encoder: Hubert,
    head: Head,
    dropout: f32,
}

/// The outputs of a classifier for a batch.
#[derive(Clone, Debug)]
pub struct Classified {
    /// Token states `[batch, tokens, width]`, zero where a token is not valid.
    pub last: Tensor<3>,
    /// Mean over valid tokens `[batch, width]`.
    pub pooled: Tensor<2>,
    /// `[batch, outputs]`.
    pub logits: Tensor<2>,
}

impl HubertClassifier {
    /// Dropout before the head, fixed in the published program.
    pub const DROPOUT: f32 = 0.1;

    /// An encoder whose weights also hold those of the head. Tokens are never masked.
    ///
    /// # Errors
    /// When a parameter of the head is missing or mis-shaped for this number of outputs.
    pub fn new(encoder: Hubert, head: Head, outputs: usize) -> Result<Self, WeightError> {
        let d = encoder.config().hidden_size;
        encoder.weights().require(&head.parameters(d, outputs))?;
        Ok(HubertClassifier {
            encoder,
            head,
            dropout: Self::DROPOUT,
        })
    }

    /// The same classifier with another dropout before the head.
    pub fn with_dropout(self, dropout: f32) -> Self {
        HubertClassifier { dropout, ..self }
    }

    /// The encoder, which holds the weights of both.
    pub fn encoder(&self) -> &Hubert {
        &self.encoder
    }

    /// The encoder, to change its weights or its dropout.
    pub fn encoder_mut(&mut self) -> &mut Hubert {
        &mut self.encoder
    }

    /// The head.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Dropout before the head.
    pub fn dropout(&self) -> f32 {
        self.dropout
    }

    /// The same classifier with other weights of the same shapes.
    pub fn with_weights(&self, weights: Weights) -> Self {
        HubertClassifier {
            encoder: self.encoder.with_weights(weights),
            ..*self
        }
    }

    /// Token states, their mean and logits. The published program passes a mask of real samples in training only; use
    /// [`HubertBatch::without_mask`] to reproduce it otherwise.
    pub fn classify(&self, batch: &HubertBatch, ctx: &Context) -> Classified {
        let encoded = self.encoder.encode(batch, None, ctx);
        let (last, pooled) = pool(encoded, batch, ctx);
        ctx.record("pooled", &pooled);
        let dropped = ctx.dropping(self.dropout, || dropout(pooled.clone(), ctx));
        let logits = self.head.logits(dropped, self.encoder.weights(), ctx);
        Classified {
            last,
            pooled,
            logits,
        }
    }
}

impl Hubert {
    /// The mean over valid tokens: one vector for each recording `[batch, width]`.
    pub fn embed(&self, batch: &HubertBatch, ctx: &Context) -> Tensor<2> {
        pool(self.encode(batch, None, ctx), batch, ctx).1
    }
}

fn pool(encoded: Encoded, batch: &HubertBatch, ctx: &Context) -> (Tensor<3>, Tensor<2>) {
    let Encoded { last, valid } = encoded;
    match valid {
        None => (last.clone(), last.mean_dim(1).squeeze_dim(1)),
        Some(valid) => {
            let valid = flags(&valid, batch.size, ctx);
            let count: Tensor<2> = valid.clone().sum_dim(1).squeeze_dim(1);
            let last = last * valid;
            (last.clone(), last.sum_dim(1).squeeze_dim(1) / count)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hubert::{HubertConfig, HubertInput};

    #[test]
    fn head_sizes_are_the_published_ones() {
        let count = |head: Head, d| -> usize {
            let all = head.parameters(d, 164);
            all.iter().map(|(_, s)| s.iter().product::<usize>()).sum()
        };
        for (config, total) in [
            (HubertConfig::small(), 30_293_796),
            (HubertConfig::base(), 92_924_964),
            (HubertConfig::large(), 187_802_340),
        ] {
            let d = config.hidden_size;
            let encoder = config.encoder_parameters();
            let own: usize = encoder
                .iter()
                .map(|(_, s)| s.iter().product::<usize>())
                .sum();
            assert_eq!(own + d + count(Head::Linear, d), total);
        }
    }

    #[test]
    fn padding_behind_the_mask_does_not_change_the_mean() {
        let device = Device::flex();
        let config = HubertConfig::tiny();
        let model = Hubert::random(config.clone(), 1, &device);
        let ctx = Context::inference(&device);
        let real: Vec<bool> = (0..6000).map(|i| i % 500 < 300).collect();
        let embed = |padding: f32, real: Option<Vec<bool>>| {
            let samples = (0..6000)
                .map(|i| {
                    if i % 500 < 300 {
                        (i as f32 * 0.3).sin()
                    } else {
                        padding
                    }
                })
                .collect();
            let batch = HubertBatch::new(&config, &[HubertInput { samples, real }]).unwrap();
            let states = model.encode(&batch, None, &ctx);
            assert!(states.valid.is_none_or(|v| v.contains(&false)));
            model
                .embed(&batch, &ctx)
                .into_data()
                .try_to_vec::<f32>()
                .unwrap()
        };
        // Tokens that straddle the border see the padding, and so does the norm over the whole time; the mean over
        // valid tokens changes far less than that over all.
        let distance = |a: &[f32], b: &[f32]| -> f32 {
            a.iter()
                .zip(b)
                .map(|(a, b)| (a - b).powi(2))
                .sum::<f32>()
                .sqrt()
        };
        let masked = distance(&embed(0.0, Some(real.clone())), &embed(0.1, Some(real)));
        let whole = distance(&embed(0.0, None), &embed(0.1, None));
        assert!(masked < whole, "{masked} {whole}");
    }
}
