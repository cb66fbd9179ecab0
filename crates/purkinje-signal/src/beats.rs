//! Heartbeat tokens: each lead cut into 15 beats of 96 samples around shared R-peaks.
//!
//! Source: the published program of CLEAR-HUG. Signals are at [`RATE_HZ`]; tokens are lead-major
//! (token = 15 * row + beat) and hold copies of samples and zeros, nothing else.

use purkinje_record::{Lead, LeadSet};

use crate::preprocess::{BeatSearch, Prepared, PreparedBeats, Preprocess};
use crate::r_peaks::{FoundBeats, Xqrs, find_beats};

/// Sampling rate that tokens are cut at.
pub const RATE_HZ: f64 = 100.0;
/// Samples of a token.
pub const TOKEN_SAMPLES: usize = 96;
/// Tokens of a lead.
pub const BEATS_PER_LEAD: usize = 15;
/// Samples of one step of the time index.
pub const TIME_BLOCK_SAMPLES: usize = 100;

const HALF: usize = TOKEN_SAMPLES / 2;

/// The tokens of one recording.
#[derive(Clone, Debug, PartialEq)]
pub struct BeatTokens {
    /// Token values in the unit of the input, `[15 * leads, 96]`, row-major.
    pub samples: Vec<f32>,
    /// Standard position of each token's lead plus 1 (I = 1 .. V6 = 12), `[15 * leads]`; padding included.
    pub lead_index: Vec<u8>,
    /// Time block of each token's R-peak plus 1; 0 for padding and for a peak at sample 0, `[15 * leads]`.
    /// Blocks beyond 254 share the value 255.
    pub time_index: Vec<u8>,
    /// Whether a token is padding, `[15 * leads]`.
    pub padding: Vec<bool>,
    /// The R-peaks the recording was cut at, all of them (beats after the fifteenth have no token).
    pub r_peaks: Vec<usize>,
    /// Whether the R-peaks were detected; `false` for evenly spaced ones.
    pub detected: bool,
}

/// What the search for R-peaks gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detection {
    /// R-peaks found.
    Found {
        /// Increasing sample indices.
        r_peaks: Vec<usize>,
        /// The leads they were found in.
        leads: Vec<Lead>,
    },
    /// No lead shows any; 15 evenly spaced positions stand in.
    EvenlySpaced {
        /// Non-decreasing sample indices from the first sample to the last.
        r_peaks: Vec<usize>,
    },
    /// The largest sample is exactly 0: the reference writes no tokens for such a recording.
    Silent,
}

impl Detection {
    /// R-peaks found in a row of `len` samples, or evenly spaced positions for none.
    fn of(r_peaks: Vec<usize>, leads: Vec<Lead>, len: usize) -> Self {
        match r_peaks.is_empty() {
            false => Detection::Found { r_peaks, leads },
            true => Detection::EvenlySpaced {
                r_peaks: evenly_spaced(len),
            },
        }
    }
}

/// What became of a recording.
#[derive(Clone, Debug, PartialEq)]
pub enum Tokenized {
    /// It was cut.
    Beats(BeatTokens),
    /// Its largest sample is exactly 0 and it was skipped, see [`Detection::Silent`].
    Silent,
}

/// Why tokens cannot be cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BeatsError {
    /// No lead is selected.
    #[error("no lead selected: expected one to twelve of I, II, III, aVR, aVL, aVF, V1..V6")]
    NoLeads,
    /// A lead without a place in the model.
    #[error(
        "lead `{0}` has no token index: expected leads among I, II, III, aVR, aVL, aVF, V1..V6; leave it out or rename it"
    )]
    UnknownLead(String),
    /// A lead named twice.
    #[error("lead {0} is selected twice: expected each lead once")]
    DuplicateLead(Lead),
    /// No samples, or samples the leads cannot share.
    #[error(
        "{samples} samples cannot be cut for {leads} leads: expected leads x time, row by row, at least one sample each"
    )]
    Shape {
        /// Samples of all leads.
        samples: usize,
        /// Leads.
        leads: usize,
    },
    /// An R-peak outside of the recording.
    #[error(
        "R-peak at sample {found} of a recording of {len} samples: expected indices below {len}"
    )]
    PeakOutside {
        /// The R-peak.
        found: usize,
        /// Samples per lead.
        len: usize,
    },
    /// R-peaks out of order.
    #[error("R-peak at sample {found} follows one at {previous}: expected increasing indices")]
    PeaksOutOfOrder {
        /// The R-peak.
        found: usize,
        /// The one before it.
        previous: usize,
    },
    /// An output slice of another length than the tokens need.
    #[error("output for {field} has {found} entries: expected {expected}")]
    Output {
        /// Which output.
        field: &'static str,
        /// Its length.
        found: usize,
        /// The length needed.
        expected: usize,
    },
}

/// A sample type that tokens can be cut from.
pub trait Sample: Copy + sealed::Sealed {
    /// In double precision, for the detector.
    fn to_f64(self) -> f64;
    /// In single precision, for the tokens.
    fn to_f32(self) -> f32;
}

/// Cuts recordings of one lead set into tokens: the leads, an R-peak detector and its scratch.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    leads: LeadSet,
    lead_index: Vec<u8>,
    /// Absent where all leads are looked at together.
    xqrs: Option<RowSearch>,
}

/// Rows searched one after another.
#[derive(Clone, Debug)]
struct RowSearch {
    order: Vec<usize>,
    detector: Xqrs,
    row: Vec<f64>,
}

impl Tokenizer {
    /// A tokenizer for rows that mean `leads`: any of the standard twelve, in any order.
    ///
    /// R-peaks are looked for in all leads together; [`for_contract`](Self::for_contract) has the other search.
    ///
    /// # Errors
    /// [`BeatsError::NoLeads`], [`BeatsError::UnknownLead`], [`BeatsError::DuplicateLead`].
    pub fn new(leads: &LeadSet) -> Result<Self, BeatsError> {
        Self::searching(leads, BeatSearch::default())
    }

    /// A tokenizer for the rows that a contract gives, which looks for R-peaks as the contract says.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn for_contract(contract: &Preprocess) -> Result<Self, BeatsError> {
        Self::searching(&contract.leads, contract.beats)
    }

    fn searching(leads: &LeadSet, search: BeatSearch) -> Result<Self, BeatsError> {
        let lead_index = lead_indices(leads)?;
        let rows = leads.len();
        let xqrs = search.first_row(leads).map(|preferred| RowSearch {
            order: std::iter::once(preferred)
                .chain((0..rows).filter(|row| *row != preferred))
                .collect(),
            detector: Xqrs::new(RATE_HZ).expect("100 Hz is above the detector's lowest rate"),
            row: Vec::new(),
        });
        Ok(Tokenizer {
            leads: leads.clone(),
            lead_index,
            xqrs,
        })
    }

    /// The meaning of the rows.
    pub fn leads(&self) -> &LeadSet {
        &self.leads
    }

    /// Tokens of one recording: 15 per lead.
    pub fn tokens(&self) -> usize {
        BEATS_PER_LEAD * self.leads.len()
    }

    /// Finds the R-peaks that all leads of a recording share. `rows`: `[lead, time]`, row-major, mV at 100 Hz.
    ///
    /// # Errors
    /// [`BeatsError::Shape`].
    pub fn detect<S: Sample>(&mut self, rows: &[S]) -> Result<Detection, BeatsError> {
        let len = row_len(rows.len(), self.leads.len())?;
        if max_is_zero(rows) {
            return Ok(Detection::Silent);
        }
        let Some(search) = &mut self.xqrs else {
            let rows: Vec<&[S]> = rows.chunks_exact(len).collect();
            let FoundBeats { beats, leads } = find_beats(&self.leads, RATE_HZ, &rows);
            let r_peaks = beats.at_rate(RATE_HZ, RATE_HZ, len);
            return Ok(Detection::of(r_peaks, leads, len));
        };
        for &row in &search.order {
            let samples = &rows[row * len..(row + 1) * len];
            search.row.clear();
            search.row.extend(samples.iter().map(|v| v.to_f64()));
            let r_peaks = search.detector.detect(&search.row);
            if !r_peaks.is_empty() {
                let lead = self.leads.leads()[row].clone();
                return Ok(Detection::of(r_peaks, vec![lead], len));
            }
        }
        Ok(Detection::of(Vec::new(), Vec::new(), len))
    }

    /// The R-peaks of a prepared recording: those found before it was prepared, or those its rows show.
    ///
    /// # Errors
    /// As [`detect`](Self::detect).
    pub fn detect_in(&mut self, prepared: &Prepared) -> Result<Detection, BeatsError> {
        let Some(PreparedBeats { r_peaks, leads }) = &prepared.beats else {
            return self.detect(&prepared.rows);
        };
        let len = row_len(prepared.rows.len(), self.leads.len())?;
        if max_is_zero(&prepared.rows) {
            return Ok(Detection::Silent);
        }
        Ok(Detection::of(r_peaks.clone(), leads.clone(), len))
    }

    /// Finds R-peaks and cuts.
    ///
    /// # Errors
    /// [`BeatsError::Shape`].
    pub fn tokenize<S: Sample>(&mut self, rows: &[S]) -> Result<Tokenized, BeatsError> {
        let (r_peaks, detected) = match self.detect(rows)? {
            Detection::Found { r_peaks, .. } => (r_peaks, true),
            Detection::EvenlySpaced { r_peaks } => (r_peaks, false),
            Detection::Silent => return Ok(Tokenized::Silent),
        };
        let mut tokens = self.cut(rows, &r_peaks)?;
        tokens.detected = detected;
        Ok(Tokenized::Beats(tokens))
    }

    /// Cuts at known R-peaks, which count as detected. `rows`: `[lead, time]`, row-major.
    ///
    /// # Errors
    /// [`BeatsError::Shape`], [`BeatsError::PeakOutside`], [`BeatsError::PeaksOutOfOrder`].
    pub fn cut<S: Sample>(&self, rows: &[S], r_peaks: &[usize]) -> Result<BeatTokens, BeatsError> {
        let tokens = self.tokens();
        let mut beats = BeatTokens {
            samples: vec![0.0; tokens * TOKEN_SAMPLES], // [lead * beat, sample]
            lead_index: self.lead_index.clone(),
            time_index: vec![0; tokens],
            padding: vec![true; tokens],
            r_peaks: r_peaks.to_vec(),
            detected: true,
        };
        let spans = self.spans(rows.len(), r_peaks)?;
        copy(
            rows,
            rows.len() / self.leads.len(),
            &spans,
            &mut beats.samples,
        );
        self.index(r_peaks, &mut beats.time_index, &mut beats.padding);
        Ok(beats)
    }

    /// [`cut`](Self::cut) into slices of a batch: `samples` `[15 * leads, 96]`, the others `[15 * leads]`.
    ///
    /// # Errors
    /// As [`cut`](Self::cut), and [`BeatsError::Output`].
    pub fn cut_into<S: Sample>(
        &self,
        rows: &[S],
        r_peaks: &[usize],
        samples: &mut [f32],
        time_index: &mut [u8],
        padding: &mut [bool],
    ) -> Result<(), BeatsError> {
        let tokens = self.tokens();
        for (field, found, expected) in [
            ("samples", samples.len(), tokens * TOKEN_SAMPLES),
            ("time_index", time_index.len(), tokens),
            ("padding", padding.len(), tokens),
        ] {
            if found != expected {
                return Err(BeatsError::Output {
                    field,
                    found,
                    expected,
                });
            }
        }
        let spans = self.spans(rows.len(), r_peaks)?;
        samples.fill(0.0);
        copy(rows, rows.len() / self.leads.len(), &spans, samples);
        self.index(r_peaks, time_index, padding);
        Ok(())
    }

    /// Standard position plus 1 of each token's lead, `[15 * leads]`: the same for every recording.
    pub fn lead_index(&self) -> &[u8] {
        &self.lead_index
    }

    fn spans(&self, samples: usize, r_peaks: &[usize]) -> Result<Vec<Span>, BeatsError> {
        let len = row_len(samples, self.leads.len())?;
        if let Some(&found) = r_peaks.iter().find(|peak| **peak >= len) {
            return Err(BeatsError::PeakOutside { found, len });
        }
        if let Some(pair) = r_peaks.windows(2).find(|pair| pair[0] > pair[1]) {
            return Err(BeatsError::PeaksOutOfOrder {
                found: pair[1],
                previous: pair[0],
            });
        }
        Ok((0..r_peaks.len().min(BEATS_PER_LEAD))
            .map(|beat| Span::of(beat, r_peaks, len))
            .collect())
    }

    fn index(&self, r_peaks: &[usize], time_index: &mut [u8], padding: &mut [bool]) {
        let times = time_index.chunks_exact_mut(BEATS_PER_LEAD);
        for (times, pads) in times.zip(padding.chunks_exact_mut(BEATS_PER_LEAD)) {
            for (beat, (time, pad)) in times.iter_mut().zip(pads).enumerate() {
                let peak = r_peaks.get(beat);
                *pad = peak.is_none();
                *time = peak.map_or(0, |peak| time_block(*peak));
            }
        }
    }
}

/// Where one beat comes from and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    /// First sample of the recording.
    start: usize,
    /// How many samples.
    len: usize,
    /// First place in the token.
    at: usize,
}

impl Span {
    /// Section 3.2. `r_peaks` is non-decreasing and below `len`; `beat < r_peaks.len()`.
    fn of(beat: usize, r_peaks: &[usize], len: usize) -> Span {
        let peak = r_peaks[beat];
        let before = peak.saturating_sub(HALF);
        let half_way = |other: usize| (peak + other) / 2;
        let mut start = match beat.checked_sub(1) {
            Some(previous) => half_way(r_peaks[previous]),
            None => before,
        };
        let mut end = match r_peaks.get(beat + 1) {
            Some(next) => half_way(*next),
            None if beat == 0 => start + TOKEN_SAMPLES,
            None => peak + HALF,
        }
        .min(len);
        if end - start > TOKEN_SAMPLES {
            start = before;
            end = (start + TOKEN_SAMPLES).min(len);
        }
        let at = (HALF + start).saturating_sub(peak);
        Span {
            start,
            // What would pass the token's end on the right is cut off.
            len: (end - start).min(TOKEN_SAMPLES - at),
            at,
        }
    }
}

/// Copies the beats of every row into zeroed tokens.
fn copy<S: Sample>(rows: &[S], len: usize, spans: &[Span], tokens: &mut [f32]) {
    let per_lead = BEATS_PER_LEAD * TOKEN_SAMPLES;
    for (row, tokens) in rows
        .chunks_exact(len)
        .zip(tokens.chunks_exact_mut(per_lead))
    {
        for (span, token) in spans.iter().zip(tokens.chunks_exact_mut(TOKEN_SAMPLES)) {
            let from = &row[span.start..span.start + span.len];
            for (value, sample) in token[span.at..].iter_mut().zip(from) {
                *value = sample.to_f32();
            }
        }
    }
}

fn time_block(peak: usize) -> u8 {
    match peak {
        0 => 0,
        peak => u8::try_from(peak / TIME_BLOCK_SAMPLES + 1).unwrap_or(u8::MAX),
    }
}

/// The 15 positions that stand in where no beat is found: the step is rounded before it is multiplied, the last position
/// is exact. `len` samples, at least one.
pub fn evenly_spaced(len: usize) -> Vec<usize> {
    let last = len - 1;
    let step = last as f64 / (BEATS_PER_LEAD - 1) as f64;
    (0..BEATS_PER_LEAD - 1)
        .map(|i| (i as f64 * step) as usize)
        .chain([last])
        .collect()
}

fn max_is_zero<S: Sample>(rows: &[S]) -> bool {
    let mut zero_seen = false;
    for value in rows {
        let value = value.to_f64();
        // Either way the maximum is not zero.
        if value > 0.0 || value.is_nan() {
            return false;
        }
        zero_seen |= value == 0.0;
    }
    zero_seen
}

fn row_len(samples: usize, leads: usize) -> Result<usize, BeatsError> {
    if samples == 0 || leads == 0 || !samples.is_multiple_of(leads) {
        return Err(BeatsError::Shape { samples, leads });
    }
    Ok(samples / leads)
}

fn lead_indices(leads: &LeadSet) -> Result<Vec<u8>, BeatsError> {
    if leads.is_empty() {
        return Err(BeatsError::NoLeads);
    }
    let mut indices = Vec::with_capacity(BEATS_PER_LEAD * leads.len());
    for (row, lead) in leads.leads().iter().enumerate() {
        let index = lead
            .standard_index()
            .and_then(|index| u8::try_from(index + 1).ok())
            .ok_or_else(|| BeatsError::UnknownLead(lead.name().to_owned()))?;
        if leads.position(lead) != Some(row) {
            return Err(BeatsError::DuplicateLead(lead.clone()));
        }
        indices.extend([index; BEATS_PER_LEAD]);
    }
    Ok(indices)
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

impl Sample for f32 {
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    fn to_f32(self) -> f32 {
        self
    }
}

impl Sample for f64 {
    fn to_f64(self) -> f64 {
        self
    }
    fn to_f32(self) -> f32 {
        self as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(leads: usize, len: usize) -> Vec<f32> {
        (1..=leads * len).map(|v| v as f32).collect()
    }

    fn tokenizer(leads: &str) -> Tokenizer {
        Tokenizer::new(&leads.parse().unwrap()).unwrap()
    }

    #[test]
    fn peak_lands_in_the_middle() {
        let rows = ramp(1, 1000);
        let t = tokenizer("II").cut(&rows, &[200, 280, 360]).unwrap();
        assert_eq!(t.samples[48], rows[200]);
        assert_eq!(t.samples[TOKEN_SAMPLES + 48], rows[280]);
        // First beat: 48 samples before the peak, up to the midpoint.
        assert_eq!(t.samples[..88], rows[152..240]);
        assert_eq!(t.samples[88..96], [0.0; 8]);
        assert_eq!(t.time_index[..4], [3, 3, 4, 0]);
        assert_eq!(t.padding[..4], [false, false, false, true]);
    }

    #[test]
    fn long_left_part_shifts_the_peak() {
        // Second beat: 60 samples on the left, 20 on the right, 80 in all.
        let rows = ramp(1, 1000);
        let t = tokenizer("II").cut(&rows, &[200, 320, 360]).unwrap();
        let token = &t.samples[TOKEN_SAMPLES..2 * TOKEN_SAMPLES];
        assert_eq!(token[..80], rows[260..340]);
        assert_eq!(token[60], rows[320]);
    }

    #[test]
    fn early_peak_begins_with_zeros() {
        let rows = ramp(1, 1000);
        let t = tokenizer("II").cut(&rows, &[10]).unwrap();
        assert_eq!(t.samples[..38], [0.0; 38]);
        assert_eq!(t.samples[38..96], rows[..58]);
        let t = tokenizer("II").cut(&rows, &[0]).unwrap();
        assert_eq!((t.time_index[0], t.padding[0]), (0, false));
    }

    #[test]
    fn leads_are_named_not_counted() {
        let t = tokenizer("V6,I").cut(&ramp(2, 300), &[150]).unwrap();
        assert_eq!(t.lead_index[..2], [12, 12]);
        assert_eq!(t.lead_index[15..17], [1, 1]);
        assert!(matches!(
            Tokenizer::new(&LeadSet::new(vec![Lead::Other("MLII".into())])),
            Err(BeatsError::UnknownLead(_))
        ));
        assert!(matches!(
            Tokenizer::new(&LeadSet::new(vec![Lead::I, Lead::I])),
            Err(BeatsError::DuplicateLead(Lead::I))
        ));
    }

    #[test]
    fn r_peaks_come_from_lead_ii_by_name_or_from_the_second_row_as_released() {
        // Every row beats at a rate of its own.
        let rows = |count: usize| -> Vec<f64> {
            let beat = |row: usize, k: usize| (k % (60 + 17 * row)) as f64 - 30.0;
            let row = |row| (0..1000).map(move |k| (-0.5 * beat(row, k).powi(2)).exp());
            (0..count).flat_map(row).collect()
        };
        let found = |leads: &str, beats: BeatSearch| {
            let leads: LeadSet = leads.parse().unwrap();
            let contract = Preprocess::clear_raw()
                .with_leads(leads.clone())
                .with_beats(beats);
            let mut tokenizer = Tokenizer::for_contract(&contract).unwrap();
            match tokenizer.detect(&rows(leads.len())).unwrap() {
                Detection::Found { leads, r_peaks } => (leads[0].to_string(), r_peaks),
                other => panic!("no R-peaks: {other:?}"),
            }
        };
        let (unsaid, released) = (BeatSearch::UNSAID, BeatSearch::RELEASED);
        for (leads, by_name, second) in [
            ("12", "II", "II"),
            ("II,V1", "II", "V1"),
            ("V6,V5,II,I", "II", "V5"),
            ("V6,V1,I", "V1", "V1"),
            ("aVR", "aVR", "aVR"),
        ] {
            let [unsaid, released] = [unsaid, released].map(|beats| found(leads, beats));
            assert_eq!((unsaid.0.as_str(), released.0.as_str()), (by_name, second));
            assert_eq!(unsaid.1 == released.1, by_name == second, "{leads}");
        }
        let contract = Preprocess::clear_raw().with_leads("V6,V5,II,I".parse().unwrap());
        let by_name = Tokenizer::for_contract(&contract).unwrap().detect(&rows(4));
        let new = Tokenizer::new(&contract.leads).unwrap().detect(&rows(4));
        assert_eq!(by_name, new);
    }

    #[test]
    fn silence_is_an_outcome() {
        let mut t = tokenizer("I,II");
        assert_eq!(t.tokenize(&[0.0f32; 400]), Ok(Tokenized::Silent));
        let below: Vec<f64> = (0..400).map(|k| -f64::from(k)).collect();
        assert_eq!(t.tokenize(&below), Ok(Tokenized::Silent));
        let Ok(Tokenized::Beats(beats)) = t.tokenize(&[-1.0f32; 400]) else {
            panic!("a constant is cut at evenly spaced positions");
        };
        assert!(!beats.detected);
        assert_eq!(beats.r_peaks.len(), 15);
        assert_eq!(beats.r_peaks[14], 199);
    }

    #[test]
    fn bad_peaks_are_named() {
        let t = tokenizer("I");
        assert_eq!(
            t.cut(&[1.0f32; 50], &[50]),
            Err(BeatsError::PeakOutside { found: 50, len: 50 })
        );
        assert_eq!(
            t.cut(&[1.0f32; 50], &[20, 10]),
            Err(BeatsError::PeaksOutOfOrder {
                found: 10,
                previous: 20
            })
        );
        assert!(t.cut::<f32>(&[], &[]).is_err());
    }
}
