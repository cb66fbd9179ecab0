//! Reports by R2Gen from the tokens of a recording.

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::config::R2GenConfig;
use super::network::{R2Gen, R2GenState};
use crate::decoding::{self, Decoding, DecodingError, NextToken, Written};
use crate::deri::report::{ENCODER, HEAD};
use crate::deri::{Deri, DeriConfig};
use crate::layers::vit1d::map;
use crate::layers::{Context, WeightError, Weights, init, log_softmax};
use crate::paired::{PairConfig as _, Paired as _, Part, Signals};
use crate::random::Stream;
use crate::text::TextIds;
use crate::writing::TaughtBert;

/// What stands in front of the names of the decoder.
const DECODER: &str = "encoder_decoder.";

/// The whole network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct R2GenReportConfig {
    /// The encoder of recordings, which learns too.
    pub encoder: DeriConfig,
    /// What writes.
    pub decoder: R2GenConfig,
}

impl R2GenReportConfig {
    /// Checks that all sizes fit each other.
    ///
    /// # Errors
    /// A message that names the field.
    pub fn validate(&self) -> Result<(), String> {
        self.encoder
            .validate()
            .map_err(|e| format!("encoder: {e}"))?;
        self.decoder.validate().map_err(|e| format!("decoder: {e}"))
    }

    /// All names and shapes that writing reports needs.
    pub fn entries(&self) -> Vec<(String, Vec<usize>)> {
        let encoder = self.encoder.ecg_entries().into_iter();
        let mut all: Vec<(String, Vec<usize>)> = encoder
            .map(|(name, shape)| (format!("{ENCODER}{name}"), shape))
            .collect();
        let (from, to) = (self.encoder.width, self.decoder.features);
        all.push((format!("{HEAD}.weight"), vec![to, from]));
        all.push((format!("{HEAD}.bias"), vec![to]));
        let decoder = self.decoder.parameters().into_iter();
        all.extend(decoder.map(|(name, shape)| (format!("{DECODER}{name}"), shape)));
        all
    }
}

/// An encoder of recordings with an R2Gen that writes their reports.
#[derive(Clone, Debug)]
pub struct R2GenReport {
    config: R2GenReportConfig,
    weights: Weights,
}

impl R2GenReport {
    /// A network with the given weights, named as in the released checkpoints; there may be more.
    ///
    /// # Errors
    /// When an entry is missing or has another shape.
    pub fn new(config: R2GenReportConfig, mut weights: Weights) -> Result<Self, WeightError> {
        weights.require(&config.entries())?;
        let state = config.encoder.ecg.state(&format!("{ENCODER}ecg_encoder."));
        weights.declare_state(state.iter().map(String::as_str))?;
        Ok(R2GenReport { config, weights })
    }

    /// A network of a trained encoder and a random decoder.
    ///
    /// # Errors
    /// When an entry of the encoder is missing or has another shape.
    pub fn assemble(
        config: R2GenReportConfig,
        encoder: &Weights,
        seed: u64,
        device: &Device,
    ) -> Result<Self, WeightError> {
        encoder.require(&config.encoder.ecg_entries())?;
        let mut weights = Weights::default();
        for parameter in encoder.iter() {
            let mut parameter = parameter.clone();
            parameter.name = format!("{ENCODER}{}", parameter.name);
            weights.put(parameter);
        }
        for (name, shape) in config.entries() {
            let mut stream = Stream::new(seed, &name);
            let values = match name.strip_prefix(DECODER) {
                Some(own) => config.decoder.initial(own, &shape, &mut stream),
                None if name.starts_with(HEAD) => {
                    let bound = 1.0 / (config.encoder.width as f64).sqrt();
                    init::uniform(shape.iter().product(), bound, &mut stream)
                }
                None => continue,
            };
            weights.insert(name, &shape, values, device);
        }
        Self::new(config, weights)
    }

    /// The hyper-parameters.
    pub fn config(&self) -> &R2GenReportConfig {
        &self.config
    }

    /// The parameters and the state.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The same network with other weights of the same shapes.
    #[must_use]
    pub fn with_weights(&self, weights: Weights) -> Self {
        R2GenReport {
            config: self.config.clone(),
            weights,
        }
    }

    /// What the decoder reads of recordings: `[batch, tokens, features]`. The encoder is in training mode in a pass that trains.
    pub fn features(&self, batch: &Signals, ctx: &Context) -> Tensor<3> {
        let own = Deri::with(
            DeriConfig {
                part: Part::Ecg,
                ..self.config.encoder.clone()
            },
            self.weights.below(ENCODER),
        );
        let tokens = match own {
            Ok(own) => ctx.naming(ENCODER, || own.mixed_tokens(batch, ctx)),
            Err(e) => unreachable!("the entries were required at construction: {e}"),
        };
        map(tokens, &self.weights, HEAD, ctx)
    }

    /// The decoder.
    pub fn decoder(&self) -> R2Gen<'_> {
        R2Gen {
            config: &self.config.decoder,
            weights: &self.weights,
            prefix: DECODER,
        }
    }

    /// The mean cross-entropy over all labels that count `[1]`.
    ///
    /// # Errors
    /// When the reports do not fit the decoder or the batch.
    pub fn loss(
        &self,
        batch: &Signals,
        taught: &TaughtBert,
        ctx: &Context,
    ) -> Result<Tensor<1>, String> {
        let found = taught.ids.len() / taught.length.max(1);
        if found != batch.size {
            return Err(format!("{found} reports of {} recordings", batch.size));
        }
        let decoder = self.decoder();
        let encoded = decoder.encode(self.features(batch, ctx), ctx);
        let (inputs, labels) = taught.split();
        let states = decoder.states(&inputs, &encoded, ctx)?;
        let loss = decoder.cross_entropy(states, &labels, ctx)?;
        loss.ok_or_else(|| "the reports have no labels".to_owned())
    }

    /// Writes the reports of recordings.
    ///
    /// # Errors
    /// When the settings do not fit the decoder, or probabilities are not finite.
    pub fn write(
        &self,
        batch: &Signals,
        how: &Decoding,
        ctx: &Context,
    ) -> Result<Vec<Written>, DecodingError> {
        self.decoder().write(self.features(batch, ctx), how, ctx)
    }
}

impl TaughtBert {
    /// What the decoder reads, and what follows each position of it.
    pub fn split(&self) -> (TextIds, Vec<Option<u32>>) {
        let length = self.length.max(1);
        let ids = self.ids.chunks_exact(length);
        let inputs: Vec<u32> = ids
            .clone()
            .flat_map(|row| row[..length - 1].iter().copied())
            .collect();
        let labels = ids.zip(self.counted.chunks_exact(length));
        let labels = labels.flat_map(|(ids, counted)| {
            let each = ids.iter().zip(counted).skip(1);
            each.map(|(id, counted)| counted.then_some(*id))
        });
        let texts = TextIds {
            real: vec![true; inputs.len()],
            ids: inputs,
            length: length - 1,
        };
        (texts, labels.collect())
    }
}

impl R2Gen<'_> {
    /// Writes the reports of features `[batch, tokens, features]`.
    ///
    /// # Errors
    /// When the settings do not fit the decoder, or probabilities are not finite.
    pub fn write(
        &self,
        features: Tensor<3>,
        how: &Decoding,
        ctx: &Context,
    ) -> Result<Vec<Written>, DecodingError> {
        let writing = Writing {
            encoded: self.encode(features, ctx),
            decoder: *self,
            ctx,
        };
        decoding::write(&writing, how)
    }
}

/// A decoder with what was encoded.
struct Writing<'a> {
    decoder: R2Gen<'a>,
    encoded: Tensor<3>,
    ctx: &'a Context,
}

impl NextToken for Writing<'_> {
    type State = R2GenState;

    fn vocabulary(&self) -> usize {
        self.decoder.config.vocabulary
    }

    fn positions(&self) -> Option<usize> {
        // The last token is read by nothing.
        Some(self.decoder.config.positions + 1)
    }

    fn sequences(&self) -> usize {
        self.encoded.dims()[0]
    }

    fn start(&self) -> R2GenState {
        self.decoder.start(&self.encoded, self.ctx)
    }

    fn step(&self, state: &mut R2GenState, tokens: &[u32]) -> Result<Vec<f32>, String> {
        let logits = self.decoder.step(tokens, state, self.ctx)?;
        let values = logits.into_data().convert::<f32>().try_to_vec::<f32>();
        let mut values = values.map_err(|e| format!("{e:?}"))?;
        log_softmax(&mut values, self.vocabulary());
        Ok(values)
    }

    fn reorder(&self, state: &mut R2GenState, rows: &[usize]) {
        state.reorder(rows);
    }
}
