//! `purkinje export-checkpoint`: writes weights under the parameter names of the original PyTorch program.

use std::path::PathBuf;

use purkinje::{Device, Model, Registry};

use crate::output::{self, Show as _, count};

/// Options of `export-checkpoint`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Folder of the model, or of the run that made it
    #[arg(long, value_name = "RUN")]
    model: PathBuf,
    /// File to write; `safetensors.torch.load_file` reads it into a state dict for `load_state_dict` of the original
    /// program
    #[arg(short, long, value_name = "FILE.safetensors")]
    out: PathBuf,
}

/// Runs the command.
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
