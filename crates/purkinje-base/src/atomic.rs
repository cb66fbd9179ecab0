//! Files that appear whole or not at all.
//!
//! A file is written under a temporary name in the same folder, synced, and renamed; then the folder is synced. Readers
//! of the path see the old file or the new one, also after a crash of the machine. The permissions are those of any new
//! file: the umask decides.
//!
//! Errors are those of the operating system. They do not name the path: callers have error types that do.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempPath};

use crate::unfinished::{Listed, step};

/// A file being written beside its final path; removed when dropped before [`NewFile::finish`].
#[derive(Debug)]
pub struct NewFile {
    temporary: NamedTempFile,
    path: PathBuf,
    listed: Listed,
}

impl NewFile {
    /// Begins a file for `path`, under a random temporary name. Its folder must exist.
    ///
    /// # Errors
    /// When no file can be created in the folder.
    pub fn begin(path: &Path) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".purkinje-").suffix(".partial");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let temporary = builder.tempfile_in(folder_of(path))?;
        Ok(NewFile {
            listed: Listed::new(temporary.path()),
            temporary,
            path: path.to_owned(),
        })
    }

    /// Begins a file for `path` under a temporary name given by the caller, in the same folder. An existing file of
    /// that name is replaced, so that leftovers of a killed process are overwritten; the caller ensures that no other
    /// process writes to it.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn begin_as(path: &Path, temporary: &Path) -> io::Result<Self> {
        let file = File::create(temporary)?;
        let temporary = TempPath::try_from_path(temporary)?;
        Ok(NewFile {
            listed: Listed::new(&temporary),
            temporary: NamedTempFile::from_parts(file, temporary),
            path: path.to_owned(),
        })
    }

    /// Its final path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file to write to. Nothing may be written through a copy of the handle after [`NewFile::finish`].
    pub fn file(&mut self) -> &mut File {
        self.temporary.as_file_mut()
    }

    /// Syncs the file, moves it to its path, and syncs the folder.
    ///
    /// # Errors
    /// When one of these fails; before the rename the path is unchanged.
    pub fn finish(self) -> io::Result<()> {
        let NewFile {
            temporary,
            path,
            listed,
        } = self;
        temporary.as_file().sync_all()?;
        let _step = step();
        drop(listed);
        temporary.persist(&path).map_err(|error| error.error)?;
        sync_folder(folder_of(&path))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file().flush()
    }
}

impl Seek for NewFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file().seek(to)
    }
}

/// Writes a file atomically: whole or not at all. Its folder must exist.
///
/// # Errors
/// As [`NewFile::begin`] and [`NewFile::finish`], and when the bytes cannot be written.
pub fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new = NewFile::begin(path)?;
    new.file().write_all(bytes)?;
    new.finish()
}

/// Renames a file or folder durably: the folders of the old and the new name are synced. The contents are not; the
/// writer must have synced them.
///
/// # Errors
/// When it cannot be renamed or a folder cannot be synced.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    let (old, new) = (folder_of(from), folder_of(to));
    if old != new {
        sync_folder(old)?;
    }
    sync_folder(new)
}

/// Syncs the names in a folder; only on Unix, elsewhere it does nothing.
///
/// # Errors
/// When the folder cannot be opened or synced.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// The folder that a path is in; `.` for a bare name.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_whole_or_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        let mut new = NewFile::begin(&path).unwrap();
        new.write_all(b"half").unwrap();
        assert!(!path.exists());
        drop(new);
        assert!(names(dir.path()).is_empty());
        write_file(&path, b"old").unwrap();
        let mut new = NewFile::begin(&path).unwrap();
        new.write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        new.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(dir.path()), ["a.txt"]);
    }

    #[test]
    fn what_a_killed_process_left_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (path, partial) = (dir.path().join("a"), dir.path().join("a.partial"));
        fs::write(&partial, "left behind, and longer").unwrap();
        let mut new = NewFile::begin_as(&path, &partial).unwrap();
        new.write_all(b"whole").unwrap();
        assert_eq!(names(dir.path()), ["a.partial"]);
        new.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(names(dir.path()), ["a"]);
        drop(NewFile::begin_as(&path, &partial).unwrap());
        assert_eq!(names(dir.path()), ["a"]);
    }

    #[cfg(unix)]
    #[test]
    fn the_umask_decides_who_may_read() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let [usual, random, named] = ["usual", "random", "named"].map(|name| dir.path().join(name));
        fs::write(&usual, "").unwrap();
        write_file(&random, b"").unwrap();
        NewFile::begin_as(&named, &dir.path().join("named.partial"))
            .and_then(NewFile::finish)
            .unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&random), mode(&usual));
        assert_eq!(mode(&named), mode(&usual));
    }

    #[test]
    fn a_place_that_cannot_be_written_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(write_file(&dir.path().join("no/folder"), b"").is_err());
        assert!(write_file(dir.path(), b"").is_err());
        assert!(rename(&dir.path().join("a"), &dir.path().join("b")).is_err());
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn the_folder_of_a_bare_name_is_here() {
        assert_eq!(folder_of(Path::new("a")), Path::new("."));
        assert_eq!(folder_of(Path::new("b/a")), Path::new("b"));
        assert_eq!(folder_of(Path::new("/a")), Path::new("/"));
    }
}
