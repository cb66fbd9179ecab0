//! Recordings as tables (`.csv`): a row of titles, then one row a sample; a column a lead, and perhaps one of time.
//!
//! Titles are lead names, with a unit where it differs from the one asked for: `I`, `aVR`, `V1 (uV)`. A time column is titled
//! `time`, `time (s)`, `time (ms)`, `t` and the like and gives the rate; without one the caller gives it. A column of sample
//! numbers (`sample`, `index`, or without a title) is passed over. Separators are `,`, `;` or tabulators; with `;` a comma may
//! be the decimal mark. Empty cells, `NaN` and `NA` are missing samples. Lines that start with `#` are comments.

use std::path::Path;

use crate::npy::{content, valid_rate};
use crate::open::{LeadChoice, OpenOptions, id_of};
use crate::wfdb::files;
use crate::{Lead, LeadSet, RecordError, Recording, Source, Unit};

/// Bytes of the largest table that is read.
pub const MAX_CSV_BYTES: u64 = 1 << 30;
/// Columns of the widest table that is read.
pub const MAX_COLUMNS: usize = 4096;

pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Recording, RecordError> {
    let bytes = files::read_small(path, MAX_CSV_BYTES, "size in bytes")?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let separator = separator(bytes);
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .comment(Some(b'#'))
        .trim(csv::Trim::All)
        .from_reader(bytes);
    let titles = reader.headers().map_err(|error| broken(path, &error))?;
    let titles: Vec<String> = titles.iter().map(str::to_owned).collect();
    let columns = Columns::find(path, &titles, options)?;
    let mut samples = vec![Vec::new(); columns.leads.len()];
    let mut clock = Clock::default();
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
        for (column, out) in columns.leads.iter().zip(&mut samples) {
            out.push(column.unit.to_mv(cell(column.index).number()?) as f32);
        }
        if let Some((column, _)) = columns.time {
            clock.add(&cell(column))?;
        }
    }
    if samples.iter().all(Vec::is_empty) {
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
    let leads = LeadSet::new(columns.leads.into_iter().map(|c| c.lead).collect());
    let recording = Recording::new(id_of(path), leads, rate_hz, samples.concat());
    let mut recording = recording.map_err(|source| RecordError::Shape {
        path: path.to_owned(),
        source,
    })?;
    recording.patient.clone_from(&options.patient);
    recording.source = Source {
        path: path.to_owned(),
        format: "csv",
        comments: comments(bytes),
    };
    Ok(recording)
}

/// What the columns are.
struct Columns {
    leads: Vec<LeadColumn>,
    /// Index and unit in seconds.
    time: Option<(usize, f64)>,
}

struct LeadColumn {
    index: usize,
    lead: Lead,
    unit: Unit,
}

impl Columns {
    fn find(path: &Path, titles: &[String], options: &OpenOptions) -> Result<Self, RecordError> {
        if titles.len() > MAX_COLUMNS {
            return Err(RecordError::TooLarge {
                path: path.to_owned(),
                what: "number of columns",
                found: titles.len() as u64,
                limit: MAX_COLUMNS as u64,
            });
        }
        let mut time = None;
        let mut candidates = Vec::new();
        for (index, title) in titles.iter().enumerate() {
            let (name, unit) = split_unit(title);
            if time.is_none() && is_time(name) {
                let unit_s = time_unit_s(name, unit).ok_or_else(|| {
                    content(
                        path,
                        "the title of the time column",
                        title,
                        "s, ms or us in brackets",
                    )
                })?;
                time = Some((index, unit_s));
            } else if !is_counter(name) {
                candidates.push((index, Lead::parse(name), unit));
            }
        }
        let chosen = match &options.leads {
            LeadChoice::All => candidates,
            LeadChoice::Voltages => candidates
                .into_iter()
                .filter(|(_, _, unit)| unit.is_none_or(|unit| unit.parse::<Unit>().is_ok()))
                .collect(),
            LeadChoice::Named(wanted) => {
                let present = LeadSet::new(candidates.iter().map(|c| c.1.clone()).collect());
                let rows = present.rows_of(wanted);
                let rows = rows.map_err(|lead| RecordError::MissingLead {
                    path: path.to_owned(),
                    lead: lead.to_string(),
                    present: present.to_string(),
                })?;
                rows.iter().map(|&row| candidates[row].clone()).collect()
            }
        };
        if chosen.is_empty() {
            return Err(RecordError::NoSamples {
                path: path.to_owned(),
                why: "it has no column that is a lead; expected titles such as I, II, V1 in the first row".into(),
            });
        }
        let leads = chosen.into_iter().map(|(index, lead, unit)| {
            // A first row of numbers means that there are no titles.
            if titles[index].parse::<f64>().is_ok() {
                return Err(content(
                    path,
                    "the title of a column",
                    &titles[index],
                    "the name of a lead; put a row of titles at the top",
                ));
            }
            let unit = match unit {
                None => options.unit.unwrap_or_default(),
                Some(unit) => unit.parse().map_err(|_| RecordError::Unit {
                    path: path.to_owned(),
                    signal: lead.to_string(),
                    unit: unit.to_owned(),
                })?,
            };
            Ok(LeadColumn { index, lead, unit })
        });
        Ok(Columns {
            leads: leads.collect::<Result<_, _>>()?,
            time,
        })
    }
}

/// `V1 (uV)` or `V1 [uV]` as name and unit.
fn split_unit(title: &str) -> (&str, Option<&str>) {
    let title = title.trim();
    let split = title
        .strip_suffix(')')
        .and_then(|rest| rest.rsplit_once('('))
        .or_else(|| {
            title
                .strip_suffix(']')
                .and_then(|rest| rest.rsplit_once('['))
        });
    match split {
        Some((name, unit)) => (name.trim(), Some(unit.trim())),
        None => (title, None),
    }
}

fn is_time(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    matches!(name.as_str(), "t" | "time" | "timestamp" | "seconds")
        || name
            .strip_prefix("time")
            .is_some_and(|rest| rest.starts_with(['_', ' ', '-']))
}

fn is_counter(name: &str) -> bool {
    matches!(
        name.to_ascii_lowercase().as_str(),
        "" | "sample" | "samples" | "index" | "frame" | "unnamed: 0" | "n"
    )
}

/// The unit of a time column in seconds: `time (ms)`, `time_ms`; seconds when not given.
fn time_unit_s(name: &str, unit: Option<&str>) -> Option<f64> {
    let unit = unit.or_else(|| name.rsplit_once(['_', ' ', '-']).map(|(_, unit)| unit));
    match unit.unwrap_or("s").to_lowercase().as_str() {
        "s" | "sec" | "second" | "seconds" => Some(1.0),
        "ms" | "msec" | "millisecond" | "milliseconds" => Some(1e-3),
        "us" | "\u{b5}s" | "\u{3bc}s" | "microseconds" => Some(1e-6),
        _ => None,
    }
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

    fn error(&self, expected: &str) -> RecordError {
        content(
            self.path,
            &format!("line {}, column `{}`", self.line, self.title),
            &format!("`{}`", self.text),
            expected,
        )
    }
}

/// The times of the rows: first, last, and how finely they are written.
#[derive(Default)]
struct Clock {
    times: Vec<f64>,
    decimals: usize,
}

impl Clock {
    fn add(&mut self, cell: &Cell<'_>) -> Result<(), RecordError> {
        let time = cell.number()?;
        if time.is_nan() {
            return Err(cell.error("a time"));
        }
        let decimals = match cell.text.rsplit_once(['.', ',']) {
            // With an exponent the digits say little; the times then have to be as even as numbers allow.
            _ if cell.text.contains(['e', 'E']) => usize::MAX,
            Some((_, decimals)) => decimals.len(),
            None => 0,
        };
        self.decimals = self.decimals.max(decimals);
        self.times.push(time);
        Ok(())
    }

    /// The rate, provided that the times are evenly spaced as far as their digits tell.
    fn rate_hz(&self, path: &Path, title: &str, unit_s: f64) -> Result<f64, RecordError> {
        let times = &self.times;
        let error = |found: String| {
            content(
                path,
                &format!("the time column `{title}`"),
                &found,
                "times that rise in even steps; resample the recording, or give its rate to override them",
            )
        };
        let (Some(&first), Some(&last), 2..) = (times.first(), times.last(), times.len()) else {
            return Err(error("a single time".into()));
        };
        let steps = (times.len() - 1) as f64;
        let span = last - first;
        if span <= 0.0 {
            return Err(error(format!("from {first} to {last}")));
        }
        // Times are rounded to their digits, so each may be off by half of the last one, and a difference by a whole one.
        let digit = 0.1f64.powi(self.decimals.min(300) as i32);
        // Times that went through f32 are off by more than their many digits tell.
        let slack = digit.max((span * 1e-6).min(0.1 * span / steps));
        for (i, &time) in times.iter().enumerate() {
            if (time - (first + span * (i as f64 / steps))).abs() > 2.0 * slack {
                return Err(error(format!("uneven: {time} in row {}", i + 1)));
            }
        }
        let rate_hz = steps / (span * unit_s);
        let whole = rate_hz.round();
        // The digits leave room for rates close by; a whole number of hertz is the likely one.
        let fits = (span - steps / (whole * unit_s)).abs() <= slack;
        Ok(if whole >= 1.0 && fits { whole } else { rate_hz })
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
