//! `purkinje demo`: all steps on the recordings that come with the program, nothing precomputed.

use std::path::PathBuf;

use miette::Result;
use purkinje::Registry;
use purkinje::demo::{DemoOptions, demo};

use crate::output::{self, Show as _};
use crate::progress::{Bars, duration};

/// Arguments of `demo`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Folder for everything the demonstration writes.
    #[arg(long, default_value = "demo")]
    out: PathBuf,
    /// Epochs of pre-training.
    #[arg(long, default_value_t = 25)]
    epochs: usize,
    /// Seed of every random choice.
    #[arg(long, default_value_t = 0)]
    seed: u32,
    /// Label sets to evaluate on.
    #[arg(long, value_delimiter = ',', default_value = "superdiagnostic")]
    task: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args, registry: &Registry) -> Result<()> {
    let options = DemoOptions {
        out: args.out,
        epochs: args.epochs,
        seed: args.seed,
        tasks: args.task,
    };
    let found = demo(&options, registry, &Bars).shown()?;
    for table in &found.tables {
        output::print(&format!("\n{table}"))?;
    }
    let records = found.tables.first().map_or(0, |table| {
        let first = table.rows().first();
        first.map_or(0, |row| row.trained.metrics.records)
    });
    output::print(&format!(
        "\nRead, prepared, pre-trained, probed and evaluated in {}. {records} test records are few: see the confidence intervals.\nReport: {}\n",
        duration(found.seconds),
        found.report.display()
    ))
}
