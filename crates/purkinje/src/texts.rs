//! Texts: those of the records of a store, and those of a file.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_schema::DataType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use purkinje_store::{Row, Store};
use purkinje_text::Tokenizer;

use crate::text_encoder::TextEncoder;
use crate::zero_shot::tokenizer_of;
use crate::{Device, Error, Model, Registry, Result};

/// Bytes of the largest file of texts.
const MAX_BYTES: u64 = 4 << 30;
/// Names of the column of texts, where none is given.
const COLUMNS: [&str; 4] = ["text", "report", "reports", "statements"];
/// Names of the column of ids.
const IDS: [&str; 5] = ["id", "ecg_id", "record", "study_id", "label"];

/// Which text of the records of a store is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreText {
    /// Place among the texts of the store; `None` for the report.
    place: Option<usize>,
}

impl StoreText {
    /// The text `name`; the report if the name is empty or `report`.
    ///
    /// # Errors
    /// When the store has no such text.
    pub fn named(store: &Store, name: &str) -> Result<Self> {
        if matches!(name, "" | "report") {
            return Ok(StoreText { place: None });
        }
        let place = store.text(name).ok_or_else(|| {
            let known = &store.info().texts;
            let known = match known.is_empty() {
                true => "only `report`".to_owned(),
                false => format!("`report`, {}", known.join(", ")),
            };
            Error::invalid(format!(
                "the store {} has no text `{name}`; it has {known}",
                store.dir().display()
            ))
        })?;
        Ok(StoreText { place: Some(place) })
    }

    /// The text of a record, if it has one.
    pub fn of<'r>(&self, row: &Row<'r>) -> Option<&'r str> {
        match self.place {
            None => row.report(),
            Some(place) => row.text(place),
        }
    }
}

/// The word pieces of a text and their ids, as a model of recordings and texts reads it after cleaning, or as a tokenizer does: that of a file,
/// or of the folder of an encoder of texts.
///
/// # Errors
/// When there is no tokenizer at `path`, or it cannot read the text.
pub fn word_pieces(path: &Path, text: &str, registry: &Registry) -> Result<Vec<(String, u32)>> {
    let (tokenizer, text) = if path.is_file() {
        (Arc::new(Tokenizer::read(path)?), text.to_owned())
    } else if TextEncoder::sizes(path).is_ok() {
        let file = path.join("tokenizer.json");
        (Arc::new(Tokenizer::read(&file)?), text.to_owned())
    } else {
        let model = Model::load_with(path, &Device::cpu(), registry)?;
        let tokenizer = tokenizer_of(&model)?.clone();
        (tokenizer, model.network().clean_text(text))
    };
    let piece = |id| (tokenizer.piece(id).unwrap_or_default(), id);
    Ok(tokenizer.ids(&text)?.into_iter().map(piece).collect())
}

/// A text of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Its id, or the number of its line or row, from 1.
    pub id: String,
    /// The text; `None` where the cell is empty.
    pub text: Option<String>,
}

/// Reads the texts of a `.csv`, `.tsv` or `.parquet` table, or of the lines of any other file. The column is `column`, else one that is
/// named `text`, `report`, `reports` or `statements`, else the only one.
///
/// # Errors
/// When the file cannot be read, is not UTF-8, or has no such column.
pub fn read_texts(path: &Path, column: Option<&str>) -> Result<Vec<Text>> {
    let fail =
        |problem: String| Error::invalid(format!("the texts `{}`: {problem}", path.display()));
    let size = std::fs::metadata(path)
        .map_err(|error| Error::file("read", path, error))?
        .len();
    if size > MAX_BYTES {
        return Err(fail(format!(
            "found {size} bytes, expected at most {MAX_BYTES}"
        )));
    }
    let ending = path.extension().and_then(|own| own.to_str());
    match ending.unwrap_or_default().to_ascii_lowercase().as_str() {
        "parquet" => of_parquet(path, column).map_err(fail),
        "csv" => of_table(path, b',', column).map_err(fail),
        "tsv" => of_table(path, b'\t', column).map_err(fail),
        _ if column.is_some() => Err(fail(
            "its lines have no columns; expected a .csv, .tsv or .parquet file".to_owned(),
        )),
        _ => {
            let bytes = std::fs::read(path).map_err(|error| Error::file("read", path, error))?;
            let mut texts = Vec::new();
            for (number, line) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
                let line = std::str::from_utf8(line)
                    .map_err(|_| fail(format!("line {number} is not text in UTF-8")))?;
                texts.push(text(None, number, Some(line)));
            }
            // After the last line break there is no line.
            if bytes.is_empty() || bytes.ends_with(b"\n") {
                texts.pop();
            }
            Ok(texts)
        }
    }
}

fn text(id: Option<&str>, number: usize, text: Option<&str>) -> Text {
    let text = text.map(str::trim).filter(|text| !text.is_empty());
    Text {
        id: id.map_or_else(|| number.to_string(), str::to_owned),
        text: text.map(str::to_owned),
    }
}

/// The column of texts, and that of ids if there is one.
fn columns(
    names: &[String],
    wanted: Option<&str>,
) -> std::result::Result<(usize, Option<usize>), String> {
    let of = |wanted: &str| {
        let same = |name: &String| name.trim().eq_ignore_ascii_case(wanted);
        names.iter().position(same)
    };
    let found = match wanted {
        Some(wanted) => of(wanted),
        None => COLUMNS
            .iter()
            .find_map(|name| of(name))
            .or((names.len() == 1).then_some(0)),
    };
    let found = found.ok_or_else(|| {
        let expected = match wanted {
            Some(wanted) => format!("`{wanted}`"),
            None => format!(
                "one of {}, or a column named with `--column`",
                COLUMNS.join(", ")
            ),
        };
        format!(
            "found the columns {}, expected {expected}",
            names.join(", ")
        )
    })?;
    let id = IDS.iter().find_map(|name| of(name));
    Ok((found, id.filter(|&id| id != found)))
}

fn of_table(
    path: &Path,
    delimiter: u8,
    column: Option<&str>,
) -> std::result::Result<Vec<Text>, String> {
    let problem = |error: csv::Error| error.to_string();
    let reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .from_path(path);
    let mut reader = reader.map_err(problem)?;
    let names: Vec<String> = reader
        .headers()
        .map_err(problem)?
        .iter()
        .map(|name| name.trim_start_matches('\u{feff}').to_owned())
        .collect();
    let (own, id) = columns(&names, column)?;
    let mut texts = Vec::new();
    for (number, row) in (1..).zip(reader.records()) {
        let row = row.map_err(problem)?;
        texts.push(text(id.and_then(|id| row.get(id)), number, row.get(own)));
    }
    Ok(texts)
}

fn of_parquet(path: &Path, column: Option<&str>) -> std::result::Result<Vec<Text>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let builder =
        ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| error.to_string())?;
    let fields = builder.schema().fields();
    let names: Vec<String> = fields.iter().map(|field| field.name().clone()).collect();
    let (own, id) = columns(&names, column)?;
    let is_text =
        |at: usize| matches!(fields[at].data_type(), DataType::Utf8 | DataType::LargeUtf8);
    if !is_text(own) {
        return Err(format!(
            "the column `{}` holds {}, expected texts",
            names[own],
            fields[own].data_type()
        ));
    }
    let id = id.filter(|&id| is_text(id));
    let mut texts = Vec::new();
    for batch in builder.build().map_err(|error| error.to_string())? {
        let batch = batch.map_err(|error| error.to_string())?;
        let cells = |at: usize| -> Vec<Option<String>> {
            let column = batch.column(at);
            match column.as_string_opt::<i32>() {
                Some(cells) => cells.iter().map(|cell| cell.map(str::to_owned)).collect(),
                None => {
                    let cells = column.as_string::<i64>().iter();
                    cells.map(|cell| cell.map(str::to_owned)).collect()
                }
            }
        };
        let ids = id.map(cells);
        for (row, cell) in cells(own).into_iter().enumerate() {
            let id = ids.as_ref().and_then(|ids| ids[row].as_deref());
            texts.push(text(id, texts.len() + 1, cell.as_deref()));
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(
        name: &str,
        bytes: &[u8],
        column: Option<&str>,
    ) -> std::result::Result<Vec<Text>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        read_texts(&path, column).map_err(|error| error.to_string())
    }

    #[test]
    fn lines_and_columns_are_texts() {
        let expected = |ids: [&str; 3]| -> Vec<Text> {
            let texts = [Some("sinus rhythm, normal"), None, Some("af")];
            let pairs = ids.into_iter().zip(texts);
            let text = |(id, text): (&str, Option<&str>)| Text {
                id: id.to_owned(),
                text: text.map(str::to_owned),
            };
            pairs.map(text).collect()
        };
        let lines = of("t.txt", b"sinus rhythm, normal\n \naf\n", None).unwrap();
        assert_eq!(lines, expected(["1", "2", "3"]));
        let table = b"ecg_id,age,Report\n7,50,\"sinus rhythm, normal\"\n8,51,\n9,52,af\n";
        assert_eq!(of("t.csv", table, None).unwrap(), expected(["7", "8", "9"]));
        assert_eq!(
            of("t.csv", table, Some("age")).unwrap()[2].text.as_deref(),
            Some("52")
        );
        assert!(of("t.txt", b"", None).unwrap().is_empty());
        for (name, bytes, column, problem) in [
            ("t.txt", &b"a\n\xff\n"[..], None, "line 2 is not text"),
            ("t.csv", b"a,b\n1,2\n", None, "found the columns a, b"),
            ("t.csv", b"a,b\n1,2\n", Some("c"), "expected `c`"),
            ("t.txt", b"a\n", Some("c"), "no columns"),
            ("t.csv", b"text,b\n1\n", None, "line: 2"),
            ("t.parquet", b"PAR1", None, "t.parquet"),
        ] {
            let error = of(name, bytes, column).unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
    }
}
