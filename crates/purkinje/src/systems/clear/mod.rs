//! CLEAR and its head HUG: heartbeats in, one vector for each lead out.

mod finetune;
mod groups;
mod hug;
mod import;
pub mod objective;
mod pretrain;
pub mod trainable;

use burn::tensor::Device;
use purkinje_models::clear::{self, BEATS, ClearBatch, ClearConfig, Encoded, Masking};
use purkinje_models::compat::Compat;
use purkinje_models::hug::{Classifier, Head};
use purkinje_models::layers::{Context, WeightError, Weights};
use purkinje_record::LeadSet;
use purkinje_signal::beats::RATE_HZ;
use purkinje_signal::preprocess::BeatSearch;
use purkinje_signal::{BeatTokens, Prepared, Preprocess};
use purkinje_store::Store;
use purkinje_train::TrainError;
use purkinje_train::source::StoreTokens;

use crate::Result;
use crate::beats;
use crate::network::values;
use crate::probe::{FrozenHead, LinearHead};
use crate::system::{About, Level, LevelVectors, Parts, Place, Rows, Sight, Size, Stretch, System};
use crate::windows::BeatCount;

/// Seconds that tokens have an index for.
const TIMES: usize = 15;

/// CLEAR-HUG (AAAI 2026).
pub struct Clear;

impl System for Clear {
    type Config = ClearConfig;
    type Encoder = clear::Clear;
    type Head = Head;
    type Classifier = Classifier;

    const ABOUT: About = About {
        name: "clear",
        title: "CLEAR",
        summary: "masked autoencoder of heartbeats",
        sizes: &[
            Size {
                name: "tiny",
                parameters: "2.3 M",
            },
            Size {
                name: "base",
                parameters: "57 M",
            },
            Size {
                name: "large",
                parameters: "304 M",
            },
        ],
        heads: &["hug", "linear"],
        frozen_heads: &["linear", "hug"],
        levels: &[Level::Recording, Level::Lead, Level::Beat],
        head_levels: &[("hug", Level::Group)],
        features: &[],
        crops: false,
        preset: "clear",
        other_presets: &[],
    };

    const LINEAR: &'static str = "mlp_head.";

    fn size(name: &str) -> Option<ClearConfig> {
        ClearConfig::size(name)
    }

    fn validate(config: &ClearConfig) -> Result<(), String> {
        config.validate()
    }

    fn compat(config: &ClearConfig) -> Compat {
        config.compat
    }

    fn with_compat(config: ClearConfig, compat: Compat) -> ClearConfig {
        config.with_compat(compat)
    }

    fn config(encoder: &clear::Clear) -> &ClearConfig {
        encoder.config()
    }

    fn encoder(config: ClearConfig, weights: Weights) -> Result<clear::Clear, WeightError> {
        clear::Clear::new(config, weights)
    }

    fn random(config: ClearConfig, seed: u64, device: &Device) -> clear::Clear {
        clear::Clear::random(config, seed, device)
    }

    fn kept_with_head(config: &ClearConfig) -> Vec<(String, Vec<usize>)> {
        config.parameters()
    }

    fn head(name: &str) -> Option<Head> {
        [Head::Hug, Head::Linear]
            .into_iter()
            .find(|head| head.to_string() == name)
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

    fn frozen_head(name: &str) -> Option<Box<dyn FrozenHead>> {
        match name {
            "linear" => Some(Box::new(LinearHead::new(Self::LINEAR))),
            "hug" => Some(Box::new(hug::HugHead)),
            _ => None,
        }
    }

    fn classifier(
        encoder: clear::Clear,
        head: Head,
        outputs: usize,
    ) -> Result<Classifier, WeightError> {
        Classifier::new(encoder, head, outputs)
    }

    fn see(
        _: &clear::Clear,
        prepared: &Prepared,
        contract: &Preprocess,
        _: usize,
    ) -> Result<Vec<BeatTokens>, String> {
        let cut = beats::cut(prepared, contract)?;
        let tokens = cut
            .tokens
            .ok_or("the largest sample of all leads is exactly 0: nothing was recorded")?;
        Ok(vec![tokens])
    }

    fn rows<'a>(
        _: &clear::Clear,
        store: &'a Store,
        rows: Vec<usize>,
        contract: &Preprocess,
        _: Compat,
        _: u64,
    ) -> Result<Rows<'a, clear::Clear>, TrainError> {
        Ok(Box::new(StoreTokens::new(store, rows, contract)?))
    }

    /// The published program looks for R-peaks in the second of the leads it is given, whichever that is.
    fn followed(contract: Preprocess, compat: Compat) -> Preprocess {
        match compat {
            Compat::Paper => contract,
            Compat::Released => contract.with_beats(BeatSearch::RELEASED),
        }
    }

    fn alike(a: &BeatTokens, b: &BeatTokens) -> bool {
        a.lead_index == b.lead_index
    }

    fn check(input: &BeatTokens) -> Result<(), String> {
        match input.time_index.iter().max() {
            Some(&last) if usize::from(last) > TIMES => Err(format!(
                "its first {BEATS} beats take more than the {TIMES} s that the network can place; give it windows with `--windows first` or `--windows all`"
            )),
            _ => Ok(()),
        }
    }

    fn beats(input: &BeatTokens) -> Option<BeatCount> {
        let found = if input.detected {
            input.r_peaks.len()
        } else {
            0
        };
        Some(BeatCount {
            used: found.min(BEATS),
            found,
        })
    }

    fn vector_leads(batch: &ClearBatch) -> Vec<usize> {
        batch.leads.clone()
    }

    fn embed(
        encoder: &clear::Clear,
        batch: &ClearBatch,
        sights: &[&Sight<BeatTokens>],
        level: Level,
        ctx: &Context,
    ) -> Result<LevelVectors> {
        let masking = Masking::all(batch.token_count());
        let Encoded { cls, beats } = encoder.encode(batch, &masking, ctx);
        let vectors = match level {
            Level::Lead => values(cls)?,
            Level::Beat => values(beats)?,
            Level::Group => values(Head::Hug.groups(cls, &batch.leads, encoder.weights(), ctx))?,
            Level::Recording | Level::Token => values(cls.mean_dim(1))?,
        };
        let groups = groups::present(&batch.leads);
        let places = sights.iter().map(|sight| match level {
            Level::Recording | Level::Token => vec![Some(Place::default())],
            Level::Lead => lead_places(&sight.leads),
            Level::Group => group_places(&groups),
            Level::Beat => beat_places(sight),
        });
        Ok(LevelVectors {
            values: vectors,
            places: places.collect(),
        })
    }

    fn explains(_: Head) -> bool {
        true
    }

    fn contributions(
        encoder: &clear::Clear,
        head: Head,
        batch: &ClearBatch,
        _: &LeadSet,
        ctx: &Context,
    ) -> Result<Parts> {
        let masking = Masking::all(batch.token_count());
        let cls = encoder.encode(batch, &masking, ctx).cls;
        let (bias, parts) = head.contributions(cls, &batch.leads, encoder.weights(), ctx);
        Ok(Parts {
            bias: values(bias)?,
            contributions: values(parts)?,
        })
    }

    /// Each beat by what the vectors of all leads attend to, on average.
    fn attention(
        encoder: &clear::Clear,
        batch: &ClearBatch,
        sights: &[&Sight<BeatTokens>],
        ctx: &Context,
    ) -> Result<Vec<Vec<Stretch>>> {
        let attention = values(encoder.lead_attention(batch, ctx))?;
        let leads = batch.leads.len();
        let places = leads * BEATS;
        let records = attention.chunks_exact(leads * places).zip(sights);
        let stretches = records.map(|(attention, sight)| {
            let peaks = sight.crops.first().map_or(&[][..], |cut| &cut.r_peaks);
            let spans = beats::spans(sight.samples, peaks);
            (0..leads)
                .flat_map(|lead| {
                    let beats = spans.iter().take(BEATS).enumerate();
                    beats.map(move |(beat, &(start, end))| {
                        let rows =
                            (0..leads).map(|row| attention[row * places + lead * BEATS + beat]);
                        Stretch {
                            lead,
                            time_s: (start as f64 / RATE_HZ, end as f64 / RATE_HZ),
                            weight: rows.sum::<f32>() / leads as f32,
                            uniform: 1.0 / places as f32,
                        }
                    })
                })
                .collect()
        });
        Ok(stretches.collect())
    }
}

fn lead_places(leads: &LeadSet) -> Vec<Option<Place>> {
    let place = |lead: &purkinje_record::Lead| {
        Some(Place {
            lead: Some(lead.clone()),
            ..Place::default()
        })
    };
    leads.leads().iter().map(place).collect()
}

fn group_places(groups: &[&'static str]) -> Vec<Option<Place>> {
    let place = |group: &&'static str| {
        Some(Place {
            group: Some(std::borrow::Cow::Borrowed(group)),
            ..Place::default()
        })
    };
    groups.iter().map(place).collect()
}

fn beat_places(sight: &Sight<BeatTokens>) -> Vec<Option<Place>> {
    let Some(tokens) = sight.crops.first() else {
        return Vec::new();
    };
    let leads = sight.leads.leads();
    let places = tokens.padding.iter().enumerate();
    places
        .map(|(place, padding)| {
            let beat = place % BEATS;
            let peak = tokens.r_peaks.get(beat);
            (!padding).then(|| Place {
                lead: leads.get(place / BEATS).cloned(),
                number: Some(beat),
                time_s: peak.map(|&sample| sample as f64 / RATE_HZ),
                ..Place::default()
            })
        })
        .collect()
}
