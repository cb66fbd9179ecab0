//! Applying a contract.

use purkinje_record::{Lead, LeadSet, Recording};

use super::{Arithmetic, EmptyLead, MissingPolicy, Preprocess, Resample, Scale, Window};
use crate::beats::Sample;
use crate::filter::ZeroPhase;
use crate::resample::RATES_HZ;
use crate::{repair, resample};

/// A recording after preprocessing.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// Samples `[lead, time]`, row-major, in the unit the contract's scale gives.
    pub rows: Vec<f64>,
    /// The meaning of the rows.
    pub leads: LeadSet,
    /// Sampling rate in hertz.
    pub rate_hz: f64,
    /// What was repaired, one entry for each lead with missing samples.
    pub repairs: Vec<Repair>,
}

/// Missing samples of one lead that were replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// The lead.
    pub lead: Lead,
    /// How many samples, at the recording's own rate.
    pub samples: usize,
}

/// Why a recording cannot be prepared, or a contract not be applied.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PreprocessError {
    /// The contract itself is impossible.
    #[error("preprocessing contract, field `{field}`: {problem}")]
    Contract {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A lead the contract names is not there.
    #[error(
        "record `{record}` has no lead {lead}: found {found}; choose leads it has, or a contract for them"
    )]
    MissingLead {
        /// The record.
        record: String,
        /// The first lead that is missing.
        lead: Lead,
        /// The leads that are there.
        found: LeadSet,
    },
    /// The rate is not that of an ECG.
    #[error(
        "record `{record}` has a sampling rate of {rate_hz} Hz: expected {} to {} Hz; correct its header or name the rate",
        RATES_HZ.start(), RATES_HZ.end()
    )]
    Rate {
        /// The record.
        record: String,
        /// The rate.
        rate_hz: f64,
    },
    /// Too few samples, before or after resampling.
    #[error(
        "record `{record}` is too short: {found} samples at {rate_hz} Hz, expected more than {needed}"
    )]
    TooShort {
        /// The record.
        record: String,
        /// Samples per lead.
        found: usize,
        /// Samples per lead that must be exceeded.
        needed: usize,
        /// The rate at which they count.
        rate_hz: f64,
    },
    /// A lead has no value at all.
    #[error(
        "record `{record}`, lead {lead}: every sample is missing; leave the lead out, or allow it with `empty_lead: zero`"
    )]
    EmptyLead {
        /// The record.
        record: String,
        /// The lead.
        lead: Lead,
    },
    /// Samples are missing and the contract refuses that.
    #[error(
        "record `{record}`, lead {lead}: {count} samples are missing (NaN); the contract refuses missing samples, choose `local_mean` or `zero` to repair them"
    )]
    MissingSamples {
        /// The record.
        record: String,
        /// The lead.
        lead: Lead,
        /// How many.
        count: usize,
    },
    /// An infinite sample.
    #[error(
        "record `{record}`, lead {lead}, sample {sample}: the value is infinite; expected millivolts, repair the file"
    )]
    NotFinite {
        /// The record.
        record: String,
        /// The lead.
        lead: Lead,
        /// Its index.
        sample: usize,
    },
    /// A constant recording has no range to map.
    #[error(
        "record `{record}` is constant at {value_mv} mV in all chosen leads: expected a range to scale; leave the record out"
    )]
    NoRange {
        /// The record.
        record: String,
        /// The constant in millivolts.
        value_mv: f64,
    },
    /// Samples that the leads cannot share.
    #[error(
        "record `{record}`: {samples} samples cannot be shared by {leads} leads: expected leads x time, row by row"
    )]
    Shape {
        /// The record.
        record: String,
        /// Samples of all leads.
        samples: usize,
        /// Leads.
        leads: usize,
    },
}

/// A contract made ready: validated, its filter designed.
#[derive(Clone, Debug)]
pub struct Preparer {
    contract: Preprocess,
    filter: Option<ZeroPhase>,
}

impl Preparer {
    /// Validates the contract and designs its filter.
    ///
    /// # Errors
    /// [`PreprocessError::Contract`] with the field that is impossible.
    pub fn new(contract: &Preprocess) -> Result<Self, PreprocessError> {
        validate(contract)?;
        let filter = contract
            .band_pass
            .map(|band| ZeroPhase::butterworth(band, contract.rate_hz))
            .transpose()
            .map_err(|error| impossible("band_pass", error))?;
        Ok(Preparer {
            contract: contract.clone(),
            filter,
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
        if !RATES_HZ.contains(&rate_hz) {
            return Err(PreprocessError::Rate {
                record: record.to_owned(),
                rate_hz,
            });
        }
        let mut rows = self.choose(record, leads, rate_hz, samples_mv)?;
        let leads = &self.contract.leads;
        let target_hz = self.contract.rate_hz;
        let too_short = |found, needed, rate_hz| PreprocessError::TooShort {
            record: record.to_owned(),
            found,
            needed,
            rate_hz,
        };
        let len = rows.len() / leads.len();
        if len == 0 {
            return Err(too_short(0, 0, rate_hz));
        }
        let repairs = self.repair(record, len, &mut rows)?;
        let target = resample::resampled_len(len, rate_hz, target_hz);
        if target == 0 {
            return Err(too_short(len, (rate_hz / target_hz) as usize, rate_hz));
        }
        let Resample::Fourier = self.contract.resample;
        let mut rows = match scale_in_place(&mut rows, self.contract.scale) {
            Scaled::Double if target == len => rows,
            Scaled::Double => resample::fourier(&rows, leads.len(), target),
            Scaled::Single(rows) => resample::fourier_f32(&rows, leads.len(), target)
                .into_iter()
                .map(f64::from)
                .collect(),
            Scaled::NoRange(value_mv) => {
                return Err(PreprocessError::NoRange {
                    record: record.to_owned(),
                    value_mv,
                });
            }
        };
        if let Some(filter) = &self.filter {
            filter
                .apply(&mut rows, leads.len())
                .map_err(|_| too_short(target, filter.pad_samples(), target_hz))?;
        }
        Ok(Prepared {
            rows,
            leads: leads.clone(),
            rate_hz: target_hz,
            repairs,
        })
    }

    /// The contract's leads in its order, cut to its window.
    fn choose<S: Sample>(
        &self,
        record: &str,
        leads: &LeadSet,
        rate_hz: f64,
        samples: &[S],
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
        let (kept, padded) = match self.contract.window {
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

    fn repair(
        &self,
        record: &str,
        len: usize,
        rows: &mut [f64],
    ) -> Result<Vec<Repair>, PreprocessError> {
        let mut repairs = Vec::new();
        // One sweep over everything settles the usual case.
        if rows.iter().all(|value| value.is_finite()) {
            return Ok(repairs);
        }
        let leads = self.contract.leads.leads();
        for (lead, row) in leads.iter().zip(rows.chunks_exact_mut(len)) {
            if let Some(sample) = row.iter().position(|value| value.is_infinite()) {
                return Err(PreprocessError::NotFinite {
                    record: record.to_owned(),
                    lead: lead.clone(),
                    sample,
                });
            }
            let samples = repair::repair(row, self.contract.missing);
            if samples == 0 {
                continue;
            }
            if samples == len && self.contract.empty_lead == EmptyLead::Reject {
                return Err(PreprocessError::EmptyLead {
                    record: record.to_owned(),
                    lead: lead.clone(),
                });
            }
            if self.contract.missing == MissingPolicy::Reject {
                return Err(PreprocessError::MissingSamples {
                    record: record.to_owned(),
                    lead: lead.clone(),
                    count: samples,
                });
            }
            repairs.push(Repair {
                lead: lead.clone(),
                samples,
            });
        }
        Ok(repairs)
    }
}

/// A padded recording of more than an hour is a typing error that would fill the memory.
const MAX_PADDED_S: f64 = 3600.0;

fn impossible(field: &'static str, problem: impl ToString) -> PreprocessError {
    PreprocessError::Contract {
        field,
        problem: problem.to_string(),
    }
}

fn validate(contract: &Preprocess) -> Result<(), PreprocessError> {
    let positive = |field, value: f64| {
        if value > 0.0 && value.is_finite() {
            return Ok(());
        }
        Err(impossible(
            field,
            format!("{value} found, a positive number expected"),
        ))
    };
    if !RATES_HZ.contains(&contract.rate_hz) {
        let (found, low, high) = (contract.rate_hz, RATES_HZ.start(), RATES_HZ.end());
        return Err(impossible(
            "rate_hz",
            format!("{found} found, {low} to {high} expected"),
        ));
    }
    if contract.leads.is_empty() {
        return Err(impossible("leads", "no lead found, one or more expected"));
    }
    if let Some(window) = contract.window {
        positive("window.keep_s", window.keep_s)?;
        positive("window.pad_to_s", window.pad_to_s.unwrap_or(1.0))?;
    }
    if let Some(Window {
        pad_to_s: Some(seconds),
        ..
    }) = contract.window
        && seconds > MAX_PADDED_S
    {
        return Err(impossible(
            "window.pad_to_s",
            format!("{seconds} s found, at most {MAX_PADDED_S} s expected"),
        ));
    }
    match contract.scale {
        Scale::Millivolts => {}
        Scale::MinMax {
            low,
            high,
            arithmetic,
        } => {
            positive("scale.min_max", high - low)?;
            match arithmetic {
                Arithmetic::Float64 => {}
                Arithmetic::Float32 { units_per_mv } => {
                    positive("scale.min_max.units_per_mv", units_per_mv)?
                }
                Arithmetic::Int16 { units_per_mv } => {
                    positive("scale.min_max.units_per_mv", units_per_mv)?;
                    let range = high - low;
                    if range.fract() != 0.0 || range > f64::from(i16::MAX) {
                        return Err(impossible(
                            "scale.min_max",
                            format!(
                                "a range of {range} found, a whole number of at most {} expected for 16-bit arithmetic",
                                i16::MAX
                            ),
                        ));
                    }
                }
            }
        }
        Scale::Standard {
            mean_mv,
            deviation_mv,
        } => {
            positive("scale.standard.deviation_mv", deviation_mv)?;
            if !mean_mv.is_finite() {
                return Err(impossible(
                    "scale.standard.mean_mv",
                    format!("{mean_mv} found, a number expected"),
                ));
            }
        }
    }
    Ok(())
}

impl Window {
    /// Of `len` samples at `rate_hz`: how many are kept, and how many there are after padding.
    fn samples(&self, len: usize, rate_hz: f64) -> (usize, usize) {
        let samples = |seconds: f64| (seconds * rate_hz).round() as usize;
        let kept = len.min(samples(self.keep_s));
        (kept, self.pad_to_s.map_or(kept, |s| kept.max(samples(s))))
    }
}

enum Scaled {
    /// In place, in double precision.
    Double,
    /// In single precision, in which resampling goes on.
    Single(Vec<f32>),
    /// All values are this one.
    NoRange(f64),
}

fn scale_in_place(rows: &mut [f64], scale: Scale) -> Scaled {
    match scale {
        Scale::Millivolts => Scaled::Double,
        Scale::Standard {
            mean_mv,
            deviation_mv,
        } => {
            rows.iter_mut()
                .for_each(|value| *value = (*value - mean_mv) / deviation_mv);
            Scaled::Double
        }
        Scale::MinMax {
            low,
            high,
            arithmetic,
        } => min_max(rows, low, high, arithmetic),
    }
}

fn min_max(rows: &mut [f64], low: f64, high: f64, arithmetic: Arithmetic) -> Scaled {
    let (min, max) = rows
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), value| {
            (min.min(*value), max.max(*value))
        });
    let units = |units_per_mv: f64| move |mv: f64| (mv * units_per_mv).round();
    match arithmetic {
        _ if min == max => return Scaled::NoRange(min),
        Arithmetic::Float64 => {
            for value in rows {
                *value = (high - low) * (*value - min) / (max - min) + low;
            }
        }
        Arithmetic::Float32 { units_per_mv } => {
            let to = units(units_per_mv);
            let (range, low) = ((high - low) as f32, low as f32);
            let (min, max) = (to(min) as f32, to(max) as f32);
            if min == max {
                return Scaled::NoRange(rows[0]);
            }
            let scale = |mv: &f64| range * (to(*mv) as f32 - min) / (max - min) + low;
            return Scaled::Single(rows.iter().map(scale).collect());
        }
        Arithmetic::Int16 { units_per_mv } => {
            let to = units(units_per_mv);
            // Validated to be a whole number that fits.
            let factor = (high - low) as i16;
            let (min, max) = (to(min) as i16, to(max) as i16);
            let range = f64::from(max.wrapping_sub(min));
            if range == 0.0 {
                return Scaled::NoRange(rows[0]);
            }
            for value in rows {
                let wrapped = (to(*value) as i16).wrapping_sub(min).wrapping_mul(factor);
                *value = f64::from(wrapped) / range + low;
            }
        }
    }
    Scaled::Double
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
        assert!(bad(|c| c.rate_hz = 60.0).contains("`band_pass`"));
        assert!(bad(|c| c.leads = LeadSet::new(vec![])).contains("`leads`"));
        assert!(
            bad(|c| c.window = Some(Window {
                keep_s: f64::NAN,
                pad_to_s: None
            }))
            .contains("window")
        );
    }

    #[test]
    fn windows_cut_and_pad() {
        let run = |keep_s, pad_to_s| {
            let mut contract = limb_raw("I,II");
            contract.window = Some(Window { keep_s, pad_to_s });
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
    fn integer_arithmetic_wraps_where_the_published_program_does() {
        let mut rows = [0.0, 5.461, 5.462, 6.0];
        let int16 = Arithmetic::Int16 {
            units_per_mv: 1000.0,
        };
        assert!(matches!(
            min_max(&mut rows, -3.0, 3.0, int16),
            Scaled::Double
        ));
        assert_eq!(rows[1], 6.0 * 5461.0 / 6000.0 - 3.0);
        assert_eq!(rows[2], (6.0 * 5462.0 - 65536.0) / 6000.0 - 3.0);
    }
}
