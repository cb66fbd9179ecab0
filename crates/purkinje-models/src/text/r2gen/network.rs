//! The forward passes, over whole texts and one token at a time.

use burn::tensor::{Tensor, TensorData, activation};

use super::config::R2GenConfig;
use crate::layers::vit1d::map;
use crate::layers::{
    Activation, Attending, AttentionWeights, Context, KeyValues, Projection, Weights,
    attention_with, causal_mask, dropout, linear,
};
use crate::text::{TextIds, cross_entropy, embed, known, rows};

/// Added to standard deviations.
const EPS: f64 = 1e-6;

/// An R2Gen network whose weights have `prefix` in front of their names.
#[derive(Clone, Copy, Debug)]
pub struct R2Gen<'a> {
    /// The hyper-parameters.
    pub config: &'a R2GenConfig,
    /// Where its parameters are; those of [`R2GenConfig::parameters`] must be there.
    pub weights: &'a Weights,
    /// In front of their names.
    pub prefix: &'a str,
}

impl R2Gen<'_> {
    /// Reads features `[batch, tokens, features]`: `[batch, tokens, width]`.
    pub fn encode(&self, features: Tensor<3>, ctx: &Context) -> Tensor<3> {
        let c = self.config;
        let (w, b) = self.pair("att_embed.0");
        let mut x = ctx.dropping(c.feature_dropout, || {
            linear(features, w, b, Activation::Relu, true, ctx)
        });
        ctx.record("att_embed", &x);
        for i in 0..c.layers {
            let layer = format!("model.encoder.layers.{i}");
            let norm = |part: usize| format!("{layer}.sublayer.{part}.norm");
            let z = self.norm(x.clone(), &norm(0), ctx);
            let own = format!("{layer}.self_attn");
            let heard = self.attend(z, &own, Attending::default(), c.heads, ctx);
            x = x + self.dropped(heard, ctx);
            let z = self.norm(x.clone(), &norm(1), ctx);
            x = x + self.dropped(self.fed(z, &layer, ctx), ctx);
        }
        let x = self.norm(x, "model.encoder.norm", ctx);
        ctx.record("encoder_out", &x);
        x
    }

    /// What each position may see of a text: those before it, and of these all but padding, which has the id 0; the first is always
    /// seen. 0 or minus infinity, `[texts, length, length]`.
    pub fn mask(&self, texts: &TextIds, ctx: &Context) -> Tensor<3> {
        let length = texts.length.max(1);
        let ids = texts.ids.iter().enumerate();
        let seen: Vec<bool> = ids.map(|(at, id)| *id > 0 || at % length == 0).collect();
        causal_mask(texts.length, Some(&seen), ctx)
    }

    /// One vector for each token of texts `[texts, length, width]`, which see what was encoded `[texts, tokens, width]`.
    ///
    /// # Errors
    /// When texts are longer than the positions or hold ids that are no tokens.
    pub fn states(
        &self,
        texts: &TextIds,
        encoded: &Tensor<3>,
        ctx: &Context,
    ) -> Result<Tensor<3>, String> {
        let c = self.config;
        if texts.length > c.positions {
            return Err(format!(
                "texts of {} tokens, the decoder has {} positions; cut them",
                texts.length, c.positions
            ));
        }
        self.known(&texts.ids)?;
        let embedded = || {
            let x = embed(self.matrix("model.tgt_embed.0.lut"), texts, ctx);
            let places = self.places(0, texts.length, ctx).unsqueeze::<3>();
            let x = x * (c.width as f64).sqrt() + places;
            self.dropped(x, ctx)
        };
        let memory = self.remembered(embedded(), ctx);
        ctx.record("relational_memory", &memory);
        let mut x = embedded();
        let mask = self.mask(texts, ctx);
        for i in 0..c.layers {
            let layer = format!("model.decoder.layers.{i}");
            let part = |number: usize| format!("{layer}.sublayer.{number}.norm");
            let own = Attending {
                mask: Some(&mask),
                ..Attending::default()
            };
            let z = self.set_norm(x.clone(), &part(0), &memory, ctx);
            let heard = self.attend(z, &format!("{layer}.self_attn"), own, c.heads, ctx);
            x = x + self.dropped(heard, ctx);
            let other = Attending {
                to: Some(encoded),
                ..Attending::default()
            };
            let z = self.set_norm(x.clone(), &part(1), &memory, ctx);
            let heard = self.attend(z, &format!("{layer}.src_attn"), other, c.heads, ctx);
            x = x + self.dropped(heard, ctx);
            let z = self.set_norm(x.clone(), &part(2), &memory, ctx);
            x = x + self.dropped(self.fed(z, &layer, ctx), ctx);
        }
        Ok(self.norm(x, "model.decoder.norm", ctx))
    }

    fn known(&self, ids: &[u32]) -> Result<(), String> {
        known(ids, self.config.vocabulary, "token")
    }

    /// Scores of all tokens after each state: `[.., vocabulary]`.
    pub fn logits<const D: usize>(&self, states: Tensor<D>, ctx: &Context) -> Tensor<D> {
        self.map(states, "logit", ctx)
    }

    /// The mean cross-entropy of those states `[texts, length, width]` after which a token is known, `[1]`; `None` without any.
    ///
    /// # Errors
    /// When a label is no token.
    pub fn cross_entropy(
        &self,
        states: Tensor<3>,
        labels: &[Option<u32>],
        ctx: &Context,
    ) -> Result<Option<Tensor<1>>, String> {
        let last = self.pair("logit");
        cross_entropy(states, labels, last, |ids| self.known(ids), ctx)
    }

    /// Sines and cosines of positions `[count, width]`.
    fn places(&self, first: usize, count: usize, ctx: &Context) -> Tensor<2> {
        let d = self.config.width;
        let mut values = Vec::with_capacity(count * d);
        for place in first..first + count {
            values.extend((0..d).map(|i| {
                let rate = (-(10_000f64.ln()) * (i / 2 * 2) as f64 / d as f64).exp();
                let angle = place as f64 * rate;
                let value = if i % 2 == 0 { angle.sin() } else { angle.cos() };
                value as f32
            }));
        }
        Tensor::from_data(TensorData::new(values, [count, d]), ctx.device())
    }

    /// The relational memory after each token of `x` `[texts, length, width]`: `[texts, length, slots * width]`.
    fn remembered(&self, x: Tensor<3>, ctx: &Context) -> Tensor<3> {
        let [texts, length, width] = x.dims();
        let gates = self.map(x.clone(), "model.rm.W", ctx);
        let mut memory = self.first_memory(texts, ctx);
        let mut all = Vec::with_capacity(length);
        for at in 0..length {
            let gates = gates.clone().narrow(1, at, 1);
            memory = self.remember(memory, x.clone().narrow(1, at, 1), gates, ctx);
            let slots = self.config.slots * width;
            all.push(memory.clone().reshape([texts, 1, slots]));
        }
        Tensor::cat(all, 1)
    }

    /// `[texts, slots, width]`: each slot another unit vector.
    fn first_memory(&self, texts: usize, ctx: &Context) -> Tensor<3> {
        let (slots, d) = (self.config.slots, self.config.width);
        let mut values = vec![0.0f32; slots * d];
        for slot in 0..slots.min(d) {
            values[slot * d + slot] = 1.0;
        }
        let one = Tensor::<3>::from_data(TensorData::new(values, [1, slots, d]), ctx.device());
        one.repeat_dim(0, texts)
    }

    /// One step of the memory `[rows, slots, width]` by a token `x` `[rows, 1, width]` with its part of the gates `[rows, 1, 2 width]`.
    fn remember(
        &self,
        memory: Tensor<3>,
        x: Tensor<3>,
        gates: Tensor<3>,
        ctx: &Context,
    ) -> Tensor<3> {
        let d = self.config.width;
        let both = Tensor::cat(vec![memory.clone(), x], 1);
        let how = Attending {
            to: Some(&both),
            ..Attending::default()
        };
        let heads = self.config.memory_heads;
        let next = memory.clone() + self.attend(memory.clone(), "model.rm.attn", how, heads, ctx);
        let relu = |x, name| {
            let (w, b) = self.pair(name);
            linear(x, w, b, Activation::Relu, false, ctx)
        };
        let more = relu(relu(next.clone(), "model.rm.mlp.0"), "model.rm.mlp.2");
        let next = (next + more).tanh();
        let gates = gates + self.map(memory.clone().tanh(), "model.rm.U", ctx);
        let gate = |from| activation::sigmoid(gates.clone().narrow(2, from, d));
        gate(0) * next + gate(d) * memory
    }

    fn attend(
        &self,
        x: Tensor<3>,
        name: &str,
        how: Attending<'_>,
        heads: usize,
        ctx: &Context,
    ) -> Tensor<3> {
        let part = |number: usize| self.pair(&format!("{name}.linears.{number}"));
        let (out_weight, out_bias) = part(3);
        let w = AttentionWeights {
            input: Projection::Separate([0, 1, 2].map(part)),
            out_weight,
            out_bias,
        };
        ctx.dropping(self.config.dropout, || {
            attention_with(x, &w, how, heads, ctx)
        })
    }

    fn fed<const D: usize>(&self, x: Tensor<D>, layer: &str, ctx: &Context) -> Tensor<D> {
        let (w, b) = self.pair(&format!("{layer}.feed_forward.w_1"));
        let hidden = ctx.dropping(self.config.dropout, || {
            linear(x, w, b, Activation::Relu, true, ctx)
        });
        self.map(hidden, &format!("{layer}.feed_forward.w_2"), ctx)
    }

    fn dropped<const D: usize>(&self, x: Tensor<D>, ctx: &Context) -> Tensor<D> {
        ctx.dropping(self.config.dropout, || dropout(x, ctx))
    }

    fn norm<const D: usize>(&self, x: Tensor<D>, name: &str, _: &Context) -> Tensor<D> {
        let of = |of: &str| self.vector(&format!("{name}.{of}")).unsqueeze::<D>();
        standardised(x) * of("gamma") + of("beta")
    }

    /// A norm whose scale and offset the memory `[.., slots * width]` sets.
    fn set_norm<const D: usize>(
        &self,
        x: Tensor<D>,
        name: &str,
        memory: &Tensor<D>,
        ctx: &Context,
    ) -> Tensor<D> {
        let of = |of: &str| {
            let (w, b) = self.pair(&format!("{name}.mlp_{of}.0"));
            let hidden = linear(memory.clone(), w, b, Activation::Relu, false, ctx);
            let more = self.map(hidden, &format!("{name}.mlp_{of}.2"), ctx);
            more + self.vector(&format!("{name}.{of}")).unsqueeze::<D>()
        };
        standardised(x) * of("gamma") + of("beta")
    }

    fn map<const D: usize>(&self, x: Tensor<D>, name: &str, ctx: &Context) -> Tensor<D> {
        map(x, self.weights, &format!("{}{name}", self.prefix), ctx)
    }

    fn pair(&self, name: &str) -> (Tensor<2>, Tensor<1>) {
        (self.matrix(name), self.vector(&format!("{name}.bias")))
    }

    fn matrix(&self, name: &str) -> Tensor<2> {
        self.weights.get(&format!("{}{name}.weight", self.prefix))
    }

    fn vector(&self, name: &str) -> Tensor<1> {
        self.weights.get(&format!("{}{name}", self.prefix))
    }

    /// The state before the first token of texts that see what was encoded `[texts, tokens, width]`.
    pub fn start(&self, encoded: &Tensor<3>, ctx: &Context) -> R2GenState {
        let texts = encoded.dims()[0];
        let layer = |number: usize| {
            let name = |part| format!("model.decoder.layers.{number}.src_attn.linears.{part}");
            let [k, v] = [1, 2].map(|part| self.map(encoded.clone(), &name(part), ctx));
            [
                KeyValues::empty(texts, self.config.width, ctx),
                KeyValues::of(k, v, ctx),
            ]
        };
        R2GenState {
            memory: self.first_memory(texts, ctx),
            layers: (0..self.config.layers).map(layer).collect(),
            position: 0,
        }
    }

    /// Reads one token of each row and gives the scores of all that may follow: `[rows, vocabulary]`. Rows do not depend on each other.
    ///
    /// # Errors
    /// When the rows are as long as the positions, or an id is no token.
    pub fn step(
        &self,
        tokens: &[u32],
        state: &mut R2GenState,
        ctx: &Context,
    ) -> Result<Tensor<2>, String> {
        let c = self.config;
        if state.position >= c.positions {
            return Err(format!(
                "a text of more than {} tokens, which are the positions of the decoder",
                c.positions
            ));
        }
        self.known(tokens)?;
        let place = self.places(state.position, 1, ctx);
        let table = self.matrix("model.tgt_embed.0.lut");
        let mut x = rows(table, tokens, ctx) * (c.width as f64).sqrt() + place;
        let token = x.clone().unsqueeze_dim::<3>(1);
        let gates = self.map(token.clone(), "model.rm.W", ctx);
        state.memory = self.remember(state.memory.clone(), token, gates, ctx);
        let memory = state
            .memory
            .clone()
            .reshape([tokens.len(), c.slots * c.width]);
        for (i, [own, other]) in state.layers.iter_mut().enumerate() {
            let layer = format!("model.decoder.layers.{i}");
            let part = |number: usize| format!("{layer}.sublayer.{number}.norm");
            let map =
                |x: &Tensor<2>, name: &str| self.map(x.clone(), &format!("{layer}.{name}"), ctx);
            let z = self.set_norm(x.clone(), &part(0), &memory, ctx);
            own.push(
                map(&z, "self_attn.linears.1"),
                map(&z, "self_attn.linears.2"),
            );
            let heard = own.attend(map(&z, "self_attn.linears.0"), c.heads, ctx);
            x = x + map(&heard, "self_attn.linears.3");
            let z = self.set_norm(x.clone(), &part(1), &memory, ctx);
            let heard = other.attend(map(&z, "src_attn.linears.0"), c.heads, ctx);
            x = x + map(&heard, "src_attn.linears.3");
            let z = self.set_norm(x.clone(), &part(2), &memory, ctx);
            x = x + self.fed(z, &layer, ctx);
        }
        state.position += 1;
        let x = self.norm(x, "model.decoder.norm", ctx);
        Ok(self.logits(x, ctx))
    }
}

/// Rows less their mean, divided by their standard deviation (of a sample) and a little more.
fn standardised<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let width = x.dims()[D - 1];
    let centred = x.clone() - x.mean_dim(D - 1);
    let variance = centred.clone().square().sum_dim(D - 1) / (width - 1) as f64;
    centred / (variance.sqrt() + EPS)
}

/// What is kept of the rows read so far.
#[derive(Clone, Debug)]
pub struct R2GenState {
    memory: Tensor<3>,
    /// Of each layer its own keys and values, and those of what was encoded.
    layers: Vec<[KeyValues; 2]>,
    position: usize,
}

impl R2GenState {
    /// Goes on with these rows, in this order; one may go on more than once.
    pub fn reorder(&mut self, rows: &[usize]) {
        let [_, slots, width] = self.memory.dims();
        let flat = self.memory.clone().flatten::<2>(1, 2);
        let flat = crate::layers::reordered(flat, rows);
        self.memory = flat.reshape([rows.len(), slots, width]);
        for kept in self.layers.iter_mut().flatten() {
            kept.reorder(rows);
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::random::Stream;

    #[test]
    fn one_step_at_a_time_gives_what_whole_texts_do() {
        let config = R2GenConfig {
            vocabulary: 20,
            features: 6,
            width: 16,
            inner: 10,
            heads: 2,
            layers: 2,
            memory_heads: 4,
            ..R2GenConfig::default()
        };
        let device = Device::flex();
        let mut weights = Weights::default();
        for (name, shape) in config.parameters() {
            let mut stream = Stream::new(1, &name);
            weights.insert(
                &*name,
                &shape,
                config.initial(&name, &shape, &mut stream),
                &device,
            );
        }
        let model = R2Gen {
            config: &config,
            weights: &weights,
            prefix: "",
        };
        let (texts, length) = (2, 6);
        let ids: Vec<u32> = (0..texts * length)
            .map(|i| (1 + i * 7 % 19) as u32)
            .collect();
        for composed in [false, true] {
            let ctx = Context::inference(&device);
            let ctx = if composed { ctx.composed() } else { ctx };
            let mut stream = Stream::new(2, "features");
            let values = (0..texts * 5 * 6).map(|_| stream.normal() as f32);
            let data = TensorData::new(values.collect::<Vec<_>>(), [texts, 5, 6]);
            let encoded = model.encode(Tensor::from_data(data, &device), &ctx);
            let whole = TextIds {
                ids: ids.clone(),
                real: vec![true; ids.len()],
                length,
            };
            let whole = model.states(&whole, &encoded, &ctx).unwrap();
            let whole = model.logits(whole, &ctx);
            let mut state = model.start(&encoded, &ctx);
            for position in 0..length {
                let own: Vec<u32> = (0..texts).map(|row| ids[row * length + position]).collect();
                let found = model.step(&own, &mut state, &ctx).unwrap();
                let expected = whole.clone().narrow(1, position, 1).reshape([texts, 20]);
                let worst = (found - expected).abs().max().into_scalar::<f32>();
                assert!(worst < 2e-5, "{worst}");
            }
        }
    }
}
