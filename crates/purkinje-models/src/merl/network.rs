//! The forward passes.

use burn::tensor::{Device, Tensor};

use super::config::{MerlConfig, NORMS};
use crate::batch::BatchError;
use crate::encoder::Encoder;
use crate::layers::vit1d::map;
use crate::layers::{
    Activation, Attending, AttentionWeights, BatchNorm, BatchNormWeights, Context, Convolution,
    Projection, WeightError, Weights, attention_weights_with, attention_with, batch_norm, conv1d,
    dropout, linear_map,
};
use crate::paired::{
    self, ECG, EcgEncoder, PairConfig as _, Paired, Part, Read, Signal, Signals, Terms,
    contrastive, mean, project, unit,
};
use crate::random::Stream;

/// A MERL network, or a part of one.
#[derive(Clone, Debug)]
pub struct Merl {
    config: MerlConfig,
    weights: Weights,
    still: bool,
}

/// A recording before and after its projection.
struct Seen {
    /// The mean over time, or the vector of a transformer `[batch, channels]`.
    own: Tensor<2>,
    /// In the space of texts `[batch, width]`.
    vector: Tensor<2>,
}

impl Merl {
    fn see(&self, batch: &Signals, ctx: &Context) -> Seen {
        let x = batch.tensor(ctx);
        let EcgEncoder::ResNet(ecg) = &self.config.ecg else {
            let own = self.config.ecg.average(x, &self.weights, ECG, ctx);
            let vector = self.project_ecg(own.clone(), ctx);
            return Seen { own, vector };
        };
        let x = ecg.run(x, &self.weights, ECG, BatchNorm::default(), ctx);
        let (w, b) = (
            self.weights.get("downconv.weight"),
            self.weights.get("downconv.bias"),
        );
        let (how, none) = (Convolution::valid(1), Activation::Identity);
        let tokens = conv1d(x, w, Some(b), how, none, ctx);
        Seen {
            own: mean(tokens.clone()),
            vector: self.pool(tokens, ctx),
        }
    }

    /// A class token attends to the tokens `[batch, tokens, width]`. It has its position twice, as published.
    fn pool(&self, tokens: Tensor<3>, ctx: &Context) -> Tensor<2> {
        let [batch, _, width] = tokens.dims();
        let part = |part: &str| format!("att_pool_head.{part}");
        let places = self.weights.get::<3>(&part("positional_embedding"));
        let class = self.weights.get::<3>(&part("cls_token")) + places.clone().narrow(1, 0, 1);
        let class = class.expand([batch, 1, width]);
        let x = Tensor::cat(vec![class, tokens], 1) + places;
        let w = AttentionWeights {
            input: Projection::Packed(
                self.weights.get(&part("mhsa.in_proj_weight")),
                self.weights.get(&part("mhsa.in_proj_bias")),
            ),
            out_weight: self.weights.get(&part("mhsa.out_proj.weight")),
            out_bias: self.weights.get(&part("mhsa.out_proj.bias")),
        };
        let query = x.clone().narrow(1, 0, 1);
        let how = Attending {
            to: Some(&x),
            ..Attending::default()
        };
        if ctx.records() {
            let found = attention_weights_with(query.clone(), &w, how, self.config.heads, ctx);
            ctx.record("pool_attention", &found);
        }
        let heard = ctx.dropping(0.0, || {
            attention_with(query, &w, how, self.config.heads, ctx)
        });
        let found = map(heard, &self.weights, "att_pool_head.c_proj", ctx);
        ctx.record("pool_out", &found);
        found.reshape([batch, width])
    }

    fn project_ecg(&self, x: Tensor<2>, ctx: &Context) -> Tensor<2> {
        let [one, two] = NORMS.map(|name| BatchNormWeights::of(&self.weights, name));
        let norm = |x: Tensor<2>, w: &BatchNormWeights, act| {
            let [batch, width] = x.dims();
            let x = x.reshape([batch, 1, width]);
            batch_norm(x, w, BatchNorm::default(), act, ctx).reshape([batch, width])
        };
        let x = norm(
            map(x, &self.weights, "proj_e.0", ctx),
            &one,
            Activation::Relu,
        );
        let x = map(x, &self.weights, "proj_e.3", ctx);
        norm(x, &two, Activation::Identity)
    }

    /// Two views: maps without bias, with dropout.
    fn views(&self, own: Tensor<2>, ctx: &Context) -> [Tensor<2>; 2] {
        ["linear1", "linear2"].map(|name| {
            let w = self.weights.get::<2>(&format!("{name}.weight"));
            let seen = linear_map(own.clone(), w, ctx);
            ctx.dropping(self.config.dropout, || dropout(seen, ctx))
        })
    }
}

impl Encoder for Merl {
    type Input = Signal;
    type Batch = Signals;

    fn batch(&self, inputs: &[Signal]) -> Result<Signals, BatchError> {
        Signals::new(self.config.ecg.leads(), self.config.samples, inputs)
    }

    fn vectors(&self, batch: &Signals, ctx: &Context) -> Tensor<3> {
        let evaluating = ctx.evaluating();
        let ctx = if self.still { &evaluating } else { ctx };
        let found = match self.config.part {
            Part::Encoder => self.averages(batch, ctx),
            _ => self.see(batch, ctx).vector,
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
        Merl {
            weights,
            ..self.clone()
        }
    }

    fn random_twin(&self, seed: u64, device: &Device) -> Self {
        Self::random(self.config.clone(), seed, device)
    }
}

impl Paired for Merl {
    type Config = MerlConfig;
    type Draws = ();

    const TERMS: &'static [&'static str] = &["alignment", "views"];
    const RELEASED_WITHOUT: &'static [&'static str] = &[];
    const READS_STATES: bool = false;

    fn with(config: MerlConfig, mut weights: Weights) -> Result<Self, WeightError> {
        weights.require(&config.entries())?;
        let state = config.state();
        weights.declare_state(state.iter().map(String::as_str))?;
        Ok(Merl {
            config,
            weights,
            still: false,
        })
    }

    fn random(config: MerlConfig, seed: u64, device: &Device) -> Self {
        let weights = paired::random_weights(&config, seed, device);
        // Every entry was just made.
        Merl {
            config,
            weights,
            still: false,
        }
    }

    fn config(&self) -> &MerlConfig {
        &self.config
    }

    fn still(self) -> Self {
        Merl {
            still: true,
            ..self
        }
    }

    fn without_dropout(&self) -> Self {
        let mut own = self.clone();
        own.config.dropout = 0.0;
        own.config.text = own.config.text.clone().without_dropout();
        own
    }

    fn averages(&self, batch: &Signals, ctx: &Context) -> Tensor<2> {
        let evaluating = ctx.evaluating();
        let ctx = if self.still { &evaluating } else { ctx };
        let ecg = &self.config.ecg;
        ecg.average(batch.tensor(ctx), &self.weights, ECG, ctx)
    }

    fn token_stride(&self) -> usize {
        match &self.config.ecg {
            EcgEncoder::ResNet(own) => own.stride(),
            EcgEncoder::Vit(own) => own.patch,
        }
    }

    fn token_vectors(&self, _: &Signals, _: &Context) -> Option<Tensor<3>> {
        None
    }

    fn draws(&self, _: usize, _: &mut Stream) {}

    fn terms(&self, batch: &Signals, read: &Read, _: &[bool], (): &(), ctx: &Context) -> Terms {
        let Seen { own, vector } = self.see(batch, ctx);
        let views = self.views(own, ctx);
        for (name, view) in ["ecg_emb1", "ecg_emb2"].iter().zip(&views) {
            ctx.record(name, view);
        }
        let ecg = unit(vector);
        let text = unit(project(read.pooled.clone(), &self.weights, ctx));
        let t = self.config.temperature;
        let [one, two] = views;
        Terms {
            losses: vec![
                contrastive(ecg.clone(), text.clone(), t, ctx),
                contrastive(one, two, t, ctx),
            ],
            ecg,
            text,
        }
    }
}
