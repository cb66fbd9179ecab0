//! Mel-frequency cepstral coefficients of a piece as a single frame, as in Kaldi, and their differences.

use std::f64::consts::PI;
use std::fmt;
use std::sync::Arc;

use realfft::{RealFftPlanner, RealToComplex};
use rustfft::num_complex::Complex64;

use super::{AnalysisRate, Band, CepstralConstants};

/// Triangular filters.
pub const FILTERS: usize = 23;
/// Cepstra.
pub const COEFFICIENTS: usize = 13;
/// Cepstra with first and second differences.
pub const CEPSTRA: usize = 3 * COEFFICIENTS;

/// Pre-emphasis: factor of the previous sample that is subtracted.
const PRE_EMPHASIS: f64 = 0.97;
/// Exponent of the Povey window over a Hann window.
const WINDOW_POWER: f64 = 0.85;
/// Smallest output of a filter: the precision of single precision at 1.
const FLOOR: f64 = f32::EPSILON as f64;
/// Parameter of the lifter.
const LIFTER: f64 = 22.0;
/// Tokens on either side that a difference uses.
const REACH: usize = 2;

/// Band of an ECG after decimation, in hertz: its upper end is at most [`EDGE`] of half the rate.
const SIGNAL_HZ: (f64, f64) = (0.5, 40.0);
const EDGE: f64 = 0.8;
/// Lower end of the band for speech.
const SPEECH_LOW_HZ: f64 = 20.0;

/// Describes pieces of one rate.
#[derive(Clone)]
pub(super) struct Cepstra {
    window: Vec<f64>,
    filters: Vec<f64>,
    /// First and last bin with weight, for each filter.
    reach: Vec<(usize, usize)>,
    transform: Vec<f64>,
    lifter: Vec<f64>,
    fft: Arc<dyn RealToComplex<f64>>,
    frame: Vec<f64>,
    spectrum: Vec<Complex64>,
    scratch: Vec<Complex64>,
    power: Vec<f64>,
}

impl Cepstra {
    pub(super) fn new(rate: AnalysisRate, band: Band) -> Self {
        let len = rate.piece_samples();
        let padded = len.next_power_of_two();
        let bins = padded / 2;
        let rate_hz = f64::from(rate.hz());
        let filters = match band {
            Band::Signal => {
                let high_hz = SIGNAL_HZ.1.min(EDGE * rate_hz / 2.0);
                bank(SIGNAL_HZ.0, high_hz, rate_hz / padded as f64, bins)
            }
            Band::Speech => {
                bank_single(SPEECH_LOW_HZ, rate_hz / 2.0, rate_hz / padded as f64, bins)
            }
        };
        let single = |value: f64| match band {
            Band::Signal => value,
            Band::Speech => f64::from(value as f32),
        };
        let reach = filters
            .chunks_exact(bins)
            .map(|filter| {
                let first = filter.iter().position(|w| *w != 0.0).unwrap_or(0);
                let end = filter.iter().rposition(|w| *w != 0.0).map_or(0, |k| k + 1);
                (first.min(end), end)
            })
            .collect();
        let fft = RealFftPlanner::new().plan_fft_forward(padded);
        Cepstra {
            window: povey(len),
            filters,
            reach,
            transform: cosines().into_iter().map(single).collect(),
            lifter: (0..COEFFICIENTS)
                .map(|i| single(1.0 + LIFTER / 2.0 * (PI * i as f64 / LIFTER).sin()))
                .collect(),
            frame: fft.make_input_vec(),
            spectrum: fft.make_output_vec(),
            scratch: fft.make_scratch_vec(),
            power: vec![0.0; bins],
            fft,
        }
    }

    /// Writes the thirteen into `row`; `piece` has the length of the rate.
    pub(super) fn write_row(&mut self, piece: &[f64], row: &mut [f32]) {
        let mean = piece.iter().sum::<f64>() / piece.len() as f64;
        self.frame.fill(0.0);
        // The first sample is used as its own predecessor.
        let mut last = piece.first().map_or(0.0, |x| x - mean);
        for ((place, x), w) in self.frame.iter_mut().zip(piece).zip(&self.window) {
            let x = x - mean;
            *place = (x - PRE_EMPHASIS * last) * w;
            last = x;
        }
        // The buffers come from the plan itself, so their lengths fit and the transform cannot fail.
        let transformed =
            self.fft
                .process_with_scratch(&mut self.frame, &mut self.spectrum, &mut self.scratch);
        debug_assert!(transformed.is_ok());
        for (power, bin) in self.power.iter_mut().zip(&self.spectrum) {
            *power = bin.norm_sqr();
        }
        let mut out = [0.0; COEFFICIENTS];
        let bins = self.power.len();
        for ((filter, &(first, end)), cosines) in self
            .filters
            .chunks_exact(bins)
            .zip(&self.reach)
            .zip(self.transform.chunks_exact(COEFFICIENTS))
        {
            let energy: f64 = filter[first..end]
                .iter()
                .zip(&self.power[first..end])
                .map(|(w, p)| w * p)
                .sum();
            let log = energy.max(FLOOR).ln();
            for (sum, cosine) in out.iter_mut().zip(cosines) {
                *sum += log * cosine;
            }
        }
        for ((place, value), lifter) in row.iter_mut().zip(out).zip(&self.lifter) {
            *place = (value * lifter) as f32;
        }
    }

    pub(super) fn constants(&self) -> CepstralConstants<'_> {
        CepstralConstants {
            filters: &self.filters,
            window: &self.window,
            transform: &self.transform,
            lifter: &self.lifter,
        }
    }
}

/// Fills columns 13 to 38 of a table `[token, 39]` with the first and second differences of columns 0 to 12 over
/// neighbouring tokens: sum of k (x[t + k] - x[t - k]) over k = 1, 2, divided by 10; the ends are repeated.
pub(super) fn append_differences(table: &mut [f32]) {
    let tokens = table.len() / CEPSTRA;
    for order in 1..=2 {
        let (from, to) = ((order - 1) * COEFFICIENTS, order * COEFFICIENTS);
        for t in 0..tokens {
            for c in 0..COEFFICIENTS {
                let at = |token: usize| f64::from(table[token * CEPSTRA + from + c]);
                let sum: f64 = (1..=REACH)
                    .map(|k| {
                        let (after, before) = ((t + k).min(tokens - 1), t.saturating_sub(k));
                        k as f64 * (at(after) - at(before))
                    })
                    .sum();
                let squares: usize = (1..=REACH).map(|k| k * k).sum();
                table[t * CEPSTRA + to + c] = (sum / (2 * squares) as f64) as f32;
            }
        }
    }
}

fn mel(hz: f64) -> f64 {
    1127.0 * (hz / 700.0).ln_1p()
}

/// Triangles, linear in mel, equally spaced over the band: `[23, bins]`.
fn bank(low_hz: f64, high_hz: f64, bin_hz: f64, bins: usize) -> Vec<f64> {
    let (low, high) = (mel(low_hz), mel(high_hz));
    let step = (high - low) / (FILTERS + 1) as f64;
    (0..FILTERS)
        .flat_map(|filter| {
            let left = low + filter as f64 * step;
            (0..bins).map(move |bin| {
                let place = (mel(bin_hz * bin as f64) - left) / step;
                place.min(2.0 - place).max(0.0)
            })
        })
        .collect()
}

/// The same with the operations of the reference in single precision, whose rounding near a triangle's foot is larger
/// than a filter's whole weight may be.
fn bank_single(low_hz: f64, high_hz: f64, bin_hz: f64, bins: usize) -> Vec<f64> {
    let scalar = |hz: f64| 1127.0 * (1.0 + hz / 700.0).ln();
    let low = scalar(low_hz);
    let step = (scalar(high_hz) - low) / (FILTERS + 1) as f64;
    let (low, step) = (low as f32, step as f32);
    let mels: Vec<f32> = (0..bins)
        .map(|bin| 1127.0 * (1.0 + bin_hz as f32 * bin as f32 / 700.0).ln())
        .collect();
    (0..FILTERS)
        .flat_map(|filter| {
            let at = |k: f32| low + (filter as f32 + k) * step;
            let (left, center, right) = (at(0.0), at(1.0), at(2.0));
            mels.iter().map(move |mel| {
                let up = (mel - left) / (center - left);
                let down = (right - mel) / (right - center);
                f64::from(up.min(down).max(0.0))
            })
        })
        .collect()
}

fn povey(len: usize) -> Vec<f64> {
    (0..len)
        .map(|k| {
            let hann = 0.5 - 0.5 * (2.0 * PI * k as f64 / (len - 1) as f64).cos();
            hann.max(0.0).powf(WINDOW_POWER)
        })
        .collect()
}

/// Orthonormal cosine transform of the second type, `[23, 13]`.
fn cosines() -> Vec<f64> {
    let n = FILTERS as f64;
    (0..FILTERS)
        .flat_map(|filter| {
            (0..COEFFICIENTS).map(move |k| match k {
                0 => (1.0 / n).sqrt(),
                k => (2.0 / n).sqrt() * (PI / n * (filter as f64 + 0.5) * k as f64).cos(),
            })
        })
        .collect()
}

impl fmt::Debug for Cepstra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cepstra")
            .field("samples", &self.window.len())
            .finish_non_exhaustive()
    }
}
