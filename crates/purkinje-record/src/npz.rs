//! Recordings as NumPy archives (`.npz`): a zip archive of `.npy` arrays.
//!
//! One array holds the samples: `signal`, `ecg`, `data`, `x`, `arr_0`, or the only one of two dimensions. Others may say the rest:
//! `rate_hz` or `fs`, `leads` (an array of strings), `unit`.

use std::io::{self, Read};
use std::path::Path;

use flate2::read::DeflateDecoder;
use purkinje_base::npy::Header;

use crate::array::{self, Known, Matrix, disk_budget};
use crate::container::{Item, Items, Rows, Samples, rate_of_times};
use crate::error::content;
use crate::names::{Said, unit_in};
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
/// What the texts and numbers of an archive may be, all together.
const MAX_SAID_BYTES: usize = 1 << 24;

pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<array::Array, RecordError> {
    let archive = FilePart::whole(path, MAX_NPZ_BYTES)?;
    let entries = arrays(&archive)?;
    let heads = heads(&archive, &entries);
    let (items, places) = items(&entries, &heads);
    let listed = listed(path, &entries, &items);
    let samples = listed.samples(options)?;
    let (leads, own) = (samples.leads(), listed.own(&samples));
    let rows: Vec<usize> = samples.rows().iter().map(|&at| places[at]).collect();
    let mut said = said(&archive, &entries, &heads, &rows)?;
    said.settle(&own);
    let limit = disk_budget(archive.len as u64) / rows.len().max(1);
    let held = HELD_BYTES / rows.len().max(1) as u64;
    let arrays = rows.iter().map(|&at| {
        let npy = entries[at].unpack_within(&archive, limit, held)?;
        Array::parse(path, npy, true)
    });
    let arrays: Vec<Array> = arrays.collect::<Result<_, _>>()?;
    let mut rate_hz = None;
    if let Some(at) = listed.times(&samples)
        && options.rate_hz.is_none()
        && said.rate(path, &own)?.is_none()
    {
        let entry = &entries[places[at]];
        let npy = entry.unpack(&archive, disk_budget(archive.len as u64))?;
        let (times, len) = Array::parse(path, npy, false)?.vector();
        rate_hz = Some(rate_of_times(path, &entry.name, &*times, false, len)?);
    }
    let each = match &leads {
        None => Vec::new(),
        Some(_) => rows
            .iter()
            .map(|&at| (unit_in(&entries[at].name), None))
            .collect(),
    };
    let known = Known {
        format: "npz",
        rate_hz,
        leads,
        said,
        own,
        each,
        whole: arrays.iter().any(Array::is_whole),
        standard_12: true,
        rate_from: "a sampling rate (`--input-rate`) or an array `rate_hz` or `fs` in the archive",
        leads_from: "names of the leads (`--input-leads`) or an array `leads` in the archive, or twelve standard leads",
    };
    if let Samples::One(_) = samples {
        let mut arrays = arrays.into_iter();
        let Some(array) = arrays.next() else {
            return Err(broken(path, "the array of samples"));
        };
        return array.recording(path, known, options);
    }
    let int16 = arrays.iter().all(Array::is_int16);
    let vectors: Vec<_> = arrays.into_iter().map(Array::vector).collect();
    let matrix = Matrix {
        shape: [vectors.len(), vectors.first().map_or(0, |(_, len)| *len)],
        column_major: false,
        int16,
        missing: None,
        values: Box::new(Rows {
            leads: vectors.into_iter().map(|(own, _)| (own, false)).collect(),
        }),
    };
    let mut array = array::Array::new(path, matrix, known, options)?;
    array.about.source.comments.extend(listed.beside(&samples));
    Ok(array)
}

/// The heads of the arrays; `None` of what is no array.
fn heads(archive: &FilePart, entries: &[Entry]) -> Vec<Option<Header>> {
    let head = |entry: &Entry| Header::parse(&entry.start(archive).ok()?).ok();
    entries.iter().map(head).collect()
}

/// The arrays of numbers, and which of the entries they are.
fn items(entries: &[Entry], heads: &[Option<Header>]) -> (Vec<Item>, Vec<usize>) {
    let each = entries.iter().zip(heads).enumerate();
    let each = each.filter_map(|(at, (entry, head))| {
        let head = head.as_ref()?;
        let kind = head.descr.trim_start_matches(['<', '>', '|', '=']);
        let dims: Vec<u64> = head.shape.iter().map(|&size| size as u64).collect();
        let words: Vec<String> = dims.iter().map(u64::to_string).collect();
        let item = Item {
            name: entry.name.clone(),
            said: format!("{} of {kind}", words.join(" x ")),
            dims,
        };
        kind.starts_with(['f', 'i', 'u']).then_some((item, at))
    });
    each.unzip()
}

fn listed<'a>(path: &'a Path, entries: &[Entry], items: &'a [Item]) -> Items<'a> {
    let names: Vec<&str> = entries.iter().take(12).map(|e| e.name.as_str()).collect();
    Items {
        path,
        all: items,
        what: "arrays",
        summary: names.join(", "),
        usual: &SAMPLES,
        expected: "an array `signal`, `ecg`, `data` or `x`, arrays with names of leads, or just one of two dimensions",
    }
}

/// What the arrays say beside the samples in `own`. Arrays of Python objects are never read.
fn said(
    archive: &FilePart,
    entries: &[Entry],
    heads: &[Option<Header>],
    own: &[usize],
) -> Result<Said, RecordError> {
    let mut said = Said::default();
    let mut left = MAX_SAID_BYTES;
    let path = &archive.path;
    for (at, (entry, head)) in entries.iter().zip(heads).enumerate() {
        let Some(head) = head.as_ref().filter(|_| !own.contains(&at)) else {
            continue;
        };
        let kind = head.descr.trim_start_matches(['<', '>', '|', '=']);
        let name = &entry.name;
        if kind.starts_with('O') {
            let why = "an array of Python objects (dtype=object)".to_owned();
            said.unread.push((name.clone(), why));
            continue;
        }
        if !kind.starts_with(['U', 'S']) && !names::is_number(name) {
            continue;
        }
        let rest = left.checked_sub(entry.bytes);
        let Some(rest) = rest.filter(|_| entry.bytes <= MAX_SMALL_BYTES) else {
            said.unread.push((name.clone(), "too long".to_owned()));
            continue;
        };
        left = rest;
        let array = entry.unpack(archive, MAX_SMALL_BYTES);
        match array.and_then(|array| Array::parse(path, array, false)) {
            Ok(array) => {
                said.texts
                    .extend(array.texts().map(|own| (name.clone(), own)));
                said.numbers
                    .extend(array.numbers().map(|own| (name.clone(), own)));
            }
            Err(error) if names::says(name) => return Err(error),
            // Something else.
            Err(_) => {}
        }
    }
    Ok(said)
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
        self.unpack_within(archive, limit, HELD_BYTES)
    }

    /// The same, in memory up to `held` bytes.
    fn unpack_within(
        &self,
        archive: &FilePart,
        limit: usize,
        held: u64,
    ) -> Result<Bytes, RecordError> {
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
            _ if self.bytes as u64 <= held => {
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
