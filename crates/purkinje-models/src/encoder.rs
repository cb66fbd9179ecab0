//! The interfaces of encoders and classifiers of all systems.

use burn::tensor::{Device, Tensor};

use crate::batch::BatchError;
use crate::clear::{Clear, ClearBatch, Masking};
use crate::dbeta::{Dbeta, DbetaBatch, DbetaClassifier};
use crate::hubert::{Hubert, HubertBatch, HubertClassifier, HubertInput};
use crate::hug::Classifier;
use crate::layers::{Context, Weights};
use crate::paired::Signal;

/// A network that turns recordings into vectors.
pub trait Encoder: Clone + Send + Sync {
    /// The input for one recording.
    type Input: Clone + Send + Sync + 'static;
    /// A batch of inputs.
    type Batch: Send + Sync;

    /// Makes a batch.
    ///
    /// # Errors
    /// When they do not fit together or into the network.
    fn batch(&self, inputs: &[Self::Input]) -> Result<Self::Batch, BatchError>;

    /// The input vectors of heads `[batch, vectors, width]`: one for each lead in CLEAR, one for the recording in
    /// the others. Their mean is the vector of the recording.
    fn vectors(&self, batch: &Self::Batch, ctx: &Context) -> Tensor<3>;

    /// Length of one vector.
    fn width(&self) -> usize;

    /// Its parameters, which may be more than the network needs (a head).
    fn weights(&self) -> &Weights;

    /// The same network with other weights of the same shapes.
    fn with_weights(&self, weights: Weights) -> Self;

    /// A network of the same size with random weights: the baseline for pre-training.
    fn random_twin(&self, seed: u64, device: &Device) -> Self;
}

impl Encoder for Clear {
    type Input = purkinje_signal::BeatTokens;
    type Batch = ClearBatch;

    fn batch(&self, inputs: &[Self::Input]) -> Result<ClearBatch, BatchError> {
        ClearBatch::new(inputs)
    }

    fn vectors(&self, batch: &ClearBatch, ctx: &Context) -> Tensor<3> {
        let all = Masking::all(batch.token_count());
        self.encode(batch, &all, ctx).cls
    }

    fn width(&self) -> usize {
        self.config().embed_dim
    }

    fn weights(&self) -> &Weights {
        Clear::weights(self)
    }

    fn with_weights(&self, weights: Weights) -> Self {
        Clear::with_weights(self, weights)
    }

    fn random_twin(&self, seed: u64, device: &Device) -> Self {
        Clear::random(self.config().clone(), seed, device)
    }
}

impl Encoder for Hubert {
    type Input = HubertInput;
    type Batch = HubertBatch;

    fn batch(&self, inputs: &[HubertInput]) -> Result<HubertBatch, BatchError> {
        HubertBatch::new(self.config(), inputs)
    }

    fn vectors(&self, batch: &HubertBatch, ctx: &Context) -> Tensor<3> {
        self.embed(batch, ctx).unsqueeze_dim(1)
    }

    fn width(&self) -> usize {
        self.config().hidden_size
    }

    fn weights(&self) -> &Weights {
        Hubert::weights(self)
    }

    fn with_weights(&self, weights: Weights) -> Self {
        Hubert::with_weights(self, weights)
    }

    fn random_twin(&self, seed: u64, device: &Device) -> Self {
        Hubert::random(self.config().clone(), seed, device)
    }
}

impl Encoder for Dbeta {
    type Input = Signal;
    type Batch = DbetaBatch;

    fn batch(&self, inputs: &[Signal]) -> Result<DbetaBatch, BatchError> {
        DbetaBatch::new(self.config(), inputs)
    }

    fn vectors(&self, batch: &DbetaBatch, ctx: &Context) -> Tensor<3> {
        self.ecg_vectors(batch, ctx).unsqueeze_dim(1)
    }

    fn width(&self) -> usize {
        self.config().hidden
    }

    fn weights(&self) -> &Weights {
        Dbeta::weights(self)
    }

    fn with_weights(&self, weights: Weights) -> Self {
        Dbeta::with_weights(self, weights)
    }

    fn random_twin(&self, seed: u64, device: &Device) -> Self {
        Dbeta::random(self.config().clone(), seed, device)
    }
}

/// An encoder with a classification head.
pub trait Classify: Clone + Send + Sync {
    /// The encoder.
    type Encoder: Encoder;

    /// The encoder, which holds the weights of both.
    fn encoder(&self) -> &Self::Encoder;

    /// Logits `[batch, classes]`.
    fn logits(&self, batch: &<Self::Encoder as Encoder>::Batch, ctx: &Context) -> Tensor<2>;

    /// The same classifier with other weights of the same shapes.
    fn with_weights(&self, weights: Weights) -> Self;

    /// Dropout of a training pass, where the network does not set its own.
    fn dropout(&self) -> f32;

    /// The dropout probabilities that dynamic regularisation may change; empty if it is not supported.
    fn regulated(&self) -> Vec<f64> {
        Vec::new()
    }

    /// The same classifier with other dropout probabilities, in the order of [`regulated`](Classify::regulated).
    fn with_regulated(self, _dropouts: &[f64]) -> Self {
        self
    }
}

impl Classify for Classifier {
    type Encoder = Clear;

    fn encoder(&self) -> &Clear {
        Classifier::encoder(self)
    }

    fn logits(&self, batch: &ClearBatch, ctx: &Context) -> Tensor<2> {
        Classifier::logits(self, batch, &Masking::all(batch.token_count()), ctx)
    }

    fn with_weights(&self, weights: Weights) -> Self {
        Classifier::with_weights(self, weights)
    }

    fn dropout(&self) -> f32 {
        Classifier::encoder(self).config().dropout
    }
}

impl Classify for DbetaClassifier {
    type Encoder = Dbeta;

    fn encoder(&self) -> &Dbeta {
        DbetaClassifier::encoder(self)
    }

    fn logits(&self, batch: &DbetaBatch, ctx: &Context) -> Tensor<2> {
        DbetaClassifier::logits(self, batch, ctx)
    }

    fn with_weights(&self, weights: Weights) -> Self {
        DbetaClassifier::with_weights(self, weights)
    }

    fn dropout(&self) -> f32 {
        self.encoder().config().ecg.dropout
    }
}

impl Classify for HubertClassifier {
    type Encoder = Hubert;

    fn encoder(&self) -> &Hubert {
        HubertClassifier::encoder(self)
    }

    fn logits(&self, batch: &HubertBatch, ctx: &Context) -> Tensor<2> {
        self.classify(batch, ctx).logits
    }

    fn with_weights(&self, weights: Weights) -> Self {
        HubertClassifier::with_weights(self, weights)
    }

    fn dropout(&self) -> f32 {
        HubertClassifier::dropout(self)
    }

    fn regulated(&self) -> Vec<f64> {
        let mut dropouts = self.encoder().regulated();
        dropouts.push(f64::from(HubertClassifier::dropout(self)));
        dropouts
    }

    fn with_regulated(self, dropouts: &[f64]) -> Self {
        let Some((own, rest)) = dropouts.split_last() else {
            return self;
        };
        let mut model = self.with_dropout(*own as f32);
        *model.encoder_mut() = model.encoder().clone().with_regulated(rest);
        model
    }
}
