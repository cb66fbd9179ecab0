//! What is learned on the encoder of recordings: a linear layer for labels.

use burn::tensor::Tensor;

use super::{Dbeta, DbetaBatch};
use crate::layers::{Activation, Context, WeightError, Weights, linear};

/// Names of the linear layer.
pub const LINEAR: &str = "proj.";

/// What of a recording a head sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pool {
    /// Its vector.
    #[default]
    Feature,
    /// The mean of its tokens, counting entries that are not zero, without class token and projection.
    Mean,
}

impl Dbeta {
    /// What heads see `[batch, width]`.
    pub fn pooled(&self, batch: &DbetaBatch, pool: Pool, ctx: &Context) -> Tensor<2> {
        match pool {
            Pool::Feature => self.ecg_vectors(batch, ctx),
            Pool::Mean => mean_of_entries(self.token_states(batch, ctx)),
        }
    }

    /// Length of what heads see.
    pub fn pooled_width(&self, pool: Pool) -> usize {
        match pool {
            Pool::Feature => self.config().hidden,
            Pool::Mean => self.config().ecg.width,
        }
    }
}

/// The sum over tokens `[batch, tokens, width]`, divided channel by channel by the number of entries that are not exactly zero.
pub fn mean_of_entries(states: Tensor<3>) -> Tensor<2> {
    let [batch, _, width] = states.dims();
    let count = states.clone().not_equal_elem(0.0).float().sum_dim(1);
    (states.sum_dim(1) / count).reshape([batch, width])
}

/// A network with a linear layer.
#[derive(Clone, Debug)]
pub struct DbetaClassifier {
    encoder: Dbeta,
    pool: Pool,
}

impl DbetaClassifier {
    /// The parameters of the layer.
    pub fn parameters(width: usize, outputs: usize) -> Vec<(String, Vec<usize>)> {
        vec![
            (format!("{LINEAR}weight"), vec![outputs, width]),
            (format!("{LINEAR}bias"), vec![outputs]),
        ]
    }

    /// A network whose weights hold the layer.
    ///
    /// # Errors
    /// When they do not, or it has another shape.
    pub fn new(encoder: Dbeta, pool: Pool, outputs: usize) -> Result<Self, WeightError> {
        let width = encoder.pooled_width(pool);
        encoder
            .weights()
            .require(&Self::parameters(width, outputs))?;
        Ok(DbetaClassifier { encoder, pool })
    }

    /// The network.
    pub fn encoder(&self) -> &Dbeta {
        &self.encoder
    }

    /// The same with other weights of the same shapes.
    pub fn with_weights(&self, weights: Weights) -> Self {
        DbetaClassifier {
            encoder: self.encoder.with_weights(weights),
            pool: self.pool,
        }
    }

    /// Logits `[batch, outputs]`.
    pub fn logits(&self, batch: &DbetaBatch, ctx: &Context) -> Tensor<2> {
        let weights = self.encoder.weights();
        let w = weights.get(&format!("{LINEAR}weight"));
        let b = weights.get(&format!("{LINEAR}bias"));
        let pooled = self.encoder.pooled(batch, self.pool, ctx);
        linear(pooled, w, b, Activation::Identity, false, ctx)
    }
}
