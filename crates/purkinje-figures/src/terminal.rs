//! A recording in the terminal, drawn with Unicode braille: two by four dots per character.

use std::fmt::Write;

use purkinje_record::{Lead, Recording};

/// How a recording is drawn in the terminal.
#[derive(Clone, Debug, PartialEq)]
pub struct TerminalOptions {
    /// Total width in characters; at least 24 are used.
    pub columns: usize,
    /// Height of one strip in lines; at least 2 are used.
    pub lines: usize,
    /// Draws every lead instead of only the rhythm strip.
    pub all_leads: bool,
    /// Lead of the rhythm strip. `None`: II, or the first lead where there is no II.
    pub rhythm: Option<Lead>,
    /// Start of the window, in seconds.
    pub start_s: f64,
    /// Length of the window, in seconds.
    pub window_s: f64,
    /// Where the recording is a stretch of a longer one: its start in seconds.
    pub before_s: f64,
    /// Uses ANSI colours. The caller decides, depending on the output and `NO_COLOR`.
    pub color: bool,
}

impl Default for TerminalOptions {
    fn default() -> Self {
        TerminalOptions {
            columns: 100,
            lines: 6,
            all_leads: false,
            rhythm: None,
            start_s: 0.0,
            window_s: 10.0,
            before_s: 0.0,
            color: false,
        }
    }
}

/// Characters left of a strip: the lead name and the scale.
const GUTTER: usize = 9;

/// Draws the rhythm strip, or every lead, with R-peaks (sample indices) marked above.
///
/// Each strip is scaled to its own range, written at its left in millivolts; samples that are not finite leave gaps.
/// Control characters in names are replaced, so that a file cannot control the terminal.
pub fn draw(recording: &Recording, options: &TerminalOptions, r_peaks: &[usize]) -> String {
    let paint = Paint(options.color);
    let mut out = String::new();
    let rate_hz = recording.rate_hz;
    let title = format!(
        "{}  {} Hz  {} leads, mV",
        printable(&recording.id),
        crate::text::plain(rate_hz, 2),
        recording.leads.len()
    );
    let _ = writeln!(out, "{}", paint.bold(&title));
    let usable = |value: f64, otherwise: f64| {
        if value.is_finite() && value > 0.0 {
            value
        } else {
            otherwise
        }
    };
    if !(rate_hz.is_finite() && rate_hz > 0.0) {
        out.push_str("The sampling rate is unknown, so the recording cannot be drawn.\n");
        return out;
    }
    let len = recording.len();
    // Casts saturate, so any start and window give an index.
    let first = ((usable(options.start_s, 0.0) * rate_hz).round() as usize).min(len);
    let wanted = ((usable(options.window_s, 10.0) * rate_hz).round() as usize).max(1);
    let end = first.saturating_add(wanted).min(len);
    if first == end {
        out.push_str("No samples in the window.\n");
        return out;
    }
    let canvas = Canvas::new(
        options.columns.clamp(24, 4096) - GUTTER,
        options.lines.clamp(2, 256),
    );
    let rhythm = options
        .rhythm
        .as_ref()
        .and_then(|lead| recording.leads.position(lead))
        .or_else(|| recording.leads.position(&Lead::II))
        .unwrap_or(0);
    let _ = writeln!(
        out,
        "{}",
        paint.peak(peak_line(r_peaks, first, end, canvas.columns).trim_end())
    );
    for (row, lead) in recording.leads.leads().iter().enumerate() {
        if options.all_leads || row == rhythm {
            let samples = &recording.samples_mv()[row * len + first..row * len + end];
            draw_strip(&mut out, lead, samples, canvas, &paint);
        }
    }
    out.push_str(&time_line(
        options.before_s,
        first,
        end,
        rate_hz,
        canvas.columns,
    ));
    out
}

/// Size of a strip in characters.
#[derive(Clone, Copy)]
struct Canvas {
    columns: usize,
    lines: usize,
}

impl Canvas {
    fn new(columns: usize, lines: usize) -> Self {
        Canvas { columns, lines }
    }

    /// Dots of a trace, one byte of braille per character, row-major `[line, column]`.
    fn dots(self, samples_mv: &[f32], (low, high): (f32, f32)) -> Vec<u8> {
        /// Braille dot bits by `[row of four][column of two]`.
        const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        let (width, height) = (self.columns * 2, self.lines * 4);
        let mut cells = vec![0u8; self.columns * self.lines];
        let level = |mv: f32| {
            let share = if high > low {
                (high - mv) / (high - low)
            } else {
                0.5
            };
            ((share * (height - 1) as f32).round().max(0.0) as usize).min(height - 1)
        };
        // The trace between two columns of dots is joined, unless a gap lies between them.
        let mut before: Option<f32> = None;
        for x in 0..width {
            // 128 bits: sample counts times dots stay exact at any length.
            let at = |x: usize| (samples_mv.len() as u128 * x as u128 / width as u128) as usize;
            let range = at(x)..at(x + 1).max(at(x) + 1);
            let column = &samples_mv[range];
            let finite = || column.iter().copied().filter(|v| v.is_finite());
            let range = finite().fold(None, |range: Option<(f32, f32)>, v| {
                Some(range.map_or((v, v), |(least, most)| (least.min(v), most.max(v))))
            });
            if let Some((mut least, mut most)) = range {
                if let Some(before) = before {
                    least = least.min(before);
                    most = most.max(before);
                }
                for y in level(most)..=level(least) {
                    cells[y / 4 * self.columns + x / 2] |= BITS[y % 4][x % 2];
                }
            }
            before = column.last().copied().filter(|v| v.is_finite());
        }
        cells
    }
}

fn draw_strip(out: &mut String, lead: &Lead, samples_mv: &[f32], canvas: Canvas, paint: &Paint) {
    let finite = || samples_mv.iter().copied().filter(|v| v.is_finite());
    let low = finite().fold(f32::INFINITY, f32::min);
    let high = finite().fold(f32::NEG_INFINITY, f32::max);
    let cells = canvas.dots(samples_mv, (low, high));
    let scale = |mv: f32| {
        if mv.is_finite() {
            let decimals = if mv.abs() < 99.5 { 2 } else { 0 };
            let shown = crate::text::number(f64::from(mv), decimals);
            if shown.chars().count() < GUTTER {
                shown
            } else {
                format!("{mv:.0e}")
            }
        } else {
            String::new()
        }
    };
    for line in 0..canvas.lines {
        let name = if line == canvas.lines / 2 {
            printable(lead.name()).chars().take(GUTTER - 1).collect()
        } else {
            String::new()
        };
        let label = match line {
            0 => scale(high),
            _ if line + 1 == canvas.lines => scale(low),
            _ => String::new(),
        };
        let gutter = if name.is_empty() {
            paint.faint(&format!("{label:>width$} ", width = GUTTER - 1))
        } else {
            paint.bold(&format!("{name:<GUTTER$}"))
        };
        let trace: String = cells[line * canvas.columns..(line + 1) * canvas.columns]
            .iter()
            .map(|&dots| match dots {
                0 => ' ',
                dots => char::from_u32(0x2800 + u32::from(dots)).unwrap_or(' '),
            })
            .collect();
        let _ = writeln!(out, "{gutter}{}", paint.trace(trace.trim_end()));
    }
}

fn peak_line(r_peaks: &[usize], first: usize, end: usize, columns: usize) -> String {
    let mut marks = vec![' '; GUTTER + columns];
    for &peak in r_peaks.iter().filter(|&&peak| peak >= first && peak < end) {
        let column = (peak - first) as u128 * columns as u128 / (end - first) as u128;
        marks[GUTTER + column as usize] = '\u{25be}';
    }
    marks.into_iter().collect()
}

/// Seconds below the strips: as many labels as fit, on whole steps.
fn time_line(before_s: f64, first: usize, end: usize, rate_hz: f64, columns: usize) -> String {
    let second = |sample: usize| before_s + sample as f64 / rate_hz;
    let (from_s, to_s) = (second(first), second(end));
    let step = crate::chart::nice_step((to_s - from_s) * 9.0 / columns as f64);
    let mut line = vec![' '; GUTTER + columns + 8];
    if step.is_finite() && step > 0.0 {
        let mut tick = (from_s / step).ceil();
        for _ in 0..columns {
            let time_s = tick * step;
            if time_s > to_s {
                break;
            }
            let column = ((time_s - from_s) / (to_s - from_s) * columns as f64) as usize;
            let label = format!("{} s", crate::text::plain(time_s, 3));
            for (i, c) in label.chars().enumerate() {
                if let Some(place) = line.get_mut(GUTTER + column + i) {
                    *place = c;
                }
            }
            tick += 1.0;
        }
    }
    let line: String = line.into_iter().take(GUTTER + columns).collect();
    format!("{}\n", line.trim_end())
}

/// Replaces control characters and characters that change the writing direction.
fn printable(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                '\u{fffd}'
            }
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

struct Paint(bool);

impl Paint {
    fn with(&self, code: &str, text: &str) -> String {
        if self.0 && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    fn bold(&self, text: &str) -> String {
        self.with("1", text)
    }

    fn faint(&self, text: &str) -> String {
        self.with("2", text)
    }

    fn trace(&self, text: &str) -> String {
        self.with("32", text)
    }

    fn peak(&self, text: &str) -> String {
        self.with("31", text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use purkinje_record::LeadSet;

    fn recording(samples: Vec<f32>, rate_hz: f64) -> Recording {
        Recording::new("r", LeadSet::new(vec![Lead::II]), rate_hz, samples).unwrap()
    }

    #[test]
    fn a_ramp_is_drawn_dot_by_dot() {
        let canvas = Canvas::new(2, 1);
        let dots = canvas.dots(&[0.0, 1.0, 2.0, 3.0], (0.0, 3.0));
        // Each column joins its own height with the one before it.
        assert_eq!(dots, [0x40 | 0x80 | 0x20, 0x02 | 0x04 | 0x08 | 0x10]);
    }

    #[test]
    fn gaps_are_blank_and_nothing_joins_across_them() {
        let nan = f32::NAN;
        let dots = Canvas::new(2, 1).dots(&[0.0, nan, nan, 3.0], (0.0, 3.0));
        assert_eq!(dots, [0x40, 0x08]);
    }

    #[test]
    fn peaks_stand_above_their_place() {
        let text = draw(
            &recording(vec![0.0; 1000], 100.0),
            &TerminalOptions {
                columns: 109,
                ..Default::default()
            },
            &[0, 500, 5000],
        );
        let marks: Vec<char> = text.lines().nth(1).unwrap().chars().collect();
        let at: Vec<usize> = (0..marks.len())
            .filter(|&i| marks[i] == '\u{25be}')
            .collect();
        assert_eq!(at, [GUTTER, GUTTER + 50]);
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        let mut hostile = recording(vec![0.0; 10], 10.0);
        hostile.id = "\u{1b}[2J\u{202e}x\r".into();
        let text = draw(&hostile, &TerminalOptions::default(), &[]);
        assert!(
            !text.chars().any(|c| c.is_control() && c != '\n'),
            "{text:?}"
        );
        assert!(!text.contains('\u{202e}'));
    }

    #[test]
    fn colour_only_adds_escapes() {
        let recording = recording((0..1000).map(|i| (i as f32 * 0.1).sin()).collect(), 100.0);
        let plain = draw(&recording, &TerminalOptions::default(), &[100]);
        let color = TerminalOptions {
            color: true,
            ..Default::default()
        };
        let mut stripped = draw(&recording, &color, &[100]);
        assert!(stripped.contains("\u{1b}[32m"));
        for code in ["0", "1", "2", "31", "32"] {
            stripped = stripped.replace(&format!("\u{1b}[{code}m"), "");
        }
        assert_eq!(stripped, plain);
    }
}
