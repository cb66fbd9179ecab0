//! Linear warm-up, then half a cosine.
//!
//! With T steps in all and w warm-up steps:
//!
//! ```text
//! t <  w:  base * t / (w - 1)                                        (0 when w = 1)
//! t >= w:  final + (base - final) / 2 * (1 + cos(pi (t - w) / (T - w)))
//! ```
//!
//! The warm-up starts at exactly 0 and ends at `base`, the cosine starts at `base` once more and
//! comes close to `final` without reaching it. The value is set before the optimizer's step.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use super::ScheduleError;

/// A value per step: warm-up and cosine.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CosineSchedule {
    base: f64,
    end: f64,
    warmup_steps: usize,
    total_steps: usize,
}

impl CosineSchedule {
    /// A schedule from `base` to `end` over `total_steps` steps, the first `warmup_steps` of them
    /// rising from 0.
    ///
    /// # Errors
    /// No steps, a warm-up longer than the training, or a value that is negative or not finite.
    pub fn new(
        base: f64,
        end: f64,
        total_steps: usize,
        warmup_steps: usize,
    ) -> Result<Self, ScheduleError> {
        for (end, found) in [("base", base), ("final", end)] {
            if !(found.is_finite() && found >= 0.0) {
                return Err(ScheduleError::Value { end, found });
            }
        }
        if total_steps == 0 {
            return Err(ScheduleError::Empty {
                epochs: 0,
                steps_per_epoch: 0,
            });
        }
        if warmup_steps > total_steps {
            return Err(ScheduleError::Warmup {
                warmup_steps,
                total_steps,
            });
        }
        Ok(Self {
            base,
            end,
            warmup_steps,
            total_steps,
        })
    }

    /// The learning-rate schedule in the terms of the published recipes.
    ///
    /// `warmup_steps`, where given and greater than 0, replaces
    /// `warmup_epochs * steps_per_epoch`, but only if `warmup_epochs` is greater than 0.
    ///
    /// # Errors
    /// As [`CosineSchedule::new`].
    pub fn from_epochs(
        base: f64,
        end: f64,
        epochs: usize,
        steps_per_epoch: usize,
        warmup_epochs: usize,
        warmup_steps: Option<usize>,
    ) -> Result<Self, ScheduleError> {
        if epochs == 0 || steps_per_epoch == 0 {
            return Err(ScheduleError::Empty {
                epochs,
                steps_per_epoch,
            });
        }
        let warmup = match warmup_steps {
            _ if warmup_epochs == 0 => 0,
            Some(steps) if steps > 0 => steps,
            _ => warmup_epochs * steps_per_epoch,
        };
        Self::new(base, end, epochs * steps_per_epoch, warmup)
    }

    /// The weight-decay schedule: the cosine without warm-up; constant if both values are equal,
    /// as in the published recipes.
    ///
    /// # Errors
    /// As [`CosineSchedule::new`].
    pub fn weight_decay(
        base: f64,
        end: f64,
        epochs: usize,
        steps_per_epoch: usize,
    ) -> Result<Self, ScheduleError> {
        Self::from_epochs(base, end, epochs, steps_per_epoch, 0, None)
    }

    /// The value for step `step`, counted from 0 over the whole training. Past the end the last
    /// value stays.
    pub fn at(&self, step: usize) -> f64 {
        let step = step.min(self.total_steps - 1);
        if step < self.warmup_steps {
            return match self.warmup_steps - 1 {
                0 => 0.0,
                last if step == last => self.base,
                last => step as f64 * (self.base / last as f64),
            };
        }
        let done =
            PI * (step - self.warmup_steps) as f64 / (self.total_steps - self.warmup_steps) as f64;
        self.end + 0.5 * (self.base - self.end) * (1.0 + done.cos())
    }

    /// Steps in all.
    pub fn total_steps(&self) -> usize {
        self.total_steps
    }

    /// Steps of the warm-up.
    pub fn warmup_steps(&self) -> usize {
        self.warmup_steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fine_tuning_recipe_has_its_landmarks() {
        let schedule = CosineSchedule::from_epochs(5e-3, 1e-5, 100, 66, 10, None).unwrap();
        assert_eq!(schedule.at(0), 0.0);
        assert_eq!(schedule.at(659), 5e-3);
        assert_eq!(schedule.at(660), 5e-3);
        assert!((schedule.at(660 + 2970) - (5e-3 + 1e-5) / 2.0).abs() < 1e-15);
        let last = schedule.at(6599);
        assert!(last > 1e-5 && last < 1.001e-5);
        assert_eq!(schedule.at(1_000_000), last);
    }

    #[test]
    fn it_rises_then_falls() {
        let schedule = CosineSchedule::new(1.0, 0.1, 500, 50).unwrap();
        for step in 1..50 {
            assert!(schedule.at(step) > schedule.at(step - 1));
        }
        for step in 51..500 {
            assert!(schedule.at(step) < schedule.at(step - 1));
        }
    }

    #[test]
    fn warm_up_lengths_follow_the_recipe() {
        let warmup = |epochs, steps| {
            CosineSchedule::from_epochs(1.0, 0.0, 5, 10, epochs, steps)
                .unwrap()
                .warmup_steps()
        };
        assert_eq!(warmup(2, None), 20);
        assert_eq!(warmup(2, Some(0)), 20);
        assert_eq!(warmup(2, Some(7)), 7);
        assert_eq!(warmup(0, Some(7)), 0);
        let one = CosineSchedule::new(1.0, 0.0, 10, 1).unwrap();
        assert_eq!((one.at(0), one.at(1)), (0.0, 1.0));
    }

    #[test]
    fn weight_decay_stays_where_it_starts() {
        let decay = CosineSchedule::weight_decay(0.05, 0.05, 3, 7).unwrap();
        assert!((0..21).all(|step| decay.at(step) == 0.05));
    }

    #[test]
    fn impossible_schedules_are_refused() {
        assert!(CosineSchedule::new(1.0, 0.0, 0, 0).is_err());
        assert!(CosineSchedule::new(f64::NAN, 0.0, 5, 0).is_err());
        assert!(CosineSchedule::new(1.0, -1.0, 5, 0).is_err());
        assert_eq!(
            CosineSchedule::from_epochs(1.0, 0.0, 2, 3, 4, None),
            Err(ScheduleError::Warmup {
                warmup_steps: 12,
                total_steps: 6
            })
        );
        assert!(CosineSchedule::from_epochs(1.0, 0.0, 2, 0, 0, None).is_err());
    }
}
