//! The container of the pickle in a PyTorch checkpoint: its kind, and the position of the pickle.
//!
//! `torch.save` writes a zip archive of uncompressed entries since PyTorch 1.6, and before that four pickles followed by
//! the numbers ("legacy").

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::CheckpointError;
use super::archive::{Archive, END, LOCAL};
use super::pickle::Pickle;
use super::pickle_parser::PickleProblem;
use super::stream::Stream;

pub(super) const FORMAT: &str = "PyTorch checkpoint";
/// Largest ratio of unpacked to packed size: weights hardly compress, and tied ones count several times.
pub(super) const MOST_EXPANSION: u64 = 16;
/// Size of the longest pickle or directory that is read, in bytes.
pub(super) const LONGEST: u64 = 100 << 20;

/// The kind of a file, and the position of the numbers in it.
pub(super) enum Container {
    Archive(Archive),
    Stream(Stream),
}

impl Container {
    /// `length` bytes from offset `from` of a storage, for the tensor `name`.
    pub(super) fn storage(
        &self,
        path: &Path,
        name: &str,
        key: &str,
        from: u64,
        length: u64,
    ) -> Result<Vec<u8>, CheckpointError> {
        let odd = |problem: String| CheckpointError::tensor(path, name, problem);
        let bytes = match self {
            Container::Archive(archive) => archive.storage_bytes(key),
            Container::Stream(stream) => stream.bytes(key),
        };
        let fits = bytes.is_some_and(|bytes| from.checked_add(length).is_some_and(|n| n <= bytes));
        if !fits {
            return Err(odd(format!(
                "needs bytes {from} to {} of the storage `{key}`, which {}; fetch the file again",
                from.saturating_add(length),
                bytes.map_or("is not in the file".to_owned(), |n| format!("has {n}"))
            )));
        }
        let read = match self {
            Container::Archive(archive) => archive.storage(path, key, from, length),
            Container::Stream(stream) => stream.read(path, key, from, length),
        };
        read.map_err(|error| match error {
            CheckpointError::Damaged { problem, .. } => {
                odd(format!("cannot be read: {problem}; fetch the file again"))
            }
            other => other,
        })
    }
}

/// Reads the pickle that describes the checkpoint, and opens its container.
pub(super) fn open(
    path: &Path,
    allowed: &[String],
) -> Result<(Pickle, Container), CheckpointError> {
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
            let archive = Archive::open(path, &mut file, metadata.len())?;
            let (start, length) = archive.bytes_of(path, &mut file, &archive.pickle)?;
            file.seek(SeekFrom::Start(start)).map_err(io())?;
            let mut bytes = (&mut file).take(length.min(LONGEST));
            let pickle = Pickle::parse(&mut bytes, allowed).map_err(explain)?;
            Ok((pickle, Container::Archive(archive)))
        }
        Kind::Pickles { before } => {
            file.seek(SeekFrom::Start(0)).map_err(io())?;
            let mut pickles = (&mut file).take(LONGEST);
            for _ in 0..before {
                let other = Pickle::parse(&mut pickles, &[]).map_err(explain)?;
                if other.value(&["little_endian"]) == Some(false.into()) {
                    return Err(big_endian(path));
                }
            }
            let pickle = Pickle::parse(&mut pickles, allowed).map_err(explain)?;
            let stream = match before {
                0 => Stream::default(),
                _ => Stream::open(path, &mut file, metadata.len(), &pickle)?,
            };
            Ok((pickle, Container::Stream(stream)))
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

/// The kind of a file by its first bytes. The kinds that are not supported are common results of failed downloads.
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
        Kind::Other("it looks like a safetensors file; give it the extension `.safetensors`")
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
        Kind::Other("it is neither a zip archive nor a pickle")
    }
}

pub(super) fn not_a_checkpoint(path: &Path, found: &'static str) -> CheckpointError {
    CheckpointError::NotACheckpoint {
        path: path.to_path_buf(),
        found,
    }
}

pub(super) fn big_endian(path: &Path) -> CheckpointError {
    let problem = "its numbers are big-endian; load and save it on a little-endian machine";
    CheckpointError::damaged(path, FORMAT, problem)
}

pub(super) fn explain(path: &Path, problem: PickleProblem) -> CheckpointError {
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

#[cfg(test)]
mod tests {
    use super::super::testing::zip;
    use super::*;

    fn read(bytes: &[u8]) -> Result<Pickle, CheckpointError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("small.pth");
        std::fs::write(&path, bytes).unwrap();
        open(&path, &[]).map(|(pickle, _)| pickle)
    }

    #[test]
    fn other_files_are_named_as_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let error = open(folder.path(), &[])
            .err()
            .map_or_else(String::new, |e| e.to_string());
        assert!(error.contains("it is a folder"), "{error}");
        let missing = open(&folder.path().join("none.pth"), &[]);
        assert!(matches!(missing, Err(CheckpointError::Io { .. })));
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
            (b"\x93NUMPY", "neither a zip archive nor a pickle"),
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
}
