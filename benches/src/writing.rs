//! A GPT-2 of six layers that writes reports, with the weights and recordings that the peer made, and scores of texts.

use std::hint::black_box;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use purkinje::eval::text::TextPair;
use purkinje::reports::scores_of_pairs;
use purkinje_models::decoding::{Decoding, Finish};
use purkinje_models::layers::Context;
use purkinje_models::random::Stream;
use purkinje_models::text::Gpt2Config;
use purkinje_models::writing::{DecoderConfig, ReportWriter, Taught, WriterConfig};
use purkinje_train::Learning;
use purkinje_train::optimizer::{Optimizer, OptimizerConfig};

use crate::Result;
use crate::exchange::{Answer, Shared, update};
use crate::worker::Row;

/// Tokens that are written.
const NEW: usize = 64;
/// What begins a report.
const START: u32 = 50_257;
/// What ends it.
const END: u32 = 50_256;

/// Reports of eight recordings, 64 tokens each.
pub struct Generate {
    writer: ReportWriter,
    memory: (Vec<usize>, Vec<f32>),
    beams: usize,
    device: Device,
}

impl Generate {
    /// The model and recordings of row `name`.
    pub fn new(name: &str, exchange: &Path) -> Result<Self> {
        let device = Device::flex();
        Ok(Generate {
            writer: writer(name, exchange, &device)?,
            memory: Shared::batch(name, exchange)?.f32("memory")?,
            beams: if name.ends_with("beam3") { 3 } else { 1 },
            device,
        })
    }

    fn tokens(&self) -> Result<Vec<Vec<u32>>> {
        let how = Decoding {
            beams: self.beams,
            max_tokens: NEW + 1,
            start: START,
            end: END,
            finish: Finish::Penalised {
                length_penalty: 1.0,
            },
        };
        let ctx = Context::inference(&self.device);
        let memory = tensor(&self.memory, &ctx);
        let found = self.writer.write(memory, &how, &ctx)?;
        Ok(found.into_iter().map(|own| own.tokens).collect())
    }
}

impl Row for Generate {
    fn answer(&mut self) -> Result<Answer> {
        let found = self.tokens()?;
        let values: Vec<i64> = found.iter().flatten().map(|&id| i64::from(id)).collect();
        Ok(Answer::default().table("tokens", &[found.len(), NEW + 1], &values))
    }

    fn run(&mut self) -> Result<()> {
        black_box(self.tokens()?);
        Ok(())
    }
}

/// Loss, backward and AdamW on eight reports of 64 tokens.
pub struct TrainStep {
    writer: ReportWriter,
    optimizer: Optimizer,
    memory: (Vec<usize>, Vec<f32>),
    taught: Taught,
    stream: Stream,
    graph: Device,
}

impl TrainStep {
    /// The model and reports of row `name`.
    pub fn new(name: &str, exchange: &Path) -> Result<Self> {
        let device = Device::flex();
        let writer = writer(name, exchange, &device)?;
        let shared = Shared::batch(name, exchange)?;
        let ids: Vec<u32> = shared.integers_as("ids")?;
        let reports: Vec<Vec<u32>> = ids.chunks(NEW).map(<[u32]>::to_vec).collect();
        Ok(TrainStep {
            optimizer: Optimizer::new(
                writer.weights(),
                |_| Some(Learning::default()),
                OptimizerConfig::deri(),
            ),
            memory: shared.f32("memory")?,
            taught: Taught::new(&reports, 50_258, NEW)?,
            writer,
            stream: Stream::new(0, "benchmark"),
            graph: device.autodiff(),
        })
    }

    fn loss(&self, writer: &ReportWriter, ctx: &Context) -> Result<Tensor<1>> {
        let memory = tensor(&self.memory, ctx);
        Ok(writer.loss(Some(memory), &self.taught, ctx)?)
    }
}

impl Row for TrainStep {
    /// Loss and gradient norm of the shared weights, without dropout.
    fn answer(&mut self) -> Result<Answer> {
        let ctx = Context::inference(&self.graph);
        let tracked = self.writer.weights().tracked(|_| true);
        let loss = self.loss(&self.writer.with_weights(tracked.clone()), &ctx)?;
        Ok(Answer::of_pass(loss, &tracked))
    }

    fn run(&mut self) -> Result<()> {
        let ctx = Context::training(&self.graph, 0.1, self.stream.next_u64());
        let tracked = self.writer.weights().tracked(|_| true);
        let loss = self.loss(&self.writer.with_weights(tracked.clone()), &ctx)?;
        let mut weights = self.writer.weights().clone();
        update(loss, &mut weights, &tracked, &mut self.optimizer, 1e-5)?;
        self.writer = self.writer.with_weights(weights);
        Ok(())
    }
}

/// BLEU and ROUGE-L of 15,424 pairs; METEOR, CIDEr and what else is counted come with them.
pub struct Scores(Vec<[String; 2]>);

impl Scores {
    /// The pairs of row `name`.
    pub fn new(name: &str, exchange: &Path) -> Result<Self> {
        let text = std::fs::read(exchange.join(format!("{name}.pairs.json")))?;
        Ok(Scores(serde_json::from_slice(&text)?))
    }

    fn means(&self) -> Result<Vec<f64>> {
        let pairs = self.0.iter().map(|[reference, generated]| TextPair {
            id: "",
            reference,
            generated,
        });
        let found = scores_of_pairs(&pairs.collect::<Vec<_>>())?.means;
        Ok([&found.bleu[..], &[found.rouge_l.f1]].concat())
    }
}

impl Row for Scores {
    fn answer(&mut self) -> Result<Answer> {
        Ok(Answer::default().f64("scores", &self.means()?))
    }

    fn run(&mut self) -> Result<()> {
        black_box(self.means()?);
        Ok(())
    }
}

fn tensor((shape, values): &(Vec<usize>, Vec<f32>), ctx: &Context) -> Tensor<3> {
    Tensor::from_data(TensorData::new(values.clone(), shape.clone()), ctx.device())
}

fn writer(name: &str, exchange: &Path, device: &Device) -> Result<ReportWriter> {
    let decoder = Gpt2Config {
        vocab_size: 50_259,
        n_layer: 6,
        add_cross_attention: true,
        ..Gpt2Config::default()
    };
    let config = WriterConfig {
        width: decoder.n_embd,
        decoder: DecoderConfig::Gpt2(decoder),
    };
    Ok(ReportWriter::new(
        config,
        Shared::weights(name, exchange, device)?,
    )?)
}
