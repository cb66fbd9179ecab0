//! PTB-XL 1.0.3 in its published layout.

use std::path::{Path, PathBuf};

use purkinje_signal::Preprocess;
use purkinje_store::{LabelSet, Split};

use super::language::report_language;
use super::published::{PARTS, Whole};
use super::registry::{DataSet, of_preset};
use super::statements::{Statements, parse_codes};
use super::table::{Table, identifier};
use super::{Catalogue, Fault, ImportError, Importer, Item, check_root, mark_repeated_ids};

/// Rows of the complete table.
const PUBLISHED_ROWS: usize = 21_799;

/// Patients of the complete table, as its publication counts them.
const PUBLISHED_PATIENTS: usize = 18_869;

/// Records in folds 1-8, 9 and 10.
const PUBLISHED_PARTS: [usize; 3] = [17_418, 2_183, 2_198];

/// Records of a task in folds 1-8, 9 and 10 of the complete table, for statements of any likelihood.
const PUBLISHED_COUNTS: [(&str, [usize; 3]); 4] = [
    ("superdiagnostic", [17_084, 2_146, 2_158]),
    ("subdiagnostic", [17_084, 2_146, 2_158]),
    ("form", [7_197, 901, 880]),
    ("rhythm", [16_832, 2_100, 2_098]),
];

/// The classes of a task with their records in the three splits.
type TaskCounts = (&'static str, &'static [(&'static str, [usize; 3])]);

/// Records of every class in folds 1-8, 9 and 10 of the complete table (as DERI counts them; the classes
/// `AVB`, `ISC`, `NST`, ... there are `_AVB`, `ISC_`, `NST_`, ... in the table of statements).
#[rustfmt::skip]
const PUBLISHED_POSITIVES: [TaskCounts; 4] = [
    ("superdiagnostic", &[
        ("HYP", [2119, 268, 262]), ("NORM", [7596, 955, 963]), ("MI", [4379, 540, 550]), ("CD", [3907, 495, 496]),
        ("STTC", [4186, 528, 521]),
    ]),
    ("subdiagnostic", &[
        ("AMI", [2466, 306, 306]), ("LAFB/LPFB", [1437, 181, 179]), ("LVH", [1708, 210, 214]), ("STTC", [1792, 225, 222]),
        ("IMI", [2618, 326, 327]), ("SEHYP", [24, 3, 2]), ("CRBBB", [432, 55, 54]), ("WPW", [64, 7, 8]),
        ("LAO/LAE", [341, 43, 42]), ("NORM", [7596, 955, 963]), ("_AVB", [658, 83, 82]), ("RAO/RAE", [79, 10, 10]),
        ("ISC_", [1019, 125, 128]), ("LMI", [161, 20, 20]), ("ISCI", [318, 39, 40]), ("ISCA", [756, 92, 93]),
        ("NST_", [615, 75, 77]), ("CLBBB", [428, 54, 54]), ("ILBBB", [62, 7, 8]), ("IRBBB", [894, 112, 112]),
        ("PMI", [13, 2, 2]), ("RVH", [102, 12, 12]), ("IVCD", [630, 78, 79]),
    ]),
    ("form", &[
        ("PAC", [318, 40, 40]), ("DIG", [145, 18, 18]), ("HVOLT", [49, 7, 6]), ("STD_", [807, 101, 101]),
        ("LPR", [272, 34, 34]), ("QWAVE", [438, 55, 55]), ("VCLVH", [701, 87, 87]), ("NDT", [1461, 182, 182]),
        ("TAB_", [28, 4, 3]), ("LOWT", [350, 44, 44]), ("ABQRS", [2683, 322, 322]), ("LNGQT", [94, 12, 11]),
        ("PRC(S)", [8, 1, 1]), ("NT_", [340, 41, 42]), ("STE_", [22, 3, 3]), ("NST_", [615, 75, 77]),
        ("PVC", [915, 114, 114]), ("INVT", [235, 30, 29]), ("LVOLT", [145, 19, 18]),
    ]),
    ("rhythm", &[
        ("SVARR", [128, 15, 14]), ("BIGU", [66, 8, 8]), ("STACH", [661, 83, 82]), ("SARRH", [618, 77, 77]),
        ("SBRAD", [509, 64, 64]), ("TRIGU", [16, 2, 2]), ("AFIB", [1211, 151, 152]), ("SR", [13404, 1670, 1674]),
        ("SVTAC", [21, 3, 3]), ("PSVT", [19, 3, 2]), ("AFLT", [59, 7, 7]), ("PACE", [237, 29, 28]),
    ]),
];

/// The published sampling rate to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PtbXlRate {
    /// `records100`.
    #[default]
    Hz100,
    /// `records500`.
    Hz500,
}

/// Its entry in the table of data sets.
pub(super) const DATA_SET: DataSet = DataSet {
    name: "ptb-xl",
    about: "PTB-XL 1.0.3: 21,799 records of 10 s, SCP statements, reports",
    preset: "clear-ptbxl",
    options: &["rate_hz", "min_likelihood"],
    label_sets: &[
        "all",
        "diagnostic",
        "subdiagnostic",
        "superdiagnostic",
        "form",
        "rhythm",
    ],
    splits: Vec::new,
    contract: |set, options| match options.rate_hz {
        Some(500) => Preprocess::clear(),
        _ => of_preset(set, options),
    },
    open: |set, root, options| {
        let rate = match options.rate_hz {
            None | Some(100) => PtbXlRate::Hz100,
            Some(500) => PtbXlRate::Hz500,
            Some(other) => return Err(set.refuse("rate_hz", &other.to_string(), "100 or 500")),
        };
        Ok(Box::new(PtbXl {
            rate,
            min_likelihood: options.min_likelihood,
            ..PtbXl::new(root)
        }))
    },
};

/// Texts beside the report.
const TEXTS: [&str; 3] = ["language", "statements", "device"];

/// PTB-XL: `ptbxl_database.csv`, `scp_statements.csv` and the folder of records.
///
/// Ids are `ecg_id`s. Folds 1 to 8 are the training split, 9 validation, 10 test; no patient is in two folds. The label
/// sets are `all`, `diagnostic`, `subdiagnostic`, `superdiagnostic`, `form` and `rhythm`; a record without any label of
/// a set is not part of that task. Ages above 89 are published as 300 and stored as such. Reports are stored as
/// published; the text `language` states whether one is German (`de`), English (`en`) or Swedish (`sv`), as
/// [`report_language`](super::report_language) finds it. The text `statements` has the English descriptions of a record's statements as
/// sentences: it is made from the labels. The text `device` names the recorder, where the table does.
#[derive(Clone, Debug, PartialEq)]
pub struct PtbXl {
    /// The folder of `ptbxl_database.csv`.
    pub root: PathBuf,
    /// The sampling rate to read.
    pub rate: PtbXlRate,
    /// Smallest likelihood, in percent, of statements to use. `None`: all statements are used,
    /// as in the published benchmarks. A likelihood of 0 means "not stated" there.
    pub min_likelihood: Option<f32>,
}

impl PtbXl {
    /// PTB-XL at 100 Hz, with all statements.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        PtbXl {
            root: root.into(),
            rate: PtbXlRate::default(),
            min_likelihood: None,
        }
    }
}

impl Importer for PtbXl {
    fn catalogue(&self) -> Result<Catalogue, ImportError> {
        const ADVICE: &str =
            "Use the ptbxl_database.csv of version 1.0.3 as PhysioNet publishes it.";
        check_root(&self.root)?;
        let statements = Statements::read(&self.root.join("scp_statements.csv"))?;
        let label_sets = statements.label_sets();
        let table = Table::read(&self.root.join("ptbxl_database.csv"))?;
        let id = table.column("ecg_id", ADVICE)?;
        let patient = table.column("patient_id", ADVICE)?;
        let age = table.column("age", ADVICE)?;
        let sex = table.column("sex", ADVICE)?;
        let report = table.column("report", ADVICE)?;
        let device = table.find(&["device"]);
        let codes = table.column("scp_codes", ADVICE)?;
        let fold = table.column("strat_fold", ADVICE)?;
        let file = match self.rate {
            PtbXlRate::Hz100 => table.column("filename_lr", ADVICE)?,
            PtbXlRate::Hz500 => table.column("filename_hr", ADVICE)?,
        };
        let mut items = Vec::with_capacity(table.rows.len());
        let mut remarks = Vec::new();
        for row in &table.rows {
            let id = identifier(row.cell(id)).to_owned();
            let fold: i16 = identifier(row.cell(fold))
                .parse()
                .ok()
                .filter(|fold| (1..=10).contains(fold))
                .ok_or_else(|| {
                    table.error(
                        row,
                        format!(
                            "strat_fold is `{}`, expected a number from 1 to 10",
                            row.cell(fold)
                        ),
                    )
                })?;
            let listed = parse_codes(row.cell(codes)).map_err(|reason| table.error(row, reason))?;
            let counted = listed
                .iter()
                .filter(|(_, likelihood)| self.min_likelihood.is_none_or(|min| *likelihood >= min))
                .map(|(code, _)| *code);
            let (labels, unknown) = statements.labels(&label_sets, counted.clone());
            if !unknown.is_empty() {
                remarks.push(format!(
                    "record {id} has statements that are not in scp_statements.csv: {}",
                    unknown.join(", ")
                ));
            }
            let path = PathBuf::from(row.cell(file));
            items.push(Item {
                fault: self.missing(&path),
                patient: row
                    .value(Some(patient))
                    .map(|cell| identifier(cell).to_owned()),
                split: Some(split_of(fold)),
                fold: Some(fold),
                labels,
                texts: vec![
                    row.value(Some(report))
                        .and_then(report_language)
                        .map(str::to_owned),
                    statements.sentences(counted),
                    row.value(device).map(|cell| cell.trim().to_owned()),
                ],
                report: row.value(Some(report)).map(str::to_owned),
                age: row.value(Some(age)).and_then(|cell| cell.parse().ok()),
                sex: match identifier(row.cell(sex)) {
                    "0" => Some("male".to_owned()),
                    "1" => Some("female".to_owned()),
                    _ => None,
                },
                id,
                path,
                ..Item::default()
            });
        }
        mark_repeated_ids(&mut items);
        if self.min_likelihood.is_none() {
            remarks.extend(unlike_published(&label_sets, &items));
        }
        Ok(Catalogue {
            name: "ptb-xl".to_owned(),
            root: self.root.clone(),
            label_sets,
            texts: TEXTS.map(str::to_owned).to_vec(),
            items,
            remarks,
            ..Catalogue::default()
        })
    }
}

impl PtbXl {
    fn missing(&self, path: &Path) -> Option<Fault> {
        let mut header = path.as_os_str().to_owned();
        header.push(".hea");
        let header = self.root.join(header);
        (!header.is_file()).then(|| {
            Fault::Missing(format!(
                "ptbxl_database.csv lists this record, but `{}` does not exist",
                header.display()
            ))
        })
    }
}

fn split_of(fold: i16) -> Split {
    match fold {
        ..=8 => Split::Train,
        9 => Split::Val,
        _ => Split::Test,
    }
}

/// Differences from the published numbers of patients, of records in the folds, and of records in every task and class.
fn unlike_published(label_sets: &[LabelSet], items: &[Item]) -> Vec<String> {
    let Some(mut whole) = Whole::of(items, PUBLISHED_ROWS) else {
        return Vec::new();
    };
    whole = whole
        .patients(PUBLISHED_PATIENTS)
        .parts("the folds", PUBLISHED_PARTS);
    for (index, set) in label_sets.iter().enumerate() {
        if let Some((task, counts)) = PUBLISHED_COUNTS.iter().find(|(task, _)| *task == set.name) {
            for (part, count) in PARTS.into_iter().zip(*counts) {
                whole = whole.records(&format!("{part} records of task {task}"), count, |item| {
                    item.split == Some(part) && matches!(item.labels.get(index), Some(Some(_)))
                });
            }
        }
        let Some((task, classes)) = PUBLISHED_POSITIVES
            .iter()
            .find(|(task, _)| *task == set.name)
        else {
            continue;
        };
        for (position, part) in PARTS.into_iter().enumerate() {
            let published: Vec<usize> = set
                .classes
                .iter()
                .map(|class| {
                    let own = classes.iter().find(|(name, _)| *name == class.name);
                    own.map_or(0, |(_, counts)| counts[position])
                })
                .collect();
            whole = whole.positives(
                &format!("task {task} ({part})"),
                index,
                &set.classes,
                &published,
                |item| item.split == Some(part),
            );
        }
    }
    whole.remarks()
}

#[cfg(test)]
mod tests {
    use super::super::published::label_as_published;
    use super::*;

    #[test]
    fn the_language_of_a_report_is_a_text() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/ptb-xl");
        let catalogue = PtbXl::new(root).catalogue().unwrap();
        assert_eq!(catalogue.texts, TEXTS);
        let recorders = catalogue.items.iter().filter_map(|i| i.texts[2].as_deref());
        assert!(recorders.clone().count() == catalogue.items.len());
        assert!(recorders.clone().all(|name| name.trim() == name));
        let known = catalogue.items.iter().filter(|i| i.texts[0].is_some());
        assert!(known.count() * 10 > catalogue.items.len() * 9);
        let all = catalogue.items.iter().all(|i| i.texts[1].is_some());
        assert!(all, "a record has no statements");
        let normal = |i: &&Item| i.texts[1].as_deref() == Some("normal ECG. sinus rhythm.");
        assert!(catalogue.items.iter().any(|i| normal(&i)));
        let sizes: Vec<_> = catalogue
            .label_sets
            .iter()
            .map(|s| s.classes.len())
            .collect();
        assert_eq!(sizes, [71, 44, 23, 5, 19, 12]);
    }

    #[test]
    fn the_complete_table_has_the_published_counts() {
        // The folder of all 21,799 rows, where it is at hand; records need not be there.
        let Some(root) = std::env::var_os("PURKINJE_PTB_XL_TABLES") else {
            return;
        };
        let catalogue = PtbXl::new(root).catalogue().unwrap();
        assert_eq!(catalogue.items.len(), PUBLISHED_ROWS);
        assert_eq!(catalogue.remarks, Vec::<String>::new());
    }

    /// A catalogue of as many records as published, with the published numbers of records of every class.
    fn as_published() -> (Vec<LabelSet>, Vec<Item>) {
        let sets: Vec<LabelSet> = PUBLISHED_POSITIVES
            .iter()
            .map(|(task, classes)| {
                LabelSet::from_names(*task, classes.iter().map(|(class, _)| *class))
            })
            .collect();
        let mut items = Vec::new();
        for (part, count) in PARTS.into_iter().zip(PUBLISHED_PARTS) {
            for position in 0..count {
                items.push(Item {
                    patient: Some((items.len() % PUBLISHED_PATIENTS).to_string()),
                    split: Some(part),
                    labels: PUBLISHED_COUNTS
                        .iter()
                        .map(|(_, counts)| {
                            let here = PARTS.iter().position(|own| *own == part).unwrap();
                            (position < counts[here]).then(Vec::new)
                        })
                        .collect(),
                    ..Item::default()
                });
            }
        }
        for (set, (_, classes)) in PUBLISHED_POSITIVES.iter().enumerate() {
            for (position, part) in PARTS.into_iter().enumerate() {
                let published: Vec<usize> = classes.iter().map(|(_, n)| n[position]).collect();
                label_as_published(&mut items, set, &published, |i| i.split == Some(part));
            }
        }
        (sets, items)
    }

    #[test]
    fn changed_statements_are_named_by_class() {
        let (sets, mut items) = as_published();
        assert_eq!(unlike_published(&sets, &items), Vec::<String>::new());
        assert_eq!(unlike_published(&sets, &items[1..]), Vec::<String>::new());
        let form = sets.iter().position(|set| set.name == "form").unwrap();
        let elevation = sets[form].class_index("STE_").unwrap();
        let of = |item: &&mut Item| {
            item.split == Some(Split::Test)
                && matches!(&item.labels[form], Some(l) if l.contains(&elevation))
        };
        let item = items.iter_mut().find(of).unwrap();
        item.labels[form]
            .as_mut()
            .unwrap()
            .retain(|c| *c != elevation);
        item.patient = None;
        let remarks = unlike_published(&sets, &items);
        assert_eq!(remarks.len(), 1, "{remarks:?}");
        assert!(
            remarks[0].contains("task form (test)") && remarks[0].ends_with("STE_ 2 instead of 3"),
            "{remarks:?}"
        );
    }
}
