//! A matrix of fractions: labels that occur together, or confusions of classes.

use super::{TEXT_MM, WIDTH_MM, start};
use crate::color;
use crate::svg::{Anchor, Element, Svg};
use crate::text;

/// Largest number of rows and columns that are drawn; more would be illegible.
pub const MAX_HEATMAP_CELLS: usize = 48;

/// A matrix of values from 0 to 1, darker where larger, with the scale of its colours.
///
/// At most [`MAX_HEATMAP_CELLS`] rows and columns are drawn, and the chart states the number of the others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heatmap {
    /// Title above the chart; may be empty.
    pub title: String,
    /// Names of the rows from top to bottom.
    pub rows: Vec<String>,
    /// Names of the columns from left to right.
    pub columns: Vec<String>,
    /// `[row, column]`, row-major. Values that are not finite leave their cell white.
    pub values: Vec<f64>,
    /// Description of the values, below the chart (`percent of the recordings with the row's label that also have the
    /// column's label`).
    pub legend: String,
}

const CELL_MM: f64 = 7.0;
/// Height of the scale below the legend.
const SCALE_MM: f64 = 8.0;

impl Heatmap {
    /// Draws the chart. Every cell with enough room has its percentage.
    pub fn draw(&self) -> Svg {
        let rows = self.rows.len().min(MAX_HEATMAP_CELLS);
        let columns = self.columns.len().min(MAX_HEATMAP_CELLS);
        let widest = |names: &[String]| {
            names
                .iter()
                .map(|name| text::width(name, TEXT_MM))
                .fold(8.0, f64::max)
        };
        let label_mm = widest(&self.rows[..rows]).min(WIDTH_MM * 0.3);
        let head_mm = widest(&self.columns[..columns]).min(30.0);
        let left = 4.0 + label_mm + 2.0;
        let cell = ((WIDTH_MM - left - 4.0) / columns.max(1) as f64).min(CELL_MM);
        let has_title = if self.title.is_empty() { 4.0 } else { 10.0 };
        let height = has_title + head_mm + 3.0 + rows as f64 * cell + 12.0 + SCALE_MM;
        let (mut svg, top) = start(height, &self.title);
        let top = top + head_mm + 3.0;
        let size = TEXT_MM.min(cell * 0.85);
        for (column, name) in self.columns[..columns].iter().enumerate() {
            let x = left + (column as f64 + 0.5) * cell + size * 0.35;
            svg.open(Element::group().attr(
                "transform",
                &format!("translate({x:.2} {:.2}) rotate(-90)", top - 1.5),
            ));
            let name = text::fit(name, size, head_mm);
            svg.add(Element::text(0.0, 0.0, size, Anchor::Start, &name).fill(color::INK));
            svg.close();
        }
        for (row, name) in self.rows[..rows].iter().enumerate() {
            let y = top + row as f64 * cell;
            let name = text::fit(name, size, label_mm);
            svg.add(
                Element::text(
                    left - 2.0,
                    y + cell / 2.0 + size * 0.35,
                    size,
                    Anchor::End,
                    &name,
                )
                .fill(color::INK),
            );
            for column in 0..columns {
                let value = self
                    .values
                    .get(row * self.columns.len() + column)
                    .copied()
                    .unwrap_or(f64::NAN);
                draw_cell(&mut svg, left + column as f64 * cell, y, cell, value);
            }
        }
        let hidden = self.rows.len().max(self.columns.len()) - rows.max(columns);
        let legend = match hidden {
            0 => self.legend.clone(),
            _ => format!("{} ({hidden} more are not drawn)", self.legend),
        };
        let legend = text::fit(&legend, TEXT_MM, WIDTH_MM - 8.0);
        svg.add(
            Element::text(
                4.0,
                top + rows as f64 * cell + 7.0,
                TEXT_MM,
                Anchor::Start,
                &legend,
            )
            .fill(color::MUTED),
        );
        draw_scale(&mut svg, top + rows as f64 * cell + 10.0);
        svg
    }
}

/// The colours of some percentages, from `y` down.
fn draw_scale(svg: &mut Svg, y: f64) {
    const SHOWN: [u32; 8] = [0, 1, 5, 10, 25, 50, 75, 100];
    const STEP_MM: f64 = 11.0;
    for (at, percent) in SHOWN.into_iter().enumerate() {
        let x = 4.0 + at as f64 * STEP_MM;
        let fill = shade_of(f64::from(percent) / 100.0);
        svg.add(
            Element::rect(x, y, STEP_MM, 3.5)
                .fill(&fill)
                .outline(color::FAINT, 0.15)
                .attr("class", "scale"),
        );
        let name = format!("{percent} %");
        svg.add(
            Element::text(x + STEP_MM / 2.0, y + 3.5 + 3.4, 2.7, Anchor::Middle, &name)
                .fill(color::MUTED),
        );
    }
}

/// From white to the blue of the first series; the root makes small fractions visible.
fn shade_of(value: f64) -> String {
    let mix = |from: f64, to: f64| (from + (to - from) * value.sqrt()).round() as u8;
    format!(
        "#{:02x}{:02x}{:02x}",
        mix(255.0, 0.0),
        mix(255.0, 82.0),
        mix(255.0, 140.0)
    )
}

fn draw_cell(svg: &mut Svg, x: f64, y: f64, cell: f64, value: f64) {
    let shade = if value.is_finite() {
        value.clamp(0.0, 1.0)
    } else {
        0.0
    };
    svg.add(
        Element::rect(x, y, cell, cell)
            .fill(&shade_of(shade))
            .outline(color::FAINT, 0.15),
    );
    let percent = (value * 100.0).round();
    if cell >= 5.0 && value.is_finite() && percent >= 1.0 {
        let ink = if shade > 0.3 { "#ffffff" } else { color::INK };
        svg.add(
            Element::text(
                x + cell / 2.0,
                y + cell / 2.0 + 0.9,
                2.4,
                Anchor::Middle,
                &format!("{percent:.0}"),
            )
            .fill(ink),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("C{i}")).collect()
    }

    #[test]
    fn cells_say_their_percentage() {
        let chart = Heatmap {
            title: "Together".into(),
            rows: labels(2),
            columns: labels(2),
            values: vec![1.0, 0.25, f64::NAN, 0.001],
            legend: "share".into(),
        };
        let svg = chart.draw().to_string();
        assert!(svg.contains(">100<") && svg.contains(">25<"), "{svg}");
        // It is well-formed, so that it can be drawn by itself.
        crate::raster::png(&chart.draw(), 20.0).unwrap();
        // The scale of the colours, from white to the colour of a full cell.
        assert_eq!(svg.matches("class=\"scale\"").count(), 8);
        assert!(svg.contains(">100 %<") && svg.contains("#00528c"), "{svg}");
        // Neither a missing nor a tiny value is written.
        assert!(!svg.contains(">0<") && !svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let n = MAX_HEATMAP_CELLS + 5;
        let chart = Heatmap {
            rows: labels(n),
            columns: labels(n),
            values: vec![0.5; n * n],
            ..Heatmap::default()
        };
        assert!(chart.draw().to_string().contains("5 more are not drawn"));
        // Fewer values than cells, and nothing at all.
        let svg = Heatmap {
            rows: labels(3),
            columns: labels(3),
            values: vec![0.5],
            ..Heatmap::default()
        };
        assert!(svg.draw().to_string().contains(">50<"));
        Heatmap::default().draw();
    }
}
