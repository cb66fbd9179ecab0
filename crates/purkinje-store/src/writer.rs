//! Writing of a store that can be interrupted at any time and continued.
//!
//! Every shard covers a fixed range of the records of the source, whatever their outcome. Its rows go into
//! `shard-NNNNN.arrow.partial`; at the end of the range, the file is synced and renamed, the outcomes of its records
//! are appended to `outcomes.csv.partial`, and one line is added to `prepare.journal`: from then on the range is final.
//! `store.json` is written last, so a folder with a `store.json` is a complete store. After a crash, everything the
//! journal does not mention is removed and written again; the result is the same, byte for byte.
//!
//! A part of a preparation ([`Part`]) has its own files beside the shards: `part-2-of-5.journal`,
//! `part-2-of-5.outcomes.csv` and, once it is complete, `part-2-of-5.json`; and its pieces of shards that lie in other parts too,
//! `part-2-of-5.shard-00001.arrow`.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use arrow_schema::SchemaRef;
use purkinje_record::LeadSet;
use purkinje_signal::Preprocess;
use serde::{Deserialize, Serialize};

use crate::columns::{Batch, BatchBuilder, Described, NewRow};
use crate::error::StoreError;
use crate::files::{self, Journal};
use crate::outcome::{Outcome, Status, any_withheld, to_csv};
use crate::parts::{Part, PartInfo, part_of_file};
use crate::schema::{
    DESCRIPTION_FILE, LabelSet, MadeBy, OUTCOMES_FILE, OutcomeCounts, SCHEMA_VERSION,
    SIGNAL_HASH_DIGITS, ShardInfo, Split, StoreInfo, schema_of_version,
};
use crate::shard::{ShardWriter, read_shard};

/// Largest number of samples of one record, over all leads: a day of twelve leads at 60 Hz.
pub const MAX_RECORD_VALUES: usize = 1 << 26;

/// Number of samples after which a batch ends early, so that long records do not accumulate in memory.
pub(crate) const BATCH_VALUES: usize = 1 << 24;

pub(crate) const JOURNAL_FILE: &str = "prepare.journal";

/// The properties of a store that are known before its first row.
#[derive(Clone, Debug)]
pub struct StoreSpec {
    /// Name of the source.
    pub name: String,
    /// The preprocessing of the samples.
    pub preprocess: Preprocess,
    /// Leads of every row.
    pub leads: LeadSet,
    /// Sampling rate of every row in hertz.
    pub rate_hz: f64,
    /// Unit of `signal / gain_per_mv`: `mV`, or `1` for scaled samples.
    pub unit: String,
    /// The label sets; every row has one entry for each.
    pub label_sets: Vec<LabelSet>,
    /// Names of further texts.
    pub texts: Vec<String>,
    /// Names of numbers.
    pub values: Vec<String>,
    /// How the store is made.
    pub made_by: MadeBy,
    /// Hash, in hex, of everything that determines the rows; an interrupted store is continued only with the same
    /// fingerprint.
    pub fingerprint: String,
    /// Records of the source per shard; the rows are those that are stored.
    pub rows_per_shard: usize,
    /// Rows per record batch within a shard.
    pub rows_per_batch: usize,
    /// Version of the columns.
    pub schema_version: u32,
    /// The part of the store that is written, if not all of it.
    pub part: Option<Part>,
}

/// The state in which a preparation begins.
pub enum Begin {
    /// The folder already holds this store, or this part of it.
    Complete(Box<StoreInfo>),
    /// Rows are expected from [`StoreWriter::next_item`] on.
    Writing(Box<StoreWriter>),
}

/// Writes the rows of a store in order.
pub struct StoreWriter {
    dir: PathBuf,
    spec: StoreSpec,
    schema: SchemaRef,
    journal: Journal,
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
    /// Its final name.
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
    part: Option<Part>,
}

/// Every other line: the state after a seal.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Sealed {
    /// Missing when no record of the range was stored.
    shard: Option<ShardInfo>,
    items_done: usize,
    outcomes_bytes: u64,
    counts: OutcomeCounts,
    splits: BTreeMap<Split, usize>,
}

impl StoreSpec {
    fn described(&self) -> Described<'_> {
        Described {
            leads: self.leads.len(),
            label_sets: &self.label_sets,
            texts: &self.texts,
            values: &self.values,
        }
    }

    /// Follows what was begun in a folder by an earlier version: its columns, and its division into parts.
    ///
    /// # Errors
    /// When a file in the folder cannot be read.
    pub(crate) fn continue_as_begun(&mut self, dir: &Path) -> Result<(), StoreError> {
        for name in files::names(dir)? {
            let ours = match (part_of_file(&name), self.part) {
                (Some((_, of)), Some(part)) => of == part.of,
                (None, None) => name == JOURNAL_FILE,
                _ => false,
            };
            let begun = match ours {
                true => Begun::read(&dir.join(&name))?,
                false => None,
            };
            let Some(begun) = begun.filter(|begun| {
                begun.fingerprint == self.fingerprint
                    && (2..=SCHEMA_VERSION).contains(&begun.schema_version)
            }) else {
                continue;
            };
            self.schema_version = begun.schema_version;
            if let (Some(part), Some(begun)) = (&mut self.part, begun.part) {
                *part = part.beside(begun, self.rows_per_shard);
            }
            return Ok(());
        }
        Ok(())
    }

    /// First record of the source that is written here.
    fn first_item(&self) -> usize {
        self.part.map_or(0, |part| part.first_item)
    }

    /// The files beside the shards: journal, outcomes, description.
    fn journal_file(&self) -> String {
        match &self.part {
            Some(part) => format!("{}journal", part.prefix()),
            None => JOURNAL_FILE.to_owned(),
        }
    }

    fn outcomes_file(&self) -> String {
        let prefix = self.part.map(|part| part.prefix()).unwrap_or_default();
        format!("{prefix}{OUTCOMES_FILE}")
    }

    fn description_file(&self) -> String {
        match &self.part {
            Some(part) => format!("{}json", part.prefix()),
            None => DESCRIPTION_FILE.to_owned(),
        }
    }
}

impl StoreWriter {
    /// Begins a store in `dir`, or continues the one that was interrupted there.
    ///
    /// # Errors
    /// [`StoreError::OtherStore`] if the folder holds a store of another fingerprint,
    /// [`StoreError::Busy`] if another process writes it, [`StoreError::Io`].
    pub fn begin(dir: &Path, spec: StoreSpec) -> Result<Begin, StoreError> {
        check_spec(&spec)?;
        files::create_dir(dir)?;
        if let Some(info) = finished_store(dir, &spec)? {
            return Ok(Begin::Complete(Box::new(info)));
        }
        check_neighbours(dir, &spec)?;
        let path = dir.join(spec.journal_file());
        let mut journal = Journal::open(&path)?;
        // The other process may have finished while this one waited for the lock.
        if let Some(info) = finished_store(dir, &spec)? {
            return Ok(Begin::Complete(Box::new(info)));
        }
        let head = JournalHead {
            schema_version: spec.schema_version,
            fingerprint: spec.fingerprint.clone(),
            rows_per_shard: spec.rows_per_shard,
            rows_per_batch: spec.rows_per_batch,
            part: spec.part,
        };
        let seals = match read_journal(&mut journal, &path)? {
            Some((found, seals)) if found == head => seals,
            Some(_) => {
                return Err(StoreError::OtherStore {
                    path: dir.to_owned(),
                });
            }
            None => {
                journal.add(&json_line(&head, &path)?)?;
                Vec::new()
            }
        };
        let named = (&*spec.label_sets, &*spec.texts, &*spec.values);
        let schema = schema_of_version(spec.schema_version, named);
        let sealed = seals.last().cloned().unwrap_or_default();
        let shards: Vec<ShardInfo> = seals.iter().filter_map(|s| s.shard.clone()).collect();
        let mut writer = StoreWriter {
            batch: BatchBuilder::new(schema.clone(), &spec.described()),
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

    /// Records processed so far.
    pub fn items_done(&self) -> usize {
        self.sealed.items_done + self.pending.len()
    }

    /// Records whose range is sealed: an interrupted preparation goes on behind them.
    pub fn kept(&self) -> usize {
        self.sealed.items_done
    }

    /// Index within the source of the record that the next [`append`](Self::append) is for.
    pub fn next_item(&self) -> usize {
        self.spec.first_item() + self.items_done()
    }

    /// Number of records so far, by outcome.
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
        if let Some(row) = row {
            *self.splits.entry(row.split).or_default() += 1;
            self.batch.push(&row);
            if self.batch.rows() >= self.spec.rows_per_batch || self.batch.values() >= BATCH_VALUES
            {
                self.write_batch()?;
            }
        }
        if self.next_item().is_multiple_of(self.spec.rows_per_shard) {
            self.seal()?;
        }
        Ok(())
    }

    /// Completes the store, or the part.
    ///
    /// # Errors
    /// [`StoreError::Io`]; what was sealed before stays, and the same preparation can be continued.
    pub fn finish(mut self) -> Result<StoreInfo, StoreError> {
        self.seal()?;
        let outcomes = self.dir.join(self.spec.outcomes_file());
        if self.sealed.outcomes_bytes == 0 {
            // No record at all: the table is its header line.
            let head = csv_bytes(&[], true, &outcomes)?;
            files::append(&files::partial(&outcomes), 0, &head)?;
        }
        files::appear(&outcomes)?;
        self.reach(Step::OutcomesNamed)?;
        if any_withheld(&outcomes)? {
            self.spec.made_by.withhold_source();
        }
        let info = StoreInfo {
            format: "purkinje-store".to_owned(),
            schema_version: self.spec.schema_version,
            name: self.spec.name.clone(),
            preprocess: self.spec.preprocess.clone(),
            leads: self.spec.leads.clone(),
            rate_hz: self.spec.rate_hz,
            unit: self.spec.unit.clone(),
            label_sets: self.spec.label_sets.clone(),
            texts: self.spec.texts.clone(),
            values: self.spec.values.clone(),
            records: self.shards.iter().map(|shard| shard.rows).sum(),
            splits: self.splits.clone(),
            outcomes: self.counts,
            shards: self.shards.clone(),
            made_by: self.spec.made_by.clone(),
            fingerprint: self.spec.fingerprint.clone(),
        };
        let path = self.dir.join(self.spec.description_file());
        let text = match self.spec.part {
            None => info.to_json()?,
            Some(part) => json_line(
                &PartInfo {
                    part,
                    rows_per_batch: self.spec.rows_per_batch,
                    store: info.clone(),
                },
                &path,
            )?,
        };
        files::write_whole(&path, text.as_bytes())?;
        self.finished = true;
        self.reach(Step::Described)?;
        files::remove(&self.dir.join(self.spec.journal_file()))?;
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
                "found {values} samples, expected a multiple of {leads} leads"
            ));
        }
        if values > MAX_RECORD_VALUES {
            return refuse(format!(
                "it has {values} samples over all leads, expected at most {MAX_RECORD_VALUES}; divide it into several recordings"
            ));
        }
        if !(row.gain_per_mv.is_finite() && row.gain_per_mv > 0.0) {
            return refuse(format!(
                "its gain is {} units per mV, expected a positive number",
                row.gain_per_mv
            ));
        }
        let samples = values / leads;
        let inside = |&peak: &i32| usize::try_from(peak).is_ok_and(|peak| peak < samples);
        if !row.r_peaks.iter().all(inside) || !row.r_peaks.is_sorted() {
            return refuse(format!(
                "its R-peaks must be increasing indices below {samples}"
            ));
        }
        if row.labels.len() != self.spec.label_sets.len() {
            return refuse(format!(
                "it has labels for {} label sets, expected {}",
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
        self.check_about(row).or_else(refuse)?;
        if self.ids.contains(&short_hash(&row.id)) {
            return refuse(
                "the store already has a record with this id; give every record a unique id"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Checks the metadata of a row.
    fn check_about(&self, row: &NewRow) -> Result<(), String> {
        for (what, found, expected) in [
            ("texts", row.texts.len(), self.spec.texts.len()),
            ("values", row.values.len(), self.spec.values.len()),
        ] {
            if found != 0 && found != expected {
                return Err(format!("it has {found} {what}, expected {expected}"));
            }
        }
        let leads = self.spec.leads.len();
        let samples = row.signal.len() / leads;
        for mark in &row.annotations {
            let inside = usize::try_from(mark.sample).is_ok_and(|sample| sample < samples);
            let lead = mark.lead.map(usize::try_from);
            if !inside
                || lead.is_some_and(|lead| lead.is_ok_and(|lead| lead >= leads) || lead.is_err())
            {
                return Err(format!(
                    "its annotation `{}` at sample {} of lead {:?} is not within {samples} samples of {leads} leads",
                    mark.symbol, mark.sample, mark.lead
                ));
            }
        }
        match &row.signal_hash {
            Some(hash) if hash.len() != SIGNAL_HASH_DIGITS => Err(format!(
                "its signal hash has {} digits, expected {SIGNAL_HASH_DIGITS}",
                hash.len()
            )),
            _ => Ok(()),
        }
    }

    /// Restores the state of the folder after the last seal.
    fn restore(&mut self) -> Result<(), StoreError> {
        for shard in &self.shards {
            let path = self.dir.join(&shard.file);
            let bytes = files::size(&path)?;
            if bytes != shard.bytes {
                return Err(StoreError::shard(
                    &path,
                    format!("it has {bytes} bytes, expected {}", shard.bytes),
                ));
            }
            for batch in read_shard(&path, &self.schema)? {
                let batch = Batch::new(&batch, &self.spec.described())
                    .map_err(|reason| StoreError::shard(&path, reason))?;
                self.ids.extend(batch.id.iter().flatten().map(short_hash));
            }
        }
        // The next shard may have been named but not yet counted.
        if self.has_range() {
            let next = self.shard_path();
            files::remove(&next)?;
            files::remove(&files::partial(&next))?;
        }
        // The table of outcomes may have got its name before the description was there; what is
        // behind the last seal in it is cut off when the next lines are added.
        let named = self.dir.join(self.spec.outcomes_file());
        let partial = files::partial(&named);
        if named.exists() {
            files::rename(&named, &partial)?;
        }
        if self.sealed.outcomes_bytes > 0 {
            files::append(&partial, self.sealed.outcomes_bytes, &[])?;
        }
        Ok(())
    }

    /// Whether a range may be left: after the last one of a part comes the next part's, which is not ours,
    /// and a range that ended early ended with the source.
    fn has_range(&self) -> bool {
        let next = self.spec.first_item() + self.sealed.items_done;
        match self.spec.part {
            Some(part) => next < part.end_item,
            None => next.is_multiple_of(self.spec.rows_per_shard),
        }
    }

    /// Path of the shard of the next range, or of this part's piece of it.
    fn shard_path(&self) -> PathBuf {
        let rows = self.spec.rows_per_shard;
        let number = (self.spec.first_item() + self.sealed.items_done) / rows;
        let piece = self
            .spec
            .part
            .filter(|part| !part.has_shard(number * rows, rows));
        let prefix = piece.map(|part| part.prefix()).unwrap_or_default();
        self.dir.join(format!("{prefix}{}", shard_file(number)))
    }

    fn write_batch(&mut self) -> Result<(), StoreError> {
        if self.batch.rows() == 0 {
            return Ok(());
        }
        let path = self.shard_path();
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let writer = ShardWriter::create(&files::partial(&path), &self.schema)?;
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

    /// Seals the range: makes everything so far permanent.
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
        let mut naming = None;
        if let Some(open) = self.open.take() {
            let finished = open.writer.finish(&open.path)?;
            let file = open.path.file_name().unwrap_or_default();
            sealed.shard = Some(ShardInfo {
                file: file.to_string_lossy().into_owned(),
                rows: open.rows,
                bytes: finished.bytes,
                blake3: finished.blake3,
            });
            naming = Some(open.path);
            self.reach(Step::ShardWritten)?;
        }
        sealed.outcomes_bytes = self.append_outcomes()?;
        self.reach(Step::OutcomesWritten)?;
        if let Some(path) = naming {
            files::appear(&path)?;
            self.reach(Step::ShardNamed)?;
        }
        let path = self.dir.join(self.spec.journal_file());
        self.journal.add(&json_line(&sealed, &path)?)?;
        self.shards.extend(sealed.shard.clone());
        self.sealed = sealed;
        self.pending.clear();
        self.reach(Step::Journaled)
    }

    fn append_outcomes(&self) -> Result<u64, StoreError> {
        let path = files::partial(&self.dir.join(self.spec.outcomes_file()));
        let before = self.sealed.outcomes_bytes;
        let lines = csv_bytes(&self.pending, before == 0, &path)?;
        files::append(&path, before, &lines)?;
        Ok(before + lines.len() as u64)
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
    /// Removes partial files after an error. After a crash, `begin` does the same.
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        if self.has_range() {
            let _ = files::remove(&files::partial(&self.shard_path()));
        }
        let description = self.dir.join(self.spec.description_file());
        let _ = files::remove(&files::partial(&description));
        if self.sealed.items_done == 0 {
            let outcomes = self.dir.join(self.spec.outcomes_file());
            let _ = files::remove(&files::partial(&outcomes));
            let _ = files::remove(&self.dir.join(self.spec.journal_file()));
            // Fails, as it should, unless the folder is empty.
            let _ = std::fs::remove_dir(&self.dir);
        }
    }
}

/// Records processed by the unfinished preparation in `dir`, if there is one.
pub(crate) fn unfinished(dir: &Path) -> Option<usize> {
    let text = files::read_text(&dir.join(JOURNAL_FILE)).ok()??;
    let last = text
        .lines()
        .skip(1)
        .filter_map(|l| serde_json::from_str::<Sealed>(l).ok());
    Some(last.last().map_or(0, |sealed| sealed.items_done))
}

/// What the journal of a preparation or of a part, or the description of a finished part, says of the preparation.
struct Begun {
    fingerprint: String,
    schema_version: u32,
    part: Option<Part>,
}

impl Begun {
    /// Reads such a file; `None` for others, and for what cannot be read, which is refused where it is continued.
    fn read(path: &Path) -> Result<Option<Begun>, StoreError> {
        let name = path.to_string_lossy();
        let journal = name.ends_with(".journal");
        if !journal && !name.ends_with(".json") {
            return Ok(None);
        }
        let Some(text) = files::read_text(path)? else {
            return Ok(None);
        };
        let head = text.lines().next().unwrap_or_default();
        Ok(match journal {
            true => serde_json::from_str(head)
                .ok()
                .map(|head: JournalHead| Begun {
                    fingerprint: head.fingerprint,
                    schema_version: head.schema_version,
                    part: head.part,
                }),
            false => serde_json::from_str(&text)
                .ok()
                .map(|found: PartInfo| Begun {
                    fingerprint: found.store.fingerprint,
                    schema_version: found.store.schema_version,
                    part: Some(found.part),
                }),
        })
    }
}

/// The columns of a store.
pub(crate) fn described(info: &StoreInfo) -> Described<'_> {
    Described {
        leads: info.leads.len(),
        label_sets: &info.label_sets,
        texts: &info.texts,
        values: &info.values,
    }
}

/// File name of a shard.
pub(crate) fn shard_file(number: usize) -> String {
    format!("shard-{number:05}.arrow")
}

fn check_spec(spec: &StoreSpec) -> Result<(), StoreError> {
    let refuse = |reason: String| Err(StoreError::Settings { reason });
    if spec.leads.is_empty() {
        return refuse("a store needs at least one lead".to_owned());
    }
    if !(spec.rate_hz.is_finite() && spec.rate_hz > 0.0) {
        return refuse(format!(
            "the sampling rate is {} Hz, expected a positive number",
            spec.rate_hz
        ));
    }
    if spec.rows_per_shard == 0 || spec.rows_per_batch == 0 {
        return refuse("a shard and a batch need at least one row".to_owned());
    }
    for (what, listed) in [("text", &spec.texts), ("value", &spec.values)] {
        let mut names = HashSet::new();
        if let Some(name) = listed
            .iter()
            .find(|name| name.is_empty() || !names.insert(*name))
        {
            return refuse(format!(
                "the name `{name}` of a {what} is empty or used twice; give every {what} a unique name"
            ));
        }
    }
    let mut names = HashSet::new();
    for set in &spec.label_sets {
        if set.name.is_empty() || !names.insert(&set.name) {
            return refuse(format!(
                "the name `{}` of a label set is empty or used twice; give every label set a unique name",
                set.name
            ));
        }
        if set.classes.len() > i16::MAX as usize {
            return refuse(format!(
                "label set `{}` has {} classes, expected at most {}",
                set.name,
                set.classes.len(),
                i16::MAX
            ));
        }
    }
    Ok(())
}

/// The description of the finished store, or of the finished part, if the folder holds it.
fn finished_store(dir: &Path, spec: &StoreSpec) -> Result<Option<StoreInfo>, StoreError> {
    let other = || StoreError::OtherStore {
        path: dir.to_owned(),
    };
    let path = dir.join(spec.description_file());
    let found = if dir.join(DESCRIPTION_FILE).exists() {
        crate::store::read_info(dir)?
    } else if spec.part.is_none() {
        return Ok(None);
    } else {
        let Some(text) = files::read_text(&path)? else {
            return Ok(None);
        };
        let found: PartInfo =
            serde_json::from_str(&text).map_err(|error| StoreError::Description {
                path: path.clone(),
                reason: error.to_string(),
            })?;
        if Some(found.part) != spec.part {
            return Err(other());
        }
        found.store
    };
    if found.fingerprint != spec.fingerprint {
        return Err(other());
    }
    // A crash may have come between the description and the removal of the journal.
    files::remove(&dir.join(spec.journal_file()))?;
    Ok(Some(found))
}

/// A folder is written by one process or by the parts of one preparation, not both.
fn check_neighbours(dir: &Path, spec: &StoreSpec) -> Result<(), StoreError> {
    let of = spec.part.map(|part| part.of);
    for name in files::names(dir)? {
        let other = match part_of_file(&name) {
            Some((_, found)) => of != Some(found),
            None => name == JOURNAL_FILE && of.is_some(),
        };
        if other {
            return Err(StoreError::Settings {
                reason: format!(
                    "`{}` belongs to a preparation in the same folder with another number of parts; finish that one, choose another folder, or remove this one first",
                    dir.join(name).display()
                ),
            });
        }
    }
    Ok(())
}

/// The head and the seals; an incomplete last line is cut off. `None`: the journal is new.
fn read_journal(
    journal: &mut Journal,
    path: &Path,
) -> Result<Option<(JournalHead, Vec<Sealed>)>, StoreError> {
    let lines = journal.lines()?;
    let mut valid = 0;
    let mut head = None;
    let mut seals = Vec::new();
    for line in lines {
        if head.is_none() {
            let found = serde_json::from_str::<JournalHead>(&line).map_err(|error| {
                StoreError::Description {
                    path: path.to_owned(),
                    reason: error.to_string(),
                }
            })?;
            head = Some(found);
        } else {
            match serde_json::from_str::<Sealed>(&line) {
                Ok(sealed) => seals.push(sealed),
                Err(_) => break,
            }
        }
        valid += line.len() as u64 + 1;
    }
    journal.shorten(valid)?;
    Ok(head.map(|head| (head, seals)))
}

fn json_line<T: Serialize>(value: &T, path: &Path) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Description {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

fn csv_bytes(outcomes: &[Outcome], header: bool, path: &Path) -> Result<Vec<u8>, StoreError> {
    to_csv(outcomes, header).map_err(|error| StoreError::Description {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

fn short_hash(id: &str) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&blake3::hash(id.as_bytes()).as_bytes()[..16]);
    short
}

#[cfg(test)]
mod tests;
