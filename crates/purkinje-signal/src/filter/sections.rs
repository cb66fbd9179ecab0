//! Low-pass filters in second-order sections, and decimation with them.
//!
//! Source: the published program of HuBERT-ECG (SciPy's `cheby1`, `sosfiltfilt` and `decimate`).

use std::f64::consts::PI;

use rustfft::num_complex::Complex64;

use super::FilterError;
use super::zero_phase::odd_extension_into;

/// Order of the low-pass filter before decimation.
const ORDER: usize = 8;
/// Its ripple in the pass-band in decibels.
const RIPPLE_DB: f64 = 0.05;
/// Its edge, as a fraction of half the new rate.
const EDGE: f64 = 0.8;

/// Largest factor of decimation: beyond it the filter's poles are too close to each other.
pub const MAX_DECIMATION: usize = 100;

/// A low-pass filter as a cascade of second-order sections, and the decimation factor after it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decimator {
    factor: usize,
    sections: Vec<[f64; 6]>,
    starts: Vec<[f64; 2]>,
}

impl Decimator {
    /// For keeping every `factor`-th sample: a Chebyshev filter of type I, order 8, 0.05 dB ripple, edge at 0.8 of half
    /// the new rate. A factor of 1 filters and keeps all samples.
    ///
    /// # Errors
    /// [`FilterError::Decimation`] for factors other than 1 to [`MAX_DECIMATION`].
    pub fn new(factor: usize) -> Result<Self, FilterError> {
        if !(1..=MAX_DECIMATION).contains(&factor) {
            return Err(FilterError::Decimation { found: factor });
        }
        let sections = chebyshev(EDGE / factor as f64);
        let starts = steady_states(&sections);
        Ok(Decimator {
            factor,
            sections,
            starts,
        })
    }

    /// The factor.
    pub fn factor(&self) -> usize {
        self.factor
    }

    /// The sections in order: three coefficients of the numerator, three of the denominator.
    pub fn sections(&self) -> &[[f64; 6]] {
        &self.sections
    }

    /// For each section, its state after an endless step of height 1 into the chain.
    pub fn steady_states(&self) -> &[[f64; 2]] {
        &self.starts
    }

    /// Number of samples after decimation of `len` samples.
    pub fn decimated_len(&self, len: usize) -> usize {
        len.div_ceil(self.factor)
    }

    /// Filters forwards and backwards (odd extension of 27 samples, start in the steady state) and keeps every
    /// `factor`-th sample from the first.
    ///
    /// # Errors
    /// [`FilterError::TooShort`] for 27 samples or fewer.
    pub fn apply(&self, signal: &[f64]) -> Result<Vec<f64>, FilterError> {
        let pad = 3 * (2 * self.sections.len() + 1);
        if signal.len() <= pad {
            return Err(FilterError::TooShort {
                found: signal.len(),
                needed: pad,
            });
        }
        let mut work = Vec::new();
        odd_extension_into(signal, pad, &mut work);
        let sections: [[f64; 6]; ORDER / 2] = std::array::from_fn(|k| self.sections[k]);
        let starts: [[f64; 2]; ORDER / 2] = std::array::from_fn(|k| self.starts[k]);
        run(&sections, &starts, work.first().copied(), work.iter_mut());
        run(
            &sections,
            &starts,
            work.last().copied(),
            work.iter_mut().rev(),
        );
        let kept = work[pad..pad + signal.len()].iter();
        Ok(kept.step_by(self.factor).copied().collect())
    }

    /// [`Decimator::apply`] on every row of `rows` (`[lead, time]`, row-major, `leads` rows): `[lead, decimated time]`.
    ///
    /// Four rows are filtered in parallel, because a single one is limited by the latency of the recursion; the result
    /// has the same bits as row by row.
    ///
    /// # Errors
    /// [`FilterError::Shape`] and [`FilterError::TooShort`].
    pub fn apply_rows(&self, rows: &[f64], leads: usize) -> Result<Vec<f64>, FilterError> {
        if leads == 0 || !rows.len().is_multiple_of(leads) {
            return Err(FilterError::Shape {
                samples: rows.len(),
                leads,
            });
        }
        let len = rows.len() / leads;
        let pad = 3 * (2 * self.sections.len() + 1);
        if len <= pad {
            return Err(FilterError::TooShort {
                found: len,
                needed: pad,
            });
        }
        let sections: [[f64; 6]; ORDER / 2] = std::array::from_fn(|k| self.sections[k]);
        let starts: [[f64; 2]; ORDER / 2] = std::array::from_fn(|k| self.starts[k]);
        let mut out = Vec::with_capacity(leads * self.decimated_len(len));
        let mut extended = Vec::new();
        let mut work = vec![[0.0; LANES]; len + 2 * pad]; // [extended time, lane]
        for group in rows.chunks(LANES * len) {
            for (lane, row) in group.chunks_exact(len).enumerate() {
                odd_extension_into(row, pad, &mut extended);
                for (place, value) in work.iter_mut().zip(&extended) {
                    place[lane] = *value;
                }
            }
            run_lanes(&sections, &starts, work.iter_mut());
            run_lanes(&sections, &starts, work.iter_mut().rev());
            for lane in 0..group.len() / len {
                let kept = work[pad..pad + len].iter().step_by(self.factor);
                out.extend(kept.map(|values| values[lane]));
            }
        }
        Ok(out)
    }
}

/// Rows filtered in parallel.
const LANES: usize = 4;

/// [`run`] for several signals at once, each with the arithmetic of one alone.
fn run_lanes<'a>(
    sections: &[[f64; 6]; ORDER / 2],
    starts: &[[f64; 2]; ORDER / 2],
    samples: impl Iterator<Item = &'a mut [f64; LANES]>,
) {
    let mut samples = samples.peekable();
    let Some(first) = samples.peek().map(|first| **first) else {
        return;
    };
    let mut states = starts.map(|start| start.map(|s| first.map(|x| s * x)));
    for sample in samples {
        let mut x = *sample;
        for ([b0, b1, b2, _, a1, a2], [s0, s1]) in sections.iter().zip(&mut states) {
            let y: [f64; LANES] = std::array::from_fn(|l| b0 * x[l] + s0[l]);
            *s0 = std::array::from_fn(|l| b1 * x[l] - a1 * y[l] + s1[l]);
            *s1 = std::array::from_fn(|l| b2 * x[l] - a2 * y[l]);
            x = y;
        }
        *sample = x;
    }
}

/// Each sample through all sections (transposed direct form II), which start as after an endless `first`.
fn run<'a>(
    sections: &[[f64; 6]; ORDER / 2],
    starts: &[[f64; 2]; ORDER / 2],
    first: Option<f64>,
    samples: impl Iterator<Item = &'a mut f64>,
) {
    let first = first.unwrap_or(0.0);
    let mut states = starts.map(|start| start.map(|s| s * first));
    for sample in samples {
        let mut x = *sample;
        for ([b0, b1, b2, _, a1, a2], state) in sections.iter().zip(&mut states) {
            let y = b0 * x + state[0];
            state[0] = b1 * x - a1 * y + state[1];
            state[1] = b2 * x - a2 * y;
            x = y;
        }
        *sample = x;
    }
}

/// The digital filter for an edge given as a fraction of half the sampling rate.
fn chebyshev(edge: f64) -> Vec<[f64; 6]> {
    // Analogue prototype: poles on an ellipse, no zeros.
    let ripple = (10f64.powf(0.1 * RIPPLE_DB) - 1.0).sqrt();
    let mu = (1.0 / ripple).asinh() / ORDER as f64;
    let prototype = (0..ORDER).map(|k| {
        let m = 2.0 * k as f64 + 1.0 - ORDER as f64;
        let theta = PI * m / (2.0 * ORDER as f64);
        -Complex64::new(mu, theta).sinh()
    });
    let prototype: Vec<Complex64> = prototype.collect();
    let product: Complex64 = prototype.iter().map(|pole| -pole).product();
    // An even order has its ripple at zero frequency.
    let gain = product.re / (1.0 + ripple * ripple).sqrt();

    // To the edge, then the bilinear transform at the nominal rate 2; all zeros go to -1.
    const NOMINAL: f64 = 2.0;
    let warped = 2.0 * NOMINAL * (PI * edge / NOMINAL).tan();
    let double = 2.0 * NOMINAL;
    let analogue: Vec<Complex64> = prototype.iter().map(|pole| pole * warped).collect();
    let denominator: Complex64 = analogue.iter().map(|pole| double - pole).product();
    let gain = gain * warped.powi(ORDER as i32) * (Complex64::new(1.0, 0.0) / denominator).re;
    // One of each conjugate pair, the ones nearest to the unit circle last.
    let mut poles: Vec<Complex64> = analogue
        .iter()
        .map(|pole| (double + pole) / (double - pole))
        .filter(|pole| pole.im > 0.0)
        .collect();
    poles.sort_by(|a, b| a.norm().total_cmp(&b.norm()));
    poles
        .iter()
        .enumerate()
        .map(|(k, pole)| {
            let g = if k == 0 { gain } else { 1.0 };
            [g, 2.0 * g, g, 1.0, -2.0 * pole.re, pole.norm_sqr()]
        })
        .collect()
}

fn steady_states(sections: &[[f64; 6]]) -> Vec<[f64; 2]> {
    let mut height = 1.0;
    sections
        .iter()
        .map(|[b0, b1, b2, a0, a1, a2]| {
            let (e1, e2) = (b1 - a1 * b0, b2 - a2 * b0);
            let first = (e1 + e2) / (a0 + a1 + a2);
            let second = (1.0 + a1) * first - e1;
            let start = [height * first, height * second];
            height *= (b0 + b1 + b2) / (a0 + a1 + a2);
            start
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_waves_stay_and_fast_ones_go() {
        for factor in [1, 2, 5, 10] {
            let decimator = Decimator::new(factor).unwrap();
            let wave = |cycles: f64| -> Vec<f64> {
                (0..6001)
                    .map(|k| (2.0 * PI * cycles * k as f64 / 6000.0).cos())
                    .collect()
            };
            let slow = decimator.apply(&wave(60.0)).unwrap();
            assert_eq!(slow.len(), decimator.decimated_len(6001));
            // Odd extension bends a crest that lies at an end.
            for (k, found) in slow.iter().enumerate().skip(10).take(slow.len() - 20) {
                let expected = (2.0 * PI * 60.0 * (k * factor) as f64 / 6000.0).cos();
                // Ripple of both passes: 0.1 dB.
                assert!(
                    (found - expected).abs() < 0.013,
                    "{factor}: {k} {found} {expected}"
                );
            }
            if factor > 1 {
                let fast = decimator
                    .apply(&wave(3000.0 / factor as f64 * 1.4))
                    .unwrap();
                let middle = &fast[fast.len() / 4..fast.len() * 3 / 4];
                assert!(middle.iter().all(|v| v.abs() < 1e-3), "{factor}");
            }
        }
    }

    #[test]
    fn rows_together_are_rows_alone() {
        let decimator = Decimator::new(5).unwrap();
        let rows: Vec<f64> = (0..7 * 131)
            .map(|k| ((k * k) as f64 * 0.37).sin() * 3.0 + (k / 131) as f64)
            .collect();
        for leads in [1, 7] {
            let len = rows.len() / leads;
            let alone: Vec<f64> = rows
                .chunks_exact(len)
                .flat_map(|row| decimator.apply(row).unwrap())
                .collect();
            assert_eq!(decimator.apply_rows(&rows, leads).unwrap(), alone);
        }
        assert!(decimator.apply_rows(&rows, 0).is_err());
        assert!(decimator.apply_rows(&rows[..54], 2).is_err());
    }

    #[test]
    fn a_constant_starts_in_its_steady_state() {
        let decimator = Decimator::new(5).unwrap();
        let gain = 10f64.powf(-0.05 / 10.0);
        for value in decimator.apply(&[2.0; 100]).unwrap() {
            assert!((value - 2.0 * gain).abs() < 1e-9, "{value}");
        }
        assert!(matches!(
            decimator.apply(&[1.0; 27]),
            Err(FilterError::TooShort {
                found: 27,
                needed: 27
            })
        ));
        assert!(matches!(
            Decimator::new(0),
            Err(FilterError::Decimation { found: 0 })
        ));
        assert!(Decimator::new(MAX_DECIMATION + 1).is_err());
    }
}
