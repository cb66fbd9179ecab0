//! What the trainer knows about a system.

use purkinje_models::layers::{Context, Weights};

use crate::TrainError;
use crate::named_losses::Losses;

/// Something to minimise: a system's pre-training or a classifier's training.
///
/// Batches are assembled on the host, ahead of the step that uses them; every random choice in one must depend on the
/// objective's seed and the step alone.
pub trait Objective: Sync {
    /// What one step works on.
    type Batch: Send;

    /// What it is called in messages.
    fn name(&self) -> &str;

    /// Steps of one pass over the data.
    fn steps_per_epoch(&self) -> usize;

    /// Records of one step.
    fn batch_size(&self) -> usize;

    /// The batch of `step`, counted from 0 over all epochs.
    ///
    /// # Errors
    /// When a record cannot be read.
    fn batch(&self, step: usize) -> Result<Self::Batch, TrainError>;

    /// The losses of a batch under `weights`; what is minimised is their weighted sum. State that the pass hands back
    /// ([`Context::hand_back`]) is stored before the next batch, also where several batches make one update.
    fn losses(&self, weights: &Weights, batch: &Self::Batch, ctx: &Context) -> Losses;

    /// Whether a batch cannot be worked on in parts, because the loss compares its records with each other as
    /// contrastive losses do. [`train`](crate::train) then refuses to accumulate gradients.
    fn needs_whole_batch(&self) -> bool {
        false
    }

    /// How the parameter of that name learns, if it does.
    fn learning(&self, _name: &str) -> Option<Learning> {
        Some(Learning::default())
    }

    /// Dropout probability of a training pass, where the network does not set its own.
    fn dropout(&self) -> f32;

    /// The dropout probabilities that dynamic regularisation changes, as they are at the start. What they have become is
    /// in the [`Context`] of a pass ([`Context::regulated`]), in the same order.
    fn regulated(&self) -> Vec<f64> {
        Vec::new()
    }
}

/// How a parameter learns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Learning {
    /// What the learning rate of a step is multiplied with.
    pub rate: f64,
    /// The first update that changes it, counted from 0; it is frozen before.
    pub from: usize,
}

impl Default for Learning {
    fn default() -> Self {
        Learning { rate: 1.0, from: 0 }
    }
}
