//! What pre-norm transformers over time share: attention and gated or plain feed-forward layers whose branches may be left out for a
//! whole sequence (Gao Huang et al., Deep Networks with Stochastic Depth, 2016).

use burn::tensor::{Tensor, activation};

use super::attention::{AttentionWeights, Projection, attention};
use super::context::Context;
use super::cpu::Activation;
use super::dropout::dropout;
use super::linear::linear;
use super::norm::layer_norm;
use super::weights::Weights;

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
