//! `purkinje zero-shot`: diagnoses by sentences, with a model of recordings and texts.

use std::path::{Path, PathBuf};

use clap::ArgGroup;
use miette::miette;
use purkinje::eval::report::{class_table, ranking_table};
use purkinje::files::write_file;
use purkinje::inputs::{Input, ReadOptions, list, told};
use purkinje::prompts::{Prompt, read_map, read_prompts};
use purkinje::record::LeadChoice;
use purkinje::reporter::go_on;
use purkinje::store::{FailureLimit, QualityFilter, Split, Store};
use purkinje::zero_shot::{
    Similarity, Together, ZeroShot, ZeroShotOptions, occlusion_of, predictions_csv, scores_of,
    zero_shots,
};
use purkinje::{Device, Model, Registry};
use serde_json::{Value, json};

use super::predict::Pictures;
use super::{ReadArgs, UnusableRecords, WindowArgs};
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
    /// Label sets of the store, separated by commas; their classes are matched with the labels of the prompts by name
    #[arg(long, requires = "data", value_name = "TASKS", value_delimiter = ',')]
    task: Vec<String>,
    /// Measure only the classes that have a counterpart in another label set, such as super:cpsc2018 (sets: super, cpsc2018, csn; the
    /// source first)
    #[arg(long, requires = "data", value_name = "SOURCE:TARGET")]
    shift: Option<String>,
    /// Split of the store: train, val, test, or none of them
    #[arg(long, default_value = "test", value_parser = super::by_name::<Split>)]
    split: Split,
    /// How the scores of several sentences of a label become one: mean, max or first
    #[arg(long, default_value = "mean", value_parser = super::by_name::<Together>)]
    aggregate: Together,
    /// How recordings and sentences are compared: dot (product of vectors) or cosine [default: as the model was trained]
    #[arg(long, value_parser = super::by_name::<Similarity>)]
    similarity: Option<Similarity>,
    /// Which prompts are for which classes, where names differ: a JSON object of classes with labels, or lines of a class, a tab and a label
    #[arg(long, value_name = "FILE", requires = "data")]
    map: Option<PathBuf>,
    /// Label sets of the store by others, such as cardiology_residents,dnn, to be measured against the task as the model is
    #[arg(long, value_name = "TASKS", value_delimiter = ',', requires = "data")]
    against: Vec<String>,
    /// Labelled store whose validation split (or test split, if it has no other) thresholds are chosen on [default: the validation split of
    /// the store, if it is not the one judged]
    #[arg(long, value_name = "STORE", requires = "data")]
    calibrate: Option<PathBuf>,
    /// Table (.csv) to write the scores and labels of every record to
    #[arg(long, value_name = "FILE", requires = "data")]
    predict: Option<PathBuf>,
    /// For recordings: folder to draw pictures in of what the score of each label loses where a lead, or 200 ms of all leads, is silenced
    #[arg(long, value_name = "DIR", conflicts_with = "data")]
    explain: Option<PathBuf>,
    /// Labels to draw pictures of, separated by commas [default: the one with the highest score]
    #[arg(
        long,
        value_name = "LABELS",
        value_delimiter = ',',
        requires = "explain"
    )]
    class: Vec<String>,
    /// Leave out the same network with random weights
    #[arg(long)]
    no_twin: bool,
    #[command(flatten)]
    windows: WindowArgs,
    #[command(flatten)]
    read: ReadArgs,
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
    let Some(data) = &args.data else {
        return recordings(&args, &model, &prompts);
    };
    if args.predict.is_some() && args.task.len() > 1 {
        return Err(miette!(
            "`--predict` writes the scores of one label set, `--task` names {}; give one at a time",
            args.task.len()
        ));
    }
    let store = Store::open(data).shown()?;
    let calibration = args.calibrate.as_deref().map(Store::open);
    let calibration = calibration.transpose().shown()?;
    let map = args.map.as_deref().map(read_map).transpose().shown()?;
    let options = ZeroShotOptions {
        task: String::new(),
        shift: args.shift.clone().unwrap_or_default(),
        split: args.split,
        together: args.aggregate,
        similarity: args.similarity,
        windows: args.windows.options(),
        resamples: args.resamples,
        seed: args.seed,
        twin: !args.no_twin,
        map: map.unwrap_or_default(),
        against: args.against.clone(),
        calibrate: true,
        quality: super::text(args.quality.as_ref()),
        any_preprocessing: args.any_preprocessing,
    };
    let mut all = zero_shots(
        &model,
        &store,
        &prompts,
        calibration.as_ref(),
        &args.task,
        &options,
        &Bars,
    )
    .shown()?;
    for found in &mut all.sets {
        (found.model, found.data) = (Some(args.model.clone()), data.clone());
    }
    let mut text = String::new();
    for found in &all.sets {
        text.push_str(&measured(found));
        if let Some(path) = &args.predict {
            write_file(path, &predictions_csv(found).shown()?).shown()?;
        }
    }
    if let (Some(mean), 2..) = (all.mean_auroc, all.sets.len()) {
        text.push_str(&format!(
            "\nmean over {} label sets: AUROC {:.2}\n",
            all.sets.len(),
            100.0 * mean
        ));
    }
    output::print(&text)?;
    match &args.out {
        Some(out) => {
            let json = match all.sets.as_slice() {
                [one] => output::json_made_by(one, Some(&model), Some(&store)),
                _ => output::json_made_by(&all, Some(&model), Some(&store)),
            };
            output::write_file(out, json?.as_bytes())
        }
        None => Ok(()),
    }
}

/// What was found of a label set, in words.
fn measured(found: &ZeroShot) -> String {
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
    for other in &found.against {
        text.push_str(&format!(
            "\n{}, measured in the same way on {} records\n{}",
            printable(&other.name),
            other.ranking.records,
            ranking_table(&other.ranking)
        ));
    }
    match &found.decisions {
        Some(decisions) => text.push_str(&format!(
            "\nat the thresholds of best F1 on {} records of {} ({})\n{}\nScores are no probabilities.\n",
            decisions.records,
            decisions.chosen_on.display(),
            decisions.split,
            class_table(&decisions.metrics)
        )),
        None => text.push_str(
            "\nScores rank records and are no probabilities: the store has no other labelled records to choose thresholds on, so there are no decisions (`--calibrate STORE` gives some).\n",
        ),
    }
    text.push_str(&format!(
        "mean rank correlation between the scores of two labels: {:.2}\n",
        found.label_correlation
    ));
    if let Some(area) = found.shuffled_prompts {
        text.push_str(&format!(
            "with the sentences of other classes: AUROC {:.2}\n",
            100.0 * area
        ));
    }
    text.push_str(&super::used_line(&found.used));
    text
}

/// How recordings are read.
fn reading(args: &Args) -> ReadOptions {
    ReadOptions {
        open: args.read.options(LeadChoice::Voltages),
        ..args.windows.options().into()
    }
}

/// The scores of recordings.
fn recordings(args: &Args, model: &Model, prompts: &[Prompt]) -> miette::Result<()> {
    let mut paths = Vec::new();
    for input in &args.inputs {
        paths.extend(list(input).shown()?);
    }
    let allowed = super::allowed(args.max_failed, paths.len());
    let inputs = paths.clone().into_iter().map(Input::File);
    let names_told = told(&paths);
    let progress = Progress::new("zero-shot", paths.len(), "recordings");
    let (mut results, mut failures) = (Vec::new(), Vec::new());
    let mut unusable = UnusableRecords::default();
    let mut names = Pictures::default();
    let labels = prompts
        .iter()
        .map(|prompt| format!("{} ", printable(&prompt.label)));
    let mut table = Table::new(1, std::iter::once("recording".to_owned()).chain(labels));
    let found = scores_of(
        model,
        inputs,
        prompts,
        (args.aggregate, args.similarity),
        reading(args),
    )
    .shown()?;
    for ((path, told), found) in paths.iter().zip(&names_told).zip(found) {
        go_on(&Bars).shown()?;
        match found {
            Err(error) => failures.push(error.to_string()),
            Ok((scores, used)) => {
                let cells = scores.iter().map(|score| format!("{score:.3} "));
                let name = printable(told);
                table.row(std::iter::once(name).chain(cells));
                let scores = by_label(prompts, &scores);
                unusable.add(told, used.unusable_because.as_deref());
                let mut facts = json!({
                    "recording": told,
                    "usable": used.usable,
                    "scores": scores,
                    "used": used,
                });
                if let Some(dir) = &args.explain {
                    facts["silenced"] = pictures(args, model, prompts, path, dir, &mut names)?;
                }
                results.push(facts);
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
        "{table}\n{}Scores rank recordings and are no probabilities. Research use only, not a medical device.\n",
        unusable.in_words(paths.len())
    ))?;
    if let Some(out) = &args.out {
        let json = output::json_made_by(&results, Some(model), None)?;
        output::write_file(out, json.as_bytes())?;
    }
    Ok(())
}

/// The score of each label by its name.
pub(super) fn by_label(prompts: &[Prompt], scores: &[f32]) -> Value {
    let labels = prompts.iter().zip(scores);
    let scores = labels.map(|(prompt, score)| (prompt.label.clone(), json!(score)));
    Value::Object(scores.collect())
}

/// Draws what scores of a recording lose where parts are silenced; returns the figures.
fn pictures(
    args: &Args,
    model: &Model,
    prompts: &[Prompt],
    path: &Path,
    dir: &Path,
    names: &mut Pictures,
) -> miette::Result<Value> {
    let read = reading(args);
    let input = Input::File(path.to_owned());
    let found = occlusion_of(
        model,
        input,
        prompts,
        (args.aggregate, args.similarity),
        &read,
    )
    .shown()?;
    let labels = || prompts.iter().map(|own| own.label.as_str());
    let mut chosen = Vec::new();
    for class in &args.class {
        let place = labels().position(|label| label.eq_ignore_ascii_case(class));
        chosen.push(place.ok_or_else(|| {
            let known: Vec<&str> = labels().collect();
            miette!(
                "the prompts have no label `{class}`; they have {}",
                known.join(", ")
            )
        })?);
    }
    if chosen.is_empty() {
        let scores = found.scores.iter().enumerate();
        chosen.extend(
            scores
                .max_by(|a, b| a.1.total_cmp(b.1))
                .map(|(place, _)| place),
        );
    }
    let drawn = chosen.iter().map(|&place| {
        let path = names.draw_silenced(&found, place, &prompts[place].label, dir)?;
        Ok(path.display().to_string())
    });
    let drawn: Vec<String> = drawn.collect::<miette::Result<_>>()?;
    Ok(json!({"pictures": drawn, "losses": found}))
}
