//! What the formats of tables share: titles say which columns are leads and in which unit, and a column of times gives the rate.

use std::path::Path;

use crate::clock::time_unit_s;
use crate::error::content;
use crate::open::OpenOptions;
use crate::{Lead, LeadChoice, RecordError, Unit};

/// Columns of the widest table that is read.
pub const MAX_COLUMNS: usize = 4096;

/// What the columns are.
pub(crate) struct Columns {
    pub leads: Vec<LeadColumn>,
    /// Those of times.
    pub times: Vec<TimeColumn>,
}

pub(crate) struct LeadColumn {
    pub index: usize,
    pub lead: Lead,
    /// Millivolt where nothing says otherwise.
    pub unit: Unit,
    /// Whether the table or the caller says the unit.
    pub told: bool,
    /// Whether the column may be something else than a lead: nothing but its place in the table says that it is one.
    pub doubtful: bool,
}

pub(crate) struct TimeColumn {
    pub index: usize,
    /// What is said of the unit; in seconds where it is known.
    unit: Option<(String, Option<f64>)>,
}

impl TimeColumn {
    /// The unit in seconds, where one is stated.
    ///
    /// # Errors
    /// When it is none of time.
    pub fn unit_s(&self, path: &Path, title: &str) -> Result<Option<f64>, RecordError> {
        match &self.unit {
            Some((_, None)) => Err(content(
                path,
                "the title of the time column",
                title,
                "s, ms, us or ns in brackets, or the rate (`--input-rate`)",
            )),
            Some((_, unit_s)) => Ok(*unit_s),
            None => Ok(None),
        }
    }
}

impl Columns {
    /// Sorts the columns by their titles. `units` are those that stand elsewhere than in the titles, as far as there are such; `unit` is
    /// that of a lead that has none.
    pub fn find(
        path: &Path,
        titles: &[String],
        units: &[String],
        unit: Option<Unit>,
        options: &OpenOptions,
    ) -> Result<Self, RecordError> {
        if titles.len() > MAX_COLUMNS {
            return Err(RecordError::TooLarge {
                path: path.to_owned(),
                what: "number of columns",
                found: titles.len() as u64,
                limit: MAX_COLUMNS as u64,
            });
        }
        let mut times = Vec::new();
        let mut candidates: Vec<(usize, Lead, Option<&str>)> = Vec::new();
        for (index, title) in titles.iter().enumerate() {
            let (name, unit) = split_unit(title);
            let apart = units.get(index).map(|unit| bare(unit));
            let unit = unit.or(apart.filter(|unit| !unit.is_empty()));
            if is_time(name) {
                let last = name.rsplit(|c: char| !c.is_alphanumeric()).next();
                let last = last.unwrap_or("");
                let unit = unit.or(Some(last).filter(|word| time_unit_s(word).is_some()));
                times.push(TimeColumn {
                    index,
                    unit: unit.map(|unit| (unit.to_owned(), time_unit_s(unit))),
                });
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
        let named = matches!(options.leads, LeadChoice::Named(_));
        let leads = chosen.into_iter().map(|(index, lead, own)| {
            let own = match own {
                None => None,
                Some(unit) => Some(options.unit_of(path, lead.name(), &lead, unit)?),
            };
            Ok(LeadColumn {
                index,
                unit: own.or(unit).unwrap_or_default(),
                told: own.or(unit).is_some(),
                doubtful: !named && own.is_none() && lead.standard_index().is_none(),
                lead,
            })
        });
        Ok(Columns {
            leads: leads.collect::<Result<_, _>>()?,
            times,
        })
    }
}

/// A unit without the brackets around it.
pub(crate) fn bare(unit: &str) -> &str {
    unit.trim_matches(['(', ')', '[', ']', ' '])
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

/// Whether a title is that of a column of times.
pub(crate) fn is_time(name: &str) -> bool {
    const TIMES: [&str; 24] = [
        "time",
        "times",
        "timestamp",
        "timestamps",
        "datetime",
        "elapsed",
        "elapsedtime",
        "epoch",
        "unixtime",
        "clock",
        "zeit",
        "uhrzeit",
        "zeitstempel",
        "tijd",
        "tijdstip",
        "temps",
        "horodatage",
        "tiempo",
        "tempo",
        "hora",
        "czas",
        "\u{432}\u{440}\u{435}\u{43c}\u{44f}",
        "\u{65f6}\u{95f4}",
        "\u{6642}\u{9593}",
    ];
    let name = split_unit(name).0.to_lowercase();
    let words = || {
        let words = name.split(|c: char| !c.is_alphanumeric());
        words.filter(|word| !word.is_empty())
    };
    let one = words().count() == 1;
    words().any(|word| TIMES.contains(&word))
        || words().next() == Some("t") && words().skip(1).all(|word| time_unit_s(word).is_some())
        || one && (name == "date" || name.len() > 1 && time_unit_s(&name).is_some())
}

/// Whether a title is that of a column which counts the samples.
pub(crate) fn is_counter(name: &str) -> bool {
    const COUNTERS: [&str; 15] = [
        "sample", "samples", "index", "idx", "frame", "row", "no", "nr", "number", "n", "counter",
        "count", "unnamed", "level", "num",
    ];
    let name = name.to_lowercase();
    let mut words = name.split(|c: char| !c.is_alphanumeric());
    words.all(|word| {
        word.is_empty() || COUNTERS.contains(&word) || word.bytes().all(|b| b.is_ascii_digit())
    }) && name.parse::<f64>().is_err()
}
