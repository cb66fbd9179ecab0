//! The configuration of a run as files hold it, old ones included.

use serde::Deserialize;

use super::TrainConfig;
use crate::optimizer::OptimizerConfig;
use crate::schedule::{LinearSchedule, Schedule, Span};
use crate::validation::ValidationConfig;

/// What a file says. In files of older runs the parts of the schedule stand side by side.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    epochs: usize,
    schedule: Option<Schedule>,
    lr: Option<f64>,
    min_lr: Option<f64>,
    warmup_epochs: Option<usize>,
    decay: Option<OldDecay>,
    warmup_share: Option<f64>,
    updates: Option<usize>,
    #[serde(default)]
    ends_with_epoch: bool,
    restarts_from: Option<usize>,
    #[serde(default = "one")]
    accumulate: usize,
    seed: u64,
    optimizer: OptimizerConfig,
    mixed_precision: bool,
    checkpoint_every_s: u64,
    validation: Option<ValidationConfig>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OldDecay {
    #[default]
    Cosine,
    Linear,
}

fn one() -> usize {
    1
}

impl Stored {
    fn schedule(&self) -> Result<Schedule, String> {
        let old = [
            ("lr", self.lr.is_some()),
            ("min_lr", self.min_lr.is_some()),
            ("warmup_epochs", self.warmup_epochs.is_some()),
            ("decay", self.decay.is_some()),
            ("warmup_share", self.warmup_share.is_some()),
        ];
        let given = old.iter().find(|(_, given)| *given).map(|(name, _)| *name);
        match (&self.schedule, given) {
            (Some(schedule), None) => return Ok(schedule.clone()),
            (Some(_), Some(name)) => {
                return Err(format!(
                    "`schedule` stands beside `{name}`, which is how files said it before; keep one of them"
                ));
            }
            (None, _) => {}
        }
        let missing = |name| {
            format!("there is no `schedule` (and no `{name}`, as older files have it); add one")
        };
        let lr = self.lr.ok_or_else(|| missing("lr"))?;
        Ok(match self.decay.unwrap_or_default() {
            OldDecay::Cosine => Schedule::cosine(
                lr,
                self.min_lr.ok_or_else(|| missing("min_lr"))?,
                Span::Epochs(self.warmup_epochs.ok_or_else(|| missing("warmup_epochs"))?),
            ),
            OldDecay::Linear => Schedule {
                warmup: Span::Fraction(self.warmup_share.unwrap_or(LinearSchedule::WARMUP)),
                ..Schedule::linear(lr)
            },
        })
    }
}

impl TryFrom<Stored> for TrainConfig {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        Ok(TrainConfig {
            schedule: stored.schedule()?,
            epochs: stored.epochs,
            updates: stored.updates,
            ends_with_epoch: stored.ends_with_epoch,
            restarts_from: stored.restarts_from,
            accumulate: stored.accumulate,
            seed: stored.seed,
            optimizer: stored.optimizer,
            mixed_precision: stored.mixed_precision,
            checkpoint_every_s: stored.checkpoint_every_s,
            validation: stored.validation,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::schedule::Decay;

    fn read(parts: Value) -> Result<TrainConfig, serde_json::Error> {
        let mut file = json!({
            "epochs": 20,
            "accumulate": 2,
            "seed": 42,
            "optimizer": {
                "beta1": 0.9,
                "beta2": 0.98,
                "eps": 1e-8,
                "weight_decay": 0.05,
                "clip_norm": 3.0,
            },
            "mixed_precision": false,
            "checkpoint_every_s": 300,
        });
        let (Value::Object(file), Value::Object(parts)) = (&mut file, parts) else {
            panic!("no object");
        };
        file.extend(parts);
        serde_json::from_value(Value::Object(file.clone()))
    }

    #[test]
    fn older_files_say_the_same() {
        let cosine = json!({"lr": 1e-3, "min_lr": 1e-5, "warmup_epochs": 2});
        let found = read(cosine).unwrap();
        let expected = TrainConfig {
            epochs: 20,
            accumulate: 2,
            seed: 42,
            schedule: Schedule::cosine(1e-3, 1e-5, Span::Epochs(2)),
            ..TrainConfig::default()
        };
        assert_eq!(found, expected);
        // As HuBERT-ECG's pre-training wrote it.
        let line = json!({
            "lr": 5e-5, "min_lr": 0.0, "warmup_epochs": 0, "decay": "linear", "warmup_share": 0.08,
            "ends_with_epoch": false,
        });
        assert_eq!(read(line).unwrap().schedule, Schedule::linear(5e-5));
    }

    /// The `train` table of a run that an older version started.
    const OLD: &str = r#"
epochs = 25
lr = 0.001
min_lr = 1e-5
warmup_epochs = 2
decay = "cosine"
warmup_share = 0.08
ends_with_epoch = false
accumulate = 1
seed = 0
mixed_precision = false
checkpoint_every_s = 300

[optimizer]
beta1 = 0.9
beta2 = 0.98
eps = 1e-8
weight_decay = 0.05
clip_norm = 3.0
decay_all = false

[validation]
every = 10
start = false
keep = "best"
"#;

    #[test]
    fn a_run_of_an_older_version_has_the_configuration_it_would_have_now() {
        let found: TrainConfig = toml::from_str(OLD).unwrap();
        let expected = TrainConfig {
            schedule: Schedule {
                lr: 1e-3,
                ..TrainConfig::default().schedule
            },
            validation: Some(ValidationConfig {
                every: Some(10),
                ..ValidationConfig::default()
            }),
            ..TrainConfig::default()
        };
        assert_eq!(found, expected);
        let written = toml::to_string(&found).unwrap();
        assert_eq!(toml::from_str::<TrainConfig>(&written).unwrap(), expected);
        assert!(
            written.contains("[schedule.decay]\nkind = \"cosine\""),
            "{written}"
        );
    }

    #[test]
    fn what_is_written_is_read() {
        let schedules = [
            Schedule::constant(0.1),
            Schedule::cosine(1e-3, 1e-5, Span::Epochs(2)),
            Schedule::linear(1e-4),
            Schedule {
                lr: 0.1,
                warmup: Span::Fraction(0.1),
                decay: Decay::ThreeStage {
                    hold: Span::Fraction(0.4),
                    fall: Span::Fraction(0.5),
                    start_scale: 0.01,
                    end_scale: 0.05,
                },
            },
            Schedule {
                decay: Decay::Restarts {
                    end: 1e-8,
                    period: Span::Updates(5000),
                },
                ..Schedule::constant(1e-3)
            },
            Schedule {
                decay: Decay::Milestones {
                    at: vec![Span::Updates(50)],
                    factor: 0.1,
                    epoch_ends_count: true,
                },
                ..Schedule::constant(0.01)
            },
        ];
        for schedule in schedules {
            let config = TrainConfig {
                schedule,
                updates: Some(7),
                ..TrainConfig::default()
            };
            let text = toml::to_string(&config).unwrap();
            assert_eq!(toml::from_str::<TrainConfig>(&text).unwrap(), config);
        }
    }

    #[test]
    fn files_that_say_nothing_or_two_things_are_refused() {
        let error = |parts| read(parts).unwrap_err().to_string();
        assert!(error(json!({})).contains("`schedule`"));
        assert!(error(json!({"lr": 1.0, "min_lr": 0.0})).contains("`warmup_epochs`"));
        let both = json!({"schedule": {"lr": 1.0, "decay": {"kind": "constant"}}, "lr": 1.0});
        assert!(error(both).contains("beside `lr`"));
        let kind = json!({"schedule": {"lr": 1.0, "decay": {"kind": "round"}}});
        assert!(error(kind).contains("round"));
        let constant = json!({"lr": 1.0, "decay": {"kind": "constant"}});
        assert!(error(json!({"schedule": constant, "rate": 1.0})).contains("rate"));
    }
}
