//! The forward passes.

use burn::tensor::{Device, Int, Shape, Tensor, TensorData};

use super::config::{BIAS, DbetaConfig, LEADS, POSITION_TABLE, POSITIONS, Part, SCALE};
use super::input::{DbetaBatch, Dropping};
use crate::angles::unit;
use crate::layers::{
    Activation, AttentionWeights, BlockDropout, BlockSettings, BlockWeights, Context, Convolution,
    Projection, WeightError, Weights, channel_norm, conv1d, dropout, init, kernel_norm, layer_norm,
    linear, post_norm_block, pre_norm_block, quick_gelu, weight_norm,
};
use crate::random::Stream;
use crate::text::{BertLayer, TextIds};

/// Epsilon of the norms of the encoder of recordings and of the decoder of signals.
const EPS: f32 = 1e-5;
/// Epsilon of the norms that read recording and text together, and of the head of words.
const FUSION_EPS: f32 = 1e-12;
const POSITION: &str = "ecg_encoder.conv_pos.pos_conv.0";
/// What the names of the parameters of the encoder of texts begin with.
pub const TEXT: &str = "language_encoder.";

/// A D-BETA network, or a part of one.
#[derive(Clone, Debug)]
pub struct Dbeta {
    config: DbetaConfig,
    weights: Weights,
}

/// Recording and text after the layers that read them together.
#[derive(Clone, Debug)]
pub struct Fused {
    /// Word pieces `[batch, length, hidden]`.
    pub text: Tensor<3>,
    /// Class and tokens `[batch, 1 + tokens, hidden]`.
    pub ecg: Tensor<3>,
    /// Class and tokens as the decoder of signals reads them.
    pub for_signal: Tensor<3>,
}

/// The outputs of a pass in which tokens may be hidden.
#[derive(Clone, Debug)]
pub struct Masked {
    /// Vectors of the recordings `[batch, hidden]`.
    pub ecg_vectors: Tensor<2>,
    /// Vectors of the texts `[batch, hidden]`.
    pub text_vectors: Tensor<2>,
    /// After the layers that read both.
    pub fused: Fused,
}

impl Dbeta {
    /// A network with the given weights, which may hold more (a classifier).
    ///
    /// # Errors
    /// When a parameter of its parts is missing or has another shape.
    pub fn new(config: DbetaConfig, mut weights: Weights) -> Result<Self, WeightError> {
        weights.require(&config.parameters())?;
        if weights.parameter(POSITION_TABLE).is_some() {
            weights.declare_state([POSITION_TABLE])?;
        }
        Ok(Dbeta { config, weights })
    }

    /// A network with random weights.
    pub fn random(config: DbetaConfig, seed: u64, device: &Device) -> Self {
        let mut weights = Weights::default();
        let stream = Stream::new(seed, "initial weights");
        let parameters = config.parameters();
        for (i, (name, shape)) in parameters.iter().enumerate() {
            let mut draw = stream.at(i as u64);
            if name == POSITION_TABLE {
                let table = positions(config.decoder_width);
                weights.insert_state(name.as_str(), shape, table, device);
                continue;
            }
            let fan_in = init::fan_in(name, shape, &parameters);
            let data = initial(&config, name, shape, fan_in, &mut draw);
            weights.insert(name.as_str(), shape, data, device);
        }
        if config.part != Part::Text {
            let direction = weights.get::<3>(&format!("{POSITION}.weight_v"));
            let scale = kernel_norm(direction).into_data().try_to_vec::<f32>();
            let width = config.ecg.position_kernel;
            // Read back from the tensor just made: float32 of this length.
            let scale = scale.unwrap_or_else(|_| vec![1.0; width]);
            weights.insert(
                format!("{POSITION}.weight_g"),
                &[1, 1, width],
                scale,
                device,
            );
        }
        Dbeta { config, weights }
    }

    /// Its hyper-parameters.
    pub fn config(&self) -> &DbetaConfig {
        &self.config
    }

    /// Its parameters.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The parameters, to be changed.
    pub fn weights_mut(&mut self) -> &mut Weights {
        &mut self.weights
    }

    /// The same network with other probabilities of dropout; nothing else of `config` may differ.
    pub fn with_dropouts(self, config: DbetaConfig) -> Self {
        Dbeta { config, ..self }
    }

    /// The same network with other weights of the same shapes.
    pub fn with_weights(&self, weights: Weights) -> Self {
        Dbeta {
            config: self.config.clone(),
            weights,
        }
    }

    /// One vector for each recording `[batch, hidden]`.
    pub fn ecg_vectors(&self, batch: &DbetaBatch, ctx: &Context) -> Tensor<2> {
        let projected = self.ecg_states(batch, None, ctx);
        self.pool("unimodal_ecg_pooler", projected, ctx)
    }

    /// Class and tokens of each recording after the projection `[batch, 1 + tokens, hidden]`; just those that are left.
    pub fn ecg_states(
        &self,
        batch: &DbetaBatch,
        dropping: Option<&Dropping>,
        ctx: &Context,
    ) -> Tensor<3> {
        let states = self.with_class(self.tokens(batch, ctx), dropping, ctx);
        let states = self.encode(states, ctx);
        ctx.record("encoder_out", &states);
        let states = self.linear("multi_modal_ecg_proj", states, ctx);
        ctx.record("multi_modal_ecg_proj", &states);
        states
    }

    /// The tokens of each recording after the encoder, without class token and projection `[batch, tokens, width]`.
    pub fn token_states(&self, batch: &DbetaBatch, ctx: &Context) -> Tensor<3> {
        self.encode(self.tokens(batch, ctx), ctx)
    }

    /// One vector for each text `[texts, hidden]`: that of its first word piece.
    pub fn text_vectors(&self, texts: &TextIds, ctx: &Context) -> Tensor<2> {
        let states = self.text_states(texts, ctx);
        self.pool("unimodal_language_pooler", states, ctx)
    }

    /// Word pieces of each text after the projection `[texts, length, hidden]`.
    pub fn text_states(&self, texts: &TextIds, ctx: &Context) -> Tensor<3> {
        let text = &self.config.text;
        let states =
            |ctx: &Context| text.states(&self.weights, TEXT, texts, self.config.text_mask, ctx);
        let states = match self.config.text_learns {
            true => states(ctx),
            false => states(&ctx.evaluating()),
        };
        ctx.record("text_encoder_out", &states);
        let states = self.linear("multi_modal_language_proj", states, ctx);
        ctx.record("text_proj", &states);
        states
    }

    /// How much recordings and texts resemble each other `[recordings, texts]`: products of their vectors, divided by their lengths
    /// where the network was trained so.
    pub fn similarity(&self, ecg: Tensor<2>, text: Tensor<2>, ctx: &Context) -> Tensor<2> {
        let [ecg, text] = match self.config.normalise {
            true => [ecg, text].map(unit),
            false => [ecg, text],
        };
        ctx.matmul(ecg, text.transpose())
    }

    /// The logits of the sigmoid loss `[recordings, texts]`.
    pub fn alignment(&self, ecg: Tensor<2>, text: Tensor<2>, ctx: &Context) -> Tensor<2> {
        let mut logits = self.similarity(ecg, text, ctx);
        if self.config.learned_scale {
            logits = logits * self.weights.get::<1>(SCALE).exp().unsqueeze();
        }
        if self.config.learned_bias {
            logits = logits + self.weights.get::<1>(BIAS).unsqueeze();
        }
        logits
    }

    /// A pass over recordings and texts together.
    pub fn both(
        &self,
        batch: &DbetaBatch,
        texts: &TextIds,
        dropping: Option<&Dropping>,
        ctx: &Context,
    ) -> Masked {
        let text = self.text_states(texts, ctx);
        let text_vectors = self.pool("unimodal_language_pooler", text.clone(), ctx);
        let ecg = self.ecg_states(batch, dropping, ctx);
        let ecg_vectors = self.pool("unimodal_ecg_pooler", ecg.clone(), ctx);
        Masked {
            ecg_vectors,
            text_vectors,
            fused: self.fuse(text, ecg, texts, ctx),
        }
    }

    /// The layers that read both: each stream attends to itself and to the other one, as both left the layer before.
    fn fuse(&self, text: Tensor<3>, ecg: Tensor<3>, texts: &TextIds, ctx: &Context) -> Fused {
        let c = &self.config;
        let kinds = self.weights.get::<2>("modality_type_embeddings.weight");
        let kind = |row| kinds.clone().narrow(0, row, 1).unsqueeze::<3>();
        let (mut text, mut ecg) = (text + kind(0), ecg + kind(1));
        let own = texts.key_mask(texts.length, ctx);
        let of_text = texts.key_mask(ecg.dims()[1], ctx);
        let mut for_signal = None;
        for i in 0..c.fusion_layers {
            if c.signal_layer == i as i64 {
                for_signal = Some(ecg.clone());
            }
            let layer = |stream: &str, name| BertLayer {
                weights: &self.weights,
                prefix: format!("multi_modal_{stream}_layers.{i}."),
                heads: c.fusion_heads,
                eps: FUSION_EPS,
                hidden_dropout: c.fusion_dropout,
                attention_dropout: c.fusion_dropout,
                name: Some(name),
            };
            let names = [format!("text_cross{i}"), format!("ecg_cross{i}")];
            let next = layer("language", &names[0]).run(
                text.clone(),
                own.as_ref(),
                Some((&ecg, None)),
                ctx,
            );
            ecg = layer("ecg", &names[1]).run(ecg, None, Some((&text, of_text.as_ref())), ctx);
            text = next;
            ctx.record(&format!("fusion_text_{i}"), &text);
            ctx.record(&format!("fusion_ecg_{i}"), &ecg);
        }
        Fused {
            for_signal: for_signal.unwrap_or_else(|| ecg.clone()),
            text,
            ecg,
        }
    }

    /// Logits of the words `[rows, vocabulary]` for word pieces `[rows, hidden]` of [`Fused::text`].
    pub fn word_logits(&self, states: Tensor<2>, ctx: &Context) -> Tensor<2> {
        let (w, b) = self.map("mlm_head.transform.dense");
        let x = linear(states, w, b, Activation::Gelu, false, ctx);
        let (gamma, beta) = self.norm("mlm_head.transform.LayerNorm");
        let x = layer_norm(x, gamma, beta, FUSION_EPS, ctx);
        ctx.record("mlm_transform", &x);
        let w = self.weights.get("mlm_head.decoder.weight");
        let b = self.weights.get("mlm_head.bias");
        linear(x, w, b, Activation::Identity, false, ctx)
    }

    /// The samples of every token `[batch, tokens, leads * stretch]`, those of a lead side by side.
    pub fn signals(&self, fused: &Fused, dropping: &Dropping, ctx: &Context) -> Tensor<3> {
        let c = &self.config;
        let states = self.linear("mim_head.decoder_embed", fused.for_signal.clone(), ctx);
        ctx.record("mem_decoder_embed", &states);
        let [batch, _, width] = states.dims();
        let (tokens, kept) = (dropping.tokens, dropping.kept);
        let class = states.clone().narrow(1, 0, 1);
        // Tokens that are left and, behind them all, the one that stands for those that are not.
        let left = states.narrow(1, 1, kept).reshape([batch * kept, width]);
        let missing = self
            .weights
            .get::<3>("mim_head.mask_token")
            .reshape([1, width]);
        let rows = dropping.restore.chunks_exact(tokens).enumerate();
        let rows = rows.flat_map(|(record, restore)| {
            let row = move |place: usize| record * kept + place;
            restore.iter().map(move |&place| match place < kept {
                true => row(place),
                false => batch * kept,
            })
        });
        let all = Tensor::cat(vec![left, missing], 0);
        let all = all
            .select(0, indices(rows, ctx))
            .reshape([batch, tokens, width]);
        let places = self
            .weights
            .get::<3>(POSITION_TABLE)
            .narrow(1, 0, 1 + tokens);
        let mut x = Tensor::cat(vec![class, all], 1) + places;
        ctx.record("mem_decoder_in", &x);
        let settings = BlockSettings {
            heads: c.decoder_heads,
            activation: Activation::Identity,
            eps: EPS,
            dropout: Some(BlockDropout {
                attention: 0.0,
                hidden: 0.0,
                activation: 0.0,
            }),
        };
        for i in 0..c.decoder_layers {
            let block = format!("mim_head.decoder.resblocks.{i}");
            let (out_weight, out_bias) = self.map(&format!("{block}.attn.out_proj"));
            let w = BlockWeights {
                attention: AttentionWeights {
                    input: Projection::Packed(
                        self.weights.get(&format!("{block}.attn.in_proj_weight")),
                        self.weights.get(&format!("{block}.attn.in_proj_bias")),
                    ),
                    out_weight,
                    out_bias,
                },
                norm1: self.norm(&format!("{block}.ln_1")),
                up: self.map(&format!("{block}.mlp.c_fc")),
                down: self.map(&format!("{block}.mlp.c_proj")),
                norm2: self.norm(&format!("{block}.ln_2")),
            };
            x = pre_norm_block(x, &w, settings, quick_gelu, &block, ctx);
        }
        ctx.record("mem_decoder_out", &x);
        let (gamma, beta) = self.norm("mim_head.decoder_norm");
        let x = layer_norm(x, gamma, beta, EPS, ctx);
        let x = self.linear("mim_head.decoder_pred", x, ctx);
        x.narrow(1, 1, tokens)
    }

    /// Whether recordings and texts belong together: logits `[batch, 2]`, of no and of yes.
    pub fn matching_logits(&self, fused: &Fused, ctx: &Context) -> Tensor<2> {
        let text = self.pool("multi_modal_language_pooler", fused.text.clone(), ctx);
        let ecg = self.pool("multi_modal_ecg_pooler", fused.ecg.clone(), ctx);
        let both = Tensor::cat(vec![text, ecg], 1);
        ctx.record("multi_modal_cls_feats", &both);
        self.linear("itm_head.fc", both, ctx)
    }

    /// From samples to tokens, with their positions `[batch, tokens, width]`.
    fn tokens(&self, batch: &DbetaBatch, ctx: &Context) -> Tensor<3> {
        let c = &self.config.ecg;
        let shape = Shape::new([batch.size, LEADS, batch.samples]);
        let values = TensorData::new(batch.values.clone(), shape);
        let mut x = Tensor::<3>::from_data(values, ctx.device()).swap_dims(1, 2);
        for (i, conv) in c.convolutions.iter().enumerate() {
            let block = format!("ecg_encoder.feature_extractor.conv_layers.{i}");
            let w = self.weights.get(&format!("{block}.0.weight"));
            let how = Convolution::valid(conv.stride);
            if i == 0 {
                x = conv1d(x, w, None, how, Activation::Identity, ctx);
                let (gamma, beta) = self.norm(&format!("{block}.2"));
                x = channel_norm(x, gamma, beta, EPS, Activation::Gelu, ctx);
            } else {
                x = conv1d(x, w, None, how, Activation::Gelu, ctx);
            }
            ctx.record(&format!("conv_block_{i}"), &x);
        }
        let (gamma, beta) = self.norm("ecg_encoder.layer_norm");
        let mut x = layer_norm(x, gamma, beta, EPS, ctx);
        ctx.record("feature_layer_norm", &x);
        if c.channels() != c.width {
            x = self.linear("ecg_encoder.post_extract_proj", x, ctx);
        }
        ctx.record("post_extract_proj", &x);
        let x = ctx.dropping(c.input_dropout, || dropout(x, ctx));
        let direction = self.weights.get::<3>(&format!("{POSITION}.weight_v"));
        let scale = self.weights.get::<3>(&format!("{POSITION}.weight_g"));
        let w = weight_norm(direction, scale, ctx);
        ctx.record("conv_pos_effective_weight", &w);
        let b = self.weights.get(&format!("{POSITION}.bias"));
        // The number of tokens stays the same: for an even kernel the last position is dropped.
        let how = Convolution {
            stride: 1,
            padding: [c.position_kernel / 2, (c.position_kernel - 1) / 2],
        };
        let positions = conv1d(x.clone(), w, Some(b), how, Activation::Gelu, ctx);
        ctx.record("conv_pos", &positions);
        x + positions
    }

    /// The class token in front of the tokens that are left, in their new order.
    fn with_class(
        &self,
        tokens: Tensor<3>,
        dropping: Option<&Dropping>,
        ctx: &Context,
    ) -> Tensor<3> {
        let [batch, count, width] = tokens.dims();
        let tokens = match dropping {
            None => tokens,
            Some(dropping) => {
                let rows = dropping.order.chunks_exact(count).enumerate();
                let rows = rows.flat_map(|(record, order)| {
                    let kept = &order[..dropping.kept];
                    kept.iter().map(move |&token| record * count + token)
                });
                tokens
                    .reshape([batch * count, width])
                    .select(0, indices(rows, ctx))
                    .reshape([batch, dropping.kept, width])
            }
        };
        let class = self.weights.get::<1>("class_embedding");
        let class = class.unsqueeze::<3>().expand([batch, 1, width]);
        Tensor::cat(vec![class, tokens], 1)
    }

    /// The transformer.
    fn encode(&self, x: Tensor<3>, ctx: &Context) -> Tensor<3> {
        let c = &self.config.ecg;
        let norm = |x: Tensor<3>| {
            let (gamma, beta) = self.norm("ecg_encoder.encoder.layer_norm");
            layer_norm(x, gamma, beta, EPS, ctx)
        };
        let x = if c.norm_first { x } else { norm(x) };
        ctx.record("encoder_input_layer_norm", &x);
        let mut x = ctx.dropping(c.dropout, || dropout(x, ctx));
        let settings = BlockSettings {
            heads: c.heads,
            activation: Activation::Gelu,
            eps: EPS,
            dropout: Some(BlockDropout {
                attention: c.attention_dropout,
                hidden: c.dropout,
                activation: c.activation_dropout,
            }),
        };
        for i in 0..c.layers {
            if ctx.skips(c.layer_drop) {
                continue;
            }
            let w = self.block(&format!("ecg_encoder.encoder.layers.{i}"));
            let name = format!("encoder_layer_{i}");
            x = match c.norm_first {
                false => post_norm_block(x, &w, None, settings, &name, ctx),
                true => {
                    let gelu = |x| burn::tensor::activation::gelu(x);
                    pre_norm_block(x, &w, settings, gelu, &name, ctx)
                }
            };
        }
        if c.norm_first { norm(x) } else { x }
    }

    fn block(&self, layer: &str) -> BlockWeights {
        let attention = format!("{layer}.self_attn");
        let (out_weight, out_bias) = self.map(&format!("{attention}.out_proj"));
        let map = |part| self.map(&format!("{attention}.{part}_proj"));
        BlockWeights {
            attention: AttentionWeights {
                input: Projection::Separate(["q", "k", "v"].map(map)),
                out_weight,
                out_bias,
            },
            norm1: self.norm(&format!("{layer}.self_attn_layer_norm")),
            up: self.map(&format!("{layer}.fc1")),
            down: self.map(&format!("{layer}.fc2")),
            norm2: self.norm(&format!("{layer}.final_layer_norm")),
        }
    }

    /// The first token through a dense layer and a hyperbolic tangent.
    fn pool(&self, name: &str, states: Tensor<3>, ctx: &Context) -> Tensor<2> {
        let [batch, _, width] = states.dims();
        let first = states.narrow(1, 0, 1).reshape([batch, width]);
        self.linear(&format!("{name}.dense"), first, ctx).tanh()
    }

    fn linear<const D: usize>(&self, name: &str, x: Tensor<D>, ctx: &Context) -> Tensor<D> {
        let (w, b) = self.map(name);
        linear(x, w, b, Activation::Identity, false, ctx)
    }

    fn map(&self, name: &str) -> (Tensor<2>, Tensor<1>) {
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

pub(super) fn indices(rows: impl Iterator<Item = usize>, ctx: &Context) -> Tensor<1, Int> {
    let rows: Vec<i32> = rows.map(|row| row as i32).collect();
    let count = rows.len();
    Tensor::from_data(TensorData::new(rows, [count]), ctx.device())
}

/// Sines in even columns and cosines in odd ones, of position over powers of 10,000.
fn positions(width: usize) -> Vec<f32> {
    (0..POSITIONS * width)
        .map(|at| {
            let (position, column) = (at / width, at % width);
            let power = (column / 2 * 2) as f64 / width as f64;
            let angle = position as f64 * 10_000f64.powf(-power);
            match column % 2 {
                0 => angle.sin() as f32,
                _ => angle.cos() as f32,
            }
        })
        .collect()
}

/// Initial values of one parameter; the scale of the positional kernel is set afterwards.
fn initial(
    config: &DbetaConfig,
    name: &str,
    shape: &[usize],
    fan_in: usize,
    stream: &mut Stream,
) -> Vec<f32> {
    let count: usize = shape.iter().product();
    if let Some(own) = name.strip_prefix(TEXT) {
        return config.text.initial(own, shape, stream);
    }
    let is_norm = [
        "layer_norm.",
        "LayerNorm.",
        ".ln_",
        "decoder_norm.",
        ".0.2.",
    ]
    .iter()
    .any(|part| name.contains(part));
    let is_bias = name.ends_with("bias");
    match name {
        "class_embedding" => (0..count).map(|_| stream.uniform() as f32).collect(),
        SCALE => vec![10f32.ln()],
        BIAS => vec![-4.0],
        _ if is_norm => vec![if is_bias { 0.0 } else { 1.0 }; count],
        _ if name.starts_with("ecg_encoder.post_extract_proj") => {
            init::uniform(count, 1.0 / (fan_in as f64).sqrt(), stream)
        }
        _ if is_bias => vec![0.0; count],
        _ if name.starts_with(POSITION) => {
            let spread = 4.0 / (config.ecg.position_kernel * config.ecg.width) as f64;
            init::normal(count, spread.sqrt(), stream)
        }
        _ if name.contains("feature_extractor.") => {
            init::normal(count, (2.0 / fan_in as f64).sqrt(), stream)
        }
        _ if name.ends_with("in_proj_weight") => {
            init::uniform(count, (6.0 / (shape[0] + shape[1]) as f64).sqrt(), stream)
        }
        _ => init::normal(count, 0.02, stream),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paired::Signal;

    /// The CODE tracings have ten times the scale of MIMIC-IV-ECG: the norm behind the first convolution takes it out.
    #[test]
    fn the_scale_of_a_recording_hardly_matters() {
        let device = Device::flex();
        let config = DbetaConfig {
            part: Part::Ecg,
            ..DbetaConfig::size("tiny").unwrap()
        };
        let model = Dbeta::random(config, 0, &device);
        let mut stream = Stream::new(1, "scale");
        let samples: Vec<f32> = (0..LEADS * 600).map(|_| stream.uniform() as f32).collect();
        let vector = |scale: f32| {
            let samples = samples.iter().map(|x| scale * x).collect();
            let batch = DbetaBatch::new(model.config(), &[Signal { samples }]).unwrap();
            let found = model.ecg_vectors(&batch, &Context::inference(&device));
            found.into_data().try_to_vec::<f32>().unwrap()
        };
        let (once, ten) = (vector(1.0), vector(10.0));
        let most = once
            .iter()
            .zip(&ten)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(most < 1e-3, "{most}");
        assert!(once.iter().any(|x| x.abs() > 0.01));
    }
}
