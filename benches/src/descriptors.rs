//! Descriptors of HuBERT-ECG's first iteration, from a recording at 500 Hz to its 93 rows.

use std::hint::black_box;
use std::path::Path;

use purkinje_signal::descriptors::{AnalysisRate, Choices, Descriptors, Kind, TOKENS};

use crate::Result;
use crate::exchange::{Answer, Shared};
use crate::worker::Row;

/// Time-frequency descriptors and cepstra of a crop, as published.
pub struct Describe {
    descriptors: Descriptors,
    /// `[recording, lead, time]`.
    crops: Vec<f32>,
    crop: usize,
}

impl Describe {
    /// The crops of row `name`.
    pub fn new(name: &str, exchange: &Path) -> Result<Self> {
        let shared = Shared::batch(name, exchange)?;
        let (shape, crops) = shared.f32("crops")?;
        Ok(Describe {
            descriptors: Descriptors::new(Kind::Mixed, AnalysisRate::Hz100, Choices::released())?,
            crop: shape[1..].iter().product(),
            crops,
        })
    }
}

impl Row for Describe {
    fn answer(&mut self) -> Result<Answer> {
        let mut rows = Vec::new();
        for crop in self.crops.chunks_exact(self.crop) {
            self.descriptors.extend(crop, &mut rows)?;
        }
        let width = self.descriptors.width();
        let shape = [self.crops.len() / self.crop, TOKENS, width];
        Ok(Answer::default().f32("rows", &shape, &rows))
    }

    fn run(&mut self) -> Result<()> {
        let crop = black_box(&self.crops[..self.crop]);
        black_box(self.descriptors.of(crop)?);
        Ok(())
    }
}
