//! Receiver operating characteristic curves.

use super::axis::Axis;
use super::{
    Key, Plot, TEXT_MM, WIDTH_MM, dash, draw_frame, draw_legend, draw_x_axis, draw_y_axis,
    legend_height, start,
};
use crate::color;
use crate::svg::{Anchor, Element, Path, Svg};
use crate::text;

/// One curve.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RocCurve {
    /// Name in the legend.
    pub name: String,
    /// Points (false-positive rate, true-positive rate), by rising false-positive rate.
    pub points: Vec<(f64, f64)>,
    /// Area under the curve, written in the legend.
    pub auroc: Option<f64>,
    /// Ends of its confidence interval.
    pub interval: Option<(f64, f64)>,
}

/// Several ROC curves in one square, with the diagonal of chance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RocChart {
    /// Title above the chart; may be empty.
    pub title: String,
    /// The curves.
    pub curves: Vec<RocCurve>,
}

impl RocChart {
    /// Draws the chart. Points that are not finite are left out.
    pub fn draw(&self) -> Svg {
        const SIDE_MM: f64 = 100.0;
        let names: Vec<String> = self.curves.iter().map(legend_text).collect();
        let keys: Vec<Key<'_>> = names
            .iter()
            .enumerate()
            .map(|(i, name)| Key {
                name,
                color: color::series(i),
                dash: dash(i),
            })
            .collect();
        let legend = legend_height(&keys);
        let has_title = if self.title.is_empty() { 4.0 } else { 10.0 };
        let (mut svg, top) = start(has_title + legend + SIDE_MM + 16.0, &self.title);
        draw_legend(&mut svg, top, &keys);
        let left = (WIDTH_MM - SIDE_MM) / 2.0;
        let plot = Plot {
            left,
            top: top + legend + 3.0,
            right: left + SIDE_MM,
            bottom: top + legend + 3.0 + SIDE_MM,
        };
        let axis = Axis::fixed(0.0, 1.0, 5.0);
        draw_x_axis(
            &mut svg,
            plot,
            &axis,
            "false-positive rate (1 \u{2212} specificity)",
        );
        draw_y_axis(&mut svg, plot, &axis, "true-positive rate (sensitivity)");
        draw_frame(&mut svg, plot);
        svg.add(
            Element::line(plot.left, plot.bottom, plot.right, plot.top)
                .stroke("#8a8a8a", 0.25)
                .attr("stroke-dasharray", "1 0.8"),
        );
        svg.add(
            // Below the diagonal, where curves better than chance do not go.
            Element::text(
                plot.left + 0.7 * SIDE_MM + 2.0,
                plot.bottom - 0.7 * SIDE_MM + 5.0,
                TEXT_MM,
                Anchor::Start,
                "chance",
            )
            .fill(color::MUTED),
        );
        for (i, curve) in self.curves.iter().enumerate() {
            let mut path = Path::new();
            for &(x, y) in curve
                .points
                .iter()
                .filter(|p| p.0.is_finite() && p.1.is_finite())
            {
                let (x, y) = (plot.x(&axis, x), plot.y(&axis, y));
                if path.is_empty() {
                    path.move_to(x, y);
                } else {
                    path.line_to(x, y);
                }
            }
            let mut line = Element::path(path.data())
                .stroke(color::series(i), 0.5)
                .attr("stroke-linejoin", "round")
                .attr("class", "roc");
            if let Some(dash) = dash(i) {
                line = line.attr("stroke-dasharray", dash);
            }
            svg.add(line);
        }
        svg
    }
}

fn legend_text(curve: &RocCurve) -> String {
    let mut shown = curve.name.clone();
    if let Some(auroc) = curve.auroc {
        shown.push_str(&format!("  {}", text::number(auroc, 3)));
    }
    if let Some((low, high)) = curve.interval {
        shown.push_str(&format!(
            " ({}\u{2013}{})",
            text::number(low, 3),
            text::number(high, 3)
        ));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_are_the_corners_of_a_square() {
        let chart = RocChart {
            curves: vec![RocCurve {
                name: "perfect".into(),
                points: vec![(0.0, 0.0), (0.0, 1.0), (f64::NAN, 0.3), (1.0, 1.0)],
                auroc: Some(1.0),
                interval: Some((0.99, 1.0)),
            }],
            ..RocChart::default()
        };
        let text = chart.draw().to_string();
        let left = (WIDTH_MM - 100.0) / 2.0;
        let (top, right) = (4.0 + 5.2 + 3.0, left + 100.0);
        let mut path = Path::new();
        path.move_to(left, top + 100.0);
        path.line_to(left, top);
        path.line_to(right, top);
        assert!(text.contains(path.data()), "{}", path.data());
        assert!(text.contains("1.000 (0.990\u{2013}1.000)"));
    }
}
