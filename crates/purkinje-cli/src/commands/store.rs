//! `purkinje store`: describes, verifies, compares, merges and exports stores.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Subcommand;
use miette::{IntoDiagnostic, miette};
use purkinje::signal::preprocess::BeatSearch;
use purkinje::store::leakage::{RecordRef, SignalPair, leakage};
use purkinje::store::{
    QualityFilter, RedetectOptions, Redetected, Split, Store, StoreInfo, merge, redetect,
};
use purkinje::texts::StoreText;

use super::prepare::{Watch, split_table};
use super::store_export;
use crate::output::{self, Show as _, Table, count, printable};
use crate::progress;

/// Options of `store`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Describe the contents of a store and how it was made
    Info {
        /// The store
        store: PathBuf,
        /// Count the classes of this label set in every split
        #[arg(long, value_name = "TASK")]
        labels: Option<String>,
        /// Count the records whose signal quality keeps these limits, such as
        /// `flat=0,missing=10%,limb=ok,noise_mv=0.05`, and the reasons of the others
        #[arg(long, value_name = "FILTER", conflicts_with = "labels")]
        quality: Option<QualityFilter>,
        /// Print store.json
        #[arg(long, conflicts_with_all = ["labels", "quality"])]
        json: bool,
    },
    /// Verify every byte of a store against the checksums of store.json
    Verify {
        /// The store
        store: PathBuf,
    },
    /// Find leakage: patients and recordings in more than one split, and recordings that several stores have in common
    Leakage {
        /// The stores; a single one is compared with itself
        #[arg(required = true)]
        stores: Vec<PathBuf>,
        /// File to write all findings to, as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Number of findings of each kind to print
        #[arg(long, value_name = "N", default_value_t = 10)]
        show: usize,
    },
    /// Write an HTML report on a store, with charts of patients, labels and quality, and example recordings
    Report {
        /// The store
        store: PathBuf,
        /// File to write
        #[arg(short, long, value_name = "FILE", default_value = "report.html")]
        out: PathBuf,
    },
    /// Export a store in the layout of one of the original programs, so that it can run on the same data
    Export(store_export::Args),
    /// Detect the R-peaks of a store again, on all leads together, and write the store with them to another folder;
    /// samples and labels stay as they are
    Redetect {
        /// The store
        store: PathBuf,
        /// Folder of the store to write
        #[arg(short, long, value_name = "STORE")]
        out: PathBuf,
        /// Folder that the recordings were prepared from: R-peaks are detected in the recordings that can be read there,
        /// and in the stored signal of all others
        #[arg(long, value_name = "FOLDER")]
        from: Option<PathBuf>,
    },
    /// Merge the parts made by `prepare --shard`; the store is byte for byte the one that a single process makes
    Merge {
        /// The folders with the parts
        #[arg(required = true)]
        parts: Vec<PathBuf>,
        /// Folder of the store to write, or one of the folders with parts
        #[arg(short, long, value_name = "STORE")]
        out: PathBuf,
    },
}

/// Runs the command.
pub fn run(args: Args) -> miette::Result<()> {
    match args.action {
        Action::Info {
            store,
            labels,
            quality,
            json,
        } => {
            let store = Store::open(store).shown()?;
            match labels {
                _ if json => output::print_json(store.info()),
                None if let Some(quality) = quality => output::print(&kept(&store, &quality)),
                Some(task) => output::print(&classes(&store, &task)?),
                None => output::print(&info(&store)?),
            }
        }
        Action::Export(args) => store_export::run(args),
        Action::Leakage { stores, json, show } => compare(&stores, json.as_deref(), show),
        Action::Report { store, out } => {
            let page = purkinje::report::of_store(&Store::open(store).shown()?);
            output::write_file(&out, page.shown()?.as_bytes())?;
            output::print(&format!("{}\n", out.display()))
        }
        Action::Redetect { store, out, from } => {
            let store = Store::open(store).shown()?;
            let watch = Watch::new("redetect");
            let done = redetect(&store, &out, &RedetectOptions { from }, &watch);
            watch.finish();
            let Redetected {
                records,
                beats,
                before,
                now,
                kept,
            } = done.shown()?;
            output::print(&format!(
                "{}: {}, R-peaks detected in {} and in the stored signal of {}\n{now} R-peaks; before {before}, {kept} of them within 50 ms\n",
                out.display(),
                count(records, "record"),
                count(beats.in_recordings, "recording"),
                count(beats.in_stored_signal, "record"),
            ))
        }
        Action::Merge { parts, out } => {
            let info = merge(&parts, &out).shown()?;
            output::print(&format!(
                "{}: {} in {}\n",
                out.display(),
                count(info.records, "record"),
                count(info.shards.len(), "shard")
            ))
        }
        Action::Verify { store } => {
            let started = Instant::now();
            let store = Store::open(store).shown()?;
            store.verify().shown()?;
            let bytes: u64 = store.info().shards.iter().map(|shard| shard.bytes).sum();
            output::print(&format!(
                "{} is intact: {} in {}, {:.1} MB, all checksums match ({})\n",
                store.dir().display(),
                count(store.len(), "record"),
                count(store.info().shards.len(), "shard"),
                bytes as f64 / 1e6,
                progress::duration(started.elapsed().as_secs_f64())
            ))
        }
    }
}

/// Compares stores; fails when leakage is found, so that scripts notice.
fn compare(places: &[PathBuf], json: Option<&Path>, show: usize) -> miette::Result<()> {
    let stores = places
        .iter()
        .map(|place| Store::open(place).shown())
        .collect::<miette::Result<Vec<Store>>>()?;
    let report = leakage(&stores.iter().collect::<Vec<_>>()).shown()?;
    if let Some(path) = json {
        output::write_file(path, (output::json(&report)? + "\n").as_bytes())?;
    }
    let name = |record: &RecordRef| {
        let split = record.split.name();
        let id = printable(&record.id);
        match places.get(record.store) {
            Some(place) if places.len() > 1 => format!("{id} ({split} of {})", place.display()),
            _ => format!("{id} ({split})"),
        }
    };
    let mut text = String::new();
    let mut finding = |what: &str, count: usize, lines: Vec<String>| {
        text += &format!("{what}: {count}\n");
        for line in lines.iter().take(show) {
            text += &format!("  {line}\n");
        }
        if count > show.min(lines.len()) {
            text += &format!("  ... and {} more\n", count - show.min(lines.len()));
        }
    };
    let patients = report.patients.listed.iter().take(show).map(|leak| {
        let records: Vec<String> = leak.records.iter().take(4).map(name).collect();
        let more = leak.records.len().saturating_sub(records.len());
        let rest = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        format!("{}: {}{rest}", printable(&leak.patient), records.join(", "))
    });
    finding(
        "patients in more than one split",
        report.patients.count,
        patients.collect(),
    );
    let pairs = |pairs: &[SignalPair], similar: bool| -> Vec<String> {
        let line = |pair: &SignalPair| {
            let names = format!("{} = {}", name(&pair.first), name(&pair.second));
            if similar {
                format!("{names}, similarity {:.3}", pair.similarity)
            } else {
                names
            }
        };
        pairs.iter().take(show).map(line).collect()
    };
    finding(
        "identical recordings across splits or stores",
        report.identical.count,
        pairs(&report.identical.listed, false),
    );
    finding(
        "recordings that differ only in sampling rate, filter, unit or length",
        report.similar.count,
        pairs(&report.similar.listed, true),
    );
    if report.not_compared > 0 {
        text += &format!(
            "{} could not be compared: too short or without variation\n",
            count(report.not_compared, "record")
        );
    }
    output::print(&text)?;
    if report.is_clean() {
        return Ok(());
    }
    Err(miette!(
        help = "remove these records from one side, or report with every result that they were in both",
        "leakage found: test records may have been used in training"
    ))
}

fn info(store: &Store) -> miette::Result<String> {
    let info = store.info();
    let bytes: u64 = info.shards.iter().map(|shard| shard.bytes).sum();
    let mut text = format!(
        "{}: {} from {}\n{} ({}), {} Hz, {}, {}\n{:.1} MB in {}\n",
        store.dir().display(),
        count(info.records, "record"),
        printable(&info.name),
        count(info.leads.len(), "lead"),
        info.leads,
        info.rate_hz,
        info.unit,
        info.preprocess.in_words(),
        bytes as f64 / 1e6,
        count(info.shards.len(), "shard"),
    );
    text += &format!("R-peaks: {}\n", beats_in_words(info));
    text += &format!(
        "made by {} {} from `{}`\n  {}\n\n",
        printable(&info.made_by.program),
        printable(&info.made_by.version),
        printable(&info.made_by.source),
        printable(&info.made_by.command)
    );
    text += &split_table(store)?.to_string();
    text += &texts(store)?;
    Ok(text)
}

/// The texts of a store: how many records have one, distinct ones, their lengths; the values of those that have a few only.
fn texts(store: &Store) -> miette::Result<String> {
    const FEW: usize = 6;
    let names = ["report"].into_iter().map(str::to_owned);
    let header = ["text", "records", "distinct", "median words", "most words"];
    let mut table = Table::new(1, header.map(|name| format!("{name} ")));
    let (mut any, mut few) = (false, String::new());
    for name in names.chain(store.info().texts.iter().cloned()) {
        let column = StoreText::named(store, &name).shown()?;
        let mut found = BTreeMap::<&str, usize>::new();
        let mut words = Vec::new();
        for index in 0..store.len() {
            let row = store.row(index).shown()?;
            if let Some(text) = column.of(&row) {
                *found.entry(text).or_default() += 1;
                words.push(text.split_whitespace().count());
            }
        }
        if words.is_empty() {
            continue;
        }
        any = true;
        words.sort_unstable();
        let last = words[words.len() - 1];
        let figures = [words.len(), found.len(), words[words.len() / 2], last];
        let figures = figures.map(|figure| format!("{figure} "));
        table.row(
            [format!("{} ", printable(&name))]
                .into_iter()
                .chain(figures),
        );
        if found.len() <= FEW && last == 1 {
            let each = found
                .iter()
                .map(|(value, count)| format!("{} {count}", printable(value)));
            few += &format!(
                "{}: {}\n",
                printable(&name),
                each.collect::<Vec<_>>().join(", ")
            );
        }
    }
    Ok(match any {
        true => format!("\n{table}{few}"),
        false => String::new(),
    })
}

/// What the R-peaks of a store were detected in, at which rate, in which leads, and how.
fn beats_in_words(info: &StoreInfo) -> String {
    let contract = &info.preprocess;
    match (contract.beats, info.made_by.redetected) {
        (BeatSearch::MultiLead, None) => format!(
            "detected in the recordings as they came, in {} together",
            count(contract.leads.len(), "lead")
        ),
        (BeatSearch::MultiLead, Some(beats)) => format!(
            "detected again in {} together: in {} as they came, in the stored signal at {} Hz of {}",
            count(contract.leads.len(), "lead"),
            count(beats.in_recordings, "recording"),
            info.rate_hz,
            count(beats.in_stored_signal, "record")
        ),
        (BeatSearch::Xqrs { .. }, _) => {
            let first = contract.beats.first_row(&contract.leads);
            let lead = first.and_then(|row| contract.leads.leads().get(row));
            format!(
                "detected by XQRS in the stored signal at {} Hz, lead {} first",
                info.rate_hz,
                lead.map_or("-", |lead| lead.name())
            )
        }
    }
}

/// Number of records in every split that keep the limits, and the reasons of the others.
fn kept(store: &Store, quality: &QualityFilter) -> String {
    let mut parts = BTreeMap::<Split, [usize; 2]>::new();
    let mut reasons = BTreeMap::<&str, usize>::new();
    for row in store.rows() {
        let part = parts.entry(row.split()).or_default();
        part[1] += 1;
        match quality.check_row(&row, store.info().rate_hz) {
            Ok(()) => part[0] += 1,
            Err(below) => *reasons.entry(below.measure).or_default() += 1,
        }
    }
    let mut table = Table::new(1, ["", "kept", "left out", "total"].map(str::to_owned));
    let mut line = |name: &str, [kept, all]: [usize; 2]| {
        let counts = [kept, all - kept, all].map(|count| count.to_string());
        table.row([name.to_owned()].into_iter().chain(counts));
    };
    for (split, counts) in &parts {
        line(split.name(), *counts);
    }
    let all = parts
        .values()
        .fold([0, 0], |a, b| [a[0] + b[0], a[1] + b[1]]);
    line("total", all);
    let mut text = format!("{quality}\n\n{table}");
    for (measure, count) in reasons {
        text += &format!("left out because of {measure}: {count}\n");
    }
    text
}

fn classes(store: &Store, task: &str) -> miette::Result<String> {
    let set = store.label_set(task).shown()?;
    let splits: Vec<Split> = Split::ALL
        .into_iter()
        .filter(|split| store.info().splits.get(split).is_some_and(|&n| n > 0))
        .collect();
    let counts = splits
        .iter()
        .map(|&split| {
            Ok(store
                .label_matrix_of(task, split)
                .into_diagnostic()?
                .counts())
        })
        .collect::<miette::Result<Vec<Vec<usize>>>>()?;
    let names = splits.iter().map(|split| split.name().to_owned());
    let mut table = Table::new(
        1,
        ["class".to_owned()]
            .into_iter()
            .chain(names)
            .chain(["total", "meaning"].map(str::to_owned)),
    )
    .text_last();
    for (at, class) in store.info().label_sets[set].classes.iter().enumerate() {
        let all: usize = counts.iter().map(|split| split[at]).sum();
        let meaning = class.description.as_deref().unwrap_or_default();
        table.row(
            [printable(&class.name)]
                .into_iter()
                .chain(counts.iter().map(|split| split[at].to_string()))
                .chain([all.to_string(), printable(meaning)]),
        );
    }
    Ok(table.to_string())
}
