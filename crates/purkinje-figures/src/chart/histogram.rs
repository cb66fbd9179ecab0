//! Histograms.

use super::axis::{Axis, AxisScale};
use super::{
    Plot, WIDTH_MM, draw_frame, draw_nothing, draw_x_axis, draw_y_axis, nice_step, start, y_room,
};
use crate::color;
use crate::svg::{Element, Svg};

/// Counts of values in bins of equal width with round borders.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Title above the chart; may be empty.
    pub title: String,
    /// Name and unit of the values.
    pub x_label: String,
    /// Name of the counts.
    pub y_label: String,
    /// The values.
    pub values: Vec<f64>,
    /// Approximate number of bins; the width is rounded up to 1, 2 or 5 times a power of ten.
    pub bins: usize,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram {
            title: String::new(),
            x_label: String::new(),
            y_label: "recordings".to_owned(),
            values: Vec::new(),
            bins: 30,
        }
    }
}

/// Largest number of bins.
const MOST_BINS: usize = 1000;

impl Histogram {
    /// The bins: left border of the first, width, and counts. A value on a border belongs to the bin on its right.
    /// Values that are not finite are left out. `None` without any value.
    pub fn count(&self) -> Option<(f64, f64, Vec<usize>)> {
        let values = || self.values.iter().copied().filter(|v| v.is_finite());
        let low = values().fold(f64::INFINITY, f64::min);
        let high = values().fold(f64::NEG_INFINITY, f64::max);
        if low > high {
            return None;
        }
        let bins = self.bins.clamp(1, MOST_BINS / 10) as f64;
        // Halved before the difference, which may overflow.
        let spread = (high / bins - low / bins).max(low.abs().max(high.abs()) * 1e-12);
        let width = nice_step(spread);
        let first = (low / width).floor();
        // The small step keeps a value that equals a border up to rounding in its bin.
        let bin = |value: f64| ((value / width + 1e-9).floor() - first).max(0.0) as usize;
        let mut counts = vec![0; bin(high).min(MOST_BINS - 1) + 1];
        for value in values() {
            let last = counts.len() - 1;
            counts[bin(value).min(last)] += 1;
        }
        Some((first * width, width, counts))
    }

    /// Draws the chart.
    pub fn draw(&self) -> Svg {
        const HEIGHT_MM: f64 = 50.0;
        let counted = self.count();
        let most = counted
            .iter()
            .flat_map(|(_, _, counts)| counts.iter())
            .max()
            .map_or(1.0, |most| *most as f64);
        let y_axis = Axis::around([0.0, most].into_iter(), AxisScale::Linear, 4.0);
        let has_title = if self.title.is_empty() { 4.0 } else { 10.0 };
        let (mut svg, top) = start(has_title + HEIGHT_MM + 17.0, &self.title);
        let plot = Plot {
            left: y_room(&y_axis, !self.y_label.is_empty()),
            top: top + 3.0,
            right: WIDTH_MM - 7.0,
            bottom: top + 3.0 + HEIGHT_MM,
        };
        draw_y_axis(&mut svg, plot, &y_axis, &self.y_label);
        let Some((first, width, counts)) = counted else {
            draw_nothing(&mut svg, plot);
            return svg;
        };
        let x_axis = Axis::fixed(first, first + width * counts.len() as f64, 8.0);
        draw_x_axis(&mut svg, plot, &x_axis, &self.x_label);
        for (i, &count) in counts.iter().enumerate() {
            let left = plot.x(&x_axis, first + width * i as f64);
            let right = plot.x(&x_axis, first + width * (i + 1) as f64);
            let y = plot.y(&y_axis, count as f64);
            let gap = ((right - left) * 0.06).min(0.3);
            svg.add(
                Element::rect(left + gap, y, right - left - 2.0 * gap, plot.bottom - y)
                    .fill(color::FILL)
                    .attr("class", "bin"),
            );
        }
        draw_frame(&mut svg, plot);
        svg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_value_is_counted_once_in_its_bin() {
        let histogram = Histogram {
            values: vec![0.0, 0.1, 0.3, 0.999, 1.0, f64::NAN, f64::INFINITY],
            bins: 10,
            ..Histogram::default()
        };
        let (first, width, counts) = histogram.count().unwrap();
        assert_eq!((first, width), (0.0, 0.1));
        assert_eq!(counts, [1, 1, 0, 1, 0, 0, 0, 0, 0, 1, 1]);
    }

    #[test]
    fn extreme_values_neither_panic_nor_fill_memory() {
        for values in [
            vec![],
            vec![7.0],
            vec![-0.0, 0.0],
            vec![f64::MIN, f64::MAX],
            vec![1e300, 1e300 + 1e285],
            vec![f64::MIN_POSITIVE],
        ] {
            let total = values.len();
            let histogram = Histogram {
                values,
                ..Histogram::default()
            };
            if let Some((_, _, counts)) = histogram.count() {
                assert!(counts.len() <= MOST_BINS);
                assert_eq!(counts.iter().sum::<usize>(), total);
            }
            assert!(!histogram.draw().to_string().contains("NaN"));
        }
    }
}
