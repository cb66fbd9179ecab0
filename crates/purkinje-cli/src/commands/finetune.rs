//! `purkinje finetune`: everything, or chosen parts, of encoder and head learn from labels.

use std::path::PathBuf;

use burn::tensor::Device;
use clap::Args as ClapArgs;
use miette::{IntoDiagnostic, Result, bail, miette};
use purkinje_eval::evaluate_split;
use purkinje_eval::fraction::{BatchPlan, FractionMethod, LabelFraction};
use purkinje_eval::metrics::{SingleClass, macro_auroc};
use purkinje_eval::report::{EncoderRows, ModelResult, ResultTable, Selection};
use purkinje_models::encoder::{Classify, Encoder};
use purkinje_models::hubert::{self, HubertClassifier, HubertConfig};
use purkinje_models::hug::{self, Classifier};
use purkinje_models::layers::{Context, Weights};
use purkinje_record::LeadSet;
use purkinje_signal::Preprocess;
use purkinje_store::{QualityFilter, Store};
use purkinje_train::clear::Trainable;
use purkinje_train::hubert::Freezing;
use purkinje_train::optimizer::AdamwConfig;
use purkinje_train::source::{Source, StoreCrops, StoreTokens};
use purkinje_train::{
    Classification, Decay, Next, Observer, RunFolder, StepReport, Targets, TrainConfig, TrainError,
    train,
};

use super::probe;
use crate::device::DeviceName;
use crate::judge::{BestEpoch, Judged, Part, Task, evaluation, probabilities, thresholds_of};
use crate::model::{Head, LoadedModel, Network, hubert_crop};
use crate::output;
use crate::progress::Progress;
use crate::system;

/// Arguments of `finetune`.
#[derive(ClapArgs, Debug)]
pub struct Args {
    /// Run or model folder to start from.
    #[arg(long)]
    model: PathBuf,
    /// Prepared store with labels and splits.
    #[arg(long)]
    data: PathBuf,
    /// Label set of the store.
    #[arg(long)]
    task: String,
    /// Folder for the classifier, results and checkpoints.
    #[arg(long)]
    out: PathBuf,
    /// CLEAR: hug or linear; HuBERT-ECG: linear, mlp or label-embedding [default: the first].
    #[arg(long, value_name = "HEAD")]
    head: Option<String>,
    /// What learns: all, linear (the head), moe (HUG and last layer), last-N (HuBERT-ECG: N layers and the head), or parts of parameter
    /// names separated by commas.
    #[arg(long, default_value = "all")]
    trainable: String,
    /// Share of the training labels.
    #[arg(long, default_value_t = 1.0)]
    fraction: f64,
    /// How a share is drawn.
    #[arg(long, default_value = "random", value_parser = probe::parse_method)]
    sampling: FractionMethod,
    /// Passes over the training records.
    #[arg(long, default_value_t = 20)]
    epochs: usize,
    /// Peak learning rate [default: 5e-4 for CLEAR, whose published heads use 5e-3; 1e-4 for HuBERT-ECG, published 1e-5].
    #[arg(long)]
    lr: Option<f64>,
    /// Records of one step.
    #[arg(long, default_value_t = 64)]
    batch: usize,
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

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let device = args.device.open()?;
    let model = LoadedModel::load(&args.model, &device)?;
    let store = Store::open(&args.data).into_diagnostic()?;
    let leads = args.leads.clone().unwrap_or(model.preprocess.leads.clone());
    let contract = model.check_store(&store, &leads, args.any_preprocessing)?;
    let task = Task::load(&store, &args.task, args.quality.as_ref())?;
    let job = Job {
        store: &store,
        contract: &contract,
        fraction: LabelFraction {
            share: args.fraction,
            method: args.sampling,
            seed: args.seed,
        },
        task: &task,
        head: head_of(&model.network, args.head.as_deref())?,
        args: &args,
        device,
    };
    let name = probe::model_name(&args.model);
    let trained = job.run(&model.network, &name, "fine-tune", "trained")?;
    let random = model.network.random_twin(u64::from(args.seed), &job.device);
    let twin = job.run(&random, &name, "from random weights", "random-weights")?;
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
    let rows = EncoderRows {
        trained: trained.result,
        random_weights: twin.result,
    };
    let table = ResultTable::new(vec![rows]).into_diagnostic()?;
    output::print(&format!("{table}\n{}\n", table.per_class()))?;
    probe::write_results(&args.out, &[table])
}

/// The head of that name for a network.
fn head_of(network: &Network, name: Option<&str>) -> Result<Head> {
    const HIDDEN: usize = 512;
    Ok(match (network, name) {
        (Network::Clear(_), None | Some("hug")) => Head::Clear(hug::Head::Hug),
        (Network::Clear(_), Some("linear")) => Head::Clear(hug::Head::Linear),
        (Network::Hubert(_), None | Some("linear")) => Head::Hubert(hubert::Head::Linear),
        (Network::Hubert(_), Some("mlp")) => Head::Hubert(hubert::Head::Mlp {
            hidden: HIDDEN,
            activation: hubert::HeadActivation::default(),
        }),
        (Network::Hubert(_), Some("label-embedding")) => Head::Hubert(hubert::Head::LabelEmbedding),
        (network, Some(other)) => bail!(
            "`--head {other}`: a {} model takes {}",
            network.system(),
            match network {
                Network::Clear(_) => "hug or linear",
                Network::Hubert(_) => "linear, mlp or label-embedding",
            }
        ),
    })
}

/// Whether the parameter of a name learns.
type Trains<'a> = dyn Fn(&str) -> bool + Sync + 'a;

/// Which parameters of a HuBERT-ECG classifier learn.
fn hubert_trains(text: &str, config: &HubertConfig) -> Result<Box<Trains<'static>>> {
    let config = config.clone();
    let is_head =
        |name: &str| name.starts_with("classifier") || name.starts_with("label_embedding");
    let layers = config.num_hidden_layers;
    if let Some(count) = text.strip_prefix("last-") {
        let count = count.parse::<usize>().ok().filter(|n| *n <= layers);
        let count = count.ok_or_else(|| {
            miette!("`--trainable {text}`: expected last-0 to last-{layers} for this encoder")
        })?;
        let freezing = Freezing::last(count, false, &config);
        return Ok(Box::new(move |name| freezing.trains(name, &config)));
    }
    Ok(match text {
        "all" => Box::new(|_| true),
        "linear" => Box::new(is_head),
        "moe" => bail!(
            "`--trainable moe` is CLEAR's; HuBERT-ECG takes all, linear, last-N or parts of names"
        ),
        parts => {
            let parts: Vec<String> = parts.split(',').map(str::to_owned).collect();
            Box::new(move |name| is_head(name) || parts.iter().any(|part| name.contains(part)))
        }
    })
}

struct Job<'a> {
    store: &'a Store,
    contract: &'a Preprocess,
    fraction: LabelFraction,
    task: &'a Task,
    head: Head,
    args: &'a Args,
    device: Device,
}

impl Job<'_> {
    /// Trains one classifier, selects its epoch on validation, looks at the test split once.
    fn run(
        &self,
        encoder: &Network,
        name: &str,
        what: &'static str,
        folder: &str,
    ) -> Result<Judged> {
        let (seed, classes) = (u64::from(self.args.seed), self.task.classes.len());
        let rows = (0..self.store.len()).collect();
        let mut weights = encoder.weights().clone();
        let width = encoder.width();
        match (encoder, self.head) {
            (Network::Clear(clear), Head::Clear(head)) => {
                let source = StoreTokens::new(self.store, rows, self.contract).into_diagnostic()?;
                let trainable = parse_trainable(&self.args.trainable)?;
                head.initialise(&mut weights, width, classes, seed, &self.device);
                let model = Classifier::new(clear.with_weights(weights), head, classes);
                let model = model.into_diagnostic()?;
                let trains = |name: &str| trainable.accepts(name);
                self.train(model, &source, &trains, name, what, folder)
            }
            (Network::Hubert(hubert), Head::Hubert(head)) => {
                let (samples, decimation) = hubert_crop(hubert.config());
                let source = StoreCrops::new(self.store, rows, self.contract, samples, decimation);
                let source = source.into_diagnostic()?.random(seed);
                let trains = hubert_trains(&self.args.trainable, hubert.config())?;
                // Without code books and the vector for hidden tokens: no classifier uses them.
                let own = hubert.config().encoder_parameters();
                let mut weights = weights.subset(own.iter().map(|(name, _)| name.as_str()));
                head.initialise(&mut weights, width, classes, seed, &self.device);
                let model = HubertClassifier::new(hubert.with_weights(weights), head, classes);
                let model = model.into_diagnostic()?;
                self.train(model, &source, &*trains, name, what, folder)
            }
            _ => bail!("the head belongs to another system"),
        }
    }

    fn train<C, S>(
        &self,
        classifier: C,
        source: &S,
        trains: &Trains<'_>,
        name: &str,
        what: &'static str,
        folder: &str,
    ) -> Result<Judged>
    where
        C: Classify,
        S: Source<Input = <C::Encoder as Encoder>::Input>,
    {
        let (args, task) = (self.args, self.task);
        let (seed, classes) = (u64::from(args.seed), task.classes.len());
        let train_part = task.fraction(&self.fraction)?;
        let plan = BatchPlan::new(train_part.rows.len(), args.batch).into_diagnostic()?;
        let weights = classifier.encoder().weights().clone();
        let objective = Classification::new(
            classifier.clone(),
            source,
            Targets {
                records: train_part.rows.clone(),
                labels: train_part
                    .labels
                    .iter()
                    .map(|l| f32::from(u8::from(*l)))
                    .collect(),
                classes,
            },
            trains,
            plan.batch,
            seed,
        );
        let (lr, decay, optimizer) = match self.head {
            Head::Clear(_) => (
                5e-4,
                Decay::Cosine,
                AdamwConfig {
                    clip_norm: Some(3.0),
                    ..AdamwConfig::finetune()
                },
            ),
            Head::Hubert(_) => (1e-4, Decay::Linear, AdamwConfig::hubert()),
        };
        let config = TrainConfig {
            epochs: args.epochs,
            lr: args.lr.unwrap_or(lr),
            min_lr: args.lr.unwrap_or(lr).min(1e-5),
            warmup_epochs: args.epochs / 10,
            decay,
            accumulate: 1,
            seed,
            optimizer,
            mixed_precision: false,
            checkpoint_every_s: u64::MAX,
        };
        let logits = |weights: &Weights, part: &Part| {
            self.logits(&classifier.with_weights(weights.clone()), source, part)
        };
        let bar = Progress::new(what, plan.steps_per_epoch * args.epochs, "steps");
        let mut watch = Watch {
            bar: &bar,
            best: BestEpoch {
                score: |weights: &Weights| {
                    let labels = &task.validation.labels;
                    let scores = logits(weights, &task.validation)?;
                    macro_auroc(&scores, labels, classes, SingleClass::Skip)
                        .map(|mean| mean.value)
                        .map_err(|e| TrainError::Data(e.to_string()))
                },
                best: None,
            },
        };
        let folder = RunFolder {
            path: Some(args.out.join(folder)),
            resume: args.resume,
        };
        let last = train(
            &objective,
            weights,
            &config,
            &folder,
            &self.device,
            &mut watch,
        )
        .into_diagnostic()?;
        let best = watch.best.best.take();
        bar.finish();
        let (chosen, value, weights) = match best {
            Some((epoch, value, weights)) => (format!("epoch {epoch}"), Some(value), weights),
            None => ("last epoch".into(), None, last),
        };
        let thresholds =
            thresholds_of(&logits(&weights, &task.validation).into_diagnostic()?, task)?;
        let scores = probabilities(&logits(&weights, &task.test).into_diagnostic()?);
        let options = evaluation(task, &thresholds, args.resamples);
        let metrics = evaluate_split(&scores, &task.test.labels, &task.patients, &options)
            .into_diagnostic()?;
        Ok(Judged {
            weights,
            thresholds,
            result: ModelResult {
                task: task.name.clone(),
                split: "test".into(),
                model: name.to_owned(),
                head: format!("{} fine-tuned", self.head),
                fraction: self.fraction,
                training_records: train_part.rows.len(),
                seeds: vec![
                    ("label fraction".into(), u64::from(self.fraction.seed)),
                    ("training".into(), seed),
                ],
                selection: Selection {
                    split: "validation".into(),
                    criterion: "macro AUROC".into(),
                    chosen,
                    value,
                },
                metrics,
            },
        })
    }

    fn logits<C, S>(&self, model: &C, source: &S, part: &Part) -> Result<Vec<f32>, TrainError>
    where
        C: Classify,
        S: Source<Input = <C::Encoder as Encoder>::Input>,
    {
        let ctx = Context::inference(&self.device);
        let mut out = Vec::new();
        for rows in part.rows.chunks(64) {
            let inputs = rows.iter().map(|&row| source.input(row));
            let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
            let batch = model.encoder().batch(&inputs)?;
            let logits = model.logits(&batch, &ctx).into_data().try_to_vec::<f32>();
            out.extend(logits.map_err(|e| TrainError::Data(format!("logits: {e:?}")))?);
        }
        Ok(out)
    }
}

struct Watch<'a, F> {
    bar: &'a Progress,
    best: BestEpoch<F>,
}

impl<F: FnMut(&Weights) -> Result<Option<f64>, TrainError>> Observer for Watch<'_, F> {
    fn step(&mut self, report: &StepReport) -> Next {
        self.bar.add(1);
        let best = self.best.best.as_ref().map(|(_, value, _)| *value);
        let best = best.map_or(String::new(), |v| format!(", validation AUROC {v:.3}"));
        self.bar.message(format!("loss {:.4}{best}", report.loss));
        if system::stop_requested() {
            Next::Stop
        } else {
            Next::Continue
        }
    }

    fn epoch(&mut self, epoch: usize, weights: &Weights) -> Result<Next, TrainError> {
        self.best.epoch(epoch, weights)
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
