//! HuBERT-ECG: the leads end to end in, one vector for each token out; their mean stands for the recording.

mod code_books;
pub mod codes;
pub mod cutter;
mod finetune;
mod import;
pub mod objective;
mod places;
mod pretrain;
pub mod recipes;
pub mod trainable;
pub mod tuning;
mod two_classes;

use burn::Tensor;
use burn::tensor::Device;
use purkinje_eval::bootstrap::Unit;
use purkinje_eval::metrics::SingleClass;
use purkinje_models::compat::Compat;
use purkinje_models::hubert::{
    self, FrontEnd, Head, HeadActivation, HubertBatch, HubertClassifier, HubertConfig, HubertInput,
};
use purkinje_models::layers::{Context, WeightError, Weights};
use purkinje_record::LeadSet;
use purkinje_signal::hubert_input::{CROP_SAMPLES, DECIMATION};
use purkinje_signal::{Prepared, Preprocess};
use purkinje_store::Store;
use purkinje_train::TrainError;
use purkinje_train::source::{Cut as _, Look};

use self::cutter::{HubertCutter, StoreCrops};
use crate::Result;
use crate::network::values;
use crate::system::{
    About, EvaluationRules, Level, LevelVectors, Parts, Place, Rows, Sight, Size, Stretch, System,
};

/// Width of the hidden layer of the head of two layers.
const HIDDEN: usize = 512;

/// HuBERT-ECG (2024).
pub struct Hubert;

impl System for Hubert {
    type Config = HubertConfig;
    type Encoder = hubert::Hubert;
    type Head = Head;
    type Classifier = HubertClassifier;

    const ABOUT: About = About {
        name: "hubert",
        title: "HuBERT-ECG",
        summary: "masked prediction of clusters, in iterations",
        sizes: &[
            Size {
                name: "tiny",
                parameters: "1 M",
            },
            Size {
                name: "small",
                parameters: "30 M",
            },
            Size {
                name: "base",
                parameters: "93 M",
            },
            Size {
                name: "large",
                parameters: "188 M",
            },
        ],
        heads: &["linear", "mlp", "label-embedding"],
        frozen_heads: &["linear"],
        levels: &[Level::Recording, Level::Lead, Level::Token],
        head_levels: &[],
        features: &[],
        crops: true,
        preset: "hubert",
        other_presets: &[],
    };

    const LINEAR: &'static str = "classifier.";

    fn size(name: &str) -> Option<HubertConfig> {
        HubertConfig::size(name)
    }

    fn validate(config: &HubertConfig) -> Result<(), String> {
        config.validate()
    }

    fn compat(config: &HubertConfig) -> Compat {
        config.compat
    }

    fn with_compat(config: HubertConfig, compat: Compat) -> HubertConfig {
        HubertConfig { compat, ..config }
    }

    fn config(encoder: &hubert::Hubert) -> &HubertConfig {
        encoder.config()
    }

    fn encoder(config: HubertConfig, weights: Weights) -> Result<hubert::Hubert, WeightError> {
        hubert::Hubert::new(config, weights)
    }

    fn random(config: HubertConfig, seed: u64, device: &Device) -> hubert::Hubert {
        hubert::Hubert::random(config, seed, device)
    }

    /// Without code books and the vector for hidden tokens: no classifier uses them.
    fn kept_with_head(config: &HubertConfig) -> Vec<(String, Vec<usize>)> {
        config.encoder_parameters()
    }

    fn head(name: &str) -> Option<Head> {
        match name {
            "linear" => Some(Head::Linear),
            "mlp" | "two-layer" => Some(Head::Mlp {
                hidden: HIDDEN,
                activation: HeadActivation::default(),
            }),
            "label-embedding" => Some(Head::LabelEmbedding),
            _ => None,
        }
    }

    fn head_parameters(head: Head, width: usize, outputs: usize) -> Vec<(String, Vec<usize>)> {
        head.parameters(width, outputs)
    }

    fn initialise_head(
        head: Head,
        weights: &mut Weights,
        width: usize,
        outputs: usize,
        seed: u64,
        device: &Device,
    ) {
        head.initialise(weights, width, outputs, seed, device);
    }

    fn evaluation(compat: Compat) -> EvaluationRules {
        match compat {
            Compat::Paper => EvaluationRules::default(),
            Compat::Released => EvaluationRules {
                single_class: SingleClass::Zero,
                unit: Unit::RecordsByLabels,
                seed: Some(42),
            },
        }
    }

    fn classifier(
        encoder: hubert::Hubert,
        head: Head,
        outputs: usize,
    ) -> Result<HubertClassifier, WeightError> {
        HubertClassifier::new(encoder, head, outputs)
    }

    /// Crops at the places where those of a store are.
    fn see(
        encoder: &hubert::Hubert,
        prepared: &Prepared,
        _: &Preprocess,
        crops: usize,
    ) -> Result<Vec<HubertInput>, String> {
        let (samples, decimation) = crop(encoder.config());
        let cutter = HubertCutter::new(samples, decimation).map_err(|error| error.to_string())?;
        // Stored samples are single precision; a recording and its store give one input.
        let rows: Vec<f32> = prepared.rows.iter().map(|&v| v as f32).collect();
        let leads = prepared.leads.len();
        let cut = (0..crops).map(|k| cutter.cut(&rows, leads, 0, Look::Crop { k, n: crops }));
        let cut = cut.collect::<Result<_, _>>();
        cut.map_err(|error| error.to_string())
    }

    fn rows<'a>(
        encoder: &hubert::Hubert,
        store: &'a Store,
        rows: Vec<usize>,
        contract: &Preprocess,
        compat: Compat,
        seed: u64,
    ) -> Result<Rows<'a, hubert::Hubert>, TrainError> {
        let (samples, decimation) = crop(encoder.config());
        let cutter = HubertCutter::new(samples, decimation)?;
        let cutter = match compat {
            Compat::Paper => cutter,
            Compat::Released => cutter.from_long_pieces(seed),
        };
        Ok(Box::new(StoreCrops::new(store, rows, contract, cutter)?))
    }

    fn crop_samples(encoder: &hubert::Hubert) -> Option<usize> {
        Some(crop(encoder.config()).0)
    }

    fn alike(a: &HubertInput, b: &HubertInput) -> bool {
        a.samples.len() == b.samples.len()
    }

    /// The vector of a lead is the mean of the tokens that lie in it.
    fn embed(
        encoder: &hubert::Hubert,
        batch: &HubertBatch,
        sights: &[&Sight<HubertInput>],
        level: Level,
        ctx: &Context,
    ) -> Result<LevelVectors> {
        let states = encoder.encode(batch, None, ctx).last;
        let [_, count, width] = states.dims();
        if !matches!(level, Level::Token | Level::Lead) {
            let means = values(states.mean_dim(1))?;
            return Ok(LevelVectors::of_recordings(means, sights.len()));
        }
        let states = values(states)?;
        let mut found = LevelVectors {
            values: Vec::new(),
            places: Vec::new(),
        };
        for (tokens, sight) in states.chunks_exact(count * width).zip(sights) {
            let leads = sight.leads.leads();
            let places = places::of_tokens(encoder.config(), leads.len());
            if level == Level::Token {
                found.values.extend_from_slice(tokens);
                let own = places.iter().enumerate().map(|(number, place)| {
                    Some(Place {
                        lead: Some(leads[place.lead].clone()),
                        number: Some(number),
                        time_s: Some(place.time_s.0),
                        ..Place::default()
                    })
                });
                found.places.push(own.collect());
                continue;
            }
            let mut own = Vec::new();
            for (number, lead) in leads.iter().enumerate() {
                let mut sum = vec![0.0; width];
                let mut tokens_of_lead = 0.0f32;
                let tokens = tokens.chunks_exact(width).zip(&places);
                for (token, _) in tokens.filter(|(_, place)| place.lead == number) {
                    tokens_of_lead += 1.0;
                    sum.iter_mut().zip(token).for_each(|(s, t)| *s += t);
                }
                sum.iter_mut().for_each(|s| *s /= tokens_of_lead.max(1.0));
                found.values.extend(sum);
                own.push(Some(Place {
                    lead: Some(lead.clone()),
                    ..Place::default()
                }));
            }
            found.places.push(own);
        }
        Ok(found)
    }

    fn explains(head: Head) -> bool {
        head == Head::Linear
    }

    /// The mean of the tokens under a linear layer is a sum over tokens, so it is one over leads: each token counts for
    /// the lead its middle lies in.
    fn contributions(
        encoder: &hubert::Hubert,
        head: Head,
        batch: &HubertBatch,
        leads: &LeadSet,
        ctx: &Context,
    ) -> Result<Parts> {
        let weights = encoder.weights();
        let states = encoder.encode(batch, None, ctx).last;
        let [records, count, width] = states.dims();
        let bias = head.logits(Tensor::zeros([1, width], ctx.device()), weights, ctx);
        let bias = values(bias)?;
        let classes = bias.len();
        let each = states.reshape([records * count, width]) / count as f32;
        let each = values(head.logits(each, weights, ctx))?;
        let places = places::of_tokens(encoder.config(), leads.len());
        let mut contributions = vec![0.0; records * leads.len() * classes];
        let records = each.chunks_exact(count * classes);
        for (all, tokens) in contributions
            .chunks_exact_mut(leads.len() * classes)
            .zip(records)
        {
            for (token, place) in tokens.chunks_exact(classes).zip(&places) {
                let own = &mut all[place.lead * classes..(place.lead + 1) * classes];
                for ((own, part), bias) in own.iter_mut().zip(token).zip(&bias) {
                    *own += part - bias;
                }
            }
        }
        Ok(Parts {
            bias,
            contributions,
        })
    }

    /// Each token by the mean over heads of the last layer and over the tokens that listen.
    fn attention(
        encoder: &hubert::Hubert,
        batch: &HubertBatch,
        sights: &[&Sight<HubertInput>],
        ctx: &Context,
    ) -> Result<Vec<Vec<Stretch>>> {
        let last = encoder.config().num_hidden_layers - 1;
        let attention = encoder.attention_of_layer(batch, last, ctx);
        let count = attention.dims()[3];
        let attention = values(attention.mean_dim(1).mean_dim(2))?;
        let records = attention.chunks_exact(count).zip(sights);
        let stretches = records.map(|(attention, sight)| {
            let places = places::of_tokens(encoder.config(), sight.leads.len());
            let places = places.iter().zip(attention);
            places
                .map(|(place, &weight)| Stretch {
                    lead: place.lead,
                    time_s: place.time_s,
                    weight,
                    uniform: 1.0 / count as f32,
                })
                .collect()
        });
        Ok(stretches.collect())
    }
}

/// Samples of a lead in one crop at 500 Hz, and the factor of decimation the front end expects.
pub fn crop(config: &HubertConfig) -> (usize, Option<usize>) {
    let decimation = match FrontEnd::of_kernels(&config.conv_kernel) {
        Some(FrontEnd::Hz500) => None,
        Some(FrontEnd::Hz50) => Some(10),
        _ => Some(DECIMATION),
    };
    (CROP_SAMPLES, decimation)
}
