//! The seam between the layers and the hand-written CPU kernels: one backend extension for Burn's `Flex`
//! backend, with its own backward passes.
//!
//! Each function here has a twin made of plain tensor operations in the layer's own file, which serves every
//! other device; tests hold the two against each other, values and gradients.

use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::flex::FlexTensor;
use burn::backend::{Backend, Flex, TensorMetadata, backend_extension, tensor::FloatTensor};
use burn::tensor::{Shape, TensorData};

use super::cpu::{self, Activation, AttentionShape};

/// Fused layers. Shapes: the last dimension is the width, everything before it counts as rows.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait Kernels: Backend {
    /// `dropout(activation(x w^T + b))`.
    fn linear(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        activation: Activation,
        dropout: f32,
        key: u64,
    ) -> FloatTensor<Self>;

    /// `LayerNorm(x)`.
    fn layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self>;

    /// `LayerNorm(x + dropout(residual))`.
    fn add_layer_norm(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f32,
        dropout: f32,
        key: u64,
    ) -> FloatTensor<Self>;

    /// Multi-head attention on packed projections `[batch, length, 3 * width]`; `masks` `[n, length, length]` with n
    /// 0, 1 or batch is added to the scores.
    fn attention(
        qkv: FloatTensor<Self>,
        masks: FloatTensor<Self>,
        heads: usize,
        dropout: f32,
        key: u64,
    ) -> FloatTensor<Self>;
}

/// The samples of a contiguous float32 tensor.
fn slice(tensor: &FlexTensor) -> &[f32] {
    let start = tensor.layout().start_offset();
    let count = tensor.layout().num_elements();
    &tensor.storage::<f32>()[start..start + count]
}

fn tensor(data: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(data, shape))
}

fn attention_shape(qkv: &FlexTensor, masks: &FlexTensor, heads: usize) -> AttentionShape {
    let [batch, length, packed] = qkv.shape().dims();
    AttentionShape {
        batch,
        length,
        heads,
        head: packed / 3 / heads,
        masks: masks.shape().dims::<3>()[0],
    }
}

fn attention_forward(
    qkv: &FlexTensor,
    masks: &FlexTensor,
    shape: AttentionShape,
    dropout: f32,
    key: u64,
) -> (FlexTensor, FlexTensor) {
    let AttentionShape {
        batch,
        length,
        heads,
        head,
        ..
    } = shape;
    let (out, probabilities) = cpu::attention(slice(qkv), slice(masks), shape, dropout, key);
    (
        tensor(out, Shape::new([batch, length, heads * head])),
        tensor(probabilities, Shape::new([batch, heads, length, length])),
    )
}

fn with_last(shape: &Shape, width: usize) -> Shape {
    let mut dims = shape.to_vec();
    if let Some(last) = dims.last_mut() {
        *last = width;
    }
    Shape::from(dims)
}

impl Kernels for Flex {
    fn linear(
        x: FlexTensor,
        w: FlexTensor,
        b: FlexTensor,
        activation: Activation,
        dropout: f32,
        key: u64,
    ) -> FlexTensor {
        let [x, w, b] = [x, w, b].map(|t| t.to_contiguous());
        let out = cpu::linear(slice(&x), slice(&w), slice(&b), activation, dropout, key);
        tensor(out, with_last(&x.shape(), b.shape().num_elements()))
    }

    fn layer_norm(x: FlexTensor, gamma: FlexTensor, beta: FlexTensor, eps: f32) -> FlexTensor {
        let [x, gamma, beta] = [x, gamma, beta].map(|t| t.to_contiguous());
        let normed = cpu::layer_norm(slice(&x), None, slice(&gamma), slice(&beta), eps, 0.0, 0);
        tensor(normed.out, x.shape())
    }

    fn add_layer_norm(
        x: FlexTensor,
        residual: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        eps: f32,
        dropout: f32,
        key: u64,
    ) -> FlexTensor {
        let [x, residual, gamma, beta] = [x, residual, gamma, beta].map(|t| t.to_contiguous());
        let normed = cpu::layer_norm(
            slice(&x),
            Some(slice(&residual)),
            slice(&gamma),
            slice(&beta),
            eps,
            dropout,
            key,
        );
        tensor(normed.out, x.shape())
    }

    fn attention(
        qkv: FlexTensor,
        masks: FlexTensor,
        heads: usize,
        dropout: f32,
        key: u64,
    ) -> FlexTensor {
        let [qkv, masks] = [qkv, masks].map(|t| t.to_contiguous());
        let shape = attention_shape(&qkv, &masks, heads);
        attention_forward(&qkv, &masks, shape, dropout, key).0
    }
}

#[derive(Debug)]
struct LinearBackward;

#[derive(Clone, Debug)]
struct LinearState {
    x: FlexTensor,
    w: FlexTensor,
    out: FlexTensor,
    activation: Activation,
    dropout: f32,
}

impl Backward<Flex, 3> for LinearBackward {
    type State = LinearState;

    fn backward(self, ops: Ops<LinearState, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node).to_contiguous();
        let s = ops.state;
        let [node_x, node_w, node_b] = ops.parents;
        let m = s.w.shape().dims::<2>()[0];
        let (grad_x, grad_w, grad_b) = cpu::linear_backward(
            slice(&grad),
            slice(&s.x),
            slice(&s.w),
            slice(&s.out),
            m,
            s.activation,
            s.dropout,
            node_x.is_some(),
        );
        if let (Some(node), Some(grad_x)) = (node_x, grad_x) {
            grads.register::<Flex>(node.id, tensor(grad_x, s.x.shape()));
        }
        if let Some(node) = node_w {
            grads.register::<Flex>(node.id, tensor(grad_w, s.w.shape()));
        }
        if let Some(node) = node_b {
            grads.register::<Flex>(node.id, tensor(grad_b, Shape::new([m])));
        }
    }
}

/// Parents: x, gamma, beta and, with a residual, the residual.
#[derive(Debug)]
struct NormBackward;

#[derive(Clone, Debug)]
struct NormState {
    normed: FlexTensor,
    inverse_std: FlexTensor,
    gamma: FlexTensor,
    dropout: f32,
    key: u64,
}

impl NormState {
    fn forward(
        x: FlexTensor,
        residual: Option<FlexTensor>,
        gamma: FlexTensor,
        beta: FlexTensor,
        eps: f32,
        dropout: f32,
        key: u64,
    ) -> (Self, FlexTensor) {
        let [x, gamma, beta] = [x, gamma, beta].map(|t| t.to_contiguous());
        let residual = residual.map(|r| r.to_contiguous());
        let normed = cpu::layer_norm(
            slice(&x),
            residual.as_ref().map(slice),
            slice(&gamma),
            slice(&beta),
            eps,
            dropout,
            key,
        );
        let rows = normed.inverse_std.len();
        let out = tensor(normed.out, x.shape());
        let state = NormState {
            normed: tensor(normed.normed, x.shape()),
            inverse_std: tensor(normed.inverse_std, Shape::new([rows])),
            gamma,
            dropout,
            key,
        };
        (state, out)
    }

    fn backward(&self, grad: &FlexTensor) -> [FlexTensor; 4] {
        let (x, residual, gamma, beta) = cpu::layer_norm_backward(
            slice(grad),
            slice(&self.normed),
            slice(&self.inverse_std),
            slice(&self.gamma),
            self.dropout,
            self.key,
        );
        let x = tensor(x, self.normed.shape());
        let residual = residual.map_or_else(|| x.clone(), |r| tensor(r, self.normed.shape()));
        let width = self.gamma.shape();
        [
            x,
            tensor(gamma, width.clone()),
            tensor(beta, width),
            residual,
        ]
    }
}

impl<const N: usize> Backward<Flex, N> for NormBackward {
    type State = NormState;

    fn backward(self, ops: Ops<NormState, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node).to_contiguous();
        let all = ops.state.backward(&grad);
        for (node, grad) in ops.parents.into_iter().zip(all) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, grad);
            }
        }
    }
}

#[derive(Debug)]
struct AttentionBackward;

#[derive(Clone, Debug)]
struct AttentionState {
    qkv: FlexTensor,
    probabilities: FlexTensor,
    shape: AttentionShape,
    dropout: f32,
    key: u64,
}

impl Backward<Flex, 1> for AttentionBackward {
    type State = AttentionState;

    fn backward(self, ops: Ops<AttentionState, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node).to_contiguous();
        let s = ops.state;
        if let [Some(node)] = ops.parents {
            let grad = cpu::attention_backward(
                slice(&grad),
                slice(&s.qkv),
                slice(&s.probabilities),
                s.shape,
                s.dropout,
                s.key,
            );
            grads.register::<Flex>(node.id, tensor(grad, s.qkv.shape()));
        }
    }
}

impl<C: CheckpointStrategy> Kernels for Autodiff<Flex, C> {
    fn linear(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        activation: Activation,
        dropout: f32,
        key: u64,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), w.node(), b.node()];
        let [x, w, b] = [x, w, b].map(|t| t.into_primitive().to_contiguous());
        let out = <Flex as Kernels>::linear(x.clone(), w.clone(), b, activation, dropout, key);
        match LinearBackward
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish(
                LinearState {
                    x,
                    w,
                    out: out.clone(),
                    activation,
                    dropout,
                },
                out,
            ),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }

    fn layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), gamma.node(), beta.node()];
        let (state, out) = NormState::forward(
            x.into_primitive(),
            None,
            gamma.into_primitive(),
            beta.into_primitive(),
            eps,
            0.0,
            0,
        );
        match Backward::<Flex, 3>::prepare::<C>(NormBackward, nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish(state, out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }

    fn add_layer_norm(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f32,
        dropout: f32,
        key: u64,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), gamma.node(), beta.node(), residual.node()];
        let (state, out) = NormState::forward(
            x.into_primitive(),
            Some(residual.into_primitive()),
            gamma.into_primitive(),
            beta.into_primitive(),
            eps,
            dropout,
            key,
        );
        match Backward::<Flex, 4>::prepare::<C>(NormBackward, nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish(state, out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }

    fn attention(
        qkv: FloatTensor<Self>,
        masks: FloatTensor<Self>,
        heads: usize,
        dropout: f32,
        key: u64,
    ) -> FloatTensor<Self> {
        let nodes = [qkv.node()];
        let [qkv, masks] = [qkv, masks].map(|t| t.into_primitive().to_contiguous());
        let shape = attention_shape(&qkv, &masks, heads);
        let (out, probabilities) = attention_forward(&qkv, &masks, shape, dropout, key);
        match AttentionBackward
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish(
                AttentionState {
                    qkv,
                    probabilities,
                    shape,
                    dropout,
                    key,
                },
                out,
            ),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }
}
