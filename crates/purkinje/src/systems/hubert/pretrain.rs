//! HuBERT-ECG's pre-training: iterations of describing tokens, clustering what describes them, and predicting the clusters of
//! hidden tokens.

use purkinje_cluster::features::Features;
use purkinje_cluster::{CodeBook, Ensemble, MAX_CLUSTERS, book_file};
use purkinje_models::compat::Compat;
use purkinje_models::hubert::{self, HubertBatch, HubertConfig};
use purkinje_models::layers::{Context, Weights};
use purkinje_signal::Preprocess;
use purkinje_signal::descriptors::Kind;
use purkinje_signal::hubert_input::CROP_SAMPLES;
use purkinje_train::early_stopping::Behaviour;
use purkinje_train::optimizer::OptimizerConfig;
use purkinje_train::schedule::epochs_for;
use purkinje_train::source::{Look, Source as _};
use purkinje_train::{Schedule, TrainConfig, TrainError, Validated};
use serde::{Deserialize, Serialize};

use super::Hubert;
use super::code_books::{BATCH, BOOKS, Part, fit};
use super::codes::CodedCrops;
use super::objective::CodeTraining;
use crate::keys::{Key, boolean, fraction, joined, key, parsed, word, word_of};
use crate::pretrain::{Learned, Own, OwnOf, Pretrains, RunOf, Stage, Stages};
use crate::reporter::uninterrupted;
use crate::{Device, Error, Reporter, Result};

/// What only HuBERT-ECG's pre-training has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Fraction that hidden tokens have in the loss.
    pub alpha: f64,
    /// What the first iteration describes tokens by.
    pub descriptors: Kind,
    /// Clusters of the code books of each iteration.
    pub clusters: Vec<Vec<usize>>,
    /// Numbers of clusters that are measured beside them.
    pub curve: Vec<usize>,
    /// The layer whose states later iterations cluster.
    pub layer: usize,
    /// Features stay when their clusters are known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_features: bool,
}

type OwnOfHubert = Own<HubertConfig, Settings>;

impl Pretrains for Hubert {
    type Settings = Settings;

    fn pretrain_keys() -> Vec<Key<OwnOfHubert>> {
        vec![
            Key {
                key: "clusters",
                help: "clusters of the code book of each iteration, as many as there are iterations; several of one iteration, joined by +, make an ensemble: N,N+N,...",
                get: |own| {
                    let books = own.settings.clusters.iter();
                    joined(books.map(|counts| joined(counts, "+")), ",")
                },
                set: |own, text| {
                    own.settings.clusters = text.split(',').map(books).collect::<Result<_, _>>()?;
                    Ok(())
                },
            },
            Key {
                key: "curve",
                help: "also fit and measure code books of these numbers of clusters: N,N,...",
                get: |own| match own.settings.curve.as_slice() {
                    [] => "none".to_owned(),
                    counts => joined(counts, ","),
                },
                set: |own, text| {
                    own.settings.curve = match text {
                        "" | "none" => Vec::new(),
                        text => text.split(',').map(count).collect::<Result<_, _>>()?,
                    };
                    Ok(())
                },
            },
            Key {
                key: "descriptors",
                help: "what the first iteration describes tokens by: cepstra, time_frequency or mixed",
                get: |own| word_of(&own.settings.descriptors),
                set: |own, text| {
                    own.settings.descriptors = word::<Kind>(&text.replace('-', "_"))?;
                    Ok(())
                },
            },
            key!(
                "layer",
                "the layer whose states later iterations cluster; two thirds of the depth",
                own.settings.layer,
                |text| parsed(text, "the number of a layer")
            ),
            key!(
                "alpha",
                "fraction that hidden tokens have in the loss; the rest is that of visible ones",
                own.settings.alpha,
                fraction
            ),
            key!(
                "keep-features",
                "keep the features of every iteration when their clusters are known: true or false",
                own.settings.keep_features,
                boolean
            ),
        ]
    }

    fn settings(network: &HubertConfig) -> Settings {
        Settings {
            alpha: 1.0,
            descriptors: Kind::Cepstra,
            clusters: vec![vec![100], vec![500]],
            curve: Vec::new(),
            layer: (2 * network.num_hidden_layers).div_ceil(3),
            keep_features: false,
        }
    }

    /// The published rate is for batches of 448 and hundreds of thousands of steps.
    fn training(size: &str) -> TrainConfig {
        TrainConfig {
            epochs: 20,
            schedule: Schedule::linear(if size == "tiny" { 1e-3 } else { 5e-5 }),
            optimizer: OptimizerConfig::hubert(),
            ..TrainConfig::default()
        }
    }

    fn check_pretraining(own: &OwnOfHubert) -> Result<(), String> {
        let Settings {
            alpha,
            clusters,
            layer,
            ..
        } = &own.settings;
        if !(0.0..=1.0).contains(alpha) {
            return Err(format!(
                "`alpha` is {alpha}, expected a fraction from 0 to 1"
            ));
        }
        if clusters.is_empty() || clusters.iter().any(Vec::is_empty) {
            return Err("`clusters` names no code book for an iteration".to_owned());
        }
        let layers = own.network.num_hidden_layers;
        match *layer <= layers {
            true => Ok(()),
            false => Err(format!(
                "`layer` is {layer}, but the network has {layers} layers"
            )),
        }
    }

    fn stopping(compat: Compat) -> Behaviour {
        match compat {
            Compat::Paper => Behaviour::Paper,
            Compat::Released => Behaviour::ReleasedPretrain,
        }
    }

    fn contract(_: &Preprocess) -> Preprocess {
        Preprocess::hubert()
    }

    fn least_seconds(_: &OwnOfHubert) -> Option<f64> {
        Some(CROP_SAMPLES as f64 / Preprocess::hubert().rate_hz)
    }

    fn stages(own: &OwnOf<Self>) -> Stages {
        let numbers = 1..=own.settings.clusters.len();
        Stages::Several(numbers.map(|n| format!("iteration-{n}")).collect())
    }

    /// The published program ends with an epoch.
    fn stage_training(config: &RunOf<Self>, number: usize, records: usize) -> Result<TrainConfig> {
        let mut train = config.train.clone();
        train.seed = train.seed.wrapping_add(number as u64 - 1);
        if let (Compat::Released, Some(updates)) = (config.network.compat, train.updates) {
            let batches = records / config.batch;
            let epochs = epochs_for(updates, batches, train.accumulate, true);
            (train.epochs, _) = epochs.map_err(TrainError::from)?;
            train.ends_with_epoch = true;
        }
        Ok(train)
    }

    fn begin(
        config: &RunOf<Self>,
        number: usize,
        before: Option<&hubert::Hubert>,
        device: &Device,
    ) -> Result<hubert::Hubert> {
        let clusters = config.settings.clusters[number - 1].clone();
        let (seed, device) = (config.train.seed, device.inner());
        Ok(match before {
            Some(before) => {
                before.next_iteration(clusters, seed.wrapping_add(number as u64), device)
            }
            None => {
                let network = HubertConfig {
                    vocab_sizes: clusters,
                    ..config.network.clone()
                };
                hubert::Hubert::random(network, seed, device)
            }
        })
    }

    fn stage(
        stage: &Stage<'_, Self>,
        encoder: &hubert::Hubert,
        before: Option<&hubert::Hubert>,
    ) -> Result<Learned> {
        let part = Part {
            stage,
            rows: stage.rows,
            dir: stage.dir.clone(),
            before,
        };
        let codes = part.codes(&|features| fit(stage, features))?;
        let source = CodedCrops::new(part.crops()?, codes)?;
        let held_out = held_out(stage, before)?;
        let validate = |weights: &Weights| {
            let ctx = Context::inference(stage.device.inner());
            match &held_out {
                Some(source) => {
                    let model = encoder.with_weights(weights.clone());
                    validated(&model, source, &ctx, stage.reporter)
                }
                None => Err(TrainError::Data("nothing to validate on".into())),
            }
        };
        let (batch, seed) = (stage.config.batch, stage.train.seed);
        let alpha = stage.config.settings.alpha;
        let objective = CodeTraining::new(encoder.clone(), &source, batch, alpha, seed);
        stage.learn(encoder, &objective, Some(&validate))
    }
}

/// The validation part with its clusters, if the run validates. The code books are those of the training part.
fn held_out<'a>(
    stage: &'a Stage<'_, Hubert>,
    before: Option<&'a hubert::Hubert>,
) -> Result<Option<CodedCrops<'a>>> {
    if stage.validation.is_empty() {
        return Ok(None);
    }
    let part = Part {
        stage,
        rows: stage.validation,
        dir: stage.dir.join("validation"),
        before,
    };
    std::fs::create_dir_all(&part.dir)
        .map_err(|error| Error::file("make the folder", &part.dir, error))?;
    let fitted = |_: &Features| {
        let folder = stage.dir.join(BOOKS);
        let books = part.clusters().iter();
        let books = books.map(|&count| CodeBook::load(&folder.join(book_file(count))));
        Ok(Ensemble::new(books.collect::<Result<_, _>>()?)?)
    };
    let codes = part.codes(&fitted)?;
    Ok(Some(CodedCrops::new(part.crops()?, codes)?))
}

/// All tokens visible, loss and accuracy over all of them, as published.
fn validated(
    model: &hubert::Hubert,
    source: &CodedCrops<'_>,
    ctx: &Context,
    reporter: &dyn Reporter,
) -> Result<Validated, TrainError> {
    let (mut loss, mut accuracy) = (0.0, 0.0);
    let all: Vec<usize> = (0..source.len()).collect();
    for chunk in all.chunks(BATCH) {
        uninterrupted(reporter)?;
        let (mut inputs, mut codes) = (Vec::new(), Vec::new());
        for &index in chunk {
            let (input, own) = source.see(index, Look::Whole)?;
            inputs.push(input);
            codes.extend(own);
        }
        let batch = HubertBatch::new(model.config(), &inputs)?;
        let found = model.validate_codes(&batch, &codes, ctx);
        loss += found.0 * chunk.len() as f64;
        accuracy += found.1 * chunk.len() as f64;
    }
    Ok(Validated {
        loss: Some(loss / all.len() as f64),
        metric: Some(accuracy / all.len() as f64),
        ..Validated::default()
    })
}

fn count(text: &str) -> Result<usize, String> {
    match text.trim().parse::<usize>() {
        Ok(count) if (2..=MAX_CLUSTERS).contains(&count) => Ok(count),
        _ => Err(format!(
            "`{text}` is no number of clusters: expected 2 to {MAX_CLUSTERS}"
        )),
    }
}

fn books(text: &str) -> Result<Vec<usize>, String> {
    text.split('+').map(count).collect()
}
