//! Files whose head lies anywhere among their samples: short ones in memory, long ones mapped, so that what is parsed costs just
//! the pages it lies on. The samples themselves are read, not mapped.
#![allow(unsafe_code)]

use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

use crate::RecordError;
use crate::values::{Bytes, FilePart};

/// All bytes of a file.
pub(crate) enum Whole {
    Memory(Vec<u8>),
    Mapped(Mmap, FilePart),
}

impl Whole {
    /// The file at `path`, of at most `limit` bytes.
    pub fn open(path: &Path, limit: u64) -> Result<Whole, RecordError> {
        Whole::of(Bytes::of(path, limit)?)
    }

    pub fn of(bytes: Bytes) -> Result<Whole, RecordError> {
        match bytes {
            Bytes::Memory(bytes) => Ok(Whole::Memory(bytes)),
            Bytes::File(part) => {
                // SAFETY: the map is read only. A file that another program cuts while its head is parsed ends the process with
                // a signal; the time for that is short, as no sample is read from the map.
                let map = unsafe { Mmap::map(&*part.file) };
                let map = map.map_err(|source| RecordError::Io {
                    path: part.path.clone(),
                    source,
                })?;
                Ok(Whole::Mapped(map, part))
            }
        }
    }

    /// Where `bytes`, some of these, lie in the file; `None` when all of them are in memory.
    pub fn place(&self, bytes: &[u8]) -> Option<FilePart> {
        let Whole::Mapped(map, part) = self else {
            return None;
        };
        let start = bytes.as_ptr().addr().checked_sub(map.as_ptr().addr())?;
        let end = start.checked_add(bytes.len())?;
        (end <= part.len).then(|| part.part(start..end))
    }

    /// `bytes`, some of these, to be read later.
    pub fn later(&self, bytes: &[u8]) -> Bytes {
        match self.place(bytes) {
            Some(part) => Bytes::File(part),
            None => Bytes::Memory(bytes.to_vec()),
        }
    }
}

impl Deref for Whole {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Whole::Memory(bytes) => bytes,
            Whole::Mapped(map, _) => map,
        }
    }
}
