//! Label names and folds of HuBERT-ECG's further sets (specification, sections 3.4 and 14; its table of labels).

use super::Item;
use super::error::ImportError;
use super::published_splits::{assign_parts, required_split};
use crate::schema::Split;

/// Folds of every set.
pub(super) const FOLDS: usize = 4;

/// Names of the splits that these sets offer, one a fold.
pub(super) const SPLITS: [&str; FOLDS] = ["hubert-0", "hubert-1", "hubert-2", "hubert-3"];

/// The fold of a split's name.
pub(super) fn fold_of(name: &str) -> Option<usize> {
    SPLITS.iter().position(|own| *own == name)
}

/// The 27 classes of Hefei in order, with their positives in the test part.
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

/// The 44 classes of SPH in order, which is that of the AHA codes, with their positives in the test part.
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

/// Positives (deaths) in the test part of SaMi-Trop, first fold.
pub(super) const SAMI_TROP_DEATHS: usize = 10;

/// Gives every item its part in a fold, by the name that `name` gives it in the published table; others become
/// [`Split::None`]. Returns what the user should know.
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
            "split {split}: {absent} of its {} records are not here; {outside} records are in no part of it",
            parts.len()
        )
    }))
}
