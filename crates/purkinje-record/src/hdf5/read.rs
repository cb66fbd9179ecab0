//! Reading elements.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::chunks::{Chunk, Chunked, Layout};
use super::source::Meta;
use super::{Dataset, Element, Number};
use crate::RecordError;
use crate::array::budget;

/// Bytes that are read at a time from data that lie side by side.
const BLOCK_BYTES: usize = 1 << 20;
/// Bytes of the largest chunk beside the size of the file.
const CHUNK_FREE_BYTES: u64 = 12 << 20;
/// Bytes of unpacked chunks that are kept.
const UNPACKED_BYTES: usize = 1 << 24;

/// The elements of a block of the data set, a range for each dimension, as numbers.
pub(super) fn numbers<T: Number>(
    dataset: &Dataset,
    block: &[Range<u64>],
) -> Result<Vec<T>, RecordError> {
    if !matches!(
        dataset.element,
        Element::Integer { .. } | Element::Float { .. }
    ) {
        return Err(no_kind(dataset, "numbers"));
    }
    let count = count(dataset, block, size_of::<T>())?;
    let fit = |found| {
        dataset.source.bad(
            &values_of(dataset),
            found,
            "integers of 64 bits; read it as floats",
        )
    };
    let mut fill = Vec::new();
    dataset
        .element
        .numbers(&dataset.fill, &mut fill)
        .map_err(fit)?;
    if fill.is_empty() {
        dataset
            .element
            .numbers(&[0; 8][..dataset.element.bytes()], &mut fill)
            .map_err(fit)?;
    }
    let Some(&fill) = fill.first() else {
        return Err(no_kind(dataset, "numbers"));
    };
    let mut out = vec![fill; count];
    let mut some = Vec::new();
    runs(dataset, block, &mut |start, bytes| {
        some.clear();
        dataset.element.numbers(bytes, &mut some).map_err(fit)?;
        let end = start.saturating_add(some.len());
        if let Some(out) = out.get_mut(start..end) {
            out.copy_from_slice(&some);
        }
        Ok(())
    })?;
    Ok(out)
}

/// All elements as texts.
pub(super) fn texts(dataset: &Dataset) -> Result<Vec<String>, RecordError> {
    if !matches!(dataset.element, Element::FixedText { .. } | Element::Text) {
        return Err(no_kind(dataset, "texts"));
    }
    // Each becomes a string of its own.
    let raw = raw(dataset, size_of::<String>())?;
    decode_texts(&Meta::new(&dataset.source), &dataset.element, &raw)
}

/// Where the objects are that the elements name.
pub(super) fn references(dataset: &Dataset) -> Result<Vec<u64>, RecordError> {
    if dataset.element != Element::Reference {
        return Err(no_kind(dataset, "references"));
    }
    let raw = raw(dataset, 0)?;
    let addresses = raw.as_chunks().0.iter();
    Ok(addresses.map(|own| u64::from_le_bytes(*own)).collect())
}

/// All elements as they are in the file, each of which takes so many bytes more in memory.
fn raw(dataset: &Dataset, more: usize) -> Result<Vec<u8>, RecordError> {
    let all = dataset.all();
    let element = dataset.element.bytes();
    let count = count(dataset, &all, element.saturating_add(more))?;
    let mut raw = vec![0; count.saturating_mul(element)];
    runs(dataset, &all, &mut |start, bytes| {
        let start = start.saturating_mul(element);
        if let Some(out) = raw.get_mut(start..start.saturating_add(bytes.len())) {
            out.copy_from_slice(bytes);
        }
        Ok(())
    })?;
    Ok(raw)
}

/// The texts of elements as they are in the file.
pub(super) fn decode_texts(
    meta: &Meta<'_>,
    element: &Element,
    raw: &[u8],
) -> Result<Vec<String>, RecordError> {
    let text = |bytes: &[u8]| {
        let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
        crate::names::text(&bytes[..end]).trim_end().to_owned()
    };
    if let Element::FixedText { .. } = element {
        return Ok(raw.chunks_exact(element.bytes()).map(text).collect());
    }
    let source = meta.source;
    let limit = budget(source.file_bytes) / 2;
    let mut total = 0usize;
    let mut heaps: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut texts = Vec::new();
    for reference in raw.chunks_exact(8 + source.offset_bytes) {
        let mut field = source.fields(reference);
        let length = field.u32().unwrap_or(0) as usize;
        let address = field.address().flatten();
        let index = field.u32().unwrap_or(0);
        let Some(address) = address.filter(|_| length > 0) else {
            texts.push(String::new());
            continue;
        };
        if let Entry::Vacant(heap) = heaps.entry(address) {
            let head = meta.at(address, (8 + source.length_bytes) as u64, "texts")?;
            let size = source.fields(&head[8..]).length().unwrap_or(0);
            if !head.starts_with(b"GCOL") {
                return Err(source.bad(
                    &format!("the texts at {address}"),
                    "something else",
                    "a global heap; copy the file again",
                ));
            }
            total = total.saturating_add(size as usize);
            if total > limit {
                return Err(source.too_large("size of texts in bytes", total as u64, limit as u64));
            }
            heap.insert(meta.at(address, size, "texts")?);
        }
        let found = heaps
            .get(&address)
            .and_then(|heap| object(meta, heap, index))
            .and_then(|object| object.get(..length));
        let Some(found) = found else {
            return Err(source.bad(
                &format!("text {index} at {address}"),
                "absent",
                "a text; copy the file again",
            ));
        };
        // The same text may be meant many times.
        total = total.saturating_add(found.len());
        if total > limit {
            return Err(source.too_large("size of texts in bytes", total as u64, limit as u64));
        }
        texts.push(text(found));
    }
    Ok(texts)
}

/// An object of a global heap.
fn object<'a>(meta: &Meta<'_>, heap: &'a [u8], index: u32) -> Option<&'a [u8]> {
    let mut field = meta.source.fields(heap);
    field.take(8 + meta.source.length_bytes)?;
    loop {
        let own = field.u16()?;
        field.take(6)?;
        let size = usize::try_from(field.length()?).ok()?;
        // Object 0 is the free space at the end.
        if own == 0 {
            return None;
        }
        let data = field.take(size)?;
        if u32::from(own) == index {
            return Some(data);
        }
        field.skip(size.next_multiple_of(8) - size);
    }
}

/// How many elements there are in a block, of which each takes `bytes` in memory.
fn count(dataset: &Dataset, block: &[Range<u64>], bytes: usize) -> Result<usize, RecordError> {
    let mut count = Some(1u64);
    for (range, &size) in block.iter().zip(&dataset.shape) {
        if range.start > range.end || range.end > size {
            return Err(dataset.source.bad(
                &format!("the rows asked for of `{}`", dataset.name),
                &format!("{} to {}", range.start, range.end),
                &format!("rows within 0 to {size}"),
            ));
        }
        count = count.and_then(|count| count.checked_mul(range.end - range.start));
    }
    let limit = budget(dataset.source.file_bytes);
    let size = count.and_then(|count| count.checked_mul(bytes as u64));
    match (count, size) {
        (Some(count), Some(size)) if size <= limit as u64 => Ok(count as usize),
        (_, size) => Err(dataset.source.too_large(
            "size in bytes of the elements asked for",
            size.unwrap_or(u64::MAX),
            limit as u64,
        )),
    }
}

type Visit<'a> = dyn FnMut(usize, &[u8]) -> Result<(), RecordError> + 'a;

/// Passes on the elements of a block that were ever written, in stretches: where a stretch starts among the elements asked for, and
/// its bytes.
fn runs(dataset: &Dataset, block: &[Range<u64>], visit: &mut Visit<'_>) -> Result<(), RecordError> {
    let shape = &dataset.shape;
    if shape
        .iter()
        .try_fold(1u64, |all, &n| all.checked_mul(n))
        .is_none()
    {
        return Err(dataset
            .source
            .too_large("number of elements", u64::MAX, u64::MAX - 1));
    }
    let element = dataset.element.bytes();
    // As one chunk that holds everything.
    let whole = || Place::new(shape, shape, &vec![1; shape.len()], 0, block);
    match &dataset.layout {
        Layout::Compact(data) => {
            let mut place = whole();
            while let Some(here) = &place {
                let start = here.inside.saturating_mul(element);
                let found = data.get(start..start.saturating_add(here.run.saturating_mul(element)));
                let short = || damaged(dataset, "fewer bytes than its dimensions say");
                visit(here.outside, found.ok_or_else(short)?)?;
                place = place.and_then(Place::next);
            }
            Ok(())
        }
        Layout::Contiguous(None) => Ok(()),
        Layout::Contiguous(Some(address)) => {
            if !dataset.filters.is_empty() {
                return Err(damaged(dataset, "filters without chunks"));
            }
            let bytes = |elements: usize| (elements as u64).saturating_mul(element as u64);
            let step = (BLOCK_BYTES / element).max(1);
            let mut place = whole();
            while let Some(here) = &place {
                for done in (0..here.run).step_by(step) {
                    let part = dataset.source.at(
                        address.saturating_add(bytes(here.inside + done)),
                        bytes(step.min(here.run - done)),
                        &values_of(dataset),
                    )?;
                    visit(here.outside + done, &part)?;
                }
                place = place.and_then(Place::next);
            }
            Ok(())
        }
        Layout::Chunked(chunked) => chunk_runs(dataset, chunked, block, visit),
        Layout::Other(what) => Err(dataset.source.bad(
            &format!("the layout of `{}`", dataset.name),
            what,
            "a contiguous data set, or chunks as libver='earliest' writes them; convert the file with `h5repack --high=v18`",
        )),
    }
}

fn chunk_runs(
    dataset: &Dataset,
    chunked: &Chunked,
    block: &[Range<u64>],
    visit: &mut Visit<'_>,
) -> Result<(), RecordError> {
    let shape = &dataset.shape;
    let grid = chunked.grid(shape);
    let element = dataset.element.bytes();
    let limit = dataset.source.file_bytes.saturating_add(CHUNK_FREE_BYTES);
    let chunk_bytes = chunked.bytes(element).unwrap_or(u64::MAX);
    if chunk_bytes > limit {
        return Err(dataset
            .source
            .too_large("size of a chunk in bytes", chunk_bytes, limit));
    }
    let chunks = chunked.chunks(dataset)?;
    // Chunks are numbered with the first dimension slowest, so those of the rows are neighbours.
    let layer: u64 = grid.iter().skip(1).fold(1, |all, &n| all.saturating_mul(n));
    let first = (block[0].start / chunked.size[0]).saturating_mul(layer);
    let last = block[0].end.div_ceil(chunked.size[0]).saturating_mul(layer);
    let from = chunks.partition_point(|chunk| chunk.number < first);
    let to = chunks.partition_point(|chunk| chunk.number < last);
    let mut before = None;
    for chunk in &chunks[from..to] {
        // A damaged index may name a chunk twice; once is enough.
        if before.replace(chunk.number) == Some(chunk.number) {
            continue;
        }
        let mut place = Place::new(shape, &chunked.size, &grid, chunk.number, block);
        if place.is_none() {
            continue;
        }
        let data = dataset.unpacked.get(chunk.number, || {
            unpack(dataset, chunk, chunk_bytes as usize)
        })?;
        while let Some(here) = &place {
            let start = here.inside.saturating_mul(element);
            let end = start.saturating_add(here.run.saturating_mul(element));
            if let Some(run) = data.get(start..end) {
                visit(here.outside, run)?;
            }
            place = place.and_then(Place::next);
        }
    }
    Ok(())
}

/// Chunks that were unpacked last: a stretch of time is often one of several in a chunk.
#[derive(Debug)]
pub(super) struct Unpacked {
    kept: Mutex<VecDeque<(u64, Arc<Vec<u8>>)>>,
    /// Bytes of them all.
    limit: usize,
}

impl Default for Unpacked {
    fn default() -> Unpacked {
        Unpacked::one_of(1)
    }
}

impl Unpacked {
    /// Of one of `count` data sets that are read at a time.
    pub fn one_of(count: usize) -> Unpacked {
        Unpacked {
            kept: Mutex::default(),
            limit: UNPACKED_BYTES / count.max(1),
        }
    }

    fn get(
        &self,
        number: u64,
        unpack: impl FnOnce() -> Result<Vec<u8>, RecordError>,
    ) -> Result<Arc<Vec<u8>>, RecordError> {
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, data)) = kept().iter().find(|(own, _)| *own == number) {
            return Ok(Arc::clone(data));
        }
        let data = Arc::new(unpack()?);
        let mut kept = kept();
        kept.push_back((number, Arc::clone(&data)));
        let bytes = |kept: &VecDeque<(u64, Arc<Vec<u8>>)>| -> usize {
            kept.iter().map(|(_, data)| data.len()).sum()
        };
        while bytes(&kept) > self.limit {
            kept.pop_front();
        }
        Ok(data)
    }
}

/// A chunk as it was before the filters.
fn unpack(dataset: &Dataset, chunk: &Chunk, size: usize) -> Result<Vec<u8>, RecordError> {
    let mut data = dataset
        .source
        .at(chunk.address, chunk.bytes, &values_of(dataset))?;
    for (i, filter) in dataset.filters.iter().enumerate().rev() {
        if chunk.mask >> i & 1 == 0 {
            data = filter
                .undo(data, size)
                .map_err(|found| damaged(dataset, &found))?;
        }
    }
    if data.len() < size {
        return Err(damaged(
            dataset,
            &format!("a chunk of {} bytes where {size} are needed", data.len()),
        ));
    }
    Ok(data)
}

/// Where in a chunk, and where among the elements asked for, a stretch of elements lies that are neighbours in both.
struct Place {
    /// For each dimension before the last of the stretch: how many steps, steps taken, elements to go on by in the chunk and
    /// among those asked for.
    axes: Vec<(u64, u64, u64, u64)>,
    inside: usize,
    outside: usize,
    run: usize,
}

impl Place {
    /// The first one in the chunk `number`; `None` when nothing of the block lies in it.
    fn new(
        shape: &[u64],
        size: &[u64],
        grid: &[u64],
        number: u64,
        block: &[Range<u64>],
    ) -> Option<Self> {
        let rank = shape.len();
        // Dimensions after this one lie in one chunk entirely, so a stretch runs over them all.
        let last = (0..rank)
            .rev()
            .find(|&i| size[i] != shape[i] || block[i] != (0..shape[i]))
            .unwrap_or(0);
        let (mut inside, mut outside) = (0u64, 0u64);
        let (mut inner, mut outer) = (1u64, 1u64);
        let mut rest = number;
        let mut axes = Vec::new();
        let mut run = 1u64;
        for i in (0..rank).rev() {
            let from = (rest % grid[i]).saturating_mul(size[i]);
            rest /= grid[i];
            let whole = &block[i];
            let start = from.max(whole.start);
            let end = from.saturating_add(size[i]).min(whole.end);
            if start >= end {
                return None;
            }
            inside = (start - from).saturating_mul(inner).saturating_add(inside);
            outside = (start - whole.start)
                .saturating_mul(outer)
                .saturating_add(outside);
            let steps = end - start;
            match i {
                _ if i >= last => run *= steps,
                _ => axes.push((steps, 0, inner, outer)),
            }
            inner *= size[i];
            outer *= whole.end - whole.start;
        }
        Some(Place {
            axes,
            inside: inside as usize,
            outside: outside as usize,
            run: run as usize,
        })
    }

    /// The next stretch.
    fn next(mut self) -> Option<Self> {
        for (steps, taken, inner, outer) in &mut self.axes {
            if *taken + 1 < *steps {
                *taken += 1;
                self.inside += *inner as usize;
                self.outside += *outer as usize;
                return Some(self);
            }
            self.inside -= (*taken * *inner) as usize;
            self.outside -= (*taken * *outer) as usize;
            *taken = 0;
        }
        None
    }
}

fn values_of(dataset: &Dataset) -> String {
    format!("the values of `{}`", dataset.name)
}

fn damaged(dataset: &Dataset, found: &str) -> RecordError {
    dataset.source.bad(
        &values_of(dataset),
        found,
        "what its description says, uncompressed or with deflate, shuffle, fletcher32 or LZF; copy the file again, or convert it with h5repack",
    )
}

fn no_kind(dataset: &Dataset, expected: &str) -> RecordError {
    dataset.source.bad(
        &format!("the type of `{}`", dataset.name),
        &dataset.element.to_string(),
        expected,
    )
}
