//! What stands around the numbers of a table: separators, titles, units, keys and comments.

use std::ops::Range;
use std::path::Path;

use super::keys::{Keys, Pair, personal};
use super::lines::{Lines, MAX_CELL_LINES, MAX_LINE_BYTES, Separator, split};
use super::{MAX_HEAD_BYTES, MAX_HEAD_LINES, number};
use crate::clock::{is_clock, time_unit_s};
use crate::error::content;
use crate::open::OpenOptions;
use crate::privacy::Identifiers;
use crate::table;
use crate::values::FilePart;
use crate::{LeadChoice, RecordError, Unit};

/// Rows by which the form of a table is told.
const SAMPLE_ROWS: usize = 64;
/// What titles look like, for messages.
const TITLES: &str = "the name of a lead; put a row of titles at the top, or give the leads and the rate (`--input-leads`, `--input-rate`)";

/// What is known of a table before its rows are read.
pub(super) struct Head {
    pub separator: Separator,
    /// Whether each number was parted at its decimal comma by commas that separate.
    pub joined: bool,
    pub titles: Vec<String>,
    /// Units of the columns that stand elsewhere than in the titles; fewer than titles where there are none.
    pub units: Vec<String>,
    /// The rate in hertz that is stated in words, and where.
    pub rate: Option<(f64, String)>,
    pub comments: Vec<String>,
    pub persons: Identifiers,
    /// The line of the first row, counted from 1.
    pub first_row: u64,
    /// The first rows.
    pub sample: Vec<Vec<String>>,
}

/// A line with something in it, and its place in the file.
struct Line {
    number: u64,
    text: String,
}

impl Line {
    fn is_comment(&self) -> bool {
        self.text.starts_with(['#', '%'])
    }
}

/// Where the parts of a table lie among its lines.
struct Place {
    /// The titles, or the comment that has them.
    titles: Option<usize>,
    units: Option<usize>,
    row: usize,
}

impl Head {
    /// The head of a table.
    ///
    /// # Errors
    /// When there is nothing like a table.
    pub fn of(file: &FilePart, options: &OpenOptions) -> Result<Head, RecordError> {
        let path = &file.path;
        let mut lines = read(file)?;
        let told = match lines.first().and_then(|line| told_separator(&line.text)) {
            Some(separator) => {
                lines.remove(0);
                Some(separator)
            }
            None => None,
        };
        let table = Table {
            path,
            separator: told.unwrap_or_else(|| separator(&lines)),
            lines,
            options,
        };
        let mut keys = Keys::default();
        let mut comments = Vec::new();
        let place = table.find(&mut keys, &mut comments)?;
        table.head(&place, keys, comments)
    }

    /// Which of the columns of times shows the steps best: the first whose times rise.
    pub fn clock<'t>(&self, times: &'t [table::TimeColumn]) -> Option<&'t table::TimeColumn> {
        let rises = |column: &&table::TimeColumn| {
            let own = |row: &Vec<String>| {
                let text = row.get(column.index)?;
                (is_clock(text) || number(text).is_some_and(f64::is_finite)).then(|| text.clone())
            };
            let own: Option<Vec<String>> = self.sample.iter().map(own).collect();
            own.is_some_and(|own| own.first() != own.last())
        };
        times.iter().find(rises).or(times.first())
    }
}

/// The first lines that are not blank. Lines of a cell in quotes are one.
fn read(file: &FilePart) -> Result<Vec<Line>, RecordError> {
    let mut lines = Lines::of(file)?;
    let mut found: Vec<Line> = Vec::new();
    let mut bytes = 0;
    let mut text = String::new();
    while bytes < MAX_HEAD_BYTES && found.len() < MAX_HEAD_LINES && lines.next(&mut text)? {
        bytes += text.len() + 1;
        if !text.trim().is_empty() {
            found.push(Line {
                number: lines.number,
                text: text.trim_matches([' ', '\u{feff}']).to_owned(),
            });
        }
    }
    let mut at = 0;
    while at < found.len() {
        let odd = |line: &Line| line.text.matches('"').count() % 2 == 1;
        let end = (at + 1..found.len().min(at + MAX_CELL_LINES)).find(|&next| odd(&found[next]));
        if let (true, Some(end)) = (odd(&found[at]), end) {
            let rest: Vec<Line> = found.drain(at + 1..=end).collect();
            for line in rest {
                found[at].text.push('\n');
                found[at].text.push_str(&line.text);
            }
        }
        at += 1;
    }
    Ok(found)
}

/// `sep=;`, which Excel writes and reads.
fn told_separator(line: &str) -> Option<Separator> {
    let line = line.trim_matches('"');
    let start = line
        .get(..4)
        .filter(|start| start.eq_ignore_ascii_case("sep="))?;
    match &line.as_bytes()[start.len()..] {
        [mark] => Some(Separator::Mark(*mark)),
        // The tabulator was trimmed.
        [] => Some(Separator::Mark(b'\t')),
        _ => None,
    }
}

fn cells(line: &str, separator: Separator) -> Vec<&str> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    split(line, separator, &mut ranges);
    ranges.into_iter().map(|range| &line[range]).collect()
}

/// The separator, by what the lines of the second half have in common: the numbers are there.
fn separator(lines: &[Line]) -> Separator {
    let lines: Vec<&str> = lines
        .iter()
        .filter(|line| !line.is_comment())
        .map(|line| line.text.as_str())
        .collect();
    let sample: Vec<&str> = lines
        .iter()
        .skip(lines.len() / 2)
        .take(SAMPLE_ROWS)
        .copied()
        .collect();
    let share = |own: &dyn Fn(&str) -> bool, of: usize| {
        let own = sample.iter().filter(|line| own(line)).count();
        own > 0 && 100 * own >= of * sample.len()
    };
    let parted = |mark: u8| move |line: &str| cells(line, Separator::Mark(mark)).len() > 1;
    for mark in [b'\t', b';', b'|'] {
        if share(&parted(mark), 90) {
            return Separator::Mark(mark);
        }
    }
    // Numbers with decimal commas between blanks: no comma has another place.
    let blanks = |line: &str| {
        let words = cells(line, Separator::Blank);
        let numbers = words.iter().filter(|word| number(word).is_some()).count();
        let parts =
            |word: &&str| word.contains(',') && (number(word).is_none() || word.ends_with(','));
        words.len() > 1 && 2 * numbers >= words.len() && !words.iter().any(parts)
    };
    let commas = sample.iter().any(|line| line.contains(','));
    if commas && share(&blanks, 100) {
        return Separator::Blank;
    }
    if share(&parted(b','), 50) {
        return Separator::Mark(b',');
    }
    let words = |line: &str| {
        let words = cells(line, Separator::Blank);
        words.len() > 1 && 2 * words.iter().filter(|word| is_value(word)).count() >= words.len()
    };
    if share(&words, 90) {
        return Separator::Blank;
    }
    let most = [b'\t', b';', b','].into_iter().max_by_key(|&mark| {
        let marks = lines
            .iter()
            .map(|line| line.bytes().filter(|&b| b == mark).count());
        marks.sum::<usize>()
    });
    Separator::Mark(most.unwrap_or(b','))
}

/// Whether a cell is a number or a time.
fn is_value(cell: &str) -> bool {
    number(cell).is_some_and(|value| !value.is_nan()) || is_clock(cell)
}

fn is_text(cell: &str) -> bool {
    number(cell).is_none() && !is_clock(cell)
}

/// Without empty cells at the end.
fn trimmed<'c, 'l>(cells: &'c [&'l str]) -> &'c [&'l str] {
    let filled = cells.iter().rposition(|cell| !cell.is_empty());
    &cells[..filled.map_or(0, |last| last + 1)]
}

/// Whether a line is a row of numbers, in which texts may stand too.
fn is_row(cells: &[&str]) -> bool {
    let cells = trimmed(cells);
    let values = cells.iter().filter(|cell| is_value(cell)).count();
    let texts = cells.iter().filter(|cell| is_text(cell)).count();
    // A key and its value.
    let first = cells.first().copied().unwrap_or("");
    let pair = cells.len() == 2 && is_text(first) || first.ends_with(['=', ':']);
    let all_missing = values == 0 && texts == 0 && !cells.is_empty();
    all_missing || (values > 0 && values >= texts && !pair)
}

/// Whether a line names units and holds no number: `s,mV,mV`.
fn is_units(cells: &[&str]) -> bool {
    let unit = |cell: &str| {
        let unit = table::bare(cell);
        unit.parse::<Unit>().is_ok() || time_unit_s(unit).is_some()
    };
    cells.iter().all(|cell| cell.is_empty() || is_text(cell)) && cells.iter().any(|cell| unit(cell))
}

/// Whether the row is a lead with its samples: its name, and numbers behind it.
fn is_lead_row(cells: &[&str]) -> bool {
    let cells = trimmed(cells);
    // The last may be cut.
    cells.len() > 3
        && table::is_lead(cells[0])
        && cells[1..cells.len() - 1].iter().all(|cell| is_value(cell))
}

/// Whether a row may be numbers that were parted at their decimal commas: `-0,5,12,3` of two columns.
fn is_joined(cells: &[&str], columns: usize) -> bool {
    let whole = |cell: &str| {
        let digits = cell.strip_prefix(['-', '+', '\u{2212}']).unwrap_or(cell);
        !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
    };
    let decimals = |cell: &str| cell.bytes().all(|b| b.is_ascii_digit()) && !cell.is_empty();
    let pairs = cells.chunks(2).all(|pair| match pair {
        [number, behind] => whole(number) && decimals(behind),
        [number] => columns == 1 && (whole(number) || number.is_empty()),
        _ => false,
    });
    pairs && (cells.len() == 2 * columns || columns == 1 && cells.len() == 1)
}

struct Table<'a> {
    path: &'a Path,
    separator: Separator,
    lines: Vec<Line>,
    options: &'a OpenOptions,
}

impl Table<'_> {
    fn cells(&self, at: usize) -> Vec<&str> {
        cells(&self.lines[at].text, self.separator)
    }

    /// The next line that is no comment.
    fn after(&self, at: usize) -> Option<usize> {
        (at + 1..self.lines.len()).find(|&next| !self.lines[next].is_comment())
    }

    /// Whether one of the cells is the title of a lead or of a column of times.
    fn has_title(&self, cells: &[&str]) -> bool {
        let named = |cell: &str| {
            let told = self.options.lead_names.iter();
            let asked = match &self.options.leads {
                LeadChoice::Named(leads) => leads.position(&crate::Lead::parse(cell)).is_some(),
                _ => false,
            };
            asked
                || told
                    .map(|(own, _)| own.trim())
                    .any(|own| own.eq_ignore_ascii_case(cell))
        };
        cells.iter().any(|cell| {
            table::is_lead(cell) || named(cell) || cells.len() > 1 && table::is_time(cell)
        })
    }

    /// Titles at this line, where rows follow.
    fn titled(&self, at: usize) -> Option<Place> {
        let next = self.after(at)?;
        let units = is_units(&self.cells(next)).then_some(next);
        let row = units.map_or(Some(next), |units| self.after(units))?;
        let cells = self.cells(row);
        let titles = self.titles_of(at, trimmed(&cells).len());
        let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
        let (own, found) = (trimmed(&titles).len(), trimmed(&cells).len());
        let fits = own == found || titles.len() == cells.len() || is_joined(trimmed(&cells), own);
        let near = self.lines[row].number - self.lines[at].number <= 3;
        let texts = || !titles.iter().any(|title| is_value(title));
        (is_row(&cells) && (self.has_title(&titles) || fits && near && texts())).then_some(Place {
            titles: Some(at),
            units,
            row,
        })
    }

    /// Finds titles and rows; what stands before them goes to `keys` and `comments`.
    fn find(&self, keys: &mut Keys, comments: &mut Vec<String>) -> Result<Place, RecordError> {
        let mut likely = None;
        for (at, line) in self.lines.iter().enumerate() {
            if line.is_comment() {
                let text = line.text.trim_start_matches(['#', '%']).trim();
                let pair = Pair::of(text, self.separator);
                let known = pair.as_ref().and_then(|pair| Some((pair.known()?, pair)));
                let bare = personal(text).filter(|_| pair.is_none());
                if let Some((key, pair)) = known {
                    keys.take(key, pair);
                }
                if let Some((key, value)) = bare {
                    keys.person(key, value);
                }
                if bare.is_none() && known.is_none_or(|(key, _)| !key.personal()) {
                    comments.push(text.to_owned());
                }
                continue;
            }
            let cells = self.cells(at);
            if is_lead_row(&cells) {
                return Err(self.leads_in_rows(at));
            }
            let pair = Pair::of(&line.text, self.separator);
            let known = pair.as_ref().and_then(|pair| Some((pair.known()?, pair)));
            let place = self.titled(at);
            let titled = self.has_title(&cells);
            let table = place.is_some() && titled;
            if let Some((key, pair)) = known.filter(|_| !table || cells.len() < 3) {
                keys.take(key, pair);
                continue;
            }
            if likely.is_some() && !table && (place.is_some() || is_row(&cells)) {
                break;
            }
            if is_row(&cells) {
                return Ok(Place {
                    titles: self.commented_titles(at),
                    units: None,
                    row: at,
                });
            }
            let guessed = |keys: &mut Keys| pair.as_ref().is_some_and(|pair| keys.guess(pair));
            match place {
                Some(place) if table || !guessed(keys) => return Ok(place),
                Some(_) => {}
                None => {
                    guessed(keys);
                    let lead = cells.iter().any(|cell| table::is_lead(cell));
                    if likely.is_none() && lead && !cells.iter().any(|cell| is_value(cell)) {
                        likely = Some(at);
                    }
                }
            }
        }
        match likely {
            Some(at) => Ok(Place {
                titles: Some(at),
                units: None,
                row: self.after(at).unwrap_or(self.lines.len()),
            }),
            None => Err(RecordError::NoSamples {
                path: self.path.to_owned(),
                why: "it has no column that is a lead; expected titles such as I, II, V1 in the first row, and rows of numbers below".into(),
            }),
        }
    }

    /// The comment right before the rows, where it has as many titles as there are columns: NumPy writes them so.
    fn commented_titles(&self, row: usize) -> Option<usize> {
        let at = row
            .checked_sub(1)
            .filter(|&at| self.lines[at].is_comment())?;
        let comment = self.lines[at].text.trim_start_matches(['#', '%']);
        if Pair::of(comment, self.separator).is_some_and(|pair| pair.known().is_some()) {
            return None;
        }
        let columns = trimmed(&self.cells(row)).len();
        let titles = self.titles_of(at, columns);
        let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
        (titles.len() == columns && self.has_title(&titles)).then_some(at)
    }

    /// The titles, or units, in a line above rows of so many columns.
    fn titles_of(&self, at: usize, columns: usize) -> Vec<String> {
        let line = &self.lines[at];
        let text = line.text.trim_start_matches(['#', '%']).trim_matches(' ');
        let titles = cells(text, self.separator);
        // Titles of several words stand further apart than the words.
        let apart = || {
            let apart = text.split('\t').flat_map(|part| part.split("  "));
            let apart = apart.map(str::trim).filter(|title| !title.is_empty());
            apart.collect::<Vec<_>>()
        };
        let titles = match self.separator == Separator::Blank && titles.len() != columns {
            true => Some(apart())
                .filter(|apart| apart.len() == columns)
                .unwrap_or(titles),
            false => titles,
        };
        let titles = titles.into_iter();
        titles
            .map(|title| title.trim_matches(['"', '\'']).to_owned())
            .collect()
    }

    fn leads_in_rows(&self, at: usize) -> RecordError {
        content(
            self.path,
            "the table",
            &format!(
                "one with a lead in each row (line {})",
                self.lines[at].number
            ),
            "a lead in each column and one row a sample; transpose it",
        )
    }

    fn head(
        self,
        place: &Place,
        mut keys: Keys,
        comments: Vec<String>,
    ) -> Result<Head, RecordError> {
        let rows = (place.row..self.lines.len()).filter(|&at| !self.lines[at].is_comment());
        let rows: Vec<usize> = rows.take(SAMPLE_ROWS).collect();
        let sample: Vec<Vec<&str>> = rows.iter().map(|&at| self.cells(at)).collect();
        if let Some(at) = (0..sample.len().min(3)).find(|&at| is_lead_row(&sample[at])) {
            return Err(self.leads_in_rows(rows[at]));
        }
        let found = sample.first().map_or(0, |row| trimmed(row).len());
        let titles = match place.titles {
            Some(at) => self.titles_of(at, found),
            None => self.untitled(sample.first().map_or(&[], |row| trimmed(row)), &keys)?,
        };
        let columns = trimmed(&titles.iter().map(String::as_str).collect::<Vec<_>>()).len();
        let joined = self.joined(&sample, columns)?;
        let comma = joined.then_some(true).or_else(|| {
            let mut cells = sample
                .iter()
                .flatten()
                .filter(|cell| is_value(cell) && !is_clock(cell));
            let marked = cells.find(|cell| cell.contains(['.', ',']))?;
            Some(marked.contains(','))
        });
        let units = match place.units {
            Some(at) => self.titles_of(at, found),
            None => {
                let times = titles.iter().filter(|title| table::is_time(title)).count();
                let mut units = keys.unit_of(columns.saturating_sub(times)).into_iter();
                let own = titles.iter().map(|title| match table::is_time(title) {
                    true => String::new(),
                    false => units.next().unwrap_or_default(),
                });
                own.collect()
            }
        };
        // What stands below the title of a column of texts is no unit.
        let texts = |column: usize| {
            let mut cells = sample.iter().filter_map(|row| row.get(column));
            let all = cells.clone().all(|cell| !is_value(cell));
            all && cells.any(|cell| is_text(cell))
        };
        let units = units.into_iter().enumerate();
        let units = units.map(|(column, unit)| match texts(column) {
            true => String::new(),
            false => unit,
        });
        let units: Vec<String> = units.collect();
        let first_row = self
            .lines
            .get(place.row)
            .map_or(u64::MAX, |line| line.number);
        let sample = sample.iter().map(|row| {
            let row = row.iter().map(|&cell| cell.to_owned());
            row.collect()
        });
        let rate = keys.rate(self.path, comma)?;
        let too_long = |line: &&Line| line.text.len() > MAX_LINE_BYTES;
        if let Some(line) = self.lines.iter().find(too_long) {
            return Err(RecordError::TooLarge {
                path: self.path.to_owned(),
                what: "length of a line in bytes",
                found: line.text.len() as u64,
                limit: MAX_LINE_BYTES as u64,
            });
        }
        Ok(Head {
            separator: self.separator,
            joined,
            units,
            rate,
            comments,
            persons: std::mem::take(&mut keys.persons),
            first_row,
            sample: sample.collect(),
            titles,
        })
    }

    /// Titles of columns that have none, from the caller or from a key.
    fn untitled(&self, row: &[&str], keys: &Keys) -> Result<Vec<String>, RecordError> {
        let told = self.options.array_leads.as_ref().map(|leads| {
            let leads = leads.leads().iter();
            leads.map(|lead| lead.name().to_owned()).collect()
        });
        let mut told: Vec<String> = told.unwrap_or_else(|| keys.leads.clone());
        let (columns, leads) = (row.len(), told.len());
        if told.is_empty() {
            let first = row.first().copied().unwrap_or("absent");
            return Err(content(self.path, "the title of a column", first, TITLES));
        }
        if columns == leads || self.separator == Separator::Mark(b',') && is_joined(row, leads) {
            return Ok(told);
        }
        if columns == leads + 1 {
            told.insert(0, "time".to_owned());
            return Ok(told);
        }
        Err(content(
            self.path,
            "the number of columns",
            &format!("{columns}, and none has a title"),
            &format!(
                "{leads}, as leads are named, or one more for the time; put a row of titles at the top, or give the leads (`--input-leads`)"
            ),
        ))
    }

    /// Whether the commas of the rows are decimal marks and separators at once.
    fn joined(&self, sample: &[Vec<&str>], columns: usize) -> Result<bool, RecordError> {
        let rows = || sample.iter().map(|row| trimmed(row));
        let parted = rows().any(|row| row.len() > columns);
        if self.separator != Separator::Mark(b',')
            || columns == 0
            || !parted
            || !rows().all(|row| is_joined(row, columns))
        {
            return Ok(false);
        }
        let first = rows().map(|row| row[0].parse::<i64>().ok());
        let first: Option<Vec<i64>> = first.collect();
        let counts = first.is_some_and(|first| {
            first.len() > 1
                && first
                    .windows(2)
                    .all(|pair| pair[1] == pair[0].saturating_add(1))
        });
        if !counts {
            return Ok(true);
        }
        Err(content(
            self.path,
            "the comma between the digits",
            "a decimal mark or a separator: it could be either",
            "a title for each column, or another separator",
        ))
    }
}
