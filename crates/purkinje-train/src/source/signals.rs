//! Crops of stored signals.

use purkinje_models::hubert::HubertInput;
use purkinje_models::random::Stream;
use purkinje_signal::Preprocess;
use purkinje_signal::hubert_input::{
    self, HubertInputs, LONG_CROP_SAMPLES, crop_start, last_start,
};
use purkinje_store::Store;

use super::Source;
use super::rows::Rows;
use crate::TrainError;

/// The records of a store as HuBERT-ECG takes them: a crop of every lead, end to end, decimated.
pub struct StoreCrops<'a> {
    rows: Rows<'a>,
    cutter: HubertInputs,
    leads: usize,
    samples: usize,
    decimation: Option<usize>,
    /// Where drawn crops begin; `None` for the first sample.
    starts: Option<Stream>,
    /// Inputs say which samples are real; the published program does so in training only.
    marked: bool,
    /// Crops of test-time augmentation are drawn as in the published program.
    long_pieces: Option<Stream>,
}

impl<'a> StoreCrops<'a> {
    /// Crops of `samples` samples a lead from the beginning of the records at `rows`, preprocessed as `contract` says, decimated by
    /// `decimation`.
    ///
    /// # Errors
    /// As [`StoreTokens::new`], and for an impossible factor.
    pub fn new(
        store: &'a Store,
        rows: Vec<usize>,
        contract: &Preprocess,
        samples: usize,
        decimation: Option<usize>,
    ) -> Result<Self, TrainError> {
        Ok(StoreCrops {
            rows: Rows::new(store, rows, contract)?,
            cutter: HubertInputs::new(decimation).map_err(|e| TrainError::Data(e.to_string()))?,
            leads: contract.leads.len(),
            samples,
            decimation,
            starts: None,
            marked: false,
            long_pieces: None,
        })
    }

    /// Crops that begin anywhere when training [draws](Source::drawn) them.
    pub fn random(self, seed: u64) -> Self {
        StoreCrops {
            starts: Some(Stream::new(seed, "crop")),
            ..self
        }
    }

    /// Crops of test-time augmentation that are drawn from a drawn piece of ten seconds, which is decimated as a whole: the
    /// published program (specification, section 12). Otherwise they are spread evenly over the record.
    pub fn from_long_pieces(self, seed: u64) -> Self {
        StoreCrops {
            long_pieces: Some(Stream::new(seed, "long piece")),
            ..self
        }
    }

    /// Inputs that say which samples are real.
    pub fn marked(self) -> Self {
        StoreCrops {
            marked: true,
            ..self
        }
    }

    /// The whole record under the contract, `[lead, time]`, and its name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn signal(&self, index: usize) -> Result<(String, Vec<f32>), TrainError> {
        let row = self.rows.row(index)?;
        let signal = match &self.rows.left {
            None => Rows::stored(&row),
            Some(left) => {
                let signal = self.rows.finished(&row, left)?;
                signal.into_iter().map(|v| v as f32).collect()
            }
        };
        Ok((row.id().to_owned(), signal))
    }

    /// The crop whose start and length are `place` of the samples a lead has.
    fn crop(
        &self,
        index: usize,
        place: impl FnOnce(usize) -> (usize, usize),
    ) -> Result<HubertInput, TrainError> {
        let row = self.rows.row(index)?;
        let leads = self.leads;
        let cut = match &self.rows.left {
            None => {
                let signal = Rows::stored(&row);
                let (start, samples) = place(signal.len() / leads);
                self.cutter.crop(&signal, leads, start, samples)
            }
            Some(left) => {
                let signal = self.rows.finished(&row, left)?;
                let (start, samples) = place(signal.len() / leads);
                self.cutter.crop(&signal, leads, start, samples)
            }
        };
        let cut = cut.map_err(|e| self.rows.error(&row, &e))?;
        Ok(HubertInput {
            samples: cut.signal,
            real: self.marked.then_some(cut.attention),
        })
    }

    /// One of the crops of a drawn piece of ten seconds (of the whole record where it is shorter).
    fn of_long_piece(
        &self,
        index: usize,
        crop: usize,
        stream: &Stream,
    ) -> Result<HubertInput, TrainError> {
        let drawn = stream.at(index as u64);
        let piece = self.crop(index, |samples| {
            let long = LONG_CROP_SAMPLES.min(samples).max(self.samples);
            let last = last_start(samples, long).unwrap_or(0);
            (drawn.at(0).below(last + 1), long)
        })?;
        let factor = self.decimation.unwrap_or(1);
        let (columns, wanted) = (
            piece.samples.len() / self.leads,
            self.samples.div_ceil(factor),
        );
        // As published, the last possible start is never drawn.
        let starts = columns.saturating_sub(wanted).max(1);
        let start = drawn.at(1 + crop as u64).below(starts);
        let cut = |values: &[f32]| hubert_input::columns(values, self.leads, start, wanted);
        let bad = |e: hubert_input::HubertInputError| TrainError::Data(e.to_string());
        Ok(HubertInput {
            samples: cut(&piece.samples).map_err(bad)?,
            real: None,
        })
    }
}

impl Source for StoreCrops<'_> {
    type Input = HubertInput;

    fn len(&self) -> usize {
        self.rows.rows.len()
    }

    fn input(&self, index: usize) -> Result<HubertInput, TrainError> {
        self.crop(index, |_| (0, self.samples))
    }

    fn drawn(&self, index: usize, step: usize) -> Result<HubertInput, TrainError> {
        let Some(stream) = &self.starts else {
            return self.input(index);
        };
        let mut draw = stream.at(step as u64).at(index as u64);
        self.crop(index, |samples| {
            let last = last_start(samples, self.samples).unwrap_or(0);
            (draw.below(last + 1), self.samples)
        })
    }

    fn one_of(&self, index: usize, crop: usize, crops: usize) -> Result<HubertInput, TrainError> {
        match &self.long_pieces {
            Some(stream) if crops > 1 => self.of_long_piece(index, crop, stream),
            _ => self.crop(index, |samples| {
                let start = crop_start(samples, self.samples, crop, crops);
                (start, self.samples)
            }),
        }
    }
}
