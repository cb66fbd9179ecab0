//! The classes that the Challenge of 2021 scores, and the weights of confusing them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use thiserror::Error;

/// Largest number of classes of a table of weights.
pub const MAX_SCORED_CLASSES: usize = 1_000;

/// Abbreviations of the scored classes in the order of [`ChallengeWeights::published`]; those of equal diagnoses are
/// joined by `|`.
#[rustfmt::skip]
pub const SCORED_NAMES: [&str; 26] = [
    "AF", "AFL", "BBB", "Brady", "CLBBB|LBBB", "CRBBB|RBBB", "IAVB", "IRBBB", "LAD", "LAnFB", "LPR", "LQRSV", "LQT",
    "NSIVCB", "NSR", "PAC|SVPB", "PR", "PRWP", "PVC|VPB", "QAb", "RAD", "SA", "SB", "STach", "TAb", "TInv",
];

/// Why a table of weights cannot be used.
#[derive(Debug, Error)]
pub enum WeightsError {
    /// An error of the operating system.
    #[error("cannot read `{}`: {source}; check that it exists and is readable", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The table is not well-formed.
    #[error("table `{}`, line {line}: {reason}", path.display())]
    Table {
        /// The table.
        path: PathBuf,
        /// Line, counted from 1 with the header line.
        line: u64,
        /// What is wrong, what was expected.
        reason: String,
    },
}

/// The reward for predicting one class where another is true (`weights.csv` of the Challenge).
///
/// Classes that the Challenge scores as one diagnosis share a row: 30 codes make 26 classes.
#[derive(Clone, Debug, PartialEq)]
pub struct ChallengeWeights {
    /// The SNOMED-CT codes of every class, in the order of rows and columns.
    pub codes: Vec<Vec<String>>,
    /// Rewards, row-major `[true class, predicted class]`; 1 on the diagonal.
    pub weights: Vec<f64>,
}

impl ChallengeWeights {
    /// The published table.
    pub fn published() -> &'static ChallengeWeights {
        static PUBLISHED: OnceLock<ChallengeWeights> = OnceLock::new();
        PUBLISHED.get_or_init(|| {
            let text = include_str!("../data/challenge_2021_weights.csv");
            // The built-in table is well-formed; a test reads it.
            ChallengeWeights::parse(Path::new("weights.csv"), text).unwrap_or(ChallengeWeights {
                codes: Vec::new(),
                weights: Vec::new(),
            })
        })
    }

    /// Reads a table in the form of the Challenge: a header line with the codes of the classes, those of one class
    /// joined by `|`, and one line per class with its codes first.
    ///
    /// # Errors
    /// [`WeightsError::Io`], and [`WeightsError::Table`] for a table that is not square or holds anything but numbers.
    pub fn read(path: &Path) -> Result<ChallengeWeights, WeightsError> {
        let text = std::fs::read_to_string(path).map_err(|source| WeightsError::Io {
            path: path.to_owned(),
            source,
        })?;
        ChallengeWeights::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<ChallengeWeights, WeightsError> {
        let error = |line: usize, reason: String| WeightsError::Table {
            path: path.to_owned(),
            line: line as u64,
            reason,
        };
        let mut lines = text.lines();
        let names: Vec<&str> = lines.next().unwrap_or("").split(',').skip(1).collect();
        if names.is_empty() || names.len() > MAX_SCORED_CLASSES {
            return Err(error(
                1,
                format!(
                    "it names {} classes, expected 1 to {MAX_SCORED_CLASSES}",
                    names.len()
                ),
            ));
        }
        let mut weights = Vec::with_capacity(names.len() * names.len());
        let mut rows = 0;
        for (index, line) in lines
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
        {
            let line_number = index + 2;
            let mut cells = line.split(',');
            let own = cells.next().unwrap_or("");
            if names.get(rows) != Some(&own) {
                return Err(error(
                    line_number,
                    format!(
                        "the row is that of `{own}`, expected {}",
                        match names.get(rows) {
                            Some(name) => format!("`{name}`, in the order of the columns"),
                            None => format!("no row after the {} of the columns", names.len()),
                        }
                    ),
                ));
            }
            for cell in cells {
                let weight: f64 = cell
                    .trim()
                    .parse()
                    .ok()
                    .filter(|w: &f64| w.is_finite())
                    .ok_or_else(|| {
                        error(
                            line_number,
                            format!("`{cell}` is not a weight, expected a number"),
                        )
                    })?;
                weights.push(weight);
            }
            rows += 1;
            if weights.len() != rows * names.len() {
                return Err(error(
                    line_number,
                    format!(
                        "its number of weights differs from that of the {} classes",
                        names.len()
                    ),
                ));
            }
        }
        if rows != names.len() {
            return Err(error(
                rows + 1,
                format!(
                    "found {rows} rows for {} classes, expected a square table",
                    names.len()
                ),
            ));
        }
        Ok(ChallengeWeights {
            codes: names
                .iter()
                .map(|name| name.split('|').map(|code| code.trim().to_owned()).collect())
                .collect(),
            weights,
        })
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.codes.len()
    }

    /// The class of a code.
    pub fn class_of(&self, code: &str) -> Option<usize> {
        self.codes
            .iter()
            .position(|codes| codes.iter().any(|own| own == code))
    }

    /// Reward for predicting class `predicted` where class `truth` is true; `None` beyond the classes.
    pub fn weight(&self, truth: usize, predicted: usize) -> Option<f64> {
        if predicted >= self.classes() {
            return None;
        }
        self.weights
            .get(truth * self.classes() + predicted)
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_table_merges_equal_diagnoses() {
        let table = ChallengeWeights::published();
        assert_eq!(table.classes(), SCORED_NAMES.len());
        assert_eq!(table.codes.iter().map(Vec::len).sum::<usize>(), 30);
        for (a, b) in [
            ("713427006", "59118001"),
            ("284470004", "63593006"),
            ("427172004", "17338001"),
            ("733534002", "164909002"),
        ] {
            assert!(table.class_of(a).is_some());
            assert_eq!(table.class_of(a), table.class_of(b));
        }
        for class in 0..26 {
            assert_eq!(table.weight(class, class), Some(1.0));
            for other in 0..26 {
                assert_eq!(table.weight(class, other), table.weight(other, class));
            }
        }
        let (af, flutter) = (table.class_of("164889003"), table.class_of("164890007"));
        assert_eq!(table.weight(af.unwrap(), flutter.unwrap()), Some(0.5));
        assert_eq!(table.weight(0, 26), None);
        // Sinus rhythm, the class of the Challenge's inactive prediction.
        assert_eq!(table.class_of("426783006"), Some(14));
    }

    #[test]
    fn tables_that_are_not_square_are_refused() {
        let parse = |text| ChallengeWeights::parse(Path::new("w.csv"), text);
        assert!(parse(",1,2\n1,1,0.5\n2,0.5,1\n").is_ok());
        for broken in [
            "",
            ",1,2\n1,1,0.5\n",
            ",1,2\n1,1\n2,1,1,1\n",
            ",1,2\n2,1,0\n1,0,1\n",
            ",1\n1,x\n",
            ",1\n1,1\n2,1\n",
        ] {
            assert!(parse(broken).is_err(), "{broken:?}");
        }
    }
}
