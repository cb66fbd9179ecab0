//! The elements of a DICOM data set, read in place.
//!
//! Nothing is allocated here: an element is its tag and the bytes it holds, however long it claims to be, and a sequence is walked
//! when it is asked for, item by item.

use std::fmt;

/// Sequences inside each other.
pub const MAX_DEPTH: usize = 16;
/// Items of a sequence.
pub const MAX_ITEMS: usize = 250_000;

/// A length that is given by a delimiter instead.
const UNDEFINED: u32 = u32::MAX;
const ITEM: Tag = Tag(0xfffe, 0xe000);
const ITEM_END: Tag = Tag(0xfffe, 0xe00d);
const SEQUENCE_END: Tag = Tag(0xfffe, 0xe0dd);

/// Group and element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tag(pub u16, pub u16);

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({:04x},{:04x})", self.0, self.1)
    }
}

/// How elements are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Syntax {
    /// With the type of each value.
    pub explicit: bool,
    pub big_endian: bool,
}

/// Why a data set cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The bytes end within this element.
    Ends(Tag),
    /// Sequences are nested too deeply.
    Deep,
    /// A sequence holds too many items.
    Many(Tag),
    /// Something other than an item stands in a sequence.
    NoItem(Tag),
}

/// A data set, or an item of a sequence.
#[derive(Clone, Copy, Debug)]
pub(super) struct DataSet<'a> {
    bytes: &'a [u8],
    syntax: Syntax,
    /// How many sequences it lies in.
    depth: usize,
}

/// An element, as it stands in its data set.
#[derive(Clone, Copy, Debug)]
struct Element<'a> {
    tag: Tag,
    value: &'a [u8],
    /// How the items of the value are written, if it is a sequence.
    syntax: Syntax,
}

impl<'a> DataSet<'a> {
    pub fn new(bytes: &'a [u8], syntax: Syntax) -> Self {
        DataSet {
            bytes,
            syntax,
            depth: 0,
        }
    }

    pub fn big_endian(&self) -> bool {
        self.syntax.big_endian
    }

    /// The value of an element; `None` when it is absent. Tags rise within a data set, but are searched for to its end: not all
    /// writers keep to that.
    pub fn value(&self, tag: Tag) -> Result<Option<&'a [u8]>, Fault> {
        Ok(self.element(tag)?.map(|element| element.value))
    }

    /// The items of a sequence; empty when it is absent.
    pub fn items(&self, tag: Tag) -> Result<Vec<DataSet<'a>>, Fault> {
        let Some(element) = self.element(tag)? else {
            return Ok(Vec::new());
        };
        let mut items = Vec::new();
        let mut cursor = Cursor {
            rest: element.value,
            syntax: element.syntax,
            depth: self.depth + 1,
        };
        if cursor.depth > MAX_DEPTH {
            return Err(Fault::Deep);
        }
        while let Some(bytes) = cursor.item()? {
            if items.len() >= MAX_ITEMS {
                return Err(Fault::Many(tag));
            }
            items.push(DataSet {
                bytes,
                syntax: element.syntax,
                depth: cursor.depth,
            });
        }
        Ok(items)
    }

    /// The first item of a sequence.
    pub fn item(&self, tag: Tag) -> Result<Option<DataSet<'a>>, Fault> {
        Ok(self.items(tag)?.into_iter().next())
    }

    /// The length of this data set until an element of a group above `group`.
    pub fn length_of_group(&self, group: u16) -> usize {
        let mut cursor = self.cursor();
        loop {
            let before = cursor.rest.len();
            match cursor.element() {
                Ok(Some(element)) if element.tag.0 <= group => {}
                _ => return self.bytes.len() - before,
            }
        }
    }

    fn cursor(&self) -> Cursor<'a> {
        Cursor {
            rest: self.bytes,
            syntax: self.syntax,
            depth: self.depth,
        }
    }

    fn element(&self, tag: Tag) -> Result<Option<Element<'a>>, Fault> {
        let mut cursor = self.cursor();
        while let Some(element) = cursor.element()? {
            if element.tag == tag {
                return Ok(Some(element));
            }
        }
        Ok(None)
    }
}

/// A place in a data set.
struct Cursor<'a> {
    rest: &'a [u8],
    syntax: Syntax,
    depth: usize,
}

impl<'a> Cursor<'a> {
    /// The next element; `None` at the end or at the delimiter of an item, which is consumed.
    fn element(&mut self) -> Result<Option<Element<'a>>, Fault> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.tag()?;
        if tag == ITEM_END || tag == SEQUENCE_END {
            self.u32(tag)?;
            return Ok(None);
        }
        let mut syntax = self.syntax;
        let length = if syntax.explicit {
            let kind = self.take(2, tag)?;
            match kind {
                b"OB" | b"OW" | b"OF" | b"OD" | b"OL" | b"OV" | b"SQ" | b"UC" | b"UR" | b"UT"
                | b"UN" | b"SV" | b"UV" => {
                    self.take(2, tag)?;
                    // A value of unknown type and length is a sequence in implicit syntax, little-endian.
                    if kind == b"UN" {
                        syntax = Syntax {
                            explicit: false,
                            big_endian: false,
                        };
                    }
                    self.u32(tag)?
                }
                _ => u32::from(self.u16(tag)?),
            }
        } else {
            self.u32(tag)?
        };
        let value = if length == UNDEFINED {
            self.until_delimiter(tag, syntax)?
        } else {
            self.take(length as usize, tag)?
        };
        Ok(Some(Element { tag, value, syntax }))
    }

    /// The content of a sequence without a length, up to its delimiter, which is consumed.
    fn until_delimiter(&mut self, tag: Tag, syntax: Syntax) -> Result<&'a [u8], Fault> {
        if self.depth >= MAX_DEPTH {
            return Err(Fault::Deep);
        }
        let start = self.rest;
        let mut inner = Cursor {
            rest: self.rest,
            syntax,
            depth: self.depth + 1,
        };
        loop {
            let before = inner.rest.len();
            match inner.item() {
                Ok(Some(_)) => {}
                Ok(None) if inner.rest.len() < before => {
                    self.rest = inner.rest;
                    return Ok(&start[..start.len() - before]);
                }
                // The data set ends without a delimiter.
                Ok(None) => return Err(Fault::Ends(tag)),
                Err(fault) => return Err(fault),
            }
        }
    }

    /// The next item of a sequence; `None` at its end or delimiter, which is consumed.
    fn item(&mut self) -> Result<Option<&'a [u8]>, Fault> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.tag()?;
        let length = self.u32(tag)?;
        match tag {
            ITEM => {}
            SEQUENCE_END => return Ok(None),
            other => return Err(Fault::NoItem(other)),
        }
        if length != UNDEFINED {
            return self.take(length as usize, tag).map(Some);
        }
        let start = self.rest;
        let mut inner = Cursor {
            rest: self.rest,
            syntax: self.syntax,
            depth: self.depth,
        };
        loop {
            let before = inner.rest.len();
            match inner.element()? {
                Some(_) => {}
                None if inner.rest.len() < before => {
                    self.rest = inner.rest;
                    return Ok(Some(&start[..start.len() - before]));
                }
                None => return Err(Fault::Ends(tag)),
            }
        }
    }

    fn take(&mut self, count: usize, tag: Tag) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Fault::Ends(tag))?;
        self.rest = rest;
        Ok(taken)
    }

    fn tag(&mut self) -> Result<Tag, Fault> {
        let unknown = Tag(0, 0);
        Ok(Tag(self.u16(unknown)?, self.u16(unknown)?))
    }

    fn u16(&mut self, tag: Tag) -> Result<u16, Fault> {
        let bytes = self.take(2, tag)?;
        let bytes = [bytes[0], bytes[1]];
        Ok(if self.syntax.big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        })
    }

    fn u32(&mut self, tag: Tag) -> Result<u32, Fault> {
        let bytes = self.take(4, tag)?;
        let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
        Ok(if self.syntax.big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LITTLE: Syntax = Syntax {
        explicit: true,
        big_endian: false,
    };

    fn element(tag: (u16, u16), kind: &[u8; 2], length: u32, value: &[u8]) -> Vec<u8> {
        let mut bytes = [tag.0.to_le_bytes(), tag.1.to_le_bytes()].concat();
        bytes.extend(kind);
        if kind == b"SQ" {
            bytes.extend([0, 0]);
            bytes.extend(length.to_le_bytes());
        } else {
            bytes.extend((length as u16).to_le_bytes());
        }
        bytes.extend(value);
        bytes
    }

    fn mark(tag: Tag, length: u32) -> Vec<u8> {
        let tag = [tag.0.to_le_bytes(), tag.1.to_le_bytes()].concat();
        [tag, length.to_le_bytes().to_vec()].concat()
    }

    #[test]
    fn sequences_of_both_kinds_are_walked() {
        let inner = element((0x8, 0x100), b"SH", 4, b"code");
        let open = [
            mark(ITEM, UNDEFINED),
            inner.clone(),
            mark(ITEM_END, 0),
            mark(SEQUENCE_END, 0),
        ]
        .concat();
        let closed = [mark(ITEM, inner.len() as u32), inner].concat();
        for (length, value) in [(UNDEFINED, &open), (closed.len() as u32, &closed)] {
            let mut bytes = element((0x40, 1), b"SQ", length, value);
            bytes.extend(element((0x40, 2), b"LO", 2, b"on"));
            let set = DataSet::new(&bytes, LITTLE);
            let items = set.items(Tag(0x40, 1)).unwrap();
            assert_eq!(items.len(), 1);
            assert_eq!(items[0].value(Tag(8, 0x100)), Ok(Some(&b"code"[..])));
            assert_eq!(set.value(Tag(0x40, 2)), Ok(Some(&b"on"[..])));
            assert_eq!(set.value(Tag(0x40, 3)), Ok(None));
            assert!(set.items(Tag(0x40, 3)).unwrap().is_empty());
        }
    }

    #[test]
    fn lengths_that_lie_are_faults() {
        let bytes = element((0x10, 0x20), b"LO", 200, b"short");
        let fault = DataSet::new(&bytes, LITTLE).value(Tag(0x10, 0x30));
        assert_eq!(fault, Err(Fault::Ends(Tag(0x10, 0x20))));
        let mut bytes = Vec::new();
        for _ in 0..=MAX_DEPTH {
            bytes.extend(element((0x40, 1), b"SQ", UNDEFINED, &mark(ITEM, UNDEFINED)));
        }
        let fault = DataSet::new(&bytes, LITTLE).value(Tag(0x50, 0));
        assert_eq!(fault, Err(Fault::Deep));
    }
}
