//! Tests of the fused kernels against plain tensor operations, values and gradients.

use burn::tensor::{Device, Tensor, TensorData};

use super::context::Context;
use crate::random::Stream;

/// Runs `f` on random flat parameters of the given shapes, fused and composed, and compares the output and the gradient
/// of a random projection of it with respect to every parameter.
pub(super) fn check<const D: usize>(
    shapes: &[&[usize]],
    f: impl Fn(&[Tensor<1>], &Context) -> Tensor<D>,
) {
    check_in(false, shapes, f);
}

/// [`check`] in a pass that trains, without dropout, or one that does not.
pub(super) fn check_in<const D: usize>(
    training: bool,
    shapes: &[&[usize]],
    f: impl Fn(&[Tensor<1>], &Context) -> Tensor<D>,
) {
    let device = Device::flex().autodiff();
    // Streams of our own: the generator of a device is one for all tests of the process, which run side by side.
    let random = |stream: &mut Stream, shape: &[usize]| {
        let count = shape.iter().product();
        let values = (0..count).map(|_| (2.0 * stream.uniform() - 1.0) as f32);
        TensorData::new(values.collect::<Vec<f32>>(), shape.to_vec())
    };
    let mut stream = Stream::new(3, "twins");
    let parameters: Vec<Tensor<1>> = shapes
        .iter()
        .map(|shape| {
            let count: usize = shape.iter().product();
            Tensor::from_data(random(&mut stream, &[count]), &device)
        })
        .collect();
    let mut runs = [false, true].map(|fused| {
        let ctx = match training {
            true => Context::training(&device, 0.0, 0),
            false => Context::inference(&device),
        };
        let ctx = if fused { ctx } else { ctx.composed() };
        let leaves: Vec<_> = parameters
            .iter()
            .map(|p| p.clone().detach().require_grad())
            .collect();
        let out = f(&leaves, &ctx);
        let probe = random(&mut Stream::new(5, "twins"), &out.dims());
        let probe = Tensor::<D>::from_data(probe, &device);
        let grads = (out.clone() * probe).sum().backward();
        let mut all = vec![out.inner().into_data().try_to_vec::<f32>().unwrap()];
        for leaf in &leaves {
            let grad = leaf
                .grad(&grads)
                .map(|g| g.into_data().try_to_vec::<f32>().unwrap());
            all.push(grad.unwrap_or_default());
        }
        all
    });
    let (left, right) = runs.split_at_mut(1);
    for (i, (a, b)) in left[0].iter().zip(&right[0]).enumerate() {
        assert_eq!(a.len(), b.len(), "tensor {i}");
        let top = a.iter().fold(1e-3f32, |m, x| m.max(x.abs()));
        for (x, y) in a.iter().zip(b) {
            assert!((x - y).abs() <= 2e-5 * top, "tensor {i}: {x} against {y}");
        }
    }
}
