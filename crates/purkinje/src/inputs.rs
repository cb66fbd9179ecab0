//! Inputs of a model: recordings by path, in memory or in a store, read and preprocessed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use purkinje_models::compat::Compat;
use purkinje_record::wfdb::Header;
use purkinje_record::{
    Lead, LeadChoice, LeadSet, OpenOptions, Reader, RecordError, Recording, without_naming,
};
use purkinje_signal::quality::usable_long;
use purkinje_signal::r_peaks::FoundBeats;
use purkinje_signal::{Prepared, Preparer, Preprocess, Windows};
use purkinje_store::{Row, Split, Store};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::leads::WantedLeads;
use crate::model::Model;
use crate::network::{Seen, SeenRows};
use crate::prepared::{agree, prepare};
use crate::windows::{Plan, Window, WindowOptions};
use crate::{Error, Result};

/// Deepest nesting of WFDB segments that is followed.
const MAX_SEGMENT_DEPTH: usize = 4;

/// One recording, wherever it is.
#[derive(Clone)]
pub enum Input<'a> {
    /// A file.
    File(PathBuf),
    /// A recording in memory.
    Recording(Arc<Recording>),
    /// A row of a store.
    Row(&'a StoreRows<'a>, usize),
}

/// Where the R-peaks of a recording come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BeatSource {
    /// They are detected as the model's preprocessing says.
    #[default]
    Detect,
    /// From the file: its annotations of beats, or those beside a WFDB header ([`beat_files`]).
    File,
}

/// How recordings are read for a model.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// The leads to give to the model; all leads the model expects if absent.
    pub leads: Option<WantedLeads>,
    /// What files of plain arrays do not state: sampling rate, units, leads.
    pub open: OpenOptions,
    /// How much of each recording the model is given.
    pub windows: WindowOptions,
    /// Where R-peaks come from.
    pub beats: BeatSource,
}

impl From<WindowOptions> for ReadOptions {
    fn from(windows: WindowOptions) -> Self {
        ReadOptions {
            windows,
            ..ReadOptions::new()
        }
    }
}

impl ReadOptions {
    /// All of each recording, with the leads of the model.
    pub fn new() -> Self {
        ReadOptions::default()
    }
}

/// A recording that was opened for a model, of which windows can be seen.
pub struct Opened<'a> {
    /// Its name: that of its file, or the start of the hash of its files (`file-3fa9...`) where the path holds what the file states of who
    /// the patient is.
    pub id: String,
    /// Path of its file as given, or the source that its store records; the hash where the name is one.
    pub source: String,
    /// BLAKE3 of its files (see [`hash_of`]) or of the shard it is stored in, in hex; empty for recordings in memory.
    pub blake3: String,
    /// The recording, where it is not a row of a store.
    pub reader: Option<Arc<Reader>>,
    /// The leads the model is given.
    pub(crate) leads: LeadSet,
    /// Signals by names that are no known lead, where the leads that are there were asked for.
    pub(crate) left_aside: Vec<String>,
    /// Leads that the file does not hold and that were computed from two others.
    pub(crate) derived: Vec<Lead>,
    /// What found the R-peaks: `multi_lead`, `xqrs`, or `file`.
    pub(crate) beats_by: &'static str,
    /// Its windows, in samples.
    pub(crate) windows: Vec<Range<usize>>,
    /// Its length in seconds.
    pub(crate) seconds: f64,
    /// Why its quality allows no result, if it does not.
    pub(crate) unusable: Option<String>,
    /// The row of a store that it is.
    pub(crate) row: Option<StoredRow>,
    rate_hz: f64,
    samples: Samples<'a>,
}

/// What a store knows of a recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredRow {
    /// Its patient.
    pub patient: Option<String>,
    /// Its split.
    pub split: Split,
    /// Its labels by label set; a set that it is no part of is absent.
    pub labels: BTreeMap<String, Vec<String>>,
}

impl StoredRow {
    fn of(store: &Store, row: &Row<'_>) -> Self {
        let sets = store.info().label_sets.iter().enumerate();
        let labels = sets.filter_map(|(number, set)| {
            let own = row.labels(number)?.iter();
            let names = own.filter_map(|&class| set.classes.get(usize::try_from(class).ok()?));
            Some((
                set.name.clone(),
                names.map(|class| class.name.clone()).collect(),
            ))
        });
        StoredRow {
            patient: row.patient().map(str::to_owned),
            split: row.split(),
            labels: labels.collect(),
        }
    }
}

/// Where samples come from, with what turns them into an input.
enum Samples<'a> {
    Recording {
        reader: Arc<Reader>,
        preparer: Preparer,
        found: Option<FoundBeats>,
    },
    Row(&'a StoreRows<'a>, usize),
}

impl Opened<'_> {
    /// The start of a window in seconds.
    pub(crate) fn start_s(&self, window: usize) -> f64 {
        self.windows[window].start as f64 / self.rate_hz
    }

    /// What a window is after preprocessing, with its contract, for what changes it before a network sees it.
    ///
    /// # Errors
    /// A message that names the file or record; rows of a store are not kept as they were before the network's own steps.
    pub(crate) fn prepared(&self, window: usize) -> Result<(Prepared, &Preprocess)> {
        let Samples::Recording {
            reader,
            preparer,
            found,
        } = &self.samples
        else {
            return Err(Error::invalid(format!(
                "`{}` came from a store; explain the recording's own file",
                self.id
            )));
        };
        let prepared = prepare(preparer, reader, &self.windows[window], found.as_ref());
        let prepared =
            prepared.map_err(|reason| Error::invalid(format!("`{}`: {reason}", self.source)))?;
        Ok((prepared, preparer.contract()))
    }

    /// A window with what the network is given of it.
    ///
    /// # Errors
    /// A message that names the file or record.
    pub(crate) fn see(&self, model: &Model, window: usize, plan: &Plan) -> Result<Window<Seen>> {
        let place = &self.windows[window];
        let seen = match &self.samples {
            Samples::Row(rows, row) => rows.rows.see(*row, place, plan.crops)?,
            Samples::Recording {
                reader,
                preparer,
                found,
            } => {
                let prepared = prepare(preparer, reader, place, found.as_ref());
                let network = model.network();
                let seen = prepared
                    .and_then(|prepared| network.see(&prepared, preparer.contract(), plan.crops));
                seen.map_err(|reason| Error::invalid(format!("`{}`: {reason}", self.source)))?
            }
        };
        Ok(Window {
            start_s: self.start_s(window),
            seconds: place.len() as f64 / self.rate_hz,
            seconds_used: seen.seconds,
            beats: seen.beats,
            value: seen,
        })
    }
}

/// The rows of a store as inputs of a model.
pub struct StoreRows<'a> {
    store: &'a Store,
    contract: Preprocess,
    rows: Box<dyn SeenRows + 'a>,
}

impl<'a> StoreRows<'a> {
    /// All rows of a store, in its order, after checking that it fits the model.
    ///
    /// # Errors
    /// When leads are missing, or the store was prepared differently than the model expects and `any_preprocessing` is
    /// false.
    pub fn new(
        model: &Model,
        store: &'a Store,
        leads: Option<&WantedLeads>,
        any_preprocessing: bool,
    ) -> Result<Self> {
        let contract = agree(store, model.preprocess(), leads, any_preprocessing)?;
        Self::under(model, store, &contract, Compat::Paper, 0)
    }

    /// All rows of a store under a contract that it was [checked](Model::check_store) to lead to. Where `compat` follows a released
    /// program that takes random crops, they are drawn from the stream of `seed`.
    ///
    /// # Errors
    /// When the contract cannot be reached.
    pub fn under(
        model: &Model,
        store: &'a Store,
        contract: &Preprocess,
        compat: Compat,
        seed: u64,
    ) -> Result<Self> {
        // Over the whole store: random crops of a record depend on its row.
        let all = (0..store.len()).collect();
        let rows = model.network().rows(store, all, contract, compat, seed)?;
        Ok(StoreRows {
            store,
            contract: contract.clone(),
            rows,
        })
    }

    /// The store.
    pub fn store(&self) -> &'a Store {
        self.store
    }

    fn open(&'a self, row: usize, plan: &Plan) -> Result<Opened<'a>> {
        let (len, rate_hz) = self.rows.samples(row)?;
        let record = self.store.row(row)?;
        // Rows of a contract with a window hold one each.
        let one = self.store.info().preprocess.window().is_some() && !plan.stated;
        Ok(Opened {
            id: record.id().to_owned(),
            source: record.source().to_owned(),
            blake3: shard_hash(self.store, row).unwrap_or_default().to_owned(),
            reader: None,
            leads: self.contract.leads.clone(),
            left_aside: Vec::new(),
            derived: Vec::new(),
            beats_by: self.contract.beats.name(),
            windows: places(plan.windows.filter(|_| !one), len, rate_hz),
            seconds: len as f64 / rate_hz,
            unusable: record
                .usable(self.store.info().rate_hz)
                .err()
                .map(|reason| reason.to_string()),
            row: Some(StoredRow::of(self.store, &record)),
            rate_hz,
            samples: Samples::Row(self, row),
        })
    }
}

fn places(windows: Option<Windows>, len: usize, rate_hz: f64) -> Vec<Range<usize>> {
    match windows {
        Some(windows) => windows.places(len, rate_hz),
        None => std::iter::once(0..len).collect(),
    }
}

fn shard_hash(store: &Store, row: usize) -> Option<&str> {
    let mut first = 0;
    store.info().shards.iter().find_map(|shard| {
        first += shard.rows;
        (row < first).then_some(shard.blake3.as_str())
    })
}

impl<'a> Input<'a> {
    /// Opens the recording for a model.
    ///
    /// # Errors
    /// A message that names the file or record.
    pub(crate) fn open(
        self,
        model: &Model,
        options: &ReadOptions,
        plan: &Plan,
    ) -> Result<Opened<'a>> {
        let path = match &self {
            Input::File(path) => Some(path.clone()),
            _ => None,
        };
        let opened = self.open_by_path(model, options, plan);
        let naming = match (&opened, &path) {
            (Ok(opened), _) => opened
                .reader
                .as_ref()
                .map(|r| r.about().source.naming.clone()),
            (Err(_), Some(path)) => Some(purkinje_record::naming(path)),
            (Err(_), None) => None,
        };
        let Some(naming) = naming.filter(|naming| !naming.is_empty()) else {
            return opened;
        };
        let hash = match (&opened, &path) {
            (Ok(opened), _) => opened.blake3.clone(),
            (Err(_), Some(path)) => hash_of(path).unwrap_or_default(),
            (Err(_), None) => String::new(),
        };
        let called = withheld(&hash);
        match opened {
            Ok(opened) => Ok(Opened {
                id: called.clone(),
                source: called,
                ..opened
            }),
            Err(error) => {
                let path = path.map_or(String::new(), |path| path.display().to_string());
                let message = error.to_string().replace(&path, &called);
                Err(Error::invalid(without_naming(&message, &naming)))
            }
        }
    }

    fn open_by_path(self, model: &Model, options: &ReadOptions, plan: &Plan) -> Result<Opened<'a>> {
        let (reader, source, blake3) = match self {
            Input::Row(_, _) if options.beats == BeatSource::File => {
                return Err(Error::invalid(
                    "the rows of a store have R-peaks of their own; leave out `--beats file`, or give the recordings' files",
                ));
            }
            Input::Row(rows, row) => return rows.open(row, plan),
            Input::Recording(recording) => {
                let source = match recording.source.path.display().to_string() {
                    path if path.is_empty() => recording.id.clone(),
                    path => path,
                };
                (Reader::from(recording), source, String::new())
            }
            Input::File(path) => {
                let open = OpenOptions {
                    leads: LeadChoice::Voltages,
                    keep_digital: true,
                    annotators: match options.beats {
                        BeatSource::Detect => options.open.annotators.clone(),
                        BeatSource::File => beat_files(&path),
                    },
                    ..options.open.clone()
                };
                let reader = Reader::open(&path, &open)?;
                let hash = hash_of(&reader.about().source.path)?;
                (reader, path.display().to_string(), hash)
            }
        };
        let fail = |reason| Error::invalid(format!("`{source}`: {reason}"));
        let own = model.preprocess();
        let reader = match &options.leads {
            _ if !options.open.derive => reader,
            Some(WantedLeads::Present) => reader,
            Some(WantedLeads::Named(leads)) => reader.deriving(leads),
            None => reader.deriving(&own.leads),
        };
        let about = reader.about();
        let (id, rate_hz) = (about.id.clone(), about.rate_hz);
        let derived = about.source.derived.clone();
        let leads = WantedLeads::choose(options.leads.as_ref(), &own.leads, &about.leads);
        let leads = leads.map_err(fail)?;
        let unknown = about.leads.leads().iter();
        let unknown = unknown.filter(|lead| lead.standard_index().is_none());
        let left_aside = match options.leads {
            Some(WantedLeads::Present) => unknown.map(|lead| lead.to_string()).collect(),
            _ => Vec::new(),
        };
        let contract = own.clone().with_leads(leads.clone());
        let preparer = Preparer::new(&contract).map_err(|error| fail(error.to_string()))?;
        let (found, beats_by) = match options.beats {
            BeatSource::Detect => (preparer.find_beats_in(&reader)?, contract.beats.name()),
            BeatSource::File => {
                let found = FoundBeats::annotated(about, &leads);
                (
                    Some(found.ok_or_else(|| fail(NO_BEATS.to_owned()))?),
                    "file",
                )
            }
        };
        let unusable = usable_long(&reader, &leads)?.err();
        let reader = Arc::new(reader);
        Ok(Opened {
            unusable: unusable.map(|reason| reason.to_string()),
            row: None,
            id,
            leads,
            left_aside,
            derived,
            beats_by,
            windows: places(plan.windows, reader.len(), rate_hz),
            seconds: reader.duration_s(),
            rate_hz,
            samples: Samples::Recording {
                reader: Arc::clone(&reader),
                preparer,
                found,
            },
            reader: Some(reader),
            source,
            blake3,
        })
    }
}

const NO_BEATS: &str = "it brings no beats: neither annotations of its own nor a file `.atr` or `.qrs` beside a WFDB header was found; use `--beats detect`";

/// Annotation files of beats beside a WFDB header: by cardiologists (`atr`), else by a detector (`qrs`).
pub fn beat_files(record: &Path) -> Vec<String> {
    let is_header = record
        .extension()
        .is_some_and(|extension| extension == "hea");
    let there = |name: &&str| is_header && record.with_extension(name).is_file();
    // One of them: both would mark every beat twice.
    let first = ["atr", "qrs"].into_iter().find(there);
    first.map(str::to_owned).into_iter().collect()
}

/// The recordings at a path: the file itself, or all recordings found below a folder; files that are none are counted in a warning.
///
/// # Errors
/// When a folder cannot be listed or holds no recording.
pub fn list(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let found = purkinje_record::find_records(path)?;
    if let Some(kinds) = found.passed_over_in_words() {
        tracing::warn!(
            "files below `{}` that are no recordings were passed over: {kinds}",
            path.display()
        );
    }
    if found.records.is_empty() {
        return Err(Error::invalid(format!(
            "no recording found below `{}`; expected WFDB headers (.hea) or files in another supported format (see `purkinje inspect --help`)",
            path.display()
        )));
    }
    Ok(found.records)
}

/// What a recording is called whose path is not told.
fn withheld(hash: &str) -> String {
    format!("file-{}", hash.get(..16).unwrap_or("unreadable"))
}

/// What each file is called in results: its path, or the start of its hash (`file-3fa9...`) where the path holds what the file states of who
/// the patient is. Opens the files of formats that name patients.
pub fn told(paths: &[PathBuf]) -> Vec<String> {
    let named = |path: &PathBuf| {
        let may = purkinje_record::may_name_a_patient(path);
        match may && !purkinje_record::naming(path).is_empty() {
            true => withheld(&hash_of(path).unwrap_or_default()),
            false => path.display().to_string(),
        }
    };
    paths.par_iter().map(named).collect()
}

/// BLAKE3 of a recording's files one after the other, in hex: of the file itself, and for WFDB of the header and then of
/// every signal file and segment it names, each once, in the order of their names.
///
/// # Errors
/// When one cannot be read.
pub fn hash_of(path: &Path) -> Result<String, RecordError> {
    let mut hasher = blake3::Hasher::new();
    add_file(&mut hasher, path, 0)?;
    Ok(hasher.finalize().to_hex().to_string())
}

fn add_file(hasher: &mut blake3::Hasher, path: &Path, depth: usize) -> Result<(), RecordError> {
    File::open(path)
        .and_then(|file| hasher.update_reader(file).map(|_| ()))
        .map_err(|source| RecordError::Io {
            path: path.to_owned(),
            source,
        })?;
    let is_header = path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("hea"));
    if !is_header || depth > MAX_SEGMENT_DEPTH {
        return Ok(());
    }
    let header = Header::read(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let files: BTreeSet<&str> = header.signals.iter().map(|s| s.file.as_str()).collect();
    for file in files.into_iter().filter(|&file| file != "~") {
        add_file(hasher, &folder.join(file), depth)?;
    }
    let segments: BTreeSet<&str> = header.segments.iter().map(|s| s.name.as_str()).collect();
    for segment in segments.into_iter().filter(|&name| name != "~") {
        add_file(hasher, &folder.join(format!("{segment}.hea")), depth + 1)?;
    }
    Ok(())
}
