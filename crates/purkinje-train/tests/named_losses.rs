//! Losses by name: what is minimised, what is logged, what is refused.

use burn::tensor::Device;
use purkinje_models::layers::{Context, Weights};
use purkinje_train::run_log::read_run_log;
use purkinje_train::{
    Losses, Next, Objective, Observer, RunFolder, Schedule, StepReport, TrainConfig, TrainError,
    train,
};

/// Two numbers that are to be near to the number of the batch, and small.
struct Toy {
    second: Option<&'static str>,
    whole: bool,
}

impl Objective for Toy {
    type Batch = f32;

    fn name(&self) -> &str {
        "the toy"
    }

    fn steps_per_epoch(&self) -> usize {
        4
    }

    fn batch_size(&self) -> usize {
        1
    }

    fn batch(&self, step: usize) -> Result<f32, TrainError> {
        Ok(step as f32)
    }

    fn losses(&self, weights: &Weights, batch: &f32, _: &Context) -> Losses {
        let w = weights.get::<1>("w");
        let near = (w.clone() - *batch).square().mean();
        let losses = Losses::weighted("near", 2.0, near);
        match self.second {
            None => losses,
            Some(name) => losses
                .and(name, 0.5, w.square().sum())
                .with_metric("accuracy", f64::from(*batch)),
        }
    }

    fn needs_whole_batch(&self) -> bool {
        self.whole
    }

    fn dropout(&self) -> f32 {
        0.0
    }
}

#[derive(Default)]
struct Reports(Vec<StepReport>);

impl Observer for Reports {
    fn step(&mut self, report: &StepReport) -> Next {
        self.0.push(report.clone());
        Next::Continue
    }
}

fn run(toy: &Toy, accumulate: usize) -> Result<(Vec<StepReport>, tempfile::TempDir), TrainError> {
    let device = Device::flex();
    let mut weights = Weights::default();
    weights.insert("w", &[2], vec![0.5, -1.0], &device);
    let config = TrainConfig {
        epochs: 1,
        schedule: Schedule::constant(1e-3),
        accumulate,
        ..TrainConfig::default()
    };
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder {
        path: Some(dir.path().to_owned()),
        resume: false,
    };
    let mut reports = Reports::default();
    train(toy, weights, &config, &folder, &device, &mut reports)?;
    Ok((reports.0, dir))
}

#[test]
fn every_term_is_logged_and_their_weighted_sum_is_the_loss() {
    let toy = Toy {
        second: Some("small"),
        whole: false,
    };
    let (reports, dir) = run(&toy, 2).unwrap();
    let log = read_run_log(&dir.path().join("log.jsonl")).unwrap();
    assert_eq!((reports.len(), log.len()), (2, 2));
    for (report, entry) in reports.iter().zip(&log) {
        let [(near, a), (small, b)] = &report.losses[..] else {
            panic!("{report:?}");
        };
        assert_eq!((near.as_str(), small.as_str()), ("near", "small"));
        assert!((2.0 * a + 0.5 * b - report.loss).abs() < 1e-6);
        assert_eq!(entry.number("loss"), Some(report.loss));
        assert_eq!(entry.number("near"), Some(*a));
        assert_eq!(entry.number("small"), Some(*b));
    }
    // (0.5^2 + 1^2) / 2 and (0.5^2 + 2^2) / 2 before the first update, their mean.
    assert!((reports[0].losses[0].1 - 1.375).abs() < 1e-6);
    assert_eq!(reports[0].losses[1].1, 1.25);
    assert_eq!(log[1].number("accuracy"), Some(2.5));
    let text = reports[0].loss_text();
    assert_eq!(text, "3.3750 (near 1.3750, small 1.2500)");
    let events = dir.path().join("tensorboard").read_dir().unwrap();
    let bytes = std::fs::read(events.last().unwrap().unwrap().path()).unwrap();
    let logged = |tag: &[u8]| bytes.windows(tag.len()).any(|part| part == tag);
    assert!(logged(b"near") && logged(b"small") && logged(b"accuracy"));
}

#[test]
fn a_single_loss_is_logged_once() {
    let toy = Toy {
        second: None,
        whole: false,
    };
    let (reports, dir) = run(&toy, 1).unwrap();
    assert!(reports[0].losses.is_empty());
    assert_eq!(reports[0].loss_text(), "1.2500");
    let log = read_run_log(&dir.path().join("log.jsonl")).unwrap();
    let fields: Vec<&String> = log[0].fields.keys().collect();
    let expected = [
        "loss",
        "learning_rate",
        "gradient_norm",
        "records_per_s",
        "epoch",
    ];
    assert_eq!(fields, expected);
}

#[test]
fn a_loss_over_the_whole_batch_is_not_made_of_parts() {
    let toy = Toy {
        second: None,
        whole: true,
    };
    assert!(run(&toy, 1).is_ok());
    let error = run(&toy, 2).unwrap_err().to_string();
    assert!(
        error.starts_with("the toy ") && error.contains("2 parts") && error.contains("to 1"),
        "{error}"
    );
}

#[test]
fn names_that_are_taken_are_refused() {
    for name in ["loss", "epoch", "near", "accuracy", "step"] {
        let toy = Toy {
            second: Some(name),
            whole: false,
        };
        let error = run(&toy, 1).unwrap_err().to_string();
        assert!(
            error.contains("the toy") && error.contains(&format!("`{name}`")),
            "{error}"
        );
    }
}
