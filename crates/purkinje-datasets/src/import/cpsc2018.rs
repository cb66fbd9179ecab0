//! CPSC 2018 (the China Physiological Signal Challenge), in both published forms.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use purkinje_store::{LabelClass, LabelSet};

use super::hubert;
use super::published::{PARTS, Whole};
use super::published_splits::{
    assign_parts, published_split, published_split_names, required_split,
};
use super::registry::{DataSet, of_preset, owned};
use super::snomed::{FoundHeader, SNOMED_CT, files_below, read_headers, stem};
use super::table::Table;
use super::{Catalogue, Fault, ImportError, Importer, Item, check_root, mark_repeated_ids};

/// Records of the complete training set.
const PUBLISHED_RECORDS: usize = 6_877;

/// A class: name in the published label files, meaning, name in the first Challenge release, number in `REFERENCE.csv`,
/// SNOMED-CT code, records in train, validation and test of DERI's split, in the test split of HuBERT-ECG's folds, and
/// in total.
struct Class {
    name: &'static str,
    description: &'static str,
    first_release: &'static str,
    number: &'static str,
    snomed: &'static str,
    deri: [usize; 3],
    hubert: usize,
    all: usize,
}

/// The nine classes in the order of the published label files of CLEAR-HUG (counts: those of DERI
/// and of HuBERT-ECG's table of labels, where they are called AF, VEB, NSR, IAVB, RBBB, STE, PAC, LBBB,
/// STD).
#[rustfmt::skip]
const CLASSES: [Class; 9] = [
    Class { name: "AFIB", description: "atrial fibrillation", first_release: "AF", number: "2", snomed: "164889003", deri: [887, 107, 227], hubert: 122, all: 1221 },
    Class { name: "VPC", description: "premature ventricular contraction", first_release: "PVC", number: "7", snomed: "164884008", deri: [537, 47, 116], hubert: 70, all: 700 },
    Class { name: "NORM", description: "normal", first_release: "Normal", number: "1", snomed: "426783006", deri: [663, 71, 184], hubert: 92, all: 918 },
    Class { name: "1AVB", description: "first-degree atrioventricular block", first_release: "I-AVB", number: "3", snomed: "270492004", deri: [508, 67, 147], hubert: 72, all: 722 },
    Class { name: "CRBBB", description: "right bundle branch block", first_release: "RBBB", number: "5", snomed: "59118001", deri: [1331, 144, 382], hubert: 186, all: 1857 },
    Class { name: "STE", description: "ST-segment elevation", first_release: "STE", number: "9", snomed: "164931005", deri: [162, 22, 36], hubert: 22, all: 220 },
    Class { name: "PAC", description: "premature atrial contraction", first_release: "PAC", number: "6", snomed: "284470004", deri: [445, 40, 131], hubert: 62, all: 616 },
    Class { name: "CLBBB", description: "left bundle branch block", first_release: "LBBB", number: "4", snomed: "164909002", deri: [162, 22, 52], hubert: 24, all: 236 },
    Class { name: "STD", description: "ST-segment depression", first_release: "STD", number: "8", snomed: "429622005", deri: [621, 67, 181], hubert: 87, all: 869 },
];

/// Its entry in the table of data sets.
pub(super) const DATA_SET: DataSet = DataSet {
    name: "cpsc2018",
    about: "CPSC 2018: 6,877 records of 6 to 60 s, nine classes",
    preset: "clear-cpsc2018",
    options: &["split"],
    label_sets: &["diagnosis"],
    splits: || owned(&published_split_names("cpsc2018")),
    contract: of_preset,
    open: |_, root, options| {
        Ok(Box::new(Cpsc2018 {
            split: options.split.clone(),
            ..Cpsc2018::new(root)
        }))
    },
};

/// CPSC 2018: 6,877 records of 6 to 60 s at 500 Hz, nine classes, up to three per record.
///
/// Reads the WFDB form of the PhysioNet Challenges (`A0001.hea`, `A0001.mat`, whose header names the classes by
/// SNOMED-CT codes or, in the first release, by names), and the challenge's own form (`A0001.mat`, a MATLAB struct,
/// with labels in `REFERENCE.csv`), in any folders. A `REFERENCE.csv`, if present, gives the labels. Ids are the names
/// of the records. The one label set is `diagnosis`; patients are not published.
#[derive(Clone, Debug, PartialEq)]
pub struct Cpsc2018 {
    /// The folder of the records.
    pub root: PathBuf,
    /// A published split by name: `merl`, `clear-hug`, `heartlang`, `deri`, `hubert-0` .. `hubert-3`.
    /// `None`: the source states no splits.
    pub split: Option<String>,
}

impl Cpsc2018 {
    /// All records, without a published split.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Cpsc2018 {
            root: root.into(),
            split: None,
        }
    }
}

impl Importer for Cpsc2018 {
    fn catalogue(&self) -> Result<Catalogue, ImportError> {
        check_root(&self.root)?;
        let parts = self
            .split
            .as_deref()
            .map(|split| required_split("cpsc2018", split))
            .transpose()?;
        let mut remarks = Vec::new();
        let mut items = records(&self.root, &mut remarks)?;
        for reference in files_below(&self.root, "csv")? {
            if stem(&reference).eq_ignore_ascii_case("REFERENCE") {
                label_by_table(&self.root.join(&reference), &mut items, &mut remarks)?;
            }
        }
        mark_repeated_ids(&mut items);
        if items.is_empty() {
            return Err(ImportError::NoRecords {
                path: self.root.clone(),
            });
        }
        if let Some(parts) = &parts {
            let absent = assign_parts(&mut items, parts, |item| item.id.clone());
            if absent > 0 {
                remarks.push(format!(
                    "{absent} of the {} records of the split were not found in the folder",
                    parts.len()
                ));
            }
        }
        remarks.extend(unlike_published(&items));
        Ok(Catalogue {
            name: "cpsc2018".to_owned(),
            root: self.root.clone(),
            label_sets: vec![label_set()],
            items,
            remarks,
            ..Catalogue::default()
        })
    }
}

fn label_set() -> LabelSet {
    let classes = CLASSES.iter().map(|class| LabelClass {
        name: class.name.to_owned(),
        description: Some(class.description.to_owned()),
        codes: [
            (SNOMED_CT.to_owned(), class.snomed.to_owned()),
            ("CPSC 2018".to_owned(), class.number.to_owned()),
        ]
        .into(),
    });
    LabelSet {
        name: "diagnosis".to_owned(),
        classes: classes.collect(),
    }
}

/// Records with a header, then MATLAB structs without one; sorted by path.
fn records(root: &Path, remarks: &mut Vec<String>) -> Result<Vec<Item>, ImportError> {
    let headers = match read_headers(root) {
        Err(ImportError::NoRecords { .. }) => Vec::new(),
        headers => headers?,
    };
    let with_header: BTreeSet<&Path> = headers.iter().map(|h| h.path.as_path()).collect();
    let mut items: Vec<Item> = files_below(root, "mat")?
        .into_iter()
        .filter(|path| !with_header.contains(path.with_extension("").as_path()))
        .map(|path| Item {
            id: stem(&path),
            path,
            ..Item::default()
        })
        .collect();
    items.extend(
        headers
            .into_iter()
            .map(|header| from_header(header, remarks)),
    );
    items.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(items)
}

fn from_header(header: FoundHeader, remarks: &mut Vec<String>) -> Item {
    let labels = header.notes.diagnoses.map(|diagnoses| {
        let mut classes = BTreeSet::new();
        for diagnosis in &diagnoses {
            let class = CLASSES.iter().position(|class| {
                class.snomed == diagnosis || class.first_release.eq_ignore_ascii_case(diagnosis)
            });
            match class {
                Some(class) => {
                    classes.insert(class as i16);
                }
                None => remarks.push(format!(
                    "record {} has the diagnosis `{diagnosis}`, which is not one of the nine classes; it was ignored",
                    header.name
                )),
            }
        }
        classes.into_iter().collect()
    });
    Item {
        id: header.name,
        path: header.path,
        labels: vec![labels],
        age: header.notes.age,
        sex: header.notes.sex,
        ..Item::default()
    }
}

/// Gives every record the labels of `REFERENCE.csv`; rows without a record become missing items.
fn label_by_table(
    path: &Path,
    items: &mut Vec<Item>,
    remarks: &mut Vec<String>,
) -> Result<(), ImportError> {
    const ADVICE: &str = "Use REFERENCE.csv as the challenge publishes it.";
    let table = Table::read(path)?;
    let record = table.column("Recording", ADVICE)?;
    let columns = [
        table.column("First_label", ADVICE)?,
        table.column("Second_label", ADVICE)?,
        table.column("Third_label", ADVICE)?,
    ];
    let mut by_name = HashMap::<String, Vec<usize>>::new();
    for (index, item) in items.iter().enumerate() {
        by_name.entry(item.id.clone()).or_default().push(index);
    }
    let mut differing = Vec::new();
    for row in &table.rows {
        let mut classes = BTreeSet::new();
        for number in columns.iter().filter_map(|&column| row.value(Some(column))) {
            let class = CLASSES
                .iter()
                .position(|class| class.number == number)
                .ok_or_else(|| {
                    table.error(
                        row,
                        format!("the label is `{number}`, expected a number from 1 to 9"),
                    )
                })?;
            classes.insert(class as i16);
        }
        let name = row.cell(record);
        let classes: Vec<i16> = classes.into_iter().collect();
        match by_name.get(name) {
            Some(found) => {
                for &index in found {
                    let item = &mut items[index];
                    if matches!(item.labels.first(), Some(Some(own)) if *own != classes) {
                        differing.push(name.to_owned());
                    }
                    item.labels = vec![Some(classes.clone())];
                }
            }
            None => items.push(Item {
                id: name.to_owned(),
                path: PathBuf::from(name),
                labels: vec![Some(classes)],
                fault: Some(Fault::Missing(format!(
                    "line {} of `{}` lists `{name}`, but there is no `{name}.mat` below the folder",
                    row.line,
                    path.display()
                ))),
                ..Item::default()
            }),
        }
    }
    if !differing.is_empty() {
        remarks.push(format!(
            "{} records have other labels in their headers than in `{}`, which was used: {}",
            differing.len(),
            path.display(),
            some_of(&differing)
        ));
    }
    Ok(())
}

/// The first ten names, and the number of the others.
pub(super) fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 10;
    let mut text = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

/// Differences from the published counts, if all records are listed: of every class in all records, in DERI's three
/// splits and in HuBERT-ECG's test split, whichever split was chosen.
fn unlike_published(items: &[Item]) -> Vec<String> {
    let Some(mut whole) = Whole::of(items, PUBLISHED_RECORDS) else {
        return Vec::new();
    };
    let classes = label_set().classes;
    let published = CLASSES.each_ref().map(|class| class.all);
    whole = whole.positives("CPSC 2018", 0, &classes, &published, |_| true);
    let deri = published_split("cpsc2018", "deri").unwrap_or_default();
    for (position, part) in PARTS.into_iter().enumerate() {
        let published = CLASSES.each_ref().map(|class| class.deri[position]);
        let what = format!("DERI's {part} split");
        let here = |item: &Item| deri.get(item.id.as_str()) == Some(&part);
        whole = whole.positives(&what, 0, &classes, &published, here);
    }
    let test = hubert::test_part("cpsc2018", 0);
    let published = CLASSES.each_ref().map(|class| class.hubert);
    whole
        .positives("HuBERT-ECG's test split", 0, &classes, &published, |item| {
            test.contains(item.id.as_str())
        })
        .remarks()
}

#[cfg(test)]
mod tests {
    use super::super::ReadWhole as _;
    use super::super::published::{label_as_published, positives};
    use super::*;
    use purkinje_store::Split;

    fn data() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/cpsc2018")
    }

    #[test]
    fn both_forms_are_listed_with_their_classes() {
        let source = Cpsc2018 {
            split: Some("deri".to_owned()),
            ..Cpsc2018::new(data())
        };
        let catalogue = source.catalogue().unwrap();
        let set = &catalogue.label_sets[0];
        let item = |id: &str| catalogue.items.iter().find(|item| item.id == id).unwrap();
        let classes = |id: &str| -> Vec<&str> {
            let labels = item(id).labels[0].as_ref().unwrap();
            labels
                .iter()
                .map(|&c| set.classes[c as usize].name.as_str())
                .collect()
        };
        // First release, by name; Challenge of 2021, by code; MATLAB structs, by REFERENCE.csv.
        assert_eq!(classes("A0012"), ["VPC"]);
        assert_eq!(classes("A0042"), ["1AVB"]);
        assert_eq!(classes("A0002"), ["NORM"]);
        assert_eq!(classes("A1980"), ["PAC"]);
        assert_eq!(classes("A1985"), ["STD"]);
        assert!(matches!(item("A1985").fault, Some(Fault::Missing(_))));
        assert_eq!(item("A0012").age, Some(74.0));
        assert_eq!(item("A0012").sex.as_deref(), Some("male"));
        assert_eq!(item("A0002").split, Some(Split::Test));
        assert!(catalogue.items.iter().all(|item| item.split.is_some()));
    }

    #[test]
    fn records_of_the_wfdb_form_are_read() {
        let source = Cpsc2018::new(data());
        let catalogue = source.catalogue().unwrap();
        let leads = purkinje_record::LeadSet::standard_12();
        let item = catalogue
            .items
            .iter()
            .find(|item| item.id == "A0044")
            .unwrap();
        let record = source.read(&catalogue, item, &leads).unwrap();
        assert_eq!((record.rate_hz, record.len()), (500.0, 5000));
    }

    #[test]
    fn the_whole_set_is_compared_with_the_published_counts() {
        // The counts themselves, on the label table alone: rows without a file are missing, yet labelled.
        let Some(reference) = std::env::var_os("PURKINJE_CPSC2018_REFERENCE") else {
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(reference, folder.path().join("REFERENCE.csv")).unwrap();
        let source = Cpsc2018 {
            split: Some("deri".to_owned()),
            ..Cpsc2018::new(folder.path())
        };
        let catalogue = source.catalogue().unwrap();
        assert_eq!(catalogue.items.len(), PUBLISHED_RECORDS);
        assert_eq!(catalogue.remarks, Vec::<String>::new());
    }

    #[test]
    fn changed_labels_of_the_whole_set_are_named() {
        let deri = published_split("cpsc2018", "deri").unwrap();
        let test = hubert::test_part("cpsc2018", 0);
        let mut names: Vec<&str> = deri.keys().copied().collect();
        names.sort_unstable();
        let mut items: Vec<Item> = names
            .iter()
            .map(|name| Item {
                id: (*name).to_owned(),
                labels: vec![Some(Vec::new())],
                ..Item::default()
            })
            .collect();
        // As many of every class in each of DERI's parts as published, and among them as many of HuBERT-ECG's test part.
        let in_test: Vec<usize> = CLASSES.iter().map(|class| class.hubert).collect();
        label_as_published(&mut items, 0, &in_test, |i| test.contains(i.id.as_str()));
        for (position, part) in PARTS.into_iter().enumerate() {
            let here = |i: &Item| deri[i.id.as_str()] == part;
            let have = positives(&items, 0, CLASSES.len(), here);
            let more: Vec<usize> = CLASSES
                .iter()
                .zip(have)
                .map(|(class, have)| class.deri[position] - have)
                .collect();
            label_as_published(&mut items, 0, &more, |i| {
                here(i) && !test.contains(i.id.as_str())
            });
        }
        assert_eq!(unlike_published(&items), Vec::<String>::new());
        assert_eq!(unlike_published(&items[1..]), Vec::<String>::new());
        // A label that moves from DERI's training to its validation part.
        let find = |part: Split, has: bool| {
            let fits = |i: &Item| {
                let labels = i.labels[0].as_ref().unwrap();
                deri[i.id.as_str()] == part
                    && labels.contains(&0) == has
                    && !test.contains(i.id.as_str())
            };
            items.iter().position(fits).unwrap()
        };
        let (from, to) = (find(Split::Train, true), find(Split::Val, false));
        items[from].labels[0].as_mut().unwrap().retain(|c| *c != 0);
        items[to].labels[0].as_mut().unwrap().push(0);
        let remarks = unlike_published(&items);
        assert_eq!(remarks.len(), 2, "{remarks:?}");
        assert!(
            remarks[0].ends_with("AFIB 886 instead of 887"),
            "{remarks:?}"
        );
        assert!(
            remarks[1].ends_with("AFIB 108 instead of 107"),
            "{remarks:?}"
        );
    }

    #[test]
    fn an_unknown_split_and_a_broken_table_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let source = Cpsc2018 {
            split: Some("mine".to_owned()),
            ..Cpsc2018::new(folder.path())
        };
        let error = source.catalogue().unwrap_err().to_string();
        assert!(error.contains("heartlang"), "{error}");
        let source = Cpsc2018::new(folder.path());
        assert!(matches!(
            source.catalogue(),
            Err(ImportError::NoRecords { .. })
        ));
        std::fs::write(
            folder.path().join("REFERENCE.csv"),
            "Recording,First_label,Second_label,Third_label\nA1,8,2,5\n",
        )
        .unwrap();
        let labels = source.catalogue().unwrap().items.remove(0).labels;
        assert_eq!(labels, [Some(vec![0, 4, 8])]);
        std::fs::write(
            folder.path().join("REFERENCE.csv"),
            "Recording,First_label,Second_label,Third_label\nA1,12,,\n",
        )
        .unwrap();
        let error = source.catalogue().unwrap_err().to_string();
        assert!(
            error.contains("line 2") && error.contains("`12`"),
            "{error}"
        );
    }
}
