//! `purkinje evaluate`: evaluates a classifier on labelled records of a store.

use std::path::PathBuf;

use purkinje::eval::report::class_table;
use purkinje::evaluate::{EvaluateOptions, Evaluated, evaluate};
use purkinje::finetune::is_of_patients;
use purkinje::identify::{Identification, Identified, IdentifyOptions, Share, identify};
use purkinje::models::compat::Compat;
use purkinje::record::LeadSet;
use purkinje::store::{QualityFilter, Split, Store};
use purkinje::{Device, Model, Registry};

use super::WindowArgs;
use crate::output::{self, Show as _, Table};
use crate::progress::Bars;

/// Arguments of `evaluate`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Folder of a model with a classification head: probed, fine-tuned or imported.
    #[arg(long)]
    model: PathBuf,
    /// Prepared store with labels.
    #[arg(long)]
    data: PathBuf,
    /// Label set of the store; its classes are matched with the labels of the model by name. `patient`: whether patients with several
    /// recordings are told apart by the vectors of the model, which needs no head.
    #[arg(long)]
    task: String,
    /// With `--task patient`: the recording of each patient that the second one is looked for among.
    #[arg(long, value_enum, default_value = "first")]
    gallery: Gallery,
    /// Split of the store: train, val, test, or none of them.
    #[arg(long, default_value = "test", value_parser = super::by_name::<Split>)]
    split: Split,
    #[command(flatten)]
    windows: WindowArgs,
    /// Use a decision threshold of 0.5, as published, instead of the thresholds of the model.
    #[arg(long)]
    half: bool,
    /// Follow the paper, or the released program. HuBERT-ECG released: crops of a random ten-second window, classes
    /// without positives or negatives count as 0, bootstrap resamples stratified by combination of labels.
    #[arg(long, default_value = "paper", value_parser = super::by_name::<Compat>)]
    compat: Compat,
    /// Leads to use [default: those of the model].
    #[arg(long)]
    leads: Option<LeadSet>,
    /// Bootstrap resamples for the 95 % intervals.
    #[arg(long, default_value_t = 1000)]
    resamples: usize,
    /// Seed of resamples and crops [default: 0; with --compat released that of the program, if it has one].
    #[arg(long)]
    seed: Option<u64>,
    /// Device: cpu, or cuda, cuda:1, vulkan, metal, webgpu or rocm if built in.
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// File to write the metrics to, as JSON.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Use only records whose signal quality keeps these limits, such as `flat=0,missing=10%,limb=ok,noise_mv=0.05`
    #[arg(long, value_name = "FILTER")]
    quality: Option<QualityFilter>,
    /// Accept a store that was prepared differently than the model expects.
    #[arg(long)]
    any_preprocessing: bool,
}

/// The recordings that others are looked for among.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Gallery {
    /// The first recording of each patient.
    First,
}

/// Runs the command.
pub fn run(args: Args, registry: &Registry) -> miette::Result<()> {
    let model = Model::load_with(&args.model, &args.device, registry).shown()?;
    let store = Store::open(&args.data).shown()?;
    if is_of_patients(&store, &args.task) {
        return patients(&args, &model, &store);
    }
    let options = EvaluateOptions {
        task: args.task,
        split: args.split,
        windows: args.windows.options(),
        half: args.half,
        compat: args.compat,
        leads: args.leads,
        resamples: args.resamples,
        seed: args.seed,
        quality: super::text(args.quality.as_ref()),
        any_preprocessing: args.any_preprocessing,
    };
    let found = Evaluated {
        model: Some(args.model),
        data: args.data,
        ..evaluate(&model, &store, &options, &Bars).shown()?
    };
    let metrics = &found.metrics;
    let mut text = format!(
        "{}, {}: {} records of {} patients, {} classes\n{}",
        found.task,
        found.split,
        metrics.records,
        metrics.patients,
        metrics.classes.len(),
        class_table(metrics)
    );
    for (name, value) in &found.other {
        text.push_str(&format!("{name}: {value:.3}\n"));
    }
    text.push_str(&super::used_line(&found.used));
    output::print(&text)?;
    match &args.out {
        Some(out) => {
            let json = output::json_made_by(&found, Some(&model), Some(&store))?;
            output::write_file(out, json.as_bytes())
        }
        None => Ok(()),
    }
}

/// Tells patients apart.
fn patients(args: &Args, model: &Model, store: &Store) -> miette::Result<()> {
    let options = IdentifyOptions {
        split: Some(args.split),
        windows: args.windows.options(),
        quality: super::text(args.quality.as_ref()),
        any_preprocessing: args.any_preprocessing,
        twin: Some(args.seed.unwrap_or(0)),
    };
    let found = identify(model, store, &options, &Bars).shown()?;
    output::print(&patients_text(&found))?;
    match &args.out {
        Some(out) => {
            let json = output::json_made_by(&found, Some(model), Some(store))?;
            output::write_file(out, json.as_bytes())
        }
        None => Ok(()),
    }
}

/// How well patients are told apart, as text.
pub(super) fn patients_text(found: &Identified) -> String {
    let mut table = Table::new(1, ["", "top 1", "top 5", "equal error rate"]);
    let mut add = |name: &str, own: &Identification| {
        let percent = |share: Share| {
            let [value, low, high] = [share.value, share.low, share.high].map(|x| 100.0 * x);
            format!("{value:.1} [{low:.1}, {high:.1}]")
        };
        let error = format!("{:.1}", 100.0 * own.equal_error_rate);
        table.row([
            name.to_owned(),
            percent(own.top_1),
            percent(own.top_5),
            error,
        ]);
    };
    add("this model", &found.found);
    if let Some(random) = &found.random_weights {
        add("random weights", random);
    }
    format!(
        "{}: {} patients with at least two recordings ({} with one are left out); the second recording of each is looked for among the first ones, by the cosine of vectors. Percent with 95 % intervals\n{table}\n{}",
        found.split.unwrap_or("all records"),
        found.patients,
        found.with_one,
        super::used_line(&found.used)
    )
}
