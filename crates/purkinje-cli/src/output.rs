//! Output: text on standard output, tables, and files written atomically.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use miette::{Diagnostic, IntoDiagnostic, WrapErr};
use purkinje::Model;
use purkinje::made::provenance;
use purkinje::store::Store;
use serde_json::Value;

/// The reader of standard output was closed (`purkinje ... | head`), which is not a failure.
#[derive(Debug)]
pub struct ReaderGone;

impl fmt::Display for ReaderGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reader of standard output was closed")
    }
}

impl std::error::Error for ReaderGone {}
impl Diagnostic for ReaderGone {}

/// An error of the library as a `miette` diagnostic, with its advice.
#[derive(Debug)]
struct Shown(purkinje::Error);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Shown {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl Diagnostic for Shown {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let help = self.0.help()?;
        Some(Box::new(help))
    }
}

/// Whether an error says that the work was stopped as the user asked for.
pub fn is_stop(report: &miette::Report) -> bool {
    let mut shown = report
        .chain()
        .filter_map(|cause| cause.downcast_ref::<Shown>());
    shown.any(|Shown(error)| error.is_stop())
}

static JSON_ERRORS: AtomicBool = AtomicBool::new(false);

/// Sets whether errors are printed as JSON.
pub fn set_json_errors(json: bool) {
    JSON_ERRORS.store(json, Ordering::Relaxed);
}

/// Whether errors are printed as JSON.
pub fn json_errors() -> bool {
    JSON_ERRORS.load(Ordering::Relaxed)
}

/// An error as a line of JSON: `{"error": {"code": ..., "message": ..., "causes": [...], "help": ...}}`.
pub fn json_error(code: &str, message: &str, causes: &[String], help: Option<&str>) -> String {
    let error = serde_json::json!({
        "code": code,
        "message": message,
        "causes": causes,
        "help": help,
    });
    serde_json::json!({ "error": error }).to_string()
}

/// The code of an error, see [`purkinje::Error::code`]; `failed` for errors of the program itself.
pub fn code(report: &miette::Report) -> &'static str {
    let mut shown = report
        .chain()
        .filter_map(|cause| cause.downcast_ref::<Shown>());
    shown.next().map_or("failed", |Shown(error)| error.code())
}

/// Converts errors of the library to reports.
pub trait Show<T> {
    /// Converts the error to a report.
    ///
    /// # Errors
    /// The same as before.
    fn shown(self) -> miette::Result<T>;
}

impl<T, E: Into<purkinje::Error>> Show<T> for Result<T, E> {
    fn shown(self) -> miette::Result<T> {
        self.map_err(|error| Shown(error.into()).into())
    }
}

/// Writes to standard output.
///
/// # Errors
/// [`ReaderGone`] when the reader was closed, which `run` treats as success.
pub fn print(text: &str) -> miette::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        Err(error) => Err(error)
            .into_diagnostic()
            .wrap_err("cannot write to standard output"),
    }
}

/// Writes a value to standard output as indented JSON.
///
/// # Errors
/// As [`print()`].
pub fn print_json(value: &impl serde::Serialize) -> miette::Result<()> {
    print(&(json(value)? + "\n"))
}

/// A value as indented JSON.
///
/// # Errors
/// When a map has keys that are not strings.
pub fn json(value: &impl serde::Serialize) -> miette::Result<String> {
    serde_json::to_string_pretty(value).into_diagnostic()
}

/// A result as indented JSON, with what it was made with as `made_by`: of an object, or of each object of a list.
///
/// # Errors
/// As [`json`].
pub fn json_made_by(
    found: &impl serde::Serialize,
    model: Option<&Model>,
    store: Option<&Store>,
) -> miette::Result<String> {
    let made_by = provenance(&crate::progress::Bars, model, store);
    // Through a `Value`: single-precision numbers are written with all digits of their double-precision value.
    let mut found = serde_json::to_value(found).into_diagnostic()?;
    let objects = match &mut found {
        Value::Array(all) => all.as_mut_slice(),
        one => std::slice::from_mut(one),
    };
    for object in objects.iter_mut().filter_map(Value::as_object_mut) {
        let made_by = serde_json::to_value(&made_by).into_diagnostic()?;
        object.insert("made_by".to_owned(), made_by);
    }
    Ok(json(&found)? + "\n")
}

/// Whether standard output may be coloured: a terminal, and `NO_COLOR` unset or empty.
pub fn colour() -> bool {
    io::stdout().is_terminal() && colours_allowed()
}

/// Whether the user allows colours at all.
pub fn colours_allowed() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Width of the terminal in columns: its own value, else `COLUMNS`, else 100.
pub fn columns() -> usize {
    crate::system::terminal_columns()
        .or_else(|| std::env::var("COLUMNS").ok()?.parse().ok())
        .filter(|&columns| columns > 0)
        .unwrap_or(100)
}

/// Writes a file atomically; its folder is created if need be.
///
/// # Errors
/// When the folder or the file cannot be written.
pub fn write_file(path: &Path, bytes: &[u8]) -> miette::Result<()> {
    purkinje::files::write_file(path, bytes).shown()
}

/// The command line, as it is written beside results: without the options that change neither them nor where they are.
pub fn command_line() -> String {
    let args = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned());
    without_manner(args.skip(1))
}

/// The arguments as a line that a shell reads, after the name of the program.
fn without_manner(args: impl Iterator<Item = String>) -> String {
    let mut line = "purkinje".to_owned();
    let mut args = args;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--threads" => {
                args.next();
            }
            "--resume" | "--quiet" | "-q" | "--verbose" | "-v" | "-vv" => {}
            other if other.starts_with("--threads=") => {}
            other => {
                line.push(' ');
                line.push_str(&quoted(other));
            }
        }
    }
    line
}

fn quoted(arg: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=,%@+".contains(c);
    match !arg.is_empty() && arg.chars().all(plain) {
        true => arg.to_owned(),
        false => format!("'{}'", printable(arg).replace('\'', "'\\''")),
    }
}

/// A table in columns: text aligned to the left, numbers to the right.
pub struct Table {
    rows: Vec<Vec<String>>,
    left: usize,
    text_last: bool,
}

impl Table {
    /// A table with a header; the first `left` columns hold text.
    pub fn new<S: Into<String>>(left: usize, header: impl IntoIterator<Item = S>) -> Self {
        Table {
            rows: vec![header.into_iter().map(Into::into).collect()],
            left,
            text_last: false,
        }
    }

    /// Aligns the last column to the left, as text.
    pub fn text_last(self) -> Self {
        Table {
            text_last: true,
            ..self
        }
    }

    /// Adds a row.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                if column > 0 {
                    line.push_str("  ");
                }
                let width = widths[column];
                if column < self.left || (self.text_last && column + 1 == columns) {
                    line += &format!("{cell:<width$}");
                } else {
                    line += &format!("{cell:>width$}");
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

pub use purkinje::text::{count, printable};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_one_line_without_what_changes_nothing() {
        let args = "embed --threads 2 -q --resume --out|a b.parquet|it's".split('|');
        let args: Vec<&str> = args.collect();
        let all = args[0].split(' ').chain(args[1..].iter().copied());
        assert_eq!(
            without_manner(all.map(str::to_owned)),
            "purkinje embed --out 'a b.parquet' 'it'\\''s'"
        );
    }

    #[test]
    fn numbers_are_aligned_to_the_right() {
        let mut table = Table::new(1, ["lead", "mV"]);
        table.row(["aVR", "-1.25"]);
        table.row(["I", "3"]);
        assert_eq!(table.to_string(), "lead     mV\naVR   -1.25\nI         3\n");
    }
}
