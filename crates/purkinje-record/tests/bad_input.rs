//! What goes wrong with real files: each case is read correctly or refused with an error that names the file, what was found, what
//! was expected.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use purkinje_record::wfdb::{ReadOptions, WfdbRecord};
use purkinje_record::{
    FramePolicy, Lead, LeadChoice, LeadSet, OpenOptions, RecordError, Recording, Unit,
    find_records, open,
};

/// Remembers the largest block that was ever asked for.
struct Watch;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Watch {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static WATCH: Watch = Watch;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data")
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn open(&self, name: &str) -> Result<Recording, RecordError> {
        open(self.path(name), &OpenOptions::default())
    }

    /// The message of the error, which must name the file and say every one of `parts`.
    fn refused(&self, name: &str, parts: &[&str]) -> RecordError {
        self.refused_with(name, &OpenOptions::default(), parts)
    }

    fn refused_with(&self, name: &str, options: &OpenOptions, parts: &[&str]) -> RecordError {
        let error = open(self.path(name), options).unwrap_err();
        let message = error.to_string();
        for part in parts {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
        error
    }
}

fn named(leads: &str) -> OpenOptions {
    OpenOptions {
        leads: LeadChoice::Named(leads.parse().unwrap()),
        ..OpenOptions::default()
    }
}

fn i16s(values: &[i16]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[test]
fn headers_with_faults_name_line_and_field() {
    let f = Folder::new();
    for (text, parts) in [
        ("", &["empty (0 bytes)"][..]),
        ("# only a comment\n", &["record line"]),
        ("r\n", &["line 1", "number of signals", "nothing"]),
        ("r twelve 500\n", &["number of signals", "`twelve`"]),
        ("r -1 500\n", &["number of signals", "`-1`"]),
        ("r 999999999 500\n", &["number of signals", "4096"]),
        ("r 1 0 10\nr.dat 16\n", &["sampling rate", "`0`", "above 0"]),
        ("r 1 nan 10\nr.dat 16\n", &["sampling rate", "`nan`"]),
        ("r 1 1e999 10\nr.dat 16\n", &["sampling rate", "`1e999`"]),
        ("r 1 500 -5\nr.dat 16\n", &["number of samples", "`-5`"]),
        ("r 2 500 10\nr.dat 16\n", &["signal lines", "1 lines", "2"]),
        (
            "r 1 500 10\nr.dat 16\nr.dat 16\n",
            &["line 3", "signal lines"],
        ),
        ("r 1 500 10\nr.dat\n", &["line 2", "format", "nothing"]),
        ("r 1 500 10\nr.dat 17\n", &["format", "`17`", "212"]),
        ("r 1 500 10\nr.dat 16x0\n", &["samples per frame"]),
        ("r 1 500 10\nr.dat 16x99999999999\n", &["samples per frame"]),
        ("r 1 500 10\nr.dat 16 abc/mV\n", &["gain", "`abc`"]),
        ("r 1 500 10\nr.dat 16 200(x)/mV\n", &["baseline", "`x`"]),
        (
            "r 1 500 10\nr.dat 16 200 16 0 99999999999\n",
            &["initial value"],
        ),
        ("r/0 1 500 10\n", &["number of segments"]),
        ("r/2 1 500 10\na 10\n", &["segment lines", "1 lines"]),
        (
            "r/1 1 500 10\na ten\n",
            &["number of samples in the segment", "`ten`"],
        ),
        ("r 0 500 10\n", &["declares no signals"]),
    ] {
        f.write("r.hea", text);
        f.refused("r.hea", parts);
        f.refused("r.hea", &["r.hea"]);
    }
    f.write("r.hea", [0xff; 200]);
    f.refused("r.hea", &["number of signals"]);
}

#[test]
fn missing_short_and_changed_files_are_told_apart() {
    let f = Folder::new();
    assert!(matches!(f.open("none.hea"), Err(RecordError::Io { .. })));
    assert!(matches!(
        f.open("none"),
        Err(RecordError::UnknownKind { .. })
    ));
    f.write("lonely.dat", [0; 4]);
    f.refused("lonely.dat", &["lonely.dat", ".hea beside it"]);
    f.write("r.hea", "r 1 500 3\nr.dat 16 1000/mV 16 0 5 18 0 I\n");
    let missing = f.refused("r.hea", &["r.dat` is missing", "r.hea"]);
    assert!(matches!(missing, RecordError::MissingFile { .. }));
    f.write("r.dat", "");
    f.refused("r.hea", &["r.dat", "empty (0 bytes)"]);
    f.write("r.dat", i16s(&[5, 6]));
    f.refused("r.hea", &["found 4 bytes, expected at least 6", "2 frames"]);
    f.write("r.dat", i16s(&[5, 6, 7]));
    assert_eq!(f.open("r.hea").unwrap().samples_mv(), [0.005, 0.006, 0.007]);
    // By its name and by its signal file it is the same record.
    assert_eq!(f.open("r").unwrap().id, "r");
    assert_eq!(f.open("r.dat").unwrap().len(), 3);
    // Longer than the header says: what the header describes is there.
    f.write("r.dat", i16s(&[5, 6, 7, 8]));
    assert_eq!(f.open("r.hea").unwrap().len(), 3);
    f.write("r.dat", i16s(&[5, 6, 8]));
    let changed = f.refused("r.hea", &["checksum of signal `I` is 19, expected 18"]);
    assert!(matches!(changed, RecordError::Checksum { .. }));
    let lenient = OpenOptions {
        verify: false,
        ..OpenOptions::default()
    };
    assert_eq!(open(f.path("r.hea"), &lenient).unwrap().len(), 3);
    f.write("r.hea", "r 1 500 3\nr.dat 16 1000/mV 16 0 4\n");
    f.refused("r.hea", &["first sample", "is 5, expected 4"]);
    fs::remove_file(f.path("r.dat")).unwrap();
    fs::create_dir(f.path("r.dat")).unwrap();
    f.refused("r.hea", &["r.dat", "not a plain file"]);
    f.refused("r.dat/x.hea", &["r.dat/x.hea"]);
}

#[test]
fn headers_cannot_name_files_outside_their_folder() {
    let f = Folder::new();
    f.write("secret.dat", i16s(&[1, 2, 3]));
    let absolute = f.path("secret.dat").display().to_string();
    for name in [
        "../secret.dat",
        &absolute,
        "a/../../secret.dat",
        "..",
        "..\\secret.dat",
        "/",
    ] {
        f.write("in/r.hea", format!("r 1 500 3\n{name} 16\n"));
        let error = f.refused("in/r.hea", &["outside the folder", name]);
        assert!(matches!(error, RecordError::OutsideFolder { .. }));
        f.write(
            "in/m.hea",
            format!("m/1 1 500 3\n{} 3\n", name.trim_end_matches(".dat")),
        );
        assert!(f.open("in/m.hea").is_err());
    }
    f.write("in/sub/r.dat", i16s(&[1, 2, 3]));
    f.write("in/r.hea", "r 1 500 3\nsub/r.dat 16\n");
    assert_eq!(f.open("in/r.hea").unwrap().len(), 3);
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(f.path("secret.dat"), f.path("in/link.dat")).unwrap();
        f.write("in/r.hea", "r 1 500 3\nlink.dat 16\n");
        f.refused("in/r.hea", &["outside the folder", "link.dat"]);
        let options = OpenOptions {
            links_outside: true,
            ..OpenOptions::default()
        };
        assert_eq!(open(f.path("in/r.hea"), &options).unwrap().len(), 3);
        std::os::unix::fs::symlink("sub/r.dat", f.path("in/inside.dat")).unwrap();
        f.write("in/r.hea", "r 1 500 3\ninside.dat 16\n");
        assert_eq!(f.open("in/r.hea").unwrap().len(), 3);
    }
}

#[test]
fn claims_do_not_allocate() {
    let f = Folder::new();
    f.write("r.dat", i16s(&[1, 2, 3]));
    f.write("one.hea", "one 0 500\n");
    for text in [
        "r 1 500 2000000000\nr.dat 16\n",
        "r 1 500 9000000000000000000\nr.dat 16\n",
        "r 1 500 9000000000000000000\nr.dat 212x65536\n",
        "r 2 500 2000000000\nr.dat 16x9\nr.dat 16\n",
        "r 1 500\nr.dat 16+99999999999\n",
        "r 1 500 2000000000\nr.dat 516\n",
        "r 1 500 2000000000\n~ 0\n",
        "r/1 1 500 2000000000\n~ 2000000000\n",
        "r/2 1 500 2000000000\none 0\n~ 2000000000\n",
        "r/999999 1 500 2000000000\n",
        "r 4096 500 2000000000\n",
    ] {
        f.write("r.hea", text);
        f.refused("r.hea", &[]);
        assert!(WfdbRecord::read(&f.path("r.hea"), &ReadOptions::default()).is_err());
    }
    let head = |shape: &str| {
        let dict = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({shape})}}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((dict.len() as u16).to_le_bytes());
        bytes.extend(dict.bytes());
        bytes
    };
    for shape in [
        "12, 99999999999",
        "18446744073709551615, 12",
        "12,",
        "0, 12, 3",
    ] {
        f.write("a.npy", head(shape));
        f.refused("a.npy", &["a.npy"]);
    }
    // Nothing above comes close to what was claimed; other tests of this file read at most a few megabytes.
    assert!(LARGEST.load(Ordering::Relaxed) < 64 << 20);
}

#[test]
fn units_leads_and_rates_are_chosen_or_refused() {
    let f = Folder::new();
    f.write("r.dat", i16s(&[10, 20, 30, -32768, 40, 50]));
    f.write("r.hea", "r 3 500 2\nr.dat 16 1/uV 16 0 10 -32758 0 II\nr.dat 16 1/mmHg 16 0 20 60 0 ABP\nr.dat 16 1/V 16 0 30 80 0 v1\n# Age: NaN\n");
    let unit = f.refused("r.hea", &["signal `ABP` is in `mmHg`", "V, mV, uV, nV"]);
    assert!(matches!(unit, RecordError::Unit { .. }));
    let voltages = OpenOptions {
        leads: LeadChoice::Voltages,
        patient: Some("p1".into()),
        ..OpenOptions::default()
    };
    let r = open(f.path("r.hea"), &voltages).unwrap();
    assert_eq!(r.leads, "II V1".parse().unwrap());
    assert_eq!(
        (
            r.lead_mv(&Lead::II).unwrap()[0],
            r.lead_mv(&Lead::V1).unwrap()
        ),
        (0.01, &[30_000.0, 50_000.0][..])
    );
    assert!(r.lead_mv(&Lead::II).unwrap()[1].is_nan());
    assert_eq!(
        (r.patient.as_deref(), &r.source.comments[..]),
        (Some("p1"), &["Age: NaN".to_owned()][..])
    );
    let r = open(f.path("r.hea"), &named("V1 II")).unwrap();
    assert_eq!(r.leads, "V1 II".parse().unwrap());
    let error = f.refused_with("r.hea", &named("V1 V6"), &["no lead V6", "II ABP V1"]);
    assert!(matches!(error, RecordError::MissingLead { .. }));
    f.refused_with(
        "r.hea",
        &OpenOptions {
            leads: LeadChoice::Named(LeadSet::new(vec![Lead::Other("ABP".into())])),
            ..OpenOptions::default()
        },
        &["mmHg"],
    );

    f.write("m.dat", i16s(&[1, 3, 10, 5, -32768, 20]));
    f.write(
        "m.hea",
        "m 2 250 2\nm.dat 16x2 1/mV 16 0 1 -32759 0 I\nm.dat 16 1/mV 16 0 10 30 0 II\n",
    );
    f.refused("m.hea", &["`I` has 2 samples per frame but `II` has 1"]);
    let full = open(f.path("m.hea"), &named("I")).unwrap();
    assert_eq!((full.rate_hz, full.len()), (500.0, 4));
    let averaged = OpenOptions {
        frames: FramePolicy::Average,
        ..OpenOptions::default()
    };
    let averaged = open(f.path("m.hea"), &averaged).unwrap();
    assert_eq!((averaged.rate_hz, averaged.len()), (250.0, 2));
    assert_eq!(averaged.lead_mv(&Lead::I).unwrap()[0], 2.0);
    assert!(averaged.lead_mv(&Lead::I).unwrap()[1].is_nan());
}

#[test]
fn headers_of_real_data_sets_are_read() {
    let f = Folder::new();
    f.write("E00271.mat", [vec![0; 24], i16s(&[1, 2])].concat());
    // The record line of early Georgia releases ends in `.mat`; Windows line ends; date before time; unit in lower case.
    f.write("E00271.hea", "E00271.mat 2 500 1 05-May-2020 14:50:55\r\nE00271.mat 16+24 1000/mv 16 0 1 1 0 I\r\nE00271.mat 16x1+24 1000.0(0)/mV 16 0 2 2 0 aVR\r\n#Dx: 426783006\r\n# Sex: Female\r\n");
    let r = f.open("E00271.hea").unwrap();
    assert_eq!((r.id.as_str(), r.rate_hz, r.len()), ("E00271", 500.0, 1));
    assert_eq!(r.leads, "I aVR".parse().unwrap());
    assert_eq!(r.source.comments, ["Dx: 426783006", "Sex: Female"]);
    assert_eq!(f.open("E00271.mat").unwrap(), r);
}

#[test]
fn segments_must_fit_together() {
    let f = Folder::new();
    f.write("a.dat", i16s(&[1, 2]));
    f.write("a.hea", "a 1 500 2\na.dat 16 1000 16 0 1 3 0 I\n");
    f.write("b.hea", "b 1 250 2\na.dat 16 1000 16 0 1 3 0 I\n");
    f.write(
        "c.hea",
        "c 2 500 1\na.dat 16 1000 16 0 1 1 0 I\na.dat 16 1000 16 0 2 2 0 II\n",
    );
    for (segments, parts) in [
        (
            "3\na 3",
            &["segment `a`", "found 2 samples, expected 3"][..],
        ),
        (
            "5\na 2",
            &["number of samples on the record line is 5", "2, the sum"],
        ),
        (
            "4\na 2\nb 2",
            &["segment `b`", "found 250 Hz, expected 500 Hz"],
        ),
        (
            "3\na 2\nc 1",
            &["segment `c`", "found 2 signals, expected 1"],
        ),
        ("2\nr 2", &["segment `r`", "segments itself"]),
        ("2\nz 2", &["z.hea", "is missing"]),
        ("2\n~ 2", &["all its segments are gaps"]),
    ] {
        let count = segments.lines().count() - 1;
        f.write("r.hea", format!("r/{count} 1 500 {segments}\n"));
        f.refused("r.hea", parts);
    }
    f.write("r.hea", "r/3 1 500 5\na 2\n~ 1\na 2\n");
    let mv = f.open("r.hea").unwrap().samples_mv().to_vec();
    assert_eq!(mv[..2], [0.001, 0.002]);
    assert!(mv[2].is_nan());
    assert_eq!(mv[3..], [0.001, 0.002]);
}

#[test]
fn annotations_follow_the_rate_of_the_recording() {
    let options = OpenOptions {
        annotators: vec!["atr".into()],
        ..OpenOptions::default()
    };
    let r = open(data().join("wfdb/100.hea"), &options).unwrap();
    assert_eq!(r.annotations.len(), 2274);
    assert_eq!(
        (r.annotations[0].sample, r.annotations[0].note.as_deref()),
        (18, Some("(N"))
    );
    let absent = OpenOptions {
        annotators: vec!["xyz".into()],
        ..OpenOptions::default()
    };
    let error = open(data().join("wfdb/100.hea"), &absent).unwrap_err();
    assert!(error.to_string().contains("100.xyz` is missing"));
}

#[test]
fn a_table_equals_its_record() {
    let record = open(
        data().join("same_record/A0002.hea"),
        &OpenOptions::default(),
    )
    .unwrap();
    let table = open(
        data().join("same_record/A0002.csv"),
        &OpenOptions::default(),
    )
    .unwrap();
    assert_eq!(table.samples_mv(), record.samples_mv());
    assert_eq!(
        (&table.leads, table.rate_hz, &table.id),
        (&record.leads, record.rate_hz, &record.id)
    );
    assert_eq!(record.len(), 5000);
}

#[test]
fn tables_in_other_shapes_are_read_or_refused() {
    let f = Folder::new();
    f.write(
        "t.csv",
        "# a comment\r\ntime (ms);I (uV);V1\r\n0;1000;0,5\r\n2;;NaN\r\n4;-3,5;1\r\n",
    );
    let r = f.open("t.csv").unwrap();
    assert_eq!((r.rate_hz, r.leads.to_string().as_str()), (500.0, "I V1"));
    assert_eq!(r.lead_mv(&Lead::V1).unwrap()[0], 0.5);
    assert_eq!(r.lead_mv(&Lead::I).unwrap()[2], -0.0035);
    assert!(r.lead_mv(&Lead::I).unwrap()[1].is_nan());
    assert_eq!(r.source.comments, ["a comment"]);
    // Times rounded to milliseconds still give the rate.
    let rows: String = (0..3600)
        .map(|i| format!("{:.3},0\n", f64::from(i) / 360.0))
        .collect();
    f.write("t.csv", format!("time,II\n{rows}"));
    assert_eq!(f.open("t.csv").unwrap().rate_hz, 360.0);
    for (text, parts) in [
        ("", &["empty (0 bytes)"][..]),
        ("time,I\n", &["no row after the titles"]),
        ("I,II\n1,2\n", &["sampling rate is absent", "time (s)"]),
        ("0.1,0.2\n1,2\n", &["title of a column is 0.1"]),
        ("time,I\n0,1\n1,x\n", &["line 3, column `I` is `x`"]),
        ("time,I\n0,1\n1,inf\n", &["line 3, column `I` is `inf`"]),
        ("time,I\n0,1\n1\n", &["line 3 is 1 cells long", "2 cells"]),
        ("time,I\n0,1\n,1\n", &["line 3, column `time` is ``"]),
        (
            "time,I\n0.000,1\n0.002,1\n0.020,1\n",
            &["time column `time` is uneven"],
        ),
        ("time,I\n1,1\n0,1\n", &["from 1 to 0"]),
        ("time,I\n1,1\n", &["a single time"]),
        ("time (days),I\n1,1\n", &["time column is time (days)"]),
        (
            "time,ABP (mmHg)\n0,1\n1,1\n",
            &["signal `ABP` is in `mmHg`"],
        ),
    ] {
        f.write("t.csv", text);
        f.refused("t.csv", parts);
    }
    f.write("t.csv", b"time,I\n0,\xff\xfe\n");
    f.refused("t.csv", &["t.csv", "line 2, column `I` is `\u{ff}\u{fe}`"]);
    f.write("t.csv", "I,II\n1,2\n");
    let options = OpenOptions {
        rate_hz: Some(100.0),
        unit: Some(Unit::Microvolt),
        ..named("II")
    };
    let r = open(f.path("t.csv"), &options).unwrap();
    assert_eq!((r.rate_hz, r.samples_mv()), (100.0, &[0.002][..]));
}

fn npy(kind: &str, fortran: bool, shape: &str, values: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let mut head = format!("{{'descr': '{kind}', 'fortran_order': {order}, 'shape': ({shape}), }}");
    while (10 + head.len() + 1) % 64 != 0 {
        head.push(' ');
    }
    head.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((head.len() as u16).to_le_bytes());
    bytes.extend(head.bytes());
    bytes.extend(values);
    bytes
}

#[test]
fn arrays_of_every_type_and_order_are_read() {
    let f = Folder::new();
    f.write(
        "a.json",
        r#"{"rate_hz": 250, "leads": ["I", "II"], "unit": "uV"}"#,
    );
    let by_lead = [1000i16, 2000, 3000, -1000, -2000, -3000];
    let by_time = [1000i16, -1000, 2000, -2000, 3000, -3000];
    let encode = |kind: &str, values: &[i16]| -> Vec<u8> {
        let each = |v: &i16| match kind {
            "<i2" => v.to_le_bytes().to_vec(),
            ">i2" => v.to_be_bytes().to_vec(),
            "<f4" => f32::from(*v).to_le_bytes().to_vec(),
            ">f4" => f32::from(*v).to_be_bytes().to_vec(),
            "<f8" => f64::from(*v).to_le_bytes().to_vec(),
            _ => f64::from(*v).to_be_bytes().to_vec(),
        };
        values.iter().flat_map(each).collect()
    };
    for kind in ["<i2", ">i2", "<f4", ">f4", "<f8", ">f8"] {
        for (fortran, shape, values) in [
            (false, "2, 3", by_lead),
            (true, "2, 3", by_time),
            (false, "3, 2", by_time),
            (true, "3, 2", by_lead),
        ] {
            f.write("a.npy", npy(kind, fortran, shape, &encode(kind, &values)));
            let r = f.open("a.npy").unwrap();
            assert_eq!(
                r.samples_mv(),
                [1.0, 2.0, 3.0, -1.0, -2.0, -3.0],
                "{kind} {fortran} {shape}"
            );
            assert_eq!((r.rate_hz, r.leads.to_string().as_str()), (250.0, "I II"));
        }
    }
    let r = open(f.path("a.npy"), &named("II")).unwrap();
    assert_eq!(r.samples_mv(), [-1.0, -2.0, -3.0]);
    f.refused_with("a.npy", &named("V1"), &["no lead V1", "I II"]);
}

#[test]
fn arrays_that_are_no_recording_are_refused() {
    let f = Folder::new();
    let options = OpenOptions {
        rate_hz: Some(500.0),
        array_leads: Some("I II".parse().unwrap()),
        ..OpenOptions::default()
    };
    let four = [0u8; 16];
    for (bytes, parts) in [
        (vec![], &["empty (0 bytes)"][..]),
        (b"not an array".to_vec(), &["numpy.save"]),
        (
            b"\x93NUMPY\x09\x00\x00\x00".to_vec(),
            &[".npy version is 9"],
        ),
        (
            npy("<i8", false, "2, 2", &four),
            &["descr", "<i8", "float32"],
        ),
        (npy("|O", false, "2, 2", &four), &["descr", "|O"]),
        (npy("<f4", false, "2, 2", &four), &["both orders would fit"]),
        (
            npy("<f4", false, "8, 12", &[0; 384]),
            &["8 x 12", "2 leads"],
        ),
        (npy("<f4", false, "4", &four), &["1 x 4", "2 leads"]),
        (
            npy("<f4", false, "1, 2, 2", &four),
            &["the shape is (1, 2, 2)", "two dimensions"],
        ),
        (npy("<f4", false, "2, 3", &four), &["ends too early"]),
        (
            npy("<f4", false, "2, 1", &four),
            &["size of the file", "for the shape (2, 1)"],
        ),
        (
            npy("<f4", false, "2, 1", &[0, 0, 0x80, 0x7f, 0, 0, 0, 0]),
            &["lead 1 at sample 0", "infinite"],
        ),
    ] {
        f.write("a.npy", bytes);
        f.refused_with("a.npy", &options, parts);
    }
    f.write("a.npy", npy("<f4", false, "2, 1", &[0; 8]));
    f.refused("a.npy", &["sampling rate is absent", "sidecar"]);
    f.write("a.json", r#"{"rate_hz": 0, "leads": ["I", "II"]}"#);
    f.refused("a.npy", &["sampling rate is 0"]);
    f.write("a.json", r#"{"rate_hz": 500}"#);
    f.refused("a.npy", &["list of leads is absent"]);
    f.write(
        "a.json",
        r#"{"rate_hz": 500, "leads": ["I", "II"], "unit": "kg"}"#,
    );
    f.refused("a.npy", &["a.json", "`kg`"]);
    f.write("a.json", "{");
    f.refused("a.npy", &["a.json", "sidecar"]);
    let whole = npy("<f4", false, "2, 1", &[0; 8]);
    for len in 0..whole.len() {
        f.write("a.npy", &whole[..len]);
        f.refused_with("a.npy", &options, &["a.npy"]);
    }
}

#[test]
fn recordings_are_found_in_order_and_once() {
    let f = Folder::new();
    for name in [
        "b/2.hea",
        "a/z/1.hea",
        "a/seg_1.hea",
        "a/seg_2.hea",
        "10.hea",
    ] {
        f.write(name, "x 0\n");
    }
    f.write("a/seg.hea", "# whole\nseg/2 1 500 4\nseg_1 2\nseg_2 2\n");
    f.write("b/2.csv", "time,I\n0,1\n");
    f.write("b/3.csv", "time,I\n0,1\n");
    f.write("b/labels.csv", "record,label\n1,AF\n");
    f.write("b/4.npy", "");
    f.write("b/4.json", "{}");
    f.write("b/5.npy", "");
    f.write("b/6.dat", "");
    f.write("b/named.hea", "named 1 500 0\nother.dat 16\n");
    f.write("b/other.dat", "");
    f.write("RECORDS", "10\n");
    f.write("index.html", "<html>");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(f.path(""), f.path("b/loop")).unwrap();
        std::os::unix::fs::symlink(f.path("a"), f.path("c")).unwrap();
        std::os::unix::fs::symlink("nowhere", f.path("b/broken.hea")).unwrap();
    }
    let found = find_records(f.path("")).unwrap();
    let names: Vec<String> = found
        .records
        .iter()
        .map(|p| p.strip_prefix(f.path("")).unwrap().display().to_string())
        .collect();
    assert_eq!(
        names,
        [
            "10.hea",
            "a/seg.hea",
            "a/z/1.hea",
            "b/2.hea",
            "b/3.csv",
            "b/4.npy",
            "b/5.npy",
            "b/6.dat",
            #[cfg(unix)]
            "b/broken.hea",
            "b/named.hea",
        ]
    );
    assert_eq!(
        found.passed_over_in_words().unwrap(),
        "1 .csv, 1 .html, 1 without extension"
    );
    assert!(find_records(f.path("none")).is_err());
}

/// Whatever has the name of a recording is one, however damaged; each opens with a reason.
#[test]
fn damaged_files_are_found_and_refused() {
    let f = Folder::new();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    let mut expected = Vec::new();
    for (name, contents) in [
        ("broken.parquet", "PAR1"),
        ("cut.edf", "0       "),
        ("empty.csv", ""),
        ("empty.edf", ""),
        ("empty.h5", ""),
        ("empty.xml", ""),
        ("lone.dat", "1234"),
        ("page.csv", "<!DOCTYPE html><html>"),
        ("pointer.csv", pointer),
        ("pointer.dcm", pointer),
        ("pointer.mat", pointer),
        ("short.dcm", "DICM"),
        ("short.npz", "PK"),
    ] {
        f.write(name, contents);
        expected.push(f.path(name));
    }
    fs::write(
        f.path("many.hdf5"),
        fs::read(data().join("code-15/exams_part.hdf5")).unwrap(),
    )
    .unwrap();
    expected.push(f.path("many.hdf5"));
    expected.sort();
    let found = find_records(f.0.path()).unwrap();
    assert_eq!(found.records, expected);
    assert_eq!(found.passed_over_in_words(), None);
    for path in found.records {
        let error = open(&path, &OpenOptions::default()).unwrap_err();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(error.to_string().contains(&name), "{error}");
    }
}

/// A tree with a file of every format, and beside them what looks like one.
#[test]
fn every_format_is_found_once() {
    let f = Folder::new();
    let mut expected = Vec::new();
    let mut put = |from: &str, to: &str, counts: bool| {
        f.write(to, fs::read(data().join(from)).unwrap());
        if counts {
            expected.push(f.path(to));
        }
    };
    // One record in two files, and once more in a third; capital letters; in a folder with dots.
    put("same_record/A0001.hea", "v1.0.3/A0001.hea", true);
    put("same_record/A0001.mat", "v1.0.3/A0001.mat", false);
    put("same_record/A0001.edf", "v1.0.3/A0001.edf", false);
    for (from, to) in [
        ("same_record/A0002.hea", "upper/A0002.HEA"),
        ("same_record/A0002.csv", "A0002.CSV"),
        ("small/csv/01.csv", "with_units_and_comments.csv"),
        ("small/csv/07.csv", "with_mark.csv"),
        ("small/npz/01.npz", "a.npz"),
        ("cpsc2018/native/A1980.mat", "b.mat"),
        ("small/mat5/01.mat", "c.MAT"),
        ("small/hdf5/01.h5", "d.h5"),
        ("small/hdf5/03.h5", "e.hdf5"),
        ("small/edf/01.edf", "f.EDF"),
        ("small/parquet/02.parquet", "g.parquet"),
        ("small/dicom/01.dcm", "h.dcm"),
        ("small/dicom/02.dcm", "IM00001"),
        ("small/muse/01.xml", "i.xml"),
        ("small/philips/04.xml", "j.xml"),
        ("small/aecg/01.xml", "k.XML"),
    ] {
        put(from, to, true);
    }
    put("same_record/A0002.mat", "upper/A0002.mat", false);
    for hidden in ["._h.dcm", ".hidden.csv", ".cache/i.xml", "._A0002.hea"] {
        put("small/muse/01.xml", hidden, false);
    }
    put("code-15/exams.csv", "exams.csv", false);
    f.write("labels.csv", "record,label,age\nA0001,AF,74\n");
    f.write("settings.xml", "<?xml version='1.0'?><settings/>");
    f.write("notes.txt", "I,II\n1,2\n");
    f.write("SHA256SUMS.txt", "");
    f.write("LICENSE", "I, II");
    expected.sort();
    let found = find_records(f.0.path()).unwrap();
    assert_eq!(found.records, expected);
    assert_eq!(
        found.passed_over_in_words().unwrap(),
        "2 .csv, 2 .txt, 1 .xml, 3 hidden, 1 without extension"
    );
    for path in found.records {
        let options = OpenOptions {
            rate_hz: Some(500.0),
            // Some of these hold whole numbers.
            unit: Some(Unit::Microvolt),
            ..OpenOptions::default()
        };
        open(&path, &options).unwrap_or_else(|error| panic!("{error}"));
    }
}
