//! Errors of stores.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::source::ImportError;

/// An error of writing, opening or reading a store.
#[derive(Debug, Error)]
pub enum StoreError {
    /// An error of the operating system.
    #[error("cannot {action} `{}`: {source}{}", path.display(), hint(source))]
    Io {
        /// What was attempted, as a verb phrase.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The folder is not a store.
    #[error(
        "`{}` is not a store: it has no `store.json`. Give the folder that `prepare` wrote, or run `prepare` first",
        path.display()
    )]
    NotAStore {
        /// The folder.
        path: PathBuf,
    },
    /// A preparation was begun and not finished.
    #[error(
        "the store `{}` is not finished: its preparation stopped after {items_done} records. Run the same `prepare` again; it continues where it stopped",
        path.display()
    )]
    Unfinished {
        /// The folder.
        path: PathBuf,
        /// Records processed before the stop.
        items_done: usize,
    },
    /// The folder holds parts of a store that were not merged.
    #[error(
        "`{}` holds parts of a store that are not merged; prepare the missing parts, then run `store merge`",
        path.display()
    )]
    InParts {
        /// The folder.
        path: PathBuf,
    },
    /// Parts of a store cannot be merged because some are missing.
    #[error(
        "{} in {}. Prepare {} with the same options, or give their folders too",
        if missing.is_empty() { "no finished part was found".to_owned() }
        else { format!("of {of} parts, these are missing or not finished: {}", numbers(missing)) },
        folders.iter().map(|folder| format!("`{}`", folder.display())).collect::<Vec<_>>().join(", "),
        if missing.len() == 1 { "it" } else { "them" }
    )]
    MissingParts {
        /// The folders looked into.
        folders: Vec<PathBuf>,
        /// The numbers of the missing parts, from 1.
        missing: Vec<usize>,
        /// Number of parts; 0 if none was found.
        of: usize,
    },
    /// `store.json` is invalid.
    #[error("`{}` is not a valid description of a store: {reason}", path.display())]
    Description {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// `store.json` was written by another schema version.
    #[error(
        "the store `{}` has schema version {found}, expected 1 to {expected}: {}",
        path.display(),
        if found > expected { "update the program" } else { "prepare the store again" }
    )]
    SchemaVersion {
        /// The folder.
        path: PathBuf,
        /// The version found.
        found: u32,
        /// The newest version this library reads, the one it writes.
        expected: u32,
    },
    /// A shard is missing, has the wrong size, or does not hold what `store.json` says.
    #[error("shard `{}` is damaged: {reason}. Copy the store again, or prepare it again", path.display())]
    Shard {
        /// The shard file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The bytes of a shard are not those that were written.
    #[error(
        "shard `{}` has changed since it was written: its BLAKE3 is {found}, `store.json` says {expected}. Copy the store again, or prepare it again",
        path.display()
    )]
    Checksum {
        /// The shard file.
        path: PathBuf,
        /// The hash of the file, in hex.
        found: String,
        /// The hash in `store.json`, in hex.
        expected: String,
    },
    /// A row index is out of range.
    #[error("row {index} does not exist: the store has {rows} rows, counted from 0")]
    NoRow {
        /// The requested index.
        index: usize,
        /// Number of rows.
        rows: usize,
    },
    /// A label set does not exist.
    #[error(
        "the store has no label set `{found}`; expected one of: {}",
        listed(known)
    )]
    NoLabelSet {
        /// The requested name.
        found: String,
        /// The existing names.
        known: Vec<String>,
    },
    /// A row cannot be written because it contradicts the store.
    #[error("record `{id}` cannot be stored: {reason}")]
    Row {
        /// The record.
        id: String,
        /// What is wrong.
        reason: String,
    },
    /// The target folder holds a store made from other records or with other settings.
    #[error(
        "`{}` already holds a store made from other records or with other settings. Choose another folder, or remove this one first",
        path.display()
    )]
    OtherStore {
        /// The folder.
        path: PathBuf,
    },
    /// Another process prepares the same store.
    #[error("`{}` is being written by another process; wait for it or choose another folder", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// More records failed than allowed.
    #[error(
        "{failed} of {records} records failed, more than the {allowed} allowed. The store with the other records is complete; `{}` lists the reasons. Allow more with `--max-failed`",
        outcomes.display()
    )]
    TooManyFailed {
        /// Records that failed.
        failed: usize,
        /// Records with files.
        records: usize,
        /// Failures allowed.
        allowed: usize,
        /// The table of outcomes.
        outcomes: PathBuf,
    },
    /// No record could be stored.
    #[error("none of the {records} records could be stored. First reason: {first}")]
    NothingStored {
        /// Records listed.
        records: usize,
        /// The first record, its file and the reason given.
        first: String,
    },
    /// The caller asked to stop.
    #[error("interrupted after {items_done} of {items} records; {}", kept_in_words(*kept))]
    Stopped {
        /// Records processed.
        items_done: usize,
        /// Those whose shards are finished: they are not processed again.
        kept: usize,
        /// Records listed.
        items: usize,
    },
    /// The preparation cannot be carried out as described.
    #[error("invalid settings: {reason}")]
    Settings {
        /// What is wrong.
        reason: String,
    },
    /// The source of the records cannot be used.
    #[error(transparent)]
    Import(#[from] ImportError),
}

fn kept_in_words(kept: usize) -> String {
    match kept {
        0 => "no shard was finished, so nothing is kept".to_owned(),
        _ => format!("the first {kept} are kept: the same command goes on from there"),
    }
}

impl StoreError {
    /// An [`StoreError::Io`] for `map_err`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.to_owned();
        move |source| StoreError::Io {
            action,
            path,
            source,
        }
    }

    pub(crate) fn shard(path: &Path, reason: impl Into<String>) -> StoreError {
        StoreError::Shard {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }
}

/// Advice on common errors.
fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ". Make room on the disk and run the same command again; finished records are kept"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            ". Choose a folder with write permission"
        }
        _ => "",
    }
}

fn numbers(missing: &[usize]) -> String {
    const SHOWN: usize = 20;
    let mut text: Vec<String> = missing.iter().take(SHOWN).map(usize::to_string).collect();
    if missing.len() > SHOWN {
        text.push(format!("and {} more", missing.len() - SHOWN));
    }
    text.join(", ")
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
