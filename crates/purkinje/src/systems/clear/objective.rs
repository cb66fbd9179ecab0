//! CLEAR's pre-training and the training of heads on its vectors, as objectives.

use burn::tensor::{Shape, Tensor, TensorData};
use purkinje_models::clear::{Clear, ClearBatch, Masking};
use purkinje_models::hug::Head;
use purkinje_models::layers::{Context, Weights};
use purkinje_models::random::Stream;
use purkinje_signal::BeatTokens;
use purkinje_train::losses::bce_with_logits;
use purkinje_train::source::{Look, Source};
use purkinje_train::{EpochOrder, Losses, Objective, Targets, TrainError};

/// Masked reconstruction of heartbeats.
pub struct Pretraining<'a, S: ?Sized> {
    model: Clear,
    source: &'a S,
    order: EpochOrder,
    masks: Stream,
}

impl<'a, S: Source<Input = BeatTokens> + ?Sized> Pretraining<'a, S> {
    /// Pre-training of `model` on all records of `source`.
    pub fn new(model: Clear, source: &'a S, batch: usize, seed: u64) -> Self {
        Pretraining {
            model,
            order: EpochOrder::new(source.len(), batch, seed),
            source,
            masks: Stream::new(seed, "mask"),
        }
    }
}

impl<S: Source<Input = BeatTokens> + ?Sized> Objective for Pretraining<'_, S> {
    type Batch = (ClearBatch, Masking);

    fn name(&self) -> &str {
        "CLEAR's pre-training"
    }

    fn steps_per_epoch(&self) -> usize {
        self.order.steps()
    }

    fn batch_size(&self) -> usize {
        self.order.batch_size()
    }

    fn batch(&self, step: usize) -> Result<Self::Batch, TrainError> {
        let records = self.order.records_of(step);
        let look = Look::Step(step);
        let inputs = records.iter().map(|&i| self.source.see(i, look));
        let inputs: Result<Vec<_>, _> = inputs.collect();
        let batch = ClearBatch::new(&inputs?)?;
        let mut stream = self.masks.at(step as u64);
        let masking = Masking::random(self.model.config(), &batch, &mut stream);
        Ok((batch, masking))
    }

    fn losses(&self, weights: &Weights, (batch, masking): &Self::Batch, ctx: &Context) -> Losses {
        let model = self.model.with_weights(weights.clone());
        Losses::new(
            "reconstruction",
            model.reconstruct(batch, masking, ctx).loss,
        )
    }

    fn dropout(&self) -> f32 {
        self.model.config().dropout
    }
}

/// The lead vectors `[records, leads, width]` of records by their numbers.
pub type VectorsOf<'a> = dyn Fn(&[usize]) -> Result<Vec<f32>, TrainError> + Sync + 'a;

/// Training of a head on the lead vectors of a frozen encoder, computed once: what probing is, without the encoder's
/// dropout (see `docs/differences.md`).
pub struct HeadTraining<'a> {
    head: Head,
    leads: Vec<usize>,
    vectors: Box<VectorsOf<'a>>,
    width: usize,
    targets: Targets,
    order: EpochOrder,
}

impl<'a> HeadTraining<'a> {
    /// Training of `head` on rows of `vectors` `[records, leads, width]`; `leads` are standard positions.
    pub fn new(
        head: Head,
        leads: Vec<usize>,
        vectors: &'a [f32],
        width: usize,
        targets: Targets,
        batch: usize,
        seed: u64,
    ) -> Self {
        let size = leads.len() * width;
        let read = move |records: &[usize]| {
            let each = records.iter().map(|r| &vectors[r * size..(r + 1) * size]);
            Ok(each.flatten().copied().collect())
        };
        Self::reading(head, leads, Box::new(read), width, targets, batch, seed)
    }

    /// The same on vectors that are read where they lie, for every batch anew.
    pub fn reading(
        head: Head,
        leads: Vec<usize>,
        vectors: Box<VectorsOf<'a>>,
        width: usize,
        targets: Targets,
        batch: usize,
        seed: u64,
    ) -> Self {
        HeadTraining {
            order: EpochOrder::new(targets.records.len(), batch, seed),
            head,
            leads,
            vectors,
            width,
            targets,
        }
    }
}

impl Objective for HeadTraining<'_> {
    type Batch = (Vec<f32>, Vec<f32>);

    fn name(&self) -> &str {
        "the training of a head"
    }

    fn steps_per_epoch(&self) -> usize {
        self.order.steps()
    }

    fn batch_size(&self) -> usize {
        self.order.batch_size()
    }

    fn batch(&self, step: usize) -> Result<Self::Batch, TrainError> {
        let rows = self.order.records_of(step);
        let records: Vec<usize> = rows.iter().map(|&row| self.targets.records[row]).collect();
        let labels = rows.iter().flat_map(|&row| self.targets.row(row));
        let labels = labels.copied().collect();
        Ok(((self.vectors)(&records)?, labels))
    }

    fn losses(&self, weights: &Weights, (vectors, labels): &Self::Batch, ctx: &Context) -> Losses {
        let loss = bce_with_logits(self.logits(weights, vectors, ctx), labels);
        Losses::new("classification", loss)
    }

    fn dropout(&self) -> f32 {
        0.0
    }
}

impl HeadTraining<'_> {
    /// Logits `[records, classes]` of lead vectors `[records, leads, width]` under `weights`.
    pub fn logits(&self, weights: &Weights, vectors: &[f32], ctx: &Context) -> Tensor<2> {
        let records = vectors.len() / self.leads.len() / self.width;
        let shape = Shape::new([records, self.leads.len(), self.width]);
        let cls = Tensor::<3>::from_data(TensorData::new(vectors.to_vec(), shape), ctx.device());
        self.head.logits(cls, &self.leads, weights, ctx)
    }
}
