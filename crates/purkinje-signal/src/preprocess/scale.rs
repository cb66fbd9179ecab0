//! Scaling to another unit or range, in the arithmetic of the reference.

use super::{Arithmetic, Constant, Extent, Scale, Window};

/// Samples `[lead, time]` in their current precision.
pub(super) enum Rows {
    Double(Vec<f64>),
    Single(Vec<f32>),
}

/// A constant where a range was expected: in this row, or in all of them, at this value.
pub(super) struct NoRange {
    pub row: Option<usize>,
    pub value: f64,
}

impl Rows {
    pub(super) fn len(&self) -> usize {
        match self {
            Rows::Double(rows) => rows.len(),
            Rows::Single(rows) => rows.len(),
        }
    }

    pub(super) fn into_double(self) -> Vec<f64> {
        match self {
            Rows::Double(rows) => rows,
            Rows::Single(rows) => rows.into_iter().map(f64::from).collect(),
        }
    }

    /// Rows of `len` samples cut and padded to a window.
    pub(super) fn window(self, len: usize, window: Window, rate_hz: f64) -> Rows {
        let (kept, padded) = window.samples(len, rate_hz);
        if kept == len && padded == len {
            return self;
        }
        match self {
            Rows::Double(rows) => Rows::Double(cut(&rows, len, kept, padded)),
            Rows::Single(rows) => Rows::Single(cut(&rows, len, kept, padded)),
        }
    }

    /// Rows of `len` samples, at least one.
    pub(super) fn scale(self, len: usize, scale: Scale) -> Result<Rows, NoRange> {
        let mut rows = self.into_double();
        match scale {
            Scale::Standard {
                mean_mv,
                deviation_mv,
            } => rows
                .iter_mut()
                .for_each(|value| *value = (*value - mean_mv) / deviation_mv),
            // A cast to an integer truncates and stays within its limits.
            Scale::Truncate { per_unit } => rows
                .iter_mut()
                .for_each(|value| *value = f64::from((*value * per_unit) as i16) / per_unit),
            Scale::MinMax { over, .. } => {
                return match over {
                    Extent::Recording => min_max(rows, scale, None),
                    Extent::Lead => each_lead(rows, len, scale),
                };
            }
        }
        Ok(Rows::Double(rows))
    }
}

impl Window {
    /// Of `len` samples at `rate_hz`: how many are kept, and how many there are after padding.
    pub fn samples(&self, len: usize, rate_hz: f64) -> (usize, usize) {
        let samples = |seconds: f64| (seconds * rate_hz).round() as usize;
        let kept = len.min(samples(self.keep_s));
        (kept, self.pad_to_s.map_or(kept, |s| kept.max(samples(s))))
    }
}

fn cut<T: Copy + Default>(rows: &[T], len: usize, kept: usize, padded: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(rows.len() / len.max(1) * padded);
    for row in rows.chunks_exact(len.max(1)) {
        out.extend_from_slice(&row[..kept]);
        out.resize(out.len() + padded - kept, T::default());
    }
    out
}

/// Scales every row separately.
fn each_lead(rows: Vec<f64>, len: usize, scale: Scale) -> Result<Rows, NoRange> {
    let (mut double, mut single) = (Vec::new(), Vec::new());
    for (k, row) in rows.chunks_exact(len).enumerate() {
        match min_max(row.to_vec(), scale, Some(k))? {
            Rows::Double(row) => double.extend(row),
            Rows::Single(row) => single.extend(row),
        }
    }
    Ok(if single.is_empty() {
        Rows::Double(double)
    } else {
        Rows::Single(single)
    })
}

fn min_max(mut rows: Vec<f64>, scale: Scale, row: Option<usize>) -> Result<Rows, NoRange> {
    let Scale::MinMax {
        low,
        high,
        epsilon,
        constant,
        arithmetic,
        ..
    } = scale
    else {
        return Ok(Rows::Double(rows));
    };
    let (min, max) = rows
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), value| {
            (min.min(*value), max.max(*value))
        });
    let units = |units_per_mv: f64| move |mv: f64| (mv * units_per_mv).round();
    let flat = match arithmetic {
        Arithmetic::Float64 => max - min,
        Arithmetic::Float32 { units_per_mv } => {
            let to = units(units_per_mv);
            f64::from(to(max) as f32 - to(min) as f32)
        }
        Arithmetic::Int16 { units_per_mv } => {
            let to = units(units_per_mv);
            f64::from((to(max) as i16).wrapping_sub(to(min) as i16))
        }
    } + epsilon
        == 0.0;
    if flat {
        let value = rows.first().copied().unwrap_or(0.0);
        return match constant {
            Constant::Reject => Err(NoRange { row, value }),
            Constant::Low => {
                rows.fill(low);
                Ok(Rows::Double(rows))
            }
        };
    }
    match arithmetic {
        Arithmetic::Float64 => {
            let range = max - min + epsilon;
            for value in &mut rows {
                *value = (high - low) * (*value - min) / range + low;
            }
        }
        Arithmetic::Float32 { units_per_mv } => {
            let to = units(units_per_mv);
            let (range, low) = ((high - low) as f32, low as f32);
            let (min, max) = (to(min) as f32, to(max) as f32);
            let divisor = max - min + epsilon as f32;
            let map = |mv: &f64| range * (to(*mv) as f32 - min) / divisor + low;
            return Ok(Rows::Single(rows.iter().map(map).collect()));
        }
        Arithmetic::Int16 { units_per_mv } => {
            let to = units(units_per_mv);
            // Validated to be a whole number that fits.
            let factor = (high - low) as i16;
            let (min, max) = (to(min) as i16, to(max) as i16);
            let range = f64::from(max.wrapping_sub(min)) + epsilon;
            for value in &mut rows {
                let wrapped = (to(*value) as i16).wrapping_sub(min).wrapping_mul(factor);
                *value = f64::from(wrapped) / range + low;
            }
        }
    }
    Ok(Rows::Double(rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaled(rows: &[f64], len: usize, scale: Scale) -> Vec<f64> {
        match Rows::Double(rows.to_vec()).scale(len, scale) {
            Ok(rows) => rows.into_double(),
            Err(NoRange { row, value }) => panic!("constant {value} in {row:?}"),
        }
    }

    const HUBERT: Scale = Scale::MinMax {
        low: -1.0,
        high: 1.0,
        over: Extent::Lead,
        epsilon: 1e-8,
        constant: Constant::Low,
        arithmetic: Arithmetic::Float64,
    };

    #[test]
    fn integer_arithmetic_wraps_where_the_published_program_does() {
        let scale = Scale::MinMax {
            low: -3.0,
            high: 3.0,
            over: Extent::Recording,
            epsilon: 0.0,
            constant: Constant::Reject,
            arithmetic: Arithmetic::Int16 {
                units_per_mv: 1000.0,
            },
        };
        let rows = scaled(&[0.0, 5.461, 5.462, 6.0], 4, scale);
        assert_eq!(rows[1], 6.0 * 5461.0 / 6000.0 - 3.0);
        assert_eq!(rows[2], (6.0 * 5462.0 - 65536.0) / 6000.0 - 3.0);
    }

    #[test]
    fn leads_may_have_ranges_of_their_own() {
        let rows = scaled(&[0.0, 1.0, 2.0, 7.0, 7.0, 7.0], 3, HUBERT);
        assert_eq!(rows[..2], [-1.0, 2.0 / (2.0 + 1e-8) - 1.0]);
        assert_eq!(rows[3..], [-1.0; 3]);
    }

    #[test]
    fn truncation_is_towards_zero_and_stays_within_16_bits() {
        let rows = [0.9999, -0.9999, 0.0012, 40.0, -40.0];
        let found = scaled(&rows, 5, Scale::Truncate { per_unit: 1000.0 });
        assert_eq!(found, [0.999, -0.999, 0.001, 32.767, -32.768]);
    }

    #[test]
    fn windows_keep_precision() {
        let window = Window {
            keep_s: 0.02,
            pad_to_s: Some(0.03),
        };
        let Rows::Single(rows) =
            Rows::Single(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).window(3, window, 100.0)
        else {
            panic!("not single");
        };
        assert_eq!(rows, [1.0, 2.0, 0.0, 4.0, 5.0, 0.0]);
    }
}
