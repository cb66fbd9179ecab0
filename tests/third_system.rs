//! A system that only these tests know (`third-system/`: one folder, and one line in its `main`) does everything the
//! program does, without any other change.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Epochs of pre-training: long enough to be killed within.
const EPOCHS: &str = "12";

fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("data")
        .join(path)
}

fn record() -> PathBuf {
    data("ptb-xl/records100/00000/00006_lr.hea")
}

fn command<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_third-system"));
    command
        .args(args)
        .env_remove("PURKINJE_LOG")
        .stdin(Stdio::null());
    command
}

macro_rules! run {
    ($($arg:expr),+ $(,)?) => {
        command(&[$(std::ffi::OsString::from($arg)),+]).output().unwrap()
    };
}

fn ok(output: Output) -> String {
    let [out, error] = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b));
    assert!(output.status.success(), "{out}\n{error}");
    out.into_owned()
}

fn failed(output: Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

struct Made {
    dir: tempfile::TempDir,
}

impl Made {
    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn pretrain(&self, out: &str, more: &[&str]) -> Command {
        let (store, out) = (self.at("store"), self.at(out));
        let mut command = command(&["pretrain", "ripple", "--epochs", EPOCHS]);
        command
            .arg("--data")
            .arg(store)
            .arg("--out")
            .arg(out)
            .args(more);
        command
    }

    /// A store and a pre-trained encoder.
    fn get() -> &'static Made {
        static MADE: OnceLock<Made> = OnceLock::new();
        MADE.get_or_init(|| {
            let made = Made {
                dir: tempfile::tempdir().unwrap(),
            };
            let source = data("ptb-xl");
            ok(run!(
                "prepare",
                "ptb-xl",
                source,
                "--preset",
                "clear",
                "--out",
                made.at("store")
            ));
            ok(made.pretrain("run", &[]).output().unwrap());
            made
        })
    }
}

fn bytes(run: &Path, file: &str) -> Vec<u8> {
    fs::read(run.join(file)).unwrap_or_else(|error| panic!("{}/{file}: {error}", run.display()))
}

#[test]
fn it_is_listed_inspected_and_pre_trained_in_two_stages() {
    let made = Made::get();
    assert!(ok(run!("pretrain", "--help")).contains("ripple"));
    ok(run!("inspect", record(), "--no-plot"));
    let log = |stage: &str| -> Vec<Value> {
        let file = made.at("run").join(stage).join("log.jsonl");
        let text = fs::read_to_string(&file).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let (level, contrast) = (log("level"), log("contrast"));
    assert!(level.len() > 10 && contrast.len() == level.len());
    // With one loss there is just the total; two are named, and the total is their weighted sum.
    assert!(level[0].get("level").is_none());
    let number = |line: &Value, name: &str| line[name].as_f64().unwrap();
    for line in &contrast {
        let sum = number(line, "contrast") + 0.5 * number(line, "level");
        assert!(
            (sum - number(line, "loss")).abs() < 1e-5 * sum.abs(),
            "{line}"
        );
    }
    // The rate starts anew every three updates.
    let rate = |step: usize| number(&level[step], "learning_rate");
    assert!(rate(1) < rate(0) && rate(2) < rate(1) && rate(3) == rate(0));
    let last = |log: &[Value], name: &str| {
        let all: Vec<f64> = log.iter().map(|line| number(line, name)).collect();
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        (mean(&all[..4]), mean(&all[all.len() - 4..]))
    };
    let (first, end) = last(&level, "loss");
    assert!(end < 0.7 * first, "{first} {end}");
    let config = fs::read_to_string(made.at("run/model/config.json")).unwrap();
    assert!(config.contains("\"ripple\""));
}

#[test]
fn killed_and_resumed_it_ends_with_the_same_bytes() {
    let made = Made::get();
    // Killed in the first stage, then in the second, at moments that differ from run to run.
    for (name, stage) in [("killed-early", "level"), ("killed-late", "contrast")] {
        let run = made.at(name);
        let mut child = made
            .pretrain(name, &[])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let checkpoint = run.join(stage).join("checkpoint.safetensors");
        let started = Instant::now();
        while !checkpoint.exists() && started.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(checkpoint.exists(), "{name} wrote no checkpoint");
        ok(made.pretrain(name, &["--resume"]).output().unwrap());
        let whole = made.at("run");
        for file in [
            "model/model.safetensors",
            "level/checkpoint.safetensors",
            "level/model/model.safetensors",
            "contrast/checkpoint.safetensors",
        ] {
            assert!(
                bytes(&run, file) == bytes(&whole, file),
                "{name}: {file} differs"
            );
        }
    }
}

#[test]
fn a_loss_over_the_whole_batch_is_not_accumulated() {
    let made = Made::get();
    let error = failed(
        made.pretrain("parts", &["--accumulate", "2"])
            .output()
            .unwrap(),
    );
    assert!(
        error.contains("contrast") && error.contains("accumulate"),
        "{error}"
    );
}

#[test]
fn it_embeds_alike_from_files_and_from_their_store() {
    let made = Made::get();
    let embed = |input: PathBuf, out: &str| {
        let out = made.at(out);
        ok(run!(
            "embed",
            "--model",
            made.at("run"),
            "--out",
            out.clone(),
            input
        ));
        let values = fs::read(&out).unwrap();
        values[values.len() - 8 * 4..].to_vec()
    };
    let one = embed(record(), "one.npy");
    assert_eq!(one, embed(record(), "again.npy"));
    let error = failed(run!(
        "embed",
        "--model",
        made.at("run"),
        "--per",
        "lead",
        "--out",
        made.at("x.npy"),
        record()
    ));
    assert!(
        error.contains("Ripple") && error.contains("CLEAR"),
        "{error}"
    );
}

#[test]
fn it_is_probed_tuned_evaluated_and_predicts() {
    let made = Made::get();
    let probed = made.at("probed");
    let said = ok(run!(
        "probe",
        "--model",
        made.at("run"),
        "--data",
        made.at("store"),
        "--task",
        "superdiagnostic",
        "--resamples",
        "20",
        "--out",
        probed.clone()
    ));
    assert!(said.contains("random weights"), "{said}");
    let tuned = made.at("tuned");
    ok(run!(
        "finetune",
        "--model",
        made.at("run"),
        "--data",
        made.at("store"),
        "--task",
        "superdiagnostic",
        "--epochs",
        "2",
        "--batch",
        "8",
        "--resamples",
        "20",
        "--out",
        tuned.clone()
    ));
    let said = ok(run!(
        "evaluate",
        "--model",
        tuned.clone(),
        "--data",
        made.at("store"),
        "--task",
        "superdiagnostic",
        "--crops",
        "2",
        "--resamples",
        "20"
    ));
    assert!(said.contains("AUROC") && said.contains("STTC"), "{said}");
    let predicted = ok(run!("predict", "--model", tuned.clone(), record()));
    let predicted: Value = serde_json::from_str(&predicted).unwrap();
    assert_eq!(predicted[0]["labels"].as_array().unwrap().len(), 5);
    // Its logits are no sums over leads: parts are silenced instead.
    let why = ok(run!(
        "predict",
        "--model",
        tuned,
        "--explain",
        made.at("why"),
        record()
    ));
    let why: Value = serde_json::from_str(&why).unwrap();
    let losses = why[0]["silenced"]["stretches"].as_array().unwrap();
    assert_eq!(losses.len(), 50);
    // All of the recording is looked at, in crops or not.
    let falls = losses[49][1].as_array().unwrap();
    assert!(
        falls.iter().any(|fall| fall.as_f64() != Some(0.0)),
        "{falls:?}"
    );
    let error = failed(run!(
        "finetune",
        "--model",
        made.at("run"),
        "--data",
        made.at("store"),
        "--task",
        "superdiagnostic",
        "--set",
        "layerdrop=0.1",
        "--out",
        made.at("nothing")
    ));
    assert!(error.contains("Ripple"), "{error}");
}

#[test]
fn it_is_exported_and_detected_on_import() {
    let made = Made::get();
    let file = made.at("weights.safetensors");
    ok(run!(
        "export-checkpoint",
        "--model",
        made.at("run"),
        "--out",
        file.clone()
    ));
    let imported = made.at("imported");
    ok(run!("import-checkpoint", file, "--out", imported.clone()));
    assert!(
        bytes(&imported, "model.safetensors") == bytes(&made.at("run"), "model/model.safetensors")
    );
}
