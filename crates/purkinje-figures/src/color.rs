//! Colours: the paper, and palettes for colour-blind readers.

/// Text and traces.
pub(crate) const INK: &str = "#1a1a1a";
/// Secondary text.
pub(crate) const MUTED: &str = "#5c5c5c";
/// Faint lines of charts.
pub(crate) const FAINT: &str = "#e4e4e4";
/// The paper between the lines.
pub(crate) const PAPER: &str = "#fffafa";
/// Lines every millimetre.
pub(crate) const GRID_MINOR: &str = "#f9d5d9";
/// Lines every five millimetres.
pub(crate) const GRID_MAJOR: &str = "#eda7b0";
/// R-peak marks.
pub(crate) const PEAK: &str = "#0072b2";
/// Token borders.
pub(crate) const TOKEN: &str = "#3d6f9e";
/// Attention.
pub(crate) const ATTENTION: &str = "#009e73";
/// Contributions that raise a logit.
pub(crate) const POSITIVE: &str = "#c2410c";
/// Contributions that lower a logit.
pub(crate) const NEGATIVE: &str = "#0b5fa5";

/// Okabe and Ito's palette without yellow, which is hard to see on white; black is for baselines.
pub(crate) const SERIES: [&str; 7] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000",
];

/// Filled areas of charts: the first series colour, lighter.
pub(crate) const FILL: &str = "#4a97c9";

/// Shaded parts of charts.
pub(crate) const SHADE: &str = "#fde9d9";

/// The colour of the `i`-th series.
pub(crate) fn series(i: usize) -> &'static str {
    SERIES[i % SERIES.len()]
}

/// The colour of a contribution: vermilion raises, blue lowers, neither is ink.
pub(crate) fn diverging(value: f64) -> &'static str {
    if value < 0.0 {
        NEGATIVE
    } else if value > 0.0 {
        POSITIVE
    } else {
        INK
    }
}
