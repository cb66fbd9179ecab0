//! Files as people write them: one recording in many forms must be that recording, or be refused.

use std::path::{Path, PathBuf};

use purkinje_record::mat::{NewValue, write_mat};
use purkinje_record::{
    Lead, LeadChoice, LeadSet, OpenOptions, Reader, RecordError, Recording, Repeated, Unit, open,
};

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
            error.contains("--input-unit") && error.contains("whole numbers"),
            "{error}"
        );
        let options = OpenOptions {
            unit: Some(Unit::Microvolt),
            ..OpenOptions::default()
        };
        is_the_recording(&open(&path, &options).unwrap(), &path);
    }
}

#[test]
fn arrays_that_are_named_like_leads_are_a_recording() {
    for path in files("lead-arrays") {
        let found = read(&path);
        is_the_recording(&found, &path);
        assert_eq!(found.leads, LeadSet::standard_12(), "{}", path.display());
        assert_eq!(found.len(), 600);
        // In the order that the caller asks for, and never by other names.
        let two = OpenOptions {
            array_leads: Some("V2,I".parse().unwrap()),
            ..OpenOptions::default()
        };
        let found = open(&path, &two).unwrap();
        is_the_recording(&found, &path);
        assert_eq!(found.leads.to_string(), "V2 I");
        let other = OpenOptions {
            array_leads: Some("V2,V7".parse().unwrap()),
            ..OpenOptions::default()
        };
        let error = open(&path, &other).unwrap_err().to_string();
        assert!(error.contains("no lead V7"), "{error}");
    }
}

#[test]
fn the_header_of_ecg_kit_scales_its_samples() {
    for path in files("headers") {
        let options = OpenOptions {
            keep_digital: true,
            ..OpenOptions::default()
        };
        let found = open(&path, &options).unwrap();
        is_the_recording(&found, &path);
        assert_eq!(found.leads.leads()[4..6], [Lead::AVF, Lead::AVL]);
        if path.file_stem().unwrap() != "doubles" {
            let digital = found.digital.as_ref().unwrap();
            assert_eq!(digital.gain_per_mv()[..4], [1000.0, 2000.0, 3000.0, 1000.0]);
            assert_eq!(digital.baseline()[..3], [0, 10, 20]);
            let exact = found.exact_mv();
            let same = exact.iter().zip(found.samples_mv());
            assert!(same.into_iter().all(|(exact, mv)| *exact as f32 == *mv));
        }
    }
}

/// A MATLAB file of these variables, one row each.
fn vectors(variables: &[(&str, &[f64])]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.mat");
    let variables: Vec<(&str, NewValue<'_>)> = variables
        .iter()
        .map(|&(name, values)| {
            let matrix = NewValue::Doubles {
                rows: 1,
                columns: values.len(),
                values,
            };
            (name, matrix)
        })
        .collect();
    let mut file = std::fs::File::create(&path).unwrap();
    write_mat(&mut file, &variables).unwrap();
    (dir, path)
}

fn told(array: Option<&str>, leads: Option<&str>) -> OpenOptions {
    OpenOptions {
        rate_hz: Some(250.0),
        array: array.map(str::to_owned),
        array_leads: leads.map(|leads| leads.parse().unwrap()),
        ..OpenOptions::default()
    }
}

#[test]
fn the_only_long_vector_is_a_lead_when_it_is_said_which() {
    let wave: Vec<f64> = (0..200).map(|t| (f64::from(t) / 9.0).sin()).collect();
    let (_dir, path) = vectors(&[("filtered_ecg", &wave), ("peaks", &[3.0, 60.0, 117.0])]);
    let found = open(&path, &told(None, Some("II"))).unwrap();
    assert_eq!((found.leads.to_string(), found.len()), ("II".into(), 200));
    assert_eq!(found.samples_mv()[9], wave[9] as f32);
    let error = open(&path, &told(None, None)).unwrap_err().to_string();
    assert!(error.contains("list of leads is absent"), "{error}");

    // Of two nobody knows which.
    let (_dir, path) = vectors(&[("hr", &wave), ("timer", &wave[..150])]);
    let error = open(&path, &told(None, Some("II")))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("hr (1x200 double), timer (1x150 double)")
            && error.contains("--input-array"),
        "{error}"
    );
    let found = open(&path, &told(Some("timer"), Some("II"))).unwrap();
    assert_eq!(found.len(), 150);
    let error = open(&path, &told(Some("ecg"), Some("II"))).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("the array `ecg` is absent") && error.contains("hr (1x200 double)"),
        "{error}"
    );
}

#[test]
fn arrays_of_leads_are_told_apart_by_the_rest_of_their_names() {
    let long = vec![0.5; 200];
    let short = vec![0.25; 150];
    let (_dir, path) = vectors(&[
        ("raw_I", &long),
        ("raw_V1", &long),
        ("clean_I", &short),
        ("clean_V1", &short),
    ]);
    let error = open(&path, &told(None, None)).unwrap_err().to_string();
    assert!(
        error.contains("raw_* (2 leads of 200), clean_* (2 leads of 150)"),
        "{error}"
    );
    for name in ["clean_*", "clean", "CLEAN"] {
        let found = open(&path, &told(Some(name), None)).unwrap();
        assert_eq!((found.leads.to_string(), found.len()), ("I V1".into(), 150));
    }
    let one = open(&path, &told(Some("raw_V1"), None)).unwrap();
    assert_eq!(one.leads.to_string(), "V1");

    // Signs, pairs and words that end like leads are none.
    for names in [["neg_I", "neg_II"], ["V1_V2", "V1_V3"], ["radii", "civ1"]] {
        let (_dir, path) = vectors(&[(names[0], &long), (names[1], &long)]);
        assert!(open(&path, &told(None, None)).is_err(), "{names:?}");
    }
    // One that breaks off is not cut, and none is left out without a word.
    let (_dir, path) = vectors(&[("I", &long), ("II", &long), ("V1", &short)]);
    let error = open(&path, &told(None, None)).unwrap_err().to_string();
    assert!(
        error.contains("lead V1") && error.contains("150 samples"),
        "{error}"
    );
    let (_dir, path) = vectors(&[("I", &long), ("II", &long), ("ch9", &long)]);
    let found = open(&path, &told(None, None)).unwrap();
    assert!(found.source.comments[0].contains("`ch9`"));
    let named = OpenOptions {
        lead_names: vec![("ch9".into(), Lead::V4)],
        ..told(None, None)
    };
    assert_eq!(open(&path, &named).unwrap().leads.to_string(), "I II V4");
}

#[test]
fn several_rates_are_none() {
    let long = vec![0.5; 200];
    let (_dir, path) = vectors(&[("II", &long), ("fs", &[500.0, 250.0])]);
    let error = open(&path, &OpenOptions::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("500, 250"), "{error}");
    let (_dir, path) = vectors(&[("II", &long), ("fs", &[500.0, 500.0])]);
    let found = open(&path, &OpenOptions::default()).unwrap();
    assert_eq!(found.rate_hz, 500.0);
}

#[test]
fn python_objects_are_never_read() {
    let path = &files("objects")[0];
    let error = open(path, &OpenOptions::default()).unwrap_err().to_string();
    assert!(
        error.contains("`leads` is an array of Python objects") && error.contains("`--input-"),
        "{error}"
    );
    let options = OpenOptions {
        array_leads: Some("I,II,III,aVR,aVF,aVL,V1,V2,V3,V4,V5,V6".parse().unwrap()),
        ..OpenOptions::default()
    };
    is_the_recording(&open(path, &options).unwrap(), path);
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
            error.contains("signals 1 and 2") && error.contains("--repeated first"),
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
        error.contains("aVL in row 6, aVF in row 5") && error.contains("--input-leads"),
        "{error}"
    );
}

#[test]
fn limb_leads_are_derived_from_two_in_every_format() {
    for path in files("eight-leads") {
        let eight = path.file_stem().unwrap() == "eight";
        let wanted: LeadSet = if eight { "12" } else { "limb" }.parse().unwrap();
        let options = OpenOptions {
            leads: LeadChoice::Named(wanted.clone()),
            keep_digital: true,
            ..OpenOptions::default()
        };
        let found = open(&path, &options).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(found.leads, wanted);
        is_the_recording(&found, &path);
        let derived = [Lead::III, Lead::AVR, Lead::AVL, Lead::AVF];
        assert_eq!(found.source.derived, derived, "{}", path.display());
        let (low, high) = range(&found, &Lead::AVR);
        assert!(
            (low + 898).abs() <= 1 && (high - 158).abs() <= 1,
            "{low} {high}"
        );
        // The same in stretches as at once.
        let reader = Reader::beyond(&path, &options, 0).unwrap();
        assert_eq!(reader.about().source.derived, derived);
        let part = reader.read(&(100..300)).unwrap();
        assert_eq!(part.samples_mv(), found.stretch(&(100..300)).samples_mv());
        let forbidden = OpenOptions {
            derive: false,
            ..options
        };
        let error = open(&path, &forbidden).unwrap_err();
        assert!(matches!(error, RecordError::MissingLead { .. }), "{error}");
        // Nothing is derived that was not asked for.
        assert!(read(&path).source.derived.is_empty());
    }
}

#[test]
fn sums_that_were_never_computed_are_not_compared() {
    for path in files("blank-sums") {
        is_the_recording(&read(&path), &path);
        let text = std::fs::read_to_string(&path).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let one = folder.path().join(path.file_name().unwrap());
        std::fs::copy(path.with_extension("dat"), one.with_extension("dat")).unwrap();
        // One that is not 0 shows that they were computed.
        std::fs::write(&one, text.replace("0 0 0 0 II", "0 0 7 0 II")).unwrap();
        let error = open(&one, &OpenOptions::default()).unwrap_err();
        assert!(matches!(error, RecordError::Checksum { .. }), "{error}");
    }
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
