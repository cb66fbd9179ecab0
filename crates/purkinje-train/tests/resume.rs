//! A run that was interrupted anywhere ends with the weights of one that was not.

use burn::tensor::{Device, Tensor};
use purkinje_models::clear::{Clear, ClearBatch, ClearConfig, Masking};
use purkinje_models::layers::{Context, Weights};
use purkinje_models::random::Stream;
use purkinje_signal::beats::{BEATS_PER_LEAD, BeatTokens, TOKEN_SAMPLES};
use purkinje_train::clear::Pretraining;
use purkinje_train::optimizer::AdamwConfig;
use purkinje_train::run_log::read_run_log;
use purkinje_train::{Decay, Objective, RunFolder, TrainConfig, TrainError, train};

fn records() -> Vec<BeatTokens> {
    (0..6u64)
        .map(|seed| {
            let mut noise = Stream::new(seed, "record");
            let n = 2 * BEATS_PER_LEAD;
            BeatTokens {
                samples: (0..n * TOKEN_SAMPLES)
                    .map(|_| noise.normal() as f32)
                    .collect(),
                lead_index: [1u8, 2].iter().flat_map(|l| [*l; BEATS_PER_LEAD]).collect(),
                time_index: vec![1; n],
                padding: vec![false; n],
                r_peaks: Vec::new(),
                detected: true,
            }
        })
        .collect()
}

fn model() -> Clear {
    let config = ClearConfig {
        embed_dim: 16,
        depth: 1,
        heads: 2,
        mlp_dim: 24,
        decoder_embed_dim: 16,
        decoder_depth: 1,
        decoder_heads: 2,
        ..ClearConfig::tiny()
    };
    Clear::random(config, 0, &Device::flex())
}

fn config() -> TrainConfig {
    TrainConfig {
        epochs: 4,
        lr: 1e-2,
        min_lr: 1e-4,
        warmup_epochs: 1,
        decay: Decay::Cosine,
        accumulate: 1,
        seed: 3,
        optimizer: AdamwConfig::pretrain(),
        mixed_precision: false,
        // After every step.
        checkpoint_every_s: 0,
    }
}

/// Fails when the batch of a step is asked for.
struct Killed<'a, O> {
    inner: &'a O,
    at: usize,
}

impl<O: Objective> Objective for Killed<'_, O> {
    type Batch = O::Batch;

    fn steps_per_epoch(&self) -> usize {
        self.inner.steps_per_epoch()
    }

    fn batch_size(&self) -> usize {
        self.inner.batch_size()
    }

    fn batch(&self, step: usize) -> Result<O::Batch, TrainError> {
        if step == self.at {
            return Err(TrainError::Data("killed".into()));
        }
        self.inner.batch(step)
    }

    fn loss(&self, weights: &Weights, batch: &O::Batch, ctx: &Context) -> Tensor<1> {
        self.inner.loss(weights, batch, ctx)
    }

    fn dropout(&self) -> f32 {
        self.inner.dropout()
    }
}

#[test]
fn resumed_runs_end_with_the_same_bits() {
    resumed(&config(), 12, &[1, 2, 5, 11]);
    // Three batches for each update.
    let parts = TrainConfig {
        decay: Decay::Linear,
        accumulate: 3,
        ..config()
    };
    resumed(&parts, 4, &[4, 9, 11]);
}

/// `kills` are the batches before which a run is interrupted.
fn resumed(config: &TrainConfig, updates: usize, kills: &[usize]) {
    let (records, model, device) = (records(), model(), Device::flex());
    let objective = Pretraining::new(model.clone(), &records[..], 2, 3);
    let run = |folder: &RunFolder, at: Option<usize>| {
        let start = model.weights().clone();
        match at {
            None => train(&objective, start, config, folder, &device, &mut ()),
            Some(at) => {
                let killed = Killed {
                    inner: &objective,
                    at,
                };
                train(&killed, start, config, folder, &device, &mut ())
            }
        }
    };
    let whole_dir = tempfile::tempdir().unwrap();
    let folder = |dir: &tempfile::TempDir, resume| RunFolder {
        path: Some(dir.path().to_owned()),
        resume,
    };
    let whole = run(&folder(&whole_dir, false), None).unwrap().to_host();
    assert_ne!(whole, model.weights().to_host());
    let losses = |dir: &tempfile::TempDir| -> Vec<f64> {
        let log = read_run_log(&dir.path().join("log.jsonl")).unwrap();
        log.iter()
            .filter_map(|entry| entry.number("loss"))
            .collect()
    };
    assert_eq!(losses(&whole_dir).len(), updates);
    for &at in kills {
        let dir = tempfile::tempdir().unwrap();
        assert!(run(&folder(&dir, false), Some(at)).is_err());
        let resumed = run(&folder(&dir, true), None).unwrap().to_host();
        assert_eq!(resumed, whole, "interrupted at step {at}");
        assert_eq!(losses(&dir), losses(&whole_dir), "log, interrupted at {at}");
    }
}

#[test]
fn a_checkpoint_of_another_shape_is_refused() {
    let (records, model, device) = (records(), model(), Device::flex());
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder {
        path: Some(dir.path().to_owned()),
        resume: true,
    };
    let objective = Pretraining::new(model.clone(), &records[..], 2, 3);
    train(
        &objective,
        model.weights().clone(),
        &config(),
        &folder,
        &device,
        &mut (),
    )
    .unwrap();
    let wider = ClearConfig {
        embed_dim: 32,
        ..model.config().clone()
    };
    let wider = Clear::random(wider, 0, &device);
    let objective = Pretraining::new(wider.clone(), &records[..], 2, 3);
    let error = train(
        &objective,
        wider.weights().clone(),
        &config(),
        &folder,
        &device,
        &mut (),
    );
    let text = error.unwrap_err().to_string();
    assert!(
        text.contains("checkpoint.safetensors") && text.contains("weights.cls_token"),
        "{text}"
    );
}

#[test]
fn masks_of_a_step_repeat() {
    let (records, model) = (records(), model());
    let objective = Pretraining::new(model, &records[..], 2, 3);
    let draw = |step| -> (ClearBatch, Masking) { objective.batch(step).unwrap() };
    assert_eq!(draw(4).1, draw(4).1);
    assert_ne!(draw(4).1, draw(5).1);
}
