//! Transformer layers: post-norm and pre-norm.

use burn::tensor::Tensor;

use super::attention::{AttentionWeights, attention};
use super::context::Context;
use super::linear::{Activation, linear};
use super::norm::{add_layer_norm, layer_norm};

/// Parameters of one layer of width `d` with feed-forward width `f`; pairs are weight and bias.
#[derive(Clone, Debug)]
pub struct BlockWeights {
    /// Self-attention.
    pub attention: AttentionWeights,
    /// Layer norm after it.
    pub norm1: (Tensor<1>, Tensor<1>),
    /// `[f, d]`.
    pub up: (Tensor<2>, Tensor<1>),
    /// `[d, f]`.
    pub down: (Tensor<2>, Tensor<1>),
    /// Layer norm after the feed-forward layers.
    pub norm2: (Tensor<1>, Tensor<1>),
}

/// Settings of a layer that are not parameters.
#[derive(Clone, Copy, Debug)]
pub struct BlockSettings {
    /// Attention heads.
    pub heads: usize,
    /// Between the feed-forward layers.
    pub activation: Activation,
    /// Epsilon of both layer norms.
    pub eps: f32,
    /// Probabilities of dropout; `None` to use that of the pass everywhere.
    pub dropout: Option<BlockDropout>,
}

/// Probabilities of dropout of one layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockDropout {
    /// On the attention weights.
    pub attention: f32,
    /// On the outputs of attention and feed-forward layers.
    pub hidden: f32,
    /// After the activation.
    pub activation: f32,
}

/// `h = norm1(x + dropout(attention(x)))`, then `norm2(h + dropout(down(dropout(activation(up(h))))))`; `x` `[batch,
/// length, d]`, `mask` as in [`attention`]. Values are recorded as `<name>` and `<name>_attn_out`.
pub fn post_norm_block(
    x: Tensor<3>,
    w: &BlockWeights,
    mask: Option<&Tensor<3>>,
    settings: BlockSettings,
    name: &str,
    ctx: &Context,
) -> Tensor<3> {
    let BlockSettings {
        heads,
        activation,
        eps,
        dropout,
    } = settings;
    let heard = dropping(dropout.map(|p| p.attention), ctx, || {
        attention(x.clone(), &w.attention, mask, heads, ctx)
    });
    ctx.record(&format!("{name}_attn_out"), &heard);
    let add_norm = |x: Tensor<3>, more: Tensor<3>, (gamma, beta): &(Tensor<1>, Tensor<1>)| {
        dropping(dropout.map(|p| p.hidden), ctx, || {
            add_layer_norm(x, more, gamma.clone(), beta.clone(), eps, ctx)
        })
    };
    let x = add_norm(x, heard, &w.norm1);
    let (up, bias) = w.up.clone();
    let hidden = dropping(dropout.map(|p| p.activation), ctx, || {
        linear(x.clone(), up, bias, activation, true, ctx)
    });
    let (down, bias) = w.down.clone();
    let more = linear(hidden, down, bias, Activation::Identity, false, ctx);
    let x = add_norm(x, more, &w.norm2);
    ctx.record(name, &x);
    x
}

/// `h = x + dropout(attention(norm1(x)))`, then `h + dropout(down(dropout(act(up(norm2(h))))))`; `settings.activation` does not
/// count. The value is recorded as `<name>`.
pub fn pre_norm_block(
    x: Tensor<3>,
    w: &BlockWeights,
    settings: BlockSettings,
    act: impl Fn(Tensor<3>) -> Tensor<3>,
    name: &str,
    ctx: &Context,
) -> Tensor<3> {
    let BlockSettings {
        heads,
        eps,
        dropout,
        ..
    } = settings;
    let norm = |x: &Tensor<3>, (gamma, beta): &(Tensor<1>, Tensor<1>)| {
        layer_norm(x.clone(), gamma.clone(), beta.clone(), eps, ctx)
    };
    let drop = |p: fn(BlockDropout) -> f32, x| {
        dropping(dropout.map(p), ctx, || super::dropout::dropout(x, ctx))
    };
    let heard = dropping(dropout.map(|p| p.attention), ctx, || {
        attention(norm(&x, &w.norm1), &w.attention, None, heads, ctx)
    });
    let x = x + drop(|p| p.hidden, heard);
    let (up, bias) = w.up.clone();
    let hidden = linear(
        norm(&x, &w.norm2),
        up,
        bias,
        Activation::Identity,
        false,
        ctx,
    );
    let hidden = drop(|p| p.activation, act(hidden));
    let (down, bias) = w.down.clone();
    let more = linear(hidden, down, bias, Activation::Identity, false, ctx);
    let x = x + drop(|p| p.hidden, more);
    ctx.record(name, &x);
    x
}

fn dropping<T>(p: Option<f32>, ctx: &Context, part: impl FnOnce() -> T) -> T {
    match p {
        Some(p) => ctx.dropping(p, part),
        None => part(),
    }
}
