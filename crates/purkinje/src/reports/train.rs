//! Training of a writer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use purkinje_datasets::import::report_language;
use purkinje_eval::text::{TextOptions, TextPair, text_scores};
use purkinje_models::checkpoint::read_safetensors;
use purkinje_models::compat::Compat;
use purkinje_models::layers::{Context, Weights};
use purkinje_models::text::Gpt2Config;
use purkinje_models::writing::{Gpt2Writer, Taught, WriterConfig};
use purkinje_store::{Split, Store};
use purkinje_text::train::{Marks, train as train_tokenizer};
use purkinje_text::{Tokenizer, has_tokenizer};
use purkinje_train::optimizer::{Epsilon, OptimizerConfig, WeightDecay};
use purkinje_train::{
    Decay, EpochOrder, Learning, Losses, Next, Objective, Observer, RunFolder, Schedule, Span,
    StepReport, TrainConfig, TrainError, Validated, ValidationConfig, train,
};
use serde::{Deserialize, Serialize};

use super::write::vectors;
use super::{WriteOptions, Writer, WriterAbout};
use crate::finetune::read_table;
use crate::inputs::{Input, StoreRows};
use crate::model::Model;
use crate::reporter::{Progress, Reporter, go_on};
use crate::run_folder::{self, CONFIG};
use crate::text::count;
use crate::texts::{StoreText, read_texts};
use crate::windows::WindowOptions;
use crate::{Device, Error, Result};

/// Validation reports that are written to choose by their scores.
const WRITTEN: usize = 128;
/// Rows of the table of word pieces of a random decoder.
const VOCABULARY: usize = 2048;

/// What the kept weights are chosen by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Select {
    /// The smallest loss of held-out reports.
    #[default]
    Loss,
    /// The highest BLEU-4 of reports that are written for held-out recordings.
    Bleu4,
}

/// How a writer is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainOptions {
    /// Text column of the store; the report if empty.
    pub text: String,
    /// Size of a random decoder: `tiny`, `small` or `distil`.
    pub size: String,
    /// Folder of a GPT-2 (`config.json`, `model.safetensors`, its tokenizer) to start from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoder: Option<PathBuf>,
    /// Word pieces of the longest report; longer ones lose their end.
    pub max_tokens: usize,
    /// File of texts without recordings that the decoder learns first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_only: Option<PathBuf>,
    /// What the kept weights are chosen by.
    pub select: Select,
    /// Passes over the reports.
    pub epochs: usize,
    /// Highest learning rate.
    pub lr: f64,
    /// Reports of a batch.
    pub batch: usize,
    /// Seed of all draws.
    pub seed: u64,
    /// The vector of a recording, where the encoder has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature: Option<String>,
}

impl Default for TrainOptions {
    fn default() -> Self {
        TrainOptions {
            text: String::new(),
            size: "small".to_owned(),
            decoder: None,
            max_tokens: 256,
            text_only: None,
            select: Select::Loss,
            epochs: 10,
            lr: 1e-3,
            batch: 32,
            seed: 0,
            feature: None,
        }
    }
}

/// Everything that determines what a run gives: its `config.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct RunConfig {
    /// The encoder.
    model: Option<PathBuf>,
    /// The store.
    data: PathBuf,
    #[serde(flatten)]
    options: TrainOptions,
}

impl RunConfig {
    /// Writes the configuration of a run, or compares it with that of the run to resume.
    fn begin(&self, out: &Path, resume: bool) -> Result<()> {
        let stored: Option<RunConfig> = match out.join(CONFIG).exists() {
            true => Some(read_table(&out.join(CONFIG))?.try_into().map_err(|error| {
                Error::invalid(format!("`{}`: {error}", out.join(CONFIG).display()))
            })?),
            false => None,
        };
        run_folder::begin(out, resume, stored.as_ref(), self)
    }
}

/// A model that writes.
#[derive(Debug)]
pub struct TrainedWriter {
    /// The encoder with its writer.
    pub model: Model,
    /// Reports it learned from.
    pub reports: usize,
    /// Reports that lost their end.
    pub cut: usize,
    /// The validation of the kept weights.
    pub chosen_by: Option<f64>,
}

/// Trains what writes reports from the vectors of `model` on the training split of a store, choosing on its validation split. Its run is in
/// `out`: what is interrupted goes on where it was.
///
/// # Errors
/// When there are too few reports, files do not fit each other, or training fails.
pub fn train_writer(
    model: &Model,
    store: &Store,
    options: &TrainOptions,
    (out, resume): (&Path, bool),
    reporter: &dyn Reporter,
) -> Result<TrainedWriter> {
    let mut model = model.clone();
    if let Some(feature) = &options.feature {
        model = model.with_feature(feature)?;
    }
    let column = StoreText::named(store, &options.text)?;
    let part = |split| Pairs::read(&model, store, column, split, reporter);
    let (training, held_out) = (part(Split::Train)?, part(Split::Val)?);
    if training.texts.len() < options.batch.max(2) {
        return Err(Error::invalid(format!(
            "the store {} has {} with a report, fewer than a batch of {}",
            store.dir().display(),
            count(training.texts.len(), "training record"),
            options.batch
        ))
        .with_help("choose another text with `--text NAME`, or a smaller `--batch`"));
    }
    let others = match &options.text_only {
        None => Vec::new(),
        Some(path) => texts_alone(path)?,
    };
    let run = RunConfig {
        model: model.folder().map(Path::to_owned),
        data: store.dir().to_owned(),
        options: options.clone(),
    };
    run.begin(out, resume)?;
    let (tokenizer, decoder, weights) = start(options, &training.texts, &others, &model)?;
    let about = WriterAbout {
        network: WriterConfig {
            width: model.width(),
            decoder,
        },
        max_tokens: options.max_tokens,
        feature: options.feature.clone(),
        data: store.info().name.clone(),
        text: match options.text.as_str() {
            "" => "report".to_owned(),
            name => name.to_owned(),
        },
        reports: training.texts.len(),
        languages: languages(&training.texts),
    };
    let device = model.device().inner();
    let seed = options.seed;
    let network = Gpt2Writer::random(about.network.clone(), weights.as_ref(), seed, device)?;
    let ids = training.ids(&tokenizer)?;
    let cut = ids
        .iter()
        .filter(|own| own.len() > options.max_tokens)
        .count();
    if cut > 0 {
        reporter.note(&format!(
            "{} of {} are longer than {} word pieces and lose their end",
            cut,
            count(ids.len(), "training report"),
            options.max_tokens
        ));
    }
    let mut weights = network.weights().clone();
    let job = Job {
        model: &model,
        options,
        reporter,
        about: &about,
        tokenizer: &tokenizer,
    };
    if !others.is_empty() {
        let ids = others.iter().map(|text| tokenizer.ids(text));
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        let alone = Writing {
            network: network.clone(),
            vectors: None,
            order: EpochOrder::new(ids.len(), options.batch.min(ids.len()), seed),
            ids,
            pad: tokenizer.pad(),
            longest: options.max_tokens,
        };
        weights = job
            .learn(&alone, weights, None, &out.join("texts"), resume)?
            .0;
    }
    let objective = Writing {
        network: network.clone(),
        order: EpochOrder::new(ids.len(), options.batch, seed),
        vectors: Some(training.vectors),
        ids,
        pad: tokenizer.pad(),
        longest: options.max_tokens,
    };
    let (weights, chosen_by) = job.learn(&objective, weights, Some(&held_out), out, resume)?;
    let writer = Writer::new(about.clone(), weights, tokenizer.clone())?;
    Ok(TrainedWriter {
        reports: about.reports,
        model: model.with_writer(Arc::new(writer)),
        cut,
        chosen_by,
    })
}

/// How many texts are in which language, the commonest first.
fn languages(texts: &[String]) -> Vec<(String, usize)> {
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for text in texts {
        *found
            .entry(report_language(text).unwrap_or_default())
            .or_default() += 1;
    }
    let mut all: Vec<(String, usize)> = found
        .into_iter()
        .map(|(name, n)| (name.to_owned(), n))
        .collect();
    all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    all
}

/// The texts of a file that have no recording.
fn texts_alone(path: &Path) -> Result<Vec<String>> {
    let texts = read_texts(path, None)?
        .into_iter()
        .filter_map(|own| own.text);
    let texts: Vec<String> = texts
        .map(|text| tidy(&text))
        .filter(|text| !text.is_empty())
        .collect();
    match texts.len() {
        0 | 1 => Err(Error::invalid(format!(
            "`--text-only {}`: found {}, expected at least two",
            path.display(),
            count(texts.len(), "text")
        ))),
        _ => Ok(texts),
    }
}

/// A report as it is learned and compared: lower case, single blanks.
pub(super) fn tidy(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").to_lowercase()
}

/// The tokenizer, the sizes of the decoder, and its weights if it starts from some.
fn start(
    options: &TrainOptions,
    texts: &[String],
    others: &[String],
    model: &Model,
) -> Result<(Tokenizer, Gpt2Config, Option<Weights>)> {
    if let Some(folder) = &options.decoder {
        let fail = |problem: String| {
            Error::invalid(format!("the decoder `{}`: {problem}", folder.display())).with_help(
                "expected a folder with `config.json`, `model.safetensors` and the tokenizer (`tokenizer.json`, or `vocab.json` and `merges.txt`) of a GPT-2",
            )
        };
        if !has_tokenizer(folder) {
            return Err(fail("it has no tokenizer".to_owned()));
        }
        let stated = std::fs::read(folder.join("config.json"))
            .map_err(|error| fail(format!("cannot read `config.json`: {error}")))?;
        let stated: serde_json::Value = serde_json::from_slice(&stated)
            .map_err(|error| fail(format!("`config.json`: {error}")))?;
        let published = Gpt2Config::from_published(&stated).map_err(fail)?;
        let tokenizer = Tokenizer::read(folder)?;
        let decoder = Gpt2Config {
            vocab_size: published
                .vocab_size
                .max(tokenizer.largest_id() as usize + 1),
            add_cross_attention: true,
            ..published
        };
        check_length(options, &decoder)?;
        let (stored, _) = read_safetensors(&folder.join("model.safetensors"))?;
        let mut weights = Weights::default();
        for (name, tensor) in stored {
            // Files of the model without its last layer leave the first part of names out.
            let name = match name.starts_with("transformer.") || name.starts_with("lm_head.") {
                true => name,
                false => format!("transformer.{name}"),
            };
            weights.insert(name, &tensor.shape, tensor.data, model.device().inner());
        }
        return Ok((tokenizer, decoder, Some(weights)));
    }
    let all: Vec<String> = texts.iter().chain(others).cloned().collect();
    let tokenizer = train_tokenizer(&all, VOCABULARY, Marks::Both)?;
    let (layers, width, heads) = match options.size.as_str() {
        "tiny" => (2, 32, 2),
        "small" => (4, 128, 4),
        "distil" => (6, 768, 12),
        other => {
            return Err(Error::invalid(format!(
                "`--decoder-size {other}`: expected tiny, small or distil"
            )));
        }
    };
    let decoder = Gpt2Config {
        vocab_size: tokenizer.largest_id() as usize + 1,
        n_positions: options.max_tokens.max(2),
        n_embd: width,
        n_layer: layers,
        n_head: heads,
        add_cross_attention: true,
        ..Gpt2Config::default()
    };
    check_length(options, &decoder)?;
    Ok((tokenizer, decoder, None))
}

fn check_length(options: &TrainOptions, decoder: &Gpt2Config) -> Result<()> {
    match (2..=decoder.n_positions).contains(&options.max_tokens) {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "`--max-tokens {}`: expected 2 to {}, the positions of the decoder",
            options.max_tokens, decoder.n_positions
        ))),
    }
}

/// Vectors of records and their reports.
pub(super) struct Pairs {
    /// Rows of the store.
    pub rows: Vec<usize>,
    /// One vector for each.
    pub vectors: Vec<Vec<f32>>,
    /// Their reports, tidied.
    pub texts: Vec<String>,
}

impl Pairs {
    /// The records of a split that have a report.
    pub fn read(
        model: &Model,
        store: &Store,
        column: StoreText,
        split: Split,
        reporter: &dyn Reporter,
    ) -> Result<Self> {
        let (mut rows, mut texts) = (Vec::new(), Vec::new());
        for index in store.indices(split) {
            let row = store.row(index)?;
            let text = column.of(&row).map(tidy);
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                rows.push(index);
                texts.push(text);
            }
        }
        Ok(Pairs {
            vectors: vectors_of(model, store, &rows, reporter)?,
            rows,
            texts,
        })
    }

    fn ids(&self, tokenizer: &Tokenizer) -> Result<Vec<Vec<u32>>> {
        let ids = self.texts.iter().map(|text| tokenizer.ids(text));
        Ok(ids.collect::<Result<_, _>>()?)
    }
}

/// The vectors of rows of a store.
pub(super) fn vectors_of(
    model: &Model,
    store: &Store,
    rows: &[usize],
    reporter: &dyn Reporter,
) -> Result<Vec<Vec<f32>>> {
    let contract = model.check_store(store, &model.preprocess().leads, false)?;
    let source = StoreRows::under(model, store, &contract, Compat::Paper, 0)?;
    let inputs = rows.iter().map(|&row| Input::Row(&source, row));
    let progress = reporter.begin("encode recordings", rows.len(), "records");
    let mut all = Vec::with_capacity(rows.len());
    for found in vectors(model, inputs, WindowOptions::default())? {
        go_on(reporter)?;
        all.push(found?.0);
        progress.add(1);
    }
    progress.finish();
    Ok(all)
}

/// Reports as an objective.
struct Writing {
    network: Gpt2Writer,
    /// Of the recordings; `None` for texts alone.
    vectors: Option<Vec<Vec<f32>>>,
    ids: Vec<Vec<u32>>,
    order: EpochOrder,
    pad: u32,
    longest: usize,
}

/// Vectors `[records, width]` and reports.
struct ReportBatch {
    vectors: Option<(Vec<f32>, usize)>,
    taught: Taught,
}

impl Writing {
    fn of(&self, records: &[usize]) -> Result<ReportBatch, TrainError> {
        let ids: Vec<Vec<u32>> = records.iter().map(|&r| self.ids[r].clone()).collect();
        let vectors = self.vectors.as_ref().map(|vectors| {
            let values: Vec<f32> = records
                .iter()
                .flat_map(|&r| vectors[r].iter().copied())
                .collect();
            (values, records.len())
        });
        Ok(ReportBatch {
            vectors,
            taught: Taught::new(&ids, self.pad, self.longest).map_err(TrainError::Data)?,
        })
    }

    fn loss(
        &self,
        weights: &Weights,
        batch: &ReportBatch,
        ctx: &Context,
    ) -> Result<Tensor<1>, String> {
        let vectors = batch.vectors.as_ref().map(|(values, records)| {
            let shape = [*records, values.len() / records.max(&1)];
            Tensor::<2>::from_data(TensorData::new(values.clone(), shape), ctx.device())
        });
        let network = self.network.with_weights(weights.clone());
        network.loss(vectors, &batch.taught, ctx)
    }
}

impl Objective for Writing {
    type Batch = ReportBatch;

    fn name(&self) -> &str {
        "writing reports"
    }

    fn steps_per_epoch(&self) -> usize {
        self.order.steps()
    }

    fn batch_size(&self) -> usize {
        self.order.batch_size()
    }

    fn batch(&self, step: usize) -> Result<ReportBatch, TrainError> {
        self.of(&self.order.records_of(step))
    }

    fn losses(&self, weights: &Weights, batch: &ReportBatch, ctx: &Context) -> Losses {
        // Reports were checked when the batch was made.
        let loss = self.loss(weights, batch, ctx);
        Losses::new(
            "words",
            loss.unwrap_or_else(|problem| unreachable!("{problem}")),
        )
    }

    fn learning(&self, name: &str) -> Option<Learning> {
        // Without recordings the attention to them has nothing to learn.
        let alone = self.vectors.is_none();
        let of_recordings = name.starts_with("head.")
            || name.contains("crossattention")
            || name.contains("ln_cross_attn");
        (!(alone && of_recordings)).then(Learning::default)
    }

    fn dropout(&self) -> f32 {
        self.network.config().decoder.resid_pdrop
    }
}

struct Job<'a> {
    model: &'a Model,
    options: &'a TrainOptions,
    reporter: &'a dyn Reporter,
    about: &'a WriterAbout,
    tokenizer: &'a Tokenizer,
}

impl Job<'_> {
    /// As published: AdamW, half cosines of 5,000 updates again and again.
    fn learn(
        &self,
        objective: &Writing,
        weights: Weights,
        held_out: Option<&Pairs>,
        folder: &Path,
        resume: bool,
    ) -> Result<(Weights, Option<f64>)> {
        let config = TrainConfig {
            epochs: self.options.epochs,
            seed: self.options.seed,
            schedule: Schedule {
                decay: Decay::Restarts {
                    end: 1e-8,
                    period: Span::Updates(5000),
                },
                ..Schedule::constant(self.options.lr)
            },
            optimizer: OptimizerConfig {
                beta1: 0.9,
                beta2: 0.999,
                eps: 1e-8,
                weight_decay: 1e-8,
                decay: WeightDecay::Decoupled,
                clip_norm: None,
                decay_all: true,
                epsilon: Epsilon::AfterCorrection,
            },
            validation: held_out
                .filter(|own| !own.texts.is_empty())
                .map(|_| ValidationConfig::default()),
            ..TrainConfig::default()
        };
        let steps = objective.steps_per_epoch() * config.epochs;
        let mut watch = Watch {
            job: self,
            objective,
            held_out: held_out.filter(|own| !own.texts.is_empty()),
            progress: self.reporter.begin("train", steps, "steps"),
        };
        let folder = RunFolder {
            path: Some(folder.to_owned()),
            resume,
        };
        let device = self.model.device().inner();
        let trained = train(objective, weights, &config, &folder, device, &mut watch)?;
        watch.progress.finish();
        let metric = trained.kept.as_ref().and_then(|kept| kept.metric);
        Ok((trained.chosen(), metric))
    }
}

struct Watch<'a> {
    job: &'a Job<'a>,
    objective: &'a Writing,
    held_out: Option<&'a Pairs>,
    progress: Box<dyn Progress>,
}

impl Watch<'_> {
    /// The loss of held-out reports, and the BLEU-4 of some that are written.
    fn validated(&self, held: &Pairs, weights: &Weights) -> Result<Validated> {
        let job = self.job;
        let device: &Device = job.model.device();
        let held_out = Writing {
            network: self.objective.network.clone(),
            vectors: Some(held.vectors.clone()),
            ids: held.ids(job.tokenizer)?,
            order: EpochOrder::new(held.texts.len(), 1, 0),
            pad: self.objective.pad,
            longest: self.objective.longest,
        };
        let ctx = Context::inference(device.inner());
        let records: Vec<usize> = (0..held.texts.len()).collect();
        let (mut loss, mut labels) = (0.0, 0.0);
        for some in records.chunks(job.options.batch) {
            let batch = held_out.of(some)?;
            let own = batch.taught.labels.iter().flatten().count() as f64;
            let found = held_out
                .loss(weights, &batch, &ctx)
                .map_err(Error::invalid)?;
            loss += own * f64::from(found.into_scalar::<f32>());
            labels += own;
        }
        let loss = loss / labels.max(1.0);
        let writer = Writer::new(job.about.clone(), weights.clone(), job.tokenizer.clone())?;
        // Greedily, and the first ones: what is looked at often must be cheap.
        let some = &held.vectors[..held.vectors.len().min(WRITTEN)];
        let how = WriteOptions {
            beams: 1,
            ..WriteOptions::default()
        };
        let written = writer.write(some, &how, device)?;
        let pairs = held.texts.iter().zip(&written).map(|(text, own)| TextPair {
            id: "",
            reference: text,
            generated: &own.report,
        });
        let pairs: Vec<TextPair<'_>> = pairs.collect();
        let found = text_scores(&pairs, &TextOptions::default())?;
        let bleu = found.means.bleu[3];
        Ok(Validated {
            loss,
            metric: Some(match job.options.select {
                Select::Loss => -loss,
                Select::Bleu4 => bleu,
            }),
            others: vec![
                ("bleu_4", bleu),
                ("rouge_l", found.means.rouge_l.f1),
                ("distinct", found.distinct_generated as f64),
            ],
        })
    }
}

impl Observer for Watch<'_> {
    fn step(&mut self, report: &StepReport) -> Next {
        self.progress.add(1);
        let text = format!("epoch {} loss {}", report.epoch, report.loss_text());
        self.progress.message(&text);
        match self.job.reporter.stop_requested() {
            true => Next::Stop,
            false => Next::Continue,
        }
    }

    fn validate(&mut self, _: usize, weights: &Weights) -> Result<Option<Validated>, TrainError> {
        let found = self.held_out.map(|held| self.validated(held, weights));
        found
            .transpose()
            .map_err(|error| TrainError::Data(error.to_string()))
    }
}
