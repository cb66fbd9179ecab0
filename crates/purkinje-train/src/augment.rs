//! Perturbations of signals `[lead, time]` in training: those of D-BETA's program, of which its pre-training uses the hiding of leads
//! alone (`docs/differences.md`).

use std::f64::consts::TAU;

use purkinje_base::random::Stream;

/// Sampling rate for which mains and wander are made, in hertz.
const RATE_HZ: f64 = 500.0;

/// Where a perturbation gets its numbers from, in a fixed order.
pub trait Draws {
    /// Uniform from `low` to below `high`.
    fn uniform(&mut self, low: f64, high: f64) -> f64;

    /// Normal.
    fn normal(&mut self, mean: f64, deviation: f64) -> f64;

    /// 1 or -1.
    fn sign(&mut self) -> f64;
}

impl Draws for Stream {
    fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * Stream::uniform(self)
    }

    fn normal(&mut self, mean: f64, deviation: f64) -> f64 {
        mean + deviation * Stream::normal(self)
    }

    fn sign(&mut self) -> f64 {
        if Stream::uniform(self) < 0.5 {
            1.0
        } else {
            -1.0
        }
    }
}

/// What is done to a recording of twelve leads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Perturbation {
    /// Each lead is hidden with this probability: zero for the whole recording.
    HideLeads(f64),
    /// A cosine of 50 or 60 Hz in all leads, of up to half a millivolt.
    Mains,
    /// White noise, of up to half a millivolt in each lead.
    Muscle,
    /// A step for a share of the time, in so many stretches.
    Shift {
        /// Mean share of the time of one stretch.
        share: f64,
        /// Stretches.
        stretches: usize,
        /// Whether leads that depend on I and II are computed again.
        dependent: bool,
    },
    /// Three slow cosines.
    Wander,
}

impl Perturbation {
    /// Perturbs `rows` `[lead, time]` with `probability`.
    pub fn apply(self, rows: &mut [f32], samples: usize, probability: f64, draws: &mut impl Draws) {
        if draws.uniform(0.0, 1.0) >= probability || samples == 0 {
            return;
        }
        let leads = rows.len() / samples;
        if let Perturbation::HideLeads(hidden) = self {
            for row in rows.chunks_exact_mut(samples) {
                if draws.uniform(0.0, 1.0) < hidden {
                    row.fill(0.0);
                }
            }
            return;
        }
        let mut exact: Vec<f64> = rows.iter().map(|&x| f64::from(x)).collect();
        let time = |t: usize| t as f64 / RATE_HZ;
        let dependent = match self {
            Perturbation::HideLeads(_) => false,
            Perturbation::Mains => {
                let amplitude = draws.uniform(0.0, 0.5);
                let hz = if draws.uniform(0.0, 1.0) > 0.5 {
                    50.0
                } else {
                    60.0
                };
                let phase = draws.uniform(0.0, TAU);
                let wave = |t| amplitude * (TAU * hz * time(t) + phase).cos();
                add(&mut exact, samples, |_, t| wave(t));
                true
            }
            Perturbation::Muscle => {
                let amplitudes: Vec<f64> = (0..leads).map(|_| draws.uniform(0.0, 0.5)).collect();
                let noise: Vec<f64> = exact.iter().map(|_| draws.normal(0.0, 1.0)).collect();
                add(&mut exact, samples, |lead, t| {
                    amplitudes[lead] * noise[lead * samples + t]
                });
                true
            }
            Perturbation::Shift {
                share,
                stretches,
                dependent,
            } => {
                let signs: Vec<f64> = (0..leads).map(|_| draws.sign()).collect();
                let general = draws.uniform(0.0, 0.25);
                let mut shifted = vec![false; samples];
                let mean = share * samples as f64;
                for _ in 0..stretches {
                    let length = draws.normal(mean, 0.2 * mean);
                    let start = draws.uniform(0.0, samples as f64 - length) as usize;
                    let end = (start as f64 + length) as usize;
                    shifted[start.min(samples)..end.clamp(start.min(samples), samples)].fill(true);
                }
                add(&mut exact, samples, |lead, t| match shifted[t] {
                    true => signs[lead] - general,
                    false => 0.0,
                });
                dependent
            }
            Perturbation::Wander => {
                let factors: Vec<f64> = (0..leads).map(|_| draws.normal(1.0, 0.5)).collect();
                let amplitudes = [(); 3].map(|()| draws.uniform(0.0, 0.5));
                let waves = amplitudes.map(|amplitude| {
                    let hz = draws.uniform(0.01, 0.2);
                    (amplitude, hz, draws.uniform(0.0, TAU))
                });
                let sum: Vec<f64> = (0..samples)
                    .map(|t| {
                        let each = waves.iter();
                        each.map(|(a, hz, phase)| a * (TAU * hz * time(t) + phase).cos())
                            .sum()
                    })
                    .collect();
                add(&mut exact, samples, |lead, t| factors[lead] * sum[t]);
                true
            }
        };
        if dependent {
            limb(&mut exact, samples);
        }
        rows.iter_mut()
            .zip(exact)
            .for_each(|(x, exact)| *x = exact as f32);
    }
}

fn add(rows: &mut [f64], samples: usize, more: impl Fn(usize, usize) -> f64) {
    for (lead, row) in rows.chunks_exact_mut(samples).enumerate() {
        for (t, x) in row.iter_mut().enumerate() {
            *x += more(lead, t);
        }
    }
}

/// III, aVR, aVL and aVF, in this order behind I and II, from these two.
fn limb(rows: &mut [f64], samples: usize) {
    let (own, others) = rows.split_at_mut(2 * samples);
    for t in 0..samples {
        let (i, ii) = (own[t], own[samples + t]);
        let derived = [ii - i, -(i + ii) / 2.0, i - ii / 2.0, ii - i / 2.0];
        for (lead, value) in derived.into_iter().enumerate() {
            if let Some(x) = others.get_mut(lead * samples + t) {
                *x = value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leads_are_hidden_as_often_as_asked_for() {
        let mut hidden = 0;
        for record in 0..500 {
            let mut rows = vec![1.0; 12 * 3];
            let mut stream = Stream::new(7, "augment").at(record);
            Perturbation::HideLeads(0.3).apply(&mut rows, 3, 1.0, &mut stream);
            for row in rows.chunks_exact(3) {
                assert!(row == [0.0; 3] || row == [1.0; 3]);
                hidden += usize::from(row[0] == 0.0);
            }
        }
        assert!((1650..1950).contains(&hidden), "{hidden}");
    }

    #[test]
    fn derived_leads_stay_what_they_are_derived_from() {
        for how in [
            Perturbation::Mains,
            Perturbation::Muscle,
            Perturbation::Wander,
        ] {
            let mut rows: Vec<f32> = (0..12 * 50).map(|k| (k as f32 * 0.3).sin()).collect();
            how.apply(&mut rows, 50, 1.0, &mut Stream::new(3, "augment"));
            for t in 0..50 {
                let lead = |k: usize| rows[k * 50 + t];
                assert!((lead(2) - (lead(1) - lead(0))).abs() < 1e-5);
                assert!((lead(3) + (lead(0) + lead(1)) / 2.0).abs() < 1e-5);
            }
        }
    }
}
