//! The forward passes.

use burn::tensor::{Device, Int, Shape, Tensor, TensorData, activation};

use super::config::DeriConfig;
use crate::batch::BatchError;
use crate::layers::vit1d::{drop_path, gated, map, norm, normed_attention};
use crate::layers::{
    Activation, AttentionWeights, BatchNorm, Context, Convolution, Projection, WeightError,
    Weights, attention, conv1d, linear,
};
use crate::text::TextIds;

/// What the names of the parameters of the encoder of texts begin with.
pub const TEXT: &str = "lm_model.";
/// What those of the encoder of recordings begin with.
const ECG: &str = "ecg_encoder.";
/// The least length that vectors are divided by.
const SHORTEST: f64 = 1e-12;

/// A DERI network, or a part of one.
#[derive(Clone, Debug)]
pub struct Deri {
    config: DeriConfig,
    weights: Weights,
}

/// One recording.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeriInput {
    /// All leads one after the other.
    pub samples: Vec<f32>,
}

/// Several recordings.
#[derive(Clone, Debug)]
pub struct DeriBatch {
    /// Recordings.
    pub size: usize,
    /// `[size, leads, samples]`.
    pub values: Vec<f32>,
}

impl DeriBatch {
    /// A batch of recordings for a network of this configuration.
    ///
    /// # Errors
    /// When there is none, or one has another length or a sample that is not finite.
    pub fn new(config: &DeriConfig, inputs: &[DeriInput]) -> Result<Self, BatchError> {
        if inputs.is_empty() {
            return Err(BatchError::Empty);
        }
        let expected = config.ecg.leads * config.samples;
        for (position, input) in inputs.iter().enumerate() {
            let field = |problem| BatchError::Field {
                position,
                field: "samples",
                problem,
            };
            if input.samples.len() != expected {
                return Err(field(format!(
                    "has {} values; expected {} leads of {} samples",
                    input.samples.len(),
                    config.ecg.leads,
                    config.samples
                )));
            }
            if let Some(at) = input.samples.iter().position(|x| !x.is_finite()) {
                return Err(field(format!(
                    "is {} at {at}; repair the recording first",
                    input.samples[at]
                )));
            }
        }
        Ok(DeriBatch {
            size: inputs.len(),
            values: inputs
                .iter()
                .flat_map(|own| own.samples.iter().copied())
                .collect(),
        })
    }
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

/// The states of texts, and their vectors.
#[derive(Clone, Debug)]
pub struct Read {
    /// `[texts, length, text width]`.
    pub states: Tensor<3>,
    /// `[texts, text width]`: the first word piece through a dense layer and a hyperbolic tangent.
    pub pooled: Tensor<2>,
}

impl Deri {
    /// A network with the given weights, which may hold more or lack what pre-training or texts need.
    ///
    /// # Errors
    /// When an entry of the encoder of recordings is missing or has another shape.
    pub fn new(config: DeriConfig, mut weights: Weights) -> Result<Self, WeightError> {
        weights.require(&config.ecg_entries())?;
        let state = config.ecg.state(ECG);
        weights.declare_state(state.iter().map(String::as_str))?;
        Ok(Deri { config, weights })
    }

    /// The hyper-parameters.
    pub fn config(&self) -> &DeriConfig {
        &self.config
    }

    /// The parameters and the state.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The same network with other weights of the same shapes.
    pub fn with_weights(&self, weights: Weights) -> Self {
        Deri {
            config: self.config.clone(),
            weights,
        }
    }

    /// The same network without any dropout.
    pub fn without_dropout(&self) -> Self {
        let mut own = self.clone();
        (own.config.decoder.dropout, own.config.decoder.drop_path) = (0.0, 0.0);
        own.config.text = own.config.text.clone().without_dropout();
        own
    }

    /// Tokens of recordings `[batch, tokens, width]` before any attention.
    pub fn tokens(&self, batch: &DeriBatch, ctx: &Context) -> Tensor<3> {
        let c = &self.config;
        let shape = Shape::new([batch.size, c.ecg.leads, c.samples]);
        let values = TensorData::new(batch.values.clone(), shape);
        let x = Tensor::<3>::from_data(values, ctx.device()).swap_dims(1, 2);
        let x = c.ecg.run(x, &self.weights, ECG, BatchNorm::default(), ctx);
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
    pub fn vectors(&self, batch: &DeriBatch, align: bool, ctx: &Context) -> Tensor<2> {
        let mut aligned = self.aligned(self.tokens(batch, ctx), ctx);
        if self.config.compat == crate::compat::Compat::Paper {
            aligned = unit3(aligned);
        }
        let mean = mean(aligned.clone());
        match align {
            true => mean,
            false => mean + self.project(self.decoded_text(aligned, ctx), ctx),
        }
    }

    /// Reads texts.
    pub fn read(&self, texts: &TextIds, ctx: &Context) -> Read {
        let states = self
            .config
            .text
            .states(&self.weights, TEXT, texts, true, ctx);
        let [size, _, width] = states.dims();
        let first = states.clone().narrow(1, 0, 1).reshape([size, width]);
        let pooled = map(first, &self.weights, "lm_model.pooler.dense", ctx).tanh();
        Read { states, pooled }
    }

    /// The projected vectors of texts, of length 1 `[texts, width]`.
    pub fn text_vectors(&self, texts: &TextIds, ctx: &Context) -> Tensor<2> {
        unit(self.project(self.read(texts, ctx).pooled, ctx))
    }

    /// A pass over recordings and what was read of their texts. `real` says which places of the texts are word pieces `[texts, length]`; where
    /// it is given, padding takes no part.
    pub fn pass(
        &self,
        batch: &DeriBatch,
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
        let text = unit(self.project(read.pooled.clone(), ctx));
        let pieces = self.project3(read.states.clone(), ctx);
        let decoded = self.decode("decode_e", pieces, real, ctx);
        let decoded_ecg = match real {
            None => mean(decoded),
            Some(real) => mean_of(decoded, real, ctx),
        };
        let decoded_text = self.decoded_text(aligned.clone(), ctx);
        let ecg = mean(aligned);
        Pass {
            views,
            mixed_ecg: ecg.clone() + self.project(decoded_text.clone(), ctx),
            mixed_text: text.clone() + decoded_ecg.clone(),
            own_ecg: mean(tokens),
            own_text: read.pooled.clone(),
            ecg,
            text,
            decoded_ecg,
            decoded_text,
        }
    }

    /// The text decoded from aligned tokens, with the separator of the other decoder behind them `[batch, text width]`.
    fn decoded_text(&self, aligned: Tensor<3>, ctx: &Context) -> Tensor<2> {
        let [batch, _, width] = aligned.dims();
        let separator = self.separator("decode_e.sep_embedding", [batch, width]);
        let tokens = Tensor::cat(vec![aligned, separator], 1);
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

    /// Texts to the width of recordings.
    fn project(&self, x: Tensor<2>, ctx: &Context) -> Tensor<2> {
        let x = activation::gelu(map(x, &self.weights, "proj_t.0", ctx));
        map(x, &self.weights, "proj_t.2", ctx)
    }

    fn project3(&self, x: Tensor<3>, ctx: &Context) -> Tensor<3> {
        let (w, b) = (
            self.weights.get("proj_t.0.weight"),
            self.weights.get("proj_t.0.bias"),
        );
        let x = linear(x, w, b, Activation::Gelu, false, ctx);
        map(x, &self.weights, "proj_t.2", ctx)
    }

    /// Random weights.
    pub fn random(config: DeriConfig, seed: u64, device: &Device) -> Self {
        let weights = super::initial::weights(&config, seed, device);
        // Every entry was just made.
        Deri { config, weights }
    }
}

/// Rows divided by their length.
pub(super) fn unit(x: Tensor<2>) -> Tensor<2> {
    let length = x.clone().square().sum_dim(1).sqrt();
    x / length.clamp_min(SHORTEST)
}

fn unit3(x: Tensor<3>) -> Tensor<3> {
    let length = x.clone().square().sum_dim(2).sqrt();
    x / length.clamp_min(SHORTEST)
}

/// The mean of tokens.
fn mean(x: Tensor<3>) -> Tensor<2> {
    let [batch, _, width] = x.dims();
    x.mean_dim(1).reshape([batch, width])
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
