//! The splits of the published systems.
//!
//! Record names and splits of ten data sets, collected from the split tables released with MERL, CLEAR-HUG,
//! HeartLang, DERI and HuBERT-ECG; `data/pack_splits.py` of this crate packs them. PTB-XL is not among
//! them: its folds are in its own table.
//!
//! | set | records | splits | record |
//! | --- | --- | --- | --- |
//! | `cpsc2018` | 6,877 | `merl`, `clear-hug`, `heartlang`, `deri`, `hubert-0` .. `hubert-3` | `A0001` |
//! | `csn` | 23,026 | `merl`, `clear-hug`, `deri` (identical) | `WFDBRecords/01/010/JS00001` |
//! | `chapman` | 10,244 | `hubert-0` .. `hubert-3` | `JS00001` |
//! | `cpsc-extra` | 3,437 | `hubert-0` .. `hubert-3`, without validation | `Q0001` |
//! | `georgia` | 10,341 | `hubert-0` .. `hubert-3` | `E00001` |
//! | `hefei` | 20,036 | `hubert-0` .. `hubert-3` | `100001` |
//! | `ningbo` | 14,224 | `hubert-0` .. `hubert-3`; validation and test only; the rest was not published | `JS10646` |
//! | `ptb` | 513 | `hubert-0` .. `hubert-3`, without validation | `S0001` |
//! | `sami-trop` | 1,631 | `hubert-0` .. `hubert-3`, without validation | `samitrop_100726` |
//! | `sph` | 25,770 | `hubert-0` .. `hubert-3` (identical) | `A00001` |
//!
//! HuBERT-ECG's tables have one record of Chapman (which one is not known) and, in the folds 0 to 2, record 112601 of Hefei both
//! in training and in test. Here the former is a training record, the latter a test record.

use std::collections::HashMap;
use std::io::Read;
use std::sync::OnceLock;

use purkinje_store::Split;

use super::ImportError;
use super::Item;

/// Largest size of the unpacked table in bytes; it has 1.9 million.
pub const MAX_UNPACKED_BYTES: u64 = 8 << 20;

static PACKED: &[u8] = include_bytes!("../../data/published_splits.txt.zst");

/// The split of every record of data set `set` in the published split `split`, by the record's name.
///
/// Records that are in no split are absent. `None` for a data set or split that is not built in;
/// [`published_split_names`] lists them.
pub fn published_split(set: &str, split: &str) -> Option<HashMap<&'static str, Split>> {
    let (splits, records) = block(set)?;
    let column = splits.split(' ').position(|name| name == split)?;
    let parts = records
        .lines()
        .filter_map(|line| {
            let (record, parts) = line.rsplit_once(' ')?;
            let part = match parts.as_bytes().get(column)? {
                b't' => Split::Train,
                b'v' => Split::Val,
                b'e' => Split::Test,
                _ => return None,
            };
            Some((record, part))
        })
        .collect();
    Some(parts)
}

/// The built-in splits of data set `set`; empty for an unknown one.
pub fn published_split_names(set: &str) -> Vec<&'static str> {
    block(set).map_or_else(Vec::new, |(splits, _)| splits.split(' ').collect())
}

/// The data sets that have built-in splits.
pub fn published_split_sets() -> Vec<&'static str> {
    blocks()
        .filter_map(|block| block.split_once(' '))
        .map(|(set, _)| set)
        .collect()
}

/// [`published_split`], or an error that lists the existing splits.
pub(crate) fn required_split(
    set: &str,
    split: &str,
) -> Result<HashMap<&'static str, Split>, ImportError> {
    published_split(set, split).ok_or_else(|| unknown_split(set, split, published_split_names(set)))
}

/// The error for an unknown split of a data set.
pub(crate) fn unknown_split(set: &str, split: &str, known: Vec<&str>) -> ImportError {
    ImportError::UnknownSplit {
        set: set.to_owned(),
        split: split.to_owned(),
        known: known.into_iter().map(str::to_owned).collect(),
    }
}

/// Assigns to every item the split that `parts` has for its `key`, or [`Split::None`]. Returns the number of records in
/// `parts` without an item.
pub(crate) fn assign_parts(
    items: &mut [Item],
    parts: &HashMap<&'static str, Split>,
    key: impl Fn(&Item) -> String,
) -> usize {
    let mut met = 0;
    for item in items {
        let part = parts.get(key(item).as_str()).copied();
        met += usize::from(part.is_some());
        item.split = Some(part.unwrap_or(Split::None));
    }
    parts.len().saturating_sub(met)
}

/// The names of the splits of a set, and its lines.
fn block(set: &str) -> Option<(&'static str, &'static str)> {
    blocks().find_map(|block| {
        let (title, records) = block.split_once('\n')?;
        let (name, splits) = title.split_once(' ')?;
        (name == set).then_some((splits, records))
    })
}

fn blocks() -> impl Iterator<Item = &'static str> {
    text().split('=').skip(1)
}

/// The table, unpacked once.
fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let mut text = String::new();
        // The table is built into the program; a test reads all of it.
        let unpacked = zstd::Decoder::new(PACKED)
            .and_then(|decoder| decoder.take(MAX_UNPACKED_BYTES).read_to_string(&mut text));
        debug_assert!(unpacked.is_ok(), "{unpacked:?}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records in train, val and test.
    fn counts(set: &str, split: &str) -> [usize; 3] {
        let parts = published_split(set, split).unwrap();
        [Split::Train, Split::Val, Split::Test]
            .map(|part| parts.values().filter(|&&p| p == part).count())
    }

    #[test]
    fn every_split_has_its_published_sizes() {
        for split in ["merl", "clear-hug", "heartlang", "deri"] {
            assert_eq!(counts("cpsc2018", split), [4950, 551, 1376], "{split}");
        }
        let folds = |set| [0, 1, 2, 3].map(|fold| counts(set, &format!("hubert-{fold}")));
        assert_eq!(
            folds("cpsc2018"),
            [
                [5583, 607, 687],
                [5576, 614, 687],
                [5560, 630, 687],
                [5565, 625, 687]
            ]
        );
        for split in ["merl", "clear-hug", "deri"] {
            assert_eq!(counts("csn", split), [16546, 1860, 4620], "{split}");
        }
        // The published test part has 1,035 records: one is in train and test, and in train alone here.
        assert_eq!(folds("chapman"), [[8281, 929, 1034]; 4]);
        assert_eq!(
            folds("cpsc-extra"),
            [
                [2735, 0, 702],
                [2753, 0, 684],
                [2742, 0, 695],
                [2753, 0, 684]
            ]
        );
        assert_eq!(
            folds("georgia"),
            [
                [8350, 944, 1047],
                [8377, 917, 1047],
                [8353, 941, 1047],
                [8351, 943, 1047]
            ]
        );
        assert_eq!(
            folds("hefei"),
            [
                [16414, 1814, 1807],
                [16407, 1821, 1807],
                [16407, 1821, 1807],
                [16227, 2002, 1807]
            ]
        );
        assert_eq!(
            folds("ningbo"),
            [
                [0, 3142, 3492],
                [0, 3139, 3492],
                [0, 3142, 3492],
                [0, 3138, 3492]
            ]
        );
        assert_eq!(
            folds("ptb"),
            [[406, 0, 107], [408, 0, 105], [405, 0, 108], [405, 0, 108]]
        );
        assert_eq!(folds("sami-trop"), [[1467, 0, 164]; 4]);
        assert_eq!(folds("sph"), [[18565, 2051, 5154]; 4]);
    }

    #[test]
    fn splits_that_share_a_name_differ_where_the_publications_do() {
        let merl = published_split("cpsc2018", "merl").unwrap();
        let deri = published_split("cpsc2018", "deri").unwrap();
        let agree = merl.iter().filter(|(r, part)| deri[*r] == **part).count();
        let share = agree as f64 / merl.len() as f64;
        assert!((0.565..0.575).contains(&share), "{share}");
        assert_eq!(
            published_split("csn", "merl"),
            published_split("csn", "deri")
        );
    }

    #[test]
    fn what_is_not_carried_is_named() {
        assert_eq!(published_split("cpsc2018", "nobody"), None);
        assert_eq!(published_split("ptb-xl", "merl"), None);
        assert_eq!(published_split_sets().len(), 10);
        let error = required_split("csn", "hubert-0").unwrap_err().to_string();
        assert!(error.contains("merl, clear-hug, deri"), "{error}");
    }
}
