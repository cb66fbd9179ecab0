//! Writing a store so that it can be interrupted anywhere and continued.
//!
//! Rows go into `shard-NNNNN.arrow.partial`. When a shard is full it is synced and renamed, the
//! outcomes of its records are appended to `outcomes.csv.partial`, and one line is added to
//! `prepare.journal`: from then on the shard counts. `store.json` is written last, so a folder with a
//! `store.json` is a complete store. After a crash, everything the journal does not mention is
//! removed and written again; the result is the same, byte for byte.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use arrow_schema::SchemaRef;
use purkinje_record::LeadSet;
use purkinje_signal::Preprocess;
use serde::{Deserialize, Serialize};

use crate::columns::{BatchBuilder, NewRow};
use crate::error::StoreError;
use crate::outcome::{Outcome, Status, to_csv};
use crate::schema::{
    DESCRIPTION_FILE, LabelSet, MadeBy, OUTCOMES_FILE, OutcomeCounts, SCHEMA_VERSION, ShardInfo,
    Split, StoreInfo, arrow_schema,
};
use crate::shard::{ShardWriter, read_shard};

/// Most samples of one record, all leads together: a day of twelve leads at 60 Hz.
pub const MAX_RECORD_VALUES: usize = 1 << 26;

/// Samples after which a batch ends early, so that long records do not pile up in memory.
const BATCH_VALUES: usize = 1 << 24;

pub(crate) const JOURNAL_FILE: &str = "prepare.journal";
const OUTCOMES_PARTIAL: &str = "outcomes.csv.partial";

/// What a store will be, known before its first row.
#[derive(Clone, Debug)]
pub struct StoreSpec {
    /// Name of the source.
    pub name: String,
    /// What was done to the samples.
    pub preprocess: Preprocess,
    /// Leads of every row.
    pub leads: LeadSet,
    /// Sampling rate of every row in hertz.
    pub rate_hz: f64,
    /// Unit of `signal / gain_per_mv`: `mV`, or `1` for scaled samples.
    pub unit: String,
    /// The label sets; every row carries one entry for each.
    pub label_sets: Vec<LabelSet>,
    /// How the store is made.
    pub made_by: MadeBy,
    /// Hex hash of whatever determines the rows; an interrupted store is continued only by the same.
    pub fingerprint: String,
    /// Rows of a shard (all but the last).
    pub rows_per_shard: usize,
    /// Rows of a record batch within a shard.
    pub rows_per_batch: usize,
}

/// How a preparation begins.
pub enum Begin {
    /// The folder holds this very store already.
    Complete(Box<StoreInfo>),
    /// Rows are expected from [`StoreWriter::items_done`] on.
    Writing(Box<StoreWriter>),
}

/// Writes the rows of a store in order.
pub struct StoreWriter {
    dir: PathBuf,
    spec: StoreSpec,
    schema: SchemaRef,
    journal: File,
    sealed: Sealed,
    shards: Vec<ShardInfo>,
    /// Ids of all rows so far, as hashes.
    ids: HashSet<[u8; 16]>,
    open: Option<OpenShard>,
    batch: BatchBuilder,
    /// Outcomes since the last seal, and what they add to the counts.
    pending: Vec<Outcome>,
    counts: OutcomeCounts,
    splits: BTreeMap<Split, usize>,
    finished: bool,
    #[cfg(test)]
    pub(crate) fail_at: Option<Box<dyn FnMut(Step) -> std::io::Result<()> + Send>>,
}

/// Points at which a test may interrupt the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Batch,
    ShardWritten,
    OutcomesWritten,
    ShardNamed,
    Journaled,
    OutcomesNamed,
    Described,
}

struct OpenShard {
    writer: ShardWriter,
    path: PathBuf,
    rows: usize,
}

/// First line of the journal.
#[derive(Serialize, Deserialize, PartialEq)]
struct JournalHead {
    schema_version: u32,
    fingerprint: String,
    rows_per_shard: usize,
    rows_per_batch: usize,
}

/// Every other line: the state after a seal.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Sealed {
    /// Missing when records ended without filling a row.
    shard: Option<ShardInfo>,
    items_done: usize,
    outcomes_bytes: u64,
    counts: OutcomeCounts,
    splits: BTreeMap<Split, usize>,
}

impl StoreWriter {
    /// Begins a store in `dir`, or continues the one that was interrupted there.
    ///
    /// # Errors
    /// [`StoreError::OtherStore`] if the folder holds a store of another fingerprint,
    /// [`StoreError::Busy`] if another process writes it, [`StoreError::Io`].
    pub fn begin(dir: &Path, spec: StoreSpec) -> Result<Begin, StoreError> {
        check_spec(&spec)?;
        fs::create_dir_all(dir).map_err(StoreError::io("create the folder", dir))?;
        if let Some(info) = finished_store(dir, &spec.fingerprint)? {
            return Ok(Begin::Complete(Box::new(info)));
        }
        let path = dir.join(JOURNAL_FILE);
        let mut journal = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(StoreError::io("create", &path))?;
        if journal.try_lock().is_err() {
            return Err(StoreError::Busy {
                path: dir.to_owned(),
            });
        }
        // The other process may have finished while this one waited for the lock.
        if let Some(info) = finished_store(dir, &spec.fingerprint)? {
            return Ok(Begin::Complete(Box::new(info)));
        }
        let head = JournalHead {
            schema_version: SCHEMA_VERSION,
            fingerprint: spec.fingerprint.clone(),
            rows_per_shard: spec.rows_per_shard,
            rows_per_batch: spec.rows_per_batch,
        };
        let seals = match read_journal(&mut journal, &path)? {
            Some((found, seals)) if found == head => seals,
            Some(_) => {
                return Err(StoreError::OtherStore {
                    path: dir.to_owned(),
                });
            }
            None => {
                append_line(&mut journal, &head).map_err(StoreError::io("write", &path))?;
                Vec::new()
            }
        };
        let schema = arrow_schema(&spec.label_sets);
        let sealed = seals.last().cloned().unwrap_or_default();
        let shards: Vec<ShardInfo> = seals.iter().filter_map(|s| s.shard.clone()).collect();
        let mut writer = StoreWriter {
            batch: BatchBuilder::new(schema.clone(), spec.leads.len()),
            dir: dir.to_owned(),
            spec,
            schema,
            journal,
            counts: sealed.counts,
            splits: sealed.splits.clone(),
            sealed,
            shards,
            ids: HashSet::new(),
            open: None,
            pending: Vec::new(),
            finished: false,
            #[cfg(test)]
            fail_at: None,
        };
        writer.restore()?;
        Ok(Begin::Writing(Box::new(writer)))
    }

    /// Records dealt with so far: the next [`append`](Self::append) is for the one with this index.
    pub fn items_done(&self) -> usize {
        self.sealed.items_done + self.pending.len()
    }

    /// How the records so far ended.
    pub fn counts(&self) -> OutcomeCounts {
        self.counts
    }

    /// Adds the outcome of the next record, with its row if it is stored.
    ///
    /// # Errors
    /// [`StoreError::Row`] if the row contradicts the store or repeats an id (the writer stays usable
    /// and nothing was added); [`StoreError::Io`] if writing fails: then drop the writer and begin again.
    pub fn append(&mut self, outcome: Outcome, row: Option<NewRow>) -> Result<(), StoreError> {
        if let Some(row) = &row {
            self.check(row)?;
            self.ids.insert(short_hash(&row.id));
        }
        debug_assert_eq!(row.is_some(), outcome.status == Status::Ok);
        self.counts.count(outcome.status);
        self.pending.push(outcome);
        let Some(row) = row else { return Ok(()) };
        *self.splits.entry(row.split).or_default() += 1;
        self.batch.push(&row);
        if self.batch.rows() >= self.spec.rows_per_batch || self.batch.values() >= BATCH_VALUES {
            self.write_batch()?;
        }
        let rows = self.batch.rows() + self.open.as_ref().map_or(0, |open| open.rows);
        if rows >= self.spec.rows_per_shard {
            self.seal()?;
        }
        Ok(())
    }

    /// Completes the store.
    ///
    /// # Errors
    /// [`StoreError::Io`]; what was sealed before stays, and the same preparation can be continued.
    pub fn finish(mut self) -> Result<StoreInfo, StoreError> {
        self.seal()?;
        let partial = self.dir.join(OUTCOMES_PARTIAL);
        if !partial.exists() {
            // No record at all: the table is its header line.
            let head = csv_bytes(&[], true, &partial)?;
            fs::write(&partial, head).map_err(StoreError::io("write", &partial))?;
        }
        fs::rename(&partial, self.dir.join(OUTCOMES_FILE))
            .map_err(StoreError::io("rename", &partial))?;
        self.reach(Step::OutcomesNamed)?;
        let info = StoreInfo {
            format: "purkinje-store".to_owned(),
            schema_version: SCHEMA_VERSION,
            name: self.spec.name.clone(),
            preprocess: self.spec.preprocess.clone(),
            leads: self.spec.leads.clone(),
            rate_hz: self.spec.rate_hz,
            unit: self.spec.unit.clone(),
            label_sets: self.spec.label_sets.clone(),
            records: self.shards.iter().map(|shard| shard.rows).sum(),
            splits: self.splits.clone(),
            outcomes: self.counts,
            shards: self.shards.clone(),
            made_by: self.spec.made_by.clone(),
            fingerprint: self.spec.fingerprint.clone(),
        };
        self.describe(&info)?;
        self.finished = true;
        self.reach(Step::Described)?;
        let journal = self.dir.join(JOURNAL_FILE);
        fs::remove_file(&journal).map_err(StoreError::io("remove", &journal))?;
        Ok(info)
    }

    /// Checks a row against the store without adding it.
    ///
    /// # Errors
    /// [`StoreError::Row`].
    pub fn check(&self, row: &NewRow) -> Result<(), StoreError> {
        let refuse = |reason: String| {
            Err(StoreError::Row {
                id: row.id.clone(),
                reason,
            })
        };
        let leads = self.spec.leads.len();
        let values = row.signal.len();
        if !values.is_multiple_of(leads) {
            return refuse(format!(
                "{values} samples cannot be shared by {leads} leads"
            ));
        }
        if values > MAX_RECORD_VALUES {
            return refuse(format!(
                "it has {values} samples over all leads, the most is {MAX_RECORD_VALUES}; cut it into parts"
            ));
        }
        if !(row.gain_per_mv.is_finite() && row.gain_per_mv > 0.0) {
            return refuse(format!(
                "a gain of {} units per mV is impossible",
                row.gain_per_mv
            ));
        }
        let samples = values / leads;
        let inside = |&peak: &i32| usize::try_from(peak).is_ok_and(|peak| peak < samples);
        if !row.r_peaks.iter().all(inside) || !row.r_peaks.is_sorted() {
            return refuse(format!(
                "its R-peaks are not increasing positions within {samples} samples"
            ));
        }
        if row.labels.len() != self.spec.label_sets.len() {
            return refuse(format!(
                "it has labels for {} label sets, the store has {}",
                row.labels.len(),
                self.spec.label_sets.len()
            ));
        }
        for (set, classes) in self.spec.label_sets.iter().zip(&row.labels) {
            let known = |&&class: &&i16| {
                usize::try_from(class).is_ok_and(|class| class < set.classes.len())
            };
            if let Some(class) = classes.iter().flatten().find(|class| !known(class)) {
                return refuse(format!(
                    "class {class} is not one of the {} classes of label set `{}`",
                    set.classes.len(),
                    set.name
                ));
            }
        }
        if self.ids.contains(&short_hash(&row.id)) {
            return refuse("a record with this id is already in the store".to_owned());
        }
        Ok(())
    }

    /// Brings the folder back to the state after the last seal.
    fn restore(&mut self) -> Result<(), StoreError> {
        for shard in &self.shards {
            let path = self.dir.join(&shard.file);
            let bytes = fs::metadata(&path)
                .map_err(StoreError::io("read the size of", &path))?
                .len();
            if bytes != shard.bytes {
                return Err(StoreError::shard(
                    &path,
                    format!(
                        "it has {bytes} bytes instead of the {} that were written",
                        shard.bytes
                    ),
                ));
            }
            for batch in read_shard(&path, &self.schema)? {
                let batch = crate::columns::Batch::new(
                    &batch,
                    self.spec.leads.len(),
                    &class_counts(&self.spec.label_sets),
                )
                .map_err(|reason| StoreError::shard(&path, reason))?;
                self.ids.extend(batch.id.iter().flatten().map(short_hash));
            }
        }
        // Shards beyond the journal were named but not yet counted.
        let mut number = self.shards.len();
        while remove_if_present(&self.dir.join(shard_file(number)))?
            | remove_if_present(&self.partial_path(number))?
        {
            number += 1;
        }
        let partial = self.dir.join(OUTCOMES_PARTIAL);
        let named = self.dir.join(OUTCOMES_FILE);
        if named.exists() {
            fs::rename(&named, &partial).map_err(StoreError::io("rename", &named))?;
        }
        if self.sealed.outcomes_bytes == 0 {
            remove_if_present(&partial)?;
        } else {
            let file = OpenOptions::new()
                .write(true)
                .open(&partial)
                .map_err(StoreError::io("open", &partial))?;
            file.set_len(self.sealed.outcomes_bytes)
                .map_err(StoreError::io("shorten", &partial))?;
        }
        Ok(())
    }

    fn write_batch(&mut self) -> Result<(), StoreError> {
        if self.batch.rows() == 0 {
            return Ok(());
        }
        let number = self.shards.len();
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let path = self.partial_path(number);
                let writer = ShardWriter::create(&path, &self.schema)?;
                self.open.insert(OpenShard {
                    writer,
                    path,
                    rows: 0,
                })
            }
        };
        let rows = self.batch.rows();
        let batch = self
            .batch
            .take()
            .map_err(|error| StoreError::shard(&open.path, error.to_string()))?;
        open.writer.write(&open.path, &batch)?;
        open.rows += rows;
        self.reach(Step::Batch)
    }

    /// Makes everything so far permanent.
    fn seal(&mut self) -> Result<(), StoreError> {
        self.write_batch()?;
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut sealed = Sealed {
            shard: None,
            items_done: self.items_done(),
            outcomes_bytes: 0,
            counts: self.counts,
            splits: self.splits.clone(),
        };
        let mut renaming = None;
        if let Some(open) = self.open.take() {
            let finished = open.writer.finish(&open.path)?;
            let file = shard_file(self.shards.len());
            renaming = Some((open.path, self.dir.join(&file)));
            sealed.shard = Some(ShardInfo {
                file,
                rows: open.rows,
                bytes: finished.bytes,
                blake3: finished.blake3,
            });
            self.reach(Step::ShardWritten)?;
        }
        sealed.outcomes_bytes = self.append_outcomes()?;
        self.reach(Step::OutcomesWritten)?;
        if let Some((from, to)) = renaming {
            fs::rename(&from, &to).map_err(StoreError::io("rename", &from))?;
            sync_dir(&self.dir)?;
            self.reach(Step::ShardNamed)?;
        }
        let path = self.dir.join(JOURNAL_FILE);
        append_line(&mut self.journal, &sealed).map_err(StoreError::io("write", &path))?;
        self.shards.extend(sealed.shard.clone());
        self.sealed = sealed;
        self.pending.clear();
        self.reach(Step::Journaled)
    }

    fn append_outcomes(&self) -> Result<u64, StoreError> {
        let path = self.dir.join(OUTCOMES_PARTIAL);
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .map_err(StoreError::io("create", &path))?;
        let lines = csv_bytes(&self.pending, self.sealed.outcomes_bytes == 0, &path)?;
        file.write_all(&lines)
            .and_then(|()| file.sync_all())
            .map_err(StoreError::io("write", &path))?;
        Ok(self.sealed.outcomes_bytes + lines.len() as u64)
    }

    fn describe(&self, info: &StoreInfo) -> Result<(), StoreError> {
        let path = self.dir.join(DESCRIPTION_FILE);
        let partial = self.dir.join("store.json.partial");
        let mut text =
            serde_json::to_string_pretty(info).map_err(|error| StoreError::Description {
                path: path.clone(),
                reason: error.to_string(),
            })?;
        text.push('\n');
        File::create(&partial)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.sync_all()
            })
            .map_err(StoreError::io("write", &partial))?;
        fs::rename(&partial, &path).map_err(StoreError::io("rename", &partial))?;
        sync_dir(&self.dir)
    }

    fn partial_path(&self, number: usize) -> PathBuf {
        self.dir.join(format!("{}.partial", shard_file(number)))
    }

    #[cfg(test)]
    fn reach(&mut self, step: Step) -> Result<(), StoreError> {
        match &mut self.fail_at {
            Some(fail_at) => fail_at(step).map_err(StoreError::io("write", &self.dir)),
            None => Ok(()),
        }
    }

    #[cfg(not(test))]
    fn reach(&mut self, _: Step) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Drop for StoreWriter {
    /// Leaves nothing half-written behind after an error. After a crash, `begin` does the same.
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let _ = fs::remove_file(self.partial_path(self.shards.len()));
        let _ = fs::remove_file(self.dir.join("store.json.partial"));
        if self.sealed.items_done == 0 {
            let _ = fs::remove_file(self.dir.join(OUTCOMES_PARTIAL));
            let _ = fs::remove_file(self.dir.join(JOURNAL_FILE));
            // Fails, as it should, unless the folder is empty.
            let _ = fs::remove_dir(&self.dir);
        }
    }
}

/// Records dealt with by the unfinished preparation in `dir`, if there is one.
pub(crate) fn unfinished(dir: &Path) -> Option<usize> {
    let path = dir.join(JOURNAL_FILE);
    let text = fs::read_to_string(path).ok()?;
    let last = text
        .lines()
        .skip(1)
        .filter_map(|l| serde_json::from_str::<Sealed>(l).ok());
    Some(last.last().map_or(0, |sealed| sealed.items_done))
}

/// File name of a shard.
pub(crate) fn shard_file(number: usize) -> String {
    format!("shard-{number:05}.arrow")
}

pub(crate) fn class_counts(label_sets: &[LabelSet]) -> Vec<usize> {
    label_sets.iter().map(|set| set.classes.len()).collect()
}

fn check_spec(spec: &StoreSpec) -> Result<(), StoreError> {
    let refuse = |reason: String| Err(StoreError::Settings { reason });
    if spec.leads.is_empty() {
        return refuse("a store needs at least one lead".to_owned());
    }
    if !(spec.rate_hz.is_finite() && spec.rate_hz > 0.0) {
        return refuse(format!(
            "a sampling rate of {} Hz is impossible",
            spec.rate_hz
        ));
    }
    if spec.rows_per_shard == 0 || spec.rows_per_batch == 0 {
        return refuse("a shard and a batch need at least one row".to_owned());
    }
    let mut names = HashSet::new();
    for set in &spec.label_sets {
        if set.name.is_empty() || !names.insert(&set.name) {
            return refuse(format!(
                "label set `{}` has no name of its own; give every set another name",
                set.name
            ));
        }
        if set.classes.len() > i16::MAX as usize {
            return refuse(format!(
                "label set `{}` has {} classes, the most is {}",
                set.name,
                set.classes.len(),
                i16::MAX
            ));
        }
    }
    Ok(())
}

/// The description of a finished store with this fingerprint, if the folder holds one.
fn finished_store(dir: &Path, fingerprint: &str) -> Result<Option<StoreInfo>, StoreError> {
    if !dir.join(DESCRIPTION_FILE).exists() {
        return Ok(None);
    }
    let info = crate::store::read_info(dir)?;
    if info.fingerprint != fingerprint {
        return Err(StoreError::OtherStore {
            path: dir.to_owned(),
        });
    }
    // A crash may have come between the description and the removal of the journal.
    remove_if_present(&dir.join(JOURNAL_FILE))?;
    Ok(Some(info))
}

/// The head and the seals; a torn last line is cut off. `None`: the journal is new.
fn read_journal(
    journal: &mut File,
    path: &Path,
) -> Result<Option<(JournalHead, Vec<Sealed>)>, StoreError> {
    let mut text = Vec::new();
    journal
        .read_to_end(&mut text)
        .map_err(StoreError::io("read", path))?;
    let mut valid = 0;
    let mut head = None;
    let mut seals = Vec::new();
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        if !line.ends_with(b"\n") {
            break;
        }
        if head.is_none() {
            match serde_json::from_slice::<JournalHead>(line) {
                Ok(found) => head = Some(found),
                Err(error) => {
                    return Err(StoreError::Description {
                        path: path.to_owned(),
                        reason: error.to_string(),
                    });
                }
            }
        } else {
            match serde_json::from_slice::<Sealed>(line) {
                Ok(sealed) => seals.push(sealed),
                Err(_) => break,
            }
        }
        valid += line.len() as u64;
    }
    journal
        .set_len(valid)
        .and_then(|()| journal.seek(SeekFrom::End(0)))
        .map_err(StoreError::io("shorten", path))?;
    Ok(head.map(|head| (head, seals)))
}

fn append_line<T: Serialize>(file: &mut File, value: &T) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    file.write_all(&line)?;
    file.sync_all()
}

fn csv_bytes(outcomes: &[Outcome], header: bool, path: &Path) -> Result<Vec<u8>, StoreError> {
    to_csv(outcomes, header).map_err(|error| StoreError::Description {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

fn remove_if_present(path: &Path) -> Result<bool, StoreError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::io("remove", path)(error)),
    }
}

/// Makes renames in a folder permanent; not every system can.
fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    if cfg!(unix) {
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(StoreError::io("sync", dir))?;
    }
    Ok(())
}

fn short_hash(id: &str) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&blake3::hash(id.as_bytes()).as_bytes()[..16]);
    short
}

#[cfg(test)]
mod tests;
