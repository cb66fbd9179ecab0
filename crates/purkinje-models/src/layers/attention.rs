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

/// What a sequence attends to, and how scores are formed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attending<'a> {
    /// The sequence `[batch, keys, d]` that keys and values come from; the own one if `None`.
    pub to: Option<&'a Tensor<3>>,
    /// `[1 or batch, length, keys]`, added to the scores: 0 allows attention, minus infinity forbids it, other values bias it. No
    /// gradient flows into it.
    pub mask: Option<&'a Tensor<3>>,
    /// `[heads, length, keys]`, added to the scores of each head.
    pub bias: Option<&'a Tensor<3>>,
    /// Whether scores are products of queries and keys as they are, not divided by the root of their width.
    pub unscaled: bool,
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
    let how = Attending {
        mask,
        ..Attending::default()
    };
    attention_with(x, w, how, heads, ctx)
}

/// Attention of `x` `[batch, length, d]` to itself or to another sequence. Queries, keys and values may have a width of their own.
/// Dropout acts on the attention weights.
pub fn attention_with(
    x: Tensor<3>,
    w: &AttentionWeights,
    how: Attending<'_>,
    heads: usize,
    ctx: &Context,
) -> Tensor<3> {
    let [batch, length, _] = x.dims();
    let mut projected = project(x, how.to, w, ctx);
    if how.unscaled {
        projected = projected.scale_queries(heads);
    }
    let site = ctx.next_dropout();
    let plain = how.to.is_none() && how.bias.is_none();
    // Gradients of a bias, and other lengths of keys, are left to plain tensor operations.
    let by_head = how.to.is_none() && how.bias.is_some() && !ctx.tracks() && site.p == 0.0;
    let mixed = if ctx.fused() && plain {
        let none = || Tensor::<3>::zeros([0, 0, 0], ctx.device());
        let mask = how.mask.cloned().unwrap_or_else(none).into_dispatch();
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
    } else if ctx.fused() && by_head {
        // Each head as a recording of its own, with the bias as its mask.
        let [q, k, v] = projected.heads(heads).map(|part| {
            let [batch, heads, length, head] = part.dims();
            part.reshape([batch * heads, length, head]).into_dispatch()
        });
        let mask = biases(how, batch, heads, [length, length]);
        let mask = mask.reshape([batch * heads, length, length]);
        let none = Tensor::<4>::zeros([0, 0, 0, 0], ctx.device()).into_dispatch();
        let drawn = Drawn { p: 0.0, key: 0 };
        let mixed = Dispatch::attention_of_three(q, k, v, mask.into_dispatch(), none, 1, drawn);
        let mixed = Tensor::<3>::from_dispatch(mixed);
        let head = mixed.dims()[2];
        mixed
            .reshape([batch, heads, length, head])
            .swap_dims(1, 2)
            .reshape([batch, length, heads * head])
    } else {
        let (p, v) = probabilities(projected, how, heads, ctx);
        let head = v.dims()[3];
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
    let how = Attending {
        mask,
        ..Attending::default()
    };
    attention_weights_with(x, w, how, heads, ctx)
}

/// The attention weights `[batch, heads, length, keys]` that [`attention_with`] gives `x`, without dropout.
pub fn attention_weights_with(
    x: Tensor<3>,
    w: &AttentionWeights,
    how: Attending<'_>,
    heads: usize,
    ctx: &Context,
) -> Tensor<4> {
    let projected = project(x, how.to, w, ctx);
    let projected = match how.unscaled {
        true => projected.scale_queries(heads),
        false => projected,
    };
    probabilities(projected, how, heads, ctx).0
}

#[allow(clippy::large_enum_variant)]
enum Projected {
    /// `[batch, length, 3 d]`.
    Packed(Tensor<3>),
    /// Queries, keys, values `[batch, length, d]`.
    Separate([Tensor<3>; 3]),
}

impl Projected {
    /// Queries, keys, values `[batch, length, width]`.
    fn parts(self) -> [Tensor<3>; 3] {
        match self {
            Projected::Separate(parts) => parts,
            Projected::Packed(qkv) => {
                let d = qkv.dims()[2] / 3;
                [0, 1, 2].map(|i| qkv.clone().narrow(2, i * d, d))
            }
        }
    }

    /// The same split by head: `[batch, heads, length, head]`.
    fn heads(self, heads: usize) -> [Tensor<4>; 3] {
        self.parts().map(|part| {
            let [batch, length, d] = part.dims();
            part.reshape([batch, length, heads, d / heads])
                .swap_dims(1, 2)
        })
    }

    /// Queries times the root of the width of a head, by which scores are divided.
    fn scale_queries(self, heads: usize) -> Self {
        let [q, k, v] = self.parts();
        let head = q.dims()[2] / heads;
        Projected::Separate([q * (head as f64).sqrt(), k, v])
    }
}

fn project(x: Tensor<3>, to: Option<&Tensor<3>>, w: &AttentionWeights, ctx: &Context) -> Projected {
    let map = |x: &Tensor<3>, (w, b): (Tensor<2>, Tensor<1>)| {
        linear(x.clone(), w, b, Activation::Identity, false, ctx)
    };
    match (&w.input, to) {
        (Projection::Packed(w, b), None) => Projected::Packed(map(&x, (w.clone(), b.clone()))),
        (input, to) => {
            let [q, k, v] = input.separate();
            let to = to.unwrap_or(&x);
            Projected::Separate([map(&x, q), map(to, k), map(to, v)])
        }
    }
}

impl Projection {
    fn separate(&self) -> [(Tensor<2>, Tensor<1>); 3] {
        match self {
            Projection::Separate(maps) => maps.clone(),
            Projection::Packed(w, b) => {
                let d = b.dims()[0] / 3;
                [0, 1, 2].map(|i| (w.clone().narrow(0, i * d, d), b.clone().narrow(0, i * d, d)))
            }
        }
    }
}

/// What is added to the scores `[batch, heads, length, keys]`.
fn biases(how: Attending<'_>, batch: usize, heads: usize, shape: [usize; 2]) -> Tensor<4> {
    let [length, keys] = shape;
    let all = [batch, heads, length, keys];
    let bias = how
        .bias
        .map(|bias| bias.clone().unsqueeze_dim::<4>(0).expand(all));
    let mask = how
        .mask
        .map(|mask| mask.clone().unsqueeze_dim::<4>(1).expand(all));
    match (bias, mask) {
        (Some(bias), Some(mask)) => bias + mask,
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => unreachable!("asked for without bias and mask"),
    }
}

/// Softmax of the masked, scaled scores and the values, both split by head.
fn probabilities(
    projected: Projected,
    how: Attending<'_>,
    heads: usize,
    ctx: &Context,
) -> (Tensor<4>, Tensor<4>) {
    let [q, k, v] = projected.heads(heads);
    let [batch, _, length, head] = q.dims();
    let keys = k.dims()[2];
    let mut scores = ctx.matmul(q, k.swap_dims(2, 3)) / (head as f64).sqrt();
    if how.bias.is_some() || how.mask.is_some() {
        scores = scores + biases(how, batch, heads, [length, keys]);
    }
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

    #[test]
    fn other_sequences_and_biases_of_a_head_agree_without_gradients() {
        let device = burn::tensor::Device::flex();
        device.seed(11);
        let random = |shape: [usize; 3]| {
            Tensor::<3>::random(shape, burn::tensor::Distribution::Default, &device)
        };
        let (batch, length, keys, d, heads, width) = (3, 19, 7, 12, 2, 8);
        let map = |rows, columns| {
            let w = random([1, rows, columns]).reshape([rows, columns]);
            (w, random([1, 1, rows]).reshape([rows]))
        };
        let (out_weight, out_bias) = map(d, width);
        let w = AttentionWeights {
            input: Projection::Separate([map(width, d), map(width, d), map(width, d)]),
            out_weight,
            out_bias,
        };
        let (x, other) = (random([batch, length, d]), random([batch, keys, d]));
        let (bias, mask) = (
            random([heads, length, length]),
            random([batch, length, length]),
        );
        let (across, row) = (random([heads, length, keys]), random([1, length, keys]));
        for (to, bias, mask) in [
            (None, Some(&bias), None),
            (None, Some(&bias), Some(&mask)),
            (None, None, Some(&mask)),
            (Some(&other), None, None),
            (Some(&other), Some(&across), Some(&row)),
        ] {
            for unscaled in [false, true] {
                let how = Attending {
                    to,
                    mask,
                    bias,
                    unscaled,
                };
                let [a, b] = [
                    Context::inference(&device),
                    Context::inference(&device).composed(),
                ]
                .map(|ctx| attention_with(x.clone(), &w, how, heads, &ctx));
                let worst = (a - b).abs().max().into_scalar::<f32>();
                assert!(worst < 1e-4, "{worst}");
            }
        }
    }
}
