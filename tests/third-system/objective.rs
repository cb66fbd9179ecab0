//! What its two stages minimise.

use burn::tensor::Tensor;
use burn::tensor::TensorData;
use purkinje::models::encoder::Encoder as _;
use purkinje::models::layers::{Context, Weights};
use purkinje::signal::signal_input::SignalInput;
use purkinje::train::losses::cross_entropy;
use purkinje::train::source::{Look, Source};
use purkinje::train::{EpochOrder, Losses, Objective, TrainError};

use super::network::{Batch, Network};

/// How sharply similarities are compared.
const SCALE: f64 = 5.0;

/// Reading off the level of every lead, alone or beside telling recordings apart.
pub struct Stage<'a> {
    pub network: Network,
    pub source: &'a dyn Source<Input = SignalInput>,
    pub order: EpochOrder,
    /// The second stage: two crops of a recording must be more alike than those of different recordings.
    pub contrast: bool,
}

impl Objective for Stage<'_> {
    /// One look at each recording, and another one.
    type Batch = [Batch; 2];

    fn name(&self) -> &str {
        match self.contrast {
            true => "contrast",
            false => "level",
        }
    }

    fn steps_per_epoch(&self) -> usize {
        self.order.steps()
    }

    fn batch_size(&self) -> usize {
        self.order.batch_size()
    }

    fn batch(&self, step: usize) -> Result<[Batch; 2], TrainError> {
        let records = self.order.records_of(step);
        let look = |look: Look| {
            let seen = records.iter().map(|&index| self.source.see(index, look));
            let seen: Vec<SignalInput> = seen.collect::<Result<_, TrainError>>()?;
            Ok::<_, TrainError>(self.network.batch(&seen)?)
        };
        Ok([look(Look::Step(2 * step))?, look(Look::Step(2 * step + 1))?])
    }

    fn losses(&self, weights: &Weights, [one, other]: &[Batch; 2], ctx: &Context) -> Losses {
        let network = self.network.with_weights(weights.clone());
        let pooled = network.pooled(one, ctx);
        let read = network.read_off(pooled.clone());
        let shape = read.dims();
        let level = Tensor::<2>::from_data(TensorData::new(one.levels(), shape), ctx.device());
        let level = (read - level).square().mean();
        if !self.contrast {
            return Losses::new("level", level);
        }
        let unit = |x: Tensor<2>| {
            let length = x.clone().square().sum_dim(1).sqrt() + 1e-6;
            x / length
        };
        let alike = unit(pooled).matmul(unit(network.pooled(other, ctx)).transpose());
        let own: Vec<usize> = (0..one.size).collect();
        let contrast = cross_entropy(alike * SCALE, &own, None);
        Losses::new("contrast", contrast).and("level", 0.5, level)
    }

    fn needs_whole_batch(&self) -> bool {
        self.contrast
    }

    fn dropout(&self) -> f32 {
        0.0
    }
}
