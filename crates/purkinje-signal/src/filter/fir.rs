//! Band-pass of finite impulse response, by the window method.
//!
//! Source: the published program of HuBERT-ECG (SciPy's `firwin` with a Hamming window, applied by `filtfilt`).

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use super::{FilterError, FirWork, fir_zero_phase_into};

/// A windowed-sinc band-pass whose length is a fixed time, so that it depends on the sampling rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirBandPass {
    /// Lower edge in hertz, where an ideal filter would begin to pass.
    pub low_hz: f64,
    /// Upper edge in hertz.
    pub high_hz: f64,
    /// Length in seconds; the taps are the samples in it, and one more if their number is even.
    pub span_s: f64,
}

/// Largest number of taps: a longer filter is an error, or for a signal that should be resampled first.
pub const MAX_TAPS: usize = 8191;

impl FirBandPass {
    /// The impulse response at this rate: its gain is 1 in the middle of the band.
    ///
    /// # Errors
    /// [`FilterError::Band`], and [`FilterError::Taps`] when the length is invalid or too long.
    pub fn taps(&self, rate_hz: f64) -> Result<Vec<f64>, FilterError> {
        let &FirBandPass {
            low_hz,
            high_hz,
            span_s,
        } = self;
        // Written so that NaN fails too.
        let inside =
            low_hz > 0.0 && low_hz < high_hz && high_hz < rate_hz / 2.0 && rate_hz.is_finite();
        if !inside {
            return Err(FilterError::Band {
                low_hz,
                high_hz,
                rate_hz,
            });
        }
        let count = (span_s * rate_hz).floor();
        if !(1.0..=MAX_TAPS as f64).contains(&count) {
            return Err(FilterError::Taps { span_s, rate_hz });
        }
        let count = count as usize | 1;
        let (low, high) = (2.0 * low_hz / rate_hz, 2.0 * high_hz / rate_hz);
        let middle = 0.5 * (count - 1) as f64;
        let sinc = |x: f64| {
            let angle = PI * if x == 0.0 { 1e-20 } else { x };
            angle.sin() / angle
        };
        let mut taps: Vec<f64> = (0..count)
            .map(|n| {
                let m = n as f64 - middle;
                let ideal = high * sinc(high * m) - low * sinc(low * m);
                let turn = 2.0 * PI * n as f64 / (count.max(2) - 1) as f64;
                ideal * (0.54 - 0.46 * turn.cos())
            })
            .collect();
        let centre = 0.5 * (low + high);
        let gain: f64 = taps
            .iter()
            .enumerate()
            .map(|(n, tap)| tap * (PI * (n as f64 - middle) * centre).cos())
            .sum();
        taps.iter_mut().for_each(|tap| *tap /= gain);
        Ok(taps)
    }

    /// Filters `rows` (`[lead, time]`, row-major) forwards and backwards in place, each row oddly extended by three
    /// filter lengths at both ends.
    ///
    /// # Errors
    /// As [`taps`](Self::taps); [`FilterError::Shape`] and [`FilterError::TooShort`].
    pub fn apply(&self, rows: &mut [f64], leads: usize, rate_hz: f64) -> Result<(), FilterError> {
        let taps = self.taps(rate_hz)?;
        if leads == 0 || !rows.len().is_multiple_of(leads) {
            return Err(FilterError::Shape {
                samples: rows.len(),
                leads,
            });
        }
        let len = rows.len() / leads;
        let (mut work, mut out) = (FirWork::default(), Vec::with_capacity(len));
        if len <= 3 * taps.len() {
            return Err(FilterError::TooShort {
                found: len,
                needed: 3 * taps.len(),
            });
        }
        for row in rows.chunks_exact_mut(len) {
            fir_zero_phase_into(&taps, row, &mut work, &mut out)?;
            row.copy_from_slice(&out);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Coefficients;

    const BAND: FirBandPass = FirBandPass {
        low_hz: 0.05,
        high_hz: 47.0,
        span_s: 0.3,
    };

    #[test]
    fn lengths_and_gains_are_the_published_ones() {
        for (rate_hz, count) in [
            (500.0, 151),
            (1000.0, 301),
            (400.0, 121),
            (257.0, 77),
            (250.0, 75),
            (100.0, 31),
        ] {
            let taps = BAND.taps(rate_hz).unwrap();
            assert_eq!(taps.len(), count);
            assert!(
                taps.iter()
                    .zip(taps.iter().rev())
                    .all(|(a, b)| (a - b).abs() < 1e-15)
            );
        }
        let filter = Coefficients::fir(BAND.taps(500.0).unwrap());
        for (hz, gain) in [
            (0.0, 0.964),
            (1.0, 0.967),
            (5.0, 0.994),
            (40.0, 1.0),
            (47.0, 0.25),
            (50.0, 0.011),
        ] {
            let found = filter.gain(PI * hz / 250.0).powi(2);
            assert!((found - gain).abs() < 0.005, "{hz} Hz: {found}");
        }
    }

    #[test]
    fn impossible_filters_are_refused() {
        assert!(matches!(BAND.taps(94.0), Err(FilterError::Band { .. })));
        assert!(matches!(BAND.taps(f64::NAN), Err(FilterError::Band { .. })));
        assert!(matches!(BAND.taps(1e9), Err(FilterError::Taps { .. })));
        let none = FirBandPass {
            span_s: 0.0,
            ..BAND
        };
        assert!(matches!(none.taps(500.0), Err(FilterError::Taps { .. })));
        let short = BAND.apply(&mut [0.0; 906], 2, 500.0);
        assert_eq!(
            short,
            Err(FilterError::TooShort {
                found: 453,
                needed: 453
            })
        );
        assert!(matches!(
            BAND.apply(&mut [0.0; 907], 2, 500.0),
            Err(FilterError::Shape { .. })
        ));
        assert!(BAND.apply(&mut [], 0, 500.0).is_err());
    }
}
