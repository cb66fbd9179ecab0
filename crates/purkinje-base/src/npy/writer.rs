//! Writing NumPy arrays (`.npy`) row by row, so that arrays need not fit into memory.

use std::io::{self, Seek, SeekFrom, Write};
use std::marker::PhantomData;

use super::header::{header, invalid};

/// Largest number of axes of a row.
pub const MAX_ROW_AXES: usize = 3;

/// A type of numbers in NumPy arrays.
pub trait NpyValue: Copy + sealed::Sealed {
    /// Its type as NumPy writes it.
    const DESCR: &'static str;
    /// Appends its bytes.
    fn put(self, bytes: &mut Vec<u8>);
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! npy_values {
    ($($value:ty => $descr:literal),*) => {
        $(
            impl sealed::Sealed for $value {}
            impl NpyValue for $value {
                const DESCR: &'static str = $descr;
                fn put(self, bytes: &mut Vec<u8>) {
                    bytes.extend(self.to_le_bytes());
                }
            }
        )*
    };
}
npy_values!(f32 => "<f4", f64 => "<f8", i16 => "<i2", u16 => "<u2", i64 => "<i8");

/// An array `[rows, ...]` that grows by rows, in C order.
#[derive(Debug)]
pub struct NpyWriter<T, W> {
    out: W,
    row_shape: Vec<usize>,
    row_values: usize,
    rows: u64,
    bytes: Vec<u8>,
    value: PhantomData<T>,
}

impl<T: NpyValue, W: Write + Seek> NpyWriter<T, W> {
    /// Begins an array whose rows have this shape; without any axis, a row is one number.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for rows of more than [`MAX_ROW_AXES`] axes or of too many values; what writing gives.
    pub fn new(out: W, row_shape: &[usize]) -> io::Result<Self> {
        let row_values = row_shape
            .iter()
            .try_fold(1usize, |all, axis| all.checked_mul(*axis))
            .filter(|_| row_shape.len() <= MAX_ROW_AXES)
            .ok_or_else(|| invalid(format!("invalid shape of a row: {row_shape:?}")))?;
        let mut writer = NpyWriter {
            out,
            row_shape: row_shape.to_vec(),
            row_values,
            rows: 0,
            bytes: Vec::new(),
            value: PhantomData,
        };
        writer.header()?;
        Ok(writer)
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Adds one row.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for another number of values than the shape has; what writing gives.
    pub fn push(&mut self, row: &[T]) -> io::Result<()> {
        if row.len() != self.row_values {
            return Err(invalid(format!(
                "a row has {} values, the array has rows of {:?}",
                row.len(),
                self.row_shape
            )));
        }
        self.bytes.clear();
        for value in row {
            value.put(&mut self.bytes);
        }
        self.out.write_all(&self.bytes)?;
        self.rows += 1;
        Ok(())
    }

    /// Writes the number of rows, and returns the flushed output.
    ///
    /// # Errors
    /// What writing gives.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.seek(SeekFrom::Start(0))?;
        self.header()?;
        self.out.seek(SeekFrom::End(0))?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn header(&mut self) -> io::Result<()> {
        let rows = usize::try_from(self.rows).map_err(|_| invalid("too many rows".to_owned()))?;
        let mut shape = vec![rows];
        shape.extend(&self.row_shape);
        self.out.write_all(&header::<T>(&shape)?)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::{HEADER_BYTES, Header};
    use super::*;

    fn written<T: NpyValue>(row_shape: &[usize], rows: &[&[T]]) -> Vec<u8> {
        let mut writer = NpyWriter::new(Cursor::new(Vec::new()), row_shape).unwrap();
        for row in rows {
            writer.push(row).unwrap();
        }
        assert_eq!(writer.rows(), rows.len() as u64);
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = written::<f64>(&[3], &[&[0.5, -1.0, 2.0], &[3.0, 4.0, 5.25]]);
        let header = Header::parse(&bytes).unwrap();
        assert_eq!(header.descr, "<f8");
        assert!(!header.fortran_order);
        assert_eq!(header.shape, [2, 3]);
        assert_eq!(header.bytes, HEADER_BYTES);
        assert_eq!(bytes[128..136], 0.5f64.to_le_bytes());
        assert_eq!(bytes.len(), 128 + 48);
    }

    #[test]
    fn the_header_is_numpys() {
        let bytes = written::<i64>(&[], &[&[7], &[-1]]);
        assert_eq!(bytes.len(), 128 + 16);
        let text = std::str::from_utf8(&bytes[10..128]).unwrap();
        assert!(text.starts_with("{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }"));
        assert!(text.ends_with(" \n"));
        let text = written::<f32>(&[180, 96], &[]);
        assert!(String::from_utf8_lossy(&text).contains("'<f4'"));
        assert!(String::from_utf8_lossy(&text).contains("(0, 180, 96)"));
    }

    #[test]
    fn rows_of_another_shape_are_refused() {
        let mut writer = NpyWriter::<i16, _>::new(Cursor::new(Vec::new()), &[2, 2]).unwrap();
        let error = writer.push(&[1, 2, 3]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(NpyWriter::<i16, _>::new(Cursor::new(Vec::new()), &[usize::MAX, 2]).is_err());
        assert!(NpyWriter::<i16, _>::new(Cursor::new(Vec::new()), &[1, 1, 1, 1]).is_err());
    }
}
