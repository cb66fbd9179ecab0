//! Preparation in parts by several processes or machines, and merging of the parts.
//!
//! Every shard file covers a fixed range of the records of the source, whatever their outcome. The parts of a preparation
//! are contiguous ranges of records whose sizes differ by one at most. A shard that lies within a part is that of a preparation
//! by one process, byte for byte; of one that lies in several, each part writes its piece (`part-2-of-5.shard-00001.arrow`),
//! and merging writes the rows of the pieces as the one shard.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::columns::BatchBuilder;
use crate::error::StoreError;
use crate::files::{self, Journal, Whole};
use crate::schema::{
    DESCRIPTION_FILE, OUTCOMES_FILE, OutcomeCounts, ShardInfo, Split, StoreInfo, schema_of,
};
use crate::shard::ShardWriter;
use crate::store::Store;
use crate::writer::{BATCH_VALUES, described, shard_file};

/// Largest number of parts of a preparation.
pub const MAX_PARTS: usize = 10_000;

/// Prevents two processes from merging into the same folder at the same time.
const MERGE_LOCK: &str = "merge.lock";

/// One of several parts of a preparation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Number of the part, from 1.
    pub number: usize,
    /// Number of parts.
    pub of: usize,
    /// First record of the source.
    pub first_item: usize,
    /// One past its last record of the source.
    pub end_item: usize,
    /// Number of records of the whole source.
    pub items: usize,
}

/// The contents of `part-<number>-of-<of>.json`, which says that the part is complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PartInfo {
    pub(crate) part: Part,
    /// The description of the store, for this part only.
    pub(crate) store: StoreInfo,
    /// Rows per record batch of its shards.
    #[serde(default = "usual_batch")]
    pub(crate) rows_per_batch: usize,
}

/// Of parts that were finished before they stated it.
fn usual_batch() -> usize {
    256
}

impl Part {
    /// Part `number` of `of` (from 1) of a source of `items` records. The sizes of the parts differ by one at most.
    ///
    /// # Errors
    /// [`StoreError::Settings`] if there is no such part.
    pub fn new(number: usize, of: usize, items: usize) -> Result<Part, StoreError> {
        if !(1..=of.min(MAX_PARTS)).contains(&number) || of > MAX_PARTS {
            return Err(StoreError::Settings {
                reason: format!(
                    "there is no part {number} of {of}: expected a number from 1 to the number of parts, which is at most {MAX_PARTS}"
                ),
            });
        }
        Ok(Part {
            number,
            of,
            first_item: share(items, number - 1, of),
            end_item: share(items, number, of),
            items,
        })
    }

    /// The part with its borders at those of shards, as earlier versions divided a source.
    fn at_shards(self, rows_per_shard: usize) -> Part {
        let shards = self.items.div_ceil(rows_per_shard.max(1));
        let border = |part| (share(shards, part, self.of) * rows_per_shard).min(self.items);
        Part {
            first_item: border(self.number.saturating_sub(1)),
            end_item: border(self.number),
            ..self
        }
    }

    /// This part as the preparation that `begun` is a part of divides its source: parts that were begun with their borders
    /// at those of shards are continued, and their neighbours made, with these.
    pub(crate) fn beside(self, begun: Part, rows_per_shard: usize) -> Part {
        let even = Part::new(begun.number, begun.of, begun.items);
        let of_shards =
            even.is_ok_and(|even| begun != even && begun == even.at_shards(rows_per_shard));
        match of_shards && (begun.of, begun.items) == (self.of, self.items) {
            true => self.at_shards(rows_per_shard),
            false => self,
        }
    }

    /// Whether the shard that begins at record `first` of the source lies within the part.
    pub(crate) fn has_shard(&self, first: usize, rows_per_shard: usize) -> bool {
        let end = first.saturating_add(rows_per_shard).min(self.items);
        self.first_item <= first && end <= self.end_item
    }

    /// Prefix of its file names.
    pub(crate) fn prefix(&self) -> String {
        format!("part-{}-of-{}.", self.number, self.of)
    }
}

/// `part` of `of` equal shares of a number; in 128 bits no product of two sizes overflows.
fn share(number: usize, part: usize, of: usize) -> usize {
    (number as u128 * part as u128 / of.max(1) as u128) as usize
}

/// Part and number of parts in the name of a file of a part.
pub(crate) fn part_of_file(name: &str) -> Option<(usize, usize)> {
    let (number, rest) = name.strip_prefix("part-")?.split_once("-of-")?;
    let (of, ending) = rest.split_once('.')?;
    let ours = [
        "json",
        "json.partial",
        "outcomes.csv",
        "outcomes.csv.partial",
        "journal",
    ];
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let piece = piece_of(ending.strip_suffix(files::PARTIAL).unwrap_or(ending)).is_some();
    if !(piece || ours.contains(&ending)) || !plain(number) || !plain(of) {
        return None;
    }
    Some((number.parse().ok()?, of.parse().ok()?))
}

/// The number of the shard with this file name.
fn piece_of(name: &str) -> Option<usize> {
    let number = name.strip_prefix("shard-")?.strip_suffix(".arrow")?;
    let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse().ok().filter(|_| plain)
}

/// Merges the parts of a preparation into one store, byte for byte the one that a single process writes.
///
/// `folders` hold the finished parts, any number each; `out` may be one of the folders (or the only one, if the workers
/// shared it). Whole shards are hard-linked where possible and otherwise copied, and then compared with their checksums; shards
/// that lie in several parts are written from their pieces. Part files in `out` are removed at the end, those elsewhere stay. An interrupted call can be repeated; a call for a store
/// that is complete changes nothing.
///
/// # Errors
/// [`StoreError::MissingParts`] names the parts that are missing or not finished;
/// [`StoreError::Settings`] if parts belong to different preparations; [`StoreError::OtherStore`] if `out` holds
/// another store; [`StoreError::Shard`], [`StoreError::Checksum`] for damaged parts; [`StoreError::Io`].
pub fn merge<P: AsRef<Path>>(folders: &[P], out: &Path) -> Result<StoreInfo, StoreError> {
    let folders: Vec<&Path> = folders.iter().map(AsRef::as_ref).collect();
    let made = !out.exists();
    files::create_dir(out)?;
    let lock = out.join(MERGE_LOCK);
    let _held = Journal::open(&lock)?;
    let merged = locked(&folders, out);
    files::remove(&lock)?;
    if made && merged.is_err() {
        // Succeeds only if the folder is empty: shards that were already copied are used by the next attempt.
        let _ = fs::remove_dir(out);
    }
    merged
}

fn locked(folders: &[&Path], out: &Path) -> Result<StoreInfo, StoreError> {
    let parts = finished_parts(folders)?;
    if out.join(DESCRIPTION_FILE).exists() {
        let info = crate::store::read_info(out)?;
        let same = |(_, part): &(PathBuf, PartInfo)| part.store.fingerprint == info.fingerprint;
        if !parts.iter().all(same) {
            return Err(StoreError::OtherStore {
                path: out.to_owned(),
            });
        }
        remove_parts(out)?;
        return Ok(info);
    }
    let parts = complete(parts, folders)?;
    let mut shards: BTreeMap<usize, ShardInfo> = BTreeMap::new();
    let mut pieces: BTreeMap<usize, Vec<(&Path, &PartInfo, &ShardInfo)>> = BTreeMap::new();
    for (folder, part) in &parts {
        for shard in &part.store.shards {
            let own = shard.file.strip_prefix(&part.part.prefix());
            match (own.and_then(piece_of), piece_of(&shard.file)) {
                (Some(number), _) => {
                    pieces
                        .entry(number)
                        .or_default()
                        .push((folder, part, shard));
                }
                (None, Some(number)) => {
                    link_or_copy(shard, folder, out)?;
                    shards.insert(number, shard.clone());
                }
                (None, None) => {
                    return Err(StoreError::shard(
                        &folder.join(&shard.file),
                        "this is no name of a shard".to_owned(),
                    ));
                }
            }
        }
    }
    for (number, own) in &pieces {
        shards.insert(*number, join_pieces(*number, own, out)?);
    }
    let info = merged_info(&parts, shards.into_values().collect());
    merge_outcomes(&parts, &out.join(OUTCOMES_FILE))?;
    files::write_whole(&out.join(DESCRIPTION_FILE), info.to_json()?.as_bytes())?;
    remove_parts(out)?;
    Ok(info)
}

/// Every finished part in the folders, by number.
fn finished_parts(folders: &[&Path]) -> Result<Vec<(PathBuf, PartInfo)>, StoreError> {
    let mut parts = Vec::new();
    let mut seen = Vec::new();
    for folder in folders {
        // A folder given twice, in whatever spelling, counts once.
        let same = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_path_buf());
        if seen.contains(&same) {
            continue;
        }
        seen.push(same);
        for name in files::names(folder)? {
            if part_of_file(&name).is_none() || !name.ends_with(".json") {
                continue;
            }
            let path = folder.join(&name);
            let Some(text) = files::read_text(&path)? else {
                continue;
            };
            let part: PartInfo =
                serde_json::from_str(&text).map_err(|error| StoreError::Description {
                    path: path.clone(),
                    reason: error.to_string(),
                })?;
            crate::store::check_info(&part.store, folder, &path)?;
            parts.push((folder.to_path_buf(), part));
        }
    }
    parts.sort_by_key(|(_, part)| part.part.number);
    Ok(parts)
}

/// Checks that the parts are all parts of one preparation, each present once.
fn complete(
    parts: Vec<(PathBuf, PartInfo)>,
    folders: &[&Path],
) -> Result<Vec<(PathBuf, PartInfo)>, StoreError> {
    let Some((first_folder, first)) = parts.first() else {
        return Err(StoreError::MissingParts {
            folders: folders.iter().map(|folder| folder.to_path_buf()).collect(),
            missing: Vec::new(),
            of: 0,
        });
    };
    for (folder, part) in &parts {
        if part.part.of != first.part.of
            || part.part.items != first.part.items
            || part.store.fingerprint != first.store.fingerprint
            || part.store.schema_version != first.store.schema_version
        {
            return Err(StoreError::Settings {
                reason: format!(
                    "part {} of {} in `{}` and part {} of {} in `{}` are not of the same preparation: their records, settings or numbers of parts differ; prepare them again with the same options",
                    first.part.number,
                    first.part.of,
                    first_folder.display(),
                    part.part.number,
                    part.part.of,
                    folder.display()
                ),
            });
        }
    }
    for pair in parts.windows(2) {
        if pair[0].1.part.number == pair[1].1.part.number {
            return Err(StoreError::Settings {
                reason: format!(
                    "part {} is in `{}` and in `{}`; give only one of the folders",
                    pair[0].1.part.number,
                    pair[0].0.display(),
                    pair[1].0.display()
                ),
            });
        }
    }
    let of = first.part.of;
    let missing: Vec<usize> = (1..=of.min(MAX_PARTS))
        .filter(|number| !parts.iter().any(|(_, part)| part.part.number == *number))
        .collect();
    if !missing.is_empty() {
        return Err(StoreError::MissingParts {
            folders: folders.iter().map(|folder| folder.to_path_buf()).collect(),
            missing,
            of,
        });
    }
    let chained = parts
        .windows(2)
        .all(|pair| pair[0].1.part.end_item == pair[1].1.part.first_item);
    if !chained || first.part.first_item != 0 {
        return Err(StoreError::Settings {
            reason: format!(
                "the ranges of the parts are not contiguous ({}): versions of this program that divide sources differently made them; prepare those that overlap again, each in a new folder",
                parts
                    .iter()
                    .map(|(_, PartInfo { part, .. })| format!(
                        "part {}: records {} to {}",
                        part.number,
                        part.first_item + 1,
                        part.end_item
                    ))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        });
    }
    Ok(parts)
}

/// The description of the merged store.
fn merged_info(parts: &[(PathBuf, PartInfo)], shards: Vec<ShardInfo>) -> StoreInfo {
    let mut splits = BTreeMap::<Split, usize>::new();
    let mut outcomes = OutcomeCounts::default();
    for (_, part) in parts {
        let store = &part.store;
        for (&split, &count) in &store.splits {
            *splits.entry(split).or_default() += count;
        }
        outcomes.ok += store.outcomes.ok;
        outcomes.skipped += store.outcomes.skipped;
        outcomes.failed += store.outcomes.failed;
        outcomes.missing += store.outcomes.missing;
    }
    // Checked by the caller to hold a part.
    let first = &parts[0].1.store;
    StoreInfo {
        records: shards.iter().map(|shard| shard.rows).sum(),
        shards,
        splits,
        outcomes,
        ..first.clone()
    }
}

/// Writes a shard from its pieces, in batches as one process writes them.
fn join_pieces(
    number: usize,
    pieces: &[(&Path, &PartInfo, &ShardInfo)],
    out: &Path,
) -> Result<ShardInfo, StoreError> {
    let path = out.join(shard_file(number));
    let partial = files::partial(&path);
    // A shard has at least one piece.
    let (
        _,
        PartInfo {
            store,
            rows_per_batch,
            ..
        },
        _,
    ) = pieces[0];
    let schema = schema_of(store);
    let mut writer = ShardWriter::create(&partial, &schema)?;
    let mut batch = BatchBuilder::new(schema.clone(), &described(store));
    let mut write = |batch: &mut BatchBuilder| {
        let full = batch.take();
        let full = full.map_err(|error| StoreError::shard(&path, error.to_string()))?;
        writer.write(&path, &full)
    };
    let mut rows = 0;
    for (folder, part, piece) in pieces {
        let alone = StoreInfo {
            records: piece.rows,
            shards: vec![(*piece).clone()],
            ..part.store.clone()
        };
        let piece = Store::described(folder, alone)?;
        piece.verify()?;
        for row in piece.rows() {
            batch.push(&row.to_new(&piece));
            rows += 1;
            if batch.rows() >= *rows_per_batch || batch.values() >= BATCH_VALUES {
                write(&mut batch)?;
            }
        }
    }
    if batch.rows() > 0 {
        write(&mut batch)?;
    }
    let finished = writer.finish(&path)?;
    files::appear(&path)?;
    Ok(ShardInfo {
        file: shard_file(number),
        rows,
        bytes: finished.bytes,
        blake3: finished.blake3,
    })
}

/// Links or copies a shard into `out`.
fn link_or_copy(shard: &ShardInfo, folder: &Path, out: &Path) -> Result<(), StoreError> {
    let (from, to) = (folder.join(&shard.file), out.join(&shard.file));
    let bytes = files::size(&from)?;
    if bytes != shard.bytes {
        return Err(StoreError::shard(
            &from,
            format!(
                "it has {bytes} bytes, expected {} by the description of its part",
                shard.bytes
            ),
        ));
    }
    let same = |a: &Path, b: &Path| {
        fs::canonicalize(a)
            .ok()
            .zip(fs::canonicalize(b).ok())
            .is_some_and(|(a, b)| a == b)
    };
    if same(&from, &to) || files::link(&from, &to)? {
        return Ok(());
    }
    let mut source = File::open(&from).map_err(StoreError::io("open", &from))?;
    let mut whole = Whole::begin(&to)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = source
            .read(&mut buffer)
            .map_err(StoreError::io("read", &from))?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        whole.write(&buffer[..read])?;
    }
    let found = hasher.finalize().to_hex().to_string();
    if found != shard.blake3 {
        return Err(StoreError::Checksum {
            path: from,
            found,
            expected: shard.blake3.clone(),
        });
    }
    whole.finish()
}

/// One table of outcomes, with one header line.
fn merge_outcomes(parts: &[(PathBuf, PartInfo)], to: &Path) -> Result<(), StoreError> {
    let mut whole = Whole::begin(to)?;
    for (index, (folder, part)) in parts.iter().enumerate() {
        let from = folder.join(format!("{}{OUTCOMES_FILE}", part.part.prefix()));
        let file = File::open(&from).map_err(StoreError::io("open", &from))?;
        let mut reader = BufReader::new(file);
        let mut head = Vec::new();
        std::io::BufRead::read_until(&mut reader, b'\n', &mut head)
            .map_err(StoreError::io("read", &from))?;
        if index == 0 {
            whole.write(&head)?;
        }
        std::io::copy(&mut reader, &mut whole.file).map_err(StoreError::io("copy", &from))?;
    }
    whole.finish()
}

fn remove_parts(dir: &Path) -> Result<(), StoreError> {
    for name in files::names(dir)? {
        if part_of_file(&name).is_some() && !name.ends_with(".journal") {
            files::remove(&dir.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_every_record_once_in_even_shares() {
        for (items, of) in [(0, 3), (1, 3), (29, 4), (6556, 3), (800_035, 7)] {
            let mut next = 0;
            let mut sizes = Vec::new();
            for number in 1..=of {
                let part = Part::new(number, of, items).unwrap();
                assert_eq!(part.first_item, next);
                sizes.push(part.end_item - part.first_item);
                next = part.end_item;
            }
            assert_eq!(next, items);
            let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
            assert!(most - least <= 1, "{sizes:?}");
        }
        for (number, of) in [(0, 2), (3, 2), (1, 0), (1, MAX_PARTS + 1)] {
            assert!(Part::new(number, of, 10).is_err(), "{number}/{of}");
        }
    }

    #[test]
    fn a_shard_is_whole_in_the_part_that_has_all_its_records() {
        let part = |number| Part::new(number, 3, 29).unwrap();
        // Records 0 to 8, 9 to 18, 19 to 28 in shards of 5; the last has 4.
        let whole = |number: usize| {
            let own = (0..6).filter(|shard| part(number).has_shard(shard * 5, 5));
            own.collect::<Vec<_>>()
        };
        assert_eq!(
            [whole(1), whole(2), whole(3)],
            [vec![0], vec![2], vec![4, 5]]
        );
    }

    #[test]
    fn parts_stay_beside_those_of_an_earlier_division() {
        let even = |number| Part::new(number, 3, 29).unwrap();
        let before = even(1).at_shards(5);
        assert_eq!((before.first_item, before.end_item), (0, 10));
        let now = even(2).beside(before, 5);
        assert_eq!((now.first_item, now.end_item), (10, 20));
        for begun in [
            even(1),
            even(1).at_shards(4),
            Part {
                items: 30,
                ..before
            },
        ] {
            assert_eq!(even(2).beside(begun, 5), even(2));
        }
    }

    #[test]
    fn names_of_part_files_are_told_from_others() {
        assert_eq!(part_of_file("part-2-of-11.json"), Some((2, 11)));
        assert_eq!(part_of_file("part-2-of-11.journal"), Some((2, 11)));
        for piece in [
            "part-2-of-11.shard-00003.arrow",
            "part-2-of-11.shard-00003.arrow.partial",
        ] {
            assert_eq!(part_of_file(piece), Some((2, 11)), "{piece}");
        }
        for other in [
            "part-2-of-11.txt",
            "part--of-.json",
            "part-x-of-2.json",
            "part-1-of-2.shard-.arrow",
            "part-1-of-2.shard-1.json",
            "store.json",
        ] {
            assert_eq!(part_of_file(other), None, "{other}");
        }
    }
}
