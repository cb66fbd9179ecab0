//! MATLAB files (`.mat`) of level 4 and level 5 (MATLAB 5 to 7.2), after
//! [MAT-File Format](https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf); those of 7.3 are HDF5.
//!
//! [`MatFile::read`] gives the variables of a file as they are. As recordings are opened: the struct `ECG` of CPSC2018, `feats` with
//! `curr_sample_rate` as the fairseq-signals tools write it, and a matrix with its rate from the caller.
//!
//! Files are not trusted: what they unpack to is bounded by their size (see the limits), nesting by [`MAX_DEPTH`].

use std::path::Path;

use crate::array::Array;
use crate::map::Whole;
use crate::wfdb::files;
use crate::{OpenOptions, RecordError};

mod level4;
mod level5;
mod open;
mod value;
mod writer;

pub use value::{Class, Numeric, Struct, Value};
pub use writer::{MAX_VARIABLE_BYTES, NewValue, write_mat};

/// Bytes of the largest file that is read.
pub const MAX_MAT_BYTES: u64 = 1 << 36;
/// Cells and structs within each other.
pub const MAX_DEPTH: usize = 32;
/// Variables, cells and fields of a file, all together.
pub const MAX_VALUES: usize = 100_000;
/// Characters of the texts of a file, all together; what goes beyond is [`Value::Other`].
pub const MAX_TEXT_CHARS: usize = 1 << 20;
/// What is said of a text beyond that.
const LONG_TEXT: &str = "text too long to be read";
/// Dimensions of an array.
pub const MAX_DIMENSIONS: usize = 32;

/// The variables of a MATLAB file.
#[derive(Clone, Debug, PartialEq)]
pub struct MatFile {
    /// 4 or 5.
    pub level: u8,
    /// Names and values in the order of the file.
    pub variables: Vec<(String, Value)>,
}

impl MatFile {
    /// Reads all variables of the file at `path`.
    ///
    /// # Errors
    /// When it cannot be read, is no MATLAB file of level 4 or 5, breaks off, contradicts itself, or passes a limit.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, RecordError> {
        let path = path.as_ref();
        let bytes = Whole::open(path, MAX_MAT_BYTES)?;
        if is_level_5(&bytes) {
            level5::parse(path, &bytes)
        } else if is_hdf5(&bytes) {
            Err(crate::error::content(
                path,
                "the kind of the file",
                "MATLAB 7.3, which is HDF5",
                "MATLAB up to 7.2; read it as HDF5, or save it with -v7",
            ))
        } else {
            level4::parse(path, &bytes)
        }
    }

    /// The variable `name`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.variables
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value)
    }

    /// The variables in words: `feats (12x5000 double), text (text)`.
    pub fn summary(&self) -> String {
        if self.variables.is_empty() {
            return "no variable".into();
        }
        let mut words: Vec<String> = self
            .variables
            .iter()
            .take(12)
            .map(|(name, value)| format!("{name} ({value})"))
            .collect();
        if self.variables.len() > words.len() {
            words.push(format!("and {} more", self.variables.len() - words.len()));
        }
        words.join(", ")
    }
}

pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Array, RecordError> {
    // MATLAB 7.3 writes HDF5 under the same extension.
    let mut start = Vec::new();
    if files::read_start(path, 128, &mut start).is_ok() && is_hdf5(&start) {
        return crate::hdf5::open(path, options);
    }
    open::recording(path, &MatFile::read(path)?, options)
}

/// The mark at the end of the 128 bytes of a level 5 head, with its version.
fn is_level_5(bytes: &[u8]) -> bool {
    matches!(
        bytes.get(124..128),
        Some([0, 1, b'I', b'M'] | [1, 0, b'M', b'I'])
    )
}

fn is_hdf5(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x89HDF\r\n\x1a\n")
        || matches!(
            bytes.get(124..128),
            Some([0, 2, b'I', b'M'] | [2, 0, b'M', b'I'])
        )
}
