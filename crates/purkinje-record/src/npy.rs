//! Recordings as NumPy arrays (`.npy`, <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>).
//!
//! An array says neither its rate nor its leads: they come from the caller or from a sidecar `<name>.json`:
//! `{"rate_hz": 500, "leads": ["I", "II"], "unit": "mV"}`.

use std::path::Path;

use serde::Deserialize;

use crate::open::{LeadChoice, OpenOptions, id_of};
use crate::wfdb::files;
use crate::{LeadSet, RecordError, Recording, Source, Unit};

/// Bytes of the largest array file that is read.
pub const MAX_NPY_BYTES: u64 = 1 << 32;
/// Bytes of the largest sidecar file that is read.
pub const MAX_SIDECAR_BYTES: u64 = 1 << 20;

/// What a sidecar file may say.
#[derive(Debug, Default, Deserialize)]
struct Sidecar {
    rate_hz: Option<f64>,
    leads: Option<LeadSet>,
    unit: Option<String>,
}

/// Opens an `.npz` archive.
pub(crate) fn open_archive(path: &Path, _options: &OpenOptions) -> Result<Recording, RecordError> {
    Err(RecordError::UnknownKind {
        path: path.to_owned(),
    })
}

pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Recording, RecordError> {
    let bytes = files::read_small(path, MAX_NPY_BYTES, "size in bytes")?;
    let array = Array::parse(path, &bytes)?;
    let sidecar = sidecar(path)?;
    let rate_hz = options.rate_hz.or(sidecar.rate_hz);
    let rate_hz = valid_rate(
        path,
        rate_hz,
        "a sampling rate from the caller or in the sidecar",
    )?;
    let leads = options.array_leads.clone().or(sidecar.leads);
    let Some(leads) = leads.filter(|leads| !leads.is_empty()) else {
        return Err(content(
            path,
            "the list of leads",
            "absent",
            "names of the leads from the caller or in the sidecar `<name>.json` (`leads`)",
        ));
    };
    let unit = match (options.unit, &sidecar.unit) {
        (Some(unit), _) => unit,
        (None, Some(unit)) => unit.parse().map_err(|_| RecordError::Unit {
            path: path.with_extension("json"),
            signal: "all".into(),
            unit: unit.clone(),
        })?,
        (None, None) => Unit::default(),
    };
    let samples_mv = array.lead_by_time(path, leads.len(), unit)?;
    let recording = Recording::new(id_of(path), leads, rate_hz, samples_mv);
    let mut recording = recording.map_err(|source| RecordError::Shape {
        path: path.to_owned(),
        source,
    })?;
    if let LeadChoice::Named(wanted) = &options.leads {
        recording = recording
            .select(wanted)
            .map_err(|lead| RecordError::MissingLead {
                path: path.to_owned(),
                lead: lead.to_string(),
                present: recording.leads.to_string(),
            })?;
    }
    recording.patient.clone_from(&options.patient);
    recording.source = Source {
        path: path.to_owned(),
        format: "npy",
        comments: Vec::new(),
    };
    Ok(recording)
}

/// A usable rate, or an error that says where one is `expected`.
pub(crate) fn valid_rate(
    path: &Path,
    rate_hz: Option<f64>,
    expected: &str,
) -> Result<f64, RecordError> {
    match rate_hz {
        Some(rate_hz) if rate_hz.is_finite() && rate_hz > 0.0 => Ok(rate_hz),
        Some(other) => Err(content(
            path,
            "the sampling rate",
            &other.to_string(),
            "a number of hertz above 0",
        )),
        None => Err(content(path, "the sampling rate", "absent", expected)),
    }
}

pub(crate) fn content(path: &Path, field: &str, found: &str, expected: &str) -> RecordError {
    RecordError::Content {
        path: path.to_owned(),
        field: field.into(),
        found: found.chars().take(80).collect(),
        expected: expected.into(),
    }
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
    F32,
    F64,
    I16,
}

impl Kind {
    fn bytes(self) -> usize {
        match self {
            Kind::I16 => 2,
            Kind::F32 => 4,
            Kind::F64 => 8,
        }
    }
}

/// An array in a file, not yet decoded.
struct Array<'a> {
    kind: Kind,
    big_endian: bool,
    fortran: bool,
    /// Two dimensions; an array of one is a single row.
    shape: [usize; 2],
    data: &'a [u8],
}

impl<'a> Array<'a> {
    fn parse(path: &Path, bytes: &'a [u8]) -> Result<Array<'a>, RecordError> {
        let truncated = |expected: u64, what: &str| RecordError::Truncated {
            path: path.to_owned(),
            found: bytes.len() as u64,
            expected,
            what: what.into(),
        };
        let Some((magic, rest)) = bytes.split_at_checked(8) else {
            return Err(truncated(10, "the head of a .npy file"));
        };
        if magic[..6] != *b"\x93NUMPY" {
            return Err(content(
                path,
                "the start of the file",
                "something else",
                "the mark of a .npy file; save the array with numpy.save",
            ));
        }
        let (len, start) = match (magic[6], rest) {
            (1, [a, b, ..]) => (usize::from(u16::from_le_bytes([*a, *b])), 10),
            (2 | 3, [a, b, c, d, ..]) => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, 12),
            (1..=3, _) => return Err(truncated(12, "the head of a .npy file")),
            (version, _) => {
                return Err(content(
                    path,
                    "the .npy version",
                    &version.to_string(),
                    "1, 2 or 3",
                ));
            }
        };
        let end = start + len;
        let head = bytes
            .get(start..end)
            .ok_or_else(|| truncated(end as u64, "the description of the array"))?;
        let head = String::from_utf8_lossy(head);
        let (kind, big_endian) = match entry(&head, "descr").map(|v| v.trim_matches(['\'', '"'])) {
            Some("<f4") => (Kind::F32, false),
            Some(">f4") => (Kind::F32, true),
            Some("<f8") => (Kind::F64, false),
            Some(">f8") => (Kind::F64, true),
            Some("<i2") => (Kind::I16, false),
            Some(">i2") => (Kind::I16, true),
            other => {
                return Err(content(
                    path,
                    "the type of the array (descr)",
                    other.unwrap_or("absent"),
                    "float32, float64 or int16; convert it with numpy's astype",
                ));
            }
        };
        let fortran = match entry(&head, "fortran_order") {
            Some("True") => true,
            Some("False") => false,
            other => {
                return Err(content(
                    path,
                    "fortran_order",
                    other.unwrap_or("absent"),
                    "True or False",
                ));
            }
        };
        let written = entry(&head, "shape").unwrap_or("absent");
        let shape = parse_shape(written).ok_or_else(|| {
            content(
                path,
                "the shape",
                written,
                "two dimensions, leads and time; reshape the array or save one recording a file",
            )
        })?;
        let size = shape[0]
            .checked_mul(shape[1])
            .and_then(|count| count.checked_mul(kind.bytes()))
            .and_then(|size| size.checked_add(end));
        match size {
            Some(size) if size == bytes.len() => {}
            Some(size) if size < bytes.len() => {
                return Err(content(
                    path,
                    "the size of the file",
                    &format!("{} bytes", bytes.len()),
                    &format!("{size} bytes for the shape {written}"),
                ));
            }
            size => {
                return Err(truncated(
                    size.map_or(u64::MAX, |size| size as u64),
                    "all values of the array",
                ));
            }
        }
        Ok(Array {
            kind,
            big_endian,
            fortran,
            shape,
            data: &bytes[end..],
        })
    }

    /// The values in millivolts, `[lead, time]`.
    fn lead_by_time(&self, path: &Path, leads: usize, unit: Unit) -> Result<Vec<f32>, RecordError> {
        let [rows, columns] = self.shape;
        let lead_first = match (rows == leads, columns == leads) {
            (true, false) => true,
            (false, true) => false,
            (true, true) if leads == 1 => true,
            (both, _) => {
                let expected = if both {
                    "leads and time of different lengths; both orders would fit".to_owned()
                } else {
                    format!("{leads} leads along one dimension, as the list of leads says")
                };
                return Err(content(
                    path,
                    "the shape",
                    &format!("{rows} x {columns}"),
                    &expected,
                ));
            }
        };
        let time = if lead_first { columns } else { rows };
        // Values of one lead lie side by side when leads come first in C order or last in Fortran order.
        let side_by_side = lead_first != self.fortran;
        let mut out = Vec::with_capacity(self.data.len() / self.kind.bytes());
        for lead in 0..leads {
            for t in 0..time {
                let at = if side_by_side {
                    lead * time + t
                } else {
                    t * leads + lead
                };
                let value = self.value(at);
                if value.is_infinite() {
                    return Err(content(
                        path,
                        &format!("the value of lead {} at sample {t}", lead + 1),
                        "infinite",
                        "a voltage, or NaN where it is missing",
                    ));
                }
                out.push(unit.to_mv(value) as f32);
            }
        }
        Ok(out)
    }

    fn value(&self, index: usize) -> f64 {
        let size = self.kind.bytes();
        let mut bytes = [0u8; 8];
        bytes[..size].copy_from_slice(&self.data[index * size..(index + 1) * size]);
        if self.big_endian {
            bytes[..size].reverse();
        }
        let [a, b, c, d, ..] = bytes;
        match self.kind {
            Kind::I16 => f64::from(i16::from_le_bytes([a, b])),
            Kind::F32 => f64::from(f32::from_le_bytes([a, b, c, d])),
            Kind::F64 => f64::from_le_bytes(bytes),
        }
    }
}

/// The value of `'key': value` in the Python dictionary of the head.
fn entry<'a>(head: &'a str, key: &str) -> Option<&'a str> {
    let quoted = [format!("'{key}'"), format!("\"{key}\"")];
    let at = quoted
        .iter()
        .find_map(|key| head.find(key.as_str()).map(|at| at + key.len()))?;
    let value = head[at..].trim_start().strip_prefix(':')?.trim_start();
    let end = match value.chars().next()? {
        '(' => value.find(')')? + 1,
        _ => value.find([',', '}'])?,
    };
    Some(value[..end].trim())
}

/// `(12, 5000)` or `(5000,)`
fn parse_shape(text: &str) -> Option<[usize; 2]> {
    let inner = text.strip_prefix('(')?.strip_suffix(')')?;
    let sizes = inner
        .split(',')
        .map(str::trim)
        .filter(|size| !size.is_empty())
        .map(|size| size.parse().ok())
        .collect::<Option<Vec<usize>>>()?;
    match sizes[..] {
        [time] => Some([1, time]),
        [rows, columns] => Some([rows, columns]),
        _ => None,
    }
}
