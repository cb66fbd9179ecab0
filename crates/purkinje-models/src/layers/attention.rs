//! Multi-head self-attention, with one packed input projection (as PyTorch has it) or three.

use burn::backend::Dispatch;
use burn::tensor::{Tensor, TensorData, activation};

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
    let projected = project(x, how.to, w, ctx);
    let mixed = mix(projected, how, heads, ctx);
    linear(
        mixed,
        w.out_weight.clone(),
        w.out_bias.clone(),
        Activation::Identity,
        false,
        ctx,
    )
}

/// What is added to the scores of a sequence of this length in which no position attends to a later one: `[1, length, length]`. With
/// `real` `[batch, length]` none attends to a position that is not real either: `[batch, length, length]`.
pub fn causal_mask(length: usize, real: Option<&[bool]>, ctx: &Context) -> Tensor<3> {
    let all = vec![true; if real.is_none() { length } else { 0 }];
    let rows = real.unwrap_or(&all);
    let mut values = Vec::with_capacity(rows.len() * length);
    for real in rows.chunks_exact(length.max(1)) {
        for query in 0..length {
            values.extend(real.iter().enumerate().map(|(key, real)| {
                let allowed = key <= query && *real;
                if allowed { 0.0 } else { f32::NEG_INFINITY }
            }));
        }
    }
    let shape = [rows.len() / length.max(1), length, length];
    Tensor::from_data(TensorData::new(values, shape), ctx.device())
}

/// Attention between projections, before the last map: `[batch, length, width]`. What keys and values come from is in them, so
/// [`Attending::to`] does not count. Dropout acts on the attention weights.
pub(crate) fn mix(
    mut projected: Projected,
    how: Attending<'_>,
    heads: usize,
    ctx: &Context,
) -> Tensor<3> {
    if how.unscaled {
        projected = projected.scale_queries(heads);
    }
    let site = ctx.next_dropout();
    let ([batch, length, _], keys) = projected.sizes();
    // Gradients of a bias are left to plain tensor operations.
    let by_head = how.bias.is_some() && !ctx.tracks() && site.p == 0.0;
    if ctx.fused() && how.bias.is_none() {
        let none = || Tensor::<3>::zeros([0, 0, 0], ctx.device());
        let mask = how.mask.cloned().unwrap_or_else(none).into_dispatch();
        let factors = site.factors([batch, heads, length, keys], ctx);
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
        let mask = biases(how, batch, heads, [length, keys]);
        let mask = mask.reshape([batch * heads, length, keys]);
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
    }
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

/// Projections of a sequence, and of what it attends to.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Projected {
    /// `[batch, length, 3 d]`.
    Packed(Tensor<3>),
    /// Queries `[batch, length, d]`, keys and values `[batch, keys, d]`.
    Separate([Tensor<3>; 3]),
}

impl Projected {
    /// The dimensions of the queries, and the number of keys.
    fn sizes(&self) -> ([usize; 3], usize) {
        match self {
            Projected::Packed(qkv) => {
                let [batch, length, d] = qkv.dims();
                ([batch, length, d / 3], length)
            }
            Projected::Separate([q, k, _]) => (q.dims(), k.dims()[1]),
        }
    }

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
    use super::super::dropout::DropoutMask;
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
    fn fused_and_composed_agree_on_other_sequences_and_recorded_masks() {
        for (batch, length, keys, width, heads, masks) in [
            (2, 7, 1, 8, 2, 0),
            (3, 5, 11, 6, 3, 1),
            (2, 18, 4, 12, 1, 2),
        ] {
            let shapes: [&[usize]; 4] = [
                &[batch, length, width],
                &[batch, keys, width],
                &[batch, keys, width],
                &[masks, length, keys],
            ];
            twins::check_in(true, &shapes, move |p, ctx| {
                let part =
                    |i: usize, positions: usize| p[i].clone().reshape([batch, positions, width]);
                let mask = (masks > 0).then(|| {
                    let mask = p[3].clone().detach().reshape([masks, length, keys]);
                    let forbidden = mask.clone().greater_elem(0.9);
                    mask.mask_fill(forbidden, f32::NEG_INFINITY)
                });
                let how = Attending {
                    mask: mask.as_ref(),
                    ..Attending::default()
                };
                let count = batch * heads * length * keys;
                let kept = DropoutMask {
                    shape: vec![batch, heads, length, keys],
                    keep: (0..count).map(|i| i % 4 != 1).collect(),
                };
                let ctx = ctx.clone().with_dropout_masks([kept]);
                let parts = [part(0, length), part(1, keys), part(2, keys)];
                ctx.dropping(0.25, || mix(Projected::Separate(parts), how, heads, &ctx))
            });
        }
    }

    #[test]
    fn a_causal_mask_forbids_what_comes_later_and_what_is_not_real() {
        let ctx = Context::inference(&burn::tensor::Device::flex());
        let host = |x: Tensor<3>| x.into_data().try_to_vec::<f32>().unwrap();
        let allowed = |x: &f32| *x == 0.0;
        let plain: Vec<bool> = host(causal_mask(3, None, &ctx))
            .iter()
            .map(allowed)
            .collect();
        assert_eq!(plain.iter().filter(|allowed| **allowed).count(), 6);
        let real = [true, true, true, true, false, true];
        let mask = causal_mask(3, Some(&real), &ctx);
        assert_eq!(mask.dims(), [2, 3, 3]);
        let both: Vec<bool> = host(mask).iter().map(allowed).collect();
        assert_eq!(both[..9], plain);
        let second = [true, false, false, true, false, false, true, false, true];
        assert_eq!(both[9..], second);
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
