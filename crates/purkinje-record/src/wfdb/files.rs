//! Opening the files of a record: only within its folder, only plain files, and never more bytes than expected.

use std::cell::Cell;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use crate::RecordError;

/// Bytes that a thread keeps for its next file.
const MAX_KEPT_BYTES: usize = 1 << 20;

/// Bytes up to which a file may be a page or a pointer in the place of samples.
const MAX_PAGE_BYTES: u64 = 1 << 20;

/// A file that a header names, found to lie in the header's folder.
pub(super) struct Named {
    pub path: PathBuf,
    pub size: u64,
}

/// Reads a whole file of at most `limit` bytes.
pub(crate) fn read_small(
    path: &Path,
    limit: u64,
    what: &'static str,
) -> Result<Vec<u8>, RecordError> {
    let io = |source| RecordError::Io {
        path: path.to_owned(),
        source,
    };
    // Looked at before it is opened: opening a pipe would wait for a writer.
    let metadata = fs::metadata(path).map_err(io)?;
    plain(path, &metadata)?;
    if metadata.len() > limit {
        return Err(RecordError::TooLarge {
            path: path.to_owned(),
            what,
            found: metadata.len(),
            limit,
        });
    }
    // Of the size just found, so that one system call reads it all.
    let mut bytes = vec![0; metadata.len() as usize];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(io)?;
    Ok(bytes)
}

/// The size of a plain file in bytes.
pub(crate) fn size_of(path: &Path) -> Result<u64, RecordError> {
    let metadata = fs::metadata(path).map_err(|source| RecordError::Io {
        path: path.to_owned(),
        source,
    })?;
    plain(path, &metadata)?;
    Ok(metadata.len())
}

/// Reads the first `bytes` bytes of a file, or all if there are fewer, to the end of `out`.
pub(crate) fn read_start(path: &Path, bytes: u64, out: &mut Vec<u8>) -> Result<(), RecordError> {
    let io = |source| RecordError::Io {
        path: path.to_owned(),
        source,
    };
    plain(path, &fs::metadata(path).map_err(io)?)?;
    let file = File::open(path).map_err(io)?;
    file.take(bytes).read_to_end(out).map_err(io)?;
    Ok(())
}

/// Finds the file `name` of the header at `header`.
///
/// # Errors
/// When the name or a link leads out of the header's folder (unless `links_outside`), or there is no such plain file.
pub(super) fn named(header: &Path, name: &str, links_outside: bool) -> Result<Named, RecordError> {
    let outside = || RecordError::OutsideFolder {
        header: header.to_owned(),
        name: name.to_owned(),
    };
    let relative = Path::new(name);
    let mut parts = 0;
    for part in relative.components() {
        match part {
            Component::Normal(_) => parts += 1,
            Component::CurDir => {}
            _ => return Err(outside()),
        }
    }
    // A backslash separates folders on Windows only, but the same header must mean the same everywhere.
    if parts == 0 || name.contains(['\\', '\0']) {
        return Err(outside());
    }
    let folder = header.parent().unwrap_or(Path::new(""));
    let path = folder.join(relative);
    let found = |result: io::Result<Metadata>| {
        result.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => RecordError::MissingFile {
                path: path.clone(),
                named_by: header.to_owned(),
            },
            _ => RecordError::Io {
                path: path.clone(),
                source,
            },
        })
    };
    let mut metadata = found(fs::symlink_metadata(&path))?;
    if metadata.is_symlink() || parts > 1 {
        metadata = found(fs::metadata(&path))?;
        if !links_outside {
            let folder = if folder.as_os_str().is_empty() {
                Path::new(".")
            } else {
                folder
            };
            let real = |path: &Path| {
                path.canonicalize().map_err(|source| RecordError::Io {
                    path: path.to_owned(),
                    source,
                })
            };
            if !real(&path)?.starts_with(real(folder)?) {
                return Err(outside());
            }
        }
    }
    plain(&path, &metadata)?;
    if metadata.len() <= MAX_PAGE_BYTES {
        crate::mistaken::refuse(&path)?;
    }
    Ok(Named {
        size: metadata.len(),
        path,
    })
}

/// Reads `bytes` bytes from `offset`; both must lie within the size found before.
pub(crate) fn read_range(path: &Path, offset: u64, bytes: u64) -> Result<Vec<u8>, RecordError> {
    let mut out = vec![0; bytes as usize];
    read_into(path, offset, &mut out)?;
    Ok(out)
}

/// Calls `body` with `bytes` bytes from `offset`, read into memory that the thread keeps for its next file: most of the time
/// that a small file takes would otherwise go into getting fresh memory from the system.
pub(super) fn with_range<T>(
    path: &Path,
    offset: u64,
    bytes: u64,
    body: impl FnOnce(&[u8]) -> T,
) -> Result<T, RecordError> {
    thread_local! {
        static KEPT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    }
    let size = bytes as usize;
    let mut buffer = KEPT.take();
    if buffer.len() < size {
        buffer.resize(size, 0);
    }
    let out = read_into(path, offset, &mut buffer[..size]).map(|()| body(&buffer[..size]));
    if buffer.len() <= MAX_KEPT_BYTES {
        KEPT.set(buffer);
    }
    out
}

fn read_into(path: &Path, offset: u64, out: &mut [u8]) -> Result<(), RecordError> {
    let mut read = || {
        let mut file = File::open(path)?;
        if offset > 0 {
            file.seek(SeekFrom::Start(offset))?;
        }
        file.read_exact(out)
    };
    read().map_err(|source| RecordError::Io {
        path: path.to_owned(),
        source,
    })
}

fn plain(path: &Path, metadata: &Metadata) -> Result<(), RecordError> {
    if metadata.is_file() {
        Ok(())
    } else {
        Err(RecordError::NotAFile {
            path: path.to_owned(),
        })
    }
}
