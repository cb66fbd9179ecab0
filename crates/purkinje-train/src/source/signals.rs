//! Signals of stored records.

use std::ops::Range;

use purkinje_signal::{Prepared, Preprocess};
use purkinje_store::{Store, quantise};

use super::cut::{Cut, Look, SignalCutter};
use super::rows::Rows;
use super::{Records, Source};
use crate::TrainError;

/// The records of a store as signals, preprocessed as a contract says and cut on the fly.
pub struct StoreSignals<'a, C = SignalCutter> {
    rows: Rows<'a>,
    leads: usize,
    cutter: C,
}

impl<'a, C: Cut> StoreSignals<'a, C> {
    /// The records at `rows` of a store, preprocessed as `contract` says: as they are where the store was made with it,
    /// otherwise by the steps that are left on every access; cut by `cutter`.
    ///
    /// # Errors
    /// When the store lacks a lead, or was made with another contract that does not lead to this one.
    pub fn new(
        store: &'a Store,
        rows: Vec<usize>,
        contract: &Preprocess,
        cutter: C,
    ) -> Result<Self, TrainError> {
        Ok(StoreSignals {
            rows: Rows::new(store, rows, contract)?,
            leads: contract.leads.len(),
            cutter,
        })
    }

    /// The whole record under the contract, `[lead, time]`, and its name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn signal(&self, index: usize) -> Result<(String, Vec<f32>), TrainError> {
        let row = self.rows.row(index)?;
        let whole = 0..row.samples();
        let signal = match &self.rows.left {
            None => Rows::stored(&row, &whole),
            Some(left) => {
                let signal = self.rows.finished(&row, left, &whole)?.rows;
                signal.into_iter().map(|v| v as f32).collect()
            }
        };
        Ok((row.id().to_owned(), signal))
    }
}

impl<C: Cut> Source for StoreSignals<'_, C> {
    type Input = C::Input;

    fn len(&self) -> usize {
        self.rows.rows.len()
    }

    fn see(&self, index: usize, look: Look) -> Result<C::Input, TrainError> {
        let whole = 0..self.samples(index)?.0;
        self.see_within(index, &whole, look)
    }
}

impl<C: Cut> Records for StoreSignals<'_, C> {
    fn samples(&self, index: usize) -> Result<(usize, f64), TrainError> {
        self.rows.samples(index)
    }

    fn see_within(
        &self,
        index: usize,
        stretch: &Range<usize>,
        look: Look,
    ) -> Result<C::Input, TrainError> {
        let row = self.rows.row(index)?;
        let cut = match &self.rows.left {
            None => self
                .cutter
                .cut(&Rows::stored(&row, stretch), self.leads, index, look),
            Some(left) => {
                let signal = self.rows.finished(&row, left, stretch)?.rows;
                self.cutter.cut(&signal, self.leads, index, look)
            }
        };
        cut.map_err(|e| self.rows.error(&row, &e))
    }
}

/// Samples of a recording that was prepared in memory as a store of the same contract holds them: to 16 bits. Cut by the
/// same [`Cut`], they give the same input as the stored row, bit for bit.
///
/// # Errors
/// When a sample is not finite or too large for a store.
pub fn as_stored(prepared: &Prepared) -> Result<Vec<f32>, TrainError> {
    let stored = quantise(&prepared.rows).map_err(|index| {
        TrainError::Data(format!(
            "sample {index} of all leads is {}; stores hold finite samples up to 32767",
            prepared.rows[index]
        ))
    })?;
    // As rows of a store are read: a quotient.
    let gain = stored.gain_per_mv;
    let samples = stored.signal.iter();
    Ok(samples.map(|&unit| f32::from(unit) / gain).collect())
}
