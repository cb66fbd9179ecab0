//! The PTB Diagnostic ECG Database 1.0.0 in its published layout.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use purkinje_record::find_records;
use purkinje_record::wfdb::Header;
use purkinje_store::LabelSet;
use purkinje_store::source::portable;

use super::published::{Whole, differing};
use super::registry::{DataSet, of_preset};
use super::{Catalogue, Fault, ImportError, Importer, Item, check_root, read_sex};

/// Records and patients of the complete database.
const PUBLISHED: (usize, usize) = (549, 290);

/// The published diagnostic classes with their patients, and the beginning of the reason for admission in the
/// summaries, in lower case.
const CLASSES: [(&str, usize, &[&str]); 9] = [
    ("Bundle branch block", 15, &["bundle branch block"]),
    (
        "Cardiomyopathy/Heart failure",
        18,
        &["cardiomyopathy", "heart failure"],
    ),
    ("Dysrhythmia", 14, &["dysrhythmia"]),
    ("Healthy control", 52, &["healthy control"]),
    (
        "Miscellaneous",
        4,
        &["palpitation", "stable angina", "unstable angina"],
    ),
    (
        "Myocardial hypertrophy",
        7,
        &["hypertrophy", "myocardial hypertrophy"],
    ),
    ("Myocardial infarction", 148, &["myocardial infarction"]),
    ("Myocarditis", 4, &["myocarditis"]),
    ("Valvular heart disease", 6, &["valvular heart disease"]),
];

/// Empty entries of a summary.
const BLANKS: [&str; 4] = ["", "n/a", "unknown", "-"];

/// Its entry in the table of data sets.
pub(super) const DATA_SET: DataSet = DataSet {
    name: "ptbdb",
    about: "PTB Diagnostic ECG Database 1.0.0: 549 records of 290 patients at 1000 Hz, clinical summaries",
    preset: "clear",
    options: &[],
    label_sets: &["diagnosis"],
    splits: Vec::new,
    contract: of_preset,
    open: |_, root, _| Ok(Box::new(PtbDb::new(root))),
};

/// The PTB Diagnostic ECG Database: folders `patientNNN` of records with twelve leads and three Frank leads at 1000 Hz.
///
/// Ids are `patientNNN/record`, patients the folders. The label set `diagnosis` has the nine published classes, by the
/// reason for admission that the clinical summary in the header gives; a record without a summary is not part of it.
/// Reports are the lines of the summary that are not empty.
#[derive(Clone, Debug, PartialEq)]
pub struct PtbDb {
    /// The folder of the patients.
    pub root: PathBuf,
}

impl PtbDb {
    /// The database in this folder.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        PtbDb { root: root.into() }
    }
}

impl Importer for PtbDb {
    fn catalogue(&self) -> Result<Catalogue, ImportError> {
        check_root(&self.root)?;
        let set = LabelSet::from_names("diagnosis", CLASSES.iter().map(|(name, ..)| *name));
        let mut items = Vec::new();
        let mut remarks = Vec::new();
        for folder in patient_folders(&self.root)? {
            let patient = folder
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .filter(|name| is_patient(name));
            let records = find_records(&folder)
                .map_err(|error| ImportError::Io {
                    path: folder.clone(),
                    source: std::io::Error::other(error),
                })?
                .records
                .into_iter()
                .filter(|path| {
                    path.extension()
                        .is_some_and(|e| e.eq_ignore_ascii_case("hea"))
                });
            for header in records {
                let path = header
                    .strip_prefix(&self.root)
                    .unwrap_or(&header)
                    .to_owned();
                let mut item = Item {
                    id: portable(&path.with_extension("")),
                    patient: patient.clone(),
                    path,
                    labels: vec![None],
                    ..Item::default()
                };
                match Header::read(&header) {
                    Ok(header) => {
                        let summary = Summary::read(&header.comments);
                        item.age = summary.number("age");
                        item.sex = summary.get("sex").and_then(read_sex);
                        item.report = summary.report();
                        if let Some(reason) = summary.get("Reason for admission") {
                            match diagnosis(reason) {
                                Some(class) => item.labels = vec![Some(vec![class])],
                                None => remarks.push(format!(
                                    "record {}: the reason for admission `{reason}` is not one of the published classes",
                                    item.id
                                )),
                            }
                        }
                    }
                    Err(error) => item.fault = Some(Fault::Invalid(error.to_string())),
                }
                items.push(item);
            }
        }
        if items.is_empty() {
            return Err(ImportError::Layout {
                path: self.root.clone(),
                expected: "the folders patient001 to patient294 of the PTB Diagnostic ECG Database, with their .hea, .dat and .xyz files",
            });
        }
        remarks.extend(unlike_published(&items, &set));
        Ok(Catalogue {
            name: "ptbdb".to_owned(),
            root: self.root.clone(),
            label_sets: vec![set],
            items,
            remarks,
            ..Catalogue::default()
        })
    }
}

/// The folders of patients, sorted; the root itself if it has records but no such folders.
fn patient_folders(root: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let io = |source| ImportError::Io {
        path: root.to_owned(),
        source,
    };
    let mut folders = Vec::new();
    for entry in fs::read_dir(root).map_err(io)? {
        let entry = entry.map_err(io)?;
        if entry.path().is_dir() && is_patient(&entry.file_name().to_string_lossy()) {
            folders.push(entry.path());
        }
    }
    folders.sort();
    if folders.is_empty() {
        folders.push(root.to_owned());
    }
    Ok(folders)
}

fn is_patient(name: &str) -> bool {
    name.strip_prefix("patient")
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// The class of a reason for admission; Reasons such as `Heart failure (NYHA 2)` are matched by their beginning.
fn diagnosis(reason: &str) -> Option<i16> {
    let reason = reason.to_lowercase();
    CLASSES
        .iter()
        .position(|(_, _, starts)| starts.iter().any(|start| reason.starts_with(start)))
        .and_then(|index| i16::try_from(index).ok())
}

/// The clinical summary: lines `name: text`, headings end with the colon.
struct Summary<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Summary<'a> {
    fn read(comments: &'a [String]) -> Self {
        Summary(
            comments
                .iter()
                .filter_map(|line| line.split_once(':'))
                .map(|(name, text)| (name.trim(), text.trim()))
                .collect(),
        )
    }

    /// The text of an entry, unless it is empty.
    fn get(&self, wanted: &str) -> Option<&'a str> {
        self.0
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, text)| *text)
            .filter(|text| has_content(text))
    }

    fn number(&self, wanted: &str) -> Option<f32> {
        self.get(wanted)?.parse().ok()
    }

    /// All entries that are not empty, except age, sex and date, one per line.
    fn report(&self) -> Option<String> {
        let lines: Vec<String> = self
            .0
            .iter()
            .filter(|(name, text)| has_content(text) && !["age", "sex", "ECG date"].contains(name))
            .map(|(name, text)| format!("{name}: {text}"))
            .collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

fn has_content(text: &str) -> bool {
    !BLANKS.iter().any(|blank| text.eq_ignore_ascii_case(blank))
}

/// Differences from the published numbers of records, patients and patients per class.
fn unlike_published(items: &[Item], set: &LabelSet) -> Vec<String> {
    let Some(whole) = Whole::of(items, PUBLISHED.0) else {
        return vec![format!(
            "{} of the {} published records were found",
            items.len(),
            PUBLISHED.0
        )];
    };
    let mut patients = BTreeMap::<&str, BTreeSet<i16>>::new();
    for item in items {
        if let Some(patient) = &item.patient {
            let labels = item.labels.iter().flatten().flatten();
            patients.entry(patient).or_default().extend(labels);
        }
    }
    let found: Vec<usize> = (0..)
        .take(CLASSES.len())
        .map(|class: i16| {
            patients
                .values()
                .filter(|classes| classes.contains(&class))
                .count()
        })
        .collect();
    let published = CLASSES.map(|(_, patients, _)| patients);
    whole
        .patients(PUBLISHED.1)
        .and(differing(
            "diagnosis (patients)",
            &set.classes,
            &found,
            &published,
        ))
        .remarks()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_their_classes() {
        let name = |reason: &str| diagnosis(reason).map(|class| CLASSES[class as usize].0);
        assert_eq!(
            name("Heart failure (NYHA 3)"),
            Some("Cardiomyopathy/Heart failure")
        );
        assert_eq!(name("Hypertrophy"), Some("Myocardial hypertrophy"));
        assert_eq!(name("Unstable angina"), Some("Miscellaneous"));
        assert_eq!(name("Something else"), None);
    }

    #[test]
    fn the_whole_database_is_compared_with_the_published_patients() {
        let set = LabelSet::from_names("diagnosis", CLASSES.map(|(name, ..)| name));
        let mut items = Vec::new();
        for (class, (_, patients, _)) in (0i16..).zip(CLASSES) {
            for _ in 0..patients {
                items.push(Item {
                    patient: Some(format!("patient{:03}", items.len())),
                    labels: vec![Some(vec![class])],
                    ..Item::default()
                });
            }
        }
        // 22 patients have no summary; some patients have several records.
        while items.len() < PUBLISHED.0 {
            items.push(Item {
                patient: Some(format!("patient{:03}", items.len() % PUBLISHED.1)),
                labels: vec![None],
                ..Item::default()
            });
        }
        assert_eq!(unlike_published(&items, &set), Vec::<String>::new());
        items[0].labels = vec![Some(vec![8])];
        let remarks = unlike_published(&items, &set);
        assert!(
            remarks.len() == 1
                && remarks[0].contains("Bundle branch block 14 instead of 15")
                && remarks[0].contains("Valvular heart disease 7 instead of 6"),
            "{remarks:?}"
        );
        let remarks = unlike_published(&items[1..], &set);
        assert_eq!(remarks, ["548 of the 549 published records were found"]);
    }

    #[test]
    fn folders_of_patients_are_known_by_name() {
        assert!(is_patient("patient001") && !is_patient("patient") && !is_patient("patients"));
    }
}
