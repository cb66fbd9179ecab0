//! Recordings as tables (`.csv`, `.tsv`, `.txt`): one row a sample; a column a lead, and perhaps one of time.
//!
//! Titles are lead names, with a unit where it differs from the one asked for: `I`, `aVR`, `V1 (uV)`; units may also stand in a row of
//! their own below. A time column is titled `time`, `time (s)`, `time (ms)`, `t` and the like and gives the rate; without one a line such
//! as `Sample Rate,512 hertz` or the caller does. Columns of sample numbers (`sample #`, `index`, or without a title) and of texts are
//! passed over. Without titles the leads are those of such lines, or of the caller.
//!
//! Separators are tabulators, `;`, `|`, `,` or blanks; Excel's `sep=;` counts. The decimal mark may be a comma; of a table that separates by
//! commas too, in quotes (of either sort) or where the number of columns leaves no doubt. Texts are in UTF-8, UTF-16 or Windows-1252 (ISO
//! 8859-1). Empty cells, `NaN` and `NA` are missing samples. Lines that start with `#` are comments; what they or lines before the titles
//! say about a person is not kept.

mod head;
mod keys;
mod lines;

use std::ops::Range;
use std::path::Path;

use self::head::Head;
use self::lines::Lines;
use crate::array::{self, Array};
use crate::clock::{Clock, Rates};
use crate::error::content;
use crate::mat::Class;
use crate::open::OpenOptions;
use crate::table::{self, Columns, LeadColumn};
use crate::values::{FilePart, Spool};
use crate::{LeadSet, RecordError};

/// Bytes of the largest table that is read.
pub const MAX_CSV_BYTES: u64 = 1 << 36;
/// Bytes in which comments, keys and titles have to lie.
const MAX_HEAD_BYTES: usize = 1 << 20;
/// Lines in which they have to lie.
const MAX_HEAD_LINES: usize = 4096;
/// Millivolts that no beat reaches: whole numbers beyond are steps of a converter or microvolts.
const WHOLE_MV: f64 = 20.0;
/// Millivolts that no lead reaches: amplifiers have to bear offsets of 300 mV between electrodes (IEC 60601-2-25), and few bear more.
const MOST_MV: f64 = 1000.0;

pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Array, RecordError> {
    let file = FilePart::whole(path, MAX_CSV_BYTES)?;
    let head = Head::of(&file, options)?;
    let columns = Columns::find(path, &head.titles, &head.units, options.unit, options)?;
    let time = head.clock(&columns.times);
    let mut rows = Rows {
        path,
        head: &head,
        lanes: columns.leads.into_iter().map(Lane::of).collect(),
        samples: Spool::new(path, Class::Single),
        clock: time.map(|column| (column.index, Ok(Clock::new(path)))),
        forgiving: options.rate_hz.is_some(),
        marks: [false; 2],
    };
    rows.read(&file)?;
    let Rows {
        lanes,
        samples,
        clock,
        ..
    } = rows;
    let count = samples.len() / lanes.len();
    if count == 0 {
        return Err(RecordError::NoSamples {
            path: path.to_owned(),
            why: "it has no row after the titles".into(),
        });
    }
    let mut remarks = Vec::new();
    let kept = kept(path, &lanes, &head.titles, &mut remarks)?;
    let clock = match (clock, time) {
        (Some((index, clock)), Some(column)) => {
            let title = head.titles[index].as_str();
            let unit_s = column.unit_s(path, title);
            let clock = clock.and_then(|clock| Ok((clock, unit_s?)));
            Some(match clock {
                Ok((clock, unit_s)) => (Ok(clock), title, unit_s),
                Err(error) => (Err(error), title, None),
            })
        }
        _ => None,
    };
    let rates = Rates {
        path,
        given: options.rate_hz,
        clock,
        noted: head.rate.as_ref().map(|(hz, place)| (*hz, place.as_str())),
        from: "a column such as `time (s)`, a line such as `Sample Rate,500 Hz`, or a sampling rate (`--input-rate`)",
    };
    let rate_hz = rates.settle(&mut remarks)?;
    let names = lanes.into_iter().map(|lane| lane.column.lead).collect();
    let mut about = array::about(path, "csv", LeadSet::new(names), rate_hz, options)?;
    about.source.comments = head.comments;
    about.source.comments.extend(remarks);
    head.persons.remove_from(&mut about);
    let values = Box::new(samples.finish(about.leads.len())?);
    Ok(Array::of_leads(path, about, false, count, values).keeping(&kept))
}

/// Whether a file is a table with a column of a standard lead. One that has the extension of any text also has to say its rate.
pub(crate) fn is_recording(path: &Path, any_text: bool) -> bool {
    let head = FilePart::whole(path, MAX_CSV_BYTES)
        .and_then(|file| Head::of(&file, &OpenOptions::default()));
    head.is_ok_and(|head| {
        let timed = head.rate.is_some() || head.titles.iter().any(|title| table::is_time(title));
        head.titles.iter().any(|title| table::is_lead(title)) && (timed || !any_text)
    })
}

/// A column that becomes a lead.
struct Lane {
    column: LeadColumn,
    /// Whether there was a number.
    numbers: bool,
    /// The first text, with its line.
    text: Option<(u64, String)>,
    /// Whether all numbers are whole.
    whole: bool,
    /// The largest number.
    top: f64,
}

impl Lane {
    fn of(column: LeadColumn) -> Lane {
        Lane {
            column,
            numbers: false,
            text: None,
            whole: true,
            top: 0.0,
        }
    }
}

/// The rows of a table as they are read.
struct Rows<'a> {
    path: &'a Path,
    head: &'a Head,
    lanes: Vec<Lane>,
    samples: Spool,
    /// The column of times; why it gives none.
    clock: Option<(usize, Result<Clock, RecordError>)>,
    /// Whether the times are not needed.
    forgiving: bool,
    /// Whether a point and a comma were decimal marks.
    marks: [bool; 2],
}

impl Rows<'_> {
    fn read(&mut self, file: &FilePart) -> Result<(), RecordError> {
        let mut lines = Lines::of(file)?;
        let mut line = String::new();
        let mut cells = Vec::new();
        while lines.number + 1 < self.head.first_row {
            if !lines.next(&mut line)? {
                return Ok(());
            }
        }
        // In a table of one column a blank line is an empty cell, unless nothing follows.
        let mut blank = 0;
        while lines.row(&mut line, self.head.separator, &mut cells)? {
            if line.starts_with(['#', '%']) {
                continue;
            }
            if line.trim().is_empty() {
                blank += usize::from(self.head.titles.len() == 1);
                continue;
            }
            for _ in 0..std::mem::take(&mut blank) {
                self.samples.push(f64::NAN)?;
            }
            self.row(&line, &mut cells, lines.number)?;
        }
        Ok(())
    }

    /// Takes one row.
    fn row(
        &mut self,
        line: &str,
        cells: &mut Vec<Range<usize>>,
        number: u64,
    ) -> Result<(), RecordError> {
        if self.head.joined {
            // Numbers and what stands behind their decimal commas.
            let joined = cells.chunks(2).map(|pair| {
                let [first, .., last] = pair else {
                    return pair[0].clone();
                };
                first.start..last.end
            });
            *cells = joined.collect();
        }
        let titles = &self.head.titles;
        let filled = titles
            .iter()
            .rposition(|title| !title.is_empty())
            .map_or(0, |last| last + 1);
        let beyond = cells.get(titles.len()..).unwrap_or_default();
        // LabChart puts comments behind the last cell.
        let empty = |cell: &Range<usize>| cell.is_empty() || line[cell.clone()].starts_with('#');
        if cells.len() < filled
            || beyond
                .iter()
                .find(|cell| !cell.is_empty())
                .is_some_and(|cell| !empty(cell))
        {
            return Err(content(
                self.path,
                &format!("line {number}"),
                &format!("{} cells long", cells.len()),
                &format!(
                    "{} cells, as many as titles; the file may be cut off",
                    titles.len()
                ),
            ));
        }
        let cell = |column: usize| Cell {
            path: self.path,
            line: number,
            title: &titles[column],
            text: cells.get(column).map_or("", |cell| &line[cell.clone()]),
        };
        for lane in &mut self.lanes {
            let value = cell(lane.column.index).number(lane, &mut self.marks)?;
            self.samples.push(lane.column.unit.to_mv(value))?;
        }
        if let Some((column, Ok(clock))) = &mut self.clock {
            let cell = cell(*column);
            if !clock.add_text(cell.text)? {
                let error = cell.error("a time");
                if !self.forgiving {
                    return Err(error);
                }
                self.clock = Some((*column, Err(error)));
            }
        }
        Ok(())
    }
}

/// The lanes that are leads; of the others a remark says why they are not.
///
/// # Errors
/// When there is none, or nobody says the unit of whole numbers.
fn kept(
    path: &Path,
    lanes: &[Lane],
    titles: &[String],
    remarks: &mut Vec<String>,
) -> Result<Vec<usize>, RecordError> {
    let mut kept = Vec::new();
    for (at, lane) in lanes.iter().enumerate() {
        match lane.text {
            Some(_) => remarks.push(format!(
                "the column `{}` holds texts: it was left out",
                titles[lane.column.index]
            )),
            None => kept.push(at),
        }
    }
    if kept.is_empty() {
        return Err(RecordError::NoSamples {
            path: path.to_owned(),
            why: "it has no column of numbers that is a lead".into(),
        });
    }
    let untold = || {
        kept.iter()
            .map(|&at| &lanes[at])
            .filter(|lane| !lane.column.told)
    };
    let top = untold().map(|lane| lane.top).fold(0.0, f64::max);
    let whole = untold().all(|lane| lane.whole);
    if whole && top >= WHOLE_MV || top >= MOST_MV {
        let numbers = if whole { "are whole numbers" } else { "reach" };
        return Err(content(
            path,
            "the unit",
            &format!("absent, and the samples {numbers} up to {top}")
                .replace("reach up to", "reach"),
            "a unit in the titles, such as `I (uV)`, or `--input-unit` (uV where 1000 steps make 1 mV)",
        ));
    }
    Ok(kept)
}

struct Cell<'a> {
    path: &'a Path,
    line: u64,
    title: &'a str,
    text: &'a str,
}

impl Cell<'_> {
    /// The number in the cell; NaN when it is missing, or the column may be one of texts.
    fn number(&self, lane: &mut Lane, marks: &mut [bool; 2]) -> Result<f64, RecordError> {
        const EXPECTED: &str = "a number, or nothing where the sample is missing";
        let Some(value) = number(self.text) else {
            if !lane.column.doubtful || lane.numbers {
                return Err(self.error(EXPECTED));
            }
            lane.text
                .get_or_insert_with(|| (self.line, self.text.to_owned()));
            return Ok(f64::NAN);
        };
        if value.is_infinite() {
            return Err(self.error(EXPECTED));
        }
        if !value.is_nan() {
            if let Some((line, text)) = &lane.text {
                let first = Cell {
                    line: *line,
                    text,
                    ..*self
                };
                return Err(first.error(EXPECTED));
            }
            lane.numbers = true;
            lane.whole &= value.fract() == 0.0;
            lane.top = lane.top.max(value.abs());
            for (seen, mark) in marks.iter_mut().zip(['.', ',']) {
                *seen |= self.text.contains(mark);
            }
            if *marks == [true; 2] {
                return Err(self
                    .error("a number with the decimal mark of the others: both . and , are used"));
            }
        }
        Ok(value)
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

/// The number in a cell, with a point or a comma as its decimal mark; NaN when it is missing.
fn number(text: &str) -> Option<f64> {
    let parsed = match text.contains(',') || !text.is_ascii() {
        true => text.replace(',', ".").replace('\u{2212}', "-").parse(),
        false => text.parse::<f64>(),
    };
    match parsed {
        Ok(value) => Some(value),
        Err(_) if matches!(text, "" | "NA" | "N/A" | "null" | "NULL" | "None") => Some(f64::NAN),
        Err(_) => None,
    }
}
