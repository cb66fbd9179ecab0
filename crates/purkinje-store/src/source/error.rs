//! Errors of a source as a whole.

use std::path::PathBuf;

use thiserror::Error;

/// Why a source cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The root does not exist.
    #[error("`{}` is not a folder, expected the folder that holds the records", path.display())]
    NoFolder {
        /// The path or name given.
        path: PathBuf,
    },
    /// An error of the operating system.
    #[error("cannot read `{}`: {source}; check that it exists and is readable", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The folder does not hold the data set.
    #[error("`{}` does not hold this data set; expected {expected}", path.display())]
    Layout {
        /// The path or name given.
        path: PathBuf,
        /// The files that a download has.
        expected: &'static str,
    },
    /// A file of the source cannot be used.
    #[error("`{}`: {reason}", path.display())]
    Source {
        /// The file.
        path: PathBuf,
        /// What is wrong, what was expected, what to do.
        reason: String,
    },
    /// A file of the source is not a valid recording or container.
    #[error(transparent)]
    Record(#[from] purkinje_record::RecordError),
    /// Unknown data set.
    #[error("unknown data set `{name}`: expected one of {known}")]
    UnknownDataSet {
        /// The path or name given.
        name: String,
        /// The existing names.
        known: String,
    },
    /// An option that the data set does not have, or an invalid value.
    #[error("{data_set}: {option} is `{found}`; expected {expected}")]
    Option {
        /// The data set.
        data_set: String,
        /// The option.
        option: &'static str,
        /// Its value.
        found: String,
        /// The valid values.
        expected: String,
    },
    /// No record below the folder.
    #[error(
        "no record found below `{}`; expected recordings (.hea, .edf, .dcm, .xml, .h5, .npy, .csv, ...)",
        path.display()
    )]
    NoRecords {
        /// The folder.
        path: PathBuf,
    },
    /// A table has an invalid line.
    #[error("table `{}`, line {line}: {reason}", path.display())]
    Table {
        /// The table.
        path: PathBuf,
        /// Line, counted from 1, including the header.
        line: u64,
        /// What is wrong, what was expected.
        reason: String,
    },
    /// A table lacks a column.
    #[error(
        "table `{}` has the columns {}, expected one for {wanted}. {advice}",
        path.display(),
        present.join(", ")
    )]
    NoColumn {
        /// The table.
        path: PathBuf,
        /// The meaning of the column, with the names expected.
        wanted: String,
        /// The columns found.
        present: Vec<String>,
        /// What to do.
        advice: &'static str,
    },
    /// Not a published split of the data set.
    #[error(
        "unknown split `{split}` of {set}; {}",
        if known.is_empty() { "it has no published splits: leave out `--split`".to_owned() } else { format!("expected one of: {}", known.join(", ")) }
    )]
    UnknownSplit {
        /// The data set.
        set: String,
        /// The requested split.
        split: String,
        /// The existing splits.
        known: Vec<String>,
    },
}
