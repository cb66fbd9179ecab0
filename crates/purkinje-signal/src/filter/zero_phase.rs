//! Forward-backward filtering with odd extension.

use super::{BandPass, Coefficients, FilterError, MAX_ORDER};
use crate::simd::{self, Lanes};

/// A recursive filter applied forwards and backwards, so that it does not shift anything in time.
///
/// The signal is extended oddly by three filter lengths at both ends and the filter starts from its steady state, as
/// SciPy's `filtfilt` does. Several leads are filtered in parallel, one per vector lane; each lane does the arithmetic
/// of the scalar definition in order, so that the result does not depend on the number of leads.
#[derive(Clone, Debug)]
pub struct ZeroPhase {
    kernel: Kernel,
    pad_samples: usize,
}

/// Coefficients in one of the compiled lengths. Trailing zeros do not change any result.
#[derive(Clone, Debug)]
enum Kernel {
    Short(simd::Recursive<5>),
    Medium(simd::Recursive<11>),
    Long(simd::Recursive<LONG>),
}

const LONG: usize = 2 * MAX_ORDER + 1;

impl ZeroPhase {
    /// A zero-phase Butterworth band-pass.
    ///
    /// # Errors
    /// As [`Coefficients::butterworth`].
    pub fn butterworth(band: BandPass, rate_hz: f64) -> Result<Self, FilterError> {
        let Coefficients { b, a } = Coefficients::butterworth(band, rate_hz)?;
        Ok(Self::new(&b, &a))
    }

    /// `b` and `a` have one length, at most [`LONG`], which `butterworth` guarantees.
    fn new(b: &[f64], a: &[f64]) -> Self {
        let zi = steady_state(b, a);
        ZeroPhase {
            pad_samples: 3 * b.len(),
            kernel: if b.len() <= 5 {
                Kernel::Short(simd::Recursive::new(b, a, &zi))
            } else if b.len() <= 11 {
                Kernel::Medium(simd::Recursive::new(b, a, &zi))
            } else {
                Kernel::Long(simd::Recursive::new(b, a, &zi))
            },
        }
    }

    /// Samples of odd extension at either end; a signal must be longer than this.
    pub fn pad_samples(&self) -> usize {
        self.pad_samples
    }

    /// Filters `rows` (`[lead, time]`, row-major) in place.
    ///
    /// # Errors
    /// [`FilterError::Shape`] and [`FilterError::TooShort`].
    pub fn apply(&self, rows: &mut [f64], leads: usize) -> Result<(), FilterError> {
        if leads == 0 || !rows.len().is_multiple_of(leads) {
            return Err(FilterError::Shape {
                samples: rows.len(),
                leads,
            });
        }
        let len = rows.len() / leads;
        self.check_len(len)?;
        let mut extended = Vec::new();
        for group in rows.chunks_mut(Lanes::Eight.count() * len) {
            self.filter_together(group, len, &mut extended);
        }
        Ok(())
    }

    /// Filters one lead into `out`, using `work` as scratch. Both are resized as needed.
    pub(crate) fn apply_one_into(
        &self,
        signal: &[f64],
        work: &mut Vec<f64>,
        out: &mut Vec<f64>,
    ) -> Result<(), FilterError> {
        self.check_len(signal.len())?;
        odd_extension_into(signal, self.pad_samples, work);
        self.run(Lanes::One, work);
        out.clear();
        out.extend_from_slice(&work[self.pad_samples..self.pad_samples + signal.len()]);
        Ok(())
    }

    fn check_len(&self, found: usize) -> Result<(), FilterError> {
        if found <= self.pad_samples {
            return Err(FilterError::TooShort {
                found,
                needed: self.pad_samples,
            });
        }
        Ok(())
    }

    /// Filters up to eight rows of `len` samples in parallel; `len` exceeds the extension.
    fn filter_together(&self, rows: &mut [f64], len: usize, extended: &mut Vec<f64>) {
        let pad = self.pad_samples;
        let lanes = Lanes::for_leads(rows.len() / len);
        let width = lanes.count();
        extended.clear();
        extended.resize(width * (len + 2 * pad), 0.0); // [extended time, lane]
        for (lane, row) in rows.chunks_exact(len).enumerate() {
            let (first, last) = (2.0 * row[0], 2.0 * row[len - 1]);
            let left = row[1..=pad].iter().rev().map(|x| first - x);
            let right = row[len - 1 - pad..len - 1].iter().rev().map(|x| last - x);
            let values = left.chain(row.iter().copied()).chain(right);
            for (place, value) in extended[lane..].iter_mut().step_by(width).zip(values) {
                *place = value;
            }
        }
        self.run(lanes, extended);
        for (lane, row) in rows.chunks_exact_mut(len).enumerate() {
            let places = extended[width * pad + lane..].iter().step_by(width);
            for (value, place) in row.iter_mut().zip(places) {
                *value = *place;
            }
        }
    }

    fn run(&self, lanes: Lanes, extended: &mut [f64]) {
        match &self.kernel {
            Kernel::Short(kernel) => simd::zero_phase(kernel, lanes, extended),
            Kernel::Medium(kernel) => simd::zero_phase(kernel, lanes, extended),
            Kernel::Long(kernel) => simd::zero_phase(kernel, lanes, extended),
        }
    }
}

/// Zero-phase filtering of one lead with a finite impulse response, three filter lengths of odd
/// extension. `taps.len() >= 1`.
///
/// A finite response forgets its start after its own length, which is less than the extension, so
/// neither the start state nor the outer two thirds of the extension reach the result.
pub(crate) fn fir_zero_phase_into(
    taps: &[f64],
    signal: &[f64],
    work: &mut FirWork,
    out: &mut Vec<f64>,
) -> Result<(), FilterError> {
    let (found, needed) = (signal.len(), 3 * taps.len());
    if found <= needed {
        return Err(FilterError::TooShort { found, needed });
    }
    work.reversed.clear();
    work.reversed.extend(taps.iter().rev());
    odd_extension_into(signal, taps.len() - 1, &mut work.extended);
    work.forward.resize(found + taps.len() - 1, 0.0);
    simd::correlate(&work.extended, &work.reversed, &mut work.forward);
    out.resize(found, 0.0);
    simd::correlate(&work.forward, taps, out);
    Ok(())
}

/// Scratch of [`fir_zero_phase_into`].
#[derive(Clone, Debug, Default)]
pub(crate) struct FirWork {
    extended: Vec<f64>,
    forward: Vec<f64>,
    reversed: Vec<f64>,
}

/// The signal with `pad` samples of odd extension at either end; it must be longer than `pad`.
pub(super) fn odd_extension_into(signal: &[f64], pad: usize, out: &mut Vec<f64>) {
    let len = signal.len();
    let (first, last) = (2.0 * signal[0], 2.0 * signal[len - 1]);
    out.clear();
    out.reserve(len + 2 * pad);
    out.extend(signal[1..=pad].iter().rev().map(|x| first - x));
    out.extend_from_slice(signal);
    out.extend(
        signal[len - 1 - pad..len - 1]
            .iter()
            .rev()
            .map(|x| last - x),
    );
}

/// State of the transposed direct form II after an endless step of height 1.
fn steady_state(b: &[f64], a: &[f64]) -> Vec<f64> {
    let excess: Vec<f64> = (1..b.len()).map(|k| b[k] - a[k] * b[0]).collect();
    let mut zi = vec![0.0; b.len() - 1];
    zi[0] = excess.iter().sum::<f64>() / a.iter().sum::<f64>();
    let (mut a_sum, mut excess_sum) = (1.0, 0.0);
    for k in 1..zi.len() {
        a_sum += a[k];
        excess_sum += excess[k - 1];
        zi[k] = a_sum * zi[0] - excess_sum;
    }
    zi
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `filtfilt` as SciPy documents it, one sample at a time.
    fn by_the_book(b: &[f64], a: &[f64], x: &[f64]) -> Vec<f64> {
        let m = b.len().max(a.len());
        let pad = 3 * m;
        let full = |c: &[f64]| (0..m).map(|k| c.get(k).copied().unwrap_or(0.0)).collect();
        let (b, a): (Vec<f64>, Vec<f64>) = (full(b), full(a));
        let zi = steady_state(&b, &a);
        let pass = |e: &[f64]| {
            let mut z: Vec<f64> = zi.iter().map(|s| s * e[0]).collect();
            e.iter()
                .map(|x| {
                    let y = z[0] + b[0] * x;
                    for k in 0..m - 1 {
                        let next = if k + 2 < m { z[k + 1] } else { 0.0 };
                        z[k] = next + x * b[k + 1] - y * a[k + 1];
                    }
                    y
                })
                .collect::<Vec<f64>>()
        };
        let mut extended = Vec::new();
        odd_extension_into(x, pad, &mut extended);
        let mut once = pass(&extended);
        once.reverse();
        let mut twice = pass(&once);
        twice.reverse();
        twice[pad..pad + x.len()].to_vec()
    }

    fn noise(n: usize, seed: u64) -> Vec<f64> {
        let mut state = seed;
        (0..n)
            .map(|_| {
                state = state
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
            })
            .collect()
    }

    #[test]
    fn lanes_equal_the_scalar_definition_bit_for_bit() {
        for order in 1..=MAX_ORDER {
            let band = BandPass {
                order,
                low_hz: 5.0,
                high_hz: 20.0,
            };
            let c = Coefficients::butterworth(band, 100.0).unwrap();
            let filter = ZeroPhase::butterworth(band, 100.0).unwrap();
            for leads in 1..=13 {
                let len = filter.pad_samples() + 1 + 17 * leads;
                let mut rows = noise(leads * len, leads as u64);
                let expected: Vec<f64> = rows
                    .chunks_exact(len)
                    .flat_map(|row| by_the_book(&c.b, &c.a, row))
                    .collect();
                filter.apply(&mut rows, leads).unwrap();
                assert_eq!(rows, expected, "order {order}, {leads} leads");
            }
        }
    }

    #[test]
    fn short_cut_for_finite_responses_equals_the_definition() {
        for taps in 1..20 {
            let h = noise(taps, 7 + taps as u64);
            for len in [3 * taps + 1, 100, 777] {
                let x = noise(len, len as u64);
                let (mut work, mut out) = (FirWork::default(), Vec::new());
                fir_zero_phase_into(&h, &x, &mut work, &mut out).unwrap();
                if taps == 1 {
                    continue; // steady state of a filter without memory is empty
                }
                for (f, e) in out.iter().zip(by_the_book(&h, &[1.0], &x)) {
                    assert!((f - e).abs() < 1e-13);
                }
            }
        }
    }

    #[test]
    fn shortness_is_an_error() {
        let band = BandPass {
            order: 5,
            low_hz: 0.67,
            high_hz: 40.0,
        };
        let filter = ZeroPhase::butterworth(band, 100.0).unwrap();
        assert_eq!(
            filter.apply(&mut [0.0; 66], 2),
            Err(FilterError::TooShort {
                found: 33,
                needed: 33
            })
        );
        assert!(filter.apply(&mut [1.0; 68], 2).is_ok());
        assert!(matches!(
            filter.apply(&mut [0.0; 69], 2),
            Err(FilterError::Shape { .. })
        ));
        assert!(filter.apply(&mut [], 0).is_err());
    }
}
