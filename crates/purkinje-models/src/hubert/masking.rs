//! Masking of tokens in pre-training.

use super::config::HubertConfig;
use crate::random::Stream;

/// The masked tokens of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenMasking {
    tokens: usize,
    hidden: Vec<bool>,
}

impl TokenMasking {
    /// Given for every token `[size, tokens]`.
    ///
    /// # Panics
    /// When the number of flags is not a multiple of `tokens`.
    pub fn new(tokens: usize, hidden: Vec<bool>) -> Self {
        assert!(tokens > 0 && hidden.len().is_multiple_of(tokens));
        TokenMasking { tokens, hidden }
    }

    /// A span of `span` tokens from every start, for each recording; what reaches beyond the last token is cut.
    pub fn from_starts(tokens: usize, span: usize, starts: &[Vec<usize>]) -> Self {
        let mut hidden = vec![false; tokens * starts.len()];
        for (hidden, starts) in hidden.chunks_exact_mut(tokens).zip(starts) {
            for &start in starts {
                let end = start.saturating_add(span).min(tokens);
                hidden[start.min(end)..end].fill(true);
            }
        }
        TokenMasking { tokens, hidden }
    }

    /// A random mask: the same number of spans for all recordings of the batch, at distinct positions for each.
    pub fn random(config: &HubertConfig, size: usize, tokens: usize, stream: &mut Stream) -> Self {
        let span = config.mask_time_length;
        let count = span_count(config, tokens, stream.uniform());
        let starts: Vec<Vec<usize>> = (0..size)
            .map(|_| {
                let places = (tokens + 1).saturating_sub(span);
                let mut starts = stream.permutation(places);
                starts.truncate(count);
                starts
            })
            .collect();
        Self::from_starts(tokens, span, &starts)
    }

    /// Whether each token is masked `[size, tokens]`.
    pub fn hidden(&self) -> &[bool] {
        &self.hidden
    }

    /// Tokens of one recording.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Recordings.
    pub fn size(&self) -> usize {
        self.hidden.len() / self.tokens
    }
}

/// Number of masked spans in a recording of `tokens` tokens, for a random number `u` in [0, 1) that rounds at random:
/// floor(p T / m + u), at least the configured minimum, and no more than fit.
pub fn span_count(config: &HubertConfig, tokens: usize, u: f64) -> usize {
    let span = config.mask_time_length;
    let mean = config.mask_time_prob * tokens as f64 / span as f64;
    ((mean + u) as usize)
        .max(config.mask_time_min_masks)
        .min(tokens / span)
        .min((tokens + 1).saturating_sub(span))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_third_of_the_tokens_is_hidden_as_published() {
        let config = HubertConfig::base();
        let mut stream = Stream::new(1, "mask");
        let mut more = 0;
        for _ in 0..1000 {
            let mask = TokenMasking::random(&config, 3, 93, &mut stream);
            let counts: Vec<usize> = mask
                .hidden()
                .chunks(93)
                .map(|row| row.iter().filter(|h| **h).count())
                .collect();
            assert!(counts[0] == 30 || counts[0] == 31);
            assert_eq!(counts, [counts[0]; 3]);
            more += usize::from(counts[0] == 31);
        }
        assert!((640..740).contains(&more), "{more}");
    }

    #[test]
    fn spans_stay_within_bounds() {
        let config = HubertConfig {
            mask_time_length: 3,
            mask_time_prob: 1.0,
            mask_time_min_masks: 5,
            ..HubertConfig::base()
        };
        for tokens in 1..20 {
            let count = span_count(&config, tokens, 0.999);
            assert!(count * 3 <= tokens, "{tokens}");
            let mask = TokenMasking::random(&config, 2, tokens, &mut Stream::new(0, "mask"));
            assert_eq!((mask.size(), mask.tokens()), (2, tokens));
        }
        let cut = TokenMasking::from_starts(4, 3, &[vec![3], vec![9]]);
        assert_eq!(
            cut.hidden(),
            [false, false, false, true, false, false, false, false]
        );
    }
}
