//! Pre-training: one stage, on the records that have a report.

use std::collections::HashMap;

use purkinje_models::compat::Compat;
use purkinje_models::layers::{Context, Weights};
use purkinje_models::paired::{Learned, PairConfig, Paired, Signal, TEXT};
use purkinje_models::text::TextIds;
use purkinje_text::train::Marks;
use purkinje_train::optimizer::OptimizerConfig;
use purkinje_train::source::{Look, Source, StoreSignals};
use purkinje_train::{Decay, Schedule, Span, TrainConfig, TrainError, Validated};

use super::objective::{Known, Pretraining, Texts, accuracies};
use super::settings::{Select, keys};
use super::{ConfigOf, Family, PairSystem, Settings, cleaned};
use crate::keys::Key;
use crate::network::values;
use crate::pretrain::{
    Learned as Trained, OwnOf, Pretrains, Reports, RunOf, Stage, TokenizerOf, check_longest,
};
use crate::reporter::{go_on, uninterrupted};
use crate::text::count;
use crate::text_encoder::start_from;
use crate::{Device, Error, Reporter, Result};

/// Texts that are encoded at once.
const TEXTS: usize = 64;

impl<F: Family> Pretrains for PairSystem<F> {
    type Settings = Settings;

    fn pretrain_keys() -> Vec<Key<OwnOf<Self>>> {
        keys::<F>()
    }

    fn settings(_: &ConfigOf<F>) -> Settings {
        Settings::default()
    }

    /// As published: AdamW, half cosines of 5,000 updates again and again.
    fn training(_: &str) -> TrainConfig {
        TrainConfig {
            epochs: 50,
            schedule: Schedule {
                decay: Decay::Restarts {
                    end: 1e-8,
                    period: Span::Updates(5000),
                },
                ..Schedule::constant(1e-3)
            },
            optimizer: OptimizerConfig::deri(),
            ..TrainConfig::default()
        }
    }

    fn stage_training(config: &RunOf<Self>, _: usize, _: usize) -> Result<TrainConfig> {
        let mut train = config.train.clone();
        if let Decay::Restarts { period, .. } = &mut train.schedule.decay {
            *period = Span::Updates(config.settings.restart_every);
        }
        Ok(train)
    }

    fn check_pretraining(own: &OwnOf<Self>) -> Result<(), String> {
        let mut network = own.network.clone();
        if own.settings.restart_every == 0 {
            return Err("`restart-every` is 0, expected at least one update".to_owned());
        }
        if own.settings.text_encoder.is_empty() && *network.text_learns() == Learned::None {
            return Err(
                "the encoder of texts would be random and not learn; start from a published one with `text-encoder=FOLDER`, or let it learn with `text-layers=all`"
                    .to_owned(),
            );
        }
        check_longest(*network.text_tokens(), network.text())?;
        if own.settings.select == Select::ZeroShot && own.settings.prompts.is_empty() {
            return Err("`select` is zero-shot, which needs `task` and `prompts`".to_owned());
        }
        let weights = own.settings.losses.values();
        if !own.settings.losses.is_empty() && weights.clone().all(|weight| *weight == 0.0) {
            return Err("`losses` leaves nothing to minimise".to_owned());
        }
        match weights
            .clone()
            .find(|weight| !weight.is_finite() || **weight < 0.0)
        {
            Some(weight) => Err(format!(
                "`losses` has the weight {weight}, expected 0 or more"
            )),
            None => Ok(()),
        }
    }

    fn begin(
        config: &RunOf<Self>,
        _: usize,
        _: Option<&F::Network>,
        device: &Device,
    ) -> Result<F::Network> {
        let network = config.network.clone();
        let encoder = F::Network::random(network, config.train.seed, device.inner());
        start_from(&config.settings.text_encoder, encoder, TEXT, device)
    }

    fn stage(
        stage: &Stage<'_, Self>,
        encoder: &F::Network,
        _: Option<&F::Network>,
    ) -> Result<Trained> {
        let own = stage.config.own();
        let settings = &own.settings;
        if stage.config.batch < 2 {
            return Err(Error::invalid(
                "`--batch 1`: recordings are told apart within a batch, expected at least 2",
            ));
        }
        let read = |rows| Reports::read(stage.store, rows, &settings.text, cleaned);
        let (learned_from, held_out) = (read(stage.rows)?, read(stage.validation)?);
        learned_from.note(stage)?;
        let tokenizer = TokenizerOf {
            tokenizer: &settings.tokenizer,
            text_encoder: &settings.text_encoder,
            vocabulary: own.network.text().vocabulary(),
            marks: Marks::Both,
            rows: own.network.text().vocabulary(),
        };
        let tokenizer = tokenizer.find(&stage.dir, &learned_from.texts)?;
        let tokenizer = stage.keep_tokenizer(tokenizer);
        let longest = *own.network.clone().text_tokens();
        note_cut(stage, &tokenizer, &learned_from, longest)?;
        let cut = tokenizer.cut_to(longest)?;
        let texts = |reports: &Reports| -> Result<Texts> {
            let ids = reports.ids(&cut)?;
            Ok(Texts {
                read: known::<F>(stage, encoder, &ids)?,
                pad: tokenizer.pad(),
                ids,
            })
        };
        let (texts, others) = (texts(&learned_from)?, texts(&held_out)?);
        let samples = super::samples_of(encoder);
        let source = |rows: &[usize]| -> Result<_, TrainError> {
            let cutter = super::cutter(stage.contract, samples)?;
            StoreSignals::new(stage.store, rows.to_vec(), stage.contract, cutter)
        };
        let (training, validation) = (source(&learned_from.rows)?, source(&held_out.rows)?);
        let (batch, seed) = (stage.config.batch, stage.train.seed);
        let of = |source, texts, batch| {
            Pretraining::new(encoder.clone(), source, texts, settings, batch, seed)
        };
        let objective = of(&training, &texts, batch);
        let held = of(&validation, &others, batch.min(held_out.rows.len().max(1)));
        let judge = held_out.judge(stage.store, &settings.task, &settings.prompts)?;
        let validate = |weights: &Weights| {
            let ctx = Context::inference(stage.device.inner());
            let mut found = validated(
                &held,
                held_out.rows.len(),
                batch,
                weights,
                &ctx,
                stage.reporter,
            )?;
            if let Some(judge) = &judge {
                let judged = judge.found(&stage.model(weights));
                let judged = judged.map_err(|error| TrainError::Data(error.to_string()))?;
                if settings.select == Select::ZeroShot {
                    let auroc = judged.iter().find(|(name, _)| *name == "zero_shot_auroc");
                    found.metric = auroc.map(|(_, value)| *value);
                }
                found.others.extend(judged);
            }
            Ok(found)
        };
        stage.learn(encoder, &objective, Some(&validate))
    }
}

/// Says how many reports are longer than the network reads.
fn note_cut<F: Family>(
    stage: &Stage<'_, PairSystem<F>>,
    tokenizer: &purkinje_text::Tokenizer,
    reports: &Reports,
    longest: usize,
) -> Result<()> {
    let whole = reports.ids(tokenizer)?;
    let cut = whole.iter().filter(|ids| ids.len() > longest).count();
    if cut > 0 {
        stage.reporter.note(&format!(
            "{} of {} are longer than {longest} word pieces and are cut; `--set max-text=N` reads more",
            count(cut, "training report"),
            reports.texts.len()
        ));
    }
    Ok(())
}

/// What the encoder of texts gives for all of them, if it does not learn and what it gives is not too much to keep. Each text is read
/// alone, so that it does not depend on its neighbours.
fn known<F: Family>(
    stage: &Stage<'_, PairSystem<F>>,
    encoder: &F::Network,
    ids: &[Vec<u32>],
) -> Result<Option<Known>> {
    let mut config = encoder.config().clone();
    if *config.text_learns() != Learned::None || *config.compat() == Compat::Released {
        return Ok(None);
    }
    let mut places = HashMap::new();
    let mut distinct: Vec<&[u32]> = Vec::new();
    let of: Vec<usize> = ids
        .iter()
        .map(|own| {
            *places.entry(own.as_slice()).or_insert_with(|| {
                distinct.push(own);
                distinct.len() - 1
            })
        })
        .collect();
    let width = config.text().width();
    let pieces: usize = distinct.iter().map(|own| own.len()).sum();
    let needed = width
        * 4
        * if F::Network::READS_STATES {
            pieces
        } else {
            distinct.len()
        };
    if needed > stage.config.settings.cache_mb << 20 {
        stage.reporter.note(&format!(
            "states of {} would take {} MB; they are computed in every batch (`--set cache-mb=N` keeps them)",
            count(distinct.len(), "text"),
            needed >> 20
        ));
        return Ok(None);
    }
    let ctx = Context::inference(stage.device.inner());
    let (mut states, mut pooled) = (Vec::new(), Vec::new());
    let progress = stage.reporter.begin("read texts", distinct.len(), "texts");
    for some in distinct.chunks(TEXTS) {
        go_on(stage.reporter)?;
        for own in some {
            let texts = TextIds {
                ids: own.to_vec(),
                real: vec![true; own.len()],
                length: own.len(),
            };
            let read = encoder.read(&texts, &ctx);
            if F::Network::READS_STATES {
                states.push(values(read.states)?);
            }
            pooled.push(values(read.pooled)?);
        }
        progress.add(some.len());
    }
    progress.finish();
    Ok(Some(Known { of, states, pooled }))
}

/// The losses of held-out pairs under draws that are the same in every validation; the last records that make no whole batch are left
/// out, since how well a recording is told apart depends on how many there are. More of the metric is better: it is the negative loss.
fn validated<N: Paired, S: Source<Input = Signal> + ?Sized>(
    held: &Pretraining<'_, N, S>,
    records: usize,
    batch: usize,
    weights: &Weights,
    ctx: &Context,
    reporter: &dyn Reporter,
) -> Result<Validated, TrainError> {
    let all: Vec<usize> = (0..records).collect();
    let whole = match records < batch {
        true => vec![all.as_slice()],
        false => all.chunks_exact(batch).collect(),
    };
    let batches = whole.len() as f64;
    let mut loss = 0.0;
    let mut each: Vec<(&'static str, f64)> = Vec::new();
    for (number, records) in (0..).zip(whole) {
        uninterrupted(reporter)?;
        let batch = held.pairs(records, Look::Whole, number)?;
        let terms = held.terms(weights, &batch, ctx);
        let mut found = Vec::new();
        for (term, value) in N::TERMS.iter().zip(&terms.losses) {
            let value = f64::from(value.clone().into_scalar::<f32>());
            loss += held.weight(term) * value / batches;
            found.push((*term, value));
        }
        found.extend(accuracies(&terms, ctx));
        for (at, (name, value)) in found.into_iter().enumerate() {
            match each.get_mut(at) {
                Some((_, sum)) => *sum += value / batches,
                None => each.push((name, value / batches)),
            }
        }
    }
    Ok(Validated {
        loss: Some(loss),
        metric: Some(-loss),
        others: each,
    })
}
