//! Cross-entropy over many classes, without keeping their logits: for a vocabulary they are the largest tensor of a step.

use purkinje_compute::by_rows::product_by_rows;
use purkinje_compute::matmul::{View, product_add, unwritten, written};
use rayon::prelude::*;

use super::simd;

/// Rows whose logits exist at a time.
const ROWS: usize = 512;
/// Classes of one task. Sums over classes are made in these blocks, whatever the number of threads.
const CLASSES: usize = 2048;

/// `log_softmax(x)` over rows of `width`, in place.
pub(crate) fn log_softmax(x: &mut [f32], width: usize) {
    x.par_chunks_mut(width).for_each(|row| {
        let (top, sum) = simd::log_sum_exp(row);
        let log_sum = top + sum.ln();
        row.iter_mut().for_each(|x| *x -= log_sum);
    });
}

/// What [`linear_cross_entropy`] finds.
pub(crate) struct Likelihood {
    /// The mean over rows.
    pub loss: f32,
    /// Its gradients with respect to rows, weight and bias, if asked for.
    pub gradients: Option<[Vec<f32>; 3]>,
}

/// The mean of `-log softmax(x w^T + b)` at the target of each row: `x` `[rows, k]`, `w` `[classes, k]`, `b` `[classes]`.
pub(crate) fn linear_cross_entropy(
    x: &[f32],
    w: &[f32],
    b: &[f32],
    targets: &[u32],
    with_gradients: bool,
) -> Likelihood {
    let (classes, rows) = (b.len(), targets.len());
    let k = w.len() / classes;
    let mut all = Totals {
        loss: 0.0,
        gradients: with_gradients.then(|| {
            let zeros = |count| vec![0.0; count];
            [zeros(x.len()), zeros(w.len()), zeros(b.len())]
        }),
    };
    let parts = rows.div_ceil(ROWS).max(1);
    let most = rows.div_ceil(parts);
    for first in (0..rows).step_by(most.max(1)) {
        let n = most.min(rows - first);
        let own = Part {
            x: &x[first * k..][..n * k],
            first,
            targets: &targets[first..][..n],
            scale: 1.0 / rows as f32,
        };
        own.add(&mut all, w, b);
    }
    Likelihood {
        loss: (all.loss / rows as f64) as f32,
        gradients: all.gradients,
    }
}

struct Totals {
    loss: f64,
    gradients: Option<[Vec<f32>; 3]>,
}

/// Some of the rows.
struct Part<'a> {
    x: &'a [f32],
    first: usize,
    targets: &'a [u32],
    scale: f32,
}

impl Part<'_> {
    fn add(&self, all: &mut Totals, w: &[f32], b: &[f32]) {
        let (n, classes) = (self.targets.len(), b.len());
        let k = w.len() / classes;
        // Logits in blocks of classes: [block, row, class of the block].
        let mut logits = unwritten(n * classes);
        let found: Vec<Vec<(f32, f32)>> = logits
            .par_chunks_mut(n * CLASSES)
            .zip(b.par_chunks(CLASSES))
            .zip(w.par_chunks(CLASSES * k))
            .map(|((out, b), w)| {
                let x = View::rows(self.x, k);
                let out = product_by_rows(out, [n, b.len(), k], x, View::rows(w, k).t());
                let rows = out.chunks_exact_mut(b.len());
                rows.map(|row| {
                    row.iter_mut().zip(b).for_each(|(x, b)| *x += b);
                    simd::log_sum_exp(row)
                })
                .collect()
            })
            .collect();
        // SAFETY: the blocks cover `logits` and each was written by its product.
        let mut logits = unsafe { written(logits) };
        let log_sums: Vec<f32> = (0..n).map(|row| log_sum(&found, row)).collect();
        for (row, (&target, log_sum)) in self.targets.iter().zip(&log_sums).enumerate() {
            let own = &logits[place(n, classes, row, target)];
            all.loss += f64::from(log_sum - own);
        }
        let Some([grad_x, grad_w, grad_b]) = &mut all.gradients else {
            return;
        };
        logits
            .par_chunks_mut(n * CLASSES)
            .zip(grad_w.par_chunks_mut(CLASSES * k))
            .zip(grad_b.par_chunks_mut(CLASSES))
            .enumerate()
            .for_each(|(block, ((own, grad_w), grad_b))| {
                self.differentiate(own, block, &log_sums);
                let wide = grad_b.len();
                let g = View::rows(own, wide);
                product_add(grad_w, k, [wide, k, n], g.t(), View::rows(self.x, k));
                simd::add_rows(grad_b, own);
            });
        let grad_x = &mut grad_x[self.first * k..][..n * k];
        let few = n.div_ceil(2 * rayon::current_num_threads()).max(16);
        grad_x
            .par_chunks_mut(few * k)
            .enumerate()
            .for_each(|(part, grad_x)| {
                let rows = grad_x.len() / k;
                let blocks = logits.chunks(n * CLASSES).zip(w.chunks(CLASSES * k));
                for (own, w) in blocks {
                    let wide = w.len() / k;
                    let g = View::rows(&own[part * few * wide..], wide);
                    product_add(grad_x, k, [rows, k, wide], g, View::rows(w, k));
                }
            });
    }

    /// Logits of a block to the gradient with respect to them.
    fn differentiate(&self, logits: &mut [f32], block: usize, log_sums: &[f32]) {
        let n = self.targets.len();
        let wide = logits.len() / n;
        let first = block * CLASSES;
        let rows = logits.chunks_exact_mut(wide).zip(self.targets);
        for ((row, &target), log_sum) in rows.zip(log_sums) {
            simd::shares(row, *log_sum, self.scale);
            let own = (target as usize).checked_sub(first);
            if let Some(own) = own.and_then(|own| row.get_mut(own)) {
                *own -= self.scale;
            }
        }
    }
}

/// The logarithm of the sum over all blocks of one row.
fn log_sum(blocks: &[Vec<(f32, f32)>], row: usize) -> f32 {
    let top = blocks
        .iter()
        .map(|block| block[row].0)
        .fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = blocks
        .iter()
        .map(|block| f64::from(block[row].1) * f64::from(block[row].0 - top).exp())
        .sum();
    (f64::from(top) + sum.ln()) as f32
}

/// Where the logit of a class is among blocks of `n` rows.
fn place(n: usize, classes: usize, row: usize, class: u32) -> usize {
    let class = class as usize;
    let first = class / CLASSES * CLASSES;
    let wide = CLASSES.min(classes - first);
    first * n + row * wide + class - first
}
