//! Heartbeat tokens of stored records.

use std::ops::Range;

use purkinje_signal::Preprocess;
use purkinje_signal::beats::{BeatTokens, Detection, RATE_HZ, Tokenizer, evenly_spaced};
use purkinje_store::Store;

use super::rows::Rows;
use super::{Look, Records, Source};
use crate::TrainError;

/// The records of a store as tokens of heartbeats, cut on the fly: all its leads at the stored R-peaks, or some of its leads, or samples that
/// are still to be preprocessed, at the R-peaks these show.
pub struct StoreTokens<'a> {
    rows: Rows<'a>,
    tokenizer: Tokenizer,
}

impl<'a> StoreTokens<'a> {
    /// The records at `rows` of a store, preprocessed as `contract` says: as they are where the store was made with it, otherwise
    /// by the steps that are left on every access.
    ///
    /// # Errors
    /// When the store lacks a lead or a lead has no tokens; when it was made with another contract that does not lead to this one.
    pub fn new(
        store: &'a Store,
        rows: Vec<usize>,
        contract: &Preprocess,
    ) -> Result<Self, TrainError> {
        Ok(StoreTokens {
            rows: Rows::new(store, rows, contract)?,
            tokenizer: Tokenizer::for_contract(contract)
                .map_err(|e| TrainError::Data(e.to_string()))?,
        })
    }
}

impl Source for StoreTokens<'_> {
    type Input = BeatTokens;

    fn len(&self) -> usize {
        self.rows.rows.len()
    }

    fn see(&self, index: usize, look: Look) -> Result<BeatTokens, TrainError> {
        let whole = 0..self.samples(index)?.0;
        self.see_within(index, &whole, look)
    }
}

impl Records for StoreTokens<'_> {
    fn samples(&self, index: usize) -> Result<(usize, f64), TrainError> {
        self.rows.samples(index)
    }

    fn see_within(
        &self,
        index: usize,
        stretch: &Range<usize>,
        _look: Look,
    ) -> Result<BeatTokens, TrainError> {
        let row = self.rows.row(index)?;
        let error = |e: &dyn std::fmt::Display| self.rows.error(&row, e);
        let whole = *stretch == (0..row.samples());
        let peaks = row.r_peaks().iter().map(|&i| i.max(0) as usize);
        let peaks = peaks.filter(|peak| stretch.contains(peak));
        let stored_peaks: Vec<usize> = peaks.map(|peak| peak - stretch.start).collect();
        let Some(left) = &self.rows.left else {
            let signal = Rows::stored(&row, stretch);
            // A stretch without any of the R-peaks of its record has positions of its own.
            let (r_peaks, detected) = match row.beats_detected() && !stored_peaks.is_empty() {
                true => (stored_peaks, true),
                false if whole => (stored_peaks, false),
                false => (evenly_spaced(stretch.len()), false),
            };
            let tokens = self
                .tokenizer
                .cut(&signal, &r_peaks)
                .map_err(|e| error(&e))?;
            return Ok(BeatTokens { detected, ..tokens });
        };
        let prepared = self.rows.finished(&row, left, stretch)?;
        let mut tokenizer = self.tokenizer.clone();
        let (r_peaks, detected) = match tokenizer.detect_in(&prepared).map_err(|e| error(&e))? {
            Detection::Found { r_peaks, .. } => (r_peaks, true),
            Detection::EvenlySpaced { r_peaks } => (r_peaks, false),
            // Other leads of this record are not silent: it keeps its place with their beats.
            Detection::Silent => {
                let share = RATE_HZ / self.rows.store.info().rate_hz;
                let place = |peak: usize| (peak as f64 * share) as usize;
                (stored_peaks.into_iter().map(place).collect(), false)
            }
        };
        let tokens = self
            .tokenizer
            .cut(&prepared.rows, &r_peaks)
            .map_err(|e| error(&e))?;
        Ok(BeatTokens { detected, ..tokens })
    }
}
