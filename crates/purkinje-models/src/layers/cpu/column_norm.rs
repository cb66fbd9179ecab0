//! Normalisation of channels: over the time of each sequence, or over a whole batch.
//!
//! Sequences are stored time-major, so a channel is a column: sums run over blocks of rows, and the sums of blocks are
//! added in order.

use rayon::prelude::*;

use super::{Activation, NORM_BLOCK, column_sums, in_order, simd};
use purkinje_compute::matmul::{unwritten, written, zeroed};

/// The result of a normalisation.
pub(crate) struct ColumnNormed {
    /// The result.
    pub out: Vec<f32>,
    /// The values before gamma and beta, if requested.
    pub normed: Option<Vec<f32>>,
    /// 1 / standard deviation: `[batch, channels]`, or `[channels]` for a batch as a whole.
    pub inverse_std: Vec<f32>,
}

/// Mean and biased variance of each column of rows of `width`.
fn statistics(x: &[f32], width: usize) -> [Vec<f32>; 2] {
    let rows = x.len() / width;
    let share = |sums: Vec<f32>| sums.into_iter().map(|sum| sum / rows as f32).collect();
    let mean: Vec<f32> = share(column_sums(x, width));
    let squares: Vec<Vec<f32>> = x
        .par_chunks(NORM_BLOCK * width)
        .map(|rows| {
            let mut total = vec![0.0; width];
            simd::add_squares(&mut total, rows, &mean);
            total
        })
        .collect();
    let variance = share(in_order(squares, width));
    [mean, variance]
}

fn inverse_std(variance: &[f32], eps: f32) -> Vec<f32> {
    variance.iter().map(|v| 1.0 / (v + eps).sqrt()).collect()
}

/// The parameters of the columns.
#[derive(Clone, Copy)]
struct Columns<'a> {
    mean: &'a [f32],
    inverse: &'a [f32],
    gamma: &'a [f32],
    beta: &'a [f32],
    activation: Activation,
}

/// `activation((x - mean) * inverse * gamma + beta)` into `out`, and the part before gamma into `normed`.
fn normalise(
    out: &mut [std::mem::MaybeUninit<f32>],
    normed: Option<&mut [f32]>,
    x: &[f32],
    columns: Columns<'_>,
) {
    let block = NORM_BLOCK * columns.gamma.len();
    let apply = |out: &mut [f32], normed: Option<&mut [f32]>, x: &[f32]| {
        let Columns {
            mean,
            inverse,
            gamma,
            beta,
            activation,
        } = columns;
        simd::norm_columns(out, normed, x, mean, inverse, gamma, beta, activation);
    };
    let blocks = out.par_chunks_mut(block).zip(x.par_chunks(block));
    match normed {
        Some(normed) => blocks
            .zip(normed.par_chunks_mut(block))
            .for_each(|((out, x), normed)| apply(zeroed(out), Some(normed), x)),
        None => blocks.for_each(|(out, x)| apply(zeroed(out), None, x)),
    }
}

/// `activation(group_norm(x))` with one group for each channel: mean and variance over the time of each channel of each
/// sequence; `x` `[batch, length, channels]`.
pub(crate) fn channel_norm(
    x: &[f32],
    length: usize,
    gamma: &[f32],
    beta: &[f32],
    eps: f32,
    activation: Activation,
    keep: bool,
) -> ColumnNormed {
    let width = gamma.len();
    let size = length * width;
    let batch = x.len() / size;
    let mut out = unwritten(x.len());
    let mut normed = keep.then(|| vec![0.0; x.len()]);
    let mut all_inverse = Vec::with_capacity(batch * width);
    for item in 0..batch {
        let rows = item * size..(item + 1) * size;
        let x = &x[rows.clone()];
        let [mean, variance] = statistics(x, width);
        let inverse = inverse_std(&variance, eps);
        let columns = Columns {
            mean: &mean,
            inverse: &inverse,
            gamma,
            beta,
            activation,
        };
        let normed = normed.as_mut().map(|normed| &mut normed[rows.clone()]);
        normalise(&mut out[rows], normed, x, columns);
        all_inverse.extend(inverse);
    }
    ColumnNormed {
        // SAFETY: the sequences cover `out` and each was written.
        out: unsafe { written(out) },
        normed,
        inverse_std: all_inverse,
    }
}

/// Mean and biased variance of each channel over a batch, `[2, channels]`; `x` `[batch, length, channels]`.
pub(crate) fn batch_statistics(x: &[f32], width: usize) -> Vec<f32> {
    statistics(x, width).concat()
}

/// `activation(batch_norm(x))` with the statistics `[2, channels]`, of this batch or others; `x` `[batch, length,
/// channels]`.
pub(crate) fn batch_norm(
    x: &[f32],
    statistics: &[f32],
    gamma: &[f32],
    beta: &[f32],
    eps: f32,
    activation: Activation,
    keep: bool,
) -> ColumnNormed {
    let (mean, variance) = statistics.split_at(gamma.len());
    let inverse = inverse_std(variance, eps);
    let mut out = unwritten(x.len());
    let mut normed = keep.then(|| vec![0.0; x.len()]);
    let columns = Columns {
        mean,
        inverse: &inverse,
        gamma,
        beta,
        activation,
    };
    normalise(&mut out, normed.as_deref_mut(), x, columns);
    ColumnNormed {
        // SAFETY: every block of rows was written.
        out: unsafe { written(out) },
        normed,
        inverse_std: inverse,
    }
}

/// Gradients of [`channel_norm`]: x, gamma, beta.
pub(crate) fn channel_norm_backward(
    grad: &[f32],
    normed: &[f32],
    inverse_std: &[f32],
    length: usize,
    gamma: &[f32],
    beta: &[f32],
    activation: Activation,
) -> [Vec<f32>; 3] {
    let width = gamma.len();
    let size = length * width;
    let mut grad_x = vec![0.0; grad.len()];
    let (mut grad_gamma, mut grad_beta) = (vec![0.0; width], vec![0.0; width]);
    for (item, grad_x) in grad_x.chunks_exact_mut(size).enumerate() {
        let rows = item * size..(item + 1) * size;
        let inverse = &inverse_std[item * width..][..width];
        let kept = (&normed[rows.clone()], inverse);
        let affine = (gamma, beta);
        let [own_gamma, own_beta] = backward(grad_x, &grad[rows], kept, affine, activation, true);
        simd::add_rows(&mut grad_gamma, &own_gamma);
        simd::add_rows(&mut grad_beta, &own_beta);
    }
    [grad_x, grad_gamma, grad_beta]
}

/// Gradients of [`batch_norm`]: x, gamma, beta; `of_batch` where the statistics are those of `x` itself.
pub(crate) fn batch_norm_backward(
    grad: &[f32],
    normed: &[f32],
    inverse_std: &[f32],
    gamma: &[f32],
    beta: &[f32],
    activation: Activation,
    of_batch: bool,
) -> [Vec<f32>; 3] {
    let mut grad_x = vec![0.0; grad.len()];
    let (kept, affine) = ((normed, inverse_std), (gamma, beta));
    let [grad_gamma, grad_beta] = backward(&mut grad_x, grad, kept, affine, activation, of_batch);
    [grad_x, grad_gamma, grad_beta]
}

/// The gradient of rows that were normalised together into `grad_x`, and those of gamma and beta. Statistics that are
/// not those of the rows (`of_rows`) are constants.
fn backward(
    grad_x: &mut [f32],
    grad: &[f32],
    (normed, inverse): (&[f32], &[f32]),
    (gamma, beta): (&[f32], &[f32]),
    activation: Activation,
    of_rows: bool,
) -> [Vec<f32>; 2] {
    let width = gamma.len();
    let rows = grad.len() / width;
    let parts: (Vec<_>, Vec<_>) = grad_x
        .par_chunks_mut(NORM_BLOCK * width)
        .zip(grad.par_chunks(NORM_BLOCK * width))
        .zip(normed.par_chunks(NORM_BLOCK * width))
        .map(|((out, grad), normed)| {
            let (mut g, mut b) = (vec![0.0; width], vec![0.0; width]);
            simd::norm_columns_sums(out, &mut g, &mut b, grad, normed, gamma, beta, activation);
            (g, b)
        })
        .unzip();
    let (grad_gamma, grad_beta) = (in_order(parts.0, width), in_order(parts.1, width));
    let share = |sums: &[f32]| -> Vec<f32> {
        match of_rows {
            true => sums.iter().map(|s| s / rows as f32).collect(),
            false => vec![0.0; width],
        }
    };
    let (along, mean) = (share(&grad_gamma), share(&grad_beta));
    let scale: Vec<f32> = gamma.iter().zip(inverse).map(|(g, s)| g * s).collect();
    grad_x
        .par_chunks_mut(NORM_BLOCK * width)
        .zip(normed.par_chunks(NORM_BLOCK * width))
        .for_each(|(grad, normed)| {
            simd::norm_columns_backward(grad, normed, &scale, &along, &mean);
        });
    [grad_gamma, grad_beta]
}
