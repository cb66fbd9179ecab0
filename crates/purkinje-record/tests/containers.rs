//! Formats that hold arrays: files of h5py, scipy, numpy and pyarrow, and real records, against what is known to be in them.

use std::path::{Path, PathBuf};

use purkinje_record::hdf5::{Attribute, Hdf5File};
use purkinje_record::mat::{Class, MatFile, Value};
use purkinje_record::{Lead, LeadChoice, LeadSet, OpenOptions, RecordError, Unit, open};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/data")
        .join(name)
}

fn made(name: &str) -> PathBuf {
    data("containers").join(name)
}

fn at(rate_hz: f64) -> OpenOptions {
    OpenOptions {
        rate_hz: Some(rate_hz),
        ..OpenOptions::default()
    }
}

/// The values that `make.py` writes, `[lead, time]`.
fn x(leads: impl IntoIterator<Item = usize>, time: usize) -> Vec<f32> {
    leads
        .into_iter()
        .flat_map(|lead| (0..time).map(move |t| (100 * lead + t) as f32))
        .collect()
}

fn refused(error: RecordError, parts: &[&str]) {
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn every_layout_of_hdf5_reads_the_same() {
    let file = Hdf5File::open(made("layouts.h5")).unwrap();
    for name in ["contiguous", "compressed", "lzf", "big_endian", "double"] {
        let dataset = file.dataset(name).unwrap();
        assert_eq!(dataset.shape(), [12, 90]);
        assert_eq!(dataset.read::<f32>().unwrap(), x(0..12, 90), "{name}");
        assert_eq!(
            dataset.read_rows::<f32>(4..7).unwrap(),
            x(4..7, 90),
            "{name}"
        );
        assert_eq!(dataset.read_rows::<i64>(11..12).unwrap()[89], 1189);
        assert!(dataset.read_rows::<f32>(5..5).unwrap().is_empty());
        assert!(dataset.read_rows::<f32>(11..13).is_err());
    }
    let half: Vec<f64> = file.dataset("half").unwrap().read().unwrap();
    // Above 1024 halves are even, above 2048 they would be multiples of 4.
    assert_eq!(half[90 * 11 + 88], 1188.0);
    let odd: Vec<i64> = file.dataset("odd").unwrap().read().unwrap();
    let expected: Vec<i64> = (0..12 * 89)
        .map(|i| (i / 89 * 100 + i % 89) % 256)
        .collect();
    assert_eq!(odd, expected);
    let latest = Hdf5File::open(made("latest.h5")).unwrap();
    for name in [
        "contiguous",
        "single",
        "single_packed",
        "fixed_array",
        "fixed_array_packed",
    ] {
        let dataset = latest.dataset(name).unwrap();
        assert_eq!(dataset.read::<f32>().unwrap(), x(0..12, 90), "{name}");
        assert_eq!(dataset.read_rows::<f32>(9..11).unwrap(), x(9..11, 90));
    }
    let pages = latest.dataset("pages").unwrap();
    assert_eq!(
        pages.read::<i64>().unwrap(),
        (0..3000).collect::<Vec<i64>>()
    );
    refused(
        latest
            .dataset("extensible")
            .unwrap()
            .read::<f32>()
            .unwrap_err(),
        &["latest.h5", "extensible", "h5repack"],
    );
}

#[test]
fn everything_in_an_hdf5_file_is_found() {
    let file = Hdf5File::open(made("layouts.h5")).unwrap();
    let numbers = |name: &str| file.dataset(name).unwrap().read::<i64>();
    assert_eq!(numbers("i64").unwrap(), [i64::MIN, i64::MAX, 7]);
    refused(numbers("u64").unwrap_err(), &["u64", "integer"]);
    assert_eq!(numbers("bool").unwrap(), [1, 0, 1]);
    assert_eq!(
        file.dataset("scalar").unwrap().read::<f64>().unwrap(),
        [2.5]
    );
    assert!(numbers("nothing").unwrap().is_empty());
    assert!(file.dataset("empty").is_none());
    assert_eq!(numbers("never").unwrap(), [9; 12]);
    for i in 0..40 {
        let expected: Vec<i64> = (0..=i).collect();
        assert_eq!(numbers(&format!("group/inner/{i:02}")).unwrap(), expected);
    }
    let texts = |name: &str| file.dataset(name).unwrap().read_texts();
    assert_eq!(texts("fixed").unwrap(), ["one", "three"]);
    assert_eq!(texts("texts").unwrap(), ["one", "", "drei \u{e4}"]);
    refused(texts("i64").unwrap_err(), &["i64", "int64", "texts"]);
    refused(numbers("compound").unwrap_err(), &["compound", "numbers"]);

    let mut holes = vec![-1.5f32; 9 * 240];
    for (i, value) in holes[3 * 240..4 * 240].iter_mut().enumerate() {
        *value = i as f32;
    }
    holes[7 * 240 + 48..7 * 240 + 60].fill(5.0);
    let dataset = file.dataset("holes").unwrap();
    assert_eq!(dataset.read::<f32>().unwrap(), holes);
    for row in 0..9 {
        let rows = dataset.read_rows::<f32>(row as u64..row as u64 + 1);
        assert_eq!(rows.unwrap(), holes[row * 240..(row + 1) * 240]);
    }
    assert_eq!(file.attributes()[0].1.text(), Some("by h5py"));
    let contiguous = file.dataset("contiguous").unwrap();
    assert_eq!(contiguous.attribute("fs").unwrap().number(), Some(250.0));
    assert_eq!(
        contiguous.attribute("gains"),
        Some(&Attribute::Numbers(vec![1.5, 2.5]))
    );
    assert!(
        matches!(contiguous.attribute("leads"), Some(Attribute::Texts(t)) if t.len() == 12 && t[3] == "aVR")
    );
}

#[test]
fn hdf5_files_of_one_recording_open() {
    let r = open(made("sph.h5"), &at(500.0)).unwrap();
    assert_eq!(r.leads, LeadSet::standard_12());
    assert_eq!((r.rate_hz, r.len()), (500.0, 90));
    let expected: Vec<f32> = x(0..12, 90).iter().map(|v| v / 256.0).collect();
    for (found, expected) in r.samples_mv().iter().zip(expected) {
        assert!(
            (found - expected).abs() <= expected * 0.0005,
            "{found} {expected}"
        );
    }
    refused(
        open(made("sph.h5"), &OpenOptions::default()).unwrap_err(),
        &["sph.h5", "sampling rate is absent", "attribute"],
    );
    // What the file says is taken, and samples as they are kept.
    let options = OpenOptions {
        keep_digital: true,
        ..OpenOptions::default()
    };
    let r = open(made("said.h5"), &options).unwrap();
    assert_eq!(r.leads, "II,I,V1".parse().unwrap());
    assert_eq!(r.rate_hz, 250.0);
    let expected: Vec<f32> = x([1, 0, 6], 90).iter().map(|v| v / 100.0).collect();
    assert_eq!(r.samples_mv(), expected);
    let digital = r.digital.unwrap();
    assert_eq!(digital.gain_per_mv(), [1000.0; 3]);
    assert_eq!(digital.samples()[90], 0);
    assert_eq!(digital.samples()[1], 1010);
    refused(
        open(data("code-15/exams_part.hdf5"), &at(400.0)).unwrap_err(),
        &["3 x 4096 x 12", "one recording"],
    );
    // Several of two dimensions, none with a telling name.
    refused(
        open(made("layouts.h5"), &at(500.0)).unwrap_err(),
        &[
            "layouts.h5",
            "compressed (12 x 90 of float32)",
            "`tracings`",
        ],
    );
}

#[test]
fn exams_of_code_15_are_the_same_as_hdf5_and_matlab() {
    let file = Hdf5File::open(data("code-15/exams_part.hdf5")).unwrap();
    let ids: Vec<i64> = file.dataset("exam_id").unwrap().read().unwrap();
    assert_eq!(ids, [438_277, 358_121, 1_594_286]);
    let mat = open(data("code-15/code_15_358121.mat"), &OpenOptions::default()).unwrap();
    assert_eq!((mat.rate_hz, mat.leads.len()), (400.0, 12));
    let tracings = file.dataset("tracings").unwrap();
    let exam: Vec<f32> = tracings.read_rows(1..2).unwrap();
    let padding = (4096 - mat.len()) / 2;
    for (lead, row) in mat.rows().enumerate() {
        for t in 0..4096usize {
            let inside = t.checked_sub(padding).and_then(|t| row.get(t));
            assert_eq!(
                exam[12 * t + lead],
                inside.copied().unwrap_or(0.0),
                "{lead} {t}"
            );
        }
    }
    // From many threads at once.
    let all: Vec<f32> = tracings.read().unwrap();
    std::thread::scope(|scope| {
        for i in 0..8u64 {
            let (tracings, all) = (&tracings, &all);
            scope.spawn(move || {
                let row = i % 3;
                let exam: Vec<f32> = tracings.read_rows(row..row + 1).unwrap();
                assert_eq!(exam, all[row as usize * 49_152..][..49_152]);
            });
        }
    });
}

#[test]
fn matlab_values_are_what_scipy_wrote() {
    let file = MatFile::read(made("kinds.mat")).unwrap();
    let numeric = |name: &str| file.get(name).unwrap().numeric().unwrap();
    // Column by column.
    assert_eq!(numeric("i8").to_f64(), [-1.0, 3.0, 2.0, 4.0]);
    assert_eq!(numeric("i8").class, Class::Int8);
    assert_eq!(numeric("u16").to_f64(), [1.0, 65535.0]);
    assert_eq!(file.get("u64").unwrap().scalar(), Some(2f64.powi(53)));
    assert_eq!(file.get("single").unwrap().scalar(), Some(1.5));
    assert_eq!(numeric("logical").to_f64(), [1.0, 0.0]);
    assert_eq!(numeric("empty").dims, [0, 3]);
    assert_eq!(numeric("cube").dims, [2, 3, 4]);
    assert_eq!(numeric("cube").get(1), Some(12.0));
    assert_eq!(file.get("lines").unwrap().text(), Some("abc\nde "));
    assert!(matches!(file.get("complex"), Some(Value::Other(_))));
    let Some(Value::Cell(cells)) = file.get("cell") else {
        panic!("{}", file.summary());
    };
    assert_eq!(cells[0].scalar(), Some(1.0));
    assert_eq!(cells[1].text(), Some("two"));
    assert_eq!(cells[2].numeric().unwrap().to_f64(), [3.0, 4.0]);
    let Some(Value::Struct(nested)) = file.get("nested") else {
        panic!("{}", file.summary());
    };
    let Some(Value::Struct(a)) = nested.get("a") else {
        panic!("{:?}", nested.fields);
    };
    let Some(Value::Struct(b)) = a.get("b") else {
        panic!("{:?}", a.fields);
    };
    assert_eq!(b.get("c").unwrap().scalar(), Some(7.0));
    let Some(Value::Struct(structs)) = file.get("structs") else {
        panic!("{}", file.summary());
    };
    assert_eq!(structs.fields, ["n", "s"]);
    assert_eq!(structs.values[2].scalar(), Some(2.0));
    assert_eq!(structs.values[3].text(), Some("y"));
}

#[test]
fn matlab_files_open_as_recordings() {
    for name in ["feats.mat", "feats_packed.mat"] {
        let r = open(made(name), &OpenOptions::default()).unwrap();
        assert_eq!((r.rate_hz, &r.leads), (500.0, &LeadSet::standard_12()));
        assert_eq!(r.samples_mv(), x(0..12, 90));
        assert_eq!(r.report.as_deref(), Some("Sinus rhythm. Normal ECG \u{e4}"));
        assert_eq!(r.source.format, "mat");
    }
    let options = OpenOptions {
        leads: LeadChoice::Named("V1,I".parse().unwrap()),
        ..at(100.0)
    };
    let r = open(made("feats.mat"), &options).unwrap();
    assert_eq!((r.rate_hz, r.len()), (100.0, 90));
    assert_eq!(r.samples_mv(), x([6, 0], 90));

    refused(
        open(made("level4.mat"), &OpenOptions::default()).unwrap_err(),
        &["level4.mat", "unit of `val`", ".hea"],
    );
    let options = OpenOptions {
        unit: Some(Unit::Microvolt),
        keep_digital: true,
        ..OpenOptions::default()
    };
    let r = open(made("level4.mat"), &options).unwrap();
    assert_eq!(r.rate_hz, 250.0);
    assert_eq!(r.lead_mv(&Lead::V6).unwrap()[5], 11.05);
    assert_eq!(r.digital.unwrap().samples()[91], 1010);

    // One number and nothing else.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.mat");
    let head = [0u32, 1, 1, 0, 2].map(u32::to_le_bytes).concat();
    std::fs::write(&path, [&head[..], b"n\0", &2.5f64.to_le_bytes()].concat()).unwrap();
    refused(
        open(&path, &at(500.0)).unwrap_err(),
        &["one.mat", "n (1x1 double)", "`ECG`"],
    );
}

#[test]
fn records_of_cpsc_2018_open_in_their_own_form() {
    let r = open(data("cpsc2018/native/A1980.mat"), &OpenOptions::default()).unwrap();
    assert_eq!((r.rate_hz, &r.leads), (500.0, &LeadSet::standard_12()));
    assert_eq!(r.len(), 5000);
    assert!(r.age.is_some_and(|age| (1.0..120.0).contains(&age)));
    assert!(matches!(r.sex.as_deref(), Some("male" | "female")));
    // Lead II is the sum of I and III.
    let [one, two, three] = [Lead::I, Lead::II, Lead::III].map(|lead| r.lead_mv(&lead).unwrap());
    for t in 0..r.len() {
        assert!((two[t] - one[t] - three[t]).abs() < 0.02, "{t}");
    }
}

#[test]
fn archives_of_numpy_open() {
    let r = open(made("said.npz"), &OpenOptions::default()).unwrap();
    assert_eq!((r.rate_hz, &r.leads), (500.0, &"I,II,V1".parse().unwrap()));
    assert_eq!(r.samples_mv(), x(0..3, 90));
    let r = open(made("packed.npz"), &at(250.0)).unwrap();
    assert_eq!(r.samples_mv(), x(0..12, 90));
    refused(
        open(made("packed.npz"), &OpenOptions::default()).unwrap_err(),
        &["packed.npz", "sampling rate is absent", "`fs`"],
    );
}

#[test]
fn parquet_tables_open() {
    // Titles out of order, a column of times, several groups of rows, Snappy.
    let r = open(made("time.parquet"), &OpenOptions::default()).unwrap();
    assert_eq!((r.rate_hz, &r.leads), (250.0, &"I,V1,aVR".parse().unwrap()));
    assert_eq!(r.samples_mv(), x([0, 6, 3], 90));
    assert_eq!(r.source.format, "parquet");
    let r = open(made("time.parquet"), &at(100.0)).unwrap();
    assert_eq!((r.rate_hz, r.leads.len()), (100.0, 3));

    // Rate and unit of the metadata, a unit in a title, a null, a column of texts; Zstandard.
    let r = open(made("metadata.parquet"), &OpenOptions::default()).unwrap();
    assert_eq!((r.rate_hz, &r.leads), (250.0, &"II,V2".parse().unwrap()));
    assert_eq!(r.samples_mv()[0], 1.0);
    assert!(r.samples_mv()[1].is_nan());
    assert_eq!(r.samples_mv()[2..], [3.0, 1.0, 2.0, 3.0]);
    let microvolts = OpenOptions {
        unit: Some(Unit::Microvolt),
        ..at(500.0)
    };
    let r = open(made("metadata.parquet"), &microvolts).unwrap();
    assert_eq!(r.rate_hz, 500.0);
    assert_eq!(r.lead_mv(&Lead::V2).unwrap(), [0.001, 0.002, 0.003]);
    let missing = OpenOptions {
        leads: LeadChoice::Named("V6".parse().unwrap()),
        ..OpenOptions::default()
    };
    refused(
        open(made("metadata.parquet"), &missing).unwrap_err(),
        &["no lead V6", "II V2"],
    );
}

#[test]
fn parquet_tables_of_every_writer_and_encoding_read_the_same() {
    for name in ["polars.parquet", "duckdb.parquet"] {
        let r = open(made(name), &at(500.0)).unwrap();
        assert_eq!(r.leads, LeadSet::standard_12(), "{name}");
        assert_eq!(r.samples_mv(), x(0..12, 90), "{name}");
        refused(
            open(made(name), &OpenOptions::default()).unwrap_err(),
            &[name, "sampling rate is absent", "rate_hz"],
        );
    }
    for name in ["brotli.parquet", "lz4.parquet"] {
        let r = open(made(name), &at(250.0)).unwrap();
        assert_eq!(r.leads, "I,V1,aVR".parse().unwrap(), "{name}");
        assert_eq!(r.samples_mv(), x([0, 6, 3], 90), "{name}");
    }
    for name in ["encodings.parquet", "plain.parquet"] {
        let r = open(made(name), &OpenOptions::default()).unwrap();
        let leads = "I,II,III,aVR,aVL,aVF,V1,V2,V3,V4".parse().unwrap();
        assert_eq!((r.rate_hz, &r.leads), (250.0, &leads), "{name}");
        let nullable = [1, 2, 4, 6, 7];
        for (i, (found, expected)) in r.samples_mv().iter().zip(x(0..10, 90)).enumerate() {
            if nullable.contains(&(i / 90)) && (i % 90).is_multiple_of(7) {
                assert!(found.is_nan(), "{name} {i}");
            } else {
                assert_eq!(*found, expected, "{name} {i}");
            }
        }
    }
}

#[test]
fn parquet_tables_with_faults_are_refused() {
    let bytes = std::fs::read(made("encodings.parquet")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.parquet");
    let refused_as = |bytes: &[u8], parts: &[&str]| {
        std::fs::write(&path, bytes).unwrap();
        refused(open(&path, &OpenOptions::default()).unwrap_err(), parts);
    };
    refused_as(b"PAR1", &["r.parquet", "footer", "absent"]);
    refused_as(
        &bytes[..bytes.len() - 1],
        &["does not end with the mark PAR1"],
    );
    refused_as(&[&bytes[1..], b""].concat(), &["does not start"]);
    // What is changed within a page, its checksum tells.
    let told = (4..bytes.len() - 8).step_by(5).filter(|&at| {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        let found = open(&path, &OpenOptions::default()).map_err(|error| error.to_string());
        found.is_err_and(|message| message.contains("a page with the checksum"))
    });
    let told = told.count();
    assert!(told > 100, "{told}");
    let mut long = bytes.clone();
    let at = long.len() - 8;
    long[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    refused_as(&long, &["footer", "4294967295 bytes", "limit"]);
    long[at..at + 4].copy_from_slice(&60_000u32.to_le_bytes());
    refused_as(&long, &["footer", "longer than the file"]);
}

#[test]
fn edf_holds_the_same_record_as_wfdb() {
    let edf = open(data("same_record/A0001.edf"), &OpenOptions::default()).unwrap();
    let wfdb = open(data("same_record/A0001.hea"), &OpenOptions::default()).unwrap();
    assert_eq!((edf.rate_hz, &edf.leads), (500.0, &wfdb.leads));
    assert_eq!(edf.samples_mv().len(), wfdb.samples_mv().len());
    for (edf, wfdb) in edf.samples_mv().iter().zip(wfdb.samples_mv()) {
        assert!((edf - wfdb).abs() < 0.00004, "{edf} {wfdb}");
    }
    assert!(edf.annotations.is_empty());
    assert_eq!((edf.patient, edf.age, edf.sex), (None, None, None));
}

#[test]
fn edf_says_more_than_samples() {
    let named = |leads: &str| OpenOptions {
        leads: LeadChoice::Named(leads.parse().unwrap()),
        keep_digital: true,
        patient_salt: Some("pepper".into()),
        ..OpenOptions::default()
    };
    let path = made("rates.edf");
    let r = open(&path, &named("II,I")).unwrap();
    assert_eq!((r.rate_hz, r.len()), (250.0, 750));
    for t in 0..750 {
        assert!((r.samples_mv()[t] - 0.002 * t as f32).abs() < 0.000_06);
        assert!((r.samples_mv()[750 + t] - 0.001 * t as f32).abs() < 0.000_06);
    }
    let digital = r.digital.as_ref().unwrap();
    assert_eq!(digital.samples()[750 + 10], 100);
    assert!((digital.gain_per_mv()[0] - 10_000.0).abs() < 1e-6);
    assert_eq!((r.age, r.sex.as_deref()), (Some(50.0), Some("female")));
    let patient = r.patient.unwrap();
    assert!(patient.len() == 32 && !patient.contains("MCH"));
    let marks: Vec<_> = r
        .annotations
        .iter()
        .map(|a| {
            (
                a.sample,
                a.lead.clone(),
                a.symbol.as_str(),
                a.note.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        marks,
        [
            (125, None, "N", None),
            (313, Some(Lead::I), "\"", Some("noise")),
            (500, None, "\"", Some("Lights off")),
        ]
    );
    assert_eq!(r.source.comments, ["prefilter ECG I: HP:0.05Hz"]);

    let v1 = open(&path, &named("V1")).unwrap();
    assert_eq!((v1.rate_hz, v1.len()), (500.0, 1500));
    assert!((v1.samples_mv()[1499] - 1.0).abs() < 0.0002);
    refused(
        open(&path, &OpenOptions::default()).unwrap_err(),
        &["rates.edf", "Resp", "ohm"],
    );
    let voltages = OpenOptions {
        leads: LeadChoice::Voltages,
        ..OpenOptions::default()
    };
    refused(
        open(&path, &voltages).unwrap_err(),
        &["ECG I", "250 samples per frame", "Lead V1", "500"],
    );
    refused(
        open(&path, &named("V6")).unwrap_err(),
        &["no lead V6", "I II Resp V1"],
    );

    // The same file, said to have gaps: it opens while there is none.
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[192..197].copy_from_slice(b"EDF+D");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gaps.edf");
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(open(&path, &named("I")).unwrap().len(), 750);
    let third = bytes.windows(4).position(|w| w == b"+2\x14\x14").unwrap();
    bytes[third + 1] = b'7';
    std::fs::write(&path, &bytes).unwrap();
    refused(
        open(&path, &named("I")).unwrap_err(),
        &["gaps.edf", "data record 3", "7 s", "no gaps"],
    );
    // Cut off while the header does not know how long it should be.
    bytes[236..244].copy_from_slice(b"-1      ");
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    assert_eq!(open(&path, &named("I")).unwrap().len(), 500);
}
