//! Files of recorders and how they arrive: EDF and BDF with the units and lengths that are met, Holter recordings, compressed files, and
//! what is saved under the name of a recording and is none. What is right for BDF and ISHNE was read by pyedflib and ishneholterlib
//! (`tests/data/world/devices/make.py`).

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use purkinje_record::{
    Lead, LeadChoice, OpenOptions, Reader, RecordError, Recording, Unit, find_records, open,
};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/data")
        .join(name)
}

fn voltages() -> OpenOptions {
    OpenOptions {
        leads: LeadChoice::Voltages,
        ..OpenOptions::default()
    }
}

fn named(leads: &str) -> OpenOptions {
    OpenOptions {
        leads: LeadChoice::Named(leads.parse().unwrap()),
        ..OpenOptions::default()
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }
}

fn refused(error: RecordError, parts: &[&str]) {
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "{message}: no `{part}`");
    }
}

/// The same samples to the bit, also by stretches.
fn same(path: &Path, options: &OpenOptions, expected: &Recording) {
    let found = open(path, options).unwrap_or_else(|error| panic!("{error}"));
    let bits = |r: &Recording| -> Vec<u32> { r.samples_mv().iter().map(|v| v.to_bits()).collect() };
    assert_eq!(bits(&found), bits(expected), "{}", path.display());
    assert_eq!(
        (found.rate_hz, &found.leads),
        (expected.rate_hz, &expected.leads)
    );
    assert_eq!(found.source.path, path);
    let reader = Reader::beyond(path, options, 0).unwrap();
    assert_eq!(reader.len(), expected.len());
    assert_eq!(reader.about().source, found.source);
    assert_eq!(
        (&reader.about().id, &reader.about().patient),
        (&found.id, &found.patient)
    );
    assert_eq!(reader.about().annotations, found.annotations);
    let len = expected.len();
    for place in [0..len, len / 3..len / 2, len - 1..len] {
        let read = reader.read(&place).unwrap();
        assert_eq!(
            bits(&read),
            bits(&expected.stretch(&place)),
            "{}",
            path.display()
        );
        assert_eq!(read.id, found.id);
    }
}

const SOURCE: &str = "world/lead-spellings/mdc.edf";
/// Leads of that file.
const SIGNALS: usize = 12;

/// The file with another unit in place of `uV`.
fn with_unit(unit: &[u8]) -> Vec<u8> {
    let mut bytes = fs::read(data(SOURCE)).unwrap();
    for signal in 0..SIGNALS {
        let at = 256 + signals(&bytes) * 96 + 8 * signal;
        assert_eq!(&bytes[at..at + 3], b"uV ");
        bytes[at..at + 8].fill(b' ');
        bytes[at..at + unit.len()].copy_from_slice(unit);
    }
    bytes
}

#[test]
fn units_of_edf_count_in_every_encoding_and_spelling() {
    let folder = Folder::new();
    let expected = open(data(SOURCE), &voltages()).unwrap();
    for unit in [
        &b"\xc2\xb5V"[..],
        b"\xce\xbcV",
        b"\xb5V",
        b"\x83\xcaV",
        b"\xa6\xccV",
        b"microV",
        b"micro-vo",
        b"mikroV",
        b"uVolt",
        b"microvol",
    ] {
        let path = folder.write("r.edf", with_unit(unit));
        same(&path, &voltages(), &expected);
    }
}

#[test]
fn a_unit_from_the_caller_counts_for_what_is_meant() {
    let folder = Folder::new();
    let path = folder.write("r.edf", with_unit(b"foo"));
    refused(
        open(&path, &voltages()).unwrap_err(),
        &["`MDC_ECG_LEAD_I` in `foo`", "V, mV, uV", "--input-unit"],
    );
    refused(
        open(&path, &named("I,V2")).unwrap_err(),
        &["`MDC_ECG_LEAD_I`", "`foo`", "--input-unit"],
    );
    refused(
        open(&path, &OpenOptions::default()).unwrap_err(),
        &["`foo`", "by name"],
    );
    let given = |options: OpenOptions| OpenOptions {
        unit: Some(Unit::Microvolt),
        ..options
    };
    same(
        &path,
        &given(voltages()),
        &open(data(SOURCE), &voltages()).unwrap(),
    );
    same(
        &path,
        &given(named("I,V2")),
        &open(data(SOURCE), &named("I,V2")).unwrap(),
    );
    // Not for what is no lead and was not asked for, and never against the file.
    let rates = data("containers/rates.edf");
    refused(
        open(&rates, &given(OpenOptions::default())).unwrap_err(),
        &["Resp", "ohm"],
    );
    let mv = OpenOptions {
        unit: Some(Unit::Millivolt),
        ..named("I")
    };
    same(
        &data(SOURCE),
        &mv,
        &open(data(SOURCE), &named("I")).unwrap(),
    );
}

#[test]
fn a_data_record_too_many_or_cut_off_costs_that_part_only() {
    let folder = Folder::new();
    for (name, leads) in [
        ("containers/rates.edf", "II,I"),
        ("world/devices/plus.bdf", "I"),
    ] {
        let bytes = fs::read(data(name)).unwrap();
        let whole = open(data(name), &named(leads)).unwrap();
        let records = 3;
        let per_record = whole.len() / records;
        let extension = name.rsplit('.').next().unwrap();
        let record_bytes = (bytes.len() - 256 * (1 + signals(&bytes))) / records;
        let short = whole.stretch(&(0..2 * per_record));

        let path = folder.write(&format!("cut.{extension}"), &bytes[..bytes.len() - 1]);
        same(&path, &named(leads), &short);
        let said = open(&path, &named(leads)).unwrap().source.comments;
        assert!(
            said.iter()
                .any(|c| c.contains("2 of 3 data records are whole")),
            "{said:?}"
        );

        let more = [&bytes[..], &bytes[bytes.len() - record_bytes..]].concat();
        let path = folder.write(&format!("more.{extension}"), &more);
        same(&path, &named(leads), &whole);
        let said = open(&path, &named(leads)).unwrap().source.comments;
        assert!(
            said.iter()
                .any(|c| c.contains("4 data records") && c.contains("says 3")),
            "{said:?}"
        );

        let path = folder.write(
            &format!("none.{extension}"),
            &bytes[..bytes.len() - 3 * record_bytes + 5],
        );
        refused(
            open(&path, &named(leads)).unwrap_err(),
            &["ends too early", "first data record"],
        );
    }
}

fn signals(header: &[u8]) -> usize {
    std::str::from_utf8(&header[252..256])
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

#[test]
fn files_of_recorders_are_told_by_their_mark() {
    let folder = Folder::new();
    let mut paths = Vec::new();
    for (name, copies) in [
        (SOURCE, &["a.rec", "b"][..]),
        ("world/devices/plain.bdf", &["c", "d.rec", "e.edf"]),
        ("world/devices/each.ecg", &["f.ecg", "g", "h.ISHNE"]),
    ] {
        let expected = open(data(name), &voltages()).unwrap();
        for copy in copies {
            let path = folder.write(copy, fs::read(data(name)).unwrap());
            same(&path, &voltages(), &expected);
            paths.push(path);
        }
    }
    folder.write("notes.rec", "0       and more");
    paths.sort();
    assert_eq!(find_records(folder.0.path()).unwrap().records, paths);
    for (name, bytes, parts) in [
        (
            "x.mwf",
            &b"\x01\x01\x01"[..],
            &["MFER", "convert it to"][..],
        ),
        (
            "x",
            b"@ MFR Standard 12 leads ECG     ",
            &["MFER", "convert it to"],
        ),
        ("x.ann", b"ANN  1.0", &["annotations of an ISHNE recording"]),
    ] {
        let path = folder.write(name, bytes);
        refused(open(&path, &voltages()).unwrap_err(), parts);
    }
}

/// For each file and lead: samples 0, 1, 400 and 599 and the sum of all, in microvolts.
fn expected() -> BTreeMap<String, BTreeMap<String, Vec<f64>>> {
    let text = fs::read_to_string(data("world/devices/expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn bdf_and_ishne_hold_what_other_readers_take_from_them() {
    for (name, leads) in expected() {
        let path = data("world/devices").join(&name);
        let found = open(&path, &OpenOptions::default()).unwrap();
        assert_eq!(
            (found.rate_hz, found.len(), found.leads.len()),
            (500.0, 600, leads.len())
        );
        for (lead, values) in &leads {
            let own = found.lead_mv(&Lead::parse(lead)).unwrap();
            let uv: Vec<f64> = own.iter().map(|&mv| 1000.0 * f64::from(mv)).collect();
            // A sample in f32 is off by less than this here.
            for (at, value) in [0, 1, 400, 599].into_iter().zip(values) {
                assert!(
                    (uv[at] - value).abs() < 0.02,
                    "{name}, {lead}: {} {value}",
                    uv[at]
                );
            }
            let sum: f64 = uv.iter().sum();
            assert!(
                (sum - values[4]).abs() < 5.0,
                "{name}, {lead}: {sum} {}",
                values[4]
            );
        }
        same(&path, &OpenOptions::default(), &found);
    }
}

#[test]
fn sixteen_bits_are_kept_of_24_where_they_are_exact() {
    let keep = |leads: &str| OpenOptions {
        keep_digital: true,
        ..named(leads)
    };
    let path = data("world/devices/plain.bdf");
    assert!(open(&path, &keep("I")).unwrap().digital.is_some());
    // Its offset of 110 mV is beyond 16 bits.
    assert!(open(&path, &keep("V6")).unwrap().digital.is_none());
    let digital = open(data("world/devices/each.ecg"), &keep("V1"))
        .unwrap()
        .digital;
    assert_eq!(digital.unwrap().gain_per_mv(), [500.0]);
    let marks = open(data("world/devices/plus.bdf"), &keep("I"))
        .unwrap()
        .annotations;
    let marks: Vec<_> = marks
        .iter()
        .map(|m| (m.sample, m.symbol.as_str()))
        .collect();
    assert_eq!(marks, [(250, "N"), (500, "\"")]);
}

fn ishne() -> Vec<u8> {
    fs::read(data("world/devices/all.ishne")).unwrap()
}

/// With the checksum of what it says now.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let text = i32::from_le_bytes(bytes[10..14].try_into().unwrap()) as usize;
    let mut crc = 0xffffu16;
    for byte in &bytes[10..522 + text] {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 != 0 {
                crc << 1 ^ 0x1021
            } else {
                crc << 1
            };
        }
    }
    bytes[8..10].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[test]
fn holter_recordings_say_what_may_be_kept() {
    let folder = Folder::new();
    let salted = OpenOptions {
        patient_salt: Some("salt".into()),
        ..OpenOptions::default()
    };
    let found = open(data("world/devices/all.ishne"), &salted).unwrap();
    assert_eq!(
        (found.age, found.sex.as_deref()),
        (Some(50.0), Some("female"))
    );
    assert_eq!(found.patient.as_ref().unwrap().len(), 32);
    let said = format!(
        "{:?}",
        open(data("world/devices/all.ishne"), &OpenOptions::default())
            .unwrap()
            .stretch(&(0..0))
    );
    for identifier in ["Harry", "Haagse", "MCH", "1951"] {
        assert!(!said.contains(identifier), "{said}");
    }

    let put = |at: usize, value: i16| {
        let mut bytes = ishne();
        bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    let path = folder.write("r.ecg", put(128, 1));
    refused(
        open(&path, &salted).unwrap_err(),
        &["the checksum of the header", "skip the check"],
    );
    let unchecked = OpenOptions {
        verify: false,
        ..OpenOptions::default()
    };
    assert_eq!(
        open(&path, &unchecked).unwrap().sex.as_deref(),
        Some("male")
    );
    for (at, value, parts) in [
        (156, -9, &["number of leads", "-9", "1 to 12"][..]),
        (156, 13, &["number of leads", "13"]),
        (272, -9, &["sampling rate", "-9"]),
        (206, -9, &["amplitude resolution of lead I", "-9"]),
        (22, 100, &["offset of the samples", "100"]),
    ] {
        let path = folder.write("r.ecg", sealed(put(at, value)));
        refused(open(&path, &OpenOptions::default()).unwrap_err(), parts);
    }
    // Of a lead that is not asked for nothing has to be known; a birth date that is not known gives no age.
    let path = folder.write("r.ecg", sealed(put(206, -9)));
    assert_eq!(open(&path, &named("II")).unwrap().len(), 600);
    let path = folder.write("r.ecg", sealed(put(132, -9)));
    assert_eq!(open(&path, &named("II")).unwrap().age, None);
    let path = folder.write("r.ecg", sealed(put(158, 0)));
    assert_eq!(
        open(&path, &OpenOptions::default()).unwrap().leads.leads()[0].name(),
        "channel 1"
    );

    // A missing sample, a file cut off, a file with more than its header says.
    let mut bytes = ishne();
    let start = bytes.len() - 600 * 6;
    bytes[start..start + 2].copy_from_slice(&i16::MIN.to_le_bytes());
    let path = folder.write("r.ecg", &bytes);
    let found = open(&path, &OpenOptions::default()).unwrap();
    assert!(found.samples_mv()[0].is_nan() && found.source.comments.is_empty());
    let path = folder.write("r.ecg", &bytes[..bytes.len() - 7]);
    let cut = open(&path, &OpenOptions::default()).unwrap();
    assert_eq!(cut.len(), 598);
    assert!(
        cut.source.comments[0].contains("the file ends early"),
        "{:?}",
        cut.source
    );
    let each = fs::read(data("world/devices/each.ecg")).unwrap();
    let path = folder.write("r.ecg", [&each[..], &[0; 60]].concat());
    let more = open(&path, &OpenOptions::default()).unwrap();
    assert_eq!(more.len(), 600);
    assert!(
        more.source.comments[0].contains("610 samples of each lead"),
        "{:?}",
        more.source
    );
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A zip archive of these files, deflated.
fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in files {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        let packed = encoder.finish().unwrap();
        let at = archive.len() as u32;
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        let mut common = vec![20, 0, 0, 0, 8, 0, 0, 0, 0, 0];
        for number in [crc.sum(), packed.len() as u32, bytes.len() as u32] {
            common.extend(number.to_le_bytes());
        }
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        archive.extend(b"PK\x03\x04");
        archive.extend(&common);
        archive.extend(name.as_bytes());
        archive.extend(packed);
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(at.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (at, size, count) = (
        archive.len() as u32,
        directory.len() as u32,
        files.len() as u16,
    );
    archive.extend(directory);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    archive.extend([size.to_le_bytes(), at.to_le_bytes()].concat());
    archive.extend([0, 0]);
    archive
}

#[test]
fn compressed_files_are_read_through() {
    let folder = Folder::new();
    let mut paths = Vec::new();
    for name in [
        SOURCE,
        "world/devices/plus.bdf",
        "world/devices/each.ecg",
        "world/lead-spellings/unit.csv",
        "world/lead-spellings/mdc-name.dcm",
        "same_record/A0001.xml",
    ] {
        let Ok(bytes) = fs::read(data(name)) else {
            continue;
        };
        let expected = open(data(name), &voltages()).unwrap();
        let own = Path::new(name).file_name().unwrap().to_str().unwrap();
        let path = folder.write(&format!("{own}.gz"), gz(&bytes));
        same(&path, &voltages(), &expected);
        assert_eq!(open(&path, &voltages()).unwrap().id, expected.id);
        paths.push(path);
        let path = folder.write(
            &format!("z-{own}.zip"),
            zip(&[("__MACOSX/._x", b"x"), (own, &bytes)]),
        );
        same(&path, &voltages(), &expected);
        assert_eq!(open(&path, &voltages()).unwrap().id, format!("z-{own}"));
        paths.push(path);
    }
    folder.write("notes.txt.gz", gz(b"notes"));
    folder.write("notes.zip", zip(&[("notes.txt", b"notes")]));
    paths.sort();
    assert_eq!(find_records(folder.0.path()).unwrap().records, paths);
    assert!(paths.len() >= 10);

    // An array with what stands beside it.
    let array = fs::read(data("small/npy/00.npy")).unwrap();
    folder.write(
        "a.json",
        r#"{"rate_hz": 250.0, "leads": ["I", "II"], "unit": "uV"}"#,
    );
    let plain = folder.write("a.npy", &array);
    let packed = folder.write("a.npy.gz", gz(&array));
    match open(&plain, &OpenOptions::default()) {
        Ok(expected) => same(&packed, &OpenOptions::default(), &expected),
        Err(error) => refused(error, &["a.npy"]),
    }
}

#[test]
fn archives_hold_one_recording() {
    let folder = Folder::new();
    let (hea, dat) = (
        fs::read(data("world/negative-leads/cabrera.hea")).unwrap(),
        fs::read(data("world/negative-leads/cabrera.dat")).unwrap(),
    );
    let expected = open(data("world/negative-leads/cabrera.hea"), &voltages()).unwrap();
    let pair = [("cabrera.hea", &hea[..]), ("cabrera.dat", &dat[..])];
    let path = folder.write("p1.zip", zip(&pair));
    same(&path, &voltages(), &expected);
    let path = folder.write(
        "p2.zip",
        zip(&[
            ("in/cabrera.hea", &hea),
            ("in/cabrera.dat", &dat),
            ("in/.DS_Store", b"x"),
        ]),
    );
    same(&path, &voltages(), &expected);

    let edf = fs::read(data(SOURCE)).unwrap();
    for (files, parts) in [
        (
            &[("a.edf", &edf[..]), ("b.edf", &edf)][..],
            &["several recordings: a.edf, b.edf", "unpack the archive"][..],
        ),
        (
            &[("a.txt", b"x"), ("b.txt", b"y")],
            &["no recording: a.txt, b.txt"],
        ),
        (&[("a.hea", &hea)], &["cabrera.dat", "is missing"]),
        (&[("../a.edf", &edf)], &["`../a.edf`", "within the archive"]),
        (&[("/a.edf", &edf)], &["`/a.edf`", "within the archive"]),
        (
            &[("..\\a.edf", &edf)],
            &["`..\\a.edf`", "within the archive"],
        ),
        (&[], &["no recording"]),
    ] {
        let path = folder.write("r.zip", zip(files));
        let error = open(&path, &voltages()).unwrap_err();
        assert!(error.to_string().contains("r.zip"), "{error}");
        refused(error, parts);
    }
    assert!(!folder.0.path().parent().unwrap().join("a.edf").exists());
    let path = folder.write("r.zip", "PK\x03\x04 and no more");
    refused(
        open(&path, &voltages()).unwrap_err(),
        &["r.zip", "directory at the end"],
    );
}

#[test]
fn damaged_and_endless_streams_are_refused() {
    let folder = Folder::new();
    let packed = gz(&fs::read(data(SOURCE)).unwrap());
    let path = folder.write("r.edf.gz", &packed[..packed.len() - 9]);
    refused(
        open(&path, &voltages()).unwrap_err(),
        &["r.edf.gz", "damaged or cut off"],
    );
    let mut wrong = packed.clone();
    let checksum = packed.len() - 8;
    wrong[checksum] ^= 1;
    let path = folder.write("r.edf.gz", wrong);
    refused(
        open(&path, &voltages()).unwrap_err(),
        &["r.edf.gz", "damaged or cut off"],
    );
    let path = folder.write("r.edf.gz", "0       not packed");
    refused(
        open(&path, &voltages()).unwrap_err(),
        &["mark of gzip", "take `.gz` off"],
    );
    let path = folder.write("l.edf.gz", gz(b"no recording"));
    refused(open(&path, &voltages()).unwrap_err(), &["l.edf.gz`"]);

    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![0; 1 << 20];
    for _ in 0..40 {
        encoder.write_all(&zeros).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    let path = folder.write("bomb.csv.gz", &bomb);
    refused(
        open(&path, &voltages()).unwrap_err(),
        &["bomb.csv.gz", "unpacked size", "unpack it first"],
    );

    let mut archive = zip(&[("a.edf", &fs::read(data(SOURCE)).unwrap())]);
    archive[14] ^= 1;
    let crc = archive.windows(4).position(|w| w == b"PK\x01\x02").unwrap() + 16;
    archive[crc] ^= 1;
    let path = folder.write("r.zip", archive);
    refused(
        open(&path, &voltages()).unwrap_err(),
        &["r.zip", "`a.edf`", "checksum"],
    );
}

#[test]
fn what_is_no_recording_is_told_by_name_in_every_format() {
    let folder = Folder::new();
    let cases: [(&[u8], &str); 5] = [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
            "is a Git LFS pointer, not the file; fetch it with `git lfs pull`",
        ),
        (b"/annex/objects/MD5E-s9--00.edf\n", "git annex get"),
        (
            b"<!DOCTYPE html><html><body>Sign in</body></html>",
            "an HTML page",
        ),
        (b"{\"message\": \"Not Found\"}", "a JSON text"),
        (b"", "empty (0 bytes)"),
    ];
    for (bytes, expected) in cases {
        for extension in [
            "hea", "npy", "npz", "csv", "parquet", "mat", "h5", "edf", "bdf", "rec", "dcm", "xml",
            "ecg", "ishne", "gz", "zip",
        ] {
            let path = folder.write(&format!("r.{extension}"), bytes);
            for error in [
                open(&path, &OpenOptions::default()).unwrap_err(),
                Reader::open(&path, &OpenOptions::default()).unwrap_err(),
            ] {
                refused(error, &[&format!("r.{extension}"), expected]);
            }
            fs::remove_file(&path).unwrap();
        }
        folder.write("s.dat", bytes);
        let path = folder.write("s.hea", "s 1 500 3\ns.dat 16 200 16 0 0 0 0 I\n");
        refused(
            open(&path, &OpenOptions::default()).unwrap_err(),
            &["s.dat", expected],
        );
    }
    #[cfg(unix)]
    {
        let path = folder.0.path().join("l.edf");
        std::os::unix::fs::symlink(".git/annex/objects/aa/bb/MD5E-s9--00.edf", &path).unwrap();
        refused(
            open(&path, &OpenOptions::default()).unwrap_err(),
            &["l.edf", "git annex get"],
        );
    }
}

/// Damages a file of the folder of devices and opens what remains.
fn survives(name: &str, bytes: &[u8]) {
    let extension = name.split_once('.').unwrap().1;
    let options = OpenOptions {
        keep_digital: true,
        patient_salt: Some("salt".into()),
        ..OpenOptions::default()
    };
    let lenient = OpenOptions {
        verify: false,
        ..options.clone()
    };
    common::survives(name, bytes, extension, |path| {
        if open(path, &options).is_err() {
            let _ = open(path, &lenient);
        }
        let _ = Reader::beyond(path, &lenient, 0).map(|reader| {
            let end = reader.len();
            let _ = reader.read(&(end / 2..end));
        });
    });
}

#[test]
fn damaged_bdf() {
    let bytes = fs::read(data("world/devices/plus.bdf")).unwrap();
    survives("plus.bdf", &bytes);
}

#[test]
fn damaged_ishne() {
    survives("all.ishne", &ishne());
}

#[test]
fn damaged_gzip() {
    survives("r.ecg.gz", &gz(&ishne()));
}

#[test]
fn damaged_zip() {
    survives("r.zip", &zip(&[("r.ecg", &ishne())]));
}
