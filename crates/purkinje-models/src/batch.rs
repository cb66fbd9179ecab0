//! Errors of making a batch, for any system.

/// Recordings that cannot form a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// No recordings were given.
    #[error("the batch is empty; expected at least one recording")]
    Empty,
    /// Different leads.
    #[error(
        "recording {position} of the batch has other leads than the first, expected the same leads in all; select them with `--leads`"
    )]
    Leads {
        /// Position in the batch.
        position: usize,
    },
    /// Field of the wrong length or value.
    #[error("recording {position} of the batch: `{field}` {problem}")]
    Field {
        /// Position in the batch.
        position: usize,
        /// Field of the input.
        field: &'static str,
        /// What is wrong, as the rest of a sentence.
        problem: String,
    },
}
