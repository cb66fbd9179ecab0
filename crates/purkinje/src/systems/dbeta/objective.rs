//! D-BETA's pre-training as an objective: four losses over pairs of recordings and reports.

use std::path::Path;

use purkinje_models::dbeta::{
    Dbeta, DbetaBatch, Dropping, EtsReduction, Pairs, SignalTarget, TEXT,
};
use purkinje_models::layers::{Context, Weights};
use purkinje_models::paired::Signal;
use purkinje_models::random::Stream;
use purkinje_models::text::TextIds;
use purkinje_text::batch::negatives;
use purkinje_text::masking::MaskDraws;
use purkinje_text::{TextBatch, Tokenizer};
use purkinje_train::augment::Perturbation;
use purkinje_train::source::{Look, Source};
use purkinje_train::{EpochOrder, Learning, Losses, Objective, TrainError};
use serde::{Deserialize, Serialize};

use crate::keys::{Key, as_given, boolean, fraction, joined, key, parsed, word, word_of};
use crate::pretrain::Own;
use crate::text_encoder::TextEncoder;
use purkinje_models::dbeta::DbetaConfig;

/// What is done to words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Words {
    /// Some are hidden and predicted.
    #[default]
    Sentinel,
    /// None is hidden, all are predicted: what the program did until May 2025.
    Copy,
    /// Nothing is predicted.
    Off,
}

/// Which reports of others stand in for the own ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Negatives {
    /// The least similar ones where there is an encoder to find them with.
    #[default]
    N3s,
    /// All that differ.
    Shuffle,
}

/// A loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Loss {
    /// Hidden words.
    Mlm,
    /// Hidden stretches of signal.
    Mem,
    /// Whether a report belongs to a recording.
    Etm,
    /// The same of the vectors alone.
    Ets,
}

/// Settings of the pre-training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Text column of the store; the report if empty.
    pub text: String,
    /// `tokenizer.json`; one is made from the training reports if empty.
    pub tokenizer: String,
    /// Folder of an encoder of texts to start from; a random one if empty.
    pub text_encoder: String,
    /// Longest text in word pieces, its end included.
    pub max_text: usize,
    /// The share of recordings that get the report of another.
    pub negative_share: f64,
    /// Which reports of others are drawn.
    pub negatives: Negatives,
    /// Folder of an encoder of texts: reports of others are drawn from those least similar to the own one by its vectors; from all that
    /// differ if empty.
    pub embedder: String,
    /// Index of reports that has them already.
    pub index: String,
    /// How many least similar reports there are to draw from.
    pub neighbours: usize,
    /// What is done to words.
    pub mlm: Words,
    /// The share of words that is hidden.
    pub mlm_probability: f64,
    /// With which probability a lead is hidden.
    pub lead_mask: f64,
    /// What the decoder of signals is asked for.
    pub mem_target: SignalTarget,
    /// The losses that are minimised.
    pub losses: Vec<Loss>,
    /// How the loss between vectors is summed up.
    pub ets: EtsReduction,
    /// Label set of the store that validations diagnose by sentences; none if empty.
    pub task: String,
    /// The sentences.
    pub prompts: String,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            text: String::new(),
            tokenizer: String::new(),
            text_encoder: String::new(),
            max_text: 254,
            negative_share: 0.5,
            negatives: Negatives::N3s,
            embedder: String::new(),
            index: String::new(),
            neighbours: 64,
            mlm: Words::Sentinel,
            mlm_probability: 0.25,
            lead_mask: 0.5,
            mem_target: SignalTarget::Masked,
            losses: vec![Loss::Mlm, Loss::Mem, Loss::Etm, Loss::Ets],
            ets: EtsReduction::Sum,
            task: String::new(),
            prompts: String::new(),
        }
    }
}

type OwnOfDbeta = Own<DbetaConfig, Settings>;

/// What `--set` takes.
pub const KEYS: &[Key<OwnOfDbeta>] = &[
    key!(
        "text",
        "text column of the store; the report if empty",
        own.settings.text,
        as_given
    ),
    key!(
        "tokenizer",
        "a tokenizer.json; one is made from the training reports if empty",
        own.settings.tokenizer,
        as_given
    ),
    Key {
        key: "vocabulary",
        help: "rows of the table of word pieces",
        get: |own| own.network.vocabulary.to_string(),
        set: |own, text| {
            let rows = parsed(text, "a number of word pieces")?;
            own.network.vocabulary = rows;
            own.network.text.set_vocabulary(rows);
            Ok(())
        },
    },
    Key {
        key: "text-encoder",
        help: "folder of a T5 or BERT (config.json, model.safetensors, tokenizer.json) to start from; a random T5 if empty",
        get: |own| own.settings.text_encoder.clone(),
        set: |own, text| {
            own.settings.text_encoder = text.to_owned();
            if !text.is_empty() {
                own.network.text =
                    TextEncoder::sizes(Path::new(text)).map_err(|error| error.to_string())?;
                own.network.vocabulary = own.network.text.vocabulary();
            }
            Ok(())
        },
    },
    key!(
        "text-learns",
        "train the encoder of texts too: true or false",
        own.network.text_learns,
        boolean
    ),
    key!(
        "max-text",
        "longest text in word pieces",
        own.settings.max_text,
        |text| parsed(text, "a number of word pieces")
    ),
    key!(
        "negative-share",
        "share of recordings that get the report of another",
        own.settings.negative_share,
        fraction
    ),
    key!(
        "negatives",
        "reports of others: n3s (the least similar ones, where an embedder is given) or shuffle (all that differ); validations judge both",
        own.settings.negatives
    ),
    key!(
        "embedder",
        "folder of a T5 or BERT (config.json, model.safetensors, tokenizer.json) by whose vectors reports of others are drawn from the least similar ones; from all that differ if empty",
        own.settings.embedder,
        as_given
    ),
    key!(
        "index",
        "index of the training reports (`purkinje text index`), in place of an embedder",
        own.settings.index,
        as_given
    ),
    key!(
        "neighbours",
        "least similar reports to draw from",
        own.settings.neighbours,
        |text| parsed(text, "a number of reports")
    ),
    key!(
        "mlm",
        "what is done to words: sentinel (hide and predict), copy (predict all) or off",
        own.settings.mlm
    ),
    key!(
        "mlm-probability",
        "share of words that is hidden",
        own.settings.mlm_probability,
        fraction
    ),
    key!(
        "lead-mask",
        "probability with which a lead is hidden",
        own.settings.lead_mask,
        fraction
    ),
    key!(
        "drop-tokens",
        "share of tokens of the signal that is hidden",
        own.network.hidden_share,
        fraction
    ),
    Key {
        key: "convolutions",
        help: "convolutions at the start, each of which halves the number of tokens",
        get: |own| own.network.ecg.convolutions.len().to_string(),
        set: |own, text| {
            let count = parsed(text, "a number of convolutions")?;
            let convolutions = &mut own.network.ecg.convolutions;
            let last = *convolutions.last().ok_or("there is none to repeat")?;
            convolutions.resize(count, last);
            Ok(())
        },
    },
    key!(
        "mem-target",
        "what hidden tokens are predicted from: masked (leads that are hidden are zero) or clean",
        own.settings.mem_target
    ),
    Key {
        key: "losses",
        help: "losses that are minimised, of mlm (words), mem (signal), etm (matching) and ets (alignment); the others are only logged",
        get: |own| joined(own.settings.losses.iter().map(word_of), ","),
        set: |own, text| {
            let found: Vec<Loss> = text
                .split(',')
                .map(|name| word(name.trim()))
                .collect::<Result<_, _>>()?;
            own.settings.losses = found;
            Ok(())
        },
    },
    key!(
        "ets",
        "how the loss between vectors is summed up: sum (over pairs, divided by the batch) or mean",
        own.settings.ets
    ),
    key!(
        "ets-normalise",
        "divide vectors by their length before they are compared: true or false",
        own.network.normalise,
        boolean
    ),
    key!(
        "ets-scale",
        "learn the factor of their product: true or false",
        own.network.learned_scale,
        boolean
    ),
    key!(
        "ets-bias",
        "learn what is added to it: true or false",
        own.network.learned_bias,
        boolean
    ),
    key!(
        "text-mask",
        "keep padding from the encoder of texts: true or false",
        own.network.text_mask,
        boolean
    ),
    key!(
        "task",
        "label set of the store that validations diagnose by sentences; none if empty",
        own.settings.task,
        as_given
    ),
    key!(
        "prompts",
        "file of the sentences for its classes",
        own.settings.prompts,
        as_given
    ),
];

/// A batch of pairs.
pub struct PairBatch {
    ecg: DbetaBatch,
    target: DbetaBatch,
    texts: TextIds,
    words: Vec<Option<u32>>,
    aligned: Vec<bool>,
    dropping: Dropping,
}

/// Which reports are least similar to which.
#[derive(Debug)]
pub struct Least {
    /// The place of the report of each record among the distinct ones.
    pub of: Vec<usize>,
    /// For each distinct report a record of each of those that are least similar to it.
    pub others: Vec<Vec<u32>>,
}

/// Pre-training on recordings with their reports.
pub struct Pretraining<'a, S: ?Sized> {
    model: Dbeta,
    source: &'a S,
    /// Word pieces of the report of each record.
    texts: &'a [Vec<u32>],
    tokenizer: &'a Tokenizer,
    least: Option<&'a Least>,
    settings: Settings,
    order: EpochOrder,
    stream: Stream,
}

impl<'a, S: Source<Input = Signal> + ?Sized> Pretraining<'a, S> {
    /// Pre-training of `model` on all records of `source`, whose reports are `texts`.
    pub fn new(
        model: Dbeta,
        source: &'a S,
        (texts, tokenizer): (&'a [Vec<u32>], &'a Tokenizer),
        settings: &Settings,
        batch: usize,
        seed: u64,
    ) -> Self {
        Pretraining {
            model,
            order: EpochOrder::new(source.len(), batch, seed),
            source,
            texts,
            tokenizer,
            least: None,
            settings: settings.clone(),
            stream: Stream::new(seed, "pairs"),
        }
    }

    /// The same, with reports of others drawn from the least similar ones.
    #[must_use]
    pub fn drawing_from(self, least: Option<&'a Least>) -> Self {
        Pretraining { least, ..self }
    }

    /// The pairs of these records, with draws of the stream at `draw`.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn pairs(&self, records: &[usize], look: Look, draw: u64) -> Result<PairBatch, TrainError> {
        let (settings, config) = (&self.settings, self.model.config());
        let stream = self.stream.at(draw);
        let inputs = records.iter().map(|&record| self.source.see(record, look));
        let inputs: Vec<Signal> = inputs.collect::<Result<_, _>>()?;
        let clean = DbetaBatch::new(config, &inputs)?;
        let mut ecg = clean.clone();
        let samples = ecg.samples;
        let of_one = ecg.values.len() / records.len().max(1);
        let hide = Perturbation::HideLeads(settings.lead_mask);
        for (number, rows) in (0..).zip(ecg.values.chunks_exact_mut(of_one)) {
            hide.apply(rows, samples, 1.0, &mut stream.at(0).at(number));
        }
        let own: Vec<Vec<u32>> = records.iter().map(|&r| self.texts[r].clone()).collect();
        let pad = self.tokenizer.pad();
        let mut draws = stream.at(1);
        let count = negatives(records.len(), settings.negative_share, draws.uniform());
        let rows = without_replacement(records.len(), count, &mut draws);
        let others: Vec<Vec<u32>> = rows
            .iter()
            .map(|&row| self.other_than(records[row], &mut draws))
            .collect();
        let mut batch = TextBatch::new(&own, pad).with_rows(&rows, &others, pad);
        let mut aligned = vec![true; records.len()];
        for (&row, other) in rows.iter().zip(&others) {
            // Where every report says the same there is no other one.
            aligned[row] = *other == own[row];
        }
        let special = |id: u32| self.tokenizer.is_special(id);
        let words = match (settings.mlm, self.tokenizer.mask()) {
            (Words::Sentinel, Some(mask)) => {
                let vocabulary = self.tokenizer.size() as u32;
                let probability = settings.mlm_probability;
                let draws =
                    MaskDraws::draw(batch.ids.len(), probability, vocabulary, &mut stream.at(2));
                draws.hide(&mut batch, mask, special)
            }
            (Words::Copy, _) => {
                let all = batch.ids.iter().zip(&batch.real);
                all.map(|(&id, &real)| real.then_some(id)).collect()
            }
            _ => vec![None; batch.ids.len()],
        };
        let tokens = config.ecg.tokens(samples);
        let mut draws = stream.at(3);
        let noise: Vec<f32> = (0..records.len() * tokens)
            .map(|_| draws.uniform() as f32)
            .collect();
        Ok(PairBatch {
            target: match settings.mem_target {
                SignalTarget::Masked => ecg.clone(),
                SignalTarget::Clean => clean,
            },
            ecg,
            texts: TextIds {
                ids: batch.ids,
                real: batch.real,
                length: batch.length,
            },
            words,
            aligned,
            dropping: Dropping::from_noise(&noise, tokens, config.kept_tokens(tokens)),
        })
    }

    /// The report of another record that says something else; after a hundred draws the same.
    fn other_than(&self, record: usize, draws: &mut Stream) -> Vec<u32> {
        let own = &self.texts[record];
        let least = self.least.map(|least| &least.others[least.of[record]]);
        let least = least.filter(|others| !others.is_empty());
        for _ in 0..100 {
            let other = match least {
                Some(least) => least[draws.below(least.len())] as usize,
                None => draws.below(self.texts.len()),
            };
            // Two texts may have the same word pieces.
            if self.texts[other] != *own {
                return self.texts[other].clone();
            }
        }
        own.clone()
    }

    /// The losses of a batch by name.
    pub fn found(
        &self,
        weights: &Weights,
        batch: &PairBatch,
        ctx: &Context,
    ) -> purkinje_models::dbeta::Losses {
        let pairs = Pairs {
            ecg: &batch.ecg,
            target: &batch.target,
            texts: &batch.texts,
            words: &batch.words,
            aligned: &batch.aligned,
            dropping: &batch.dropping,
        };
        let model = self.model.with_weights(weights.clone());
        model.losses(&pairs, self.settings.ets, ctx)
    }
}

impl<S: ?Sized> Pretraining<'_, S> {
    /// The least alignment loss of a network that gives all pairs of a batch one product.
    pub fn constant_alignment(&self, batch: &PairBatch) -> f64 {
        let records = batch.aligned.len() as f64;
        let own = batch.aligned.iter().filter(|&&own| own).count() as f64;
        let share = own / (records * records).max(1.0);
        let term = |p: f64| if p > 0.0 { -p * p.ln() } else { 0.0 };
        let mean = term(share) + term(1.0 - share);
        match self.settings.ets {
            EtsReduction::Sum => records * mean,
            EtsReduction::Mean => mean,
        }
    }
}

/// `count` of `0..all`, in the order in which they are drawn.
fn without_replacement(all: usize, count: usize, draws: &mut Stream) -> Vec<usize> {
    let mut left: Vec<usize> = (0..all).collect();
    (0..count.min(all))
        .map(|_| left.swap_remove(draws.below(left.len())))
        .collect()
}

impl<S: Source<Input = Signal> + ?Sized> Objective for Pretraining<'_, S> {
    type Batch = PairBatch;

    fn name(&self) -> &str {
        "D-BETA's pre-training"
    }

    fn steps_per_epoch(&self) -> usize {
        self.order.steps()
    }

    fn batch_size(&self) -> usize {
        self.order.batch_size()
    }

    fn batch(&self, step: usize) -> Result<PairBatch, TrainError> {
        let records = self.order.records_of(step);
        self.pairs(&records, Look::Step(step), step as u64)
    }

    fn losses(&self, weights: &Weights, batch: &PairBatch, ctx: &Context) -> Losses {
        let found = self.found(weights, batch, ctx);
        let share = |(right, all): (usize, usize)| right as f64 / all.max(1) as f64;
        let weight = |loss| f64::from(u8::from(self.settings.losses.contains(&loss)));
        Losses::weighted("words", weight(Loss::Mlm), found.words.clone())
            .and("signal", weight(Loss::Mem), found.signal.clone())
            .and("matching", weight(Loss::Etm), found.matching.clone())
            .and("alignment", weight(Loss::Ets), found.alignment.clone())
            .with_metric("words_accuracy", share(found.words_right))
            .with_metric("matching_accuracy", share(found.matches_right))
    }

    fn needs_whole_batch(&self) -> bool {
        true
    }

    fn learning(&self, name: &str) -> Option<Learning> {
        let still = !self.model.config().text_learns && name.starts_with(TEXT);
        (!still).then(Learning::default)
    }

    fn dropout(&self) -> f32 {
        self.model.config().ecg.dropout
    }
}
