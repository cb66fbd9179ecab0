//! PTB-XL 1.0.3 in its published layout (CLEAR-HUG specification, sections 2.3 and 2.6).

use std::path::{Path, PathBuf};

use super::error::ImportError;
use super::statements::{Statements, parse_codes};
use super::table::{Table, identifier};
use super::{Catalogue, Fault, Importer, Item, check_root, mark_repeated_ids};
use crate::schema::Split;

/// Rows of the complete table.
const PUBLISHED_ROWS: usize = 21_799;

/// Records of a task in folds 1-8, 9 and 10 of the complete table, whatever the likelihood of their
/// statements (section 2.6).
const PUBLISHED_COUNTS: [(&str, [usize; 3]); 4] = [
    ("superdiagnostic", [17_084, 2_146, 2_158]),
    ("subdiagnostic", [17_084, 2_146, 2_158]),
    ("form", [7_197, 901, 880]),
    ("rhythm", [16_832, 2_100, 2_098]),
];

/// Which of the two published sampling rates is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PtbXlRate {
    /// `records100`.
    #[default]
    Hz100,
    /// `records500`.
    Hz500,
}

/// PTB-XL: `ptbxl_database.csv`, `scp_statements.csv` and the folder of records.
///
/// Ids are `ecg_id`s. Folds 1 to 8 are the training part, 9 validation, 10 test; no patient is in two
/// folds. The label sets are `all`, `diagnostic`, `subdiagnostic`, `superdiagnostic`, `form` and
/// `rhythm`; a record without any label of a set is not part of that task. Ages above 89 are published as
/// 300 and kept so. Reports are kept as published, in German, English or Swedish.
#[derive(Clone, Debug, PartialEq)]
pub struct PtbXl {
    /// The folder of `ptbxl_database.csv`.
    pub root: PathBuf,
    /// Which files are read.
    pub rate: PtbXlRate,
    /// Least likelihood in percent for a statement to count. `None`: every statement that is listed counts,
    /// as in the published benchmarks. A likelihood of 0 means "not stated" there.
    pub min_likelihood: Option<f32>,
}

impl PtbXl {
    /// PTB-XL at 100 Hz, every statement counted.
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
            let (labels, unknown) = statements.labels(&label_sets, counted);
            if !unknown.is_empty() {
                remarks.push(format!(
                    "record {id} has statements that scp_statements.csv does not list: {}",
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
        if items.len() == PUBLISHED_ROWS && self.min_likelihood.is_none() {
            remarks.extend(unlike_published(&label_sets, &items));
        }
        Ok(Catalogue {
            name: "ptb-xl".to_owned(),
            root: self.root.clone(),
            label_sets,
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
                "ptbxl_database.csv names this record, but `{}` is not there",
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

/// What differs from the published sizes of the four tasks.
fn unlike_published(label_sets: &[crate::schema::LabelSet], items: &[Item]) -> Vec<String> {
    let mut remarks = Vec::new();
    for (task, expected) in PUBLISHED_COUNTS {
        let Some(set) = label_sets.iter().position(|set| set.name == task) else {
            continue;
        };
        let found = [Split::Train, Split::Val, Split::Test].map(|split| {
            items
                .iter()
                .filter(|item| item.split == Some(split) && item.labels[set].is_some())
                .count()
        });
        if found != expected {
            remarks.push(format!(
                "the table is complete ({PUBLISHED_ROWS} rows), but task {task} has {found:?} records in train, val and test instead of the published {expected:?}: the statements were changed"
            ));
        }
    }
    remarks
}
