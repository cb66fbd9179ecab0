//! Written reports as a file, whole or not at all, and files of anyone's reports.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;

use super::WrittenReport;
use crate::files::write_file;
use crate::{Error, Result};

/// Writes reports to a `.jsonl`, `.csv` or `.parquet` file, a row for each recording.
///
/// # Errors
/// For another ending, or when the file cannot be written.
pub fn write_table(path: &Path, reports: &[WrittenReport]) -> Result<()> {
    let cannot = |error: &dyn std::fmt::Display| {
        Error::invalid(format!("cannot write `{}`: {error}", path.display()))
    };
    let ending = path.extension().and_then(|own| own.to_str());
    let bytes = match ending.unwrap_or_default().to_ascii_lowercase().as_str() {
        "jsonl" => {
            let mut text = Vec::new();
            for report in reports {
                serde_json::to_writer(&mut text, report).map_err(|e| cannot(&e))?;
                text.push(b'\n');
            }
            text
        }
        "csv" => {
            let mut table = csv::Writer::from_writer(Vec::new());
            let header = [
                "recording",
                "report",
                "score",
                "tokens",
                "cut",
                "note",
                "usable",
                "unusable_because",
            ];
            table.write_record(header).map_err(|e| cannot(&e))?;
            for own in reports {
                let row = [
                    own.recording.clone(),
                    own.report.report.clone(),
                    own.report.score.to_string(),
                    own.report.tokens.to_string(),
                    own.report.cut.to_string(),
                    own.note.clone(),
                    own.usable.to_string(),
                    own.unusable_because.clone().unwrap_or_default(),
                ];
                table.write_record(row).map_err(|e| cannot(&e))?;
            }
            table.into_inner().map_err(|e| cannot(&e))?
        }
        "parquet" => parquet(reports).map_err(|e| cannot(&e))?,
        _ => {
            return Err(Error::invalid(format!(
                "`{}`: expected a name that ends in .jsonl, .csv or .parquet",
                path.display()
            )));
        }
    };
    write_file(path, &bytes)
}

fn parquet(reports: &[WrittenReport]) -> std::result::Result<Vec<u8>, Box<dyn std::error::Error>> {
    let text = |of: fn(&WrittenReport) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(reports.iter().map(of)))
    };
    let scores = reports.iter().map(|own| own.report.score);
    let tokens = reports.iter().map(|own| own.report.tokens as i64);
    let cut = reports.iter().map(|own| own.report.cut);
    let usable = reports.iter().map(|own| own.usable);
    let because = reports.iter().map(|own| own.unusable_because.as_deref());
    let columns: [(&str, ArrayRef); 8] = [
        ("recording", text(|own| &own.recording)),
        ("report", text(|own| &own.report.report)),
        ("score", Arc::new(Float64Array::from_iter_values(scores))),
        ("tokens", Arc::new(Int64Array::from_iter_values(tokens))),
        (
            "cut",
            Arc::new(BooleanArray::from(cut.collect::<Vec<bool>>())),
        ),
        ("note", text(|own| &own.note)),
        (
            "usable",
            Arc::new(BooleanArray::from(usable.collect::<Vec<bool>>())),
        ),
        (
            "unusable_because",
            Arc::new(because.collect::<StringArray>()),
        ),
    ];
    let batch = RecordBatch::try_from_iter(columns)?;
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None)?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(bytes)
}

/// Columns of a table of reports.
const COLUMNS: [&str; 3] = ["id", "reference", "generated"];

/// Id, reference and generated text of every row of a `.csv` table with these columns.
///
/// # Errors
/// When the file cannot be read, lacks a column, or an id is missing or there twice; the message names the line.
pub fn read_pairs(path: &Path) -> Result<Vec<[String; 3]>> {
    let fail =
        |problem: String| Error::invalid(format!("the reports `{}`: {problem}", path.display()));
    let mut table = csv::Reader::from_path(path).map_err(|error| fail(error.to_string()))?;
    let header = table.headers().map_err(|error| fail(error.to_string()))?;
    let place = |name: &str| header.iter().position(|own| own.eq_ignore_ascii_case(name));
    let [Some(id), Some(reference), Some(generated)] = COLUMNS.map(place) else {
        let found: Vec<&str> = header.iter().collect();
        return Err(fail(format!(
            "found the columns {}, expected {}",
            found.join(", "),
            COLUMNS.join(", ")
        )));
    };
    let mut rows: Vec<[String; 3]> = Vec::new();
    let mut seen = HashSet::new();
    for (line, row) in (2..).zip(table.records()) {
        let row = row.map_err(|error| fail(format!("line {line}: {error}")))?;
        let cell = |place: usize| row.get(place).unwrap_or_default().to_owned();
        let name = cell(id);
        if name.is_empty() {
            return Err(fail(format!(
                "line {line}: the id is missing; give every pair one"
            )));
        }
        if !seen.insert(name.clone()) {
            return Err(fail(format!(
                "line {line}: the id `{name}` was there before; give every pair one of its own"
            )));
        }
        rows.push([name, cell(reference), cell(generated)]);
    }
    match rows.is_empty() {
        true => Err(fail("it has no pairs".to_owned())),
        false => Ok(rows),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reports::{Report, SENTENCE};

    #[test]
    fn reports_are_written_in_three_formats() {
        let dir = tempfile::tempdir().unwrap();
        let reports = [WrittenReport {
            recording: "a".to_owned(),
            report: Report {
                report: "sinus rhythm, \"normal\"".to_owned(),
                score: -0.5,
                tokens: 4,
                cut: false,
            },
            note: SENTENCE.to_owned(),
            usable: false,
            unusable_because: Some("it is mostly noise".to_owned()),
        }];
        for name in ["r.jsonl", "r.csv", "r.parquet"] {
            let path = dir.path().join(name);
            write_table(&path, &reports).unwrap();
            assert!(std::fs::metadata(&path).unwrap().len() > 50, "{name}");
        }
        let text = std::fs::read_to_string(dir.path().join("r.jsonl")).unwrap();
        let back: WrittenReport = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(back, reports[0]);
        assert!(text.contains(r#""usable":false,"unusable_because":"it is mostly noise""#));
        let csv = std::fs::read_to_string(dir.path().join("r.csv")).unwrap();
        assert!(csv.contains("note,usable,unusable_because\n"), "{csv}");
        assert!(csv.ends_with("false,it is mostly noise\n"), "{csv}");
        let error = write_table(&dir.path().join("r.txt"), &reports).unwrap_err();
        assert!(error.to_string().contains(".jsonl"));
    }

    #[test]
    fn tables_of_reports_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reports.csv");
        for (text, expected) in [
            ("id,reference\na,x\n", "expected id, reference, generated"),
            ("id,reference,generated\n", "no pairs"),
            (
                "id,reference,generated\n,x,y\n",
                "line 2: the id is missing",
            ),
            (
                "id,reference,generated\na,x,y\na,x,y\n",
                "line 3: the id `a`",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = read_pairs(&path).unwrap_err().to_string();
            assert!(
                error.contains(expected) && error.contains("reports.csv"),
                "{error}"
            );
        }
        std::fs::write(&path, "generated,id,reference\ny,a,x\n").unwrap();
        assert_eq!(
            read_pairs(&path).unwrap(),
            [["a", "x", "y"].map(str::to_owned)]
        );
    }
}
