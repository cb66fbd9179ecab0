//! The numbers in a checkpoint from before PyTorch 1.6: after the pickle that describes it comes another one with the
//! keys of the storages, and then each storage, as a count and its numbers.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::CheckpointError;
use super::container::{FORMAT, LONGEST, explain};
use super::pickle::Pickle;
use super::tensors::storage;

/// The position of each storage, by its key: its first byte and its number of bytes.
#[derive(Default)]
pub(super) struct Stream {
    storages: HashMap<String, (u64, u64)>,
}

impl Stream {
    /// Finds the storages of the checkpoint that `root` describes; `file` is positioned after that pickle and has
    /// `size` bytes.
    pub(super) fn open(
        path: &Path,
        file: &mut BufReader<File>,
        size: u64,
        root: &Pickle,
    ) -> Result<Self, CheckpointError> {
        let damaged = |problem: &str| CheckpointError::damaged(path, FORMAT, problem);
        let keys = Pickle::parse(&mut file.by_ref().take(LONGEST), &[])
            .map_err(|problem| explain(path, problem))?;
        let keys = keys
            .texts()
            .ok_or_else(|| damaged("the list of its storages is not a list of texts"))?;
        let classes = root.storage_classes();
        let mut storages = HashMap::new();
        let mut at = file
            .stream_position()
            .map_err(CheckpointError::io(path, "read"))?;
        for key in keys {
            let class = classes.get(key).copied().unwrap_or_default();
            let width = match storage(class) {
                Some((_, width)) => width as u64,
                None if class.ends_with("UntypedStorage") => 1,
                None => {
                    return Err(damaged(&format!(
                        "its storage `{key}` is of the type `{class}`, whose size is not known"
                    )));
                }
            };
            let mut count = [0; 8];
            file.seek(SeekFrom::Start(at))
                .and_then(|_| file.read_exact(&mut count))
                .map_err(|_| truncated(path, key))?;
            let bytes = u64::try_from(i64::from_le_bytes(count))
                .ok()
                .and_then(|count| count.checked_mul(width))
                .ok_or_else(|| {
                    damaged(&format!("the size of its storage `{key}` is impossible"))
                })?;
            let start = at + 8;
            at = start
                .checked_add(bytes)
                .filter(|end| *end <= size)
                .ok_or_else(|| truncated(path, key))?;
            storages.insert(key.to_owned(), (start, bytes));
        }
        Ok(Stream { storages })
    }

    /// The bytes of a storage; `None` where there is no such storage.
    pub(super) fn bytes(&self, key: &str) -> Option<u64> {
        self.storages.get(key).map(|(_, bytes)| *bytes)
    }

    /// `length` bytes from offset `from` of a storage that has them.
    pub(super) fn read(
        &self,
        path: &Path,
        key: &str,
        from: u64,
        length: u64,
    ) -> Result<Vec<u8>, CheckpointError> {
        let io = || CheckpointError::io(path, "read");
        let (start, bytes) = self.storages.get(key).copied().unwrap_or_default();
        let mut file = File::open(path).map_err(io())?;
        file.seek(SeekFrom::Start(start + from)).map_err(io())?;
        let mut numbers = Vec::with_capacity(length.min(bytes) as usize);
        file.take(length).read_to_end(&mut numbers).map_err(io())?;
        match numbers.len() as u64 == length {
            true => Ok(numbers),
            false => Err(truncated(path, key)),
        }
    }
}

fn truncated(path: &Path, key: &str) -> CheckpointError {
    CheckpointError::Truncated {
        path: path.to_path_buf(),
        format: FORMAT,
        problem: format!("it ends before or within its storage `{key}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::container::{Container, open};
    use super::super::testing::{dictionary, legacy_checkpoint, pickle, tensor, weights};
    use super::*;

    fn read(bytes: &[u8], key: &str) -> Result<Vec<u8>, CheckpointError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.pth");
        std::fs::write(&path, bytes).unwrap();
        let (pickle, container) = open(&path, &[])?;
        assert!(matches!(container, Container::Stream(_)));
        assert!(!pickle.tensors().is_empty());
        container.storage(&path, "w", key, 0, 4)
    }

    #[test]
    fn storages_are_found_by_their_keys() {
        let whole = legacy_checkpoint(&pickle(&weights(true)));
        assert_eq!(read(&whole, "0").unwrap(), 1.5f32.to_le_bytes());
        assert_eq!(read(&whole, "1").unwrap(), 0.25f32.to_le_bytes());
        let error = read(&whole, "2").unwrap_err().to_string();
        assert!(
            error.contains("storage `2`, which is not in the file"),
            "{error}"
        );
    }

    #[test]
    fn sizes_and_byte_orders_that_cannot_be_are_refused() {
        let whole = legacy_checkpoint(&pickle(&weights(true)));
        // The count of the second storage stands before its one number.
        let count = whole.len() - 12;
        for (value, expected) in [
            (-1i64, "impossible"),
            (2, "ends before or within its storage `1`"),
        ] {
            let mut odd = whole.clone();
            odd[count..count + 8].copy_from_slice(&value.to_le_bytes());
            let error = read(&odd, "0").unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let mut big = whole.clone();
        let at = big
            .windows(14)
            .position(|w| w == b"little_endian\x88")
            .unwrap();
        big[at + 13] = 0x89;
        let error = read(&big, "0").unwrap_err().to_string();
        assert!(error.contains("big-endian"), "{error}");
    }

    #[test]
    fn parts_of_other_storages_begin_where_they_say() {
        // The second number of storage 0, as versions before 0.4 described it.
        let mut part = tensor("0", 1, 2, true);
        let at = part.windows(3).position(|w| w == b"NtQ").unwrap();
        part.splice(at..at + 1, *b"X\x01\0\0\0vK\x01K\x01\x87");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.pth");
        let root = dictionary(&[("w", part), ("s", tensor("1", 1, 1, true))]);
        std::fs::write(&path, legacy_checkpoint(&pickle(&root))).unwrap();
        let found = super::super::read_pth(&path).unwrap();
        assert_eq!(found.model.get("w").unwrap().data, [-2.0]);
        assert_eq!(found.model.get("s").unwrap().data, [0.25]);
    }
}
