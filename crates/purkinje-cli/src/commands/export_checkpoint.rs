//! `purkinje export-checkpoint`: weights under the names of the published PyTorch program.

use std::path::PathBuf;

use purkinje::{Device, Model, Registry};

use crate::output::{self, Show as _, count};

/// Options of `export-checkpoint`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The model: its folder, or that of the run that made it
    #[arg(long, value_name = "RUN")]
    model: PathBuf,
    /// The file to write; `safetensors.torch.load_file` gives what `load_state_dict` of the published program takes
    #[arg(short, long, value_name = "FILE.safetensors")]
    out: PathBuf,
}

/// Exports.
pub fn run(args: Args, registry: &Registry) -> miette::Result<()> {
    let model = Model::load_with(&args.model, &Device::cpu(), registry).shown()?;
    let exported = model.export(&args.out).shown()?;
    output::print(&format!(
        "{}: {}, {} parameters\n",
        args.out.display(),
        count(exported.tensors, "tensor"),
        exported.parameters
    ))
}
