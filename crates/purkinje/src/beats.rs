//! The heartbeats of a recording: where they are, and the tokens that a network reads of them.

use purkinje_record::{Lead, LeadSet, Reader, Recording};
use purkinje_signal::beats::{BEATS_PER_LEAD, Detection, RATE_HZ, TOKEN_SAMPLES};
use purkinje_signal::windows::WINDOW_S;
use purkinje_signal::{BeatTokens, Prepared, Preparer, Preprocess, Tokenizer};

use crate::prepared::prepare;

/// A prepared recording cut into heartbeat tokens at its R-peaks.
pub struct Cut {
    /// R-peaks, as sample indices after preprocessing; empty for a silent recording.
    pub r_peaks: Vec<usize>,
    /// The lead they were detected in; `None` where none were and evenly spaced positions replace them.
    /// The leads they were found in; none where evenly spaced positions stand in.
    pub found_in: Vec<Lead>,
    /// The tokens; `None` where the largest sample is exactly 0.
    pub tokens: Option<BeatTokens>,
}

/// Finds the R-peaks of prepared samples and cuts the tokens around them.
///
/// # Errors
/// A sentence, when `contract` has another sampling rate than beats are cut at, or a lead is not one of the standard
/// twelve.
pub fn cut(prepared: &Prepared, contract: &Preprocess) -> Result<Cut, String> {
    if contract.rate_hz != RATE_HZ {
        return Err(format!(
            "the preprocessing gives {} Hz, but heartbeats are cut at {RATE_HZ} Hz; choose a preset at {RATE_HZ} Hz (see `purkinje prepare --help`)",
            contract.rate_hz
        ));
    }
    let mut tokenizer = Tokenizer::for_contract(contract).map_err(|error| error.to_string())?;
    let rows = &prepared.rows;
    let (r_peaks, found_in) = match tokenizer.detect_in(prepared).map_err(|e| e.to_string())? {
        Detection::Found { r_peaks, leads } => (r_peaks, leads),
        Detection::EvenlySpaced { r_peaks } => (r_peaks, Vec::new()),
        Detection::Silent => (Vec::new(), Vec::new()),
    };
    let cut = tokenizer.cut(rows, &r_peaks).map_err(|e| e.to_string())?;
    Ok(Cut {
        tokens: (!r_peaks.is_empty()).then_some(BeatTokens {
            detected: !found_in.is_empty(),
            ..cut
        }),
        r_peaks,
        found_in,
    })
}

/// What a network of heartbeat tokens is given of one recording, for display.
pub struct View {
    /// The preprocessing that was applied, with the leads that were used.
    pub contract: Preprocess,
    /// Start of the model's input, in seconds from the start of the recording.
    pub start_s: f64,
    /// The samples after preprocessing.
    pub prepared: Prepared,
    /// The tokens; `None` where the largest sample is exactly 0.
    pub tokens: Option<BeatTokens>,
    /// Heartbeats, in order of time.
    pub beats: Vec<BeatSpan>,
    /// The lead the R-peaks were detected in; `None` where none were and evenly spaced positions replace them.
    pub found_in: Vec<Lead>,
    /// Limb leads that the recording does not hold and that were computed from two that it does.
    pub derived: Vec<Lead>,
}

/// One heartbeat in seconds of the recording.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BeatSpan {
    /// Its R-peak.
    pub peak_s: f64,
    /// Start and end of its token; `None` for a beat that has no token.
    pub token_s: Option<(f64, f64)>,
}

impl View {
    /// Prepares the window of a recording that begins at `start_s` by `contract`, and cuts it.
    ///
    /// # Errors
    /// A sentence saying why the model would refuse the recording.
    pub fn of(reader: &Reader, contract: &Preprocess, start_s: f64) -> Result<View, String> {
        let preparer = Preparer::new(contract).map_err(|error| error.to_string())?;
        let rate_hz = reader.about().rate_hz;
        let first = (start_s * rate_hz).round() as usize;
        let length_s = contract.window().map_or(WINDOW_S, |window| window.keep_s);
        let end = first.saturating_add((length_s * rate_hz).round() as usize);
        let stretch = first.min(reader.len())..end.min(reader.len());
        let found = preparer
            .find_beats_in(reader)
            .map_err(|error| error.to_string())?;
        let prepared = prepare(&preparer, reader, &stretch, found.as_ref())?;
        let cut = cut(&prepared, contract)?;
        let spans = spans(prepared.rows.len() / prepared.leads.len(), &cut.r_peaks);
        let start_s = first as f64 / rate_hz;
        let seconds = |sample: usize| start_s + sample as f64 / RATE_HZ;
        let beats = cut
            .r_peaks
            .iter()
            .enumerate()
            .map(|(beat, &peak)| BeatSpan {
                peak_s: seconds(peak),
                token_s: spans
                    .get(beat)
                    .map(|&(start, end)| (seconds(start), seconds(end))),
            });
        Ok(View {
            contract: contract.clone(),
            start_s,
            beats: beats.collect(),
            tokens: cut.tokens,
            prepared,
            found_in: cut.found_in,
            derived: reader.about().source.derived.clone(),
        })
    }

    /// Number of token positions in all leads.
    pub fn places(&self) -> usize {
        BEATS_PER_LEAD * self.contract.leads.len()
    }

    /// How many of them are padding.
    pub fn padding(&self) -> usize {
        match &self.tokens {
            Some(cut) => cut.padding.iter().filter(|&&pad| pad).count(),
            None => self.places(),
        }
    }

    /// The prepared samples as a recording, to be drawn: from [`start_s`](Self::start_s) on, with what is known of the original.
    pub fn recording(&self, original: &Recording) -> Recording {
        let leads = self.prepared.leads.clone();
        let samples = self.prepared.rows.iter().map(|&v| v as f32).collect();
        // `prepared` holds as many samples for each of its leads, and there is at least one lead.
        let mut recording = Recording::new(original.id.clone(), leads, RATE_HZ, samples)
            .expect("prepared rows have one length");
        recording.source = original.source.clone();
        recording.patient = original.patient.clone();
        recording
    }
}

/// First sample and one past the last of each token, for R-peaks of a recording of `len` samples. The tokenizer itself
/// cuts a ramp, and the borders are read off the result, so that the rule for borders exists once.
pub fn spans(len: usize, r_peaks: &[usize]) -> Vec<(usize, usize)> {
    let ramp: Vec<f64> = (1..=len).map(|sample| sample as f64).collect();
    let lead = LeadSet::new(vec![Lead::II]);
    // Cannot fail: one standard lead, and R-peaks that were accepted before.
    let Some(cut) = Tokenizer::new(&lead)
        .ok()
        .and_then(|tokenizer| tokenizer.cut(&ramp, r_peaks).ok())
    else {
        return Vec::new();
    };
    cut.samples
        .chunks_exact(TOKEN_SAMPLES)
        .zip(&cut.padding)
        .filter(|(_, pad)| !**pad)
        .map(|(token, _)| {
            let places = || token.iter().filter(|&&v| v > 0.0).map(|&v| v as usize);
            // A token holds at least its R-peak.
            (places().min().unwrap_or(1) - 1, places().max().unwrap_or(0))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_are_those_of_the_tokens() {
        // As in the tests of the tokenizer: 48 samples before the first R-peak, then midpoints.
        assert_eq!(
            spans(1000, &[200, 280, 360]),
            [(152, 240), (240, 320), (320, 408)]
        );
        assert_eq!(spans(1000, &[10]), [(0, 58)]);
        assert_eq!(spans(100, &[]), []);
    }
}
