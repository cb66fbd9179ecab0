//! Multi-head self-attention as PyTorch packs it: one input projection whose rows are queries, keys, values.

use burn::backend::Dispatch;
use burn::tensor::{Tensor, activation};

use super::context::Context;
use super::kernels::Kernels;
use super::linear::{Activation, linear};

/// Parameters of one attention block of width `d`.
#[derive(Clone, Debug)]
pub struct AttentionWeights {
    /// `[3 d, d]`: query, key, value rows.
    pub in_weight: Tensor<2>,
    /// `[3 d]`.
    pub in_bias: Tensor<1>,
    /// `[d, d]`.
    pub out_weight: Tensor<2>,
    /// `[d]`.
    pub out_bias: Tensor<1>,
}

/// Self-attention of `x` `[batch, length, d]`.
///
/// `mask` `[1 or batch, length, length]` is added to the scaled scores: 0 allows, minus infinity forbids, anything
/// between weighs. Dropout acts on the attention weights.
pub fn attention(
    x: Tensor<3>,
    w: &AttentionWeights,
    mask: Option<&Tensor<3>>,
    heads: usize,
    ctx: &Context,
) -> Tensor<3> {
    let qkv = project(x, w, ctx);
    let site = ctx.next_dropout();
    let mixed = if ctx.fused() {
        let none = || Tensor::<3>::zeros([0, 0, 0], ctx.device());
        Tensor::from_dispatch(Dispatch::attention(
            qkv.into_dispatch(),
            mask.cloned().unwrap_or_else(none).into_dispatch(),
            heads,
            site.0,
            site.1,
        ))
    } else {
        let [batch, length, packed] = qkv.dims();
        let (p, v) = probabilities(qkv, mask, heads, ctx);
        let p = ctx.drop_composed(p, site);
        ctx.matmul(p, v)
            .swap_dims(1, 2)
            .reshape([batch, length, packed / 3])
    };
    linear(
        mixed,
        w.out_weight.clone(),
        w.out_bias.clone(),
        Activation::Identity,
        false,
        ctx,
    )
}

/// The attention weights `[batch, heads, length, length]` that [`attention`] gives `x`, without dropout: what each
/// position listens to.
pub fn attention_weights(
    x: Tensor<3>,
    w: &AttentionWeights,
    mask: Option<&Tensor<3>>,
    heads: usize,
    ctx: &Context,
) -> Tensor<4> {
    probabilities(project(x, w, ctx), mask, heads, ctx).0
}

fn project(x: Tensor<3>, w: &AttentionWeights, ctx: &Context) -> Tensor<3> {
    linear(
        x,
        w.in_weight.clone(),
        w.in_bias.clone(),
        Activation::Identity,
        false,
        ctx,
    )
}

/// Softmax of the masked, scaled scores and the values, both split by head.
fn probabilities(
    qkv: Tensor<3>,
    mask: Option<&Tensor<3>>,
    heads: usize,
    ctx: &Context,
) -> (Tensor<4>, Tensor<4>) {
    let [batch, length, packed] = qkv.dims();
    let head = packed / 3 / heads;
    let parts = qkv
        .reshape([batch, length, 3, heads, head])
        .permute([2, 0, 3, 1, 4]); // [3, batch, heads, length, head]
    let part = |i: usize| {
        parts
            .clone()
            .narrow(0, i, 1)
            .reshape([batch, heads, length, head])
    };
    let scores = ctx.matmul(part(0), part(1).swap_dims(2, 3)) / (head as f64).sqrt();
    let scores = match mask {
        None => scores,
        Some(mask) => scores + mask.clone().unsqueeze_dim::<4>(1),
    };
    (activation::softmax(scores, 3), part(2))
}

#[cfg(test)]
mod tests {
    use super::super::twins;
    use super::*;

    #[test]
    fn fused_and_composed_agree_in_values_and_gradients() {
        for (batch, length, d, heads, masks) in
            [(1, 3, 4, 2, 0), (2, 37, 24, 3, 1), (3, 20, 16, 2, 3)]
        {
            let shapes: [&[usize]; 6] = [
                &[batch, length, d],
                &[3 * d, d],
                &[3 * d],
                &[d, d],
                &[d],
                &[masks, length, length],
            ];
            twins::check(&shapes, move |p, ctx| {
                let [x, iw, ib, ow, ob, mask] = p else {
                    unreachable!()
                };
                let w = AttentionWeights {
                    in_weight: iw.clone().reshape([3 * d, d]),
                    in_bias: ib.clone(),
                    out_weight: ow.clone().reshape([d, d]),
                    out_bias: ob.clone(),
                };
                // Masks are constants: no gradient flows into them. Every third entry forbids.
                let mask = (masks > 0).then(|| {
                    let m = mask.clone().detach().reshape([masks, length, length]);
                    let forbidden = m.clone().greater_elem(0.8);
                    let own = Tensor::<2>::eye(length, ctx.device()).greater_elem(0.5);
                    m.mask_fill(forbidden, f32::NEG_INFINITY)
                        .mask_fill(own.unsqueeze::<3>().expand([masks, length, length]), 0.0)
                });
                let x = x.clone().reshape([batch, length, d]);
                attention(x, &w, mask.as_ref(), heads, ctx)
            });
        }
    }
}
