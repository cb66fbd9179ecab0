//! The signal formats of WFDB: how digital samples lie in a signal file
//! (<https://wochenblat.physionet.org/wfdb/doc/signal.html>).

/// How the samples of a signal are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// 0: no samples at all (the file is `~`).
    Null,
    /// 8: first differences of 8 bits.
    F8,
    /// 16: two's complement of 16 bits, low byte first.
    F16,
    /// 24: two's complement of 24 bits, low byte first.
    F24,
    /// 32: two's complement of 32 bits, low byte first.
    F32,
    /// 61: two's complement of 16 bits, high byte first.
    F61,
    /// 80: offset binary of 8 bits.
    F80,
    /// 160: offset binary of 16 bits, low byte first.
    F160,
    /// 212: pairs of 12 bits in 3 bytes.
    F212,
    /// 310: triples of 10 bits in 4 bytes, split.
    F310,
    /// 311: triples of 10 bits in 4 bytes, packed.
    F311,
    /// 508: FLAC of 8 bits.
    F508,
    /// 516: FLAC of 16 bits.
    F516,
    /// 524: FLAC of 24 bits.
    F524,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 14] = [
        Format::Null,
        Format::F8,
        Format::F16,
        Format::F24,
        Format::F32,
        Format::F61,
        Format::F80,
        Format::F160,
        Format::F212,
        Format::F310,
        Format::F311,
        Format::F508,
        Format::F516,
        Format::F524,
    ];

    /// The number in the header.
    pub fn code(self) -> u32 {
        match self {
            Format::Null => 0,
            Format::F8 => 8,
            Format::F16 => 16,
            Format::F24 => 24,
            Format::F32 => 32,
            Format::F61 => 61,
            Format::F80 => 80,
            Format::F160 => 160,
            Format::F212 => 212,
            Format::F310 => 310,
            Format::F311 => 311,
            Format::F508 => 508,
            Format::F516 => 516,
            Format::F524 => 524,
        }
    }

    /// The format of a number in a header.
    pub fn from_code(code: &str) -> Option<Format> {
        let code: u32 = code.parse().ok()?;
        Format::ALL.into_iter().find(|format| format.code() == code)
    }

    /// Whether the samples are a FLAC stream.
    pub fn is_flac(self) -> bool {
        matches!(self, Format::F508 | Format::F516 | Format::F524)
    }

    /// The code that stands for a missing sample: the lowest one. Format 8 has none.
    pub fn missing_code(self) -> Option<i32> {
        match self {
            Format::Null | Format::F32 => Some(i32::MIN),
            Format::F8 => None,
            Format::F16 | Format::F61 | Format::F160 | Format::F516 => Some(-(1 << 15)),
            Format::F24 | Format::F524 => Some(-(1 << 23)),
            Format::F80 | Format::F508 => Some(-(1 << 7)),
            Format::F212 => Some(-(1 << 11)),
            Format::F310 | Format::F311 => Some(-(1 << 9)),
        }
    }

    /// Bytes that hold `samples` samples; `None` for FLAC, whose size depends on the samples, and when the number overflows.
    pub fn bytes_for(self, samples: u64) -> Option<u64> {
        match self {
            Format::Null => Some(0),
            Format::F8 | Format::F80 => Some(samples),
            Format::F16 | Format::F61 | Format::F160 => samples.checked_mul(2),
            Format::F24 => samples.checked_mul(3),
            Format::F32 => samples.checked_mul(4),
            // Incomplete groups at the end are cut after the last byte they need.
            Format::F212 => (samples / 2)
                .checked_mul(3)?
                .checked_add([0, 2][(samples % 2) as usize]),
            Format::F310 => (samples / 3)
                .checked_mul(4)?
                .checked_add([0, 2, 4][(samples % 3) as usize]),
            Format::F311 => (samples / 3)
                .checked_mul(4)?
                .checked_add([0, 2, 3][(samples % 3) as usize]),
            Format::F508 | Format::F516 | Format::F524 => None,
        }
    }

    /// Whole samples that `bytes` bytes hold; `None` for FLAC and the null format.
    ///
    /// At the end of format 310 two samples take as many bytes as three, and three is the answer.
    pub fn samples_in(self, bytes: u64) -> Option<u64> {
        match self {
            Format::Null | Format::F508 | Format::F516 | Format::F524 => None,
            Format::F8 | Format::F80 => Some(bytes),
            Format::F16 | Format::F61 | Format::F160 => Some(bytes / 2),
            Format::F24 => Some(bytes / 3),
            Format::F32 => Some(bytes / 4),
            Format::F212 => Some(bytes / 3 * 2 + [0, 0, 1][(bytes % 3) as usize]),
            Format::F310 => Some(bytes / 4 * 3 + [0, 0, 1, 1][(bytes % 4) as usize]),
            Format::F311 => Some(bytes / 4 * 3 + [0, 0, 1, 2][(bytes % 4) as usize]),
        }
    }

    /// Appends to `out` the samples of one signal: `per_frame` samples from position `offset` of each of `frames` frames of
    /// `frame_samples` samples. `bytes` starts at the first sample of the file; for format 8 `initial` is the value before
    /// the first difference.
    ///
    /// `bytes` must hold `frames * frame_samples` samples ([`Format::bytes_for`]). FLAC and the null format have none here.
    pub(super) fn decode_signal(
        self,
        bytes: &[u8],
        slots: &Slots,
        initial: i32,
        out: &mut Vec<i32>,
    ) {
        match self {
            Format::Null | Format::F508 | Format::F516 | Format::F524 => {}
            Format::F8 => {
                let mut value = initial;
                slots.visit(out, |i| {
                    value = value.wrapping_add(i32::from(bytes[i] as i8));
                    value
                });
            }
            Format::F16 => slots.visit(out, |i| {
                i32::from(i16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]))
            }),
            Format::F61 => slots.visit(out, |i| {
                i32::from(i16::from_be_bytes([bytes[2 * i], bytes[2 * i + 1]]))
            }),
            Format::F160 => slots.visit(out, |i| {
                i32::from(u16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]])) - (1 << 15)
            }),
            Format::F24 => slots.visit(out, |i| {
                let at = &bytes[3 * i..3 * i + 3];
                i32::from_le_bytes([0, at[0], at[1], at[2]]) >> 8
            }),
            Format::F32 => slots.visit(out, |i| {
                let at = &bytes[4 * i..4 * i + 4];
                i32::from_le_bytes([at[0], at[1], at[2], at[3]])
            }),
            Format::F80 => slots.visit(out, |i| i32::from(bytes[i]) - 128),
            Format::F212 => slots.visit(out, |i| {
                let at = i / 2 * 3;
                let value = if i % 2 == 0 {
                    u32::from(bytes[at]) | (u32::from(bytes[at + 1]) & 0x0f) << 8
                } else {
                    u32::from(bytes[at + 2]) | (u32::from(bytes[at + 1]) & 0xf0) << 4
                };
                signed(value, 12)
            }),
            Format::F310 => slots.visit(out, |i| {
                let at = i / 3 * 4;
                let byte = |k: usize| u32::from(bytes[at + k]);
                let value = match i % 3 {
                    0 => byte(0) >> 1 | (byte(1) & 7) << 7,
                    1 => byte(2) >> 1 | (byte(3) & 7) << 7,
                    _ => byte(1) >> 3 | (byte(3) >> 3) << 5,
                };
                signed(value, 10)
            }),
            Format::F311 => slots.visit(out, |i| {
                let at = i / 3 * 4;
                let byte = |k: usize| u32::from(bytes[at + k]);
                let value = match i % 3 {
                    0 => byte(0) | byte(1) << 8,
                    1 => byte(1) >> 2 | byte(2) << 6,
                    _ => byte(2) >> 4 | byte(3) << 4,
                };
                signed(value, 10)
            }),
        }
    }

    /// Encodes samples as one signal of a file: the inverse of reading. For format 8 `initial` is the value before the first
    /// difference.
    ///
    /// `None` for FLAC and the null format, and when a sample is out of the range of the format.
    pub fn encode(self, samples: &[i32], initial: i32) -> Option<Vec<u8>> {
        let bits = match self {
            Format::Null | Format::F508 | Format::F516 | Format::F524 => return None,
            Format::F8 => return encode_differences(samples, initial),
            Format::F80 => 8,
            Format::F16 | Format::F61 | Format::F160 => 16,
            Format::F24 => 24,
            Format::F32 => 32,
            Format::F212 => 12,
            Format::F310 | Format::F311 => 10,
        };
        let half = 1i64 << (bits - 1);
        if !samples
            .iter()
            .all(|&v| (-half..half).contains(&i64::from(v)))
        {
            return None;
        }
        let mut out = Vec::with_capacity(samples.len() * 4);
        match self {
            Format::F16 => samples
                .iter()
                .for_each(|v| out.extend(&v.to_le_bytes()[..2])),
            Format::F61 => samples
                .iter()
                .for_each(|v| out.extend(&v.to_be_bytes()[2..])),
            Format::F160 => samples
                .iter()
                .for_each(|v| out.extend(&(v + (1 << 15)).to_le_bytes()[..2])),
            Format::F24 => samples
                .iter()
                .for_each(|v| out.extend(&v.to_le_bytes()[..3])),
            Format::F32 => samples.iter().for_each(|v| out.extend(v.to_le_bytes())),
            Format::F80 => samples.iter().for_each(|v| out.push((v + 128) as u8)),
            Format::F212 => {
                for pair in samples.chunks(2) {
                    let first = pair[0] as u32;
                    let second = pair.get(1).map_or(0, |&v| v as u32);
                    out.push(first as u8);
                    out.push((first >> 8 & 0x0f | second >> 4 & 0xf0) as u8);
                    out.push(second as u8);
                }
            }
            _ => {
                for triple in samples.chunks(3) {
                    let at = |k: usize| triple.get(k).map_or(0, |&v| v as u32 & 0x3ff);
                    let word = if self == Format::F311 {
                        at(0) | at(1) << 10 | at(2) << 20
                    } else {
                        at(0) << 1 | (at(2) & 0x1f) << 11 | at(1) << 17 | (at(2) >> 5) << 27
                    };
                    out.extend(word.to_le_bytes());
                }
            }
        }
        out.truncate(self.bytes_for(samples.len() as u64)? as usize);
        Some(out)
    }
}

/// Where the samples of one signal lie in the sequence of all samples of a file.
pub(super) struct Slots {
    /// Frames to read.
    pub frames: usize,
    /// Samples of all signals in a frame.
    pub frame_samples: usize,
    /// Samples before this signal in a frame.
    pub offset: usize,
    /// Samples of this signal in a frame.
    pub per_frame: usize,
}

impl Slots {
    fn visit(&self, out: &mut Vec<i32>, mut sample: impl FnMut(usize) -> i32) {
        if self.per_frame == 1 {
            out.extend(
                (0..self.frames).map(|frame| sample(frame * self.frame_samples + self.offset)),
            );
        } else {
            for frame in 0..self.frames {
                let start = frame * self.frame_samples + self.offset;
                out.extend((start..start + self.per_frame).map(&mut sample));
            }
        }
    }
}

/// The low `bits` bits of `value` as two's complement.
fn signed(value: u32, bits: u32) -> i32 {
    ((value << (32 - bits)) as i32) >> (32 - bits)
}

fn encode_differences(samples: &[i32], initial: i32) -> Option<Vec<u8>> {
    let mut last = initial;
    samples
        .iter()
        .map(|&value| {
            let step = i8::try_from(i64::from(value) - i64::from(last)).ok()?;
            last = value;
            Some(step as u8)
        })
        .collect()
}
