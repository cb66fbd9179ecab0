//! `purkinje pretrain`: from a store to an encoder.

mod hubert;

use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, Subcommand};
use miette::{IntoDiagnostic, Result, WrapErr, miette};
use purkinje_models::clear::{Clear, ClearConfig, Compat, EncoderMask, TokenContext};
use purkinje_models::layers::Weights;
use purkinje_record::LeadSet;
use purkinje_signal::Preprocess;
use purkinje_signal::preprocess::BeatSearch;
use purkinje_store::{QualityFilter, Split, Store};
use purkinje_train::clear::Pretraining;
use purkinje_train::source::{Source as _, StoreTokens};
use purkinje_train::{
    Next, Observer, RunFolder, Schedule, Span, StepReport, TrainConfig, TrainError, train,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use hubert::HubertArgs;

use crate::device::DeviceName;
use crate::model::{LoadedModel, Network};
use crate::output;
use crate::progress::{self, Progress};
use crate::system;

/// Arguments of `pretrain`.
#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(subcommand)]
    system: System,
}

#[derive(Subcommand, Debug)]
enum System {
    /// CLEAR: masked autoencoder of heartbeats.
    Clear(ClearArgs),
    /// HuBERT-ECG: masked prediction of code words, in iterations.
    Hubert(HubertArgs),
}

/// Arguments of `pretrain clear`. What is not given comes from the configuration file, then from the defaults.
#[derive(ClapArgs, Debug, Default)]
pub struct ClearArgs {
    /// Prepared store.
    #[arg(long)]
    pub data: PathBuf,
    /// Folder of the run: model, log, checkpoint.
    #[arg(long)]
    pub out: PathBuf,
    /// TOML file with any of the fields of the run's own config.toml.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// tiny (2.3 M parameters), base (57 M) or large (304 M).
    #[arg(long)]
    pub size: Option<String>,
    /// Follow the paper or the released program.
    #[arg(long, value_parser = super::compat)]
    pub compat: Option<Compat>,
    /// Encoder mask: none, additive or boolean.
    #[arg(long, value_parser = parse_mask)]
    pub encoder_mask: Option<EncoderMask>,
    /// What a token sees of its neighbours: circular, kept or own.
    #[arg(long, value_parser = parse_context)]
    pub token_context: Option<TokenContext>,
    /// Leave empty beat slots out of attention and loss.
    #[arg(long)]
    pub skip_padding: bool,
    /// Share of hidden tokens.
    #[arg(long)]
    pub mask_ratio: Option<f64>,
    /// Leads to use, for instance `I,II,V2`, `limb` or `12`.
    #[arg(long)]
    pub leads: Option<LeadSet>,
    /// How recordings are given to the network, by name, if not as they are stored: from one store of `raw-500`, for instance.
    #[arg(long, value_name = "NAME", value_parser = super::preset)]
    pub preset: Option<Preprocess>,
    /// Passes over the data.
    #[arg(long)]
    pub epochs: Option<usize>,
    /// Passes during which the learning rate rises.
    #[arg(long)]
    pub warmup_epochs: Option<usize>,
    /// Records of one step.
    #[arg(long)]
    pub batch: Option<usize>,
    /// Peak learning rate.
    #[arg(long)]
    pub lr: Option<f64>,
    /// Seed of every random choice.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Where to compute: cpu; cuda, cuda:1, vulkan, metal, webgpu or rocm where built in.
    #[arg(long, default_value = "cpu")]
    pub device: DeviceName,
    /// Matrix products in bfloat16 where the device has units for it.
    #[arg(long)]
    pub mixed_precision: bool,
    /// Use just records whose figures keep these limits, such as `flat=0,missing=10%,limb=ok,noise_mv=0.05`
    #[arg(long, value_name = "FILTER")]
    pub quality: Option<QualityFilter>,
    /// Continue from the run's checkpoint.
    #[arg(long)]
    pub resume: bool,
    /// Also keep the model after every N epochs, in `model-epoch-N`.
    #[arg(long, value_name = "N")]
    pub keep_every: Option<usize>,
}

/// Everything that decides the outcome of a run; written beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Prepared store.
    pub data: PathBuf,
    /// Leads used.
    pub leads: LeadSet,
    /// Records of one step.
    pub batch: usize,
    /// Limits on the quality of records; none when empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub quality: String,
    /// Schedule and optimizer.
    pub train: TrainConfig,
    /// Network.
    pub clear: ClearConfig,
    /// How recordings are given to the network; as they are stored when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preprocess: Option<Preprocess>,
}

/// File of the resolved configuration in a run folder.
pub const CONFIG: &str = "config.toml";

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let args = match args.system {
        System::Clear(args) => args,
        System::Hubert(args) => return hubert::run(&args),
    };
    let (_, loss) = pretrain_clear(&args)?;
    if let Some(report) = loss {
        output::print(&format!(
            "step {} of {}: loss {:.4}; model in {}\n",
            report.step,
            report.steps,
            report.loss,
            args.out.join("model").display()
        ))?;
    }
    Ok(())
}

/// The training part of a store, or all of it where it has none; of records that keep the limits of `quality`.
fn training_rows(store: &Store, quality: &str) -> Result<Vec<usize>> {
    let mut rows = store.indices(Split::Train);
    if rows.is_empty() {
        rows = (0..store.len()).collect();
    }
    let listed = rows.len();
    keep_good(store, &mut rows, quality)?;
    if rows.is_empty() {
        return Err(miette!(
            "none of the {listed} records for training in `{}` keeps the limits `{quality}`",
            store.dir().display()
        ));
    }
    Ok(rows)
}

/// The validation part of a store, which may be empty; of records that keep the limits of `quality`.
fn validation_rows(store: &Store, quality: &str) -> Result<Vec<usize>> {
    let mut rows = store.indices(Split::Val);
    keep_good(store, &mut rows, quality)?;
    if rows.is_empty() {
        return Err(miette!(
            "`{}` has no records to validate on: prepare it with a validation part, or leave out --validate-every",
            store.dir().display()
        ));
    }
    Ok(rows)
}

fn keep_good(store: &Store, rows: &mut Vec<usize>, quality: &str) -> Result<()> {
    let quality: QualityFilter = quality.parse().into_diagnostic()?;
    let rate_hz = store.info().rate_hz;
    rows.retain(|&row| {
        let row = store.row(row);
        row.is_ok_and(|row| quality.check_row(&row, rate_hz).is_ok())
    });
    Ok(())
}

/// Pre-trains and saves; also used by the demo.
pub fn pretrain_clear(args: &ClearArgs) -> Result<(Clear, Option<StepReport>)> {
    let store = Store::open(&args.data).into_diagnostic()?;
    let config = resolve(args, &store)?;
    let device = args.device.open()?;
    begin(&args.out, args.resume, &config)?;

    let rows = training_rows(&store, &config.quality)?;
    let contract = config
        .preprocess
        .as_ref()
        .unwrap_or(&store.info().preprocess)
        .clone()
        .with_leads(config.leads.clone());
    let contract = match config.clear.compat {
        Compat::Paper => contract,
        Compat::Released => contract.with_beats(BeatSearch::RELEASED),
    };
    let source = StoreTokens::new(&store, rows, &contract).into_diagnostic()?;
    let model = Clear::random(config.clear.clone(), config.train.seed, &device);
    progress::note(format!(
        "{} parameters, {} records, {} leads, {} epochs of {} steps on {}",
        model.weights().count(),
        source.len(),
        config.leads.len(),
        config.train.epochs,
        source.len() / config.batch,
        args.device
    ));
    let made = |epochs: usize| {
        format!(
            "purkinje {} pretrain clear: {} records of `{}`, {epochs} of {} epochs, seed {}",
            env!("CARGO_PKG_VERSION"),
            source.len(),
            store.info().name,
            config.train.epochs,
            config.train.seed
        )
    };
    let save = |weights: &Weights, epochs: usize, folder: &str| {
        let clear = Network::Clear(model.with_weights(weights.clone()));
        LoadedModel::encoder(clear, contract.clone()).save(&args.out.join(folder), &made(epochs))
    };
    let steps = source.len() / config.batch * config.train.epochs;
    let mut watch = Watch::new("pre-train", steps, args.keep_every, &save);
    let weights = if config.train.epochs == 0 {
        model.weights().clone()
    } else {
        let objective = Pretraining::new(model.clone(), &source, config.batch, config.train.seed);
        let folder = RunFolder {
            path: Some(args.out.clone()),
            resume: args.resume,
        };
        train(
            &objective,
            model.weights().clone(),
            &config.train,
            &folder,
            &device,
            &mut watch,
        )
        .into_diagnostic()?
        .weights
    };
    let last = watch.finish();
    let clear = model.with_weights(weights);
    save(clear.weights(), config.train.epochs, "model")?;
    Ok((clear, last))
}

struct Watch<'a> {
    keep_every: Option<usize>,
    save: &'a dyn Fn(&Weights, usize, &str) -> Result<()>,
    bar: Progress,
    done: usize,
    last: Option<StepReport>,
}

impl<'a> Watch<'a> {
    fn new(
        what: &'static str,
        steps: usize,
        keep_every: Option<usize>,
        save: &'a dyn Fn(&Weights, usize, &str) -> Result<()>,
    ) -> Self {
        Watch {
            keep_every,
            save,
            bar: Progress::new(what, steps, "steps"),
            done: 0,
            last: None,
        }
    }

    /// The last update, if there was one.
    fn finish(self) -> Option<StepReport> {
        self.bar.finish();
        self.last
    }
}

impl Observer for Watch<'_> {
    fn step(&mut self, report: &StepReport) -> Next {
        if self.last.is_none() {
            self.bar.resume(report.step - 1);
        } else {
            self.bar.add(report.step - self.done);
        }
        self.done = report.step;
        self.bar.message(format!(
            "epoch {} loss {} {:.0} records/s",
            report.epoch,
            report.loss_text(),
            report.records_per_s
        ));
        self.last = Some(report.clone());
        if system::stop_requested() {
            Next::Stop
        } else {
            Next::Continue
        }
    }

    fn epoch(&mut self, epoch: usize, weights: &Weights) -> Result<Next, TrainError> {
        if self
            .keep_every
            .is_some_and(|n| epoch.is_multiple_of(n.max(1)))
        {
            (self.save)(weights, epoch, &format!("model-epoch-{epoch}"))
                .map_err(|problem| TrainError::Data(format!("{problem:?}")))?;
        }
        Ok(Next::Continue)
    }
}

/// Defaults < file < command line.
fn resolve(args: &ClearArgs, store: &Store) -> Result<RunConfig> {
    let mut config = match &args.config {
        Some(path) => from_file(path)?,
        None => {
            let name = args.size.as_deref().unwrap_or("tiny");
            let clear = ClearConfig::size(name)
                .ok_or_else(|| miette!("--size {name}: expected tiny, base or large"))?;
            RunConfig {
                data: args.data.clone(),
                leads: store.info().preprocess.leads.clone(),
                batch: 64,
                quality: String::new(),
                train: TrainConfig {
                    schedule: Schedule {
                        lr: if name == "tiny" { 1e-3 } else { 5e-4 },
                        ..TrainConfig::default().schedule
                    },
                    ..TrainConfig::default()
                },
                clear,
                preprocess: None,
            }
        }
    };
    config.data = args.data.clone();
    if let (Some(name), Some(_)) = (&args.size, &args.config) {
        let size = ClearConfig::size(name)
            .ok_or_else(|| miette!("--size {name}: expected tiny, base or large"))?;
        config.clear = size.with_compat(config.clear.compat);
    }
    if let Some(compat) = args.compat {
        config.clear = config.clear.with_compat(compat);
    }
    let clear = &mut config.clear;
    clear.encoder_mask = args.encoder_mask.unwrap_or(clear.encoder_mask);
    clear.token_context = args.token_context.unwrap_or(clear.token_context);
    clear.skip_padding |= args.skip_padding;
    clear.mask_ratio = args.mask_ratio.unwrap_or(clear.mask_ratio);
    let run = &mut config.train;
    run.epochs = args.epochs.unwrap_or(run.epochs);
    if let Some(epochs) = args.warmup_epochs {
        run.schedule.warmup = Span::Epochs(epochs);
    }
    if let Span::Epochs(epochs) = &mut run.schedule.warmup {
        *epochs = run.epochs.min(*epochs);
    }
    run.schedule.lr = args.lr.unwrap_or(run.schedule.lr);
    run.seed = args.seed.unwrap_or(run.seed);
    run.mixed_precision |= args.mixed_precision;
    config.batch = args.batch.unwrap_or(config.batch);
    if let Some(leads) = &args.leads {
        config.leads = leads.clone();
    }
    if let Some(quality) = &args.quality {
        config.quality = quality.to_string();
    }
    if let Some(preset) = &args.preset {
        config.preprocess = Some(preset.clone());
    }
    if config.batch == 0 {
        return Err(miette!("--batch 0: expected at least 1"));
    }
    config
        .clear
        .validate()
        .map_err(|problem| miette!("network configuration: {problem}"))?;
    Ok(config)
}

fn from_file<C: DeserializeOwned>(path: &Path) -> Result<C> {
    let text = std::fs::read_to_string(path)
        .into_diagnostic()
        .wrap_err_with(|| format!("configuration {}", path.display()))?;
    toml::from_str(&text)
        .into_diagnostic()
        .wrap_err_with(|| format!("configuration {}", path.display()))
}

/// Writes the configuration of a run. A folder with another run is left alone; the same run must be resumed on purpose.
pub fn begin<C: DeserializeOwned + Serialize + PartialEq>(
    out: &Path,
    resume: bool,
    config: &C,
) -> Result<()> {
    let path = out.join(CONFIG);
    let text = toml::to_string(config).into_diagnostic()?;
    if path.exists() {
        if !resume {
            return Err(miette!(
                help = "give --resume to continue it, or another --out",
                "{} already holds a run",
                out.display()
            ));
        }
        let old: C = from_file(&path)?;
        if old != *config {
            let old = toml::to_string(&old).into_diagnostic()?;
            return Err(miette!(
                help = "resume with the same arguments, or choose another --out",
                "{} was started with another configuration:\n{}",
                out.display(),
                first_difference(&old, &text)
            ));
        }
    }
    output::write_file(&path, text.as_bytes())
}

fn first_difference(old: &str, new: &str) -> String {
    old.lines()
        .zip(new.lines())
        .find(|(a, b)| a != b)
        .map_or_else(String::new, |(a, b)| format!("it has `{a}`, now `{b}`"))
}

fn parse_mask(text: &str) -> Result<EncoderMask, String> {
    match text {
        "none" => Ok(EncoderMask::None),
        "additive" => Ok(EncoderMask::Additive),
        "boolean" => Ok(EncoderMask::Boolean),
        _ => Err("expected none, additive or boolean".into()),
    }
}

fn parse_context(text: &str) -> Result<TokenContext, String> {
    match text {
        "circular" => Ok(TokenContext::Circular),
        "kept" => Ok(TokenContext::Kept),
        "own" => Ok(TokenContext::Own),
        _ => Err("expected circular, kept or own".into()),
    }
}
