//! SCP-ECG: real files against the values that other readers give, and files of every coding from a writer that shares nothing with
//! the reader.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{FREE_BYTES, peak_since, start_measuring, survives};
use proptest::prelude::*;
use purkinje_record::{Lead, LeadChoice, OpenOptions, RecordError, Recording, find_records, open};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/data/formats/scp")
        .join(name)
}

fn options() -> OpenOptions {
    OpenOptions {
        keep_digital: true,
        ..OpenOptions::default()
    }
}

fn unverified() -> OpenOptions {
    OpenOptions {
        unverified: true,
        ..options()
    }
}

/// A record as it is written: sections in their order, everything of section 6 stated apart.
#[derive(Clone)]
struct Written {
    version: u8,
    /// Code, first and last sample, counted from 1.
    leads: Vec<(u8, u32, u32)>,
    flags: u8,
    /// The leads, each from its first sample to its last.
    samples: Vec<Vec<i32>>,
    step_nv: u16,
    interval_us: u16,
    differences: u8,
    tables: Table,
    beat: Option<Beat>,
    /// Samples that are averaged outside of the protected zones.
    decimation: usize,
    protected: Vec<(u32, u32)>,
    /// Further sections: 1, 8, 11.
    others: Vec<(u16, Vec<u8>)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Table {
    None,
    Default,
    /// Table 1 holds small numbers of 4 bits and a switch to table 2, which holds numbers of 16 bits and a switch back.
    Switching,
    /// One table with base values: -20 + 4 bits, +20 + 6 bits, and 16 bits.
    Own,
}

#[derive(Clone)]
struct Beat {
    step_nv: u16,
    interval_us: u16,
    length_ms: u16,
    fiducial: u16,
    waves: Vec<Vec<i32>>,
    /// Type, first, fiducial, last.
    zones: Vec<(u16, u32, u32, u32)>,
}

impl Written {
    /// Three leads of 480 samples at 500 Hz with beats.
    fn new() -> Written {
        let leads = vec![(1, 1, 480), (2, 1, 480), (63, 1, 480)];
        let samples = (0..3).map(|lead| (0..480).map(|t| ecg(lead, t)).collect());
        Written {
            version: 20,
            flags: 4 | 3 << 3,
            samples: samples.collect(),
            leads,
            step_nv: 2500,
            interval_us: 2000,
            differences: 0,
            tables: Table::None,
            beat: None,
            decimation: 1,
            protected: Vec::new(),
            others: Vec::new(),
        }
    }

    /// The same with a reference beat subtracted from two of three complexes.
    fn with_beat(step_nv: u16) -> Written {
        let waves = (0..3).map(|lead| (0..100).map(|t| ecg(lead, 60 + t) / 2).collect());
        Written {
            flags: 1 | 4 | 3 << 3,
            beat: Some(Beat {
                step_nv,
                interval_us: 2000,
                length_ms: 200,
                fiducial: 41,
                waves: waves.collect(),
                zones: vec![(0, 61, 101, 160), (1, 0, 261, 0), (0, 385, 421, 470)],
            }),
            protected: vec![(81, 120), (241, 280), (401, 440)],
            ..Written::new()
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut sections = self.others.clone();
        let tables = self.tables.bytes();
        sections.extend(tables.map(|body| (2, body)));
        let mut body = vec![self.leads.len() as u8, self.flags];
        for (code, first, last) in &self.leads {
            body.extend(first.to_le_bytes());
            body.extend(last.to_le_bytes());
            body.push(*code);
        }
        sections.push((3, body));
        if let Some(beat) = &self.beat {
            let mut body = Vec::new();
            for number in [beat.length_ms, beat.fiducial, beat.zones.len() as u16] {
                body.extend(number.to_le_bytes());
            }
            for (kind, first, fiducial, last) in &beat.zones {
                body.extend(kind.to_le_bytes());
                for number in [first, fiducial, last] {
                    body.extend(number.to_le_bytes());
                }
            }
            for (first, last) in &self.protected {
                body.extend(first.to_le_bytes());
                body.extend(last.to_le_bytes());
            }
            sections.push((4, body));
            sections.push((
                5,
                self.waves(beat.step_nv, beat.interval_us, 0, &beat.waves),
            ));
        }
        let rows = self.samples.iter().enumerate();
        let rhythm: Vec<Vec<i32>> = rows
            .map(|(row, samples)| self.decimated(row, &self.residual(row, samples)))
            .collect();
        let interval_us = self.interval_us * self.decimation as u16;
        let bimodal = u8::from(self.decimation > 1);
        sections.push((6, self.waves(self.step_nv, interval_us, bimodal, &rhythm)));
        record(self.version, &sections)
    }

    /// Section 5 or 6.
    fn waves(&self, step_nv: u16, interval_us: u16, bimodal: u8, rows: &[Vec<i32>]) -> Vec<u8> {
        let coded: Vec<Vec<u8>> = rows
            .iter()
            .map(|row| self.tables.encode(&differences(row, self.differences)))
            .collect();
        let mut body = step_nv.to_le_bytes().to_vec();
        body.extend(interval_us.to_le_bytes());
        body.extend([self.differences, bimodal]);
        for row in &coded {
            body.extend((row.len() as u16).to_le_bytes());
        }
        body.extend(coded.concat());
        body
    }

    /// What remains of a lead after the beat was subtracted.
    fn residual(&self, row: usize, samples: &[i32]) -> Vec<i32> {
        let mut samples = samples.to_vec();
        let Some(beat) = self.beat.as_ref().filter(|_| self.flags & 1 == 1) else {
            return samples;
        };
        for &(kind, first, fiducial, last) in &beat.zones {
            for number in first..=last {
                let (_, own, end) = self.leads[row];
                if kind == 0 && (own..=end).contains(&number) {
                    let at = i64::from(number) - i64::from(fiducial) + i64::from(beat.fiducial) - 1;
                    let wave = beat.waves[row][at as usize] * i32::from(beat.step_nv);
                    assert_eq!(wave % i32::from(self.step_nv), 0);
                    samples[(number - own) as usize] -= wave / i32::from(self.step_nv);
                }
            }
        }
        samples
    }

    /// Groups outside of protected zones by their means.
    fn decimated(&self, row: usize, samples: &[i32]) -> Vec<i32> {
        if self.decimation == 1 {
            return samples.to_vec();
        }
        let mut kept = Vec::new();
        let mut at = 0;
        while at < samples.len() {
            let number = at as u32 + self.leads[row].1;
            let zone = self.protected.iter();
            let inside = zone.clone().any(|(a, b)| (*a..=*b).contains(&number));
            let group = if inside { 1 } else { self.decimation };
            let group = &samples[at..(at + group).min(samples.len())];
            kept.push(group.iter().sum::<i32>() / group.len() as i32);
            at += group.len();
        }
        kept
    }

    fn read(&self, options: &OpenOptions) -> Result<Recording, RecordError> {
        read(&self.bytes(), options)
    }
}

/// Something like an ECG in whole numbers, with complexes at samples 100, 260 and 420 and a step that needs 16 bits.
fn ecg(lead: i32, t: i32) -> i32 {
    let beat = (t - 100).rem_euclid(160) - 80;
    let complex = if (t + 60) % 160 < 12 {
        (12 - (t + 60) % 160) * 37
    } else {
        0
    };
    let wave = (t * 7 + lead * 13) % 5 - 2 + beat / (3 + lead);
    complex * (lead - 1) + wave + if t > 440 { 3000 * lead } else { 0 }
}

fn differences(samples: &[i32], order: u8) -> Vec<i32> {
    let at = |t: usize, back: usize| samples[t - back];
    let of = |t: usize| match order {
        1 if t >= 1 => at(t, 0) - at(t, 1),
        2 if t >= 2 => at(t, 0) - 2 * at(t, 1) + at(t, 2),
        _ => at(t, 0),
    };
    // In the arithmetic of 16 bits.
    (0..samples.len())
        .map(|t| i32::from(of(t) as i16))
        .collect()
}

fn binary(value: i32, bits: usize) -> String {
    (0..bits)
        .rev()
        .map(|bit| if value >> bit & 1 == 1 { '1' } else { '0' })
        .collect()
}

impl Table {
    /// Section 2; the bits of a prefix are stored with the first one lowest.
    fn bytes(self) -> Option<Vec<u8>> {
        let tables: &[&[(&str, u8, u8, i16)]] = match self {
            Table::None => return None,
            Table::Default => return Some(19_999_u16.to_le_bytes().to_vec()),
            Table::Switching => &[
                &[("0", 4, 1, 0), ("1", 0, 0, 2)],
                &[("10", 16, 1, 0), ("0", 0, 0, 1)],
            ],
            Table::Own => &[&[("0", 4, 1, -20), ("10", 6, 1, 20), ("11", 16, 1, 0)]],
        };
        let mut body = (tables.len() as u16).to_le_bytes().to_vec();
        for table in tables {
            body.extend((table.len() as u16).to_le_bytes());
            for (prefix, rest, mode, base) in *table {
                body.extend([prefix.len() as u8, prefix.len() as u8 + rest, *mode]);
                body.extend(base.to_le_bytes());
                let first_lowest: String = prefix.chars().rev().collect();
                let code = u32::from_str_radix(&first_lowest, 2).unwrap();
                body.extend(code.to_le_bytes());
            }
        }
        Some(body)
    }

    fn encode(self, values: &[i32]) -> Vec<u8> {
        if self == Table::None {
            return values
                .iter()
                .flat_map(|&v| (v as i16).to_le_bytes())
                .collect();
        }
        let mut bits = String::new();
        let mut second = false;
        for &value in values {
            let size = value.unsigned_abs() as usize;
            match self {
                Table::Default if size <= 8 => {
                    bits += &"1".repeat(size);
                    bits += "0";
                    if size > 0 {
                        bits += if value < 0 { "1" } else { "0" };
                    }
                }
                Table::Default if (-128..128).contains(&value) => {
                    bits += "1111111110";
                    bits += &binary(value, 8);
                }
                Table::Default => {
                    bits += "1111111111";
                    bits += &binary(value, 16);
                }
                Table::Switching => {
                    let small = (-8..8).contains(&value);
                    if second == small {
                        bits += if second { "0" } else { "1" };
                        second = !second;
                    }
                    bits += if second { "10" } else { "0" };
                    bits += &binary(value, if second { 16 } else { 4 });
                }
                Table::Own if (-28..-12).contains(&value) => {
                    bits += "0";
                    bits += &binary(value + 20, 4);
                }
                Table::Own if (-12..52).contains(&value) => {
                    bits += "10";
                    bits += &binary(value - 20, 6);
                }
                _ => {
                    bits += "11";
                    bits += &binary(value, 16);
                }
            }
        }
        let bytes = bits.as_bytes().chunks(8);
        let mut bytes: Vec<u8> = bytes
            .map(|bits| {
                let bits = format!("{:0<8}", std::str::from_utf8(bits).unwrap());
                u8::from_str_radix(&bits, 2).unwrap()
            })
            .collect();
        // Other readers want a byte behind the last code.
        bytes.push(0);
        bytes
    }
}

/// The remainder of a division by x^16 + x^12 + x^5 + 1, bit by bit.
fn crc(bytes: &[u8]) -> [u8; 2] {
    let mut rest = 0xffff_u32;
    for byte in bytes {
        for bit in (0..8).rev() {
            let carry = rest >> 15 & 1 != u32::from(byte >> bit & 1);
            rest = (rest << 1) & 0xffff;
            if carry {
                rest ^= 0x1021;
            }
        }
    }
    [rest as u8, (rest >> 8) as u8]
}

fn section(id: u16, version: u8, mark: &[u8; 6], body: &[u8]) -> Vec<u8> {
    let mut bytes = id.to_le_bytes().to_vec();
    bytes.extend((body.len() as u32 + 16).to_le_bytes());
    bytes.extend([version, version]);
    bytes.extend(mark);
    bytes.extend(body);
    [&crc(&bytes)[..], &bytes].concat()
}

fn record(version: u8, sections: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut pointers = Vec::new();
    let mut bodies = Vec::new();
    let mut pointer = |id: u16, length: usize, index: usize| {
        pointers.extend(id.to_le_bytes());
        pointers.extend((length as u32).to_le_bytes());
        pointers.extend((index as u32).to_le_bytes());
    };
    pointer(0, 136, 7);
    for id in 1..12 {
        match sections.iter().find(|(own, _)| *own == id) {
            Some((_, body)) => {
                let mut body = body.clone();
                body.resize(body.len().next_multiple_of(2), 0);
                let bytes = section(id, version, &[0; 6], &body);
                pointer(id, bytes.len(), 6 + 136 + bodies.len() + 1);
                bodies.extend(bytes);
            }
            None => pointer(id, 0, 0),
        }
    }
    let mut bytes = (6 + 136 + bodies.len() as u32).to_le_bytes().to_vec();
    bytes.extend(section(0, version, b"SCPECG", &pointers));
    bytes.extend(bodies);
    [&crc(&bytes)[..], &bytes].concat()
}

fn read(bytes: &[u8], options: &OpenOptions) -> Result<Recording, RecordError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.scp");
    fs::write(&path, bytes).unwrap();
    open(&path, options)
}

/// What `written` stores, in millivolts, exactly.
fn is_exact(written: &Written, recording: &Recording) {
    assert_eq!(recording.len(), written.samples[0].len());
    for (row, samples) in recording.rows().zip(&written.samples) {
        let per_mv = 1e6 / f64::from(written.step_nv);
        let expected = samples.iter().map(|&v| (f64::from(v) / per_mv) as f32);
        assert!(row.iter().copied().eq(expected));
    }
}

const TABLES: [Table; 4] = [Table::None, Table::Default, Table::Switching, Table::Own];

#[test]
fn every_coding_of_samples_is_read() {
    for tables in TABLES {
        for differences in 0..3 {
            for version in [13, 20, 22, 30] {
                let written = Written {
                    tables,
                    differences,
                    version,
                    ..Written::new()
                };
                let r = written.read(&options()).unwrap();
                assert_eq!(r.leads.to_string(), "I II aVL");
                assert_eq!((r.rate_hz, r.source.format), (500.0, "scp"));
                is_exact(&written, &r);
                let digital = r.digital.unwrap();
                let stored = digital.samples().iter().map(|&v| i32::from(v));
                assert!(
                    stored.eq(written.samples.concat()),
                    "{tables:?} {differences}"
                );
                assert_eq!(digital.gain_per_mv(), [400.0; 3]);
                assert!(r.source.comments.is_empty(), "{:?}", r.source.comments);
            }
        }
    }
}

#[test]
fn the_reference_beat_is_added_again() {
    for tables in TABLES {
        for differences in 0..3 {
            for step_nv in [2500, 5000, 7500] {
                let written = Written {
                    tables,
                    differences,
                    ..Written::with_beat(step_nv)
                };
                let r = written.read(&options()).unwrap();
                is_exact(&written, &r);
                assert_eq!(r.digital.is_some(), step_nv == 2500);
            }
        }
    }
    // Not subtracted: sections 4 and 5 are for those who look at the beat.
    let kept = Written {
        flags: 4 | 3 << 3,
        ..Written::with_beat(2500)
    };
    is_exact(&kept, &kept.read(&options()).unwrap());
    // A lead that begins within the first complex and ends before the last one.
    let mut short = Written::with_beat(2500);
    short.leads[1] = (2, 91, 400);
    short.samples[1] = short.samples[1][90..400].to_vec();
    let r = short.read(&options()).unwrap();
    let ii = r.lead_mv(&Lead::II).unwrap();
    assert_eq!(
        (ii[90], ii.len()),
        ((f64::from(ecg(1, 90)) / 400.0) as f32, 480)
    );
    assert!(ii[..90].iter().chain(&ii[400..]).all(|mv| mv.is_nan()));
    assert!(ii[90..400].iter().all(|mv| mv.is_finite()));
}

#[test]
fn bimodal_compression_is_read_when_it_is_asked_for() {
    for subtracted in [0, 1] {
        for decimation in [2, 4] {
            let written = Written {
                flags: subtracted | 4 | 3 << 3,
                tables: Table::Default,
                differences: 2,
                decimation,
                ..Written::with_beat(2500)
            };
            let error = written.read(&options()).unwrap_err().to_string();
            assert!(
                error.contains("bimodal") && error.contains("--unverified"),
                "{error}"
            );
            let r = written.read(&unverified()).unwrap();
            assert_eq!((r.rate_hz, r.len()), (500.0, 480));
            assert!(
                r.source
                    .comments
                    .iter()
                    .any(|c| c.starts_with("unverified: bimodal"))
            );
            for (row, samples) in r.rows().zip(&written.samples) {
                let mut worst = 0.0_f64;
                for (t, &sample) in samples.iter().enumerate() {
                    let found = f64::from(row[t]) * 400.0;
                    if written
                        .protected
                        .iter()
                        .any(|&(a, b)| (a..=b).contains(&(t as u32 + 1)))
                    {
                        assert!(
                            (found - f64::from(sample)).abs() < 1e-3,
                            "{t}: {found} {sample}"
                        );
                    } else if !(435..450).contains(&t) {
                        worst = worst.max((found - f64::from(sample)).abs());
                    }
                }
                // A saw of five samples between -2 and 2 is averaged away.
                assert!(worst > 0.5 && worst < 8.0, "{worst}");
            }
        }
    }
    // With one rate throughout there is nothing to restore.
    let mut same = Written::with_beat(2500).bytes();
    let at = same
        .windows(6)
        .rposition(|w| w == [0xc4, 9, 0xd0, 7, 0, 0])
        .unwrap();
    same[at + 5] = 1;
    let verify = OpenOptions {
        verify: false,
        ..options()
    };
    is_exact(&Written::new(), &read(&same, &verify).unwrap());
}

#[test]
fn leads_need_not_begin_together() {
    let mut written = Written {
        flags: 3 << 3,
        ..Written::new()
    };
    written.leads = vec![(1, 1, 160), (3, 161, 320), (131, 321, 480)];
    for samples in &mut written.samples {
        samples.truncate(160);
    }
    let r = written.read(&options()).unwrap();
    assert_eq!(
        (r.leads.to_string().as_str(), r.len()),
        ("I V1 lead code 131", 480)
    );
    for (row, own) in r.rows().zip(0..) {
        for (t, mv) in row.iter().enumerate() {
            assert_eq!(mv.is_finite(), t / 160 == own);
        }
        assert_eq!(
            row[own * 160],
            (f64::from(written.samples[own][0]) / 400.0) as f32
        );
    }
    // Of one time by their numbers, but not by the flags.
    let doubtful = Written {
        flags: 0,
        ..Written::new()
    }
    .read(&options())
    .unwrap();
    assert!(
        doubtful.source.comments[0].contains("0 of 3"),
        "{:?}",
        doubtful.source.comments
    );
    // Counted from 0, with the number behind the last.
    let mut from_0 = Written::new();
    for lead in &mut from_0.leads {
        lead.1 = 0;
    }
    is_exact(&from_0, &from_0.read(&options()).unwrap());
    let coded = Written {
        tables: Table::Default,
        ..from_0
    };
    let error = coded.read(&options()).unwrap_err().to_string();
    assert!(error.contains("first sample of lead I is 0"), "{error}");
}

#[test]
fn leads_have_the_numbers_of_the_standard() {
    for (code, name) in [
        (1, "I"),
        (2, "II"),
        (3, "V1"),
        (8, "V6"),
        (9, "V7"),
        (11, "V3R"),
        (16, "X"),
        (18, "Z"),
        (19, "CC5"),
        (31, "I-cal"),
        (60, "fH-cal"),
        (61, "III"),
        (62, "aVR"),
        (63, "aVL"),
        (64, "aVF"),
        (65, "-aVR"),
        (66, "V8"),
        (67, "V9"),
        (70, "D"),
        (85, "J-cal"),
        (86, "lead code 86"),
        (0, "lead code 0"),
    ] {
        let mut written = Written::new();
        written.leads[0].0 = code;
        let r = written.read(&options());
        // aVL and II stand there already.
        if ![2, 63].contains(&code) {
            assert_eq!(r.unwrap().leads.leads()[0].name(), name, "{code}");
        }
    }
    // Eight leads stay eight.
    let eight = Written {
        leads: (1..=8).map(|code| (code, 1, 480)).collect(),
        samples: vec![Written::new().samples[0].clone(); 8],
        ..Written::new()
    };
    let r = eight.read(&options()).unwrap();
    assert_eq!(r.leads.to_string(), "I II V1 V2 V3 V4 V5 V6");
    let two = OpenOptions {
        leads: LeadChoice::Named("V6,I".parse().unwrap()),
        ..options()
    };
    assert_eq!(eight.read(&two).unwrap().leads.to_string(), "V6 I");
}

/// Section 1 and statements.
fn patient(encoding: u8, name: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut device = vec![0; 36];
    device[16] = encoding;
    let tags: [(u8, &[u8]); 14] = [
        (0, name),
        (1, b"Ada\0"),
        (2, b"MRN4711\0"),
        (4, &[0, 0, 0]),
        (5, &[159, 7, 5, 2]),
        (8, &[2]),
        (13, b"Chest pain of Ada\0"),
        (14, &device),
        (21, b"Dr. Faust\0"),
        (25, &[222, 7, 5, 1]),
        (27, &[5, 0]),
        (28, &[150, 0]),
        (29, &[2]),
        (30, b"born 2.5.1951\0"),
    ];
    let mut one = Vec::new();
    for (tag, value) in tags {
        one.push(tag);
        one.extend((value.len() as u16).to_le_bytes());
        one.extend(value);
    }
    one.extend([255, 0, 0]);
    let statements = |texts: &[&[u8]]| {
        let mut body = vec![1, 222, 7, 5, 1, 9, 30, 0, texts.len() as u8];
        for (number, text) in texts.iter().enumerate() {
            body.push(number as u8 + 1);
            body.extend((text.len() as u16).to_le_bytes());
            body.extend(*text);
        }
        body
    };
    let first = [&b"Sinus rhythm of MRN4711, "[..], name, &b"\0"[..]].concat();
    let texts = [&first[..], &b"Seen by FAUST\0"[..]];
    let codes = [&b"\x01IMI\0CRIT\0"[..], &b"\x02normal\0"[..]];
    vec![(1, one), (8, statements(&texts)), (11, statements(&codes))]
}

#[test]
fn what_the_patient_is_called_is_not_kept() {
    // M\xfcller in Latin 1 and in UTF-8; a name in Cyrillic letters.
    for (encoding, name) in [
        (0, &b"M\xfcller\0"[..]),
        (0, "Müller\0".as_bytes()),
        (0x13, b"\xc8\xd2\xd0\xdd\xde\xd2\0"),
    ] {
        let written = Written {
            others: patient(encoding, name),
            ..Written::new()
        };
        let r = written.read(&options()).unwrap();
        assert_eq!(
            (r.age, r.sex.as_deref(), &r.patient),
            (Some(62.0), Some("female"), &None)
        );
        assert_eq!(r.labels, ["IMI CRIT"]);
        let report = "Sinus rhythm of [removed], [removed]\nSeen by [removed]";
        assert_eq!(r.report.as_deref(), Some(report));
        let comments = [
            "prefilter: high-pass 0.05 Hz, low-pass 150 Hz, notch 50 Hz",
            "indication: Chest pain of [removed]",
            "comment: born [removed]",
        ];
        assert_eq!(r.source.comments, comments);
        let hashes = ["salt", "pepper"].map(|salt| {
            let salted = OpenOptions {
                patient_salt: Some(salt.into()),
                ..options()
            };
            written.read(&salted).unwrap().patient.unwrap()
        });
        assert!(hashes[0] != hashes[1] && hashes[0].len() == 32);
    }
}

/// The message of the error of `written`, which must say every one of `parts`.
fn refused(written: &Written, parts: &[&str]) {
    let error = written.read(&unverified()).unwrap_err().to_string();
    for part in parts.iter().chain(&["r.scp"]) {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

#[test]
fn contradictions_are_refused() {
    let plain = Written::new;
    let beat = || Written::with_beat(2500);
    let change = |mut written: Written, f: fn(&mut Written)| {
        f(&mut written);
        written
    };
    refused(
        &change(plain(), |w| w.leads[1].2 = 481),
        &["section 6", "lead II", "480 samples", "481"],
    );
    refused(
        &change(plain(), |w| w.leads[1].2 = 0),
        &["section 3", "lead II", "1 to 0"],
    );
    refused(
        &change(plain(), |w| w.leads[1].1 = 0),
        &["section 3", "lead II is 0"],
    );
    refused(
        &change(plain(), |w| w.step_nv = 0),
        &["section 6", "multiplier is 0"],
    );
    refused(
        &change(plain(), |w| w.interval_us = 0),
        &["section 6", "interval is 0"],
    );
    refused(
        &change(plain(), |w| w.differences = 3),
        &["section 6", "differences is 3"],
    );
    refused(&change(plain(), |w| w.flags |= 1), &["section 4", "absent"]);
    refused(
        &change(plain(), |w| w.leads.clear()),
        &["section 3", "0 leads"],
    );
    // A lead whose data is there, but which section 3 does not name.
    refused(
        &change(plain(), |w| {
            w.leads.pop();
        }),
        &["section 6"],
    );
    let huffman = || Written {
        tables: Table::Default,
        differences: 2,
        ..plain()
    };
    refused(
        &change(huffman(), |w| w.leads[0].2 = 9000),
        &["section 6", "lead I", "of 9000"],
    );
    refused(
        &change(huffman(), |w| w.leads[0].2 = 100),
        &["section 6", "lead I", "bytes longer"],
    );
    let zone = |w: &mut Written| w.beat.as_mut().unwrap().zones[2].2 = 700;
    let mut late = beat();
    late.flags = 4 | 3 << 3;
    zone(&mut late);
    let mut bytes = late.bytes();
    let at = bytes.windows(2).position(|w| w == [3, 28]).unwrap();
    bytes[at + 1] |= 1;
    let error = read(
        &bytes,
        &OpenOptions {
            verify: false,
            ..options()
        },
    )
    .unwrap_err()
    .to_string();
    assert!(
        error.contains("QRS complex 3") && error.contains("700"),
        "{error}"
    );
    let mut other_rate = beat();
    other_rate.beat.as_mut().unwrap().interval_us = 1000;
    other_rate.beat.as_mut().unwrap().length_ms = 100;
    refused(&other_rate, &["section 6", "2000 us", "1000 us"]);
    let uneven = change(beat(), |w| {
        w.decimation = 4;
        w.protected[1].0 = 243;
    });
    refused(&uneven, &["section 4", "protected zones", "groups of 4"]);
    let new = Written {
        version: 30,
        decimation: 4,
        ..beat()
    };
    refused(
        &new,
        &["section 6", "bimodal compression in version 3", "is 1"],
    );
    let twelve = record(30, &[(3, vec![0, 0]), (7, vec![0; 8])]);
    assert!(
        read(&twelve, &options())
            .unwrap_err()
            .to_string()
            .contains("section 3")
    );
}

#[test]
fn damage_is_found_by_checksums() {
    let bytes = Written::new().bytes();
    for (at, part) in [
        (bytes.len() - 9, "section 6"),
        (30, "section 0"),
        (0, "the record"),
    ] {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        let error = read(&changed, &options()).unwrap_err().to_string();
        assert!(error.contains(&format!("checksum of {part}")), "{error}");
    }
    let mut longer = bytes.clone();
    longer.extend([1, 2, 3]);
    let r = read(&longer, &options()).unwrap();
    assert!(
        r.source
            .comments
            .iter()
            .any(|c| c.contains("3 bytes behind"))
    );
    let error = read(&bytes[..bytes.len() - 1], &options()).unwrap_err();
    assert!(matches!(error, RecordError::Truncated { .. }), "{error}");
}

#[test]
fn memory_is_bounded() {
    // A bit of 0 is a sample: 60 leads of half a million.
    let bomb = Written {
        leads: (0..60).map(|code| (code, 1, 500_000)).collect(),
        samples: vec![vec![0; 500_000]; 60],
        tables: Table::Default,
        ..Written::new()
    };
    // Leads of two samples, a day apart.
    let apart = Written {
        leads: vec![(1, 1, 2), (2, 4_000_000_000, 4_000_000_001)],
        samples: vec![vec![0; 2]; 2],
        ..Written::new()
    };
    for written in [bomb, apart] {
        let bytes = written.bytes();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.scp");
        fs::write(&path, &bytes).unwrap();
        let before = start_measuring();
        let error = open(&path, &unverified()).unwrap_err();
        let peak = peak_since(before);
        assert!(matches!(error, RecordError::TooLarge { .. }), "{error}");
        assert!(peak <= 4 * bytes.len() + FREE_BYTES, "{peak}");
    }
}

/// Each digital sample times its number, from 1, lead by lead.
fn sums(recording: &Recording) -> Vec<i64> {
    let rows = recording
        .digital
        .as_ref()
        .unwrap()
        .samples()
        .chunks(recording.len());
    let sum = |row: &[i16]| row.iter().zip(1..).map(|(&v, t)| i64::from(v) * t).sum();
    rows.map(sum).collect()
}

#[test]
fn a_file_of_the_ecg_toolkit_is_read() {
    let r = open(
        data("Example.scp"),
        &OpenOptions {
            patient_salt: Some("s".into()),
            ..options()
        },
    )
    .unwrap();
    assert_eq!(
        r.leads.to_string(),
        "I II V1 V2 V3 V4 V5 V6 III aVR aVL aVF"
    );
    assert_eq!((r.rate_hz, r.len()), (500.0, 5000));
    assert_eq!((r.age, r.sex.as_deref()), (Some(49.0), Some("male")));
    assert!(r.patient.is_some() && r.report.is_none());
    let digital = r.digital.as_ref().unwrap();
    assert_eq!(digital.gain_per_mv(), [400.0; 12]);
    // Each sample times its number, from 1, as BioSig 2.5.0, the C# ECG Toolkit and ecgdatakit 2.0.3 read them.
    const SUMS: [i64; 12] = [
        -8_811_100, -8_279_780, -4_348_151, -2_060_997, -3_433_894, -5_160_354, -3_661_921,
        -6_359_141, 531_320, 8_358_147, -4_119_519, -3_758_097,
    ];
    const AT_777: [i16; 12] = [-9, -6, 14, 21, 20, 1, -31, -33, 3, 7, -6, -1];
    assert_eq!(sums(&r), SUMS);
    let at_777: Vec<i16> = digital.samples().chunks(5000).map(|row| row[777]).collect();
    assert_eq!(at_777, AT_777);
    // Under any name, by its mark.
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("export.ecg");
    fs::copy(data("Example.scp"), &other).unwrap();
    let again = open(&other, &OpenOptions::default()).unwrap();
    assert_eq!(again.samples_mv(), r.samples_mv());
    let found = find_records(data("")).unwrap().records;
    assert_eq!(found, [data("Example.scp"), data("healforce_62.scp")]);
}

#[test]
fn a_file_of_a_healforce_device_is_read_when_it_is_asked_for() {
    let error = open(data("healforce_62.scp"), &options())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("Healforce") && error.contains("--unverified"),
        "{error}"
    );
    let r = open(data("healforce_62.scp"), &unverified()).unwrap();
    assert_eq!(
        (r.leads.to_string().as_str(), r.rate_hz, r.len()),
        ("I II III", 150.0, 4500)
    );
    let comments = &r.source.comments;
    assert!(comments[0].starts_with("unverified") && comments[1].contains("9524 nV"));
    let rows: Vec<&[i16]> = r.digital.as_ref().unwrap().samples().chunks(4500).collect();
    // As the reader of K. Bao gives them, who found the coding.
    assert_eq!(rows[0][..6], [1, 1, 1, 1, 1, 1]);
    assert_eq!(rows[1][..6], [0, -1, -1, 0, 0, 0]);
    assert_eq!(sums(&r), [39_317_608, 62_154_605, 40_875_523]);
    let ends: Vec<(i16, i16)> = rows
        .iter()
        .map(|row| (*row.iter().min().unwrap(), *row.iter().max().unwrap()))
        .collect();
    assert_eq!(ends, [(-80, 56), (-13, 114), (-25, 156)]);
}

#[test]
fn real_files_survive_damage() {
    for name in ["Example.scp", "healforce_62.scp"] {
        let bytes = fs::read(data(name)).unwrap();
        survives(name, &bytes, "scp", |path| {
            let _ = open(
                path,
                &OpenOptions {
                    verify: false,
                    ..unverified()
                },
            );
        });
    }
}

#[test]
fn written_files_survive_damage() {
    for tables in [Table::None, Table::Switching] {
        for decimation in [1, 4] {
            let written = Written {
                tables,
                decimation,
                others: patient(0, b"Doe\0"),
                ..Written::with_beat(5000)
            };
            survives("written", &written.bytes(), "scp", |path| {
                let _ = open(
                    path,
                    &OpenOptions {
                        verify: false,
                        ..unverified()
                    },
                );
            });
        }
    }
}

proptest! {
    #[test]
    fn any_samples_are_read_as_they_were_written(
        samples in prop::collection::vec(any::<i16>(), 1..400),
        differences in 0_u8..3,
        tables in prop::sample::select(TABLES.to_vec()),
    ) {
        let written = Written {
            leads: vec![(5, 1, samples.len() as u32)],
            samples: vec![samples.iter().map(|&v| i32::from(v)).collect()],
            differences,
            tables,
            ..Written::new()
        };
        is_exact(&written, &written.read(&OpenOptions::default()).unwrap());
    }

    #[test]
    fn any_bytes_behind_a_pointer_are_survived(
        id in 1_u16..12,
        body in prop::collection::vec(any::<u8>(), 0..200),
        decimation in prop::sample::select(vec![1_usize, 4]),
    ) {
        let mut written = Written { decimation, ..Written::with_beat(5000) };
        written.others = vec![(id, body)];
        let _ = written.read(&unverified());
    }
}

/// Writes a file of every coding, and the samples in it as text, into the folder `SCP_FILES`, to be read by other programs. BioSig 2.5.0
/// (`save2gdf -f=ASCII`) reads `plain` with `None` and `Default` as written, the C# ECG Toolkit all but `Switching` and `bimodal`, ecgdatakit 2.0.3
/// all but `bimodal`.
#[test]
#[ignore = "for comparisons with other readers"]
fn files_for_other_readers() {
    let folder = PathBuf::from(std::env::var_os("SCP_FILES").expect("SCP_FILES names a folder"));
    fs::create_dir_all(&folder).unwrap();
    for tables in TABLES {
        for differences in 0..3 {
            for (kind, written) in [
                ("plain", Written::new()),
                ("beat", Written::with_beat(2500)),
                ("beat2", Written::with_beat(5000)),
                (
                    "bimodal",
                    Written {
                        decimation: 4,
                        ..Written::with_beat(2500)
                    },
                ),
            ] {
                let written = Written {
                    tables,
                    differences,
                    ..written
                };
                let name = format!("{kind}_{tables:?}_{differences}");
                fs::write(folder.join(format!("{name}.scp")), written.bytes()).unwrap();
                let rows = written.samples.iter().map(|row| {
                    let row: Vec<String> = row.iter().map(i32::to_string).collect();
                    row.join(" ")
                });
                let rows: Vec<String> = rows.collect();
                fs::write(folder.join(format!("{name}.txt")), rows.join("\n")).unwrap();
            }
        }
    }
}
