//! Finding the recordings of a folder.

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::{RecordError, dicom, edf, hdf5, mat, npz, parquet, scp, table, xml};

/// Folders below each other that are searched.
pub const MAX_FOLDER_DEPTH: usize = 64;

/// Bytes of a header or table that are looked at to tell what it is.
const PEEK_BYTES: u64 = 4096;

/// The recordings in `folder` and its subfolders, sorted by path: headers of WFDB records (not those of segments that another
/// header in the folder names) and of other files those that say by themselves what they are:
///
/// - `.npy` arrays with a `.json` sidecar, `.npz` archives with rate and leads inside;
/// - `.csv` and `.parquet` tables with a column named like a standard lead;
/// - `.mat` files with a struct `ECG`, or with `feats` and its rate; `.h5` files with one recording;
/// - `.edf` files, `.scp` files of SCP-ECG;
/// - DICOM files of ECG objects (by extension or, without any, by their mark), `.xml` files with the root element of an ECG.
///
/// Where a header and another file share a name, just the header. Hidden files and folders (`.name`) are passed over.
///
/// Links to folders are followed; a folder that is reached twice is searched once. The order does not depend on the file system.
///
/// # Errors
/// When a folder cannot be listed.
pub fn find_records(folder: impl AsRef<Path>) -> Result<Vec<PathBuf>, RecordError> {
    let mut found = Vec::new();
    search(folder.as_ref(), 0, &mut HashSet::new(), &mut found)?;
    found.sort();
    Ok(found)
}

fn search(
    folder: &Path,
    depth: usize,
    seen: &mut HashSet<PathBuf>,
    found: &mut Vec<PathBuf>,
) -> Result<(), RecordError> {
    let io = |source| RecordError::Io {
        path: folder.to_owned(),
        source,
    };
    if depth > MAX_FOLDER_DEPTH || !seen.insert(folder.canonicalize().map_err(io)?) {
        return Ok(());
    }
    let mut folders = Vec::new();
    let mut headers = Vec::new();
    let mut others = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let path = entry.path();
        // Hidden files, and what macOS puts beside each file (`._record.dcm`), are no recordings.
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let mut kind = entry.file_type().map_err(io)?;
        if kind.is_symlink() {
            // A link that leads nowhere is no recording.
            let Ok(metadata) = fs::metadata(&path) else {
                continue;
            };
            kind = metadata.file_type();
        }
        if kind.is_dir() {
            folders.push(path);
        } else if kind.is_file() {
            match lower_extension(&path).as_deref() {
                Some("hea") => headers.push(path),
                Some(
                    "npy" | "npz" | "csv" | "parquet" | "mat" | "h5" | "hdf5" | "edf" | "scp"
                    | "dcm" | "dicom" | "xml",
                )
                | None => others.push(path),
                _ => {}
            }
        }
    }
    let segments: HashSet<PathBuf> = headers
        .iter()
        .filter_map(|path| segment_headers(path))
        .flatten()
        .collect();
    headers.retain(|path| !segments.contains(path));
    let with_header: HashSet<PathBuf> = headers.iter().map(|p| p.with_extension("")).collect();
    others.retain(|path| !with_header.contains(&path.with_extension("")) && is_recording(path));
    found.append(&mut headers);
    found.append(&mut others);
    folders.sort();
    for folder in folders {
        search(&folder, depth + 1, seen, found)?;
    }
    Ok(())
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

/// Whether a file that is no header holds a recording, as far as little of it tells.
fn is_recording(path: &Path) -> bool {
    match lower_extension(path).as_deref() {
        Some("npy") => return path.with_extension("json").is_file(),
        Some("npz") => return npz::is_recording(path),
        Some("parquet") => return parquet::is_recording(path),
        Some("mat") => return mat::is_recording(path),
        Some("h5" | "hdf5") => return hdf5::is_recording(path),
        Some("edf") => return peek_bytes(path).is_some_and(|start| edf::is_edf(&start)),
        Some("scp") => return peek_bytes(path).is_some_and(|start| scp::is_recording(&start)),
        Some("xml") => return peek_bytes(path).is_some_and(xml::is_recording),
        Some("dcm" | "dicom") | None => {
            return peek_bytes(path).is_some_and(|start| dicom::is_recording(&start));
        }
        _ => {}
    }
    peek(path).is_some_and(|start| {
        let mut lines = start.trim_start_matches('\u{feff}').lines();
        let titles = lines.find(|line| !line.starts_with('#') && !line.trim().is_empty());
        titles.is_some_and(|titles| {
            titles
                .split([',', ';', '\t'])
                .any(|title| table::is_lead(title.trim_matches(['"', ' '])))
        })
    })
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
