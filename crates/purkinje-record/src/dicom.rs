//! DICOM waveforms.

use std::path::Path;

use crate::{OpenOptions, RecordError, Recording};

pub(crate) fn open(path: &Path, _options: &OpenOptions) -> Result<Recording, RecordError> {
    Err(RecordError::UnknownKind {
        path: path.to_owned(),
    })
}

/// Whether the file begins as DICOM files do.
pub(crate) fn is_dicom(_path: &Path) -> bool {
    false
}
