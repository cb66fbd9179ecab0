//! The best continuations of several beams.

/// A beam with one more token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    /// Which beam.
    pub beam: usize,
    /// The token.
    pub token: u32,
    /// Sum of its log-probabilities.
    pub sum: f32,
}

/// The `count` best continuations in falling order; of equal ones the earlier beam and then the lower token first. `sums` are those of
/// the beams, `scores` `[beams, vocabulary]` log-probabilities. What is no number or impossible is no continuation.
pub(super) fn best(
    sums: &[f32],
    scores: &[f32],
    vocabulary: usize,
    count: usize,
) -> Vec<Candidate> {
    let mut best: Vec<Candidate> = Vec::with_capacity(count + 1);
    let mut least = f32::NEG_INFINITY;
    for (beam, (own, scores)) in sums.iter().zip(scores.chunks_exact(vocabulary)).enumerate() {
        for (token, score) in scores.iter().enumerate() {
            let sum = own + score;
            if sum > least {
                let at = best.partition_point(|other| other.sum >= sum);
                let token = token as u32;
                best.insert(at, Candidate { beam, token, sum });
                best.truncate(count);
                if best.len() == count {
                    least = best[count - 1].sum;
                }
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_earlier_beam_and_the_lower_token() {
        let scores = [-1.0, f32::NAN, -0.5, -1.0, f32::NEG_INFINITY, -1.0];
        let found = best(&[0.0, -0.5], &scores, 3, 4);
        let found: Vec<_> = found.iter().map(|c| (c.beam, c.token, c.sum)).collect();
        assert_eq!(
            found,
            [(0, 2, -0.5), (0, 0, -1.0), (1, 0, -1.5), (1, 2, -1.5)]
        );
        assert_eq!(best(&[0.0], &scores[..3], 3, 1)[0].token, 2);
    }
}
