//! The common record read directly: one plain file in format 16, one sample per frame, no skew. Digital samples become
//! millivolts in one pass over the file.

use std::path::Path;

use super::header::{Header, MAX_SAMPLES, SignalSpec};
use super::kernel::{self, Lane};
use super::to_recording::{choose, finish, gain_per_mv, leads_of, left_out, unit};
use super::{Format, files, record};
use crate::open::OpenOptions;
use crate::{Digital, LeadSet, RecordError, Recording};

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
    let mut lanes = Vec::with_capacity(rows.len());
    let all = leads_of(header.signals.iter(), options);
    for &column in &rows {
        let spec = &header.signals[column];
        lanes.push(Lane {
            column,
            gain_per_mv: gain_per_mv(spec.gain, unit(path, spec, &all[column], options)?),
            baseline: spec.baseline,
            sum: 0,
        });
    }
    let mut initial = Vec::new();
    let converted = files::with_range(&file.path, first.byte_offset, bytes_needed, |bytes| {
        initial.extend(
            bytes
                .chunks_exact(2)
                .take(columns)
                .map(|b| i16::from_le_bytes([b[0], b[1]])),
        );
        kernel::convert(bytes, columns, &mut lanes, options.keep_digital)
    })?;
    if options.verify {
        for lane in &lanes {
            record::verify_sums(
                path,
                &header.signals[lane.column],
                initial.get(lane.column).map(|&v| i32::from(v)),
                lane.sum,
            )?;
        }
    }
    let leads = LeadSet::new(rows.iter().map(|&row| all[row].clone()).collect());
    let mut recording = finish(
        path,
        header,
        leads,
        header.rate_hz,
        converted.samples_mv,
        options,
    )?;
    recording.source.also = left_out(&all, header.signals.iter(), &rows, options);
    if options.keep_digital {
        let (gains, baselines) = lanes
            .iter()
            .map(|lane| (lane.gain_per_mv, lane.baseline))
            .unzip();
        recording.digital = Some(Box::new(Digital::new(converted.digital, gains, baselines)));
    }
    Ok(Some(recording))
}
