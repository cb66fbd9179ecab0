//! BLEU of one sentence against one reference.

use serde::{Deserialize, Serialize};

use super::ngrams::{NgramTable, START};

/// How BLEU-1 to BLEU-4 are computed (K. Papineni et al., "BLEU: a Method for Automatic Evaluation of Machine Translation",
/// ACL 2002), for each pair by itself.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BleuOptions {
    /// Row n: weights that BLEU-(n+1) gives to the logarithms of the precisions of n-grams of 1 to 4 words.
    pub weights: [[f64; 4]; 4],
    /// What counts instead of no match at all, in matches: method 1 of B. Chen and C. Cherry, "A Systematic Comparison of
    /// Smoothing Techniques for Sentence-Level BLEU", WMT 2014.
    pub epsilon: f64,
}

impl BleuOptions {
    /// Equal weights.
    pub const PAPER: Self = Self {
        weights: [
            [1.0, 0.0, 0.0, 0.0],
            [0.5, 0.5, 0.0, 0.0],
            [1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 0.0],
            [0.25; 4],
        ],
        epsilon: 0.1,
    };

    /// Those of MERL's and DERI's programs, whose weights of BLEU-3 add to 0.99: its values are slightly higher.
    pub const RELEASED: Self = Self {
        weights: [
            [1.0, 0.0, 0.0, 0.0],
            [0.5, 0.5, 0.0, 0.0],
            [0.33, 0.33, 0.33, 0.0],
            [0.25; 4],
        ],
        epsilon: 0.1,
    };
}

impl Default for BleuOptions {
    fn default() -> Self {
        Self::PAPER
    }
}

/// Counts n-grams; holds memory for the next pair.
#[derive(Default)]
pub(super) struct Bleu {
    table: NgramTable,
    /// For each n-gram, how often the reference has it beyond the matches so far.
    free: Vec<u32>,
    /// For each start, the n-gram of the last round.
    reference: Vec<u32>,
    generated: Vec<u32>,
}

impl Bleu {
    /// BLEU-1 to BLEU-4; 0 without a common word.
    pub fn scores(
        &mut self,
        reference: &[u32],
        generated: &[u32],
        options: &BleuOptions,
    ) -> [f64; 4] {
        let matches = self.matches(reference, generated);
        if matches[0] == 0 {
            return [0.0; 4];
        }
        let (words, wanted) = (generated.len() as f64, reference.len() as f64);
        let brevity = if words < wanted {
            (1.0 - wanted / words).exp()
        } else {
            1.0
        };
        let mut logarithms = [0.0; 4];
        for (order, matches) in matches.into_iter().enumerate() {
            let all = generated.len().saturating_sub(order).max(1) as f64;
            let matches = match matches {
                0 => options.epsilon,
                matches => f64::from(matches),
            };
            logarithms[order] = (matches / all).ln();
        }
        options.weights.map(|weights| {
            // A weight of 0 leaves a precision out, also where its logarithm is infinite.
            let terms = weights.iter().zip(logarithms).filter(|term| *term.0 != 0.0);
            brevity * terms.map(|(weight, log)| weight * log).sum::<f64>().exp()
        })
    }

    /// N-grams of 1 to 4 words that both have, each as often as the one that has it less.
    fn matches(&mut self, reference: &[u32], generated: &[u32]) -> [u32; 4] {
        self.table.clear();
        self.free.clear();
        self.reference.clear();
        self.reference.resize(reference.len(), START);
        self.generated.clear();
        self.generated.resize(generated.len(), START);
        let mut matches = [0; 4];
        for (order, matches) in matches.iter_mut().enumerate() {
            for (before, &word) in self.reference.iter_mut().zip(reference.iter().skip(order)) {
                let ngram = self.table.insert(*before, word);
                if ngram as usize == self.free.len() {
                    self.free.push(0);
                }
                self.free[ngram as usize] += 1;
                *before = ngram;
            }
            let mut any = false;
            for (before, &word) in self.generated.iter_mut().zip(generated.iter().skip(order)) {
                // An n-gram whose beginning the reference does not have is not there either.
                if order > 0 && *before == START {
                    continue;
                }
                let ngram = self.table.get(*before, word);
                *before = ngram.unwrap_or(START);
                if let Some(free) = ngram.map(|ngram| &mut self.free[ngram as usize]) {
                    any = true;
                    if *free > 0 {
                        *free -= 1;
                        *matches += 1;
                    }
                }
            }
            if !any {
                break;
            }
        }
        matches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(reference: &[u32], generated: &[u32]) -> [f64; 4] {
        Bleu::default().scores(reference, generated, &BleuOptions::RELEASED)
    }

    #[test]
    fn precisions_are_clipped_and_short_texts_pay() {
        // 3 of 5 words (1 twice, 2 once), 2 of 4 pairs, 1 of 3 triples, none of 2.
        let found = scores(&[1, 1, 1, 2], &[1, 1, 2, 2, 2]);
        let third = (0.6f64 * 0.5 / 3.0).powf(0.33);
        let fourth = (0.6f64 * 0.5 / 3.0 * 0.05).powf(0.25);
        for (found, expected) in found.into_iter().zip([0.6, 0.3f64.sqrt(), third, fourth]) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        // Two words of seven.
        let found = scores(&[1, 2, 3, 4, 5, 6, 7], &[1, 2]);
        assert!((found[1] - (-2.5f64).exp()).abs() < 1e-12);
        assert!((found[3] - (-2.5f64).exp() * 0.01f64.powf(0.25)).abs() < 1e-12);
    }

    #[test]
    fn nothing_in_common_is_nothing() {
        assert_eq!(scores(&[1, 2], &[3, 4]), [0.0; 4]);
        assert_eq!(scores(&[1, 2], &[]), [0.0; 4]);
        assert_eq!(scores(&[], &[1]), [0.0; 4]);
        assert_eq!(scores(&[], &[]), [0.0; 4]);
    }

    #[test]
    fn equal_texts_of_four_words_score_one() {
        assert_eq!(scores(&[1, 2, 3, 4], &[1, 2, 3, 4]), [1.0; 4]);
        let paper = Bleu::default().scores(&[1, 2, 3], &[1, 2, 3], &BleuOptions::PAPER);
        assert_eq!(paper[..3], [1.0; 3]);
        assert!((paper[3] - 0.1f64.powf(0.25)).abs() < 1e-15);
    }

    #[test]
    fn without_smoothing_a_missing_match_is_zero() {
        let options = BleuOptions {
            epsilon: 0.0,
            ..BleuOptions::PAPER
        };
        let found = Bleu::default().scores(&[1, 2, 3], &[1, 3, 2], &options);
        assert_eq!(found, [1.0, 0.0, 0.0, 0.0]);
    }
}
