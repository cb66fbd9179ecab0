//! How HuBERT-ECG sees records: a crop of every lead, end to end, decimated.

use purkinje_models::hubert::HubertInput;
use purkinje_models::random::Stream;
use purkinje_signal::beats::Sample;
use purkinje_signal::hubert_input::{self, CropError, HubertInputs, LONG_CROP_SAMPLES, last_start};
use purkinje_train::TrainError;
use purkinje_train::source::{Cut, Look, StoreSignals, Window};

/// The records of a store as HuBERT-ECG sees them.
pub type StoreCrops<'a> = StoreSignals<'a, HubertCutter>;

/// Cuts crops whose leads lie end to end and are decimated as one.
#[derive(Clone, Debug)]
pub struct HubertCutter {
    window: Window,
    inputs: HubertInputs,
    samples: usize,
    decimation: Option<usize>,
    /// Inputs say which samples are real; the published program does so in training only.
    marked: bool,
    /// Crops of test-time augmentation are drawn as in the published program.
    long_pieces: Option<Stream>,
}

impl HubertCutter {
    /// Crops of `samples` samples a lead from the beginning of records, decimated by `decimation`.
    ///
    /// # Errors
    /// For an impossible factor.
    pub fn new(samples: usize, decimation: Option<usize>) -> Result<Self, TrainError> {
        let inputs = HubertInputs::new(decimation);
        Ok(HubertCutter {
            window: Window::of(samples),
            inputs: inputs.map_err(|e| TrainError::Data(e.to_string()))?,
            samples,
            decimation,
            marked: false,
            long_pieces: None,
        })
    }

    /// Crops that begin anywhere in a [step](Look::Step) of training.
    pub fn random(self, seed: u64) -> Self {
        HubertCutter {
            window: self.window.random(seed),
            ..self
        }
    }

    /// Crops of test-time augmentation that are drawn from a drawn piece of ten seconds, which is decimated as a whole: the
    /// published program. Otherwise they are spread evenly over the record.
    pub fn from_long_pieces(self, seed: u64) -> Self {
        HubertCutter {
            long_pieces: Some(Stream::new(seed, "long piece")),
            ..self
        }
    }

    /// Inputs that say which samples are real.
    pub fn marked(self) -> Self {
        HubertCutter {
            marked: true,
            ..self
        }
    }

    /// One of the crops of a drawn piece of ten seconds (of the whole record where it is shorter).
    fn of_long_piece<S: Sample>(
        &self,
        rows: &[S],
        leads: usize,
        crop: usize,
        drawn: &Stream,
    ) -> Result<HubertInput, CropError> {
        let found = rows.len() / leads.max(1);
        let long = LONG_CROP_SAMPLES.min(found).max(self.samples);
        let last = last_start(found, long).unwrap_or(0);
        let start = drawn.at(0).below(last + 1);
        let piece = self.inputs.crop(rows, leads, start, long)?.signal;
        let factor = self.decimation.unwrap_or(1);
        let (columns, wanted) = (piece.len() / leads, self.samples.div_ceil(factor));
        // As published, the last possible start is never drawn.
        let starts = columns.saturating_sub(wanted).max(1);
        let start = drawn.at(1 + crop as u64).below(starts);
        Ok(HubertInput {
            samples: hubert_input::columns(&piece, leads, start, wanted)?,
            real: None,
        })
    }
}

impl Cut for HubertCutter {
    type Input = HubertInput;

    fn cut<S: Sample>(
        &self,
        rows: &[S],
        leads: usize,
        index: usize,
        look: Look,
    ) -> Result<HubertInput, CropError> {
        if let (Some(stream), Look::Crop { k, n: 2.. }) = (&self.long_pieces, look) {
            return self.of_long_piece(rows, leads, k, &stream.at(index as u64));
        }
        let found = rows.len() / leads.max(1);
        let (start, samples) = self.window.place(index, look, found);
        let cut = self.inputs.crop(rows, leads, start, samples)?;
        Ok(HubertInput {
            samples: cut.signal,
            real: self.marked.then_some(cut.attention),
        })
    }
}
