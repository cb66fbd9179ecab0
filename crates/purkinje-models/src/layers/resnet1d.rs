//! A residual network over time (Kaiming He et al., Deep Residual Learning for Image Recognition, 2016), without pooling behind its stem.

use burn::tensor::{Device, Tensor, activation};
use serde::{Deserialize, Serialize};

use super::batch_norm::{BatchNorm, BatchNormWeights, conv1d_batch_norm};
use super::context::Context;
use super::conv::Convolution;
use super::cpu::Activation;
use super::init;
use super::weights::{WeightError, Weights};
use crate::random::Stream;

/// Width of the kernel of the stem.
const STEM: usize = 7;
/// Channels of a bottleneck's output for each inside.
const EXPANSION: usize = 4;

/// The hyper-parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResNetConfig {
    /// Leads.
    pub leads: usize,
    /// Width of each stage; the first is that of the stem too.
    pub widths: Vec<usize>,
    /// Blocks of each stage.
    pub blocks: Vec<usize>,
    /// Whether blocks have three convolutions, the middle one narrower, instead of two.
    pub bottleneck: bool,
}

impl Default for ResNetConfig {
    /// ResNet-18.
    fn default() -> Self {
        ResNetConfig {
            leads: 12,
            widths: vec![64, 128, 256, 512],
            blocks: vec![2, 2, 2, 2],
            bottleneck: false,
        }
    }
}

/// A block: the names and shapes of its convolutions `[outputs, inputs, kernel]`, that of the shortcut last if there is one.
struct Block {
    name: String,
    stride: usize,
    convolutions: Vec<[usize; 3]>,
    shortcut: Option<[usize; 3]>,
}

impl ResNetConfig {
    /// A network by its published name: `resnet18`, `resnet34`, `resnet50` or `resnet101`.
    pub fn named(name: &str) -> Option<Self> {
        let (blocks, bottleneck) = match name {
            "resnet18" => ([2, 2, 2, 2], false),
            "resnet34" => ([3, 4, 6, 3], false),
            "resnet50" => ([3, 4, 6, 3], true),
            "resnet101" => ([3, 4, 23, 3], true),
            _ => return None,
        };
        Some(ResNetConfig {
            blocks: blocks.to_vec(),
            bottleneck,
            ..ResNetConfig::default()
        })
    }

    /// Channels of its output.
    pub fn channels(&self) -> usize {
        let last = self.widths.last().copied().unwrap_or(self.leads);
        if self.bottleneck {
            EXPANSION * last
        } else {
            last
        }
    }

    /// Time steps of its output for so many samples: the stem and every stage but the first halve them, rounding up.
    pub fn output_length(&self, samples: usize) -> usize {
        (0..self.widths.len().max(1)).fold(samples, |length, _| length.div_ceil(2))
    }

    /// Samples from one output to the next.
    pub fn stride(&self) -> usize {
        1 << self.widths.len()
    }

    fn list(&self) -> Vec<Block> {
        let mut inputs = self.widths.first().copied().unwrap_or(self.leads);
        let mut all = Vec::new();
        for (stage, (&width, &blocks)) in self.widths.iter().zip(&self.blocks).enumerate() {
            for i in 0..blocks {
                let stride = if stage > 0 && i == 0 { 2 } else { 1 };
                let (convolutions, outputs) = match self.bottleneck {
                    true => {
                        let outputs = EXPANSION * width;
                        let three =
                            vec![[width, inputs, 1], [width, width, 3], [outputs, width, 1]];
                        (three, outputs)
                    }
                    false => (vec![[width, inputs, 3], [width, width, 3]], width),
                };
                let other = stride != 1 || inputs != outputs;
                all.push(Block {
                    name: format!("layer{}.{i}", stage + 1),
                    stride,
                    convolutions,
                    shortcut: other.then_some([outputs, inputs, 1]),
                });
                inputs = outputs;
            }
        }
        all
    }

    /// The convolutions with their normalisations: names of both, and the shape of the kernels.
    fn layers(&self) -> Vec<(String, String, [usize; 3])> {
        let first = self.widths.first().copied().unwrap_or(self.leads);
        let mut all = vec![(
            "conv1".to_owned(),
            "bn1".to_owned(),
            [first, self.leads, STEM],
        )];
        for block in self.list() {
            for (number, shape) in (1..).zip(block.convolutions) {
                let name = |part| format!("{}.{part}{number}", block.name);
                all.push((name("conv"), name("bn"), shape));
            }
            if let Some(shape) = block.shortcut {
                let name = |number| format!("{}.shortcut.{number}", block.name);
                all.push((name(0), name(1), shape));
            }
        }
        all
    }

    /// Every entry with its shape, parameters and state, in state-dict order, each name with `prefix` in front.
    pub fn entries(&self, prefix: &str) -> Vec<(String, Vec<usize>)> {
        let layers = self.layers().into_iter().flat_map(|(conv, norm, shape)| {
            let kernels = (format!("{prefix}{conv}.weight"), shape.to_vec());
            let norm = BatchNormWeights::entries(&format!("{prefix}{norm}"), shape[0]);
            std::iter::once(kernels).chain(norm)
        });
        layers.collect()
    }

    /// Names of the state, for [`Weights::declare_state`].
    pub fn state(&self, prefix: &str) -> Vec<String> {
        let layers = self.layers().into_iter();
        layers
            .flat_map(|(_, norm, _)| BatchNormWeights::state(&format!("{prefix}{norm}")))
            .collect()
    }

    /// Checks that weights have every entry, and declares the state among them.
    ///
    /// # Errors
    /// When an entry is missing or has another shape.
    pub fn require(&self, weights: &Weights, prefix: &str) -> Result<(), WeightError> {
        weights.require(&self.entries(prefix))
    }

    /// Adds random kernels, uniform within one over the root of their inputs, and untrained normalisations.
    pub fn insert(&self, weights: &mut Weights, prefix: &str, seed: u64, device: &Device) {
        for (conv, norm, shape) in self.layers() {
            let name = format!("{prefix}{conv}.weight");
            let bound = 1.0 / ((shape[1] * shape[2]) as f64).sqrt();
            let mut stream = Stream::new(seed, &name);
            let values = init::uniform(shape.iter().product(), bound, &mut stream);
            weights.insert(name, &shape, values, device);
            BatchNormWeights::insert(weights, &format!("{prefix}{norm}"), shape[0], device);
        }
    }

    /// The output `[batch, time, channels]` for `x` `[batch, samples, leads]`.
    pub fn run(
        &self,
        x: Tensor<3>,
        weights: &Weights,
        prefix: &str,
        how: BatchNorm,
        ctx: &Context,
    ) -> Tensor<3> {
        let conv = |x: Tensor<3>, names: [String; 2], stride: usize, act: Activation| {
            let [conv, norm] = names.map(|name| format!("{prefix}{name}"));
            let kernels = weights.get::<3>(&format!("{conv}.weight"));
            let around = kernels.dims()[2] / 2;
            let place = Convolution {
                stride,
                padding: [around, around],
            };
            let w = BatchNormWeights::of(weights, &norm);
            conv1d_batch_norm(x, kernels, None, place, &w, how, act, ctx)
        };
        let (relu, none) = (Activation::Relu, Activation::Identity);
        let mut x = conv(x, ["conv1", "bn1"].map(str::to_owned), 2, relu);
        ctx.record("stem", &x);
        let list = self.list();
        for (at, block) in list.iter().enumerate() {
            let last = block.convolutions.len();
            let mut y = x.clone();
            for number in 1..=last {
                let names = ["conv", "bn"].map(|part| format!("{}.{part}{number}", block.name));
                // The convolution of width 3 that comes first has the stride.
                let strided = if self.bottleneck { 2 } else { 1 };
                let stride = if number == strided { block.stride } else { 1 };
                y = conv(y, names, stride, if number == last { none } else { relu });
            }
            if block.shortcut.is_some() {
                let names = [0, 1].map(|number| format!("{}.shortcut.{number}", block.name));
                x = conv(x, names, block.stride, none);
            }
            x = activation::relu(y + x);
            let stage = |block: &Block| block.name.split('.').next().map(str::to_owned);
            let ends = list
                .get(at + 1)
                .is_none_or(|next| stage(next) != stage(block));
            if let Some(stage) = stage(block).filter(|_| ends) {
                ctx.record(&stage, &x);
            }
        }
        x
    }
}
