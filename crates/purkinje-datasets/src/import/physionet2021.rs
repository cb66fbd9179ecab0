//! The training data of the PhysioNet/Computing in Cardiology Challenge 2021.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use purkinje_base::challenge::ChallengeWeights;
use purkinje_store::{LabelClass, LabelSet};

use super::csn::{hubert_parts, hubert_split_names};
use super::hubert;
use super::published::positives;
use super::published_splits::{assign_parts, unknown_split};
use super::registry::{DataSet, of_preset};
use super::snomed::{
    CHALLENGE_SOURCES, CodeSet, SNOMED_CT, challenge_code, challenge_codes, class_of, read_headers,
};
use super::{Catalogue, ImportError, Importer, Item, check_root, mark_repeated_ids};

/// Records of the complete sources, in the order of [`CHALLENGE_SOURCES`].
pub const CHALLENGE_RECORDS: [usize; 8] = [6877, 3453, 74, 516, 21837, 10344, 10247, 34905];

/// The data sets for which HuBERT-ECG published splits.
pub(super) const HUBERT_SETS: [&str; 6] = [
    "cpsc2018",
    "cpsc-extra",
    "georgia",
    "ptb",
    "chapman",
    "ningbo",
];

/// Its entry in the table of data sets.
pub(super) const DATA_SET: DataSet = DataSet {
    name: "physionet2021",
    about: "PhysioNet/CinC Challenge 2021: 88,253 records of eight sources, SNOMED-CT codes and the scored classes",
    preset: "clear",
    options: &["split"],
    label_sets: &["all", "scored"],
    splits: Physionet2021::split_names,
    contract: of_preset,
    open: |_, root, options| {
        Ok(Box::new(Physionet2021 {
            split: options.split.clone(),
            ..Physionet2021::new(root)
        }))
    },
};

/// The Challenge of 2021: any of its folders (`cpsc_2018`, `cpsc_2018_extra`, `st_petersburg_incart`, `ptb`, `ptb-xl`,
/// `georgia`, `chapman_shaoxing`, `ningbo`), at any depth below the root.
///
/// Ids are the names of the records, which are unique across the folders (`A0001`, `Q0001`, `I0001`, `S0001`,
/// `HR00001`, `E00001`, `JS00001`); the text `origin` states the source of a record. Patients are not published.
/// Label sets, with SNOMED-CT codes:
///
/// - `all`: the 133 codes of the Challenge by their abbreviations, and any other code of a header by its number;
/// - `scored`: the 26 scored classes, where codes that the Challenge treats as the same diagnosis are one class, in the order
///   of [`ChallengeWeights`]. Every record with diagnoses is part of it, even if none is scored.
#[derive(Clone, Debug, PartialEq)]
pub struct Physionet2021 {
    /// The folder that contains the folders of the sources.
    pub root: PathBuf,
    /// HuBERT-ECG's folds by name: `hubert-0` .. `hubert-3` for all its sets (CPSC 2018, CPSC-Extra, Georgia, PTB,
    /// Chapman, Ningbo), or for one of them: `hubert-georgia-0`, .... Records of other data sets are in no split.
    /// `None`: the source states no splits.
    pub split: Option<String>,
}

impl Physionet2021 {
    /// All records, without a published split.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Physionet2021 {
            root: root.into(),
            split: None,
        }
    }

    /// The names that [`Physionet2021::split`] takes.
    pub fn split_names() -> Vec<String> {
        hubert_split_names(&HUBERT_SETS)
    }
}

impl Importer for Physionet2021 {
    fn catalogue(&self) -> Result<Catalogue, ImportError> {
        check_root(&self.root)?;
        let parts = match &self.split {
            None => None,
            Some(split) => Some(hubert_parts(split, &HUBERT_SETS).ok_or_else(|| {
                let names = Self::split_names();
                unknown_split(
                    "physionet2021",
                    split,
                    names.iter().map(String::as_str).collect(),
                )
            })?),
        };
        let headers = read_headers(&self.root)?;
        let known = all_classes();
        let listed = known.len();
        let all = CodeSet::new("all", known, &headers);
        let further = all.further(listed);
        let mut remarks = Vec::new();
        if !further.is_empty() {
            remarks.push(format!(
                "headers have codes that are not in the tables of the Challenge of 2021; their classes are named by the code: {}",
                further.join(", ")
            ));
        }
        let scored = CodeSet::new("scored", scored_classes(), &[]);
        let mut items: Vec<Item> = headers
            .into_iter()
            .map(|header| Item {
                labels: vec![all.labels(&header.notes), scored.labels(&header.notes)],
                texts: vec![Some(origin_of(&header.path, &header.name))],
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
        let all = all.into_set();
        remarks.extend(unlike_published(&items, &all));
        Ok(Catalogue {
            name: "physionet2021".to_owned(),
            root: self.root.clone(),
            label_sets: vec![all, scored.into_set()],
            texts: vec!["origin".to_owned()],
            items,
            remarks,
            ..Catalogue::default()
        })
    }
}

fn all_classes() -> Vec<(LabelClass, Vec<String>)> {
    challenge_codes()
        .iter()
        .map(|code| {
            (
                class_of(code.abbreviation, Some(code.name), code.code),
                vec![code.code.to_owned()],
            )
        })
        .collect()
}

/// The scored classes: names and codes of equal diagnoses are joined by `|`, as in the table of weights.
fn scored_classes() -> Vec<(LabelClass, Vec<String>)> {
    ChallengeWeights::published()
        .codes
        .iter()
        .map(|codes| {
            let known: Vec<_> = codes
                .iter()
                .filter_map(|code| challenge_code(code))
                .collect();
            let join = |parts: Vec<&str>| parts.join("|");
            let class = LabelClass {
                name: join(known.iter().map(|code| code.abbreviation).collect()),
                description: Some(join(known.iter().map(|code| code.name).collect())),
                codes: [(SNOMED_CT.to_owned(), codes.join("|"))].into(),
            };
            (class, codes.clone())
        })
        .collect()
}

/// The source of a record: from a folder of that name in its path, else from the name of the record.
fn origin_of(path: &Path, name: &str) -> String {
    let folder = path
        .parent()
        .into_iter()
        .flat_map(Path::components)
        .rev()
        .find_map(|part| {
            let part = part.as_os_str().to_string_lossy();
            CHALLENGE_SOURCES
                .into_iter()
                .find(|source| part.eq_ignore_ascii_case(source))
        });
    let digits = name.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let prefix = &name[..name.len() - digits.len()];
    let number: Option<u32> = digits.parse().ok();
    let by_name = match (prefix, number) {
        ("A", Some(_)) => Some(CHALLENGE_SOURCES[0]),
        ("Q", Some(_)) => Some(CHALLENGE_SOURCES[1]),
        ("I", Some(_)) => Some(CHALLENGE_SOURCES[2]),
        ("S", Some(_)) => Some(CHALLENGE_SOURCES[3]),
        ("HR", Some(_)) => Some(CHALLENGE_SOURCES[4]),
        ("E", Some(_)) => Some(CHALLENGE_SOURCES[5]),
        // Ningbo's records follow those of Chapman-Shaoxing.
        ("JS", Some(..=10_645)) => Some(CHALLENGE_SOURCES[6]),
        ("JS", Some(_)) => Some(CHALLENGE_SOURCES[7]),
        _ => None,
    };
    match (folder.or(by_name), path.components().next()) {
        (Some(source), _) => source.to_owned(),
        (None, Some(first)) => first.as_os_str().to_string_lossy().into_owned(),
        (None, None) => String::new(),
    }
}

/// For every complete source, the codes whose number of records differs from the Challenge's, and the labels of
/// HuBERT-ECG whose number of test records differs (`all` is label set number 0).
fn unlike_published(items: &[Item], all: &LabelSet) -> Vec<String> {
    let mut records = HashMap::<&str, usize>::new();
    for item in items {
        if let Some(Some(origin)) = item.texts.first() {
            *records.entry(origin).or_default() += 1;
        }
    }
    let mut remarks = Vec::new();
    for (index, source) in CHALLENGE_SOURCES.into_iter().enumerate() {
        if records.get(source) != Some(&CHALLENGE_RECORDS[index]) {
            continue;
        }
        let found = positives(
            items,
            0,
            challenge_codes().len(),
            |item| matches!(item.texts.first(), Some(Some(origin)) if origin == source),
        );
        let differing: Vec<String> = challenge_codes()
            .iter()
            .zip(found)
            .filter(|(code, found)| code.records[index] != *found)
            .map(|(code, found)| {
                format!(
                    "{} {found} instead of {}",
                    code.abbreviation, code.records[index]
                )
            })
            .collect();
        if !differing.is_empty() {
            remarks.push(format!(
                "{source} is complete ({} records), but the numbers of diagnoses differ from the Challenge's tables: {}",
                CHALLENGE_RECORDS[index],
                differing.join(", ")
            ));
        }
        let set = match source {
            "georgia" => "georgia",
            "chapman_shaoxing" => "chapman",
            "ningbo" => "ningbo",
            _ => continue,
        };
        remarks.extend(hubert::unlike_test_part(items, 0, all, set));
    }
    remarks
}

#[cfg(test)]
mod tests {
    use purkinje_base::challenge::SCORED_NAMES;
    use purkinje_record::LeadSet;

    use super::super::ReadWhole as _;
    use super::super::published::label_as_published;
    use super::*;
    use purkinje_store::Split;

    fn data() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/physionet2021")
    }

    fn item<'a>(catalogue: &'a Catalogue, id: &str) -> &'a Item {
        catalogue.items.iter().find(|item| item.id == id).unwrap()
    }

    fn named(catalogue: &Catalogue, set: usize, id: &str) -> Vec<String> {
        let labels = item(catalogue, id).labels[set].as_ref().unwrap();
        let classes = &catalogue.label_sets[set].classes;
        labels
            .iter()
            .map(|&c| classes[c as usize].name.clone())
            .collect()
    }

    #[test]
    fn every_source_is_listed_with_both_label_sets() {
        let catalogue = Physionet2021::new(data()).catalogue().unwrap();
        assert_eq!(catalogue.remarks, Vec::<String>::new());
        let sets: Vec<_> = catalogue
            .label_sets
            .iter()
            .map(|s| s.classes.len())
            .collect();
        assert_eq!(sets, [133, 26]);
        for (id, origin) in [
            ("A0002", "cpsc_2018"),
            ("Q0005", "cpsc_2018_extra"),
            ("S0001", "ptb"),
            ("HR00001", "ptb-xl"),
            ("E07500", "georgia"),
            ("JS00001", "chapman_shaoxing"),
            ("JS23463", "ningbo"),
        ] {
            assert_eq!(item(&catalogue, id).texts, [Some(origin.to_owned())]);
        }
        assert_eq!(named(&catalogue, 0, "JS00001"), ["AF", "RBBB", "TAb"]);
        assert_eq!(named(&catalogue, 1, "JS00001"), ["AF", "CRBBB|RBBB", "TAb"]);
        // No diagnosis of Q0005 is scored, and it is part of the task still.
        assert_eq!(named(&catalogue, 0, "Q0005"), ["NSSTTA"]);
        assert_eq!(named(&catalogue, 1, "Q0005"), Vec::<String>::new());
        assert_eq!(item(&catalogue, "E00001").age, None);
        assert_eq!(item(&catalogue, "S0001").age, Some(81.0));
    }

    #[test]
    fn equal_diagnoses_are_one_class_in_the_order_of_the_weights() {
        let catalogue = Physionet2021::new(data()).catalogue().unwrap();
        let scored = &catalogue.label_sets[1].classes;
        let weights = ChallengeWeights::published();
        for (class, codes) in scored.iter().zip(&weights.codes) {
            assert_eq!(class.codes[SNOMED_CT], codes.join("|"));
        }
        let names: Vec<&str> = scored.iter().map(|class| class.name.as_str()).collect();
        assert_eq!(names, SCORED_NAMES);
    }

    #[test]
    fn headers_of_every_kind_are_read() {
        let source = Physionet2021::new(data());
        let catalogue = source.catalogue().unwrap();
        let mut kinds = Vec::new();
        for item in &catalogue.items {
            if !data().join(item.path.with_extension("mat")).is_file() {
                continue;
            }
            let record = source
                .read(&catalogue, item, &LeadSet::standard_12())
                .unwrap();
            assert_eq!((record.rate_hz, record.len()), (500.0, 5000), "{}", item.id);
            kinds.push(item.id.as_str());
        }
        // `# Dx:` with gains `1000.0(0)/mV`; a record line that starts `E00271.mat`; a unit `mv`.
        assert_eq!(kinds, ["E07500", "E00271", "HR00001"]);
    }

    #[test]
    fn a_complete_source_is_compared_with_the_tables_of_the_challenge() {
        let all = CodeSet::new("all", all_classes(), &[]).into_set();
        let ptb = CHALLENGE_SOURCES.iter().position(|s| *s == "ptb").unwrap();
        let mut items: Vec<Item> = (0..CHALLENGE_RECORDS[ptb])
            .map(|record| Item {
                id: format!("S{record:04}"),
                texts: vec![Some("ptb".to_owned())],
                labels: vec![Some(Vec::new())],
                ..Item::default()
            })
            .collect();
        let counts: Vec<usize> = challenge_codes().iter().map(|c| c.records[ptb]).collect();
        label_as_published(&mut items, 0, &counts, |_| true);
        assert_eq!(unlike_published(&items, &all), Vec::<String>::new());
        items[0].labels = vec![Some(Vec::new())];
        assert_eq!(unlike_published(&items[1..], &all), Vec::<String>::new());
        let remarks = unlike_published(&items, &all);
        assert!(
            remarks.len() == 1 && remarks[0].contains("MI 367 instead of 368"),
            "{remarks:?}"
        );
    }

    #[test]
    fn folds_join_the_sets_they_are_known_for() {
        let with = |split: &str| Physionet2021 {
            split: Some(split.to_owned()),
            ..Physionet2021::new(data())
        };
        let joined = with("hubert-0").catalogue().unwrap();
        let georgia = with("hubert-georgia-0").catalogue().unwrap();
        assert_eq!(item(&joined, "E00001").split, Some(Split::Train));
        assert_eq!(item(&georgia, "E00001").split, Some(Split::Train));
        assert_eq!(item(&joined, "JS00001").split, Some(Split::Test));
        assert_eq!(item(&georgia, "JS00001").split, Some(Split::None));
        assert_eq!(item(&joined, "HR00001").split, Some(Split::None));
        assert!(with("hubert-cpscExtra-3").catalogue().is_ok());
        let error = with("merl").catalogue().unwrap_err().to_string();
        assert!(error.contains("hubert-georgia-0"), "{error}");
    }
}
