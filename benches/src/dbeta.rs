//! D-BETA of the published sizes with the weights and batches that the peer made.

use std::hint::black_box;
use std::path::Path;

use burn::tensor::Device;
use purkinje_models::dbeta::{
    Dbeta, DbetaBatch, DbetaConfig, DbetaInput, Dropping, EtsReduction, Pairs, Part,
};
use purkinje_models::layers::{Context, Weights};
use purkinje_models::random::Stream;
use purkinje_models::text::TextIds;
use purkinje_train::Learning;
use purkinje_train::optimizer::{Epsilon, Optimizer, OptimizerConfig, WeightDecay};

use crate::Result;
use crate::exchange::{Answer, Shared};
use crate::worker::Row;

/// Vectors of recordings from their samples.
pub struct Infer {
    model: Dbeta,
    inputs: Vec<DbetaInput>,
    device: Device,
}

impl Infer {
    /// The model and batch of row `name`.
    pub fn new(name: &str, exchange: &Path) -> Result<Self> {
        let device = Device::flex();
        Ok(Infer {
            model: model(name, exchange, Part::Ecg, &device)?,
            inputs: inputs(&shared_batch(name, exchange)?)?,
            device,
        })
    }

    fn vectors(&self) -> Result<(Vec<usize>, Vec<f32>)> {
        let batch = DbetaBatch::new(self.model.config(), &self.inputs)?;
        let ctx = Context::inference(&self.device);
        let found = self.model.ecg_vectors(&batch, &ctx);
        Ok((
            found.dims().to_vec(),
            found.into_data().try_to_vec::<f32>()?,
        ))
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
        let shared = shared_batch(name, exchange)?;
        let ids = shared.integers("ids")?;
        let order = shared.integers("order")?;
        let batch = DbetaBatch::new(model.config(), &inputs(&shared)?)?;
        let tokens = model.config().ecg.tokens(batch.samples);
        // Noise whose order is that of the peer.
        let mut noise = vec![0.0; order.len()];
        for (noise, order) in noise.chunks_mut(tokens).zip(order.chunks(tokens)) {
            for (rank, &token) in order.iter().enumerate() {
                noise[usize::try_from(token)?] = rank as f32;
            }
        }
        let kept = model.config().kept_tokens(tokens);
        let words = shared.integers("words")?.into_iter();
        Ok(PretrainStep {
            optimizer: Optimizer::new(
                model.weights(),
                |_| Some(Learning::default()),
                OptimizerConfig {
                    beta1: 0.9,
                    beta2: 0.98,
                    eps: 1e-6,
                    epsilon: Epsilon::BeforeCorrection,
                    weight_decay: 0.01,
                    decay: WeightDecay::Decoupled,
                    clip_norm: None,
                    decay_all: true,
                },
            ),
            texts: TextIds {
                real: vec![true; ids.len()],
                length: ids.len() / batch.size,
                ids: ids
                    .into_iter()
                    .map(u32::try_from)
                    .collect::<std::result::Result<_, _>>()?,
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
        let gradients = loss.backward();
        let loss: f64 = loss.inner().into_scalar::<f32>().into();
        let weights = self.model.weights_mut();
        let norm = self.optimizer.step(weights, &tracked, gradients, 5e-5);
        if !(loss.is_finite() && norm.is_finite()) {
            return Err(format!("loss {loss} or gradient norm {norm} is not finite").into());
        }
        Ok(())
    }
}

fn model(name: &str, exchange: &Path, part: Part, device: &Device) -> Result<Dbeta> {
    let shared = Shared::open(&exchange.join(format!("{name}.weights.safetensors")))?;
    let weights = weights(&shared, device)?;
    let config = DbetaConfig {
        part,
        ..DbetaConfig::default()
    };
    Ok(Dbeta::new(config, weights)?)
}

/// All tensors of a file.
pub fn weights(shared: &Shared, device: &Device) -> Result<Weights> {
    let mut weights = Weights::default();
    for name in shared.names()? {
        let (shape, data) = shared.f32(&name)?;
        weights.insert(&name, &shape, data, device);
    }
    Ok(weights)
}

fn shared_batch(name: &str, exchange: &Path) -> Result<Shared> {
    Shared::open(&exchange.join(format!("{name}.batch.safetensors")))
}

/// Recordings `[size, leads, samples]`.
fn inputs(shared: &Shared) -> Result<Vec<DbetaInput>> {
    let (shape, samples) = shared.f32("signals")?;
    let [_, leads, width] = shape[..] else {
        return Err(format!("signals of shape {shape:?}, expected three dimensions").into());
    };
    let inputs = samples
        .chunks_exact(leads * width)
        .map(|samples| DbetaInput {
            samples: samples.to_vec(),
        });
    Ok(inputs.collect())
}
