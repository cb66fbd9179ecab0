//! Memory-mapped files as Arrow buffers. The only module of this crate with `unsafe`.
#![allow(unsafe_code)]

use std::fs::File;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;

use arrow_buffer::Buffer;
use memmap2::Mmap;

use crate::error::StoreError;

/// The whole file as a buffer that lives as long as anything borrowed from it.
///
/// A shard is written under a temporary name, synced and renamed, and never written again by this library. If another
/// program changes a mapped shard, other bytes are read; if it truncates the shard, the process is killed (`SIGBUS`),
/// as with every mapped file.
pub(crate) fn map_file(path: &Path) -> Result<Buffer, StoreError> {
    let file = File::open(path).map_err(StoreError::io("open", path))?;
    let length = file
        .metadata()
        .map_err(StoreError::io("read the size of", path))?
        .len();
    if length == 0 {
        // An empty file cannot be mapped.
        return Ok(Buffer::from_vec(Vec::<u8>::new()));
    }
    // SAFETY: the map is read-only and private to this process; shards are immutable once they have
    // their final name (see above).
    let map = unsafe { Mmap::map(&file) }.map_err(StoreError::io("map", path))?;
    let length = map.len();
    let start = NonNull::new(map.as_ptr().cast_mut())
        .ok_or_else(|| StoreError::shard(path, "it was mapped to address 0"))?;
    // SAFETY: `start` points to `length` initialised bytes of the map, which moves into the owner and
    // stays in place until the last buffer referring to it is dropped.
    Ok(unsafe { Buffer::from_custom_allocation(start, length, Arc::new(map)) })
}
