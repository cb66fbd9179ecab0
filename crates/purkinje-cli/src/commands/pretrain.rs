//! `purkinje pretrain`: trains an encoder on a store without labels.

use std::path::PathBuf;

use clap::{Args as _, Command};
use miette::Result;
use purkinje::models::compat::Compat;
use purkinje::pretrain::{Pretrained, StageResult};
use purkinje::record::LeadSet;
use purkinje::signal::Preprocess;
use purkinje::store::QualityFilter;
use purkinje::system::About;
use purkinje::train::Span;
use purkinje::{Device, PretrainOptions, Registry, pretrain};

use super::{Assignment, keys_help, span};
use crate::output::{self, Show as _};
use crate::progress::Bars;

/// Arguments of `pretrain`: a subcommand for each system, all with the same options.
#[derive(Debug)]
pub struct Args {
    system: String,
    options: Options,
}

/// Options of `pretrain SYSTEM`. What is not given comes from the configuration file, then from the defaults.
#[derive(clap::Args, Debug)]
struct Options {
    /// Prepared store
    #[arg(long, value_name = "STORE")]
    data: PathBuf,
    /// Folder of the run, for models, logs and checkpoints
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    /// Continue the stopped run in --out from its checkpoint
    #[arg(long)]
    resume: bool,
    /// TOML file with any of the fields of a run's own config.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Size of the network (listed below)
    #[arg(long)]
    size: Option<String>,
    /// Follow the paper or the released program [default: paper]
    #[arg(long, value_parser = super::by_name::<Compat>)]
    compat: Option<Compat>,
    /// A setting of the system (listed below); may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<Assignment>,
    /// Leads to use, such as I,II,V2, limb or 12
    #[arg(long)]
    leads: Option<LeadSet>,
    /// Preset of preprocessing for the network's input, if it is not that of the store; a store of preset `raw-500`
    /// serves several
    #[arg(long, value_name = "NAME", value_parser = super::preset)]
    preset: Option<Preprocess>,
    /// Use only records whose signal quality keeps these limits, such as `flat=0,missing=10%,limb=ok,noise_mv=0.05`
    #[arg(long, value_name = "FILTER")]
    quality: Option<QualityFilter>,
    /// Epochs in each stage
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Updates in each stage, instead of epochs
    #[arg(long, value_name = "N", conflicts_with = "epochs")]
    updates: Option<usize>,
    /// Batch size, in records
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Batches whose gradients are accumulated for one update
    #[arg(long, value_name = "N")]
    accumulate: Option<usize>,
    /// Peak learning rate
    #[arg(long)]
    lr: Option<f64>,
    /// Warm-up of the learning rate: updates (`500`), epochs (`2e`) or a percentage of all updates (`8%`)
    #[arg(long, value_name = "LENGTH", value_parser = span)]
    warmup: Option<Span>,
    /// Seed of every random choice [default: 0]
    #[arg(long)]
    seed: Option<u64>,
    /// Updates between validations on the validation split of the store [default: no validation]
    #[arg(long, value_name = "N")]
    validate_every: Option<usize>,
    /// Stop a stage after this many validations without improvement
    #[arg(long, value_name = "N")]
    patience: Option<usize>,
    /// Raise weight decay and dropout at every quarter of the patience
    #[arg(long, requires = "patience")]
    dynamic_regularisation: bool,
    /// Also save the model every N epochs, in `model-epoch-N`
    #[arg(long, value_name = "N")]
    keep_every: Option<usize>,
    /// Use bfloat16 matrix products on devices that support them
    #[arg(long)]
    mixed_precision: bool,
    /// Device: cpu, or cuda, cuda:1, vulkan, metal, webgpu or rocm if built in
    #[arg(long, default_value = "cpu")]
    device: Device,
}

impl clap::FromArgMatches for Args {
    fn from_arg_matches(matches: &clap::ArgMatches) -> Result<Self, clap::Error> {
        let (system, matches) = matches
            .subcommand()
            .ok_or_else(|| clap::Error::new(clap::error::ErrorKind::MissingSubcommand))?;
        Ok(Args {
            system: system.to_owned(),
            options: Options::from_arg_matches(matches)?,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for Args {
    fn augment_args(command: Command) -> Command {
        command
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommand_value_name("SYSTEM")
            .subcommand_help_heading("Systems")
            .disable_help_subcommand(true)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The command with a subcommand for each system.
pub fn with_systems(command: Command, registry: &Registry) -> Command {
    registry.systems().fold(command, |command, system| {
        let about = system.about();
        let help = match system.pretrain_keys() {
            Ok(settings) => keys_help(&settings),
            Err(error) => error.to_string(),
        };
        let own = Options::augment_args(Command::new(about.name))
            .about(format!("{}: {}", about.title, about.summary))
            .long_about(None)
            .after_help(format!("{}\n\n{help}", sizes(about)));
        command.subcommand(own)
    })
}

fn sizes(about: &About) -> String {
    let sizes = about.sizes.iter().enumerate();
    let sizes = sizes.map(|(i, size)| {
        let default = if i == 0 { ", the default" } else { "" };
        format!("{} ({} parameters{default})", size.name, size.parameters)
    });
    let sizes: Vec<String> = sizes.collect();
    format!("Sizes: {}", sizes.join(", "))
}

/// Runs the command.
pub fn run(args: Args, registry: &Registry) -> Result<()> {
    let Args { system, options } = args;
    let device = options.device;
    let options = PretrainOptions {
        system,
        data: options.data,
        out: options.out,
        config: options.config,
        resume: options.resume,
        size: options.size,
        compat: options.compat,
        set: options.set.into_iter().map(Into::into).collect(),
        leads: options.leads,
        preprocess: options.preset,
        quality: options.quality.map(|limits| limits.to_string()),
        epochs: options.epochs,
        updates: options.updates,
        batch: options.batch,
        accumulate: options.accumulate,
        lr: options.lr,
        warmup: options.warmup,
        seed: options.seed,
        mixed_precision: options.mixed_precision,
        validate_every: options.validate_every,
        patience: options.patience,
        dynamic_regularisation: options.dynamic_regularisation,
        keep_every: options.keep_every,
    };
    let done = pretrain(&options, &device, registry, &Bars).shown()?;
    output::print(&summary(&done))
}

fn summary(done: &Pretrained) -> String {
    let stage = |stage: &StageResult| {
        let report = stage.last.as_ref()?;
        let name = stage.name.as_ref().map(|name| format!("{name}, "));
        Some(format!(
            "{}step {} of {}: loss {}\n",
            name.unwrap_or_default(),
            report.step,
            report.steps,
            report.loss_text()
        ))
    };
    let stages: String = done.stages.iter().filter_map(stage).collect();
    format!("{stages}model in {}\n", done.folder.display())
}
