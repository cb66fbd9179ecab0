//! `purkinje import-checkpoint`: converts a published checkpoint to a model folder.

use std::path::{Path, PathBuf};

use clap::Command;
use purkinje::models::compat::Compat;
use purkinje::signal::Preprocess;
use purkinje::{Device, Error, ImportOptions, Registry, import};

use super::{Assignment, keys_help};
use crate::output::{self, Show as _};

/// Options of `import-checkpoint`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The checkpoint, and before it the system if it is not to be detected. The checkpoint is a Hugging Face folder
    /// (config.json with model.safetensors or pytorch_model.bin) or a file: .pth, .pt or .bin of PyTorch, or
    /// .safetensors
    #[arg(required = true, num_args = 1..=2, value_names = ["SYSTEM", "FILE"])]
    checkpoint: Vec<PathBuf>,
    /// The model folder to write
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Attention heads of the encoder [default: from the configuration, or from the published size]
    #[arg(long, value_name = "N")]
    heads: Option<usize>,
    /// Attention heads of the decoder [default: the same]
    #[arg(long, value_name = "N")]
    decoder_heads: Option<usize>,
    /// Behaviour of the model: `released` reproduces the published results, `paper` follows the paper where the program
    /// differs from it
    #[arg(long, default_value = "released", value_parser = super::by_name::<Compat>)]
    compat: Compat,
    /// Preprocessing of the recordings it was trained on [default: that of the published models]
    #[arg(long, value_name = "NAME", value_parser = super::preset)]
    preset: Option<Preprocess>,
    /// Names of the outputs: a labels.json, a text file with one name per line, STORE:TASK, or a published order
    /// (`superdiagnostic`, or the data set the model was fine-tuned on)
    #[arg(long, value_name = "LABELS")]
    labels: Option<String>,
    /// The published config.json [default: that of the folder]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The tokenizer.json of the texts that the network reads [default: that beside the checkpoint]
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// The tokenizer of the part of a report model that writes, or the folder of the language model that it started from; without it that part is
    /// left out
    #[arg(long, value_name = "DIR")]
    writer_tokenizer: Option<PathBuf>,
    /// A setting of the system (listed below); may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<Assignment>,
}

/// The command with the settings of all systems in its help.
pub fn with_systems(command: Command, registry: &Registry) -> Command {
    let systems = registry.systems().map(|system| {
        let about = system.about();
        let settings = system.import_keys().unwrap_or_default();
        let settings = match settings.as_slice() {
            [] => String::new(),
            settings => format!("\n{}", keys_help(settings)),
        };
        format!("{}: {}{settings}", about.name, about.title)
    });
    let systems: Vec<String> = systems.collect();
    command.after_help(format!("Systems:\n\n{}", systems.join("\n\n")))
}

/// Runs the command.
pub fn run(args: Args, registry: &Registry) -> miette::Result<()> {
    let (system, file) = match args.checkpoint.as_slice() {
        [system, file] => (Some(system.to_string_lossy().into_owned()), file.as_path()),
        [file] => (None, file.as_path()),
        _ => (None, Path::new("")),
    };
    let options = ImportOptions {
        system,
        heads: args.heads,
        decoder_heads: args.decoder_heads,
        compat: Some(args.compat),
        preprocess: args.preset,
        labels: args.labels,
        config: args.config,
        tokenizer: args.tokenizer,
        writer_tokenizer: args.writer_tokenizer,
        set: args.set.into_iter().map(Into::into).collect(),
    };
    let imported = match import(file, &options, &Device::cpu(), registry) {
        Err(Error::Unfilled { file, report }) => {
            output::print(&format!("{report}\n"))?;
            return Err(Error::Unfilled { file, report }).shown();
        }
        imported => imported.shown()?,
    };
    output::print(&format!("{}\n", imported.report))?;
    let mut made = imported.made;
    made.how
        .push(format!("Command: `{}`", crate::output::command_line()));
    imported.model.save(&args.out, made).shown()?;
    let mut text = String::new();
    for note in &imported.notes {
        text += &format!("{note}\n");
    }
    output::print(&format!("{text}wrote {}\n", args.out.display()))
}
