//! Everything that can be wrong with a recording on disk.

use std::path::{Path, PathBuf};

use crate::ShapeError;
use crate::wfdb::HeaderError;

/// Why a recording could not be read. Every message names the file, what was found, what was expected and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The operating system refused.
    #[error("cannot read `{}`: {source}; check that the file is there and readable", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that another one names is not there.
    #[error("`{}` is missing, but `{}` names it; put it into the same folder as the header or remove the record", path.display(), named_by.display())]
    MissingFile {
        /// The absent file.
        path: PathBuf,
        /// The header that names it.
        named_by: PathBuf,
    },
    /// Something that is not a plain file.
    #[error("`{}` is not a plain file; expected a recording, not a folder, pipe or device", path.display())]
    NotAFile {
        /// What was named.
        path: PathBuf,
    },
    /// No reader for this kind of file.
    #[error("`{}` is of no known kind; expected a WFDB record (.hea, or .dat/.mat with the .hea beside it), a table (.csv, .tsv, .txt, .parquet), an array (.npy, .npz, .mat, .h5), .edf, .bdf, ISHNE Holter (.ecg), SCP-ECG (.scp), DICOM (.dcm), or the .xml of MUSE, Philips or HL7 aECG, also in .gz or .zip", path.display())]
    UnknownKind {
        /// What was named.
        path: PathBuf,
    },
    /// A kind that is known, but has no reader.
    #[error("`{}` is {kind}, which is not supported; convert it to {instead}", path.display())]
    Unsupported {
        /// What was named.
        path: PathBuf,
        /// The kind.
        kind: &'static str,
        /// What to convert it to.
        instead: &'static str,
    },
    /// A WFDB header that does not follow the grammar.
    #[error("`{}`: {source}", path.display())]
    Header {
        /// The header file.
        path: PathBuf,
        /// Line, field, what was found and what was expected.
        source: HeaderError,
    },
    /// A limit that protects memory was passed.
    #[error("`{}`: {what} is {found}, more than the limit of {limit}; if the file is sound, split it", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What is too large, with its unit.
        what: &'static str,
        /// How large it is.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// A header names a file outside its own folder.
    #[error("`{}` names the file `{name}`, which lies outside the folder of the header; expected a file in that folder. If the link is meant (datalad, git-annex), follow it with `--follow-links`", header.display())]
    OutsideFolder {
        /// The header.
        header: PathBuf,
        /// The name as written.
        name: String,
    },
    /// A file ends too early.
    #[error("`{}` ends too early: found {found} bytes, expected at least {expected} ({what}); copy the file again, or correct the header if it is wrong", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Bytes present.
        found: u64,
        /// Bytes needed.
        expected: u64,
        /// What needs them.
        what: String,
    },
    /// There is nothing to read.
    #[error("`{}` holds no samples: {why}", path.display())]
    NoSamples {
        /// The file.
        path: PathBuf,
        /// Why, and what to open instead.
        why: String,
    },
    /// A FLAC signal file that cannot be decoded, or does not fit its header.
    #[error("`{}` is not the FLAC stream that its header describes: {problem}; copy the file again, or correct the header", path.display())]
    Flac {
        /// The signal file.
        path: PathBuf,
        /// Found and expected.
        problem: String,
    },
    /// The sum of the samples differs from the header.
    #[error("`{}`: checksum of signal `{signal}` is {found}, expected {expected} as its header says; the samples or the header were changed. Copy the record again, or skip the check with `--no-verify`", path.display())]
    Checksum {
        /// The header.
        path: PathBuf,
        /// Name of the signal.
        signal: String,
        /// Sum of the samples modulo 65536, signed.
        found: i16,
        /// What the header says.
        expected: i16,
    },
    /// The first sample differs from the header.
    #[error("`{}`: first sample of signal `{signal}` is {found}, expected {expected} as its header says; the samples or the header were changed. Copy the record again, or skip the check with `--no-verify`", path.display())]
    InitialValue {
        /// The header.
        path: PathBuf,
        /// Name of the signal.
        signal: String,
        /// First sample in the file.
        found: i32,
        /// What the header says.
        expected: i32,
    },
    /// A unit that is not a voltage.
    #[error("`{}`: signal `{signal}` is in `{unit}`, which is no voltage; expected one of V, mV, uV, nV. Ask for the ECG leads by name (`--leads`)", path.display())]
    Unit {
        /// The file.
        path: PathBuf,
        /// Name of the signal.
        signal: String,
        /// The unit as written.
        unit: String,
    },
    /// Signals of different rates in one recording.
    #[error("`{}`: signal `{first}` has {first_per_frame} samples per frame but `{second}` has {second_per_frame}; a recording has one rate. Ask for leads of one rate by name (`--leads`), or average the samples of a frame with `--frames average`", path.display())]
    MixedRates {
        /// The header.
        path: PathBuf,
        /// One signal.
        first: String,
        /// Its samples per frame.
        first_per_frame: u32,
        /// Another signal.
        second: String,
        /// Its samples per frame.
        second_per_frame: u32,
    },
    /// A lead that was asked for is not there.
    #[error("`{}` has no lead {lead}; it has: {present}. Ask for leads that are there", path.display())]
    MissingLead {
        /// The file.
        path: PathBuf,
        /// The lead that was asked for.
        lead: String,
        /// The leads of the file.
        present: String,
    },
    /// Segments of a multi-segment record that do not fit together.
    #[error("`{}`: segment `{segment}`: {problem}", path.display())]
    Segment {
        /// The master header.
        path: PathBuf,
        /// The segment.
        segment: String,
        /// Found and expected.
        problem: String,
    },
    /// An annotation file that does not follow the MIT format.
    #[error("`{}`, byte {offset}: {problem}; expected annotations in the MIT format. Copy the file again", path.display())]
    Annotation {
        /// The annotation file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong.
        problem: String,
    },
    /// An array or table that is not a recording.
    #[error("`{}`: {field} is {found}; expected {expected}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Which part of it.
        field: String,
        /// What was found.
        found: String,
        /// What was expected, and what to do.
        expected: String,
    },
    /// Samples do not fit the leads.
    #[error("`{}`: {source}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// Found and expected.
        source: ShapeError,
    },
}

impl RecordError {
    /// The error where a file holds `also` besides what was looked into.
    pub(crate) fn beside(mut self, also: &[String]) -> RecordError {
        if let RecordError::MissingLead { present, .. } = &mut self
            && !also.is_empty()
        {
            let also: Vec<&str> = also.iter().map(String::as_str).collect();
            *present += &format!(
                " in the group that was read (also in the file: {})",
                also.join("; ")
            );
        }
        self
    }

    /// The same about `to`, where it is about a file below `folder`.
    pub(crate) fn moved(mut self, folder: &Path, to: &Path) -> RecordError {
        let (path, other) = match &mut self {
            RecordError::MissingFile { path, named_by } => (path, Some(named_by)),
            RecordError::OutsideFolder { header, .. } => (header, None),
            RecordError::Io { path, .. }
            | RecordError::NotAFile { path }
            | RecordError::UnknownKind { path }
            | RecordError::Unsupported { path, .. }
            | RecordError::Header { path, .. }
            | RecordError::TooLarge { path, .. }
            | RecordError::Truncated { path, .. }
            | RecordError::NoSamples { path, .. }
            | RecordError::Flac { path, .. }
            | RecordError::Checksum { path, .. }
            | RecordError::InitialValue { path, .. }
            | RecordError::Unit { path, .. }
            | RecordError::MixedRates { path, .. }
            | RecordError::MissingLead { path, .. }
            | RecordError::Segment { path, .. }
            | RecordError::Annotation { path, .. }
            | RecordError::Content { path, .. }
            | RecordError::Shape { path, .. } => (path, None),
        };
        for path in std::iter::once(path).chain(other) {
            if let Ok(inside) = path.strip_prefix(folder) {
                *path = match to.file_stem() == Some(inside.as_os_str()) {
                    true => to.to_owned(),
                    // A file in an archive.
                    false => to.join(inside),
                };
            }
        }
        self
    }
}

/// [`RecordError::Content`], with no more of what was found than a message needs.
pub(crate) fn content(path: &Path, field: &str, found: &str, expected: &str) -> RecordError {
    let found: String = found.chars().take(80).collect();
    listed(path, field, &found, expected)
}

/// The same where what was found is a list whose length is bounded.
pub(crate) fn listed(path: &Path, field: &str, found: &str, expected: &str) -> RecordError {
    RecordError::Content {
        path: path.to_owned(),
        field: field.into(),
        found: found.chars().take(1000).collect(),
        expected: expected.into(),
    }
}
