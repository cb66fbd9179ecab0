//! GE MUSE (`RestingECG`): the rhythm waveform, 16-bit samples of each lead as base64.
//!
//! MUSE stores eight leads (I, II, V1 to V6) and leaves the other four to the reader. They are linear in I and II, and are formed
//! from the digital values without rounding: III = II - I in the units of I and II; aVR = -(I + II) / 2, aVL = (2 I - II) / 2 and
//! aVF = (2 II - I) / 2 in units of half the size. Leads come in the standard order then. A lead that the file stores is never
//! derived.

use std::path::Path;

use super::tree::Element;
use super::{base64, little_endian, number, report};
use crate::error::content;
use crate::open::OpenOptions;
use crate::stored::{self, Offer, Scale, StoredLead};
use crate::{Annotation, Lead, RecordError, Recording};

/// Marked beats that are taken.
const MAX_BEATS: usize = 100_000;

pub(super) fn read(
    path: &Path,
    root: Element<'_, '_>,
    options: &OpenOptions,
) -> Result<Recording, RecordError> {
    let waveform = rhythm(path, root)?;
    let mut stored = waveform
        .all("LeadData")
        .map(|data| {
            let lead = data.text_at(&["LeadID"]).ok_or_else(|| {
                content(path, "a lead", "without a LeadID", "the name of the lead")
            })?;
            Ok((Lead::parse(lead), data))
        })
        .collect::<Result<Vec<_>, RecordError>>()?;
    options.settle(stored.iter_mut().map(|(lead, _)| lead));
    let sources = sources(&stored);
    let offers: Vec<Offer> = sources
        .iter()
        .map(|(lead, source)| Offer {
            lead: lead.clone(),
            unit: stored[source.first()]
                .1
                .text_at(&["LeadAmplitudeUnits"])
                .unwrap_or("MICROVOLTS")
                .into(),
        })
        .collect();
    let rows = stored::choose(path, &offers, options)?;
    let leads = rows.iter().map(|&row| {
        let (lead, source) = &sources[row];
        match source {
            Source::Stored(index) => {
                let samples = Samples::read(path, lead, stored[*index].1, options)?;
                Ok(samples.as_stored(lead, options.keep_digital))
            }
            Source::Derived(i, ii) => {
                let i = Samples::read(path, &Lead::I, stored[*i].1, options)?;
                let ii = Samples::read(path, &Lead::II, stored[*ii].1, options)?;
                derive(path, lead, &i, &ii, options.keep_digital)
            }
        }
    });
    let rate_hz = rate_hz(path, waveform)?;
    let mut recording = stored::recording(path, "muse-xml", Some(rate_hz), leads, options)?;
    describe(root, &mut recording, options);
    recording.annotations = beats(path, root, rate_hz)?;
    let off = stored.iter().filter(|(_, data)| {
        data.text_at(&["LeadOff"])
            .is_some_and(|off| off.eq_ignore_ascii_case("true"))
    });
    for (lead, _) in off {
        recording
            .source
            .comments
            .push(format!("lead {lead} was off"));
    }
    Ok(recording)
}

/// Where a lead of the recording comes from: indices of stored leads.
enum Source {
    Stored(usize),
    /// From leads I and II.
    Derived(usize, usize),
}

impl Source {
    fn first(&self) -> usize {
        match self {
            Source::Stored(index) | Source::Derived(index, _) => *index,
        }
    }
}

/// The first rhythm waveform; the median beat is no recording.
fn rhythm<'d, 'a>(path: &Path, root: Element<'d, 'a>) -> Result<Element<'d, 'a>, RecordError> {
    let kinds: Vec<&str> = root
        .all("Waveform")
        .map(|waveform| waveform.text_at(&["WaveformType"]).unwrap_or(""))
        .collect();
    let at = kinds
        .iter()
        .position(|kind| kind.eq_ignore_ascii_case("rhythm"));
    at.and_then(|at| root.all("Waveform").nth(at))
        .ok_or_else(|| RecordError::NoSamples {
            path: path.to_owned(),
            why: if kinds.is_empty() {
                "it has no Waveform; export it with waveforms".into()
            } else {
                format!(
                    "it has no waveform of the type Rhythm, just: {}",
                    kinds.join(", ")
                )
            },
        })
}

/// `SampleBase` times ten to the power of `SampleExponent`.
fn rate_hz(path: &Path, waveform: Element<'_, '_>) -> Result<f64, RecordError> {
    let base = waveform.text_at(&["SampleBase"]).ok_or_else(|| {
        content(
            path,
            "SampleBase",
            "absent",
            "the sampling rate of the waveform",
        )
    })?;
    let exponent = waveform.text_at(&["SampleExponent"]).unwrap_or("0");
    let exponent = number(path, "SampleExponent", exponent)?;
    Ok(number(path, "SampleBase", base)? * 10f64.powf(exponent))
}

/// The stored leads in their order; or, when limb leads can be derived, all in the standard order and then the others.
fn sources(stored: &[(Lead, Element<'_, '_>)]) -> Vec<(Lead, Source)> {
    let at = |wanted: &Lead| stored.iter().position(|(lead, _)| lead == wanted);
    let limb = at(&Lead::I).zip(at(&Lead::II));
    let derivable = [Lead::III, Lead::AVR, Lead::AVL, Lead::AVF];
    let missing = derivable.iter().any(|lead| at(lead).is_none());
    let own = stored.iter().enumerate();
    let own = own.map(|(index, (lead, _))| (lead.clone(), Source::Stored(index)));
    let Some((i, ii)) = limb.filter(|_| missing) else {
        return own.collect();
    };
    let standard = Lead::STANDARD_12
        .into_iter()
        .filter_map(|lead| match at(&lead) {
            Some(index) => Some((lead, Source::Stored(index))),
            None if derivable.contains(&lead) => Some((lead, Source::Derived(i, ii))),
            None => None,
        });
    let others = own.filter(|(lead, _)| lead.standard_index().is_none());
    standard.chain(others).collect()
}

/// The samples of one stored lead.
struct Samples {
    bytes: Vec<u8>,
    scale: Scale,
}

impl Samples {
    fn read(
        path: &Path,
        lead: &Lead,
        data: Element<'_, '_>,
        options: &OpenOptions,
    ) -> Result<Samples, RecordError> {
        let field = |name: &str| format!("{name} of lead {lead}");
        let get = |name: &str| data.text_at(&[name]);
        if let Some(size) = get("LeadSampleSize").filter(|size| *size != "2") {
            let found = format!("{size} bytes");
            return Err(content(
                path,
                &field("LeadSampleSize"),
                &found,
                "2 bytes a sample",
            ));
        }
        let step = get("LeadAmplitudeUnitsPerBit").unwrap_or("absent");
        let unit = get("LeadAmplitudeUnits").unwrap_or("MICROVOLTS");
        let unit = options.unit_of(path, lead.name(), lead, unit)?;
        let name = field("LeadAmplitudeUnitsPerBit");
        let scale = Scale::new(number(path, &name, step)?, 0.0, unit)
            .ok_or_else(|| content(path, &name, step, "the voltage of a digital unit, not 0"))?;
        let bytes = base64(
            path,
            &field("WaveFormData"),
            get("WaveFormData").unwrap_or(""),
        )?;
        if let Some(count) = get("LeadSampleCountTotal") {
            let name = field("LeadSampleCountTotal");
            let count = number(path, &name, count)?;
            if count * 2.0 != bytes.len() as f64 {
                return Err(content(
                    path,
                    &field("WaveFormData"),
                    &format!("{} bytes long", bytes.len()),
                    &format!(
                        "two for each of {count} samples; the file may be cut off, copy it again"
                    ),
                ));
            }
        }
        let stated = get("LeadDataCRC32").and_then(|crc| crc.parse::<u32>().ok());
        // Writers that compute none leave a zero.
        if let Some(stated) = stated.filter(|&stated| options.verify && stated != 0) {
            let found = crc32fast::hash(&bytes);
            if found != stated {
                return Err(content(
                    path,
                    &format!("the checksum of lead {lead}"),
                    &found.to_string(),
                    &format!(
                        "{stated} as LeadDataCRC32 says; the samples were changed. Copy the file again, or skip the check in the options"
                    ),
                ));
            }
        }
        Ok(Samples { bytes, scale })
    }

    fn as_stored(&self, lead: &Lead, keep_digital: bool) -> StoredLead {
        let values = little_endian(&self.bytes).map(Some);
        StoredLead::from_digital(lead.clone(), values, self.scale, keep_digital)
    }
}

fn derive(
    path: &Path,
    lead: &Lead,
    i: &Samples,
    ii: &Samples,
    keep_digital: bool,
) -> Result<StoredLead, RecordError> {
    if i.bytes.len() != ii.bytes.len() {
        return Err(content(
            path,
            "the length of lead II",
            &format!("{} samples", ii.bytes.len() / 2),
            &format!("{}, as lead I has", i.bytes.len() / 2),
        ));
    }
    let lead = lead.clone();
    // Twice the lead, so that halves stay whole.
    let (a, b, halved) = match lead {
        Lead::III => (-1, 1, false),
        Lead::AVR => (-1, -1, true),
        Lead::AVL => (2, -1, true),
        _ => (-1, 2, true),
    };
    if i.scale != ii.scale {
        let half = if halved { 0.5 } else { 1.0 };
        let (a, b) = (f64::from(a) * half, f64::from(b) * half);
        let mv = little_endian(&i.bytes)
            .zip(little_endian(&ii.bytes))
            .map(|(x, y)| {
                let (x, y) = (f64::from(x), f64::from(y));
                (a * x / i.scale.gain_per_mv + b * y / ii.scale.gain_per_mv) as f32
            });
        return Ok(StoredLead::from_mv(lead, mv.collect()));
    }
    let values = little_endian(&i.bytes).zip(little_endian(&ii.bytes));
    let values = values.map(move |(x, y)| Some(a * x + b * y));
    let scale = Scale {
        gain_per_mv: i.scale.gain_per_mv * if halved { 2.0 } else { 1.0 },
        zero: 0.0,
    };
    Ok(StoredLead::from_digital(lead, values, scale, keep_digital))
}

/// The QRS complexes that the device marked, in milliseconds from the start (in exports at hand they are, whatever the rate); those
/// of its first type, the dominant one, are normal beats, others of an unknown kind.
fn beats(path: &Path, root: Element<'_, '_>, rate_hz: f64) -> Result<Vec<Annotation>, RecordError> {
    let mut marks = Vec::new();
    let lists = root.all("QRSTimesTypes");
    for qrs in lists.flat_map(|list| list.all("QRS")).take(MAX_BEATS) {
        let Some(time) = qrs.text_at(&["Time"]).filter(|time| !time.is_empty()) else {
            continue;
        };
        let time_ms = number(path, "the Time of a QRS", time)?;
        marks.push(Annotation {
            sample: (time_ms * rate_hz / 1e3).round() as i64,
            lead: None,
            symbol: if qrs.text_at(&["Type"]) == Some("0") {
                "N"
            } else {
                "Q"
            }
            .into(),
            note: None,
        });
    }
    Ok(marks)
}

/// Patient, age, sex and diagnosis.
fn describe(root: Element<'_, '_>, recording: &mut Recording, options: &OpenOptions) {
    let person = |name: &str| root.text_at(&["PatientDemographics", name]);
    recording.patient = options.patient_of(person("PatientID"));
    recording.sex = person("Gender").and_then(stored::sex);
    recording.age = person("PatientAge")
        .and_then(|age| stored::age_years(age, person("AgeUnits").unwrap_or("")))
        .or_else(|| {
            let day = root.text_at(&["TestDemographics", "AcquisitionDate"])?;
            stored::age_between(person("DateofBirth")?, day)
        });
    // The edited diagnosis, or else that of the device.
    recording.report = ["Diagnosis", "OriginalDiagnosis"]
        .iter()
        .filter_map(|name| root.child(name))
        .find_map(|diagnosis| report(statements(diagnosis)));
}

/// Statements run on until one is flagged as the end of its line.
fn statements(diagnosis: Element<'_, '_>) -> Vec<String> {
    let mut lines = vec![String::new()];
    for statement in diagnosis.all("DiagnosisStatement") {
        let text = statement.text_at(&["StmtText"]).unwrap_or("");
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() && !text.is_empty() {
                line.push(' ');
            }
            line.push_str(text);
        }
        let ends = |flag: Element<'_, '_>| flag.text().eq_ignore_ascii_case("ENDSLINE");
        if statement.all("StmtFlag").any(ends) {
            lines.push(String::new());
        }
    }
    lines
}
