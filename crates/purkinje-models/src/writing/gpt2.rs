//! A GPT-2 whose layers attend to one token: the vector of a recording, mapped to its width.

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::Taught;
use crate::decoding::{self, Decoding, DecodingError, NextToken, Written};
use crate::layers::vit1d::map;
use crate::layers::{Context, WeightError, Weights, init, log_softmax};
use crate::random::Stream;
use crate::text::{Gpt2, Gpt2Config, Gpt2State};

/// The map from vectors to the width of the decoder.
const HEAD: &str = "head";
/// What stands in front of the names of the decoder.
const DECODER: &str = "decoder.";
/// The table of word pieces, whose rows may be fewer in a language model to start from.
const TABLE: &str = "transformer.wte.weight";

/// The hyper-parameters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WriterConfig {
    /// Length of the vectors.
    pub width: usize,
    /// The decoder, which attends to other tokens.
    pub decoder: Gpt2Config,
}

impl WriterConfig {
    /// Checks that all sizes fit each other.
    ///
    /// # Errors
    /// A message that names the field.
    pub fn validate(&self) -> Result<(), String> {
        if self.width == 0 {
            return Err("width: 0, expected the length of the vectors".to_owned());
        }
        self.decoder
            .validate()
            .map_err(|e| format!("decoder: {e}"))?;
        match self.decoder.add_cross_attention {
            true => Ok(()),
            false => Err("decoder: add_cross_attention: false, expected true".to_owned()),
        }
    }

    /// All names and shapes.
    pub fn entries(&self) -> Vec<(String, Vec<usize>)> {
        let (from, to) = (self.width, self.decoder.n_embd);
        let mut all = vec![
            (format!("{HEAD}.weight"), vec![to, from]),
            (format!("{HEAD}.bias"), vec![to]),
        ];
        let decoder = self.decoder.parameters().into_iter();
        all.extend(decoder.map(|(name, shape)| (format!("{DECODER}{name}"), shape)));
        all
    }
}

/// Writes reports from vectors of recordings.
#[derive(Clone, Debug)]
pub struct Gpt2Writer {
    config: WriterConfig,
    weights: Weights,
}

impl Gpt2Writer {
    /// A network with the given weights.
    ///
    /// # Errors
    /// When an entry is missing or has another shape.
    pub fn new(config: WriterConfig, weights: Weights) -> Result<Self, WeightError> {
        weights.require(&config.entries())?;
        Ok(Gpt2Writer { config, weights })
    }

    /// A random network, or if given one of a trained language model, named as Hugging Face has it: then what it lacks is random,
    /// attention to the recording and the rows of new word pieces behind its own.
    ///
    /// # Errors
    /// When an entry of the language model has another shape.
    pub fn random(
        config: WriterConfig,
        language_model: Option<&Weights>,
        seed: u64,
        device: &Device,
    ) -> Result<Self, WeightError> {
        let mut weights = Weights::default();
        for (name, shape) in config.entries() {
            let mut stream = Stream::new(seed, &name);
            let own = name.strip_prefix(DECODER);
            let mut values = match own {
                Some(own) => config.decoder.initial(own, &shape, &mut stream),
                None => {
                    let bound = 1.0 / (config.width as f64).sqrt();
                    init::uniform(shape.iter().product(), bound, &mut stream)
                }
            };
            let found = own.and_then(|own| language_model?.parameter(own));
            if let Some(found) = found {
                start_from(&name, &shape, found, &mut values)?;
            }
            weights.insert(name, &shape, values, device);
        }
        Self::new(config, weights)
    }

    /// The hyper-parameters.
    pub fn config(&self) -> &WriterConfig {
        &self.config
    }

    /// The parameters.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The same network with other weights of the same shapes.
    #[must_use]
    pub fn with_weights(&self, weights: Weights) -> Self {
        Gpt2Writer {
            config: self.config.clone(),
            weights,
        }
    }

    fn decoder(&self) -> Gpt2<'_> {
        Gpt2 {
            config: &self.config.decoder,
            weights: &self.weights,
            prefix: DECODER,
        }
    }

    fn memory(&self, vectors: Tensor<2>, ctx: &Context) -> Tensor<3> {
        map(vectors, &self.weights, HEAD, ctx).unsqueeze_dim(1)
    }

    /// The mean cross-entropy over all labels `[1]`, of reports and vectors `[reports, width]`; without vectors that of the language model
    /// alone, which attends to nothing but what it wrote.
    ///
    /// # Errors
    /// When the reports do not fit the decoder or the vectors.
    pub fn loss(
        &self,
        vectors: Option<Tensor<2>>,
        taught: &Taught,
        ctx: &Context,
    ) -> Result<Tensor<1>, String> {
        let memory = vectors.map(|vectors| self.memory(vectors, ctx));
        loss(self.decoder(), memory.as_ref(), taught, ctx)
    }

    /// Writes the reports of recordings with these vectors `[recordings, width]`.
    ///
    /// # Errors
    /// When the settings do not fit the decoder, or probabilities are not finite.
    pub fn write(
        &self,
        vectors: Tensor<2>,
        how: &Decoding,
        ctx: &Context,
    ) -> Result<Vec<Written>, DecodingError> {
        write(self.decoder(), self.memory(vectors, ctx), how, ctx)
    }
}

/// Takes the values of a language model, whose table of word pieces may have fewer rows.
fn start_from(
    name: &str,
    shape: &[usize],
    found: &crate::layers::Parameter,
    values: &mut [f32],
) -> Result<(), WeightError> {
    let fits = match name.ends_with(TABLE) {
        true => matches!(found.shape[..], [rows, width] if rows <= shape[0] && width == shape[1]),
        false => found.shape == shape,
    };
    if !fits {
        return Err(WeightError::Shape {
            name: name.to_owned(),
            found: found.shape.clone(),
            expected: shape.to_vec(),
        });
    }
    let found = found.value.to_data().try_to_vec::<f32>();
    let found = found.unwrap_or_default();
    values[..found.len()].copy_from_slice(&found);
    Ok(())
}

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
        let logits = self.decoder.step(tokens, state, self.ctx)?;
        let values = logits.into_data().convert::<f32>().try_to_vec::<f32>();
        let mut values = values.map_err(|e| format!("{e:?}"))?;
        log_softmax(&mut values, self.vocabulary());
        Ok(values)
    }

    fn reorder(&self, state: &mut Gpt2State, rows: &[usize]) {
        state.reorder(rows);
    }
}

#[cfg(test)]
mod tests;
