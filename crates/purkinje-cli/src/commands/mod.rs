//! The commands: one file each, with its options and its output.

mod completions;
mod data_sets;
mod demo;
mod embed;
mod evaluate;
mod export_checkpoint;
mod finetune;
mod import_checkpoint;
mod inspect;
mod man;
mod predict;
mod prepare;
mod pretrain;
mod probe;
mod report;
mod store;
mod store_export;
mod text;
mod zero_shot;

use std::path::Path;

use clap::{Args, Subcommand};
use miette::WrapErr as _;
use purkinje::eval::crops::Aggregation;
use purkinje::keys::Described;
use purkinje::record::{FramePolicy, Lead, LeadChoice, LeadSet, OpenOptions, Repeated, Unit};
use purkinje::signal::Preprocess;
use purkinje::signal::windows::Take;
use purkinje::train::Span;
use purkinje::windows::Used;
use purkinje::{Registry, WindowOptions};

use crate::output::{count, printable};
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer as _};

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what is in a recording, its quality, and the input a model would get
    Inspect(inspect::Args),
    /// Preprocess a folder of recordings, or a published data set, into a store
    Prepare(prepare::Args),
    /// List the data sets that `prepare` supports, with their splits and options
    DataSets(data_sets::Args),
    /// Describe, verify, merge or export a store, check it for leakage, or write a report
    Store(store::Args),
    /// Pre-train an encoder on a store without labels
    Pretrain(pretrain::Args),
    /// Evaluate an encoder by fitting classification heads on its frozen vectors
    Probe(probe::Args),
    /// Fine-tune a classifier on labelled recordings
    Finetune(Box<finetune::Args>),
    /// Evaluate a classifier on labelled recordings
    Evaluate(evaluate::Args),
    /// Write vectors (embeddings) of recordings, leads, beats, lead groups or tokens
    Embed(embed::Args),
    /// Predict labels of recordings with probabilities, and explain them
    Predict(predict::Args),
    /// Diagnose by sentences, with a model of recordings and texts, without training
    ZeroShot(zero_shot::Args),
    /// Train what writes reports from recordings, write them, and score them
    Report(report::Args),
    /// Make an index of reports, show those that say something else, and word pieces
    Text(text::Args),
    /// Convert a published checkpoint to a model folder
    ImportCheckpoint(import_checkpoint::Args),
    /// Write the weights of a model under the parameter names of the original PyTorch program
    ExportCheckpoint(export_checkpoint::Args),
    /// Run all steps, from recordings to classifiers, on a small data set that comes with the program
    Demo(demo::Args),
    /// Print shell completions
    Completions(completions::Args),
    /// Write manual pages
    Man(man::Args),
}

impl Command {
    /// Runs the command.
    pub fn run(self, registry: &Registry) -> miette::Result<()> {
        match self {
            Command::Inspect(args) => inspect::run(args),
            Command::Prepare(args) => prepare::run(args),
            Command::DataSets(args) => data_sets::run(args),
            Command::Store(args) => store::run(args),
            Command::Pretrain(args) => pretrain::run(args, registry),
            Command::Probe(args) => probe::run(args, registry),
            Command::Finetune(args) => finetune::run(*args, registry),
            Command::Evaluate(args) => evaluate::run(args, registry),
            Command::Embed(args) => embed::run(args, registry),
            Command::ZeroShot(args) => zero_shot::run(args, registry),
            Command::Predict(args) => predict::run(args, registry),
            Command::Report(args) => report::run(args, registry),
            Command::Text(args) => text::run(args, registry),
            Command::ImportCheckpoint(args) => import_checkpoint::run(args, registry),
            Command::ExportCheckpoint(args) => export_checkpoint::run(args, registry),
            Command::Demo(args) => demo::run(args, registry),
            Command::Completions(args) => completions::run(args, registry),
            Command::Man(args) => man::run(args, registry),
        }
    }
}

/// Adds the parts of the command line that depend on the systems.
pub fn with_systems(command: clap::Command, registry: &Registry) -> clap::Command {
    command
        .mut_subcommand("pretrain", |own| pretrain::with_systems(own, registry))
        .mut_subcommand("import-checkpoint", |own| {
            import_checkpoint::with_systems(own, registry)
        })
        .mut_subcommand("finetune", |own| {
            own.after_help(finetune::settings_help(registry))
        })
}

/// A setting of a system with its value: `KEY=VALUE`.
#[derive(Clone, Debug)]
pub struct Assignment(pub String, pub String);

impl std::str::FromStr for Assignment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok(Assignment(key.trim().to_owned(), value.to_owned()))
            }
            _ => Err("expected KEY=VALUE".to_owned()),
        }
    }
}

impl From<Assignment> for (String, String) {
    fn from(Assignment(key, value): Assignment) -> Self {
        (key, value)
    }
}

/// The settings of a system with their defaults, for a help text.
pub fn keys_help(keys: &[Described]) -> String {
    if keys.is_empty() {
        return "This system has no settings of its own.".to_owned();
    }
    let mut text = "Settings (--set KEY=VALUE):".to_owned();
    for Described { key, default, help } in keys {
        text += &format!("\n  {key}={default}\n      {help}");
    }
    text
}

/// How much of each recording is used.
#[derive(Args, Clone, Debug)]
pub struct WindowArgs {
    /// Length of the windows that a recording is cut into, such as 10s [default: that of the model's preprocessing, else 10s]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    window: Option<f64>,
    /// Distance between the starts of windows, such as 5s [default: the length of a window]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    stride: Option<f64>,
    /// Windows to use: all, first, or a number of them, spread evenly; a last one shorter than half a window is left out [default: all;
    /// for models that follow a released program, what it took of a recording]
    #[arg(long, value_name = "WHICH")]
    windows: Option<Take>,
    /// Number of crops of each window, spread evenly, for models that crop [default: as many as see all of it]
    #[arg(long, value_name = "N")]
    crops: Option<usize>,
    /// How the results of windows, and of their crops, are aggregated: mean or max
    #[arg(long, default_value = "mean", value_parser = by_name::<Aggregation>)]
    aggregation: Aggregation,
}

impl WindowArgs {
    /// As the library takes them.
    pub fn options(&self) -> WindowOptions {
        WindowOptions {
            length_s: self.window,
            stride_s: self.stride,
            take: self.windows,
            crops: self.crops,
            aggregation: self.aggregation,
            each: false,
        }
    }
}

/// A line about what was used of all recordings, where that is not everything.
pub fn used_line(used: &Used) -> String {
    let words = used.in_words();
    words.map_or(String::new(), |words| format!("used: {words}\n"))
}

/// A length of training: `500` updates, `2e` epochs, `8%` of all updates.
pub fn span(text: &str) -> Result<Span, String> {
    let expected = || {
        "expected a number of updates (500), epochs (2e) or a percentage of all updates (8%)"
            .to_owned()
    };
    let text = text.trim();
    if let Some(percent) = text.strip_suffix('%') {
        return match percent.trim().parse::<f64>() {
            Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Span::Fraction(percent / 100.0)),
            _ => Err(expected()),
        };
    }
    match text.strip_suffix('e') {
        Some(epochs) => epochs.trim().parse().map(Span::Epochs),
        None => text.parse().map(Span::Updates),
    }
    .map_err(|_| expected())
}

/// What files of plain arrays or tables do not state.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Reading recordings")]
pub struct ReadArgs {
    /// Sampling rate of an array or a table without a time column
    #[arg(long, value_name = "HZ")]
    pub input_rate: Option<f64>,
    /// Leads of an array, in the order of its rows
    #[arg(long, value_name = "LEADS")]
    pub input_leads: Option<LeadSet>,
    /// Which array holds the samples (.npz, .mat, .h5): its name, its group, or what arrays of leads have in common ("strip_*")
    #[arg(long, value_name = "NAME")]
    pub input_array: Option<String>,
    /// Unit of an array or a table, or of leads whose own is no voltage: V, mV, uV or nV
    #[arg(long, value_name = "UNIT", value_parser = unit)]
    pub input_unit: Option<Unit>,
    /// Leads by names that no rule knows, in any format, such as "CH1=I,CH2=II"
    #[arg(long, value_name = "NAME=LEAD,...", value_delimiter = ',', value_parser = lead_name)]
    pub lead_names: Vec<(String, Lead)>,
    /// Which of several signals of one name is meant, in any format: refused (an error), first or last
    #[arg(long, value_name = "WHICH", default_value = "refused", value_parser = by_name::<Repeated>)]
    pub repeated: Repeated,
    /// Whether limb leads that a file does not hold are computed from two of I, II and III: yes or no
    #[arg(long, value_name = "YES_OR_NO", default_value = "yes", value_parser = yes_or_no, action = clap::ArgAction::Set)]
    pub derive: bool,
    /// What becomes of several samples a frame (WFDB): full keeps all, and leads of different rates are refused; average makes one of them
    #[arg(long, value_name = "HOW", default_value = "full", value_parser = by_name::<FramePolicy>)]
    pub frames: FramePolicy,
    /// Do not compare samples with the checksums of the file
    #[arg(long)]
    pub no_verify: bool,
    /// Follow links to files outside the folder of a header, as datalad and git-annex make them (WFDB)
    #[arg(long)]
    pub follow_links: bool,
    /// Read codings of SCP-ECG that have not been compared with another reader
    #[arg(long)]
    pub unverified: bool,
}

impl ReadArgs {
    /// Options for reading; `leads` chooses the signals that become leads.
    pub fn options(&self, leads: LeadChoice) -> OpenOptions {
        OpenOptions {
            leads,
            rate_hz: self.input_rate,
            array_leads: self.input_leads.clone(),
            array: self.input_array.clone(),
            unit: self.input_unit,
            lead_names: self.lead_names.clone(),
            repeated: self.repeated,
            derive: self.derive,
            frames: self.frames,
            verify: !self.no_verify,
            links_outside: self.follow_links,
            unverified: self.unverified,
            ..OpenOptions::default()
        }
    }
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("expected yes or no".to_owned()),
    }
}

fn lead_name(text: &str) -> Result<(String, Lead), String> {
    match text.split_once('=') {
        Some((name, lead)) if !name.trim().is_empty() && !lead.trim().is_empty() => {
            Ok((name.trim().to_owned(), Lead::parse(lead)))
        }
        _ => Err("expected a name and a lead, such as CH1=II".to_owned()),
    }
}

fn unit(text: &str) -> Result<Unit, String> {
    text.parse::<Unit>().map_err(|error| error.to_string())
}

/// Parses a time in a recording, in seconds: `2.5`, `10s`.
pub fn seconds(text: &str) -> Result<f64, String> {
    let text = text.trim();
    let number = text.strip_suffix('s').unwrap_or(text);
    match number.trim_end().parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => Ok(seconds),
        _ => Err("expected a number of seconds, 0 or more, such as 10s".to_owned()),
    }
}

/// Parses the name of a preset of preprocessing.
pub fn preset(name: &str) -> Result<Preprocess, String> {
    Preprocess::preset(name).map_err(|error| error.to_string())
}

/// Parses a choice by its name in configurations.
pub fn by_name<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let text: StrDeserializer<'_, serde::de::value::Error> = text.into_deserializer();
    T::deserialize(text).map_err(|error| error.to_string())
}

/// The text of a value; empty if absent.
pub fn text(value: Option<&impl ToString>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

/// The last part of a path, as the name of a model.
pub fn last_part(path: &Path) -> String {
    let last = path.components().next_back();
    last.map_or("model".into(), |c| {
        c.as_os_str().to_string_lossy().into_owned()
    })
}

/// Parses a limit on failures: `5%` or a number of records.
pub fn failure_limit(text: &str) -> Result<purkinje::store::FailureLimit, String> {
    use purkinje::store::FailureLimit;
    let wrong =
        || format!("found `{text}`, expected a percentage (5%) or a number of records (20)");
    match text.trim().strip_suffix('%') {
        Some(percent) => match percent.trim().parse::<f64>() {
            Ok(percent) if (0.0..=100.0).contains(&percent) => {
                Ok(FailureLimit::Fraction(percent / 100.0))
            }
            _ => Err(wrong()),
        },
        None => text
            .trim()
            .parse()
            .map(FailureLimit::Count)
            .map_err(|_| wrong()),
    }
}

/// Notes the recordings that could not be used.
///
/// # Errors
/// When more failed than `allowed`.
pub fn report(failures: &[String], records: usize, allowed: usize) -> miette::Result<()> {
    if let ([only], 1) = (failures, records) {
        miette::bail!("{only}");
    }
    for failure in failures {
        crate::progress::note(format_args!("left out: {failure}"));
    }
    match failures.first() {
        Some(first) if failures.len() > allowed => Err(miette::miette!("{first}")).wrap_err(format!(
            "{} of {records} recordings cannot be used, more than the {allowed} allowed (`--max-failed`)",
            failures.len()
        )),
        _ => Ok(()),
    }
}

/// Recordings whose quality allows no result, by name, with the reason.
#[derive(Default)]
pub struct UnusableRecords {
    named: Vec<(String, String)>,
    count: usize,
}

impl UnusableRecords {
    /// Recordings that are named; the others are counted.
    const NAMED: usize = 10;

    /// Adds a recording if its quality allows no result.
    pub fn add(&mut self, name: &str, unusable_because: Option<&str>) {
        let Some(reason) = unusable_because else {
            return;
        };
        self.count += 1;
        if self.named.len() < Self::NAMED {
            self.named.push((printable(name), printable(reason)));
        }
    }

    /// What to say about them; nothing where there are none.
    pub fn in_words(&self, records: usize) -> String {
        if self.count == 0 {
            return String::new();
        }
        let mut text = format!(
            "{} of {}: the quality allows no result (`usable` is false)\n",
            self.count,
            count(records, "recording")
        );
        for (name, reason) in &self.named {
            text += &format!("  {name}: {reason}\n");
        }
        if self.count > self.named.len() {
            text += &format!("  and {} more\n", self.count - self.named.len());
        }
        text
    }

    /// Warns of them on standard error.
    pub fn warn(&self, records: usize) {
        let text = self.in_words(records);
        if !text.is_empty() {
            crate::progress::note(format_args!("warning: {}", text.trim_end()));
        }
    }
}

/// The number of `records` that may fail.
pub fn allowed(limit: purkinje::store::FailureLimit, records: usize) -> usize {
    match limit {
        purkinje::store::FailureLimit::Count(count) => count,
        purkinje::store::FailureLimit::Fraction(fraction) => (fraction * records as f64) as usize,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use purkinje::store::FailureLimit;

    #[test]
    fn lengths_are_updates_epochs_or_fractions() {
        assert_eq!(span("500"), Ok(Span::Updates(500)));
        assert_eq!(span("2e"), Ok(Span::Epochs(2)));
        assert_eq!(span("8%"), Ok(Span::Fraction(0.08)));
        for wrong in ["", "e", "-1", "1.5", "101%"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn unusable_recordings_are_named_and_counted() {
        let mut own = UnusableRecords::default();
        own.add("fine", None);
        assert_eq!(own.in_words(3), "");
        for name in 0..12 {
            own.add(&format!("r{name}"), Some("it is mostly noise"));
        }
        let text = own.in_words(20);
        assert!(text.starts_with("12 of 20 recordings: "), "{text}");
        assert!(
            text.contains("\n  r9: it is mostly noise\n  and 2 more\n"),
            "{text}"
        );
    }

    #[test]
    fn limits_are_percentages_or_numbers() {
        assert_eq!(failure_limit("5%"), Ok(FailureLimit::Fraction(0.05)));
        assert_eq!(failure_limit("20"), Ok(FailureLimit::Count(20)));
        for wrong in ["-1", "101%", "x", "0.05"] {
            assert!(failure_limit(wrong).is_err(), "{wrong}");
        }
        assert_eq!(allowed(FailureLimit::Fraction(0.05), 39), 1);
    }
}
