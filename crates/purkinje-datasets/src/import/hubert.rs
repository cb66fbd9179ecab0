//! Label names and folds of HuBERT-ECG's data sets, from its published tables.

use std::collections::HashSet;
use std::sync::OnceLock;

use purkinje_store::{LabelSet, Split};

use super::ImportError;
use super::Item;
use super::published_splits::{assign_parts, published_split, required_split};
use super::snomed::SNOMED_CT;

/// Number of folds of every data set.
pub(super) const FOLDS: usize = 4;

/// Names of the splits of these data sets, one per fold.
pub(super) const SPLITS: [&str; FOLDS] = ["hubert-0", "hubert-1", "hubert-2", "hubert-3"];

/// The fold of a split's name.
pub(super) fn fold_of(name: &str) -> Option<usize> {
    SPLITS.iter().position(|own| *own == name)
}

/// The 27 classes of Hefei in order, with their positives in the test split.
pub(super) const HEFEI: [(&str, usize); 27] = [
    ("ERe", 2),
    ("FB", 1),
    ("LVH", 37),
    ("NSSTTA", 27),
    ("RAb", 1),
    ("RAH", 3),
    ("SPRI", 2),
    ("STIAb", 26),
    ("VTach", 3),
    ("AF", 11),
    ("IAVB", 13),
    ("LAD", 101),
    ("LQRSV", 1),
    ("NSR", 856),
    ("PAC", 28),
    ("PR", 1),
    ("PVC", 49),
    ("QAb", 5),
    ("RAD", 102),
    ("SA", 81),
    ("SB", 474),
    ("STach", 441),
    ("TAb", 313),
    ("+ROT", 3),
    ("-ROT", 5),
    ("CRBBB|RBBB", 50),
    ("CLBBB|LBBB", 5),
];

/// The 44 classes of SPH in order, which is that of the AHA codes, with their positives in the test split.
pub(super) const SPH: [(&str, usize); 44] = [
    ("NORM", 2610),
    ("STACH", 155),
    ("SBRAD", 550),
    ("SARRH", 299),
    ("PAC", 116),
    ("PAC_NC", 1),
    ("JPC", 13),
    ("JEC", 6),
    ("AF", 173),
    ("AFLT", 37),
    ("JTACH", 1),
    ("PVC", 272),
    ("SPRI", 1),
    ("AVCR", 2),
    ("LPR", 43),
    ("2AVB1", 2),
    ("2AVB2", 1),
    ("1AVB", 21),
    ("AVBVC", 8),
    ("AVBHG", 1),
    ("3AVB", 8),
    ("LAFB", 31),
    ("LPFB", 2),
    ("CLBBB|LBBB", 18),
    ("IRBBB", 247),
    ("CRBBB|RBBB", 195),
    ("WPW", 7),
    ("RAD", 34),
    ("LAD", 31),
    ("LVOLT", 70),
    ("LAO/LAE", 4),
    ("LVH", 51),
    ("RVH", 1),
    ("STD_", 394),
    ("STTC", 231),
    ("TAB", 482),
    ("LNGQT", 6),
    ("TUF", 2),
    ("STTVH", 25),
    ("ERE", 5),
    ("AMI", 17),
    ("IMI", 25),
    ("ASMI", 30),
    ("EAMI", 3),
];

/// Positives (deaths) in the test split of SaMi-Trop, first fold.
pub(super) const SAMI_TROP_DEATHS: usize = 10;

/// A label of a set of the Challenge: its name, the SNOMED-CT codes that mean it, its positives in the common test
/// split.
struct TestPositives {
    set: &'static str,
    label: &'static str,
    codes: Vec<&'static str>,
    positives: usize,
}

/// The labels of Chapman, Georgia and Ningbo. CPSC-Extra and PTB have a test split for each fold, and it is not stated
/// which one was counted.
fn test_positives() -> &'static [TestPositives] {
    static TABLE: OnceLock<Vec<TestPositives>> = OnceLock::new();
    TABLE.get_or_init(|| {
        include_str!("../../data/hubert_test_positives.tsv")
            .lines()
            .filter(|line| !line.starts_with('#'))
            .skip(1)
            .filter_map(|line| {
                let mut cells = line.split('\t');
                Some(TestPositives {
                    set: cells.next()?,
                    label: cells.next()?,
                    codes: cells.next()?.split('|').collect(),
                    positives: cells.next()?.parse().ok()?,
                })
            })
            .collect()
    })
}

/// Test records of the published table that are not in the test split here: one record of Chapman is in training and
/// test there, and only in training here.
fn test_records_in_training(set: &str) -> usize {
    usize::from(set == "chapman")
}

/// The names of the records in the test split of a fold.
pub(super) fn test_part(set: &str, fold: usize) -> HashSet<&'static str> {
    let parts = SPLITS
        .get(fold)
        .and_then(|split| published_split(set, split));
    let parts = parts.unwrap_or_default().into_iter();
    parts
        .filter(|(_, part)| *part == Split::Test)
        .map(|(name, _)| name)
        .collect()
}

/// The labels of `set` (`chapman`, `georgia`, `ningbo`) whose number of test records differs from HuBERT-ECG's, by the
/// SNOMED-CT codes of the classes of label set number `index`. Ids of items are the names of the records.
pub(super) fn unlike_test_part(
    items: &[Item],
    index: usize,
    classes: &LabelSet,
    set: &str,
) -> Option<String> {
    let names = test_part(set, 0);
    let spare = test_records_in_training(set);
    let test: Vec<&Vec<i16>> = items
        .iter()
        .filter(|item| names.contains(item.id.as_str()))
        .filter_map(|item| item.labels.get(index)?.as_ref())
        .collect();
    let differing: Vec<String> = test_positives()
        .iter()
        .filter(|label| label.set == set)
        .filter_map(|label| {
            let meant: Vec<i16> = (0i16..)
                .zip(&classes.classes)
                .filter(|(_, class)| {
                    class
                        .codes
                        .get(SNOMED_CT)
                        .is_some_and(|code| label.codes.contains(&code.as_str()))
                })
                .map(|(class, _)| class)
                .collect();
            let found = test
                .iter()
                .filter(|labels| labels.iter().any(|class| meant.contains(class)))
                .count();
            let right = found <= label.positives && found + spare >= label.positives;
            (!right).then(|| format!("{} {found} instead of {}", label.label, label.positives))
        })
        .collect();
    (!differing.is_empty()).then(|| {
        format!(
            "all records of HuBERT-ECG's test split of {set} are listed, but the numbers of positives differ: {}",
            differing.join(", ")
        )
    })
}

/// Assigns the split of a fold to every item, by the name that `name` gives it in the published table; others get
/// [`Split::None`]. Returns notes to the user.
pub(super) fn divide(
    set: &str,
    fold: usize,
    items: &mut [Item],
    name: impl Fn(&Item) -> String,
) -> Result<Option<String>, ImportError> {
    let split = SPLITS.get(fold).copied().unwrap_or("?");
    let parts = required_split(set, split)?;
    let absent = assign_parts(items, &parts, name);
    let outside = items
        .iter()
        .filter(|item| item.split == Some(Split::None))
        .count();
    Ok((absent + outside > 0).then(|| {
        format!(
            "split {split}: {absent} of its {} records were not found; {outside} records are in none of its splits",
            parts.len()
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::super::published::positives;
    use super::super::snomed::{challenge_code, class_of};
    use super::*;

    #[test]
    fn labels_are_codes_of_the_challenge() {
        let count = |set: &str| test_positives().iter().filter(|l| l.set == set).count();
        assert_eq!(
            [count("chapman"), count("georgia"), count("ningbo")],
            [52, 62, 76]
        );
        for label in test_positives() {
            for code in &label.codes {
                assert!(challenge_code(code).is_some(), "{} {code}", label.label);
            }
        }
    }

    #[test]
    fn test_parts_are_compared_label_by_label() {
        // Georgia's test records, each label on as many of them as published.
        let labels: Vec<_> = test_positives()
            .iter()
            .filter(|label| label.set == "georgia")
            .collect();
        let set = LabelSet {
            name: "all".to_owned(),
            classes: labels
                .iter()
                .map(|label| class_of(label.label, None, label.codes[0]))
                .collect(),
        };
        let mut items: Vec<Item> = test_part("georgia", 0)
            .into_iter()
            .map(|name| Item {
                id: name.to_owned(),
                labels: vec![Some(Vec::new())],
                ..Item::default()
            })
            .collect();
        for (class, label) in (0i16..).zip(&labels) {
            for item in items.iter_mut().take(label.positives) {
                item.labels[0].as_mut().unwrap().push(class);
            }
        }
        assert_eq!(unlike_test_part(&items, 0, &set, "georgia"), None);
        let flutter = set.class_index("AFL").unwrap();
        items[0].labels[0]
            .as_mut()
            .unwrap()
            .retain(|c| *c != flutter);
        let remark = unlike_test_part(&items, 0, &set, "georgia").unwrap();
        assert!(remark.ends_with(": AFL 18 instead of 19"), "{remark}");
        assert_eq!(
            positives(&items, 0, set.classes.len(), |_| true)[usize::try_from(flutter).unwrap()],
            18
        );
    }
}
