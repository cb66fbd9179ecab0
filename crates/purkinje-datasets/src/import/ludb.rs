//! LUDB 1.0.1, the Lobachevsky University Database, in its published layout.

use std::path::{Path, PathBuf};

use purkinje_record::wfdb::{Header, read_annotations};
use purkinje_record::{
    Annotation, Lead, LeadChoice, LeadSet, OpenOptions, Reader, RecordError, open,
};
use purkinje_store::LabelSet;

use super::published::{Whole, indices, label_set};
use super::registry::{DataSet, of_preset};
use super::table::{Table, TableRow, identifier};
use super::{
    Catalogue, Fault, ImportError, Importer, Item, check_root, mark_repeated_ids, read_sex,
};

/// Rows of the complete table.
const PUBLISHED_ROWS: usize = 200;

/// QRS complexes, T and P waves of all leads of all records, each with its symbol.
const PUBLISHED_WAVES: [(&str, usize); 3] = [("N", 21_966), ("t", 19_666), ("p", 16_797)];

/// A column of `ludb.csv` as a label set.
struct Column {
    /// Name of the column in the table.
    title: &'static str,
    /// Name of the label set.
    set: &'static str,
    /// Prefix of every entry.
    prefix: &'static str,
    /// Whether a blank means "none"; otherwise the record is not part of the task.
    blank_is_none: bool,
    /// Every entry of the complete table, with its records.
    classes: &'static [(&'static str, usize)],
}

/// Counted in `ludb.csv`; the data set's README gives the same numbers, except for the two rare rhythms and the scars
/// of the anterior wall, which it leaves out.
const COLUMNS: [Column; 9] = [
    Column {
        title: "Rhythms",
        set: "rhythm",
        prefix: "",
        blank_is_none: false,
        classes: &[
            ("Aberrant conduction", 1),
            ("Atrial fibrillation", 15),
            ("Atrial flutter, typical", 3),
            ("Irregular sinus rhythm", 2),
            ("Sinus arrhythmia", 8),
            ("Sinus bradycardia", 25),
            ("Sinus rhythm", 143),
            ("Sinus tachycardia", 4),
            ("Wandering atrial pacemaker", 3),
        ],
    },
    Column {
        title: "Electric axis of the heart",
        set: "axis",
        prefix: "Electric axis of the heart: ",
        blank_is_none: false,
        classes: &[
            ("horizontal", 20),
            ("left axis deviation", 66),
            ("normal", 75),
            ("right axis deviation", 3),
            ("vertical", 26),
        ],
    },
    Column {
        title: "Conduction abnormalities",
        set: "conduction",
        prefix: "",
        blank_is_none: true,
        classes: &[
            ("Complete left bundle branch block", 4),
            ("Complete right bundle branch block", 4),
            ("I degree av block", 10),
            ("Iii degree av-block", 5),
            ("Incomplete left bundle branch block", 6),
            ("Incomplete right bundle branch block", 29),
            ("Left anterior hemiblock", 16),
            ("Non-specific intravintricular conduction delay", 4),
            ("Sinoatrial blockade, undefined", 1),
        ],
    },
    Column {
        title: "Extrasystolies",
        set: "extrasystole",
        prefix: "",
        blank_is_none: true,
        classes: &[
            ("Atrial extrasystole, type: allorhythmic pattern", 1),
            ("Atrial extrasystole, type: bigemini", 1),
            ("Atrial extrasystole, type: quadrigemini", 1),
            ("Atrial extrasystole, type: single pac", 4),
            ("Atrial extrasystole: left atrial", 2),
            ("Atrial extrasystole: low atrial", 1),
            ("Atrial extrasystole: sa-nodal extrasystole", 3),
            ("Atrial extrasystole: undefined", 2),
            (
                "Ventricular extrasystole, localisation: ivs, middle part",
                1,
            ),
            ("Ventricular extrasystole, localisation: lv, undefined", 1),
            ("Ventricular extrasystole, localisation: lvot, lvs", 2),
            (
                "Ventricular extrasystole, localisation: rvot, anterior wall",
                3,
            ),
            (
                "Ventricular extrasystole, localisation: rvot, antero-septal part",
                1,
            ),
            ("Ventricular extrasystole, morphology: polymorphic", 2),
            ("Ventricular extrasystole, type: couplet", 2),
            ("Ventricular extrasystole, type: intercalary pvc", 2),
            ("Ventricular extrasystole, type: single pvc", 6),
        ],
    },
    Column {
        title: "Hypertrophies",
        set: "hypertrophy",
        prefix: "",
        blank_is_none: true,
        classes: &[
            ("Left atrial hypertrophy", 102),
            ("Left atrial overload", 11),
            ("Left ventricular hypertrophy", 108),
            ("Left ventricular overload", 11),
            ("Right atrial hypertrophy", 1),
            ("Right atrial overload", 17),
            ("Right ventricular hypertrophy", 3),
        ],
    },
    Column {
        title: "Cardiac pacing",
        set: "pacing",
        prefix: "",
        blank_is_none: true,
        classes: &[
            ("Bipolar ventricular pacing", 2),
            ("Biventricular pacing", 1),
            ("P-synchrony", 2),
            ("Pacemaker presence, undefined", 9),
            ("Unipolar atrial pacing", 1),
            ("Unipolar ventricular pacing", 6),
        ],
    },
    Column {
        title: "Ischemia",
        set: "ischemia",
        prefix: "",
        blank_is_none: true,
        classes: &[
            ("Ischemia: anterior wall", 5),
            ("Ischemia: apical", 6),
            ("Ischemia: inferior wall", 10),
            ("Ischemia: lateral wall", 8),
            ("Ischemia: posterior wall", 2),
            ("Ischemia: septal", 4),
            ("Scar formation: anterior wall", 8),
            ("Scar formation: apical", 5),
            ("Scar formation: inferior wall", 3),
            ("Scar formation: lateral wall", 3),
            ("Scar formation: posterior wall", 6),
            ("Scar formation: septal", 9),
            ("Stemi: anterior wall", 8),
            ("Stemi: apical", 5),
            ("Stemi: inferior wall", 1),
            ("Stemi: lateral wall", 7),
            ("Stemi: septal", 8),
            ("Undefined ischemia/scar/supp.nstemi: anterior wall", 12),
            ("Undefined ischemia/scar/supp.nstemi: apical", 11),
            ("Undefined ischemia/scar/supp.nstemi: inferior wall", 3),
            ("Undefined ischemia/scar/supp.nstemi: lateral wall", 16),
            ("Undefined ischemia/scar/supp.nstemi: posterior wall", 4),
            ("Undefined ischemia/scar/supp.nstemi: septal", 5),
        ],
    },
    Column {
        title: "Non-specific repolarization abnormalities",
        set: "repolarization",
        prefix: "Non-specific repolarization abnormalities: ",
        blank_is_none: true,
        classes: &[
            ("anterior wall", 18),
            ("apical", 11),
            ("inferior wall", 19),
            ("lateral wall", 13),
            ("posterior wall", 9),
            ("septal", 15),
        ],
    },
    Column {
        title: "Other states",
        set: "other",
        prefix: "",
        blank_is_none: true,
        classes: &[("Early repolarization syndrome", 9)],
    },
];

/// Its entry in the table of data sets.
pub(super) const DATA_SET: DataSet = DataSet {
    name: "ludb",
    about: "LUDB 1.0.1: 200 records of 10 s with P, QRS and T limits in every lead",
    preset: "clear",
    options: &[],
    label_sets: &[
        "rhythm",
        "axis",
        "conduction",
        "extrasystole",
        "hypertrophy",
        "pacing",
        "ischemia",
        "repolarization",
        "other",
    ],
    splits: Vec::new,
    contract: of_preset,
    open: |_, root, _| Ok(Box::new(Ludb::new(root))),
};

/// LUDB: `ludb.csv` and the folder `data` of records, with the limits of P, QRS and T in every lead.
///
/// Ids are the numbers of the records, each of a different patient. The label sets are the columns of the table:
/// `rhythm`, `axis`, `conduction`, `extrasystole`, `hypertrophy`, `pacing`, `ischemia`, `repolarization`, `other`.
/// There are no published splits. Reading gives the annotations of the twelve files as [`Annotation`]s with their
/// leads: `(`, then `p`, `N` or `t` at the peak, then `)`.
///
/// The gain of every lead was fitted separately by the publishers, so that amplitudes of one record are not comparable
/// between leads, and leads do not fulfil Einthoven's relation.
#[derive(Clone, Debug, PartialEq)]
pub struct Ludb {
    /// The folder of `ludb.csv`.
    pub root: PathBuf,
}

impl Ludb {
    /// LUDB in this folder.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Ludb { root: root.into() }
    }
}

impl Importer for Ludb {
    fn catalogue(&self) -> Result<Catalogue, ImportError> {
        const ADVICE: &str = "Use the ludb.csv of version 1.0.1 as PhysioNet publishes it.";
        check_root(&self.root)?;
        let table = Table::read(&self.root.join("ludb.csv"))?;
        let id = table.column("ID", ADVICE)?;
        let age = table.column("Age", ADVICE)?;
        let sex = table.column("Sex", ADVICE)?;
        let columns = COLUMNS
            .iter()
            .map(|column| table.column(column.title, ADVICE))
            .collect::<Result<Vec<_>, _>>()?;
        let label_sets: Vec<LabelSet> = COLUMNS
            .iter()
            .map(|column| label_set(column.set, column.classes))
            .collect();
        let mut remarks = Vec::new();
        let mut old = 0usize;
        let mut items = Vec::with_capacity(table.rows.len());
        for row in &table.rows {
            let id = identifier(row.cell(id)).to_owned();
            if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(table.error(row, format!("ID is `{id}`, expected a number")));
            }
            let mut labels = Vec::with_capacity(COLUMNS.len());
            for ((column, &index), set) in COLUMNS.iter().zip(&columns).zip(&label_sets) {
                let (classes, unknown) = column.read(row, index, set);
                labels.push(classes);
                if !unknown.is_empty() {
                    remarks.push(format!(
                        "record {id}: column `{}` has entries that are unknown in version 1.0.1: {}",
                        column.title,
                        unknown.join(", ")
                    ));
                }
            }
            let path = PathBuf::from("data").join(&id);
            let header = self.root.join(&path).with_extension("hea");
            old += usize::from(row.cell(age).starts_with('>'));
            items.push(Item {
                fault: (!header.is_file()).then(|| {
                    Fault::Missing(format!(
                        "ludb.csv lists this record, but `{}` does not exist",
                        header.display()
                    ))
                }),
                patient: Some(id.clone()),
                report: diagnoses(&header),
                age: purkinje_record::person::age(row.cell(age)).ok().flatten(),
                sex: read_sex(row.cell(sex)),
                labels,
                id,
                path,
                ..Item::default()
            });
        }
        mark_repeated_ids(&mut items);
        if old > 0 {
            remarks.push(format!(
                "the age of {old} of {} patients is given as `>89` and was stored as 89",
                items.len()
            ));
        }
        remarks.extend(unlike_published(&items, &label_sets));
        if items.len() == PUBLISHED_ROWS && items.iter().all(|item| item.fault.is_none()) {
            remarks.extend(self.unlike_published_waves(&items));
        }
        Ok(Catalogue {
            name: "ludb".to_owned(),
            root: self.root.clone(),
            label_sets,
            items,
            remarks,
            ..Catalogue::default()
        })
    }

    fn open(
        &self,
        catalogue: &Catalogue,
        item: &Item,
        leads: &LeadSet,
    ) -> Result<Reader, RecordError> {
        let options = OpenOptions {
            leads: LeadChoice::Named(leads.clone()),
            keep_digital: true,
            ..OpenOptions::default()
        };
        let header = catalogue.root.join(&item.path).with_extension("hea");
        let mut recording = open(&header, &options)?;
        for lead in leads.leads() {
            let file = annotation_file(&header, lead);
            if !file.is_file() {
                return Err(RecordError::Content {
                    path: file,
                    field: format!("the annotation file of lead {lead}"),
                    found: "missing".to_owned(),
                    expected: "the limits of P, QRS and T; copy the twelve annotation files of the record too".to_owned(),
                });
            }
            let marks = read_annotations(&file)?.marks;
            recording
                .annotations
                .extend(marks.into_iter().map(|mark| Annotation {
                    sample: mark.sample,
                    lead: Some(lead.clone()),
                    symbol: mark.symbol,
                    note: mark.note,
                }));
        }
        recording
            .annotations
            .sort_by_key(|annotation| annotation.sample);
        Ok(recording.into())
    }
}

impl Ludb {
    /// Differences from the published numbers of waves in the annotations of all records.
    fn unlike_published_waves(&self, items: &[Item]) -> Option<String> {
        let mut found = [0usize; 3];
        for item in items {
            for lead in Lead::STANDARD_12 {
                let file = annotation_file(&self.root.join(&item.path), &lead);
                // A file that cannot be read fails with its reason when the record is.
                for mark in read_annotations(&file).ok()?.marks {
                    for (count, (symbol, _)) in found.iter_mut().zip(PUBLISHED_WAVES) {
                        *count += usize::from(mark.symbol == symbol);
                    }
                }
            }
        }
        (found != PUBLISHED_WAVES.map(|(_, count)| count)).then(|| {
            format!(
                "all records are present, but their annotations mark {found:?} QRS complexes, T and P waves instead of the published {:?}",
                PUBLISHED_WAVES.map(|(_, count)| count)
            )
        })
    }
}

/// Differences from the published numbers of records with every entry of the table.
fn unlike_published(items: &[Item], label_sets: &[LabelSet]) -> Vec<String> {
    let Some(mut whole) = Whole::of(items, PUBLISHED_ROWS) else {
        return Vec::new();
    };
    for (set, (column, labels)) in COLUMNS.iter().zip(label_sets).enumerate() {
        let published: Vec<usize> = column.classes.iter().map(|(_, n)| *n).collect();
        whole = whole.positives(column.set, set, &labels.classes, &published, |_| true);
    }
    whole.remarks()
}

/// The annotations of a lead, beside the header.
fn annotation_file(record: &Path, lead: &Lead) -> PathBuf {
    record.with_extension(lead.name().to_ascii_lowercase())
}

impl Column {
    /// The classes of a record, and entries that are not a class. A cell has one entry per line.
    fn read<'a>(
        &self,
        row: &'a TableRow,
        index: usize,
        set: &LabelSet,
    ) -> (Option<Vec<i16>>, Vec<&'a str>) {
        let cell = row.cell(index);
        if cell.is_empty() {
            return (self.blank_is_none.then(Vec::new), Vec::new());
        }
        let entries = cell
            .lines()
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(|entry| entry.strip_prefix(self.prefix).unwrap_or(entry));
        let (classes, unknown) = indices(set, entries);
        (Some(classes), unknown)
    }
}

/// The diagnoses that a header lists below `#<diagnoses>:`, one per line.
fn diagnoses(header: &Path) -> Option<String> {
    let comments = Header::read(header).ok()?.comments;
    let lines: Vec<&str> = comments
        .iter()
        .map(|line| line.trim())
        .skip_while(|line| !line.starts_with("<diagnoses>"))
        .skip(1)
        .filter(|line| !line.is_empty())
        .collect();
    (!lines.is_empty()).then(|| lines.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_complete_table_is_compared_with_the_published_counts() {
        // The table in the project is the complete one.
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/ludb");
        let catalogue = Ludb::new(root).catalogue().unwrap();
        let mut items = catalogue.items;
        assert_eq!(items.len(), PUBLISHED_ROWS);
        assert_eq!(
            unlike_published(&items, &catalogue.label_sets),
            Vec::<String>::new()
        );
        let rhythm = items[0].labels[0].take();
        assert!(rhythm.is_some());
        let remarks = unlike_published(&items, &catalogue.label_sets);
        assert!(
            remarks.len() == 1 && remarks[0].contains("Sinus bradycardia 24 instead of 25"),
            "{remarks:?}"
        );
        assert!(unlike_published(&items[1..], &catalogue.label_sets).is_empty());
    }
}
