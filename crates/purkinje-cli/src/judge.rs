//! Judging an encoder: the features of a store once, then any number of heads, fractions and tasks on them.

use burn::tensor::Device;
use miette::{IntoDiagnostic, Result, miette};
use purkinje_eval::challenge::ChallengeScore;
use purkinje_eval::crops::{Aggregation, aggregate};
use purkinje_eval::fraction::{BatchPlan, LabelFraction};
use purkinje_eval::metrics::{SingleClass, labels_from, macro_auroc};
use purkinje_eval::probe::{Labelled, Penalty, ProbeOptions, fit_probe};
use purkinje_eval::report::{ModelResult, Selection};
use purkinje_eval::survival::concordance;
use purkinje_eval::{EvaluateOptions, evaluate_split};
use purkinje_eval::{best_thresholds, bootstrap::BootstrapOptions};
use purkinje_models::encoder::{Classify, Encoder};
use purkinje_models::hug::Head;
use purkinje_models::layers::{Context, Weights};
use purkinje_signal::Preprocess;
use purkinje_store::{QualityFilter, Split, Store};
use purkinje_train::clear::HeadTraining;
use purkinje_train::hubert::{HubertCutter, StoreCrops};
use purkinje_train::optimizer::OptimizerConfig;
use purkinje_train::source::{Look, Source, StoreTokens, frozen_vectors};
use purkinje_train::{
    Observer, RunFolder, Schedule, Span, Targets, TrainConfig, TrainError, Validated,
    ValidationConfig, train,
};

use crate::model::{Network, hubert_crop};
use crate::progress;

/// Inverse penalties of linear heads that are tried on validation data.
pub const PENALTIES: [f64; 5] = [0.001, 0.01, 0.05, 0.1, 1.0];

/// Vectors of all labelled records of a store under one frozen encoder.
pub struct Features {
    /// `[records, leads, width]`, in the order of the store's rows; one vector a record for encoders without lead vectors.
    pub vectors: Vec<f32>,
    /// Standard positions of the leads; a single one where there is one vector.
    pub leads: Vec<usize>,
    /// Width of a vector.
    pub width: usize,
}

impl Features {
    /// Runs the encoder over every record of the store, preprocessed as `contract` says; over so many crops of it, where the
    /// network takes crops.
    pub fn compute(
        network: &Network,
        store: &Store,
        contract: &Preprocess,
        crops: usize,
        device: &Device,
        progress: impl FnMut(usize),
    ) -> Result<Features> {
        let rows = (0..store.len()).collect();
        match network {
            Network::Clear(clear) => {
                let source = StoreTokens::new(store, rows, contract).into_diagnostic()?;
                let first = source.see(0, Look::Whole).into_diagnostic()?;
                let first = clear.batch(&[first]).into_diagnostic()?;
                Ok(Features {
                    vectors: frozen_vectors(clear, &source, 1, device, progress)
                        .into_diagnostic()?,
                    leads: first.leads,
                    width: clear.width(),
                })
            }
            Network::Hubert(hubert) => {
                let (samples, decimation) = hubert_crop(hubert.config());
                let cutter = HubertCutter::new(samples, decimation).into_diagnostic()?;
                let source = StoreCrops::new(store, rows, contract, cutter).into_diagnostic()?;
                Ok(Features {
                    vectors: frozen_vectors(hubert, &source, crops, device, progress)
                        .into_diagnostic()?,
                    leads: vec![0],
                    width: hubert.width(),
                })
            }
        }
    }

    fn record(&self, row: usize) -> &[f32] {
        let size = self.leads.len() * self.width;
        &self.vectors[row * size..(row + 1) * size]
    }

    /// Mean lead vector of each row `[rows, width]`.
    fn means(&self, rows: &[usize]) -> Vec<f32> {
        let mut out = vec![0.0; rows.len() * self.width];
        for (out, &row) in out.chunks_exact_mut(self.width).zip(rows) {
            for lead in self.record(row).chunks_exact(self.width) {
                for (o, x) in out.iter_mut().zip(lead) {
                    *o += x / self.leads.len() as f32;
                }
            }
        }
        out
    }

    fn rows(&self, rows: &[usize]) -> Vec<f32> {
        rows.iter().flat_map(|&r| self.record(r)).copied().collect()
    }
}

/// One split of a task.
#[derive(Clone)]
pub struct Part {
    /// Rows of the store.
    pub rows: Vec<usize>,
    /// `[rows, classes]`.
    pub labels: Vec<bool>,
}

impl Part {
    /// The rows at the places that `keeps` accepts.
    fn filtered(&self, classes: usize, keeps: impl Fn(usize) -> bool) -> Part {
        let places: Vec<usize> = (0..self.rows.len()).filter(|i| keeps(*i)).collect();
        self.at(classes, &places)
    }

    /// The rows at these places.
    fn at(&self, classes: usize, places: &[usize]) -> Part {
        Part {
            rows: places.iter().map(|&i| self.rows[i]).collect(),
            labels: places
                .iter()
                .flat_map(|&i| &self.labels[i * classes..(i + 1) * classes])
                .copied()
                .collect(),
        }
    }
}

/// The patient of each row of a part; the record where that is not known.
fn patients_of(store: &Store, part: &Part) -> Result<Vec<String>> {
    part.rows
        .iter()
        .map(|&row| {
            let row = store.row(row).into_diagnostic()?;
            Ok(row.patient().unwrap_or(row.id()).to_owned())
        })
        .collect()
}

/// Years of follow-up and whether they ended in death, of a task about death where both are known of every row. The label
/// `death` is that itself; death within a horizon is not.
fn follow_up(store: &Store, name: &str, part: &Part) -> Result<Option<(Vec<f32>, Vec<bool>)>> {
    let Some(years) = store
        .value("follow_up_years")
        .filter(|_| name.starts_with("death"))
    else {
        return Ok(None);
    };
    let death = store.value("death");
    let (mut times, mut events) = (Vec::new(), Vec::new());
    for (place, &row) in part.rows.iter().enumerate() {
        let row = store.row(row).into_diagnostic()?;
        let own = (name == "death").then(|| part.labels[place]);
        let event = match death {
            Some(death) => row.value(death).map(|dead| dead > 0.0),
            None => own,
        };
        let (Some(time), Some(event)) = (row.value(years), event) else {
            return Ok(None);
        };
        times.push(time);
        events.push(event);
    }
    Ok(Some((times, events)))
}

/// Whether a patient is kept for validation where a data set has no part for it: one in ten, by the hash of the name.
fn is_held_out(patient: &str) -> bool {
    let hash = blake3::hash(patient.as_bytes());
    u16::from_le_bytes([hash.as_bytes()[0], hash.as_bytes()[1]]).is_multiple_of(10)
}

/// A task of a store with its three splits.
pub struct Task {
    /// Name of the label set.
    pub name: String,
    /// Classes in column order.
    pub classes: Vec<String>,
    /// Where heads learn.
    pub train: Part,
    /// Where epochs, penalties and thresholds are selected.
    pub validation: Part,
    /// Looked at once.
    pub test: Part,
    /// Patient (or record, where unknown) of each test row.
    pub patients: Vec<String>,
    /// Of a task about death, years of follow-up of each test row and whether it ended in death.
    pub follow_up: Option<(Vec<f32>, Vec<bool>)>,
}

/// One split of a label set, and its classes; of records that keep the limits of `quality`.
fn part(
    store: &Store,
    name: &str,
    split: Split,
    quality: Option<&QualityFilter>,
) -> Result<(Part, Vec<String>)> {
    let rate_hz = store.info().rate_hz;
    let kept = |row: usize| match quality {
        None => true,
        Some(quality) => store
            .row(row)
            .is_ok_and(|row| quality.check_row(&row, rate_hz).is_ok()),
    };
    let mut labels = store.label_matrix_of(name, split).into_diagnostic()?;
    labels.retain(kept);
    if labels.rows.is_empty() {
        return Err(miette!(
            help = "prepare the store with splits, choose another task, or other limits on quality",
            "store {}: task `{name}` has no record in split `{}`",
            store.dir().display(),
            split.name()
        ));
    }
    let classes = labels.classes.clone();
    let part = Part {
        labels: labels_from(&labels.multi_hot).into_diagnostic()?,
        rows: labels.rows,
    };
    Ok((part, classes))
}

impl Task {
    /// A task with nothing but the split that is judged.
    pub fn judged(
        store: &Store,
        name: &str,
        split: Split,
        quality: Option<&QualityFilter>,
    ) -> Result<Task> {
        let (test, classes) = part(store, name, split, quality)?;
        let none = Part {
            rows: Vec::new(),
            labels: Vec::new(),
        };
        Ok(Task {
            name: name.to_owned(),
            classes,
            train: none.clone(),
            validation: none,
            patients: patients_of(store, &test)?,
            follow_up: follow_up(store, name, &test)?,
            test,
        })
    }

    /// The label set `name` of a store; of records that keep the limits of `quality`, if there are any.
    pub fn load(store: &Store, name: &str, quality: Option<&QualityFilter>) -> Result<Task> {
        let part = |split| part(store, name, split, quality);
        let (mut train, classes) = part(Split::Train)?;
        let (test, _) = part(Split::Test)?;
        let patients = patients_of(store, &test)?;
        let validation = match store.indices(Split::Val).is_empty() {
            false => part(Split::Val)?.0,
            true => {
                let names = patients_of(store, &train)?;
                let kept = |i: usize| is_held_out(&names[i]);
                let rest = |held| train.filtered(classes.len(), |i| kept(i) == held);
                let (validation, rest) = (rest(true), rest(false));
                progress::note(format!(
                    "the store has no validation part: {} of {} training records, a tenth of the patients, are kept for it",
                    validation.rows.len(),
                    train.rows.len()
                ));
                train = rest;
                validation
            }
        };
        Ok(Task {
            name: name.to_owned(),
            classes,
            train,
            validation,
            follow_up: follow_up(store, name, &test)?,
            test,
            patients,
        })
    }

    /// The training part reduced to a label fraction.
    pub fn fraction(&self, fraction: &LabelFraction) -> Result<Part> {
        let n = self.classes.len();
        let chosen = fraction.draw(&self.train.labels, n).into_diagnostic()?;
        Ok(self.train.at(n, &chosen))
    }
}

/// Where the HUG head begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HugStart {
    /// Random experts and last layer: the published program.
    Random,
    /// Experts that pass their input on under a fitted last layer: the linear probe on the mean of the lead groups.
    Linear,
}

/// How heads are trained and judged.
#[derive(Clone)]
pub struct Protocol {
    /// Linear or HUG.
    pub head: Head,
    /// Share of the training labels.
    pub fraction: LabelFraction,
    /// Inverse penalties tried on validation data; one value is used as it is.
    pub c: Vec<f64>,
    /// Epochs of the HUG head.
    pub epochs: usize,
    /// Where the HUG head begins.
    pub hug_start: HugStart,
    /// Seed of the head's start and batches.
    pub seed: u64,
    /// Resamples of the intervals.
    pub resamples: usize,
}

/// A trained head: its parameters, the decision thresholds, and how it did.
pub struct Judged {
    /// Parameters by name, for [`Head::logits`].
    pub weights: Weights,
    /// Of each class.
    pub thresholds: Vec<f32>,
    /// Measured on the test split.
    pub result: ModelResult,
}

/// Trains a head on features and evaluates it once on the test split.
pub fn judge(features: &Features, task: &Task, model: &str, protocol: &Protocol) -> Result<Judged> {
    let train = task.fraction(&protocol.fraction)?;
    let device = Device::flex();
    let (weights, selection) = match protocol.head {
        Head::Linear => linear(features, task, &train, protocol, &device)?,
        Head::Hug => hug(features, task, &train, protocol, &device)?,
    };
    let ctx = Context::inference(&device);
    let logits = |rows: &[usize]| head_logits(protocol.head, features, rows, &weights, &ctx);
    let thresholds = thresholds_of(&probabilities(&logits(&task.validation.rows)?), task)?;
    let test = probabilities(&logits(&task.test.rows)?);
    let options = evaluation(task, &thresholds, protocol.resamples);
    let metrics =
        evaluate_split(&test, &task.test.labels, &task.patients, &options).into_diagnostic()?;
    Ok(Judged {
        weights,
        result: ModelResult {
            task: task.name.clone(),
            split: "test".into(),
            model: model.to_owned(),
            head: protocol.head.to_string(),
            fraction: protocol.fraction,
            training_records: train.rows.len(),
            seeds: vec![
                ("label fraction".into(), u64::from(protocol.fraction.seed)),
                ("head".into(), protocol.seed),
            ],
            selection,
            other: other_figures(task, &test, &thresholds)?,
            metrics,
        },
        thresholds,
    })
}

/// Sigmoid of logits.
pub fn probabilities(logits: &[f32]) -> Vec<f32> {
    logits.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect()
}

/// Logits `[records, outputs]` of a classifier.
pub fn outputs<C: Classify>(
    model: &C,
    rows: &[usize],
    device: &Device,
    input: impl Fn(usize) -> Result<<C::Encoder as Encoder>::Input, TrainError>,
) -> Result<Vec<f32>, TrainError> {
    let ctx = Context::inference(device);
    let mut out = Vec::new();
    for rows in rows.chunks(64) {
        let inputs = rows.iter().map(|&row| input(row));
        let batch = model
            .encoder()
            .batch(&inputs.collect::<Result<Vec<_>, _>>()?)?;
        let logits = model.logits(&batch, &ctx).into_data().try_to_vec::<f32>();
        out.extend(logits.map_err(|e| TrainError::Data(format!("logits: {e:?}")))?);
    }
    Ok(out)
}

/// Probabilities `[records, classes]` of a classifier, joined over crops of each record; `labels` makes logits of labels from
/// its outputs.
pub fn scores<C, S>(
    model: &C,
    source: &S,
    rows: &[usize],
    (crops, aggregation): (usize, Aggregation),
    device: &Device,
    labels: impl Fn(Vec<f32>) -> Vec<f32>,
) -> Result<Vec<f32>, TrainError>
where
    C: Classify,
    S: Source<Input = <C::Encoder as Encoder>::Input>,
{
    let mut all = Vec::new();
    for k in 0..crops {
        let look = Look::Crop { k, n: crops };
        let raw = outputs(model, rows, device, |row| source.see(row, look))?;
        all.extend(probabilities(&labels(raw)));
    }
    aggregate(&all, crops, aggregation).map_err(|e| TrainError::Data(e.to_string()))
}

/// The probability of each class above which F1 is best, from the probabilities of the validation records.
pub fn thresholds_of(validation: &[f32], task: &Task) -> Result<Vec<f32>> {
    best_thresholds(validation, &task.validation.labels, task.classes.len(), 0.5).into_diagnostic()
}

/// How a test split is evaluated.
pub fn evaluation(task: &Task, thresholds: &[f32], resamples: usize) -> EvaluateOptions {
    EvaluateOptions {
        thresholds: thresholds.to_vec(),
        bootstrap: BootstrapOptions {
            resamples,
            ..BootstrapOptions::default()
        },
        ..EvaluateOptions::new(task.classes.clone())
    }
}

/// Logistic regression on the standardised mean lead vector.
fn linear(
    features: &Features,
    task: &Task,
    train: &Part,
    protocol: &Protocol,
    device: &Device,
) -> Result<(Weights, Selection)> {
    let x = features.means(&train.rows);
    let v = features.means(&task.validation.rows);
    let mut weights = Weights::default();
    let selection = fit_last_layer(&mut weights, &x, &v, task, train, protocol, device)?;
    Ok((weights, selection))
}

/// Fits the last layer to vectors `[rows, width]` by logistic regression on their standardised values and folds the
/// standardisation into it.
fn fit_last_layer(
    weights: &mut Weights,
    x: &[f32],
    validation: &[f32],
    task: &Task,
    train: &Part,
    protocol: &Protocol,
    device: &Device,
) -> Result<Selection> {
    let options = ProbeOptions {
        penalty: match protocol.c[..] {
            [c] => Penalty::Fixed(c),
            _ => Penalty::Grid(protocol.c.clone()),
        },
        ..ProbeOptions::default()
    };
    let part = |features, labels| Labelled { features, labels };
    let fit = fit_probe(
        &task.classes,
        part(x, &train.labels),
        Some(part(validation, &task.validation.labels)),
        &options,
    )
    .into_diagnostic()?;
    let (probe, classes) = (&fit.probe, task.classes.len());
    let d = probe.width();
    let mut weight = Vec::with_capacity(classes * d);
    let mut bias = Vec::with_capacity(classes);
    for (row, b) in probe.weight.chunks_exact(d).zip(&probe.bias) {
        let scaled = || {
            row.iter()
                .zip(&probe.standardizer.scale)
                .map(|(w, s)| w / s)
        };
        let shift: f64 = scaled()
            .zip(&probe.standardizer.mean)
            .map(|(w, m)| w * m)
            .sum();
        weight.extend(scaled().map(|w| w as f32));
        bias.push((b - shift) as f32);
    }
    weights.insert("mlp_head.weight", &[classes, d], weight, device);
    weights.insert("mlp_head.bias", &[classes], bias, device);
    let value = fit.grid.iter().find(|(c, _)| *c == fit.c).and_then(|g| g.1);
    Ok(Selection {
        split: "validation".into(),
        criterion: "macro AUROC".into(),
        chosen: format!("C = {}", fit.c),
        value,
    })
}

/// HUG on fixed lead vectors, best epoch on validation: from random experts by the published recipe (AdamW 5e-3), or from
/// experts that pass their input on and a last layer fitted by logistic regression (AdamW 5e-4).
fn hug(
    features: &Features,
    task: &Task,
    train_part: &Part,
    protocol: &Protocol,
    device: &Device,
) -> Result<(Weights, Selection)> {
    let classes = task.classes.len();
    let plan = BatchPlan::new(train_part.rows.len(), 256).into_diagnostic()?;
    let mut weights = Weights::default();
    Head::Hug.initialise(&mut weights, features.width, classes, protocol.seed, device);
    let lr = match protocol.hug_start {
        HugStart::Random => 5e-3,
        HugStart::Linear => {
            Head::Hug.pass_on(&mut weights, features.width, device);
            let ctx = Context::inference(device);
            let pooled = |rows: &[usize]| -> Result<Vec<f32>> {
                let shape = [rows.len(), features.leads.len(), features.width];
                let data = burn::tensor::TensorData::new(features.rows(rows), shape);
                let cls = burn::Tensor::<3>::from_data(data, device);
                let groups = Head::Hug.groups(cls, &features.leads, &weights, &ctx);
                let pooled = groups.mean_dim(1).into_data().try_to_vec::<f32>();
                pooled.map_err(|e| miette!("group vectors: {e:?}"))
            };
            let (x, v) = (pooled(&train_part.rows)?, pooled(&task.validation.rows)?);
            fit_last_layer(&mut weights, &x, &v, task, train_part, protocol, device)?;
            5e-4
        }
    };
    let targets = Targets {
        records: train_part.rows.clone(),
        labels: train_part
            .labels
            .iter()
            .map(|l| f32::from(u8::from(*l)))
            .collect(),
        classes,
    };
    let objective = HeadTraining::new(
        Head::Hug,
        features.leads.clone(),
        &features.vectors,
        features.width,
        targets,
        plan.batch,
        protocol.seed,
    );
    let config = TrainConfig {
        epochs: protocol.epochs,
        schedule: Schedule::cosine(lr, 1e-5, Span::Epochs(protocol.epochs / 10)),
        seed: protocol.seed,
        optimizer: OptimizerConfig::finetune(),
        checkpoint_every_s: u64::MAX,
        // The start takes part: for fitted experts it is the linear probe.
        validation: Some(ValidationConfig {
            start: true,
            ..ValidationConfig::default()
        }),
        ..TrainConfig::default()
    };
    let vectors = features.rows(&task.validation.rows);
    let mut watch = Scored(|weights: &Weights| {
        let ctx = Context::inference(device);
        let logits = objective.logits(weights, &vectors, &ctx).into_data();
        let logits = logits
            .try_to_vec::<f32>()
            .map_err(|e| TrainError::Data(format!("validation logits: {e:?}")))?;
        macro_auroc(&logits, &task.validation.labels, classes, SingleClass::Skip)
            .map(|mean| mean.value)
            .map_err(|e| TrainError::Data(e.to_string()))
    });
    let folder = RunFolder {
        path: None,
        resume: false,
    };
    let trained =
        train(&objective, weights, &config, &folder, device, &mut watch).into_diagnostic()?;
    let kept = trained.kept.as_ref();
    let selection = Selection {
        split: "validation".into(),
        criterion: "macro AUROC".into(),
        chosen: kept.map_or("last epoch".to_owned(), |kept| {
            format!("epoch {}", kept.step / plan.steps_per_epoch.max(1))
        }),
        value: kept.and_then(|kept| kept.metric),
    };
    Ok((trained.chosen(), selection))
}

/// Validates weights by a score, `None` where it is undefined.
struct Scored<F>(F);

impl<F: FnMut(&Weights) -> Result<Option<f64>, TrainError>> Observer for Scored<F> {
    fn validate(&mut self, _: usize, weights: &Weights) -> Result<Option<Validated>, TrainError> {
        let metric = (self.0)(weights)?;
        Ok(Some(Validated {
            loss: f64::NAN,
            metric,
        }))
    }
}

/// Classes of a task that the Challenge must score for its score to say something, if they are not most of them.
const CHALLENGE_CLASSES: usize = 10;

/// What else a task is judged by: the Challenge score, where the Challenge scores most of its classes or ten, and
/// for one label about death the concordance with the time until then.
pub fn other_figures(
    task: &Task,
    scores: &[f32],
    thresholds: &[f32],
) -> Result<Vec<(String, f64)>> {
    let mut figures = Vec::new();
    let challenge = ChallengeScore::published(&task.classes);
    let scored = challenge.scored().count();
    if scored >= 2 && (scored >= CHALLENGE_CLASSES || 2 * scored > task.classes.len()) {
        let limits = thresholds.iter().cycle();
        let calls: Vec<bool> = scores.iter().zip(limits).map(|(s, t)| s > t).collect();
        let score = challenge.of(&task.test.labels, &calls).into_diagnostic()?;
        figures.push((format!("Challenge score ({scored} classes)"), score));
    }
    if let (Some((times, events)), [_]) = (&task.follow_up, &task.classes[..]) {
        let found = concordance(scores, times, events).into_diagnostic()?;
        figures.extend(found.index().map(|index| ("concordance".to_owned(), index)));
    }
    Ok(figures)
}

/// Logits `[rows, classes]` of a head on features.
fn head_logits(
    head: Head,
    features: &Features,
    rows: &[usize],
    weights: &Weights,
    ctx: &Context,
) -> Result<Vec<f32>> {
    let mut out = Vec::new();
    for rows in rows.chunks(1024) {
        let vectors = features.rows(rows);
        let shape = [rows.len(), features.leads.len(), features.width];
        let data = burn::tensor::TensorData::new(vectors, shape);
        let cls = burn::Tensor::<3>::from_data(data, ctx.device());
        let logits = head.logits(cls, &features.leads, weights, ctx).into_data();
        out.extend(
            logits
                .try_to_vec::<f32>()
                .map_err(|e| miette!("logits: {e:?}"))?,
        );
    }
    Ok(out)
}
