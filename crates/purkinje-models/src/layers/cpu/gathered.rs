//! Attention of single queries to keys and values that are kept from step to step.

use rayon::prelude::*;

use super::simd;

/// What the queries of several rows attend to.
#[derive(Clone, Copy)]
pub(crate) struct Gathered<'a> {
    /// `[places, width]`.
    pub keys: &'a [f32],
    /// `[places, width]`.
    pub values: &'a [f32],
    /// For each row the places of its keys.
    pub places: &'a [Vec<u32>],
}

/// Multi-head attention of queries `[rows, width]`, one for each row, to the keys that `to` says of it: `[rows, width]`. A row
/// gives the same bits with any other rows.
pub(crate) fn gathered_attention(
    q: &[f32],
    to: Gathered<'_>,
    width: usize,
    heads: usize,
) -> Vec<f32> {
    let head = width / heads;
    let scale = 1.0 / (head as f32).sqrt();
    let mut out = vec![0.0; q.len()];
    out.par_chunks_mut(width)
        .zip(q.par_chunks(width))
        .zip(to.places)
        .for_each_init(Vec::new, |scores, ((out, q), places)| {
            scores.resize(places.len(), 0.0);
            let parts = out.chunks_exact_mut(head).zip(q.chunks_exact(head));
            for (h, (out, q)) in parts.enumerate() {
                let (keys, values) = (&to.keys[h * head..], &to.values[h * head..]);
                simd::attend(out, scores, q, keys, values, places, width, scale);
            }
        });
    out
}
