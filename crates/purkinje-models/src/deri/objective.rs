//! The losses of pre-training.

use burn::tensor::Tensor;

use super::network::Pass;
use crate::layers::Context;
use crate::paired::contrastive;

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
}
