use thiserror::Error;

/// Errors of this crate.
#[derive(Debug, Error)]
pub enum EvalError {
    /// A matrix or list whose length does not fit the others.
    #[error("{what} has {found} values, but {expected} were expected ({because}).")]
    Length {
        /// The argument in question.
        what: &'static str,
        /// Values found.
        found: usize,
        /// Values expected.
        expected: usize,
        /// Why this number is expected.
        because: String,
    },
    /// No records or no classes.
    #[error("{what} is empty, expected at least one entry.")]
    Empty {
        /// The argument in question.
        what: &'static str,
    },
    /// A NaN or an infinity where only finite numbers are allowed.
    #[error(
        "{what} holds {value} at record {record}, column {column}, expected only finite numbers. \
         Check the recording or the model output at that place."
    )]
    NotFinite {
        /// The argument in question.
        what: &'static str,
        /// Row, counted from 0.
        record: usize,
        /// Column, counted from 0.
        column: usize,
        /// The value found.
        value: f32,
    },
    /// A setting out of range.
    #[error("The setting `{setting}` is {found}, expected {expected}.")]
    Setting {
        /// Name of the setting.
        setting: &'static str,
        /// The value found.
        found: String,
        /// The values allowed.
        expected: &'static str,
    },
    /// A sample of records that cannot be drawn.
    #[error(transparent)]
    Draw(#[from] purkinje_base::legacy_random::LegacyRandomError),
    /// A label fraction so small that nothing remains.
    #[error(
        "A label fraction of {fraction} of {records} records leaves no record; use a larger fraction."
    )]
    EmptyFraction {
        /// The fraction asked for.
        fraction: f64,
        /// Records there are.
        records: usize,
    },
    /// Results in one table that were not measured on the same task, split and records.
    #[error(
        "The results of `{first}` and `{second}` cannot be in one table: their {field} differ ({first_value} and {second_value}). Evaluate both on the same split."
    )]
    NotComparable {
        /// Name of the first model.
        first: String,
        /// Name of the second model.
        second: String,
        /// What differs.
        field: &'static str,
        /// Value of the first.
        first_value: String,
        /// Value of the second.
        second_value: String,
    },
    /// A file that cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file that is not what it should be.
    #[error("{path} is not a valid {expected}: {reason}")]
    Format {
        /// The file.
        path: String,
        /// What it should be.
        expected: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// Fails unless `found == expected`.
pub(crate) fn check_length(
    what: &'static str,
    found: usize,
    expected: usize,
    because: impl FnOnce() -> String,
) -> Result<(), EvalError> {
    if found == expected {
        return Ok(());
    }
    Err(EvalError::Length {
        what,
        found,
        expected,
        because: because(),
    })
}

/// Fails at the first value of `[records, columns]` that is NaN or infinite.
pub(crate) fn check_finite(
    what: &'static str,
    values: &[f32],
    columns: usize,
) -> Result<(), EvalError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => Err(EvalError::NotFinite {
            what,
            record: at / columns.max(1),
            column: at % columns.max(1),
            value: values[at],
        }),
    }
}
