//! Training that tells patients apart.

use burn::tensor::Device;
use purkinje_models::angles::Angles;
use purkinje_models::encoder::Encoder;
use purkinje_models::layers::{Context, Weights};
use purkinje_models::random::Stream;

use crate::source::{Look, Source};
use crate::{EpochOrder, Learning, LearningOf, Losses, Objective, TrainError};

/// Name of the rows of all patients `[patients, width]`.
pub const PATIENTS: &str = "patients.weight";

/// Training of an encoder on the patients of recordings: the angle between the vector of a recording and the row of its patient is made
/// small (Deng et al., CVPR 2019).
pub struct PatientTraining<'a, E, S: ?Sized> {
    encoder: E,
    source: &'a S,
    /// Records of the source.
    records: Vec<usize>,
    /// The patient of each, counted from 0.
    patients: Vec<usize>,
    angles: Angles,
    learning: &'a LearningOf<'a>,
    order: EpochOrder,
}

/// Adds a row for each patient to weights, from -1 to 1, of length 1.
pub fn add_patients(
    weights: &mut Weights,
    patients: usize,
    width: usize,
    seed: u64,
    device: &Device,
) {
    let mut stream = Stream::new(seed, PATIENTS);
    let mut rows: Vec<f32> = (0..patients * width)
        .map(|_| (2.0 * stream.uniform() - 1.0) as f32)
        .collect();
    for row in rows.chunks_exact_mut(width.max(1)) {
        let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        row.iter_mut().for_each(|x| *x /= length);
    }
    weights.insert(PATIENTS, &[patients, width], rows, device);
}

impl<'a, E, S> PatientTraining<'a, E, S>
where
    E: Encoder,
    S: Source<Input = E::Input> + ?Sized,
{
    /// Training on `records` of `source`, each of one of the patients that [`add_patients`] gave a row.
    pub fn new(
        encoder: E,
        source: &'a S,
        (records, patients): (Vec<usize>, Vec<usize>),
        angles: Angles,
        learning: &'a LearningOf<'a>,
        batch: usize,
        seed: u64,
    ) -> Self {
        PatientTraining {
            order: EpochOrder::new(records.len(), batch, seed),
            encoder,
            source,
            records,
            patients,
            angles,
            learning,
        }
    }
}

impl<E, S> Objective for PatientTraining<'_, E, S>
where
    E: Encoder,
    S: Source<Input = E::Input> + ?Sized,
{
    type Batch = (E::Batch, Vec<usize>);

    fn name(&self) -> &str {
        "the training on patients"
    }

    fn steps_per_epoch(&self) -> usize {
        self.order.steps()
    }

    fn batch_size(&self) -> usize {
        self.order.batch_size()
    }

    fn batch(&self, step: usize) -> Result<Self::Batch, TrainError> {
        let rows = self.order.records_of(step);
        let see = |&row: &usize| self.source.see(self.records[row], Look::Step(step));
        let inputs = rows.iter().map(see).collect::<Result<Vec<_>, _>>()?;
        let patients = rows.iter().map(|&row| self.patients[row]).collect();
        Ok((self.encoder.batch(&inputs)?, patients))
    }

    fn losses(&self, weights: &Weights, (batch, patients): &Self::Batch, ctx: &Context) -> Losses {
        let vectors = self
            .encoder
            .with_weights(weights.clone())
            .vectors(batch, ctx);
        let [size, _, width] = vectors.dims();
        let pooled = vectors.mean_dim(1).reshape([size, width]);
        let cosines = Angles::cosines(pooled, weights.get(PATIENTS), ctx);
        Losses::new("patients", self.angles.loss(cosines, patients, ctx))
    }

    fn learning(&self, name: &str) -> Option<Learning> {
        match name {
            PATIENTS => Some(Learning::default()),
            _ => (self.learning)(name),
        }
    }

    fn dropout(&self) -> f32 {
        0.0
    }
}
