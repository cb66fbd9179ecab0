//! A classifier: a linear layer on vectors of recordings.

use burn::tensor::Tensor;

use super::{Entries, PairConfig as _, Paired, Signals};
use crate::encoder::Classify;
use crate::layers::vit1d::map;
use crate::layers::{Context, WeightError, Weights};

/// Prefix of the names of its parameters.
pub const LINEAR: &str = "head.";

/// What a head sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// The vector of a recording.
    Vector,
    /// The mean over time of what the encoder of recordings gives.
    Average,
}

/// A network with a linear layer.
#[derive(Clone, Debug)]
pub struct PairClassifier<N> {
    encoder: N,
    pool: Pool,
}

impl<N: Paired> PairClassifier<N> {
    /// A network among whose weights are those of the head.
    ///
    /// # Errors
    /// When one of them is missing or has another shape.
    pub fn new(encoder: N, pool: Pool, outputs: usize) -> Result<Self, WeightError> {
        let width = match pool {
            Pool::Vector => encoder.width(),
            Pool::Average => encoder.config().encoder().channels(),
        };
        encoder
            .weights()
            .require(&Self::parameters(width, outputs))?;
        Ok(PairClassifier { encoder, pool })
    }

    /// The parameters of the head, with shapes.
    pub fn parameters(width: usize, outputs: usize) -> Entries {
        vec![
            (format!("{LINEAR}weight"), vec![outputs, width]),
            (format!("{LINEAR}bias"), vec![outputs]),
        ]
    }
}

impl<N: Paired> Classify for PairClassifier<N> {
    type Encoder = N;

    fn encoder(&self) -> &N {
        &self.encoder
    }

    fn logits(&self, batch: &Signals, ctx: &Context) -> Tensor<2> {
        let seen = match self.pool {
            Pool::Average => self.encoder.averages(batch, ctx),
            Pool::Vector => {
                let vectors = self.encoder.vectors(batch, ctx);
                let [size, _, width] = vectors.dims();
                vectors.reshape([size, width])
            }
        };
        map(seen, self.encoder.weights(), "head", ctx)
    }

    fn with_weights(&self, weights: Weights) -> Self {
        PairClassifier {
            encoder: self.encoder.with_weights(weights),
            pool: self.pool,
        }
    }

    fn dropout(&self) -> f32 {
        0.0
    }
}
