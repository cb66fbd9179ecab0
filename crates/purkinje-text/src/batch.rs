//! Texts of one length.

/// Several texts as ids of word pieces, filled up to the longest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextBatch {
    /// `[texts, length]`.
    pub ids: Vec<u32>,
    /// Which of them are word pieces and not padding.
    pub real: Vec<bool>,
    /// Word pieces of each text, padding included.
    pub length: usize,
}

impl TextBatch {
    /// These texts, filled up with `pad` to the longest one.
    pub fn new(texts: &[Vec<u32>], pad: u32) -> Self {
        Self::of_length(texts, pad, texts.iter().map(Vec::len).max().unwrap_or(0))
    }

    /// These texts, filled up with `pad` or cut to `length`.
    pub fn of_length(texts: &[Vec<u32>], pad: u32, length: usize) -> Self {
        let mut batch = TextBatch {
            ids: Vec::with_capacity(texts.len() * length),
            real: Vec::with_capacity(texts.len() * length),
            length,
        };
        for text in texts {
            let own = &text[..text.len().min(length)];
            batch.ids.extend_from_slice(own);
            batch.ids.resize(batch.ids.len() + length - own.len(), pad);
            batch.real.resize(batch.real.len() + own.len(), true);
            batch.real.resize(batch.ids.len(), false);
        }
        batch
    }

    /// How many texts there are.
    pub fn size(&self) -> usize {
        self.ids.len() / self.length.max(1)
    }

    /// The same batch with the texts of `rows` replaced, filled up or cut to its length.
    pub fn with_rows(mut self, rows: &[usize], texts: &[Vec<u32>], pad: u32) -> Self {
        let other = Self::of_length(texts, pad, self.length);
        for (i, &row) in rows.iter().enumerate() {
            let (to, from) = (row * self.length, i * self.length);
            let (to, from) = (to..to + self.length, from..from + self.length);
            self.ids[to.clone()].copy_from_slice(&other.ids[from.clone()]);
            self.real[to].copy_from_slice(&other.real[from]);
        }
        self
    }
}

/// How many texts of a batch of `size` are replaced by ones that say something else: half of them, rounded by a draw `u` from 0 to 1.
pub fn negatives(size: usize, share: f64, u: f64) -> usize {
    ((size as f64 * share + u) as usize).min(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_filled_up_and_replaced() {
        let batch = TextBatch::new(&[vec![5, 1], vec![6, 7, 8, 1]], 0);
        assert_eq!((batch.size(), batch.length), (2, 4));
        assert_eq!(batch.ids, [5, 1, 0, 0, 6, 7, 8, 1]);
        let batch = batch.with_rows(&[1], &[vec![9, 1]], 0);
        assert_eq!(batch.ids, [5, 1, 0, 0, 9, 1, 0, 0]);
        assert_eq!(batch.real.iter().filter(|real| **real).count(), 4);
        let batch = batch.with_rows(&[0], &[vec![2; 9]], 0);
        assert_eq!(batch.ids[..4], [2; 4]);
    }

    #[test]
    fn half_of_a_batch_is_replaced() {
        assert_eq!(negatives(8, 0.5, 0.99), 4);
        assert_eq!([0.2, 0.7].map(|u| negatives(5, 0.5, u)), [2, 3]);
        assert_eq!(negatives(1, 1.0, 0.9), 1);
    }
}
