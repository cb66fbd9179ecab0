//! The XQRS detector: band-pass, matched wavelet, adaptive threshold with back-search.

use std::f64::consts::PI;

use super::local_peaks::local_peaks_into;
use super::{MIN_RATE_HZ, UnsupportedRate};
use crate::filter::{BandPass, Coefficients, FirWork, ZeroPhase, fir_zero_phase_into};

/// Threshold on the raw signal that the defaults are derived from, in millivolts.
const INITIAL_THRESHOLD_MV: f64 = 0.13;
/// Width of every Ricker wavelet in samples, whatever the rate.
const WAVELET_WIDTH_SAMPLES: f64 = 4.0;
/// Beats the learning phase wants to see.
const BEATS_TO_LEARN: usize = 8;
const BAND: BandPass = BandPass {
    order: 2,
    low_hz: 5.0,
    high_hz: 20.0,
};

/// The detector for one sampling rate: filters, derived constants and scratch that is reused.
#[derive(Clone, Debug)]
pub struct Xqrs {
    constants: Constants,
    band_pass: ZeroPhase,
    wavelet: Vec<f64>,
    template: Vec<f64>,
    work: Work,
}

/// What follows from the sampling rate alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constants {
    /// Sampling rate in hertz.
    pub rate_hz: f64,
    /// Width of a QRS complex in samples.
    pub width_samples: usize,
    /// Half of that: the radius within which there is one peak.
    pub radius_samples: usize,
    /// Samples after a beat in which there is no other.
    pub refractory_samples: usize,
    /// Assumed interval between beats in samples, at 75 beats per minute.
    pub rr_init: f64,
    /// Longest interval that is learned from, at 25 beats per minute.
    pub rr_max: f64,
    /// Shortest interval of the learning phase, at 200 beats per minute.
    pub rr_min: f64,
    /// Gain of the band-pass as the detector counts it: twice the magnitude at the centre of the band.
    pub band_pass_gain: f64,
    /// Gain of the wavelet filter, counted likewise.
    pub wavelet_gain: f64,
}

/// Everything the detector saw in one signal.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// R-peaks, increasing.
    pub r_peaks: Vec<usize>,
    /// Those among them that the back-search found.
    pub back_search: Vec<usize>,
    /// Local peaks of `integrated`, the candidates.
    pub local_peaks: Vec<usize>,
    /// Band-passed signal.
    pub filtered: Vec<f64>,
    /// Squared response to the wavelet.
    pub integrated: Vec<f64>,
    /// Running values before the first candidate.
    pub initial: Running,
    /// Running values after the last.
    pub last: Running,
    /// Whether the learning phase found its beats; the defaults are used otherwise.
    pub learned: bool,
}

/// What the detector adapts from beat to beat.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Running {
    /// Amplitude of QRS complexes in the integrated signal.
    pub qrs_amplitude: f64,
    /// Amplitude of other peaks in it.
    pub noise_amplitude: f64,
    /// Threshold on it.
    pub threshold: f64,
    /// Interval between beats in samples.
    pub rr: f64,
    /// Position of the last beat in samples; negative before the first.
    pub last_qrs: f64,
}

#[derive(Clone, Debug, Default)]
struct Work {
    extended: Vec<f64>,
    fir: FirWork,
    filtered: Vec<f64>,
    integrated: Vec<f64>,
    filtered_peaks: Vec<usize>,
    peaks: Vec<usize>,
    back_search: Vec<usize>,
}

struct Outcome {
    r_peaks: Vec<usize>,
    initial: Running,
    last: Running,
    learned: bool,
}

impl Xqrs {
    /// A detector for signals of this rate.
    ///
    /// # Errors
    /// [`UnsupportedRate`] at or below [`MIN_RATE_HZ`], above 1 MHz, or not a number.
    pub fn new(rate_hz: f64) -> Result<Self, UnsupportedRate> {
        let unsupported = UnsupportedRate {
            rate_hz,
            lowest_hz: MIN_RATE_HZ,
        };
        if !(rate_hz > MIN_RATE_HZ && rate_hz <= 1e6) {
            return Err(unsupported);
        }
        let band_pass = Coefficients::butterworth(BAND, rate_hz).map_err(|_| unsupported)?;
        let width_samples = (0.1 * rate_hz) as usize;
        let radius_samples = (0.05 * rate_hz) as usize;
        let wavelet = ricker(width_samples);
        let gain = |filter: &Coefficients| {
            // First of 512 frequencies from 0 to half the rate that is not below the centre of the band.
            let centre = PI * (BAND.low_hz + BAND.high_hz) / rate_hz;
            let at = (0..512)
                .map(|k| PI * f64::from(k) / 512.0)
                .find(|angle| *angle >= centre);
            2.0 * filter.gain(at.unwrap_or(0.0))
        };
        Ok(Xqrs {
            constants: Constants {
                rate_hz,
                width_samples,
                radius_samples,
                refractory_samples: (0.2 * rate_hz) as usize,
                rr_init: 60.0 * rate_hz / 75.0,
                rr_max: 60.0 * rate_hz / 25.0,
                rr_min: 60.0 * rate_hz / 200.0,
                band_pass_gain: gain(&band_pass),
                wavelet_gain: gain(&Coefficients::fir(wavelet.clone())),
            },
            band_pass: ZeroPhase::butterworth(BAND, rate_hz).map_err(|_| unsupported)?,
            template: ricker(2 * radius_samples),
            wavelet,
            work: Work::default(),
        })
    }

    /// What the detector derived from its sampling rate.
    pub fn constants(&self) -> &Constants {
        &self.constants
    }

    /// R-peaks of one lead in millivolts: increasing sample indices.
    ///
    /// Empty for a constant signal, one too short to filter (three times a tenth of a second), or one
    /// that is not finite throughout.
    pub fn detect(&mut self, signal_mv: &[f64]) -> Vec<usize> {
        self.run(signal_mv)
            .map_or_else(Vec::new, |outcome| outcome.r_peaks)
    }

    /// [`detect`](Self::detect) with everything the detector saw; `None` where it does not start
    /// (a constant, short or not finite signal).
    pub fn analyse(&mut self, signal_mv: &[f64]) -> Option<Analysis> {
        let Outcome {
            r_peaks,
            initial,
            last,
            learned,
        } = self.run(signal_mv)?;
        Some(Analysis {
            r_peaks,
            back_search: self.work.back_search.clone(),
            local_peaks: self.work.peaks.clone(),
            filtered: self.work.filtered.clone(),
            integrated: self.work.integrated.clone(),
            initial,
            last,
            learned,
        })
    }

    fn run(&mut self, signal: &[f64]) -> Option<Outcome> {
        let first = signal.first()?;
        let constant = signal.iter().all(|value| value == first);
        // A filter spreads one NaN over the whole signal, in which the reference then finds nothing.
        if constant || signal.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let mut work = std::mem::take(&mut self.work);
        let outcome = self.run_in(signal, &mut work);
        self.work = work;
        outcome
    }

    fn run_in(&self, signal: &[f64], work: &mut Work) -> Option<Outcome> {
        let Work {
            extended,
            fir,
            filtered,
            integrated,
            filtered_peaks,
            peaks,
            back_search,
        } = work;
        // Both fail on short signals only.
        self.band_pass
            .apply_one_into(signal, extended, filtered)
            .ok()?;
        fir_zero_phase_into(&self.wavelet, filtered, fir, integrated).ok()?;
        integrated.iter_mut().for_each(|value| *value *= *value);
        local_peaks_into(integrated, self.constants.radius_samples, peaks);

        local_peaks_into(filtered, self.constants.radius_samples, filtered_peaks);
        let learned = self.learn(filtered, integrated, filtered_peaks);
        let initial = learned.unwrap_or_else(|| self.defaults());
        back_search.clear();
        let mut search = Search {
            detector: self,
            integrated,
            running: initial,
            previous: None,
            r_peaks: Vec::with_capacity(peaks.len() / 2),
            back_search,
        };
        search.run(peaks);
        Some(Outcome {
            last: search.running,
            r_peaks: search.r_peaks,
            initial,
            learned: learned.is_some(),
        })
    }

    /// Step 6: the first beats that look like the wavelet set the amplitudes and the beat interval.
    fn learn(&self, filtered: &[f64], integrated: &[f64], peaks: &[usize]) -> Option<Running> {
        let first = peaks
            .iter()
            .position(|i| *i > self.constants.width_samples)?;
        let end = filtered.len() - self.constants.width_samples;
        let last = peaks.iter().rposition(|i| *i <= end)?;

        let mut beats = Vec::with_capacity(BEATS_TO_LEARN);
        let mut noise = Vec::new();
        let mut last_beat = -self.constants.rr_max;
        for &i in peaks.get(first..last).unwrap_or_default() {
            let segment =
                &filtered[i - self.constants.radius_samples..i + self.constants.radius_samples];
            let norm = segment.iter().map(|u| u * u).sum::<f64>().sqrt();
            let likeness: f64 = segment
                .iter()
                .zip(&self.template)
                .map(|(u, t)| u / norm * t)
                .sum();
            if likeness > 0.6 && i as f64 - last_beat > self.constants.rr_min {
                last_beat = i as f64;
                beats.push(i);
                if beats.len() == BEATS_TO_LEARN {
                    break;
                }
            } else {
                noise.push(integrated[i]);
            }
        }
        if beats.len() < BEATS_TO_LEARN {
            return None;
        }
        let amplitudes: Vec<f64> = beats.iter().map(|i| integrated[*i]).collect();
        let intervals: Vec<f64> = beats
            .windows(2)
            .map(|pair| (pair[1] - pair[0]) as f64)
            .filter(|d| *d < self.constants.rr_max)
            .collect();
        let qrs_amplitude = mean(&amplitudes)?;
        let noise_amplitude = mean(&noise).unwrap_or(qrs_amplitude / 10.0);
        Some(Running {
            qrs_amplitude,
            noise_amplitude,
            threshold: threshold(qrs_amplitude, noise_amplitude),
            rr: mean(&intervals).unwrap_or(self.constants.rr_init),
            last_qrs: (beats[0] as f64 - self.constants.rr_min - 1.0).min(0.0),
        })
    }

    /// Step 7: what an unlearned detector assumes.
    fn defaults(&self) -> Running {
        let transform_gain = self.constants.band_pass_gain * self.constants.wavelet_gain;
        let qrs_amplitude = 27.0 / 40.0 * INITIAL_THRESHOLD_MV * transform_gain;
        let noise_amplitude = qrs_amplitude / 10.0;
        Running {
            qrs_amplitude,
            noise_amplitude,
            threshold: threshold(qrs_amplitude, noise_amplitude),
            rr: self.constants.rr_init,
            last_qrs: 0.0,
        }
    }
}

/// Step 9: the walk over the candidates.
struct Search<'a> {
    detector: &'a Xqrs,
    integrated: &'a [f64],
    running: Running,
    /// Candidate at which the last beat was accepted.
    previous: Option<usize>,
    r_peaks: Vec<usize>,
    back_search: &'a mut Vec<usize>,
}

impl Search<'_> {
    fn run(&mut self, peaks: &[usize]) {
        for (k, &i) in peaks.iter().enumerate() {
            if self.is_qrs(i, 1.0) {
                self.accept(i, k, 0.125);
            } else {
                let running = &mut self.running;
                running.noise_amplitude =
                    0.875 * running.noise_amplitude + 0.125 * self.integrated[i];
            }
            let Some(next) = peaks.get(k + 1) else { break };
            let gap = *next as f64 - self.running.last_qrs;
            if let Some(previous) = self.previous
                && gap > 1.66 * self.running.rr
            {
                for &missed in &peaks[previous + 1..=k] {
                    if self.is_qrs(missed, 0.5) {
                        self.accept(missed, k, 0.25);
                        self.back_search.push(missed);
                    }
                }
            }
        }
    }

    fn is_qrs(&self, i: usize, factor: f64) -> bool {
        i as f64 - self.running.last_qrs > self.detector.constants.refractory_samples as f64
            && self.integrated[i] > factor * self.running.threshold
    }

    fn accept(&mut self, i: usize, candidate: usize, weight: f64) {
        let running = &mut self.running;
        let interval = i as f64 - running.last_qrs;
        if interval < self.detector.constants.rr_max {
            running.rr = 0.875 * running.rr + 0.125 * interval;
        }
        running.last_qrs = i as f64;
        running.qrs_amplitude =
            (1.0 - weight) * running.qrs_amplitude + weight * self.integrated[i];
        running.threshold = threshold(running.qrs_amplitude, running.noise_amplitude);
        self.r_peaks.push(i);
        self.previous = Some(candidate);
    }
}

fn threshold(qrs_amplitude: f64, noise_amplitude: f64) -> f64 {
    (0.25 * qrs_amplitude + 0.75 * noise_amplitude).max(0.0)
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Ricker wavelet ("Mexican hat") of `points` samples, not normalised to its length.
fn ricker(points: usize) -> Vec<f64> {
    let a = WAVELET_WIDTH_SAMPLES;
    let amplitude = 2.0 / ((3.0 * a).sqrt() * PI.powf(0.25));
    (0..points)
        .map(|k| {
            let t = k as f64 - (points as f64 - 1.0) / 2.0;
            let square = t * t / (a * a);
            amplitude * (1.0 - square) * (-square / 2.0).exp()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_check_values() {
        let detector = Xqrs::new(100.0).unwrap();
        let half = [
            -0.06117780276951621,
            0.06931222384691339,
            0.2173769027528415,
            0.3473747835840055,
            0.42356450062648654,
        ];
        for (k, expected) in half.iter().enumerate() {
            assert!((detector.wavelet[k] - expected).abs() < 1e-15);
            assert!((detector.wavelet[9 - k] - expected).abs() < 1e-15);
        }
        assert!((detector.constants().band_pass_gain - 1.9966861372918783).abs() < 1e-12);
        assert!((detector.constants().wavelet_gain - 1.7342215316863883).abs() < 1e-12);
        // As in WFDB's XQRS.
        for (rate, w, r, reference) in [
            (125.0, 12, 6, 25),
            (360.0, 36, 18, 72),
            (1000.0, 100, 50, 200),
        ] {
            let d = *Xqrs::new(rate).unwrap().constants();
            assert_eq!(
                (d.width_samples, d.radius_samples, d.refractory_samples),
                (w, r, reference)
            );
        }
    }

    #[test]
    fn rates_without_the_band_are_refused() {
        for rate in [0.0, -1.0, 40.0, f64::NAN, f64::INFINITY] {
            assert!(Xqrs::new(rate).is_err(), "{rate}");
        }
        assert!(Xqrs::new(40.5).is_ok());
    }

    #[test]
    fn unusable_signals_have_no_peaks() {
        let mut detector = Xqrs::new(100.0).unwrap();
        assert!(detector.detect(&[]).is_empty());
        assert!(detector.detect(&[1.0; 1000]).is_empty());
        let mut ramp: Vec<f64> = (0..30).map(f64::from).collect();
        assert!(detector.analyse(&ramp).is_none());
        ramp.extend((0..500).map(f64::from));
        assert!(detector.analyse(&ramp).is_some());
        ramp[77] = f64::NAN;
        assert!(detector.analyse(&ramp).is_none());
    }
}
