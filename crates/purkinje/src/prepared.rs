//! Preprocessing of recordings under a contract, and the check that a store fits one.

use purkinje_record::{Digital, Recording};
use purkinje_signal::{Prepared, Preparer, Preprocess};
use purkinje_store::Store;
use purkinje_train::source::source_rate_hz;

use crate::leads::WantedLeads;
use crate::{Error, Result};

/// The samples after preprocessing, from sample `first` on. As in the preparation of stores, double precision is used,
/// starting from the file's integers where they are known.
///
/// # Errors
/// A message that says why the recording is refused.
pub fn prepare(
    preparer: &Preparer,
    recording: &Recording,
    first: usize,
) -> Result<Prepared, String> {
    let len = recording.len();
    let first = first.min(len);
    let samples_mv: Vec<f64> = match &recording.digital {
        Some(digital) => digital
            .samples()
            .chunks_exact(len.max(1))
            .zip(digital.gain_per_mv().iter().zip(digital.baseline()))
            .flat_map(|(row, (gain, baseline))| {
                row[first..].iter().map(move |&unit| match unit {
                    Digital::MISSING => f64::NAN,
                    unit => f64::from(i32::from(unit) - baseline) / gain,
                })
            })
            .collect(),
        None => recording
            .rows()
            .flat_map(|row| row[first..].iter().map(|&v| f64::from(v)))
            .collect(),
    };
    let (id, leads) = (&recording.id, &recording.leads);
    preparer
        .apply_samples(id, leads, recording.rate_hz, &samples_mv)
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
