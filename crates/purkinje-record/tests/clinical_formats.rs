//! DICOM and XML recordings of real devices, against what their bytes say and against each other.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use purkinje_record::{Lead, LeadChoice, LeadSet, OpenOptions, Recording, find_records, open};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/data")
        .join(name)
}

fn read(name: &str) -> Recording {
    let options = OpenOptions {
        keep_digital: true,
        patient_salt: Some("salt".into()),
        ..OpenOptions::default()
    };
    open(data(name), &options).unwrap_or_else(|error| panic!("{error}"))
}

/// The digital samples of a lead.
fn digital<'a>(recording: &'a Recording, lead: &Lead) -> &'a [i16] {
    let row = recording.leads.position(lead).unwrap();
    let len = recording.len();
    &recording.digital.as_ref().unwrap().samples()[row * len..(row + 1) * len]
}

/// Sums of the digital samples, lead by lead.
fn sums(recording: &Recording) -> Vec<i64> {
    let leads = recording.leads.leads().iter();
    leads
        .map(|lead| digital(recording, lead).iter().map(|&v| i64::from(v)).sum())
        .collect()
}

/// `mV = (sample - baseline) / gain` must give the samples, to the bit.
fn digital_is_exact(recording: &Recording) {
    let kept = recording.digital.as_ref().unwrap();
    let rows = recording.rows().zip(kept.samples().chunks(recording.len()));
    for (row, (mv, samples)) in rows.enumerate() {
        let (gain, baseline) = (kept.gain_per_mv()[row], f64::from(kept.baseline()[row]));
        for (&mv, &sample) in mv.iter().zip(samples) {
            assert_eq!(mv, ((f64::from(sample) - baseline) / gain) as f32);
        }
    }
}

/// The largest departures, in mV, from II = I + III and from the sum of the augmented leads being nothing, before `end`.
fn einthoven(recording: &Recording, end: usize) -> (f32, f32) {
    let lead = |lead: Lead| &recording.lead_mv(&lead).unwrap()[..end];
    let (i, ii, iii) = (lead(Lead::I), lead(Lead::II), lead(Lead::III));
    let (r, l, f) = (lead(Lead::AVR), lead(Lead::AVL), lead(Lead::AVF));
    let mut largest = (0.0f32, 0.0f32);
    for t in 0..end {
        largest.0 = largest.0.max((i[t] + iii[t] - ii[t]).abs());
        largest.1 = largest.1.max((r[t] + l[t] + f[t]).abs());
    }
    largest
}

#[test]
fn a_12_lead_dicom_file_is_read() {
    let r = read("formats/dicom/waveform_ecg.dcm");
    assert_eq!(r.leads, LeadSet::standard_12());
    assert_eq!((r.rate_hz, r.len()), (1000.0, 10_000));
    assert_eq!((r.age, r.sex.as_deref()), (Some(42.0), Some("female")));
    assert_eq!(r.report.as_deref(), Some("RITMO SINUSALE\nECG NORMALE"));
    assert_eq!(r.source.format, "dicom");
    // 1.25 uV a step; sums and samples as the 16-bit words of the file say.
    assert_eq!(r.digital.as_ref().unwrap().gain_per_mv(), [800.0; 12]);
    let expected = [
        741_291, 726_870, -14_421, -731_598, 375_411, 353_730, 286_220, 317_155, 293_860, 304_835,
        308_945, 307_350,
    ];
    assert_eq!(sums(&r), expected);
    let at_777: Vec<f32> = r.rows().map(|row| row[777]).collect();
    let expected = [
        240, 375, 135, -307, 52, 255, -70, 160, 610, 560, 540, 390_i16,
    ];
    assert_eq!(at_777, expected.map(|v| (f64::from(v) / 800.0) as f32));
    digital_is_exact(&r);
    assert!(einthoven(&r, r.len()).0 < 0.0013);
}

#[test]
fn muse_xml_and_dicom_of_one_recording_agree() {
    let dicom = read("formats/dicom/muse_sinus_rhythm.dcm");
    let muse = read("formats/muse_xml/muse_sinus_rhythm.xml");
    for r in [&dicom, &muse] {
        assert_eq!(r.leads, LeadSet::standard_12());
        assert_eq!((r.rate_hz, r.len()), (500.0, 5000));
        assert_eq!((r.age, r.sex.as_deref()), (Some(11.0), Some("male")));
        digital_is_exact(r);
    }
    // What MUSE stores, and III, which is exact, to the bit; halves were rounded when the DICOM file was made.
    for lead in ["I", "II", "III", "V1", "V2", "V3", "V4", "V5", "V6"].map(Lead::parse) {
        assert_eq!(muse.lead_mv(&lead), dicom.lead_mv(&lead), "{lead}");
        assert_eq!(digital(&muse, &lead), digital(&dicom, &lead), "{lead}");
    }
    for lead in [Lead::AVR, Lead::AVL, Lead::AVF] {
        let (a, b) = (muse.lead_mv(&lead).unwrap(), dicom.lead_mv(&lead).unwrap());
        let largest = a
            .iter()
            .zip(b)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(largest > 0.0 && largest < 0.00245, "{lead}: {largest}");
    }
    // The device marked sixteen beats, the first at 398 ms.
    let beats: Vec<i64> = muse.annotations.iter().map(|mark| mark.sample).collect();
    assert_eq!((beats.len(), beats[0], beats[15]), (16, 199, 4822));
    assert!(muse.annotations.iter().all(|mark| mark.symbol == "N"));
    let (first, second) = einthoven(&muse, 5000);
    assert!(first < 1e-6 && second < 1e-6, "{first} {second}");
    assert_eq!(
        muse.report.as_deref(),
        Some("窦性心律\nST段抬高（提示心室早期复极）")
    );
    assert_eq!(&digital(&muse, &Lead::V2)[..4], [73, 69, 68, 66]);
    // Identifiers do not leave the files, and differ between patients.
    let (a, b) = (muse.patient.unwrap(), dicom.patient.unwrap());
    assert!(a != b && a.len() == 32 && !a.contains("0000000"));
}

#[test]
fn derived_leads_can_be_asked_for_alone() {
    let options = OpenOptions {
        leads: LeadChoice::Named("aVF,V1".parse().unwrap()),
        ..OpenOptions::default()
    };
    let path = data("formats/muse_xml/muse_sinus_rhythm.xml");
    let two = open(&path, &options).unwrap();
    let all = open(&path, &OpenOptions::default()).unwrap();
    assert_eq!(two.lead_mv(&Lead::AVF), all.lead_mv(&Lead::AVF));
    assert_eq!(two.leads.len(), 2);
    assert!(two.digital.is_none() && two.patient.is_none());
    // I and II in digital units, 4.88 uV each.
    let lead = |lead: Lead| all.lead_mv(&lead).unwrap();
    let whole = |mv: f32| (mv / 0.00488).round();
    for t in 0..all.len() {
        let (i, ii) = (whole(lead(Lead::I)[t]), whole(lead(Lead::II)[t]));
        assert!((lead(Lead::AVF)[t] - (ii - i / 2.0) * 0.00488).abs() < 1e-6);
        assert!((lead(Lead::AVR)[t] + (i + ii) / 2.0 * 0.00488).abs() < 1e-6);
    }
    let missing = OpenOptions {
        leads: LeadChoice::Named(LeadSet::new(vec![Lead::Other("V9".into())])),
        ..OpenOptions::default()
    };
    let error = open(&path, &missing).unwrap_err().to_string();
    assert!(
        error.contains("no lead V9") && error.contains("V6"),
        "{error}"
    );
}

#[test]
fn one_recording_in_several_formats_gives_one_signal() {
    for (name, others, samples) in [
        ("A0001", &["mat"][..], 7500),
        ("A0002", &["mat", "csv"], 5000),
    ] {
        let wfdb = read(&format!("same_record/{name}.hea"));
        assert_eq!(wfdb.len(), samples);
        for extension in others {
            let other = read(&format!("same_record/{name}.{extension}"));
            assert_eq!(other.leads, wfdb.leads);
            assert_eq!(other.rate_hz, wfdb.rate_hz);
            assert_eq!(other.samples_mv(), wfdb.samples_mv(), "{name}.{extension}");
        }
        // EDF keeps 16 bits of a range of its own.
        let edf = format!("same_record/{name}.edf");
        if data(&edf).exists() {
            let edf = read(&edf);
            assert_eq!(edf.leads, wfdb.leads);
            for (a, b) in edf.samples_mv().iter().zip(wfdb.samples_mv()) {
                assert!((a - b).abs() < 4e-5);
            }
        }
        // Each lead of the XML was shifted by a constant before it was stored.
        let xml = read(&format!("same_record/{name}.xml"));
        assert_eq!(xml.leads, wfdb.leads);
        assert_eq!((xml.rate_hz, xml.len()), (500.0, samples));
        for (a, b) in xml.rows().zip(wfdb.rows()) {
            let shifts = a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b));
            let shifts: Vec<f64> = shifts.collect();
            let low = shifts.iter().copied().fold(f64::INFINITY, f64::min);
            let high = shifts.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            assert!(low.abs() < 0.6, "{low}");
            assert!(high - low < 6e-5, "{low} to {high}");
        }
    }
}

#[test]
fn an_annotated_ecg_is_read() {
    let r = read("formats/hl7_aecg/subject1_0.xml");
    let leads = "I II V1 V2 V3 V4 V5 V6 III aVR aVL aVF";
    assert_eq!(r.leads.to_string(), leads);
    assert_eq!((r.rate_hz, r.len()), (500.0, 5000));
    assert_eq!((r.age, r.sex.as_deref()), (Some(46.0), Some("male")));
    // 2.5 uV a step; sums and samples as the digits of the file say.
    assert_eq!(r.digital.as_ref().unwrap().gain_per_mv(), [400.0; 12]);
    let expected = [
        -4921, -4084, -2299, -2648, -3119, -2499, -3009, -1762, 837, 4432, -2721, -1570,
    ];
    assert_eq!(sums(&r), expected);
    let at_1234: Vec<i16> = r
        .leads
        .leads()
        .iter()
        .map(|l| digital(&r, l)[1234])
        .collect();
    assert_eq!(
        at_1234,
        [37, -7, -11, -13, -20, -16, -29, -44, -44, -15, 40, -25]
    );
    digital_is_exact(&r);
    assert!(einthoven(&r, 5000).0 < 0.0051);
    assert_eq!(r.report.as_deref(), Some("Sinus Rhythm"));
    // The first beat: P from 122 to 224 ms, QRS from 270 to 390 ms, T up to 690 ms.
    let marks: Vec<(i64, &str, &str)> = r.annotations[..6]
        .iter()
        .map(|a| (a.sample, a.symbol.as_str(), a.note.as_deref().unwrap_or("")))
        .collect();
    let expected = [
        (0, "+", "Sinus Rhythm"),
        (61, "(", "PWAVE"),
        (112, ")", "PWAVE"),
        (135, "(", "QRSWAVE"),
        (195, ")", "QRSWAVE"),
        (345, ")", "TWAVE"),
    ];
    assert_eq!(marks, expected);
    assert!(r.annotations.iter().all(|a| (0..5000).contains(&a.sample)));
}

#[test]
fn philips_files_are_decompressed() {
    for (name, report, sex, age, codes) in [
        (
            "129DYPRG_1_03",
            "Sinus bradycardia",
            Some("male"),
            Some(50.0),
            &[][..],
        ),
        (
            "3191723_1_04",
            "SINUS RHYTHM",
            Some("male"),
            Some(60.0),
            &["SR", "LVHCNP", "STELVH"],
        ),
        (
            "2020-5-18_1_04_01",
            "Sinus rhythm",
            None,
            Some(69.0),
            &["SR", "ET"],
        ),
    ] {
        let r = read(&format!("formats/philips_sierra/{name}.xml"));
        assert_eq!(r.leads, LeadSet::standard_12(), "{name}");
        assert_eq!((r.rate_hz, r.len()), (500.0, 5500), "{name}");
        assert_eq!((r.sex.as_deref(), r.age), (sex, age), "{name}");
        assert_eq!(r.labels, codes, "{name}");
        assert!(r.report.as_ref().unwrap().starts_with(report), "{name}");
        // 5 uV a step.
        assert_eq!(r.digital.as_ref().unwrap().gain_per_mv(), [200.0; 12]);
        digital_is_exact(&r);
        // Rounding of each lead, up to the calibration pulse; the monitor of 1.03 rounds before it forms its leads.
        let slack = if name.ends_with("1_03") {
            0.0151
        } else {
            0.0101
        };
        let (first, second) = einthoven(&r, 5340);
        assert!(first < slack && second < slack, "{name}: {first} {second}");
        for (lead, row) in r.leads.leads().iter().zip(r.rows()) {
            let largest = row[..5340].iter().fold(0.0f32, |m, v| m.max(v.abs()));
            assert!((0.2..4.5).contains(&largest), "{name} {lead}: {largest} mV");
            // The pulse is 1 mV in every lead, those that are put together from others too.
            assert!(row[5360..5440].iter().all(|&v| v == 1.0), "{name} {lead}");
        }
    }
}

/// Files of version 1.04 hold the average beat of each lead as plain samples: it must be found in the decompressed lead.
#[test]
fn decompressed_leads_hold_the_average_beats_of_their_files() {
    for name in ["3191723_1_04", "2020-5-18_1_04_01"] {
        let path = format!("formats/philips_sierra/{name}.xml");
        let r = read(&path);
        let bytes = fs::read(data(&path)).unwrap();
        let words = bytes[2..].chunks_exact(2);
        let words: Vec<u16> = words.map(|w| u16::from_le_bytes([w[0], w[1]])).collect();
        let text = String::from_utf16(&words).unwrap();
        let (_, beats) = text.split_once("<repbeats").unwrap();
        let attribute = |name: &str| -> f64 {
            let (_, rest) = beats.split_once(&format!("{name}=\"")).unwrap();
            rest.split('"').next().unwrap().parse().unwrap()
        };
        let (rate_hz, step_mv) = (attribute("samplespersec"), attribute("resolution") / 1e3);
        let mut compared = 0;
        for beat in beats.split("<repbeat leadname=\"").skip(1) {
            let lead = Lead::parse(beat.split('"').next().unwrap());
            let (_, waveform) = beat.split_once("<waveform").unwrap();
            let (_, waveform) = waveform.split_once('>').unwrap();
            let dense: String = waveform
                .split('<')
                .next()
                .unwrap()
                .split_whitespace()
                .collect();
            let bytes = BASE64_STANDARD.decode(dense).unwrap();
            let pairs = bytes
                .chunks_exact(2)
                .map(|b| i16::from_le_bytes([b[0], b[1]]));
            let beat_mv: Vec<f64> = pairs
                .step_by((rate_hz / r.rate_hz) as usize)
                .map(|v| f64::from(v) * step_mv)
                .collect();
            let lead_mv = r.lead_mv(&lead).unwrap();
            // QRS complex and T wave, from 0.45 to 0.85 s; the rest may overlap with the neighbours of a beat.
            let part = &beat_mv[225..425];
            let best = lead_mv[..5000]
                .windows(part.len())
                .map(|window| similarity(window, part))
                .fold(
                    (0.0, 0.0),
                    |best, new| if new.0 > best.0 { new } else { best },
                );
            assert!(best.0 > 0.97, "{name} {lead}: correlation {}", best.0);
            assert!(
                (0.8..1.25).contains(&best.1),
                "{name} {lead}: ratio {}",
                best.1
            );
            compared += 1;
        }
        assert_eq!(compared, 12, "{name}");
    }
}

/// Correlation, and how much larger the first is.
fn similarity(window: &[f32], beat: &[f64]) -> (f64, f64) {
    let n = beat.len() as f64;
    let mean_a = window.iter().map(|&a| f64::from(a)).sum::<f64>() / n;
    let mean_b = beat.iter().sum::<f64>() / n;
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (&a, &b) in window.iter().zip(beat) {
        let (a, b) = (f64::from(a) - mean_a, b - mean_b);
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    (ab / (aa * bb).sqrt().max(1e-12), (aa / bb).sqrt())
}

#[test]
fn folders_show_their_clinical_files() {
    let found = find_records(data("formats")).unwrap().records;
    let names: Vec<String> = found
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    for name in [
        "waveform_ecg.dcm",
        "muse_sinus_rhythm.dcm",
        "muse_sinus_rhythm.xml",
        "subject1_0.xml",
        "129DYPRG_1_03.xml",
        "3191723_1_04.xml",
        "2020-5-18_1_04_01.xml",
    ] {
        assert!(
            names.iter().any(|found| found == name),
            "{name} in {names:?}"
        );
    }
    // Beside a header of the same name there is just the header.
    let found = find_records(data("same_record")).unwrap().records;
    assert_eq!(found.len(), 2, "{found:?}");
    // Without an extension, and documents of another kind.
    let folder = tempfile::tempdir().unwrap();
    let dicom = data("formats/dicom/muse_sinus_rhythm.dcm");
    fs::copy(dicom, folder.path().join("IM0001")).unwrap();
    fs::write(
        folder.path().join("other.xml"),
        "<?xml version='1.0'?><web/>",
    )
    .unwrap();
    fs::write(folder.path().join("README"), "nothing to see").unwrap();
    let found = find_records(folder.path()).unwrap().records;
    assert_eq!(found, [folder.path().join("IM0001")]);
    let bare = open(&found[0], &OpenOptions::default()).unwrap();
    assert_eq!((bare.id.as_str(), bare.len()), ("IM0001", 5000));
}
