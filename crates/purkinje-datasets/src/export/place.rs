//! The folder of an export, written atomically.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use purkinje_base::npy::{NpyValue, NpyWriter};
use purkinje_store::StoreError;
use purkinje_store::files::{self, Journal};

use super::{EXPORT_FILE, ExportError};

/// File whose lock keeps other processes out while the folder is written.
const LOCK_FILE: &str = "export.lock";

/// Suffix of an earlier export that is being replaced.
const REPLACED: &str = ".replaced";

/// A folder being written.
pub(super) struct Place {
    out: PathBuf,
    partial: PathBuf,
    overwrite: bool,
    lock: Journal,
}

/// An array being written.
pub(super) struct ArrayFile<T> {
    path: PathBuf,
    writer: NpyWriter<T, BufWriter<File>>,
}

/// A table or list being written.
pub(super) struct TextFile {
    path: PathBuf,
    out: BufWriter<File>,
}

impl Place {
    /// Begins the folder for `out`; leftovers of a killed export are removed.
    pub(super) fn begin(out: &Path, overwrite: bool) -> Result<Self, ExportError> {
        check_target(out, overwrite)?;
        let partial = files::partial(out);
        files::create_dir(&partial)?;
        let lock = Journal::open(&partial.join(LOCK_FILE))?;
        for entry in files::names(&partial)? {
            if entry == LOCK_FILE {
                continue;
            }
            let path = partial.join(entry);
            let removed = match path.is_dir() {
                true => fs::remove_dir_all(&path),
                false => fs::remove_file(&path),
            };
            removed.map_err(StoreError::io("remove", &path))?;
        }
        Ok(Place {
            out: out.to_owned(),
            partial,
            overwrite,
            lock,
        })
    }

    /// Creates a subfolder.
    pub(super) fn folder(&self, name: &str) -> Result<(), ExportError> {
        Ok(files::create_dir(&self.partial.join(name))?)
    }

    /// The path at which a file is written.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.partial.join(name)
    }

    /// Begins an array.
    pub(super) fn array<T: NpyValue>(
        &self,
        name: &str,
        row_shape: &[usize],
    ) -> Result<ArrayFile<T>, ExportError> {
        let path = self.partial.join(name);
        let writer = File::create(&path)
            .and_then(|file| NpyWriter::new(BufWriter::with_capacity(1 << 18, file), row_shape))
            .map_err(ExportError::write(&path))?;
        Ok(ArrayFile { path, writer })
    }

    /// Begins a text.
    pub(super) fn text(&self, name: &str) -> Result<TextFile, ExportError> {
        let path = self.partial.join(name);
        let file = File::create(&path).map_err(ExportError::write(&path))?;
        Ok(TextFile {
            path,
            out: BufWriter::new(file),
        })
    }

    /// Writes a small file.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
        let path = self.partial.join(name);
        let mut file = File::create(&path).map_err(ExportError::write(&path))?;
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .map_err(ExportError::write(&path))
    }

    /// Completes the folder and moves it to its path.
    pub(super) fn finish(self) -> Result<(), ExportError> {
        let Place {
            out,
            partial,
            overwrite,
            lock,
        } = self;
        // Another process may have created it meanwhile.
        check_target(&out, overwrite)?;
        files::remove(&partial.join(LOCK_FILE))?;
        drop(lock);
        let replaced = {
            let mut name = out.as_os_str().to_owned();
            name.push(REPLACED);
            PathBuf::from(name)
        };
        let mut earlier = false;
        if out.join(EXPORT_FILE).exists() {
            if replaced.exists() {
                fs::remove_dir_all(&replaced).map_err(StoreError::io("remove", &replaced))?;
            }
            files::rename(&out, &replaced)?;
            earlier = true;
        } else if out.exists() {
            // Empty, as was checked.
            fs::remove_dir(&out).map_err(StoreError::io("remove", &out))?;
        }
        files::appear(&out)?;
        if earlier {
            fs::remove_dir_all(&replaced).map_err(StoreError::io("remove", &replaced))?;
        }
        Ok(())
    }
}

/// Refuses a target that exists, unless it is an export and may be replaced.
fn check_target(out: &Path, overwrite: bool) -> Result<(), ExportError> {
    if !out.exists() {
        return Ok(());
    }
    let exported = out.join(EXPORT_FILE).exists();
    let empty = out.is_dir() && files::names(out)?.is_empty();
    if empty || (exported && overwrite) {
        return Ok(());
    }
    Err(ExportError::Exists {
        path: out.to_owned(),
        exported,
    })
}

impl<T: NpyValue> ArrayFile<T> {
    /// Adds a row.
    pub(super) fn push(&mut self, row: &[T]) -> Result<(), ExportError> {
        self.writer
            .push(row)
            .map_err(ExportError::write(&self.path))
    }

    /// Rows so far.
    pub(super) fn rows(&self) -> usize {
        usize::try_from(self.writer.rows()).unwrap_or(usize::MAX)
    }

    /// Completes the file.
    pub(super) fn finish(self) -> Result<usize, ExportError> {
        let rows = self.rows();
        let path = self.path;
        self.writer
            .finish()
            .and_then(|out| out.into_inner().map_err(|error| error.into_error()))
            .and_then(|file| file.sync_all())
            .map_err(ExportError::write(&path))?;
        Ok(rows)
    }
}

impl TextFile {
    /// Adds a line of a table, quoted where it must be.
    pub(super) fn cells(&mut self, cells: &[String]) -> Result<(), ExportError> {
        let mut writer = csv::WriterBuilder::new().from_writer(&mut self.out);
        writer
            .write_record(cells)
            .map_err(std::io::Error::from)
            .and_then(|()| writer.flush())
            .map_err(ExportError::write(&self.path))
    }

    /// Adds text as it is.
    pub(super) fn add(&mut self, text: &str) -> Result<(), ExportError> {
        self.out
            .write_all(text.as_bytes())
            .map_err(ExportError::write(&self.path))
    }

    /// Completes the file.
    pub(super) fn finish(self) -> Result<(), ExportError> {
        self.out
            .into_inner()
            .map_err(|error| error.into_error())
            .and_then(|file| file.sync_all())
            .map_err(ExportError::write(&self.path))
    }
}
