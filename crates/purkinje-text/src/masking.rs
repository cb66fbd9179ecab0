//! Hiding word pieces for a network to predict (Devlin et al., NAACL 2019).

use purkinje_base::random::Stream;

use crate::TextBatch;

/// The share of hidden word pieces that the mask stands for.
const MASKED: f64 = 0.8;
/// The share of the others in whose place any word piece stands.
const RANDOM: f64 = 0.5;

/// The draws of a batch, one for each word piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskDraws {
    /// Whether it is to be predicted.
    pub hidden: Vec<bool>,
    /// If so, whether the mask stands in its place.
    pub masked: Vec<bool>,
    /// If not, whether another word piece does.
    pub random: Vec<bool>,
    /// Which one.
    pub words: Vec<u32>,
}

impl MaskDraws {
    /// Draws for so many word pieces, each hidden with `probability`, of a tokenizer of `vocabulary` ones.
    pub fn draw(count: usize, probability: f64, vocabulary: u32, stream: &mut Stream) -> Self {
        let mut all = |p: f64| {
            (0..count)
                .map(|_| stream.uniform() < p)
                .collect::<Vec<bool>>()
        };
        let (hidden, masked, random) = (all(probability), all(MASKED), all(RANDOM));
        let words = (0..count).map(|_| (stream.uniform() * f64::from(vocabulary)) as u32);
        MaskDraws {
            hidden,
            masked,
            random,
            words: words
                .map(|word| word.min(vocabulary.saturating_sub(1)))
                .collect(),
        }
    }

    /// Hides word pieces of `batch`, but none for which `special` is true. Returns for each what is to be predicted.
    pub fn hide(
        &self,
        batch: &mut TextBatch,
        mask: u32,
        special: impl Fn(u32) -> bool,
    ) -> Vec<Option<u32>> {
        let mut asked = vec![None; batch.ids.len()];
        for (at, id) in batch.ids.iter_mut().enumerate() {
            if !self.hidden[at] || special(*id) {
                continue;
            }
            asked[at] = Some(*id);
            if self.masked[at] {
                *id = mask;
            } else if self.random[at] {
                *id = self.words[at];
            }
        }
        asked
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_asked_for_was_there_and_is_never_special(
            texts in prop::collection::vec(prop::collection::vec(3u32..40, 1..30), 1..6),
            seed in any::<u64>(),
        ) {
            let texts: Vec<Vec<u32>> = texts.into_iter().map(|mut t| { t.push(1); t }).collect();
            let whole = TextBatch::new(&texts, 0);
            let mut batch = whole.clone();
            let mut stream = Stream::new(seed, "masking");
            let draws = MaskDraws::draw(batch.ids.len(), 0.25, 40, &mut stream);
            let asked = draws.hide(&mut batch, 99, |id| id < 2);
            for (at, (&now, &before)) in batch.ids.iter().zip(&whole.ids).enumerate() {
                match asked[at] {
                    Some(word) => prop_assert!(word == before && before >= 2),
                    None => prop_assert_eq!(now, before),
                }
            }
            prop_assert_eq!(batch.real, whole.real);
        }
    }

    #[test]
    fn shares_are_those_asked_for() {
        let mut batch = TextBatch::new(&[vec![7; 20_000]], 0);
        let mut stream = Stream::new(1, "masking");
        let draws = MaskDraws::draw(20_000, 0.25, 1000, &mut stream);
        let asked = draws.hide(&mut batch, 5000, |_| false);
        let hidden = asked.iter().filter(|word| word.is_some()).count();
        let count = |of: fn(u32) -> bool| batch.ids.iter().filter(|id| of(**id)).count();
        assert!((4800..5200).contains(&hidden), "{hidden}");
        let masked = count(|id| id == 5000);
        assert!((3850..4150).contains(&masked), "{masked}");
        let random = count(|id| id != 5000 && id != 7);
        assert!((430..570).contains(&random), "{random}");
    }
}
