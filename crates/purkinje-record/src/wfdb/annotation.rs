//! Annotation files in the MIT format (<https://wochenblat.physionet.org/wfdb/doc/annot.html>).
//!
//! A file is a sequence of 16-bit words, low byte first: six bits of code, ten bits of time since the last annotation. Codes from
//! 59 on change the time that follows (SKIP) or the annotation before (NUM, SUB, CHN, AUX). Notes at sample 0 before everything
//! else may define the time resolution and further codes.

use std::path::Path;

use super::files;
use crate::RecordError;

/// Bytes of the largest annotation file that is read.
pub const MAX_ANNOTATION_BYTES: u64 = 1 << 28;

/// An annotation file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WfdbAnnotations {
    /// Samples per second in which [`WfdbAnnotation::sample`] counts, when the file says so; otherwise frames of the record.
    pub rate_hz: Option<f64>,
    /// Notes at the head of the file, among them its definitions.
    pub comments: Vec<String>,
    /// The annotations in the order of the file.
    pub marks: Vec<WfdbAnnotation>,
}

/// One annotation as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WfdbAnnotation {
    /// Sample, at the rate of [`WfdbAnnotations::rate_hz`].
    pub sample: i64,
    /// Code, 1 to 49.
    pub code: u8,
    /// Symbol of the code (`N`, `V`, `+`, ...), as the file defines it or else as usual; `[n]` for an undefined code.
    pub symbol: String,
    /// Subtype.
    pub subtype: i8,
    /// Channel.
    pub channel: u8,
    /// Number.
    pub number: i8,
    /// Text, as written but for zero bytes at its end.
    pub note: Option<String>,
}

/// Reads an annotation file.
///
/// # Errors
/// When it cannot be read, is larger than [`MAX_ANNOTATION_BYTES`], breaks off, or holds codes that do not exist.
pub fn read_annotations(path: &Path) -> Result<WfdbAnnotations, RecordError> {
    let bytes = files::read_small(path, MAX_ANNOTATION_BYTES, "size in bytes")?;
    parse(&bytes).map_err(|(offset, problem)| RecordError::Annotation {
        path: path.to_owned(),
        offset: offset as u64,
        problem,
    })
}

const SKIP: u8 = 59;
const NUM: u8 = 60;
const SUB: u8 = 61;
const CHN: u8 = 62;
const AUX: u8 = 63;
/// Code of a note, which at the head of the file may be a definition.
const NOTE: u8 = 22;
/// Codes of annotations are below this.
const CODES: usize = 50;

/// Symbols of the codes as usual, blank where there is none.
const SYMBOLS: &[u8; CODES] = b" NLRaVFJASEj/Q~ | sT*D\"=pB^t+u?![]en@xf()r        ";

fn parse(bytes: &[u8]) -> Result<WfdbAnnotations, (usize, String)> {
    let mut marks: Vec<WfdbAnnotation> = Vec::new();
    let (mut time, mut channel, mut number) = (0i64, 0u8, 0i8);
    let mut at = 0;
    let too_short = |at: usize| (at, "the file breaks off without its end mark".to_owned());
    loop {
        let word = word(bytes, at).ok_or_else(|| too_short(at))?;
        let (code, value) = ((word >> 10) as u8, word & 0x3ff);
        let here = at;
        at += 2;
        match code {
            0 if value == 0 => break,
            // A blank: time passes, nothing is marked.
            0 => time = time.saturating_add(i64::from(value)),
            1..50 => {
                time = time.saturating_add(i64::from(value));
                marks.push(WfdbAnnotation {
                    sample: time,
                    code,
                    symbol: String::new(),
                    subtype: 0,
                    channel,
                    number,
                    note: None,
                });
            }
            SKIP => {
                let pair = self::word(bytes, at).zip(self::word(bytes, at + 2));
                // High word first, as the PDP-11 had it.
                let (high, low) = pair.ok_or_else(|| too_short(here))?;
                time = time.saturating_add(i64::from(((high as i32) << 16) | low as i32));
                at += 4;
            }
            NUM => {
                number = value as i8;
                if let Some(mark) = marks.last_mut() {
                    mark.number = number;
                }
            }
            SUB => {
                if let Some(mark) = marks.last_mut() {
                    mark.subtype = value as i8;
                }
            }
            CHN => {
                channel = value as u8;
                if let Some(mark) = marks.last_mut() {
                    mark.channel = channel;
                }
            }
            AUX => {
                let text = bytes.get(at..at + usize::from(value));
                let text = text.ok_or_else(|| too_short(here))?;
                let Some(mark) = marks.last_mut() else {
                    return Err((here, "a text comes before the first annotation".into()));
                };
                let text = String::from_utf8_lossy(text);
                let text = text.trim_end_matches('\0');
                mark.note = (!text.is_empty()).then(|| text.to_owned());
                // Texts are filled up to whole words.
                at += usize::from(value).next_multiple_of(2);
            }
            _ => {
                return Err((
                    here,
                    format!("found code {code}, expected 0 to 49 or 59 to 63"),
                ));
            }
        }
    }
    Ok(interpret(marks))
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// Takes the notes at the head off, applies what they define, and names the others.
fn interpret(mut marks: Vec<WfdbAnnotation>) -> WfdbAnnotations {
    let head = marks
        .iter()
        .take_while(|mark| mark.sample == 0 && mark.code == NOTE && mark.note.is_some())
        .count();
    let comments: Vec<String> = marks
        .drain(..head)
        .filter_map(|mark| mark.note)
        .map(|note| note.trim().to_owned())
        .collect();
    let rate_hz = comments
        .iter()
        .find_map(|note| note.strip_prefix("## time resolution:"))
        .and_then(|rate| rate.trim().parse().ok())
        .filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    let mut symbols: Vec<String> = SYMBOLS
        .iter()
        .enumerate()
        .map(|(code, &symbol)| match symbol {
            b' ' => format!("[{code}]"),
            symbol => char::from(symbol).to_string(),
        })
        .collect();
    for note in &comments {
        // `15 c calibration pulse`
        let mut words = note.split_ascii_whitespace();
        let code = words.next().and_then(|word| word.parse::<usize>().ok());
        if let (Some(code), Some(symbol)) = (code, words.next())
            && (1..CODES).contains(&code)
        {
            symbol.clone_into(&mut symbols[code]);
        }
    }
    for mark in &mut marks {
        symbols[usize::from(mark.code)].clone_into(&mut mark.symbol);
    }
    WfdbAnnotations {
        rate_hz,
        comments,
        marks,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u16]) -> Vec<u8> {
        words.iter().flat_map(|w| w.to_le_bytes()).collect()
    }

    #[test]
    fn modifiers_belong_to_the_annotation_before() {
        let file = words(&[
            1 << 10 | 5,
            61 << 10 | 0x3fe,
            62 << 10 | 2,
            60 << 10 | 7,
            59 << 10,
            1,
            2,
            5 << 10 | 1,
            63 << 10 | 3,
            u16::from_le_bytes(*b"(A"),
            u16::from_le_bytes(*b"F\0"),
            0,
        ]);
        let read = parse(&file).unwrap().marks;
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].sample, read[0].symbol.as_str()), (5, "N"));
        assert_eq!(
            (read[0].subtype, read[0].channel, read[0].number),
            (-2, 2, 7)
        );
        assert_eq!(
            (read[1].sample, read[1].symbol.as_str()),
            (5 + 65538 + 1, "V")
        );
        assert_eq!(
            (read[1].subtype, read[1].channel, read[1].number),
            (0, 2, 7)
        );
        assert_eq!(read[1].note.as_deref(), Some("(AF"));
        for len in 0..file.len() {
            assert!(parse(&file[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn unknown_codes_are_refused() {
        assert_eq!(parse(&words(&[55 << 10 | 1, 0])).unwrap_err().0, 0);
        assert!(parse(&words(&[63 << 10 | 2, 0, 0])).is_err());
    }
}
