//! Importing: a published checkpoint becomes a model. And back.
//!
//! There is one way for all systems. A system says what is published of it ([`Imports`]); everything else is done here: the
//! system of a file is detected where none is named, tensors find their parameters, outputs get their names.

mod labels;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use purkinje_models::checkpoint::{
    self, FileWriter, KeyReport, Labels, NamedTensor, Published, PublishedFile, StateDict,
    read_published,
};
use purkinje_models::compat::Compat;
use purkinje_models::layers::Weights;
use purkinje_signal::Preprocess;
use purkinje_text::Tokenizer;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::During as _;
use crate::keys::{Described, Given, Key, apply, describe};
use crate::made::{Made, PROGRAM};
use crate::network::{Loaded, Network, state_dict};
use crate::registry::{Complete, Entry};
use crate::reports::{Writer, WriterAbout};
use crate::system::{Level, System};
use crate::text::count;
use crate::{Device, Error, Model, Registry, Result};

/// How a published checkpoint is imported.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImportOptions {
    /// The system, by its name; detected from the file if open.
    pub system: Option<String>,
    /// Attention heads of the encoder; those of the configuration or of the published size if open.
    pub heads: Option<usize>,
    /// Attention heads of the decoder; likewise.
    pub decoder_heads: Option<usize>,
    /// Whose behaviour the model follows; that of the released program if open, which gives the published numbers.
    pub compat: Option<Compat>,
    /// Preprocessing of the recordings it was trained on; that of the published models if open.
    pub preprocess: Option<Preprocess>,
    /// What the outputs mean: a file (labels.json, or text with a name a line), `STORE:TASK`, or the name of a published order.
    pub labels: Option<String>,
    /// The published configuration, for a file that does not lie beside it.
    pub config: Option<PathBuf>,
    /// The tokenizer of the texts that the network reads, kept with the model; that beside the file if open.
    pub tokenizer: Option<PathBuf>,
    /// The tokenizer of the part that writes reports, where the file has one; without it that part is left out.
    pub writer_tokenizer: Option<PathBuf>,
    /// Settings of the system.
    pub set: Given,
}

/// A model from a published checkpoint.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The model.
    pub model: Model,
    /// What became of every tensor.
    pub report: KeyReport,
    /// What a reader should know: which entry was taken, what was left out or rounded, what outputs mean.
    pub notes: Vec<String>,
    /// How it came about, for [`Model::save`].
    pub made: Made,
}

/// What the outputs of published models mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outputs {
    /// Their names, in the order of the head.
    pub names: Vec<String>,
    /// They are two that exclude each other, which together say one label: the second against the first.
    pub one_of_two: bool,
}

/// The part of a published file that writes reports.
#[derive(Clone, Debug)]
pub struct PublishedWriter {
    /// Its sizes, its parameters, and where these stand in the file.
    pub file: FileWriter,
    /// The vector that it reads, where the encoder has several.
    pub feature: Option<String>,
    /// The level of the vectors it reads.
    pub level: Level,
}

/// A system of which checkpoints are published.
pub trait Imports: System {
    /// What is known of its files.
    type Layout: Published;

    /// The preprocessing of the recordings that published models were trained on, by name.
    const PUBLISHED_PRESET: &'static str = Self::ABOUT.preset;

    /// What `--set` takes: parts of the network that leave no trace in files.
    const IMPORT_KEYS: &'static [Key<Self::Config>] = &[];

    /// The network that a file holds, and the head with its outputs. Heads are those of attention.
    fn published_network(
        layout: &Self::Layout,
        heads: usize,
        decoder_heads: Option<usize>,
    ) -> (Self::Config, Option<(Self::Head, usize)>);

    /// The layout of the file that a network is published as.
    fn published_layout(config: &Self::Config, head: Option<(Self::Head, usize)>) -> Self::Layout;

    /// The names of the parameters in the order in which a network of this system holds them; that of the layout if open.
    fn held_order(config: &Self::Config, head: Option<(Self::Head, usize)>) -> Option<Vec<String>> {
        let _ = (config, head);
        None
    }

    /// Whether a model can be used, by the configuration of the file.
    ///
    /// # Errors
    /// Why not, and what to do.
    fn usable(stated: &Map<String, Value>) -> Result<()> {
        let _ = stated;
        Ok(())
    }

    /// The part of a file that writes reports, its parameters, and what it reads of a recording; `None` where there is none. `stated` is the
    /// `config.json` of the language model that it started from.
    ///
    /// # Errors
    /// When that part is not whole.
    fn published_writer(
        found: &StateDict,
        stated: Option<&Value>,
    ) -> Result<Option<PublishedWriter>> {
        let _ = (found, stated);
        Ok(None)
    }

    /// What the outputs of published models mean, by the name of a data set; `None` where the name is not known.
    ///
    /// # Errors
    /// Where the order was not published.
    fn published_outputs(name: &str) -> Result<Option<Outputs>> {
        let _ = name;
        Ok(None)
    }

    /// The names of the orders that are known.
    fn published_orders() -> Vec<String> {
        Vec::new()
    }
}

/// Imports a published checkpoint: a folder of Hugging Face, a `.safetensors` file, or a file of PyTorch.
///
/// # Errors
/// When the file cannot be read, is of no system here or of another one, or leaves something open: parameters
/// ([`Error::Unfilled`]), attention heads, the number of labels.
pub fn import(
    file: &Path,
    options: &ImportOptions,
    device: &Device,
    registry: &Registry,
) -> Result<Imported> {
    let place = || format!("cannot import `{}`", file.display());
    let mut read = read_published(file, &reading(options))?;
    if let Some(path) = &options.config {
        read.args = configuration(path)?;
    }
    let system = match &options.system {
        Some(name) => registry.named(name).ok_or_else(|| {
            Error::invalid(format!(
                "there is no system `{name}`: expected one of {}",
                registry.names().join(", ")
            ))
        })?,
        None => registry.recognise(&read.tensors).during(place)?,
    };
    let source = Source {
        path: file,
        registry,
    };
    system
        .import(read, options, &source, device)
        .map_err(|error| match error {
            error @ Error::Unfilled { .. } => error,
            error => error.during(place()),
        })
}

/// Word pieces of the longest report that published programs write, its start included.
const PUBLISHED_LENGTH: usize = 256;
/// Bytes of the longest configuration that is read.
const LONGEST_CONFIG: u64 = 1 << 20;

fn configuration(path: &Path) -> Result<Map<String, Value>> {
    let io = |source| Error::File {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let size = std::fs::metadata(path).map_err(io)?.len();
    let parsed = match size {
        0..=LONGEST_CONFIG => serde_json::from_slice(&std::fs::read(path).map_err(io)?),
        _ => Ok(Value::Null),
    };
    match parsed {
        Ok(Value::Object(fields)) => Ok(fields),
        _ => Err(Error::invalid(format!(
            "`{}` is no configuration: expected a JSON object of at most 1 MB",
            path.display()
        ))),
    }
}

/// The tokenizer that was named, or lies beside the file of a network that reads texts.
fn tokenizer(
    options: &ImportOptions,
    file: &Path,
    network: &dyn Network,
    notes: &mut Vec<String>,
) -> Result<Option<Arc<Tokenizer>>> {
    let reads = network.table_of_words();
    let folder = if file.is_dir() {
        file
    } else {
        file.parent().unwrap_or(Path::new(""))
    };
    let beside = purkinje_text::has_tokenizer(folder).then(|| folder.to_owned());
    let path = match (&options.tokenizer, reads) {
        (Some(_), None) => {
            return Err(Error::invalid(
                "`--tokenizer`: this network reads no texts; leave it out",
            ));
        }
        (_, None) => return Ok(None),
        (Some(path), _) => path.clone(),
        (None, Some(_)) => match beside {
            Some(folder) => folder,
            None => {
                notes.push("It reads texts and has no tokenizer: `--tokenizer PATH` takes the `tokenizer.json` it was trained with, or the folder of one or of a `vocab.txt`; recordings need none.".to_owned());
                return Ok(None);
            }
        },
    };
    let found = Tokenizer::read(&path)?;
    let (largest, rows) = (found.largest_id() as usize, reads.unwrap_or(0));
    if largest >= rows {
        return Err(Error::invalid(format!(
            "the tokenizer `{}` has ids up to {largest}, the network's table {rows} rows: it is that of another network",
            path.display()
        )));
    }
    Ok(Some(Arc::new(found)))
}

fn reading(options: &ImportOptions) -> checkpoint::ImportOptions {
    checkpoint::ImportOptions {
        heads: options.heads,
        decoder_heads: options.decoder_heads,
        ..checkpoint::ImportOptions::default()
    }
}

/// Where a file lies, and the systems that are known.
pub struct Source<'a> {
    /// The file.
    pub path: &'a Path,
    /// The systems.
    pub registry: &'a Registry,
}

/// Importing of a system as an object.
pub trait AnyImports {
    /// Whether this is the name of a tensor that encoders of this system alone have.
    fn recognises(&self, name: &str) -> bool;

    /// The settings that only this system has, with their defaults.
    ///
    /// # Errors
    /// None, where the largest size is one.
    fn import_keys(&self) -> Result<Vec<Described>>;

    /// What was read as a model of this system.
    ///
    /// # Errors
    /// As [`import`].
    fn import(
        &self,
        file: PublishedFile,
        options: &ImportOptions,
        source: &Source<'_>,
        device: &Device,
    ) -> Result<Imported>;
}

impl<S: Complete> AnyImports for Entry<S> {
    fn recognises(&self, name: &str) -> bool {
        S::Layout::recognises(name)
    }

    fn import_keys(&self) -> Result<Vec<Described>> {
        let sizes = S::ABOUT.sizes;
        let config = crate::registry::sized::<S>(sizes[sizes.len() - 1].name)?;
        let config = S::with_compat(config, Compat::Released);
        Ok(describe(S::IMPORT_KEYS, &config))
    }

    fn import(
        &self,
        file: PublishedFile,
        options: &ImportOptions,
        source: &Source<'_>,
        device: &Device,
    ) -> Result<Imported> {
        let writer = S::published_writer(&file.tensors, decoder_config(options)?.as_ref())?;
        let read: checkpoint::Imported<S::Layout> =
            checkpoint::import_read(file, &reading(options)).map_err(advised)?;
        let mut notes = read.notes;
        if let Some(epoch) = read.epoch {
            notes.push(format!("Saved after epoch {epoch}."));
        }
        if !read.report.is_complete() {
            return Err(Error::Unfilled {
                file: source.path.to_owned(),
                report: Box::new(read.report),
            });
        }
        S::usable(&read.args)?;
        let heads = (read.heads, read.decoder_heads);
        let (config, mut head) = S::published_network(&read.layout, heads.0, heads.1);
        let compat = options.compat.unwrap_or(Compat::Released);
        let defaults = S::with_compat(config, compat);
        let mut config = defaults.clone();
        let settings = S::IMPORT_KEYS;
        apply(
            settings,
            &options.set,
            &mut config,
            &defaults,
            S::ABOUT.title,
        )?;
        S::validate(&config).map_err(Error::invalid)?;
        let given = options.labels.as_deref();
        let outputs = head.map(|(_, outputs)| outputs);
        let mut labels = labels::of_outputs::<S>(given, outputs, &mut notes)?;
        let order = S::held_order(&config, head);
        let mut weights = tensors(read.state, order, device);
        if let Some((labels, true)) = &mut labels {
            weights = S::one_of_two(&weights, device.inner())?;
            labels.classes.remove(0);
            head = head.map(|(head, _)| (head, 1));
            notes.push(format!(
                "Its two outputs exclude each other; they became one, `{}` against the other, with the same probabilities.",
                labels.classes[0].name
            ));
        }
        let contract = match &options.preprocess {
            Some(contract) => contract.clone(),
            None => Preprocess::preset(S::PUBLISHED_PRESET)
                .map_err(|error| Error::invalid(error.to_string()))?,
        };
        let contract = S::followed(contract, S::compat(&config));
        let model = model::<S>(config, head, weights, labels, contract, device, source)?;
        let tokenizer = tokenizer(options, source.path, model.network().as_ref(), &mut notes)?;
        let mut model = model.with_tokenizer(tokenizer);
        let mut report = read.report;
        match (writer, &options.writer_tokenizer) {
            (Some(own), Some(folder)) => {
                let taken = |name: &str| own.file.mapped.iter().any(|to| to.theirs == name);
                report.unused.retain(|(name, _)| !taken(name));
                report.mapped.extend(own.file.mapped.iter().cloned());
                model = with_writer(model, own, folder, source.path)?;
            }
            (Some(_), None) => notes.push("It writes reports, and that part was left out: `--writer-tokenizer PATH` takes the tokenizer of the decoder, or the folder of the language model that it started from.".to_owned()),
            (None, Some(_)) => {
                return Err(Error::invalid(
                    "`--writer-tokenizer`: no part of this file writes reports; leave it out",
                ));
            }
            (None, None) => {}
        }
        Ok(Imported {
            model,
            report,
            notes,
            made: made(S::ABOUT.name, source.path),
        })
    }
}

fn model<S: Complete>(
    config: S::Config,
    head: Option<(S::Head, usize)>,
    weights: Weights,
    labels: Option<(Labels, bool)>,
    contract: Preprocess,
    device: &Device,
    source: &Source<'_>,
) -> Result<Model> {
    let encoder = S::encoder(config, weights)?;
    if let Some((head, outputs)) = head {
        // Names what is missing.
        S::classifier(encoder.clone(), head, outputs)?;
    }
    let network: Arc<dyn Network> = Arc::new(Loaded::<S> { encoder, head });
    let model = Model::encoder(network, contract, device, source.registry);
    match labels {
        Some((labels, _)) => model.with_labels(labels),
        None => Ok(model),
    }
}

/// The `config.json` beside the tokenizer of the part that writes, if there is one.
fn decoder_config(options: &ImportOptions) -> Result<Option<Value>> {
    let path = options.writer_tokenizer.as_ref();
    let path = path.map(|folder| folder.join("config.json"));
    match path.filter(|path| path.is_file()) {
        None => Ok(None),
        Some(path) => Ok(Some(Value::Object(configuration(&path)?))),
    }
}

/// A model with the part of its file that writes.
fn with_writer(model: Model, own: PublishedWriter, tokenizer: &Path, file: &Path) -> Result<Model> {
    let model = match &own.feature {
        Some(feature) => model.with_feature(feature)?,
        None => model,
    };
    model.check_level(own.level)?;
    let about = WriterAbout {
        network: own.file.config,
        max_tokens: PUBLISHED_LENGTH,
        feature: own.feature,
        level: own.level,
        data: file
            .file_name()
            .unwrap_or(file.as_os_str())
            .to_string_lossy()
            .into_owned(),
        text: "report".to_owned(),
        reports: 0,
        languages: Vec::new(),
    };
    let weights = tensors(own.file.state, None, model.device());
    let writer = Writer::new(about, weights, Tokenizer::read(tokenizer)?)?;
    Ok(model.with_writer(Arc::new(writer)))
}

/// How many attention heads there are is what people have to say most often.
fn advised(error: checkpoint::CheckpointError) -> Error {
    match &error {
        checkpoint::CheckpointError::UnknownHeads { part, .. } => {
            let option = match *part {
                "decoder" => "--decoder-heads",
                _ => "--heads",
            };
            Error::invalid(error.to_string()).with_help(format!(
                "name the attention heads with `{option}`; the configuration of the run that made the weights says how many there are"
            ))
        }
        _ => error.into(),
    }
}

/// Tensors as weights; those that `order` names come first, in its order.
fn tensors(state: StateDict, order: Option<Vec<String>>, device: &Device) -> Weights {
    let mut all: Vec<(String, NamedTensor)> = state.into_iter().collect();
    if let Some(order) = order {
        let places: HashMap<&str, usize> = order
            .iter()
            .enumerate()
            .map(|(i, name)| (name.as_str(), i))
            .collect();
        all.sort_by_key(|(name, _)| places.get(name.as_str()).copied().unwrap_or(usize::MAX));
    }
    let mut weights = Weights::default();
    for (name, tensor) in all {
        weights.insert(name, &tensor.shape, tensor.data, device.inner());
    }
    weights
}

fn made(system: &str, file: &Path) -> Made {
    let name = file.file_name().unwrap_or(file.as_os_str());
    let name = name.to_string_lossy();
    let sentence = format!("{PROGRAM} import-checkpoint {system}: weights of `{name}`");
    Made {
        training_data: format!(
            "That of the checkpoint `{name}`, which does not say; the publication of its authors does."
        ),
        ..Made::from(sentence.as_str())
    }
}

/// A network as it is published.
pub trait Exports {
    /// Its parameters under the names of the published program, as its `load_state_dict` takes them.
    fn published(&self) -> StateDict;
}

impl<S: Complete> Exports for Loaded<S> {
    fn published(&self) -> StateDict {
        use purkinje_models::encoder::Encoder as _;
        let layout = S::published_layout(S::config(&self.encoder), self.head);
        let named = |(name, tensor): (String, _)| (layout.published(&name), tensor);
        let mut all: StateDict = state_dict(self.encoder.weights())
            .into_iter()
            .map(named)
            .collect();
        for (name, shape) in layout.unused() {
            if all.get(&name).is_none() {
                let data = vec![0.0; shape.iter().product()];
                all.insert(name, NamedTensor { shape, data });
            }
        }
        for (name, again) in S::Layout::REPEATED {
            if let Some(tensor) = all.get(name).cloned() {
                all.insert(*again, tensor);
            }
        }
        all
    }
}

/// What was written of a model under published names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exported {
    /// Tensors.
    pub tensors: usize,
    /// Numbers in them.
    pub parameters: usize,
}

impl Model {
    /// Writes the weights under the names of the published program, as its `load_state_dict` takes them.
    ///
    /// # Errors
    /// When `file` does not end in `.safetensors` or cannot be written.
    pub fn export(&self, file: &Path) -> Result<Exported> {
        if file
            .extension()
            .is_none_or(|ending| !ending.eq_ignore_ascii_case("safetensors"))
        {
            return Err(Error::invalid(format!(
                "`{}`: expected a name that ends in .safetensors",
                file.display()
            )));
        }
        let tensors = self.network().published();
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        checkpoint::write_safetensors(file, &tensors, &metadata)?;
        Ok(Exported {
            tensors: tensors.len(),
            parameters: tensors.parameters(),
        })
    }
}

/// What does not fill a model, in words.
pub(crate) fn unfilled(report: &KeyReport) -> String {
    format!(
        "{} missing, {} of another shape",
        count(report.missing.len(), "parameter"),
        report.mis_shaped.len()
    )
}
