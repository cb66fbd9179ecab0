//! One recording in every format gives one signal: the same leads, rate and samples, as exactly as the format holds them.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use purkinje_record::{Lead, OpenOptions, Recording, open};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/data")
        .join(name)
}

fn read(path: &Path, options: &OpenOptions) -> Recording {
    open(path, options).unwrap_or_else(|error| panic!("{error}"))
}

/// Record A0002 as published; 1 uV a step.
fn published() -> Recording {
    read(&data("same_record/A0002.hea"), &keep())
}

fn keep() -> OpenOptions {
    OpenOptions {
        keep_digital: true,
        ..OpenOptions::default()
    }
}

/// Leads in any order, each equal to the bit.
fn is_equal(name: &str, found: &Recording, expected: &Recording) {
    assert_eq!(found.rate_hz, expected.rate_hz, "{name}");
    assert_eq!(found.leads.len(), expected.leads.len(), "{name}");
    for lead in expected.leads.leads() {
        assert_eq!(found.lead_mv(lead), expected.lead_mv(lead), "{name} {lead}");
    }
}

#[test]
fn stored_files_hold_the_same_samples() {
    let expected = published();
    let at_500 = OpenOptions {
        rate_hz: Some(500.0),
        ..keep()
    };
    for (name, format, options) in [
        ("same_record/A0002.csv", "csv", keep()),
        ("same_record_made/A0002.npz", "npz", keep()),
        ("same_record_made/A0002.mat", "mat", keep()),
        ("same_record_made/A0002.h5", "hdf5", keep()),
        ("same_record_made/A0002.parquet", "parquet", keep()),
        ("same_record_made/A0002_f32.parquet", "parquet", at_500),
        ("same_record_made/A0002.dcm", "dicom", keep()),
    ] {
        let found = read(&data(name), &options);
        assert_eq!(found.source.format, format);
        is_equal(name, &found, &expected);
        // Where a file has samples of 16 bits they are the published ones.
        if let (Some(found_digital), true) = (&found.digital, found.leads == expected.leads) {
            let expected = expected.digital.as_ref().unwrap();
            assert_eq!(found_digital.samples(), expected.samples(), "{name}");
        }
    }
}

#[test]
fn files_made_here_hold_the_same_samples() {
    let expected = published();
    let len = expected.len();
    let digital = expected.digital.as_ref().unwrap();
    assert_eq!(digital.gain_per_mv(), [1000.0; 12]);
    let rows: Vec<&[i16]> = digital.samples().chunks(len).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);

    // NumPy, time first, in single precision, with a sidecar.
    let mut array = b"\x93NUMPY\x01\x00".to_vec();
    let head = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({len}, 12), }}\n");
    array.extend((head.len() as u16).to_le_bytes());
    array.extend(head.bytes());
    for t in 0..len {
        for row in expected.rows() {
            array.extend(row[t].to_le_bytes());
        }
    }
    fs::write(path("a.npy"), array).unwrap();
    let leads: Vec<String> = expected.leads.leads().iter().map(Lead::to_string).collect();
    let sidecar = serde_json::json!({"rate_hz": 500, "leads": leads});
    fs::write(path("a.json"), sidecar.to_string()).unwrap();

    // HL7 aECG.
    let mut aecg = String::from(
        "<AnnotatedECG><component><series><code code='RHYTHM'/><component><sequenceSet><component><sequence><code code='TIME_RELATIVE'/><value><head value='0'/><increment value='0.002' unit='s'/></value></sequence></component>",
    );
    for (lead, row) in leads.iter().zip(&rows) {
        let digits: Vec<String> = row.iter().map(i16::to_string).collect();
        write!(aecg, "<component><sequence><code code='MDC_ECG_LEAD_{lead}'/><value><origin value='0' unit='uV'/><scale value='1' unit='uV'/><digits>{}</digits></value></sequence></component>", digits.join(" ")).unwrap();
    }
    aecg += "</sequenceSet></component></series></component></AnnotatedECG>";
    fs::write(path("aecg.xml"), aecg).unwrap();

    // GE MUSE, without the leads that are to be derived.
    let mut muse = String::from(
        "<RestingECG><Waveform><WaveformType>Rhythm</WaveformType><SampleBase>500</SampleBase>",
    );
    for (lead, row) in leads.iter().zip(&rows) {
        let bytes: Vec<u8> = row.iter().flat_map(|v| v.to_le_bytes()).collect();
        write!(muse, "<LeadData><LeadSampleCountTotal>{len}</LeadSampleCountTotal><LeadAmplitudeUnitsPerBit>1</LeadAmplitudeUnitsPerBit><LeadAmplitudeUnits>MICROVOLTS</LeadAmplitudeUnits><LeadID>{lead}</LeadID><LeadSampleSize>2</LeadSampleSize><WaveFormData>{}</WaveFormData></LeadData>", BASE64_STANDARD.encode(bytes)).unwrap();
    }
    muse += "</Waveform></RestingECG>";
    fs::write(path("muse.xml"), muse).unwrap();

    for (name, format) in [
        ("a.npy", "npy"),
        ("aecg.xml", "hl7-aecg"),
        ("muse.xml", "muse-xml"),
    ] {
        let found = read(&path(name), &keep());
        assert_eq!(found.source.format, format);
        is_equal(name, &found, &expected);
    }
}

/// 32,767 steps over the range of each lead: less than 0.00004 mV.
#[test]
fn edf_holds_the_same_samples_as_exactly_as_it_can() {
    let edf = read(&data("same_record/A0001.edf"), &OpenOptions::default());
    let wfdb = read(&data("same_record/A0001.hea"), &OpenOptions::default());
    assert_eq!((edf.rate_hz, &edf.leads), (500.0, &wfdb.leads));
    assert_eq!(edf.len(), wfdb.len());
    for (a, b) in edf.samples_mv().iter().zip(wfdb.samples_mv()) {
        assert!((a - b).abs() < 4e-5, "{a} {b}");
    }
}
