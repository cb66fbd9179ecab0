//! NumPy arrays in files (`.npy`,
//! <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>): their headers, and a writer.

mod header;
mod writer;

pub use header::{HEADER_BYTES, Header, HeaderError, MAX_HEADER_BYTES, axes, header};
pub use writer::{MAX_ROW_AXES, NpyValue, NpyWriter};
