//! The MIT-BIH Arrhythmia Database 1.0.0 in its published layout.

use std::collections::BTreeSet;
use std::path::PathBuf;

use purkinje_record::wfdb::{Header, WfdbAnnotation, read_annotations};
use purkinje_record::{Lead, LeadChoice, LeadSet, OpenOptions, Reader, RecordError};
use purkinje_signal::Preprocess;
use purkinje_store::{LabelSet, Split};

use super::published::{Whole, class, indices};
use super::registry::{DataSet, owned};
use super::{Catalogue, Fault, ImportError, Importer, Item, check_root};

/// The 48 records.
const RECORDS: [&str; 48] = [
    "100", "101", "102", "103", "104", "105", "106", "107", "108", "109", "111", "112", "113",
    "114", "115", "116", "117", "118", "119", "121", "122", "123", "124", "200", "201", "202",
    "203", "205", "207", "208", "209", "210", "212", "213", "214", "215", "217", "219", "220",
    "221", "222", "223", "228", "230", "231", "232", "233", "234",
];

/// Beats of the five classes in all records, 109,494 in total (doi:10.1155/2017/4108720, table 1, which counts the 33
/// unclassified ones apart from the other Q).
const PUBLISHED_BEATS: [usize; 5] = [90_631, 2_781, 7_236, 803, 8_043];

/// Patients.
const PUBLISHED_PATIENTS: usize = 47;

/// DS1 of de Chazal, O'Dwyer and Reilly (IEEE Trans Biomed Eng 51:1196, 2004): for training.
const DS1: [&str; 22] = [
    "101", "106", "108", "109", "112", "114", "115", "116", "118", "119", "122", "124", "201",
    "203", "205", "207", "208", "209", "215", "220", "223", "230",
];

/// Their DS2: for test.
const DS2: [&str; 22] = [
    "100", "103", "105", "111", "113", "117", "121", "123", "200", "202", "210", "212", "213",
    "214", "219", "221", "222", "228", "231", "232", "233", "234",
];

/// Name of the split into [`DS1`] and [`DS2`].
pub(crate) const DE_CHAZAL: &str = "de-chazal";

/// The five classes of ANSI/AAMI EC57 and the annotation symbols in each.
const AAMI: [(&str, &str, &str); 5] = [
    (
        "N",
        "NLRej",
        "normal, bundle branch block, atrial or nodal escape",
    ),
    ("S", "AaJS", "supraventricular ectopic"),
    ("V", "VE", "ventricular ectopic"),
    ("F", "F", "fusion of a ventricular and a normal beat"),
    ("Q", "/fQ", "paced, fusion with paced, unclassifiable"),
];

/// The rhythms, as written in notes of `+` marks without the parenthesis.
const RHYTHMS: [(&str, &str); 15] = [
    ("AB", "atrial bigeminy"),
    ("AFIB", "atrial fibrillation"),
    ("AFL", "atrial flutter"),
    ("B", "ventricular bigeminy"),
    ("BII", "second degree heart block"),
    ("IVR", "idioventricular rhythm"),
    ("N", "normal sinus rhythm"),
    ("NOD", "nodal (AV junctional) rhythm"),
    ("P", "paced rhythm"),
    ("PREX", "pre-excitation (WPW)"),
    ("SBR", "sinus bradycardia"),
    ("SVTA", "supraventricular tachyarrhythmia"),
    ("T", "ventricular trigeminy"),
    ("VFL", "ventricular flutter"),
    ("VT", "ventricular tachycardia"),
];

/// Its entry in the table of data sets.
pub(super) const DATA_SET: DataSet = DataSet {
    name: "mitdb",
    about: "MIT-BIH Arrhythmia Database 1.0.0: 48 records of 30 min, two leads, beats and rhythms",
    preset: "raw-500",
    options: &["split"],
    label_sets: &["aami", "rhythm"],
    splits: || owned(&[DE_CHAZAL]),
    contract: |_, _| {
        Preprocess::raw(360.0).with_leads(LeadSet::new(vec![Lead::Other("MLII".to_owned())]))
    },
    open: |_, root, options| {
        Ok(Box::new(MitBih {
            de_chazal: options.split.as_deref() == Some(DE_CHAZAL),
            ..MitBih::new(root)
        }))
    },
};

/// The MIT-BIH Arrhythmia Database: 48 records of 30 minutes, two leads at 360 Hz, with beats and rhythms.
///
/// Ids are record names. Records 201 and 202 are of the same patient. Label sets are `aami`, the classes of beats that
/// occur in a record, and `rhythm`, the rhythms that occur; the values `beats_n`, `beats_s`, `beats_v`, `beats_f`,
/// `beats_q` count the beats. Reading gives all annotations of the `.atr` file: beats by symbol (`N`, `V`,
/// ...), `+` with the rhythm as its note, and the others.
#[derive(Clone, Debug, PartialEq)]
pub struct MitBih {
    /// The folder of the records.
    pub root: PathBuf,
    /// Use the split of de Chazal: DS1 for training, DS2 for test, the four records with paced beats in none. Records
    /// 201 and 202, of the same patient, are in different splits. Otherwise records are split by patient.
    pub de_chazal: bool,
}

impl MitBih {
    /// The database in this folder, without splits.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        MitBih {
            root: root.into(),
            de_chazal: false,
        }
    }

    /// The AAMI class (0 to 4 for N, S, V, F, Q) of a beat's symbol; `None` for annotations that are not beats, such as
    /// ventricular flutter waves (`!`).
    pub fn aami_class(symbol: &str) -> Option<usize> {
        AAMI.iter()
            .position(|(_, symbols, _)| symbol.len() == 1 && symbols.contains(symbol))
    }
}

impl Importer for MitBih {
    fn catalogue(&self) -> Result<Catalogue, ImportError> {
        check_root(&self.root)?;
        let label_sets = vec![
            LabelSet {
                name: "aami".to_owned(),
                classes: AAMI
                    .iter()
                    .map(|(name, _, text)| class(*name, *text))
                    .collect(),
            },
            LabelSet {
                name: "rhythm".to_owned(),
                classes: RHYTHMS
                    .iter()
                    .map(|(name, text)| class(*name, *text))
                    .collect(),
            },
        ];
        let mut items = Vec::new();
        let mut remarks = Vec::new();
        let mut absent = Vec::new();
        for record in RECORDS {
            let path = PathBuf::from(format!("{record}.hea"));
            if !self.root.join(&path).is_file() {
                absent.push(record);
                continue;
            }
            let mut item = Item {
                id: record.to_owned(),
                patient: Some(patient_of(record).to_owned()),
                split: self.de_chazal.then(|| de_chazal(record)),
                path,
                ..Item::default()
            };
            if let Ok(header) = Header::read(&self.root.join(&item.path)) {
                (item.age, item.sex) = age_and_sex(&header.comments);
            }
            match read_annotations(&self.root.join(format!("{record}.atr"))) {
                Ok(annotations) => {
                    let beats = count_beats(&annotations.marks);
                    item.values = beats.iter().map(|&n| Some(n as f32)).collect();
                    let (rhythms, unknown) = rhythms(&annotations.marks, &label_sets[1]);
                    if !unknown.is_empty() {
                        remarks.push(format!(
                            "record {record} has rhythms that the database does not define: {}",
                            unknown.into_iter().collect::<Vec<_>>().join(", ")
                        ));
                    }
                    let classes = beats
                        .iter()
                        .zip(0..)
                        .filter(|(count, _)| **count > 0)
                        .map(|(_, index)| index)
                        .collect();
                    item.labels = vec![Some(classes), Some(rhythms)];
                }
                Err(error) => item.fault = Some(Fault::Invalid(error.to_string())),
            }
            items.push(item);
        }
        if items.is_empty() {
            return Err(ImportError::Layout {
                path: self.root.clone(),
                expected: "the records of the MIT-BIH Arrhythmia Database (100.hea, 100.dat, 100.atr, ...)",
            });
        }
        remarks.extend(unlike_published(&items));
        if !absent.is_empty() {
            remarks.push(format!(
                "{} of the 48 published records are missing: {}",
                absent.len(),
                absent.join(", ")
            ));
        }
        if self.de_chazal {
            remarks.push(
                "records 201 (train) and 202 (test) of the de Chazal split are of the same patient"
                    .to_owned(),
            );
        }
        Ok(Catalogue {
            name: "mitdb".to_owned(),
            root: self.root.clone(),
            label_sets,
            values: AAMI
                .iter()
                .map(|(name, ..)| format!("beats_{}", name.to_ascii_lowercase()))
                .collect(),
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
            annotators: vec!["atr".to_owned()],
            ..OpenOptions::default()
        };
        Reader::open(catalogue.root.join(&item.path), &options)
    }
}

/// Patients are not named; every record except 202 is of a separate patient.
fn patient_of(record: &str) -> &str {
    match record {
        "202" => "201",
        record => record,
    }
}

fn de_chazal(record: &str) -> Split {
    if DS1.contains(&record) {
        Split::Train
    } else if DS2.contains(&record) {
        Split::Test
    } else {
        Split::None
    }
}

/// A comment begins with age and sex: `69 M 1085 1629 x1`; an age of -1 is unknown.
fn age_and_sex(comments: &[String]) -> (Option<f32>, Option<String>) {
    comments
        .iter()
        .find_map(|line| {
            let mut words = line.split_whitespace();
            let age: f32 = words.next()?.parse().ok()?;
            let sex = match words.next()? {
                "M" => "male",
                "F" => "female",
                _ => return None,
            };
            Some(((age >= 0.0).then_some(age), Some(sex.to_owned())))
        })
        .unwrap_or_default()
}

fn count_beats(marks: &[WfdbAnnotation]) -> [usize; 5] {
    let mut beats = [0; 5];
    for mark in marks {
        if let Some(class) = MitBih::aami_class(&mark.symbol) {
            beats[class] += 1;
        }
    }
    beats
}

/// Differences from the published numbers of patients, of records in the two splits, and of beats.
fn unlike_published(items: &[Item]) -> Vec<String> {
    let Some(mut whole) = Whole::of(items, RECORDS.len()) else {
        return Vec::new();
    };
    whole = whole.patients(PUBLISHED_PATIENTS);
    if items.iter().any(|item| item.split.is_some()) {
        whole = whole.parts(DE_CHAZAL, [DS1.len(), 0, DS2.len()]);
    }
    let differing: Vec<String> = AAMI
        .iter()
        .zip(PUBLISHED_BEATS)
        .enumerate()
        .filter_map(|(class, ((name, ..), published))| {
            let counts = items
                .iter()
                .filter_map(|item| item.values.get(class).copied().flatten());
            let found = counts.map(|count| count as usize).sum::<usize>();
            (found != published).then(|| format!("{name} {found} instead of {published}"))
        })
        .collect();
    whole
        .and((!differing.is_empty()).then(|| {
            format!(
                "all 48 records are present, but the numbers of beats in their annotations differ from the published ones: {}",
                differing.join(", ")
            )
        }))
        .remarks()
}

/// The rhythms that occur, and notes that are not a rhythm.
fn rhythms<'a>(marks: &'a [WfdbAnnotation], set: &LabelSet) -> (Vec<i16>, BTreeSet<&'a str>) {
    let names = marks
        .iter()
        .filter(|mark| mark.symbol == "+")
        .filter_map(|mark| mark.note.as_deref()?.trim().strip_prefix('('));
    let (found, unknown) = indices(set, names);
    (found, unknown.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_parts_and_the_paced_records_are_the_database() {
        let mut all: Vec<&str> = DS1.iter().chain(&DS2).copied().collect();
        all.extend(["102", "104", "107", "217"]);
        all.sort_unstable();
        assert_eq!(all, RECORDS);
        assert_eq!(de_chazal("102"), Split::None);
    }

    #[test]
    fn the_whole_database_is_compared_with_the_published_beats() {
        assert_eq!(PUBLISHED_BEATS.iter().sum::<usize>(), 109_494);
        let mut items: Vec<Item> = RECORDS
            .iter()
            .map(|record| Item {
                patient: Some(patient_of(record).to_owned()),
                split: Some(de_chazal(record)),
                values: vec![Some(0.0); 5],
                ..Item::default()
            })
            .collect();
        items[3].values = PUBLISHED_BEATS.iter().map(|n| Some(*n as f32)).collect();
        assert_eq!(unlike_published(&items), Vec::<String>::new());
        items[7].values[2] = Some(1.0);
        let remarks = unlike_published(&items);
        assert!(
            remarks.len() == 1 && remarks[0].ends_with("published ones: V 7237 instead of 7236"),
            "{remarks:?}"
        );
        assert_eq!(unlike_published(&items[1..]), Vec::<String>::new());
    }

    #[test]
    fn beats_have_their_aami_classes() {
        let classes = |symbols: &str| -> Vec<Option<usize>> {
            symbols
                .chars()
                .map(|symbol| MitBih::aami_class(&symbol.to_string()))
                .collect()
        };
        assert_eq!(classes("NLRej"), [Some(0); 5]);
        assert_eq!(classes("AaJS"), [Some(1); 4]);
        assert_eq!(classes("VEF/"), [Some(2), Some(2), Some(3), Some(4)]);
        assert_eq!(classes("+!~|\""), [None; 5]);
        assert_eq!(MitBih::aami_class(""), None);
    }
}
