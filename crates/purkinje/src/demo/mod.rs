//! The demonstration: the whole way on real recordings inside the library, nothing precomputed.

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
/// A file that marks the folders this made.
const MARK: &str = ".purkinje-demo";

/// What is demonstrated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DemoOptions {
    /// Folder for everything it makes; a folder that it made before is made anew, any other is left alone.
    pub out: PathBuf,
    /// Passes of pre-training.
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

/// What it measured.
#[derive(Clone, Debug, Serialize)]
pub struct Demonstrated {
    /// One table for each label set.
    pub tables: Vec<ResultTable>,
    /// The page.
    pub report: PathBuf,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// Prepares the recordings inside the library, pre-trains an encoder, fits heads, saves classifiers, and writes a page.
///
/// # Errors
/// When the folder is another's, files cannot be written, or a stop was requested.
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
        &PrepareOptions::default(),
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
            .save(&options.out.join(folder), &classifier.made)?;
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

/// A folder that this made may be made anew; any other is left alone.
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
