//! A GPT-2 whose layers attend to the tokens of recordings.

use burn::tensor::Tensor;

use super::Taught;
use crate::decoding::{self, Decoding, DecodingError, NextToken, Written};
use crate::layers::Context;
use crate::text::{Gpt2, Gpt2State};

/// The mean cross-entropy over all labels `[1]` of reports of recordings of which the tokens `[reports, tokens, width of the decoder]` are
/// known.
pub(crate) fn loss(
    decoder: Gpt2<'_>,
    memory: Option<&Tensor<3>>,
    taught: &Taught,
    ctx: &Context,
) -> Result<Tensor<1>, String> {
    if let Some(recordings) = memory.map(|memory| memory.dims()[0])
        && taught.inputs.size() != recordings
    {
        return Err(format!(
            "{} reports of {recordings} recordings",
            taught.inputs.size()
        ));
    }
    // Padding is behind every position that has a label, so none of these sees it.
    let taught = taught.trimmed();
    let states = decoder.states(&taught.inputs, false, memory, ctx)?;
    let loss = decoder.cross_entropy(states, &taught.labels, ctx)?;
    loss.ok_or_else(|| "the reports have no labels".to_owned())
}

/// Writes the reports of recordings of which the tokens `[recordings, tokens, width of the decoder]` are known.
pub(crate) fn write(
    decoder: Gpt2<'_>,
    memory: Tensor<3>,
    how: &Decoding,
    ctx: &Context,
) -> Result<Vec<Written>, DecodingError> {
    let writing = Writing {
        decoder,
        memory,
        ctx,
    };
    decoding::write(&writing, how)
}

/// A decoder with the tokens of recordings.
struct Writing<'a> {
    decoder: Gpt2<'a>,
    memory: Tensor<3>,
    ctx: &'a Context,
}

impl NextToken for Writing<'_> {
    type State = Gpt2State;

    fn vocabulary(&self) -> usize {
        self.decoder.config.vocab_size
    }

    fn positions(&self) -> Option<usize> {
        Some(self.decoder.config.n_positions)
    }

    fn sequences(&self) -> usize {
        self.memory.dims()[0]
    }

    fn start(&self) -> Gpt2State {
        self.decoder
            .start(self.sequences(), Some(&self.memory), self.ctx)
    }

    fn step(&self, state: &mut Gpt2State, tokens: &[u32]) -> Result<Vec<f32>, String> {
        decoding::log_probabilities(self.decoder.step(tokens, state, self.ctx)?)
    }

    fn reorder(&self, state: &mut Gpt2State, rows: &[usize]) {
        state.reorder(rows);
    }
}
