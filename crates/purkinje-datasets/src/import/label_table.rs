//! A table about the records of a folder: labels, patients, splits, reports, numbers.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use purkinje_store::source::portable;
use purkinje_store::{LabelSet, Split};

use super::ImportError;
use super::table::{Table, TableRow, identifier};
use super::{Fault, Item, read_sex};

/// A CSV or Parquet table about the records of a folder; the format is detected from its first bytes.
///
/// Columns are recognised by the names below, in upper or lower case; [`TableColumns`] gives other names.
///
/// | meaning | names | values |
/// | --- | --- | --- |
/// | record | `id`, `record`, `record_id`, `ecg_id`, `name`, `recording` | id as above, or the file name without extension if that is unique |
/// | file | `path`, `file`, `filename`, `ecg_path` | path below the folder, with or without extension |
/// | labels | `label`, `labels`, `class`, `classes`, `diagnosis`, `dx` | class names separated by `;` or `\|`; blank: not labelled |
/// | patient | `patient`, `patient_id`, `subject`, `subject_id` | |
/// | split | `split`, `subset`, `set` | train, val, test, none |
/// | fold | `fold`, `strat_fold` | a number |
/// | report | `report`, `text` | |
/// | age, sex | `age`; `sex`, `gender` | |
///
/// Without a column of labels, every other column that contains only 0, 1 and blanks is a class. In Parquet, a column
/// of lists of texts can also be the column of labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelTable {
    /// The file.
    pub path: PathBuf,
    /// Name of the label set it makes.
    pub label_set: String,
    /// Names of columns that differ from the recognised ones.
    pub columns: TableColumns,
}

/// Names of columns, where they differ from the recognised ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableColumns {
    /// Record.
    pub id: Option<String>,
    /// File.
    pub path: Option<String>,
    /// Labels, separated by `;` or `|`.
    pub labels: Option<String>,
    /// One column per class. Overrides `labels`.
    pub classes: Vec<String>,
    /// Patient.
    pub patient: Option<String>,
    /// Split.
    pub split: Option<String>,
    /// Fold of a cross-validation.
    pub fold: Option<String>,
    /// Report text.
    pub report: Option<String>,
    /// Columns of numbers to store with the records, under their own names.
    pub values: Vec<String>,
}

impl LabelTable {
    /// A table with recognised column names, for the label set `labels`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        LabelTable {
            path: path.into(),
            label_set: "labels".to_owned(),
            columns: TableColumns::default(),
        }
    }
}

/// The columns of a table by meaning.
struct Columns {
    id: Option<usize>,
    path: Option<usize>,
    patient: Option<usize>,
    split: Option<usize>,
    fold: Option<usize>,
    report: Option<usize>,
    age: Option<usize>,
    sex: Option<usize>,
    values: Vec<usize>,
    labels: LabelColumns,
}

enum LabelColumns {
    None,
    Listed(usize),
    OnePerClass(Vec<usize>),
}

/// Adds the contents of the table to the records; rows without a record become missing items.
pub(super) fn join(
    source: &LabelTable,
    items: &mut Vec<Item>,
    remarks: &mut Vec<String>,
) -> Result<Vec<LabelSet>, ImportError> {
    let table = Table::read(&source.path)?;
    let columns = Columns::find(&table, &source.columns)?;
    let classes = columns.class_names(&table);
    let set = LabelSet::from_names(source.label_set.clone(), classes);
    let label_sets = match columns.labels {
        LabelColumns::None => Vec::new(),
        _ => vec![set],
    };
    let records = Names::of(items);
    let mut rows_of: Vec<Option<u64>> = vec![None; items.len()];
    let mut absent = Vec::new();
    for row in &table.rows {
        let (Some(named), by_path) = columns.named(row) else {
            remarks.push(format!(
                "`{}`, line {}: the row names no record and was ignored",
                table.path.display(),
                row.line
            ));
            continue;
        };
        match records.find(named) {
            Found::One(index) => {
                let item = &mut items[index];
                if by_path && let Some(id) = row.value(columns.id) {
                    item.id = identifier(id).to_owned();
                }
                match rows_of[index].replace(row.line) {
                    None => columns.fill(&table, row, &label_sets, item)?,
                    Some(line) => merge(&columns, &table, row, &label_sets, item, line)?,
                }
            }
            found => absent.push(Item {
                id: named.to_owned(),
                path: PathBuf::from(named),
                fault: Some(found.fault(&table, row, named)),
                ..Item::default()
            }),
        }
    }
    let unlabelled = rows_of.iter().filter(|row| row.is_none()).count();
    if unlabelled > 0 {
        remarks.push(format!(
            "{unlabelled} of {} records have no row in `{}`; they are kept without labels",
            rows_of.len(),
            table.path.display()
        ));
    }
    items.extend(absent);
    Ok(label_sets)
}

/// A second row for a record adds labels; its other cells must agree with the first.
fn merge(
    columns: &Columns,
    table: &Table,
    row: &TableRow,
    label_sets: &[LabelSet],
    item: &mut Item,
    first_line: u64,
) -> Result<(), ImportError> {
    let mut other = item.clone();
    columns.fill(table, row, label_sets, &mut other)?;
    if (&other.patient, other.split, other.fold) != (&item.patient, item.split, item.fold) {
        item.fault = Some(Fault::Invalid(format!(
            "lines {first_line} and {} of `{}` give this record different patients, splits or folds; correct one of them",
            row.line,
            table.path.display()
        )));
    }
    for (own, more) in item.labels.iter_mut().zip(other.labels) {
        let united: BTreeSet<i16> = own.iter().chain(&more).flatten().copied().collect();
        if own.is_some() || more.is_some() {
            *own = Some(united.into_iter().collect());
        }
    }
    Ok(())
}

impl Columns {
    fn find(table: &Table, named: &TableColumns) -> Result<Self, ImportError> {
        const ADVICE: &str = "Rename a column, or name it with `--column`.";
        let column = |chosen: &Option<String>, usual: &[&str]| match chosen {
            Some(name) => table.column(name, ADVICE).map(Some),
            None => Ok(table.find(usual)),
        };
        let mut columns = Columns {
            id: column(
                &named.id,
                &["id", "record", "record_id", "ecg_id", "name", "recording"],
            )?,
            path: column(&named.path, &["path", "file", "filename", "ecg_path"])?,
            patient: column(
                &named.patient,
                &["patient", "patient_id", "subject", "subject_id"],
            )?,
            split: column(&named.split, &["split", "subset", "set"])?,
            fold: column(&named.fold, &["fold", "strat_fold"])?,
            report: column(&named.report, &["report", "text"])?,
            age: table.find(&["age"]),
            sex: table.find(&["sex", "gender"]),
            values: named
                .values
                .iter()
                .map(|name| table.column(name, ADVICE))
                .collect::<Result<_, _>>()?,
            labels: LabelColumns::None,
        };
        if columns.id.is_none() && columns.path.is_none() {
            return Err(ImportError::NoColumn {
                path: table.path.clone(),
                wanted: "the record (`id` or `path`)".to_owned(),
                present: table.columns.clone(),
                advice: ADVICE,
            });
        }
        let listed = column(
            &named.labels,
            &["label", "labels", "class", "classes", "diagnosis", "dx"],
        )?;
        columns.labels = if !named.classes.is_empty() {
            let classes = named
                .classes
                .iter()
                .map(|name| table.column(name, ADVICE))
                .collect::<Result<_, _>>()?;
            LabelColumns::OnePerClass(classes)
        } else if let Some(listed) = listed {
            LabelColumns::Listed(listed)
        } else {
            let classes: Vec<usize> = (0..table.columns.len())
                .filter(|column| !columns.is_used(*column) && is_binary(table, *column))
                .collect();
            if classes.is_empty() {
                LabelColumns::None
            } else {
                LabelColumns::OnePerClass(classes)
            }
        };
        Ok(columns)
    }

    fn is_used(&self, column: usize) -> bool {
        [
            self.id,
            self.path,
            self.patient,
            self.split,
            self.fold,
            self.report,
            self.age,
            self.sex,
        ]
        .contains(&Some(column))
            || self.values.contains(&column)
    }

    /// What names the record in a row, and whether it is the path.
    fn named<'a>(&self, row: &'a TableRow) -> (Option<&'a str>, bool) {
        match row.value(self.path) {
            Some(path) => (Some(path), true),
            None => (row.value(self.id), false),
        }
    }

    fn class_names(&self, table: &Table) -> Vec<String> {
        match &self.labels {
            LabelColumns::None => Vec::new(),
            LabelColumns::OnePerClass(columns) => {
                columns.iter().map(|&c| table.columns[c].clone()).collect()
            }
            // Ascending order of code points, as in the published label sets.
            LabelColumns::Listed(column) => table
                .rows
                .iter()
                .flat_map(|row| listed_labels(row.cell(*column)))
                .collect::<BTreeSet<_>>()
                .into_iter()
                .map(str::to_owned)
                .collect(),
        }
    }

    fn fill(
        &self,
        table: &Table,
        row: &TableRow,
        label_sets: &[LabelSet],
        item: &mut Item,
    ) -> Result<(), ImportError> {
        let owned = |column| row.value(column).map(str::to_owned);
        item.patient = row.value(self.patient).map(|p| identifier(p).to_owned());
        item.report = owned(self.report);
        item.sex = row.value(self.sex).and_then(read_sex);
        item.age = row.value(self.age).and_then(|cell| cell.parse().ok());
        item.values = self
            .values
            .iter()
            .map(|&column| number(table, row, column))
            .collect::<Result<_, _>>()?;
        item.split = row
            .value(self.split)
            .map(str::parse::<Split>)
            .transpose()
            .map_err(|error| table.error(row, error.to_string()))?;
        item.fold = row
            .value(self.fold)
            .map(|cell| {
                identifier(cell).parse().map_err(|_| {
                    table.error(
                        row,
                        format!("the fold is `{cell}`, expected a whole number"),
                    )
                })
            })
            .transpose()?;
        item.labels = match (&self.labels, label_sets.first()) {
            (LabelColumns::Listed(column), Some(set)) => {
                let cell = row.cell(*column);
                let classes: BTreeSet<i16> = listed_labels(cell)
                    .filter_map(|name| set.class_index(name))
                    .collect();
                vec![(!cell.is_empty()).then(|| classes.into_iter().collect())]
            }
            (LabelColumns::OnePerClass(columns), Some(_)) => {
                let labelled = columns.iter().any(|&column| !row.cell(column).is_empty());
                let mut classes = Vec::new();
                for (class, &column) in columns.iter().enumerate() {
                    match binary(row.cell(column)) {
                        Some(false) => {}
                        Some(true) => classes.extend(i16::try_from(class)),
                        None => {
                            return Err(table.error(
                                row,
                                format!(
                                    "class `{}` is `{}`, expected 0, 1 or blank",
                                    table.columns[column],
                                    row.cell(column)
                                ),
                            ));
                        }
                    }
                }
                vec![labelled.then_some(classes)]
            }
            _ => Vec::new(),
        };
        Ok(())
    }
}

/// A number, or `None` for a blank.
fn number(table: &Table, row: &TableRow, column: usize) -> Result<Option<f32>, ImportError> {
    let cell = row.cell(column);
    match cell.to_ascii_lowercase().as_str() {
        "" | "nan" | "na" | "n/a" | "null" | "none" => Ok(None),
        "true" => Ok(Some(1.0)),
        "false" => Ok(Some(0.0)),
        cell => match cell.parse::<f32>() {
            Ok(value) if value.is_finite() => Ok(Some(value)),
            _ => Err(table.error(
                row,
                format!(
                    "`{}` is `{cell}`, expected a number or blank",
                    table.columns[column]
                ),
            )),
        },
    }
}

fn listed_labels(cell: &str) -> impl Iterator<Item = &str> {
    cell.split([';', '|'])
        .map(str::trim)
        .filter(|name| !name.is_empty())
}

/// Whether a column contains only 0, 1 and blanks, with at least one 0 or 1.
fn is_binary(table: &Table, column: usize) -> bool {
    table
        .rows
        .iter()
        .all(|row| binary(row.cell(column)).is_some())
        && table.rows.iter().any(|row| !row.cell(column).is_empty())
}

fn binary(cell: &str) -> Option<bool> {
    match cell.to_ascii_lowercase().as_str() {
        "1" | "1.0" | "true" => Some(true),
        "0" | "0.0" | "false" | "" => Some(false),
        _ => None,
    }
}

/// The names by which a table may refer to the records of a folder.
struct Names(HashMap<String, Vec<usize>>);

enum Found {
    None,
    One(usize),
    Several(Vec<String>),
}

impl Names {
    fn of(items: &[Item]) -> Self {
        let mut names = HashMap::<String, Vec<usize>>::new();
        for (index, item) in items.iter().enumerate() {
            let path = portable(&item.path);
            let short = |path: &str| path.rsplit('/').next().unwrap_or("").to_owned();
            // A record in the root has the same long and short name.
            let own: BTreeSet<String> =
                [item.id.clone(), short(&item.id), short(&path), path].into();
            for name in own {
                names.entry(name).or_default().push(index);
            }
        }
        Names(names)
    }

    fn find(&self, named: &str) -> Found {
        let named = named.replace('\\', "/");
        let named = named.trim_start_matches("./").trim_start_matches('/');
        // `rec1.dat` and `rec1.mat` are the signal files of the record `rec1`.
        let without_extension = Path::new(named).with_extension("");
        let candidates = [
            named.to_owned(),
            identifier(named).to_owned(),
            portable(&without_extension),
        ];
        for name in &candidates {
            match self.0.get(name).map(Vec::as_slice) {
                Some([index]) => return Found::One(*index),
                Some(several) => {
                    return Found::Several(several.iter().map(|_| name.clone()).collect());
                }
                None => {}
            }
        }
        Found::None
    }
}

impl Found {
    fn fault(&self, table: &Table, row: &TableRow, named: &str) -> Fault {
        let place = format!("line {} of `{}`", row.line, table.path.display());
        match self {
            Found::Several(records) => Fault::Invalid(format!(
                "{place} names `{named}`, which matches {} records; give the path below the folder",
                records.len()
            )),
            _ => Fault::Missing(format!(
                "{place} names `{named}`, but the folder has no such record"
            )),
        }
    }
}
