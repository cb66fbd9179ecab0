//! CLEAR base as the released program computes it, with the weights and batches that the peer made.

use std::hint::black_box;
use std::path::Path;

use burn::tensor::Device;
use purkinje_models::clear::{Clear, ClearBatch, ClearConfig, Compat, Masking};
use purkinje_models::hug::{Classifier, Head};
use purkinje_models::layers::{Context, Weights};
use purkinje_models::random::Stream;
use purkinje_signal::beats::BeatTokens;
use purkinje_train::Learning;
use purkinje_train::optimizer::{Optimizer, OptimizerConfig};

use crate::Result;
use crate::exchange::{Answer, Shared, update};
use crate::worker::Row;

const CLASSES: usize = 5;
const LEARNING_RATE: f64 = 5e-4;

/// Logits of eight recordings from their tokens: encoder and HUG head.
pub struct Infer {
    model: Classifier,
    inputs: Vec<BeatTokens>,
    device: Device,
}

impl Infer {
    /// The model and batch of row `name`.
    pub fn new(name: &str, exchange: &Path) -> Result<Self> {
        let device = Device::flex();
        let encoder = model(name, exchange, &device)?;
        Ok(Infer {
            model: Classifier::new(encoder, Head::Hug, CLASSES)?,
            inputs: tokens(&Shared::batch(name, exchange)?)?,
            device,
        })
    }

    fn logits(&self) -> Result<Vec<f32>> {
        let batch = ClearBatch::new(&self.inputs)?;
        let masking = Masking::all(batch.token_count());
        let ctx = Context::inference(&self.device);
        let logits = self.model.logits(&batch, &masking, &ctx);
        Ok(logits.into_data().try_to_vec::<f32>()?)
    }
}

impl Row for Infer {
    fn answer(&mut self) -> Result<Answer> {
        let shape = [self.inputs.len(), CLASSES];
        Ok(Answer::default().f32("logits", &shape, &self.logits()?))
    }

    fn run(&mut self) -> Result<()> {
        black_box(self.logits()?);
        Ok(())
    }
}

/// Forward, backward, clipping and AdamW on sixteen recordings, as the trainer does them.
pub struct PretrainStep {
    model: Clear,
    optimizer: Optimizer,
    inputs: Vec<BeatTokens>,
    noise: Vec<f32>,
    stream: Stream,
    steps: u64,
    graph: Device,
}

impl PretrainStep {
    /// The model and batch of row `name`.
    pub fn new(name: &str, exchange: &Path) -> Result<Self> {
        let device = Device::flex();
        let model = model(name, exchange, &device)?;
        let shared = Shared::batch(name, exchange)?;
        Ok(PretrainStep {
            optimizer: Optimizer::new(
                model.weights(),
                |_| Some(Learning::default()),
                OptimizerConfig::pretrain(),
            ),
            model,
            inputs: tokens(&shared)?,
            noise: shared.f32("noise")?.1,
            stream: Stream::new(0, "benchmark"),
            steps: 0,
            graph: device.autodiff(),
        })
    }
}

impl Row for PretrainStep {
    /// Loss and gradient norm of the shared weights, without dropout.
    fn answer(&mut self) -> Result<Answer> {
        let batch = ClearBatch::new(&self.inputs)?;
        let kept = self.model.config().kept(batch.token_count());
        let masking = Masking::from_noise(std::slice::from_ref(&self.noise), kept);
        let ctx = Context::training(&self.graph, 0.0, 0);
        let tracked = self.model.weights().tracked(|_| true);
        let tracked_model = self.model.with_weights(tracked.clone());
        let loss = tracked_model.reconstruct(&batch, &masking, &ctx).loss;
        Ok(Answer::of_pass(loss, &tracked))
    }

    fn run(&mut self) -> Result<()> {
        self.steps += 1;
        let mut stream = self.stream.at(self.steps);
        let batch = ClearBatch::new(&self.inputs)?;
        let masking = Masking::random(self.model.config(), &batch, &mut stream);
        let dropout = self.model.config().dropout;
        let ctx = Context::training(&self.graph, dropout, stream.next_u64());
        let tracked = self.model.weights().tracked(|_| true);
        let tracked_model = self.model.with_weights(tracked.clone());
        let loss = tracked_model.reconstruct(&batch, &masking, &ctx).loss;
        let weights = self.model.weights_mut();
        update(loss, weights, &tracked, &mut self.optimizer, LEARNING_RATE)
    }
}

fn model(name: &str, exchange: &Path, device: &Device) -> Result<Clear> {
    let mut weights = Weights::default();
    for (name, shape, values) in Shared::weights(name, exchange, device)?.to_host() {
        let own = name.strip_prefix("backbone.").unwrap_or(&name);
        weights.insert(own, &shape, values, device);
    }
    let config = ClearConfig::base().with_compat(Compat::Released);
    Ok(Clear::new(config, weights)?)
}

fn tokens(shared: &Shared) -> Result<Vec<BeatTokens>> {
    let (shape, samples) = shared.f32("tokens")?;
    let [records, tokens, width] = shape[..] else {
        return Err(format!("tokens of shape {shape:?}, expected three dimensions").into());
    };
    let [lead_index, time_index, padding] =
        ["lead_index", "time_index", "padding"].map(|name| shared.integers(name));
    let (lead_index, time_index, padding) = (lead_index?, time_index?, padding?);
    let byte = |v: &i64| u8::try_from(*v);
    (0..records)
        .map(|record| {
            let rows = record * tokens..(record + 1) * tokens;
            Ok(BeatTokens {
                samples: samples[rows.start * width..rows.end * width].to_vec(),
                lead_index: lead_index[rows.clone()]
                    .iter()
                    .map(byte)
                    .collect::<std::result::Result<_, _>>()?,
                time_index: time_index[rows.clone()]
                    .iter()
                    .map(byte)
                    .collect::<std::result::Result<_, _>>()?,
                padding: padding[rows].iter().map(|v| *v != 0).collect(),
                r_peaks: Vec::new(),
                detected: true,
            })
        })
        .collect()
}
