//! `purkinje probe`: heads on a frozen encoder, beside the same encoder with random weights.

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use miette::{IntoDiagnostic, Result};
use purkinje_eval::fraction::{FractionMethod, LabelFraction};
use purkinje_eval::report::{EncoderRows, ModelResult, ResultTable};
use purkinje_models::hubert;
use purkinje_models::hug::Head;
use purkinje_models::layers::{Parameter, Weights};
use purkinje_record::LeadSet;
use purkinje_store::{QualityFilter, Store};

use crate::device::DeviceName;
use crate::judge::{Features, HugStart, Judged, PENALTIES, Protocol, Task, judge};
use crate::model::{self, LoadedModel, Network};
use crate::output;
use crate::progress::Progress;

/// Arguments of `probe`.
#[derive(ClapArgs, Debug)]
pub struct Args {
    /// Run or model folder.
    #[arg(long)]
    pub model: PathBuf,
    /// Prepared store with labels and splits.
    #[arg(long)]
    pub data: PathBuf,
    /// Label sets of the store, for instance `superdiagnostic,rhythm`.
    #[arg(long, value_delimiter = ',', required = true)]
    pub task: Vec<String>,
    /// Shares of the training labels.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    pub fraction: Vec<f64>,
    /// How a share is drawn.
    #[arg(long, default_value = "random", value_parser = parse_method)]
    pub sampling: FractionMethod,
    /// Heads: linear, hug, or both.
    #[arg(long, value_delimiter = ',', default_value = "linear", value_parser = parse_head)]
    pub head: Vec<Head>,
    /// Inverse penalties of the linear head; several are tried on validation data.
    #[arg(long, value_delimiter = ',', default_values_t = PENALTIES)]
    pub c: Vec<f64>,
    /// HuBERT-ECG: the vector of a recording is the mean over so many crops of five seconds, spread evenly.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub crops: usize,
    /// Epochs of the HUG head.
    #[arg(long, default_value_t = 50)]
    pub epochs: usize,
    /// Where the HUG head begins: linear (at the linear probe on the lead groups) or random (as published).
    #[arg(long, default_value = "linear", value_parser = parse_start)]
    pub hug_start: HugStart,
    /// Seed of fractions, heads and random weights.
    #[arg(long, default_value_t = 0)]
    pub seed: u32,
    /// Leads to use; default: those of the model.
    #[arg(long)]
    pub leads: Option<LeadSet>,
    /// Resamples of the 95 % intervals.
    #[arg(long, default_value_t = 1000)]
    pub resamples: usize,
    /// Where to compute.
    #[arg(long, default_value = "cpu")]
    pub device: DeviceName,
    /// Folder for results.json, the tables and one classifier for each task, fraction and head.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Use just records whose figures keep these limits, such as `flat=0,missing=10%,limb=ok,noise_mv=0.05`
    #[arg(long, value_name = "FILTER")]
    pub quality: Option<QualityFilter>,
    /// Take a store that was prepared otherwise than the model expects, as the published protocol does (filtered MIMIC-IV
    /// for pre-training, raw PTB-XL for probing).
    #[arg(long)]
    pub any_preprocessing: bool,
    /// Also print every class.
    #[arg(long)]
    pub per_class: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let model = LoadedModel::load(&args.model, &args.device.open()?)?;
    model.network.check_crops(args.crops)?;
    let store = Store::open(&args.data).into_diagnostic()?;
    let leads = args.leads.clone().unwrap_or(model.preprocess.leads.clone());
    let contract = model.check_store(&store, &leads, args.any_preprocessing)?;
    let tasks = args
        .task
        .iter()
        .map(|name| Task::load(&store, name, args.quality.as_ref()))
        .collect::<Result<Vec<_>>>()?;

    let device = args.device.open()?;
    if args.head.contains(&Head::Hug) {
        model.network.clear("`--head hug`")?;
    }
    let random = model.network.random_twin(u64::from(args.seed), &device);
    let features = |encoder: &Network, what: &'static str| {
        let bar = Progress::new(what, store.len(), "records");
        let crops = args.crops;
        let features =
            Features::compute(encoder, &store, &contract, crops, &device, |n| bar.add(n));
        bar.finish();
        features
    };
    let trained = features(&model.network, "encode")?;
    let untrained = features(&random, "encode with random weights")?;

    let name = model_name(&args.model);
    let mut tables = Vec::new();
    for task in &tasks {
        let mut rows = Vec::new();
        for &share in &args.fraction {
            for &head in &args.head {
                let protocol = Protocol {
                    head,
                    fraction: LabelFraction {
                        share,
                        method: args.sampling,
                        seed: args.seed,
                    },
                    c: args.c.clone(),
                    epochs: args.epochs,
                    hug_start: args.hug_start,
                    seed: u64::from(args.seed),
                    resamples: args.resamples,
                };
                let judged = judge(&trained, task, &name, &protocol)?;
                let twin = judge(&untrained, task, &name, &protocol)?;
                if let Some(out) = &args.out {
                    let folder = classifier_folder(out, task, share, head);
                    save_classifier(&model, head, task, &judged, &leads, &folder)?;
                }
                rows.push(EncoderRows {
                    trained: judged.result,
                    random_weights: twin.result,
                });
            }
        }
        let table = ResultTable::new(rows).into_diagnostic()?;
        output::print(&format!("{table}\n"))?;
        if args.per_class {
            output::print(&format!("{}\n", table.per_class()))?;
        }
        tables.push(table);
    }
    if let Some(out) = &args.out {
        write_results(out, &tables)?;
    }
    Ok(())
}

/// Writes results.json and tables.txt.
pub fn write_results(out: &Path, tables: &[ResultTable]) -> Result<()> {
    let json = serde_json::to_vec_pretty(tables).into_diagnostic()?;
    output::write_file(&out.join("results.json"), &json)?;
    let text: String = tables
        .iter()
        .map(|table| format!("{table}\n{}\n", table.per_class()))
        .collect();
    output::write_file(&out.join("tables.txt"), text.as_bytes())
}

fn classifier_folder(out: &Path, task: &Task, share: f64, head: Head) -> PathBuf {
    out.join(format!("{}-{share}-{head}", task.name))
}

/// Saves encoder and head as one model folder that `predict` takes.
pub fn save_classifier(
    model: &LoadedModel,
    head: Head,
    task: &Task,
    judged: &Judged,
    leads: &LeadSet,
    folder: &Path,
) -> Result<()> {
    let (head, weights) = match &model.network {
        Network::Clear(_) => (model::Head::Clear(head), judged.weights.clone()),
        Network::Hubert(_) => (
            model::Head::Hubert(hubert::Head::Linear),
            renamed(&judged.weights),
        ),
    };
    let classifier = model.with_head(
        head,
        &weights,
        &task.name,
        &task.classes,
        &judged.thresholds,
        leads,
    );
    classifier.save(folder, &made("probe", &judged.result))
}

/// A linear layer under the name HuBERT-ECG gives it.
fn renamed(weights: &Weights) -> Weights {
    let mut all = Weights::default();
    for parameter in weights.iter() {
        all.put(Parameter {
            name: parameter.name.replace("mlp_head.", "classifier."),
            ..parameter.clone()
        });
    }
    all
}

/// One sentence on how a head came about, for the model card.
pub fn made(command: &str, result: &ModelResult) -> String {
    format!(
        "purkinje {} {command}: {} head on `{}`, {} training records, selected on validation ({}); test macro AUROC {}",
        env!("CARGO_PKG_VERSION"),
        result.head,
        result.task,
        result.training_records,
        result.selection.chosen,
        result
            .metrics
            .macro_mean
            .auroc
            .value
            .map_or("undefined".into(), |v| format!("{v:.4}")),
    )
}

/// The last part of a path, as the name of a model.
pub fn model_name(path: &Path) -> String {
    let last = path.components().next_back();
    last.map_or("model".into(), |c| {
        c.as_os_str().to_string_lossy().into_owned()
    })
}

/// A head by name.
pub fn parse_head(text: &str) -> Result<Head, String> {
    match text {
        "linear" => Ok(Head::Linear),
        "hug" => Ok(Head::Hug),
        _ => Err("expected linear or hug".into()),
    }
}

/// A way of sampling by name.
pub fn parse_method(text: &str) -> Result<FractionMethod, String> {
    match text {
        "random" => Ok(FractionMethod::Random),
        "stratified" => Ok(FractionMethod::Stratified),
        _ => Err("expected random or stratified".into()),
    }
}

fn parse_start(text: &str) -> Result<HugStart, String> {
    match text {
        "linear" => Ok(HugStart::Linear),
        "random" => Ok(HugStart::Random),
        _ => Err("expected linear or random".into()),
    }
}
