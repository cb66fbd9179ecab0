//! The bytes of an HDF5 file, read where they are needed.

use std::cell::Cell;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::MAX_BLOCK_BYTES;
use crate::RecordError;
use crate::error::content;
use crate::values::read_exact_at;

const SIGNATURE: &[u8; 8] = b"\x89HDF\r\n\x1a\n";
/// The last place at which the superblock is looked for; what stands before it belongs to the user.
const MAX_USER_BYTES: u64 = 1 << 20;

/// An open file and what its superblock says.
#[derive(Debug)]
pub(super) struct Source {
    pub path: PathBuf,
    file: File,
    pub file_bytes: u64,
    /// What addresses count from.
    base: u64,
    /// Bytes of an address.
    pub offset_bytes: usize,
    /// Bytes of a length.
    pub length_bytes: usize,
    /// Object header of the root group.
    pub root: u64,
}

impl Source {
    pub fn open(path: &Path) -> Result<Self, RecordError> {
        let io = |source| RecordError::Io {
            path: path.to_owned(),
            source,
        };
        let metadata = std::fs::metadata(path).map_err(io)?;
        if !metadata.is_file() {
            return Err(RecordError::NotAFile {
                path: path.to_owned(),
            });
        }
        let mut source = Source {
            path: path.to_owned(),
            file: File::open(path).map_err(io)?,
            file_bytes: metadata.len(),
            base: 0,
            offset_bytes: 8,
            length_bytes: 8,
            root: 0,
        };
        let mut at = 0;
        while at <= MAX_USER_BYTES && at + 8 <= source.file_bytes {
            if source.read(at, 8, "the signature")? == SIGNATURE {
                source.superblock(at)?;
                return Ok(source);
            }
            at = if at == 0 { 512 } else { at * 2 };
        }
        Err(content(
            path,
            "the start of the file",
            "something else",
            "the mark of an HDF5 file; copy the file again",
        ))
    }

    fn superblock(&mut self, at: u64) -> Result<(), RecordError> {
        let left = (self.file_bytes - at).min(128);
        let bytes = self.read(at, left, "the superblock")?;
        let mut field = Fields::new(&bytes, 8, 8);
        field.skip(8);
        let version = field.u8();
        let (sizes, first) = match version {
            Some(0) => (13, 24),
            Some(1) => (13, 28),
            Some(2 | 3) => (9, 12),
            _ => {
                return Err(self.bad(
                    "the version of the superblock",
                    &version.map_or("absent".into(), |version| version.to_string()),
                    "0 to 3; convert the file with h5repack",
                ));
            }
        };
        let size = |at: usize| bytes.get(at).copied().map(usize::from);
        match (size(sizes), size(sizes + 1)) {
            (Some(offset @ (2 | 4 | 8)), Some(length @ (2 | 4 | 8))) => {
                self.offset_bytes = offset;
                self.length_bytes = length;
            }
            (offset, length) => {
                return Err(self.bad(
                    "the sizes of addresses and lengths",
                    &format!("{} and {}", offset.unwrap_or(0), length.unwrap_or(0)),
                    "2, 4 or 8 bytes",
                ));
            }
        }
        let mut field = Fields::new(&bytes, self.offset_bytes, self.length_bytes);
        field.skip(first);
        // Base, free space or extension, end of file, driver or root.
        let [base, _, _, fourth] = [(); 4].map(|()| field.offset());
        let root = if version <= Some(1) {
            // The entry of the root group: its name, then its header.
            field.offset();
            field.offset()
        } else {
            fourth
        };
        let (Some(base), Some(root)) = (base, root) else {
            return Err(self.truncated(at + 96, "the superblock"));
        };
        // With bytes of the user before it, files state them as base or leave it 0; either way it is where the superblock is.
        self.base = if base == 0 { at } else { base };
        self.root = root;
        Ok(())
    }

    /// `bytes` bytes at an address of the file.
    pub fn at(&self, address: u64, bytes: u64, what: &str) -> Result<Vec<u8>, RecordError> {
        let start = address
            .checked_add(self.base)
            .ok_or_else(|| self.truncated(u64::MAX, what))?;
        self.read(start, bytes, what)
    }

    fn read(&self, start: u64, bytes: u64, what: &str) -> Result<Vec<u8>, RecordError> {
        let end = start.checked_add(bytes);
        if end.is_none_or(|end| end > self.file_bytes) {
            return Err(self.truncated(end.unwrap_or(u64::MAX), what));
        }
        let mut out = vec![0; bytes as usize];
        read_exact_at(&self.file, &mut out, start).map_err(|source| RecordError::Io {
            path: self.path.clone(),
            source,
        })?;
        Ok(out)
    }

    pub fn truncated(&self, expected: u64, what: &str) -> RecordError {
        RecordError::Truncated {
            path: self.path.clone(),
            found: self.file_bytes,
            expected,
            what: what.into(),
        }
    }

    pub fn bad(&self, field: &str, found: &str, expected: &str) -> RecordError {
        content(&self.path, field, found, expected)
    }

    pub fn too_large(&self, what: &'static str, found: u64, limit: u64) -> RecordError {
        RecordError::TooLarge {
            path: self.path.clone(),
            what,
            found,
            limit,
        }
    }

    pub fn fields<'a>(&self, bytes: &'a [u8]) -> Fields<'a> {
        Fields::new(bytes, self.offset_bytes, self.length_bytes)
    }
}

/// Reads what describes the file, and gives up when that is more than the file can hold: a description that leads in circles.
pub(super) struct Meta<'a> {
    pub source: &'a Source,
    left: Cell<u64>,
}

impl<'a> Meta<'a> {
    pub fn new(source: &'a Source) -> Self {
        Meta {
            source,
            left: Cell::new(source.file_bytes.saturating_mul(4).saturating_add(1 << 20)),
        }
    }

    pub fn at(&self, address: u64, bytes: u64, what: &str) -> Result<Vec<u8>, RecordError> {
        if bytes > MAX_BLOCK_BYTES {
            return Err(self.source.too_large(
                "size of a block of metadata in bytes",
                bytes,
                MAX_BLOCK_BYTES,
            ));
        }
        // Even an empty block costs time.
        let Some(left) = self.left.get().checked_sub(bytes.max(8)) else {
            return Err(self.source.bad(
                what,
                "more than the file has room for",
                "a description that does not lead in circles; copy the file again",
            ));
        };
        self.left.set(left);
        self.source.at(address, bytes, what)
    }
}

/// Numbers one after another, little-endian; `None` once the bytes have run out.
#[derive(Clone)]
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    offset_bytes: usize,
    length_bytes: usize,
}

impl<'a> Fields<'a> {
    fn new(bytes: &'a [u8], offset_bytes: usize, length_bytes: usize) -> Self {
        Fields {
            bytes,
            offset_bytes,
            length_bytes,
        }
    }

    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(taken)
    }

    /// Passes over `count` bytes, or over all that are left.
    pub fn skip(&mut self, count: usize) {
        self.bytes = self.bytes.get(count..).unwrap_or_default();
    }

    /// A number of up to 8 bytes.
    pub fn number(&mut self, bytes: usize) -> Option<u64> {
        let taken = self.take(bytes)?;
        let mut number = [0; 8];
        number.get_mut(..bytes)?.copy_from_slice(taken);
        Some(u64::from_le_bytes(number))
    }

    pub fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    pub fn u16(&mut self) -> Option<u16> {
        Some(self.number(2)? as u16)
    }

    pub fn u32(&mut self) -> Option<u32> {
        Some(self.number(4)? as u32)
    }

    pub fn length(&mut self) -> Option<u64> {
        self.number(self.length_bytes)
    }

    pub fn offset(&mut self) -> Option<u64> {
        self.number(self.offset_bytes)
    }

    /// An address; `Some(None)` when it is written as undefined.
    pub fn address(&mut self) -> Option<Option<u64>> {
        let address = self.offset()?;
        let undefined = u64::MAX >> (64 - 8 * self.offset_bytes);
        Some((address != undefined).then_some(address))
    }
}
