//! Recordings of one length as inputs.

use burn::tensor::{Shape, Tensor, TensorData};

use crate::batch::BatchError;
use crate::layers::Context;

/// One recording.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Signal {
    /// All leads one after the other.
    pub samples: Vec<f32>,
}

/// Several recordings.
#[derive(Clone, Debug)]
pub struct Signals {
    /// Recordings.
    pub size: usize,
    /// `[size, leads, samples]`.
    pub values: Vec<f32>,
    leads: usize,
}

impl Signals {
    /// A batch of recordings of so many leads and samples.
    ///
    /// # Errors
    /// When there is none, or one has another length or a sample that is not finite.
    pub fn new(leads: usize, samples: usize, inputs: &[Signal]) -> Result<Self, BatchError> {
        if inputs.is_empty() {
            return Err(BatchError::Empty);
        }
        for (position, input) in inputs.iter().enumerate() {
            let field = |problem| BatchError::Field {
                position,
                field: "samples",
                problem,
            };
            let found = input.samples.len();
            if found != leads * samples {
                return Err(field(format!(
                    "are {found} values ({} in each of {leads} leads); the network reads exactly {samples} of each lead",
                    found / leads.max(1)
                )));
            }
            if let Some(at) = input.samples.iter().position(|x| !x.is_finite()) {
                return Err(field(format!(
                    "are {} at {at}; repair the recording first",
                    input.samples[at]
                )));
            }
        }
        let values = inputs.iter().flat_map(|own| own.samples.iter().copied());
        Ok(Signals {
            size: inputs.len(),
            values: values.collect(),
            leads,
        })
    }

    /// `[size, samples, leads]`.
    pub(crate) fn tensor(&self, ctx: &Context) -> Tensor<3> {
        let samples = self.values.len() / (self.size * self.leads).max(1);
        let shape = Shape::new([self.size, self.leads, samples]);
        let values = TensorData::new(self.values.clone(), shape);
        Tensor::<3>::from_data(values, ctx.device()).swap_dims(1, 2)
    }
}
