//! Selects the records to train and to validate on.

use purkinje_store::{QualityFilter, Split, Store};

use crate::prepared::contradicted_leads;
use crate::{Error, Reporter, Result};

/// Limits that records must keep.
pub(super) struct Limits<'a> {
    /// Limits on signal quality; none when empty.
    pub(super) quality: &'a str,
    /// Shortest duration, in seconds.
    pub(super) least_seconds: Option<f64>,
}

/// The training split of a store, or all records if it has none.
pub(super) fn training(
    store: &Store,
    limits: &Limits<'_>,
    reporter: &dyn Reporter,
) -> Result<Vec<usize>> {
    let mut rows = store.indices(Split::Train);
    if rows.is_empty() {
        rows = (0..store.len()).collect();
    }
    let listed = rows.len();
    keep_good(store, &mut rows, limits.quality)?;
    if rows.is_empty() {
        return Err(Error::invalid(format!(
            "none of the {listed} training records of `{}` keeps the quality limits `{}`; relax them with `--quality`",
            store.dir().display(),
            limits.quality
        )));
    }
    if let Some(note) = contradicted_leads(store, rows.iter().copied()) {
        reporter.note(&note);
    }
    keep_long(store, rows, limits, reporter)
}

/// The validation split of a store.
pub(super) fn validation(
    store: &Store,
    limits: &Limits<'_>,
    reporter: &dyn Reporter,
) -> Result<Vec<usize>> {
    let mut rows = store.indices(Split::Val);
    keep_good(store, &mut rows, limits.quality)?;
    if rows.is_empty() {
        return Err(Error::invalid(format!(
            "`{}` has no records in its validation split: prepare it with one, or leave out `--validate-every`",
            store.dir().display()
        )));
    }
    keep_long(store, rows, limits, reporter)
}

fn keep_good(store: &Store, rows: &mut Vec<usize>, quality: &str) -> Result<()> {
    let quality: QualityFilter = quality
        .parse()
        .map_err(|error: purkinje_store::WrongQualityFilter| Error::invalid(error.to_string()))?;
    let rate_hz = store.info().rate_hz;
    rows.retain(|&row| {
        let row = store.row(row);
        row.is_ok_and(|row| quality.check_row(&row, rate_hz).is_ok())
    });
    Ok(())
}

fn keep_long(
    store: &Store,
    mut rows: Vec<usize>,
    limits: &Limits<'_>,
    reporter: &dyn Reporter,
) -> Result<Vec<usize>> {
    let Some(seconds) = limits.least_seconds else {
        return Ok(rows);
    };
    let all = rows.len();
    let rate_hz = store.info().rate_hz;
    rows.retain(|&row| {
        let samples = store.row(row).map_or(0, |row| row.samples());
        samples as f64 >= seconds * rate_hz
    });
    if rows.len() < all {
        reporter.note(&format!(
            "{} of {all} records are shorter than {seconds} s and were left out",
            all - rows.len()
        ));
    }
    match rows.is_empty() {
        true => Err(Error::invalid(format!(
            "`{}` has no record of at least {seconds} s, which this system needs for training",
            store.dir().display()
        ))),
        false => Ok(rows),
    }
}
