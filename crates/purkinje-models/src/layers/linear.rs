//! Linear layers.

use burn::backend::Dispatch;
use burn::tensor::{Tensor, activation};

use super::context::Context;
pub use super::cpu::Activation;
use super::cpu::Layout;
use super::dropout::Site;
use super::kernels::Kernels;

/// `activation(x w^T + b)`, then dropout if `drop`; `x` `[.., k]`, `w` `[m, k]`, `b` `[m]` -> `[.., m]`.
pub fn linear<const D: usize>(
    x: Tensor<D>,
    w: Tensor<2>,
    b: Tensor<1>,
    act: Activation,
    drop: bool,
    ctx: &Context,
) -> Tensor<D> {
    stored(x, (w, Layout::OutputFirst), b, act, drop, ctx)
}

/// [`linear`] with a weight stored input first: `activation(x w + b)`, then dropout if `drop`; `x` `[.., k]`, `w` `[k, m]`, `b`
/// `[m]` -> `[.., m]`.
pub fn linear_input_first<const D: usize>(
    x: Tensor<D>,
    w: Tensor<2>,
    b: Tensor<1>,
    act: Activation,
    drop: bool,
    ctx: &Context,
) -> Tensor<D> {
    stored(x, (w, Layout::InputFirst), b, act, drop, ctx)
}

fn stored<const D: usize>(
    x: Tensor<D>,
    (w, layout): (Tensor<2>, Layout),
    b: Tensor<1>,
    act: Activation,
    drop: bool,
    ctx: &Context,
) -> Tensor<D> {
    let site = if drop {
        ctx.next_dropout()
    } else {
        Site::nowhere()
    };
    if ctx.fused() {
        let (x, w, b) = (x.into_dispatch(), w.into_dispatch(), b.into_dispatch());
        let (p, key) = site.drawn();
        let y = Tensor::from_dispatch(Dispatch::linear(x, w, b, layout, act, p, key));
        return site.drop_recorded(y, ctx);
    }
    let mut dims = x.dims();
    let k = dims[D - 1];
    let rows: usize = dims[..D - 1].iter().product();
    let m = b.dims()[0];
    let w = match layout {
        Layout::OutputFirst => w.transpose(),
        Layout::InputFirst => w,
    };
    let y = ctx.matmul(x.reshape([rows, k]), w) + b.unsqueeze();
    let y = match act {
        Activation::Identity => y,
        Activation::Relu => activation::relu(y),
        Activation::Gelu => activation::gelu(y),
        Activation::GeluTanh => gelu_tanh(y),
    };
    dims[D - 1] = m;
    ctx.drop_composed(y.reshape(dims), &site)
}

/// `x w^T`, without a bias.
pub fn linear_map<const D: usize>(x: Tensor<D>, w: Tensor<2>, ctx: &Context) -> Tensor<D> {
    let none = Tensor::zeros([w.dims()[0]], ctx.device());
    linear(x, w, none, Activation::Identity, false, ctx)
}

/// The approximation of GELU by a hyperbolic tangent, `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`.
pub(super) fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let inner = x.clone() + x.clone().powi_scalar(3) * 0.044715;
    let inner = inner * (2.0 / std::f64::consts::PI).sqrt();
    x * 0.5 * (inner.tanh() + 1.0)
}

/// `x` times the logistic function of `1.702 x`.
pub fn quick_gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.clone() * activation::sigmoid(x * 1.702)
}

#[cfg(test)]
mod tests {
    use super::super::twins;
    use super::*;

    #[test]
    fn fused_and_composed_agree_in_values_and_gradients() {
        for (rows, k, m, act) in [
            (1, 3, 1, Activation::Identity),
            (401, 33, 50, Activation::Relu),
            (97, 20, 31, Activation::Gelu),
            (97, 20, 31, Activation::GeluTanh),
        ] {
            twins::check(&[&[1, rows, k], &[m, k], &[m]], move |p, ctx| {
                let [x, w, b] = p else { unreachable!() };
                linear(
                    x.clone().reshape([1, rows, k]),
                    w.clone().reshape([m, k]),
                    b.clone(),
                    act,
                    false,
                    ctx,
                )
            });
        }
    }

    #[test]
    fn the_same_holds_for_weights_stored_input_first() {
        for (rows, k, m, act) in [
            (1, 3, 1, Activation::Identity),
            (5, 37, 50, Activation::GeluTanh),
            (401, 33, 50, Activation::Relu),
        ] {
            twins::check(&[&[rows, k], &[k, m], &[m]], move |p, ctx| {
                let [x, w, b] = p else { unreachable!() };
                let (x, w) = (x.clone().reshape([rows, k]), w.clone().reshape([k, m]));
                linear_input_first(x, w, b.clone(), act, false, ctx)
            });
        }
    }
}
