//! Axes: range, ticks and tick labels.

use crate::text;

/// The scale of an axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AxisScale {
    /// Linear: equal differences are equal lengths.
    #[default]
    Linear,
    /// Logarithmic: equal ratios are equal lengths; values of 0 and below cannot be shown.
    Log,
}

/// An axis with a fixed range.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    scale: AxisScale,
    low: f64,
    high: f64,
    step: f64,
}

impl Axis {
    /// A linear axis of exactly this range.
    pub fn fixed(low: f64, high: f64, ticks: f64) -> Axis {
        let (low, high) = if low.is_finite() && high.is_finite() && low < high {
            (low, high)
        } else {
            (0.0, 1.0)
        };
        Axis {
            scale: AxisScale::Linear,
            low,
            high,
            step: nice_step((high - low) / ticks),
        }
    }

    /// An axis that holds all values (those a log axis cannot show are left out), about `ticks` ticks.
    pub fn around(values: impl Iterator<Item = f64>, scale: AxisScale, ticks: f64) -> Axis {
        let (low, high) = values
            .filter(|v| v.is_finite() && (scale == AxisScale::Linear || *v > 0.0))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
                (low.min(v), high.max(v))
            });
        let (low, high) = match scale {
            _ if low > high => (if scale == AxisScale::Log { 0.1 } else { 0.0 }, 1.0),
            AxisScale::Linear if low == high => {
                let margin = if low == 0.0 { 1.0 } else { low.abs() * 0.1 };
                (low - margin, high + margin)
            }
            AxisScale::Log if low == high => (low / 2.0, high * 2.0),
            _ => (low, high),
        };
        match scale {
            AxisScale::Linear => {
                let step = nice_step((high - low) / ticks);
                Axis {
                    scale,
                    low: (low / step).floor() * step,
                    high: (high / step).ceil() * step,
                    step,
                }
            }
            AxisScale::Log => {
                // The step above 1/high is 1/(the step below high), and the same for low.
                let (below, above) = (1.0 / nice_step(1.0 / low), nice_step(high));
                let usable = below.is_normal() && above.is_normal() && below < above;
                Axis {
                    scale,
                    low: if usable { below } else { low },
                    high: if usable { above } else { high },
                    step: 0.0,
                }
            }
        }
    }

    /// Whether a value can be placed on the axis.
    pub fn holds(&self, value: f64) -> bool {
        value.is_finite() && (self.scale == AxisScale::Linear || value > 0.0)
    }

    /// The position of a value between 0 (low end) and 1 (high end), clamped to the axis.
    pub fn fraction(&self, value: f64) -> f64 {
        let share = match self.scale {
            AxisScale::Linear => (value - self.low) / (self.high - self.low),
            AxisScale::Log => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        if share.is_nan() {
            0.0
        } else {
            share.clamp(0.0, 1.0)
        }
    }

    /// The ticks within the axis.
    pub fn ticks(&self) -> Vec<f64> {
        match self.scale {
            AxisScale::Linear => {
                let slack = self.step * 1e-6;
                let first = ((self.low - slack) / self.step).ceil();
                let count = ((self.high + slack) / self.step).floor() - first;
                (0..=(count.clamp(0.0, 50.0) as usize))
                    .map(|i| (first + i as f64) * self.step)
                    .collect()
            }
            AxisScale::Log => {
                let decades = (self.high / self.low).log10();
                let digits: &[f64] = if decades > 2.0 {
                    &[1.0]
                } else {
                    &[1.0, 2.0, 5.0]
                };
                let every = (decades / 8.0).ceil().max(1.0) as i32;
                let first = self.low.log10().floor() as i32;
                let last = self.high.log10().ceil() as i32;
                (first..=last)
                    .filter(|exponent| exponent.rem_euclid(every) == 0)
                    .flat_map(|exponent| digits.iter().map(move |d| d * 10f64.powi(exponent)))
                    .filter(|t| *t >= self.low * 0.999_999 && *t <= self.high * 1.000_001)
                    .collect()
            }
        }
    }

    /// The label of a tick.
    pub fn label(&self, tick: f64) -> String {
        let magnitude = tick.abs().max(self.low.abs()).max(self.high.abs());
        let small = match self.scale {
            AxisScale::Linear => self.step,
            AxisScale::Log => tick.abs(),
        };
        if magnitude >= 1e6 || (small > 0.0 && small < 1e-4) {
            if tick == 0.0 {
                return "0".to_owned();
            }
            return format!("{tick:.1e}")
                .replace(".0e", "e")
                .replace('-', "\u{2212}");
        }
        let decimals = if small > 0.0 {
            (-(small.log10() + 1e-9).floor()).max(0.0) as usize
        } else {
            0
        };
        text::number(tick, decimals)
    }
}

/// The smallest of 1, 2, 5 times a power of ten that is at least `least`; 1 for invalid values.
pub(crate) fn nice_step(least: f64) -> f64 {
    if !(least.is_finite() && least > 0.0) {
        return 1.0;
    }
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|digit| digit * power)
        .find(|step| *step >= least * 0.999_999)
        .filter(|step| step.is_normal())
        .unwrap_or(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks().into_iter().map(|t| axis.label(t)).collect()
    }

    #[test]
    fn linear_axes_end_on_whole_steps() {
        let axis = Axis::around([0.12, 0.57].into_iter(), AxisScale::Linear, 5.0);
        assert_eq!(labels(&axis), ["0.1", "0.2", "0.3", "0.4", "0.5", "0.6"]);
        let axis = Axis::around([-3.0, 900.0].into_iter(), AxisScale::Linear, 5.0);
        assert_eq!(labels(&axis)[..2], ["\u{2212}200", "0"]);
    }

    #[test]
    fn log_axes_have_decades_and_more_where_few_fit() {
        let axis = Axis::around([1e-4, 1.0, 0.0, -1.0].into_iter(), AxisScale::Log, 5.0);
        assert_eq!(labels(&axis), ["0.0001", "0.001", "0.01", "0.1", "1"]);
        let axis = Axis::around([0.3, 3.0].into_iter(), AxisScale::Log, 5.0);
        assert_eq!(labels(&axis), ["0.2", "0.5", "1", "2", "5"]);
        assert!(!axis.holds(0.0));
    }

    #[test]
    fn any_values_give_a_usable_axis() {
        for values in [
            vec![],
            vec![0.0],
            vec![f64::NAN],
            vec![5.0, 5.0],
            vec![f64::MIN_POSITIVE, f64::MAX],
            vec![-1e-300, 1e-300],
        ] {
            for scale in [AxisScale::Linear, AxisScale::Log] {
                let axis = Axis::around(values.iter().copied(), scale, 5.0);
                assert!(axis.ticks().len() <= 60, "{values:?}");
                for value in &values {
                    assert!((0.0..=1.0).contains(&axis.fraction(*value)), "{values:?}");
                }
            }
        }
    }
}
