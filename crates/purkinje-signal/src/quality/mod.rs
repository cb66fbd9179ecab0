//! What is wrong with a recording: missing, flat and clipped leads, swapped limb leads, noise, heart rate.
//!
//! [`measure`] gives the figures that are kept with every stored record, [`assess`] what a person wants to know about one
//! recording.

mod limb;
mod measure;

use purkinje_record::{Lead, LeadSet, Recording};

use crate::r_peaks::{BeatAgreement, annotated_beats, find_beats};

pub use limb::{LimbLeads, augmented_order};
pub use measure::{CLIP_RUN_S, MAX_MEASURED_LEADS, MIN_POWERLINE_RATE_HZ, Measures, measure};

/// Findings about one recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Quality {
    /// One entry for each lead, in the recording's order.
    pub leads: Vec<LeadQuality>,
    /// Root mean square of II - I - III in millivolts over the samples that all three have. Einthoven's
    /// law makes it 0 up to rounding; about the size of the signal itself when leads are swapped or
    /// mislabelled. `None` without these leads.
    pub einthoven_residual_mv: Option<f64>,
    /// Heart rate over the whole recording. `None` with fewer than two beats.
    pub heart_rate: Option<HeartRate>,
    /// The leads the beats were found in.
    pub heart_rate_leads: Vec<Lead>,
    /// The beats that were found beside those that the file brings, within 75 ms; `None` where it brings none.
    pub annotated_beats: Option<BeatAgreement>,
}

/// How fast the heart beats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeartRate {
    /// Beats per minute, from the median interval between R-peaks.
    pub bpm: f64,
    /// Beats per minute over the longest and the shortest interval, where one of them is more than 15 % from the median.
    pub range_bpm: Option<[f64; 2]>,
}

/// A found beat this close to an annotated one is the same.
const SAME_BEAT_S: f64 = 0.075;

/// Intervals further than this from their median make a rhythm irregular; respiration alone stays below.
const IRREGULAR: f64 = 0.15;

/// Findings about one lead.
#[derive(Clone, Debug, PartialEq)]
pub struct LeadQuality {
    /// The lead.
    pub lead: Lead,
    /// Samples without a value (NaN).
    pub missing_samples: usize,
    /// Samples that are infinite.
    pub infinite_samples: usize,
    /// Whether all values are the same (also when there is none).
    pub flat: bool,
    /// Samples in runs of [`CLIP_RUN_SAMPLES`] or more at the lead's smallest or largest value:
    /// the amplifier or the converter reached its end.
    pub clipped_samples: usize,
    /// Smallest value in millivolts; NaN when there is none.
    pub min_mv: f32,
    /// Largest value in millivolts; NaN when there is none.
    pub max_mv: f32,
}

/// Shortest run at an extreme that counts as clipped.
pub const CLIP_RUN_SAMPLES: usize = 5;

/// Looks at a recording. Never fails: what cannot be measured is `None`.
pub fn assess(recording: &Recording) -> Quality {
    let leads: Vec<LeadQuality> = recording
        .leads
        .leads()
        .iter()
        .zip(rows(recording))
        .map(|(lead, row)| assess_lead(lead, row))
        .collect();
    let (r_peaks_s, heart_rate_leads) = find_r_peaks(recording, &leads);
    let annotated = annotated_beats(recording);
    Quality {
        leads,
        einthoven_residual_mv: einthoven_residual_mv(recording),
        heart_rate: HeartRate::of(&r_peaks_s),
        heart_rate_leads,
        annotated_beats: (!annotated.is_empty())
            .then(|| BeatAgreement::of(&annotated, &r_peaks_s, SAME_BEAT_S)),
    }
}

impl HeartRate {
    /// From R-peaks in seconds, increasing; `None` with fewer than two.
    pub fn of(r_peaks_s: &[f64]) -> Option<HeartRate> {
        let mut intervals: Vec<f64> = r_peaks_s.windows(2).map(|pair| pair[1] - pair[0]).collect();
        intervals.sort_unstable_by(f64::total_cmp);
        let upper = *intervals.get(intervals.len() / 2)?;
        let lower = intervals[(intervals.len() - 1) / 2];
        let median = (lower + upper) / 2.0;
        let (shortest, longest) = (intervals[0], intervals[intervals.len() - 1]);
        let irregular =
            shortest < median * (1.0 - IRREGULAR) || longest > median * (1.0 + IRREGULAR);
        (shortest > 0.0).then(|| HeartRate {
            bpm: 60.0 / median,
            range_bpm: irregular.then_some([60.0 / longest, 60.0 / shortest]),
        })
    }
}

fn rows(recording: &Recording) -> impl Iterator<Item = &[f32]> {
    let len = recording.len();
    let samples = recording.samples_mv();
    (0..recording.leads.len()).map(move |row| &samples[row * len..(row + 1) * len])
}

fn assess_lead(lead: &Lead, row: &[f32]) -> LeadQuality {
    let count = |test: fn(f32) -> bool| row.iter().filter(|value| test(**value)).count();
    // `f32::min` and `max` pass over NaN.
    let min_mv = row.iter().copied().fold(f32::NAN, f32::min);
    let max_mv = row.iter().copied().fold(f32::NAN, f32::max);
    let flat = min_mv.is_nan() || min_mv == max_mv;
    let clipped_samples = if flat {
        0
    } else {
        runs_at_ends(row, min_mv, max_mv)
            .filter(|run| *run >= CLIP_RUN_SAMPLES)
            .sum()
    };
    LeadQuality {
        lead: lead.clone(),
        missing_samples: count(f32::is_nan),
        infinite_samples: count(f32::is_infinite),
        flat,
        clipped_samples,
        min_mv,
        max_mv,
    }
}

/// Lengths of the runs of one value at the smallest or largest one.
fn runs_at_ends(row: &[f32], min: f32, max: f32) -> impl Iterator<Item = usize> {
    row.chunk_by(|a, b| a == b)
        .filter(move |run| run[0] == min || run[0] == max)
        .map(<[f32]>::len)
}

/// The longest of [`runs_at_ends`], 0 without any.
fn longest_run_at_ends(row: &[f32], min: f32, max: f32) -> usize {
    runs_at_ends(row, min, max).max().unwrap_or(0)
}

fn einthoven_residual_mv(recording: &Recording) -> Option<f64> {
    let [i, ii, iii] = [Lead::I, Lead::II, Lead::III].map(|lead| recording.lead_mv(&lead));
    let (sum, count) = i?
        .iter()
        .zip(ii?)
        .zip(iii?)
        .map(|((i, ii), iii)| f64::from(*ii) - f64::from(*i) - f64::from(*iii))
        .filter(|residual| residual.is_finite())
        .fold((0.0, 0usize), |(sum, count), residual| {
            (sum + residual * residual, count + 1)
        });
    (count > 0).then(|| (sum / count as f64).sqrt())
}

/// R-peaks in seconds, from the usable leads together.
fn find_r_peaks(recording: &Recording, leads: &[LeadQuality]) -> (Vec<f64>, Vec<Lead>) {
    let usable = |lead: &LeadQuality| {
        !lead.flat && lead.missing_samples < recording.len() && lead.infinite_samples == 0
    };
    let (names, rows): (Vec<Lead>, Vec<&[f32]>) = leads
        .iter()
        .zip(rows(recording))
        .filter(|(lead, _)| usable(lead))
        .map(|(lead, row)| (lead.lead.clone(), row))
        .unzip();
    let found = find_beats(&LeadSet::new(names), recording.rate_hz, &rows);
    let peaks = found.beats.r_peaks.iter();
    let seconds = peaks.map(|peak| peak / recording.rate_hz).collect();
    (seconds, found.leads)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One narrow bump a second.
    fn beats(rate: usize, seconds: usize) -> Vec<f32> {
        (0..rate * seconds)
            .map(|k| {
                let t = (k % rate) as f32 / rate as f32 - 0.5;
                (-t * t / 0.0004).exp() - 0.2 * (-(t - 0.04) * (t - 0.04) / 0.0004).exp()
            })
            .collect()
    }

    #[test]
    fn a_clean_recording() {
        let i = beats(100, 10);
        let ii: Vec<f32> = i.iter().map(|v| 2.0 * v).collect();
        let samples = [i.clone(), ii, i].concat();
        let r = Recording::new("r", "I,II,III".parse().unwrap(), 100.0, samples).unwrap();
        let q = assess(&r);
        assert!(q.einthoven_residual_mv.unwrap() < 1e-6);
        let rate = q.heart_rate.unwrap();
        assert!(
            (rate.bpm - 60.0).abs() < 0.1 && rate.range_bpm.is_none(),
            "{rate:?}"
        );
        assert_eq!(q.heart_rate_leads, [Lead::I, Lead::II]);
        assert!(
            q.leads
                .iter()
                .all(|l| !l.flat && l.missing_samples == 0 && l.clipped_samples == 0)
        );
    }

    #[test]
    fn faults_are_counted() {
        let mut clipped = beats(100, 10);
        clipped.iter_mut().for_each(|v| *v = v.min(0.05));
        let mut missing = beats(100, 10);
        missing[3..10].fill(f32::NAN);
        missing[20] = f32::INFINITY;
        let samples = [clipped, missing, vec![0.25; 1000]].concat();
        let r = Recording::new("r", "I,II,V1".parse().unwrap(), 100.0, samples).unwrap();
        let q = assess(&r);
        assert!(q.leads[0].clipped_samples >= 40, "{:?}", q.leads[0]);
        assert_eq!(q.leads[1].missing_samples, 7);
        assert_eq!(q.leads[1].infinite_samples, 1);
        assert!(q.leads[2].flat);
        assert_eq!(q.einthoven_residual_mv, None);
        assert_eq!(q.heart_rate_leads, [Lead::I]);
    }

    #[test]
    fn nothing_to_measure() {
        let r = Recording::new("r", "I".parse().unwrap(), f64::NAN, vec![]).unwrap();
        let q = assess(&r);
        assert!(q.leads[0].flat && q.heart_rate.is_none());
        assert_eq!(HeartRate::of(&[0.05]), None);
        let skipped = HeartRate::of(&[0.0, 1.0, 2.0, 2.5]).unwrap();
        assert_eq!(
            (skipped.bpm, skipped.range_bpm),
            (60.0, Some([60.0, 120.0]))
        );
    }
}
