//! `purkinje completions`.

use clap_complete::Shell;
use purkinje::Registry;

/// Options of `completions`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Shell to print completions for
    shell: Shell,
}

/// Prints the completions.
pub fn run(args: Args, registry: &Registry) -> miette::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(
        args.shell,
        &mut crate::command(registry),
        "purkinje",
        &mut script,
    );
    crate::output::print(&String::from_utf8_lossy(&script))
}
