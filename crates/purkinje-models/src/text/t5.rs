//! The encoder of T5 v1.1 (Raffel et al., JMLR 2020; the gated feed-forward layers of Shazeer, arXiv 2002.05202).

use burn::tensor::{Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::{TextIds, embed};
use crate::layers::{
    Activation, Attending, AttentionWeights, Context, Projection, Weights, attention_with, dropout,
    init, linear, linear_map, rms_norm,
};
use crate::random::Stream;

/// The table of word pieces.
const TABLE: &str = "shared.weight";
/// Relative positions of the first layer, which all use.
const POSITIONS: &str = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";
const LAST_NORM: &str = "encoder.final_layer_norm.weight";

/// The hyper-parameters, as `config.json` of Hugging Face names them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct T5Config {
    /// Rows of the table of word pieces.
    pub vocab_size: usize,
    /// Width.
    pub d_model: usize,
    /// Width of a head.
    pub d_kv: usize,
    /// Width between the feed-forward layers.
    pub d_ff: usize,
    /// Layers.
    pub num_layers: usize,
    /// Attention heads.
    pub num_heads: usize,
    /// Distances that are told apart.
    pub relative_attention_num_buckets: usize,
    /// The distance from which all are one.
    pub relative_attention_max_distance: usize,
    /// Probability of dropout.
    pub dropout_rate: f32,
    /// Epsilon of the norms.
    pub layer_norm_epsilon: f32,
}

impl Default for T5Config {
    /// Flan-T5-base.
    fn default() -> Self {
        T5Config {
            vocab_size: 32_128,
            d_model: 768,
            d_kv: 64,
            d_ff: 2048,
            num_layers: 12,
            num_heads: 12,
            relative_attention_num_buckets: 32,
            relative_attention_max_distance: 128,
            dropout_rate: 0.1,
            layer_norm_epsilon: 1e-6,
        }
    }
}

/// The bucket of a key at the signed distance `relative` from the query: half of them for each direction, in each the first half for
/// one distance each, the others for distances that grow exponentially up to `furthest`.
pub fn bucket(relative: i64, buckets: usize, furthest: usize) -> usize {
    let half = buckets / 2;
    let exact = half / 2;
    let side = if relative > 0 { half } else { 0 };
    let distance = relative.unsigned_abs() as usize;
    if distance < exact {
        return side + distance;
    }
    // In single precision, as the original computes it: the last digit decides which bucket a distance on an edge falls into.
    let (distance, exact) = (distance as f32, exact as f32);
    let far = (distance / exact).ln() / (furthest as f64 / f64::from(exact)).ln() as f32;
    let far = (exact + (far * (half as f32 - exact)).trunc()) as usize;
    side + far.min(half - 1)
}

impl T5Config {
    /// Every parameter with its shape, in state-dict order.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let (d, inner) = (self.d_model, self.num_heads * self.d_kv);
        let mut all = vec![(TABLE.to_owned(), vec![self.vocab_size, d])];
        for i in 0..self.num_layers {
            let layer = format!("encoder.block.{i}.layer");
            for part in ["q", "k", "v"] {
                all.push((
                    format!("{layer}.0.SelfAttention.{part}.weight"),
                    vec![inner, d],
                ));
            }
            all.push((format!("{layer}.0.SelfAttention.o.weight"), vec![d, inner]));
            if i == 0 {
                let shape = vec![self.relative_attention_num_buckets, self.num_heads];
                all.push((POSITIONS.to_owned(), shape));
            }
            all.push((format!("{layer}.0.layer_norm.weight"), vec![d]));
            for (part, shape) in [
                ("wi_0", [self.d_ff, d]),
                ("wi_1", [self.d_ff, d]),
                ("wo", [d, self.d_ff]),
            ] {
                let name = format!("{layer}.1.DenseReluDense.{part}.weight");
                all.push((name, shape.to_vec()));
            }
            all.push((format!("{layer}.1.layer_norm.weight"), vec![d]));
        }
        all.push((LAST_NORM.to_owned(), vec![d]));
        all
    }

    pub(super) fn states(
        &self,
        weights: &Weights,
        prefix: &str,
        texts: &TextIds,
        masked: bool,
        ctx: &Context,
    ) -> Tensor<3> {
        ctx.dropping(self.dropout_rate, || {
            self.run(weights, prefix, texts, masked, ctx)
        })
    }

    fn run(
        &self,
        weights: &Weights,
        prefix: &str,
        texts: &TextIds,
        masked: bool,
        ctx: &Context,
    ) -> Tensor<3> {
        let matrix = |name: String| weights.get::<2>(&format!("{prefix}{name}"));
        let norm = |x: Tensor<3>, name: &str| {
            let gamma = weights.get::<1>(&format!("{prefix}{name}"));
            rms_norm(x, gamma, self.layer_norm_epsilon)
        };
        let mut x = dropout(embed(matrix(TABLE.to_owned()), texts, ctx), ctx);
        let bias = self.position_bias(matrix(POSITIONS.to_owned()), texts.length, ctx);
        ctx.record("position_bias", &bias);
        let mask = match masked {
            true => texts.key_mask(texts.length, ctx),
            false => None,
        };
        let how = Attending {
            mask: mask.as_ref(),
            bias: Some(&bias),
            unscaled: true,
            ..Attending::default()
        };
        let none = |width: usize| Tensor::<1>::zeros([width], ctx.device());
        for i in 0..self.num_layers {
            let layer = format!("encoder.block.{i}.layer");
            let map = |part| {
                let w = matrix(format!("{layer}.0.SelfAttention.{part}.weight"));
                let width = w.dims()[0];
                (w, none(width))
            };
            let (out_weight, out_bias) = map("o");
            let w = AttentionWeights {
                input: Projection::Separate(["q", "k", "v"].map(map)),
                out_weight,
                out_bias,
            };
            let z = norm(x.clone(), &format!("{layer}.0.layer_norm.weight"));
            x = x + dropout(attention_with(z, &w, how, self.num_heads, ctx), ctx);
            ctx.record(&format!("block_{i}_after_self_attn"), &x);
            let z = norm(x.clone(), &format!("{layer}.1.layer_norm.weight"));
            let map = |z: &Tensor<3>, part: &str| {
                let w = matrix(format!("{layer}.1.DenseReluDense.{part}.weight"));
                linear_map(z.clone(), w, ctx)
            };
            let w = matrix(format!("{layer}.1.DenseReluDense.wi_0.weight"));
            let b = none(w.dims()[0]);
            let gate = linear(z.clone(), w, b, Activation::GeluTanh, false, ctx);
            let gated = dropout(gate * map(&z, "wi_1"), ctx);
            x = x + dropout(map(&gated, "wo"), ctx);
            ctx.record(&format!("block_{i}"), &x);
        }
        dropout(norm(x, LAST_NORM), ctx)
    }

    /// The bucket of each query and key `[length, length]`.
    pub fn buckets(&self, length: usize) -> Vec<usize> {
        let buckets = self.relative_attention_num_buckets;
        let furthest = self.relative_attention_max_distance;
        (0..length * length)
            .map(|at| {
                let (query, key) = (at / length, at % length);
                bucket(key as i64 - query as i64, buckets, furthest)
            })
            .collect()
    }

    /// What is added to the scores `[heads, length, length]`.
    fn position_bias(&self, table: Tensor<2>, length: usize, ctx: &Context) -> Tensor<3> {
        let rows: Vec<i32> = self.buckets(length).iter().map(|&b| b as i32).collect();
        let rows = TensorData::new(rows, [length * length]);
        let rows = Tensor::<1, Int>::from_data(rows, ctx.device());
        table
            .select(0, rows)
            .transpose()
            .reshape([self.num_heads, length, length])
    }

    pub(super) fn initial(&self, name: &str, shape: &[usize], stream: &mut Stream) -> Vec<f32> {
        let count = shape.iter().product();
        let (d, inner) = (self.d_model as f64, (self.num_heads * self.d_kv) as f64);
        let std = match name {
            TABLE => 1.0,
            _ if name.ends_with("layer_norm.weight") => return vec![1.0; count],
            _ if name.ends_with(".q.weight") => (d * self.d_kv as f64).powf(-0.5),
            _ if name.ends_with(".o.weight") => inner.powf(-0.5),
            _ if name.ends_with(".wo.weight") => (self.d_ff as f64).powf(-0.5),
            _ => d.powf(-0.5),
        };
        init::normal(count, std, stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_those_of_the_published_settings() {
        let of = |relative| bucket(relative, 32, 128);
        let found: Vec<usize> = [0, -1, -7, -8, -11, -12, -16, -127, -128, -500, 1, 7, 8, 200]
            .map(of)
            .to_vec();
        assert_eq!(found, [0, 1, 7, 8, 8, 9, 10, 15, 15, 15, 17, 23, 24, 31]);
    }
}
