//! Long records read stretch by stretch: a stretch is a record of its own whose header begins further on in the signal files.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::header::Header;
use super::record::{groups, verify_sums};
use super::to_recording::{annotations_beside, choose, open_header};
use super::{Format, ReadOptions, files, spooled};
use crate::open::OpenOptions;
use crate::reader::{Lazy, Stretches};
use crate::wfdb::WfdbRecord;
use crate::{RecordError, Recording};

/// Frames at which a stretch may begin in every format: samples of 10 and 12 bits come in groups of two and three.
const ALIGNED: u64 = 6;
/// Samples of all signals that are read at once to compare checksums.
const BLOCK_SAMPLES: u64 = 1 << 20;

/// A long record.
#[derive(Debug)]
pub(crate) struct Long {
    path: PathBuf,
    header: Header,
    frames: u64,
    /// Samples of a lead in a frame.
    per_frame: usize,
    options: OpenOptions,
}

/// Opens the record of a header that was read from `path`, when it has more than `beyond` samples and can be read in stretches; with what is known
/// about it, and the samples of a lead.
pub(crate) fn open(
    path: &Path,
    header: &Header,
    options: &OpenOptions,
    beyond: u64,
) -> Result<Option<Lazy>, RecordError> {
    let seekable =
        |format: Format| !(format.is_flac() || matches!(format, Format::F8 | Format::Null));
    let fits = |header: &Header| {
        let mut signals = header.signals.iter();
        signals.all(|signal| seekable(signal.format) && signal.skew_frames == 0)
    };
    if header.is_multi_segment() || header.signals.is_empty() || !fits(header) {
        return spooled::open(path, header, options, beyond);
    }
    let samples = header
        .signals
        .iter()
        .map(|s| u64::from(s.samples_per_frame));
    let samples = samples
        .sum::<u64>()
        .saturating_mul(header.frames.unwrap_or(u64::MAX));
    if samples <= beyond {
        return Ok(None);
    }
    let groups = groups(path, header)?;
    let per_frame: u64 = groups.iter().map(|group| group.frame_samples).sum();
    let mut frames = header.frames;
    for group in &groups {
        let file = files::named(path, group.file, options.links_outside)?;
        let head = &group.signals[0];
        let available = file.size.saturating_sub(head.byte_offset);
        let in_file = head.format.samples_in(available).unwrap_or(0) / group.frame_samples;
        // What is too short is reported by the reader of whole records.
        if *frames.get_or_insert(in_file) > in_file {
            return Ok(None);
        }
    }
    let frames = frames.unwrap_or(0);
    if frames.saturating_mul(per_frame) <= beyond {
        return Ok(None);
    }
    let mut long = Long {
        path: path.to_owned(),
        header: header.clone(),
        frames,
        per_frame: 1,
        options: OpenOptions {
            verify: false,
            annotators: Vec::new(),
            ..options.clone()
        },
    };
    let mut head = long.frames(0..1)?;
    long.per_frame = head.len();
    if options.verify {
        long.verify(per_frame, options)?;
    }
    head = head.stretch(&(0..0));
    head.annotations = annotations_beside(path, options, head.rate_hz, long.header.rate_hz)?;
    let len = frames as usize * long.per_frame;
    Ok(Some(Lazy::new(head, len, long)))
}

impl Stretches for Long {
    fn read(&self, stretch: &Range<usize>) -> Result<Recording, RecordError> {
        let per_frame = self.per_frame as u64;
        let first = stretch.start as u64 / per_frame / ALIGNED * ALIGNED;
        let end = (stretch.end as u64).div_ceil(per_frame).max(first);
        let read = self.frames(first..end)?;
        let before = (first * per_frame) as usize;
        let own = stretch.start - before..stretch.end - before;
        Ok(match own == (0..read.len()) {
            true => read,
            false => read.stretch(&own),
        })
    }
}

impl Long {
    /// Some frames; the first is a multiple of [`ALIGNED`].
    fn frames(&self, frames: Range<u64>) -> Result<Recording, RecordError> {
        let header = self.part(&frames)?;
        open_header(&self.path, header, &self.options)
    }

    /// The header of some frames.
    fn part(&self, frames: &Range<u64>) -> Result<Header, RecordError> {
        let mut header = self.header.clone();
        let offsets: Vec<(Range<usize>, u64)> = groups(&self.path, &self.header)?
            .iter()
            .map(|group| {
                let before = frames.start * group.frame_samples;
                let bytes = group.signals[0].format.bytes_for(before).unwrap_or(0);
                (group.first..group.first + group.signals.len(), bytes)
            })
            .collect();
        for (signals, bytes) in offsets {
            for signal in &mut header.signals[signals] {
                signal.byte_offset += bytes;
                signal.checksum = None;
                signal.initial_value = None;
            }
        }
        header.frames = Some(frames.end - frames.start);
        Ok(header)
    }

    /// Compares checksums, block by block.
    fn verify(&self, per_frame: u64, options: &OpenOptions) -> Result<(), RecordError> {
        let rows = choose(&self.path, self.header.signals.iter(), options)?;
        let read = ReadOptions {
            verify: false,
            links_outside: options.links_outside,
        };
        let mut sums = vec![(None, 0i16); rows.len()];
        let block = (BLOCK_SAMPLES / per_frame).max(1) / ALIGNED * ALIGNED + ALIGNED;
        for first in (0..self.frames).step_by(block as usize) {
            let header = self.part(&(first..(first + block).min(self.frames)))?;
            let part = WfdbRecord::read_with(&self.path, header, &read)?;
            for (&row, (initial, sum)) in rows.iter().zip(&mut sums) {
                let digital = &part.signals[row].digital;
                if initial.is_none() {
                    *initial = digital.first().copied();
                }
                *sum = digital
                    .iter()
                    .fold(*sum, |sum, &value| sum.wrapping_add(value as i16));
            }
        }
        for (&row, (initial, sum)) in rows.iter().zip(sums) {
            verify_sums(&self.path, &self.header.signals[row], initial, sum)?;
        }
        Ok(())
    }
}
