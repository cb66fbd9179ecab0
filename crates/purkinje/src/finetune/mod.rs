//! Fine-tuning: everything, or chosen parts, of encoder and head learn from labels; by published recipes, too.

mod config;
mod plan;
mod run;
mod system;
pub(crate) mod tuning;
mod validate;

use std::path::{Path, PathBuf};

use purkinje_eval::report::{EncoderRows, ResultTable};
use purkinje_record::LeadSet;
use purkinje_signal::Preprocess;
use purkinje_store::Store;
use serde::{Deserialize, Serialize, Serializer};
use toml::{Table, Value};

use crate::features::{FeatureOptions, Features, MEMORY_LIMIT};
use crate::model::{Model, labels};
use crate::probe::{Evaluated, HeadOptions, Protocol, fit, frozen_head, quality_filter};
use crate::reporter::Reporter;
use crate::results::{made, write_results};
use crate::run_folder::begin;
use crate::task::Task;
use crate::{Device, Error, Registry, Result};

pub use self::config::{FinetuneConfig, Start, ValidatedOn, read_table};
pub use self::run::{Job, Tuned};
pub use self::system::{Finetunes, Sources, ValidationRules};

pub(crate) use self::plan::{INTERVALS, behaviour};
pub(crate) use self::run::{head_names, run};

/// What a result stands beside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Baseline {
    /// The same network from random weights, trained alike.
    #[default]
    Trained,
    /// A linear probe on random weights.
    Probe,
}

/// What is fine-tuned, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FinetuneOptions {
    /// Label set of the store.
    pub task: String,
    /// Fields of the [`FinetuneConfig`] that are to be otherwise than the system, or the recipe named in them, has them:
    /// `batch = 8`, `train.schedule.lr = 1e-4`, `settings.layerdrop = 0.1`.
    pub changes: Table,
    /// Size the recipe was published for; that of the model if absent.
    pub recipe_size: Option<String>,
    /// What the result stands beside; from random weights always [`Baseline::Probe`].
    pub baseline: Baseline,
    /// Resamples of the 95 % intervals.
    pub resamples: usize,
    /// Take a store that was prepared otherwise than the model expects.
    pub any_preprocessing: bool,
    /// What results call the model; the folder it was read from if absent.
    pub name: Option<String>,
    /// Folder for configuration, log, checkpoints, classifier and results; nothing is written if absent.
    pub out: Option<PathBuf>,
    /// Continue from the checkpoint in it; what `changes` leaves open is then as it was.
    pub resume: bool,
    /// Bytes up to which the vectors of a baseline that is probed are held in memory.
    pub memory_limit: u64,
}

impl Default for FinetuneOptions {
    fn default() -> Self {
        FinetuneOptions {
            task: String::new(),
            changes: Table::new(),
            recipe_size: None,
            baseline: Baseline::default(),
            resamples: 1000,
            any_preprocessing: false,
            name: None,
            out: None,
            resume: false,
            memory_limit: MEMORY_LIMIT,
        }
    }
}

impl FinetuneOptions {
    /// Fine-tuning on a label set, everything else as the system has it.
    pub fn new(task: impl Into<String>) -> Self {
        FinetuneOptions {
            task: task.into(),
            ..FinetuneOptions::default()
        }
    }

    /// The same with another value in a field of the configuration, named by its path: `train.schedule.lr`.
    #[must_use]
    pub fn with(mut self, path: &str, value: impl Into<Value>) -> Self {
        put(&mut self.changes, path, value.into());
        self
    }
}

/// Puts a value at a path (`train.schedule.lr`) of a table.
pub fn put(table: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            table.insert(path.to_owned(), value);
        }
        Some((first, rest)) => {
            let inner = table
                .entry(first)
                .or_insert_with(|| Value::Table(Table::new()));
            if !inner.is_table() {
                *inner = Value::Table(Table::new());
            }
            if let Value::Table(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

/// What a run came to; serialises to its `results.json`.
#[derive(Clone, Debug)]
pub struct Finetuned {
    /// The classifier, with thresholds and the mean recording that explanations compare with.
    pub model: Model,
    /// How it came about, in a sentence.
    pub made: String,
    /// The result beside its baseline.
    pub table: ResultTable,
    /// What was done.
    pub config: FinetuneConfig,
}

impl Serialize for Finetuned {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        [&self.table].serialize(serializer)
    }
}

impl Finetuned {
    /// Writes the model folder `model`, `results.json` and `tables.txt` into a folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, out: &Path) -> Result<()> {
        self.model.save(&out.join("model"), &self.made)?;
        write_results(out, std::slice::from_ref(&self.table))
    }
}

/// Trains a classifier from a model, selects its weights on validation, and evaluates it once on the test split, beside
/// the same from random weights. What `start = "scratch"` asks for takes just the sizes of the model.
///
/// A run with a folder that was stopped goes on with [`FinetuneOptions::resume`] and ends with the same weights, bit for
/// bit on the CPU.
///
/// # Errors
/// When the store does not fit the model or lacks the task, the options do not fit together, training diverges, or a
/// stop was requested.
pub fn finetune(
    model: &Model,
    store: &Store,
    options: &FinetuneOptions,
    reporter: &dyn Reporter,
) -> Result<Finetuned> {
    let stored = match &options.out {
        Some(out) if options.resume => FinetuneConfig::stored(out, &**model.network())?,
        _ => None,
    };
    let plan = plan::plan(model, store, options, stored.as_ref())?;
    let config = &plan.run;
    let leads: &LeadSet = config.leads.as_ref().unwrap_or(&model.preprocess().leads);
    let contract = model.check_store(store, leads, options.any_preprocessing)?;
    let quality = quality_filter(&config.quality)?;
    let task = Task::load(store, &config.task, quality.as_ref(), reporter)?;
    if let Some(out) = &options.out {
        begin(out, options.resume, stored.as_ref(), config)?;
    }
    let seed = config.train.seed;
    let random = model.random_twin(seed);
    let own = match config.start {
        Start::Finetune => model,
        Start::Scratch => &random,
    };
    let name = options.name.clone().unwrap_or_else(|| model.name());
    let job = Job {
        store,
        contract: &contract,
        task: &task,
        config,
        name: &name,
        what: "train",
        folder: options.out.as_ref().map(|out| out.join("trained")),
        resume: options.resume,
        resamples: options.resamples,
        device: model.device(),
        reporter,
    };
    let tuned = own.network().finetune(&job)?;
    let probed = config.start == Start::Scratch || options.baseline == Baseline::Probe;
    let baseline = match probed {
        true => probe_random(&random, options, &job)?.result,
        false => {
            let job = Job {
                config: &plan.scratch,
                what: "from random weights",
                folder: options.out.as_ref().map(|out| out.join("random-weights")),
                ..job
            };
            random.network().finetune(&job)?.result
        }
    };
    let meaning = labels(&task.name, &task.classes, &tuned.thresholds);
    let preprocess = model.preprocess().clone().with_leads(leads.clone());
    let fitted = Model::encoder(tuned.network, preprocess, model.device(), model.registry());
    let fitted = fitted.with_labels(meaning)?;
    let reference = fitted.reference(store, &tuned.rows, &contract, reporter)?;
    let rows = EncoderRows {
        trained: tuned.result,
        random_weights: baseline,
    };
    let found = Finetuned {
        made: made("finetune", &rows.trained),
        model: fitted.with_reference(reference)?,
        table: ResultTable::new(vec![rows])?,
        config: plan.run.clone(),
    };
    if let Some(out) = &options.out {
        found.save(out)?;
    }
    Ok(found)
}

/// A linear probe on the frozen encoder with random weights, at the same fraction of labels.
fn probe_random(random: &Model, options: &FinetuneOptions, job: &Job<'_>) -> Result<Evaluated> {
    let held = FeatureOptions {
        crops: job.config.crops,
        memory_limit: options.memory_limit,
        folder: options.out.clone(),
    };
    let what = "probe random weights";
    let features = Features::compute(random, job.store, job.contract, &held, what, job.reporter)?;
    let head = frozen_head(random, "linear")?;
    let protocol = Protocol {
        head_name: "linear",
        head: &*head,
        fraction: job.config.fraction,
        options: &HeadOptions::default(),
        seed: job.config.train.seed,
        resamples: options.resamples,
    };
    fit(&features, job.task, job.name, &protocol)
}

/// The model that a run from random weights starts from where there is none to take the sizes from, and what it is called:
/// of a system (the first with published runs if absent), in one of its sizes (the smallest). Both are noted in `changes`,
/// which may say whose behaviour it follows.
///
/// # Errors
/// When there is no such system or size.
pub fn untrained(
    registry: &Registry,
    (system, size): (Option<&str>, Option<&str>),
    changes: &mut Table,
    device: &Device,
) -> Result<(Model, String)> {
    let names = registry.names().join(", ");
    let name = system.or_else(|| registry.with_recipes().first().copied());
    let name = name.ok_or_else(|| {
        Error::invalid(format!(
            "name the system to train from random weights: {names}"
        ))
    })?;
    let system = registry
        .named(name)
        .ok_or_else(|| Error::invalid(format!("there is no system `{name}`; expected {names}")))?;
    let about = system.about();
    let smallest = about.sizes.first().map_or("", |size| size.name);
    let size = size.unwrap_or(smallest);
    let compat = plan::asked(changes, "compat")?.unwrap_or_default();
    // The weights of a run are drawn by its own seed.
    let network = system.untrained(size, compat, 0, device)?;
    let preprocess = Preprocess::preset(about.preset);
    let preprocess = preprocess.map_err(|error| Error::invalid(error.to_string()))?;
    put(changes, "system", about.name.into());
    put(changes, "size", size.into());
    put(changes, "start", "scratch".into());
    let model = Model::encoder(network, preprocess, device, registry);
    Ok((model, format!("{} {size}", about.title)))
}
