//! The recordings of the demonstration, unpacked into the published layout of PTB-XL.

use std::fs;
use std::path::Path;

use crate::files::write_file;
use crate::{Error, Result};

const SIGNALS: &[u8] = include_bytes!("../../demo/signals.zst");
const DATABASE: &str = include_str!("../../demo/ptbxl_database.csv");
const STATEMENTS: &str = include_str!("../../demo/scp_statements.csv");
const LICENCE: &str = include_str!("../../demo/LICENSE-PTB-XL.txt");

const LEADS: [&str; 12] = [
    "I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6",
];
const SAMPLES: usize = 1000;

/// Writes the records as WFDB files, and the tables, into `folder`; returns the number of records.
///
/// # Errors
/// When a file cannot be written.
pub fn unpack(folder: &Path) -> Result<usize> {
    let names = file_names()?;
    let signals = decode(names.len())?;
    for (name, signal) in names.iter().zip(&signals) {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent)
            .map_err(|error| Error::file("make the folder", parent, error))?;
        let stem = path.file_name().unwrap_or_default().to_string_lossy();
        let bytes: Vec<u8> = (0..SAMPLES)
            .flat_map(|t| (0..LEADS.len()).map(move |lead| (t, lead)))
            .flat_map(|(t, lead)| signal[lead * SAMPLES + t].to_le_bytes())
            .collect();
        for (ending, bytes) in [("dat", bytes), ("hea", header(&stem, signal).into_bytes())] {
            let path = path.with_extension(ending);
            fs::write(&path, bytes).map_err(|error| Error::file("write", &path, error))?;
        }
    }
    for (name, text) in [
        ("ptbxl_database.csv", DATABASE),
        ("scp_statements.csv", STATEMENTS),
        ("LICENSE.txt", LICENCE),
    ] {
        write_file(&folder.join(name), text.as_bytes())?;
    }
    Ok(names.len())
}

/// `filename_lr` of every row, in order.
fn file_names() -> Result<Vec<String>> {
    let mut reader = csv::Reader::from_reader(DATABASE.as_bytes());
    let odd = |error: csv::Error| Error::invalid(format!("the embedded table: {error}"));
    let column = reader
        .headers()
        .map_err(odd)?
        .iter()
        .position(|name| name == "filename_lr");
    let column =
        column.ok_or_else(|| Error::invalid("the embedded table has no column `filename_lr`"))?;
    reader
        .records()
        .map(|row| Ok(row.map_err(odd)?[column].to_owned()))
        .collect()
}

/// Undoes demo/pack.py: `[records][lead, time]` in units of 1/1000 mV.
fn decode(records: usize) -> Result<Vec<Vec<i16>>> {
    let size = LEADS.len() * records * SAMPLES;
    let bytes = zstd::stream::decode_all(SIGNALS)
        .map_err(|error| Error::invalid(format!("the embedded signals: {error}")))?;
    if bytes.len() != 2 * size {
        return Err(Error::invalid(format!(
            "the embedded signals hold {} bytes; {records} records need {}",
            bytes.len(),
            2 * size
        )));
    }
    let (low, high) = bytes.split_at(size);
    let residual = |lead: usize, record: usize, t: usize| -> i32 {
        let at = (lead * records + record) * SAMPLES + t;
        i32::from(i16::from_le_bytes([low[at], high[at]]))
    };
    Ok((0..records)
        .map(|record| {
            let mut x = vec![0i32; LEADS.len() * SAMPLES];
            for lead in [0, 1, 6, 7, 8, 9, 10, 11] {
                let mut value = 0;
                for t in 0..SAMPLES {
                    value += residual(lead, record, t);
                    x[lead * SAMPLES + t] = value;
                }
            }
            for t in 0..SAMPLES {
                let (one, two) = (x[t], x[SAMPLES + t]);
                let three = residual(2, record, t) + two - one;
                x[2 * SAMPLES + t] = three;
                x[3 * SAMPLES + t] = residual(3, record, t) - (one + two).div_euclid(2);
                x[4 * SAMPLES + t] = residual(4, record, t) + (one - three).div_euclid(2);
                x[5 * SAMPLES + t] = residual(5, record, t) + (two + three).div_euclid(2);
            }
            x.into_iter().map(|v| v as i16).collect()
        })
        .collect())
}

fn header(stem: &str, signal: &[i16]) -> String {
    let mut text = format!("{stem} 12 100 {SAMPLES}\n");
    for (lead, row) in LEADS.iter().zip(signal.chunks_exact(SAMPLES)) {
        let sum = row.iter().map(|v| i64::from(*v)).sum::<i64>();
        let checksum = sum.rem_euclid(65_536);
        text += &format!(
            "{stem}.dat 16 1000.0(0)/mV 16 0 {} {checksum} 0 {lead}\n",
            row[0]
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacked_records_open_and_obey_einthoven() {
        let folder = tempfile::tempdir().unwrap();
        let count = unpack(folder.path()).unwrap();
        assert!(count > 100);
        let names = file_names().unwrap();
        for name in names.iter().step_by(29) {
            let path = folder.path().join(name).with_extension("hea");
            let record = purkinje_record::open(&path, &Default::default()).unwrap();
            assert_eq!((record.leads.len(), record.len()), (12, SAMPLES));
            let rows: Vec<&[f32]> = record.rows().collect();
            let gap = (0..SAMPLES)
                .map(|t| (rows[1][t] - rows[0][t] - rows[2][t]).abs())
                .fold(0.0, f32::max);
            assert!(gap < 0.02, "{name}: {gap} mV");
        }
    }
}
