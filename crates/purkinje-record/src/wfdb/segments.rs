//! Records made of segments, each a record of its own: fixed layout (the same signals in all) and variable layout (the first
//! segment, of length 0, lists the signals; later ones hold any of them; `~` is a gap).

use std::path::Path;

use super::header::{Header, MAX_SAMPLES, MAX_UNBACKED_SAMPLES, SegmentSpec, SignalSpec};
use super::record::{Scale, Signal, WfdbRecord, no_samples};
use super::{ReadOptions, files};
use crate::RecordError;

pub(super) fn read(
    path: &Path,
    header: Header,
    options: &ReadOptions,
) -> Result<WfdbRecord, RecordError> {
    let frames = total_frames(path, &header)?;
    let variable = header.is_variable_layout();
    let specs = layout(path, &header, options)?;
    if specs.len() != header.signal_count {
        return Err(segment_error(
            path,
            &header.segments[0],
            format!(
                "found {} signals, expected {} as the master header says",
                specs.len(),
                header.signal_count
            ),
        ));
    }
    let per_frame: u64 = specs.iter().map(|s| u64::from(s.samples_per_frame)).sum();
    match frames.checked_mul(per_frame) {
        Some(total) if total <= MAX_SAMPLES => {}
        total => {
            return Err(RecordError::TooLarge {
                path: path.to_owned(),
                what: "number of samples",
                found: total.unwrap_or(u64::MAX),
                limit: MAX_SAMPLES,
            });
        }
    }
    let mut signals: Vec<Signal> = specs
        .into_iter()
        .map(|spec| Signal {
            spec,
            digital: Vec::new(),
            scales: Vec::new(),
        })
        .collect();
    // Samples without a file: memory that only a header asks for.
    let mut unbacked = 0;
    for segment in header.segments.iter().skip(usize::from(variable)) {
        let part = match segment.name.as_str() {
            "~" => None,
            _ => Some(read_segment(path, &header, segment, options)?),
        };
        let present: &[Signal] = part.as_ref().map_or(&[], |part| &part.signals);
        for signal in signals.iter().filter(|signal| {
            variable && !present.iter().any(|part| part.name() == signal.name())
                || present.is_empty()
        }) {
            unbacked += segment.frames * u64::from(signal.spec.samples_per_frame);
        }
        if unbacked > MAX_UNBACKED_SAMPLES {
            return Err(RecordError::TooLarge {
                path: path.to_owned(),
                what: "number of samples in gaps",
                found: unbacked,
                limit: MAX_UNBACKED_SAMPLES,
            });
        }
        match part {
            None => {
                for signal in &mut signals {
                    append_gap(signal, segment.frames);
                }
            }
            Some(part) => append(path, segment, &mut signals, part, variable)?,
        }
    }
    Ok(WfdbRecord {
        path: path.to_owned(),
        header,
        frames: frames as usize,
        signals,
    })
}

/// Frames of all segments, which the master header must confirm.
fn total_frames(path: &Path, header: &Header) -> Result<u64, RecordError> {
    let sum = header
        .segments
        .iter()
        .try_fold(0u64, |sum, segment| sum.checked_add(segment.frames));
    match (sum, header.frames) {
        (Some(0), _) => Err(no_samples(path, "all its segments are empty")),
        (Some(sum), Some(frames)) if frames != 0 && frames != sum => Err(RecordError::Content {
            path: path.to_owned(),
            field: "the number of samples on the record line".into(),
            found: frames.to_string(),
            expected: format!("{sum}, the sum of its segments; correct the header"),
        }),
        (Some(sum), _) => Ok(sum),
        (None, _) => Err(RecordError::TooLarge {
            path: path.to_owned(),
            what: "number of frames",
            found: u64::MAX,
            limit: MAX_SAMPLES,
        }),
    }
}

/// The signals of the whole record: those of the layout segment, or of the first segment that is not a gap.
fn layout(
    path: &Path,
    header: &Header,
    options: &ReadOptions,
) -> Result<Vec<SignalSpec>, RecordError> {
    let first = header.segments.iter().find(|segment| segment.name != "~");
    let Some(first) = first else {
        return Err(no_samples(path, "all its segments are gaps"));
    };
    Ok(segment_header(path, header, first, options)?.1.signals)
}

fn segment_header(
    path: &Path,
    master: &Header,
    segment: &SegmentSpec,
    options: &ReadOptions,
) -> Result<(std::path::PathBuf, Header), RecordError> {
    let file = files::named(
        path,
        &format!("{}.hea", segment.name),
        options.links_outside,
    )?;
    let header = Header::read(&file.path)?;
    if header.is_multi_segment() {
        return Err(segment_error(
            path,
            segment,
            "it consists of segments itself; expected a record with signals".into(),
        ));
    }
    if header.rate_hz != master.rate_hz {
        return Err(segment_error(
            path,
            segment,
            format!(
                "found {} Hz, expected {} Hz as the master header says",
                header.rate_hz, master.rate_hz
            ),
        ));
    }
    Ok((file.path, header))
}

fn read_segment(
    path: &Path,
    master: &Header,
    segment: &SegmentSpec,
    options: &ReadOptions,
) -> Result<WfdbRecord, RecordError> {
    let (file, header) = segment_header(path, master, segment, options)?;
    let part = WfdbRecord::read_with(&file, header, options)?;
    if part.frames as u64 != segment.frames {
        return Err(segment_error(
            path,
            segment,
            format!(
                "found {} samples, expected {} as the master header says",
                part.frames, segment.frames
            ),
        ));
    }
    Ok(part)
}

fn append(
    path: &Path,
    segment: &SegmentSpec,
    signals: &mut [Signal],
    part: WfdbRecord,
    variable: bool,
) -> Result<(), RecordError> {
    if !variable && part.signals.len() != signals.len() {
        return Err(segment_error(
            path,
            segment,
            format!(
                "found {} signals, expected {} as in the first segment",
                part.signals.len(),
                signals.len()
            ),
        ));
    }
    let mut parts: Vec<Option<Signal>> = part.signals.into_iter().map(Some).collect();
    for (row, signal) in signals.iter_mut().enumerate() {
        let found = if variable {
            parts
                .iter_mut()
                .find(|part| part.as_ref().is_some_and(|p| p.name() == signal.name()))
        } else {
            parts.get_mut(row)
        };
        match found.and_then(Option::take) {
            Some(part) => join(path, segment, signal, part)?,
            None => append_gap(signal, segment.frames),
        }
    }
    if let Some(extra) = parts.into_iter().flatten().next() {
        return Err(segment_error(
            path,
            segment,
            format!(
                "found signal `{}`, expected only signals of the layout",
                extra.name()
            ),
        ));
    }
    Ok(())
}

fn join(
    path: &Path,
    segment: &SegmentSpec,
    signal: &mut Signal,
    part: Signal,
) -> Result<(), RecordError> {
    if part.spec.samples_per_frame != signal.spec.samples_per_frame {
        return Err(segment_error(
            path,
            segment,
            format!(
                "signal `{}`: found {} samples per frame, expected {}",
                signal.name(),
                part.spec.samples_per_frame,
                signal.spec.samples_per_frame
            ),
        ));
    }
    if part.spec.unit != signal.spec.unit {
        return Err(segment_error(
            path,
            segment,
            format!(
                "signal `{}`: found unit `{}`, expected `{}`",
                signal.name(),
                part.spec.unit,
                signal.spec.unit
            ),
        ));
    }
    for scale in part.scales {
        push_scale(
            signal,
            Scale {
                from_sample: signal.digital.len() + scale.from_sample,
                ..scale
            },
        );
    }
    if signal.digital.is_empty() {
        signal.digital = part.digital;
    } else {
        signal.digital.extend_from_slice(&part.digital);
    }
    Ok(())
}

fn append_gap(signal: &mut Signal, frames: u64) {
    // No format stores this code except 32, where it means the same.
    const GAP: i32 = i32::MIN;
    let samples = frames as usize * signal.spec.samples_per_frame as usize;
    if samples == 0 {
        return;
    }
    push_scale(
        signal,
        Scale {
            from_sample: signal.digital.len(),
            gain: signal.spec.gain,
            baseline: signal.spec.baseline,
            missing: GAP,
        },
    );
    let len = signal.digital.len() + samples;
    signal.digital.resize(len, GAP);
}

fn push_scale(signal: &mut Signal, scale: Scale) {
    let same = signal.scales.last().is_some_and(|last| {
        Scale {
            from_sample: last.from_sample,
            ..scale
        } == *last
    });
    if !same {
        signal.scales.push(scale);
    }
}

fn segment_error(path: &Path, segment: &SegmentSpec, problem: String) -> RecordError {
    RecordError::Segment {
        path: path.to_owned(),
        segment: segment.name.clone(),
        problem,
    }
}
