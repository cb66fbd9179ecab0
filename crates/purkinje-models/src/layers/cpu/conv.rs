//! Convolution along time as matrix products without unfolding.
//!
//! Sequences are stored time-major, `[time, channels]`, so the samples under a kernel are contiguous, and the unfolded
//! matrix is a view of the sequence with overlapping rows.

use purkinje_compute::by_rows::product_by_rows;
use purkinje_compute::matmul::{View, product, product_add, product_over, unwritten, written};
use rayon::prelude::*;

use super::{Activation, NORM_BLOCK};
use super::{block_rows, column_sums, in_order, simd, tiles};

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvShape {
    /// Sequences.
    pub batch: usize,
    /// Time steps of a sequence.
    pub length: usize,
    /// Channels of the input.
    pub inputs: usize,
    /// Channels of the output.
    pub outputs: usize,
    /// Time steps under the kernel.
    pub kernel: usize,
    /// Time steps from one output to the next.
    pub stride: usize,
    /// Zeros before and after each sequence.
    pub padding: [usize; 2],
    /// Independent groups of channels.
    pub groups: usize,
}

impl ConvShape {
    /// Time steps of the output.
    pub fn output_length(&self) -> usize {
        let padded = self.length + self.padding[0] + self.padding[1];
        match padded.checked_sub(self.kernel) {
            Some(room) => room / self.stride + 1,
            None => 0,
        }
    }

    /// Input channels of a group.
    pub(super) fn group_inputs(&self) -> usize {
        self.inputs / self.groups
    }

    /// Output channels of a group.
    pub(super) fn group_outputs(&self) -> usize {
        self.outputs / self.groups
    }

    /// Numbers under the kernel in one group.
    pub(super) fn reach(&self) -> usize {
        self.kernel * self.group_inputs()
    }

    fn is_plain(&self) -> bool {
        self.groups == 1 && self.padding == [0, 0]
    }
}

/// The kernels `[outputs, inputs / groups, kernel]` as `[outputs, kernel, inputs / groups]`.
fn time_major(w: &[f32], shape: ConvShape) -> Vec<f32> {
    let (inputs, kernel) = (shape.group_inputs(), shape.kernel);
    if inputs == 1 || kernel == 1 {
        return w.to_vec();
    }
    let mut out = vec![0.0; w.len()];
    out.par_chunks_exact_mut(inputs * kernel)
        .zip(w.par_chunks_exact(inputs * kernel))
        .for_each(|(out, w)| transpose(out, w, inputs, kernel));
    out
}

/// The kernels as `[groups, kernel, inputs / groups, outputs / groups]`: the layout that is fastest to pack for a
/// matrix product.
fn outputs_last(w: &[f32], shape: ConvShape) -> Vec<f32> {
    let (co, reach) = (shape.group_outputs(), shape.reach());
    let by_tap = time_major(w, shape);
    let mut out = vec![0.0; w.len()];
    // Strips of rows that are whole vectors, within one group.
    let strip = reach.div_ceil(8).next_multiple_of(simd::LANES);
    let mut tasks = Vec::new();
    for (group, out) in out.chunks_exact_mut(reach * co).enumerate() {
        let w = &by_tap[group * co * reach..][..co * reach];
        for (i, out) in out.chunks_mut(strip * co).enumerate() {
            tasks.push((&w[i * strip..], out));
        }
    }
    tasks.into_par_iter().for_each(|(w, out)| {
        let n = out.len() / co;
        simd::transpose(out, co, w, reach, [co, n]);
    });
    out
}

/// `[rows, columns]` to `[columns, rows]`.
fn transpose(out: &mut [f32], x: &[f32], rows: usize, columns: usize) {
    simd::transpose(out, rows, x, columns, [rows, columns]);
}

/// One group of one sequence with its zeros around it, `[padded, channels]`.
fn padded(x: &[f32], width: usize, at: usize, channels: usize, padding: [usize; 2]) -> Vec<f32> {
    let length = x.len() / width;
    let mut out = vec![0.0; (length + padding[0] + padding[1]) * channels];
    let rows = out[padding[0] * channels..].chunks_exact_mut(channels);
    for (out, x) in rows.zip(x.chunks_exact(width)) {
        out.copy_from_slice(&x[at..at + channels]);
    }
    out
}

/// `activation(conv(x, w) + b)`: `x` `[batch, length, inputs]`, `w` `[outputs, inputs / groups, kernel]`, `b`
/// `[outputs]` or empty -> `[batch, output length, outputs]`, and with `keep` the input of the activation.
pub(crate) fn conv1d(
    x: &[f32],
    w: &[f32],
    b: &[f32],
    shape: ConvShape,
    activation: Activation,
    keep: bool,
) -> (Vec<f32>, Option<Vec<f32>>) {
    if simd::has_tiles() && !shape.is_plain() {
        let finish = tiles::Finish {
            bias: b,
            activation,
            drop: None,
            keeps: keep,
        };
        return tiles::convolve(x, w, shape, finish);
    }
    let (t, m, k) = (shape.output_length(), shape.outputs, shape.reach());
    let kernels = outputs_last(w, shape);
    let mut out = if shape.is_plain() {
        let block = block_rows(shape.batch * t).min(t);
        let step = shape.stride * shape.inputs;
        let mut out = unwritten(shape.batch * t * m);
        let mut tasks = Vec::new();
        for (item, out) in out.chunks_exact_mut(t * m).enumerate() {
            let x = &x[item * shape.length * shape.inputs..][..shape.length * shape.inputs];
            for (i, out) in out.chunks_mut(block * m).enumerate() {
                tasks.push((&x[i * block * step..], out));
            }
        }
        tasks.into_par_iter().for_each(|(x, out)| {
            let n = out.len() / m;
            let (x, kernels) = (View::rows(x, step), View::rows(&kernels, m));
            product_by_rows(out, [n, m, k], x, kernels);
        });
        // SAFETY: the blocks cover `out` and each was written by its product.
        unsafe { written(out) }
    } else {
        grouped_forward(x, &kernels, shape)
    };
    let none;
    let bias = if b.is_empty() {
        none = vec![0.0; m];
        &none
    } else {
        b
    };
    let mut before = keep.then(|| vec![0.0; out.len()]);
    let blocks = out.par_chunks_mut(NORM_BLOCK * m);
    match &mut before {
        Some(before) => {
            blocks
                .zip(before.par_chunks_mut(NORM_BLOCK * m))
                .for_each(|(out, before)| {
                    simd::finish_linear(out, Some(before), bias, activation, 0, None)
                })
        }
        None => blocks.for_each(|out| simd::finish_linear(out, None, bias, activation, 0, None)),
    }
    (out, before)
}

fn grouped_forward(x: &[f32], kernels: &[f32], shape: ConvShape) -> Vec<f32> {
    let (t, k) = (shape.output_length(), shape.reach());
    let (ci, co) = (shape.group_inputs(), shape.group_outputs());
    let size = shape.length * shape.inputs;
    let mut by_group = unwritten(shape.batch * t * shape.outputs);
    by_group
        .par_chunks_exact_mut(t * co)
        .enumerate()
        .for_each(|(task, out)| {
            let (item, group) = (task / shape.groups, task % shape.groups);
            let x = padded(
                &x[item * size..][..size],
                shape.inputs,
                group * ci,
                ci,
                shape.padding,
            );
            let w = &kernels[group * co * k..][..co * k];
            let x = View::rows(&x, shape.stride * ci);
            product(out, [t, co, k], x, View::rows(w, co), 1.0);
        });
    // SAFETY: the tasks cover `by_group` and each part was written by its product.
    let by_group = unsafe { written(by_group) };
    if shape.groups == 1 {
        return by_group;
    }
    let mut out = vec![0.0; by_group.len()];
    out.par_chunks_exact_mut(t * shape.outputs)
        .zip(by_group.par_chunks_exact(t * shape.outputs))
        .for_each(|(out, parts)| super::interleave(out, shape.outputs, 0, parts, shape.groups, co));
    out
}

/// Gradients of [`conv1d`] with respect to `x` (when asked), `w` and `b` (when there is one).
#[allow(clippy::too_many_arguments)]
pub(crate) fn conv1d_backward(
    grad: &[f32],
    x: &[f32],
    w: &[f32],
    before: &[f32],
    shape: ConvShape,
    activation: Activation,
    want_x: bool,
    want_b: bool,
) -> (Option<Vec<f32>>, Vec<f32>, Option<Vec<f32>>) {
    let (t, m, k) = (shape.output_length(), shape.outputs, shape.reach());
    let (ci, co) = (shape.group_inputs(), shape.group_outputs());
    let passed;
    let grad = if activation == Activation::Identity {
        grad
    } else {
        let mut g = vec![0.0; grad.len()];
        g.par_chunks_mut(NORM_BLOCK * m)
            .enumerate()
            .for_each(|(i, g)| {
                let rows = i * NORM_BLOCK * m..i * NORM_BLOCK * m + g.len();
                let before = before.get(rows.clone()).unwrap_or_default();
                simd::activation_backward(g, &grad[rows], before, m, activation, 0, None);
            });
        passed = g;
        &passed
    };
    let size = shape.length * shape.inputs;
    // Inputs with their zeros, group by group, where they are not the input itself.
    let inputs: Vec<Vec<f32>> = if shape.is_plain() {
        Vec::new()
    } else {
        (0..shape.batch * shape.groups)
            .into_par_iter()
            .map(|task| {
                let (item, group) = (task / shape.groups, task % shape.groups);
                padded(
                    &x[item * size..][..size],
                    shape.inputs,
                    group * ci,
                    ci,
                    shape.padding,
                )
            })
            .collect()
    };
    let input = |item: usize, group: usize| match inputs.get(item * shape.groups + group) {
        Some(own) => own.as_slice(),
        None => &x[item * size..][..size],
    };
    // Output channels are divided among threads; sums over time and sequences are not, so their order never changes.
    let strip = if shape.groups > 1 {
        co
    } else {
        m.div_ceil(8).max(16)
    };
    let mut grad_kernels = vec![0.0; m * k];
    grad_kernels
        .par_chunks_mut(strip * k)
        .enumerate()
        .for_each(|(i, gw)| {
            let n = gw.len() / k;
            for item in 0..shape.batch {
                let g = View {
                    data: &grad[item * t * m + i * strip..],
                    row: 1,
                    column: m,
                };
                let x = View::rows(input(item, i * strip / co), shape.stride * ci);
                match item {
                    0 => product_over(gw, [n, k, t], g, x, 1.0),
                    _ => product_add(gw, k, [n, k, t], g, x),
                }
            }
        });
    let mut grad_w = vec![0.0; m * k];
    grad_w
        .par_chunks_exact_mut(k)
        .zip(grad_kernels.par_chunks_exact(k))
        .for_each(|(out, x)| transpose(out, x, shape.kernel, ci));
    let grad_x = want_x.then(|| input_gradient(grad, w, shape));
    (grad_x, grad_w, want_b.then(|| column_sums(grad, m)))
}

/// The gradient of the input.
fn input_gradient(grad: &[f32], w: &[f32], shape: ConvShape) -> Vec<f32> {
    let (t, m, k) = (shape.output_length(), shape.outputs, shape.reach());
    let (ci, co) = (shape.group_inputs(), shape.group_outputs());
    let padded_length = shape.length + shape.padding[0] + shape.padding[1];
    let long = shape.stride == 1 && shape.kernel > 4;
    let kernels = if long {
        flipped(w, shape)
    } else {
        time_major(w, shape)
    };
    let mut by_group = vec![0.0; shape.batch * shape.groups * shape.length * ci];
    by_group
        .par_chunks_exact_mut(shape.length * ci)
        .enumerate()
        .for_each(|(task, out)| {
            let (item, group) = (task / shape.groups, task % shape.groups);
            let g = &grad[item * t * m..][..t * m];
            if long {
                // A convolution of the gradient with the reversed kernels.
                let around = [shape.kernel - 1; 2];
                let g = padded(g, m, group * co, co, around);
                let reach = shape.kernel * co;
                let w = &kernels[group * ci * reach..][..ci * reach];
                let g = View::rows(&g[shape.padding[0] * co..], co);
                product_over(
                    out,
                    [shape.length, ci, reach],
                    g,
                    View::rows(w, reach).t(),
                    1.0,
                );
                return;
            }
            let mut own = vec![0.0; padded_length * ci];
            let g = View::rows(&g[group * co..], m);
            for first in (0..shape.kernel).step_by(shape.stride) {
                // Taps within one stride of each other touch disjoint samples: one product serves them all.
                let taps = shape.stride.min(shape.kernel - first);
                let w = View::rows(&kernels[group * co * k + first * ci..], k);
                product_add(
                    &mut own[first * ci..],
                    shape.stride * ci,
                    [t, taps * ci, co],
                    g,
                    w,
                );
            }
            out.copy_from_slice(&own[shape.padding[0] * ci..][..shape.length * ci]);
        });
    if shape.groups == 1 {
        return by_group;
    }
    let mut out = vec![0.0; by_group.len()];
    out.par_chunks_exact_mut(shape.length * shape.inputs)
        .zip(by_group.par_chunks_exact(shape.length * shape.inputs))
        .for_each(|(out, parts)| super::interleave(out, shape.inputs, 0, parts, shape.groups, ci));
    out
}

/// The kernels as `[groups, inputs of a group, reversed kernel, outputs of a group]`.
fn flipped(w: &[f32], shape: ConvShape) -> Vec<f32> {
    let (ci, co, kernel) = (shape.group_inputs(), shape.group_outputs(), shape.kernel);
    let mut out = vec![0.0; w.len()];
    out.par_chunks_exact_mut(kernel * co)
        .enumerate()
        .for_each(|(row, out)| {
            let (group, i) = (row / ci, row % ci);
            for (j, out) in out.chunks_exact_mut(co).enumerate() {
                for (o, out) in out.iter_mut().enumerate() {
                    *out = w[((group * co + o) * ci + i) * kernel + kernel - 1 - j];
                }
            }
        });
    out
}

/// Kernels `v` `[outputs, inputs, kernel]`, those of each position scaled to the length `scale` `[kernel]`: the result,
/// and the lengths before.
pub(crate) fn weight_norm(v: &[f32], scale: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let kernel = scale.len();
    let norms: Vec<f32> = column_products(v, v, kernel)
        .into_iter()
        .map(f32::sqrt)
        .collect();
    let factors: Vec<f32> = scale.iter().zip(&norms).map(|(g, n)| g / n).collect();
    let mut out = unwritten(v.len());
    out.par_chunks_mut(NORM_BLOCK * kernel)
        .zip(v.par_chunks(NORM_BLOCK * kernel))
        .for_each(|(out, v)| {
            for (out, v) in out.chunks_exact_mut(kernel).zip(v.chunks_exact(kernel)) {
                for ((out, v), factor) in out.iter_mut().zip(v).zip(&factors) {
                    out.write(v * factor);
                }
            }
        });
    // SAFETY: the blocks cover `out`, and as `v` is a whole number of kernels each was written in full.
    (unsafe { written(out) }, norms)
}

/// Gradients of [`weight_norm`]: kernels and scale.
pub(crate) fn weight_norm_backward(
    grad: &[f32],
    v: &[f32],
    scale: &[f32],
    norms: &[f32],
) -> [Vec<f32>; 2] {
    let kernel = scale.len();
    let along = column_products(grad, v, kernel);
    let grad_scale = along.iter().zip(norms).map(|(a, n)| a / n).collect();
    let factors: Vec<f32> = scale.iter().zip(norms).map(|(g, n)| g / n).collect();
    let along: Vec<f32> = along.iter().zip(norms).map(|(a, n)| a / (n * n)).collect();
    let zeros = vec![0.0; kernel];
    let mut out = grad.to_vec();
    out.par_chunks_mut(NORM_BLOCK * kernel)
        .zip(v.par_chunks(NORM_BLOCK * kernel))
        .for_each(|(out, v)| simd::norm_columns_backward(out, v, &factors, &along, &zeros));
    [out, grad_scale]
}

fn column_products(a: &[f32], b: &[f32], width: usize) -> Vec<f32> {
    let partial: Vec<Vec<f32>> = a
        .par_chunks(NORM_BLOCK * width)
        .zip(b.par_chunks(NORM_BLOCK * width))
        .map(|(a, b)| {
            let mut total = vec![0.0; width];
            simd::add_products(&mut total, a, b);
            total
        })
        .collect();
    in_order(partial, width)
}
