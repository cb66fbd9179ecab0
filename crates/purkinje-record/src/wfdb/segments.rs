//! Records made of segments, each a record of its own: fixed layout (the same signals in all) and variable layout (the first
//! segment, of length 0, lists the signals; later ones hold any of them; `~` is a gap).

use std::path::Path;

use super::header::{Header, MAX_SAMPLES, MAX_UNBACKED_SAMPLES, SegmentSpec, SignalSpec};
use super::record::{Digits, Scale, Signal, WfdbRecord, no_samples};
use super::{ReadOptions, files};
use crate::RecordError;

/// A signal of all segments.
pub(super) struct Joined<D> {
    pub spec: SignalSpec,
    pub scales: Vec<Scale>,
    pub digits: D,
}

pub(super) fn read(
    path: &Path,
    header: Header,
    options: &ReadOptions,
) -> Result<WfdbRecord, RecordError> {
    let (frames, joined) = join(path, &header, options, Vec::new)?;
    let signals = joined.into_iter().map(|signal| Signal {
        spec: signal.spec,
        digital: signal.digits,
        scales: signal.scales,
    });
    Ok(WfdbRecord {
        path: path.to_owned(),
        frames: frames as usize,
        signals: signals.collect(),
        header,
    })
}

/// The frames and the signals of all segments, which are read one after another.
pub(super) fn join<D: Digits>(
    path: &Path,
    header: &Header,
    options: &ReadOptions,
    empty: impl Fn() -> D,
) -> Result<(u64, Vec<Joined<D>>), RecordError> {
    let frames = total_frames(path, header)?;
    let variable = header.is_variable_layout();
    let specs = layout(path, header, options)?;
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
    let mut signals: Vec<Joined<D>> = specs
        .into_iter()
        .map(|spec| Joined {
            spec,
            digits: empty(),
            scales: Vec::new(),
        })
        .collect();
    // Samples without a file: memory that only a header asks for.
    let mut unbacked = 0;
    for segment in header.segments.iter().skip(usize::from(variable)) {
        let part = match segment.name.as_str() {
            "~" => None,
            _ => Some(read_segment(path, header, segment, options)?),
        };
        let present: &[Signal] = part.as_ref().map_or(&[], |part| &part.signals);
        for signal in signals.iter().filter(|signal| {
            variable
                && !present
                    .iter()
                    .any(|part| part.name() == signal.spec.description)
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
                    append_gap(signal, segment.frames)?;
                }
            }
            Some(part) => append(path, segment, &mut signals, part, variable)?,
        }
    }
    Ok((frames, signals))
}

/// Frames of all segments, which the master header must confirm.
pub(super) fn total_frames(path: &Path, header: &Header) -> Result<u64, RecordError> {
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
    signals: &mut [Joined<impl Digits>],
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
            parts.iter_mut().find(|part| {
                part.as_ref()
                    .is_some_and(|p| p.name() == signal.spec.description)
            })
        } else {
            parts.get_mut(row)
        };
        match found.and_then(Option::take) {
            Some(part) => append_signal(path, segment, signal, part)?,
            None => append_gap(signal, segment.frames)?,
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

fn append_signal(
    path: &Path,
    segment: &SegmentSpec,
    signal: &mut Joined<impl Digits>,
    part: Signal,
) -> Result<(), RecordError> {
    if part.spec.samples_per_frame != signal.spec.samples_per_frame {
        return Err(segment_error(
            path,
            segment,
            format!(
                "signal `{}`: found {} samples per frame, expected {}",
                signal.spec.description, part.spec.samples_per_frame, signal.spec.samples_per_frame
            ),
        ));
    }
    if part.spec.unit != signal.spec.unit {
        return Err(segment_error(
            path,
            segment,
            format!(
                "signal `{}`: found unit `{}`, expected `{}`",
                signal.spec.description, part.spec.unit, signal.spec.unit
            ),
        ));
    }
    for scale in part.scales {
        push_scale(
            signal,
            Scale {
                from_sample: signal.digits.len() + scale.from_sample,
                ..scale
            },
        );
    }
    signal.digits.add(&part.digital)
}

fn append_gap(signal: &mut Joined<impl Digits>, frames: u64) -> Result<(), RecordError> {
    // No format stores this code except 32, where it means the same.
    const GAP: [i32; 4096] = [i32::MIN; 4096];
    let samples = frames as usize * signal.spec.samples_per_frame as usize;
    if samples == 0 {
        return Ok(());
    }
    push_scale(
        signal,
        Scale {
            from_sample: signal.digits.len(),
            gain: signal.spec.gain,
            baseline: signal.spec.baseline,
            missing: GAP[0],
        },
    );
    (0..samples)
        .step_by(GAP.len())
        .try_for_each(|done| signal.digits.add(&GAP[..GAP.len().min(samples - done)]))
}

fn push_scale<D>(signal: &mut Joined<D>, scale: Scale) {
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
