//! The preprocessing contract: what was, or must be, done to samples before a model sees them.
//!
//! One serialisable value travels in every store and checkpoint. It can be applied to a recording
//! ([`Preprocess::apply`], or [`Preparer`] for many) and compared with another ([`Preprocess::check`]).
//! Steps, in this order: choose leads, repair missing samples, window, scale, resample, band-pass.

mod prepare;
mod presets;

use std::fmt;

use purkinje_record::{LeadSet, Recording};
use serde::{Deserialize, Serialize};

pub use crate::filter::BandPass;
pub use crate::repair::MissingPolicy;
pub use prepare::{Prepared, Preparer, PreprocessError, Repair};
pub use presets::{PRESETS, UnknownPreset};

/// Everything that is done to samples, as one value.
///
/// As JSON (unknown fields are refused):
/// ```
/// # use purkinje_signal::Preprocess;
/// let contract = Preprocess::preset("clear").unwrap();
/// let text = contract.to_json();
/// assert!(text.contains("\"rate_hz\": 100.0"));
/// assert_eq!(Preprocess::from_json(&text).unwrap(), contract);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// Version of this layout.
    pub version: Version,
    /// Sampling rate after preprocessing, in hertz.
    pub rate_hz: f64,
    /// The rows after preprocessing.
    pub leads: LeadSet,
    /// What happens to samples the file has no value for.
    pub missing: MissingPolicy,
    /// What happens to a lead without any value.
    pub empty_lead: EmptyLead,
    /// Which part of a recording is used; all of it when absent.
    pub window: Option<Window>,
    /// Unit or range of the values.
    pub scale: Scale,
    /// How the rate is changed.
    pub resample: Resample,
    /// Zero-phase Butterworth filter at `rate_hz`.
    pub band_pass: Option<BandPass>,
}

/// Layout version of [`Preprocess`]; reading another one than [`Version::CURRENT`] fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Version(u32);

/// What happens to a lead all of whose samples are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmptyLead {
    /// The recording is refused.
    Reject,
    /// The lead becomes 0 mV throughout, as in the reference recipes.
    Zero,
}

/// The part of a recording that is used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Seconds kept from the start; a shorter recording is kept whole.
    pub keep_s: f64,
    /// Seconds to which zeros (in mV, before scaling) are appended; none when absent.
    pub pad_to_s: Option<f64>,
}

/// How the sampling rate is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resample {
    /// Fourier method, see [`crate::resample`].
    Fourier,
}

/// Unit or range of the values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Scale {
    /// Millivolts, unchanged.
    Millivolts,
    /// The smallest value of the whole recording becomes `low`, the largest `high`.
    MinMax {
        /// Image of the smallest value.
        low: f64,
        /// Image of the largest value.
        high: f64,
        /// Arithmetic of the reference.
        arithmetic: Arithmetic,
    },
    /// `(value - mean_mv) / deviation_mv` with one mean and one deviation for all leads.
    Standard {
        /// Mean in millivolts.
        mean_mv: f64,
        /// Standard deviation in millivolts.
        deviation_mv: f64,
    },
}

/// Number format in which a range is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Arithmetic {
    /// Double precision.
    Float64,
    /// Single precision on integer converter units; resampling is in single precision too.
    Float32 {
        /// Converter units of one millivolt.
        units_per_mv: f64,
    },
    /// 16-bit integers in converter units, which wrap around: the published CPSC2018 recipe.
    Int16 {
        /// Converter units of one millivolt.
        units_per_mv: f64,
    },
}

/// Two contracts differ.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "preprocessing differs in `{field}`: found {found}, expected {expected}; prepare the data again with the expected contract"
)]
pub struct Mismatch {
    /// The first differing field.
    pub field: &'static str,
    /// Its value in the contract that was checked.
    pub found: String,
    /// Its value in the contract it was checked against.
    pub expected: String,
}

impl Version {
    /// The version this program writes and reads.
    pub const CURRENT: Version = Version(1);
}

impl From<Version> for u32 {
    fn from(version: Version) -> u32 {
        version.0
    }
}

impl TryFrom<u32> for Version {
    type Error = String;

    fn try_from(version: u32) -> Result<Self, String> {
        if version == Self::CURRENT.0 {
            return Ok(Version(version));
        }
        Err(format!(
            "preprocessing contract of version {version}: this program reads version {}; update it or prepare the data again",
            Self::CURRENT.0
        ))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Preprocess {
    /// The same contract for other leads (a subset for a recording that lacks some).
    pub fn with_leads(self, leads: LeadSet) -> Self {
        Preprocess { leads, ..self }
    }

    /// Applies the contract to one recording. For many, keep a [`Preparer`].
    ///
    /// # Errors
    /// See [`PreprocessError`]; each names the record and what is wrong with it.
    pub fn apply(&self, recording: &Recording) -> Result<Prepared, PreprocessError> {
        Preparer::new(self)?.apply(recording)
    }

    /// Compares with the contract a model or store expects.
    ///
    /// # Errors
    /// [`Mismatch`] with the first field that differs.
    pub fn check(&self, expected: &Preprocess) -> Result<(), Mismatch> {
        // Destructured so that a new field cannot be forgotten here.
        let Preprocess {
            version,
            rate_hz,
            leads,
            missing,
            empty_lead,
            window,
            scale,
            resample,
            band_pass,
        } = self;
        same("version", version, &expected.version)?;
        same("rate_hz", rate_hz, &expected.rate_hz)?;
        same("leads", leads, &expected.leads)?;
        same("missing", missing, &expected.missing)?;
        same("empty_lead", empty_lead, &expected.empty_lead)?;
        same("window", window, &expected.window)?;
        same("scale", scale, &expected.scale)?;
        same("resample", resample, &expected.resample)?;
        same("band_pass", band_pass, &expected.band_pass)
    }

    /// The contract as indented JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a contract has string keys only")
    }

    /// Reads what [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    /// Malformed JSON, unknown or missing fields, another version: the message names line and field.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

fn same<T: PartialEq + Serialize>(
    field: &'static str,
    found: &T,
    expected: &T,
) -> Result<(), Mismatch> {
    if found == expected {
        return Ok(());
    }
    let show = |value: &T| serde_json::to_string(value).unwrap_or_else(|error| error.to_string());
    Err(Mismatch {
        field,
        found: show(found),
        expected: show(expected),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_survives_json() {
        for (name, _) in PRESETS {
            let contract = Preprocess::preset(name).unwrap();
            assert_eq!(
                Preprocess::from_json(&contract.to_json()).unwrap(),
                contract
            );
            assert_eq!(contract.check(&contract), Ok(()));
            assert!(Preparer::new(&contract).is_ok(), "{name}");
        }
    }

    #[test]
    fn strange_json_is_refused() {
        let good = Preprocess::preset("clear-csn").unwrap().to_json();
        let cases = [
            (
                good.replace("\"version\": 1", "\"version\": 2"),
                "version 2",
            ),
            (
                good.replace("\"rate_hz\"", "\"rate\""),
                "unknown field `rate`",
            ),
            (
                good.replace("\"order\"", "\"ordre\""),
                "unknown field `ordre`",
            ),
        ];
        for (text, expected) in cases {
            let error = Preprocess::from_json(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn differences_are_named() {
        let mimic = Preprocess::preset("clear-mimic").unwrap();
        let raw = Preprocess {
            band_pass: None,
            ..mimic.clone()
        };
        let error = raw.check(&mimic).unwrap_err();
        assert_eq!((error.field, error.found.as_str()), ("band_pass", "null"));
        let limb = mimic.clone().with_leads("limb".parse().unwrap());
        assert_eq!(limb.check(&mimic).unwrap_err().field, "leads");
    }
}
