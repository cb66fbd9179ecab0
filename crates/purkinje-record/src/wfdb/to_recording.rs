//! From a WFDB record to a [`Recording`].

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::direct;
use super::header::{Header, SignalSpec};
use super::record::{Signal, WfdbRecord};
use super::{ReadOptions, annotation, files};
use crate::open::{FramePolicy, OpenOptions};
use crate::person::Person;
use crate::stored::{self, Offer};
use crate::units::none_is_voltage;
use crate::{Annotation, Digital, Lead, LeadSet, RecordError, Recording, Source, Unit};

/// Opens the record of the header at `path`.
pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Recording, RecordError> {
    open_whole(path, Header::read(path)?, options)
}

/// Opens the record of a header that was read from `path`.
pub(crate) fn open_whole(
    path: &Path,
    header: Header,
    options: &OpenOptions,
) -> Result<Recording, RecordError> {
    let rate_hz = header.rate_hz;
    let mut recording = open_header(path, header, options)?;
    recording.annotations = annotations_beside(path, options, recording.rate_hz, rate_hz)?;
    Ok(recording)
}

/// Opens the record of a header that was read from `path`, without annotations.
pub(super) fn open_header(
    path: &Path,
    header: Header,
    options: &OpenOptions,
) -> Result<Recording, RecordError> {
    if let Some(recording) = direct::open(path, &header, options)? {
        return Ok(recording);
    }
    let read = ReadOptions {
        verify: options.verify,
        links_outside: options.links_outside,
    };
    WfdbRecord::read_with(path, header, &read)?.to_recording(options)
}

/// The annotations that `options` ask for, in samples of `rate_hz`; files that state no rate count frames of `frames_hz`.
pub(super) fn annotations_beside(
    path: &Path,
    options: &OpenOptions,
    rate_hz: f64,
    frames_hz: f64,
) -> Result<Vec<Annotation>, RecordError> {
    let mut all = Vec::new();
    for annotator in &options.annotators {
        let file = annotation_file(path, annotator, options)?;
        let read = annotation::read_annotations(&file)?;
        let ratio = rate_hz / read.rate_hz.unwrap_or(frames_hz);
        all.extend(read.marks.into_iter().map(|mark| Annotation {
            sample: (mark.sample as f64 * ratio).round() as i64,
            lead: None,
            symbol: mark.symbol,
            note: mark.note,
        }));
    }
    all.sort_by_key(|annotation| annotation.sample);
    Ok(all)
}

/// `record.atr` beside `record.hea`.
fn annotation_file(
    header: &Path,
    annotator: &str,
    options: &OpenOptions,
) -> Result<PathBuf, RecordError> {
    let name = format!("{}.{annotator}", crate::open::id_of(header));
    Ok(files::named(header, &name, options.links_outside)?.path)
}

impl WfdbRecord {
    /// The record in millivolts, with the leads, frames and extras that `options` ask for.
    ///
    /// # Errors
    /// When a lead is not there, is no voltage, or leads differ in rate.
    pub fn to_recording(&self, options: &OpenOptions) -> Result<Recording, RecordError> {
        let rows = choose(&self.path, self.signals.iter().map(|s| &s.spec), options)?;
        let signals: Vec<Cow<'_, Signal>> = rows
            .iter()
            .map(|&row| match options.frames {
                FramePolicy::Full => Cow::Borrowed(&self.signals[row]),
                FramePolicy::Average => self.signals[row].averaged(),
            })
            .collect();
        let per_frame = common_rate(&self.path, &signals)?;
        let all = leads_of(self.signals.iter().map(|s| &s.spec), options);
        let leads = LeadSet::new(rows.iter().map(|&row| all[row].clone()).collect());
        let mut samples_mv = Vec::with_capacity(signals.len() * self.frames * per_frame);
        let mut units = Vec::with_capacity(signals.len());
        for (signal, lead) in signals.iter().zip(leads.leads()) {
            let unit = unit(&self.path, &signal.spec, lead, options)?;
            signal.append_mv(unit, &mut samples_mv);
            units.push(unit);
        }
        let rate_hz = self.header.rate_hz * per_frame as f64;
        let mut recording = finish(
            &self.path,
            &self.header,
            leads,
            rate_hz,
            samples_mv,
            options,
        )?;
        recording.source.also =
            left_out(&all, self.signals.iter().map(|s| &s.spec), &rows, options);
        if options.keep_digital {
            recording.digital = digital(&signals, &units).map(Box::new);
        }
        Ok(recording)
    }
}

impl Signal {
    fn append_mv(&self, unit: Unit, out: &mut Vec<f32>) {
        for (i, scale) in self.scales.iter().enumerate() {
            let end = self
                .scales
                .get(i + 1)
                .map_or(self.digital.len(), |next| next.from_sample);
            let gain_per_mv = gain_per_mv(scale.gain, unit);
            out.extend(self.digital[scale.from_sample..end].iter().map(|&value| {
                if value == scale.missing {
                    f32::NAN
                } else {
                    ((f64::from(value) - f64::from(scale.baseline)) / gain_per_mv) as f32
                }
            }));
        }
    }
}

/// Digital units per millivolt.
pub(super) fn gain_per_mv(gain: f64, unit: Unit) -> f64 {
    match unit {
        // A division by 1000 is exact where a product with 0.001 is not.
        Unit::Volt => gain / 1e3,
        unit => gain * unit.per_mv(),
    }
}

pub(super) fn unit(
    path: &Path,
    spec: &SignalSpec,
    lead: &Lead,
    options: &OpenOptions,
) -> Result<Unit, RecordError> {
    options.unit_of(path, &spec.description, lead, &spec.unit)
}

/// The leads of all signals; those without a description are numbered from 1.
pub(super) fn leads_of<'a>(
    specs: impl Iterator<Item = &'a SignalSpec>,
    options: &OpenOptions,
) -> Vec<Lead> {
    let leads = specs
        .enumerate()
        .map(|(row, spec)| match &*spec.description {
            "" => Lead::Other(format!("signal {}", row + 1)),
            name => Lead::parse(name),
        });
    let mut leads: Vec<Lead> = leads.collect();
    options.settle(&mut leads);
    leads
}

/// The rows of the signals that the options ask for, in their order.
pub(super) fn choose<'a>(
    path: &Path,
    specs: impl ExactSizeIterator<Item = &'a SignalSpec> + Clone,
    options: &OpenOptions,
) -> Result<Vec<usize>, RecordError> {
    let leads = leads_of(specs.clone(), options);
    let units: Vec<&str> = specs.clone().map(|spec| spec.unit.as_str()).collect();
    let rows = options.choose(path, &leads, |row| {
        options.is_voltage(&leads[row], units[row])
    })?;
    if rows.is_empty() {
        let signals = specs.map(|spec| (spec.description.as_str(), spec.unit.as_str()));
        return Err(none_is_voltage(path, signals));
    }
    Ok(rows)
}

/// Signals that were left out though nobody asked for some leads only, in words.
pub(super) fn left_out<'a>(
    leads: &[Lead],
    specs: impl Iterator<Item = &'a SignalSpec>,
    rows: &[usize],
    options: &OpenOptions,
) -> Vec<String> {
    if rows.len() == leads.len() {
        return Vec::new();
    }
    let offers = leads.iter().zip(specs).map(|(lead, spec)| Offer {
        lead: lead.clone(),
        unit: spec.unit.clone(),
    });
    stored::left_out(&offers.collect::<Vec<_>>(), rows, options)
}

/// Samples per frame, which all signals of a recording must share.
fn common_rate(path: &Path, signals: &[Cow<'_, Signal>]) -> Result<usize, RecordError> {
    let first = &signals[0].spec;
    match signals
        .iter()
        .find(|signal| signal.spec.samples_per_frame != first.samples_per_frame)
    {
        None => Ok(first.samples_per_frame as usize),
        Some(other) => Err(RecordError::MixedRates {
            path: path.to_owned(),
            first: first.description.clone(),
            first_per_frame: first.samples_per_frame,
            second: other.spec.description.clone(),
            second_per_frame: other.spec.samples_per_frame,
        }),
    }
}

/// A recording with everything that does not depend on samples.
pub(super) fn finish(
    path: &Path,
    header: &Header,
    leads: LeadSet,
    rate_hz: f64,
    samples_mv: Vec<f32>,
    options: &OpenOptions,
) -> Result<Recording, RecordError> {
    let mut recording = Recording::new(crate::open::id_of(path), leads, rate_hz, samples_mv)
        .map_err(|source| RecordError::Shape {
            path: path.to_owned(),
            source,
        })?;
    recording.patient.clone_from(&options.patient);
    let person = Person::of_comments(&header.comments);
    (recording.age, recording.sex) = (person.age, person.sex);
    let comments = header.comments.iter().cloned();
    recording.source = Source {
        path: path.to_owned(),
        format: "wfdb",
        comments: comments.chain(person.left_out).collect(),
        ..Source::default()
    };
    Ok(recording)
}

/// The digital samples as 16 bits, when all fit and each signal has one scale.
fn digital(signals: &[Cow<'_, Signal>], units: &[Unit]) -> Option<Digital> {
    let mut samples = Vec::new();
    let (mut gains, mut baselines) = (Vec::new(), Vec::new());
    for (signal, &unit) in signals.iter().zip(units) {
        let [scale] = signal.scales[..] else {
            return None;
        };
        for &value in &signal.digital {
            samples.push(if value == scale.missing {
                Digital::MISSING
            } else {
                i16::try_from(value)
                    .ok()
                    .filter(|&v| v != Digital::MISSING)?
            });
        }
        gains.push(gain_per_mv(scale.gain, unit));
        baselines.push(scale.baseline);
    }
    Some(Digital::new(samples, gains, baselines))
}
