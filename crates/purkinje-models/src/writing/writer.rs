//! A decoder behind any encoder: it reads vectors of recordings, mapped to its width.

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{Taught, gpt2, r2gen};
use crate::decoding::{Decoding, DecodingError, Finish, Written};
use crate::layers::vit1d::map;
use crate::layers::{Context, WeightError, Weights, init};
use crate::random::Stream;
use crate::text::{Gpt2, Gpt2Config, R2Gen, R2GenConfig};

/// The map from vectors to the width of the decoder.
const HEAD: &str = "head";
/// What stands in front of the names of the decoder.
const DECODER: &str = "decoder.";
/// The table of word pieces, whose rows may be fewer in a language model to start from.
const TABLE: &str = "transformer.wte.weight";

/// What writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum DecoderConfig {
    /// A GPT-2 that attends to other tokens.
    Gpt2(Gpt2Config),
    /// The decoder of R2Gen.
    R2Gen(R2GenConfig),
}

impl DecoderConfig {
    /// Tokens that can be written.
    pub fn vocabulary(&self) -> usize {
        match self {
            DecoderConfig::Gpt2(own) => own.vocab_size,
            DecoderConfig::R2Gen(own) => own.vocabulary,
        }
    }

    /// Whether it can write without a recording.
    pub fn alone(&self) -> bool {
        matches!(self, DecoderConfig::Gpt2(_))
    }

    /// Its search with several beams, where sums are divided by lengths to the power of `length_penalty` if it does that.
    pub fn finish(&self, length_penalty: f64) -> Finish {
        match self {
            DecoderConfig::Gpt2(_) => Finish::Penalised { length_penalty },
            DecoderConfig::R2Gen(_) => Finish::Summed,
        }
    }

    /// The probability of dropout after its layers.
    pub fn dropout(&self) -> f32 {
        match self {
            DecoderConfig::Gpt2(own) => own.resid_pdrop,
            DecoderConfig::R2Gen(own) => own.dropout,
        }
    }

    /// Whether a parameter has something to do with recordings only.
    pub fn of_recordings(&self, name: &str) -> bool {
        name.starts_with(HEAD) || name.contains("crossattention") || name.contains("ln_cross_attn")
    }

    /// Width of the tokens it attends to.
    fn reads(&self) -> usize {
        match self {
            DecoderConfig::Gpt2(own) => own.n_embd,
            DecoderConfig::R2Gen(own) => own.features,
        }
    }

    fn validate(&self) -> Result<(), String> {
        match self {
            DecoderConfig::Gpt2(own) => {
                own.validate()?;
                match own.add_cross_attention {
                    true => Ok(()),
                    false => Err("add_cross_attention: false, expected true".to_owned()),
                }
            }
            DecoderConfig::R2Gen(own) => own.validate(),
        }
    }

    fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        match self {
            DecoderConfig::Gpt2(own) => own.parameters(),
            DecoderConfig::R2Gen(own) => own.parameters(),
        }
    }

    fn initial(&self, name: &str, shape: &[usize], stream: &mut Stream) -> Vec<f32> {
        match self {
            DecoderConfig::Gpt2(own) => own.initial(name, shape, stream),
            DecoderConfig::R2Gen(own) => own.initial(name, shape, stream),
        }
    }
}

/// The hyper-parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriterConfig {
    /// Length of the vectors.
    pub width: usize,
    /// The decoder.
    pub decoder: DecoderConfig,
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
        self.decoder.validate().map_err(|e| format!("decoder: {e}"))
    }

    /// All names and shapes.
    pub fn entries(&self) -> Vec<(String, Vec<usize>)> {
        let (from, to) = (self.width, self.decoder.reads());
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
pub struct ReportWriter {
    config: WriterConfig,
    weights: Weights,
}

impl ReportWriter {
    /// A network with the given weights.
    ///
    /// # Errors
    /// When an entry is missing or has another shape.
    pub fn new(config: WriterConfig, weights: Weights) -> Result<Self, WeightError> {
        weights.require(&config.entries())?;
        Ok(ReportWriter { config, weights })
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
        ReportWriter {
            config: self.config.clone(),
            weights,
        }
    }

    fn gpt2<'a>(&'a self, config: &'a Gpt2Config) -> Gpt2<'a> {
        Gpt2 {
            config,
            weights: &self.weights,
            prefix: DECODER,
        }
    }

    fn r2gen<'a>(&'a self, config: &'a R2GenConfig) -> R2Gen<'a> {
        R2Gen {
            config,
            weights: &self.weights,
            prefix: DECODER,
        }
    }

    /// The mean cross-entropy over all labels `[1]`, of reports and vectors `[reports, vectors, width]`; without vectors that of the
    /// language model alone, which attends to nothing but what it wrote.
    ///
    /// # Errors
    /// When the reports do not fit the decoder or the vectors, or there are none and the decoder needs them.
    pub fn loss(
        &self,
        vectors: Option<Tensor<3>>,
        taught: &Taught,
        ctx: &Context,
    ) -> Result<Tensor<1>, String> {
        let memory = vectors.map(|vectors| map(vectors, &self.weights, HEAD, ctx));
        match (&self.config.decoder, memory) {
            (DecoderConfig::Gpt2(own), memory) => {
                gpt2::loss(self.gpt2(own), memory.as_ref(), taught, ctx)
            }
            (DecoderConfig::R2Gen(own), Some(memory)) => {
                r2gen::loss(self.r2gen(own), memory, taught, ctx)
            }
            (DecoderConfig::R2Gen(_), None) => {
                Err("this decoder writes nothing without a recording".to_owned())
            }
        }
    }

    /// Writes the reports of recordings with these vectors `[recordings, vectors, width]`.
    ///
    /// # Errors
    /// When the settings do not fit the decoder, or probabilities are not finite.
    pub fn write(
        &self,
        vectors: Tensor<3>,
        how: &Decoding,
        ctx: &Context,
    ) -> Result<Vec<Written>, DecodingError> {
        let memory = map(vectors, &self.weights, HEAD, ctx);
        match &self.config.decoder {
            DecoderConfig::Gpt2(own) => gpt2::write(self.gpt2(own), memory, how, ctx),
            DecoderConfig::R2Gen(own) => self.r2gen(own).write(memory, how, ctx),
        }
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

#[cfg(test)]
mod tests;
