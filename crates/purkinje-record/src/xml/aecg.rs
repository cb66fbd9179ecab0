//! HL7 annotated ECG (`AnnotatedECG`): the sequences of a rhythm series, whose sets are joined where they are of one recording (see
//! [`join`]). Derived series (representative beats) are no recordings and are left out.

use std::path::Path;

use super::tree::Element;
use super::{number, report};
use crate::error::content;
use crate::join::{self, Part, Piece};
use crate::open::OpenOptions;
use crate::reader::in_proportion;
use crate::stored::{self, Scale};
use crate::{Annotation, Lead, RecordError, Recording, Unit};

/// Annotations that are taken.
pub const MAX_ANNOTATIONS: usize = 250_000;

/// Series that are named one by one.
const MAX_NAMED: usize = 8;
/// What lead codes begin with (ISO 11073-10101).
const LEAD: &str = "MDC_ECG_LEAD_";

pub(super) fn read(
    path: &Path,
    root: Element<'_, '_>,
    options: &OpenOptions,
) -> Result<Recording, RecordError> {
    let mut sets = Vec::new();
    let mut also = Vec::new();
    let components = root.all("component").filter_map(|c| c.child("series"));
    for (number, series) in components.enumerate() {
        if is_rhythm(&series) {
            SequenceSet::add_all(path, series, number, (&mut sets, &mut also))?;
        } else {
            also.push(described(series, &format!("series {}", number + 1)));
        }
        let derived = series
            .all("derivation")
            .filter_map(|d| d.child("derivedSeries"));
        also.extend(derived.map(|derived| described(derived, "derived series")));
    }
    if sets.is_empty() {
        return Err(RecordError::NoSamples {
            path: path.to_owned(),
            why: "it has no series of the code RHYTHM with a sequenceSet".into(),
        });
    }
    if also.len() > MAX_NAMED {
        let more = also.len() - MAX_NAMED;
        also.truncate(MAX_NAMED);
        also.push(format!("{more} more series"));
    }
    let several = sets.len() > 1;
    let parts = sets.iter().enumerate();
    let parts: Vec<Part> = parts.map(|(at, set)| set.part(at, several)).collect();
    let joined = join::join(path, &parts, also, options)?;
    in_proportion(path, joined.len, joined.tracks.len())?;
    let leads = joined.tracks.iter().map(|track| {
        let of = |piece: &Piece| &sets[piece.part].sequences[piece.row];
        let digits = track.pieces.iter();
        let digits = digits.map(|piece| of(piece).digits(path, &sets[piece.part]));
        let digits = digits.collect::<Result<Vec<Digits>, _>>()?;
        let scales = track
            .pieces
            .iter()
            .map(|piece| of(piece).scale(path, options));
        let scales = scales.collect::<Result<Vec<Scale>, _>>()?;
        let value = |piece: &Piece, sample: usize| {
            let own = track
                .pieces
                .iter()
                .position(|other| other.samples == piece.samples)?;
            digits[own].get(sample)
        };
        let whole = digits
            .iter()
            .all(|digits| matches!(digits, Digits::Whole(..)));
        Ok(track.decode(
            &(0..joined.len),
            &scales,
            value,
            whole,
            options.keep_digital,
        ))
    });
    let mut recording = stored::recording(path, "hl7-aecg", Some(joined.rate_hz), leads, options)?;
    recording.source.comments = joined.comments;
    recording.source.also = joined.also;
    describe(root, &mut recording, options);
    // Annotations of a series whose sets were read are kept; its time begins with its first set.
    let mut annotated = Vec::new();
    for (set, start) in sets.iter().zip(&joined.starts) {
        if let (Some(start), false) = (start, annotated.contains(&set.number)) {
            annotated.push(set.number);
            annotate(path, set, *start, &mut recording)?;
        }
    }
    Ok(recording)
}

/// A series that is not read, in words.
fn described(series: Element<'_, '_>, name: &str) -> String {
    let sets = series
        .all("component")
        .filter_map(|c| c.child("sequenceSet"));
    let sequences = sets
        .flat_map(|set| set.all("component"))
        .filter_map(|c| c.child("sequence"));
    let leads = sequences
        .filter_map(code)
        .filter(|code| !code.starts_with("TIME"))
        .count();
    let code: String = code(series).unwrap_or_default().chars().take(40).collect();
    match &*code {
        "" => format!("{name}: {leads} leads"),
        code => format!("{name} ({code}): {leads} leads"),
    }
}

/// Sequences that were sampled together.
struct SequenceSet<'d, 'a> {
    series: Element<'d, 'a>,
    /// Of the series among all.
    number: usize,
    sequences: Vec<Sequence<'d, 'a>>,
    time: Time,
    /// Samples of a sequence.
    samples: usize,
}

impl<'d, 'a> SequenceSet<'d, 'a> {
    /// Adds those of a series; sets without sequences of samples are left out, and named where it is the time that they lack.
    fn add_all(
        path: &Path,
        series: Element<'d, 'a>,
        number: usize,
        (sets, also): (&mut Vec<Self>, &mut Vec<String>),
    ) -> Result<(), RecordError> {
        let elements = series
            .all("component")
            .filter_map(|c| c.child("sequenceSet"));
        for set in elements {
            let components = set.all("component").filter_map(|c| c.child("sequence"));
            let sequences: Vec<_> = components.filter_map(Sequence::of).collect();
            let Some(samples) = sequences.first().map(Sequence::len) else {
                continue;
            };
            match Time::read(path, set, series) {
                Ok(time) => sets.push(SequenceSet {
                    series,
                    number,
                    sequences,
                    time,
                    samples,
                }),
                Err(error) if sets.is_empty() => return Err(error),
                Err(_) => also.push(format!(
                    "a sequence set without a time in series {}: {} leads",
                    number + 1,
                    sequences.len()
                )),
            }
        }
        Ok(())
    }

    fn part(&self, at: usize, several: bool) -> Part {
        let channels = self.sequences.iter().map(|sequence| join::Channel {
            lead: sequence.lead.clone(),
            unit: sequence.scale.attribute("unit").unwrap_or_default(),
            skew: 0.0,
        });
        Part {
            name: match several {
                true => format!("sequence set {} of series {}", at + 1, self.number + 1),
                false => "sequence set".into(),
            },
            series: self.number,
            rate_hz: self.time.rate_hz,
            start_s: self.time.start_s,
            samples: self.samples,
            channels: channels.collect(),
        }
    }
}

/// The samples of a sequence.
enum Digits {
    /// Whether all are of 16 bits.
    Whole(Vec<i32>, bool),
    /// NaN where one is missing.
    Real(Vec<f64>),
}

impl Digits {
    fn get(&self, sample: usize) -> Option<f64> {
        match self {
            // The lowest code of 16 bits stands for a missing sample as in other formats.
            Digits::Whole(values, short) => {
                let value = *values.get(sample)?;
                (!short || value != i32::from(i16::MIN)).then_some(f64::from(value))
            }
            Digits::Real(values) => values.get(sample).copied().filter(|value| !value.is_nan()),
        }
    }
}

/// Of the code RHYTHM; series without a code are taken for such.
fn is_rhythm(series: &Element<'_, '_>) -> bool {
    code(*series).is_none_or(|code| code.eq_ignore_ascii_case("RHYTHM"))
}

/// The code of an element.
fn code(element: Element<'_, '_>) -> Option<String> {
    element.child("code")?.attribute("code")
}

/// The samples of one lead.
struct Sequence<'d, 'a> {
    lead: Lead,
    value: Element<'d, 'a>,
    scale: Element<'d, 'a>,
}

impl<'d, 'a> Sequence<'d, 'a> {
    /// `None` for the sequence of time, and for what has no digits.
    fn of(sequence: Element<'d, 'a>) -> Option<Self> {
        let code = code(sequence)?;
        let value = sequence.child("value")?;
        let scale = value.child("scale")?;
        value.child("digits")?;
        (!code.starts_with("TIME")).then(|| Sequence {
            lead: lead(&code),
            value,
            scale,
        })
    }

    fn words(&self) -> impl Iterator<Item = &'d str> + use<'d, 'a> {
        let digits = self.value.child("digits");
        digits
            .map_or("", |digits| digits.text())
            .split_ascii_whitespace()
    }

    fn len(&self) -> usize {
        self.words().count()
    }

    /// `origin + digit * scale`.
    fn scale(&self, path: &Path, options: &OpenOptions) -> Result<Scale, RecordError> {
        let lead = &self.lead;
        let quantity = |element: Element<'_, '_>, name: &str| {
            let name = format!("the {name} of lead {lead}");
            let value = element.attribute("value").unwrap_or_default();
            number(path, &name, &value)
        };
        let unit_of = |element: Element<'_, '_>| -> Result<Unit, RecordError> {
            let unit = element.attribute("unit").unwrap_or_default();
            options.unit_of(path, lead.name(), lead, &unit)
        };
        let step = quantity(self.scale, "scale")?;
        let unit = unit_of(self.scale)?;
        let offset = match self.value.child("origin") {
            Some(origin) => match quantity(origin, "origin")? {
                0.0 => 0.0,
                offset => offset * unit.per_mv() / unit_of(origin)?.per_mv(),
            },
            None => 0.0,
        };
        Scale::new(step, offset, unit).ok_or_else(|| {
            content(
                path,
                &format!("the scale of lead {lead}"),
                &step.to_string(),
                "a voltage, not 0",
            )
        })
    }

    /// As many as the set has.
    fn digits(&self, path: &Path, set: &SequenceSet<'_, '_>) -> Result<Digits, RecordError> {
        let count = self.len();
        if count != set.samples {
            let first = set.sequences.first().map_or("", |first| first.lead.name());
            return Err(content(
                path,
                &format!("the length of lead {}", self.lead),
                &format!("{count} samples"),
                &format!("{}, as lead {first} has", set.samples),
            ));
        }
        let bad = |word: &str| {
            content(
                path,
                &format!("the digits of lead {}", self.lead),
                &format!("`{word}`"),
                "numbers with blanks between them",
            )
        };
        // Whole numbers nearly always.
        if let Ok(values) = self
            .words()
            .map(str::parse)
            .collect::<Result<Vec<i32>, _>>()
        {
            let short = values.iter().all(|&value| i16::try_from(value).is_ok());
            return Ok(Digits::Whole(values, short));
        }
        let values = self.words().map(|word| match word.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(value),
            _ if word.eq_ignore_ascii_case("nan") => Ok(f64::NAN),
            _ => Err(bad(word)),
        });
        Ok(Digits::Real(values.collect::<Result<_, _>>()?))
    }
}

fn lead(code: &str) -> Lead {
    Lead::parse(code)
}

/// The clock of a sequence set.
struct Time {
    rate_hz: f64,
    /// Time of the first sample in seconds, where the set gives it.
    start_s: Option<f64>,
}

impl Time {
    fn read(
        path: &Path,
        set: Element<'_, '_>,
        series: Element<'_, '_>,
    ) -> Result<Time, RecordError> {
        let value = set
            .all("component")
            .filter_map(|component| component.child("sequence"))
            .filter(|sequence| code(*sequence).is_some_and(|code| code.starts_with("TIME")))
            .find_map(|sequence| sequence.child("value"));
        let increment = value.and_then(|value| value.child("increment"));
        let (Some(value), Some(increment)) = (value, increment) else {
            return Err(content(
                path,
                "the time of the rhythm series",
                "absent",
                "a sequence TIME_ABSOLUTE or TIME_RELATIVE with an increment",
            ));
        };
        let step = increment.attribute("value").unwrap_or_default();
        let step = number(path, "the increment of time", &step)?;
        let unit = increment.attribute("unit").unwrap_or_default();
        let per_second = match unit.trim() {
            "s" | "" => 1.0,
            "ms" => 1e3,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e6,
            "ns" => 1e9,
            other => {
                let found = format!("in `{other}`");
                return Err(content(
                    path,
                    "the increment of time",
                    &found,
                    "s, ms, us or ns",
                ));
            }
        };
        let rate_hz = per_second / step;
        // An increment of 0.00390625 or 0.0033333 s stands for a whole number of hertz.
        let whole = rate_hz.round();
        let rounded = whole >= 1.0 && (rate_hz - whole).abs() <= 1e-4 * whole;
        let head = value.child("head").and_then(|head| head.attribute("value"));
        let low = series
            .path(&["effectiveTime", "low"])
            .and_then(|low| low.attribute("value"));
        Ok(Time {
            rate_hz: if rounded { whole } else { rate_hz },
            start_s: head
                .and_then(|head| seconds(&head))
                .or(low.and_then(|low| seconds(&low))),
        })
    }

    fn sample(&self, time: &str) -> Option<i64> {
        let sample = ((seconds(time)? - self.start_s?) * self.rate_hz).round();
        (sample.abs() < 1e15).then_some(sample as i64)
    }
}

/// A point in time such as `20021122091000.122+0100` in seconds; the zone is left out, as one document keeps to one. A plain
/// number (relative time) is taken as it is.
fn seconds(text: &str) -> Option<f64> {
    /// A day near the present, so that fractions of seconds keep their digits.
    const EPOCH: i64 = 730_000;
    let text = text.trim();
    let end = text
        .get(1..)?
        .find(['+', '-'])
        .map_or(text.len(), |at| at + 1);
    let text = &text[..end];
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.len() < 8 || !whole.bytes().all(|b| b.is_ascii_digit()) {
        return text
            .parse()
            .ok()
            .filter(|seconds: &f64| seconds.is_finite());
    }
    let part = |range: std::ops::Range<usize>| match whole.get(range) {
        Some(digits) => digits.parse::<i64>().ok(),
        None => Some(0),
    };
    let (year, month, day) = (part(0..4)?, part(4..6)?, part(6..8)?);
    // Days since an arbitrary day: years begin in March, so that the leap day comes last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    let clock = part(8..10)? * 3600 + part(10..12)? * 60 + part(12..14)?;
    let fraction: f64 = format!("0.{fraction}0").parse().ok()?;
    Some(((days - EPOCH) * 86_400 + clock) as f64 + fraction)
}

/// Patient, age and sex.
fn describe(root: Element<'_, '_>, recording: &mut Recording, options: &OpenOptions) {
    let subject = root.path(&[
        "componentOf",
        "timepointEvent",
        "componentOf",
        "subjectAssignment",
        "subject",
        "trialSubject",
    ]);
    let id = subject.and_then(|subject| subject.child("id"));
    let id = id.and_then(|id| id.attribute("extension").or_else(|| id.attribute("root")));
    recording.patient = options.patient_of(id.as_deref());
    let person = subject.and_then(|subject| {
        let person = ["subjectDemographicPerson", "demographicPerson"];
        person.iter().find_map(|name| subject.child(name))
    });
    let of_person = |name: &str, attribute: &str| person?.child(name)?.attribute(attribute);
    recording.sex =
        of_person("administrativeGenderCode", "code").and_then(|code| stored::sex(&code));
    // LOINC 21612-7: age as reported.
    let reported = root.all("controlVariable").find_map(|variable| {
        let observation = variable.children().next()?;
        let is_age = matches!(
            code(observation)?.as_str(),
            "21612-7" | "30525-0" | "MDC_AGE"
        );
        let value = observation.child("value").filter(|_| is_age)?;
        let unit = value.attribute("unit").unwrap_or_default();
        stored::age_years(&value.attribute("value")?, &unit)
    });
    recording.age = reported.or_else(|| {
        let time = root.child("effectiveTime")?;
        let day = ["center", "low", "high"]
            .iter()
            .find_map(|name| time.child(name))?;
        stored::age_between(&of_person("birthTime", "value")?, &day.attribute("value")?)
    });
}

/// Statements become the report; what has a place in time becomes annotations: a wave `(` at its onset and `)` at its end, the
/// kind of wave as note; a rhythm `+` where it begins, a beat `N`, `V`, ... where it begins.
fn annotate(
    path: &Path,
    set: &SequenceSet<'_, '_>,
    start: usize,
    recording: &mut Recording,
) -> Result<(), RecordError> {
    let mut statements = Vec::new();
    let mut open: Vec<Element<'_, '_>> = set
        .series
        .all("subjectOf")
        .filter_map(|subject| subject.child("annotationSet"))
        .flat_map(|set| set.all("component"))
        .filter_map(|component| component.child("annotation"))
        .collect();
    open.reverse();
    while let Some(annotation) = open.pop() {
        let inner: Vec<_> = annotation
            .all("component")
            .filter_map(|c| c.child("annotation"))
            .collect();
        open.extend(inner.into_iter().rev());
        let kind = code(annotation).unwrap_or_default();
        let value = annotation.child("value");
        let meaning = value.and_then(|value| {
            value
                .attribute("displayName")
                .or_else(|| value.attribute("code"))
        });
        if kind.starts_with("MDC_ECG_INTERPRETATION") {
            let text = value.map_or("", |value| value.text());
            let text = if text.is_empty() {
                meaning.unwrap_or_default()
            } else {
                text.to_owned()
            };
            statements.push(text);
            continue;
        }
        let value_code = value
            .and_then(|value| value.attribute("code"))
            .unwrap_or_default();
        let Some((onset, end)) = symbols(&kind, &value_code) else {
            continue;
        };
        if onset == "+" {
            statements.extend(meaning.clone());
        }
        let regions = annotation.path(&["support", "supportingROI"]);
        let boundaries = regions
            .iter()
            .flat_map(|roi| roi.all("component"))
            .filter_map(|c| c.child("boundary"));
        let (mut low, mut high, mut leads) = (None, None, Vec::new());
        for boundary in boundaries {
            let code = code(boundary).unwrap_or_default();
            if code.starts_with(LEAD) {
                leads.push(lead(&code));
            } else if let Some(value) = boundary.child("value") {
                let at = |name: &str| set.time.sample(&value.child(name)?.attribute("value")?);
                low = at("low").or_else(|| at("center"));
                high = at("high");
            }
        }
        let note = match onset {
            "(" => Some(value_code.trim_start_matches("MDC_ECG_WAVC_").to_owned()),
            "+" => meaning,
            _ => None,
        };
        let leads: Vec<Option<Lead>> = match leads.is_empty() {
            true => vec![None],
            false => leads.into_iter().map(Some).collect(),
        };
        for lead in leads {
            let marks = [(low, Some(onset)), (high, end)];
            for (sample, symbol) in marks {
                let (Some(sample), Some(symbol)) = (sample, symbol) else {
                    continue;
                };
                if recording.annotations.len() >= MAX_ANNOTATIONS {
                    return Err(RecordError::TooLarge {
                        path: path.to_owned(),
                        what: "number of annotations",
                        found: MAX_ANNOTATIONS as u64 + 1,
                        limit: MAX_ANNOTATIONS as u64,
                    });
                }
                recording.annotations.push(Annotation {
                    sample: sample.saturating_add_unsigned(start as u64),
                    lead: lead.clone(),
                    symbol: symbol.into(),
                    note: note.clone(),
                });
            }
        }
    }
    recording
        .annotations
        .sort_by_key(|annotation| annotation.sample);
    statements.splice(0..0, recording.report.take());
    recording.report = report(statements);
    Ok(())
}

/// The marks at onset and end of an annotation of this kind; `None` for measurements.
fn symbols(kind: &str, value: &str) -> Option<(&'static str, Option<&'static str>)> {
    match kind {
        "MDC_ECG_WAVC" => Some(("(", Some(")"))),
        "MDC_ECG_RHY" => Some(("+", None)),
        "MDC_ECG_BEAT" => Some((
            match value {
                "MDC_ECG_BEAT_NORMAL" => "N",
                "MDC_ECG_BEAT_V_P_C" | "MDC_ECG_BEAT_PREMATURE_VENTRICULAR" => "V",
                "MDC_ECG_BEAT_ATR_P_C" | "MDC_ECG_BEAT_PREMATURE_ATRIAL" => "A",
                "MDC_ECG_BEAT_PACED" => "/",
                _ => "Q",
            },
            None,
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time_are_compared_in_seconds() {
        let start = seconds("20021122091000").unwrap();
        assert!((seconds("20021122091000.122").unwrap() - start - 0.122).abs() < 1e-6);
        assert_eq!(seconds("20021122091001.5+0100").unwrap() - start, 1.5);
        assert_eq!(
            seconds("20040301").unwrap() - seconds("20040228").unwrap(),
            2.0 * 86_400.0
        );
        assert_eq!(
            seconds("20030301").unwrap() - seconds("20030228").unwrap(),
            86_400.0
        );
        assert_eq!(seconds("0.25"), Some(0.25));
        assert_eq!(seconds("soon"), None);
        assert_eq!(seconds(""), None);
    }
}
