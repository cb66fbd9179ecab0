//! Telling patients apart by the angles of vectors.

use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData, activation};
use serde::{Deserialize, Serialize};

use crate::layers::Context;

/// Telling patients apart by angles (Deng et al., CVPR 2019).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Angles {
    /// Factor of the cosines.
    pub scale: f64,
    /// By how much the angle to the true patient is made larger in training.
    pub margin: f64,
}

impl Default for Angles {
    /// Those of the framework of D-BETA's program.
    fn default() -> Self {
        Angles {
            scale: 192.0,
            margin: 1.0,
        }
    }
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
        let changed = cosines.scatter(1, own.clone(), change, IndexingUpdateOp::Add);
        activation::log_softmax(changed * self.scale, 1)
            .gather(1, own)
            .neg()
            .mean()
    }
}

/// Rows divided by their length.
pub(crate) fn unit(x: Tensor<2>) -> Tensor<2> {
    let length = x.clone().square().sum_dim(1).sqrt();
    x / length.clamp_min(1e-12)
}
