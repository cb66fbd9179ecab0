//! The pages of a column: unpacked one at a time, and their numbers read one at a time, so that memory follows the page.

use super::codec::unpack;
use super::footer::{Chunk, Column, Kind};
use super::thrift::{FALSE, Fault, I32, STRUCT, TRUE, Thrift};
use super::values::{Hybrid, Values};

const DATA: i64 = 0;
const DICTIONARY: i64 = 2;
const DATA_2: i64 = 3;

/// The pages of a column in one group of rows.
pub(super) struct Pages<'a> {
    pub bytes: &'a [u8],
    /// Bytes of the file, to which what they unpack to stays in proportion.
    pub file_bytes: usize,
    /// Whether checksums are compared.
    pub verify: bool,
}

impl Pages<'_> {
    /// Calls `out` for each of the `rows` values; with NaN where there is none.
    pub fn read(
        &self,
        column: &Column,
        kind: Kind,
        chunk: &Chunk,
        rows: usize,
        out: &mut dyn FnMut(f64),
    ) -> Result<(), Fault> {
        if chunk.kind != kind.code() {
            return Err(format!(
                "values of type {} in the groups of rows",
                chunk.kind
            ));
        }
        let mut pages = self.bytes;
        let mut dictionary = None;
        let mut read = 0;
        while read < rows {
            if pages.is_empty() {
                return Err(format!("{read} rows instead of {rows} in a group of rows"));
            }
            let (head, head_bytes) = Head::read(pages)?;
            let rest = &pages[head_bytes..];
            if head.packed > rest.len() {
                return Err("a page that is cut off".into());
            }
            let body;
            (body, pages) = rest.split_at(head.packed);
            if let (true, Some(crc)) = (self.verify, head.crc) {
                let found = crc32fast::hash(body);
                if found != crc {
                    return Err(format!(
                        "a page with the checksum {found:08x} for {crc:08x}"
                    ));
                }
            }
            match head.kind {
                DICTIONARY => {
                    if !matches!(head.encoding, 0 | 2) {
                        return Err(format!("a dictionary in encoding {}", head.encoding));
                    }
                    dictionary = Some(unpack(self.file_bytes, chunk.codec, body, head.unpacked)?);
                }
                DATA | DATA_2 => {
                    if head.values > rows - read {
                        return Err(format!("more than {rows} rows in a group of rows"));
                    }
                    let whole;
                    let (levels, values) = if head.kind == DATA {
                        whole = unpack(self.file_bytes, chunk.codec, body, head.unpacked)?;
                        head.levels(&whole, column.optional)?
                    } else {
                        let levels = head.levels_2.checked_add(head.repetition_2);
                        let (levels, values) = levels
                            .and_then(|levels| body.split_at_checked(levels))
                            .ok_or("a page that is cut off")?;
                        let codec = if head.is_packed { chunk.codec } else { 0 };
                        let size = head.unpacked.checked_sub(levels.len());
                        let size = size.ok_or("a page that is smaller than its levels")?;
                        whole = unpack(self.file_bytes, codec, values, size)?;
                        (&levels[head.repetition_2..], whole.as_slice())
                    };
                    let mut levels = column.optional.then(|| Hybrid::new(levels, 1));
                    let dictionary = dictionary.as_deref();
                    let mut values = Values::new(values, head.encoding, kind, dictionary)?;
                    for _ in 0..head.values {
                        let present = match &mut levels {
                            Some(levels) => levels.next().ok_or("a page that is cut off")? == 1,
                            None => true,
                        };
                        out(if present {
                            values.next().ok_or("a page that is cut off")?
                        } else {
                            f64::NAN
                        });
                    }
                    read += head.values;
                }
                // Indices and what is yet to come.
                _ => {}
            }
        }
        Ok(())
    }
}

/// The head of a page.
#[derive(Default)]
struct Head {
    kind: i64,
    unpacked: usize,
    packed: usize,
    crc: Option<u32>,
    values: usize,
    encoding: i64,
    level_encoding: i64,
    levels_2: usize,
    repetition_2: usize,
    is_packed: bool,
}

impl Head {
    /// The head that `bytes` start with, and its size.
    fn read(bytes: &[u8]) -> Result<(Head, usize), Fault> {
        let mut out = Head {
            is_packed: true,
            level_encoding: 3,
            ..Head::default()
        };
        let mut t = Thrift::new(bytes);
        t.structure(&mut |t, id, kind| {
            match (id, kind) {
                (1, I32) => out.kind = t.integer()?,
                (2, I32) => out.unpacked = t.size()?,
                (3, I32) => out.packed = t.size()?,
                (4, I32) => out.crc = Some(t.integer()? as u32),
                (5 | 7, STRUCT) => t.structure(&mut |t, id, kind| {
                    match (id, kind) {
                        (1, I32) => out.values = t.size()?,
                        (2, I32) => out.encoding = t.integer()?,
                        (3, I32) => out.level_encoding = t.integer()?,
                        _ => return Ok(false),
                    }
                    Ok(true)
                })?,
                (8, STRUCT) => t.structure(&mut |t, id, kind| {
                    match (id, kind) {
                        (1, I32) => out.values = t.size()?,
                        (4, I32) => out.encoding = t.integer()?,
                        (5, I32) => out.levels_2 = t.size()?,
                        (6, I32) => out.repetition_2 = t.size()?,
                        (7, TRUE | FALSE) => {
                            out.is_packed = kind == TRUE;
                            return Ok(false);
                        }
                        _ => return Ok(false),
                    }
                    Ok(true)
                })?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok((out, t.position()))
    }

    /// What says which rows have a value, and the values.
    fn levels<'a>(&self, page: &'a [u8], optional: bool) -> Result<(&'a [u8], &'a [u8]), Fault> {
        if !optional {
            return Ok((&[], page));
        }
        if self.level_encoding != 3 {
            return Err(format!("levels in encoding {}", self.level_encoding));
        }
        page.split_first_chunk::<4>()
            .and_then(|(size, rest)| rest.split_at_checked(u32::from_le_bytes(*size) as usize))
            .ok_or_else(|| "a page that is cut off".into())
    }
}
