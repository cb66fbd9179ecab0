//! Damaged files of the formats that hold arrays and tables: whatever is wrong with them, they are read or refused.

mod common;

use std::path::{Path, PathBuf};

use purkinje_record::{OpenOptions, open};

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data")
}

fn options() -> OpenOptions {
    OpenOptions {
        rate_hz: Some(500.0),
        ..OpenOptions::default()
    }
}

/// Damages `bytes`, a file with the name `extension`, and opens what remains.
fn survives(name: &str, bytes: &[u8], extension: &str) {
    common::survives(name, bytes, extension, |path| {
        let _ = open(path, &options());
    });
}

#[test]
fn csv() {
    let bytes = std::fs::read(data().join("same_record/A0002.csv")).unwrap();
    survives("A0002.csv", &bytes[..40_000], "csv");
}
