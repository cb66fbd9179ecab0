//! Stored rows under the preprocessing of the layout.

use std::collections::BTreeMap;

use purkinje_signal::Preprocess;
use purkinje_signal::preprocess::Remaining;
use purkinje_store::{QualityFilter, Row, Store, StoreError};
use rayon::prelude::*;

use super::{ExportError, Layout};

/// Number of samples (of all leads) prepared at a time: 32 MB.
const FLIGHT_VALUES: usize = 1 << 22;

/// The rows of a store under a contract.
pub(super) struct Rows<'a> {
    store: &'a Store,
    contract: Preprocess,
    /// The remaining steps; `None` where the store has this contract.
    left: Option<Box<Remaining>>,
    usable: Vec<usize>,
    left_out: BTreeMap<String, usize>,
}

/// One preprocessed row: samples `[lead, time]` in double precision, or the reason why there are none.
pub(super) type Ready = Result<Vec<f64>, String>;

impl<'a> Rows<'a> {
    pub(super) fn new(
        store: &'a Store,
        layout: Layout,
        contract: Preprocess,
        quality: &QualityFilter,
    ) -> Result<Self, ExportError> {
        check(layout, &contract)?;
        let own = &store.info().preprocess;
        let left = match own.same_samples(&contract) {
            true => None,
            false => {
                let left = contract.serve(own, source_rate_hz(store));
                Some(Box::new(left.map_err(|mismatch| {
                    ExportError::Contract {
                        layout,
                        store: store.dir().to_owned(),
                        source: Box::new(mismatch),
                    }
                })?))
            }
        };
        let mut rows = Rows {
            store,
            contract,
            left,
            usable: Vec::new(),
            left_out: BTreeMap::new(),
        };
        for (index, row) in store.rows().enumerate() {
            match rows.refusal(&row, quality) {
                None => rows.usable.push(index),
                Some(reason) => *rows.left_out.entry(reason).or_default() += 1,
            }
        }
        Ok(rows)
    }

    fn refusal(&self, row: &Row<'_>, quality: &QualityFilter) -> Option<String> {
        if let Err(below) = quality.check_row(row, self.store.info().rate_hz) {
            return Some(format!("signal quality: {}", below.measure));
        }
        let serves = |left: &Remaining| left.serves_row(row.samples(), row.missing_samples());
        match self.left.as_deref().is_none_or(serves) {
            true => None,
            false => {
                Some("missing samples were replaced differently than the layout needs".to_owned())
            }
        }
    }

    /// The preprocessing.
    pub(super) fn contract(&self) -> &Preprocess {
        &self.contract
    }

    /// The indices of the rows that keep the limits and can be preprocessed, increasing.
    pub(super) fn usable(&self) -> &[usize] {
        &self.usable
    }

    /// The number of the other rows, by reason.
    pub(super) fn left_out(&self) -> BTreeMap<String, usize> {
        self.left_out.clone()
    }

    /// Preprocesses one row.
    fn ready(&self, index: usize) -> Result<Ready, StoreError> {
        let row = self.store.row(index)?;
        let gain = exact_gain(row.gain_per_mv());
        let stored: Vec<f64> = row
            .signal()
            .iter()
            .map(|&unit| f64::from(unit) / gain)
            .collect();
        let Some(left) = &self.left else {
            return Ok(Ok(stored));
        };
        let prepared = left.apply(row.id(), &self.store.info().leads, &stored);
        Ok(prepared.map(|prepared| prepared.rows).map_err(|error| {
            tracing::warn!("{error}");
            "refused by the preprocessing".to_owned()
        }))
    }

    /// Preprocesses the rows `indices` and applies `each` to them on all cores, and passes the results to `then` in
    /// order, some rows at a time.
    pub(super) fn for_each<T: Send>(
        &self,
        indices: &[usize],
        each: impl Fn(usize, Vec<f64>) -> Result<T, ExportError> + Sync,
        mut then: impl FnMut(&[usize], Vec<Result<T, String>>) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        let mut rest = indices;
        while !rest.is_empty() {
            let mut values = 0;
            let mut count = 0;
            for &index in rest {
                values += self.store.row(index)?.signal().len();
                if count > 0 && values > FLIGHT_VALUES {
                    break;
                }
                count += 1;
            }
            let (now, later) = rest.split_at(count);
            let done = now
                .par_iter()
                .map(|&index| match self.ready(index)? {
                    Ok(samples) => each(index, samples).map(Ok),
                    Err(reason) => Ok(Err(reason)),
                })
                .collect::<Result<Vec<Result<T, String>>, ExportError>>()?;
            then(now, done)?;
            rest = later;
        }
        Ok(())
    }
}

/// Refuses a contract that does not fit the original program.
fn check(layout: Layout, contract: &Preprocess) -> Result<(), ExportError> {
    let unfit = |found: String, expected: String| {
        Err(ExportError::Unfit {
            layout,
            found,
            expected,
        })
    };
    if contract.rate_hz != layout.rate_hz() {
        return unfit(
            format!("{} Hz", contract.rate_hz),
            format!("samples at {} Hz", layout.rate_hz()),
        );
    }
    if contract.leads.len() != 12 {
        return unfit(
            format!("{} leads", contract.leads.len()),
            "twelve leads".to_owned(),
        );
    }
    Ok(())
}

/// The sampling rate of the source, if it is the same for all records.
fn source_rate_hz(store: &Store) -> Option<f64> {
    let mut rates = store.rows().map(|row| row.source_rate_hz());
    let first = rates.next()??;
    rates
        .all(|rate| rate == Some(first))
        .then(|| f64::from(first))
}

/// The gain as a decimal number: 204.8 instead of the nearest single-precision number.
fn exact_gain(gain_per_mv: f32) -> f64 {
    gain_per_mv
        .to_string()
        .parse()
        .unwrap_or_else(|_| f64::from(gain_per_mv))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gains_are_those_of_the_files() {
        assert_eq!(exact_gain(204.8), 204.8);
        assert_eq!(exact_gain(1000.0), 1000.0);
        assert_eq!(exact_gain(16384.0), 16384.0);
    }
}
