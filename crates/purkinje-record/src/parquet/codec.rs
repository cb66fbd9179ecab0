//! Unpacking pages, to no more than they were said to have.

use std::fmt::Display;

use lz4_flex::block::decompress_into;

use super::thrift::Fault;
use crate::inflate;

/// Bytes of the largest page, once unpacked, in a small file; a quarter of the file is added.
pub const MAX_PAGE_BYTES: usize = 8 << 20;

/// A page as it was before packing.
pub(super) fn unpack(
    file_bytes: usize,
    codec: u8,
    packed: &[u8],
    size: usize,
) -> Result<Vec<u8>, Fault> {
    let limit = MAX_PAGE_BYTES.saturating_add(file_bytes / 4);
    if size > limit {
        return Err(format!(
            "a page of {size} bytes, more than the limit of {limit}; write smaller pages"
        ));
    }
    let mut out = vec![0; size];
    let damaged = |error: &dyn Display| format!("a damaged page ({error})");
    let written = match codec {
        0 if packed.len() == size => {
            out.copy_from_slice(packed);
            size
        }
        0 => packed.len(),
        1 => match snap::raw::decompress_len(packed) {
            Ok(claimed) if claimed == size => snap::raw::Decoder::new()
                .decompress(packed, &mut out)
                .map_err(|error| damaged(&error))?,
            Ok(claimed) => claimed,
            Err(error) => return Err(damaged(&error)),
        },
        2 => {
            out = inflate::gzip(packed, size).map_err(|error| damaged(&error))?;
            out.len()
        }
        4 => {
            out = inflate::brotli(packed, size).map_err(|error| damaged(&error))?;
            out.len()
        }
        // Some writers have said the first and meant the second.
        5 => match hadoop(packed, &mut out) {
            Some(written) => written,
            None => decompress_into(packed, &mut out).map_err(|error| damaged(&error))?,
        },
        7 => decompress_into(packed, &mut out).map_err(|error| damaged(&error))?,
        6 => zstd::bulk::decompress_to_buffer(packed, &mut out[..])
            .map_err(|error| damaged(&error))?,
        other => {
            let name = match other {
                3 => "LZO",
                _ => "an unknown codec",
            };
            return Err(format!(
                "pages packed with {name}; write it with Snappy, Zstandard, gzip, Brotli, LZ4 or unpacked"
            ));
        }
    };
    if written == size {
        Ok(out)
    } else {
        Err(format!("a page of {written} bytes for {size}"))
    }
}

/// LZ4 as Hadoop frames it: before each block its sizes, unpacked and packed, the highest byte first.
fn hadoop(mut packed: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut filled = 0usize;
    while !packed.is_empty() {
        let (&[a, b, c, d, sizes @ ..], rest) = packed.split_first_chunk::<8>()?;
        let size = u32::from_be_bytes([a, b, c, d]) as usize;
        let (block, rest) = rest.split_at_checked(u32::from_be_bytes(sizes) as usize)?;
        let room = out.get_mut(filled..filled.checked_add(size)?)?;
        if decompress_into(block, room).ok()? != size {
            return None;
        }
        filled += size;
        packed = rest;
    }
    Some(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_framing_of_lz4_is_unpacked_to_no_more_than_was_said() {
        // A block of LZ4: four letters as they are; one letter, then seven times what stands one byte back.
        let plain = b"\x40abcd";
        let run = [0x13, b'x', 1, 0, 0x50, b'e', b'n', b'd', b'!', b'!'];
        assert_eq!(unpack(100, 7, plain, 4).unwrap(), b"abcd");
        assert_eq!(unpack(100, 7, &run, 13).unwrap(), b"xxxxxxxxend!!");
        for (size, expected) in [(12, "damaged page"), (14, "13 bytes for 14")] {
            let fault = unpack(100, 7, &run, size).unwrap_err();
            assert!(fault.contains(expected), "{fault}");
        }
        let framed = [
            &[0, 0, 0, 4, 0, 0, 0, 5][..],
            plain,
            &[0, 0, 0, 13, 0, 0, 0, 10],
            &run,
        ]
        .concat();
        assert_eq!(unpack(100, 5, &framed, 17).unwrap(), b"abcdxxxxxxxxend!!");
        // Without frames, as some writers left it.
        assert_eq!(unpack(100, 5, &run, 13).unwrap(), b"xxxxxxxxend!!");
        for length in 0..framed.len() {
            assert!(unpack(100, 5, &framed[..length], 17).is_err(), "{length}");
        }
    }
}
