//! Recordings as NumPy archives (`.npz`): a zip archive of `.npy` arrays.
//!
//! One array holds the samples: `signal`, `ecg`, `data`, `x`, `arr_0`, or the only one of two dimensions. Others may say the rest:
//! `rate_hz` or `fs`, `leads` (an array of strings), `unit`.

use std::io::{self, Read};
use std::path::Path;

use flate2::read::DeflateDecoder;

use crate::array::{self, Known, disk_budget};
use crate::error::{content, listed};
use crate::npy::Array;
use crate::values::{Bytes, FilePart, HELD_BYTES};
use crate::{OpenOptions, RecordError, inflate, names};

/// Bytes of the largest archive that is read.
pub const MAX_NPZ_BYTES: u64 = 1 << 36;
/// Arrays of an archive.
pub const MAX_ARRAYS: usize = 1024;
/// Bytes of an array that says something about the samples.
pub const MAX_SMALL_BYTES: usize = 1 << 20;

/// Bytes at the end of an archive in which its directory lies.
const MAX_TAIL_BYTES: usize = 1 << 18;

/// Bytes of the start of an array, packed, that hold its head.
const HEAD_BYTES: usize = 1 << 14;

/// Names of the array of samples, most telling first.
const SAMPLES: [&str; 6] = ["signal", "ecg", "data", "x", "feats", "arr_0"];
/// Names of the array with the sampling rate in hertz.
const RATES: [&str; 4] = ["rate_hz", "fs", "sampling_rate", "sample_rate"];

pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<array::Array, RecordError> {
    let archive = FilePart::whole(path, MAX_NPZ_BYTES)?;
    let entries = arrays(&archive)?;
    let small = |names: &[&str]| {
        let entry = names.iter().find_map(|name| find(&entries, name));
        entry.map(|entry| {
            let npy = entry.unpack(&archive, MAX_SMALL_BYTES)?;
            Array::parse(path, npy, false)
        })
    };
    let rate_hz = small(&RATES).transpose()?.and_then(|array| array.scalar());
    let mut texts = Vec::new();
    for entry in &entries {
        let small = entry.bytes <= MAX_SMALL_BYTES;
        // The head of an array tells whether it holds texts.
        if small
            && entry
                .start(&archive)
                .is_ok_and(|head| Array::starts_texts(&head))
        {
            let array = entry.unpack(&archive, MAX_SMALL_BYTES);
            match array.and_then(|array| Array::parse(path, array, false)) {
                Ok(array) => texts.extend(array.texts().map(|own| (entry.name.clone(), own))),
                Err(error) if names::matters(&entry.name) => return Err(error),
                // A text about something else.
                Err(_) => {}
            }
        }
    }
    let samples = samples(&archive, &entries)?.unpack(&archive, disk_budget(archive.len as u64))?;
    let samples = Array::parse(path, samples, true)?;
    let known = Known {
        format: "npz",
        rate_hz,
        leads: None,
        texts,
        whole: samples.is_whole(),
        standard_12: true,
        rate_from: "a sampling rate from the caller or an array `rate_hz` or `fs` in the archive",
        leads_from: "names of the leads from the caller or an array `leads` in the archive, or twelve standard leads",
    };
    samples.recording(path, known, options)
}

/// Whether the archive at `path` says rate and leads itself; looks at its directory only.
pub(crate) fn is_recording(path: &Path) -> bool {
    let archive = FilePart::whole(path, MAX_NPZ_BYTES);
    archive
        .and_then(|archive| arrays(&archive))
        .is_ok_and(|entries| {
            RATES.iter().any(|name| find(&entries, name).is_some())
                && find(&entries, "leads").is_some()
        })
}

fn find<'a>(entries: &'a [Entry], name: &str) -> Option<&'a Entry> {
    entries.iter().find(|entry| entry.name == name)
}

/// The array of samples.
fn samples<'a>(archive: &FilePart, entries: &'a [Entry]) -> Result<&'a Entry, RecordError> {
    if let Some(entry) = SAMPLES.iter().find_map(|name| find(entries, name)) {
        return Ok(entry);
    }
    let mut matrices = entries.iter().filter(|entry| {
        // The head of the array tells; its values need not be there.
        entry
            .start(archive)
            .is_ok_and(|head| purkinje_base::npy::axes(&head) == Some(2))
    });
    match (matrices.next(), matrices.next()) {
        (Some(only), None) => Ok(only),
        (first, _) => {
            let names: Vec<&str> = entries.iter().take(12).map(|e| e.name.as_str()).collect();
            let many = if first.is_some() {
                "several of two dimensions among"
            } else {
                "none of two dimensions among"
            };
            Err(listed(
                &archive.path,
                "the array of samples",
                &format!("{many} {}", names.join(", ")),
                "an array `signal`, `ecg`, `data` or `x`, or just one of two dimensions",
            ))
        }
    }
}

/// A file of a zip archive.
pub(crate) struct Entry {
    pub name: String,
    method: u16,
    packed_bytes: usize,
    pub bytes: usize,
    /// CRC-32 of the bytes.
    pub checksum: u32,
    /// Where its local head starts.
    at: usize,
}

impl Entry {
    /// The bytes as stored in the archive.
    pub fn packed(&self, archive: &FilePart) -> Result<FilePart, RecordError> {
        let path = &archive.path;
        let head = self
            .at
            .checked_add(30)
            .filter(|&end| end <= archive.len)
            .map(|end| archive.read(self.at..end))
            .transpose()?
            .filter(|head| head.starts_with(b"PK\x03\x04"))
            .ok_or_else(|| broken(path, &format!("the head of `{}`", self.name)))?;
        // Name and further fields stand between the head and the data.
        let start = self.at + 30 + usize::from(u16_at(&head, 26)) + usize::from(u16_at(&head, 28));
        let end = start.saturating_add(self.packed_bytes);
        if end > archive.len {
            return Err(RecordError::Truncated {
                path: path.clone(),
                found: archive.len as u64,
                expected: end as u64,
                what: format!("the array `{}`", self.name),
            });
        }
        Ok(archive.part(start..end))
    }

    /// What its `packed` bytes hold.
    pub fn stream<'p>(&self, packed: &'p FilePart) -> Result<Box<dyn Read + 'p>, RecordError> {
        match self.method {
            0 => Ok(Box::new(packed.reader())),
            8 => Ok(Box::new(DeflateDecoder::new(packed.reader()))),
            _ => Err(self.no_method(&packed.path)),
        }
    }

    fn unpack(&self, archive: &FilePart, limit: usize) -> Result<Bytes, RecordError> {
        if self.bytes > limit {
            return Err(RecordError::TooLarge {
                path: archive.path.clone(),
                what: "unpacked size of an array in bytes",
                found: self.bytes as u64,
                limit: limit as u64,
            });
        }
        let packed = self.packed(archive)?;
        let out = match self.method {
            _ if self.bytes as u64 <= HELD_BYTES => {
                Bytes::Memory(self.unpack_start(&packed, self.bytes)?)
            }
            0 => Bytes::File(packed),
            _ => Bytes::unpacked(self.stream(&packed)?, &archive.path, self.bytes)
                .map_err(|error| self.damaged(&archive.path, error))?,
        };
        if out.len() != self.bytes {
            return Err(RecordError::Truncated {
                path: archive.path.clone(),
                found: out.len() as u64,
                expected: self.bytes as u64,
                what: format!("the unpacked array `{}`", self.name),
            });
        }
        Ok(out)
    }

    /// The first bytes, enough for the head of an array.
    fn start(&self, archive: &FilePart) -> Result<Vec<u8>, RecordError> {
        let packed = self.packed(archive)?;
        // Nothing unpacks to less than it is packed in but for a few bytes.
        let part = packed.part(0..packed.len.min(HEAD_BYTES));
        self.unpack_start(&part, self.bytes.min(1024))
    }

    fn unpack_start(&self, packed: &FilePart, size: usize) -> Result<Vec<u8>, RecordError> {
        match self.method {
            0 => packed.read(0..packed.len.min(size)),
            8 => inflate::deflate(&packed.read(0..packed.len)?, size)
                .map_err(|error| self.damaged(&packed.path, error)),
            _ => Err(self.no_method(&packed.path)),
        }
    }

    fn damaged(&self, path: &Path, error: io::Error) -> RecordError {
        broken(
            path,
            &format!("the compressed array `{}` ({error})", self.name),
        )
    }

    fn no_method(&self, path: &Path) -> RecordError {
        content(
            path,
            &format!("the compression of `{}`", self.name),
            &format!("method {}", self.method),
            "none or DEFLATE, without a password, as numpy.savez_compressed writes; unpack the archive first",
        )
    }
}

/// The arrays of the archive, by names without `.npy`.
fn arrays(archive: &FilePart) -> Result<Vec<Entry>, RecordError> {
    let mut entries = entries(archive)?;
    for entry in &mut entries {
        if let Some(name) = entry.name.strip_suffix(".npy") {
            entry.name = name.to_owned();
        }
    }
    Ok(entries)
}

/// The files of a zip archive, from the directory at its end.
pub(crate) fn entries(archive: &FilePart) -> Result<Vec<Entry>, RecordError> {
    let base = archive.len.saturating_sub(MAX_TAIL_BYTES);
    let tail = archive.read(base..archive.len)?;
    entries_in(&archive.path, &tail, base)
}

/// The same from what of the archive starts at `base`.
fn entries_in(path: &Path, archive: &[u8], base: usize) -> Result<Vec<Entry>, RecordError> {
    // The end mark is the last thing but for a comment of at most 65535 bytes.
    let reach = archive.len().saturating_sub(22 + 65_535);
    let end = (reach..(archive.len() + 1).saturating_sub(22))
        .rev()
        .find(|&at| archive[at..].starts_with(b"PK\x05\x06"))
        .ok_or_else(|| broken(path, "the directory at the end"))?;
    let mut count = usize::from(u16_at(&archive[end..], 10));
    let mut at = u32_at(&archive[end..], 16) as usize;
    // Archives beyond 4 GB or 65535 files state these in a larger record before.
    if (count == 0xffff || at == 0xffff_ffff)
        && let Some(locator) = end.checked_sub(20).and_then(|at| archive.get(at..end))
        && locator.starts_with(b"PK\x06\x07")
    {
        let record = usize::try_from(u64_at(locator, 8))
            .ok()
            .and_then(|at| archive.get(at.checked_sub(base)?..))
            .filter(|record| record.len() >= 56 && record.starts_with(b"PK\x06\x06"))
            .ok_or_else(|| broken(path, "the directory at the end"))?;
        count = usize::try_from(u64_at(record, 32)).unwrap_or(usize::MAX);
        at = usize::try_from(u64_at(record, 48)).unwrap_or(usize::MAX);
    }
    if count > MAX_ARRAYS {
        return Err(RecordError::TooLarge {
            path: path.to_owned(),
            what: "number of arrays",
            found: count as u64,
            limit: MAX_ARRAYS as u64,
        });
    }
    let mut entries = Vec::new();
    for _ in 0..count {
        let head = at
            .checked_sub(base)
            .and_then(|at| archive.get(at..))
            .filter(|head| head.len() >= 46 && head.starts_with(b"PK\x01\x02"))
            .ok_or_else(|| broken(path, "the directory at the end"))?;
        let [name, more, comment] = [28, 30, 32].map(|at| usize::from(u16_at(head, at)));
        let fields = head.get(46..46 + name + more);
        let (name, more) = fields
            .map(|fields| fields.split_at(name))
            .ok_or_else(|| broken(path, "the directory at the end"))?;
        let mut sizes = [u32_at(head, 24), u32_at(head, 20), u32_at(head, 42)].map(u64::from);
        large_sizes(more, &mut sizes);
        let [bytes, packed_bytes, start] =
            sizes.map(|size| usize::try_from(size).unwrap_or(usize::MAX));
        let name = String::from_utf8_lossy(name);
        entries.push(Entry {
            name: name.into_owned(),
            // What is encrypted cannot be read by any method.
            method: match u16_at(head, 8) & 1 {
                0 => u16_at(head, 10),
                _ => u16::MAX,
            },
            packed_bytes,
            bytes,
            checksum: u32_at(head, 16),
            at: start,
        });
        at += 46 + fields.map_or(0, <[u8]>::len) + comment;
    }
    Ok(entries)
}

/// Replaces those sizes (unpacked, packed, place) that did not fit 32 bits by what the further fields say.
fn large_sizes(mut fields: &[u8], sizes: &mut [u64; 3]) {
    while fields.len() >= 4 {
        let (id, size) = (u16_at(fields, 0), usize::from(u16_at(fields, 2)));
        let Some(mut field) = fields.get(4..4 + size) else {
            return;
        };
        if id == 1 {
            for value in sizes.iter_mut().filter(|size| **size == 0xffff_ffff) {
                if field.len() < 8 {
                    return;
                }
                *value = u64_at(field, 0);
                field = &field[8..];
            }
        }
        fields = &fields[4 + size..];
    }
}

fn broken(path: &Path, what: &str) -> RecordError {
    content(
        path,
        what,
        "damaged or absent",
        "a zip archive such as numpy.savez writes (.npz); copy the file again",
    )
}

// The callers have checked the length; beyond the end there are zeros.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let pair = bytes.get(at..).and_then(|rest| rest.first_chunk());
    pair.map_or(0, |pair| u16::from_le_bytes(*pair))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    word.map_or(0, |word| u32::from_le_bytes(*word))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    word.map_or(0, |word| u64::from_le_bytes(*word))
}
