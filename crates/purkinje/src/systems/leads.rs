//! The twelve leads of inputs, zeros where a lead is not there.

use purkinje_models::paired::Signal;
use purkinje_record::LeadSet;
use purkinje_signal::Preprocess;
use purkinje_signal::beats::Sample;
use purkinje_signal::hubert_input::CropError;
use purkinje_signal::signal_input::SignalInputs;
use purkinje_train::TrainError;
use purkinje_train::source::{Cut, Look};

/// Leads of the input.
const LEADS: usize = 12;

/// Places the leads of a contract, and checks their length.
#[derive(Clone, Debug)]
pub struct SignalCutter {
    inputs: SignalInputs,
    /// For each lead of the contract its row of the input.
    places: Vec<usize>,
    /// Samples of a lead, where networks read so many.
    samples: Option<usize>,
}

impl SignalCutter {
    /// For the leads of `contract`, twelve as they come, fewer in the places of the published `order`, and networks that read `samples` of
    /// each, or any number.
    ///
    /// # Errors
    /// When a lead has no place.
    pub fn new(
        contract: &Preprocess,
        order: &LeadSet,
        samples: Option<usize>,
    ) -> Result<Self, TrainError> {
        let leads = contract.leads.leads();
        let places = match leads.len() {
            LEADS => (0..LEADS).collect(),
            _ => leads
                .iter()
                .map(|lead| {
                    order.position(lead).ok_or_else(|| {
                        TrainError::Data(format!(
                            "lead {lead} has no place in the input, expected leads among {order}"
                        ))
                    })
                })
                .collect::<Result<_, _>>()?,
        };
        let inputs = SignalInputs::new(None).map_err(|e| TrainError::Data(e.to_string()))?;
        Ok(SignalCutter {
            inputs,
            places,
            samples,
        })
    }
}

impl Cut for SignalCutter {
    type Input = Signal;

    fn cut<S: Sample>(
        &self,
        rows: &[S],
        leads: usize,
        _: usize,
        _: Look,
    ) -> Result<Signal, CropError> {
        let found = rows.len() / leads.max(1);
        if let Some(expected) = self.samples.filter(|&own| own != found) {
            return Err(CropError::Length { found, expected });
        }
        let seen = self.inputs.crop(rows, leads, 0, found)?.samples;
        if self.places.len() == LEADS {
            return Ok(Signal { samples: seen });
        }
        let mut samples = vec![0.0; LEADS * found];
        for (row, &place) in seen.chunks_exact(found.max(1)).zip(&self.places) {
            samples[place * found..(place + 1) * found].copy_from_slice(row);
        }
        Ok(Signal { samples })
    }
}
