//! Pre-training through the library: stopped, resumed, in folders of older programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use purkinje::datasets::import::PtbXl;
use purkinje::signal::Preprocess;
use purkinje::store::{PrepareOptions, prepare};
use purkinje::{
    Device, PretrainOptions, Pretrained, Progress, Registry, Reporter, Result, Silent, pretrain,
};
use tempfile::TempDir;

/// A store of the fixture in a folder of its own.
fn store(contract: &Preprocess) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/ptb-xl");
    let out = dir.path().join("store");
    let options = PrepareOptions::default();
    prepare(&PtbXl::new(&source), contract, &out, &options, &()).unwrap();
    dir
}

fn options(system: &str, dir: &TempDir, out: &str) -> PretrainOptions {
    PretrainOptions {
        system: system.to_owned(),
        data: dir.path().join("store"),
        out: dir.path().join(out),
        batch: Some(8),
        ..PretrainOptions::default()
    }
}

/// Asks to stop after so many updates.
struct StopAfter {
    updates: usize,
    done: Arc<AtomicUsize>,
}

struct Counted(Arc<AtomicUsize>);

impl Progress for Counted {
    fn add(&self, more: usize) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }
}

impl Reporter for StopAfter {
    fn begin(&self, what: &str, _: usize, _: &'static str) -> Box<dyn Progress> {
        match what {
            "pre-train" => Box::new(Counted(self.done.clone())),
            _ => Box::new(Silent),
        }
    }

    fn stop_requested(&self) -> bool {
        self.done.load(Ordering::Relaxed) >= self.updates
    }
}

fn run(options: &PretrainOptions, reporter: &dyn Reporter) -> Result<Pretrained> {
    pretrain(options, &Device::cpu(), &Registry::default(), reporter)
}

fn weights(folder: PathBuf) -> Vec<u8> {
    fs::read(folder.join("model.safetensors")).unwrap()
}

/// A run that is stopped after `updates` updates and resumed ends as one that was not.
fn stops_and_resumes(options: impl Fn(&str) -> PretrainOptions, updates: usize) -> Pretrained {
    let whole = run(&options("whole"), &Silent).unwrap();
    let mut stopped = options("stopped");
    let reporter = StopAfter {
        updates,
        done: Arc::default(),
    };
    let error = run(&stopped, &reporter).unwrap_err();
    assert!(error.is_stop(), "{error}");
    assert!(!stopped.out.join("model").exists());
    stopped.resume = true;
    let resumed = run(&stopped, &Silent).unwrap();
    assert!(weights(resumed.folder) == weights(whole.folder.clone()));
    whole
}

#[test]
fn one_stage_validates_and_resumes_to_the_same_bits() {
    let dir = store(&Preprocess::clear_ptbxl());
    let options = |out: &str| PretrainOptions {
        epochs: Some(2),
        validate_every: Some(2),
        patience: Some(3),
        keep_every: Some(1),
        accumulate: Some(1),
        set: [("mask_ratio".to_owned(), "0.5".to_owned())].into(),
        ..options("clear", &dir, out)
    };
    let whole = stops_and_resumes(options, 3);
    assert_eq!(whole.stages.len(), 1);
    let out = dir.path().join("whole");
    assert!(out.join("model-epoch-1/config.json").is_file());
    let log = fs::read_to_string(out.join("log.jsonl")).unwrap();
    assert!(log.contains("validation_loss"), "{log}");
    let config = fs::read_to_string(out.join("config.toml")).unwrap();
    assert!(config.contains("mask_ratio = 0.5"), "{config}");
    let json = serde_json::to_value(&whole).unwrap();
    assert_eq!(
        json["stages"][0]["last"]["step"],
        whole.stages[0].last.as_ref().unwrap().steps
    );
}

#[test]
fn runs_on_pairs_resume_to_the_same_bits_with_their_statistics() {
    let contract = Preprocess::preset("deri-100").unwrap();
    let dir = store(&contract);
    for system in ["deri", "merl"] {
        let options = |out: &str| PretrainOptions {
            updates: Some(6),
            batch: Some(5),
            validate_every: Some(2),
            preprocess: Some(contract.clone()),
            set: [("vocabulary".to_owned(), "300".to_owned())].into(),
            ..options(system, &dir, &format!("{system}-{out}"))
        };
        let whole = stops_and_resumes(options, 3);
        // Statistics of batches are among the weights, and are not those of the start.
        let file = whole.folder.join("model.safetensors");
        let (tensors, _) = purkinje::models::checkpoint::read_safetensors(&file).unwrap();
        let means = &tensors.get("ecg_encoder.bn1.running_mean").unwrap().data;
        assert!(means.iter().any(|mean| *mean != 0.0), "{system}");
    }
}

#[test]
fn several_stages_resume_to_the_same_bits_in_folders_of_older_programs_too() {
    let dir = store(&Preprocess::hubert());
    let options = |out: &str| PretrainOptions {
        epochs: Some(1),
        seed: Some(42),
        set: [("clusters".to_owned(), "4,5+6".to_owned())].into(),
        ..options("hubert", &dir, out)
    };
    let whole = stops_and_resumes(options, 4);
    let names: Vec<_> = whole.stages.iter().flat_map(|stage| &stage.name).collect();
    assert_eq!(names, ["iteration-1", "iteration-2"]);

    // As the first programs left it: another layout of the configuration, interrupted in the second iteration.
    let out = dir.path().join("whole");
    let file = out.join("config.toml");
    let mut table: toml::Table = fs::read_to_string(&file).unwrap().parse().unwrap();
    let network = table.remove("network").unwrap();
    table.remove("system").unwrap();
    table.remove("leads").unwrap();
    table.insert("hubert".to_owned(), network);
    if let Some(toml::Value::Table(settings)) = table.remove("settings") {
        table.extend(settings);
    }
    fs::write(&file, table.to_string()).unwrap();
    let before = weights(whole.folder.clone());
    for lost in ["model", "iteration-2"] {
        fs::remove_dir_all(out.join(lost)).unwrap();
    }
    // What the run says about itself need not be said again.
    let resume = PretrainOptions {
        system: "hubert".to_owned(),
        data: dir.path().join("store"),
        out,
        resume: true,
        ..PretrainOptions::default()
    };
    let resumed = run(&resume, &Silent).unwrap();
    assert!(resumed.stages[0].last.is_none() && resumed.stages[1].last.is_some());
    assert!(weights(resumed.folder) == before);

    let other = PretrainOptions {
        lr: Some(0.5),
        ..resume.clone()
    };
    let error = run(&other, &Silent).unwrap_err().to_string();
    assert!(error.contains("another configuration"), "{error}");
    let again = PretrainOptions {
        resume: false,
        ..resume
    };
    let error = run(&again, &Silent).unwrap_err().to_string();
    assert!(error.contains("already holds a run"), "{error}");
}

#[test]
fn what_makes_no_sense_is_said() {
    let dir = store(&Preprocess::clear_ptbxl());
    let fails = |change: &dyn Fn(&mut PretrainOptions)| {
        let mut options = options("clear", &dir, "never");
        change(&mut options);
        run(&options, &Silent).unwrap_err().to_string()
    };
    let set = |key: &str, value: &str| [(key.to_owned(), value.to_owned())].into();
    let error = fails(&|options| options.system = "lead".to_owned());
    assert!(error.contains("clear, hubert"), "{error}");
    let error = fails(&|options| options.set = set("clusters", "5"));
    assert!(
        error.contains("fraction of tokens hidden [default: 0.8]"),
        "{error}"
    );
    let error = fails(&|options| options.set = set("mask-ratio", "2"));
    assert!(error.contains("from 0 to 1"), "{error}");
    let error = fails(&|options| options.patience = Some(2));
    assert!(error.contains("validations"), "{error}");
    let error = fails(&|options| options.size = Some("huge".to_owned()));
    assert!(error.contains("tiny, base, large"), "{error}");
    let error = fails(&|options| options.batch = Some(0));
    assert!(error.contains("at least 1"), "{error}");
    assert!(!dir.path().join("never").exists());
}
