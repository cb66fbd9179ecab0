//! What is wrong with a recording: missing, flat and clipped leads, swapped limb leads, noise, heart rate.
//!
//! [`measure`] gives the figures that are kept with every stored record, [`assess`] what a person wants to know about one
//! recording.

mod limb;
mod measure;
mod usable;

use std::borrow::Borrow;
use std::convert::Infallible;

use purkinje_record::{Lead, LeadSet, Reader, RecordError, Recording};

use crate::r_peaks::{BeatAgreement, BeatFinder, annotated_beats};

pub use limb::{LimbLeads, augmented_order};
pub use measure::{
    CLIP_RUN_S, MAX_MEASURED_LEADS, MIN_POWERLINE_RATE_HZ, Measures, measure, measure_long,
};

pub use usable::{
    LEAST_MV, MOST_MISSING, MOST_MV, MOST_NOISE, MOST_RESIDUAL, Unusable, usable_long,
};

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
    let blocks = || std::iter::once(Ok::<_, Infallible>(recording));
    match assess_blocks(recording, blocks) {
        Ok(quality) => quality,
        Err(never) => match never {},
    }
}

/// [`assess`] for a recording that may be long: its figures need a block of samples at a time.
///
/// # Errors
/// When it cannot be read.
pub fn assess_long(reader: &Reader) -> Result<Quality, RecordError> {
    assess_blocks(reader.about(), || reader.blocks())
}

/// Looks at a recording that comes in consecutive blocks, twice; `about` has its annotations.
fn assess_blocks<B: Borrow<Recording>, E, I: Iterator<Item = Result<B, E>>>(
    about: &Recording,
    blocks: impl Fn() -> I,
) -> Result<Quality, E> {
    let mut leads: Vec<LeadQuality> = about.leads.leads().iter().map(LeadQuality::new).collect();
    let mut len = 0;
    for block in blocks() {
        let block = block?;
        len += block.borrow().len();
        for (lead, row) in leads.iter_mut().zip(rows(block.borrow())) {
            lead.add(row);
        }
    }
    for lead in &mut leads {
        lead.flat = lead.min_mv.is_nan() || lead.min_mv == lead.max_mv;
    }
    let usable =
        |lead: &LeadQuality| !lead.flat && lead.missing_samples < len && lead.infinite_samples == 0;
    let used: Vec<usize> = (0..leads.len())
        .filter(|&row| usable(&leads[row]))
        .collect();
    let names = used.iter().map(|&row| leads[row].lead.clone()).collect();
    let mut finder = BeatFinder::new(&LeadSet::new(names), about.rate_hz);
    let mut runs = vec![Run::default(); leads.len()];
    let mut residual = (0.0, 0usize);
    for block in blocks() {
        let block = block?;
        let block = block.borrow();
        let all: Vec<&[f32]> = rows(block).collect();
        finder.push(&used.iter().map(|&row| all[row]).collect::<Vec<_>>());
        for ((lead, row), run) in leads.iter_mut().zip(&all).zip(&mut runs) {
            if !lead.flat {
                run.add(row, lead);
            }
        }
        add_einthoven(block, &mut residual);
    }
    for (lead, run) in leads.iter_mut().zip(&mut runs) {
        run.end(lead);
    }
    let found = finder.finish();
    let peaks = found.beats.r_peaks.iter();
    let r_peaks_s: Vec<f64> = peaks.map(|peak| peak / about.rate_hz).collect();
    let annotated = annotated_beats(about);
    let (sum, count) = residual;
    Ok(Quality {
        leads,
        einthoven_residual_mv: (count > 0).then(|| (sum / count as f64).sqrt()),
        heart_rate: HeartRate::of(&r_peaks_s),
        heart_rate_leads: found.leads,
        annotated_beats: (!annotated.is_empty())
            .then(|| BeatAgreement::of(&annotated, &r_peaks_s, SAME_BEAT_S)),
    })
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

impl LeadQuality {
    /// Of a lead without samples.
    fn new(lead: &Lead) -> Self {
        LeadQuality {
            lead: lead.clone(),
            missing_samples: 0,
            infinite_samples: 0,
            flat: true,
            clipped_samples: 0,
            min_mv: f32::NAN,
            max_mv: f32::NAN,
        }
    }

    /// Adds the next samples to what one pass can tell.
    fn add(&mut self, row: &[f32]) {
        let count = |test: fn(f32) -> bool| row.iter().filter(|value| test(**value)).count();
        self.missing_samples += count(f32::is_nan);
        self.infinite_samples += count(f32::is_infinite);
        // `f32::min` and `max` pass over NaN.
        self.min_mv = row.iter().copied().fold(self.min_mv, f32::min);
        self.max_mv = row.iter().copied().fold(self.max_mv, f32::max);
    }
}

/// The run of one value at which the samples so far end.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    value: f32,
    len: usize,
}

impl Run {
    fn add(&mut self, row: &[f32], lead: &mut LeadQuality) {
        for run in row.chunk_by(|a, b| a == b) {
            if self.len > 0 && run[0] != self.value {
                self.end(lead);
            }
            self.value = run[0];
            self.len += run.len();
        }
    }

    /// Counts the run where it is long and at an end.
    fn end(&mut self, lead: &mut LeadQuality) {
        if self.len >= CLIP_RUN_SAMPLES && (self.value == lead.min_mv || self.value == lead.max_mv)
        {
            lead.clipped_samples += self.len;
        }
        self.len = 0;
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

/// Adds the squares of II - I - III, and how many there are.
fn add_einthoven(recording: &Recording, (sum, count): &mut (f64, usize)) {
    let [Some(i), Some(ii), Some(iii)] =
        [Lead::I, Lead::II, Lead::III].map(|lead| recording.lead_mv(&lead))
    else {
        return;
    };
    let residuals = i.iter().zip(ii).zip(iii);
    let residuals =
        residuals.map(|((i, ii), iii)| f64::from(*ii) - f64::from(*i) - f64::from(*iii));
    for residual in residuals.filter(|residual| residual.is_finite()) {
        *sum += residual * residual;
        *count += 1;
    }
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
