//! From prepared rows to the input: twelve leads in the network's order, of the length that it reads.

use purkinje_models::paired::Signal;
use purkinje_signal::Preprocess;
use purkinje_signal::beats::Sample;
use purkinje_signal::hubert_input::CropError;
use purkinje_train::TrainError;
use purkinje_train::source::{Cut, Look};

use crate::systems::leads::TwelveLeads;

/// Places the leads of a contract, and checks their length.
#[derive(Clone, Debug)]
pub struct SignalCutter {
    leads: TwelveLeads,
    samples: usize,
}

impl SignalCutter {
    /// For the leads of `contract` and networks that read `samples` of each.
    ///
    /// # Errors
    /// When a lead has no place.
    pub fn new(contract: &Preprocess, samples: usize) -> Result<Self, TrainError> {
        let order = Preprocess::deri().leads;
        Ok(SignalCutter {
            leads: TwelveLeads::new(contract, &order)?,
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
        if found != self.samples {
            return Err(CropError::Length {
                found,
                expected: self.samples,
            });
        }
        Ok(Signal {
            samples: self.leads.place(rows, leads)?,
        })
    }
}
