//! DERI of the published sizes with the weights and batches that the peer made.

use std::hint::black_box;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use purkinje_models::deri::{Deri, DeriConfig, DeriLosses, Views};
use purkinje_models::encoder::Encoder as _;
use purkinje_models::layers::Context;
use purkinje_models::paired::{PairConfig as _, Paired as _, Part, Read, Signal, Signals};
use purkinje_models::random::Stream;
use purkinje_models::text::{BertConfig, TextConfig};
use purkinje_train::Learning;
use purkinje_train::optimizer::{Optimizer, OptimizerConfig};

use crate::Result;
use crate::exchange::{Answer, Shared, shown, update};
use crate::worker::Row;

/// Vectors of recordings.
pub struct Infer {
    model: Deri,
    inputs: Vec<Signal>,
    device: Device,
}

impl Infer {
    /// The model and batch of row `name`.
    pub fn new(name: &str, exchange: &Path) -> Result<Self> {
        let device = Device::flex();
        Ok(Infer {
            model: model(name, exchange, Part::Ecg, &device)?,
            inputs: Shared::batch(name, exchange)?.signals()?,
            device,
        })
    }

    fn vectors(&self) -> Result<(Vec<usize>, Vec<f32>)> {
        let batch = self.model.batch(&self.inputs)?;
        let ctx = Context::inference(&self.device);
        shown(self.model.vectors(&batch, &ctx).squeeze_dim::<2>(1))
    }
}

impl Row for Infer {
    fn answer(&mut self) -> Result<Answer> {
        let (shape, vectors) = self.vectors()?;
        Ok(Answer::default().f32("vectors", &shape, &vectors))
    }

    fn run(&mut self) -> Result<()> {
        black_box(self.vectors()?);
        Ok(())
    }
}

/// Five losses, backward and AdamW on sixteen recordings with hidden states of their texts.
pub struct PretrainStep {
    model: Deri,
    optimizer: Optimizer,
    batch: Signals,
    pooled: (Vec<usize>, Vec<f32>),
    states: (Vec<usize>, Vec<f32>),
    views: Views,
    stream: Stream,
    graph: Device,
}

impl PretrainStep {
    /// The model and batch of row `name`.
    pub fn new(name: &str, exchange: &Path) -> Result<Self> {
        let device = Device::flex();
        let model = model(name, exchange, Part::All, &device)?;
        let shared = Shared::batch(name, exchange)?;
        let kept: Vec<usize> = shared.integers_as("views")?;
        let (first, second) = kept.split_at(kept.len() / 2);
        Ok(PretrainStep {
            optimizer: Optimizer::new(model.weights(), learns, OptimizerConfig::deri()),
            batch: model.batch(&shared.signals()?)?,
            pooled: shared.f32("pooled")?,
            states: shared.f32("states")?,
            views: Views([first.to_vec(), second.to_vec()]),
            model,
            stream: Stream::new(0, "benchmark"),
            graph: device.autodiff(),
        })
    }

    fn loss(&self, model: &Deri, ctx: &Context) -> Tensor<1> {
        let tensor = |(shape, values): &(Vec<usize>, Vec<f32>)| {
            TensorData::new(values.clone(), shape.clone())
        };
        let read = Read {
            pooled: Tensor::from_data(tensor(&self.pooled), ctx.device()),
            states: Tensor::from_data(tensor(&self.states), ctx.device()),
        };
        let pass = model.pass(&self.batch, &read, None, &self.views, ctx);
        let losses = DeriLosses::of(&pass, model.config().temperature, ctx);
        losses.alignment + losses.mixed + losses.views + losses.decoded_ecg + losses.decoded_text
    }
}

impl Row for PretrainStep {
    /// Loss and gradient norm of the shared weights, without dropout.
    fn answer(&mut self) -> Result<Answer> {
        let ctx = Context::inference(&self.graph);
        let tracked = self.model.weights().tracked(|name| learns(name).is_some());
        let model = Deri::with(self.model.config().clone(), tracked.clone())?;
        let loss = self.loss(&model, &ctx);
        Ok(Answer::of_pass(loss, &tracked))
    }

    fn run(&mut self) -> Result<()> {
        let dropout = self.model.config().decoder.dropout;
        let ctx = Context::training(&self.graph, dropout, self.stream.next_u64());
        let tracked = self.model.weights().tracked(|name| learns(name).is_some());
        let model = Deri::with(self.model.config().clone(), tracked.clone())?;
        let loss = self.loss(&model, &ctx);
        let mut weights = self.model.weights().clone();
        update(loss, &mut weights, &tracked, &mut self.optimizer, 1e-4)?;
        weights.store(ctx.take_handed_back())?;
        self.model = Deri::with(self.model.config().clone(), weights)?;
        Ok(())
    }
}

/// The encoder of texts does not: its hidden states are given.
fn learns(name: &str) -> Option<Learning> {
    (!name.starts_with("lm_model.")).then(Learning::default)
}

/// Of the published sizes, but for the encoder of texts, which nothing runs.
fn model(name: &str, exchange: &Path, part: Part, device: &Device) -> Result<Deri> {
    let mut weights = Shared::weights(name, exchange, device)?;
    let config = DeriConfig {
        part,
        text: TextConfig::Bert(BertConfig {
            vocab_size: 8,
            num_hidden_layers: 1,
            intermediate_size: 8,
            ..BertConfig::default()
        }),
        ..DeriConfig::default()
    };
    for (name, shape) in config.entries() {
        if name.starts_with("lm_model.") {
            weights.insert(&name, &shape, vec![0.0; shape.iter().product()], device);
        }
    }
    Ok(Deri::with(config, weights)?)
}
