//! The fused kernels of batch normalisation, as those of [`super::kernels`].

use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::flex::FlexTensor;
use burn::backend::{
    AutodiffBackend, Backend, Flex, TensorMetadata, backend_extension, tensor::FloatTensor,
};
use burn::tensor::Shape;

use super::cpu::{self, Activation};
use super::kernels::{slice, tensor};

/// Batch normalisation of `x` `[batch, length, channels]`.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait BatchNormKernels: Backend {
    /// Mean and biased variance of each channel, `[2, channels]`: constants of the graph.
    fn batch_statistics(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// `activation((x - mean) / sqrt(variance + eps) * gamma + beta)` with `statistics` `[2, channels]`. Where they are
    /// those of `x` (`of_batch`), the gradient of `x` flows through them too.
    fn batch_norm(
        x: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f32,
        activation: Activation,
        of_batch: bool,
    ) -> FloatTensor<Self>;
}

impl BatchNormKernels for Flex {
    fn batch_statistics(x: FlexTensor) -> FlexTensor {
        let x = x.to_contiguous();
        let width = x.shape().dims::<3>()[2];
        let statistics = cpu::batch_statistics(slice(&x), width);
        tensor(statistics, Shape::new([2, width]))
    }

    fn batch_norm(
        x: FlexTensor,
        statistics: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        eps: f32,
        activation: Activation,
        _: bool,
    ) -> FlexTensor {
        let [x, statistics] = [x, statistics].map(|t| t.to_contiguous());
        let [gamma, beta] = [gamma, beta].map(|t| t.to_contiguous());
        let (s, g, b) = (slice(&statistics), slice(&gamma), slice(&beta));
        let normed = cpu::batch_norm(slice(&x), s, g, b, eps, activation, false);
        tensor(normed.out, x.shape())
    }
}

#[derive(Debug)]
struct BatchNormBackward;

#[derive(Clone, Debug)]
struct BatchNormState {
    normed: FlexTensor,
    inverse_std: FlexTensor,
    gamma: FlexTensor,
    beta: FlexTensor,
    activation: Activation,
    of_batch: bool,
}

impl Backward<Flex, 3> for BatchNormBackward {
    type State = BatchNormState;

    fn backward(self, ops: Ops<BatchNormState, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node).to_contiguous();
        let s = ops.state;
        let all = cpu::batch_norm_backward(
            slice(&grad),
            slice(&s.normed),
            slice(&s.inverse_std),
            slice(&s.gamma),
            slice(&s.beta),
            s.activation,
            s.of_batch,
        );
        let shapes = [s.normed.shape(), s.gamma.shape(), s.beta.shape()];
        for ((node, grad), shape) in ops.parents.into_iter().zip(all).zip(shapes) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, tensor(grad, shape));
            }
        }
    }
}

impl<C: CheckpointStrategy> BatchNormKernels for Autodiff<Flex, C> {
    fn batch_statistics(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let statistics = <Flex as BatchNormKernels>::batch_statistics(x.into_primitive());
        <Self as AutodiffBackend>::from_inner(statistics)
    }

    fn batch_norm(
        x: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f32,
        activation: Activation,
        of_batch: bool,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), gamma.node(), beta.node()];
        let statistics = statistics.into_primitive().to_contiguous();
        let [x, gamma, beta] = [x, gamma, beta].map(|t| t.into_primitive().to_contiguous());
        let (s, g, b) = (slice(&statistics), slice(&gamma), slice(&beta));
        let normed = cpu::batch_norm(slice(&x), s, g, b, eps, activation, true);
        let out = tensor(normed.out, x.shape());
        match BatchNormBackward
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let state = BatchNormState {
                    normed: tensor(normed.normed.unwrap_or_default(), x.shape()),
                    inverse_std: tensor(normed.inverse_std, gamma.shape()),
                    gamma,
                    beta,
                    activation,
                    of_batch,
                };
                prep.finish(state, out)
            }
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }
}
