//! BERT (Devlin et al., NAACL 2019): its encoder, and its layer, which can attend to a second sequence.

use burn::tensor::{Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::{TextIds, embed};
use crate::layers::{
    Activation, Attending, AttentionWeights, Context, Projection, Weights, add_layer_norm,
    attention_weights_with, attention_with, dropout, init, layer_norm, linear,
};
use crate::random::Stream;

/// The hyper-parameters, as `config.json` of Hugging Face names them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BertConfig {
    /// Rows of the table of word pieces.
    pub vocab_size: usize,
    /// Width.
    pub hidden_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Width between the feed-forward layers.
    pub intermediate_size: usize,
    /// Longest text in word pieces.
    pub max_position_embeddings: usize,
    /// Kinds of segments; the first is used.
    pub type_vocab_size: usize,
    /// Epsilon of the layer norms.
    pub layer_norm_eps: f32,
    /// Probability of dropout on embeddings and outputs.
    pub hidden_dropout_prob: f32,
    /// Probability of dropout on attention weights.
    pub attention_probs_dropout_prob: f32,
}

impl Default for BertConfig {
    /// BERT-base.
    fn default() -> Self {
        BertConfig {
            vocab_size: 30_522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
        }
    }
}

impl BertConfig {
    /// Every parameter of the encoder with its shape, in state-dict order.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let d = self.hidden_size;
        let named = |(name, shape): (&str, Vec<usize>)| (name.to_owned(), shape);
        let mut all: Vec<(String, Vec<usize>)> = [
            (
                "embeddings.word_embeddings.weight",
                vec![self.vocab_size, d],
            ),
            (
                "embeddings.position_embeddings.weight",
                vec![self.max_position_embeddings, d],
            ),
            (
                "embeddings.token_type_embeddings.weight",
                vec![self.type_vocab_size, d],
            ),
            ("embeddings.LayerNorm.weight", vec![d]),
            ("embeddings.LayerNorm.bias", vec![d]),
        ]
        .map(named)
        .to_vec();
        for i in 0..self.num_hidden_layers {
            let layer = format!("encoder.layer.{i}.");
            all.extend(BertLayer::parameters(
                &layer,
                d,
                self.intermediate_size,
                false,
            ));
        }
        all
    }

    pub(super) fn states(
        &self,
        weights: &Weights,
        prefix: &str,
        texts: &TextIds,
        masked: bool,
        still: usize,
        ctx: &Context,
    ) -> Tensor<3> {
        let (all, evaluating) = (ctx, ctx.evaluating());
        let ctx = if still > 0 { &evaluating } else { all };
        let table = |name: &str| weights.get::<2>(&format!("{prefix}embeddings.{name}.weight"));
        let rows = |name: &str, rows: Vec<i32>| {
            let rows = TensorData::new(rows, [texts.length]);
            let rows = Tensor::<1, Int>::from_data(rows, ctx.device());
            table(name).select(0, rows).unsqueeze::<3>()
        };
        let words = embed(table("word_embeddings"), texts, ctx);
        let segments = rows("token_type_embeddings", vec![0; texts.length]);
        let places = rows("position_embeddings", (0..texts.length as i32).collect());
        let norm = |part| weights.get::<1>(&format!("{prefix}embeddings.LayerNorm.{part}"));
        let x = words + segments + places;
        let x = layer_norm(x, norm("weight"), norm("bias"), self.layer_norm_eps, ctx);
        ctx.record("embeddings", &x);
        let mut x = ctx.dropping(self.hidden_dropout_prob, || dropout(x, ctx));
        let mask = match masked {
            true => texts.key_mask(texts.length, ctx),
            false => None,
        };
        for i in 0..self.num_hidden_layers {
            let layer = BertLayer {
                weights,
                prefix: format!("{prefix}encoder.layer.{i}."),
                heads: self.num_attention_heads,
                eps: self.layer_norm_eps,
                hidden_dropout: self.hidden_dropout_prob,
                attention_dropout: self.attention_probs_dropout_prob,
                name: None,
            };
            let ctx = if i < still { &evaluating } else { all };
            x = layer.run(x, mask.as_ref(), None, ctx);
            ctx.record(&format!("layer_{}", i + 1), &x);
        }
        x
    }

    pub(super) fn initial(&self, name: &str, shape: &[usize], stream: &mut Stream) -> Vec<f32> {
        BertLayer::initial(name, shape, stream)
    }
}

/// One post-norm layer: attention to itself, if asked for to another sequence, feed-forward layers.
#[derive(Clone, Debug)]
pub struct BertLayer<'a> {
    /// Where its parameters are.
    pub weights: &'a Weights,
    /// In front of their names.
    pub prefix: String,
    /// Attention heads.
    pub heads: usize,
    /// Epsilon of the layer norms.
    pub eps: f32,
    /// Probability of dropout on outputs.
    pub hidden_dropout: f32,
    /// Probability of dropout on attention weights.
    pub attention_dropout: f32,
    /// Name under which values inside are recorded.
    pub name: Option<&'a str>,
}

impl BertLayer<'_> {
    /// The parameters of a layer of width `d`, with `cross` those of the attention to another sequence too.
    pub fn parameters(
        prefix: &str,
        d: usize,
        inner: usize,
        cross: bool,
    ) -> Vec<(String, Vec<usize>)> {
        let mut all = Vec::new();
        let mut map = |name: &str, out: usize, from: usize| {
            all.push((format!("{prefix}{name}.weight"), vec![out, from]));
            all.push((format!("{prefix}{name}.bias"), vec![out]));
        };
        let attentions = ["attention", "crossattention"];
        for attention in &attentions[..1 + usize::from(cross)] {
            for part in ["query", "key", "value"] {
                map(&format!("{attention}.self.{part}"), d, d);
            }
            map(&format!("{attention}.output.dense"), d, d);
        }
        map("intermediate.dense", inner, d);
        map("output.dense", d, inner);
        let mut norm = |name: &str| {
            all.push((format!("{prefix}{name}.LayerNorm.weight"), vec![d]));
            all.push((format!("{prefix}{name}.LayerNorm.bias"), vec![d]));
        };
        norm("attention.output");
        norm("output");
        if cross {
            norm("crossattention.output");
        }
        all
    }

    /// `x` `[batch, length, d]`; `mask` `[batch, length, length]`; `other` a sequence with its mask `[batch, length, keys]`.
    pub fn run(
        &self,
        x: Tensor<3>,
        mask: Option<&Tensor<3>>,
        other: Option<(&Tensor<3>, Option<&Tensor<3>>)>,
        ctx: &Context,
    ) -> Tensor<3> {
        let own = Attending {
            mask,
            ..Attending::default()
        };
        let mut x = self.attend(x, "attention", own, "self", ctx);
        if let Some((to, mask)) = other {
            let how = Attending {
                to: Some(to),
                mask,
                ..Attending::default()
            };
            x = self.attend(x, "crossattention", how, "cross", ctx);
        }
        let (up, bias) = self.map("intermediate.dense");
        let hidden = linear(x.clone(), up, bias, Activation::Gelu, false, ctx);
        let (down, bias) = self.map("output.dense");
        let more = linear(hidden, down, bias, Activation::Identity, false, ctx);
        self.add_norm(x, more, "output", ctx)
    }

    fn attend(
        &self,
        x: Tensor<3>,
        part: &str,
        how: Attending<'_>,
        short: &str,
        ctx: &Context,
    ) -> Tensor<3> {
        let (out_weight, out_bias) = self.map(&format!("{part}.output.dense"));
        let maps = ["query", "key", "value"].map(|name| self.map(&format!("{part}.self.{name}")));
        let w = AttentionWeights {
            input: Projection::Separate(maps),
            out_weight,
            out_bias,
        };
        if let Some(name) = self.name.filter(|_| ctx.records()) {
            let probabilities = attention_weights_with(x.clone(), &w, how, self.heads, ctx);
            ctx.record(&format!("{name}_{short}_attn_probs"), &probabilities);
        }
        let heard = ctx.dropping(self.attention_dropout, || {
            attention_with(x.clone(), &w, how, self.heads, ctx)
        });
        let x = self.add_norm(x, heard, &format!("{part}.output"), ctx);
        if let Some(name) = self.name {
            ctx.record(&format!("{name}_{short}_out"), &x);
        }
        x
    }

    fn add_norm(&self, x: Tensor<3>, more: Tensor<3>, part: &str, ctx: &Context) -> Tensor<3> {
        let norm = |of| {
            let name = format!("{}{part}.LayerNorm.{of}", self.prefix);
            self.weights.get::<1>(&name)
        };
        ctx.dropping(self.hidden_dropout, || {
            add_layer_norm(x, more, norm("weight"), norm("bias"), self.eps, ctx)
        })
    }

    fn map(&self, name: &str) -> (Tensor<2>, Tensor<1>) {
        let prefix = &self.prefix;
        (
            self.weights.get(&format!("{prefix}{name}.weight")),
            self.weights.get(&format!("{prefix}{name}.bias")),
        )
    }

    /// Random values: normal with standard deviation 0.02, norms 1 and 0, biases 0.
    pub fn initial(name: &str, shape: &[usize], stream: &mut Stream) -> Vec<f32> {
        let count = shape.iter().product();
        match name {
            _ if name.ends_with("LayerNorm.weight") => vec![1.0; count],
            _ if name.ends_with(".bias") => vec![0.0; count],
            _ => init::normal(count, 0.02, stream),
        }
    }
}
