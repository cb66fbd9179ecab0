//! What is learned on the encoder of recordings: a linear layer for labels, angles for patients.

use burn::tensor::{Int, Tensor, TensorData, activation};

use super::{Dbeta, DbetaBatch};
use crate::layers::{Activation, Context, WeightError, Weights, linear};

/// Names of the linear layer.
pub const LINEAR: &str = "proj.";
/// One row for each patient.
pub const KERNEL: &str = "kernel";

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

/// Telling patients apart by angles (Deng et al., CVPR 2019).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Angles {
    /// Factor of the cosines.
    pub scale: f64,
    /// By how much the angle to the true patient is made larger in training.
    pub margin: f64,
}

impl Angles {
    /// Cosines `[batch, patients]` of pooled vectors with the row of each patient.
    pub fn cosines(pooled: Tensor<2>, kernel: Tensor<2>, ctx: &Context) -> Tensor<2> {
        ctx.matmul(unit(pooled), unit(kernel).transpose())
            .clamp(-1.0, 1.0)
    }

    /// The loss for the true patients. Where the larger angle would be more than half a turn, the cosine falls on in a straight line.
    pub fn loss(self, cosines: Tensor<2>, patients: &[usize], ctx: &Context) -> Tensor<1> {
        let own: Vec<i32> = patients.iter().map(|&patient| patient as i32).collect();
        let own = TensorData::new(own, [patients.len(), 1]);
        let own = Tensor::<2, Int>::from_data(own, ctx.device());
        let cosine = cosines.clone().gather(1, own.clone());
        let (sin, cos) = self.margin.sin_cos();
        let sine = (cosine.clone().square().neg() + 1.0).clamp_min(0.0).sqrt();
        let further = cosine.clone() * cos - sine * sin;
        let beyond = cosine
            .clone()
            .lower_equal_elem((std::f64::consts::PI - self.margin).cos());
        let straight = cosine.clone() - sin * self.margin;
        let further = further.mask_where(beyond, straight);
        let change = further - cosine;
        let changed = cosines.scatter(1, own.clone(), change, burn::tensor::IndexingUpdateOp::Add);
        activation::log_softmax(changed * self.scale, 1)
            .gather(1, own)
            .neg()
            .mean()
    }
}

/// Rows divided by their length.
pub(super) fn unit(x: Tensor<2>) -> Tensor<2> {
    let length = x.clone().square().sum_dim(1).sqrt();
    x / length.clamp_min(1e-12)
}
