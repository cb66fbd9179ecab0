//! HuBERT-ECG BASE with the weights and batches that the peer made.

use std::hint::black_box;
use std::path::Path;

use burn::tensor::Device;
use purkinje_models::hubert::{Hubert, HubertBatch, HubertConfig, HubertInput, TokenMasking};
use purkinje_models::layers::Context;
use purkinje_models::random::Stream;
use purkinje_train::Learning;
use purkinje_train::optimizer::{Optimizer, OptimizerConfig};

use crate::Result;
use crate::exchange::{Answer, Shared, shown, update};
use crate::worker::Row;

const LEARNING_RATE: f64 = 5e-5;
/// Share of hidden tokens in the loss.
const ALPHA: f64 = 1.0;

/// Token vectors of recordings from their samples.
pub struct Infer {
    model: Hubert,
    inputs: Vec<HubertInput>,
    device: Device,
}

impl Infer {
    /// The model and batch of row `name`.
    pub fn new(name: &str, exchange: &Path) -> Result<Self> {
        let device = Device::flex();
        Ok(Infer {
            model: model(name, exchange, &device)?,
            inputs: inputs(&Shared::batch(name, exchange)?)?,
            device,
        })
    }

    fn states(&self) -> Result<(Vec<usize>, Vec<f32>)> {
        let batch = HubertBatch::new(self.model.config(), &self.inputs)?;
        let ctx = Context::inference(&self.device);
        shown(self.model.encode(&batch, None, &ctx).last)
    }
}

impl Row for Infer {
    fn answer(&mut self) -> Result<Answer> {
        let (shape, states) = self.states()?;
        Ok(Answer::default().f32("states", &shape, &states))
    }

    fn run(&mut self) -> Result<()> {
        black_box(self.states()?);
        Ok(())
    }
}

/// Forward, backward and AdamW on eight recordings, as the trainer does them; no layer is left out.
pub struct PretrainStep {
    model: Hubert,
    optimizer: Optimizer,
    batch: HubertBatch,
    codes: Vec<u32>,
    hidden: Vec<bool>,
    stream: Stream,
    steps: u64,
    graph: Device,
}

impl PretrainStep {
    /// The model and batch of row `name`.
    pub fn new(name: &str, exchange: &Path) -> Result<Self> {
        let device = Device::flex();
        let mut model = model(name, exchange, &device)?;
        // How many layers a step leaves out is chance: it would make the figures differ by more than the programs do.
        model.config_mut().layerdrop = 0.0;
        let shared = Shared::batch(name, exchange)?;
        Ok(PretrainStep {
            optimizer: Optimizer::new(
                model.weights(),
                |_| Some(Learning::default()),
                OptimizerConfig::hubert(),
            ),
            batch: HubertBatch::new(model.config(), &inputs(&shared)?)?,
            codes: shared.integers_as("codes")?,
            hidden: shared.integers("hidden")?.iter().map(|h| *h != 0).collect(),
            model,
            stream: Stream::new(0, "benchmark"),
            steps: 0,
            graph: device.autodiff(),
        })
    }

    fn tokens(&self) -> usize {
        self.model.config().tokens(self.batch.samples)
    }
}

impl Row for PretrainStep {
    /// Loss and gradient norm of the shared weights, without dropout.
    fn answer(&mut self) -> Result<Answer> {
        let masking = TokenMasking::new(self.tokens(), self.hidden.clone());
        let ctx = Context::inference(&self.graph);
        let tracked = self.model.weights().tracked(|_| true);
        let model = self.model.with_weights(tracked.clone());
        let found = model.predict_codes(&self.batch, &self.codes, &masking, ALPHA, &ctx);
        Ok(Answer::of_pass(found.loss, &tracked))
    }

    fn run(&mut self) -> Result<()> {
        self.steps += 1;
        let mut stream = self.stream.at(self.steps);
        let config = self.model.config();
        let masking = TokenMasking::random(config, self.batch.size, self.tokens(), &mut stream);
        let ctx = Context::training(&self.graph, config.hidden_dropout, stream.next_u64());
        let tracked = self.model.weights().tracked(|_| true);
        let model = self.model.with_weights(tracked.clone());
        let loss = model
            .predict_codes(&self.batch, &self.codes, &masking, ALPHA, &ctx)
            .loss;
        let weights = self.model.weights_mut();
        update(loss, weights, &tracked, &mut self.optimizer, LEARNING_RATE)
    }
}

fn model(name: &str, exchange: &Path, device: &Device) -> Result<Hubert> {
    let weights = Shared::weights(name, exchange, device)?;
    Ok(Hubert::new(HubertConfig::base(), weights)?)
}

/// Recordings `[size, samples]`.
fn inputs(shared: &Shared) -> Result<Vec<HubertInput>> {
    let (shape, samples) = shared.f32("signals")?;
    let [_, width] = shape[..] else {
        return Err(format!("signals of shape {shape:?}, expected two dimensions").into());
    };
    let inputs = samples.chunks_exact(width).map(|samples| HubertInput {
        samples: samples.to_vec(),
        real: None,
    });
    Ok(inputs.collect())
}
