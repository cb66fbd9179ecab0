//! `purkinje embed`: writes vectors of recordings, leads, beats, lead groups or tokens as a table.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use purkinje::embed::journal::{Journal, key};
use purkinje::embed::table::Table;
use purkinje::inputs::{BeatSource, Input, ReadOptions, StoreRows, list};
use purkinje::leads::WantedLeads;
use purkinje::record::LeadChoice;
use purkinje::reporter::go_on;
use purkinje::store::{FailureLimit, QualityFilter, Store};
use purkinje::texts::{Text, read_texts};
use purkinje::windows::Used;
use purkinje::zero_shot::text_vectors;
use purkinje::{Device, Level, Model, Registry, WindowOptions};

use super::{ReadArgs, UnusableRecords, WindowArgs};
use crate::output::{self, Show as _, count};
use crate::progress::{Bars, Progress, note};

/// Options of `embed`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Recordings, folders of recordings, or stores
    #[arg(required_unless_present = "texts", value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Texts to embed instead, with a model of recordings and texts: a .csv, .tsv or .parquet table, or a file with a text in each line
    #[arg(long, value_name = "FILE", conflicts_with_all = ["inputs", "per", "leads", "quality", "each_window", "beats"])]
    texts: Option<PathBuf>,
    /// Column of the texts in their table [default: text, report, reports, statements, or the only one]
    #[arg(long, value_name = "NAME", requires = "texts")]
    column: Option<String>,
    /// Folder of the model, or of the run that made it
    #[arg(long, value_name = "RUN")]
    model: PathBuf,
    /// File to write: .parquet, or .npy with the other columns in .npy.json beside it
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Unit that each vector stands for
    #[arg(long, default_value = "recording")]
    per: Per,
    /// Which vector of a recording, where the model has several, such as mix or align [default: that of the model]
    #[arg(long, value_name = "NAME")]
    feature: Option<String>,
    /// Leads to use, such as I,II,V2 or limb; `present` uses those that each recording has [default: all leads of the
    /// model]
    #[arg(long, value_name = "LEADS")]
    leads: Option<WantedLeads>,
    /// For stores: use only records whose signal quality keeps these limits, such as
    /// `flat=0,missing=10%,limb=ok,noise_mv=0.05`
    #[arg(long, value_name = "FILTER")]
    quality: Option<QualityFilter>,
    /// Accept a store that was prepared differently than the model expects
    #[arg(long)]
    any_preprocessing: bool,
    /// Largest percentage or number of recordings that may fail
    #[arg(long, value_name = "LIMIT", default_value = "5%", value_parser = super::failure_limit)]
    max_failed: FailureLimit,
    /// Device: cpu, or cuda, cuda:1, vulkan, metal, webgpu or rocm if built in
    #[arg(long, default_value = "cpu")]
    device: Device,
    #[command(flatten)]
    windows: WindowArgs,
    /// R-peaks: detect, or file for those that the file brings (`.atr` or `.qrs` beside a WFDB header, beats annotated in EDF+ and
    /// aECG files)
    #[arg(long, default_value = "detect", value_parser = super::by_name::<BeatSource>)]
    beats: BeatSource,
    /// Write the vectors of every window, with its start, instead of one for the recording
    #[arg(long)]
    each_window: bool,
    #[command(flatten)]
    read: ReadArgs,
}

/// Unit that each vector stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Per {
    /// One vector per recording: the mean over its leads, or over its tokens
    Recording,
    /// One vector per lead
    Lead,
    /// One vector per heartbeat in each lead
    Beat,
    /// One vector per lead group of the head (limb, augmented, chest, their pairs, all)
    Group,
    /// One vector per token: a stretch of a lead, or across the border of two leads
    Token,
}

impl From<Per> for Level {
    fn from(per: Per) -> Level {
        match per {
            Per::Recording => Level::Recording,
            Per::Lead => Level::Lead,
            Per::Beat => Level::Beat,
            Per::Group => Level::Group,
            Per::Token => Level::Token,
        }
    }
}

/// Runs the command.
pub fn run(args: Args, registry: &Registry) -> miette::Result<()> {
    let mut model = Model::load_with(&args.model, &args.device, registry).shown()?;
    if let Some(name) = &args.feature {
        model = model.with_feature(name).shown()?;
    }
    if let Some(path) = &args.texts {
        return texts(&args, path, &model);
    }
    let level = Level::from(args.per);
    model.check_level(level).shown()?;
    let stores = stores_of(&args.inputs)?;
    let sets = label_sets(&stores);
    let of = (level, args.each_window);
    let begin = || match stores.iter().any(Option::is_some) {
        true => Table::begin_stored(&args.out, &model, &args.model, of, &sets),
        false => Table::begin(&args.out, &model, &args.model, of.0, of.1),
    };
    // A name or a folder that cannot be written is found before the work.
    drop(begin().shown()?);
    let rows = stores
        .iter()
        .map(|store| {
            let store = store.as_ref();
            store.map(|s| StoreRows::new(&model, s, args.leads.as_ref(), args.any_preprocessing))
        })
        .map(Option::transpose)
        .collect::<Result<Vec<_>, _>>()
        .shown()?;
    let mut inputs = Vec::new();
    for (path, rows) in args.inputs.iter().zip(&rows) {
        match rows {
            None => inputs.extend(list(path).shown()?.into_iter().map(Input::File)),
            Some(rows) => {
                let store = rows.store();
                let kept = match &args.quality {
                    None => (0..store.len()).collect(),
                    Some(quality) => store.indices_of_quality(quality),
                };
                inputs.extend(kept.into_iter().map(|row| Input::Row(rows, row)));
            }
        }
    }
    let records = inputs.len();
    let allowed = super::allowed(args.max_failed, records);
    let options = ReadOptions {
        leads: args.leads.clone(),
        open: args.read.options(LeadChoice::Voltages),
        windows: WindowOptions {
            each: args.each_window,
            ..args.windows.options()
        },
        beats: args.beats,
    };
    let key = key(&model, level, &inputs, &options).shown()?;
    let mut journal = Journal::open(&args.out, &key).shown()?;
    say_resumed(&journal, records);
    embed_rest(&model, inputs, (level, options), &mut journal, allowed)?;
    let fingerprints = stores
        .iter()
        .flatten()
        .map(|store| store.info().fingerprint.clone());
    let table = begin().shown()?;
    let mut table = table.made_by(output::command_line(), fingerprints.collect());
    let (mut failures, mut used) = (Vec::new(), Used::default());
    let mut unusable = UnusableRecords::default();
    for embedded in journal.replay().shown()? {
        match embedded.shown()? {
            Ok(embedded) => {
                used.add(&embedded.used);
                unusable.add(&embedded.id, embedded.used.unusable_because.as_deref());
                table.add(&embedded).shown()?;
            }
            Err(reason) => failures.push(reason),
        }
    }
    unusable.warn(records);
    let vectors = table.rows();
    // Nothing is kept where no recording could be used.
    if journal.done() == journal.failed() {
        journal.remove().shown()?;
        super::report(&failures, records, allowed)?;
        table.finish().shown()?;
    } else {
        super::report(&failures, records, allowed)?;
        table.finish().shown()?;
        journal.remove().shown()?;
    }
    output::print(&format!(
        "{}: {} of length {} from {}{}\n{}",
        args.out.display(),
        count(vectors, "vector"),
        model.width(),
        count(records - failures.len(), "recording"),
        match failures.len() {
            0 => String::new(),
            n => format!(", {n} left out"),
        },
        super::used_line(&used)
    ))
}

/// Says from where an interrupted run goes on.
fn say_resumed(journal: &Journal, records: usize) {
    if journal.replaced_another() {
        note("an interrupted run of other inputs or settings was dropped");
    }
    if journal.done() > 0 {
        note(format_args!(
            "{} of {} are already done",
            journal.done(),
            count(records, "recording")
        ));
    }
}

/// The label sets of the stores, each once.
fn label_sets(stores: &[Option<Store>]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let sets = stores.iter().flatten();
    for set in sets.flat_map(|store| &store.info().label_sets) {
        if !names.contains(&set.name) {
            names.push(set.name.clone());
        }
    }
    names
}

/// Embeds the recordings that are not done, until more than `allowed` have failed.
fn embed_rest(
    model: &Model,
    inputs: Vec<Input<'_>>,
    (level, options): (Level, ReadOptions),
    journal: &mut Journal,
    allowed: usize,
) -> miette::Result<()> {
    let progress = Progress::new("embed", inputs.len(), "recordings");
    progress.resume(journal.done());
    let rest = inputs.into_iter().skip(journal.done());
    for embedded in model.embed_all(rest, level, options).shown()? {
        if journal.failed() > allowed {
            break;
        }
        go_on(&Bars).shown()?;
        let embedded = embedded.map_err(|error| error.to_string());
        journal.add(&embedded).shown()?;
        progress.add(1);
    }
    progress.finish();
    Ok(())
}

/// Embeds texts.
fn texts(args: &Args, path: &Path, model: &Model) -> miette::Result<()> {
    // Texts of a pass over the network, of which those of one length share a batch.
    const CHUNK: usize = 4096;
    let texts = read_texts(path, args.column.as_deref()).shown()?;
    let table = Table::begin_texts(&args.out, model, &args.model).shown()?;
    let mut table = table.made_by(output::command_line(), Vec::new());
    let allowed = super::allowed(args.max_failed, texts.len());
    let progress = Progress::new("embed", texts.len(), "texts");
    let mut failures = Vec::new();
    let mut cut = 0;
    for chunk in texts.chunks(CHUNK) {
        go_on(&Bars).shown()?;
        let (mut kept, mut words) = (Vec::new(), Vec::new());
        for Text { id, text } in chunk {
            match text
                .as_deref()
                .filter(|text| !model.network().clean_text(text).is_empty())
            {
                Some(text) => {
                    kept.push(id);
                    words.push(text);
                }
                None => failures.push(format!("{}, text {id}: it has no words", path.display())),
            }
        }
        if failures.len() > allowed {
            break;
        }
        let found = text_vectors(model, &words).shown()?;
        cut += found.cut;
        let vectors = found.values.chunks_exact(model.width());
        for ((id, text), vector) in kept.into_iter().zip(words).zip(vectors) {
            table.add_text(id, text, vector).shown()?;
        }
        progress.add(chunk.len());
    }
    progress.finish();
    super::report(&failures, texts.len(), allowed)?;
    let vectors = table.rows();
    table.finish().shown()?;
    output::print(&format!(
        "{}: {} of length {} from {}{}{}\n",
        args.out.display(),
        count(vectors, "vector"),
        model.width(),
        count(vectors, "text"),
        match failures.len() {
            0 => String::new(),
            n => format!(", {n} left out"),
        },
        match cut {
            0 => String::new(),
            n => format!(", {n} cut because they are too long"),
        },
    ))
}

/// Opens those of the paths that are stores.
pub(super) fn stores_of(paths: &[PathBuf]) -> miette::Result<Vec<Option<Store>>> {
    let marks = ["store.json", "prepare.journal"];
    let open = |path: &PathBuf| match marks.iter().any(|mark| path.join(mark).is_file()) {
        true => Store::open(path).map(Some).shown(),
        false => Ok(None),
    };
    paths.iter().map(open).collect()
}
