//! Every record and annotation file of the fixtures against what the WFDB Python package reads from it, to the bit.

use std::path::{Path, PathBuf};

use purkinje_record::RecordError;
use purkinje_record::wfdb::{ReadOptions, Signal, WfdbRecord, read_annotations};
use serde_json::Value;
use sha2::{Digest, Sha256};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/wfdb")
}

fn expected(section: &str) -> Vec<(String, Value)> {
    let text = std::fs::read_to_string(folder().join("expected.json")).unwrap();
    let mut all: Value = serde_json::from_str(&text).unwrap();
    let Value::Object(section) = all[section].take() else {
        panic!("no section {section}")
    };
    section.into_iter().collect()
}

fn sha256(bytes: impl Iterator<Item = [u8; 8]>) -> String {
    let mut hash = Sha256::new();
    let mut buffer = Vec::new();
    for value in bytes {
        buffer.extend(value);
    }
    hash.update(&buffer);
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn every_record_equals_the_reference() {
    let (mut read, mut partly_missing) = (0, 0);
    for (name, want) in expected("records") {
        if want.get("error").is_some() {
            continue;
        }
        let path = folder().join(format!("{name}.hea"));
        let record = WfdbRecord::read(&path, &ReadOptions::default())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(
            record.header.rate_hz,
            want["fs"].as_f64().unwrap(),
            "{name}"
        );
        assert_eq!(
            record.frames as u64,
            want["sig_len"].as_u64().unwrap(),
            "{name}"
        );
        let names: Vec<&str> = record.signals.iter().map(|s| s.name()).collect();
        assert_eq!(serde_json::json!(names), want["names"], "{name}");
        assert_eq!(
            serde_json::json!(record.header.comments),
            want["comments"],
            "{name}"
        );
        let signals = want["signals"].as_array().unwrap();
        assert_eq!(record.signals.len(), signals.len(), "{name}");
        for (signal, want) in record.signals.iter().zip(signals) {
            let at = format!("{name}, {}", signal.name());
            assert_eq!(
                signal.digital.len() as u64,
                want["n"].as_u64().unwrap(),
                "{at}"
            );
            let first: Vec<i32> = signal.digital.iter().copied().take(6).collect();
            let want_first = want["first"].as_array().unwrap();
            assert_eq!(
                &serde_json::json!(first).as_array().unwrap()[..want_first.len()],
                want_first,
                "{at}"
            );
            assert_eq!(
                sha256(signal.digital.iter().map(|&v| i64::from(v).to_le_bytes())),
                want["sha256_i64le"],
                "{at}"
            );
            assert_eq!(signal.spec.format.code().to_string(), want["fmt"], "{at}");
            assert_eq!(signal.spec.gain, want["gain"].as_f64().unwrap(), "{at}");
            assert_eq!(i64::from(signal.spec.baseline), want["baseline"], "{at}");
            assert_eq!(signal.spec.unit, want["units"], "{at}");
            assert_eq!(
                u64::from(signal.spec.samples_per_frame),
                want["samps_per_frame"],
                "{at}"
            );
        }
        let mut columns: Vec<Vec<f64>> = record
            .signals
            .iter()
            .map(|s| s.physical_per_frame())
            .collect();
        for (signal, column) in record.signals.iter().zip(&mut columns) {
            partly_missing += as_the_reference_averages(signal, column);
        }
        let missing: usize = columns.iter().flatten().filter(|v| v.is_nan()).count();
        assert_eq!(missing as u64, want["physical_nan"], "{name}");
        let rows = (0..record.frames).flat_map(|t| columns.iter().map(move |column| column[t]));
        let hash = sha256(rows.map(|v| if v.is_nan() { -9e9f64 } else { v }.to_le_bytes()));
        assert_eq!(hash, want["physical_sha256_f64le"], "{name}");
        read += 1;
    }
    assert_eq!(read, 64);
    // One such frame in the record 041s and again in its segment.
    assert_eq!(partly_missing, 2);
}

/// Where only some samples of a frame are missing, the average is missing, too. The reference averages the code for
/// "missing" as if it were a voltage; to compare everything else, this puts its value where ours is NaN, and counts such frames.
fn as_the_reference_averages(signal: &Signal, column: &mut [f64]) -> usize {
    let per_frame = signal.spec.samples_per_frame as usize;
    let missing = signal.spec.format.missing_code();
    let mut partly = 0;
    for (value, frame) in column
        .iter_mut()
        .zip(signal.digital.chunks_exact(per_frame))
    {
        let absent = frame.iter().filter(|&&v| Some(v) == missing).count();
        assert_eq!(value.is_nan(), absent > 0);
        if absent > 0 && absent < per_frame {
            let mean = frame.iter().map(|&v| i64::from(v)).sum::<i64>() / per_frame as i64;
            *value = (mean as f64 - f64::from(signal.spec.baseline)) / signal.spec.gain;
            partly += 1;
        }
    }
    partly
}

#[test]
fn what_the_reference_declines_is_read_or_refused_clearly() {
    for (name, want) in expected("records") {
        if want.get("error").is_none() {
            continue;
        }
        let path = folder().join(format!("{name}.hea"));
        let result = WfdbRecord::read(&path, &ReadOptions::default());
        match name.rsplit('/').next().unwrap() {
            "03700181" | "1003" | "12726" => {
                assert!(
                    matches!(result, Err(RecordError::MissingFile { .. })),
                    "{name}"
                );
            }
            layout if layout.ends_with("_layout") => {
                assert!(
                    matches!(result, Err(RecordError::NoSamples { .. })),
                    "{name}"
                );
            }
            "s00001-2896-10-09-01-56" => {
                let record = result.unwrap();
                assert_eq!((record.frames, record.signals.len()), (7500, 4));
                for signal in &record.signals {
                    assert!(signal.physical().iter().all(|v| v.is_nan()));
                }
            }
            "s25047-2704-05-04-10-44" => check_variable_layout(&result.unwrap()),
            other => panic!("{other}: {result:?}"),
        }
    }
}

/// Every segment of the variable-layout record must reappear in it at its place, physically unchanged.
fn check_variable_layout(record: &WfdbRecord) {
    assert_eq!(record.frames, 543_240);
    let whole: Vec<Vec<f64>> = record.signals.iter().map(|s| s.physical()).collect();
    let names: Vec<&str> = record.signals.iter().map(|s| s.name()).collect();
    assert_eq!(names, ["II", "V", "ABP"]);
    let mut start = 0;
    let mut segments = 0;
    for segment in &record.header.segments[1..] {
        let end = start + segment.frames as usize;
        let part = (segment.name != "~").then(|| {
            let path = record.path.with_file_name(format!("{}.hea", segment.name));
            WfdbRecord::read(&path, &ReadOptions::default()).unwrap()
        });
        for (name, whole) in names.iter().zip(&whole) {
            let here = &whole[start..end];
            let signal = part
                .as_ref()
                .and_then(|part| part.signals.iter().find(|s| s.name() == *name));
            match signal {
                Some(signal) => {
                    let same = |(a, b): (&f64, &f64)| {
                        a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
                    };
                    assert!(
                        here.iter().zip(&signal.physical()).all(same),
                        "{name} in {}",
                        segment.name
                    );
                    segments += 1;
                }
                None => assert!(
                    here.iter().all(|v| v.is_nan()),
                    "{name} in {}",
                    segment.name
                ),
            }
        }
        start = end;
    }
    assert_eq!(start, record.frames);
    assert_eq!(segments, 38);
}

#[test]
fn every_annotation_file_equals_the_reference() {
    let mut read = 0;
    for (name, want) in expected("annotations") {
        let file = read_annotations(&folder().join(&name));
        let file = file.unwrap_or_else(|error| panic!("{name}: {error}"));
        let marks = file.marks;
        let resolution = (name == "03700181.gqrsh").then_some(500.0);
        assert_eq!(file.rate_hz, resolution, "{name}");
        if want.get("error").is_some() {
            // The reference fails on the code that the file itself defines.
            assert_eq!(file.comments, ["42 CAL Calibration"]);
            assert!(
                marks
                    .iter()
                    .any(|mark| mark.code == 42 && mark.symbol == "CAL")
            );
            continue;
        }
        assert_eq!(marks.len() as u64, want["n"], "{name}");
        let samples = marks.iter().map(|m| m.sample.to_le_bytes());
        assert_eq!(sha256(samples), want["sample_sha256_i64le"], "{name}");
        let symbols: Vec<&str> = marks.iter().map(|m| m.symbol.as_str()).collect();
        let first = want["symbols_first"].as_array().unwrap();
        assert_eq!(
            serde_json::json!(&symbols[..first.len()]),
            want["symbols_first"],
            "{name}"
        );
        let joined = hex(&Sha256::digest(symbols.join("\n")));
        assert_eq!(joined, want["symbols_sha256"], "{name}");
        let notes = marks.iter().filter(|m| m.note.is_some()).count();
        assert_eq!(notes as u64, want["aux_nonempty"], "{name}");
        let subtypes = marks.iter().filter(|m| m.subtype != 0).count();
        assert_eq!(subtypes as u64, want["subtype_nonzero"], "{name}");
        let channels: u64 = marks.iter().map(|m| u64::from(m.channel)).sum();
        assert_eq!(channels, want["chan_sum"], "{name}");
        read += 1;
    }
    assert_eq!(read, 7);
}
