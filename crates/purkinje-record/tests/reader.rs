//! Stretches of a recording are those of the whole, whatever the format.

#[path = "common/memory.rs"]
mod memory;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use memory::{peak_since, start_measuring};
use purkinje_base::npy::NpyWriter;
use purkinje_record::mat::{NewValue, write_mat};
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
    let mut in_stretches = 0;
    for folder in [
        "wfdb",
        "formats",
        "containers",
        "ptb-xl",
        "ludb",
        "ptbdb",
        "cpsc2018",
    ] {
        for path in find_records(data(folder)).unwrap().records {
            // Arrays do not say their rate; tables with times do.
            for (keep_digital, rate_hz) in [(false, None), (true, None), (true, Some(250.0))] {
                let options = OpenOptions {
                    rate_hz,
                    ..options(keep_digital)
                };
                let Ok(whole) = open(&path, &options) else {
                    let reader = Reader::beyond(&path, &options, 0);
                    assert!(reader.is_err(), "{}", path.display());
                    continue;
                };
                let reader = Reader::beyond(&path, &options, 0).unwrap();
                let name = path.display();
                in_stretches += usize::from(reader.whole().is_none());
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
        in_stretches > 200,
        "{in_stretches} files were read in stretches"
    );
}

/// Nine million samples of three leads in files of each kind that is read by seeking or unpacked into a temporary file.
#[test]
fn long_arrays_and_tables_are_read_in_little_memory() {
    const LEN: usize = 3_000_000;
    let value = |lead: usize, t: usize| ((t * (lead + 1)) % 2000) as f32 / 1000.0 - 1.0;
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);

    let mut npy = NpyWriter::<f32, _>::new(File::create(path("a.npy")).unwrap(), &[LEN]).unwrap();
    let mut row = vec![0f32; LEN];
    for lead in 0..3 {
        row.iter_mut()
            .enumerate()
            .for_each(|(t, v)| *v = value(lead, t));
        npy.push(&row).unwrap();
    }
    npy.finish().unwrap();
    drop(row);
    let mut csv = BufWriter::new(File::create(path("b.csv")).unwrap());
    writeln!(csv, "time (s),I,II,V1").unwrap();
    for t in 0..LEN {
        let [i, ii, v1] = [0, 1, 2].map(|lead| value(lead, t));
        writeln!(csv, "{:.3},{i},{ii},{v1}", t as f64 / 250.0).unwrap();
    }
    csv.flush().unwrap();
    let rows: Vec<f64> = (0..3 * LEN)
        .map(|i| f64::from(value(i / LEN, i % LEN)))
        .collect();
    let matrix = |rows, columns, values| NewValue::Doubles {
        rows,
        columns,
        values,
    };
    let variables = [
        ("data", matrix(3, LEN, &rows)),
        ("fs", matrix(1, 1, &[250.0])),
    ];
    write_mat(&mut File::create(path("c.mat")).unwrap(), &variables).unwrap();
    drop(rows);

    for name in ["a.npy", "b.csv", "c.mat"] {
        let options = OpenOptions {
            rate_hz: (name == "a.npy").then_some(250.0),
            array_leads: Some("I,II,V1".parse().unwrap()),
            ..options(false)
        };
        let before = start_measuring();
        let reader = Reader::open(path(name), &options).unwrap();
        assert!(reader.whole().is_none() && reader.len() == LEN, "{name}");
        assert_eq!(reader.about().rate_hz, 250.0);
        for place in [0..10, LEN / 2 - 1300..LEN / 2 + 1200, LEN - 1..LEN] {
            let read = reader.read(&place).unwrap();
            for (lead, row) in read.rows().enumerate() {
                let expected: Vec<f32> = place.clone().map(|t| value(lead, t)).collect();
                assert_eq!(row, expected, "{name} {place:?}");
            }
        }
        assert_eq!(
            reader.blocks().map(|b| b.unwrap().len()).sum::<usize>(),
            LEN
        );
        // The samples alone are 36 MB.
        let peak = peak_since(before);
        assert!(
            peak < if name == "b.csv" { 150 << 20 } else { 24 << 20 },
            "{name}: {peak}"
        );
    }
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
