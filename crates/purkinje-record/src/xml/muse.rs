//! GE MUSE (`RestingECG`): the rhythm waveform, 16-bit samples of each lead as base64.
//!
//! MUSE stores eight leads (I, II, V1 to V6) and leaves the other four to the reader: they are derived (`derive.rs`), and all come in the
//! standard order.

use std::path::Path;

use super::tree::Element;
use super::{base64, little_endian, number, present, report};
use crate::error::content;
use crate::open::OpenOptions;
use crate::stored::{self, Offer, Scale, StoredLead};
use crate::{Annotation, Lead, LeadChoice, LeadSet, RecordError, Recording};

/// Marked beats that are taken.
const MAX_BEATS: usize = 100_000;

pub(super) fn read(
    path: &Path,
    root: Element<'_, '_>,
    options: &OpenOptions,
) -> Result<Recording, RecordError> {
    let (waveform, also) = rhythm(path, root)?;
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
    let offers: Vec<Offer> = stored
        .iter()
        .map(|(lead, data)| Offer {
            lead: lead.clone(),
            unit: data
                .text_at(&["LeadAmplitudeUnits"])
                .unwrap_or("MICROVOLTS")
                .into(),
        })
        .collect();
    let rows = stored::choose(path, &offers, options).map_err(|error| error.beside(&also))?;
    let leads = rows.iter().map(|&row| {
        let (lead, data) = &stored[row];
        samples(path, lead, *data, options)
    });
    let rate_hz = rate_hz(path, waveform)?;
    let mut recording = stored::recording(path, "muse-xml", Some(rate_hz), leads, options)?;
    describe(root, &mut recording, options);
    recording.source.also = also;
    recording
        .source
        .also
        .extend(stored::left_out(&offers, &rows, options));
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
    // The device shows twelve leads of the eight that it stores.
    Ok(match &options.leads {
        LeadChoice::Named(_) => recording,
        _ if !options.derive => recording,
        _ => complete(recording),
    })
}

/// With the limb leads that can be derived, in the standard order, and then the others.
fn complete(recording: Recording) -> Recording {
    let own = &recording.leads;
    let standard = own.able_to_give(&LeadSet::standard_12());
    let others = own.leads().iter();
    let others = others.filter(|lead| lead.standard_index().is_none());
    let wanted = LeadSet::new(standard.leads().iter().chain(others).cloned().collect());
    recording.deriving(&wanted)
}

/// The first rhythm waveform, and in words what else there is: the median beat is no recording.
fn rhythm<'d, 'a>(
    path: &Path,
    root: Element<'d, 'a>,
) -> Result<(Element<'d, 'a>, Vec<String>), RecordError> {
    /// Waveforms that are named.
    const NAMED: usize = 16;
    let kind = |waveform: &Element<'_, 'a>| -> String {
        let kind = waveform.text_at(&["WaveformType"]).unwrap_or("");
        kind.chars().take(40).collect()
    };
    let waveforms: Vec<Element<'d, 'a>> = root.all("Waveform").collect();
    let at = waveforms
        .iter()
        .position(|waveform| kind(waveform).eq_ignore_ascii_case("rhythm"));
    let others = waveforms
        .iter()
        .enumerate()
        .filter(|(other, _)| Some(*other) != at);
    let others = others.take(NAMED).map(|(_, waveform)| {
        let leads = waveform
            .all("LeadData")
            .filter_map(|data| data.text_at(&["LeadID"]));
        let leads: Vec<&str> = leads.take(NAMED).collect();
        format!("waveform {}: {}", kind(waveform), leads.join(" "))
    });
    if let Some(at) = at {
        return Ok((waveforms[at], others.collect()));
    }
    let kinds: Vec<String> = waveforms.iter().take(NAMED).map(kind).collect();
    Err(RecordError::NoSamples {
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

/// The samples of one stored lead.
fn samples(
    path: &Path,
    lead: &Lead,
    data: Element<'_, '_>,
    options: &OpenOptions,
) -> Result<StoredLead, RecordError> {
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
                &format!("two for each of {count} samples; the file may be cut off, copy it again"),
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
                    "{stated} as LeadDataCRC32 says; the samples were changed. Copy the file again, or skip the check with `--no-verify`"
                ),
            ));
        }
    }
    let values = little_endian(&bytes).map(present);
    Ok(StoredLead::from_digital(
        lead.clone(),
        values,
        scale,
        options.keep_digital,
    ))
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
