//! The two inner loops, compiled for several vector widths; the only module with `unsafe`.
//!
//! The loops are written once, in plain Rust over fixed-size arrays, and inlined into one function
//! per instruction set. Products and sums are never fused, so every version gives the same bits.

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

/// Filters `signal` (`[time, lane]`) forwards, then backwards, each from the steady state of its first sample.
pub(crate) fn zero_phase<const L: usize, const M: usize>(
    filter: &Recursive<M>,
    signal: &mut [[f64; L]],
) {
    #[cfg(target_arch = "x86_64")]
    {
        if has_avx512() {
            // SAFETY: the processor has the features the function was compiled for.
            return unsafe { x86::zero_phase_avx512(filter, signal) };
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { x86::zero_phase_avx2(filter, signal) };
        }
    }
    zero_phase_loop(filter, signal);
}

/// `out[n] = sum over k of taps[k] * signal[n + k]`; `signal` has `out.len() + taps.len() - 1` samples or more.
pub(crate) fn correlate(signal: &[f64], taps: &[f64], out: &mut [f64]) {
    #[cfg(target_arch = "x86_64")]
    {
        if has_avx512() {
            // SAFETY: the processor has the features the function was compiled for.
            return unsafe { x86::correlate_avx512(signal, taps, out) };
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { x86::correlate_avx2(signal, taps, out) };
        }
    }
    correlate_loop::<16>(signal, taps, out);
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512vl")
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Recursive, correlate_loop, zero_phase_loop};

    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) fn zero_phase_avx512<const L: usize, const M: usize>(
        filter: &Recursive<M>,
        signal: &mut [[f64; L]],
    ) {
        zero_phase_loop(filter, signal);
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn zero_phase_avx2<const L: usize, const M: usize>(
        filter: &Recursive<M>,
        signal: &mut [[f64; L]],
    ) {
        zero_phase_loop(filter, signal);
    }

    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) fn correlate_avx512(signal: &[f64], taps: &[f64], out: &mut [f64]) {
        correlate_loop::<64>(signal, taps, out);
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn correlate_avx2(signal: &[f64], taps: &[f64], out: &mut [f64]) {
        correlate_loop::<32>(signal, taps, out);
    }
}

#[inline(always)]
fn zero_phase_loop<const L: usize, const M: usize>(filter: &Recursive<M>, signal: &mut [[f64; L]]) {
    let (Some(first), Recursive { b, a, zi }) = (signal.first(), filter) else {
        return;
    };
    let start = |value: [f64; L]| -> [[f64; L]; M] {
        std::array::from_fn(|k| std::array::from_fn(|lane| zi[k] * value[lane]))
    };
    let mut z = start(*first);
    for x in signal.iter_mut() {
        *x = step(b, a, &mut z, *x);
    }
    let mut z = start(signal[signal.len() - 1]);
    for x in signal.iter_mut().rev() {
        *x = step(b, a, &mut z, *x);
    }
}

/// One sample of the transposed direct form II in every lane; `z[M - 1]` stays 0.
#[inline(always)]
fn step<const L: usize, const M: usize>(
    b: &[f64; M],
    a: &[f64; M],
    z: &mut [[f64; L]; M],
    x: [f64; L],
) -> [f64; L] {
    let y: [f64; L] = std::array::from_fn(|lane| z[0][lane] + b[0] * x[lane]);
    for k in 0..M - 1 {
        for lane in 0..L {
            z[k][lane] = z[k + 1][lane] + x[lane] * b[k + 1] - y[lane] * a[k + 1];
        }
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
