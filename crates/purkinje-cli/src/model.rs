//! A model as the commands use it: a folder with weights, preprocessing contract and labels, on a device.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use miette::{Context as _, IntoDiagnostic, bail, miette};
use purkinje_models::checkpoint::{
    FolderContents, Labels, ModelCard, ModelFolder, NamedTensor, StateDict,
};
use purkinje_models::clear::{Clear, ClearConfig};
use purkinje_models::compat::Compat;
use purkinje_models::hubert::{self, FrontEnd, Hubert, HubertClassifier, HubertConfig};
use purkinje_models::hug::{self, Classifier};
use purkinje_models::layers::Weights;
use purkinje_signal::Preprocess;
use serde::{Deserialize, Serialize};

/// The layout of `config.json` that this program writes and reads.
const CONFIG_VERSION: u32 = 1;

/// A network of one of the systems.
#[derive(Clone, Debug)]
pub enum Network {
    /// CLEAR.
    Clear(Clear),
    /// HuBERT-ECG.
    Hubert(Hubert),
}

/// What stands on a network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Head {
    /// On CLEAR.
    Clear(hug::Head),
    /// On HuBERT-ECG.
    Hubert(hubert::Head),
}

impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Head::Clear(head) => head.fmt(f),
            Head::Hubert(head) => f.write_str(match head {
                hubert::Head::Linear => "linear",
                hubert::Head::Mlp { .. } => "two-layer",
                hubert::Head::LabelEmbedding => "label-embedding",
            }),
        }
    }
}

impl Network {
    /// Its parameters, and those of the head.
    pub fn weights(&self) -> &Weights {
        match self {
            Network::Clear(clear) => clear.weights(),
            Network::Hubert(hubert) => hubert.weights(),
        }
    }

    /// The system, as commands and configurations call it.
    pub fn system(&self) -> &'static str {
        match self {
            Network::Clear(_) => "clear",
            Network::Hubert(_) => "hubert",
        }
    }

    fn title(&self) -> &'static str {
        match self {
            Network::Clear(_) => "CLEAR",
            Network::Hubert(_) => "HuBERT-ECG",
        }
    }

    fn compat(&self) -> Compat {
        match self {
            Network::Clear(clear) => clear.config().compat,
            Network::Hubert(hubert) => hubert.config().compat,
        }
    }
}

/// Samples of a lead in one crop of HuBERT-ECG at 500 Hz, and the factor of decimation its front end expects.
pub fn hubert_crop(config: &HubertConfig) -> (usize, Option<usize>) {
    let decimation = match FrontEnd::of_kernels(&config.conv_kernel) {
        Some(FrontEnd::Hz500) => None,
        Some(FrontEnd::Hz50) => Some(10),
        _ => Some(purkinje_signal::hubert_input::DECIMATION),
    };
    (purkinje_signal::hubert_input::CROP_SAMPLES, decimation)
}

/// An encoder, alone or with a head.
#[derive(Clone, Debug)]
pub struct LoadedModel {
    /// Where it was read from; `None` for one that was just made.
    pub folder: Option<PathBuf>,
    /// The encoder, which holds the weights of the head too.
    pub network: Network,
    /// What stands on it.
    pub head: Option<Head>,
    /// What the outputs of the head mean.
    pub labels: Option<Labels>,
    /// What is done to recordings before the model sees them.
    pub preprocess: Preprocess,
}

/// The contents of `config.json`.
#[derive(Serialize, Deserialize)]
#[serde(tag = "model_type", rename_all = "lowercase")]
enum Config {
    Clear {
        version: u32,
        compat: Compat,
        head: Option<hug::Head>,
        clear: ClearConfig,
    },
    Hubert {
        version: u32,
        compat: Compat,
        head: Option<hubert::Head>,
        hubert: HubertConfig,
    },
}

impl LoadedModel {
    /// An encoder without a head.
    pub fn encoder(network: Network, preprocess: Preprocess) -> Self {
        LoadedModel {
            folder: None,
            network,
            head: None,
            labels: None,
            preprocess,
        }
    }

    /// Reads a model: `path` is its folder, or the folder of the run that made it.
    ///
    /// # Errors
    /// When a file is missing or damaged, or the parts do not fit together.
    pub fn load(path: &Path, device: &Device) -> miette::Result<Self> {
        let folder = folder_of(path)?;
        let place = || format!("cannot load the model `{}`", folder.display());
        let read = ModelFolder::read(&folder)
            .into_diagnostic()
            .wrap_err_with(place)?;
        let config = config(read.config).wrap_err_with(place)?;
        let preprocess: Preprocess = serde_json::from_value(read.preprocess)
            .into_diagnostic()
            .wrap_err("`preprocess.json` is not a preprocessing contract")
            .wrap_err_with(place)?;
        let mut weights = Weights::default();
        for (name, tensor) in read.weights {
            weights.insert(name, &tensor.shape, tensor.data, device);
        }
        let (network, head) = match config {
            Config::Clear { head, clear, .. } => {
                let clear = Clear::new(clear, weights).into_diagnostic();
                (clear.map(Network::Clear), head.map(Head::Clear))
            }
            Config::Hubert { head, hubert, .. } => {
                let hubert = Hubert::new(hubert, weights).into_diagnostic();
                (hubert.map(Network::Hubert), head.map(Head::Hubert))
            }
        };
        let model = LoadedModel {
            folder: Some(folder.clone()),
            network: network.wrap_err_with(place)?,
            head,
            labels: read.labels,
            preprocess,
        };
        if model.head.is_some() {
            model.labelled().wrap_err_with(place)?;
        }
        Ok(model)
    }

    /// Writes the model folder `dir`, whole or not at all; `made` says in a sentence how the model came about.
    ///
    /// # Errors
    /// When the head lacks its parameters, or the folder cannot be written.
    pub fn save(&self, dir: &Path, made: &str) -> miette::Result<()> {
        if self.head.is_some() {
            self.labelled()?;
        }
        let (version, compat) = (CONFIG_VERSION, self.network.compat());
        let config = match &self.network {
            Network::Clear(clear) => Config::Clear {
                version,
                compat,
                head: match self.head {
                    Some(Head::Clear(head)) => Some(head),
                    _ => None,
                },
                clear: clear.config().clone(),
            },
            Network::Hubert(hubert) => Config::Hubert {
                version,
                compat,
                head: match self.head {
                    Some(Head::Hubert(head)) => Some(head),
                    _ => None,
                },
                hubert: hubert.config().clone(),
            },
        };
        let compat = serde_json::to_value(compat).into_diagnostic()?;
        let (title, leads) = (self.network.title(), self.preprocess.leads.len());
        let description = match (&self.head, &self.labels) {
            (Some(head), Some(labels)) => format!(
                "{title} encoder of {leads}-lead recordings with a {head} head for {} labels (`{}`).",
                labels.classes.len(),
                labels.task
            ),
            _ => format!("{title} encoder of {leads}-lead recordings."),
        };
        let contents = FolderContents {
            weights: &self.state_dict(),
            preprocess: serde_json::to_value(&self.preprocess).into_diagnostic()?,
            labels: self.labels.clone(),
            card: ModelCard {
                name: name_of(dir),
                description,
                compat: compat.as_str().unwrap_or_default().to_owned(),
                how_made: vec![made.to_owned()],
                ..ModelCard::default()
            },
            config: serde_json::to_value(config).into_diagnostic()?,
        };
        ModelFolder::write(dir, &contents)
            .into_diagnostic()
            .wrap_err_with(|| format!("cannot save the model `{}`", dir.display()))
    }

    /// The head, and what its outputs mean.
    ///
    /// # Errors
    /// When the model has no head, or head, weights and labels do not fit together.
    pub fn labelled(&self) -> miette::Result<(Head, &Labels)> {
        let (Some(head), Some(labels)) = (self.head, &self.labels) else {
            return Err(miette!(
                help = "`purkinje probe --out` and `purkinje finetune` make models with a head",
                "the model {} is an encoder without a head for labels",
                self.place()
            ));
        };
        let classes = labels.classes.len();
        let fits = match (&self.network, head) {
            (Network::Clear(clear), Head::Clear(head)) => {
                Classifier::new(clear.clone(), head, classes).map(|_| ())
            }
            (Network::Hubert(hubert), Head::Hubert(head)) => {
                HubertClassifier::new(hubert.clone(), head, classes).map(|_| ())
            }
            _ => bail!(
                "the {head} head of the model {} belongs to another system",
                self.place()
            ),
        };
        fits.into_diagnostic().wrap_err_with(|| {
            format!(
                "the {head} head of the model {} does not fit its {classes} labels",
                self.place()
            )
        })?;
        Ok((head, labels))
    }

    /// The weights by their names, in host memory.
    pub fn state_dict(&self) -> StateDict {
        let host = self.network.weights().to_host();
        host.into_iter()
            .map(|(name, shape, data)| (name, NamedTensor { shape, data }))
            .collect()
    }

    fn place(&self) -> String {
        match &self.folder {
            Some(folder) => format!("`{}`", folder.display()),
            None => "that was just made".to_owned(),
        }
    }
}

fn folder_of(path: &Path) -> miette::Result<PathBuf> {
    [path.to_owned(), path.join("model")]
        .into_iter()
        .find(|folder| folder.join("config.json").is_file())
        .ok_or_else(|| {
            miette!(
                help = "name the folder of a model, or of the run that made it (`--out` of pretrain, finetune or import-checkpoint)",
                "`{}` holds no model: there is neither config.json nor model/config.json in it",
                path.display()
            )
        })
}

fn config(value: serde_json::Value) -> miette::Result<Config> {
    let text = |key: &str| {
        value
            .get(key)
            .map_or("absent".to_owned(), ToString::to_string)
    };
    let systems = ["clear", "hubert"];
    let system = value.get("model_type").and_then(|v| v.as_str());
    let Some(system) = system.filter(|name| systems.contains(name)) else {
        return Err(miette!(
            help = "published files become model folders by `purkinje import-checkpoint`",
            "`config.json`: `model_type` is {}, expected one of {}; the folder holds a model of another program",
            text("model_type"),
            systems.join(", ")
        ));
    };
    let field = system.to_owned();
    if value.get("version").and_then(serde_json::Value::as_u64) != Some(u64::from(CONFIG_VERSION)) {
        return Err(miette!(
            "`config.json`: `version` is {}, this program reads {CONFIG_VERSION}; update the program or make the model again",
            text("version")
        ));
    }
    let config: Config = serde_json::from_value(value)
        .into_diagnostic()
        .wrap_err_with(|| format!("`config.json` does not describe a {field} model"))?;
    match &config {
        Config::Clear { clear, .. } => clear.validate(),
        Config::Hubert { hubert, .. } => hubert.validate(),
    }
    .map_err(|problem| miette!("`config.json`, field `{field}`: {problem}"))?;
    Ok(config)
}

/// `runs/a/model` is the model of the run `a`.
fn name_of(dir: &Path) -> String {
    let mut names = dir.components().rev().filter_map(|part| match part {
        std::path::Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    });
    let last = names.next();
    match last.as_deref() {
        Some("model") => names.next().or(last),
        _ => last,
    }
    .unwrap_or_else(|| "model".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> ClearConfig {
        ClearConfig {
            embed_dim: 16,
            depth: 1,
            heads: 2,
            mlp_dim: 8,
            decoder_embed_dim: 8,
            decoder_depth: 1,
            decoder_heads: 2,
            ..ClearConfig::base()
        }
    }

    #[test]
    fn what_is_no_model_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let device = Device::flex();
        let error = LoadedModel::load(dir.path(), &device)
            .unwrap_err()
            .to_string();
        assert!(error.contains("neither config.json nor"), "{error}");
        let encoder = LoadedModel::encoder(
            Network::Clear(Clear::random(tiny(), 1, &device)),
            Preprocess::clear(),
        );
        let path = dir.path().join("m");
        encoder.save(&path, "by a test").unwrap();
        let config = std::fs::read_to_string(path.join("config.json")).unwrap();
        for (from, to, expected) in [
            ("\"clear\",", "\"bert\",", "`model_type` is \"bert\""),
            ("\"version\": 1", "\"version\": 9", "`version` is 9"),
            ("\"heads\": 2", "\"heads\": 3", "not a multiple of `heads`"),
            ("\"depth\": 1", "\"depth\": 2", "layers.1"),
        ] {
            std::fs::write(path.join("config.json"), config.replacen(from, to, 1)).unwrap();
            let error = LoadedModel::load(&path, &device).unwrap_err();
            let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
            assert!(chain.join(" ").contains(expected), "{chain:?}");
        }
    }
}
