//! A table about the records of a folder: labels, patients, splits, reports, numbers.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use purkinje_record::person::{age, known, sex};
use purkinje_store::source::portable;
use purkinje_store::{LabelSet, Split};

use super::ImportError;
use super::cells::names;
use super::table::{Table, TableRow, identifier};
use super::{Fault, Item};

/// A CSV or Parquet table about the records of a folder; the format is detected from its first bytes.
///
/// Columns are recognised by the names below, in upper or lower case; [`TableColumns`] gives other names.
///
/// | meaning | names | values |
/// | --- | --- | --- |
/// | record | `id`, `record`, `record_id`, `ecg_id`, `name`, `recording` | id as above, or the file name without extension if that is unique |
/// | file | `path`, `file`, `filename`, `ecg_path` | path below the folder, with or without extension |
/// | labels | `label`, `labels`, `class`, `classes`, `diagnosis`, `dx` | class names separated by `;` or `\|`, a list as Python, JSON or R write it, or codes separated by commas; blank: not labelled |
/// | patient | `patient`, `patient_id`, `subject`, `subject_id`, `person_id`, `mrn`, `pid`, whatever stands between the words | |
/// | split | `split`, `subset`, `set` | train, val, test, none |
/// | fold | `fold`, `strat_fold` | a number |
/// | report | `report`, `text` | |
/// | age, sex | `age`; `sex`, `gender` | |
///
/// Blank are also the marks of missing values that programs write: `nan`, `NA`, `N/A`, `null`, `None`, `-`, `?`. Ages and sexes that cannot be
/// are left out and counted. Where no row names a record as it is called, leading zeros, `.0` and what stands before the folder in paths do
/// not count, as far as that names one record only.
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
    root: &Path,
    items: &mut Vec<Item>,
    remarks: &mut Vec<String>,
) -> Result<Vec<LabelSet>, ImportError> {
    let table = Table::read(&source.path)?;
    let columns = Columns::find(&table, &source.columns)?;
    let classes = columns.class_names(&table)?;
    let set = LabelSet::from_names(source.label_set.clone(), classes);
    let label_sets = match columns.labels {
        LabelColumns::None => Vec::new(),
        _ => vec![set],
    };
    add_named_files(&table, &columns, root, items);
    let records = Names::of(items);
    // The names by which the rows of the table mean each record.
    let mut meant_by: HashMap<usize, BTreeSet<&str>> = HashMap::new();
    for named in table.rows.iter().filter_map(|row| columns.named(row).0) {
        let mut found = records.find(named);
        if matches!(found, Found::None) {
            found = records.find_loosely(named);
        }
        if let Found::One(index) = found {
            meant_by.entry(index).or_default().insert(named);
        }
    }
    let mut loose = 0;
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
        let mut found = records.find(named);
        if matches!(found, Found::None) {
            found = match records.find_loosely(named) {
                // Other rows call the record otherwise: not all of them can mean it.
                Found::One(index) if meant_by[&index].len() > 1 => Found::None,
                found => found,
            };
            loose += usize::from(matches!(found, Found::One(_)));
        }
        match found {
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
    let first = table.rows.first().and_then(|row| columns.named(row).0);
    if let (Some(named), true) = (first, rows_of.iter().all(Option::is_none)) {
        return Err(ImportError::Table {
            path: table.path.clone(),
            line: table.rows[0].line,
            reason: format!(
                "no row of the table names a record of the folder: this one names `{named}`, the first record is `{}`; name the column with `--column id=NAME` or `--column path=NAME`",
                items.first().map_or("", |item| &item.id)
            ),
        });
    }
    if loose > 0 {
        remarks.push(format!(
            "{loose} rows of `{}` name their record otherwise (without leading zeros, with `.0`, or by a path from elsewhere); each matches just one record",
            table.path.display()
        ));
    }
    remarks.extend(columns.remarks(&table, &label_sets));
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

/// Adds the files that rows name by their paths and that were not taken for recordings.
fn add_named_files(table: &Table, columns: &Columns, root: &Path, items: &mut Vec<Item>) {
    let records = Names::of(items);
    let named = table.rows.iter().filter_map(|row| columns.named(row).0);
    let unknown: BTreeSet<&str> = named
        .filter(|named| matches!(records.find(named), Found::None))
        .filter(|named| matches!(records.find_loosely(named), Found::None))
        .filter(|named| Path::new(named).is_relative() && !named.contains(".."))
        .filter(|named| root.join(named).is_file())
        .collect();
    let unknown = unknown.into_iter().map(|named| Item {
        id: portable(&Path::new(named).with_extension("")),
        path: PathBuf::from(named),
        ..Item::default()
    });
    let unknown: Vec<Item> = unknown.collect();
    items.extend(unknown);
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
            patient: match &named.patient {
                Some(name) => Some(table.column(name, ADVICE)?),
                None => patient_column(table),
            },
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
        match row.value(self.path).and_then(known) {
            Some(path) => (Some(path), true),
            None => (row.value(self.id).and_then(known), false),
        }
    }

    fn class_names(&self, table: &Table) -> Result<Vec<String>, ImportError> {
        Ok(match &self.labels {
            LabelColumns::None => Vec::new(),
            LabelColumns::OnePerClass(columns) => {
                columns.iter().map(|&c| table.columns[c].clone()).collect()
            }
            // Ascending order of code points, as in the published label sets.
            LabelColumns::Listed(column) => {
                let mut all = BTreeSet::new();
                for row in &table.rows {
                    all.extend(labels(table, row, *column)?);
                }
                all.into_iter().map(Cow::into_owned).collect()
            }
        })
    }

    /// What a reader of the store should know about the table: ages and sexes that cannot be, columns that nothing uses, labels that are
    /// different for nearly all records, and that nobody says which records are of one patient.
    fn remarks(&self, table: &Table, label_sets: &[LabelSet]) -> Vec<String> {
        let place = table.path.display();
        let mut remarks = Vec::new();
        let cells = |column: usize| {
            table
                .rows
                .iter()
                .map(move |row| (row.line, row.cell(column)))
        };
        let mut bad = |name: &str, column: Option<usize>, is_bad: &dyn Fn(&str) -> bool| {
            let Some(column) = column else { return };
            let mut all = cells(column).filter(|(_, cell)| is_bad(cell));
            if let Some((line, cell)) = all.next() {
                remarks.push(format!(
                    "`{place}`: {} of the column `{}` are no {name} and were left out, the first is `{cell}` in line {line}",
                    all.count() + 1,
                    table.columns[column]
                ));
            }
        };
        bad("ages (0 to 130 years)", self.age, &|cell| {
            age(cell).is_err()
        });
        bad("sexes (female, male)", self.sex, &|cell| sex(cell).is_err());
        if self.patient.is_none() {
            remarks.push(format!(
                "`{place}` has no column of patients: each record counts as a patient of its own, so that recordings of one patient may be in several splits. Name the column with `--column patient=NAME`"
            ));
        }
        let labelled = |column: usize| {
            cells(column)
                .filter(|(_, cell)| known(cell).is_some())
                .count()
        };
        if let (LabelColumns::Listed(column), Some(set)) = (&self.labels, label_sets.first()) {
            let (classes, records) = (set.classes.len(), labelled(*column));
            if records >= 10 && 2 * classes > records {
                remarks.push(format!(
                    "`{place}`: the column `{}` has {classes} different labels for {records} records; is it a text, or a list in a notation that is not known (names separated by `;` or `|`)?",
                    table.columns[*column]
                ));
            }
        }
        let classes: &[usize] = match &self.labels {
            LabelColumns::OnePerClass(columns) => columns,
            LabelColumns::Listed(column) => std::slice::from_ref(column),
            LabelColumns::None => &[],
        };
        let unused = (0..table.columns.len()).filter(|c| !self.is_used(*c) && !classes.contains(c));
        let unused: Vec<&str> = unused
            .map(|column| table.columns[column].as_str())
            .collect();
        if !unused.is_empty() {
            const NAMED: usize = 8;
            let more = match unused.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let named: Vec<&str> = unused.iter().copied().take(NAMED).collect();
            remarks.push(format!(
                "`{place}`: columns that nothing was made of: {}{more} (`--column` says what a column means)",
                named.join(", ")
            ));
        }
        remarks
    }

    fn fill(
        &self,
        table: &Table,
        row: &TableRow,
        label_sets: &[LabelSet],
        item: &mut Item,
    ) -> Result<(), ImportError> {
        let value = |column| row.value(column).and_then(known);
        item.patient = value(self.patient).map(|p| identifier(p).to_owned());
        item.report = value(self.report).map(str::to_owned);
        // What cannot be is counted in a remark.
        item.sex = value(self.sex).and_then(|cell| sex(cell).ok()?);
        item.age = value(self.age).and_then(|cell| age(cell).ok()?);
        item.values = self
            .values
            .iter()
            .map(|&column| number(table, row, column))
            .collect::<Result<_, _>>()?;
        item.split = value(self.split)
            .map(str::parse::<Split>)
            .transpose()
            .map_err(|error| table.error(row, error.to_string()))?;
        item.fold = value(self.fold)
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
                let names = labels(table, row, *column)?;
                let classes = names.iter().filter_map(|name| set.class_index(name));
                let classes: BTreeSet<i16> = classes.collect();
                let labelled = known(row.cell(*column)).is_some();
                vec![labelled.then(|| classes.into_iter().collect())]
            }
            (LabelColumns::OnePerClass(columns), Some(_)) => {
                let labelled = columns.iter().any(|&c| known(row.cell(c)).is_some());
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
    let cell = known(row.cell(column)).unwrap_or("");
    match cell.to_ascii_lowercase().as_str() {
        "" => Ok(None),
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

/// The labels of a row.
fn labels<'t>(
    table: &Table,
    row: &'t TableRow,
    column: usize,
) -> Result<Vec<Cow<'t, str>>, ImportError> {
    names(row.cell(column))
        .map_err(|reason| table.error(row, format!("column `{}`: {reason}", table.columns[column])))
}

/// The column of patients, whatever stands between the words of its name.
fn patient_column(table: &Table) -> Option<usize> {
    const NAMES: [&str; 10] = [
        "patient",
        "patientid",
        "subject",
        "subjectid",
        "person",
        "personid",
        "mrn",
        "pid",
        "ptid",
        "patientnumber",
    ];
    let bare = |name: &str| {
        let letters = name.chars().filter(|c| c.is_alphanumeric());
        letters.collect::<String>().to_lowercase()
    };
    NAMES
        .iter()
        .find_map(|name| table.columns.iter().position(|own| bare(own) == *name))
}

/// Whether a column contains only 0, 1 and blanks, with at least one 0 or 1.
fn is_binary(table: &Table, column: usize) -> bool {
    table
        .rows
        .iter()
        .all(|row| binary(row.cell(column)).is_some())
        && table
            .rows
            .iter()
            .any(|row| known(row.cell(column)).is_some())
}

fn binary(cell: &str) -> Option<bool> {
    match known(cell).unwrap_or("").to_ascii_lowercase().as_str() {
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

impl Names {
    /// A record that is called a little otherwise: by a path that begins above the folder or elsewhere, without leading zeros, or by the number
    /// that its name begins with. It must be the only one.
    fn find_loosely(&self, named: &str) -> Found {
        let named = named.replace('\\', "/");
        let mut rest = named.as_str();
        while let Some((_, below)) = rest.split_once('/') {
            rest = below;
            if let found @ (Found::One(_) | Found::Several(_)) = self.find(below) {
                return found;
            }
        }
        let short = identifier(rest).trim_start_matches('0');
        if short.is_empty() || !short.bytes().all(|b| b.is_ascii_digit()) {
            return Found::None;
        }
        let number = |name: &str| {
            let end = name
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(name.len());
            name[..end].trim_start_matches('0') == short
        };
        let alike: BTreeSet<usize> = self
            .0
            .iter()
            .filter(|(name, _)| number(name))
            .flat_map(|(_, records)| records.iter().copied())
            .collect();
        match alike.iter().collect::<Vec<_>>()[..] {
            [] => Found::None,
            [one] => Found::One(*one),
            _ => Found::Several(alike.iter().map(|_| named.clone()).collect()),
        }
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
