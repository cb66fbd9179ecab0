//! The forward pass of the encoder.

use burn::tensor::{Device, Shape, Tensor, TensorData};

use super::config::{HubertConfig, MASK, POSITION_DIRECTION, POSITION_SCALE};
use super::input::HubertBatch;
use super::masking::TokenMasking;
use crate::layers::{
    Activation, AttentionWeights, BlockDropout, BlockSettings, BlockWeights, Context, Convolution,
    Projection, WeightError, Weights, add_layer_norm, attention_weights, channel_norm, conv1d,
    dropout, init, kernel_norm, layer_norm, linear, post_norm_block, weight_norm,
};
use crate::random::Stream;

/// Epsilon of the norm of the first convolution and of the feature projection.
const FRONT_EPS: f32 = 1e-5;

/// A HuBERT-ECG encoder, with code-book heads where its weights hold them.
#[derive(Clone, Debug)]
pub struct Hubert {
    config: HubertConfig,
    weights: Weights,
}

/// The outputs of the encoder for a batch.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// One vector for each token `[batch, tokens, width]`, after the last layer.
    pub last: Tensor<3>,
    /// Which tokens are of real samples `[batch, tokens]`; `None` if all are.
    pub valid: Option<Vec<bool>>,
}

impl Hubert {
    /// An encoder with the given weights, which may hold more (code-book heads, a classifier).
    ///
    /// # Errors
    /// When a parameter of the encoder is missing or has another shape.
    pub fn new(config: HubertConfig, weights: Weights) -> Result<Self, WeightError> {
        weights.require(&config.encoder_parameters())?;
        Ok(Hubert { config, weights })
    }

    /// A pre-training model with random weights.
    pub fn random(config: HubertConfig, seed: u64, device: &Device) -> Self {
        let mut weights = Weights::default();
        let stream = Stream::new(seed, "initial weights");
        let parameters = config.parameters();
        for (i, (name, shape)) in parameters.iter().enumerate() {
            let fan_in = init::fan_in(name, shape, &parameters);
            let mut draw = stream.at(i as u64);
            let data = initial(&config, name, shape, fan_in, &mut draw);
            weights.insert(name.as_str(), shape, data, device);
        }
        let direction = weights.get::<3>(POSITION_DIRECTION);
        let scale = kernel_norm(direction).into_data().try_to_vec::<f32>();
        let width = config.num_conv_pos_embeddings;
        // Read back from the tensor just made: float32 of this length.
        let scale = scale.unwrap_or_else(|_| vec![1.0; width]);
        weights.insert(POSITION_SCALE, &[1, 1, width], scale, device);
        Hubert { config, weights }
    }

    /// The model of the next iteration: encoder and projections are kept; cluster embeddings of the new code books, and
    /// projections of additional books, are randomly initialised. The dropout of the layers becomes 0.1.
    pub fn next_iteration(&self, vocab_sizes: Vec<usize>, seed: u64, device: &Device) -> Self {
        let config = HubertConfig {
            vocab_sizes,
            hidden_dropout: HubertConfig::base().hidden_dropout,
            activation_dropout: HubertConfig::base().activation_dropout,
            ..self.config.clone()
        };
        let mut next = Hubert::random(config, seed, device);
        let names: Vec<String> = next.weights.iter().map(|p| p.name.clone()).collect();
        let kept = |name: &&String| !name.starts_with("label_embedding.");
        for name in names.iter().filter(kept) {
            if let Some(parameter) = self.weights.parameter(name) {
                next.weights.put(parameter.clone());
            }
        }
        next
    }

    /// Its hyper-parameters.
    pub fn config(&self) -> &HubertConfig {
        &self.config
    }

    /// Its hyper-parameters, to change those that are not sizes: dropout, masking, behaviour.
    pub fn config_mut(&mut self) -> &mut HubertConfig {
        &mut self.config
    }

    /// The dropout probabilities that dynamic regularisation changes: after the feature projection, in and
    /// before the layers, after the activation. That on attention weights never changes.
    pub fn regulated(&self) -> Vec<f64> {
        let c = &self.config;
        [c.feat_proj_dropout, c.hidden_dropout, c.activation_dropout]
            .map(f64::from)
            .to_vec()
    }

    /// The same network with these values in place of [`regulated`](Hubert::regulated); unchanged if they are not
    /// three.
    pub fn with_regulated(mut self, dropouts: &[f64]) -> Self {
        if let [projection, hidden, activation] = *dropouts {
            self.config.feat_proj_dropout = projection as f32;
            self.config.hidden_dropout = hidden as f32;
            self.config.activation_dropout = activation as f32;
        }
        self
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
    pub fn with_weights(&self, weights: Weights) -> Self {
        Hubert {
            config: self.config.clone(),
            weights,
        }
    }

    /// One vector for each token; masked tokens are replaced by the learned vector before the transformer.
    ///
    /// # Panics
    /// When tokens are masked and the weights lack the vector that replaces them.
    pub fn encode(
        &self,
        batch: &HubertBatch,
        masking: Option<&TokenMasking>,
        ctx: &Context,
    ) -> Encoded {
        self.run(batch, masking, self.config.num_hidden_layers, ctx, |_| {})
    }

    /// The states before the first layer and after each one: `layers + 1` times `[batch, tokens, width]`.
    ///
    /// # Panics
    /// As [`Hubert::encode`].
    pub fn hidden_states(
        &self,
        batch: &HubertBatch,
        masking: Option<&TokenMasking>,
        ctx: &Context,
    ) -> Vec<Tensor<3>> {
        let mut all = Vec::with_capacity(self.config.num_hidden_layers + 1);
        self.run(batch, masking, self.config.num_hidden_layers, ctx, |x| {
            all.push(x.clone());
        });
        all
    }

    /// The states after `layers` layers, without computing later layers, for clustering.
    pub fn states_of_layer(&self, batch: &HubertBatch, layers: usize, ctx: &Context) -> Tensor<3> {
        let layers = layers.min(self.config.num_hidden_layers);
        self.run(batch, None, layers, ctx, |_| {}).last
    }

    /// The attention weights of a layer (counted from 0): `[batch, heads, tokens, tokens]`.
    pub fn attention_of_layer(
        &self,
        batch: &HubertBatch,
        layer: usize,
        ctx: &Context,
    ) -> Tensor<4> {
        let below = self.run(batch, None, layer, ctx, |_| {});
        let mask = key_mask(below.valid.as_deref(), batch, ctx);
        let w = self.attention_weights(&format!("encoder.layers.{layer}"));
        let heads = self.config.num_attention_heads;
        attention_weights(below.last, &w, mask.as_ref(), heads, ctx)
    }

    fn run(
        &self,
        batch: &HubertBatch,
        masking: Option<&TokenMasking>,
        layers: usize,
        ctx: &Context,
        mut each: impl FnMut(&Tensor<3>),
    ) -> Encoded {
        let c = &self.config;
        let mut x = self.project(self.front_end(batch, ctx), ctx);
        if let Some(masking) = masking {
            x = self.replace_masked(x, masking, ctx);
        }
        let valid = batch.valid_tokens(c).filter(|valid| valid.contains(&false));
        if let Some(valid) = &valid {
            x = x * flags(valid, batch.size, ctx);
        }
        let positions = self.positions(x.clone(), ctx);
        ctx.record("pos_conv_embed", &positions);
        let (gamma, beta) = self.norm("encoder.layer_norm");
        let x = ctx.dropping(0.0, || {
            add_layer_norm(x, positions, gamma, beta, c.layer_norm_eps, ctx)
        });
        let mut x = ctx.dropping(c.hidden_dropout, || dropout(x, ctx));
        ctx.record("hidden_states.0", &x);
        each(&x);
        let mask = key_mask(valid.as_deref(), batch, ctx);
        let settings = BlockSettings {
            heads: c.num_attention_heads,
            activation: Activation::Gelu,
            eps: c.layer_norm_eps,
            dropout: Some(BlockDropout {
                attention: c.attention_dropout,
                hidden: c.hidden_dropout,
                activation: c.activation_dropout,
            }),
        };
        for i in 0..layers {
            if !ctx.skips(c.layerdrop) {
                let w = self.block_weights(&format!("encoder.layers.{i}"));
                let name = format!("hidden_states.{}", i + 1);
                x = post_norm_block(x, &w, mask.as_ref(), settings, &name, ctx);
            }
            each(&x);
        }
        Encoded { last: x, valid }
    }

    /// The convolutions: `[batch, tokens, channels]`.
    fn front_end(&self, batch: &HubertBatch, ctx: &Context) -> Tensor<3> {
        let c = &self.config;
        let shape = Shape::new([batch.size, batch.samples, 1]);
        let values = TensorData::new(batch.values.clone(), shape);
        let mut x = Tensor::<3>::from_data(values, ctx.device());
        for (i, &stride) in c.conv_stride.iter().enumerate() {
            let layer = format!("feature_extractor.conv_layers.{i}");
            let w = self.weights.get(&format!("{layer}.conv.weight"));
            let how = Convolution::valid(stride);
            if i == 0 {
                x = conv1d(x, w, None, how, Activation::Identity, ctx);
                ctx.record("conv_layers.0.conv_only", &x);
                let (gamma, beta) = self.norm(&format!("{layer}.layer_norm"));
                x = channel_norm(x, gamma, beta, FRONT_EPS, Activation::Gelu, ctx);
            } else {
                x = conv1d(x, w, None, how, Activation::Gelu, ctx);
            }
            ctx.record(&format!("conv_layers.{i}"), &x);
        }
        x
    }

    /// From channels to width: `[batch, tokens, width]`.
    fn project(&self, x: Tensor<3>, ctx: &Context) -> Tensor<3> {
        let (gamma, beta) = self.norm("feature_projection.layer_norm");
        let x = layer_norm(x, gamma, beta, self.config.layer_norm_eps, ctx);
        ctx.record("feature_projection.layer_norm", &x);
        let (w, b) = self.map("feature_projection.projection");
        let x = ctx.dropping(self.config.feat_proj_dropout, || {
            linear(x, w, b, Activation::Identity, true, ctx)
        });
        ctx.record("feature_projection", &x);
        x
    }

    /// Replaces masked tokens.
    fn replace_masked(&self, x: Tensor<3>, masking: &TokenMasking, ctx: &Context) -> Tensor<3> {
        let hidden = flags(masking.hidden(), masking.size(), ctx);
        let vector = self.weights.get::<1>(MASK).unsqueeze::<3>();
        let kept = hidden.clone().neg().add_scalar(1.0);
        x * kept + hidden * vector
    }

    /// The positional convolution: `[batch, tokens, width]`.
    fn positions(&self, x: Tensor<3>, ctx: &Context) -> Tensor<3> {
        let direction = self.weights.get::<3>(POSITION_DIRECTION);
        let scale = self.weights.get::<3>(POSITION_SCALE);
        let w = weight_norm(direction, scale, ctx);
        ctx.record("effective_pos_conv_weight", &w);
        let b = self.weights.get("encoder.pos_conv_embed.conv.bias");
        let kernel = self.config.num_conv_pos_embeddings;
        // The number of tokens stays the same: for an even kernel the last position is dropped.
        let how = Convolution {
            stride: 1,
            padding: [kernel / 2, (kernel - 1) / 2],
        };
        conv1d(x, w, Some(b), how, Activation::Gelu, ctx)
    }

    fn block_weights(&self, layer: &str) -> BlockWeights {
        BlockWeights {
            attention: self.attention_weights(layer),
            norm1: self.norm(&format!("{layer}.layer_norm")),
            up: self.map(&format!("{layer}.feed_forward.intermediate_dense")),
            down: self.map(&format!("{layer}.feed_forward.output_dense")),
            norm2: self.norm(&format!("{layer}.final_layer_norm")),
        }
    }

    fn attention_weights(&self, layer: &str) -> AttentionWeights {
        let (out_weight, out_bias) = self.map(&format!("{layer}.attention.out_proj"));
        let map = |part| self.map(&format!("{layer}.attention.{part}_proj"));
        AttentionWeights {
            input: Projection::Separate(["q", "k", "v"].map(map)),
            out_weight,
            out_bias,
        }
    }

    /// Weight and bias of a linear map.
    pub(super) fn map(&self, name: &str) -> (Tensor<2>, Tensor<1>) {
        let w = &self.weights;
        (
            w.get(&format!("{name}.weight")),
            w.get(&format!("{name}.bias")),
        )
    }

    fn norm(&self, name: &str) -> (Tensor<1>, Tensor<1>) {
        let w = &self.weights;
        (
            w.get(&format!("{name}.weight")),
            w.get(&format!("{name}.bias")),
        )
    }
}

/// 1 where a flag is set: `[batch, tokens, 1]`.
pub(super) fn flags(flags: &[bool], batch: usize, ctx: &Context) -> Tensor<3> {
    let values: Vec<f32> = flags.iter().map(|f| f32::from(u8::from(*f))).collect();
    let shape = Shape::new([batch, flags.len() / batch, 1]);
    Tensor::from_data(TensorData::new(values, shape), ctx.device())
}

/// Masks attention to tokens that are not valid: `[batch, tokens, tokens]`.
fn key_mask(valid: Option<&[bool]>, batch: &HubertBatch, ctx: &Context) -> Option<Tensor<3>> {
    let valid = valid?;
    let tokens = valid.len() / batch.size;
    let rows = valid.chunks_exact(tokens).flat_map(|valid| {
        let row = valid
            .iter()
            .map(|v| if *v { 0.0 } else { f32::NEG_INFINITY });
        let row: Vec<f32> = row.collect();
        row.repeat(tokens)
    });
    let shape = Shape::new([batch.size, tokens, tokens]);
    let mask = TensorData::new(rows.collect::<Vec<f32>>(), shape);
    Some(Tensor::from_data(mask, ctx.device()))
}

/// Initial values of one parameter; the scale of the positional kernel is set afterwards.
fn initial(
    config: &HubertConfig,
    name: &str,
    shape: &[usize],
    fan_in: usize,
    stream: &mut Stream,
) -> Vec<f32> {
    let count: usize = shape.iter().product();
    let is_bias = name.ends_with(".bias");
    match name {
        MASK => (0..count).map(|_| stream.uniform() as f32).collect(),
        POSITION_DIRECTION => init::uniform(count, 1.0 / (fan_in as f64).sqrt(), stream),
        _ if name.contains("layer_norm") => vec![if is_bias { 0.0 } else { 1.0 }; count],
        _ if name.starts_with("final_proj.") => {
            init::uniform(count, 1.0 / (fan_in as f64).sqrt(), stream)
        }
        _ if name.starts_with("label_embedding.") => init::normal(count, 1.0, stream),
        _ if is_bias => vec![0.0; count],
        _ if name.starts_with("feature_extractor.") => {
            init::normal(count, (2.0 / fan_in as f64).sqrt(), stream)
        }
        _ => init::normal(count, config.initializer_range, stream),
    }
}
