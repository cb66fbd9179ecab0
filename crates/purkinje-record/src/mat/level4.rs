//! MATLAB files of level 4: one matrix after another, each with a head of 20 bytes and its name.

use std::path::Path;

use super::{Class, LONG_TEXT, MAX_TEXT_CHARS, MAX_VALUES, MatFile, Numeric, Value};
use crate::RecordError;
use crate::error::content;
use crate::map::Whole;
use crate::values::Bytes;

pub(super) fn parse(path: &Path, bytes: &Whole) -> Result<MatFile, RecordError> {
    let mut variables = Vec::new();
    let mut chars = 0usize;
    let mut at = 0;
    while at < bytes.len() {
        let (variable, end) = variable(path, bytes, at, &mut chars)?;
        if variables.len() >= MAX_VALUES {
            return Err(RecordError::TooLarge {
                path: path.to_owned(),
                what: "number of variables",
                found: variables.len() as u64 + 1,
                limit: MAX_VALUES as u64,
            });
        }
        variables.push(variable);
        at = end;
    }
    if variables.is_empty() {
        return Err(truncated(path, bytes, 20, "the head of a MATLAB file"));
    }
    Ok(MatFile {
        level: 4,
        variables,
    })
}

/// What the 20 bytes before a matrix say.
struct Head {
    stored: Class,
    /// 0: numbers, 1: text, 2: sparse.
    kind: u32,
    big_endian: bool,
    rows: usize,
    columns: usize,
    complex: bool,
    name_bytes: usize,
}

impl Head {
    fn read(path: &Path, bytes: &[u8], at: usize) -> Result<Head, RecordError> {
        let Some(head) = bytes[at..].first_chunk::<20>() else {
            return Err(truncated(
                path,
                bytes,
                at as u64 + 20,
                "the head of a matrix",
            ));
        };
        let words = head.as_chunks::<4>().0;
        let word = |i: usize, big_endian: bool| match big_endian {
            true => u32::from_be_bytes(words[i]),
            false => u32::from_le_bytes(words[i]),
        };
        // The type is a number of four digits, MOPT, below 5000 in the right byte order; M tells the byte order again.
        let kind = [false, true].into_iter().find_map(|big_endian| {
            let kind = word(0, big_endian);
            let fits = kind / 1000 == u32::from(big_endian)
                && (kind / 100).is_multiple_of(10)
                && kind / 10 % 10 <= 5
                && kind % 10 <= 2;
            fits.then_some((kind, big_endian))
        });
        let Some((kind, big_endian)) = kind else {
            return Err(content(
                path,
                &format!("the head of a matrix at byte {at}"),
                &format!("{:02x?}", words[0]),
                "the start of a MATLAB file of level 4 or 5; copy the file again",
            ));
        };
        let [rows, columns, complex, name_bytes] =
            [1, 2, 3, 4].map(|i| word(i, big_endian) as usize);
        Ok(Head {
            stored: match kind / 10 % 10 {
                0 => Class::Double,
                1 => Class::Single,
                2 => Class::Int32,
                3 => Class::Int16,
                4 => Class::Uint16,
                _ => Class::Uint8,
            },
            kind: kind % 10,
            big_endian,
            rows,
            columns,
            complex: complex == 1,
            name_bytes,
        })
    }

    /// The matrix of these bytes.
    fn numbers(&self, bytes: Bytes) -> Numeric {
        let (shape, stored) = (vec![self.rows, self.columns], self.stored);
        Numeric::new(shape, stored, stored, self.big_endian, bytes)
    }

    /// The matrix of these bytes as text, a line for each row.
    fn text(&self, bytes: &[u8]) -> String {
        let numbers = self.numbers(Bytes::Memory(bytes.to_vec()));
        let mut text = String::new();
        for row in 0..self.rows {
            if row > 0 {
                text.push('\n');
            }
            for column in 0..self.columns {
                let code = numbers.get(column * self.rows + row).unwrap_or(0.0) as u32;
                text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
        }
        text
    }
}

/// The variable that starts at `at`, and where it ends. `chars` counts those of all texts.
fn variable(
    path: &Path,
    bytes: &Whole,
    at: usize,
    chars: &mut usize,
) -> Result<((String, Value), usize), RecordError> {
    let head = Head::read(path, bytes, at)?;
    let (rows, columns) = (head.rows, head.columns);
    let count = rows.checked_mul(columns);
    let size = count.and_then(|count| count.checked_mul(head.stored.bytes()));
    let start = (at + 20).checked_add(head.name_bytes);
    let end = start.zip(size).and_then(|(start, size)| {
        let imaginary = if head.complex { size } else { 0 };
        start.checked_add(size)?.checked_add(imaginary)
    });
    let (Some(start), Some(size), Some(end)) = (start, size, end.filter(|&end| end <= bytes.len()))
    else {
        return Err(truncated(
            path,
            bytes,
            end.map_or(u64::MAX, |end| end as u64),
            &format!("a matrix of {rows} x {columns}"),
        ));
    };
    let name = String::from_utf8_lossy(&bytes[at + 20..start]);
    let name: String = name.trim_end_matches('\0').chars().take(256).collect();
    let real = &bytes[start..start + size];
    let value = match head.kind {
        _ if head.complex => Value::Other("complex array"),
        0 => Value::Numeric(head.numbers(bytes.later(real))),
        1 => {
            let count = rows.saturating_mul(columns.max(1));
            if count > MAX_TEXT_CHARS.saturating_sub(*chars) {
                return Ok(((name, Value::Other(LONG_TEXT)), end));
            }
            *chars += count;
            Value::Text(head.text(real))
        }
        _ => Value::Other("sparse array"),
    };
    Ok(((name, value), end))
}

fn truncated(path: &Path, bytes: &[u8], expected: u64, what: &str) -> RecordError {
    RecordError::Truncated {
        path: path.to_owned(),
        found: bytes.len() as u64,
        expected,
        what: what.into(),
    }
}
