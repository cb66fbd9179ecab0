//! The numbers of a page, read one at a time.

use half::f16;

use super::footer::Kind;
use super::thrift::{Fault, varint};

impl Kind {
    /// The physical type in groups of rows.
    pub fn code(self) -> u8 {
        match self {
            Kind::I32 | Kind::U32 => 1,
            Kind::I64 | Kind::U64 => 2,
            Kind::F32 => 4,
            Kind::F64 => 5,
            Kind::F16 => 7,
        }
    }

    fn bytes(self) -> usize {
        match self {
            Kind::F16 => 2,
            Kind::I32 | Kind::U32 | Kind::F32 => 4,
            Kind::I64 | Kind::U64 | Kind::F64 => 8,
        }
    }

    /// The number whose bytes, the lowest first, are those of `bits`.
    fn number(self, bits: u64) -> f64 {
        match self {
            Kind::I32 => f64::from(bits as u32 as i32),
            Kind::U32 => f64::from(bits as u32),
            Kind::I64 => bits as i64 as f64,
            Kind::U64 => bits as f64,
            Kind::F16 => f16::from_bits(bits as u16).to_f64(),
            Kind::F32 => f64::from(f32::from_bits(bits as u32)),
            Kind::F64 => f64::from_bits(bits),
        }
    }
}

/// The values of a page, one after the other.
pub(super) struct Values<'a> {
    kind: Kind,
    source: Encoded<'a>,
}

enum Encoded<'a> {
    Plain(&'a [u8]),
    Dictionary(&'a [u8], Hybrid<'a>),
    Delta(Delta<'a>),
    Split { bytes: &'a [u8], at: usize },
}

impl<'a> Values<'a> {
    pub fn new(
        bytes: &'a [u8],
        encoding: i64,
        kind: Kind,
        dictionary: Option<&'a [u8]>,
    ) -> Result<Self, Fault> {
        let integers = matches!(kind, Kind::I32 | Kind::U32 | Kind::I64 | Kind::U64);
        let source = match (encoding, dictionary) {
            (0, _) => Encoded::Plain(bytes),
            (2 | 8, Some(dictionary)) => {
                // A page without any value may be without a width.
                let (&width, indices) = bytes.split_first().unwrap_or((&0, &[]));
                if width > 32 {
                    return Err(format!("indices of {width} bits"));
                }
                Encoded::Dictionary(dictionary, Hybrid::new(indices, width))
            }
            (2 | 8, None) => return Err("a page whose dictionary is absent".into()),
            (5, _) if integers => Encoded::Delta(Delta::new(bytes)?),
            (9, _) => Encoded::Split { bytes, at: 0 },
            _ => return Err(format!("values in encoding {encoding}")),
        };
        Ok(Values { kind, source })
    }

    pub fn next(&mut self) -> Option<f64> {
        let size = self.kind.bytes();
        let bits = match &mut self.source {
            Encoded::Plain(bytes) => {
                let value;
                (value, *bytes) = bytes.split_at_checked(size)?;
                little(value)
            }
            Encoded::Dictionary(dictionary, indices) => {
                let at = (indices.next()? as usize).checked_mul(size)?;
                little(dictionary.get(at..at.checked_add(size)?)?)
            }
            Encoded::Delta(delta) => delta.next()? as u64,
            Encoded::Split { bytes, at } => {
                let count = bytes.len() / size;
                if *at >= count {
                    return None;
                }
                let bits = (0..size)
                    .rev()
                    .fold(0, |bits, i| bits << 8 | u64::from(bytes[i * count + *at]));
                *at += 1;
                bits
            }
        };
        Some(self.kind.number(bits))
    }
}

/// Runs of one value, and values of so many bits side by side.
pub(super) struct Hybrid<'a> {
    bytes: &'a [u8],
    at: usize,
    width: u8,
    run: u64,
    value: u32,
    packed: u64,
    bit: usize,
}

impl<'a> Hybrid<'a> {
    pub fn new(bytes: &'a [u8], width: u8) -> Self {
        Hybrid {
            bytes,
            at: 0,
            width,
            run: 0,
            value: 0,
            packed: 0,
            bit: 0,
        }
    }

    pub fn next(&mut self) -> Option<u32> {
        loop {
            if self.run > 0 {
                self.run -= 1;
                return Some(self.value);
            }
            if self.packed > 0 {
                self.packed -= 1;
                let value = bits(self.bytes, self.bit, self.width)?;
                self.bit += usize::from(self.width);
                return Some(value as u32);
            }
            // Each turn moves on, or ends with the bytes.
            let head = number(self.bytes, &mut self.at)?;
            if head & 1 == 1 {
                let bytes = (head >> 1).checked_mul(u64::from(self.width))?;
                self.packed = (head >> 1).checked_mul(8)?;
                self.bit = self.at.checked_mul(8)?;
                // The last group may be cut off after its last value.
                let bytes = usize::try_from(bytes).ok()?;
                self.at = self.at.saturating_add(bytes).min(self.bytes.len());
            } else {
                let size = usize::from(self.width.div_ceil(8));
                self.run = head >> 1;
                self.value = little(self.bytes.get(self.at..self.at + size)?) as u32;
                self.at += size;
            }
        }
    }
}

/// Integers as differences from their forerunners.
struct Delta<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Values in a block, and in each of its parts.
    parts: usize,
    part_values: usize,
    left: u64,
    last: i64,
    first: bool,
    smallest: i64,
    /// Where the widths of the block stand, and which is next.
    widths: usize,
    part: usize,
    width: u8,
    in_part: usize,
    bit: usize,
}

impl<'a> Delta<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, Fault> {
        let mut at = 0;
        let mut next = || number(bytes, &mut at).ok_or("a page that is cut off");
        let [block, parts, left, last] = [next()?, next()?, next()?, next()?];
        let sound = parts > 0 && block <= 1 << 20 && block % parts == 0 && (block / parts) % 8 == 0;
        if !sound || block == 0 {
            return Err(format!("blocks of {block} differences in {parts} parts"));
        }
        Ok(Delta {
            bytes,
            at,
            parts: parts as usize,
            part_values: (block / parts) as usize,
            left,
            last: zigzag(last),
            first: true,
            smallest: 0,
            widths: 0,
            part: parts as usize,
            width: 0,
            in_part: 0,
            bit: 0,
        })
    }

    fn next(&mut self) -> Option<i64> {
        self.left = self.left.checked_sub(1)?;
        if std::mem::take(&mut self.first) {
            return Some(self.last);
        }
        if self.in_part == 0 {
            if self.part == self.parts {
                self.smallest = zigzag(number(self.bytes, &mut self.at)?);
                self.widths = self.at;
                self.at = self.at.checked_add(self.parts)?;
                self.part = 0;
            }
            self.width = *self.bytes.get(self.widths + self.part)?;
            if self.width > 64 {
                return None;
            }
            self.part += 1;
            self.in_part = self.part_values;
            self.bit = self.at.checked_mul(8)?;
            self.at = self
                .at
                .checked_add(self.part_values / 8 * usize::from(self.width))?;
        }
        self.in_part -= 1;
        let difference = bits(self.bytes, self.bit, self.width)? as i64;
        self.bit += usize::from(self.width);
        self.last = self
            .last
            .wrapping_add(self.smallest)
            .wrapping_add(difference);
        Some(self.last)
    }
}

fn number(bytes: &[u8], at: &mut usize) -> Option<u64> {
    varint(&mut || {
        let byte = *bytes.get(*at).ok_or("")?;
        *at += 1;
        Ok(byte)
    })
    .ok()
}

fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// So many bits (64 at most) from bit `at`, the lowest first.
fn bits(bytes: &[u8], at: usize, width: u8) -> Option<u64> {
    if width == 0 {
        return Some(0);
    }
    let end = at.checked_add(usize::from(width))?;
    let bytes = bytes.get(at / 8..end.div_ceil(8))?;
    let all = bytes
        .iter()
        .rev()
        .fold(0u128, |all, &byte| all << 8 | u128::from(byte));
    Some(((all >> (at % 8)) & ((1u128 << width) - 1)) as u64)
}

/// Up to eight bytes, the lowest first.
fn little(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |all, &byte| all << 8 | u64::from(byte))
}
