//! The twelve leads of inputs, zeros where a lead is not there.

use purkinje_record::LeadSet;
use purkinje_signal::Preprocess;
use purkinje_signal::beats::Sample;
use purkinje_signal::hubert_input::CropError;
use purkinje_signal::signal_input::SignalInputs;
use purkinje_train::TrainError;

/// Leads of the input.
const LEADS: usize = 12;

/// Places the leads of a contract.
#[derive(Clone, Debug)]
pub struct TwelveLeads {
    inputs: SignalInputs,
    /// For each lead of the contract its row of the input.
    places: Vec<usize>,
}

impl TwelveLeads {
    /// For the leads of `contract`: twelve as they come, fewer in the places of the published `order`.
    ///
    /// # Errors
    /// When a lead has no place.
    pub fn new(contract: &Preprocess, order: &LeadSet) -> Result<Self, TrainError> {
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
        Ok(TwelveLeads { inputs, places })
    }

    /// The twelve rows `[lead, time]` for rows of the contract's leads.
    ///
    /// # Errors
    /// When they are not of one length.
    pub fn place<S: Sample>(&self, rows: &[S], leads: usize) -> Result<Vec<f32>, CropError> {
        let samples = rows.len() / leads.max(1);
        let seen = self.inputs.crop(rows, leads, 0, samples)?.samples;
        if self.places.len() == LEADS {
            return Ok(seen);
        }
        let mut all = vec![0.0; LEADS * samples];
        for (row, &place) in seen.chunks_exact(samples).zip(&self.places) {
            all[place * samples..(place + 1) * samples].copy_from_slice(row);
        }
        Ok(all)
    }
}
