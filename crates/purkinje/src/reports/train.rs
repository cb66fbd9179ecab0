//! Training of a writer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use purkinje_datasets::import::report_language;
use purkinje_models::writing::{ReportWriter, WriterConfig};
use purkinje_store::{Split, Store};
use purkinje_train::EpochOrder;
use serde::{Deserialize, Serialize};

use super::decoder::{DecoderKind, start};
use super::objective::{Job, Writing};
use super::pairs::{Pairs, tidy};
use super::{Writer, WriterAbout};
use crate::finetune::read_table;
use crate::made::{Provenance, provenance};
use crate::model::Model;
use crate::reporter::Reporter;
use crate::run_folder::{self, CONFIG};
use crate::system::Level;
use crate::text::count;
use crate::texts::{StoreText, read_texts};
use crate::{Error, Result};

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
    /// What writes.
    #[serde(default)]
    pub decoder: DecoderKind,
    /// Size of a random decoder: `tiny`, `small`, and `distil` for a GPT-2, `published` for R2Gen.
    pub size: String,
    /// Folder of a GPT-2 (`config.json`, `model.safetensors`, its tokenizer) to start from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoder_model: Option<PathBuf>,
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
    /// What a decoder attends to: one vector of the recording, or all at a level. R2Gen attends to tokens if absent, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
}

impl Default for TrainOptions {
    fn default() -> Self {
        TrainOptions {
            text: String::new(),
            size: "small".to_owned(),
            decoder: DecoderKind::default(),
            decoder_model: None,
            max_tokens: 256,
            text_only: None,
            select: Select::Loss,
            epochs: 10,
            lr: 1e-3,
            batch: 32,
            seed: 0,
            feature: None,
            level: None,
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
    fn begin(&self, out: &Path, resume: bool, made_by: &Provenance) -> Result<()> {
        let stored: Option<RunConfig> = match out.join(CONFIG).exists() {
            true => Some(read_table(&out.join(CONFIG))?.try_into().map_err(|error| {
                Error::invalid(format!("`{}`: {error}", out.join(CONFIG).display()))
            })?),
            false => None,
        };
        run_folder::begin(out, resume, stored.as_ref(), self)?;
        run_folder::say(out, made_by)
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
    let level = match (options.level, options.decoder) {
        (Some(level), _) => level,
        (None, DecoderKind::R2Gen) if model.check_level(Level::Token).is_ok() => Level::Token,
        (None, _) => Level::Recording,
    };
    let column = StoreText::named(store, &options.text)?;
    let part = |split| Pairs::read(&model, level, store, (column, split), reporter);
    let (training, held_out) = (part(Split::Train)?, part(Split::Val)?);
    check_pairs(
        store,
        options,
        (level, model.width()),
        [&training, &held_out],
    )?;
    let others = match &options.text_only {
        None => Vec::new(),
        Some(path) => texts_alone(path)?,
    };
    let run = RunConfig {
        model: model.folder().map(Path::to_owned),
        data: store.dir().to_owned(),
        options: options.clone(),
    };
    if !others.is_empty() && options.decoder == DecoderKind::R2Gen {
        return Err(Error::invalid(
            "`--text-only`: the decoder r2gen writes nothing without a recording; leave it out, or give `--decoder gpt2`",
        ));
    }
    run.begin(
        out,
        resume,
        &provenance(reporter, Some(&model), Some(store)),
    )?;
    let (tokenizer, decoder, weights) = start(options, &training.texts, &others, &model)?;
    let about = WriterAbout {
        network: WriterConfig {
            width: model.width(),
            decoder,
        },
        max_tokens: options.max_tokens,
        feature: options.feature.clone(),
        level,
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
    let network = ReportWriter::random(about.network.clone(), weights.as_ref(), seed, device)?;
    let ids = training.ids(&tokenizer)?;
    let cut = count_cut(&ids, options.max_tokens, reporter);
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

/// Checks that there are enough pairs, and as many vectors for each recording as a batch needs.
fn check_pairs(
    store: &Store,
    options: &TrainOptions,
    (level, width): (Level, usize),
    parts: [&Pairs; 2],
) -> Result<()> {
    let [training, _] = parts;
    if training.texts.len() < options.batch.max(2) {
        return Err(Error::invalid(format!(
            "the store {} has {} with a report, fewer than a batch of {}",
            store.dir().display(),
            count(training.texts.len(), "training record"),
            options.batch
        ))
        .with_help("choose another text with `--text NAME`, or a smaller `--batch`"));
    }
    let counts = || {
        parts
            .into_iter()
            .flat_map(|part| &part.vectors)
            .map(Vec::len)
    };
    match (counts().min(), counts().max()) {
        (Some(least), Some(most)) if least != most => Err(Error::invalid(format!(
            "recordings have {} to {} vectors at the level `{}`, expected as many in all",
            least / width,
            most / width,
            level.name()
        ))
        .with_help("choose another level with `--level`, such as recording")),
        _ => Ok(()),
    }
}

/// How many reports lose their end, which is said.
fn count_cut(ids: &[Vec<u32>], longest: usize, reporter: &dyn Reporter) -> usize {
    let cut = ids.iter().filter(|own| own.len() > longest).count();
    if cut > 0 {
        let (are, lose) = if cut == 1 {
            ("is", "loses")
        } else {
            ("are", "lose")
        };
        reporter.note(&format!(
            "{cut} of {} {are} longer than {longest} word pieces and {lose} their end",
            count(ids.len(), "training report"),
        ));
    }
    cut
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
