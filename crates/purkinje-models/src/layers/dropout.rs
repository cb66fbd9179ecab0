//! Dropout where no other layer carries it.

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use super::context::Context;
use super::kernels::Kernels;

/// Sets entries of `x` to zero with the probability of the pass and scales the others up.
pub fn dropout<const D: usize>(x: Tensor<D>, ctx: &Context) -> Tensor<D> {
    let site = ctx.next_dropout();
    if site.0 == 0.0 {
        return x;
    }
    if ctx.fused() {
        return Tensor::from_dispatch(Dispatch::dropout(x.into_dispatch(), site.0, site.1));
    }
    ctx.drop_composed(x, site)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};

    use super::*;

    #[test]
    fn what_is_dropped_passes_no_gradient() {
        let ctx = Context::training(&Device::flex().autodiff(), 0.25, 9);
        let x = Tensor::<2>::ones([50, 40], ctx.device()).require_grad();
        let y = dropout(x.clone(), &ctx);
        let grads = y.clone().sum().backward();
        let grad = x.grad(&grads).unwrap().into_data().try_to_vec::<f32>();
        let y = y.inner().into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(grad.unwrap(), y);
        let kept = y.iter().filter(|v| **v > 0.0).count();
        assert!((1400..1600).contains(&kept), "{kept}");
        assert!(y.iter().all(|v| *v == 0.0 || (*v - 4.0 / 3.0).abs() < 1e-6));
    }
}
