//! What networks see of stored records, and what a frozen encoder makes of it.

use burn::tensor::{Device, Tensor};
use purkinje_models::encoder::Encoder;
use purkinje_models::hubert::HubertInput;
use purkinje_models::layers::Context;
use purkinje_models::random::Stream;
use purkinje_signal::Preprocess;
use purkinje_signal::beats::{BeatTokens, Detection, RATE_HZ, Tokenizer};
use purkinje_signal::hubert_input::{
    self, HubertInputs, LONG_CROP_SAMPLES, crop_start, last_start,
};
use purkinje_signal::preprocess::Remaining;
use purkinje_store::{Row, Store};
use rayon::prelude::*;

use crate::TrainError;

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

    /// What the network sees of record `index`.
    ///
    /// # Errors
    /// When the record cannot be read or cut.
    fn input(&self, index: usize) -> Result<Self::Input, TrainError>;

    /// What it sees of record `index` in a step of training: another crop in every step, where crops are drawn.
    ///
    /// # Errors
    /// As [`input`](Source::input).
    fn drawn(&self, index: usize, _step: usize) -> Result<Self::Input, TrainError> {
        self.input(index)
    }

    /// What it sees of record `index` in one of `crops` crops of test-time augmentation, counted from 0; the record itself
    /// where nothing is cropped.
    ///
    /// # Errors
    /// As [`input`](Source::input).
    fn one_of(&self, index: usize, _crop: usize, _crops: usize) -> Result<Self::Input, TrainError> {
        self.input(index)
    }
}

impl<I: Clone + Sync> Source for [I] {
    type Input = I;

    fn len(&self) -> usize {
        <[I]>::len(self)
    }

    fn input(&self, index: usize) -> Result<I, TrainError> {
        Ok(self[index].clone())
    }
}

/// Rows of a store under the contract a network expects: as they are stored, or after the steps that are left.
struct Rows<'a> {
    store: &'a Store,
    rows: Vec<usize>,
    /// What is left to do to a stored row; `None` when it is taken as it is.
    left: Option<Box<Remaining>>,
}

impl<'a> Rows<'a> {
    fn new(store: &'a Store, rows: Vec<usize>, contract: &Preprocess) -> Result<Self, TrainError> {
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

    fn row(&self, index: usize) -> Result<Row<'a>, TrainError> {
        let row = self.store.row(self.rows[index]);
        row.map_err(|e| TrainError::Data(e.to_string()))
    }

    fn error(&self, row: &Row<'_>, reason: &dyn std::fmt::Display) -> TrainError {
        let place = self.store.dir().display();
        TrainError::Data(format!("store {place}, record `{}`: {reason}", row.id()))
    }

    /// The samples as they are stored, in millivolts or what the contract makes of them `[lead, time]`.
    fn stored(row: &Row<'_>) -> Vec<f32> {
        let mut signal = Vec::new();
        row.signal_mv_into(&mut signal);
        signal
    }

    /// The samples after `left`, `[lead, time]`.
    fn finished(&self, row: &Row<'_>, left: &Remaining) -> Result<Vec<f64>, TrainError> {
        if !left.serves_row(row.samples(), row.missing_samples()) {
            return Err(self.error(
                row,
                &"its missing samples were replaced in another way than the model expects; prepare the recordings again as it expects them, or leave this one out",
            ));
        }
        let signal = Self::stored(row);
        let prepared = left.apply(row.id(), &self.store.info().leads, &signal);
        Ok(prepared.map_err(|e| self.error(row, &e))?.rows)
    }
}

/// The records of a store as CLEAR's tokens, cut on the fly: all its leads at the stored R-peaks, or some of its leads, or samples that
/// are still to be preprocessed, at the R-peaks these show.
pub struct StoreTokens<'a> {
    rows: Rows<'a>,
    tokenizer: Tokenizer,
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
        Ok(StoreTokens {
            rows: Rows::new(store, rows, contract)?,
            tokenizer: Tokenizer::for_contract(contract)
                .map_err(|e| TrainError::Data(e.to_string()))?,
        })
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

impl Source for StoreTokens<'_> {
    type Input = BeatTokens;

    fn len(&self) -> usize {
        self.rows.rows.len()
    }

    fn input(&self, index: usize) -> Result<BeatTokens, TrainError> {
        let row = self.rows.row(index)?;
        let stored_peaks: Vec<usize> = row.r_peaks().iter().map(|&i| i.max(0) as usize).collect();
        let Some(left) = &self.rows.left else {
            let tokens = self
                .tokenizer
                .cut(&Rows::stored(&row), &stored_peaks)
                .map_err(|e| self.rows.error(&row, &e))?;
            return Ok(BeatTokens {
                detected: row.beats_detected(),
                ..tokens
            });
        };
        let signal = self.rows.finished(&row, left)?;
        let (r_peaks, detected) = match self
            .tokenizer
            .clone()
            .detect(&signal)
            .map_err(|e| self.rows.error(&row, &e))?
        {
            Detection::Found { r_peaks, .. } => (r_peaks, true),
            Detection::EvenlySpaced { r_peaks } => (r_peaks, false),
            // Other leads of this record are not silent: it keeps its place with their beats.
            Detection::Silent => {
                let share = RATE_HZ / self.rows.store.info().rate_hz;
                let place = |peak: usize| (peak as f64 * share) as usize;
                (stored_peaks.into_iter().map(place).collect(), false)
            }
        };
        let tokens = self
            .tokenizer
            .cut(&signal, &r_peaks)
            .map_err(|e| self.rows.error(&row, &e))?;
        Ok(BeatTokens { detected, ..tokens })
    }
}

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
            let inputs = records.par_iter().map(|&i| source.one_of(i, crop, crops));
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
