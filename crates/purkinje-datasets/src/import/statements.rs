//! SCP-ECG statements of PTB-XL: the table of statements, and the codes in the row of a record.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use purkinje_store::{LabelClass, LabelSet};

use super::ImportError;
use super::table::Table;

/// The six label sets, in the order of the columns of a store.
pub(super) const TASKS: [&str; 6] = [
    "all",
    "diagnostic",
    "subdiagnostic",
    "superdiagnostic",
    "form",
    "rhythm",
];

/// A statement of `scp_statements.csv`.
struct Statement {
    class: LabelClass,
    diagnostic: bool,
    form: bool,
    rhythm: bool,
    superclass: Option<String>,
    subclass: Option<String>,
}

/// The statements by their codes.
pub(super) struct Statements(BTreeMap<String, Statement>);

impl Statements {
    /// Reads `scp_statements.csv`.
    pub(super) fn read(path: &Path) -> Result<Self, ImportError> {
        const ADVICE: &str = "Use the scp_statements.csv that PTB-XL publishes.";
        let table = Table::read(path)?;
        let description = table.column("description", ADVICE)?;
        let diagnostic = table.column("diagnostic", ADVICE)?;
        let form = table.column("form", ADVICE)?;
        let rhythm = table.column("rhythm", ADVICE)?;
        let superclass = table.column("diagnostic_class", ADVICE)?;
        let subclass = table.column("diagnostic_subclass", ADVICE)?;
        let systems: Vec<(usize, &str)> = [
            ("AHA code", "AHA"),
            ("aECG REFID", "aECG"),
            ("CDISC Code", "CDISC"),
            ("DICOM Code", "DICOM"),
        ]
        .into_iter()
        .filter_map(|(column, system)| Some((table.find(&[column])?, system)))
        .collect();
        let mut statements = BTreeMap::new();
        for row in &table.rows {
            let owned = |column| row.value(Some(column)).map(str::to_owned);
            // The codes are in the first column, which has no name.
            let code = row.cell(0).to_owned();
            let statement = Statement {
                class: LabelClass {
                    name: code.clone(),
                    description: owned(description),
                    codes: systems
                        .iter()
                        .filter_map(|&(column, system)| Some((system.to_owned(), owned(column)?)))
                        .collect(),
                },
                diagnostic: flag(row.cell(diagnostic)),
                form: flag(row.cell(form)),
                rhythm: flag(row.cell(rhythm)),
                superclass: owned(superclass),
                subclass: owned(subclass),
            };
            if code.is_empty() || statements.insert(code.clone(), statement).is_some() {
                return Err(table.error(
                    row,
                    format!(
                        "the code `{code}` is blank or repeated, expected a unique code for every statement"
                    ),
                ));
            }
        }
        Ok(Statements(statements))
    }

    /// The six label sets, with classes in ascending order of code points.
    pub(super) fn label_sets(&self) -> Vec<LabelSet> {
        TASKS
            .iter()
            .map(|&task| {
                let mut classes = BTreeMap::<String, LabelClass>::new();
                for statement in self.0.values() {
                    let Some(name) = statement.label(task) else {
                        continue;
                    };
                    let class = if name == statement.class.name {
                        statement.class.clone()
                    } else {
                        LabelClass {
                            name: name.to_owned(),
                            ..LabelClass::default()
                        }
                    };
                    // A subclass may have the name of one of its statements (`NST_`, `LMI`); it is broader than the
                    // statement, so it does not get its codes.
                    let entry = classes
                        .entry(name.to_owned())
                        .or_insert_with(|| class.clone());
                    if matches!(task, "subdiagnostic" | "superdiagnostic") {
                        *entry = LabelClass {
                            name: name.to_owned(),
                            description: superclass(name).map(str::to_owned),
                            ..LabelClass::default()
                        };
                    }
                }
                LabelSet {
                    name: task.to_owned(),
                    classes: classes.into_values().collect(),
                }
            })
            .collect()
    }

    /// Class indices of a record for every label set (`None` where it has no label of that task), and the codes that
    /// are not in the table.
    pub(super) fn labels<'a>(
        &self,
        sets: &[LabelSet],
        codes: impl Iterator<Item = &'a str> + Clone,
    ) -> (Vec<Option<Vec<i16>>>, Vec<&'a str>) {
        let labels = sets
            .iter()
            .map(|set| {
                let classes: BTreeSet<i16> = codes
                    .clone()
                    .filter_map(|code| self.0.get(code)?.label(&set.name))
                    .filter_map(|name| set.class_index(name))
                    .collect();
                (!classes.is_empty()).then(|| classes.into_iter().collect())
            })
            .collect();
        let unknown = codes.filter(|&code| !self.0.contains_key(code)).collect();
        (labels, unknown)
    }

    /// What statements say, as sentences in their order: `normal ECG. sinus rhythm.`; `None` where none has a description.
    pub(super) fn sentences<'a>(&self, codes: impl Iterator<Item = &'a str>) -> Option<String> {
        let known = codes.filter_map(|code| self.0.get(code));
        let said = known.filter_map(|statement| statement.class.description.as_deref());
        let said: Vec<&str> = said.map(str::trim).collect();
        (!said.is_empty()).then(|| said.join(". ") + ".")
    }
}

impl Statement {
    /// The label that this statement gives in a task.
    fn label(&self, task: &str) -> Option<&str> {
        let code = self.class.name.as_str();
        match task {
            "all" => Some(code),
            "diagnostic" => self.diagnostic.then_some(code),
            "subdiagnostic" => self.subclass.as_deref().filter(|_| self.diagnostic),
            "superdiagnostic" => self.superclass.as_deref().filter(|_| self.diagnostic),
            "form" => self.form.then_some(code),
            "rhythm" => self.rhythm.then_some(code),
            _ => None,
        }
    }
}

/// Statement codes with likelihoods as a row of `ptbxl_database.csv` writes them:
/// `{'NORM': 100.0, 'SR': 0.0}`.
///
/// # Errors
/// A message that says where the text departs from this form.
pub(super) fn parse_codes(text: &str) -> Result<Vec<(&str, f32)>, String> {
    let body = text
        .trim()
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .ok_or_else(|| format!("`{text}` is not of the form {{'CODE': likelihood, ...}}"))?;
    let mut codes = Vec::new();
    for entry in body.split(',').map(str::trim).filter(|e| !e.is_empty()) {
        let parsed = entry.rsplit_once(':').and_then(|(code, likelihood)| {
            let code = code.trim();
            let quote = code.chars().next().filter(|&c| c == '\'' || c == '"')?;
            let code = code.strip_prefix(quote)?.strip_suffix(quote)?;
            Some((code, likelihood.trim().parse().ok()?))
        });
        codes.push(parsed.ok_or_else(|| {
            format!("`{entry}` in `{text}` is not of the form 'CODE': likelihood")
        })?);
    }
    Ok(codes)
}

fn flag(cell: &str) -> bool {
    matches!(cell, "1" | "1.0")
}

/// The five superclasses of the PTB-XL publication.
/// What a diagnostic superclass of PTB-XL means, by its name.
pub fn superclass(name: &str) -> Option<&'static str> {
    Some(match name {
        "NORM" => "normal ECG",
        "MI" => "myocardial infarction",
        "STTC" => "ST/T change",
        "CD" => "conduction disturbance",
        "HYP" => "hypertrophy",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_as_python_writes_them() {
        assert_eq!(
            parse_codes("{'NORM': 100.0, 'SR': 0.0}"),
            Ok(vec![("NORM", 100.0), ("SR", 0.0)])
        );
        assert_eq!(parse_codes("{\"PRC(S)\": 50}"), Ok(vec![("PRC(S)", 50.0)]));
        assert_eq!(parse_codes("{}"), Ok(vec![]));
        for broken in [
            "",
            "NORM",
            "{NORM: 1}",
            "{'NORM'}",
            "{'NORM': x}",
            "{'A: 1}",
        ] {
            assert!(parse_codes(broken).is_err(), "{broken}");
        }
    }
}
