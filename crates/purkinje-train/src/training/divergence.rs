//! When a run has diverged.
//!
//! A run has diverged when
//!
//! - the loss or the gradient norm of an update, the loss of a validation or a weight is not finite, or
//! - the loss is more than [`FAR`] times that of the first update (or than [`FAR`], where the first loss is smaller than 1) in
//!   [`PATIENCE`] successive updates, or in the last [`LAST`] of the run (all but the first in a shorter one).
//!
//! The loss of the first update is that of weights from which nothing was learned yet, so a loss that stays so far above it
//! is worse than that of a network that knows nothing. Successive updates are asked for because single batches (a rare
//! class of great weight, a recording full of noise) may have a loss like that in a run that learns.

/// How many times the loss of the first update a loss must be.
pub(super) const FAR: f64 = 10.0;
/// Successive updates with such a loss that end a run.
pub(super) const PATIENCE: usize = 20;
/// The same at the end of a run.
pub(super) const LAST: usize = 3;

/// Follows the losses of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Divergence {
    /// The loss of the first update.
    first: Option<f64>,
    /// Successive updates until now whose loss was far above it.
    far: usize,
}

impl Divergence {
    /// Goes on in a run whose first loss is known.
    pub fn resumed(first: Option<f64>) -> Self {
        Divergence { first, far: 0 }
    }

    /// The loss of the first update.
    pub fn first(&self) -> Option<f64> {
        self.first
    }

    /// Takes the finite loss of the next update.
    pub fn take(&mut self, loss: f64) {
        let first = *self.first.get_or_insert(loss);
        self.far = match loss > FAR * first.abs().max(1.0) {
            true => self.far + 1,
            false => 0,
        };
    }

    /// Whether the last loss was far above the first: weights of now are not worth to replace those of a checkpoint.
    pub fn suspected(&self) -> bool {
        self.far > 0
    }

    /// What was found, if the run has diverged after `done` of `steps` updates.
    pub fn found(&self, loss: f64, (done, steps): (usize, usize)) -> Option<String> {
        let enough = match done == steps {
            true => LAST.min(steps.saturating_sub(1)).max(1),
            false => PATIENCE,
        };
        let (first, far) = (self.first?, self.far);
        (far >= enough).then(|| {
            format!(
                "the loss is {loss:.4e}, and was more than {FAR} times that of the first update ({first:.4}) or than {FAR} in the last {far} updates"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The update at which a run of these losses diverges.
    fn at(losses: &[f64], steps: usize) -> Option<usize> {
        let mut own = Divergence::default();
        (1..).zip(losses).find_map(|(done, &loss)| {
            own.take(loss);
            own.found(loss, (done, steps)).map(|_| done)
        })
    }

    #[test]
    fn only_a_loss_that_stays_far_above_the_first_is_divergence() {
        let mut losses = vec![0.7; 5];
        losses.extend([1e6; 30]);
        assert_eq!(at(&losses, 1000), Some(25));
        // Back in between.
        losses[20] = 0.6;
        assert_eq!(at(&losses, 1000), None);
        // Nine times a first loss of 5, and a first loss near nothing.
        assert_eq!(at(&[[5.0; 1].as_slice(), &[45.0; 99]].concat(), 100), None);
        assert_eq!(at(&[[1e-3; 1].as_slice(), &[9.0; 99]].concat(), 100), None);
        // Losses below zero that rise to others below and above.
        assert_eq!(at(&[[-3.0; 1].as_slice(), &[29.0; 99]].concat(), 100), None);
        assert_eq!(
            at(&[[-3.0; 1].as_slice(), &[31.0; 99]].concat(), 100),
            Some(21)
        );
    }

    #[test]
    fn the_end_of_a_run_needs_fewer_updates() {
        assert_eq!(at(&[0.7, 0.6, 1e9, 1e9, 1e9], 5), Some(5));
        assert_eq!(at(&[0.7, 0.6, 0.5, 1e9, 1e9], 5), None);
        assert_eq!(at(&[0.7, 1e9], 2), Some(2));
        assert_eq!(at(&[1e9], 1), None);
    }

    #[test]
    fn a_resumed_run_compares_with_its_first_loss() {
        let mut own = Divergence::resumed(Some(0.7));
        own.take(1e9);
        assert!(own.suspected());
        assert_eq!(own.first(), Some(0.7));
        let mut own = Divergence::resumed(None);
        own.take(1e9);
        assert!(!own.suspected());
    }
}
