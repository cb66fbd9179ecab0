//! D-BETA of the published sizes with the weights and batches that the peer made.

use std::hint::black_box;
use std::path::Path;

use burn::tensor::Device;
use purkinje_models::dbeta::{Dbeta, DbetaBatch, DbetaConfig, Dropping, EtsReduction, Pairs, Part};
use purkinje_models::layers::Context;
use purkinje_models::paired::Signal;
use purkinje_models::random::Stream;
use purkinje_models::text::TextIds;
use purkinje_train::Learning;
use purkinje_train::optimizer::{Optimizer, OptimizerConfig};

use crate::Result;
use crate::exchange::{Answer, Shared, shown, update};
use crate::worker::Row;

/// Vectors of recordings from their samples.
pub struct Infer {
    model: Dbeta,
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
        let batch = DbetaBatch::new(self.model.config(), &self.inputs)?;
        let ctx = Context::inference(&self.device);
        shown(self.model.ecg_vectors(&batch, &ctx))
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

/// Four losses, backward and Adam on four recordings, as the trainer does them.
pub struct PretrainStep {
    model: Dbeta,
    optimizer: Optimizer,
    batch: DbetaBatch,
    texts: TextIds,
    words: Vec<Option<u32>>,
    aligned: Vec<bool>,
    dropping: Dropping,
    stream: Stream,
    graph: Device,
}

impl PretrainStep {
    /// The model and batch of row `name`.
    pub fn new(name: &str, exchange: &Path) -> Result<Self> {
        let device = Device::flex();
        let model = model(name, exchange, Part::All, &device)?;
        let shared = Shared::batch(name, exchange)?;
        let ids = shared.integers_as("ids")?;
        let order = shared.integers_as::<usize>("order")?;
        let batch = DbetaBatch::new(model.config(), &shared.signals()?)?;
        let tokens = model.config().ecg.tokens(batch.samples);
        // Noise whose order is that of the peer.
        let mut noise = vec![0.0; order.len()];
        for (noise, order) in noise.chunks_mut(tokens).zip(order.chunks(tokens)) {
            for (rank, &token) in order.iter().enumerate() {
                noise[token] = rank as f32;
            }
        }
        let kept = model.config().kept_tokens(tokens);
        let words = shared.integers("words")?.into_iter();
        Ok(PretrainStep {
            optimizer: Optimizer::new(
                model.weights(),
                |_| Some(Learning::default()),
                OptimizerConfig::d_beta(),
            ),
            texts: TextIds {
                real: vec![true; ids.len()],
                length: ids.len() / batch.size,
                ids,
            },
            words: words.map(|word| u32::try_from(word).ok()).collect(),
            aligned: shared
                .integers("aligned")?
                .iter()
                .map(|own| *own == 1)
                .collect(),
            dropping: Dropping::from_noise(&noise, tokens, kept),
            batch,
            model,
            stream: Stream::new(0, "benchmark"),
            graph: device.autodiff(),
        })
    }

    fn pairs(&self) -> Pairs<'_> {
        Pairs {
            ecg: &self.batch,
            target: &self.batch,
            texts: &self.texts,
            words: &self.words,
            aligned: &self.aligned,
            dropping: &self.dropping,
        }
    }
}

impl Row for PretrainStep {
    /// Loss and gradient norm of the shared weights, without dropout.
    fn answer(&mut self) -> Result<Answer> {
        let ctx = Context::inference(&self.graph);
        let tracked = self.model.weights().tracked(|_| true);
        let model = self.model.with_weights(tracked.clone());
        let loss = model.losses(&self.pairs(), EtsReduction::Sum, &ctx).total();
        Ok(Answer::of_pass(loss, &tracked))
    }

    fn run(&mut self) -> Result<()> {
        let dropout = self.model.config().ecg.dropout;
        let ctx = Context::training(&self.graph, dropout, self.stream.next_u64());
        let tracked = self.model.weights().tracked(|_| true);
        let model = self.model.with_weights(tracked.clone());
        let loss = model.losses(&self.pairs(), EtsReduction::Sum, &ctx).total();
        let weights = self.model.weights_mut();
        update(loss, weights, &tracked, &mut self.optimizer, 5e-5)
    }
}

fn model(name: &str, exchange: &Path, part: Part, device: &Device) -> Result<Dbeta> {
    let weights = Shared::weights(name, exchange, device)?;
    let config = DbetaConfig {
        part,
        ..DbetaConfig::default()
    };
    Ok(Dbeta::new(config, weights)?)
}
