use std::io;
use std::path::{Path, PathBuf};

/// Errors of features and code books.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// A file or folder that cannot be read or written.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A file that is not what it should be.
    #[error("{path}: {problem}", path = .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// Rows of another width than the table or the code book.
    #[error("{what}: found {found} numbers, expected a whole number of rows of {width}")]
    Shape {
        /// What was given.
        what: &'static str,
        /// Numbers found.
        found: usize,
        /// Numbers of a row.
        width: usize,
    },
    /// A feature that is NaN or infinite.
    #[error(
        "{what}: row {row}, column {column} is {value}, expected finite features; leave the recording out, or replace undefined descriptors"
    )]
    NotFinite {
        /// What was given.
        what: String,
        /// Row, from 0.
        row: usize,
        /// Column, from 0.
        column: usize,
        /// The value.
        value: f32,
    },
    /// A setting out of range.
    #[error("`{setting}` is {found}, expected {expected}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// The value found.
        found: String,
        /// Values allowed.
        expected: String,
    },
    /// A file of another configuration.
    #[error(
        "{path} was written for another {what} (found {found}, expected {expected}); choose another folder, or the configuration that wrote it",
        path = .path.display()
    )]
    Other {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// The value in the file.
        found: String,
        /// The requested value.
        expected: String,
    },
    /// The observer requested a stop.
    #[error("interrupted after batch {batch}; the fit so far is kept")]
    Stopped {
        /// Batches done.
        batch: usize,
    },
}

impl ClusterError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| ClusterError::Io { path, source }
    }

    pub(crate) fn damaged(path: &Path, problem: impl Into<String>) -> Self {
        ClusterError::Damaged {
            path: path.to_owned(),
            problem: problem.into(),
        }
    }
}

/// Fails at the first value that is NaN or infinite.
pub(crate) fn check_finite(what: &str, rows: &[f32], width: usize) -> Result<(), ClusterError> {
    // Sums of products with 0 are 0 unless a value is not finite; independent sums vectorise.
    let mut sums = [0.0f32; 32];
    let (chunks, rest) = rows.as_chunks::<32>();
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value * 0.0;
        }
    }
    if sums.iter().chain(rest).all(|v| v * 0.0 == 0.0) {
        return Ok(());
    }
    let at = rows.iter().position(|v| !v.is_finite()).unwrap_or(0);
    Err(ClusterError::NotFinite {
        what: what.to_owned(),
        row: at / width.max(1),
        column: at % width.max(1),
        value: rows[at],
    })
}

/// Fails unless `rows` is a whole number of rows.
pub(crate) fn check_shape(
    what: &'static str,
    rows: &[f32],
    width: usize,
) -> Result<(), ClusterError> {
    if width > 0 && rows.len().is_multiple_of(width) {
        return Ok(());
    }
    Err(ClusterError::Shape {
        what,
        found: rows.len(),
        width,
    })
}

/// Writes a file atomically.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), ClusterError> {
    purkinje_base::atomic::write_file(path, bytes).map_err(ClusterError::io(path))
}
