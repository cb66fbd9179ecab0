//! A run that was interrupted anywhere ends with the weights of one that was not.

use burn::tensor::Device;
use purkinje::systems::clear::objective::Pretraining;
use purkinje_models::clear::{Clear, ClearBatch, ClearConfig, Masking};
use purkinje_models::layers::{Context, Weights};
use purkinje_models::random::Stream;
use purkinje_signal::beats::{BEATS_PER_LEAD, BeatTokens, TOKEN_SAMPLES};
use purkinje_train::early_stopping::{Behaviour, StoppingConfig};
use purkinje_train::run_log::read_run_log;
use purkinje_train::{
    Learning, Losses, Objective, Observer, RunFolder, Schedule, Span, TrainConfig, TrainError,
    Validated, ValidationConfig, train,
};

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
        schedule: Schedule::cosine(1e-2, 1e-4, Span::Epochs(1)),
        seed: 3,
        // After every step.
        checkpoint_every_s: 0,
        ..TrainConfig::default()
    }
}

/// Fails when the batch of a step is asked for.
struct Killed<'a, O> {
    inner: &'a O,
    at: usize,
}

impl<O: Objective> Objective for Killed<'_, O> {
    type Batch = O::Batch;

    fn name(&self) -> &str {
        self.inner.name()
    }

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

    fn losses(&self, weights: &Weights, batch: &O::Batch, ctx: &Context) -> Losses {
        self.inner.losses(weights, batch, ctx)
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
        schedule: Schedule::linear(1e-2),
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
    let whole = run(&folder(&whole_dir, false), None)
        .unwrap()
        .weights
        .to_host();
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
        let resumed = run(&folder(&dir, true), None).unwrap().weights.to_host();
        assert_eq!(resumed, whole, "interrupted at step {at}");
        assert_eq!(losses(&dir), losses(&whole_dir), "log, interrupted at {at}");
    }
}

/// Validates by what the weights are, so that a resumed run must see the same.
struct Judge(Vec<usize>);

impl Observer for Judge {
    fn validate(
        &mut self,
        step: usize,
        weights: &Weights,
    ) -> Result<Option<Validated>, TrainError> {
        self.0.push(step);
        let sum: f32 = weights.to_host().iter().flat_map(|(_, _, v)| v).sum();
        // Falls, then stays: five validations without improvement end the run.
        let loss = if step < 4 { 1.0 / step as f64 } else { 1.0 };
        Ok(Some(Validated {
            loss: Some(loss),
            metric: Some(f64::from(sum).sin().abs() * 1e-6),
            ..Validated::default()
        }))
    }
}

#[test]
fn validation_stops_a_run_and_a_resumed_one_at_the_same_step() {
    let (records, model, device) = (records(), model(), Device::flex());
    let objective = Pretraining::new(model.clone(), &records[..], 2, 3);
    let config = TrainConfig {
        validation: Some(ValidationConfig {
            every: Some(1),
            stopping: Some(StoppingConfig {
                patience: 5,
                intervals: 2,
                dynamic_regularisation: true,
                behaviour: Behaviour::Paper,
            }),
            ..ValidationConfig::default()
        }),
        ..config()
    };
    let run = |dir: &tempfile::TempDir, resume, at| {
        let folder = RunFolder {
            path: Some(dir.path().to_owned()),
            resume,
        };
        let mut judge = Judge(Vec::new());
        let killed = Killed {
            inner: &objective,
            at,
        };
        let start = model.weights().clone();
        let result = train(&killed, start, &config, &folder, &device, &mut judge);
        (result, judge.0)
    };
    let dir = tempfile::tempdir().unwrap();
    let (whole, seen) = run(&dir, false, usize::MAX);
    let whole = whole.unwrap();
    assert_eq!((whole.steps, seen), (8, (1..=8).collect::<Vec<_>>()));
    let kept = whole.kept.as_ref().unwrap();
    let log = read_run_log(&dir.path().join("log.jsonl")).unwrap();
    let decay: Vec<f64> = log
        .iter()
        .filter_map(|e| e.number("weight_decay"))
        .collect();
    // Two validations without improvement make a penalty, four make two.
    assert_eq!(decay[2..6], [0.05, 0.05, 0.25, 0.25]);
    assert_eq!(decay[6], 1.25);
    // A run that is over stays over.
    let (again, seen) = run(&dir, true, usize::MAX);
    let again = again.unwrap();
    assert!(seen.is_empty() && again.steps == 8);
    assert_eq!(again.kept.unwrap().step, kept.step);
    // Chosen weights that are gone are not silently replaced by the last.
    std::fs::remove_file(dir.path().join("best.safetensors")).unwrap();
    let error = run(&dir, true, usize::MAX).0.unwrap_err().to_string();
    assert!(error.contains("best.safetensors"), "{error}");
    for at in [1, 4, 6, 7] {
        let dir = tempfile::tempdir().unwrap();
        assert!(run(&dir, false, at).0.is_err());
        let resumed = run(&dir, true, usize::MAX).0.unwrap();
        assert_eq!(resumed.steps, 8, "interrupted at {at}");
        assert_eq!(resumed.weights.to_host(), whole.weights.to_host());
        let again = resumed.kept.unwrap();
        assert_eq!((again.step, again.metric), (kept.step, kept.metric));
        assert_eq!(again.weights.to_host(), kept.weights.to_host());
    }
}

/// An objective in which the encoder waits.
struct Waiting<O>(O, usize);

impl<O: Objective> Objective for Waiting<O> {
    type Batch = O::Batch;

    fn name(&self) -> &str {
        self.0.name()
    }

    fn steps_per_epoch(&self) -> usize {
        self.0.steps_per_epoch()
    }

    fn batch_size(&self) -> usize {
        self.0.batch_size()
    }

    fn batch(&self, step: usize) -> Result<O::Batch, TrainError> {
        self.0.batch(step)
    }

    fn losses(&self, weights: &Weights, batch: &O::Batch, ctx: &Context) -> Losses {
        self.0.losses(weights, batch, ctx)
    }

    fn learning(&self, name: &str) -> Option<Learning> {
        Some(Learning {
            rate: 1.0,
            from: if waits(name) { self.1 } else { 0 },
        })
    }

    fn dropout(&self) -> f32 {
        self.0.dropout()
    }
}

fn waits(name: &str) -> bool {
    name.starts_with("encoder_transformer")
}

/// See `docs/differences.md`, 13.13: after the release of frozen parts the program makes a new optimizer and a new schedule at
/// every step, so that nothing is learnt any more.
#[test]
fn released_blocks_start_with_fresh_moments() {
    let (records, model, device) = (records(), model(), Device::flex());
    let trained = |updates, from, restarts_from| {
        let objective = Waiting(Pretraining::new(model.clone(), &records[..], 2, 3), from);
        let config = TrainConfig {
            schedule: Schedule {
                warmup: Span::Fraction(0.25),
                ..Schedule::linear(1e-2)
            },
            updates: Some(updates),
            restarts_from,
            ..config()
        };
        let folder = RunFolder {
            path: None,
            resume: false,
        };
        let start = model.weights().clone();
        let end = train(&objective, start, &config, &folder, &device, &mut ());
        end.unwrap().weights.to_host()
    };
    let start = model.weights().to_host();
    let changed = |weights: &[(String, Vec<usize>, Vec<f32>)], waiting: bool| {
        let pairs = start.iter().zip(weights);
        pairs
            .filter(|((name, ..), _)| waits(name) == waiting)
            .filter(|(before, after)| before.2 != after.2)
            .count()
    };
    let before = trained(8, 8, None);
    assert_eq!(changed(&before, true), 0);
    assert!(changed(&before, false) > 0);
    // Released at the seventh of eight updates.
    let after = trained(8, 6, None);
    assert!(changed(&after, true) > 0);
    let released = trained(8, 6, Some(6));
    assert_eq!(changed(&released, true), 0);
    // The rate of the first update of a warm-up is 0: what did learn stands still too.
    let (still, more) = (trained(8, 6, Some(6)), trained(8, 6, Some(7)));
    assert_ne!(still, more);
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
