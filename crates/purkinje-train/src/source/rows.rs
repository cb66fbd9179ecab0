//! Rows of a store as a contract wants them.

use std::ops::Range;

use purkinje_signal::preprocess::Remaining;
use purkinje_signal::{Prepared, Preprocess};
use purkinje_store::{Row, Store};

use crate::TrainError;

/// Rows of a store under the contract a network expects: as they are stored, or after the steps that are left.
pub(super) struct Rows<'a> {
    pub(super) store: &'a Store,
    pub(super) rows: Vec<usize>,
    /// What is left to do to a stored row; `None` when it is taken as it is.
    pub(super) left: Option<Box<Remaining>>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(
        store: &'a Store,
        rows: Vec<usize>,
        contract: &Preprocess,
    ) -> Result<Self, TrainError> {
        let own = &store.info().preprocess;
        let left = match own.gives_the_same(contract) {
            true => None,
            false => {
                let left = contract.serve(own, source_rate_hz(store));
                let left = left.map_err(|difference| {
                    TrainError::Data(format!("store {}: {difference}", store.dir().display()))
                })?;
                Some(Box::new(left))
            }
        };
        Ok(Rows { store, rows, left })
    }

    pub(super) fn row(&self, index: usize) -> Result<Row<'a>, TrainError> {
        let row = self.store.row(self.rows[index]);
        row.map_err(|e| TrainError::Data(e.to_string()))
    }

    pub(super) fn error(&self, row: &Row<'_>, reason: &dyn std::fmt::Display) -> TrainError {
        let place = self.store.dir().display();
        TrainError::Data(format!("store {place}, record `{}`: {reason}", row.id()))
    }

    /// Samples of a lead of record `index` and their rate, as stored.
    pub(super) fn samples(&self, index: usize) -> Result<(usize, f64), TrainError> {
        Ok((self.row(index)?.samples(), self.store.info().rate_hz))
    }

    /// A stretch of the samples as they are stored, in millivolts or what the contract makes of them `[lead, time]`.
    pub(super) fn stored(row: &Row<'_>, stretch: &Range<usize>) -> Vec<f32> {
        let mut signal = Vec::new();
        row.signal_mv_into(&mut signal);
        let len = row.samples();
        if *stretch == (0..len) {
            return signal;
        }
        let leads = signal.chunks_exact(len.max(1));
        leads
            .flat_map(|lead| &lead[stretch.clone()])
            .copied()
            .collect()
    }

    /// A stretch of the samples after `left`, `[lead, time]`.
    pub(super) fn finished(
        &self,
        row: &Row<'_>,
        left: &Remaining,
        stretch: &Range<usize>,
    ) -> Result<Prepared, TrainError> {
        if !left.serves_row(row.samples(), row.missing_samples()) {
            return Err(self.error(
                row,
                &"its missing samples were replaced in another way than the model expects; prepare the recordings again as it expects them, or leave this one out",
            ));
        }
        let signal = Self::stored(row, &(0..row.samples()));
        let leads = &self.store.info().leads;
        let prepared = left.apply_within(row.id(), leads, &signal, stretch);
        prepared.map_err(|e| self.error(row, &e))
    }
}

/// The sampling rate that all records of a store came with, if they came with one.
pub fn source_rate_hz(store: &Store) -> Option<f64> {
    let mut rates = store.rows().map(|row| row.source_rate_hz());
    let first = rates.next()??;
    rates
        .all(|rate| rate == Some(first))
        .then(|| f64::from(first))
}
