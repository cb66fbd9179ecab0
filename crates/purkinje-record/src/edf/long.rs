//! Long files read stretch by stretch: the header with just the data records that hold the stretch.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::{Data, Header, MAX_SIGNALS, annotations, choose, extent, header, recording};
use crate::open::OpenOptions;
use crate::reader::{Lazy, Stretches};
use crate::wfdb::files;
use crate::{RecordError, Recording};

/// Bytes that are read at once to collect annotations.
const BLOCK_BYTES: usize = 1 << 20;

/// A long file.
#[derive(Debug)]
pub(crate) struct Long {
    path: PathBuf,
    header: Vec<u8>,
    record_bytes: usize,
    records: usize,
    /// What has to be said about their number.
    remark: Option<String>,
    /// Samples of a lead in a data record.
    per_record: usize,
    options: OpenOptions,
}

/// Opens the file, when it has more than `beyond` samples; with what is known about it, and the samples of a lead.
pub(crate) fn open(
    path: &Path,
    options: &OpenOptions,
    beyond: u64,
) -> Result<Option<Lazy>, RecordError> {
    let size = files::size_of(path)?;
    // Samples of 24 bits are fewer.
    if size / 2 <= beyond {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    files::read_start(path, 256 * (MAX_SIGNALS as u64 + 1), &mut bytes)?;
    let header = Header::parse(path, &bytes)?;
    bytes.truncate(header.bytes);
    let (records, remark) = extent(path, &header, size)?;
    let per_record = choose(path, &header, options)?[0].0.samples_per_record;
    let long = Long {
        path: path.to_owned(),
        record_bytes: header.record_bytes,
        records,
        remark,
        per_record,
        options: options.clone(),
        header: bytes,
    };
    let mut head = long.records(0..1)?.stretch(&(0..0));
    head.annotations = long.annotations(&header, head.rate_hz)?;
    header.identifiers.remove_from(&mut head);
    let len = records * per_record;
    Ok(Some(Lazy::new(head, len, long)))
}

impl Stretches for Long {
    fn read(&self, stretch: &Range<usize>) -> Result<Recording, RecordError> {
        let first = stretch.start / self.per_record;
        let end = stretch.end.div_ceil(self.per_record).max(first);
        let before = first * self.per_record;
        let read = self.records(first..end)?;
        Ok(read.stretch(&(stretch.start - before..stretch.end - before)))
    }
}

impl Long {
    /// Some data records, without annotations.
    fn records(&self, records: Range<usize>) -> Result<Recording, RecordError> {
        let header = Header::parse(&self.path, &self.header)?;
        let data = Data {
            bytes: &self.bytes(records.clone())?,
            record_bytes: self.record_bytes,
            records: records.len(),
            width: header.width,
            remark: self.remark.clone(),
        };
        recording(&self.path, header, &data, Vec::new(), &self.options)
    }

    fn bytes(&self, records: Range<usize>) -> Result<Vec<u8>, RecordError> {
        let offset = self.header.len() + records.start * self.record_bytes;
        let bytes = records.len() * self.record_bytes;
        files::read_range(&self.path, offset as u64, bytes as u64)
    }

    /// The annotations of the whole file.
    fn annotations(
        &self,
        header: &Header,
        rate_hz: f64,
    ) -> Result<Vec<crate::Annotation>, RecordError> {
        let own = || header.signals.iter().filter(|s| s.is_annotations());
        if !header.plus || own().next().is_none() {
            return Ok(Vec::new());
        }
        // The parts that hold annotations, as data records of their own.
        let mut kept = Vec::new();
        let block = (BLOCK_BYTES / self.record_bytes).max(1);
        for first in (0..self.records).step_by(block) {
            let bytes = self.bytes(first..(first + block).min(self.records))?;
            for record in bytes.chunks_exact(self.record_bytes) {
                for signal in own() {
                    let end = signal.offset_bytes + signal.bytes;
                    kept.extend_from_slice(
                        record.get(signal.offset_bytes..end).unwrap_or_default(),
                    );
                }
            }
        }
        let mut signals = Vec::new();
        let mut offset_bytes = 0;
        for signal in own() {
            signals.push(header::Signal {
                offset_bytes,
                ..signal.clone()
            });
            offset_bytes += signal.bytes;
        }
        let data = Data {
            bytes: &kept,
            record_bytes: offset_bytes.max(1),
            records: self.records,
            width: header.width,
            remark: None,
        };
        annotations::read(&self.path, header, &signals, &data, rate_hz)
    }
}
