//! What the program writes: documented, and with what it was made.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use common::{data, json, ok, ptb_xl, record, run};
use tempfile::TempDir;

/// A tiny run of every kind.
struct Made(TempDir);

impl Made {
    fn get() -> &'static Made {
        static MADE: OnceLock<Made> = OnceLock::new();
        MADE.get_or_init(|| {
            let made = Made(tempfile::tempdir().unwrap());
            let at = |name: &str| made.at(name);
            let task = ["--task", "superdiagnostic", "--resamples", "20"];
            ok(run!("prepare", "ptb-xl", ptb_xl(), "--out", at("store")));
            let size = ["--size", "tiny", "--epochs", "1", "--batch", "8"];
            ok(run!(
                "pretrain",
                "clear",
                "--data",
                at("store"),
                "--out",
                at("run"),
                size[0],
                size[1],
                size[2],
                size[3],
                size[4],
                size[5]
            ));
            ok(run!(
                "probe",
                "--model",
                at("run"),
                "--data",
                at("store"),
                "--out",
                at("probed"),
                task[0],
                task[1],
                task[2],
                task[3]
            ));
            ok(run!(
                "finetune",
                "--model",
                at("run"),
                "--data",
                at("store"),
                "--out",
                at("tuned"),
                "--updates",
                "2",
                "--batch",
                "8",
                task[0],
                task[1],
                task[2],
                task[3]
            ));
            let classifier = at("tuned");
            ok(run!(
                "evaluate",
                "--model",
                &classifier,
                "--data",
                at("store"),
                "--out",
                at("evaluated.json"),
                task[0],
                task[1],
                task[2],
                task[3]
            ));
            ok(run!(
                "predict",
                "--model",
                &classifier,
                record(),
                "--json",
                at("predicted.json")
            ));
            ok(run!(
                "embed",
                "--model",
                at("run"),
                at("store"),
                "--out",
                at("vectors.npy")
            ));
            made
        })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        let path = self.at(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn fingerprint(&self) -> String {
        let info = json(&self.text("store/store.json"));
        info["fingerprint"].as_str().unwrap().to_owned()
    }
}

fn walk(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, found);
        } else {
            found.insert(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
}

#[test]
fn every_file_is_documented() {
    let page = fs::read_to_string(data("../docs/artefacts.md")).unwrap();
    let mut written = BTreeSet::new();
    walk(Made::get().0.path(), &mut written);
    for name in written {
        // Names that the user chose, and events, whose names have the time in them.
        let chosen = ["evaluated.json", "predicted.json", "vectors.npy"].contains(&name.as_str());
        if chosen || name.starts_with("events.out.tfevents") {
            continue;
        }
        let name = name.replace("vectors.npy.json", "FILE.npy.json");
        assert!(page.contains(&name), "`{name}` is not in docs/artefacts.md");
    }
}

#[test]
fn files_say_what_they_were_made_with() {
    let made = Made::get();
    let print = made.fingerprint();
    let checked = |by: &serde_json::Value, command: &str, place: &str| {
        let said = by["command"].as_str().unwrap_or_default();
        assert!(said.starts_with(command), "{place}: {by}");
        assert_eq!(
            by["program"],
            format!("purkinje {}", env!("CARGO_PKG_VERSION")),
            "{place}"
        );
    };
    for (place, command) in [
        ("run/made_by.json", "purkinje pretrain clear"),
        ("tuned/made_by.json", "purkinje finetune"),
    ] {
        let by = json(&made.text(place));
        checked(&by, command, place);
        assert_eq!(by["store_fingerprint"], print, "{place}");
    }
    for (place, command) in [
        ("probed/results.json", "purkinje probe"),
        ("tuned/results.json", "purkinje finetune"),
    ] {
        let by = json(&made.text(place))[0][0]["made_by"].clone();
        checked(&by, command, place);
        assert_eq!(by["store_fingerprint"], print, "{place}");
        assert_eq!(
            by["model_blake3"].as_str().map(str::len),
            Some(64),
            "{place}"
        );
    }
    let by = json(&made.text("evaluated.json"))["made_by"].clone();
    checked(&by, "purkinje evaluate", "evaluated.json");
    let model = by["model_blake3"].clone();
    let by = json(&made.text("predicted.json"))[0]["made_by"].clone();
    checked(&by, "purkinje predict", "predicted.json");
    assert_eq!(by["model_blake3"], model);
    assert_eq!(model.as_str().map(str::len), Some(64));
    let beside = json(&made.text("vectors.npy.json"));
    checked(&beside, "purkinje embed", "vectors.npy.json");
    assert_eq!(beside["store_fingerprints"][0], print);
    for place in ["probed/tables.txt", "tuned/tables.txt"] {
        let text = made.text(place);
        assert!(text.contains(&format!("fingerprint {print}")), "{text}");
    }
}

#[test]
fn cards_say_what_a_model_learned_from_and_reached() {
    let made = Made::get();
    let print = made.fingerprint();
    let encoder = made.text("run/model/README.md");
    for part in [
        "without their labels",
        "of the store `ptb-xl`",
        "purkinje probe` fits heads",
    ] {
        assert!(encoder.contains(part), "{part}\n{encoder}");
    }
    for place in ["probed/superdiagnostic-1-linear", "tuned/model"] {
        let card = made.text(&format!("{place}/README.md"));
        for part in [
            "| myocardial infarction |",
            "| macro AUROC |",
            "macro AUROC of random weights",
            "AUROC of MI (myocardial infarction)",
            "training records",
            "Of the encoder `run`",
            "pretrain clear: ",
            "Command: `purkinje ",
            &print,
        ] {
            assert!(card.contains(part), "{part}\n{card}");
        }
        for part in ["Not stated", "Not evaluated", "Not known"] {
            assert!(!card.contains(part), "{part}\n{card}");
        }
        // Thresholds are rounded in the card, and whole in `labels.json`.
        let mut rows = card.lines().filter(|line| line.contains("| MI | "));
        let threshold = rows.next_back().unwrap().split('|').nth(5).unwrap().trim();
        assert!(
            threshold.len() <= 8 && threshold.parse::<f64>().is_ok(),
            "{threshold}"
        );
        let labels = json(&made.text(&format!("{place}/labels.json")));
        assert_eq!(
            labels["classes"][0]["description"],
            "conduction disturbance"
        );
    }
}
