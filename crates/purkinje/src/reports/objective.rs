//! Training of a writer: reports as an objective, and what is looked at in between.

use std::path::Path;

use burn::tensor::{Tensor, TensorData};
use purkinje_eval::text::{TextOptions, TextPair, text_scores};
use purkinje_models::layers::{Context, Weights};
use purkinje_models::writing::{ReportWriter, Taught};
use purkinje_text::Tokenizer;
use purkinje_train::optimizer::OptimizerConfig;
use purkinje_train::{
    Decay, EpochOrder, Learning, Losses, Next, Objective, Observer, RunFolder, Schedule, Span,
    StepReport, TrainConfig, TrainError, Validated, ValidationConfig, train,
};

use super::pairs::Pairs;
use super::{Select, TrainOptions, WriteOptions, Writer, WriterAbout};
use crate::model::Model;
use crate::reporter::{Reporter, Updates, go_on};
use crate::{Device, Error, Result};

/// Validation reports that are written to choose by their scores.
const WRITTEN: usize = 128;

/// Reports as an objective.
pub(super) struct Writing {
    /// What learns.
    pub network: ReportWriter,
    /// Of the recordings; `None` for texts alone.
    pub vectors: Option<Vec<Vec<f32>>>,
    /// The word pieces of the reports.
    pub ids: Vec<Vec<u32>>,
    /// In which order they come.
    pub order: EpochOrder,
    /// What shorter reports are filled up with.
    pub pad: u32,
    /// Word pieces of the longest report.
    pub longest: usize,
}

/// Vectors `[records, vectors, width]` and reports.
pub(super) struct ReportBatch {
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
            let width = self.network.config().width;
            let shape = [*records, values.len() / (records * width).max(1), width];
            Tensor::<3>::from_data(TensorData::new(values.clone(), shape), ctx.device())
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
        let of_recordings = self.network.config().decoder.of_recordings(name);
        (!(alone && of_recordings)).then(Learning::default)
    }

    fn dropout(&self) -> f32 {
        self.network.config().decoder.dropout()
    }
}

/// What a training needs beside its objective.
pub(super) struct Job<'a> {
    pub model: &'a Model,
    pub options: &'a TrainOptions,
    pub reporter: &'a dyn Reporter,
    pub about: &'a WriterAbout,
    pub tokenizer: &'a Tokenizer,
}

impl Job<'_> {
    /// As published: AdamW, half cosines of 5,000 updates again and again.
    pub fn learn(
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
            optimizer: OptimizerConfig::deri(),
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
            updates: Updates::begin(self.reporter, "train", steps),
        };
        let folder = RunFolder {
            path: Some(folder.to_owned()),
            resume,
        };
        let device = self.model.device().inner();
        let trained = train(objective, weights, &config, &folder, device, &mut watch)?;
        watch.updates.finish();
        let metric = trained.kept.as_ref().and_then(|kept| kept.metric);
        Ok((trained.chosen(), metric))
    }
}

struct Watch<'a> {
    job: &'a Job<'a>,
    objective: &'a Writing,
    held_out: Option<&'a Pairs>,
    updates: Updates<'a>,
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
            go_on(job.reporter)?;
            let batch = held_out.of(some)?;
            let own = batch.taught.labels.iter().flatten().count() as f64;
            let found = held_out
                .loss(weights, &batch, &ctx)
                .map_err(Error::invalid)?;
            loss += own * f64::from(found.into_scalar::<f32>());
            labels += own;
        }
        let loss = loss / labels.max(1.0);
        if !loss.is_finite() {
            return Ok(Validated {
                loss: Some(loss),
                ..Validated::default()
            });
        }
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
            loss: Some(loss),
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
    fn begin(&mut self, done: usize) {
        self.updates.resume(done);
    }

    fn step(&mut self, report: &StepReport) -> Next {
        let text = format!("epoch {} loss {}", report.epoch, report.loss_text());
        self.updates.made(&text)
    }

    fn validate(&mut self, _: usize, weights: &Weights) -> Result<Option<Validated>, TrainError> {
        let found = self.held_out.map(|held| self.validated(held, weights));
        found.transpose().map_err(|error| match error.is_stop() {
            true => TrainError::Interrupted,
            false => TrainError::Data(error.to_string()),
        })
    }
}
