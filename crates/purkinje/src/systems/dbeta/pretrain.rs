//! D-BETA's pre-training: one stage, on the records that have a report.

use std::collections::HashMap;
use std::path::Path;

use burn::Tensor;
use purkinje_models::dbeta::{self, DbetaConfig};
use purkinje_models::layers::Context;
use purkinje_text::train::Marks;
use purkinje_train::optimizer::OptimizerConfig;
use purkinje_train::source::{Look, StoreSignals};
use purkinje_train::{Decay, Schedule, Span, TrainConfig, TrainError, Validated};

use super::objective::{KEYS, Least, Negatives, Pretraining, Settings, Words};
use super::{Dbeta, cleaned};
use crate::keys::Key;
use crate::pretrain::{
    Learned, OwnOf, Pretrains, Reports, RunOf, Stage, TokenizerOf, check_longest,
};
use crate::reporter::uninterrupted;
use crate::text::count;
use crate::text_encoder::{TextEncoder, start_from};
use crate::text_index::{TextIndex, clean_for_index};
use crate::{Device, Error, Reporter, Result};

/// Records of one pass of a validation.
const BATCH: usize = 32;

impl Pretrains for Dbeta {
    type Settings = Settings;

    fn pretrain_keys() -> Vec<Key<OwnOf<Self>>> {
        KEYS.to_vec()
    }

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
            optimizer: OptimizerConfig::d_beta(),
            ..TrainConfig::default()
        }
    }

    fn check_pretraining(own: &OwnOf<Self>) -> Result<(), String> {
        let own_vocabulary = own.network.text.vocabulary();
        if !own.settings.text_encoder.is_empty() && own.network.vocabulary != own_vocabulary {
            return Err(format!(
                "`vocabulary` is {}, that of the text encoder {own_vocabulary}; leave it out",
                own.network.vocabulary
            ));
        }
        check_longest(own.settings.max_text, &own.network.text)?;
        match own.settings.neighbours {
            0 => Err("`neighbours` is 0, expected at least one report to draw from".to_owned()),
            _ => Ok(()),
        }
    }

    fn begin(
        config: &RunOf<Self>,
        _: usize,
        _: Option<&dbeta::Dbeta>,
        device: &Device,
    ) -> Result<dbeta::Dbeta> {
        let network = config.network.clone();
        let encoder = dbeta::Dbeta::random(network, config.train.seed, device.inner());
        start_from(&config.settings.text_encoder, encoder, dbeta::TEXT, device)
    }

    fn stage(
        stage: &Stage<'_, Self>,
        encoder: &dbeta::Dbeta,
        _: Option<&dbeta::Dbeta>,
    ) -> Result<Learned> {
        let own = stage.config.own();
        let settings = &own.settings;
        let compat = own.network.compat;
        let read = |rows| {
            Reports::read(stage.store, rows, &settings.text, |text| {
                cleaned(compat, text)
            })
        };
        let (learned_from, held_out) = (read(stage.rows)?, read(stage.validation)?);
        learned_from.note(stage)?;
        let embedder = match settings.embedder.as_str() {
            "" => None,
            folder => Some(TextEncoder::open(Path::new(folder), stage.device)?),
        };
        let tokenizer = TokenizerOf {
            tokenizer: &settings.tokenizer,
            text_encoder: &settings.text_encoder,
            vocabulary: own.network.vocabulary,
            marks: Marks::End,
            rows: own.network.text.vocabulary(),
        };
        let tokenizer = tokenizer.find(&stage.dir, &learned_from.texts)?;
        if settings.mlm == Words::Sentinel && tokenizer.mask().is_none() {
            return Err(Error::invalid(
                "the tokenizer has no mask ([MASK], <mask> or <extra_id_0>) to hide words with",
            )
            .with_help("leave words as they are with `--set mlm=off`"));
        }
        let tokenizer = stage.keep_tokenizer(tokenizer);
        let cut = tokenizer.cut_to(settings.max_text)?;
        let texts = learned_from.ids(&cut)?;
        let others = held_out.ids(&cut)?;
        let source = |rows: &[usize]| -> Result<_, TrainError> {
            let cutter = super::cutter(stage.contract)?;
            StoreSignals::new(stage.store, rows.to_vec(), stage.contract, cutter)
        };
        let (training, validation) = (source(&learned_from.rows)?, source(&held_out.rows)?);
        let (batch, seed) = (stage.config.batch, stage.train.seed);
        let pairs = (&texts[..], &cut);
        let least = match settings.negatives {
            Negatives::N3s if !settings.index.is_empty() => {
                let index = TextIndex::open(Path::new(&settings.index))?;
                Some(learned_from.least_of(&index, stage)?)
            }
            Negatives::N3s => learned_from.least_similar(embedder.as_ref(), stage)?,
            Negatives::Shuffle => None,
        };
        let objective = Pretraining::new(encoder.clone(), &training, pairs, settings, batch, seed)
            .drawing_from(least.as_ref());
        let pairs = (&others[..], &cut);
        let held = || Pretraining::new(encoder.clone(), &validation, pairs, settings, BATCH, seed);
        let at_random = held();
        // Validations may be left out.
        let others_least = match held_out.rows.is_empty() {
            true => None,
            false => held_out.least_similar(embedder.as_ref(), stage)?,
        };
        let hard = others_least
            .as_ref()
            .map(|own| held().drawing_from(Some(own)));
        let judge = held_out.judge(stage.store, &settings.task, &settings.prompts)?;
        let validate = |weights: &_| {
            let ctx = Context::inference(stage.device.inner());
            let mut found = validated(&at_random, others.len(), weights, &ctx, stage.reporter)?;
            if let Some(hard) = &hard {
                let hard = validated(hard, others.len(), weights, &ctx, stage.reporter)?;
                let right = hard.metric.unwrap_or(f64::NAN);
                found
                    .others
                    .push(("matching_accuracy_least_similar", right));
            }
            if let Some(judge) = &judge {
                let judged = judge.found(&stage.model(weights));
                let judged = judged.map_err(|error| TrainError::Data(error.to_string()))?;
                found.others.extend(judged);
            }
            Ok(found)
        };
        stage.learn(encoder, &objective, Some(&validate))
    }
}

/// Which reports are drawn for others.
impl Reports {
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
        let cleaned = self.texts.iter().map(|text| clean_for_index(text));
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

    /// The same from an index.
    fn least_of(&self, index: &TextIndex, stage: &Stage<'_, Dbeta>) -> Result<Least> {
        let places = index.places();
        let texts = self.texts.iter().map(|text| clean_for_index(text));
        let of: Vec<Option<u32>> = texts
            .map(|text| places.get(text.as_str()).copied())
            .collect();
        let missing = of.iter().filter(|place| place.is_none()).count();
        if let Some(first) = of.iter().position(Option::is_none) {
            return Err(Error::invalid(format!(
                "the index `{}` lacks {} (the first: `{}`): it was made from other texts",
                stage.config.settings.index,
                count(missing, "training report"),
                self.texts[first]
            ))
            .with_help("make it from the same store and text with `purkinje text index`"));
        }
        let mut first = vec![None; index.texts.len()];
        let of: Vec<usize> = of
            .into_iter()
            .flatten()
            .map(|place| place as usize)
            .collect();
        for (record, &place) in (0..).zip(&of) {
            first[place].get_or_insert(record);
        }
        let k = index.neighbours.min(stage.config.settings.neighbours);
        let least = index.least()?;
        let others = least.chunks_exact(index.neighbours.max(1)).map(|all| {
            // Texts of an index that no training record has are passed over.
            let own = all[..k].iter().filter_map(|&place| first[place as usize]);
            own.collect()
        });
        Ok(Least {
            of,
            others: others.collect(),
        })
    }
}

/// The losses of held-out pairs under draws that are the same in every validation. The metric is the share of right decisions
/// whether a report belongs to a recording.
fn validated<
    S: purkinje_train::source::Source<Input = purkinje_models::paired::Signal> + ?Sized,
>(
    held: &Pretraining<'_, S>,
    records: usize,
    weights: &purkinje_models::layers::Weights,
    ctx: &Context,
    reporter: &dyn Reporter,
) -> Result<Validated, TrainError> {
    let all: Vec<usize> = (0..records).collect();
    let count = all.len().max(1) as f64;
    let (mut loss, mut words, mut matches) = (0.0, (0, 0), (0, 0));
    let mut each = [
        ("words", 0.0),
        ("signal", 0.0),
        ("matching", 0.0),
        ("alignment", 0.0),
        ("alignment_constant", 0.0),
    ];
    let value = |loss: Tensor<1>| f64::from(loss.into_scalar::<f32>());
    for (number, records) in (0..).zip(all.chunks(BATCH)) {
        uninterrupted(reporter)?;
        let batch = held.pairs(records, Look::Whole, number)?;
        let found = held.found(weights, &batch, ctx);
        let share = records.len() as f64 / count;
        loss += share * value(found.total());
        let constant = held.constant_alignment(&batch);
        let own = [found.words, found.signal, found.matching, found.alignment];
        let own = own.map(value).into_iter().chain([constant]);
        for ((_, sum), own) in each.iter_mut().zip(own) {
            *sum += share * own;
        }
        add(&mut words, found.words_right);
        add(&mut matches, found.matches_right);
    }
    let share = |(right, all): (usize, usize)| right as f64 / all.max(1) as f64;
    Ok(Validated {
        loss: Some(loss),
        metric: Some(share(matches)),
        others: each
            .into_iter()
            .chain([
                ("words_accuracy", share(words)),
                ("matching_accuracy", share(matches)),
            ])
            .collect(),
    })
}

fn add(sum: &mut (usize, usize), own: (usize, usize)) {
    sum.0 += own.0;
    sum.1 += own.1;
}
