//! WFDB records (PhysioNet): header, signal files, annotation files.
//!
//! [`Header`] is what a `.hea` file says, [`WfdbRecord`] every digital sample without loss, [`WfdbRecord::to_recording`]
//! the way to millivolts. [`crate::open`] does all of it, with a fast path for the common case: one file in format 16.

mod annotation;
mod direct;
pub(crate) mod files;
mod flac;
mod format;
mod grammar;
mod header;
mod kernel;
pub(crate) mod long;
mod record;
mod segments;
pub(crate) mod spooled;
mod to_recording;

pub use annotation::{MAX_ANNOTATION_BYTES, WfdbAnnotation, WfdbAnnotations, read_annotations};
pub use format::Format;
pub use header::{
    Date, Header, HeaderError, MAX_HEADER_BYTES, MAX_SAMPLES, MAX_SAMPLES_PER_FRAME, MAX_SEGMENTS,
    MAX_SIGNALS, MAX_UNBACKED_SAMPLES, SegmentSpec, SignalSpec, Time,
};
pub use record::{Scale, Signal, WfdbRecord};
pub(crate) use to_recording::{open, open_whole};

/// Reads a record with all its digital samples; `path` is that of its header.
///
/// # Errors
/// As [`WfdbRecord::read`], with samples verified.
pub fn read_record(path: impl AsRef<std::path::Path>) -> Result<WfdbRecord, crate::RecordError> {
    WfdbRecord::read(path.as_ref(), &ReadOptions::default())
}

/// How strictly a record is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// Compare every signal with the checksum of the header, or else with its first value, where it gives them.
    pub verify: bool,
    /// Accept signal files that are links out of the folder of the header.
    pub links_outside: bool,
}

impl Default for ReadOptions {
    /// Samples are verified, links out of the folder refused.
    fn default() -> Self {
        ReadOptions {
            verify: true,
            links_outside: false,
        }
    }
}
