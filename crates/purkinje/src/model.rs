//! A model: a network on a device, with the preprocessing it expects and the labels it predicts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use purkinje_models::checkpoint::{
    FolderContents, FolderWriter, LabelClass, Labels, ModelCard, ModelFolder, Reference,
};
use purkinje_models::compat::Compat;
use purkinje_models::layers::Weights;
use purkinje_record::LeadSet;
use purkinje_signal::Preprocess;
use purkinje_store::Store;
use purkinje_text::Tokenizer;
use serde_json::{Map, Value, json};

use crate::error::During as _;
use crate::leads::WantedLeads;
use crate::made::Made;
use crate::network::{Network, json as to_json, state_dict};
use crate::prepared::agree;
use crate::registry::Registry;
use crate::reports::{SENTENCE, Writer};
use crate::system::{About, Level};
use crate::{Device, Error, Result};

/// The layout of `config.json` that this version writes and reads.
const CONFIG_VERSION: u32 = 1;

/// An encoder, alone or with a classification head, that was loaded or created.
///
/// It holds everything in memory: it keeps working when its files are replaced, and clones are cheap. All methods take
/// `&self`, so one model serves many threads.
#[derive(Clone)]
pub struct Model {
    folder: Option<PathBuf>,
    hash: Option<String>,
    network: Arc<dyn Network>,
    labels: Option<Labels>,
    tokenizer: Option<Arc<Tokenizer>>,
    writer: Option<Arc<Writer>>,
    preprocess: Preprocess,
    /// What the card of its folder says of its making.
    history: Arc<History>,
    device: Device,
    registry: Registry,
}

/// What the card of a model says of its making.
#[derive(Debug, Default)]
struct History {
    training_data: Option<String>,
    how: Vec<String>,
}

impl History {
    fn read(card: Option<&str>) -> History {
        let section = |heading| card.and_then(|card| ModelCard::section(card, heading));
        let how = section("How it was made").unwrap_or_default().lines();
        History {
            training_data: section("Training data").map(str::to_owned),
            how: how
                .filter_map(|line| line.strip_prefix("- "))
                .map(str::to_owned)
                .collect(),
        }
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("folder", &self.folder)
            .field("system", &self.about().name)
            .field("head", &self.network.head_name())
            .field("device", &self.device.to_string())
            .finish_non_exhaustive()
    }
}

impl Model {
    /// Loads a model of a published system: `path` is its folder, or the folder of the run that made it.
    ///
    /// # Errors
    /// When a file is missing or damaged, or weights and configuration do not match.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Model> {
        Model::load_with(path, device, &Registry::default())
    }

    /// Loads a model of a system in `registry`.
    ///
    /// # Errors
    /// As [`load`](Model::load).
    pub fn load_with(
        path: impl AsRef<Path>,
        device: &Device,
        registry: &Registry,
    ) -> Result<Model> {
        let folder = folder_of(path.as_ref())?;
        read(&folder, device, registry)
            .during(|| format!("cannot load the model `{}`", folder.display()))
    }

    /// An encoder of a published system with random weights, for instance `("clear", "tiny")`; it follows the paper.
    ///
    /// # Errors
    /// When there is no such system or size; the message names those that exist.
    pub fn random(system: &str, size: &str, seed: u64, device: &Device) -> Result<Model> {
        let registry = Registry::default();
        let system = registry.get(system)?;
        let network = system.random(size, Compat::default(), seed, device)?;
        let preprocess = system.preprocess()?;
        Ok(Model::encoder(network, preprocess, device, &registry))
    }

    /// An encoder without a head, from a network in memory.
    pub fn encoder(
        network: Arc<dyn Network>,
        preprocess: Preprocess,
        device: &Device,
        registry: &Registry,
    ) -> Model {
        Model {
            folder: None,
            hash: None,
            network,
            labels: None,
            tokenizer: None,
            writer: None,
            preprocess,
            history: Arc::default(),
            device: device.clone(),
            registry: registry.clone(),
        }
    }

    /// The same model with the tokenizer of the texts it reads.
    pub fn with_tokenizer(self, tokenizer: Option<Arc<Tokenizer>>) -> Model {
        Model { tokenizer, ..self }
    }

    /// The same model with what writes reports from its vectors.
    pub fn with_writer(self, writer: Arc<Writer>) -> Model {
        Model {
            writer: Some(writer),
            ..self
        }
    }

    /// What writes reports from its vectors.
    ///
    /// # Errors
    /// When it has none.
    pub fn writer(&self) -> Result<&Arc<Writer>> {
        self.writer.as_ref().ok_or_else(|| {
            Error::invalid(format!("the model {} writes no reports", self.place()))
                .with_help("`purkinje report train` trains what writes them")
        })
    }

    /// Whether it writes reports.
    pub fn writes(&self) -> bool {
        self.writer.is_some()
    }

    /// The tokenizer of the texts it reads.
    pub fn tokenizer(&self) -> Option<&Arc<Tokenizer>> {
        self.tokenizer.as_ref()
    }

    /// The same model with another vector of a recording, by its name.
    ///
    /// # Errors
    /// When its system has no such vector; the message names those it has.
    pub fn with_feature(self, name: &str) -> Result<Model> {
        Ok(Model {
            network: self.network.with_feature(name)?,
            ..self
        })
    }

    /// The same encoder with a head: `weights` holds the parameters of the head, among others or alone.
    ///
    /// # Errors
    /// When the system has no head of this name, or a parameter is missing.
    pub fn with_head(&self, head: &str, weights: &Weights, labels: Labels) -> Result<Model> {
        Ok(Model {
            folder: None,
            hash: None,
            network: self
                .network
                .with_head(head, labels.classes.len(), weights)?,
            labels: Some(labels),
            ..self.clone()
        })
    }

    /// The same encoder with a new head with random weights.
    ///
    /// # Errors
    /// When the system has no head of this name.
    pub fn with_new_head(&self, head: &str, labels: Labels, seed: u64) -> Result<Model> {
        let outputs = labels.classes.len();
        let weights = self.network.new_head(head, outputs, seed, &self.device)?;
        self.with_head(head, &weights, labels)
    }

    /// The same model with other leads as input.
    #[must_use]
    pub fn with_leads(self, leads: LeadSet) -> Model {
        Model {
            preprocess: self.preprocess.with_leads(leads),
            ..self
        }
    }

    /// The same model with other names for its outputs.
    ///
    /// # Errors
    /// When the number of labels differs from the number of outputs.
    pub fn with_labels(self, labels: Labels) -> Result<Model> {
        if labels.classes.len() != self.network.outputs() {
            return Err(Error::invalid(format!(
                "found {1} labels, expected one for each of the {0} outputs of the model",
                self.network.outputs(),
                labels.classes.len()
            )));
        }
        Ok(Model {
            labels: Some(labels),
            ..self
        })
    }

    /// The same encoder with random weights: the baseline for a pre-trained one.
    #[must_use]
    pub fn random_twin(&self, seed: u64) -> Model {
        Model {
            folder: None,
            hash: None,
            network: self.network.random_twin(seed, &self.device),
            labels: None,
            history: Arc::default(),
            ..self.clone()
        }
    }

    /// The same model with another reference for its explanations; all zeros if absent.
    ///
    /// # Errors
    /// When the model has no head.
    pub fn with_reference(self, reference: Option<Reference>) -> Result<Model> {
        let labels = Labels {
            reference,
            ..self.labelled()?.clone()
        };
        Ok(Model {
            labels: Some(labels),
            ..self
        })
    }

    /// Its name: that of the folder it was read from, or of the run that the folder belongs to.
    pub fn name(&self) -> String {
        let folder = self.folder.as_deref().map(name_of);
        folder.unwrap_or_else(|| self.about().title.to_owned())
    }

    /// The folder it was read from; `None` for a model that was not read from disk.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// BLAKE3 of its file of weights, in hex; `None` for a model that was not read from disk.
    pub fn hash(&self) -> Option<&str> {
        self.hash.as_deref()
    }

    /// What its card says of the data it was trained on, in Markdown; `None` for a model that was not read from disk, and where it does not say.
    pub fn trained_on(&self) -> Option<&str> {
        self.history.training_data.as_deref()
    }

    /// What its card says of how it was made, in lines.
    pub fn how_made(&self) -> &[String] {
        &self.history.how
    }

    /// Description of its system.
    pub fn about(&self) -> &'static About {
        self.network.about()
    }

    /// The network.
    pub fn network(&self) -> &Arc<dyn Network> {
        &self.network
    }

    /// Length of one vector.
    pub fn width(&self) -> usize {
        self.network.width()
    }

    /// The labels of its outputs; `None` for an encoder without a head.
    pub fn labels(&self) -> Option<&Labels> {
        self.labels.as_ref()
    }

    /// The preprocessing that the network expects.
    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    /// The device it computes on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The systems known when it was loaded.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The levels at which it gives vectors.
    pub fn levels(&self) -> Vec<Level> {
        self.network.levels()
    }

    /// Whether its predictions can be explained.
    pub fn explains(&self) -> bool {
        self.network.explains()
    }

    /// The labels of its outputs.
    ///
    /// # Errors
    /// When it has no classification head.
    pub fn labelled(&self) -> Result<&Labels> {
        self.labels.as_ref().ok_or_else(|| {
            Error::invalid(format!(
                "the model {} is an encoder without a classification head",
                self.place()
            ))
            .with_help("fit one with `purkinje probe --out` or `purkinje finetune`")
        })
    }

    /// Checks that the system supports this number of crops per recording.
    ///
    /// # Errors
    /// For zero, and for more than one where the system reads whole recordings.
    pub fn check_crops(&self, crops: usize) -> Result<()> {
        match crops {
            0 => Err(Error::invalid("`--crops` is 0, expected at least 1")),
            2.. if !self.about().crops => Err(self.registry.unsupported(
                format!("{crops} crops of a recording"),
                self.about(),
                |about| about.crops,
            )),
            _ => Ok(()),
        }
    }

    /// Checks that the model gives vectors at a level.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where it does not.
    pub fn check_level(&self, level: Level) -> Result<()> {
        let levels = self.levels();
        if levels.contains(&level) {
            return Ok(());
        }
        let have: Vec<&str> = levels.iter().map(|level| level.name()).collect();
        let able = self.registry.systems().filter_map(|system| {
            let about = system.about();
            let mut heads = about.head_levels.iter();
            match about.levels.contains(&level) {
                true => Some(about.title.to_owned()),
                false => heads
                    .find(|(_, added)| *added == level)
                    .map(|(head, _)| format!("{} with a {head} head", about.title)),
            }
        });
        Err(Error::Unsupported {
            capability: format!(
                "vectors at the level `{level}` (this model has {})",
                have.join(", ")
            ),
            system: self.about().title.to_owned(),
            able: able.collect(),
        })
    }

    /// The preprocessing under which the recordings of a store are given to the model, after checking that the store
    /// has `leads` and that its preprocessing fits (a misfit is only a warning if `any_preprocessing`).
    ///
    /// # Errors
    /// A message that names the first difference and what to do.
    pub fn check_store(
        &self,
        store: &Store,
        leads: &LeadSet,
        any_preprocessing: bool,
    ) -> Result<Preprocess> {
        let wanted = WantedLeads::Named(leads.clone());
        agree(store, &self.preprocess, Some(&wanted), any_preprocessing)
    }

    /// Writes the model folder `dir`, whole or not at all; `made` says how the model was made: in one sentence, or with data and results.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save(&self, dir: &Path, made: impl Into<Made>) -> Result<()> {
        let made = made.into();
        let about = self.about();
        let compat = to_json(&self.network.compat())?;
        let mut config = Map::new();
        config.insert("model_type".into(), json!(about.name));
        config.insert("version".into(), json!(CONFIG_VERSION));
        config.insert("compat".into(), compat.clone());
        config.insert("head".into(), json!(self.network.head()?));
        config.insert(about.name.into(), self.network.config()?);
        let leads = self.preprocess.leads.len();
        let title = about.title;
        let description = match (self.network.head_name(), &self.labels) {
            (Some(head), Some(labels)) => format!(
                "{title} encoder of {leads}-lead recordings with a {head} head for {} labels (`{}`).",
                labels.classes.len(),
                labels.task
            ),
            _ => format!("{title} encoder of {leads}-lead recordings."),
        };
        let mut how_made = made.how;
        let written = self.writer.as_deref().map(|own| {
            how_made.push(own.about().told());
            how_made.push(SENTENCE.to_owned());
            (own, state_dict(own.weights()))
        });
        let writer = match &written {
            None => None,
            Some((own, weights)) => Some(FolderWriter {
                config: to_json(own.about())?,
                weights,
                tokenizer: own.tokenizer().json(),
            }),
        };
        let contents = FolderContents {
            writer,
            weights: &state_dict(self.network.weights()),
            preprocess: to_json(&self.preprocess)?,
            labels: self.labels.clone(),
            tokenizer: self.tokenizer.as_ref().map(|own| own.json()),
            card: ModelCard {
                name: name_of(dir),
                description,
                compat: compat.as_str().unwrap_or_default().to_owned(),
                how_made,
                preprocessing: self.preprocess.in_words(),
                training_data: made.training_data,
                evaluation: made.evaluation,
                ..ModelCard::default()
            },
            config: Value::Object(config),
        };
        ModelFolder::write(dir, &contents)
            .during(|| format!("cannot save the model `{}`", dir.display()))
    }

    fn place(&self) -> String {
        match &self.folder {
            Some(folder) => format!("`{}`", folder.display()),
            None => "in memory".to_owned(),
        }
    }
}

/// The same labels with what a store says that its classes mean.
pub fn described(mut labels: Labels, store: &Store) -> Labels {
    let mut sets = store.info().label_sets.iter();
    if let Some(set) = sets.find(|set| set.name == labels.task) {
        for class in &mut labels.classes {
            let mut known = set.classes.iter();
            let same = known.find(|known| known.name == class.name);
            class.description = same.and_then(|known| known.description.clone());
        }
    }
    labels
}

/// Labels without codes.
pub fn labels(task: &str, classes: &[String], thresholds: &[f32]) -> Labels {
    let classes = classes.iter().enumerate().map(|(i, name)| LabelClass {
        name: name.clone(),
        description: None,
        code: None,
        threshold: thresholds.get(i).map(|&t| f64::from(t)),
        training_positives: None,
    });
    Labels {
        task: task.to_owned(),
        classes: classes.collect(),
        reference: None,
    }
}

/// Labels with the number of training records that each had.
pub(crate) fn with_positives(mut labels: Labels, positives: &[usize]) -> Labels {
    for (class, &count) in labels.classes.iter_mut().zip(positives) {
        class.training_positives = Some(count);
    }
    labels
}

fn read(folder: &Path, device: &Device, registry: &Registry) -> Result<Model> {
    let weights_file = folder.join("model.safetensors");
    let read = ModelFolder::read(folder)?;
    let hash = hash_of(std::slice::from_ref(&weights_file))?;
    let preprocess: Preprocess = serde_json::from_value(read.preprocess).map_err(|error| {
        Error::invalid(format!(
            "`preprocess.json` does not describe preprocessing: {error}"
        ))
    })?;
    let mut weights = Weights::default();
    for (name, tensor) in read.weights {
        weights.insert(name, &tensor.shape, tensor.data, device.inner());
    }
    let outputs = read
        .labels
        .as_ref()
        .map_or(0, |labels| labels.classes.len());
    let network = open(read.config, outputs, weights, registry)?;
    let model = Model {
        folder: Some(folder.to_owned()),
        hash: Some(hash),
        network,
        labels: read.labels,
        tokenizer: read
            .tokenizer
            .map(|json| {
                let origin = folder.join("tokenizer.json").display().to_string();
                Tokenizer::from_json(json, &origin).map(Arc::new)
            })
            .transpose()?,
        writer: read
            .writer
            .map(|own| Writer::read(own, folder, device).map(Arc::new))
            .transpose()?,
        preprocess,
        history: Arc::new(History::read(read.card.as_deref())),
        device: device.clone(),
        registry: registry.clone(),
    };
    if model.network.head_name().is_some() {
        model.labelled()?;
    }
    Ok(model)
}

fn open(
    config: Value,
    outputs: usize,
    weights: Weights,
    registry: &Registry,
) -> Result<Arc<dyn Network>> {
    let Value::Object(mut config) = config else {
        return Err(Error::invalid("`config.json` is not a JSON object"));
    };
    let text = |key: &str| {
        config
            .get(key)
            .map_or("absent".to_owned(), Value::to_string)
    };
    let name = config.get("model_type").and_then(Value::as_str);
    let Some(system) = name.and_then(|name| registry.named(name)) else {
        return Err(Error::invalid(format!(
            "`config.json`: `model_type` is {}, expected one of {}",
            text("model_type"),
            registry.names().join(", ")
        ))
        .with_help(
            "convert a published checkpoint to a model folder with `purkinje import-checkpoint`",
        ));
    };
    if config.get("version").and_then(Value::as_u64) != Some(u64::from(CONFIG_VERSION)) {
        return Err(Error::invalid(format!(
            "`config.json`: `version` is {}, expected {CONFIG_VERSION}; update the program or train or import the model again",
            text("version")
        )));
    }
    let name = system.about().name;
    let own = config.remove(name).ok_or_else(|| {
        Error::invalid(format!(
            "`config.json` has no field `{name}`, expected the hyper-parameters of a {name} model in it"
        ))
    })?;
    let head = config.remove("head").filter(|head| !head.is_null());
    system.open(own, head, outputs, weights)
}

/// BLAKE3 of files one after the other, in hex.
pub(crate) fn hash_of(paths: &[PathBuf]) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for path in paths {
        std::fs::File::open(path)
            .and_then(|file| hasher.update_reader(file).map(|_| ()))
            .map_err(|error| Error::file("read", path, error))?;
    }
    Ok(hasher.finalize().to_hex().to_string())
}

fn folder_of(path: &Path) -> Result<PathBuf> {
    [path.to_owned(), path.join("model")]
        .into_iter()
        .find(|folder| folder.join("config.json").is_file())
        .ok_or_else(|| {
            Error::invalid(format!(
                "no model found in `{}`: expected config.json or model/config.json",
                path.display()
            ))
            .with_help("give the folder of a model, or of the run that made it (`--out` of pretrain, finetune or import-checkpoint)")
        })
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
    use crate::network::Loaded;
    use crate::systems::Clear;
    use purkinje_models::clear::{self, ClearConfig};
    use purkinje_models::hug::Head;

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

    fn encoder() -> Model {
        let device = Device::cpu();
        let network = Loaded::<Clear> {
            encoder: clear::Clear::random(tiny(), 1, device.inner()),
            head: None,
        };
        let registry = Registry::default();
        Model::encoder(Arc::new(network), Preprocess::clear(), &device, &registry)
    }

    fn state(model: &Model) -> purkinje_models::checkpoint::StateDict {
        state_dict(model.network().weights())
    }

    #[test]
    fn a_saved_classifier_is_loaded_as_it_was() {
        let device = Device::cpu();
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        let mut weights = Weights::default();
        Head::Hug.initialise(&mut weights, 16, 2, 5, device.inner());
        let classes = ["A".to_owned(), "B".to_owned()];
        let leads: LeadSet = "I,II".parse().unwrap();
        let model = encoder().with_leads(leads.clone());
        let model = model
            .with_head("hug", &weights, labels("task", &classes, &[0.5, 0.25]))
            .unwrap();
        model.save(&run.join("model"), "by a test").unwrap();

        let read = Model::load(&run, &device).unwrap();
        assert_eq!(state(&read), state(&model));
        assert_eq!(
            read.network().config().unwrap(),
            model.network().config().unwrap()
        );
        assert_eq!(read.preprocess().leads, leads);
        assert_eq!(read.network().head_name().as_deref(), Some("hug"));
        assert_eq!(read.labelled().unwrap().classes[1].threshold, Some(0.25));
        assert_eq!(read.hash().unwrap().len(), 64);

        // A linear head on it leaves nothing of the HUG behind.
        let mut linear = Weights::default();
        Head::Linear.initialise(&mut linear, 16, 3, 5, device.inner());
        let names = ["A", "B", "C"].map(str::to_owned);
        let model = read
            .with_head("linear", &linear, labels("task", &names, &[]))
            .unwrap();
        assert!(state(&model).names().all(|name| !name.starts_with("moe.")));
        assert!(model.labelled().is_ok());
    }

    #[test]
    fn a_model_works_after_its_files_are_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        encoder().save(&path, "by a test").unwrap();
        let model = Model::load(&path, &Device::cpu()).unwrap();
        let before = state(&model);
        std::fs::remove_dir_all(&path).unwrap();
        assert_eq!(state(&model), before);
        fn shared<T: Send + Sync>(_: &T) {}
        shared(&model);
    }

    #[test]
    fn what_is_no_model_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let device = Device::cpu();
        let error = Model::load(dir.path(), &device).unwrap_err().to_string();
        assert!(error.contains("expected config.json or"), "{error}");
        let path = dir.path().join("m");
        encoder().save(&path, "by a test").unwrap();
        let config = std::fs::read_to_string(path.join("config.json")).unwrap();
        for (from, to, expected) in [
            ("\"clear\",", "\"bert\",", "`model_type` is \"bert\""),
            ("\"version\": 1", "\"version\": 9", "`version` is 9"),
            ("\"heads\": 2", "\"heads\": 3", "not a multiple of `heads`"),
            ("\"depth\": 1", "\"depth\": 2", "layers.1"),
        ] {
            std::fs::write(path.join("config.json"), config.replacen(from, to, 1)).unwrap();
            let error = Model::load(&path, &device).unwrap_err();
            let mut chain = vec![error.to_string()];
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                chain.push(error.to_string());
                cause = error.source();
            }
            assert!(chain.join(" ").contains(expected), "{chain:?}");
        }
    }

    #[test]
    fn what_a_system_cannot_do_names_those_that_can() {
        let model = encoder();
        let error = model.check_crops(3).unwrap_err().to_string();
        assert!(error.contains("HuBERT-ECG"), "{error}");
        let error = model.check_level(Level::Token).unwrap_err().to_string();
        assert!(
            error.contains("HuBERT-ECG") && error.contains("beat"),
            "{error}"
        );
        assert!(model.check_level(Level::Beat).is_ok());
    }
}
