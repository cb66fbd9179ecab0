//! Whether a recording can be used at all: the one definition for every command.
//!
//! A recording is unusable where one of these is found, the first of which is named:
//!
//! | finding | limit |
//! | --- | --- |
//! | leads without a value or without variation | more than half of the leads |
//! | missing samples | more than [`MOST_MISSING`] of all |
//! | amplitude, the 99th percentile of \|x - median\| in most leads | above [`MOST_MV`] or below [`LEAST_MV`]: no body has it, but a wrong unit or gain gives it |
//! | leads that stay at their smallest or largest value | more than half of the leads |
//! | limb leads | they contradict their names, or are exchanged |
//! | noise from sample to sample | more than [`MOST_NOISE`] of the amplitude: white noise has 0.39 of it |
//! | relations of the limb leads (Einthoven, Goldberger) | they miss by more than [`MOST_RESIDUAL`] of the amplitude: independent noise of any colour does |
//!
//! What could not be measured speaks for nothing. A recording that passes may still be poor; the limits are such that no result on what
//! fails can be meant.

use purkinje_record::{LeadSet, Reader, RecordError};

use super::{LimbLeads, Measures, measure};

/// Largest fraction of missing samples.
pub const MOST_MISSING: f64 = 0.1;
/// Largest amplitude in millivolts.
pub const MOST_MV: f32 = 20.0;
/// Smallest amplitude in millivolts.
pub const LEAST_MV: f32 = 0.005;
/// Largest noise, as a fraction of the amplitude.
pub const MOST_NOISE: f32 = 0.25;
/// Largest root mean square of what the limb leads miss their relations by, as a fraction of the amplitude.
pub const MOST_RESIDUAL: f32 = 0.3;

/// Why a recording cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(String);

impl Measures {
    /// Checks whether a recording of so many leads can be used; `missing` is the fraction of its samples that are missing.
    ///
    /// # Errors
    /// [`Unusable`] with the first reason: most leads silent, more than 10 % of the samples missing, an amplitude that no body has
    /// (above 20 mV, below 5 uV), most leads clipped, limb leads that contradict their names, noise, or limb leads that do not
    /// belong together.
    pub fn usable(&self, leads: usize, missing: f64) -> Result<(), Unusable> {
        let most = |mask: u16| 2 * mask.count_ones() as usize > leads;
        let refuse = |reason: String| Err(Unusable(reason));
        let silent = self.missing_leads | self.flat_leads;
        if most(silent) {
            return refuse(format!(
                "{} of {leads} leads have no signal",
                silent.count_ones()
            ));
        }
        if missing > MOST_MISSING {
            return refuse(format!(
                "{:.0} % of the samples are missing",
                100.0 * missing
            ));
        }
        if let Some(amplitude) = self.amplitude_mv {
            let found = format!("the amplitude, {}, is", in_words(amplitude));
            if amplitude > MOST_MV {
                return refuse(format!(
                    "{found} above {MOST_MV} mV: no body has it, look at unit and gain"
                ));
            }
            if amplitude < LEAST_MV {
                return refuse(format!(
                    "{found} below {} uV: no body has it, look at unit and gain",
                    1e3 * LEAST_MV
                ));
            }
        }
        if most(self.clipped_leads) {
            return refuse(format!(
                "{} of {leads} leads are clipped",
                self.clipped_leads.count_ones()
            ));
        }
        if !matches!(self.limb_leads, LimbLeads::AsNamed | LimbLeads::Unknown) {
            return refuse(format!(
                "the limb leads are not what their names say: {}",
                self.limb_leads.name().replace('_', " ")
            ));
        }
        let Some(amplitude) = self.amplitude_mv else {
            return Ok(());
        };
        if let Some(noise) = self.noise_mv.filter(|mv| *mv > MOST_NOISE * amplitude) {
            return refuse(format!(
                "it is mostly noise: {} from sample to sample, at an amplitude of {}",
                in_words(noise),
                in_words(amplitude)
            ));
        }
        match self
            .einthoven_mv
            .filter(|mv| *mv > MOST_RESIDUAL * amplitude)
        {
            Some(residual) => refuse(format!(
                "the limb leads are not of one heart: their relations miss by {}, at an amplitude of {}",
                in_words(residual),
                in_words(amplitude)
            )),
            None => Ok(()),
        }
    }
}

/// Checks whether a recording, of any length, can be used, by these of its leads; all that are there where one is missing.
///
/// # Errors
/// When it cannot be read.
pub fn usable_long(reader: &Reader, leads: &LeadSet) -> Result<Result<(), Unusable>, RecordError> {
    let mut blocks = Vec::new();
    let (mut missing, mut all, mut count) = (0, 0, leads.len());
    for block in reader.blocks() {
        let block = block?;
        let chosen = match block.leads == *leads {
            true => block,
            false => block.select(leads).map_or(block, std::borrow::Cow::Owned),
        };
        let samples = chosen.samples_mv();
        missing += samples.iter().filter(|value| !value.is_finite()).count();
        all += samples.len();
        count = chosen.leads.len();
        blocks.push(measure(&chosen.leads, chosen.rate_hz, samples));
    }
    let missing = missing as f64 / all.max(1) as f64;
    Ok(Measures::of_blocks(&blocks).usable(count, missing))
}

/// Millivolts with three digits, in microvolts below 0.1.
fn in_words(mv: f32) -> String {
    let (value, unit) = match mv.abs() < 0.1 {
        true => (1e3 * mv, "uV"),
        false => (mv, "mV"),
    };
    let digits = match value.abs() {
        small if small < 10.0 => 2,
        small if small < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use purkinje_record::Recording;

    use super::*;

    /// Numbers that look random, from -1 to 1.
    fn noise(seed: u64) -> impl FnMut() -> f32 {
        let mut state = seed;
        move || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            ((state >> 40) as f32 / (1u64 << 23) as f32) - 1.0
        }
    }

    fn beats(size: f32, hiss: f32, seed: u64) -> Vec<f32> {
        let mut noise = noise(seed);
        (0..1000)
            .map(|k| {
                let t = (k % 80) as f32 - 40.0 - 2.0 * (seed - 1) as f32;
                size * ((-t * t / (4.0 * seed as f32)).exp()
                    + 0.2 * (-(t - 15.0).powi(2) / 40.0).exp())
                    + hiss * noise()
            })
            .collect()
    }

    fn limb(i: &[f32], ii: &[f32]) -> Vec<f32> {
        let mix = |a: f32, b: f32| i.iter().zip(ii).map(move |(x, y)| a * x + b * y);
        [
            (1.0, 0.0),
            (0.0, 1.0),
            (-1.0, 1.0),
            (-0.5, -0.5),
            (1.0, -0.5),
            (-0.5, 1.0),
        ]
        .into_iter()
        .flat_map(|(a, b)| mix(a, b).collect::<Vec<_>>())
        .collect()
    }

    fn found(samples: Vec<f32>, rate_hz: f64) -> Result<(), String> {
        let leads: LeadSet = "limb".parse().unwrap();
        let recording = Recording::new("r", leads.clone(), rate_hz, samples).unwrap();
        let reader = Reader::from(recording);
        usable_long(&reader, &leads)
            .unwrap()
            .map_err(|why| why.to_string())
    }

    #[test]
    fn a_heart_can_be_used_at_any_size_that_a_body_has() {
        for size in [0.05, 0.5, 5.0, 15.0] {
            let (i, ii) = (
                beats(size, 0.01 * size, 1),
                beats(1.5 * size, 0.01 * size, 2),
            );
            assert_eq!(found(limb(&i, &ii), 100.0), Ok(()), "{size}");
        }
    }

    #[test]
    fn noise_of_any_size_cannot() {
        for size in [0.01, 1.0, 8.0] {
            let mut white = noise(5);
            let samples: Vec<f32> = (0..6000).map(|_| size * white()).collect();
            for rate_hz in [100.0, 250.0, 500.0] {
                let why = found(samples.clone(), rate_hz).unwrap_err();
                assert!(why.contains("noise"), "{why}");
            }
            // A random walk in every lead is smooth, but the leads do not agree.
            let walk: Vec<f32> = samples
                .chunks(1000)
                .flat_map(|row| {
                    row.iter().scan(0.0, |at, step| {
                        *at = 0.99 * *at + step;
                        Some(*at)
                    })
                })
                .collect();
            let why = found(walk, 100.0).unwrap_err();
            let named = ["limb leads", "noise", "amplitude"];
            assert!(named.iter().any(|word| why.contains(word)), "{why}");
        }
    }

    #[test]
    fn wrong_units_are_named() {
        let (i, ii) = (beats(0.7, 0.01, 1), beats(1.0, 0.01, 2));
        let sized = |times: f32| limb(&i, &ii).into_iter().map(|v| times * v).collect();
        let why = found(sized(1000.0), 100.0).unwrap_err();
        assert!(why.contains("above 20 mV") && why.contains("unit"), "{why}");
        let why = found(sized(0.001), 100.0).unwrap_err();
        assert!(why.contains("below 5 uV"), "{why}");
    }

    #[test]
    fn silence_gaps_and_ends_are_named() {
        let (i, ii) = (beats(0.7, 0.01, 1), beats(1.0, 0.01, 2));
        let mut samples = limb(&i, &ii);
        samples[..3000].fill(0.25);
        assert_eq!(
            found(samples.clone(), 100.0),
            Ok(()),
            "half of them is not most"
        );
        samples[3000..4000].fill(f32::NAN);
        let why = found(samples, 100.0).unwrap_err();
        assert_eq!(why, "4 of 6 leads have no signal");
        let mut samples = limb(&i, &ii);
        for row in samples.chunks_mut(1000) {
            row[100..250].fill(f32::NAN);
        }
        assert_eq!(
            found(samples, 100.0).unwrap_err(),
            "15 % of the samples are missing"
        );
        let mut samples = limb(&i, &ii);
        for row in samples.chunks_mut(1000) {
            let top = row.iter().copied().fold(0.0, f32::max) / 20.0;
            row.iter_mut().for_each(|v| *v = v.clamp(-top, top));
        }
        let why = found(samples, 100.0).unwrap_err();
        assert!(why.contains("leads are clipped"), "{why}");
    }

    #[test]
    fn exchanged_leads_are_named() {
        let (i, ii) = (beats(0.7, 0.01, 1), beats(1.0, 0.01, 2));
        let mut samples = limb(&i, &ii);
        let (first, second) = samples.split_at_mut(1000);
        first.swap_with_slice(&mut second[..1000]);
        let why = found(samples, 100.0).unwrap_err();
        assert_eq!(
            why,
            "the limb leads are not what their names say: i ii exchanged"
        );
    }

    #[test]
    fn nothing_is_known_against_what_was_not_measured() {
        assert_eq!(Measures::default().usable(12, 0.0), Ok(()));
    }
}
