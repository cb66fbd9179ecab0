//! A model as the commands use it: a folder with weights, preprocessing contract and labels, on a device.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use miette::{Context as _, IntoDiagnostic, miette};
use purkinje_models::checkpoint::{
    FolderContents, LabelClass, Labels, ModelCard, ModelFolder, NamedTensor, StateDict,
};
use purkinje_models::clear::{Clear, ClearConfig, Compat};
use purkinje_models::hug::{Classifier, Head};
use purkinje_models::layers::Weights;
use purkinje_record::LeadSet;
use purkinje_signal::Preprocess;
use purkinje_store::Store;
use serde::{Deserialize, Serialize};

use crate::tokens::{self, WantedLeads};

/// The layout of `config.json` that this program writes and reads.
const CONFIG_VERSION: u32 = 1;

/// A CLEAR encoder, alone or with a head.
#[derive(Clone, Debug)]
pub struct LoadedModel {
    /// Where it was read from; `None` for one that was just made.
    pub folder: Option<PathBuf>,
    /// The encoder, which holds the weights of the head too.
    pub clear: Clear,
    /// What stands on it.
    pub head: Option<Head>,
    /// What the outputs of the head mean.
    pub labels: Option<Labels>,
    /// What is done to recordings before the model sees them.
    pub preprocess: Preprocess,
}

/// The contents of `config.json`.
#[derive(Serialize, Deserialize)]
struct Config {
    model_type: String,
    version: u32,
    compat: Compat,
    head: Option<Head>,
    clear: ClearConfig,
}

impl LoadedModel {
    /// An encoder without a head.
    pub fn encoder(clear: Clear, preprocess: Preprocess) -> Self {
        LoadedModel {
            folder: None,
            clear,
            head: None,
            labels: None,
            preprocess,
        }
    }

    /// The same encoder with a head: `weights` holds the parameters of the head, among others or alone.
    pub fn with_head(
        &self,
        head: Head,
        weights: &Weights,
        task: &str,
        classes: &[String],
        thresholds: &[f32],
        leads: &LeadSet,
    ) -> Self {
        let labels = Labels {
            task: task.to_owned(),
            classes: classes
                .iter()
                .enumerate()
                .map(|(i, name)| LabelClass {
                    name: name.clone(),
                    code: None,
                    threshold: thresholds.get(i).map(|&t| f64::from(t)),
                })
                .collect(),
        };
        let config = self.clear.config();
        let device = tokens::device_of(&self.clear).unwrap_or_else(|_| Device::flex());
        let mut all = Weights::default();
        let own = config.parameters();
        let heads = head.parameters(config.embed_dim, classes.len());
        let sources = own
            .iter()
            .map(|entry| (entry, self.clear.weights()))
            .chain(heads.iter().map(|entry| (entry, weights)));
        for ((name, shape), source) in sources {
            // What is missing is named when the model is loaded or saved.
            if let Some(parameter) = source.parameter(name) {
                let data = parameter.value.to_data();
                let values = data.as_slice::<f32>().map(<[f32]>::to_vec);
                all.insert(name.as_str(), shape, values.unwrap_or_default(), &device);
            }
        }
        LoadedModel {
            folder: None,
            clear: self.clear.with_weights(all),
            head: Some(head),
            labels: Some(labels),
            preprocess: self.preprocess.clone().with_leads(leads.clone()),
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
        let clear = Clear::new(config.clear, weights)
            .into_diagnostic()
            .wrap_err_with(place)?;
        let model = LoadedModel {
            folder: Some(folder.clone()),
            clear,
            head: config.head,
            labels: read.labels,
            preprocess,
        };
        if model.head.is_some() {
            model.classifier().wrap_err_with(place)?;
        }
        Ok(model)
    }

    /// Writes the model folder `dir`, whole or not at all; `made` says in a sentence how the model came about.
    ///
    /// # Errors
    /// When the head lacks its parameters, or the folder cannot be written.
    pub fn save(&self, dir: &Path, made: &str) -> miette::Result<()> {
        if self.head.is_some() {
            self.classifier()?;
        }
        let config = Config {
            model_type: "clear".to_owned(),
            version: CONFIG_VERSION,
            compat: self.clear.config().compat,
            head: self.head,
            clear: self.clear.config().clone(),
        };
        let compat = serde_json::to_value(config.compat).into_diagnostic()?;
        let description = match (&self.head, &self.labels) {
            (Some(head), Some(labels)) => format!(
                "CLEAR encoder of {}-lead recordings with a {head} head for {} labels (`{}`).",
                self.preprocess.leads.len(),
                labels.classes.len(),
                labels.task
            ),
            _ => format!(
                "CLEAR encoder of {}-lead recordings: one vector for each lead.",
                self.preprocess.leads.len()
            ),
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

    /// Encoder and head, and what the outputs mean.
    ///
    /// # Errors
    /// When the model has no head, or head, weights and labels do not fit together.
    pub fn classifier(&self) -> miette::Result<(Classifier, Head, &Labels)> {
        let (Some(head), Some(labels)) = (self.head, &self.labels) else {
            return Err(miette!(
                help = "`purkinje probe --out` and `purkinje finetune` make models with a head",
                "the model {} is an encoder without a head for labels",
                self.place()
            ));
        };
        let classifier = Classifier::new(self.clear.clone(), head, labels.classes.len())
            .into_diagnostic()
            .wrap_err_with(|| {
                format!(
                    "the {head} head of the model {} does not fit its {} labels",
                    self.place(),
                    labels.classes.len()
                )
            })?;
        Ok((classifier, head, labels))
    }

    /// How the recordings of a store are given to the model, after checking that it holds `leads` and was prepared so that this is
    /// possible (a warning only if `any_preprocessing`).
    ///
    /// # Errors
    /// Names the first difference and what to do.
    pub fn check_store(
        &self,
        store: &Store,
        leads: &LeadSet,
        any_preprocessing: bool,
    ) -> miette::Result<Preprocess> {
        let wanted = WantedLeads::Named(leads.clone());
        tokens::agree(store, &self.preprocess, Some(&wanted), any_preprocessing)
    }

    /// The weights by their names, in host memory.
    pub fn state_dict(&self) -> StateDict {
        let host = self.clear.weights().to_host();
        host.into_iter()
            .map(|(name, shape, data)| (name, NamedTensor { shape, data }))
            .collect()
    }

    /// BLAKE3 of the file of weights, in hex.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn hash(&self) -> miette::Result<String> {
        let folder = self.folder.as_deref().unwrap_or(Path::new("."));
        let path = folder.join("model.safetensors");
        let mut hasher = blake3::Hasher::new();
        std::fs::File::open(&path)
            .and_then(|file| hasher.update_reader(file).map(|_| ()))
            .into_diagnostic()
            .wrap_err_with(|| format!("cannot read `{}`", path.display()))?;
        Ok(hasher.finalize().to_hex().to_string())
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
    if value.get("model_type").and_then(|v| v.as_str()) != Some("clear") {
        return Err(miette!(
            "`config.json`: `model_type` is {}, expected \"clear\"; the folder holds a model of another program",
            text("model_type")
        ));
    }
    if value.get("version").and_then(serde_json::Value::as_u64) != Some(u64::from(CONFIG_VERSION)) {
        return Err(miette!(
            "`config.json`: `version` is {}, this program reads {CONFIG_VERSION}; update the program or make the model again",
            text("version")
        ));
    }
    let config: Config = serde_json::from_value(value)
        .into_diagnostic()
        .wrap_err("`config.json` does not describe a CLEAR model")?;
    config
        .clear
        .validate()
        .map_err(|problem| miette!("`config.json`, field `clear`: {problem}"))?;
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
    .unwrap_or_else(|| "clear".to_owned())
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
    fn a_saved_classifier_is_loaded_as_it_was() {
        let device = Device::flex();
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        let encoder = LoadedModel::encoder(Clear::random(tiny(), 1, &device), Preprocess::clear());
        let mut weights = Weights::default();
        Head::Hug.initialise(&mut weights, 16, 2, 5, &device);
        let classes = ["A".to_owned(), "B".to_owned()];
        let leads = "I,II".parse().unwrap();
        let model = encoder.with_head(Head::Hug, &weights, "task", &classes, &[0.5, 0.25], &leads);
        model.save(&run.join("model"), "by a test").unwrap();

        let read = LoadedModel::load(&run, &device).unwrap();
        assert_eq!(read.state_dict(), model.state_dict());
        assert_eq!(read.clear.config(), model.clear.config());
        assert_eq!(read.preprocess.leads, leads);
        let (_, head, labels) = read.classifier().unwrap();
        assert_eq!(head, Head::Hug);
        assert_eq!(labels.classes[1].threshold, Some(0.25));
        assert_eq!(read.hash().unwrap().len(), 64);

        // A linear head on it leaves nothing of the HUG behind.
        let mut linear = Weights::default();
        Head::Linear.initialise(&mut linear, 16, 3, 5, &device);
        let names = ["A", "B", "C"].map(str::to_owned);
        let model = read.with_head(Head::Linear, &linear, "task", &names, &[], &leads);
        assert!(
            model
                .state_dict()
                .names()
                .all(|name| !name.starts_with("moe."))
        );
        assert!(model.classifier().is_ok());
    }

    #[test]
    fn what_is_no_model_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let device = Device::flex();
        let error = LoadedModel::load(dir.path(), &device)
            .unwrap_err()
            .to_string();
        assert!(error.contains("neither config.json nor"), "{error}");
        let encoder = LoadedModel::encoder(Clear::random(tiny(), 1, &device), Preprocess::clear());
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
