//! What must hold for any input: headers and samples survive being written and read, the direct reader equals the general one,
//! and no damaged file makes a reader panic.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use purkinje_record::wfdb::{
    Date, Format, Header, ReadOptions, SegmentSpec, SignalSpec, Time, WfdbRecord, read_annotations,
};
use purkinje_record::{OpenOptions, open};

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data")
}

fn signal() -> impl Strategy<Value = SignalSpec> {
    let form = (
        prop::sample::select(&Format::ALL[1..]),
        1u32..100,
        0u32..100,
        0u64..10_000,
    );
    let scale = (
        prop_oneof![1e-3..1e6, -1e6..-1e-3],
        any::<i32>(),
        "[a-zA-Z%]{1,6}",
    );
    let rest = (
        0u32..33,
        any::<i32>(),
        any::<i32>(),
        any::<i16>(),
        "[A-Za-z][A-Za-z0-9 ]{0,10}[a-z]",
    );
    ("[a-z][a-z0-9_.]{0,12}", form, scale, rest).prop_map(|(file, form, scale, rest)| SignalSpec {
        file,
        format: form.0,
        samples_per_frame: form.1,
        skew_frames: form.2,
        byte_offset: form.3,
        gain: scale.0,
        baseline: scale.1,
        unit: scale.2,
        adc_resolution_bits: Some(rest.0),
        adc_zero: rest.1,
        initial_value: Some(rest.2),
        checksum: Some(rest.3),
        block_size: Some(0),
        description: rest.4,
    })
}

fn header() -> impl Strategy<Value = Header> {
    let start = (
        prop::option::of((0u8..24, 0u8..60, 0u32..60_000)),
        prop::option::of((1u16..10_000, 1u8..13, 1u8..32)),
    );
    let body = prop_oneof![
        prop::collection::vec(signal(), 0..6).prop_map(|signals| (signals, Vec::new())),
        prop::collection::vec(("[a-z0-9_]{1,8}", 0u64..1_000_000), 1..6).prop_map(|segments| {
            let segments = segments
                .into_iter()
                .map(|(name, frames)| SegmentSpec { name, frames });
            (Vec::new(), segments.collect())
        }),
    ];
    (
        "[A-Za-z0-9_.-]{1,12}",
        1e-3..1e5,
        prop::option::of((1.0..1e5, prop::option::of(-1e6..1e6))),
        1u64..1 << 40,
        start,
        body,
        prop::collection::vec("[A-Za-z:,0-9][A-Za-z:,0-9 ]{0,20}[a-z]", 0..4),
    )
        .prop_map(|(name, rate_hz, counter, frames, start, body, comments)| {
            let (signals, segments): (Vec<SignalSpec>, Vec<SegmentSpec>) = body;
            Header {
                name,
                rate_hz,
                counter_hz: counter.map(|c| c.0),
                base_counter: counter.and_then(|c| c.1),
                frames: Some(frames),
                start_time: start.0.map(|(hour, minute, ms)| Time {
                    hour,
                    minute,
                    second: f64::from(ms) / 1000.0,
                }),
                start_date: start.1.map(|(year, month, day)| Date { year, month, day }),
                signal_count: signals.len().max(segments.len()),
                signals,
                segments,
                comments,
            }
        })
}

/// The smallest and largest sample of a format.
fn range(format: Format) -> (i32, i32) {
    let bits = match format {
        Format::F80 => 8,
        Format::F212 => 12,
        Format::F310 | Format::F311 => 10,
        Format::F24 => 24,
        Format::F32 => 32,
        _ => 16,
    };
    let half = 1i64 << (bits - 1);
    (-half as i32, (half - 1) as i32)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn headers_survive_writing_and_reading(header in header()) {
        prop_assert_eq!(Header::parse(&header.to_string()), Ok(header));
    }

    #[test]
    fn no_text_makes_the_header_parser_panic(text in "\\PC{0,200}|[ -~\n\r\t]{0,400}|([0-9/#:+x(). ~a-c\u{fe0f}]{0,20}\n){0,6}") {
        let _ = Header::parse(&text);
    }

    /// Interleaved signals of any frame layout, in every plain format with a fixed size.
    #[test]
    fn samples_survive_writing_and_reading(
        format in prop::sample::select(vec![
            Format::F16, Format::F24, Format::F32, Format::F61, Format::F80, Format::F160, Format::F212, Format::F310,
            Format::F311,
        ]),
        per_frame in prop::collection::vec(1u32..5, 1..6),
        frames in 1usize..40,
        offset in 0u64..30,
        known_length in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let (low, high) = range(format);
        let frame_samples: usize = per_frame.iter().map(|&n| n as usize).sum();
        let mut state = seed;
        let samples: Vec<i32> = (0..frames * frame_samples).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let span = i64::from(high) - i64::from(low) + 1;
            // The extremes, which are where bits go wrong, more often than others.
            match state >> 60 { 0 => low, 1 => high, 2 => -1, _ => (i64::from(low) + (state >> 20) as i64 % span) as i32 }
        }).collect();
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = vec![0xaa; offset as usize];
        bytes.extend(format.encode(&samples, 0).unwrap());
        fs::write(folder.path().join("r.dat"), bytes).unwrap();
        let mut text = format!("r {} 500 {}\n", per_frame.len(), if known_length { frames } else { 0 });
        for (i, n) in per_frame.iter().enumerate() {
            text += &format!("r.dat {}x{n}+{offset} 200(7)/mV 16 0\n#{i}\n", format.code());
        }
        let path = folder.path().join("r.hea");
        fs::write(&path, text).unwrap();
        let record = WfdbRecord::read(&path, &ReadOptions::default()).unwrap();
        // Two samples of format 310 fill all four bytes of a group of three: a file without a length then ends in one sample more.
        let spare = format == Format::F310 && samples.len() % 3 == 2 && frame_samples == 1 && !known_length;
        prop_assert_eq!(record.frames, frames + usize::from(spare));
        let mut start = 0;
        for (signal, &n) in record.signals.iter().zip(&per_frame) {
            let n = n as usize;
            let own: Vec<i32> = samples.chunks(frame_samples).flat_map(|frame| frame[start..start + n].to_vec()).collect();
            prop_assert_eq!(&signal.digital[..own.len()], &own[..]);
            prop_assert_eq!(signal.digital.len(), record.frames * n);
            for (value, physical) in own.iter().zip(signal.physical()) {
                if Some(*value) == format.missing_code() {
                    prop_assert!(physical.is_nan());
                } else {
                    prop_assert_eq!(physical, (f64::from(*value) - 7.0) / 200.0);
                }
            }
            start += n;
        }
    }

    #[test]
    fn differences_survive_writing_and_reading(steps in prop::collection::vec(any::<i8>(), 1..200), initial in -1000i32..1000) {
        let samples: Vec<i32> = steps.iter().scan(initial, |value, &step| { *value += i32::from(step); Some(*value) }).collect();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("r.dat"), Format::F8.encode(&samples, initial).unwrap()).unwrap();
        let path = folder.path().join("r.hea");
        fs::write(&path, format!("r 1 100 {}\nr.dat 8 100 12 0 {initial}\n", samples.len())).unwrap();
        let record = WfdbRecord::read(&path, &ReadOptions::default()).unwrap();
        prop_assert_eq!(&record.signals[0].digital, &samples);
    }

    /// The direct reader, which `open` takes for format 16, gives what the general one gives.
    #[test]
    fn direct_and_general_reader_agree(
        gains in prop::collection::vec(prop_oneof![Just(1000.0), Just(200.0), 0.01..1e5, -1e4..-0.1], 1..16),
        baseline in -40_000i32..40_000,
        unit in prop::sample::select(vec!["mV", "uV", "V", "nV"]),
        frames in 1usize..150,
        seed in any::<u64>(),
    ) {
        let mut state = seed;
        let samples: Vec<i32> = (0..frames * gains.len()).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if state >> 59 == 0 { -32768 } else { i32::from((state >> 40) as i16) }
        }).collect();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("r.dat"), Format::F16.encode(&samples, 0).unwrap()).unwrap();
        let mut text = format!("r {} 500 {frames}\n", gains.len());
        for gain in &gains {
            text += &format!("r.dat 16 {gain}({baseline})/{unit}\n");
        }
        let path = folder.path().join("r.hea");
        fs::write(&path, text).unwrap();
        let options = OpenOptions { keep_digital: true, ..OpenOptions::default() };
        let direct = open(&path, &options).unwrap();
        let general = WfdbRecord::read(&path, &ReadOptions::default()).unwrap().to_recording(&options).unwrap();
        let bits = |mv: &[f32]| mv.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(direct.samples_mv()), bits(general.samples_mv()));
        prop_assert_eq!(&direct.digital, &general.digital);
        prop_assert_eq!(&direct.leads, &general.leads);
        // And the digital samples mean what they promise.
        let digital = direct.digital.unwrap();
        for (row, mv) in general.rows().enumerate() {
            for (value, mv) in digital.samples()[row * frames..].iter().zip(mv) {
                let want = (f64::from(*value) - f64::from(digital.baseline()[row])) / digital.gain_per_mv()[row];
                let same = if *value == i16::MIN { mv.is_nan() } else { want as f32 == *mv };
                prop_assert!(same);
            }
        }
    }
}

/// Small records of the fixtures with all their files.
const SMALL: [(&str, &[&str]); 4] = [
    (
        "binformats",
        &["d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8", "d9"],
    ),
    ("flacformats", &["d0", "d1", "d2"]),
    ("3000003_0003", &["dat"]),
    ("311derive_3", &["dat"]),
];

/// Writes a file anew: cutting and rewriting one makes some file systems wait for the disk every time.
fn replace(path: &Path, bytes: &[u8]) {
    let _ = fs::remove_file(path);
    fs::write(path, bytes).unwrap();
}

fn copy(record: &str, extensions: &[&str], to: &Path) {
    for extension in extensions.iter().chain(&["hea"]) {
        let name = format!("{record}.{extension}");
        fs::copy(data().join("wfdb").join(&name), to.join(&name)).unwrap();
    }
}

#[test]
fn every_prefix_of_a_signal_file_is_refused() {
    for (record, extensions) in SMALL {
        let folder = tempfile::tempdir().unwrap();
        copy(record, extensions, folder.path());
        let header = folder.path().join(format!("{record}.hea"));
        WfdbRecord::read(&header, &ReadOptions::default()).unwrap();
        for extension in extensions {
            let path = folder.path().join(format!("{record}.{extension}"));
            let whole = fs::read(&path).unwrap();
            for len in 0..whole.len() {
                replace(&path, &whole[..len]);
                let result = WfdbRecord::read(&header, &ReadOptions::default());
                // The last bytes of a FLAC file are a checksum that guards samples already complete.
                let complete =
                    extension.starts_with('d') && record == "flacformats" && len + 2 >= whole.len();
                let message = match result {
                    Err(error) => error.to_string(),
                    Ok(_) if complete => continue,
                    Ok(_) => panic!(
                        "{record}.{extension} was read from {len} of {} bytes",
                        whole.len()
                    ),
                };
                assert!(
                    message.contains(&format!("{record}.{extension}")),
                    "{message}"
                );
            }
            replace(&path, &whole);
        }
    }
}

#[test]
fn no_damage_makes_a_reader_panic() {
    let mut state = 1u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    let folder = tempfile::tempdir().unwrap();
    for (record, extensions) in SMALL {
        copy(record, extensions, folder.path());
        let header = folder.path().join(format!("{record}.hea"));
        for extension in extensions.iter().chain(&["hea"]) {
            let path = folder.path().join(format!("{record}.{extension}"));
            let whole = fs::read(&path).unwrap();
            for _ in 0..300 {
                let mut damaged = whole.clone();
                for _ in 0..1 + random() % 4 {
                    let at = random() % damaged.len();
                    damaged[at] = random() as u8;
                }
                replace(&path, &damaged);
                for verify in [true, false] {
                    let options = OpenOptions {
                        verify,
                        ..OpenOptions::default()
                    };
                    let _ = open(&header, &options);
                }
            }
            replace(&path, &whole);
        }
    }
    let path = folder.path().join("r.atr");
    let whole = fs::read(data().join("wfdb/1003.atr")).unwrap();
    for len in 0..whole.len() {
        replace(&path, &whole[..len]);
        assert!(read_annotations(&path).is_err(), "{len}");
    }
    for _ in 0..1000 {
        let mut damaged = whole.clone();
        for _ in 0..8 {
            let at = random() % damaged.len();
            damaged[at] = random() as u8;
        }
        replace(&path, &damaged);
        let _ = read_annotations(&path);
    }
}
