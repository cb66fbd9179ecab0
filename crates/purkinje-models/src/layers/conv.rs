//! Convolution along time, and normalisation of each channel over time.

use burn::backend::Dispatch;
use burn::tensor::module;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, activation};

use super::context::Context;
use super::cpu::Activation;
use super::kernels::Kernels;
use super::linear::gelu_tanh;

/// Stride and padding of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Time steps from one output to the next.
    pub stride: usize,
    /// Zeros before and after each sequence.
    pub padding: [usize; 2],
}

impl Convolution {
    /// Without padding.
    pub fn valid(stride: usize) -> Self {
        Convolution {
            stride,
            padding: [0, 0],
        }
    }

    /// Time steps of the output for an input of `length` and a kernel of `kernel` steps; 0 where the kernel is longer
    /// than the padded sequence.
    pub fn output_length(self, length: usize, kernel: usize) -> usize {
        let padded = length + self.padding[0] + self.padding[1];
        match padded.checked_sub(kernel) {
            Some(room) => room / self.stride + 1,
            None => 0,
        }
    }
}

/// `activation(convolution of x with w, plus b)`: `x` `[batch, length, inputs]` (time before channels), `w` `[outputs,
/// inputs / groups, kernel]`, `b` `[outputs]` -> `[batch, output length, outputs]`. The number of groups follows from the
/// shapes.
///
/// # Panics
/// When the kernel is longer than the padded sequence: networks check their input when a batch is made.
pub fn conv1d(
    x: Tensor<3>,
    w: Tensor<3>,
    b: Option<Tensor<1>>,
    how: Convolution,
    act: Activation,
    ctx: &Context,
) -> Tensor<3> {
    let [length, inputs] = [x.dims()[1], x.dims()[2]];
    let [_, of_group, kernel] = w.dims();
    assert!(
        how.output_length(length, kernel) > 0,
        "a kernel of {kernel} time steps exceeds the input of {length}"
    );
    if ctx.fused() {
        let b = b.unwrap_or_else(|| Tensor::zeros([0], ctx.device()));
        let (x, w, b) = (x.into_dispatch(), w.into_dispatch(), b.into_dispatch());
        return Tensor::from_dispatch(Dispatch::conv1d(x, w, b, how.stride, how.padding, act));
    }
    let x = x.swap_dims(1, 2);
    let pad = |zeros: usize| {
        let [batch, channels, _] = x.dims();
        Tensor::<3>::zeros([batch, channels, zeros], ctx.device())
    };
    let x = match how.padding {
        [0, 0] => x,
        [before, after] => Tensor::cat(vec![pad(before), x.clone(), pad(after)], 2),
    };
    // Samples beyond the last output are cut off: Burn's gradient of grouped kernels does not expect them.
    let used = (how.output_length(length, kernel) - 1) * how.stride + kernel;
    let x = x.narrow(2, 0, used);
    let options = ConvOptions::new([how.stride], [0], [1], inputs / of_group);
    let y = module::conv1d(x, w, b, options).swap_dims(1, 2);
    activate(y, act)
}

/// `activation(group norm of x)` with one group per channel: mean and variance over time, `x` `[batch,
/// length, channels]`.
pub fn channel_norm(
    x: Tensor<3>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    eps: f32,
    act: Activation,
    ctx: &Context,
) -> Tensor<3> {
    if ctx.fused() {
        let (x, gamma, beta) = (
            x.into_dispatch(),
            gamma.into_dispatch(),
            beta.into_dispatch(),
        );
        return Tensor::from_dispatch(Dispatch::channel_norm(x, gamma, beta, eps, act));
    }
    let centred = x.clone() - x.mean_dim(1);
    let variance = centred.clone().square().mean_dim(1);
    let y = centred / (variance + eps).sqrt() * gamma.unsqueeze() + beta.unsqueeze();
    activate(y, act)
}

/// Kernels `[outputs, inputs, kernel]` in the direction of `direction`, with the length `scale` `[1, 1, kernel]` at each
/// of their positions.
pub fn weight_norm(direction: Tensor<3>, scale: Tensor<3>, ctx: &Context) -> Tensor<3> {
    if ctx.fused() {
        let (v, scale) = (direction.into_dispatch(), scale.into_dispatch());
        return Tensor::from_dispatch(Dispatch::weight_norm(v, scale));
    }
    direction.clone() * (scale / kernel_norm(direction))
}

/// Length of the kernels at each of their positions `[1, 1, kernel]`.
pub(crate) fn kernel_norm(direction: Tensor<3>) -> Tensor<3> {
    let [outputs, inputs, kernel] = direction.dims();
    direction
        .reshape([1, outputs * inputs, kernel])
        .square()
        .sum_dim(1)
        .sqrt()
}

pub(super) fn activate(x: Tensor<3>, act: Activation) -> Tensor<3> {
    match act {
        Activation::Identity => x,
        Activation::Relu => activation::relu(x),
        Activation::Gelu => activation::gelu(x),
        Activation::GeluTanh => gelu_tanh(x),
    }
}

#[cfg(test)]
mod tests {
    use super::super::twins;
    use super::*;

    #[test]
    fn fused_and_composed_convolutions_agree_in_values_and_gradients() {
        for (batch, length, inputs, outputs, kernel, stride, padding, groups, act) in [
            (2, 57, 1, 8, 10, 4, [0, 0], 1, Activation::Identity),
            (1, 41, 6, 40, 3, 2, [0, 0], 1, Activation::Gelu),
            (3, 40, 5, 7, 2, 2, [0, 0], 1, Activation::Relu),
            (2, 23, 12, 8, 16, 1, [8, 8], 4, Activation::Gelu),
            (2, 30, 4, 6, 3, 1, [1, 1], 2, Activation::Identity),
            (2, 31, 4, 6, 7, 2, [3, 3], 1, Activation::Gelu),
            (1, 20, 3, 3, 2, 3, [1, 0], 3, Activation::Identity),
            // The shortcuts of a residual network.
            (3, 25, 6, 9, 1, 2, [0, 0], 1, Activation::Identity),
            (2, 30, 6, 9, 3, 2, [1, 1], 3, Activation::Relu),
        ] {
            let shapes: [&[usize]; 3] = [
                &[batch, length, inputs],
                &[outputs, inputs / groups, kernel],
                &[outputs],
            ];
            let how = Convolution { stride, padding };
            twins::check(&shapes, move |p, ctx| {
                let [x, w, b] = p else { unreachable!() };
                let x = x.clone().reshape([batch, length, inputs]);
                let w = w.clone().reshape([outputs, inputs / groups, kernel]);
                let b = (stride > 1).then(|| b.clone());
                conv1d(x, w, b, how, act, ctx)
            });
        }
    }

    #[test]
    fn fused_and_composed_weight_norms_agree_in_values_and_gradients() {
        for (outputs, inputs, kernel) in [(3, 1, 2), (24, 30, 17)] {
            twins::check(&[&[outputs, inputs, kernel], &[kernel]], move |p, ctx| {
                let [v, g] = p else { unreachable!() };
                let v = v.clone().reshape([outputs, inputs, kernel]);
                weight_norm(v, g.clone().reshape([1, 1, kernel]), ctx)
            });
        }
    }

    #[test]
    fn fused_and_composed_norms_agree_in_values_and_gradients() {
        for (batch, length, channels, act) in [
            (1, 5, 3, Activation::Identity),
            (3, 300, 20, Activation::Gelu),
            (2, 30, 20, Activation::GeluTanh),
            (2, 17, 33, Activation::Relu),
        ] {
            let shapes: [&[usize]; 3] = [&[batch, length, channels], &[channels], &[channels]];
            twins::check(&shapes, move |p, ctx| {
                let [x, g, b] = p else { unreachable!() };
                let x = x.clone().reshape([batch, length, channels]);
                channel_norm(x, g.clone(), b.clone(), 1e-5, act, ctx)
            });
        }
    }
}
