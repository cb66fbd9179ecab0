//! `purkinje export-checkpoint`: weights under the names of the published PyTorch program.

use std::collections::HashMap;
use std::path::PathBuf;

use burn::tensor::Device;
use miette::{IntoDiagnostic, bail};
use purkinje_models::checkpoint::{Stage, published, write_safetensors};
use purkinje_models::hug::Head;

use crate::model::LoadedModel;
use crate::output::{self, count};

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
pub fn run(args: Args) -> miette::Result<()> {
    if args
        .out
        .extension()
        .is_none_or(|e| !e.eq_ignore_ascii_case("safetensors"))
    {
        bail!(
            "`{}`: expected a name that ends in .safetensors",
            args.out.display()
        );
    }
    let model = LoadedModel::load(&args.model, &Device::flex())?;
    let stage = match model.head {
        None => Stage::Pretrain,
        Some(Head::Linear) => Stage::Linear,
        Some(Head::Hug) => Stage::Hug,
    };
    let tensors = published(model.state_dict(), stage);
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    write_safetensors(&args.out, &tensors, &metadata).into_diagnostic()?;
    output::print(&format!(
        "{}: {}, {} parameters\n",
        args.out.display(),
        count(tensors.len(), "tensor"),
        tensors.parameters()
    ))
}
