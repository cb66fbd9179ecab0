//! CIDEr-D, with document frequencies of the references scored.

use serde::{Deserialize, Serialize};

use super::ngrams::{NgramTable, START};

/// How CIDEr is computed: the variant CIDEr-D (R. Vedantam, C. L. Zitnick, D. Parikh, "CIDEr: Consensus-based Image Description
/// Evaluation", CVPR 2015) in the form of the package `pycocoevalcap`, with one reference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CiderOptions {
    /// Longest n-gram, in words; at least 1.
    pub order: usize,
    /// Width of the penalty for a difference of length, in words.
    pub sigma: f64,
    /// Factor of the score, which lies between 0 and this.
    pub scale: f64,
}

impl Default for CiderOptions {
    fn default() -> Self {
        Self {
            order: 4,
            sigma: 6.0,
            scale: 10.0,
        }
    }
}

/// Weights of the n-grams of all references.
pub(super) struct Frequencies {
    table: NgramTable,
    /// ln(pairs) - ln(references that have the n-gram).
    weights: Vec<f64>,
    /// The same of an n-gram of no reference.
    unknown: f64,
}

impl Frequencies {
    /// Counts the n-grams of up to `order` words of references; `text` gives the words of one of them.
    pub fn new(references: usize, order: usize, text: impl Fn(usize, &mut Vec<u32>)) -> Self {
        let logarithm = (references as f64).ln();
        let mut table = NgramTable::default();
        // For each n-gram, how many references have it, and the last of them.
        let mut counts: Vec<(u32, usize)> = Vec::new();
        let (mut words, mut ngrams) = (Vec::new(), Vec::new());
        for reference in 0..references {
            text(reference, &mut words);
            ngrams.clear();
            ngrams.resize(words.len(), START);
            for skip in 0..order.min(words.len()) {
                for (before, &word) in ngrams.iter_mut().zip(&words[skip..]) {
                    *before = table.insert(*before, word);
                    match counts.get_mut(*before as usize) {
                        None => counts.push((1, reference)),
                        Some((_, last)) if *last == reference => {}
                        Some((count, last)) => (*count, *last) = (*count + 1, reference),
                    }
                }
            }
        }
        let weight = |(count, _): (u32, usize)| logarithm - f64::from(count).ln();
        Frequencies {
            table,
            weights: counts.into_iter().map(weight).collect(),
            unknown: logarithm,
        }
    }
}

/// Holds memory for the next pair.
#[derive(Default)]
pub(super) struct Cider {
    table: NgramTable,
    counts: Vec<Count>,
    ngrams: [Vec<u32>; 2],
}

/// An n-gram of a pair.
struct Count {
    /// Its number among those of all references, or [`START`].
    known: u32,
    /// How often reference and generated text have it.
    found: [f64; 2],
}

impl Cider {
    /// The score of a pair whose reference is one of those that were counted.
    pub fn score(
        &mut self,
        texts: [&[u32]; 2],
        frequencies: &Frequencies,
        options: &CiderOptions,
    ) -> f64 {
        self.table.clear();
        self.counts.clear();
        for (ngrams, words) in self.ngrams.iter_mut().zip(texts) {
            ngrams.clear();
            ngrams.resize(words.len(), START);
        }
        let mut sum = 0.0;
        let longest = texts.map(<[u32]>::len).into_iter().max().unwrap_or(0);
        for skip in 0..options.order.min(longest) {
            let first = self.counts.len();
            for (side, words) in texts.into_iter().enumerate() {
                self.count(side, words.get(skip..).unwrap_or(&[]), frequencies);
            }
            sum += self.similarity(first, frequencies);
        }
        // The package takes the number of pairs of words for the length.
        let [reference, generated] = texts.map(|words| match options.order {
            0 | 1 => 0.0,
            _ => words.len().saturating_sub(1) as f64,
        });
        let difference = generated - reference;
        let penalty = (-difference * difference / (2.0 * options.sigma * options.sigma)).exp();
        options.scale * penalty * sum / options.order as f64
    }

    /// Lengthens each n-gram of a text by the word that follows, and counts.
    fn count(&mut self, side: usize, words: &[u32], frequencies: &Frequencies) {
        for (before, &word) in self.ngrams[side].iter_mut().zip(words) {
            let ngram = self.table.insert(*before, word);
            if ngram as usize == self.counts.len() {
                let shorter = match *before {
                    START => Some(START),
                    before => Some(self.counts[before as usize].known).filter(|&n| n != START),
                };
                let known = shorter.and_then(|shorter| frequencies.table.get(shorter, word));
                self.counts.push(Count {
                    known: known.unwrap_or(START),
                    found: [0.0; 2],
                });
            }
            self.counts[ngram as usize].found[side] += 1.0;
            *before = ngram;
        }
    }

    /// Similarity of the n-grams from `first` on, which are those of one length.
    fn similarity(&self, first: usize, frequencies: &Frequencies) -> f64 {
        let (mut product, mut squares) = (0.0, [0.0; 2]);
        for count in &self.counts[first..] {
            let weight = match frequencies.weights.get(count.known as usize) {
                Some(weight) => *weight,
                None => frequencies.unknown,
            };
            let [reference, generated] = count.found.map(|found| found * weight);
            product += generated.min(reference) * reference;
            squares[0] += reference * reference;
            squares[1] += generated * generated;
        }
        match squares.map(f64::sqrt) {
            [reference, generated] if reference != 0.0 && generated != 0.0 => {
                product / (reference * generated)
            }
            _ => product,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(pairs: &[[&[u32]; 2]], options: &CiderOptions) -> Vec<f64> {
        let frequencies = Frequencies::new(pairs.len(), options.order, |index, out| {
            out.clear();
            out.extend_from_slice(pairs[index][0]);
        });
        let mut cider = Cider::default();
        let each = pairs.iter();
        each.map(|pair| cider.score(*pair, &frequencies, options))
            .collect()
    }

    #[test]
    fn an_example_by_hand() {
        let options = CiderOptions {
            order: 2,
            ..CiderOptions::default()
        };
        // Word 1 is in both references and weighs nothing; 2 and 3 weigh ln 2, as the pairs and the unknown word 4 do.
        let found = scores(&[[&[1, 2], &[1, 2]], [&[1, 3], &[3, 3, 4]]], &options);
        assert!((found[0] - 10.0).abs() < 1e-12);
        // Words: reference (3: 1), generated (3: 2, 4: 1), so 1 / sqrt 5; no pair in common; lengths 1 and 2.
        let expected = 10.0 * (1.0 / 5.0f64.sqrt()) / 2.0 * (-1.0f64 / 72.0).exp();
        assert!((found[1] - expected).abs() < 1e-12, "{}", found[1]);
    }

    #[test]
    fn a_word_of_every_reference_counts_for_nothing() {
        let options = CiderOptions::default();
        assert_eq!(scores(&[[&[1, 2, 3, 4], &[1, 2, 3, 4]]], &options), [0.0]);
        let found = scores(&[[&[1], &[1]], [&[], &[]], [&[2], &[]]], &options);
        assert!((found[0] - 2.5).abs() < 1e-12);
        assert_eq!(found[1..], [0.0, 0.0]);
    }
}
