//! The comparison of both systems on real recordings (`benches/compare`), small enough to be a test.

mod common;

use std::path::Path;
use std::process::Command;

use common::{json, ok, ptb_xl};

#[test]
#[ignore = "takes a minute; `cargo test --release -- --ignored` runs it"]
fn both_systems_are_compared_on_the_same_recordings() {
    let dir = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches/compare");
    let compare = || {
        let output = Command::new("python3")
            .arg(&script)
            .args(["--tiny", "--fractions", "0.5,1", "--ptb-xl"])
            .arg(ptb_xl())
            .arg("--out")
            .arg(dir.path())
            .env("PURKINJE", env!("CARGO_BIN_EXE_purkinje"))
            .output()
            .unwrap();
        ok(output)
    };
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
