//! The comparisons on real recordings (`benches/compare`), small enough to be tests.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{json, ok, ptb_xl, run};

/// The small comparison of the recordings of the tests, with more arguments.
fn compare(out: &Path, more: &[&str], text_models: &Path) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches/compare");
    let output = Command::new("python3")
        .arg(&script)
        .args(["--tiny", "--ptb-xl"])
        .arg(ptb_xl())
        .arg("--out")
        .arg(out)
        .args(more)
        .env("PURKINJE", env!("CARGO_BIN_EXE_purkinje"))
        .env("PURKINJE_TEXT_MODELS", text_models)
        .output()
        .unwrap();
    ok(output)
}

#[test]
#[ignore = "takes a minute; `cargo test --release -- --ignored` runs it"]
fn both_systems_are_compared_on_the_same_recordings() {
    let dir = tempfile::tempdir().unwrap();
    let compare = || compare(dir.path(), &["--fractions", "0.5,1"], Path::new(""));
    let table = compare();
    let rows: Vec<&str> = table.lines().filter(|l| l.contains(" % | ")).collect();
    // Two shares of CLEAR, HuBERT-ECG on one and on two crops, each beside random weights, and the supervised network.
    assert_eq!(rows.len(), 2 * 7, "{table}");
    for row in &rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        for cell in &cells[3..7] {
            let value: f64 = cell.split(' ').next().unwrap().parse().unwrap();
            assert!((0.0..=100.0).contains(&value), "{row}");
        }
    }
    assert!(rows.iter().any(|row| row.contains("CLEAR, random weights")));
    assert!(rows.iter().any(|row| row.contains("from scratch")));

    // All rows were evaluated on the same records.
    let evaluated = |folder: &str| {
        let text = std::fs::read_to_string(dir.path().join(folder).join("results.json")).unwrap();
        let metrics = &json(&text)[0][0]["trained"]["metrics"];
        (metrics["records"].clone(), metrics["patients"].clone())
    };
    assert_eq!(evaluated("probe-clear-1-0"), evaluated("probe-hubert-2-0"));
    assert_eq!(
        evaluated("probe-clear-1-0"),
        evaluated("scratch-superdiagnostic-1-0")
    );
    // What is there is kept.
    assert_eq!(compare(), table);
}

/// An encoder of texts as Hugging Face lays it out: that of a network which hardly learned.
fn text_encoder(dir: &Path) -> PathBuf {
    let (store, run) = (dir.join("store"), dir.join("run"));
    ok(run!(
        "prepare",
        "ptb-xl",
        ptb_xl(),
        "--out",
        &store,
        "--rate",
        "100",
        "--preset",
        "deri-100"
    ));
    ok(run!(
        "pretrain",
        "merl",
        "--data",
        &store,
        "--out",
        &run,
        "--preset",
        "deri-100",
        "--size",
        "tiny",
        "--batch",
        "5",
        "--updates",
        "1"
    ));
    let folder = run.join("model");
    let config = json(&fs::read_to_string(folder.join("config.json")).unwrap());
    let encoder = dir.join("encoder");
    fs::create_dir(&encoder).unwrap();
    fs::write(
        encoder.join("config.json"),
        config["network"]["text"].to_string(),
    )
    .unwrap();
    for name in ["model.safetensors", "tokenizer.json"] {
        fs::copy(folder.join(name), encoder.join(name)).unwrap();
    }
    encoder
}

#[test]
#[ignore = "takes minutes; `cargo test --release -- --ignored` runs it"]
fn recordings_and_reports_are_compared_line_by_line() {
    let dir = tempfile::tempdir().unwrap();
    let encoder = text_encoder(dir.path());
    let out = dir.path().join("out");
    let compare = || compare(&out, &["--pairs", "--fractions", "1"], &encoder);
    let table = compare();
    assert!(!table.contains("not run"), "{table}");
    // Rows of a table below its title, an empty line and two lines of its head.
    let rows = |title: &str| {
        let (_, rest) = table
            .split_once(title)
            .unwrap_or_else(|| panic!("{title}: {table}"));
        rest.lines()
            .skip(4)
            .take_while(|line| line.starts_with('|'))
            .count()
    };
    // The supervised network; DERI, MERL and DERI with given texts, each beside random weights.
    assert_eq!(rows("macro AUROC in percent"), 7, "{table}");
    assert_eq!(rows("Fold 10, zero-shot"), 3, "{table}");
    // Device and language of each of the three.
    assert_eq!(rows("Fold 10, linear probe"), 6, "{table}");
    // And twelve short runs.
    assert_eq!(rows("Fold 9, best validation"), 15, "{table}");
    assert!(!table.contains("nan"), "{table}");
    // Four writers with one beam and with three, each beside what was not written for the recording.
    assert_eq!(table.matches(" beams\n").count(), 8, "{table}");
    assert_eq!(table.matches("```").count(), 16, "{table}");
    // What is there is kept.
    assert_eq!(compare(), table);
}
