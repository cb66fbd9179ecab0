//! Philips Sierra ECG (`restingecgdata`), versions 1.03 and 1.04.
//!
//! Compressed waveforms (XLI) hold leads III, aVR, aVL and aVF as what they differ from their values computed of I and II; here
//! they are put together again. Uncompressed ones are taken as 16-bit samples, one whole lead after the other.
//!
//! Carts append a calibration pulse of 1 mV in all leads at once behind the ten seconds of an ECG: recordings are 11 s long then,
//! and Einthoven's relations do not hold within the pulse (at 10.7 to 10.9 s). It is kept as stored.

use std::path::Path;

use super::tree::Element;
use super::{base64, little_endian, number, present, report, xli};
use crate::error::content;
use crate::open::OpenOptions;
use crate::stored::{self, Offer, Scale, StoredLead};
use crate::{Lead, RecordError, Recording, Unit};

/// Leads of a recording.
pub const MAX_LEADS: usize = 64;
/// Samples of all leads together, which a small file could otherwise be made to expand to without end: for twelve leads
/// 350,000 each, almost six minutes at 1 kHz.
pub const MAX_SAMPLES: usize = 1 << 22;

pub(super) fn read(
    path: &Path,
    root: Element<'_, '_>,
    options: &OpenOptions,
) -> Result<Recording, RecordError> {
    let waves = root
        .path(&["waveforms", "parsedwaveforms"])
        .ok_or_else(|| RecordError::NoSamples {
            path: path.to_owned(),
            why: "it has no element `parsedwaveforms`; export it with waveforms".into(),
        })?;
    let signal = Signal::read(path, root, waves)?;
    let data = base64(path, "parsedwaveforms", waves.text())?;
    let leads = match signal.compression.as_str() {
        "" | "uncompressed" | "none" => signal.uncompressed(path, &data)?,
        "xli" => {
            let max = MAX_SAMPLES / signal.leads.len();
            let mut leads = xli::decompress(path, &data, signal.leads.len(), max)?;
            reconstruct(&signal.leads, &mut leads);
            leads
        }
        other => {
            return Err(content(
                path,
                "the compression of parsedwaveforms",
                &format!("`{other}`"),
                "`XLI` or `Uncompressed`",
            ));
        }
    };
    for (lead, samples) in signal.leads.iter().zip(&leads) {
        if let Some(expected) = signal.samples.filter(|&n| n != samples.len()) {
            return Err(content(
                path,
                &format!("the waveform of lead {lead}"),
                &format!("{} samples", samples.len()),
                &format!("{expected}, as durationperchannel says; the file may be damaged"),
            ));
        }
    }
    let offers: Vec<Offer> = signal
        .leads
        .iter()
        .map(|lead| Offer {
            lead: lead.clone(),
            unit: "uV".into(),
        })
        .collect();
    let also = besides(root);
    let rows = stored::choose(path, &offers, options).map_err(|error| error.beside(&also))?;
    let leads = rows.iter().map(|&row| {
        let values = leads[row].iter().map(|&v| present(i32::from(v)));
        let lead = signal.leads[row].clone();
        Ok(StoredLead::from_digital(
            lead,
            values,
            signal.scale,
            options.keep_digital,
        ))
    });
    let mut recording =
        stored::recording(path, "philips-xml", Some(signal.rate_hz), leads, options)?;
    recording.source.also = also;
    describe(root, &mut recording, options);
    Ok(recording)
}

/// What the file holds besides the waveforms, in words.
fn besides(root: Element<'_, '_>) -> Vec<String> {
    let beats = root
        .child("waveforms")
        .into_iter()
        .flat_map(|waves| waves.all("repbeats"));
    let beats = beats
        .map(|beats| beats.all("repbeat").count())
        .filter(|&leads| leads > 0);
    beats
        .take(4)
        .map(|leads| format!("representative beats of {leads} leads"))
        .collect()
}

/// How the waveforms are stored.
struct Signal {
    leads: Vec<Lead>,
    rate_hz: f64,
    scale: Scale,
    compression: String,
    /// Samples of each lead, when the file says how long they are.
    samples: Option<usize>,
}

impl Signal {
    fn read(
        path: &Path,
        root: Element<'_, '_>,
        waves: Element<'_, '_>,
    ) -> Result<Signal, RecordError> {
        // Version 1.04 says everything at the waveforms, 1.03 at the acquisition.
        let acquired = root.path(&["dataacquisition", "signalcharacteristics"]);
        let say = |attribute: &str, elements: &[&str]| {
            let own = waves.attribute(attribute);
            own.filter(|text| !text.trim().is_empty()).or_else(|| {
                let acquired = acquired?;
                let text = elements.iter().find_map(|name| acquired.text_at(&[name]))?;
                Some(text.to_owned())
            })
        };
        let need = |field: &str, found: Option<String>| match found {
            Some(text) => number(path, field, &text),
            None => Err(content(path, field, "absent", "a number")),
        };
        let rate_hz = need(
            "samplespersecond",
            say("samplespersecond", &["samplingrate"]),
        )?;
        let resolution = need(
            "resolution",
            say("resolution", &["resolution", "signalresolution"]),
        )?;
        let offset = need(
            "signaloffset",
            say("signaloffset", &["signaloffset"]).or(Some("0".into())),
        )?;
        let scale =
            Scale::new(resolution, -offset * resolution, Unit::Microvolt).ok_or_else(|| {
                content(
                    path,
                    "resolution",
                    &resolution.to_string(),
                    "microvolts of a digital unit, not 0",
                )
            })?;
        let bits = waves.attribute("nbitspersample");
        let bits = say("bitspersample", &["bitspersample"]).or(bits);
        if let Some(bits) = bits.filter(|bits| bits.trim() != "16") {
            return Err(content(path, "bitspersample", &bits, "16"));
        }
        if let Some(encoding) = waves
            .attribute("dataencoding")
            .filter(|e| !e.eq_ignore_ascii_case("base64"))
        {
            return Err(content(
                path,
                "dataencoding",
                &format!("`{encoding}`"),
                "`Base64`",
            ));
        }
        let labels = waves.attribute("leadlabels").unwrap_or_default();
        let count = say(
            "numberofleads",
            &["numberchannelsvalid", "numberchannelsallocated"],
        );
        let count = need("numberofleads", count.or(Some("12".into())))?;
        if !(1.0..=MAX_LEADS as f64).contains(&count) {
            let limit = format!("1 to {MAX_LEADS}");
            return Err(content(path, "numberofleads", &count.to_string(), &limit));
        }
        let mut leads: Vec<Lead> = labels.split_whitespace().map(Lead::parse).collect();
        if leads.is_empty() {
            leads = Lead::STANDARD_12.to_vec();
        }
        let count = count as usize;
        leads.truncate(count);
        while leads.len() < count {
            leads.push(Lead::Other(format!("channel {}", leads.len() + 1)));
        }
        let compression = waves
            .attribute("compression")
            .or_else(|| {
                let on = waves.attribute("compressflag").unwrap_or_default();
                on.eq_ignore_ascii_case("true")
                    .then(|| waves.attribute("compressmethod"))?
            })
            .unwrap_or_default();
        // The duration is in milliseconds.
        let samples = match waves.attribute("durationperchannel") {
            Some(text) => {
                let samples = number(path, "durationperchannel", &text)? * rate_hz / 1e3;
                let limit = MAX_SAMPLES / leads.len();
                if !(1.0..=limit as f64).contains(&samples) {
                    let limit = format!("1 to {limit} samples, in milliseconds");
                    return Err(content(path, "durationperchannel", &text, &limit));
                }
                Some(samples.round() as usize)
            }
            None => None,
        };
        Ok(Signal {
            leads,
            rate_hz,
            scale,
            compression: compression.trim().to_ascii_lowercase(),
            samples,
        })
    }

    fn uncompressed(&self, path: &Path, data: &[u8]) -> Result<Vec<Vec<i16>>, RecordError> {
        let samples = self.samples.unwrap_or(data.len() / 2 / self.leads.len());
        let expected = samples.saturating_mul(2 * self.leads.len());
        if data.len() < expected || samples == 0 {
            return Err(RecordError::Truncated {
                path: path.to_owned(),
                found: data.len() as u64,
                expected: expected.max(2 * self.leads.len()) as u64,
                what: format!("{samples} samples of {} leads", self.leads.len()),
            });
        }
        Ok(data[..expected]
            .chunks_exact(2 * samples)
            .map(|lead| little_endian(lead).map(|v| v as i16).collect())
            .collect())
    }
}

/// Adds to III, aVR, aVL and aVF what they are computed to be; halves are cut towards zero, as the device does.
fn reconstruct(names: &[Lead], leads: &mut [Vec<i16>]) {
    let at = |wanted: &Lead| names.iter().position(|name| name == wanted);
    let (Some(i), Some(ii)) = (at(&Lead::I), at(&Lead::II)) else {
        return;
    };
    let rows = [Lead::III, Lead::AVR, Lead::AVL, Lead::AVF].map(|lead| at(&lead));
    let value = |leads: &[Vec<i16>], row: usize, t: usize| {
        i32::from(leads[row].get(t).copied().unwrap_or(0))
    };
    let samples = leads[i].len().min(leads[ii].len());
    for t in 0..samples {
        let (i, ii) = (value(leads, i, t), value(leads, ii, t));
        // Without a stored III there is nothing that it differs from.
        let iii = ii - i - rows[0].map_or(0, |row| value(leads, row, t));
        let computed = [iii, -(i + ii) / 2, (i - iii) / 2, (ii + iii) / 2];
        for (index, (row, computed)) in rows.into_iter().zip(computed).enumerate() {
            let Some(row) = row else { continue };
            let stored = if index == 0 { 0 } else { value(leads, row, t) };
            if let Some(sample) = leads[row].get_mut(t) {
                *sample =
                    (computed - stored).clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16;
            }
        }
    }
}

/// Patient, age, sex and the statements of the interpretation, their codes as labels.
fn describe(root: Element<'_, '_>, recording: &mut Recording, options: &OpenOptions) {
    let person = |names: &[&str]| {
        let general = root.path(&["patient", "generalpatientdata"])?;
        general.text_at(names)
    };
    recording.patient = options.patient_of(person(&["patientid"]).or(person(&["MRN"])));
    recording.sex = person(&["sex"]).and_then(stored::sex);
    recording.age = [
        ("years", "y"),
        ("months", "m"),
        ("weeks", "w"),
        ("days", "d"),
    ]
    .iter()
    .find_map(|(name, unit)| stored::age_years(person(&["age", name])?, unit))
    .or_else(|| {
        let day = root.child("dataacquisition")?.attribute("date")?;
        stored::age_between(person(&["age", "dateofbirth"])?, &day)
    });
    let Some(interpretations) = root.child("interpretations") else {
        return;
    };
    let statements = |interpretation: Element<'_, '_>| {
        let left = interpretation.all("statement").map(|statement| {
            let text = statement.text_at(&["leftstatement"]).unwrap_or("");
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        });
        let mut lines: Vec<String> = left.collect();
        lines.extend(interpretation.text_at(&["severity"]).map(str::to_owned));
        report(lines)
    };
    let codes = interpretations.all("interpretation").next();
    let codes = codes.iter().flat_map(|first| first.all("statement"));
    let codes = codes.filter_map(|statement| statement.text_at(&["statementcode"]));
    recording.labels = codes.map(str::to_owned).collect();
    // The reasons that stand beside the statements are criteria of the program, not findings.
    recording.report = interpretations.all("interpretation").find_map(statements);
    for statement in interpretations.descendants("statement") {
        let parts = ["leftstatement", "rightstatement"].map(|name| statement.text_at(&[name]));
        if let [Some(left), Some(right)] = parts {
            recording.source.comments.push(format!("{left}: {right}"));
        }
    }
}
