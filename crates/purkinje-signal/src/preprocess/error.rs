//! Errors of applying a preprocessing contract.

use purkinje_record::{Lead, LeadSet};

use crate::filter::FilterError;
use crate::resample::RATES_HZ;

/// Why a recording cannot be prepared or a contract cannot be applied.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PreprocessError {
    /// The contract is invalid.
    #[error("preprocessing contract, field `{field}`: {problem}")]
    Contract {
        /// The field, with its step.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A lead of the contract is missing.
    #[error(
        "record `{record}` has no lead {lead}: found {found}; choose leads it has, or a contract for them"
    )]
    MissingLead {
        /// The record.
        record: String,
        /// The first lead that is missing.
        lead: Lead,
        /// The leads present.
        found: LeadSet,
    },
    /// The rate is not that of an ECG.
    #[error(
        "record `{record}` has a sampling rate of {rate_hz} Hz: expected {} to {} Hz; correct its header or give the rate with `--input-rate`",
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
        /// Number of missing samples.
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
    /// A constant signal cannot be scaled to a range.
    #[error(
        "record `{record}` is constant at {value_mv} mV in {}: expected a range to scale; leave the record out",
        lead.as_ref().map_or("all chosen leads".to_owned(), |lead| format!("lead {lead}"))
    )]
    NoRange {
        /// The record.
        record: String,
        /// The lead, where each has a range of its own.
        lead: Option<Lead>,
        /// The constant in millivolts.
        value_mv: f64,
    },
    /// The record has another rate, and the contract has no step that changes it.
    #[error(
        "record `{record}` has a sampling rate of {found_hz} Hz, expected {expected_hz} Hz, since the contract has no step that resamples; add one, or leave the record out"
    )]
    OtherRate {
        /// The record.
        record: String,
        /// The rate after all steps.
        found_hz: f64,
        /// The rate the contract promises.
        expected_hz: f64,
    },
    /// A filter that is not possible at the record's rate.
    #[error("record `{record}`: {problem}")]
    Filter {
        /// The record.
        record: String,
        /// The error of the filter.
        problem: FilterError,
    },
    /// The number of samples is not a multiple of the leads.
    #[error(
        "record `{record}`: found {samples} samples for {leads} leads, expected leads x time, row by row"
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
