//! The learning rate of a run, as its configuration says it.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use super::{CosineSchedule, LinearSchedule, ScheduleError};

/// A learning rate over a run: how high, how long it rises, how it falls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Highest learning rate.
    pub lr: f64,
    /// How long it rises to that.
    #[serde(default)]
    pub warmup: Span,
    /// How it falls afterwards.
    pub decay: Decay,
}

/// A length of time in a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Span {
    /// Updates.
    Updates(usize),
    /// Passes over the data.
    Epochs(usize),
    /// A fraction of all updates, from 0 to 1: rounded down in [three stages](Decay::ThreeStage), otherwise up.
    Fraction(f64),
}

impl Default for Span {
    fn default() -> Self {
        Span::Updates(0)
    }
}

/// How a learning rate falls after its warm-up. With T updates in all and w of warm-up, the warm-up rises from 0 by
/// `lr * t / w` unless a kind says otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Decay {
    /// It stays.
    Constant,
    /// Along half a cosine to `end`, after a warm-up by `lr * t / (w - 1)` (CLEAR-HUG): [`CosineSchedule`].
    Cosine {
        /// The rate it comes close to.
        end: f64,
    },
    /// In a straight line to 0 (HuBERT-ECG): [`LinearSchedule`].
    Linear,
    /// It rises from `lr * start_scale`, holds, falls exponentially to `lr * end_scale` and stays there (D-BETA's framework).
    ThreeStage {
        /// How long it holds.
        hold: Span,
        /// How long it falls.
        fall: Span,
        /// What the rate begins with, as a fraction of the highest.
        start_scale: f64,
        /// What it ends with, as a fraction of the highest.
        end_scale: f64,
    },
    /// Half a cosine to `end`, again and again from the highest rate (DERI's pre-training).
    Restarts {
        /// The rate it comes close to.
        end: f64,
        /// How long each takes.
        period: Span,
    },
    /// It is multiplied with `factor` at each of the milestones, counted from the start of the run (DERI's probe).
    Milestones {
        /// When.
        at: Vec<Span>,
        /// The factor.
        factor: f64,
        /// The end of an epoch counts as one update more, as in the published probe of DERI.
        #[serde(default)]
        epoch_ends_count: bool,
    },
}

impl Schedule {
    /// A rate that stays.
    pub fn constant(lr: f64) -> Self {
        Schedule {
            lr,
            warmup: Span::default(),
            decay: Decay::Constant,
        }
    }

    /// Half a cosine from `lr` to `end`.
    pub fn cosine(lr: f64, end: f64, warmup: Span) -> Self {
        Schedule {
            lr,
            warmup,
            decay: Decay::Cosine { end },
        }
    }

    /// A straight line from `lr` to 0, after the published warm-up of HuBERT-ECG.
    pub fn linear(lr: f64) -> Self {
        Schedule {
            lr,
            warmup: Span::Fraction(LinearSchedule::WARMUP),
            decay: Decay::Linear,
        }
    }

    /// The rates of a run of `updates` updates, `per_epoch` of them in a pass over the data. A warm-up that is given in epochs
    /// ends with a run that is shorter.
    ///
    /// # Errors
    /// When there are no updates, the warm-up is longer than the run, or a number has no meaning.
    pub fn rates(&self, updates: usize, per_epoch: usize) -> Result<Rates, ScheduleError> {
        self.check()?;
        let up = |part: f64| part.ceil() as usize;
        let down = |part: f64| part as usize;
        let length = |span: Span, rounded: fn(f64) -> usize| match span {
            Span::Updates(updates) => updates,
            Span::Epochs(epochs) => epochs.saturating_mul(per_epoch),
            Span::Fraction(fraction) => rounded(fraction * updates as f64),
        };
        let warmup = match (self.warmup, &self.decay) {
            (span @ Span::Epochs(_), _) => length(span, up).min(updates),
            (span, Decay::ThreeStage { .. }) => length(span, down),
            (span, _) => length(span, up),
        };
        // Whatever the kind, this is checked alike.
        let cosine = |end| CosineSchedule::new(self.lr, end, updates, warmup);
        cosine(0.0)?;
        let curve = match &self.decay {
            Decay::Constant => Curve::Constant,
            Decay::Cosine { end } => Curve::Cosine(cosine(*end)?),
            Decay::Linear => Curve::Linear(LinearSchedule::new(self.lr, updates, warmup)?),
            Decay::ThreeStage {
                hold,
                fall,
                start_scale,
                end_scale,
            } => Curve::ThreeStage {
                hold: length(*hold, down),
                fall: length(*fall, down),
                start_scale: *start_scale,
                end_scale: *end_scale,
            },
            Decay::Restarts { end, period } => match length(*period, up) {
                0 => return Err(ScheduleError::Period),
                period => Curve::Restarts { end: *end, period },
            },
            Decay::Milestones {
                at,
                factor,
                epoch_ends_count,
            } => Curve::Milestones {
                at: at.iter().map(|span| length(*span, up)).collect(),
                factor: *factor,
                per_epoch: epoch_ends_count.then_some(per_epoch.max(1)),
            },
        };
        Ok(Rates {
            lr: self.lr,
            warmup,
            curve,
        })
    }

    /// Numbers that have no meaning are refused.
    fn check(&self) -> Result<(), ScheduleError> {
        let none = Span::default();
        let (values, spans) = match &self.decay {
            Decay::Constant | Decay::Linear => (vec![], vec![none]),
            Decay::Cosine { end } => (vec![("final", *end)], vec![none]),
            Decay::ThreeStage {
                hold,
                fall,
                start_scale,
                end_scale,
            } => (
                vec![("start_scale", *start_scale), ("end_scale", *end_scale)],
                vec![*hold, *fall],
            ),
            Decay::Restarts { end, period } => (vec![("final", *end)], vec![*period]),
            Decay::Milestones { at, factor, .. } => (vec![("factor", *factor)], at.clone()),
        };
        for (end, found) in [("base", self.lr)].into_iter().chain(values) {
            if !(found.is_finite() && found >= 0.0) {
                return Err(ScheduleError::Value { end, found });
            }
        }
        for span in spans.into_iter().chain([self.warmup]) {
            if let Span::Fraction(found) = span
                && !(0.0..=1.0).contains(&found)
            {
                return Err(ScheduleError::Fraction { found });
            }
        }
        Ok(())
    }
}

/// The learning rates of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Rates {
    lr: f64,
    warmup: usize,
    curve: Curve,
}

/// How they go on, lengths in updates.
#[derive(Clone, Debug, PartialEq)]
enum Curve {
    Constant,
    Cosine(CosineSchedule),
    Linear(LinearSchedule),
    ThreeStage {
        hold: usize,
        fall: usize,
        start_scale: f64,
        end_scale: f64,
    },
    Restarts {
        end: f64,
        period: usize,
    },
    Milestones {
        at: Vec<usize>,
        factor: f64,
        per_epoch: Option<usize>,
    },
}

impl Rates {
    /// The rate of an update, counted from 0 over the whole run.
    pub fn at(&self, update: usize) -> f64 {
        let (lr, warmup) = (self.lr, self.warmup);
        match &self.curve {
            Curve::Cosine(schedule) => schedule.at(update),
            Curve::Linear(schedule) => schedule.at(update),
            Curve::ThreeStage { start_scale, .. } if update < warmup => {
                let done = update as f64 / warmup as f64;
                lr * (start_scale + (1.0 - start_scale) * done)
            }
            Curve::ThreeStage {
                hold,
                fall,
                end_scale,
                ..
            } => match update - warmup {
                t if t < *hold => lr,
                t if t - hold < *fall => {
                    let done = (t - hold) as f64 / *fall as f64;
                    lr * (end_scale.ln() * done).exp()
                }
                _ => lr * end_scale,
            },
            _ if update < warmup => lr * (update as f64 / warmup as f64),
            Curve::Constant => lr,
            Curve::Restarts { end, period } => {
                let done = ((update - warmup) % period) as f64 / *period as f64;
                end + 0.5 * (lr - end) * (1.0 + (PI * done).cos())
            }
            Curve::Milestones {
                at,
                factor,
                per_epoch,
            } => {
                let count = update + per_epoch.map_or(0, |updates| update / updates);
                let passed = at.iter().filter(|milestone| **milestone <= count).count();
                (0..passed).fold(lr, |rate, _| rate * factor)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(schedule: &Schedule, updates: usize, per_epoch: usize) -> Vec<f64> {
        let rates = schedule.rates(updates, per_epoch).unwrap();
        (0..updates + 2).map(|update| rates.at(update)).collect()
    }

    #[test]
    fn cosine_and_line_are_those_of_the_published_programs() {
        let schedule = Schedule::cosine(5e-3, 1e-5, Span::Epochs(10));
        let published = CosineSchedule::from_epochs(5e-3, 1e-5, 100, 66, 10, None).unwrap();
        let found = schedule.rates(6600, 66).unwrap();
        assert!((0..6600).all(|update| found.at(update) == published.at(update)));
        // An epoch of warm-up is longer than this run.
        assert_eq!(schedule.rates(5, 66).unwrap().at(4), 5e-3);

        let published = LinearSchedule::with_share(1e-5, 101, 0.08).unwrap();
        let found = rates(&Schedule::linear(1e-5), 101, 7);
        assert!((0..103).all(|update| found[update] == published.at(update)));
    }

    #[test]
    fn three_stages_rise_hold_and_fall() {
        let schedule = Schedule {
            lr: 2.0,
            warmup: Span::Fraction(0.25),
            decay: Decay::ThreeStage {
                hold: Span::Updates(2),
                fall: Span::Fraction(0.5),
                start_scale: 0.5,
                end_scale: 0.0625,
            },
        };
        let expected = [1.0, 1.5, 2.0, 2.0, 2.0, 1.0, 0.5, 0.25, 0.125, 0.125];
        let found = rates(&schedule, 8, 1);
        let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-15;
        assert!(found.iter().zip(&expected).all(close), "{found:?}");
        // Fractions are rounded down: 1 update, 2, 3 of 7.
        let found = rates(&schedule, 7, 1);
        assert_eq!(found[..4], [1.0, 2.0, 2.0, 2.0]);
        assert!((found[6] - 0.125).abs() < 1e-15, "{found:?}");
    }

    #[test]
    fn restarts_and_milestones_follow_their_counts() {
        let schedule = Schedule {
            lr: 1.0,
            warmup: Span::Updates(2),
            decay: Decay::Restarts {
                end: 0.2,
                period: Span::Epochs(2),
            },
        };
        let found = rates(&schedule, 10, 2);
        assert_eq!(found[..3], [0.0, 0.5, 1.0]);
        assert!((found[4] - 0.6).abs() < 1e-15, "{found:?}");
        assert_eq!(found[2..6], found[6..10]);

        let milestones = |epoch_ends_count| Schedule {
            lr: 1.0,
            warmup: Span::default(),
            decay: Decay::Milestones {
                at: vec![Span::Updates(4), Span::Epochs(2)],
                factor: 0.5,
                epoch_ends_count,
            },
        };
        let found = rates(&milestones(false), 7, 3);
        assert_eq!(found, [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25]);
        let found = rates(&milestones(true), 7, 3);
        assert_eq!(found, [1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25]);
        assert_eq!(rates(&Schedule::constant(0.3), 3, 1), [0.3; 5]);
    }

    #[test]
    fn numbers_without_a_meaning_are_refused() {
        let refused = |schedule: Schedule| schedule.rates(10, 2).is_err();
        assert!(refused(Schedule::constant(f64::NAN)) && refused(Schedule::linear(-1.0)));
        assert!(refused(Schedule::cosine(
            1.0,
            f64::INFINITY,
            Span::Epochs(1)
        )));
        let warmup = |warmup| Schedule {
            warmup,
            ..Schedule::constant(1.0)
        };
        assert!(refused(warmup(Span::Fraction(1.5))) && refused(warmup(Span::Updates(11))));
        assert!(!refused(warmup(Span::Epochs(11))));
        assert!(refused(Schedule {
            decay: Decay::Restarts {
                end: 0.0,
                period: Span::Updates(0)
            },
            ..Schedule::constant(1.0)
        }));
        assert!(Schedule::constant(1.0).rates(0, 1).is_err());
    }
}
