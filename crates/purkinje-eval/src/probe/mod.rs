//! Linear probe: one logistic regression per class on frozen features.
//!
//! Per class c the probe minimises scikit-learn's objective
//!
//! ```text
//! 0.5 w'w + C sum_i ln(1 + exp(-s_i (w'x_i + b))),   s_i = +1 or -1, b not penalised
//! ```
//!
//! (`LogisticRegression(C=C)` in a `OneVsRestClassifier`) over standardized features, by
//! preconditioned L-BFGS in f64, to the same optimum. Large C means weak regularisation.

mod fit;
mod lbfgs;
mod objective;
mod precondition;
mod standardizer;

use std::{fs, path::Path};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use fit::{ClassFit, Labelled, Penalty, ProbeFit, ProbeOptions, fit_probe};
pub use standardizer::Standardizer;

use crate::{EvalError, error::check_finite, error::check_length, sums::dot};

/// A fitted probe: everything needed to turn features into probabilities and decisions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ProbeFile", into = "ProbeFile")]
pub struct LinearProbe {
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Applied to features first.
    pub standardizer: Standardizer,
    /// `[classes, width]`, row-major, for standardized features.
    pub weight: Vec<f64>,
    /// `[classes]`
    pub bias: Vec<f64>,
    /// Decision threshold of every class on the probability (strictly greater is positive).
    pub thresholds: Vec<f32>,
}

impl LinearProbe {
    /// Features per record.
    pub fn width(&self) -> usize {
        self.standardizer.width()
    }

    /// Logits `[records, classes]` for features `[records, width]`. Prefer them to probabilities
    /// for rankings: probabilities near 0 and 1 round to the same number.
    ///
    /// # Errors
    /// An incomplete row, no records, or a feature that is not finite.
    pub fn logits(&self, features: &[f32]) -> Result<Vec<f32>, EvalError> {
        self.apply(features, |logit| logit as f32)
    }

    /// Probabilities `[records, classes]` for features `[records, width]`.
    ///
    /// # Errors
    /// As [`LinearProbe::logits`].
    pub fn predict_proba(&self, features: &[f32]) -> Result<Vec<f32>, EvalError> {
        self.apply(features, |logit| (1.0 / (1.0 + (-logit).exp())) as f32)
    }

    /// Writes the probe as JSON, atomically.
    ///
    /// # Errors
    /// [`EvalError::File`] if the folder or file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), EvalError> {
        let failed = |source: std::io::Error| EvalError::File {
            path: path.display().to_string(),
            source,
        };
        let mut text = serde_json::to_vec(self).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        purkinje_base::atomic::write_file(path, &text).map_err(failed)
    }

    /// Reads a probe written by [`LinearProbe::save`]; numbers come back bit by bit.
    ///
    /// # Errors
    /// [`EvalError::File`] if it cannot be read, [`EvalError::Format`] if it is not a probe.
    pub fn load(path: &Path) -> Result<Self, EvalError> {
        let text = fs::read(path).map_err(|source| EvalError::File {
            path: path.display().to_string(),
            source,
        })?;
        serde_json::from_slice(&text).map_err(|error| EvalError::Format {
            path: path.display().to_string(),
            expected: "linear probe",
            reason: error.to_string(),
        })
    }

    fn apply(
        &self,
        features: &[f32],
        link: impl Fn(f64) -> f32 + Sync,
    ) -> Result<Vec<f32>, EvalError> {
        let (width, classes) = (self.width(), self.classes.len());
        check_features(features, width)?;
        let mut out = vec![0.0; features.len() / width * classes];
        out.par_chunks_exact_mut(classes)
            .zip(features.par_chunks_exact(width))
            .for_each_init(
                || vec![0.0; width],
                |row, (out, features)| {
                    self.standardizer.apply(features, row);
                    let weights = self.weight.chunks_exact(width).zip(&self.bias);
                    for (out, (weight, bias)) in out.iter_mut().zip(weights) {
                        *out = link(dot(weight, row) + bias);
                    }
                },
            );
        Ok(out)
    }

    fn check(&self) -> Result<(), EvalError> {
        let (classes, width) = (self.classes.len(), self.width());
        if classes == 0 || width == 0 {
            return Err(EvalError::Empty {
                what: "The list of classes or features of the probe",
            });
        }
        let per_class = || format!("one per class of {classes}");
        let standardizer = &self.standardizer;
        check_length(
            "The weight of the probe",
            self.weight.len(),
            classes * width,
            || format!("{classes} classes of {width} features"),
        )?;
        check_length("The bias of the probe", self.bias.len(), classes, per_class)?;
        check_length(
            "The thresholds of the probe",
            self.thresholds.len(),
            classes,
            per_class,
        )?;
        check_length(
            "The scale of the probe",
            standardizer.scale.len(),
            width,
            || "one per mean".into(),
        )?;
        let numbers = self
            .weight
            .iter()
            .chain(&self.bias)
            .chain(&standardizer.mean);
        let broken = numbers.copied().find(|value| !value.is_finite());
        let scale = standardizer
            .scale
            .iter()
            .copied()
            .find(|scale| scale.is_nan() || *scale <= 0.0);
        match broken.or(scale) {
            None => Ok(()),
            Some(value) => Err(EvalError::Setting {
                setting: "a number of the probe",
                found: value.to_string(),
                expected: "finite, and greater than 0 for a scale",
            }),
        }
    }
}

/// The file format of a probe.
#[derive(Clone, Serialize, Deserialize)]
struct ProbeFile {
    format: String,
    classes: Vec<String>,
    standardizer: Standardizer,
    weight: Vec<f64>,
    bias: Vec<f64>,
    thresholds: Vec<f32>,
}

const FORMAT: &str = "purkinje linear probe 1";

impl From<LinearProbe> for ProbeFile {
    fn from(probe: LinearProbe) -> Self {
        Self {
            format: FORMAT.to_owned(),
            classes: probe.classes,
            standardizer: probe.standardizer,
            weight: probe.weight,
            bias: probe.bias,
            thresholds: probe.thresholds,
        }
    }
}

impl TryFrom<ProbeFile> for LinearProbe {
    type Error = EvalError;

    fn try_from(file: ProbeFile) -> Result<Self, EvalError> {
        if file.format != FORMAT {
            return Err(EvalError::Setting {
                setting: "format",
                found: file.format,
                expected: "\"purkinje linear probe 1\" (is this file from a later version?)",
            });
        }
        let probe = Self {
            classes: file.classes,
            standardizer: file.standardizer,
            weight: file.weight,
            bias: file.bias,
            thresholds: file.thresholds,
        };
        probe.check()?;
        Ok(probe)
    }
}

/// Fails unless `features` is a finite matrix with at least one row of `width` columns.
fn check_features(features: &[f32], width: usize) -> Result<(), EvalError> {
    if width == 0 || features.is_empty() {
        return Err(EvalError::Empty {
            what: "The feature matrix",
        });
    }
    let whole_rows = features.len() / width * width;
    check_length("The feature matrix", features.len(), whole_rows, || {
        format!("whole rows of {width} features")
    })?;
    check_finite("The feature matrix", features, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe() -> LinearProbe {
        LinearProbe {
            classes: vec!["AF".into(), "LBBB".into()],
            standardizer: Standardizer {
                mean: vec![0.1, -1.0 / 3.0],
                scale: vec![2.0, 1.0 / 7.0],
            },
            weight: vec![1.0, -0.1, 1e-17, 3.3],
            bias: vec![0.3, -20.0],
            thresholds: vec![0.5, 0.123],
        }
    }

    #[test]
    fn probes_survive_their_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("probe.json");
        probe().save(&path).unwrap();
        assert_eq!(LinearProbe::load(&path).unwrap(), probe());
    }

    #[test]
    fn broken_files_are_refused_with_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("probe.json");
        let mut json = serde_json::to_value(probe()).unwrap();
        json["bias"] = serde_json::json!([0.5]);
        fs::write(&path, json.to_string()).unwrap();
        let message = LinearProbe::load(&path).unwrap_err().to_string();
        assert!(
            message.contains("The bias of the probe has 1 values"),
            "{message}"
        );
        json["format"] = "other".into();
        fs::write(&path, json.to_string()).unwrap();
        assert!(LinearProbe::load(&path).is_err());
        assert!(LinearProbe::load(&folder.path().join("none")).is_err());
    }

    #[test]
    fn predictions_follow_the_formula() {
        let features = [0.5f32, 0.25];
        let x = [(0.5 - 0.1) / 2.0, (0.25 + 1.0 / 3.0) * 7.0];
        let logit = x[0] - 0.1 * x[1] + 0.3;
        let found = probe().logits(&features).unwrap();
        assert!((f64::from(found[0]) - logit).abs() < 1e-6);
        let found = probe().predict_proba(&features).unwrap();
        assert!((f64::from(found[0]) - 1.0 / (1.0 + (-logit).exp())).abs() < 1e-6);
        assert!(probe().logits(&features[..1]).is_err());
    }
}
