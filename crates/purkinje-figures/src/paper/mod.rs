//! The standard picture of an ECG on millimetre paper.
//!
//! 25 mm/s and 10 mm/mV on a grid of 1 mm and 5 mm, in true millimetres: printed at 100 %, a ruler
//! measures it. The twelve standard leads come in three rows of four columns of 2.5 s with a rhythm
//! strip below; any other set of leads, and records too short for four columns, come one row per lead.

mod sheet;
mod trace;

use purkinje_record::{Lead, Recording};

pub(crate) use sheet::{Plan, Sheet, Strip};

use crate::color;
use crate::svg::{Anchor, Element, Path, Svg};
use crate::text;

/// Longest window one picture shows, in seconds.
pub const MAX_WINDOW_S: f64 = 120.0;

pub(crate) const DISCLAIMER: &str = "Research use only, not a medical device.";

/// Length of a column of the standard layout, in seconds.
const COLUMN_S: f64 = 2.5;
/// The standard layout is chosen when the last column would hold at least this much.
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
    /// the other in time, and a rhythm strip. Leads the recording lacks leave their place empty.
    Standard,
    /// One row per lead, in the order of the recording.
    Rows,
}

/// How an ECG is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct PaperOptions {
    /// First moment shown, in seconds.
    pub start_s: f64,
    /// How much is shown, in seconds, at most [`MAX_WINDOW_S`]. The standard layout always shows 10 s.
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
    /// `false`: 0 mV lies on the baseline.
    pub centred: bool,
    /// What was done to the signal, in words ("0.5-40 Hz band-pass"). `None` says "unfiltered".
    pub filter: Option<String>,
    /// A line beside the facts, such as a diagnosis or the data set.
    pub note: Option<String>,
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
/// Samples that are not finite leave gaps. A trace that would leave its band is clipped there, and a
/// line below the paper names the lead. Never fails: a recording without samples or without a usable
/// sampling rate gives empty paper that says so.
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

    let notes = notes(recording, &sheet, &view, options, marks, &clipped);
    let lines = wrap(&notes, 2.7, width_mm - 2.0 * BORDER_MM);
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
    draw_header(&mut svg, recording, &sheet, &view, options);
    svg.append(body);
    for (i, line) in lines.iter().enumerate() {
        let y = sheet.bottom + 5.0 + i as f64 * 4.0;
        svg.add(Element::text(BORDER_MM, y, 2.7, Anchor::Start, line).fill(color::MUTED));
    }
    svg
}

/// What of a recording is shown, with every option made usable.
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
            Some("The sampling rate is unknown: nothing can be drawn to scale.")
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
                // Neighbouring tokens may overlap: their brackets take turns at two heights.
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

fn draw_header(
    svg: &mut Svg,
    recording: &Recording,
    sheet: &Sheet<'_>,
    view: &View,
    options: &PaperOptions,
) {
    let scale = format!(
        "{} mm/s  \u{b7}  {} mm/mV",
        text::plain(sheet.speed_mm_per_s, 2),
        text::plain(sheet.gain_mm_per_mv, 2)
    );
    let room = sheet.right - sheet.left;
    let scale_room = text::width(&scale, 3.6) * 1.1;
    let id = text::fit(&recording.id, 4.4, (room - scale_room - 6.0) / 1.06);
    svg.add(
        Element::text(sheet.left, 9.0, 4.4, Anchor::Start, &id)
            .bold()
            .fill(color::INK),
    );
    svg.add(
        Element::text(sheet.right, 9.0, 3.6, Anchor::End, &scale)
            .bold()
            .fill(color::INK),
    );
    let header = Header::new(recording, view, options, room);
    svg.add(Element::text(sheet.left, 14.6, 3.2, Anchor::Start, &header.facts).fill(color::MUTED));
    if let Some(note) = header.note {
        svg.add(Element::text(sheet.right, 14.6, 3.2, Anchor::End, note).fill(color::INK));
    }
}

/// The second line of the header, and what of it must go below the paper for want of room.
struct Header<'a> {
    facts: String,
    note: Option<&'a str>,
    below: Vec<String>,
}

impl<'a> Header<'a> {
    fn new(recording: &Recording, view: &View, options: &'a PaperOptions, room: f64) -> Self {
        let whole = facts(recording, view, options);
        let mut below = Vec::new();
        let facts = match &options.filter {
            Some(filter) if text::width(&whole, 3.2) > room => {
                below.push(format!("Filter: {filter}."));
                let short = PaperOptions {
                    filter: Some("filter: see below".to_owned()),
                    ..options.clone()
                };
                text::fit(&self::facts(recording, view, &short), 3.2, room)
            }
            _ => text::fit(&whole, 3.2, room),
        };
        let left = room - text::width(&facts, 3.2) - 6.0;
        let note = options.note.as_deref();
        let fits = note.filter(|note| text::width(note, 3.2) <= left);
        if fits.is_none() {
            below.extend(note.map(|note| format!("{}.", note.trim_end_matches('.'))));
        }
        Header {
            facts,
            note: fits,
            below,
        }
    }
}

/// Rate, length and filter in one line.
pub(crate) fn facts(recording: &Recording, view: &View, options: &PaperOptions) -> String {
    let mut facts = Vec::new();
    if recording.rate_hz.is_finite() && recording.rate_hz > 0.0 {
        facts.push(format!("{} Hz", text::plain(recording.rate_hz, 2)));
        let whole = view.start_s <= 0.0 && view.end_s >= view.duration_s;
        facts.push(if whole {
            format!("{} s", text::number(view.duration_s, 1))
        } else {
            format!(
                "{}\u{2013}{} s of {} s",
                text::number(view.start_s, 1),
                text::number(view.end_s, 1),
                text::number(view.duration_s, 1)
            )
        });
    }
    let leads = recording.leads.len();
    facts.push(format!("{leads} lead{}", if leads == 1 { "" } else { "s" }));
    facts.push(options.filter.clone().unwrap_or("unfiltered".to_owned()));
    facts.join("  \u{b7}  ")
}

/// Everything a reader must know to read the picture right, in sentences.
fn notes(
    recording: &Recording,
    sheet: &Sheet<'_>,
    view: &View,
    options: &PaperOptions,
    marks: &Marks<'_>,
    clipped: &[usize],
) -> Vec<String> {
    let mut notes = Header::new(recording, view, options, sheet.right - sheet.left).below;
    notes.extend(scale_notes(recording, sheet, options, clipped));
    let is_shown = |row: &usize| {
        let mut strips = sheet.bands.iter().flat_map(|band| &band.strips);
        strips.any(|strip| strip.row == *row)
    };
    let hidden: Vec<usize> = (0..recording.leads.len())
        .filter(|row| !is_shown(row))
        .collect();
    if !hidden.is_empty() {
        notes.push(format!("Not shown: {}.", lead_names(recording, &hidden)));
    }
    if view.nothing_because.is_none() {
        if !marks.r_peaks.is_empty() || !marks.tokens.is_empty() {
            notes.push("Triangles: R-peaks.".to_owned());
        }
        if !marks.tokens.is_empty() {
            notes.push("Dashed lines and brackets: beat tokens.".to_owned());
        }
    }
    notes.push(DISCLAIMER.to_owned());
    notes
}

/// What gain, clipping and baseline did to the traces, in sentences.
pub(crate) fn scale_notes(
    recording: &Recording,
    sheet: &Sheet<'_>,
    options: &PaperOptions,
    clipped: &[usize],
) -> Vec<String> {
    let mut notes = Vec::new();
    if options.gain_mm_per_mv.is_none() && sheet.gain_mm_per_mv < 10.0 {
        notes.push(format!(
            "Drawn at {} mm/mV because the traces do not fit at 10 mm/mV.",
            text::plain(sheet.gain_mm_per_mv, 2)
        ));
    }
    if !clipped.is_empty() {
        notes.push(format!(
            "Clipped at the edge of the band: {}.",
            lead_names(recording, clipped)
        ));
    }
    if sheet.offsets_mv.iter().any(|offset| offset.abs() >= 0.05) {
        notes.push("Each lead is drawn about its median.".to_owned());
    }
    if sheet.has_gaps {
        notes.push("Gaps: missing samples.".to_owned());
    }
    notes
}

fn lead_names(recording: &Recording, rows: &[usize]) -> String {
    rows.iter()
        .filter_map(|&row| recording.leads.leads().get(row))
        .map(|lead| text::fit(lead.name(), 2.7, 24.0))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Sets sentences one after the other in lines that fit `room`.
pub(crate) fn wrap(sentences: &[String], size: f64, room: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in sentences.iter().flat_map(|sentence| sentence.split(' ')) {
        match lines.last_mut() {
            Some(line) if text::width(line, size) + text::width(word, size) + size <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(text::fit(word, size, room)),
        }
    }
    lines
}
