//! The pre-training objective of CLEAR.

use burn::tensor::{Shape, Tensor, TensorData};

use super::config::TOKEN_SAMPLES;
use super::input::ClearBatch;
use super::masking::{self, Masking};
use super::network::Clear;
use crate::layers::Context;

/// Loss and predictions of one batch.
#[derive(Clone, Debug)]
pub struct Reconstruction {
    /// Mean squared error over the samples of the masked tokens `[1]`.
    pub loss: Tensor<1>,
    /// Prediction for every token `[batch, tokens, 96]`.
    pub predicted: Tensor<3>,
}

impl Clear {
    /// Reconstructs the masked tokens of a batch from the visible ones.
    pub fn reconstruct(
        &self,
        batch: &ClearBatch,
        masking: &Masking,
        ctx: &Context,
    ) -> Reconstruction {
        let encoded = self.encode(batch, masking, ctx);
        let predicted = self.decode(&encoded, batch, masking, ctx);
        let tokens = batch.token_count();
        let scored = masking::loss_mask(batch, masking, self.config());
        // A batch of empty recordings may have no tokens in the loss, which is then 0, not NaN.
        let count = scored.iter().sum::<f32>().max(1.0);
        let shape = Shape::new([batch.size, tokens, 1]);
        let weight = Tensor::<3>::from_data(TensorData::new(scored, shape), ctx.device());
        ctx.record("loss_mask", &weight);
        let shape = Shape::new([batch.size, tokens, TOKEN_SAMPLES]);
        let target = TensorData::new(batch.tokens.clone(), shape);
        let target = Tensor::<3>::from_data(target, ctx.device());
        let error = (predicted.clone() - target).square() * weight;
        Reconstruction {
            loss: error.sum() / (count * TOKEN_SAMPLES as f32),
            predicted,
        }
    }
}
