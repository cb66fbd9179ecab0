//! `purkinje finetune`: trains encoder and head, or selected parameters of them, on labels; optionally by a published
//! recipe.

use std::path::PathBuf;

use miette::{Result, miette};
use purkinje::eval::crops::Aggregation;
use purkinje::eval::fraction::FractionMethod;
use purkinje::eval::report::class_table;
use purkinje::finetune::{
    Baseline, FinetuneOptions, Untrained, finetune, is_of_patients, learn_patients, put,
    read_table, untrained,
};
use purkinje::keys::{listed, spelt};
use purkinje::models::compat::Compat;
use purkinje::record::LeadSet;
use purkinje::store::{QualityFilter, Store};
use purkinje::{Device, Model, Registry};
use serde::Serialize;
use toml::{Table, Value};

use super::Assignment;
use crate::output::{self, Show as _};
use crate::progress::Bars;

/// Arguments of `finetune`. What is not given comes from the configuration file, then from the recipe, then from the
/// defaults of the system.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Folder of the model, or of the run that made it, to start from; with --scratch only its configuration is used.
    #[arg(long, required_unless_present = "scratch")]
    model: Option<PathBuf>,
    /// Start from random weights.
    #[arg(long)]
    scratch: bool,
    /// System to train, with --scratch and without --model [default: the first with published recipes].
    #[arg(long, value_name = "NAME", conflicts_with = "model")]
    system: Option<String>,
    /// Size of the network, with --scratch and without --model [default: the smallest].
    #[arg(long, value_name = "SIZE", conflicts_with = "model")]
    size: Option<String>,
    /// Encoder of recordings by its published name, such as resnet18 or vit-tiny, with --scratch and without --model: trained on labels
    /// alone [default: that of the size].
    #[arg(long, value_name = "NAME", conflicts_with = "model")]
    encoder: Option<String>,
    /// Prepared store with labels and splits.
    #[arg(long)]
    data: PathBuf,
    /// Label set of the store.
    #[arg(long)]
    task: String,
    /// Folder for the classifier, results and checkpoints.
    #[arg(long)]
    out: PathBuf,
    /// TOML file with any of the fields of a run's own config.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A setting of the system (listed below); may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<Assignment>,
    /// Follow a published recipe: ptbxl-super, ptbxl-sub, ptbxl-form, ptbxl-rhythm, cpsc, georgia, sami-trop, ... of HuBERT-ECG
    /// (an unknown name lists all). With --scratch: its variant for random weights.
    #[arg(long, value_name = "NAME")]
    recipe: Option<String>,
    /// Model size the recipe was published for: small, base or large [default: that of the model].
    #[arg(long, value_name = "SIZE", requires = "recipe")]
    recipe_size: Option<String>,
    /// Follow the paper or the released program in training and evaluation [default: paper].
    #[arg(long, value_parser = super::by_name::<Compat>)]
    compat: Option<Compat>,
    /// Classification head; CLEAR: hug or linear; HuBERT-ECG: linear, mlp or label-embedding [default: the first].
    #[arg(long, value_name = "HEAD")]
    head: Option<String>,
    /// Parameters to train: all, linear (the head), or substrings of parameter names separated by commas; CLEAR: moe
    /// (HUG and last layer); HuBERT-ECG: last-N (the last N layers and the head) [default: all].
    #[arg(long)]
    trainable: Option<String>,
    /// Weight positive labels in the loss by the ratio of negatives to positives among the training records.
    #[arg(long)]
    class_weights: bool,
    /// Fraction of the training labels [default: 1].
    #[arg(long)]
    fraction: Option<f64>,
    /// How the fraction is sampled: random, stratified, or permuted, as MERL and DERI do it [default: random].
    #[arg(long, value_parser = super::by_name::<FractionMethod>)]
    sampling: Option<FractionMethod>,
    /// Epochs [default: 20].
    #[arg(long)]
    epochs: Option<usize>,
    /// Updates, instead of epochs.
    #[arg(long, conflicts_with = "epochs")]
    updates: Option<usize>,
    /// Warm-up of the learning rate, as a fraction of the updates [default: 0.1; 0.08 for HuBERT-ECG].
    #[arg(long, value_name = "FRACTION")]
    warmup: Option<f64>,
    /// Peak learning rate [default: 5e-4 for CLEAR, whose published heads use 5e-3; 1e-4 for HuBERT-ECG, published 1e-5].
    #[arg(long)]
    lr: Option<f64>,
    /// Batch size, in records [default: 64].
    #[arg(long)]
    batch: Option<usize>,
    /// Batches whose gradients are accumulated for one update [default: 1].
    #[arg(long, value_name = "N")]
    accumulate: Option<usize>,
    /// Updates between validations [default: an epoch].
    #[arg(long, value_name = "N")]
    validate_every: Option<usize>,
    /// Stop after this many validations without improvement of loss or AUROC [default: no early stopping].
    #[arg(long, value_name = "N")]
    patience: Option<usize>,
    /// Raise weight decay and dropout while validation does not improve; needs --patience.
    #[arg(long)]
    dynamic_regularisation: bool,
    /// Number of crops per recording in evaluation, for models that crop [default: 1, the first five seconds].
    #[arg(long, value_name = "N")]
    crops: Option<usize>,
    /// How the probabilities of crops are aggregated: mean or max [default: mean, or as the recipe says].
    #[arg(long, value_parser = super::by_name::<Aggregation>)]
    aggregation: Option<Aggregation>,
    /// Use a decision threshold of 0.5, as published, instead of the one with the best F1 on validation.
    #[arg(long)]
    half: bool,
    /// Baseline of the result: trained (the same network trained from random weights) or probe (a linear probe on
    /// random weights, far cheaper; always used with --scratch).
    #[arg(long, default_value = "trained", value_parser = super::by_name::<Baseline>)]
    baseline: Baseline,
    /// Seed of every random choice [default: 0].
    #[arg(long)]
    seed: Option<u32>,
    /// Leads to use [default: those of the model].
    #[arg(long)]
    leads: Option<LeadSet>,
    /// Bootstrap resamples for the 95 % intervals.
    #[arg(long, default_value_t = 1000)]
    resamples: usize,
    /// Device: cpu, or cuda, cuda:1, vulkan, metal, webgpu or rocm if built in.
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// Continue the stopped run in --out from its checkpoint.
    #[arg(long)]
    resume: bool,
    /// Use only records whose signal quality keeps these limits, such as `flat=0,missing=10%,limb=ok,noise_mv=0.05`
    #[arg(long, value_name = "FILTER")]
    quality: Option<QualityFilter>,
    /// Accept a store that was prepared differently than the model expects.
    #[arg(long)]
    any_preprocessing: bool,
}

/// The settings of every system, for the end of the help.
pub fn settings_help(registry: &Registry) -> String {
    let mut text = String::new();
    for system in registry.systems() {
        let (about, keys) = (system.about(), system.finetune_keys());
        let lines = match keys.as_slice() {
            [] => "  none\n".to_owned(),
            keys => listed(keys),
        };
        text += &format!("Settings of {} (--set KEY=VALUE):\n{lines}\n", about.title);
    }
    text.trim_end().to_owned()
}

/// Runs the command.
pub fn run(args: Args, registry: &Registry) -> Result<()> {
    let mut changes = match &args.config {
        Some(path) => read_table(path).shown()?,
        None => Table::new(),
    };
    args.add_to(&mut changes)?;
    let store = Store::open(&args.data).shown()?;
    let (model, name) = match &args.model {
        Some(folder) => (
            Model::load_with(folder, &args.device, registry).shown()?,
            super::last_part(folder),
        ),
        None => {
            let of = Untrained {
                system: args.system.as_deref(),
                size: args.size.as_deref(),
                encoder: args.encoder.as_deref(),
            };
            let stored = &store.info().preprocess;
            untrained(registry, of, stored, &mut changes, &args.device).shown()?
        }
    };
    let options = FinetuneOptions {
        task: args.task.clone(),
        changes,
        recipe_size: args.recipe_size.clone(),
        baseline: args.baseline,
        resamples: args.resamples,
        any_preprocessing: args.any_preprocessing,
        name: Some(name),
        out: Some(args.out.clone()),
        resume: args.resume,
        ..FinetuneOptions::default()
    };
    if is_of_patients(&store, &args.task) {
        let found = learn_patients(&model, &store, &options, &Bars).shown()?;
        let json = output::json_made_by(&found, Some(&model), Some(&store))?;
        output::write_file(&args.out.join("results.json"), json.as_bytes())?;
        return output::print(&format!(
            "{} patients in {} training records\n{}",
            found.patients,
            found.records,
            super::evaluate::patients_text(&found.test)
        ));
    }
    let found = finetune(&model, &store, &options, &Bars).shown()?;
    let classes = class_table(&found.table.rows()[0].trained.metrics);
    output::print(&format!("{}\n{classes}\n", found.table))
}

impl Args {
    /// Adds the options of the command line to the fields of the configuration.
    fn add_to(&self, changes: &mut Table) -> Result<()> {
        let flag = |given: bool| given.then_some(true);
        let fraction = |warmup| Table::from_iter([("fraction".to_owned(), Value::Float(warmup))]);
        let warmup = self.warmup.map(fraction);
        for (path, value) in [
            ("data", field(Some(&self.data))?),
            ("model", field(self.model.as_ref())?),
            ("start", field(self.scratch.then_some("scratch"))?),
            ("recipe", field(self.recipe.as_ref())?),
            ("compat", field(self.compat)?),
            ("head", field(self.head.as_ref())?),
            ("trainable", field(self.trainable.as_ref())?),
            ("class_weights", field(flag(self.class_weights))?),
            ("crops", field(self.crops)?),
            ("aggregation", field(self.aggregation)?),
            ("half", field(flag(self.half))?),
            ("batch", field(self.batch)?),
            ("fraction.share", field(self.fraction)?),
            ("fraction.method", field(self.sampling)?),
            ("fraction.seed", field(self.seed)?),
            ("leads", field(self.leads.as_ref())?),
            (
                "quality",
                field(self.quality.as_ref().map(ToString::to_string))?,
            ),
            ("train.seed", field(self.seed)?),
            ("train.epochs", field(self.epochs)?),
            ("train.updates", field(self.updates)?),
            ("train.accumulate", field(self.accumulate)?),
            ("train.schedule.lr", field(self.lr)?),
            ("train.schedule.warmup", field(warmup)?),
            ("train.validation.every", field(self.validate_every)?),
            ("train.validation.stopping.patience", field(self.patience)?),
            (
                "train.validation.stopping.dynamic_regularisation",
                field(flag(self.dynamic_regularisation))?,
            ),
        ] {
            if let Some(value) = value {
                put(changes, path, value);
            }
        }
        for Assignment(key, value) in &self.set {
            put(
                changes,
                &format!("settings.{}", spelt(key)),
                value.trim().into(),
            );
        }
        Ok(())
    }
}

/// The TOML value of an option.
fn field(value: Option<impl Serialize>) -> Result<Option<Value>> {
    let value = value.map(Value::try_from).transpose();
    value.map_err(|error| miette!("{error}"))
}
