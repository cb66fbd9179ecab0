//! Inputs of a model: recordings by path, in memory or in a store, read and preprocessed.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use purkinje_models::compat::Compat;
use purkinje_record::wfdb::Header;
use purkinje_record::{LeadChoice, OpenOptions, RecordError, Recording};
use purkinje_signal::Preparer;
use purkinje_store::Store;

use crate::leads::WantedLeads;
use crate::model::Model;
use crate::network::{Seen, SeenRows};
use crate::prepared::{agree, prepare};
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

/// How recordings are read for a model.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// The leads to give to the model; all leads the model expects if absent.
    pub leads: Option<WantedLeads>,
    /// What files of plain arrays do not state: sampling rate, units, leads.
    pub open: OpenOptions,
    /// Number of crops per recording, spread evenly, for systems that crop; a single crop is taken from the beginning.
    pub crops: usize,
}

impl ReadOptions {
    /// One crop of each recording, with the leads of the model.
    pub fn new() -> Self {
        ReadOptions {
            crops: 1,
            ..ReadOptions::default()
        }
    }
}

/// A recording that was read and preprocessed for a model.
pub struct Ready {
    /// Its name.
    pub id: String,
    /// Path of its file as given, or the source that its store records.
    pub source: String,
    /// BLAKE3 of its files (see [`hash_of`]) or of the shard it is stored in, in hex; empty for recordings in memory.
    pub blake3: String,
    /// The recording, where it was not read from a store.
    pub recording: Option<Arc<Recording>>,
    /// The network's input.
    pub seen: Seen,
}

/// The rows of a store as inputs of a model.
pub struct StoreRows<'a> {
    store: &'a Store,
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
        let all = (0..store.len()).collect();
        let rows = model
            .network()
            .rows(store, all, &contract, Compat::Paper, 0)?;
        Ok(StoreRows { store, rows })
    }

    /// The store.
    pub fn store(&self) -> &'a Store {
        self.store
    }

    fn read(&self, row: usize, crops: usize) -> Result<Ready> {
        let seen = self.rows.see(row, crops)?;
        let record = self.store.row(row)?;
        Ok(Ready {
            id: record.id().to_owned(),
            source: record.source().to_owned(),
            blake3: shard_hash(self.store, row).unwrap_or_default().to_owned(),
            recording: None,
            seen,
        })
    }
}

fn shard_hash(store: &Store, row: usize) -> Option<&str> {
    let mut first = 0;
    store.info().shards.iter().find_map(|shard| {
        first += shard.rows;
        (row < first).then_some(shard.blake3.as_str())
    })
}

impl Input<'_> {
    /// Reads the recording and preprocesses it for a model.
    ///
    /// # Errors
    /// A message that names the file or record.
    pub fn read(self, model: &Model, options: &ReadOptions) -> Result<Ready> {
        match self {
            Input::File(path) => of_file(&path, model, options),
            Input::Recording(recording) => {
                let fail = |reason| Error::invalid(format!("`{}`: {reason}", recording.id));
                let seen = see(&recording, model, options).map_err(fail)?;
                Ok(Ready {
                    id: recording.id.clone(),
                    source: recording.source.path.display().to_string(),
                    blake3: String::new(),
                    recording: Some(recording),
                    seen,
                })
            }
            Input::Row(rows, row) => rows.read(row, options.crops),
        }
    }
}

fn of_file(path: &Path, model: &Model, options: &ReadOptions) -> Result<Ready> {
    let open = OpenOptions {
        leads: LeadChoice::Voltages,
        keep_digital: true,
        ..options.open.clone()
    };
    let recording = purkinje_record::open(path, &open)?;
    let fail = |reason| Error::invalid(format!("`{}`: {reason}", path.display()));
    let seen = see(&recording, model, options).map_err(fail)?;
    Ok(Ready {
        id: recording.id.clone(),
        source: path.display().to_string(),
        blake3: hash_of(&recording.source.path)?,
        recording: Some(Arc::new(recording)),
        seen,
    })
}

fn see(recording: &Recording, model: &Model, options: &ReadOptions) -> Result<Seen, String> {
    let own = model.preprocess();
    let leads = WantedLeads::choose(options.leads.as_ref(), &own.leads, &recording.leads)?;
    let contract = own.clone().with_leads(leads);
    let preparer = Preparer::new(&contract).map_err(|error| error.to_string())?;
    let prepared = prepare(&preparer, recording, 0)?;
    model
        .network()
        .see(&prepared, &contract, options.crops.max(1))
}

/// The recordings at a path: the file itself, or all recordings found below a folder.
///
/// # Errors
/// When a folder cannot be listed or holds no recording.
pub fn list(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let found = purkinje_record::find_records(path)?;
    if found.is_empty() {
        return Err(Error::invalid(format!(
            "no recording found below `{}`; expected WFDB headers (.hea) or files in another supported format (see `purkinje inspect --help`)",
            path.display()
        )));
    }
    Ok(found)
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
