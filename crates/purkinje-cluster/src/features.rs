//! Features on disk: shards of float32 rows, an index, and batches in any order.
//!
//! A folder holds `features.json` and, for each shard, `NNNNN.npy` (`[row, width]`, little-endian float32) and
//! `NNNNN.txt` (the recordings of the shard, one name per line). Every recording has the same number of rows, one per
//! token. Shards are written atomically and listed in the index, so that an interrupted run continues after the last
//! complete shard.

use std::fs::{self, File};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use purkinje_base::legacy_random::Mt19937;
use purkinje_base::npy;
use serde::{Deserialize, Serialize};

use crate::error::{check_finite, write_whole};
use crate::{ClusterError, MAX_WIDTH};

/// Version of the folder's format.
pub const VERSION: u32 = 1;
/// Size in bytes after which a shard is closed.
pub const SHARD_BYTES: usize = 64 << 20;
/// Largest index that is read, in bytes.
pub const MAX_INDEX_BYTES: u64 = 64 << 20;
/// Largest number of rows of a recording.
pub const MAX_ROWS_PER_RECORD: usize = 1 << 20;
/// Largest block that is read at once, in bytes.
pub const MAX_BLOCK_BYTES: usize = 1 << 30;

const INDEX: &str = "features.json";

/// The index of the folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    version: u32,
    /// Numbers of a row.
    width: usize,
    /// Rows of a recording.
    rows_per_record: usize,
    /// Provenance of the features.
    made_of: serde_json::Value,
    /// Recordings of each shard.
    shards: Vec<usize>,
    /// Whether no shard will follow.
    complete: bool,
}

/// Writes features; if it is dropped, only the recordings of the open shard are lost.
#[derive(Debug)]
pub struct Writer {
    dir: PathBuf,
    index: Index,
    shard_bytes: usize,
    rows: Vec<f32>,
    names: Vec<String>,
}

impl Writer {
    /// Opens a folder for features, a new one or one of an interrupted call: then add the recordings after the first
    /// [`Writer::records`], in the same order.
    ///
    /// `made_of` is the provenance of the features; a folder with another one is refused.
    ///
    /// # Errors
    /// A folder that cannot be written, or holds other features.
    pub fn open(
        dir: &Path,
        width: usize,
        rows_per_record: usize,
        made_of: serde_json::Value,
    ) -> Result<Self, ClusterError> {
        check_sizes(width, rows_per_record)?;
        fs::create_dir_all(dir).map_err(ClusterError::io(dir))?;
        let path = dir.join(INDEX);
        let index = if path.exists() {
            let index = read_index(&path)?;
            let differing = [
                ("width", index.width.to_string(), width.to_string()),
                (
                    "number of rows per recording",
                    index.rows_per_record.to_string(),
                    rows_per_record.to_string(),
                ),
                ("source", index.made_of.to_string(), made_of.to_string()),
            ]
            .into_iter()
            .find(|(_, found, expected)| found != expected);
            if let Some((what, found, expected)) = differing {
                return Err(ClusterError::Other {
                    path,
                    what,
                    found,
                    expected,
                });
            }
            index
        } else {
            Index {
                version: VERSION,
                width,
                rows_per_record,
                made_of,
                shards: Vec::new(),
                complete: false,
            }
        };
        Ok(Writer {
            dir: dir.to_owned(),
            index,
            shard_bytes: SHARD_BYTES,
            rows: Vec::new(),
            names: Vec::new(),
        })
    }

    /// Closes shards after this number of bytes instead of [`SHARD_BYTES`].
    pub fn shard_bytes(mut self, bytes: usize) -> Self {
        self.shard_bytes = bytes.max(1);
        self
    }

    /// Number of recordings in complete shards.
    pub fn records(&self) -> usize {
        self.index.shards.iter().sum()
    }

    /// Whether an earlier call finished the folder.
    pub fn is_complete(&self) -> bool {
        self.index.complete
    }

    /// Adds the rows of a recording, `[rows_per_record, width]`.
    ///
    /// # Errors
    /// Another number of rows, a number that is not finite, a name with a line break, or a shard that cannot be written.
    pub fn add(&mut self, name: &str, rows: &[f32]) -> Result<(), ClusterError> {
        let expected = self.index.width * self.index.rows_per_record;
        if rows.len() != expected {
            return Err(ClusterError::Setting {
                setting: "rows of a recording",
                found: format!("{} numbers for `{name}`", rows.len()),
                expected: format!(
                    "{} rows of {}",
                    self.index.rows_per_record, self.index.width
                ),
            });
        }
        if name.contains(['\n', '\r']) {
            return Err(ClusterError::Setting {
                setting: "name of a recording",
                found: format!("{name:?}"),
                expected: "a single line".to_owned(),
            });
        }
        check_finite(&format!("features of `{name}`"), rows, self.index.width)?;
        self.rows.extend_from_slice(rows);
        self.names.push(name.to_owned());
        if self.rows.len() * 4 >= self.shard_bytes {
            self.close_shard(false)?;
        }
        Ok(())
    }

    /// Writes the last shard and marks the folder as complete.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn finish(mut self) -> Result<Features, ClusterError> {
        self.close_shard(true)?;
        Features::open(&self.dir)
    }

    fn close_shard(&mut self, last: bool) -> Result<(), ClusterError> {
        if !self.names.is_empty() {
            let number = self.index.shards.len();
            let path = shard(&self.dir, number);
            let shape = [self.rows.len() / self.index.width, self.index.width];
            let mut bytes = npy::header::<f32>(&shape).map_err(ClusterError::io(&path))?;
            bytes.reserve(self.rows.len() * 4);
            bytes.extend(self.rows.iter().flat_map(|value| value.to_le_bytes()));
            write_whole(&path, &bytes)?;
            let names = self.names.join("\n") + "\n";
            write_whole(&names_file(&self.dir, number), names.as_bytes())?;
            self.index.shards.push(self.names.len());
            (self.rows, self.names) = (Vec::new(), Vec::new());
        }
        self.index.complete = last;
        let path = self.dir.join(INDEX);
        let text = serde_json::to_vec_pretty(&self.index)
            .map_err(|e| ClusterError::damaged(&path, e.to_string()))?;
        write_whole(&path, &text)
    }
}

/// Features of a folder, to be read.
#[derive(Clone, Debug)]
pub struct Features {
    dir: PathBuf,
    index: Index,
    /// First recording of each shard, and the number of all.
    starts: Vec<usize>,
    /// Bytes before the numbers of each shard.
    offsets: Vec<u64>,
}

impl Features {
    /// Opens a folder that a [`Writer`] finished.
    ///
    /// # Errors
    /// A folder that is not complete, or whose files contradict its index.
    pub fn open(dir: &Path) -> Result<Self, ClusterError> {
        let path = dir.join(INDEX);
        let index = read_index(&path)?;
        if !index.complete {
            return Err(ClusterError::damaged(
                &path,
                "the features are not complete; repeat the command that writes them, which continues where it stopped",
            ));
        }
        let mut starts = vec![0usize];
        let mut offsets = Vec::new();
        for (number, &records) in index.shards.iter().enumerate() {
            let path = shard(dir, number);
            let rows = records
                .checked_mul(index.rows_per_record)
                .filter(|rows| rows.checked_mul(4 * index.width).is_some());
            let sum = starts[number].checked_add(records);
            let (Some(rows), Some(sum)) = (rows, sum) else {
                return Err(ClusterError::damaged(&path, "its size is impossible"));
            };
            let mut file = File::open(&path).map_err(ClusterError::io(&path))?;
            let size = file.metadata().map_err(ClusterError::io(&path))?.len();
            let header = npy::Header::read(&mut file).map_err(ClusterError::io(&path))?;
            let expected = header.bytes as u64 + (rows * index.width * 4) as u64;
            if !header.holds::<f32>() || header.shape != [rows, index.width] || size != expected {
                return Err(ClusterError::damaged(
                    &path,
                    format!(
                        "it is not a table of {rows} rows of {} numbers, as expected by the index; write the features again",
                        index.width
                    ),
                ));
            }
            starts.push(sum);
            offsets.push(header.bytes as u64);
        }
        Ok(Features {
            dir: dir.to_owned(),
            index,
            starts,
            offsets,
        })
    }

    /// Numbers of a row.
    pub fn width(&self) -> usize {
        self.index.width
    }

    /// Rows of a recording.
    pub fn rows_per_record(&self) -> usize {
        self.index.rows_per_record
    }

    /// Recordings.
    pub fn records(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Rows in all.
    pub fn rows(&self) -> usize {
        self.records() * self.index.rows_per_record
    }

    /// Provenance of the features.
    pub fn made_of(&self) -> &serde_json::Value {
        &self.index.made_of
    }

    /// The names of all recordings, in order.
    ///
    /// # Errors
    /// A file that cannot be read or has another number of names.
    pub fn names(&self) -> Result<Vec<String>, ClusterError> {
        let mut names = Vec::new();
        for (number, &records) in self.index.shards.iter().enumerate() {
            let path = names_file(&self.dir, number);
            let text = fs::read_to_string(&path).map_err(ClusterError::io(&path))?;
            let before = names.len();
            names.extend(text.lines().map(str::to_owned));
            let found = names.len() - before;
            if found != records {
                return Err(ClusterError::damaged(
                    &path,
                    format!("{found} names, expected {records}; write the features again"),
                ));
            }
        }
        Ok(names)
    }

    /// Reads the rows of some recordings, in the given order, and appends them to `out`.
    ///
    /// # Errors
    /// A recording that does not exist, or a file that cannot be read.
    pub fn read(&self, records: &[u32], out: &mut Vec<f32>) -> Result<(), ClusterError> {
        let each = self.index.rows_per_record * self.index.width;
        let from = out.len();
        // In the order of the files; each recording goes to its own place.
        let mut order: Vec<usize> = (0..records.len()).collect();
        order.sort_by_key(|k| records[*k]);
        out.resize(from + records.len() * each, 0.0);
        let mut open: Option<(usize, PathBuf, File)> = None;
        let mut bytes = vec![0; each * 4];
        for k in order {
            let record = records[k] as usize;
            if record >= self.records() {
                return Err(ClusterError::Setting {
                    setting: "recording",
                    found: record.to_string(),
                    expected: format!("below {}", self.records()),
                });
            }
            let number = self.starts.partition_point(|start| *start <= record) - 1;
            if open.as_ref().is_none_or(|(shard, _, _)| *shard != number) {
                let path = shard(&self.dir, number);
                let file = File::open(&path).map_err(ClusterError::io(&path))?;
                open = Some((number, path, file));
            }
            let Some((_, path, file)) = &mut open else {
                continue;
            };
            let place = (record - self.starts[number]) as u64 * bytes.len() as u64;
            file.seek(SeekFrom::Start(self.offsets[number] + place))
                .and_then(|_| file.read_exact(&mut bytes))
                .map_err(ClusterError::io(path))?;
            decode(&bytes, &mut out[from + k * each..from + (k + 1) * each]);
        }
        Ok(())
    }

    /// Calls `each` with all rows in order, in blocks of at most `block_rows` rows (at least 1).
    ///
    /// # Errors
    /// A file that cannot be read, or what `each` returns.
    pub fn blocks(
        &self,
        block_rows: usize,
        mut each: impl FnMut(&[f32]) -> Result<(), ClusterError>,
    ) -> Result<(), ClusterError> {
        let width = self.index.width;
        let most = (MAX_BLOCK_BYTES / (4 * width)).max(1);
        let block = block_rows.clamp(1, most);
        let mut bytes = vec![0; block * width * 4];
        let mut rows = vec![0.0; block * width];
        for (number, &records) in self.index.shards.iter().enumerate() {
            let path = shard(&self.dir, number);
            let mut file = File::open(&path).map_err(ClusterError::io(&path))?;
            file.seek(SeekFrom::Start(self.offsets[number]))
                .map_err(ClusterError::io(&path))?;
            let mut left = records * self.index.rows_per_record;
            while left > 0 {
                let now = left.min(block);
                let bytes = &mut bytes[..now * width * 4];
                file.read_exact(bytes).map_err(ClusterError::io(&path))?;
                decode(bytes, &mut rows[..now * width]);
                each(&rows[..now * width])?;
                left -= now;
            }
        }
        Ok(())
    }

    /// A random order of all recordings, determined by the seed (NumPy's legacy generator).
    pub fn order(&self, seed: u32) -> Vec<u32> {
        // A recording has bytes on disk, so there are fewer than 2^32 of them in any table that exists.
        let mut order: Vec<u32> = (0..self.records() as u32).collect();
        Mt19937::from_seed(seed).numpy_shuffle(&mut order);
        order
    }
}

fn check_sizes(width: usize, rows_per_record: usize) -> Result<(), ClusterError> {
    for (setting, found, most) in [
        ("width", width, MAX_WIDTH),
        ("rows_per_record", rows_per_record, MAX_ROWS_PER_RECORD),
    ] {
        if found == 0 || found > most {
            return Err(ClusterError::Setting {
                setting,
                found: found.to_string(),
                expected: format!("1 to {most}"),
            });
        }
    }
    Ok(())
}

fn read_index(path: &Path) -> Result<Index, ClusterError> {
    let file = File::open(path).map_err(ClusterError::io(path))?;
    let mut text = Vec::new();
    BufReader::new(file)
        .take(MAX_INDEX_BYTES)
        .read_to_end(&mut text)
        .map_err(ClusterError::io(path))?;
    let index: Index = serde_json::from_slice(&text)
        .map_err(|e| ClusterError::damaged(path, format!("it is not an index of features: {e}")))?;
    if index.version != VERSION {
        return Err(ClusterError::damaged(
            path,
            format!("version {}, expected {VERSION}", index.version),
        ));
    }
    check_sizes(index.width, index.rows_per_record)?;
    Ok(index)
}

fn shard(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("{number:05}.npy"))
}

fn names_file(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("{number:05}.txt"))
}

fn decode(bytes: &[u8], out: &mut [f32]) {
    for (value, bytes) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *value = f32::from_le_bytes(*bytes);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(record: usize) -> Vec<f32> {
        (0..6).map(|k| (10 * record + k) as f32).collect()
    }

    #[test]
    fn what_is_written_is_read_in_any_order() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Writer::open(dir.path(), 2, 3, json!({"kind": "test"})).unwrap();
        let mut writer = open().shard_bytes(48);
        for record in 0..5 {
            writer.add(&format!("r{record}"), &rows(record)).unwrap();
        }
        // Killed: the fifth recording was in no whole shard.
        drop(writer);
        assert!(Features::open(dir.path()).is_err());
        let mut writer = open().shard_bytes(48);
        assert_eq!((writer.records(), writer.is_complete()), (4, false));
        for record in 4..7 {
            writer.add(&format!("r{record}"), &rows(record)).unwrap();
        }
        let features = writer.finish().unwrap();
        assert_eq!((features.records(), features.rows()), (7, 21));
        assert_eq!(features.names().unwrap()[6], "r6");
        let mut out = vec![-1.0];
        features.read(&[6, 0, 6, 3], &mut out).unwrap();
        let expected = [vec![-1.0], rows(6), rows(0), rows(6), rows(3)].concat();
        assert_eq!(out, expected);
        assert!(features.read(&[7], &mut out).is_err());
        for block in [1, 2, 5, 100] {
            let mut all = Vec::new();
            let push = |rows: &[f32]| {
                all.extend_from_slice(rows);
                Ok(())
            };
            features.blocks(block, push).unwrap();
            assert_eq!(all, (0..7).flat_map(rows).collect::<Vec<_>>());
        }
        let mut order = features.order(42);
        assert_eq!(order, features.order(42));
        assert_ne!(order, features.order(43));
        order.sort_unstable();
        assert_eq!(order, (0..7).collect::<Vec<_>>());
    }

    #[test]
    fn other_or_damaged_features_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let open = |width, made: &str| Writer::open(dir.path(), width, 3, json!(made));
        let mut writer = open(2, "a").unwrap();
        assert!(writer.add("r", &[0.0; 5]).is_err());
        assert!(writer.add("r\nq", &[0.0; 6]).is_err());
        let message = writer.add("r", &[0.0, 0.0, 0.0, f32::NAN, 0.0, 0.0]);
        let message = message.unwrap_err().to_string();
        assert!(message.contains("`r`: row 1, column 1 is NaN"), "{message}");
        writer.add("r", &rows(1)).unwrap();
        writer.finish().unwrap();
        assert!(matches!(
            open(3, "a"),
            Err(ClusterError::Other { what: "width", .. })
        ));
        assert!(matches!(
            open(2, "b"),
            Err(ClusterError::Other { what: "source", .. })
        ));
        assert!(Writer::open(dir.path(), 0, 3, json!(null)).is_err());
        let path = shard(dir.path(), 0);
        let whole = fs::read(&path).unwrap();
        for damaged in [&whole[..whole.len() - 1], &[0; 300][..], &[]] {
            fs::write(&path, damaged).unwrap();
            assert!(Features::open(dir.path()).is_err());
        }
        let index = dir.path().join(INDEX);
        for text in [
            "",
            "{}",
            r#"{"version":1,"width":2,"rows_per_record":3,"made_of":1,"shards":[18446744073709551615],"complete":true}"#,
        ] {
            fs::write(&index, text).unwrap();
            assert!(Features::open(dir.path()).is_err(), "{text}");
        }
    }
}
