//! The standard picture of an ECG on millimetre paper.
//!
//! 25 mm/s and 10 mm/mV on a grid of 1 mm and 5 mm, in true millimetres: printed at 100 %, a ruler
//! measures it. The twelve standard leads come in three rows of four columns of 2.5 s with a rhythm
//! strip below; any other set of leads, and records too short for four columns, come one row per lead.

pub(crate) mod caption;
mod sheet;
mod trace;

use purkinje_record::{Lead, Recording};

pub(crate) use sheet::{Plan, Sheet, Strip};

use crate::color;
use crate::svg::{Anchor, Element, Path, Svg};
use crate::text;

/// Longest window of one picture, in seconds.
pub const MAX_WINDOW_S: f64 = 120.0;

/// Length of a column of the standard layout, in seconds.
const COLUMN_S: f64 = 2.5;
/// The standard layout is chosen if the last column would hold at least this much.
const LEAST_LAST_COLUMN_S: f64 = 1.0;
/// Blank border of the page.
const BORDER_MM: f64 = 6.0;
const HEADER_MM: f64 = 18.0;
/// Narrowest page on which the header can be read.
const LEAST_WIDTH_MM: f64 = 130.0;
/// Height of a landscape A4 page less header, notes and borders.
const STANDARD_HEIGHT_MM: f64 = 165.0;

/// How the leads are arranged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// [`Layout::Standard`] for exactly the twelve standard leads and enough time, else [`Layout::Rows`].
    #[default]
    Auto,
    /// Three rows of four columns (I aVR V1 V4, II aVL V2 V5, III aVF V3 V6), 2.5 s each, one after
    /// the other in time, and a rhythm strip. Places of missing leads are empty.
    Standard,
    /// One row per lead, in the order of the recording.
    Rows,
}

/// How an ECG is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct PaperOptions {
    /// Start of the window, in seconds.
    pub start_s: f64,
    /// Length of the window in seconds, at most [`MAX_WINDOW_S`]. The standard layout always shows 10 s.
    pub window_s: f64,
    /// Arrangement of the leads.
    pub layout: Layout,
    /// Paper speed in millimetres per second: 25, or 50 as usual in some countries.
    pub speed_mm_per_s: f64,
    /// Gain in millimetres per millivolt. `None`: 10, or 5 or 2.5 where the traces would not fit.
    pub gain_mm_per_mv: Option<f64>,
    /// Lead of the rhythm strip. `None`: II, or the first lead where there is no II.
    pub rhythm: Option<Lead>,
    /// Draws each lead about its median, as the high-pass filter of an electrocardiograph would.
    /// `false`: 0 mV is on the baseline.
    pub centred: bool,
    /// Description of the filter ("0.5-40 Hz band-pass"). `None` says "as recorded".
    pub filter: Option<String>,
    /// A note in the header, such as a diagnosis or the data set.
    pub note: Option<String>,
    /// Heart rate in beats per minute, for the header.
    pub heart_rate_bpm: Option<f64>,
    /// Where the recording is a stretch of a longer one: its start and the length of that one, in seconds.
    pub part_of: Option<(f64, f64)>,
}

impl Default for PaperOptions {
    fn default() -> Self {
        PaperOptions {
            start_s: 0.0,
            window_s: 10.0,
            layout: Layout::Auto,
            speed_mm_per_s: 25.0,
            gain_mm_per_mv: None,
            rhythm: None,
            centred: true,
            filter: None,
            note: None,
            heart_rate_bpm: None,
            part_of: None,
        }
    }
}

/// What is marked on the paper, in samples of the recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks<'a> {
    /// R-peaks: small triangles.
    pub r_peaks: &'a [usize],
    /// Beat tokens as (start, peak, end), end exclusive: thin lines at both borders in every
    /// band, and a bracket from start to end in the last one. The peak is marked like an R-peak.
    pub tokens: &'a [(usize, usize, usize)],
}

/// Draws a recording on ECG paper.
///
/// Samples that are not finite leave gaps. A trace that would leave its band is clipped, and a note below the paper
/// names the lead. Never fails: a recording without samples or without a usable sampling rate gives empty paper with a
/// note.
pub fn draw(recording: &Recording, options: &PaperOptions, marks: &Marks<'_>) -> Svg {
    let view = View::new(recording, options);
    let (rows, trace_mm) = match view.layout {
        Layout::Standard => view.standard_rows(recording, options),
        _ => view.lead_rows(recording),
    };
    let mut plan = Plan::new(
        BORDER_MM,
        HEADER_MM,
        match view.layout {
            Layout::Standard => STANDARD_HEIGHT_MM,
            _ => rows.len() as f64 * 35.0,
        },
    );
    plan.speed_mm_per_s = view.speed_mm_per_s;
    plan.gain_mm_per_mv = options
        .gain_mm_per_mv
        .filter(|gain| gain.is_finite() && *gain > 0.0);
    plan.centred = options.centred;
    let sheet = Sheet::new(
        recording,
        rows,
        trace_mm.max(LEAST_WIDTH_MM - 2.0 * BORDER_MM - 20.0),
        &plan,
    );

    let width_mm = sheet.right + BORDER_MM;
    // Traces are drawn into a picture of their own height first: the notes depend on what was clipped.
    let mut body = Svg::new(width_mm, sheet.bottom, "");
    sheet.draw_grid(&mut body);
    draw_marks(&mut body, &sheet, marks);
    sheet.draw_calibration(&mut body);
    let clipped = sheet.draw_traces(&mut body);
    sheet.draw_lead_names(&mut body);
    if let Some(reason) = view.nothing_because {
        body.add(
            Element::text(
                (sheet.left + sheet.right) / 2.0,
                (sheet.top + sheet.bottom) / 2.0 + 2.0,
                5.0,
                Anchor::Middle,
                reason,
            )
            .fill(color::MUTED)
            .halo(color::PAPER, 1.5),
        );
    }

    let notes = caption::notes(recording, &sheet, &view, options, marks, &clipped);
    let lines = caption::wrap(&notes, 2.7, width_mm - 2.0 * BORDER_MM);
    let height_mm = sheet.bottom + 3.0 + lines.len() as f64 * 4.0 + 2.0;
    let mut svg = Svg::new(width_mm, height_mm, &format!("ECG {}", recording.id));
    svg.describe(&format!(
        "{} leads ({}) at {} mm/s and {} mm/mV.",
        recording.leads.len(),
        recording.leads,
        text::plain(sheet.speed_mm_per_s, 2),
        text::plain(sheet.gain_mm_per_mv, 2)
    ));
    svg.add(Element::rect(0.0, 0.0, width_mm, height_mm).fill("#ffffff"));
    caption::draw_header(&mut svg, recording, &sheet, &view, options);
    svg.append(body);
    for (i, line) in lines.iter().enumerate() {
        let y = sheet.bottom + 5.0 + i as f64 * 4.0;
        svg.add(Element::text(BORDER_MM, y, 2.7, Anchor::Start, line).fill(color::MUTED));
    }
    svg
}

/// The part of a recording that is shown, with validated options.
pub(crate) struct View {
    pub layout: Layout,
    pub start_s: f64,
    pub end_s: f64,
    pub duration_s: f64,
    pub speed_mm_per_s: f64,
    pub nothing_because: Option<&'static str>,
}

impl View {
    pub fn new(recording: &Recording, options: &PaperOptions) -> View {
        let rate_known = recording.rate_hz.is_finite() && recording.rate_hz > 0.0;
        let duration_s = if rate_known {
            recording.duration_s()
        } else {
            0.0
        };
        let usable = |value: f64, otherwise: f64| {
            if value.is_finite() && value > 0.0 {
                value
            } else {
                otherwise
            }
        };
        let start_s = usable(options.start_s, 0.0).min(duration_s);
        let window_s = usable(options.window_s, 10.0).min(MAX_WINDOW_S);
        let left_s = duration_s - start_s;
        let all_twelve = recording.leads.len() == 12
            && Lead::STANDARD_12
                .iter()
                .all(|lead| recording.leads.position(lead).is_some());
        let layout = match options.layout {
            Layout::Auto
                if all_twelve
                    && window_s == 10.0
                    && left_s >= 3.0 * COLUMN_S + LEAST_LAST_COLUMN_S =>
            {
                Layout::Standard
            }
            Layout::Auto => Layout::Rows,
            chosen => chosen,
        };
        let window_s = if layout == Layout::Standard {
            4.0 * COLUMN_S
        } else {
            window_s
        };
        let nothing_because = if !rate_known {
            Some("The sampling rate is unknown, so the recording cannot be drawn to scale.")
        } else if recording.is_empty() {
            Some("The recording holds no samples.")
        } else if left_s <= 0.0 {
            Some("The recording ends before the chosen window starts.")
        } else {
            None
        };
        View {
            layout,
            start_s,
            end_s: start_s + window_s.min(left_s),
            duration_s,
            speed_mm_per_s: usable(options.speed_mm_per_s, 25.0).clamp(1.0, 200.0),
            nothing_because,
        }
    }

    /// Three rows of four columns and the rhythm strip, and their width in millimetres.
    fn standard_rows(
        &self,
        recording: &Recording,
        options: &PaperOptions,
    ) -> (Vec<Vec<Strip>>, f64) {
        let mut rows: Vec<Vec<Strip>> = (0..3)
            .map(|row| {
                (0..4)
                    .filter_map(|column| {
                        let lead = &Lead::STANDARD_12[column * 3 + row];
                        let from_s = self.start_s + column as f64 * COLUMN_S;
                        Some(Strip {
                            row: recording.leads.position(lead)?,
                            from_s,
                            to_s: (from_s + COLUMN_S).min(self.end_s),
                            x_mm: column as f64 * COLUMN_S * self.speed_mm_per_s,
                        })
                    })
                    .collect()
            })
            .collect();
        let rhythm = options
            .rhythm
            .as_ref()
            .and_then(|lead| recording.leads.position(lead))
            .or_else(|| recording.leads.position(&Lead::II))
            .unwrap_or(0);
        rows.push(vec![Strip {
            row: rhythm,
            from_s: self.start_s,
            to_s: self.end_s,
            x_mm: 0.0,
        }]);
        (rows, 4.0 * COLUMN_S * self.speed_mm_per_s)
    }

    /// One row per lead, and their width in millimetres.
    pub fn lead_rows(&self, recording: &Recording) -> (Vec<Vec<Strip>>, f64) {
        let rows = (0..recording.leads.len())
            .map(|row| {
                vec![Strip {
                    row,
                    from_s: self.start_s,
                    to_s: self.end_s,
                    x_mm: 0.0,
                }]
            })
            .collect();
        (rows, (self.end_s - self.start_s) * self.speed_mm_per_s)
    }
}

/// Marks R-peaks with triangles at the top of a band, tokens with brackets at its bottom.
pub(crate) fn draw_marks(svg: &mut Svg, sheet: &Sheet<'_>, marks: &Marks<'_>) {
    let mut peaks: Vec<usize> = marks
        .r_peaks
        .iter()
        .copied()
        .chain(marks.tokens.iter().map(|token| token.1))
        .collect();
    peaks.sort_unstable();
    peaks.dedup();
    let (mut borders, mut brackets, mut triangles) = (Path::new(), Path::new(), Path::new());
    for (n, band) in sheet.bands.iter().enumerate() {
        // All bands share one time axis, so brackets in the last one serve them all.
        let is_last = n + 1 == sheet.bands.len();
        for strip in &band.strips {
            for (i, &(start, _, end)) in marks.tokens.iter().enumerate() {
                let Some((left, right)) = sheet.x_of_span(strip, start, end) else {
                    continue;
                };
                // Neighbouring tokens may overlap, so their brackets alternate between two heights.
                let y = band.bottom - 0.8 - 1.1 * (i % 2) as f64;
                let (has_start, has_end) = (
                    sheet.x_of_sample(strip, start).is_some(),
                    sheet.x_of_sample(strip, end).is_some(),
                );
                for x in [has_start.then_some(left), has_end.then_some(right)]
                    .into_iter()
                    .flatten()
                {
                    borders.move_to(x, band.top + 2.0);
                    borders.vertical_to(band.bottom);
                }
                if !is_last {
                    continue;
                }
                brackets.move_to(left, if has_start { y - 1.4 } else { y });
                brackets.vertical_to(y);
                brackets.horizontal_to(right);
                if has_end {
                    brackets.vertical_to(y - 1.4);
                }
            }
            for x in peaks.iter().filter_map(|&p| sheet.x_of_sample(strip, p)) {
                triangles.move_to(x - 0.9, band.top + 0.4);
                triangles.line_to(x + 0.9, band.top + 0.4);
                triangles.line_to(x, band.top + 2.0);
                triangles.close();
            }
        }
    }
    if !borders.is_empty() || !brackets.is_empty() {
        svg.add(
            Element::path(borders.data())
                .stroke(color::TOKEN, 0.14)
                .attr("stroke-dasharray", "0.6 0.6")
                .attr("class", "token-borders"),
        );
        svg.add(
            Element::path(brackets.data())
                .stroke(color::TOKEN, 0.25)
                .attr("class", "tokens"),
        );
    }
    if !triangles.is_empty() {
        svg.add(
            Element::path(triangles.data())
                .fill(color::PEAK)
                .attr("class", "r-peaks"),
        );
    }
}
