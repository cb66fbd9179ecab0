//! From recordings to what a network sees of them, and whether a store fits a model.

use std::str::FromStr;

use miette::{bail, miette};
use purkinje_record::{Digital, Lead, LeadSet, Recording};
use purkinje_signal::beats::{BEATS_PER_LEAD, Detection, RATE_HZ, TOKEN_SAMPLES};
use purkinje_signal::{BeatTokens, Prepared, Preparer, Preprocess, Tokenizer};

use crate::system;

/// Which leads a model is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WantedLeads {
    /// Those of the recording or store, as far as the model knows them.
    Present,
    /// Just these, in this order.
    Named(LeadSet),
}

impl FromStr for WantedLeads {
    type Err = purkinje_record::UnknownLead;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "present" => Ok(WantedLeads::Present),
            names => names.parse().map(WantedLeads::Named),
        }
    }
}

impl WantedLeads {
    /// The leads to take where there are `present` and the contract names `own`; all of its own where nothing is wanted.
    ///
    /// # Errors
    /// A sentence, when one that is needed is not there.
    pub fn choose(
        wanted: Option<&WantedLeads>,
        own: &LeadSet,
        present: &LeadSet,
    ) -> Result<LeadSet, String> {
        let leads = match wanted {
            None => own.clone(),
            Some(WantedLeads::Named(leads)) => leads.clone(),
            Some(WantedLeads::Present) => LeadSet::new(
                own.leads()
                    .iter()
                    .filter(|lead| present.position(lead).is_some())
                    .cloned()
                    .collect(),
            ),
        };
        if leads.is_empty() {
            return Err(format!("it has none of the leads {own}: found {present}"));
        }
        match present.rows_of(&leads) {
            Ok(_) => Ok(leads),
            Err(lead) => Err(format!(
                "it has no lead {lead}: found {present}; name the leads to use with `--leads`, or take those there are with `--leads present`"
            )),
        }
    }
}

/// What a model sees of one recording.
pub struct View {
    /// What was done, with the leads that were used.
    pub contract: Preprocess,
    /// Where the model begins to look, in seconds of the recording.
    pub start_s: f64,
    /// The samples after preprocessing.
    pub prepared: Prepared,
    /// The tokens; `None` where the largest sample is exactly 0.
    pub cut: Option<BeatTokens>,
    /// Heartbeats, in time.
    pub beats: Vec<BeatSpan>,
    /// The lead the R-peaks were found in; `None` where evenly spaced positions stand in.
    pub found_in: Option<Lead>,
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
    /// Prepares a recording by `contract`, from `start_s` on, and cuts it.
    ///
    /// # Errors
    /// A sentence saying why the model would refuse the recording.
    pub fn of(recording: &Recording, contract: &Preprocess, start_s: f64) -> Result<View, String> {
        if contract.rate_hz != RATE_HZ {
            return Err(format!(
                "heartbeats are cut at {RATE_HZ} Hz, but the preprocessing gives {} Hz; choose one for 100 Hz",
                contract.rate_hz
            ));
        }
        let preparer = Preparer::new(contract).map_err(|error| error.to_string())?;
        let first = (start_s * recording.rate_hz).round() as usize;
        let prepared = prepare(&preparer, recording, first)?;
        let mut tokenizer = Tokenizer::new(&contract.leads).map_err(|error| error.to_string())?;
        let rows = &prepared.rows;
        let (r_peaks, found_in) = match tokenizer.detect(rows).map_err(|e| e.to_string())? {
            Detection::Found { r_peaks, lead } => (r_peaks, Some(lead)),
            Detection::EvenlySpaced { r_peaks } => (r_peaks, None),
            Detection::Silent => (Vec::new(), None),
        };
        let silent = r_peaks.is_empty();
        let cut = tokenizer.cut(rows, &r_peaks).map_err(|e| e.to_string())?;
        let spans = spans(rows.len() / prepared.leads.len(), &r_peaks);
        let start_s = first as f64 / recording.rate_hz;
        let seconds = |sample: usize| start_s + sample as f64 / RATE_HZ;
        Ok(View {
            contract: contract.clone(),
            start_s,
            beats: r_peaks
                .iter()
                .enumerate()
                .map(|(beat, &peak)| BeatSpan {
                    peak_s: seconds(peak),
                    token_s: spans
                        .get(beat)
                        .map(|&(start, end)| (seconds(start), seconds(end))),
                })
                .collect(),
            cut: (!silent).then_some(BeatTokens {
                detected: found_in.is_some(),
                ..cut
            }),
            prepared,
            found_in,
        })
    }

    /// Places for tokens in all leads.
    pub fn tokens(&self) -> usize {
        BEATS_PER_LEAD * self.contract.leads.len()
    }

    /// Those of them that hold no heartbeat.
    pub fn padding(&self) -> usize {
        match &self.cut {
            Some(cut) => cut.padding.iter().filter(|&&pad| pad).count(),
            None => self.tokens(),
        }
    }

    /// The prepared samples as a recording of its own, to be drawn, without values before [`start_s`](Self::start_s).
    pub fn recording(&self, original: &Recording) -> Recording {
        let leads = self.prepared.leads.clone();
        let before = vec![f32::NAN; (self.start_s * RATE_HZ).round() as usize];
        let samples = self
            .prepared
            .rows
            .chunks_exact((self.prepared.rows.len() / leads.len()).max(1))
            .flat_map(|row| before.iter().copied().chain(row.iter().map(|&v| v as f32)))
            .collect();
        // `prepared` holds as many samples for each of its leads, and there is at least one lead.
        let mut recording = Recording::new(original.id.clone(), leads, RATE_HZ, samples)
            .expect("prepared rows have one length");
        recording.source = original.source.clone();
        recording.patient = original.patient.clone();
        recording
    }
}

/// The samples after preprocessing, in double precision from the file's own integers where they are known, as stores are prepared.
///
/// # Errors
/// A sentence saying why the recording is refused.
pub fn prepare(
    preparer: &Preparer,
    recording: &Recording,
    first: usize,
) -> Result<Prepared, String> {
    let len = recording.len();
    let first = first.min(len);
    let samples_mv: Vec<f64> = match &recording.digital {
        Some(digital) => digital
            .samples()
            .chunks_exact(len.max(1))
            .zip(digital.gain_per_mv().iter().zip(digital.baseline()))
            .flat_map(|(row, (gain, baseline))| {
                row[first..].iter().map(move |&unit| match unit {
                    Digital::MISSING => f64::NAN,
                    unit => f64::from(i32::from(unit) - baseline) / gain,
                })
            })
            .collect(),
        None => recording
            .rows()
            .flat_map(|row| row[first..].iter().map(|&v| f64::from(v)))
            .collect(),
    };
    let (id, leads) = (&recording.id, &recording.leads);
    preparer
        .apply_samples(id, leads, recording.rate_hz, &samples_mv)
        .map_err(|error| error.to_string())
}

/// First sample and one past the last of each token, for R-peaks of a recording of `len` samples: read off a ramp cut
/// by the tokenizer itself, so that there is one rule for borders.
fn spans(len: usize, r_peaks: &[usize]) -> Vec<(usize, usize)> {
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

/// The values of a tensor, row-major.
///
/// # Errors
/// When the device cannot give them.
pub fn values<const D: usize>(tensor: burn::tensor::Tensor<D>) -> miette::Result<Vec<f32>> {
    tensor
        .into_data()
        .convert::<f32>()
        .try_to_vec::<f32>()
        .map_err(|error| miette!("the device did not give its results: {error:?}"))
}

/// Ends the work when the user pressed Ctrl-C.
///
/// # Errors
/// When they did.
pub fn stop_if_asked() -> miette::Result<()> {
    if system::stop_requested() {
        bail!("stopped on request");
    }
    Ok(())
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

    #[test]
    fn leads_are_those_of_the_model_unless_others_are_wanted() {
        let twelve = LeadSet::standard_12();
        let present: LeadSet = "II,I,V2".parse().unwrap();
        assert!(WantedLeads::choose(None, &twelve, &present).is_err());
        let choose = |text: &str| {
            let wanted = text.parse().unwrap();
            WantedLeads::choose(Some(&wanted), &twelve, &present)
        };
        assert_eq!(choose("present").unwrap().to_string(), "I II V2");
        assert_eq!(choose("V2,I").unwrap().to_string(), "V2 I");
        assert!(choose("V1").unwrap_err().contains("no lead V1"));
    }
}
