//! The geometry of ECG paper: the position of every strip of every lead, in millimetres.

use purkinje_record::Recording;

use super::trace::{self, Extent};
use crate::color;
use crate::svg::{Anchor, Element, Path, Svg};

/// Distance from the left edge of the grid to the first sample; the calibration pulse is in it.
pub(crate) const PULSE_MM: f64 = 15.0;
/// Blank grid after the last sample.
const TAIL_MM: f64 = 5.0;
/// Sizes along the grid are multiples of this.
const BOX_MM: f64 = 5.0;
/// Blank paper between the extreme of a trace and the edge of its band.
const MARGIN_MM: f64 = 3.0;
/// Smallest band: up holds the pulse of 1 mV at 10 mm/mV and the lead name above it.
const LEAST_UP_MM: f64 = 15.0;
/// Size of a lead name, and how far it may be moved along its strip, in steps of so much, for no trace to cross it.
const NAME_MM: f64 = 3.4;
const NAME_SHIFT_MM: f64 = 20.0;
const NAME_STEP_MM: f64 = 0.5;
const LEAST_DOWN_MM: f64 = 10.0;
/// Largest reach of a band either way; beyond it the trace is clipped.
const MOST_MM: f64 = 30.0;
/// Gains tried in order: standard, half, quarter.
const GAINS_MM_PER_MV: [f64; 3] = [10.0, 5.0, 2.5];

/// A stretch of one lead.
#[derive(Clone, Debug)]
pub(crate) struct Strip {
    /// Row of the recording.
    pub row: usize,
    /// Start and end, in seconds of the recording.
    pub from_s: f64,
    pub to_s: f64,
    /// Position of `from_s`, from the first sample of the band.
    pub x_mm: f64,
}

/// One band of paper with the strips in it, in picture coordinates.
#[derive(Clone, Debug)]
pub(crate) struct Band {
    pub top: f64,
    pub baseline: f64,
    pub bottom: f64,
    pub strips: Vec<Strip>,
}

/// Options of a sheet.
pub(crate) struct Plan {
    /// Left edge of the grid.
    pub left: f64,
    /// Top edge of the grid.
    pub top: f64,
    pub speed_mm_per_s: f64,
    /// `None`: the largest standard gain at which every trace fits.
    pub gain_mm_per_mv: Option<f64>,
    /// Height all bands together should stay within when the gain is free.
    pub height_mm: f64,
    /// Whether leads are drawn about their median instead of 0 mV.
    pub centred: bool,
}

impl Plan {
    /// A sheet at 25 mm/s with free gain.
    pub fn new(left: f64, top: f64, height_mm: f64) -> Self {
        Plan {
            left,
            top,
            speed_mm_per_s: 25.0,
            gain_mm_per_mv: None,
            height_mm,
            centred: true,
        }
    }
}

/// A planned sheet of paper.
pub(crate) struct Sheet<'a> {
    recording: &'a Recording,
    /// Per row of the recording: the voltage drawn on the baseline.
    pub offsets_mv: Vec<f64>,
    pub bands: Vec<Band>,
    /// Whether any sample shown is not finite.
    pub has_gaps: bool,
    pub left: f64,
    pub right: f64,
    pub top: f64,
    pub bottom: f64,
    pub speed_mm_per_s: f64,
    pub gain_mm_per_mv: f64,
}

impl<'a> Sheet<'a> {
    /// Lays out rows of strips. `trace_mm` is the width from the first sample to the last.
    pub fn new(
        recording: &'a Recording,
        rows: Vec<Vec<Strip>>,
        trace_mm: f64,
        plan: &Plan,
    ) -> Self {
        let offsets_mv: Vec<f64> = (0..recording.leads.len())
            .map(|row| {
                let shown = rows.iter().flatten().filter(|strip| strip.row == row);
                let (from_s, to_s) = shown
                    .fold((f64::INFINITY, 0.0), |(from, to): (f64, f64), s| {
                        (from.min(s.from_s), to.max(s.to_s))
                    });
                if plan.centred {
                    trace::median_mv(shown_samples(recording, row, from_s, to_s))
                } else {
                    0.0
                }
            })
            .collect();
        let extents: Vec<Extent> = rows
            .iter()
            .map(|strips| {
                strips.iter().fold(Extent::default(), |extent, s| {
                    let samples = shown_samples(recording, s.row, s.from_s, s.to_s);
                    extent.union(trace::extent(samples, offsets_mv[s.row]))
                })
            })
            .collect();
        let has_gaps = rows.iter().flatten().any(|s| {
            let samples = shown_samples(recording, s.row, s.from_s, s.to_s);
            samples.iter().any(|v| !v.is_finite())
        });
        let gain = plan
            .gain_mm_per_mv
            .unwrap_or_else(|| fitting_gain(&extents, plan));
        let mut top = plan.top;
        let bands = rows
            .into_iter()
            .zip(&extents)
            .map(|(strips, extent)| {
                let (up, down) = reach(extent, gain);
                let band = Band {
                    top,
                    baseline: top + up,
                    bottom: top + up + down,
                    strips,
                };
                top = band.bottom;
                band
            })
            .collect();
        Sheet {
            recording,
            offsets_mv,
            bands,
            has_gaps,
            left: plan.left,
            right: plan.left + boxes(PULSE_MM + trace_mm + TAIL_MM),
            top: plan.top,
            bottom: top.max(plan.top + LEAST_UP_MM + LEAST_DOWN_MM),
            speed_mm_per_s: plan.speed_mm_per_s,
            gain_mm_per_mv: gain,
        }
    }

    /// Position of a time of the recording in a strip.
    pub fn x(&self, strip: &Strip, time_s: f64) -> f64 {
        self.left + PULSE_MM + strip.x_mm + (time_s - strip.from_s) * self.speed_mm_per_s
    }

    /// Position of a sample in a strip, if the strip shows it.
    pub fn x_of_sample(&self, strip: &Strip, sample: usize) -> Option<f64> {
        let time_s = sample as f64 / self.recording.rate_hz;
        (time_s >= strip.from_s && time_s <= strip.to_s).then(|| self.x(strip, time_s))
    }

    /// The part of a span of samples that a strip shows, as left and right edge.
    pub fn x_of_span(&self, strip: &Strip, start: usize, end: usize) -> Option<(f64, f64)> {
        let from_s = (start as f64 / self.recording.rate_hz).max(strip.from_s);
        let to_s = (end as f64 / self.recording.rate_hz).min(strip.to_s);
        (from_s < to_s).then(|| (self.x(strip, from_s), self.x(strip, to_s)))
    }

    /// Draws paper and lines: every millimetre, and stronger every five.
    pub fn draw_grid(&self, svg: &mut Svg) {
        let (width, height) = (self.right - self.left, self.bottom - self.top);
        svg.add(Element::rect(self.left, self.top, width, height).fill(color::PAPER));
        let (mut minor, mut major) = (Path::new(), Path::new());
        let mut line = |i: usize, vertical: bool| {
            let path = if i.is_multiple_of(5) {
                &mut major
            } else {
                &mut minor
            };
            let at = i as f64;
            if vertical {
                path.move_to(self.left + at, self.top);
                path.vertical_to(self.bottom);
            } else {
                path.move_to(self.left, self.top + at);
                path.horizontal_to(self.right);
            }
        };
        for i in 0..=width.round() as usize {
            line(i, true);
        }
        for i in 0..=height.round() as usize {
            line(i, false);
        }
        svg.add(
            Element::path(minor.data())
                .stroke(color::GRID_MINOR, 0.1)
                .attr("class", "grid-1mm"),
        );
        svg.add(
            Element::path(major.data())
                .stroke(color::GRID_MAJOR, 0.18)
                .attr("class", "grid-5mm"),
        );
    }

    /// Draws the calibration pulse of 1 mV and 0.2 s at the start of every band.
    pub fn draw_calibration(&self, svg: &mut Svg) {
        let mut path = Path::new();
        // Up to 50 mm/s the pulse lasts 0.2 s; faster paper has no room for it.
        let width = (0.2 * self.speed_mm_per_s).min(10.0);
        let foot = (PULSE_MM - 3.0 - width) / 3.0;
        for band in &self.bands {
            let high = (band.baseline - self.gain_mm_per_mv).max(band.top);
            path.move_to(self.left + foot, band.baseline);
            path.horizontal_to(self.left + 2.0 * foot);
            path.vertical_to(high);
            path.horizontal_to(self.left + 2.0 * foot + width);
            path.vertical_to(band.baseline);
            path.horizontal_to(self.left + 3.0 * foot + width);
        }
        svg.add(
            Element::path(path.data())
                .stroke(color::INK, 0.25)
                .attr("stroke-linejoin", "round")
                .attr("class", "calibration"),
        );
    }

    /// Draws every trace at full resolution, clipped to its band. Returns the rows of the recording
    /// whose trace left the band.
    pub fn draw_traces(&self, svg: &mut Svg) -> Vec<usize> {
        let mut clipped = Vec::new();
        for band in &self.bands {
            let clip = svg.clip_rect(
                self.left,
                band.top,
                self.right - self.left,
                band.bottom - band.top,
            );
            svg.open(Element::group().clip(clip));
            for strip in &band.strips {
                let (data, outside) = trace::path(
                    self.row(strip.row),
                    self.recording.rate_hz,
                    (strip.from_s, strip.to_s),
                    |time_s| self.x(strip, time_s),
                    |mv| band.baseline - (mv - self.offsets_mv[strip.row]) * self.gain_mm_per_mv,
                    (band.top, band.bottom),
                );
                if outside && !clipped.contains(&strip.row) {
                    clipped.push(strip.row);
                }
                if !data.is_empty() {
                    let lead = self.recording.leads.leads()[strip.row].name();
                    svg.add(
                        Element::path(data.data())
                            .stroke(color::INK, 0.25)
                            .attr("stroke-linejoin", "round")
                            .attr("stroke-linecap", "round")
                            .attr("class", "trace")
                            .attr("data-lead", lead),
                    );
                }
            }
            svg.close();
        }
        clipped.sort_unstable();
        clipped
    }

    /// Writes the lead name at the top left of every strip, moved from there as far as it takes for no trace to cross it, and a tick where a
    /// strip follows another.
    pub fn draw_lead_names(&self, svg: &mut Svg) {
        for band in &self.bands {
            for (i, strip) in band.strips.iter().enumerate() {
                let x = self.x(strip, strip.from_s);
                if i > 0 {
                    let mut tick = Path::new();
                    for (from, to) in [(-4.0, -2.0), (2.0, 4.0)] {
                        tick.move_to(x, band.baseline + from);
                        tick.vertical_to(band.baseline + to);
                    }
                    svg.add(Element::path(tick.data()).stroke(color::INK, 0.3));
                }
                let name = self.recording.leads.leads()[strip.row].name();
                let name = crate::text::fit(name, NAME_MM, 24.0);
                let width = crate::text::width(&name, NAME_MM) * 1.1;
                let (x, y) = self.free_place(band, strip, width);
                svg.add(
                    Element::text(x, y, NAME_MM, Anchor::Start, &name)
                        .bold()
                        .fill(color::INK)
                        .halo(color::PAPER, 0.9),
                );
            }
        }
    }

    /// Where a name of a width fits beside the trace of a strip: at the top left, else nearest to it. A trace that fills its band leaves no
    /// place; the name then stays at the top left.
    fn free_place(&self, band: &Band, strip: &Strip, width: f64) -> (f64, f64) {
        let (first, last) = (self.x(strip, strip.from_s), self.x(strip, strip.to_s));
        let usual = (first + 1.2, band.top + 5.2);
        let lowest = (band.bottom - band.top - 1.0).max(5.2);
        let steps = (0..).map(|step| f64::from(step) * NAME_STEP_MM);
        let mut heights: Vec<f64> = steps
            .map(|down| 3.7 + down)
            .take_while(|&y| y <= lowest)
            .collect();
        heights.sort_by(|a, b| (a - 5.2).abs().total_cmp(&(b - 5.2).abs()));
        heights.insert(0, 5.2);
        let room = (last - width - usual.0).clamp(0.0, NAME_SHIFT_MM);
        let shifts = (0..).map(|step| f64::from(step) * NAME_STEP_MM);
        for x in shifts
            .take_while(|&shift| shift <= room)
            .map(|shift| usual.0 + shift)
        {
            let time_s = |x: f64| strip.from_s + (x - first) / self.speed_mm_per_s;
            // A sample further on both sides, for the lines to the neighbours.
            let step_s = 1.0 / self.recording.rate_hz;
            let (from_s, to_s) = (time_s(x - 0.8) - step_s, time_s(x + width + 0.8) + step_s);
            let (from_s, to_s) = (from_s.max(strip.from_s), to_s.min(strip.to_s));
            let shown = shown_samples(self.recording, strip.row, from_s, to_s);
            let finite = shown.iter().filter(|mv| mv.is_finite());
            let y_of = |mv: f32| {
                let mm = (f64::from(mv) - self.offsets_mv[strip.row]) * self.gain_mm_per_mv;
                (band.baseline - mm).clamp(band.top, band.bottom)
            };
            let (high, low) = finite
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(high, low), &mv| {
                    (high.min(y_of(mv)), low.max(y_of(mv)))
                });
            let free = |y: f64| y + 0.6 < high || y - NAME_MM > low;
            let mut places = heights.iter().map(|down| band.top + down);
            if let Some(y) = places.find(|&y| free(y)) {
                return (x, y);
            }
        }
        usual
    }

    fn row(&self, row: usize) -> &'a [f32] {
        row_mv(self.recording, row)
    }
}

/// All samples of one row in millivolts.
pub(crate) fn row_mv(recording: &Recording, row: usize) -> &[f32] {
    let len = recording.len();
    recording
        .samples_mv()
        .get(row * len..(row + 1) * len)
        .unwrap_or_default()
}

/// The next multiple of five millimetres.
pub(crate) fn boxes(mm: f64) -> f64 {
    // The small step keeps a length that is a multiple up to rounding from growing by a box.
    ((mm - 1e-6) / BOX_MM).ceil().max(0.0) * BOX_MM
}

fn shown_samples(recording: &Recording, row: usize, from_s: f64, to_s: f64) -> &[f32] {
    trace::window(row_mv(recording, row), recording.rate_hz, from_s, to_s).1
}

/// The reach of a band above and below its baseline, in whole boxes.
fn reach(extent: &Extent, gain: f64) -> (f64, f64) {
    let side = |mv: f64, least: f64| boxes(mv * gain + MARGIN_MM).clamp(least, MOST_MM);
    (
        side(extent.up_mv, LEAST_UP_MM),
        side(extent.down_mv, LEAST_DOWN_MM),
    )
}

/// The largest standard gain at which no trace is clipped and the sheet keeps its height.
fn fitting_gain(extents: &[Extent], plan: &Plan) -> f64 {
    let fits = |gain: f64| {
        let height: f64 = extents
            .iter()
            .map(|extent| {
                let (up, down) = reach(extent, gain);
                up + down
            })
            .sum();
        let least = extents.len() as f64 * (LEAST_UP_MM + LEAST_DOWN_MM);
        height <= plan.height_mm.max(least)
            && extents
                .iter()
                .all(|e| e.up_mv.max(e.down_mv) * gain <= MOST_MM)
    };
    GAINS_MM_PER_MV
        .into_iter()
        .find(|&gain| fits(gain))
        .unwrap_or(GAINS_MM_PER_MV[2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_round_up_but_not_for_rounding_errors() {
        assert_eq!(boxes(0.0), 0.0);
        assert_eq!(boxes(5.0 + 1e-9), 5.0);
        assert_eq!(boxes(5.1), 10.0);
    }

    #[test]
    fn gain_is_halved_before_anything_is_clipped() {
        let plan = Plan::new(0.0, 0.0, 165.0);
        let rows = |mv: f64| {
            vec![
                Extent {
                    up_mv: mv,
                    down_mv: mv
                };
                4
            ]
        };
        assert_eq!(fitting_gain(&rows(0.01), &plan), 10.0);
        assert_eq!(fitting_gain(&rows(1.5), &plan), 10.0);
        assert_eq!(fitting_gain(&rows(2.5), &plan), 5.0);
        assert_eq!(fitting_gain(&rows(6.0), &plan), 2.5);
        assert_eq!(fitting_gain(&rows(500.0), &plan), 2.5);
    }
}
