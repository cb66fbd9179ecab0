//! Multi-head self-attention, with one packed input projection (as PyTorch has it) or three.

use burn::backend::Dispatch;
use burn::tensor::{Tensor, activation};

use super::context::Context;
use super::cpu::Drawn;
use super::kernels::Kernels;
use super::linear::{Activation, linear};

/// How queries, keys and values of width `d` come from the input.
// Few are created per pass, and a tensor is a handle.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
pub enum Projection {
    /// One map whose rows are queries, keys, values: weight `[3 d, d]`, bias `[3 d]`.
    Packed(Tensor<2>, Tensor<1>),
    /// Three maps, for queries, keys and values: weight `[d, d]` and bias `[d]` of each.
    Separate([(Tensor<2>, Tensor<1>); 3]),
}

/// Parameters of one attention block of width `d`.
#[derive(Clone, Debug)]
pub struct AttentionWeights {
    /// The maps to queries, keys and values.
    pub input: Projection,
    /// `[d, d]`.
    pub out_weight: Tensor<2>,
    /// `[d]`.
    pub out_bias: Tensor<1>,
}

/// Self-attention of `x` `[batch, length, d]`.
///
/// `mask` `[1 or batch, length, length]` is added to the scaled scores: 0 allows attention, minus infinity forbids it,
/// other values bias it. Dropout acts on the attention weights.
pub fn attention(
    x: Tensor<3>,
    w: &AttentionWeights,
    mask: Option<&Tensor<3>>,
    heads: usize,
    ctx: &Context,
) -> Tensor<3> {
    let [batch, length, _] = x.dims();
    let projected = project(x, w, ctx);
    let site = ctx.next_dropout();
    let mixed = if ctx.fused() {
        let none = || Tensor::<3>::zeros([0, 0, 0], ctx.device());
        let mask = mask.cloned().unwrap_or_else(none).into_dispatch();
        let factors = site.factors([batch, heads, length, length], ctx);
        let factors = factors
            .unwrap_or_else(|| Tensor::zeros([0, 0, 0, 0], ctx.device()))
            .into_dispatch();
        let (p, key) = site.drawn();
        let drawn = Drawn { p, key };
        let mixed = match projected {
            Projected::Packed(qkv) => {
                Dispatch::attention(qkv.into_dispatch(), mask, factors, heads, drawn)
            }
            Projected::Separate(parts) => {
                let [q, k, v] = parts.map(Tensor::into_dispatch);
                Dispatch::attention_of_three(q, k, v, mask, factors, heads, drawn)
            }
        };
        Tensor::from_dispatch(mixed)
    } else {
        let (p, v) = probabilities(projected, mask, heads, ctx);
        let [batch, _, length, head] = v.dims();
        let p = ctx.drop_composed(p, &site);
        ctx.matmul(p, v)
            .swap_dims(1, 2)
            .reshape([batch, length, heads * head])
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

/// The attention weights `[batch, heads, length, length]` that [`attention`] gives `x`, without dropout.
pub fn attention_weights(
    x: Tensor<3>,
    w: &AttentionWeights,
    mask: Option<&Tensor<3>>,
    heads: usize,
    ctx: &Context,
) -> Tensor<4> {
    probabilities(project(x, w, ctx), mask, heads, ctx).0
}

#[allow(clippy::large_enum_variant)]
enum Projected {
    /// `[batch, length, 3 d]`.
    Packed(Tensor<3>),
    /// Queries, keys, values `[batch, length, d]`.
    Separate([Tensor<3>; 3]),
}

fn project(x: Tensor<3>, w: &AttentionWeights, ctx: &Context) -> Projected {
    let map = |(w, b): &(Tensor<2>, Tensor<1>)| {
        let (w, b) = (w.clone(), b.clone());
        linear(x.clone(), w, b, Activation::Identity, false, ctx)
    };
    match &w.input {
        Projection::Packed(w, b) => Projected::Packed(map(&(w.clone(), b.clone()))),
        Projection::Separate(maps) => Projected::Separate(maps.each_ref().map(map)),
    }
}

/// Softmax of the masked, scaled scores and the values, both split by head.
fn probabilities(
    projected: Projected,
    mask: Option<&Tensor<3>>,
    heads: usize,
    ctx: &Context,
) -> (Tensor<4>, Tensor<4>) {
    let parts = match projected {
        Projected::Separate(parts) => parts,
        Projected::Packed(qkv) => {
            let d = qkv.dims()[2] / 3;
            [0, 1, 2].map(|i| qkv.clone().narrow(2, i * d, d))
        }
    };
    let [q, k, v] = parts.map(|part| {
        let [batch, length, d] = part.dims();
        part.reshape([batch, length, heads, d / heads])
            .swap_dims(1, 2) // [batch, heads, length, head]
    });
    let head = q.dims()[3];
    let scores = ctx.matmul(q, k.swap_dims(2, 3)) / (head as f64).sqrt();
    let scores = match mask {
        None => scores,
        Some(mask) => scores + mask.clone().unsqueeze_dim::<4>(1),
    };
    (activation::softmax(scores, 3), v)
}

#[cfg(test)]
mod tests {
    use super::super::twins;
    use super::*;

    #[test]
    fn fused_and_composed_agree_in_values_and_gradients() {
        for (batch, length, d, heads, masks) in [
            (1, 3, 4, 2, 0),
            (2, 37, 24, 3, 1),
            (3, 20, 16, 2, 3),
            (2, 20, 15, 3, 2),
        ] {
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
                let (iw, ib) = (iw.clone().reshape([3 * d, d]), ib.clone());
                let part = |i| {
                    (
                        iw.clone().narrow(0, i * d, d),
                        ib.clone().narrow(0, i * d, d),
                    )
                };
                let w = AttentionWeights {
                    input: match heads {
                        3 => Projection::Separate([0, 1, 2].map(part)),
                        _ => Projection::Packed(iw, ib),
                    },
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
