//! Where a network looks at a record, and how what it sees is cut out.

use purkinje_models::random::Stream;
use purkinje_signal::beats::Sample;
use purkinje_signal::hubert_input::{CropError, crop_start, last_start};
use purkinje_signal::signal_input::{SignalInput, SignalInputs};

use crate::TrainError;

/// How a network looks at a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// At the record itself: all of it, or its beginning where crops are taken.
    Whole,
    /// As in this step of training, counted from 0 over all epochs: at another crop in every step where crops are drawn,
    /// otherwise at the record itself.
    Step(usize),
    /// At one of several crops of test-time augmentation; at the record itself where no crops are taken.
    Crop {
        /// Which, counted from 0.
        k: usize,
        /// How many there are.
        n: usize,
    },
}

/// Where crops of a record lie.
#[derive(Clone, Debug)]
pub struct Window {
    /// Samples of a lead; `None` for all.
    samples: Option<usize>,
    /// Where the crops of training begin; `None` for the first sample.
    starts: Option<Stream>,
}

impl Window {
    /// All samples of a record, however it is looked at.
    pub fn whole() -> Self {
        Window {
            samples: None,
            starts: None,
        }
    }

    /// Crops of `samples` samples a lead: from the first sample on, and spread evenly in test-time augmentation.
    pub fn of(samples: usize) -> Self {
        Window {
            samples: Some(samples),
            starts: None,
        }
    }

    /// Crops that begin anywhere in training, drawn by `seed`, step and record.
    pub fn random(self, seed: u64) -> Self {
        Window {
            starts: Some(Stream::new(seed, "crop")),
            ..self
        }
    }

    /// First sample and length of what is seen of record `index`, which has `found` samples a lead. A record that is
    /// shorter than a crop is not checked here.
    pub fn place(&self, index: usize, look: Look, found: usize) -> (usize, usize) {
        let Some(samples) = self.samples else {
            return (0, found);
        };
        let start = match (look, &self.starts) {
            (Look::Step(step), Some(stream)) => {
                let last = last_start(found, samples).unwrap_or(0);
                stream.at(step as u64).at(index as u64).below(last + 1)
            }
            (Look::Crop { k, n }, _) => crop_start(found, samples, k, n),
            (Look::Step(_), None) | (Look::Whole, _) => 0,
        };
        (start, samples)
    }
}

/// Cuts what a network sees out of the rows of a record, wherever these come from: a store
/// ([`StoreSignals`](super::StoreSignals)) or a recording in memory. The same rows give the same input, bit for bit.
pub trait Cut: Sync {
    /// What the network sees.
    type Input;

    /// What the network sees of `rows` `[lead, time]`, row-major, `leads` rows, prepared under its contract. Draws depend
    /// on `index`, the place of the record in its source; of a recording alone it is 0.
    ///
    /// # Errors
    /// When the record is too short, or cannot be cut otherwise.
    fn cut<S: Sample>(
        &self,
        rows: &[S],
        leads: usize,
        index: usize,
        look: Look,
    ) -> Result<Self::Input, CropError>;
}

/// Cuts signals `[lead, time]`.
#[derive(Clone, Debug)]
pub struct SignalCutter {
    window: Window,
    inputs: SignalInputs,
}

impl SignalCutter {
    /// What lies in `window`, every lead decimated by a factor if there is one.
    ///
    /// # Errors
    /// For an impossible factor.
    pub fn new(window: Window, decimation: Option<usize>) -> Result<Self, TrainError> {
        let inputs = SignalInputs::new(decimation);
        let inputs = inputs.map_err(|e| TrainError::Data(e.to_string()))?;
        Ok(SignalCutter { window, inputs })
    }

    /// Inputs that say which samples are real.
    pub fn marked(self) -> Self {
        SignalCutter {
            inputs: self.inputs.marked(),
            ..self
        }
    }
}

impl Cut for SignalCutter {
    type Input = SignalInput;

    fn cut<S: Sample>(
        &self,
        rows: &[S],
        leads: usize,
        index: usize,
        look: Look,
    ) -> Result<SignalInput, CropError> {
        let found = rows.len() / leads.max(1);
        let (start, samples) = self.window.place(index, look, found);
        self.inputs.crop(rows, leads, start, samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_lie_where_they_are_looked_for() {
        let crops = Window::of(4);
        assert_eq!(crops.place(3, Look::Whole, 10), (0, 4));
        assert_eq!(crops.place(3, Look::Step(7), 10), (0, 4));
        let starts: Vec<usize> = (0..3)
            .map(|k| crops.place(0, Look::Crop { k, n: 3 }, 10).0)
            .collect();
        assert_eq!(starts, [0, 3, 6]);
        assert_eq!(Window::whole().place(0, Look::Step(1), 10), (0, 10));

        let random = Window::of(4).random(1);
        let drawn = |step, index| random.place(index, Look::Step(step), 10).0;
        let all: Vec<usize> = (0..200).map(|step| drawn(step, 5)).collect();
        assert!((0..=6).all(|start| all.contains(&start)) && all.iter().all(|s| *s <= 6));
        assert_eq!(drawn(9, 5), drawn(9, 5));
        assert!((0..50).any(|index| drawn(9, index) != drawn(9, 5)));
        assert_eq!(random.place(5, Look::Whole, 10), (0, 4));
        assert_eq!(random.place(5, Look::Step(1), 3), (0, 4));
    }

    #[test]
    fn signals_are_cut_where_the_window_lies() {
        let rows: Vec<f32> = (0..20).map(|k| k as f32 + 1.0).collect();
        let cutter = SignalCutter::new(Window::of(3), None).unwrap().marked();
        let input = cutter.cut(&rows, 2, 0, Look::Crop { k: 1, n: 2 }).unwrap();
        assert_eq!(input.samples, [8.0, 9.0, 10.0, 18.0, 19.0, 20.0]);
        assert_eq!(input.real, Some(vec![true; 6]));
        let whole = SignalCutter::new(Window::whole(), None).unwrap();
        assert_eq!(whole.cut(&rows, 2, 0, Look::Whole).unwrap().samples, rows);
        assert!(cutter.cut(&rows, 0, 0, Look::Whole).is_err());
        assert!(cutter.cut(&rows[..4], 2, 0, Look::Whole).is_err());
        assert!(whole.cut::<f32>(&[], 2, 0, Look::Whole).is_err());
    }
}
