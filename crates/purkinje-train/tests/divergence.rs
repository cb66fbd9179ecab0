//! Runs that diverge end with an error and keep the checkpoint before; runs that are interrupted validate when they go on.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use purkinje_models::layers::{Context, Weights};
use purkinje_train::optimizer::OptimizerConfig;
use purkinje_train::run_log::read_run_log;
use purkinje_train::{
    Losses, Next, Objective, Observer, RunFolder, Schedule, StepReport, TrainConfig, TrainError,
    Trained, Validated, ValidationConfig, train,
};

/// Its losses are these, in epochs of five updates.
struct Planned(Vec<f32>);

impl Objective for Planned {
    type Batch = f32;

    fn name(&self) -> &str {
        "planned"
    }

    fn steps_per_epoch(&self) -> usize {
        5
    }

    fn batch_size(&self) -> usize {
        1
    }

    fn batch(&self, step: usize) -> Result<f32, TrainError> {
        Ok(self.0[step])
    }

    fn losses(&self, weights: &Weights, loss: &f32, _: &Context) -> Losses {
        let zero: Tensor<1> = weights.get::<1>("w").sum() * 1e-3;
        let value = zero.clone().inner().into_scalar::<f32>();
        Losses::new("planned", zero - value + *loss)
    }

    fn dropout(&self) -> f32 {
        0.0
    }
}

fn weights(value: f32) -> Weights {
    let mut weights = Weights::default();
    weights.insert("w", &[1], vec![value], &Device::flex());
    weights
}

fn config(losses: &[f32], lr: f64) -> TrainConfig {
    TrainConfig {
        epochs: losses.len() / 5,
        schedule: Schedule::constant(lr),
        optimizer: OptimizerConfig::finetune(),
        ..TrainConfig::default()
    }
}

fn run(losses: &[f32], config: &TrainConfig, dir: &Path) -> Result<Trained, TrainError> {
    observed(losses, config, dir, &mut ())
}

fn observed(
    losses: &[f32],
    config: &TrainConfig,
    dir: &Path,
    observer: &mut dyn Observer,
) -> Result<Trained, TrainError> {
    let folder = RunFolder {
        path: Some(dir.to_owned()),
        resume: true,
    };
    let objective = Planned(losses.to_vec());
    train(
        &objective,
        weights(1.0),
        config,
        &folder,
        &Device::flex(),
        observer,
    )
}

fn message(losses: &[f32]) -> String {
    let dir = tempfile::tempdir().unwrap();
    run(losses, &config(losses, 1e-3), dir.path())
        .unwrap_err()
        .to_string()
}

#[test]
fn a_loss_that_stays_far_above_the_first_ends_the_run() {
    let losses = [vec![0.7; 12], vec![1e10; 38]].concat();
    let said = message(&losses);
    assert!(
        said.starts_with("training diverged at step 32: the loss is 1.0000e10"),
        "{said}"
    );
    assert!(said.contains("`, is of step 10;"), "{said}");
    assert!(said.contains("`--lr`, here at most 0.001"), "{said}");
    // At the end of a run that is too short for that.
    let said = message(&[0.7, 0.7, 1e10, 1e10, 1e10]);
    assert!(
        said.starts_with("training diverged at step 5") && said.contains("no checkpoint"),
        "{said}"
    );
}

#[test]
fn losses_that_are_not_finite_end_the_run() {
    for wrong in [f32::NAN, f32::INFINITY] {
        let losses = [vec![0.7; 6], vec![wrong; 4]].concat();
        let said = message(&losses);
        assert!(
            said.starts_with("training diverged at step 7: its loss is"),
            "{said}"
        );
        assert!(said.contains("is of step 5"), "{said}");
    }
}

#[test]
fn weights_that_are_not_finite_end_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let losses = [0.7; 5];
    let one = TrainConfig {
        updates: Some(1),
        ..config(&losses, 1e39)
    };
    let said = run(&losses, &one, dir.path());
    let said = said.unwrap_err().to_string();
    assert!(
        said.contains("step 1: `w` has values that are not finite"),
        "{said}"
    );
    assert!(!dir.path().join("checkpoint.safetensors").exists());
}

#[test]
fn single_losses_far_above_the_first_are_no_divergence() {
    let mut losses = vec![0.7; 30];
    for at in [3, 4, 10, 11, 12, 28, 29] {
        losses[at] = 1e6;
    }
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(
        run(&losses, &config(&losses, 1e-3), dir.path())
            .unwrap()
            .steps,
        30
    );
}

#[test]
fn a_resumed_run_compares_with_its_first_loss() {
    let dir = tempfile::tempdir().unwrap();
    let losses = [vec![0.7; 10], vec![1e10; 30]].concat();
    let first = config(&losses[..10], 1e-3);
    run(&losses[..10], &first, dir.path()).unwrap();
    let said = run(&losses, &config(&losses, 1e-3), dir.path());
    let said = said.unwrap_err().to_string();
    assert!(said.contains("at step 30"), "{said}");
    assert!(said.contains("is of step 10"), "{said}");
}

/// Stops at an update, before its validation or in it.
struct Stopping {
    at: usize,
    within: bool,
    begun: Option<usize>,
    validated: Vec<usize>,
    epochs: Vec<usize>,
    loss: f64,
}

impl Stopping {
    fn new(at: usize, within: bool) -> Self {
        Stopping {
            at,
            within,
            begun: None,
            validated: Vec::new(),
            epochs: Vec::new(),
            loss: 1.0,
        }
    }
}

impl Observer for Stopping {
    fn begin(&mut self, done: usize) {
        self.begun = Some(done);
    }

    fn step(&mut self, report: &StepReport) -> Next {
        match report.step == self.at && !self.within {
            true => Next::Stop,
            false => Next::Continue,
        }
    }

    fn epoch(&mut self, epoch: usize, _: &Weights) -> Result<Next, TrainError> {
        self.epochs.push(epoch);
        Ok(Next::Continue)
    }

    fn validate(&mut self, step: usize, _: &Weights) -> Result<Option<Validated>, TrainError> {
        if step == self.at && self.within {
            return Err(TrainError::Interrupted);
        }
        self.validated.push(step);
        Ok(Some(Validated {
            loss: Some(self.loss),
            metric: Some(1.0 / step as f64),
            ..Validated::default()
        }))
    }
}

#[test]
fn what_an_interruption_left_undone_is_done_when_the_run_goes_on() {
    let losses = [0.7; 20];
    let config = TrainConfig {
        validation: Some(ValidationConfig::default()),
        ..config(&losses, 1e-3)
    };
    let whole = tempfile::tempdir().unwrap();
    let expected = run(&losses, &config, whole.path()).unwrap();
    for within in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut first = Stopping::new(10, within);
        let said = observed(&losses, &config, dir.path(), &mut first);
        let said = said.unwrap_err();
        assert!(
            matches!(said, TrainError::Stopped { step: 10, .. }),
            "{said}"
        );
        assert!(said.to_string().contains("go on with --resume"), "{said}");
        assert_eq!((first.validated, first.epochs), (vec![5], vec![1]));
        let mut second = Stopping::new(0, true);
        let found = observed(&losses, &config, dir.path(), &mut second).unwrap();
        assert_eq!(second.begun, Some(10));
        assert_eq!(second.validated, [10, 15, 20]);
        assert_eq!(second.epochs, [2, 3, 4]);
        assert_eq!(found.kept.unwrap().step, 5);
        assert_eq!(found.weights.to_host(), expected.weights.to_host());
        let log = read_run_log(&dir.path().join("log.jsonl")).unwrap();
        let validations = log.iter().filter(|e| e.event == "validation");
        let validations: Vec<u64> = validations.map(|e| e.step).collect();
        assert_eq!(validations, [5, 10, 15, 20]);
    }
}

#[test]
fn an_interruption_while_the_loss_is_lost_keeps_the_checkpoint_before() {
    let losses = [vec![0.7; 12], vec![1e10; 8]].concat();
    let dir = tempfile::tempdir().unwrap();
    let mut observer = Stopping::new(14, false);
    let said = observed(&losses, &config(&losses, 1e-3), dir.path(), &mut observer);
    let said = said.unwrap_err().to_string();
    assert!(
        said.starts_with("interrupted after step 14; the last good checkpoint,")
            && said.ends_with("is of step 10"),
        "{said}"
    );
}

#[test]
fn a_validation_without_a_finite_loss_ends_the_run() {
    let losses = [0.7; 10];
    let config = TrainConfig {
        validation: Some(ValidationConfig::default()),
        ..config(&losses, 1e-3)
    };
    let dir = tempfile::tempdir().unwrap();
    let mut observer = Stopping {
        loss: f64::NAN,
        ..Stopping::new(0, false)
    };
    let said = observed(&losses, &config, dir.path(), &mut observer);
    let said = said.unwrap_err().to_string();
    assert!(
        said.contains("step 5: the loss of its validation is NaN"),
        "{said}"
    );
}
