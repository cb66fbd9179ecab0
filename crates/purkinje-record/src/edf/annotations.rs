//! Texts with times, as EDF+ keeps them in signals of their own (time-stamped annotation lists).

use std::path::Path;

use super::{Data, Header, MAX_ANNOTATIONS, Signal};
use crate::error::content;
use crate::{Annotation, Lead, RecordError};

/// Symbol of a text that is no symbol itself: a comment.
const COMMENT: &str = "\"";

/// The annotations in those of the `signals` that hold them, at samples of `rate_hz`. A text such as `R-wave@@ECG II` belongs to that lead.
///
/// # Errors
/// When there are gaps between data records, or there are more than [`MAX_ANNOTATIONS`].
pub(super) fn read(
    path: &Path,
    header: &Header,
    signals: &[Signal],
    data: &Data<'_>,
    rate_hz: f64,
) -> Result<Vec<Annotation>, RecordError> {
    let mut found = Vec::new();
    let mut first_s = None;
    let signals = signals.iter().filter(|s| s.is_annotations());
    for (nth, signal) in signals.take_while(|_| header.plus).enumerate() {
        for (record, part) in data.parts(signal).enumerate() {
            let mut lists = part.split(|&b| b == 0).filter(|list| !list.is_empty());
            if nth == 0 {
                // The first one says when the data record starts.
                let start_s = lists.next().and_then(List::parse).map(|l| l.onset_s);
                let Some(start_s) = start_s else {
                    return Err(content(
                        path,
                        &format!("the time of data record {}", record + 1),
                        "absent",
                        "a time at the start of `EDF Annotations` in every data record; copy the file again",
                    ));
                };
                let first_s = *first_s.get_or_insert(start_s);
                let expected_s = first_s + record as f64 * header.record_s;
                if header.gaps && (start_s - expected_s).abs() * rate_hz > 0.5 {
                    return Err(content(
                        path,
                        &format!("the time of data record {}", record + 1),
                        &format!("{start_s} s"),
                        &format!(
                            "{expected_s} s: a recording has no gaps. Split the file where it was interrupted (EDF+D to EDF+C)"
                        ),
                    ));
                }
                // Texts at the very time of the start may stand in the same list.
            }
            for list in part.split(|&b| b == 0).filter_map(List::parse) {
                let sample = ((list.onset_s - first_s.unwrap_or(0.0)) * rate_hz).round() as i64;
                for text in list.texts.split(|&b| b == 0x14).filter(|t| !t.is_empty()) {
                    if found.len() >= MAX_ANNOTATIONS {
                        return Err(RecordError::TooLarge {
                            path: path.to_owned(),
                            what: "number of annotations",
                            found: found.len() as u64 + 1,
                            limit: MAX_ANNOTATIONS as u64,
                        });
                    }
                    found.push(annotation(sample, &String::from_utf8_lossy(text)));
                }
            }
        }
    }
    found.sort_by_key(|annotation| annotation.sample);
    Ok(found)
}

fn annotation(sample: i64, text: &str) -> Annotation {
    let (text, lead) = match text.rsplit_once("@@") {
        Some((text, label)) => (text, Some(Lead::parse(label))),
        None => (text, None),
    };
    // A single character is a symbol as in other formats (`N`, `V`, ...).
    let symbol = text.chars().count() == 1;
    Annotation {
        sample,
        lead,
        symbol: if symbol { text } else { COMMENT }.to_owned(),
        note: (!symbol).then(|| text.to_owned()),
    }
}

/// Texts of one time.
struct List<'a> {
    onset_s: f64,
    /// Separated by the byte 20.
    texts: &'a [u8],
}

impl<'a> List<'a> {
    /// `+180.5`, perhaps the byte 21 and a duration, the byte 20, texts.
    fn parse(list: &'a [u8]) -> Option<Self> {
        let end = list.iter().position(|&b| b == 0x14)?;
        let (time, texts) = (&list[..end], &list[end + 1..]);
        let onset = time.split(|&b| b == 0x15).next()?;
        let onset_s: f64 = std::str::from_utf8(onset).ok()?.trim().parse().ok()?;
        onset_s.is_finite().then_some(List { onset_s, texts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_hold_time_and_texts() {
        let list = List::parse(b"+180.25\x150.5\x14Lights off\x14Close door\x14").unwrap();
        assert_eq!(list.onset_s, 180.25);
        assert_eq!(list.texts, b"Lights off\x14Close door\x14");
        assert_eq!(List::parse(b"-0.5\x14\x14").unwrap().onset_s, -0.5);
        assert!(List::parse(b"+1").is_none());
        assert!(List::parse(b"+x\x14a\x14").is_none());
    }

    #[test]
    fn texts_may_name_a_lead() {
        let beat = annotation(7, "N");
        assert_eq!((beat.symbol.as_str(), beat.note), ("N", None));
        let wave = annotation(7, "R-wave@@ECG II");
        assert_eq!(wave.lead, Some(Lead::II));
        assert_eq!(
            (wave.symbol.as_str(), wave.note.as_deref()),
            ("\"", Some("R-wave"))
        );
    }
}
