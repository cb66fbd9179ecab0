//! What can end a run.

use std::path::{Path, PathBuf};

use purkinje_models::batch::BatchError;
use purkinje_models::layers::WeightError;

/// Why training could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A batch does not fit the network.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// A checkpoint that cannot be used.
    #[error("checkpoint {path}: {problem}; resume with the configuration that wrote it, or choose another output folder", path = .path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Data that cannot become a batch.
    #[error("{0}")]
    Data(String),
    /// A file that cannot be read or written.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Too few records.
    #[error(
        "there are too few records for one batch of {batch}; give more data or a smaller batch"
    )]
    NoData {
        /// Batch size asked for.
        batch: usize,
    },
    /// A name that a loss or metric cannot have.
    #[error(
        "{objective} names a loss or metric `{name}`, which the log has already; give it a name of its own"
    )]
    Name {
        /// The objective.
        objective: String,
        /// The name found.
        name: String,
    },
    /// Divergence, see [`train`](crate::train).
    #[error(
        "training diverged at step {step}: {found}; {kept}; start again in another folder with a lower learning rate (`--lr`, here at most {lr}), and look for recordings of poor quality in the data"
    )]
    Diverged {
        /// The step, from 1.
        step: usize,
        /// What shows it.
        found: String,
        /// What is left of the run.
        kept: String,
        /// The highest learning rate of the run.
        lr: f64,
    },
    /// The event file.
    #[error(transparent)]
    Events(#[from] crate::tensorboard::EventFileError),
    /// The log.
    #[error(transparent)]
    Log(#[from] crate::run_log::RunLogError),
    /// A schedule that makes no sense.
    #[error(transparent)]
    Schedule(#[from] crate::schedule::ScheduleError),
    /// The observer asked to stop in the middle of a validation; [`train`](crate::train) makes it [`TrainError::Stopped`].
    #[error("interrupted")]
    Interrupted,
    /// The observer asked for it.
    #[error("interrupted after step {step}; {kept}")]
    Stopped {
        /// Updates made.
        step: usize,
        /// What is left of the run.
        kept: String,
    },
    /// Gradients of parts of a batch, for a loss that is none of parts.
    #[error(
        "{objective} compares the records of a batch with each other, so a batch cannot be made of {accumulate} parts; set accumulate to 1, with a batch {accumulate} times as large if it fits into memory"
    )]
    WholeBatch {
        /// The objective.
        objective: String,
        /// Batches of one update that were asked for.
        accumulate: usize,
    },
    /// Weights of another model.
    #[error(transparent)]
    Weights(#[from] WeightError),
}

impl TrainError {
    /// The error of a file that cannot be read or written.
    pub fn io(path: &Path, source: std::io::Error) -> Self {
        TrainError::Io {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn checkpoint(path: &Path, problem: String) -> Self {
        TrainError::Checkpoint {
            path: path.to_owned(),
            problem,
        }
    }
}
