//! `purkinje finetune`: everything, or chosen parts, of encoder and head learn from labels.

use std::path::PathBuf;

use burn::tensor::Device;
use clap::Args as ClapArgs;
use miette::{IntoDiagnostic, Result};
use purkinje_eval::evaluate_split;
use purkinje_eval::fraction::{BatchPlan, FractionMethod, LabelFraction};
use purkinje_eval::metrics::{SingleClass, macro_auroc};
use purkinje_eval::report::{EncoderRows, ModelResult, ResultTable, Selection};
use purkinje_models::clear::{Clear, Masking};
use purkinje_models::hug::{Classifier, Head};
use purkinje_models::layers::{Context, Weights};
use purkinje_record::LeadSet;
use purkinje_store::Store;
use purkinje_train::clear::{Classification, Targets, Trainable};
use purkinje_train::optimizer::AdamwConfig;
use purkinje_train::source::{StoreTokens, TokenSource};
use purkinje_train::{Next, Observer, RunFolder, StepReport, TrainConfig, TrainError, train};

use super::probe;
use crate::device::DeviceName;
use crate::judge::{BestEpoch, Judged, Part, Task, evaluation, probabilities, thresholds_of};
use crate::model::LoadedModel;
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
    /// linear or hug.
    #[arg(long, default_value = "hug", value_parser = probe::parse_head)]
    head: Head,
    /// What learns: all, moe (HUG and last layer), linear (last layer), or parts of parameter names separated by commas.
    #[arg(long, default_value = "all", value_parser = parse_trainable)]
    trainable: Trainable,
    /// Share of the training labels.
    #[arg(long, default_value_t = 1.0)]
    fraction: f64,
    /// How a share is drawn.
    #[arg(long, default_value = "random", value_parser = probe::parse_method)]
    sampling: FractionMethod,
    /// Passes over the training records.
    #[arg(long, default_value_t = 20)]
    epochs: usize,
    /// Peak learning rate (the published heads use 5e-3; whole encoders want less).
    #[arg(long, default_value_t = 5e-4)]
    lr: f64,
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
    let task = Task::load(&store, &args.task)?;
    let job = Job {
        source: StoreTokens::new(&store, (0..store.len()).collect(), &contract)
            .into_diagnostic()?,
        fraction: LabelFraction {
            share: args.fraction,
            method: args.sampling,
            seed: args.seed,
        },
        task: &task,
        args: &args,
        device,
    };
    let name = probe::model_name(&args.model);
    let trained = job.run(&model.clear, &name, "fine-tune", "trained")?;
    let random = Clear::random(
        model.clear.config().clone(),
        u64::from(args.seed),
        &job.device,
    );
    let twin = job.run(&random, &name, "from random weights", "random-weights")?;
    let fitted = LoadedModel::encoder(
        model.clear.with_weights(trained.weights.clone()),
        model.preprocess.clone(),
    );
    let folder = args.out.join("model");
    probe::save_classifier(&fitted, args.head, &task, &trained, &leads, &folder)?;
    let rows = EncoderRows {
        trained: trained.result,
        random_weights: twin.result,
    };
    let table = ResultTable::new(vec![rows]).into_diagnostic()?;
    output::print(&format!("{table}\n{}\n", table.per_class()))?;
    probe::write_results(&args.out, &[table])
}

struct Job<'a> {
    source: StoreTokens<'a>,
    fraction: LabelFraction,
    task: &'a Task,
    args: &'a Args,
    device: Device,
}

impl Job<'_> {
    /// Trains one classifier, selects its epoch on validation, looks at the test split once.
    fn run(&self, encoder: &Clear, name: &str, what: &'static str, folder: &str) -> Result<Judged> {
        let (args, task) = (self.args, self.task);
        let (seed, classes) = (u64::from(args.seed), task.classes.len());
        let train_part = task.fraction(&self.fraction)?;
        let plan = BatchPlan::new(train_part.rows.len(), args.batch).into_diagnostic()?;
        let mut weights = encoder.weights().clone();
        let width = encoder.config().embed_dim;
        args.head
            .initialise(&mut weights, width, classes, seed, &self.device);
        let classifier = Classifier::new(encoder.with_weights(weights.clone()), args.head, classes)
            .into_diagnostic()?;
        let objective = Classification::new(
            classifier.clone(),
            &self.source,
            Targets {
                records: train_part.rows.clone(),
                labels: train_part
                    .labels
                    .iter()
                    .map(|l| f32::from(u8::from(*l)))
                    .collect(),
                classes,
            },
            args.trainable.clone(),
            plan.batch,
            seed,
        );
        let config = TrainConfig {
            epochs: args.epochs,
            lr: args.lr,
            min_lr: 1e-5,
            warmup_epochs: args.epochs / 10,
            seed,
            optimizer: AdamwConfig {
                clip_norm: Some(3.0),
                ..AdamwConfig::finetune()
            },
            mixed_precision: false,
            checkpoint_every_s: u64::MAX,
        };
        let logits = |weights: &Weights, part: &Part| {
            self.logits(&classifier.with_weights(weights.clone()), part)
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
                head: format!("{} fine-tuned", self.args.head),
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

    fn logits(&self, model: &Classifier, part: &Part) -> Result<Vec<f32>, TrainError> {
        let ctx = Context::inference(&self.device);
        let mut out = Vec::new();
        for rows in part.rows.chunks(64) {
            let batch = self.source.batch(rows)?;
            let logits = model.logits(&batch, &Masking::all(batch.token_count()), &ctx);
            let logits = logits.into_data().try_to_vec::<f32>();
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

fn parse_trainable(text: &str) -> Result<Trainable, String> {
    Ok(match text {
        "all" => Trainable::All,
        "moe" => Trainable::Moe,
        "linear" => Trainable::Linear,
        "" => return Err("expected all, moe, linear or parts of parameter names".into()),
        parts => Trainable::Parts(parts.split(',').map(str::to_owned).collect()),
    })
}
