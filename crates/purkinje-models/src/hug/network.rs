//! Classifiers over the twelve CLS vectors: a linear layer on their mean, or the HUG hierarchy.

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::clear::{Clear, ClearBatch, LEADS, Masking};
use crate::layers::{Activation, Context, WeightError, Weights, init, linear};
use crate::random::Stream;

/// Positions, among the twelve standard leads, of the three lead groups: limb I-III, augmented aVR-aVF, chest V1-V6.
pub const GROUPS: [std::ops::Range<usize>; 3] = [0..3, 3..6, 6..LEADS];

/// Names of the seven group vectors, in their order.
pub const GROUP_NAMES: [&str; 7] = [
    "limb",
    "augmented",
    "chest",
    "limb+augmented",
    "augmented+chest",
    "limb+chest",
    "all",
];

/// Pairs of groups in the order of the second level.
const PAIRS: [[usize; 2]; 3] = [[0, 1], [1, 2], [0, 2]];

/// The head between the lead vectors and the classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Head {
    /// Mean of the lead vectors, one linear layer.
    Linear,
    /// Lead groups, pairs of groups, all leads; mean of the seven vectors; one linear layer.
    Hug,
}

impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Head::Linear => "linear",
            Head::Hug => "hug",
        })
    }
}

impl Head {
    /// Its parameters for encoder width `d` and `classes` classes, in state-dict order.
    pub fn parameters(self, d: usize, classes: usize) -> Vec<(String, Vec<usize>)> {
        let mut all = Vec::new();
        if self == Head::Hug {
            let experts = (0..3)
                .map(|i| format!("moe.level1_experts.{i}"))
                .chain((0..3).map(|i| format!("moe.level2_experts.{i}")))
                .chain(["moe.level3_expert".to_owned()]);
            for expert in experts {
                all.push((format!("{expert}.net.0.weight"), vec![d, d]));
                all.push((format!("{expert}.net.0.bias"), vec![d]));
            }
        }
        all.push(("mlp_head.weight".into(), vec![classes, d]));
        all.push(("mlp_head.bias".into(), vec![classes]));
        all
    }

    /// Adds randomly initialised parameters of this head to `weights`.
    pub fn initialise(
        self,
        weights: &mut Weights,
        d: usize,
        classes: usize,
        seed: u64,
        device: &Device,
    ) {
        let stream = Stream::new(seed, "initial head");
        let parameters = self.parameters(d, classes);
        for (i, (name, shape)) in parameters.iter().enumerate() {
            let bound = 1.0 / (init::fan_in(name, shape, &parameters) as f64).sqrt();
            let count = shape.iter().product();
            let data = init::uniform(count, bound, &mut stream.at(i as u64));
            weights.insert(name.as_str(), shape, data, device);
        }
    }

    /// Sets every expert to the identity (weight 1, bias 0), so that the pooled vector is the mean of the group means.
    pub fn pass_on(self, weights: &mut Weights, d: usize, device: &Device) {
        for (name, shape) in self.parameters(d, 1) {
            if name.starts_with("moe.") {
                let mut data = vec![0.0; shape.iter().product()];
                if shape.len() == 2 {
                    data.iter_mut().step_by(d + 1).for_each(|x| *x = 1.0);
                }
                weights.insert(name, &shape, data, device);
            }
        }
    }

    /// The group vectors of lead vectors `[batch, leads, d]`, for leads at the given standard positions: `[batch, 7, d]`
    /// for HUG with all groups, fewer where leads are absent; the mean `[batch, 1, d]` for the linear head.
    ///
    /// A group without a lead is left out, and so is a pair without a group.
    pub fn groups(
        self,
        cls: Tensor<3>,
        leads: &[usize],
        weights: &Weights,
        ctx: &Context,
    ) -> Tensor<3> {
        if self == Head::Linear {
            return cls.mean_dim(1);
        }
        let expert = |x: Tensor<3>, name: &str| {
            let w = weights.get(&format!("moe.{name}.net.0.weight"));
            let b = weights.get(&format!("moe.{name}.net.0.bias"));
            linear(x, w, b, Activation::Identity, false, ctx)
        };
        let level1: Vec<Option<Tensor<3>>> = GROUPS
            .iter()
            .enumerate()
            .map(|(g, members)| {
                let rows: Vec<Tensor<3>> = (0..leads.len())
                    .filter(|&row| members.contains(&leads[row]))
                    .map(|row| cls.clone().narrow(1, row, 1))
                    .collect();
                (!rows.is_empty()).then(|| {
                    let name = format!("level1_experts.{g}");
                    let out = expert(Tensor::cat(rows, 1), &name);
                    ctx.record(&format!("hug_level1_{g}_per_lead"), &out);
                    out.mean_dim(1)
                })
            })
            .collect();
        let level2: Vec<Tensor<3>> = PAIRS
            .iter()
            .enumerate()
            .filter_map(|(p, pair)| {
                let inputs: Vec<_> = pair.iter().filter_map(|&g| level1[g].clone()).collect();
                (!inputs.is_empty()).then(|| {
                    let name = format!("level2_experts.{p}");
                    let out = expert(Tensor::cat(inputs, 1), &name);
                    ctx.record(&format!("hug_level2_{p}_per_input"), &out);
                    out.mean_dim(1)
                })
            })
            .collect();
        let level3 = expert(Tensor::cat(level2.clone(), 1), "level3_expert");
        ctx.record("hug_level3_per_input", &level3);
        let all = level1
            .into_iter()
            .flatten()
            .chain(level2)
            .chain([level3.mean_dim(1)])
            .collect();
        let groups = Tensor::cat(all, 1);
        ctx.record("hug_groups", &groups);
        groups
    }

    /// Logits `[batch, classes]` of lead vectors `[batch, leads, d]`.
    pub fn logits(
        self,
        cls: Tensor<3>,
        leads: &[usize],
        weights: &Weights,
        ctx: &Context,
    ) -> Tensor<2> {
        let pooled = self.groups(cls, leads, weights, ctx).mean_dim(1);
        ctx.record("pooled", &pooled.clone().squeeze_dim::<2>(1));
        let w = weights.get("mlp_head.weight");
        let b = weights.get("mlp_head.bias");
        linear(pooled, w, b, Activation::Identity, false, ctx).squeeze_dim(1)
    }

    /// Decomposes the logits of each recording into a constant and one contribution of each lead: both heads are affine
    /// in the lead vectors, so the sum is the logit exactly (up to rounding).
    ///
    /// Returns `(bias [classes], contributions [batch, leads, classes])`.
    pub fn contributions(
        self,
        cls: Tensor<3>,
        leads: &[usize],
        weights: &Weights,
        ctx: &Context,
    ) -> (Tensor<1>, Tensor<3>) {
        let [batch, n, d] = cls.dims();
        let bias = self.logits(Tensor::zeros([1, n, d], ctx.device()), leads, weights, ctx);
        let alone: Vec<Tensor<3>> = (0..n)
            .map(|lead| {
                let only = Tensor::cat(
                    (0..n)
                        .map(|other| {
                            let row = cls.clone().narrow(1, other, 1);
                            if other == lead { row } else { row.zeros_like() }
                        })
                        .collect(),
                    1,
                );
                let part = self.logits(only, leads, weights, ctx) - bias.clone();
                part.unsqueeze_dim(1)
            })
            .collect();
        debug_assert_eq!(alone.len(), n);
        let parts = Tensor::cat(alone, 1);
        debug_assert_eq!(parts.dims()[0], batch);
        (bias.squeeze_dim(0), parts)
    }
}

/// A CLEAR encoder with a head.
#[derive(Clone, Debug)]
pub struct Classifier {
    encoder: Clear,
    head: Head,
}

impl Classifier {
    /// An encoder whose weights also hold those of the head.
    ///
    /// # Errors
    /// When a parameter of the head is missing or mis-shaped for `classes` classes.
    pub fn new(encoder: Clear, head: Head, classes: usize) -> Result<Self, WeightError> {
        let d = encoder.config().embed_dim;
        encoder.weights().require(&head.parameters(d, classes))?;
        Ok(Classifier { encoder, head })
    }

    /// The encoder, which holds the weights of both.
    pub fn encoder(&self) -> &Clear {
        &self.encoder
    }

    /// The encoder, to change its weights.
    pub fn encoder_mut(&mut self) -> &mut Clear {
        &mut self.encoder
    }

    /// The head.
    pub fn head(&self) -> Head {
        self.head
    }

    /// The same classifier with other weights of the same shapes.
    pub fn with_weights(&self, weights: Weights) -> Self {
        Classifier {
            encoder: self.encoder.with_weights(weights),
            head: self.head,
        }
    }

    /// Logits `[batch, classes]`.
    pub fn logits(&self, batch: &ClearBatch, masking: &Masking, ctx: &Context) -> Tensor<2> {
        let encoded = self.encoder.encode(batch, masking, ctx);
        self.head
            .logits(encoded.cls, &batch.leads, self.encoder.weights(), ctx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Distribution;

    fn head(head: Head, d: usize, classes: usize) -> Weights {
        let mut weights = Weights::default();
        head.initialise(&mut weights, d, classes, 1, &Device::flex());
        weights
    }

    #[test]
    fn contributions_add_up_to_the_logit_for_any_leads() {
        let device = Device::flex();
        let ctx = Context::inference(&device);
        for kind in [Head::Linear, Head::Hug] {
            let weights = head(kind, 16, 5);
            for leads in [
                vec![0],
                vec![0, 1],
                vec![0, 1, 7],
                (0..6).collect(),
                (0..12).collect(),
            ] {
                let shape = [3, leads.len(), 16];
                let cls = Tensor::random(shape, Distribution::Normal(0.0, 1.0), &device);
                let logits = kind.logits(cls.clone(), &leads, &weights, &ctx);
                let (bias, parts) = kind.contributions(cls, &leads, &weights, &ctx);
                let sum = parts.sum_dim(1).squeeze_dim::<2>(1) + bias.unsqueeze();
                let gap: f32 = (sum - logits).abs().max().into_scalar();
                assert!(gap < 1e-5, "{kind:?} {leads:?}: {gap}");
            }
        }
    }

    #[test]
    fn head_sizes_are_the_published_ones() {
        let count = |head: Head| -> usize {
            let all = head.parameters(768, 5);
            all.iter().map(|(_, s)| s.iter().product::<usize>()).sum()
        };
        assert_eq!(count(Head::Linear), 769 * 5);
        assert_eq!(count(Head::Hug), 4_134_144 + 769 * 5);
    }
}
