//! Preparation of a store from a source: read, preprocess, find beats, quantise, write.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use purkinje_record::{Lead, LeadSet, Reader, RecordError, Recording};
use purkinje_signal::beats::{Detection, RATE_HZ};
use purkinje_signal::preprocess::{PreparedBeats, Step};
use purkinje_signal::quality::{Measures, measure, measure_long};
use purkinje_signal::r_peaks::{FoundBeats, Xqrs};
use purkinje_signal::windows::{Take, WINDOW_S, Windows};
use purkinje_signal::{Prepared, Preparer, Preprocess, Tokenizer};
use rayon::prelude::*;

use crate::columns::{Mark, NewRow};
use crate::error::StoreError;
use crate::files;
use crate::ids::{Ids, is_withheld};
use crate::outcome::{Outcome, Status, portable, read_outcomes};
use crate::parts::{Part, part_of_file};
use crate::quality_filter::QualityFilter;
use crate::quantise::quantise;
use crate::schema::{
    DESCRIPTION_FILE, MadeBy, OUTCOMES_FILE, OutcomeCounts, SCHEMA_VERSION, Split, StoreInfo,
};
use crate::signal_hash::{signal_hash, signal_hash_long};
use crate::source::{Catalogue, Fault, Importer, Item, mark_repeated_ids};
use crate::split::SplitRule;
use crate::writer::{Begin, JOURNAL_FILE, MAX_RECORD_VALUES, StoreSpec, StoreWriter};

/// Largest number of samples (of all leads) between reading and writing: 64 MiB as stored.
const FLIGHT_VALUES: usize = 1 << 25;

/// Largest number of records between two checks for a stop request.
const MAX_CHUNK: usize = 256;

/// How a store is prepared.
#[derive(Clone, Debug)]
pub struct PrepareOptions {
    /// How records are assigned to splits.
    pub split: SplitRule,
    /// How many records may fail before the preparation fails.
    pub max_failed: FailureLimit,
    /// Limits on signal quality; records beyond them are skipped, with the reason in their outcome.
    pub quality: QualityFilter,
    /// Windows of the recordings that become rows: as long as the contract states, or ten seconds. `None` for one row a recording,
    /// of what the contract takes of it.
    pub windows: Option<Take>,
    /// Worker threads; all cores when absent. The store is the same for any number.
    pub threads: Option<usize>,
    /// Records of the source per shard; the rows are those that can be stored.
    pub rows_per_shard: usize,
    /// Rows per record batch.
    pub rows_per_batch: usize,
    /// Part `(number, of)` of the preparation, from 1; all of it when absent. Several processes or machines
    /// prepare one part each, into one folder or several, and [`crate::merge`] merges them.
    pub shard: Option<(usize, usize)>,
    /// Replace a store in the target folder. Not allowed for a part.
    pub overwrite: bool,
    /// How records are called. Where that is not by their paths, the path of the source is not kept in `store.json` either.
    pub ids: Ids,
    /// A table to write of what each record is called and its path (CSV), for those who may know. Not for a part.
    pub id_map: Option<PathBuf>,
    /// The command line or call, for `store.json`; the same for all parts, so without the part.
    pub command: String,
    /// The source as the user named it, for `store.json`.
    pub source: String,
}

impl Default for PrepareOptions {
    /// Shards of 4096 rows, batches of 256, at most 5 % of the records failing.
    fn default() -> Self {
        PrepareOptions {
            split: SplitRule::default(),
            max_failed: FailureLimit::Fraction(0.05),
            quality: QualityFilter::default(),
            windows: None,
            threads: None,
            rows_per_shard: 4096,
            rows_per_batch: 256,
            shard: None,
            overwrite: false,
            ids: Ids::default(),
            id_map: None,
            command: String::new(),
            source: String::new(),
        }
    }
}

/// How many records may fail. Skipped records and rows without a file do not count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FailureLimit {
    /// This number of records.
    Count(usize),
    /// This fraction of the records that have files.
    Fraction(f64),
}

/// Receives the progress of a preparation. All methods have defaults.
pub trait Progress: Sync {
    /// `done` of `total` records (of the part) were already processed by an interrupted run.
    fn begin(&self, total: usize, done: usize) {
        let _ = (total, done);
    }
    /// A record was processed. Called in the order of the source.
    fn record(&self, outcome: &Outcome) {
        let _ = outcome;
    }
    /// Called regularly: returning true stops the preparation so that it can be continued.
    fn stop(&self) -> bool {
        false
    }
}

/// No progress is shown.
impl Progress for () {}

/// The result of a preparation.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The store.
    pub info: StoreInfo,
    /// Records that an interrupted run had already processed; all of them if the store was already complete.
    pub resumed_at: usize,
    /// Notes to the user about the source.
    pub remarks: Vec<String>,
}

/// Prepares a store in `target`, or continues an interrupted preparation.
///
/// The same source and settings give the same bytes, whatever the number of threads and
/// however often the preparation was interrupted. Memory is bounded for any number of records.
/// A complete store of the same source and settings is left as it is.
///
/// CLEAR-HUG's standardisation of PTB-XL with mean and standard deviation of the training split is not applied: its
/// models standardise every token by itself (docs/differences.md, 9.12), which cancels it.
///
/// # Errors
/// [`StoreError`]; in particular [`StoreError::TooManyFailed`] after everything else has been
/// stored, and [`StoreError::Stopped`] when a stop was requested.
pub fn prepare(
    importer: &dyn Importer,
    preprocess: &Preprocess,
    target: &Path,
    options: &PrepareOptions,
    progress: &dyn Progress,
) -> Result<Summary, StoreError> {
    let mut catalogue = importer.catalogue()?;
    for item in &mut catalogue.items {
        // An item without any label has none in every set.
        item.labels.resize(catalogue.label_sets.len(), None);
    }
    // Here, and not when rows are written, so that the parts of a preparation agree about it.
    mark_repeated_ids(&mut catalogue.items);
    options.split.apply(&mut catalogue.items)?;
    for (index, item) in catalogue.items.iter_mut().enumerate() {
        item.number = index + 1;
    }
    if let Some(take) = options.windows {
        // After the split, so that all windows of a recording are in one part.
        into_windows(importer, &mut catalogue, preprocess, take);
        mark_repeated_ids(&mut catalogue.items);
    }
    let mut spec = spec(&catalogue, preprocess, options)?;
    spec.continue_as_begun(target)?;
    let items = match spec.part {
        Some(part) => part.first_item..part.end_item,
        None => 0..catalogue.items.len(),
    };
    let worker = Worker::new(preprocess)?;
    for remark in &catalogue.remarks {
        tracing::warn!("{remark}");
    }
    if options.id_map.is_some() && spec.part.is_some() {
        return Err(StoreError::Settings {
            reason: "`--id-map` cannot be used with a part; prepare the whole source for it"
                .to_owned(),
        });
    }
    if options.overwrite {
        if spec.part.is_some() {
            return Err(StoreError::Settings {
                reason: "`--overwrite` cannot be used with a part, since other parts may be written to the folder; remove the store first".to_owned(),
            });
        }
        remove_store(target)?;
    }
    let (info, resumed_at) = match StoreWriter::begin(target, spec)? {
        Begin::Complete(info) => (*info, items.len()),
        Begin::Writing(writer) => {
            let resumed_at = writer.items_done();
            progress.begin(items.len(), resumed_at);
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(options.threads.unwrap_or(0))
                .build()
                .map_err(|error| StoreError::Settings {
                    reason: error.to_string(),
                })?;
            let job = Job {
                importer,
                catalogue: &catalogue,
                end: items.end,
                quality: &options.quality,
                ids: &options.ids,
                worker,
                progress,
                held: Mutex::default(),
            };
            (pool.install(|| job.run(*writer))?, resumed_at)
        }
    };
    if options.shard.is_some() && info.outcomes.total() == 0 {
        // There may be more parts than shards.
        return Ok(Summary {
            info,
            resumed_at,
            remarks: catalogue.remarks,
        });
    }
    let withheld = note_withheld(options, &catalogue, target)?;
    if let Some(remark) = withheld {
        tracing::warn!("{remark}");
        catalogue.remarks.push(remark);
    }
    check_counts(&info, options, target)?;
    Ok(Summary {
        info,
        resumed_at,
        remarks: catalogue.remarks,
    })
}

/// Says how many paths name their patients, and writes the table of names and paths where it was asked for.
fn note_withheld(
    options: &PrepareOptions,
    catalogue: &Catalogue,
    target: &Path,
) -> Result<Option<String>, StoreError> {
    if options.shard.is_some() {
        return Ok(None);
    }
    let outcomes = read_outcomes(target)?;
    if let Some(map) = &options.id_map {
        let called = outcomes.iter().map(|outcome| &outcome.id);
        let paths = catalogue.items.iter().map(|item| portable(&item.path));
        let mut table = csv::Writer::from_writer(Vec::new());
        let written = table.write_record(["id", "path"]).and_then(|()| {
            let mut lines = called.zip(paths);
            lines.try_for_each(|(id, path)| table.write_record([id.as_str(), &path]))
        });
        let bytes = written.ok().and_then(|()| table.into_inner().ok());
        let bytes = bytes.ok_or_else(|| StoreError::Settings {
            reason: format!("the table `{}` cannot be made", map.display()),
        })?;
        files::write_whole(map, &bytes)?;
    }
    let withheld = outcomes
        .iter()
        .filter(|outcome| is_withheld(outcome))
        .count();
    Ok((options.ids == Ids::Path && withheld > 0).then(|| {
        format!(
            "the paths of {withheld} records hold the name, number or birth date of the patient that their files state; they are called by numbers, and their paths are not kept (`--id-map FILE` writes a table of both)"
        )
    }))
}

/// What is noted of a record without beats.
pub(crate) const NO_BEATS: &str = "no beats detected";

/// A processed record.
type Done = (Outcome, Option<NewRow>);

struct Job<'a> {
    importer: &'a dyn Importer,
    catalogue: &'a Catalogue,
    /// One past the last record to prepare.
    end: usize,
    quality: &'a QualityFilter,
    ids: &'a Ids,
    worker: Worker,
    progress: &'a dyn Progress,
    /// Recordings whose windows are being prepared.
    held: Mutex<VecDeque<(Place, Arc<Opened>)>>,
}

/// Where a recording is: its file, and its index there.
type Place = (PathBuf, Option<u64>);

/// A recording with the R-peaks that it shows as it came.
struct Opened {
    reader: Reader,
    found: Option<FoundBeats>,
}

impl Job<'_> {
    /// Processes two chunks at a time: while all threads prepare one, the previous one is written.
    fn run(&self, mut writer: StoreWriter) -> Result<StoreInfo, StoreError> {
        let items = &self.catalogue.items[..self.end];
        let mut next = writer.next_item();
        let mut ready: Vec<Done> = Vec::new();
        let mut longest = 1;
        while next < items.len() || !ready.is_empty() {
            if self.progress.stop() {
                return Err(StoreError::Stopped {
                    items_done: writer.items_done(),
                    kept: writer.kept(),
                    items: writer.items_done() + self.end - writer.next_item(),
                });
            }
            // Small at first, until it is known how long the records are.
            let fitting = (FLIGHT_VALUES / 2 / longest).max(1);
            let wanted = fitting.min(if longest == 1 { 16 } else { MAX_CHUNK });
            let end = (next + wanted).min(items.len());
            let (written, prepared) = rayon::join(
                || self.write(&mut writer, std::mem::take(&mut ready)),
                || {
                    items[next..end]
                        .par_iter()
                        .map_init(
                            || self.worker.clone(),
                            |worker, item| self.one(worker, item),
                        )
                        .collect::<Vec<Done>>()
                },
            );
            written?;
            longest = prepared
                .iter()
                .filter_map(|(_, row)| Some(row.as_ref()?.signal.len()))
                .fold(longest, usize::max);
            ready = prepared;
            next = end;
        }
        writer.finish()
    }

    fn write(&self, writer: &mut StoreWriter, done: Vec<Done>) -> Result<(), StoreError> {
        for (outcome, row) in done {
            let outcome = match row.as_ref().map(|row| writer.check(row)) {
                Some(Err(refusal)) => {
                    let path = Path::new(&outcome.path);
                    let failed =
                        Outcome::not_stored(&outcome.id, path, Status::Failed, refusal.to_string());
                    writer.append(failed.clone(), None)?;
                    failed
                }
                _ => {
                    writer.append(outcome.clone(), row)?;
                    outcome
                }
            };
            self.progress.record(&outcome);
        }
        Ok(())
    }

    /// The recording of an item; windows of one recording follow each other and share it.
    fn open(&self, worker: &Worker, item: &Item) -> Result<Arc<Opened>, RecordError> {
        let of = (item.path.clone(), item.entry);
        let held = || self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, opened)) = held().iter().find(|(other, _)| *other == of) {
            return Ok(Arc::clone(opened));
        }
        let leads = &worker.preparer.contract().leads;
        let reader = self.importer.open(self.catalogue, item, leads)?;
        let found = worker.preparer.find_beats_in(&reader)?;
        let opened = Arc::new(Opened { reader, found });
        if item.window.is_some() {
            let mut held = held();
            held.push_back((of, Arc::clone(&opened)));
            if held.len() > rayon::current_num_threads() {
                held.pop_front();
            }
        }
        Ok(opened)
    }

    fn one(&self, worker: &mut Worker, item: &Item) -> Done {
        let opened = match &item.fault {
            Some(Fault::Missing(reason)) => Err((Status::Missing, reason.clone())),
            Some(Fault::Invalid(reason)) => Err((Status::Failed, reason.clone())),
            None => self
                .open(worker, item)
                .map_err(|error| (Status::Failed, error.to_string())),
        };
        let root = &self.catalogue.root;
        // What is withheld whatever the file states need not be looked for.
        let naming = match (&opened, self.ids) {
            (Ok(opened), Ids::Path) => opened.reader.about().source.naming.clone(),
            (Err(_), Ids::Path) if item.fault.is_none() => {
                purkinje_record::naming(&root.join(&item.path))
            }
            _ => Vec::new(),
        };
        let (mut outcome, mut row) = match opened {
            Ok(opened) => self.row(worker, item, &opened),
            Err((status, reason)) => {
                let outcome = Outcome::not_stored(&item.id, &item.path, status, reason);
                (outcome, None)
            }
        };
        self.ids
            .apply(root, item, &naming, &mut outcome, row.as_mut());
        (outcome, row)
    }

    fn row(&self, worker: &mut Worker, item: &Item, opened: &Opened) -> Done {
        let end = |status, reason: String| {
            let outcome = Outcome::not_stored(&item.id, &item.path, status, reason);
            (outcome, None)
        };
        match worker.row(item, opened) {
            Ok(Ready::Row(row, remark)) => {
                let rate_hz = worker.preparer.contract().rate_hz;
                if let Err(below) = self.quality.check_new(&row, leads_of(worker), rate_hz) {
                    return end(Status::Skipped, below.to_string());
                }
                let outcome = Outcome {
                    id: row.id.clone(),
                    path: row.source.clone(),
                    status: Status::Ok,
                    reason: remark,
                    samples: row.signal.len() / leads_of(worker),
                    missing_samples: usize::try_from(row.missing_samples).unwrap_or(0),
                    flat_leads: usize::try_from(row.flat_leads).unwrap_or(0),
                    beats: if row.beats_detected {
                        row.r_peaks.len()
                    } else {
                        0
                    },
                };
                (outcome, Some(*row))
            }
            Ok(Ready::Silent) => end(
                Status::Skipped,
                "the largest sample of all leads is exactly 0: no signal was recorded".to_owned(),
            ),
            Err(reason) => end(Status::Failed, reason),
        }
    }
}

fn leads_of(worker: &Worker) -> usize {
    worker.preparer.contract().leads.len()
}

enum Ready {
    Row(Box<NewRow>, String),
    Silent,
}

/// What one thread needs to turn recordings into rows.
#[derive(Clone)]
struct Worker {
    preparer: Preparer,
    beats: Beats,
}

/// How R-peaks are found.
#[derive(Clone)]
enum Beats {
    /// At 100 Hz with standard leads: as the tokens of CLEAR-HUG need them (docs/differences.md, 3.1).
    Tokens(Box<Tokenizer>),
    /// At any other rate: XQRS, this row first; no beats where it finds none.
    Detector(Box<Xqrs>, usize),
    /// Where they were found before the recording was prepared; none where none was, or at a rate too low for XQRS.
    Prepared,
}

impl Worker {
    fn new(preprocess: &Preprocess) -> Result<Self, StoreError> {
        let preparer = Preparer::new(preprocess).map_err(|error| StoreError::Settings {
            reason: error.to_string(),
        })?;
        let tokenizer = (preprocess.rate_hz == RATE_HZ)
            .then(|| Tokenizer::for_contract(preprocess).ok())
            .flatten();
        let beats = match tokenizer {
            Some(tokenizer) => Beats::Tokens(Box::new(tokenizer)),
            None => {
                let first = preprocess.beats.first_row(&preprocess.leads);
                match first.zip(Xqrs::new(preprocess.rate_hz).ok()) {
                    Some((first, xqrs)) => Beats::Detector(Box::new(xqrs), first),
                    None => Beats::Prepared,
                }
            }
        };
        Ok(Worker { preparer, beats })
    }

    fn row(&mut self, item: &Item, opened: &Opened) -> Result<Ready, String> {
        let Opened { reader, found } = opened;
        let contract = self.preparer.contract();
        let (about, len) = (reader.about(), reader.len());
        let stretch = match (&item.window, contract.steps.first()) {
            (Some(window), _) => window.start.min(len)..window.end.min(len),
            // What a window that comes first leaves out need not be read.
            (None, Some(Step::Window(window))) => 0..window.samples(len, about.rate_hz).0,
            (None, _) => 0..len,
        };
        let part = reader.read(&stretch).map_err(|error| error.to_string())?;
        let source = match (&item.window, reader.whole()) {
            (None, Some(whole)) => Source::of(whole, &contract.leads),
            (None, None) => Source::of_long(reader, &contract.leads).map_err(|e| e.to_string())?,
            (Some(_), _) => Source::of(&part, &contract.leads),
        };
        let found = found.as_ref().map(|found| found.within(&stretch));
        // In double precision from the file's integers where they are known, as in the reference programs.
        let prepared = self
            .preparer
            .apply_window(
                &part.id,
                &part.leads,
                part.rate_hz,
                &part.exact_mv(),
                found.as_ref(),
            )
            .map_err(|error| error.to_string())?;
        let leads = prepared.leads.len();
        if prepared.rows.len() > MAX_RECORD_VALUES {
            return Err(format!(
                "it has {} samples over all leads, expected at most {MAX_RECORD_VALUES}; divide it into several recordings",
                prepared.rows.len()
            ));
        }
        let (r_peaks, beats_detected) = match self.beats.find(&prepared)? {
            Detection::Found { r_peaks, .. } => (r_peaks, true),
            Detection::EvenlySpaced { r_peaks } => (r_peaks, false),
            Detection::Silent => return Ok(Ready::Silent),
        };
        let stored = quantise(&prepared.rows).map_err(|index| {
            let len = prepared.rows.len() / leads;
            format!(
                "lead {}, sample {}: {} cannot be stored as a voltage; expected a finite value below 32767 mV",
                prepared.leads.leads()[index / len],
                index % len,
                prepared.rows[index]
            )
        })?;
        let flat: Vec<&Lead> = prepared
            .leads
            .leads()
            .iter()
            .zip(stored.signal.chunks_exact(stored.signal.len() / leads))
            .filter(|(_, row)| row.iter().all(|sample| *sample == row[0]))
            .map(|(lead, _)| lead)
            .collect();
        let missing: usize = prepared.repairs.iter().map(|repair| repair.samples).sum();
        let remark = remark(&about.source.derived, &flat, missing, beats_detected);
        let row = NewRow {
            id: item.id.clone(),
            annotations: marks(
                about,
                stretch.start,
                self.preparer.contract(),
                stored.signal.len() / leads,
            ),
            patient: item
                .patient
                .clone()
                .or_else(|| about.patient.clone())
                .or_else(|| of_one_recording(item)),
            source: portable(&item.path),
            split: item.split.unwrap_or(Split::None),
            fold: item.fold,
            gain_per_mv: stored.gain_per_mv,
            signal: stored.signal,
            r_peaks: r_peaks.into_iter().map(|peak| peak as i32).collect(),
            beats_detected,
            report: item.report.clone().or_else(|| about.report.clone()),
            age: item.age.or(about.age),
            sex: item.sex.clone().or_else(|| about.sex.clone()),
            entry: item.entry.and_then(|entry| i64::try_from(entry).ok()),
            source_rate_hz: Some(about.rate_hz as f32),
            source_samples: i32::try_from(source.samples).ok(),
            signal_hash: source.hash,
            quality: Some(source.quality),
            texts: item.texts.clone(),
            values: item.values.clone(),
            flat_leads: i16::try_from(flat.len()).unwrap_or(i16::MAX),
            missing_samples: i32::try_from(missing).unwrap_or(i32::MAX),
            labels: item.labels.clone(),
        };
        Ok(Ready::Row(Box::new(row), remark))
    }
}

/// Properties of a recording before preprocessing.
struct Source {
    samples: usize,
    hash: Option<String>,
    quality: Measures,
}

impl Source {
    /// Measures the leads that are stored, in their order.
    fn of(recording: &Recording, leads: &LeadSet) -> Self {
        let chosen;
        let recording = if recording.leads == *leads {
            recording
        } else {
            match recording.select(leads) {
                Ok(some) => {
                    chosen = some;
                    &chosen
                }
                // A lead is missing; preprocessing gives the better message.
                Err(_) => recording,
            }
        };
        Source {
            samples: recording.len(),
            hash: signal_hash(&recording.leads, recording.samples_mv()),
            quality: measure(&recording.leads, recording.rate_hz, recording.samples_mv()),
        }
    }

    /// The same for a recording that is not held in memory, whose leads are those that are stored.
    fn of_long(reader: &Reader, leads: &LeadSet) -> Result<Self, RecordError> {
        Ok(Source {
            samples: reader.len(),
            hash: signal_hash_long(reader)?,
            quality: measure_long(reader, leads)?,
        })
    }
}

/// Divides the items into windows of the recordings: each an item of its own with the split and labels of its recording. The first
/// keeps the id; later ones have their number behind it. Recordings that cannot be opened stay as they are.
fn into_windows(
    importer: &dyn Importer,
    catalogue: &mut Catalogue,
    preprocess: &Preprocess,
    take: Take,
) {
    let length_s = preprocess.window().map_or(WINDOW_S, |window| window.keep_s);
    let windows = Windows {
        length_s,
        stride_s: length_s,
        take,
    };
    let (texts, values) = (catalogue.texts.len(), catalogue.values.len());
    let all: Vec<Vec<Item>> = catalogue
        .items
        .par_iter()
        .map(|item| {
            let mut item = item.clone();
            item.texts.resize(texts, None);
            item.values.resize(values, None);
            item.texts.push(Some(item.id.clone()));
            let opened = match item.fault {
                None => importer.open(catalogue, &item, &preprocess.leads).ok(),
                Some(_) => None,
            };
            let Some(reader) = opened else {
                item.values.extend([None; 2]);
                return vec![item];
            };
            let rate_hz = reader.about().rate_hz;
            let places = windows.places(reader.len(), rate_hz).into_iter();
            let own = places.enumerate().map(|(number, place)| {
                let mut own = item.clone();
                let start_s = place.start as f64 / rate_hz;
                own.values
                    .extend([Some(number as f32), Some(start_s as f32)]);
                own.window = Some(place);
                if number > 0 {
                    own.id = format!("{}#{number}", item.id);
                }
                own
            });
            own.collect()
        })
        .collect();
    catalogue.items = all.into_iter().flatten().collect();
    catalogue.texts.push("recording".to_owned());
    catalogue
        .values
        .extend(["window", WINDOW_START].map(str::to_owned));
}

/// What stands for the patient of windows whose patient is not known: they are of one, so they are drawn together.
fn of_one_recording(item: &Item) -> Option<String> {
    let recording = item.texts.last().filter(|_| item.window.is_some());
    Some(format!("recording {}", recording?.as_deref()?))
}

/// The column that says where in its recording a row begins, in seconds.
pub(crate) const WINDOW_START: &str = "window_start_s";

/// The annotations of the source at the sampling rate and within the window of the store, which begins at sample `first`;
/// `samples` is the length of a stored lead.
fn marks(recording: &Recording, first: usize, contract: &Preprocess, samples: usize) -> Vec<Mark> {
    if recording.annotations.is_empty() {
        return Vec::new();
    }
    let kept_s = contract
        .window()
        .map_or(f64::INFINITY, |window| window.keep_s);
    recording
        .annotations
        .iter()
        .filter_map(|annotation| {
            let sample = annotation.sample.checked_sub_unsigned(first as u64)?;
            let at_s = sample as f64 / recording.rate_hz;
            if sample < 0 || at_s >= kept_s {
                return None;
            }
            let sample = (at_s * contract.rate_hz).round();
            let lead = match &annotation.lead {
                None => None,
                // Annotations of leads that are not stored are dropped.
                Some(lead) => Some(i16::try_from(contract.leads.position(lead)?).ok()?),
            };
            // An annotation at the very end may be rounded beyond it.
            let last = samples.checked_sub(1)? as f64;
            (sample <= last + 1.0).then(|| Mark {
                sample: sample.min(last) as i32,
                lead,
                symbol: annotation.symbol.clone(),
                note: annotation.note.clone().unwrap_or_default(),
            })
        })
        .collect()
}

impl Beats {
    fn find(&mut self, prepared: &Prepared) -> Result<Detection, String> {
        if let Beats::Tokens(tokenizer) = self {
            return tokenizer
                .detect_in(prepared)
                .map_err(|error| error.to_string());
        }
        if prepared
            .rows
            .iter()
            .fold(f64::NEG_INFINITY, |m, x| m.max(*x))
            == 0.0
        {
            return Ok(Detection::Silent);
        }
        let len = prepared.rows.len() / prepared.leads.len();
        if let Beats::Detector(detector, first) = self {
            let others = (0..prepared.leads.len()).filter(|row| row != first);
            for row in std::iter::once(*first).chain(others) {
                let r_peaks = detector.detect(&prepared.rows[row * len..(row + 1) * len]);
                if !r_peaks.is_empty() {
                    let leads = vec![prepared.leads.leads()[row].clone()];
                    return Ok(Detection::Found { r_peaks, leads });
                }
            }
        }
        if let Some(PreparedBeats { r_peaks, leads }) = &prepared.beats
            && !r_peaks.is_empty()
        {
            return Ok(Detection::Found {
                r_peaks: r_peaks.clone(),
                leads: leads.clone(),
            });
        }
        Ok(Detection::EvenlySpaced {
            r_peaks: Vec::new(),
        })
    }
}

fn remark(derived: &[Lead], flat: &[&Lead], missing: usize, beats_detected: bool) -> String {
    let mut parts = Vec::new();
    let mut name = |what: &str, leads: Vec<&str>| {
        if !leads.is_empty() {
            parts.push(format!("{what}: {}", leads.join(", ")));
        }
    };
    name("derived", derived.iter().map(Lead::name).collect());
    name(
        "without variation",
        flat.iter().map(|lead| lead.name()).collect(),
    );
    if missing > 0 {
        parts.push(format!("{missing} missing samples replaced"));
    }
    if !beats_detected {
        parts.push(NO_BEATS.to_owned());
    }
    parts.join("; ")
}

/// What fingerprints begin with: the schema version when the list of records last changed its meaning.
const FINGERPRINT_VERSION: u32 = 2;

fn spec(
    catalogue: &Catalogue,
    preprocess: &Preprocess,
    options: &PrepareOptions,
) -> Result<StoreSpec, StoreError> {
    let what = (
        FINGERPRINT_VERSION,
        &catalogue.name,
        preprocess,
        &catalogue.label_sets,
        (&catalogue.texts, &catalogue.values),
        &catalogue.items,
        options.rows_per_shard,
        options.rows_per_batch,
    );
    let mut hasher = blake3::Hasher::new();
    serde_json::to_writer(&mut hasher, &what).map_err(|error| StoreError::Settings {
        reason: format!("the list of records cannot be hashed: {error}"),
    })?;
    if !options.quality.is_empty() {
        // After the rest, so that stores without a filter keep their fingerprints.
        hasher.update(options.quality.to_string().as_bytes());
    }
    if options.ids != Ids::Path {
        // Within a hash a salt is not told.
        hasher.update(format!("{:?}", options.ids).as_bytes());
    }
    if let Some(reading) = &catalogue.reading {
        hasher.update(reading.as_bytes());
    }
    Ok(StoreSpec {
        name: catalogue.name.clone(),
        preprocess: preprocess.clone(),
        leads: preprocess.leads.clone(),
        rate_hz: preprocess.rate_hz,
        unit: preprocess.unit().to_owned(),
        label_sets: catalogue.label_sets.clone(),
        texts: catalogue.texts.clone(),
        values: catalogue.values.clone(),
        made_by: MadeBy {
            program: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command: options.command.clone(),
            source: options.source.clone(),
            redetected: None,
        },
        fingerprint: hasher.finalize().to_hex().to_string(),
        rows_per_shard: options.rows_per_shard,
        rows_per_batch: options.rows_per_batch,
        schema_version: SCHEMA_VERSION,
        part: options
            .shard
            .map(|(number, of)| Part::new(number, of, catalogue.items.len()))
            .transpose()?,
    })
}

fn check_counts(
    info: &StoreInfo,
    options: &PrepareOptions,
    target: &Path,
) -> Result<(), StoreError> {
    let OutcomeCounts {
        ok,
        failed,
        missing,
        ..
    } = info.outcomes;
    let records = info.outcomes.total() - missing;
    if ok == 0 && options.shard.is_none() {
        let first = read_outcomes(target)?
            .into_iter()
            .find(|outcome| outcome.status != Status::Ok)
            .map_or_else(
                || "the source lists no records".to_owned(),
                |o| format!("{} (`{}`): {}", o.id, o.path, o.reason),
            );
        return Err(StoreError::NothingStored {
            records: info.outcomes.total(),
            first,
        });
    }
    let allowed = match options.max_failed {
        FailureLimit::Count(count) => count,
        FailureLimit::Fraction(fraction) => (fraction * records as f64) as usize,
    };
    if failed > allowed {
        return Err(StoreError::TooManyFailed {
            failed,
            records,
            allowed,
            outcomes: match options.shard {
                Some((number, of)) if !target.join(OUTCOMES_FILE).exists() => {
                    target.join(format!("part-{number}-of-{of}.{OUTCOMES_FILE}"))
                }
                _ => target.join(OUTCOMES_FILE),
            },
        });
    }
    Ok(())
}

/// Removes the files of a store, and nothing else, from a folder.
fn remove_store(target: &Path) -> Result<(), StoreError> {
    for name in files::names(target)? {
        let whole = name.strip_suffix(files::PARTIAL).unwrap_or(&name);
        let shard = whole
            .strip_prefix("shard-")
            .and_then(|rest| rest.strip_suffix(".arrow"))
            .is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
        let ours = [DESCRIPTION_FILE, OUTCOMES_FILE, JOURNAL_FILE].contains(&whole);
        if shard || ours || part_of_file(&name).is_some() {
            files::remove(&target.join(name))?;
        }
    }
    Ok(())
}
