//! `purkinje store`: what a store holds, and whether it is intact.

use std::path::PathBuf;
use std::time::Instant;

use clap::Subcommand;
use miette::IntoDiagnostic;
use purkinje_store::{Split, Store};

use super::prepare::parts;
use crate::output::{self, Table, count, printable};
use crate::progress;

/// Options of `store`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Say what a store holds and how it was made
    Info {
        /// The store
        store: PathBuf,
        /// Count the classes of this label set in every part
        #[arg(long, value_name = "TASK")]
        labels: Option<String>,
        /// Print store.json
        #[arg(long, conflicts_with = "labels")]
        json: bool,
    },
    /// Compare every byte with the checksums of store.json
    Verify {
        /// The store
        store: PathBuf,
    },
}

/// Does it.
pub fn run(args: Args) -> miette::Result<()> {
    match args.action {
        Action::Info {
            store,
            labels,
            json,
        } => {
            let store = Store::open(store).into_diagnostic()?;
            match labels {
                _ if json => output::print_json(store.info()),
                Some(task) => output::print(&classes(&store, &task)?),
                None => output::print(&info(&store)?),
            }
        }
        Action::Verify { store } => {
            let started = Instant::now();
            let store = Store::open(store).into_diagnostic()?;
            store.verify().into_diagnostic()?;
            let bytes: u64 = store.info().shards.iter().map(|shard| shard.bytes).sum();
            output::print(&format!(
                "{} is intact: {} in {}, {:.1} MB, every checksum as written ({})\n",
                store.dir().display(),
                count(store.len(), "record"),
                count(store.info().shards.len(), "shard"),
                bytes as f64 / 1e6,
                progress::duration(started.elapsed().as_secs_f64())
            ))
        }
    }
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
    text += &format!(
        "made by {} {} from `{}`\n  {}\n\n",
        printable(&info.made_by.program),
        printable(&info.made_by.version),
        printable(&info.made_by.source),
        printable(&info.made_by.command)
    );
    text += &parts(store)?.to_string();
    Ok(text)
}

fn classes(store: &Store, task: &str) -> miette::Result<String> {
    let set = store.label_set(task).into_diagnostic()?;
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
            .chain(["in all", "meaning"].map(str::to_owned)),
    )
    .words_last();
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
