//! `purkinje finetune`: everything, or chosen parts, of encoder and head learn from labels; by published recipes, too.

use std::path::PathBuf;

use miette::{Result, miette};
use purkinje::eval::crops::Aggregation;
use purkinje::eval::fraction::FractionMethod;
use purkinje::eval::report::class_table;
use purkinje::finetune::{Baseline, FinetuneOptions, finetune, put, read_table, untrained};
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
    /// Run or model folder to start from; with --scratch only its sizes are used.
    #[arg(long, required_unless_present = "scratch")]
    model: Option<PathBuf>,
    /// Start from random weights.
    #[arg(long)]
    scratch: bool,
    /// System to train, with --scratch and no --model [default: the first with published runs].
    #[arg(long, value_name = "NAME", conflicts_with = "model")]
    system: Option<String>,
    /// Its size, with --scratch and no --model [default: tiny].
    #[arg(long, value_name = "SIZE", conflicts_with = "model")]
    size: Option<String>,
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
    /// A setting that belongs to the system, by its key (listed below); may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<Assignment>,
    /// Do as a published run: ptbxl-super, ptbxl-sub, ptbxl-form, ptbxl-rhythm, cpsc, georgia, sami-trop, ... of HuBERT-ECG
    /// (a wrong name lists all). With --scratch the published run from random weights.
    #[arg(long, value_name = "NAME")]
    recipe: Option<String>,
    /// Size the recipe was published for: small, base or large [default: that of the model].
    #[arg(long, value_name = "SIZE", requires = "recipe")]
    recipe_size: Option<String>,
    /// What is meant, or what the published program does, around the network [default: paper].
    #[arg(long, value_parser = super::by_name::<Compat>)]
    compat: Option<Compat>,
    /// Classification head; CLEAR: hug or linear; HuBERT-ECG: linear, mlp or label-embedding [default: the first].
    #[arg(long, value_name = "HEAD")]
    head: Option<String>,
    /// What learns: all, linear (the head), parts of parameter names separated by commas; CLEAR: moe (HUG and last layer);
    /// HuBERT-ECG: last-N (N layers and the head) [default: all].
    #[arg(long)]
    trainable: Option<String>,
    /// Positive labels weigh by their rarity in the loss.
    #[arg(long)]
    class_weights: bool,
    /// Fraction of the training labels [default: 1].
    #[arg(long)]
    fraction: Option<f64>,
    /// How a fraction is drawn: random or stratified [default: random].
    #[arg(long, value_parser = super::by_name::<FractionMethod>)]
    sampling: Option<FractionMethod>,
    /// Passes over the training records [default: 20].
    #[arg(long)]
    epochs: Option<usize>,
    /// Updates, instead of passes.
    #[arg(long, conflicts_with = "epochs")]
    updates: Option<usize>,
    /// Fraction of the updates during which the learning rate rises [default: a tenth; 0.08 for HuBERT-ECG].
    #[arg(long, value_name = "FRACTION")]
    warmup: Option<f64>,
    /// Peak learning rate [default: 5e-4 for CLEAR, whose published heads use 5e-3; 1e-4 for HuBERT-ECG, published 1e-5].
    #[arg(long)]
    lr: Option<f64>,
    /// Records of one step [default: 64].
    #[arg(long)]
    batch: Option<usize>,
    /// Batches whose gradients make one update [default: 1].
    #[arg(long, value_name = "N")]
    accumulate: Option<usize>,
    /// Updates between validations [default: an epoch].
    #[arg(long, value_name = "N")]
    validate_every: Option<usize>,
    /// Validations without improvement of loss or AUROC after which training stops [default: it does not].
    #[arg(long, value_name = "N")]
    patience: Option<usize>,
    /// Weight decay and dropout rise while validation does not improve.
    #[arg(long)]
    dynamic_regularisation: bool,
    /// Crops of a recording that is evaluated, for models that look at crops [default: 1, the first five seconds].
    #[arg(long, value_name = "N")]
    crops: Option<usize>,
    /// How the probabilities of crops are aggregated: mean or max [default: mean, or as the recipe says].
    #[arg(long, value_parser = super::by_name::<Aggregation>)]
    aggregation: Option<Aggregation>,
    /// Decide at 0.5, as published, and not where F1 is best on validation.
    #[arg(long)]
    half: bool,
    /// What the result stands beside: trained (the same from random weights, trained alike) or probe (a linear probe on
    /// random weights: far cheaper; with --scratch always).
    #[arg(long, default_value = "trained", value_parser = super::by_name::<Baseline>)]
    baseline: Baseline,
    /// Seed of every random choice [default: 0].
    #[arg(long)]
    seed: Option<u32>,
    /// Leads to use [default: those of the model].
    #[arg(long)]
    leads: Option<LeadSet>,
    /// Resamples of the 95 % intervals.
    #[arg(long, default_value_t = 1000)]
    resamples: usize,
    /// Where to compute.
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// Continue from the run's checkpoint.
    #[arg(long)]
    resume: bool,
    /// Use only records whose quality measures keep these limits, such as `flat=0,missing=10%,limb=ok,noise_mv=0.05`
    #[arg(long, value_name = "FILTER")]
    quality: Option<QualityFilter>,
    /// Take a store that was prepared otherwise than the model expects.
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
    let (model, name) = match &args.model {
        Some(folder) => (
            Model::load_with(folder, &args.device, registry).shown()?,
            super::last_part(folder),
        ),
        None => {
            let of = (args.system.as_deref(), args.size.as_deref());
            untrained(registry, of, &mut changes, &args.device).shown()?
        }
    };
    let store = Store::open(&args.data).shown()?;
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
    let found = finetune(&model, &store, &options, &Bars).shown()?;
    let classes = class_table(&found.table.rows()[0].trained.metrics);
    output::print(&format!("{}\n{classes}\n", found.table))
}

impl Args {
    /// Puts what was given on the command line among the fields of the configuration.
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

/// A value of the command line as configurations write it.
fn field(value: Option<impl Serialize>) -> Result<Option<Value>> {
    let value = value.map(Value::try_from).transpose();
    value.map_err(|error| miette!("{error}"))
}
