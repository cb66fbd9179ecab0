//! Change of sampling rate by the Fourier method.
//!
//! Source: the published program of CLEAR-HUG (SciPy's `signal.resample`). The signal is treated as one period of a
//! periodic signal, so a difference between its ends causes ringing near both.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use realfft::{ComplexToReal, FftNum, RealFftPlanner, RealToComplex};
use rustfft::num_complex::Complex;

/// Accepted sampling rates in hertz. A header with a lower rate is wrong, and resampling from it would give far too
/// many samples.
pub const RATES_HZ: RangeInclusive<f64> = 10.0..=100_000.0;

/// Resamples every row of `rows` (`[lead, time]`, row-major, `leads` rows) to `target` samples, in double precision.
///
/// Returns `[lead, target]`. Transform plans are kept per thread. Rows without samples, or a target
/// of 0, give an empty result; `rows.len()` is taken as a multiple of `leads`, a remainder is ignored.
pub fn fourier(rows: &[f64], leads: usize, target: usize) -> Vec<f64> {
    thread_local!(static PLANS: RefCell<Plans<f64>> = RefCell::default());
    PLANS.with_borrow_mut(|plans| plans.resample(rows, leads, target))
}

/// [`fourier`] in single precision, for recipes whose reference transforms float32.
pub fn fourier_f32(rows: &[f32], leads: usize, target: usize) -> Vec<f32> {
    thread_local!(static PLANS: RefCell<Plans<f32>> = RefCell::default());
    PLANS.with_borrow_mut(|plans| plans.resample(rows, leads, target))
}

/// Samples after resampling `len` samples from `from_hz` to `to_hz`: the truncated product, as the reference counts.
pub fn resampled_len(len: usize, from_hz: f64, to_hz: f64) -> usize {
    (len as f64 * (to_hz / from_hz)) as usize
}

/// Largest number of cached plans per thread; a data set with many different lengths must not fill the memory.
const MAX_PLANS: usize = 32;

#[derive(Default)]
struct Plans<T: FftNum>(HashMap<(usize, usize), Plan<T>>);

impl<T: FftNum + Default> Plans<T> {
    fn resample(&mut self, rows: &[T], leads: usize, target: usize) -> Vec<T> {
        let len = rows.len().checked_div(leads).unwrap_or(0);
        if len == 0 || target == 0 {
            return Vec::new();
        }
        if len == target {
            return rows[..leads * len].to_vec();
        }
        if self.0.len() >= MAX_PLANS && !self.0.contains_key(&(len, target)) {
            self.0.clear();
        }
        let plan = self
            .0
            .entry((len, target))
            .or_insert_with(|| Plan::new(len, target));
        let mut out = vec![T::zero(); leads * target];
        for (row, place) in rows.chunks_exact(len).zip(out.chunks_exact_mut(target)) {
            plan.run(row, place);
        }
        out
    }
}

/// Transforms and scratch for one pair of lengths.
struct Plan<T: FftNum> {
    forward: Arc<dyn RealToComplex<T>>,
    inverse: Arc<dyn ComplexToReal<T>>,
    input: Vec<T>,
    spectrum: Vec<Complex<T>>,
    kept: Vec<Complex<T>>,
    scratch: Vec<Complex<T>>,
    scale: T,
}

impl<T: FftNum + Default> Plan<T> {
    fn new(len: usize, target: usize) -> Self {
        let mut planner = RealFftPlanner::new();
        let forward = planner.plan_fft_forward(len);
        let inverse = planner.plan_fft_inverse(target);
        let scratch = forward.get_scratch_len().max(inverse.get_scratch_len());
        Plan {
            input: forward.make_input_vec(),
            spectrum: forward.make_output_vec(),
            kept: inverse.make_input_vec(),
            scratch: vec![Complex::default(); scratch],
            // The unnormalised inverse is `target` times too large; times target / len that is 1 / len.
            scale: T::from_f64(1.0 / len as f64).unwrap_or_else(T::zero),
            forward,
            inverse,
        }
    }

    fn run(&mut self, row: &[T], out: &mut [T]) {
        let (len, target) = (row.len(), out.len());
        self.input.copy_from_slice(row);
        // The buffers come from the plans themselves, so their lengths fit and the transforms cannot fail.
        let transformed = self.forward.process_with_scratch(
            &mut self.input,
            &mut self.spectrum,
            &mut self.scratch,
        );
        debug_assert!(transformed.is_ok());

        let shorter = len.min(target);
        let bins = shorter / 2 + 1;
        self.kept.fill(Complex::default());
        for (kept, bin) in self.kept.iter_mut().zip(&self.spectrum[..bins]) {
            *kept = bin * self.scale;
        }
        let middle = &mut self.kept[shorter / 2];
        if shorter.is_multiple_of(2) {
            let two = T::one() + T::one();
            *middle = if target < len {
                *middle * two
            } else {
                *middle / two
            };
        }
        // A real inverse ignores these parts; the planner requires them to be zero.
        self.kept[0].im = T::zero();
        if target.is_multiple_of(2) {
            self.kept[target / 2].im = T::zero();
        }
        let transformed = self
            .inverse
            .process_with_scratch(&mut self.kept, out, &mut self.scratch);
        debug_assert!(transformed.is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_keeps_its_shape() {
        let tone = |n: usize| -> Vec<f64> {
            (0..n)
                .map(|k| (std::f64::consts::TAU * 3.0 * k as f64 / n as f64).sin())
                .collect()
        };
        for (from, to) in [(500, 100), (100, 500), (77, 30), (30, 77), (64, 63)] {
            for (f, e) in fourier(&tone(from), 1, to).iter().zip(tone(to)) {
                assert!((f - e).abs() < 1e-12, "{from} to {to}");
            }
        }
    }

    #[test]
    fn highest_bin_is_doubled_going_down_and_halved_going_up() {
        // cos(pi n / 2) at 8 samples is bin 2, the highest one of 4 samples.
        let fast: Vec<f64> = (0..8).map(|n| [1.0, 0.0, -1.0, 0.0][n % 4]).collect();
        let down = fourier(&fast, 1, 4);
        for (f, e) in down.iter().zip([1.0, -1.0, 1.0, -1.0]) {
            assert!((f - e).abs() < 1e-12, "{down:?}");
        }
        let up = fourier(&[1.0, -1.0, 1.0, -1.0], 1, 8);
        for (f, e) in up.iter().zip(&fast) {
            assert!((f - e).abs() < 1e-12, "{up:?}");
        }
    }

    #[test]
    fn empty_and_equal_lengths() {
        assert!(fourier(&[], 3, 10).is_empty());
        assert!(fourier(&[1.0], 0, 10).is_empty());
        assert_eq!(fourier(&[1.0, 2.0], 2, 1), [1.0, 2.0]);
        assert_eq!(fourier(&[5.0], 1, 3), [5.0; 3]);
        assert_eq!(resampled_len(7950, 500.0, 100.0), 1590);
    }
}
