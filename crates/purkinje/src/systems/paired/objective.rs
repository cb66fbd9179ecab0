//! Pre-training as an objective: contrastive losses over recordings and their reports.

use burn::tensor::{Tensor, TensorData};
use purkinje_models::compat::Compat;
use purkinje_models::layers::{Context, Weights};
use purkinje_models::paired::{PairConfig as _, Paired, Read, Signal, Signals, Terms, top};
use purkinje_models::random::Stream;
use purkinje_models::text::TextIds;
use purkinje_text::TextBatch;
use purkinje_train::source::{Look, Source};
use purkinje_train::{EpochOrder, Learning, Losses, Objective, TrainError};

use super::Settings;

/// What is read of the texts of all records.
pub struct Texts {
    /// Word pieces of the text of each record.
    pub ids: Vec<Vec<u32>>,
    /// What texts are filled up with.
    pub pad: u32,
    /// What an encoder that does not learn gives for them, if it was asked beforehand.
    pub read: Option<Known>,
}

/// What an encoder gives for distinct texts.
pub struct Known {
    /// The place of the text of each record among them.
    pub of: Vec<usize>,
    /// `[length, width]` of each; empty where they are not needed.
    pub states: Vec<Vec<f32>>,
    /// `[width]` of each.
    pub pooled: Vec<Vec<f32>>,
}

/// A batch of pairs.
pub struct PairBatch<D> {
    signals: Signals,
    texts: TextIds,
    /// `[records, length, width]` and `[records, width]`, if they are known.
    read: Option<(Vec<f32>, Vec<f32>)>,
    draws: D,
}

/// Pre-training on recordings with their reports.
pub struct Pretraining<'a, N, S: ?Sized> {
    model: N,
    source: &'a S,
    texts: &'a Texts,
    settings: Settings,
    released: bool,
    order: EpochOrder,
    stream: Stream,
}

impl<'a, N: Paired, S: Source<Input = Signal> + ?Sized> Pretraining<'a, N, S> {
    /// Pre-training of `model` on all records of `source`. The released program goes through them in the same order in every epoch.
    pub fn new(
        model: N,
        source: &'a S,
        texts: &'a Texts,
        settings: &Settings,
        batch: usize,
        seed: u64,
    ) -> Self {
        let released = *model.config().clone().compat() == Compat::Released;
        let order = EpochOrder::new(source.len(), batch, seed);
        Pretraining {
            order: if released { order.repeated() } else { order },
            model,
            source,
            texts,
            settings: settings.clone(),
            released,
            stream: Stream::new(seed, "pairs"),
        }
    }

    /// The pairs of these records, with draws of the stream at `draw`.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn pairs(
        &self,
        records: &[usize],
        look: Look,
        draw: u64,
    ) -> Result<PairBatch<N::Draws>, TrainError> {
        let inputs = records.iter().map(|&record| self.source.see(record, look));
        let inputs: Vec<Signal> = inputs.collect::<Result<_, _>>()?;
        let signals = self.model.batch(&inputs)?;
        let own: Vec<Vec<u32>> = records.iter().map(|&r| self.texts.ids[r].clone()).collect();
        // Where padding takes part its length matters.
        let batch = match self.released && N::READS_STATES {
            true => {
                let length = *self.model.config().clone().text_tokens();
                TextBatch::of_length(&own, self.texts.pad, length)
            }
            false => TextBatch::new(&own, self.texts.pad),
        };
        let read = self.texts.read.as_ref();
        let read = read.map(|known| known.batch(records, batch.length));
        Ok(PairBatch {
            signals,
            read,
            draws: self.model.draws(records.len(), &mut self.stream.at(draw)),
            texts: TextIds {
                ids: batch.ids,
                real: batch.real,
                length: batch.length,
            },
        })
    }

    /// The terms of a batch.
    pub fn terms(&self, weights: &Weights, batch: &PairBatch<N::Draws>, ctx: &Context) -> Terms {
        let model = self.model.with_weights(weights.clone());
        let records = batch.signals.size;
        let read = match &batch.read {
            None => model.read(&batch.texts, ctx),
            Some((states, pooled)) => {
                let width = pooled.len() / records.max(1);
                let length = states.len() / (records * width).max(1);
                let states = TensorData::new(states.clone(), [records, length, width]);
                let pooled = TensorData::new(pooled.clone(), [records, width]);
                Read {
                    states: Tensor::from_data(states, ctx.device()),
                    pooled: Tensor::from_data(pooled, ctx.device()),
                }
            }
        };
        model.terms(&batch.signals, &read, &batch.texts.real, &batch.draws, ctx)
    }

    /// The weight of a term.
    pub fn weight(&self, term: &str) -> f64 {
        self.settings.weight::<N>(term, self.released)
    }
}

impl Known {
    /// What is known of the texts of records, filled up with zeros to `length`.
    fn batch(&self, records: &[usize], length: usize) -> (Vec<f32>, Vec<f32>) {
        let (mut states, mut pooled) = (Vec::new(), Vec::new());
        for &record in records {
            let place = self.of[record];
            let own = &self.pooled[place];
            pooled.extend_from_slice(own);
            if let Some(known) = self.states.get(place) {
                let end = states.len() + length * own.len();
                states.extend_from_slice(known);
                states.resize(end, 0.0);
            }
        }
        (states, pooled)
    }
}

/// How well vectors of recordings and texts are told apart: shares, by name.
pub fn accuracies(terms: &Terms, ctx: &Context) -> Vec<(&'static str, f64)> {
    let [there, back] = top(&terms.ecg, &terms.text, 1, ctx);
    let [there_5, back_5] = top(&terms.ecg, &terms.text, 5, ctx);
    vec![
        ("top1_of_texts", there),
        ("top1_of_recordings", back),
        ("top5_of_texts", there_5),
        ("top5_of_recordings", back_5),
    ]
}

impl<N: Paired, S: Source<Input = Signal> + ?Sized> Objective for Pretraining<'_, N, S> {
    type Batch = PairBatch<N::Draws>;

    fn name(&self) -> &str {
        "pre-training on pairs"
    }

    fn steps_per_epoch(&self) -> usize {
        self.order.steps()
    }

    fn batch_size(&self) -> usize {
        self.order.batch_size()
    }

    fn batch(&self, step: usize) -> Result<Self::Batch, TrainError> {
        let records = self.order.records_of(step);
        self.pairs(&records, Look::Step(step), step as u64)
    }

    fn losses(&self, weights: &Weights, batch: &Self::Batch, ctx: &Context) -> Losses {
        let terms = self.terms(weights, batch, ctx);
        let mut named = N::TERMS.iter().zip(&terms.losses);
        let first = named.next().expect("every network has a loss");
        let name = |term: &str| term.replace('-', "_");
        let first = Losses::weighted(name(first.0), self.weight(first.0), first.1.clone());
        let all = named.fold(first, |all, (term, loss)| {
            all.and(name(term), self.weight(term), loss.clone())
        });
        let found = accuracies(&terms, ctx);
        let found = found.into_iter();
        found.fold(all, |all, (name, value)| all.with_metric(name, value))
    }

    fn needs_whole_batch(&self) -> bool {
        true
    }

    fn learning(&self, name: &str) -> Option<Learning> {
        let mut config = self.model.config().clone();
        let learned = *config.text_learns();
        learned.learns(name, config.text()).then(Learning::default)
    }

    fn dropout(&self) -> f32 {
        0.0
    }
}
