//! Object headers: the messages that say what an object is.

use super::MAX_HEADER_BLOCKS;
use super::source::Meta;
use crate::RecordError;

pub(super) const DATASPACE: u16 = 0x01;
pub(super) const LINK_INFO: u16 = 0x02;
pub(super) const DATATYPE: u16 = 0x03;
pub(super) const FILL_VALUE: u16 = 0x05;
pub(super) const LINK: u16 = 0x06;
pub(super) const EXTERNAL: u16 = 0x07;
pub(super) const LAYOUT: u16 = 0x08;
pub(super) const FILTERS: u16 = 0x0b;
pub(super) const ATTRIBUTE: u16 = 0x0c;
const CONTINUATION: u16 = 0x10;
pub(super) const SYMBOL_TABLE: u16 = 0x11;

/// A message of an object header.
pub(super) struct Message {
    pub kind: u16,
    /// Whether `data` only says where the message is.
    pub shared: bool,
    pub data: Vec<u8>,
}

/// The messages of the object header at `address`.
pub(super) fn messages(meta: &Meta<'_>, address: u64) -> Result<Vec<Message>, RecordError> {
    let source = meta.source;
    let what = "an object header";
    let start = meta.at(address, 8, what)?;
    let mut messages = Vec::new();
    // Blocks still to be read: address and size of what lies between signature and checksum.
    let mut blocks = Vec::new();
    let style = if start.starts_with(b"OHDR") {
        let flags = start[5];
        if start[4] != 2 {
            return Err(source.bad(
                "the version of an object header",
                &start[4].to_string(),
                "1 or 2",
            ));
        }
        let mut before = 6;
        if flags & 0x20 != 0 {
            before += 16;
        }
        if flags & 0x10 != 0 {
            before += 4;
        }
        let size_bytes = 1usize << (flags & 3);
        let head = meta.at(address, (before + size_bytes) as u64, what)?;
        let mut field = source.fields(&head[before..]);
        let size = field.number(size_bytes).unwrap_or(0);
        blocks.push((address.saturating_add((before + size_bytes) as u64), size));
        Style {
            new: true,
            ordered: flags & 4 != 0,
        }
    } else if start[0] == 1 {
        let head = meta.at(address, 16, what)?;
        let mut field = source.fields(&head[8..]);
        blocks.push((
            address.saturating_add(16),
            u64::from(field.u32().unwrap_or(0)),
        ));
        Style {
            new: false,
            ordered: false,
        }
    } else {
        return Err(source.bad(
            &format!("the object header at {address}"),
            &format!("{:02x?}", &start[..4]),
            "an object header of version 1 or 2; copy the file again",
        ));
    };
    let mut read = 0;
    while let Some((address, size)) = blocks.pop() {
        read += 1;
        if read > MAX_HEADER_BLOCKS {
            return Err(source.too_large(
                "number of blocks of an object header",
                read as u64,
                MAX_HEADER_BLOCKS as u64,
            ));
        }
        let block = meta.at(address, size, what)?;
        style.parse(meta, &block, &mut messages, &mut blocks);
    }
    Ok(messages)
}

struct Style {
    new: bool,
    /// Whether messages carry the order of their creation.
    ordered: bool,
}

impl Style {
    /// What is cut off at the end of a block is left out, as the gaps there are.
    fn parse(
        &self,
        meta: &Meta<'_>,
        block: &[u8],
        messages: &mut Vec<Message>,
        blocks: &mut Vec<(u64, u64)>,
    ) {
        let mut field = meta.source.fields(block);
        let mut next = || {
            let (kind, size, flags) = if self.new {
                let kind = u16::from(field.u8()?);
                let size = field.u16()?;
                let flags = field.u8()?;
                if self.ordered {
                    field.take(2)?;
                }
                (kind, size, flags)
            } else {
                let kind = field.u16()?;
                let size = field.u16()?;
                let flags = field.u8()?;
                field.take(3)?;
                (kind, size, flags)
            };
            Some((kind, flags, field.take(usize::from(size))?))
        };
        while let Some((kind, flags, data)) = next() {
            match kind {
                CONTINUATION => {
                    let mut field = meta.source.fields(data);
                    if let (Some(Some(address)), Some(size)) = (field.address(), field.length()) {
                        blocks.push(if self.new {
                            // Between `OCHK` and the checksum.
                            (address.saturating_add(4), size.saturating_sub(8))
                        } else {
                            (address, size)
                        });
                    }
                }
                DATASPACE | LINK_INFO | DATATYPE | FILL_VALUE | LINK | EXTERNAL | LAYOUT
                | FILTERS | ATTRIBUTE | SYMBOL_TABLE => messages.push(Message {
                    kind,
                    shared: flags & 2 != 0,
                    data: data.to_vec(),
                }),
                _ => {}
            }
        }
    }
}
