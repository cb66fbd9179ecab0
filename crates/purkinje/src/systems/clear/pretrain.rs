//! CLEAR's pre-training: one stage, masked reconstruction of heartbeats.

use purkinje_models::clear::{self, ClearBatch, ClearConfig, Masking};
use purkinje_models::layers::Context;
use purkinje_models::random::Stream;
use purkinje_train::source::{Look, Source as _, StoreTokens};
use purkinje_train::{Schedule, TrainConfig, TrainError, Validated};

use super::Clear;
use super::objective::Pretraining;
use crate::keys::{Key, NoSettings, boolean, fraction, key};
use crate::pretrain::{Learned, Own, Pretrains, Stage};
use crate::reporter::uninterrupted;
use crate::{Reporter, Result};

/// Records of one pass of a validation.
const BATCH: usize = 32;

type OwnOfClear = Own<ClearConfig, NoSettings>;

impl Pretrains for Clear {
    type Settings = NoSettings;

    fn pretrain_keys() -> Vec<Key<OwnOfClear>> {
        vec![
            key!(
                "mask-ratio",
                "fraction of tokens hidden",
                own.network.mask_ratio,
                fraction
            ),
            key!(
                "encoder-mask",
                "what lead vectors may not attend to: none, additive or boolean",
                own.network.encoder_mask
            ),
            key!(
                "token-context",
                "what a token sees of its neighbours: circular, kept or own",
                own.network.token_context
            ),
            key!(
                "skip-padding",
                "leave empty beat slots out of attention and loss: true or false",
                own.network.skip_padding,
                boolean
            ),
        ]
    }

    fn settings(_: &ClearConfig) -> NoSettings {
        NoSettings {}
    }

    fn training(size: &str) -> TrainConfig {
        let config = TrainConfig::default();
        TrainConfig {
            schedule: Schedule {
                lr: if size == "tiny" { 1e-3 } else { 5e-4 },
                ..config.schedule
            },
            ..config
        }
    }

    fn stage(
        stage: &Stage<'_, Self>,
        encoder: &clear::Clear,
        _: Option<&clear::Clear>,
    ) -> Result<Learned> {
        let tokens = |rows: &[usize]| StoreTokens::new(stage.store, rows.to_vec(), stage.contract);
        let source = tokens(stage.rows)?;
        let (batch, seed) = (stage.config.batch, stage.train.seed);
        let objective = Pretraining::new(encoder.clone(), &source, batch, seed);
        let held_out = tokens(stage.validation)?;
        let validate = |weights: &_| {
            let ctx = Context::inference(stage.device.inner());
            validated(
                &encoder.with_weights(Clone::clone(weights)),
                &held_out,
                seed,
                &ctx,
                stage.reporter,
            )
        };
        stage.learn(encoder, &objective, Some(&validate))
    }
}

/// Reconstruction of held-out heartbeats under masks that are the same in every validation. The metric is what is left of the
/// variance of standardised samples: 0 is what predicting zeros would give.
fn validated(
    model: &clear::Clear,
    source: &StoreTokens<'_>,
    seed: u64,
    ctx: &Context,
    reporter: &dyn Reporter,
) -> Result<Validated, TrainError> {
    let masks = Stream::new(seed, "validation mask");
    let all: Vec<usize> = (0..source.len()).collect();
    let mut loss = 0.0;
    for (number, chunk) in (0..).zip(all.chunks(BATCH)) {
        uninterrupted(reporter)?;
        let inputs = chunk.iter().map(|&index| source.see(index, Look::Whole));
        let batch = ClearBatch::new(&inputs.collect::<Result<Vec<_>, _>>()?)?;
        let masking = Masking::random(model.config(), &batch, &mut masks.at(number));
        let found = model.reconstruct(&batch, &masking, ctx).loss;
        loss += f64::from(found.into_scalar::<f32>()) * chunk.len() as f64;
    }
    let loss = loss / all.len().max(1) as f64;
    Ok(Validated {
        loss: Some(loss),
        metric: Some(1.0 - loss),
        ..Validated::default()
    })
}
