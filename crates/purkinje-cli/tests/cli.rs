//! The program from the outside: what it prints, what it leaves behind, how it fails.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use purkinje::models::checkpoint::{StateDict, read_safetensors, write_safetensors};
use purkinje::store::{Status, Store, read_outcomes};
use serde_json::Value;
use tempfile::TempDir;

use common::{command, data, failed, files, json, ok, ptb_xl, record, run, text};

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A store of the PTB-XL fixture and two models, made once: an encoder with random weights, and the published program's
/// classifier with a HUG head.
struct Made {
    dir: TempDir,
}

impl Made {
    fn get() -> &'static Made {
        static MADE: OnceLock<Made> = OnceLock::new();
        MADE.get_or_init(|| {
            let made = Made {
                dir: tempfile::tempdir().unwrap(),
            };
            ok(run!("prepare", "ptb-xl", ptb_xl(), "--out", made.store()));
            ok(run!(
                "pretrain",
                "clear",
                "--data",
                made.store(),
                "--out",
                made.encoder(),
                "--size",
                "tiny",
                "--epochs",
                "0"
            ));
            let checkpoint = data("golden-data/clear-hug/finetune-clear-hug/checkpoint.pth");
            ok(run!(
                "import-checkpoint",
                "clear",
                checkpoint,
                "--out",
                made.classifier(),
                "--heads",
                "4",
                "--decoder-heads",
                "4",
                "--preset",
                "clear-ptbxl"
            ));
            made
        })
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn encoder(&self) -> PathBuf {
        self.dir.path().join("encoder")
    }

    fn classifier(&self) -> PathBuf {
        self.dir.path().join("classifier")
    }
}

#[test]
fn inspect_says_what_is_there_and_what_a_model_sees() {
    let dir = tempfile::tempdir().unwrap();
    let (svg, png) = (dir.path().join("a.svg"), dir.path().join("sub/a.png"));
    let out = ok(run!("inspect", record(), "--svg", &svg, "--png", &png));
    for expected in [
        "12 leads: I II III aVR aVL aVF V1 V2 V3 V4 V5 V6",
        "100 Hz, mV, 10.000 s (1000 samples per lead)",
        "heart rate: 82 per minute (8 leads: I II V1 V2 V3 V4 V5 V6)",
        "180 tokens of 96 samples: 156 hold a heartbeat, 24 are padding",
    ] {
        assert!(out.contains(expected), "{expected}\n{out}");
    }
    assert!(!out.contains('\u{1b}'), "no colours into a pipe");
    // The first token begins half a beat before its R-peak at 0.64 s.
    assert!(out.contains("\ntokens    ├"), "{out}");
    let svg = fs::read_to_string(svg).unwrap();
    assert!(svg.contains("class=\"r-peaks\"") && svg.contains("class=\"tokens\""));
    assert!(fs::read(png).unwrap().starts_with(b"\x89PNG"));
}

#[test]
fn inspect_compares_beats_with_those_beside_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let source = record();
    let to = |extension: &str| dir.path().join("00006_lr").with_extension(extension);
    for extension in ["hea", "dat"] {
        fs::copy(source.with_extension(extension), to(extension)).unwrap();
    }
    // Two beats by code and distance in samples, R-peaks at 0.64 s and 1.31 s, and an end.
    let marks: Vec<u8> = [(1u16 << 10) | 64, (1 << 10) | 67, 0]
        .into_iter()
        .flat_map(u16::to_le_bytes)
        .collect();
    fs::write(to("atr"), marks).unwrap();
    let out = ok(run!("inspect", to("hea"), "--no-plot"));
    assert!(
        out.contains("beats in the file: 2, 2 of them found, 0 found besides"),
        "{out}"
    );
    fs::write(to("atr"), [1, 2, 3]).unwrap();
    let out = ok(run!("inspect", to("hea"), "--no-plot"));
    assert!(!out.contains("beats in the file"), "{out}");
}

#[test]
fn inspect_and_the_store_see_the_same_heartbeats() {
    let out = ok(run!(
        "inspect",
        record(),
        "--json",
        "--preset",
        "clear-ptbxl"
    ));
    let facts = json(&out);
    let store = Store::open(Made::get().store()).unwrap();
    let row = store.row(store.position("6").unwrap()).unwrap();
    let seen: Vec<f64> = facts["model"]["r_peaks_s"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_f64().unwrap())
        .collect();
    let stored: Vec<f64> = row
        .r_peaks()
        .iter()
        .map(|&p| f64::from(p) / 100.0)
        .collect();
    assert_eq!(seen, stored);
    assert_eq!(facts["model"]["tokens"], 180);
    assert_eq!(facts["quality"]["leads"].as_array().unwrap().len(), 12);
}

#[test]
fn inspect_tells_what_a_model_would_refuse() {
    // No standard lead at all; then a start behind the end.
    let other = data("data/wfdb/test01_00s.hea");
    let out = ok(run!("inspect", other, "--no-plot"));
    assert!(
        out.contains("A model cannot use it: found the leads"),
        "{out}"
    );
    let error = failed(run!("inspect", record(), "--start", "11"));
    assert!(error.contains("ends at 10.0 s"), "{error}");
    let error = failed(run!(
        "inspect",
        record(),
        "--leads",
        "I",
        "--start",
        "9.9",
        "--svg",
        "/"
    ));
    assert!(error.contains("folder"), "{error}");
}

#[test]
fn two_formats_of_one_record_are_one_record() {
    let facts = |extension: &str| {
        let path = data("data/same_record").join(format!("A0002.{extension}"));
        let mut facts = json(&ok(run!("inspect", path, "--json")));
        for own in ["path", "format", "comments", "labels", "age", "sex"] {
            facts.as_object_mut().unwrap().remove(own);
        }
        facts
    };
    assert_eq!(facts("hea"), facts("csv"));
}

#[test]
fn prepare_makes_a_store_that_verifies() {
    let made = Made::get();
    let again = ok(run!("prepare", "ptb-xl", ptb_xl(), "--out", made.store()));
    for expected in [
        "56 records, 12 leads at 100 Hz (not filtered); it was already complete",
        "of 56 records: 56 stored, 0 skipped, 0 failed, 0 without a file",
        "outcomes.csv",
        "superdiagnostic        5     26   10    17     53",
    ] {
        assert!(again.contains(expected), "{expected}\n{again}");
    }
    let outcomes = read_outcomes(&made.store()).unwrap();
    assert!(outcomes.len() == 56 && outcomes.iter().all(|o| o.status == Status::Ok));
    assert!(ok(run!("store", "verify", made.store())).contains("is intact: 56 records"));
    assert!(ok(run!("store", "info", made.store())).contains("56 records from ptb-xl"));
    let info = json(&ok(run!("store", "info", made.store(), "--json")));
    assert_eq!(info["records"], 56);
    let classes = ok(run!(
        "store",
        "info",
        made.store(),
        "--labels",
        "superdiagnostic"
    ));
    assert!(
        classes.contains("NORM") && classes.contains("normal ECG"),
        "{classes}"
    );
    let error = failed(run!("store", "info", made.store(), "--labels", "colour"));
    assert!(
        error.contains("`colour`") && error.contains("rhythm"),
        "{error}"
    );
}

#[test]
fn a_changed_byte_is_found() {
    let dir = tempfile::tempdir().unwrap();
    for (name, mut bytes) in files(&Made::get().store()) {
        if name == "shard-00000.arrow" {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    let error = failed(run!("store", "verify", dir.path()));
    assert!(
        error.contains("shard-00000.arrow") && error.contains("BLAKE3"),
        "{error}"
    );
    let error = failed(run!("store", "verify", ptb_xl()));
    assert!(error.contains("is not a store"), "{error}");
}

/// Records of one lead and three seconds, enough of them for several shards.
fn many_records(dir: &Path, count: usize) {
    let samples: Vec<i16> = (0..300)
        .map(|k| if k % 80 < 4 { 900 } else { (k % 7) * 3 })
        .collect();
    let (first, sum) = (
        samples[0],
        samples.iter().fold(0i16, |sum, &v| sum.wrapping_add(v)),
    );
    let samples: Vec<u8> = samples.iter().flat_map(|v| v.to_le_bytes()).collect();
    for i in 0..count {
        let header =
            format!("r{i:05} 1 100 300\nr{i:05}.dat 16 1000(0)/mV 16 0 {first} {sum} 0 II\n");
        fs::write(dir.join(format!("r{i:05}.hea")), header).unwrap();
        fs::write(dir.join(format!("r{i:05}.dat")), &samples).unwrap();
    }
}

/// A preparation that `signal` stopped after its first shard, and what it left. On a busy machine it may be finished before
/// the signal comes; then it is tried again in a new folder.
#[cfg(unix)]
fn stopped_by(
    signal: &str,
    prepare: &dyn Fn(&str) -> (Command, PathBuf),
) -> (PathBuf, String, Output) {
    for attempt in 0..10 {
        let place = format!("{signal}{attempt}");
        let (mut first, store) = prepare(&place);
        let child = first.spawn().unwrap();
        let started = Instant::now();
        // A shard counts from its line in the journal on, not from its name on.
        let sealed = || {
            let journal = fs::read_to_string(store.join("prepare.journal")).unwrap_or_default();
            journal.lines().count() > 1
        };
        while !sealed() && !store.join("store.json").exists() {
            assert!(
                started.elapsed() < Duration::from_secs(120),
                "no first shard"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        let sent = Command::new("kill")
            .args(["-s", signal, &child.id().to_string()])
            .status();
        let stopped = child.wait_with_output().unwrap();
        if sent.unwrap().success() && !stopped.status.success() {
            return (store, place, stopped);
        }
    }
    panic!("ten times it was finished before the signal came");
}

#[cfg(unix)]
#[test]
fn an_interrupted_preparation_goes_on_to_the_same_bytes() {
    const RECORDS: usize = 13_000;
    let dir = tempfile::tempdir().unwrap();
    let records = dir.path().join("records");
    fs::create_dir(&records).unwrap();
    many_records(&records, RECORDS);
    // Each in a folder of its own and with the same words, so that `store.json` must be the same too.
    let prepare = |place: &str| {
        let place = dir.path().join(place);
        fs::create_dir_all(&place).unwrap();
        let args = [
            "prepare",
            "folder",
            "../records",
            "--out",
            "store",
            "--leads",
            "II",
            "--preset",
            "clear-raw",
            "--threads",
            "1",
        ];
        let mut command = command(&args);
        command
            .current_dir(&place)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        (command, place.join("store"))
    };
    let (mut whole, expected) = prepare("whole");
    ok(whole.output().unwrap());

    for signal in ["KILL", "INT", "TERM"] {
        let (store, place, stopped) = stopped_by(signal, &prepare);
        assert!(!store.join("store.json").exists());
        if signal != "KILL" {
            let code = if signal == "INT" { 130 } else { 143 };
            assert_eq!(stopped.status.code(), Some(code), "{stopped:?}");
            let error = text(&stopped.stderr);
            assert!(error.contains("error: interrupted after"), "{error}");
            // Whole shards of 4096 records.
            let kept = error
                .split("the first ")
                .nth(1)
                .and_then(|rest| rest.split(' ').next());
            let kept: usize = kept.unwrap().parse().unwrap();
            assert!(kept > 0 && kept.is_multiple_of(4096), "{error}");
        }
        let error = failed(run!("store", "info", &store));
        assert!(error.contains("is not finished"), "{error}");

        let (mut second, _) = prepare(&place);
        let finished = second.output().unwrap();
        let said = text(&finished.stderr);
        ok(finished);
        assert!(
            said.contains(&format!("of {RECORDS} records are already done")),
            "{said}"
        );
        assert!(
            files(&store) == files(&expected),
            "{signal}: other bytes than in one go"
        );
    }
}

#[test]
fn bad_records_are_counted_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let records = dir.path().join("records");
    fs::create_dir(&records).unwrap();
    many_records(&records, 20);
    fs::write(records.join("r00007.dat"), [0u8; 10]).unwrap();
    let store = dir.path().join("store");
    let prepare = |limit: &str| {
        run!(
            "prepare",
            "folder",
            &records,
            "--out",
            &store,
            "--leads",
            "II",
            "--max-failed",
            limit
        )
    };
    // One of twenty is 5 %.
    let out = ok(prepare("5%"));
    assert!(out.contains("19 stored, 0 skipped, 1 failed"), "{out}");
    assert!(
        out.contains("r00007") && out.contains("found 10 bytes"),
        "{out}"
    );
    let error = failed(prepare("0"));
    assert!(error.contains("1 of 20 records failed"), "{error}");
    assert!(
        error.contains("outcomes.csv") && error.contains("r00007.dat"),
        "{error}"
    );

    // The store is of other settings than those asked for now.
    let error = failed(run!("prepare", "folder", &records, "--out", &store));
    assert!(
        error.contains("already holds a store") && error.contains("--overwrite"),
        "{error}"
    );
    let error = failed(run!(
        "prepare",
        "folder",
        &records,
        "--out",
        dir.path().join("none")
    ));
    assert!(
        error.contains("none of the 20 records") && error.contains("has no lead I"),
        "{error}"
    );
}

#[test]
fn sources_that_are_none_are_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let table = dir.path().join("labels.csv");
    fs::write(&table, "colour,size\nred,3\n").unwrap();
    let cases: [(Output, &[&str]); 4] = [
        (
            run!(
                "prepare",
                "folder",
                dir.path().join("nowhere"),
                "--out",
                &out
            ),
            &["nowhere` is not a folder"],
        ),
        (
            run!("prepare", "ptb-xl", data("data/wfdb"), "--out", &out),
            &["scp_statements.csv", "cannot read"],
        ),
        (
            run!(
                "prepare",
                "folder",
                data("data/wfdb"),
                "--table",
                &table,
                "--out",
                &out
            ),
            &["labels.csv` has the columns colour, size, expected one for the record"],
        ),
        (
            run!(
                "prepare",
                "folder",
                data("data/wfdb"),
                "--contract",
                &table,
                "--out",
                &out
            ),
            &["labels.csv` does not describe preprocessing"],
        ),
    ];
    for (output, expected) in cases {
        let error = failed(output);
        for words in expected {
            assert!(error.contains(words), "{words}\n{error}");
        }
        assert!(!out.exists());
    }
}

#[test]
fn a_truncated_file_is_named_and_nothing_is_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let whole = fs::read(record().with_extension("dat")).unwrap();
    fs::copy(record(), dir.path().join("00006_lr.hea")).unwrap();
    fs::write(dir.path().join("00006_lr.dat"), &whole[..whole.len() / 2]).unwrap();
    let before = names(dir.path());
    let svg = dir.path().join("a.svg");
    let record = dir.path().join("00006_lr");
    let error = failed(run!("inspect", &record, "--svg", &svg));
    assert!(
        error.contains("00006_lr.dat` ends too early") && error.contains("12000 bytes"),
        "{error}"
    );
    for (out, option) in [("v.parquet", "embed"), ("v.npy", "embed")] {
        let out = dir.path().join(out);
        let error = failed(run!(
            option,
            &record,
            "--model",
            Made::get().encoder(),
            "--out",
            &out
        ));
        assert!(error.contains("00006_lr.dat"), "{error}");
    }
    let error = failed(run!(
        "predict",
        &record,
        "--model",
        Made::get().classifier()
    ));
    assert!(error.contains("00006_lr.dat"), "{error}");
    assert_eq!(names(dir.path()), before, "something was left behind");
}

#[test]
fn wrong_usage_is_code_2() {
    let cases: [Vec<&str>; 6] = [
        vec![],
        vec!["inspect"],
        vec!["inspect", "x", "--leads", ","],
        vec![
            "prepare",
            "folder",
            "x",
            "--out",
            "y",
            "--preset",
            "clear-mimik",
        ],
        vec![
            "prepare",
            "folder",
            "x",
            "--out",
            "y",
            "--max-failed",
            "101%",
        ],
        vec![
            "embed", "x", "--model", "m", "--out", "o", "--per", "minute",
        ],
    ];
    for args in cases {
        let output = command(&args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
    let output = run!(
        "prepare",
        "folder",
        "x",
        "--out",
        "y",
        "--preset",
        "clear-mimik"
    );
    assert!(text(&output.stderr).contains("clear-cpsc2018-int16"));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    for args in [
        vec!["completions".into(), "bash".into()],
        vec!["inspect".into(), record().into_os_string()],
    ] {
        let mut child = command(&args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{output:?}"
        );
    }
}

#[test]
fn quiet_says_nothing_but_results() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("v.npy");
    let bad = data("data/wfdb/310derive.hea");
    let output = run!(
        "embed",
        record(),
        bad,
        "--model",
        Made::get().encoder(),
        "--out",
        &out,
        "--max-failed",
        "1",
        "--quiet"
    );
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    assert!(text(&output.stdout).contains("1 vector of length 192 from 1 recording, 1 left out"));
}

/// What a table says about itself, its columns but the vector as text, and the vectors.
type Vectors = (
    BTreeMap<String, String>,
    Vec<BTreeMap<String, String>>,
    Vec<Vec<f32>>,
);

/// Reads a table of vectors.
fn read_table(path: &Path) -> Vectors {
    let builder = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
    let facts = builder
        .metadata()
        .file_metadata()
        .key_value_metadata()
        .unwrap();
    let facts = facts
        .iter()
        .map(|entry| (entry.key.clone(), entry.value.clone().unwrap_or_default()))
        .collect();
    let (mut lines, mut vectors) = (Vec::new(), Vec::new());
    for batch in builder.build().unwrap() {
        let batch = batch.unwrap();
        for row in 0..batch.num_rows() {
            let mut line = BTreeMap::new();
            for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
                if field.name() == "vector" {
                    let vector = column.as_fixed_size_list().value(row);
                    vectors.push(vector.as_primitive::<Float32Type>().values().to_vec());
                } else if let Some(strings) = column.as_string_opt::<i32>() {
                    line.insert(field.name().clone(), strings.value(row).to_owned());
                } else {
                    line.insert(field.name().clone(), String::new());
                }
            }
            lines.push(line);
        }
    }
    (facts, lines, vectors)
}

fn largest_gap(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

#[test]
fn embeddings_of_files_and_of_their_store_agree() {
    let made = Made::get();
    let dir = tempfile::tempdir().unwrap();
    let embed = |input: PathBuf, name: &str, per: &str| {
        let out = dir.path().join(name);
        ok(run!(
            "embed",
            input,
            "--model",
            made.encoder(),
            "--out",
            &out,
            "--per",
            per
        ));
        out
    };
    let (facts, lines, vectors) = read_table(&embed(made.store(), "s.parquet", "recording"));
    assert_eq!((lines.len(), vectors[0].len()), (56, 192));
    assert!(facts["purkinje.preprocess"].contains("\"rate_hz\":100.0"));
    assert_eq!(facts["purkinje.model_blake3"].len(), 64);
    assert_eq!(facts["purkinje.per"], "recording");

    let folder = ptb_xl().join("records100");
    let (_, of_files, from_files) = read_table(&embed(folder.clone(), "f.parquet", "recording"));
    assert_eq!(of_files.len(), 56);
    assert!(
        of_files
            .iter()
            .all(|line| line["source_blake3"].len() == 64)
    );
    // The store's ids are numbers: `6` for 00006_lr.
    for (line, vector) in of_files.iter().zip(&from_files) {
        let id = line["id"].trim_end_matches("_lr").trim_start_matches('0');
        let place = lines
            .iter()
            .position(|of_store| of_store["id"] == id)
            .unwrap();
        let gap = largest_gap(vector, &vectors[place]);
        assert!(gap < 1e-4, "{id}: {gap}");
    }

    // A batch of one gives what a batch of many gives.
    let (_, one, alone) = read_table(&embed(record(), "1.parquet", "recording"));
    assert_eq!(one[0]["id"], "00006_lr");
    assert!(largest_gap(&alone[0], &from_files[0]) < 1e-4);

    // The vector of a recording is the mean of those of its leads.
    let (_, leads, of_leads) = read_table(&embed(record(), "l.parquet", "lead"));
    assert_eq!((leads.len(), leads[3]["lead"].as_str()), (12, "aVR"));
    let mean: Vec<f32> = (0..192)
        .map(|i| of_leads.iter().map(|lead| lead[i]).sum::<f32>() / 12.0)
        .collect();
    assert!(largest_gap(&mean, &alone[0]) < 1e-5);

    // 13 heartbeats in each of 12 leads; padding has no line.
    let (_, beats, _) = read_table(&embed(record(), "b.parquet", "beat"));
    assert_eq!(beats.len(), 13 * 12);
    assert!(beats[0].contains_key("r_peak_s"));

    let array = embed(folder, "f.npy", "recording");
    let bytes = fs::read(&array).unwrap();
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let header = text(&bytes[10..128]);
    assert!(
        header.contains("'<f4'") && header.contains("(56, 192)"),
        "{header}"
    );
    let numbers: Vec<f32> = bytes[128..]
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    assert_eq!(numbers, from_files.concat());
    let beside = json(&fs::read_to_string(dir.path().join("f.npy.json")).unwrap());
    assert_eq!(beside["rows"][0]["id"], "00006_lr");
    assert_eq!(beside["preprocess"]["rate_hz"], 100.0);
}

#[cfg(unix)]
#[test]
fn a_killed_embedding_goes_on_to_the_same_bytes() {
    let (made, dir) = (Made::get(), tempfile::tempdir().unwrap());
    // The recordings of the store several times over, so that there is time to kill it.
    let embed = |out: &Path| {
        // The same words each time: the command is in the file.
        fs::create_dir_all(out.parent().unwrap()).unwrap();
        let mut args = vec!["embed".into(), "--threads".into(), "1".into()];
        args.extend(["--per".into(), "lead".into(), "--model".into()]);
        args.extend([made.encoder().into_os_string(), "--out".into()]);
        args.push(out.file_name().unwrap().to_owned());
        args.extend(std::iter::repeat_n(made.store().into_os_string(), 20));
        let mut command = command(&args);
        command.current_dir(out.parent().unwrap());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    for ending in ["parquet", "npy"] {
        let out = |name: &str| dir.path().join(name).join(format!("t.{ending}"));
        ok(embed(&out("whole")).output().unwrap());
        let (path, partial) = (
            out("killed"),
            out("killed").with_extension(format!("{ending}.partial")),
        );
        let mut child = embed(&path).spawn().unwrap();
        let started = Instant::now();
        let begun = || fs::metadata(&partial).is_ok_and(|about| about.len() > 100_000);
        while !begun() && child.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < Duration::from_secs(120), "no recording");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        assert!(
            !child.wait().unwrap().success(),
            "it was finished before it was killed"
        );
        assert!(!path.exists() && partial.exists());
        let finished = embed(&path).output().unwrap();
        let said = text(&finished.stderr);
        ok(finished);
        assert!(
            said.contains("of 1120 recordings are already done"),
            "{said}"
        );
        assert!(!partial.exists());
        assert!(
            fs::read(&path).unwrap() == fs::read(out("whole")).unwrap(),
            "{ending}: other bytes than in one go"
        );
    }
}

#[test]
fn a_store_of_another_preprocessing_is_refused_unless_it_is_meant() {
    let made = Made::get();
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    ok(run!(
        "prepare",
        "ptb-xl",
        ptb_xl(),
        "--preset",
        "clear",
        "--out",
        &store
    ));
    let out = dir.path().join("v.npy");
    let embed = |extra: &[&str]| {
        let mut args = vec!["embed".into(), store.clone().into_os_string()];
        for pair in [("--model", made.encoder()), ("--out", out.clone())] {
            args.extend([pair.0.into(), pair.1.into_os_string()]);
        }
        args.extend(extra.iter().map(Into::into));
        command(&args).output().unwrap()
    };
    let error = failed(embed(&[]));
    assert!(
        error.contains("was not prepared as the model expects"),
        "{error}"
    );
    assert!(
        error.contains("help:") && error.contains("--contract"),
        "{error}"
    );
    assert!(!out.exists());
    let meant = embed(&["--any-preprocessing"]);
    assert!(
        text(&meant.stderr).starts_with("warning: the store"),
        "{meant:?}"
    );
    ok(meant);
    assert!(out.exists());

    // The way the error names: with the contract of the model.
    let contract = made.encoder().join("model/preprocess.json");
    ok(run!(
        "prepare",
        "ptb-xl",
        ptb_xl(),
        "--contract",
        contract,
        "--out",
        &store,
        "--overwrite"
    ));
    ok(embed(&["--leads", "I,II,V2", "--per", "lead"]));
}

#[test]
fn predictions_come_with_reasons_that_add_up() {
    let made = Made::get();
    let dir = tempfile::tempdir().unwrap();
    let out = ok(run!(
        "predict",
        ptb_xl().join("records100/00000"),
        "--model",
        made.classifier(),
        "--explain",
        dir.path(),
        "--top",
        "1"
    ));
    let found = json(&out);
    let found = found.as_array().unwrap();
    assert_eq!(found.len(), 30);
    for one in found {
        let labels = one["labels"].as_array().unwrap();
        assert_eq!(labels.len(), 9);
        for label in labels {
            let number = |key: &str| label[key].as_f64().unwrap();
            let logit = number("logit");
            let parts = label["contributions"].as_object().unwrap();
            assert_eq!(parts.len(), 12);
            let sum: f64 = parts.values().map(|part| part.as_f64().unwrap()).sum();
            let gap = (number("base") + sum - logit).abs();
            assert!(gap < 1e-4, "{}: {gap}", one["id"]);
            let probability = 1.0 / (1.0 + (-logit).exp());
            assert!((probability - number("probability")).abs() < 1e-9);
            // The published file has no thresholds.
            assert!(label["present"].is_null());
        }
        // The picture is that of the most probable label.
        let most = labels.iter().max_by(|a, b| {
            let p = |label: &Value| label["probability"].as_f64().unwrap();
            p(a).total_cmp(&p(b))
        });
        let picture = most.unwrap()["picture"].as_str().unwrap();
        assert!(fs::read(picture).unwrap().starts_with(b"\x89PNG"));
        assert!(Path::new(picture).with_extension("svg").is_file());
    }
    assert_eq!(names(dir.path()).len(), 60);

    let table = ok(run!(
        "predict",
        record(),
        "--model",
        made.classifier(),
        "--table"
    ));
    assert!(
        table.contains("output 8") && table.contains("not a medical device"),
        "{table}"
    );
    let file = dir.path().join("p.json");
    let nothing = ok(run!(
        "predict",
        record(),
        "--model",
        made.classifier(),
        "--json",
        &file
    ));
    assert_eq!(nothing, "");
    assert_eq!(
        json(&fs::read_to_string(file).unwrap())[0]["id"],
        "00006_lr"
    );
}

#[test]
fn the_groups_of_a_hug_head_have_names() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("g.parquet");
    let embed = |model: PathBuf, leads: &str| {
        run!(
            "embed",
            record(),
            "--model",
            model,
            "--per",
            "group",
            "--out",
            &out,
            "--leads",
            leads
        )
    };
    ok(embed(Made::get().classifier(), "12"));
    let (_, lines, _) = read_table(&out);
    let groups: Vec<&str> = lines.iter().map(|line| line["group"].as_str()).collect();
    assert_eq!(groups, purkinje::models::hug::GROUP_NAMES);
    ok(embed(Made::get().classifier(), "I,II"));
    let (_, lines, _) = read_table(&out);
    let groups: Vec<&str> = lines.iter().map(|line| line["group"].as_str()).collect();
    assert_eq!(groups, ["limb", "limb+augmented", "limb+chest", "all"]);
    let error = failed(embed(Made::get().encoder(), "12"));
    assert!(
        error.contains("supported by CLEAR with a hug head"),
        "{error}"
    );
}

#[test]
fn released_models_look_for_r_peaks_in_the_second_lead() {
    let made = Made::get();
    let dir = tempfile::tempdir().unwrap();
    let first_row = |model: &Path| {
        let contract = fs::read_to_string(model.join("preprocess.json")).unwrap();
        serde_json::from_str::<Value>(&contract).unwrap()["beats"]["first"].clone()
    };
    for (mode, expected) in [("paper", Value::Null), ("released", "second_row".into())] {
        let run = dir.path().join(mode);
        ok(run!(
            "pretrain",
            "clear",
            "--data",
            made.store(),
            "--out",
            &run,
            "--size",
            "tiny",
            "--epochs",
            "0",
            "--compat",
            mode,
            "--leads",
            "V6,V5,II,I"
        ));
        assert_eq!(first_row(&run.join("model")), expected);
    }
    assert_eq!(first_row(&made.encoder().join("model")), Value::Null);
    assert_eq!(first_row(&made.classifier()), "second_row");
}

#[test]
fn what_is_no_model_is_refused() {
    let made = Made::get();
    let dir = tempfile::tempdir().unwrap();
    let predict = |model: &Path| failed(run!("predict", record(), "--model", model));
    let error = predict(dir.path());
    assert!(
        error.contains("no model found in") && error.contains("help:"),
        "{error}"
    );
    let error = predict(&made.encoder());
    assert!(error.contains("without a classification head"), "{error}");
    let error = failed(run!(
        "predict",
        record(),
        "--model",
        made.classifier(),
        "--explain",
        dir.path(),
        "--class",
        "AF"
    ));
    assert!(
        error.contains("`AF`") && error.contains("output 3"),
        "{error}"
    );

    let model = dir.path().join("damaged");
    fs::create_dir(&model).unwrap();
    for (name, bytes) in files(&made.classifier()) {
        let whole = name != "model.safetensors";
        let bytes = if whole {
            &bytes[..]
        } else {
            &bytes[..bytes.len() - 1]
        };
        fs::write(model.join(name), bytes).unwrap();
    }
    assert!(predict(&model).contains("model.safetensors"));
    fs::copy(
        made.classifier().join("model.safetensors"),
        model.join("model.safetensors"),
    )
    .unwrap();
    fs::remove_file(model.join("preprocess.json")).unwrap();
    assert!(predict(&model).contains("preprocess.json"));
}

#[test]
fn checkpoints_go_out_as_they_came_in() {
    let made = Made::get();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.safetensors");
    ok(run!(
        "export-checkpoint",
        "--model",
        made.classifier(),
        "--out",
        &file
    ));
    let (exported, metadata) = read_safetensors(&file).unwrap();
    let golden = data("golden-data/clear-hug/finetune-clear-hug/weights.safetensors");
    let (published, _) = read_safetensors(&golden).unwrap();
    assert_eq!(metadata["format"], "pt");
    assert_eq!(exported.len(), published.len());
    for (name, tensor) in published.iter() {
        assert_eq!(exported.get(name), Some(tensor), "{name}");
    }

    let import = |file: &Path, out: &Path, extra: &[&str]| {
        // Its system is found out.
        let mut args = vec!["import-checkpoint".into(), file.as_os_str().to_owned()];
        args.extend(["--out".into(), out.as_os_str().to_owned()]);
        let heads = ["--heads", "4", "--decoder-heads", "4"];
        args.extend(heads.iter().chain(extra).map(Into::into));
        command(&args).output().unwrap()
    };
    let again = dir.path().join("again");
    let labels = dir.path().join("nine.txt");
    fs::write(&labels, "A\nB\nC\nD\nE\nF\nG\nH\nI\n").unwrap();
    let report = ok(import(
        &file,
        &again,
        &["--labels", labels.to_str().unwrap()],
    ));
    assert!(
        report.contains("67 mapped, 0 missing, 0 mis-shaped, 0 unused"),
        "{report}"
    );
    assert_eq!(
        fs::read(again.join("model.safetensors")).unwrap(),
        fs::read(made.classifier().join("model.safetensors")).unwrap()
    );
    let read = json(&fs::read_to_string(again.join("labels.json")).unwrap());
    assert_eq!(read["classes"][8]["name"], "I");

    // A file that lacks a tensor fills no model, and leaves none.
    let less: StateDict = exported
        .into_iter()
        .filter(|(name, _)| name != "backbone.norm_layer.weight")
        .collect();
    let (lacking, none) = (dir.path().join("less.safetensors"), dir.path().join("none"));
    write_safetensors(&lacking, &less, &Default::default()).unwrap();
    let refused = import(&lacking, &none, &[]);
    assert!(text(&refused.stdout).contains("norm_layer.weight"));
    assert!(failed(refused).contains("1 parameter missing"));
    let error = failed(import(&file, &none, &["--labels", "superdiagnostic"]));
    assert!(
        error.contains("9 outputs") && error.contains("names 5"),
        "{error}"
    );
    let error = failed(run!("import-checkpoint", "clear", &file, "--out", &none));
    assert!(
        error.contains("--heads") && error.contains("cannot be determined"),
        "{error}"
    );
    assert!(!none.exists());
}

#[test]
fn systems_and_their_settings_are_in_the_help() {
    let help = ok(run!("pretrain", "--help"));
    assert!(help.contains("clear") && help.contains("hubert"), "{help}");
    let help = ok(run!("pretrain", "hubert", "--help"));
    for expected in ["clusters=100,500", "layer=", "tiny (", "--patience"] {
        assert!(help.contains(expected), "{expected}\n{help}");
    }
    let help = ok(run!("import-checkpoint", "--help"));
    assert!(help.contains("mask=additive"), "{help}");
    let out = Made::get().dir.path().join("never");
    let error = failed(run!(
        "pretrain",
        "clear",
        "--data",
        Made::get().store(),
        "--out",
        &out,
        "--set",
        "clusters=5"
    ));
    assert!(
        error.contains("mask-ratio     fraction of tokens hidden [default: 0.8]"),
        "{error}"
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("other.safetensors");
    let tensor = purkinje::models::checkpoint::NamedTensor {
        shape: vec![1],
        data: vec![0.0],
    };
    let other: StateDict = [("conv1.weight".to_owned(), tensor)].into_iter().collect();
    write_safetensors(&file, &other, &Default::default()).unwrap();
    let error = failed(run!("import-checkpoint", &file, "--out", &out));
    assert!(
        error.contains("conv1.weight") && error.contains("clear or hubert"),
        "{error}"
    );
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = ok(run!("completions", shell));
        for command in ["inspect", "import-checkpoint", "finetune"] {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("man");
    ok(run!("man", "--out", &out));
    let help = ok(run!("--help"));
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<&str> = commands
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.len() > 15, "{help}");
    for name in commands {
        let page = fs::read_to_string(out.join(format!("purkinje-{name}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{page}");
    }
    let nested = fs::read_to_string(out.join("purkinje-store-report.1")).unwrap();
    assert!(nested.contains("purkinje store report"), "{nested}");
    assert!(out.join("purkinje.1").is_file());
}

/// A recording of twelve leads at 500 Hz that is nothing but noise.
fn noise(dir: &Path) -> PathBuf {
    let mut state = 7u64;
    let mut lines = "I,II,III,aVR,aVL,aVF,V1,V2,V3,V4,V5,V6\n".to_owned();
    for _ in 0..5000 {
        let row: Vec<String> = (0..12)
            .map(|_| {
                state = state
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                format!("{:.4}", (state >> 40) as f64 / f64::from(1 << 24) - 0.5)
            })
            .collect();
        lines += &(row.join(",") + "\n");
    }
    let path = dir.join("noise.csv");
    fs::write(&path, lines).unwrap();
    path
}

#[test]
fn what_is_no_ecg_is_flagged_in_every_result() {
    let made = Made::get();
    let dir = tempfile::tempdir().unwrap();
    let noise = noise(dir.path());
    let read = ["--input-rate", "500", "--input-unit", "mV"];
    let mut inspect = command(&["inspect", "--json"]);
    inspect.arg(&noise).args(read);
    let found = json(&ok(inspect.output().unwrap()));
    assert_eq!(found["quality"]["usable"], false);
    let why = found["quality"]["unusable_because"].as_str().unwrap();
    assert!(why.contains("noise"), "{why}");

    let predict = |more: &[&str]| {
        let mut own = command(&["predict"]);
        own.arg(&noise).arg(record()).args(read).arg("--model");
        own.arg(made.classifier()).args(more);
        own.output().unwrap()
    };
    let output = predict(&[]);
    let said = text(&output.stderr);
    assert!(
        said.contains("warning: 1 of 2 recordings") && said.contains("  noise: "),
        "{said}"
    );
    let found = json(&ok(output));
    assert_eq!(
        (&found[0]["usable"], &found[1]["usable"]),
        (&json("false"), &json("true"))
    );
    assert_eq!(found[0]["unusable_because"], why);
    let table = ok(predict(&["--table"]));
    assert!(table.contains("usable") && table.contains(why), "{table}");

    let out = dir.path().join("vectors.npy");
    let mut embed = command(&["embed"]);
    embed
        .arg(&noise)
        .arg(record())
        .args(read)
        .arg("--model")
        .arg(made.classifier());
    let output = embed.arg("--out").arg(&out).output().unwrap();
    assert!(text(&output.stderr).contains("  noise: "), "{output:?}");
    ok(output);
    let beside = json(&fs::read_to_string(out.with_extension("npy.json")).unwrap());
    assert_eq!(beside["rows"][0]["usable"], false);
    assert_eq!(beside["rows"][1]["usable"], true);
}

#[test]
fn scripts_get_codes_lines_and_failures() {
    let made = Made::get();
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken.hea");
    fs::write(&broken, "no header").unwrap();
    let predict = |more: &[&str]| {
        let mut own = command(&["predict"]);
        own.arg(&broken).arg(record()).arg("--model");
        own.arg(made.classifier()).args(more);
        own.output().unwrap()
    };
    let output = predict(&["--json-lines"]);
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<Value> = text(&output.stdout).lines().map(json).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["error"]["code"], "record");
    assert!(lines[0]["path"].as_str().unwrap().ends_with("broken.hea"));
    assert_eq!(lines[1]["id"], "00006_lr");
    let last = text(&output.stderr);
    let error = json(last.lines().last().unwrap());
    assert_eq!(error["error"]["code"], "failed", "{last}");
    let found = json(&ok(predict(&["--max-failed", "50%"])));
    assert_eq!(found[0]["error"]["code"], "record");
    assert_eq!(found[1]["id"], "00006_lr");

    let output = run!("inspect", &broken, "--json");
    assert_eq!(output.status.code(), Some(1));
    let error = json(&text(&output.stderr));
    assert_eq!(error["error"]["code"], "record");
    let output = run!("inspect", "--json");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(json(&text(&output.stderr))["error"]["code"], "usage");
}

#[cfg(unix)]
#[test]
fn every_command_answers_a_signal_within_a_second() {
    let made = Made::get();
    let dir = tempfile::tempdir().unwrap();
    let records = dir.path().join("records");
    fs::create_dir(&records).unwrap();
    // A second of work at least, on any machine: each is read, searched for beats and seen by the network.
    many_records(&records, 4000);
    let out = dir.path().join("out.parquet");
    for (name, signal, code) in [("embed", "INT", 130), ("predict", "TERM", 143)] {
        let mut own = command(&[name, "--leads", "present", "--threads", "1"]);
        own.arg(&records).arg("--model").arg(made.classifier());
        if name == "embed" {
            own.arg("--out").arg(&out);
        }
        let pipes = own.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = pipes.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(400));
        let asked = Instant::now();
        let sent = Command::new("kill")
            .args(["-s", signal, &child.id().to_string()])
            .status();
        let output = child.wait_with_output().unwrap();
        assert!(sent.unwrap().success());
        // A second, and what a busy machine adds.
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(3), "{name}: {took:?}");
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(
            text(&output.stderr).contains("error: interrupted"),
            "{output:?}"
        );
        // An embedding goes on from its journal.
        let mut left = names(dir.path());
        left.retain(|own| own != "out.parquet.partial");
        assert_eq!(left, ["records"], "something was left behind");
    }
}
