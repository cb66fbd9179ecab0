//! The vectors (features) of a frozen encoder for every record of a store, computed once and held in memory or on disk.

use std::path::{Path, PathBuf};

use purkinje_base::unfinished::Listed;
use purkinje_cluster::features as shards;
use purkinje_models::compat::Compat;
use purkinje_signal::Preprocess;
use purkinje_store::Store;
use serde_json::json;

use crate::inputs::{Input, ReadOptions, StoreRows};
use crate::learns::FrozenVectors;
use crate::model::Model;
use crate::network::Seen;
use crate::reporter::{Reporter, go_on};
use crate::stream::{Stream, Whole};
use crate::windows::{Used, WindowOptions, vectors_together};
use crate::{Error, Result};

/// Records read from disk at a time.
const CHUNK: usize = 1024;
/// Default limit on the bytes of vectors held in memory.
pub const MEMORY_LIMIT: u64 = 2 << 30;

/// How vectors are computed and held.
#[derive(Clone, Debug)]
pub struct FeatureOptions {
    /// How much of each record the encoder is given.
    pub windows: WindowOptions,
    /// Limit on the bytes of vectors held in memory; beyond it they are written to disk.
    pub memory_limit: u64,
    /// Folder in which a temporary folder is made for them; the system's temporary folder if absent.
    pub folder: Option<PathBuf>,
}

impl Default for FeatureOptions {
    fn default() -> Self {
        FeatureOptions {
            windows: WindowOptions::default(),
            memory_limit: MEMORY_LIMIT,
            folder: None,
        }
    }
}

/// Vectors `[records, vectors, width]` of all records of a store under one frozen encoder, in the order of the store.
///
/// Results are bit-identical whether they are in memory or on disk. On disk they take `4 * vectors * width` bytes per
/// record; the files are removed when the value is dropped.
#[derive(Debug)]
pub struct Features {
    values: Values,
    records: usize,
    leads: Vec<usize>,
    width: usize,
    used: Used,
}

#[derive(Debug)]
enum Values {
    Memory(Vec<f32>),
    Disk {
        shards: shards::Features,
        /// Removes the folder when it is dropped.
        _folder: Temporary,
    },
}

/// Destination of the vectors while they are computed.
enum Sink {
    Memory(Vec<f32>),
    Disk(shards::Writer, Temporary),
}

/// A folder that is removed when it is dropped, or where the program ends at once.
type Temporary = Box<(tempfile::TempDir, Listed)>;

impl Features {
    /// Runs the encoder of a model over every record of the store, preprocessed as `contract` says. `what` is the name
    /// of this step in progress displays.
    ///
    /// # Errors
    /// When a record cannot be read, the disk is full, or a stop was requested.
    pub fn compute(
        model: &Model,
        store: &Store,
        contract: &Preprocess,
        options: &FeatureOptions,
        what: &str,
        reporter: &dyn Reporter,
    ) -> Result<Features> {
        let rows = StoreRows::under(model, store, contract, Compat::Paper, 0)?;
        let inputs = (0..store.len()).map(|row| Input::Row(&rows, row));
        let progress = reporter.begin(what, store.len(), "records");
        let mut found: Option<(Sink, Vec<usize>)> = None;
        let mut used = Used::default();
        let width = model.width();
        let all = model.vectors_all(inputs, options.windows)?;
        for (row, vectors) in all.enumerate() {
            go_on(reporter)?;
            let (vectors, own) = vectors?;
            used.add(&own);
            let each = vectors.leads.len() * width;
            let (sink, leads) = match &mut found {
                Some(found) => found,
                None => {
                    let bytes = 4 * (each as u64) * (store.len() as u64);
                    let sink = Sink::new(bytes, vectors.leads.len(), width, options, reporter)?;
                    found.insert((sink, vectors.leads.clone()))
                }
            };
            if *leads != vectors.leads || vectors.values.len() != each {
                return Err(Error::invalid(format!(
                    "record {row} of `{}` has vectors for other leads than the first record; a head needs the same leads in all records",
                    store.dir().display()
                )));
            }
            sink.add(row, &vectors.values)?;
            progress.add(1);
        }
        progress.finish();
        if let Some(words) = used.in_words() {
            reporter.note(&format!("{what}: used {words}"));
        }
        let Some((sink, leads)) = found else {
            return Err(Error::invalid(format!(
                "the store `{}` holds no records; prepare it again with `purkinje prepare`",
                store.dir().display()
            )));
        };
        Ok(Features {
            values: sink.finish()?,
            records: store.len(),
            leads,
            width,
            used,
        })
    }

    /// Vectors computed elsewhere, `[records, leads, width]`; `leads` are standard positions (0 for I .. 11 for V6).
    ///
    /// # Errors
    /// When the number of values is not a multiple of `leads * width`.
    pub fn from_values(values: Vec<f32>, leads: Vec<usize>, width: usize) -> Result<Features> {
        let each = leads.len() * width;
        if each == 0 || !values.len().is_multiple_of(each) {
            return Err(Error::invalid(format!(
                "found {} values, expected a multiple of {} vectors of {width} values",
                values.len(),
                leads.len()
            )));
        }
        Ok(Features {
            records: values.len() / each,
            values: Values::Memory(values),
            leads,
            width,
            used: Used::default(),
        })
    }

    /// Number of records.
    pub fn records(&self) -> usize {
        self.records
    }

    /// Standard positions (0 for I .. 11 for V6) of the leads the vectors stand for; a single one where there is one
    /// vector for the recording.
    pub fn leads(&self) -> &[usize] {
        &self.leads
    }

    /// Length of one vector.
    pub fn width(&self) -> usize {
        self.width
    }

    /// How much of all records together was used.
    pub fn used(&self) -> &Used {
        &self.used
    }

    /// Whether they are held on disk.
    pub fn on_disk(&self) -> bool {
        matches!(self.values, Values::Disk { .. })
    }

    /// The vectors of some records `[rows, vectors, width]`.
    ///
    /// # Errors
    /// When an index is out of range, or the files cannot be read.
    pub fn rows(&self, rows: &[usize]) -> Result<Vec<f32>> {
        let each = self.leads.len() * self.width;
        if let Some(row) = rows.iter().find(|row| **row >= self.records) {
            return Err(Error::invalid(format!(
                "record {row} does not exist: there are {} records, counted from 0",
                self.records
            )));
        }
        let mut out = Vec::with_capacity(rows.len() * each);
        match &self.values {
            Values::Memory(values) => {
                for &row in rows {
                    out.extend_from_slice(&values[row * each..(row + 1) * each]);
                }
            }
            Values::Disk { shards, .. } => {
                // Shards hold fewer than 2^32 records: each has bytes on disk.
                let rows: Vec<u32> = rows.iter().map(|&row| row as u32).collect();
                shards.read(&rows, &mut out)?;
            }
        }
        Ok(out)
    }

    /// Calls `each` with the vectors of some records, in their order, `[at most 1024 of the rows, vectors, width]` at a
    /// time, and collects what it returns.
    ///
    /// # Errors
    /// As [`rows`](Features::rows), or those of `each`.
    pub fn chunks(
        &self,
        rows: &[usize],
        mut each: impl FnMut(Vec<f32>, usize) -> Result<Vec<f32>>,
    ) -> Result<Vec<f32>> {
        let mut out = Vec::new();
        for rows in rows.chunks(CHUNK) {
            out.extend(each(self.rows(rows)?, rows.len())?);
        }
        Ok(out)
    }

    /// The mean vector of each of some records `[rows, width]`. The means are held in memory; the vectors are read 1024
    /// records at a time.
    ///
    /// # Errors
    /// As [`rows`](Features::rows).
    pub fn means(&self, rows: &[usize]) -> Result<Vec<f32>> {
        let (width, leads) = (self.width, self.leads.len());
        self.chunks(rows, |vectors, records| {
            let mut out = vec![0.0; records * width];
            let each = vectors.chunks_exact(leads * width);
            for (out, record) in out.chunks_exact_mut(width).zip(each) {
                for vector in record.chunks_exact(width) {
                    for (o, x) in out.iter_mut().zip(vector) {
                        *o += x / leads as f32;
                    }
                }
            }
            Ok(out)
        })
    }
}

impl Sink {
    fn new(
        bytes: u64,
        vectors: usize,
        width: usize,
        options: &FeatureOptions,
        reporter: &dyn Reporter,
    ) -> Result<Sink> {
        if bytes <= options.memory_limit {
            return Ok(Sink::Memory(Vec::new()));
        }
        let folder = temporary(options.folder.as_deref())?;
        reporter.note(&format!(
            "the vectors need {:.1} GB, more than the memory limit of {:.1} GB: they are kept in `{}` during this run",
            bytes as f64 / 1e9,
            options.memory_limit as f64 / 1e9,
            folder.0.path().display()
        ));
        let writer =
            shards::Writer::open(folder.0.path(), width, vectors, json!("frozen vectors"))?;
        Ok(Sink::Disk(writer, folder))
    }

    fn add(&mut self, row: usize, values: &[f32]) -> Result<()> {
        match self {
            Sink::Memory(all) => all.extend_from_slice(values),
            Sink::Disk(writer, _) => writer.add(&row.to_string(), values)?,
        }
        Ok(())
    }

    fn finish(self) -> Result<Values> {
        Ok(match self {
            Sink::Memory(values) => Values::Memory(values),
            Sink::Disk(writer, folder) => Values::Disk {
                shards: writer.finish()?,
                _folder: folder,
            },
        })
    }
}

impl Model {
    /// The input vectors of heads for any number of recordings, aggregated over their windows.
    pub(crate) fn vectors_all<'a>(
        &self,
        inputs: impl Iterator<Item = Input<'a>>,
        read: impl Into<ReadOptions>,
    ) -> Result<impl Iterator<Item = Result<(FrozenVectors, Used)>>> {
        let read = read.into();
        let plan = read.windows.plan(self, Compat::Paper)?;
        let work = |seen: &[&Seen]| {
            let FrozenVectors { values, leads } = self.network().vectors(seen, self.device())?;
            let each = values.chunks_exact(leads.len() * self.width());
            let each = each.map(|values| FrozenVectors {
                values: values.to_vec(),
                leads: leads.clone(),
            });
            Ok(each.collect())
        };
        let finish = move |whole: Whole<'a, FrozenVectors>| {
            let parts: Vec<&[f32]> = whole
                .windows
                .iter()
                .map(|window| &*window.value.values)
                .collect();
            let values = vectors_together(&parts, plan.aggregation)?;
            let leads = whole.windows[0].value.leads.clone();
            Ok((FrozenVectors { values, leads }, whole.used))
        };
        Ok(Stream::new(self, read, plan, inputs, work, finish))
    }
}

fn temporary(parent: Option<&Path>) -> Result<Temporary> {
    let system = std::env::temp_dir();
    let parent = parent.unwrap_or(&system);
    std::fs::create_dir_all(parent)
        .and_then(|()| {
            tempfile::Builder::new()
                .prefix(".features-")
                .tempdir_in(parent)
        })
        .map(|folder| {
            let listed = Listed::new(folder.path());
            Box::new((folder, listed))
        })
        .map_err(|error| Error::file("make a temporary folder in", parent, error))
}
