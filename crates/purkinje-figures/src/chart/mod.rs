//! Charts: lines, bars with intervals, ROC curves, histograms, heat maps.
//!
//! Every chart is a value with public fields and a `draw` method that gives an [`Svg`]. Values that are not finite are
//! left out; where this matters, the chart states it.

mod axis;
mod bars;
mod heatmap;
mod histogram;
mod lines;
mod roc;

pub use axis::AxisScale;
pub use bars::{BarChart, BarRow};
pub use heatmap::{Heatmap, MAX_HEATMAP_CELLS};
pub use histogram::Histogram;
pub use lines::{LineChart, Series};
pub use roc::{RocChart, RocCurve};

pub(crate) use axis::nice_step;

use axis::Axis;

use crate::color;
use crate::svg::{Anchor, Element, Path, Svg};
use crate::text;

/// Width of a chart: 600 pixels at the 96 dpi of browsers.
pub(crate) const WIDTH_MM: f64 = 158.75;
/// Size of all text except the title.
pub(crate) const TEXT_MM: f64 = 3.1;
const TITLE_MM: f64 = 4.0;
const LEGEND_LINE_MM: f64 = 5.2;

/// The plot area of a chart, in millimetres.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plot {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl Plot {
    pub fn x(&self, axis: &Axis, value: f64) -> f64 {
        self.left + axis.fraction(value) * (self.right - self.left)
    }

    pub fn y(&self, axis: &Axis, value: f64) -> f64 {
        self.bottom - axis.fraction(value) * (self.bottom - self.top)
    }
}

/// One entry of a legend: name, colour, dash pattern.
pub(crate) struct Key<'a> {
    pub name: &'a str,
    pub color: &'a str,
    pub dash: Option<&'a str>,
}

/// Starts a chart: white background and title. Returns the picture and the height used.
pub(crate) fn start(height_mm: f64, title: &str) -> (Svg, f64) {
    let mut svg = Svg::new(WIDTH_MM, height_mm, title);
    svg.add(Element::rect(0.0, 0.0, WIDTH_MM, height_mm).fill("#ffffff"));
    if title.is_empty() {
        return (svg, 4.0);
    }
    let shown = text::fit(title, TITLE_MM, (WIDTH_MM - 8.0) / 1.06);
    svg.add(
        Element::text(4.0, 7.0, TITLE_MM, Anchor::Start, &shown)
            .bold()
            .fill(color::INK),
    );
    (svg, 10.0)
}

/// Layout of a legend of `keys` in the width of a chart.
fn legend_places(keys: &[Key<'_>]) -> (Vec<(f64, usize, String)>, usize) {
    const SWATCH_MM: f64 = 9.0;
    let (mut x, mut line) = (4.0, 0);
    let places = keys
        .iter()
        .map(|key| {
            let name = text::fit(key.name, TEXT_MM, WIDTH_MM - 8.0 - SWATCH_MM);
            let width = SWATCH_MM + text::width(&name, TEXT_MM) + 5.0;
            if x > 4.0 && x + width > WIDTH_MM {
                x = 4.0;
                line += 1;
            }
            let place = (x, line, name);
            x += width;
            place
        })
        .collect();
    (places, if keys.is_empty() { 0 } else { line + 1 })
}

/// Height of the legend of `keys`.
pub(crate) fn legend_height(keys: &[Key<'_>]) -> f64 {
    legend_places(keys).1 as f64 * LEGEND_LINE_MM
}

/// Draws a legend below `top`.
pub(crate) fn draw_legend(svg: &mut Svg, top: f64, keys: &[Key<'_>]) {
    for (key, (x, line, name)) in keys.iter().zip(legend_places(keys).0) {
        let y = top + line as f64 * LEGEND_LINE_MM + 3.2;
        let mut swatch = Element::line(x, y - 1.0, x + 7.0, y - 1.0).stroke(key.color, 0.7);
        if let Some(dash) = key.dash {
            swatch = swatch.attr("stroke-dasharray", dash);
        }
        svg.add(swatch);
        svg.add(Element::text(x + 9.0, y, TEXT_MM, Anchor::Start, &name).fill(color::INK));
    }
}

/// Width needed left of the plot for the labels of a vertical axis and its rotated title.
pub(crate) fn y_room(axis: &Axis, has_title: bool) -> f64 {
    let widest = axis
        .ticks()
        .iter()
        .map(|tick| text::width(&axis.label(*tick), TEXT_MM))
        .fold(0.0, f64::max);
    widest + 6.0 + if has_title { 5.0 } else { 0.0 }
}

/// Draws vertical grid lines with labels below, and the axis title.
pub(crate) fn draw_x_axis(svg: &mut Svg, plot: Plot, axis: &Axis, title: &str) {
    let mut grid = Path::new();
    for tick in axis.ticks() {
        let x = plot.x(axis, tick);
        grid.move_to(x, plot.top);
        grid.vertical_to(plot.bottom);
        svg.add(
            Element::text(
                x,
                plot.bottom + 4.4,
                TEXT_MM,
                Anchor::Middle,
                &axis.label(tick),
            )
            .fill(color::MUTED),
        );
    }
    svg.add(Element::path(grid.data()).stroke(color::FAINT, 0.2));
    let middle = (plot.left + plot.right) / 2.0;
    let title = text::fit(title, TEXT_MM, plot.right - plot.left);
    svg.add(
        Element::text(middle, plot.bottom + 9.4, TEXT_MM, Anchor::Middle, &title).fill(color::INK),
    );
}

/// Draws horizontal grid lines with labels at the left, and the axis title along the edge.
pub(crate) fn draw_y_axis(svg: &mut Svg, plot: Plot, axis: &Axis, title: &str) {
    let mut grid = Path::new();
    for tick in axis.ticks() {
        let y = plot.y(axis, tick);
        grid.move_to(plot.left, y);
        grid.horizontal_to(plot.right);
        svg.add(
            Element::text(
                plot.left - 1.8,
                y + 1.1,
                TEXT_MM,
                Anchor::End,
                &axis.label(tick),
            )
            .fill(color::MUTED),
        );
    }
    svg.add(Element::path(grid.data()).stroke(color::FAINT, 0.2));
    let middle = (plot.top + plot.bottom) / 2.0;
    let title = text::fit(title, TEXT_MM, plot.bottom - plot.top);
    let left = plot.left - y_room(axis, true) + 6.2;
    svg.open(Element::group().attr(
        "transform",
        &format!("translate({left:.2} {middle:.2}) rotate(-90)"),
    ));
    svg.add(Element::text(0.0, 0.0, TEXT_MM, Anchor::Middle, &title).fill(color::INK));
    svg.close();
}

/// Draws the two axis lines.
pub(crate) fn draw_frame(svg: &mut Svg, plot: Plot) {
    let mut frame = Path::new();
    frame.move_to(plot.left, plot.top);
    frame.vertical_to(plot.bottom);
    frame.horizontal_to(plot.right);
    svg.add(Element::path(frame.data()).stroke("#8a8a8a", 0.25));
}

/// A message in the middle of a plot without data.
pub(crate) fn draw_nothing(svg: &mut Svg, plot: Plot) {
    svg.add(
        Element::text(
            (plot.left + plot.right) / 2.0,
            (plot.top + plot.bottom) / 2.0,
            TEXT_MM,
            Anchor::Middle,
            "no data",
        )
        .fill(color::MUTED),
    );
}

/// The dash pattern of the `i`-th series: the first seven are solid, later ones are dashed.
pub(crate) fn dash(i: usize) -> Option<&'static str> {
    match i / color::SERIES.len() {
        0 => None,
        1 => Some("2 1"),
        _ => Some("0.7 0.9"),
    }
}
