//! What can be wrong with a batch, whatever the system.

/// Recordings that cannot form a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Nothing to batch.
    #[error("the batch is empty; expected at least one recording")]
    Empty,
    /// Different leads.
    #[error(
        "recording {position} of the batch has other leads than the first; select one set of leads for all"
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
        /// What is wrong, as a sentence.
        problem: String,
    },
}
