//! Digital samples of a record, and what they mean physically.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::format::Slots;
use super::header::{Header, MAX_SAMPLES, MAX_UNBACKED_SAMPLES, SignalSpec};
use super::{Format, ReadOptions, files, flac, segments};
use crate::{RecordError, Unit};

/// A record with all its samples as stored, without loss.
#[derive(Clone, Debug, PartialEq)]
pub struct WfdbRecord {
    /// The header file it was read from.
    pub path: PathBuf,
    /// The header; of a multi-segment record, the master header.
    pub header: Header,
    /// Frames in the record.
    pub frames: usize,
    /// The signals in order.
    pub signals: Vec<Signal>,
}

/// One signal: digital samples and how to scale them.
#[derive(Clone, Debug, PartialEq)]
pub struct Signal {
    /// What the header says about it; of a multi-segment record, the layout segment or the first one.
    pub spec: SignalSpec,
    /// Digital samples, `frames * spec.samples_per_frame`, skew undone.
    pub digital: Vec<i32>,
    /// Scales in order of their first sample; more than one only in multi-segment records.
    pub scales: Vec<Scale>,
}

/// How digital samples become physical ones, from one sample on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// First sample of the signal for which this scale holds.
    pub from_sample: usize,
    /// Digital units per physical unit.
    pub gain: f64,
    /// Digital value of physical zero.
    pub baseline: i32,
    /// Digital value that means "missing".
    pub missing: i32,
}

impl WfdbRecord {
    /// Reads the record of the header at `path`.
    ///
    /// # Errors
    /// When header or signal files are missing, broken or contradict each other; see [`RecordError`].
    pub fn read(path: &Path, options: &ReadOptions) -> Result<WfdbRecord, RecordError> {
        let header = Header::read(path)?;
        Self::read_with(path, header, options)
    }

    pub(super) fn read_with(
        path: &Path,
        header: Header,
        options: &ReadOptions,
    ) -> Result<WfdbRecord, RecordError> {
        if header.is_multi_segment() {
            segments::read(path, header, options)
        } else {
            read_single(path, header, options)
        }
    }
}

impl Signal {
    /// Name of the signal: its description.
    pub fn name(&self) -> &str {
        &self.spec.description
    }

    /// The unit, when it is a voltage.
    pub fn unit(&self) -> Option<Unit> {
        self.spec.unit.parse().ok()
    }

    /// Physical samples in the signal's own unit, `(digital - baseline) / gain`; NaN where missing.
    pub fn physical(&self) -> Vec<f64> {
        let mut out = Vec::with_capacity(self.digital.len());
        for (i, scale) in self.scales.iter().enumerate() {
            let end = self
                .scales
                .get(i + 1)
                .map_or(self.digital.len(), |next| next.from_sample);
            out.extend(self.digital[scale.from_sample..end].iter().map(|&value| {
                if value == scale.missing {
                    f64::NAN
                } else {
                    (f64::from(value) - f64::from(scale.baseline)) / scale.gain
                }
            }));
        }
        out
    }

    /// Physical samples averaged over each frame: one sample per frame; NaN where any sample of the frame is missing.
    ///
    /// As in the WFDB software the mean is that of the digital samples, rounded towards zero to a whole number.
    pub fn physical_per_frame(&self) -> Vec<f64> {
        self.averaged().physical()
    }

    /// The signal with one digital sample per frame.
    pub(super) fn averaged(&self) -> Cow<'_, Signal> {
        let per_frame = self.spec.samples_per_frame as usize;
        if per_frame == 1 {
            return Cow::Borrowed(self);
        }
        let mut scales = self.scales.iter().peekable();
        let mut missing = 0;
        let mut digital = Vec::with_capacity(self.digital.len() / per_frame);
        for (i, frame) in self.digital.chunks_exact(per_frame).enumerate() {
            while let Some(scale) = scales.next_if(|scale| scale.from_sample <= i * per_frame) {
                missing = scale.missing;
            }
            digital.push(if frame.contains(&missing) {
                missing
            } else {
                let sum: i64 = frame.iter().map(|&value| i64::from(value)).sum();
                // A mean lies within the range of its samples.
                (sum / per_frame as i64) as i32
            });
        }
        let scales = self.scales.iter().map(|scale| Scale {
            from_sample: scale.from_sample / per_frame,
            ..*scale
        });
        Cow::Owned(Signal {
            spec: SignalSpec {
                samples_per_frame: 1,
                ..self.spec.clone()
            },
            digital,
            scales: scales.collect(),
        })
    }

    fn new(spec: SignalSpec, digital: Vec<i32>) -> Signal {
        let scale = Scale {
            from_sample: 0,
            gain: spec.gain,
            baseline: spec.baseline,
            missing: missing(spec.format),
        };
        Signal {
            spec,
            digital,
            scales: vec![scale],
        }
    }
}

/// Samples of a signal as they are decoded.
pub(super) trait Digits {
    /// How many there are.
    fn len(&self) -> usize;

    fn add(&mut self, values: &[i32]) -> Result<(), RecordError>;
}

impl Digits for Vec<i32> {
    fn len(&self) -> usize {
        self.len()
    }

    fn add(&mut self, values: &[i32]) -> Result<(), RecordError> {
        self.extend_from_slice(values);
        Ok(())
    }
}

/// The missing code; for format 8, which has none, a value that it cannot hold.
pub(super) fn missing(format: Format) -> i32 {
    format.missing_code().unwrap_or(i32::MIN)
}

/// Consecutive signal lines with one file: their samples alternate in it.
pub(super) struct Group<'a> {
    pub file: &'a str,
    /// Row of its first signal.
    pub first: usize,
    pub signals: &'a [SignalSpec],
    /// Samples of all its signals in a frame.
    pub frame_samples: u64,
}

/// The signal files of a header in order.
pub(super) fn groups<'a>(path: &Path, header: &'a Header) -> Result<Vec<Group<'a>>, RecordError> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut first = 0;
    for signals in header.signals.chunk_by(|a, b| a.file == b.file) {
        let file = signals[0].file.as_str();
        if file != "~" && groups.iter().any(|group| group.file == file) {
            return Err(disagree(
                path,
                file,
                "the signal lines of one file must follow each other",
            ));
        }
        let head = &signals[0];
        if signals
            .iter()
            .any(|s| s.format != head.format || s.byte_offset != head.byte_offset)
        {
            return Err(disagree(
                path,
                file,
                "all signals of one file must have one format and one byte offset",
            ));
        }
        if (file == "~") != (head.format == Format::Null) {
            return Err(disagree(
                path,
                file,
                "format 0 and the file name `~` belong together",
            ));
        }
        if head.format.is_flac() {
            if signals.len() > flac::MAX_CHANNELS {
                return Err(disagree(path, file, "a FLAC file has at most 8 signals"));
            }
            if signals
                .iter()
                .any(|s| s.samples_per_frame != head.samples_per_frame)
            {
                return Err(disagree(
                    path,
                    file,
                    "all signals of one FLAC file must have the same samples per frame",
                ));
            }
        }
        groups.push(Group {
            file,
            first,
            signals,
            frame_samples: signals.iter().map(|s| u64::from(s.samples_per_frame)).sum(),
        });
        first += signals.len();
    }
    Ok(groups)
}

fn disagree(path: &Path, file: &str, rule: &str) -> RecordError {
    RecordError::Content {
        path: path.to_owned(),
        field: format!("the description of signal file `{file}`"),
        found: "contradictory".into(),
        expected: format!("that {rule}; correct the header"),
    }
}

fn read_single(
    path: &Path,
    header: Header,
    options: &ReadOptions,
) -> Result<WfdbRecord, RecordError> {
    let mut frames = header.frames;
    let mut channels: Vec<Vec<i32>> = Vec::with_capacity(header.signals.len());
    if header.signals.is_empty() {
        return Err(no_samples(path, "its header declares no signals"));
    }
    if header.signals.iter().all(SignalSpec::is_null) && frames.is_none() {
        return Err(no_samples(
            path,
            "it is the layout of a multi-segment record; open the header that names it",
        ));
    }
    let groups = groups(path, &header)?;
    let all_per_frame: u64 = groups.iter().map(|group| group.frame_samples).sum();
    let check_total = |frames: u64| match frames.checked_mul(all_per_frame) {
        Some(total) if total <= MAX_SAMPLES => Ok(()),
        total => Err(RecordError::TooLarge {
            path: path.to_owned(),
            what: "number of samples",
            found: total.unwrap_or(u64::MAX),
            limit: MAX_SAMPLES,
        }),
    };
    if let Some(frames) = frames {
        check_total(frames)?;
        let null = groups.iter().filter(|group| group.file == "~");
        let unbacked = frames * null.map(|group| group.frame_samples).sum::<u64>();
        if unbacked > MAX_UNBACKED_SAMPLES {
            return Err(RecordError::TooLarge {
                path: path.to_owned(),
                what: "number of samples of signals without a file",
                found: unbacked,
                limit: MAX_UNBACKED_SAMPLES,
            });
        }
    }
    for group in &groups {
        if group.file == "~" {
            continue;
        }
        let decoded = read_group(path, group, frames, options)?;
        if frames.is_none() {
            check_total(decoded.frames)?;
            if decoded.frames == 0 {
                let why = format!("its signal file `{}` has not even one frame", group.file);
                return Err(no_samples(path, &why));
            }
            frames = Some(decoded.frames);
        }
        channels.resize_with(group.first, Vec::new);
        channels.extend(decoded.channels);
    }
    channels.resize_with(header.signals.len(), Vec::new);
    let frames = frames.unwrap_or(0) as usize;
    let mut signals = Vec::with_capacity(channels.len());
    for (spec, raw) in header.signals.iter().zip(channels) {
        let per_frame = spec.samples_per_frame as usize;
        let len = frames * per_frame;
        if options.verify && !spec.is_null() {
            verify(path, spec, &raw[..len.min(raw.len())])?;
        }
        let skew = (spec.skew_frames as usize).saturating_mul(per_frame);
        let mut digital = raw;
        digital.drain(..skew.min(digital.len()));
        digital.truncate(len);
        digital.resize(len, missing(spec.format));
        signals.push(Signal::new(spec.clone(), digital));
    }
    Ok(WfdbRecord {
        path: path.to_owned(),
        header,
        frames,
        signals,
    })
}

pub(super) fn no_samples(path: &Path, why: &str) -> RecordError {
    RecordError::NoSamples {
        path: path.to_owned(),
        why: why.into(),
    }
}

/// Compares the samples of a signal, as the file has them, with the checksum of the header or else with its first value.
fn verify(path: &Path, spec: &SignalSpec, raw: &[i32]) -> Result<(), RecordError> {
    let sum = raw.iter().fold(0i16, |sum, &v| sum.wrapping_add(v as i16));
    verify_sums(path, spec, raw.first().copied(), sum)
}

pub(super) fn verify_sums(
    path: &Path,
    spec: &SignalSpec,
    first: Option<i32>,
    sum: i16,
) -> Result<(), RecordError> {
    if let Some(expected) = spec.checksum {
        // The checksum covers the first sample, too; writers that cut or reorder signals are known to forget the other field.
        return if expected == sum {
            Ok(())
        } else {
            Err(RecordError::Checksum {
                path: path.to_owned(),
                signal: spec.description.clone(),
                found: sum,
                expected,
            })
        };
    }
    // In format 8 the field is the base of the differences and need not equal the first sample.
    if let (Some(expected), Some(found)) = (spec.initial_value, first)
        && expected != found
        && spec.format != Format::F8
    {
        return Err(RecordError::InitialValue {
            path: path.to_owned(),
            signal: spec.description.clone(),
            found,
            expected,
        });
    }
    Ok(())
}

struct Decoded {
    /// Frames in the file, as far as they were asked for.
    frames: u64,
    /// Per signal the samples as the file has them: those of `frames` frames, and more where skew needs them and the file has them.
    channels: Vec<Vec<i32>>,
}

fn read_group(
    header: &Path,
    group: &Group<'_>,
    frames: Option<u64>,
    options: &ReadOptions,
) -> Result<Decoded, RecordError> {
    let head = &group.signals[0];
    let file = files::named(header, group.file, options.links_outside)?;
    let max_skew = group.signals.iter().map(|s| s.skew_frames).max();
    let max_skew = u64::from(max_skew.unwrap_or(0));
    if head.format.is_flac() {
        let per_frame = u64::from(head.samples_per_frame);
        let samples = frames.map(|frames| frames * per_frame);
        let mut channels = vec![Vec::new(); group.signals.len()];
        let stream = flac::Stream::open(&file, head.byte_offset, head.format)?;
        stream.decode(&mut channels, samples)?;
        let frames = channels[0].len() as u64 / per_frame;
        for channel in &mut channels {
            channel.truncate((frames * per_frame) as usize);
        }
        return Ok(Decoded { frames, channels });
    }
    let available = file.size.saturating_sub(head.byte_offset);
    let in_file = head.format.samples_in(available).unwrap_or(0) / group.frame_samples;
    let frames = frames.unwrap_or(in_file);
    if frames > in_file {
        let needed = frames
            .checked_mul(group.frame_samples)
            .and_then(|samples| head.format.bytes_for(samples))
            .and_then(|bytes| bytes.checked_add(head.byte_offset));
        return Err(RecordError::Truncated {
            path: file.path,
            found: file.size,
            expected: needed.unwrap_or(u64::MAX),
            what: format!(
                "{} signals of {frames} frames in format {}; the file holds {in_file} frames",
                group.signals.len(),
                head.format.code()
            ),
        });
    }
    let to_read = in_file.min(frames.saturating_add(max_skew));
    let samples = to_read * group.frame_samples;
    if samples > MAX_SAMPLES {
        return Err(RecordError::TooLarge {
            path: file.path,
            what: "number of samples",
            found: samples,
            limit: MAX_SAMPLES,
        });
    }
    // Bounded by the file size: `to_read` frames lie in the file.
    let bytes = files::read_range(
        &file.path,
        head.byte_offset,
        head.format.bytes_for(samples).unwrap_or(0),
    )?;
    let mut offset = 0;
    let channels = group
        .signals
        .iter()
        .map(|spec| {
            let slots = Slots {
                frames: to_read as usize,
                frame_samples: group.frame_samples as usize,
                offset,
                per_frame: spec.samples_per_frame as usize,
            };
            offset += slots.per_frame;
            let mut out = Vec::with_capacity(slots.frames * slots.per_frame);
            let initial = spec.initial_value.unwrap_or(spec.adc_zero);
            head.format.decode_signal(&bytes, &slots, initial, &mut out);
            out
        })
        .collect();
    Ok(Decoded { frames, channels })
}
