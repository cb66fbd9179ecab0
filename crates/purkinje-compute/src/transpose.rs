//! Transposition of 16 x 16 numbers in registers, which compilers do not generate by themselves.

use std::arch::x86_64::{
    __m512, _mm512_castpd_ps, _mm512_castps_pd, _mm512_setzero_ps, _mm512_shuffle_f32x4,
    _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_pd, _mm512_unpacklo_ps,
};

/// Number of float32 values in an AVX-512 vector.
pub const LANES: usize = 16;

/// The transpose of sixteen vectors. When inlined into its caller, the rows stay in registers.
///
/// # Safety
/// AVX-512F must be supported by this CPU. A caller compiled with this feature may call it as a safe function.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn transposed(rows: [__m512; LANES]) -> [__m512; LANES] {
    // Pairs, then fours of neighbouring rows within each quarter of a vector.
    let pairs: [__m512; LANES] = std::array::from_fn(|i| match i % 2 {
        0 => _mm512_unpacklo_ps(rows[i], rows[i + 1]),
        _ => _mm512_unpackhi_ps(rows[i - 1], rows[i]),
    });
    let fours: [__m512; LANES] = std::array::from_fn(|i| {
        let at = i / 4 * 4 + i % 4 / 2;
        let (a, b) = (_mm512_castps_pd(pairs[at]), _mm512_castps_pd(pairs[at + 2]));
        _mm512_castpd_ps(match i % 2 {
            0 => _mm512_unpacklo_pd(a, b),
            _ => _mm512_unpackhi_pd(a, b),
        })
    });
    // Quarter q of `fours[4 g + c]` is rows 4 g .. 4 g + 3 of column 4 q + c: the quarters change places.
    let mut columns = [_mm512_setzero_ps(); LANES];
    for c in 0..4 {
        let (a, b) = (fours[c], fours[4 + c]);
        let even = _mm512_shuffle_f32x4::<0x88>(a, b);
        let odd = _mm512_shuffle_f32x4::<0xdd>(a, b);
        let (a, b) = (fours[8 + c], fours[12 + c]);
        let below_even = _mm512_shuffle_f32x4::<0x88>(a, b);
        let below_odd = _mm512_shuffle_f32x4::<0xdd>(a, b);
        columns[c] = _mm512_shuffle_f32x4::<0x88>(even, below_even);
        columns[4 + c] = _mm512_shuffle_f32x4::<0x88>(odd, below_odd);
        columns[8 + c] = _mm512_shuffle_f32x4::<0xdd>(even, below_even);
        columns[12 + c] = _mm512_shuffle_f32x4::<0xdd>(odd, below_odd);
    }
    columns
}

#[cfg(test)]
mod tests {
    use std::arch::x86_64::{_mm512_loadu_ps, _mm512_storeu_ps};

    use super::*;

    #[test]
    fn rows_become_columns() {
        if !std::arch::is_x86_feature_detected!("avx512f") {
            return;
        }
        let rows: Vec<f32> = (0..256).map(|i| i as f32).collect();
        let mut out = vec![0.0; 256];
        // SAFETY: the processor has the feature, as was just seen.
        unsafe { transpose(&rows, &mut out) };
        for (at, found) in out.iter().enumerate() {
            assert_eq!(*found, rows[at % LANES * LANES + at / LANES]);
        }
    }

    #[target_feature(enable = "avx512f")]
    fn transpose(rows: &[f32], out: &mut [f32]) {
        let rows = std::array::from_fn(|i| {
            let row = &rows[i * LANES..][..LANES];
            // SAFETY: the slice holds sixteen numbers; no alignment is asked for.
            unsafe { _mm512_loadu_ps(row.as_ptr()) }
        });
        for (out, column) in out.chunks_exact_mut(LANES).zip(transposed(rows)) {
            // SAFETY: as for the rows.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), column) };
        }
    }
}
