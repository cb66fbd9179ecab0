//! Nothing in a recording says who the patient is, unless it was asked for; and then in a form that tells patients apart only.

use std::fs;
use std::path::{Path, PathBuf};

use purkinje_record::{LeadChoice, OpenOptions, Recording, open};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/data")
        .join(name)
}

fn options() -> OpenOptions {
    OpenOptions {
        keep_digital: true,
        ..OpenOptions::default()
    }
}

/// Everything that the recording says, but for its samples and its path.
fn said(mut recording: Recording) -> String {
    recording.source.path = PathBuf::new();
    recording.digital = None;
    let one = recording.leads.leads()[0].clone();
    let mut short = Recording::new("r", one.to_string().parse().unwrap(), 1.0, vec![]).unwrap();
    short.patient = recording.patient;
    short.sex = recording.sex;
    short.labels = recording.labels;
    short.report = recording.report;
    short.annotations = recording.annotations;
    short.source = recording.source;
    format!("{short:?}").to_lowercase()
}

/// Opens `bytes`; each of `identifiers` stands in it, and must be absent from what is kept, while `kept` is there.
fn hides(
    extension: &str,
    bytes: &[u8],
    options: &OpenOptions,
    identifiers: &[&str],
    kept: &[&str],
) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("r.{extension}"));
    fs::write(&path, bytes).unwrap();
    let text = String::from_utf8_lossy(bytes).into_owned();
    let salted = OpenOptions {
        patient_salt: Some("salt".into()),
        ..options.clone()
    };
    let other = OpenOptions {
        patient_salt: Some("pepper".into()),
        ..options.clone()
    };
    let [plain, salted, other] = [options, &salted, &other]
        .map(|options| open(&path, options).unwrap_or_else(|error| panic!("{error}")));
    assert_eq!(plain.patient, None);
    // The same patient is the same under one salt, and another under another.
    assert!(salted.patient.as_ref().is_some_and(|hash| hash.len() == 32));
    assert!(other.patient.is_some() && other.patient != salted.patient);
    for recording in [plain, salted] {
        let said = said(recording);
        for identifier in identifiers {
            assert!(
                text.contains(identifier),
                "`{identifier}` is not in the file"
            );
            assert!(
                !said.contains(&identifier.to_lowercase()),
                "`{identifier}` is in {said}"
            );
        }
        for kept in kept {
            assert!(said.contains(kept), "`{kept}` is not in {said}");
        }
    }
}

/// The text of a file with `changes` made; each must find something.
fn changed(name: &str, changes: &[(&str, &str)]) -> String {
    let bytes = fs::read(data(name)).unwrap();
    let mut text = String::from_utf8(bytes).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    text
}

#[test]
fn muse() {
    let text = changed(
        "formats/muse_xml/muse_sinus_rhythm.xml",
        &[
            ("<PatientID>00000000<", "<PatientID>MRN4711<"),
            (">01-01-1900<", ">05-02-1951<"),
            (
                "<PatientLastName>Anonymous</PatientLastName>",
                "<PatientLastName>Lovelace</PatientLastName><PatientFirstName>Ada</PatientFirstName>",
            ),
            (
                "<StmtText>",
                "<StmtText>Mrs ADA LOVELACE (MRN4711, 02.05.1951, 1951-05-02): ",
            ),
        ],
    );
    let gone = [
        "lovelace",
        "LOVELACE",
        "ADA",
        "MRN4711",
        "05-02-1951",
        "02.05.1951",
        "1951-05-02",
    ];
    let gone: Vec<&str> = gone
        .into_iter()
        .filter(|gone| text.contains(gone))
        .collect();
    hides(
        "xml",
        text.as_bytes(),
        &options(),
        &gone,
        &["窦性心律", "mrs [removed]"],
    );
}

#[test]
fn annotated_ecg() {
    let text = changed(
        "formats/hl7_aecg/subject1_0.xml",
        &[
            (
                "<name>Clark</name>",
                "<name><given>Ada</given><family>Lovelace</family></name>",
            ),
            ("extension=\"subject1\"", "extension=\"S-4711\""),
            (
                "Sinus Rhythm",
                "Sinus Rhythm of Lovelace (S-4711) 1953-05-08",
            ),
        ],
    );
    let gone = ["Lovelace", "S-4711", "19530508", "1953-05-08"];
    hides(
        "xml",
        text.as_bytes(),
        &options(),
        &gone,
        &["sinus rhythm of [removed]"],
    );
}

#[test]
fn philips() {
    let text = changed(
        "formats/philips_sierra/129DYPRG_1_03.xml",
        &[
            ("<lastname></lastname>", "<lastname>Lovelace</lastname>"),
            ("<firstname></firstname>", "<firstname>Ada</firstname>"),
            (
                "<leftstatement>",
                "<leftstatement>ADA LOVELACE, 1112010721168bdc: ",
            ),
        ],
    );
    let gone = ["Lovelace", "LOVELACE", "Ada", "1112010721168bdc"];
    hides(
        "xml",
        text.as_bytes(),
        &options(),
        &gone,
        &["sinus bradycardia", "[removed]"],
    );
}

#[test]
fn edf() {
    let mut bytes = fs::read(data("containers/rates.edf")).unwrap();
    for (from, to) in [
        ("Lights off", "for harry."),
        ("noise@@ECG I", "02.05.1951 N"),
    ] {
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes());
        bytes[at.unwrap()..][..to.len()].copy_from_slice(to.as_bytes());
    }
    let options = OpenOptions {
        leads: LeadChoice::Named("I".parse().unwrap()),
        ..options()
    };
    let gone = ["MCH-17", "Harry", "02-MAY-1951", "02.05.1951"];
    hides(
        "edf",
        &bytes,
        &options,
        &gone,
        &["for [removed].", "[removed] n", "hp:0.05hz"],
    );
}

#[test]
fn dicom() {
    let mut bytes = fs::read(data("formats/dicom/waveform_ecg.dcm")).unwrap();
    // Name, number and day of birth of the file's patient, put over its statements.
    let put = |bytes: &mut Vec<u8>, from: &str, to: &str| {
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes());
        bytes[at.unwrap()..][..to.len()].copy_from_slice(to.as_bytes());
    };
    put(&mut bytes, "Anonymous", "Lovelace ");
    put(&mut bytes, "RITMO SINUSALE", "NAME NUMBER   ");
    let tag = |element: u8| [0x10, 0, element, 0];
    let value = |element: u8| {
        let at = bytes.windows(4).position(|w| w == tag(element)).unwrap();
        let size = usize::from(u16::from_le_bytes([bytes[at + 6], bytes[at + 7]]));
        String::from_utf8(bytes[at + 8..at + 8 + size].to_vec()).unwrap()
    };
    let [name, number, born] = [0x10, 0x20, 0x30].map(value).map(|v| v.trim().to_owned());
    let family = name.split('^').next().unwrap().to_owned();
    for (n, identifier) in [&family, &number, &born].into_iter().enumerate() {
        let mut bytes = bytes.clone();
        let text = format!("{:<14}", identifier.chars().take(14).collect::<String>());
        put(&mut bytes, "NAME NUMBER   ", &text);
        hides("dcm", &bytes, &options(), &[identifier], &["ecg normale"]);
        assert!(identifier.len() <= 14, "{n}: {identifier}");
    }
}

/// All samples that the project has: what their files state about persons is in no recording.
#[test]
fn small_files() {
    for format in ["dicom", "muse", "philips", "aecg", "edf"] {
        for entry in fs::read_dir(data("small").join(format)).unwrap() {
            let path = entry.unwrap().path();
            let said = said(open(&path, &options()).unwrap());
            for identifier in ["doe", "jane", "mrn", "1951", "harry", "mch"] {
                assert!(!said.contains(identifier), "{}: {said}", path.display());
            }
        }
    }
}

/// The path of a compressed file is that of the file, not of the place where it is unpacked.
#[test]
fn paths_of_compressed_files_are_looked_through_too() {
    let world = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/world");
    let bytes = std::fs::read(world.join("patient-in-path/edf.edf")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("Doe, John");
    std::fs::create_dir(&folder).unwrap();
    for (name, own) in [("john_doe.edf.gz", true), ("1.edf.gz", false)] {
        let path = folder.join(name);
        let file = std::fs::File::create(&path).unwrap();
        let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, &bytes).unwrap();
        packed.finish().unwrap();
        let mut expected = vec!["Doe, John".to_owned()];
        expected.extend(own.then(|| name.to_owned()));
        assert_eq!(purkinje_record::naming(&path), expected);
    }
}
