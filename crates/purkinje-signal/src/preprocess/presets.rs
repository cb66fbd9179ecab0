//! Contracts with names: how published data sets were prepared.

use purkinje_record::LeadSet;

use super::{
    Arithmetic, BandPass, EmptyLead, MissingPolicy, Preprocess, Resample, Scale, Version, Window,
};

/// Names of all presets, with one line on each.
pub const PRESETS: [(&str, &str); 7] = [
    (
        "clear",
        "first 10 s at 100 Hz in mV, 0.67-40 Hz: what CLEAR was pre-trained on, for recordings of any source",
    ),
    ("clear-raw", "first 10 s at 100 Hz in mV, not filtered"),
    (
        "clear-mimic",
        "the MIMIC-IV-ECG recipe of CLEAR-HUG: missing samples repaired, 100 Hz, mV, 0.67-40 Hz",
    ),
    (
        "clear-ptbxl",
        "the PTB-XL recipe of CLEAR-HUG before its standardisation: 100 Hz, mV, not filtered",
    ),
    (
        "clear-csn",
        "the Chapman-Shaoxing-Ningbo recipe of CLEAR-HUG: range -3 to 3 in single precision, 100 Hz, 0.67-40 Hz",
    ),
    (
        "clear-cpsc2018",
        "the CPSC2018 recipe of CLEAR-HUG: 5 s and 5 s of zeros, range -3 to 3, 100 Hz",
    ),
    (
        "clear-cpsc2018-int16",
        "the same with the 16-bit arithmetic of the published program, which wraps around above 5.46 mV",
    ),
];

/// A preset that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown preprocessing `{0}`: expected one of {names}", names = PRESETS.map(|(name, _)| name).join(", "))]
pub struct UnknownPreset(pub String);

/// Converter units per millivolt of the CPSC2018 and Chapman-Shaoxing-Ningbo files.
const UNITS_PER_MV: f64 = 1000.0;

impl Preprocess {
    /// The contract of this name, see [`PRESETS`]; blanks around it, case, and `_` for `-` do not matter.
    ///
    /// # Errors
    /// [`UnknownPreset`] lists the names.
    pub fn preset(name: &str) -> Result<Self, UnknownPreset> {
        match name.trim().to_ascii_lowercase().replace('_', "-").as_str() {
            "clear" => Ok(Self::clear()),
            "clear-raw" => Ok(Self::clear_raw()),
            "clear-mimic" => Ok(Self::clear_mimic()),
            "clear-ptbxl" => Ok(Self::clear_ptbxl()),
            "clear-csn" => Ok(Self::clear_csn()),
            "clear-cpsc2018" => Ok(Self::clear_cpsc2018()),
            "clear-cpsc2018-int16" => Ok(Self::clear_cpsc2018_int16()),
            _ => Err(UnknownPreset(name.to_owned())),
        }
    }

    /// For recordings of any source: the first 10 s, prepared as CLEAR's pre-training data were.
    /// A lead without any value is refused.
    pub fn clear() -> Self {
        Preprocess {
            empty_lead: EmptyLead::Reject,
            window: Some(Window {
                keep_s: 10.0,
                pad_to_s: None,
            }),
            ..Self::clear_mimic()
        }
    }

    /// [`clear`](Self::clear) without the filter.
    pub fn clear_raw() -> Self {
        Preprocess {
            band_pass: None,
            ..Self::clear()
        }
    }

    /// MIMIC-IV-ECG (specification, section 2.2). Lead order follows names, so aVF and aVL need no exchange.
    pub fn clear_mimic() -> Self {
        Preprocess {
            version: Version::CURRENT,
            rate_hz: 100.0,
            leads: LeadSet::standard_12(),
            missing: MissingPolicy::LocalMean { half_window: 6 },
            empty_lead: EmptyLead::Zero,
            window: None,
            scale: Scale::Millivolts,
            resample: Resample::Fourier,
            band_pass: Some(BandPass {
                order: 5,
                low_hz: 0.67,
                high_hz: 40.0,
            }),
        }
    }

    /// PTB-XL (section 2.3), as read: the mean and deviation of the training part are
    /// [`Scale::Standard`], known after the split.
    pub fn clear_ptbxl() -> Self {
        Preprocess {
            missing: MissingPolicy::Reject,
            empty_lead: EmptyLead::Reject,
            band_pass: None,
            ..Self::clear_mimic()
        }
    }

    /// Chapman-Shaoxing-Ningbo (section 2.5).
    pub fn clear_csn() -> Self {
        Preprocess {
            missing: MissingPolicy::Reject,
            empty_lead: EmptyLead::Reject,
            scale: Scale::MinMax {
                low: -3.0,
                high: 3.0,
                arithmetic: Arithmetic::Float32 {
                    units_per_mv: UNITS_PER_MV,
                },
            },
            ..Self::clear_mimic()
        }
    }

    /// CPSC2018 (section 2.4) without integer overflow.
    pub fn clear_cpsc2018() -> Self {
        Preprocess {
            missing: MissingPolicy::Reject,
            empty_lead: EmptyLead::Reject,
            window: Some(Window {
                keep_s: 5.0,
                pad_to_s: Some(10.0),
            }),
            scale: Scale::MinMax {
                low: -3.0,
                high: 3.0,
                arithmetic: Arithmetic::Float64,
            },
            band_pass: None,
            ..Self::clear_mimic()
        }
    }

    /// CPSC2018 with the overflow of the published program (section 9.15).
    pub fn clear_cpsc2018_int16() -> Self {
        Preprocess {
            scale: Scale::MinMax {
                low: -3.0,
                high: 3.0,
                arithmetic: Arithmetic::Int16 {
                    units_per_mv: UNITS_PER_MV,
                },
            },
            ..Self::clear_cpsc2018()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_forgiving_and_errors_list_them() {
        assert_eq!(
            Preprocess::preset(" CLEAR_MIMIC "),
            Ok(Preprocess::clear_mimic())
        );
        let error = Preprocess::preset("clear-mimik").unwrap_err().to_string();
        assert!(
            error.contains("`clear-mimik`") && error.contains("clear-mimic,"),
            "{error}"
        );
    }
}
