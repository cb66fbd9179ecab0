//! Recordings as tables (`.csv`): a row of titles, then one row a sample; a column a lead, and perhaps one of time.
//!
//! Titles are lead names, with a unit where it differs from the one asked for: `I`, `aVR`, `V1 (uV)`. A time column is titled
//! `time`, `time (s)`, `time (ms)`, `t` and the like and gives the rate; without one the caller gives it. A column of sample
//! numbers (`sample`, `index`, or without a title) is passed over. Separators are `,`, `;` or tabulators; with `;` a comma may
//! be the decimal mark. Empty cells, `NaN` and `NA` are missing samples. Lines that start with `#` are comments.

use std::path::Path;

use crate::array::{self, Array};
use crate::error::content;
use crate::mat::Class;
use crate::open::{OpenOptions, valid_rate};
use crate::table::{Clock, Columns};
use crate::values::{FilePart, Spool};
use crate::{LeadSet, RecordError};

/// Bytes of the largest table that is read.
pub const MAX_CSV_BYTES: u64 = 1 << 36;
/// Bytes in which comments and titles have to lie.
const MAX_HEAD_BYTES: usize = 1 << 20;
/// Bytes that are read at a time.
const READ_BYTES: usize = 1 << 18;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Array, RecordError> {
    let file = FilePart::whole(path, MAX_CSV_BYTES)?;
    let start = file.read(0..file.len.min(MAX_HEAD_BYTES))?;
    let mark = if start.starts_with(BYTE_ORDER_MARK) {
        BYTE_ORDER_MARK.len()
    } else {
        0
    };
    let start = &start[mark..];
    let separator = separator(start);
    let text = file.part(mark..file.len);
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .comment(Some(b'#'))
        .trim(csv::Trim::All)
        .buffer_capacity(READ_BYTES)
        .from_reader(text.reader());
    let titles = reader.headers().map_err(|error| broken(path, &error))?;
    let titles: Vec<String> = titles.iter().map(str::to_owned).collect();
    let columns = Columns::find(path, &titles, options.unit.unwrap_or_default(), options)?;
    let leads = columns.leads.len();
    let mut samples = Spool::new(path, Class::Single);
    let mut clock = Clock::new(path);
    let mut record = csv::StringRecord::new();
    loop {
        match reader.read_record(&mut record) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return Err(broken(path, &error)),
        }
        let line = record.position().map_or(0, csv::Position::line);
        let cell = |column: usize| Cell {
            path,
            line,
            title: &titles[column],
            text: record.get(column).unwrap_or(""),
            comma: separator == b';',
        };
        for column in &columns.leads {
            samples.push(column.unit.to_mv(cell(column.index).number()?))?;
        }
        if let Some((column, _)) = columns.time {
            let (time, decimals) = cell(column).time()?;
            clock.add(time, decimals)?;
        }
    }
    let rows = samples.len() / leads;
    if rows == 0 {
        return Err(RecordError::NoSamples {
            path: path.to_owned(),
            why: "it has no row after the titles".into(),
        });
    }
    let rate_hz = match (options.rate_hz, columns.time) {
        (None, Some((column, unit_s))) => clock.rate_hz(path, &titles[column], unit_s)?,
        (given, _) => valid_rate(
            path,
            given,
            "a column such as `time (s)`, or a sampling rate from the caller",
        )?,
    };
    let names = LeadSet::new(columns.leads.into_iter().map(|c| c.lead).collect());
    let mut about = array::about(path, "csv", names, rate_hz, options)?;
    about.source.comments = comments(start);
    let values = Box::new(samples.finish(leads)?);
    Ok(Array::of_leads(path, about, false, rows, values))
}

struct Cell<'a> {
    path: &'a Path,
    line: u64,
    title: &'a str,
    text: &'a str,
    /// Whether a comma may be the decimal mark.
    comma: bool,
}

impl Cell<'_> {
    /// The number in the cell; NaN when it is missing.
    fn number(&self) -> Result<f64, RecordError> {
        let parsed = if self.comma && self.text.contains(',') {
            self.text.replace(',', ".").parse()
        } else {
            self.text.parse::<f64>()
        };
        match parsed {
            Ok(value) if !value.is_infinite() => Ok(value),
            Err(_) if matches!(self.text, "" | "NA" | "N/A" | "null" | "None") => Ok(f64::NAN),
            _ => Err(self.error("a number, or nothing where the sample is missing")),
        }
    }

    /// The time in the cell, and with how many decimals it is written.
    fn time(&self) -> Result<(f64, usize), RecordError> {
        let time = self.number()?;
        if time.is_nan() {
            return Err(self.error("a time"));
        }
        let decimals = match self.text.rsplit_once(['.', ',']) {
            // With an exponent the digits say little.
            _ if self.text.contains(['e', 'E']) => Clock::BINARY,
            Some((_, decimals)) => decimals.len(),
            None => 0,
        };
        Ok((time, decimals))
    }

    fn error(&self, expected: &str) -> RecordError {
        content(
            self.path,
            &format!("line {}, column `{}`", self.line, self.title),
            &format!("`{}`", self.text),
            expected,
        )
    }
}

fn broken(path: &Path, error: &csv::Error) -> RecordError {
    let line = error.position().map_or(0, csv::Position::line);
    match error.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => content(
            path,
            &format!("line {line}"),
            &format!("{len} cells long"),
            &format!("{expected_len} cells, as many as titles; the file may be cut off"),
        ),
        _ => content(
            path,
            &format!("line {line}"),
            &error.to_string(),
            "text in UTF-8 with one row a line",
        ),
    }
}

/// The separator: whichever of `,`, `;` and the tabulator the title row holds most often.
fn separator(bytes: &[u8]) -> u8 {
    let titles = bytes
        .split(|&b| b == b'\n')
        .find(|line| !line.starts_with(b"#") && !line.trim_ascii().is_empty())
        .unwrap_or(b"");
    let count = |separator: u8| titles.iter().filter(|&&b| b == separator).count();
    [b'\t', b';', b',']
        .into_iter()
        .max_by_key(|&separator| count(separator))
        .unwrap_or(b',')
}

fn comments(bytes: &[u8]) -> Vec<String> {
    bytes
        .split(|&b| b == b'\n')
        .map_while(|line| line.strip_prefix(b"#"))
        .map(|line| String::from_utf8_lossy(line).trim().to_owned())
        .collect()
}
