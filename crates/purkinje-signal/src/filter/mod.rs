//! Linear filters: band-pass design (Butterworth, windowed sinc), decimation, zero-phase filtering, frequency response.
//!
//! Source: the published programs of CLEAR-HUG and HuBERT-ECG; the arithmetic follows SciPy's `butter`
//! (transfer-function form) and `filtfilt` (odd extension, steady-state start) operation by operation.

mod butterworth;
mod fir;
mod sections;
mod zero_phase;

use rustfft::num_complex::Complex64;
use serde::{Deserialize, Serialize};

pub use fir::{FirBandPass, MAX_TAPS};
pub use sections::{Decimator, MAX_DECIMATION};
pub use zero_phase::ZeroPhase;
pub(crate) use zero_phase::{FirWork, fir_zero_phase_into};

/// A Butterworth band-pass by its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BandPass {
    /// Order of the low-pass prototype, 1 to [`MAX_ORDER`]; the filter has `2 * order` poles.
    pub order: usize,
    /// Lower -3 dB frequency in hertz.
    pub low_hz: f64,
    /// Upper -3 dB frequency in hertz.
    pub high_hz: f64,
}

/// Highest accepted order: beyond it the transfer-function form loses its precision.
pub const MAX_ORDER: usize = 8;

/// Why a filter cannot be designed or applied.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// The order is zero or too high.
    #[error("the band-pass order is {found}, expected 1 to {MAX_ORDER}")]
    Order {
        /// The requested order.
        found: usize,
    },
    /// The band is not between 0 and half the sampling rate.
    #[error(
        "band-pass {low_hz} to {high_hz} Hz at {rate_hz} Hz: expected 0 < low < high < {} Hz, half the sampling rate; lower the band or raise the rate",
        rate_hz / 2.0
    )]
    Band {
        /// Lower cut-off in hertz.
        low_hz: f64,
        /// Upper cut-off in hertz.
        high_hz: f64,
        /// Sampling rate in hertz.
        rate_hz: f64,
    },
    /// The length of the filter is zero or far too large.
    #[error(
        "a filter of {span_s} s at {rate_hz} Hz: expected 1 to {MAX_TAPS} samples; correct its length or lower the rate"
    )]
    Taps {
        /// Length in seconds.
        span_s: f64,
        /// Sampling rate in hertz.
        rate_hz: f64,
    },
    /// An invalid decimation factor.
    #[error("the decimation factor is {found}, expected 1 to {MAX_DECIMATION}")]
    Decimation {
        /// The requested factor.
        found: usize,
    },
    /// The signal is not longer than the extension that zero-phase filtering needs.
    #[error("found {found} samples, expected more than {needed} for zero-phase filtering")]
    TooShort {
        /// Samples per lead.
        found: usize,
        /// Samples per lead that must be exceeded.
        needed: usize,
    },
    /// The number of samples is not a multiple of the leads.
    #[error("found {samples} samples for {leads} leads, expected leads x time, row by row")]
    Shape {
        /// Samples of all leads.
        samples: usize,
        /// Leads.
        leads: usize,
    },
}

/// A digital filter in transfer-function form: numerator `b`, denominator `a`, `a[0] = 1`.
#[derive(Clone, Debug, PartialEq)]
pub struct Coefficients {
    /// Numerator, from the power 0 of the delay upwards.
    pub b: Vec<f64>,
    /// Denominator, in the same order.
    pub a: Vec<f64>,
}

impl Coefficients {
    /// Designs a digital Butterworth band-pass by the pre-warped bilinear transform.
    ///
    /// # Errors
    /// [`FilterError::Order`] and [`FilterError::Band`].
    pub fn butterworth(band: BandPass, rate_hz: f64) -> Result<Self, FilterError> {
        butterworth::design(band, rate_hz)
    }

    /// A filter of finite impulse response.
    pub fn fir(taps: Vec<f64>) -> Self {
        Coefficients {
            b: taps,
            a: vec![1.0],
        }
    }

    /// Magnitude of the frequency response at `angle` radians per sample (pi is half the sampling rate).
    pub fn gain(&self, angle: f64) -> f64 {
        let step = Complex64::from_polar(1.0, -angle);
        let at = |coefficients: &[f64]| {
            coefficients
                .iter()
                .rev()
                .fold(Complex64::new(0.0, 0.0), |sum, c| sum * step + c)
        };
        (at(&self.b) / at(&self.a)).norm()
    }
}
