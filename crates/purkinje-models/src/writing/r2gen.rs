//! R2Gen over the tokens of recordings.

use burn::tensor::Tensor;

use super::{Taught, TaughtBert};
use crate::decoding::{self, Decoding, DecodingError, NextToken, Written};
use crate::layers::Context;
use crate::text::{R2Gen, R2GenState, TextIds};

/// The mean cross-entropy over all labels `[1]` of reports of recordings of which the features `[reports, tokens, features]` are known. It
/// learns from the very token that it writes from.
pub(super) fn loss(
    decoder: R2Gen<'_>,
    features: Tensor<3>,
    taught: &Taught,
    ctx: &Context,
) -> Result<Tensor<1>, String> {
    let taught = taught.trimmed();
    let recordings = features.dims()[0];
    if taught.inputs.size() != recordings {
        return Err(format!(
            "{} reports of {recordings} recordings",
            taught.inputs.size()
        ));
    }
    let encoded = decoder.encode(features, ctx);
    let states = decoder.states(&taught.inputs, &encoded, ctx)?;
    let loss = decoder.cross_entropy(states, &taught.labels, ctx)?;
    loss.ok_or_else(|| "the reports have no labels".to_owned())
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
        decoding::log_probabilities(self.decoder.step(tokens, state, self.ctx)?)
    }

    fn reorder(&self, state: &mut R2GenState, rows: &[usize]) {
        state.reorder(rows);
    }
}
