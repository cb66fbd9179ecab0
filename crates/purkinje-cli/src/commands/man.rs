//! `purkinje man`: manual pages from the same definition as the help.

use std::path::{Path, PathBuf};

use miette::IntoDiagnostic as _;
use purkinje::Registry;

use crate::output;

/// Options of `man`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Folder to write the pages to: purkinje.1, and one for every command, such as purkinje-store-report.1
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
}

/// Writes the pages.
pub fn run(args: Args, registry: &Registry) -> miette::Result<()> {
    let mut command = crate::command(registry).disable_help_subcommand(true);
    // Names of nested commands are known once it is built.
    command.build();
    let written = pages(command, &args.out)?;
    output::print(&format!(
        "{}: {}; `man {}` shows the first\n",
        args.out.display(),
        output::count(written, "page"),
        args.out.join("purkinje.1").display()
    ))
}

fn pages(command: clap::Command, out: &Path) -> miette::Result<usize> {
    let mut written = 1;
    for inner in command.get_subcommands().filter(|own| !own.is_hide_set()) {
        written += pages(inner.clone(), out)?;
    }
    let page = clap_mangen::Man::new(command);
    let mut text = Vec::new();
    page.render(&mut text).into_diagnostic()?;
    output::write_file(&out.join(page.get_filename()), &text)?;
    Ok(written)
}
