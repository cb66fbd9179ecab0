//! Evaluation of scores against right-censored times to an event.

use crate::EvalError;
use crate::error::{check_finite, check_length};

/// What [`concordance`] counted. All counts are of pairs of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concordance {
    /// Comparable pairs: it is known whose event came first.
    pub comparable: u64,
    /// Those in which the record with the earlier event has the higher score.
    pub concordant: u64,
    /// Those with equal scores.
    pub tied: u64,
}

impl Concordance {
    /// Harrell's index: the fraction of concordant pairs among the comparable ones, equal scores counting half. 0.5 is
    /// chance, 1 a perfect order; `None` where no pair is comparable.
    pub fn index(&self) -> Option<f64> {
        (self.comparable > 0)
            .then(|| (self.concordant as f64 + 0.5 * self.tied as f64) / self.comparable as f64)
    }
}

/// Harrell's concordance index of scores (higher: earlier event) with right-censored times to an event, in O(n log n).
///
/// `scores`, `times` (in any unit) and `events` have one value per record; a time is that of the event, or where there
/// was none that of the end of follow-up (right-censored). A pair is comparable if the event of one was observed before
/// the time of the other. At equal times, an event counts as earlier than censoring, and two events are not
/// comparable. (Harrell FE et al., JAMA 247:2543-2546, 1982.)
///
/// # Errors
/// Lengths that differ, or values that are not finite.
pub fn concordance(
    scores: &[f32],
    times: &[f32],
    events: &[bool],
) -> Result<Concordance, EvalError> {
    let because = || "one for each score".to_owned();
    check_length("The list of times", times.len(), scores.len(), because)?;
    check_length("The list of events", events.len(), scores.len(), because)?;
    check_finite("The list of scores", scores, 1)?;
    check_finite("The list of times", times, 1)?;

    let mut levels = scores.to_vec();
    levels.sort_unstable_by(f32::total_cmp);
    // -0 and 0 are equal scores.
    levels.dedup_by(|a, b| a == b);
    let level = |record: usize| levels.partition_point(|&level| level < scores[record]);

    // From the latest time to the earliest; at a time, those without an event first, since they outlived those with one.
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_unstable_by(|&a, &b| {
        let (a, b) = ((times[a], events[a]), (times[b], events[b]));
        b.0.partial_cmp(&a.0)
            .unwrap_or(std::cmp::Ordering::Equal)
            .then(a.1.cmp(&b.1))
    });
    let mut later = Counts::new(levels.len());
    let mut found = Concordance {
        comparable: 0,
        concordant: 0,
        tied: 0,
    };
    let same = |a: usize, b: usize| times[a] == times[b] && events[a] == events[b];
    for group in order.chunk_by(|&a, &b| same(a, b)) {
        if group.first().is_some_and(|&record| events[record]) {
            for &record in group {
                let level = level(record);
                let below = later.below(level);
                found.comparable += later.total;
                found.concordant += below;
                found.tied += later.below(level + 1) - below;
            }
        }
        for &record in group {
            later.add(level(record));
        }
    }
    Ok(found)
}

/// How many values were added below a level (a Fenwick tree).
struct Counts {
    tree: Vec<u64>,
    total: u64,
}

impl Counts {
    fn new(levels: usize) -> Self {
        Counts {
            tree: vec![0; levels + 1],
            total: 0,
        }
    }

    /// Adds one value at `level`, which is below the number of levels.
    fn add(&mut self, level: usize) {
        let mut node = level + 1;
        while let Some(count) = self.tree.get_mut(node) {
            *count += 1;
            node += node & node.wrapping_neg();
        }
        self.total += 1;
    }

    /// The number of values at levels below `level`.
    fn below(&self, level: usize) -> u64 {
        let (mut node, mut sum) = (level, 0);
        while node > 0 {
            sum += self.tree[node];
            node &= node - 1;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn index(scores: &[f32], times: &[f32], events: &[bool]) -> Option<f64> {
        concordance(scores, times, events).unwrap().index()
    }

    #[test]
    fn small_cases_by_hand() {
        let times = [1.0, 2.0, 3.0, 4.0];
        let all = [true; 4];
        assert_eq!(index(&[4.0, 3.0, 2.0, 1.0], &times, &all), Some(1.0));
        assert_eq!(index(&[1.0, 2.0, 3.0, 4.0], &times, &all), Some(0.0));
        assert_eq!(index(&[1.0; 4], &times, &all), Some(0.5));
        // One of six pairs the wrong way round.
        assert_eq!(index(&[4.0, 2.0, 3.0, 1.0], &times, &all), Some(5.0 / 6.0));

        // The second was lost to follow-up: its pairs with the third and fourth say nothing, 4 remain, 3 of them right.
        let events = [true, false, true, true];
        let found = concordance(&[4.0, 0.0, 1.0, 2.0], &times, &events).unwrap();
        let expected = Concordance {
            comparable: 4,
            concordant: 3,
            tied: 0,
        };
        assert_eq!(found, expected);
        assert_eq!(found.index(), Some(0.75));
    }

    #[test]
    fn equal_times_compare_an_event_with_a_censoring_only() {
        let one = |events: [bool; 2]| concordance(&[2.0, 1.0], &[5.0, 5.0], &events).unwrap();
        assert_eq!(one([true, false]).index(), Some(1.0));
        assert_eq!(one([false, true]).index(), Some(0.0));
        assert_eq!(one([true, true]).index(), None);
        assert_eq!(one([false, false]).index(), None);
        // Zeros of either sign are one time and one score.
        assert_eq!(index(&[0.0, -0.0], &[-0.0, 0.0], &[true, false]), Some(0.5));
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        assert_eq!(index(&[], &[], &[]), None);
        assert_eq!(index(&[1.0], &[1.0], &[true]), None);
        let error = |scores: &[f32], times: &[f32], events: &[bool]| {
            concordance(scores, times, events).unwrap_err().to_string()
        };
        assert!(error(&[1.0], &[1.0, 2.0], &[true]).contains("list of times"));
        assert!(error(&[1.0], &[1.0], &[]).contains("list of events"));
        assert!(error(&[f32::NAN], &[1.0], &[true]).contains("finite"));
        assert!(error(&[1.0], &[f32::INFINITY], &[true]).contains("finite"));
    }

    /// Every pair by the definition.
    fn by_pairs(scores: &[f32], times: &[f32], events: &[bool]) -> Concordance {
        let mut found = Concordance {
            comparable: 0,
            concordant: 0,
            tied: 0,
        };
        for first in 0..scores.len() {
            for second in 0..scores.len() {
                let before = times[first] < times[second]
                    || times[first] == times[second] && !events[second];
                if first == second || !events[first] || !before {
                    continue;
                }
                found.comparable += 1;
                found.concordant += u64::from(scores[first] > scores[second]);
                found.tied += u64::from(scores[first] == scores[second]);
            }
        }
        found
    }

    proptest! {
        #[test]
        fn counting_agrees_with_every_pair(
            records in proptest::collection::vec((-6i8..6, 0u8..12, any::<bool>()), 0..70)
        ) {
            let scores: Vec<f32> = records.iter().map(|r| f32::from(r.0) / 4.0).collect();
            let times: Vec<f32> = records.iter().map(|r| f32::from(r.1) / 2.0).collect();
            let events: Vec<bool> = records.iter().map(|r| r.2).collect();
            prop_assert_eq!(
                concordance(&scores, &times, &events).unwrap(),
                by_pairs(&scores, &times, &events)
            );
        }
    }
}
