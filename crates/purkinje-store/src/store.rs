//! Reading a store: memory-mapped, any row at any time, nothing copied.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rayon::prelude::*;
use serde::Deserialize;

use arrow_array::Array;

use crate::columns::Batch;
use crate::error::StoreError;
use crate::labels::Labels;
use crate::schema::{DESCRIPTION_FILE, SCHEMA_VERSION, Split, StoreInfo, arrow_schema};
use crate::shard::{hash_file, read_shard};
use crate::writer::{class_counts, unfinished};

/// A store opened for reading. Cheap to share between threads.
pub struct Store {
    dir: PathBuf,
    info: StoreInfo,
    batches: Vec<Batch>,
    /// First row of every batch.
    starts: Vec<usize>,
    rows: usize,
    by_id: OnceLock<HashMap<String, usize>>,
}

/// One record of a store, borrowed from the mapped file.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    batch: &'a Batch,
    row: usize,
    leads: usize,
}

impl Store {
    /// Opens the store in `dir`: reads `store.json`, maps every shard and checks that its size and
    /// its columns are those described. Samples are not read; see [`verify`](Self::verify).
    ///
    /// # Errors
    /// [`StoreError::NotAStore`], [`StoreError::Unfinished`], [`StoreError::Description`],
    /// [`StoreError::SchemaVersion`], [`StoreError::Shard`], [`StoreError::Io`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Store, StoreError> {
        let dir = dir.as_ref();
        let info = read_info(dir)?;
        let schema = arrow_schema(&info.label_sets);
        let classes = class_counts(&info.label_sets);
        let mut batches = Vec::new();
        let mut starts = Vec::new();
        let mut rows = 0;
        for shard in &info.shards {
            let path = dir.join(&shard.file);
            let bytes = fs::metadata(&path)
                .map_err(StoreError::io("find the shard", &path))?
                .len();
            if bytes != shard.bytes {
                return Err(StoreError::shard(
                    &path,
                    format!(
                        "it has {bytes} bytes, `{DESCRIPTION_FILE}` says {}",
                        shard.bytes
                    ),
                ));
            }
            let before = rows;
            for batch in read_shard(&path, &schema)? {
                let batch = Batch::new(&batch, info.leads.len(), &classes)
                    .map_err(|reason| StoreError::shard(&path, reason))?;
                starts.push(rows);
                rows += batch.rows();
                batches.push(batch);
            }
            if rows - before != shard.rows {
                return Err(StoreError::shard(
                    &path,
                    format!(
                        "it has {} rows, `{DESCRIPTION_FILE}` says {}",
                        rows - before,
                        shard.rows
                    ),
                ));
            }
        }
        if rows != info.records {
            return Err(StoreError::Description {
                path: dir.join(DESCRIPTION_FILE),
                reason: format!(
                    "it says {} records, but its shards hold {rows}",
                    info.records
                ),
            });
        }
        Ok(Store {
            dir: dir.to_owned(),
            info,
            batches,
            starts,
            rows,
            by_id: OnceLock::new(),
        })
    }

    /// Compares the BLAKE3 of every shard with `store.json`. Reads everything.
    ///
    /// # Errors
    /// [`StoreError::Checksum`] with the first shard that has changed; [`StoreError::Io`].
    pub fn verify(&self) -> Result<(), StoreError> {
        let found: Vec<_> = self
            .info
            .shards
            .par_iter()
            .map(|shard| hash_file(&self.dir.join(&shard.file)))
            .collect();
        for (shard, found) in self.info.shards.iter().zip(found) {
            let found = found?;
            if found != shard.blake3 {
                return Err(StoreError::Checksum {
                    path: self.dir.join(&shard.file),
                    found,
                    expected: shard.blake3.clone(),
                });
            }
        }
        Ok(())
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What `store.json` says.
    pub fn info(&self) -> &StoreInfo {
        &self.info
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The record at `index`.
    ///
    /// # Errors
    /// [`StoreError::NoRow`].
    pub fn row(&self, index: usize) -> Result<Row<'_>, StoreError> {
        if index >= self.rows {
            return Err(StoreError::NoRow {
                index,
                rows: self.rows,
            });
        }
        // `starts` begins with 0, so the partition point is at least 1.
        let batch = self.starts.partition_point(|&start| start <= index) - 1;
        Ok(Row {
            batch: &self.batches[batch],
            row: index - self.starts[batch],
            leads: self.info.leads.len(),
        })
    }

    /// All records in order.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.batches.iter().flat_map(|batch| {
            (0..batch.rows()).map(|row| Row {
                batch,
                row,
                leads: self.info.leads.len(),
            })
        })
    }

    /// The index of the record called `id`. The first call reads all ids.
    pub fn position(&self, id: &str) -> Option<usize> {
        self.by_id
            .get_or_init(|| {
                self.rows()
                    .enumerate()
                    .map(|(index, row)| (row.id().to_owned(), index))
                    .collect()
            })
            .get(id)
            .copied()
    }

    /// The records of one part, increasing.
    pub fn indices(&self, split: Split) -> Vec<usize> {
        self.rows()
            .enumerate()
            .filter(|(_, row)| row.split() == split)
            .map(|(index, _)| index)
            .collect()
    }

    /// Position of a label set among [`StoreInfo::label_sets`].
    ///
    /// # Errors
    /// [`StoreError::NoLabelSet`] names those there are.
    pub fn label_set(&self, task: &str) -> Result<usize, StoreError> {
        self.info
            .label_sets
            .iter()
            .position(|set| set.name == task)
            .ok_or_else(|| StoreError::NoLabelSet {
                found: task.to_owned(),
                known: self
                    .info
                    .label_sets
                    .iter()
                    .map(|s| s.name.clone())
                    .collect(),
            })
    }

    /// The labels of all records that carry `task`, whatever their part.
    ///
    /// # Errors
    /// [`StoreError::NoLabelSet`].
    pub fn label_matrix(&self, task: &str) -> Result<Labels, StoreError> {
        self.labels_where(task, |_| true)
    }

    /// The labels of the records of one part that carry `task`.
    ///
    /// # Errors
    /// [`StoreError::NoLabelSet`].
    pub fn label_matrix_of(&self, task: &str, split: Split) -> Result<Labels, StoreError> {
        self.labels_where(task, |row| row.split() == split)
    }

    fn labels_where(
        &self,
        task: &str,
        chosen: impl Fn(&Row<'_>) -> bool,
    ) -> Result<Labels, StoreError> {
        let set = self.label_set(task)?;
        let mut labels = Labels::new(self.info.label_sets[set].class_names());
        for (index, row) in self.rows().enumerate() {
            if let Some(classes) = row.labels(set).filter(|_| chosen(&row)) {
                labels.push(index, classes);
            }
        }
        Ok(labels)
    }
}

impl<'a> Row<'a> {
    /// Name of the record, unique in the store.
    pub fn id(&self) -> &'a str {
        self.batch.id.value(self.row)
    }

    /// Patient, when known.
    pub fn patient(&self) -> Option<&'a str> {
        let column = &self.batch.patient;
        column.is_valid(self.row).then(|| column.value(self.row))
    }

    /// File, relative to the root of the source.
    pub fn source(&self) -> &'a str {
        self.batch.source.value(self.row)
    }

    /// Part of the data set.
    pub fn split(&self) -> Split {
        self.batch.split[self.row]
    }

    /// Fold of a published cross-validation.
    pub fn fold(&self) -> Option<i16> {
        let column = &self.batch.fold;
        column.is_valid(self.row).then(|| column.value(self.row))
    }

    /// Units of [`signal`](Self::signal) per millivolt (or per unit of [`StoreInfo::unit`]).
    pub fn gain_per_mv(&self) -> f32 {
        self.batch.gain_per_mv.value(self.row)
    }

    /// Samples per lead.
    pub fn samples(&self) -> usize {
        self.signal().len() / self.leads
    }

    /// All samples as stored, `[lead, time]`, row-major.
    pub fn signal(&self) -> &'a [i16] {
        self.batch.signal.row(self.row)
    }

    /// All samples in millivolts (or in [`StoreInfo::unit`]), `[lead, time]`, row-major. `out` is
    /// overwritten; its memory is used again.
    pub fn signal_mv_into(&self, out: &mut Vec<f32>) {
        let gain = self.gain_per_mv();
        out.clear();
        // A quotient, not a product with 1/gain: 1000 per mV then gives the file's own millivolts.
        out.extend(self.signal().iter().map(|&unit| f32::from(unit) / gain));
    }

    /// R-peaks as samples, increasing.
    pub fn r_peaks(&self) -> &'a [i32] {
        self.batch.r_peaks.row(self.row)
    }

    /// False: no beat was found and [`r_peaks`](Self::r_peaks) is an even grid.
    pub fn beats_detected(&self) -> bool {
        self.batch.beats_detected.value(self.row)
    }

    /// Report text.
    pub fn report(&self) -> Option<&'a str> {
        let column = &self.batch.report;
        column.is_valid(self.row).then(|| column.value(self.row))
    }

    /// Age in years, as the source writes it (PTB-XL: 300 for above 89).
    pub fn age(&self) -> Option<f32> {
        let column = &self.batch.age;
        column.is_valid(self.row).then(|| column.value(self.row))
    }

    /// `female`, `male`, or as the source writes it.
    pub fn sex(&self) -> Option<&'a str> {
        let column = &self.batch.sex;
        column.is_valid(self.row).then(|| column.value(self.row))
    }

    /// Leads without any variation.
    pub fn flat_leads(&self) -> usize {
        usize::try_from(self.batch.flat_leads.value(self.row)).unwrap_or(0)
    }

    /// Samples without a value in the file, replaced.
    pub fn missing_samples(&self) -> usize {
        usize::try_from(self.batch.missing_samples.value(self.row)).unwrap_or(0)
    }

    /// Class indices within the label set at position `set` ([`Store::label_set`]); `None` if the record
    /// is not part of that task or there is no such set.
    pub fn labels(&self, set: usize) -> Option<&'a [i16]> {
        let column = self.batch.labels.get(set)?;
        (!column.is_null(self.row)).then(|| column.row(self.row))
    }
}

/// Reads and checks `store.json`.
pub(crate) fn read_info(dir: &Path) -> Result<StoreInfo, StoreError> {
    /// The fields that say whether the others can be understood.
    #[derive(Deserialize)]
    struct Head {
        format: String,
        schema_version: u32,
    }
    let path = dir.join(DESCRIPTION_FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(match unfinished(dir) {
                Some(items_done) => StoreError::Unfinished {
                    path: dir.to_owned(),
                    items_done,
                },
                None => StoreError::NotAStore {
                    path: dir.to_owned(),
                },
            });
        }
        Err(error) => return Err(StoreError::io("read", &path)(error)),
    };
    let describe = |reason: String| StoreError::Description {
        path: path.clone(),
        reason,
    };
    let head: Head = serde_json::from_str(&text).map_err(|e| describe(e.to_string()))?;
    if head.format != "purkinje-store" {
        return Err(describe(format!(
            "its format is `{}` instead of `purkinje-store`",
            head.format
        )));
    }
    if head.schema_version != SCHEMA_VERSION {
        return Err(StoreError::SchemaVersion {
            path: dir.to_owned(),
            found: head.schema_version,
            expected: SCHEMA_VERSION,
        });
    }
    let info: StoreInfo = serde_json::from_str(&text).map_err(|e| describe(e.to_string()))?;
    if info.leads.is_empty() {
        return Err(describe("it names no leads".to_owned()));
    }
    let plain = |file: &str| Path::new(file).file_name() == Some(file.as_ref());
    if let Some(shard) = info.shards.iter().find(|shard| !plain(&shard.file)) {
        return Err(describe(format!(
            "shard `{}` is not the name of a file in this folder",
            shard.file
        )));
    }
    Ok(info)
}
