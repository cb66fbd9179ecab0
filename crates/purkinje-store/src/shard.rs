//! One shard file: written once, then mapped into memory.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::{FileDecoder, read_footer_length};
use arrow_ipc::writer::{FileWriter, IpcWriteOptions};
use arrow_ipc::{MetadataVersion, convert::try_fb_to_schema, root_as_footer, root_as_message};
use arrow_schema::{ArrowError, Schema, SchemaRef};

use crate::error::StoreError;
use crate::map::map_file;

/// Bytes before the footer's length and the closing magic.
const TRAILER: usize = 10;

/// Writes record batches to a file and hashes what it writes.
pub(crate) struct ShardWriter {
    writer: FileWriter<Hashing<BufWriter<File>>>,
}

/// A finished shard file, synced to disk.
pub(crate) struct FinishedShard {
    pub(crate) bytes: u64,
    pub(crate) blake3: String,
}

impl ShardWriter {
    /// Starts a shard at `path`, replacing what is there.
    pub(crate) fn create(path: &Path, schema: &Schema) -> Result<Self, StoreError> {
        let file = File::create(path).map_err(StoreError::io("create", path))?;
        let sink = Hashing {
            inner: BufWriter::with_capacity(1 << 20, file),
            hasher: blake3::Hasher::new(),
            bytes: 0,
        };
        // 64-byte alignment lets a mapped file be used in place.
        let writer = IpcWriteOptions::try_new(64, false, MetadataVersion::V5)
            .and_then(|options| FileWriter::try_new_with_options(sink, schema, options))
            .map_err(|error| arrow_error("write", path, error))?;
        Ok(ShardWriter { writer })
    }

    pub(crate) fn write(&mut self, path: &Path, batch: &RecordBatch) -> Result<(), StoreError> {
        self.writer
            .write(batch)
            .map_err(|error| arrow_error("write", path, error))
    }

    /// Completes the file and waits until it is on disk.
    pub(crate) fn finish(self, path: &Path) -> Result<FinishedShard, StoreError> {
        let sink = self
            .writer
            .into_inner()
            .map_err(|error| arrow_error("write", path, error))?;
        let file = sink
            .inner
            .into_inner()
            .map_err(|error| StoreError::io("write", path)(error.into_error()))?;
        file.sync_all().map_err(StoreError::io("sync", path))?;
        Ok(FinishedShard {
            bytes: sink.bytes,
            blake3: sink.hasher.finalize().to_hex().to_string(),
        })
    }
}

/// Maps a shard and decodes its batches without copying samples.
///
/// Every offset in the file is checked before use, so that a damaged file gives an error, not a crash.
pub(crate) fn read_shard(path: &Path, schema: &SchemaRef) -> Result<Vec<RecordBatch>, StoreError> {
    let buffer = map_file(path)?;
    decode(&buffer, schema).map_err(|reason| StoreError::shard(path, reason))
}

/// The BLAKE3 of a file in hex.
pub(crate) fn hash_file(path: &Path) -> Result<String, StoreError> {
    let mut file = File::open(path).map_err(StoreError::io("open", path))?;
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut file, &mut hasher).map_err(StoreError::io("read", path))?;
    Ok(hasher.finalize().to_hex().to_string())
}

fn decode(buffer: &Buffer, schema: &SchemaRef) -> Result<Vec<RecordBatch>, String> {
    let trailer_start = buffer
        .len()
        .checked_sub(TRAILER)
        .ok_or("it is too short for an Arrow file")?;
    let trailer: [u8; TRAILER] = buffer[trailer_start..]
        .try_into()
        .map_err(|_| "it is too short for an Arrow file")?;
    let footer_length = read_footer_length(trailer).map_err(|e| e.to_string())?;
    let footer_start = trailer_start
        .checked_sub(footer_length)
        .ok_or("its footer is longer than the file")?;
    let footer = root_as_footer(&buffer[footer_start..trailer_start])
        .map_err(|e| format!("its footer cannot be read ({e})"))?;
    let found = footer.schema().ok_or("its footer has no schema")?;
    let found = try_fb_to_schema(found).map_err(|e| e.to_string())?;
    if found.fields() != schema.fields() {
        return Err(format!(
            "its columns differ from those of the store (found {})",
            found
                .fields()
                .iter()
                .map(|f| f.name().as_str())
                .collect::<Vec<_>>()
                .join(", ")
        ));
    }
    if footer.dictionaries().is_some_and(|d| !d.is_empty()) {
        return Err("it has dictionary-encoded columns, expected plain ones".to_owned());
    }
    let decoder = FileDecoder::new(schema.clone(), footer.version()).with_require_alignment(true);
    let mut batches = Vec::new();
    for block in footer.recordBatches().iter().flatten() {
        let number = batches.len();
        let out_of_range = || format!("batch {number} is outside the file");
        let offset = usize::try_from(block.offset()).map_err(|_| out_of_range())?;
        let header = usize::try_from(block.metaDataLength()).map_err(|_| out_of_range())?;
        let body = usize::try_from(block.bodyLength()).map_err(|_| out_of_range())?;
        let end = offset
            .checked_add(header)
            .and_then(|end| end.checked_add(body))
            .filter(|&end| end <= footer_start)
            .ok_or_else(out_of_range)?;
        let data = buffer.slice_with_length(offset, end - offset);
        check_message(&data, header, body).map_err(|reason| format!("batch {number} {reason}"))?;
        let batch = decoder
            .read_record_batch(block, &data)
            .map_err(|e| format!("batch {number} cannot be decoded ({e})"))?
            .ok_or_else(|| format!("batch {number} is empty"))?;
        batches.push(batch);
    }
    Ok(batches)
}

/// Arrow's decoder slices buffers by the lengths a message states; states that do not fit are
/// refused here.
fn check_message(data: &[u8], header: usize, body: usize) -> Result<(), String> {
    let broken = || "has a broken header".to_owned();
    // A continuation marker and the length come before the message.
    let prefix = if data.starts_with(&[0xff; 4]) { 8 } else { 4 };
    if header < prefix {
        return Err(broken());
    }
    let message = root_as_message(&data[prefix..header]).map_err(|_| broken())?;
    let batch = message.header_as_record_batch().ok_or_else(broken)?;
    if batch.compression().is_some() {
        return Err("is compressed, expected uncompressed data".to_owned());
    }
    for buffer in batch.buffers().iter().flatten() {
        let fits = usize::try_from(buffer.offset())
            .ok()
            .zip(usize::try_from(buffer.length()).ok())
            .and_then(|(offset, length)| offset.checked_add(length))
            .is_some_and(|end| end <= body);
        if !fits {
            return Err("has a column outside its body".to_owned());
        }
    }
    // Lengths beyond 2^31 would overflow the size computations of the decoder.
    let sane = |n: i64| (0..1 << 31).contains(&n);
    let nodes_fit = batch
        .nodes()
        .iter()
        .flatten()
        .all(|node| sane(node.length()) && sane(node.null_count()));
    if !nodes_fit || !sane(batch.length()) {
        return Err("states an impossible number of rows".to_owned());
    }
    Ok(())
}

/// An I/O error keeps its kind, so that a full disk is reported as such.
fn arrow_error(action: &'static str, path: &Path, error: ArrowError) -> StoreError {
    match error {
        ArrowError::IoError(_, source) => StoreError::io(action, path)(source),
        other => StoreError::shard(path, other.to_string()),
    }
}

struct Hashing<W> {
    inner: W,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(data)?;
        self.hasher.update(&data[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}
