//! `purkinje import-checkpoint`: a published checkpoint to a model folder.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use clap::Subcommand;
use miette::{IntoDiagnostic, WrapErr, bail, miette};
use purkinje_models::checkpoint::{
    HubertLayout, ImportOptions, Imported, KeyReport, LabelClass, Labels, Layout, Stage, StateDict,
    canonical, default_heads, detect, import_as, read_pth, read_safetensors, report,
};
use purkinje_models::clear::{Clear, ClearConfig, EncoderMask};
use purkinje_models::compat::Compat;
use purkinje_models::hubert::{Hubert, HubertConfig};
use purkinje_models::hug::Head;
use purkinje_models::layers::Weights;
use purkinje_signal::Preprocess;
use purkinje_signal::preprocess::BeatSearch;
use purkinje_store::Store;
use purkinje_train::one_of_two;
use purkinje_train::recipes::{self, RecipeError};
use serde_json::{Map, Value};

use crate::model::{self, LoadedModel, Network};
use crate::output::{self, count};

/// The diagnostic superclasses of PTB-XL, in the order of the published models: by name.
const SUPERDIAGNOSTIC: [&str; 5] = ["CD", "HYP", "MI", "NORM", "STTC"];

/// Options of `import-checkpoint`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    system: System,
}

#[derive(Debug, Subcommand)]
enum System {
    /// CLEAR, with or without a linear or HUG head
    Clear(ClearArgs),
    /// HuBERT-ECG, small, base or large, with its code books or a head
    Hubert(HubertArgs),
}

#[derive(clap::Args, Debug)]
struct HubertArgs {
    /// A folder as Hugging Face has it (config.json with model.safetensors or pytorch_model.bin), or a file: .pt of the training
    /// scripts, .bin or .safetensors
    file: PathBuf,
    /// The model folder to write
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Attention heads [default: those of the configuration, or of the published size]
    #[arg(long, value_name = "N")]
    heads: Option<usize>,
    /// Whose behaviour the model follows: released gives the published numbers, paper what the authors wrote
    #[arg(long, default_value = "released", value_parser = super::compat)]
    compat: Compat,
    /// Preprocessing of the recordings it was trained on
    #[arg(long, value_name = "NAME", default_value = "hubert", value_parser = super::preset)]
    preset: Preprocess,
    /// What the outputs mean: the published order of a data set by its name (`cardio-learning`, `ptbxl-super`, ...), labels.json, a
    /// text file with a name a line, STORE:TASK, or `superdiagnostic`, which is CLEAR's order
    #[arg(long, value_name = "LABELS")]
    labels: Option<String>,
}

#[derive(clap::Args, Debug)]
struct ClearArgs {
    /// The checkpoint: .pth, .pt or .bin of PyTorch, or .safetensors
    file: PathBuf,
    /// The model folder to write
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Attention heads of the encoder [default: those of the published size, or of the checkpoint's arguments]
    #[arg(long, value_name = "N")]
    heads: Option<usize>,
    /// Attention heads of the decoder [default: likewise]
    #[arg(long, value_name = "N")]
    decoder_heads: Option<usize>,
    /// Encoder mask of the program that made the checkpoint: none (first revision), additive (current), boolean (paper)
    #[arg(long, default_value = "additive", value_parser = mask)]
    mask: EncoderMask,
    /// Preprocessing of the recordings it was trained on
    #[arg(long, value_name = "NAME", default_value = "clear-mimic", value_parser = super::preset)]
    preset: Preprocess,
    /// What the outputs mean: labels.json, a text file with a name a line, STORE:TASK, or `superdiagnostic`
    #[arg(long, value_name = "LABELS")]
    labels: Option<String>,
}

/// Imports.
pub fn run(args: Args) -> miette::Result<()> {
    match args.system {
        System::Clear(args) => clear(args),
        System::Hubert(args) => hubert(args),
    }
}

fn hubert(args: HubertArgs) -> miette::Result<()> {
    let place = || format!("cannot import `{}`", args.file.display());
    let options = ImportOptions {
        heads: args.heads,
        ..ImportOptions::default()
    };
    let read: Imported<HubertLayout> = import_as(&args.file, &options)
        .into_diagnostic()
        .wrap_err_with(place)?;
    let mut notes = read.notes;
    output::print(&format!("{}\n", read.report))?;
    refuse_incomplete(&read.report, &args.file)?;
    if read.args.get("task_type").and_then(Value::as_str) == Some("regression") {
        bail!(
            help = "import the encoder that it was made from instead",
            "`{}` is a model that predicts numbers (`task_type` regression); heads here give labels, nothing was written",
            args.file.display()
        );
    }
    let (head, classes) = match read.layout.classifier {
        Some((head, classes)) => (Some(head), Some(classes)),
        None => (None, None),
    };
    let mut labels =
        labels(args.labels.as_deref(), classes, published, &mut notes).wrap_err_with(place)?;
    let device = Device::flex();
    let mut weights = Weights::default();
    for (name, tensor) in read.state {
        weights.insert(name, &tensor.shape, tensor.data, &device);
    }
    let given = args.labels.as_deref().unwrap_or_default();
    let two = recipes::says_one_of_two(given) && !Path::new(given).is_file();
    if let (Some(labels), true) = (&mut labels, two) {
        weights = one_of_two(&weights, &device)
            .into_diagnostic()
            .wrap_err_with(place)?;
        labels.classes.remove(0);
        notes.push(format!(
            "Its two outputs exclude each other; they became one, `{}` against the other, with the same probabilities.",
            labels.classes[0].name
        ));
    }
    let config = HubertConfig {
        compat: args.compat,
        ..read.layout.config
    };
    let model = LoadedModel {
        folder: None,
        network: Network::Hubert(Hubert::new(config, weights).into_diagnostic()?),
        head: head.map(model::Head::Hubert),
        labels,
        preprocess: args.preset,
    };
    finish(&model, &args.file, &args.out, &notes)
}

/// Nothing is written of a file that leaves parameters open.
fn refuse_incomplete(table: &KeyReport, file: &Path) -> miette::Result<()> {
    if table.is_complete() {
        return Ok(());
    }
    bail!(
        "`{}` does not fill the model: {} missing, {} of another shape (see the table); nothing was written",
        file.display(),
        count(table.missing.len(), "parameter"),
        table.mis_shaped.len()
    )
}

/// Saves the model and says so.
fn finish(model: &LoadedModel, file: &Path, out: &Path, notes: &[String]) -> miette::Result<()> {
    let name = file.file_name().unwrap_or(file.as_os_str());
    model.save(
        out,
        &format!(
            "purkinje {} import-checkpoint {}: weights of `{}`",
            env!("CARGO_PKG_VERSION"),
            model.network.system(),
            name.to_string_lossy()
        ),
    )?;
    let mut text = String::new();
    for note in notes {
        text += &format!("{note}\n");
    }
    text += &format!("wrote {}\n", out.display());
    output::print(&text)
}

fn clear(args: ClearArgs) -> miette::Result<()> {
    let (found, arguments, mut notes) = read(&args.file)?;
    let place = || format!("cannot import `{}`", args.file.display());
    let layout = detect(&found).into_diagnostic().wrap_err_with(place)?;
    let config = config(&args, &layout, &arguments).wrap_err_with(place)?;
    let head = match layout.stage {
        Stage::Pretrain => None,
        Stage::Linear => Some(Head::Linear),
        Stage::Hug => Some(Head::Hug),
    };
    let labels = labels(
        args.labels.as_deref(),
        layout.classes,
        superdiagnostic,
        &mut notes,
    )
    .wrap_err_with(place)?;
    let mut expected = config.parameters();
    if let Some(head) = head {
        expected.extend(head.parameters(config.embed_dim, layout.classes.unwrap_or(0)));
    }
    let table = report(&expected, &found);
    output::print(&format!("{table}\n"))?;
    refuse_incomplete(&table, &args.file)?;
    let device = Device::flex();
    let mut tensors = canonical(found).into_diagnostic().wrap_err_with(place)?;
    let mut weights = Weights::default();
    for (name, shape) in &expected {
        let empty = purkinje_models::checkpoint::NamedTensor {
            shape: Vec::new(),
            data: Vec::new(),
        };
        // Complete, so every name is there; each tensor is moved, not copied.
        let tensor = tensors
            .insert(name.as_str(), empty)
            .ok_or_else(|| miette!("`{name}` is missing"))?;
        weights.insert(name.as_str(), shape, tensor.data, &device);
    }
    let model = LoadedModel {
        folder: None,
        network: Network::Clear(Clear::new(config, weights).into_diagnostic()?),
        head: head.map(model::Head::Clear),
        labels,
        // As the program that made the weights.
        preprocess: args.preset.clone().with_beats(BeatSearch::RELEASED),
    };
    finish(&model, &args.file, &args.out, &notes)
}

/// Tensors, arguments of the run, and remarks.
fn read(path: &Path) -> miette::Result<(StateDict, Map<String, Value>, Vec<String>)> {
    if path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("safetensors"))
    {
        let (tensors, _) = read_safetensors(path).into_diagnostic()?;
        return Ok((tensors, Map::new(), Vec::new()));
    }
    let file = read_pth(path).into_diagnostic()?;
    let mut notes = file.notes;
    if let Some(epoch) = file.epoch {
        notes.push(format!("Saved after epoch {epoch}."));
    }
    Ok((file.model, file.args, notes))
}

fn config(
    args: &ClearArgs,
    layout: &Layout,
    arguments: &Map<String, Value>,
) -> miette::Result<ClearConfig> {
    let usual = default_heads(layout.embed_dim, arguments);
    let heads = |given: Option<usize>, usual: Option<usize>, option: &str| {
        given.or(usual).ok_or_else(|| {
            miette!(
                help = "the number of attention heads leaves no trace in the weights; the configuration of the run that made them says it",
                "width {} is none of the published sizes: name the attention heads with `{option}`",
                layout.embed_dim
            )
        })
    };
    let config = ClearConfig {
        embed_dim: layout.embed_dim,
        depth: layout.depth,
        heads: heads(args.heads, usual.map(|(encoder, _)| encoder), "--heads")?,
        mlp_dim: layout.mlp_dim,
        decoder_embed_dim: layout.decoder_embed_dim,
        decoder_depth: layout.decoder_depth,
        decoder_heads: heads(
            args.decoder_heads,
            usual.map(|(_, decoder)| decoder),
            "--decoder-heads",
        )?,
        ..ClearConfig::base().with_compat(Compat::Released)
    };
    let config = ClearConfig {
        encoder_mask: args.mask,
        ..config
    };
    config.validate().map_err(|problem| miette!("{problem}"))?;
    Ok(config)
}

/// Labels that a system's models are published with, by a name.
type ByName = fn(&str) -> miette::Result<Labels>;

fn labels(
    given: Option<&str>,
    classes: Option<usize>,
    by_name: ByName,
    notes: &mut Vec<String>,
) -> miette::Result<Option<Labels>> {
    let Some(classes) = classes else {
        if given.is_some() {
            bail!("`--labels` was given, but the checkpoint has no classifier");
        }
        return Ok(None);
    };
    let labels = match given {
        Some(given) => read_labels(given, by_name)?,
        None => {
            notes.push(format!(
                "What the {classes} outputs mean is not known; `--labels` names them."
            ));
            named("unknown", (0..classes).map(|i| format!("output {i}")))
        }
    };
    if labels.classes.len() != classes {
        bail!(
            "the checkpoint has {classes} outputs, but `--labels {}` names {}; nothing was written",
            given.unwrap_or_default(),
            labels.classes.len()
        );
    }
    Ok(Some(labels))
}

fn read_labels(given: &str, by_name: ByName) -> miette::Result<Labels> {
    let path = Path::new(given);
    if path.is_file() {
        let text = std::fs::read_to_string(path)
            .into_diagnostic()
            .wrap_err_with(|| format!("cannot read the labels `{given}`"))?;
        if path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("json"))
        {
            return serde_json::from_str(&text)
                .into_diagnostic()
                .wrap_err_with(|| format!("`{given}` is no labels.json"));
        }
        let names = text.lines().map(str::trim).filter(|name| !name.is_empty());
        let task = path.file_stem().unwrap_or_default().to_string_lossy();
        return Ok(named(&task, names.map(str::to_owned)));
    }
    if let Some((store, task)) = given.rsplit_once(':') {
        let store = Store::open(store).into_diagnostic()?;
        let set = store.label_set(task).into_diagnostic()?;
        return Ok(named(task, store.info().label_sets[set].class_names()));
    }
    by_name(given)
}

/// The one order that is known of CLEAR's published models.
fn superdiagnostic(given: &str) -> miette::Result<Labels> {
    if given == "superdiagnostic" {
        return Ok(named(given, SUPERDIAGNOSTIC.map(str::to_owned)));
    }
    bail!("`--labels {given}` is neither a file, nor STORE:TASK, nor `superdiagnostic`")
}

/// The orders of HuBERT-ECG's published models.
fn published(given: &str) -> miette::Result<Labels> {
    if given == "superdiagnostic" {
        return superdiagnostic(given);
    }
    match recipes::output_names(given) {
        Ok(names) => Ok(named(given, names)),
        Err(error @ RecipeError::Unknown { .. }) => Err(error).into_diagnostic().wrap_err_with(|| {
            format!("`--labels {given}` is neither a file, nor STORE:TASK, nor `superdiagnostic`, nor a published data set")
        }),
        Err(error) => Err(error).into_diagnostic().wrap_err_with(|| {
            format!("`--labels {given}` names no labels; give a text file with a name a line")
        }),
    }
}

fn named(task: &str, names: impl IntoIterator<Item = String>) -> Labels {
    Labels {
        reference: None,
        task: task.to_owned(),
        classes: names
            .into_iter()
            .map(|name| LabelClass {
                name,
                code: None,
                threshold: None,
            })
            .collect(),
    }
}

fn mask(text: &str) -> Result<EncoderMask, String> {
    match text {
        "none" => Ok(EncoderMask::None),
        "additive" => Ok(EncoderMask::Additive),
        "boolean" => Ok(EncoderMask::Boolean),
        _ => Err("expected none, additive or boolean".to_owned()),
    }
}
