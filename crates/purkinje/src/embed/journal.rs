//! What an interrupted embedding leaves: the vectors of the recordings that are done, from which the same command goes on.
//!
//! A file beside the table, `<name>.partial`, begins with a line that says what the vectors depend on. An entry for every recording follows,
//! in order: the lengths of its two parts and a checksum, what is said of the recording as JSON, and its values. An entry that was cut short
//! is dropped.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use purkinje_record::Lead;
use serde::{Deserialize, Serialize};

use super::Embedded;
use crate::inputs::{Input, ReadOptions, StoredRow};
use crate::made::PROGRAM;
use crate::model::Model;
use crate::network::json;
use crate::system::{Level, Place};
use crate::windows::{LeftOut, Used};
use crate::{Error, Result};

/// Bytes before the parts of an entry: two lengths and a checksum.
const HEAD: usize = 24;

/// The journal of a table that is being made. Dropping it keeps it; [`Journal::remove`] ends it.
pub struct Journal {
    file: File,
    path: PathBuf,
    start: u64,
    done: usize,
    failed: usize,
    /// Whether one of other inputs or settings was there and was dropped.
    other: bool,
}

/// What came of a recording: its vectors, or why there are none.
pub type Done = std::result::Result<Embedded, String>;

impl Journal {
    /// Opens the journal of the table `table`, or begins one; `key` says in one line what the vectors depend on. One with another key is begun
    /// anew.
    ///
    /// # Errors
    /// When it cannot be read or written, or another process writes it.
    pub fn open(table: &Path, key: &str) -> Result<Journal> {
        let mut name = table.file_name().unwrap_or(table.as_os_str()).to_owned();
        name.push(".partial");
        let path = table.with_file_name(name);
        let cannot = |error| Error::file("write", &path, error);
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(cannot)?;
        if file.try_lock().is_err() {
            return Err(
                Error::invalid(format!("another process writes `{}`", path.display()))
                    .with_help("wait until it has finished, or choose another `--out`"),
            );
        }
        let key = key.replace(['\n', '\r'], " ");
        let mut journal = Journal {
            file,
            start: key.len() as u64 + 1,
            path: path.clone(),
            done: 0,
            failed: 0,
            other: false,
        };
        let length = journal.file.metadata().map_err(cannot)?.len();
        let mut found = Vec::new();
        BufReader::new(&journal.file)
            .take(journal.start)
            .read_until(b'\n', &mut found)
            .map_err(cannot)?;
        let same = found.strip_suffix(b"\n") == Some(key.as_bytes());
        if same {
            journal.keep_whole().map_err(cannot)?;
        } else {
            journal.other = length > 0;
            let file = &mut journal.file;
            file.set_len(0)
                .and_then(|()| file.seek(SeekFrom::Start(0)))
                .and_then(|_| file.write_all(format!("{key}\n").as_bytes()))
                .map_err(cannot)?;
        }
        Ok(journal)
    }

    /// Counts the whole entries and drops what follows them.
    fn keep_whole(&mut self) -> std::io::Result<()> {
        let mut end = self.start;
        self.file.seek(SeekFrom::Start(end))?;
        let mut reader = BufReader::new(&self.file);
        let left = self.file.metadata()?.len();
        while let Some(entry) = Entry::read(&mut reader, left.saturating_sub(end))? {
            let Ok(done) = entry.done() else { break };
            end += entry.bytes();
            self.done += 1;
            self.failed += usize::from(done.is_err());
        }
        drop(reader);
        self.file.set_len(end)?;
        self.file.seek(SeekFrom::Start(end))?;
        Ok(())
    }

    /// Recordings that are done.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Those of them that could not be used.
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// Whether a journal of other inputs or settings was there, which this one replaces.
    pub fn replaced_another(&self) -> bool {
        self.other
    }

    /// Adds the next recording.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, done: &Done) -> Result<()> {
        let entry = Entry::of(done)?;
        self.done += 1;
        self.failed += usize::from(done.is_err());
        let written = self.file.write_all(&entry.to_bytes());
        written.map_err(|error| Error::file("write", &self.path, error))
    }

    /// All recordings that are done, in order, one at a time.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn replay(&mut self) -> Result<impl Iterator<Item = Result<Done>> + '_> {
        let path = self.path.clone();
        let cannot = move |error| Error::file("read", &path, error);
        self.file
            .seek(SeekFrom::Start(self.start))
            .map_err(&cannot)?;
        let mut reader = BufReader::new(&self.file);
        Ok((0..self.done).map(move |_| {
            let entry = Entry::read(&mut reader, u64::MAX).map_err(&cannot)?;
            let entry = entry.ok_or_else(|| cannot(ErrorKind::UnexpectedEof.into()))?;
            entry.done().map_err(|error| cannot(error.into()))
        }))
    }

    /// Ends the journal: the table is whole.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(self) -> Result<()> {
        let removed = std::fs::remove_file(&self.path);
        removed.map_err(|error| Error::file("remove", &self.path, error))
    }
}

/// What the vectors of inputs at a level depend on, in one line: an interrupted run goes on only where all of it is the same. Files count by
/// name, length and time of change, rows by the fingerprint of their store.
///
/// # Errors
/// When a configuration does not serialise.
pub fn key(
    model: &Model,
    level: Level,
    inputs: &[Input<'_>],
    options: &ReadOptions,
) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for input in inputs {
        let line = match input {
            Input::File(path) => stamps(path),
            Input::Row(rows, row) => format!("{} {row}", rows.store().info().fingerprint),
            Input::Recording(recording) => recording.id.clone(),
        };
        hasher.update(line.as_bytes()).update(b"\n");
    }
    let (network, preprocess) = (model.network().config()?, json(model.preprocess())?);
    hasher.update(format!("{network} {preprocess} {options:?}").as_bytes());
    Ok(format!(
        "{PROGRAM} embed, model {}, per {level}, inputs and settings {}",
        model.hash().unwrap_or_default(),
        hasher.finalize().to_hex()
    ))
}

/// Name, length and time of change of a file, and of the signal files of a header.
fn stamps(path: &Path) -> String {
    let beside = ["dat", "mat"].map(|ending| path.with_extension(ending));
    let all = std::iter::once(path).chain(beside.iter().map(PathBuf::as_path));
    let about = all.filter_map(|path| path.metadata().ok());
    let stamps = about.map(|about| format!(" {} {:?}", about.len(), about.modified().ok()));
    path.display().to_string() + &stamps.collect::<String>()
}

/// An entry as it is stored.
struct Entry {
    text: Vec<u8>,
    values: Vec<u8>,
}

impl Entry {
    fn of(done: &Done) -> Result<Entry> {
        let text = serde_json::to_vec(&Saved::of(done));
        let values = done.iter().flat_map(|own| &own.values);
        Ok(Entry {
            text: text.map_err(|error| Error::invalid(error.to_string()))?,
            values: values.flat_map(|value| value.to_le_bytes()).collect(),
        })
    }

    fn checksum(&self) -> [u8; 8] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.text).update(&self.values);
        let mut word = [0; 8];
        word.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        word
    }

    fn bytes(&self) -> u64 {
        (HEAD + self.text.len() + self.values.len()) as u64
    }

    fn to_bytes(&self) -> Vec<u8> {
        let lengths = [self.text.len(), self.values.len()];
        let mut bytes: Vec<u8> = lengths
            .iter()
            .flat_map(|&length| (length as u64).to_le_bytes())
            .collect();
        bytes.extend(self.checksum());
        bytes.extend(&self.text);
        bytes.extend(&self.values);
        bytes
    }

    /// The next entry of at most `left` bytes; `None` where none is whole.
    fn read(reader: &mut impl std::io::Read, left: u64) -> std::io::Result<Option<Entry>> {
        let mut head = [0; HEAD];
        match reader.read_exact(&mut head) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&head[at..at + 8]);
            word
        };
        let lengths = [word(0), word(8)].map(u64::from_le_bytes);
        let all = lengths[0]
            .checked_add(lengths[1])
            .and_then(|all| all.checked_add(HEAD as u64));
        if all.is_none_or(|all| all > left) {
            return Ok(None);
        }
        let mut part = |length: u64| -> std::io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            reader.by_ref().take(length).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let entry = Entry {
            text: part(lengths[0])?,
            values: part(lengths[1])?,
        };
        let whole = entry.bytes() == HEAD as u64 + lengths[0] + lengths[1];
        Ok((whole && entry.checksum() == word(16)).then_some(entry))
    }

    fn done(&self) -> std::result::Result<Done, serde_json::Error> {
        let saved: Saved = serde_json::from_slice(&self.text)?;
        let values = self.values.chunks_exact(4);
        let values = values.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        Ok(saved.done(values.collect()))
    }
}

/// What is said of a recording. Numbers with a fraction are kept as their bits, so that they come back as they were.
#[derive(Serialize, Deserialize)]
enum Saved {
    Failed(String),
    Vectors {
        id: String,
        source: String,
        blake3: String,
        width: usize,
        places: Vec<Spot>,
        used: Box<Spent>,
        row: Option<StoredRow>,
    },
}

#[derive(Serialize, Deserialize)]
struct Spot {
    lead: Option<Lead>,
    number: Option<usize>,
    time_s: Option<u64>,
    group: Option<String>,
    window_s: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct Spent {
    windows: usize,
    windows_asked: usize,
    seconds_used: u64,
    seconds: u64,
    beats_used: Option<usize>,
    beats: Option<usize>,
    left_out: Vec<(u64, String)>,
    usable: Option<bool>,
    unusable_because: Option<String>,
}

impl Saved {
    fn of(done: &Done) -> Saved {
        let own = match done {
            Err(reason) => return Saved::Failed(reason.clone()),
            Ok(own) => own,
        };
        let spots = own.places.iter().map(|place| Spot {
            lead: place.lead.clone(),
            number: place.number,
            time_s: place.time_s.map(f64::to_bits),
            group: place.group.as_deref().map(str::to_owned),
            window_s: place.window_s.map(f64::to_bits),
        });
        let used = &own.used;
        let left_out = used.left_out.iter();
        Saved::Vectors {
            id: own.id.clone(),
            source: own.source.clone(),
            blake3: own.source_blake3.clone(),
            width: own.width,
            places: spots.collect(),
            used: Box::new(Spent {
                windows: used.windows,
                windows_asked: used.windows_asked,
                seconds_used: used.seconds_used.to_bits(),
                seconds: used.seconds.to_bits(),
                beats_used: used.beats_used,
                beats: used.beats,
                left_out: left_out
                    .map(|own| (own.start_s.to_bits(), own.reason.clone()))
                    .collect(),
                usable: used.usable,
                unusable_because: used.unusable_because.clone(),
            }),
            row: own.row.clone(),
        }
    }

    fn done(self, values: Vec<f32>) -> Done {
        let (id, source, blake3, width, places, used, row) = match self {
            Saved::Failed(reason) => return Err(reason),
            Saved::Vectors {
                id,
                source,
                blake3,
                width,
                places,
                used,
                row,
            } => (id, source, blake3, width, places, used, row),
        };
        let places = places.into_iter().map(|spot| Place {
            lead: spot.lead,
            number: spot.number,
            time_s: spot.time_s.map(f64::from_bits),
            group: spot.group.map(Cow::Owned),
            window_s: spot.window_s.map(f64::from_bits),
        });
        let left_out = used.left_out.into_iter();
        Ok(Embedded {
            id,
            source,
            source_blake3: blake3,
            places: places.collect(),
            width,
            values,
            used: Used {
                windows: used.windows,
                windows_asked: used.windows_asked,
                seconds_used: f64::from_bits(used.seconds_used),
                seconds: f64::from_bits(used.seconds),
                beats_used: used.beats_used,
                beats: used.beats,
                left_out: left_out
                    .map(|(start_s, reason)| LeftOut {
                        start_s: f64::from_bits(start_s),
                        reason,
                    })
                    .collect(),
                usable: used.usable,
                unusable_because: used.unusable_because,
                unusable: 0,
            },
            row,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors(id: &str) -> Done {
        Ok(Embedded {
            id: id.to_owned(),
            source: "a/b".to_owned(),
            source_blake3: "00".to_owned(),
            places: vec![
                Place {
                    lead: Some(Lead::parse("aVR")),
                    number: Some(3),
                    time_s: Some(0.1 + 0.2),
                    group: Some(Cow::Borrowed("limb")),
                    window_s: Some(1e-300),
                },
                Place::default(),
            ],
            width: 2,
            values: vec![1.5, -0.0, f32::MIN_POSITIVE, 3.25],
            used: Used {
                windows: 1,
                windows_asked: 2,
                seconds_used: 9.7,
                seconds: 10.0,
                beats_used: Some(4),
                beats: None,
                left_out: vec![LeftOut {
                    start_s: 0.3,
                    reason: "flat".to_owned(),
                }],
                usable: Some(false),
                unusable_because: Some("noise".to_owned()),
                unusable: 0,
            },
            row: None,
        })
    }

    fn all(journal: &mut Journal) -> Vec<Done> {
        let replayed = journal.replay().unwrap();
        replayed.collect::<Result<_>>().unwrap()
    }

    #[test]
    fn what_was_done_comes_back_as_it_was_however_it_was_cut() {
        let dir = tempfile::tempdir().unwrap();
        let table = dir.path().join("t.parquet");
        let entries = [vectors("a"), Err("b: flat".to_owned()), vectors("c")];
        let mut journal = Journal::open(&table, "key").unwrap();
        // Another process is refused while this one writes.
        assert!(Journal::open(&table, "key").is_err());
        let mut ends = Vec::new();
        let path = dir.path().join("t.parquet.partial");
        for entry in &entries {
            journal.add(entry).unwrap();
            ends.push(std::fs::metadata(&path).unwrap().len());
        }
        assert_eq!(all(&mut journal), entries);
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        for length in 4..=whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let mut journal = Journal::open(&table, "key").unwrap();
            let kept = ends.iter().filter(|&&end| end <= length as u64).count();
            assert_eq!(all(&mut journal), entries[..kept], "{length}");
            assert_eq!(journal.failed(), usize::from(kept > 1));
            // It goes on behind the last whole entry.
            if kept == 2 {
                journal.add(&entries[2]).unwrap();
                assert_eq!(all(&mut journal), entries);
            }
        }
        for place in 4..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 0x41;
            std::fs::write(&path, &changed).unwrap();
            let mut journal = Journal::open(&table, "key").unwrap();
            let kept = ends.iter().filter(|&&end| end <= place as u64).count();
            assert_eq!(all(&mut journal), entries[..kept], "{place}");
        }
    }

    #[test]
    fn one_of_other_settings_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let table = dir.path().join("t.npy");
        let mut journal = Journal::open(&table, "key").unwrap();
        assert!(!journal.replaced_another());
        journal.add(&vectors("a")).unwrap();
        drop(journal);
        let journal = Journal::open(&table, "other").unwrap();
        assert!(journal.replaced_another() && journal.done() == 0);
        journal.remove().unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
