//! Tables with named columns: CSV, whose cells may span lines, or Parquet.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::ImportError;
use super::table_parquet;

/// A table in memory.
pub(super) struct Table {
    pub(super) path: PathBuf,
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<TableRow>,
}

/// One row, with the line it starts at; in Parquet the first row is line 2.
pub(super) struct TableRow {
    pub(super) line: u64,
    cells: Vec<String>,
}

impl Table {
    /// Reads a table: Parquet if its first bytes say so, anything else as CSV. CSV that is not UTF-8 is read as
    /// Latin-1, which hospital exports often use.
    pub(super) fn read(path: &Path) -> Result<Table, ImportError> {
        if starts_as_parquet(path) {
            let (columns, rows) = table_parquet::read(path)?;
            let rows = (2..).zip(rows);
            return Ok(Table {
                path: path.to_owned(),
                columns,
                rows: rows.map(|(line, cells)| TableRow { line, cells }).collect(),
            });
        }
        let bytes = fs::read(path).map_err(|source| ImportError::Io {
            path: path.to_owned(),
            source,
        })?;
        Table::parse(path, &bytes)
    }

    /// Reads a table from its bytes; `path` is named in errors.
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Table, ImportError> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let broken = |error: csv::Error| ImportError::Table {
            path: path.to_owned(),
            line: error.position().map_or(1, csv::Position::line),
            reason: match error.kind() {
                csv::ErrorKind::UnequalLengths {
                    expected_len, len, ..
                } => {
                    format!("it has {len} cells, the header line has {expected_len}")
                }
                _ => error.to_string(),
            },
        };
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter(bytes))
            .from_reader(bytes);
        let columns: Vec<String> = reader
            .byte_headers()
            .map_err(broken)?
            .iter()
            .map(|cell| text(cell).trim().to_owned())
            .collect();
        let mut rows = Vec::new();
        for record in reader.byte_records() {
            let record = record.map_err(broken)?;
            rows.push(TableRow {
                line: record.position().map_or(0, csv::Position::line),
                cells: record.iter().map(text).collect(),
            });
        }
        Ok(Table {
            path: path.to_owned(),
            columns,
            rows,
        })
    }

    /// The first column with one of these names, in upper or lower case.
    pub(super) fn find(&self, names: &[&str]) -> Option<usize> {
        names.iter().find_map(|name| {
            self.columns
                .iter()
                .position(|column| column.eq_ignore_ascii_case(name))
        })
    }

    /// The column called `name`.
    pub(super) fn column(&self, name: &str, advice: &'static str) -> Result<usize, ImportError> {
        self.find(&[name]).ok_or_else(|| ImportError::NoColumn {
            path: self.path.clone(),
            wanted: format!("`{name}`"),
            present: self.columns.clone(),
            advice,
        })
    }

    /// An error about a row.
    pub(super) fn error(&self, row: &TableRow, reason: impl Into<String>) -> ImportError {
        ImportError::Table {
            path: self.path.clone(),
            line: row.line,
            reason: reason.into(),
        }
    }
}

impl TableRow {
    /// The trimmed cell; empty if there is none.
    pub(super) fn cell(&self, column: usize) -> &str {
        self.cells.get(column).map_or("", |cell| cell.trim())
    }

    /// The cell, unless it is blank.
    pub(super) fn value(&self, column: Option<usize>) -> Option<&str> {
        column
            .map(|column| self.cell(column))
            .filter(|cell| !cell.is_empty())
    }
}

/// An identifier normalised for comparison: data frames write the integer 19005 as `19005.0`.
pub(super) fn identifier(cell: &str) -> &str {
    match cell.strip_suffix(".0") {
        Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => digits,
        _ => cell,
    }
}

fn starts_as_parquet(path: &Path) -> bool {
    let mut start = [0; 4];
    fs::File::open(path).is_ok_and(|mut file| file.read_exact(&mut start).is_ok())
        && &start == table_parquet::MAGIC
}

/// The delimiter: semicolon or tab if the header line has more of them than commas.
fn delimiter(bytes: &[u8]) -> u8 {
    let header = bytes.split(|&byte| byte == b'\n').next().unwrap_or(&[]);
    let count = |wanted: u8| header.iter().filter(|&&byte| byte == wanted).count();
    [b';', b'\t']
        .into_iter()
        .find(|&candidate| count(candidate) > count(b','))
        .unwrap_or(b',')
}

fn text(cell: &[u8]) -> String {
    std::str::from_utf8(cell).map_or_else(
        |_| cell.iter().map(|&byte| char::from(byte)).collect(),
        str::to_owned,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(bytes: &[u8]) -> Result<Table, ImportError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.csv");
        fs::write(&path, bytes).unwrap();
        Table::read(&path)
    }

    #[test]
    fn cells_span_lines_and_lines_are_counted() {
        let t = table(b"\xef\xbb\xbfid,Report\n1,\"a\nb, c\"\n2,d\n").unwrap();
        assert_eq!(t.columns, ["id", "Report"]);
        assert_eq!(t.rows[0].cell(1), "a\nb, c");
        assert_eq!(t.rows[1].line, 4);
        assert_eq!(t.find(&["text", "report"]), Some(1));
        assert!(t.column("fold", "").is_err());
    }

    #[test]
    fn exports_in_other_habits_are_read() {
        let t = table(b"id;name\n1;Gr\xfc\xdfe, x\n").unwrap();
        assert_eq!(t.rows[0].cell(1), "Gr\u{fc}\u{df}e, x");
        let error = table(b"a,b\n1,2\n3\n").err().unwrap().to_string();
        assert!(
            error.contains("line 3") && error.contains("1 cells"),
            "{error}"
        );
    }

    #[test]
    fn integers_written_as_floats_are_identifiers() {
        assert_eq!(identifier("19005.0"), "19005");
        assert_eq!(identifier("A.0"), "A.0");
        assert_eq!(identifier(".0"), ".0");
    }
}
