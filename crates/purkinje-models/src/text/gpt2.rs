//! GPT-2 (Radford et al., Language Models are Unsupervised Multitask Learners, 2019): a decoder that writes text one word piece after
//! the other, and may attend to the tokens of something else.

use burn::tensor::Tensor;

mod config;

pub use config::{Gpt2Activation, Gpt2Config};

use super::{TextIds, cross_entropy, embed, known, rows};
use crate::layers::{
    Activation, Attending, Context, KeyValues, Projected, Weights, causal_mask, dropout,
    layer_norm, linear_input_first, linear_map, mix, reordered,
};

/// The table of word pieces, which is the last layer too.
const TABLE: &str = "transformer.wte.weight";
const POSITIONS: &str = "transformer.wpe.weight";
const LAST_NORM: &str = "transformer.ln_f";

/// A decoder whose weights have `prefix` in front of their names.
#[derive(Clone, Copy, Debug)]
pub struct Gpt2<'a> {
    /// The hyper-parameters.
    pub config: &'a Gpt2Config,
    /// Where its parameters are; those of [`Gpt2Config::parameters`] must be there.
    pub weights: &'a Weights,
    /// In front of their names.
    pub prefix: &'a str,
}

impl Gpt2<'_> {
    /// One vector for each word piece `[texts, length, width]`, each of which sees those before it; with `masked` only those that are
    /// real. `memory` `[texts, tokens, width]` is what the layers attend to beside.
    ///
    /// # Errors
    /// When texts are longer than the positions or hold ids that are no word pieces.
    pub fn states(
        &self,
        texts: &TextIds,
        masked: bool,
        memory: Option<&Tensor<3>>,
        ctx: &Context,
    ) -> Result<Tensor<3>, String> {
        let c = self.config;
        if texts.length > c.n_positions {
            return Err(format!(
                "texts of {} word pieces, the decoder has {} positions; cut them",
                texts.length, c.n_positions
            ));
        }
        self.known(&texts.ids)?;
        let words = embed(self.matrix(TABLE), texts, ctx);
        let places = self.matrix(POSITIONS).narrow(0, 0, texts.length);
        let x = words + places.unsqueeze::<3>();
        let mut x = ctx.dropping(c.embd_pdrop, || dropout(x, ctx));
        let mask = causal_mask(texts.length, masked.then_some(&texts.real[..]), ctx);
        for i in 0..c.n_layer {
            x = self.block(i, x, &mask, memory, ctx);
            ctx.record(&format!("block_{i}"), &x);
        }
        Ok(self.norm(x, LAST_NORM, ctx))
    }

    /// Ids that are no word pieces are refused.
    fn known(&self, ids: &[u32]) -> Result<(), String> {
        known(ids, self.config.vocab_size, "word piece")
    }

    /// Scores of all word pieces after each state: `[.., vocabulary]`.
    pub fn logits<const D: usize>(&self, states: Tensor<D>, ctx: &Context) -> Tensor<D> {
        linear_map(states, self.matrix(TABLE), ctx)
    }

    /// The mean cross-entropy of those states `[texts, length, width]` after which a word piece is known, `[1]`; `None` without any.
    ///
    /// # Errors
    /// When a label is no word piece.
    pub fn cross_entropy(
        &self,
        states: Tensor<3>,
        labels: &[Option<u32>],
        ctx: &Context,
    ) -> Result<Option<Tensor<1>>, String> {
        let table = self.matrix(TABLE);
        let none = Tensor::zeros([table.dims()[0]], ctx.device());
        cross_entropy(states, labels, (table, none), |ids| self.known(ids), ctx)
    }

    /// One layer: attention to itself, to `memory`, feed-forward layers, each added to what came in and behind a norm.
    fn block(
        &self,
        number: usize,
        x: Tensor<3>,
        mask: &Tensor<3>,
        memory: Option<&Tensor<3>>,
        ctx: &Context,
    ) -> Tensor<3> {
        let c = self.config;
        let part = |part: &str| format!("transformer.h.{number}.{part}");
        let attend = |projected, mask| {
            let how = Attending {
                mask,
                ..Attending::default()
            };
            ctx.dropping(c.attn_pdrop, || mix(projected, how, c.n_head, ctx))
        };
        let z = self.norm(x.clone(), &part("ln_1"), ctx);
        let qkv = self.map(z, &part("attn.c_attn"), ctx);
        let heard = attend(Projected::Packed(qkv), Some(mask));
        let mut x = x + self.dropped(heard, &part("attn.c_proj"), ctx);
        if let Some(memory) = memory.filter(|_| c.add_cross_attention) {
            let z = self.norm(x.clone(), &part("ln_cross_attn"), ctx);
            let q = self.map(z, &part("crossattention.q_attn"), ctx);
            let [k, v] = self.remembered(number, memory.clone(), ctx);
            let heard = attend(Projected::Separate([q, k, v]), None);
            x = x + self.dropped(heard, &part("crossattention.c_proj"), ctx);
        }
        let z = self.norm(x.clone(), &part("ln_2"), ctx);
        let inner = self.fed(z, number, ctx);
        x + self.dropped(inner, &part("mlp.c_proj"), ctx)
    }

    /// Keys and values of the memory for a layer.
    fn remembered(&self, number: usize, memory: Tensor<3>, ctx: &Context) -> [Tensor<3>; 2] {
        let d = self.config.n_embd;
        let name = format!("transformer.h.{number}.crossattention.c_attn");
        let both = self.map(memory, &name, ctx);
        [0, d].map(|from| both.clone().narrow(2, from, d))
    }

    fn fed<const D: usize>(&self, x: Tensor<D>, number: usize, ctx: &Context) -> Tensor<D> {
        let (w, b) = self.pair(&format!("transformer.h.{number}.mlp.c_fc"));
        let act = self.config.activation_function.into();
        linear_input_first(x, w, b, act, false, ctx)
    }

    fn map<const D: usize>(&self, x: Tensor<D>, name: &str, ctx: &Context) -> Tensor<D> {
        let (w, b) = self.pair(name);
        linear_input_first(x, w, b, Activation::Identity, false, ctx)
    }

    /// The last map of a branch, with dropout.
    fn dropped<const D: usize>(&self, x: Tensor<D>, name: &str, ctx: &Context) -> Tensor<D> {
        let (w, b) = self.pair(name);
        ctx.dropping(self.config.resid_pdrop, || {
            linear_input_first(x, w, b, Activation::Identity, true, ctx)
        })
    }

    fn norm<const D: usize>(&self, x: Tensor<D>, name: &str, ctx: &Context) -> Tensor<D> {
        let part = |part: &str| self.weights.get(&format!("{}{name}.{part}", self.prefix));
        let eps = self.config.layer_norm_epsilon;
        layer_norm(x, part("weight"), part("bias"), eps, ctx)
    }

    fn pair(&self, name: &str) -> (Tensor<2>, Tensor<1>) {
        let name = format!("{}{name}", self.prefix);
        (
            self.weights.get(&format!("{name}.weight")),
            self.weights.get(&format!("{name}.bias")),
        )
    }

    fn matrix(&self, name: &str) -> Tensor<2> {
        self.weights.get(&format!("{}{name}", self.prefix))
    }

    /// The state before the first word piece of `texts` texts; `memory` `[texts, tokens, width]` as for [`Gpt2::states`].
    pub fn start(&self, texts: usize, memory: Option<&Tensor<3>>, ctx: &Context) -> Gpt2State {
        let memory = memory.filter(|_| self.config.add_cross_attention);
        let layer = |number| LayerState {
            own: KeyValues::empty(texts, self.config.n_embd, ctx),
            other: memory.map(|memory| self.hear(number, memory.clone(), ctx)),
        };
        Gpt2State {
            layers: (0..self.config.n_layer).map(layer).collect(),
            position: 0,
        }
    }

    fn hear(&self, number: usize, memory: Tensor<3>, ctx: &Context) -> Heard {
        let [texts, tokens, _] = memory.dims();
        let [k, v] = self.remembered(number, memory, ctx);
        if tokens != 1 {
            return Heard::Tokens(KeyValues::of(k, v, ctx));
        }
        // The attention weight of a single token is 1, whatever the query.
        let v = v.reshape([texts, self.config.n_embd]);
        let name = format!("transformer.h.{number}.crossattention.c_proj");
        Heard::Added(self.map(v, &name, ctx))
    }

    /// Reads one word piece of each row and gives the scores of all that may follow: `[rows, vocabulary]`. Rows do not depend on each
    /// other.
    ///
    /// # Errors
    /// When the rows are as long as the positions, or an id is no word piece.
    pub fn step(
        &self,
        tokens: &[u32],
        state: &mut Gpt2State,
        ctx: &Context,
    ) -> Result<Tensor<2>, String> {
        let c = self.config;
        if state.position >= c.n_positions {
            return Err(format!(
                "a text of more than {} word pieces, which are the positions of the decoder",
                c.n_positions
            ));
        }
        self.known(tokens)?;
        let place = self.matrix(POSITIONS).narrow(0, state.position, 1);
        let mut x = rows(self.matrix(TABLE), tokens, ctx) + place;
        for (number, layer) in state.layers.iter_mut().enumerate() {
            x = self.advance(number, x, layer, ctx);
        }
        state.position += 1;
        let x = self.norm(x, LAST_NORM, ctx);
        Ok(self.logits(x, ctx))
    }

    /// [`Gpt2::block`] for one position of each row, `[rows, width]`.
    fn advance(
        &self,
        number: usize,
        x: Tensor<2>,
        layer: &mut LayerState,
        ctx: &Context,
    ) -> Tensor<2> {
        let (d, heads) = (self.config.n_embd, self.config.n_head);
        let part = |part: &str| format!("transformer.h.{number}.{part}");
        let z = self.norm(x.clone(), &part("ln_1"), ctx);
        let qkv = self.map(z, &part("attn.c_attn"), ctx);
        let [q, k, v] = [0, d, 2 * d].map(|from| qkv.clone().narrow(1, from, d));
        layer.own.push(k, v);
        let heard = layer.own.attend(q, heads, ctx);
        let mut x = x + self.map(heard, &part("attn.c_proj"), ctx);
        match &layer.other {
            None => {}
            Some(Heard::Added(heard)) => x = x + heard.clone(),
            Some(Heard::Tokens(kept)) => {
                let z = self.norm(x.clone(), &part("ln_cross_attn"), ctx);
                let q = self.map(z, &part("crossattention.q_attn"), ctx);
                let heard = kept.attend(q, heads, ctx);
                x = x + self.map(heard, &part("crossattention.c_proj"), ctx);
            }
        }
        let z = self.norm(x.clone(), &part("ln_2"), ctx);
        x + self.map(self.fed(z, number, ctx), &part("mlp.c_proj"), ctx)
    }
}

/// What is kept of the rows read so far.
#[derive(Clone, Debug)]
pub struct Gpt2State {
    layers: Vec<LayerState>,
    position: usize,
}

#[derive(Clone, Debug)]
struct LayerState {
    own: KeyValues,
    other: Option<Heard>,
}

/// What a layer hears of the memory.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
enum Heard {
    /// Of a single token, the same in all positions: what is added `[rows, width]`.
    Added(Tensor<2>),
    Tokens(KeyValues),
}

impl Gpt2State {
    /// Goes on with these rows, in this order; one may go on more than once.
    pub fn reorder(&mut self, rows: &[usize]) {
        for layer in &mut self.layers {
            layer.own.reorder(rows);
            match &mut layer.other {
                None => {}
                Some(Heard::Added(heard)) => *heard = reordered(heard.clone(), rows),
                Some(Heard::Tokens(kept)) => kept.reorder(rows),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use crate::random::Stream;

    use super::*;

    fn small() -> Gpt2Config {
        Gpt2Config {
            vocab_size: 40,
            n_positions: 12,
            n_embd: 24,
            n_layer: 2,
            n_head: 3,
            add_cross_attention: true,
            ..Gpt2Config::default()
        }
    }

    fn weights(config: &Gpt2Config) -> Weights {
        let mut weights = Weights::default();
        for (name, shape) in config.parameters() {
            let mut stream = Stream::new(3, &name);
            let mut values = config.initial(&name, &shape, &mut stream);
            // Larger than they begin, so that all parts matter.
            values.iter_mut().for_each(|v| *v *= 10.0);
            weights.insert(name, &shape, values, &Device::flex());
        }
        weights
    }

    #[test]
    fn the_published_decoder_has_its_number_of_parameters() {
        let config = Gpt2Config {
            vocab_size: 50_259,
            add_cross_attention: true,
            ..Gpt2Config::default()
        };
        let all = config.parameters();
        let count: usize = all.iter().map(|(_, s)| s.iter().product::<usize>()).sum();
        assert_eq!(count, 96_097_536);
    }

    #[test]
    fn one_step_at_a_time_gives_what_whole_texts_do() {
        let config = small();
        let weights = weights(&config);
        let gpt2 = Gpt2 {
            config: &config,
            weights: &weights,
            prefix: "",
        };
        let (texts, length) = (2, 7);
        for (tokens, composed) in [(1, false), (3, false), (1, true), (3, true)] {
            let ctx = Context::inference(&Device::flex());
            let ctx = if composed { ctx.composed() } else { ctx };
            let mut stream = Stream::new(8, "memory");
            let memory = (0..texts * tokens * 24).map(|_| stream.normal() as f32);
            let memory = TensorData::new(memory.collect::<Vec<_>>(), [texts, tokens, 24]);
            let memory = Tensor::<3>::from_data(memory, &Device::flex());
            let ids: Vec<u32> = (0..texts * length).map(|i| (i * 7 % 40) as u32).collect();
            let whole = TextIds {
                ids: ids.clone(),
                real: vec![true; ids.len()],
                length,
            };
            let whole = gpt2.states(&whole, true, Some(&memory), &ctx).unwrap();
            let whole = gpt2.logits(whole, &ctx);
            let mut state = gpt2.start(texts, Some(&memory), &ctx);
            for position in 0..length {
                let own: Vec<u32> = (0..texts).map(|row| ids[row * length + position]).collect();
                let found = gpt2.step(&own, &mut state, &ctx).unwrap();
                let expected = whole.clone().narrow(1, position, 1);
                let expected = expected.reshape([texts, 40]);
                let worst = (found - expected).abs().max().into_scalar::<f32>();
                assert!(worst < 2e-5, "{worst}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let config = small();
        let weights = weights(&config);
        let gpt2 = Gpt2 {
            config: &config,
            weights: &weights,
            prefix: "",
        };
        let ctx = Context::inference(&Device::flex());
        let texts = |ids: Vec<u32>| TextIds {
            length: ids.len(),
            real: vec![true; ids.len()],
            ids,
        };
        let long = gpt2.states(&texts(vec![1; 13]), true, None, &ctx);
        assert!(long.unwrap_err().contains("12 positions"));
        let other = gpt2.states(&texts(vec![40]), true, None, &ctx);
        assert!(other.unwrap_err().contains("id 40"));
    }
}
