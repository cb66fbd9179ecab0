//! What the formats of tables share: titles say which columns are leads and in which unit, and a column of times gives the rate.

use std::path::Path;

use crate::error::content;
use crate::mat::Class;
use crate::open::OpenOptions;
use crate::values::{Spool, Values};
use crate::{Lead, RecordError, Unit};

/// Columns of the widest table that is read.
pub const MAX_COLUMNS: usize = 4096;

/// Times that are read at once.
const BLOCK: usize = 1 << 16;

/// What the columns are.
pub(crate) struct Columns {
    pub leads: Vec<LeadColumn>,
    /// Index and unit in seconds.
    pub time: Option<(usize, f64)>,
}

pub(crate) struct LeadColumn {
    pub index: usize,
    pub lead: Lead,
    pub unit: Unit,
}

impl Columns {
    /// Sorts the columns by their titles; `unit` is that of a lead whose title names none.
    pub fn find(
        path: &Path,
        titles: &[String],
        unit: Unit,
        options: &OpenOptions,
    ) -> Result<Self, RecordError> {
        let default_unit = unit;
        if titles.len() > MAX_COLUMNS {
            return Err(RecordError::TooLarge {
                path: path.to_owned(),
                what: "number of columns",
                found: titles.len() as u64,
                limit: MAX_COLUMNS as u64,
            });
        }
        let mut time = None;
        let mut candidates: Vec<(usize, Lead, Option<&str>)> = Vec::new();
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
        options.settle(candidates.iter_mut().map(|(_, lead, _)| lead));
        let leads: Vec<Lead> = candidates.iter().map(|c| c.1.clone()).collect();
        let voltage = |row: usize| {
            let unit: Option<&str> = candidates[row].2;
            unit.is_none_or(|unit| options.is_voltage(&candidates[row].1, unit))
        };
        let rows = options.choose(path, &leads, voltage)?;
        let chosen: Vec<_> = rows.iter().map(|&row| candidates[row].clone()).collect();
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
                None => default_unit,
                Some(unit) => options.unit_of(path, lead.name(), &lead, unit)?,
            };
            Ok(LeadColumn { index, lead, unit })
        });
        Ok(Columns {
            leads: leads.collect::<Result<_, _>>()?,
            time,
        })
    }
}

/// Whether a title is that of a standard lead.
pub(crate) fn is_lead(title: &str) -> bool {
    Lead::parse(split_unit(title).0).standard_index().is_some()
}

/// `V1 (uV)`, `V1 [uV]`, `V1_uV` or `V1/uV` as name and unit.
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
        None => {
            // The longest end that is a unit: `V1 micro volt` is not in volts.
            let mut ends = title.match_indices(['_', '/', ' ']);
            let unit = ends.find_map(|(at, between)| {
                let unit = &title[at + between.len()..];
                (unit.len() > 1 && unit.parse::<Unit>().is_ok()).then_some((at, unit))
            });
            match unit {
                Some((at, unit)) => (title[..at].trim(), Some(unit)),
                None => (title, None),
            }
        }
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
        "" | "sample" | "samples" | "index" | "frame" | "unnamed: 0" | "n" | "__index_level_0__"
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

/// The times of the rows, and how finely they are written.
pub(crate) struct Clock {
    times: Spool,
    first: f64,
    last: f64,
    decimals: usize,
}

impl Clock {
    /// The decimals of a time that is held in binary, whose digits say nothing; such times have to be as even as numbers allow.
    pub const BINARY: usize = usize::MAX;

    /// Of the table at `path`.
    pub fn new(path: &Path) -> Clock {
        Clock {
            times: Spool::new(path, Class::Double),
            first: f64::NAN,
            last: f64::NAN,
            decimals: 0,
        }
    }

    /// The time of the next row, written with so many decimals.
    pub fn add(&mut self, time: f64, decimals: usize) -> Result<(), RecordError> {
        self.decimals = self.decimals.max(decimals);
        if self.times.len() == 0 {
            self.first = time;
        }
        self.last = time;
        self.times.push(time)
    }

    /// The rate, provided that the times are evenly spaced as far as their digits tell.
    pub fn rate_hz(self, path: &Path, title: &str, unit_s: f64) -> Result<f64, RecordError> {
        let Clock { first, last, .. } = self;
        let error = |found: String| {
            content(
                path,
                &format!("the time column `{title}`"),
                &found,
                "times that rise in even steps; resample the recording, or give its rate to override them",
            )
        };
        let count = self.times.len();
        if count < 2 {
            return Err(error("a single time".into()));
        }
        let steps = (count - 1) as f64;
        let span = last - first;
        if span <= 0.0 {
            return Err(error(format!("from {first} to {last}")));
        }
        // Times are rounded to their digits, so each may be off by half of the last one, and a difference by a whole one.
        let digit = 0.1f64.powi(self.decimals.min(300) as i32);
        // Times that went through f32 are off by more than their many digits tell.
        let slack = digit.max((span * 1e-6).min(0.1 * span / steps));
        let times = self.times.finish(1)?;
        let mut block = Vec::new();
        for start in (0..count).step_by(BLOCK) {
            block.clear();
            times.read(start..(start + BLOCK).min(count), 0..1, &mut block)?;
            for (i, &time) in (start..).zip(&block) {
                if (time - (first + span * (i as f64 / steps))).abs() > 2.0 * slack {
                    return Err(error(format!("uneven: {time} in row {}", i + 1)));
                }
            }
        }
        let rate_hz = steps / (span * unit_s);
        let whole = rate_hz.round();
        // The digits leave room for rates close by; a whole number of hertz is the likely one.
        let fits = (span - steps / (whole * unit_s)).abs() <= slack;
        Ok(if whole >= 1.0 && fits { whole } else { rate_hz })
    }
}
