//! Applying a contract.

use purkinje_record::{Lead, LeadSet, Reader, RecordError, Recording};

use super::scale::{NoRange, Rows};
use super::{
    Arithmetic, BeatSearch, EmptyLead, Filter, MissingPolicy, Preprocess, PreprocessError,
    Resample, Scale, Step, Window,
};
use crate::beats::Sample;
use crate::filter::{FilterError, ZeroPhase};
use crate::r_peaks::{FoundBeats, find_beats, find_beats_in};
use crate::resample::RATES_HZ;
use crate::{repair, resample};

/// A padded recording of more than an hour is a typing error that would fill the memory.
pub const MAX_PADDED_S: f64 = 3600.0;

/// Most steps of a contract.
pub const MAX_STEPS: usize = 32;

/// A recording after preprocessing.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// Samples `[lead, time]`, row-major, in the unit the contract's [`unit`](Preprocess::unit) gives.
    pub rows: Vec<f64>,
    /// The meaning of the rows.
    pub leads: LeadSet,
    /// Sampling rate in hertz.
    pub rate_hz: f64,
    /// What was repaired, one entry for each lead with missing samples.
    pub repairs: Vec<Repair>,
    /// The R-peaks of the recording as it came, where the contract looks for them there.
    pub beats: Option<PreparedBeats>,
}

/// R-peaks that were found before the samples were prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedBeats {
    /// Increasing sample indices after preprocessing; none where none was found.
    pub r_peaks: Vec<usize>,
    /// The leads that showed them.
    pub leads: Vec<Lead>,
}

/// Missing samples of one lead that were replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// The lead.
    pub lead: Lead,
    /// How many samples, at the recording's own rate.
    pub samples: usize,
}

/// A contract that was validated, with its filters designed.
#[derive(Clone, Debug)]
pub struct Preparer {
    contract: Preprocess,
    /// For each step, its filter if the rate there does not depend on the recording.
    filters: Vec<Option<ZeroPhase>>,
}

impl Preparer {
    /// Validates the contract and designs its filters.
    ///
    /// # Errors
    /// [`PreprocessError::Contract`] with the invalid field.
    pub fn new(contract: &Preprocess) -> Result<Self, PreprocessError> {
        validate(contract)?;
        missing_comes_first(contract)?;
        Self::of_steps(contract)
    }

    /// For partly preprocessed rows: without a step for missing samples.
    pub(super) fn for_the_rest(contract: &Preprocess) -> Result<Self, PreprocessError> {
        validate(contract)?;
        Self::of_steps(contract)
    }

    fn of_steps(contract: &Preprocess) -> Result<Self, PreprocessError> {
        let resamples = |step: &Step| matches!(step, Step::Resample { .. });
        let mut rate_hz = match contract.steps.iter().any(resamples) {
            true => None,
            false => Some(contract.rate_hz),
        };
        let mut filters = Vec::with_capacity(contract.steps.len());
        for (k, step) in contract.steps.iter().enumerate() {
            let problem = |error: FilterError| impossible(contract, k, "", error);
            filters.push(match (step, rate_hz) {
                (Step::Resample { to_hz, .. }, _) => {
                    rate_hz = Some(*to_hz);
                    None
                }
                (Step::Filter(Filter::Butterworth(band)), Some(rate_hz)) => {
                    Some(ZeroPhase::butterworth(*band, rate_hz).map_err(problem)?)
                }
                (Step::Filter(Filter::Fir(band)), Some(rate_hz)) => {
                    band.taps(rate_hz).map_err(problem)?;
                    None
                }
                _ => None,
            });
        }
        Ok(Preparer {
            contract: contract.clone(),
            filters,
        })
    }

    /// The contract.
    pub fn contract(&self) -> &Preprocess {
        &self.contract
    }

    /// Prepares one recording.
    ///
    /// # Errors
    /// See [`PreprocessError`].
    pub fn apply(&self, recording: &Recording) -> Result<Prepared, PreprocessError> {
        let Recording {
            id, leads, rate_hz, ..
        } = recording;
        self.apply_samples(id, leads, *rate_hz, recording.samples_mv())
    }

    /// Prepares bare samples of either precision: `samples_mv` is `[lead, time]` in millivolts,
    /// row-major, with the meaning `leads`; `record` names it in errors.
    ///
    /// # Errors
    /// See [`PreprocessError`].
    pub fn apply_samples<S: Sample>(
        &self,
        record: &str,
        leads: &LeadSet,
        rate_hz: f64,
        samples_mv: &[S],
    ) -> Result<Prepared, PreprocessError> {
        let found = self.find_beats(leads, rate_hz, samples_mv);
        self.apply_window(record, leads, rate_hz, samples_mv, found.as_ref())
    }

    /// The R-peaks of samples as they came, as [`apply_samples`](Self::apply_samples) takes them; `None` where the contract looks for
    /// them in the rows that result.
    pub fn find_beats<S: Sample>(
        &self,
        leads: &LeadSet,
        rate_hz: f64,
        samples: &[S],
    ) -> Option<FoundBeats> {
        let time = samples.len() / leads.len().max(1);
        let rows = leads.rows_of(&self.contract.leads).unwrap_or_default();
        let rows = rows
            .into_iter()
            .map(|row| &samples[row * time..(row + 1) * time]);
        self.looks_before()
            .then(|| find_beats(&self.contract.leads, rate_hz, &rows.collect::<Vec<_>>()))
    }

    /// The R-peaks of a recording as it came, which is read block by block; `None` where the contract looks for them in the rows that
    /// result.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn find_beats_in(&self, reader: &Reader) -> Result<Option<FoundBeats>, RecordError> {
        self.looks_before()
            .then(|| find_beats_in(&self.contract.leads, reader))
            .transpose()
    }

    /// Whether the contract looks for R-peaks before its steps.
    fn looks_before(&self) -> bool {
        self.contract.beats == BeatSearch::MultiLead
    }

    /// Prepares a stretch of a recording, as [`apply_samples`](Self::apply_samples) a whole one, whose R-peaks were
    /// [found](Self::find_beats) before, counted from its first sample.
    ///
    /// # Errors
    /// See [`PreprocessError`].
    pub fn apply_window<S: Sample>(
        &self,
        record: &str,
        leads: &LeadSet,
        rate_hz: f64,
        samples_mv: &[S],
        found: Option<&FoundBeats>,
    ) -> Result<Prepared, PreprocessError> {
        if !RATES_HZ.contains(&rate_hz) {
            return Err(PreprocessError::Rate {
                record: record.to_owned(),
                rate_hz,
            });
        }
        let steps = &self.contract.steps;
        // A window that comes first is cut while leads are chosen.
        let (window, done) = match steps.first() {
            Some(Step::Window(window)) => (Some(*window), 1),
            _ => (None, 0),
        };
        let rows = self.choose(record, leads, rate_hz, samples_mv, window)?;
        let mut state = State {
            record,
            leads: &self.contract.leads,
            rows: Rows::Double(rows),
            rate_hz,
            repairs: Vec::new(),
        };
        if state.len() == 0 {
            return Err(state.too_short(0));
        }
        for (step, filter) in steps.iter().zip(&self.filters).skip(done) {
            state.run(step, filter.as_ref())?;
        }
        if state.rate_hz != self.contract.rate_hz {
            return Err(PreprocessError::OtherRate {
                record: record.to_owned(),
                found_hz: state.rate_hz,
                expected_hz: self.contract.rate_hz,
            });
        }
        let beats = found.map(|FoundBeats { beats, leads }| PreparedBeats {
            r_peaks: beats.at_rate(rate_hz, self.contract.rate_hz, state.len()),
            leads: leads.clone(),
        });
        Ok(Prepared {
            rows: state.rows.into_double(),
            leads: self.contract.leads.clone(),
            rate_hz: self.contract.rate_hz,
            repairs: state.repairs,
            beats,
        })
    }

    /// The contract's leads in its order, cut to a window.
    fn choose<S: Sample>(
        &self,
        record: &str,
        leads: &LeadSet,
        rate_hz: f64,
        samples: &[S],
        window: Option<Window>,
    ) -> Result<Vec<f64>, PreprocessError> {
        if leads.is_empty() || !samples.len().is_multiple_of(leads.len()) {
            return Err(PreprocessError::Shape {
                record: record.to_owned(),
                samples: samples.len(),
                leads: leads.len(),
            });
        }
        let chosen =
            leads
                .rows_of(&self.contract.leads)
                .map_err(|lead| PreprocessError::MissingLead {
                    record: record.to_owned(),
                    lead,
                    found: leads.clone(),
                })?;
        let len = samples.len() / leads.len();
        let (kept, padded) = match window {
            Some(window) => window.samples(len, rate_hz),
            None => (len, len),
        };
        let mut rows = Vec::with_capacity(chosen.len() * padded);
        for row in chosen {
            let row = &samples[row * len..row * len + kept];
            rows.extend(row.iter().map(|value| value.to_f64()));
            rows.resize(rows.len() + padded - kept, 0.0);
        }
        Ok(rows)
    }
}

/// The state of a recording between steps.
struct State<'a> {
    record: &'a str,
    leads: &'a LeadSet,
    rows: Rows,
    rate_hz: f64,
    repairs: Vec<Repair>,
}

impl State<'_> {
    /// Samples of one lead.
    fn len(&self) -> usize {
        self.rows.len() / self.leads.len()
    }

    fn run(&mut self, step: &Step, filter: Option<&ZeroPhase>) -> Result<(), PreprocessError> {
        let (len, count) = (self.len(), self.leads.len());
        let rows = std::mem::replace(&mut self.rows, Rows::Double(Vec::new()));
        self.rows = match *step {
            Step::Missing { policy, empty_lead } => {
                let mut rows = rows.into_double();
                self.repair(len, &mut rows, policy, empty_lead)?;
                Rows::Double(rows)
            }
            Step::Window(window) => rows.window(len, window, self.rate_hz),
            Step::Scale(scale) => rows.scale(len, scale).map_err(|NoRange { row, value }| {
                PreprocessError::NoRange {
                    record: self.record.to_owned(),
                    lead: row.and_then(|row| self.leads.leads().get(row).cloned()),
                    value_mv: value,
                }
            })?,
            Step::Resample {
                method: Resample::Fourier,
                to_hz,
            } => {
                let target = resample::resampled_len(len, self.rate_hz, to_hz);
                if target == 0 {
                    self.rows = rows;
                    return Err(self.too_short((self.rate_hz / to_hz) as usize));
                }
                self.rate_hz = to_hz;
                match rows {
                    rows if target == len => rows,
                    Rows::Double(rows) => Rows::Double(resample::fourier(&rows, count, target)),
                    Rows::Single(rows) => Rows::Single(resample::fourier_f32(&rows, count, target)),
                }
            }
            Step::Filter(kind) => {
                let mut rows = rows.into_double();
                let outcome = match (kind, filter) {
                    (_, Some(filter)) => filter.apply(&mut rows, count),
                    (Filter::Butterworth(band), None) => ZeroPhase::butterworth(band, self.rate_hz)
                        .and_then(|filter| filter.apply(&mut rows, count)),
                    (Filter::Fir(band), None) => band.apply(&mut rows, count, self.rate_hz),
                };
                self.rows = Rows::Double(rows);
                return outcome.map_err(|problem| match problem {
                    FilterError::TooShort { needed, .. } => self.too_short(needed),
                    problem => PreprocessError::Filter {
                        record: self.record.to_owned(),
                        problem,
                    },
                });
            }
        };
        Ok(())
    }

    fn too_short(&self, needed: usize) -> PreprocessError {
        PreprocessError::TooShort {
            record: self.record.to_owned(),
            found: self.len(),
            needed,
            rate_hz: self.rate_hz,
        }
    }

    fn repair(
        &mut self,
        len: usize,
        rows: &mut [f64],
        policy: MissingPolicy,
        empty_lead: EmptyLead,
    ) -> Result<(), PreprocessError> {
        // One pass decides the usual case: zero times a finite value is zero.
        if rows.iter().fold(0.0, |sum, value| sum + value * 0.0) == 0.0 {
            return Ok(());
        }
        let record = || self.record.to_owned();
        let leads = self.leads.leads();
        if policy == MissingPolicy::ZeroRecording {
            for (lead, row) in leads.iter().zip(rows.chunks_exact(len)) {
                let samples = row.iter().filter(|value| !value.is_finite()).count();
                if samples > 0 {
                    let lead = lead.clone();
                    self.repairs.push(Repair { lead, samples });
                }
            }
            rows.fill(0.0);
            return Ok(());
        }
        for (lead, row) in leads.iter().zip(rows.chunks_exact_mut(len)) {
            if let Some(sample) = row.iter().position(|value| value.is_infinite()) {
                return Err(PreprocessError::NotFinite {
                    record: record(),
                    lead: lead.clone(),
                    sample,
                });
            }
            let samples = repair::repair(row, policy);
            if samples == 0 {
                continue;
            }
            if samples == len && empty_lead == EmptyLead::Reject {
                return Err(PreprocessError::EmptyLead {
                    record: record(),
                    lead: lead.clone(),
                });
            }
            if policy == MissingPolicy::Reject {
                return Err(PreprocessError::MissingSamples {
                    record: record(),
                    lead: lead.clone(),
                    count: samples,
                });
            }
            self.repairs.push(Repair {
                lead: lead.clone(),
                samples,
            });
        }
        Ok(())
    }
}

/// The error of a step: `steps[2].filter`, or a field within.
fn impossible(
    contract: &Preprocess,
    step: usize,
    field: &str,
    problem: impl ToString,
) -> PreprocessError {
    let kind = contract.steps.get(step).map_or("", Step::kind);
    PreprocessError::Contract {
        field: format!("steps[{step}].{kind}{field}"),
        problem: problem.to_string(),
    }
}

fn validate(contract: &Preprocess) -> Result<(), PreprocessError> {
    let problem = |field: &str, problem: String| PreprocessError::Contract {
        field: field.to_owned(),
        problem,
    };
    let rate = |rate_hz: f64| {
        let words = format!(
            "{rate_hz} found, {} to {} Hz expected",
            RATES_HZ.start(),
            RATES_HZ.end()
        );
        (!RATES_HZ.contains(&rate_hz)).then_some(words)
    };
    if let Some(words) = rate(contract.rate_hz) {
        return Err(problem("rate_hz", words));
    }
    if contract.leads.is_empty() {
        return Err(problem("leads", "one lead or more expected".to_owned()));
    }
    if contract.steps.len() > MAX_STEPS {
        let found = contract.steps.len();
        return Err(problem(
            "steps",
            format!("{found} found, at most {MAX_STEPS} expected"),
        ));
    }
    let mut rate_hz = None;
    for (k, step) in contract.steps.iter().enumerate() {
        let wrong = |field: &str, words: String| Err(impossible(contract, k, field, words));
        match step {
            Step::Missing { .. } | Step::Filter(_) => {}
            Step::Window(window) => window_is_possible(window).or_else(|(f, w)| wrong(f, w))?,
            Step::Scale(scale) => scale_is_possible(scale).or_else(|(f, w)| wrong(f, w))?,
            Step::Resample { to_hz, .. } => {
                rate_hz = Some(*to_hz);
                rate(*to_hz).map_or(Ok(()), |words| wrong(".to_hz", words))?;
            }
        }
    }
    if let Some(found) = rate_hz.filter(|found| *found != contract.rate_hz) {
        let words = format!(
            "{} found, but the last step that resamples goes to {found} Hz",
            contract.rate_hz
        );
        return Err(problem("rate_hz", words));
    }
    Ok(())
}

/// Checks that the step for missing samples comes first: every other step needs a value in every sample.
fn missing_comes_first(contract: &Preprocess) -> Result<(), PreprocessError> {
    let is_missing = |step: &&Step| matches!(step, Step::Missing { .. });
    let found = contract.steps.iter().filter(is_missing).count();
    let before = contract.steps.iter().take_while(|step| !is_missing(step));
    if found == 1
        && before
            .into_iter()
            .all(|step| matches!(step, Step::Window(_)))
    {
        return Ok(());
    }
    Err(PreprocessError::Contract {
        field: "steps".to_owned(),
        problem: format!(
            "{found} steps `missing` found, one expected, with nothing but a window before it"
        ),
    })
}

type Wrong = (&'static str, String);

fn positive(field: &'static str, value: f64) -> Result<(), Wrong> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    Err((field, format!("{value} found, a positive number expected")))
}

fn window_is_possible(window: &Window) -> Result<(), Wrong> {
    positive(".keep_s", window.keep_s)?;
    match window.pad_to_s {
        Some(pad_to_s) if !(pad_to_s > 0.0 && pad_to_s <= MAX_PADDED_S) => Err((
            ".pad_to_s",
            format!("{pad_to_s} found, more than 0 and at most {MAX_PADDED_S} s expected"),
        )),
        _ => Ok(()),
    }
}

fn scale_is_possible(scale: &Scale) -> Result<(), Wrong> {
    match *scale {
        Scale::Truncate { per_unit } => positive(".truncate.per_unit", per_unit),
        Scale::Standard {
            mean_mv,
            deviation_mv,
        } => {
            positive(".standard.deviation_mv", deviation_mv)?;
            if mean_mv.is_finite() {
                return Ok(());
            }
            Err((
                ".standard.mean_mv",
                format!("{mean_mv} found, a number expected"),
            ))
        }
        Scale::MinMax {
            low,
            high,
            epsilon,
            arithmetic,
            ..
        } => {
            positive(".min_max", high - low)?;
            if epsilon != 0.0 {
                positive(".min_max.epsilon", epsilon)?;
            }
            match arithmetic {
                Arithmetic::Float64 => Ok(()),
                Arithmetic::Float32 { units_per_mv } => {
                    positive(".min_max.units_per_mv", units_per_mv)
                }
                Arithmetic::Int16 { units_per_mv } => {
                    positive(".min_max.units_per_mv", units_per_mv)?;
                    let range = high - low;
                    if range.fract() == 0.0 && range <= f64::from(i16::MAX) {
                        return Ok(());
                    }
                    let words = format!(
                        "a range of {range} found, a whole number of at most {} expected for 16-bit arithmetic",
                        i16::MAX
                    );
                    Err((".min_max", words))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(leads: &str, rate_hz: f64, samples: Vec<f32>) -> Recording {
        Recording::new("r1", leads.parse().unwrap(), rate_hz, samples).unwrap()
    }

    fn limb_raw(leads: &str) -> Preprocess {
        Preprocess::clear_raw().with_leads(leads.parse().unwrap())
    }

    fn window(keep_s: f64, pad_to_s: Option<f64>) -> Step {
        Step::Window(Window { keep_s, pad_to_s })
    }

    #[test]
    fn leads_are_ordered_by_name() {
        let r = recording("II,V1,I", 100.0, vec![1.0, 1.0, 9.0, 9.0, 2.0, 2.0]);
        let prepared = limb_raw("I,II").apply(&r).unwrap();
        assert_eq!(prepared.rows, [2.0, 2.0, 1.0, 1.0]);
        assert_eq!(prepared.leads.to_string(), "I II");
    }

    #[test]
    fn errors_name_record_and_lead() {
        let r = |samples| recording("I,II", 100.0, samples);
        let says = |contract: &Preprocess, r: &Recording, words: &[&str]| {
            let error = contract.apply(r).unwrap_err().to_string();
            for word in words {
                assert!(error.contains(word), "`{error}` lacks `{word}`");
            }
        };
        let good = r(vec![0.5; 200]);
        says(&limb_raw("I,V3"), &good, &["`r1`", "no lead V3", "I II"]);
        let limb = limb_raw("I,II");
        says(&limb, &recording("I,II", 0.0, vec![0.5; 200]), &["0 Hz"]);
        says(&limb, &r(vec![]), &["too short"]);
        let filtered = Preprocess::clear().with_leads("I,II".parse().unwrap());
        says(
            &filtered,
            &r(vec![0.5; 60]),
            &["30 samples", "more than 33"],
        );
        let mut samples = vec![0.5; 200];
        samples[150] = f32::INFINITY;
        says(
            &limb,
            &r(samples.clone()),
            &["lead II, sample 50", "infinite"],
        );
        samples[100..].fill(f32::NAN);
        says(&limb, &r(samples.clone()), &["lead II", "every sample"]);
        samples[100] = 1.0;
        let strict = Preprocess::clear_ptbxl().with_leads("I,II".parse().unwrap());
        says(&strict, &r(samples.clone()), &["99 samples are missing"]);
        let repaired = limb.apply(&r(samples)).unwrap();
        assert_eq!(repaired.repairs[0].samples, 99);
        assert_eq!(repaired.repairs[0].lead, Lead::II);
        let ranged = Preprocess::clear_csn().with_leads("I,II".parse().unwrap());
        says(&ranged, &good, &["constant at 0.5 mV"]);
    }

    #[test]
    fn impossible_contracts_name_the_field() {
        let bad = |change: fn(&mut Preprocess)| {
            let mut contract = Preprocess::clear();
            change(&mut contract);
            Preparer::new(&contract).unwrap_err().to_string()
        };
        assert!(bad(|c| c.rate_hz = 0.0).contains("`rate_hz`"));
        assert!(bad(|c| c.rate_hz = 60.0).contains("`rate_hz`"));
        assert!(bad(|c| *c = c.clone().at_rate(60.0)).contains("`steps[3].filter`"));
        assert!(bad(|c| *c = c.clone().at_rate(f64::NAN)).contains("`rate_hz`"));
        assert!(bad(|c| c.leads = LeadSet::new(vec![])).contains("`leads`"));
        assert!(bad(|c| c.steps[0] = window(f64::NAN, None)).contains("`steps[0].window.keep_s`"));
        assert!(bad(|c| c.steps[0] = window(1.0, Some(1e9))).contains("pad_to_s"));
        assert!(
            bad(|c| c.steps.push(Step::Scale(Scale::Truncate { per_unit: 0.0 })))
                .contains("per_unit")
        );
        assert!(bad(|c| *c = c.clone().without("missing")).contains("`missing`"));
        assert!(bad(|c| c.steps.swap(1, 2)).contains("`missing`"));
        assert!(bad(|c| c.steps = vec![c.steps[1]; MAX_STEPS + 1]).contains("at most"));
        let hubert = Preprocess::preset("hubert").unwrap();
        let r = recording("I,II", 90.0, vec![0.5; 2000]);
        let error = hubert
            .with_leads("I,II".parse().unwrap())
            .apply(&r)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`r1`") && error.contains("at 90 Hz"),
            "{error}"
        );
    }

    #[test]
    fn windows_cut_and_pad() {
        let run = |keep_s, pad_to_s| {
            let mut contract = limb_raw("I,II");
            contract.steps[0] = window(keep_s, pad_to_s);
            let samples = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
            let r = recording("I,II", 100.0, samples.to_vec());
            contract.apply(&r).unwrap().rows
        };
        assert_eq!(run(0.02, None), [1.0, 2.0, 4.0, 5.0]);
        assert_eq!(run(9.0, None), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(run(0.01, Some(0.02)), [1.0, 0.0, 4.0, 0.0]);
        assert_eq!(run(9.0, Some(0.02)), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn a_rate_that_no_step_changes_must_be_right() {
        let contract = limb_raw("I,II").without("resample");
        let r = |rate_hz| recording("I,II", rate_hz, vec![0.5; 200]);
        assert_eq!(contract.apply(&r(100.0)).unwrap().rows.len(), 200);
        let error = contract.apply(&r(500.0)).unwrap_err().to_string();
        assert!(
            error.contains("500 Hz") && error.contains("expected 100 Hz"),
            "{error}"
        );
    }

    #[test]
    fn a_damaged_recording_may_become_zero() {
        let deri = Preprocess::deri().with_leads("I,II".parse().unwrap());
        let mut samples: Vec<f32> = (0..1000).map(|k| (k % 31) as f32).collect();
        let good = deri
            .apply(&recording("I,II", 500.0, samples.clone()))
            .unwrap();
        assert!(good.rows.contains(&1.0) && good.rows.contains(&0.033));
        for (value, count) in [(f32::NAN, 1), (f32::INFINITY, 1)] {
            samples[700] = value;
            let zero = deri
                .apply(&recording("I,II", 500.0, samples.clone()))
                .unwrap();
            assert_eq!(zero.rows, [0.0; 1000]);
            assert_eq!(zero.repairs.len(), count);
        }
        let constant = deri
            .apply(&recording("I,II", 500.0, vec![3.0; 1000]))
            .unwrap();
        assert_eq!(constant.rows, [0.0; 1000]);
    }
}
