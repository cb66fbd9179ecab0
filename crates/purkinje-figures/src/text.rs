//! Width of text and formatting of numbers.

use std::fmt::Write;

/// Advance widths of Roboto Regular for U+0020..U+007E in thousandths of the font size.
const ADVANCE: [u16; 95] = [
    248, 258, 320, 616, 562, 732, 622, 175, 342, 348, 431, 567, 197, 276, 264, 413, 562, 562, 562,
    562, 562, 562, 562, 562, 562, 562, 242, 211, 508, 549, 523, 473, 898, 652, 623, 651, 656, 568,
    553, 681, 713, 272, 552, 627, 539, 873, 713, 688, 631, 688, 616, 594, 597, 648, 637, 887, 627,
    601, 599, 265, 411, 265, 418, 451, 309, 544, 562, 523, 564, 530, 348, 562, 551, 243, 239, 507,
    243, 877, 552, 570, 562, 568, 339, 516, 327, 551, 484, 751, 496, 473, 496, 338, 244, 338, 680,
];

/// Viewers without Roboto use a font up to this much wider (Helvetica, Arial).
const OTHER_FONTS: f64 = 1.06;

/// Width of a line of text in the unit of `size`, with room for the wider fonts of the family list.
pub(crate) fn width(text: &str, size: f64) -> f64 {
    let thousandths: f64 = text
        .chars()
        .map(|c| match u32::from(c) {
            code @ 0x20..=0x7e => f64::from(ADVANCE[(code - 0x20) as usize]),
            0x80..=0x52f | 0x2000..=0x22ff => 600.0,
            _ => 1000.0,
        })
        .sum();
    thousandths / 1000.0 * size * OTHER_FONTS
}

/// The text, shortened with an ellipsis until it fits `room` (same unit as `size`).
pub(crate) fn fit(text: &str, size: f64, room: f64) -> String {
    if width(text, size) <= room {
        return text.to_owned();
    }
    // No character is narrower than 0.17 of the size: very long names are cut before they are measured.
    let most = (room / (0.17 * size)).max(0.0) as usize + 1;
    let mut kept: Vec<char> = text.chars().take(most).collect();
    while kept.pop().is_some() {
        let shortened: String = kept.iter().collect::<String>().trim_end().to_owned() + "\u{2026}";
        if width(&shortened, size) <= room {
            return shortened;
        }
    }
    String::new()
}

/// A number with `decimals` places and a real minus sign; an en dash when not finite.
pub(crate) fn number(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return "\u{2013}".to_owned();
    }
    let mut out = String::new();
    let _ = write!(out, "{:.decimals$}", value.abs());
    let is_zero = out.chars().all(|c| matches!(c, '0' | '.'));
    if value < 0.0 && !is_zero {
        out.insert(0, '\u{2212}');
    }
    out
}

/// Like [`number`], with an explicit plus sign for positive values.
pub(crate) fn signed(value: f64, decimals: usize) -> String {
    let shown = number(value, decimals);
    if value > 0.0 && value.is_finite() {
        format!("+{shown}")
    } else {
        shown
    }
}

/// A number without trailing zeros, at most `decimals` places.
pub(crate) fn plain(value: f64, decimals: usize) -> String {
    let shown = number(value, decimals);
    if shown.contains('.') {
        shown.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_way_of_writing() {
        assert_eq!(number(-1.25, 1), "\u{2212}1.2");
        assert_eq!(number(-0.001, 2), "0.00");
        assert_eq!(signed(0.5, 2), "+0.50");
        assert_eq!(plain(500.0, 2), "500");
        assert_eq!(plain(2.50, 2), "2.5");
        assert_eq!(number(f64::NAN, 2), "\u{2013}");
    }

    #[test]
    fn long_text_is_shortened_to_its_room() {
        let long = "record ".repeat(40);
        let shown = fit(&long, 4.0, 60.0);
        assert!(width(&shown, 4.0) <= 60.0 && shown.ends_with('\u{2026}'));
        assert_eq!(fit("ab", 4.0, 60.0), "ab");
        assert_eq!(fit("abc", 4.0, 0.0), "");
    }
}
