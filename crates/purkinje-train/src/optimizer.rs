//! Adam, its weight decay decoupled or L2, with the published parameter groups and global-norm clipping.

use burn::tensor::{Gradients, Tensor};
use purkinje_models::layers::update::{self, AdamStep};
use purkinje_models::layers::{Parameter, Weights};
use serde::{Deserialize, Serialize};

use crate::objective::Learning;

/// Constants of Adam, and which Adam it is. Without a word about the latter it is AdamW as PyTorch has it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Rate of the first moment.
    pub beta1: f64,
    /// Rate of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Where that is added.
    #[serde(default)]
    pub epsilon: Epsilon,
    /// Weight decay of matrices, tables and tokens.
    pub weight_decay: f64,
    /// How it enters.
    #[serde(default)]
    pub decay: WeightDecay,
    /// Gradients with a larger Euclidean norm, over all parameters, are scaled down to it; no clipping if absent.
    pub clip_norm: Option<f64>,
    /// Decay biases, norms and scalars too.
    #[serde(default)]
    pub decay_all: bool,
}

/// How weight decay enters an update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightDecay {
    /// The parameter shrinks by learning rate times decay before the update: AdamW.
    #[default]
    Decoupled,
    /// The parameter times the decay is added to its gradient, after clipping: Adam.
    L2,
}

/// Where epsilon enters an update: v is the second moment, t the number of the update, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Epsilon {
    /// `sqrt(v / (1 - beta2^t)) + eps`: PyTorch.
    #[default]
    AfterCorrection,
    /// `(sqrt(v) + eps) / sqrt(1 - beta2^t)`: D-BETA's framework.
    BeforeCorrection,
}

impl OptimizerConfig {
    /// CLEAR pre-training.
    pub fn pretrain() -> Self {
        OptimizerConfig {
            beta1: 0.9,
            beta2: 0.98,
            eps: 1e-8,
            weight_decay: 0.05,
            clip_norm: Some(3.0),
            decay_all: false,
            epsilon: Epsilon::AfterCorrection,
            decay: WeightDecay::Decoupled,
        }
    }

    /// Probing and fine-tuning.
    pub fn finetune() -> Self {
        OptimizerConfig {
            beta2: 0.999,
            clip_norm: None,
            ..Self::pretrain()
        }
    }

    /// HuBERT-ECG, all stages: everything is decayed, nothing clipped.
    pub fn hubert() -> Self {
        OptimizerConfig {
            beta1: 0.9,
            beta2: 0.98,
            eps: 1e-9,
            weight_decay: 0.01,
            clip_norm: None,
            decay_all: true,
            ..Self::pretrain()
        }
    }

    /// D-BETA's pre-training.
    pub fn d_beta() -> Self {
        OptimizerConfig {
            eps: 1e-6,
            epsilon: Epsilon::BeforeCorrection,
            ..Self::hubert()
        }
    }

    /// DERI and MERL, and what writes reports from their vectors.
    pub fn deri() -> Self {
        OptimizerConfig {
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 1e-8,
            ..Self::hubert()
        }
    }
}

impl OptimizerConfig {
    /// The constants of update `t`, from 1.
    fn step(&self, lr: f64, weight_decay: f64, clip: f64, t: i32) -> AdamStep {
        let (decay, l2) = match self.decay {
            WeightDecay::Decoupled => (1.0 - lr * weight_decay, 0.0),
            WeightDecay::L2 => (1.0, weight_decay),
        };
        let step = lr / (1.0 - self.beta1.powi(t));
        let correction = (1.0 - self.beta2.powi(t)).sqrt();
        let (step, second_scale) = match self.epsilon {
            Epsilon::AfterCorrection => (step, 1.0 / correction),
            Epsilon::BeforeCorrection => (step * correction, 1.0),
        };
        AdamStep {
            decay: decay as f32,
            l2: l2 as f32,
            beta1: self.beta1 as f32,
            beta2: self.beta2 as f32,
            step: step as f32,
            second_scale: second_scale as f32,
            eps: self.eps as f32,
            clip: clip as f32,
        }
    }
}

/// Whether a parameter is decayed: more than one dimension and no bias.
pub fn decays(parameter: &Parameter) -> bool {
    parameter.shape.len() > 1 && !parameter.name.ends_with(".bias")
}

/// Adam over the parameters that train.
#[derive(Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    steps: u64,
    moments: Vec<Option<[Tensor<1>; 2]>>,
    /// How each parameter learns; nothing is known of those that never do.
    learning: Vec<Learning>,
    /// Gradients gathered since the last update.
    gathered: Vec<Option<Tensor<1>>>,
}

impl Optimizer {
    /// An optimizer at step 0 for those parameters of `weights` that learn, as `learning` says of their names. State of
    /// the network is passed by.
    pub fn new(
        weights: &Weights,
        learning: impl Fn(&str) -> Option<Learning>,
        config: OptimizerConfig,
    ) -> Self {
        let each = || {
            let learning = |p: &Parameter| learning(&p.name).filter(|_| !p.state);
            weights.iter().map(move |p| (learning(p), &p.value))
        };
        Optimizer {
            config,
            steps: 0,
            moments: each()
                .map(|(own, value)| own.map(|_| [value.zeros_like(), value.zeros_like()]))
                .collect(),
            learning: each().map(|(own, _)| own.unwrap_or_default()).collect(),
            gathered: Vec::new(),
        }
    }

    /// The constants, to change the weight decay of a running optimizer.
    pub fn config_mut(&mut self) -> &mut OptimizerConfig {
        &mut self.config
    }

    /// How many updates were made.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// First and second moment of every parameter that trains, `None` for the others and for state, in state-dict order.
    pub fn moments(&self) -> &[Option<[Tensor<1>; 2]>] {
        &self.moments
    }

    /// Continues from stored moments, one entry for each entry of the weights.
    pub fn restore(&mut self, steps: u64, moments: Vec<Option<[Tensor<1>; 2]>>) {
        self.steps = steps;
        self.moments = moments;
    }

    /// Adds the gradients of a `tracked` copy of the weights to those of the next update: for steps whose batch is
    /// worked on in parts.
    pub fn gather(&mut self, tracked: &Weights, mut gradients: Gradients) {
        let found = tracked.iter().map(|p| p.value.grad_remove(&mut gradients));
        if self.gathered.is_empty() {
            self.gathered = found.collect();
            return;
        }
        for (sum, more) in self.gathered.iter_mut().zip(found) {
            *sum = match (sum.take(), more) {
                (Some(sum), Some(more)) => Some(sum + more),
                (one, other) => one.or(other),
            };
        }
    }

    /// Updates `weights` with the gradients of their `tracked` copy at learning rate `lr`; returns the norm of the
    /// gradients before clipping. A norm that is not finite changes nothing.
    pub fn step(
        &mut self,
        weights: &mut Weights,
        tracked: &Weights,
        gradients: Gradients,
        lr: f64,
    ) -> f64 {
        self.gather(tracked, gradients);
        self.update(weights, lr)
    }

    /// Updates `weights` with the gradients gathered since the last update; returns their norm as [`Optimizer::step`].
    pub fn update(&mut self, weights: &mut Weights, lr: f64) -> f64 {
        let grads = std::mem::take(&mut self.gathered);
        let squares: f64 = grads.iter().flatten().map(update::sum_squares).sum();
        let norm = squares.sqrt();
        if !norm.is_finite() {
            return norm;
        }
        let c = self.config;
        let clip = c
            .clip_norm
            .map_or(1.0, |limit| (limit / (norm + 1e-6)).min(1.0));
        self.steps += 1;
        let states = self.moments.iter_mut().zip(&self.learning);
        for ((p, grad), (moments, learning)) in weights.iter_mut().zip(grads).zip(states) {
            let (Some(grad), Some([m, v])) = (grad, moments) else {
                continue;
            };
            // Moments of a parameter that was frozen begin when it is released, and so does their correction.
            let t = self.steps.saturating_sub(learning.from as u64).max(1) as i32;
            let lr = lr * learning.rate;
            let decay = match c.decay_all || decays(p) {
                true => c.weight_decay,
                false => 0.0,
            };
            let step = c.step(lr, decay, clip, t);
            update::adam(&mut p.value, m, v, grad, step);
        }
        norm
    }
}
