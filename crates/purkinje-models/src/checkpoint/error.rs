//! Errors of files of weights.

use std::path::{Path, PathBuf};

/// Why a checkpoint or model folder could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// An error of the operating system.
    #[error("`{}` could not be {action}: {source}.", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was attempted, as a participle.
        action: &'static str,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The file violates its format.
    #[error("`{}` is not a readable {format}: {problem}. The file is damaged, incomplete or of another format; compare its size and checksum with the source and fetch it again.", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The expected format.
        format: &'static str,
        /// What was found.
        problem: String,
    },
    /// The file ends too early.
    #[error("`{}` is an incomplete {format}: {problem}. It was probably cut off while it was copied or written; compare its size with the source and fetch it again.", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The expected format.
        format: &'static str,
        /// What is missing.
        problem: String,
    },
    /// The file is something else.
    #[error("`{}` is not a PyTorch checkpoint: {found}. Expected a file written by `torch.save`.", path.display())]
    NotACheckpoint {
        /// The file.
        path: PathBuf,
        /// What it looks like, as a clause.
        found: &'static str,
    },
    /// The file would unpack to far more than its size.
    #[error("`{}` would unpack to far more than its size: {problem}. No trained model is like this; the file is damaged or malicious, and was not read.", path.display())]
    Bomb {
        /// The file.
        path: PathBuf,
        /// The sizes it claims.
        problem: String,
    },
    /// The pickle names a type or function that is not known as data.
    #[error("`{}` names the Python object `{global}`, which is not among those that describe weights, so the file was not read. (Nothing in it was executed.) If you trust its source, allow that name, or save only the weights: `torch.save(torch.load(file, weights_only=False)[\"model\"], \"weights.pth\")`.", path.display())]
    ForbiddenGlobal {
        /// The file.
        path: PathBuf,
        /// The name, with its module.
        global: String,
    },
    /// The optimizer state is not that of Adam or AdamW.
    #[error("`{}`, entry `{entry}`: {problem}. Expected the state of Adam or AdamW; read the file without its optimizer to get only the weights.", path.display())]
    Optimizer {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        entry: String,
        /// What is wrong.
        problem: String,
    },
    /// The number of attention heads cannot be determined.
    #[error(
        "The number of attention heads of the {part} cannot be determined: it is not visible in the weights, the width {width} is not a published size, and the arguments of the run do not state it; give it with `--heads` or `--decoder-heads`."
    )]
    UnknownHeads {
        /// `encoder` or `decoder`.
        part: &'static str,
        /// Its width.
        width: usize,
    },
    /// The weights are not those of the model they are exported as.
    #[error(
        "The tensors cannot be exported under the published names: {missing} parameters are missing and {mis_shaped} have another shape, the first is `{first}`; export a complete model."
    )]
    Incomplete {
        /// Parameters without a tensor.
        missing: usize,
        /// Tensors of another shape.
        mis_shaped: usize,
        /// One of them.
        first: String,
    },
    /// One tensor of the file cannot be used.
    #[error("`{}`: tensor `{tensor}` {problem}.", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong with it and what to do, as the rest of a sentence.
        problem: String,
    },
    /// The file holds no weights.
    #[error("`{}` holds no tensor under `model`, `module` or `state_dict` and none at its top level; give a file that `torch.save` wrote from a model or its state dict.", path.display())]
    NoTensors {
        /// The file.
        path: PathBuf,
    },
    /// The tensors are not those of a model of the system.
    #[error(
        "The {tensors} tensors are not those of a {system} model: {problem}. Check that the file is of this system, and of one of its published kinds."
    )]
    UnknownLayout {
        /// The system.
        system: &'static str,
        /// How many tensors there are.
        tensors: usize,
        /// What is missing or unexpected.
        problem: String,
    },
    /// Two names mean the same tensor.
    #[error(
        "The tensors `{first}` and `{second}` are the same parameter `{name}`; remove one of them from the file."
    )]
    DuplicateName {
        /// The canonical name.
        name: String,
        /// One of the names found.
        first: String,
        /// The other.
        second: String,
    },
    /// The folder to write is something else.
    #[error("`{}` exists and is not a model folder ({reason}), so it was not changed; choose another folder or remove this one.", path.display())]
    NotAModelFolder {
        /// The folder.
        path: PathBuf,
        /// Why it is not a model folder, as a clause.
        reason: &'static str,
    },
    /// A file of a model folder is missing.
    #[error("The model folder `{}` has no `{file}`; {remedy}.", path.display())]
    MissingFile {
        /// The folder.
        path: PathBuf,
        /// The file.
        file: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A JSON file of a model folder cannot be used.
    #[error("`{}` is not valid: {problem}; correct the file or write the model folder again.", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The error of the parser.
        problem: String,
    },
}

impl CheckpointError {
    pub(super) fn io(
        path: &Path,
        action: &'static str,
    ) -> impl FnOnce(std::io::Error) -> CheckpointError {
        move |source| CheckpointError::Io {
            path: path.to_path_buf(),
            action,
            source,
        }
    }

    pub(super) fn damaged(path: &Path, format: &'static str, problem: impl ToString) -> Self {
        CheckpointError::Damaged {
            path: path.to_path_buf(),
            format,
            problem: problem.to_string(),
        }
    }

    pub(super) fn tensor(path: &Path, tensor: &str, problem: impl Into<String>) -> Self {
        CheckpointError::Tensor {
            path: path.to_path_buf(),
            tensor: tensor.to_owned(),
            problem: problem.into(),
        }
    }
}
