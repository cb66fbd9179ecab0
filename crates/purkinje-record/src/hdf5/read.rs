//! Reading elements.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

use super::chunks::{Chunk, Chunked, Layout};
use super::source::Meta;
use super::{Dataset, Element, Number};
use crate::RecordError;
use crate::array::budget;

/// Bytes that are read at a time from data that lie side by side.
const BLOCK_BYTES: usize = 1 << 20;
/// Bytes of the largest chunk beside the size of the file.
const CHUNK_FREE_BYTES: u64 = 12 << 20;

/// The elements of `rows` as numbers.
pub(super) fn numbers<T: Number>(
    dataset: &Dataset,
    rows: Range<u64>,
) -> Result<Vec<T>, RecordError> {
    if !matches!(
        dataset.element,
        Element::Integer { .. } | Element::Float { .. }
    ) {
        return Err(no_kind(dataset, "numbers"));
    }
    let count = count(dataset, &rows, size_of::<T>())?;
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
    runs(dataset, rows, &mut |start, bytes| {
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
    let rows = 0..dataset.shape.first().copied().unwrap_or(1);
    let element = dataset.element.bytes();
    // Each becomes a string of its own.
    let count = count(dataset, &rows, element.saturating_add(size_of::<String>()))?;
    let mut raw = vec![0; count.saturating_mul(element)];
    runs(dataset, rows, &mut |start, bytes| {
        let start = start.saturating_mul(element);
        if let Some(out) = raw.get_mut(start..start.saturating_add(bytes.len())) {
            out.copy_from_slice(bytes);
        }
        Ok(())
    })?;
    decode_texts(&Meta::new(&dataset.source), &dataset.element, &raw)
}

/// The texts of elements as they are in the file.
pub(super) fn decode_texts(
    meta: &Meta<'_>,
    element: &Element,
    raw: &[u8],
) -> Result<Vec<String>, RecordError> {
    let text = |bytes: &[u8]| {
        let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).trim_end().to_owned()
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

/// How many elements there are in `rows`, of which each takes `bytes` in memory.
fn count(dataset: &Dataset, rows: &Range<u64>, bytes: usize) -> Result<usize, RecordError> {
    let all = dataset.shape.first().copied().unwrap_or(1);
    if rows.start > rows.end || rows.end > all {
        return Err(dataset.source.bad(
            &format!("the rows asked for of `{}`", dataset.name),
            &format!("{} to {}", rows.start, rows.end),
            &format!("rows within 0 to {all}"),
        ));
    }
    let limit = budget(dataset.source.file_bytes);
    let count = dataset
        .shape
        .iter()
        .skip(1)
        .try_fold(rows.end - rows.start, |count, &size| {
            count.checked_mul(size)
        });
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

/// Passes on the elements of `rows` that were ever written, in stretches: where a stretch starts among the elements asked for, and
/// its bytes.
fn runs(dataset: &Dataset, rows: Range<u64>, visit: &mut Visit<'_>) -> Result<(), RecordError> {
    let element = dataset.element.bytes();
    let row: u64 = dataset
        .shape
        .iter()
        .skip(1)
        .fold(1, |all, &size| all.saturating_mul(size));
    // `count` has checked these products.
    let (start, end) = match (rows.start.checked_mul(row), rows.end.checked_mul(row)) {
        (Some(start), Some(end)) => (start, end),
        _ => {
            return Err(dataset.source.too_large(
                "number of elements before the rows asked for",
                u64::MAX,
                u64::MAX / row.max(1),
            ));
        }
    };
    if start == end {
        return Ok(());
    }
    let bytes = |elements: u64| elements.saturating_mul(element as u64);
    match &dataset.layout {
        Layout::Compact(data) => {
            let found = usize::try_from(bytes(start))
                .ok()
                .zip(usize::try_from(bytes(end)).ok())
                .and_then(|(start, end)| data.get(start..end));
            let found = found.ok_or_else(|| damaged(dataset, "fewer bytes than its dimensions say"))?;
            visit(0, found)
        }
        Layout::Contiguous(None) => Ok(()),
        Layout::Contiguous(Some(address)) => {
            if !dataset.filters.is_empty() {
                return Err(damaged(dataset, "filters without chunks"));
            }
            let step = (BLOCK_BYTES / element).max(1) as u64;
            let mut at = start;
            while at < end {
                let next = end.min(at.saturating_add(step));
                let block = dataset.source.at(
                    address.saturating_add(bytes(at)),
                    bytes(next - at),
                    &values_of(dataset),
                )?;
                visit((at - start) as usize, &block)?;
                at = next;
            }
            Ok(())
        }
        Layout::Chunked(chunked) => chunk_runs(dataset, chunked, rows, visit),
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
    rows: Range<u64>,
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
    let first = (rows.start / chunked.size[0]).saturating_mul(layer);
    let last = rows.end.div_ceil(chunked.size[0]).saturating_mul(layer);
    let from = chunks.partition_point(|chunk| chunk.number < first);
    let to = chunks.partition_point(|chunk| chunk.number < last);
    let mut before = None;
    for chunk in &chunks[from..to] {
        // A damaged index may name a chunk twice; once is enough.
        if before.replace(chunk.number) == Some(chunk.number) {
            continue;
        }
        let data = unpack(dataset, chunk, chunk_bytes as usize)?;
        let mut place = Place::new(shape, &chunked.size, &grid, chunk.number, &rows);
        loop {
            let start = place.inside.saturating_mul(element);
            let end = start.saturating_add(place.run.saturating_mul(element));
            if let Some(run) = data.get(start..end) {
                visit(place.outside, run)?;
            }
            if !place.next() {
                break;
            }
        }
    }
    Ok(())
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
    fn new(shape: &[u64], size: &[u64], grid: &[u64], number: u64, rows: &Range<u64>) -> Self {
        let rank = shape.len();
        // Dimensions after this one lie in one chunk entirely, so a stretch runs over them all.
        let last = (0..rank).rev().find(|&i| size[i] != shape[i]).unwrap_or(0);
        let (mut inside, mut outside) = (0u64, 0u64);
        let (mut inner, mut outer) = (1u64, 1u64);
        let mut rest = number;
        let mut axes = Vec::new();
        let mut run = 1u64;
        for i in (0..rank).rev() {
            let from = (rest % grid[i]).saturating_mul(size[i]);
            rest /= grid[i];
            let whole = if i == 0 { rows.clone() } else { 0..shape[i] };
            let start = from.max(whole.start);
            let end = from.saturating_add(size[i]).min(whole.end);
            inside = (start - from).saturating_mul(inner).saturating_add(inside);
            outside = (start - whole.start)
                .saturating_mul(outer)
                .saturating_add(outside);
            let steps = end.saturating_sub(start);
            match i {
                _ if i >= last => run *= steps,
                _ => axes.push((steps, 0, inner, outer)),
            }
            inner *= size[i];
            outer *= whole.end - whole.start;
        }
        Place {
            axes,
            inside: inside as usize,
            outside: outside as usize,
            run: run as usize,
        }
    }

    /// Goes on to the next stretch; false when there is none.
    fn next(&mut self) -> bool {
        for (steps, taken, inner, outer) in &mut self.axes {
            if *taken + 1 < *steps {
                *taken += 1;
                self.inside += *inner as usize;
                self.outside += *outer as usize;
                return true;
            }
            self.inside -= (*taken * *inner) as usize;
            self.outside -= (*taken * *outer) as usize;
            *taken = 0;
        }
        false
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
