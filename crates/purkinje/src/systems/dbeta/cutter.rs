//! From prepared rows to the input: twelve leads in the network's order, zeros where a lead is not there.

use purkinje_models::dbeta::DbetaInput;
use purkinje_signal::Preprocess;
use purkinje_signal::beats::Sample;
use purkinje_signal::hubert_input::CropError;
use purkinje_train::TrainError;
use purkinje_train::source::{Cut, Look};

use crate::systems::leads::TwelveLeads;

/// Places the leads of a contract.
#[derive(Clone, Debug)]
pub struct DbetaCutter(TwelveLeads);

impl DbetaCutter {
    /// For the leads of `contract`; fewer than twelve in the places of the published order (aVF before aVL).
    ///
    /// # Errors
    /// When a lead has no place.
    pub fn new(contract: &Preprocess) -> Result<Self, TrainError> {
        TwelveLeads::new(contract, &Preprocess::d_beta().leads).map(DbetaCutter)
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
        let samples = self.0.place(rows, leads)?;
        Ok(DbetaInput { samples })
    }
}
