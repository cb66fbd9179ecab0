//! Atomic writing of files, with errors that name the file.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use purkinje_base::atomic::{self, folder_of};

use crate::{Error, Result};

/// A file written under a temporary name beside its path: it appears at the path whole, or not at all.
pub struct NewFile(atomic::NewFile);

impl NewFile {
    /// Begins a file for `path`; its folder is created if need be.
    ///
    /// # Errors
    /// When the folder cannot be made or written to.
    pub fn begin(path: &Path) -> Result<Self> {
        let folder = folder_of(path);
        fs::create_dir_all(folder)
            .map_err(|error| Error::file("make the folder", folder, error))?;
        if path.is_dir() {
            return Err(Error::invalid(format!(
                "cannot write `{}`: it is a folder, expected the path of a file",
                path.display()
            )));
        }
        let new = atomic::NewFile::begin(path);
        Ok(NewFile(
            new.map_err(|error| Error::file("write", path, error))?,
        ))
    }

    /// The file to write to.
    pub fn file(&mut self) -> &mut fs::File {
        self.0.file()
    }

    /// Syncs the file and moves it to its path.
    ///
    /// # Errors
    /// When it cannot be synced or renamed.
    pub fn finish(self) -> Result<()> {
        let path = self.0.path().to_owned();
        let done = self.0.finish();
        done.map_err(|error| Error::file("write", &path, error))
    }
}

/// Writes a file atomically: whole or not at all.
///
/// # Errors
/// When the folder or the file cannot be written.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut new = NewFile::begin(path)?;
    let written = new.file().write_all(bytes);
    written.map_err(|e| Error::file("write", path, e))?;
    new.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_or_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b.txt");
        let mut new = NewFile::begin(&path).unwrap();
        new.file().write_all(b"half").unwrap();
        drop(new);
        assert_eq!(fs::read_dir(dir.path().join("a")).unwrap().count(), 0);
        write_file(&path, b"whole").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert!(write_file(&dir.path().join("a"), b"").is_err());
    }
}
