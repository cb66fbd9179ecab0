//! L-BFGS with a preconditioner, for all classes in step.
//!
//! Every class is its own convex problem with its own history and step length, but all classes
//! are evaluated together, because the cost is in reading the features. A class whose line
//! search fails tries a shorter step in the next joint evaluation while others move on; a class
//! that has converged drops out. (Nocedal and Wright 2006, algorithms 7.4 and 3.1.)
//!
//! A class that has not converged after a while is a hard one: few positive records, nearly separable, so that p (1 -
//! p) is far from equal over the records. It gets the Hessian at its current point as its preconditioner and continues,
//! now close to Newton's method.

use std::{collections::VecDeque, sync::Arc};

use rayon::prelude::*;

use super::{
    objective::{Data, Evaluation},
    precondition::Preconditioner,
};
use crate::sums::{axpy, dot};

/// When to stop.
#[derive(Clone, Copy)]
pub(super) struct Stop {
    pub iterations: usize,
    /// Root mean square, weighted by p (1 - p), of the expected change in the logits.
    pub logit_error: f64,
}

/// The search of one class.
pub(super) struct Search {
    /// Column of the labels.
    pub class: usize,
    /// `[width + 1]`, the intercept last.
    pub parameters: Vec<f64>,
    /// Joint evaluations taken part in.
    pub iterations: usize,
    pub converged: bool,
    preconditioner: Arc<Preconditioner>,
    current: Option<Evaluation>,
    /// Pairs (change of parameters, change of gradient), oldest first.
    history: VecDeque<(Vec<f64>, Vec<f64>)>,
    direction: Vec<f64>,
    slope: f64,
    step: f64,
    done: bool,
    /// Iterations since the preconditioner was made.
    age: usize,
}

const HISTORY: usize = 10;
/// Iterations after which a new Hessian costs less than going on: with 768 columns it takes the
/// time of about ten evaluations.
const OLD: usize = 30;
/// Fraction of the decrease predicted by the slope that a step must reach.
const SUFFICIENT: f64 = 1e-4;

impl Search {
    pub fn new(class: usize, start: Vec<f64>, preconditioner: Arc<Preconditioner>) -> Self {
        Self {
            class,
            direction: vec![0.0; start.len()],
            parameters: start,
            iterations: 0,
            converged: false,
            preconditioner,
            current: None,
            history: VecDeque::with_capacity(HISTORY),
            slope: 0.0,
            step: 0.0,
            done: false,
            age: 0,
        }
    }

    fn trial(&self) -> Vec<f64> {
        let mut trial = self.parameters.clone();
        axpy(self.step, &self.direction, &mut trial);
        trial
    }

    /// Accepts the trial or shortens the step.
    fn take(&mut self, trial: Vec<f64>, found: Evaluation, stop: Stop) {
        self.iterations += 1;
        self.age += 1;
        if let Some(current) = &self.current {
            // Near the minimum the decrease drowns in the rounding of the value.
            let rounding = 4.0 * f64::EPSILON * current.value.abs();
            let allowed = current.value + SUFFICIENT * self.step * self.slope + rounding;
            if found.value.is_nan() || found.value > allowed {
                // Minimum of the parabola through value, slope and the failed value.
                let curvature = found.value - current.value - self.step * self.slope;
                let shrink = -0.5 * self.step * self.slope / curvature;
                self.step *= if shrink.is_nan() {
                    0.1
                } else {
                    shrink.clamp(0.1, 0.5)
                };
                self.done |= self.step < 1e-10;
                return self.check_iterations(stop);
            }
            let mut change = trial.clone();
            axpy(-1.0, &self.parameters, &mut change);
            let mut turn = found.gradient.clone();
            axpy(-1.0, &current.gradient, &mut turn);
            // Convexity makes s'y positive; rounding may not.
            let lengths = (dot(&change, &change) * dot(&turn, &turn)).sqrt();
            if dot(&change, &turn) > f64::EPSILON * lengths {
                if self.history.len() == HISTORY {
                    self.history.pop_front();
                }
                self.history.push_back((change, turn));
            }
        }
        self.parameters = trial;
        self.aim(&found);
        self.settle(found, stop);
    }

    /// Takes the Hessian at the current point as the preconditioner.
    fn refresh(&mut self, data: &Data<'_>, c: f64, stop: Stop) {
        let gram = data.gram(Some(&self.parameters));
        self.preconditioner = Arc::new(Preconditioner::from_gram(&gram, self.parameters.len(), c));
        self.age = 0;
        self.history.clear();
        if let Some(found) = self.current.take() {
            self.aim(&found);
            self.settle(found, stop);
        }
    }

    /// Makes `found` the current point, with a full next step.
    fn settle(&mut self, found: Evaluation, stop: Stop) {
        // -slope = g'Hg estimates the squared step in the metric of the Hessian, which is at
        // least C sum p (1 - p) (change of logit)^2.
        let tolerance = stop.logit_error.powi(2) * found.curvature;
        if -self.slope <= tolerance.max(f64::EPSILON * found.value.abs()) {
            (self.done, self.converged) = (true, true);
        }
        self.current = Some(found);
        self.step = 1.0;
        self.check_iterations(stop);
    }

    fn check_iterations(&mut self, stop: Stop) {
        self.done |= self.iterations >= stop.iterations;
    }

    /// Two-loop recursion; falls back to the preconditioned gradient if rounding turned the
    /// direction uphill.
    fn aim(&mut self, found: &Evaluation) {
        let mut q = found.gradient.clone();
        let mut alphas = Vec::with_capacity(self.history.len());
        for (change, turn) in self.history.iter().rev() {
            let alpha = dot(change, &q) / dot(change, turn);
            axpy(-alpha, turn, &mut q);
            alphas.push(alpha);
        }
        self.preconditioner.solve(&mut q);
        if let Some((change, turn)) = self.history.back() {
            let mut solved = turn.clone();
            self.preconditioner.solve(&mut solved);
            let scale = dot(change, turn) / dot(turn, &solved);
            q.iter_mut().for_each(|value| *value *= scale);
        }
        for ((change, turn), alpha) in self.history.iter().zip(alphas.iter().rev()) {
            let beta = dot(turn, &q) / dot(change, turn);
            axpy(alpha - beta, change, &mut q);
        }
        self.slope = -dot(&q, &found.gradient);
        if self.slope.is_nan() || self.slope >= 0.0 {
            self.history.clear();
            q.copy_from_slice(&found.gradient);
            self.preconditioner.solve(&mut q);
            self.slope = -dot(&q, &found.gradient);
        }
        q.iter_mut().for_each(|value| *value = -*value);
        self.direction = q;
    }
}

/// Runs all searches to their end.
pub(super) fn minimize(data: &Data<'_>, c: f64, searches: &mut [Search], stop: Stop) {
    loop {
        let mut active: Vec<&mut Search> =
            searches.iter_mut().filter(|search| !search.done).collect();
        if active.is_empty() {
            return;
        }
        let classes: Vec<usize> = active.iter().map(|search| search.class).collect();
        let trials: Vec<Vec<f64>> = active.iter().map(|search| search.trial()).collect();
        let places: Vec<&[f64]> = trials.iter().map(Vec::as_slice).collect();
        let found = data.evaluate(&classes, &places, c);
        active
            .par_iter_mut()
            .zip(trials)
            .zip(found)
            .for_each(|((search, trial), found)| search.take(trial, found, stop));
        for search in active {
            if search.age >= OLD && !search.done && data.width() < Preconditioner::WIDEST_FACTOR {
                search.refresh(data, c, stop);
            }
        }
    }
}
