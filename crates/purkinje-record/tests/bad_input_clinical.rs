//! Damaged and malicious DICOM and XML files, and damaged headers, annotations, arrays and tables: refused with a sentence, or read
//! as far as they are sound; never a panic, a hang or memory out of proportion.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use common::{FREE_BYTES, peak_since, start_measuring, survives};
use purkinje_record::{LeadChoice, OpenOptions, RecordError, Recording, find_records, open, wfdb};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/data")
        .join(name)
}

/// Opens with what costs most, and looks into the folder as well.
fn try_open(path: &Path) {
    let options = OpenOptions {
        leads: LeadChoice::Voltages,
        keep_digital: true,
        verify: false,
        patient_salt: Some("salt".into()),
        ..OpenOptions::default()
    };
    let _ = open(path, &options);
    let _ = find_records(path.parent().unwrap());
}

fn write(name: &str, bytes: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn read(name: &str, bytes: impl AsRef<[u8]>) -> Result<Recording, RecordError> {
    let (_folder, path) = write(name, bytes);
    open(&path, &OpenOptions::default())
}

/// The message of the error, which must name the file and say every one of `parts`, and cost little.
fn refused(name: &str, bytes: impl AsRef<[u8]>, parts: &[&str]) {
    let size = bytes.as_ref().len();
    let (_folder, path) = write(name, bytes);
    let before = start_measuring();
    let error = open(&path, &OpenOptions::default()).unwrap_err();
    let peak = peak_since(before);
    assert!(
        peak <= 4 * size + FREE_BYTES,
        "{peak} bytes for {size}: {error}"
    );
    let message = error.to_string();
    for part in parts.iter().chain([&name]) {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn real_dicom_files_survive_damage() {
    for name in ["waveform_ecg", "muse_sinus_rhythm"] {
        let bytes = fs::read(data(&format!("formats/dicom/{name}.dcm"))).unwrap();
        survives(name, &bytes, "dcm", try_open);
    }
}

#[test]
fn real_muse_files_survive_damage() {
    let bytes = fs::read(data("formats/muse_xml/muse_sinus_rhythm.xml")).unwrap();
    survives("MUSE", &bytes, "xml", try_open);
}

#[test]
fn real_annotated_ecgs_survive_damage() {
    let bytes = fs::read(data("formats/hl7_aecg/subject1_0.xml")).unwrap();
    survives("aECG", &bytes, "xml", try_open);
}

#[test]
fn real_philips_files_survive_damage() {
    for name in ["129DYPRG_1_03", "3191723_1_04", "2020-5-18_1_04_01"] {
        let bytes = fs::read(data(&format!("formats/philips_sierra/{name}.xml"))).unwrap();
        survives(name, &bytes, "xml", try_open);
    }
}

/// Small enough that each is cut at every byte.
#[test]
fn small_files_survive_damage() {
    let deflated = deflated();
    for (name, bytes, extension) in [
        ("explicit", Dicom::EXPLICIT.file(&[3; 8]), "dcm"),
        ("implicit", Dicom::IMPLICIT.file(&[3; 8]), "dcm"),
        ("big-endian", Dicom::BIG.file(&[3; 8]), "dcm"),
        ("deflated", deflated, "dcm"),
        ("MUSE", muse(20).into_bytes(), "xml"),
        ("aECG", aecg("1 2 3", "0.002").into_bytes(), "xml"),
        (
            "Philips",
            sierra("Uncompressed", &[1, 2, 3, 4], "4").into_bytes(),
            "xml",
        ),
        ("Philips XLI", xli().into_bytes(), "xml"),
        ("UTF-16", utf16(&muse(4)), "xml"),
    ] {
        let (_folder, path) = write(&format!("r.{extension}"), &bytes);
        let whole = open(&path, &OpenOptions::default());
        assert!(whole.is_ok(), "{name}: {}", whole.unwrap_err());
        survives(name, &bytes, extension, try_open);
    }
}

#[test]
fn headers_annotations_arrays_and_tables_survive_damage() {
    let samples: Vec<u8> = (0..240u8).collect();
    let header = "r 2 500/1.5(3) 60 10:00:00 1/2/2020\nr.dat 16+0 200.5(3)/mV 16 0 256 0 0 I\nr.dat 16 200/uV 16 0 770 0 0 V1\n# Age: 3\n";
    let segments = "m/2 2 500 80\nr 60\n~ 20\n";
    for text in [header, segments] {
        survives("header", text.as_bytes(), "hea", |path| {
            let folder = path.parent().unwrap();
            once(&folder.join("r.dat"), &samples);
            once(&folder.join("r.hea"), header);
            try_open(path);
        });
    }
    for format in [
        "8", "61", "80", "160", "212", "310", "311", "24", "32", "508", "516", "16x3",
    ] {
        survives(format, &samples, "dat", |path| {
            let text =
                format!("damaged 2 500 10\ndamaged.dat {format} 200\ndamaged.dat {format} 200\n");
            once(&path.with_extension("hea"), text);
            try_open(&path.with_extension("hea"));
        });
    }
    let annotations = data("wfdb");
    let annotations = fs::read_dir(annotations)
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let marks: Vec<PathBuf> = annotations
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .filter(|path| path.extension().is_some_and(|e| e == "atr" || e == "qrs"))
        .filter(|path| fs::metadata(path).is_ok_and(|m| m.len() < 40_000))
        .collect();
    assert!(!marks.is_empty());
    for path in marks {
        survives("annotations", &fs::read(path).unwrap(), "atr", |path| {
            let _ = wfdb::read_annotations(path);
        });
    }
    let table = "time (s),I,II (uV)\n0.000,1,2\n0.002,,4\n0.004,NaN,6\n";
    survives("table", table.as_bytes(), "csv", try_open);
    let head = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 6), }\n";
    let mut array = b"\x93NUMPY\x01\x00".to_vec();
    array.extend((head.len() as u16).to_le_bytes());
    array.extend(head.bytes());
    array.extend([0; 48]);
    survives("array", &array, "npy", |path| {
        let sidecar = "{\"rate_hz\": 500, \"leads\": [\"I\", \"II\"]}";
        once(&path.with_extension("json"), sidecar);
        try_open(path);
    });
}

/// Writes what a damaged file needs beside it, if it is not there.
fn once(path: &Path, bytes: impl AsRef<[u8]>) {
    if !path.exists() {
        fs::write(path, bytes).unwrap();
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .collect()
}

#[test]
fn xml_that_expands_or_is_something_else_is_refused() {
    let bomb = (0..30).fold(String::from("<!ENTITY a0 'lol'>"), |all, i| {
        all + &format!("<!ENTITY a{} '&a{i};&a{i};&a{i};&a{i};'>", i + 1)
    });
    let bomb = format!(
        "<?xml version='1.0'?><!DOCTYPE RestingECG [{bomb}]><RestingECG>&a30;</RestingECG>"
    );
    refused("r.xml", &bomb, &["declaration of entities"]);
    let outside = "<!DOCTYPE AnnotatedECG [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><AnnotatedECG>&x;</AnnotatedECG>";
    refused("r.xml", outside, &["declaration of entities"]);
    refused("r.xml", "<RestingECG>&x;</RestingECG>", &["entity `&x;`"]);
    refused(
        "r.xml",
        "<?xml version='1.0'?><sapphire/>",
        &["`sapphire`", "RestingECG", "restingecgdata", "AnnotatedECG"],
    );
    refused("r.xml", "", &["it is empty (0 bytes)"]);
    refused("r.xml", "<a>".repeat(1_000_000), &["number of tags"]);
    let deep = |depth| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
    refused("r.xml", deep(1_000), &["depth of elements"]);
    refused("r.xml", deep(90_000), &["depth of elements"]);
    let wide = format!("<RestingECG>{}</RestingECG>", "<b/>".repeat(2_000_000));
    refused("r.xml", wide, &["number of tags", "200000"]);
    let attributes: String = (0..300_000).map(|i| format!(" a{i}=''")).collect();
    refused(
        "r.xml",
        format!("<RestingECG{attributes}/>"),
        &["number of attributes", "200000"],
    );
}

#[test]
fn muse_files_with_faults_name_lead_and_field() {
    let change = |from: &str, to: &str| muse(20).replacen(from, to, 1);
    refused(
        "r.xml",
        change("<WaveformType>Rhythm", "<WaveformType>Median"),
        &["no waveform of the type Rhythm", "Median"],
    );
    refused(
        "r.xml",
        change("<LeadID>II</LeadID>", ""),
        &["without a LeadID"],
    );
    refused(
        "r.xml",
        change("MICROVOLTS", "MMHG"),
        &["lead", "no voltage"].map(|s| if s == "lead" { "`I`" } else { s }),
    );
    refused(
        "r.xml",
        change("UnitsPerBit>4.88", "UnitsPerBit>0"),
        &["LeadAmplitudeUnitsPerBit of lead I", "not 0"],
    );
    refused(
        "r.xml",
        change("UnitsPerBit>4.88", "UnitsPerBit>much"),
        &["LeadAmplitudeUnitsPerBit of lead I", "`much`"],
    );
    refused(
        "r.xml",
        change("CountTotal>20", "CountTotal>21"),
        &["WaveFormData of lead I", "40 bytes", "21"],
    );
    refused(
        "r.xml",
        change("SampleSize>2", "SampleSize>4"),
        &["LeadSampleSize of lead I", "2 bytes"],
    );
    refused(
        "r.xml",
        change("<SampleBase>500", "<SampleBase>-1"),
        &["sampling rate"],
    );
    refused(
        "r.xml",
        change("<SampleBase>500</SampleBase>", ""),
        &["SampleBase", "absent"],
    );
    refused(
        "r.xml",
        change("<WaveFormData>", "<WaveFormData>*"),
        &["WaveFormData of lead I", "base64"],
    );
    let changed = change("<LeadDataCRC32>0", "<LeadDataCRC32>5");
    refused(
        "r.xml",
        &changed,
        &["checksum of lead I", "5 as LeadDataCRC32 says"],
    );
    let (_folder, path) = write("r.xml", changed);
    let lenient = OpenOptions {
        verify: false,
        ..OpenOptions::default()
    };
    assert_eq!(open(&path, &lenient).unwrap().len(), 20);
}

#[test]
fn philips_files_with_faults_are_refused() {
    let waves = [1, 2, 3, 4];
    refused(
        "r.xml",
        sierra("LZ77", &waves, "4"),
        &["compression", "`lz77`", "XLI"],
    );
    refused(
        "r.xml",
        sierra("Uncompressed", &waves, "6"),
        &["ends too early", "3 samples of 2 leads"],
    );
    refused(
        "r.xml",
        sierra("Uncompressed", &waves, "1e12"),
        &["durationperchannel", "1e12"],
    );
    refused(
        "r.xml",
        sierra("Uncompressed", &waves, "-1"),
        &["durationperchannel"],
    );
    refused("r.xml", sierra("XLI", &waves, "4"), &["block 1", "cut off"]);
    refused(
        "r.xml",
        sierra("Uncompressed", &waves, "4").replace("\"2\"", "\"99999999\""),
        &["numberofleads", "1 to 64"],
    );
    // 64 blocks that claim to unfold to 128 MB each: strings that grow by one.
    let codes: Vec<u32> = [0]
        .into_iter()
        .chain(256..1023)
        .chain(std::iter::repeat_n(1022, 300_000))
        .collect();
    let block = block(&codes);
    let text =
        sierra_of("XLI", &block.repeat(3), "64", "0").replace("durationperchannel=\"0\"", "");
    refused("r.xml", text, &["block 1", "more than 65536 samples"]);
}

#[test]
fn annotated_ecgs_with_faults_are_refused() {
    refused(
        "r.xml",
        aecg("1 two 3", "0.002"),
        &["digits of lead I", "`two`"],
    );
    refused("r.xml", aecg("1 2 3", "0"), &["sampling rate"]);
    refused("r.xml", aecg("1 2 3", "-0.002"), &["sampling rate"]);
    refused(
        "r.xml",
        aecg("1 2 3", "soon"),
        &["increment of time", "`soon`"],
    );
    refused("r.xml", aecg("", "0.002"), &["empty"]);
    refused(
        "r.xml",
        aecg("1 2", "0.002").replace("<digits>7 8 9", "<digits>7 8 9 10"),
        &["length of lead II", "4 samples", "2"],
    );
    refused(
        "r.xml",
        aecg("1", "0.002").replace("RHYTHM", "REPRESENTATIVE_BEAT"),
        &["no series of the code RHYTHM"],
    );
    refused(
        "r.xml",
        aecg("1", "0.002").replace("\"uV\"", "\"mmHg\""),
        &["mmHg", "no voltage"],
    );
    // Digits need not be whole; then they are no digital samples.
    let r = read(
        "r.xml",
        aecg("0.5 1 1.5", "0.002").replace("s\"/>", "ms\"/>"),
    )
    .unwrap();
    assert_eq!(r.rate_hz, 500_000.0);
    assert_eq!(r.samples_mv()[..3], [0.00125, 0.0025, 0.00375]);
}

#[test]
fn dicom_is_read_in_every_transfer_syntax() {
    let expected = read("r.dcm", Dicom::EXPLICIT.file(&[1, 0, 255, 255, 3, 0, 4, 0])).unwrap();
    // 2.5 uV x 2 above 0.1 mV; channels alternate.
    assert_eq!(expected.samples_mv(), [0.105, 0.115, -0.005, 0.02]);
    assert_eq!(expected.leads.to_string(), "I V3R");
    assert_eq!((expected.rate_hz, expected.age), (250.0, Some(0.25)));
    for (bytes, samples) in [
        (
            Dicom::IMPLICIT.file(&[1, 0, 255, 255, 3, 0, 4, 0]),
            &expected,
        ),
        (Dicom::BIG.file(&[0, 1, 255, 255, 0, 3, 0, 4]), &expected),
        (
            deflated(),
            &read("r.dcm", Dicom::EXPLICIT.file(&[3; 8])).unwrap(),
        ),
    ] {
        let r = read("r.dcm", bytes).unwrap();
        assert_eq!(r.samples_mv(), samples.samples_mv());
        assert_eq!((r.leads, r.age), (samples.leads.clone(), samples.age));
    }
}

#[test]
fn dicom_files_with_faults_name_the_element() {
    let whole = Dicom::EXPLICIT.file(&[3; 8]);
    refused("r.dcm", "short", &["DICM"]);
    refused(
        "r.dcm",
        &whole[..whole.len() - 1],
        &["ends too early", "(5400,"],
    );
    let change = |from: &[u8], to: &[u8]| {
        assert_eq!(from.len(), to.len());
        let at = whole.windows(from.len()).rposition(|w| w == from).unwrap();
        [&whole[..at], to, &whole[at + from.len()..]].concat()
    };
    refused(
        "r.dcm",
        change(
            b"1.2.840.10008.5.1.4.1.1.9.1.2",
            b"1.2.840.10008.5.1.4.1.1.9.4.1",
        ),
        &["SOP class", "General ECG"],
    );
    refused(
        "r.dcm",
        change(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.4\0"),
        &["transfer syntax"],
    );
    refused(
        "r.dcm",
        change(b"ORIGINAL", b"DERIVED "),
        &["none of its 1 waveforms is original"],
    );
    refused("r.dcm", change(b"SS", b"MB"), &["16 bits of the kind `MB`"]);
    refused("r.dcm", change(b"250 ", b"0   "), &["sampling rate"]);
    refused(
        "r.dcm",
        change(b"uV", b"mm"),
        &["lead", "no voltage"].map(|s| if s == "lead" { "`V3R`" } else { s }),
    );
    refused(
        "r.dcm",
        change(b"2.5 ", b"0   "),
        &["sensitivity of lead V3R", "not 0"],
    );
    // Claims of four thousand million samples, and of 2 GB values.
    let count = [0x3a, 0, 0x10, 0, b'U', b'L', 4, 0, 2, 0, 0, 0];
    let lie = [0x3a, 0, 0x10, 0, b'U', b'L', 4, 0, 255, 255, 255, 255];
    refused(
        "r.dcm",
        change(&count, &lie),
        &["ends too early", "4294967295 samples of 2 channels"],
    );
    refused(
        "r.dcm",
        change(b"OW\0\0\x08\0\0\0", b"OW\0\0\0\0\0\x80"),
        &["ends too early", "(5400,1010)"],
    );
    // A megabyte of zeros deflates to a thousandth.
    let zeros = vec![0; 64 << 20];
    let bomb = Dicom::file_of(
        "1.2.840.10008.1.2.1.99",
        &miniz_oxide::deflate::compress_to_vec(&zeros, 6),
    );
    refused("r.dcm", bomb, &["deflated data set", "16777216 bytes"]);
}

/// A writer of small DICOM files.
#[derive(Clone, Copy)]
struct Dicom {
    explicit: bool,
    big: bool,
}

impl Dicom {
    const EXPLICIT: Dicom = Dicom {
        explicit: true,
        big: false,
    };
    const IMPLICIT: Dicom = Dicom {
        explicit: false,
        big: false,
    };
    const BIG: Dicom = Dicom {
        explicit: true,
        big: true,
    };

    fn u16(self, value: u16) -> Vec<u8> {
        if self.big {
            value.to_be_bytes().to_vec()
        } else {
            value.to_le_bytes().to_vec()
        }
    }

    fn u32(self, value: u32) -> Vec<u8> {
        if self.big {
            value.to_be_bytes().to_vec()
        } else {
            value.to_le_bytes().to_vec()
        }
    }

    fn element(self, group: u16, element: u16, kind: &str, value: &[u8]) -> Vec<u8> {
        let mut bytes = [self.u16(group), self.u16(element)].concat();
        let value = if value.len() % 2 == 1 {
            [value, b"\0"].concat()
        } else {
            value.to_vec()
        };
        if !self.explicit {
            bytes.extend(self.u32(value.len() as u32));
        } else {
            bytes.extend(kind.bytes());
            if matches!(kind, "SQ" | "OW" | "OB") {
                bytes.extend([0, 0]);
                bytes.extend(self.u32(value.len() as u32));
            } else {
                bytes.extend(self.u16(value.len() as u16));
            }
        }
        [bytes, value].concat()
    }

    fn item(self, content: &[Vec<u8>]) -> Vec<u8> {
        let content = content.concat();
        [
            self.u16(0xfffe),
            self.u16(0xe000),
            self.u32(content.len() as u32),
            content,
        ]
        .concat()
    }

    fn code(self, group: u16, element: u16, code: &str, scheme: &str) -> Vec<u8> {
        let item = self.item(&[
            self.element(8, 0x100, "SH", code.as_bytes()),
            self.element(8, 0x102, "SH", scheme.as_bytes()),
        ]);
        self.element(group, element, "SQ", &item)
    }

    /// Two channels with two samples each.
    fn set(self, samples: &[u8]) -> Vec<u8> {
        let channel =
            |code: &str, scheme: &str, sensitivity: &str, factor: &str, baseline: &str| {
                self.item(&[
                    self.code(0x3a, 0x208, code, scheme),
                    self.element(0x3a, 0x210, "DS", sensitivity.as_bytes()),
                    self.code(0x3a, 0x211, "uV", "UCUM"),
                    self.element(0x3a, 0x212, "DS", factor.as_bytes()),
                    self.element(0x3a, 0x213, "DS", baseline.as_bytes()),
                ])
            };
        let channels = [
            channel("2:1", "MDC", "2.5 ", "2 ", "100 "),
            channel("5.6.3-9-11", "SCPECG", "2.5 ", "2 ", "0 "),
        ]
        .concat();
        let group = self.item(&[
            self.element(0x3a, 4, "CS", b"ORIGINAL"),
            self.element(0x3a, 5, "US", &self.u16(2)),
            self.element(0x3a, 0x10, "UL", &self.u32(2)),
            self.element(0x3a, 0x1a, "DS", b"250 "),
            self.element(0x3a, 0x200, "SQ", &channels),
            self.element(0x5400, 0x1004, "US", &self.u16(16)),
            self.element(0x5400, 0x1006, "CS", b"SS"),
            self.element(0x5400, 0x1010, "OW", samples),
        ]);
        [
            self.element(8, 0x16, "UI", b"1.2.840.10008.5.1.4.1.1.9.1.2"),
            self.element(0x10, 0x20, "LO", b"secret"),
            self.element(0x10, 0x1010, "AS", b"003M"),
            self.element(0x5400, 0x100, "SQ", &group),
        ]
        .concat()
    }

    fn file(self, samples: &[u8]) -> Vec<u8> {
        let syntax = match (self.explicit, self.big) {
            (false, _) => "1.2.840.10008.1.2",
            (true, false) => "1.2.840.10008.1.2.1",
            (true, true) => "1.2.840.10008.1.2.2",
        };
        Dicom::file_of(syntax, &self.set(samples))
    }

    fn file_of(syntax: &str, set: &[u8]) -> Vec<u8> {
        let head = Dicom::EXPLICIT.element(2, 0x10, "UI", syntax.as_bytes());
        [&[0; 128][..], b"DICM", &head, set].concat()
    }
}

fn deflated() -> Vec<u8> {
    let set = Dicom::EXPLICIT.set(&[3; 8]);
    Dicom::file_of(
        "1.2.840.10008.1.2.1.99",
        &miniz_oxide::deflate::compress_to_vec(&set, 6),
    )
}

fn base64(samples: impl IntoIterator<Item = i16>) -> String {
    let bytes: Vec<u8> = samples.into_iter().flat_map(i16::to_le_bytes).collect();
    BASE64_STANDARD.encode(bytes)
}

/// Leads I, II and V1 of some samples.
fn muse(samples: i16) -> String {
    let lead = |name: &str| {
        format!(
            "<LeadData><LeadSampleCountTotal>{samples}</LeadSampleCountTotal><LeadAmplitudeUnitsPerBit>4.88</LeadAmplitudeUnitsPerBit><LeadAmplitudeUnits>MICROVOLTS</LeadAmplitudeUnits><LeadID>{name}</LeadID><LeadSampleSize>2</LeadSampleSize><LeadDataCRC32>0</LeadDataCRC32><WaveFormData>{}</WaveFormData></LeadData>",
            base64(0..samples)
        )
    };
    let leads = ["I", "II", "V1"].map(lead).concat();
    format!(
        "<?xml version='1.0'?><RestingECG><PatientDemographics><PatientAge>3</PatientAge></PatientDemographics><Waveform><WaveformType>Rhythm</WaveformType><SampleBase>500</SampleBase>{leads}</Waveform></RestingECG>"
    )
}

fn aecg(digits: &str, increment: &str) -> String {
    let sequence = |code: &str, digits: &str| {
        format!(
            "<component><sequence><code code='MDC_ECG_LEAD_{code}'/><value><origin value='0' unit=\"uV\"/><scale value='2.5' unit=\"uV\"/><digits>{digits}</digits></value></sequence></component>"
        )
    };
    let second = if digits.split(' ').count() == 3 {
        "7 8 9"
    } else {
        digits
    };
    let second = if digits == "1 2" { "7 8 9" } else { second };
    format!(
        "<AnnotatedECG><component><series><code code='RHYTHM'/><component><sequenceSet><component><sequence><code code='TIME_RELATIVE'/><value><head value='0'/><increment value='{increment}' unit=\"s\"/></value></sequence></component>{}{}</sequenceSet></component></series></component></AnnotatedECG>",
        sequence("I", digits),
        sequence("II", second)
    )
}

fn sierra(compression: &str, samples: &[i16], duration: &str) -> String {
    let bytes: Vec<u8> = samples.iter().flat_map(|v| v.to_le_bytes()).collect();
    sierra_of(compression, &bytes, "2", duration)
}

fn sierra_of(compression: &str, bytes: &[u8], leads: &str, duration: &str) -> String {
    let text = BASE64_STANDARD.encode(bytes);
    format!(
        "<restingecgdata><waveforms><parsedwaveforms compression=\"{compression}\" numberofleads=\"{leads}\" leadlabels=\"II V1\" samplespersecond=\"500\" resolution=\"5\" durationperchannel=\"{duration}\">{text}</parsedwaveforms></waveforms></restingecgdata>"
    )
}

/// Codes of ten bits with the head of a block.
fn block(codes: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut held, mut bits) = (0u32, 0);
    for code in codes.iter().chain(&[1023]) {
        held = held << 10 | code;
        bits += 10;
        while bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    bytes.push((held << (8 - bits)) as u8);
    let size = (bytes.len() as u32).to_le_bytes();
    [&size[..], &[1, 0, 0, 0], &bytes].concat()
}

/// Two leads with samples 1, 2, 3.
fn xli() -> String {
    let bytes = block(&[0, 0, 0, 1, 2, 64]);
    sierra_of("XLI", &bytes.repeat(2), "2", "6")
}

fn utf16(text: &str) -> Vec<u8> {
    let units = text.encode_utf16().flat_map(u16::to_le_bytes);
    [0xff, 0xfe].into_iter().chain(units).collect()
}
