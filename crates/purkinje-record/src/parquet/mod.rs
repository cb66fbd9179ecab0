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

use std::path::Path;

use self::footer::{Column, Footer, Kind, NOTES};
use self::thrift::Fault;
use crate::array::{self, Array, disk_budget};
use crate::clock::{Clock, Rates};
use crate::error::content;
use crate::mat::Class;
use crate::open::OpenOptions;
use crate::table::{self, Columns};
use crate::units::no_voltage;
use crate::values::{FilePart, Spool};
use crate::{Lead, LeadSet, RecordError};

/// Bytes of the largest table that is read.
pub const MAX_PARQUET_BYTES: u64 = 1 << 36;
/// Bytes of the largest footer that is read.
pub const MAX_FOOTER_BYTES: usize = 16 << 20;

const MARK: &[u8; 4] = b"PAR1";

pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Array, RecordError> {
    let file = FilePart::whole(path, MAX_PARQUET_BYTES)?;
    let footer = footer_of(&file)?
        .and_then(|footer| footer::read(&footer))
        .map_err(|fault| broken(path, "the footer", &fault))?;
    let (columns, chosen) = choose(path, &footer, options)?;
    let rows = rows(path, &footer, columns.leads.len(), &columns, file.len)?;
    let table = Table {
        file: &file,
        footer: &footer,
        verify: options.verify,
    };

    let mut samples = Spool::new(path, Class::Single);
    for lead in &columns.leads {
        let column = chosen[lead.index];
        let mut row = 0usize;
        table.read(column, &mut |value| {
            row += 1;
            if value.is_infinite() {
                return Err(content(
                    path,
                    &format!("row {row}, column `{}`", column.name),
                    "infinite",
                    "a number, or null where the sample is missing",
                ));
            }
            samples.push(lead.unit.to_mv(value))
        })?;
    }

    let clock = columns.times.first().map(|time| {
        let column = chosen[time.index];
        let unit_s = match column.tick_s {
            Some(tick_s) => Ok(Some(tick_s)),
            None => time.unit_s(path, &column.name),
        };
        let clock = unit_s.and_then(|unit_s| Ok((table.clock(column)?, unit_s)));
        match clock {
            Ok((clock, unit_s)) => (Ok(clock), column.name.as_str(), unit_s),
            Err(error) => (Err(error), column.name.as_str(), None),
        }
    });
    let rates = Rates {
        path,
        given: options.rate_hz,
        clock,
        noted: noted_rate(&footer).map(|hz| (hz, "the metadata of the file")),
        from: "a column such as `time (s)`, metadata such as `rate_hz`, or a sampling rate (`--input-rate`)",
    };
    let mut remarks = Vec::new();
    let rate_hz = rates.settle(&mut remarks)?;
    let leads = LeadSet::new(columns.leads.into_iter().map(|c| c.lead).collect());
    let mut about = array::about(path, "parquet", leads, rate_hz, options)?;
    about.source.comments = remarks;
    let values = Box::new(samples.finish(rows)?);
    Ok(Array::of_leads(path, about, true, rows, values))
}

/// Whether a table has a column of numbers with the name of a standard lead, or cannot be read.
pub(crate) fn is_recording(path: &Path) -> bool {
    let footer = || {
        let file = FilePart::whole(path, MAX_PARQUET_BYTES).ok()?;
        footer::read(&footer_of(&file).ok()?.ok()?).ok()
    };
    footer().is_none_or(|footer| {
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
        Some(unit) if options.unit.is_none() => Some(
            unit.parse()
                .map_err(|_| no_voltage(path, "all", unit, true))?,
        ),
        _ => None,
    };
    let unit = options.unit.or(noted);
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
    Ok((Columns::find(path, &titles, &[], unit, options)?, numbers))
}

/// The number of rows, provided that their size is in proportion to the file.
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
    let row_bytes = 4 * leads + if columns.times.is_empty() { 0 } else { 8 };
    let bytes = rows.saturating_mul(row_bytes);
    let limit = disk_budget(file_bytes as u64);
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
    file: &'a FilePart,
    footer: &'a Footer,
    verify: bool,
}

impl Table<'_> {
    /// Calls `out` for each row of a column. Of the file, memory holds a column of a group of rows.
    fn read(
        &self,
        column: &Column,
        out: &mut dyn FnMut(f64) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        let path = &self.file.path;
        let fault = |fault: Fault| broken(path, &format!("the column `{}`", column.name), &fault);
        let kind = column.kind.ok_or_else(|| fault("no numbers".into()))?;
        let mut failed = None;
        for group in self.footer.groups.iter().filter(|group| group.rows > 0) {
            let chunk = group.chunks.get(column.leaf);
            let chunk = chunk.ok_or_else(|| fault("absent from a group of rows".into()))?;
            let end = chunk.at.checked_add(chunk.bytes);
            let end = end.filter(|&end| end <= self.file.len);
            let end = end.ok_or_else(|| fault("pages beyond the end of the file".into()))?;
            let pages = page::Pages {
                bytes: &self.file.read(chunk.at..end)?,
                file_bytes: self.file.len,
                verify: self.verify,
            };
            pages
                .read(column, kind, chunk, group.rows, &mut |value| {
                    if failed.is_none() {
                        failed = out(value).err();
                    }
                })
                .map_err(fault)?;
            if let Some(failed) = failed.take() {
                return Err(failed);
            }
        }
        Ok(())
    }
}

impl Table<'_> {
    /// The times in a column.
    fn clock(&self, column: &Column) -> Result<Clock, RecordError> {
        let digit = match column.kind {
            Some(Kind::F16 | Kind::F32 | Kind::F64) => 0.0,
            _ => 1.0,
        };
        let mut clock = Clock::new(&self.file.path);
        self.read(column, &mut |time| {
            if !time.is_finite() {
                return Err(content(
                    &self.file.path,
                    &format!("the time column `{}`", column.name),
                    "not a number in some rows",
                    "a time in each",
                ));
            }
            clock.add(time, digit)
        })?;
        Ok(clock)
    }
}

fn noted_rate(footer: &Footer) -> Option<f64> {
    let mut rates = NOTES.iter().filter(|&&name| name != "unit");
    rates.find_map(|name| footer.note(name)?.trim().parse().ok())
}

/// The bytes of the footer, or what is wrong with them.
fn footer_of(file: &FilePart) -> Result<Result<Vec<u8>, Fault>, RecordError> {
    let start = file.read(0..file.len.min(MARK.len()))?;
    if start == b"PARE" {
        return Ok(Err("encrypted".into()));
    }
    let Some(end) = file.len.checked_sub(8).filter(|_| start == MARK) else {
        return Ok(Err(
            "absent: the file does not start with the mark PAR1".into()
        ));
    };
    let size = match file.read(end..file.len)?.first_chunk() {
        Some(last) => footer_size(last),
        None => Err("absent".into()),
    };
    match size.map(|size| end.checked_sub(size)) {
        Ok(Some(start)) => file.read(start..end).map(Ok),
        Ok(None) => Ok(Err("longer than the file".into())),
        Err(fault) => Ok(Err(fault)),
    }
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
