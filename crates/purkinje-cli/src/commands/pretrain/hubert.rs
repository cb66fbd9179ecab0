//! `purkinje pretrain hubert`: features, code books and prediction of code words, iteration by iteration.

use std::fs;
use std::io::BufWriter;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use clap::Args as ClapArgs;
use miette::{IntoDiagnostic, Result, bail, miette};
use purkinje_base::npy::NpyWriter;
use purkinje_cluster::features::{Features, Writer};
use purkinje_cluster::quality::{QualityConfig, Scope};
use purkinje_cluster::{CodeBook, CurvePoint, Ensemble, FitConfig, book_file, curve};
use purkinje_figures::chart::{AxisScale, LineChart, Series};
use purkinje_models::compat::Compat;
use purkinje_models::hubert::{Hubert, HubertBatch, HubertConfig};
use purkinje_models::layers::{Context, Weights};
use purkinje_signal::Preprocess;
use purkinje_signal::descriptors::{AnalysisRate, Choices, Descriptors, Kind};
use purkinje_signal::hubert_input::CROP_SAMPLES;
use purkinje_store::{QualityFilter, Store};
use purkinje_train::early_stopping::{Behaviour, StoppingConfig};
use purkinje_train::hubert::{CodeTraining, CodedCrops, Codes, HubertCutter, StoreCrops};
use purkinje_train::optimizer::OptimizerConfig;
use purkinje_train::schedule::epochs_for;
use purkinje_train::source::{Look, Source as _};
use purkinje_train::{
    Keep, Next, Observer, RunFolder, Schedule, StepReport, TrainConfig, TrainError, Validated,
    ValidationConfig, train,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Watch, begin, training_rows, validation_rows};
use crate::device::DeviceName;
use crate::model::{LoadedModel, Network, hubert_crop};
use crate::output::{self, NewFile};
use crate::progress::{self, Progress};
use crate::{system, tokens};

/// Recordings whose features are computed at a time.
const CHUNK: usize = 64;
/// Recordings of one pass through the network.
const BATCH: usize = 16;
/// Penalties of the weight decay that a patience is divided into (specification 11.1).
const PENALTY_INTERVALS: usize = 4;
const FEATURES: &str = "features";
const BOOKS: &str = "code-books";
const CODES: &str = "codes.npy";

/// Arguments of `pretrain hubert`. What is not given comes from the configuration file, then from the defaults.
#[derive(ClapArgs, Debug)]
pub struct HubertArgs {
    /// Prepared store: of `--preset hubert`, or raw at 500 Hz.
    #[arg(long)]
    data: PathBuf,
    /// Folder of the run: a folder for each iteration, and the model.
    #[arg(long)]
    out: PathBuf,
    /// TOML file with any of the fields of the run's own config.toml.
    #[arg(long)]
    config: Option<PathBuf>,
    /// tiny (1 M parameters), small (30 M), base (93 M) or large (188 M).
    #[arg(long, default_value = "tiny")]
    size: String,
    /// What is meant, or what the published program does.
    #[arg(long, value_parser = crate::commands::compat)]
    compat: Option<Compat>,
    /// Clusters of the code book of each iteration; several of one iteration, joined by +, make an ensemble. As many as there are
    /// iterations [default: 100,500].
    #[arg(long, value_name = "N,N+N,...", value_delimiter = ',', value_parser = books)]
    clusters: Vec<Books>,
    /// Also judge code books of these numbers of clusters, for the curve.
    #[arg(long, value_name = "N,N,...", value_delimiter = ',')]
    curve: Vec<usize>,
    /// What the first iteration describes tokens by: cepstra, time-frequency or mixed.
    #[arg(long, value_parser = kind)]
    descriptors: Option<Kind>,
    /// The layer whose states later iterations cluster [default: two thirds of the depth, 8 of 12].
    #[arg(long, value_name = "N")]
    layer: Option<usize>,
    /// Passes over the data in each iteration [default: 20].
    #[arg(long)]
    epochs: Option<usize>,
    /// Updates in each iteration, instead of passes; published: 80000, then 800000 (BASE) or 400000.
    #[arg(long, conflicts_with = "epochs")]
    updates: Option<usize>,
    /// Share of hidden tokens in the loss; the rest is that of visible ones [default: 1].
    #[arg(long)]
    alpha: Option<f64>,
    /// Updates between validations on the validation part of the store; published: 4000 [default: none].
    #[arg(long, value_name = "N")]
    validate_every: Option<usize>,
    /// Validations without improvement of loss or accuracy after which an iteration stops; published: 10.
    #[arg(long, value_name = "N", requires = "validate_every")]
    patience: Option<usize>,
    /// Weight decay and dropout rise at every quarter of the patience.
    #[arg(long, requires = "patience")]
    dynamic_regularisation: bool,
    /// Records of one step.
    #[arg(long)]
    batch: Option<usize>,
    /// Batches whose gradients make one update.
    #[arg(long, value_name = "N")]
    accumulate: Option<usize>,
    /// Peak learning rate.
    #[arg(long)]
    lr: Option<f64>,
    /// Seed of every random choice.
    #[arg(long)]
    seed: Option<u64>,
    /// Where to compute: cpu; cuda, cuda:1, vulkan, metal, webgpu or rocm where built in.
    #[arg(long, default_value = "cpu")]
    device: DeviceName,
    /// Matrix products in bfloat16 where the device has units for it.
    #[arg(long)]
    mixed_precision: bool,
    /// Leave out records whose figures do not keep these limits, such as `flat=0,missing=10%`.
    #[arg(long, value_name = "FILTER")]
    quality: Option<QualityFilter>,
    /// Keep the features of every iteration; they are removed when their code words are written.
    #[arg(long)]
    keep_features: bool,
    /// Continue the run: finished steps are kept, others go on.
    #[arg(long)]
    resume: bool,
}

/// Everything that decides the outcome of a run; written beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Prepared store.
    pub data: PathBuf,
    /// Records of one step.
    pub batch: usize,
    /// Share of hidden tokens in the loss.
    pub alpha: f64,
    /// What the first iteration describes tokens by.
    pub descriptors: Kind,
    /// Code books of each iteration.
    pub clusters: Vec<Vec<usize>>,
    /// Numbers of clusters that are judged beside them.
    pub curve: Vec<usize>,
    /// The layer whose states later iterations cluster.
    pub layer: usize,
    /// Limits on the quality of records; none when empty.
    #[serde(default)]
    pub quality: String,
    /// Schedule and optimizer of each iteration.
    pub train: TrainConfig,
    /// Network.
    pub hubert: HubertConfig,
}

/// Runs the command.
pub fn run(args: &HubertArgs) -> Result<()> {
    let store = Store::open(&args.data).into_diagnostic()?;
    let config = resolve(args)?;
    let device = args.device.open()?;
    begin(&args.out, args.resume, &config)?;

    let contract = Preprocess::hubert();
    let run = Run {
        args,
        config: &config,
        rows: long_enough(&store, training_rows(&store, &config.quality)?)?,
        validation: match config.train.validation {
            None => Vec::new(),
            Some(_) => long_enough(&store, validation_rows(&store, &config.quality)?)?,
        },
        contract: &contract,
        store: &store,
        device,
    };
    let mut model: Option<Hubert> = None;
    for number in 1..=config.clusters.len() {
        model = Some(run.iteration(number, model.as_ref())?);
    }
    let Some(model) = model else {
        bail!("`--clusters` names no iteration");
    };
    let folder = args.out.join("model");
    run.save(&model, config.clusters.len(), &folder)?;
    output::print(&format!("model in {}\n", folder.display()))
}

/// The rows that are long enough for a crop.
fn long_enough(store: &Store, mut rows: Vec<usize>) -> Result<Vec<usize>> {
    let all = rows.len();
    let seconds = CROP_SAMPLES as f64 / Preprocess::hubert().rate_hz;
    let rate_hz = store.info().rate_hz;
    rows.retain(|&row| {
        let samples = store.row(row).map_or(0, |row| row.samples());
        samples as f64 >= seconds * rate_hz
    });
    if rows.len() < all {
        progress::note(format!(
            "{} of {all} records are shorter than {seconds} s and were left out",
            all - rows.len()
        ));
    }
    if rows.is_empty() {
        bail!("the store has no record of {seconds} s or more to learn from");
    }
    Ok(rows)
}

struct Run<'a> {
    args: &'a HubertArgs,
    config: &'a RunConfig,
    rows: Vec<usize>,
    /// What is validated on; empty if nothing is.
    validation: Vec<usize>,
    contract: &'a Preprocess,
    store: &'a Store,
    device: Device,
}

impl Run<'_> {
    /// One iteration, or what is left of it.
    fn iteration(&self, number: usize, before: Option<&Hubert>) -> Result<Hubert> {
        let dir = self.args.out.join(format!("iteration-{number}"));
        let finished = dir.join("model");
        if finished.join("config.json").is_file() {
            return match LoadedModel::load(&finished, &self.device)?.network {
                Network::Hubert(model) => Ok(model),
                Network::Clear(_) => bail!("`{}` holds another model", finished.display()),
            };
        }
        let clusters = &self.config.clusters[number - 1];
        let model = match before {
            None => {
                let config = HubertConfig {
                    vocab_sizes: clusters.clone(),
                    ..self.config.hubert.clone()
                };
                Hubert::random(config, self.config.train.seed, &self.device)
            }
            Some(before) => before.next_iteration(
                clusters.clone(),
                self.config.train.seed.wrapping_add(number as u64),
                &self.device,
            ),
        };
        let fit = |features: &Features| self.books(&dir, clusters, features);
        let codes = self.codes(&dir, clusters, before, &fit)?;
        let source = CodedCrops::new(self.crops()?, codes).into_diagnostic()?;
        let validation = self.validation(&dir, clusters, before)?;
        let train_config = self.train_config(number)?;
        let objective = CodeTraining::new(
            model.clone(),
            &source,
            self.config.batch,
            self.config.alpha,
            train_config.seed,
        );
        let per_epoch = self.rows.len() / self.config.batch / train_config.accumulate.max(1);
        let steps = match train_config.updates {
            Some(updates) if !train_config.ends_with_epoch => updates,
            _ => per_epoch * train_config.epochs,
        };
        progress::note(format!(
            "iteration {number}: {} parameters, {} records, code books of {clusters:?}, {steps} steps, {per_epoch} in an epoch, on {}",
            model.weights().count(),
            self.rows.len(),
            self.args.device
        ));
        let keep = |_: &Weights, _: usize, _: &str| Ok(());
        let mut watch = Validating {
            watch: Watch::new("pre-train", steps, None, &keep),
            model: &model,
            source: validation.as_ref(),
            device: &self.device,
        };
        let folder = RunFolder {
            path: Some(dir.clone()),
            resume: true,
        };
        let weights = train(
            &objective,
            model.weights().clone(),
            &train_config,
            &folder,
            &self.device,
            &mut watch,
        )
        .into_diagnostic()?
        .chosen();
        if let Some(report) = watch.watch.finish() {
            output::print(&format!(
                "iteration {number}, step {} of {}: loss {:.4}\n",
                report.step, report.steps, report.loss
            ))?;
        }
        let model = model.with_weights(weights);
        self.save(&model, number, &finished)?;
        Ok(model)
    }

    /// Schedule and optimizer of an iteration.
    fn train_config(&self, number: usize) -> Result<TrainConfig> {
        let mut config = self.config.train.clone();
        config.seed = config.seed.wrapping_add(number as u64 - 1);
        if let (Compat::Released, Some(updates)) = (self.config.hubert.compat, config.updates) {
            let batches = self.rows.len() / self.config.batch;
            let epochs = epochs_for(updates, batches, config.accumulate, true);
            (config.epochs, _) = epochs.into_diagnostic()?;
            config.ends_with_epoch = true;
        }
        Ok(config)
    }

    /// The validation part with its code words, if the run validates and the store has one. The books are those of the
    /// training part.
    fn validation(
        &self,
        dir: &Path,
        clusters: &[usize],
        before: Option<&Hubert>,
    ) -> Result<Option<CodedCrops<'_>>> {
        if self.config.train.validation.is_none() || self.validation.is_empty() {
            return Ok(None);
        }
        let part = Run {
            rows: self.validation.clone(),
            validation: Vec::new(),
            device: self.device.clone(),
            ..*self
        };
        let fitted = |_: &Features| {
            let folder = dir.join(BOOKS);
            let books = clusters
                .iter()
                .map(|&count| CodeBook::load(&folder.join(book_file(count))).into_diagnostic());
            Ensemble::new(books.collect::<Result<_>>()?).into_diagnostic()
        };
        let dir = dir.join("validation");
        fs::create_dir_all(&dir).map_err(|error| output::cannot_write(&dir, error))?;
        let codes = part.codes(&dir, clusters, before, &fitted)?;
        let (samples, decimation) = hubert_crop(&self.config.hubert);
        let cutter = HubertCutter::new(samples, decimation).into_diagnostic()?;
        let crops = StoreCrops::new(self.store, part.rows, self.contract, cutter);
        let source = CodedCrops::new(crops.into_diagnostic()?, codes).into_diagnostic()?;
        Ok(Some(source))
    }

    fn save(&self, model: &Hubert, iterations: usize, folder: &Path) -> Result<()> {
        let train = &self.config.train;
        let length = match train.updates {
            Some(updates) => format!("{updates} updates"),
            None => format!("{} epochs", train.epochs),
        };
        let made = format!(
            "purkinje {} pretrain hubert: {} records of `{}`, {iterations} iterations of {length}, seed {}",
            env!("CARGO_PKG_VERSION"),
            self.rows.len(),
            self.store.info().name,
            train.seed
        );
        let network = Network::Hubert(model.clone());
        LoadedModel::encoder(network, self.contract.clone()).save(folder, &made)
    }

    fn crops(&self) -> Result<StoreCrops<'_>> {
        let (samples, decimation) = hubert_crop(&self.config.hubert);
        let rows = self.rows.clone();
        let cutter = HubertCutter::new(samples, decimation).into_diagnostic()?;
        StoreCrops::new(self.store, rows, self.contract, cutter).into_diagnostic()
    }

    /// The code words of all records: those there are, or made from features, with the books that `books` finds for them.
    fn codes(
        &self,
        dir: &Path,
        clusters: &[usize],
        before: Option<&Hubert>,
        books: &dyn Fn(&Features) -> Result<Ensemble>,
    ) -> Result<Codes> {
        let (samples, decimation) = hubert_crop(&self.config.hubert);
        let flat = (samples * self.contract.leads.len()).div_ceil(decimation.unwrap_or(1));
        let tokens = self.config.hubert.tokens(flat);
        let path = dir.join(CODES);
        if !path.is_file() {
            let features = self.features(dir, tokens, before)?;
            self.write_codes(&path, &features, &books(&features)?)?;
        }
        if !self.args.keep_features {
            let features = dir.join(FEATURES);
            if features.is_dir() {
                fs::remove_dir_all(&features)
                    .map_err(|error| output::cannot_write(&features, error))?;
            }
        }
        Codes::open(&path, self.rows.len(), tokens * clusters.len()).into_diagnostic()
    }

    /// Descriptors for the first iteration, states of a layer of the model before for the others.
    fn features(&self, dir: &Path, tokens: usize, before: Option<&Hubert>) -> Result<Features> {
        let compat = self.config.hubert.compat;
        let (width, what) = match before {
            None => (
                self.config.descriptors.width(),
                json!({"descriptors": self.config.descriptors, "compat": compat}),
            ),
            Some(_) => (
                self.config.hubert.hidden_size,
                json!({"layer": self.config.layer, "compat": compat}),
            ),
        };
        let made_of = json!({
            "store": self.store.info().fingerprint,
            "records": self.rows.len(),
            "features": what,
        });
        let dir = dir.join(FEATURES);
        let mut writer = Writer::open(&dir, width, tokens, made_of).into_diagnostic()?;
        if writer.is_complete() {
            return Features::open(&dir).into_diagnostic();
        }
        let crops = self.crops()?;
        let bar = Progress::new("features", self.rows.len(), "records");
        bar.resume(writer.records());
        let all: Vec<usize> = (writer.records()..self.rows.len()).collect();
        for chunk in all.chunks(CHUNK) {
            tokens::stop_if_asked()?;
            let features = match before {
                None => self.descriptors(&crops, chunk)?,
                Some(model) => self.states(model, &crops, chunk)?,
            };
            for (&index, rows) in chunk.iter().zip(&features) {
                let row = self.store.row(self.rows[index]).into_diagnostic()?;
                writer.add(row.id(), rows).into_diagnostic()?;
            }
            bar.add(chunk.len());
        }
        bar.finish();
        writer.finish().into_diagnostic()
    }

    fn descriptors(&self, crops: &StoreCrops<'_>, chunk: &[usize]) -> Result<Vec<Vec<f32>>> {
        let choices = match self.config.hubert.compat {
            Compat::Paper => Choices::paper(),
            Compat::Released => Choices::released(),
        };
        let kind = self.config.descriptors;
        let maker = Descriptors::new(kind, AnalysisRate::default(), choices).into_diagnostic()?;
        chunk
            .par_iter()
            .map_with(maker, |maker, &index| {
                let (id, signal) = crops.signal(index).into_diagnostic()?;
                let named = |error| miette!("record `{id}`: {error}");
                maker.of(&signal).map_err(named)
            })
            .collect()
    }

    fn states(
        &self,
        model: &Hubert,
        crops: &StoreCrops<'_>,
        chunk: &[usize],
    ) -> Result<Vec<Vec<f32>>> {
        let mut all = Vec::with_capacity(chunk.len());
        for part in chunk.chunks(BATCH) {
            let inputs = part.par_iter().map(|&index| crops.see(index, Look::Whole));
            let inputs = inputs.collect::<Result<Vec<_>, _>>().into_diagnostic()?;
            let batch = HubertBatch::new(model.config(), &inputs).into_diagnostic()?;
            let ctx = Context::inference(&self.device);
            let states = model.states_of_layer(&batch, self.config.layer, &ctx);
            let values = tokens::values(states)?;
            let each = values.len() / part.len();
            all.extend(values.chunks_exact(each).map(<[f32]>::to_vec));
        }
        Ok(all)
    }

    /// Fits the code books, and those of the curve, and draws it.
    fn books(&self, dir: &Path, clusters: &[usize], features: &Features) -> Result<Ensemble> {
        let released = self.config.hubert.compat == Compat::Released;
        let fit = match released {
            true => FitConfig::released(0),
            false => FitConfig::new(0),
        };
        let fit = FitConfig {
            batch_records: fit.batch_records.min(features.records()),
            seed: self.config.train.seed as u32,
            ..fit
        };
        let quality = QualityConfig {
            scope: match released {
                true => Scope::Batches(fit.batch_records),
                false => Scope::All,
            },
            seed: fit.seed,
            ..QualityConfig::default()
        };
        let mut counts: Vec<usize> = clusters.iter().chain(&self.config.curve).copied().collect();
        counts.sort_unstable();
        counts.dedup();
        let folder = dir.join(BOOKS);
        let batches = features.records() / fit.batch_records;
        let bar = Progress::new("code books", batches * counts.len(), "batches");
        let mut observer = |_: usize, _: usize, _: f64| {
            bar.add(1);
            match system::stop_requested() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        let points = curve(features, &counts, &fit, &quality, &folder, &mut observer);
        let points = points.into_diagnostic()?;
        bar.finish();
        output::print(&table(&points))?;
        let svg = draw(&points);
        output::write_file(&folder.join("curve.svg"), svg.to_string().as_bytes())?;
        let books = clusters.iter().map(|count| {
            let point = points.iter().find(|point| point.clusters == *count);
            let point = point.ok_or_else(|| miette!("no code book of {count} was fitted"))?;
            CodeBook::load(&folder.join(&point.file)).into_diagnostic()
        });
        Ensemble::new(books.collect::<Result<_>>()?).into_diagnostic()
    }

    fn write_codes(&self, path: &Path, features: &Features, books: &Ensemble) -> Result<()> {
        let cannot = |error| output::cannot_write(path, error);
        let rows = features.rows_per_record();
        let mut new = NewFile::begin(path)?;
        let file = new.file().try_clone().map_err(cannot)?;
        let words = [books.books().len(), rows];
        let mut writer = NpyWriter::<u16, _>::new(BufWriter::new(file), &words).map_err(cannot)?;
        let bar = Progress::new("code words", features.records(), "records");
        let all: Vec<u32> = (0..features.records() as u32).collect();
        let mut values = Vec::new();
        for chunk in all.chunks(CHUNK) {
            tokens::stop_if_asked()?;
            values.clear();
            features.read(chunk, &mut values).into_diagnostic()?;
            let codes = books.assign(&values).into_diagnostic()?;
            for record in 0..chunk.len() {
                let own = codes.iter().flat_map(|book| &book[record * rows..][..rows]);
                // No book has more than 65,536 clusters.
                let own: Vec<u16> = own.map(|&code| code as u16).collect();
                writer.push(&own).map_err(cannot)?;
            }
            bar.add(chunk.len());
        }
        bar.finish();
        writer.finish().map_err(cannot)?;
        new.finish()
    }
}

/// Watches a run and validates it: all tokens visible, loss and accuracy over all of them (specification, section 9).
struct Validating<'a> {
    watch: Watch<'a>,
    model: &'a Hubert,
    source: Option<&'a CodedCrops<'a>>,
    device: &'a Device,
}

impl Observer for Validating<'_> {
    fn step(&mut self, report: &StepReport) -> Next {
        self.watch.step(report)
    }

    fn validate(
        &mut self,
        _step: usize,
        weights: &Weights,
    ) -> Result<Option<Validated>, TrainError> {
        let Some(source) = self.source else {
            return Ok(None);
        };
        let model = self.model.with_weights(weights.clone());
        let ctx = Context::inference(self.device);
        let (mut loss, mut accuracy) = (0.0, 0.0);
        let all: Vec<usize> = (0..source.len()).collect();
        for chunk in all.chunks(BATCH) {
            let (mut inputs, mut codes) = (Vec::new(), Vec::new());
            for &index in chunk {
                let (input, own) = source.see(index, Look::Whole)?;
                inputs.push(input);
                codes.extend(own);
            }
            let batch = HubertBatch::new(model.config(), &inputs)?;
            let found = model.validate_codes(&batch, &codes, &ctx);
            loss += found.0 * chunk.len() as f64;
            accuracy += found.1 * chunk.len() as f64;
        }
        Ok(Some(Validated {
            loss: loss / all.len() as f64,
            metric: Some(accuracy / all.len() as f64),
        }))
    }
}

/// The figures of code books.
fn table(points: &[CurvePoint]) -> String {
    let header = [
        "clusters",
        "SSE",
        "Davies-Bouldin",
        "Calinski-Harabasz",
        "silhouette",
        "used",
    ];
    let mut table = output::Table::new(0, header.map(str::to_owned));
    for point in points {
        let quality = &point.quality;
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.3}"));
        table.row([
            point.clusters.to_string(),
            format!("{:.1}", quality.sse),
            number(quality.davies_bouldin),
            number(quality.calinski_harabasz),
            number(quality.silhouette),
            quality.used_clusters.to_string(),
        ]);
    }
    format!("{table}\n")
}

/// SSE over the numbers of clusters.
fn draw(points: &[CurvePoint]) -> purkinje_figures::Svg {
    LineChart {
        title: "Code books".into(),
        x_label: "clusters".into(),
        y_label: "sum of squared distances".into(),
        y_scale: AxisScale::Linear,
        series: vec![Series {
            name: "SSE".into(),
            points: points
                .iter()
                .map(|point| (point.clusters as f64, point.quality.sse))
                .collect(),
        }],
    }
    .draw()
}

/// Defaults < file < command line.
fn resolve(args: &HubertArgs) -> Result<RunConfig> {
    let mut config = match &args.config {
        Some(path) => super::from_file(path)?,
        None => {
            let hubert = HubertConfig::size(&args.size).ok_or_else(|| {
                miette!("--size {}: expected tiny, small, base or large", args.size)
            })?;
            RunConfig {
                data: args.data.clone(),
                batch: 64,
                alpha: 1.0,
                descriptors: Kind::Cepstra,
                clusters: vec![vec![100], vec![500]],
                curve: Vec::new(),
                layer: (2 * hubert.num_hidden_layers).div_ceil(3),
                quality: String::new(),
                train: TrainConfig {
                    epochs: 20,
                    // The published rate is for batches of 448 and hundreds of thousands of steps.
                    schedule: Schedule::linear(if args.size == "tiny" { 1e-3 } else { 5e-5 }),
                    seed: 42,
                    optimizer: OptimizerConfig::hubert(),
                    ..TrainConfig::default()
                },
                hubert,
            }
        }
    };
    config.data = args.data.clone();
    config.hubert.compat = args.compat.unwrap_or(config.hubert.compat);
    config.descriptors = args.descriptors.unwrap_or(config.descriptors);
    config.layer = args.layer.unwrap_or(config.layer);
    if !args.clusters.is_empty() {
        config.clusters = args.clusters.iter().map(|books| books.0.clone()).collect();
    }
    if !args.curve.is_empty() {
        config.curve.clone_from(&args.curve);
    }
    if let Some(filter) = &args.quality {
        config.quality = filter.to_string();
    }
    config.alpha = args.alpha.unwrap_or(config.alpha);
    if !(0.0..=1.0).contains(&config.alpha) {
        bail!("--alpha {}: expected a share from 0 to 1", config.alpha);
    }
    let behaviour = match config.hubert.compat {
        Compat::Paper => Behaviour::Paper,
        Compat::Released => Behaviour::ReleasedPretrain,
    };
    let run = &mut config.train;
    if let Some(epochs) = args.epochs {
        run.epochs = epochs;
        run.updates = None;
    }
    run.updates = args.updates.or(run.updates);
    if let Some(every) = args.validate_every {
        run.validation = Some(ValidationConfig {
            every: Some(every),
            keep: match behaviour {
                Behaviour::Paper => Keep::Best,
                _ => Keep::LastImprovement,
            },
            stopping: args.patience.map(|patience| StoppingConfig {
                patience,
                intervals: PENALTY_INTERVALS,
                dynamic_regularisation: args.dynamic_regularisation,
                behaviour,
            }),
            ..ValidationConfig::default()
        });
    }
    run.schedule.lr = args.lr.unwrap_or(run.schedule.lr);
    run.seed = args.seed.unwrap_or(run.seed);
    run.accumulate = args.accumulate.unwrap_or(run.accumulate);
    run.mixed_precision |= args.mixed_precision;
    config.batch = args.batch.unwrap_or(config.batch);
    if config.batch == 0 || run.epochs == 0 {
        bail!("--batch and --epochs: expected at least 1");
    }
    let layers = config.hubert.num_hidden_layers;
    if config.layer > layers {
        bail!("--layer {}: the network has {layers} layers", config.layer);
    }
    config
        .hubert
        .validate()
        .map_err(|problem| miette!("network configuration: {problem}"))?;
    Ok(config)
}

/// Code books of one iteration.
#[derive(Clone, Debug)]
struct Books(Vec<usize>);

fn books(text: &str) -> Result<Books, String> {
    let count = |part: &str| match part.trim().parse::<usize>() {
        Ok(count) if (2..=purkinje_cluster::MAX_CLUSTERS).contains(&count) => Ok(count),
        _ => Err(format!(
            "`{part}` is no number of clusters: expected 2 to {}",
            purkinje_cluster::MAX_CLUSTERS
        )),
    };
    let counts = text.split('+').map(count).collect::<Result<Vec<_>, _>>()?;
    Ok(Books(counts))
}

fn kind(text: &str) -> Result<Kind, String> {
    match text {
        "cepstra" => Ok(Kind::Cepstra),
        "time-frequency" => Ok(Kind::TimeFrequency),
        "mixed" => Ok(Kind::Mixed),
        _ => Err("expected cepstra, time-frequency or mixed".into()),
    }
}
