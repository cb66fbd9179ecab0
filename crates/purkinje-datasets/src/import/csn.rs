//! Chapman-Shaoxing-Ningbo ("A large scale 12-lead electrocardiogram database for arrhythmia study").

use std::collections::HashMap;
use std::path::PathBuf;

use purkinje_store::{LabelClass, LabelSet, Split};

use super::hubert;
use super::published::{PARTS, Whole};
use super::published_splits::{
    assign_parts, published_split, published_split_names, required_split, unknown_split,
};
use super::registry::{DataSet, of_preset};
use super::snomed::{
    CodeSet, FoundHeader, SNOMED_CT, challenge_code, challenge_codes, class_of, read_headers,
};
use super::table::Table;
use super::{Catalogue, ImportError, Importer, Item, check_root, mark_repeated_ids};

/// Records of the complete set.
const PUBLISHED_RECORDS: usize = 45_152;

/// The file of the data set that gives codes their acronyms.
const CONDITIONS_FILE: &str = "ConditionNames_SNOMED-CT.csv";

/// Name of the label set with the published label files' columns and defects.
const RELEASED: &str = "released";

/// Columns of the published label files in order, with the numbers of records in train, validation and test.
const RELEASED_COLUMNS: [(&str, [usize; 3]); 38] = [
    ("AQW", [433, 46, 112]),
    ("UW", [45, 3, 10]),
    ("SR", [5154, 571, 1404]),
    ("WPW", [34, 5, 14]),
    ("2AVB", [31, 3, 4]),
    ("AT", [115, 15, 42]),
    ("VB", [665, 82, 169]),
    ("ARS", [365, 53, 114]),
    ("STTC", [610, 81, 186]),
    ("SA", [2075, 217, 536]),
    ("STE", [295, 30, 93]),
    ("VPB", [174, 20, 43]),
    ("TWO", [806, 85, 232]),
    ("STTU", [97, 14, 36]),
    ("ALS", [641, 70, 210]),
    ("APB", [497, 52, 136]),
    ("2AVB1", [13, 2, 1]),
    ("PRIE", [20, 1, 8]),
    ("CCR", [87, 16, 38]),
    ("CR", [141, 25, 50]),
    ("AF", [3383, 383, 987]),
    ("AVB", [662, 82, 169]),
    ("QTIE", [137, 16, 32]),
    ("LBBB", [143, 24, 42]),
    ("VEB", [15, 1, 5]),
    ("SVT", [434, 51, 128]),
    ("RBBB", [394, 46, 93]),
    ("1AVB", [510, 66, 126]),
    ("STDD", [307, 29, 91]),
    ("MI", [36, 6, 15]),
    ("AFIB", [992, 124, 297]),
    ("TWC", [3288, 389, 968]),
    ("PWC", [73, 3, 11]),
    ("ERV", [180, 18, 68]),
    ("RVH", [20, 4, 5]),
    ("LVH", [83, 8, 22]),
    ("ST", [4553, 504, 1281]),
    ("JEB", [17, 3, 5]),
];

/// Its entry in the table of data sets.
pub(super) const DATA_SET: DataSet = DataSet {
    name: "csn",
    about: "Chapman-Shaoxing-Ningbo: 45,152 records of 10 s, SNOMED-CT codes",
    preset: "clear-csn",
    options: &["split"],
    label_sets: &["conditions", "released"],
    splits: Csn::split_names,
    contract: of_preset,
    open: |_, root, options| {
        Ok(Box::new(Csn {
            split: options.split.clone(),
            ..Csn::new(root)
        }))
    },
};

/// Chapman-Shaoxing-Ningbo: 45,152 records of 10 s at 500 Hz, as PhysioNet publishes them (`WFDBRecords/`), or as the
/// Challenge of 2021 includes them (`chapman_shaoxing/`, `ningbo/`).
///
/// Ids are the names of the records (`JS00001`); patients are not published. Label sets:
///
/// - `conditions`: every SNOMED-CT code of the header, exactly. Names are the acronyms of the data set's own
///   table, or those of the Challenge for codes that the table lacks.
/// - `released`: the 38 columns of the label files that CLEAR-HUG, DERI, D-BETA and MERL use, for the 23,026
///   records in them. There a column is 1 where its name occurs *anywhere* in the record's list of acronyms, so
///   that `AF` (atrial flutter) is set by `AFIB`, `VB` (ventricular bigeminy) by every `AVB`. Use it to compare with
///   published numbers only.
#[derive(Clone, Debug, PartialEq)]
pub struct Csn {
    /// The folder of the records, as downloaded.
    pub root: PathBuf,
    /// A published split by name: `merl`, `clear-hug`, `deri` (the same split of 23,026 records), `hubert-0` ..
    /// `hubert-3` (the folds of Chapman and of Ningbo together), or those of one of them: `hubert-chapman-0`,
    /// `hubert-ningbo-0`, .... `None`: the source states no splits.
    pub split: Option<String>,
}

impl Csn {
    /// All records, without a published split.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Csn {
            root: root.into(),
            split: None,
        }
    }

    /// The names that [`Csn::split`] takes.
    pub fn split_names() -> Vec<String> {
        let mut names: Vec<String> = published_split_names("csn")
            .into_iter()
            .map(str::to_owned)
            .collect();
        names.extend(hubert_split_names(&["chapman", "ningbo"]));
        names
    }
}

impl Importer for Csn {
    fn catalogue(&self) -> Result<Catalogue, ImportError> {
        check_root(&self.root)?;
        let parts = self.split.as_deref().map(parts_of).transpose()?;
        let acronyms = Acronyms::read(&self.root)?;
        let headers = read_headers(&self.root)?;
        let mut remarks = Vec::new();
        let classes = acronyms.classes();
        let listed = classes.len();
        let conditions = CodeSet::new("conditions", classes, &headers);
        let further = conditions.further(listed);
        if !further.is_empty() {
            remarks.push(format!(
                "headers have codes that are neither in {CONDITIONS_FILE} nor in the tables of the Challenge of 2021; their classes are named by the code: {}",
                further.join(", ")
            ));
        }
        let released = released_records();
        let mut items: Vec<Item> = headers
            .into_iter()
            .map(|header| Item {
                labels: vec![
                    conditions.labels(&header.notes),
                    released
                        .contains_key(header.name.as_str())
                        .then(|| acronyms.released(&header)),
                ],
                id: header.name,
                path: header.path,
                age: header.notes.age,
                sex: header.notes.sex,
                ..Item::default()
            })
            .collect();
        mark_repeated_ids(&mut items);
        if let Some(parts) = &parts {
            let absent = assign_parts(&mut items, parts, |item| item.id.clone());
            if absent > 0 {
                remarks.push(format!(
                    "{absent} of the {} records of the split were not found in the folder",
                    parts.len()
                ));
            }
        }
        let conditions = conditions.into_set();
        remarks.extend(unlike_published(&items, &conditions));
        Ok(Catalogue {
            name: "csn".to_owned(),
            root: self.root.clone(),
            label_sets: vec![
                conditions,
                LabelSet::from_names(RELEASED, RELEASED_COLUMNS.map(|(name, _)| name)),
            ],
            items,
            remarks,
            ..Catalogue::default()
        })
    }
}

/// The names of HuBERT-ECG's splits over several data sets: of all together, then of each.
pub(super) fn hubert_split_names(sets: &[&str]) -> Vec<String> {
    let folds = 0..4;
    let mut names: Vec<String> = folds.clone().map(|fold| format!("hubert-{fold}")).collect();
    for set in sets {
        names.extend(folds.clone().map(|fold| format!("hubert-{set}-{fold}")));
    }
    names
}

/// The records of HuBERT-ECG's split `name` over `sets`, if it is one: `hubert-<fold>` for all of them,
/// `hubert-<set>-<fold>` for one. A record of several data sets belongs to the first that lists it.
pub(super) fn hubert_parts(name: &str, sets: &[&str]) -> Option<HashMap<&'static str, Split>> {
    let rest = name.strip_prefix("hubert-")?;
    let (chosen, fold) = match rest.rsplit_once('-') {
        Some((set, fold)) => {
            let set = sets.iter().find(|own| {
                // HuBERT-ECG's own files say `cpscExtra`.
                own.eq_ignore_ascii_case(set) || own.replace('-', "").eq_ignore_ascii_case(set)
            })?;
            (std::slice::from_ref(set), fold)
        }
        None => (sets, rest),
    };
    let mut parts = HashMap::new();
    for set in chosen {
        for (record, part) in published_split(set, &format!("hubert-{fold}"))? {
            parts.entry(record).or_insert(part);
        }
    }
    Some(parts)
}

/// The split of every record, by name.
fn parts_of(split: &str) -> Result<HashMap<&'static str, Split>, ImportError> {
    if let Some(parts) = hubert_parts(split, &["chapman", "ningbo"]) {
        return Ok(parts);
    }
    match required_split("csn", split) {
        Ok(parts) => Ok(by_name(parts)),
        Err(_) => Err(unknown_split(
            "csn",
            split,
            Csn::split_names().iter().map(String::as_str).collect(),
        )),
    }
}

/// The published label files list records by path; the names alone are also unique.
fn by_name(parts: HashMap<&'static str, Split>) -> HashMap<&'static str, Split> {
    parts
        .into_iter()
        .map(|(path, part)| (path.rsplit('/').next().unwrap_or(path), part))
        .collect()
}

/// The records of the published label files, with their splits.
fn released_records() -> HashMap<&'static str, Split> {
    by_name(published_split("csn", "merl").unwrap_or_default())
}

/// The data set's acronyms, in the order of its table.
struct Acronyms {
    /// Code, first acronym, full name, all acronyms.
    rows: Vec<(String, String, String, Vec<String>)>,
}

impl Acronyms {
    /// Reads the table of the data set if it exists, else the built-in one.
    fn read(root: &std::path::Path) -> Result<Acronyms, ImportError> {
        const ADVICE: &str = "Use the table as PhysioNet publishes it, or remove it.";
        let own = [
            root.join(CONDITIONS_FILE),
            root.join("..").join(CONDITIONS_FILE),
        ]
        .into_iter()
        .find(|path| path.is_file());
        let table = match own {
            Some(path) => Table::read(&path)?,
            None => Table::parse(
                std::path::Path::new(CONDITIONS_FILE),
                include_bytes!("../../data/csn_conditions.csv"),
            )?,
        };
        let find = |names: [&str; 2]| match table.find(&names) {
            Some(column) => Ok(column),
            None => table.column(names[0], ADVICE),
        };
        let acronym = find(["Acronym Name", "AcronymName"])?;
        let name = find(["Full Name", "FullName"])?;
        let code = find(["Snomed_CT", "SnomedCT"])?;
        let mut rows: Vec<(String, String, String, Vec<String>)> = Vec::new();
        for row in &table.rows {
            let (code, acronym) = (row.cell(code).to_owned(), row.cell(acronym).to_owned());
            if code.is_empty() || acronym.is_empty() {
                return Err(table.error(row, "the code or its acronym is blank, expected both"));
            }
            match rows.iter_mut().find(|(own, ..)| *own == code) {
                Some((_, _, _, all)) => all.push(acronym),
                None => {
                    let name = row
                        .cell(name)
                        .split_whitespace()
                        .collect::<Vec<_>>()
                        .join(" ");
                    rows.push((code, acronym.clone(), name, vec![acronym]));
                }
            }
        }
        Ok(Acronyms { rows })
    }

    /// One class per code: those of the table, then those that the Challenge counts in Chapman or Ningbo.
    fn classes(&self) -> Vec<(LabelClass, Vec<String>)> {
        let mut classes: Vec<(LabelClass, Vec<String>)> = self
            .rows
            .iter()
            .map(|(code, acronym, name, all)| {
                let mut class = class_of(acronym, Some(name), code);
                if all.len() > 1 {
                    class.codes.insert("CSN".to_owned(), all.join("|"));
                }
                (class, vec![code.clone()])
            })
            .collect();
        for code in challenge_codes() {
            let here = code.records[6] + code.records[7] > 0;
            if here && !self.rows.iter().any(|(own, ..)| own == code.code) {
                // The same abbreviation may have another meaning (AF: fibrillation in the Challenge, flutter here).
                let taken = classes
                    .iter()
                    .any(|(class, _)| class.name == code.abbreviation);
                let name = if taken { code.code } else { code.abbreviation };
                classes.push((
                    class_of(name, Some(code.name), code.code),
                    vec![code.code.to_owned()],
                ));
            }
        }
        classes
    }

    /// The columns of the published label files for a record: those whose name is a substring of the list of acronyms.
    /// Of a code with several acronyms the first is used.
    fn released(&self, header: &FoundHeader) -> Vec<i16> {
        let listed: Vec<&str> = header
            .notes
            .diagnoses
            .iter()
            .flatten()
            .filter_map(|code| self.rows.iter().find(|(own, ..)| own == code))
            .map(|(_, acronym, ..)| acronym.as_str())
            .collect();
        let listed = listed.join(",");
        (0i16..)
            .zip(RELEASED_COLUMNS)
            .filter(|(_, (name, _))| listed.contains(name))
            .map(|(class, _)| class)
            .collect()
    }
}

/// Differences from the published numbers, if all records are listed: of the codes (as the Challenge of 2021 counts
/// them in the same records), of the 38 columns in the three splits of the published label files, and of HuBERT-ECG's
/// labels in its test splits.
fn unlike_published(items: &[Item], conditions: &LabelSet) -> Vec<String> {
    let Some(mut whole) = Whole::of(items, PUBLISHED_RECORDS) else {
        return Vec::new();
    };
    let codes: Vec<usize> = conditions.classes.iter().map(challenge_count).collect();
    whole = whole.positives("conditions", 0, &conditions.classes, &codes, |_| true);
    let released = released_records();
    let columns = LabelSet::from_names(RELEASED, RELEASED_COLUMNS.map(|(name, _)| name)).classes;
    whole = whole.records(
        "records of the published label files",
        released.len(),
        |i| matches!(i.labels.get(1), Some(Some(_))),
    );
    for (position, part) in PARTS.into_iter().enumerate() {
        let published = RELEASED_COLUMNS.map(|(_, counts)| counts[position]);
        let what = format!("label set {RELEASED} ({part})");
        let here = |item: &Item| released.get(item.id.as_str()) == Some(&part);
        whole = whole.positives(&what, 1, &columns, &published, here);
    }
    for set in ["chapman", "ningbo"] {
        whole = whole.and(hubert::unlike_test_part(items, 0, conditions, set));
    }
    whole.remarks()
}

/// Records of Chapman and Ningbo that the Challenge counts for a class.
fn challenge_count(class: &LabelClass) -> usize {
    class
        .codes
        .get(SNOMED_CT)
        .and_then(|code| challenge_code(code))
        .map_or(0, |code| code.records[6] + code.records[7])
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::ReadWhole as _;
    use super::super::published::label_as_published;
    use super::*;

    fn data() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/csn")
    }

    fn named(catalogue: &Catalogue, set: usize, id: &str) -> Vec<String> {
        let item = catalogue.items.iter().find(|item| item.id == id).unwrap();
        let labels = item.labels[set].as_ref().unwrap();
        let classes = &catalogue.label_sets[set].classes;
        labels
            .iter()
            .map(|&c| classes[c as usize].name.clone())
            .collect()
    }

    #[test]
    fn codes_are_mapped_exactly_and_the_released_columns_as_released() {
        let catalogue = Csn::new(data()).catalogue().unwrap();
        // 164889003, 59118001, 164934002: fibrillation is no flutter.
        assert_eq!(named(&catalogue, 0, "JS00001"), ["RBBB", "TWC", "AFIB"]);
        assert_eq!(
            named(&catalogue, 1, "JS00001"),
            ["AF", "RBBB", "AFIB", "TWC"]
        );
        // 270492004: the column of ventricular bigeminy is set by `1AVB`.
        assert_eq!(
            named(&catalogue, 0, "JS00005"),
            ["1AVB", "STDD", "STTC", "AF"]
        );
        assert_eq!(
            named(&catalogue, 1, "JS00005"),
            ["VB", "STTC", "AF", "AVB", "1AVB", "STDD", "ST"]
        );
        // Not in the published label files, because of a code without an acronym (55827005).
        assert_eq!(named(&catalogue, 0, "JS00011"), ["1AVB", "SB", "LVHV"]);
        let item = catalogue.items.iter().find(|i| i.id == "JS00011").unwrap();
        assert_eq!(item.labels[1], None);
    }

    #[test]
    fn classes_have_one_code_and_one_name_each() {
        let catalogue = Csn::new(data()).catalogue().unwrap();
        let classes = &catalogue.label_sets[0].classes;
        let names: std::collections::BTreeSet<_> = classes.iter().map(|c| &c.name).collect();
        assert_eq!(names.len(), classes.len());
        let lbbb = classes.iter().find(|class| class.name == "LBBB").unwrap();
        assert_eq!(lbbb.codes["SNOMED-CT"], "164909002");
        assert_eq!(lbbb.codes["CSN"], "LBBB|LBBBB|LFBBB");
        assert_eq!(catalogue.label_sets[1].classes.len(), 38);
    }

    #[test]
    fn published_splits_hold_by_name() {
        for split in ["merl", "clear-hug", "deri", "hubert-0", "hubert-chapman-3"] {
            let source = Csn {
                split: Some(split.to_owned()),
                ..Csn::new(data())
            };
            let catalogue = source.catalogue().unwrap();
            let item = |id: &str| catalogue.items.iter().find(|item| item.id == id).unwrap();
            let expected = if split.starts_with("hubert") {
                Split::Test
            } else {
                Split::Train
            };
            assert_eq!(item("JS00001").split, Some(expected), "{split}");
        }
        let source = Csn {
            split: Some("hubert-4".to_owned()),
            ..Csn::new(data())
        };
        let error = source.catalogue().unwrap_err().to_string();
        assert!(error.contains("hubert-ningbo-0"), "{error}");
    }

    #[test]
    fn the_whole_set_is_compared_with_its_published_counts() {
        let catalogue = Csn::new(data()).catalogue().unwrap();
        let conditions = &catalogue.label_sets[0];
        let released = released_records();
        let mut names: Vec<String> = released.keys().map(|name| (*name).to_owned()).collect();
        names.extend((0..PUBLISHED_RECORDS - names.len()).map(|n| format!("X{n}")));
        let mut items: Vec<Item> = names
            .into_iter()
            .map(|id| Item {
                labels: vec![
                    Some(Vec::new()),
                    released.contains_key(id.as_str()).then(Vec::new),
                ],
                id,
                ..Item::default()
            })
            .collect();
        let counts: Vec<usize> = conditions.classes.iter().map(challenge_count).collect();
        label_as_published(&mut items, 0, &counts, |_| true);
        for (position, part) in PARTS.into_iter().enumerate() {
            let counts = RELEASED_COLUMNS.map(|(_, counts)| counts[position]);
            let here = |i: &Item| released.get(i.id.as_str()) == Some(&part);
            label_as_published(&mut items, 1, &counts, here);
        }
        // These codes are where they please, so HuBERT-ECG's test parts differ; the other counts agree.
        let others = |items: &[Item]| -> Vec<String> {
            let remarks = unlike_published(items, conditions).into_iter();
            remarks.filter(|r| !r.contains("HuBERT")).collect()
        };
        assert_eq!(others(&items), Vec::<String>::new());
        assert_eq!(others(&items[1..]), Vec::<String>::new());
        let bigeminy = 6;
        let of = |i: &&mut Item| matches!(&i.labels[1], Some(l) if l.contains(&bigeminy));
        let item = items.iter_mut().find(of).unwrap();
        item.labels[1].as_mut().unwrap().retain(|c| *c != bigeminy);
        let remarks = others(&items);
        assert!(
            remarks.len() == 1 && remarks[0].contains("VB ") && remarks[0].contains("released"),
            "{remarks:?}"
        );
    }

    #[test]
    fn every_record_of_the_folder_with_samples_is_read() {
        let source = Csn::new(data());
        let catalogue = source.catalogue().unwrap();
        let leads = purkinje_record::LeadSet::standard_12();
        let mut read = 0;
        for item in &catalogue.items {
            if data().join(item.path.with_extension("mat")).is_file() {
                let record = source.read(&catalogue, item, &leads).unwrap();
                assert_eq!((record.rate_hz, record.len()), (500.0, 5000));
                read += 1;
            }
        }
        assert_eq!(read, 2);
    }
}
