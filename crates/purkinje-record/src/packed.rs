//! Recordings in compressed files: `.gz` of a file in any format, and `.zip` archives with one recording.
//!
//! They are unpacked into a temporary folder, which is removed when nothing of the recording is read from it any more, and read from there.
//! What a file claims costs nothing: unpacking ends at a limit.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;
use tempfile::TempDir;

use crate::error::{content, listed};
use crate::npz::{self, Entry};
use crate::open::{OpenOptions, id_of, open_file};
use crate::reader::{Reader, Stretches};
use crate::values::FilePart;
use crate::wfdb::files;
use crate::{RecordError, Recording, mistaken, privacy};

/// Bytes that a file unpacks to at most.
pub const MAX_UNPACKED_BYTES: u64 = 1 << 32;
/// How many times its size a file unpacks to at most: more than any signal packs to.
pub const MAX_RATIO: u64 = 1000;
/// Bytes that any file may unpack to.
const FREE_BYTES: u64 = 1 << 24;
/// Bytes of the largest file that is unpacked.
const MAX_PACKED_BYTES: u64 = 1 << 36;
/// Bytes that are unpacked at a time.
const BLOCK_BYTES: usize = 1 << 18;

/// Ends of the names of files that hold a recording, without those that are met for anything.
const RECORDINGS: [&str; 16] = [
    "hea", "npy", "npz", "csv", "parquet", "mat", "h5", "hdf5", "edf", "bdf", "rec", "dcm",
    "dicom", "xml", "ecg", "ishne",
];

/// A compressed file in unpacked form.
#[derive(Debug)]
pub(crate) struct Unpacked {
    /// The compressed file.
    original: PathBuf,
    /// The recording in it.
    path: PathBuf,
    /// Name of the recording, where it is not that of the file in it.
    id: Option<String>,
    folder: TempDir,
}

/// The file at `path` in unpacked form, if its name says that it is compressed.
///
/// # Errors
/// When it is damaged, unpacks to too much, or does not hold just one recording.
pub(crate) fn unpack(path: &Path) -> Result<Option<Unpacked>, RecordError> {
    match extension(path).as_deref() {
        Some("gz") => gzip(path).map(Some),
        Some("zip") => zip(path).map(Some),
        _ => Ok(None),
    }
}

/// Whether the name of a compressed file, or the directory of an archive, says that it holds a recording.
pub(crate) fn is_recording(path: &Path) -> bool {
    let named = |path: &Path| extension(path).is_some_and(|own| RECORDINGS.contains(&&*own));
    match extension(path).as_deref() {
        // A header alone is none.
        Some("gz") => {
            let inside = path.with_extension("");
            named(&inside) && extension(&inside).as_deref() != Some("hea")
        }
        Some("zip") => {
            let entries = FilePart::whole(path, MAX_PACKED_BYTES).and_then(|file| entries(&file));
            // A damaged one may be, and several are told when it is opened.
            entries.map_or(true, |entries| {
                entries.iter().any(|(place, _)| named(place))
            })
        }
        _ => false,
    }
}

fn extension(path: &Path) -> Option<String> {
    Some(path.extension()?.to_string_lossy().to_ascii_lowercase())
}

fn gzip(path: &Path) -> Result<Unpacked, RecordError> {
    let file = FilePart::whole(path, MAX_PACKED_BYTES)?;
    if file.read(0..file.len.min(2))? != [0x1f, 0x8b] {
        return Err(content(
            path,
            "the start of the file",
            "something else",
            "the mark of gzip; if the file is unpacked already, take `.gz` off its name",
        ));
    }
    let name = id_of(path);
    let unpacked = Unpacked::new(path, Path::new(&name), None)?;
    let mut left = Left::of(path, file.len as u64);
    left.copy(MultiGzDecoder::new(file.reader()), &unpacked.path)?;
    // What stands beside the file belongs to it.
    let beside = path.with_file_name(&name).with_extension("json");
    if extension(&unpacked.path).as_deref() == Some("npy") && beside.is_file() {
        left.copy(
            File::open(&beside).map_err(|source| io_error(&beside, source))?,
            &unpacked.path.with_extension("json"),
        )?;
    }
    Ok(unpacked)
}

fn zip(path: &Path) -> Result<Unpacked, RecordError> {
    let file = FilePart::whole(path, MAX_PACKED_BYTES)?;
    let entries = entries(&file)?;
    let mut unpacked = Unpacked::new(path, Path::new(""), Some(id_of(path)))?;
    let mut left = Left::of(path, file.len as u64);
    for (place, entry) in &entries {
        let to = unpacked.folder.path().join(place);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(|source| left.no_room(source))?;
        }
        let packed = entry.packed(&file)?;
        let (bytes, checksum) = left.copy(entry.stream(&packed)?, &to)?;
        if (bytes, checksum) != (entry.bytes as u64, entry.checksum) {
            return Err(content(
                path,
                &format!("the file `{}` in the archive", entry.name),
                &format!("{bytes} bytes with the checksum {checksum:08x}"),
                &format!(
                    "{} bytes with {:08x} as the archive says; copy the file again",
                    entry.bytes, entry.checksum
                ),
            ));
        }
    }
    let found =
        crate::find_records(unpacked.folder.path()).map_err(|error| unpacked.told(error))?;
    let found = found.records;
    match (&found[..], &entries[..]) {
        ([only], _) => unpacked.path.clone_from(only),
        // Its reader says what is wrong with it.
        ([], [(only, _)]) => unpacked.path = unpacked.folder.path().join(only),
        (found, entries) => {
            let folder = unpacked.folder.path();
            let inside = found
                .iter()
                .filter_map(|path| path.strip_prefix(folder).ok());
            let (what, names) = match found.is_empty() {
                true => (
                    "no recording",
                    list(entries.iter().map(|(place, _)| &**place)),
                ),
                false => ("several recordings", list(inside)),
            };
            return Err(listed(
                path,
                "the content of the archive",
                &format!("{what}: {names}"),
                "one recording; unpack the archive and open what is in it",
            ));
        }
    }
    Ok(unpacked)
}

/// The first of these names.
fn list<'a>(paths: impl Iterator<Item = &'a Path>) -> String {
    let names = paths.take(12).map(|path| path.display().to_string());
    names.collect::<Vec<_>>().join(", ")
}

/// The files of an archive and where they belong, without those that programs put beside others.
fn entries(archive: &FilePart) -> Result<Vec<(PathBuf, Entry)>, RecordError> {
    let mut kept = Vec::new();
    for entry in npz::entries(archive)? {
        let outside = || {
            content(
                &archive.path,
                "the name of a file in the archive",
                &format!("`{}`", entry.name),
                "a name within the archive",
            )
        };
        let name = entry.name.replace('\\', "/");
        if name.ends_with('/') {
            continue;
        }
        let mut place = PathBuf::new();
        let mut hidden = false;
        for part in Path::new(&name).components() {
            match part {
                Component::Normal(part) => {
                    let part = part.to_string_lossy();
                    hidden |= part.starts_with('.') || part == "__MACOSX";
                    place.push(&*part);
                }
                Component::CurDir => {}
                _ => return Err(outside()),
            }
        }
        if place.as_os_str().is_empty() || name.contains(['\0', ':']) {
            return Err(outside());
        }
        if !hidden {
            kept.push((place, entry));
        }
    }
    Ok(kept)
}

/// How much more may be unpacked.
struct Left<'p> {
    /// For messages.
    path: &'p Path,
    packed: u64,
    bytes: u64,
}

impl<'p> Left<'p> {
    fn of(path: &'p Path, packed: u64) -> Left<'p> {
        Left {
            path,
            packed,
            bytes: packed
                .saturating_mul(MAX_RATIO)
                .clamp(FREE_BYTES, MAX_UNPACKED_BYTES),
        }
    }

    fn no_room(&self, source: io::Error) -> RecordError {
        let what = format!("in a temporary folder (TMPDIR names its place): {source}");
        io_error(self.path, io::Error::new(source.kind(), what))
    }

    /// Unpacks into a new file; returns its size and CRC-32.
    fn copy(&mut self, mut from: impl Read, to: &Path) -> Result<(u64, u32), RecordError> {
        let mut file = File::create(to).map_err(|source| self.no_room(source))?;
        let mut block = vec![0; BLOCK_BYTES];
        let mut bytes = 0;
        let mut checksum = crc32fast::Hasher::new();
        loop {
            let read = from.read(&mut block).map_err(|error| {
                content(
                    self.path,
                    "the compressed content",
                    &format!("damaged or cut off ({error})"),
                    "all of what was packed; copy the file again",
                )
            })?;
            if read == 0 {
                return Ok((bytes, checksum.finalize()));
            }
            bytes += read as u64;
            checksum.update(&block[..read]);
            self.bytes = self.bytes.checked_sub(read as u64).ok_or_else(|| {
                content(
                    self.path,
                    "the unpacked size",
                    &format!("above the limit for a file of {} bytes", self.packed),
                    &format!(
                        "at most {MAX_RATIO} times the file, and {MAX_UNPACKED_BYTES} bytes; if the file is sound, unpack it first"
                    ),
                )
            })?;
            file.write_all(&block[..read])
                .map_err(|source| self.no_room(source))?;
        }
    }
}

fn io_error(path: &Path, source: io::Error) -> RecordError {
    RecordError::Io {
        path: path.to_owned(),
        source,
    }
}

impl Unpacked {
    fn new(original: &Path, name: &Path, id: Option<String>) -> Result<Unpacked, RecordError> {
        // Whatever cannot be read is reported before anything is written.
        files::size_of(original)?;
        let folder = tempfile::Builder::new().prefix("purkinje").tempdir();
        let folder = folder.map_err(|source| Left::of(original, 0).no_room(source))?;
        Ok(Unpacked {
            original: original.to_owned(),
            path: folder.path().join(name),
            id,
            folder,
        })
    }

    /// The recording as a whole.
    pub fn open(self, options: &OpenOptions) -> Result<Recording, RecordError> {
        let opened = privacy::told_as(&self.original, || open_file(&self.path, options));
        mistaken::told(&self.path, opened)
            .map(|recording| self.owned(recording))
            .map_err(|error| self.told(error))
    }

    /// The recording, to be read as `Reader::beyond` does.
    pub fn reader(self, options: &OpenOptions, samples: usize) -> Result<Reader, RecordError> {
        let read = || Reader::beyond_file(&self.path, options, samples);
        let opened = privacy::told_as(&self.original, read);
        match mistaken::told(&self.path, opened) {
            Ok(reader) => Ok(reader.of(self)),
            Err(error) => Err(self.told(error)),
        }
    }

    /// A recording that was read from the folder, as one of the compressed file.
    pub fn owned(&self, mut recording: Recording) -> Recording {
        recording.source.path.clone_from(&self.original);
        if let Some(id) = &self.id {
            recording.id.clone_from(id);
        }
        recording
    }

    /// An error about a file in the folder, as one about the compressed file.
    fn told(&self, error: RecordError) -> RecordError {
        error.moved(self.folder.path(), &self.original)
    }

    /// Reads of the folder through `samples`, keeping it as long.
    pub fn keep(self, samples: Box<dyn Stretches>) -> impl Stretches {
        Kept {
            samples,
            unpacked: self,
        }
    }
}

#[derive(Debug)]
struct Kept {
    // Dropped before the folder, which cannot be removed everywhere while a file of it is open.
    samples: Box<dyn Stretches>,
    unpacked: Unpacked,
}

impl Stretches for Kept {
    fn read(&self, stretch: &Range<usize>) -> Result<Recording, RecordError> {
        let read = self.samples.read(stretch);
        read.map(|recording| self.unpacked.owned(recording))
            .map_err(|error| self.unpacked.told(error))
    }
}
