//! EDF and EDF+ (<https://www.edfplus.info/specs/edf.html>, <https://www.edfplus.info/specs/edfplus.html>), and the same with samples of 24
//! bits, BDF (<https://www.biosemi.com/faq/file_format.htm>) and BDF+ (<https://www.teuniz.net/edfbrowser/bdfplus%20format%20description.html>).
//!
//! A file is a header, then data records of one duration; each holds the samples of every signal for that time. Signals may
//! differ in rate. In EDF+ a signal `EDF Annotations` holds texts with their times. Records with gaps between them (EDF+D) are
//! refused, unless there is in fact no gap.

use std::path::Path;

use crate::error::content;
use crate::open::{OpenOptions, id_of};
use crate::units::none_is_voltage;
use crate::wfdb::files;
use crate::{Annotation, Digital, Lead, LeadSet, RecordError, Recording, Source, Unit};

mod annotations;
mod header;
pub(crate) mod long;

use header::{Header, Signal, Width};

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
        let unit = options.unit_of(path, &signal.label, &lead, &signal.unit)?;
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
        format: header.width.format(),
        comments: header
            .signals
            .iter()
            .filter(|signal| !signal.prefilter.is_empty() && !signal.is_annotations())
            .map(|signal| format!("prefilter {}: {}", signal.label, signal.prefilter))
            .chain(data.remark.clone())
            .collect(),
        ..Source::default()
    };
    header.identifiers.remove_from(&mut recording);
    Ok(recording)
}

/// Whether `start` is the start of an EDF or BDF file.
pub(crate) fn is_edf(start: &[u8]) -> bool {
    Width::of(start).is_some()
}

/// The same where no name says so: the size of the header has to fit too.
pub(crate) fn is_edf_by_mark(start: &[u8]) -> bool {
    let field = |at: usize, size: usize| -> Option<usize> {
        let field = std::str::from_utf8(start.get(at..at + size)?).ok()?;
        field.trim().parse().ok()
    };
    let signals = field(252, 4).filter(|&signals| signals <= MAX_SIGNALS);
    is_edf(start) && signals.is_some_and(|n| n > 0 && field(184, 8) == Some(256 * (n + 1)))
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
    let rows = options.choose(path, &leads, |row| {
        options.is_voltage(&leads[row], &signals[row].unit)
    })?;
    let chosen = rows
        .into_iter()
        .map(|row| (signals[row], leads[row].clone()));
    let chosen: Vec<(&Signal, Lead)> = chosen.collect();
    let Some((first, _)) = chosen.first() else {
        let signals = signals.iter().map(|s| (s.label.as_str(), s.unit.as_str()));
        return Err(none_is_voltage(path, signals));
    };
    // What is no voltage is the more telling mistake.
    for (signal, lead) in &chosen {
        options.unit_of(path, &signal.label, lead, &signal.unit)?;
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

/// How many data records are read of a file of so many bytes, and what has to be said about that: a recording that was broken off, or a file
/// that was cut, costs what is not there and no more.
fn extent(
    path: &Path,
    header: &Header,
    file_bytes: u64,
) -> Result<(usize, Option<String>), RecordError> {
    let none = |why: &str| RecordError::NoSamples {
        path: path.to_owned(),
        why: why.to_owned(),
    };
    let record_bytes = header.record_bytes as u64;
    if record_bytes == 0 {
        return Err(none("its data records are empty"));
    }
    let data = file_bytes.saturating_sub(header.bytes as u64);
    let (whole, rest) = (data / record_bytes, data % record_bytes);
    // Unknown while recording goes on, and after it was broken off.
    let stated = header.records.filter(|&records| records > 0);
    let stated = stated.map(|records| records as u64);
    let records = stated.map_or(whole, |stated| stated.min(whole));
    let remark = match stated {
        Some(stated) if whole < stated => Some(format!(
            "the file ends early: {whole} of {stated} data records are whole, and just these were read"
        )),
        Some(stated) if whole > stated => Some(format!(
            "the file has {whole} data records and its header says {stated}: what follows these was left out"
        )),
        _ if rest > 0 => Some(format!(
            "{rest} bytes after the last whole data record were left out"
        )),
        _ => None,
    };
    if records > 0 {
        return Ok((usize::try_from(records).unwrap_or(usize::MAX), remark));
    }
    if stated.is_none() && rest == 0 {
        return Err(none("it has no data record"));
    }
    Err(RecordError::Truncated {
        path: path.to_owned(),
        found: file_bytes,
        expected: record_bytes.saturating_add(header.bytes as u64),
        what: "the first data record".into(),
    })
}

/// The data records.
struct Data<'a> {
    bytes: &'a [u8],
    record_bytes: usize,
    records: usize,
    width: Width,
    /// What has to be said about their number.
    remark: Option<String>,
}

impl<'a> Data<'a> {
    fn find(path: &Path, header: &Header, bytes: &'a [u8]) -> Result<Self, RecordError> {
        let (records, remark) = extent(path, header, bytes.len() as u64)?;
        Ok(Data {
            bytes: bytes.get(header.bytes..).unwrap_or_default(),
            record_bytes: header.record_bytes,
            records,
            width: header.width,
            remark,
        })
    }

    /// The parts of a signal, one a data record.
    fn parts(&self, signal: &Signal) -> impl Iterator<Item = &'a [u8]> {
        let start = signal.offset_bytes;
        let end = start + signal.bytes;
        self.bytes
            .chunks_exact(self.record_bytes)
            .take(self.records)
            .map(move |record| record.get(start..end).unwrap_or_default())
    }

    fn samples(&self, signal: &Signal) -> impl Iterator<Item = i32> {
        let bytes = self.width.bytes();
        self.parts(signal).flat_map(move |part| {
            part.chunks_exact(bytes).map(|sample| match *sample {
                [a, b] => i32::from(i16::from_le_bytes([a, b])),
                [a, b, c] => i32::from_le_bytes([0, a, b, c]) >> 8,
                _ => 0,
            })
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
        samples: impl Iterator<Item = i32>,
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
            let fits = i16::try_from(sample).ok().filter(|_| again == mv);
            self.samples
                .push(fits.filter(|&sample| sample != Digital::MISSING)?);
        }
        self.gains.push(gain);
        self.baselines.push(baseline);
        Some(self)
    }
}
