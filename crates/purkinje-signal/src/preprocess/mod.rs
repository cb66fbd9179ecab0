//! The preprocessing contract: the processing of samples before a model.
//!
//! One serialisable value is part of every store and checkpoint: the selected leads, then [steps](Step) in the order in
//! which they run. It can be applied to a recording ([`Preprocess::apply`], or [`Preparer`] for many), compared with
//! another ([`Preprocess::check`]), and asked whether it can be reached from rows stored under another contract
//! ([`Preprocess::serve`]).

mod beat_search;
mod error;
mod prepare;
mod presets;
mod scale;
mod serve;
mod wire;

use std::fmt;

use purkinje_record::{LeadSet, Recording};
use serde::{Deserialize, Serialize};

pub use crate::filter::{BandPass, FirBandPass};
pub use crate::repair::MissingPolicy;
pub use beat_search::{BeatSearch, FirstRow};
pub use error::PreprocessError;
pub use prepare::{MAX_PADDED_S, MAX_STEPS, Prepared, PreparedBeats, Preparer, Repair};
pub use presets::{PRESETS, UnknownPreset};
pub use serve::Remaining;

/// The preprocessing contract.
///
/// As JSON (unknown fields are refused; contracts of version 1, with its fixed order of steps, are still read):
/// ```
/// # use purkinje_signal::Preprocess;
/// let contract = Preprocess::preset("clear").unwrap();
/// let text = contract.to_json();
/// assert!(text.contains("\"rate_hz\": 100.0"));
/// assert_eq!(Preprocess::from_json(&text).unwrap(), contract);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "wire::Wire")]
pub struct Preprocess {
    /// Version of this layout.
    pub version: Version,
    /// Sampling rate after preprocessing, in hertz.
    pub rate_hz: f64,
    /// The leads after preprocessing; they are selected first.
    pub leads: LeadSet,
    /// The steps on the selected leads, in order.
    pub steps: Vec<Step>,
    /// How R-peaks are looked for. A contract without it has [`BeatSearch::UNSAID`].
    #[serde(skip_serializing_if = "BeatSearch::is_unsaid")]
    pub beats: BeatSearch,
}

/// A preprocessing step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Treatment of missing samples. Every contract has this step once, with at most a window before it.
    Missing {
        /// How they are treated.
        policy: MissingPolicy,
        /// How a lead without any value is treated.
        empty_lead: EmptyLead,
    },
    /// A window of the recording.
    Window(Window),
    /// Scaling to another unit or range.
    Scale(Scale),
    /// Resampling.
    Resample {
        /// The method.
        method: Resample,
        /// The new rate in hertz; no effect on samples that already have it.
        to_hz: f64,
    },
    /// A zero-phase filter at the current rate of the samples.
    Filter(Filter),
}

/// Layout version of [`Preprocess`]. Version 1 had the same steps in one fixed order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(u32);

/// How a lead is treated whose samples are all missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmptyLead {
    /// The recording is refused.
    Reject,
    /// The lead becomes 0 mV throughout, as in the reference recipes.
    Zero,
}

/// A window of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Seconds kept from the start; a shorter recording is kept whole.
    pub keep_s: f64,
    /// Length in seconds to which zeros (in the current unit) are appended; no padding if absent.
    pub pad_to_s: Option<f64>,
}

/// The method of resampling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resample {
    /// Fourier method, see [`crate::resample`].
    Fourier,
}

/// A zero-phase filter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Filter {
    /// Recursive Butterworth band-pass.
    Butterworth(BandPass),
    /// Band-pass of finite impulse response.
    Fir(FirBandPass),
}

/// Scaling of the values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Scale {
    /// `(high - low) * (value - min) / (max - min + epsilon) + low`: the smallest value becomes `low`, the largest `high`.
    MinMax {
        /// Image of the smallest value.
        low: f64,
        /// Image of the largest value.
        high: f64,
        /// The samples whose minimum and maximum are used.
        over: Extent,
        /// Added to the range, so that a constant does not divide by zero: it becomes `low`.
        epsilon: f64,
        /// How a constant signal is treated when `epsilon` is 0.
        constant: Constant,
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
    /// Truncation to steps of `1 / per_unit` towards zero, within 16 bits, as after storing integers and dividing
    /// again.
    Truncate {
        /// Steps of one unit.
        per_unit: f64,
    },
}

/// The samples that have a common range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extent {
    /// All chosen leads together, so that they keep their proportions.
    Recording,
    /// Every lead separately.
    Lead,
}

/// How a constant signal is treated, which has no range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Constant {
    /// The recording is refused.
    Reject,
    /// Every value becomes `low`.
    Low,
}

/// Number format in which a range is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Arithmetic {
    /// Double precision.
    Float64,
    /// Single precision on integer converter units; windows and resampling after it are in single precision too.
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

/// Two contracts differ, or rows stored under one cannot become what the other wants.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("preprocessing differs in `{field}`: found {found}, expected {expected}; {advice}")]
pub struct Mismatch {
    /// The first difference: `rate_hz`, `leads`, the kind of a step, `steps` for their order, or `beats`.
    pub field: &'static str,
    /// Its value in the contract that was checked.
    pub found: String,
    /// Its value in the contract it was checked against.
    pub expected: String,
    /// What can be done.
    pub advice: String,
}

impl Version {
    /// The version this program writes.
    pub const CURRENT: Version = Version(2);
}

impl From<Version> for u32 {
    fn from(version: Version) -> u32 {
        version.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Step {
    /// The kind of step, as its name in JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            Step::Missing { .. } => "missing",
            Step::Window(_) => "window",
            Step::Scale(_) => "scale",
            Step::Resample { .. } => "resample",
            Step::Filter(_) => "filter",
        }
    }
}

impl fmt::Display for Step {
    /// A short description: `0.67-40 Hz band-pass`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Missing { policy, .. } => match policy {
                MissingPolicy::LocalMean { .. } => f.write_str("missing samples repaired"),
                MissingPolicy::Zero => f.write_str("missing samples zero"),
                MissingPolicy::ZeroRecording => f.write_str("damaged recordings zero"),
                MissingPolicy::Reject => f.write_str("missing samples refused"),
            },
            Step::Window(Window { keep_s, pad_to_s }) => {
                write!(f, "first {keep_s} s")?;
                pad_to_s.map_or(Ok(()), |s| write!(f, " padded to {s} s"))
            }
            Step::Scale(Scale::MinMax {
                low, high, over, ..
            }) => {
                let each = if *over == Extent::Lead {
                    " each lead"
                } else {
                    ""
                };
                write!(f, "scaled{each} to {low} to {high}")
            }
            Step::Scale(Scale::Standard { .. }) => f.write_str("standardised"),
            Step::Scale(Scale::Truncate { per_unit }) => write!(f, "in steps of 1/{per_unit}"),
            Step::Resample { to_hz, .. } => write!(f, "{to_hz} Hz"),
            Step::Filter(
                Filter::Butterworth(BandPass {
                    low_hz, high_hz, ..
                })
                | Filter::Fir(FirBandPass {
                    low_hz, high_hz, ..
                }),
            ) => write!(f, "{low_hz}-{high_hz} Hz band-pass"),
        }
    }
}

impl Preprocess {
    /// A contract of the current version.
    pub fn new(rate_hz: f64, leads: LeadSet, steps: Vec<Step>) -> Self {
        Preprocess {
            version: Version::CURRENT,
            rate_hz,
            leads,
            steps,
            beats: BeatSearch::default(),
        }
    }

    /// The same contract with other leads (a subset, for a recording that lacks some).
    pub fn with_leads(self, leads: LeadSet) -> Self {
        Preprocess { leads, ..self }
    }

    /// The same contract with another choice of the lead for R-peaks.
    pub fn with_beats(self, beats: BeatSearch) -> Self {
        Preprocess { beats, ..self }
    }

    /// The same contract without the steps of one [kind](Step::kind): for instance to inspect samples before the
    /// filter.
    pub fn without(mut self, kind: &str) -> Self {
        self.steps.retain(|step| step.kind() != kind);
        self
    }

    /// The same contract with another final sampling rate.
    pub fn at_rate(mut self, rate_hz: f64) -> Self {
        for step in &mut self.steps {
            if let Step::Resample { to_hz, .. } = step {
                *to_hz = rate_hz;
            }
        }
        self.rate_hz = rate_hz;
        self
    }

    /// The treatment of missing samples; `Reject` without such a step (which every valid contract has).
    pub fn missing(&self) -> MissingPolicy {
        let policy = self.steps.iter().find_map(|step| match step {
            Step::Missing { policy, .. } => Some(*policy),
            _ => None,
        });
        policy.unwrap_or(MissingPolicy::Reject)
    }

    /// The first window.
    pub fn window(&self) -> Option<Window> {
        self.steps.iter().find_map(|step| match step {
            Step::Window(window) => Some(*window),
            _ => None,
        })
    }

    /// The first filter.
    pub fn filter(&self) -> Option<Filter> {
        self.steps.iter().find_map(|step| match step {
            Step::Filter(filter) => Some(*filter),
            _ => None,
        })
    }

    /// Unit of the values afterwards: `mV`, or `1` where a step scales them.
    pub fn unit(&self) -> &'static str {
        let scaled = self.steps.iter().any(|step| matches!(step, Step::Scale(_)));
        if scaled { "1" } else { "mV" }
    }

    /// A short description: window, filter and scale.
    pub fn in_words(&self) -> String {
        let mut words: Vec<String> = self
            .steps
            .iter()
            .filter(|step| !matches!(step, Step::Missing { .. } | Step::Resample { .. }))
            .map(Step::to_string)
            .collect();
        if self.filter().is_none() {
            words.push("not filtered".to_owned());
        }
        words.join(", ")
    }

    /// Applies the contract to one recording. For many, use a [`Preparer`].
    ///
    /// # Errors
    /// See [`PreprocessError`]; the message names the record and the problem.
    pub fn apply(&self, recording: &Recording) -> Result<Prepared, PreprocessError> {
        Preparer::new(self)?.apply(recording)
    }

    /// Samples of a lead of recordings that are long enough, where all but those of the beginning are cut off.
    pub fn samples(&self) -> Option<usize> {
        let window = self.steps.iter().rev().find_map(|step| match step {
            Step::Window(window) => Some(window.pad_to_s.unwrap_or(window.keep_s)),
            _ => None,
        });
        window.map(|seconds| (seconds * self.rate_hz).round() as usize)
    }

    /// Whether both contracts give the same samples; R-peaks may differ.
    pub fn same_samples(&self, other: &Preprocess) -> bool {
        self.check(&other.clone().with_beats(self.beats)).is_ok()
    }

    /// Whether both contracts give the same samples and the same R-peaks: rows stored under one, with their R-peaks, are
    /// rows of the other.
    pub fn gives_the_same(&self, other: &Preprocess) -> bool {
        self.same_samples(other)
            && self.beats.first_row(&self.leads) == other.beats.first_row(&other.leads)
    }

    /// Compares with the contract that a model or store expects. For whether the other contract can be reached from
    /// rows of this one, see [`serve`](Self::serve).
    ///
    /// # Errors
    /// [`Mismatch`] with the first field or step that differs.
    pub fn check(&self, expected: &Preprocess) -> Result<(), Mismatch> {
        // Destructured so that a new field cannot be forgotten here.
        let Preprocess {
            version,
            rate_hz,
            leads,
            steps,
            beats,
        } = self;
        let advice = "prepare the data again with the expected contract";
        same("version", version, &expected.version, advice)?;
        same("rate_hz", rate_hz, &expected.rate_hz, advice)?;
        same("leads", leads, &expected.leads, advice)?;
        match first_difference(steps, &expected.steps) {
            Some(difference) => Err(difference.advise(advice)),
            None => same("beats", beats, &expected.beats, advice),
        }
    }

    /// The contract as indented JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a contract has string keys only")
    }

    /// Reads what [`to_json`](Self::to_json) wrote, of this version or version 1.
    ///
    /// # Errors
    /// Malformed JSON, unknown or missing fields, another version: the message names line and field.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

impl Mismatch {
    fn advise(self, advice: &str) -> Self {
        Mismatch {
            advice: advice.to_owned(),
            ..self
        }
    }
}

fn same<T: PartialEq + Serialize>(
    field: &'static str,
    found: &T,
    expected: &T,
    advice: &str,
) -> Result<(), Mismatch> {
    if found == expected {
        return Ok(());
    }
    Err(Mismatch {
        field,
        found: show(found),
        expected: show(expected),
        advice: advice.to_owned(),
    })
}

fn show<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| error.to_string())
}

/// The first step that differs; one that only one side has is shown beside `null`.
fn first_difference(found: &[Step], expected: &[Step]) -> Option<Mismatch> {
    let at = (0..found.len().max(expected.len())).find(|k| found.get(*k) != expected.get(*k))?;
    let (found, expected) = (
        &found[at.min(found.len())..],
        &expected[at.min(expected.len())..],
    );
    let lacks = |steps: &[Step], kind| steps.iter().all(|step| step.kind() != kind);
    let mismatch = |field, found: Option<&Step>, expected: Option<&Step>| Mismatch {
        field,
        found: show(&found),
        expected: show(&expected),
        advice: String::new(),
    };
    Some(match (found.first(), expected.first()) {
        (found, Some(step)) if found.is_some_and(|found| found.kind() == step.kind()) => {
            mismatch(step.kind(), found, Some(step))
        }
        (_, Some(step)) if lacks(found, step.kind()) => mismatch(step.kind(), None, Some(step)),
        (Some(step), _) if lacks(expected, step.kind()) => mismatch(step.kind(), Some(step), None),
        _ => {
            let kinds = |steps: &[Step]| steps.iter().map(Step::kind).collect::<Vec<_>>();
            Mismatch {
                field: "steps",
                found: show(&kinds(found)),
                expected: show(&kinds(expected)),
                advice: String::new(),
            }
        }
    })
}

#[cfg(test)]
mod tests;
