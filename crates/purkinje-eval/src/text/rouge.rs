//! ROUGE-L: the longest common subsequence of tokens.

use serde::{Deserialize, Serialize};

use super::ngrams::{NgramTable, START};

/// ROUGE-L of one pair (C.-Y. Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", ACL workshop 2004), as fractions. All are
/// 0 if either text has no token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RougeL {
    /// Length of the longest common subsequence by tokens of the generated text.
    pub precision: f64,
    /// The same by tokens of the reference.
    pub recall: f64,
    /// 2 P R / (P + R), 0 if both are 0.
    pub f1: f64,
}

/// Holds memory for the next pair.
#[derive(Default)]
pub(super) struct Rouge {
    table: NgramTable,
    masks: Vec<u64>,
    row: Vec<u32>,
}

impl Rouge {
    /// Scores two lists of tokens.
    pub fn score(&mut self, reference: &[u32], generated: &[u32]) -> RougeL {
        if reference.is_empty() || generated.is_empty() {
            return RougeL::default();
        }
        let common = self.common(reference, generated) as f64;
        let precision = common / generated.len() as f64;
        let recall = common / reference.len() as f64;
        let f1 = match common {
            0.0 => 0.0,
            _ => 2.0 * precision * recall / (precision + recall),
        };
        RougeL {
            precision,
            recall,
            f1,
        }
    }

    /// Length of the longest common subsequence.
    fn common(&mut self, a: &[u32], b: &[u32]) -> usize {
        let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
        if short.len() <= 64 {
            self.in_a_word(short, long)
        } else {
            self.by_rows(short, long)
        }
    }

    /// One row of the table of lengths as the bits of a word: a zero where the length grows (H. Hyyrö, "Bit-parallel
    /// LCS-length computation revisited", AWOCA 2004).
    fn in_a_word(&mut self, short: &[u32], long: &[u32]) -> usize {
        self.table.clear();
        self.masks.clear();
        for (place, &token) in short.iter().enumerate() {
            let number = self.table.insert(START, token) as usize;
            if number == self.masks.len() {
                self.masks.push(0);
            }
            self.masks[number] |= 1 << place;
        }
        let mut row = u64::MAX;
        for &token in long {
            if let Some(number) = self.table.get(START, token) {
                let matches = row & self.masks[number as usize];
                row = row.wrapping_add(matches) | (row - matches);
            }
        }
        // Bits beyond the short text stay ones.
        row.count_zeros() as usize
    }

    fn by_rows(&mut self, short: &[u32], long: &[u32]) -> usize {
        self.row.clear();
        self.row.resize(short.len() + 1, 0);
        for token in long {
            let mut diagonal = 0;
            for (place, other) in short.iter().enumerate() {
                let above = self.row[place + 1];
                self.row[place + 1] = match token == other {
                    true => diagonal + 1,
                    false => above.max(self.row[place]),
                };
                diagonal = above;
            }
        }
        self.row[short.len()] as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_example_by_hand() {
        // 1 3 4 of 1 2 3 4 and 1 3 5 4 6.
        let found = Rouge::default().score(&[1, 2, 3, 4], &[1, 3, 5, 4, 6]);
        assert_eq!((found.precision, found.recall), (0.6, 0.75));
        assert!((found.f1 - 2.0 / 3.0).abs() < 1e-15);
        assert_eq!(Rouge::default().score(&[1], &[2]), RougeL::default());
        assert_eq!(Rouge::default().score(&[], &[]), RougeL::default());
        assert_eq!(Rouge::default().score(&[1], &[1]).f1, 1.0);
    }

    proptest! {
        #[test]
        fn bits_and_rows_agree(
            short in prop::collection::vec(0u32..6, 0..=64),
            long in prop::collection::vec(0u32..6, 0..150),
        ) {
            let mut rouge = Rouge::default();
            let expected = rouge.by_rows(&short, &long);
            prop_assert_eq!(rouge.in_a_word(&short, &long), expected);
            prop_assert_eq!(rouge.common(&long, &short), expected);
            prop_assert_eq!(rouge.by_rows(&long, &short), expected);
        }
    }
}
