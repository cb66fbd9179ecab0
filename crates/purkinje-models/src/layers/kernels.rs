//! The interface between the layers and the hand-written CPU kernels: a backend extension for Burn's `Flex` backend,
//! with its own backward passes.
//!
//! Each function here has a counterpart in plain tensor operations in the layer's file, for all other devices; tests
//! compare the two, values and gradients.

use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, NodeGuard, Ops, OpsKind},
};
use burn::backend::flex::FlexTensor;
use burn::backend::{Backend, Flex, TensorMetadata, backend_extension, tensor::FloatTensor};
use burn::tensor::{Shape, TensorData};

use super::cpu::{self, Activation, AttentionShape, ConvShape, Drawn, Layout, Projections, Weight};

/// Fused layers. Shapes: the last dimension is the width, everything before it counts as rows.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait Kernels: Backend {
    /// `dropout(activation(x w + b))`, where `layout` says how `w` is stored.
    fn linear(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        layout: Layout,
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

    /// Multi-head attention on packed projections `[batch, length, 3 * width]`; `masks` `[n, length, length]` with n 0,
    /// 1 or batch is added to the scores. Dropout on the weights is random, or given as `factors` `[batch, heads,
    /// length, length]` (empty where it is random).
    fn attention(
        qkv: FloatTensor<Self>,
        masks: FloatTensor<Self>,
        factors: FloatTensor<Self>,
        heads: usize,
        drawn: Drawn,
    ) -> FloatTensor<Self>;

    /// [`Kernels::attention`] on queries `[batch, length, width]` and as many keys and values `[batch, keys, width]`, by which
    /// masks and factors are wide.
    fn attention_of_three(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        masks: FloatTensor<Self>,
        factors: FloatTensor<Self>,
        heads: usize,
        drawn: Drawn,
    ) -> FloatTensor<Self>;

    /// Dropout.
    fn dropout(x: FloatTensor<Self>, dropout: f32, key: u64) -> FloatTensor<Self>;

    /// `activation(conv(x, w) + b)` along time: `x` `[batch, length, inputs]`, `w` `[outputs, inputs / groups, kernel]`,
    /// `b` `[outputs]` or empty.
    fn conv1d(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        stride: usize,
        padding: [usize; 2],
        activation: Activation,
    ) -> FloatTensor<Self>;

    /// `activation(group_norm(x))`, one group for each channel; `x` `[batch, length, channels]`.
    fn channel_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f32,
        activation: Activation,
    ) -> FloatTensor<Self>;

    /// Kernels `[outputs, inputs, kernel]`, those of each position scaled to the length `scale` `[1, 1, kernel]`.
    fn weight_norm(v: FloatTensor<Self>, scale: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// The samples of a contiguous float32 tensor.
pub(super) fn slice(tensor: &FlexTensor) -> &[f32] {
    let start = tensor.layout().start_offset();
    let count = tensor.layout().num_elements();
    &tensor.storage::<f32>()[start..start + count]
}

pub(super) fn tensor(data: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(data, shape))
}

/// Sizes of an attention call over one packed or three separate projections.
fn attention_shape(held: &[FlexTensor], masks: &FlexTensor, heads: usize) -> AttentionShape {
    let [batch, length, width] = held[0].shape().dims();
    let (keys, width) = match held {
        [_, k, _] => (k.shape().dims::<3>()[1], width),
        _ => (length, width / 3),
    };
    AttentionShape {
        batch,
        length,
        keys,
        heads,
        head: width / heads,
        masks: masks.shape().dims::<3>()[0],
    }
}

fn projections(held: &[FlexTensor], shape: AttentionShape) -> Projections<'_> {
    match held {
        [q, k, v] => Projections::separate([q, k, v].map(slice), shape),
        held => Projections::packed(slice(&held[0]), shape),
    }
}

fn attention_forward(
    held: &[FlexTensor],
    masks: &FlexTensor,
    factors: &FlexTensor,
    shape: AttentionShape,
    drawn: Drawn,
) -> (FlexTensor, FlexTensor) {
    let AttentionShape {
        batch,
        length,
        keys,
        heads,
        head,
        ..
    } = shape;
    let projections = projections(held, shape);
    let (masks, factors) = (slice(masks), slice(factors));
    let (out, probabilities) = cpu::attention(projections, masks, factors, shape, drawn);
    (
        tensor(out, Shape::new([batch, length, heads * head])),
        tensor(probabilities, Shape::new([batch, heads, length, keys])),
    )
}

fn conv_shape(x: &FlexTensor, w: &FlexTensor, stride: usize, padding: [usize; 2]) -> ConvShape {
    let [batch, length, inputs] = x.shape().dims();
    let [outputs, of_group, kernel] = w.shape().dims();
    ConvShape {
        batch,
        length,
        inputs,
        outputs,
        kernel,
        stride,
        padding,
        groups: inputs / of_group,
    }
}

fn weight(w: &FlexTensor, layout: Layout) -> Weight<'_> {
    let values = slice(w);
    Weight { values, layout }
}

fn last(x: &FlexTensor) -> usize {
    x.shape().to_vec().last().copied().unwrap_or(1)
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
        layout: Layout,
        activation: Activation,
        dropout: f32,
        key: u64,
    ) -> FlexTensor {
        let [x, w, b] = [x, w, b].map(|t| t.to_contiguous());
        let weight = weight(&w, layout);
        let (out, _) = cpu::linear(
            slice(&x),
            weight,
            slice(&b),
            activation,
            dropout,
            key,
            false,
        );
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
        factors: FlexTensor,
        heads: usize,
        drawn: Drawn,
    ) -> FlexTensor {
        let (held, masks) = ([qkv.to_contiguous()], masks.to_contiguous());
        let shape = attention_shape(&held, &masks, heads);
        attention_forward(&held, &masks, &factors.to_contiguous(), shape, drawn).0
    }

    fn attention_of_three(
        q: FlexTensor,
        k: FlexTensor,
        v: FlexTensor,
        masks: FlexTensor,
        factors: FlexTensor,
        heads: usize,
        drawn: Drawn,
    ) -> FlexTensor {
        let (held, masks) = ([q, k, v].map(|t| t.to_contiguous()), masks.to_contiguous());
        let shape = attention_shape(&held, &masks, heads);
        attention_forward(&held, &masks, &factors.to_contiguous(), shape, drawn).0
    }

    fn dropout(x: FlexTensor, dropout: f32, key: u64) -> FlexTensor {
        let x = x.to_contiguous();
        let out = cpu::dropout(slice(&x), last(&x), dropout, key);
        tensor(out, x.shape())
    }

    fn conv1d(
        x: FlexTensor,
        w: FlexTensor,
        b: FlexTensor,
        stride: usize,
        padding: [usize; 2],
        activation: Activation,
    ) -> FlexTensor {
        let [x, w, b] = [x, w, b].map(|t| t.to_contiguous());
        let shape = conv_shape(&x, &w, stride, padding);
        let out = cpu::conv1d(slice(&x), slice(&w), slice(&b), shape, activation, false).0;
        tensor(
            out,
            Shape::new([shape.batch, shape.output_length(), shape.outputs]),
        )
    }

    fn channel_norm(
        x: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        eps: f32,
        activation: Activation,
    ) -> FlexTensor {
        let [x, gamma, beta] = [x, gamma, beta].map(|t| t.to_contiguous());
        let length = x.shape().dims::<3>()[1];
        let (g, b) = (slice(&gamma), slice(&beta));
        let normed = cpu::channel_norm(slice(&x), length, g, b, eps, activation, false);
        tensor(normed.out, x.shape())
    }

    fn weight_norm(v: FlexTensor, scale: FlexTensor) -> FlexTensor {
        let [v, scale] = [v, scale].map(|t| t.to_contiguous());
        tensor(cpu::weight_norm(slice(&v), slice(&scale)).0, v.shape())
    }
}

#[derive(Debug)]
struct LinearBackward;

#[derive(Clone, Debug)]
struct LinearState {
    x: FlexTensor,
    w: FlexTensor,
    layout: Layout,
    /// The values that [`cpu::linear`] keeps.
    before: FlexTensor,
    activation: Activation,
    dropout: f32,
    key: u64,
}

impl Backward<Flex, 3> for LinearBackward {
    type State = LinearState;

    fn backward(self, ops: Ops<LinearState, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node).to_contiguous();
        let s = ops.state;
        let [node_x, node_w, node_b] = ops.parents;
        let m = match s.layout {
            Layout::OutputFirst => s.w.shape().dims::<2>()[0],
            Layout::InputFirst => s.w.shape().dims::<2>()[1],
        };
        let (grad_x, grad_w, grad_b) = cpu::linear_backward(
            slice(&grad),
            slice(&s.x),
            weight(&s.w, s.layout),
            slice(&s.before),
            m,
            s.activation,
            s.dropout,
            s.key,
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
struct AttentionState<const N: usize> {
    held: [FlexTensor; N],
    probabilities: FlexTensor,
    factors: FlexTensor,
    shape: AttentionShape,
    drawn: Drawn,
}

impl<const N: usize> Backward<Flex, N> for AttentionBackward {
    type State = AttentionState<N>;

    fn backward(self, ops: Ops<AttentionState<N>, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node).to_contiguous();
        let s = ops.state;
        let all = cpu::attention_backward(
            slice(&grad),
            projections(&s.held, s.shape),
            slice(&s.probabilities),
            slice(&s.factors),
            s.shape,
            s.drawn,
        );
        for ((node, grad), held) in ops.parents.into_iter().zip(all).zip(&s.held) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, tensor(grad, held.shape()));
            }
        }
    }
}

#[derive(Debug)]
struct DropoutBackward;

impl Backward<Flex, 1> for DropoutBackward {
    type State = (f32, u64);

    fn backward(self, ops: Ops<(f32, u64), 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node);
        let (dropout, key) = ops.state;
        if let [Some(node)] = ops.parents {
            grads.register::<Flex>(node.id, <Flex as Kernels>::dropout(grad, dropout, key));
        }
    }
}

#[derive(Debug)]
struct ConvBackward;

#[derive(Clone, Debug)]
struct ConvState {
    x: FlexTensor,
    w: FlexTensor,
    before: FlexTensor,
    shape: ConvShape,
    activation: Activation,
}

impl Backward<Flex, 3> for ConvBackward {
    type State = ConvState;

    fn backward(self, ops: Ops<ConvState, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node).to_contiguous();
        let s = ops.state;
        let [node_x, node_w, node_b] = ops.parents;
        let (grad_x, grad_w, grad_b) = cpu::conv1d_backward(
            slice(&grad),
            slice(&s.x),
            slice(&s.w),
            slice(&s.before),
            s.shape,
            s.activation,
            node_x.is_some(),
            node_b.is_some(),
        );
        if let (Some(node), Some(grad_x)) = (node_x, grad_x) {
            grads.register::<Flex>(node.id, tensor(grad_x, s.x.shape()));
        }
        if let Some(node) = node_w {
            grads.register::<Flex>(node.id, tensor(grad_w, s.w.shape()));
        }
        if let (Some(node), Some(grad_b)) = (node_b, grad_b) {
            grads.register::<Flex>(node.id, tensor(grad_b, Shape::new([s.shape.outputs])));
        }
    }
}

#[derive(Debug)]
struct ChannelNormBackward;

#[derive(Clone, Debug)]
struct ChannelNormState {
    normed: FlexTensor,
    inverse_std: FlexTensor,
    gamma: FlexTensor,
    beta: FlexTensor,
    activation: Activation,
}

impl Backward<Flex, 3> for ChannelNormBackward {
    type State = ChannelNormState;

    fn backward(self, ops: Ops<ChannelNormState, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node).to_contiguous();
        let s = ops.state;
        let all = cpu::channel_norm_backward(
            slice(&grad),
            slice(&s.normed),
            slice(&s.inverse_std),
            s.normed.shape().dims::<3>()[1],
            slice(&s.gamma),
            slice(&s.beta),
            s.activation,
        );
        let shapes = [s.normed.shape(), s.gamma.shape(), s.beta.shape()];
        for ((node, grad), shape) in ops.parents.into_iter().zip(all).zip(shapes) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, tensor(grad, shape));
            }
        }
    }
}

#[derive(Debug)]
struct WeightNormBackward;

#[derive(Clone, Debug)]
struct WeightNormState {
    v: FlexTensor,
    scale: FlexTensor,
    norms: FlexTensor,
}

impl Backward<Flex, 2> for WeightNormBackward {
    type State = WeightNormState;

    fn backward(self, ops: Ops<WeightNormState, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node).to_contiguous();
        let WeightNormState { v, scale, norms } = ops.state;
        let all = cpu::weight_norm_backward(slice(&grad), slice(&v), slice(&scale), slice(&norms));
        for ((node, grad), of) in ops.parents.into_iter().zip(all).zip([v, scale]) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, tensor(grad, of.shape()));
            }
        }
    }
}

impl<C: CheckpointStrategy> Kernels for Autodiff<Flex, C> {
    fn linear(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        layout: Layout,
        activation: Activation,
        dropout: f32,
        key: u64,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), w.node(), b.node()];
        let [x, w, b] = [x, w, b].map(|t| t.into_primitive().to_contiguous());
        let (x_, w_, b_) = (slice(&x), weight(&w, layout), slice(&b));
        let (out, before) = cpu::linear(x_, w_, b_, activation, dropout, key, true);
        let out = tensor(out, with_last(&x.shape(), b.shape().num_elements()));
        match LinearBackward
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let before = match before {
                    Some(before) => tensor(before, out.shape()),
                    None => out.clone(),
                };
                let state = LinearState {
                    x,
                    w,
                    layout,
                    before,
                    activation,
                    dropout,
                    key,
                };
                prep.finish(state, out)
            }
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
        factors: FloatTensor<Self>,
        heads: usize,
        drawn: Drawn,
    ) -> FloatTensor<Self> {
        let nodes = [qkv.node()];
        let held = [qkv.into_primitive().to_contiguous()];
        attend::<C, 1>(nodes, held, masks, factors, heads, drawn)
    }

    fn attention_of_three(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        masks: FloatTensor<Self>,
        factors: FloatTensor<Self>,
        heads: usize,
        drawn: Drawn,
    ) -> FloatTensor<Self> {
        let nodes = [q.node(), k.node(), v.node()];
        let held = [q, k, v].map(|t| t.into_primitive().to_contiguous());
        attend::<C, 3>(nodes, held, masks, factors, heads, drawn)
    }

    fn dropout(x: FloatTensor<Self>, dropout: f32, key: u64) -> FloatTensor<Self> {
        let nodes = [x.node()];
        let out = <Flex as Kernels>::dropout(x.into_primitive(), dropout, key);
        match DropoutBackward
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((dropout, key), out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }

    fn conv1d(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        stride: usize,
        padding: [usize; 2],
        activation: Activation,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), w.node(), b.node()];
        let [x, w, b] = [x, w, b].map(|t| t.into_primitive().to_contiguous());
        let shape = conv_shape(&x, &w, stride, padding);
        let keep = activation != Activation::Identity;
        let (out, before) = cpu::conv1d(slice(&x), slice(&w), slice(&b), shape, activation, keep);
        let out_shape = Shape::new([shape.batch, shape.output_length(), shape.outputs]);
        let out = tensor(out, out_shape.clone());
        match ConvBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let before = match before {
                    Some(before) => tensor(before, out_shape),
                    None => out.clone(),
                };
                let state = ConvState {
                    x,
                    w,
                    before,
                    shape,
                    activation,
                };
                prep.finish(state, out)
            }
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }

    fn channel_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f32,
        activation: Activation,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), gamma.node(), beta.node()];
        let [x, gamma, beta] = [x, gamma, beta].map(|t| t.into_primitive().to_contiguous());
        let [batch, length, width] = x.shape().dims();
        let (g, b) = (slice(&gamma), slice(&beta));
        let normed = cpu::channel_norm(slice(&x), length, g, b, eps, activation, true);
        let out = tensor(normed.out, x.shape());
        match ChannelNormBackward
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let state = ChannelNormState {
                    normed: tensor(normed.normed.unwrap_or_default(), x.shape()),
                    inverse_std: tensor(normed.inverse_std, Shape::new([batch, width])),
                    gamma,
                    beta,
                    activation,
                };
                prep.finish(state, out)
            }
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }

    fn weight_norm(v: FloatTensor<Self>, scale: FloatTensor<Self>) -> FloatTensor<Self> {
        let nodes = [v.node(), scale.node()];
        let [v, scale] = [v, scale].map(|t| t.into_primitive().to_contiguous());
        let (out, norms) = cpu::weight_norm(slice(&v), slice(&scale));
        let out = tensor(out, v.shape());
        match WeightNormBackward
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let norms = tensor(norms, scale.shape());
                prep.finish(WeightNormState { v, scale, norms }, out)
            }
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }
}

/// Attention in a graph.
fn attend<C: CheckpointStrategy, const N: usize>(
    nodes: [NodeGuard; N],
    held: [FlexTensor; N],
    masks: FloatTensor<Autodiff<Flex, C>>,
    factors: FloatTensor<Autodiff<Flex, C>>,
    heads: usize,
    drawn: Drawn,
) -> FloatTensor<Autodiff<Flex, C>> {
    let [masks, factors] = [masks, factors].map(|t| t.into_primitive().to_contiguous());
    let shape = attention_shape(&held, &masks, heads);
    let (out, probabilities) = attention_forward(&held, &masks, &factors, shape, drawn);
    match AttentionBackward
        .prepare::<C>(nodes)
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prep) => prep.finish(
            AttentionState {
                held,
                probabilities,
                factors,
                shape,
                drawn,
            },
            out,
        ),
        OpsKind::UnTracked(prep) => prep.finish(out),
    }
}
