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
    /// No record anywhere below the root.
    #[error(
        "no record below `{}`; expected WFDB headers (.hea), or .npy or .csv files",
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
