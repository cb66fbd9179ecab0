//! A small network over signals `[lead, time]`: a convolution with batch normalisation and a linear read-out.

use burn::tensor::{Device, Tensor, TensorData};
use purkinje::models::batch::BatchError;
use purkinje::models::compat::Compat;
use purkinje::models::encoder::{Classify, Encoder};
use purkinje::models::layers::{
    Activation, BatchNorm, BatchNormWeights, Context, Convolution, WeightError, Weights,
    conv1d_batch_norm,
};
use purkinje::models::random::Stream;
use purkinje::signal::signal_input::SignalInput;
use serde::{Deserialize, Serialize};

/// Every hyper-parameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Leads it takes.
    pub leads: usize,
    /// Channels of the convolution.
    pub width: usize,
    /// Samples under a kernel.
    pub kernel: usize,
    /// Whose behaviour it follows; they are the same.
    pub compat: Compat,
}

impl Config {
    /// Every entry of its weights, in order, with shapes.
    pub fn entries(&self) -> Vec<(String, Vec<usize>)> {
        let mut all = vec![(
            "conv.weight".into(),
            vec![self.width, self.leads, self.kernel],
        )];
        all.extend(BatchNormWeights::entries("norm", self.width));
        all.push(("level.weight".into(), vec![self.leads, self.width]));
        all
    }

    /// Those that a classifier keeps.
    pub fn kept(&self) -> Vec<(String, Vec<usize>)> {
        let all = self.entries().into_iter();
        all.filter(|(name, _)| !name.starts_with("level."))
            .collect()
    }
}

/// Several recordings of one shape.
pub struct Batch {
    /// Recordings.
    pub size: usize,
    leads: usize,
    time: usize,
    /// `[size, lead, time]`.
    values: Vec<f32>,
}

impl Batch {
    /// The mean absolute value of every lead `[size, lead]`: what the first stage learns to read off.
    pub fn levels(&self) -> Vec<f32> {
        let rows = self.values.chunks_exact(self.time);
        rows.map(|row| row.iter().map(|v| v.abs()).sum::<f32>() / self.time as f32)
            .collect()
    }
}

/// The network.
#[derive(Clone)]
pub struct Network {
    /// Its hyper-parameters.
    pub config: Config,
    weights: Weights,
}

impl Network {
    /// A network over weights, which may hold more than it needs.
    pub fn new(config: Config, mut weights: Weights) -> Result<Self, WeightError> {
        weights.require(&config.kept())?;
        let state = BatchNormWeights::state("norm");
        weights.declare_state(state.iter().map(String::as_str))?;
        Ok(Network { config, weights })
    }

    /// A network with random weights.
    pub fn random(config: Config, seed: u64, device: &Device) -> Self {
        let mut weights = Weights::default();
        let stream = Stream::new(seed, "initial weights");
        let draw = |number: u64, shape: &[usize]| {
            let mut stream = stream.at(number);
            let fan_in: usize = shape[1..].iter().product();
            let scale = (fan_in as f64).sqrt().recip();
            let count = shape.iter().product();
            (0..count)
                .map(|_| (scale * stream.normal()) as f32)
                .collect()
        };
        let convolution = [config.width, config.leads, config.kernel];
        weights.insert("conv.weight", &convolution, draw(0, &convolution), device);
        BatchNormWeights::insert(&mut weights, "norm", config.width, device);
        let level = [config.leads, config.width];
        weights.insert("level.weight", &level, draw(1, &level), device);
        Network { config, weights }
    }

    /// One vector for each recording `[size, width]`.
    pub fn pooled(&self, batch: &Batch, ctx: &Context) -> Tensor<2> {
        let shape = [batch.size, batch.leads, batch.time];
        let data = TensorData::new(batch.values.clone(), shape);
        let signal = Tensor::<3>::from_data(data, ctx.device()).swap_dims(1, 2);
        let states = conv1d_batch_norm(
            signal, // [size, time, lead]
            self.weights.get("conv.weight"),
            None,
            Convolution::valid(2),
            &BatchNormWeights::of(&self.weights, "norm"),
            BatchNorm::default(),
            Activation::Gelu,
            ctx,
        );
        states.mean_dim(1).squeeze_dim::<2>(1)
    }

    /// What it reads off as the level of every lead `[size, lead]`.
    pub fn read_off(&self, pooled: Tensor<2>) -> Tensor<2> {
        pooled.matmul(self.weights.get::<2>("level.weight").transpose())
    }
}

impl Encoder for Network {
    type Input = SignalInput;
    type Batch = Batch;

    fn batch(&self, inputs: &[SignalInput]) -> Result<Batch, BatchError> {
        let first = inputs.first().ok_or(BatchError::Empty)?;
        let like = |input: &SignalInput| {
            input.leads == self.config.leads && input.samples.len() == first.samples.len()
        };
        if let Some(position) = inputs.iter().position(|input| !like(input)) {
            return Err(BatchError::Field {
                position,
                field: "samples",
                problem: format!("is not as the first, or not of {} leads", self.config.leads),
            });
        }
        Ok(Batch {
            size: inputs.len(),
            leads: first.leads,
            time: first.samples.len() / first.leads,
            values: inputs.iter().flat_map(|i| &i.samples).copied().collect(),
        })
    }

    fn vectors(&self, batch: &Batch, ctx: &Context) -> Tensor<3> {
        self.pooled(batch, ctx).unsqueeze_dim(1)
    }

    fn width(&self) -> usize {
        self.config.width
    }

    fn weights(&self) -> &Weights {
        &self.weights
    }

    fn with_weights(&self, weights: Weights) -> Self {
        Network {
            config: self.config.clone(),
            weights,
        }
    }

    fn random_twin(&self, seed: u64, device: &Device) -> Self {
        Network::random(self.config.clone(), seed, device)
    }
}

/// The network with a linear head.
#[derive(Clone)]
pub struct Classifier {
    encoder: Network,
}

impl Classifier {
    /// Entries of the head.
    pub fn head(width: usize, outputs: usize) -> Vec<(String, Vec<usize>)> {
        vec![
            ("head.weight".into(), vec![outputs, width]),
            ("head.bias".into(), vec![outputs]),
        ]
    }

    /// A network whose weights also hold those of the head.
    pub fn new(encoder: Network, outputs: usize) -> Result<Self, WeightError> {
        let head = Self::head(encoder.config.width, outputs);
        encoder.weights.require(&head)?;
        Ok(Classifier { encoder })
    }
}

impl Classify for Classifier {
    type Encoder = Network;

    fn encoder(&self) -> &Network {
        &self.encoder
    }

    fn logits(&self, batch: &Batch, ctx: &Context) -> Tensor<2> {
        let weights = &self.encoder.weights;
        let bias = weights.get::<1>("head.bias").unsqueeze::<2>();
        let pooled = self.encoder.pooled(batch, ctx);
        pooled.matmul(weights.get::<2>("head.weight").transpose()) + bias
    }

    fn with_weights(&self, weights: Weights) -> Self {
        Classifier {
            encoder: self.encoder.with_weights(weights),
        }
    }

    fn dropout(&self) -> f32 {
        0.0
    }
}
