//! Representations that do not depend on sampling rate, unit, filter and length: slow leads to compare, and a sketch of
//! 256 bits to find candidates.

use std::f32::consts::PI;

use purkinje_record::Lead;

use crate::store::Row;

/// Leads that a sketch is computed from, as far as all stores have them: three directions of the heart.
pub(super) const SKETCH_LEADS: [Lead; 4] = [Lead::II, Lead::V2, Lead::V5, Lead::I];

/// How many of them.
const MAX_SKETCH_LEADS: usize = 3;

/// Sampling rate in hertz of slow leads, which hold the band from about 1 to 15 Hz that every usual filter passes.
pub(super) const SLOW_HZ: f64 = 100.0;

/// Samples of a slow lead that a sketch covers: 4.8 s, less than the shortest window of the presets.
const SKETCH_SAMPLES: usize = 480;

/// Step between the samples of a sketch.
const SKETCH_STEP: usize = 4;

/// Half the length of the moving average that is subtracted, in samples: 0.6 s in total.
const DRIFT_HALF: usize = 30;

/// Half the length of the triangular smoothing kernel, in samples: its gain is 0.5 at about 14 Hz.
const SMOOTH_HALF: usize = 4;

/// Range of samples of a slow lead in which the first beat is searched.
const MIN_ANCHOR: usize = 30;
const MAX_ANCHOR: usize = 250;

/// How far a beat may be from its R-peak, in samples.
const NEAR_PEAK: usize = 8;

/// 64-bit words of a sketch.
pub(super) const WORDS: usize = 4;

/// Samples at both ends of a recording that are not compared: after Fourier resampling, the step from its end to its
/// beginning causes ringing there. The rest of five seconds is as long as a sketch.
pub(super) const EDGE: usize = 20;

/// Bands of 16 bits.
pub(super) const BANDS: usize = WORDS * 4;

/// Signs of 256 random projections.
pub(super) type Sketch = [u64; WORDS];

/// A lead at [`SLOW_HZ`], without drift and noise: the first `most` samples, at that rate, of a stored lead.
pub(super) fn slow_lead(signal: &[i16], rate_hz: f64, most: usize) -> Vec<f32> {
    let slow = smooth(&resample(signal, rate_hz, most));
    without_drift(&slow)
}

/// The mean of the signal around every new sample, over one new period (or one old one, if that is longer). Old samples
/// are weighted by the fraction of their period inside, so that the result is not shifted.
fn resample(signal: &[i16], rate_hz: f64, most: usize) -> Vec<f32> {
    let per_new = rate_hz / SLOW_HZ;
    let half = per_new.max(1.0) / 2.0;
    let last = signal.len().saturating_sub(1) as f64;
    let samples = ((signal.len() as f64 / per_new) as usize).min(most);
    if per_new == 1.0 {
        return signal[..samples]
            .iter()
            .map(|&unit| f32::from(unit))
            .collect();
    }
    let mut slow = Vec::with_capacity(samples);
    for index in 0..samples {
        let centre = index as f64 * per_new;
        // In units of old samples; sample n covers n - 0.5 to n + 0.5.
        let (from, to) = (centre - half, centre + half);
        // Both are positive where they matter, so that the conversion rounds down.
        let first = (from + 0.5).clamp(0.0, last) as usize;
        let end = (to + 0.5).clamp(0.0, last) as usize;
        let (mut sum, mut weight) = (0.0, 0.0);
        for (offset, &unit) in signal[first..=end].iter().enumerate() {
            let at = (first + offset) as f64;
            let inside = (at + 0.5).min(to) - (at - 0.5).max(from);
            if inside > 0.0 {
                sum += inside * f64::from(unit);
                weight += inside;
            }
        }
        slow.push(if weight > 0.0 {
            (sum / weight) as f32
        } else {
            0.0
        });
    }
    slow
}

/// Smooths with triangular weights, truncated at the ends.
fn smooth(samples: &[f32]) -> Vec<f32> {
    let reach = SMOOTH_HALF as isize - 1;
    (0..samples.len() as isize)
        .map(|centre| {
            let (mut sum, mut weights) = (0.0, 0.0);
            for offset in -reach..=reach {
                let Some(&sample) = usize::try_from(centre + offset)
                    .ok()
                    .and_then(|at| samples.get(at))
                else {
                    continue;
                };
                let weight = (SMOOTH_HALF as isize - offset.abs()) as f32;
                sum += weight * sample;
                weights += weight;
            }
            sum / weights
        })
        .collect()
}

fn without_drift(samples: &[f32]) -> Vec<f32> {
    let mut sums = Vec::with_capacity(samples.len() + 1);
    let mut sum = 0.0f64;
    sums.push(sum);
    for &sample in samples {
        sum += f64::from(sample);
        sums.push(sum);
    }
    samples
        .iter()
        .enumerate()
        .map(|(centre, &sample)| {
            let from = centre.saturating_sub(DRIFT_HALF);
            let to = (centre + DRIFT_HALF + 1).min(samples.len());
            sample - ((sums[to] - sums[from]) / (to - from) as f64) as f32
        })
        .collect()
}

/// The leads, of those common to all stores, that a sketch is computed from.
pub(super) fn sketch_leads(common: &[Lead]) -> Vec<Lead> {
    let mut leads: Vec<Lead> = SKETCH_LEADS
        .into_iter()
        .filter(|lead| common.contains(lead))
        .take(MAX_SKETCH_LEADS)
        .collect();
    // Other leads, if there are too few of these.
    let others = common.iter().filter(|lead| !SKETCH_LEADS.contains(lead));
    leads.extend(others.take(MAX_SKETCH_LEADS - leads.len()).cloned());
    leads
}

/// The projections of a sketch: one sign for each of its samples.
pub(super) struct Projections {
    /// `[bit, sample]`.
    signs: Vec<f32>,
    leads: usize,
}

impl Projections {
    pub(super) fn new(leads: usize) -> Self {
        let values = leads * (SKETCH_SAMPLES / SKETCH_STEP);
        // A fixed stream of bits: the same sketches in every run.
        let mut stream = blake3::Hasher::new()
            .update(b"purkinje sketch 1")
            .finalize_xof();
        let mut bytes = vec![0; WORDS * 64 * values / 8 + 1];
        stream.fill(&mut bytes);
        let signs = (0..WORDS * 64 * values)
            .map(|bit| {
                if bytes[bit / 8] >> (bit % 8) & 1 == 0 {
                    1.0
                } else {
                    -1.0
                }
            })
            .collect();
        Projections { signs, leads }
    }

    /// The sketches of a recording, whose sketch leads are at `rows`: of its beginning, and from its first beat on. `None`
    /// if it is too short or one of the leads does not vary.
    pub(super) fn sketches(
        &self,
        row: Row<'_>,
        rows: &[usize],
        rate_hz: f64,
    ) -> [Option<Sketched>; 2] {
        debug_assert_eq!(rows.len(), self.leads);
        let samples = row.samples();
        // Long enough for the latest first beat and the filters.
        let most = MAX_ANCHOR + SKETCH_SAMPLES + DRIFT_HALF + SMOOTH_HALF;
        let slow: Vec<Vec<f32>> = rows
            .iter()
            .map(|&lead| slow_lead(&row.signal()[lead * samples..][..samples], rate_hz, most))
            .collect();
        let beat = first_beat(row, &slow, rate_hz);
        [Some(EDGE), beat].map(|anchor| self.sketch_from(&slow, anchor?))
    }

    fn sketch_from(&self, slow: &[Vec<f32>], anchor: usize) -> Option<Sketched> {
        let mut values = Vec::with_capacity(self.leads * (SKETCH_SAMPLES / SKETCH_STEP));
        for lead in slow {
            let start = values.len();
            let piece = lead.get(anchor..anchor + SKETCH_SAMPLES)?;
            values.extend(piece.iter().step_by(SKETCH_STEP).copied());
            unit(&mut values[start..])?;
        }
        let mut sketch = [0; WORDS];
        for (bit, signs) in self.signs.chunks_exact(values.len()).enumerate() {
            if dot(signs, &values) > 0.0 {
                sketch[bit / 64] |= 1 << (bit % 64);
            }
        }
        Some(Sketched { anchor, sketch })
    }
}

/// A sketch with its start.
pub(super) struct Sketched {
    /// In samples at the slow rate.
    pub(super) anchor: usize,
    pub(super) sketch: Sketch,
}

/// The sample of largest energy of the slow leads near the first R-peak that is not at the very beginning; the R-peak
/// itself is detected at slightly different times at every sampling rate.
fn first_beat(row: Row<'_>, slow: &[Vec<f32>], rate_hz: f64) -> Option<usize> {
    if !row.beats_detected() {
        return None;
    }
    let mut peaks = row
        .r_peaks()
        .iter()
        .map(|&peak| (f64::from(peak) / rate_hz * SLOW_HZ).round() as usize);
    let peak = peaks.find(|&peak| peak >= MIN_ANCHOR)?;
    let energy = |at: &usize| -> f32 {
        let lead = |lead: &Vec<f32>| lead.get(*at).map_or(0.0, |sample| sample * sample);
        slow.iter().map(lead).sum()
    };
    let anchor =
        (peak - NEAR_PEAK..=peak + NEAR_PEAK).max_by(|a, b| energy(a).total_cmp(&energy(b)))?;
    (anchor <= MAX_ANCHOR).then_some(anchor)
}

/// The 16 bits of a band.
pub(super) fn band(sketch: &Sketch, band: usize) -> u16 {
    (sketch[band / 4] >> (16 * (band % 4))) as u16
}

/// An estimate of the correlation of two recordings, from the number of differing bits.
pub(super) fn likeness(a: &Sketch, b: &Sketch) -> f32 {
    let differing: u32 = a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum();
    (PI * differing as f32 / (WORDS * 64) as f32).cos()
}

/// Scales to mean 0 and length 1; `None` if the values do not vary.
pub(super) fn unit(values: &mut [f32]) -> Option<()> {
    let mean = values.iter().sum::<f32>() / values.len() as f32;
    values.iter_mut().for_each(|value| *value -= mean);
    let length = dot(values, values).sqrt();
    if length.is_nan() || length <= f32::EPSILON {
        return None;
    }
    values.iter_mut().for_each(|value| *value /= length);
    Some(())
}

/// The inner product, written so that it vectorises.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0f32; LANES];
    let (a_blocks, b_blocks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_blocks
        .remainder()
        .iter()
        .zip(b_blocks.remainder())
        .map(|(a, b)| a * b)
        .sum();
    for (a, b) in a_blocks.zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_leads_do_not_depend_on_the_rate() {
        let at = |rate: f64| -> Vec<i16> {
            (0..(rate * 5.0) as usize)
                .map(|n| {
                    let t = n as f64 / rate;
                    let beat = (t % 0.8) - 0.3;
                    (1000.0 * (-beat * beat / 0.002).exp() + 300.0 * (0.3 * t).sin()) as i16
                })
                .collect()
        };
        let mut reference = slow_lead(&at(500.0), 500.0, 400);
        unit(&mut reference).unwrap();
        for rate in [100.0, 240.0, 257.0, 400.0, 1000.0] {
            let mut other = slow_lead(&at(rate), rate, 400);
            unit(&mut other).unwrap();
            let similarity = dot(&reference, &other);
            assert!(similarity > 0.998, "{rate} Hz: {similarity}");
        }
        assert!(slow_lead(&[], 500.0, 400).is_empty());
    }

    #[test]
    fn likeness_is_about_the_correlation() {
        assert_eq!(likeness(&[7; WORDS], &[7; WORDS]), 1.0);
        assert!(likeness(&[0; WORDS], &[0xffff_ffff; WORDS]).abs() < 1e-6);
        assert_eq!(band(&[0, 0x1234_5678, 0, 0], 4), 0x5678);
        assert_eq!(band(&[0, 0x1234_5678, 0, 0], 5), 0x1234);
    }
}
