//! MATLAB files of level 5: a head of 128 bytes, then elements, each a tag with type and size and its data.

use std::path::Path;

use flate2::read::ZlibDecoder;

use super::{
    Class, LONG_TEXT, MAX_DEPTH, MAX_DIMENSIONS, MAX_TEXT_CHARS, MAX_VALUES, MatFile, Numeric,
    Struct, Value,
};
use crate::array::{budget, disk_budget};
use crate::error::content;
use crate::map::Whole;
use crate::values::{Bytes, HELD_BYTES};
use crate::{RecordError, inflate};

const HEAD_BYTES: usize = 128;
/// Bytes of a packed element that are unpacked to see whether it is a long text.
const PEEK_BYTES: usize = 1024;

const MI_INT8: u32 = 1;
const MI_UINT8: u32 = 2;
const MI_UINT16: u32 = 4;
const MI_INT32: u32 = 5;
const MI_UINT32: u32 = 6;
const MI_MATRIX: u32 = 14;
const MI_COMPRESSED: u32 = 15;
const MI_UTF8: u32 = 16;
const MI_UTF16: u32 = 17;
const MI_UTF32: u32 = 18;

/// Characters that texts leave to the names of what follows.
const NAME_CHARS: usize = MAX_TEXT_CHARS / 4;

pub(super) fn parse(path: &Path, bytes: &Whole) -> Result<MatFile, RecordError> {
    let mut reader = Reader {
        path,
        bytes,
        big_endian: bytes[126] == b'M',
        values: 0,
        chars: 0,
        // Bytes that compressed elements may still unpack to, and those of the arrays that are kept.
        unpacked_left: budget(bytes.len() as u64),
        kept_left: budget(bytes.len() as u64),
        limit: budget(bytes.len() as u64),
        disk_limit: disk_budget(bytes.len() as u64),
    };
    let mut rest = Cursor {
        bytes,
        at: HEAD_BYTES,
        base: 0,
    };
    let mut variables = Vec::new();
    while let Some(element) = reader.element(&mut rest)? {
        match element.kind {
            MI_MATRIX => variables.push(reader.matrix(element, 0)?),
            MI_COMPRESSED => {
                if let Some(name) = reader.packed_text(&element) {
                    variables.push((name, Value::Other(LONG_TEXT)));
                    continue;
                }
                let unpacked = reader.unpack(&element)?;
                let mut part = Reader {
                    bytes: &unpacked,
                    ..reader
                };
                let mut inner = Cursor {
                    bytes: &unpacked,
                    at: 0,
                    base: element.offset,
                };
                if let Some(inner) = part.element(&mut inner)?
                    && inner.kind == MI_MATRIX
                {
                    variables.push(part.matrix(inner, 0)?);
                }
                (reader.values, reader.chars) = (part.values, part.chars);
                reader.kept_left = part.kept_left;
                if let Whole::Memory(unpacked) = &unpacked {
                    reader.unpacked_left = part.unpacked_left.saturating_add(unpacked.len());
                }
            }
            _ => {}
        }
    }
    // The workspace of functions has no name and is of no use to anyone but MATLAB.
    variables.retain(|(name, _)| !name.is_empty());
    Ok(MatFile {
        level: 5,
        variables,
    })
}

/// The name of the array whose element starts in `bytes`.
fn name(bytes: &[u8], big_endian: bool) -> Option<String> {
    // Tag, flags, tag of the dimensions.
    let dims = word(bytes, 28, big_endian)? as usize;
    let at = 32usize.checked_add(dims.checked_next_multiple_of(8)?)?;
    let first = word(bytes, at, big_endian)?;
    let (start, size) = if first >> 16 == 0 {
        (at + 8, word(bytes, at + 4, big_endian)? as usize)
    } else {
        (at + 4, (first >> 16) as usize)
    };
    let name = bytes.get(start..start.checked_add(size)?)?;
    Some(String::from_utf8_lossy(name).into_owned())
}

fn word(bytes: &[u8], at: usize, big_endian: bool) -> Option<u32> {
    let word = *bytes.get(at..)?.first_chunk::<4>()?;
    Some(if big_endian {
        u32::from_be_bytes(word)
    } else {
        u32::from_le_bytes(word)
    })
}

/// A stretch of elements.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where `bytes` lies in the file, for messages.
    base: usize,
}

struct Element<'a> {
    kind: u32,
    data: &'a [u8],
    offset: usize,
}

impl<'a> Element<'a> {
    fn inside(&self) -> Cursor<'a> {
        Cursor {
            bytes: self.data,
            at: 0,
            base: self.offset,
        }
    }
}

struct Reader<'a> {
    path: &'a Path,
    /// All that is parsed, for values that are read later.
    bytes: &'a Whole,
    big_endian: bool,
    values: usize,
    chars: usize,
    unpacked_left: usize,
    kept_left: usize,
    limit: usize,
    disk_limit: usize,
}

impl Reader<'_> {
    /// The next element, `None` at the end.
    fn element<'b>(&self, cursor: &mut Cursor<'b>) -> Result<Option<Element<'b>>, RecordError> {
        let offset = cursor.base + cursor.at;
        let left = cursor.bytes.len().saturating_sub(cursor.at);
        if left == 0 {
            return Ok(None);
        }
        let cut = |expected: usize| RecordError::Truncated {
            path: self.path.to_owned(),
            found: (offset + left) as u64,
            expected: offset.saturating_add(expected) as u64,
            what: format!("the element at byte {offset}"),
        };
        let pair = word(cursor.bytes, cursor.at, self.big_endian).zip(word(
            cursor.bytes,
            cursor.at + 4,
            self.big_endian,
        ));
        let (first, second) = pair.ok_or_else(|| cut(8))?;
        // Up to four bytes of data may stand in the tag itself, with their number in its upper half.
        let (kind, start, size) = match first >> 16 {
            0 => (first, 8, second as usize),
            size => (first & 0xffff, 4, size as usize),
        };
        let end = start + size;
        if start == 4 && size > 4 {
            return Err(self.bad(
                offset,
                &format!("a tag with {size} bytes"),
                "at most 4 bytes",
            ));
        }
        let data = cursor.bytes[cursor.at..].get(start..end);
        let data = data.ok_or_else(|| cut(end))?;
        let step = if kind == MI_COMPRESSED {
            end
        } else {
            end.next_multiple_of(8)
        };
        cursor.at = (cursor.at + step).min(cursor.bytes.len());
        Ok(Some(Element {
            kind,
            data,
            offset: offset + start,
        }))
    }

    /// The next element, which must be there.
    fn needed<'b>(&self, cursor: &mut Cursor<'b>, what: &str) -> Result<Element<'b>, RecordError> {
        let offset = cursor.base + cursor.at;
        self.element(cursor)?
            .ok_or_else(|| self.bad(offset, "the end of the array", what))
    }

    fn bad(&self, offset: usize, found: &str, expected: &str) -> RecordError {
        content(
            self.path,
            &format!("the element at byte {offset}"),
            found,
            &format!("{expected}; copy the file again"),
        )
    }

    fn too_large(&self, what: &'static str, found: usize, limit: usize) -> RecordError {
        RecordError::TooLarge {
            path: self.path.to_owned(),
            what,
            found: found as u64,
            limit: limit as u64,
        }
    }

    /// The name of what a packed element holds, when it is a text that is not read in any case.
    fn packed_text(&self, element: &Element<'_>) -> Option<String> {
        let start = inflate::zlib(element.data, PEEK_BYTES).ok()?;
        let size = word(&start, 4, self.big_endian)? as usize;
        let class = word(&start, 16, self.big_endian)? & 0xff;
        let long = size > MAX_TEXT_CHARS + PEEK_BYTES;
        (word(&start, 0, self.big_endian)? == MI_MATRIX && class == 4 && long)
            .then(|| name(&start, self.big_endian))?
    }

    fn unpack(&mut self, element: &Element<'_>) -> Result<Whole, RecordError> {
        let broken = |error: std::io::Error| {
            self.bad(
                element.offset,
                &format!("compressed data that does not unpack ({error})"),
                "a zlib stream",
            )
        };
        let tag = inflate::zlib(element.data, 8).map_err(broken)?;
        let size = word(&tag, 4, self.big_endian);
        let size = size.ok_or_else(|| self.bad(element.offset, "no data", "an array"))? as usize;
        let whole = size.saturating_add(8);
        let limit = match whole as u64 <= HELD_BYTES {
            true => self.unpacked_left,
            false => self.disk_limit,
        };
        if whole > limit {
            return Err(self.too_large("unpacked size in bytes", whole, limit));
        }
        let unpacked = match self.bytes.place(element.data) {
            _ if whole as u64 <= HELD_BYTES => {
                Bytes::Memory(inflate::zlib(element.data, whole).map_err(broken)?)
            }
            Some(part) => Bytes::unpacked(ZlibDecoder::new(part.reader()), self.path, whole)
                .map_err(broken)?,
            None => {
                Bytes::unpacked(ZlibDecoder::new(element.data), self.path, whole).map_err(broken)?
            }
        };
        if let Bytes::Memory(unpacked) = &unpacked {
            self.unpacked_left -= unpacked.len();
        }
        Whole::of(unpacked)
    }

    /// An array with its name.
    fn matrix(
        &mut self,
        element: Element<'_>,
        depth: usize,
    ) -> Result<(String, Value), RecordError> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(self.too_large("number of values", self.values, MAX_VALUES));
        }
        if depth > MAX_DEPTH {
            return Err(self.too_large("nesting of cells and structs", depth, MAX_DEPTH));
        }
        // An empty array may be written as nothing at all.
        if element.data.is_empty() {
            let empty = Numeric::empty(vec![0, 0], Class::Double);
            return Ok((String::new(), Value::Numeric(empty)));
        }
        let mut inside = element.inside();
        let flags_element = self.needed(&mut inside, "the flags of an array")?;
        let flags = word(flags_element.data, 0, self.big_endian)
            .filter(|_| flags_element.kind == MI_UINT32)
            .ok_or_else(|| {
                self.bad(
                    flags_element.offset,
                    "something else",
                    "the flags of an array",
                )
            })?;
        let class = flags & 0xff;
        if class == 17 {
            // No dimensions; nothing of it is documented.
            let name = self.needed(&mut inside, "a name")?;
            return Ok((self.name(&name)?, Value::Other("object")));
        }
        let dims = self.needed(&mut inside, "the dimensions of an array")?;
        let dims = self.dims(&dims)?;
        let name = self.needed(&mut inside, "the name of an array")?;
        let name = self.name(&name)?;
        let complex = flags & 0x0800 != 0;
        let value = match class {
            1 => self.cell(&mut inside, depth)?,
            2 => self.structs(&mut inside, depth)?,
            3 => Value::Other("object"),
            4 => self.text(&mut inside, &dims)?,
            5 => Value::Other("sparse array"),
            _ if complex => Value::Other("complex array"),
            6..=15 => self.numeric(&mut inside, class, dims)?,
            16 => Value::Other("function"),
            _ => {
                return Err(self.bad(
                    flags_element.offset,
                    &format!("an array of class {class}"),
                    "a class from 1 to 17",
                ));
            }
        };
        Ok((name, value))
    }

    fn dims(&self, element: &Element<'_>) -> Result<Vec<usize>, RecordError> {
        let count = element.data.len() / 4;
        if count > MAX_DIMENSIONS {
            return Err(self.too_large("number of dimensions", count, MAX_DIMENSIONS));
        }
        let dims: Option<Vec<usize>> = (0..count)
            .map(|i| {
                let size = word(element.data, 4 * i, self.big_endian)?;
                usize::try_from(size as i32).ok()
            })
            .collect();
        match dims {
            Some(dims) if dims.len() >= 2 && matches!(element.kind, MI_INT32 | MI_UINT32) => {
                Ok(dims)
            }
            _ => Err(self.bad(
                element.offset,
                "something else",
                "two or more dimensions, none below 0",
            )),
        }
    }

    fn name(&mut self, element: &Element<'_>) -> Result<String, RecordError> {
        if !matches!(element.kind, MI_INT8 | MI_UINT8 | MI_UTF8) {
            return Err(self.bad(
                element.offset,
                &format!("data of type {}", element.kind),
                "a name",
            ));
        }
        self.count_chars(element.data.len())?;
        let name = String::from_utf8_lossy(element.data);
        Ok(name.trim_end_matches('\0').to_owned())
    }

    fn count_chars(&mut self, count: usize) -> Result<(), RecordError> {
        self.chars = self.chars.saturating_add(count);
        if self.chars > MAX_TEXT_CHARS {
            return Err(self.too_large("number of characters", self.chars, MAX_TEXT_CHARS));
        }
        Ok(())
    }

    fn cell(&mut self, inside: &mut Cursor<'_>, depth: usize) -> Result<Value, RecordError> {
        Ok(Value::Cell(self.values(inside, depth)?))
    }

    /// All arrays up to the end.
    fn values(&mut self, inside: &mut Cursor<'_>, depth: usize) -> Result<Vec<Value>, RecordError> {
        let mut values = Vec::new();
        while let Some(element) = self.element(inside)? {
            if element.kind != MI_MATRIX {
                return Err(self.bad(
                    element.offset,
                    &format!("data of type {}", element.kind),
                    "an array",
                ));
            }
            values.push(self.matrix(element, depth + 1)?.1);
        }
        Ok(values)
    }

    fn structs(&mut self, inside: &mut Cursor<'_>, depth: usize) -> Result<Value, RecordError> {
        let length = self.needed(inside, "the length of field names")?;
        let size = word(length.data, 0, self.big_endian)
            .map(|size| size as usize)
            .filter(|&size| size > 0)
            .ok_or_else(|| self.bad(length.offset, "nothing", "the length of field names"))?;
        let names = self.needed(inside, "field names")?;
        self.count_chars(names.data.len())?;
        if names.data.len() / size > MAX_VALUES {
            return Err(self.too_large("number of fields", names.data.len() / size, MAX_VALUES));
        }
        let fields: Vec<String> = names
            .data
            .chunks_exact(size)
            .map(|name| {
                let end = name.iter().position(|&b| b == 0).unwrap_or(size);
                String::from_utf8_lossy(&name[..end]).into_owned()
            })
            .collect();
        let values = self.values(inside, depth)?;
        if fields.is_empty() != values.is_empty() && fields.is_empty()
            || !fields.is_empty() && !values.len().is_multiple_of(fields.len())
        {
            return Err(self.bad(
                names.offset,
                &format!("{} values for {} fields", values.len(), fields.len()),
                "a value for every field",
            ));
        }
        Ok(Value::Struct(Struct { fields, values }))
    }

    fn text(&mut self, inside: &mut Cursor<'_>, dims: &[usize]) -> Result<Value, RecordError> {
        let Some(element) = self.element(inside)? else {
            return Ok(Value::Text(String::new()));
        };
        let data = element.data;
        // One that nobody needs is no reason to refuse the rest.
        if data.len() > (MAX_TEXT_CHARS - NAME_CHARS).saturating_sub(self.chars) {
            return Ok(Value::Other(LONG_TEXT));
        }
        self.count_chars(data.len())?;
        let units = |size: usize| -> Vec<u16> {
            data.chunks_exact(size)
                .map(|unit| match (unit, self.big_endian) {
                    ([a, b], true) => u16::from_be_bytes([*a, *b]),
                    ([a, b], false) => u16::from_le_bytes([*a, *b]),
                    _ => u16::from(unit[0]),
                })
                .collect()
        };
        let text = match element.kind {
            MI_UTF8 => String::from_utf8_lossy(data).into_owned(),
            // Bytes are the first 256 characters of Unicode.
            MI_INT8 | MI_UINT8 => String::from_utf16_lossy(&units(1)),
            MI_UINT16 | MI_UTF16 => String::from_utf16_lossy(&units(2)),
            MI_UTF32 => (0..data.len() / 4)
                .filter_map(|i| word(data, 4 * i, self.big_endian))
                .map(|code| char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect(),
            kind => {
                return Err(self.bad(
                    element.offset,
                    &format!("data of type {kind}"),
                    "characters",
                ));
            }
        };
        let rows = dims[0];
        if rows <= 1 {
            return Ok(Value::Text(text));
        }
        let chars: Vec<char> = text.chars().collect();
        let columns = chars.len() / rows;
        if columns == 0 {
            return Ok(Value::Text(text));
        }
        let lines: Vec<String> = (0..rows)
            .map(|row| {
                (0..columns)
                    .map(|column| chars[column * rows + row])
                    .collect()
            })
            .collect();
        Ok(Value::Text(lines.join("\n")))
    }

    fn numeric(
        &mut self,
        inside: &mut Cursor<'_>,
        class: u32,
        dims: Vec<usize>,
    ) -> Result<Value, RecordError> {
        let class = match class {
            6 => Class::Double,
            7 => Class::Single,
            8 => Class::Int8,
            9 => Class::Uint8,
            10 => Class::Int16,
            11 => Class::Uint16,
            12 => Class::Int32,
            13 => Class::Uint32,
            14 => Class::Int64,
            _ => Class::Uint64,
        };
        let count = dims
            .iter()
            .try_fold(1usize, |count, &size| count.checked_mul(size));
        let Some(element) = self.element(inside)? else {
            if count == Some(0) {
                return Ok(Value::Numeric(Numeric::empty(dims, class)));
            }
            let offset = inside.base + inside.at;
            return Err(self.bad(offset, "the end of the array", "its values"));
        };
        let stored = match element.kind {
            1 => Class::Int8,
            2 => Class::Uint8,
            3 => Class::Int16,
            4 => Class::Uint16,
            5 => Class::Int32,
            6 => Class::Uint32,
            7 => Class::Single,
            9 => Class::Double,
            12 => Class::Int64,
            13 => Class::Uint64,
            kind => {
                return Err(self.bad(element.offset, &format!("data of type {kind}"), "numbers"));
            }
        };
        let size = count.and_then(|count| count.checked_mul(stored.bytes()));
        if size != Some(element.data.len()) {
            let words: Vec<String> = dims.iter().map(usize::to_string).collect();
            return Err(self.bad(
                element.offset,
                &format!("{} bytes", element.data.len()),
                &format!("the {stored} values of an array of {}", words.join(" x ")),
            ));
        }
        let bytes = self.bytes.later(element.data);
        if let Bytes::Memory(kept) = &bytes {
            let left = self.kept_left.checked_sub(kept.len());
            self.kept_left = left.ok_or_else(|| {
                self.too_large("size of the arrays in bytes", kept.len(), self.limit)
            })?;
        }
        Ok(Value::Numeric(Numeric::new(
            dims,
            class,
            stored,
            self.big_endian,
            bytes,
        )))
    }
}
