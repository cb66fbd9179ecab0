//! What can be wrong with a file of weights.

use std::path::{Path, PathBuf};

/// Why a checkpoint or model folder could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The operating system refused.
    #[error("`{}` could not be {action}: {source}.", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, as a participle.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not what its format prescribes.
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
    #[error("`{}` is no PyTorch checkpoint: {found}. Give a file that `torch.save` wrote.", path.display())]
    NotACheckpoint {
        /// The file.
        path: PathBuf,
        /// What it looks like, as a clause.
        found: &'static str,
    },
    /// The file is made to fill memory.
    #[error("`{}` stands for far more than it holds: {problem}. No trained model is like this; the file is damaged or meant to do harm, and was not read.", path.display())]
    Bomb {
        /// The file.
        path: PathBuf,
        /// What it claims.
        problem: String,
    },
    /// The pickle names a type or function that is not known as data.
    #[error("`{}` names the Python object `{global}`, which is not among those that describe weights, so the file was not read. (Nothing in it was executed.) If you trust its source, allow that name, or save the weights alone: `torch.save(torch.load(file, weights_only=False)[\"model\"], \"weights.pth\")`.", path.display())]
    ForbiddenGlobal {
        /// The file.
        path: PathBuf,
        /// The name, with its module.
        global: String,
    },
    /// The optimizer state is not that of Adam or AdamW.
    #[error("`{}`, entry `{entry}`: {problem}. Only the state of Adam and AdamW is read; read the file without its optimizer to get the weights alone.", path.display())]
    Optimizer {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        entry: String,
        /// What is wrong.
        problem: String,
    },
    /// Nothing tells how many attention heads the model has.
    #[error(
        "The number of attention heads of the {part} leaves no trace in the weights, the width {width} is none of the published sizes, and the arguments of the run do not name it; state it."
    )]
    UnknownHeads {
        /// `encoder` or `decoder`.
        part: &'static str,
        /// Its width.
        width: usize,
    },
    /// The weights do not fill the model they are exported as.
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
    /// The names do not belong to a model of the system.
    #[error(
        "The {tensors} tensors are not those of a {system} model: {problem}. Check that the file belongs to this system, and is one of its published kinds."
    )]
    UnknownLayout {
        /// The system.
        system: &'static str,
        /// How many tensors there are.
        tensors: usize,
        /// What is missing or odd.
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
    #[error("`{}` exists and is not a model folder ({reason}), so it was left as it is; choose another folder or remove this one.", path.display())]
    NotAModelFolder {
        /// The folder.
        path: PathBuf,
        /// Why it is none, as a clause.
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
    #[error("`{}` is not the JSON expected there: {problem}; correct the file or write the model folder again.", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What the parser said.
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
