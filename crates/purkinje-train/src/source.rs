//! What networks see of stored records, and what a frozen encoder makes of it.

mod cut;
mod rows;
mod signals;
mod tokens;

use std::ops::Range;

use burn::tensor::{Device, Tensor};
use purkinje_models::encoder::Encoder;
use purkinje_models::layers::Context;
use rayon::prelude::*;

use crate::TrainError;

pub use self::cut::{Cut, Look, SignalCutter, Window};
pub use self::rows::source_rate_hz;
pub use self::signals::{StoreSignals, as_stored};
pub use self::tokens::StoreTokens;

/// What a network sees of a set of records, any one at any time.
pub trait Source: Sync {
    /// What it sees of one.
    type Input;

    /// How many records.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the network sees of record `index` when it looks so.
    ///
    /// # Errors
    /// When the record cannot be read or cut.
    fn see(&self, index: usize, look: Look) -> Result<Self::Input, TrainError>;
}

/// Records of a store, of which a network can also see a stretch.
pub trait Records: Source {
    /// Samples of a lead of record `index` and their rate in hertz, as they are stored.
    ///
    /// # Errors
    /// When the record cannot be read.
    fn samples(&self, index: usize) -> Result<(usize, f64), TrainError>;

    /// What the network sees of a stretch of record `index`, in stored samples, as if it were a record of its own.
    ///
    /// # Errors
    /// When the record cannot be read or cut.
    fn see_within(
        &self,
        index: usize,
        stretch: &Range<usize>,
        look: Look,
    ) -> Result<Self::Input, TrainError>;
}

impl<I: Clone + Sync> Source for [I] {
    type Input = I;

    fn len(&self) -> usize {
        <[I]>::len(self)
    }

    fn see(&self, index: usize, _look: Look) -> Result<I, TrainError> {
        Ok(self[index].clone())
    }
}

/// Records of one encoder pass.
const BATCH: usize = 32;

/// The vectors of a frozen encoder for every record of a source, `[records, vectors, width]`: the mean over `crops` crops of the
/// record, where a source crops; `progress` hears how many records are done.
///
/// # Errors
/// When a record cannot be read.
pub fn frozen_vectors<E: Encoder>(
    encoder: &E,
    source: &(impl Source<Input = E::Input> + ?Sized),
    crops: usize,
    device: &Device,
    mut progress: impl FnMut(usize),
) -> Result<Vec<f32>, TrainError> {
    let crops = crops.max(1);
    let mut out = Vec::new();
    let records: Vec<usize> = (0..source.len()).collect();
    for records in records.chunks(BATCH) {
        let mut sum: Option<Tensor<3>> = None;
        for crop in 0..crops {
            let look = Look::Crop { k: crop, n: crops };
            let inputs = records.par_iter().map(|&i| source.see(i, look));
            let inputs: Result<Vec<_>, _> = inputs.collect();
            let batch = encoder.batch(&inputs?)?;
            let vectors = encoder.vectors(&batch, &Context::inference(device));
            sum = Some(match sum {
                None => vectors,
                Some(sum) => sum + vectors,
            });
        }
        let Some(sum) = sum else { continue };
        let vectors = (sum / crops as f32).into_data().try_to_vec::<f32>();
        out.extend(vectors.map_err(|e| TrainError::Data(format!("vectors: {e:?}")))?);
        progress(records.len());
    }
    Ok(out)
}
