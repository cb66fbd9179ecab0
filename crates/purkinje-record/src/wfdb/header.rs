//! The header file of a WFDB record (`.hea`): grammar of
//! <https://wochenblat.physionet.org/wfdb/doc/header.html>, and what real files add to it.

use std::path::{Component, Path};

use super::Format;
use super::files;
use crate::RecordError;

/// Bytes of the largest header that is read.
pub const MAX_HEADER_BYTES: u64 = 16 << 20;
/// Signals of the widest record that is read.
pub const MAX_SIGNALS: usize = 4096;
/// Segments of the longest multi-segment record that is read.
pub const MAX_SEGMENTS: usize = 1 << 20;
/// Samples of one signal in one frame.
pub const MAX_SAMPLES_PER_FRAME: u32 = 1 << 16;
/// Samples of all signals of one record together.
pub const MAX_SAMPLES: u64 = 1 << 31;

/// Samples that no file holds: gaps between segments, signals without a file, runs that FLAC packs into nothing. Larger ones
/// are refused, because a header of a few bytes could ask for any amount of memory with them.
pub const MAX_UNBACKED_SAMPLES: u64 = 1 << 26;

/// A header, parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Name on the record line, as written.
    pub name: String,
    /// Frames per second.
    pub rate_hz: f64,
    /// Counter frequency in hertz, when given.
    pub counter_hz: Option<f64>,
    /// Counter value at the first sample, when given.
    pub base_counter: Option<f64>,
    /// Frames in the record; `None` when the header leaves it to the file size.
    pub frames: Option<u64>,
    /// Time of day at the first sample, when given in a known form.
    pub start_time: Option<Time>,
    /// Date of the first sample, when given in a known form.
    pub start_date: Option<Date>,
    /// The signals in order; empty for a multi-segment record, whose segments define them.
    pub signals: Vec<SignalSpec>,
    /// Number of signals on the record line.
    pub signal_count: usize,
    /// The segments in order; empty for an ordinary record.
    pub segments: Vec<SegmentSpec>,
    /// Comment lines without `#` and surrounding blanks, in order.
    pub comments: Vec<String>,
}

/// One signal line.
#[derive(Clone, Debug, PartialEq)]
pub struct SignalSpec {
    /// Signal file, relative to the folder of the header; `~` when there is none.
    pub file: String,
    /// How the samples are stored.
    pub format: Format,
    /// Samples of this signal in a frame.
    pub samples_per_frame: u32,
    /// Frames by which this signal comes too late in the file.
    pub skew_frames: u32,
    /// Bytes before the first sample in the file.
    pub byte_offset: u64,
    /// Digital units per physical unit; never 0.
    pub gain: f64,
    /// Digital value of physical zero.
    pub baseline: i32,
    /// Physical unit as written (`mV` when absent).
    pub unit: String,
    /// Bits of the analogue-digital converter, when given.
    pub adc_resolution_bits: Option<u32>,
    /// Digital value in the middle of the converter's range.
    pub adc_zero: i32,
    /// First sample, when given.
    pub initial_value: Option<i32>,
    /// Sum of all samples modulo 65536, when given.
    pub checksum: Option<i16>,
    /// Block size for special files, when given.
    pub block_size: Option<i64>,
    /// Description, usually the name of the lead; empty when absent.
    pub description: String,
}

/// One segment line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentSpec {
    /// Record name of the segment; `~` for a gap.
    pub name: String,
    /// Frames in the segment.
    pub frames: u64,
}

/// A time of day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Time {
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 up to 60.
    pub second: f64,
}

/// A calendar date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// Year, four digits; far in the future in shifted records.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

/// What is wrong with a header, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, {field}: found {found}, expected {expected}; correct the header")]
pub struct HeaderError {
    /// Line number, from 1.
    pub line: usize,
    /// Field of that line.
    pub field: &'static str,
    /// What is written there, in quotes.
    pub found: String,
    /// What would be right.
    pub expected: String,
}

impl Header {
    /// Reads a header file. A path that it names and that leads nowhere is taken for the file of the same name beside it.
    ///
    /// # Errors
    /// When the file cannot be read, is larger than [`MAX_HEADER_BYTES`], or breaks the grammar.
    pub fn read(path: &Path) -> Result<Header, RecordError> {
        let bytes = files::read_small(path, MAX_HEADER_BYTES, "size in bytes")?;
        // Older headers hold comments in Latin-1.
        let text = crate::names::text(&bytes);
        let mut header = Header::parse(&text).map_err(|source| RecordError::Header {
            path: path.to_owned(),
            source,
        })?;
        header.forget_blank_sums();
        Ok(header.beside(path))
    }

    /// The same where paths that lead nowhere are the names of files beside the header at `path`, if these are there: records are
    /// published in other folders than they were made in. A comment says so.
    fn beside(mut self, path: &Path) -> Header {
        let folder = path.parent().unwrap_or(Path::new(""));
        let found = |named: &str, ending: &str| -> Option<String> {
            let (_, name) = named.rsplit_once('/')?;
            // What leads out of the folder is refused later.
            let mut parts = Path::new(named).components();
            if !parts.all(|part| matches!(part, Component::Normal(_))) {
                return None;
            }
            let is_there = |name: &str| folder.join(format!("{name}{ending}")).exists();
            (!name.is_empty() && !is_there(named) && is_there(name)).then(|| name.to_owned())
        };
        let mut moved: Option<(String, String)> = None;
        for signal in &mut self.signals {
            // Signals of one file follow each other.
            let name = match &moved {
                Some((from, to)) if *from == signal.file => Some(to.clone()),
                _ => found(&signal.file, ""),
            };
            if let Some(name) = name {
                let from = std::mem::replace(&mut signal.file, name.clone());
                if moved.as_ref().is_none_or(|(own, _)| *own != from) {
                    self.comments
                        .push(format!("`{name}` beside the header was read for `{from}`"));
                    moved = Some((from, name));
                }
            }
        }
        for segment in &mut self.segments {
            if let Some(name) = found(&segment.name, ".hea") {
                segment.name = name;
            }
        }
        self
    }

    /// First values and checksums that are 0 in every line were never computed; writers fill the columns with them.
    fn forget_blank_sums(&mut self) {
        let blank = |own: &SignalSpec| (own.initial_value, own.checksum) == (Some(0), Some(0));
        if !self.signals.iter().all(blank) {
            return;
        }
        // Differences begin from the first value.
        let others = self
            .signals
            .iter_mut()
            .filter(|own| own.format != Format::F8);
        for signal in others {
            (signal.initial_value, signal.checksum) = (None, None);
        }
    }

    /// Whether the record consists of segments with records of their own.
    pub fn is_multi_segment(&self) -> bool {
        !self.segments.is_empty()
    }

    /// Whether the record is multi-segment with signals that come and go: its first segment, of length 0, is the layout.
    pub fn is_variable_layout(&self) -> bool {
        self.segments.first().is_some_and(|first| first.frames == 0)
    }
}

impl SignalSpec {
    /// Whether the signal has no file: all its samples are missing.
    pub fn is_null(&self) -> bool {
        self.file == "~"
    }
}
