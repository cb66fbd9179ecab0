//! Headers of `.npy` files.

use std::io::{self, Read};

use thiserror::Error;

use super::NpyValue;

/// Size of written headers in bytes: enough for any number of rows, aligned as NumPy requires.
pub const HEADER_BYTES: usize = 128;

/// Largest header that [`Header::read`] accepts, in bytes.
pub const MAX_HEADER_BYTES: usize = 1 << 16;

/// Bytes before the text of a header of version 1.
const START: usize = 10;

const MAGIC: &[u8] = b"\x93NUMPY";

/// The header of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Type of the values as NumPy writes it: byte order and kind, `<f4`.
    pub descr: String,
    /// Whether the first axis varies fastest.
    pub fortran_order: bool,
    /// Sizes; none for a single value.
    pub shape: Vec<usize>,
    /// Size of the header in bytes, which is the offset of the values.
    pub bytes: usize,
}

/// Why the start of a file is not a header.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// The file ends within the header.
    #[error(
        "the file ends within the header of the array, which has {expected} bytes; copy it again"
    )]
    Truncated {
        /// Bytes that the header has, as far as is known.
        expected: usize,
        /// Whether the file ends before the length of the header is known.
        in_head: bool,
    },
    /// Another kind of file.
    #[error(
        "it does not begin with the magic bytes of a .npy file; save the array with numpy.save"
    )]
    Magic,
    /// An unknown version of the format.
    #[error("version {0} of the .npy format, expected 1, 2 or 3")]
    Version(u8),
    /// A header longer than any that NumPy writes.
    #[error("a header of {found} bytes, expected at most {MAX_HEADER_BYTES}")]
    TooLong {
        /// Bytes that it claims.
        found: usize,
    },
    /// An invalid entry of the header.
    #[error("`{key}` in the header of the array is {}, expected {expected}", found.as_deref().unwrap_or("absent"))]
    Entry {
        /// `descr`, `fortran_order` or `shape`.
        key: &'static str,
        /// Its value; `None` if it is missing.
        found: Option<String>,
        /// The valid values.
        expected: &'static str,
    },
}

impl Header {
    /// The header at the start of `bytes`.
    ///
    /// # Errors
    /// [`HeaderError`] if there is none, or it is cut off.
    pub fn parse(bytes: &[u8]) -> Result<Header, HeaderError> {
        let (start, end) = text_place(bytes)?;
        let text = bytes.get(start..end).ok_or(HeaderError::Truncated {
            expected: end,
            in_head: false,
        })?;
        let text = String::from_utf8_lossy(text);
        let wrong = |key, found: Option<&str>, expected| HeaderError::Entry {
            key,
            found: found.map(str::to_owned),
            expected,
        };
        let descr = entry(&text, "descr").map(|value| value.trim_matches(['\'', '"']));
        let descr = descr.ok_or_else(|| wrong("descr", None, "a type such as '<f4'"))?;
        let fortran_order = match entry(&text, "fortran_order") {
            Some("True") => true,
            Some("False") => false,
            other => return Err(wrong("fortran_order", other, "True or False")),
        };
        let written = entry(&text, "shape");
        let shape = written
            .and_then(parse_shape)
            .ok_or_else(|| wrong("shape", written, "a list of sizes such as (12, 5000)"))?;
        Ok(Header {
            descr: descr.to_owned(),
            fortran_order,
            shape,
            bytes: end,
        })
    }

    /// Reads the header of a file from its start, and leaves it positioned at the values.
    ///
    /// # Errors
    /// What reading gives; [`io::ErrorKind::InvalidData`] with a [`HeaderError`] for anything but a header.
    pub fn read(file: &mut impl Read) -> io::Result<Header> {
        let damaged = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        file.take(START as u64).read_to_end(&mut bytes)?;
        if bytes.get(6).is_some_and(|version| *version > 1) {
            file.take(2).read_to_end(&mut bytes)?;
        }
        let (start, end) = text_place(&bytes).map_err(damaged)?;
        if end > MAX_HEADER_BYTES {
            return Err(damaged(HeaderError::TooLong { found: end }));
        }
        file.take((end - start) as u64).read_to_end(&mut bytes)?;
        Header::parse(&bytes).map_err(damaged)
    }

    /// The number of values; `None` on overflow.
    pub fn values(&self) -> Option<usize> {
        self.shape
            .iter()
            .try_fold(1usize, |count, &size| count.checked_mul(size))
    }

    /// Whether the values are of type `T` in C order.
    pub fn holds<T: NpyValue>(&self) -> bool {
        self.descr == T::DESCR && !self.fortran_order
    }
}

/// Where the text of a header begins and ends.
fn text_place(bytes: &[u8]) -> Result<(usize, usize), HeaderError> {
    let short = |expected| HeaderError::Truncated {
        expected,
        in_head: true,
    };
    let Some((magic, rest)) = bytes.split_at_checked(8) else {
        return Err(short(START));
    };
    if magic[..6] != *MAGIC {
        return Err(HeaderError::Magic);
    }
    let (length, start) = match (magic[6], rest) {
        (1, [a, b, ..]) => (usize::from(u16::from_le_bytes([*a, *b])), START),
        (2 | 3, [a, b, c, d, ..]) => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, START + 2),
        (1..=3, _) => return Err(short(START + 2)),
        (version, _) => return Err(HeaderError::Version(version)),
    };
    Ok((start, start.saturating_add(length)))
}

/// The number of axes that the header in `start` states, also if `start` ends within the header; `None` if it is not a
/// header.
pub fn axes(start: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(start.get(START..)?);
    Some(parse_shape(entry(&text, "shape")?)?.len())
}

/// The header, version 1.0, of an array of this shape in C order: [`HEADER_BYTES`] bytes.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] for a shape that does not fit.
pub fn header<T: NpyValue>(shape: &[usize]) -> io::Result<Vec<u8>> {
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    let mut sizes = sizes.join(", ");
    if shape.len() == 1 {
        // How Python writes a tuple of one.
        sizes.push(',');
    }
    let text = format!(
        "{{'descr': '{}', 'fortran_order': False, 'shape': ({sizes}), }}",
        T::DESCR
    );
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend(MAGIC);
    header.extend([1, 0]);
    header.extend(((HEADER_BYTES - START) as u16).to_le_bytes());
    header.extend(text.as_bytes());
    if header.len() >= HEADER_BYTES {
        return Err(invalid(format!("the shape ({sizes}) is too long")));
    }
    header.resize(HEADER_BYTES - 1, b' ');
    header.push(b'\n');
    Ok(header)
}

pub(super) fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

/// The value of `'key': value` in the Python dictionary of the header.
fn entry<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let quoted = [format!("'{key}'"), format!("\"{key}\"")];
    let at = quoted
        .iter()
        .find_map(|key| text.find(key.as_str()).map(|at| at + key.len()))?;
    let value = text[at..].trim_start().strip_prefix(':')?.trim_start();
    let end = match value.chars().next()? {
        '(' => value.find(')')? + 1,
        _ => value.find([',', '}'])?,
    };
    Some(value[..end].trim())
}

/// `(12, 5000)`, `(5000,)` or `()`
fn parse_shape(text: &str) -> Option<Vec<usize>> {
    let inner = text.strip_prefix('(')?.strip_suffix(')')?;
    inner
        .split(',')
        .map(str::trim)
        .filter(|size| !size.is_empty())
        .map(|size| size.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: u8, text: &str) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([version, 0]);
        match version {
            1 => bytes.extend((text.len() as u16).to_le_bytes()),
            _ => bytes.extend((text.len() as u32).to_le_bytes()),
        }
        bytes.extend(text.as_bytes());
        bytes
    }

    #[test]
    fn headers_of_all_versions_are_read() {
        for version in 1..=3 {
            let text = "{\"shape\": (3,), 'fortran_order': True, 'descr': '>i2'}\n";
            let mut bytes = file(version, text);
            let end = bytes.len();
            bytes.extend([1, 2, 3, 4, 5, 6]);
            let header = Header::parse(&bytes).unwrap();
            assert_eq!(header.descr, ">i2");
            assert!(header.fortran_order);
            assert_eq!((&header.shape[..], header.bytes), (&[3][..], end));
            let mut rest = &bytes[..];
            assert_eq!(Header::read(&mut rest).unwrap(), header);
            assert_eq!(rest, [1, 2, 3, 4, 5, 6]);
            for length in 0..end {
                let cut = Header::parse(&bytes[..length]).unwrap_err();
                assert!(matches!(cut, HeaderError::Truncated { .. }), "{cut}");
                assert!(Header::read(&mut &bytes[..length]).is_err());
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let start = "{'descr': '<f4', 'fortran_order': False, 'shape': ";
        for (bytes, key) in [
            (file(1, "{}"), "descr"),
            (file(1, "{'descr': '<f4', 'shape': (1,)}"), "fortran_order"),
            (file(1, &format!("{start}(1, -2)}}")), "shape"),
            (file(1, &format!("{start}[1]}}")), "shape"),
        ] {
            match Header::parse(&bytes) {
                Err(HeaderError::Entry { key: found, .. }) => assert_eq!(found, key),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(Header::parse(b"PK\x03\x04567890"), Err(HeaderError::Magic));
        assert_eq!(Header::parse(&file(4, "")), Err(HeaderError::Version(4)));
        let mut long = file(2, "");
        long[8..12].fill(0xff);
        let error = Header::read(&mut &long[..]).unwrap_err();
        assert!(error.to_string().contains("at most 65536"), "{error}");
    }

    #[test]
    fn what_is_written_is_understood() {
        for shape in [&[][..], &[7], &[0, 3], &[usize::MAX, usize::MAX]] {
            let bytes = header::<f32>(shape).unwrap();
            assert_eq!(bytes.len(), HEADER_BYTES);
            let read = Header::parse(&bytes).unwrap();
            assert_eq!(read.shape, shape);
            assert!(read.holds::<f32>() && !read.holds::<f64>());
            assert_eq!(axes(&bytes[..120]), Some(shape.len()));
        }
        assert_eq!(
            Header::parse(&header::<i64>(&[2, 3]).unwrap())
                .unwrap()
                .values(),
            Some(6)
        );
        assert!(header::<f32>(&[usize::MAX; 4]).is_err());
    }
}
