//! Twenty small files of every format, each cut at every byte and with 2,000 bytes changed: whatever is wrong with them, they are
//! read or refused, in memory and time that are in proportion.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::survives;
use purkinje_record::hdf5::Hdf5File;
use purkinje_record::mat::MatFile;
use purkinje_record::{LeadChoice, OpenOptions, Unit, find_records, open, wfdb};

/// Files of each format.
const FILES: usize = 20;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/data")
        .join(name)
}

/// What the files of a format do not say, and what costs most to ask for.
fn options(format: &str) -> OpenOptions {
    OpenOptions {
        rate_hz: Some(500.0),
        array_leads: (format == "npy").then(|| "I,II".parse().unwrap()),
        // Some of these hold whole numbers.
        unit: ["mat4", "hdf5", "npy", "npz"]
            .contains(&format)
            .then_some(Unit::Microvolt),
        keep_digital: true,
        patient_salt: Some("salt".into()),
        ..OpenOptions::default()
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

/// Damages the files of `tests/data/small/FORMAT`, each of which opens as long as it is whole.
fn survive(format: &str, also: impl Fn(&Path)) {
    let files = files(&data("small").join(format));
    assert_eq!(files.len(), FILES, "{format}");
    let strict = options(format);
    let lenient = OpenOptions {
        leads: LeadChoice::Voltages,
        verify: false,
        patient_salt: None,
        ..strict.clone()
    };
    for path in files {
        open(&path, &strict).unwrap_or_else(|error| panic!("{error}"));
        let name = path.display().to_string();
        let extension = path.extension().unwrap().to_str().unwrap();
        survives(&name, &fs::read(&path).unwrap(), extension, |path| {
            // Where the first is refused for a checksum, the second goes on.
            if open(path, &strict).is_err() {
                let _ = open(path, &lenient);
            }
            also(path);
        });
    }
}

fn find(path: &Path) {
    let _ = find_records(path.parent().unwrap());
}

#[test]
fn csv() {
    survive("csv", find);
}

#[test]
fn npy() {
    survive("npy", |_| {});
}

#[test]
fn npz() {
    survive("npz", find);
}

#[test]
fn mat4() {
    survive("mat4", |path| {
        let _ = MatFile::read(path).map(|file| file.summary());
    });
}

#[test]
fn mat5() {
    survive("mat5", |path| {
        let _ = MatFile::read(path).map(|file| file.summary());
    });
}

#[test]
fn hdf5() {
    survive("hdf5", |path| {
        let Ok(file) = Hdf5File::open(path) else {
            return;
        };
        for dataset in file.datasets() {
            let _ = dataset.read::<f32>();
        }
    });
}

#[test]
fn edf() {
    survive("edf", find);
}

#[test]
fn parquet() {
    survive("parquet", find);
}

#[test]
fn dicom() {
    survive("dicom", find);
}

#[test]
fn muse() {
    survive("muse", |_| {});
}

#[test]
fn philips() {
    survive("philips", |_| {});
}

#[test]
fn aecg() {
    survive("aecg", |_| {});
}

/// Real headers; their signal files are absent, or hold too little.
#[test]
fn headers_of_wfdb() {
    let all = files(&data("wfdb"));
    let headers = all
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "hea"))
        .map(|path| fs::read(path).unwrap())
        .filter(|bytes| bytes.len() < 1200);
    let headers: Vec<Vec<u8>> = headers.take(FILES).collect();
    assert_eq!(headers.len(), FILES);
    for bytes in headers {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let named: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split(' ').next())
            .filter(|name| name.ends_with(".dat"))
            .collect();
        survives(&text, &bytes, "hea", |path| {
            for name in &named {
                let beside = path.with_file_name(name);
                if !beside.exists() {
                    fs::write(beside, [7; 300]).unwrap();
                }
            }
            let _ = open(path, &options("wfdb"));
            let _ = wfdb::Header::read(path);
            find(path);
        });
    }
}

/// Every format of signals that is written in bytes, with one to three signals.
#[test]
fn signals_of_wfdb() {
    const FORMATS: [&str; FILES] = [
        "8", "16", "24", "32", "61", "80", "160", "212", "310", "311", "8x3", "16x2", "16+24",
        "24x3", "80:2", "212x2", "212:3", "310x3", "311x2", "32x2",
    ];
    for (n, format) in FORMATS.into_iter().enumerate() {
        let signals = 1 + n % 3;
        let line = format!("damaged.dat {format} 200 12 0 1 0 0 I\n");
        // Fewer frames than there is room for, so that the whole file opens, and cut ones differ.
        let header = format!("damaged {signals} 500 20\n{}", line.repeat(signals));
        let samples: Vec<u8> = (0..1200u32).map(|i| (i * 37 % 251) as u8).collect();
        survives(format, &samples, "dat", |path| {
            let header_path = path.with_extension("hea");
            if !header_path.exists() {
                fs::write(&header_path, &header).unwrap();
            }
            let verify = OpenOptions {
                verify: false,
                ..options("wfdb")
            };
            let _ = open(&header_path, &verify);
        });
    }
}

/// Parts of real annotation files.
#[test]
fn annotations_of_wfdb() {
    let mut parts = 0;
    for name in ["100.atr", "1003.atr", "03700181.gqrsh"] {
        let bytes = fs::read(data("wfdb").join(name)).unwrap();
        for part in bytes.chunks(500).take(8).filter(|part| part.len() == 500) {
            survives(name, &[part, &[0, 0]].concat(), "atr", |path| {
                let _ = wfdb::read_annotations(path);
            });
            parts += 1;
        }
    }
    assert!(parts >= FILES, "{parts}");
}
