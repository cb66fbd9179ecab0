//! Sixteen numbers on amplitude, shape and spectrum of a piece.

use std::fmt;
use std::sync::Arc;

use realfft::{RealFftPlanner, RealToComplex};
use rustfft::num_complex::Complex64;

use super::Undefined;

/// How many there are.
pub const TIME_FREQUENCY: usize = 16;

/// Their names, in order.
pub const NAMES: [&str; TIME_FREQUENCY] = [
    "minimum",
    "maximum",
    "mean",
    "root_mean_square",
    "variance",
    "standard_deviation",
    "power",
    "peak",
    "peak_to_peak",
    "crest_factor",
    "skewness",
    "excess_kurtosis",
    "spectrum_maximum",
    "spectrum_sum",
    "spectrum_mean",
    "spectrum_variance",
];

/// Fraction of the mean up to which a standard deviation counts as constant in the released program.
const CONSTANT: f64 = f64::EPSILON;
/// The same as a fraction of the largest magnitude, for filtered flat leads, of which only rounding errors are left.
const FLAT: f64 = 1e-9;

/// Describes pieces of one length.
#[derive(Clone)]
pub(super) struct TimeFrequency {
    undefined: f64,
    transform: Arc<dyn RealToComplex<f64>>,
    input: Vec<f64>,
    spectrum: Vec<Complex64>,
    scratch: Vec<Complex64>,
}

impl TimeFrequency {
    /// For pieces of `len` samples.
    pub(super) fn new(len: usize, undefined: Undefined) -> Self {
        let transform = RealFftPlanner::new().plan_fft_forward(len);
        TimeFrequency {
            undefined: match undefined {
                Undefined::Zero => 0.0,
                Undefined::NotANumber => f64::NAN,
            },
            input: transform.make_input_vec(),
            spectrum: transform.make_output_vec(),
            scratch: transform.make_scratch_vec(),
            transform,
        }
    }

    /// Writes the sixteen into `row`; `piece` has the length given to `new`.
    pub(super) fn write_row(&mut self, piece: &[f64], row: &mut [f32]) {
        let n = piece.len() as f64;
        let (mut min, mut max, mut sum, mut squares) = (f64::INFINITY, f64::NEG_INFINITY, 0.0, 0.0);
        for &x in piece {
            min = if x < min { x } else { min };
            max = if x > max { x } else { max };
            sum += x;
            squares += x * x;
        }
        // Rounding of the sum must not make a constant piece appear to vary.
        let mean = if min == max { min } else { sum / n };
        let power = squares / n;
        let (mut m2, mut m3, mut m4) = (0.0, 0.0, 0.0);
        for &x in piece {
            let d = x - mean;
            let d2 = d * d;
            m2 += d2;
            m3 += d2 * d;
            m4 += d2 * d2;
        }
        let (m2, m3, m4) = (m2 / n, m3 / n, m4 / n);
        let rms = power.sqrt();
        let peak = max.abs().max(min.abs());
        let constant = match self.undefined.is_nan() {
            true => m2 <= (CONSTANT * mean).powi(2),
            false => m2 <= (FLAT * peak).powi(2),
        };
        let [high, total, average, spread] = self.spectrum(piece);
        let or_undefined = |defined: bool, value: f64| if defined { value } else { self.undefined };
        let values = [
            min,
            max,
            mean,
            rms,
            m2,
            m2.sqrt(),
            power,
            peak,
            max - min,
            or_undefined(rms > 0.0, peak / rms),
            or_undefined(!constant, m3 / m2.powf(1.5)),
            or_undefined(!constant, m4 / (m2 * m2) - 3.0),
            high,
            total,
            average,
            spread,
        ];
        for (place, value) in row.iter_mut().zip(values) {
            *place = value as f32;
        }
    }

    /// Maximum, sum, mean and variance of |X^2| / n over all n bins of the transform X.
    fn spectrum(&mut self, piece: &[f64]) -> [f64; 4] {
        let len = piece.len();
        let n = len as f64;
        self.input.copy_from_slice(piece);
        // The buffers come from the plan itself, so their lengths fit and the transform cannot fail.
        let transformed = self.transform.process_with_scratch(
            &mut self.input,
            &mut self.spectrum,
            &mut self.scratch,
        );
        debug_assert!(transformed.is_ok());
        // Bins above the middle mirror those below it; the first has no mirror, nor has the middle of an even length.
        let weight = |k: usize| if k == 0 || 2 * k == len { 1.0 } else { 2.0 };
        let (mut max, mut sum) = (0.0, 0.0);
        for (k, bin) in self.spectrum.iter().enumerate() {
            let s = bin.norm_sqr() / n;
            max = if s > max { s } else { max };
            sum += weight(k) * s;
        }
        let mean = sum / n;
        let squares: f64 = self
            .spectrum
            .iter()
            .enumerate()
            .map(|(k, bin)| weight(k) * (bin.norm_sqr() / n - mean).powi(2))
            .sum();
        [max, sum, mean, squares / n]
    }
}

impl fmt::Debug for TimeFrequency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeFrequency")
            .field("samples", &self.input.len())
            .finish_non_exhaustive()
    }
}
