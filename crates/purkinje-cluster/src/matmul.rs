//! Search of the nearest centre; the only module of this crate with `unsafe` code.

#![allow(unsafe_code)]

use purkinje_compute::matmul::{View, product_over};
#[cfg(target_arch = "x86_64")]
use purkinje_compute::transpose::{LANES, transposed};

/// Rows per task. Without AVX-512 their products with all centres are held at once: 1 MB for 1000 clusters.
pub(crate) const BLOCK_ROWS: usize = 256;

/// Vectors of rows whose products with [`TILE`] centres stay in registers: 24 of 32 hold sums.
#[cfg(target_arch = "x86_64")]
const VECTORS: usize = 4;
/// Rows at a time.
#[cfg(target_arch = "x86_64")]
const ROWS: usize = VECTORS * LANES;
/// Centres at a time.
#[cfg(target_arch = "x86_64")]
const TILE: usize = 6;

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
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx512f") {
            // SAFETY: the feature the function was compiled for is supported by this CPU.
            return unsafe { self.block_avx512(rows, labels, &mut scratch.products) };
        }
        // [cluster, row]: rows are adjacent, so that the comparison vectorises over them.
        scratch.products.resize(clusters * n, 0.0);
        if n == 0 {
            return;
        }
        product_over(
            &mut scratch.products,
            [clusters, n, self.width],
            View::rows(self.centers, self.width),
            View::rows(rows, self.width).t(),
            1.0,
        );
        scratch.best.clear();
        scratch.best.resize(n, f32::INFINITY);
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx2") {
                // SAFETY: the features the function was compiled for are supported by this CPU.
                return unsafe {
                    smallest_avx2(&scratch.products, &self.halves, &mut scratch.best, labels)
                };
            }
        }
        smallest(&scratch.products, &self.halves, &mut scratch.best, labels);
    }

    /// [`Nearest::block`] in one pass: products are compared in the registers in which they were summed. Rows are
    /// transposed first, so that a vector holds one column of sixteen of them; centres are read in their own layout.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    fn block_avx512(&self, rows: &[f32], labels: &mut [u32], turned: &mut Vec<f32>) {
        use std::arch::x86_64::{
            __m512, __m512i, _CMP_GT_OQ, _mm512_cmp_ps_mask, _mm512_fmadd_ps, _mm512_loadu_ps,
            _mm512_mask_mov_epi32, _mm512_mask_mov_ps, _mm512_set1_epi32, _mm512_set1_ps,
            _mm512_setzero_ps, _mm512_setzero_si512, _mm512_storeu_si512, _mm512_sub_ps,
        };
        let width = self.width;
        // Vectors that cross cache lines are read at half the speed.
        turned.resize(width * ROWS + LANES, 0.0);
        let begin = turned.as_ptr().align_offset(64).min(LANES);
        let turned = &mut turned[begin..begin + width * ROWS];
        let chunks = rows.chunks(ROWS * width);
        for (rows, labels) in chunks.zip(labels.chunks_mut(ROWS)) {
            for (vector, rows) in rows.chunks(LANES * width).enumerate() {
                turn_avx512(&mut turned[vector * LANES..], ROWS, rows, width);
            }
            let mut best: [__m512; VECTORS] = [_mm512_set1_ps(f32::NEG_INFINITY); VECTORS];
            let mut nearest: [__m512i; VECTORS] = [_mm512_setzero_si512(); VECTORS];
            for first in (0..self.halves.len()).step_by(TILE) {
                // An incomplete last tile repeats the last centre, which does not change the result.
                let at = |i: usize| (first + i).min(self.halves.len() - 1);
                let centers: [&[f32]; TILE] =
                    std::array::from_fn(|i| &self.centers[at(i) * width..][..width]);
                let mut sums = [[_mm512_setzero_ps(); VECTORS]; TILE];
                for (k, columns) in turned.chunks_exact(ROWS).enumerate() {
                    // SAFETY: `columns` holds VECTORS vectors; no alignment is asked for.
                    let columns: [__m512; VECTORS] = std::array::from_fn(|v| unsafe {
                        _mm512_loadu_ps(columns.as_ptr().add(v * LANES))
                    });
                    for (sums, center) in sums.iter_mut().zip(&centers) {
                        // SAFETY: `turned` holds `width` times ROWS numbers, so k is below `width`, the length of each
                        // centre.
                        let center = _mm512_set1_ps(unsafe { *center.get_unchecked(k) });
                        for (sum, column) in sums.iter_mut().zip(columns) {
                            *sum = _mm512_fmadd_ps(center, column, *sum);
                        }
                    }
                }
                // Written out: in a loop the sums would go through memory.
                macro_rules! compare {
                    ($($i:literal)*) => {$(
                        let half = _mm512_set1_ps(self.halves[at($i)]);
                        let cluster = _mm512_set1_epi32(at($i) as i32);
                        for v in 0..VECTORS {
                            let score = _mm512_sub_ps(sums[$i][v], half);
                            let nearer = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(score, best[v]);
                            best[v] = _mm512_mask_mov_ps(best[v], nearer, score);
                            nearest[v] = _mm512_mask_mov_epi32(nearest[v], nearer, cluster);
                        }
                    )*};
                }
                compare!(0 1 2 3 4 5);
            }
            for (labels, nearest) in labels.chunks_mut(LANES).zip(nearest) {
                let mut all = [0u32; LANES];
                // SAFETY: `all` holds one whole vector; no alignment is asked for.
                unsafe { _mm512_storeu_si512(all.as_mut_ptr().cast(), nearest) };
                labels.copy_from_slice(&all[..labels.len()]);
            }
        }
    }
}

/// Transposes at most sixteen rows of `width` numbers to columns `stride` apart in `out`; missing rows repeat the last
/// one.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn turn_avx512(out: &mut [f32], stride: usize, rows: &[f32], width: usize) {
    use std::arch::x86_64::{
        __m512, _MM_HINT_T0, _mm_prefetch, _mm512_maskz_loadu_ps, _mm512_storeu_ps,
    };
    let count = rows.len() / width;
    assert!(count > 0 && out.len() >= (width - 1) * stride + LANES);
    for first in (0..width).step_by(LANES) {
        let here = LANES.min(width - first);
        let mask = u16::MAX >> (LANES - here);
        let tile: [__m512; LANES] = std::array::from_fn(|i| {
            let at = i.min(count - 1) * width + first;
            // Prefetch the next rows; an address beyond the rows is harmless.
            _mm_prefetch::<_MM_HINT_T0>(rows.as_ptr().wrapping_add(at + ROWS * width).cast());
            // SAFETY: the mask allows `here` numbers, which end within row min(i, count - 1) of `rows`; no alignment is
            // asked for.
            unsafe { _mm512_maskz_loadu_ps(mask, rows.as_ptr().add(at)) }
        });
        for (column, k) in transposed(tile).into_iter().zip(first..width) {
            // SAFETY: k is below `width`, so that by the assertion above `out` holds sixteen numbers from here on; no
            // alignment is asked for.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr().add(k * stride), column) };
        }
    }
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
