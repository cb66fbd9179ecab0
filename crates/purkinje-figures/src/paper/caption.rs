//! Text above and below the paper: the recording, how it was drawn, and notes.

use purkinje_record::Recording;

use super::{Marks, PaperOptions, Sheet, View};
use crate::color;
use crate::svg::{Anchor, Element, Svg};
use crate::text;

pub(crate) const DISCLAIMER: &str = "Research use only, not a medical device.";

/// Writes name and scale, and below them rate, length, leads, filter and the caller's note.
pub(crate) fn draw_header(
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

/// The second line of the header, and the parts of it that must go below the paper if there is no room.
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

/// Heart rate, age and sex, sampling rate, length and filter in one line.
pub(crate) fn facts(recording: &Recording, view: &View, options: &PaperOptions) -> String {
    let mut facts = Vec::new();
    let rate = options.heart_rate_bpm.filter(|rate| rate.is_finite());
    facts.extend(rate.map(|rate| format!("{rate:.0}/min")));
    let age = recording.age.filter(|age| age.is_finite());
    facts.extend(age.map(|age| format!("{} years", text::plain(f64::from(age), 1))));
    facts.extend(
        recording
            .sex
            .as_deref()
            .map(|sex| text::fit(sex, 3.2, 20.0)),
    );
    if recording.rate_hz.is_finite() && recording.rate_hz > 0.0 {
        facts.push(format!("{} Hz", text::plain(recording.rate_hz, 2)));
        let (before_s, all_s) = options.part_of.unwrap_or((0.0, view.duration_s));
        let (start_s, end_s) = (before_s + view.start_s, before_s + view.end_s);
        let whole = start_s <= 0.0 && end_s >= all_s;
        facts.push(if whole {
            format!("{} s", text::number(all_s, 1))
        } else {
            format!(
                "{}\u{2013}{} s of {} s",
                text::number(start_s, 1),
                text::number(end_s, 1),
                text::number(all_s, 1)
            )
        });
    }
    let leads = recording.leads.len();
    facts.push(format!("{leads} lead{}", if leads == 1 { "" } else { "s" }));
    facts.push(options.filter.clone().unwrap_or("as recorded".to_owned()));
    facts.join("  \u{b7}  ")
}

/// Notes needed to read the picture correctly.
pub(crate) fn notes(
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

/// Notes on gain, clipping and baseline.
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

/// Wraps sentences to lines that fit `room`.
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
