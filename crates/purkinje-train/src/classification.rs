//! Training of classifiers on labels, whatever the system.

use burn::tensor::{Device, Tensor};
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
    pub(crate) fn row(&self, row: usize) -> &[f32] {
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

/// The weights of a HuBERT-ECG classifier of two classes that exclude each other as those of one with a single label, of the
/// same probability.
///
/// # Errors
/// When its head is not linear in the end.
pub fn one_of_two(weights: &Weights, device: &Device) -> Result<Weights, TrainError> {
    let mut out = Weights::default();
    let last = ["classifier.2.", "classifier."]
        .into_iter()
        .find(|prefix| weights.parameter(&format!("{prefix}weight")).is_some());
    let last = last.ok_or_else(|| {
        TrainError::Data(
            "two classes that exclude each other need a linear head or one of two layers".into(),
        )
    })?;
    for parameter in weights.iter() {
        if !parameter.name.starts_with(last) {
            out.put(parameter.clone());
            continue;
        }
        let values = parameter.value.to_data().try_to_vec::<f32>();
        let values = values.map_err(|e| TrainError::Data(format!("{}: {e:?}", parameter.name)))?;
        let (no, yes) = values.split_at(values.len() / 2);
        let difference = yes.iter().zip(no).map(|(yes, no)| yes - no).collect();
        let mut shape = parameter.shape.clone();
        shape[0] = 1;
        out.insert(parameter.name.clone(), &shape, difference, device);
    }
    Ok(out)
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
    use super::*;

    #[test]
    fn one_label_has_the_probability_of_the_second_class() {
        let device = Device::flex();
        let mut weights = Weights::default();
        weights.insert("encoder.x", &[1], vec![7.0], &device);
        weights.insert(
            "classifier.weight",
            &[2, 2],
            vec![1.0, 2.0, 4.0, 8.0],
            &device,
        );
        weights.insert("classifier.bias", &[2], vec![0.5, 0.25], &device);
        let one = one_of_two(&weights, &device).unwrap().to_host();
        assert_eq!(one[0].2, [7.0]);
        assert_eq!(
            (&one[1].1[..], &one[1].2[..]),
            (&[1, 2][..], &[3.0, 6.0][..])
        );
        assert_eq!((&one[2].1[..], &one[2].2[..]), (&[1][..], &[-0.25][..]));
        assert!(one_of_two(&Weights::default(), &device).is_err());
    }

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
