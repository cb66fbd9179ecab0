//! The in-memory recording.

use std::ops::Range;
use std::path::PathBuf;

use crate::{Lead, LeadSet};

/// One ECG: samples in millivolts, rate, leads, and what is known about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// Name of the record, unique within its data set.
    pub id: String,
    /// The meaning of the rows.
    pub leads: LeadSet,
    /// Sampling rate in hertz.
    pub rate_hz: f64,
    /// Samples in millivolts, row-major `[lead, time]`; NaN where the file holds no value.
    samples_mv: Vec<f32>,
    /// Patient the recording belongs to, when known: what the caller gave, or the salted hash of what the file says.
    pub patient: Option<String>,
    /// Age of the patient in years, 0 to 130, as the file states it.
    pub age: Option<f32>,
    /// `female`, `male`, or as the file writes it.
    pub sex: Option<String>,
    /// Labels as the source spells them.
    pub labels: Vec<String>,
    /// Report text, when there is one.
    pub report: Option<String>,
    /// Beat, rhythm or wave annotations.
    pub annotations: Vec<Annotation>,
    /// Where it came from.
    pub source: Source,
    /// The samples as the file stores them, when they were asked for and fit 16 bits.
    pub digital: Option<Box<Digital>>,
}

/// Samples as a converter stored them, without loss: `mV = (sample - baseline) / gain_per_mv`, in f64 and then rounded to f32,
/// gives the samples of the recording exactly.
#[derive(Clone, Debug, PartialEq)]
pub struct Digital {
    /// Row-major `[lead, time]`.
    samples: Vec<i16>,
    /// Digital units per millivolt, one a lead.
    gain_per_mv: Vec<f64>,
    /// Digital value of 0 mV, one a lead.
    baseline: Vec<i32>,
}

/// A mark at a sample of a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotation {
    /// Sample index at the recording's rate.
    pub sample: i64,
    /// The lead it was made in; `None`: it holds for all.
    pub lead: Option<Lead>,
    /// Symbol in the usual one- or two-letter code (`N`, `V`, `+`, ...).
    pub symbol: String,
    /// Free text attached to the mark (a rhythm name, a comment), when there is one.
    pub note: Option<String>,
}

/// Where a recording came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The file that was named by the user (for WFDB the header).
    pub path: PathBuf,
    /// Format in one word: `wfdb`, `npy`, `csv`, `edf`, ...
    pub format: &'static str,
    /// Comments of the file, in order.
    pub comments: Vec<String>,
    /// Names of folders and file in `path` that hold what the file states of who the patient is (name, number, day of birth).
    pub naming: Vec<String>,
    /// Limb leads that the file does not hold and that were computed from two that it does, see [`OpenOptions::derive`](crate::OpenOptions).
    pub derived: Vec<Lead>,
    /// What the file holds besides what was read, a phrase each: other groups of leads, median beats, signals that are no voltages.
    pub also: Vec<String>,
}

/// Sample count does not fit the number of leads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "record `{id}`: {found} samples cannot be shared by {leads} leads; expected leads x time, all leads of one length"
)]
pub struct ShapeError {
    id: String,
    found: usize,
    leads: usize,
}

impl Recording {
    /// A recording from row-major `[lead, time]` samples in millivolts.
    ///
    /// # Errors
    /// When the number of samples is not a multiple of the number of leads, or there is no lead.
    pub fn new(
        id: impl Into<String>,
        leads: LeadSet,
        rate_hz: f64,
        samples_mv: Vec<f32>,
    ) -> Result<Self, ShapeError> {
        let id = id.into();
        if leads.is_empty() || !samples_mv.len().is_multiple_of(leads.len()) {
            return Err(ShapeError {
                id,
                found: samples_mv.len(),
                leads: leads.len(),
            });
        }
        Ok(Recording {
            id,
            leads,
            rate_hz,
            samples_mv,
            patient: None,
            age: None,
            sex: None,
            labels: Vec::new(),
            report: None,
            annotations: Vec::new(),
            source: Source::default(),
            digital: None,
        })
    }

    /// The same with these samples, row-major `[lead, time]`, and without annotations.
    pub(crate) fn with_samples(
        &self,
        samples_mv: Vec<f32>,
        digital: Option<Box<Digital>>,
    ) -> Recording {
        Recording {
            samples_mv,
            digital,
            id: self.id.clone(),
            leads: self.leads.clone(),
            patient: self.patient.clone(),
            sex: self.sex.clone(),
            labels: self.labels.clone(),
            report: self.report.clone(),
            annotations: Vec::new(),
            source: self.source.clone(),
            ..*self
        }
    }

    /// The same with the samples of `read`, of the same leads.
    pub(crate) fn with_samples_of(self, read: Recording) -> Recording {
        Recording {
            samples_mv: read.samples_mv,
            digital: read.digital,
            ..self
        }
    }

    /// The same with these annotations.
    pub(crate) fn annotated(self, annotations: Vec<Annotation>) -> Recording {
        Recording {
            annotations,
            ..self
        }
    }

    /// Samples per lead.
    pub fn len(&self) -> usize {
        self.samples_mv.len() / self.leads.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.samples_mv.is_empty()
    }

    /// Length in seconds.
    pub fn duration_s(&self) -> f64 {
        self.len() as f64 / self.rate_hz
    }

    /// All samples in millivolts, row-major `[lead, time]`.
    pub fn samples_mv(&self) -> &[f32] {
        &self.samples_mv
    }

    /// All samples in millivolts in double precision, from the file's integers where they are known.
    pub fn exact_mv(&self) -> Vec<f64> {
        let Some(digital) = &self.digital else {
            return self.samples_mv.iter().map(|&mv| f64::from(mv)).collect();
        };
        let rows = digital.samples.chunks_exact(self.len().max(1));
        let scales = digital.gain_per_mv.iter().zip(&digital.baseline);
        let mut exact = Vec::with_capacity(digital.samples.len());
        for (row, (gain, baseline)) in rows.zip(scales) {
            exact.extend(row.iter().map(|&unit| match unit {
                Digital::MISSING => f64::NAN,
                unit => f64::from(i32::from(unit) - baseline) / gain,
            }));
        }
        exact
    }

    /// The rows in order, each one lead in millivolts.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.samples_mv.chunks_exact(self.len().max(1))
    }

    /// The samples of one lead in millivolts, if the recording has it.
    pub fn lead_mv(&self, lead: &Lead) -> Option<&[f32]> {
        let row = self.leads.position(lead)?;
        let len = self.len();
        Some(&self.samples_mv[row * len..(row + 1) * len])
    }

    /// The samples `stretch` of every lead with what is known about the recording; annotations outside are left out.
    ///
    /// # Panics
    /// When the stretch reaches beyond the end.
    pub fn stretch(&self, stretch: &Range<usize>) -> Recording {
        let len = self.len();
        let first = stretch.start as i64;
        let inside = |sample: i64| sample >= first && sample < stretch.end as i64;
        let marks = self.annotations.iter();
        Recording {
            samples_mv: take_stretch(&self.samples_mv, len, stretch),
            annotations: marks
                .filter(|mark| inside(mark.sample))
                .map(|mark| Annotation {
                    sample: mark.sample - first,
                    ..mark.clone()
                })
                .collect(),
            digital: self.digital.as_ref().map(|digital| {
                Box::new(Digital {
                    samples: take_stretch(&digital.samples, len, stretch),
                    gain_per_mv: digital.gain_per_mv.clone(),
                    baseline: digital.baseline.clone(),
                })
            }),
            id: self.id.clone(),
            leads: self.leads.clone(),
            rate_hz: self.rate_hz,
            patient: self.patient.clone(),
            age: self.age,
            sex: self.sex.clone(),
            labels: self.labels.clone(),
            report: self.report.clone(),
            source: self.source.clone(),
        }
    }

    /// The same recording with just the leads of `wanted`, in that order; or the first lead that is missing.
    pub fn select(&self, wanted: &LeadSet) -> Result<Recording, Lead> {
        let len = self.len();
        let rows = self.leads.rows_of(wanted)?;
        Ok(Recording {
            id: self.id.clone(),
            leads: wanted.clone(),
            rate_hz: self.rate_hz,
            samples_mv: take_rows(&self.samples_mv, len, &rows),
            patient: self.patient.clone(),
            age: self.age,
            sex: self.sex.clone(),
            labels: self.labels.clone(),
            report: self.report.clone(),
            annotations: self.annotations.clone(),
            source: self.source.clone(),
            digital: self.digital.as_ref().map(|digital| {
                Box::new(Digital {
                    samples: take_rows(&digital.samples, len, &rows),
                    gain_per_mv: rows.iter().map(|&row| digital.gain_per_mv[row]).collect(),
                    baseline: rows.iter().map(|&row| digital.baseline[row]).collect(),
                })
            }),
        })
    }
}

impl Digital {
    /// Stands for a sample that the file holds no value for; NaN in the recording.
    pub const MISSING: i16 = i16::MIN;

    /// `samples` is row-major `[lead, time]`; one gain and one baseline a lead.
    pub(crate) fn new(samples: Vec<i16>, gain_per_mv: Vec<f64>, baseline: Vec<i32>) -> Self {
        debug_assert_eq!(gain_per_mv.len(), baseline.len());
        Digital {
            samples,
            gain_per_mv,
            baseline,
        }
    }

    /// All samples, row-major `[lead, time]`.
    pub fn samples(&self) -> &[i16] {
        &self.samples
    }

    /// Digital units per millivolt, one a lead.
    pub fn gain_per_mv(&self) -> &[f64] {
        &self.gain_per_mv
    }

    /// Digital value of 0 mV, one a lead.
    pub fn baseline(&self) -> &[i32] {
        &self.baseline
    }
}

fn take_stretch<T: Copy>(samples: &[T], len: usize, stretch: &Range<usize>) -> Vec<T> {
    let rows = samples.chunks_exact(len.max(1));
    rows.flat_map(|row| &row[stretch.clone()])
        .copied()
        .collect()
}

fn take_rows<T: Copy>(samples: &[T], len: usize, rows: &[usize]) -> Vec<T> {
    let mut taken = Vec::with_capacity(rows.len() * len);
    for &row in rows {
        taken.extend_from_slice(&samples[row * len..(row + 1) * len]);
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leads_are_taken_by_name() {
        let leads: LeadSet = "II,I".parse().unwrap();
        let r = Recording::new("r", leads, 100.0, vec![1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!(r.lead_mv(&Lead::I), Some(&[3.0, 4.0][..]));
        let one = r.select(&"I".parse().unwrap()).unwrap();
        assert_eq!(one.samples_mv(), [3.0, 4.0]);
        assert_eq!(r.select(&"V1".parse().unwrap()), Err(Lead::V1));
        assert_eq!(r.duration_s(), 0.02);
    }

    #[test]
    fn digital_samples_follow_their_leads() {
        let leads: LeadSet = "II,I".parse().unwrap();
        let mut r = Recording::new("r", leads, 100.0, vec![0.1, 0.2, 0.3, 0.4]).unwrap();
        let digital = Digital::new(vec![1, 2, 3, 4], vec![10.0, 20.0], vec![0, -3]);
        r.digital = Some(Box::new(digital));
        let one = r.select(&"I".parse().unwrap()).unwrap().digital.unwrap();
        assert_eq!(one.samples(), [3, 4]);
        assert_eq!(
            (one.gain_per_mv(), one.baseline()),
            (&[20.0][..], &[-3][..])
        );
    }

    #[test]
    fn ragged_samples_are_refused() {
        let leads: LeadSet = "I,II".parse().unwrap();
        assert!(Recording::new("r", leads, 100.0, vec![0.0; 3]).is_err());
    }
}
