//! What the trainer knows about a system.

use burn::tensor::Tensor;
use purkinje_models::layers::{Context, Weights};

use crate::TrainError;

/// Something to minimise: a system's pre-training or a classifier's training.
///
/// Batches are assembled on the host, ahead of the step that uses them; every random choice in one must depend on the
/// objective's seed and the step alone.
pub trait Objective: Sync {
    /// What one step works on.
    type Batch: Send;

    /// Steps of one pass over the data.
    fn steps_per_epoch(&self) -> usize;

    /// Records of one step.
    fn batch_size(&self) -> usize;

    /// The batch of `step`, counted from 0 over all epochs.
    ///
    /// # Errors
    /// When a record cannot be read.
    fn batch(&self, step: usize) -> Result<Self::Batch, TrainError>;

    /// The loss of a batch under `weights`.
    fn loss(&self, weights: &Weights, batch: &Self::Batch, ctx: &Context) -> Tensor<1>;

    /// Whether the parameter of that name trains.
    fn trains(&self, _name: &str) -> bool {
        true
    }

    /// What the learning rate of a parameter is multiplied with.
    fn rate(&self, _name: &str) -> f64 {
        1.0
    }

    /// Dropout probability of a training pass.
    fn dropout(&self) -> f32;
}
