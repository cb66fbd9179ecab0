//! Reports by a GPT-2 whose layers attend to one token: the vector of the recording, mapped to its width.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{ENCODER, HEAD};
use crate::compat::Compat;
use crate::decoding::{Decoding, DecodingError, Written};
use crate::deri::{Deri, DeriConfig};
use crate::encoder::Encoder as _;
use crate::layers::vit1d::map;
use crate::layers::{Context, WeightError, Weights};
use crate::paired::{PairConfig as _, Paired as _, Part, Signals};
use crate::text::{Gpt2, Gpt2Config, TextIds};
use crate::writing::{self, Taught};

/// What stands in front of the names of the decoder.
const DECODER: &str = "decoder.encoder_decoder.decoder.";

/// The whole network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gpt2ReportConfig {
    /// The encoder of recordings. As the paper has it, it is not in training while reports are learnt; as released, its batch
    /// normalisation goes on in training mode although nothing of it learns.
    pub encoder: DeriConfig,
    /// The decoder, which must attend to other tokens.
    pub decoder: Gpt2Config,
}

impl Gpt2ReportConfig {
    /// Checks that all sizes fit each other.
    ///
    /// # Errors
    /// A message that names the field.
    pub fn validate(&self) -> Result<(), String> {
        self.encoder
            .validate()
            .map_err(|e| format!("encoder: {e}"))?;
        self.decoder
            .validate()
            .map_err(|e| format!("decoder: {e}"))?;
        match self.decoder.add_cross_attention {
            true => Ok(()),
            false => Err("decoder: add_cross_attention: false, expected true".to_owned()),
        }
    }

    /// The names and shapes of what is added to the encoder: its head and the decoder, all of which learn.
    pub fn added_entries(&self) -> Vec<(String, Vec<usize>)> {
        let (from, to) = (self.encoder.width, self.decoder.n_embd);
        let mut all = vec![
            (format!("{HEAD}.weight"), vec![to, from]),
            (format!("{HEAD}.bias"), vec![to]),
        ];
        let decoder = self.decoder.parameters().into_iter();
        all.extend(decoder.map(|(name, shape)| (format!("{DECODER}{name}"), shape)));
        all
    }

    /// All names and shapes that writing reports needs.
    pub fn entries(&self) -> Vec<(String, Vec<usize>)> {
        let encoder = self.encoder.ecg_entries().into_iter();
        let mut all: Vec<(String, Vec<usize>)> = encoder
            .map(|(name, shape)| (format!("{ENCODER}{name}"), shape))
            .collect();
        all.extend(self.added_entries());
        all
    }
}

/// An encoder of recordings with a GPT-2 that writes their reports.
#[derive(Clone, Debug)]
pub struct Gpt2Report {
    config: Gpt2ReportConfig,
    weights: Weights,
}

impl Gpt2Report {
    /// A network with the given weights, named as in the released checkpoints; there may be more.
    ///
    /// # Errors
    /// When an entry is missing or has another shape.
    pub fn new(config: Gpt2ReportConfig, mut weights: Weights) -> Result<Self, WeightError> {
        weights.require(&config.entries())?;
        let state = config.encoder.ecg.state(&format!("{ENCODER}ecg_encoder."));
        weights.declare_state(state.iter().map(String::as_str))?;
        Ok(Gpt2Report { config, weights })
    }

    /// The hyper-parameters.
    pub fn config(&self) -> &Gpt2ReportConfig {
        &self.config
    }

    /// The parameters and the state.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The same network with other weights of the same shapes.
    #[must_use]
    pub fn with_weights(&self, weights: Weights) -> Self {
        Gpt2Report {
            config: self.config.clone(),
            weights,
        }
    }

    /// The same network without any dropout.
    #[must_use]
    pub fn without_dropout(&self) -> Self {
        let mut own = self.clone();
        let encoder = &mut own.config.encoder.decoder;
        (encoder.dropout, encoder.drop_path) = (0.0, 0.0);
        own.config.decoder = own.config.decoder.without_dropout();
        own
    }

    /// Whether a parameter learns from reports: the head of the encoder and the decoder do.
    pub fn learns(name: &str) -> bool {
        name.starts_with(HEAD) || name.starts_with(DECODER)
    }

    /// The vector of recordings `[batch, width]`, outside of any graph. In a pass that trains the encoder is in training mode if it
    /// follows the released program.
    pub fn feature(&self, batch: &Signals, ctx: &Context) -> Tensor<2> {
        let encoder = DeriConfig {
            part: Part::Ecg,
            ..self.config.encoder.clone()
        };
        let own = Deri::with(encoder.clone(), self.weights.below(ENCODER).untracked());
        let find = |ctx: &Context| match &own {
            Ok(own) => own.vectors(batch, ctx).squeeze_dim(1),
            Err(e) => unreachable!("the entries were required at construction: {e}"),
        };
        ctx.untracked(|ctx| {
            ctx.naming(ENCODER, || match encoder.compat {
                Compat::Paper => find(&ctx.evaluating()),
                Compat::Released => find(ctx),
            })
        })
    }

    /// The token of each recording `[batch, 1, width of the decoder]`.
    pub fn memory(&self, batch: &Signals, ctx: &Context) -> Tensor<3> {
        let token = map(self.feature(batch, ctx), &self.weights, HEAD, ctx);
        token.unsqueeze_dim(1)
    }

    /// The decoder.
    pub fn decoder(&self) -> Gpt2<'_> {
        Gpt2 {
            config: &self.config.decoder,
            weights: &self.weights,
            prefix: DECODER,
        }
    }

    /// Scores of all tokens at each position of the texts `[batch, length, vocabulary]`.
    ///
    /// # Errors
    /// When the texts do not fit the decoder.
    pub fn logits(
        &self,
        batch: &Signals,
        texts: &TextIds,
        ctx: &Context,
    ) -> Result<Tensor<3>, String> {
        self.logits_from(&self.memory(batch, ctx), texts, ctx)
    }

    /// The same for recordings of which the tokens `[batch, tokens, width of the decoder]` are known.
    ///
    /// # Errors
    /// As [`Gpt2Report::logits`].
    pub fn logits_from(
        &self,
        memory: &Tensor<3>,
        texts: &TextIds,
        ctx: &Context,
    ) -> Result<Tensor<3>, String> {
        let states = self.decoder().states(texts, true, Some(memory), ctx)?;
        Ok(self.decoder().logits(states, ctx))
    }

    /// The mean cross-entropy over all labels `[1]`.
    ///
    /// # Errors
    /// When the reports do not fit the decoder or the batch.
    pub fn loss(
        &self,
        batch: &Signals,
        taught: &Taught,
        ctx: &Context,
    ) -> Result<Tensor<1>, String> {
        let memory = self.memory(batch, ctx);
        writing::loss(self.decoder(), Some(&memory), taught, ctx)
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
        self.write_from(self.memory(batch, ctx), how, ctx)
    }

    /// Writes the reports of recordings of which the tokens `[batch, tokens, width of the decoder]` are known.
    ///
    /// # Errors
    /// As [`Gpt2Report::write`].
    pub fn write_from(
        &self,
        memory: Tensor<3>,
        how: &Decoding,
        ctx: &Context,
    ) -> Result<Vec<Written>, DecodingError> {
        writing::write(self.decoder(), memory, how, ctx)
    }
}

#[cfg(test)]
mod tests;
