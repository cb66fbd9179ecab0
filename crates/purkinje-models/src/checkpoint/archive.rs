//! Zip archives as PyTorch writes them: uncompressed entries, read one at a time.
//!
//! Archives that would unpack to far more than their size are refused when they are opened, before any entry is read.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::CheckpointError;
use super::container::{FORMAT, LONGEST, MOST_EXPANSION, big_endian, not_a_checkpoint};

pub(super) const LOCAL: &[u8] = b"PK\x03\x04";
const ENTRY: &[u8] = b"PK\x01\x02";
pub(super) const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";
const END_BYTES: usize = 22;
/// The end record with the longest comment, and the locator before it.
const LONGEST_END: u64 = END_BYTES as u64 + 65_535 + 20;

/// A zip archive.
pub(super) struct Archive {
    entries: HashMap<Vec<u8>, Entry>,
    /// The name of `data.pkl`, with the folder of all entries.
    pub(super) pickle: Vec<u8>,
    /// Of the file, in bytes.
    size: u64,
}

/// One entry of an archive's directory.
#[derive(Clone)]
struct Entry {
    name: Vec<u8>,
    method: u16,
    /// Of the contents; 0 where PyTorch was told to leave it out.
    checksum: u32,
    packed: u64,
    unpacked: u64,
    /// Where its local header begins.
    at: u64,
}

impl Archive {
    /// Reads and checks the directory of an archive of `size` bytes.
    pub(super) fn open(
        path: &Path,
        file: &mut BufReader<File>,
        size: u64,
    ) -> Result<Self, CheckpointError> {
        let damaged = |problem: &str| CheckpointError::damaged(path, FORMAT, problem);
        let entries = directory(path, file, size)?;
        let (mut packed, mut unpacked) = (0u64, 0u64);
        for entry in &entries {
            packed = packed.saturating_add(entry.packed);
            unpacked = unpacked.saturating_add(entry.unpacked);
            if entry.method == 0 && entry.packed != entry.unpacked {
                return Err(damaged(
                    "an uncompressed entry of the archive has two sizes",
                ));
            }
        }
        // Entries may not share bytes, and weights hardly compress.
        if packed > size || unpacked > size.saturating_mul(MOST_EXPANSION) {
            return Err(CheckpointError::Bomb {
                path: path.to_path_buf(),
                problem: format!(
                    "the entries of the archive claim {packed} bytes packed and {unpacked} unpacked, in a file of {size}"
                ),
            });
        }
        let mut pickles = entries
            .iter()
            .filter(|entry| entry.name == b"data.pkl" || entry.name.ends_with(b"/data.pkl"));
        let pickle = match (pickles.next(), pickles.next()) {
            (Some(pickle), None) => pickle.name.clone(),
            (None, _) => {
                return Err(not_a_checkpoint(
                    path,
                    "it is a zip archive without `data.pkl`",
                ));
            }
            _ => return Err(damaged("the archive has several entries `data.pkl`")),
        };
        let archive = Archive {
            entries: entries.into_iter().map(|e| (e.name.clone(), e)).collect(),
            pickle,
            size,
        };
        let order = archive.sibling("byteorder");
        if let Some(order) = archive.entries.get(&order) {
            let bytes = archive.read(path, file, &order.name, 0, order.unpacked.min(16))?;
            if bytes.starts_with(b"big") {
                return Err(big_endian(path));
            }
        }
        Ok(archive)
    }

    /// The bytes of a storage; `None` where there is no such storage.
    pub(super) fn storage_bytes(&self, key: &str) -> Option<u64> {
        let entry = self.entries.get(&self.sibling(&format!("data/{key}")));
        entry.map(|entry| entry.unpacked)
    }

    /// `length` bytes from offset `from` of a storage that has them.
    pub(super) fn storage(
        &self,
        path: &Path,
        key: &str,
        from: u64,
        length: u64,
    ) -> Result<Vec<u8>, CheckpointError> {
        let file = File::open(path).map_err(CheckpointError::io(path, "read"))?;
        let name = self.sibling(&format!("data/{key}"));
        self.read(path, &mut BufReader::new(file), &name, from, length)
    }

    /// The name of an entry in the folder of `data.pkl`.
    fn sibling(&self, name: &str) -> Vec<u8> {
        let folder = self.pickle.len() - b"data.pkl".len();
        [&self.pickle[..folder], name.as_bytes()].concat()
    }

    /// Reads part of an entry; the checksum of a whole entry is verified.
    fn read(
        &self,
        path: &Path,
        file: &mut BufReader<File>,
        name: &[u8],
        from: u64,
        length: u64,
    ) -> Result<Vec<u8>, CheckpointError> {
        let io = || CheckpointError::io(path, "read");
        let (start, whole) = self.bytes_of(path, file, name)?;
        file.seek(SeekFrom::Start(start + from)).map_err(io())?;
        // No more than the entry has, which is no more than the file has.
        let mut bytes = Vec::with_capacity(length.min(whole) as usize);
        file.take(length).read_to_end(&mut bytes).map_err(io())?;
        if bytes.len() as u64 != length {
            let problem = "it was truncated while it was read";
            return Err(CheckpointError::damaged(path, FORMAT, problem));
        }
        let expected = self.entries.get(name).map_or(0, |entry| entry.checksum);
        if bytes.len() as u64 == whole && expected != 0 && crc32fast::hash(&bytes) != expected {
            let problem = "the checksum of an entry of the archive does not match";
            return Err(CheckpointError::damaged(path, FORMAT, problem));
        }
        Ok(bytes)
    }

    /// Where the contents of an entry begin, and how long they are.
    pub(super) fn bytes_of(
        &self,
        path: &Path,
        file: &mut BufReader<File>,
        name: &[u8],
    ) -> Result<(u64, u64), CheckpointError> {
        let damaged = |problem: &str| CheckpointError::damaged(path, FORMAT, problem);
        let entry = self
            .entries
            .get(name)
            .ok_or_else(|| damaged("an entry of the archive is missing"))?;
        if entry.method != 0 {
            return Err(damaged(
                "the archive is compressed, which `torch.save` never does; pack it again without compression",
            ));
        }
        let mut header = [0; 30];
        file.seek(SeekFrom::Start(entry.at.min(self.size)))
            .map_err(CheckpointError::io(path, "read"))?;
        file.read_exact(&mut header)
            .map_err(|_| damaged("the directory of the archive points beyond its end"))?;
        if !header.starts_with(LOCAL) {
            return Err(damaged(
                "the directory of the archive does not point to its entries",
            ));
        }
        let skip = 30 + u64::from(word(&header, 26)) + u64::from(word(&header, 28));
        // No overflow: both are within the file.
        let start = entry.at + skip;
        if start + entry.unpacked > self.size {
            return Err(damaged("an entry of the archive reaches beyond its end"));
        }
        Ok((start, entry.unpacked))
    }
}

/// The directory at the end of a zip archive.
fn directory(
    path: &Path,
    file: &mut BufReader<File>,
    size: u64,
) -> Result<Vec<Entry>, CheckpointError> {
    let damaged = |problem: &str| CheckpointError::damaged(path, FORMAT, problem);
    let truncated = |problem: &str| CheckpointError::Truncated {
        path: path.to_path_buf(),
        format: FORMAT,
        problem: problem.to_owned(),
    };
    let io = || CheckpointError::io(path, "read");
    let mut read = |from: u64, count: u64| -> Result<Vec<u8>, CheckpointError> {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(from)).map_err(io())?;
        file.by_ref()
            .take(count)
            .read_to_end(&mut bytes)
            .map_err(io())?;
        Ok(bytes)
    };

    let tail_at = size.saturating_sub(LONGEST_END);
    let tail = read(tail_at, LONGEST_END)?;
    let end = (0..=tail.len().saturating_sub(END_BYTES))
        .rev()
        .find(|at| tail[*at..].starts_with(END))
        .ok_or_else(|| truncated("the directory at the end of the archive is missing"))?;
    let (mut bytes, mut at) = (
        u64::from(double(&tail, end + 12)),
        u64::from(double(&tail, end + 16)),
    );
    // Archives beyond 4 GiB, and all that PyTorch writes, have a second end record with wider numbers.
    if let Some(locator) = end.checked_sub(20)
        && tail[locator..].starts_with(LOCATOR_64)
    {
        let record = read(quad(&tail, locator + 8).min(size), 56)?;
        if record.len() < 56 || !record.starts_with(END_64) {
            return Err(damaged(
                "the end record of the archive is not at its stated position",
            ));
        }
        (bytes, at) = (quad(&record, 40), quad(&record, 48));
    }
    if at.checked_add(bytes).is_none_or(|end| end > size) || bytes > LONGEST {
        return Err(damaged("the directory of the archive is outside the file"));
    }

    let directory = read(at, bytes)?;
    let mut rest = directory.as_slice();
    let mut entries = Vec::new();
    while !rest.is_empty() {
        if rest.len() < 46 || !rest.starts_with(ENTRY) {
            return Err(damaged("the directory of the archive is invalid"));
        }
        let [name, extra, comment] = [28, 30, 32].map(|at| usize::from(word(rest, at)));
        if rest.len() < 46 + name + extra + comment {
            return Err(damaged("the directory of the archive is cut off"));
        }
        let mut entry = Entry {
            name: rest[46..46 + name].to_vec(),
            method: word(rest, 10),
            checksum: double(rest, 16),
            packed: double(rest, 20).into(),
            unpacked: double(rest, 24).into(),
            at: double(rest, 42).into(),
        };
        widen(&mut entry, &rest[46 + name..46 + name + extra]);
        entries.push(entry);
        rest = &rest[46 + name + extra + comment..];
    }
    Ok(entries)
}

/// Takes numbers that need more than 32 bits from the extra fields.
fn widen(entry: &mut Entry, mut extra: &[u8]) {
    while extra.len() >= 4 {
        let (tag, length) = (word(extra, 0), usize::from(word(extra, 2)));
        let Some(mut field) = extra.get(4..4 + length) else {
            return;
        };
        if tag == 1 {
            for number in [&mut entry.unpacked, &mut entry.packed, &mut entry.at] {
                if *number == u64::from(u32::MAX) && field.len() >= 8 {
                    *number = quad(field, 0);
                    field = &field[8..];
                }
            }
        }
        extra = &extra[4 + length..];
    }
}

// The numbers of a zip archive, little-endian. Callers have checked that the bytes are there; a number beyond them
// would read as 0.
fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk);
    found.copied().unwrap_or([0; N])
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(number(bytes, at))
}

fn double(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(number(bytes, at))
}

fn quad(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(number(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::super::container::open;
    use super::super::pickle::Pickle;
    use super::super::testing::{dictionary, pickle, weights, zip, zip_checkpoint};
    use super::*;

    fn read(bytes: &[u8]) -> Result<Pickle, CheckpointError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("small.pth");
        std::fs::write(&path, bytes).unwrap();
        open(&path, &[]).map(|(pickle, _)| pickle)
    }

    #[test]
    fn archives_that_claim_more_than_they_hold_are_refused() {
        let root = pickle(&dictionary(&[("model", weights(false))]));
        let whole = zip_checkpoint(&root);
        assert!(read(&whole).is_ok());
        // The sizes of the last entry, `x/version`, in the directory: packed, unpacked.
        let last = whole.windows(4).rposition(|w| w == ENTRY).unwrap();
        for (method, packed, unpacked, bomb) in [
            // Deflated a thousandfold.
            (8, 2u32, 2_000_000u32, true),
            // Entries that share their bytes.
            (8, whole.len() as u32, 10, true),
            (0, u32::MAX, u32::MAX, true),
            (0, 2, 3, false),
        ] {
            let mut odd = whole.clone();
            odd[last + 10] = method;
            odd[last + 20..last + 24].copy_from_slice(&packed.to_le_bytes());
            odd[last + 24..last + 28].copy_from_slice(&unpacked.to_le_bytes());
            let error = read(&odd).unwrap_err();
            match bomb {
                true => assert!(matches!(error, CheckpointError::Bomb { .. }), "{error}"),
                false => assert!(matches!(error, CheckpointError::Damaged { .. }), "{error}"),
            }
        }
        let twice = zip(&[("x/data.pkl", &root), ("y/data.pkl", &root)]);
        let error = read(&twice).unwrap_err().to_string();
        assert!(error.contains("several entries"), "{error}");
        let short = zip(&[("data.pkl", &root[..root.len() - 1])]);
        assert!(matches!(
            read(&short),
            Err(CheckpointError::Truncated { .. })
        ));
    }

    #[test]
    fn numbers_beyond_32_bits_are_taken_from_the_extra_field() {
        let mut entry = Entry {
            name: Vec::new(),
            method: 0,
            checksum: 0,
            packed: u32::MAX.into(),
            unpacked: 7,
            at: u32::MAX.into(),
        };
        // A field of another kind, then one with two numbers.
        let mut extra = vec![9, 0, 1, 0, 0xff, 1, 0, 16, 0];
        extra.extend((1u64 << 33).to_le_bytes());
        extra.extend((1u64 << 34).to_le_bytes());
        widen(&mut entry, &extra);
        assert_eq!(
            (entry.unpacked, entry.packed, entry.at),
            (7, 1 << 33, 1 << 34)
        );
    }
}
