//! HDF5 files (`.h5`, `.hdf5`, MATLAB 7.3), after the
//! [HDF5 File Format Specification](https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html).
//!
//! [`Hdf5File`] lists the data sets of a file and reads them, whole or in rows; a row touches only the bytes or chunks that hold it,
//! so that one record of a file of many gigabytes costs no more than itself. Reading needs `&self` only and may happen in many
//! threads at once.
//!
//! Understood are superblocks 0 to 3, groups of the old kind (as h5py writes by default) and of the new kind with few links;
//! contiguous, compact and chunked layouts (B-tree, single, implicit and fixed-array indexes); the filters deflate, shuffle,
//! fletcher32 and LZF; integers, floats of 2, 4 and 8 bytes, enumerations, and strings. What is not understood is an error that says
//! how to convert the file.
//!
//! Files are not trusted: what is read is bounded by the size of the file (see the limits and [`RecordError::TooLarge`]).

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::RecordError;

mod chunks;
mod datatype;
mod filter;
mod group;
mod header;
mod open;
mod read;
mod source;

pub use datatype::{Attribute, Element, Number};
pub(crate) use open::open;

use chunks::Layout;
use filter::Filter;
use source::Source;

/// Groups and data sets of a file.
pub const MAX_OBJECTS: usize = 65_536;
/// Groups within each other.
pub const MAX_DEPTH: usize = 32;
/// Dimensions of a data set.
pub const MAX_RANK: usize = 32;
/// Blocks of one object header.
pub const MAX_HEADER_BLOCKS: usize = 256;
/// Bytes of a block of an object header, a local heap or a node of an index.
pub const MAX_BLOCK_BYTES: u64 = 16 << 20;
/// Bytes of the attributes of a data set that are kept.
pub const MAX_ATTRIBUTE_BYTES: usize = 1 << 20;

/// An open HDF5 file.
#[derive(Debug)]
pub struct Hdf5File {
    datasets: Vec<Dataset>,
    attributes: Vec<(String, Attribute)>,
    /// Attributes of groups below the root, as `group/name`, that say something about samples.
    of_groups: Vec<(String, Attribute)>,
}

/// A data set of a file, which stays open as long as this lives.
#[derive(Debug)]
pub struct Dataset {
    source: Arc<Source>,
    name: String,
    /// Where its object header is, which references name.
    address: u64,
    shape: Vec<u64>,
    element: Element,
    layout: Layout,
    filters: Vec<Filter>,
    fill: Vec<u8>,
    attributes: Vec<(String, Attribute)>,
    unpacked: read::Unpacked,
}

impl Hdf5File {
    /// Opens the file at `path` and lists its data sets.
    ///
    /// # Errors
    /// When it cannot be read, is no HDF5 file, breaks off, or is of a kind that is not understood. A data set of such a kind is an
    /// error only when it is read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, RecordError> {
        let source = Arc::new(Source::open(path.as_ref())?);
        group::list(&source)
    }

    /// All data sets, those of groups as `group/name`, in the order of the file.
    pub fn datasets(&self) -> &[Dataset] {
        &self.datasets
    }

    /// Attributes of the root group.
    pub fn attributes(&self) -> &[(String, Attribute)] {
        &self.attributes
    }

    /// The data set `name`, if there is one.
    pub fn dataset(&self, name: &str) -> Option<&Dataset> {
        let name = name.trim_start_matches('/');
        self.datasets.iter().find(|dataset| dataset.name == name)
    }

    /// The data sets in words: `exam_id (10 of int64), tracings (10 x 4096 x 12 of float32)`.
    pub fn summary(&self) -> String {
        if self.datasets.is_empty() {
            return "no data set".into();
        }
        let mut words: Vec<String> = self
            .datasets
            .iter()
            .take(12)
            .map(|d| format!("{} ({} of {})", d.name, d.written_shape(), d.element))
            .collect();
        if self.datasets.len() > words.len() {
            words.push(format!("and {} more", self.datasets.len() - words.len()));
        }
        words.join(", ")
    }
}

impl Dataset {
    /// Name with its groups, without a slash at the start.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sizes of the dimensions; none for a single value.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// What its elements are.
    pub fn element(&self) -> &Element {
        &self.element
    }

    /// Attributes that are numbers or texts.
    pub fn attributes(&self) -> &[(String, Attribute)] {
        &self.attributes
    }

    /// The attribute `name`.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value)
    }

    /// All elements in C order (the last dimension runs fastest), as f32, f64 or i64.
    ///
    /// # Errors
    /// When the elements are no numbers, or are more than one and a half times the file and 24 MB (read rows instead); when a
    /// number does not fit i64; when chunks are damaged or of a kind that is not understood.
    pub fn read<T: Number>(&self) -> Result<Vec<T>, RecordError> {
        self.read_rows(0..self.shape.first().copied().unwrap_or(1))
    }

    /// The elements of `rows` along the first dimension, in C order. Touches only the bytes or chunks that hold them.
    ///
    /// # Errors
    /// As [`Dataset::read`], and when there are no such rows.
    pub fn read_rows<T: Number>(&self, rows: Range<u64>) -> Result<Vec<T>, RecordError> {
        let mut block = self.all();
        // A single value has no dimension, and one row.
        match block.first_mut() {
            Some(first) => *first = rows,
            None if rows == (0..1) => {}
            None => block.push(rows),
        }
        self.read_block(&block)
    }

    /// The elements of a block, a range for each dimension, in C order. Touches only the bytes or chunks that hold them.
    ///
    /// # Errors
    /// As [`Dataset::read`], and when there is no such block.
    pub fn read_block<T: Number>(&self, block: &[Range<u64>]) -> Result<Vec<T>, RecordError> {
        if block.len() != self.shape.len() {
            return Err(self.source.bad(
                &format!("the block asked for of `{}`", self.name),
                &format!("{} dimensions", block.len()),
                &format!("{}", self.shape.len()),
            ));
        }
        read::numbers(self, block)
    }

    /// Bytes of a chunk before filters; 0 when there are none.
    fn chunk_bytes(&self) -> u64 {
        match &self.layout {
            Layout::Chunked(chunked) => chunked.bytes(self.element.bytes()).unwrap_or(u64::MAX),
            _ => 0,
        }
    }

    /// Everything, a range for each dimension.
    fn all(&self) -> Vec<Range<u64>> {
        self.shape.iter().map(|&size| 0..size).collect()
    }

    /// All elements of a data set of strings.
    ///
    /// # Errors
    /// When the elements are no strings; otherwise as [`Dataset::read`].
    pub fn read_texts(&self) -> Result<Vec<String>, RecordError> {
        read::texts(self)
    }

    fn written_shape(&self) -> String {
        if self.shape.is_empty() {
            return "one".into();
        }
        let sizes: Vec<String> = self.shape.iter().map(u64::to_string).collect();
        sizes.join(" x ")
    }
}
