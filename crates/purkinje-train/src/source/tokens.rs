//! Heartbeat tokens of stored records.

use purkinje_signal::Preprocess;
use purkinje_signal::beats::{BeatTokens, Detection, RATE_HZ, Tokenizer};
use purkinje_store::Store;

use super::rows::Rows;
use super::{Look, Source};
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

    fn see(&self, index: usize, _look: Look) -> Result<BeatTokens, TrainError> {
        let row = self.rows.row(index)?;
        let stored_peaks: Vec<usize> = row.r_peaks().iter().map(|&i| i.max(0) as usize).collect();
        let Some(left) = &self.rows.left else {
            let tokens = self
                .tokenizer
                .cut(&Rows::stored(&row), &stored_peaks)
                .map_err(|e| self.rows.error(&row, &e))?;
            return Ok(BeatTokens {
                detected: row.beats_detected(),
                ..tokens
            });
        };
        let prepared = self.rows.finished(&row, left)?;
        let (r_peaks, detected) = match self
            .tokenizer
            .clone()
            .detect_in(&prepared)
            .map_err(|e| self.rows.error(&row, &e))?
        {
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
            .map_err(|e| self.rows.error(&row, &e))?;
        Ok(BeatTokens { detected, ..tokens })
    }
}
