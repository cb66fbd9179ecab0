//! File operations of a store: atomic files, journals that grow by lines under a lock, memory maps. For storage other
//! than a file system, replace this module (and `map.rs`).
//!
//! The effects of each function are durable: they survive a crash of the machine.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use purkinje_base::atomic::{self, NewFile};

use crate::error::StoreError;

/// Extension of a file that is being written.
pub(crate) const PARTIAL: &str = ".partial";

/// The name under which `path` is written before it is complete.
pub fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(PARTIAL);
    PathBuf::from(name)
}

/// Creates a folder and its parents.
///
/// # Errors
/// [`StoreError::Io`] when it cannot be created.
pub fn create_dir(dir: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(dir).map_err(StoreError::io("create the folder", dir))
}

/// Names of the files in a folder, in order; none if there is no such folder.
///
/// # Errors
/// [`StoreError::Io`] when it cannot be listed.
pub fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("list", dir)(error)),
    };
    let mut names = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(StoreError::io("list", dir))?;
    names.sort_unstable();
    Ok(names)
}

/// Size of a file in bytes.
pub(crate) fn size(path: &Path) -> Result<u64, StoreError> {
    fs::metadata(path)
        .map(|metadata| metadata.len())
        .map_err(StoreError::io("find", path))
}

/// The text of a file; `None` if there is no such file.
pub(crate) fn read_text(path: &Path) -> Result<Option<String>, StoreError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("read", path)(error)),
    }
}

/// A file that appears whole or not at all.
pub(crate) struct Whole {
    /// The writer; it does not count or hash.
    pub(crate) file: BufWriter<NewFile>,
    path: PathBuf,
}

impl Whole {
    /// Begins a file for `path`.
    pub(crate) fn begin(path: &Path) -> Result<Self, StoreError> {
        let partial = partial(path);
        let file = NewFile::begin_as(path, &partial).map_err(StoreError::io("create", &partial))?;
        Ok(Whole {
            file: BufWriter::with_capacity(1 << 18, file),
            path: path.to_owned(),
        })
    }

    /// Adds bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file
            .write_all(bytes)
            .map_err(StoreError::io("write", &self.path))
    }

    /// Completes the file and moves it to its path.
    pub(crate) fn finish(self) -> Result<(), StoreError> {
        self.file
            .into_inner()
            .map_err(|error| error.into_error())
            .and_then(NewFile::finish)
            .map_err(StoreError::io("write", &self.path))
    }
}

/// Writes a small file atomically.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut whole = Whole::begin(path)?;
    whole.write(bytes)?;
    whole.finish()
}

/// Renames a file or folder that was written and synced under its partial name to its final name.
///
/// # Errors
/// [`StoreError::Io`] when it cannot be renamed.
pub fn appear(path: &Path) -> Result<(), StoreError> {
    rename(&partial(path), path)
}

/// Renames a file or folder, durably.
///
/// # Errors
/// [`StoreError::Io`] when it cannot be renamed.
pub fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    atomic::rename(from, to).map_err(StoreError::io("rename", from))
}

/// Makes a hard link. Returns false where the file system does not support it.
pub(crate) fn link(from: &Path, to: &Path) -> Result<bool, StoreError> {
    remove(to)?;
    Ok(fs::hard_link(from, to).is_ok())
}

/// Appends bytes to a file of `length` bytes; anything after them, left by an interrupted call, is cut off.
pub(crate) fn append(path: &Path, length: u64, bytes: &[u8]) -> Result<(), StoreError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(StoreError::io("create", path))?;
    file.set_len(length)
        .and_then(|()| file.seek(SeekFrom::End(0)))
        .and_then(|_| file.write_all(bytes))
        .and_then(|()| file.sync_all())
        .map_err(StoreError::io("write", path))
}

/// Removes a file; returns whether it existed.
///
/// # Errors
/// [`StoreError::Io`] when it exists and cannot be removed.
pub fn remove(path: &Path) -> Result<bool, StoreError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::io("remove", path)(error)),
    }
}

/// A file of lines to which one process at a time can append.
pub struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Opens or creates the journal and locks it until this value is dropped.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if another process holds it, [`StoreError::Io`] when it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(StoreError::io("create", path))?;
        if file.try_lock().is_err() {
            return Err(StoreError::Busy {
                path: path.parent().unwrap_or(path).to_owned(),
            });
        }
        Ok(Journal {
            file,
            path: path.to_owned(),
        })
    }

    /// All complete lines, without line breaks.
    pub(crate) fn lines(&mut self) -> Result<Vec<String>, StoreError> {
        let mut bytes = Vec::new();
        self.file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.read_to_end(&mut bytes))
            .map_err(StoreError::io("read", &self.path))?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(text
            .split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n'))
            .map(str::to_owned)
            .collect())
    }

    /// Truncates the file to `length` bytes.
    pub(crate) fn shorten(&mut self, length: u64) -> Result<(), StoreError> {
        self.file
            .set_len(length)
            .and_then(|()| self.file.seek(SeekFrom::End(0)))
            .map_err(StoreError::io("shorten", &self.path))?;
        Ok(())
    }

    /// Appends a line.
    pub(crate) fn add(&mut self, line: &str) -> Result<(), StoreError> {
        self.file
            .write_all(format!("{line}\n").as_bytes())
            .and_then(|()| self.file.sync_all())
            .map_err(StoreError::io("write", &self.path))
    }
}
