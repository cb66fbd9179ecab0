//! What a record says in words: the patient and the recording (section 1), statements (sections 8 and 11).

use encoding_rs::{Encoding, WINDOWS_1252};

use super::sections::{Record, u16_at};
use crate::open::OpenOptions;
use crate::privacy::Identifiers;
use crate::{RecordError, Recording, stored};

/// Tags of section 1 that are looked at.
mod tag {
    pub const LAST_NAME: u8 = 0;
    pub const FIRST_NAME: u8 = 1;
    pub const PATIENT_ID: u8 = 2;
    pub const SECOND_LAST_NAME: u8 = 3;
    pub const AGE: u8 = 4;
    pub const BIRTH: u8 = 5;
    pub const SEX: u8 = 8;
    pub const INDICATION: u8 = 13;
    pub const DEVICE: u8 = 14;
    /// Referring and confirming physician, technician.
    pub const STAFF: [u8; 3] = [20, 21, 22];
    pub const DAY: u8 = 25;
    pub const HIGH_PASS: u8 = 27;
    pub const LOW_PASS: u8 = 28;
    pub const FILTERS: u8 = 29;
    pub const COMMENT: u8 = 30;
    pub const HISTORY: u8 = 35;
    pub const END: u8 = 255;
}

/// Section 1: tags and their values.
struct Tags<'a> {
    fields: Vec<(u8, &'a [u8])>,
    encoding: Option<&'static Encoding>,
}

/// Adds to a recording what its file says in words, but nothing that says who the patient is.
///
/// # Errors
/// When the parts of a section do not fit into it.
pub fn describe(
    record: &Record<'_>,
    recording: &mut Recording,
    options: &OpenOptions,
) -> Result<(), RecordError> {
    let tags = Tags::read(record)?;
    recording.patient = options.patient_of(tags.text(tag::PATIENT_ID).as_deref());
    recording.sex = tags.first(tag::SEX).and_then(|value| match value.first()? {
        1 => Some("male".to_owned()),
        2 => Some("female".to_owned()),
        _ => None,
    });
    recording.age = tags.age();
    recording.source.comments.extend(tags.prefilter());
    for (tag, what) in [
        (tag::INDICATION, "indication"),
        (tag::HISTORY, "history"),
        (tag::COMMENT, "comment"),
    ] {
        let texts = tags.texts(tag).map(|text| format!("{what}: {text}"));
        recording.source.comments.extend(texts);
    }
    let lines = statements(record, 8, 0)?
        .into_iter()
        .flat_map(|[_, text]| tags.lines(text));
    let mut lines: Vec<String> = lines.collect();
    for [kind, text] in statements(record, 11, 1)? {
        let parts = tags.lines(text);
        match kind.first() {
            // Codes of the standard's own list, and what modifies them.
            Some(1) => recording.labels.push(parts.join(" ")),
            _ if record.section(8).is_none() => lines.extend(parts),
            _ => {}
        }
    }
    recording.labels.retain(|label| !label.is_empty());
    recording.report = (!lines.is_empty()).then(|| lines.join("\n"));
    tags.identifiers().remove_from(recording);
    Ok(())
}

impl<'a> Tags<'a> {
    fn read(record: &Record<'a>) -> Result<Self, RecordError> {
        let body = record.section(1).unwrap_or_default();
        let mut fields: Vec<(u8, &[u8])> = Vec::new();
        let mut at = 0;
        while let Some(length) = u16_at(body, at + 1) {
            let tag = body[at];
            if tag == tag::END {
                break;
            }
            let end = at + 3 + usize::from(length);
            let Some(value) = body.get(at + 3..end) else {
                return Err(record.ends(1, &format!("tag {tag} of {length} bytes")));
            };
            fields.push((tag, value));
            at = end;
        }
        let device = fields.iter().find(|(tag, _)| *tag == tag::DEVICE);
        let language = device.and_then(|(_, value)| value.get(16).copied());
        Ok(Tags {
            fields,
            encoding: language.and_then(encoding),
        })
    }

    fn all(&self, tag: u8) -> impl Iterator<Item = &'a [u8]> {
        let fields = self.fields.iter();
        fields
            .filter(move |(own, _)| *own == tag)
            .map(|(_, value)| *value)
    }

    fn first(&self, tag: u8) -> Option<&'a [u8]> {
        self.all(tag).next()
    }

    /// The lines of a text of the file, those without any letter left out.
    fn lines(&self, bytes: &[u8]) -> Vec<String> {
        let utf8 = || std::str::from_utf8(bytes).ok().map(str::to_owned);
        let decode = |encoding: &'static Encoding| {
            let (text, _) = encoding.decode_without_bom_handling(bytes);
            text.into_owned()
        };
        let text = match self.encoding {
            Some(encoding) => decode(encoding),
            None => utf8().unwrap_or_else(|| decode(WINDOWS_1252)),
        };
        let lines = text.split(['\0', '\n', '\r']).map(str::trim);
        let lines = lines.filter(|line| !line.is_empty());
        lines.map(str::to_owned).collect()
    }

    fn texts(&self, tag: u8) -> impl Iterator<Item = String> {
        let texts = self.all(tag).map(|value| self.lines(value).join(" "));
        texts.filter(|text| !text.is_empty())
    }

    fn text(&self, tag: u8) -> Option<String> {
        self.texts(tag).next()
    }

    /// A day as `1951-05-02`; `None` where there is none.
    fn day(&self, tag: u8) -> Option<String> {
        let value = self.first(tag)?;
        let (year, month, day) = (u16_at(value, 0)?, *value.get(2)?, *value.get(3)?);
        let day = format!("{year:04}-{month:02}-{day:02}");
        stored::date(&day).map(|_| day)
    }

    /// In years; an age of 0 stands for none.
    fn age(&self) -> Option<f32> {
        let stated = self.first(tag::AGE).and_then(|value| {
            let unit = match value.get(2)? {
                1 => "y",
                2 => "m",
                3 => "w",
                4 => "d",
                5 => "h",
                _ => return None,
            };
            let number = u16_at(value, 0).filter(|&number| number > 0)?;
            stored::age_years(&number.to_string(), unit)
        });
        stated.or_else(|| stored::age_between(&self.day(tag::BIRTH)?, &self.day(tag::DAY)?))
    }

    /// The filters that were applied, as one comment.
    fn prefilter(&self) -> Option<String> {
        let number = |tag| self.first(tag).and_then(|value| u16_at(value, 0));
        let mut filters = Vec::new();
        if let Some(hundredths) = number(tag::HIGH_PASS).filter(|&hundredths| hundredths > 0) {
            filters.push(format!("high-pass {} Hz", f64::from(hundredths) / 100.0));
        }
        if let Some(hertz) = number(tag::LOW_PASS).filter(|&hertz| hertz > 0) {
            filters.push(format!("low-pass {hertz} Hz"));
        }
        let bits = self.first(tag::FILTERS).and_then(|value| value.first());
        for (bit, name) in ["notch 60 Hz", "notch 50 Hz", "artifact filter"]
            .into_iter()
            .enumerate()
        {
            if bits.is_some_and(|bits| bits >> bit & 1 == 1) {
                filters.push(name.to_owned());
            }
        }
        (!filters.is_empty()).then(|| format!("prefilter: {}", filters.join(", ")))
    }

    /// Who the patient is, and who signed for the recording.
    fn identifiers(&self) -> Identifiers {
        let mut found = Identifiers::default();
        for number in self.texts(tag::PATIENT_ID) {
            found.number(&number);
        }
        if let Some(day) = self.day(tag::BIRTH) {
            found.born(&day);
        }
        let patient = [tag::LAST_NAME, tag::FIRST_NAME, tag::SECOND_LAST_NAME];
        for tag in patient.into_iter().chain(tag::STAFF) {
            for name in self.texts(tag) {
                found.name(&name);
            }
        }
        found
    }
}

/// The encoding of texts by the language code of the device; `None` where the code says Latin 1 or nothing that is known, which
/// is UTF-8 in some files.
fn encoding(code: u8) -> Option<&'static Encoding> {
    let label: &[u8] = match code {
        0x03 => b"iso-8859-2",
        0x0b => b"iso-8859-4",
        0x13 => b"iso-8859-5",
        0x1b => b"iso-8859-6",
        0x23 => b"iso-8859-7",
        0x2b => b"iso-8859-8",
        0x33 => b"windows-874",
        0x3b => b"iso-8859-15",
        0x07 => b"utf-16le",
        0x0f => b"shift_jis",
        0x17 | 0x1f => b"euc-jp",
        0x27 => b"gbk",
        0x2f => b"euc-kr",
        _ => return None,
    };
    Encoding::for_label(label)
}

/// The statements of section 8 or 11: the first `kind` bytes of each, and the rest.
fn statements<'a>(
    record: &Record<'a>,
    section: u16,
    kind: usize,
) -> Result<Vec<[&'a [u8]; 2]>, RecordError> {
    /// Whether it is confirmed, date and time, in front of the number of statements.
    const COUNT_AT: usize = 8;
    let Some(body) = record.section(section) else {
        return Ok(Vec::new());
    };
    let count = *body
        .get(COUNT_AT)
        .ok_or_else(|| record.ends(section, "the number of statements"))?;
    let mut at = COUNT_AT + 1;
    let mut found = Vec::new();
    for number in 1..=count {
        let statement = u16_at(body, at + 1).and_then(|length| {
            let start = at + 3;
            at = start + usize::from(length);
            body.get(start..at)
        });
        let statement =
            statement.ok_or_else(|| record.ends(section, &format!("statement {number}")))?;
        let (kind, text) = statement.split_at(kind.min(statement.len()));
        found.push([kind, text]);
    }
    Ok(found)
}
