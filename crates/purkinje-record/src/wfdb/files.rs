//! Opening the files of a record: only within its folder, only plain files, and never more bytes than expected.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use crate::RecordError;

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
    let mut bytes = Vec::with_capacity(metadata.len() as usize + 1);
    File::open(path)
        .map_err(io)?
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    Ok(bytes)
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
    Ok(Named {
        size: metadata.len(),
        path,
    })
}

/// Reads `bytes` bytes from `offset`; both must lie within the size found before.
pub(super) fn read_range(path: &Path, offset: u64, bytes: u64) -> Result<Vec<u8>, RecordError> {
    let io = |source| RecordError::Io {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(io)?;
    let mut out = Vec::with_capacity(bytes as usize);
    if offset > 0 {
        io::Seek::seek(&mut file, io::SeekFrom::Start(offset)).map_err(io)?;
    }
    file.take(bytes).read_to_end(&mut out).map_err(io)?;
    if (out.len() as u64) < bytes {
        return Err(RecordError::Truncated {
            path: path.to_owned(),
            found: offset + out.len() as u64,
            expected: offset + bytes,
            what: "the file became shorter while it was read".into(),
        });
    }
    Ok(out)
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
