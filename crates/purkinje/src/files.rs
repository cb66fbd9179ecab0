//! Files that are whole or not there.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::{Error, Result};

/// A file under construction beside its final place: it appears there whole, or not at all.
pub struct NewFile {
    temporary: NamedTempFile,
    path: PathBuf,
}

impl NewFile {
    /// Begins a file that will be `path`; its folder is made if need be.
    ///
    /// # Errors
    /// When the folder cannot be made or written to.
    pub fn begin(path: &Path) -> Result<Self> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        fs::create_dir_all(folder)
            .map_err(|error| Error::file("make the folder", folder, error))?;
        if path.is_dir() {
            return Err(Error::invalid(format!(
                "cannot write `{}`: it is a folder; name a file",
                path.display()
            )));
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(".purkinje-").suffix(".partial");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // As any new file: the umask takes away what should not be there.
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let temporary = builder
            .tempfile_in(folder)
            .map_err(|e| Error::file("write", path, e))?;
        Ok(NewFile {
            temporary,
            path: path.to_owned(),
        })
    }

    /// The file to write to.
    pub fn file(&mut self) -> &mut fs::File {
        self.temporary.as_file_mut()
    }

    /// Puts the file into its place.
    ///
    /// # Errors
    /// When it cannot be synced or renamed.
    pub fn finish(self) -> Result<()> {
        let NewFile { temporary, path } = self;
        let synced = temporary.as_file().sync_all();
        synced.map_err(|e| Error::file("write", &path, e))?;
        let renamed = temporary.persist(&path);
        renamed.map_err(|e| Error::file("write", &path, e.error))?;
        Ok(())
    }
}

/// Writes a whole file, or nothing.
///
/// # Errors
/// When the folder or the file cannot be written.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut new = NewFile::begin(path)?;
    let written = new.file().write_all(bytes);
    written.map_err(|e| Error::file("write", path, e))?;
    new.finish()
}
