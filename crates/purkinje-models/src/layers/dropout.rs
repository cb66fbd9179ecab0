//! Dropout sites and the dropout layer.

use burn::backend::Dispatch;
use burn::tensor::{Tensor, TensorData};

use super::context::Context;
use super::kernels::Kernels;

/// Which elements of a tensor are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropoutMask {
    /// The shape of the tensor.
    pub shape: Vec<usize>,
    /// One entry for each element, row-major.
    pub keep: Vec<bool>,
}

/// A dropout site of a pass.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// Probability that an element is dropped.
    pub p: f32,
    /// Key of its stream.
    pub key: u64,
    /// The recorded mask, if it is not random.
    pub recorded: Option<DropoutMask>,
}

impl Site {
    /// A site without dropout.
    pub fn nowhere() -> Self {
        Site {
            p: 0.0,
            key: 0,
            recorded: None,
        }
    }

    /// Probability and key for a fused kernel; 0 where the mask is recorded and applied as a factor.
    pub fn drawn(&self) -> (f32, u64) {
        match self.recorded {
            None => (self.p, self.key),
            Some(_) => (0.0, 0),
        }
    }

    /// Applies a recorded mask to `x`; returns `x` where masks are random.
    pub fn drop_recorded<const D: usize>(&self, x: Tensor<D>, ctx: &Context) -> Tensor<D> {
        match self.factors(x.dims(), ctx) {
            Some(factors) => x * factors,
            None => x,
        }
    }

    /// The recorded mask as factors for a tensor of this shape.
    ///
    /// # Panics
    /// When the mask has another shape.
    pub fn factors<const D: usize>(&self, shape: [usize; D], ctx: &Context) -> Option<Tensor<D>> {
        let mask = self.recorded.as_ref()?;
        assert!(
            mask.shape == shape && mask.keep.len() == shape.iter().product::<usize>(),
            "a recorded dropout mask has shape {:?}, dropout is applied to {shape:?}",
            mask.shape
        );
        let scale = 1.0 / (1.0 - self.p);
        let kept = mask.keep.iter().map(|keep| f32::from(*keep) * scale);
        let data = TensorData::new(kept.collect::<Vec<f32>>(), shape);
        Some(Tensor::from_data(data, ctx.device()))
    }
}

/// Sets entries of `x` to zero with the probability of the pass and scales the others up.
pub fn dropout<const D: usize>(x: Tensor<D>, ctx: &Context) -> Tensor<D> {
    let site = ctx.next_dropout();
    if site.p == 0.0 {
        return x;
    }
    if ctx.fused() && site.recorded.is_none() {
        return Tensor::from_dispatch(Dispatch::dropout(x.into_dispatch(), site.p, site.key));
    }
    ctx.drop_composed(x, &site)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};

    use super::super::attention::{AttentionWeights, Projection};
    use super::super::block::{BlockDropout, BlockSettings, BlockWeights, post_norm_block};
    use super::super::linear::Activation;
    use super::super::twins;
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

    /// A mask for something of this shape that drops every third element, from a place of its own.
    fn mask(shape: &[usize], from: usize) -> DropoutMask {
        let count = shape.iter().product::<usize>();
        DropoutMask {
            shape: shape.to_vec(),
            keep: (0..count).map(|i| !(i + from).is_multiple_of(3)).collect(),
        }
    }

    #[test]
    fn recorded_masks_take_the_place_of_drawn_ones_in_their_order() {
        let device = Device::flex();
        let masks = [mask(&[2, 3], 0), mask(&[4], 1)];
        for composed in [false, true] {
            let ctx = Context::training(&device, 0.5, 9).with_dropout_masks(masks.clone());
            let ctx = if composed { ctx.composed() } else { ctx };
            let x = dropout(Tensor::<2>::ones([2, 3], &device), &ctx);
            // A place without dropout takes none.
            ctx.dropping(0.0, || dropout(Tensor::<1>::ones([7], &device), &ctx));
            let y = dropout(Tensor::<1>::ones([4], &device), &ctx);
            let host = |x: TensorData| x.try_to_vec::<f32>().unwrap();
            assert_eq!(host(x.into_data()), [0.0, 2.0, 2.0, 0.0, 2.0, 2.0]);
            assert_eq!(host(y.into_data()), [2.0, 2.0, 0.0, 2.0]);
            assert_eq!(ctx.masks_left(), 0);
        }
    }

    #[test]
    #[should_panic(expected = "has shape [2], dropout is applied to [3]")]
    fn a_mask_of_another_shape_is_refused() {
        let device = Device::flex();
        let ctx = Context::training(&device, 0.5, 9).with_dropout_masks([mask(&[2], 0)]);
        dropout(Tensor::<1>::ones([3], &device), &ctx);
    }

    #[test]
    fn a_recorded_part_is_skipped_or_not() {
        let device = Device::flex();
        let one = |keep| DropoutMask {
            shape: vec![1],
            keep: vec![keep],
        };
        let ctx = Context::training(&device, 0.0, 9).with_dropout_masks([one(true), one(false)]);
        assert_eq!([0.5, 0.0, 0.5].map(|p| ctx.skips(p)), [false, false, true]);
    }

    /// A whole transformer layer with recorded masks, fused and composed: the fused kernels run, as in training.
    #[test]
    fn fused_and_composed_layers_agree_on_recorded_masks() {
        let (batch, length, d, f, heads) = (2, 19, 12, 20, 3);
        let shapes: [&[usize]; 10] = [
            &[batch, length, d],
            &[3 * d, d],
            &[3 * d],
            &[d, d],
            &[d],
            &[f, d],
            &[f],
            &[d, f],
            &[d],
            &[d],
        ];
        for packed in [true, false] {
            twins::check_in(true, &shapes, move |p, ctx| {
                let matrix = |i: usize, a: usize, b: usize| p[i].clone().reshape([a, b]);
                let (input, bias) = (matrix(1, 3 * d, d), p[2].clone());
                let part = |i| {
                    let (w, b) = (input.clone(), bias.clone());
                    (w.narrow(0, i * d, d), b.narrow(0, i * d, d))
                };
                let w = BlockWeights {
                    attention: AttentionWeights {
                        input: match packed {
                            true => Projection::Packed(input.clone(), bias.clone()),
                            false => Projection::Separate([0, 1, 2].map(part)),
                        },
                        out_weight: matrix(3, d, d),
                        out_bias: p[4].clone(),
                    },
                    norm1: (p[8].clone(), p[9].clone()),
                    up: (matrix(5, f, d), p[6].clone()),
                    down: (matrix(7, d, f), p[8].clone()),
                    norm2: (p[9].clone(), p[8].clone()),
                };
                let settings = BlockSettings {
                    heads,
                    activation: Activation::Gelu,
                    eps: 1e-5,
                    dropout: Some(BlockDropout {
                        attention: 0.2,
                        hidden: 0.1,
                        activation: 0.3,
                    }),
                };
                let masks = [
                    mask(&[batch, heads, length, length], 0),
                    mask(&[batch, length, d], 1),
                    mask(&[batch, length, f], 2),
                    mask(&[batch, length, d], 0),
                ];
                let ctx = ctx.clone().with_dropout_masks(masks);
                let x = p[0].clone().reshape([batch, length, d]);
                let y = post_norm_block(x, &w, None, settings, "layer", &ctx);
                assert_eq!(ctx.masks_left(), 0);
                y
            });
        }
    }
}
