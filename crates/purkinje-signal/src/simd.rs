//! Inner loops, compiled for several vector widths; the only module with `unsafe`.
//!
//! The loops are written once, in plain Rust over fixed-size arrays, and inlined into one function
//! per instruction set. Products and sums are never fused, so every version gives the same bits.

#![allow(unsafe_code)]

/// A recursive filter of `M` coefficients with its steady state.
#[derive(Clone, Debug)]
pub(crate) struct Recursive<const M: usize> {
    b: [f64; M],
    a: [f64; M],
    zi: [f64; M],
}

impl<const M: usize> Recursive<M> {
    /// Pads all three with zeros; longer slices than `M` are cut.
    pub(crate) fn new(b: &[f64], a: &[f64], zi: &[f64]) -> Self {
        let pad = |from: &[f64]| std::array::from_fn(|k| from.get(k).copied().unwrap_or(0.0));
        Recursive {
            b: pad(b),
            a: pad(a),
            zi: pad(zi),
        }
    }
}

/// Number of leads that are filtered in parallel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lanes {
    One,
    Four,
    Eight,
}

impl Lanes {
    /// Enough for this number of leads, or the largest number available.
    pub(crate) fn for_leads(leads: usize) -> Self {
        match leads {
            0 | 1 => Lanes::One,
            2..=4 => Lanes::Four,
            _ => Lanes::Eight,
        }
    }

    pub(crate) fn count(self) -> usize {
        match self {
            Lanes::One => 1,
            Lanes::Four => 4,
            Lanes::Eight => 8,
        }
    }
}

/// Filters `signal` (`[time, lane]`, flat) forwards, then backwards, each from the steady state of its first sample.
pub(crate) fn zero_phase<const M: usize>(filter: &Recursive<M>, lanes: Lanes, signal: &mut [f64]) {
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = std::arch::is_x86_feature_detected!("avx2");
        match lanes {
            Lanes::Eight if has_avx512() => {
                // SAFETY: the features the function was compiled for are supported by this CPU.
                return unsafe { x86::zero_phase_8_avx512(filter, signal.as_chunks_mut().0) };
            }
            Lanes::Eight if avx2 => {
                // SAFETY: as above.
                return unsafe { x86::zero_phase_8_avx2(filter, signal.as_chunks_mut().0) };
            }
            Lanes::Four if avx2 => {
                // SAFETY: as above.
                return unsafe { x86::zero_phase_4_avx2(filter, signal.as_chunks_mut().0) };
            }
            _ => {}
        }
    }
    match lanes {
        Lanes::One => zero_phase_loop::<[f64; 1], 1, M>(filter, signal.as_chunks_mut().0),
        Lanes::Four => zero_phase_loop::<[f64; 4], 4, M>(filter, signal.as_chunks_mut().0),
        Lanes::Eight => zero_phase_loop::<[f64; 8], 8, M>(filter, signal.as_chunks_mut().0),
    }
}

/// `out[n] = sum over k of taps[k] * signal[n + k]`; `signal` has `out.len() + taps.len() - 1` samples or more.
pub(crate) fn correlate(signal: &[f64], taps: &[f64], out: &mut [f64]) {
    #[cfg(target_arch = "x86_64")]
    {
        if has_avx512() {
            // SAFETY: the features the function was compiled for are supported by this CPU.
            return unsafe { x86::correlate_avx512(signal, taps, out) };
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { x86::correlate_avx2(signal, taps, out) };
        }
    }
    correlate_loop::<16>(signal, taps, out);
}

/// Plain loops that gain from wide vectors; `run` and all it calls must be inlined for that. Sums in separate lanes
/// give the same bits for any width.
pub(crate) trait Kernel {
    type Output;
    fn run(self) -> Self::Output;
}

/// Runs a kernel in the version for this CPU.
pub(crate) fn widest<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if has_avx512() {
            // SAFETY: the features the function was compiled for are supported by this CPU.
            return unsafe { x86::kernel_avx512(kernel) };
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { x86::kernel_avx2(kernel) };
        }
    }
    kernel.run()
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512vl")
}

/// One number per lane. Products and sums are rounded one by one.
trait Vector<const L: usize>: Copy {
    fn load(from: &[f64; L]) -> Self;
    fn store(self, to: &mut [f64; L]);
    fn splat(value: f64) -> Self;
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
}

/// Any CPU.
impl<const L: usize> Vector<L> for [f64; L] {
    #[inline(always)]
    fn load(from: &[f64; L]) -> Self {
        *from
    }
    #[inline(always)]
    fn store(self, to: &mut [f64; L]) {
        *to = self;
    }
    #[inline(always)]
    fn splat(value: f64) -> Self {
        [value; L]
    }
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        std::array::from_fn(|lane| self[lane] + other[lane])
    }
    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        std::array::from_fn(|lane| self[lane] - other[lane])
    }
    #[inline(always)]
    fn times(self, other: Self) -> Self {
        std::array::from_fn(|lane| self[lane] * other[lane])
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256d, __m512d, _mm256_add_pd, _mm256_loadu_pd, _mm256_mul_pd, _mm256_set1_pd,
        _mm256_storeu_pd, _mm256_sub_pd, _mm512_add_pd, _mm512_loadu_pd, _mm512_mul_pd,
        _mm512_set1_pd, _mm512_storeu_pd, _mm512_sub_pd,
    };

    use super::{Kernel, Recursive, Vector, correlate_loop, zero_phase_loop};

    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) fn zero_phase_8_avx512<const M: usize>(
        filter: &Recursive<M>,
        signal: &mut [[f64; 8]],
    ) {
        zero_phase_loop::<Zmm, 8, M>(filter, signal);
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn zero_phase_8_avx2<const M: usize>(
        filter: &Recursive<M>,
        signal: &mut [[f64; 8]],
    ) {
        zero_phase_loop::<TwoYmm, 8, M>(filter, signal);
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn zero_phase_4_avx2<const M: usize>(
        filter: &Recursive<M>,
        signal: &mut [[f64; 4]],
    ) {
        zero_phase_loop::<Ymm, 4, M>(filter, signal);
    }

    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) fn correlate_avx512(signal: &[f64], taps: &[f64], out: &mut [f64]) {
        correlate_loop::<64>(signal, taps, out);
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn correlate_avx2(signal: &[f64], taps: &[f64], out: &mut [f64]) {
        correlate_loop::<32>(signal, taps, out);
    }

    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) fn kernel_avx512<K: Kernel>(kernel: K) -> K::Output {
        kernel.run()
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn kernel_avx2<K: Kernel>(kernel: K) -> K::Output {
        kernel.run()
    }

    // The three types below are private to this module and named by the functions above only, so their methods run only
    // where the instructions are supported by this CPU.

    #[derive(Clone, Copy)]
    struct Zmm(__m512d);

    #[derive(Clone, Copy)]
    struct Ymm(__m256d);

    #[derive(Clone, Copy)]
    struct TwoYmm(Ymm, Ymm);

    impl Vector<8> for Zmm {
        #[inline(always)]
        fn load(from: &[f64; 8]) -> Self {
            // SAFETY: eight numbers are readable there; AVX-512 is supported by this CPU, see above.
            Zmm(unsafe { _mm512_loadu_pd(from.as_ptr()) })
        }
        #[inline(always)]
        fn store(self, to: &mut [f64; 8]) {
            // SAFETY: eight numbers are writable there; AVX-512 is supported by this CPU, see above.
            unsafe { _mm512_storeu_pd(to.as_mut_ptr(), self.0) }
        }
        #[inline(always)]
        fn splat(value: f64) -> Self {
            // SAFETY: AVX-512 is supported by this CPU, see above.
            Zmm(unsafe { _mm512_set1_pd(value) })
        }
        #[inline(always)]
        fn plus(self, other: Self) -> Self {
            // SAFETY: as above.
            Zmm(unsafe { _mm512_add_pd(self.0, other.0) })
        }
        #[inline(always)]
        fn minus(self, other: Self) -> Self {
            // SAFETY: as above.
            Zmm(unsafe { _mm512_sub_pd(self.0, other.0) })
        }
        #[inline(always)]
        fn times(self, other: Self) -> Self {
            // SAFETY: as above.
            Zmm(unsafe { _mm512_mul_pd(self.0, other.0) })
        }
    }

    impl Vector<4> for Ymm {
        #[inline(always)]
        fn load(from: &[f64; 4]) -> Self {
            // SAFETY: four numbers are readable there; AVX2 is supported by this CPU, see above.
            Ymm(unsafe { _mm256_loadu_pd(from.as_ptr()) })
        }
        #[inline(always)]
        fn store(self, to: &mut [f64; 4]) {
            // SAFETY: four numbers are writable there; AVX2 is supported by this CPU, see above.
            unsafe { _mm256_storeu_pd(to.as_mut_ptr(), self.0) }
        }
        #[inline(always)]
        fn splat(value: f64) -> Self {
            // SAFETY: AVX2 is supported by this CPU, see above.
            Ymm(unsafe { _mm256_set1_pd(value) })
        }
        #[inline(always)]
        fn plus(self, other: Self) -> Self {
            // SAFETY: as above.
            Ymm(unsafe { _mm256_add_pd(self.0, other.0) })
        }
        #[inline(always)]
        fn minus(self, other: Self) -> Self {
            // SAFETY: as above.
            Ymm(unsafe { _mm256_sub_pd(self.0, other.0) })
        }
        #[inline(always)]
        fn times(self, other: Self) -> Self {
            // SAFETY: as above.
            Ymm(unsafe { _mm256_mul_pd(self.0, other.0) })
        }
    }

    impl Vector<8> for TwoYmm {
        #[inline(always)]
        fn load(&[a, b, c, d, e, f, g, h]: &[f64; 8]) -> Self {
            TwoYmm(Ymm::load(&[a, b, c, d]), Ymm::load(&[e, f, g, h]))
        }
        #[inline(always)]
        fn store(self, to: &mut [f64; 8]) {
            let [low, high] = [self.0, self.1].map(|half| {
                let mut values = [0.0; 4];
                half.store(&mut values);
                values
            });
            to[..4].copy_from_slice(&low);
            to[4..].copy_from_slice(&high);
        }
        #[inline(always)]
        fn splat(value: f64) -> Self {
            TwoYmm(Ymm::splat(value), Ymm::splat(value))
        }
        #[inline(always)]
        fn plus(self, other: Self) -> Self {
            TwoYmm(self.0.plus(other.0), self.1.plus(other.1))
        }
        #[inline(always)]
        fn minus(self, other: Self) -> Self {
            TwoYmm(self.0.minus(other.0), self.1.minus(other.1))
        }
        #[inline(always)]
        fn times(self, other: Self) -> Self {
            TwoYmm(self.0.times(other.0), self.1.times(other.1))
        }
    }
}

#[inline(always)]
fn zero_phase_loop<V: Vector<L>, const L: usize, const M: usize>(
    filter: &Recursive<M>,
    signal: &mut [[f64; L]],
) {
    let Some(first) = signal.first() else { return };
    let (b, a) = (filter.b.map(V::splat), filter.a.map(V::splat));
    let start = |value: V| filter.zi.map(|zi| V::splat(zi).times(value));
    let mut z = start(V::load(first));
    for x in signal.iter_mut() {
        step(&b, &a, &mut z, V::load(x)).store(x);
    }
    let mut z = start(V::load(&signal[signal.len() - 1]));
    for x in signal.iter_mut().rev() {
        step(&b, &a, &mut z, V::load(x)).store(x);
    }
}

/// One sample of the transposed direct form II in every lane; `z[M - 1]` stays 0.
#[inline(always)]
fn step<V: Vector<L>, const L: usize, const M: usize>(
    b: &[V; M],
    a: &[V; M],
    z: &mut [V; M],
    x: V,
) -> V {
    let y = z[0].plus(b[0].times(x));
    for k in 0..M - 1 {
        z[k] = z[k + 1].plus(x.times(b[k + 1])).minus(y.times(a[k + 1]));
    }
    y
}

#[inline(always)]
fn correlate_loop<const BLOCK: usize>(signal: &[f64], taps: &[f64], out: &mut [f64]) {
    debug_assert!(signal.len() + 1 >= out.len() + taps.len());
    let one = |n: usize| -> f64 {
        taps.iter()
            .zip(&signal[n..])
            .fold(0.0, |sum, (t, s)| sum + t * s)
    };
    if out.len() < BLOCK {
        for (n, value) in out.iter_mut().enumerate() {
            *value = one(n);
        }
        return;
    }
    let last = out.len() - BLOCK;
    let mut n = 0;
    loop {
        let mut sums = [0.0; BLOCK];
        for (tap, window) in taps.iter().zip(signal[n..].windows(BLOCK)) {
            for (sum, value) in sums.iter_mut().zip(window) {
                *sum += tap * value;
            }
        }
        out[n..n + BLOCK].copy_from_slice(&sums);
        if n == last {
            return;
        }
        // The last block overlaps its neighbour rather than being short: same sums, same bits.
        n = (n + BLOCK).min(last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On one machine only one version runs by itself; here all that it can run are compared.
    #[test]
    fn every_version_gives_the_same_bits() {
        let b = [0.3, 0.1, -0.6, 0.02, 0.3];
        let a = [1.0, -1.9, 1.5, -0.7, 0.2];
        let filter = Recursive::<5>::new(&b, &a, &[0.1, -0.2, 0.3, 0.05]);
        let signal: Vec<f64> = (0..8 * 301)
            .map(|k| f64::from(k * k % 97) / 7.0 - 5.0)
            .collect();
        let run = |version: &dyn Fn(&mut [[f64; 8]])| {
            let mut signal = signal.clone();
            version(signal.as_chunks_mut().0);
            signal
        };
        let expected = run(&|x| zero_phase_loop::<[f64; 8], 8, 5>(&filter, x));
        assert!(expected.iter().all(|value| value.is_finite()));
        let taps: Vec<f64> = signal[..13].to_vec();
        type Correlate<'a> = &'a dyn Fn(&[f64], &[f64], &mut [f64]);
        let correlated = |version: Correlate| {
            let mut out = vec![0.0; signal.len() - 12];
            version(&signal, &taps, &mut out);
            out
        };
        let expected_sums = correlated(&|s, t, o| correlate_loop::<1>(s, t, o));
        assert_eq!(correlated(&correlate), expected_sums);
        #[cfg(target_arch = "x86_64")]
        {
            if has_avx512() {
                // SAFETY: just checked.
                assert_eq!(
                    run(&|x| unsafe { x86::zero_phase_8_avx512(&filter, x) }),
                    expected
                );
                // SAFETY: just checked.
                assert_eq!(
                    correlated(&|s, t, o| unsafe { x86::correlate_avx512(s, t, o) }),
                    expected_sums
                );
            }
            if std::arch::is_x86_feature_detected!("avx2") {
                // SAFETY: just checked.
                assert_eq!(
                    run(&|x| unsafe { x86::zero_phase_8_avx2(&filter, x) }),
                    expected
                );
                // SAFETY: just checked.
                assert_eq!(
                    correlated(&|s, t, o| unsafe { x86::correlate_avx2(s, t, o) }),
                    expected_sums
                );
            }
        }
    }
}
