//! HuBERT-ECG's pre-training as an objective, and what of a classifier trains.

mod cutter;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use purkinje_base::npy::Header;
use purkinje_models::compat::Compat;
use purkinje_models::hubert::{Hubert, HubertBatch, HubertConfig, HubertInput, TokenMasking};
use purkinje_models::layers::{Context, Weights};
use purkinje_models::random::Stream;

use crate::TrainError;
use crate::named_losses::Losses;
use crate::objective::Objective;
use crate::order::EpochOrder;
use crate::source::{Look, Source};

pub use self::cutter::{HubertCutter, StoreCrops};

/// The leads of a record end to end, and its code words `[code books, tokens]`.
pub type Coded = (HubertInput, Vec<u32>);

/// Signals with the code words of their tokens.
pub struct CodedCrops<'a> {
    crops: StoreCrops<'a>,
    codes: Codes,
}

impl<'a> CodedCrops<'a> {
    /// Crops, whose records are in the order of the codes.
    ///
    /// # Errors
    /// When there are not as many.
    pub fn new(crops: StoreCrops<'a>, codes: Codes) -> Result<Self, TrainError> {
        if crops.len() != codes.records {
            return Err(TrainError::Data(format!(
                "there are code words of {} records for {} records; cluster again",
                codes.records,
                crops.len()
            )));
        }
        Ok(CodedCrops { crops, codes })
    }
}

impl Source for CodedCrops<'_> {
    type Input = Coded;

    fn len(&self) -> usize {
        self.crops.len()
    }

    /// The code words are those of the beginning, so that is what is seen however a network looks.
    fn see(&self, index: usize, _look: Look) -> Result<Coded, TrainError> {
        let input = self.crops.see(index, Look::Whole)?;
        Ok((input, self.codes.of(index)?))
    }
}

/// Code words of many records in a file (`.npy`, `[record, code book * token]`, unsigned 16-bit), read where they are
/// asked for: 186 bytes a record and book, whatever the number of records.
pub struct Codes {
    path: PathBuf,
    file: Mutex<File>,
    start: u64,
    words: usize,
    records: usize,
}

impl Codes {
    /// Opens the code words of `records` records, `words` each.
    ///
    /// # Errors
    /// When the file cannot be read or does not hold as many.
    pub fn open(path: &Path, records: usize, words: usize) -> Result<Self, TrainError> {
        let mut file = File::open(path).map_err(|e| TrainError::io(path, e))?;
        let size = file.metadata().map_err(|e| TrainError::io(path, e))?.len();
        let header = Header::read(&mut file).map_err(|e| TrainError::io(path, e))?;
        let values = records.checked_mul(words);
        let fits = header.holds::<u16>()
            && header.shape.first() == Some(&records)
            && values.is_some_and(|values| header.values() == Some(values))
            && values.is_some_and(|values| size == header.bytes as u64 + 2 * values as u64);
        if !fits {
            return Err(TrainError::Data(format!(
                "{}: {size} bytes of {} {:?} are not the code words of {records} records, {words} each; remove it and repeat the command",
                path.display(),
                header.descr,
                header.shape
            )));
        }
        Ok(Codes {
            path: path.to_owned(),
            file: Mutex::new(file),
            start: header.bytes as u64,
            words,
            records,
        })
    }

    /// Those of one record.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of(&self, record: usize) -> Result<Vec<u32>, TrainError> {
        let mut bytes = vec![0; 2 * self.words];
        let place = self.start + (record * bytes.len()) as u64;
        // A poisoned lock means that another thread panicked; the file itself has no state but its position.
        let mut file = self.file.lock().unwrap_or_else(|e| e.into_inner());
        file.seek(SeekFrom::Start(place))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|e| TrainError::io(&self.path, e))?;
        let words = bytes.as_chunks::<2>().0.iter();
        Ok(words
            .map(|word| u32::from(u16::from_le_bytes(*word)))
            .collect())
    }
}

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

/// Which parts of a classifier train. The feature projection and the head always do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freezing {
    /// Transformer layers, counted from the last.
    pub blocks: usize,
    /// The convolutions of the front end.
    pub convolutions: bool,
    /// The positional convolution and the first norm of the encoder.
    pub positions: bool,
}

impl Freezing {
    /// Everything trains.
    pub fn all(layers: usize) -> Self {
        Freezing {
            blocks: layers,
            convolutions: true,
            positions: true,
        }
    }

    /// The last `blocks` layers of `config` train. Where these are all, [`Compat::Paper`] also trains what comes before
    /// the first layer; the program leaves it frozen (13.14).
    pub fn last(blocks: usize, convolutions: bool, config: &HubertConfig) -> Self {
        Freezing {
            blocks,
            convolutions,
            positions: config.compat == Compat::Paper && blocks >= config.num_hidden_layers,
        }
    }

    /// Whether the parameter of that name trains in a model of this configuration.
    pub fn trains(&self, name: &str, config: &HubertConfig) -> bool {
        if name.starts_with("feature_extractor.") {
            return self.convolutions;
        }
        match name.strip_prefix("encoder.") {
            None => true,
            Some(part) => match layer_of(part) {
                None => self.positions,
                Some(layer) => layer + self.blocks >= config.num_hidden_layers,
            },
        }
    }
}

/// The number of the layer a part of the encoder belongs to.
fn layer_of(part: &str) -> Option<usize> {
    let rest = part.strip_prefix("layers.")?;
    rest.split('.').next()?.parse().ok()
}

/// The learning rate of a parameter under layer-wise rates: 1e-7 for the feature projection and all layers but the last
/// four, `lr` for these, 1e-5 for the head; `None` for what is not optimised.
pub fn layer_wise_rate(name: &str, lr: f64, config: &HubertConfig) -> Option<f64> {
    const LOW: f64 = 1e-7;
    const HEAD: f64 = 1e-5;
    const LAST: usize = 4;
    if name.starts_with("feature_projection.") {
        return Some(LOW);
    }
    if name.starts_with("classifier.") || name.starts_with("label_embedding.") {
        return Some(HEAD);
    }
    let layer = layer_of(name.strip_prefix("encoder.")?)?;
    let high = layer + LAST >= config.num_hidden_layers;
    Some(if high { lr } else { LOW })
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

    #[test]
    fn published_rules_freeze_what_the_key_tables_say() {
        let paper = HubertConfig::base();
        let released = HubertConfig {
            compat: Compat::Released,
            ..paper.clone()
        };
        let sizes = |config: &HubertConfig| -> usize {
            let freezing = Freezing::last(12, false, config);
            let own = config.encoder_parameters().into_iter();
            own.filter(|(name, _)| freezing.trains(name, config))
                .map(|(_, shape)| shape.iter().product::<usize>())
                .sum()
        };
        let table = include_str!("../../purkinje-models/src/checkpoint/published_keys_hubert.txt");
        let (_, table) = table.split_once("= base classification").unwrap();
        let (table, _) = table.split_once("\n= ").unwrap();
        let all = Freezing::last(12, false, &released);
        for line in table.lines().filter(|line| line.contains("hubert_ecg.")) {
            let words: Vec<&str> = line.trim_start_matches("*12 ").split(' ').collect();
            let name = words[0]["hubert_ecg.".len()..].replace("{i}", "3");
            assert_eq!(all.trains(&name, &released), words[2] == "+", "{name}");
        }
        // With the vector for hidden tokens and 164 outputs.
        assert_eq!(sizes(&released) + 768 + 769 * 164, 85_576_356);
        assert!(sizes(&paper) > sizes(&released));
        let two = Freezing::last(2, true, &paper);
        assert!(two.trains("encoder.layers.10.layer_norm.bias", &paper));
        assert!(!two.trains("encoder.layers.9.layer_norm.bias", &paper));
        assert!(!two.trains("encoder.layer_norm.bias", &paper));
        assert!(two.trains("feature_extractor.conv_layers.0.conv.weight", &paper));
        let rate = |name| layer_wise_rate(name, 1e-4, &paper);
        assert_eq!(rate("encoder.layers.7.layer_norm.bias"), Some(1e-7));
        assert_eq!(rate("encoder.layers.8.layer_norm.bias"), Some(1e-4));
        assert_eq!(rate("classifier.0.bias"), Some(1e-5));
        assert_eq!(rate("encoder.layer_norm.bias"), None);
    }
}
