//! When to stop, when to save, and how strongly to regularise, from one validation to the next.
//!
//! Source: the published program of HuBERT-ECG. A plain value: it can be stored with a checkpoint and goes on there.

use serde::{Deserialize, Serialize};

/// A loss or metric must be better by this much.
pub const MARGIN: f64 = 1e-3;
/// Factor of the weight decay with each penalty.
pub const DECAY_FACTOR: f64 = 5.0;
/// Added to every dropout with each penalty.
pub const DROPOUT_STEP: f64 = 0.05;
/// The least weight decay of the published program.
pub const DECAY_FLOOR: f64 = 0.01;
/// The least dropout of the published program after an improvement.
pub const DROPOUT_FLOOR: f64 = 0.1;
/// Dropout never reaches this much.
pub const DROPOUT_CEILING: f64 = 0.9;

/// Settings of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoppingConfig {
    /// Validations without improvement after which the run stops; at least 1.
    pub patience: usize,
    /// A penalty comes after every `patience / intervals` validations without improvement (4 in pre-training, 3 in
    /// fine-tuning).
    pub intervals: usize,
    /// Whether penalties change weight decay and dropout.
    pub dynamic_regularisation: bool,
    /// What an improvement does.
    pub behaviour: Behaviour,
}

/// Where the published program does not do what is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Behaviour {
    /// An improvement takes back penalties, never more: dropout and weight decay come down to where they started. A better
    /// metric is noted with a better loss, and any improvement starts the patience anew.
    Paper,
    /// Fine-tuning as published: an improvement lifts dropout to at least 0.1, which undoes the multiplier -2 at the first
    /// one; a better loss leaves the best metric as it is; a better metric alone leaves the patience as it is.
    ReleasedFinetune,
    /// Pre-training as published: as [`Behaviour::ReleasedFinetune`], but a better loss also notes a better metric.
    ReleasedPretrain,
}

/// Weight decay and dropout as they are now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Regularisation {
    /// Weight decay.
    pub weight_decay: f64,
    /// Probability of each dropout that is regulated.
    pub dropouts: Vec<f64>,
}

/// What a validation meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The loss is better: save.
    Loss,
    /// The metric is: save.
    Metric,
    /// Neither is.
    Worse,
    /// Neither is, and regularisation became stronger.
    Penalty,
    /// Neither is, for as long as the patience lasts: stop.
    Stop,
}

impl Verdict {
    /// Whether the weights are worth saving.
    pub fn saves(self) -> bool {
        matches!(self, Verdict::Loss | Verdict::Metric)
    }
}

/// The state from one validation to the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EarlyStopping {
    config: StoppingConfig,
    start: Regularisation,
    now: Regularisation,
    /// `None` before the first validation.
    best_loss: Option<f64>,
    best_metric: Option<f64>,
    count: usize,
}

impl EarlyStopping {
    /// At the start of a run, with the regularisation it starts with.
    pub fn new(config: StoppingConfig, start: Regularisation) -> Self {
        EarlyStopping {
            config,
            now: start.clone(),
            start,
            best_loss: None,
            best_metric: None,
            count: 0,
        }
    }

    /// The smallest loss so far.
    pub fn best_loss(&self) -> Option<f64> {
        self.best_loss
    }

    /// The largest metric that was noted; 0 before any was.
    pub fn best_metric(&self) -> f64 {
        self.best_metric.unwrap_or(0.0)
    }

    /// Validations without improvement since the last that reset the count.
    pub fn count(&self) -> usize {
        self.count
    }

    /// What to train with from here on.
    pub fn regularisation(&self) -> &Regularisation {
        &self.now
    }

    /// Takes a validation's loss (less is better) and metric (more is). Values that are not finite are no improvement.
    pub fn validated(&mut self, loss: f64, metric: f64) -> Verdict {
        let better_loss =
            loss.is_finite() && self.best_loss.is_none_or(|best| loss <= best - MARGIN);
        let better_metric = metric.is_finite() && metric >= self.best_metric() + MARGIN;
        let notes = better_metric || metric > self.best_metric();
        match self.config.behaviour {
            _ if !better_loss && !better_metric => {
                self.count += 1;
                return self.worse();
            }
            Behaviour::Paper | Behaviour::ReleasedPretrain if better_loss && notes => {
                self.best_metric = Some(metric);
            }
            _ if !better_loss => self.best_metric = Some(metric),
            _ => {}
        }
        if better_loss {
            self.best_loss = Some(loss);
        }
        if better_loss || self.config.behaviour == Behaviour::Paper {
            self.count = 0;
        }
        if self.config.dynamic_regularisation {
            self.relax();
        }
        if better_loss {
            Verdict::Loss
        } else {
            Verdict::Metric
        }
    }

    fn worse(&mut self) -> Verdict {
        if self.count >= self.config.patience {
            return Verdict::Stop;
        }
        let every = self.config.patience / self.config.intervals.max(1);
        // A patience below the number of intervals has no such step: then every validation counts.
        if !self.config.dynamic_regularisation || !self.count.is_multiple_of(every.max(1)) {
            return Verdict::Worse;
        }
        self.now.weight_decay *= DECAY_FACTOR;
        for p in &mut self.now.dropouts {
            *p = (*p + DROPOUT_STEP).min(DROPOUT_CEILING);
        }
        Verdict::Penalty
    }

    fn relax(&mut self) {
        let released = self.config.behaviour != Behaviour::Paper;
        let decay_floor = if released {
            DECAY_FLOOR
        } else {
            self.start.weight_decay
        };
        self.now.weight_decay = (self.now.weight_decay / DECAY_FACTOR).max(decay_floor);
        for (p, start) in self.now.dropouts.iter_mut().zip(&self.start.dropouts) {
            let floor = if released { DROPOUT_FLOOR } else { *start };
            *p = (*p - DROPOUT_STEP).max(floor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(behaviour: Behaviour) -> EarlyStopping {
        let config = StoppingConfig {
            patience: 4,
            intervals: 2,
            dynamic_regularisation: true,
            behaviour,
        };
        let start = Regularisation {
            weight_decay: 0.01,
            dropouts: vec![0.0, 0.1],
        };
        EarlyStopping::new(config, start)
    }

    #[test]
    fn the_first_improvement_lifts_dropout_as_released_only() {
        let mut paper = start(Behaviour::Paper);
        assert_eq!(paper.validated(1.0, 0.5), Verdict::Loss);
        assert_eq!(paper.regularisation().dropouts, [0.0, 0.1]);
        let mut released = start(Behaviour::ReleasedFinetune);
        released.validated(1.0, 0.5);
        assert_eq!(released.regularisation().dropouts, [0.1, 0.1]);
    }

    #[test]
    fn penalties_are_taken_back_and_the_run_stops() {
        let mut state = start(Behaviour::Paper);
        let verdicts: Vec<Verdict> = [1.0, 1.0, f64::NAN, 0.5, 1.0, 1.0, 1.0, 1.0]
            .map(|loss| state.validated(loss, 0.0))
            .to_vec();
        use Verdict::{Loss, Penalty, Stop, Worse};
        assert_eq!(
            verdicts,
            [Loss, Worse, Penalty, Loss, Worse, Penalty, Worse, Stop]
        );
        assert_eq!(state.regularisation().weight_decay, 0.05);
        let mut state = start(Behaviour::Paper);
        for loss in [1.0, 1.0, 1.0, 0.5] {
            state.validated(loss, 0.0);
        }
        let (now, first) = (state.regularisation(), start(Behaviour::Paper).start);
        assert_eq!(now.weight_decay, first.weight_decay);
        for (now, first) in now.dropouts.iter().zip(&first.dropouts) {
            assert!((now - first).abs() < 1e-12);
        }
    }

    #[test]
    fn the_metric_is_noted_with_the_loss_but_not_as_released() {
        for (behaviour, best, verdict) in [
            (Behaviour::Paper, 0.8, Verdict::Worse),
            (Behaviour::ReleasedPretrain, 0.8, Verdict::Worse),
            (Behaviour::ReleasedFinetune, 0.0, Verdict::Metric),
        ] {
            let mut state = start(behaviour);
            state.validated(1.0, 0.8);
            assert_eq!(state.best_metric(), best);
            assert_eq!(state.validated(1.0, 0.7), verdict);
        }
        let counts = |behaviour| {
            let mut state = start(behaviour);
            state.validated(1.0, 0.5);
            state.validated(1.0, 0.5);
            state.validated(1.0, 0.4);
            state.validated(1.0, 0.9);
            state.count()
        };
        assert_eq!(
            (
                counts(Behaviour::Paper),
                counts(Behaviour::ReleasedPretrain)
            ),
            (0, 2)
        );
    }

    #[test]
    fn a_stored_state_goes_on() {
        let mut state = start(Behaviour::ReleasedFinetune);
        state.validated(0.7, 0.3);
        state.validated(0.9, 0.3);
        let json = serde_json::to_string(&state).unwrap();
        let mut again: EarlyStopping = serde_json::from_str(&json).unwrap();
        assert_eq!(again.validated(0.9, 0.2), state.validated(0.9, 0.2));
        assert_eq!(again, state);
        let config = StoppingConfig {
            patience: 0,
            intervals: 0,
            ..state.config
        };
        let mut none = EarlyStopping::new(config, state.now.clone());
        none.validated(1.0, 0.0);
        assert_eq!(none.validated(1.0, 0.0), Verdict::Stop);
    }
}
