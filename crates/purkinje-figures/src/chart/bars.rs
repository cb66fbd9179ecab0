//! Horizontal bars with confidence intervals: AUROC per class or model.

use super::axis::{Axis, AxisScale};
use super::{Plot, TEXT_MM, WIDTH_MM, draw_nothing, draw_x_axis, start};
use crate::color;
use crate::svg::{Anchor, Element, Path, Svg};
use crate::text;

/// One bar.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BarRow {
    /// Name at the left.
    pub label: String,
    /// Length of the bar.
    pub value: f64,
    /// Ends of the confidence interval, drawn as whiskers.
    pub interval: Option<(f64, f64)>,
    /// A baseline such as random weights: drawn in grey, with its value as a line through all rows.
    pub is_reference: bool,
}

/// Horizontal bars over one axis.
#[derive(Clone, Debug, PartialEq)]
pub struct BarChart {
    /// Title above the chart; may be empty.
    pub title: String,
    /// Name of the axis, with the kind of interval (`AUROC, 95 % bootstrap interval`).
    pub x_label: String,
    /// Start of the bars: the value of chance, such as 0.5 for AUROC, or 0 for a count.
    pub origin: f64,
    /// Right end of the axis, such as 1 for AUROC. `None`: from the values.
    pub limit: Option<f64>,
    /// Decimals of the values written at the right.
    pub decimals: usize,
    /// The bars from top to bottom.
    pub rows: Vec<BarRow>,
}

impl Default for BarChart {
    fn default() -> Self {
        BarChart {
            title: String::new(),
            x_label: String::new(),
            origin: 0.0,
            limit: None,
            decimals: 3,
            rows: Vec::new(),
        }
    }
}

const ROW_MM: f64 = 6.4;
const BAR_MM: f64 = 4.0;

impl BarChart {
    /// Draws the chart. Values below the origin reach to its left; a value that is not finite is
    /// written as a dash and has no bar.
    pub fn draw(&self) -> Svg {
        let origin = if self.origin.is_finite() {
            self.origin
        } else {
            0.0
        };
        let ends = self.rows.iter().flat_map(|row| {
            let (low, high) = row.interval.unwrap_or((row.value, row.value));
            [row.value, low, high]
        });
        let axis = Axis::around(
            ends.chain([origin]).chain(self.limit),
            AxisScale::Linear,
            5.0,
        );
        let label_mm = self
            .rows
            .iter()
            .map(|row| text::width(&row.label, TEXT_MM))
            .fold(10.0, f64::max)
            .min(WIDTH_MM * 0.36);
        let values: Vec<String> = self.rows.iter().map(|row| self.value_text(row)).collect();
        let value_mm = values
            .iter()
            .map(|value| text::width(value, TEXT_MM))
            .fold(8.0, f64::max);
        let rows_mm = self.rows.len().max(2) as f64 * ROW_MM;
        let has_title = if self.title.is_empty() { 4.0 } else { 10.0 };
        let (mut svg, top) = start(has_title + rows_mm + 15.0, &self.title);
        let plot = Plot {
            left: 4.0 + label_mm + 3.0,
            top: top + 1.0,
            right: WIDTH_MM - value_mm - 8.0,
            bottom: top + 1.0 + rows_mm,
        };
        draw_x_axis(&mut svg, plot, &axis, &self.x_label);
        if self.rows.is_empty() {
            draw_nothing(&mut svg, plot);
        }
        for (i, (row, value)) in self.rows.iter().zip(&values).enumerate() {
            let middle = plot.top + (i as f64 + 0.5) * ROW_MM;
            draw_row(&mut svg, plot, &axis, origin, row, middle);
            let label = text::fit(&row.label, TEXT_MM, label_mm);
            svg.add(
                Element::text(plot.left - 2.0, middle + 1.1, TEXT_MM, Anchor::End, &label)
                    .fill(color::INK),
            );
            svg.add(
                Element::text(WIDTH_MM - 4.0, middle + 1.1, TEXT_MM, Anchor::End, value)
                    .fill(color::INK),
            );
        }
        for row in self
            .rows
            .iter()
            .filter(|r| r.is_reference && r.value.is_finite())
        {
            let x = plot.x(&axis, row.value);
            svg.add(
                Element::line(x, plot.top, x, plot.bottom)
                    .stroke("#6b6b6b", 0.25)
                    .attr("stroke-dasharray", "1 0.8"),
            );
        }
        let x = plot.x(&axis, origin);
        svg.add(Element::line(x, plot.top, x, plot.bottom).stroke("#8a8a8a", 0.25));
        svg
    }

    fn value_text(&self, row: &BarRow) -> String {
        let value = text::number(row.value, self.decimals);
        match row.interval {
            Some((low, high)) => format!(
                "{value} ({}\u{2013}{})",
                text::number(low, self.decimals),
                text::number(high, self.decimals)
            ),
            None => value,
        }
    }
}

fn draw_row(svg: &mut Svg, plot: Plot, axis: &Axis, origin: f64, row: &BarRow, middle: f64) {
    if row.value.is_finite() {
        let (from, to) = (plot.x(axis, origin), plot.x(axis, row.value));
        let fill = if row.is_reference {
            "#a8a8a8"
        } else {
            color::FILL
        };
        svg.add(
            Element::rect(
                from.min(to),
                middle - BAR_MM / 2.0,
                (to - from).abs(),
                BAR_MM,
            )
            .fill(fill)
            .attr("class", "bar"),
        );
    }
    if let Some((low, high)) = row.interval.filter(|(low, high)| low <= high) {
        let (low, high) = (plot.x(axis, low), plot.x(axis, high));
        let mut whisker = Path::new();
        whisker.move_to(low, middle);
        whisker.horizontal_to(high);
        for x in [low, high] {
            whisker.move_to(x, middle - 1.1);
            whisker.vertical_to(middle + 1.1);
        }
        svg.add(
            Element::path(whisker.data())
                .stroke(color::INK, 0.3)
                .attr("class", "interval"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_start_at_the_origin_and_end_at_their_value() {
        let row = |label: &str, value| BarRow {
            label: label.into(),
            value,
            ..BarRow::default()
        };
        let chart = BarChart {
            origin: 0.5,
            limit: Some(1.0),
            rows: vec![row("full", 1.0), row("half", 0.75), row("none", f64::NAN)],
            ..BarChart::default()
        };
        let text = chart.draw().to_string();
        let widths: Vec<f64> = text
            .lines()
            .filter(|line| line.contains("class=\"bar\""))
            .map(|line| {
                let width = line.split("width=\"").nth(1).unwrap();
                width.split('"').next().unwrap().parse().unwrap()
            })
            .collect();
        assert_eq!(widths.len(), 2, "no bar for a value that is none");
        assert!((widths[0] - 2.0 * widths[1]).abs() < 0.02, "{widths:?}");
    }

    #[test]
    fn intervals_are_written_and_drawn() {
        let chart = BarChart {
            rows: vec![BarRow {
                label: "NORM".into(),
                value: 0.912,
                interval: Some((0.9, 0.92)),
                is_reference: true,
            }],
            ..BarChart::default()
        };
        let text = chart.draw().to_string();
        assert!(text.contains("0.912 (0.900\u{2013}0.920)"));
        assert!(text.contains("class=\"interval\""));
    }
}
