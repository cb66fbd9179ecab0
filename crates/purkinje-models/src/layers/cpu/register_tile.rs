//! The innermost part of [`super::tiles`]: sums that stay in registers.

use super::simd::{LANES, has_tiles};

/// Vectors of rows of the largest [`tile`]: 24 of 32 registers hold its sums.
pub(super) const TILE_VECTORS: usize = 3;
/// Columns of a [`tile`].
pub(super) const TILE_COLUMNS: usize = 8;

/// Start of the columns of a tile's rows: column k of row i is at index `at[k] + i`.
pub(super) struct Columns {
    at: Vec<usize>,
    most: usize,
}

impl Columns {
    /// From the starts of all columns.
    pub(super) fn new(at: Vec<usize>) -> Self {
        let most = at.iter().copied().max().unwrap_or(0);
        Columns { at, most }
    }
}

/// How a [`tile`] combines its sums with existing ones.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Onto {
    /// Overwrites them.
    Nothing,
    /// Continues them, term by term.
    Terms,
    /// Sums separately, then adds: rounding errors are smaller than in one long sum.
    Sum,
}

/// `out[j, i] = sum over k from first of w[j][k - first] x[at[k] + i]` for eight `j` and as many rows `i` as `vectors` (at
/// most [`TILE_VECTORS`]) hold, combined with existing sums as `onto` says. Slow unless [`has_tiles`].
///
/// # Panics
/// For other sizes.
pub(super) fn tile(
    out: &mut [f32],
    vectors: usize,
    x: &[f32],
    columns: &Columns,
    first: usize,
    w: [&[f32]; TILE_COLUMNS],
    onto: Onto,
) {
    let depth = w[0].len();
    let at = &columns.at[first..first + depth];
    assert!(vectors <= TILE_VECTORS && w.iter().all(|w| w.len() == depth));
    assert!(columns.most + vectors * LANES <= x.len());
    assert!(out.len() >= TILE_COLUMNS * vectors * LANES);
    #[cfg(target_arch = "x86_64")]
    if has_tiles() {
        // SAFETY: AVX-512 is supported by this CPU and the lengths are those that the functions ask for, all asserted
        // above.
        unsafe {
            match vectors {
                1 => tile_avx512::<1>(out, x, at, w, onto),
                2 => tile_avx512::<2>(out, x, at, w, onto),
                _ => tile_avx512::<TILE_VECTORS>(out, x, at, w, onto),
            }
        }
        return;
    }
    tile_anywhere(out, vectors, x, at, w, onto);
}

/// [`tile`] in the same order on machines without AVX-512, for tests.
fn tile_anywhere(
    out: &mut [f32],
    vectors: usize,
    x: &[f32],
    at: &[usize],
    w: [&[f32]; TILE_COLUMNS],
    onto: Onto,
) {
    let wide = vectors * LANES;
    for (out, w) in out.chunks_exact_mut(wide).zip(w) {
        for (i, out) in out.iter_mut().enumerate() {
            let start = if onto == Onto::Terms { *out } else { 0.0 };
            let terms = w.iter().zip(at);
            let sum = terms.fold(start, |sum, (w, at)| w.mul_add(x[at + i], sum));
            *out = if onto == Onto::Sum { *out + sum } else { sum };
        }
    }
}

/// # Safety
/// `x` must hold V vectors from each of `at`, each of `w` as many numbers as `at`, `out` [`TILE_COLUMNS`] x V vectors.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn tile_avx512<const V: usize>(
    out: &mut [f32],
    x: &[f32],
    at: &[usize],
    w: [&[f32]; TILE_COLUMNS],
    onto: Onto,
) {
    use std::arch::x86_64::{
        __m512, _MM_HINT_T1, _mm_prefetch, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps,
        _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
    };
    let depth = at.len();
    let mut sums = [[_mm512_setzero_ps(); V]; TILE_COLUMNS];
    if onto == Onto::Terms {
        for (j, sums) in sums.iter_mut().enumerate() {
            for (v, sum) in sums.iter_mut().enumerate() {
                // SAFETY: `out` holds all of the sums (the caller's promise).
                *sum = unsafe { _mm512_loadu_ps(out.as_ptr().add((j * V + v) * LANES)) };
            }
        }
    }
    let w = w.map(<[f32]>::as_ptr);
    let x = x.as_ptr();
    for (k, at) in at.iter().enumerate() {
        if k.is_multiple_of(LANES) {
            // Prefetch what the next call for these weights reads, since the hardware does not predict such short
            // stretches. An address beyond the weights is harmless.
            for w in w {
                _mm_prefetch::<_MM_HINT_T1>(w.wrapping_add(k + depth).cast());
            }
        }
        // SAFETY: `x` holds V vectors from here on (the caller's promise); no alignment is asked for.
        let x: [__m512; V] =
            std::array::from_fn(|v| unsafe { _mm512_loadu_ps(x.add(at + v * LANES)) });
        for (sums, w) in sums.iter_mut().zip(w) {
            // SAFETY: k is below the length of each of `w` (the caller's promise).
            let w = _mm512_set1_ps(unsafe { *w.add(k) });
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum = _mm512_fmadd_ps(w, x, *sum);
            }
        }
    }
    for (j, sums) in sums.into_iter().enumerate() {
        for (v, sum) in sums.into_iter().enumerate() {
            // SAFETY: `out` holds all of the sums (the caller's promise).
            unsafe {
                let out = out.as_mut_ptr().add((j * V + v) * LANES);
                let sum = if onto == Onto::Sum {
                    _mm512_add_ps(_mm512_loadu_ps(out), sum)
                } else {
                    sum
                };
                _mm512_storeu_ps(out, sum);
            }
        }
    }
}
