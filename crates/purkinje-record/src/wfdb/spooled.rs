//! Long records that cannot be read from the middle: those made of segments, and FLAC. They are decoded once, segment by segment or
//! block by block, into temporary files without a name; stretches are read from there.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::header::{Header, SignalSpec};
use super::record::{Digits, Scale, Signal, WfdbRecord, groups, missing, verify_sums};
use super::segments::{self, Joined};
use super::to_recording::{annotations_beside, choose};
use super::{ReadOptions, files, flac};
use crate::mat::Class;
use crate::open::OpenOptions;
use crate::reader::{Lazy, Stretches};
use crate::values::{Raw, Spool, Values};
use crate::{RecordError, Recording};

#[derive(Debug)]
struct Spooled {
    path: PathBuf,
    header: Header,
    signals: Vec<SpooledSignal>,
    /// Samples of a lead in a frame.
    per_frame: usize,
    options: OpenOptions,
}

#[derive(Debug)]
struct SpooledSignal {
    spec: SignalSpec,
    scales: Vec<Scale>,
    digital: Raw,
}

/// Samples of a signal on their way into a file.
struct Spooling {
    spool: Spool,
    first: Option<i32>,
    sum: i16,
}

impl Spooling {
    fn new(path: &Path) -> Spooling {
        Spooling {
            spool: Spool::new(path, Class::Int32),
            first: None,
            sum: 0,
        }
    }
}

impl Digits for Spooling {
    fn len(&self) -> usize {
        self.spool.len()
    }

    fn add(&mut self, values: &[i32]) -> Result<(), RecordError> {
        self.first = self.first.or_else(|| values.first().copied());
        for &value in values {
            self.sum = self.sum.wrapping_add(value as i16);
            self.spool.push(f64::from(value))?;
        }
        Ok(())
    }
}

/// Opens the record of a header that was read from `path`, when it has more than `beyond` samples and is of such a kind.
pub(crate) fn open(
    path: &Path,
    header: &Header,
    options: &OpenOptions,
    beyond: u64,
) -> Result<Option<Lazy>, RecordError> {
    let read = ReadOptions {
        verify: options.verify,
        links_outside: options.links_outside,
    };
    let (frames, joined) = if header.is_multi_segment() {
        let frames = segments::total_frames(path, header)?;
        if frames.saturating_mul(header.signal_count as u64) <= beyond {
            return Ok(None);
        }
        segments::join(path, header, &read, || Spooling::new(path))?
    } else {
        let streams = header.signals.iter();
        let mut streams = streams.map(|s| s.format.is_flac() && s.skew_frames == 0);
        let samples = header.signals.iter().map(|s| s.samples_per_frame);
        let samples = u64::from(samples.sum::<u32>()) * header.frames.unwrap_or(0);
        if header.signals.is_empty() || !streams.all(|stream| stream) || samples <= beyond {
            return Ok(None);
        }
        unpack(path, header, options)?
    };
    let signals = joined.into_iter().map(|signal| {
        Ok(SpooledSignal {
            spec: signal.spec,
            scales: signal.scales,
            digital: signal.digits.spool.finish(1)?,
        })
    });
    let mut spooled = Spooled {
        path: path.to_owned(),
        header: header.clone(),
        signals: signals.collect::<Result<_, RecordError>>()?,
        per_frame: 1,
        options: options.clone(),
    };
    let mut head = spooled.frames(&(0..1))?;
    spooled.per_frame = head.len();
    head.annotations = annotations_beside(path, options, head.rate_hz, header.rate_hz)?;
    let len = frames as usize * spooled.per_frame;
    Ok(Some(Lazy::new(head, len, spooled)))
}

/// The signals of FLAC files, each decoded in a pass.
fn unpack(
    path: &Path,
    header: &Header,
    options: &OpenOptions,
) -> Result<(u64, Vec<Joined<Spooling>>), RecordError> {
    let frames = header.frames.unwrap_or(0);
    let mut signals = Vec::new();
    for group in groups(path, header)? {
        let file = files::named(path, group.file, options.links_outside)?;
        let head = &group.signals[0];
        let samples = frames.saturating_mul(u64::from(head.samples_per_frame));
        let mut digits: Vec<Spooling> = group.signals.iter().map(|_| Spooling::new(path)).collect();
        let stream = flac::Stream::open(&file, head.byte_offset, head.format)?;
        stream.decode(&mut digits, Some(samples))?;
        signals.extend(
            group
                .signals
                .iter()
                .zip(digits)
                .map(|(spec, digits)| Joined {
                    scales: vec![Scale {
                        from_sample: 0,
                        gain: spec.gain,
                        baseline: spec.baseline,
                        missing: missing(spec.format),
                    }],
                    spec: spec.clone(),
                    digits,
                }),
        );
    }
    if options.verify {
        for row in choose(path, header.signals.iter(), options)? {
            let digits = &signals[row].digits;
            verify_sums(path, &header.signals[row], digits.first, digits.sum)?;
        }
    }
    Ok((frames, signals))
}

impl Spooled {
    fn frames(&self, frames: &Range<usize>) -> Result<Recording, RecordError> {
        let signals = self.signals.iter().map(|signal| {
            let per_frame = signal.spec.samples_per_frame as usize;
            let samples = frames.start * per_frame..frames.end * per_frame;
            let mut digital = Vec::with_capacity(samples.len());
            signal.digital.read(samples.clone(), 0..1, &mut digital)?;
            Ok(Signal {
                spec: signal.spec.clone(),
                digital: digital.into_iter().map(|value| value as i32).collect(),
                scales: scales_of(&signal.scales, &samples),
            })
        });
        let record = WfdbRecord {
            path: self.path.clone(),
            header: self.header.clone(),
            frames: frames.len(),
            signals: signals.collect::<Result<_, RecordError>>()?,
        };
        record.to_recording(&self.options)
    }
}

impl Stretches for Spooled {
    fn read(&self, stretch: &Range<usize>) -> Result<Recording, RecordError> {
        let first = stretch.start / self.per_frame;
        let frames = first..stretch.end.div_ceil(self.per_frame).max(first);
        let before = first * self.per_frame;
        let read = self.frames(&frames)?;
        Ok(read.stretch(&(stretch.start - before..stretch.end - before)))
    }
}

/// The scales that hold in a stretch of samples, counted from its start.
fn scales_of(scales: &[Scale], samples: &Range<usize>) -> Vec<Scale> {
    let next = |at: usize| scales.get(at + 1).map_or(usize::MAX, |s| s.from_sample);
    let own = scales.iter().enumerate().filter(|&(at, scale)| {
        next(at) > samples.start && scale.from_sample < samples.end.max(samples.start + 1)
    });
    own.map(|(_, scale)| Scale {
        from_sample: scale.from_sample.saturating_sub(samples.start),
        ..*scale
    })
    .collect()
}
