//! Errors of exporting a store.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use purkinje_signal::preprocess::Mismatch;
use purkinje_store::StoreError;

use super::Layout;

/// Errors of exporting a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The preprocessing that the layout needs cannot be reached from that of the store.
    #[error("the store `{}` cannot be written as `{layout}`: {source}", store.display())]
    Contract {
        /// The layout.
        layout: Layout,
        /// The folder of the store.
        store: PathBuf,
        /// The difference and what to do.
        source: Box<Mismatch>,
    },
    /// The requested preprocessing does not fit the original program.
    #[error(
        "the requested preprocessing gives {found}, expected {expected} for the layout `{layout}`; choose another `--preset`"
    )]
    Unfit {
        /// The layout.
        layout: Layout,
        /// The result of the preprocessing.
        found: String,
        /// The input of the program.
        expected: String,
    },
    /// The target folder exists.
    #[error(
        "`{}` already exists{}",
        path.display(),
        if *exported { "; choose another folder, or replace the export in it with `--overwrite`" }
        else { " and is not an export; choose another folder" }
    )]
    Exists {
        /// The folder.
        path: PathBuf,
        /// Whether it holds an export, which may be replaced.
        exported: bool,
    },
    /// No record can be exported.
    #[error(
        "no record of the store can be written as `{layout}`{}",
        reasons(left_out)
    )]
    NoRecords {
        /// The layout.
        layout: Layout,
        /// The number of records left out, by reason.
        left_out: BTreeMap<String, usize>,
    },
    /// A file of the export cannot be written.
    #[error("cannot write `{}`: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The caller requested a stop.
    #[error("interrupted; nothing was exported")]
    Stopped,
    /// The store cannot be read, or the folder cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ExportError {
    /// An [`ExportError::Write`] for `map_err`.
    pub(super) fn write(path: &Path) -> impl FnOnce(io::Error) -> ExportError {
        let path = path.to_owned();
        move |source| ExportError::Write { path, source }
    }
}

fn reasons(left_out: &BTreeMap<String, usize>) -> String {
    if left_out.is_empty() {
        return ": no record has labels and is in a split (train, val, test)".to_owned();
    }
    let reasons: Vec<String> = left_out
        .iter()
        .map(|(reason, count)| format!("{reason}: {count}"))
        .collect();
    format!(". Left out: {}", reasons.join("; "))
}
