//! Repair of missing samples (NaN).
//!
//! Source: the published programs of CLEAR-HUG and DERI.

use serde::{Deserialize, Serialize};

/// How missing samples are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum MissingPolicy {
    /// The mean of the valid samples within `half_window` samples on either side, from the first
    /// missing sample to the last; samples already replaced count as valid. 0 where none is valid.
    LocalMean {
        /// Samples used on either side.
        half_window: usize,
    },
    /// 0 mV.
    Zero,
    /// 0 mV in the whole recording if any of its samples is missing or infinite.
    ZeroRecording,
    /// Refuse the recording.
    Reject,
}

/// Replaces the NaN samples of one lead in place and returns how many there were.
///
/// With [`MissingPolicy::ZeroRecording`] the whole lead becomes 0. With [`MissingPolicy::Reject`] the samples are
/// unchanged; only the count is returned.
pub fn repair(samples: &mut [f64], policy: MissingPolicy) -> usize {
    let missing = missing(samples);
    if missing > 0 {
        match policy {
            MissingPolicy::LocalMean { half_window } => local_mean(samples, half_window),
            MissingPolicy::Zero => samples
                .iter_mut()
                .filter(|value| value.is_nan())
                .for_each(|value| *value = 0.0),
            MissingPolicy::ZeroRecording => samples.fill(0.0),
            MissingPolicy::Reject => {}
        }
    }
    missing
}

/// The number of samples that are NaN.
pub fn missing(samples: &[f64]) -> usize {
    samples.iter().filter(|value| value.is_nan()).count()
}

fn local_mean(samples: &mut [f64], half_window: usize) {
    for j in 0..samples.len() {
        if !samples[j].is_nan() {
            continue;
        }
        let end = samples
            .len()
            .min(j.saturating_add(half_window).saturating_add(1));
        let (sum, count) = samples[j.saturating_sub(half_window)..end]
            .iter()
            .filter(|value| !value.is_nan())
            .fold((0.0, 0usize), |(sum, count), value| {
                (sum + value, count + 1)
            });
        samples[j] = if count == 0 { 0.0 } else { sum / count as f64 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAN: f64 = f64::NAN;

    #[test]
    fn replaced_samples_take_part() {
        let mut x = [1.0, NAN, NAN, 4.0];
        let policy = MissingPolicy::LocalMean { half_window: 1 };
        assert_eq!(repair(&mut x, policy), 2);
        // First (1) alone, then (1 + 4) / 2.
        assert_eq!(x, [1.0, 1.0, 2.5, 4.0]);
    }

    #[test]
    fn nothing_valid_becomes_zero() {
        let mut x = [NAN; 30];
        assert_eq!(
            repair(&mut x, MissingPolicy::LocalMean { half_window: 6 }),
            30
        );
        assert_eq!(x, [0.0; 30]);
        let mut x = [NAN, 2.0];
        assert_eq!(repair(&mut x, MissingPolicy::Zero), 1);
        assert_eq!(x, [0.0, 2.0]);
        let mut x = [NAN, 2.0];
        assert_eq!(repair(&mut x, MissingPolicy::Reject), 1);
        assert!(x[0].is_nan());
    }
}
