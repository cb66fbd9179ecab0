//! Recordings as Parquet tables.

use std::path::Path;

use crate::{OpenOptions, RecordError, Recording};

pub(crate) fn open(path: &Path, _options: &OpenOptions) -> Result<Recording, RecordError> {
    Err(RecordError::UnknownKind {
        path: path.to_owned(),
    })
}
