//! CLEAR's pre-training and the training of classifiers on it, as objectives.

use burn::tensor::{Shape, Tensor, TensorData};
use purkinje_models::clear::{Clear, ClearBatch, Masking};
use purkinje_models::hug::{Classifier, Head};
use purkinje_models::layers::{Context, Weights};
use purkinje_models::random::Stream;
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::losses::bce_with_logits;
use crate::objective::Objective;
use crate::order::EpochOrder;
use crate::source::TokenSource;

/// Masked reconstruction of heartbeats (specification 5.4-5.8, 6.1).
pub struct Pretraining<'a, S: ?Sized> {
    model: Clear,
    source: &'a S,
    order: EpochOrder,
    masks: Stream,
}

impl<'a, S: TokenSource + ?Sized> Pretraining<'a, S> {
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

impl<S: TokenSource + ?Sized> Objective for Pretraining<'_, S> {
    type Batch = (ClearBatch, Masking);

    fn steps_per_epoch(&self) -> usize {
        self.order.steps()
    }

    fn batch_size(&self) -> usize {
        self.order.batch_size()
    }

    fn batch(&self, step: usize) -> Result<Self::Batch, TrainError> {
        let batch = self.source.batch(&self.order.records_of(step))?;
        let mut stream = self.masks.at(step as u64);
        let masking = Masking::random(self.model.config(), &batch, &mut stream);
        Ok((batch, masking))
    }

    fn loss(&self, weights: &Weights, (batch, masking): &Self::Batch, ctx: &Context) -> Tensor<1> {
        let model = self.model.with_weights(weights.clone());
        model.reconstruct(batch, masking, ctx).loss
    }

    fn dropout(&self) -> f32 {
        self.model.config().dropout
    }
}

/// Which parameters of a classifier train (specification 6.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trainable {
    /// Everything.
    All,
    /// The last linear layer.
    Linear,
    /// HUG and the last linear layer.
    Moe,
    /// Parameters whose names contain one of these.
    Parts(Vec<String>),
}

impl Trainable {
    /// Whether the parameter of that name trains. The decoder never does: no classifier uses it.
    pub fn accepts(&self, name: &str) -> bool {
        if name.starts_with("decoder_") || name == "mask_token" {
            return false;
        }
        match self {
            Trainable::All => true,
            Trainable::Linear => name.starts_with("mlp_head"),
            Trainable::Moe => ["moe", "mlp_head", "weight_sum"]
                .iter()
                .any(|part| name.contains(part)),
            Trainable::Parts(parts) => parts.iter().any(|part| name.contains(part)),
        }
    }
}

/// Labels of a set of records.
#[derive(Clone, Debug)]
pub struct Targets {
    /// Records of the source, in the order of the rows of `labels`.
    pub records: Vec<usize>,
    /// `[records, classes]`, 1 where the label is given.
    pub labels: Vec<f32>,
    /// Classes.
    pub classes: usize,
}

impl Targets {
    fn row(&self, row: usize) -> &[f32] {
        &self.labels[row * self.classes..(row + 1) * self.classes]
    }
}

/// Multi-label classification by binary cross-entropy, mean over records and classes (specification 6.2).
pub struct Classification<'a, S: ?Sized> {
    model: Classifier,
    source: &'a S,
    targets: Targets,
    trainable: Trainable,
    order: EpochOrder,
}

impl<'a, S: TokenSource + ?Sized> Classification<'a, S> {
    /// Training of the accepted parts of `model` on the given records.
    pub fn new(
        model: Classifier,
        source: &'a S,
        targets: Targets,
        trainable: Trainable,
        batch: usize,
        seed: u64,
    ) -> Self {
        Classification {
            order: EpochOrder::new(targets.records.len(), batch, seed),
            model,
            source,
            targets,
            trainable,
        }
    }
}

impl<S: TokenSource + ?Sized> Objective for Classification<'_, S> {
    type Batch = (ClearBatch, Vec<f32>);

    fn steps_per_epoch(&self) -> usize {
        self.order.steps()
    }

    fn batch_size(&self) -> usize {
        self.order.batch_size()
    }

    fn batch(&self, step: usize) -> Result<Self::Batch, TrainError> {
        let rows = self.order.records_of(step);
        let records: Vec<usize> = rows.iter().map(|&r| self.targets.records[r]).collect();
        let labels = rows
            .iter()
            .flat_map(|&r| self.targets.row(r))
            .copied()
            .collect();
        Ok((self.source.batch(&records)?, labels))
    }

    fn loss(&self, weights: &Weights, (batch, labels): &Self::Batch, ctx: &Context) -> Tensor<1> {
        let model = self.model.with_weights(weights.clone());
        let logits = model.logits(batch, &Masking::all(batch.token_count()), ctx);
        bce_with_logits(logits, labels)
    }

    fn trains(&self, name: &str) -> bool {
        self.trainable.accepts(name)
    }

    fn dropout(&self) -> f32 {
        self.model.encoder().config().dropout
    }
}

/// Training of a head on the lead vectors of a frozen encoder, computed once: what probing is, without the encoder's
/// dropout (specification 9.17).
pub struct HeadTraining<'a> {
    head: Head,
    leads: Vec<usize>,
    /// `[records, leads, width]`.
    vectors: &'a [f32],
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

    fn steps_per_epoch(&self) -> usize {
        self.order.steps()
    }

    fn batch_size(&self) -> usize {
        self.order.batch_size()
    }

    fn batch(&self, step: usize) -> Result<Self::Batch, TrainError> {
        let size = self.leads.len() * self.width;
        let mut batch = (Vec::new(), Vec::new());
        for row in self.order.records_of(step) {
            let record = self.targets.records[row];
            batch
                .0
                .extend_from_slice(&self.vectors[record * size..(record + 1) * size]);
            batch.1.extend_from_slice(self.targets.row(row));
        }
        Ok(batch)
    }

    fn loss(&self, weights: &Weights, (vectors, labels): &Self::Batch, ctx: &Context) -> Tensor<1> {
        bce_with_logits(self.logits(weights, vectors, ctx), labels)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frozen_parts_follow_the_published_rules() {
        let hug = "moe.level1_experts.0.net.0.weight";
        let encoder = "encoder_transformer.layers.0.ff.0.weight";
        assert!(Trainable::Moe.accepts(hug) && Trainable::Moe.accepts("mlp_head.bias"));
        assert!(!Trainable::Moe.accepts(encoder) && !Trainable::Linear.accepts(hug));
        assert!(Trainable::All.accepts(encoder) && !Trainable::All.accepts("mask_token"));
    }
}
