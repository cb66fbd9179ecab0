//! The objective of all classes at once, so that features are read once per evaluation.

use purkinje_compute::matmul::{View, product_add, product_over};
use rayon::prelude::*;

use super::Standardizer;
use crate::sums::{axpy, dot};

/// Training records of a probe: features are standardized on the fly, a block at a time.
pub(super) struct Data<'a> {
    /// `[records, width]`
    pub features: &'a [f32],
    /// `[records, classes]`
    pub labels: &'a [bool],
    pub classes: usize,
    pub standardizer: &'a Standardizer,
}

/// Objective of one class at one point.
#[derive(Clone, Debug)]
pub(super) struct Evaluation {
    /// 0.5 w'w + C sum(log-loss)
    pub value: f64,
    /// `[width + 1]`, the intercept last.
    pub gradient: Vec<f64>,
    /// C sum p (1 - p): the curvature in the direction of the intercept.
    pub curvature: f64,
}

/// Rows converted to f64 together: with 768 columns they fit a second-level cache.
const BLOCK: usize = 128;
/// Rows summed into one partial result. Fixed, so that sums do not depend on threads.
const PART: usize = 8 * BLOCK;
/// Partial Gram matrices held at a time.
const GRAM_PARTS: usize = 8;

impl Data<'_> {
    pub fn width(&self) -> usize {
        self.standardizer.width()
    }

    pub fn records(&self) -> usize {
        self.features.len() / self.width()
    }

    /// Evaluates `classes` (columns of the labels) at `parameters` (one `[width + 1]` each).
    pub fn evaluate(&self, classes: &[usize], parameters: &[&[f64]], c: f64) -> Vec<Evaluation> {
        let (active, columns) = (classes.len(), self.width() + 1);
        let weight = parameters.concat(); // [active, columns]
        let partial: Vec<(Vec<f64>, Vec<[f64; 2]>)> = self
            .features
            .par_chunks(PART * self.width())
            .zip(self.labels.par_chunks(PART * self.classes))
            .map_init(
                || (vec![0.0; BLOCK * columns], vec![0.0; BLOCK * active]),
                |(block, logits), (features, labels)| {
                    let mut gradient = vec![0.0; active * columns];
                    let mut sums = vec![[0.0; 2]; active];
                    for (features, labels) in features
                        .chunks(BLOCK * self.width())
                        .zip(labels.chunks(BLOCK * self.classes))
                    {
                        let rows = self.convert(features, block);
                        let block = View::rows(block, columns);
                        let logits = &mut logits[..rows * active];
                        let shape = [rows, active, columns];
                        let weight = View::rows(&weight, columns).t();
                        product_over(logits, shape, block, weight, 1.0);
                        for (logits, labels) in logits
                            .chunks_exact_mut(active)
                            .zip(labels.chunks_exact(self.classes))
                        {
                            for ((logit, &class), sums) in
                                logits.iter_mut().zip(classes).zip(&mut sums)
                            {
                                *logit = residual(*logit, labels[class], sums);
                            }
                        }
                        let shape = [active, columns, rows];
                        let residuals = View::rows(logits, active).t();
                        product_add(&mut gradient, columns, shape, residuals, block);
                    }
                    (gradient, sums)
                },
            )
            .collect();

        let mut gradient = vec![0.0; active * columns];
        let mut sums = vec![[0.0; 2]; active];
        for (part, part_sums) in &partial {
            axpy(1.0, part, &mut gradient);
            for (sum, part) in sums.iter_mut().zip(part_sums) {
                *sum = [sum[0] + part[0], sum[1] + part[1]];
            }
        }
        gradient
            .chunks_exact(columns)
            .zip(parameters)
            .zip(sums)
            .map(|((gradient, parameters), [loss, spread])| {
                let penalized = &parameters[..columns - 1];
                let mut gradient: Vec<f64> = gradient.iter().map(|value| c * value).collect();
                axpy(1.0, penalized, &mut gradient); // the intercept is last and not penalized
                Evaluation {
                    value: 0.5 * dot(penalized, penalized) + c * loss,
                    gradient,
                    curvature: c * spread,
                }
            })
            .collect()
    }

    /// Sum of x x' over the records with a 1 appended to x, `[width + 1, width + 1]`; with parameters of a class, each
    /// record is weighted by its p (1 - p) at them.
    pub fn gram(&self, parameters: Option<&[f64]>) -> Vec<f64> {
        let columns = self.width() + 1;
        let rows_per_part = self.records().div_ceil(GRAM_PARTS).max(1);
        let partial: Vec<Vec<f64>> = self
            .features
            .par_chunks(rows_per_part * self.width())
            .map(|features| {
                let mut block = vec![0.0; BLOCK * columns];
                let mut gram = vec![0.0; columns * columns];
                for features in features.chunks(BLOCK * self.width()) {
                    let rows = self.convert(features, &mut block);
                    if let Some(parameters) = parameters {
                        for row in block.chunks_exact_mut(columns).take(rows) {
                            let mut sums = [0.0; 2];
                            residual(dot(row, parameters), false, &mut sums);
                            let weight = sums[1].sqrt();
                            row.iter_mut().for_each(|value| *value *= weight);
                        }
                    }
                    let block = View::rows(&block, columns);
                    let shape = [columns, columns, rows];
                    product_add(&mut gram, columns, shape, block.t(), block);
                }
                gram
            })
            .collect();
        let mut gram = vec![0.0; columns * columns];
        for part in &partial {
            axpy(1.0, part, &mut gram);
        }
        gram
    }

    /// Sum of squares per column, 1 appended to x: the diagonal of [`Data::gram`].
    pub fn squares(&self) -> Vec<f64> {
        let columns = self.width() + 1;
        let mut row = vec![1.0; columns];
        let mut squares = vec![0.0; columns];
        for features in self.features.chunks_exact(self.width()) {
            self.standardizer.apply(features, &mut row);
            for (sum, value) in squares.iter_mut().zip(&row) {
                *sum += value * value;
            }
        }
        squares
    }

    /// Standardizes rows into `block`, `[rows, width + 1]` with a last column of ones.
    fn convert(&self, features: &[f32], block: &mut [f64]) -> usize {
        let width = self.width();
        for (row, out) in features
            .chunks_exact(width)
            .zip(block.chunks_exact_mut(width + 1))
        {
            self.standardizer.apply(row, out);
            out[width] = 1.0;
        }
        features.len() / width
    }
}

/// `sigmoid(logit) - label`; adds log-loss and p (1 - p) to `sums`. Exact for large logits.
fn residual(logit: f64, label: bool, sums: &mut [f64; 2]) -> f64 {
    let small = (-logit.abs()).exp();
    let (larger, smaller) = (1.0 / (1.0 + small), small / (1.0 + small));
    let probability = if logit >= 0.0 { larger } else { smaller };
    let label = f64::from(u8::from(label));
    // ln(1 + e^z) - y z
    sums[0] += logit.max(0.0) + small.ln_1p() - label * logit;
    sums[1] += larger * smaller;
    probability - label
}
