//! `purkinje probe`: fits heads on a frozen encoder, with the same encoder with random weights as the baseline.

use std::path::PathBuf;

use purkinje::eval::fraction::FractionMethod;
use purkinje::probe::{HeadOptions, HeadStart, PENALTIES, ProbeOptions, probe};
use purkinje::record::LeadSet;
use purkinje::store::{QualityFilter, Store};
use purkinje::{Device, Model, Registry};

use super::WindowArgs;
use crate::output::{self, Show as _};
use crate::progress::Bars;

/// Arguments of `probe`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Folder of the model, or of the run that made it.
    #[arg(long)]
    model: PathBuf,
    /// Prepared store with labels and splits.
    #[arg(long)]
    data: PathBuf,
    /// Label sets of the store, for instance `superdiagnostic,rhythm`.
    #[arg(long, value_delimiter = ',', required = true)]
    task: Vec<String>,
    /// Fractions of the training labels.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    fraction: Vec<f64>,
    /// How a fraction is sampled: random, stratified, or permuted, as MERL and DERI do it.
    #[arg(long, default_value = "random", value_parser = super::by_name::<FractionMethod>)]
    sampling: FractionMethod,
    /// Classification heads: linear; CLEAR also hug; or both [default: linear].
    #[arg(long, value_delimiter = ',')]
    head: Vec<String>,
    /// Inverse penalties (C) of the linear head; of several, the best on the validation split is used.
    #[arg(long, value_delimiter = ',', default_values_t = PENALTIES)]
    c: Vec<f64>,
    #[command(flatten)]
    windows: WindowArgs,
    /// Epochs of the HUG head.
    #[arg(long, default_value_t = 50)]
    epochs: usize,
    /// Initial weights of the HUG head: linear (those of a linear probe on the lead groups) or random (as published).
    #[arg(long, default_value = "linear", value_parser = super::by_name::<HeadStart>)]
    hug_start: HeadStart,
    /// Seed of fractions, heads and random weights.
    #[arg(long, default_value_t = 0)]
    seed: u32,
    /// Leads to use [default: those of the model].
    #[arg(long)]
    leads: Option<LeadSet>,
    /// Bootstrap resamples for the 95 % intervals.
    #[arg(long, default_value_t = 1000)]
    resamples: usize,
    /// Device: cpu, or cuda, cuda:1, vulkan, metal, webgpu or rocm if built in.
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// Folder for results.json, the tables and one classifier for each task, fraction and head.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Use only records whose signal quality keeps these limits, such as `flat=0,missing=10%,limb=ok,noise_mv=0.05`
    #[arg(long, value_name = "FILTER")]
    quality: Option<QualityFilter>,
    /// Accept a store that was prepared differently than the model expects, as in the published protocol (filtered
    /// MIMIC-IV for pre-training, raw PTB-XL for probing).
    #[arg(long)]
    any_preprocessing: bool,
    /// Memory for the vectors of all records, in MiB; beyond it they are kept on disk while the command runs.
    #[arg(long, default_value_t = 2048, value_name = "MIB")]
    memory: u64,
    /// Also print the metrics of every class.
    #[arg(long)]
    per_class: bool,
}

/// Runs the command.
pub fn run(args: Args, registry: &Registry) -> miette::Result<()> {
    let model = Model::load_with(&args.model, &args.device, registry).shown()?;
    let store = Store::open(&args.data).shown()?;
    let options = ProbeOptions {
        name: Some(super::last_part(&args.model)),
        tasks: args.task,
        fractions: args.fraction,
        sampling: args.sampling,
        heads: args.head,
        head: HeadOptions {
            c: args.c,
            epochs: args.epochs,
            start: args.hug_start,
        },
        windows: args.windows.options(),
        seed: args.seed,
        leads: args.leads,
        resamples: args.resamples,
        quality: super::text(args.quality.as_ref()),
        any_preprocessing: args.any_preprocessing,
        memory_limit: args.memory << 20,
        folder: args.out.clone(),
    };
    let found = probe(&model, &store, &options, &Bars).shown()?;
    for table in &found.tables {
        output::print(&format!("{table}\n"))?;
        if args.per_class {
            output::print(&format!("{}\n", table.per_class()))?;
        }
    }
    match &args.out {
        Some(out) => found.save(out).shown(),
        None => Ok(()),
    }
}
