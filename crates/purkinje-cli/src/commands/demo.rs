//! `purkinje demo`: all steps on the recordings that come with the program, nothing precomputed.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use miette::{IntoDiagnostic as _, Result};
use purkinje::Registry;
use purkinje::demo::{DemoOptions, demo, is_demonstration};

use crate::output::{self, Show as _};
use crate::progress::{Bars, duration};

/// Arguments of `demo`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Folder for everything the demonstration writes.
    #[arg(long, default_value = "demo")]
    out: PathBuf,
    /// Delete the folder of an earlier demonstration, with all that is in it, without asking.
    #[arg(long)]
    overwrite: bool,
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

/// Asks, on a terminal, whether the folder of an earlier demonstration may be deleted.
fn may_delete(out: &Path) -> Result<bool> {
    let (input, error) = (std::io::stdin(), std::io::stderr());
    if !is_demonstration(out) || !input.is_terminal() || !error.is_terminal() {
        return Ok(false);
    }
    eprint!(
        "{} holds an earlier demonstration. Delete it, with all that is in it? [y/N] ",
        out.display()
    );
    let mut answer = String::new();
    input.read_line(&mut answer).into_diagnostic()?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Runs the command.
pub fn run(args: Args, registry: &Registry) -> Result<()> {
    let options = DemoOptions {
        overwrite: args.overwrite || may_delete(&args.out)?,
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
