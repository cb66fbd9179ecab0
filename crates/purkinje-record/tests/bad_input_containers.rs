//! Damaged files of the formats that hold arrays and tables: whatever is wrong with them, they are read or refused.

mod common;

use std::path::{Path, PathBuf};

use purkinje_record::hdf5::Hdf5File;
use purkinje_record::mat::MatFile;
use purkinje_record::{LeadChoice, OpenOptions, find_records, open};

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data")
}

fn options() -> OpenOptions {
    OpenOptions {
        rate_hz: Some(500.0),
        keep_digital: true,
        ..OpenOptions::default()
    }
}

/// Damages the file `name` of the test data and opens what remains, also as `also` does.
fn survives_with(name: &str, also: impl Fn(&Path)) {
    let path = data().join(name);
    let bytes = std::fs::read(&path).unwrap();
    let extension = path.extension().unwrap().to_str().unwrap();
    common::survives(name, &bytes, extension, |path| {
        let _ = open(path, &options());
        also(path);
    });
}

fn survives(name: &str) {
    survives_with(name, |_| {});
}

fn hdf5(path: &Path) {
    let Ok(file) = Hdf5File::open(path) else {
        return;
    };
    for dataset in file.datasets() {
        let _ = dataset.read::<f32>();
        let _ = dataset.read_texts();
        if let Some(&rows) = dataset.shape().first().filter(|&&rows| rows > 0) {
            let _ = dataset.read_rows::<i64>(rows - 1..rows);
        }
    }
}

fn mat(path: &Path) {
    let _ = MatFile::read(path).map(|file| file.summary());
}

#[test]
fn csv() {
    let bytes = std::fs::read(data().join("same_record/A0002.csv")).unwrap();
    common::survives("A0002.csv", &bytes[..40_000], "csv", |path| {
        let _ = open(path, &options());
    });
}

#[test]
fn parquet() {
    for name in [
        "time",
        "metadata",
        "encodings",
        "plain",
        "polars",
        "duckdb",
        "brotli",
        "lz4",
    ] {
        survives_with(&format!("containers/{name}.parquet"), |path| {
            // Past the checksums and all that is wrong with one column.
            for lead in ["I", "V1"] {
                let one = OpenOptions {
                    leads: LeadChoice::Named(lead.parse().unwrap()),
                    verify: false,
                    ..OpenOptions::default()
                };
                let _ = open(path, &one);
            }
            let _ = find_records(path.parent().unwrap());
        });
    }
}

#[test]
fn layouts_of_hdf5() {
    survives_with("containers/layouts.h5", hdf5);
}

#[test]
fn new_layouts_of_hdf5() {
    survives_with("containers/latest.h5", hdf5);
}

#[test]
fn recordings_in_hdf5() {
    survives_with("containers/said.h5", hdf5);
    survives_with("containers/sph.h5", hdf5);
}

#[test]
fn values_of_matlab() {
    survives_with("containers/kinds.mat", mat);
    survives_with("containers/level4.mat", mat);
    survives_with("containers/feats_packed.mat", mat);
    survives_with("containers/feats.mat", mat);
}

#[test]
fn arrays_of_leads() {
    for name in [
        "lead-arrays/strips.h5",
        "lead-arrays/gains.h5",
        "lead-arrays/level5.mat",
        "lead-arrays/level4.mat",
        "lead-arrays/times.npz",
    ] {
        survives(&format!("world/{name}"));
    }
}

#[test]
fn structs_and_cells_of_matlab() {
    for name in [
        "named-leads/v73-cells.mat",
        "headers/level5.mat",
        "headers/level73.mat",
    ] {
        survives(&format!("world/{name}"));
    }
}

#[test]
fn archives_of_numpy() {
    survives("world/objects/leads.npz");
    survives("containers/said.npz");
    survives("containers/packed.npz");
}

#[test]
fn edf() {
    survives_with("containers/rates.edf", |path| {
        let options = OpenOptions {
            leads: LeadChoice::Named("V1".parse().unwrap()),
            ..options()
        };
        let _ = open(path, &options);
    });
}
