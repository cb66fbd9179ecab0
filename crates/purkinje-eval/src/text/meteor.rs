//! METEOR without synonyms.

use serde::{Deserialize, Serialize};

/// How METEOR is computed (S. Banerjee and A. Lavie, "METEOR: An Automatic Metric for MT Evaluation", ACL workshop 2005; parameters of
/// A. Lavie and A. Agarwal, WMT 2007), without synonyms: they would need WordNet.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MeteorOptions {
    /// Weight of precision against recall in their mean, P R / (alpha P + (1 - alpha) R): the larger, the more recall counts.
    pub alpha: f64,
    /// Exponent of the share of chunks among matches.
    pub beta: f64,
    /// Largest penalty for matches in pieces, as a fraction of the score.
    pub gamma: f64,
    /// Whether words left over match by their Porter stems.
    pub stems: bool,
}

impl Default for MeteorOptions {
    fn default() -> Self {
        Self {
            alpha: 0.9,
            beta: 3.0,
            gamma: 0.5,
            stems: true,
        }
    }
}

const FREE: u32 = u32::MAX;

/// Aligns words; holds memory for the next pair.
#[derive(Default)]
pub(super) struct Meteor {
    /// For each generated word, its place in the reference.
    places: Vec<u32>,
    taken: Vec<bool>,
}

impl Meteor {
    /// The score of words and their stems; 0 without a match.
    pub fn score(
        &mut self,
        [reference, generated]: [&[u32]; 2],
        [reference_stems, generated_stems]: [&[u32]; 2],
        options: &MeteorOptions,
    ) -> f64 {
        self.places.clear();
        self.places.resize(generated.len(), FREE);
        self.taken.clear();
        self.taken.resize(reference.len(), false);
        let mut matches = self.align(reference, generated);
        if options.stems {
            matches += self.align(reference_stems, generated_stems);
        }
        if matches == 0 {
            return 0.0;
        }
        let found = matches as f64;
        let precision = found / generated.len() as f64;
        let recall = found / reference.len() as f64;
        let mean =
            precision * recall / (options.alpha * precision + (1.0 - options.alpha) * recall);
        let penalty = options.gamma * (self.chunks() as f64 / found).powf(options.beta);
        (1.0 - penalty) * mean
    }

    /// Gives each generated word without a place, from the last to the first, the last equal reference word that is free; returns how
    /// many got one. The order matters: it is that of NLTK.
    fn align(&mut self, reference: &[u32], generated: &[u32]) -> usize {
        let mut matches = 0;
        for (place, word) in self.places.iter_mut().zip(generated).rev() {
            if *place != FREE {
                continue;
            }
            let mut candidates = reference.iter().zip(&mut self.taken).enumerate().rev();
            if let Some((at, (_, taken))) =
                candidates.find(|(_, (other, taken))| *other == word && !**taken)
            {
                *taken = true;
                *place = at as u32;
                matches += 1;
            }
        }
        matches
    }

    /// Runs of matches that are neighbours and in order in both texts.
    fn chunks(&self) -> usize {
        let mut chunks = 0;
        let mut before = FREE;
        for &place in &self.places {
            if place != FREE && (before == FREE || place != before + 1) {
                chunks += 1;
            }
            before = place;
        }
        chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(words: [&[u32]; 2], stems: [&[u32]; 2]) -> f64 {
        Meteor::default().score(words, stems, &MeteorOptions::default())
    }

    #[test]
    fn examples_by_hand() {
        // One match in one chunk: half of the score is lost.
        assert_eq!(score([&[1], &[1]], [&[1], &[1]]), 0.5);
        // Two of five reference words, one chunk.
        let words: [&[u32]; 2] = [&[1, 2, 3, 4, 5], &[1, 2]];
        let expected = 0.4 / (0.9 + 0.1 * 0.4) * (1.0 - 0.5 / 8.0);
        assert!((score(words, words) - expected).abs() < 1e-12);
        // Halves exchanged: two chunks of four words.
        let words: [&[u32]; 2] = [&[1, 2, 3, 4], &[3, 4, 1, 2]];
        assert!((score(words, words) - (1.0 - 0.5 / 8.0)).abs() < 1e-12);
    }

    #[test]
    fn stems_match_what_words_leave() {
        // Words 1 and 2 have stem 9: the equal word comes first, the other matches by its stem, in two chunks.
        let (words, stems): ([&[u32]; 2], [&[u32]; 2]) = ([&[1, 2], &[2, 1]], [&[9, 9], &[9, 9]]);
        assert!((score(words, stems) - 0.5).abs() < 1e-12);
        let (words, stems): ([&[u32]; 2], [&[u32]; 2]) = ([&[1, 3], &[2, 3]], [&[9, 3], &[9, 3]]);
        assert!((score(words, stems) - (1.0 - 0.5 / 8.0)).abs() < 1e-12);
        let exact = MeteorOptions {
            stems: false,
            ..MeteorOptions::default()
        };
        let found = Meteor::default().score(words, stems, &exact);
        assert!((found - 0.25).abs() < 1e-12);
    }

    #[test]
    fn repeated_words_take_the_last_free_place() {
        // The last 1 gets place 2, the first gets place 0: not neighbours, though 0 and 1 would be for the pair (1, 2).
        let words: [&[u32]; 2] = [&[1, 2, 1], &[1, 2]];
        // 1 -> place 2, 2 -> place 1: two chunks.
        let (p, r) = (1.0, 2.0 / 3.0);
        let expected = p * r / (0.9 * p + 0.1 * r) * 0.5;
        assert!((score(words, words) - expected).abs() < 1e-12);
    }

    #[test]
    fn nothing_in_common_is_nothing() {
        assert_eq!(score([&[1], &[2]], [&[3], &[4]]), 0.0);
        assert_eq!(score([&[], &[2]], [&[], &[4]]), 0.0);
        assert_eq!(score([&[1], &[]], [&[3], &[]]), 0.0);
        assert_eq!(score([&[], &[]], [&[], &[]]), 0.0);
    }
}
