//! Batch normalisation of channels over sequences and time, and its folding into the convolution before it.

use burn::backend::Dispatch;
use burn::tensor::{Device, Tensor};

use super::batch_norm_kernels::BatchNormKernels;
use super::context::Context;
use super::conv::{Convolution, activate, conv1d};
use super::cpu::Activation;
use super::weights::Weights;

/// Constants of a batch normalisation, by default those of PyTorch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance.
    pub eps: f32,
    /// Fraction of the running statistics that one batch replaces.
    pub momentum: f64,
    /// Whether training also uses the running statistics and does not change them; gamma and beta may still be trained.
    pub frozen: bool,
}

impl Default for BatchNorm {
    fn default() -> Self {
        BatchNorm {
            eps: 1e-5,
            momentum: 0.1,
            frozen: false,
        }
    }
}

/// Names of the entries of one layer, in the order of PyTorch's state dict; the last three are state.
const ENTRIES: [&str; 5] = [
    "weight",
    "bias",
    "running_mean",
    "running_var",
    "num_batches_tracked",
];
/// Entries that are parameters.
const PARAMETERS: usize = 2;

/// Weights of one batch normalisation: parameters `<name>.weight` and `<name>.bias`, state `<name>.running_mean`,
/// `<name>.running_var` and `<name>.num_batches_tracked`.
#[derive(Clone, Debug)]
pub struct BatchNormWeights {
    name: String,
    /// Scale and shift of each channel.
    gamma: Tensor<1>,
    beta: Tensor<1>,
    mean: Tensor<1>,
    variance: Tensor<1>,
    batches: Tensor<1>,
}

impl BatchNormWeights {
    /// The weights of the layer `name`.
    ///
    /// # Panics
    /// When one is missing: networks check with [`Weights::require`] when they are built.
    pub fn of(weights: &Weights, name: &str) -> Self {
        let [gamma, beta, mean, variance, batches] =
            ENTRIES.map(|entry| weights.flat(&format!("{name}.{entry}")));
        BatchNormWeights {
            name: name.to_owned(),
            gamma,
            beta,
            mean,
            variance,
            batches,
        }
    }

    /// Names and shapes of all entries of the layer `name`, for [`Weights::require`].
    pub fn entries(name: &str, channels: usize) -> Vec<(String, Vec<usize>)> {
        let named = |entry: &str| {
            let shape = match entry {
                "num_batches_tracked" => vec![],
                _ => vec![channels],
            };
            (format!("{name}.{entry}"), shape)
        };
        ENTRIES.map(named).into()
    }

    /// Names of the state of the layer `name`, for [`Weights::declare_state`].
    pub fn state(name: &str) -> Vec<String> {
        let entries = &ENTRIES[PARAMETERS..];
        entries.iter().map(|e| format!("{name}.{e}")).collect()
    }

    /// Adds an untrained layer `name`: gamma and variance 1, the others 0.
    pub fn insert(weights: &mut Weights, name: &str, channels: usize, device: &Device) {
        for (i, (entry, shape)) in Self::entries(name, channels).into_iter().enumerate() {
            let value = f32::from(entry.ends_with(".weight") || entry.ends_with(".running_var"));
            let data = vec![value; shape.iter().product()];
            match i < PARAMETERS {
                true => weights.insert(entry, &shape, data, device),
                false => weights.insert_state(entry, &shape, data, device),
            }
        }
    }

    /// Current mean, variance and number of batches: those handed back in this pass, or the stored ones.
    fn running(&self, ctx: &Context) -> [Tensor<1>; 3] {
        let stored = [&self.mean, &self.variance, &self.batches];
        let mut names = Self::state(&self.name).into_iter();
        stored.map(|stored| {
            let latest = names.next().and_then(|name| ctx.latest(&name));
            latest.unwrap_or_else(|| stored.clone().inner())
        })
    }

    /// Hands back the running statistics after a batch of `count` values in each channel, with `statistics` `[2,
    /// channels]`: the variance becomes the unbiased one.
    fn hand_back(&self, statistics: Tensor<2>, count: usize, momentum: f64, ctx: &Context) {
        let [mean, variance, batches] = self.running(ctx);
        let own = |i: usize| statistics.clone().narrow(0, i, 1).flatten::<1>(0, 1);
        let unbiased = count as f64 / (count - 1) as f64;
        let mixed = |old: Tensor<1>, new: Tensor<1>, factor: f64| {
            old.mul_scalar(1.0 - momentum) + new.mul_scalar(momentum * factor)
        };
        let after = [
            mixed(mean, own(0), 1.0),
            mixed(variance, own(1), unbiased),
            batches + 1.0,
        ];
        for (name, value) in Self::state(&self.name).into_iter().zip(after) {
            ctx.hand_back(&name, value);
        }
    }

    /// A convolution and this normalisation with its running statistics as one convolution: kernels `[outputs, inputs /
    /// groups, kernel]` and bias `[outputs]`.
    pub fn fold(
        &self,
        kernels: Tensor<3>,
        bias: Option<Tensor<1>>,
        eps: f32,
    ) -> (Tensor<3>, Tensor<1>) {
        let outputs = kernels.dims()[0];
        let scale = self.gamma.clone() / (self.variance.clone() + eps).sqrt();
        let shift = match bias {
            Some(bias) => bias - self.mean.clone(),
            None => -self.mean.clone(),
        };
        let bias = self.beta.clone() + shift * scale.clone();
        (kernels * scale.reshape([outputs, 1, 1]), bias)
    }
}

/// `activation(batch_norm(x))`: each channel of `x` `[batch, length, channels]` (time before channels) minus its mean over
/// sequences and time, by the root of its biased variance, times gamma plus beta.
///
/// In training mean and variance are those of the batch, and the running statistics are handed back
/// ([`Context::hand_back`]); otherwise, and where the layer is frozen, they are the running ones. Sergey Ioffe and Christian
/// Szegedy, Batch Normalization, 2015, arXiv:1502.03167.
///
/// # Panics
/// In training with a single value in each channel, whose variance is undefined: networks check their input when a
/// batch is made.
pub fn batch_norm(
    x: Tensor<3>,
    w: &BatchNormWeights,
    how: BatchNorm,
    act: Activation,
    ctx: &Context,
) -> Tensor<3> {
    let [batch, length, channels] = x.dims();
    let of_batch = ctx.trains() && !how.frozen;
    let statistics = if of_batch {
        let count = batch * length;
        assert!(
            count > 1,
            "batch normalisation `{}` needs more than one value per channel in training",
            w.name
        );
        let statistics = batch_statistics(x.clone().inner(), ctx);
        w.hand_back(statistics.clone(), count, how.momentum, ctx);
        statistics
    } else {
        let [mean, variance, _] = w.running(ctx);
        Tensor::cat(vec![mean, variance], 0).reshape([2, channels])
    };
    let (gamma, beta) = (w.gamma.clone(), w.beta.clone());
    if ctx.fused() {
        return Tensor::from_dispatch(Dispatch::batch_norm(
            x.into_dispatch(),
            statistics.into_dispatch(),
            gamma.into_dispatch(),
            beta.into_dispatch(),
            how.eps,
            act,
            of_batch,
        ));
    }
    let (centred, variance) = if of_batch {
        let centred = x.clone() - x.mean_dim(1).mean_dim(0);
        let variance = centred.clone().square().mean_dim(1).mean_dim(0);
        (centred, variance)
    } else {
        let own = |i: usize| statistics.clone().narrow(0, i, 1).unsqueeze::<3>();
        (x - own(0), own(1))
    };
    let y = centred / (variance + how.eps).sqrt() * gamma.unsqueeze() + beta.unsqueeze();
    activate(y, act)
}

/// Mean and biased variance of each channel `[2, channels]`.
fn batch_statistics(x: Tensor<3>, ctx: &Context) -> Tensor<2> {
    if ctx.fused() {
        return Tensor::from_dispatch(Dispatch::batch_statistics(x.into_dispatch()));
    }
    let mean = x.clone().mean_dim(1).mean_dim(0);
    let variance = (x - mean.clone()).square().mean_dim(1).mean_dim(0);
    Tensor::cat(vec![mean, variance], 0).squeeze_dim(1)
}

/// `activation(batch_norm(convolution of x with kernels, plus bias))`, shapes as in [`conv1d`]. Wherever the running
/// statistics are used, the two are one convolution.
#[allow(clippy::too_many_arguments)]
pub fn conv1d_batch_norm(
    x: Tensor<3>,
    kernels: Tensor<3>,
    bias: Option<Tensor<1>>,
    conv: Convolution,
    w: &BatchNormWeights,
    how: BatchNorm,
    act: Activation,
    ctx: &Context,
) -> Tensor<3> {
    if ctx.trains() && !how.frozen {
        let x = conv1d(x, kernels, bias, conv, Activation::Identity, ctx);
        return batch_norm(x, w, how, act, ctx);
    }
    let (kernels, bias) = w.fold(kernels, bias, how.eps);
    conv1d(x, kernels, Some(bias), conv, act, ctx)
}

#[cfg(test)]
mod tests {
    use super::super::twins;
    use super::*;

    fn layer(gamma: &Tensor<1>, beta: &Tensor<1>) -> BatchNormWeights {
        let channels = gamma.dims()[0];
        let device = gamma.device();
        let ramp = |from: f32| -> Vec<f32> {
            let all = (0..channels).map(|c| from + c as f32 * 0.1);
            all.collect()
        };
        let tensor = |data: Vec<f32>| Tensor::<1>::from_floats(data.as_slice(), &device);
        BatchNormWeights {
            name: "bn".to_owned(),
            gamma: gamma.clone(),
            beta: beta.clone(),
            mean: tensor(ramp(-0.2)),
            variance: tensor(ramp(0.5)),
            batches: tensor(vec![7.0]),
        }
    }

    fn host<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.inner().into_data().try_to_vec::<f32>().unwrap()
    }

    #[test]
    fn fused_and_composed_agree_in_values_and_gradients() {
        for (batch, length, channels, act) in [
            (1, 5, 3, Activation::Identity),
            (3, 300, 20, Activation::Gelu),
            (4, 17, 33, Activation::Relu),
        ] {
            let shapes: [&[usize]; 3] = [&[batch, length, channels], &[channels], &[channels]];
            for (training, frozen) in [(true, false), (true, true), (false, false)] {
                twins::check_in(training, &shapes, move |p, ctx| {
                    let [x, g, b] = p else { unreachable!() };
                    let x = x.clone().reshape([batch, length, channels]);
                    let how = BatchNorm {
                        frozen,
                        ..BatchNorm::default()
                    };
                    batch_norm(x, &layer(g, b), how, act, ctx)
                });
            }
        }
    }

    #[test]
    fn a_training_pass_hands_back_the_running_statistics_and_no_other_does() {
        let device = Device::flex();
        let x = Tensor::<3>::from_floats(
            [[[1.0, 4.0], [3.0, 8.0]], [[2.0, 0.0], [6.0, 0.0]]],
            &device,
        );
        let one = Tensor::<1>::ones([2], &device);
        let w = layer(&one, &one.zeros_like());
        let frozen = BatchNorm {
            frozen: true,
            ..BatchNorm::default()
        };
        let run = |ctx: &Context, how| batch_norm(x.clone(), &w, how, Activation::Identity, ctx);
        for ctx in [
            Context::training(&device, 0.0, 0),
            Context::training(&device, 0.0, 0).composed(),
        ] {
            run(&ctx, frozen);
            assert!(ctx.take_handed_back().is_empty());
            // Means 3 and 3, unbiased variances 14/3 and 44/3.
            let expected = |n: i32| {
                let left = 0.9f32.powi(n);
                let mix = |old: f32, new: f32| old * left + new * (1.0 - left);
                [
                    vec![mix(-0.2, 3.0), mix(-0.1, 3.0)],
                    vec![mix(0.5, 14.0 / 3.0), mix(0.6, 44.0 / 3.0)],
                    vec![7.0 + n as f32],
                ]
            };
            // A layer that is met again goes on from what it handed back.
            for n in 1..=2 {
                run(&ctx, BatchNorm::default());
                let names = [
                    "bn.running_mean",
                    "bn.running_var",
                    "bn.num_batches_tracked",
                ];
                for (name, expected) in names.into_iter().zip(expected(n)) {
                    let found = host(ctx.latest(name).unwrap());
                    for (found, expected) in found.iter().zip(&expected) {
                        assert!(
                            (found - expected).abs() < 1e-5,
                            "{name}: {found} {expected}"
                        );
                    }
                }
            }
            assert_eq!(ctx.take_handed_back().len(), 3);
        }
        let ctx = Context::inference(&device);
        run(&ctx, BatchNorm::default());
        assert!(ctx.take_handed_back().is_empty());
    }

    #[test]
    fn a_fresh_layer_is_complete_and_knows_its_state() {
        let device = Device::flex();
        let mut weights = Weights::default();
        BatchNormWeights::insert(&mut weights, "bn", 3, &device);
        weights
            .require(&BatchNormWeights::entries("bn", 3))
            .unwrap();
        assert_eq!((weights.count(), weights.state_count()), (6, 7));
        let x = Tensor::<3>::ones([1, 2, 3], &device);
        let w = BatchNormWeights::of(&weights, "bn");
        let ctx = Context::inference(&device);
        let y = host(batch_norm(
            x,
            &w,
            BatchNorm::default(),
            Activation::Identity,
            &ctx,
        ));
        assert!(y.iter().all(|y| (y - 1.0).abs() < 1e-5), "{y:?}");
    }

    #[test]
    fn folded_into_a_convolution_it_is_the_same() {
        let device = Device::flex();
        device.seed(11);
        let uniform = burn::tensor::Distribution::Uniform(-1.0, 1.0);
        for (groups, with_bias, stride) in [(1, false, 2), (2, true, 1)] {
            let x = Tensor::<3>::random([2, 40, 6], uniform, &device);
            let kernels = Tensor::<3>::random([8, 6 / groups, 5], uniform, &device);
            let [gamma, beta, bias] = [0, 1, 2].map(|_| Tensor::<1>::random([8], uniform, &device));
            let w = layer(&gamma, &beta);
            let conv = Convolution {
                stride,
                padding: [2, 2],
            };
            let (how, act) = (BatchNorm::default(), Activation::Relu);
            let bias = with_bias.then_some(bias);
            let ctx = Context::inference(&device);
            let (k, b) = (kernels.clone(), bias.clone());
            let folded = host(conv1d_batch_norm(x.clone(), k, b, conv, &w, how, act, &ctx));
            let plain = conv1d(x, kernels, bias, conv, Activation::Identity, &ctx);
            let plain = host(batch_norm(plain, &w, how, act, &ctx));
            for (a, b) in folded.iter().zip(&plain) {
                assert!((a - b).abs() < 1e-5, "{a} {b}");
            }
        }
    }
}
