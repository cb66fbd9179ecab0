//! Reading of a store: memory-mapped, with random access and without copies.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rayon::prelude::*;
use serde::Deserialize;

use arrow_array::{Array, Float32Array};

use purkinje_signal::quality::{LimbLeads, Measures, Unusable};

use crate::columns::{Batch, Described, Mark, NewRow};
use crate::error::StoreError;
use crate::files;
use crate::labels::Labels;
use crate::parts::part_of_file;
use crate::quality_filter::{QualityFilter, missing_fraction};
use crate::schema::{DESCRIPTION_FILE, SCHEMA_VERSION, Split, StoreInfo, schema_of};
use crate::shard::{hash_file, read_shard};
use crate::writer::unfinished;

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
        Self::described(dir, read_info(dir)?)
    }

    /// The store in `dir` that this describes.
    pub(crate) fn described(dir: &Path, info: StoreInfo) -> Result<Store, StoreError> {
        let schema = schema_of(&info);
        let about = Described {
            leads: info.leads.len(),
            label_sets: &info.label_sets,
            texts: &info.texts,
            values: &info.values,
        };
        let mut batches = Vec::new();
        let mut starts = Vec::new();
        let mut rows = 0;
        for shard in &info.shards {
            let path = dir.join(&shard.file);
            let bytes = files::size(&path)?;
            if bytes != shard.bytes {
                return Err(StoreError::shard(
                    &path,
                    format!(
                        "it has {bytes} bytes, expected {} by `{DESCRIPTION_FILE}`",
                        shard.bytes
                    ),
                ));
            }
            let before = rows;
            for batch in read_shard(&path, &schema)? {
                let batch = Batch::new(&batch, &about)
                    .map_err(|reason| StoreError::shard(&path, reason))?;
                starts.push(rows);
                rows += batch.rows();
                batches.push(batch);
            }
            if rows - before != shard.rows {
                return Err(StoreError::shard(
                    &path,
                    format!(
                        "it has {} rows, expected {} by `{DESCRIPTION_FILE}`",
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
                    "it states {} records, but its shards hold {rows}",
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

    /// Compares the BLAKE3 of every shard with `store.json`. Reads all data.
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

    /// The contents of `store.json`.
    pub fn info(&self) -> &StoreInfo {
        &self.info
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are no records.
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

    /// The indices of the records of one split, increasing.
    pub fn indices(&self, split: Split) -> Vec<usize> {
        self.rows()
            .enumerate()
            .filter(|(_, row)| row.split() == split)
            .map(|(index, _)| index)
            .collect()
    }

    /// The indices of the records that keep the limits of `filter`, increasing.
    pub fn indices_of_quality(&self, filter: &QualityFilter) -> Vec<usize> {
        self.rows()
            .enumerate()
            .filter(|(_, row)| filter.check_row(row, self.info.rate_hz).is_ok())
            .map(|(index, _)| index)
            .collect()
    }

    /// Position of a label set among [`StoreInfo::label_sets`].
    ///
    /// # Errors
    /// [`StoreError::NoLabelSet`] names the existing ones.
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

    /// Position of a further text among [`StoreInfo::texts`], for [`Row::text`].
    pub fn text(&self, name: &str) -> Option<usize> {
        self.info.texts.iter().position(|own| own == name)
    }

    /// Position of a number among [`StoreInfo::values`], for [`Row::value`].
    pub fn value(&self, name: &str) -> Option<usize> {
        self.info.values.iter().position(|own| own == name)
    }

    /// The labels of all records of `task`, in all splits.
    ///
    /// # Errors
    /// [`StoreError::NoLabelSet`].
    pub fn label_matrix(&self, task: &str) -> Result<Labels, StoreError> {
        self.labels_where(task, |_| true)
    }

    /// The labels of the records of `task` in one split.
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

    /// Split of the record.
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

    /// All samples in millivolts (or in [`StoreInfo::unit`]), `[lead, time]`, row-major. `out` is overwritten; its
    /// memory is reused.
    pub fn signal_mv_into(&self, out: &mut Vec<f32>) {
        let gain = self.gain_per_mv();
        out.clear();
        // A quotient, not a product with 1/gain: 1000 per mV then gives the file's own millivolts.
        out.extend(self.signal().iter().map(|&unit| f32::from(unit) / gain));
    }

    /// The row as it was written, to be written to another store with the columns of `store`.
    pub fn to_new(&self, store: &Store) -> NewRow {
        let info = store.info();
        NewRow {
            id: self.id().to_owned(),
            patient: self.patient().map(str::to_owned),
            source: self.source().to_owned(),
            split: self.split(),
            fold: self.fold(),
            gain_per_mv: self.gain_per_mv(),
            signal: self.signal().to_vec(),
            r_peaks: self.r_peaks().to_vec(),
            beats_detected: self.beats_detected(),
            report: self.report().map(str::to_owned),
            age: self.age(),
            sex: self.sex().map(str::to_owned),
            flat_leads: i16::try_from(self.flat_leads()).unwrap_or(i16::MAX),
            missing_samples: i32::try_from(self.missing_samples()).unwrap_or(i32::MAX),
            entry: self.entry(),
            source_rate_hz: self.source_rate_hz(),
            source_samples: self.source_samples().and_then(|n| i32::try_from(n).ok()),
            signal_hash: self.signal_hash().map(str::to_owned),
            annotations: self.annotations().collect(),
            quality: self.quality(),
            texts: (0..info.texts.len())
                .map(|k| self.text(k).map(str::to_owned))
                .collect(),
            values: (0..info.values.len()).map(|k| self.value(k)).collect(),
            labels: (0..info.label_sets.len())
                .map(|set| self.labels(set).map(<[i16]>::to_vec))
                .collect(),
        }
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

    /// Age in years, as stated by the source (PTB-XL: 300 for above 89).
    pub fn age(&self) -> Option<f32> {
        let column = &self.batch.age;
        column.is_valid(self.row).then(|| column.value(self.row))
    }

    /// `female`, `male`, or as stated by the source.
    pub fn sex(&self) -> Option<&'a str> {
        let column = &self.batch.sex;
        column.is_valid(self.row).then(|| column.value(self.row))
    }

    /// Leads without any variation.
    pub fn flat_leads(&self) -> usize {
        usize::try_from(self.batch.flat_leads.value(self.row)).unwrap_or(0)
    }

    /// Number of leads.
    pub fn leads(&self) -> usize {
        self.leads
    }

    /// Whether the recording can be used, as far as its store knows; `rate_hz` is the sampling rate of the store.
    ///
    /// # Errors
    /// [`Unusable`] with the reason.
    pub fn usable(&self, rate_hz: f64) -> Result<(), Unusable> {
        let measures = self.quality().unwrap_or_default();
        measures.usable(self.leads, missing_fraction(self, rate_hz))
    }

    /// Samples that were missing in the file and were replaced.
    pub fn missing_samples(&self) -> usize {
        usize::try_from(self.batch.missing_samples.value(self.row)).unwrap_or(0)
    }

    /// Index of the record in a file that holds many.
    pub fn entry(&self) -> Option<i64> {
        let column = &self.batch.entry;
        column.is_valid(self.row).then(|| column.value(self.row))
    }

    /// Sampling rate of the source in hertz, when it is known.
    pub fn source_rate_hz(&self) -> Option<f32> {
        self.measure(&self.batch.source_rate_hz)
    }

    /// Samples per lead in the source, when that is known.
    pub fn source_samples(&self) -> Option<usize> {
        let column = &self.batch.source_samples;
        let known = column.is_valid(self.row).then(|| column.value(self.row));
        known.and_then(|samples| usize::try_from(samples).ok())
    }

    /// Hash of the samples, 32 hex digits, equal for the same samples in any file format ([`crate::signal_hash`]).
    pub fn signal_hash(&self) -> Option<&'a str> {
        let column = &self.batch.signal_hash;
        column.is_valid(self.row).then(|| column.value(self.row))
    }

    /// The annotations of the source, in its order, as sample indices of the stored signal.
    pub fn annotations(&self) -> impl ExactSizeIterator<Item = Mark> + 'a {
        let (batch, row) = (self.batch, self.row);
        (0..batch.marks(row)).map(move |index| batch.mark(row, index))
    }

    /// Signal quality, measured on the source's samples; `None` in stores of schema version 1.
    pub fn quality(&self) -> Option<Measures> {
        let (batch, row) = (self.batch, self.row);
        if batch.quality_limb_leads.is_null(row) {
            return None;
        }
        let name = batch.quality_limb_leads.value(row);
        Some(Measures {
            missing_leads: batch.quality_missing_leads.value(row) as u16,
            flat_leads: batch.quality_flat_leads.value(row) as u16,
            clipped_leads: batch.quality_clipped_leads.value(row) as u16,
            limb_leads: LimbLeads::ALL
                .into_iter()
                .find(|limb| limb.name() == name)
                .unwrap_or_default(),
            einthoven_mv: self.measure(&batch.quality_einthoven_mv),
            amplitude_mv: self.measure(&batch.quality_amplitude_mv),
            noise_mv: self.measure(&batch.quality_noise_mv),
            baseline_mv: self.measure(&batch.quality_baseline_mv),
            powerline_mv: self.measure(&batch.quality_powerline_mv),
        })
    }

    /// The further text at position `index` ([`Store::text`]); `None` if there is none.
    pub fn text(&self, index: usize) -> Option<&'a str> {
        let column = self.batch.texts.get(index)?;
        column.is_valid(self.row).then(|| column.value(self.row))
    }

    /// The number at position `index` ([`Store::value`]); `None` if there is none.
    pub fn value(&self, index: usize) -> Option<f32> {
        self.measure(self.batch.values.get(index)?)
    }

    fn measure(&self, column: &Float32Array) -> Option<f32> {
        column.is_valid(self.row).then(|| column.value(self.row))
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
    /// The fields that decide whether the others can be read.
    #[derive(Deserialize)]
    struct Head {
        format: String,
        schema_version: u32,
    }
    let path = dir.join(DESCRIPTION_FILE);
    let Some(text) = files::read_text(&path)? else {
        let path = dir.to_owned();
        return Err(match unfinished(dir) {
            Some(items_done) => StoreError::Unfinished { path, items_done },
            None if files::names(dir)?.iter().any(|n| part_of_file(n).is_some()) => {
                StoreError::InParts { path }
            }
            None => StoreError::NotAStore { path },
        });
    };
    let describe = |reason: String| StoreError::Description {
        path: path.clone(),
        reason,
    };
    let head: Head = serde_json::from_str(&text).map_err(|e| describe(e.to_string()))?;
    if head.format != "purkinje-store" {
        return Err(describe(format!(
            "its format is `{}`, expected `purkinje-store`",
            head.format
        )));
    }
    if !(1..=SCHEMA_VERSION).contains(&head.schema_version) {
        return Err(StoreError::SchemaVersion {
            path: dir.to_owned(),
            found: head.schema_version,
            expected: SCHEMA_VERSION,
        });
    }
    let info: StoreInfo = serde_json::from_str(&text).map_err(|e| describe(e.to_string()))?;
    check_info(&info, dir, &path)?;
    Ok(info)
}

/// Checks what the types do not guarantee: `path` is the file that `info` was read from.
pub(crate) fn check_info(info: &StoreInfo, dir: &Path, path: &Path) -> Result<(), StoreError> {
    let describe = |reason: String| StoreError::Description {
        path: path.to_owned(),
        reason,
    };
    if !(1..=SCHEMA_VERSION).contains(&info.schema_version) {
        return Err(StoreError::SchemaVersion {
            path: dir.to_owned(),
            found: info.schema_version,
            expected: SCHEMA_VERSION,
        });
    }
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
    Ok(())
}
