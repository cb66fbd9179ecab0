//! `purkinje export-checkpoint`: weights under the names of the published PyTorch program.

use std::collections::HashMap;
use std::path::PathBuf;

use burn::tensor::Device;
use miette::{IntoDiagnostic, bail};
use purkinje_models::checkpoint::{
    HubertLayout, Published as _, Stage, StateDict, published, write_safetensors,
};
use purkinje_models::hug;

use crate::model::{Head, LoadedModel, Network};
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
    let tensors = match &model.network {
        Network::Clear(_) => {
            let stage = match model.head {
                Some(Head::Clear(hug::Head::Linear)) => Stage::Linear,
                Some(Head::Clear(hug::Head::Hug)) => Stage::Hug,
                _ => Stage::Pretrain,
            };
            published(model.state_dict(), stage)
        }
        Network::Hubert(hubert) => {
            let classes = model
                .labels
                .as_ref()
                .map_or(0, |labels| labels.classes.len());
            let config = hubert.config().clone();
            let layout = match model.head {
                Some(Head::Hubert(head)) => HubertLayout::classification(config, head, classes),
                _ => HubertLayout::pretraining(config),
            };
            let named = |(name, tensor): (String, _)| (layout.published(&name), tensor);
            model
                .state_dict()
                .into_iter()
                .map(named)
                .collect::<StateDict>()
        }
    };
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    write_safetensors(&args.out, &tensors, &metadata).into_diagnostic()?;
    output::print(&format!(
        "{}: {}, {} parameters\n",
        args.out.display(),
        count(tensors.len(), "tensor"),
        tensors.parameters()
    ))
}
