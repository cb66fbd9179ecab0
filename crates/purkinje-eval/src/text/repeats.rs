//! How often a text says the same again.

use super::ngrams::{NgramTable, START};

/// Holds memory for the next text.
#[derive(Default)]
pub(super) struct Repeats {
    table: NgramTable,
    ngrams: Vec<u32>,
}

impl Repeats {
    /// Share of the n-grams of `order` words that stood before in the same text; 0 if it has none.
    pub fn share(&mut self, words: &[u32], order: usize) -> f64 {
        let all = (words.len() + 1).saturating_sub(order);
        if all == 0 {
            return 0.0;
        }
        self.table.clear();
        self.ngrams.clear();
        self.ngrams.resize(words.len(), START);
        let mut shorter = 0;
        for skip in 0..order {
            shorter = self.table.len();
            for (before, &word) in self.ngrams.iter_mut().zip(&words[skip..]) {
                *before = self.table.insert(*before, word);
            }
        }
        let distinct = self.table.len() - shorter;
        (all - distinct) as f64 / all as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_by_hand() {
        let share = |words: &[u32], order| Repeats::default().share(words, order);
        // 1 2, 2 1, 1 2, 2 3: one of four stood before.
        assert_eq!(share(&[1, 2, 1, 2, 3], 2), 0.25);
        assert_eq!(share(&[7; 8], 4), 0.8);
        assert_eq!(share(&[1, 2, 3, 4, 1, 2, 3], 4), 0.0);
        assert_eq!((share(&[1, 2, 3], 4), share(&[], 1)), (0.0, 0.0));
        assert_eq!(share(&[1, 1, 2], 1), 1.0 / 3.0);
    }
}
