//! The hot layers on the CPU: matrix products from the `gemm` crate, everything between them fused into one
//! pass over rows that are still in cache, forward and backward.
//!
//! The order of summation depends only on the shape of one recording: results do not depend on the number of threads,
//! and the result for a recording does not depend on the others in its batch.

#![allow(unsafe_code)]

mod column_norm;
mod conv;
mod cross_entropy;
mod few_rows;
mod few_rows_kernels;
mod gathered;
mod register_tile;
mod simd;
mod tiles;

use purkinje_compute::by_rows::product_by_rows;
use purkinje_compute::matmul::{View, product, product_over, unwritten, written, zeroed};
use rayon::prelude::*;

pub(crate) use column_norm::{
    batch_norm, batch_norm_backward, batch_statistics, channel_norm, channel_norm_backward,
};
pub(crate) use conv::{ConvShape, conv1d, conv1d_backward, weight_norm, weight_norm_backward};
pub(crate) use cross_entropy::{linear_cross_entropy, log_softmax};
pub(crate) use gathered::{Gathered, gathered_attention};
use simd::Drop;
pub use simd::{Activation, AdamStep};

/// Largest number of rows of a block of a linear layer.
const LINEAR_BLOCK: usize = 2048;
/// Smallest number of rows of a block: fewer are not worth packing the weight.
const LINEAR_BLOCK_LEAST: usize = 48;
/// Up to this number of rows a linear layer is computed transposed and divided by its outputs: for more rows,
/// transposing inputs and outputs costs as much as packing the weight.
const FEW_ROWS: usize = 192;
/// Outputs per task.
const COLUMNS: usize = 192;
/// Rows of one block of a normalisation.
const NORM_BLOCK: usize = 256;
/// Rows of a block where rows are independent: few, so that a single recording occupies several threads.
const ROW_BLOCK: usize = 24;
/// Elements of one block of an element-wise update.
const FLAT_BLOCK: usize = 1 << 16;

/// How the weight of a linear layer from `k` inputs to `m` outputs is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `[m, k]`, as almost all programs have it.
    OutputFirst,
    /// `[k, m]`, as GPT-2 has it.
    InputFirst,
}

/// The weight of a linear layer.
#[derive(Clone, Copy)]
pub(crate) struct Weight<'a> {
    pub values: &'a [f32],
    pub layout: Layout,
}

impl<'a> Weight<'a> {
    /// As a matrix `[k, m]`.
    fn view(self, k: usize, m: usize) -> View<'a, f32> {
        match self.layout {
            Layout::OutputFirst => View::rows(self.values, k).t(),
            Layout::InputFirst => View::rows(self.values, m),
        }
    }
}

/// `activation(x w + b)` then dropout; `x` `[rows, k]`, `w` from k to m, `b` `[m]` -> `[rows, m]`. With `keep` also what
/// the backward pass needs beside the inputs: nothing without an activation, the output for ReLU (its gradient is zero
/// where the output is), and the input of the activation for the others.
pub(crate) fn linear(
    x: &[f32],
    weight: Weight<'_>,
    b: &[f32],
    activation: Activation,
    dropout: f32,
    key: u64,
    keep: bool,
) -> (Vec<f32>, Option<Vec<f32>>) {
    let w = weight.values;
    let m = b.len();
    let k = w.len() / m;
    let rows = x.len() / k;
    let drop = Drop::new(dropout, key);
    let keeps = keep && activation.keeps_input();
    let finish = tiles::Finish {
        bias: b,
        activation,
        drop,
        keeps,
    };
    // Sums of one or two terms use a separate code path in the `gemm` crate.
    let tiles = simd::has_tiles() && k > 2;
    let by_outputs = weight.layout == Layout::OutputFirst;
    match weight.layout {
        Layout::InputFirst if (1..=few_rows::INPUT_FIRST).contains(&rows) => {
            return few_rows::input_first(x, w, m, finish);
        }
        Layout::OutputFirst if tiles && (1..=few_rows::OUTPUT_FIRST).contains(&rows) => {
            return few_rows::output_first(x, w, m, finish);
        }
        Layout::OutputFirst if tiles && rows <= FEW_ROWS => {
            return tiles::linear(x, w, m, finish);
        }
        _ => {}
    }
    if by_outputs && rows <= FEW_ROWS && m >= FEW_ROWS {
        return linear_by_columns(x, w, b, activation, drop, keeps);
    }
    let block = block_rows(rows);
    let mut out = unwritten(rows * m);
    let mut before = vec![0.0; if keeps { rows * m } else { 0 }];
    let mut befores: Vec<Option<&mut [f32]>> = before.chunks_mut(block * m).map(Some).collect();
    befores.resize_with(rows.div_ceil(block), || None);
    out.par_chunks_mut(block * m)
        .zip(befores)
        .enumerate()
        .for_each(|(i, (out, before))| {
            let n = out.len() / m;
            let x = &x[i * block * k..][..n * k];
            let out = product_by_rows(out, [n, m, k], View::rows(x, k), weight.view(k, m));
            simd::finish_linear(out, before, b, activation, i * block, drop);
        });
    // SAFETY: the blocks cover `out` and each was written by its product.
    let out = unsafe { written(out) };
    (out, keeps.then_some(before))
}

/// [`linear`] for few rows: computed transposed, so that the product reads the weight without packing it (which for few
/// rows costs as much as the arithmetic), with the outputs divided among threads.
fn linear_by_columns(
    x: &[f32],
    w: &[f32],
    b: &[f32],
    activation: Activation,
    drop: Option<Drop>,
    keeps: bool,
) -> (Vec<f32>, Option<Vec<f32>>) {
    let m = b.len();
    let k = w.len() / m;
    let rows = x.len() / k;
    // Whole vectors: padding with rows of zeros costs nothing and also avoids packing.
    let padded = rows.next_multiple_of(simd::LANES);
    let mut turned = vec![0.0; k * padded];
    simd::transpose(&mut turned, padded, x, k, [rows, k]);
    let mut products = unwritten(m * padded);
    products
        .par_chunks_mut(COLUMNS * padded)
        .zip(w.par_chunks(COLUMNS * k))
        .for_each(|(out, w)| {
            let n = out.len() / padded;
            let x = View::rows(&turned, padded);
            product_by_rows(out, [n, padded, k], View::rows(w, k), x);
        });
    // SAFETY: the strips cover `products` and each was written by its product.
    let products = unsafe { written(products) };
    let mut out = vec![0.0; rows * m];
    let mut before = vec![0.0; if keeps { rows * m } else { 0 }];
    let block = 2 * simd::LANES;
    let mut befores: Vec<Option<&mut [f32]>> = before.chunks_mut(block * m).map(Some).collect();
    befores.resize_with(rows.div_ceil(block), || None);
    out.par_chunks_mut(block * m)
        .zip(befores)
        .enumerate()
        .for_each(|(i, (out, before))| {
            let n = out.len() / m;
            simd::transpose(out, m, &products[i * block..], padded, [m, n]);
            simd::finish_linear(out, before, b, activation, i * block, drop);
        });
    (out, keeps.then_some(before))
}

/// Rows of a block: they are divided evenly among threads, each packing the weight once for up to [`LINEAR_BLOCK`]
/// rows.
fn block_rows(rows: usize) -> usize {
    let parts = rows
        .div_ceil(LINEAR_BLOCK)
        .next_multiple_of(rayon::current_num_threads());
    rows.div_ceil(parts).max(LINEAR_BLOCK_LEAST)
}

/// Gradients of [`linear`] with respect to `x` (when asked), `w` and `b`.
#[allow(clippy::too_many_arguments)]
pub(crate) fn linear_backward(
    grad: &[f32],
    x: &[f32],
    weight: Weight<'_>,
    before: &[f32],
    width: usize,
    activation: Activation,
    dropout: f32,
    key: u64,
    want_x: bool,
) -> (Option<Vec<f32>>, Vec<f32>, Vec<f32>) {
    let m = width;
    let k = weight.values.len() / m;
    let rows = x.len() / k;
    let block = block_rows(rows);
    let drop = Drop::new(dropout, key);
    let passed;
    let inner: &[f32] = if activation == Activation::Identity && drop.is_none() {
        grad
    } else {
        let mut g = vec![0.0; rows * m];
        g.par_chunks_mut(block * m).enumerate().for_each(|(i, g)| {
            let own = i * block * m..i * block * m + g.len();
            let before = before.get(own.clone()).unwrap_or_default();
            simd::activation_backward(g, &grad[own], before, m, activation, i * block, drop);
        });
        passed = g;
        &passed
    };
    let grad_x = want_x.then(|| {
        let mut grad_x = unwritten(rows * k);
        grad_x
            .par_chunks_mut(block * k)
            .enumerate()
            .for_each(|(i, gx)| {
                let n = gx.len() / k;
                let g = &inner[i * block * m..][..n * m];
                product(gx, [n, k, m], View::rows(g, m), weight.view(k, m).t(), 1.0);
            });
        // SAFETY: the blocks cover `grad_x` and each was written by its product.
        unsafe { written(grad_x) }
    });
    // Rows of the weight are divided among threads; sums over data rows are not, so their order never changes.
    let ((down, height), (along, width)) = match weight.layout {
        Layout::OutputFirst => ((inner, m), (x, k)),
        Layout::InputFirst => ((x, k), (inner, m)),
    };
    let strip = height.div_ceil(8).max(16);
    let mut grad_w = unwritten(m * k);
    grad_w
        .par_chunks_mut(strip * width)
        .enumerate()
        .for_each(|(i, gw)| {
            let n = gw.len() / width;
            let down = View::rows(&down[i * strip..], height).t();
            product(gw, [n, width, rows], down, View::rows(along, width), 1.0);
        });
    // SAFETY: the strips cover `grad_w` and each was written by its product.
    let grad_w = unsafe { written(grad_w) };
    (grad_x, grad_w, column_sums(inner, m))
}

fn column_sums(rows: &[f32], width: usize) -> Vec<f32> {
    let partial: Vec<Vec<f32>> = rows
        .par_chunks(NORM_BLOCK * width)
        .map(|rows| {
            let mut total = vec![0.0; width];
            simd::add_rows(&mut total, rows);
            total
        })
        .collect();
    in_order(partial, width)
}

fn in_order(partial: Vec<Vec<f32>>, width: usize) -> Vec<f32> {
    let mut total = vec![0.0; width];
    for part in &partial {
        simd::add_rows(&mut total, part);
    }
    total
}

/// What [`layer_norm`] keeps for its backward pass.
pub(crate) struct Normed {
    /// LayerNorm(x + dropout(residual)) * gamma + beta.
    pub out: Vec<f32>,
    /// The rows before gamma and beta.
    pub normed: Vec<f32>,
    /// 1 / standard deviation of each row.
    pub inverse_std: Vec<f32>,
}

/// `LayerNorm(x + dropout(residual)) * gamma + beta` over rows of `gamma.len()` elements.
pub(crate) fn layer_norm(
    x: &[f32],
    residual: Option<&[f32]>,
    gamma: &[f32],
    beta: &[f32],
    eps: f32,
    dropout: f32,
    key: u64,
) -> Normed {
    let width = gamma.len();
    let drop = Drop::new(dropout, key);
    let (mut out, mut normed) = (unwritten(x.len()), unwritten(x.len()));
    let mut inverse_std = vec![0.0; x.len() / width];
    out.par_chunks_mut(ROW_BLOCK * width)
        .zip(normed.par_chunks_mut(ROW_BLOCK * width))
        .zip(inverse_std.par_chunks_mut(ROW_BLOCK))
        .enumerate()
        .for_each(|(i, ((out, normed), inverse_std))| {
            let at = i * ROW_BLOCK * width;
            let n = out.len();
            simd::norm_rows(
                zeroed(out),
                zeroed(normed),
                inverse_std,
                &x[at..at + n],
                residual.map(|r| &r[at..at + n]),
                gamma,
                beta,
                eps,
                i * ROW_BLOCK,
                drop,
            );
        });
    // SAFETY: the blocks cover both and each was written.
    let (out, normed) = unsafe { (written(out), written(normed)) };
    Normed {
        out,
        normed,
        inverse_std,
    }
}

/// Gradients of [`layer_norm`]: x, residual (only when dropout makes it differ from x), gamma, beta.
pub(crate) fn layer_norm_backward(
    grad: &[f32],
    normed: &[f32],
    inverse_std: &[f32],
    gamma: &[f32],
    dropout: f32,
    key: u64,
) -> (Vec<f32>, Option<Vec<f32>>, Vec<f32>, Vec<f32>) {
    let width = gamma.len();
    let drop = Drop::new(dropout, key);
    let mut grad_x = vec![0.0; grad.len()];
    let mut grad_residual = vec![0.0; if drop.is_some() { grad.len() } else { 0 }];
    let blocks = grad.len().div_ceil(NORM_BLOCK * width);
    let mut residual_blocks: Vec<Option<&mut [f32]>> = grad_residual
        .chunks_mut(NORM_BLOCK * width)
        .map(Some)
        .collect();
    residual_blocks.resize_with(blocks, || None);
    let partial: Vec<(Vec<f32>, Vec<f32>)> = grad_x
        .par_chunks_mut(NORM_BLOCK * width)
        .zip(residual_blocks)
        .enumerate()
        .map(|(i, (grad_x, grad_residual))| {
            let at = i * NORM_BLOCK * width;
            let n = grad_x.len();
            let (mut gamma_sum, mut beta_sum) = (vec![0.0; width], vec![0.0; width]);
            simd::norm_rows_backward(
                grad_x,
                grad_residual,
                &mut gamma_sum,
                &mut beta_sum,
                &grad[at..at + n],
                &normed[at..at + n],
                &inverse_std[i * NORM_BLOCK..][..n / width],
                gamma,
                i * NORM_BLOCK,
                drop,
            );
            (gamma_sum, beta_sum)
        })
        .collect();
    let (gamma_parts, beta_parts) = partial.into_iter().unzip();
    (
        grad_x,
        drop.map(|_| grad_residual),
        in_order(gamma_parts, width),
        in_order(beta_parts, width),
    )
}

/// Sizes of an attention call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionShape {
    /// Sequences.
    pub batch: usize,
    /// Positions of a sequence.
    pub length: usize,
    /// Positions of what it attends to.
    pub keys: usize,
    /// Heads.
    pub heads: usize,
    /// Width of one head.
    pub head: usize,
    /// Masks given: 0 (none), 1 (shared) or `batch`, each `[length, keys]`, added to the scores.
    pub masks: usize,
}

impl AttentionShape {
    fn mask<'a>(&self, masks: &'a [f32], sequence: usize) -> Option<&'a [f32]> {
        let size = self.length * self.keys;
        match self.masks {
            0 => None,
            1 => Some(&masks[..size]),
            _ => Some(&masks[sequence * size..][..size]),
        }
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head as f32).sqrt()
    }
}

/// Queries, keys and values: packed in rows of three widths, or each on its own.
#[derive(Clone, Copy)]
pub(crate) struct Projections<'a> {
    parts: [&'a [f32]; 3],
    stride: usize,
}

impl<'a> Projections<'a> {
    /// Packed `[batch, length, 3, heads, head]`.
    pub fn packed(qkv: &'a [f32], shape: AttentionShape) -> Self {
        let width = shape.heads * shape.head;
        Projections {
            parts: [0, 1, 2].map(|part| &qkv[part * width..]),
            stride: 3 * width,
        }
    }

    /// `[batch, length, heads, head]` and twice `[batch, keys, heads, head]`.
    pub fn separate(parts: [&'a [f32]; 3], shape: AttentionShape) -> Self {
        Projections {
            parts,
            stride: shape.heads * shape.head,
        }
    }

    /// Query `[length, head]`, key and value `[keys, head]` of one head of one sequence.
    fn of(&self, shape: AttentionShape, task: usize) -> [View<'a, f32>; 3] {
        let (sequence, head) = (task / shape.heads, task % shape.heads);
        let view = |part: &'a [f32], positions: usize| {
            let at = sequence * positions * self.stride + head * shape.head;
            View::rows(&part[at..], self.stride)
        };
        let [q, k, v] = self.parts;
        [
            view(q, shape.length),
            view(k, shape.keys),
            view(v, shape.keys),
        ]
    }
}

/// Random dropout.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drawn {
    /// Probability that an element is dropped.
    pub p: f32,
    /// Key of its stream.
    pub key: u64,
}

/// How attention weights are dropped.
#[derive(Clone, Copy)]
enum Dropped<'a> {
    Not,
    Drawn(Drop),
    /// By factors `[batch, heads, length, keys]`.
    Recorded(&'a [f32]),
}

impl<'a> Dropped<'a> {
    fn new(factors: &'a [f32], drawn: Drawn) -> Self {
        match (factors.is_empty(), Drop::new(drawn.p, drawn.key)) {
            (false, _) => Dropped::Recorded(factors),
            (true, Some(drop)) => Dropped::Drawn(drop),
            (true, None) => Dropped::Not,
        }
    }

    /// The weights `p` `[t, s]` of one head of one sequence after dropout, in `memory` where they are not `p` itself.
    fn apply<'m>(
        self,
        memory: &'m mut [f32],
        p: &'m [f32],
        [t, s]: [usize; 2],
        task: usize,
    ) -> &'m [f32] {
        match self {
            Dropped::Not => return p,
            Dropped::Drawn(drop) => simd::drop_rows(memory, p, s, task * t, drop),
            Dropped::Recorded(factors) => {
                let factors = &factors[task * t * s..][..t * s];
                for ((out, p), factor) in memory.iter_mut().zip(p).zip(factors) {
                    *out = p * factor;
                }
            }
        }
        memory
    }
}

/// Multi-head attention on projections -> output `[batch, length, width]` and the probabilities `[batch, heads, length,
/// keys]` before dropout. `factors` are empty where dropout is random.
pub(crate) fn attention(
    projections: Projections<'_>,
    masks: &[f32],
    factors: &[f32],
    shape: AttentionShape,
    drawn: Drawn,
) -> (Vec<f32>, Vec<f32>) {
    let AttentionShape {
        batch,
        length: t,
        keys: s,
        heads,
        head,
        ..
    } = shape;
    let dropped = Dropped::new(factors, drawn);
    let keeps = matches!(dropped, Dropped::Not);
    let mut probabilities = unwritten(batch * heads * t * s);
    let mut by_head = unwritten(batch * heads * t * head);
    probabilities
        .par_chunks_mut(t * s)
        .zip(by_head.par_chunks_mut(t * head))
        .enumerate()
        .for_each_init(
            || vec![0.0; if keeps { 0 } else { t * s }],
            |memory, (task, (p, out))| {
                let [q, k, v] = projections.of(shape, task);
                let p = product(p, [t, s, head], q, k.t(), shape.scale());
                simd::softmax_rows(p, s, shape.mask(masks, task / heads));
                let weights = dropped.apply(memory, p, [t, s], task);
                product(out, [t, head, s], View::rows(weights, s), v, 1.0);
            },
        );
    // SAFETY: the tasks cover both and each part was written by its product.
    let (probabilities, by_head) = unsafe { (written(probabilities), written(by_head)) };
    let mut out = unwritten(by_head.len());
    out.par_chunks_mut(t * heads * head)
        .zip(by_head.par_chunks(heads * t * head))
        .for_each(|(out, by_head)| interleave(zeroed(out), heads * head, 0, by_head, heads, head));
    // SAFETY: the chunks cover `out` and each was written.
    (unsafe { written(out) }, probabilities)
}

/// Gradient of [`attention`] with respect to the projections, in their form: one packed, or three.
pub(crate) fn attention_backward(
    grad: &[f32],
    projections: Projections<'_>,
    probabilities: &[f32],
    factors: &[f32],
    shape: AttentionShape,
    drawn: Drawn,
) -> Vec<Vec<f32>> {
    let AttentionShape {
        batch,
        length: t,
        keys: s,
        heads,
        head,
        ..
    } = shape;
    let dropped = Dropped::new(factors, drawn);
    let width = heads * head;
    // For each head of each sequence the gradients of queries, keys and values, one after the other.
    let size = (t + 2 * s) * head;
    let mut by_head = vec![0.0; batch * heads * size];
    by_head
        .par_chunks_mut(size)
        .zip(probabilities.par_chunks(t * s))
        .enumerate()
        .for_each_init(
            || (vec![0.0; t * s], vec![0.0; t * s]),
            |(scores, memory), (task, (out, p))| {
                let [q, k, v] = projections.of(shape, task);
                let (sequence, h) = (task / heads, task % heads);
                let g = View::rows(&grad[sequence * t * width + h * head..], width);
                let weights = dropped.apply(memory, p, [t, s], task);
                let (gq, rest) = out.split_at_mut(t * head);
                let (gk, gv) = rest.split_at_mut(s * head);
                product_over(gv, [s, head, t], View::rows(weights, s).t(), g, 1.0);
                product_over(scores, [t, s, head], g, v.t(), 1.0);
                let drop = match dropped {
                    Dropped::Drawn(drop) => Some(drop),
                    Dropped::Not => None,
                    Dropped::Recorded(factors) => {
                        let factors = &factors[task * t * s..][..t * s];
                        scores.iter_mut().zip(factors).for_each(|(s, f)| *s *= f);
                        None
                    }
                };
                simd::softmax_rows_backward(scores, p, s, task * t, drop);
                let scores = View::rows(scores, s);
                product_over(gq, [t, head, s], scores, k, shape.scale());
                product_over(gk, [s, head, t], scores.t(), q, shape.scale());
            },
        );
    let parts = [(0, t), (t, s), (t + s, s)];
    // Packed: one tensor of three widths. Separate: three of one width each.
    let held = projections.stride / width;
    parts
        .chunks(held)
        .map(|parts| {
            let length = parts[0].1;
            let mut out = vec![0.0; batch * length * held * width];
            out.par_chunks_mut(length * held * width)
                .zip(by_head.par_chunks(heads * size))
                .for_each(|(out, by_head)| {
                    for (h, own) in by_head.chunks_exact(size).enumerate() {
                        for (part, &(from, length)) in parts.iter().enumerate() {
                            let rows = &own[from * head..][..length * head];
                            interleave(out, held * width, part * width + h * head, rows, 1, head);
                        }
                    }
                });
            out
        })
        .collect()
}

/// `dropout(x)` over rows of `width`; its backward pass is the same function applied to the gradient.
pub(crate) fn dropout(x: &[f32], width: usize, p: f32, key: u64) -> Vec<f32> {
    let Some(drop) = Drop::new(p, key) else {
        return x.to_vec();
    };
    let mut out = vec![0.0; x.len()];
    out.par_chunks_mut(NORM_BLOCK * width)
        .zip(x.par_chunks(NORM_BLOCK * width))
        .enumerate()
        .for_each(|(i, (out, x))| simd::drop_rows(out, x, width, i * NORM_BLOCK, drop));
    out
}

/// Copies `[heads, length, head]` into columns of rows of `stride`, starting at `at`.
fn interleave(
    out: &mut [f32],
    stride: usize,
    at: usize,
    by_head: &[f32],
    heads: usize,
    head: usize,
) {
    let length = by_head.len() / (heads * head);
    for (h, rows) in by_head.chunks_exact(length * head).enumerate() {
        for (i, row) in rows.chunks_exact(head).enumerate() {
            out[i * stride + at + h * head..][..head].copy_from_slice(row);
        }
    }
}

/// One update of Adam in place.
pub(crate) fn adam(p: &mut [f32], m: &mut [f32], v: &mut [f32], grad: &[f32], step: AdamStep) {
    p.par_chunks_mut(FLAT_BLOCK)
        .zip(m.par_chunks_mut(FLAT_BLOCK))
        .zip(v.par_chunks_mut(FLAT_BLOCK))
        .zip(grad.par_chunks(FLAT_BLOCK))
        .for_each(|(((p, m), v), g)| simd::adam(p, m, v, g, step));
}

/// Sum of squares.
pub(crate) fn sum_squares(x: &[f32]) -> f64 {
    let partial: Vec<f64> = x.par_chunks(FLAT_BLOCK).map(simd::sum_squares).collect();
    partial.into_iter().sum()
}
