//! Thrift's compact protocol, in which Parquet writes its metadata
//! (<https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>).

/// Structures within each other.
pub const MAX_DEPTH: u8 = 32;

pub(super) const TRUE: u8 = 1;
pub(super) const FALSE: u8 = 2;
pub(super) const BYTE: u8 = 3;
pub(super) const I16: u8 = 4;
pub(super) const I32: u8 = 5;
pub(super) const I64: u8 = 6;
pub(super) const DOUBLE: u8 = 7;
pub(super) const BINARY: u8 = 8;
pub(super) const LIST: u8 = 9;
pub(super) const SET: u8 = 10;
pub(super) const MAP: u8 = 11;
pub(super) const STRUCT: u8 = 12;

/// What is wrong, in a few words.
pub(super) type Fault = String;

/// A place in a message. It moves forward only, by at least a byte for whatever it reads.
pub(super) struct Thrift<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u8,
}

impl<'a> Thrift<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Thrift {
            bytes,
            at: 0,
            depth: 0,
        }
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Reads a structure: `field` is called with the number and the type of each field and says whether it has read the value;
    /// otherwise that is passed over.
    pub fn structure(
        &mut self,
        field: &mut dyn FnMut(&mut Self, u16, u8) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!(
                "more than {MAX_DEPTH} structures within each other"
            ));
        }
        let mut id = 0u16;
        loop {
            let head = self.byte()?;
            if head == 0 {
                break;
            }
            id = match head >> 4 {
                0 => self.integer()? as u16,
                step => id.wrapping_add(u16::from(step)),
            };
            let kind = head & 15;
            if !field(self, id, kind)? {
                self.skip(kind, false)?;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads a list of `kind`, calling `item` for each.
    pub fn list(
        &mut self,
        kind: u8,
        item: &mut dyn FnMut(&mut Self) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            count => u64::from(count),
        };
        if head & 15 != kind && count > 0 {
            return Err(format!("a list of type {} for one of {kind}", head & 15));
        }
        // Each item moves on by a byte, so that a wrong count ends with the bytes.
        for _ in 0..count {
            item(self)?;
        }
        Ok(())
    }

    /// An integer of any width.
    pub fn integer(&mut self) -> Result<i64, Fault> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A length or count in 32 bits, which must not be negative.
    pub fn size(&mut self) -> Result<usize, Fault> {
        let value = self.integer()?;
        usize::try_from(value).map_err(|_| format!("the size {value}"))
    }

    /// A text, with what is no UTF-8 replaced.
    pub fn text(&mut self) -> Result<String, Fault> {
        Ok(String::from_utf8_lossy(self.binary()?).into_owned())
    }

    fn binary(&mut self) -> Result<&'a [u8], Fault> {
        let size = self.varint()?;
        self.take(usize::try_from(size).unwrap_or(usize::MAX))
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        Ok(self.take(1)?[0])
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let taken = self
            .at
            .checked_add(count)
            .and_then(|end| self.bytes.get(self.at..end))
            .ok_or("metadata that are cut off")?;
        self.at += count;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, Fault> {
        varint(&mut || self.byte())
    }

    fn skip(&mut self, kind: u8, in_list: bool) -> Result<(), Fault> {
        match kind {
            // Outside of lists the type says the value.
            TRUE | FALSE if !in_list => {}
            TRUE | FALSE | BYTE => {
                self.byte()?;
            }
            I16 | I32 | I64 => {
                self.varint()?;
            }
            DOUBLE => {
                self.take(8)?;
            }
            BINARY => {
                self.binary()?;
            }
            LIST | SET => {
                let item = *self.bytes.get(self.at).unwrap_or(&0) & 15;
                self.nested(|t| t.list(item, &mut |t| t.skip(item, true)))?;
            }
            MAP => {
                let count = self.varint()?;
                let kinds = if count > 0 { self.byte()? } else { 0 };
                self.nested(|t| {
                    (0..count).try_for_each(|_| {
                        t.skip(kinds >> 4, true)?;
                        t.skip(kinds & 15, true)
                    })
                })?;
            }
            STRUCT => self.structure(&mut |_, _, _| Ok(false))?,
            kind => return Err(format!("metadata of the unknown type {kind}")),
        }
        Ok(())
    }

    fn nested(&mut self, body: impl FnOnce(&mut Self) -> Result<(), Fault>) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!(
                "more than {MAX_DEPTH} structures within each other"
            ));
        }
        body(self)?;
        self.depth -= 1;
        Ok(())
    }
}

/// A number in groups of seven bits, the lowest first.
pub(super) fn varint(byte: &mut dyn FnMut() -> Result<u8, Fault>) -> Result<u64, Fault> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let next = byte()?;
        value |= u64::from(next & 127).checked_shl(shift).unwrap_or(0);
        if next < 128 {
            return Ok(value);
        }
    }
    Err("a number of more than 64 bits".into())
}
