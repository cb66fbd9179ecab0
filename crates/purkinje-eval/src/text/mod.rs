//! Scores of generated reports against written ones, computed from the texts alone.
//!
//! [`text_scores`] takes pairs of a reference and a generated text and gives every score for each pair and its mean. All scores
//! are fractions between 0 and 1, except CIDEr (0 to 10) and counts:
//!
//! | score | tokens |
//! |---|---|
//! | BLEU-1 to BLEU-4 ([`BleuOptions`]) | [`words`] as they stand |
//! | ROUGE-L ([`RougeL`]) | [`rouge_tokens`]: a-z and 0-9, English [`stem`]s |
//! | ROUGE-L of any language | [`unicode_tokens`]: letters and digits, unstemmed |
//! | METEOR ([`MeteorOptions`]), CIDEr ([`CiderOptions`]) | [`words`] in lower case |
//! | repeated n-grams | [`words`] in lower case |
//! | findings affirmed here and denied there ([`NegationOptions`]) | [`unicode_tokens`] |
//!
//! Overlap of words says little about whether a report is right; [`label_scores`] compares diagnoses read from the
//! texts.

mod bleu;
mod cider;
mod labels;
mod lexicon;
mod meteor;
mod negation;
mod ngrams;
mod porter;
mod repeats;
mod rouge;
mod scores;
#[cfg(test)]
mod tests;
mod tokens;

pub use bleu::BleuOptions;
pub use cider::CiderOptions;
pub use labels::{LabelScores, label_scores};
pub use meteor::MeteorOptions;
pub use negation::NegationOptions;
pub use porter::stem;
pub use rouge::RougeL;
pub use scores::{PairScores, TextMeans, TextOptions, TextPair, TextScores, text_scores};
pub use tokens::{rouge_tokens, unicode_tokens, words};
