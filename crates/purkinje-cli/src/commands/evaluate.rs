//! `purkinje evaluate`: what a classifier is worth on the records of a store, as it is.

use std::path::PathBuf;

use miette::IntoDiagnostic as _;
use purkinje::eval::crops::Aggregation;
use purkinje::eval::report::class_table;
use purkinje::evaluate::{EvaluateOptions, Evaluated, evaluate};
use purkinje::models::compat::Compat;
use purkinje::record::LeadSet;
use purkinje::store::{QualityFilter, Split, Store};
use purkinje::{Device, Model, Registry};

use crate::output::{self, Show as _};
use crate::progress::Bars;

/// Arguments of `evaluate`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Folder of a model with a head: fine-tuned here, or imported.
    #[arg(long)]
    model: PathBuf,
    /// Prepared store with labels.
    #[arg(long)]
    data: PathBuf,
    /// Label set of the store; classes and labels of the model are matched by their names.
    #[arg(long)]
    task: String,
    /// Split of the store: train, val or test.
    #[arg(long, default_value = "test", value_parser = super::by_name::<Split>)]
    split: Split,
    /// Crops of a recording, for models that look at crops [default: 1, the first five seconds; published for HuBERT-ECG: 3
    /// to 15].
    #[arg(long, default_value_t = 1, value_name = "N", hide_default_value = true)]
    crops: usize,
    /// How the probabilities of crops are aggregated: mean or max (published for HuBERT-ECG: max).
    #[arg(long, default_value = "mean", value_parser = super::by_name::<Aggregation>)]
    aggregation: Aggregation,
    /// Decide at 0.5, as published, and not at the thresholds of the model.
    #[arg(long)]
    half: bool,
    /// What is meant, or what the published program does. HuBERT-ECG: crops of a drawn piece of ten seconds, labels of one
    /// kind count as 0, resamples of records by their labels.
    #[arg(long, default_value = "paper", value_parser = super::by_name::<Compat>)]
    compat: Compat,
    /// Leads to use [default: those of the model].
    #[arg(long)]
    leads: Option<LeadSet>,
    /// Resamples of the 95 % intervals.
    #[arg(long, default_value_t = 1000)]
    resamples: usize,
    /// Seed of resamples and crops [default: 0; where a published program is followed, its own].
    #[arg(long)]
    seed: Option<u64>,
    /// Where to compute.
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// File for the metrics, as JSON.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Use only records whose quality measures keep these limits, such as `flat=0,missing=10%,limb=ok,noise_mv=0.05`
    #[arg(long, value_name = "FILTER")]
    quality: Option<QualityFilter>,
    /// Take a store that was prepared otherwise than the model expects.
    #[arg(long)]
    any_preprocessing: bool,
}

/// Runs the command.
pub fn run(args: Args, registry: &Registry) -> miette::Result<()> {
    let model = Model::load_with(&args.model, &args.device, registry).shown()?;
    let store = Store::open(&args.data).shown()?;
    let options = EvaluateOptions {
        task: args.task,
        split: args.split,
        crops: args.crops,
        aggregation: args.aggregation,
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
    output::print(&text)?;
    match &args.out {
        Some(out) => {
            // By way of a value: single-precision numbers are written with all digits, as results always were.
            let found = serde_json::to_value(&found).into_diagnostic()?;
            output::write_file(out, output::json(&found)?.as_bytes())
        }
        None => Ok(()),
    }
}
