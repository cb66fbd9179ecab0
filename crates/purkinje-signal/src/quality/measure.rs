//! Figures about one recording that are cheap enough to be kept with every stored record.
//!
//! They are taken from the source's own samples, before any filter, and lead by lead: the median over
//! the leads with a changing signal stands for the recording, so that one loose electrode does not
//! make all of it noisy (the bit masks name that lead).

use std::borrow::Cow;
use std::cell::RefCell;

use purkinje_record::{LeadSet, Reader, RecordError};
use serde::{Deserialize, Serialize};

use super::CLIP_RUN_SAMPLES;
use super::limb::{self, LimbLeads};
use crate::beats::Sample;
use crate::resample::RATES_HZ;
use crate::simd::{self, Kernel};

/// Leads that have a bit in the masks; further ones are not looked at.
pub const MAX_MEASURED_LEADS: usize = 16;

/// Lowest rate in hertz at which 50 and 60 Hz can be told from a recording's own content.
pub const MIN_POWERLINE_RATE_HZ: f64 = 120.0;

/// A lead counts as clipped when it stays at its smallest or largest value for this long in one run (and for
/// [`CLIP_RUN_SAMPLES`] at least): shorter runs are the tops of waves in coarse steps.
pub const CLIP_RUN_S: f64 = 0.02;

/// What is wrong with a recording, in figures. Bit `i` of a mask is lead `i` of the leads measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measures {
    /// Leads without any value.
    pub missing_leads: u16,
    /// Leads whose values are all the same.
    pub flat_leads: u16,
    /// Leads that stay at their smallest or largest value, see [`CLIP_RUN_S`].
    pub clipped_leads: u16,
    /// Root mean square in millivolts of II - I - III and of what the augmented leads deviate from their relations to
    /// I and II, over all of these relations whose leads are there; `None` where there is none.
    pub einthoven_mv: Option<f32>,
    /// Whether the limb leads are what their names say.
    pub limb_leads: LimbLeads,
    /// How far the signal goes from its middle, in millivolts: of the 99th percentile of |x - median| of each lead that has values
    /// (0 where it is flat) the median over the leads.
    #[serde(default)]
    pub amplitude_mv: Option<f32>,
    /// Standard deviation in millivolts of the white noise that would leave as large a residual from sample
    /// to sample as the quieter half of the recording has.
    pub noise_mv: Option<f32>,
    /// Root mean square in millivolts of the wander below about 0.5 Hz.
    pub baseline_mv: Option<f32>,
    /// Amplitude in millivolts at 50 or 60 Hz, whichever is larger; `None` below [`MIN_POWERLINE_RATE_HZ`].
    pub powerline_mv: Option<f32>,
}

/// Measures one recording: `samples_mv` is `[lead, time]`, row-major, in millivolts, of either precision. Never fails: what
/// cannot be measured is `None`, and samples that the leads cannot share give no figures at all.
///
/// Samples that are missing or infinite are taken as the last value before them.
pub fn measure<S: Sample>(leads: &LeadSet, rate_hz: f64, samples_mv: &[S]) -> Measures {
    thread_local!(static SCRATCH: RefCell<Scratch> = RefCell::default());
    let len = samples_mv.len().checked_div(leads.len()).unwrap_or(0);
    if len == 0 || len * leads.len() != samples_mv.len() || !RATES_HZ.contains(&rate_hz) {
        return Measures::default();
    }
    SCRATCH.with_borrow_mut(|scratch| scratch.measure(leads, rate_hz, samples_mv, len))
}

/// Measures a recording that may be long, block by block. Of several blocks a lead is missing or flat where it is so in all, clipped
/// where it is so in one, and the other figures are their medians; limb leads are what most blocks say.
///
/// # Errors
/// When it cannot be read.
pub fn measure_long(reader: &Reader, leads: &LeadSet) -> Result<Measures, RecordError> {
    let mut blocks = Vec::new();
    for block in reader.blocks() {
        let block = block?;
        let chosen = match block.leads == *leads {
            true => block,
            // Where one is missing, all that are there are measured.
            false => block.select(leads).map_or(block, Cow::Owned),
        };
        blocks.push(measure(&chosen.leads, chosen.rate_hz, chosen.samples_mv()));
    }
    Ok(Measures::of_blocks(&blocks))
}

impl Measures {
    pub(super) fn of_blocks(blocks: &[Measures]) -> Measures {
        if let [one] = blocks {
            return *one;
        }
        let middle = |figure: fn(&Measures) -> Option<f32>| {
            median(&mut blocks.iter().filter_map(figure).collect::<Vec<_>>())
        };
        let in_all = |mask: fn(&Measures) -> u16| blocks.iter().map(mask).reduce(|a, b| a & b);
        let missing_leads = in_all(|own| own.missing_leads).unwrap_or(0);
        let flat_leads = in_all(|own| own.missing_leads | own.flat_leads).unwrap_or(0);
        let votes = LimbLeads::ALL.map(|limb| {
            let own = blocks.iter().filter(|own| own.limb_leads == limb);
            (own.count(), limb)
        });
        // Blocks that say nothing count where no other does.
        let said = votes.iter().filter(|(_, limb)| *limb != LimbLeads::Unknown);
        let most = said
            .filter(|(count, _)| *count > 0)
            .max_by_key(|(count, _)| *count);
        Measures {
            missing_leads,
            flat_leads: flat_leads & !missing_leads,
            clipped_leads: blocks.iter().fold(0, |mask, own| mask | own.clipped_leads),
            einthoven_mv: middle(|own| own.einthoven_mv),
            amplitude_mv: middle(|own| own.amplitude_mv),
            limb_leads: most.map_or(LimbLeads::Unknown, |(_, limb)| *limb),
            noise_mv: middle(|own| own.noise_mv),
            baseline_mv: middle(|own| own.baseline_mv),
            powerline_mv: middle(|own| own.powerline_mv),
        }
    }
}

/// Seconds of one block: a multiple of the periods of 50 and 60 Hz, and short enough that most blocks
/// hold no QRS complex.
const BLOCK_S: f64 = 0.2;

/// Blocks of one second, the length of the moving mean that leaves the wander.
const BLOCKS_PER_S: usize = 5;

/// Lowest rate in hertz at which a block holds enough samples.
const MIN_BLOCK_RATE_HZ: f64 = 40.0;

/// Limb leads are judged by at most this many evenly spaced samples.
const MAX_LIMB_SAMPLES: usize = 500;

/// The amplitude of a lead is taken from at most about this many evenly spaced samples.
const MAX_AMPLITUDE_SAMPLES: usize = 500;

/// Mains frequencies in hertz.
const MAINS_HZ: [f64; 2] = [50.0, 60.0];

/// Variance of `x[n] - (x[n-1] + x[n+1]) / 2` for white noise of variance 1.
const DIFFERENCE_VARIANCE: f32 = 1.5;

/// Sums run side by side in this many lanes, for vector units of any width.
const LANES: usize = 16;

/// What is kept between calls on one thread.
#[derive(Debug, Default)]
struct Scratch {
    tables: Option<Tables>,
    rows: Vec<f32>,
    blocks: Blocks,
    /// Samples of a lead in the order of their values.
    ordered: Vec<f32>,
    /// Figures of the leads measured.
    amplitude: Vec<f32>,
    noise: Vec<f32>,
    baseline: Vec<f32>,
    mains: [Vec<f32>; 2],
}

/// Figures of the blocks of one lead.
#[derive(Debug, Default)]
struct Blocks {
    means: Vec<f32>,
    residuals: Vec<f32>,
    /// Squares of amplitudes.
    mains: [Vec<f32>; 2],
}

/// Windowed cosines and sines over one block; none for rates too low for mains.
#[derive(Debug)]
struct Tables {
    rate_hz: f64,
    block: usize,
    waves: Vec<[Vec<f32>; 2]>,
}

impl Tables {
    fn new(rate_hz: f64) -> Self {
        let block = (BLOCK_S * rate_hz).round() as usize;
        let tau = std::f64::consts::TAU;
        // Hann window, scaled so that a wave of amplitude 1 gives 1.
        let window =
            |k: usize| 2.0 * (1.0 - (tau * (k as f64 + 0.5) / block as f64).cos()) / block as f64;
        let wave = |hz: f64, phase: f64| {
            (0..block)
                .map(|k| (window(k) * (tau * hz * k as f64 / rate_hz + phase).cos()) as f32)
                .collect()
        };
        let waves = if rate_hz < MIN_POWERLINE_RATE_HZ {
            Vec::new()
        } else {
            MAINS_HZ
                .map(|hz| [wave(hz, 0.0), wave(hz, tau / 4.0)])
                .into()
        };
        Tables {
            rate_hz,
            block,
            waves,
        }
    }
}

impl Scratch {
    fn measure<S: Sample>(
        &mut self,
        leads: &LeadSet,
        rate_hz: f64,
        samples_mv: &[S],
        len: usize,
    ) -> Measures {
        let count = leads.len().min(MAX_MEASURED_LEADS);
        let mut found = Measures::default();
        self.rows.clear();
        self.rows.reserve(count * len);
        self.amplitude.clear();
        self.noise.clear();
        self.baseline.clear();
        self.mains.iter_mut().for_each(Vec::clear);
        for row in 0..count {
            let from = self.rows.len();
            let source = &samples_mv[row * len..(row + 1) * len];
            self.rows.extend(source.iter().map(|value| value.to_f32()));
            let values = &mut self.rows[from..];
            if !hold_last(values) {
                found.missing_leads |= 1 << row;
                continue;
            }
            let (min, max, at_ends) = simd::widest(EndsPass(values));
            self.amplitude.extend(amplitude(values, &mut self.ordered));
            if min == max {
                found.flat_leads |= 1 << row;
                continue;
            }
            let run = ((CLIP_RUN_S * rate_hz) as usize).max(CLIP_RUN_SAMPLES);
            // Nearly always the extremes are too few for any run.
            if at_ends >= run && super::longest_run_at_ends(values, min, max) >= run {
                found.clipped_leads |= 1 << row;
            }
            if rate_hz >= MIN_BLOCK_RATE_HZ {
                self.measure_lead(rate_hz, from);
            }
        }
        (found.einthoven_mv, found.limb_leads) = self.limb(leads, len, found);
        found.amplitude_mv = median(&mut self.amplitude);
        found.noise_mv = median(&mut self.noise);
        found.baseline_mv = median(&mut self.baseline);
        let [fifty, sixty] = self.mains.each_mut().map(|values| median(values));
        found.powerline_mv = fifty.zip(sixty).map(|(a, b)| a.max(b));
        found
    }

    /// Adds the figures of the lead whose samples begin at `from`.
    fn measure_lead(&mut self, rate_hz: f64, from: usize) {
        if self.tables.as_ref().is_none_or(|t| t.rate_hz != rate_hz) {
            self.tables = Some(Tables::new(rate_hz));
        }
        let Some(tables) = &self.tables else { return };
        let blocks = &mut self.blocks;
        simd::widest(BlockPass {
            values: &self.rows[from..],
            tables,
            blocks,
        });
        self.noise
            .extend(median(&mut blocks.residuals).map(f32::sqrt));
        self.baseline.extend(wander(&blocks.means));
        for (all, own) in self.mains.iter_mut().zip(&mut blocks.mains) {
            all.extend(median(own).map(f32::sqrt));
        }
    }

    fn limb(&self, leads: &LeadSet, len: usize, found: Measures) -> (Option<f32>, LimbLeads) {
        let useless = found.missing_leads | found.flat_leads;
        let row = |lead| {
            let row = leads
                .position(&lead)
                .filter(|row| *row < MAX_MEASURED_LEADS)?;
            (useless & (1 << row) == 0).then(|| &self.rows[row * len..(row + 1) * len])
        };
        let step = len.div_ceil(MAX_LIMB_SAMPLES);
        let judged = limb::judge(limb::LEADS.map(row), row(purkinje_record::Lead::V6), step);
        (judged.residual_mv.map(|mv| mv as f32), judged.leads)
    }
}

/// One lead, block by block.
struct BlockPass<'a> {
    values: &'a [f32],
    tables: &'a Tables,
    blocks: &'a mut Blocks,
}

impl Kernel for BlockPass<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Blocks {
            means,
            residuals,
            mains,
        } = self.blocks;
        means.clear();
        residuals.clear();
        mains.iter_mut().for_each(Vec::clear);
        for block in self.values.chunks_exact(self.tables.block) {
            means.push(sum(block) / block.len() as f32);
            let differences = (block.len() - 2) as f32;
            residuals.push(difference_power(block) / (DIFFERENCE_VARIANCE * differences));
            for (powers, [cosine, sine]) in mains.iter_mut().zip(&self.tables.waves) {
                let (c, s) = (dot(block, cosine), dot(block, sine));
                powers.push(c * c + s * s);
            }
        }
    }
}

/// Smallest and largest of finite values, and how many values are one of them.
struct EndsPass<'a>(&'a [f32]);

impl Kernel for EndsPass<'_> {
    type Output = (f32, f32, usize);

    #[inline(always)]
    fn run(self) -> (f32, f32, usize) {
        let (min, max) = range(self.0);
        (min, max, count_at_ends(self.0, min, max))
    }
}

/// Replaces what is no number by the value before it (the first one after it at the start); false if there is none.
fn hold_last(values: &mut [f32]) -> bool {
    // A sum of zeros is NaN as soon as one factor is no finite number.
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value * 0.0;
        }
    }
    if lanes.iter().sum::<f32>() == 0.0 && rest.iter().all(|value| value.is_finite()) {
        return true;
    }
    let Some(mut last) = values.iter().copied().find(|value| value.is_finite()) else {
        return false;
    };
    for value in values {
        if value.is_finite() {
            last = *value;
        } else {
            *value = last;
        }
    }
    true
}

/// Smallest and largest of finite values.
#[inline(always)]
fn range(values: &[f32]) -> (f32, f32) {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut min = [f32::INFINITY; LANES];
    let mut max = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            min[lane] = if chunk[lane] < min[lane] {
                chunk[lane]
            } else {
                min[lane]
            };
            max[lane] = if chunk[lane] > max[lane] {
                chunk[lane]
            } else {
                max[lane]
            };
        }
    }
    (
        min.iter()
            .chain(rest)
            .copied()
            .fold(f32::INFINITY, f32::min),
        max.iter()
            .chain(rest)
            .copied()
            .fold(f32::NEG_INFINITY, f32::max),
    )
}

#[inline(always)]
fn count_at_ends(values: &[f32], min: f32, max: f32) -> usize {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut counts = [0u32; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            counts[lane] += u32::from((chunk[lane] == min) | (chunk[lane] == max));
        }
    }
    let rest = rest.iter().filter(|v| **v == min || **v == max).count();
    counts.iter().sum::<u32>() as usize + rest
}

#[inline(always)]
fn sum(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    lanes.iter().chain(rest).sum()
}

#[inline(always)]
fn dot(values: &[f32], weights: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let (weight_chunks, weight_rest) = weights.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for (chunk, weights) in chunks.iter().zip(weight_chunks) {
        for lane in 0..LANES {
            lanes[lane] += chunk[lane] * weights[lane];
        }
    }
    let tail: f32 = rest.iter().zip(weight_rest).map(|(x, w)| x * w).sum();
    lanes.iter().sum::<f32>() + tail
}

/// Sum of the squares of `x[n] - (x[n-1] + x[n+1]) / 2` within the block.
#[inline(always)]
fn difference_power(block: &[f32]) -> f32 {
    let inner = block.len().saturating_sub(2);
    let (before, at, after) = (
        &block[..inner],
        &block[block.len() - inner - 1..block.len() - 1],
        &block[block.len() - inner..],
    );
    let mut lanes = [0.0; LANES];
    let mut tail = 0.0;
    let whole = inner / LANES * LANES;
    for k in (0..whole).step_by(LANES) {
        let (before, at, after) = (
            &before[k..k + LANES],
            &at[k..k + LANES],
            &after[k..k + LANES],
        );
        for lane in 0..LANES {
            let difference = at[lane] - 0.5 * (before[lane] + after[lane]);
            lanes[lane] += difference * difference;
        }
    }
    for k in whole..inner {
        let difference = at[k] - 0.5 * (before[k] + after[k]);
        tail += difference * difference;
    }
    lanes.iter().sum::<f32>() + tail
}

/// Root mean square around its mean of the block means after two moving means of one second.
fn wander(means: &[f32]) -> Option<f32> {
    let smooth = |values: &[f32]| -> Vec<f32> {
        values
            .windows(BLOCKS_PER_S)
            .map(|window| window.iter().sum::<f32>() / BLOCKS_PER_S as f32)
            .collect()
    };
    let slow = smooth(&smooth(means));
    let mean = slow.iter().sum::<f32>() / slow.len() as f32;
    let power: f32 = slow.iter().map(|v| (v - mean) * (v - mean)).sum();
    (slow.len() > BLOCKS_PER_S).then(|| (power / slow.len() as f32).sqrt())
}

/// The 99th percentile of the distances of finite values from their median.
fn amplitude(values: &[f32], ordered: &mut Vec<f32>) -> Option<f32> {
    let step = values.len().div_ceil(MAX_AMPLITUDE_SAMPLES).max(1);
    ordered.clear();
    ordered.extend(values.iter().step_by(step));
    let middle = median(ordered)?;
    for value in ordered.iter_mut() {
        *value = (*value - middle).abs();
    }
    let at = (ordered.len() * 99 / 100).min(ordered.len() - 1);
    Some(*ordered.select_nth_unstable_by(at, f32::total_cmp).1)
}

/// The middle value (the upper one of two); `None` of nothing. Orders the values partly.
fn median(values: &mut [f32]) -> Option<f32> {
    let middle = values.len() / 2;
    (!values.is_empty()).then(|| *values.select_nth_unstable_by(middle, f32::total_cmp).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u64) -> impl FnMut() -> f64 {
        // The sum of twelve uniform numbers is nearly normal with variance 1.
        let mut state = seed;
        move || {
            (0..12)
                .map(|_| {
                    state = state
                        .wrapping_mul(6364136223846793005)
                        .wrapping_add(1442695040888963407);
                    (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
                })
                .sum()
        }
    }

    /// Beats at 72 a minute in I and II, the other limb leads by their relations.
    fn limb(rate_hz: f64, seconds: usize) -> Vec<Vec<f64>> {
        let len = (rate_hz * seconds as f64) as usize;
        let bump = |t: f64, at: f64, width: f64| (-((t - at) / width).powi(2)).exp();
        let wave = |r: f64, s: f64, wave_t: f64| -> Vec<f64> {
            (0..len)
                .map(|k| {
                    let t = (k as f64 / rate_hz) % (60.0 / 72.0);
                    r * bump(t, 0.3, 0.012) - s * bump(t, 0.33, 0.014)
                        + wave_t * bump(t, 0.55, 0.05)
                })
                .collect()
        };
        let (mut i, mut ii) = (wave(0.6, 0.3, 0.1), wave(1.1, 0.1, 0.3));
        // No converter is as quiet as a formula.
        let mut hiss = noise(9);
        i.iter_mut()
            .chain(&mut ii)
            .for_each(|v| *v += 0.001 * hiss());
        let mix = |a: f64, b: f64| -> Vec<f64> {
            i.iter().zip(&ii).map(|(x, y)| a * x + b * y).collect()
        };
        vec![
            mix(1.0, 0.0),
            mix(0.0, 1.0),
            mix(-1.0, 1.0),
            mix(-0.5, -0.5),
            mix(1.0, -0.5),
            mix(-0.5, 1.0),
        ]
    }

    fn measured(rate_hz: f64, rows: &[Vec<f64>]) -> Measures {
        measure(&"limb".parse().unwrap(), rate_hz, &rows.concat())
    }

    #[test]
    fn a_clean_recording_has_little_of_anything() {
        for rate_hz in [100.0, 257.0, 360.0, 500.0, 1000.0] {
            let found = measured(rate_hz, &limb(rate_hz, 10));
            assert_eq!(
                (found.missing_leads, found.flat_leads, found.clipped_leads),
                (0, 0, 0)
            );
            assert!(found.einthoven_mv.unwrap() < 1e-5, "{found:?}");
            assert_eq!(found.limb_leads, LimbLeads::AsNamed);
            assert!(found.noise_mv.unwrap() < 0.01, "{rate_hz} {found:?}");
            assert!(found.baseline_mv.unwrap() < 0.01, "{rate_hz} {found:?}");
            assert_eq!(found.powerline_mv.is_some(), rate_hz >= 120.0);
            assert!(
                found.powerline_mv.is_none_or(|mv| mv < 0.005),
                "{rate_hz} {found:?}"
            );
        }
    }

    #[test]
    fn what_was_added_is_measured() {
        for rate_hz in [250.0, 500.0] {
            let with = |add: &mut dyn FnMut(f64) -> f64| {
                let mut rows = limb(rate_hz, 10);
                for row in &mut rows {
                    for (k, value) in row.iter_mut().enumerate() {
                        *value += add(k as f64 / rate_hz);
                    }
                }
                measured(rate_hz, &rows)
            };
            let close = |found: Option<f32>, expected: f32, share: f32| {
                let found = found.unwrap();
                assert!(
                    (found - expected).abs() < share * expected,
                    "{found} is not {expected}"
                );
            };
            let mut white = noise(3);
            close(with(&mut |_| 0.05 * white()).noise_mv, 0.05, 0.1);
            let tau = std::f64::consts::TAU;
            // The triangle of two moving means of 1 s passes 87 % of 0.2 Hz.
            close(
                with(&mut |t| 0.5 * (tau * 0.2 * t).sin()).baseline_mv,
                0.5 / 2f32.sqrt() * 0.87,
                0.1,
            );
            for hz in MAINS_HZ {
                close(
                    with(&mut |t| 0.1 * (tau * hz * t + 0.7).sin()).powerline_mv,
                    0.1,
                    0.05,
                );
            }
        }
    }

    #[test]
    fn faults_have_bits() {
        let mut rows = limb(500.0, 10);
        rows[1].iter_mut().for_each(|v| *v = v.min(0.2));
        rows[2].fill(f64::NAN);
        rows[3].fill(0.25);
        rows[4][7] = f64::INFINITY;
        rows[5][0] = f64::NAN;
        let found = measured(500.0, &rows);
        assert_eq!(found.clipped_leads, 1 << 1);
        assert_eq!(found.missing_leads, 1 << 2);
        assert_eq!(found.flat_leads, 1 << 3);
        assert!(found.noise_mv.unwrap() < 0.01);
    }

    #[test]
    fn nothing_to_measure() {
        let leads: LeadSet = "limb".parse().unwrap();
        assert_eq!(measure::<f32>(&leads, 500.0, &[]), Measures::default());
        assert_eq!(measure(&leads, 500.0, &[1.0f32; 7]), Measures::default());
        assert_eq!(measure(&leads, f64::NAN, &[1.0f32; 6]), Measures::default());
        assert_eq!(
            measure(&LeadSet::new(vec![]), 500.0, &[1.0f32; 6]),
            Measures::default()
        );
        let short: Vec<f32> = (0..60).map(|k| (k % 7) as f32).collect();
        let found = measure(&leads, 500.0, &short);
        assert_eq!(
            (found.noise_mv, found.baseline_mv, found.powerline_mv),
            (None, None, None)
        );
    }
}
