//! The forward passes of CLEAR.

use burn::tensor::{Device, Int, Shape, Tensor, TensorData};

use super::config::{BEATS, ClearConfig, LEADS, TOKEN_SAMPLES};
use super::input::ClearBatch;
use super::masking::{self, Masking};
use crate::layers::{
    Activation, AttentionWeights, BlockSettings, BlockWeights, Context, Projection, WeightError,
    Weights, attention_weights, init, layer_norm, linear, post_norm_block,
};
use crate::random::Stream;

const NORM_EPS: f32 = 1e-5;

/// A CLEAR encoder and, when its configuration has one, decoder.
#[derive(Clone, Debug)]
pub struct Clear {
    config: ClearConfig,
    weights: Weights,
}

/// The outputs of the encoder for a batch.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// One vector for each lead `[batch, leads, width]`.
    pub cls: Tensor<3>,
    /// One vector for each visible beat `[batch, kept, width]`, in the order of the masking.
    pub beats: Tensor<3>,
}

impl Clear {
    /// A model with the given weights, which may include more than this network needs (a head).
    ///
    /// # Errors
    /// When a parameter is missing or has another shape.
    pub fn new(config: ClearConfig, weights: Weights) -> Result<Self, WeightError> {
        weights.require(&config.parameters())?;
        Ok(Clear { config, weights })
    }

    /// A model with random weights.
    pub fn random(config: ClearConfig, seed: u64, device: &Device) -> Self {
        let mut weights = Weights::default();
        let stream = Stream::new(seed, "initial weights");
        let parameters = config.parameters();
        for (i, (name, shape)) in parameters.iter().enumerate() {
            let fan_in = init::fan_in(name, shape, &parameters);
            let data = initial(name, shape, fan_in, &mut stream.at(i as u64));
            weights.insert(name.as_str(), shape, data, device);
        }
        Clear { config, weights }
    }

    /// Its hyper-parameters.
    pub fn config(&self) -> &ClearConfig {
        &self.config
    }

    /// Its parameters.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Its parameters, to be changed in place.
    pub fn weights_mut(&mut self) -> &mut Weights {
        &mut self.weights
    }

    /// The same network with other weights of the same shapes (a copy that tracks gradients, for instance).
    pub fn with_weights(&self, weights: Weights) -> Clear {
        Clear {
            config: self.config.clone(),
            weights,
        }
    }

    /// Token, lead, time and position embeddings of the visible tokens `[batch, kept, width]`.
    pub fn embed(&self, batch: &ClearBatch, masking: &Masking, ctx: &Context) -> Tensor<3> {
        let w = &self.weights;
        let (d, kept) = (self.config.embed_dim, masking.kept());
        let samples = masking::neighbourhoods(batch, masking, self.config.token_context);
        let samples = data(samples, [batch.size, kept, 3 * TOKEN_SAMPLES], ctx);
        let kernel = w
            .get::<3>("token_embed.tokenConv.weight")
            .reshape([d, 3 * TOKEN_SAMPLES]);
        let none = Tensor::zeros([d], ctx.device());
        let tokens = linear(samples, kernel, none, Activation::Identity, false, ctx);
        ctx.record("token_embed", &tokens);

        let n = batch.token_count();
        let visible = |f: &dyn Fn(usize, usize) -> usize| {
            let rows = (0..batch.size)
                .flat_map(|b| masking.visible(b).iter().map(move |&t| f(b, t) as i32))
                .collect();
            indices(rows, ctx)
        };
        let rows = |name: &str, index: Tensor<1, Int>| w.get::<2>(name).select(0, index);
        let places = rows(
            "spa_embed.embed.weight",
            visible(&|b, t| usize::from(batch.lead_index[b * n + t])),
        ) + rows(
            "tem_embed.embed.weight",
            visible(&|b, t| usize::from(batch.time_index[b * n + t])),
        ) + self.positions(
            "pos_embed",
            visible(&|_, t| LEADS + batch.leads[t / BEATS] * BEATS + t % BEATS),
        );
        tokens + places.reshape([batch.size, kept, d])
    }

    /// The encoder on the visible tokens and one CLS token for each lead.
    pub fn encode(&self, batch: &ClearBatch, masking: &Masking, ctx: &Context) -> Encoded {
        let x = self.encoder_input(batch, masking, ctx);
        let mask = mask_tensor(masking::encoder_mask(batch, masking, &self.config), ctx);
        if let Some(mask) = &mask {
            ctx.record("encoder_attn_mask", mask);
        }
        let x = self.stack(
            x,
            "encoder",
            self.config.depth,
            self.config.heads,
            mask.as_ref(),
            ctx,
        );
        let x = self.norm(x, "norm_layer", ctx);
        ctx.record("encoder_output", &x);
        let leads = batch.leads.len();
        Encoded {
            cls: x.clone().narrow(1, 0, leads),
            beats: x.narrow(1, leads, masking.kept()),
        }
    }

    /// The attention of each CLS token in the last encoder layer to each beat of each lead, mean over heads:
    /// `[batch, leads, leads * 15]`, all tokens visible.
    pub fn lead_attention(&self, batch: &ClearBatch, ctx: &Context) -> Tensor<3> {
        let masking = Masking::all(batch.token_count());
        let mask = mask_tensor(masking::encoder_mask(batch, &masking, &self.config), ctx);
        let last = self.config.depth - 1;
        let x = self.encoder_input(batch, &masking, ctx);
        let x = self.stack(x, "encoder", last, self.config.heads, mask.as_ref(), ctx);
        let w = self.attention_weights(&format!("encoder_transformer.layers.{last}"));
        let leads = batch.leads.len();
        attention_weights(x, &w, mask.as_ref(), self.config.heads, ctx)
            .mean_dim(1)
            .squeeze_dim::<3>(1)
            .narrow(1, 0, leads)
            .narrow(2, leads, batch.token_count())
    }

    /// The decoder: a prediction for every token `[batch, tokens, 96]` (docs/differences.md, 5.7).
    pub fn decode(
        &self,
        encoded: &Encoded,
        batch: &ClearBatch,
        masking: &Masking,
        ctx: &Context,
    ) -> Tensor<3> {
        let w = &self.weights;
        let (dd, leads, tokens) = (
            self.config.decoder_embed_dim,
            batch.leads.len(),
            batch.token_count(),
        );
        let x = Tensor::cat(vec![encoded.cls.clone(), encoded.beats.clone()], 1);
        let x = self.linear(x, "decoder_embed", ctx);
        ctx.record("decoder_embed", &x);
        let cls = x.clone().narrow(1, 0, leads);
        let kept = masking.kept();
        let beats = x.narrow(1, leads, kept).reshape([batch.size * kept, dd]);
        let mask_token = w.get::<3>("mask_token").reshape([1, dd]);
        let table = Tensor::cat(vec![beats, mask_token], 0);
        let hidden = batch.size * kept;
        let places = (0..batch.size)
            .flat_map(|b| {
                let places = masking.places(b);
                places
                    .into_iter()
                    .map(move |place| place.map_or(hidden, |p| b * kept + p) as i32)
            })
            .collect();
        let beats = table
            .select(0, indices(places, ctx))
            .reshape([batch.size, tokens, dd]);
        let positions = batch.leads.iter().map(|&l| l as i32).chain(
            (0..tokens).map(|t| (LEADS + batch.leads[t / BEATS] * BEATS + t % BEATS) as i32),
        );
        let positions = self.positions("decoder_pos_embed", indices(positions.collect(), ctx));
        let x = Tensor::cat(vec![cls, beats], 1) + positions.unsqueeze_dim(0);
        ctx.record("decoder_input", &x);
        let mask = mask_tensor(
            Some(masking::decoder_mask(batch, masking, &self.config)),
            ctx,
        );
        if let Some(mask) = &mask {
            ctx.record("decoder_attn_mask", mask);
        }
        let x = self.stack(
            x,
            "decoder",
            self.config.decoder_depth,
            self.config.decoder_heads,
            mask.as_ref(),
            ctx,
        );
        let x = self.norm(x, "decoder_norm", ctx);
        ctx.record("decoder_norm", &x);
        self.linear(x.narrow(1, leads, tokens), "decoder_pred", ctx)
    }

    /// CLS tokens and visible tokens as they enter the first layer `[batch, leads + kept, width]`.
    fn encoder_input(&self, batch: &ClearBatch, masking: &Masking, ctx: &Context) -> Tensor<3> {
        let leads = || indices(batch.leads.iter().map(|&l| l as i32).collect(), ctx);
        let cls = self.weights.get::<2>("cls_token").select(0, leads())
            + self.positions("pos_embed", leads());
        let cls = cls.unsqueeze_dim::<3>(0).repeat_dim(0, batch.size);
        let kept = self.embed(batch, masking, ctx);
        ctx.record("kept_tokens", &kept);
        let x = Tensor::cat(vec![cls, kept], 1);
        ctx.record("encoder_input", &x);
        x
    }

    fn positions(&self, table: &str, rows: Tensor<1, Int>) -> Tensor<2> {
        self.weights
            .get::<3>(table)
            .squeeze_dim::<2>(0)
            .select(0, rows)
    }

    /// `depth` post-norm transformer layers.
    fn stack(
        &self,
        mut x: Tensor<3>,
        part: &str,
        depth: usize,
        heads: usize,
        mask: Option<&Tensor<3>>,
        ctx: &Context,
    ) -> Tensor<3> {
        for i in 0..depth {
            let layer = format!("{part}_transformer.layers.{i}");
            let w = self.block_weights(&layer);
            let settings = BlockSettings {
                heads,
                activation: Activation::Relu,
                eps: NORM_EPS,
                dropout: None,
            };
            x = post_norm_block(x, &w, mask, settings, &format!("{part}_layer_{i}"), ctx);
        }
        x
    }

    fn block_weights(&self, layer: &str) -> BlockWeights {
        let norm = |name: &str| {
            let w = &self.weights;
            (
                w.get(&format!("{layer}.{name}.weight")),
                w.get(&format!("{layer}.{name}.bias")),
            )
        };
        BlockWeights {
            attention: self.attention_weights(layer),
            norm1: norm("norm1"),
            up: self.pair(&format!("{layer}.ff.0")),
            down: self.pair(&format!("{layer}.ff.3")),
            norm2: norm("norm2"),
        }
    }

    fn attention_weights(&self, layer: &str) -> AttentionWeights {
        let w = &self.weights;
        AttentionWeights {
            input: Projection::Packed(
                w.get(&format!("{layer}.self_attn.in_proj_weight")),
                w.get(&format!("{layer}.self_attn.in_proj_bias")),
            ),
            out_weight: w.get(&format!("{layer}.self_attn.out_proj.weight")),
            out_bias: w.get(&format!("{layer}.self_attn.out_proj.bias")),
        }
    }

    fn pair(&self, name: &str) -> (Tensor<2>, Tensor<1>) {
        let w = &self.weights;
        (
            w.get(&format!("{name}.weight")),
            w.get(&format!("{name}.bias")),
        )
    }

    fn linear(&self, x: Tensor<3>, name: &str, ctx: &Context) -> Tensor<3> {
        let (w, b) = self.pair(name);
        linear(x, w, b, Activation::Identity, false, ctx)
    }

    fn norm(&self, x: Tensor<3>, name: &str, ctx: &Context) -> Tensor<3> {
        let gamma = self.weights.get(&format!("{name}.weight"));
        let beta = self.weights.get(&format!("{name}.bias"));
        layer_norm(x, gamma, beta, NORM_EPS, ctx)
    }
}

fn data<const D: usize>(values: Vec<f32>, shape: [usize; D], ctx: &Context) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, Shape::new(shape)), ctx.device())
}

fn indices(rows: Vec<i32>, ctx: &Context) -> Tensor<1, Int> {
    let count = rows.len();
    Tensor::from_data(TensorData::new(rows, [count]), ctx.device())
}

fn mask_tensor(mask: Option<(usize, Vec<f32>)>, ctx: &Context) -> Option<Tensor<3>> {
    mask.map(|(variants, values)| {
        let length = (values.len() / variants).isqrt();
        data(values, [variants, length, length], ctx)
    })
}

/// Initial values of one parameter; `fan_in` is that of its linear layer.
fn initial(name: &str, shape: &[usize], fan_in: usize, stream: &mut Stream) -> Vec<f32> {
    let count: usize = shape.iter().product();
    let is_norm = name.contains("norm");
    match name {
        "cls_token" | "mask_token" => init::normal(count, 0.02, stream),
        "token_embed.tokenConv.weight" => init::normal(count, (2.0 / fan_in as f64).sqrt(), stream),
        _ if name.ends_with("pos_embed") || name.contains("_embed.embed.") => {
            init::normal(count, 1.0, stream)
        }
        _ if is_norm && name.ends_with("weight") => vec![1.0; count],
        _ if is_norm || name.ends_with("in_proj_bias") || name.ends_with("out_proj.bias") => {
            vec![0.0; count]
        }
        _ if name.ends_with("in_proj_weight") => {
            init::uniform(count, (6.0 / (shape[0] + shape[1]) as f64).sqrt(), stream)
        }
        _ => init::uniform(count, 1.0 / (fan_in as f64).sqrt(), stream),
    }
}
