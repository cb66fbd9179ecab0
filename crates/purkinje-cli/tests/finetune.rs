//! Fine-tuning by published recipes: schedule, validation, early stopping, crops, classes that exclude each other.

mod common;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use common::{command, data, failed, json, ok, ptb_xl, record, run};

struct Made(TempDir);

impl Made {
    /// A small published encoder, and a store for it.
    fn new(store: &[&str]) -> Made {
        let made = Made(tempfile::tempdir().unwrap());
        let weights = data("golden-data/hubert-ecg/encoder-100hz/weights.safetensors");
        ok(run!(
            "import-checkpoint",
            "hubert",
            weights,
            "--heads",
            "2",
            "--out",
            made.at("encoder")
        ));
        let mut args = vec!["prepare"];
        args.extend(store);
        let out = made.at("store");
        args.extend(["--preset", "hubert", "--out", out.to_str().unwrap()]);
        ok(command(&args).output().unwrap());
        made
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn finetune(&self, out: &str, more: &[&str]) -> std::process::Output {
        let (model, store, out) = (self.at("encoder"), self.at("store"), self.at(out));
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let mut args = vec![
            "finetune".to_owned(),
            "--data".into(),
            path(&store),
            "--out".into(),
            path(&out),
            "--resamples".into(),
            "20".into(),
        ];
        if !more.contains(&"--size") {
            args.extend(["--model".to_owned(), path(&model)]);
        }
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        command(&args).output().unwrap()
    }

    fn config(&self, run: &str) -> toml::Table {
        let text = std::fs::read_to_string(self.at(run).join("config.toml")).unwrap();
        text.parse().unwrap()
    }

    fn validations(&self, run: &str) -> Vec<Value> {
        let log = std::fs::read_to_string(self.at(run).join("trained/log.jsonl")).unwrap();
        let lines = log.lines().map(json);
        lines.filter(|line| line["event"] == "validation").collect()
    }
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one run and all that can be said beside it"
)]
fn a_recipe_is_followed_and_its_rest_can_be_said() {
    let fixture = ptb_xl();
    let made = Made::new(&["ptb-xl", fixture.to_str().unwrap()]);
    let short = ["--updates", "6", "--validate-every", "2", "--batch", "8"];
    let mut args = vec!["--task", "superdiagnostic", "--recipe", "ptbxl-super"];
    args.extend(short);
    let said = ok(made.finetune(
        "paper",
        &["--compat", "paper"]
            .iter()
            .chain(&args)
            .copied()
            .collect::<Vec<_>>(),
    ));
    assert!(
        said.contains("linear fine-tuned") && said.contains("linear from scratch"),
        "{said}"
    );
    assert!(
        said.contains("specificity") && said.contains("resamples of patients"),
        "{said}"
    );
    let config = made.config("paper");
    let train = &config["train"];
    let of = |table: &toml::Value, key: &str| table[key].clone();
    // Table 11.2: rate 1e-5, patience 8, no dynamic regularisation, multiplier -2, convolutions frozen, maximum over crops.
    assert_eq!(of(&train["schedule"], "lr").as_float(), Some(1e-5));
    assert_eq!(of(train, "updates").as_integer(), Some(6));
    assert_eq!(config["settings"]["dropout"].as_float(), Some(0.0));
    assert_eq!(config["trainable"].as_str(), Some("last-3"));
    assert_eq!(config["aggregation"].as_str(), Some("max"));
    assert_eq!(config["class_weights"].as_bool(), Some(true));
    let stopping = &train["validation"]["stopping"];
    assert_eq!(of(stopping, "patience").as_integer(), Some(8));
    assert_eq!(of(stopping, "behaviour").as_str(), Some("paper"));
    let steps: Vec<u64> = made
        .validations("paper")
        .iter()
        .map(|v| v["step"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, [2, 4, 6]);
    let results = std::fs::read_to_string(made.at("paper/results.json")).unwrap();
    let chosen = json(&results)[0][0]["trained"]["selection"]["chosen"].clone();
    assert!(chosen.as_str().unwrap().starts_with("update "), "{chosen}");

    // Dropout and intervals as published.
    let said = ok(made.finetune(
        "released",
        &[
            &args[..],
            &["--dynamic-regularisation", "--compat", "released"],
        ]
        .concat(),
    ));
    assert!(
        said.contains("resamples of records stratified by labels"),
        "{said}"
    );
    let config = made.config("released");
    assert_eq!(config["compat"].as_str(), Some("released"));
    let dropout = |run: &str| {
        let found = made.validations(run);
        found
            .iter()
            .map(|v| v["dropout"].as_f64().unwrap())
            .collect::<Vec<_>>()
    };
    // That of the head starts at 0.1 in both.
    assert!(dropout("released")[0] >= 0.099);
    assert_eq!(
        config["train"]["validation"]["stopping"]["behaviour"].as_str(),
        Some("released_finetune")
    );
    assert_eq!(config["half"].as_bool(), Some(true));

    // The same model on the same records has the same metrics when it is evaluated again.
    let metrics = made.at("again.json");
    let said = ok(run!(
        "evaluate",
        "--model",
        made.at("paper"),
        "--data",
        made.at("store"),
        "--task",
        "superdiagnostic",
        "--crops",
        config_crops(&made, "paper").to_string(),
        "--aggregation",
        "max",
        "--resamples",
        "20",
        "--out",
        &metrics
    ));
    assert!(said.starts_with("superdiagnostic, test: "), "{said}");
    let again = json(&std::fs::read_to_string(&metrics).unwrap());
    assert_eq!(
        again["metrics"]["macro_mean"],
        json(&results)[0][0]["trained"]["metrics"]["macro_mean"]
    );
    // A recording alone has the probabilities that were evaluated: over crops, the largest is no smaller than the mean.
    let predicted = |aggregation: &str| -> Vec<f64> {
        let said = ok(run!(
            "predict",
            "--model",
            made.at("paper"),
            "--crops",
            "3",
            "--aggregation",
            aggregation,
            record()
        ));
        let said = json(&said);
        let labels = said[0]["labels"].as_array().unwrap();
        labels
            .iter()
            .map(|l| l["probability"].as_f64().unwrap())
            .collect()
    };
    let (mean, max) = (predicted("mean"), predicted("max"));
    assert!(mean.iter().zip(&max).all(|(mean, max)| mean <= max) && mean != max);
    // Labels are matched by their names, whatever the task; what is not among them is said.
    let other = run!(
        "evaluate",
        "--model",
        made.at("paper"),
        "--data",
        made.at("store"),
        "--task",
        "diagnostic",
        "--resamples",
        "0"
    );
    let notes = String::from_utf8(other.stderr.clone()).unwrap();
    assert!(notes.contains("have no label in the model"), "{notes}");
    assert!(ok(other).contains("NORM"));
    let error = failed(run!(
        "evaluate",
        "--model",
        made.at("paper"),
        "--data",
        made.at("store"),
        "--task",
        "rhythm"
    ));
    assert!(
        error.contains("no label for any class of task `rhythm`"),
        "{error}"
    );

    let error = failed(made.finetune("again", &["--task", "superdiagnostic", "--recipe", "ptbxl"]));
    assert!(
        error.contains("no recipe `ptbxl`") && error.contains("ptbxl-rhythm"),
        "{error}"
    );
    let error = failed(made.finetune(
        "again",
        &["--task", "superdiagnostic", "--recipe", "sami-trop"],
    ));
    assert!(error.contains("one label"), "{error}");
    let error = failed(made.finetune("paper", &args));
    assert!(error.contains("already holds a run"), "{error}");
}

/// What a system does not have is refused before anything is trained.
#[test]
fn what_a_system_does_not_have_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    ok(run!("prepare", "ptb-xl", ptb_xl(), "--out", at("store")));
    ok(run!(
        "pretrain",
        "clear",
        "--data",
        at("store"),
        "--epochs",
        "0",
        "--out",
        at("run")
    ));
    for (option, value, named) in [
        ("--set", "layerdrop=0.1", "`layerdrop`"),
        ("--crops", "2", "2 crops"),
        ("--recipe", "cpsc", "`--recipe cpsc`"),
    ] {
        let error = failed(run!(
            "finetune",
            "--model",
            at("run"),
            "--data",
            at("store"),
            "--task",
            "superdiagnostic",
            option,
            value,
            "--out",
            at("tuned")
        ));
        assert!(error.contains(named), "{error}");
        assert!(
            error.contains("not supported by CLEAR; supported by HuBERT-ECG"),
            "{error}"
        );
    }
    // What there is is listed, in errors and in the help.
    let help = ok(run!("finetune", "--help"));
    assert!(
        help.contains("Settings of HuBERT-ECG") && help.contains("freeze-until  "),
        "{help}"
    );
    assert!(!at("tuned").exists());
}

fn config_crops(made: &Made, run: &str) -> i64 {
    made.config(run)["crops"].as_integer().unwrap()
}

#[test]
fn frozen_blocks_wait_and_patience_ends_a_run() {
    let fixture = ptb_xl();
    let made = Made::new(&["ptb-xl", fixture.to_str().unwrap()]);
    let said = made.finetune(
        "run",
        &[
            "--task",
            "rhythm",
            "--updates",
            "40",
            "--validate-every",
            "1",
            "--patience",
            "2",
            "--batch",
            "8",
            "--lr",
            "0.000000001",
            "--set",
            "freeze-until=3",
            "--set",
            "layerdrop=0.1",
            "--compat",
            "paper",
            "--baseline",
            "probe",
            "--crops",
            "2",
            "--aggregation",
            "mean",
        ],
    );
    let notes = String::from_utf8(said.stderr.clone()).unwrap();
    assert!(notes.contains("validation no longer improved"), "{notes}");
    let said = ok(said);
    assert!(
        said.contains("linear fine-tuned") && !said.contains("from scratch"),
        "{said}"
    );
    // The first is the best there can be at such a rate.
    assert_eq!(made.validations("run").len(), 3);
}

/// A file says what the command line can say, and more; a run is resumed from it, and from the configuration of an older
/// version.
#[test]
fn a_file_configures_a_run_and_an_older_one_is_read() {
    let fixture = ptb_xl();
    let made = Made::new(&["ptb-xl", fixture.to_str().unwrap()]);
    let file = made.at("settings.toml");
    let text = "batch = 8\nclass_weights = true\n[settings]\nfixed-crop = true\nlayerdrop = 0.25\n[train]\nupdates = 3\n[train.schedule]\nlr = 0.001\n";
    std::fs::write(&file, text).unwrap();
    let config = file.to_str().unwrap();
    let args = [
        "--task",
        "superdiagnostic",
        "--config",
        config,
        "--set",
        "dropout-multiplier=-1",
        "--baseline",
        "probe",
    ];
    ok(made.finetune("run", &args));
    let resolved = made.config("run");
    assert_eq!(resolved["batch"].as_integer(), Some(8));
    assert_eq!(resolved["aggregation"].as_str(), Some("mean"));
    assert_eq!(resolved["settings"]["layerdrop"].as_float(), Some(0.25));
    let dropout = resolved["settings"]["dropout"].as_float().unwrap();
    assert!((dropout - 0.05).abs() < 1e-12, "{dropout}");
    let path = made.at("run/model/model.safetensors");
    let weights = std::fs::read(&path).unwrap();
    let labels = std::fs::read_to_string(made.at("run/model/labels.json")).unwrap();
    assert!(json(&labels)["reference"]["records"].as_u64() > Some(1));

    // As the version before wrote it, which took the maximum over crops.
    let mut old = resolved.clone();
    let settings = old.remove("settings").unwrap();
    old.insert("aggregation".into(), "max".into());
    old.insert("dropout".into(), settings["dropout"].clone());
    old.insert("layerdrop".into(), settings["layerdrop"].clone());
    old.insert("layer_wise".into(), false.into());
    old.insert("random_crop".into(), false.into());
    let train = old["train"].as_table_mut().unwrap();
    let schedule = train.remove("schedule").unwrap();
    train.insert("lr".into(), schedule["lr"].clone());
    train.insert("min_lr".into(), 1e-5.into());
    train.insert("warmup_epochs".into(), 2.into());
    train.insert(
        "warmup_share".into(),
        schedule["warmup"]["fraction"].clone(),
    );
    train.insert("decay".into(), "linear".into());
    std::fs::write(made.at("run/config.toml"), old.to_string()).unwrap();
    std::fs::remove_dir_all(made.at("run/model")).unwrap();
    let resume = |more: &[&str]| made.finetune("run", &[&args[..], &["--resume"], more].concat());
    let error = failed(resume(&["--set", "layerdrop=0.5"]));
    assert!(
        error.contains("layerdrop = 0.25") && error.contains("layerdrop = 0.5"),
        "{error}"
    );
    ok(resume(&[]));
    assert!(std::fs::read(&path).unwrap() == weights);

    for (set, expected) in [
        ("layerdop=0.1", "layerdrop     "),
        ("layerdrop=2", "from 0 to below 1"),
    ] {
        let more = ["--set", set];
        let error = failed(made.finetune("never", &[&args[..2], &more].concat()));
        assert!(error.contains(expected), "{error}");
    }
    let refused = made.finetune("never", &[&args[..2], &["--set", "layerdrop"]].concat());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("expected KEY=VALUE"), "{said}");
    assert!(!made.at("never").exists());
}

/// SaMi-Trop's recipe: one label as two classes that exclude each other, no validation part.
#[test]
fn one_label_is_learnt_as_two_classes_and_served_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let records = ptb_xl().join("records100");
    let mut table = String::from("record,split,death,follow_up_years\n");
    let mut names: Vec<String> = Vec::new();
    for entry in walk(&records) {
        let name = entry.file_stem().unwrap().to_str().unwrap().to_owned();
        if entry.extension().is_some_and(|e| e == "hea") {
            names.push(name);
        }
    }
    names.sort();
    for (i, name) in names.iter().enumerate() {
        let part = if i % 4 == 3 { "test" } else { "train" };
        let dead = usize::from(i % 3 == 0);
        writeln!(table, "{name},{part},{dead},{}", 0.5 + i as f64).unwrap();
    }
    let labels = dir.path().join("labels.csv");
    std::fs::write(&labels, table).unwrap();
    let made = Made::new(&[
        "folder",
        records.to_str().unwrap(),
        "--table",
        labels.to_str().unwrap(),
        "--task",
        "death",
        "--column",
        "value=follow_up_years",
    ]);
    let run = made.finetune(
        "run",
        &[
            "--task",
            "death",
            "--recipe",
            "sami-trop",
            "--updates",
            "4",
            "--validate-every",
            "2",
            "--batch",
            "8",
            "--lr",
            "0.001",
            "--compat",
            "paper",
            "--crops",
            "2",
        ],
    );
    let notes = String::from_utf8(run.stderr.clone()).unwrap();
    assert!(notes.contains("no validation split"), "{notes}");
    let said = ok(run);
    assert!(
        said.contains("1 classes") && said.contains("concordance"),
        "{said}"
    );
    assert_eq!(made.config("run")["two_classes"].as_bool(), Some(true));
    let predicted = json(&ok(run!("predict", "--model", made.at("run"), record())));
    let labels = predicted[0]["labels"].as_array().unwrap();
    assert_eq!(
        (labels.len(), labels[0]["name"].as_str()),
        (1, Some("death"))
    );

    // As published: chosen on the records it learns from.
    ok(made.finetune(
        "released",
        &[
            "--task",
            "death",
            "--recipe",
            "sami-trop",
            "--updates",
            "4",
            "--validate-every",
            "2",
            "--batch",
            "8",
            "--compat",
            "released",
        ],
    ));
    assert_eq!(
        made.config("released")["validated_on"].as_str(),
        Some("training")
    );
    let results = std::fs::read_to_string(made.at("released/results.json")).unwrap();
    assert_eq!(
        json(&results)[0][0]["trained"]["selection"]["split"],
        "train"
    );
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(walk(&path)),
            false => all.push(path),
        }
    }
    all
}

#[test]
fn a_run_that_diverges_fails_and_says_where() {
    let made = Made::new(&["ptb-xl", ptb_xl().to_str().unwrap()]);
    let task = [
        "--task",
        "superdiagnostic",
        "--batch",
        "4",
        "--updates",
        "40",
    ];
    let mut args = task.to_vec();
    args.extend(["--lr", "1e6"]);
    let error = failed(made.finetune("diverged", &args));
    assert!(error.contains("training diverged at step "), "{error}");
    assert!(
        error.contains("lower learning rate (`--lr`, here at most 1000000)"),
        "{error}"
    );
    assert!(!made.at("diverged").join("results.json").exists());
}
