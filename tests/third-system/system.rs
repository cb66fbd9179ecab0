//! The system: what it provides to the library.

use std::borrow::Cow;
use std::fmt;

use burn::tensor::Device;
use purkinje::Result;
use purkinje::finetune::Finetunes;
use purkinje::import::Imports;
use purkinje::keys::NoSettings;
use purkinje::models::checkpoint::{CheckpointError, Facts, Published, StateDict};
use purkinje::models::compat::Compat;
use purkinje::models::layers::{Context, WeightError, Weights};
use purkinje::network::values;
use purkinje::pretrain::{Learned, Pretrains, Stages};
use purkinje::signal::signal_input::SignalInput;
use purkinje::signal::{Prepared, Preprocess};
use purkinje::store::Store;
use purkinje::system::{About, Level, LevelVectors, Rows, Sight, Size, System};
use purkinje::train::source::{Cut as _, Look, SignalCutter, StoreSignals, Window};
use purkinje::train::{Decay, EpochOrder, Schedule, Span, TrainConfig, TrainError};
use serde::{Deserialize, Serialize};

use super::network::{Batch, Classifier, Config, Network};
use super::objective::Stage;

/// Samples of a crop: five seconds.
const CROP: usize = 500;

/// A system of the tests.
pub struct Ripple;

/// Its one head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Head {
    Linear,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("linear")
    }
}

impl System for Ripple {
    type Config = Config;
    type Encoder = Network;
    type Head = Head;
    type Classifier = Classifier;

    const ABOUT: About = About {
        name: "ripple",
        title: "Ripple",
        summary: "a convolution, for the tests",
        sizes: &[Size {
            name: "tiny",
            parameters: "1 k",
        }],
        heads: &["linear"],
        frozen_heads: &["linear"],
        levels: &[Level::Recording],
        head_levels: &[],
        features: &[],
        crops: true,
        preset: "clear",
        other_presets: &[],
    };

    const LINEAR: &'static str = "head.";

    fn size(name: &str) -> Option<Config> {
        (name == "tiny").then_some(Config {
            leads: 12,
            width: 8,
            kernel: 9,
            compat: Compat::Paper,
        })
    }

    fn validate(config: &Config) -> Result<(), String> {
        match config.width * config.kernel * config.leads {
            0 => Err("`leads`, `width` and `kernel` must be at least 1".into()),
            _ => Ok(()),
        }
    }

    fn compat(config: &Config) -> Compat {
        config.compat
    }

    fn with_compat(config: Config, compat: Compat) -> Config {
        Config { compat, ..config }
    }

    fn config(encoder: &Network) -> &Config {
        &encoder.config
    }

    fn encoder(config: Config, weights: Weights) -> Result<Network, WeightError> {
        Network::new(config, weights)
    }

    fn random(config: Config, seed: u64, device: &Device) -> Network {
        Network::random(config, seed, device)
    }

    fn kept_with_head(config: &Config) -> Vec<(String, Vec<usize>)> {
        config.kept()
    }

    fn head(name: &str) -> Option<Head> {
        (name == "linear").then_some(Head::Linear)
    }

    fn head_parameters(_: Head, width: usize, outputs: usize) -> Vec<(String, Vec<usize>)> {
        Classifier::head(width, outputs)
    }

    fn initialise_head(
        _: Head,
        weights: &mut Weights,
        width: usize,
        outputs: usize,
        _: u64,
        device: &Device,
    ) {
        for (name, shape) in Classifier::head(width, outputs) {
            let zeros = vec![0.0; shape.iter().product()];
            weights.insert(name, &shape, zeros, device);
        }
    }

    fn classifier(encoder: Network, _: Head, outputs: usize) -> Result<Classifier, WeightError> {
        Classifier::new(encoder, outputs)
    }

    fn see(
        _: &Network,
        prepared: &Prepared,
        _: &Preprocess,
        crops: usize,
    ) -> Result<Vec<SignalInput>, String> {
        let cutter = cutter(None).map_err(|error| error.to_string())?;
        let rows: Vec<f32> = prepared.rows.iter().map(|&v| v as f32).collect();
        let leads = prepared.leads.len();
        let seen = (0..crops).map(|k| cutter.cut(&rows, leads, 0, Look::Crop { k, n: crops }));
        seen.collect::<Result<_, _>>()
            .map_err(|error| error.to_string())
    }

    fn rows<'a>(
        _: &Network,
        store: &'a Store,
        rows: Vec<usize>,
        contract: &Preprocess,
        _: Compat,
        _: u64,
    ) -> Result<Rows<'a, Network>, TrainError> {
        Ok(Box::new(StoreSignals::new(
            store,
            rows,
            contract,
            cutter(None)?,
        )?))
    }

    fn crop_samples(_: &Network) -> Option<usize> {
        Some(CROP)
    }

    fn alike(a: &SignalInput, b: &SignalInput) -> bool {
        (a.leads, a.samples.len()) == (b.leads, b.samples.len())
    }

    fn embed(
        encoder: &Network,
        batch: &Batch,
        sights: &[&Sight<SignalInput>],
        _: Level,
        ctx: &Context,
    ) -> Result<LevelVectors> {
        let vectors = values(encoder.pooled(batch, ctx))?;
        Ok(LevelVectors::of_recordings(vectors, sights.len()))
    }
}

fn cutter(random: Option<u64>) -> Result<SignalCutter, TrainError> {
    let window = Window::of(CROP);
    let window = match random {
        Some(seed) => window.random(seed),
        None => window,
    };
    SignalCutter::new(window, None)
}

impl Finetunes for Ripple {
    type Tuning = NoSettings;
}

impl Pretrains for Ripple {
    type Settings = NoSettings;

    const BATCH: usize = 8;

    fn settings(_: &Config) -> NoSettings {
        NoSettings {}
    }

    fn training(_: &str) -> TrainConfig {
        TrainConfig {
            epochs: 4,
            schedule: Schedule {
                lr: 1e-2,
                warmup: Span::Updates(0),
                decay: Decay::Restarts {
                    end: 0.0,
                    period: Span::Updates(3),
                },
            },
            // After every step, so that a run can be killed anywhere.
            checkpoint_every_s: 0,
            ..TrainConfig::default()
        }
    }

    fn stages(_: &purkinje::pretrain::OwnOf<Self>) -> Stages {
        Stages::Several(vec!["level".into(), "contrast".into()])
    }

    fn stage(
        stage: &purkinje::pretrain::Stage<'_, Self>,
        encoder: &Network,
        _: Option<&Network>,
    ) -> Result<Learned> {
        let seed = stage.train.seed;
        let cutter = cutter(Some(seed))?;
        let rows = stage.rows.to_vec();
        let source = StoreSignals::new(stage.store, rows, stage.contract, cutter)?;
        let objective = Stage {
            network: encoder.clone(),
            order: EpochOrder::new(stage.rows.len(), stage.config.batch, seed),
            source: &source,
            contrast: stage.number == 2,
        };
        stage.learn(encoder, &objective, None)
    }
}

/// What is known of its files: the names have a prefix.
pub struct Layout {
    config: Config,
    outputs: Option<usize>,
}

const PREFIX: &str = "ripple.";

impl Published for Layout {
    fn recognises(name: &str) -> bool {
        name == "ripple.conv.weight"
    }

    fn read(found: &StateDict, _: &Facts) -> Result<Self, CheckpointError> {
        let shape = |name: &str| found.get(name).map_or(&[][..], |tensor| &tensor.shape[..]);
        let dim = |shape: &[usize], at: usize| shape.get(at).copied().unwrap_or_default();
        let convolution = shape("ripple.conv.weight");
        Ok(Layout {
            config: Config {
                width: dim(convolution, 0),
                leads: dim(convolution, 1),
                kernel: dim(convolution, 2),
                compat: Compat::Released,
            },
            outputs: shape("ripple.head.bias").first().copied(),
        })
    }

    fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        match self.outputs {
            None => self.config.entries(),
            Some(outputs) => {
                let mut all = self.config.kept();
                all.extend(Classifier::head(self.config.width, outputs));
                all
            }
        }
    }

    fn canonical(name: &str) -> Cow<'_, str> {
        Cow::Borrowed(name.strip_prefix(PREFIX).unwrap_or(name))
    }

    fn published(&self, name: &str) -> String {
        format!("{PREFIX}{name}")
    }

    fn heads(&self, _: &Facts) -> Result<(usize, Option<usize>), CheckpointError> {
        Ok((1, None))
    }
}

impl Imports for Ripple {
    type Layout = Layout;

    fn published_network(
        layout: &Layout,
        _: usize,
        _: Option<usize>,
    ) -> (Config, Option<(Head, usize)>) {
        let head = layout.outputs.map(|outputs| (Head::Linear, outputs));
        (layout.config.clone(), head)
    }

    fn published_layout(config: &Config, head: Option<(Head, usize)>) -> Layout {
        Layout {
            config: config.clone(),
            outputs: head.map(|(_, outputs)| outputs),
        }
    }
}
