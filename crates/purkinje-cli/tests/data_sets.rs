//! Published data sets and what can be done with stores, from the command line.

mod common;

use std::fs;

use serde_json::Value;

use common::{data, failed, files, json, ok, ptb_xl, run};

fn prepared(
    name: &str,
    folder: &str,
    options: &[&str],
    records: u64,
) -> (tempfile::TempDir, Value) {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let mut args: Vec<std::ffi::OsString> =
        vec!["prepare".into(), name.into(), data(folder).into()];
    args.extend(["--max-failed", "100%", "--out"].map(Into::into));
    args.push(store.clone().into());
    args.extend(options.iter().map(Into::into));
    ok(common::command(&args).output().unwrap());
    let info = json(&ok(run!("store", "info", &store, "--json")));
    assert_eq!(info["records"], records, "{name}");
    assert_eq!(info["name"], name);
    ok(run!("store", "verify", &store));
    (dir, info)
}

#[test]
fn every_data_set_is_listed_with_its_options() {
    let sets = json(&ok(run!("data-sets", "--json")));
    let names: Vec<&str> = sets
        .as_array()
        .unwrap()
        .iter()
        .map(|set| set["name"].as_str().unwrap())
        .collect();
    let known = [
        "ptb-xl",
        "mimic-iv-ecg",
        "cpsc2018",
        "csn",
        "code-15",
        "code-test",
        "physionet2021",
        "sph",
        "hefei",
        "sami-trop",
        "ludb",
        "ptbdb",
        "mitdb",
        "folder",
    ];
    for name in known {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    assert_eq!(names.len(), known.len());
    let words = ok(run!("data-sets", "cpsc2018"));
    for split in json(&ok(run!("data-sets", "cpsc2018", "--json")))[0]["splits"]
        .as_array()
        .unwrap()
    {
        assert!(words.contains(split.as_str().unwrap()), "{words}");
    }
    let error = failed(run!("data-sets", "ptbxl"));
    assert!(error.contains("ptb-xl"), "{error}");
}

#[test]
fn data_sets_are_prepared_by_their_names() {
    prepared("cpsc2018", "data/cpsc2018/first_release", &[], 1);
    prepared("cpsc2018", "data/cpsc2018/native", &[], 1);
    let (_dir, csn) = prepared("csn", "data/csn", &[], 2);
    let sets: Vec<&str> = csn["label_sets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|set| set["name"].as_str().unwrap())
        .collect();
    assert!(sets.contains(&"released"), "{sets:?}");
    prepared("physionet2021", "data/physionet2021", &[], 3);
    prepared("ludb", "data/ludb", &[], 2);
    prepared("ptbdb", "data/ptbdb", &[], 1);
    prepared("code-15", "data/code-15", &[], 3);
    prepared("code-15", "data/code-15", &["--keep-padding"], 3);
    prepared("code-test", "data/layouts/code-test", &[], 3);
    let named = |info: &Value| -> Vec<String> {
        let sets = info["label_sets"].as_array().unwrap();
        sets.iter()
            .map(|set| set["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let (_dir, usual) = prepared("sami-trop", "data/layouts/sami-trop", &[], 3);
    assert_eq!(named(&usual), ["death", "normal_ecg", "death-2y"]);
    let (_dir, other) = prepared(
        "sami-trop",
        "data/layouts/sami-trop",
        &["--horizon-years", "0.5"],
        3,
    );
    assert_eq!(named(&other), ["death", "normal_ecg", "death-0.5y"]);
    prepared("sph", "data/layouts/sph", &[], 2);
}

#[test]
fn a_table_without_recordings_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let error = failed(run!(
        "prepare",
        "mimic-iv-ecg",
        data("data/mimic-iv-ecg"),
        "--out",
        dir.path().join("store")
    ));
    assert!(error.contains("files/p1000"), "{error}");
}

#[test]
fn parts_of_a_run_join_to_the_store_of_one() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    ok(run!("prepare", "ptb-xl", ptb_xl(), "--out", at("whole")));
    for part in ["1/3", "3/3", "2/3"] {
        ok(run!(
            "prepare",
            "ptb-xl",
            ptb_xl(),
            "--out",
            at("shared"),
            "--shard",
            part
        ));
    }
    let unfinished = at("two");
    for part in ["1/3", "2/3"] {
        ok(run!(
            "prepare",
            "ptb-xl",
            ptb_xl(),
            "--out",
            &unfinished,
            "--shard",
            part
        ));
    }
    ok(run!("store", "merge", at("shared"), "--out", at("joined")));
    let (mut whole, mut joined) = (files(&at("whole")), files(&at("joined")));
    for files in [&mut whole, &mut joined] {
        // Which command made it names the folder, and is all that differs.
        let mut info: Value = serde_json::from_slice(&files["store.json"]).unwrap();
        info["made_by"]["command"] = Value::Null;
        files.insert("store.json".to_owned(), info.to_string().into_bytes());
    }
    assert_eq!(
        whole.keys().collect::<Vec<_>>(),
        joined.keys().collect::<Vec<_>>()
    );
    for (name, bytes) in whole {
        assert!(bytes == joined[&name], "{name} differs");
    }
    let error = failed(run!("store", "merge", &unfinished, "--out", at("none")));
    assert!(error.contains("not finished: 3 in"), "{error}");
    assert!(!at("none").exists());
}

#[test]
fn recordings_in_two_stores_are_found() {
    let (ptb_xl, _) = prepared("ptb-xl", "data/ptb-xl", &[], 56);
    // Of what the Challenge of 2021 has of PTB-XL, nothing is in this part of PTB-XL.
    let (challenge, _) = prepared("physionet2021", "data/physionet2021", &[], 3);
    let report = ptb_xl.path().join("shared.json");
    let alone = ok(run!("store", "leakage", ptb_xl.path().join("store")));
    assert!(
        alone.contains("identical recordings across splits or stores: 0"),
        "{alone}"
    );
    let itself = run!(
        "store",
        "leakage",
        ptb_xl.path().join("store"),
        ptb_xl.path().join("store"),
        "--json",
        &report
    );
    // With `--json` errors are JSON too.
    assert_eq!(itself.status.code(), Some(1));
    let error: Value = serde_json::from_slice(&itself.stderr).unwrap();
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains("used in training"), "{error}");
    let found: Value = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
    assert_eq!(found["identical"]["count"], 56, "{found}");
    ok(run!(
        "store",
        "leakage",
        ptb_xl.path().join("store"),
        challenge.path().join("store")
    ));
}

#[test]
fn a_page_shows_a_store() {
    let (dir, _) = prepared("ptb-xl", "data/ptb-xl", &[], 56);
    let page = dir.path().join("page.html");
    ok(run!(
        "store",
        "report",
        dir.path().join("store"),
        "--out",
        &page
    ));
    let html = fs::read_to_string(&page).unwrap();
    for word in ["<svg", "superdiagnostic", "NORM", "Heart rate"] {
        assert!(html.contains(word), "{word}");
    }
    // It stands alone: nothing is loaded from elsewhere.
    for link in ["src=\"http", "href=\"http", "<script src"] {
        assert!(!html.contains(link), "{link}");
    }
}

#[test]
fn inspect_reads_every_format() {
    let formats = [
        "data/formats/dicom/muse_sinus_rhythm.dcm",
        "data/formats/hl7_aecg/subject1_0.xml",
        "data/formats/muse_xml/muse_sinus_rhythm.xml",
        "data/formats/philips_sierra/129DYPRG_1_03.xml",
        "data/same_record/A0001.edf",
        "data/code-15/code_15_358121.mat",
        "data/cpsc2018/native/A1980.mat",
        "data/containers/said.h5",
        "data/containers/said.npz",
    ];
    for file in formats {
        let facts = json(&ok(run!("inspect", data(file), "--json")));
        assert!(
            facts["leads"].as_array().unwrap().len() >= 2,
            "{file}: {facts}"
        );
        assert!(facts["rate_hz"].as_f64().unwrap() >= 100.0, "{file}");
    }
    // Who the patient is stands in this file, and nowhere in what is said about it.
    let file = data("data/formats/muse_xml/muse_sinus_rhythm.xml");
    let text = fs::read(&file).unwrap();
    let facts = ok(run!("inspect", &file, "--json"));
    for identity in ["Anonymous", "01-01-1900", "<PatientID>00000000"] {
        let bytes = identity.as_bytes();
        assert!(
            text.windows(bytes.len()).any(|part| part == bytes),
            "{identity}"
        );
        let value = identity.rsplit('>').next().unwrap_or(identity);
        assert!(!facts.contains(value), "{value} in {facts}");
    }
}
