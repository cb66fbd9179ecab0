//! `purkinje finetune`: everything, or chosen parts, of encoder and head learn from labels; by published recipes, too.

mod plan;

use std::path::{Path, PathBuf};

use burn::Tensor;
use burn::tensor::{Device, TensorData};
use clap::Args as ClapArgs;
use miette::{IntoDiagnostic, Result, WrapErr as _, bail, miette};
use purkinje_eval::bootstrap::Unit;
use purkinje_eval::crops::{Aggregation, probabilities_released};
use purkinje_eval::fraction::{BatchPlan, FractionMethod};
use purkinje_eval::metrics::{SingleClass, macro_auroc};
use purkinje_eval::report::{EncoderRows, ModelResult, ResultTable, Selection, class_table};
use purkinje_eval::{EvaluateOptions, evaluate_split};
use purkinje_models::compat::Compat;
use purkinje_models::encoder::{Classify, Encoder};
use purkinje_models::hubert::{self, Hubert, HubertClassifier, HubertConfig};
use purkinje_models::hug::{self, Classifier};
use purkinje_models::layers::Weights;
use purkinje_record::LeadSet;
use purkinje_signal::Preprocess;
use purkinje_store::{QualityFilter, Store};
use purkinje_train::class_weights;
use purkinje_train::clear::Trainable;
use purkinje_train::hubert::{Freezing, HubertCutter, StoreCrops, layer_wise_rate};
use purkinje_train::recipes::{Size, Start, ValidatedOn};
use purkinje_train::source::{Look, Source, StoreTokens};
use purkinje_train::{
    Classification, Kept, Learning, LearningOf, Loss, Next, Observer, RunFolder, StepReport,
    Targets, TrainError, Trained, Validated, one_of_two, train,
};

use self::plan::Plan;
pub use self::plan::parse_aggregation;
use super::probe;
use crate::device::DeviceName;
use crate::judge::{
    self, Features, HugStart, Judged, Part, Protocol, Task, evaluation, judge, other_figures,
    outputs, scores, thresholds_of,
};
use crate::model::{Head, LoadedModel, Network, hubert_crop};
use crate::output::{self, Show as _};
use crate::progress::{self, Progress};
use crate::system;

/// Arguments of `finetune`. What is not given comes from the recipe, then from the defaults.
#[derive(ClapArgs, Debug)]
pub struct Args {
    /// Run or model folder to start from; with --scratch it gives just the sizes.
    #[arg(long, required_unless_present = "scratch")]
    model: Option<PathBuf>,
    /// Start from random weights.
    #[arg(long)]
    scratch: bool,
    /// HuBERT-ECG of this size, with --scratch and no --model: tiny, small, base or large.
    #[arg(long, value_name = "SIZE", conflicts_with = "model")]
    size: Option<String>,
    /// Prepared store with labels and splits.
    #[arg(long)]
    data: PathBuf,
    /// Label set of the store.
    #[arg(long)]
    task: String,
    /// Folder for the classifier, results and checkpoints.
    #[arg(long)]
    out: PathBuf,
    /// Do as a published run of HuBERT-ECG: ptbxl-super, ptbxl-sub, ptbxl-form, ptbxl-rhythm, cpsc, georgia, sami-trop, ...
    /// (a wrong name lists all). With --scratch the published run from random weights.
    #[arg(long, value_name = "NAME")]
    recipe: Option<String>,
    /// Size the recipe was published for: small, base or large [default: that of the model].
    #[arg(long, value_name = "SIZE", value_parser = plan::parse_size, requires = "recipe")]
    recipe_size: Option<Size>,
    /// What is meant, or what the published program does, around the network [default: paper].
    #[arg(long, value_parser = super::compat)]
    compat: Option<Compat>,
    /// CLEAR: hug or linear; HuBERT-ECG: linear, mlp or label-embedding [default: the first].
    #[arg(long, value_name = "HEAD")]
    head: Option<String>,
    /// What learns: all, linear (the head), moe (HUG and last layer), last-N (HuBERT-ECG: N layers and the head), or parts of parameter
    /// names separated by commas [default: all].
    #[arg(long)]
    trainable: Option<String>,
    /// HuBERT-ECG: transformer and convolutions are frozen for the first N updates.
    #[arg(long, value_name = "N")]
    freeze_until: Option<usize>,
    /// HuBERT-ECG: the published rates by layer (1e-7 below the last four layers, 1e-5 for the head).
    #[arg(long)]
    layer_wise: bool,
    /// HuBERT-ECG: probability of leaving out a layer [default: that of the model].
    #[arg(long, value_name = "P")]
    layerdrop: Option<f64>,
    /// HuBERT-ECG: dropout of the encoder is max(0, 0.1 + 0.05 K) [default: that of the model].
    #[arg(long, value_name = "K", allow_hyphen_values = true)]
    dropout_multiplier: Option<i32>,
    /// Positive labels weigh by their rarity in the loss.
    #[arg(long)]
    class_weights: bool,
    /// HuBERT-ECG: train on the first five seconds and not on a random crop.
    #[arg(long)]
    fixed_crop: bool,
    /// Share of the training labels.
    #[arg(long, default_value_t = 1.0)]
    fraction: f64,
    /// How a share is drawn.
    #[arg(long, default_value = "random", value_parser = probe::parse_method)]
    sampling: FractionMethod,
    /// Passes over the training records [default: 20].
    #[arg(long)]
    epochs: Option<usize>,
    /// Updates, instead of passes.
    #[arg(long, conflicts_with = "epochs")]
    updates: Option<usize>,
    /// HuBERT-ECG: share of the updates during which the learning rate rises [default: 0.08].
    #[arg(long, value_name = "SHARE")]
    warmup_share: Option<f64>,
    /// Peak learning rate [default: 5e-4 for CLEAR, whose published heads use 5e-3; 1e-4 for HuBERT-ECG, published 1e-5].
    #[arg(long)]
    lr: Option<f64>,
    /// Records of one step [default: 64].
    #[arg(long)]
    batch: Option<usize>,
    /// Batches whose gradients make one update.
    #[arg(long, value_name = "N")]
    accumulate: Option<usize>,
    /// Updates between validations [default: an epoch].
    #[arg(long, value_name = "N")]
    validate_every: Option<usize>,
    /// Validations without improvement of loss or AUROC after which training stops [default: it does not].
    #[arg(long, value_name = "N")]
    patience: Option<usize>,
    /// Weight decay and dropout rise while validation does not improve.
    #[arg(long)]
    dynamic_regularisation: bool,
    /// HuBERT-ECG: crops of a recording that is judged [default: 1, the first five seconds].
    #[arg(long, value_name = "N")]
    crops: Option<usize>,
    /// How the probabilities of crops become one: mean or max.
    #[arg(long, value_parser = plan::parse_aggregation)]
    aggregation: Option<Aggregation>,
    /// Decide at 0.5, as published, and not where F1 is best on validation.
    #[arg(long)]
    half: bool,
    /// What the result stands beside: the same from random weights, trained alike, or a linear probe on random weights
    /// (far cheaper; with --scratch always).
    #[arg(long, value_enum, default_value = "trained")]
    baseline: Baseline,
    /// Seed of every random choice.
    #[arg(long, default_value_t = 0)]
    seed: u32,
    /// Leads to use; default: those of the model.
    #[arg(long)]
    leads: Option<LeadSet>,
    /// Resamples of the 95 % intervals.
    #[arg(long, default_value_t = 1000)]
    resamples: usize,
    /// Where to compute.
    #[arg(long, default_value = "cpu")]
    device: DeviceName,
    /// Continue from the run's checkpoint.
    #[arg(long)]
    resume: bool,
    /// Use just records whose figures keep these limits, such as `flat=0,missing=10%,limb=ok,noise_mv=0.05`
    #[arg(long, value_name = "FILTER")]
    quality: Option<QualityFilter>,
    /// Take a store that was prepared otherwise than the model expects.
    #[arg(long)]
    any_preprocessing: bool,
}

/// What a result stands beside.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Baseline {
    /// The same network from random weights, trained alike.
    Trained,
    /// A linear probe on random weights.
    Probe,
}

/// The plan of the run in a folder, if there is one.
fn stored(path: &Path) -> Result<Option<Plan>> {
    if !path.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path).into_diagnostic()?;
    let plan = toml::from_str(&text).into_diagnostic();
    plan.wrap_err_with(|| format!("configuration {}", path.display()))
        .map(Some)
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let device = args.device.open()?;
    let (model, name) = start(&args, &device)?;
    let store = Store::open(&args.data).into_diagnostic()?;
    let leads = args.leads.clone().unwrap_or(model.preprocess.leads.clone());
    let contract = model.check_store(&store, &leads, args.any_preprocessing)?;
    let task = Task::load(&store, &args.task, args.quality.as_ref())?;
    let plan = Plan::new(&args, &model.network, task.classes.len())?;
    let stored = stored(&args.out.join(purkinje::run_folder::CONFIG))?;
    purkinje::run_folder::begin(&args.out, args.resume, stored.as_ref(), &plan).shown()?;
    let job = Job {
        store: &store,
        contract: &contract,
        task: &task,
        head: head_of(&model.network, &plan.head)?,
        args: &args,
        device,
    };
    let seed = u64::from(args.seed);
    let trained = job.run(&model.network, &plan, &name, "train", "trained")?;
    let random = model.network.random_twin(seed, &job.device);
    let twin = if args.scratch || args.baseline == Baseline::Probe {
        job.probe(&random, &plan, &name)?
    } else {
        let plan = plan.scratch_twin(&random, &args, task.classes.len())?;
        job.run(
            &random,
            &plan,
            &name,
            "from random weights",
            "random-weights",
        )?
    };
    let weights = &trained.weights;
    let fitted = LoadedModel::encoder(
        model.network.with_weights(weights.clone()),
        model.preprocess.clone(),
    );
    let fitted = fitted.with_head(
        job.head,
        weights,
        &task.name,
        &task.classes,
        &trained.thresholds,
        &leads,
    );
    fitted.save(
        &args.out.join("model"),
        &probe::made("finetune", &trained.result),
    )?;
    let classes = class_table(&trained.result.metrics);
    let rows = EncoderRows {
        trained: trained.result,
        random_weights: twin.result,
    };
    let table = ResultTable::new(vec![rows]).into_diagnostic()?;
    output::print(&format!("{table}\n{classes}\n"))?;
    probe::write_results(&args.out, &[table])
}

/// The network a run starts from, and what it is called.
fn start(args: &Args, device: &Device) -> Result<(LoadedModel, String)> {
    let seed = u64::from(args.seed);
    let Some(folder) = &args.model else {
        let size = args.size.as_deref().unwrap_or("small");
        let config = HubertConfig::size(size)
            .ok_or_else(|| miette!("--size {size}: expected tiny, small, base or large"))?;
        let config = HubertConfig {
            // Nothing is ever hidden from a network that is not pre-trained (specification 11.3).
            mask_time_prob: 0.0,
            compat: args.compat.unwrap_or_default(),
            ..config
        };
        let network = Network::Hubert(Hubert::random(config, seed, device));
        let model = LoadedModel::encoder(network, Preprocess::hubert());
        return Ok((model, format!("HuBERT-ECG {size}")));
    };
    let model = LoadedModel::load(folder, device)?;
    let name = probe::model_name(folder);
    if !args.scratch {
        return Ok((model, name));
    }
    let random = model.network.random_twin(seed, device);
    Ok((LoadedModel::encoder(random, model.preprocess), name))
}

/// The head of that name for a network.
fn head_of(network: &Network, name: &str) -> Result<Head> {
    const HIDDEN: usize = 512;
    Ok(match (network, name) {
        (Network::Clear(_), "hug") => Head::Clear(hug::Head::Hug),
        (Network::Clear(_), "linear") => Head::Clear(hug::Head::Linear),
        (Network::Hubert(_), "linear") => Head::Hubert(hubert::Head::Linear),
        (Network::Hubert(_), "mlp") => Head::Hubert(hubert::Head::Mlp {
            hidden: HIDDEN,
            activation: hubert::HeadActivation::default(),
        }),
        (Network::Hubert(_), "label-embedding") => Head::Hubert(hubert::Head::LabelEmbedding),
        (network, other) => bail!(
            "`--head {other}`: a {} model takes {}",
            network.system(),
            match network {
                Network::Clear(_) => "hug or linear",
                Network::Hubert(_) => "linear, mlp or label-embedding",
            }
        ),
    })
}

/// How the parameters of a HuBERT-ECG classifier learn.
fn hubert_learning(plan: &Plan, config: &HubertConfig) -> Result<Box<LearningOf<'static>>> {
    // What is frozen follows the behaviour of the run, not that of the network it starts from.
    let config = HubertConfig {
        compat: plan.compat,
        ..config.clone()
    };
    let text = plan.trainable.as_str();
    let is_head =
        |name: &str| name.starts_with("classifier") || name.starts_with("label_embedding");
    let layers = config.num_hidden_layers;
    let freezing = match text.strip_prefix("last-") {
        None => None,
        Some(count) => {
            let count = count.parse::<usize>().ok().filter(|n| *n <= layers);
            let count = count.ok_or_else(|| {
                miette!("`--trainable {text}`: expected last-0 to last-{layers} for this encoder")
            })?;
            Some(Freezing::last(count, false, &config))
        }
    };
    if text == "moe" {
        bail!(
            "`--trainable moe` is CLEAR's; HuBERT-ECG takes all, linear, last-N or parts of names"
        );
    }
    let (all, linear) = (text == "all", text == "linear");
    let parts: Vec<String> = text.split(',').map(str::to_owned).collect();
    let first = plan.frozen_until.unwrap_or(0);
    let lr = plan.train.schedule.lr;
    let layer_wise = plan.layer_wise;
    Ok(Box::new(move |name| {
        let trains = match freezing {
            Some(freezing) => freezing.trains(name, &config),
            None => all || is_head(name) || !linear && parts.iter().any(|p| name.contains(p)),
        };
        let rate = match layer_wise {
            true => layer_wise_rate(name, lr, &config).map(|rate| rate / lr),
            false => Some(1.0),
        };
        // The feature projection and the head learn from the start (specification 11.2).
        let waits = name.starts_with("encoder.") || name.starts_with("feature_extractor.");
        rate.filter(|_| trains).map(|rate| Learning {
            rate,
            from: if waits { first } else { 0 },
        })
    }))
}

struct Job<'a> {
    store: &'a Store,
    contract: &'a Preprocess,
    task: &'a Task,
    head: Head,
    args: &'a Args,
    device: Device,
}

impl Job<'_> {
    /// Trains one classifier, selects its weights on validation, looks at the test split once.
    fn run(
        &self,
        encoder: &Network,
        plan: &Plan,
        name: &str,
        what: &'static str,
        folder: &str,
    ) -> Result<Judged> {
        let seed = u64::from(self.args.seed);
        let outputs = match plan.two_classes {
            true => 2,
            false => self.task.classes.len(),
        };
        let rows: Vec<usize> = (0..self.store.len()).collect();
        let mut weights = encoder.weights().clone();
        let width = encoder.width();
        match (encoder, self.head) {
            (Network::Clear(clear), Head::Clear(head)) => {
                let source = StoreTokens::new(self.store, rows, self.contract).into_diagnostic()?;
                let trainable = parse_trainable(&plan.trainable)?;
                head.initialise(&mut weights, width, outputs, seed, &self.device);
                let model = Classifier::new(clear.with_weights(weights), head, outputs);
                let learning = |name: &str| trainable.accepts(name).then(Learning::default);
                self.train(
                    model.into_diagnostic()?,
                    [&source, &source],
                    &learning,
                    Run {
                        plan,
                        name,
                        what,
                        folder,
                    },
                )
            }
            (Network::Hubert(hubert), Head::Hubert(head)) => {
                let (samples, decimation) = hubert_crop(hubert.config());
                let cutter = HubertCutter::new(samples, decimation).into_diagnostic()?;
                let released = plan.compat == Compat::Released;
                let (mut training, mut judged) = (cutter.clone(), cutter);
                if plan.random_crop {
                    training = training.random(seed);
                }
                if released {
                    // Random crops in validation too; the mask of real samples in training only.
                    training = training.marked();
                    judged = judged.from_long_pieces(seed);
                    if plan.random_crop {
                        judged = judged.random(seed.wrapping_add(1));
                    }
                }
                let source = |cutter| {
                    StoreCrops::new(self.store, rows.clone(), self.contract, cutter)
                        .into_diagnostic()
                };
                let (training, judged) = (source(training)?, source(judged)?);
                let mut config = hubert.config().clone();
                config.layerdrop = plan.layerdrop.map_or(config.layerdrop, |p| p as f32);
                let learning = hubert_learning(plan, &config)?;
                // Without code books and the vector for hidden tokens: no classifier uses them.
                let own = config.encoder_parameters();
                let mut weights = weights.subset(own.iter().map(|(name, _)| name.as_str()));
                head.initialise(&mut weights, width, outputs, seed, &self.device);
                let mut encoder = hubert.with_weights(weights);
                *encoder.config_mut() = config;
                if let Some(p) = plan.dropout {
                    encoder = encoder.with_regulated(&[p; 3]);
                }
                let model = HubertClassifier::new(encoder, head, outputs);
                self.train(
                    model.into_diagnostic()?,
                    [&training, &judged],
                    &*learning,
                    Run {
                        plan,
                        name,
                        what,
                        folder,
                    },
                )
            }
            _ => bail!("the head belongs to another system"),
        }
    }

    fn train<C, S>(
        &self,
        classifier: C,
        [training, judged]: [&S; 2],
        learning: &LearningOf<'_>,
        run: Run<'_>,
    ) -> Result<Judged>
    where
        C: Classify,
        S: Source<Input = <C::Encoder as Encoder>::Input>,
    {
        let (args, task, plan) = (self.args, self.task, run.plan);
        let part = task.fraction(&plan.fraction)?;
        let batches = BatchPlan::new(part.rows.len(), plan.batch).into_diagnostic()?;
        let objective = Classification::new(
            classifier.clone(),
            training,
            Targets {
                records: part.rows.clone(),
                labels: targets(&part, plan),
                classes: if plan.two_classes {
                    2
                } else {
                    task.classes.len()
                },
            },
            self.loss(&part, plan),
            learning,
            batches.batch,
            u64::from(args.seed),
        );
        let validation = match plan.validated_on {
            ValidatedOn::Validation => &task.validation,
            ValidatedOn::Training => &part,
        };
        let updates = plan
            .train
            .updates
            .unwrap_or(batches.steps_per_epoch / plan.train.accumulate.max(1) * plan.train.epochs);
        let bar = Progress::new(run.what, updates, "steps");
        let mut watch = Watch {
            bar: &bar,
            best: None,
            validate: |step: usize, weights: &Weights| {
                let model = classifier.with_weights(weights.clone());
                self.validate(&model, judged, validation, &part, plan, step)
            },
        };
        let folder = RunFolder {
            path: Some(args.out.join(run.folder)),
            resume: args.resume,
        };
        let start = classifier.encoder().weights().clone();
        let trained = train(
            &objective,
            start,
            &plan.train,
            &folder,
            &self.device,
            &mut watch,
        );
        let trained = trained.into_diagnostic()?;
        bar.finish();
        if trained.steps < updates {
            progress::note(format!(
                "stopped after {} of {updates} updates: validation did not improve any more",
                trained.steps
            ));
        }
        self.judged(&classifier, judged, trained, part.rows.len(), run)
    }

    /// What the weights a run chose are worth on the test part.
    fn judged<C, S>(
        &self,
        classifier: &C,
        source: &S,
        trained: Trained,
        training_records: usize,
        run: Run<'_>,
    ) -> Result<Judged>
    where
        C: Classify,
        S: Source<Input = <C::Encoder as Encoder>::Input>,
    {
        let (task, plan, args) = (self.task, run.plan, self.args);
        let selection = Selection {
            split: match plan.validated_on {
                ValidatedOn::Validation => "validation",
                ValidatedOn::Training => "train",
            }
            .into(),
            criterion: "macro AUROC".into(),
            chosen: match &trained.kept {
                Some(Kept { step, .. }) => format!("update {step} of {}", trained.steps),
                None => "last update".into(),
            },
            value: trained.kept.as_ref().and_then(|kept| kept.metric),
        };
        let model = classifier.with_weights(trained.chosen());
        let scores = |part: &Part| {
            let one = |raw: Vec<f32>| one_column(&raw, plan);
            let crops = (plan.crops, plan.aggregation);
            scores(&model, source, &part.rows, crops, &self.device, one).into_diagnostic()
        };
        let thresholds = match plan.half {
            true => vec![0.5; task.classes.len()],
            false => thresholds_of(&scores(&task.validation)?, task)?,
        };
        let test = scores(&task.test)?;
        let mut options: EvaluateOptions = evaluation(task, &thresholds, args.resamples);
        if matches!(self.head, Head::Hubert(_)) && plan.compat == Compat::Released {
            options.single_class = SingleClass::Zero;
            options.bootstrap.unit = Unit::RecordsByLabels;
            options.bootstrap.seed = 42;
        }
        let metrics =
            evaluate_split(&test, &task.test.labels, &task.patients, &options).into_diagnostic()?;
        let mut weights = model.encoder().weights().clone();
        if plan.two_classes {
            weights = one_of_two(&weights, &self.device).into_diagnostic()?;
        }
        Ok(Judged {
            weights,
            result: ModelResult {
                task: task.name.clone(),
                split: "test".into(),
                model: run.name.to_owned(),
                head: match plan.start {
                    Start::Finetune => format!("{} fine-tuned", self.head),
                    Start::Scratch => format!("{} from scratch", self.head),
                },
                fraction: plan.fraction,
                training_records,
                seeds: vec![
                    ("label fraction".into(), u64::from(plan.fraction.seed)),
                    ("training".into(), u64::from(args.seed)),
                ],
                selection,
                other: other_figures(task, &test, &thresholds)?,
                metrics,
            },
            thresholds,
        })
    }

    /// A linear probe on the frozen encoder, at the same share of labels.
    fn probe(&self, encoder: &Network, plan: &Plan, name: &str) -> Result<Judged> {
        let bar = Progress::new("probe random weights", self.store.len(), "records");
        let features = Features::compute(
            encoder,
            self.store,
            self.contract,
            plan.crops,
            &self.device,
            |n| bar.add(n),
        );
        bar.finish();
        let protocol = Protocol {
            head: hug::Head::Linear,
            fraction: plan.fraction,
            c: judge::PENALTIES.to_vec(),
            epochs: 0,
            hug_start: HugStart::Random,
            seed: u64::from(self.args.seed),
            resamples: self.args.resamples,
        };
        judge(&features?, self.task, name, &protocol)
    }

    /// What is minimised on these records.
    fn loss(&self, part: &Part, plan: &Plan) -> Loss {
        let released = plan.compat == Compat::Released;
        let classes = self.task.classes.len();
        let given = |class: usize| part.labels.iter().skip(class).step_by(classes);
        if plan.two_classes {
            let indices: Vec<usize> = given(0).map(|label| usize::from(*label)).collect();
            let weights = match released {
                true => class_weights::of_classes_released(&indices),
                false => class_weights::of_classes(&indices),
            };
            // The program fails where a class does not occur; then nothing weighs more.
            let weights = (weights.len() == 2).then(|| single(&weights));
            return Loss::MultiClass(weights.filter(|_| plan.class_weights));
        }
        let counts: Vec<usize> = (0..classes)
            .map(|class| given(class).filter(|label| **label).count())
            .collect();
        let weights = match released {
            true => class_weights::of_labels_released(&counts, part.rows.len()),
            false => class_weights::of_labels(&counts, part.rows.len()),
        };
        Loss::MultiLabel(plan.class_weights.then(|| single(&weights)))
    }

    /// Loss and macro AUROC on validation records. As published, the last incomplete batch is left out, crops are random, the
    /// weights of the loss are those of the validation table, and a batch of small logits counts as probabilities.
    fn validate<C, S>(
        &self,
        model: &C,
        source: &S,
        part: &Part,
        training: &Part,
        plan: &Plan,
        step: usize,
    ) -> Result<Validated, TrainError>
    where
        C: Classify,
        S: Source<Input = <C::Encoder as Encoder>::Input>,
    {
        let classes = self.task.classes.len();
        let released = plan.compat == Compat::Released && matches!(self.head, Head::Hubert(_));
        let mut part = part.clone();
        if released && part.rows.len() > plan.batch {
            let whole = part.rows.len() / plan.batch * plan.batch;
            part.rows.truncate(whole);
            part.labels.truncate(whole * classes);
        }
        let raw = outputs(model, &part.rows, &self.device, |row| match released {
            true => source.see(row, Look::Step(step)),
            false => source.see(row, Look::Whole),
        })?;
        let loss = match released {
            true => self.loss(&part, plan),
            false => self.loss(training, plan),
        };
        let (width, labels) = (raw.len() / part.rows.len().max(1), targets(&part, plan));
        let mut sum = 0.0;
        let device = Device::flex();
        for (raw, labels) in raw
            .chunks(plan.batch * width)
            .zip(labels.chunks(plan.batch * width))
        {
            let shape = [raw.len() / width, width];
            let logits = Tensor::<2>::from_data(TensorData::new(raw.to_vec(), shape), &device);
            let mean: f32 = loss.of(logits, labels).into_scalar();
            sum += f64::from(mean) * shape[0] as f64;
        }
        let logits = one_column(&raw, plan);
        let (scores, single_class) = match released {
            true => (
                probabilities_released(&logits, classes, plan.batch),
                SingleClass::Zero,
            ),
            false => (logits, SingleClass::Skip),
        };
        let metric = macro_auroc(&scores, &part.labels, classes, single_class)
            .map_err(|e| TrainError::Data(e.to_string()))?;
        Ok(Validated {
            loss: sum / part.rows.len().max(1) as f64,
            metric: metric.value,
        })
    }
}

/// One training within a command.
#[derive(Clone, Copy)]
struct Run<'a> {
    plan: &'a Plan,
    /// What the model is called.
    name: &'a str,
    /// What the progress display says.
    what: &'static str,
    /// Where its log and checkpoints are, below the folder of the command.
    folder: &'a str,
}

fn single(weights: &[f64]) -> Vec<f32> {
    weights.iter().map(|w| *w as f32).collect()
}

/// What a classifier is to give for each record: its labels, or one 1 for one of two classes.
fn targets(part: &Part, plan: &Plan) -> Vec<f32> {
    let number = |label: bool| f32::from(u8::from(label));
    match plan.two_classes {
        false => part.labels.iter().map(|l| number(*l)).collect(),
        true => part
            .labels
            .iter()
            .flat_map(|l| [number(!l), number(*l)])
            .collect(),
    }
}

/// Logits of the labels: of two classes that exclude each other, the second against the first.
fn one_column(raw: &[f32], plan: &Plan) -> Vec<f32> {
    match plan.two_classes {
        false => raw.to_vec(),
        true => raw
            .as_chunks::<2>()
            .0
            .iter()
            .map(|[no, yes]| yes - no)
            .collect(),
    }
}

struct Watch<'a, F> {
    bar: &'a Progress,
    best: Option<f64>,
    validate: F,
}

impl<F> Observer for Watch<'_, F>
where
    F: FnMut(usize, &Weights) -> Result<Validated, TrainError>,
{
    fn step(&mut self, report: &StepReport) -> Next {
        self.bar.add(1);
        let best = self.best;
        let best = best.map_or(String::new(), |v| format!(", validation AUROC {v:.3}"));
        self.bar
            .message(format!("loss {}{best}", report.loss_text()));
        if system::stop_requested() {
            Next::Stop
        } else {
            Next::Continue
        }
    }

    fn validate(
        &mut self,
        step: usize,
        weights: &Weights,
    ) -> Result<Option<Validated>, TrainError> {
        let found = (self.validate)(step, weights)?;
        self.best = self.best.into_iter().chain(found.metric).reduce(f64::max);
        Ok(Some(found))
    }
}

fn parse_trainable(text: &str) -> Result<Trainable> {
    Ok(match text {
        "all" => Trainable::All,
        "moe" => Trainable::Moe,
        "linear" => Trainable::Linear,
        "" => bail!("`--trainable`: expected all, moe, linear or parts of parameter names"),
        parts => Trainable::Parts(parts.split(',').map(str::to_owned).collect()),
    })
}
