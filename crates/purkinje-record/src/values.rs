//! Numbers of an array that are read part by part, from memory or from a file.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::RecordError;
use crate::mat::Class;
use crate::wfdb::files;

/// Bytes of the largest file that is read at once.
pub(crate) const HELD_BYTES: u64 = 1 << 25;

/// Bytes up to which a [`Spool`] keeps what it is given in memory.
const KEPT_BYTES: usize = 1 << 23;

/// Bytes that are unpacked at a time.
const UNPACK_BYTES: usize = 1 << 18;

/// An array of two dimensions whose numbers are read when they are needed.
pub(crate) trait Values: fmt::Debug + Send + Sync {
    /// Adds the numbers of `rows` and `columns` to `out`, row by row. Both lie within the array.
    fn read(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        out: &mut Vec<f64>,
    ) -> Result<(), RecordError>;
}

/// Bytes in memory or in a file.
#[derive(Clone, Debug)]
pub(crate) enum Bytes {
    Memory(Vec<u8>),
    File(FilePart),
}

/// A part of an open file.
#[derive(Clone, Debug)]
pub(crate) struct FilePart {
    pub file: Arc<File>,
    /// For messages.
    pub path: PathBuf,
    pub offset: u64,
    pub len: usize,
}

/// Of files, whether they are the same part of the same open file.
impl PartialEq for Bytes {
    fn eq(&self, other: &Bytes) -> bool {
        match (self, other) {
            (Bytes::Memory(own), Bytes::Memory(other)) => own == other,
            (Bytes::File(own), Bytes::File(other)) => {
                Arc::ptr_eq(&own.file, &other.file)
                    && (own.offset, own.len) == (other.offset, other.len)
            }
            _ => false,
        }
    }
}

impl Bytes {
    /// The file at `path`: read at once when it is short.
    pub fn of(path: &Path, limit: u64) -> Result<Bytes, RecordError> {
        if files::size_of(path)? <= HELD_BYTES {
            return files::read_small(path, limit, "size in bytes").map(Bytes::Memory);
        }
        FilePart::whole(path, limit).map(Bytes::File)
    }

    /// What `stream`, a part of the file at `path`, holds: at most `limit` bytes.
    pub fn unpacked(mut stream: impl Read, path: &Path, limit: usize) -> Result<Bytes, io::Error> {
        let mut file = tempfile::tempfile().map_err(no_room)?;
        let mut len = 0;
        let mut block = vec![0; UNPACK_BYTES];
        while len < limit {
            let room = block.len().min(limit - len);
            match stream.read(&mut block[..room])? {
                0 => break,
                read => {
                    file.write_all(&block[..read]).map_err(no_room)?;
                    len += read;
                }
            }
        }
        Ok(Bytes::File(FilePart {
            file: Arc::new(file),
            path: path.to_owned(),
            offset: 0,
            len,
        }))
    }

    /// Those from `start` on.
    pub fn from(self, start: usize) -> Bytes {
        match self {
            Bytes::Memory(mut bytes) => {
                bytes.drain(..start);
                Bytes::Memory(bytes)
            }
            Bytes::File(part) => Bytes::File(part.part(start..part.len)),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Bytes::Memory(bytes) => bytes.len(),
            Bytes::File(part) => part.len,
        }
    }

    /// Calls `body` with the bytes of `range`, which lies within them.
    pub fn with<T>(
        &self,
        range: Range<usize>,
        body: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, RecordError> {
        match self {
            Bytes::Memory(bytes) => Ok(body(&bytes[range])),
            Bytes::File(part) => Ok(body(&part.read(range)?)),
        }
    }
}

impl FilePart {
    /// All of the file at `path`, of at most `limit` bytes.
    pub fn whole(path: &Path, limit: u64) -> Result<FilePart, RecordError> {
        let len = files::size_of(path)?;
        if len > limit {
            return Err(RecordError::TooLarge {
                path: path.to_owned(),
                what: "size in bytes",
                found: len,
                limit,
            });
        }
        let file = File::open(path).map_err(|source| RecordError::Io {
            path: path.to_owned(),
            source,
        })?;
        Ok(FilePart {
            file: Arc::new(file),
            path: path.to_owned(),
            offset: 0,
            len: usize::try_from(len).unwrap_or(usize::MAX),
        })
    }

    /// The bytes of `range`, which lies within it.
    pub fn part(&self, range: Range<usize>) -> FilePart {
        FilePart {
            offset: self.offset + range.start as u64,
            len: range.len(),
            ..self.clone()
        }
    }

    /// All of its bytes, one after another.
    pub fn reader(&self) -> PartReader<'_> {
        self.reader_from(0)
    }

    /// Its bytes from `start` on, which lies within it, one after another.
    pub fn reader_from(&self, start: usize) -> PartReader<'_> {
        PartReader {
            part: self,
            at: start,
        }
    }

    /// Its bytes `range`, which lies within it.
    pub fn read(&self, range: Range<usize>) -> Result<Vec<u8>, RecordError> {
        let mut bytes = vec![0; range.len()];
        let start = self.offset + range.start as u64;
        read_exact_at(&self.file, &mut bytes, start).map_err(|source| RecordError::Io {
            path: self.path.clone(),
            source,
        })?;
        Ok(bytes)
    }
}

/// Reads a part of a file from its start.
pub(crate) struct PartReader<'a> {
    part: &'a FilePart,
    at: usize,
}

impl Read for PartReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = out.len().min(self.part.len - self.at);
        let start = self.part.offset + self.at as u64;
        read_exact_at(&self.part.file, &mut out[..len], start)?;
        self.at += len;
        Ok(len)
    }
}

/// Reads `out` from `start` on, whatever else reads the file at the time.
#[cfg(unix)]
pub(crate) fn read_exact_at(file: &File, out: &mut [u8], start: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, start)
}

#[cfg(windows)]
pub(crate) fn read_exact_at(file: &File, mut out: &mut [u8], mut start: u64) -> io::Result<()> {
    while !out.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, out, start)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                out = &mut out[count..];
                start += count as u64;
            }
        }
    }
    Ok(())
}

/// Numbers that lie side by side, row by row.
#[derive(Debug)]
pub(crate) struct Raw {
    pub bytes: Bytes,
    pub kind: Class,
    pub big_endian: bool,
    /// Numbers of a row.
    pub columns: usize,
}

impl Values for Raw {
    fn read(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        out: &mut Vec<f64>,
    ) -> Result<(), RecordError> {
        let size = self.kind.bytes();
        let mut add = |numbers: Range<usize>| {
            let bytes = numbers.start * size..numbers.end * size;
            let decode = |bytes: &[u8]| self.kind.decode(self.big_endian, bytes, out);
            self.bytes.with(bytes, decode)
        };
        if columns.len() == self.columns {
            return add(rows.start * self.columns..rows.end * self.columns);
        }
        rows.map(|row| row * self.columns)
            .try_for_each(|first| add(first + columns.start..first + columns.end))
    }
}

/// Numbers that arrive one by one, of which memory holds only so many: beyond that they go to a temporary file without a name,
/// which ends with the process at the latest.
#[derive(Debug)]
pub(crate) struct Spool {
    /// For messages.
    path: PathBuf,
    kind: Class,
    kept: Vec<u8>,
    /// Bytes that `kept` may grow to.
    limit: usize,
    file: Option<BufWriter<File>>,
    len: usize,
}

impl Spool {
    /// For numbers of a file, which are kept as `kind`: `Single`, `Int32` or `Double`.
    pub fn new(path: &Path, kind: Class) -> Spool {
        Spool {
            path: path.to_owned(),
            kind,
            kept: Vec::new(),
            limit: KEPT_BYTES,
            file: None,
            len: 0,
        }
    }

    /// The same as one of `count` that exist at a time.
    pub fn one_of(self, count: usize) -> Spool {
        Spool {
            limit: self.limit / count.max(1),
            ..self
        }
    }

    pub fn push(&mut self, value: f64) -> Result<(), RecordError> {
        let result = match self.kind {
            Class::Single => self.write(&(value as f32).to_le_bytes()),
            Class::Int32 => self.write(&(value as i32).to_le_bytes()),
            _ => self.write(&value.to_le_bytes()),
        };
        self.len += 1;
        result.map_err(|source| self.io(source))
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.len
    }

    fn io(&self, source: io::Error) -> RecordError {
        RecordError::Io {
            path: self.path.clone(),
            source: no_room(source),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            return file.write_all(bytes);
        }
        self.kept.extend_from_slice(bytes);
        if self.kept.len() >= self.limit {
            let mut file = BufWriter::with_capacity(1 << 18, tempfile::tempfile()?);
            file.write_all(&std::mem::take(&mut self.kept))?;
            self.file = Some(file);
        }
        Ok(())
    }

    /// All of them, in rows of `columns`.
    pub fn finish(mut self, columns: usize) -> Result<Raw, RecordError> {
        let file = self.file.take().map(BufWriter::into_inner).transpose();
        let bytes = match file.map_err(|error| self.io(error.into_error()))? {
            None => Bytes::Memory(self.kept),
            Some(file) => Bytes::File(FilePart {
                file: Arc::new(file),
                len: self.len * self.kind.bytes(),
                path: self.path,
                offset: 0,
            }),
        };
        Ok(Raw {
            bytes,
            kind: self.kind,
            big_endian: false,
            columns,
        })
    }
}

/// What went wrong with a temporary file.
fn no_room(source: io::Error) -> io::Error {
    let what = format!("in a temporary file (TMPDIR names the folder): {source}");
    io::Error::new(source.kind(), what)
}
