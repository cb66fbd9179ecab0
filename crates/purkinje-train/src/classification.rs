//! Training of classifiers on labels, whatever the system.

use burn::tensor::Tensor;
use purkinje_models::encoder::{Classify, Encoder};
use purkinje_models::layers::{Context, Weights};

use crate::TrainError;
use crate::losses::{bce_with_logits, bce_with_logits_weighted};
use crate::objective::Objective;
use crate::order::EpochOrder;
use crate::source::Source;

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
    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.labels[row * self.classes..(row + 1) * self.classes]
    }
}

/// Multi-label classification by binary cross-entropy, mean over records and classes (CLEAR-HUG specification 6.2, HuBERT-ECG
/// specification 11.2).
pub struct Classification<'a, C, S: ?Sized> {
    model: C,
    source: &'a S,
    targets: Targets,
    trains: &'a (dyn Fn(&str) -> bool + Sync),
    positive_weights: Option<Vec<f32>>,
    order: EpochOrder,
}

impl<'a, C, S> Classification<'a, C, S>
where
    C: Classify,
    S: Source<Input = <C::Encoder as Encoder>::Input> + ?Sized,
{
    /// Training, on the given records, of the parameters of `model` that `trains` accepts by their names.
    pub fn new(
        model: C,
        source: &'a S,
        targets: Targets,
        trains: &'a (dyn Fn(&str) -> bool + Sync),
        batch: usize,
        seed: u64,
    ) -> Self {
        Classification {
            order: EpochOrder::new(targets.records.len(), batch, seed),
            model,
            source,
            targets,
            trains,
            positive_weights: None,
        }
    }

    /// With the loss of positive labels multiplied by the weight of their class, `[classes]`.
    pub fn weighted(self, positive_weights: Vec<f32>) -> Self {
        Classification {
            positive_weights: Some(positive_weights),
            ..self
        }
    }
}

impl<C, S> Objective for Classification<'_, C, S>
where
    C: Classify,
    S: Source<Input = <C::Encoder as Encoder>::Input> + ?Sized,
{
    type Batch = (<C::Encoder as Encoder>::Batch, Vec<f32>);

    fn steps_per_epoch(&self) -> usize {
        self.order.steps()
    }

    fn batch_size(&self) -> usize {
        self.order.batch_size()
    }

    fn batch(&self, step: usize) -> Result<Self::Batch, TrainError> {
        let rows = self.order.records_of(step);
        let inputs = rows
            .iter()
            .map(|&r| self.source.drawn(self.targets.records[r], step))
            .collect::<Result<Vec<_>, _>>()?;
        let labels = rows
            .iter()
            .flat_map(|&r| self.targets.row(r))
            .copied()
            .collect();
        Ok((self.model.encoder().batch(&inputs)?, labels))
    }

    fn loss(&self, weights: &Weights, (batch, labels): &Self::Batch, ctx: &Context) -> Tensor<1> {
        let logits = self.model.with_weights(weights.clone()).logits(batch, ctx);
        match &self.positive_weights {
            None => bce_with_logits(logits, labels),
            Some(weights) => bce_with_logits_weighted(logits, labels, weights),
        }
    }

    fn trains(&self, name: &str) -> bool {
        (self.trains)(name)
    }

    fn dropout(&self) -> f32 {
        self.model.dropout()
    }
}
