//! Recordings of any length: windows, what was used of them, timelines, and memory that does not grow.

mod common;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use common::{failed, json, ok, record, run};
use purkinje::Recording;

/// A WFDB record in format 16 with 250 Hz and beats of 0.2 s every `interval_s`, on three leads.
fn write_record(dir: &Path, name: &str, seconds: usize, interval_s: f64) -> PathBuf {
    let rate = 250;
    let mut bytes = Vec::with_capacity(6 * rate * seconds);
    let mut sums = [0i16; 3];
    for k in 0..rate * seconds {
        let phase = (k as f64 / rate as f64) % interval_s - interval_s / 2.0;
        let beat = (1000.0 * (-(phase / 0.015).powi(2)).exp()).round() as i16;
        for (sum, value) in sums.iter_mut().zip([beat, 2 * beat, -beat]) {
            *sum = sum.wrapping_add(value);
            bytes.extend(value.to_le_bytes());
        }
    }
    let mut header = format!("{name} 3 {rate} {}\n", rate * seconds);
    for (lead, sum) in ["I", "II", "V1"].iter().zip(sums) {
        let _ = writeln!(header, "{name}.dat 16 1000/mV 16 0 0 {sum} 0 {lead}");
    }
    fs::write(dir.join(format!("{name}.dat")), bytes).unwrap();
    let path = dir.join(format!("{name}.hea"));
    fs::write(&path, header).unwrap();
    path
}

/// A classifier with random weights.
fn classifier(dir: &Path) -> PathBuf {
    let device = purkinje::Device::cpu();
    let names = ["NORM", "AFIB"].map(str::to_owned);
    let labels = purkinje::model::labels("two", &names, &[0.5, 0.5]);
    let model = purkinje::Model::random("clear", "tiny", 0, &device).unwrap();
    let model = model.with_new_head("linear", labels, 0).unwrap();
    let path = dir.join("model");
    model.save(&path, "by a test").unwrap();
    path
}

#[test]
fn a_long_recording_stops_no_folder_and_says_what_was_used() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("in");
    fs::create_dir(&folder).unwrap();
    // A slow heart: fifteen beats take far more than fifteen seconds.
    write_record(&folder, "slow", 63, 1.6);
    // A fast one: more than fifteen beats in ten seconds.
    write_record(&folder, "fast", 10, 0.4);
    let model = classifier(dir.path());
    let table = dir.path().join("v.npy");
    let out = ok(run!(
        "embed", "--model", &model, "--leads", "present", "--out", &table, &folder
    ));
    assert!(
        out.contains("2 vectors of length 192 from 2 recordings"),
        "{out}"
    );
    assert!(out.contains("used: 70.0 of 73.0 s"), "{out}");
    let beside = json(&fs::read_to_string(dir.path().join("v.npy.json")).unwrap());
    let (fast, slow) = (&beside["rows"][0], &beside["rows"][1]);
    assert_eq!((&fast["windows"], &slow["windows"]), (&1.into(), &6.into()));
    assert_eq!(slow["seconds_used"], 60.0);
    assert_eq!(
        (&fast["beats_used"], &fast["beats"]),
        (&15.into(), &25.into())
    );
}

#[test]
fn windows_are_asked_for_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let slow = write_record(dir.path(), "slow", 63, 1.0);
    let model = classifier(dir.path());
    let embed = |more: &[&str]| {
        let table = dir.path().join("v.npy");
        let mut args = vec!["embed", "--leads", "present"];
        args.extend(more);
        let mut command = common::command(&args);
        command
            .arg("--model")
            .arg(&model)
            .arg("--out")
            .arg(&table)
            .arg(&slow);
        let output = command.output().unwrap();
        let beside = fs::read_to_string(dir.path().join("v.npy.json"));
        (output, beside.map(|text| json(&text)).unwrap_or_default())
    };
    let (output, beside) = embed(&["--each-window", "--window", "5s", "--stride", "2.5"]);
    ok(output);
    let rows = beside["rows"].as_array().unwrap();
    // Starts at 0, 2.5, ..., 57.5; the last one reaches from 60 s to the end.
    assert_eq!(
        (rows.len(), &rows[24]["window_start_s"]),
        (25, &60.0.into())
    );
    let (output, beside) = embed(&["--windows", "2", "--each-window"]);
    ok(output);
    let starts: Vec<_> = beside["rows"].as_array().unwrap().iter().collect();
    assert_eq!(starts[1]["window_start_s"], 50.0);
    let (output, beside) = embed(&["--windows", "first"]);
    ok(output);
    assert_eq!(beside["rows"][0]["seconds_used"], 10.0);
    for (given, expected) in [
        (["--window", "20s"], "at most 10 s"),
        (["--windows", "last"], "expected all, first, or a number"),
        (["--window", "x"], "a number of seconds"),
        (["--beats", "file"], "it brings no beats"),
    ] {
        let (output, _) = embed(&given);
        let message = common::text(&output.stderr);
        assert!(
            !output.status.success() && message.contains(expected),
            "{message}"
        );
    }
}

#[test]
fn a_timeline_has_every_window() {
    let dir = tempfile::tempdir().unwrap();
    let slow = write_record(dir.path(), "slow", 35, 1.0);
    let model = classifier(dir.path());
    let file = dir.path().join("t.json");
    let pictures = dir.path().join("p");
    let out = ok(run!(
        "predict",
        "--model",
        &model,
        "--leads",
        "present",
        "--timeline",
        &file,
        "--timeline-pictures",
        &pictures,
        "--class",
        "AFIB",
        &slow
    ));
    let found = &json(&out)[0];
    assert_eq!(
        (&found["windows"], &found["seconds_used"]),
        (&4.into(), &35.0.into())
    );
    let timeline = json(&fs::read_to_string(&file).unwrap());
    let windows = timeline[0]["windows"].as_array().unwrap();
    assert_eq!((windows.len(), &windows[3]["start_s"]), (4, &30.0.into()));
    let mean = windows
        .iter()
        .map(|window| window["probabilities"]["AFIB"].as_f64().unwrap());
    let mean = mean.sum::<f64>() / 4.0;
    let whole = found["labels"][1]["probability"].as_f64().unwrap();
    assert!((mean - whole).abs() < 1e-6, "{mean} {whole}");
    let svg = fs::read_to_string(pictures.join("slow-timeline.svg")).unwrap();
    assert!(svg.contains("AFIB") && svg.contains("Probability over time"));
    assert!(pictures.join("slow-timeline.png").is_file());

    let table = dir.path().join("t.parquet");
    ok(run!(
        "predict",
        "--model",
        &model,
        "--leads",
        "present",
        "--timeline",
        &table,
        &slow
    ));
    assert!(fs::read(&table).unwrap().starts_with(b"PAR1"));
    let message = failed(run!(
        "predict",
        "--model",
        &model,
        "--leads",
        "present",
        "--explain",
        &pictures,
        "--windows",
        "all",
        &slow
    ));
    assert!(
        message.contains("expected first with an explanation"),
        "{message}"
    );
    // Options of pictures without a folder for them, and two kinds of pictures at once, are no silent nothing.
    let pictures = pictures.to_str().unwrap();
    for more in [
        vec!["--class", "AFIB"],
        vec!["--top", "2"],
        vec!["--explain", pictures, "--timeline-pictures", pictures],
        vec!["--explain", pictures, "--timeline", "t.json"],
    ] {
        let mut command = common::command(&["predict", "--leads", "present"]);
        command.arg("--model").arg(&model).args(&more).arg(&slow);
        assert_eq!(command.output().unwrap().status.code(), Some(2), "{more:?}");
    }
}

#[test]
fn signals_of_unknown_or_equal_names_are_said_and_can_be_told() {
    let dir = tempfile::tempdir().unwrap();
    let model = classifier(dir.path());
    let path = write_record(dir.path(), "a", 10, 0.8);
    let named = |from: &str, to: &str| {
        let header = fs::read_to_string(&path).unwrap();
        fs::write(&path, header.replace(from, to)).unwrap();
    };
    let predicted = |more: &[&str]| {
        let mut command = common::command(&["predict", "--leads", "present"]);
        command.arg("--model").arg(&model).args(more).arg(&path);
        command.output().unwrap()
    };
    let told = json(&ok(predicted(&[])));
    assert!(told[0]["left_aside"].is_null());
    named(" 0 II\n", " 0 CH2\n");
    let output = predicted(&[]);
    let note = common::text(&output.stderr);
    assert!(
        note.contains("left aside: CH2") && note.contains("--lead-names"),
        "{note}"
    );
    let aside = json(&ok(output));
    assert_eq!(aside[0]["left_aside"][0], "CH2");
    let logit = |found: &serde_json::Value| found[0]["labels"][0]["logit"].clone();
    assert!(logit(&aside) != logit(&told));
    let again = json(&ok(predicted(&["--lead-names", "ch2=II"])));
    assert_eq!(logit(&again), logit(&told));

    named(" 0 CH2\n", " 0 I\n");
    let text = failed(predicted(&[]));
    assert!(
        text.contains("signals 1 and 2") && text.contains("--repeated"),
        "{text}"
    );
    for which in ["first", "last"] {
        ok(predicted(&["--repeated", which]));
    }
    let text = failed(run!("inspect", &path));
    assert!(text.contains("--repeated"), "{text}");
    // What the message advises can be done.
    let out = dir.path().join("store");
    let prepare = |more: &[&str]| {
        let mut command = common::command(&["prepare", "folder", "--leads", "I,V1"]);
        command.arg(dir.path()).args(more).arg("--out").arg(&out);
        command.output().unwrap()
    };
    let text = failed(prepare(&[]));
    assert!(
        text.contains("signals 1 and 2") && text.contains("--repeated first"),
        "{text}"
    );
    ok(prepare(&["--repeated", "first", "--overwrite"]));
}

#[test]
fn prepare_makes_rows_of_windows() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("in");
    fs::create_dir(&folder).unwrap();
    write_record(&folder, "a", 34, 1.0);
    let stored = |name: &str, more: &[&str]| {
        let target = dir.path().join(name);
        let mut args = vec!["prepare", "folder", "--leads", "I,II,V1"];
        args.extend(more);
        let mut command = common::command(&args);
        command.arg(&folder).arg("--out").arg(&target);
        ok(command.output().unwrap());
        purkinje::store::Store::open(target).unwrap()
    };
    assert_eq!(stored("one", &[]).len(), 1);
    let all = stored("all", &["--windows", "all"]);
    let ids: Vec<&str> = all.rows().map(|row| row.id()).collect();
    assert_eq!(ids, ["a", "a#1", "a#2"]);
    assert!(all.rows().all(|row| row.r_peaks().len() == 10));
    // Found again in the recordings, R-peaks are those of the windows.
    let contract = dir.path().join("contract.json");
    let before = purkinje::signal::Preprocess::clear()
        .with_leads("I,II,V1".parse().unwrap())
        .with_beats(purkinje::signal::preprocess::BeatSearch::UNSAID);
    fs::write(&contract, before.to_json()).unwrap();
    let contract = contract.to_str().unwrap().to_owned();
    stored("before", &["--windows", "all", "--contract", &contract]);
    let again = dir.path().join("again");
    let before = dir.path().join("before");
    ok(run!(
        "store", "redetect", &before, "--out", &again, "--from", &folder
    ));
    let again = purkinje::store::Store::open(again).unwrap();
    for (old, new) in all.rows().zip(again.rows()) {
        assert_eq!(old.r_peaks(), new.r_peaks());
    }
}

#[test]
fn beats_of_the_file_can_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let model = classifier(dir.path());
    let record = common::data("data/ptbdb");
    let header = purkinje::record::find_records(&record)
        .unwrap()
        .records
        .remove(0);
    for (name, _) in common::files(header.parent().unwrap()) {
        fs::copy(header.parent().unwrap().join(&name), dir.path().join(&name)).unwrap();
    }
    let header = dir.path().join(header.file_name().unwrap());
    // Four beats, 200 samples apart: code 1 in the upper six bits, the distance in the lower ten.
    let word = (1u16 << 10 | 200).to_le_bytes();
    let marks = [word; 4].concat();
    fs::write(header.with_extension("atr"), [marks, vec![0, 0]].concat()).unwrap();
    let predict = |beats| {
        let out = ok(run!(
            "predict", "--model", &model, "--beats", beats, &header
        ));
        json(&out)[0].clone()
    };
    let (file, detected) = (predict("file"), predict("detect"));
    assert_eq!(
        (&file["r_peaks_by"], &file["beats"]),
        (&"file".into(), &4.into())
    );
    assert_eq!(detected["r_peaks_by"], "multi_lead");
    assert_ne!(file["labels"], detected["labels"]);
}

/// Peak resident memory of a command in MB, and what it printed.
#[cfg(target_os = "linux")]
fn peak_mb(args: &[&std::ffi::OsStr]) -> (u64, String) {
    let mut command = common::command(args);
    let child = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let watch = std::thread::spawn(move || {
        let mut peak = 0;
        while let Ok(text) = fs::read_to_string(&status) {
            let line = text.lines().find(|line| line.starts_with("VmHWM:"));
            let Some(kb) = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            else {
                break;
            };
            peak = peak.max(kb);
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        peak / 1024
    });
    let out = ok(child.wait_with_output().unwrap());
    (watch.join().unwrap(), out)
}

#[test]
#[cfg(target_os = "linux")]
fn memory_does_not_grow_with_the_length_of_a_recording() {
    // Six hours; read at once it takes some 500 MB.
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("in");
    fs::create_dir(&folder).unwrap();
    let holter = write_record(&folder, "holter", 6 * 3600, 0.8);
    let model = classifier(dir.path());
    let (store, table) = (dir.path().join("s"), dir.path().join("v.npy"));
    let (store, table) = (store.as_os_str(), table.as_os_str());
    let os = std::ffi::OsStr::new;
    let holter = holter.as_os_str();
    for args in [
        vec![os("inspect"), holter, os("--json")],
        vec![
            os("prepare"),
            os("folder"),
            folder.as_os_str(),
            os("--leads"),
            os("I,II,V1"),
            os("--out"),
            store,
        ],
        vec![
            os("embed"),
            os("--model"),
            model.as_os_str(),
            os("--leads"),
            os("present"),
            os("--windows"),
            os("100"),
            os("--out"),
            table,
            holter,
        ],
    ] {
        let (peak, out) = peak_mb(&args);
        // Zero would mean that nothing was seen of the process.
        assert!((5..200).contains(&peak), "{peak} MB: {args:?}");
        if args[0] == "inspect" {
            let found = json(&out);
            assert_eq!(found["duration_s"], 21600.0);
            assert_eq!(
                found["quality"]["heart_rate_bpm"].as_f64().unwrap().round(),
                75.0
            );
        }
    }
}

#[test]
fn the_start_of_inspect_is_that_of_the_drawing() {
    let found = ok(run!("inspect", record(), "--start", "4s", "--json"));
    assert_eq!(json(&found)["model"]["start_s"], 4.0);
    let dir = tempfile::tempdir().unwrap();
    let long = write_record(dir.path(), "r", 60, 1.0);
    let svg = dir.path().join("a.svg");
    let out = ok(run!("inspect", &long, "--start", "40", "--svg", &svg));
    assert!(
        out.contains("starting at 40 s") && out.contains("40 s   "),
        "{out}"
    );
    let svg = fs::read_to_string(svg).unwrap();
    assert!(svg.contains("40.0\u{2013}50.0 s of 60.0 s"));
    let whole: Recording = purkinje::read(&long).unwrap();
    assert_eq!(whole.len(), 15_000);
}
