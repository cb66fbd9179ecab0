//! Types of elements, and attributes.

use std::fmt;

use half::f16;

use super::source::{Fields, Meta, Source};
use super::{MAX_ATTRIBUTE_BYTES, MAX_RANK, header};
use crate::RecordError;

/// What the elements of a data set are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Element {
    /// An integer of 1, 2, 4 or 8 bytes; also a truth value or another enumeration.
    Integer {
        /// Size in bytes.
        bytes: usize,
        /// Whether it has a sign.
        signed: bool,
        /// Byte order.
        big_endian: bool,
    },
    /// A floating-point number of IEEE 754 of 2, 4 or 8 bytes.
    Float {
        /// Size in bytes.
        bytes: usize,
        /// Byte order.
        big_endian: bool,
    },
    /// A string of so many bytes.
    FixedText {
        /// Size in bytes.
        bytes: usize,
    },
    /// A string of any length.
    Text,
    /// The place of another object, as cells of MATLAB 7.3 have them.
    Reference,
    /// What is not read.
    Other {
        /// Size in bytes.
        bytes: usize,
        /// What it is.
        what: &'static str,
    },
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// Numbers.
    Numbers(Vec<f64>),
    /// Texts.
    Texts(Vec<String>),
}

/// A number that elements can be read as: f32, f64 or i64.
pub trait Number: Copy + private::Sealed {
    /// From an integer of the file; `None` when it does not fit.
    fn from_i128(value: i128) -> Option<Self>;
    /// From a floating-point number of the file; `None` when it does not fit.
    fn from_f64(value: f64) -> Option<Self>;
}

mod private {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
    impl Sealed for i64 {}
}

impl Number for f32 {
    fn from_i128(value: i128) -> Option<Self> {
        Some(value as f32)
    }
    fn from_f64(value: f64) -> Option<Self> {
        Some(value as f32)
    }
}

impl Number for f64 {
    fn from_i128(value: i128) -> Option<Self> {
        Some(value as f64)
    }
    fn from_f64(value: f64) -> Option<Self> {
        Some(value)
    }
}

impl Number for i64 {
    fn from_i128(value: i128) -> Option<Self> {
        i64::try_from(value).ok()
    }
    fn from_f64(value: f64) -> Option<Self> {
        // 2^63 is the first number that does not fit.
        let fits = value.fract() == 0.0 && (i64::MIN as f64..-(i64::MIN as f64)).contains(&value);
        fits.then_some(value as i64)
    }
}

impl Attribute {
    /// The first number.
    pub fn number(&self) -> Option<f64> {
        match self {
            Attribute::Numbers(numbers) => numbers.first().copied(),
            Attribute::Texts(texts) => texts.first()?.trim().parse().ok(),
        }
    }

    /// The first text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Attribute::Texts(texts) => texts.first().map(String::as_str),
            Attribute::Numbers(_) => None,
        }
    }
}

impl Element {
    /// Size in bytes, as stored; never 0.
    pub fn bytes(&self) -> usize {
        match self {
            Element::Integer { bytes, .. }
            | Element::Float { bytes, .. }
            | Element::FixedText { bytes }
            | Element::Other { bytes, .. } => (*bytes).max(1),
            Element::Text => 16,
            Element::Reference => 8,
        }
    }

    /// The type that a datatype message describes.
    pub(super) fn parse(source: &Source, message: &[u8]) -> Option<Self> {
        let mut field = source.fields(message);
        let class = field.u8()? & 0x0f;
        let bits = field.u8()?;
        field.take(2)?;
        let bytes = field.u32()? as usize;
        let other = |what| Some(Element::Other { bytes, what });
        let whole = |field: &mut Fields<'_>| {
            let (offset, precision) = (field.u16()?, field.u16()?);
            Some(offset == 0 && usize::from(precision) == bytes.checked_mul(8)?)
        };
        match class {
            0 => {
                if !whole(&mut field)? || !matches!(bytes, 1 | 2 | 4 | 8) {
                    return other("integers that fill no whole bytes");
                }
                Some(Element::Integer {
                    bytes,
                    signed: bits & 8 != 0,
                    big_endian: bits & 1 != 0,
                })
            }
            1 => {
                let whole = whole(&mut field)?;
                field.take(1)?;
                let exponent = field.u8()?;
                let usual = matches!((bytes, exponent), (2, 5) | (4, 8) | (8, 11));
                if !whole || !usual || bits & 0x40 != 0 {
                    return other("floating-point numbers of an unusual kind");
                }
                Some(Element::Float {
                    bytes,
                    big_endian: bits & 1 != 0,
                })
            }
            3 => Some(Element::FixedText { bytes }),
            // An enumeration is its integer, which may not hold another in turn.
            8 if field.rest().first()? & 0x0f == 0 => Element::parse(source, field.rest()),
            9 if bits & 0x0f == 1 && bytes == 8 + source.offset_bytes => Some(Element::Text),
            2 => other("times"),
            4 => other("bit fields"),
            6 => other("compound values"),
            7 if bits & 0x0f == 0 && bytes == 8 && source.offset_bytes == 8 => {
                Some(Element::Reference)
            }
            7 => other("references"),
            9 => other("sequences of any length"),
            10 => other("arrays"),
            _ => other("of an unknown kind"),
        }
    }

    /// Decodes elements, passing each number on.
    pub(super) fn numbers<T: Number>(
        &self,
        bytes: &[u8],
        out: &mut Vec<T>,
    ) -> Result<(), &'static str> {
        const FIT: &str = "a number that is no integer of 64 bits";
        macro_rules! decode {
            ($type:ty, $size:literal, $big:expr, $convert:expr) => {{
                for chunk in bytes.chunks_exact($size) {
                    let Some(chunk) = chunk.first_chunk::<$size>() else {
                        continue;
                    };
                    let value = if $big {
                        <$type>::from_be_bytes(*chunk)
                    } else {
                        <$type>::from_le_bytes(*chunk)
                    };
                    let number: Option<T> = $convert(value);
                    out.push(number.ok_or(FIT)?);
                }
            }};
        }
        match *self {
            Element::Integer {
                bytes: size,
                signed,
                big_endian: big,
            } => match (size, signed) {
                (1, true) => decode!(i8, 1, big, |v| T::from_i128(i128::from(v))),
                (1, false) => decode!(u8, 1, big, |v| T::from_i128(i128::from(v))),
                (2, true) => decode!(i16, 2, big, |v| T::from_i128(i128::from(v))),
                (2, false) => decode!(u16, 2, big, |v| T::from_i128(i128::from(v))),
                (4, true) => decode!(i32, 4, big, |v| T::from_i128(i128::from(v))),
                (4, false) => decode!(u32, 4, big, |v| T::from_i128(i128::from(v))),
                (8, true) => decode!(i64, 8, big, |v| T::from_i128(i128::from(v))),
                _ => decode!(u64, 8, big, |v| T::from_i128(i128::from(v))),
            },
            Element::Float {
                bytes: size,
                big_endian: big,
            } => match size {
                2 => decode!(u16, 2, big, |v| T::from_f64(f16::from_bits(v).to_f64())),
                4 => decode!(f32, 4, big, |v| T::from_f64(f64::from(v))),
                _ => decode!(f64, 8, big, |v| T::from_f64(v)),
            },
            _ => return Err("no number"),
        }
        Ok(())
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Element::Integer { bytes, signed, .. } => {
                let sign = if *signed { "" } else { "u" };
                write!(f, "{sign}int{}", bytes * 8)
            }
            Element::Float { bytes, .. } => write!(f, "float{}", bytes * 8),
            Element::FixedText { .. } | Element::Text => f.write_str("text"),
            Element::Reference => f.write_str("references"),
            Element::Other { what, .. } => f.write_str(what),
        }
    }
}

/// Sizes of the dimensions, and whether they may grow.
pub(super) struct Space {
    pub shape: Vec<u64>,
    pub resizable: bool,
}

/// The space that a dataspace message states; `Some(None)` for one without elements.
pub(super) fn dataspace(source: &Source, message: &[u8]) -> Option<Option<Space>> {
    let mut field = source.fields(message);
    let version = field.u8()?;
    let rank = usize::from(field.u8()?);
    let flags = field.u8()?;
    let kind = field.u8()?;
    match version {
        1 => field.skip(4),
        2 if kind == 2 => return Some(None),
        2 => {}
        _ => return None,
    }
    if rank > MAX_RANK {
        return None;
    }
    let mut sizes = || {
        (0..rank)
            .map(|_| field.length())
            .collect::<Option<Vec<u64>>>()
    };
    let shape = sizes()?;
    let resizable = flags & 1 != 0 && sizes()? != shape;
    Some(Some(Space { shape, resizable }))
}

/// The attribute in a message, when it is a number or a text; `kept` counts bytes of all attributes so far.
pub(super) fn attribute(
    meta: &Meta<'_>,
    message: &[u8],
    kept: &mut usize,
) -> Option<(String, Attribute)> {
    let source = meta.source;
    let mut field = source.fields(message);
    let version = field.u8()?;
    let flags = field.u8()?;
    // Where name, type and space are stored shared, they are elsewhere.
    if version >= 2 && flags & 3 != 0 {
        return None;
    }
    let sizes = [field.u16()?, field.u16()?, field.u16()?].map(usize::from);
    let padded = |size: usize| match version {
        1 => size.next_multiple_of(8),
        _ => size,
    };
    if version == 3 {
        field.take(1)?;
    }
    let name = field.take(padded(sizes[0]))?.get(..sizes[0])?;
    let name = String::from_utf8_lossy(name)
        .trim_end_matches('\0')
        .to_owned();
    let element = Element::parse(source, field.take(padded(sizes[1]))?)?;
    let shape = dataspace(source, field.take(padded(sizes[2]))?)??.shape;
    let count = shape.iter().try_fold(1usize, |count, &size| {
        count.checked_mul(usize::try_from(size).ok()?)
    })?;
    let data = field.take(count.checked_mul(element.bytes())?)?;
    // Numbers become 8 bytes each.
    *kept = kept.checked_add(data.len().checked_mul(8)?)?;
    if *kept > MAX_ATTRIBUTE_BYTES {
        return None;
    }
    let value = match element {
        Element::FixedText { .. } | Element::Text => {
            Attribute::Texts(super::read::decode_texts(meta, &element, data).ok()?)
        }
        _ => {
            let mut numbers = Vec::new();
            element.numbers(data, &mut numbers).ok()?;
            Attribute::Numbers(numbers)
        }
    };
    Some((name, value))
}

/// All attributes among the messages of an object.
pub(super) fn attributes(
    meta: &Meta<'_>,
    messages: &[header::Message],
) -> Result<Vec<(String, Attribute)>, RecordError> {
    let mut kept = 0;
    Ok(messages
        .iter()
        .filter(|message| message.kind == header::ATTRIBUTE && !message.shared)
        .filter_map(|message| attribute(meta, &message.data, &mut kept))
        .collect())
}
