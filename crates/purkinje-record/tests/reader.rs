//! Stretches of a recording are those of the whole, whatever the format.

use std::path::{Path, PathBuf};

use purkinje_record::{LeadChoice, OpenOptions, Reader, Recording, find_records, open};

fn data(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/data")
        .join(folder)
}

fn options(keep_digital: bool) -> OpenOptions {
    OpenOptions {
        leads: LeadChoice::Voltages,
        keep_digital,
        links_outside: true,
        ..OpenOptions::default()
    }
}

fn bits(recording: &Recording) -> Vec<u32> {
    let samples = recording.samples_mv().iter();
    samples.map(|sample| sample.to_bits()).collect()
}

#[test]
fn stretches_are_those_of_the_whole() {
    let mut by_seeking = 0;
    for folder in ["wfdb", "formats", "ptb-xl", "ludb", "ptbdb", "cpsc2018"] {
        for path in find_records(data(folder)).unwrap() {
            for keep_digital in [false, true] {
                let options = options(keep_digital);
                let Ok(whole) = open(&path, &options) else {
                    let reader = Reader::beyond(&path, &options, 0);
                    assert!(reader.is_err(), "{}", path.display());
                    continue;
                };
                let reader = Reader::beyond(&path, &options, 0).unwrap();
                let name = path.display();
                by_seeking += usize::from(reader.whole().is_none());
                assert_eq!(reader.len(), whole.len(), "{name}");
                let (mut about, mut expected) = (reader.about().clone(), whole.clone());
                for one in [&mut about, &mut expected] {
                    one.annotations.clear();
                    *one = one.stretch(&(0..0));
                    one.digital = None;
                }
                assert_eq!(about, expected, "{name}");
                assert_eq!(reader.about().annotations, whole.annotations, "{name}");
                let len = whole.len();
                let places = [
                    0..len,
                    0..1.min(len),
                    len / 3..len / 2,
                    len / 7..len,
                    len - 1..len,
                ];
                for place in places {
                    let read = reader.read(&place).unwrap();
                    let cut = whole.stretch(&place);
                    assert_eq!(bits(&read), bits(&cut), "{name} {place:?}");
                    if let (Some(read), Some(cut)) = (&read.digital, &cut.digital) {
                        assert_eq!(read.samples(), cut.samples(), "{name} {place:?}");
                        assert_eq!(read.gain_per_mv(), cut.gain_per_mv(), "{name}");
                    }
                }
                let blocks: usize = reader.blocks().map(|block| block.unwrap().len()).sum();
                assert_eq!(blocks, len);
            }
        }
    }
    assert!(
        by_seeking > 40,
        "{by_seeking} of the files were read by seeking"
    );
}

#[test]
fn a_wrong_checksum_is_found_in_a_long_file() {
    let dir = tempfile::tempdir().unwrap();
    let header = dir.path().join("r.hea");
    let samples: Vec<u8> = (0..4000i16).flat_map(i16::to_le_bytes).collect();
    std::fs::write(dir.path().join("r.dat"), samples).unwrap();
    let sum = (0..4000i16).step_by(2).fold(0i16, i16::wrapping_add);
    for (given, right) in [(sum, true), (sum.wrapping_add(1), false)] {
        let text =
            format!("r 2 250 2000\nr.dat 16 200 12 0 0 {given} 0 I\nr.dat 16 200 12 0 1 0 0 II\n");
        let text = text.replace("0 1 0 0 II", "0 1 -1472 0 II");
        std::fs::write(&header, text).unwrap();
        let only = OpenOptions {
            leads: LeadChoice::Named("I".parse().unwrap()),
            ..OpenOptions::default()
        };
        let found = Reader::beyond(&header, &only, 0);
        assert_eq!(
            found.is_ok(),
            right,
            "{:?}",
            found.err().map(|e| e.to_string())
        );
        assert_eq!(open(&header, &only).is_ok(), right);
    }
}
