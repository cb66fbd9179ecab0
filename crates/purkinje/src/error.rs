//! What can go wrong, as one type for everything the library does.

use std::path::{Path, PathBuf};

use purkinje_cluster::ClusterError;
use purkinje_eval::EvalError;
use purkinje_models::batch::BatchError;
use purkinje_models::checkpoint::CheckpointError;
use purkinje_models::layers::WeightError;
use purkinje_record::{RecordError, ShapeError};
use purkinje_signal::preprocess::PreprocessError;
use purkinje_store::StoreError;
use purkinje_train::TrainError;

/// A result of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be done. Its sentence says what was found, what was expected and what to do; [`Error::help`]
/// gives further advice where there is some.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A recording that cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Samples that are no recording.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// A recording that cannot be preprocessed.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// A store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Weights, a model folder or a published checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Parameters that do not fill a network.
    #[error(transparent)]
    Weights(#[from] WeightError),
    /// Recordings that cannot form a batch.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// Training.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Code books.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Metrics.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// A file or folder.
    #[error("cannot {action} `{path}`: {source}", path = .path.display())]
    File {
        /// What was tried: `read`, `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A published checkpoint that leaves parameters of its model open.
    #[error("`{}` does not fill the model: {}; nothing was written", .file.display(), crate::import::unfilled(.report))]
    Unfilled {
        /// The file.
        file: PathBuf,
        /// What became of every tensor.
        report: Box<purkinje_models::checkpoint::KeyReport>,
    },
    /// Something a system cannot do.
    #[error("{capability}: {system} cannot do this; {}", systems_that_can(.able))]
    Unsupported {
        /// What was asked for.
        capability: String,
        /// The system of the model.
        system: String,
        /// The systems that can.
        able: Vec<String>,
    },
    /// A value that makes no sense, or parts that do not fit together.
    #[error("{message}")]
    Invalid {
        /// What was found, and what was expected.
        message: String,
        /// What to do.
        help: Option<String>,
    },
    /// The work was ended on request.
    #[error("stopped on request")]
    Stopped,
    /// An error, and what was being done.
    #[error("{doing}")]
    While {
        /// What was being done: `cannot load the model ...`.
        doing: String,
        /// Why it failed.
        source: Box<Error>,
    },
}

fn systems_that_can(able: &[String]) -> String {
    match able {
        [] => "no system here can".to_owned(),
        able => format!("systems that can: {}", able.join(", ")),
    }
}

impl Error {
    /// An error of one sentence.
    pub fn invalid(message: impl Into<String>) -> Self {
        Error::Invalid {
            message: message.into(),
            help: None,
        }
    }

    /// The same with advice, where it has none.
    #[must_use]
    pub fn with_help(self, advice: impl Into<String>) -> Self {
        match self {
            Error::Invalid { message, .. } => Error::Invalid {
                message,
                help: Some(advice.into()),
            },
            other => other,
        }
    }

    /// The same, within something that was being done.
    #[must_use]
    pub fn during(self, doing: impl Into<String>) -> Self {
        Error::While {
            doing: doing.into(),
            source: Box::new(self),
        }
    }

    /// What to do, where that is not part of the sentence: that of the innermost cause.
    pub fn help(&self) -> Option<&str> {
        match self {
            Error::Invalid { help, .. } => help.as_deref(),
            Error::While { source, .. } => source.help(),
            _ => None,
        }
    }

    /// Whether the work was ended on request.
    pub fn is_stop(&self) -> bool {
        match self {
            Error::Stopped | Error::Train(TrainError::Stopped { .. }) => true,
            Error::While { source, .. } => source.is_stop(),
            _ => false,
        }
    }

    /// An error of the file system.
    pub fn file(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Error::File {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// Adds to an error what was being done.
pub trait During<T> {
    /// The error within `doing`.
    ///
    /// # Errors
    /// Those there were.
    fn during(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Error>> During<T> for std::result::Result<T, E> {
    fn during(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| error.into().during(doing()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_name_what_can_be_done_instead() {
        let unsupported = |able: &[&str]| Error::Unsupported {
            capability: "vectors of beats".into(),
            system: "A".into(),
            able: able.iter().map(|name| (*name).to_owned()).collect(),
        };
        let text = unsupported(&["B", "C"]).to_string();
        assert_eq!(
            text,
            "vectors of beats: A cannot do this; systems that can: B, C"
        );
        assert!(unsupported(&[]).to_string().ends_with("no system here can"));
        let inner = Error::invalid("x is 3, expected 4").with_help("give 4");
        let outer = inner.during("cannot load");
        assert_eq!(
            (outer.to_string().as_str(), outer.help()),
            ("cannot load", Some("give 4"))
        );
        assert!(Error::Stopped.during("a").is_stop());
    }
}
