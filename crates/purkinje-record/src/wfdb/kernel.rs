//! 16-bit samples `[time, column]` become millivolts `[lead, time]`: the loop in which reading spends its time.
//!
//! The only module of the crate with `unsafe` code: vector loads, a function compiled for AVX2, and output memory that is not
//! zeroed before it is written.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use crate::Digital;

/// Frames handled at once; a multiple of 8. A block of all columns stays in the first-level cache.
const BLOCK: usize = 64;

/// One lead on its way.
pub(super) struct Lane {
    /// Column in the file.
    pub column: usize,
    pub gain_per_mv: f64,
    pub baseline: i32,
    /// Sum of the samples modulo 65536; counted by [`convert`].
    pub sum: i16,
}

/// Samples of all lanes, `[lane, time]`.
pub(super) struct Converted {
    pub samples_mv: Vec<f32>,
    /// Empty unless asked for.
    pub digital: Vec<i16>,
}

/// Converts whole frames of `columns` samples, low byte first.
pub(super) fn convert(
    bytes: &[u8],
    columns: usize,
    lanes: &mut [Lane],
    keep_digital: bool,
) -> Converted {
    let frames = bytes.len() / (2 * columns);
    let count = lanes.len() * frames;
    let mut samples_mv = Vec::with_capacity(count);
    let mut digital = Vec::with_capacity(if keep_digital { count } else { 0 });
    let mut job = Job {
        bytes: &bytes[..frames * columns * 2],
        columns,
        frames,
        lanes,
        samples_mv: &mut samples_mv.spare_capacity_mut()[..count],
        digital: if keep_digital {
            Some(&mut digital.spare_capacity_mut()[..count])
        } else {
            None
        },
    };
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as just found.
        unsafe { job.run_avx2() };
    } else {
        job.run();
    }
    #[cfg(not(target_arch = "x86_64"))]
    job.run();
    // SAFETY: `run` has written all `count` elements: for every lane the blocks cover all frames.
    unsafe {
        samples_mv.set_len(count);
        if keep_digital {
            digital.set_len(count);
        }
    }
    Converted {
        samples_mv,
        digital,
    }
}

struct Job<'a> {
    /// `frames * columns` samples.
    bytes: &'a [u8],
    columns: usize,
    frames: usize,
    lanes: &'a mut [Lane],
    /// `[lane, time]`
    samples_mv: &'a mut [MaybeUninit<f32>],
    /// `[lane, time]`
    digital: Option<&'a mut [MaybeUninit<i16>]>,
}

impl Job<'_> {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn run_avx2(&mut self) {
        self.run();
    }

    /// Writes every element of the outputs.
    #[inline(always)]
    fn run(&mut self) {
        // [column, BLOCK]
        let mut planes = vec![0i16; self.columns * BLOCK];
        let mut start = 0;
        for block in self.bytes.chunks(2 * self.columns * BLOCK) {
            let len = block.len() / (2 * self.columns);
            transpose(block, self.columns, len, &mut planes);
            for (row, lane) in self.lanes.iter_mut().enumerate() {
                let plane = &planes[lane.column * BLOCK..][..len];
                lane.sum = plane.iter().fold(lane.sum, |sum, &v| sum.wrapping_add(v));
                let at = row * self.frames + start;
                scale(lane, plane, &mut self.samples_mv[at..at + len]);
                if let Some(digital) = &mut self.digital {
                    digital[at..at + len].write_copy_of_slice(plane);
                }
            }
            start += len;
        }
    }
}

/// `len` frames `[time, column]` as planes `[column, BLOCK]`.
#[inline(always)]
fn transpose(block: &[u8], columns: usize, len: usize, planes: &mut [i16]) {
    let mut done = 0;
    #[cfg(target_arch = "x86_64")]
    if columns >= 8 {
        done = len / 8 * 8;
        for frame in (0..done).step_by(8) {
            let mut column = 0;
            loop {
                transpose_8x8(block, columns, frame, column, planes);
                if column + 8 == columns {
                    break;
                }
                // The last square overlaps the one before when the columns are no multiple of 8.
                column = (column + 8).min(columns - 8);
            }
        }
    }
    for column in 0..columns {
        let plane = &mut planes[column * BLOCK..][done..len];
        let rest = block[done * columns * 2..].chunks_exact(2 * columns);
        for (out, frame) in plane.iter_mut().zip(rest) {
            *out = i16::from_le_bytes([frame[2 * column], frame[2 * column + 1]]);
        }
    }
}

/// The square of 8 frames from `frame` and 8 columns from `column`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn transpose_8x8(block: &[u8], columns: usize, frame: usize, column: usize, planes: &mut [i16]) {
    use std::arch::x86_64::{
        __m128i, _mm_loadu_si128, _mm_storeu_si128, _mm_unpackhi_epi16, _mm_unpackhi_epi32,
        _mm_unpackhi_epi64, _mm_unpacklo_epi16, _mm_unpacklo_epi32, _mm_unpacklo_epi64,
    };
    let row = |k: usize| &block[((frame + k) * columns + column) * 2..][..16];
    // SAFETY: SSE2 is part of x86_64. Every load reads the 16 bytes of a slice of 16 bytes, every store writes the 8 elements of
    // a slice of 8 elements; neither needs alignment.
    unsafe {
        let load = |k: usize| _mm_loadu_si128(row(k).as_ptr().cast::<__m128i>());
        let (a, b, c, d) = (load(0), load(1), load(2), load(3));
        let (e, f, g, h) = (load(4), load(5), load(6), load(7));
        // Pairs of frames, then fours, then all eight.
        let (ab0, ab1) = (_mm_unpacklo_epi16(a, b), _mm_unpackhi_epi16(a, b));
        let (cd0, cd1) = (_mm_unpacklo_epi16(c, d), _mm_unpackhi_epi16(c, d));
        let (ef0, ef1) = (_mm_unpacklo_epi16(e, f), _mm_unpackhi_epi16(e, f));
        let (gh0, gh1) = (_mm_unpacklo_epi16(g, h), _mm_unpackhi_epi16(g, h));
        let fours = [
            (_mm_unpacklo_epi32(ab0, cd0), _mm_unpacklo_epi32(ef0, gh0)),
            (_mm_unpackhi_epi32(ab0, cd0), _mm_unpackhi_epi32(ef0, gh0)),
            (_mm_unpacklo_epi32(ab1, cd1), _mm_unpacklo_epi32(ef1, gh1)),
            (_mm_unpackhi_epi32(ab1, cd1), _mm_unpackhi_epi32(ef1, gh1)),
        ];
        let mut store = |k: usize, value: __m128i| {
            let out = &mut planes[(column + k) * BLOCK + frame..][..8];
            _mm_storeu_si128(out.as_mut_ptr().cast::<__m128i>(), value);
        };
        for (k, (low, high)) in fours.into_iter().enumerate() {
            store(2 * k, _mm_unpacklo_epi64(low, high));
            store(2 * k + 1, _mm_unpackhi_epi64(low, high));
        }
    }
}

/// `(sample - baseline) / gain_per_mv`, NaN where missing; writes every element of `out`.
#[inline(always)]
fn scale(lane: &Lane, plane: &[i16], out: &mut [MaybeUninit<f32>]) {
    let gain = lane.gain_per_mv as f32;
    // The difference is then an exact f32 (24 bits), so the one rounding is that of the division, and double precision rounded
    // at the end gives the same (53 >= 2 * 24 + 2 bits).
    let single = lane.baseline.unsigned_abs() < 1 << 20
        && f64::from(gain) == lane.gain_per_mv
        && (1e-20..1e20).contains(&gain.abs());
    assert_eq!(plane.len(), out.len());
    if single {
        for (out, &value) in out.iter_mut().zip(plane) {
            let mv = (i32::from(value) - lane.baseline) as f32 / gain;
            out.write(if value == Digital::MISSING {
                f32::NAN
            } else {
                mv
            });
        }
    } else {
        for (out, &value) in out.iter_mut().zip(plane) {
            let mv = (f64::from(value) - f64::from(lane.baseline)) / lane.gain_per_mv;
            out.write(if value == Digital::MISSING {
                f32::NAN
            } else {
                mv as f32
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every number of columns around the square of 8, every number of frames around the block.
    #[test]
    fn every_shape_is_converted_as_its_definition_says() {
        for columns in [1, 2, 7, 8, 9, 12, 15, 16, 17] {
            for frames in [0, 1, 7, 8, 9, 63, 64, 65, 200] {
                let samples: Vec<i16> = (0..columns * frames)
                    .map(|i| (i as u32).wrapping_mul(2_654_435_761) as i16)
                    .map(|v| if v % 50 == 0 { i16::MIN } else { v })
                    .collect();
                let bytes: Vec<u8> = samples.iter().flat_map(|v| v.to_le_bytes()).collect();
                // In reverse order, with a gain that single precision holds and one that it does not.
                let mut lanes: Vec<Lane> = (0..columns)
                    .rev()
                    .map(|column| Lane {
                        column,
                        gain_per_mv: if column % 2 == 0 { 1000.0 } else { 200.1 },
                        baseline: column as i32 * 100 - 300,
                        sum: 0,
                    })
                    .collect();
                let out = convert(&bytes, columns, &mut lanes, true);
                for (row, lane) in lanes.iter().enumerate() {
                    let mut sum = 0i64;
                    for t in 0..frames {
                        let value = samples[t * columns + lane.column];
                        sum += i64::from(value);
                        let mv = (f64::from(value) - f64::from(lane.baseline)) / lane.gain_per_mv;
                        let got = out.samples_mv[row * frames + t];
                        assert_eq!(out.digital[row * frames + t], value);
                        assert_eq!(got.is_nan(), value == i16::MIN);
                        assert!(got.is_nan() || got == mv as f32, "{value}");
                    }
                    assert_eq!(lane.sum, sum as i16);
                }
            }
        }
    }

    /// The single-precision path equals double precision for all 65536 samples and many gains.
    #[test]
    fn single_precision_rounds_like_double() {
        let bytes: Vec<u8> = (i16::MIN..=i16::MAX).flat_map(i16::to_le_bytes).collect();
        for gain_per_mv in [
            1000.0, 200.0, 204.8, 4.88, 2000.0, 1e6, 3.0, -77.0, 0.001, 819.2, 1716.0,
        ] {
            for baseline in [0, 1024, -32768, 999_999] {
                let mut lanes = [Lane {
                    column: 0,
                    gain_per_mv,
                    baseline,
                    sum: 0,
                }];
                let out = convert(&bytes, 1, &mut lanes, false).samples_mv;
                for (value, got) in (i16::MIN..=i16::MAX).zip(out).skip(1) {
                    let mv = (f64::from(value) - f64::from(baseline)) / gain_per_mv;
                    assert_eq!(got, mv as f32, "{value} {gain_per_mv} {baseline}");
                }
            }
        }
    }
}
