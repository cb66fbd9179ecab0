//! Filters: what was done to a chunk before it was stored.

use super::source::Source;
use crate::inflate;

/// Filters of a data set.
const MAX_FILTERS: usize = 32;

/// One step of what was done to chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    Deflate,
    /// First bytes of all elements of so many bytes, then all second bytes, ...
    Shuffle(usize),
    Fletcher32,
    Lzf,
    Other(u16),
}

impl Filter {
    /// The filters of a pipeline message, in the order in which they were applied.
    pub fn parse(source: &Source, message: &[u8]) -> Option<Vec<Self>> {
        let mut field = source.fields(message);
        let version = field.u8()?;
        let count = usize::from(field.u8()?);
        if !matches!(version, 1 | 2) || count > MAX_FILTERS {
            return None;
        }
        if version == 1 {
            field.take(6)?;
        }
        let mut filters = Vec::new();
        for _ in 0..count {
            let id = field.u16()?;
            let name = if version == 1 || id >= 256 {
                usize::from(field.u16()?)
            } else {
                0
            };
            field.take(2)?;
            let values = usize::from(field.u16()?);
            field.take(if version == 1 {
                name.next_multiple_of(8)
            } else {
                name
            })?;
            let mut values_field = source.fields(field.take(4 * values)?);
            if version == 1 && values % 2 == 1 {
                field.skip(4);
            }
            filters.push(match id {
                1 => Filter::Deflate,
                2 => Filter::Shuffle(values_field.u32()? as usize),
                3 => Filter::Fletcher32,
                32_000 => Filter::Lzf,
                id => Filter::Other(id),
            });
        }
        Some(filters)
    }

    /// Undoes the filter, for a chunk of `size` bytes; or says what is wrong.
    pub fn undo(&self, mut bytes: Vec<u8>, size: usize) -> Result<Vec<u8>, String> {
        match self {
            // Room for a checksum that may have been added before.
            Filter::Deflate => inflate::zlib(&bytes, size + 4)
                .map_err(|error| format!("compressed data that does not unpack ({error})")),
            Filter::Lzf => lzf(&bytes, size + 4).ok_or_else(|| "damaged LZF data".to_owned()),
            Filter::Shuffle(element) => Ok(unshuffle(bytes, *element)),
            Filter::Fletcher32 => {
                let data = bytes
                    .len()
                    .checked_sub(4)
                    .ok_or("no room for its checksum")?;
                let stored: [u8; 4] = [
                    bytes[data],
                    bytes[data + 1],
                    bytes[data + 2],
                    bytes[data + 3],
                ];
                let sum = fletcher32(&bytes[..data]);
                // Old versions of the library wrote each half the other way round on some machines.
                let [a, b, c, d] = stored;
                let same = |stored: [u8; 4]| {
                    // 0 and 65535 are the same number in this sum.
                    let stored = u32::from_le_bytes(stored);
                    (stored >> 16) % 65_535 == sum >> 16
                        && (stored & 0xffff) % 65_535 == sum & 0xffff
                };
                if !same(stored) && !same([b, a, d, c]) {
                    return Err("data that does not fit its checksum".into());
                }
                bytes.truncate(data);
                Ok(bytes)
            }
            Filter::Other(id) => Err(match id {
                4 => "compressed with szip".to_owned(),
                5 => "compressed with n-bit".to_owned(),
                6 => "compressed with scale-offset".to_owned(),
                id => format!("compressed with the filter {id}"),
            }),
        }
    }
}

fn unshuffle(bytes: Vec<u8>, element: usize) -> Vec<u8> {
    let count = bytes.len().checked_div(element).unwrap_or(0);
    if element < 2 || count < 2 {
        return bytes;
    }
    let mut out = vec![0; bytes.len()];
    for (i, plane) in bytes[..count * element].chunks_exact(count).enumerate() {
        for (value, out) in plane.iter().zip(out[i..].iter_mut().step_by(element)) {
            *out = *value;
        }
    }
    // What is left over at the end was not moved.
    out[count * element..].copy_from_slice(&bytes[count * element..]);
    out
}

fn fletcher32(bytes: &[u8]) -> u32 {
    let (mut low, mut high) = (0u64, 0u64);
    let mut add = |word: u16| {
        low = (low + u64::from(word)) % 65_535;
        high = (high + low) % 65_535;
    };
    let mut words = bytes.chunks_exact(2);
    for word in &mut words {
        add(u16::from_be_bytes([word[0], word[1]]));
    }
    if let [last] = words.remainder() {
        add(u16::from(*last) << 8);
    }
    (high as u32) << 16 | low as u32
}

/// Unpacks LZF to at most `limit` bytes; `None` when it is damaged.
fn lzf(packed: &[u8], limit: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(limit);
    let mut bytes = packed.iter().copied();
    while let Some(control) = bytes.next() {
        let control = usize::from(control);
        if control < 32 {
            // So many bytes as they are.
            for _ in 0..=control {
                if out.len() >= limit {
                    return None;
                }
                out.push(bytes.next()?);
            }
        } else {
            // A stretch seen before.
            let mut length = control >> 5;
            if length == 7 {
                length += usize::from(bytes.next()?);
            }
            let back = (control & 0x1f) << 8 | usize::from(bytes.next()?);
            let start = out.len().checked_sub(back + 1)?;
            if out.len() + length + 2 > limit {
                return None;
            }
            for i in start..start + length + 2 {
                out.push(out[i]);
            }
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lzf_repeats_and_copies() {
        // Three bytes as they are, then the last three twice over.
        let packed = [2, b'a', b'b', b'c', 4 << 5, 2];
        assert_eq!(lzf(&packed, 100).unwrap(), b"abcabcabc");
        assert_eq!(lzf(&packed, 8), None);
        assert_eq!(lzf(&[32, 9], 100), None);
    }

    #[test]
    fn shuffled_bytes_return() {
        let shuffled = vec![1, 3, 5, 2, 4, 6, 7];
        assert_eq!(unshuffle(shuffled, 2), [1, 2, 3, 4, 5, 6, 7][..]);
    }
}
