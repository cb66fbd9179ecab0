//! Scalars for TensorBoard, written without TensorFlow.
//!
//! An event file is a sequence of TFRecords; each holds one protocol-buffer message `Event`
//! (`tensorflow/core/util/event.proto`, `framework/summary.proto`):
//!
//! ```text
//! u64 length | u32 masked CRC-32C of the length | data | u32 masked CRC-32C of the data   (little-endian)
//!
//! Event   { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5;
//!           SessionLog session_log = 7 }
//! Summary { repeated Value value = 1 }     Value { string tag = 1; float simple_value = 2 }
//! ```
//!
//! A crash can cut the last record short; readers stop there.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use thiserror::Error;

/// An event file that cannot be written.
#[derive(Debug, Error)]
#[error("The TensorBoard event file {path} cannot be written: {source}")]
pub struct EventFileError {
    /// The file or folder.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

/// Writer of one event file.
#[derive(Debug)]
pub struct EventWriter {
    file: BufWriter<File>,
    path: PathBuf,
}

impl EventWriter {
    /// Begins a new event file in `folder` (made if missing).
    ///
    /// `first_step` is the step the training begins or resumes at: TensorBoard forgets what
    /// earlier files of the folder say about this and later steps.
    ///
    /// # Errors
    /// [`EventFileError`] if folder or file cannot be written.
    pub fn create(folder: &Path, first_step: u64) -> Result<Self, EventFileError> {
        let failed = |source| EventFileError {
            path: folder.to_owned(),
            source,
        };
        fs::create_dir_all(folder).map_err(failed)?;
        let seconds = wall_time_s() as u64;
        // Two files of one second are told apart by a number; TensorBoard reads them in order.
        let (path, file) = (0..10_000)
            .find_map(|number| {
                let name = format!("events.out.tfevents.{seconds:010}.purkinje.{number:04}");
                let path = folder.join(name);
                match OpenOptions::new().write(true).create_new(true).open(&path) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
                    opened => Some(opened.map(|file| (path, file))),
                }
            })
            .unwrap_or_else(|| Err(io::ErrorKind::AlreadyExists.into()))
            .map_err(failed)?;
        let mut writer = Self {
            file: BufWriter::new(file),
            path,
        };
        let mut version = event_header(0);
        put_bytes(&mut version, 3, b"brain.Event:2");
        writer.record(&version)?;
        let mut start = event_header(first_step);
        put_bytes(&mut start, 7, &[0x08, 1]); // SessionLog { status = START }
        writer.record(&start)?;
        writer.flush()?;
        Ok(writer)
    }

    /// Writes scalars of one step under their tags (`train/loss`, ...). Call
    /// [`EventWriter::flush`] to make them visible to readers.
    ///
    /// # Errors
    /// [`EventFileError`] if the file cannot be written.
    pub fn scalars<'a>(
        &mut self,
        step: u64,
        scalars: impl IntoIterator<Item = (&'a str, f64)>,
    ) -> Result<(), EventFileError> {
        let mut summary = Vec::new();
        for (tag, scalar) in scalars {
            let mut value = Vec::with_capacity(tag.len() + 8);
            put_bytes(&mut value, 1, tag.as_bytes());
            value.push(key(2, WIRE_32_BIT));
            value.extend((scalar as f32).to_le_bytes());
            put_bytes(&mut summary, 1, &value);
        }
        let mut event = event_header(step);
        put_bytes(&mut event, 5, &summary);
        self.record(&event)
    }

    /// Hands everything written so far to the operating system.
    ///
    /// # Errors
    /// [`EventFileError`] if the file cannot be written.
    pub fn flush(&mut self) -> Result<(), EventFileError> {
        self.file.flush().map_err(|source| self.failed(source))
    }

    /// The file being written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn record(&mut self, data: &[u8]) -> Result<(), EventFileError> {
        let length = (data.len() as u64).to_le_bytes();
        let mut frame = Vec::with_capacity(data.len() + 16);
        frame.extend(length);
        frame.extend(masked_crc(&length).to_le_bytes());
        frame.extend(data);
        frame.extend(masked_crc(data).to_le_bytes());
        self.file
            .write_all(&frame)
            .map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> EventFileError {
        EventFileError {
            path: self.path.clone(),
            source,
        }
    }
}

const WIRE_VARINT: u8 = 0;
const WIRE_64_BIT: u8 = 1;
const WIRE_BYTES: u8 = 2;
const WIRE_32_BIT: u8 = 5;

/// Key of a field with a number below 16.
const fn key(field: u8, wire: u8) -> u8 {
    field << 3 | wire
}

fn event_header(step: u64) -> Vec<u8> {
    let mut event = vec![key(1, WIRE_64_BIT)];
    event.extend(wall_time_s().to_le_bytes());
    event.push(key(2, WIRE_VARINT));
    put_varint(&mut event, step);
    event
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(key(field, WIRE_BYTES));
    put_varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn wall_time_s() -> f64 {
    // A clock before 1970 is no reason to stop a training.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

/// TFRecord's masking: rotated right by 15 bits plus a constant.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78).
fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc, &byte| {
        CRC_TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8)
    })
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0u32; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 * (crc & 1));
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_match_rfc_3720() {
        // RFC 3720, appendix B.4, and the usual check value.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    /// Bit by bit, unlike the table of the writer.
    fn crc_by_division(data: &[u8]) -> u32 {
        let mut crc = !0u32;
        for &byte in data {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 {
                    crc >> 1 ^ 0x82f6_3b78
                } else {
                    crc >> 1
                };
            }
        }
        let crc = !crc;
        crc.rotate_right(15).wrapping_add(0xa282_ead8)
    }

    /// A field of any message: number, and its value as varint, fixed bits or bytes.
    #[derive(Debug, PartialEq)]
    enum Field<'a> {
        Varint(u64),
        Fixed64([u8; 8]),
        Fixed32([u8; 4]),
        Bytes(&'a [u8]),
    }

    fn parse(mut data: &[u8]) -> Vec<(u64, Field<'_>)> {
        fn varint(data: &mut &[u8]) -> u64 {
            let mut value = 0;
            for shift in (0..).step_by(7) {
                let byte = data[0];
                *data = &data[1..];
                value |= u64::from(byte & 0x7f) << shift;
                if byte < 0x80 {
                    break;
                }
            }
            value
        }
        fn take<'a>(data: &mut &'a [u8], count: usize) -> &'a [u8] {
            let (taken, rest) = data.split_at(count);
            *data = rest;
            taken
        }
        let mut fields = Vec::new();
        while !data.is_empty() {
            let key = varint(&mut data);
            let field = match key & 7 {
                0 => Field::Varint(varint(&mut data)),
                1 => Field::Fixed64(take(&mut data, 8).try_into().unwrap()),
                2 => {
                    let length = varint(&mut data) as usize;
                    Field::Bytes(take(&mut data, length))
                }
                5 => Field::Fixed32(take(&mut data, 4).try_into().unwrap()),
                other => panic!("wire type {other}"),
            };
            fields.push((key >> 3, field));
        }
        fields
    }

    fn records(mut file: &[u8]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        while !file.is_empty() {
            let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
            let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
            assert_eq!(word(8), crc_by_division(&file[..8]));
            assert_eq!(word(12 + length), crc_by_division(&file[12..12 + length]));
            found.push(file[12..12 + length].to_vec());
            file = &file[16 + length..];
        }
        found
    }

    #[test]
    fn an_independent_reader_finds_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(folder.path(), 300).unwrap();
        writer
            .scalars(300, [("train/loss", 0.25), ("train/lr", 5e-4)])
            .unwrap();
        writer
            .scalars(1 << 40, [("validation/auroc", f64::NAN)])
            .unwrap();
        writer.flush().unwrap();

        let bytes = fs::read(writer.path()).unwrap();
        let records = records(&bytes);
        assert_eq!(records.len(), 4);
        let version = parse(&records[0]);
        assert_eq!(version[2], (3, Field::Bytes(b"brain.Event:2")));
        let start = parse(&records[1]);
        assert_eq!(start[1], (2, Field::Varint(300)));
        let (7, Field::Bytes(session)) = &start[2] else {
            panic!("{start:?}")
        };
        assert_eq!(parse(session), [(1, Field::Varint(1))]);

        let first = parse(&records[2]);
        let (1, Field::Fixed64(time)) = first[0] else {
            panic!("{first:?}")
        };
        assert!((wall_time_s() - f64::from_le_bytes(time)).abs() < 60.0);
        let (5, Field::Bytes(summary)) = first[2] else {
            panic!("{first:?}")
        };
        let values: Vec<(String, f32)> = parse(summary)
            .into_iter()
            .map(|(number, value)| {
                let (1, Field::Bytes(value)) = (number, value) else {
                    panic!("no value")
                };
                let fields = parse(value);
                let (1, Field::Bytes(tag)) = fields[0] else {
                    panic!("{fields:?}")
                };
                let (2, Field::Fixed32(scalar)) = fields[1] else {
                    panic!("{fields:?}")
                };
                (
                    String::from_utf8(tag.to_vec()).unwrap(),
                    f32::from_le_bytes(scalar),
                )
            })
            .collect();
        assert_eq!(
            values,
            [
                ("train/loss".to_owned(), 0.25),
                ("train/lr".to_owned(), 5e-4)
            ]
        );
        assert_eq!(parse(&records[3])[1], (2, Field::Varint(1 << 40)));
    }

    #[test]
    fn files_of_one_second_do_not_overwrite_each_other() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..3 {
            EventWriter::create(&folder.path().join("run"), 0).unwrap();
        }
        assert_eq!(fs::read_dir(folder.path().join("run")).unwrap().count(), 3);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = EventWriter::create(&file.path().join("run"), 0).unwrap_err();
        assert!(error.to_string().contains(&*file.path().to_string_lossy()));
    }
}
