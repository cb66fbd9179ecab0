//! Finding the recordings of a folder.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::{RecordError, csv, dicom, edf, ishne, mistaken, packed, parquet, scp, xml};

/// Folders below each other that are searched.
pub const MAX_FOLDER_DEPTH: usize = 64;

/// Bytes of a header or table that are looked at to tell what it is.
const PEEK_BYTES: u64 = 4096;

/// What a folder holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The recordings, sorted by path: whatever has a name or a start by which it should be one, whether or not it can be read; and
    /// folders and links that cannot be followed. Opening says what is wrong with each.
    pub records: Vec<PathBuf>,
    /// Files that are no recordings; those that belong to a recording are not among them.
    pub passed_over: Vec<PathBuf>,
}

impl Found {
    /// The files that were passed over by their kinds, `3 .html, 1 .txt`; `None` if there are none.
    pub fn passed_over_in_words(&self) -> Option<String> {
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        for path in &self.passed_over {
            *kinds.entry(kind_in_words(path)).or_default() += 1;
        }
        let kinds: Vec<String> = kinds
            .iter()
            .map(|(kind, n)| format!("{n} {kind}"))
            .collect();
        (!kinds.is_empty()).then(|| kinds.join(", "))
    }
}

fn kind_in_words(path: &Path) -> String {
    let hidden = path
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    match lower_extension(path) {
        _ if hidden => "hidden".to_owned(),
        None => "without extension".to_owned(),
        Some(extension) => format!(".{extension}"),
    }
}

/// The recordings in `folder` and its subfolders, and the number of files that are none.
///
/// A file is a recording by its extension, until opening it shows otherwise: headers of WFDB records (not those of segments that
/// another header in the folder names) and signal files that no header names; `.edf`, `.npy`, `.npz`, `.mat`, `.h5` and what else
/// [`open`](crate::open) reads or knows and refuses. Where the extension tells too little, its contents decide: DICOM files are
/// recordings if they hold waveforms, `.csv`, `.tsv` and `.parquet` tables if a column is named like a lead, `.txt` tables if they say their rate too, `.xml` files by the root
/// element, files without extension by their mark; damaged ones (empty, a pointer of Git LFS, a page of an error) count as
/// recordings, so that nothing is lost without a word.
///
/// Where a header and another file share a name, just the header. Links to folders are followed; a folder that is reached twice is
/// searched once. The order does not depend on the file system.
///
/// # Errors
/// When `folder` itself cannot be listed.
pub fn find_records(folder: impl AsRef<Path>) -> Result<Found, RecordError> {
    let folder = folder.as_ref();
    let mut found = Found::default();
    if !search(folder, 0, &mut HashSet::new(), &mut found) {
        let source = fs::read_dir(folder).err();
        return Err(RecordError::Io {
            path: folder.to_owned(),
            source: source.unwrap_or_else(|| std::io::ErrorKind::NotADirectory.into()),
        });
    }
    found.records.sort();
    found.passed_over.sort();
    Ok(found)
}

/// Whether the folder could be listed.
fn search(folder: &Path, depth: usize, seen: &mut HashSet<PathBuf>, found: &mut Found) -> bool {
    let (Ok(own), Ok(entries)) = (folder.canonicalize(), fs::read_dir(folder)) else {
        return false;
    };
    if depth > MAX_FOLDER_DEPTH {
        return false;
    }
    if !seen.insert(own) {
        return true;
    }
    let mut folders = Vec::new();
    let mut headers = Vec::new();
    let mut others = Vec::new();
    for entry in entries {
        let Ok(entry) = entry else { return false };
        let path = entry.path();
        // Hidden files, and what macOS puts beside each file (`._record.dcm`), are no recordings.
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        match fs::metadata(&path) {
            Ok(kind) if kind.is_dir() && !hidden => folders.push(path),
            Ok(kind) if kind.is_dir() => {}
            Ok(kind) if !kind.is_file() || hidden => found.passed_over.push(path),
            Err(_) if hidden => found.passed_over.push(path),
            // A link that leads nowhere.
            Err(_) => found.records.push(path),
            Ok(_) => match lower_extension(&path).as_deref() {
                Some("hea") => headers.push(path),
                _ => others.push(path),
            },
        }
    }
    let segments: HashSet<PathBuf> = headers
        .iter()
        .filter_map(|path| segment_headers(path))
        .flatten()
        .collect();
    let mut with_header: HashSet<PathBuf> = headers.iter().map(|p| p.with_extension("")).collect();
    // Signal files may be named otherwise than the header that names them.
    if others.iter().any(|path| is_orphan(path, &with_header)) {
        let named = headers.iter().flat_map(|path| signal_files(path));
        with_header.extend(named.map(|path| path.with_extension("")));
    }
    headers.retain(|path| !segments.contains(path));
    found.records.append(&mut headers);
    let arrays: HashSet<PathBuf> = others
        .iter()
        .filter(|path| lower_extension(path).as_deref() == Some("npy"))
        .cloned()
        .collect();
    for path in others {
        let sidecar = lower_extension(&path).as_deref() == Some("json")
            && arrays.contains(&path.with_extension("npy"));
        if sidecar || with_header.contains(&path.with_extension("")) {
            continue;
        }
        match is_recording(&path) {
            true => found.records.push(path),
            false => found.passed_over.push(path),
        }
    }
    folders.sort();
    for folder in folders {
        if !search(&folder, depth + 1, seen, found) {
            found.records.push(folder);
        }
    }
    true
}

/// A signal file without a header of its name.
fn is_orphan(path: &Path, with_header: &HashSet<PathBuf>) -> bool {
    lower_extension(path).as_deref() == Some("dat")
        && !with_header.contains(&path.with_extension(""))
}

/// The signal files that a header names.
fn signal_files(path: &Path) -> Vec<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let header = crate::wfdb::Header::read(path);
    let signals = header.into_iter().flat_map(|header| header.signals);
    signals.map(|signal| folder.join(signal.file)).collect()
}

fn lower_extension(path: &Path) -> Option<String> {
    Some(path.extension()?.to_string_lossy().to_ascii_lowercase())
}

/// The headers that a multi-segment header names; `None` for any other header.
fn segment_headers(path: &Path) -> Option<Vec<PathBuf>> {
    let start = peek(path)?;
    let record_line = start
        .split(['\n', '\r'])
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'))?;
    // Cheap for the many ordinary headers: only `name/count` is read on.
    if !record_line.split_ascii_whitespace().next()?.contains('/') {
        return None;
    }
    let header = crate::wfdb::Header::read(path).ok()?;
    let folder = path.parent().unwrap_or(Path::new(""));
    Some(
        header
            .segments
            .iter()
            .map(|segment| folder.join(format!("{}.hea", segment.name)))
            .collect(),
    )
}

/// Whether a file that is no header should be a recording.
fn is_recording(path: &Path) -> bool {
    match lower_extension(path).as_deref() {
        Some(
            "dat" | "npy" | "npz" | "mat" | "h5" | "hdf5" | "edf" | "bdf" | "ecg" | "ishne" | "scp"
            | "mwf",
        ) => true,
        Some("gz" | "zip") => packed::is_recording(path),
        // Recordings of sound and of others are called so too.
        Some("rec") => peek_bytes(path).is_some_and(|start| by_mark(&start)),
        Some("parquet") => parquet::is_recording(path),
        Some("xml") => peek_bytes(path).is_none_or(xml::is_recording) || is_damaged(path),
        Some("dcm" | "dicom") => peek_bytes(path)
            // What is shorter than its start can be no image.
            .is_none_or(|start| {
                dicom::is_recording(&start)
                    || !dicom::has_mark(&start)
                    || (start.len() as u64) < PEEK_BYTES
            }),
        Some("csv" | "tsv") => csv::is_recording(path, false) || is_damaged(path),
        Some("txt") => csv::is_recording(path, true),
        None => {
            peek_bytes(path).is_some_and(|start| dicom::is_recording(&start) || by_mark(&start))
        }
        _ => false,
    }
}

/// Whether a file cannot be what its name says: it cannot be read, is empty, or is a pointer or a page in its place.
fn is_damaged(path: &Path) -> bool {
    peek_bytes(path).is_none() || mistaken::refuse(path).is_err()
}

/// Whether a file that may be anything starts as files of EDF, BDF, ISHNE or SCP-ECG do.
fn by_mark(start: &[u8]) -> bool {
    edf::is_edf_by_mark(start) || ishne::is_ishne(start) || scp::is_recording(start)
}

fn peek(path: &Path) -> Option<String> {
    Some(String::from_utf8_lossy(&peek_bytes(path)?).into_owned())
}

fn peek_bytes(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).ok()?;
    file.take(PEEK_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
