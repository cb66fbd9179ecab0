//! The demonstration: all steps from raw recordings to classifiers, on real recordings that come with the library;
//! nothing is precomputed.

mod page;
pub mod recordings;

use std::path::{Path, PathBuf};
use std::time::Instant;

use purkinje_datasets::import::PtbXl;
use purkinje_eval::report::ResultTable;
use purkinje_signal::Preprocess;
use purkinje_store::{PrepareOptions, Store, prepare};
use serde::{Deserialize, Serialize};

use crate::files::write_file;
use crate::model::Model;
use crate::pretrain::{PretrainOptions, pretrain};
use crate::probe::{ProbeOptions, probe};
use crate::registry::Registry;
use crate::reporter::Reporter;
use crate::{Device, Error, Result};

/// The system that is demonstrated, at this size.
const SYSTEM: &str = "clear";
const SIZE: &str = "tiny";
/// A file that marks folders made by the demonstration.
const MARK: &str = ".purkinje-demo";

/// Options of the demonstration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DemoOptions {
    /// Folder for everything it writes; a folder of an earlier demonstration is replaced, any other existing folder is
    /// refused.
    pub out: PathBuf,
    /// Epochs of pre-training.
    pub epochs: usize,
    /// Seed of every random choice.
    pub seed: u32,
    /// Label sets to evaluate on.
    pub tasks: Vec<String>,
}

impl Default for DemoOptions {
    fn default() -> Self {
        DemoOptions {
            out: "demo".into(),
            epochs: 25,
            seed: 0,
            tasks: vec!["superdiagnostic".into()],
        }
    }
}

/// What the demonstration measured.
#[derive(Clone, Debug, Serialize)]
pub struct Demonstrated {
    /// One table of results for each label set.
    pub tables: Vec<ResultTable>,
    /// The HTML report.
    pub report: PathBuf,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// Prepares the recordings that come with the library, pre-trains an encoder, fits classification heads, saves the
/// classifiers and writes an HTML report.
///
/// # Errors
/// When the folder exists and no demonstration made it, files cannot be written, or a stop was requested.
pub fn demo(
    options: &DemoOptions,
    registry: &Registry,
    reporter: &dyn Reporter,
) -> Result<Demonstrated> {
    let start = Instant::now();
    begin(&options.out)?;
    let source = options.out.join("ptb-xl");
    let records = recordings::unpack(&source)?;
    reporter.note(&format!(
        "{records} recordings of PTB-XL (CC BY 4.0) unpacked into {}",
        source.display()
    ));

    let store_dir = options.out.join("store");
    let contract = Preprocess::clear_ptbxl();
    let importer = PtbXl::new(&source);
    let summary = prepare(
        &importer,
        &contract,
        &store_dir,
        &PrepareOptions {
            source: source.display().to_string(),
            command: reporter.command(),
            ..PrepareOptions::default()
        },
        &(),
    )?;
    let store = Store::open(&store_dir)?;

    let run = options.out.join("run");
    let pretraining = PretrainOptions {
        system: SYSTEM.into(),
        size: Some(SIZE.into()),
        data: store_dir,
        out: run.clone(),
        epochs: Some(options.epochs),
        batch: Some(32),
        seed: Some(u64::from(options.seed)),
        ..PretrainOptions::default()
    };
    let device = Device::cpu();
    pretrain(&pretraining, &device, registry, reporter)?;

    let model = Model::load_with(&run, &device, registry)?;
    let about = model.about();
    let probing = ProbeOptions {
        name: Some(format!("{} {SIZE}", about.title)),
        tasks: options.tasks.clone(),
        heads: about
            .frozen_heads
            .iter()
            .map(|head| (*head).to_owned())
            .collect(),
        seed: options.seed,
        ..ProbeOptions::default()
    };
    let found = probe(&model, &store, &probing, reporter)?;
    for classifier in &found.classifiers {
        let folder = format!("{}-{}", classifier.task, classifier.head);
        classifier
            .model
            .save(&options.out.join(folder), classifier.made.clone())?;
    }
    let report = options.out.join("report.html");
    let page = page::page(
        options,
        &store,
        &summary,
        &model,
        &found.tables,
        start.elapsed(),
    )?;
    write_file(&report, page.as_bytes())?;
    Ok(Demonstrated {
        tables: found.tables,
        report,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// Replaces the folder of an earlier demonstration; refuses any other that exists.
fn begin(out: &Path) -> Result<()> {
    if out.exists() {
        if !out.join(MARK).exists() {
            return Err(Error::invalid(format!(
                "{} exists and was not made by `purkinje demo`",
                out.display()
            ))
            .with_help("choose another folder with --out"));
        }
        std::fs::remove_dir_all(out).map_err(|error| Error::file("replace", out, error))?;
    }
    write_file(&out.join(MARK), b"")
}
