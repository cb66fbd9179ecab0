//! The Shandong Provincial Hospital database (SPH) as published on figshare.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use purkinje_record::hdf5::Hdf5File;
use purkinje_record::{LeadSet, Reader, RecordError, Recording, Source};
use purkinje_store::{LabelClass, LabelSet};

use super::hubert;
use super::published::Whole;
use super::registry::{DataSet, of_preset, owned};
use super::table::{Table, TableRow, identifier};
use super::{
    Catalogue, Fault, ImportError, Importer, Item, check_root, mark_repeated_ids, read_sex,
};

/// Sampling rate in hertz.
pub const RATE_HZ: f64 = 500.0;

/// Samples of the longest record that is read; the longest published one has 60 s.
pub const MAX_RECORD_SAMPLES: u64 = 1 << 22;

/// Records and patients of the complete set.
const PUBLISHED: (usize, usize) = (25_770, 24_666);

/// Codes from here on are modifiers of a statement.
const FIRST_MODIFIER: u16 = 200;

/// The 44 primary statements that occur, in the order of their AHA/ACC/HRS codes; HuBERT-ECG's 44 classes are in the same order.
const STATEMENTS: [(u16, &str); 44] = [
    (1, "Normal ECG"),
    (21, "Sinus tachycardia"),
    (22, "Sinus bradycardia"),
    (23, "Sinus arrhythmia"),
    (30, "Atrial premature complex(es)"),
    (31, "Atrial premature complexes, nonconducted"),
    (36, "Junctional premature complex(es)"),
    (37, "Junctional escape complex(es)"),
    (50, "Atrial fibrillation"),
    (51, "Atrial flutter"),
    (54, "Junctional tachycardia"),
    (60, "Ventricular premature complex(es)"),
    (80, "Short PR interval"),
    (81, "AV conduction ratio N:D"),
    (82, "Prolonged PR interval"),
    (83, "Second-degree AV block, Mobitz type I (Wenckebach)"),
    (84, "Second-degree AV block, Mobitz type II"),
    (85, "2:1 AV block"),
    (86, "AV block, varying conduction"),
    (87, "AV block, advanced (high-grade)"),
    (88, "AV block, complete (third-degree)"),
    (101, "Left anterior fascicular block"),
    (102, "Left posterior fascicular block"),
    (104, "Left bundle-branch block"),
    (105, "Incomplete right bundle-branch block"),
    (106, "Right bundle-branch block"),
    (108, "Ventricular preexcitation"),
    (120, "Right-axis deviation"),
    (121, "Left-axis deviation"),
    (125, "Low voltage"),
    (140, "Left atrial enlargement"),
    (142, "Left ventricular hypertrophy"),
    (143, "Right ventricular hypertrophy"),
    (145, "ST deviation"),
    (146, "ST deviation with T-wave change"),
    (147, "T-wave abnormality"),
    (148, "Prolonged QT interval"),
    (152, "TU fusion"),
    (153, "ST-T change due to ventricular hypertrophy"),
    (155, "Early repolarization"),
    (160, "Anterior MI"),
    (161, "Inferior MI"),
    (165, "Anteroseptal MI"),
    (166, "Extensive anterior MI"),
];

/// Its entry in the table of data sets.
pub(super) const DATA_SET: DataSet = DataSet {
    name: "sph",
    about: "Shandong Provincial Hospital: 25,770 records of 10 to 60 s, AHA statements",
    preset: "clear",
    options: &["split"],
    label_sets: &["statements", "modifiers", "hubert"],
    splits: || owned(&hubert::SPLITS),
    contract: of_preset,
    open: |_, root, options| {
        Ok(Box::new(Sph {
            hubert: options.split.is_some(),
            ..Sph::new(root)
        }))
    },
};

/// SPH: `metadata.csv`, `code.csv` and the folder `records` of HDF5 files (`ecg`, twelve leads at 500 Hz in mV).
///
/// Ids are `ECG_ID`s, patients `Patient_ID`s. Label sets are `statements`, the 44 primary AHA statements, `modifiers`,
/// their modifiers, and `hubert`, the same 44 classes under HuBERT-ECG's names (its `1AVB` is the statement 85, 2:1 AV
/// block).
#[derive(Clone, Debug, PartialEq)]
pub struct Sph {
    /// The folder of `metadata.csv`.
    pub root: PathBuf,
    /// Use the splits of HuBERT-ECG; otherwise records are split by patient.
    pub hubert: bool,
}

impl Sph {
    /// SPH in this folder, without splits.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Sph {
            root: root.into(),
            hubert: false,
        }
    }
}

impl Importer for Sph {
    fn catalogue(&self) -> Result<Catalogue, ImportError> {
        check_root(&self.root)?;
        let table = Table::read(&self.root.join("metadata.csv"))?;
        let columns = Columns::find(&table)?;
        let names = code_names(&self.root.join("code.csv"))?;
        let Coded {
            rows,
            modifiers,
            unknown,
        } = Coded::read(&table, &columns, &names)?;
        let label_sets = label_sets(&names, &modifiers);
        let mut items = Vec::with_capacity(rows.len());
        for (row, codes) in table.rows.iter().zip(rows) {
            items.push(self.item(&table, &columns, row, &codes, &modifiers)?);
        }
        mark_repeated_ids(&mut items);
        let mut remarks = Vec::new();
        if !unknown.is_empty() {
            remarks.push(format!(
                "primary codes that do not occur in the published data set were left out: {unknown:?}"
            ));
        }
        remarks.extend(unlike_published(&items, &label_sets[2]));
        if self.hubert {
            remarks.extend(hubert::divide("sph", 0, &mut items, |item| {
                item.id.clone()
            })?);
        }
        Ok(Catalogue {
            name: "sph".to_owned(),
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
        read_record(&catalogue.root.join(&item.path), &item.id, leads).map(Reader::from)
    }
}

impl Sph {
    /// A record with its codes.
    fn item(
        &self,
        table: &Table,
        columns: &Columns,
        row: &TableRow,
        codes: &[u16],
        modifiers: &[u16],
    ) -> Result<Item, ImportError> {
        let id = row.cell(columns.id).to_owned();
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(table.error(
                row,
                format!("ECG_ID is `{id}`, expected a name like A00001"),
            ));
        }
        let path = PathBuf::from("records").join(format!("{id}.h5"));
        let primary: BTreeSet<i16> = codes.iter().copied().filter_map(index_of).collect();
        let primary: Vec<i16> = primary.into_iter().collect();
        let modifying: BTreeSet<i16> = codes
            .iter()
            .filter_map(|code| i16::try_from(modifiers.iter().position(|own| own == code)?).ok())
            .collect();
        Ok(Item {
            fault: (!self.root.join(&path).is_file()).then(|| {
                Fault::Missing(format!(
                    "metadata.csv names this record, but `{}` is not there",
                    self.root.join(&path).display()
                ))
            }),
            patient: row
                .value(Some(columns.patient))
                .map(|cell| identifier(cell).to_owned()),
            age: row.cell(columns.age).parse().ok(),
            sex: read_sex(row.cell(columns.sex)),
            labels: vec![
                Some(primary.clone()),
                Some(modifying.into_iter().collect()),
                Some(primary),
            ],
            id,
            path,
            ..Item::default()
        })
    }
}

/// Where the columns of `metadata.csv` stand.
struct Columns {
    id: usize,
    codes: usize,
    patient: usize,
    age: usize,
    sex: usize,
}

impl Columns {
    fn find(table: &Table) -> Result<Self, ImportError> {
        let column = |name| {
            table.column(
                name,
                "Use the metadata.csv that figshare publishes with SPH.",
            )
        };
        Ok(Columns {
            id: column("ECG_ID")?,
            codes: column("AHA_Code")?,
            patient: column("Patient_ID")?,
            age: column("Age")?,
            sex: column("Sex")?,
        })
    }
}

/// The codes of all records.
struct Coded {
    /// Those of each row.
    rows: Vec<Vec<u16>>,
    /// The modifiers there are, named or used.
    modifiers: Vec<u16>,
    /// Primary codes that the published set does not use.
    unknown: BTreeSet<u16>,
}

impl Coded {
    fn read(
        table: &Table,
        columns: &Columns,
        names: &BTreeMap<u16, String>,
    ) -> Result<Self, ImportError> {
        let mut rows = Vec::with_capacity(table.rows.len());
        let named = names.keys().copied();
        let mut modifiers: BTreeSet<u16> = named.filter(|code| *code >= FIRST_MODIFIER).collect();
        let mut unknown = BTreeSet::new();
        for row in &table.rows {
            let codes = parse_codes(row.cell(columns.codes));
            let codes = codes.map_err(|reason| table.error(row, reason))?;
            for &code in &codes {
                if code >= FIRST_MODIFIER {
                    modifiers.insert(code);
                } else if index_of(code).is_none() {
                    unknown.insert(code);
                }
            }
            rows.push(codes);
        }
        Ok(Coded {
            rows,
            modifiers: modifiers.into_iter().collect(),
            unknown,
        })
    }
}

/// Primary statements, modifiers, and the statements as HuBERT-ECG calls them.
fn label_sets(names: &BTreeMap<u16, String>, modifiers: &[u16]) -> Vec<LabelSet> {
    let set = |name: &str, classes| LabelSet {
        name: name.to_owned(),
        classes,
    };
    let statements = STATEMENTS
        .iter()
        .map(|(code, name)| coded(*code, (*name).to_owned(), names.get(code)));
    let modifiers = modifiers.iter().map(|code| {
        let name = names.get(code).cloned().unwrap_or_else(|| code.to_string());
        coded(*code, name, None)
    });
    let of_hubert = STATEMENTS
        .iter()
        .zip(hubert::SPH)
        .map(|((code, name), (own, _))| coded(*code, own.to_owned(), Some(&(*name).to_owned())));
    vec![
        set("statements", statements.collect()),
        set("modifiers", modifiers.collect()),
        set("hubert", of_hubert.collect()),
    ]
}

fn coded(code: u16, name: String, description: Option<&String>) -> LabelClass {
    LabelClass {
        description: description.filter(|text| **text != name).cloned(),
        name,
        codes: BTreeMap::from([("AHA".to_owned(), code.to_string())]),
    }
}

fn index_of(code: u16) -> Option<i16> {
    STATEMENTS
        .iter()
        .position(|(own, _)| *own == code)
        .and_then(|index| i16::try_from(index).ok())
}

/// `22;50+346`: statements separated by semicolons, each with its modifiers after `+`.
fn parse_codes(cell: &str) -> Result<Vec<u16>, String> {
    cell.split([';', '+'])
        .map(str::trim)
        .filter(|code| !code.is_empty())
        .map(|code| {
            identifier(code).parse().map_err(|_| {
                format!("AHA_Code is `{cell}`, expected numbers separated by `;` and `+`")
            })
        })
        .collect()
}

/// The names of codes, if their table exists: from its columns with `code` and `description` in their names.
fn code_names(path: &Path) -> Result<BTreeMap<u16, String>, ImportError> {
    if !path.is_file() {
        return Ok(BTreeMap::new());
    }
    let table = Table::read(path)?;
    let titled = |words: &[&str]| {
        table.columns.iter().position(|title| {
            let title = title.to_ascii_lowercase();
            words.iter().any(|word| title.contains(word))
        })
    };
    let (Some(code), Some(name)) = (
        titled(&["code"]),
        titled(&["description", "statement", "name"]),
    ) else {
        return Ok(BTreeMap::new());
    };
    Ok(table
        .rows
        .iter()
        .filter_map(|row| {
            let code = identifier(row.cell(code)).parse().ok()?;
            Some((code, row.value(Some(name))?.to_owned()))
        })
        .collect())
}

/// Differences from the published number of patients and from HuBERT-ECG's positives in its test split. `set` is label
/// set number 2.
fn unlike_published(items: &[Item], set: &LabelSet) -> Vec<String> {
    let Some(whole) = Whole::of(items, PUBLISHED.0) else {
        return Vec::new();
    };
    let test = hubert::test_part("sph", 0);
    let here = |item: &Item| test.contains(item.id.as_str());
    let published: Vec<usize> = hubert::SPH.iter().map(|(_, count)| *count).collect();
    whole
        .patients(PUBLISHED.1)
        .records("records of HuBERT-ECG's test split", test.len(), here)
        .positives("HuBERT-ECG's test split", 2, &set.classes, &published, here)
        .remarks()
}

fn read_record(path: &Path, id: &str, wanted: &LeadSet) -> Result<Recording, RecordError> {
    let content = |found: String| RecordError::Content {
        path: path.to_owned(),
        field: "ecg".to_owned(),
        found,
        expected: "12 leads x samples; copy the file again".to_owned(),
    };
    let file = Hdf5File::open(path)?;
    let ecg = file
        .dataset("ecg")
        .ok_or_else(|| content(format!("missing; the file has: {}", file.summary())))?;
    let &[12, samples] = ecg.shape() else {
        return Err(content(format!("an array of {:?}", ecg.shape())));
    };
    if samples > MAX_RECORD_SAMPLES {
        return Err(content(format!("{samples} samples")));
    }
    let standard = LeadSet::standard_12();
    let rows = standard
        .rows_of(wanted)
        .map_err(|lead| RecordError::MissingLead {
            path: path.to_owned(),
            lead: lead.to_string(),
            present: standard.to_string(),
        })?;
    let values: Vec<f32> = ecg.read()?;
    let samples = values.len() / 12;
    let mut samples_mv = Vec::with_capacity(rows.len() * samples);
    for row in rows {
        samples_mv.extend(values.iter().skip(row * samples).take(samples));
    }
    let mut recording =
        Recording::new(id, wanted.clone(), RATE_HZ, samples_mv).map_err(|source| {
            RecordError::Shape {
                path: path.to_owned(),
                source,
            }
        })?;
    recording.source = Source {
        path: path.to_owned(),
        format: "hdf5",
        comments: Vec::new(),
        also: Vec::new(),
    };
    Ok(recording)
}

#[cfg(test)]
mod tests {
    use super::super::published::label_as_published;
    use super::super::published_splits::published_split;
    use super::*;

    #[test]
    fn the_whole_set_is_compared_with_the_published_counts() {
        let set = LabelSet::from_names("hubert", hubert::SPH.map(|(name, _)| name));
        let names = published_split("sph", "hubert-0").unwrap();
        assert_eq!(names.len(), PUBLISHED.0);
        let mut items: Vec<Item> = (0..)
            .zip(names.keys())
            .map(|(n, name)| Item {
                id: (*name).to_owned(),
                patient: Some((n % PUBLISHED.1).to_string()),
                labels: vec![Some(vec![]); 3],
                ..Item::default()
            })
            .collect();
        let test = hubert::test_part("sph", 0);
        let counts = hubert::SPH.map(|(_, count)| count);
        label_as_published(&mut items, 2, &counts, |i| test.contains(i.id.as_str()));
        assert_eq!(unlike_published(&items, &set), Vec::<String>::new());
        for item in &mut items {
            item.patient = Some("one".to_owned());
            // First-degree block where 2:1 block is meant.
            for class in item.labels[2].iter_mut().flatten() {
                if *class == 17 {
                    *class = 14;
                }
            }
        }
        let remarks = unlike_published(&items, &set);
        assert_eq!(remarks.len(), 2, "{remarks:?}");
        assert!(remarks[0].contains("1 patients instead of the published 24666"));
        assert!(remarks[1].contains("1AVB 0 instead of 21"), "{remarks:?}");
    }

    #[test]
    fn codes_are_read_with_their_modifiers() {
        assert_eq!(parse_codes("22;50+346; 1 "), Ok(vec![22, 50, 346, 1]));
        assert_eq!(parse_codes("22.0"), Ok(vec![22]));
        assert_eq!(parse_codes(""), Ok(vec![]));
        assert!(parse_codes("22,50").is_err());
        assert!(STATEMENTS.is_sorted());
        assert_eq!(STATEMENTS.len(), hubert::SPH.len());
        assert_eq!(index_of(85), Some(17));
        assert_eq!(hubert::SPH[17].0, "1AVB");
    }
}
