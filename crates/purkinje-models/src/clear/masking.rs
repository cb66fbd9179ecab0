//! The visible tokens of the encoder, and the attention masks that follow from them.

use super::config::{BEATS, ClearConfig, EncoderMask, TokenContext};
use super::input::ClearBatch;
use crate::random::Stream;

/// The visible tokens of a batch: one order for all records (released program) or one for each (paper).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masking {
    orders: Vec<Vec<usize>>,
    kept: usize,
}

impl Masking {
    /// All tokens, in original order: the deterministic choice for inference.
    pub fn all(tokens: usize) -> Self {
        Masking {
            orders: vec![(0..tokens).collect()],
            kept: tokens,
        }
    }

    /// The first `kept` tokens of an ascending sort of the noise; one noise vector for the batch or one for each record.
    pub fn from_noise(noise: &[Vec<f32>], kept: usize) -> Self {
        let orders = noise
            .iter()
            .map(|noise| {
                let mut order: Vec<usize> = (0..noise.len()).collect();
                order.sort_by(|&a, &b| noise[a].total_cmp(&noise[b]));
                order
            })
            .collect();
        Masking { orders, kept }
    }

    /// A random mask at the configuration's ratio. The paper's mask keeps the visible tokens in original order; the
    /// program's also shuffles them.
    pub fn random(config: &ClearConfig, batch: &ClearBatch, stream: &mut Stream) -> Self {
        let tokens = batch.token_count();
        let kept = config.kept(tokens).max(1);
        let draws = if config.mask_per_record {
            batch.size
        } else {
            1
        };
        let orders = (0..draws)
            .map(|_| {
                let mut order = stream.permutation(tokens);
                if config.compat == super::Compat::Paper {
                    order[..kept].sort_unstable();
                }
                order
            })
            .collect();
        Masking { orders, kept }
    }

    /// Number of visible tokens.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// Number of different masks: 1, or one for each record.
    pub fn variants(&self) -> usize {
        self.orders.len()
    }

    /// The visible tokens of a record, in the order of the encoder's input.
    pub fn visible(&self, record: usize) -> &[usize] {
        &self.order(record)[..self.kept]
    }

    fn order(&self, record: usize) -> &[usize] {
        &self.orders[record % self.orders.len()]
    }

    /// For every token of a record, its position among the visible ones.
    pub fn places(&self, record: usize) -> Vec<Option<usize>> {
        let order = self.order(record);
        let mut places = vec![None; order.len()];
        for (place, &token) in order[..self.kept].iter().enumerate() {
            places[token] = Some(place);
        }
        places
    }
}

/// The samples a visible token is embedded from: `[size, kept, 96 * 3]`, previous, own and next beat interleaved
/// sample by sample, as in the memory layout of the token convolution's kernel.
pub(super) fn neighbourhoods(
    batch: &ClearBatch,
    masking: &Masking,
    context: TokenContext,
) -> Vec<f32> {
    const S: usize = super::TOKEN_SAMPLES;
    let n = batch.token_count();
    let mut out = vec![0.0; batch.size * masking.kept() * S * 3];
    for (record, out) in out.chunks_exact_mut(masking.kept() * S * 3).enumerate() {
        let tokens = &batch.tokens[record * n * S..(record + 1) * n * S];
        let places = masking.places(record);
        for (out, &t) in out.chunks_exact_mut(S * 3).zip(masking.visible(record)) {
            let beat = t % BEATS;
            let sources = match context {
                TokenContext::Circular => [Some((t + n - 1) % n), Some(t), Some((t + 1) % n)],
                TokenContext::Kept => [
                    (beat > 0).then(|| t - 1).filter(|&u| places[u].is_some()),
                    Some(t),
                    (beat + 1 < BEATS)
                        .then(|| t + 1)
                        .filter(|&u| places[u].is_some()),
                ],
                TokenContext::Own => [None, Some(t), None],
            };
            for (k, source) in sources.into_iter().enumerate() {
                if let Some(u) = source {
                    for (s, x) in tokens[u * S..(u + 1) * S].iter().enumerate() {
                        out[s * 3 + k] = *x;
                    }
                }
            }
        }
    }
    out
}

/// The encoder's mask `[variants, length, length]` over CLS tokens, then visible tokens; `None` where nothing is
/// masked.
pub(super) fn encoder_mask(
    batch: &ClearBatch,
    masking: &Masking,
    config: &ClearConfig,
) -> Option<(usize, Vec<f32>)> {
    let leads = batch.leads.len();
    let length = leads + masking.kept();
    let skip = config.skip_padding;
    if config.encoder_mask == EncoderMask::None && !skip {
        return None;
    }
    let variants = if skip { batch.size } else { masking.variants() };
    let mut masks = vec![0.0; variants * length * length];
    for (record, mask) in masks.chunks_exact_mut(length * length).enumerate() {
        let visible = masking.visible(record);
        match config.encoder_mask {
            EncoderMask::None => {}
            EncoderMask::Additive => {
                // The program's windows: as many columns as the lead has visible tokens, counted from column 0 of the
                // whole sequence, whatever token is there.
                let mut start = 0;
                for (lead, row) in mask.chunks_exact_mut(length).take(leads).enumerate() {
                    let count = visible.iter().filter(|&&t| t / BEATS == lead).count();
                    row.fill(1.0);
                    row[start..start + count].fill(0.0);
                    start += count;
                }
            }
            EncoderMask::Boolean => {
                for (lead, row) in mask.chunks_exact_mut(length).take(leads).enumerate() {
                    row.fill(f32::NEG_INFINITY);
                    row[lead] = 0.0;
                    for (place, &t) in visible.iter().enumerate() {
                        if t / BEATS == lead {
                            row[leads + place] = 0.0;
                        }
                    }
                }
            }
        }
        if skip {
            let padding = &batch.padding[record * batch.token_count()..];
            let empty: Vec<usize> = (0..visible.len())
                .filter(|&place| padding[visible[place]])
                .collect();
            block_columns(mask, length, leads, &empty);
        }
    }
    Some((variants, masks))
}

/// The decoder's mask `[variants, leads + tokens, leads + tokens]`: a masked beat sees the same
/// beat in every lead and the CLS token of its lead; a visible one sees the visible ones and its CLS token.
pub(super) fn decoder_mask(
    batch: &ClearBatch,
    masking: &Masking,
    config: &ClearConfig,
) -> (usize, Vec<f32>) {
    let leads = batch.leads.len();
    let tokens = batch.token_count();
    let length = leads + tokens;
    let skip = config.skip_padding;
    let variants = if skip { batch.size } else { masking.variants() };
    let mut masks = vec![f32::NEG_INFINITY; variants * length * length];
    for (record, mask) in masks.chunks_exact_mut(length * length).enumerate() {
        let places = masking.places(record);
        for lead in 0..leads {
            mask[lead * length + lead] = 0.0;
            for t in lead * BEATS..(lead + 1) * BEATS {
                mask[lead * length + leads + t] = 0.0;
                mask[(leads + t) * length + lead] = 0.0;
            }
        }
        for t in 0..tokens {
            let row = &mut mask[(leads + t) * length + leads..][..tokens];
            if places[t].is_some() {
                for &u in masking.visible(record) {
                    row[u] = 0.0;
                }
            } else {
                for u in (t % BEATS..tokens).step_by(BEATS) {
                    row[u] = 0.0;
                }
            }
        }
        if skip {
            let padding = &batch.padding[record * tokens..(record + 1) * tokens];
            let empty: Vec<usize> = (0..tokens).filter(|&t| padding[t]).collect();
            block_columns(mask, length, leads, &empty);
        }
    }
    (variants, masks)
}

/// Masks the given tokens for all tokens except themselves.
fn block_columns(mask: &mut [f32], length: usize, leads: usize, tokens: &[usize]) {
    for (i, row) in mask.chunks_exact_mut(length).enumerate() {
        for &t in tokens {
            if i != leads + t {
                row[leads + t] = f32::NEG_INFINITY;
            }
        }
    }
    for &t in tokens {
        mask[(leads + t) * length + leads + t] = 0.0;
    }
}

/// 1 for every token in the loss, `[size, tokens]`: the masked ones, without empty slots where these are skipped.
pub(super) fn loss_mask(batch: &ClearBatch, masking: &Masking, config: &ClearConfig) -> Vec<f32> {
    let tokens = batch.token_count();
    (0..batch.size)
        .flat_map(|record| {
            let padding = &batch.padding[record * tokens..(record + 1) * tokens];
            masking
                .places(record)
                .into_iter()
                .zip(padding)
                .map(|(place, empty)| {
                    let scored = place.is_none() && !(config.skip_padding && *empty);
                    f32::from(u8::from(scored))
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Compat, TOKEN_SAMPLES};
    use super::*;
    use purkinje_signal::beats::BeatTokens;

    fn batch(size: usize, leads: &[u8]) -> ClearBatch {
        let n = leads.len() * BEATS;
        let inputs: Vec<_> = (0..size)
            .map(|r| BeatTokens {
                samples: (0..n * TOKEN_SAMPLES)
                    .map(|i| ((i * (r + 3)) % 101) as f32)
                    .collect(),
                lead_index: leads.iter().flat_map(|l| [*l; BEATS]).collect(),
                time_index: vec![1; n],
                padding: (0..n).map(|i| i % BEATS == 14).collect(),
                r_peaks: Vec::new(),
                detected: true,
            })
            .collect();
        ClearBatch::new(&inputs).unwrap()
    }

    #[test]
    fn kept_tokens_hold_no_sample_of_a_masked_neighbour() {
        let all: Vec<u8> = (1..=12).collect();
        let batch = batch(2, &all);
        let config = ClearConfig::tiny();
        let masking = Masking::random(&config, &batch, &mut Stream::new(0, "mask"));
        for context in [TokenContext::Kept, TokenContext::Own] {
            let before = neighbourhoods(&batch, &masking, context);
            let mut changed = batch.clone();
            for record in 0..2 {
                for (t, place) in masking.places(record).into_iter().enumerate() {
                    if place.is_none() {
                        let at = (record * 180 + t) * TOKEN_SAMPLES;
                        changed.tokens[at..at + TOKEN_SAMPLES].fill(9.0);
                    }
                }
            }
            assert_eq!(before, neighbourhoods(&changed, &masking, context));
        }
        let leaky = neighbourhoods(&batch, &masking, TokenContext::Circular);
        let mut changed = batch.clone();
        changed.tokens.iter_mut().for_each(|x| *x += 1.0);
        assert_ne!(
            leaky,
            neighbourhoods(&changed, &masking, TokenContext::Circular)
        );
    }

    #[test]
    fn paper_masks_differ_by_record_and_released_masks_are_shared() {
        let batch = batch(2, &[1, 2]);
        let draw = |compat| {
            let config = ClearConfig::tiny().with_compat(compat);
            Masking::random(&config, &batch, &mut Stream::new(0, "mask"))
        };
        let paper = draw(Compat::Paper);
        assert_eq!(paper.variants(), 2);
        assert_ne!(paper.visible(0), paper.visible(1));
        let released = draw(Compat::Released);
        assert_eq!(released.visible(0), released.visible(1));
        assert_eq!(released.kept(), 5);
    }

    #[test]
    fn a_lead_without_visible_tokens_attends_to_its_own_cls_only() {
        let batch = batch(1, &[1, 2]);
        let masking = Masking {
            orders: vec![(0..30).collect()],
            kept: 3,
        };
        let config = ClearConfig::tiny();
        let (variants, mask) = encoder_mask(&batch, &masking, &config).unwrap();
        assert_eq!((variants, mask.len()), (1, 25));
        let allowed =
            |row: usize| -> Vec<usize> { (0..5).filter(|c| mask[row * 5 + c] == 0.0).collect() };
        assert_eq!(allowed(0), [0, 2, 3, 4]);
        assert_eq!(allowed(1), [1]);
        assert_eq!(allowed(2), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn no_row_of_a_mask_is_empty_and_empty_slots_can_be_left_out() {
        let batch = batch(2, &[1, 2, 7]);
        let config = ClearConfig {
            skip_padding: true,
            ..ClearConfig::tiny()
        };
        let masking = Masking::random(&config, &batch, &mut Stream::new(1, "mask"));
        let (n, decoder) = decoder_mask(&batch, &masking, &config);
        assert_eq!(n, 2);
        let length = 3 + 45;
        for row in decoder.chunks_exact(length) {
            assert!(row.contains(&0.0));
        }
        assert_eq!(decoder[3 * length + 3 + 14], f32::NEG_INFINITY);
        let scored = loss_mask(&batch, &masking, &config);
        assert!(
            scored
                .iter()
                .zip(&batch.padding)
                .all(|(s, p)| *s == 0.0 || !p)
        );
    }
}
