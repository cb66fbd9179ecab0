//! A transformer over patches of time (Dosovitskiy et al., An Image is Worth 16x16 Words, 2021), and what pre-norm transformers over
//! time share: attention and gated or plain feed-forward layers whose branches may be left out for a whole sequence (Gao Huang et al.,
//! Deep Networks with Stochastic Depth, 2016).

use burn::tensor::{Device, Tensor, activation};
use serde::{Deserialize, Serialize};

use super::attention::{AttentionWeights, Projection, attention, attention_weights};
use super::context::Context;
use super::conv::{Convolution, conv1d};
use super::cpu::Activation;
use super::dropout::dropout;
use super::init;
use super::linear::linear;
use super::norm::layer_norm;
use super::weights::Weights;
use crate::random::Stream;

/// Epsilon of the norms.
pub(crate) const EPS: f32 = 1e-5;

/// `x` `[batch, length, width]` as a branch of a residual sum, left out for a whole sequence with probability `p` in training.
pub(crate) fn drop_path(x: Tensor<3>, p: f32, ctx: &Context) -> Tensor<3> {
    if p == 0.0 || !ctx.trains() {
        return x;
    }
    let batch = x.dims()[0];
    let kept = ctx.dropping(p, || {
        dropout(Tensor::<3>::ones([batch, 1, 1], ctx.device()), ctx)
    });
    x * kept
}

/// The names and shapes of attention of width `d` with `inner` for queries, keys and values, behind a norm.
pub(crate) fn attention_entries(name: &str, d: usize, inner: usize) -> Vec<(String, Vec<usize>)> {
    vec![
        (format!("{name}.norm.weight"), vec![d]),
        (format!("{name}.norm.bias"), vec![d]),
        (format!("{name}.fn.to_qkv.weight"), vec![3 * inner, d]),
        (format!("{name}.fn.to_qkv.bias"), vec![3 * inner]),
        (format!("{name}.fn.to_out.0.weight"), vec![d, inner]),
        (format!("{name}.fn.to_out.0.bias"), vec![d]),
    ]
}

/// Attention of the normalised `x` to itself.
pub(crate) fn normed_attention(
    x: Tensor<3>,
    weights: &Weights,
    name: &str,
    mask: Option<&Tensor<3>>,
    heads: usize,
    ctx: &Context,
) -> Tensor<3> {
    let x = norm(x, weights, &format!("{name}.norm"), ctx);
    let w = AttentionWeights {
        input: Projection::Packed(
            weights.get(&format!("{name}.fn.to_qkv.weight")),
            weights.get(&format!("{name}.fn.to_qkv.bias")),
        ),
        out_weight: weights.get(&format!("{name}.fn.to_out.0.weight")),
        out_bias: weights.get(&format!("{name}.fn.to_out.0.bias")),
    };
    if ctx.records() {
        let found = attention_weights(x.clone(), &w, mask, heads, ctx);
        ctx.record(&format!("{name}_prob"), &found);
    }
    ctx.dropping(0.0, || attention(x, &w, mask, heads, ctx))
}

pub(crate) fn norm(x: Tensor<3>, weights: &Weights, name: &str, ctx: &Context) -> Tensor<3> {
    let part = |part| weights.get::<1>(&format!("{name}.{part}"));
    layer_norm(x, part("weight"), part("bias"), EPS, ctx)
}

/// `x w^T + b`.
pub(crate) fn map<const D: usize>(
    x: Tensor<D>,
    weights: &Weights,
    name: &str,
    ctx: &Context,
) -> Tensor<D> {
    let (w, b) = (
        weights.get(&format!("{name}.weight")),
        weights.get(&format!("{name}.bias")),
    );
    linear(x, w, b, Activation::Identity, false, ctx)
}

/// The names and shapes of a gated feed-forward layer.
pub(crate) fn gated_entries(
    name: &str,
    d: usize,
    inner: usize,
    out: usize,
) -> Vec<(String, Vec<usize>)> {
    let mut all = Vec::new();
    for (part, rows, columns) in [("fc1", inner, d), ("fc2", out, inner), ("fc3", inner, d)] {
        all.push((format!("{name}.{part}.weight"), vec![rows, columns]));
        all.push((format!("{name}.{part}.bias"), vec![rows]));
    }
    all
}

/// A gated feed-forward layer: the product of two maps, each with dropout, one of which goes through a SiLU, and a third map.
pub(crate) fn gated(
    x: Tensor<3>,
    weights: &Weights,
    name: &str,
    p: f32,
    ctx: &Context,
) -> Tensor<3> {
    let one = map(x.clone(), weights, &format!("{name}.fc1"), ctx);
    let one = ctx.dropping(p, || dropout(one, ctx));
    let other = map(x, weights, &format!("{name}.fc3"), ctx);
    let other = ctx.dropping(p, || dropout(other, ctx));
    map(
        activation::silu(one) * other,
        weights,
        &format!("{name}.fc2"),
        ctx,
    )
}

/// The hyper-parameters of a transformer over patches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VitConfig {
    /// Leads.
    pub leads: usize,
    /// Patches of a recording.
    pub patches: usize,
    /// Samples of a patch.
    pub patch: usize,
    /// Width.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of a head.
    pub head_width: usize,
    /// Width between the feed-forward layers.
    pub inner: usize,
    /// Probability with which a branch of the last block is left out; it grows from 0 over the blocks.
    pub drop_path: f32,
}

impl Default for VitConfig {
    /// The smallest published one.
    fn default() -> Self {
        VitConfig {
            leads: 12,
            patches: 100,
            patch: 50,
            width: 192,
            depth: 12,
            heads: 3,
            head_width: 64,
            inner: 768,
            drop_path: 0.0,
        }
    }
}

impl VitConfig {
    /// A network by its published name: `vit-tiny`, `vit-small`, `vit-middle` or `vit-base`.
    pub fn named(name: &str) -> Option<Self> {
        let (width, heads) = match name {
            "vit-tiny" => (192, 3),
            "vit-small" => (384, 6),
            "vit-middle" => (512, 8),
            "vit-base" => (768, 12),
            _ => return None,
        };
        Some(VitConfig {
            width,
            heads,
            inner: 4 * width,
            ..VitConfig::default()
        })
    }

    /// Every entry with its shape, in state-dict order, each name with `prefix` in front.
    pub fn entries(&self, prefix: &str) -> Vec<(String, Vec<usize>)> {
        let d = self.width;
        let mut all = vec![
            (format!("{prefix}pos_embedding"), vec![1, self.patches, d]),
            (
                format!("{prefix}to_patch_embedding.weight"),
                vec![d, self.leads, self.patch],
            ),
        ];
        for i in 0..self.depth {
            let block = format!("{prefix}block{i}");
            let inner = self.heads * self.head_width;
            all.extend(attention_entries(&format!("{block}.attn"), d, inner));
            for (part, shape) in [
                ("norm.weight", vec![d]),
                ("norm.bias", vec![d]),
                ("fn.net.0.weight", vec![self.inner, d]),
                ("fn.net.0.bias", vec![self.inner]),
                ("fn.net.3.weight", vec![d, self.inner]),
                ("fn.net.3.bias", vec![d]),
            ] {
                all.push((format!("{block}.ff.{part}"), shape));
            }
        }
        all.push((format!("{prefix}norm.weight"), vec![d]));
        all.push((format!("{prefix}norm.bias"), vec![d]));
        all
    }

    /// Adds random weights: positions normal, layers uniform within one over the root of their inputs.
    pub fn insert(&self, weights: &mut Weights, prefix: &str, seed: u64, device: &Device) {
        let all = self.entries(prefix);
        for (name, shape) in &all {
            let mut stream = Stream::new(seed, name);
            let count = shape.iter().product();
            let data = if name.contains("norm.") {
                vec![f32::from(name.ends_with("weight")); count]
            } else if name.ends_with("pos_embedding") {
                init::normal(count, 1.0, &mut stream)
            } else {
                let inputs = init::fan_in(name, shape, &all);
                init::uniform(count, 1.0 / (inputs as f64).sqrt(), &mut stream)
            };
            weights.insert(name.clone(), shape, data, device);
        }
    }

    /// The vector `[batch, width]` for `x` `[batch, samples, leads]`.
    pub fn run(&self, x: Tensor<3>, weights: &Weights, prefix: &str, ctx: &Context) -> Tensor<2> {
        let patches = weights.get::<3>(&format!("{prefix}to_patch_embedding.weight"));
        let place = Convolution::valid(self.patch);
        let x = conv1d(x, patches, None, place, Activation::Identity, ctx);
        let mut x = x + weights.get::<3>(&format!("{prefix}pos_embedding"));
        ctx.record("tokens", &x);
        for i in 0..self.depth {
            let (block, short) = (format!("{prefix}block{i}"), format!("block{i}"));
            let last = (self.depth - 1).max(1);
            let p = self.drop_path * i as f32 / last as f32;
            let name = format!("{block}.attn");
            let heard = normed_attention(x.clone(), weights, &name, None, self.heads, ctx);
            ctx.record(&format!("{short}.attn_out"), &heard);
            x = x + drop_path(heard, p, ctx);
            let z = norm(x.clone(), weights, &format!("{block}.ff.norm"), ctx);
            let part = |part: &str| format!("{block}.ff.fn.net.{part}");
            let (w, b) = (weights.get(&part("0.weight")), weights.get(&part("0.bias")));
            let z = linear(z, w, b, Activation::Gelu, false, ctx);
            x = x + drop_path(map(z, weights, &part("3"), ctx), p, ctx);
            ctx.record(&short, &x);
        }
        let [batch, _, width] = x.dims();
        let x = norm(x.mean_dim(1), weights, &format!("{prefix}norm"), ctx);
        x.reshape([batch, width])
    }

    /// Checks that an input of so many samples is of as many patches.
    ///
    /// # Errors
    /// A message that names the field.
    pub fn validate(&self, samples: usize) -> Result<(), String> {
        match self.patches * self.patch == samples {
            true => Ok(()),
            false => Err(format!(
                "encoder: {} patches of {} samples do not make up the {samples} samples of a lead",
                self.patches, self.patch
            )),
        }
    }
}
