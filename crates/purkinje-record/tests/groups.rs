//! Files that hold leads in several groups: one recording where the groups are parts of it, and whatever else there is is named.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::survives;
use purkinje_record::{
    Digital, Lead, LeadChoice, LeadSet, OpenOptions, Reader, RecordError, Recording, Repeated,
    find_records, open,
};

fn world(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/world/groups");
    folder.join(name)
}

fn leads_of(wanted: &str) -> OpenOptions {
    OpenOptions {
        leads: LeadChoice::Named(LeadSet::new(wanted.split(',').map(Lead::parse).collect())),
        keep_digital: true,
        ..OpenOptions::default()
    }
}

/// A multiplex group whose samples count up, the first channel from `first`, each further one from 100 more.
#[derive(Clone)]
struct Group {
    leads: Vec<&'static str>,
    first: i16,
    samples: usize,
    rate_hz: &'static str,
    offset_ms: Option<&'static str>,
    derived: bool,
    label: &'static str,
    /// Element of the channel module and value, for the first channel.
    skew: Option<(u16, &'static str)>,
    padding: Option<i16>,
    bits: u16,
}

fn group(leads: &[&'static str], first: i16, samples: usize) -> Group {
    Group {
        leads: leads.to_vec(),
        first,
        samples,
        rate_hz: "500",
        offset_ms: None,
        derived: false,
        label: "RHYTHM",
        skew: None,
        padding: None,
        bits: 16,
    }
}

fn element(tag: (u16, u16), kind: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = [tag.0.to_le_bytes(), tag.1.to_le_bytes()].concat();
    let mut value = value.to_vec();
    if value.len() % 2 == 1 {
        value.push(b' ');
    }
    bytes.extend(kind.bytes());
    if matches!(kind, "SQ" | "OW") {
        bytes.extend([0, 0]);
        bytes.extend((value.len() as u32).to_le_bytes());
    } else {
        bytes.extend((value.len() as u16).to_le_bytes());
    }
    bytes.extend(value);
    bytes
}

fn item(content: &[Vec<u8>]) -> Vec<u8> {
    let content = content.concat();
    let mut bytes = vec![0xfe, 0xff, 0x00, 0xe0];
    bytes.extend((content.len() as u32).to_le_bytes());
    bytes.extend(content);
    bytes
}

impl Group {
    fn bytes(&self) -> Vec<u8> {
        let unit = item(&[element((8, 0x100), "SH", b"uV")]);
        let channels = self.leads.iter().enumerate().map(|(at, lead)| {
            let mut parts = vec![
                element((0x3a, 0x203), "SH", lead.as_bytes()),
                element((0x3a, 0x210), "DS", b"1"),
                element((0x3a, 0x211), "SQ", &unit),
            ];
            if let Some((own, value)) = self.skew.filter(|_| at == 0) {
                parts.push(element((0x3a, own), "DS", value.as_bytes()));
            }
            item(&parts)
        });
        let channels: Vec<u8> = channels.collect::<Vec<_>>().concat();
        let values = (0..self.samples as i16)
            .flat_map(|t| (0..self.leads.len() as i16).map(move |row| self.first + 100 * row + t));
        let data: Vec<u8> = values.flat_map(i16::to_le_bytes).collect();
        let mut parts = Vec::new();
        if let Some(offset) = self.offset_ms {
            parts.push(element((0x18, 0x1068), "DS", offset.as_bytes()));
        }
        let kind: &[u8] = if self.derived {
            b"DERIVED"
        } else {
            b"ORIGINAL"
        };
        let count = self.leads.len() as u16;
        parts.extend([
            element((0x3a, 4), "CS", kind),
            element((0x3a, 5), "US", &count.to_le_bytes()),
            element((0x3a, 0x10), "UL", &(self.samples as u32).to_le_bytes()),
            element((0x3a, 0x1a), "DS", self.rate_hz.as_bytes()),
            element((0x3a, 0x20), "SH", self.label.as_bytes()),
            element((0x3a, 0x200), "SQ", &channels),
            element((0x5400, 0x1004), "US", &self.bits.to_le_bytes()),
            element((0x5400, 0x1006), "CS", b"SS"),
        ]);
        if let Some(padding) = self.padding {
            parts.push(element((0x5400, 0x100a), "OW", &padding.to_le_bytes()));
        }
        parts.push(element((0x5400, 0x1010), "OW", &data));
        item(&parts)
    }
}

/// The data set of a file of these groups.
fn set(groups: &[Group]) -> Vec<u8> {
    let groups: Vec<Vec<u8>> = groups.iter().map(Group::bytes).collect();
    [
        element((8, 0x16), "UI", b"1.2.840.10008.5.1.4.1.1.9.1.2\0"),
        element((0x5400, 0x100), "SQ", &groups.concat()),
    ]
    .concat()
}

fn head() -> Vec<u8> {
    element((2, 0x10), "UI", b"1.2.840.10008.1.2.1\0")
}

fn dicom(groups: &[Group]) -> Vec<u8> {
    [vec![0; 128], b"DICM".to_vec(), head(), set(groups)].concat()
}

fn read_bytes(name: &str, bytes: &[u8], options: &OpenOptions) -> Result<Recording, RecordError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    let whole = open(&path, options);
    // By stretches it is the same.
    if let (Ok(whole), Ok(reader)) = (&whole, Reader::beyond(&path, options, 0)) {
        for from in 0..whole.len() {
            let stretch = from..whole.len().min(from + 3);
            let part = reader.read(&stretch).unwrap();
            let expected = whole.stretch(&stretch);
            let same = part.samples_mv().iter().zip(expected.samples_mv());
            assert!(same.clone().count() == expected.samples_mv().len());
            assert!(
                same.clone().all(|(a, b)| a.to_bits() == b.to_bits()),
                "{stretch:?}"
            );
        }
        assert_eq!(reader.about().source, whole.source);
    }
    whole
}

fn read(groups: &[Group]) -> Result<Recording, RecordError> {
    let options = OpenOptions {
        keep_digital: true,
        ..OpenOptions::default()
    };
    read_bytes("r.dcm", &dicom(groups), &options)
}

/// The samples of a lead in microvolts, `None` for a missing one.
fn microvolts(recording: &Recording, lead: &Lead) -> Vec<Option<i32>> {
    let mv = recording.lead_mv(lead).unwrap().iter();
    mv.map(|mv| (!mv.is_nan()).then(|| (1000.0 * mv).round() as i32))
        .collect()
}

fn counting(from: i32, count: i32) -> Vec<Option<i32>> {
    (from..from + count).map(Some).collect()
}

fn missing(count: usize) -> Vec<Option<i32>> {
    vec![None; count]
}

#[test]
fn groups_of_one_rate_start_and_length_are_one_recording() {
    let found = open(world("two-groups.dcm"), &OpenOptions::default()).unwrap();
    assert_eq!(
        found.leads.to_string(),
        "I II III aVR aVL aVF V1 V2 V3 V4 V5 V6"
    );
    let v2 = microvolts(&found, &Lead::V2);
    let (low, high) = (v2.iter().flatten().min(), v2.iter().flatten().max());
    assert_eq!((low, high, found.len()), (Some(&-1294), Some(&400), 1200));
    assert!(found.source.also.is_empty() && found.source.comments.is_empty());

    let found = read(&[group(&["I", "II"], 0, 4), group(&["V1"], 1000, 4)]).unwrap();
    assert_eq!(found.leads.to_string(), "I II V1");
    assert_eq!(microvolts(&found, &Lead::II), counting(100, 4));
    assert_eq!(microvolts(&found, &Lead::V1), counting(1000, 4));
    assert_eq!(
        found.digital.unwrap().samples()[8..],
        [1000, 1001, 1002, 1003]
    );
}

#[test]
fn a_print_out_has_missing_samples_outside_the_time_of_each_group() {
    let found = open(
        world("print.dcm"),
        &leads_of("I,II,III,aVR,aVL,aVF,V1,V2,V3,V4,V5,V6"),
    )
    .unwrap();
    assert_eq!((found.len(), found.rate_hz), (1200, 500.0));
    for (at, lead) in found.leads.leads().iter().enumerate() {
        let values = microvolts(&found, lead);
        let absent = values.iter().filter(|value| value.is_none()).count();
        let expected = if *lead == Lead::II { 0 } else { 900 };
        assert_eq!(absent, expected, "{lead}");
        let first = values.iter().position(Option::is_some).unwrap();
        assert_eq!(
            first,
            if *lead == Lead::II { 0 } else { at / 3 * 300 },
            "{lead}"
        );
    }
    let [also] = &found.source.also[..] else {
        panic!()
    };
    assert!(
        also.contains("lead II in group 1") && also.contains("group 5"),
        "{also}"
    );
    let comment = &found.source.comments[0];
    assert!(
        comment.contains("group 4 (V4 V5 V6) from 1.800 to 2.400 s"),
        "{comment}"
    );

    // Pieces of one lead, one after the other; a group without an offset begins with the clock.
    let later = Group {
        offset_ms: Some("12"),
        ..group(&["I"], 500, 3)
    };
    let found = read(&[group(&["I"], 0, 4), later]).unwrap();
    let expected = [counting(0, 4), missing(2), counting(500, 3)].concat();
    assert_eq!(microvolts(&found, &Lead::I), expected);
    let kept = found.digital.unwrap();
    assert_eq!(
        kept.samples()[3..7],
        [3, Digital::MISSING, Digital::MISSING, 500]
    );
}

#[test]
fn what_is_not_read_is_named() {
    let rhythm = group(&["I", "II"], 0, 6);
    let beat = Group {
        derived: true,
        label: "MEDIAN BEAT",
        ..group(&["V1", "V2", "V3"], 0, 9)
    };
    let fast = Group {
        rate_hz: "1000",
        ..group(&["V1"], 300, 6)
    };
    let far = Group {
        offset_ms: Some("60000"),
        ..group(&["V4"], 0, 6)
    };
    let start = Group {
        offset_ms: Some("0"),
        ..rhythm.clone()
    };
    for (groups, parts) in [
        (
            vec![rhythm.clone(), beat.clone()],
            vec!["group 2 (derived, MEDIAN BEAT): 3 channels at 500 Hz"],
        ),
        (
            vec![fast.clone(), rhythm.clone(), beat],
            vec!["group 1: V1 at 1000 Hz", "group 3 (derived"],
        ),
        (
            vec![start.clone(), far],
            vec!["group 2: V4 at 500 Hz, 0.012 s, starting at 60.000 s"],
        ),
        (
            vec![rhythm.clone(), group(&["V4"], 0, 5)],
            vec!["group 2: V4 at 500 Hz"],
        ),
        (
            vec![rhythm.clone(), group(&["II"], 0, 6)],
            vec!["lead II in group 2, beside that of group 1"],
        ),
        (
            vec![
                rhythm.clone(),
                Group {
                    bits: 7,
                    ..fast.clone()
                },
            ],
            vec!["group 2, which cannot be read"],
        ),
    ] {
        let found = read(&groups).unwrap();
        assert_eq!(found.leads.to_string(), "I II");
        assert_eq!(microvolts(&found, &Lead::II), counting(100, 6));
        let also = found.source.also.join("; ");
        let error = read_bytes("r.dcm", &dicom(&groups), &leads_of("V6"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("in the group that was read"), "{error}");
        for part in parts {
            assert!(also.contains(part), "{also}");
            assert!(error.contains(part), "{error}");
        }
    }
    // Of several recordings the one that has what is asked for.
    let found = read_bytes("r.dcm", &dicom(&[rhythm.clone(), fast]), &leads_of("V1")).unwrap();
    assert_eq!(
        (found.rate_hz, microvolts(&found, &Lead::V1)),
        (1000.0, counting(300, 6))
    );
    // Nobody knows which of two is meant.
    let two = [group(&["I"], 0, 6), group(&["I"], 50, 6)];
    let error = read(&two).unwrap_err().to_string();
    assert!(error.contains("several of the name I"), "{error}");
    let last = OpenOptions {
        repeated: Repeated::Last,
        ..OpenOptions::default()
    };
    let found = read_bytes("r.dcm", &dicom(&two), &last).unwrap();
    assert_eq!(microvolts(&found, &Lead::I), counting(50, 6));
    assert_eq!(found.source.also, ["signal 1, I in uV"]);
    // What may be a part of the recording has to be sound.
    let broken = Group {
        bits: 7,
        ..group(&["V1"], 0, 6)
    };
    let error = read(&[rhythm, broken]).unwrap_err().to_string();
    assert!(error.contains("7 bits"), "{error}");
}

#[test]
fn skew_and_missing_samples_of_dicom_are_undone() {
    let skewed = |element: u16, value: &'static str| {
        let own = Group {
            skew: Some((element, value)),
            ..group(&["I", "II"], 0, 6)
        };
        let found = read(&[own])?;
        assert_eq!(microvolts(&found, &Lead::II), counting(100, 6));
        Ok::<_, RecordError>(microvolts(&found, &Lead::I))
    };
    // In seconds, in samples, and in seconds besides.
    for (element, value) in [(0x214, "0.004"), (0x215, "2"), (0x218, "0.004")] {
        let expected = [missing(2), counting(0, 4)].concat();
        assert_eq!(skewed(element, value).unwrap(), expected, "{element:x}");
    }
    assert_eq!(
        skewed(0x215, "-2").unwrap(),
        [counting(2, 4), missing(2)].concat()
    );
    assert_eq!(skewed(0x215, "0.5").unwrap(), counting(0, 6));
    assert_eq!(skewed(0x214, "0").unwrap(), counting(0, 6));
    for value in ["6", "-6", "1e300"] {
        let error = skewed(0x215, value).unwrap_err().to_string();
        assert!(error.contains("skew of lead I in group 1"), "{error}");
    }
    let padded = Group {
        padding: Some(3),
        ..group(&["I"], 0, 5)
    };
    let expected = [counting(0, 3), missing(1), counting(4, 1)].concat();
    assert_eq!(microvolts(&read(&[padded]).unwrap(), &Lead::I), expected);
    let lowest = read(&[group(&["I"], i16::MIN, 2)]).unwrap();
    assert_eq!(microvolts(&lowest, &Lead::I), [None, Some(-32767)]);
    assert_eq!(
        lowest.digital.unwrap().samples(),
        [Digital::MISSING, -32767]
    );
}

#[test]
fn files_without_a_preamble_are_read() {
    let set = set(&[group(&["I"], 7, 4)]);
    let implicit = fs::read(world("../../../../fuzz/seeds/implicit.dcm")).unwrap();
    for (what, bytes) in [
        ("head", [head(), set.clone()].concat()),
        ("mark", [b"DICM".to_vec(), head(), set.clone()].concat()),
        ("explicit", set),
    ] {
        for name in ["r.dcm", "r"] {
            let found = read_bytes(name, &bytes, &OpenOptions::default());
            let found = found.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(microvolts(&found, &Lead::I), counting(7, 4), "{what}");
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("r.dcm"), &bytes).unwrap();
        assert_eq!(
            find_records(folder.path()).unwrap().records.len(),
            1,
            "{what}"
        );
    }
    // Without its head, which says that it is implicit.
    let whole = read_bytes("r.dcm", &implicit, &OpenOptions::default()).unwrap();
    let at = implicit
        .windows(4)
        .position(|own| own == [8, 0, 0x16, 0])
        .unwrap();
    let found = read_bytes("r.dcm", &implicit[at..], &OpenOptions::default()).unwrap();
    assert_eq!(found.samples_mv(), whole.samples_mv());
    for other in [
        "version https://git-lfs.github.com/spec/v1",
        "",
        "\u{8}\0\0\0",
    ] {
        let error = read_bytes("r.dcm", other.as_bytes(), &OpenOptions::default()).unwrap_err();
        assert!(error.to_string().contains("r.dcm"), "{error}");
    }
}

#[test]
fn files_of_several_groups_survive_damage() {
    let groups = [
        Group {
            offset_ms: Some("0"),
            skew: Some((0x215, "1")),
            ..group(&["I", "II"], 0, 3)
        },
        Group {
            offset_ms: Some("8"),
            padding: Some(201),
            ..group(&["I", "V1"], 200, 3)
        },
        Group {
            derived: true,
            ..group(&["I"], 0, 2)
        },
    ];
    for bytes in [dicom(&groups), [head(), set(&groups)].concat()] {
        assert!(read_bytes("r.dcm", &bytes, &OpenOptions::default()).is_ok());
        survives("groups", &bytes, "dcm", |path| {
            let options = OpenOptions {
                leads: LeadChoice::Voltages,
                repeated: Repeated::First,
                keep_digital: true,
                ..OpenOptions::default()
            };
            let _ = open(path, &options);
            let _ = find_records(path.parent().unwrap());
        });
    }
    let text = aecg(&[(0.0, &[("I", "1 2 3")]), (0.006, &[("V1", "4 5 6")])], "");
    survives("sets", text.as_bytes(), "xml", |path| {
        let _ = open(path, &OpenOptions::default());
    });
}

/// An annotated ECG of one series with sequence sets that begin at these seconds, and with more series.
fn aecg(sets: &[(f64, &[(&str, &str)])], more: &str) -> String {
    let sets = sets.iter().map(|(start_s, leads)| {
        let leads = leads.iter().map(|(lead, digits)| {
            format!("<component><sequence><code code='MDC_ECG_LEAD_{lead}'/><value><origin value='0' unit='uV'/><scale value='2' unit='uV'/><digits>{digits}</digits></value></sequence></component>")
        });
        let leads: String = leads.collect();
        format!("<component><sequenceSet><component><sequence><code code='TIME_RELATIVE'/><value><head value='{start_s}' unit='s'/><increment value='0.002' unit='s'/></value></sequence></component>{leads}</sequenceSet></component>")
    });
    let sets: String = sets.collect();
    format!(
        "<AnnotatedECG><component><series><code code='RHYTHM'/>{sets}<derivation><derivedSeries><code code='REPRESENTATIVE_BEAT'/></derivedSeries></derivation></series></component>{more}</AnnotatedECG>"
    )
}

#[test]
fn sequence_sets_of_an_annotated_ecg_are_joined() {
    let read = |text: &str| read_bytes("r.xml", text.as_bytes(), &OpenOptions::default());
    let together = aecg(
        &[
            (0.0, &[("I", "1 2 3")]),
            (0.0, &[("V1", "4 NaN 6"), ("V2", "7 -32768 9")]),
        ],
        "",
    );
    let found = read(&together).unwrap();
    assert_eq!(found.leads.to_string(), "I V1 V2");
    assert_eq!(microvolts(&found, &Lead::V1), [Some(8), None, Some(12)]);
    assert_eq!(microvolts(&found, &Lead::V2), [Some(14), None, Some(18)]);
    assert_eq!(
        found.source.also,
        ["derived series (REPRESENTATIVE_BEAT): 0 leads"]
    );
    let error = read_bytes("r.xml", together.as_bytes(), &leads_of("V6")).unwrap_err();
    assert!(
        error.to_string().contains("in the group that was read"),
        "{error}"
    );

    let after = aecg(&[(0.0, &[("I", "1 2 3")]), (0.006, &[("V1", "4 5 6")])], "");
    let found = read(&after).unwrap();
    assert_eq!(
        microvolts(&found, &Lead::I),
        [vec![Some(2), Some(4), Some(6)], missing(3)].concat()
    );
    assert_eq!(
        microvolts(&found, &Lead::V1),
        [missing(3), vec![Some(8), Some(10), Some(12)]].concat()
    );

    // Another series is another recording, but of the same time a part of this one.
    let second = |at: f64| {
        let own = aecg(&[(at, &[("V6", "1 1 1")])], "");
        let own = own
            .replace("<AnnotatedECG>", "")
            .replace("</AnnotatedECG>", "");
        aecg(&[(0.0, &[("I", "1 2 3"), ("II", "1 2 3")])], &own)
    };
    assert_eq!(read(&second(0.0)).unwrap().leads.to_string(), "I II V6");
    let found = read(&second(0.006)).unwrap();
    assert_eq!(found.leads.to_string(), "I II");
    let also = found.source.also.join("; ");
    assert!(
        also.contains("sequence set 2 of series 2: V6 at 500 Hz"),
        "{also}"
    );
    let uneven = aecg(&[(0.0, &[("I", "1 2 3"), ("II", "1 2")])], "");
    let error = read(&uneven).unwrap_err().to_string();
    assert!(error.contains("the length of lead II"), "{error}");
}

#[test]
fn median_beats_of_devices_are_named() {
    let formats = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/formats");
    for (name, part) in [
        ("dicom/waveform_ecg.dcm", "MEDIAN BEAT"),
        ("dicom/muse_sinus_rhythm.dcm", "Median"),
        ("muse_xml/muse_sinus_rhythm.xml", "waveform Median: I II"),
        ("hl7_aecg/subject1_0.xml", "derived series"),
        (
            "philips_sierra/3191723_1_04.xml",
            "representative beats of 12 leads",
        ),
    ] {
        let found = open(formats.join(name), &OpenOptions::default()).unwrap();
        let also = found.source.also.join("; ");
        assert!(also.contains(part), "{name}: {also}");
        let error = open(formats.join(name), &leads_of("I,X9"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("in the group that was read") && error.contains(part),
            "{error}"
        );
    }
}
