//! The score of the PhysioNet/CinC Challenges of 2020 and 2021, which weights confusions of classes by a table.

use purkinje_base::challenge::{ChallengeWeights, SCORED_NAMES};

use crate::EvalError;
use crate::error::check_length;

/// The name of the class for normal rhythm, predicted for a record without findings.
pub const NORMAL: &str = "NORM";

/// The scored classes of a task, and the weights of confusing them.
#[derive(Clone, Debug, PartialEq)]
pub struct ChallengeScore {
    classes: usize,
    /// For each scored class its column in labels and its row in the table.
    scored: Vec<(usize, usize)>,
    normal: Option<usize>,
    weights: ChallengeWeights,
}

impl ChallengeScore {
    /// For classes in column order. Names of classes and of the table are matched after [`renamed`]; classes that the
    /// table lacks are not scored.
    pub fn new<S: AsRef<str>>(classes: &[S], weights: &ChallengeWeights) -> Self {
        let rows: Vec<String> = weights
            .codes
            .iter()
            .map(|codes| renamed(&codes.join("|")))
            .collect();
        let scored: Vec<(usize, usize)> = classes
            .iter()
            .enumerate()
            .filter_map(|(column, name)| {
                let name = renamed(name.as_ref());
                Some((column, rows.iter().position(|row| *row == name)?))
            })
            .collect();
        let normal = scored.iter().position(|(_, row)| rows[*row] == NORMAL);
        ChallengeScore {
            classes: classes.len(),
            scored,
            normal,
            weights: weights.clone(),
        }
    }

    /// For classes in column order, under the published table of 2021.
    pub fn published<S: AsRef<str>>(classes: &[S]) -> Self {
        let published = ChallengeWeights::published();
        let named = ChallengeWeights {
            codes: SCORED_NAMES.map(|name| vec![name.to_owned()]).to_vec(),
            weights: published.weights.clone(),
        };
        Self::new(classes, &named)
    }

    /// The columns that are scored.
    pub fn scored(&self) -> impl Iterator<Item = usize> {
        self.scored.iter().map(|(column, _)| *column)
    }

    /// The score of decisions `[records, classes]` against labels of the same shape: 1 if they equal the labels, 0 if
    /// every record is predicted as normal (without a normal class: if nothing is predicted). 0 where these two do not
    /// differ.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn of(&self, labels: &[bool], calls: &[bool]) -> Result<f64, EvalError> {
        let [found, right, inactive] = self.sums(labels, calls)?;
        if right == inactive {
            return Ok(0.0);
        }
        Ok((found - inactive) / (right - inactive))
    }

    /// What decisions earn that are scored, right, or always normal.
    ///
    /// # Errors
    /// As [`of`](ChallengeScore::of).
    pub fn sums(&self, labels: &[bool], calls: &[bool]) -> Result<[f64; 3], EvalError> {
        let whole = labels.len() / self.classes.max(1) * self.classes;
        check_length("The label matrix", labels.len(), whole, || {
            format!("whole rows of {} classes", self.classes)
        })?;
        check_length("The matrix of decisions", calls.len(), labels.len(), || {
            "the shape of the label matrix".into()
        })?;
        if self.classes == 0 {
            return Ok([0.0; 3]);
        }
        let (mut found, mut right, mut inactive) = (0.0, 0.0, 0.0);
        for (labels, calls) in labels
            .chunks_exact(self.classes)
            .zip(calls.chunks_exact(self.classes))
        {
            found += self.record(labels, |place| calls[self.scored[place].0]);
            right += self.record(labels, |place| labels[self.scored[place].0]);
            if let Some(normal) = self.normal {
                inactive += self.record(labels, |place| place == normal);
            }
        }
        Ok([found, right, inactive])
    }

    fn record(&self, labels: &[bool], called: impl Fn(usize) -> bool) -> f64 {
        let (mut sum, mut either) = (0.0, 0usize);
        for (place, &(column, row)) in self.scored.iter().enumerate() {
            let truth = labels[column];
            either += usize::from(truth || called(place));
            if !truth {
                continue;
            }
            for (other, &(_, predicted)) in self.scored.iter().enumerate() {
                if called(other) {
                    sum += self.weights.weight(row, predicted).unwrap_or(0.0);
                }
            }
        }
        sum / either.max(1) as f64
    }
}

/// The common name of a condition across HuBERT-ECG's label sets, in capitals.
pub fn renamed(name: &str) -> String {
    let name = name.trim().to_uppercase();
    RENAMING
        .iter()
        .find(|(_, names)| names.contains(&name.as_str()))
        .map_or(name, |(to, _)| (*to).to_owned())
}

const RENAMING: &[(&str, &[&str])] = &[
    ("STE_", &["STE"]),
    ("STD_", &["STD"]),
    ("NORM", &["NSR"]),
    ("1AVB", &["IAVB"]),
    ("2AVB", &["IIAVB"]),
    ("CRBBB|RBBB", &["RBBB", "CRBBB"]),
    ("CLBBB|LBBB", &["LBBB", "CLBBB"]),
    ("PAC|SVPB", &["SVPB", "PAC", "SVPB|PAC"]),
    ("LAH", &["LAE", "LAO", "LAO/LAE"]),
    ("RAH", &["RAO", "RAE", "RAO/RAE"]),
    ("LNGQT", &["LQT"]),
    ("SBRAD", &["SB"]),
    ("STACH", &["ST"]),
    ("AF", &["AFIB"]),
    ("AFL", &["AFLT"]),
    ("TAB", &["TAB_"]),
    ("SARRH", &["SA"]),
    ("QAB", &["QWAVE"]),
    ("VPC|VPB", &["PVC", "VPB", "VPC", "PVC|VPB"]),
    ("2AVB2", &["IIAVBII"]),
    ("-ROT", &["CCR"]),
    ("+ROT", &["CR"]),
    ("AVB", &["_AVB"]),
    ("SVT", &["SVTAC"]),
    ("LAFB", &["LANFB"]),
    ("TINV", &["INVT"]),
    ("IIS", &["ISCIN"]),
    ("ANMIS", &["ISCAN"]),
    ("SAMITROP-DEATH", &["DEATH"]),
    ("2AVB1", &["MOI"]),
    ("3AVB", &["CHB"]),
    ("CMIS", &["CMI"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> ChallengeWeights {
        let codes = ["AF", "NSR", "RBBB|CRBBB"];
        ChallengeWeights {
            codes: codes
                .iter()
                .map(|c| c.split('|').map(str::to_owned).collect())
                .collect(),
            weights: vec![1.0, 0.5, 0.25, 0.5, 1.0, 0.5, 0.25, 0.5, 1.0],
        }
    }

    #[test]
    fn right_calls_score_1_and_normal_ones_0() {
        let score = ChallengeScore::new(&["afib", "xyz", "norm"], &table());
        assert_eq!(score.scored().collect::<Vec<_>>(), [0, 2]);
        let labels = [true, true, false, false, false, true];
        assert_eq!(score.of(&labels, &labels).unwrap(), 1.0);
        let normal = [false, false, true, false, true, true];
        assert_eq!(score.of(&labels, &normal).unwrap(), 0.0);
        // Both classes for the first record: (1 + 0.5) / 2, where labels give 1 and normal alone 0.5 / 2.
        let both = [true, false, true, false, false, true];
        assert_eq!(score.of(&labels, &both).unwrap(), 0.5 / 0.75);
        assert!(score.of(&labels, &labels[..5]).is_err());
        assert!(score.of(&labels[..4], &labels[..4]).is_err());
        let nothing = ChallengeScore::new(&["xyz"], &table());
        assert_eq!(nothing.of(&[true], &[true]).unwrap(), 0.0);
    }

    #[test]
    fn names_are_made_one() {
        for (name, expected) in [("nsr", "NORM"), ("PVC|VPB", "VPC|VPB"), ("LAD", "LAD")] {
            assert_eq!(renamed(name), expected);
        }
        // A new name is not renamed again.
        for (to, _) in RENAMING {
            assert_eq!(&renamed(to), to);
        }
    }
}
