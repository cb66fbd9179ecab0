//! From a recording to the pieces that are described: decimate, concatenate the leads, cut.

use crate::beats::Sample;
use crate::filter::{Decimator, FilterError};
use crate::hubert_input::{CROP_SAMPLES, fill_with_mean};

use super::{AnalysisRate, DescriptorError, LEADS, Layout, Missing, TOKENS};

/// Cuts recordings at one rate.
#[derive(Clone, Debug)]
pub(super) struct Pieces {
    rate: AnalysisRate,
    layout: Layout,
    missing: Missing,
    decimator: Decimator,
    crop: Vec<f64>,
    flat: Vec<f64>,
}

impl Pieces {
    pub(super) fn new(
        rate: AnalysisRate,
        layout: Layout,
        missing: Missing,
    ) -> Result<Self, FilterError> {
        let factor = (AnalysisRate::Hz500.hz() / rate.hz()) as usize;
        Ok(Pieces {
            rate,
            layout,
            missing,
            decimator: Decimator::new(factor)?,
            crop: Vec::new(),
            flat: Vec::new(),
        })
    }

    /// Samples of a piece.
    pub(super) fn len(&self) -> usize {
        self.rate.piece_samples()
    }

    /// The concatenated leads, the start of each of the 93 pieces in them, and the length of a piece. Every piece is
    /// inside.
    pub(super) fn of<S: Sample>(
        &mut self,
        rows: &[S],
    ) -> Result<(&[f64], impl Iterator<Item = usize> + use<S>, usize), DescriptorError> {
        let len = rows.len() / LEADS;
        if len < CROP_SAMPLES || !rows.len().is_multiple_of(LEADS) {
            return Err(DescriptorError::Shape {
                samples: rows.len(),
            });
        }
        self.crop.clear();
        self.crop.extend(
            rows.chunks_exact(len)
                .flat_map(|row| &row[..CROP_SAMPLES])
                .map(|value| value.to_f64()),
        );
        if self.crop.iter().all(|value| value.is_nan()) {
            return Err(DescriptorError::AllMissing);
        }
        if self.crop.iter().any(|value| value.is_infinite()) {
            return Err(DescriptorError::Infinite);
        }
        if self.missing == Missing::Mended {
            fill_with_mean(&mut self.crop);
        }
        let decimated = self.decimator.apply_rows(&self.crop, LEADS)?;
        let lead_samples = decimated.len() / LEADS;
        let (piece, step) = match self.layout {
            // Tokens are 64 samples apart at 100 Hz.
            Layout::Tokens => {
                self.flat = decimated;
                let step = 64 * self.rate.hz() as usize / AnalysisRate::Hz100.hz() as usize;
                (self.rate.piece_samples(), step)
            }
            Layout::Trimmed => {
                self.flat.clear();
                for (lead, row) in decimated.chunks_exact(lead_samples).enumerate() {
                    let (start, end) = trim(self.rate, lead);
                    self.flat.extend_from_slice(&row[start..lead_samples - end]);
                }
                (self.rate.piece_samples(), self.rate.piece_samples())
            }
        };
        fill_with_mean(&mut self.flat);
        Ok((&self.flat, (0..TOKENS).map(move |k| k * step), piece))
    }
}

/// Samples dropped at the start and at the end of a lead, so that all leads together are a whole number of pieces.
fn trim(rate: AnalysisRate, lead: usize) -> (usize, usize) {
    match rate {
        AnalysisRate::Hz50 => (1, 1),
        AnalysisRate::Hz100 => (2, 2),
        AnalysisRate::Hz500 if lead.is_multiple_of(2) => (2, 2),
        AnalysisRate::Hz500 => (2, 3),
    }
}
