//! Recordings as Parquet tables (<https://parquet.apache.org/docs/file-format/>): one row a sample; a column a lead, and perhaps
//! one of time.
//!
//! Columns are titled as those of a `.csv` table: `I`, `aVR`, `V1 (uV)`, `time (ms)`; points in time (`timestamp[ms]`) are times as
//! well. Texts, dates, lists and structures are passed over. Null and NaN are missing samples. What the titles do not say may
//! stand in the metadata of the file: `rate_hz` (or `fs`, `sampling_rate`, `sample_rate`) and `unit`.
//!
//! The reader is our own: it needs columns of plain numbers only, and must not ask for more memory than the file justifies.
//! Pages may be plain or packed with Snappy, Zstandard, gzip, Brotli or LZ4.

mod codec;
mod footer;
mod page;
mod thrift;
mod values;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use self::footer::{Column, Footer, Kind, NOTES};
use self::thrift::Fault;
use crate::error::content;
use crate::open::{OpenOptions, id_of, valid_rate};
use crate::table::{self, Clock, Columns};
use crate::wfdb::files;
use crate::{Lead, LeadSet, RecordError, Recording, Source};

/// Bytes of the largest table that is read.
pub const MAX_PARQUET_BYTES: u64 = 1 << 32;
/// Bytes of the largest footer that is read.
pub const MAX_FOOTER_BYTES: usize = 16 << 20;
/// Bytes of the samples (four each, eight a time) of a small file once unpacked; twice the size of the file is added.
pub const MAX_FREE_BYTES: usize = 24 << 20;

const MARK: &[u8; 4] = b"PAR1";

pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Recording, RecordError> {
    let file = files::read_small(path, MAX_PARQUET_BYTES, "size in bytes")?;
    let footer = footer_of(&file)
        .and_then(footer::read)
        .map_err(|fault| broken(path, "the footer", &fault))?;
    let (columns, chosen) = choose(path, &footer, options)?;
    let rows = rows(path, &footer, columns.leads.len(), &columns, file.len())?;
    let mut table = Table {
        path,
        file: &file,
        footer: &footer,
        verify: options.verify,
    };

    let mut samples_mv = vec![0f32; rows * columns.leads.len()];
    for (lead, out) in columns.leads.iter().zip(samples_mv.chunks_exact_mut(rows)) {
        let column = chosen[lead.index];
        let mut out = out.iter_mut();
        let mut infinite = None;
        let mut row = 0usize;
        table.read(column, &mut |value| {
            row += 1;
            if value.is_infinite() {
                infinite = infinite.or(Some(row));
            }
            if let Some(out) = out.next() {
                *out = lead.unit.to_mv(value) as f32;
            }
        })?;
        if let Some(row) = infinite {
            return Err(content(
                path,
                &format!("row {row}, column `{}`", column.name),
                "infinite",
                "a number, or null where the sample is missing",
            ));
        }
    }

    let rate_hz = match (options.rate_hz, columns.time) {
        (None, Some((index, unit_s))) => {
            let column = chosen[index];
            let decimals = match column.kind {
                Some(Kind::F16 | Kind::F32 | Kind::F64) => Clock::BINARY,
                _ => 0,
            };
            let mut clock = Clock::default();
            let mut missing = false;
            table.read(column, &mut |time| {
                missing |= !time.is_finite();
                clock.add(time, decimals);
            })?;
            if missing {
                return Err(content(
                    path,
                    &format!("the time column `{}`", column.name),
                    "not a number in some rows",
                    "a time in each",
                ));
            }
            clock.rate_hz(path, &column.name, column.tick_s.unwrap_or(unit_s))?
        }
        (given, _) => valid_rate(
            path,
            given.or_else(|| noted_rate(&footer)),
            "a column such as `time (s)`, metadata such as `rate_hz`, or a sampling rate from the caller",
        )?,
    };
    let leads = LeadSet::new(columns.leads.into_iter().map(|c| c.lead).collect());
    let recording = Recording::new(id_of(path), leads, rate_hz, samples_mv);
    let mut recording = recording.map_err(|source| RecordError::Shape {
        path: path.to_owned(),
        source,
    })?;
    recording.patient.clone_from(&options.patient);
    recording.source = Source {
        path: path.to_owned(),
        format: "parquet",
        comments: Vec::new(),
    };
    Ok(recording)
}

/// Whether a table has a column of numbers with the name of a standard lead.
pub(crate) fn is_recording(path: &Path) -> bool {
    let tail = || {
        let mut file = File::open(path).ok()?;
        let bytes = file.metadata().ok()?.len();
        let mut end = [0; 8];
        file.seek(SeekFrom::Start(bytes.checked_sub(8)?)).ok()?;
        file.read_exact(&mut end).ok()?;
        let size = footer_size(&end).ok()?;
        let start = bytes.checked_sub(8)?.checked_sub(size as u64)?;
        file.seek(SeekFrom::Start(start)).ok()?;
        let mut tail = vec![0; size];
        file.read_exact(&mut tail).ok()?;
        footer::read(&tail).ok()
    };
    tail().is_some_and(|footer| {
        let mut columns = footer.columns.iter();
        columns.any(|column| column.kind.is_some() && table::is_lead(&column.name))
    })
}

/// The columns that become leads and time; their indices are those of the columns of numbers, which are returned as well.
fn choose<'a>(
    path: &Path,
    footer: &'a Footer,
    options: &OpenOptions,
) -> Result<(Columns, Vec<&'a Column>), RecordError> {
    let noted = match footer.note("unit") {
        Some(unit) if options.unit.is_none() => {
            Some(unit.parse().map_err(|_| RecordError::Unit {
                path: path.to_owned(),
                signal: "all".into(),
                unit: unit.chars().take(80).collect(),
            })?)
        }
        _ => None,
    };
    let unit = options.unit.or(noted).unwrap_or_default();
    for column in footer.columns.iter().filter(|column| column.kind.is_none()) {
        if Lead::parse(&column.name).standard_index().is_some() {
            return Err(content(
                path,
                &format!("the column `{}`", column.name),
                &format!("one of {}", column.holds),
                "a number a row, one row a sample",
            ));
        }
    }
    let numbers: Vec<&Column> = footer.columns.iter().filter(|c| c.kind.is_some()).collect();
    let titles: Vec<String> = numbers.iter().map(|c| c.name.clone()).collect();
    Ok((Columns::find(path, &titles, unit, options)?, numbers))
}

/// The number of rows, provided that memory is in proportion to the file.
fn rows(
    path: &Path,
    footer: &Footer,
    leads: usize,
    columns: &Columns,
    file_bytes: usize,
) -> Result<usize, RecordError> {
    let rows = footer
        .groups
        .iter()
        .try_fold(0usize, |rows, group| rows.checked_add(group.rows))
        .unwrap_or(usize::MAX);
    if rows == 0 {
        return Err(RecordError::NoSamples {
            path: path.to_owned(),
            why: "it has no row".into(),
        });
    }
    let row_bytes = 4 * leads + if columns.time.is_some() { 8 } else { 0 };
    let bytes = rows.saturating_mul(row_bytes);
    let limit = file_bytes.saturating_mul(2).saturating_add(MAX_FREE_BYTES);
    if bytes > limit {
        return Err(RecordError::TooLarge {
            path: path.to_owned(),
            what: "size of the samples in bytes",
            found: bytes as u64,
            limit: limit as u64,
        });
    }
    Ok(rows)
}

struct Table<'a> {
    path: &'a Path,
    file: &'a [u8],
    footer: &'a Footer,
    verify: bool,
}

impl Table<'_> {
    /// Calls `out` for each row of a column.
    fn read(&mut self, column: &Column, out: &mut dyn FnMut(f64)) -> Result<(), RecordError> {
        let fault =
            |fault: Fault| broken(self.path, &format!("the column `{}`", column.name), &fault);
        let kind = column.kind.ok_or_else(|| fault("no numbers".into()))?;
        for group in self.footer.groups.iter().filter(|group| group.rows > 0) {
            let chunk = group.chunks.get(column.leaf);
            let chunk = chunk.ok_or_else(|| fault("absent from a group of rows".into()))?;
            page::read(self.file, column, kind, chunk, group.rows, self.verify, out)
                .map_err(fault)?;
        }
        Ok(())
    }
}

fn noted_rate(footer: &Footer) -> Option<f64> {
    let mut rates = NOTES.iter().filter(|&&name| name != "unit");
    rates.find_map(|name| footer.note(name)?.trim().parse().ok())
}

/// The bytes of the footer.
fn footer_of(file: &[u8]) -> Result<&[u8], Fault> {
    if file.starts_with(b"PARE") {
        return Err("encrypted".into());
    }
    let (rest, end) = file
        .split_last_chunk::<8>()
        .filter(|_| file.starts_with(MARK))
        .ok_or("absent: the file does not start with the mark PAR1")?;
    let size = footer_size(end)?;
    let start = rest.len().checked_sub(size);
    Ok(&rest[start.ok_or("longer than the file")?..])
}

fn footer_size(end: &[u8; 8]) -> Result<usize, Fault> {
    let [a, b, c, d, mark @ ..] = end;
    if mark != MARK {
        return Err("absent: the file does not end with the mark PAR1".into());
    }
    let size = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
    if size > MAX_FOOTER_BYTES {
        return Err(format!(
            "{size} bytes, more than the limit of {MAX_FOOTER_BYTES}"
        ));
    }
    Ok(size)
}

fn broken(path: &Path, field: &str, fault: &str) -> RecordError {
    content(
        path,
        field,
        fault,
        "a sound Parquet file of numbers; copy the file again or write it anew",
    )
}
