//! Assignment of rows to the nearest of many centres, and the limits that memory and arithmetic set to it.

#![allow(unsafe_code)]

use std::hint::black_box;
use std::path::Path;

use purkinje_cluster::{CodeBook, Rows};
use rayon::prelude::*;

use crate::Result;
use crate::exchange::{Answer, Shared};
use crate::worker::{Clock, Row};

/// Rows and columns of the matrices whose product tells the speed of arithmetic.
const PRODUCT: usize = 1024;
/// Times that a limit is measured; the best counts.
const TRIES: usize = 7;

/// Labels of rows.
pub struct Assign {
    book: CodeBook,
    rows: Vec<f32>,
}

impl Assign {
    /// The rows and centres of row `name`.
    pub fn new(name: &str, exchange: &Path) -> Result<Self> {
        let shared = Shared::batch(name, exchange)?;
        let (shape, centers) = shared.f32("centers")?;
        let (_, rows) = shared.f32("rows")?;
        let width = *shape.last().ok_or("centres without a shape")?;
        Ok(Assign {
            book: CodeBook::new(centers, width, Rows::Raw)?,
            rows,
        })
    }
}

impl Row for Assign {
    fn answer(&mut self) -> Result<Answer> {
        let labels = self.book.assign(&self.rows)?;
        let labels = labels.into_iter().map(|label| label as usize);
        Ok(Answer::default().integers("labels", labels))
    }

    fn run(&mut self) -> Result<()> {
        black_box(self.book.assign(black_box(&self.rows))?);
        Ok(())
    }

    /// The least time is what reading the rows takes or what the products take, whichever is more.
    fn bounds(&mut self, seconds: f64) -> Option<String> {
        let bytes = (self.rows.len() * size_of::<f32>()) as f64;
        let operations = 2.0 * (self.rows.len() * self.book.clusters()) as f64;
        let (memory, products) = (read_rate(&self.rows), product_rate());
        let least = (bytes / memory).max(operations / products);
        let giga = 1e-9;
        let unit = self
            .book
            .assign_on(&self.rows, Rows::UnitNorm)
            .is_ok()
            .then(|| {
                fastest(|| {
                    black_box(
                        self.book
                            .assign_on(black_box(&self.rows), Rows::UnitNorm)
                            .is_ok(),
                    );
                })
            })?;
        Some(format!(
            "{:.1} GB/s of rows and {:.0} GFLOP/s; reading alone {:.1} GB/s, products alone {:.0} GFLOP/s: {:.0} % of what the {} allows; \
             rows brought to unit length first {:.3} ms",
            giga * bytes / seconds,
            giga * operations / seconds,
            giga * memory,
            giga * products,
            100.0 * least / seconds,
            if bytes / memory > operations / products {
                "memory"
            } else {
                "arithmetic"
            },
            1e3 * unit,
        ))
    }
}

/// Bytes a second at which a sum over `values` reads them, all threads together.
fn read_rate(values: &[f32]) -> f64 {
    let seconds = fastest(|| {
        let sum: f32 = values
            .par_chunks(1 << 16)
            .map(|part| {
                let mut lanes = [0.0f32; 64];
                let (whole, _) = part.as_chunks::<64>();
                for chunk in whole {
                    for (lane, value) in lanes.iter_mut().zip(chunk) {
                        *lane += value;
                    }
                }
                lanes.iter().sum::<f32>()
            })
            .sum();
        black_box(sum);
    });
    size_of_val(values) as f64 / seconds
}

/// Operations a second of a product of two square matrices, each thread its own.
fn product_rate() -> f64 {
    let threads = rayon::current_num_threads();
    let (a, b) = (
        vec![1.0f32; PRODUCT * PRODUCT],
        vec![0.5f32; PRODUCT * PRODUCT],
    );
    let mut all = vec![0.0f32; threads * PRODUCT * PRODUCT];
    let seconds = fastest(|| {
        all.par_chunks_exact_mut(PRODUCT * PRODUCT).for_each(|c| {
            let (n, stride) = (PRODUCT, PRODUCT as isize);
            // SAFETY: three matrices of n x n numbers each, row by row; `c` is borrowed mutably and overlaps neither.
            unsafe {
                gemm::gemm(
                    n,
                    n,
                    n,
                    c.as_mut_ptr(),
                    1,
                    stride,
                    false,
                    a.as_ptr(),
                    1,
                    stride,
                    b.as_ptr(),
                    1,
                    stride,
                    0.0,
                    1.0,
                    false,
                    false,
                    false,
                    gemm::Parallelism::None,
                );
            }
        });
        black_box(&all);
    });
    2.0 * (threads * PRODUCT.pow(3)) as f64 / seconds
}

/// Seconds of the fastest of several calls: other programs only make them slower. On one thread the processor's time.
fn fastest(mut call: impl FnMut()) -> f64 {
    let clock = match rayon::current_num_threads() {
        1 => Clock::Processor,
        _ => Clock::Wall,
    };
    let times = (0..TRIES).map(|_| {
        let start = clock.now();
        call();
        clock.now() - start
    });
    times.fold(f64::INFINITY, f64::min)
}
