//! Where tokens come from, and what a frozen encoder makes of them.

use burn::tensor::Device;
use purkinje_models::clear::{Clear, ClearBatch, Masking};
use purkinje_models::layers::Context;
use purkinje_record::LeadSet;
use purkinje_signal::beats::{BeatTokens, Detection, Tokenizer};
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

/// The records of a store, cut on the fly: all its leads at the stored R-peaks, or some of its leads at the R-peaks these
/// leads show.
pub struct StoreTokens<'a> {
    store: &'a Store,
    rows: Vec<usize>,
    tokenizer: Tokenizer,
    /// Rows of the wanted leads; `None` when all are wanted in the order of the store.
    picked: Option<Vec<usize>>,
}

impl<'a> StoreTokens<'a> {
    /// The records at `rows` of a store with the given leads.
    ///
    /// # Errors
    /// When the store lacks a lead or a lead has no tokens.
    pub fn new(store: &'a Store, rows: Vec<usize>, leads: &LeadSet) -> Result<Self, TrainError> {
        let own = &store.info().preprocess.leads;
        let picked = own.rows_of(leads).map_err(|lead| {
            TrainError::Data(format!(
                "store {}: lead {lead} is wanted, but it holds {own}; choose among these",
                store.dir().display()
            ))
        })?;
        Ok(StoreTokens {
            picked: (own != leads).then_some(picked),
            store,
            rows,
            tokenizer: Tokenizer::new(leads).map_err(|e| TrainError::Data(e.to_string()))?,
        })
    }

    /// Rows of the store, in the order of this source.
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }
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
        let Some(picked) = &self.picked else {
            let r_peaks: Vec<usize> = row.r_peaks().iter().map(|&i| i.max(0) as usize).collect();
            let tokens = self
                .tokenizer
                .cut(&signal, &r_peaks)
                .map_err(|e| record(&e))?;
            return Ok(BeatTokens {
                detected: row.beats_detected(),
                ..tokens
            });
        };
        let length = row.samples();
        let some: Vec<f32> = picked
            .iter()
            .flat_map(|&r| &signal[r * length..(r + 1) * length])
            .copied()
            .collect();
        let (r_peaks, detected) = match self
            .tokenizer
            .clone()
            .detect(&some)
            .map_err(|e| record(&e))?
        {
            Detection::Found { r_peaks, .. } => (r_peaks, true),
            Detection::EvenlySpaced { r_peaks } => (r_peaks, false),
            // The other leads of this record are not silent: it keeps its place with their beats.
            Detection::Silent => (
                row.r_peaks().iter().map(|&i| i.max(0) as usize).collect(),
                false,
            ),
        };
        let tokens = self
            .tokenizer
            .cut(&some, &r_peaks)
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
