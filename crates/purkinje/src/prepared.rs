//! Preprocessing of recordings under a contract, and the check that a store fits one.

use std::ops::Range;

use purkinje_record::Reader;
use purkinje_signal::quality::LimbLeads;
use purkinje_signal::r_peaks::FoundBeats;
use purkinje_signal::{Prepared, Preparer, Preprocess};
use purkinje_store::Store;
use purkinje_train::source::source_rate_hz;

use crate::leads::WantedLeads;
use crate::{Error, Result};

/// A stretch of a recording after preprocessing, as if it were a recording of its own, with those of the beats `found` in the whole
/// recording that are in it. As in the preparation of stores, double precision is used, starting from the file's
/// integers where they are known.
///
/// # Errors
/// A message that says why the recording is refused.
pub fn prepare(
    preparer: &Preparer,
    reader: &Reader,
    stretch: &Range<usize>,
    found: Option<&FoundBeats>,
) -> Result<Prepared, String> {
    let part = reader.read(stretch).map_err(|error| error.to_string())?;
    let found = found.map(|found| found.within(stretch));
    let (id, leads, rate_hz) = (&part.id, &part.leads, part.rate_hz);
    preparer
        .apply_window(id, leads, rate_hz, &part.exact_mv(), found.as_ref())
        .map_err(|error| error.to_string())
}

/// The preprocessing under which the recordings of a store are given to a model with this contract: the contract
/// itself, where the store was prepared that way or the remaining steps can be applied on reading.
///
/// With `any_preprocessing` a difference is only a warning, and the recordings are used as stored: the published
/// benchmarks give unfiltered PTB-XL to a model that was pre-trained on filtered recordings.
///
/// # Errors
/// When leads are missing or the preprocessing differs; the message names the first difference.
pub fn agree(
    store: &Store,
    contract: &Preprocess,
    wanted: Option<&WantedLeads>,
    any_preprocessing: bool,
) -> Result<Preprocess> {
    let place = store.dir().display();
    let present = &store.info().leads;
    let leads = WantedLeads::choose(wanted, &contract.leads, present).map_err(|reason| {
        Error::invalid(format!(
            "the store `{place}` does not fit the model: {reason}"
        ))
    })?;
    let stored = &store.info().preprocess;
    let expected = contract.clone().with_leads(leads.clone());
    if let Some(note) = contradicted_leads(store, 0..store.len()) {
        tracing::warn!("{note}");
    }
    match expected.serve(stored, source_rate_hz(store)) {
        Ok(_) => Ok(expected),
        Err(difference) if any_preprocessing => {
            tracing::warn!(
                "the store `{place}` was not prepared as the model expects: `{}` is {}, expected {}",
                difference.field,
                difference.found,
                difference.expected
            );
            Ok(stored.clone().with_leads(leads).with_beats(contract.beats))
        }
        Err(difference) => Err(Error::invalid(format!(
            "the store `{place}` was not prepared as the model expects: `{}` is {}, expected {}",
            difference.field, difference.found, difference.expected
        ))
        .with_help("prepare the data again with `--contract MODEL/preprocess.json`, or accept the difference with `--any-preprocessing`")),
    }
}

/// Says how many records have limb leads that contradict their names by Einthoven's and Goldberger's relations, with the first one and
/// what it probably is; `None` where there is none. A network in which each lead has its place gives wrong results for them.
pub(crate) fn contradicted_leads(
    store: &Store,
    rows: impl Iterator<Item = usize>,
) -> Option<String> {
    let (mut first, mut count, mut all) = (None, 0, 0);
    for row in rows {
        let Ok(row) = store.row(row) else { continue };
        all += 1;
        let found = row.quality().map(|quality| quality.limb_leads);
        let fine = [
            LimbLeads::AsNamed,
            LimbLeads::Unknown,
            LimbLeads::ArmsReversed,
        ];
        if let Some(found) = found.filter(|found| !fine.contains(found)) {
            count += 1;
            first.get_or_insert_with(|| (row.id().to_owned(), found.name()));
        }
    }
    let (id, found) = first?;
    Some(format!(
        "the limb leads of {count} of {all} records of `{}` contradict their names (the first, record `{id}`: {found}); `--quality limb=ok` leaves them out",
        store.dir().display()
    ))
}
