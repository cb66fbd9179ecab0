//! The record: its length, its checksums and the pointers to its sections (section 0).

use std::ops::Range;
use std::path::Path;

use crate::RecordError;
use crate::error::content;

/// Sections of a record.
pub const MAX_SECTIONS: usize = 1024;

/// What stands at the start of a record: a checksum and its length.
pub const START_BYTES: usize = 6;
/// What every section begins with.
pub const HEADER_BYTES: usize = 16;
/// The pointer to a section: number, length, index of its first byte.
pub const POINTER_BYTES: usize = 10;
/// The mark in the header of section 0.
pub const MARK: &[u8] = b"SCPECG";
/// Where it stands in the file.
const MARK_AT: usize = START_BYTES + 10;

const COPY: &str = "Copy the file again, or skip the check with `--no-verify`";

/// A 16-bit number, if it is there.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes([bytes[0], bytes[1]]))
}

/// A 32-bit number, if it is there.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// CRC-CCITT: polynomial 0x1021, the highest bit first.
pub fn crc(bytes: &[u8], start: u16) -> u16 {
    bytes.iter().fold(start, |crc, &byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| match crc >> 15 {
            1 => crc << 1 ^ 0x1021,
            _ => crc << 1,
        })
    })
}

/// Whether the file begins as records of SCP-ECG do that have the mark.
pub fn is_marked(start: &[u8]) -> bool {
    start.get(MARK_AT..).is_some_and(|at| at.starts_with(MARK))
}

/// Whether it does, with or without the mark, which old devices leave out: section 0 with a pointer to itself.
pub fn begins(start: &[u8]) -> bool {
    let own = START_BYTES + HEADER_BYTES;
    u16_at(start, START_BYTES + 2) == Some(0)
        && u16_at(start, own) == Some(0)
        && (is_marked(start)
            || matches!(u32_at(start, own + 6), Some(index) if index as usize == START_BYTES + 1)
            || super::healforce::is_one(start))
}

/// A record whose sections were found.
pub struct Record<'a> {
    pub path: &'a Path,
    /// Without what may follow it in the file.
    bytes: &'a [u8],
    /// Bytes of the file behind the record.
    pub behind: usize,
    /// Number and whole extent of each section that is there.
    sections: Vec<(u16, Range<usize>)>,
    /// Ten times the version of the standard, as section 0 states it.
    pub version: u8,
    /// Whether it is of the kind that [`super::healforce`] describes.
    pub healforce: bool,
}

impl<'a> Record<'a> {
    /// Finds the sections of the record in a file and compares, with `verify`, its checksums.
    ///
    /// # Errors
    /// When the record is cut, its pointers lead elsewhere, or a checksum differs.
    pub fn read(path: &'a Path, file: &'a [u8], verify: bool) -> Result<Self, RecordError> {
        let short = |expected: usize, what: &str| RecordError::Truncated {
            path: path.to_owned(),
            found: file.len() as u64,
            expected: expected as u64,
            what: what.to_owned(),
        };
        let least = START_BYTES + HEADER_BYTES + POINTER_BYTES;
        if file.len() < least {
            return Err(short(least, "the pointers of an SCP-ECG record"));
        }
        if !begins(file) {
            return Err(content(
                path,
                "the start of the file",
                "something else",
                "an SCP-ECG record: section 0, with the mark `SCPECG` and a pointer to itself",
            ));
        }
        let healforce = super::healforce::is_one(file);
        let size = match healforce {
            true => u16_at(file, 4).unwrap_or(0).into(),
            false => u32_at(file, 2).unwrap_or(0) as usize,
        };
        let bytes = match file.get(..size) {
            Some(bytes) if size >= least => bytes,
            Some(_) => {
                let expected = format!("{least} bytes or more");
                return Err(content(
                    path,
                    "the length of the record",
                    &size.to_string(),
                    &expected,
                ));
            }
            None => return Err(short(size, "the record, as its head says")),
        };
        let mut record = Record {
            path,
            bytes,
            behind: file.len() - size,
            sections: Vec::new(),
            version: bytes[START_BYTES + 9],
            healforce,
        };
        record.find()?;
        if verify {
            record.verify()?;
        }
        Ok(record)
    }

    /// Follows the pointers.
    fn find(&mut self) -> Result<(), RecordError> {
        let bytes = self.bytes;
        let length = u32_at(bytes, START_BYTES + 4).unwrap_or(0) as usize;
        let pointers = length
            .checked_sub(HEADER_BYTES)
            .and_then(|length| bytes.get(START_BYTES + HEADER_BYTES..)?.get(..length));
        let Some(pointers) = pointers.filter(|p| p.len() <= MAX_SECTIONS * POINTER_BYTES) else {
            let expected = format!(
                "{HEADER_BYTES} bytes and {POINTER_BYTES} for each of at most {MAX_SECTIONS} sections, within the record"
            );
            return Err(self.fault(0, "its length", &format!("{length} bytes"), &expected));
        };
        self.sections.push((0, START_BYTES..START_BYTES + length));
        for pointer in pointers.chunks_exact(POINTER_BYTES) {
            let number = |at| u32_at(pointer, at).unwrap_or(0) as usize;
            let id = u16_at(pointer, 0).unwrap_or(0);
            let (length, index) = (number(2), number(6));
            if id == 0 || length == 0 {
                continue;
            }
            let found = format!("{length} bytes from byte {index}");
            let from = usize::from(!self.healforce);
            let section = index.checked_sub(from).and_then(|start| {
                let section = bytes.get(start..)?.get(..length)?;
                (length >= HEADER_BYTES).then_some((start, section))
            });
            let Some((start, section)) = section else {
                let expected = format!("a section within the record of {} bytes", bytes.len());
                return Err(self.fault(id, "its pointer", &found, &expected));
            };
            if u16_at(section, 2) != Some(id) {
                let other = u16_at(section, 2).unwrap_or(0);
                let found = format!("{found}, where section {other} is");
                return Err(self.fault(id, "its pointer", &found, "the start of that section"));
            }
            let own = u32_at(section, 4).unwrap_or(0) as usize;
            if own > length || own < HEADER_BYTES {
                let expected = format!("at most {length} bytes, as its pointer says");
                return Err(self.fault(id, "its length", &format!("{own} bytes"), &expected));
            }
            if self.sections.iter().any(|(known, _)| *known == id) {
                return Err(self.fault(id, "its pointer", "there twice", "one pointer"));
            }
            self.sections.push((id, start..start + own));
        }
        Ok(())
    }

    fn verify(&self) -> Result<(), RecordError> {
        let same = |bytes: &[u8], field: &str| {
            let stated = u16_at(bytes, 0).unwrap_or(0);
            let rest = bytes.get(2..).unwrap_or_default();
            let found = match self.healforce {
                true => crc(rest, 0).swap_bytes(),
                false => crc(rest, 0xffff),
            };
            if stated == found {
                return Ok(());
            }
            let expected = format!("{stated:#06x} as the file says; it was changed. {COPY}");
            Err(content(
                self.path,
                field,
                &format!("{found:#06x}"),
                &expected,
            ))
        };
        // Section by section first, which says where the change is.
        for (id, extent) in &self.sections {
            // What other numbers stand for is up to their makers.
            if *id <= 12 && !self.healforce {
                let field = format!("the checksum of section {id}");
                same(&self.bytes[extent.clone()], &field)?;
            }
        }
        same(self.bytes, "the checksum of the record")
    }

    /// A section without its header, if there is anything in it.
    pub fn section(&self, id: u16) -> Option<&'a [u8]> {
        let (_, extent) = self.sections.iter().find(|(known, _)| *known == id)?;
        let body = self.bytes.get(extent.start + HEADER_BYTES..extent.end)?;
        (!body.is_empty()).then_some(body)
    }

    /// The numbers of the sections that are there and not among `read`.
    pub fn others(&self, read: &[u16]) -> Vec<u16> {
        let numbers = self.sections.iter().map(|(id, _)| *id);
        numbers.filter(|id| !read.contains(id)).collect()
    }

    /// A fault in a section.
    pub fn fault(&self, section: u16, field: &str, found: &str, expected: &str) -> RecordError {
        let field = format!("section {section}, {field}");
        content(self.path, &field, found, expected)
    }

    /// That a section ends before `what`.
    pub fn ends(&self, section: u16, what: &str) -> RecordError {
        let length = self.section(section).map_or(0, <[u8]>::len);
        let found = format!("cut: the section has {length} bytes behind its header");
        self.fault(section, what, &found, "all of it; copy the file again")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_crc_ccitt() {
        // The check value of CRC-16/IBM-3740, also called CCITT-FALSE, and that of XMODEM.
        assert_eq!(crc(b"123456789", 0xffff), 0x29b1);
        assert_eq!(crc(b"123456789", 0), 0x31c3);
    }
}
