//! `purkinje zero-shot`: diagnoses by sentences, with a model of recordings and texts.

use std::path::PathBuf;

use clap::ArgGroup;
use miette::IntoDiagnostic as _;
use purkinje::eval::report::ranking_table;
use purkinje::inputs::{Input, list};
use purkinje::reporter::go_on;
use purkinje::store::{FailureLimit, QualityFilter, Split, Store};
use purkinje::zero_shot::{
    Together, ZeroShot, ZeroShotOptions, read_prompts, scores_of, zero_shot,
};
use purkinje::{Device, Model, Registry};
use serde_json::{Value, json};

use super::WindowArgs;
use crate::output::{self, Show as _, Table, printable};
use crate::progress::{Bars, Progress};

/// Options of `zero-shot`.
#[derive(clap::Args, Debug)]
#[command(group(ArgGroup::new("what").required(true).args(["data", "inputs"])))]
pub struct Args {
    /// Recordings or folders of recordings to diagnose, instead of a store
    #[arg(value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Folder of a model of recordings and texts, or of the run that made it
    #[arg(long, value_name = "RUN")]
    model: PathBuf,
    /// Sentences for each label: a JSON object of labels with a text or a list of texts, or lines of a label, a tab and a text
    #[arg(long, value_name = "FILE")]
    prompts: PathBuf,
    /// Prepared store with labels, on which the diagnosis is measured
    #[arg(long, value_name = "STORE", requires = "task")]
    data: Option<PathBuf>,
    /// Label set of the store; its classes are matched with the labels of the prompts by name
    #[arg(long, requires = "data")]
    task: Option<String>,
    /// Split of the store: train, val or test
    #[arg(long, default_value = "test", value_parser = super::by_name::<Split>)]
    split: Split,
    /// How the scores of several sentences of a label become one: mean, max or first
    #[arg(long, default_value = "mean", value_parser = super::by_name::<Together>)]
    aggregate: Together,
    /// Leave out the same network with random weights
    #[arg(long)]
    no_twin: bool,
    #[command(flatten)]
    windows: WindowArgs,
    /// Bootstrap resamples for the 95 % intervals
    #[arg(long, default_value_t = 1000)]
    resamples: usize,
    /// Seed of resamples and of the random weights
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Largest percentage or number of recordings that may fail
    #[arg(long, value_name = "LIMIT", default_value = "5%", value_parser = super::failure_limit)]
    max_failed: FailureLimit,
    /// Use only records whose signal quality keeps these limits, such as `flat=0,missing=10%,limb=ok,noise_mv=0.05`
    #[arg(long, value_name = "FILTER")]
    quality: Option<QualityFilter>,
    /// Accept a store that was prepared differently than the model expects
    #[arg(long)]
    any_preprocessing: bool,
    /// Device: cpu, or cuda, cuda:1, vulkan, metal, webgpu or rocm if built in
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// File to write the figures or the scores to, as JSON
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: Args, registry: &Registry) -> miette::Result<()> {
    let model = Model::load_with(&args.model, &args.device, registry).shown()?;
    let prompts = read_prompts(&args.prompts).shown()?;
    let (Some(data), Some(task)) = (&args.data, &args.task) else {
        return recordings(&args, &model, &prompts);
    };
    let store = Store::open(data).shown()?;
    let options = ZeroShotOptions {
        task: task.clone(),
        split: args.split,
        together: args.aggregate,
        windows: args.windows.options(),
        resamples: args.resamples,
        seed: args.seed,
        twin: !args.no_twin,
        quality: super::text(args.quality.as_ref()),
        any_preprocessing: args.any_preprocessing,
    };
    let found = ZeroShot {
        model: Some(args.model.clone()),
        data: data.clone(),
        ..zero_shot(&model, &store, &prompts, &options, &Bars).shown()?
    };
    let metrics = &found.ranking;
    let mut text = format!(
        "{}, {}: {} records of {} patients, {} classes by their sentences\n{}",
        found.task,
        found.split,
        metrics.records,
        metrics.patients,
        metrics.classes.len(),
        ranking_table(metrics)
    );
    if metrics.undefined_auroc > 0 {
        text.push_str(&format!(
            "{} of them have no positives or no negatives in this split, and no AUROC.\n",
            metrics.undefined_auroc
        ));
    }
    if let Some(random) = &found.random_weights {
        text.push_str(&format!(
            "\nthe same network with random weights\n{}",
            ranking_table(random)
        ));
    }
    text.push_str(
        "\nScores rank records and are no probabilities: without thresholds chosen on other records there are no decisions.\n",
    );
    text.push_str(&super::used_line(&found.used));
    output::print(&text)?;
    match &args.out {
        Some(out) => {
            // Through a `Value`: single-precision numbers are written with all digits of their double-precision value.
            let found = serde_json::to_value(&found).into_diagnostic()?;
            output::write_file(out, output::json(&found)?.as_bytes())
        }
        None => Ok(()),
    }
}

/// The scores of recordings.
fn recordings(
    args: &Args,
    model: &Model,
    prompts: &[purkinje::zero_shot::Prompt],
) -> miette::Result<()> {
    let mut paths = Vec::new();
    for input in &args.inputs {
        paths.extend(list(input).shown()?);
    }
    let allowed = super::allowed(args.max_failed, paths.len());
    let inputs = paths.clone().into_iter().map(Input::File);
    let windows = args.windows.options();
    let progress = Progress::new("zero-shot", paths.len(), "recordings");
    let (mut results, mut failures) = (Vec::new(), Vec::new());
    let labels = prompts
        .iter()
        .map(|prompt| format!("{} ", printable(&prompt.label)));
    let mut table = Table::new(1, std::iter::once("recording".to_owned()).chain(labels));
    let found = scores_of(model, inputs, prompts, args.aggregate, windows).shown()?;
    for (path, found) in paths.iter().zip(found) {
        go_on(&Bars).shown()?;
        match found {
            Err(error) => failures.push(error.to_string()),
            Ok((scores, used)) => {
                let cells = scores.iter().map(|score| format!("{score:.3} "));
                let name = printable(&path.display().to_string());
                table.row(std::iter::once(name).chain(cells));
                let labels = prompts.iter().zip(&scores);
                let scores: serde_json::Map<String, Value> = labels
                    .map(|(prompt, score)| (prompt.label.clone(), json!(score)))
                    .collect();
                results.push(json!({"recording": path, "scores": scores, "used": used}));
            }
        }
        progress.add(1);
        if failures.len() > allowed {
            break;
        }
    }
    progress.finish();
    super::report(&failures, paths.len(), allowed)?;
    output::print(&format!(
        "{table}\nScores rank recordings and are no probabilities. Research use only, not a medical device.\n"
    ))?;
    if let Some(out) = &args.out {
        output::write_file(out, (output::json(&results)? + "\n").as_bytes())?;
    }
    Ok(())
}
