//! The losses of pre-training.

use burn::tensor::{Int, Tensor, TensorData, activation};
use serde::{Deserialize, Serialize};

use super::network::{Pass, unit};
use crate::layers::Context;

/// Cross-entropy of the cosines of `a` with those of `b`, divided by the temperature, with their diagonal: both directions, added.
pub fn contrastive(a: Tensor<2>, b: Tensor<2>, temperature: f64, ctx: &Context) -> Tensor<1> {
    let scores = scores(a, b, temperature, ctx);
    one_way(scores.clone(), ctx) + one_way(scores.transpose(), ctx)
}

fn scores(a: Tensor<2>, b: Tensor<2>, temperature: f64, ctx: &Context) -> Tensor<2> {
    ctx.matmul(unit(a), unit(b).transpose()) / temperature
}

fn one_way(scores: Tensor<2>, ctx: &Context) -> Tensor<1> {
    let count = scores.dims()[0];
    let own: Vec<i32> = (0..count as i32).collect();
    let own = Tensor::<2, Int>::from_data(TensorData::new(own, [count, 1]), ctx.device());
    activation::log_softmax(scores, 1)
        .gather(1, own)
        .neg()
        .mean()
}

/// The share of rows of which the own column is among the `k` with the highest scores, mean of both directions.
pub fn top(a: Tensor<2>, b: Tensor<2>, k: usize, ctx: &Context) -> f64 {
    let scores = scores(a, b, 1.0, ctx);
    let share = |scores: Tensor<2>| {
        let count = scores.dims()[0];
        let values = scores
            .inner()
            .into_data()
            .convert::<f32>()
            .try_to_vec::<f32>();
        let values = values.unwrap_or_default();
        let within = values.chunks_exact(count).enumerate().filter(|(own, row)| {
            let better = row.iter().filter(|score| **score > row[*own]).count();
            better < k
        });
        within.count() as f64 / count as f64
    };
    (share(scores.clone()) + share(scores.transpose())) / 2.0
}

/// The weights of the terms.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Weighted {
    /// Recording and text.
    pub alignment: f64,
    /// Both with what was decoded from the other.
    pub mixed: f64,
    /// The two views of a recording.
    pub views: f64,
    /// A recording and what was decoded from its text.
    pub decoded_ecg: f64,
    /// A text and what was decoded from its recording.
    pub decoded_text: f64,
}

impl Default for Weighted {
    fn default() -> Self {
        Weighted {
            alignment: 1.0,
            mixed: 1.0,
            views: 1.0,
            decoded_ecg: 1.0,
            decoded_text: 1.0,
        }
    }
}

impl Weighted {
    /// As the released program sums them up: without the decoded text.
    pub fn released() -> Self {
        Weighted {
            decoded_text: 0.0,
            ..Weighted::default()
        }
    }
}

/// The terms of the loss, each `[1]`.
#[derive(Clone, Debug)]
pub struct DeriLosses {
    /// Recording and text.
    pub alignment: Tensor<1>,
    /// Both with what was decoded from the other.
    pub mixed: Tensor<1>,
    /// The two views of a recording.
    pub views: Tensor<1>,
    /// A recording and what was decoded from its text.
    pub decoded_ecg: Tensor<1>,
    /// A text and what was decoded from its recording.
    pub decoded_text: Tensor<1>,
}

impl DeriLosses {
    /// The terms of a pass.
    pub fn of(pass: &Pass, temperature: f64, ctx: &Context) -> Self {
        let loss =
            |a: &Tensor<2>, b: &Tensor<2>| contrastive(a.clone(), b.clone(), temperature, ctx);
        DeriLosses {
            alignment: loss(&pass.ecg, &pass.text),
            mixed: loss(&pass.mixed_ecg, &pass.mixed_text),
            views: loss(&pass.views[0], &pass.views[1]),
            decoded_ecg: loss(&pass.own_ecg, &pass.decoded_ecg),
            decoded_text: loss(&pass.own_text, &pass.decoded_text),
        }
    }

    /// Their weighted sum.
    pub fn total(&self, weights: Weighted) -> Tensor<1> {
        let Weighted {
            alignment,
            mixed,
            views,
            decoded_ecg,
            decoded_text,
        } = weights;
        let mut sum = self.alignment.clone() * alignment
            + self.mixed.clone() * mixed
            + self.views.clone() * views;
        sum = sum + self.decoded_ecg.clone() * decoded_ecg;
        match decoded_text {
            0.0 => sum,
            weight => sum + self.decoded_text.clone() * weight,
        }
    }
}
