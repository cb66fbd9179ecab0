//! Presets: named contracts, with the preprocessing of published data sets.

use purkinje_record::{Lead, LeadSet};

use super::{
    Arithmetic, BandPass, Constant, EmptyLead, Extent, Filter, FirBandPass, MissingPolicy,
    Preprocess, Resample, Scale, Step, Window,
};

/// Names of all presets, with a description of each.
pub const PRESETS: [(&str, &str); 18] = [
    (
        "clear",
        "first 10 s at 100 Hz in mV, 0.67-40 Hz: as CLEAR's pre-training data, for recordings of any source",
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
    (
        "raw-500",
        "the whole recording at 500 Hz in mV, not filtered: one store for all systems",
    ),
    ("raw-100", "the same at 100 Hz"),
    (
        "hubert",
        "HuBERT-ECG: 0.05-47 Hz, then 500 Hz, each lead from -1 to 1 over the whole recording",
    ),
    (
        "d-beta",
        "D-BETA: first 10 s at 500 Hz in mV, aVF before aVL as in MIMIC-IV-ECG; recordings with missing samples are refused",
    ),
    (
        "d-beta-100",
        "the same at 100 Hz, for small networks of one's own",
    ),
    (
        "d-beta-code",
        "the CODE test set as in D-BETA: 500 Hz, then the first 10 s, aVL before aVF",
    ),
    (
        "deri",
        "DERI's pre-training: 500 Hz, all leads from 0 to 1 in steps of 1/1000, first 10 s, aVF before aVL; damaged recordings become zeros",
    ),
    (
        "deri-100",
        "the same at 100 Hz, for small networks of one's own",
    ),
    (
        "deri-ptbxl",
        "the PTB-XL recipe of DERI: first 10 s at 500 Hz, all leads from 0 to 1, aVF before aVL",
    ),
    (
        "deri-cpsc2018",
        "the CPSC2018 recipe of DERI: 5 s and 5 s of zeros, then as deri-ptbxl",
    ),
    (
        "deri-csn",
        "the Chapman-Shaoxing-Ningbo recipe of DERI: as deri-ptbxl in single precision",
    ),
];

/// A preset that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown preprocessing `{0}`: expected one of {names}", names = PRESETS.map(|(name, _)| name).join(", "))]
pub struct UnknownPreset(pub String);

/// Digital units per millivolt of the CPSC2018 and Chapman-Shaoxing-Ningbo files.
const UNITS_PER_MV: f64 = 1000.0;

/// The pass-band of CLEAR-HUG at 100 Hz.
const CLEAR_BAND: BandPass = BandPass {
    order: 5,
    low_hz: 0.67,
    high_hz: 40.0,
};

/// Missing samples become the mean of their neighbourhood.
const REPAIR: MissingPolicy = MissingPolicy::LocalMean { half_window: 6 };

impl Preprocess {
    /// The preset of this name, see [`PRESETS`]; surrounding blanks, case, and `_` for `-` are ignored.
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
            "raw-500" | "raw" => Ok(Self::raw(500.0)),
            "raw-100" => Ok(Self::raw(100.0)),
            "hubert" => Ok(Self::hubert()),
            "d-beta" => Ok(Self::d_beta()),
            "d-beta-100" => Ok(Self::d_beta_at(100.0)),
            "d-beta-code" => Ok(Self::d_beta_code()),
            "deri" => Ok(Self::deri()),
            "deri-100" => Ok(Self::deri_at(100.0)),
            "deri-ptbxl" => Ok(Self::deri_ptbxl()),
            "deri-cpsc2018" => Ok(Self::deri_cpsc2018()),
            "deri-csn" => Ok(Self::deri_csn()),
            _ => Err(UnknownPreset(name.to_owned())),
        }
    }

    /// For recordings of any source: the first 10 s, prepared as CLEAR's pre-training data were.
    /// A lead without any value is refused.
    pub fn clear() -> Self {
        standard(100.0)
            .then([
                first(10.0),
                missing(REPAIR, EmptyLead::Reject),
                resample(100.0),
            ])
            .then([Step::Filter(Filter::Butterworth(CLEAR_BAND))])
    }

    /// [`clear`](Self::clear) without the filter.
    pub fn clear_raw() -> Self {
        Self::clear().without("filter")
    }

    /// MIMIC-IV-ECG. Lead order follows names, so aVF and aVL need no exchange.
    pub fn clear_mimic() -> Self {
        standard(100.0)
            .then([missing(REPAIR, EmptyLead::Zero), resample(100.0)])
            .then([Step::Filter(Filter::Butterworth(CLEAR_BAND))])
    }

    /// PTB-XL, unscaled: the mean and standard deviation of the training split, known after the split, are for
    /// [`Scale::Standard`].
    pub fn clear_ptbxl() -> Self {
        standard(100.0).then([complete(), resample(100.0)])
    }

    /// Chapman-Shaoxing-Ningbo.
    pub fn clear_csn() -> Self {
        let scale = clear_range(Arithmetic::Float32 {
            units_per_mv: UNITS_PER_MV,
        });
        standard(100.0)
            .then([complete(), scale, resample(100.0)])
            .then([Step::Filter(Filter::Butterworth(CLEAR_BAND))])
    }

    /// CPSC2018 without integer overflow.
    pub fn clear_cpsc2018() -> Self {
        clear_cpsc2018(Arithmetic::Float64)
    }

    /// CPSC2018 with the overflow of the released program (docs/differences.md, 9.15).
    pub fn clear_cpsc2018_int16() -> Self {
        clear_cpsc2018(Arithmetic::Int16 {
            units_per_mv: UNITS_PER_MV,
        })
    }

    /// The whole recording in millivolts at this rate, not filtered, with the leads in standard order. Missing samples
    /// are repaired as in CLEAR-HUG; a store records their number for every row.
    pub fn raw(rate_hz: f64) -> Self {
        standard(rate_hz).then([missing(REPAIR, EmptyLead::Zero), resample(rate_hz)])
    }

    /// The preprocessing of HuBERT-ECG. The original does not treat missing samples, which the filter would spread over
    /// their lead: here they are repaired first.
    pub fn hubert() -> Self {
        let band = FirBandPass {
            low_hz: 0.05,
            high_hz: 47.0,
            span_s: 0.3,
        };
        let scale = Scale::MinMax {
            low: -1.0,
            high: 1.0,
            over: Extent::Lead,
            epsilon: 1e-8,
            constant: Constant::Low,
            arithmetic: Arithmetic::Float64,
        };
        standard(500.0).then([
            missing(REPAIR, EmptyLead::Zero),
            Step::Filter(Filter::Fir(band)),
            resample(500.0),
            Step::Scale(scale),
        ])
    }

    /// MIMIC-IV-ECG as in D-BETA, including the order of leads. The original takes
    /// 500 Hz only; here other rates are resampled.
    pub fn d_beta() -> Self {
        Self::d_beta_at(500.0)
    }

    /// The same at another rate.
    fn d_beta_at(rate_hz: f64) -> Self {
        mimic_order(rate_hz).then([complete(), resample(rate_hz), first(10.0)])
    }

    /// The CODE test set as in D-BETA: 4096 samples at 400 Hz become 5120, of which 5000 are kept. The leads are in the
    /// data set's order.
    pub fn d_beta_code() -> Self {
        standard(500.0).then([complete(), resample(500.0), first(10.0)])
    }

    /// MIMIC-IV-ECG as in DERI. The original takes 500 Hz only; here other rates are
    /// resampled.
    pub fn deri() -> Self {
        Self::deri_at(500.0)
    }

    /// The same at another rate.
    fn deri_at(rate_hz: f64) -> Self {
        mimic_order(rate_hz).then([
            missing(MissingPolicy::ZeroRecording, EmptyLead::Zero),
            resample(rate_hz),
            unit_range(0.0, Arithmetic::Float64),
            Step::Scale(Scale::Truncate { per_unit: 1000.0 }),
            first(10.0),
        ])
    }

    /// PTB-XL as in DERI.
    pub fn deri_ptbxl() -> Self {
        let range = unit_range(1e-8, Arithmetic::Float64);
        mimic_order(500.0).then([complete(), resample(500.0), first(10.0), range])
    }

    /// CPSC2018: the range includes the zeros.
    pub fn deri_cpsc2018() -> Self {
        let window = Step::Window(Window {
            keep_s: 5.0,
            pad_to_s: Some(10.0),
        });
        let range = unit_range(1e-8, Arithmetic::Float64);
        mimic_order(500.0).then([complete(), resample(500.0), window, range])
    }

    /// Chapman-Shaoxing-Ningbo: the file's integers in single precision.
    pub fn deri_csn() -> Self {
        let range = unit_range(
            1e-8,
            Arithmetic::Float32 {
                units_per_mv: UNITS_PER_MV,
            },
        );
        mimic_order(500.0).then([complete(), resample(500.0), first(10.0), range])
    }

    fn then(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.steps.extend(steps);
        self
    }
}

/// The twelve leads in the usual order.
fn standard(rate_hz: f64) -> Preprocess {
    Preprocess::new(rate_hz, LeadSet::standard_12(), Vec::new())
}

/// The twelve leads in the order of MIMIC-IV-ECG: aVF before aVL.
fn mimic_order(rate_hz: f64) -> Preprocess {
    let mut leads = Lead::STANDARD_12;
    leads.swap(4, 5);
    Preprocess::new(rate_hz, LeadSet::new(leads.to_vec()), Vec::new())
}

fn missing(policy: MissingPolicy, empty_lead: EmptyLead) -> Step {
    Step::Missing { policy, empty_lead }
}

/// Recordings with missing samples are refused.
fn complete() -> Step {
    missing(MissingPolicy::Reject, EmptyLead::Reject)
}

fn first(keep_s: f64) -> Step {
    Step::Window(Window {
        keep_s,
        pad_to_s: None,
    })
}

fn resample(to_hz: f64) -> Step {
    Step::Resample {
        method: Resample::Fourier,
        to_hz,
    }
}

fn clear_range(arithmetic: Arithmetic) -> Step {
    Step::Scale(Scale::MinMax {
        low: -3.0,
        high: 3.0,
        over: Extent::Recording,
        epsilon: 0.0,
        constant: Constant::Reject,
        arithmetic,
    })
}

fn unit_range(epsilon: f64, arithmetic: Arithmetic) -> Step {
    Step::Scale(Scale::MinMax {
        low: 0.0,
        high: 1.0,
        over: Extent::Recording,
        epsilon,
        constant: Constant::Low,
        arithmetic,
    })
}

fn clear_cpsc2018(arithmetic: Arithmetic) -> Preprocess {
    let window = Step::Window(Window {
        keep_s: 5.0,
        pad_to_s: Some(10.0),
    });
    standard(100.0).then([window, complete(), clear_range(arithmetic), resample(100.0)])
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
