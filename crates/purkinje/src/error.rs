//! The error type of the library.

use std::path::{Path, PathBuf};

use purkinje_cluster::ClusterError;
use purkinje_eval::EvalError;
use purkinje_models::batch::BatchError;
use purkinje_models::checkpoint::CheckpointError;
use purkinje_models::layers::WeightError;
use purkinje_record::{RecordError, ShapeError};
use purkinje_signal::preprocess::PreprocessError;
use purkinje_store::StoreError;
use purkinje_text::TextError;
use purkinje_train::TrainError;

/// A result with the error type of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed. The message says what was found, what was expected and what to do; [`Error::help`] gives
/// further advice where there is some.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A recording that cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Samples whose shape does not make a recording.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// A recording that cannot be preprocessed.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// A store that cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Weights, a model folder or a published checkpoint that cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Parameters that are missing or do not fit a network.
    #[error(transparent)]
    Weights(#[from] WeightError),
    /// Recordings that cannot form a batch.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// Training that failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Fitting or reading code books failed.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Metrics that cannot be computed.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// A tokenizer or a text that cannot be used.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A file or folder that cannot be read or written.
    #[error("cannot {action} `{path}`: {source}", path = .path.display())]
    File {
        /// What was attempted: `read`, `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A published checkpoint that lacks parameters of its model.
    #[error("`{}` does not fill the model: {}; nothing was written", .file.display(), crate::import::unfilled(.report))]
    Unfilled {
        /// The file.
        file: PathBuf,
        /// How each tensor was used.
        report: Box<purkinje_models::checkpoint::KeyReport>,
    },
    /// A capability that the model's system does not have.
    #[error("{capability}: not supported by {system}; {}", supported_by(.able))]
    Unsupported {
        /// What was asked for.
        capability: String,
        /// The system of the model.
        system: String,
        /// The systems that support it.
        able: Vec<String>,
    },
    /// An invalid value, or inputs that do not fit together.
    #[error("{message}")]
    Invalid {
        /// What was found, and what was expected.
        message: String,
        /// What to do.
        help: Option<String>,
    },
    /// The work was stopped because the caller asked for it.
    #[error("interrupted")]
    Stopped,
    /// An error with its context.
    #[error("{doing}")]
    While {
        /// The context: `cannot load the model ...`.
        doing: String,
        /// Why it failed.
        source: Box<Error>,
    },
}

fn supported_by(able: &[String]) -> String {
    match able {
        [] => "no system here supports it".to_owned(),
        able => format!("supported by {}", able.join(", ")),
    }
}

impl Error {
    /// An [`Error::Invalid`] with this message.
    pub fn invalid(message: impl Into<String>) -> Self {
        Error::Invalid {
            message: message.into(),
            help: None,
        }
    }

    /// Adds advice to an [`Error::Invalid`]; leaves other errors unchanged.
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

    /// Wraps the error in a context.
    #[must_use]
    pub fn during(self, doing: impl Into<String>) -> Self {
        Error::While {
            doing: doing.into(),
            source: Box::new(self),
        }
    }

    /// Advice that is not part of the message: that of the innermost cause.
    pub fn help(&self) -> Option<&str> {
        match self {
            Error::Invalid { help, .. } => help.as_deref(),
            Error::While { source, .. } => source.help(),
            _ => None,
        }
    }

    /// A word for scripts that says what kind of failure it is, that of the innermost cause: `interrupted`, `diverged`, `record`,
    /// `shape`, `preprocess`, `store`, `checkpoint`, `batch`, `train`, `cluster`, `eval`, `text`, `file`, `unsupported` or `invalid`.
    pub fn code(&self) -> &'static str {
        if self.is_stop() {
            return "interrupted";
        }
        match self {
            Error::Record(_) => "record",
            Error::Shape(_) => "shape",
            Error::Preprocess(_) => "preprocess",
            Error::Store(_) => "store",
            Error::Checkpoint(_) | Error::Weights(_) | Error::Unfilled { .. } => "checkpoint",
            Error::Batch(_) => "batch",
            Error::Train(TrainError::Diverged { .. }) => "diverged",
            Error::Train(_) => "train",
            Error::Cluster(_) => "cluster",
            Error::Eval(_) => "eval",
            Error::Text(_) => "text",
            Error::File { .. } => "file",
            Error::Unsupported { .. } => "unsupported",
            Error::Invalid { .. } | Error::Stopped => "invalid",
            Error::While { source, .. } => source.code(),
        }
    }

    /// Whether the work was stopped because the caller asked for it.
    pub fn is_stop(&self) -> bool {
        match self {
            Error::Stopped | Error::Train(TrainError::Stopped { .. } | TrainError::Interrupted) => {
                true
            }
            Error::Store(StoreError::Stopped { .. })
            | Error::Cluster(ClusterError::Stopped { .. }) => true,
            Error::While { source, .. } => source.is_stop(),
            _ => false,
        }
    }

    /// An [`Error::File`].
    pub fn file(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Error::File {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// Adds context to errors.
pub trait During<T> {
    /// Wraps an error in the context `doing`.
    ///
    /// # Errors
    /// The same as before, with context.
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
    fn messages_name_the_alternatives() {
        let unsupported = |able: &[&str]| Error::Unsupported {
            capability: "vectors of beats".into(),
            system: "A".into(),
            able: able.iter().map(|name| (*name).to_owned()).collect(),
        };
        let text = unsupported(&["B", "C"]).to_string();
        assert_eq!(
            text,
            "vectors of beats: not supported by A; supported by B, C"
        );
        assert!(
            unsupported(&[])
                .to_string()
                .ends_with("no system here supports it")
        );
        let inner = Error::invalid("x is 3, expected 4").with_help("give 4");
        let outer = inner.during("cannot load");
        assert_eq!(
            (outer.to_string().as_str(), outer.help()),
            ("cannot load", Some("give 4"))
        );
        assert!(Error::Stopped.during("a").is_stop());
        assert_eq!(Error::Stopped.during("a").code(), "interrupted");
        assert_eq!(Error::invalid("a").during("b").code(), "invalid");
    }
}
