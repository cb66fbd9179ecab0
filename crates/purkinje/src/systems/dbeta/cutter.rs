//! From prepared rows to the input: twelve leads in the network's order, zeros where a lead is not there.

use purkinje_models::dbeta::DbetaInput;
use purkinje_signal::Preprocess;
use purkinje_signal::beats::Sample;
use purkinje_signal::hubert_input::CropError;
use purkinje_signal::signal_input::SignalInputs;
use purkinje_train::TrainError;
use purkinje_train::source::{Cut, Look};

/// Leads of the input.
const LEADS: usize = 12;

/// Places the leads of a contract.
#[derive(Clone, Debug)]
pub struct DbetaCutter {
    inputs: SignalInputs,
    /// For each lead of the contract its row of the input.
    places: Vec<usize>,
}

impl DbetaCutter {
    /// For the leads of `contract`: twelve as they come, fewer in the places of the published order (aVF before aVL).
    ///
    /// # Errors
    /// When a lead has no place.
    pub fn new(contract: &Preprocess) -> Result<Self, TrainError> {
        let order = Preprocess::d_beta().leads;
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
        Ok(DbetaCutter { inputs, places })
    }
}

impl Cut for DbetaCutter {
    type Input = DbetaInput;

    fn cut<S: Sample>(
        &self,
        rows: &[S],
        leads: usize,
        _: usize,
        _: Look,
    ) -> Result<DbetaInput, CropError> {
        let samples = rows.len() / leads.max(1);
        let seen = self.inputs.crop(rows, leads, 0, samples)?.samples;
        if self.places.len() == LEADS {
            return Ok(DbetaInput { samples: seen });
        }
        let mut all = vec![0.0; LEADS * samples];
        for (row, &place) in seen.chunks_exact(samples).zip(&self.places) {
            all[place * samples..(place + 1) * samples].copy_from_slice(row);
        }
        Ok(DbetaInput { samples: all })
    }
}
