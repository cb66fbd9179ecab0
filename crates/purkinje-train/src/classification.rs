//! Training of classifiers on labels, whatever the system.

use burn::tensor::Tensor;
use purkinje_models::encoder::{Classify, Encoder};
use purkinje_models::layers::{Context, Weights};

use crate::TrainError;
use crate::losses::{bce_with_logits, bce_with_logits_weighted, cross_entropy};
use crate::named_losses::Losses;
use crate::objective::{Learning, Objective};
use crate::order::EpochOrder;
use crate::source::{Look, Source};

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
    /// The labels of a row, `[classes]`.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.labels[row * self.classes..(row + 1) * self.classes]
    }
}

/// What a classifier minimises. Class weights are `[classes]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Loss {
    /// Of labels that may occur together: binary cross-entropy, mean over records and classes; that of a positive label is
    /// multiplied with the weight of its class.
    MultiLabel(Option<Vec<f32>>),
    /// Of classes that exclude each other, given as one 1 in each row: cross-entropy, the mean weighted by class.
    MultiClass(Option<Vec<f32>>),
}

impl Loss {
    /// The loss of logits `[records, classes]` whose labels stand in the same order.
    pub fn of(&self, logits: Tensor<2>, labels: &[f32]) -> Tensor<1> {
        match self {
            Loss::MultiLabel(None) => bce_with_logits(logits, labels),
            Loss::MultiLabel(Some(weights)) => bce_with_logits_weighted(logits, labels, weights),
            Loss::MultiClass(weights) => {
                let [_, classes] = logits.dims();
                let given = |row: &[f32]| row.iter().position(|l| *l > 0.0).unwrap_or(0);
                let targets: Vec<usize> = labels.chunks(classes).map(given).collect();
                cross_entropy(logits, &targets, weights.as_deref())
            }
        }
    }
}

/// How the parameter of a name learns, if it does.
pub type LearningOf<'a> = dyn Fn(&str) -> Option<Learning> + Sync + 'a;

/// Training of a classifier on labels.
pub struct Classification<'a, C, S: ?Sized> {
    model: C,
    source: &'a S,
    targets: Targets,
    learning: &'a LearningOf<'a>,
    loss: Loss,
    order: EpochOrder,
}

impl<'a, C, S> Classification<'a, C, S>
where
    C: Classify,
    S: Source<Input = <C::Encoder as Encoder>::Input> + ?Sized,
{
    /// Training, on the given records, of the parameters of `model` that `learning` says learn.
    pub fn new(
        model: C,
        source: &'a S,
        targets: Targets,
        loss: Loss,
        learning: &'a LearningOf<'a>,
        batch: usize,
        seed: u64,
    ) -> Self {
        Classification {
            order: EpochOrder::new(targets.records.len(), batch, seed),
            model,
            source,
            targets,
            learning,
            loss,
        }
    }
}

impl<C, S> Objective for Classification<'_, C, S>
where
    C: Classify,
    S: Source<Input = <C::Encoder as Encoder>::Input> + ?Sized,
{
    type Batch = (<C::Encoder as Encoder>::Batch, Vec<f32>);

    fn name(&self) -> &str {
        "the training of a classifier"
    }

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
            .map(|&r| self.source.see(self.targets.records[r], Look::Step(step)))
            .collect::<Result<Vec<_>, _>>()?;
        let labels = rows
            .iter()
            .flat_map(|&r| self.targets.row(r))
            .copied()
            .collect();
        Ok((self.model.encoder().batch(&inputs)?, labels))
    }

    fn losses(&self, weights: &Weights, (batch, labels): &Self::Batch, ctx: &Context) -> Losses {
        let model = self.model.with_weights(weights.clone());
        let model = model.with_regulated(ctx.regulated());
        let loss = self.loss.of(model.logits(batch, ctx), labels);
        Losses::new("classification", loss)
    }

    fn learning(&self, name: &str) -> Option<Learning> {
        (self.learning)(name)
    }

    fn dropout(&self) -> f32 {
        self.model.dropout()
    }

    fn regulated(&self) -> Vec<f64> {
        self.model.regulated()
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn classes_that_exclude_each_other_are_given_by_their_one() {
        let logits = Tensor::<2>::from_floats([[0.0, 2.0], [1.0, 0.0]], &Device::flex());
        let loss: f32 = Loss::MultiClass(None)
            .of(logits, &[0.0, 1.0, 1.0, 0.0])
            .into_scalar();
        let expected = ((1.0 + (-2f32).exp()).ln() + (1.0 + (-1f32).exp()).ln()) / 2.0;
        assert!((loss - expected).abs() < 1e-6, "{loss}");
    }
}
