//! Writing MATLAB files of level 5, uncompressed.

use std::io::{self, Write};

/// Bytes of the largest variable that is written: sizes are 32 bits, and readers differ about the last of them.
pub const MAX_VARIABLE_BYTES: usize = i32::MAX as usize;

/// A variable to write.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NewValue<'a> {
    /// A matrix of doubles.
    Doubles {
        /// Rows of the matrix.
        rows: usize,
        /// Columns of the matrix.
        columns: usize,
        /// Its values, row by row.
        values: &'a [f64],
    },
    /// One line of text. Characters beyond the 65,536 that MATLAB has become `U+FFFD`.
    Text(&'a str),
}

/// Writes a file with these variables. The same variables give the same bytes: there is no date in it.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] for a name that is none, values that do not fill their matrix, or a variable beyond
/// [`MAX_VARIABLE_BYTES`]; what writing gives.
pub fn write_mat(out: &mut impl Write, variables: &[(&str, NewValue<'_>)]) -> io::Result<()> {
    let mut header = b"MATLAB 5.0 MAT-file, written by Purkinje".to_vec();
    header.resize(124, b' ');
    header[116..].fill(0);
    header.extend(0x0100u16.to_le_bytes());
    header.extend(b"IM");
    out.write_all(&header)?;
    for (name, value) in variables {
        out.write_all(&matrix(name, value)?)?;
    }
    Ok(())
}

// Types of data and classes of arrays, as the format numbers them.
const INT8: u32 = 1;
const INT32: u32 = 5;
const UINT32: u32 = 6;
const DOUBLE: u32 = 9;
const MATRIX: u32 = 14;
const UTF8: u32 = 16;
const CHAR_CLASS: u32 = 4;
const DOUBLE_CLASS: u32 = 6;

fn matrix(name: &str, value: &NewValue<'_>) -> io::Result<Vec<u8>> {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic());
    let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !starts_well || !is_name || name.len() > 63 {
        return Err(invalid(format!("`{name}` is no name of a variable")));
    }
    let (class, dimensions, kind, data) = match *value {
        NewValue::Doubles {
            rows,
            columns,
            values,
        } => {
            if rows.checked_mul(columns) != Some(values.len()) {
                return Err(invalid(format!(
                    "`{name}` has {} values for {rows} rows of {columns}",
                    values.len()
                )));
            }
            too_large(name, values.len(), 8)?;
            let by_column =
                (0..columns).flat_map(|c| (0..rows).map(move |r| values[r * columns + c]));
            let data: Vec<u8> = by_column.flat_map(f64::to_le_bytes).collect();
            (DOUBLE_CLASS, [rows, columns], DOUBLE, data)
        }
        NewValue::Text(text) => {
            too_large(name, text.len(), 3)?;
            // As UTF-8, which MATLAB and SciPy read; SciPy takes 16-bit characters for single bytes.
            let in_plane = |c: char| if c > '\u{FFFF}' { '\u{FFFD}' } else { c };
            let text: String = text.chars().map(in_plane).collect();
            let chars = text.chars().count();
            let data = text.into_bytes();
            (CHAR_CLASS, [usize::from(chars > 0), chars], UTF8, data)
        }
    };
    let mut body = Vec::with_capacity(data.len() + 128);
    let flags: Vec<u8> = [class, 0].into_iter().flat_map(u32::to_le_bytes).collect();
    element(&mut body, UINT32, &flags);
    // Both fit: their product was bounded, or one of them is 0 or 1.
    let sizes: Vec<u8> = dimensions
        .into_iter()
        .flat_map(|size| i32::try_from(size).unwrap_or(0).to_le_bytes())
        .collect();
    element(&mut body, INT32, &sizes);
    element(&mut body, INT8, name.as_bytes());
    element(&mut body, kind, &data);
    let mut whole = Vec::with_capacity(body.len() + 8);
    element(&mut whole, MATRIX, &body);
    Ok(whole)
}

/// Type, size, bytes, and zeros up to the next multiple of 8.
fn element(to: &mut Vec<u8>, kind: u32, bytes: &[u8]) {
    to.extend(kind.to_le_bytes());
    to.extend((bytes.len() as u32).to_le_bytes());
    to.extend(bytes);
    to.resize(to.len().next_multiple_of(8), 0);
}

fn too_large(name: &str, values: usize, bytes: usize) -> io::Result<()> {
    match values.checked_mul(bytes) {
        Some(size) if size <= MAX_VARIABLE_BYTES - 256 => Ok(()),
        _ => Err(invalid(format!(
            "`{name}` has {values} values, more than a file of level 5 holds"
        ))),
    }
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mat::MatFile;

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.mat");
        let feats: Vec<f64> = (0..12 * 5).map(|k| f64::from(k) / 7.0).collect();
        let variables = [
            (
                "feats",
                NewValue::Doubles {
                    rows: 12,
                    columns: 5,
                    values: &feats,
                },
            ),
            (
                "curr_sample_rate",
                NewValue::Doubles {
                    rows: 1,
                    columns: 1,
                    values: &[500.0],
                },
            ),
            (
                "text",
                NewValue::Text("vermutlich sinusrhythmus, größe \u{1F600}"),
            ),
            ("nothing", NewValue::Text("")),
        ];
        let mut bytes = Vec::new();
        write_mat(&mut bytes, &variables).unwrap();
        assert_eq!(bytes.len() % 8, 0);
        std::fs::write(&path, &bytes).unwrap();
        let file = MatFile::read(&path).unwrap();
        assert_eq!(file.level, 5);
        let names: Vec<&str> = file.variables.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["feats", "curr_sample_rate", "text", "nothing"]);
        let found = file.get("feats").unwrap();
        assert_eq!(found.to_string(), "12x5 double");
        let text = format!("{:?}", file.get("text").unwrap());
        assert!(text.contains("größe \u{FFFD}"), "{text}");
        let recording = crate::open(&path, &crate::OpenOptions::default());
        let recording = recording.unwrap();
        let expected: Vec<f32> = feats.iter().map(|x| *x as f32).collect();
        assert_eq!(recording.samples_mv(), expected);
        assert_eq!(recording.rate_hz, 500.0);
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        let short = NewValue::Doubles {
            rows: 2,
            columns: 2,
            values: &[1.0],
        };
        for (name, value) in [
            ("a", short),
            ("1a", NewValue::Text("")),
            ("", NewValue::Text("")),
        ] {
            let error = write_mat(&mut Vec::new(), &[(name, value)]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
