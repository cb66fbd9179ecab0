//! `purkinje evaluate`: what a classifier is worth on the records of a store, as it is.

use std::path::PathBuf;

use burn::tensor::Device;
use clap::Args as ClapArgs;
use miette::{IntoDiagnostic, Result, bail, miette};
use purkinje_eval::bootstrap::Unit;
use purkinje_eval::challenge::renamed;
use purkinje_eval::crops::Aggregation;
use purkinje_eval::evaluate_split;
use purkinje_eval::metrics::SingleClass;
use purkinje_eval::report::class_table;
use purkinje_models::checkpoint::Labels;
use purkinje_models::compat::Compat;
use purkinje_models::hubert::HubertClassifier;
use purkinje_models::hug::Classifier;
use purkinje_record::LeadSet;
use purkinje_signal::Preprocess;
use purkinje_store::{QualityFilter, Split, Store};
use purkinje_train::hubert::{HubertCutter, StoreCrops};
use purkinje_train::source::StoreTokens;
use serde_json::json;

use super::finetune::parse_aggregation;
use crate::device::DeviceName;
use crate::judge::{Task, evaluation, other_figures, scores};
use crate::model::{Head, LoadedModel, Network, hubert_crop};
use crate::output;
use crate::progress;

/// Arguments of `evaluate`.
#[derive(ClapArgs, Debug)]
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
    /// Part of the store: train, val or test.
    #[arg(long, default_value = "test", value_parser = parse_split)]
    split: Split,
    /// HuBERT-ECG: crops of a recording [default: 1, the first five seconds; published: 3 to 15].
    #[arg(long, default_value_t = 1, value_name = "N")]
    crops: usize,
    /// How the probabilities of crops become one: mean or max, as published.
    #[arg(long, default_value = "max", value_parser = parse_aggregation)]
    aggregation: Aggregation,
    /// Decide at 0.5, as published, and not at the thresholds of the model.
    #[arg(long)]
    half: bool,
    /// What is meant, or what the published program does: crops of a drawn piece of ten seconds, labels of one kind count as 0,
    /// resamples of records by their labels [default: paper].
    #[arg(long, value_parser = super::compat)]
    compat: Option<Compat>,
    /// Leads to use; default: those of the model.
    #[arg(long)]
    leads: Option<LeadSet>,
    /// Resamples of the 95 % intervals.
    #[arg(long, default_value_t = 1000)]
    resamples: usize,
    /// Seed of resamples and crops.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Where to compute.
    #[arg(long, default_value = "cpu")]
    device: DeviceName,
    /// File for the figures, as JSON.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Use just records whose figures keep these limits, such as `flat=0,missing=10%,limb=ok,noise_mv=0.05`
    #[arg(long, value_name = "FILTER")]
    quality: Option<QualityFilter>,
    /// Take a store that was prepared otherwise than the model expects.
    #[arg(long)]
    any_preprocessing: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let device = args.device.open()?;
    let model = LoadedModel::load(&args.model, &device)?;
    model.network.check_crops(args.crops)?;
    let (head, labels) = model.labelled()?;
    let store = Store::open(&args.data).into_diagnostic()?;
    let leads = args.leads.clone().unwrap_or(model.preprocess.leads.clone());
    let contract = model.check_store(&store, &leads, args.any_preprocessing)?;
    let all = Task::judged(&store, &args.task, args.split, args.quality.as_ref())?;
    let (task, columns) = common(all, labels)?;

    let compat = args.compat.unwrap_or_default();
    let found = predict(
        &args,
        &model,
        head,
        labels.classes.len(),
        &store,
        &contract,
        &task,
        compat,
        &device,
    )?;
    let scores: Vec<f32> = found
        .chunks(labels.classes.len())
        .flat_map(|row| columns.iter().map(|&column| row[column]))
        .collect();
    let thresholds: Vec<f32> = columns
        .iter()
        .map(
            |&column| match (args.half, labels.classes[column].threshold) {
                (false, Some(threshold)) => threshold as f32,
                _ => 0.5,
            },
        )
        .collect();
    let mut options = evaluation(&task, &thresholds, args.resamples);
    options.bootstrap.seed = args.seed;
    if compat == Compat::Released && matches!(head, Head::Hubert(_)) {
        options.single_class = SingleClass::Zero;
        options.bootstrap.unit = Unit::RecordsByLabels;
    }
    let metrics = evaluate_split(&scores, &task.test.labels, &task.patients, &options);
    let metrics = metrics.into_diagnostic()?;
    let other = other_figures(&task, &scores, &thresholds)?;
    let mut text = format!(
        "{}, {}: {} records of {} patients, {} classes\n{}",
        task.name,
        args.split.name(),
        metrics.records,
        metrics.patients,
        metrics.classes.len(),
        class_table(&metrics)
    );
    for (figure, value) in &other {
        text.push_str(&format!("{figure}: {value:.3}\n"));
    }
    output::print(&text)?;
    if let Some(out) = &args.out {
        let all = json!({
            "model": args.model,
            "data": args.data,
            "task": task.name,
            "split": args.split.name(),
            "crops": args.crops,
            "aggregation": args.aggregation,
            "compat": compat,
            "metrics": metrics,
            "other": other,
        });
        output::write_file(out, &serde_json::to_vec_pretty(&all).into_diagnostic()?)?;
    }
    Ok(())
}

/// Probabilities `[records, labels of the model]`.
#[allow(clippy::too_many_arguments)] // One call, whose parts have nothing else in common.
fn predict(
    args: &Args,
    model: &LoadedModel,
    head: Head,
    labels: usize,
    store: &Store,
    contract: &Preprocess,
    task: &Task,
    compat: Compat,
    device: &Device,
) -> Result<Vec<f32>> {
    let (rows, crops) = ((0..store.len()).collect(), (args.crops, args.aggregation));
    let (part, same) = (&task.test.rows, |raw| raw);
    match (&model.network, head) {
        (Network::Clear(clear), Head::Clear(head)) => {
            let source = StoreTokens::new(store, rows, contract).into_diagnostic()?;
            let model = Classifier::new(clear.clone(), head, labels).into_diagnostic()?;
            scores(&model, &source, part, crops, device, same)
        }
        (Network::Hubert(hubert), Head::Hubert(head)) => {
            let (samples, decimation) = hubert_crop(hubert.config());
            let mut cutter = HubertCutter::new(samples, decimation).into_diagnostic()?;
            if compat == Compat::Released {
                cutter = cutter.from_long_pieces(args.seed);
            }
            let source = StoreCrops::new(store, rows, contract, cutter).into_diagnostic()?;
            let model = HubertClassifier::new(hubert.clone(), head, labels).into_diagnostic()?;
            scores(&model, &source, part, crops, device, same)
        }
        _ => bail!("the head belongs to another system"),
    }
    .into_diagnostic()
}

/// What of a task a model can be judged by, and in which of its outputs each class stands.
fn common(mut task: Task, labels: &Labels) -> Result<(Task, Vec<usize>)> {
    let place = |class: &String| {
        let named = |same: &dyn Fn(&str) -> bool| labels.classes.iter().position(|l| same(&l.name));
        named(&|name| name.eq_ignore_ascii_case(class))
            .or_else(|| named(&|name| renamed(name) == renamed(class)))
    };
    let places: Vec<Option<usize>> = task.classes.iter().map(place).collect();
    let unknown: Vec<&str> = task
        .classes
        .iter()
        .zip(&places)
        .filter_map(|(class, place)| place.is_none().then_some(class.as_str()))
        .collect();
    if unknown.len() == task.classes.len() {
        let names: Vec<&str> = labels.classes.iter().map(|l| l.name.as_str()).collect();
        return Err(miette!(
            help = "choose another task, or name the outputs of an imported model with `import-checkpoint --labels`",
            "no class of task `{}` ({}) is a label of the model ({})",
            task.name,
            task.classes.join(", "),
            names.join(", ")
        ));
    }
    if !unknown.is_empty() {
        progress::note(format!(
            "{} of {} classes are no labels of the model and are not judged: {}",
            unknown.len(),
            task.classes.len(),
            unknown.join(", ")
        ));
    }
    let width = task.classes.len();
    let kept: Vec<usize> = (0..width)
        .filter(|&class| places[class].is_some())
        .collect();
    task.test.labels = task
        .test
        .labels
        .chunks(width)
        .flat_map(|row| kept.iter().map(|&class| row[class]))
        .collect();
    task.classes = kept
        .iter()
        .map(|&class| task.classes[class].clone())
        .collect();
    Ok((task, places.into_iter().flatten().collect()))
}

fn parse_split(text: &str) -> Result<Split, String> {
    [Split::Train, Split::Val, Split::Test]
        .into_iter()
        .find(|split| split.name() == text)
        .ok_or_else(|| "expected train, val or test".into())
}
