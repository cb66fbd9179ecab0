//! R-peaks on several leads at once: QRS energy, each lead against its own beats, leads with noise counting little.
//!
//! 1. Each lead is averaged down to 100 to 200 Hz, so that recordings at 100, 500 and 1,000 Hz are looked at alike.
//! 2. A Mexican hat wavelet of 12 ms (centre at 19 Hz) takes out baseline, P and T waves, mains and most of what
//!    muscles add; its square is the lead's energy. XQRS has the same wavelet with a width fixed in samples, which is
//!    why it follows T waves at 100 Hz (`docs/differences.md`, 3.1).
//! 3. In frames of ten seconds every lead is divided by its typical beat, limited, and weighted by how far its beats stand
//!    out of what lies between them. The weighted mean over leads, smoothed over 90 ms, is one curve.
//! 4. Its local maxima are candidates. A candidate is a beat by its height beside the beats around it; what follows most
//!    beats at the distance of a T wave is none; where an interval is far longer than those around it, a lower one counts.
//! 5. The R-peak is the centre of a beat's energy over all leads, between samples where it falls there.
//!
//! The constants were chosen on 24 records of LUDB and by agreement with two other detectors on PTB-XL and the recordings of
//! the 2021 Challenge (`docs/benchmarks.md`).
//!
//! Time and memory grow with length; samples are needed a frame at a time ([`MultiLead::push`]).

mod choose;
mod energy;

use std::ops::Range;

use purkinje_record::{Lead, LeadSet, Reader, RecordError, Recording};

use crate::beats::Sample;

use self::choose::Chooser;
use self::energy::Frames;
use super::{UnsupportedRate, annotated_beats};

/// Lowest sampling rate in hertz: the wavelet needs two samples over its width.
pub const LOWEST_RATE_HZ: f64 = 50.0;

/// A lead that counts less than this, beside the one that counts most, had little to show.
const LITTLE: f64 = 0.1;

/// The detector for a number of leads at one rate.
#[derive(Clone, Debug)]
pub struct MultiLead {
    frames: Frames,
    chooser: Chooser,
}

/// What a recording shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Beats {
    /// R-peaks in samples of the signal, increasing, between samples where the centre of a beat lies there.
    pub r_peaks: Vec<f64>,
    /// How much each lead counted, `[lead]`: together 1, or all 0 where no lead could be used.
    pub weights: Vec<f64>,
}

impl Beats {
    /// R-peaks as sample indices at another rate, for a signal of `len` samples there.
    pub fn at_rate(&self, from_hz: f64, to_hz: f64, len: usize) -> Vec<usize> {
        let scale = to_hz / from_hz;
        let mut found: Vec<usize> = self
            .r_peaks
            .iter()
            .map(|peak| (peak * scale).round() as usize)
            .filter(|&peak| peak < len)
            .collect();
        found.dedup();
        found
    }
}

/// [`Beats`] with the leads by name.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundBeats {
    /// The R-peaks.
    pub beats: Beats,
    /// The leads that counted, without those that had little to show.
    pub leads: Vec<Lead>,
}

impl FoundBeats {
    /// The beats that a file brings for a recording; `leads` stand for those that showed them. `None` where it brings none.
    pub fn annotated(recording: &Recording, leads: &LeadSet) -> Option<FoundBeats> {
        let seconds = annotated_beats(recording);
        let r_peaks = seconds.iter().map(|time_s| time_s * recording.rate_hz);
        (!seconds.is_empty()).then(|| FoundBeats {
            beats: Beats {
                r_peaks: r_peaks.collect(),
                weights: Vec::new(),
            },
            leads: leads.leads().to_vec(),
        })
    }

    /// Those of a stretch of the signal, counted from its first sample.
    pub fn within(&self, stretch: &Range<usize>) -> FoundBeats {
        // A peak half a sample before the stretch belongs to its first sample.
        let inside = |peak: f64| stretch.contains(&(peak.round() as usize));
        let r_peaks = self.beats.r_peaks.iter().filter(|peak| inside(**peak));
        FoundBeats {
            beats: Beats {
                r_peaks: r_peaks
                    .map(|peak| (peak - stretch.start as f64).max(0.0))
                    .collect(),
                weights: self.beats.weights.clone(),
            },
            leads: self.leads.clone(),
        }
    }
}

/// R-peaks of one signal whose rows mean `leads`, from the leads that say something of their own: III, aVR, aVL and aVF follow from
/// I and II where both are there. None at a rate below [`LOWEST_RATE_HZ`], and where there is no row.
pub fn find_beats<S: Sample>(leads: &LeadSet, rate_hz: f64, rows: &[&[S]]) -> FoundBeats {
    let mut finder = BeatFinder::new(leads, rate_hz);
    finder.push(rows);
    finder.finish()
}

/// [`find_beats`] in the `leads` of a recording that is read block by block; none where it lacks one.
///
/// # Errors
/// When it cannot be read.
pub fn find_beats_in(leads: &LeadSet, reader: &Reader) -> Result<FoundBeats, RecordError> {
    let about = reader.about();
    let mut finder = BeatFinder::new(leads, about.rate_hz);
    if let Ok(rows) = about.leads.rows_of(leads) {
        for block in reader.blocks() {
            let block = block?;
            let (len, samples) = (block.len(), block.exact_mv());
            let rows = rows.iter().map(|&row| &samples[row * len..(row + 1) * len]);
            finder.push(&rows.collect::<Vec<_>>());
        }
    }
    Ok(finder.finish())
}

/// [`find_beats`] for a signal that comes stretch by stretch.
#[derive(Clone, Debug)]
pub struct BeatFinder {
    /// The leads that are looked at, and their rows.
    names: Vec<Lead>,
    rows: Vec<usize>,
    /// Absent at a rate that is too low.
    detector: Option<MultiLead>,
}

impl BeatFinder {
    /// For signals whose rows mean `leads`.
    pub fn new(leads: &LeadSet, rate_hz: f64) -> Self {
        let there = |lead: &Lead| leads.position(lead).is_some();
        let both = there(&Lead::I) && there(&Lead::II);
        let follows =
            |lead: &Lead| both && matches!(lead, Lead::III | Lead::AVR | Lead::AVL | Lead::AVF);
        let own = leads.leads().iter().cloned().enumerate();
        let (rows, names): (Vec<usize>, Vec<Lead>) = own.filter(|(_, lead)| !follows(lead)).unzip();
        BeatFinder {
            detector: MultiLead::new(rate_hz, rows.len()).ok(),
            names,
            rows,
        }
    }

    /// Takes the next stretch, of any length: a slice of one length for each lead, or none at all.
    pub fn push<S: Sample>(&mut self, rows: &[&[S]]) {
        if rows.is_empty() {
            return;
        }
        let own: Vec<&[S]> = self.rows.iter().map(|&row| rows[row]).collect();
        if let Some(detector) = &mut self.detector {
            detector.push(&own);
        }
    }

    /// The beats of what was pushed since the start or the last call.
    pub fn finish(&mut self) -> FoundBeats {
        let beats = self.detector.as_mut().map(MultiLead::finish);
        let beats = beats.unwrap_or_default();
        let most = beats.weights.iter().copied().fold(0.0, f64::max);
        let counted = self.names.iter().zip(&beats.weights);
        let counted = counted.filter(|(_, weight)| **weight > LITTLE * most);
        FoundBeats {
            leads: counted.map(|(lead, _)| lead.clone()).collect(),
            beats,
        }
    }
}

impl MultiLead {
    /// A detector for signals of `leads` rows at this rate.
    ///
    /// # Errors
    /// [`UnsupportedRate`] below [`LOWEST_RATE_HZ`], above 1 MHz, or not a number.
    pub fn new(rate_hz: f64, leads: usize) -> Result<Self, UnsupportedRate> {
        if !(LOWEST_RATE_HZ..=1e6).contains(&rate_hz) {
            return Err(UnsupportedRate {
                rate_hz,
                lowest_hz: LOWEST_RATE_HZ,
            });
        }
        let frames = Frames::new(rate_hz, leads);
        Ok(MultiLead {
            chooser: Chooser::new(frames.rate_hz()),
            frames,
        })
    }

    /// R-peaks of one signal: `rows` holds a slice of one length for each lead. Values that are not finite are passed over.
    ///
    /// None in less than half a second, in what is constant, and in what is noise throughout.
    pub fn detect<S: Sample>(&mut self, rows: &[&[S]]) -> Beats {
        self.push(rows);
        self.finish()
    }

    /// Takes the next stretch of a signal, of any length.
    pub fn push<S: Sample>(&mut self, rows: &[&[S]]) {
        self.frames.push(rows);
    }

    /// The beats of what was pushed since the start or the last call.
    pub fn finish(&mut self) -> Beats {
        let (frames, candidates, weights) = self.frames.finish();
        let chosen = self.chooser.choose(frames, candidates);
        let r_peaks = chosen
            .map(|place| self.frames.source_sample(place))
            .collect();
        let beats = Beats { r_peaks, weights };
        self.frames.reset();
        beats
    }
}

#[cfg(test)]
mod tests;
