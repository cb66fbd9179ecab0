//! Schedules of learning rates: what a configuration says ([`Schedule`]), the rates of a run ([`Rates`]), and the curves of
//! the published programs.

mod cosine;
mod linear;
mod rates;

use thiserror::Error;

pub use self::cosine::CosineSchedule;
pub use self::linear::LinearSchedule;
pub use self::rates::{Decay, Rates, Schedule, Span};

/// A schedule that cannot be followed.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ScheduleError {
    /// No steps.
    #[error(
        "The schedule has no steps ({epochs} epochs of {steps_per_epoch} steps); both numbers must be at least 1. \
         Check that the training set holds at least one batch."
    )]
    Empty {
        /// Epochs found.
        epochs: usize,
        /// Steps per epoch found.
        steps_per_epoch: usize,
    },
    /// A warm-up longer than the training.
    #[error(
        "The warm-up of {warmup_steps} steps is longer than the whole training of {total_steps} steps; shorten it."
    )]
    Warmup {
        /// Warm-up steps found.
        warmup_steps: usize,
        /// Steps in all.
        total_steps: usize,
    },
    /// A fraction of a run that is none.
    #[error("A length of {found} of the run is no fraction; expected a number from 0 to 1.")]
    Fraction {
        /// The number found.
        found: f64,
    },
    /// Restarts without a period.
    #[error("The schedule restarts every 0 updates; give a period of at least 1 update.")]
    Period,
    /// A rate that is no number.
    #[error("The schedule's {end} value is {found}, but it must be a finite number of at least 0.")]
    Value {
        /// What it is: `base`, `final`, `factor`, ...
        end: &'static str,
        /// The value found.
        found: f64,
    },
}

/// Epochs and steps of a run that is to make `steps` updates over `batches` batches an epoch, `accumulation` of which make
/// an update.
///
/// The published program counts epochs as floor(steps / floor(batches / accumulation)) + 1 and stops with the last of
/// them, so that it goes on for up to an epoch at rate 0; `released` keeps that, otherwise the run ends at `steps`.
///
/// # Errors
/// [`ScheduleError::Empty`] if there are too few batches for an update.
pub fn epochs_for(
    steps: usize,
    batches: usize,
    accumulation: usize,
    released: bool,
) -> Result<(usize, usize), ScheduleError> {
    let per_epoch = batches.checked_div(accumulation).unwrap_or(0);
    if per_epoch == 0 || steps == 0 {
        return Err(ScheduleError::Empty {
            epochs: 1,
            steps_per_epoch: per_epoch,
        });
    }
    if released {
        let epochs = steps / per_epoch + 1;
        return Ok((epochs, epochs.saturating_mul(per_epoch)));
    }
    Ok((steps.div_ceil(per_epoch), steps))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_at_its_steps_and_an_epoch_later_as_released() {
        assert_eq!(epochs_for(100, 21, 2, false), Ok((10, 100)));
        assert_eq!(epochs_for(100, 21, 2, true), Ok((11, 110)));
        assert_eq!(epochs_for(95, 10, 1, false), Ok((10, 95)));
        assert!(epochs_for(95, 1, 2, false).is_err() && epochs_for(1, 1, 0, true).is_err());
    }
}
