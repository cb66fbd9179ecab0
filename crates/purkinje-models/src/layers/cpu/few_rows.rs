//! Linear layers of few rows: what the steps of a text decoder compute.
//!
//! For few rows the time is that of reading the weight, so it is read once, in its own layout. Sums are in the order of
//! [`product_by_rows`](purkinje_compute::by_rows::product_by_rows), which computes the same layers for more rows.

use purkinje_compute::by_rows::stretch;
use rayon::prelude::*;

use super::few_rows_kernels::{ROWS, add_dot_products, add_terms};
use super::simd::{self, LANES};
use super::tiles::Finish;

/// Up to this number of rows a weight stored input first is read as it is: for more, packing it costs less than it saves.
pub(super) const INPUT_FIRST: usize = 64;
/// The same of one stored output first: for more rows tiles are faster, which give every row a lane of their vectors.
pub(super) const OUTPUT_FIRST: usize = ROWS;
/// Sums that stay in the L1 cache while a weight stored input first is read.
const SUMS: usize = 6 << 10;
/// Least number of columns of a task.
const LEAST: usize = 8 * LANES;

/// `dropout(activation(x w + b))`: `x` `[rows, k]`, `w` `[k, m]` -> `[rows, m]`, and the values kept for the backward pass.
pub(super) fn input_first(
    x: &[f32],
    w: &[f32],
    m: usize,
    finish: Finish<'_>,
) -> (Vec<f32>, Option<Vec<f32>>) {
    let rows = x.len() / (w.len() / m);
    by_columns(rows, m, finish, |first, columns| {
        terms(x, rows, &w[first..], m, columns)
    })
}

/// `dropout(activation(x w^T + b))` for at most [`OUTPUT_FIRST`] rows: `x` `[rows, k]`, `w` `[m, k]` -> `[rows, m]`, and the values kept
/// for the backward pass. Slow without the tiles of [`super::register_tile`].
pub(super) fn output_first(
    x: &[f32],
    w: &[f32],
    m: usize,
    finish: Finish<'_>,
) -> (Vec<f32>, Option<Vec<f32>>) {
    let k = w.len() / m;
    let rows = x.len() / k;
    by_columns(rows, m, finish, |first, columns| {
        dot_products(x, rows, &w[first * k..][..columns * k])
    })
}

/// Divides the outputs of a layer among threads: they are independent of each other, so how changes no sum. `products` gives those
/// from a first one on, `[rows, columns]`.
fn by_columns(
    rows: usize,
    m: usize,
    finish: Finish<'_>,
    products: impl Fn(usize, usize) -> Vec<f32> + Sync,
) -> (Vec<f32>, Option<Vec<f32>>) {
    let tasks = 2 * rayon::current_num_threads();
    let wide = m.div_ceil(tasks).max(LEAST).next_multiple_of(LANES);
    let firsts: Vec<usize> = (0..m).step_by(wide).collect();
    let parts: Vec<(Vec<f32>, Option<Vec<f32>>)> = firsts
        .par_iter()
        .map(|&first| {
            let columns = wide.min(m - first);
            let mut sums = products(first, columns);
            let mut before = finish.keeps.then(|| vec![0.0; sums.len()]);
            let bias = finish.bias.get(first..first + columns).unwrap_or_default();
            simd::finish_tile(
                &mut sums,
                before.as_deref_mut(),
                columns,
                bias,
                finish.activation,
                [0, first],
                finish.drop,
            );
            (sums, before)
        })
        .collect();
    let (sums, befores): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let out = side_by_side(&sums, rows, m);
    let before = finish.keeps.then(|| {
        let befores: Vec<Vec<f32>> = befores.into_iter().flatten().collect();
        side_by_side(&befores, rows, m)
    });
    (out, before)
}

/// Parts `[rows, columns]` of a matrix `[rows, m]`, put together.
fn side_by_side(parts: &[Vec<f32>], rows: usize, m: usize) -> Vec<f32> {
    let mut out = vec![0.0; rows * m];
    let mut first = 0;
    for part in parts {
        let columns = part.len() / rows;
        for (out, own) in out.chunks_exact_mut(m).zip(part.chunks_exact(columns)) {
            out[first..first + columns].copy_from_slice(own);
        }
        first += columns;
    }
    out
}

/// `x w` for the first `columns` of `w`, rows of which begin `m` apart: `[rows, columns]`.
fn terms(x: &[f32], rows: usize, w: &[f32], m: usize, columns: usize) -> Vec<f32> {
    let k = x.len() / rows;
    let stretch = stretch(k);
    let mut sums = vec![0.0; rows * columns];
    let block = (SUMS / rows).max(LANES) / LANES * LANES;
    let mut memory = vec![0.0; rows * block.min(columns)];
    for first in (0..columns).step_by(block) {
        let wide = block.min(columns - first);
        for from in (0..k).step_by(stretch) {
            let depth = stretch.min(k - from);
            let own = &mut memory[..rows * wide];
            own.fill(0.0);
            add_terms(own, wide, &x[from..], k, &w[from * m + first..], m, depth);
            for (sums, own) in sums.chunks_exact_mut(columns).zip(own.chunks_exact(wide)) {
                let sums = &mut sums[first..first + wide];
                match from {
                    0 => sums.copy_from_slice(own),
                    _ => sums.iter_mut().zip(own).for_each(|(sum, own)| *sum += own),
                }
            }
        }
    }
    sums
}

/// `x w^T` for `w` `[columns, k]`: `[rows, columns]`.
fn dot_products(x: &[f32], rows: usize, w: &[f32]) -> Vec<f32> {
    let k = x.len() / rows;
    let columns = w.len() / k;
    let stretch = stretch(k);
    let mut sums = vec![0.0; rows * columns];
    for first in (0..columns).step_by(LANES) {
        let wide = LANES.min(columns - first);
        for from in (0..k).step_by(stretch) {
            let depth = stretch.min(k - from);
            let mut own = [[0.0; LANES]; ROWS];
            let w = &w[first * k + from..];
            add_dot_products(&mut own[..rows], &x[from..], w, k, wide, depth);
            for (sums, own) in sums.chunks_exact_mut(columns).zip(&own) {
                let sums = sums[first..first + wide].iter_mut().zip(own);
                match from {
                    0 => sums.for_each(|(sum, own)| *sum = *own),
                    _ => sums.for_each(|(sum, own)| *sum += own),
                }
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use purkinje_compute::by_rows::product_by_rows;
    use purkinje_compute::matmul::{View, unwritten};

    use super::*;
    use crate::layers::cpu::Activation;

    /// A row gives the same bits alone, among others, and in the matrix product of many rows.
    #[test]
    fn few_rows_give_the_bits_of_products_of_matrices() {
        let value = |i: usize| ((i * 2_654_435_761) % 1_000) as f32 / 500.0 - 1.0;
        let finish = Finish {
            bias: &[],
            activation: Activation::Identity,
            drop: None,
            keeps: false,
        };
        for (m, k) in [(5, 3), (300, 768), (33, 1_300), (1, 40), (2_304, 20)] {
            let all = 200;
            let x: Vec<f32> = (0..all * k).map(value).collect();
            let w: Vec<f32> = (0..m * k).map(|i| value(i + 17)).collect();
            let views = [View::rows(&w, m), View::rows(&w, k).t()];
            for (input_first, w_view) in [true, false].into_iter().zip(views) {
                let mut whole = unwritten(all * m);
                let whole = product_by_rows(&mut whole, [all, m, k], View::rows(&x, k), w_view);
                for rows in [1, 2, 3, 4, 5, 6, 7, 8, 24, INPUT_FIRST] {
                    if !input_first && rows > OUTPUT_FIRST {
                        continue;
                    }
                    let first = all - rows;
                    let (found, _) = match input_first {
                        true => super::input_first(&x[first * k..], &w, m, finish),
                        false => output_first(&x[first * k..], &w, m, finish),
                    };
                    let expected = &whole[first * m..];
                    let same = found
                        .iter()
                        .zip(expected)
                        .all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(same, "{rows} rows, {k} to {m}, input first: {input_first}");
                }
            }
        }
    }
}
