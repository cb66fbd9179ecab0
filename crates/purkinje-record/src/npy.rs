//! Recordings as NumPy arrays (`.npy`, <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>).
//!
//! An array says neither its rate nor its leads: they come from the caller or from a sidecar `<name>.json`:
//! `{"rate_hz": 500, "leads": ["I", "II"], "unit": "mV"}`.

use std::path::Path;

use purkinje_base::npy::{Header, HeaderError};
use serde::Deserialize;

use crate::array::{self, Known, Matrix};
use crate::error::content;
use crate::mat::Class;
use crate::names::Said;
use crate::units::no_voltage;
use crate::values::{Bytes, Raw, Values};
use crate::wfdb::files;
use crate::{LeadSet, OpenOptions, RecordError, Unit};

/// Bytes of the largest array file that is read.
pub const MAX_NPY_BYTES: u64 = 1 << 36;
/// Bytes in which the head of an array has to lie.
const MAX_HEAD_BYTES: usize = 1 << 20;
/// Bytes of the largest sidecar file that is read.
pub const MAX_SIDECAR_BYTES: u64 = 1 << 20;

const TYPES: &str = "float32, float64 or int16; convert it with numpy's astype";
const SHAPES: &str =
    "two dimensions, leads and time; reshape the array or save one recording a file";

/// What a sidecar file may say.
#[derive(Debug, Default, Deserialize)]
struct Sidecar {
    rate_hz: Option<f64>,
    leads: Option<LeadSet>,
    unit: Option<String>,
}

pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<array::Array, RecordError> {
    let array = Array::parse(path, Bytes::of(path, MAX_NPY_BYTES)?, true)?;
    let sidecar = sidecar(path)?;
    if let (Some(unit), None) = (&sidecar.unit, options.unit)
        && unit.parse::<Unit>().is_err()
    {
        return Err(no_voltage(&path.with_extension("json"), "all", unit, true));
    }
    let unit = sidecar.unit.map(|unit| ("unit".to_owned(), vec![unit]));
    let known = Known {
        format: "npy",
        rate_hz: sidecar.rate_hz,
        leads: sidecar.leads,
        said: Said::of_texts(unit.into_iter().collect()),
        own: String::new(),
        each: Vec::new(),
        whole: array.is_whole(),
        standard_12: false,
        rate_from: "a sampling rate (`--input-rate`) or in the sidecar",
        leads_from: "names of the leads (`--input-leads`) or in the sidecar `<name>.json` (`leads`)",
    };
    array.recording(path, known, options)
}

fn sidecar(path: &Path) -> Result<Sidecar, RecordError> {
    let path = path.with_extension("json");
    if !path.exists() {
        return Ok(Sidecar::default());
    }
    let bytes = files::read_small(&path, MAX_SIDECAR_BYTES, "size in bytes")?;
    serde_json::from_slice(&bytes).map_err(|error| {
        content(
            &path,
            "the sidecar",
            &error.to_string(),
            "JSON such as {\"rate_hz\": 500, \"leads\": [\"I\", \"II\"], \"unit\": \"mV\"}",
        )
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Number(Class),
    /// So many bytes a text.
    Bytes(usize),
    /// So many bytes a text, four a character.
    Unicode(usize),
}

impl Kind {
    /// Never 0.
    fn bytes(self) -> usize {
        match self {
            Kind::Number(class) => class.bytes(),
            Kind::Bytes(bytes) | Kind::Unicode(bytes) => bytes,
        }
    }

    fn number(self) -> Option<Class> {
        match self {
            Kind::Number(class) => Some(class),
            _ => None,
        }
    }

    fn is_samples(self) -> bool {
        matches!(
            self.number(),
            Some(Class::Single | Class::Double | Class::Int16)
        )
    }

    /// The kind that `descr` names without its byte order.
    fn parse(descr: &str) -> Option<Kind> {
        match descr {
            "f4" => Some(Kind::Number(Class::Single)),
            "f8" => Some(Kind::Number(Class::Double)),
            "i2" => Some(Kind::Number(Class::Int16)),
            "i1" => Some(Kind::Number(Class::Int8)),
            "u1" => Some(Kind::Number(Class::Uint8)),
            "u2" => Some(Kind::Number(Class::Uint16)),
            "u4" => Some(Kind::Number(Class::Uint32)),
            "u8" => Some(Kind::Number(Class::Uint64)),
            "i4" => Some(Kind::Number(Class::Int32)),
            "i8" => Some(Kind::Number(Class::Int64)),
            _ => {
                let (kind, length) = descr.split_at_checked(1)?;
                let length: usize = length.parse().ok().filter(|&length| length > 0)?;
                match kind {
                    "S" => Some(Kind::Bytes(length)),
                    "U" => Some(Kind::Unicode(length.checked_mul(4)?)),
                    _ => None,
                }
            }
        }
    }
}

/// An array in a file, not yet decoded.
pub(crate) struct Array {
    kind: Kind,
    big_endian: bool,
    fortran: bool,
    /// Sizes; none for a single value.
    shape: Vec<usize>,
    /// Just its values.
    bytes: Bytes,
}

impl Array {
    /// The array of a `.npy` file; with `samples` just of the types that samples may have.
    pub(crate) fn parse(path: &Path, file: Bytes, samples: bool) -> Result<Array, RecordError> {
        let head = 0..file.len().min(MAX_HEAD_BYTES);
        let (head, end) = file.with(head, |head| Self::head(path, head, file.len(), samples))??;
        Ok(Array {
            bytes: file.from(end),
            ..head
        })
    }

    /// What the head says, and where it ends.
    fn head(
        path: &Path,
        bytes: &[u8],
        file_bytes: usize,
        samples: bool,
    ) -> Result<(Array, usize), RecordError> {
        let truncated = |expected: u64, what: &str| RecordError::Truncated {
            path: path.to_owned(),
            found: file_bytes as u64,
            expected,
            what: what.into(),
        };
        let Header {
            descr,
            fortran_order: fortran,
            shape,
            bytes: end,
        } = Header::parse(bytes).map_err(|error| match error {
            HeaderError::Truncated { expected, in_head } => {
                let what = match in_head {
                    true => "the head of a .npy file",
                    false => "the description of the array",
                };
                truncated(expected as u64, what)
            }
            error => no_header(path, &error),
        })?;
        let descr = descr.as_str();
        let parsed = descr.split_at_checked(1).and_then(|(order, kind)| {
            matches!(order, "<" | ">" | "|")
                .then(|| Kind::parse(kind))
                .flatten()
        });
        let Some(kind) = parsed.filter(|kind| !samples || kind.is_samples()) else {
            return Err(content(path, "the type of the array (descr)", descr, TYPES));
        };
        let big_endian = descr.starts_with('>');
        let size = shape
            .iter()
            .try_fold(1usize, |count, &size| count.checked_mul(size))
            .and_then(|count| count.checked_mul(kind.bytes()))
            .and_then(|size| size.checked_add(end));
        match size {
            Some(size) if size == file_bytes => {}
            Some(size) if size < file_bytes => {
                return Err(content(
                    path,
                    "the size of the file",
                    &format!("{file_bytes} bytes"),
                    &format!("{size} bytes for the shape {}", written_shape(&shape)),
                ));
            }
            size => {
                return Err(truncated(
                    size.map_or(u64::MAX, |size| size as u64),
                    "all values of the array",
                ));
            }
        }
        let array = Array {
            kind,
            big_endian,
            fortran,
            shape,
            bytes: Bytes::Memory(Vec::new()),
        };
        Ok((array, end))
    }

    /// Whether its values are whole numbers.
    pub(crate) fn is_whole(&self) -> bool {
        let class = self.kind.number();
        class.is_some_and(|class| !matches!(class, Class::Single | Class::Double))
    }

    /// The recording in the array.
    pub(crate) fn recording(
        self,
        path: &Path,
        known: Known,
        options: &OpenOptions,
    ) -> Result<array::Array, RecordError> {
        let shape = self.matrix_shape();
        let (Some(shape), Some(kind)) = (shape, self.kind.number()) else {
            return Err(content(
                path,
                "the shape",
                &written_shape(&self.shape),
                SHAPES,
            ));
        };
        let matrix = Matrix {
            shape,
            column_major: self.fortran,
            int16: kind == Class::Int16,
            missing: None,
            values: Box::new(Raw {
                bytes: self.bytes,
                kind,
                big_endian: self.big_endian,
                columns: shape[usize::from(!self.fortran)],
            }),
        };
        array::Array::new(path, matrix, known, options)
    }

    /// Rows and columns; an array of one dimension is a single row.
    pub(crate) fn matrix_shape(&self) -> Option<[usize; 2]> {
        match self.shape[..] {
            [time] => Some([1, time]),
            [rows, columns] => Some([rows, columns]),
            _ => None,
        }
    }

    /// The texts of an array of strings (`U`, `S`).
    pub(crate) fn texts(&self) -> Option<Vec<String>> {
        let all = 0..self.bytes.len();
        self.bytes.with(all, |bytes| self.texts_of(bytes)).ok()?
    }

    fn texts_of(&self, bytes: &[u8]) -> Option<Vec<String>> {
        let texts = bytes.chunks_exact(self.kind.bytes());
        match self.kind {
            Kind::Bytes(_) => Some(
                texts
                    .map(|text| {
                        String::from_utf8_lossy(text)
                            .trim_end_matches('\0')
                            .to_owned()
                    })
                    .collect(),
            ),
            Kind::Unicode(_) => Some(
                texts
                    .map(|text| {
                        text.chunks_exact(4)
                            .filter_map(|code| {
                                let code = *code.first_chunk::<4>()?;
                                char::from_u32(if self.big_endian {
                                    u32::from_be_bytes(code)
                                } else {
                                    u32::from_le_bytes(code)
                                })
                            })
                            .filter(|&c| c != '\0')
                            .collect()
                    })
                    .collect(),
            ),
            _ => None,
        }
    }

    /// The values of an array of numbers; none where they cannot be read.
    pub(crate) fn numbers(&self) -> Option<Vec<f64>> {
        let kind = self.kind.number()?;
        let mut out = Vec::new();
        let all = 0..self.bytes.len();
        let decode = |bytes: &[u8]| kind.decode(self.big_endian, bytes, &mut out);
        self.bytes.with(all, decode).ok()?;
        Some(out)
    }

    /// Whether its values are integers of 16 bits.
    pub(crate) fn is_int16(&self) -> bool {
        self.kind.number() == Some(Class::Int16)
    }

    /// All values in one row, and how many there are.
    pub(crate) fn vector(self) -> (Box<dyn Values>, usize) {
        let kind = self.kind.number().unwrap_or(Class::Uint8);
        let columns = self.bytes.len() / kind.bytes();
        let values = Raw {
            bytes: self.bytes,
            kind,
            big_endian: self.big_endian,
            columns,
        };
        (Box::new(values), columns)
    }
}

/// As NumPy writes it.
fn written_shape(shape: &[usize]) -> String {
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    match &sizes[..] {
        [size] => format!("({size},)"),
        sizes => format!("({})", sizes.join(", ")),
    }
}

/// What is wrong with the start of a file.
fn no_header(path: &Path, error: &HeaderError) -> RecordError {
    let (field, found, expected) = match error {
        HeaderError::Magic => (
            "the start of the file",
            "something else",
            "the mark of a .npy file; save the array with numpy.save",
        ),
        HeaderError::Version(version) => {
            return content(path, "the .npy version", &version.to_string(), "1, 2 or 3");
        }
        HeaderError::Entry { key, found, .. } => {
            let found = found.as_deref().unwrap_or("absent");
            match *key {
                "descr" => ("the type of the array (descr)", found, TYPES),
                "shape" => ("the shape", found, SHAPES),
                key => (key, found, "True or False"),
            }
        }
        other => {
            return content(
                path,
                "the header",
                &other.to_string(),
                "one written by numpy.save",
            );
        }
    };
    content(path, field, found, expected)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use purkinje_base::npy::NpyWriter;

    use crate::reader::Stretches as _;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        let mut writer = NpyWriter::<f64, _>::new(Cursor::new(Vec::new()), &[3]).unwrap();
        writer.push(&[0.5, -1.0, 2.0]).unwrap();
        writer.push(&[3.0, 4.0, 5.25]).unwrap();
        std::fs::write(&path, writer.finish().unwrap().into_inner()).unwrap();
        let options = OpenOptions {
            rate_hz: Some(100.0),
            array_leads: Some("I,II".parse().unwrap()),
            unit: Some("mV".parse().unwrap()),
            ..OpenOptions::default()
        };
        let recording = open(&path, &options).unwrap().read(&(0..3)).unwrap();
        assert_eq!(recording.samples_mv(), [0.5, -1.0, 2.0, 3.0, 4.0, 5.25]);
        assert_eq!(recording.len(), 3);
    }
}
