//! EDF and EDF+ (<https://www.edfplus.info/specs/edf.html>, <https://www.edfplus.info/specs/edfplus.html>).
//!
//! A file is a header, then data records of one duration; each holds the 16-bit samples of every signal for that time. Signals may
//! differ in rate. In EDF+ a signal `EDF Annotations` holds texts with their times. Records with gaps between them (EDF+D) are
//! refused, unless there is in fact no gap.

use std::path::Path;

use crate::error::content;
use crate::open::{OpenOptions, id_of};
use crate::wfdb::files;
use crate::{Annotation, Digital, Lead, LeadSet, RecordError, Recording, Source, Unit};

mod annotations;
mod header;
pub(crate) mod long;

use header::{Header, Signal};

/// Bytes of the largest file that is read.
pub const MAX_EDF_BYTES: u64 = 1 << 32;
/// Signals of a file.
pub const MAX_SIGNALS: usize = 4096;
/// Annotations of a file.
pub const MAX_ANNOTATIONS: usize = 100_000;

pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Recording, RecordError> {
    let bytes = files::read_small(path, MAX_EDF_BYTES, "size in bytes")?;
    let header = Header::parse(path, &bytes)?;
    let data = Data::find(path, &header, &bytes)?;
    let rate_hz = rate_hz(choose(path, &header, options)?[0].0, &header);
    let annotations = annotations::read(path, &header, &header.signals, &data, rate_hz)?;
    recording(path, header, &data, annotations, options)
}

fn rate_hz(signal: &Signal, header: &Header) -> f64 {
    signal.samples_per_record as f64 / header.record_s
}

/// The recording of data records.
fn recording(
    path: &Path,
    header: Header,
    data: &Data<'_>,
    annotations: Vec<Annotation>,
    options: &OpenOptions,
) -> Result<Recording, RecordError> {
    let chosen = choose(path, &header, options)?;
    let rate_hz = rate_hz(chosen[0].0, &header);
    let mut samples_mv = Vec::with_capacity(
        chosen.len().saturating_mul(data.records) * chosen[0].0.samples_per_record,
    );
    let mut leads = Vec::new();
    let mut digital = options.keep_digital.then(Kept::default);
    for (signal, lead) in chosen {
        let unit = unit(path, signal, options)?;
        let start = samples_mv.len();
        let scale = signal.scale(path)?;
        samples_mv.extend(data.samples(signal).map(|sample| {
            unit.to_mv((f64::from(sample) - signal.digital_min) * scale + signal.physical_min)
                as f32
        }));
        digital = digital.and_then(|kept| {
            kept.with(
                signal,
                scale,
                unit,
                data.samples(signal),
                &samples_mv[start..],
            )
        });
        leads.push(lead);
    }
    let recording = Recording::new(id_of(path), LeadSet::new(leads), rate_hz, samples_mv);
    let mut recording = recording.map_err(|source| RecordError::Shape {
        path: path.to_owned(),
        source,
    })?;
    recording.digital = digital
        .map(|kept| Digital::new(kept.samples, kept.gains, kept.baselines))
        .map(Box::new);
    recording.annotations = annotations;
    recording.patient = options.patient_of(header.patient.as_deref());
    recording.sex = header.sex.map(str::to_owned);
    recording.age = header.age;
    recording.source = Source {
        path: path.to_owned(),
        format: "edf",
        comments: header
            .signals
            .iter()
            .filter(|signal| !signal.prefilter.is_empty() && !signal.is_annotations())
            .map(|signal| format!("prefilter {}: {}", signal.label, signal.prefilter))
            .collect(),
        also: Vec::new(),
    };
    header.identifiers.remove_from(&mut recording);
    Ok(recording)
}

/// Whether `start` is the start of an EDF file.
pub(crate) fn is_edf(start: &[u8]) -> bool {
    start.starts_with(b"0       ")
}

/// The signals that the options ask for, all of one rate, with their leads.
fn choose<'a>(
    path: &Path,
    header: &'a Header,
    options: &OpenOptions,
) -> Result<Vec<(&'a Signal, Lead)>, RecordError> {
    let signals: Vec<&Signal> = header
        .signals
        .iter()
        .filter(|signal| !signal.is_annotations())
        .collect();
    let mut leads: Vec<Lead> = signals.iter().map(|s| Lead::parse(&s.label)).collect();
    options.settle(&mut leads);
    let voltage = |row: usize| signals[row].unit.parse::<Unit>().is_ok();
    let rows = options.choose(path, &leads, voltage)?;
    let chosen = rows
        .into_iter()
        .map(|row| (signals[row], leads[row].clone()));
    let chosen: Vec<(&Signal, Lead)> = chosen.collect();
    let Some((first, _)) = chosen.first() else {
        return Err(RecordError::NoSamples {
            path: path.to_owned(),
            why: "none of its signals was asked for or is a voltage".into(),
        });
    };
    // What is no voltage is the more telling mistake.
    for (signal, _) in &chosen {
        unit(path, signal, options)?;
    }
    let other = chosen
        .iter()
        .map(|(signal, _)| signal)
        .find(|signal| signal.samples_per_record != first.samples_per_record);
    if let Some(other) = other {
        return Err(RecordError::MixedRates {
            path: path.to_owned(),
            first: first.label.clone(),
            first_per_frame: u32::try_from(first.samples_per_record).unwrap_or(u32::MAX),
            second: other.label.clone(),
            second_per_frame: u32::try_from(other.samples_per_record).unwrap_or(u32::MAX),
        });
    }
    if first.samples_per_record == 0 || header.record_s <= 0.0 {
        return Err(content(
            path,
            &format!("the rate of signal `{}`", first.label),
            &format!(
                "{} samples in {} s",
                first.samples_per_record, header.record_s
            ),
            "samples in every data record, of a duration above 0",
        ));
    }
    Ok(chosen)
}

fn unit(path: &Path, signal: &Signal, options: &OpenOptions) -> Result<Unit, RecordError> {
    match (signal.unit.as_str(), options.unit) {
        ("", Some(unit)) => Ok(unit),
        (unit, _) => unit.parse().map_err(|_| RecordError::Unit {
            path: path.to_owned(),
            signal: signal.label.clone(),
            unit: unit.to_owned(),
        }),
    }
}

/// The data records.
struct Data<'a> {
    bytes: &'a [u8],
    record_bytes: usize,
    records: usize,
}

impl<'a> Data<'a> {
    fn find(path: &Path, header: &Header, bytes: &'a [u8]) -> Result<Self, RecordError> {
        let data = bytes.get(header.bytes..).unwrap_or_default();
        let record_bytes = header.record_bytes;
        if record_bytes == 0 {
            return Err(RecordError::NoSamples {
                path: path.to_owned(),
                why: "its data records are empty".into(),
            });
        }
        let records = match header.records {
            // Unknown while recording goes on, and after it was broken off.
            None => data.len() / record_bytes,
            Some(records) => {
                let size = records.checked_mul(record_bytes);
                if size.is_none_or(|size| size > data.len()) {
                    return Err(RecordError::Truncated {
                        path: path.to_owned(),
                        found: bytes.len() as u64,
                        expected: size
                            .and_then(|size| size.checked_add(header.bytes))
                            .map_or(u64::MAX, |size| size as u64),
                        what: format!("{records} data records"),
                    });
                }
                if data.len() - records * record_bytes >= record_bytes {
                    return Err(content(
                        path,
                        "the size of the file",
                        &format!("{} data records", data.len() / record_bytes),
                        &format!("{records} as the header says; correct the header if it is wrong"),
                    ));
                }
                records
            }
        };
        if records == 0 {
            return Err(RecordError::NoSamples {
                path: path.to_owned(),
                why: "it has no data record".into(),
            });
        }
        Ok(Data {
            bytes: data,
            record_bytes,
            records,
        })
    }

    /// The parts of a signal, one a data record.
    fn parts(&self, signal: &Signal) -> impl Iterator<Item = &'a [u8]> {
        let start = signal.offset_bytes;
        let end = start + 2 * signal.samples_per_record;
        self.bytes
            .chunks_exact(self.record_bytes)
            .take(self.records)
            .map(move |record| record.get(start..end).unwrap_or_default())
    }

    fn samples(&self, signal: &Signal) -> impl Iterator<Item = i16> {
        self.parts(signal).flat_map(|part| {
            part.chunks_exact(2)
                .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
        })
    }
}

/// Samples as the file stores them, as long as they give the millivolts exactly.
#[derive(Default)]
struct Kept {
    samples: Vec<i16>,
    gains: Vec<f64>,
    baselines: Vec<i32>,
}

impl Kept {
    fn with(
        mut self,
        signal: &Signal,
        scale: f64,
        unit: Unit,
        samples: impl Iterator<Item = i16>,
        samples_mv: &[f32],
    ) -> Option<Self> {
        if unit == Unit::Volt {
            return None;
        }
        let gain = unit.per_mv() / scale;
        let baseline = (signal.digital_min - signal.physical_min / scale).round();
        // Zero need not be a whole number of steps in this format.
        let baseline = (baseline.abs() <= f64::from(i32::MAX)).then_some(baseline as i32)?;
        for (sample, &mv) in samples.zip(samples_mv) {
            let again = ((f64::from(sample) - f64::from(baseline)) / gain) as f32;
            if sample == Digital::MISSING || again != mv {
                return None;
            }
            self.samples.push(sample);
        }
        self.gains.push(gain);
        self.baselines.push(baseline);
        Some(self)
    }
}
