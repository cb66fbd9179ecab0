//! The header of an EDF or BDF file: 256 bytes about the recording, then 256 bytes a signal, all of it text.

use std::path::Path;

use super::MAX_SIGNALS;
use crate::error::content;
use crate::privacy::Identifiers;
use crate::{RecordError, names};

/// How samples are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// EDF.
    Bits16,
    /// BDF.
    Bits24,
}

impl Width {
    /// By the first bytes of a file.
    pub fn of(start: &[u8]) -> Option<Width> {
        if start.starts_with(b"0       ") {
            return Some(Width::Bits16);
        }
        start.starts_with(b"\xffBIOSEMI").then_some(Width::Bits24)
    }

    pub fn bytes(self) -> usize {
        match self {
            Width::Bits16 => 2,
            Width::Bits24 => 3,
        }
    }

    /// Name of the format.
    pub fn format(self) -> &'static str {
        match self {
            Width::Bits16 => "edf",
            Width::Bits24 => "bdf",
        }
    }
}

/// What the header says.
pub(super) struct Header {
    pub width: Width,
    pub bytes: usize,
    /// Whether texts with times are kept as EDF+ has them.
    pub plus: bool,
    /// Whether there may be gaps between data records.
    pub gaps: bool,
    /// Data records; `None` where the header does not know.
    pub records: Option<usize>,
    /// Duration of a data record.
    pub record_s: f64,
    pub record_bytes: usize,
    /// What identifies the patient.
    pub patient: Option<String>,
    /// All of that, to be taken out of texts.
    pub identifiers: Identifiers,
    pub sex: Option<&'static str>,
    /// Completed years at the start of the recording.
    pub age: Option<f32>,
    pub signals: Vec<Signal>,
}

/// A signal.
#[derive(Clone, Debug)]
pub(super) struct Signal {
    pub label: String,
    pub unit: String,
    pub prefilter: String,
    pub physical_min: f64,
    pub physical_max: f64,
    pub digital_min: f64,
    pub digital_max: f64,
    pub samples_per_record: usize,
    /// Where its samples start in a data record.
    pub offset_bytes: usize,
    /// Bytes of its samples in a data record.
    pub bytes: usize,
}

impl Signal {
    pub fn is_annotations(&self) -> bool {
        matches!(&*self.label, "EDF Annotations" | "BDF Annotations")
    }

    /// Physical units a step.
    pub fn scale(&self, path: &Path) -> Result<f64, RecordError> {
        let scale = (self.physical_max - self.physical_min) / (self.digital_max - self.digital_min);
        if scale.is_finite() && scale != 0.0 {
            return Ok(scale);
        }
        Err(content(
            path,
            &format!("the range of signal `{}`", self.label),
            &format!(
                "{} to {} for {} to {}",
                self.physical_min, self.physical_max, self.digital_min, self.digital_max
            ),
            "physical and digital limits that differ; correct the header",
        ))
    }
}

impl Header {
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, RecordError> {
        let Some(width) = Width::of(bytes) else {
            return Err(content(
                path,
                "the start of the file",
                "something else",
                "the version `0` of EDF or the mark `BIOSEMI` of BDF; copy the file again",
            ));
        };
        let truncated = |expected: usize| RecordError::Truncated {
            path: path.to_owned(),
            found: bytes.len() as u64,
            expected: expected as u64,
            what: "the header".into(),
        };
        let fixed = bytes.get(..256).ok_or_else(|| truncated(256))?;
        let field = |start: usize, size: usize| text(&fixed[start..start + size]);
        let count: usize = number(path, "the number of signals", &field(252, 4))?;
        if count == 0 || count > MAX_SIGNALS {
            return Err(content(
                path,
                "the number of signals",
                &count.to_string(),
                &format!("1 to {MAX_SIGNALS}"),
            ));
        }
        let size = 256 * (count + 1);
        let stated: usize = number(path, "the size of the header", &field(184, 8))?;
        if stated != size {
            return Err(content(
                path,
                "the size of the header",
                &format!("{stated} bytes"),
                &format!("{size} bytes for {count} signals; correct the header"),
            ));
        }
        let rest = bytes.get(256..size).ok_or_else(|| truncated(size))?;
        let kind = field(192, 44);
        let plus = kind.starts_with("EDF+") || kind.starts_with("BDF+");
        let records: i64 = number(path, "the number of data records", &field(236, 8))?;
        let records = match records {
            -1 => None,
            0.. => usize::try_from(records).ok(),
            _ => {
                return Err(content(
                    path,
                    "the number of data records",
                    &records.to_string(),
                    "0 or more, or -1 when it is not known",
                ));
            }
        };
        let record_s: f64 = number(path, "the duration of a data record", &field(244, 8))?;
        if !record_s.is_finite() || record_s < 0.0 {
            return Err(content(
                path,
                "the duration of a data record",
                &record_s.to_string(),
                "0 s or more",
            ));
        }
        let (signals, record_bytes) = signals(path, rest, count, width)?;
        let patient = Patient::parse(&field(8, 80), plus);
        let start = start_date(&field(88, 80), &field(168, 8));
        Ok(Header {
            width,
            bytes: size,
            plus,
            gaps: plus && kind[4..].starts_with('D'),
            records,
            record_s,
            record_bytes,
            patient: patient.id,
            identifiers: patient.identifiers,
            sex: patient.sex,
            age: patient
                .born
                .zip(start)
                .and_then(|(born, start)| years(born, start)),
            signals,
        })
    }
}

/// The signals, each property of all of them after another, and the size of a data record.
fn signals(
    path: &Path,
    rest: &[u8],
    count: usize,
    width: Width,
) -> Result<(Vec<Signal>, usize), RecordError> {
    let mut start = 0;
    let mut column = |size: usize| {
        let column: Vec<String> = rest[start..start + size * count]
            .chunks_exact(size)
            .map(text)
            .collect();
        start += size * count;
        column
    };
    let labels = column(16);
    let _transducers = column(80);
    let units = column(8);
    let limits = [column(8), column(8), column(8), column(8)];
    let prefilters = column(80);
    let samples = column(8);
    let mut signals = Vec::with_capacity(count);
    let mut offset_bytes = 0usize;
    for (i, label) in labels.into_iter().enumerate() {
        let limit = |which: usize, name: &str| -> Result<f64, RecordError> {
            number(
                path,
                &format!("the {name} of signal `{label}`"),
                &limits[which][i],
            )
        };
        let samples_per_record: usize = number(
            path,
            &format!("the number of samples of signal `{label}`"),
            &samples[i],
        )?;
        let signal = Signal {
            physical_min: limit(0, "physical minimum")?,
            physical_max: limit(1, "physical maximum")?,
            digital_min: limit(2, "digital minimum")?,
            digital_max: limit(3, "digital maximum")?,
            unit: units[i].clone(),
            prefilter: prefilters[i].clone(),
            samples_per_record,
            offset_bytes,
            // Eight digits at most, so this cannot overflow for any number of signals.
            bytes: width.bytes() * samples_per_record,
            label,
        };
        offset_bytes += signal.bytes;
        signals.push(signal);
    }
    Ok((signals, offset_bytes))
}

/// A text of the header, which should be ASCII and often is not.
fn text(bytes: &[u8]) -> String {
    names::text(bytes).trim_matches(['\0', ' ']).to_owned()
}

fn number<T: std::str::FromStr>(path: &Path, what: &str, text: &str) -> Result<T, RecordError> {
    // Some programs write the decimal mark of their country.
    text.replace(',', ".").parse().map_err(|_| {
        content(
            path,
            what,
            &format!("`{text}`"),
            "a number; correct the header, or copy the file again",
        )
    })
}

/// What the header says of the patient.
#[derive(Default)]
struct Patient {
    id: Option<String>,
    sex: Option<&'static str>,
    born: Option<Date>,
    identifiers: Identifiers,
}

impl Patient {
    fn parse(text: &str, plus: bool) -> Self {
        let known = |text: &str| !matches!(text, "" | "X" | "x");
        if !plus {
            // Free text.
            let mut identifiers = Identifiers::default();
            identifiers.name(text);
            return Patient {
                id: known(text).then(|| text.to_owned()),
                identifiers,
                ..Patient::default()
            };
        }
        let mut words = text.split_ascii_whitespace();
        let [code, sex, born] = [(); 3].map(|()| words.next().unwrap_or("X"));
        let name = words.next().unwrap_or("X");
        let mut identifiers = Identifiers::default();
        identifiers.number(code);
        identifiers.name(name);
        identifiers.born(born);
        // Without a code, name and date of birth tell patients apart.
        let id = if known(code) {
            Some(code.to_owned())
        } else {
            known(name).then(|| format!("{name} {born}"))
        };
        Patient {
            id,
            sex: match sex {
                "F" | "f" => Some("female"),
                "M" | "m" => Some("male"),
                _ => None,
            },
            born: Date::parse(born),
            identifiers,
        }
    }
}

/// Day, month, year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Date {
    day: u32,
    month: u32,
    year: i32,
}

const MONTHS: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];

impl Date {
    /// `02-MAY-1951`
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let [day, month, year] = [parts.next()?, parts.next()?, parts.next()?];
        let month = month.to_ascii_uppercase();
        let month = MONTHS.iter().position(|&name| name == month)? as u32 + 1;
        Date {
            day: day.parse().ok()?,
            month,
            year: year.parse().ok()?,
        }
        .checked()
    }

    fn checked(self) -> Option<Self> {
        let sound = (1..=31).contains(&self.day)
            && (1..=12).contains(&self.month)
            && (1800..2200).contains(&self.year);
        sound.then_some(self)
    }
}

/// The day of the recording: `Startdate 02-MAR-2002 ...` as EDF+ has it, or else `02.03.02`.
fn start_date(recording: &str, date: &str) -> Option<Date> {
    let mut words = recording.split_ascii_whitespace();
    if words.next() == Some("Startdate")
        && let Some(date) = words.next().and_then(Date::parse)
    {
        return Some(date);
    }
    let mut parts = date.split('.').map(str::parse::<u32>);
    let [day, month, year] = [
        parts.next()?.ok()?,
        parts.next()?.ok()?,
        parts.next()?.ok()?,
    ];
    // Two digits stand for 1985 to 2084.
    let year = match year {
        85..=99 => 1900 + year,
        0..=84 => 2000 + year,
        _ => return None,
    };
    Date {
        day,
        month,
        year: year as i32,
    }
    .checked()
}

/// Completed years.
fn years(born: Date, at: Date) -> Option<f32> {
    let before = (at.month, at.day) < (born.month, born.day);
    let years = at.year - born.year - i32::from(before);
    crate::person::plausible_age(f64::from(years))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patients_are_read_from_both_kinds() {
        let patient = Patient::parse("MCH-0234567 F 02-MAY-1951 Haagse_Harry", true);
        assert_eq!(patient.id.as_deref(), Some("MCH-0234567"));
        assert_eq!(patient.sex, Some("female"));
        let start = start_date("Startdate 02-MAR-2002 EMG561", "01.01.99").unwrap();
        assert_eq!(years(patient.born.unwrap(), start), Some(50.0));
        assert_eq!(start_date("", "02.05.02").map(|d| d.year), Some(2002));
        let patient = Patient::parse("X X X X", true);
        assert_eq!((patient.id, patient.sex), (None, None));
        let patient = Patient::parse("X M 02-MAY-1951 Harry", true);
        assert_eq!(patient.id.as_deref(), Some("Harry 02-MAY-1951"));
        assert_eq!(Patient::parse("Harry", false).id.as_deref(), Some("Harry"));
        assert!(Date::parse("31-XXX-2000").is_none());
    }
}
