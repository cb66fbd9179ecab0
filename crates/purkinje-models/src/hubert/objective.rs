//! The pre-training objective of HuBERT-ECG: predicting the cluster indices of masked tokens by cosine similarity.

use burn::tensor::{Int, Shape, Tensor, TensorData, activation};

use super::input::HubertBatch;
use super::masking::TokenMasking;
use super::network::Hubert;
use crate::layers::{Activation, Context, linear};

/// Temperature: cosines are divided by it.
pub const TEMPERATURE: f64 = 0.1;
/// Smallest norm in cosines.
const LEAST_NORM: f64 = 1e-8;

/// Mean cross-entropies of one code book.
#[derive(Clone, Debug)]
pub struct CodeBookLoss {
    /// Over masked tokens `[1]`; 0 where none is masked.
    pub masked: Tensor<1>,
    /// Over the other tokens `[1]`; 0 where all are masked.
    pub unmasked: Tensor<1>,
}

/// Loss and predictions of one batch.
#[derive(Clone, Debug)]
pub struct CodePrediction {
    /// The loss `[1]`.
    pub loss: Tensor<1>,
    /// Its terms, for each code book.
    pub books: Vec<CodeBookLoss>,
    /// `[batch, tokens, clusters]` for each code book.
    pub logits: Vec<Tensor<3>>,
    /// Token states `[batch, tokens, width]`.
    pub last: Tensor<3>,
}

impl Hubert {
    /// Logits `[batch, tokens, clusters]` of each code book for token states `[batch, tokens, width]`.
    ///
    /// # Panics
    /// When the weights hold no code-book heads.
    pub fn code_logits(&self, last: &Tensor<3>, ctx: &Context) -> Vec<Tensor<3>> {
        let [batch, tokens, _] = last.dims();
        let books = self.config().vocab_sizes.iter().enumerate();
        books
            .map(|(e, &words)| {
                let (w, b) = self.map(&format!("final_proj.{e}"));
                let projected = linear(last.clone(), w, b, Activation::Identity, false, ctx);
                let width = projected.dims()[2];
                let codes = self.weights().get(&format!("label_embedding.{e}.weight"));
                cosine(projected.reshape([batch * tokens, width]), codes, ctx)
                    .div_scalar(TEMPERATURE)
                    .reshape([batch, tokens, words])
            })
            .collect()
    }

    /// Predicts the cluster indices of masked tokens: `alpha * sum of masked + (1 - alpha) * sum of unmasked` means
    /// over the code books. `codes` `[batch, code books, tokens]`.
    ///
    /// # Panics
    /// When `codes` has another length, or a cluster index exceeds its code book.
    pub fn predict_codes(
        &self,
        batch: &HubertBatch,
        codes: &[u32],
        masking: &TokenMasking,
        alpha: f64,
        ctx: &Context,
    ) -> CodePrediction {
        let last = self.encode(batch, Some(masking), ctx).last;
        let logits = self.code_logits(&last, ctx);
        let hidden = masking.hidden();
        let count = hidden.iter().filter(|h| **h).count();
        let share = |of: bool| {
            let count = if of { count } else { hidden.len() - count };
            let weight = 1.0 / count.max(1) as f32;
            let weights: Vec<f32> = hidden
                .iter()
                .map(|h| if *h == of { weight } else { 0.0 })
                .collect();
            let shape = Shape::new([weights.len()]);
            Tensor::<1>::from_data(TensorData::new(weights, shape), ctx.device())
        };
        let (masked, unmasked) = (share(true), share(false));
        let books: Vec<CodeBookLoss> = logits
            .iter()
            .enumerate()
            .map(|(e, logits)| {
                let losses = self.cross_entropies(logits, codes, e, ctx);
                CodeBookLoss {
                    masked: (losses.clone() * masked.clone()).sum(),
                    unmasked: (losses * unmasked.clone()).sum(),
                }
            })
            .collect();
        let total = |part: fn(&CodeBookLoss) -> &Tensor<1>, factor: f64| {
            let parts = books.iter().map(|book| part(book).clone());
            parts
                .reduce(|a, b| a + b)
                .filter(|_| factor != 0.0)
                .map(|sum| sum * factor)
        };
        let parts = [
            total(|book| &book.masked, alpha),
            total(|book| &book.unmasked, 1.0 - alpha),
        ];
        let loss = parts.into_iter().flatten().reduce(|a, b| a + b);
        CodePrediction {
            loss: loss.unwrap_or_else(|| Tensor::zeros([1], ctx.device())),
            books,
            logits,
            last,
        }
    }

    /// Evaluates without masking: the sum over code books of the mean cross-entropy over all tokens, and the accuracy
    /// (the fraction of tokens whose most likely cluster is the right one), averaged over code books.
    ///
    /// # Panics
    /// As [`Hubert::predict_codes`].
    pub fn validate_codes(&self, batch: &HubertBatch, codes: &[u32], ctx: &Context) -> (f64, f64) {
        let last = self.encode(&batch.without_mask(), None, ctx).last;
        let (mut loss, mut right) = (0.0, 0usize);
        let logits = self.code_logits(&last, ctx);
        let books = logits.len();
        let [size, tokens, _] = last.dims();
        for (e, logits) in logits.into_iter().enumerate() {
            let mean = self.cross_entropies(&logits, codes, e, ctx).mean();
            loss += f64::from(mean.into_scalar::<f32>());
            let words = logits.dims()[2];
            let values = logits.into_data().convert::<f32>().try_to_vec::<f32>();
            // The tensor was just computed in float32.
            let values = values.unwrap_or_default();
            for (i, row) in values.chunks_exact(words).enumerate() {
                let best = (0..words).fold(0, |best, w| if row[w] > row[best] { w } else { best });
                let (item, token) = (i / tokens, i % tokens);
                right += usize::from(codes[(item * books + e) * tokens + token] as usize == best);
            }
        }
        (loss, right as f64 / (books * size * tokens).max(1) as f64)
    }

    /// Cross-entropy of each token `[batch * tokens]` for code book `e`.
    fn cross_entropies(
        &self,
        logits: &Tensor<3>,
        codes: &[u32],
        e: usize,
        ctx: &Context,
    ) -> Tensor<1> {
        let [batch, tokens, words] = logits.dims();
        let books = self.config().vocab_sizes.len();
        assert_eq!(codes.len(), batch * books * tokens, "codes of a batch");
        let own: Vec<i32> = codes
            .chunks_exact(books * tokens)
            .flat_map(|item| &item[e * tokens..(e + 1) * tokens])
            .map(|&code| {
                assert!(
                    (code as usize) < words,
                    "cluster index {code} in a code book of {words} clusters"
                );
                code as i32
            })
            .collect();
        let own = TensorData::new(own, [batch * tokens, 1]);
        let own = Tensor::<2, Int>::from_data(own, ctx.device());
        let rows = logits.clone().reshape([batch * tokens, words]);
        activation::log_softmax(rows, 1)
            .gather(1, own)
            .neg()
            .reshape([batch * tokens])
    }
}

/// Cosines of rows `[n, d]` with vectors `[m, d]`: `[n, m]`.
pub(super) fn cosine(x: Tensor<2>, vectors: Tensor<2>, ctx: &Context) -> Tensor<2> {
    let unit = |x: Tensor<2>| {
        let norm = x.clone().square().sum_dim(1);
        x / norm.clamp_min(LEAST_NORM * LEAST_NORM).sqrt()
    };
    ctx.matmul(unit(x), unit(vectors).transpose())
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::hubert::{HubertConfig, HubertInput};

    #[test]
    fn code_words_can_be_learned_and_short_vectors_do_not_divide_by_zero() {
        let device = Device::flex();
        let ctx = Context::inference(&device);
        let x = Tensor::<2>::from_floats([[3.0, 4.0], [0.0, 0.0]], &device);
        let y = Tensor::<2>::from_floats([[1.0, 0.0], [-3.0, -4.0]], &device);
        let cosines = cosine(x, y, &ctx).into_data().try_to_vec::<f32>().unwrap();
        for (found, expected) in cosines.iter().zip([0.6, -1.0, 0.0, 0.0]) {
            assert!((found - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn the_next_iteration_keeps_all_but_the_code_vectors() {
        let device = Device::flex();
        let first = Hubert::random(HubertConfig::tiny(), 3, &device);
        let next = first.next_iteration(vec![100, 7], 4, &device);
        assert_eq!(next.config().vocab_sizes, [100, 7]);
        let values = |model: &Hubert, name: &str| {
            let parameter = model.weights().parameter(name).unwrap();
            parameter.value.to_data().try_to_vec::<f32>().unwrap()
        };
        for name in [
            "masked_spec_embed",
            "final_proj.0.weight",
            "encoder.layers.3.layer_norm.bias",
        ] {
            assert_eq!(values(&next, name), values(&first, name), "{name}");
        }
        let vectors = "label_embedding.0.weight";
        assert_ne!(values(&next, vectors), values(&first, vectors));
        assert_eq!(values(&next, "label_embedding.1.weight").len(), 7 * 64);
        next.weights().require(&next.config().parameters()).unwrap();
    }

    #[test]
    fn a_batch_without_hidden_tokens_has_a_finite_loss() {
        let device = Device::flex();
        let config = HubertConfig {
            vocab_sizes: vec![7, 5],
            ..HubertConfig::tiny()
        };
        let model = Hubert::random(config.clone(), 3, &device);
        let input = HubertInput {
            samples: (0..1440).map(|i| (i as f32 * 0.1).sin()).collect(),
            real: None,
        };
        let batch = HubertBatch::new(&config, &[input.clone(), input]).unwrap();
        let tokens = config.tokens(1440);
        let codes: Vec<u32> = (0..4 * tokens as u32).map(|i| i % 5).collect();
        let ctx = Context::inference(&device);
        for (hidden, alpha) in [(false, 1.0), (true, 0.5)] {
            let masking = TokenMasking::new(tokens, vec![hidden; 2 * tokens]);
            let found = model.predict_codes(&batch, &codes, &masking, alpha, &ctx);
            let loss: f32 = found.loss.into_scalar();
            assert!(loss.is_finite());
            assert_eq!(loss == 0.0, !hidden);
        }
        let (loss, accuracy) = model.validate_codes(&batch, &codes, &ctx);
        assert!(loss > 0.0 && (0.0..=1.0).contains(&accuracy));
    }
}
