//! D-BETA's pre-training: one stage, on the records that have a report.

use std::collections::HashMap;
use std::path::Path;

use purkinje_base::atomic;
use purkinje_models::compat::Compat;
use purkinje_models::dbeta::{self, DbetaConfig};
use purkinje_models::layers::Context;
use purkinje_store::Store;
use purkinje_text::{Tokenizer, train};
use purkinje_train::optimizer::{Epsilon, OptimizerConfig, WeightDecay};
use purkinje_train::source::{Look, StoreSignals};
use purkinje_train::{Decay, Schedule, Span, TrainConfig, TrainError, Validated};

use super::cutter::DbetaCutter;
use super::objective::{KEYS, Least, Pretraining, Settings, Words};
use super::{Dbeta, cleaned};
use crate::keys::Key;
use crate::pretrain::{Learned, OwnOf, Pretrains, Stage};
use crate::text::count;
use crate::text_encoder::TextEncoder;
use crate::{Error, Result};

/// Records of one pass of a validation.
const BATCH: usize = 32;
/// The tokenizer of a run, in its folder.
const TOKENIZER: &str = "tokenizer.json";

impl Pretrains for Dbeta {
    type Settings = Settings;

    const PRETRAIN_KEYS: &'static [Key<OwnOf<Self>>] = KEYS;

    fn settings(_: &DbetaConfig) -> Settings {
        Settings::default()
    }

    /// Adam and three stages as in the framework of the original, at the rate of a small network from scratch where it is one.
    fn training(size: &str) -> TrainConfig {
        TrainConfig {
            schedule: Schedule {
                lr: if size == "base" { 5e-5 } else { 5e-4 },
                warmup: Span::Fraction(0.1),
                decay: Decay::ThreeStage {
                    hold: Span::Fraction(0.4),
                    fall: Span::Fraction(0.5),
                    start_scale: 0.01,
                    end_scale: 0.05,
                },
            },
            optimizer: OptimizerConfig {
                beta1: 0.9,
                beta2: 0.98,
                eps: 1e-6,
                epsilon: Epsilon::BeforeCorrection,
                weight_decay: 0.01,
                decay: WeightDecay::Decoupled,
                clip_norm: None,
                decay_all: true,
            },
            ..TrainConfig::default()
        }
    }

    fn check_pretraining(own: &OwnOf<Self>) -> Result<(), String> {
        match (own.settings.max_text, own.settings.neighbours) {
            (length @ 0..=2, _) => Err(format!(
                "`max-text` is {length}, expected at least 3 word pieces"
            )),
            (_, 0) => {
                Err("`neighbours` is 0, expected at least one report to draw from".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn stage(
        stage: &Stage<'_, Self>,
        encoder: &dbeta::Dbeta,
        _: Option<&dbeta::Dbeta>,
    ) -> Result<Learned> {
        let own = stage.config.own();
        let settings = &own.settings;
        let read = |rows| Reports::read(stage.store, rows, &settings.text, own.network.compat);
        let (learned_from, held_out) = (read(stage.rows)?, read(stage.validation)?);
        learned_from.note(stage)?;
        let embedder = match settings.embedder.as_str() {
            "" => None,
            folder => Some(TextEncoder::open(Path::new(folder), stage.device)?),
        };
        let tokenizer = tokenizer(&stage.dir, settings, &own.network, &learned_from.texts)?;
        let tokenizer = stage.keep_tokenizer(tokenizer);
        let cut = tokenizer.cut_to(settings.max_text)?;
        let texts = learned_from.ids(&cut)?;
        let others = held_out.ids(&cut)?;
        let source = |rows: &[usize]| -> Result<_, TrainError> {
            let cutter = DbetaCutter::new(stage.contract)?;
            StoreSignals::new(stage.store, rows.to_vec(), stage.contract, cutter)
        };
        let (training, validation) = (source(&learned_from.rows)?, source(&held_out.rows)?);
        let (batch, seed) = (stage.config.batch, stage.train.seed);
        let pairs = (&texts[..], &cut);
        let least = learned_from.least_similar(embedder.as_ref(), stage)?;
        let objective = Pretraining::new(encoder.clone(), &training, pairs, settings, batch, seed)
            .drawing_from(least.as_ref());
        let pairs = (&others[..], &cut);
        let held = Pretraining::new(encoder.clone(), &validation, pairs, settings, BATCH, seed);
        let validate = |weights: &_| {
            let ctx = Context::inference(stage.device.inner());
            validated(&held, others.len(), weights, &ctx)
        };
        stage.learn(encoder, &objective, Some(&validate))
    }
}

/// The records that have a report, and their reports.
struct Reports {
    rows: Vec<usize>,
    texts: Vec<String>,
    /// Records without one.
    without: usize,
}

impl Reports {
    /// The texts of a column, cleaned; of the report where no column is named.
    fn read(store: &Store, rows: &[usize], column: &str, compat: Compat) -> Result<Self> {
        let place = match column {
            "" | "report" => None,
            name => Some(store.text(name).ok_or_else(|| {
                let known = &store.info().texts;
                let known = match known.is_empty() {
                    true => "only `report`".to_owned(),
                    false => format!("`report`, {}", known.join(", ")),
                };
                Error::invalid(format!(
                    "the store {} has no text `{name}`; it has {known}",
                    store.dir().display()
                ))
            })?),
        };
        let mut found = Reports {
            rows: Vec::new(),
            texts: Vec::new(),
            without: 0,
        };
        for &index in rows {
            let row = store.row(index)?;
            let text = match place {
                None => row.report(),
                Some(place) => row.text(place),
            };
            let text = text.map(|text| cleaned(compat, text));
            match text.filter(|text| !text.is_empty()) {
                Some(text) => {
                    found.rows.push(index);
                    found.texts.push(text);
                }
                None => found.without += 1,
            }
        }
        Ok(found)
    }

    fn note(&self, stage: &Stage<'_, Dbeta>) -> Result<()> {
        let distinct = {
            let mut all: Vec<&String> = self.texts.iter().collect();
            all.sort_unstable();
            all.dedup();
            all.len()
        };
        if distinct < 2 {
            return Err(Error::invalid(format!(
                "the store {} has {} of {} training records with a report, {distinct} distinct; telling which report belongs to a recording needs at least two",
                stage.store.dir().display(),
                self.rows.len(),
                stage.rows.len()
            ))
            .with_help("choose another text with `--set text=NAME`; `purkinje store report` lists those of a store"));
        }
        if self.rows.len() < stage.config.batch {
            return Err(Error::invalid(format!(
                "{} have a report, fewer than a batch of {}",
                count(self.rows.len(), "training record"),
                stage.config.batch
            ))
            .with_help("choose a smaller `--batch`"));
        }
        if self.without > 0 {
            stage.reporter.note(&format!(
                "{} of {} have no report and are left out; {distinct} distinct reports",
                self.without,
                count(stage.rows.len(), "training record")
            ));
        }
        Ok(())
    }

    /// Which reports are least similar to which by an encoder, if there is one.
    fn least_similar(
        &self,
        embedder: Option<&TextEncoder>,
        stage: &Stage<'_, Dbeta>,
    ) -> Result<Option<Least>> {
        let Some(embedder) = embedder else {
            return Ok(None);
        };
        // Texts of an index are cleaned in full, whatever is trained on.
        let cleaned = self.texts.iter().map(|text| cleaned(Compat::Paper, text));
        let cleaned: Vec<String> = cleaned.collect();
        let mut places = HashMap::new();
        let (mut distinct, mut first, mut of) = (Vec::new(), Vec::new(), Vec::new());
        for (record, text) in (0..).zip(&cleaned) {
            let place = *places.entry(text.as_str()).or_insert(distinct.len());
            if place == distinct.len() {
                distinct.push(text.as_str());
                first.push(record);
            }
            of.push(place);
        }
        let k = stage.config.own().settings.neighbours;
        let mut others = embedder.least_similar(&distinct, k, stage.reporter)?;
        for place in others.iter_mut().flatten() {
            *place = first[*place as usize];
        }
        Ok(Some(Least { of, others }))
    }

    fn ids(&self, tokenizer: &Tokenizer) -> Result<Vec<Vec<u32>>> {
        let ids = self.texts.iter().map(|text| tokenizer.ids(text));
        Ok(ids.collect::<Result<_, _>>()?)
    }
}

/// The tokenizer of a run: that of its folder, else the user's, else one made from the reports; kept in the folder.
fn tokenizer(
    dir: &Path,
    settings: &Settings,
    network: &DbetaConfig,
    texts: &[String],
) -> Result<Tokenizer> {
    let kept = dir.join(TOKENIZER);
    let found = if kept.is_file() {
        Tokenizer::read(&kept)?
    } else if settings.tokenizer.is_empty() {
        train::train(texts, network.vocabulary)?
    } else {
        Tokenizer::read(Path::new(&settings.tokenizer))?
    };
    let (largest, rows) = (found.largest_id() as usize, network.text.vocabulary());
    if largest >= rows {
        return Err(Error::invalid(format!(
            "the tokenizer has ids up to {largest}, the network's table {rows} rows"
        ))
        .with_help(format!(
            "make it larger with `--set vocabulary={}`",
            largest + 1
        )));
    }
    if settings.mlm == Words::Sentinel && found.mask().is_none() {
        return Err(Error::invalid(
            "the tokenizer has no mask ([MASK], <mask> or <extra_id_0>) to hide words with",
        )
        .with_help("leave words as they are with `--set mlm=off`"));
    }
    if !kept.is_file() {
        atomic::write_file(&kept, found.json()).map_err(|error| {
            Error::invalid(format!("cannot write `{}`: {error}", kept.display()))
        })?;
    }
    Ok(found)
}

/// The losses of held-out pairs under draws that are the same in every validation. The metric is the share of right decisions
/// whether a report belongs to a recording.
fn validated<S: purkinje_train::source::Source<Input = dbeta::DbetaInput> + ?Sized>(
    held: &Pretraining<'_, S>,
    records: usize,
    weights: &purkinje_models::layers::Weights,
    ctx: &Context,
) -> Result<Validated, TrainError> {
    let all: Vec<usize> = (0..records).collect();
    let (mut loss, mut right, mut decisions) = (0.0, 0, 0);
    for (number, records) in (0..).zip(all.chunks(BATCH)) {
        let batch = held.pairs(records, Look::Whole, number)?;
        let found = held.found(weights, &batch, ctx);
        loss += f64::from(found.total().into_scalar::<f32>()) * records.len() as f64;
        right += found.matches_right.0;
        decisions += found.matches_right.1;
    }
    Ok(Validated {
        loss: loss / all.len().max(1) as f64,
        metric: Some(right as f64 / decisions.max(1) as f64),
    })
}
