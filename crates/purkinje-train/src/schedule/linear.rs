//! Linear warm-up, then a straight line.

use serde::{Deserialize, Serialize};

use super::{CosineSchedule, ScheduleError};

/// Linear warm-up from 0, then linear decay to 0: with T steps in all and w
/// warm-up steps `base * t / w` for `t < w`, then `base * (T - t) / (T - w)`, and 0 past the end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinearSchedule {
    base: f64,
    warmup_steps: usize,
    total_steps: usize,
}

impl LinearSchedule {
    /// Share of the steps that published runs warm up in.
    pub const WARMUP: f64 = 0.08;

    /// A schedule with its highest value `base` after `warmup_steps` steps.
    ///
    /// # Errors
    /// As [`CosineSchedule::new`].
    pub fn new(base: f64, total_steps: usize, warmup_steps: usize) -> Result<Self, ScheduleError> {
        CosineSchedule::new(base, 0.0, total_steps, warmup_steps)?;
        Ok(LinearSchedule {
            base,
            warmup_steps,
            total_steps,
        })
    }

    /// A schedule that warms up in a share of its steps, rounded up.
    ///
    /// # Errors
    /// As [`CosineSchedule::new`].
    pub fn with_share(base: f64, total_steps: usize, share: f64) -> Result<Self, ScheduleError> {
        Self::new(
            base,
            total_steps,
            (share * total_steps as f64).ceil() as usize,
        )
    }

    /// The value for step `step`, counted from 0.
    pub fn at(&self, step: usize) -> f64 {
        let (warmup, total) = (self.warmup_steps, self.total_steps);
        if step < warmup {
            return self.base * (step as f64 / warmup.max(1) as f64);
        }
        let left = total.saturating_sub(step) as f64;
        self.base * (left / (total - warmup).max(1) as f64)
    }

    /// Steps in all.
    pub fn total_steps(&self) -> usize {
        self.total_steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_linear_schedule_rises_and_falls_to_zero() {
        let schedule = LinearSchedule::with_share(1.0, 50, LinearSchedule::WARMUP).unwrap();
        let found: Vec<f64> = [0, 2, 4, 27, 49, 50, 99].map(|t| schedule.at(t)).into();
        assert_eq!(found, [0.0, 0.5, 1.0, 0.5, 1.0 / 46.0, 0.0, 0.0]);
        assert_eq!(LinearSchedule::new(1.0, 3, 0).unwrap().at(0), 1.0);
        assert_eq!(LinearSchedule::new(1.0, 3, 3).unwrap().at(3), 0.0);
        assert!(LinearSchedule::new(1.0, 3, 4).is_err());
    }

    #[test]
    fn a_line_rises_and_falls_to_zero() {
        let schedule = LinearSchedule::with_share(2.0, 50, LinearSchedule::WARMUP).unwrap();
        assert_eq!(
            [0, 2, 4, 27, 50, 99].map(|step| schedule.at(step)),
            [0.0, 1.0, 2.0, 1.0, 0.0, 0.0]
        );
        assert_eq!(LinearSchedule::new(2.0, 5, 5).unwrap().at(5), 0.0);
        assert_eq!(LinearSchedule::new(2.0, 5, 0).unwrap().at(0), 2.0);
        assert!(LinearSchedule::new(2.0, 5, 6).is_err());
    }
}
