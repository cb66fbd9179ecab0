//! Layer normalisation, alone and after a residual connection.

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use super::context::Context;
use super::kernels::Kernels;

/// LayerNorm over the last dimension.
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    eps: f32,
    ctx: &Context,
) -> Tensor<D> {
    if ctx.fused() {
        let (x, gamma, beta) = (
            x.into_dispatch(),
            gamma.into_dispatch(),
            beta.into_dispatch(),
        );
        return Tensor::from_dispatch(Dispatch::layer_norm(x, gamma, beta, eps));
    }
    let centred = x.clone() - x.mean_dim(D - 1);
    let variance = centred.clone().square().mean_dim(D - 1);
    centred / (variance + eps).sqrt() * gamma.unsqueeze() + beta.unsqueeze()
}

/// The last dimension divided by its root mean square: no mean is subtracted, nothing is added.
pub fn rms_norm<const D: usize>(x: Tensor<D>, gamma: Tensor<1>, eps: f32) -> Tensor<D> {
    let scale = (x.clone().square().mean_dim(D - 1) + eps).sqrt();
    x / scale * gamma.unsqueeze()
}

/// `LayerNorm(x + dropout(residual))`: the end of a post-norm block.
pub fn add_layer_norm<const D: usize>(
    x: Tensor<D>,
    residual: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    eps: f32,
    ctx: &Context,
) -> Tensor<D> {
    let site = ctx.next_dropout();
    if ctx.fused() {
        let (p, key) = site.drawn();
        return Tensor::from_dispatch(Dispatch::add_layer_norm(
            x.into_dispatch(),
            site.drop_recorded(residual, ctx).into_dispatch(),
            gamma.into_dispatch(),
            beta.into_dispatch(),
            eps,
            p,
            key,
        ));
    }
    layer_norm(
        x + ctx.drop_composed(residual, &site),
        gamma,
        beta,
        eps,
        ctx,
    )
}

#[cfg(test)]
mod tests {
    use super::super::twins;
    use super::*;

    #[test]
    fn fused_and_composed_agree_in_values_and_gradients() {
        for (rows, width) in [(1, 5), (300, 48)] {
            twins::check(
                &[&[rows, width], &[rows, width], &[width], &[width]],
                move |p, ctx| {
                    let [x, r, g, b] = p else { unreachable!() };
                    let x = x.clone().reshape([rows, width]);
                    let r = r.clone().reshape([rows, width]);
                    let y = add_layer_norm(x, r, g.clone(), b.clone(), 1e-5, ctx);
                    layer_norm(y.clone() * y, g.clone(), b.clone(), 1e-5, ctx)
                },
            );
        }
    }
}
