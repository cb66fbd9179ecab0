//! The four losses of pre-training.

use burn::tensor::{Int, Tensor, TensorData, activation};
use serde::{Deserialize, Serialize};

use super::config::LEADS;
use super::input::{DbetaBatch, Dropping};
use super::network::{Dbeta, Masked, indices};
use crate::layers::Context;
use crate::text::TextIds;

/// Added to the variance of a lead.
const VARIANCE: f64 = 1e-6;

/// How the terms of all pairs become one loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EtsReduction {
    /// Their sum divided by the number of recordings, as in the paper.
    #[default]
    Sum,
    /// Their mean, as in the released program.
    Mean,
}

/// What the decoder of signals is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignalTarget {
    /// The signal as the network sees it, without the leads that were hidden.
    #[default]
    Masked,
    /// The signal as it was.
    Clean,
}

/// A batch of pairs.
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    /// The recordings as the network sees them.
    pub ecg: &'a DbetaBatch,
    /// The recordings that the decoder of signals is to give.
    pub target: &'a DbetaBatch,
    /// The texts as the network sees them.
    pub texts: &'a TextIds,
    /// `[texts, length]`: the word piece to predict, `None` where none is.
    pub words: &'a [Option<u32>],
    /// Whether the text belongs to the recording.
    pub aligned: &'a [bool],
    /// Which tokens are hidden.
    pub dropping: &'a Dropping,
}

/// The losses of a batch, each `[1]`.
#[derive(Clone, Debug)]
pub struct Losses {
    /// Masked words; 0 where none is masked.
    pub words: Tensor<1>,
    /// Masked stretches of signal; 0 where none is hidden.
    pub signal: Tensor<1>,
    /// Does the text belong to the recording.
    pub matching: Tensor<1>,
    /// The sigmoid loss between the vectors.
    pub alignment: Tensor<1>,
    /// Words that were right, of so many.
    pub words_right: (usize, usize),
    /// Decisions that were right, of so many.
    pub matches_right: (usize, usize),
    /// The pass they come from.
    pub pass: Masked,
}

impl Losses {
    /// Their sum.
    pub fn total(&self) -> Tensor<1> {
        self.words.clone() + self.signal.clone() + self.matching.clone() + self.alignment.clone()
    }
}

impl Dbeta {
    /// All losses of a batch.
    pub fn losses(&self, pairs: &Pairs<'_>, ets: EtsReduction, ctx: &Context) -> Losses {
        let pass = self.both(pairs.ecg, pairs.texts, Some(pairs.dropping), ctx);
        let (words, words_right) = self.word_loss(&pass, pairs, ctx);
        let signal = self.signal_loss(&pass, pairs, ctx);
        let logits = self.matching_logits(&pass.fused, ctx);
        ctx.record("etm_logits", &logits);
        let truth: Vec<usize> = pairs.aligned.iter().map(|&own| usize::from(own)).collect();
        let matches_right = (right(&logits, &truth), truth.len());
        let matching = cross_entropy(logits, &truth, ctx);
        let logits = self.alignment(pass.ecg_vectors.clone(), pass.text_vectors.clone(), ctx);
        Losses {
            words,
            signal,
            matching,
            alignment: self::ets(logits, pairs.aligned, ets, ctx),
            words_right,
            matches_right,
            pass,
        }
    }

    fn word_loss(
        &self,
        pass: &Masked,
        pairs: &Pairs<'_>,
        ctx: &Context,
    ) -> (Tensor<1>, (usize, usize)) {
        let asked = pairs.words.iter().enumerate();
        let (rows, truth): (Vec<usize>, Vec<usize>) = asked
            .filter_map(|(at, word)| Some((at, (*word)? as usize)))
            .unzip();
        if rows.is_empty() {
            return (Tensor::zeros([1], ctx.device()), (0, 0));
        }
        let [batch, length, width] = pass.fused.text.dims();
        let states = pass.fused.text.clone().reshape([batch * length, width]);
        let states = states.select(0, indices(rows.into_iter(), ctx));
        let logits = self.word_logits(states, ctx);
        let counts = (right(&logits, &truth), truth.len());
        (cross_entropy(logits, &truth, ctx), counts)
    }

    /// The mean squared error of the hidden tokens.
    fn signal_loss(&self, pass: &Masked, pairs: &Pairs<'_>, ctx: &Context) -> Tensor<1> {
        let found = self.signals(&pass.fused, pairs.dropping, ctx);
        let [batch, tokens, values] = found.dims();
        ctx.record("mem_logits", &found);
        let stretch = self.config().stretch();
        let target = signal_targets(pairs.target, tokens, stretch, true);
        let target = TensorData::new(target, [batch, tokens, values]);
        let target = Tensor::<3>::from_data(target, ctx.device());
        let hidden: Vec<f32> = pairs
            .dropping
            .hidden()
            .map(|h| f32::from(u8::from(h)))
            .collect();
        let count = hidden.iter().sum::<f32>().max(1.0);
        let hidden = TensorData::new(hidden, [batch, tokens, 1]);
        let hidden = Tensor::<3>::from_data(hidden, ctx.device());
        let errors = (found - target).square().mean_dim(2);
        (errors * hidden).sum() / count
    }
}

/// The stretches of all leads under each token `[batch, tokens, leads * stretch]`, those of a lead side by side; with `standardised` each
/// lead first has mean 0 and deviation 1 over what the tokens cover.
pub fn signal_targets(
    batch: &DbetaBatch,
    tokens: usize,
    stretch: usize,
    standardised: bool,
) -> Vec<f32> {
    let covered = tokens * stretch;
    let mut all = vec![0.0; batch.size * LEADS * covered];
    let rows = batch.values.chunks_exact(batch.samples);
    for (row, samples) in rows.enumerate() {
        let (record, lead) = (row / LEADS, row % LEADS);
        // A token may reach beyond the end where kernels are short: nothing is there.
        let own = &samples[..covered.min(samples.len())];
        let (mean, scale) = match standardised {
            false => (0.0, 1.0),
            true => {
                let count = own.len() as f64;
                let mean = own.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
                let squares = own.iter().map(|&x| (f64::from(x) - mean).powi(2));
                let variance = squares.sum::<f64>() / (count - 1.0);
                (mean, 1.0 / (variance + VARIANCE).sqrt())
            }
        };
        for (t, &x) in own.iter().enumerate() {
            let (token, inside) = (t / stretch, t % stretch);
            let at = ((record * tokens + token) * LEADS + lead) * stretch + inside;
            all[at] = ((f64::from(x) - mean) * scale) as f32;
        }
    }
    all
}

/// The pairwise sigmoid loss of logits `[recordings, texts]`: the text of a recording belongs to it if `aligned`, all others do not.
pub fn ets(logits: Tensor<2>, aligned: &[bool], how: EtsReduction, ctx: &Context) -> Tensor<1> {
    let size = aligned.len();
    let signs: Vec<f32> = (0..size * size)
        .map(|at| match at / size == at % size && aligned[at / size] {
            true => 1.0,
            false => -1.0,
        })
        .collect();
    let signs = Tensor::<2>::from_data(TensorData::new(signs, [size, size]), ctx.device());
    let terms = activation::log_sigmoid(logits * signs).neg();
    match how {
        EtsReduction::Sum => terms.sum() / size as f64,
        EtsReduction::Mean => terms.mean(),
    }
}

/// The mean over rows.
fn cross_entropy(logits: Tensor<2>, truth: &[usize], ctx: &Context) -> Tensor<1> {
    let own: Vec<i32> = truth.iter().map(|&class| class as i32).collect();
    let own = TensorData::new(own, [truth.len(), 1]);
    let own = Tensor::<2, Int>::from_data(own, ctx.device());
    activation::log_softmax(logits, 1)
        .gather(1, own)
        .neg()
        .mean()
}

/// Rows whose largest logit is that of the truth.
fn right(logits: &Tensor<2>, truth: &[usize]) -> usize {
    let classes = logits.dims()[1];
    let values = logits.to_data().convert::<f32>().try_to_vec::<f32>();
    // The tensor was just computed in float32.
    let values = values.unwrap_or_default();
    let best =
        |row: &[f32]| (0..classes).fold(0, |best, c| if row[c] > row[best] { c } else { best });
    let rows = values.chunks_exact(classes).zip(truth);
    rows.filter(|(row, truth)| best(row) == **truth).count()
}
