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
    /// Folder for everything it writes.
    pub out: PathBuf,
    /// Whether the folder of an earlier demonstration is deleted first, with all that is in it; without, it is refused as any other existing
    /// folder is.
    pub overwrite: bool,
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
            overwrite: false,
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
    begin(&options.out, options.overwrite)?;
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

/// Whether a folder is that of an earlier demonstration.
pub fn is_demonstration(out: &Path) -> bool {
    out.join(MARK).exists()
}

/// Deletes the folder of an earlier demonstration if that was asked for; refuses any other that exists.
fn begin(out: &Path, overwrite: bool) -> Result<()> {
    if out.exists() {
        if !is_demonstration(out) {
            return Err(Error::invalid(format!(
                "{} exists and was not made by `purkinje demo`",
                out.display()
            ))
            .with_help("choose another folder with --out"));
        }
        if !overwrite {
            return Err(Error::invalid(format!(
                "{} holds an earlier demonstration, and what was made in it since",
                out.display()
            ))
            .with_help("delete it and begin anew with `--overwrite`, or choose another folder with `--out`"));
        }
        std::fs::remove_dir_all(out).map_err(|error| Error::file("replace", out, error))?;
    }
    write_file(&out.join(MARK), b"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_deleted_that_was_not_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("demo");
        begin(&out, false).unwrap();
        let own = out.join("notes.txt");
        std::fs::write(&own, "mine").unwrap();
        let error = begin(&out, false).unwrap_err();
        assert!(
            error.to_string().contains("an earlier demonstration"),
            "{error}"
        );
        assert!(
            error
                .help()
                .is_some_and(|help| help.contains("--overwrite"))
        );
        assert!(own.exists());
        begin(&out, true).unwrap();
        assert!(!own.exists() && is_demonstration(&out));
        // What no demonstration made is never deleted.
        let other = dir.path().join("other");
        std::fs::create_dir(&other).unwrap();
        begin(&other, true).unwrap_err();
        assert!(other.exists());
    }
}
