//! What can be wrong with a source as a whole.

use std::path::PathBuf;

use thiserror::Error;

/// Why a source cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The root is not there.
    #[error("`{}` is not a folder; name the folder that holds the records", path.display())]
    NoFolder {
        /// What was named.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot read `{}`: {source}; check that it is there and readable", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The root does not hold the data set.
    #[error("`{}` does not hold this data set; expected {expected}", path.display())]
    Layout {
        /// What was named.
        path: PathBuf,
        /// Which files a download has.
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
    /// A file of the source is no sound recording or container.
    #[error(transparent)]
    Record(#[from] purkinje_record::RecordError),
    /// There is no data set of this name.
    #[error("unknown data set `{name}`: expected one of {known}")]
    UnknownDataSet {
        /// What was named.
        name: String,
        /// The names there are.
        known: String,
    },
    /// An option that the data set does not have, or a value it does not take.
    #[error("{data_set}: {option} is `{found}`; expected {expected}")]
    Option {
        /// The data set.
        data_set: String,
        /// The option.
        option: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// No record anywhere below the root.
    #[error(
        "no record below `{}`; expected recordings (.hea, .edf, .dcm, .xml, .h5, .npy, .csv, ...)",
        path.display()
    )]
    NoRecords {
        /// The folder.
        path: PathBuf,
    },
    /// A table is not well-formed.
    #[error("table `{}`, line {line}: {reason}", path.display())]
    Table {
        /// The table.
        path: PathBuf,
        /// Line, counted from 1 with the header line.
        line: u64,
        /// What is wrong, what was expected.
        reason: String,
    },
    /// A table lacks a column.
    #[error(
        "table `{}` has no column for {wanted}; it has: {}. {advice}",
        path.display(),
        present.join(", ")
    )]
    NoColumn {
        /// The table.
        path: PathBuf,
        /// What the column is for, with its usual names.
        wanted: String,
        /// The columns there are.
        present: Vec<String>,
        /// What to do.
        advice: &'static str,
    },
    /// A split that nobody published for the data set.
    #[error(
        "`{split}` is no published split of {set}; {}",
        if known.is_empty() { "there is none".to_owned() } else { format!("there are: {}", known.join(", ")) }
    )]
    UnknownSplit {
        /// The data set.
        set: String,
        /// What was asked for.
        split: String,
        /// The splits there are.
        known: Vec<String>,
    },
}
