//! Encoders of text, and a decoder that writes it. They see ids of word pieces, never words.

mod bert;
mod gpt2;
mod r2gen;
mod t5;

use burn::tensor::{Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use bert::{BertConfig, BertLayer};
pub use gpt2::{Gpt2, Gpt2Activation, Gpt2Config, Gpt2State};
pub use r2gen::{R2Gen, R2GenConfig, R2GenState};
pub use t5::{T5Config, bucket};

use crate::layers::{Context, Weights, linear_cross_entropy};
use crate::random::Stream;

/// A batch of texts as ids of word pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextIds {
    /// `[texts, length]`.
    pub ids: Vec<u32>,
    /// Which of them are word pieces and not padding.
    pub real: Vec<bool>,
    /// Word pieces of each text, padding included.
    pub length: usize,
}

impl TextIds {
    /// How many texts there are.
    pub fn size(&self) -> usize {
        self.ids.len() / self.length.max(1)
    }

    /// 0 where a word piece can be attended to and minus infinity where it is padding: `[texts, queries, length]`; `None` when
    /// there is no padding.
    pub fn key_mask(&self, queries: usize, ctx: &Context) -> Option<Tensor<3>> {
        if self.real.iter().all(|real| *real) {
            return None;
        }
        let value = |real: &bool| if *real { 0.0 } else { f32::NEG_INFINITY };
        let values: Vec<f32> = self.real.iter().map(value).collect();
        let shape = [self.size(), 1, self.length];
        let mask = Tensor::<3>::from_data(TensorData::new(values, shape), ctx.device());
        Some(mask.expand([self.size(), queries, self.length]))
    }
}

/// The hyper-parameters of an encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "model_type", rename_all = "lowercase")]
pub enum TextConfig {
    /// The encoder of T5 v1.1 (Flan-T5).
    T5(T5Config),
    /// BERT.
    Bert(BertConfig),
}

impl TextConfig {
    /// What `config.json` of Hugging Face states.
    ///
    /// # Errors
    /// A message that says what was found and what is read.
    pub fn from_published(stated: &Value) -> Result<Self, String> {
        let text = |name: &str| stated.get(name).and_then(Value::as_str);
        let read = |e: serde_json::Error| format!("the configuration of the text encoder: {e}");
        match text("model_type").unwrap_or("t5") {
            "t5" | "mt5" => {
                let gates = text("feed_forward_proj").unwrap_or("relu");
                if gates != "gated-gelu" {
                    return Err(format!(
                        "the text encoder has `feed_forward_proj` {gates}, expected gated-gelu: T5 of version 1.1, such as Flan-T5"
                    ));
                }
                let own = serde_json::from_value(stated.clone()).map_err(read)?;
                Ok(TextConfig::T5(own))
            }
            "bert" => {
                let act = text("hidden_act").unwrap_or("gelu");
                if act != "gelu" {
                    return Err(format!(
                        "the text encoder has `hidden_act` {act}, expected gelu"
                    ));
                }
                let own = serde_json::from_value(stated.clone()).map_err(read)?;
                Ok(TextConfig::Bert(own))
            }
            other => Err(format!(
                "the text encoder is of the type `{other}`, expected t5 (of version 1.1) or bert"
            )),
        }
    }

    /// A BERT of so many layers of a width, for texts of up to 512 of 4,096 word pieces.
    pub fn small_bert(layers: usize, width: usize) -> Self {
        TextConfig::Bert(BertConfig {
            vocab_size: 4096,
            hidden_size: width,
            num_hidden_layers: layers,
            num_attention_heads: (width / 32).max(1),
            intermediate_size: 4 * width,
            ..BertConfig::default()
        })
    }

    /// The same encoder without dropout.
    #[must_use]
    pub fn without_dropout(mut self) -> Self {
        match &mut self {
            TextConfig::T5(own) => own.dropout_rate = 0.0,
            TextConfig::Bert(own) => {
                (own.hidden_dropout_prob, own.attention_probs_dropout_prob) = (0.0, 0.0);
            }
        }
        self
    }

    /// Length of the vector of a word piece.
    pub fn width(&self) -> usize {
        match self {
            TextConfig::T5(own) => own.d_model,
            TextConfig::Bert(own) => own.hidden_size,
        }
    }

    /// Rows of the table of word pieces.
    pub fn vocabulary(&self) -> usize {
        match self {
            TextConfig::T5(own) => own.vocab_size,
            TextConfig::Bert(own) => own.vocab_size,
        }
    }

    /// Changes the rows of the table of word pieces.
    pub fn set_vocabulary(&mut self, rows: usize) {
        match self {
            TextConfig::T5(own) => own.vocab_size = rows,
            TextConfig::Bert(own) => own.vocab_size = rows,
        }
    }

    /// Word pieces of the longest text it reads, if that is limited.
    pub fn positions(&self) -> Option<usize> {
        match self {
            TextConfig::T5(_) => None,
            TextConfig::Bert(own) => Some(own.max_position_embeddings),
        }
    }

    /// Every parameter with its shape, each name with `prefix` in front.
    pub fn parameters(&self, prefix: &str) -> Vec<(String, Vec<usize>)> {
        let own = match self {
            TextConfig::T5(own) => own.parameters(),
            TextConfig::Bert(own) => own.parameters(),
        };
        let named = |(name, shape)| (format!("{prefix}{name}"), shape);
        own.into_iter().map(named).collect()
    }

    /// Layers.
    pub fn layers(&self) -> usize {
        match self {
            TextConfig::T5(own) => own.num_layers,
            TextConfig::Bert(own) => own.num_hidden_layers,
        }
    }

    /// [`states`](TextConfig::states) without padding, of an encoder whose first `still` layers and tables are in evaluation mode, if
    /// there are any; of T5 all are.
    pub fn states_above(
        &self,
        weights: &Weights,
        prefix: &str,
        texts: &TextIds,
        still: usize,
        ctx: &Context,
    ) -> Tensor<3> {
        match self {
            TextConfig::T5(own) if still > 0 => {
                own.states(weights, prefix, texts, true, &ctx.evaluating())
            }
            TextConfig::T5(own) => own.states(weights, prefix, texts, true, ctx),
            TextConfig::Bert(own) => own.states(weights, prefix, texts, true, still, ctx),
        }
    }

    /// One vector for each word piece `[texts, length, width]`, from weights whose names have `prefix` in front. With `masked`
    /// padding is not attended to.
    pub fn states(
        &self,
        weights: &Weights,
        prefix: &str,
        texts: &TextIds,
        masked: bool,
        ctx: &Context,
    ) -> Tensor<3> {
        match self {
            TextConfig::T5(own) => own.states(weights, prefix, texts, masked, ctx),
            TextConfig::Bert(own) => own.states(weights, prefix, texts, masked, 0, ctx),
        }
    }

    /// Random values of a parameter, named without prefix.
    pub fn initial(&self, name: &str, shape: &[usize], stream: &mut Stream) -> Vec<f32> {
        match self {
            TextConfig::T5(own) => own.initial(name, shape, stream),
            TextConfig::Bert(own) => own.initial(name, shape, stream),
        }
    }
}

/// Rows of a table `[words, width]`: `[texts, length, width]`.
pub(crate) fn embed(table: Tensor<2>, texts: &TextIds, ctx: &Context) -> Tensor<3> {
    let width = table.dims()[1];
    rows(table, &texts.ids, ctx).reshape([texts.size(), texts.length, width])
}

/// Rows of a table `[words, width]`: `[ids, width]`.
pub(crate) fn rows(table: Tensor<2>, ids: &[u32], ctx: &Context) -> Tensor<2> {
    let ids: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
    let count = ids.len();
    let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [count]), ctx.device());
    table.select(0, ids)
}

/// Refuses ids that are none of the `count` tokens of a decoder, which it calls `what`.
fn known(ids: &[u32], count: usize, what: &str) -> Result<(), String> {
    match ids.iter().find(|id| **id as usize >= count) {
        Some(id) => Err(format!(
            "the id {id} is no {what} of a decoder with {count}: the tokenizer belongs to another model"
        )),
        None => Ok(()),
    }
}

/// The mean cross-entropy `[1]` of those states `[texts, length, width]` after which a token is known, of which `known` refuses those that
/// are none; `None` without any. The scores of tokens are a linear map of the states.
fn cross_entropy(
    states: Tensor<3>,
    labels: &[Option<u32>],
    (weight, bias): (Tensor<2>, Tensor<1>),
    known: impl FnOnce(&[u32]) -> Result<(), String>,
    ctx: &Context,
) -> Result<Option<Tensor<1>>, String> {
    let [texts, length, width] = states.dims();
    let labels = labels.iter().enumerate();
    let labels = labels.filter_map(|(at, label)| Some((at as u32, (*label)?)));
    let (at, labels): (Vec<u32>, Vec<u32>) = labels.unzip();
    known(&labels)?;
    if at.is_empty() {
        return Ok(None);
    }
    let x = rows(states.reshape([texts * length, width]), &at, ctx);
    Ok(Some(linear_cross_entropy(x, weight, bias, &labels, ctx)))
}
