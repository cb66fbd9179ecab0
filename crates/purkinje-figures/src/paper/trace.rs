//! Conversion of samples to path data.

use crate::svg::Path;

/// How far a trace reaches above and below its baseline, in millivolts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Extent {
    pub up_mv: f64,
    pub down_mv: f64,
}

impl Extent {
    pub fn union(self, other: Extent) -> Extent {
        Extent {
            up_mv: self.up_mv.max(other.up_mv),
            down_mv: self.down_mv.max(other.down_mv),
        }
    }
}

/// Fraction of samples that may be beyond the extent if they are far beyond it. R-peaks last longer:
/// the upper half of a QRS complex of 20 ms once in 1.5 s is 1.3 % of the samples.
const SPIKE_FRACTION: f64 = 0.002;
/// Ratio to the extent of the rest of the trace from which samples are an artefact.
const SPIKE_RATIO: f64 = 2.0;

/// The extent of a trace about an offset. A short artefact far beyond everything else is left out,
/// so that one spike does not shrink the whole picture; it will be clipped.
pub(crate) fn extent(samples_mv: &[f32], offset_mv: f64) -> Extent {
    let mut values: Vec<f64> = samples_mv
        .iter()
        .map(|&v| f64::from(v) - offset_mv)
        .filter(|v| v.is_finite())
        .collect();
    let Some(last) = values.len().checked_sub(1) else {
        return Extent::default();
    };
    values.sort_unstable_by(f64::total_cmp);
    let beyond = (last as f64 * SPIKE_FRACTION) as usize;
    let side = |extreme: f64, inner: f64| {
        if extreme > SPIKE_RATIO * inner && inner > 0.0 {
            inner * 1.2
        } else {
            extreme.max(0.0)
        }
    };
    Extent {
        up_mv: side(values[last], values[last - beyond]),
        down_mv: side(-values[0], -values[beyond]),
    }
}

/// The median of the finite samples; 0 when there is none.
pub(crate) fn median_mv(samples_mv: &[f32]) -> f64 {
    let mut values: Vec<f32> = samples_mv
        .iter()
        .copied()
        .filter(|v| v.is_finite())
        .collect();
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    f64::from(*values.select_nth_unstable_by(middle, f32::total_cmp).1)
}

/// The samples from one time to another, both included, and the index of the first.
pub(crate) fn window(samples_mv: &[f32], rate_hz: f64, from_s: f64, to_s: f64) -> (usize, &[f32]) {
    if !(rate_hz.is_finite() && rate_hz > 0.0 && from_s <= to_s) {
        return (0, &[]);
    }
    // Casts saturate: negative becomes 0, huge becomes the largest index.
    let tolerance = 1e-6;
    let first = ((from_s * rate_hz - tolerance).ceil().max(0.0) as usize).min(samples_mv.len());
    let end = ((to_s * rate_hz + tolerance).floor() as usize)
        .saturating_add(1)
        .clamp(first, samples_mv.len());
    (first, &samples_mv[first..end])
}

/// Path data of the samples of a window, and whether any of them is outside `band` (top, bottom).
///
/// Samples that are not finite leave a gap; a sample alone between gaps becomes a dot. Where several
/// samples fall on one hundredth of a millimetre, the first, lowest, highest and last are kept, and
/// points inside a horizontal run are left out: neither changes a pixel.
pub(crate) fn path(
    samples_mv: &[f32],
    rate_hz: f64,
    (from_s, to_s): (f64, f64),
    x_of: impl Fn(f64) -> f64,
    y_of: impl Fn(f64) -> f64,
    band: (f64, f64),
) -> (Path, bool) {
    let (first, samples) = window(samples_mv, rate_hz, from_s, to_s);
    // Far outside the band the exact height no longer matters, only that the numbers stay short.
    let (highest, lowest) = (band.0 - 50.0, band.1 + 50.0);
    let mut path = Path::new();
    let mut outside = false;
    let mut run: Vec<(i64, i64)> = Vec::new();
    for (i, &mv) in samples.iter().enumerate() {
        if mv.is_finite() {
            let x = x_of((first + i) as f64 / rate_hz);
            let y = y_of(f64::from(mv));
            outside |= y < band.0 || y > band.1;
            run.push((hundredths(x), hundredths(y.clamp(highest, lowest))));
        } else {
            draw_run(&mut path, &mut run);
        }
    }
    draw_run(&mut path, &mut run);
    (path, outside)
}

fn hundredths(mm: f64) -> i64 {
    (mm * 100.0).round() as i64
}

fn draw_run(path: &mut Path, run: &mut Vec<(i64, i64)>) {
    let points = thin(run);
    run.clear();
    let mm = |v: i64| v as f64 / 100.0;
    for (i, &(x, y)) in points.iter().enumerate() {
        match i.checked_sub(1).map(|before| points[before]) {
            None => path.move_to(mm(x), mm(y)),
            // Differences of rounded positions: short, and errors do not add up.
            Some((x0, y0)) => path.line_by(mm(x - x0), mm(y - y0)),
        }
    }
    if let [(x, _)] = points[..] {
        // A line of no length with round caps is a dot.
        path.horizontal_to(mm(x));
    }
}

fn thin(run: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let mut columns: Vec<(i64, i64)> = Vec::with_capacity(run.len());
    for column in run.chunk_by(|a, b| a.0 == b.0) {
        let Some(last) = column.len().checked_sub(1) else {
            continue;
        };
        let extreme = |order: fn(&i64, &i64) -> bool| {
            (0..=last).fold(0, |best, i| {
                if order(&column[i].1, &column[best].1) {
                    i
                } else {
                    best
                }
            })
        };
        let mut kept = [0, extreme(i64::lt), extreme(i64::gt), last];
        kept.sort_unstable();
        for (n, &i) in kept.iter().enumerate() {
            if n == 0 || kept[n - 1] != i {
                columns.push(column[i]);
            }
        }
    }
    let mut points: Vec<(i64, i64)> = Vec::with_capacity(columns.len());
    for (i, &point) in columns.iter().enumerate() {
        let inside_run = match (points.last(), columns.get(i + 1)) {
            (Some(before), Some(after)) => before.1 == point.1 && after.1 == point.1,
            _ => false,
        };
        if !inside_run {
            points.push(point);
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(samples: &[f32], rate_hz: f64) -> String {
        let end = samples.len() as f64 / rate_hz;
        path(
            samples,
            rate_hz,
            (0.0, end),
            |t| t * 25.0,
            |mv| 50.0 - mv * 10.0,
            (0.0, 100.0),
        )
        .0
        .data()
        .to_owned()
    }

    #[test]
    fn gaps_stay_open_and_lone_samples_are_dots() {
        let nan = f32::NAN;
        assert_eq!(
            data(&[0.0, 1.0, nan, nan, 2.0, f32::INFINITY, 0.0, 1.0], 1.0),
            "M0 50l25-10M100 30H100M150 50l25-10"
        );
    }

    #[test]
    fn flat_runs_need_two_points_and_lose_no_edge() {
        assert_eq!(
            data(&[0.0, 0.0, 0.0, 1.0, 1.0, 0.0], 1.0),
            "M0 50l50 0l25-10l25 0l25 10"
        );
    }

    #[test]
    fn samples_denser_than_the_resolution_keep_their_extremes() {
        let mut samples = vec![0.0f32; 100_000];
        samples[50_000] = 3.0;
        samples[50_001] = -3.0;
        let shown = data(&samples, 100_000.0);
        assert!(shown.contains("l0-30l0 60l0-30"), "{shown}");
        assert!(shown.len() < 200, "{} bytes", shown.len());
    }

    #[test]
    fn one_spike_does_not_rule_the_extent() {
        let mut samples: Vec<f32> = (0..5000).map(|i| (i as f32 * 0.01).sin()).collect();
        samples[2500] = 40.0;
        let extent = extent(&samples, 0.0);
        assert!(extent.up_mv < 1.3 && extent.up_mv > 1.0, "{extent:?}");
        assert_eq!(super::extent(&[f32::NAN], 0.0), Extent::default());
    }

    #[test]
    fn windows_include_both_ends() {
        let samples = [0.0f32; 10];
        assert_eq!(window(&samples, 10.0, 0.3, 0.5).0, 3);
        assert_eq!(window(&samples, 10.0, 0.3, 0.5).1.len(), 3);
        assert_eq!(window(&samples, 10.0, 5.0, 6.0).1.len(), 0);
        assert_eq!(window(&samples, 10.0, 0.5, 0.3).1.len(), 0);
        assert_eq!(window(&samples, f64::NAN, 0.0, 1.0).1.len(), 0);
    }
}
