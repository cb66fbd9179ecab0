//! Lines over a common axis: training curves.

use super::axis::{Axis, AxisScale};
use super::{
    Key, Plot, WIDTH_MM, dash, draw_frame, draw_legend, draw_nothing, draw_x_axis, draw_y_axis,
    legend_height, start, y_room,
};
use crate::color;
use crate::svg::{Element, Path, Svg};

/// A line through points.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// Points `(x, y)` in drawing order. A value that is not finite breaks the line.
    pub points: Vec<(f64, f64)>,
}

/// Several series over one horizontal axis.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LineChart {
    /// Title above the chart; may be empty.
    pub title: String,
    /// Name and unit of the horizontal axis.
    pub x_label: String,
    /// Name and unit of the vertical axis.
    pub y_label: String,
    /// Spread of the vertical axis.
    pub y_scale: AxisScale,
    /// The lines.
    pub series: Vec<Series>,
    /// A part of the horizontal axis that is shaded.
    pub marked: Option<(f64, f64)>,
}

impl LineChart {
    /// Draws the chart. On a log axis, values of 0 and below break the line and are counted in the
    /// axis title.
    pub fn draw(&self) -> Svg {
        const HEIGHT_MM: f64 = 62.0;
        let points = || self.series.iter().flat_map(|series| &series.points);
        let y_axis = Axis::around(points().map(|p| p.1), self.y_scale, 5.0);
        let (low, high) = points()
            .map(|p| p.0)
            .filter(|x| x.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| {
                (low.min(x), high.max(x))
            });
        // The horizontal axis ends with the data: a run has no steps beyond its last.
        let x_axis = if low < high {
            Axis::fixed(low, high, 6.0)
        } else {
            Axis::around(points().map(|p| p.0), AxisScale::Linear, 6.0)
        };
        let keys: Vec<Key<'_>> = self
            .series
            .iter()
            .enumerate()
            .map(|(i, series)| Key {
                name: &series.name,
                color: color::series(i),
                dash: dash(i),
            })
            .collect();
        let legend = legend_height(&keys);
        let has_title = if self.title.is_empty() { 4.0 } else { 10.0 };
        let (mut svg, top) = start(has_title + legend + HEIGHT_MM + 16.0, &self.title);
        draw_legend(&mut svg, top, &keys);
        let plot = Plot {
            left: y_room(&y_axis, !self.y_label.is_empty()),
            top: top + legend + 3.0,
            right: WIDTH_MM - 7.0,
            bottom: top + legend + 3.0 + HEIGHT_MM,
        };
        let unshown = points()
            .filter(|p| p.1.is_finite() && !y_axis.holds(p.1))
            .count();
        let y_label = if unshown > 0 {
            format!("{} ({unshown} values \u{2264} 0 not shown)", self.y_label)
        } else {
            self.y_label.clone()
        };
        draw_x_axis(&mut svg, plot, &x_axis, &self.x_label);
        draw_y_axis(&mut svg, plot, &y_axis, &y_label);
        if let Some((from, to)) = self.marked {
            let place = |x: f64| plot.x(&x_axis, x).clamp(plot.left, plot.right);
            // Wide enough to be seen.
            let (from, width) = (place(from), (place(to) - place(from)).max(0.6));
            let shade = Element::rect(from, plot.top, width, plot.bottom - plot.top);
            svg.add(shade.fill(color::SHADE));
        }
        draw_frame(&mut svg, plot);
        if !points().any(|p| p.0.is_finite() && y_axis.holds(p.1)) {
            draw_nothing(&mut svg, plot);
        }
        for (i, series) in self.series.iter().enumerate() {
            draw_series(&mut svg, plot, &x_axis, &y_axis, series, i);
        }
        svg
    }
}

fn draw_series(svg: &mut Svg, plot: Plot, x_axis: &Axis, y_axis: &Axis, series: &Series, i: usize) {
    let mut path = Path::new();
    let runs = series
        .points
        .split(|&(x, y)| !(x.is_finite() && y_axis.holds(y)));
    for run in runs {
        let place = |&(x, y): &(f64, f64)| (plot.x(x_axis, x), plot.y(y_axis, y));
        if let [point] = run {
            let (x, y) = place(point);
            svg.add(Element::circle(x, y, 0.7).fill(color::series(i)));
        }
        for (n, point) in run.iter().enumerate() {
            let (x, y) = place(point);
            if n == 0 {
                path.move_to(x, y);
            } else {
                path.line_to(x, y);
            }
        }
    }
    let mut line = Element::path(path.data())
        .stroke(color::series(i), 0.5)
        .attr("stroke-linejoin", "round")
        .attr("class", "series");
    if let Some(dash) = dash(i) {
        line = line.attr("stroke-dasharray", dash);
    }
    svg.add(line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_a_log_axis_cannot_show_are_counted() {
        let chart = LineChart {
            y_label: "loss".into(),
            y_scale: AxisScale::Log,
            series: vec![Series {
                name: "a & b".into(),
                points: vec![(0.0, 1.0), (1.0, 0.1), (2.0, 0.0), (3.0, 0.01)],
            }],
            ..LineChart::default()
        };
        let text = chart.draw().to_string();
        assert!(text.contains("1 values \u{2264} 0 not shown"));
        assert!(text.contains("a &amp; b"));
        assert_eq!(
            text.matches("<circle").count(),
            1,
            "the lone last point is a dot"
        );
    }

    #[test]
    fn no_data_is_said() {
        let chart = LineChart {
            series: vec![Series {
                name: "s".into(),
                points: vec![(f64::NAN, 1.0), (1.0, f64::INFINITY)],
            }],
            ..LineChart::default()
        };
        assert!(chart.draw().to_string().contains("no data"));
        assert!(LineChart::default().draw().to_string().contains("no data"));
    }
}
