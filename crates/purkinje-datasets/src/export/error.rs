//! Why a store cannot be exported.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use purkinje_signal::preprocess::Mismatch;
use purkinje_store::StoreError;

use super::Layout;

/// Why a store cannot be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The store was prepared in a way that does not lead to what the layout wants.
    #[error("the store `{}` cannot be written as `{layout}`: {source}", store.display())]
    Contract {
        /// The layout.
        layout: Layout,
        /// The folder of the store.
        store: PathBuf,
        /// What differs and what to do.
        source: Box<Mismatch>,
    },
    /// A contract was asked for that the original program cannot read.
    #[error(
        "the layout `{layout}` holds {expected}, but the preprocessing asked for gives {found}; choose another one"
    )]
    Unfit {
        /// The layout.
        layout: Layout,
        /// What the preprocessing gives.
        found: String,
        /// What the program reads.
        expected: String,
    },
    /// The target folder is there.
    #[error(
        "`{}` is there already{}",
        path.display(),
        if *exported { "; choose another folder, or have the export in it replaced" }
        else { " and holds no export; choose another folder" }
    )]
    Exists {
        /// The folder.
        path: PathBuf,
        /// Whether it holds an export, which may be replaced.
        exported: bool,
    },
    /// Nothing would be written.
    #[error(
        "no record of the store can be written as `{layout}`{}",
        reasons(left_out)
    )]
    NoRecords {
        /// The layout.
        layout: Layout,
        /// Why records were left out, and how many.
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
    /// The caller asked to stop.
    #[error("stopped on request; nothing was exported")]
    Stopped,
    /// The store cannot be read, or the place not be written to.
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
        return ": it has none with labels and a part (train, val, test)".to_owned();
    }
    let reasons: Vec<String> = left_out
        .iter()
        .map(|(reason, count)| format!("{reason}: {count}"))
        .collect();
    format!(". Left out: {}", reasons.join("; "))
}
