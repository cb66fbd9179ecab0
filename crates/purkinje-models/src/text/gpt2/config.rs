//! The hyper-parameters of GPT-2, the names and shapes of its parameters, and their random values.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{LAST_NORM, POSITIONS, TABLE};
use crate::layers::{Activation, init};
use crate::random::Stream;

/// The activation between the feed-forward layers, as Hugging Face names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Gpt2Activation {
    /// GELU approximated by a hyperbolic tangent.
    #[default]
    #[serde(rename = "gelu_new", alias = "gelu_pytorch_tanh")]
    GeluNew,
    /// GELU with the error function.
    #[serde(rename = "gelu")]
    Gelu,
    /// max(x, 0).
    #[serde(rename = "relu")]
    Relu,
}

impl From<Gpt2Activation> for Activation {
    fn from(own: Gpt2Activation) -> Self {
        match own {
            Gpt2Activation::GeluNew => Activation::GeluTanh,
            Gpt2Activation::Gelu => Activation::Gelu,
            Gpt2Activation::Relu => Activation::Relu,
        }
    }
}

/// The hyper-parameters, as `config.json` of Hugging Face names them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gpt2Config {
    /// Rows of the table of word pieces.
    pub vocab_size: usize,
    /// Longest text in word pieces.
    pub n_positions: usize,
    /// Width.
    pub n_embd: usize,
    /// Layers.
    pub n_layer: usize,
    /// Attention heads.
    pub n_head: usize,
    /// Width between the feed-forward layers; four times the width if absent.
    pub n_inner: Option<usize>,
    /// Between the feed-forward layers.
    pub activation_function: Gpt2Activation,
    /// Epsilon of the layer norms.
    pub layer_norm_epsilon: f32,
    /// Probability of dropout on the sum of embeddings.
    pub embd_pdrop: f32,
    /// Probability of dropout on attention weights.
    pub attn_pdrop: f32,
    /// Probability of dropout on what attention and feed-forward layers add.
    pub resid_pdrop: f32,
    /// Whether each layer attends to other tokens too.
    pub add_cross_attention: bool,
}

impl Default for Gpt2Config {
    /// DistilGPT-2.
    fn default() -> Self {
        Gpt2Config {
            vocab_size: 50_257,
            n_positions: 1024,
            n_embd: 768,
            n_layer: 6,
            n_head: 12,
            n_inner: None,
            activation_function: Gpt2Activation::GeluNew,
            layer_norm_epsilon: 1e-5,
            embd_pdrop: 0.1,
            attn_pdrop: 0.1,
            resid_pdrop: 0.1,
            add_cross_attention: false,
        }
    }
}

impl Gpt2Config {
    /// What `config.json` of Hugging Face states.
    ///
    /// # Errors
    /// A message that says what was found and what is read.
    pub fn from_published(stated: &Value) -> Result<Self, String> {
        let kind = stated.get("model_type").and_then(Value::as_str);
        if let Some(other) = kind.filter(|kind| *kind != "gpt2") {
            return Err(format!(
                "the text decoder is of the type `{other}`, expected gpt2"
            ));
        }
        for (name, expected) in [
            ("scale_attn_weights", true),
            ("scale_attn_by_inverse_layer_idx", false),
        ] {
            let found = stated.get(name).and_then(Value::as_bool);
            if let Some(found) = found.filter(|found| *found != expected) {
                return Err(format!(
                    "the text decoder has `{name}` {found}, expected {expected}"
                ));
            }
        }
        let own: Self = serde_json::from_value(stated.clone())
            .map_err(|e| format!("the configuration of the text decoder: {e}"))?;
        own.validate()?;
        Ok(own)
    }

    /// Checks that the sizes fit each other.
    ///
    /// # Errors
    /// A message that names the field.
    pub fn validate(&self) -> Result<(), String> {
        if self.n_head == 0 || !self.n_embd.is_multiple_of(self.n_head) {
            return Err(format!(
                "n_head: {} does not divide the width {}",
                self.n_head, self.n_embd
            ));
        }
        for (name, size) in [
            ("n_embd", self.n_embd),
            ("vocab_size", self.vocab_size),
            ("n_positions", self.n_positions),
        ] {
            if size == 0 {
                return Err(format!("{name}: 0, expected at least 1"));
            }
        }
        Ok(())
    }

    /// The same decoder without dropout.
    #[must_use]
    pub fn without_dropout(mut self) -> Self {
        (self.embd_pdrop, self.attn_pdrop, self.resid_pdrop) = (0.0, 0.0, 0.0);
        self
    }

    pub(super) fn inner(&self) -> usize {
        self.n_inner.unwrap_or(4 * self.n_embd)
    }

    /// Every parameter with its shape, in state-dict order. Weights are stored input first; the last layer is the table of word
    /// pieces and has no entry of its own.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let d = self.n_embd;
        let mut all = vec![
            (TABLE.to_owned(), vec![self.vocab_size, d]),
            (POSITIONS.to_owned(), vec![self.n_positions, d]),
        ];
        let mut pair = |name: String, weight: Vec<usize>| {
            let bias = vec![weight[weight.len() - 1]];
            all.push((format!("{name}.weight"), weight));
            all.push((format!("{name}.bias"), bias));
        };
        for i in 0..self.n_layer {
            let mut entry = |part: &str, shape: &[usize]| {
                pair(format!("transformer.h.{i}.{part}"), shape.to_vec());
            };
            entry("ln_1", &[d]);
            entry("attn.c_attn", &[d, 3 * d]);
            entry("attn.c_proj", &[d, d]);
            entry("ln_2", &[d]);
            if self.add_cross_attention {
                entry("crossattention.c_attn", &[d, 2 * d]);
                entry("crossattention.q_attn", &[d, d]);
                entry("crossattention.c_proj", &[d, d]);
                entry("ln_cross_attn", &[d]);
            }
            entry("mlp.c_fc", &[d, self.inner()]);
            entry("mlp.c_proj", &[self.inner(), d]);
        }
        pair(LAST_NORM.to_owned(), vec![d]);
        all
    }

    /// Random values of a parameter: normal with standard deviation 0.02, for maps that end a branch divided by the root of twice
    /// the number of layers; norms 1 and 0, biases 0.
    pub fn initial(&self, name: &str, shape: &[usize], stream: &mut Stream) -> Vec<f32> {
        let count = shape.iter().product();
        let std = match name {
            _ if name.ends_with(".bias") => return vec![0.0; count],
            _ if shape.len() == 1 => return vec![1.0; count],
            _ if name.ends_with("c_proj.weight") => 0.02 / (2.0 * self.n_layer as f64).sqrt(),
            _ => 0.02,
        };
        init::normal(count, std, stream)
    }
}
