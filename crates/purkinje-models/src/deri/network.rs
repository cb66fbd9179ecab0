//! The forward passes.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::config::{DeriConfig, Feature};
use super::objective::DeriLosses;
use crate::batch::BatchError;
use crate::compat::Compat;
use crate::encoder::Encoder;
use crate::layers::vit1d::{drop_path, gated, norm, normed_attention};
use crate::layers::{
    Activation, AttentionWeights, BatchNorm, Context, Convolution, Projection, WeightError,
    Weights, attention, conv1d,
};
use crate::paired::{
    self, ECG, PairConfig as _, Paired, Part, Read, Signal, Signals, Terms, mean, project,
    project3, unit, unit3,
};
use crate::random::Stream;

/// A DERI network, or a part of one.
#[derive(Clone, Debug)]
pub struct Deri {
    config: DeriConfig,
    weights: Weights,
    still: bool,
}

/// Which tokens the two views of each recording keep, in the order in which the network sees them: `[batch, kept]` of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Views(pub [Vec<usize>; 2]);

impl Views {
    /// From noise `[batch, tokens]` of each view, in ascending order of which tokens are put: the first view keeps the first ones, the
    /// second the last ones. With `in_order` they stay in the order of time.
    pub fn from_noise(noise: [&[f32]; 2], tokens: usize, kept: usize, in_order: bool) -> Self {
        let view = |number: usize| {
            let rows = noise[number].chunks_exact(tokens.max(1));
            rows.flat_map(|row| {
                let mut order: Vec<usize> = (0..tokens).collect();
                order.sort_by(|&a, &b| row[a].total_cmp(&row[b]));
                let mut own = match number {
                    0 => order[..kept].to_vec(),
                    _ => order[tokens - kept..].to_vec(),
                };
                if in_order {
                    own.sort_unstable();
                }
                own
            })
            .collect()
        };
        Views([view(0), view(1)])
    }
}

/// What a pass over recordings and texts gives; vectors are `[batch, width]`.
#[derive(Clone, Debug)]
pub struct Pass {
    /// Of the two views.
    pub views: [Tensor<2>; 2],
    /// The mean of the aligned tokens of a recording.
    pub ecg: Tensor<2>,
    /// The same, with the decoded text.
    pub mixed_ecg: Tensor<2>,
    /// The projected text, of length 1.
    pub text: Tensor<2>,
    /// The same, with the decoded recording.
    pub mixed_text: Tensor<2>,
    /// The decoded recording.
    pub decoded_ecg: Tensor<2>,
    /// The decoded text, of the width of the encoder of texts.
    pub decoded_text: Tensor<2>,
    /// The mean of the tokens of a recording.
    pub own_ecg: Tensor<2>,
    /// The vector of a text, of the width of its encoder.
    pub own_text: Tensor<2>,
}

impl Deri {
    /// Tokens of recordings `[batch, tokens, width]` before any attention.
    pub fn tokens(&self, batch: &Signals, ctx: &Context) -> Tensor<3> {
        let (ecg, norm) = (&self.config.ecg, BatchNorm::default());
        let x = ecg.run(batch.tensor(ctx), &self.weights, ECG, norm, ctx);
        ctx.record("ecg_encoder", &x);
        let (w, b) = (
            self.weights.get("downconv.weight"),
            self.weights.get("downconv.bias"),
        );
        let x = conv1d(
            x,
            w,
            Some(b),
            Convolution::valid(3),
            Activation::Identity,
            ctx,
        );
        ctx.record("downconv", &x);
        x
    }

    /// Aligned tokens `[batch, tokens, width]`.
    pub fn aligned(&self, tokens: Tensor<3>, ctx: &Context) -> Tensor<3> {
        let found = self.framed_attention("att_pool_head", tokens, self.config.heads, ctx);
        ctx.record("att_pool_head", &found);
        found
    }

    /// The vector of recordings that zero-shot diagnosis and probes take `[batch, width]`; with `align` that of the aligned tokens alone.
    /// The released program divides tokens by their lengths in training only.
    pub fn feature(&self, batch: &Signals, align: bool, ctx: &Context) -> Tensor<2> {
        let aligned = self.tokens_to_compare(batch, ctx);
        let mean = mean(aligned.clone());
        match align {
            true => mean,
            false => mean + project(self.decoded_text(aligned, ctx), &self.weights, ctx),
        }
    }

    fn tokens_to_compare(&self, batch: &Signals, ctx: &Context) -> Tensor<3> {
        let aligned = self.aligned(self.tokens(batch, ctx), ctx);
        match self.config.compat {
            Compat::Paper => unit3(aligned),
            Compat::Released => aligned,
        }
    }

    /// What a report may be written from, for each token `[batch, tokens, width]`: the aligned tokens, with the mean of the projected
    /// decoded text added to all.
    fn mixed_tokens(&self, batch: &Signals, ctx: &Context) -> Tensor<3> {
        let aligned = self.tokens_to_compare(batch, ctx);
        let [batch, _, width] = aligned.dims();
        let separator = self.separator("decode_e.sep_embedding", [batch, width]);
        let framed = Tensor::cat(vec![aligned.clone(), separator], 1);
        let decoded = self.decode("decode_t", framed, None, ctx);
        let mixed = project3(decoded, &self.weights, ctx).mean_dim(1);
        aligned + mixed
    }

    /// A pass over recordings and what was read of their texts. `real` says which places of the texts are word pieces `[texts, length]`; where
    /// it is given, padding takes no part.
    pub fn pass(
        &self,
        batch: &Signals,
        read: &Read,
        real: Option<&[bool]>,
        views: &Views,
        ctx: &Context,
    ) -> Pass {
        let tokens = self.tokens(batch, ctx);
        let aligned = self.aligned(tokens.clone(), ctx);
        let views = [("linear1", &views.0[0]), ("linear2", &views.0[1])].map(|(name, kept)| {
            let seen = gather(tokens.clone(), kept, ctx);
            ctx.record(&format!("{name}.in"), &seen);
            let found = self.framed_attention(name, seen, self.config.masked_heads, ctx);
            ctx.record(name, &found);
            mean(found)
        });
        let aligned = unit3(aligned);
        let text = project(read.pooled.clone(), &self.weights, ctx);
        ctx.record("proj_t.text", &text);
        let text = unit(text);
        let pieces = project3(read.states.clone(), &self.weights, ctx);
        ctx.record("proj_t.pieces", &pieces);
        let decoded = self.decode("decode_e", pieces, real, ctx);
        let decoded_ecg = match real {
            None => mean(decoded),
            Some(real) => mean_of(decoded, real, ctx),
        };
        let decoded_text = self.decoded_text(aligned.clone(), ctx);
        let again = project(decoded_text.clone(), &self.weights, ctx);
        ctx.record("proj_t.decoded", &again);
        let ecg = mean(aligned);
        Pass {
            views,
            mixed_ecg: ecg.clone() + again,
            mixed_text: text.clone() + decoded_ecg.clone(),
            own_ecg: mean(tokens),
            own_text: read.pooled.clone(),
            ecg,
            text,
            decoded_ecg,
            decoded_text,
        }
    }

    /// The text decoded from aligned tokens, with the separator of the other decoder behind them if the network has it `[batch, text
    /// width]`.
    fn decoded_text(&self, aligned: Tensor<3>, ctx: &Context) -> Tensor<2> {
        let [batch, _, width] = aligned.dims();
        let tokens = match self.config.separator {
            false => aligned,
            true => {
                let separator = self.separator("decode_e.sep_embedding", [batch, width]);
                Tensor::cat(vec![aligned, separator], 1)
            }
        };
        mean(self.decode("decode_t", tokens, None, ctx))
    }

    fn separator(&self, name: &str, [batch, width]: [usize; 2]) -> Tensor<3> {
        self.weights
            .get::<1>(name)
            .reshape([1, 1, width])
            .expand([batch, 1, width])
    }

    /// Positions are added, and a separator put in front of the tokens and behind them.
    fn framed(&self, name: &str, positions: &str, tokens: Tensor<3>) -> Tensor<3> {
        let [batch, count, width] = tokens.dims();
        let places = self.weights.get::<3>(&format!("{name}.{positions}"));
        let at = |from, length| places.clone().narrow(1, from, length);
        let separator = self.separator(&format!("{name}.sep_embedding"), [batch, width]);
        let last = places.dims()[1] - 1;
        Tensor::cat(
            vec![
                separator.clone() + at(0, 1),
                tokens + at(1, count),
                separator + at(last, 1),
            ],
            1,
        )
    }

    /// Attention over tokens between separators; as many come out.
    fn framed_attention(
        &self,
        name: &str,
        tokens: Tensor<3>,
        heads: usize,
        ctx: &Context,
    ) -> Tensor<3> {
        let count = tokens.dims()[1];
        let x = self.framed(name, "positional_embedding", tokens);
        let part = |part: &str| format!("{name}.mhsa.{part}");
        let w = AttentionWeights {
            input: Projection::Packed(
                self.weights.get(&part("in_proj_weight")),
                self.weights.get(&part("in_proj_bias")),
            ),
            out_weight: self.weights.get(&part("out_proj.weight")),
            out_bias: self.weights.get(&part("out_proj.bias")),
        };
        let x = ctx.dropping(0.0, || attention(x, &w, None, heads, ctx));
        x.narrow(1, 1, count)
    }

    /// Tokens of one modality to those of the other.
    fn decode(
        &self,
        name: &str,
        tokens: Tensor<3>,
        real: Option<&[bool]>,
        ctx: &Context,
    ) -> Tensor<3> {
        let how = &self.config.decoder;
        let count = tokens.dims()[1];
        let weights = &self.weights;
        let x = gated(
            tokens,
            weights,
            &format!("{name}.to_patch"),
            how.dropout,
            ctx,
        );
        ctx.record(&format!("{name}.to_patch"), &x);
        let mut x = self.framed(name, "pos_embedding", x);
        let mask = real.map(|real| key_mask(real, count, ctx));
        for i in 0..how.depth {
            let (block, p) = (format!("{name}.block{i}"), how.drop_path_of(i));
            let heard = normed_attention(
                x.clone(),
                weights,
                &format!("{block}.attn"),
                mask.as_ref(),
                how.heads,
                ctx,
            );
            x = x + drop_path(heard, p, ctx);
            let z = norm(x.clone(), weights, &format!("{block}.ff.norm"), ctx);
            x = x + drop_path(
                gated(z, weights, &format!("{block}.ff.fn"), 0.0, ctx),
                p,
                ctx,
            );
            ctx.record(&block, &x);
        }
        let x = norm(x.narrow(1, 1, count), weights, &format!("{name}.norm"), ctx);
        ctx.record(&format!("{name}.norm"), &x);
        let x = gated(x, weights, &format!("{name}.head"), how.dropout, ctx);
        ctx.record(name, &x);
        x
    }
}

impl Encoder for Deri {
    type Input = Signal;
    type Batch = Signals;

    fn batch(&self, inputs: &[Signal]) -> Result<Signals, BatchError> {
        Signals::new(self.config.ecg.leads, self.config.samples, inputs)
    }

    fn vectors(&self, batch: &Signals, ctx: &Context) -> Tensor<3> {
        let evaluating = ctx.evaluating();
        let ctx = if self.still { &evaluating } else { ctx };
        let found = match (self.config.part, self.config.feature) {
            (Part::Encoder, _) => self.averages(batch, ctx),
            (_, feature) => self.feature(batch, feature == Feature::Align, ctx),
        };
        found.unsqueeze_dim(1)
    }

    fn width(&self) -> usize {
        match self.config.part {
            Part::Encoder => self.config.ecg.channels(),
            _ => self.config.width,
        }
    }

    fn weights(&self) -> &Weights {
        &self.weights
    }

    fn with_weights(&self, weights: Weights) -> Self {
        Deri {
            weights,
            ..self.clone()
        }
    }

    fn random_twin(&self, seed: u64, device: &Device) -> Self {
        Self::random(self.config.clone(), seed, device)
    }
}

impl Paired for Deri {
    type Config = DeriConfig;
    type Draws = Views;

    const TERMS: &'static [&'static str] =
        &["alignment", "mixed", "views", "decoded-ecg", "decoded-text"];
    const RELEASED_WITHOUT: &'static [&'static str] = &["decoded-text"];
    const READS_STATES: bool = true;

    fn with(config: DeriConfig, mut weights: Weights) -> Result<Self, WeightError> {
        weights.require(&config.entries())?;
        let state = config.state();
        weights.declare_state(state.iter().map(String::as_str))?;
        Ok(Deri {
            config,
            weights,
            still: false,
        })
    }

    fn random(config: DeriConfig, seed: u64, device: &Device) -> Self {
        let weights = paired::random_weights(&config, seed, device);
        // Every entry was just made.
        Deri {
            config,
            weights,
            still: false,
        }
    }

    fn config(&self) -> &DeriConfig {
        &self.config
    }

    fn still(self) -> Self {
        Deri {
            still: true,
            ..self
        }
    }

    fn without_dropout(&self) -> Self {
        let mut own = self.clone();
        (own.config.decoder.dropout, own.config.decoder.drop_path) = (0.0, 0.0);
        own.config.text = own.config.text.clone().without_dropout();
        own
    }

    fn averages(&self, batch: &Signals, ctx: &Context) -> Tensor<2> {
        let evaluating = ctx.evaluating();
        let ctx = if self.still { &evaluating } else { ctx };
        let (ecg, norm) = (&self.config.ecg, BatchNorm::default());
        mean(ecg.run(batch.tensor(ctx), &self.weights, ECG, norm, ctx))
    }

    fn token_stride(&self) -> usize {
        3 * self.config.ecg.stride()
    }

    fn token_vectors(&self, batch: &Signals, ctx: &Context) -> Option<Tensor<3>> {
        (self.config.part != Part::Encoder).then(|| match self.config.feature {
            Feature::Mix => self.mixed_tokens(batch, ctx),
            Feature::Align => self.tokens_to_compare(batch, ctx),
        })
    }

    fn draws(&self, records: usize, stream: &mut Stream) -> Views {
        let (tokens, kept) = (self.config.tokens(), self.config.kept());
        let noise = || -> Vec<f32> {
            let all = 0..records * tokens;
            all.map(|_| stream.uniform() as f32).collect()
        };
        let mut noise = noise;
        let (one, two) = (noise(), noise());
        let in_order = self.config.compat == Compat::Paper;
        Views::from_noise([&one, &two], tokens, kept, in_order)
    }

    fn terms(
        &self,
        batch: &Signals,
        read: &Read,
        real: &[bool],
        draws: &Views,
        ctx: &Context,
    ) -> Terms {
        // Padding takes part in the released program.
        let real = match self.config.compat {
            Compat::Paper => Some(real),
            Compat::Released => None,
        };
        let pass = self.pass(batch, read, real, draws, ctx);
        let losses = DeriLosses::of(&pass, self.config.temperature, ctx);
        Terms {
            losses: vec![
                losses.alignment,
                losses.mixed,
                losses.views,
                losses.decoded_ecg,
                losses.decoded_text,
            ],
            ecg: pass.ecg,
            text: pass.text,
        }
    }
}

/// The mean of those that are real.
fn mean_of(x: Tensor<3>, real: &[bool], ctx: &Context) -> Tensor<2> {
    let [batch, count, width] = x.dims();
    let kept: Vec<f32> = real.iter().map(|&real| f32::from(u8::from(real))).collect();
    let kept = Tensor::<3>::from_data(TensorData::new(kept, [batch, count, 1]), ctx.device());
    let of = kept.clone().sum_dim(1).clamp_min(1.0);
    ((x * kept).sum_dim(1) / of).reshape([batch, width])
}

/// 0 where a place between the separators may be attended to, minus infinity where it is padding: `[batch, count + 2, count + 2]`.
fn key_mask(real: &[bool], count: usize, ctx: &Context) -> Tensor<3> {
    let batch = real.len() / count.max(1);
    let all = count + 2;
    let mut values = vec![0.0f32; batch * all];
    for (row, real) in values
        .chunks_exact_mut(all)
        .zip(real.chunks_exact(count.max(1)))
    {
        for (value, real) in row[1..=count].iter_mut().zip(real) {
            *value = if *real { 0.0 } else { f32::NEG_INFINITY };
        }
    }
    let mask = Tensor::<3>::from_data(TensorData::new(values, [batch, 1, all]), ctx.device());
    mask.expand([batch, all, all])
}

/// Rows of `x` `[batch, tokens, width]` by their places `[batch, kept]`.
fn gather(x: Tensor<3>, places: &[usize], ctx: &Context) -> Tensor<3> {
    let [batch, tokens, width] = x.dims();
    let kept = places.len() / batch.max(1);
    let rows = places.iter().enumerate();
    let rows: Vec<i32> = rows
        .map(|(at, &place)| (at / kept.max(1) * tokens + place) as i32)
        .collect();
    let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [places.len()]), ctx.device());
    x.reshape([batch * tokens, width])
        .select(0, rows)
        .reshape([batch, kept, width])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deri::DeriLosses;
    use crate::text::TextIds;

    fn network(compat: Compat) -> Deri {
        let mut config = DeriConfig::size("tiny").unwrap();
        (config.compat, config.text_tokens) = (compat, 8);
        Deri::random(config, 3, &Device::flex())
    }

    fn signals(config: &DeriConfig, records: usize) -> Signals {
        let mut stream = Stream::new(1, "signals");
        let inputs: Vec<Signal> = (0..records)
            .map(|_| Signal {
                samples: (0..12 * config.samples)
                    .map(|_| stream.normal() as f32)
                    .collect(),
            })
            .collect();
        Signals::new(12, config.samples, &inputs).unwrap()
    }

    fn host<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.into_data().try_to_vec::<f32>().unwrap()
    }

    #[test]
    fn views_keep_the_order_of_time() {
        let noise = [0.5, 0.1, 0.9, 0.3];
        let Views([first, last]) = Views::from_noise([&noise, &noise], 4, 3, false);
        assert_eq!((first, last), (vec![1, 3, 0], vec![3, 0, 2]));
        let Views([first, last]) = Views::from_noise([&noise, &noise], 4, 3, true);
        assert_eq!((first, last), (vec![0, 1, 3], vec![0, 2, 3]));
    }

    #[test]
    fn tokens_are_divided_by_their_length_at_inference_too() {
        let ctx = Context::inference(&Device::flex());
        let longest = |compat| {
            let model = network(compat);
            let tokens = model.tokens_to_compare(&signals(model.config(), 2), &ctx);
            let length = tokens.square().sum_dim(2).sqrt();
            host(length)
                .into_iter()
                .map(|l| (l - 1.0).abs())
                .fold(0.0, f32::max)
        };
        assert!(longest(Compat::Paper) < 1e-5);
        assert!(longest(Compat::Released) > 0.01);
    }

    #[test]
    fn tokens_are_those_of_the_vector_of_a_recording() {
        let ctx = Context::inference(&Device::flex());
        let model = network(Compat::Paper);
        let batch = signals(model.config(), 2);
        let tokens = |feature| {
            let mut config = model.config().clone();
            config.feature = feature;
            let own = Deri::with(config, model.weights().clone()).unwrap();
            own.token_vectors(&batch, &ctx).unwrap()
        };
        let [mix, align] = [Feature::Mix, Feature::Align].map(tokens);
        // The decoded text is the same for all tokens of a recording.
        let added = mix - align;
        let spread = added.clone() - added.clone().mean_dim(1);
        assert!(host(spread).into_iter().all(|x| x.abs() < 1e-5));
        assert!(host(added).into_iter().any(|x| x.abs() > 1e-3));
    }

    #[test]
    fn padding_takes_no_part() {
        let ctx = Context::inference(&Device::flex());
        let texts = |length: usize| TextIds {
            ids: [[4, 9, 7], [4, 11, 12]]
                .iter()
                .flat_map(|own| own.iter().copied().chain([0; 5]).take(length))
                .collect(),
            real: (0..2).flat_map(|_| (0..length).map(|at| at < 3)).collect(),
            length,
        };
        let losses = |compat, length| {
            let model = network(compat);
            let (batch, texts) = (signals(model.config(), 2), texts(length));
            let read = model.read(&texts, &ctx);
            let draws = model.draws(2, &mut Stream::new(5, "draws"));
            let terms = model.terms(&batch, &read, &texts.real, &draws, &ctx);
            terms
                .losses
                .into_iter()
                .flat_map(host)
                .collect::<Vec<f32>>()
        };
        for (a, b) in losses(Compat::Paper, 3)
            .iter()
            .zip(losses(Compat::Paper, 8))
        {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
        let (short, long) = (losses(Compat::Released, 3), losses(Compat::Released, 8));
        assert!(
            short.iter().zip(&long).any(|(a, b)| (a - b).abs() > 2e-4),
            "{short:?} {long:?}"
        );
        assert!(long.iter().all(|loss| loss.is_finite()));
    }

    #[test]
    fn a_network_learns_all_that_its_losses_reach() {
        let model = network(Compat::Paper);
        let tracked = model.weights().tracked(|_| true);
        let model = model.with_weights(tracked.clone());
        let ctx = Context::training(&Device::flex().autodiff(), 0.0, 1);
        let texts = TextIds {
            ids: vec![4, 9, 1, 4, 11, 1, 4, 5, 1],
            real: vec![true; 9],
            length: 3,
        };
        let batch = signals(model.config(), 3);
        let read = model.read(&texts, &ctx);
        let draws = model.draws(3, &mut Stream::new(5, "draws"));
        let pass = model.pass(&batch, &read, Some(&texts.real), &draws, &ctx);
        let losses = DeriLosses::of(&pass, 0.07, &ctx);
        let total = losses.alignment + losses.mixed + losses.views + losses.decoded_ecg;
        let gradients = (total + losses.decoded_text).backward();
        for p in tracked.iter().filter(|p| !p.state) {
            assert!(p.value.grad(&gradients).is_some(), "{}", p.name);
        }
    }
}
