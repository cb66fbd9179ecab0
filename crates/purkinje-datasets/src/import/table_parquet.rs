//! Parquet tables as tables of text, so that they are read by the same rules as CSV.

use std::fs::File;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::ParquetMetaData;

use super::ImportError;

/// The first bytes of a Parquet file.
pub(super) const MAGIC: &[u8; 4] = b"PAR1";

/// Largest number of cells of a table that is read.
pub const MAX_CELLS: usize = 1 << 26;

/// Largest amount of text of a table that is read, in decompressed bytes.
pub const MAX_TEXT_BYTES: usize = 1 << 30;

/// Rows decoded at a time.
const BATCH_ROWS: usize = 4096;

/// The names of the columns, and the rows. Nulls are blank, booleans 0 or 1, lists joined by `;`.
pub(super) type Cells = (Vec<String>, Vec<Vec<String>>);

/// Reads all columns of texts, numbers, booleans or lists of texts; columns of other types are blank.
pub(super) fn read(path: &Path) -> Result<Cells, ImportError> {
    let broken = |error: &dyn std::fmt::Display| ImportError::Source {
        path: path.to_owned(),
        reason: format!("it is not a valid Parquet table: {error}"),
    };
    let file = File::open(path).map_err(|source| ImportError::Io {
        path: path.to_owned(),
        source,
    })?;
    let size = file
        .metadata()
        .map_err(|source| ImportError::Io {
            path: path.to_owned(),
            source,
        })?
        .len();
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| broken(&e))?;
    check_places(builder.metadata(), size).map_err(|reason| broken(&reason))?;
    let columns: Vec<String> = builder
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().trim().to_owned())
        .collect();
    let reader = builder
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(|e| broken(&e))?;
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut text_bytes = 0usize;
    for batch in reader {
        let batch = batch.map_err(|e| broken(&e))?;
        let start = rows.len();
        rows.resize(start + batch.num_rows(), Vec::with_capacity(columns.len()));
        for column in batch.columns() {
            let column = Column::of(column);
            for (row, cells) in rows[start..].iter_mut().enumerate() {
                let cell = column.cell(row);
                text_bytes = text_bytes.saturating_add(cell.len());
                cells.push(cell);
            }
        }
        let cells = rows.len().saturating_mul(columns.len());
        if cells > MAX_CELLS || text_bytes > MAX_TEXT_BYTES {
            return Err(ImportError::Source {
                path: path.to_owned(),
                reason: format!(
                    "it has more than {MAX_CELLS} cells or {MAX_TEXT_BYTES} bytes of text; keep only the columns about the records"
                ),
            });
        }
    }
    Ok((columns, rows))
}

/// Refuses columns outside the file, on which the decoder would panic.
fn check_places(metadata: &ParquetMetaData, size: u64) -> Result<(), String> {
    for group in metadata.row_groups() {
        if group.num_rows() < 0 {
            return Err(format!("a group of {} rows", group.num_rows()));
        }
        for column in group.columns() {
            let data = column.data_page_offset();
            let start = column.dictionary_page_offset().unwrap_or(data);
            let end = start.checked_add(column.compressed_size());
            let inside = |at: i64| u64::try_from(at).is_ok_and(|at| at <= size);
            let inside = inside(start)
                && inside(data)
                && column.compressed_size() >= 0
                && end.is_some_and(inside);
            if !inside {
                return Err(format!(
                    "column `{}` is outside the file of {size} bytes",
                    column.column_path()
                ));
            }
        }
    }
    Ok(())
}

/// A column, with its keys if it is dictionary-encoded (categories of data frames).
struct Column<'a> {
    values: &'a ArrayRef,
    keys: Option<(&'a dyn Array, Vec<usize>)>,
}

impl<'a> Column<'a> {
    fn of(column: &'a ArrayRef) -> Self {
        match column.as_any_dictionary_opt() {
            // Without values all rows are null.
            Some(dictionary) if dictionary.values().is_empty() => Column {
                values: column,
                keys: Some((column, Vec::new())),
            },
            Some(dictionary) => Column {
                values: dictionary.values(),
                keys: Some((column, dictionary.normalized_keys())),
            },
            None => Column {
                values: column,
                keys: None,
            },
        }
    }

    fn cell(&self, row: usize) -> String {
        match &self.keys {
            None => cell(self.values, row),
            Some((column, _)) if column.is_null(row) => String::new(),
            Some((_, keys)) => keys
                .get(row)
                .filter(|key| **key < self.values.len())
                .map_or_else(String::new, |key| cell(self.values, *key)),
        }
    }
}

fn cell(column: &ArrayRef, row: usize) -> String {
    if column.is_null(row) {
        return String::new();
    }
    macro_rules! number {
        ($kind:ty) => {
            column.as_primitive::<$kind>().value(row).to_string()
        };
    }
    match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
        DataType::LargeUtf8 => column.as_string::<i64>().value(row).to_owned(),
        DataType::Utf8View => column.as_string_view().value(row).to_owned(),
        DataType::Boolean => u8::from(column.as_boolean().value(row)).to_string(),
        DataType::Int8 => number!(Int8Type),
        DataType::Int16 => number!(Int16Type),
        DataType::Int32 => number!(Int32Type),
        DataType::Int64 => number!(Int64Type),
        DataType::UInt8 => number!(UInt8Type),
        DataType::UInt16 => number!(UInt16Type),
        DataType::UInt32 => number!(UInt32Type),
        DataType::UInt64 => number!(UInt64Type),
        DataType::Float32 => number!(Float32Type),
        DataType::Float64 => number!(Float64Type),
        DataType::List(_) => joined(&column.as_list::<i32>().value(row)),
        DataType::LargeList(_) => joined(&column.as_list::<i64>().value(row)),
        _ => String::new(),
    }
}

fn joined(list: &ArrayRef) -> String {
    let parts: Vec<String> = (0..list.len())
        .map(|row| cell(list, row))
        .filter(|part| !part.is_empty())
        .collect();
    parts.join(";")
}
