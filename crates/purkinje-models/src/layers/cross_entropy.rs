//! Cross-entropy of a linear layer to many classes.

use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::flex::FlexTensor;
use burn::backend::{
    Backend, Dispatch, Flex, TensorMetadata, backend_extension, tensor::FloatTensor,
};
use burn::tensor::{Int, Shape, Tensor, TensorData, activation};

use super::context::Context;
use super::cpu;
use super::kernels::{slice, tensor};
use super::linear::{Activation, linear};

/// The mean over rows of `-log softmax(x w^T + b)` at the row's target, `[1]`: `x` `[rows, k]`, `w` `[classes, k]`, `b` `[classes]`,
/// `targets` below the number of classes. The fused form finds logits and gradients a few hundred rows at a time.
///
/// # Panics
/// When there are no rows, another number of targets, or a target that is no class: callers check what they were given.
pub fn linear_cross_entropy(
    x: Tensor<2>,
    w: Tensor<2>,
    b: Tensor<1>,
    targets: &[u32],
    ctx: &Context,
) -> Tensor<1> {
    let (rows, classes) = (x.dims()[0], b.dims()[0]);
    assert!(
        rows > 0 && rows == targets.len(),
        "{rows} rows, {} targets",
        targets.len()
    );
    assert!(targets.iter().all(|&target| (target as usize) < classes));
    if ctx.fused() {
        let (x, w, b) = (x.into_dispatch(), w.into_dispatch(), b.into_dispatch());
        let loss = Dispatch::linear_cross_entropy(x, w, b, targets.to_vec());
        return Tensor::from_dispatch(loss);
    }
    let logits = linear(x, w, b, Activation::Identity, false, ctx);
    let own: Vec<i32> = targets.iter().map(|&target| target as i32).collect();
    let own = Tensor::<2, Int>::from_data(TensorData::new(own, [rows, 1]), ctx.device());
    activation::log_softmax(logits, 1)
        .gather(1, own)
        .neg()
        .mean()
}

/// The fused form.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait CrossEntropyKernel: Backend {
    /// [`linear_cross_entropy`].
    fn linear_cross_entropy(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        targets: Vec<u32>,
    ) -> FloatTensor<Self>;
}

impl CrossEntropyKernel for Flex {
    fn linear_cross_entropy(
        x: FlexTensor,
        w: FlexTensor,
        b: FlexTensor,
        targets: Vec<u32>,
    ) -> FlexTensor {
        let [x, w, b] = [x, w, b].map(|t| t.to_contiguous());
        let found = cpu::linear_cross_entropy(slice(&x), slice(&w), slice(&b), &targets, false);
        tensor(vec![found.loss], Shape::new([1]))
    }
}

#[derive(Debug)]
struct CrossEntropyBackward;

impl Backward<Flex, 3> for CrossEntropyBackward {
    type State = [FlexTensor; 3];

    fn backward(self, ops: Ops<[FlexTensor; 3], 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node).to_contiguous();
        let factor = slice(&grad)[0];
        for (node, own) in ops.parents.into_iter().zip(ops.state) {
            let Some(node) = node else { continue };
            // As a rule the loss is what is differentiated.
            let own = match factor {
                1.0 => own,
                factor => {
                    let scaled = slice(&own).iter().map(|g| g * factor).collect();
                    tensor(scaled, own.shape())
                }
            };
            grads.register::<Flex>(node.id, own);
        }
    }
}

impl<C: CheckpointStrategy> CrossEntropyKernel for Autodiff<Flex, C> {
    fn linear_cross_entropy(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        targets: Vec<u32>,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), w.node(), b.node()];
        let [x, w, b] = [x, w, b].map(|t| t.into_primitive().to_contiguous());
        let find = |with_gradients| {
            let (x, w, b) = (slice(&x), slice(&w), slice(&b));
            cpu::linear_cross_entropy(x, w, b, &targets, with_gradients)
        };
        let loss = |loss| tensor(vec![loss], Shape::new([1]));
        match CrossEntropyBackward
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let found = find(true);
                let [gx, gw, gb] = found.gradients.unwrap_or_default();
                let state = [
                    tensor(gx, x.shape()),
                    tensor(gw, w.shape()),
                    tensor(gb, b.shape()),
                ];
                prep.finish(state, loss(found.loss))
            }
            OpsKind::UnTracked(prep) => prep.finish(loss(find(false).loss)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::twins;
    use super::*;

    #[test]
    fn fused_and_composed_agree_in_values_and_gradients() {
        for (rows, k, classes) in [(1, 3, 2), (7, 12, 5_000), (1_100, 5, 33)] {
            twins::check(&[&[rows, k], &[classes, k], &[classes]], move |p, ctx| {
                let [x, w, b] = p else { unreachable!() };
                let x = x.clone().reshape([rows, k]);
                let w = w.clone().reshape([classes, k]);
                let targets: Vec<u32> = (0..rows).map(|i| (i * 7_919 % classes) as u32).collect();
                linear_cross_entropy(x, w, b.clone(), &targets, ctx) * 2.0
            });
        }
    }
}
