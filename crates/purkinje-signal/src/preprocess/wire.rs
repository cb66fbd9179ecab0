//! Reading of contracts: the current layout, and version 1 with its fixed order of steps.

use purkinje_record::LeadSet;
use serde::Deserialize;

use super::{
    Arithmetic, BandPass, BeatSearch, Constant, EmptyLead, Extent, Filter, MissingPolicy,
    Preprocess, Resample, Scale, Step, Version, Window,
};

/// All fields of all versions.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wire {
    version: u32,
    rate_hz: f64,
    leads: LeadSet,
    steps: Option<Vec<Step>>,
    beats: Option<BeatSearch>,
    missing: Option<MissingPolicy>,
    empty_lead: Option<EmptyLead>,
    window: Option<Window>,
    scale: Option<Scale1>,
    resample: Option<Resample>,
    band_pass: Option<BandPass>,
}

/// Scales of version 1.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Scale1 {
    Millivolts,
    MinMax {
        low: f64,
        high: f64,
        arithmetic: Arithmetic,
    },
    Standard {
        mean_mv: f64,
        deviation_mv: f64,
    },
}

impl TryFrom<Wire> for Preprocess {
    type Error = String;

    fn try_from(wire: Wire) -> Result<Self, String> {
        let steps = match wire.version {
            1 => steps_of_1(&wire)?,
            2 => steps_of_2(&wire)?,
            version => {
                return Err(format!(
                    "preprocessing contract of version {version}: this program reads versions 1 and {}; update it or prepare the data again",
                    Version::CURRENT
                ));
            }
        };
        let beats = wire.beats.unwrap_or(BeatSearch::UNSAID);
        Ok(Preprocess::new(wire.rate_hz, wire.leads, steps).with_beats(beats))
    }
}

fn steps_of_2(wire: &Wire) -> Result<Vec<Step>, String> {
    let strange = [
        ("missing", wire.missing.is_some()),
        ("empty_lead", wire.empty_lead.is_some()),
        ("window", wire.window.is_some()),
        ("scale", wire.scale.is_some()),
        ("resample", wire.resample.is_some()),
        ("band_pass", wire.band_pass.is_some()),
    ];
    if let Some((field, _)) = strange.into_iter().find(|(_, there)| *there) {
        return Err(format!(
            "a preprocessing contract of version 2 has no field `{field}`: expected it among its `steps`"
        ));
    }
    wire.steps.clone().ok_or_else(|| lacks("steps", 2))
}

fn steps_of_1(wire: &Wire) -> Result<Vec<Step>, String> {
    if wire.steps.is_some() {
        return Err(
            "a preprocessing contract of version 1 has no field `steps`: expected version 2"
                .to_owned(),
        );
    }
    let policy = wire.missing.ok_or_else(|| lacks("missing", 1))?;
    let empty_lead = wire.empty_lead.ok_or_else(|| lacks("empty_lead", 1))?;
    let method = wire.resample.ok_or_else(|| lacks("resample", 1))?;
    let scale = match wire.scale.as_ref().ok_or_else(|| lacks("scale", 1))? {
        Scale1::Millivolts => None,
        &Scale1::MinMax {
            low,
            high,
            arithmetic,
        } => Some(Scale::MinMax {
            low,
            high,
            over: Extent::Recording,
            epsilon: 0.0,
            constant: Constant::Reject,
            arithmetic,
        }),
        &Scale1::Standard {
            mean_mv,
            deviation_mv,
        } => Some(Scale::Standard {
            mean_mv,
            deviation_mv,
        }),
    };
    let resample = Step::Resample {
        method,
        to_hz: wire.rate_hz,
    };
    let filter = wire
        .band_pass
        .map(|band| Step::Filter(Filter::Butterworth(band)));
    let steps = wire.window.map(Step::Window).into_iter();
    Ok(steps
        .chain([Step::Missing { policy, empty_lead }])
        .chain(scale.map(Step::Scale))
        .chain([resample])
        .chain(filter)
        .collect())
}

fn lacks(field: &str, version: u32) -> String {
    format!("a preprocessing contract of version {version} lacks the field `{field}`")
}
