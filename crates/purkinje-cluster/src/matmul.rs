//! Which centre is nearest: the one module of this crate with `unsafe` code.

use gemm::{Parallelism, gemm};

/// Rows whose products with all centres are held at once: with 1000 clusters 1 MB.
pub(crate) const BLOCK_ROWS: usize = 256;

/// Centres with half their squared lengths.
#[derive(Clone, Debug)]
pub(crate) struct Nearest<'a> {
    centers: &'a [f32],
    width: usize,
    halves: Vec<f32>,
}

/// Memory for one thread's block.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    products: Vec<f32>,
    best: Vec<f32>,
}

impl<'a> Nearest<'a> {
    /// For centres `[clusters, width]`; `centers` is a whole number of rows.
    pub(crate) fn new(centers: &'a [f32], width: usize) -> Self {
        let halves = centers
            .chunks_exact(width)
            .map(|c| {
                let square: f64 = c.iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
                (0.5 * square) as f32
            })
            .collect();
        Nearest {
            centers,
            width,
            halves,
        }
    }

    /// The nearest centre of each of at most [`BLOCK_ROWS`] rows, the first among equals: the one with the smallest
    /// |c|^2 / 2 - x c, which orders centres as the distance does.
    pub(crate) fn block(&self, rows: &[f32], labels: &mut [u32], scratch: &mut Scratch) {
        let (n, clusters) = (labels.len(), self.halves.len());
        assert_eq!(rows.len(), n * self.width, "as many rows as labels");
        // [cluster, row]: rows lie side by side, so that comparing vectorises over them.
        scratch.products.resize(clusters * n, 0.0);
        if n == 0 {
            return;
        }
        // SAFETY: `centers` holds clusters x width values and `rows` n x width, both row-major, as the sizes say (the
        // first by construction, the second by the assertion above); `products` was resized to clusters x n and,
        // borrowed mutably, overlaps neither. Strides are far below isize::MAX, as the slices are.
        unsafe {
            gemm(
                clusters,
                n,
                self.width,
                scratch.products.as_mut_ptr(),
                1,
                n as isize,
                false,
                self.centers.as_ptr(),
                1,
                self.width as isize,
                rows.as_ptr(),
                self.width as isize,
                1,
                0.0,
                1.0,
                false,
                false,
                false,
                Parallelism::None,
            );
        }
        scratch.best.clear();
        scratch.best.resize(n, f32::INFINITY);
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx512f") {
                // SAFETY: the processor has the features the function was compiled for.
                return unsafe {
                    smallest_avx512(&scratch.products, &self.halves, &mut scratch.best, labels)
                };
            }
            if std::arch::is_x86_feature_detected!("avx2") {
                // SAFETY: the processor has the features the function was compiled for.
                return unsafe {
                    smallest_avx2(&scratch.products, &self.halves, &mut scratch.best, labels)
                };
            }
        }
        smallest(&scratch.products, &self.halves, &mut scratch.best, labels);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn smallest_avx512(products: &[f32], halves: &[f32], best: &mut [f32], labels: &mut [u32]) {
    smallest(products, halves, best, labels);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn smallest_avx2(products: &[f32], halves: &[f32], best: &mut [f32], labels: &mut [u32]) {
    smallest(products, halves, best, labels);
}

/// Per row the cluster with the smallest half square less product.
#[inline(always)]
fn smallest(products: &[f32], halves: &[f32], best: &mut [f32], labels: &mut [u32]) {
    labels.fill(0);
    let clusters = products.chunks_exact(best.len().max(1)).zip(halves);
    for (cluster, (products, half)) in (0u32..).zip(clusters) {
        for ((product, best), label) in products.iter().zip(best.iter_mut()).zip(labels.iter_mut())
        {
            let score = half - product;
            let nearer = score < *best;
            *best = if nearer { score } else { *best };
            *label = if nearer { cluster } else { *label };
        }
    }
}
