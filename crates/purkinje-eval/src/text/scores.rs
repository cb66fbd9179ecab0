//! All scores of pairs of texts.

use std::collections::HashSet;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::bleu::{Bleu, BleuOptions};
use super::cider::{Cider, CiderOptions, Frequencies};
use super::lexicon::{CLAUSE_END, Corpus};
use super::meteor::{Meteor, MeteorOptions};
use super::negation::{Negation, NegationOptions};
use super::repeats::Repeats;
use super::rouge::{Rouge, RougeL};
use crate::EvalError;

/// A written report and what was generated for the same recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextPair<'a> {
    /// What the pair is called in the results.
    pub id: &'a str,
    /// The written text.
    pub reference: &'a str,
    /// The generated text.
    pub generated: &'a str,
}

/// How texts are scored.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextOptions {
    /// Weights and smoothing of BLEU.
    pub bleu: BleuOptions,
    /// Parameters of METEOR.
    pub meteor: MeteorOptions,
    /// Parameters of CIDEr.
    pub cider: CiderOptions,
    /// Words of the n-grams of [`PairScores::repeated`], at least 1.
    pub repeat_order: usize,
    /// How findings are taken for denied.
    pub negation: NegationOptions,
}

impl Default for TextOptions {
    fn default() -> Self {
        Self {
            bleu: BleuOptions::default(),
            meteor: MeteorOptions::default(),
            cider: CiderOptions::default(),
            repeat_order: 4,
            negation: NegationOptions::default(),
        }
    }
}

/// Scores of one pair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairScores {
    /// The pair's own.
    pub id: String,
    /// BLEU-1 to BLEU-4, fractions.
    pub bleu: [f64; 4],
    /// ROUGE-L of a-z, 0-9 and stems as published, fractions.
    pub rouge_l: RougeL,
    /// ROUGE-L of letters and digits of any script, unstemmed, fractions.
    pub rouge_l_unicode: RougeL,
    /// METEOR without synonyms, a fraction.
    pub meteor: f64,
    /// CIDEr-D with the frequencies of all references of the call; 0 to [`CiderOptions::scale`].
    pub cider: f64,
    /// Whether both texts consist of the same words, in order and case.
    pub exact: bool,
    /// Words of the reference.
    pub reference_words: usize,
    /// Words of the generated text.
    pub generated_words: usize,
    /// Share of the generated text's n-grams (of [`TextOptions::repeat_order`] words) that stood before in the same text; 0 if it
    /// is too short to have any.
    pub repeated: f64,
    /// Findings that one text affirms and the other only denies, in alphabetical order.
    pub negation_errors: Vec<String>,
}

/// Means over pairs, in the units of [`PairScores`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TextMeans {
    /// BLEU-1 to BLEU-4.
    pub bleu: [f64; 4],
    /// ROUGE-L as published.
    pub rouge_l: RougeL,
    /// ROUGE-L of letters and digits of any script.
    pub rouge_l_unicode: RougeL,
    /// METEOR.
    pub meteor: f64,
    /// CIDEr-D.
    pub cider: f64,
    /// Words of a reference.
    pub reference_words: f64,
    /// Words of a generated text.
    pub generated_words: f64,
    /// Share of repeated n-grams.
    pub repeated: f64,
}

/// Scores of all pairs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextScores {
    /// Of each pair, in the order given.
    pub pairs: Vec<PairScores>,
    /// Means over the pairs.
    pub means: TextMeans,
    /// Pairs whose texts have the same words.
    pub exact_matches: usize,
    /// Texts among the references that differ in words, their order or case.
    pub distinct_references: usize,
    /// The same among the generated: a model that always writes the same has 1.
    pub distinct_generated: usize,
    /// Findings that one text of a pair affirms and the other only denies, all pairs together.
    pub negation_errors: usize,
    /// Pairs with at least one.
    pub pairs_with_negation_errors: usize,
}

/// Scores generated texts against their references, in parallel; results do not depend on the number of threads.
///
/// # Errors
/// [`EvalError::Empty`] for no pairs; [`EvalError::Setting`] for n-grams of 0 words or for more text than n-grams can be numbered for (1 GiB for
/// n-grams of up to 4 words).
///
/// ```
/// use purkinje_eval::text::{TextOptions, TextPair, text_scores};
///
/// let pair = TextPair {
///     id: "1",
///     reference: "Sinus rhythm. No acute ischemia.",
///     generated: "Sinus rhythm. Acute ischemia.",
/// };
/// let scores = text_scores(&[pair], &TextOptions::default())?;
/// assert_eq!(scores.pairs[0].rouge_l.recall, 0.8);
/// assert_eq!(scores.pairs[0].negation_errors, ["acute", "ischemia"]);
/// # Ok::<(), purkinje_eval::EvalError>(())
/// ```
pub fn text_scores(pairs: &[TextPair<'_>], options: &TextOptions) -> Result<TextScores, EvalError> {
    check(pairs, options)?;
    let texts: Vec<&str> = pairs
        .iter()
        .flat_map(|p| [p.reference, p.generated])
        .collect();
    let corpus = Corpus::new(&texts);
    let frequencies = Frequencies::new(pairs.len(), options.cider.order, |index, out| {
        corpus.lexicon().lower(corpus.text(2 * index), out);
    });
    let scored: Vec<PairScores> = pairs
        .par_iter()
        .enumerate()
        .map_init(Scorer::default, |scorer, (index, pair)| {
            scorer.score(index, pair.id, &corpus, &frequencies, options)
        })
        .collect();
    let distinct = |side: usize| {
        let texts = (0..pairs.len()).map(|index| corpus.text(2 * index + side));
        texts.collect::<HashSet<_>>().len()
    };
    let errors = scored.iter().map(|pair| pair.negation_errors.len());
    Ok(TextScores {
        means: TextMeans::of(&scored),
        exact_matches: scored.iter().filter(|pair| pair.exact).count(),
        distinct_references: distinct(0),
        distinct_generated: distinct(1),
        negation_errors: errors.clone().sum(),
        pairs_with_negation_errors: errors.filter(|&errors| errors > 0).count(),
        pairs: scored,
    })
}

fn check(pairs: &[TextPair<'_>], options: &TextOptions) -> Result<(), EvalError> {
    if pairs.is_empty() {
        return Err(EvalError::Empty {
            what: "The list of texts",
        });
    }
    for order in [options.cider.order, options.repeat_order] {
        if order == 0 {
            return Err(EvalError::Setting {
                setting: "length of n-grams",
                found: "0".into(),
                expected: "at least 1",
            });
        }
    }
    // At most one n-gram of each length begins at a byte, and n-grams have 32-bit numbers.
    let bytes: usize = pairs
        .iter()
        .map(|p| p.reference.len() + p.generated.len())
        .sum();
    let longest = options.cider.order.max(options.repeat_order).max(4);
    if bytes.saturating_mul(longest) >= u32::MAX as usize {
        return Err(EvalError::Setting {
            setting: "size of all texts",
            found: format!("{bytes} bytes with n-grams of up to {longest} words"),
            expected: "a product below 2^32",
        });
    }
    Ok(())
}

/// Memory for the texts of a pair.
#[derive(Default)]
struct Scorer {
    bleu: Bleu,
    rouge: Rouge,
    meteor: Meteor,
    cider: Cider,
    repeats: Repeats,
    negation: Negation,
    lower: [Vec<u32>; 2],
    stems: [Vec<u32>; 2],
    tokens: [Vec<u32>; 2],
}

impl Scorer {
    fn score(
        &mut self,
        index: usize,
        id: &str,
        corpus: &Corpus,
        frequencies: &Frequencies,
        options: &TextOptions,
    ) -> PairScores {
        let lexicon = corpus.lexicon();
        let words = [corpus.text(2 * index), corpus.text(2 * index + 1)];
        let [reference, generated] = words;
        for (side, words) in words.into_iter().enumerate() {
            lexicon.lower(words, &mut self.lower[side]);
            lexicon.stems(words, &mut self.stems[side]);
            lexicon.rouge(words, &mut self.tokens[side]);
        }
        let rouge_l = self.rouge.score(&self.tokens[0], &self.tokens[1]);
        for (side, words) in words.into_iter().enumerate() {
            lexicon.items(words, &mut self.tokens[side]);
        }
        let [one, two] = &self.tokens;
        let negation_errors = self.negation.errors([one, two], lexicon, options.negation);
        for tokens in &mut self.tokens {
            tokens.retain(|&token| token != CLAUSE_END);
        }
        let ([one, two], [one_stem, two_stem]) = (&self.lower, &self.stems);
        PairScores {
            id: id.to_owned(),
            bleu: self.bleu.scores(reference, generated, &options.bleu),
            rouge_l,
            rouge_l_unicode: self.rouge.score(&self.tokens[0], &self.tokens[1]),
            meteor: self
                .meteor
                .score([one, two], [one_stem, two_stem], &options.meteor),
            cider: self.cider.score([one, two], frequencies, &options.cider),
            exact: reference == generated,
            reference_words: reference.len(),
            generated_words: generated.len(),
            repeated: self.repeats.share(two, options.repeat_order),
            negation_errors,
        }
    }
}

impl TextMeans {
    /// Sums in the order of the pairs, so that the last digits are always the same.
    fn of(pairs: &[PairScores]) -> Self {
        let mean = |value: &dyn Fn(&PairScores) -> f64| {
            pairs.iter().map(value).sum::<f64>() / pairs.len() as f64
        };
        let rouge = |of: fn(&PairScores) -> &RougeL| RougeL {
            precision: mean(&|pair| of(pair).precision),
            recall: mean(&|pair| of(pair).recall),
            f1: mean(&|pair| of(pair).f1),
        };
        Self {
            bleu: std::array::from_fn(|order| mean(&|pair| pair.bleu[order])),
            rouge_l: rouge(|pair| &pair.rouge_l),
            rouge_l_unicode: rouge(|pair| &pair.rouge_l_unicode),
            meteor: mean(&|pair| pair.meteor),
            cider: mean(&|pair| pair.cider),
            reference_words: mean(&|pair| pair.reference_words as f64),
            generated_words: mean(&|pair| pair.generated_words as f64),
            repeated: mean(&|pair| pair.repeated),
        }
    }
}
