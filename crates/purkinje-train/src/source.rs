//! Where tokens come from, and what a frozen encoder makes of them.

use burn::tensor::Device;
use purkinje_models::clear::{Clear, ClearBatch, Masking};
use purkinje_models::layers::Context;
use purkinje_signal::Preprocess;
use purkinje_signal::beats::{BeatTokens, Detection, RATE_HZ, Tokenizer};
use purkinje_signal::preprocess::Remaining;
use purkinje_store::Store;

use crate::TrainError;

/// The tokens of a set of records, any one at any time.
pub trait TokenSource: Sync {
    /// How many records.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tokens of record `index`.
    ///
    /// # Errors
    /// When the record cannot be read or cut.
    fn tokens(&self, index: usize) -> Result<BeatTokens, TrainError>;

    /// The tokens of several records as one batch.
    ///
    /// # Errors
    /// When one cannot be read, or their leads differ.
    fn batch(&self, indices: &[usize]) -> Result<ClearBatch, TrainError> {
        let inputs = indices
            .iter()
            .map(|&i| self.tokens(i))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(ClearBatch::new(&inputs)?)
    }
}

impl TokenSource for [BeatTokens] {
    fn len(&self) -> usize {
        <[BeatTokens]>::len(self)
    }

    fn tokens(&self, index: usize) -> Result<BeatTokens, TrainError> {
        Ok(self[index].clone())
    }
}

/// The records of a store, cut on the fly: all its leads at the stored R-peaks, or some of its leads, or samples that are still to be
/// preprocessed, at the R-peaks these show.
pub struct StoreTokens<'a> {
    store: &'a Store,
    rows: Vec<usize>,
    tokenizer: Tokenizer,
    /// What is left to do to a stored row; `None` when it is cut as it is.
    left: Option<Box<Remaining>>,
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
        let own = &store.info().preprocess;
        let left = match own == contract {
            true => None,
            false => {
                let left = contract.serve(own, source_rate_hz(store));
                let left = left.map_err(|difference| {
                    TrainError::Data(format!("store {}: {difference}", store.dir().display()))
                })?;
                Some(Box::new(left))
            }
        };
        Ok(StoreTokens {
            store,
            rows,
            tokenizer: Tokenizer::new(&contract.leads)
                .map_err(|e| TrainError::Data(e.to_string()))?,
            left,
        })
    }

    /// Rows of the store, in the order of this source.
    pub fn rows(&self) -> &[usize] {
        &self.rows
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

impl TokenSource for StoreTokens<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn tokens(&self, index: usize) -> Result<BeatTokens, TrainError> {
        let data = |e: &dyn std::fmt::Display| TrainError::Data(e.to_string());
        let row = self.store.row(self.rows[index]).map_err(|e| data(&e))?;
        let record = |e: &dyn std::fmt::Display| {
            TrainError::Data(format!(
                "store {}, record `{}`: {e}",
                self.store.dir().display(),
                row.id()
            ))
        };
        let mut signal = Vec::new(); // [lead, time]
        row.signal_mv_into(&mut signal);
        let stored_peaks: Vec<usize> = row.r_peaks().iter().map(|&i| i.max(0) as usize).collect();
        let Some(left) = &self.left else {
            let tokens = self
                .tokenizer
                .cut(&signal, &stored_peaks)
                .map_err(|e| record(&e))?;
            return Ok(BeatTokens {
                detected: row.beats_detected(),
                ..tokens
            });
        };
        if !left.serves_row(row.samples(), row.missing_samples()) {
            return Err(record(
                &"its missing samples were replaced in another way than the model expects; prepare the recordings again as it expects them, or leave this one out",
            ));
        }
        let prepared = left
            .apply(row.id(), &self.store.info().leads, &signal)
            .map_err(|e| record(&e))?;
        let (r_peaks, detected) = match self
            .tokenizer
            .clone()
            .detect(&prepared.rows)
            .map_err(|e| record(&e))?
        {
            Detection::Found { r_peaks, .. } => (r_peaks, true),
            Detection::EvenlySpaced { r_peaks } => (r_peaks, false),
            // Other leads of this record are not silent: it keeps its place with their beats.
            Detection::Silent => {
                let share = RATE_HZ / self.store.info().rate_hz;
                let place = |peak: usize| (peak as f64 * share) as usize;
                (stored_peaks.into_iter().map(place).collect(), false)
            }
        };
        let tokens = self
            .tokenizer
            .cut(&prepared.rows, &r_peaks)
            .map_err(|e| record(&e))?;
        Ok(BeatTokens { detected, ..tokens })
    }
}

/// Records of one encoder pass.
const BATCH: usize = 32;

/// The lead vectors of a frozen encoder for every record of a source, `[records, leads, width]`; `progress` hears how many
/// records are done.
///
/// # Errors
/// When a record cannot be read.
pub fn lead_vectors(
    model: &Clear,
    source: &(impl TokenSource + ?Sized),
    device: &Device,
    mut progress: impl FnMut(usize),
) -> Result<Vec<f32>, TrainError> {
    let mut out = Vec::new();
    let records: Vec<usize> = (0..source.len()).collect();
    for records in records.chunks(BATCH) {
        let batch = source.batch(records)?;
        let ctx = Context::inference(device);
        let encoded = model.encode(&batch, &Masking::all(batch.token_count()), &ctx);
        let cls = encoded.cls.into_data().try_to_vec::<f32>();
        out.extend(cls.map_err(|e| TrainError::Data(format!("lead vectors: {e:?}")))?);
        progress(records.len());
    }
    Ok(out)
}
