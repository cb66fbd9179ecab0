//! What the tests of preparation share.

// Every test program compiles this module and uses a part of it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use purkinje_store::{PrepareOptions, Store};

/// The piece of PTB-XL in this repository: 56 records at 100 Hz, two of them at 500 Hz too.
pub fn ptb_xl() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/ptb-xl")
}

/// Small shards and batches, so that few records fill several.
pub fn small_shards() -> PrepareOptions {
    PrepareOptions {
        rows_per_shard: 5,
        rows_per_batch: 2,
        ..PrepareOptions::default()
    }
}

/// Every file of a store by name.
pub fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// Copies the files of a folder, as a crash at this moment would leave them.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for (name, bytes) in files(from) {
        fs::write(to.join(name), bytes).unwrap();
    }
}

/// Copies a folder with all that is in it.
pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Rows of a CSV table, each by its column names.
pub fn table(path: &Path) -> Vec<BTreeMap<String, String>> {
    csv::Reader::from_path(path)
        .unwrap()
        .deserialize()
        .collect::<Result<_, _>>()
        .unwrap()
}

/// Ids of all rows in order.
pub fn ids(store: &Store) -> Vec<String> {
    store.rows().map(|row| row.id().to_owned()).collect()
}

/// Writes a WFDB record of format 16 at 100 Hz with 1000 units per `unit`; `samples` is `[lead][time]`.
pub fn write_wfdb(dir: &Path, name: &str, leads: &[&str], unit: &str, samples: &[Vec<i16>]) {
    fs::create_dir_all(dir).unwrap();
    let len = samples[0].len();
    let mut header = format!("{name} {} 100 {len}\n", leads.len());
    for (lead, row) in leads.iter().zip(samples) {
        let first = row.first().copied().unwrap_or(0);
        let sum = row.iter().fold(0i16, |sum, &v| sum.wrapping_add(v));
        header += &format!("{name}.dat 16 1000(0)/{unit} 16 0 {first} {sum} 0 {lead}\n");
    }
    let bytes: Vec<u8> = (0..len)
        .flat_map(|t| samples.iter().map(move |row| row[t]))
        .flat_map(i16::to_le_bytes)
        .collect();
    fs::write(dir.join(format!("{name}.hea")), header).unwrap();
    fs::write(dir.join(format!("{name}.dat")), bytes).unwrap();
}

/// The standard leads.
pub const TWELVE: [&str; 12] = [
    "I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6",
];

/// Beats 0.8 s apart, a little different in every lead.
pub fn beating(leads: usize, len: usize) -> Vec<Vec<i16>> {
    (0..leads)
        .map(|lead| {
            (0..len)
                .map(|t| match t % 80 {
                    30 | 34 => 300,
                    31 | 33 => 700,
                    32 => 1000 + 10 * lead as i16,
                    phase => (phase % 7) as i16,
                })
                .collect()
        })
        .collect()
}

/// Runs a script; nothing if Python or one of the modules is not there.
pub fn python(modules: &str, script: &str, args: &[&Path]) -> Option<String> {
    let python = std::env::var("PURKINJE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let probe = Command::new(&python)
        .args(["-c", &format!("import {modules}")])
        .output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        eprintln!("skipped: `{python}` cannot import {modules}; PURKINJE_PYTHON names another");
        return None;
    }
    let output = Command::new(&python)
        .args(["-c", script])
        .args(args)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    Some(String::from_utf8(output.stdout).unwrap())
}
