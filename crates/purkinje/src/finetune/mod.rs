//! Fine-tuning: trains encoder and head, or selected parameters of them, on labels; optionally by a published recipe.

mod config;
mod patients;
mod plan;
mod recipe;
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
use crate::made::{Made, provenance};
use crate::model::{Model, described, labels, with_positives};
use crate::probe::{Evaluated, HeadOptions, Protocol, fit, frozen_head, quality_filter};
use crate::reporter::Reporter;
use crate::results::{made, write_results};
use crate::run_folder::{begin, say};
use crate::task::Task;
use crate::windows::WindowOptions;
use crate::{Device, Error, Registry, Result};

pub use self::config::{FinetuneConfig, Start, ValidatedOn, read_table};
pub(crate) use self::patients::run as run_patients;
pub use self::patients::{LearnedPatients, PATIENT, PatientJob, is_of_patients, learn_patients};
pub(crate) use self::recipe::recipe;
pub use self::run::{Job, Tuned};
pub(crate) use self::system::learning_by_name;
pub use self::system::{Finetunes, Sources, ValidationRules};

pub(crate) use self::plan::{INTERVALS, behaviour};
pub(crate) use self::run::{head_names, run};

/// The baseline that a result is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Baseline {
    /// The same network, trained in the same way from random weights.
    #[default]
    Trained,
    /// A linear probe on a frozen encoder with random weights.
    Probe,
}

/// What is fine-tuned, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FinetuneOptions {
    /// Label set of the store.
    pub task: String,
    /// Fields of the [`FinetuneConfig`] that override the defaults of the system or of the recipe named among them:
    /// `batch = 8`, `train.schedule.lr = 1e-4`, `settings.layerdrop = 0.1`.
    pub changes: Table,
    /// Model size that the recipe was published for; that of the model if absent.
    pub recipe_size: Option<String>,
    /// The baseline that the result is compared with; always [`Baseline::Probe`] for a run from random weights.
    pub baseline: Baseline,
    /// Bootstrap resamples for the 95 % intervals.
    pub resamples: usize,
    /// Accept a store that was prepared differently than the model expects.
    pub any_preprocessing: bool,
    /// Name of the model in results; the folder it was read from if absent.
    pub name: Option<String>,
    /// Folder for configuration, log, checkpoints, classifier and results; nothing is written if absent.
    pub out: Option<PathBuf>,
    /// Continue from the checkpoint in `out`; fields not in `changes` keep their values of the stored run.
    pub resume: bool,
    /// Limit on the bytes of vectors held in memory while probing the baseline.
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
    /// Fine-tuning on a label set with the defaults of the system.
    pub fn new(task: impl Into<String>) -> Self {
        FinetuneOptions {
            task: task.into(),
            ..FinetuneOptions::default()
        }
    }

    /// Overrides a field of the configuration, given by its path: `train.schedule.lr`.
    #[must_use]
    pub fn with(mut self, path: &str, value: impl Into<Value>) -> Self {
        put(&mut self.changes, path, value.into());
        self
    }
}

/// Sets the value at a path (`train.schedule.lr`) of a table.
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

/// The result of a fine-tuning run; serialises to its `results.json`.
#[derive(Clone, Debug)]
pub struct Finetuned {
    /// The classifier, with thresholds and the mean recording that explanations compare with.
    pub model: Model,
    /// How it was made, for the model card.
    pub made: Made,
    /// The result beside its baseline.
    pub table: ResultTable,
    /// The configuration of the run.
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
        self.model.save(&out.join("model"), self.made.clone())?;
        write_results(out, std::slice::from_ref(&self.table))
    }
}

/// Trains a classifier from a model, selects its weights on the validation split, and evaluates it once on the test
/// split, together with the baseline from random weights. With `start = "scratch"` only the configuration of the model
/// is used, not its weights.
///
/// A stopped run with a folder continues with [`FinetuneOptions::resume`] and ends with the same weights, bit for bit
/// on the CPU.
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
        say(out, &provenance(reporter, Some(model), Some(store)))?;
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
    let meaning = described(labels(&task.name, &task.classes, &tuned.thresholds), store);
    let meaning = with_positives(meaning, &tuned.training_positives);
    let preprocess = model.preprocess().clone().with_leads(leads.clone());
    let fitted = Model::encoder(tuned.network, preprocess, model.device(), model.registry());
    let fitted = fitted.with_labels(meaning)?;
    let reference = fitted.reference(store, &tuned.rows, &contract, reporter)?;
    let rows = EncoderRows {
        trained: tuned.result,
        random_weights: baseline,
        made_by: provenance(reporter, Some(own), Some(store)),
    };
    let labels = fitted.labelled()?;
    let found = Finetuned {
        made: made("finetune", own, labels, (store, &task), &rows),
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
        windows: WindowOptions {
            crops: Some(job.config.crops),
            ..WindowOptions::first()
        },
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

/// Which network is trained from random weights where no model is given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Untrained<'a> {
    /// The system; if absent the last that has the encoder, or else the first with published recipes.
    pub system: Option<&'a str>,
    /// Its size; the smallest if absent.
    pub size: Option<&'a str>,
    /// A published encoder of recordings, by its name; that of the size if absent.
    pub encoder: Option<&'a str>,
}

/// The untrained model, and its name, for a run from random weights without `--model`, for a store with the preprocessing `stored`. Its
/// system, size and encoder are recorded in `changes`, whose `compat` chooses between paper and released program.
///
/// # Errors
/// When there is no such system, size or encoder.
pub fn untrained(
    registry: &Registry,
    of: Untrained<'_>,
    stored: &Preprocess,
    changes: &mut Table,
    device: &Device,
) -> Result<(Model, String)> {
    let names = registry.names().join(", ");
    let name = match (of.system, of.encoder) {
        (Some(name), _) => Some(name),
        (None, None) => registry.with_recipes().first().copied(),
        (None, Some(encoder)) => {
            let able = registry.systems();
            let able = able.filter(|system| system.encoders().contains(&encoder));
            let found = able.last().map(|system| system.about().name);
            Some(found.ok_or_else(|| {
                let mut known: Vec<&str> = registry
                    .systems()
                    .flat_map(|system| system.encoders())
                    .copied()
                    .collect();
                known.sort_unstable();
                known.dedup();
                Error::invalid(format!(
                    "`--encoder {encoder}`: expected one of {}",
                    known.join(", ")
                ))
            })?)
        }
    };
    let name = name.ok_or_else(|| {
        Error::invalid(format!(
            "no system was named to train from random weights; give `--system` with one of {names}"
        ))
    })?;
    let system = registry.named(name).ok_or_else(|| {
        Error::invalid(format!("unknown system `{name}`: expected one of {names}"))
    })?;
    let about = system.about();
    let smallest = about.sizes.first().map_or("", |size| size.name);
    let size = of.size.unwrap_or(smallest);
    let compat = plan::asked(changes, "compat")?.unwrap_or_default();
    // Networks of one's own can also be trained on another preset of the system.
    let preset =
        |name: &str| Preprocess::preset(name).map_err(|error| Error::invalid(error.to_string()));
    let mut preprocess = preset(about.preset)?;
    for other in about.other_presets {
        let other = preset(other)?;
        if other.rate_hz == stored.rate_hz && preprocess.rate_hz != stored.rate_hz {
            preprocess = other;
        }
    }
    let network = system.untrained((size, of.encoder), &preprocess, compat, device)?;
    put(changes, "system", about.name.into());
    put(changes, "size", size.into());
    if let Some(encoder) = of.encoder {
        put(changes, "encoder", encoder.into());
    }
    put(changes, "start", "scratch".into());
    let what = of
        .encoder
        .map_or_else(String::new, |encoder| format!(" {encoder}"));
    let model = Model::encoder(network, preprocess, device, registry);
    Ok((model, format!("{} {size}{what}", about.title)))
}
