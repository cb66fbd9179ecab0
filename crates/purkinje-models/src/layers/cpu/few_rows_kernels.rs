//! The innermost parts of [`super::few_rows`]: products added one after the other, in the order of the terms.

use super::simd::{self, LANES, has_tiles};

/// Rows whose sums [`add_dot_products`] keeps in registers.
pub(super) const ROWS: usize = 8;

/// Continues the sums `[rows, columns]` by `depth` terms: those of row r and column j are the products of `x[r x_stride + term]` and
/// `w[term w_stride + j]`.
///
/// # Panics
/// When one of them is too short.
pub(super) fn add_terms(
    sums: &mut [f32],
    columns: usize,
    x: &[f32],
    x_stride: usize,
    w: &[f32],
    w_stride: usize,
    depth: usize,
) {
    let rows = sums.len() / columns;
    assert!(depth > 0 && rows > 0 && sums.len() == rows * columns);
    assert!((rows - 1) * x_stride + depth <= x.len());
    assert!((depth - 1) * w_stride + columns <= w.len());
    #[cfg(target_arch = "x86_64")]
    if has_tiles() {
        // SAFETY: AVX-512 is supported by this CPU, and the lengths were asserted above.
        unsafe { avx512::add_terms(sums, columns, x, x_stride, w, w_stride, depth) };
        return;
    }
    simd::add_terms(sums, columns, x, x_stride, w, w_stride, depth);
}

/// Continues the sums of as many rows of `x`, which begin `stride` apart, with up to sixteen rows of `w`, which do too, by `depth`
/// terms.
///
/// # Panics
/// When there are more rows than [`ROWS`], or `x` or `w` is too short.
pub(super) fn add_dot_products(
    sums: &mut [[f32; LANES]],
    x: &[f32],
    w: &[f32],
    stride: usize,
    columns: usize,
    depth: usize,
) {
    let rows = sums.len();
    assert!(depth > 0 && (1..=ROWS).contains(&rows) && (1..=LANES).contains(&columns));
    assert!((rows - 1) * stride + depth <= x.len());
    assert!((columns - 1) * stride + depth <= w.len());
    #[cfg(target_arch = "x86_64")]
    if has_tiles() {
        // SAFETY: AVX-512 is supported by this CPU, and the lengths were asserted above.
        unsafe {
            match rows {
                1 => avx512::add_dot_products::<1>(sums, x, w, stride, columns, depth),
                2 => avx512::add_dot_products::<2>(sums, x, w, stride, columns, depth),
                3 => avx512::add_dot_products::<3>(sums, x, w, stride, columns, depth),
                4 => avx512::add_dot_products::<4>(sums, x, w, stride, columns, depth),
                5 => avx512::add_dot_products::<5>(sums, x, w, stride, columns, depth),
                6 => avx512::add_dot_products::<6>(sums, x, w, stride, columns, depth),
                7 => avx512::add_dot_products::<7>(sums, x, w, stride, columns, depth),
                _ => avx512::add_dot_products::<ROWS>(sums, x, w, stride, columns, depth),
            }
        }
        return;
    }
    for (r, sums) in sums.iter_mut().enumerate() {
        for (j, sum) in sums.iter_mut().enumerate().take(columns) {
            let terms = w[j * stride..][..depth].iter().zip(&x[r * stride..]);
            *sum = terms.fold(*sum, |sum, (w, x)| w.mul_add(*x, sum));
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{
        __m512, __mmask16, _MM_HINT_T0, _mm_prefetch, _mm512_fmadd_ps, _mm512_loadu_ps,
        _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_set1_ps, _mm512_storeu_ps,
    };

    use purkinje_compute::transpose::transposed;

    use crate::layers::cpu::simd::LANES;

    /// Rows whose sums [`add_terms`] keeps in registers.
    const GROUP: usize = 6;

    /// # Safety
    /// The conditions that [`super::add_terms`] asserts, and AVX-512.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn add_terms(
        sums: &mut [f32],
        columns: usize,
        x: &[f32],
        x_stride: usize,
        w: &[f32],
        w_stride: usize,
        depth: usize,
    ) {
        let rows = sums.len() / columns;
        // Numbers of x stay in registers: few rows leave some for more terms.
        let terms = if rows <= 3 { 8 } else { 4 };
        let mut from = 0;
        while from < depth {
            let own = terms.min(depth - from);
            for first in (0..rows).step_by(GROUP) {
                let part = Part {
                    sums: sums[first * columns..].as_mut_ptr(),
                    columns,
                    x: x[first * x_stride + from..].as_ptr(),
                    x_stride,
                    w: w[from * w_stride..].as_ptr(),
                    w_stride,
                };
                // SAFETY: at most as many rows and terms as there are.
                unsafe {
                    match (rows - first, own) {
                        (1, 8) => part.add::<1, 8>(),
                        (2, 8) => part.add::<2, 8>(),
                        (3, 8) => part.add::<3, 8>(),
                        (1, 4) => part.add::<1, 4>(),
                        (2, 4) => part.add::<2, 4>(),
                        (3, 4) => part.add::<3, 4>(),
                        (4, 4) => part.add::<4, 4>(),
                        (5, 4) => part.add::<5, 4>(),
                        (6.., 4) => part.add::<GROUP, 4>(),
                        (left, own) => part.add_each(left.min(GROUP), own),
                    }
                }
            }
            from += own;
        }
    }

    /// Some rows and terms.
    struct Part {
        sums: *mut f32,
        columns: usize,
        x: *const f32,
        x_stride: usize,
        w: *const f32,
        w_stride: usize,
    }

    impl Part {
        /// # Safety
        /// There must be R rows and T terms from here on.
        #[target_feature(enable = "avx512f")]
        unsafe fn add<const R: usize, const T: usize>(&self) {
            // SAFETY: the caller's promise.
            let x: [[__m512; T]; R] = std::array::from_fn(|r| {
                std::array::from_fn(|t| unsafe {
                    _mm512_set1_ps(*self.x.add(r * self.x_stride + t))
                })
            });
            let whole = self.columns / LANES * LANES;
            for at in (0..whole).step_by(LANES) {
                // SAFETY: sixteen columns from here on are within the rows.
                unsafe {
                    let sums = self.sums.add(at);
                    let mut own: [__m512; R] =
                        std::array::from_fn(|r| _mm512_loadu_ps(sums.add(r * self.columns)));
                    for t in 0..T {
                        let w = _mm512_loadu_ps(self.w.add(t * self.w_stride + at));
                        for (own, x) in own.iter_mut().zip(&x) {
                            *own = _mm512_fmadd_ps(w, x[t], *own);
                        }
                    }
                    for (r, own) in own.into_iter().enumerate() {
                        _mm512_storeu_ps(sums.add(r * self.columns), own);
                    }
                }
            }
            if whole < self.columns {
                let mask: __mmask16 = (1 << (self.columns - whole)) - 1;
                // SAFETY: the mask leaves out what is beyond the rows.
                unsafe {
                    for (r, x) in x.iter().enumerate() {
                        let sums = self.sums.add(r * self.columns + whole);
                        let mut own = _mm512_maskz_loadu_ps(mask, sums);
                        for (t, x) in x.iter().enumerate() {
                            let w = self.w.add(t * self.w_stride + whole);
                            own = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, w), *x, own);
                        }
                        _mm512_mask_storeu_ps(sums, mask, own);
                    }
                }
            }
        }

        /// # Safety
        /// There must be as many rows and terms from here on.
        #[target_feature(enable = "avx512f")]
        unsafe fn add_each(&self, rows: usize, terms: usize) {
            for row in 0..rows {
                for term in 0..terms {
                    // SAFETY: the caller's promise.
                    unsafe {
                        let one = Part {
                            sums: self.sums.add(row * self.columns),
                            x: self.x.add(row * self.x_stride + term),
                            w: self.w.add(term * self.w_stride),
                            ..*self
                        };
                        one.add::<1, 1>();
                    }
                }
            }
        }
    }

    /// # Safety
    /// The conditions that [`super::add_dot_products`] asserts, R rows, and AVX-512.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn add_dot_products<const R: usize>(
        sums: &mut [[f32; LANES]],
        x: &[f32],
        w: &[f32],
        stride: usize,
        columns: usize,
        depth: usize,
    ) {
        // SAFETY: each of the sums holds sixteen numbers.
        let mut own: [__m512; R] =
            std::array::from_fn(|r| unsafe { _mm512_loadu_ps(sums[r].as_ptr()) });
        for from in (0..depth).step_by(LANES) {
            let count = LANES.min(depth - from);
            let mask: __mmask16 = if count == LANES { !0 } else { (1 << count) - 1 };
            let rows: [__m512; LANES] = std::array::from_fn(|j| {
                // Beyond the last row it is read again.
                let at = w.as_ptr().wrapping_add(j.min(columns - 1) * stride + from);
                // What comes next: the hardware does not foresee sixteen rows. An address beyond the weight is harmless.
                _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(LANES * stride).cast());
                // SAFETY: the mask leaves out what is beyond the row.
                unsafe { _mm512_maskz_loadu_ps(mask, at) }
            });
            let terms = transposed(rows);
            let x = x[from..].as_ptr();
            if count == LANES {
                for (t, w) in terms.into_iter().enumerate() {
                    for (r, own) in own.iter_mut().enumerate() {
                        // SAFETY: row r of x has this term.
                        let x = unsafe { _mm512_set1_ps(*x.add(r * stride + t)) };
                        *own = _mm512_fmadd_ps(w, x, *own);
                    }
                }
            } else {
                for (t, w) in terms.into_iter().enumerate().take(count) {
                    for (r, own) in own.iter_mut().enumerate() {
                        // SAFETY: as above.
                        let x = unsafe { _mm512_set1_ps(*x.add(r * stride + t)) };
                        *own = _mm512_fmadd_ps(w, x, *own);
                    }
                }
            }
        }
        for (sums, own) in sums.iter_mut().zip(own) {
            // SAFETY: as for reading them.
            unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), own) };
        }
    }
}
