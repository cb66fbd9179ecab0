//! The common record read directly: one plain file in format 16, one sample per frame, no skew. Digital samples become
//! millivolts in one pass over the file.

use std::path::Path;

use super::header::{Header, MAX_SAMPLES, SignalSpec};
use super::to_recording::{choose, finish, gain_per_mv, lead, unit};
use super::{Format, files, record};
use crate::open::OpenOptions;
use crate::{Digital, LeadSet, RecordError, Recording};

/// Frames handled at once: the block of every lead stays in the first-level cache.
const BLOCK: usize = 64;

/// Opens the record when it is of the common kind; `None` leaves it to the general reader.
pub(super) fn open(
    path: &Path,
    header: &Header,
    options: &OpenOptions,
) -> Result<Option<Recording>, RecordError> {
    let Some(first) = header.signals.first() else {
        return Ok(None);
    };
    let common = |s: &SignalSpec| {
        s.format == Format::F16
            && s.samples_per_frame == 1
            && s.skew_frames == 0
            && s.byte_offset == first.byte_offset
            && s.file == first.file
    };
    let Some(frames) = header.frames.filter(|_| header.signals.iter().all(common)) else {
        return Ok(None);
    };
    let columns = header.signals.len();
    let rows = choose(path, header.signals.iter(), options)?;
    let file = files::named(path, &first.file, options.links_outside)?;
    let bytes_needed = frames
        .checked_mul(columns as u64)
        .filter(|&samples| samples <= MAX_SAMPLES)
        .map(|samples| samples * 2);
    // Too large or too short: the general reader says so.
    let Some(bytes_needed) =
        bytes_needed.filter(|&needed| needed <= file.size.saturating_sub(first.byte_offset))
    else {
        return Ok(None);
    };
    let frames = frames as usize;
    let mut lanes = Vec::with_capacity(rows.len());
    for &row in &rows {
        let spec = &header.signals[row];
        lanes.push(Lane::new(
            row,
            spec,
            gain_per_mv(spec.gain, unit(path, spec)?),
        ));
    }
    let bytes = files::read_range(&file.path, first.byte_offset, bytes_needed)?;
    let mut samples_mv = vec![0.0; lanes.len() * frames];
    let mut digital = if options.keep_digital {
        vec![0; lanes.len() * frames]
    } else {
        Vec::new()
    };
    convert(&bytes, columns, &mut lanes, &mut samples_mv, &mut digital);
    if options.verify {
        for lane in &lanes {
            let at = 2 * lane.column;
            let initial = i16::from_le_bytes([bytes[at], bytes[at + 1]]);
            record::verify_sums(
                path,
                &header.signals[lane.column],
                Some(i32::from(initial)),
                lane.sum,
            )?;
        }
    }
    let leads = LeadSet::new(
        rows.iter()
            .map(|&row| lead(&header.signals[row], row))
            .collect(),
    );
    let mut recording = finish(path, header, leads, header.rate_hz, samples_mv, options)?;
    if options.keep_digital {
        let (gains, baselines) = lanes
            .iter()
            .map(|lane| (lane.gain_per_mv, lane.baseline))
            .unzip();
        recording.digital = Some(Box::new(Digital::new(digital, gains, baselines)));
    }
    Ok(Some(recording))
}

/// One lead on its way.
struct Lane {
    /// Column in the file.
    column: usize,
    gain_per_mv: f64,
    baseline: i32,
    /// Whether single precision gives the same result as double precision rounded at the end.
    single: bool,
    /// Sum of the samples modulo 65536.
    sum: i16,
}

impl Lane {
    fn new(column: usize, spec: &SignalSpec, gain_per_mv: f64) -> Lane {
        // The difference is then an exact f32 (24 bits), so the one rounding is that of the division, which double precision
        // followed by rounding reproduces (53 >= 2 * 24 + 2 bits).
        let single = spec.baseline.unsigned_abs() < 1 << 20
            && f64::from(gain_per_mv as f32) == gain_per_mv
            && (gain_per_mv as f32).is_normal();
        Lane {
            column,
            gain_per_mv,
            baseline: spec.baseline,
            single,
            sum: 0,
        }
    }
}

/// `bytes` `[time, column]` as 16 bits become `samples_mv` `[lane, time]` and, unless it is empty, `digital` `[lane, time]`.
fn convert(
    bytes: &[u8],
    columns: usize,
    lanes: &mut [Lane],
    samples_mv: &mut [f32],
    digital: &mut [i16],
) {
    let frames = bytes.len() / (2 * columns);
    let mut block = [0i16; BLOCK];
    let mut start = 0;
    for frames_bytes in bytes.chunks(2 * columns * BLOCK) {
        let len = frames_bytes.len() / (2 * columns);
        for (row, lane) in lanes.iter_mut().enumerate() {
            let block = &mut block[..len];
            for (sample, frame) in block.iter_mut().zip(frames_bytes.chunks_exact(2 * columns)) {
                let at = 2 * lane.column;
                *sample = i16::from_le_bytes([frame[at], frame[at + 1]]);
            }
            lane.sum = block.iter().fold(lane.sum, |sum, &v| sum.wrapping_add(v));
            let at = row * frames + start;
            scale(lane, block, &mut samples_mv[at..at + len]);
            if !digital.is_empty() {
                digital[at..at + len].copy_from_slice(block);
            }
        }
        start += len;
    }
}

fn scale(lane: &Lane, block: &[i16], out: &mut [f32]) {
    if lane.single {
        let (gain, baseline) = (lane.gain_per_mv as f32, lane.baseline);
        for (out, &value) in out.iter_mut().zip(block) {
            let mv = (i32::from(value) - baseline) as f32 / gain;
            *out = if value == Digital::MISSING {
                f32::NAN
            } else {
                mv
            };
        }
    } else {
        for (out, &value) in out.iter_mut().zip(block) {
            let mv = (f64::from(value) - f64::from(lane.baseline)) / lane.gain_per_mv;
            *out = if value == Digital::MISSING {
                f32::NAN
            } else {
                mv as f32
            };
        }
    }
}
