//! NumPy arrays.
use crate::open::OpenOptions;
use crate::{RecordError, Recording};
use std::path::Path;
pub(crate) fn open(path: &Path, _options: &OpenOptions) -> Result<Recording, RecordError> {
    Err(RecordError::UnknownKind {
        path: path.to_owned(),
    })
}
