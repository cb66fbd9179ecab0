//! Layouts: where the elements of a data set lie.

use std::sync::{Arc, OnceLock};

use super::Dataset;
use super::datatype::Space;
use super::source::{Meta, Source};
use crate::RecordError;

/// Levels of a tree of chunks.
const MAX_LEVELS: usize = 32;

/// Where the elements of a data set lie.
#[derive(Debug)]
pub(super) enum Layout {
    /// In the object header.
    Compact(Vec<u8>),
    /// Side by side; without an address none was ever written.
    Contiguous(Option<u64>),
    Chunked(Chunked),
    /// As it is not read.
    Other(&'static str),
}

/// A data set in chunks of one size.
#[derive(Debug)]
pub(super) struct Chunked {
    /// Sizes of a chunk, one a dimension, none 0.
    pub size: Vec<u64>,
    index: Index,
    /// Address of the index; without one no chunk was ever written.
    address: Option<u64>,
    /// The chunks by their number, once they were needed.
    found: OnceLock<Arc<[Chunk]>>,
}

/// How the chunks are found.
#[derive(Debug)]
enum Index {
    /// B-tree of version 1.
    Tree,
    /// There is just one; its size in the file and its mask when it is filtered.
    Single(Option<(u64, u32)>),
    /// One after another.
    Implicit,
    FixedArray,
}

/// A chunk in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    /// Its place in the grid of chunks, the last dimension fastest.
    pub number: u64,
    pub address: u64,
    /// Size in the file.
    pub bytes: u64,
    /// Filters that were left out, one a bit.
    pub mask: u32,
}

impl Layout {
    /// The layout in a message.
    pub fn parse(source: &Source, message: &[u8], space: &Space) -> Option<Self> {
        let rank = space.shape.len();
        let mut field = source.fields(message);
        let version = field.u8()?;
        match version {
            1 | 2 => {
                let dims = usize::from(field.u8()?);
                let class = field.u8()?;
                field.take(5)?;
                let address = if class == 0 { None } else { field.address()? };
                let sizes: Vec<u64> = (0..dims)
                    .map(|_| field.u32().map(u64::from))
                    .collect::<Option<_>>()?;
                match class {
                    0 => {
                        let size = field.u32()? as usize;
                        Some(Layout::Compact(field.take(size)?.to_vec()))
                    }
                    1 => Some(Layout::Contiguous(address)),
                    2 => Chunked::layout(sizes, rank, Index::Tree, address),
                    _ => None,
                }
            }
            // Version 5 differs from 4 in the size of a number that the index states itself.
            3..=5 => match (version, field.u8()?) {
                (_, 0) => {
                    let size = usize::from(field.u16()?);
                    Some(Layout::Compact(field.take(size)?.to_vec()))
                }
                (_, 1) => Some(Layout::Contiguous(field.address()?)),
                (3, 2) => {
                    let dims = usize::from(field.u8()?);
                    let address = field.address()?;
                    let sizes: Vec<u64> = (0..dims)
                        .map(|_| field.u32().map(u64::from))
                        .collect::<Option<_>>()?;
                    Chunked::layout(sizes, rank, Index::Tree, address)
                }
                (4 | 5, 2) => {
                    let flags = field.u8()?;
                    let dims = usize::from(field.u8()?);
                    let bytes = usize::from(field.u8()?);
                    let sizes: Vec<u64> = (0..dims)
                        .map(|_| field.number(bytes))
                        .collect::<Option<_>>()?;
                    let index = match field.u8()? {
                        1 if flags & 2 != 0 => Index::Single(Some((field.length()?, field.u32()?))),
                        1 => Index::Single(None),
                        // The order of the chunks would depend on how far it may grow.
                        2 if space.resizable => {
                            return Some(Layout::Other("an implicit index that may grow"));
                        }
                        2 => Index::Implicit,
                        3 => {
                            field.take(1)?;
                            Index::FixedArray
                        }
                        4 => return Some(Layout::Other("chunks in an extensible array")),
                        5 => return Some(Layout::Other("chunks in a B-tree of version 2")),
                        _ => return None,
                    };
                    Chunked::layout(sizes, rank, index, field.address()?)
                }
                (4 | 5, 3) => Some(Layout::Other("a virtual data set")),
                _ => None,
            },
            _ => None,
        }
    }
}

impl Chunked {
    /// `sizes` ends with the size of an element.
    fn layout(
        mut sizes: Vec<u64>,
        rank: usize,
        index: Index,
        address: Option<u64>,
    ) -> Option<Layout> {
        sizes.pop()?;
        if sizes.len() != rank || rank == 0 || sizes.contains(&0) {
            return None;
        }
        Some(Layout::Chunked(Chunked {
            size: sizes,
            index,
            address,
            found: OnceLock::new(),
        }))
    }

    /// Bytes of a chunk before filters; `None` when that is beyond all measure.
    pub fn bytes(&self, element: usize) -> Option<u64> {
        self.size
            .iter()
            .try_fold(element as u64, |bytes, &size| bytes.checked_mul(size))
    }

    /// The chunks that were written, sorted by number.
    pub fn chunks(&self, dataset: &Dataset) -> Result<Arc<[Chunk]>, RecordError> {
        if let Some(found) = self.found.get() {
            return Ok(Arc::clone(found));
        }
        let source = &dataset.source;
        let mut search = Search {
            meta: &Meta::new(source),
            dataset,
            grid: self.grid(&dataset.shape),
            size: &self.size,
            chunk_bytes: self.bytes(dataset.element.bytes()).unwrap_or(u64::MAX),
            found: Vec::new(),
        };
        match (self.address, &self.index) {
            (None, _) => {}
            (Some(address), Index::Tree) => search.tree(address, 0)?,
            (Some(address), Index::Single(filtered)) => {
                let (bytes, mask) = filtered.unwrap_or((search.chunk_bytes, 0));
                search.found.push(Chunk {
                    number: 0,
                    address,
                    bytes,
                    mask,
                });
            }
            (Some(address), Index::Implicit) => {
                // No more than can be in the file.
                let count = search.count().unwrap_or(u64::MAX);
                let limit = source.file_bytes / search.chunk_bytes.max(1);
                if count > limit {
                    return Err(search.too_many(count, limit));
                }
                search.found.extend((0..count).map(|number| Chunk {
                    number,
                    address: address.saturating_add(number.saturating_mul(search.chunk_bytes)),
                    bytes: search.chunk_bytes,
                    mask: 0,
                }));
            }
            (Some(address), Index::FixedArray) => search.fixed_array(address)?,
        }
        search.found.sort_unstable_by_key(|chunk| chunk.number);
        let found: Arc<[Chunk]> = search.found.into();
        // Another thread may have been faster; what it found is the same.
        Ok(Arc::clone(self.found.get_or_init(|| found)))
    }

    /// How many chunks there are along each dimension.
    pub fn grid(&self, shape: &[u64]) -> Vec<u64> {
        shape
            .iter()
            .zip(&self.size)
            .map(|(&whole, &size)| whole.div_ceil(size))
            .collect()
    }
}

struct Search<'a> {
    meta: &'a Meta<'a>,
    dataset: &'a Dataset,
    grid: Vec<u64>,
    size: &'a [u64],
    chunk_bytes: u64,
    found: Vec<Chunk>,
}

impl Search<'_> {
    fn count(&self) -> Option<u64> {
        self.grid
            .iter()
            .try_fold(1u64, |count, &size| count.checked_mul(size))
    }

    fn too_many(&self, found: u64, limit: u64) -> RecordError {
        self.meta.source.too_large("number of chunks", found, limit)
    }

    fn bad(&self, address: u64, expected: &str) -> RecordError {
        self.meta.source.bad(
            &format!(
                "the index of chunks of `{}` at {address}",
                self.dataset.name
            ),
            "something else",
            &format!("{expected}; copy the file again"),
        )
    }

    fn tree(&mut self, address: u64, level: usize) -> Result<(), RecordError> {
        let source = self.meta.source;
        let what = "the index of chunks";
        let head = self.meta.at(address, 8, what)?;
        if !head.starts_with(b"TREE") || head[4] != 1 || level > MAX_LEVELS {
            return Err(self.bad(address, "a node of the tree of chunks"));
        }
        let leaf = head[5] == 0;
        let count = usize::from(u16::from_le_bytes([head[6], head[7]]));
        let key = 8 + 8 * (self.size.len() + 1);
        let start = 8 + 2 * source.offset_bytes;
        let size = start + count * (key + source.offset_bytes);
        let node = self.meta.at(address, size as u64, what)?;
        for entry in node[start..].chunks_exact(key + source.offset_bytes) {
            let mut field = source.fields(entry);
            let mut next = || {
                let bytes = u64::from(field.u32()?);
                let mask = field.u32()?;
                // Places beyond the data set are left over from when it was larger.
                let mut number = Some(0u64);
                for (&size, &grid) in self.size.iter().zip(&self.grid) {
                    let place = field.number(8)? / size;
                    number = number
                        .filter(|_| place < grid)
                        .and_then(|number| number.checked_mul(grid)?.checked_add(place));
                }
                field.take(8)?;
                Some((bytes, mask, number, field.address()??))
            };
            let Some((bytes, mask, number, child)) = next() else {
                continue;
            };
            if !leaf {
                self.tree(child, level + 1)?;
            } else if let Some(number) = number {
                self.found.push(Chunk {
                    number,
                    address: child,
                    bytes,
                    mask,
                });
            }
        }
        Ok(())
    }

    fn fixed_array(&mut self, address: u64) -> Result<(), RecordError> {
        let source = self.meta.source;
        let (offset, length) = (source.offset_bytes, source.length_bytes);
        let what = "the index of chunks";
        let head = self.meta.at(address, (8 + length + offset) as u64, what)?;
        let filtered = head[5] == 1;
        let entry_bytes = usize::from(head[6]);
        let page_bits = u32::from(head[7]);
        let mut field = source.fields(&head[8..]);
        let count = field.length().unwrap_or(0);
        let block = field.address().flatten();
        let least = if filtered { offset + 5 } else { offset };
        if !head.starts_with(b"FAHD") || entry_bytes < least || page_bits > 32 {
            return Err(self.bad(address, "the head of a fixed array"));
        }
        if Some(count) != self.count() {
            return Err(self.meta.source.bad(
                &format!("the number of chunks of `{}`", self.dataset.name),
                &format!("{count}"),
                "as many as its dimensions need; convert the file with h5repack",
            ));
        }
        let Some(block) = block else {
            return Ok(());
        };
        let limit = source.file_bytes / entry_bytes as u64;
        if count > limit {
            return Err(self.too_many(count, limit));
        }
        // Signature, version, client, address of the head.
        let start = block.saturating_add((6 + offset) as u64);
        let page = 1u64 << page_bits;
        let mut number = 0;
        if count <= page {
            return self.entries(start, count, entry_bytes, filtered, &mut number);
        }
        // A bit for each page that was written, and a checksum; then the pages, each with a checksum.
        let pages = count.div_ceil(page);
        let bits = self.meta.at(start, pages.div_ceil(8), what)?;
        let mut at = start.saturating_add(pages.div_ceil(8) + 4);
        for i in 0..pages {
            let here = page.min(count - i * page);
            let written = bits
                .get((i / 8) as usize)
                .is_some_and(|byte| byte & (0x80 >> (i % 8)) != 0);
            if written {
                self.entries(at, here, entry_bytes, filtered, &mut number)?;
            } else {
                number += here;
            }
            at = at.saturating_add(page.saturating_mul(entry_bytes as u64).saturating_add(4));
        }
        Ok(())
    }

    fn entries(
        &mut self,
        address: u64,
        count: u64,
        entry_bytes: usize,
        filtered: bool,
        number: &mut u64,
    ) -> Result<(), RecordError> {
        let source = self.meta.source;
        let bytes = count.saturating_mul(entry_bytes as u64);
        let block = self.meta.at(address, bytes, "the index of chunks")?;
        for entry in block.chunks_exact(entry_bytes) {
            let mut field = source.fields(entry);
            let address = field.address().flatten();
            let (bytes, mask) = if filtered {
                let bytes = field.number((entry_bytes - source.offset_bytes - 4).min(8));
                (bytes.unwrap_or(0), field.u32().unwrap_or(0))
            } else {
                (self.chunk_bytes, 0)
            };
            if let Some(address) = address {
                self.found.push(Chunk {
                    number: *number,
                    address,
                    bytes,
                    mask,
                });
            }
            *number += 1;
        }
        Ok(())
    }
}
