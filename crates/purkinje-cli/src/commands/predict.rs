//! `purkinje predict`: predicts labels of recordings with probabilities, and explains them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use miette::miette;
use purkinje::figures::{Svg, raster};
use purkinje::inputs::{BeatSource, Input, ReadOptions, list, told};
use purkinje::leads::WantedLeads;
use purkinje::models::checkpoint::Labels;
use purkinje::occlusion::Occlusion;
use purkinje::predict::{PredictOptions, Prediction};
use purkinje::prompts::read_prompts;
use purkinje::record::LeadChoice;
use purkinje::reporter::go_on;
use purkinje::reports::{SENTENCE, WriteOptions, write_reports};
use purkinje::store::FailureLimit;
use purkinje::timeline::TimelineFile;
use purkinje::zero_shot::{Together, scores_of};
use purkinje::{Device, Model, Registry};
use serde_json::{Value, json};

use super::zero_shot::by_label;
use super::{ReadArgs, UnusableRecords, WindowArgs};
use crate::output::{self, Show as _, Table, printable};
use crate::progress::{Bars, Progress, note, suspended};

/// Options of `predict`.
#[derive(clap::Args, Debug)]
#[command(group = clap::ArgGroup::new("pictures").args(["explain", "timeline_pictures"]))]
pub struct Args {
    /// Recordings, or folders of recordings
    #[arg(required = true, value_name = "RECORD")]
    records: Vec<PathBuf>,
    /// Folder of the model, or of the run that made it
    #[arg(long, value_name = "RUN")]
    model: PathBuf,
    /// Sentences for each label, for a model of recordings and texts: the score of each label by its sentences, without a trained head. A model
    /// that writes reports adds its report in any case
    #[arg(long, value_name = "FILE", conflicts_with_all = ["explain", "timeline", "timeline_pictures", "leads", "beats"])]
    prompts: Option<PathBuf>,
    /// Write JSON to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// JSON as a line for each recording, on standard output as soon as it is predicted, instead of one list
    #[arg(long)]
    json_lines: bool,
    /// Print a table instead of JSON
    #[arg(long)]
    table: bool,
    /// Largest percentage or number of recordings that may fail; the JSON lists them with their errors in any case
    #[arg(long, value_name = "LIMIT", default_value = "0", value_parser = super::failure_limit)]
    max_failed: FailureLimit,
    /// Write pictures to this folder that show which leads and beats speak for and against a label, or, where logits are no sums over leads,
    /// what they lose where a lead, or 200 ms of all leads, of the first window is silenced
    #[arg(long, value_name = "DIR")]
    explain: Option<PathBuf>,
    /// Explain or draw this label; may be repeated [default: the most probable ones, see --top]
    #[arg(long, value_name = "LABEL", requires = "pictures")]
    class: Vec<String>,
    /// Explain or draw this many of the most probable labels
    #[arg(
        long,
        value_name = "N",
        requires = "pictures",
        conflicts_with = "class",
        default_value_t = 3
    )]
    top: usize,
    /// Write the probabilities of every window, with its start, to this file: .json or .parquet
    #[arg(long, value_name = "FILE", conflicts_with = "explain")]
    timeline: Option<PathBuf>,
    /// Write a picture for each recording to this folder: the window in which a label is most probable on ECG paper, and the
    /// probabilities over time
    #[arg(long, value_name = "DIR")]
    timeline_pictures: Option<PathBuf>,
    /// Leads to use, such as I,II,V2 or limb; `present` uses those that each recording has [default: all leads of the
    /// model]
    #[arg(long, value_name = "LEADS")]
    leads: Option<WantedLeads>,
    /// Device: cpu, or cuda, cuda:1, vulkan, metal, webgpu or rocm if built in
    #[arg(long, default_value = "cpu")]
    device: Device,
    #[command(flatten)]
    windows: WindowArgs,
    /// R-peaks: detect, or file for those that the file brings (`.atr` or `.qrs` beside a WFDB header, beats annotated in EDF+ and
    /// aECG files)
    #[arg(long, default_value = "detect", value_parser = super::by_name::<BeatSource>)]
    beats: BeatSource,
    #[command(flatten)]
    read: ReadArgs,
}

/// Runs the command.
pub fn run(args: Args, registry: &Registry) -> miette::Result<()> {
    let model = Model::load_with(&args.model, &args.device, registry).shown()?;
    // What only a head can give falls through to the message that there is none.
    let plain = args.explain.is_none()
        && args.timeline.is_none()
        && args.timeline_pictures.is_none()
        && args.leads.is_none();
    if args.prompts.is_some() || (model.labels().is_none() && model.writes() && plain) {
        return without_head(&args, &model);
    }
    let labels = model.labelled().shown()?.clone();
    let chosen = args
        .class
        .iter()
        .map(|name| model.label(name).shown())
        .collect::<miette::Result<Vec<_>>>()?;
    let mut paths = Vec::new();
    for path in &args.records {
        paths.extend(list(path).shown()?);
    }
    let options = PredictOptions {
        read: reading(&args),
        explain: args.explain.is_some() && model.explains(),
    };
    let records = paths.len();
    let mut reports = reports(&args, &model, &paths)?.into_iter();
    let progress = Progress::new("predict", records, "recordings");
    let mut pictures = Pictures::default();
    let timeline = args.timeline.as_deref().map(TimelineFile::begin);
    let mut timeline = timeline.transpose().shown()?;
    let (mut results, mut rows, mut failures) =
        (Results::new(&args, &model), Vec::new(), Vec::new());
    let mut notes = Vec::new();
    let mut unusable = UnusableRecords::default();
    let inputs = paths.iter().cloned().map(Input::File);
    let read = options.read.clone();
    for (path, prediction) in paths
        .iter()
        .zip(model.predict_all(inputs, options).shown()?)
    {
        go_on(&Bars).shown()?;
        progress.add(1);
        let report = reports.next();
        let one = match prediction {
            Ok(one) => one,
            Err(error) => {
                let problem = error.to_string();
                let called = told(std::slice::from_ref(path)).concat();
                results.add(failed(&called, &problem, error.code()))?;
                failures.push(problem);
                continue;
            }
        };
        let mut facts = serde_json::to_value(&one).map_err(|error| miette!("JSON: {error}"))?;
        match report {
            None => {}
            Some(Ok(report)) => facts["report"] = report,
            Some(Err((problem, code))) => {
                facts["report"] = json!({"error": {"code": code, "message": problem}});
                failures.push(format!("{problem} (no report)"));
            }
        }
        let classes = match &chosen[..] {
            [] => one.most_probable(args.top),
            chosen => chosen.to_vec(),
        };
        if let Some(dir) = &args.explain {
            let input = (Input::File(path.clone()), &read);
            explain(
                &model,
                &one,
                input,
                &classes,
                (dir, &mut pictures),
                &mut facts,
            )?;
        }
        if let (Some(dir), Some(first)) = (&args.timeline_pictures, classes.first()) {
            let path = pictures.draw_timeline(&one, *first, &classes, dir)?;
            facts["timeline_picture"] = json!(path.display().to_string());
        }
        if let Some(file) = &mut timeline {
            file.add(&one).shown()?;
        }
        say_left_aside(&one);
        unusable.add(&one.id, one.used.unusable_because.as_deref());
        if let Some(words) = one.used.in_words() {
            notes.push(format!("{}: used {words}", printable(&one.id)));
        }
        rows.push(cells(&one));
        results.add(facts)?;
    }
    progress.finish();
    if let Some(file) = timeline {
        file.finish().shown()?;
    }
    results.show(|| table(&labels, &rows, &notes, &unusable.in_words(records)))?;
    if !args.table {
        unusable.warn(records);
    }
    super::report(&failures, records, super::allowed(args.max_failed, records))
}

/// The entry of a recording that cannot be used.
fn failed(path: &str, problem: &str, code: &str) -> Value {
    json!({"path": path, "error": {"code": code, "message": problem}})
}

/// Results as JSON, in the order of the recordings.
struct Results<'a> {
    args: &'a Args,
    model: &'a Model,
    all: Vec<Value>,
}

impl<'a> Results<'a> {
    fn new(args: &'a Args, model: &'a Model) -> Self {
        Results {
            args,
            model,
            all: Vec::new(),
        }
    }

    /// Adds the result of a recording; prints it where lines go to standard output.
    fn add(&mut self, facts: Value) -> miette::Result<()> {
        match self.args.json_lines && self.args.json.is_none() && !self.args.table {
            true => suspended(|| output::print(&format!("{facts}\n"))),
            false => {
                self.all.push(facts);
                Ok(())
            }
        }
    }

    /// Writes results to the file that was named, and prints the table or, where there is no file, the results.
    fn show(self, table: impl FnOnce() -> String) -> miette::Result<()> {
        let Results { args, model, all } = self;
        if let Some(path) = &args.json {
            let text = match args.json_lines {
                true => all.iter().map(|facts| format!("{facts}\n")).collect(),
                false => output::json_made_by(&all, Some(model), None)?,
            };
            output::write_file(path, text.as_bytes())?;
        }
        match (args.table, &args.json) {
            (true, _) => output::print(&table()),
            (false, None) if !args.json_lines => output::print_json(&all),
            (false, _) => Ok(()),
        }
    }
}

/// Draws why labels were predicted; the facts get the paths of the pictures.
fn explain(
    model: &Model,
    one: &Prediction,
    (input, read): (Input<'_>, &ReadOptions),
    classes: &[usize],
    (dir, pictures): (&Path, &mut Pictures),
    facts: &mut Value,
) -> miette::Result<()> {
    // Where a logit is no sum over leads, leads and stretches are silenced in turn.
    let silenced = match model.explains() {
        true => None,
        false => Some(model.occlude_labels(input, read).shown()?),
    };
    for &class in classes {
        let path = match &silenced {
            None => pictures.draw(one, class, dir)?,
            Some(own) => pictures.draw_silenced(own, class, &one.labels[class].name, dir)?,
        };
        facts["labels"][class]["picture"] = json!(path.display().to_string());
    }
    if let Some(own) = &silenced {
        facts["silenced"] = json!(own);
    }
    Ok(())
}

/// Names the signals that a model saw nothing of because no rule knows their names.
fn say_left_aside(one: &Prediction) {
    if let Some(first) = one.left_aside.first() {
        let names: Vec<String> = one.left_aside.iter().map(|name| printable(name)).collect();
        note(format!(
            "{}: left aside: {} (no known lead; `--lead-names \"{}=II\"` says which one it is)",
            printable(&one.id),
            names.join(" "),
            printable(first),
        ));
    }
}

/// How recordings are read, the same for labels, scores and reports.
fn reading(args: &Args) -> ReadOptions {
    ReadOptions {
        leads: args.leads.clone(),
        open: args.read.options(LeadChoice::Voltages),
        windows: args.windows.options(),
        beats: args.beats,
    }
}

/// The generated report of each recording, with what it is, or why there is none; nothing for models that write none.
fn reports(
    args: &Args,
    model: &Model,
    paths: &[PathBuf],
) -> miette::Result<Vec<Result<Value, (String, &'static str)>>> {
    if !model.writes() {
        return Ok(Vec::new());
    }
    let named = |path: &PathBuf| (path.display().to_string(), Input::File(path.clone()));
    let inputs = paths.iter().map(named).collect();
    let how = WriteOptions::default();
    let found = write_reports(model, inputs, reading(args), &how, &Bars).shown()?;
    let each = found.into_iter().map(|found| {
        let own = found.map_err(|error| (error.to_string(), error.code()))?;
        Ok(json!({
            "text": own.report.report,
            "score": own.report.score,
            "tokens": own.report.tokens,
            "cut": own.report.cut,
            "note": own.note,
            "unusable_because": own.unusable_because,
        }))
    });
    Ok(each.collect())
}

/// What a model without a head says: the scores of labels by sentences, and the report that it writes.
fn without_head(args: &Args, model: &Model) -> miette::Result<()> {
    let mut paths = Vec::new();
    for path in &args.records {
        paths.extend(list(path).shown()?);
    }
    let prompts = args
        .prompts
        .as_deref()
        .map(read_prompts)
        .transpose()
        .shown()?;
    let reports = reports(args, model, &paths)?;
    let mut scores = Vec::new();
    if let Some(prompts) = &prompts {
        let inputs = paths.clone().into_iter().map(Input::File);
        let how = (Together::Mean, None);
        let found = scores_of(model, inputs, prompts, how, reading(args)).shown()?;
        let progress = Progress::new("predict", paths.len(), "recordings");
        for found in found {
            go_on(&Bars).shown()?;
            scores.push(found.map_err(|error| (error.to_string(), error.code())));
            progress.add(1);
        }
        progress.finish();
    }
    let names = prompts.iter().flatten();
    let header = names.map(|prompt| format!("{} ", printable(&prompt.label)));
    let mut table = Table::new(1, std::iter::once("recording".to_owned()).chain(header));
    let (mut results, mut failures, mut lines) =
        (Results::new(args, model), Vec::new(), String::new());
    let mut unusable = UnusableRecords::default();
    let (mut reports, mut scores) = (reports.into_iter(), scores.into_iter());
    for path in told(&paths) {
        let mut facts = json!({"path": path});
        let (report, own) = (reports.next().transpose(), scores.next().transpose());
        let (report, own) = match (report, own) {
            (Ok(report), Ok(own)) => (report, own),
            (Err((problem, code)), _) | (_, Err((problem, code))) => {
                results.add(failed(&path, &problem, code))?;
                failures.push(problem);
                continue;
            }
        };
        let name = printable(&path);
        if let (Some(prompts), Some((scores, used))) = (&prompts, own) {
            let cells = scores.iter().map(|score| format!("{score:.3} "));
            table.row(std::iter::once(name.clone()).chain(cells));
            facts["usable"] = json!(used.usable);
            unusable.add(&name, used.unusable_because.as_deref());
            facts["scores"] = by_label(prompts, &scores);
            facts["used"] = json!(used);
        }
        if let Some(report) = report {
            let text = report["text"].as_str().unwrap_or_default();
            lines += &format!("{name}: {}\n", printable(text));
            if prompts.is_none() {
                let reason = report["unusable_because"].as_str();
                facts["usable"] = json!(reason.is_none());
                unusable.add(&name, reason);
            }
            facts["report"] = report;
        }
        results.add(facts)?;
    }
    let records = paths.len();
    results.show(|| {
        let scores = match &prompts {
            None => String::new(),
            Some(_) => format!("{table}\nScores rank recordings and are no probabilities.\n"),
        };
        let unusable = unusable.in_words(records);
        format!("{scores}{lines}{unusable}{SENTENCE}\n")
    })?;
    if !args.table {
        unusable.warn(records);
    }
    super::report(&failures, records, super::allowed(args.max_failed, records))
}

/// A row of the table: the recording and its probabilities, with a star at or above the threshold, and whether its quality allows them.
fn cells(one: &Prediction) -> Vec<String> {
    let probabilities = one.labels.iter().map(|label| {
        let star = match label.present {
            Some(true) => "*",
            _ => " ",
        };
        format!("{:.3}{star}", label.probability)
    });
    let usable = match one.used.usable {
        Some(false) => "NO",
        _ => "yes",
    };
    [printable(&one.id)]
        .into_iter()
        .chain(probabilities)
        .chain([usable.to_owned()])
        .collect()
}

/// The table of all recordings, and what was not used of them.
fn table(labels: &Labels, rows: &[Vec<String>], notes: &[String], unusable: &str) -> String {
    /// Lines about single recordings that are printed.
    const MOST_NOTES: usize = 10;
    // With more labels than this, each is on a line of its own.
    const MOST_COLUMNS: usize = 12;
    let names: Vec<String> = labels.classes.iter().map(|c| printable(&c.name)).collect();
    let stars = match labels.classes.iter().all(|class| class.threshold.is_none()) {
        true => "This model has no thresholds.",
        false => "* at or above the threshold of the label.",
    };
    let mut note = format!("{stars} Research use only, not a medical device.\n{unusable}");
    for line in notes.iter().take(MOST_NOTES) {
        note += &format!("{line}\n");
    }
    if let Some(more @ 1..) = notes.len().checked_sub(MOST_NOTES) {
        note +=
            &format!("and {more} more recordings of which not everything was used; see `--json`\n");
    }
    if names.len() <= MOST_COLUMNS {
        let header = ["recording".to_owned()].into_iter();
        let names = names.iter().map(|name| format!("{name} "));
        let mut table = Table::new(1, header.chain(names).chain(["usable".to_owned()]));
        rows.iter().for_each(|row| table.row(row.clone()));
        return format!("{table}\n{note}");
    }
    let mut text = String::new();
    for row in rows {
        let mut table = Table::new(1, [row[0].clone(), String::new()]);
        let names = names.iter().map(String::as_str).chain(["usable"]);
        for (name, value) in names.zip(&row[1..]) {
            table.row([format!("  {name}"), value.clone()]);
        }
        text += &format!("{table}\n");
    }
    text + &note
}

/// Writes pictures of explanations under unique names.
#[derive(Default)]
pub(super) struct Pictures {
    names: HashSet<String>,
}

impl Pictures {
    /// Draws what a score loses where parts are silenced, as SVG and PNG; the path is that of the PNG.
    pub(super) fn draw_silenced(
        &mut self,
        of: &Occlusion,
        number: usize,
        title: &str,
        dir: &Path,
    ) -> miette::Result<PathBuf> {
        let stem = self.name(&format!("{}-{title}", of.id));
        let svg = of.svg(number, title).shown()?;
        output::write_file(&dir.join(format!("{stem}.svg")), svg.to_string().as_bytes())?;
        let path = dir.join(format!("{stem}.png"));
        output::write_file(&path, &of.png(number, title).shown()?)?;
        Ok(path)
    }

    /// Draws as SVG and PNG; the path is that of the PNG.
    fn draw(&mut self, one: &Prediction, class: usize, dir: &Path) -> miette::Result<PathBuf> {
        let explanation = one
            .explanation(class)
            .ok_or_else(|| miette!("`{}`: the prediction has no explanation", one.id))?;
        let stem = self.name(&format!("{}-{}", one.id, explanation.label));
        let svg = explanation.svg().shown()?;
        output::write_file(&dir.join(format!("{stem}.svg")), svg.to_string().as_bytes())?;
        let path = dir.join(format!("{stem}.png"));
        output::write_file(&path, &explanation.png().shown()?)?;
        Ok(path)
    }

    /// Draws the timeline as SVG and PNG; the path is that of the PNG.
    fn draw_timeline(
        &mut self,
        one: &Prediction,
        class: usize,
        others: &[usize],
        dir: &Path,
    ) -> miette::Result<PathBuf> {
        let svg = one.timeline_svg(class, others).shown()?;
        let title = format!("{}-timeline", one.id);
        self.save(&title, &svg, raster::CRISP_DPI / 2.0, dir)
    }

    /// Writes a picture as SVG and PNG; the path is that of the PNG.
    pub(super) fn save(
        &mut self,
        title: &str,
        svg: &Svg,
        dpi: f64,
        dir: &Path,
    ) -> miette::Result<PathBuf> {
        let stem = self.name(title);
        output::write_file(&dir.join(format!("{stem}.svg")), svg.to_string().as_bytes())?;
        let path = dir.join(format!("{stem}.png"));
        let png = raster::png(svg, dpi);
        let png = png.map_err(|error| miette!("cannot draw `{}`: {error}", path.display()))?;
        output::write_file(&path, &png)?;
        Ok(path)
    }

    /// A file name that is unique in this run.
    fn name(&mut self, wanted: &str) -> String {
        let plain: String = wanted
            .chars()
            .map(|c| {
                if c.is_alphanumeric() || "-_.+".contains(c) {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        let plain = plain.trim_start_matches('.').to_owned();
        let mut name = plain.clone();
        let mut n = 2;
        while !self.names.insert(name.clone()) {
            name = format!("{plain}-{n}");
            n += 1;
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_have_names_of_their_own() {
        let mut pictures = Pictures::default();
        assert_eq!(pictures.name("a/b-AF?"), "a_b-AF_");
        assert_eq!(pictures.name("a/b-AF?"), "a_b-AF_-2");
        assert_eq!(pictures.name("../x"), "_x");
    }
}
