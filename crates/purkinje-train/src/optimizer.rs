//! AdamW with the published parameter groups and global-norm clipping (specification 6.3).

use burn::tensor::{Gradients, Tensor};
use purkinje_models::layers::update::{self, AdamwStep};
use purkinje_models::layers::{Parameter, Weights};
use serde::{Deserialize, Serialize};

use crate::objective::Learning;

/// Constants of AdamW.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdamwConfig {
    /// Rate of the first moment.
    pub beta1: f64,
    /// Rate of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay of matrices, tables and tokens.
    pub weight_decay: f64,
    /// Gradients with a larger Euclidean norm, over all parameters, are scaled down to it; no clipping if absent.
    pub clip_norm: Option<f64>,
    /// Decay biases, norms and scalars too.
    #[serde(default)]
    pub decay_all: bool,
}

impl AdamwConfig {
    /// CLEAR pre-training (specification 6.1).
    pub fn pretrain() -> Self {
        AdamwConfig {
            beta1: 0.9,
            beta2: 0.98,
            eps: 1e-8,
            weight_decay: 0.05,
            clip_norm: Some(3.0),
            decay_all: false,
        }
    }

    /// Probing and fine-tuning (specification 6.2).
    pub fn finetune() -> Self {
        AdamwConfig {
            beta2: 0.999,
            clip_norm: None,
            ..Self::pretrain()
        }
    }

    /// HuBERT-ECG, all stages (HuBERT-ECG specification, section 11): everything is decayed, nothing clipped.
    pub fn hubert() -> Self {
        AdamwConfig {
            beta1: 0.9,
            beta2: 0.98,
            eps: 1e-9,
            weight_decay: 0.01,
            clip_norm: None,
            decay_all: true,
        }
    }
}

/// Whether a parameter is decayed: more than one dimension and no bias.
pub fn decays(parameter: &Parameter) -> bool {
    parameter.shape.len() > 1 && !parameter.name.ends_with(".bias")
}

/// AdamW over the parameters that train.
#[derive(Debug)]
pub struct Adamw {
    config: AdamwConfig,
    steps: u64,
    moments: Vec<Option<[Tensor<1>; 2]>>,
    /// How each parameter learns; nothing is known of those that never do.
    learning: Vec<Learning>,
    /// Gradients gathered since the last update.
    gathered: Vec<Option<Tensor<1>>>,
}

impl Adamw {
    /// An optimizer at step 0 for those parameters of `weights` that learn, as `learning` says of their names. State of
    /// the network is passed by.
    pub fn new(
        weights: &Weights,
        learning: impl Fn(&str) -> Option<Learning>,
        config: AdamwConfig,
    ) -> Self {
        let each = || {
            let learning = |p: &Parameter| learning(&p.name).filter(|_| !p.state);
            weights.iter().map(move |p| (learning(p), &p.value))
        };
        Adamw {
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
    pub fn config_mut(&mut self) -> &mut AdamwConfig {
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

    /// Updates `weights` with the gradients gathered since the last update; returns their norm as [`Adamw::step`].
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
            let step = AdamwStep {
                decay: (1.0 - lr * decay) as f32,
                beta1: c.beta1 as f32,
                beta2: c.beta2 as f32,
                step: (lr / (1.0 - c.beta1.powi(t))) as f32,
                second_scale: (1.0 / (1.0 - c.beta2.powi(t)).sqrt()) as f32,
                eps: c.eps as f32,
                clip: clip as f32,
            };
            update::adamw(&mut p.value, m, v, grad, step);
        }
        norm
    }
}
