//! HuBERT-ECG's pre-training as an objective.

use purkinje_models::hubert::{Hubert, HubertBatch, HubertConfig, HubertInput, TokenMasking};
use purkinje_models::layers::{Context, Weights};
use purkinje_models::random::Stream;
use purkinje_train::source::{Look, Source};
use purkinje_train::{EpochOrder, Losses, Objective, TrainError};

use super::codes::Coded;

/// Prediction of the code words of hidden tokens.
pub struct CodeTraining<'a, S: ?Sized> {
    model: Hubert,
    source: &'a S,
    order: EpochOrder,
    masks: Stream,
    alpha: f64,
}

impl<'a, S: Source<Input = Coded> + ?Sized> CodeTraining<'a, S> {
    /// Pre-training of `model` on all records of `source`; `alpha` is the share of hidden tokens in the loss (1 in the
    /// published runs).
    pub fn new(model: Hubert, source: &'a S, batch: usize, alpha: f64, seed: u64) -> Self {
        CodeTraining {
            model,
            order: EpochOrder::new(source.len(), batch, seed),
            source,
            masks: Stream::new(seed, "mask"),
            alpha,
        }
    }
}

/// What one step of [`CodeTraining`] works on.
#[derive(Clone, Debug)]
pub struct CodeBatch {
    /// The signals.
    pub signals: HubertBatch,
    /// Code words `[batch, code books, tokens]`.
    pub codes: Vec<u32>,
    /// Which tokens are hidden.
    pub masking: TokenMasking,
}

impl<S: Source<Input = Coded> + ?Sized> Objective for CodeTraining<'_, S> {
    type Batch = CodeBatch;

    fn name(&self) -> &str {
        "HuBERT-ECG's pre-training"
    }

    fn steps_per_epoch(&self) -> usize {
        self.order.steps()
    }

    fn batch_size(&self) -> usize {
        self.order.batch_size()
    }

    fn batch(&self, step: usize) -> Result<CodeBatch, TrainError> {
        let config = self.model.config();
        let (mut inputs, mut codes) = (Vec::new(), Vec::new());
        for index in self.order.records_of(step) {
            let (input, own) = self.source.see(index, Look::Step(step))?;
            check_codes(config, &input, &own, index)?;
            inputs.push(input);
            codes.extend(own);
        }
        let signals = HubertBatch::new(config, &inputs)?;
        let tokens = config.tokens(signals.samples);
        let mut draw = self.masks.at(step as u64);
        let masking = TokenMasking::random(config, signals.size, tokens, &mut draw);
        Ok(CodeBatch {
            signals,
            codes,
            masking,
        })
    }

    fn losses(&self, weights: &Weights, batch: &CodeBatch, ctx: &Context) -> Losses {
        let model = self.model.with_weights(weights.clone());
        let model = model.with_regulated(ctx.regulated());
        let (signals, masking) = (&batch.signals, &batch.masking);
        let found = model.predict_codes(signals, &batch.codes, masking, self.alpha, ctx);
        Losses::new("prediction", found.loss)
    }

    fn dropout(&self) -> f32 {
        self.model.config().hidden_dropout
    }

    fn regulated(&self) -> Vec<f64> {
        self.model.regulated()
    }
}

/// Every token has a code word of every book.
fn check_codes(
    config: &HubertConfig,
    input: &HubertInput,
    codes: &[u32],
    index: usize,
) -> Result<(), TrainError> {
    let tokens = config.tokens(input.samples.len());
    let books = config.vocab_sizes.len();
    if codes.len() != books * tokens {
        return Err(TrainError::Data(format!(
            "record {index} has {} code words; expected {books} books of {tokens} tokens",
            codes.len()
        )));
    }
    for (book, (own, words)) in codes
        .chunks(tokens.max(1))
        .zip(&config.vocab_sizes)
        .enumerate()
    {
        if let Some(code) = own.iter().find(|code| **code as usize >= *words) {
            return Err(TrainError::Data(format!(
                "record {index} has code word {code} of book {book}, which holds {words}; cluster with the number the model is made for"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Waves;

    impl Source for Waves {
        type Input = Coded;

        fn len(&self) -> usize {
            6
        }

        fn see(&self, index: usize, _look: Look) -> Result<Coded, TrainError> {
            let phase = index as f32;
            let samples = (0..1440).map(|i| (0.05 * i as f32 + phase).sin()).collect();
            let codes = (0..22).map(|t| (index as u32 + t) % 5).collect();
            Ok((
                HubertInput {
                    samples,
                    real: None,
                },
                codes,
            ))
        }
    }

    #[test]
    fn batches_repeat_and_codes_are_checked() {
        let config = HubertConfig {
            vocab_sizes: vec![5],
            ..HubertConfig::tiny()
        };
        let device = burn::tensor::Device::flex();
        let model = Hubert::random(config.clone(), 1, &device);
        let objective = CodeTraining::new(model, &Waves, 3, 1.0, 7);
        let again = CodeTraining::new(Hubert::random(config, 1, &device), &Waves, 3, 1.0, 7);
        assert_eq!(objective.steps_per_epoch(), 2);
        let (a, b) = (objective.batch(3).unwrap(), again.batch(3).unwrap());
        assert_eq!((&a.codes, &a.masking), (&b.codes, &b.masking));
        assert_ne!(a.masking, objective.batch(2).unwrap().masking);

        let small = HubertConfig {
            vocab_sizes: vec![4],
            ..HubertConfig::tiny()
        };
        let objective = CodeTraining::new(Hubert::random(small, 1, &device), &Waves, 3, 1.0, 7);
        let error = objective.batch(0).unwrap_err().to_string();
        assert!(error.contains("which holds 4"), "{error}");
    }
}
