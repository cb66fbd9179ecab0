//! Files as people write them: one recording in many forms must be that recording, or be refused.

use std::path::{Path, PathBuf};

use purkinje_record::mat::{NewValue, write_mat};
use purkinje_record::{Lead, LeadChoice, LeadSet, OpenOptions, Recording, Repeated, Unit, open};

fn files(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/world");
    let entries = std::fs::read_dir(folder.join(kind)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths.filter(|p| p.extension().unwrap() != "dat").collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

fn read(path: &Path) -> Recording {
    let options = OpenOptions {
        leads: LeadChoice::Voltages,
        ..OpenOptions::default()
    };
    open(path, &options).unwrap_or_else(|error| panic!("{error}"))
}

/// The lowest and the highest value of a lead, in microvolts.
fn range(recording: &Recording, lead: &Lead) -> (i32, i32) {
    let row = recording.leads.position(lead).unwrap();
    let own = &recording.samples_mv()[row * recording.len()..][..recording.len()];
    let low = own.iter().copied().fold(f32::INFINITY, f32::min);
    let high = own.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    (
        (1000.0 * low).round() as i32,
        (1000.0 * high).round() as i32,
    )
}

/// What the leads of the recording reach.
const RANGES: [(Lead, (i32, i32)); 6] = [
    (Lead::I, (-118, 698)),
    (Lead::II, (-198, 1098)),
    (Lead::III, (-80, 400)),
    (Lead::AVL, (-20, 149)),
    (Lead::AVF, (-139, 749)),
    (Lead::V2, (-1294, 400)),
];

fn is_the_recording(recording: &Recording, path: &Path) {
    let path = path.display();
    // Some of these files end after 1.2 s.
    let long = [600, 1200].contains(&recording.len());
    assert!(recording.rate_hz == 500.0 && long, "{path}");
    for (lead, expected) in &RANGES {
        if recording.leads.position(lead).is_some() {
            let (low, high) = range(recording, lead);
            // One file is rounded to whole microvolts, one to twelve bits.
            let near = (low - expected.0).abs() <= 1 && (high - expected.1).abs() <= 1;
            assert!(
                near,
                "{path}: {lead} from {low} to {high}, expected {expected:?}"
            );
        }
    }
}

#[test]
fn the_sign_of_a_lead_is_part_of_its_name() {
    for path in files("negative-leads") {
        let found = read(&path);
        is_the_recording(&found, &path);
        assert_eq!(found.leads.position(&Lead::AVR), None, "{}", path.display());
        let mut names = found.leads.leads().iter();
        assert!(
            names.any(|lead| lead.name().contains('-')),
            "{}",
            found.leads
        );
    }
}

#[test]
fn leads_are_named_wherever_a_file_names_them() {
    for path in files("named-leads") {
        let found = read(&path);
        is_the_recording(&found, &path);
        assert_eq!(found.leads.leads()[4..6], [Lead::AVF, Lead::AVL]);
        assert!(found.source.comments.is_empty());
    }
}

#[test]
fn names_of_leads_mean_the_same_in_every_format() {
    for path in files("lead-spellings") {
        let found = read(&path);
        is_the_recording(&found, &path);
        let known = found.leads.leads().iter();
        let unknown: Vec<&Lead> = known
            .filter(|lead| lead.standard_index().is_none())
            .collect();
        assert!(unknown.is_empty(), "{}: {unknown:?}", path.display());
    }
}

#[test]
fn units_count_wherever_they_stand_and_none_is_assumed_of_whole_numbers() {
    for path in files("units") {
        let whole = path.file_stem().unwrap() == "int16";
        if !whole {
            is_the_recording(&read(&path), &path);
            continue;
        }
        let error = open(&path, &OpenOptions::default())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("from the caller") && error.contains("whole numbers"),
            "{error}"
        );
        let options = OpenOptions {
            unit: Some(Unit::Microvolt),
            ..OpenOptions::default()
        };
        is_the_recording(&open(&path, &options).unwrap(), &path);
    }
}

/// A table with these titles, whose columns are the first leads of the recording.
fn table(titles: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.csv");
    let mut text = format!("time (s),{titles}\n");
    for sample in 0..200 {
        let t = f64::from(sample) / 500.0;
        text += &format!("{t:.3},{},{}\n", (9.0 * t).sin(), (5.0 * t).cos());
    }
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

#[test]
fn what_no_rule_knows_is_told_and_signals_of_one_name_are_refused() {
    let (_dir, path) = table("CH1,CH2");
    assert!(read(&path).leads.position(&Lead::II).is_none());
    let options = OpenOptions {
        lead_names: vec![("ch1".into(), Lead::I), ("CH2".into(), Lead::II)],
        ..OpenOptions::default()
    };
    let told = open(&path, &options).unwrap();
    assert_eq!(told.leads.to_string(), "I II");

    let (_dir, path) = table("ECG II,Lead 2");
    for leads in [
        LeadChoice::All,
        LeadChoice::Voltages,
        LeadChoice::Named(LeadSet::new(vec![Lead::II])),
    ] {
        let asked = |repeated| {
            let options = OpenOptions {
                leads: leads.clone(),
                repeated,
                ..OpenOptions::default()
            };
            open(&path, &options)
        };
        let error = asked(Repeated::Refused).unwrap_err().to_string();
        assert!(
            error.contains("signals 1 and 2") && error.contains("from the caller"),
            "{error}"
        );
        let [first, last] = [Repeated::First, Repeated::Last].map(|own| asked(own).unwrap());
        assert_eq!((first.leads.len(), last.leads.len()), (1, 1));
        assert!(first.samples_mv()[0] == 0.0 && last.samples_mv()[0] == 1.0);
    }
}

#[test]
fn an_order_that_is_stated_nowhere_is_checked() {
    let path = &files("named-leads")[0];
    let found = read(path);
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, order: [usize; 12]| {
        let path = dir.path().join(name);
        let rows = order.iter().flat_map(|&row| {
            found.samples_mv()[row * found.len()..][..found.len()]
                .iter()
                .map(|&v| f64::from(v))
        });
        let values: Vec<f64> = rows.collect();
        let matrix = NewValue::Doubles {
            rows: 12,
            columns: found.len(),
            values: &values,
        };
        let mut file = std::fs::File::create(&path).unwrap();
        write_mat(&mut file, &[("ecg", matrix)]).unwrap();
        let options = OpenOptions {
            rate_hz: Some(500.0),
            ..OpenOptions::default()
        };
        open(&path, &options)
    };
    // The file has aVF before aVL: exchanged they stand as usual.
    let usual = write("usual.mat", [0, 1, 2, 3, 5, 4, 6, 7, 8, 9, 10, 11]).unwrap();
    is_the_recording(&usual, path);
    assert!(usual.source.comments[0].contains("no lead is named"));
    let other = write("other.mat", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    let error = other.unwrap_err().to_string();
    assert!(
        error.contains("aVL in row 6, aVF in row 5") && error.contains("from the caller"),
        "{error}"
    );
}

#[test]
fn paths_in_headers_are_of_the_place_where_they_were_made() {
    for path in files("paths") {
        let found = read(&path);
        is_the_recording(&found, &path);
        let moved = found.source.comments.iter();
        let moved = moved.filter(|comment| comment.contains("beside the header"));
        let is_moved = path.file_stem().unwrap() == "00001_medians";
        assert_eq!(moved.count(), usize::from(is_moved), "{}", path.display());
    }
    // A file that is where the header says is that file; segments are found likewise, and counted only where they are listed.
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    let signal = |file: &str| format!("{file} 16 1000/mV\n");
    write("a.dat", &[1, 0, 2, 0]);
    write("sub/a.dat", &[3, 0, 4, 0]);
    write(
        "r.hea",
        format!("sub/2 1 500 2\n{}", signal("sub/a.dat")).as_bytes(),
    );
    write(
        "a.hea",
        format!("x/y/0001 1 500 2\n\n# between\n{}", signal("a.dat")).as_bytes(),
    );
    write("m.hea", b"m/2 1 500 4\nsegments/a 2\na 2\n");
    let microvolts = |name: &str| -> Vec<i32> {
        let found = read(&dir.path().join(name));
        found
            .samples_mv()
            .iter()
            .map(|mv| (mv * 1000.0).round() as i32)
            .collect()
    };
    assert_eq!(microvolts("r.hea"), [3, 4]);
    assert_eq!(microvolts("a.hea"), [1, 2]);
    assert_eq!(microvolts("m.hea"), [1, 2, 1, 2]);
    for lost in ["../a.dat", "/a.dat", "sub/../a.dat", "elsewhere/b.dat"] {
        write("l.hea", format!("l 1 500 2\n{}", signal(lost)).as_bytes());
        assert!(
            open(dir.path().join("l.hea"), &OpenOptions::default()).is_err(),
            "{lost}"
        );
    }
}

#[test]
fn ages_and_sexes_of_headers_are_known() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data");
    for (name, age, sex) in [
        ("physionet2021/ptb/S0001.hea", Some(81.0), Some("female")),
        ("physionet2021/georgia/g1/E00001.hea", None, Some("female")),
        ("ludb/data/1.hea", Some(51.0), Some("female")),
        ("ptbdb/patient001/s0010_re.hea", Some(81.0), Some("female")),
        ("same_record/A0002.hea", Some(49.0), Some("female")),
        ("wfdb/100.hea", Some(69.0), Some("male")),
        ("wfdb/test01_00s.hea", Some(25.0), Some("male")),
    ] {
        let header = purkinje_record::wfdb::Header::read(&tests.join(name)).unwrap();
        let person = purkinje_record::person::Person::of_comments(&header.comments);
        assert_eq!((person.age, person.sex.as_deref()), (age, sex), "{name}");
        assert!(person.left_out.is_empty(), "{name}: {:?}", person.left_out);
    }
    let found = read(&tests.join("wfdb/100.hea"));
    assert_eq!(
        (found.age, found.sex.as_deref()),
        (Some(69.0), Some("male"))
    );
    // What cannot be is said, not stored.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.hea");
    std::fs::write(dir.path().join("r.dat"), [1, 0]).unwrap();
    let header = "r 1 500 1\nr.dat 16 1000/mV\n#Age: 300\n#Sex: F\n";
    std::fs::write(&path, header).unwrap();
    let found = read(&path);
    assert_eq!((found.age, found.sex.as_deref()), (None, Some("female")));
    assert_eq!(
        found.source.comments.last().unwrap(),
        "the age `300` is no age from 0 to 130 years; left out"
    );
}
