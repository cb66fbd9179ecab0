//! Writing sequences token by token: the most likely next one, or a search with several beams.

use burn::tensor::Tensor;
use rayon::prelude::*;

use crate::layers::log_softmax;

mod candidates;
mod search;

use search::{Beam, Search};

/// Anything that says how likely each token comes next, for several sequences at a time that do not depend on each other.
pub trait NextToken {
    /// What is kept of the rows read so far.
    type State;

    /// Tokens there are.
    fn vocabulary(&self) -> usize;

    /// Tokens of the longest sequence, the start token included, if that is limited.
    fn positions(&self) -> Option<usize>;

    /// Sequences to write.
    fn sequences(&self) -> usize;

    /// The state before anything was read, one row for each sequence.
    fn start(&self) -> Self::State;

    /// Reads one token of each row and gives the logarithms of the probabilities of all that may follow: `[rows, vocabulary]`.
    ///
    /// # Errors
    /// A message when that cannot be done.
    fn step(&self, state: &mut Self::State, tokens: &[u32]) -> Result<Vec<f32>, String>;

    /// Goes on with these rows, in this order; one may go on more than once.
    fn reorder(&self, state: &mut Self::State, rows: &[usize]);
}

/// The logarithms of the probabilities of all tokens, from their scores `[rows, vocabulary]`.
///
/// # Errors
/// When the scores cannot be copied from the device.
pub(crate) fn log_probabilities(scores: Tensor<2>) -> Result<Vec<f32>, String> {
    let [_, vocabulary] = scores.dims();
    let values = scores.into_data().convert::<f32>().try_to_vec::<f32>();
    let mut values = values.map_err(|e| format!("{e:?}"))?;
    log_softmax(&mut values, vocabulary);
    Ok(values)
}

/// When a search with beams ends, and which of its sequences is the best.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Finish {
    /// As Hugging Face's libraries do it without early stopping. Of twice as many continuations as beams, those that end are recorded if
    /// they are among the first half, and the best that go on are the new beams. What is recorded counts by the sum of its log-probabilities divided by the
    /// number of written tokens, the end token included, to the power of `length_penalty`; the search is over when as many
    /// sequences as beams are recorded and none that goes on would be better than the worst of them now.
    Penalised {
        /// 0 for plain sums; the larger, the longer the sequences.
        length_penalty: f64,
    },
    /// As R2Gen does it (Chen et al., EMNLP 2020): a sequence counts by its sum, and a beam that ended goes on, lowered by 1000.
    Summed,
}

/// How sequences are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decoding {
    /// Sequences followed at a time; 1 for the most likely token at each step.
    pub beams: usize,
    /// Tokens of the longest sequence, the start token included.
    pub max_tokens: usize,
    /// What every sequence begins with.
    pub start: u32,
    /// What ends one.
    pub end: u32,
    /// When a search ends.
    pub finish: Finish,
}

/// A written sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// Its tokens: the start token first, the end token last where it ended before the limit.
    pub tokens: Vec<u32>,
    /// The sum of the logarithms of the probabilities of all tokens but the first.
    pub log_probability: f32,
    /// What it was chosen by.
    pub score: f64,
}

/// Why sequences cannot be written.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DecodingError {
    /// No beams, or too many.
    #[error("{found} beams, expected 1 to {vocabulary}, the tokens of the vocabulary")]
    Beams {
        /// Beams asked for.
        found: usize,
        /// Tokens of the vocabulary.
        vocabulary: usize,
    },
    /// The limit is too short or too long.
    #[error(
        "at most {found} tokens, expected 2 (the start token and one more) to {}",
        positions.map_or("any number".to_owned(), |n| format!("{n}, the positions of the decoder"))
    )]
    Length {
        /// The limit asked for.
        found: usize,
        /// Positions of the model.
        positions: Option<usize>,
    },
    /// A token that is none.
    #[error(
        "the {what} token is {found}, expected less than {vocabulary}, the tokens of the vocabulary"
    )]
    Token {
        /// Which.
        what: &'static str,
        /// Its number.
        found: u32,
        /// Tokens of the vocabulary.
        vocabulary: usize,
    },
    /// A penalty that is no number.
    #[error("a length penalty of {0}, expected a finite number")]
    Penalty(f64),
    /// Probabilities that are no numbers.
    #[error(
        "the probabilities of token {position} are not finite numbers: the weights or the recording are not"
    )]
    NotFinite {
        /// Its position.
        position: usize,
    },
    /// The model refused.
    #[error("{0}")]
    Model(String),
}

impl Decoding {
    fn check(&self, vocabulary: usize, positions: Option<usize>) -> Result<(), DecodingError> {
        if self.beams == 0 || self.beams > vocabulary {
            return Err(DecodingError::Beams {
                found: self.beams,
                vocabulary,
            });
        }
        let longest = positions.unwrap_or(usize::MAX);
        if self.max_tokens < 2 || self.max_tokens > longest {
            return Err(DecodingError::Length {
                found: self.max_tokens,
                positions,
            });
        }
        for (what, found) in [("start", self.start), ("end", self.end)] {
            if found as usize >= vocabulary {
                return Err(DecodingError::Token {
                    what,
                    found,
                    vocabulary,
                });
            }
        }
        match self.finish {
            Finish::Penalised { length_penalty } if !length_penalty.is_finite() => {
                Err(DecodingError::Penalty(length_penalty))
            }
            _ => Ok(()),
        }
    }

    /// What a sequence of `written` tokens beside the first counts.
    fn score(&self, sum: f32, written: usize) -> f64 {
        match self.finish {
            Finish::Summed => f64::from(sum),
            Finish::Penalised { length_penalty } => {
                f64::from(sum) / (written as f64).powf(length_penalty)
            }
        }
    }
}

/// Writes all sequences of a model. Of continuations that are equally likely that of the earlier beam and of the token with the lower
/// number comes first, so the same input gives the same sequences, alone and among others.
///
/// # Errors
/// When the settings do not fit the model, or its probabilities are not finite.
pub fn write<M: NextToken>(model: &M, how: &Decoding) -> Result<Vec<Written>, DecodingError> {
    let vocabulary = model.vocabulary();
    how.check(vocabulary, model.positions())?;
    let mut searches: Vec<Search> = (0..model.sequences()).map(|_| Search::new(how)).collect();
    let mut state = model.start();
    // The beams of all searches that go on, one after the other, are the rows.
    for position in 1..how.max_tokens {
        let running = searches.iter().flat_map(|search| &search.beams);
        let tokens: Vec<u32> = running.map(Beam::last).collect();
        if tokens.is_empty() {
            break;
        }
        let scores = model.step(&mut state, &tokens);
        let scores = scores.map_err(DecodingError::Model)?;
        let counts = searches.iter().map(|search| search.beams.len());
        let firsts: Vec<usize> = counts
            .scan(0, |next, count| {
                *next += count;
                Some(*next - count)
            })
            .collect();
        let origins: Vec<Vec<usize>> = searches
            .par_iter_mut()
            .zip(&firsts)
            .map(|(search, &first)| {
                let own = &scores[first * vocabulary..][..search.beams.len() * vocabulary];
                let rows = search.advance(how, own, vocabulary, position);
                let rows = rows.ok_or(DecodingError::NotFinite { position })?;
                Ok(rows.into_iter().map(|row| first + row).collect())
            })
            .collect::<Result<_, DecodingError>>()?;
        let rows = origins.concat();
        if rows.len() != tokens.len() || rows.iter().enumerate().any(|(i, row)| i != *row) {
            model.reorder(&mut state, &rows);
        }
    }
    Ok(searches.into_iter().map(|own| own.best(how)).collect())
}

#[cfg(test)]
mod tests;
