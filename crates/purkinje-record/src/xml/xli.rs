//! XLI, the compression of Philips Sierra waveforms: each lead is a block of its own, Lempel-Ziv-Welch over the differences of
//! its differences. The format is described at <https://github.com/sixlettervariables/sierra-ecg-tools/wiki>; what that page
//! leaves open (the end code, the size of the table, the offset of the codes) was found from the files themselves.
//!
//! A block is a head of eight bytes (size of what follows, a constant, the first difference) and codes of ten bits, the high bit
//! first. Codes below 256 stand for a byte, 1023 for the end, the others for the strings of the table, which is never emptied. The
//! bytes are the high halves of all 16-bit values, then their low halves. The first two values are samples; from then on a
//! sample follows the line through the two before it, bent by the difference before, and a value is the next difference plus 64.

use std::path::Path;

use crate::RecordError;
use crate::error::content;

/// Bytes of a block's head.
const HEAD: usize = 8;
/// The code that ends a block; also the number of strings that the table holds.
const END: usize = 1023;
/// What a value is above the difference it stands for.
const BIAS: i32 = 64;

/// Decompresses the blocks of all leads, of at most `max_samples` samples each.
pub(super) fn decompress(
    path: &Path,
    mut data: &[u8],
    blocks: usize,
    max_samples: usize,
) -> Result<Vec<Vec<i16>>, RecordError> {
    let mut leads = Vec::new();
    for index in 0..blocks {
        let field = format!("block {} of the compressed waveforms", index + 1);
        let short = |found: String, expected: &str| {
            let expected = format!("{expected}; the file may be cut off, copy it again");
            content(path, &field, &found, &expected)
        };
        let Some((head, rest)) = data.split_first_chunk::<HEAD>() else {
            return Err(short(
                format!("{} bytes long", data.len()),
                "a head of 8 bytes",
            ));
        };
        let size = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let first = i16::from_le_bytes([head[6], head[7]]);
        let Some((codes, rest)) = rest.split_at_checked(size) else {
            return Err(short(
                format!("{} bytes long", rest.len()),
                &format!("{size}, as its head says"),
            ));
        };
        data = rest;
        let bytes = lzw(codes, 2 * max_samples).map_err(|problem| {
            let expected = "codes that follow from those before; the file may be damaged";
            content(path, &field, &problem, expected)
        })?;
        leads.push(integrate(&bytes, first));
    }
    Ok(leads)
}

/// Strings of the table as the end of a longer one: `(index of its start, last byte)`.
fn lzw(data: &[u8], max_bytes: usize) -> Result<Vec<u8>, String> {
    let mut table: Vec<(usize, u8)> = Vec::new();
    let mut out = Vec::new();
    let mut text = Vec::new();
    let mut previous: Option<usize> = None;
    let (mut bits, mut held) = (0u32, 0u32);
    for &byte in data {
        held = (held << 8 | u32::from(byte)) & 0xf_ffff;
        bits += 8;
        if bits < 10 {
            continue;
        }
        bits -= 10;
        let code = (held >> bits) as usize & 1023;
        if code == END {
            break;
        }
        // A code may name the string that it is about to complete: that one begins as it ends.
        let known = code < 256 + table.len();
        let Some(from) = (if known { Some(code) } else { previous }) else {
            return Err(format!("the code {code} as the first"));
        };
        if !known && (code > 256 + table.len() || 256 + table.len() >= END) {
            return Err(format!(
                "the code {code} when {} were known",
                256 + table.len()
            ));
        }
        text.clear();
        let mut at = from;
        while let Some(&(start, last)) = at.checked_sub(256).and_then(|at| table.get(at)) {
            text.push(last);
            at = start;
        }
        // What is left is below 256.
        let initial = at as u8;
        text.push(initial);
        text.reverse();
        if !known {
            text.push(initial);
        }
        out.extend_from_slice(&text);
        if out.len() > max_bytes {
            return Err(format!("more than {} samples", max_bytes / 2));
        }
        if let Some(previous) = previous.filter(|_| 256 + table.len() < END) {
            table.push((previous, initial));
        }
        previous = Some(code);
    }
    Ok(out)
}

/// Samples from their second differences.
fn integrate(bytes: &[u8], first: i16) -> Vec<i16> {
    let (high, low) = bytes.split_at(bytes.len() / 2);
    let values = high
        .iter()
        .zip(low)
        .map(|(&high, &low)| i16::from_be_bytes([high, low]));
    let mut samples: Vec<i16> = Vec::with_capacity(high.len());
    let mut difference = i32::from(first);
    for value in values {
        let sample = match samples[..] {
            [.., before, last] => {
                let line = 2 * i32::from(last) - i32::from(before);
                let sample = line - difference;
                difference = i32::from(value) - BIAS;
                // In 16 bits as the device computed it.
                sample as i16
            }
            _ => value,
        };
        samples.push(sample);
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Codes of ten bits as bytes.
    fn pack(codes: &[u32]) -> Vec<u8> {
        let mut bits: Vec<u32> = codes
            .iter()
            .flat_map(|code| (0..10).rev().map(move |bit| code >> bit & 1))
            .collect();
        bits.resize(bits.len().next_multiple_of(8), 0);
        bits.chunks(8)
            .map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | *bit as u8))
            .collect()
    }

    #[test]
    fn strings_are_named_by_codes() {
        let decoded = |codes: &[u32]| lzw(&pack(codes), 100);
        // 256 = "ab", 257 = "ba"; 258 is named while it is made: "aba" + "a".
        assert_eq!(decoded(&[97, 98, 256, 258, 1023, 5]).unwrap(), b"abababa");
        assert_eq!(decoded(&[0, 256, 1023]).unwrap(), [0, 0, 0]);
        assert!(decoded(&[300]).unwrap_err().contains("the first"));
        assert!(decoded(&[97, 300]).unwrap_err().contains("300"));
        assert!(lzw(&pack(&[97; 9]), 8).unwrap_err().contains("more than 4"));
    }

    #[test]
    fn the_table_stays_full() {
        let codes: Vec<u32> = (0..2000).map(|i| i % 200).collect();
        let bytes = lzw(&pack(&codes), 4000).unwrap();
        assert_eq!(bytes.len(), 2000);
        assert!(bytes.iter().zip(&codes).all(|(b, c)| u32::from(*b) == *c));
    }

    #[test]
    fn samples_follow_the_line_before() {
        // Samples 10, 12, then 14 - 0, then bent by 3 and by -1.
        let values: [i16; 5] = [10, 12, 64 + 3, 64 - 1, 64];
        let high = values.iter().map(|v| (v >> 8) as u8);
        let bytes: Vec<u8> = high.chain(values.iter().map(|v| *v as u8)).collect();
        assert_eq!(integrate(&bytes, 0), [10, 12, 14, 13, 13]);
        assert_eq!(integrate(&[], 0), [0i16; 0]);
    }
}
