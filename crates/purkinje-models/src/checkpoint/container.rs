//! The file around the pickle of a PyTorch checkpoint: which kind it is, where the pickle lies, and whether its
//! directory promises what the file can hold.
//!
//! `torch.save` writes a zip archive of uncompressed entries since PyTorch 1.6, and before that four pickles followed by
//! the numbers ("legacy"). Archives that would unpack to far more than they weigh are refused here, before anything is
//! read from them.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Take};
use std::path::Path;

use super::CheckpointError;
use super::pickle::Pickle;
use super::pickle_parser::PickleProblem;

pub(super) const FORMAT: &str = "PyTorch checkpoint";
/// A file stands for at most this many times its size: weights hardly compress, and tied ones count a few times.
pub(super) const MOST_EXPANSION: u64 = 16;
/// The longest pickle or directory looked at; `pytorch-reader` has the same limit.
const LONGEST: u64 = pytorch_reader::MAX_PICKLE_SIZE;

const LOCAL: &[u8] = b"PK\x03\x04";
const ENTRY: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";
const END_BYTES: usize = 22;
/// The end record with the longest comment, and the locator before it.
const LONGEST_END: u64 = END_BYTES as u64 + 65_535 + 20;

/// Reads the pickle that describes the checkpoint.
pub(super) fn read_pickle(path: &Path, allowed: &[String]) -> Result<Pickle, CheckpointError> {
    let io = || CheckpointError::io(path, "read");
    let file = File::open(path).map_err(io())?;
    let metadata = file.metadata().map_err(io())?;
    if metadata.is_dir() {
        return Err(not_a_checkpoint(path, "it is a folder"));
    }
    let mut file = BufReader::new(file);
    let mut start = Vec::new();
    (&mut file)
        .take(300)
        .read_to_end(&mut start)
        .map_err(io())?;
    let explain = |problem| explain(path, problem);
    match kind(&start) {
        Kind::Zip => {
            let mut pickle = entry(path, &mut file, metadata.len())?;
            Pickle::parse(&mut pickle, allowed).map_err(explain)
        }
        Kind::Pickles { before } => {
            file.seek(SeekFrom::Start(0)).map_err(io())?;
            let mut stream = file.take(LONGEST);
            for _ in 0..before {
                Pickle::parse(&mut stream, &[]).map_err(explain)?;
            }
            Pickle::parse(&mut stream, allowed).map_err(explain)
        }
        Kind::Other(what) => Err(not_a_checkpoint(path, what)),
    }
}

enum Kind {
    Zip,
    /// Pickles one after the other; the model comes after `before` others.
    Pickles {
        before: usize,
    },
    Other(&'static str),
}

/// What the first bytes of a file say. People meet the others when a download went wrong.
fn kind(start: &[u8]) -> Kind {
    // The magic number 0x1950a86a20f9469cfc6c as an instruction of protocols 2 to 5.
    const MAGIC: [u8; 12] = [
        0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19,
    ];
    let contains = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|w| w == part);
    let text = String::from_utf8_lossy(start).trim_start().to_lowercase();
    if start.is_empty() {
        Kind::Other("it is empty")
    } else if start.starts_with(LOCAL) || start.starts_with(END) {
        Kind::Zip
    } else if start.get(8) == Some(&b'{') && start[3..8] == [0; 5] {
        Kind::Other("it looks like a safetensors file; give it the ending `.safetensors`")
    } else if contains(&start[..start.len().min(32)], &MAGIC) {
        Kind::Pickles { before: 3 }
    } else if start[0] == 0x80 {
        Kind::Pickles { before: 0 }
    } else if start.get(257..262) == Some(b"ustar") {
        Kind::Other(
            "it is a tar archive, which PyTorch wrote before version 0.1.10; load and save it with a current PyTorch",
        )
    } else if text.starts_with("version https://git-lfs") {
        Kind::Other(
            "it is a Git LFS pointer, not the file itself; fetch the file with `git lfs pull`",
        )
    } else if text.starts_with("<!doctype") || text.starts_with("<html") {
        Kind::Other("it is a web page, perhaps the error page of a download")
    } else {
        Kind::Other("it begins neither like a zip archive nor like a pickle")
    }
}

fn not_a_checkpoint(path: &Path, found: &'static str) -> CheckpointError {
    CheckpointError::NotACheckpoint {
        path: path.to_path_buf(),
        found,
    }
}

fn explain(path: &Path, problem: PickleProblem) -> CheckpointError {
    let path = path.to_path_buf();
    match problem {
        PickleProblem::Truncated => CheckpointError::Truncated {
            path,
            format: FORMAT,
            problem: "its pickle ends within a value".to_owned(),
        },
        PickleProblem::Damaged(problem) => CheckpointError::Damaged {
            path,
            format: FORMAT,
            problem,
        },
        PickleProblem::Forbidden(global) => CheckpointError::ForbiddenGlobal { path, global },
        PickleProblem::Bomb(problem) => CheckpointError::Bomb { path, problem },
    }
}

/// One line of an archive's directory.
struct Entry {
    name: Vec<u8>,
    method: u16,
    packed: u64,
    unpacked: u64,
    /// Where its local header begins.
    at: u64,
}

/// The bytes of `data.pkl` in a zip archive of `size` bytes, after a look at all of its directory.
fn entry<'a>(
    path: &Path,
    file: &'a mut BufReader<File>,
    size: u64,
) -> Result<Take<&'a mut BufReader<File>>, CheckpointError> {
    let damaged = |problem: &str| CheckpointError::damaged(path, FORMAT, problem);
    let io = || CheckpointError::io(path, "read");
    let entries = directory(path, file, size)?;
    let (mut packed, mut unpacked) = (0u64, 0u64);
    for entry in &entries {
        packed = packed.saturating_add(entry.packed);
        unpacked = unpacked.saturating_add(entry.unpacked);
        if entry.method == 0 && entry.packed != entry.unpacked {
            return Err(damaged(
                "an uncompressed entry of the archive has two sizes",
            ));
        }
    }
    // Entries may not share bytes, and weights hardly compress.
    if packed > size || unpacked > size.saturating_mul(MOST_EXPANSION) {
        return Err(CheckpointError::Bomb {
            path: path.to_path_buf(),
            problem: format!(
                "the entries of the archive claim {packed} bytes packed and {unpacked} unpacked, in a file of {size}"
            ),
        });
    }
    let pickles: Vec<&Entry> = entries
        .iter()
        .filter(|entry| entry.name == b"data.pkl" || entry.name.ends_with(b"/data.pkl"))
        .collect();
    let pickle = match pickles[..] {
        [pickle] => pickle,
        [] => {
            return Err(not_a_checkpoint(
                path,
                "it is a zip archive without `data.pkl`",
            ));
        }
        _ => return Err(damaged("the archive has several entries `data.pkl`")),
    };
    if pickle.method != 0 {
        return Err(damaged(
            "`data.pkl` in the archive is compressed, which `torch.save` never does",
        ));
    }
    let mut header = [0; 30];
    file.seek(SeekFrom::Start(pickle.at.min(size)))
        .map_err(io())?;
    file.read_exact(&mut header)
        .map_err(|_| damaged("the directory of the archive points beyond its end"))?;
    if !header.starts_with(LOCAL) {
        return Err(damaged("the directory does not lead to `data.pkl`"));
    }
    let skip = i64::from(word(&header, 26)) + i64::from(word(&header, 28));
    file.seek(SeekFrom::Current(skip)).map_err(io())?;
    Ok(file.take(pickle.packed.min(LONGEST)))
}

/// The directory at the end of a zip archive.
fn directory(
    path: &Path,
    file: &mut BufReader<File>,
    size: u64,
) -> Result<Vec<Entry>, CheckpointError> {
    let damaged = |problem: &str| CheckpointError::damaged(path, FORMAT, problem);
    let truncated = |problem: &str| CheckpointError::Truncated {
        path: path.to_path_buf(),
        format: FORMAT,
        problem: problem.to_owned(),
    };
    let io = || CheckpointError::io(path, "read");
    let mut read = |from: u64, count: u64| -> Result<Vec<u8>, CheckpointError> {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(from)).map_err(io())?;
        file.by_ref()
            .take(count)
            .read_to_end(&mut bytes)
            .map_err(io())?;
        Ok(bytes)
    };

    let tail_at = size.saturating_sub(LONGEST_END);
    let tail = read(tail_at, LONGEST_END)?;
    let end = (0..=tail.len().saturating_sub(END_BYTES))
        .rev()
        .find(|at| tail[*at..].starts_with(END))
        .ok_or_else(|| truncated("the directory at the end of the archive is missing"))?;
    let (mut bytes, mut at) = (
        u64::from(double(&tail, end + 12)),
        u64::from(double(&tail, end + 16)),
    );
    // Archives beyond 4 GiB, and all that PyTorch writes, have a second end record with wider numbers.
    if let Some(locator) = end.checked_sub(20)
        && tail[locator..].starts_with(LOCATOR_64)
    {
        let record = read(quad(&tail, locator + 8).min(size), 56)?;
        if record.len() < 56 || !record.starts_with(END_64) {
            return Err(damaged(
                "the end record of the archive is not where it should be",
            ));
        }
        (bytes, at) = (quad(&record, 40), quad(&record, 48));
    }
    if at.checked_add(bytes).is_none_or(|end| end > size) || bytes > LONGEST {
        return Err(damaged(
            "the directory of the archive lies outside the file",
        ));
    }

    let directory = read(at, bytes)?;
    let mut rest = directory.as_slice();
    let mut entries = Vec::new();
    while !rest.is_empty() {
        if rest.len() < 46 || !rest.starts_with(ENTRY) {
            return Err(damaged("the directory of the archive is garbled"));
        }
        let [name, extra, comment] = [28, 30, 32].map(|at| usize::from(word(rest, at)));
        if rest.len() < 46 + name + extra + comment {
            return Err(damaged("the directory of the archive is cut off"));
        }
        let mut entry = Entry {
            name: rest[46..46 + name].to_vec(),
            method: word(rest, 10),
            packed: double(rest, 20).into(),
            unpacked: double(rest, 24).into(),
            at: double(rest, 42).into(),
        };
        widen(&mut entry, &rest[46 + name..46 + name + extra]);
        entries.push(entry);
        rest = &rest[46 + name + extra + comment..];
    }
    Ok(entries)
}

/// Takes numbers that need more than 32 bits from the extra fields.
fn widen(entry: &mut Entry, mut extra: &[u8]) {
    while extra.len() >= 4 {
        let (tag, length) = (word(extra, 0), usize::from(word(extra, 2)));
        let Some(mut field) = extra.get(4..4 + length) else {
            return;
        };
        if tag == 1 {
            for number in [&mut entry.unpacked, &mut entry.packed, &mut entry.at] {
                if *number == u64::from(u32::MAX) && field.len() >= 8 {
                    *number = quad(field, 0);
                    field = &field[8..];
                }
            }
        }
        extra = &extra[4 + length..];
    }
}

// The numbers of a zip archive, little-endian. Callers have checked that the bytes are there; a number beyond them
// would read as 0.
fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk);
    found.copied().unwrap_or([0; N])
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(number(bytes, at))
}

fn double(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(number(bytes, at))
}

fn quad(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(number(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{dictionary, pickle, weights, zip, zip_checkpoint};
    use super::*;

    fn read(bytes: &[u8]) -> Result<Pickle, CheckpointError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("small.pth");
        std::fs::write(&path, bytes).unwrap();
        read_pickle(&path, &[])
    }

    #[test]
    fn other_files_are_named_as_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let error = read_pickle(folder.path(), &[]).unwrap_err().to_string();
        assert!(error.contains("it is a folder"), "{error}");
        let missing = read_pickle(&folder.path().join("none.pth"), &[]).unwrap_err();
        assert!(matches!(missing, CheckpointError::Io { .. }), "{missing}");
        let mut tar = vec![b'a'; 300];
        tar[257..262].copy_from_slice(b"ustar");
        for (bytes, expected) in [
            (&b""[..], "it is empty"),
            (b"\x10\0\0\0\0\0\0\0{\"a\":{}}", "safetensors"),
            (
                b"version https://git-lfs.github.com/spec/v1\noid",
                "git lfs pull",
            ),
            (b"\n<!DOCTYPE html><html>", "web page"),
            (b"\x93NUMPY", "neither like a zip archive nor like a pickle"),
            (&tar, "before version 0.1.10"),
            (
                &zip(&[("word/document.xml", b"<w/>")]),
                "without `data.pkl`",
            ),
        ] {
            let error = read(bytes).unwrap_err();
            assert!(
                matches!(error, CheckpointError::NotACheckpoint { .. }),
                "{error}"
            );
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn archives_that_claim_more_than_they_hold_are_refused() {
        let root = pickle(&dictionary(&[("model", weights(false))]));
        let whole = zip_checkpoint(&root);
        assert!(read(&whole).is_ok());
        // The sizes of the last entry, `x/version`, in the directory: packed, unpacked.
        let last = whole.windows(4).rposition(|w| w == ENTRY).unwrap();
        for (method, packed, unpacked, bomb) in [
            // Deflated a thousandfold.
            (8, 2u32, 2_000_000u32, true),
            // Entries that share their bytes.
            (8, whole.len() as u32, 10, true),
            (0, u32::MAX, u32::MAX, true),
            (0, 2, 3, false),
        ] {
            let mut odd = whole.clone();
            odd[last + 10] = method;
            odd[last + 20..last + 24].copy_from_slice(&packed.to_le_bytes());
            odd[last + 24..last + 28].copy_from_slice(&unpacked.to_le_bytes());
            let error = read(&odd).unwrap_err();
            match bomb {
                true => assert!(matches!(error, CheckpointError::Bomb { .. }), "{error}"),
                false => assert!(matches!(error, CheckpointError::Damaged { .. }), "{error}"),
            }
        }
        let twice = zip(&[("x/data.pkl", &root), ("y/data.pkl", &root)]);
        let error = read(&twice).unwrap_err().to_string();
        assert!(error.contains("several entries"), "{error}");
        let short = zip(&[("data.pkl", &root[..root.len() - 1])]);
        assert!(matches!(
            read(&short),
            Err(CheckpointError::Truncated { .. })
        ));
    }

    #[test]
    fn numbers_beyond_32_bits_are_taken_from_the_extra_field() {
        let mut entry = Entry {
            name: Vec::new(),
            method: 0,
            packed: u32::MAX.into(),
            unpacked: 7,
            at: u32::MAX.into(),
        };
        // A field of another kind, then one with two numbers.
        let mut extra = vec![9, 0, 1, 0, 0xff, 1, 0, 16, 0];
        extra.extend((1u64 << 33).to_le_bytes());
        extra.extend((1u64 << 34).to_le_bytes());
        widen(&mut entry, &extra);
        assert_eq!(
            (entry.unpacked, entry.packed, entry.at),
            (7, 1 << 33, 1 << 34)
        );
    }
}
