//! Tracings as CODE and SaMi-Trop store them: one HDF5 array `[exam, sample, lead]` for many exams.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use purkinje_record::hdf5::{Dataset, Hdf5File};
use purkinje_record::mat::MatFile;
use purkinje_record::{Lead, LeadSet, RecordError, Recording, Source};
use purkinje_signal::quality::augmented_order;

/// Sampling rate in hertz.
pub(super) const RATE_HZ: f64 = 400.0;

/// Units of one millivolt: the arrays count in 1e-4 V.
pub(super) const UNITS_PER_MV: f32 = 10.0;

/// Name of the array.
const TRACINGS: &str = "tracings";

/// Largest number of samples of a tracing that is read; the published ones have 4096.
pub(super) const MAX_TRACING_SAMPLES: u64 = 1 << 20;

/// Number of exams from which the order of the augmented leads is determined.
const EXAMS_LOOKED_AT: u64 = 16;

/// One file of tracings.
pub(super) struct Tracings {
    path: PathBuf,
    file: Hdf5File,
    /// Number of exams in it.
    pub(super) exams: u64,
    samples: usize,
    /// The leads in the order of the array, as determined from the samples.
    pub(super) leads: LeadSet,
    /// Whether the order was determined from the samples; otherwise it is the documented one.
    pub(super) told: bool,
}

impl Tracings {
    pub(super) fn open(path: &Path) -> Result<Self, RecordError> {
        let file = Hdf5File::open(path)?;
        let shape = array(&file, path)?.shape();
        let &[exams, samples, leads] = shape else {
            return Err(content(
                path,
                TRACINGS,
                format!("{} dimensions", shape.len()),
            ));
        };
        if leads != 12 || samples == 0 || samples > MAX_TRACING_SAMPLES {
            return Err(content(
                path,
                TRACINGS,
                format!("{exams} x {samples} x {leads}"),
            ));
        }
        let mut tracings = Tracings {
            path: path.to_owned(),
            file,
            exams,
            samples: samples as usize,
            leads: LeadSet::standard_12(),
            told: false,
        };
        if let Some(order) = tracings.order()? {
            let mut leads = Lead::STANDARD_12;
            leads[3..6].clone_from_slice(&order);
            tracings.leads = LeadSet::new(leads.to_vec());
            tracings.told = true;
        }
        Ok(tracings)
    }

    /// The numbers of the exams in the order of the array, if the file has them.
    pub(super) fn ids(&self) -> Result<Option<Vec<i64>>, RecordError> {
        let Some(ids) = self.file.dataset("exam_id") else {
            return Ok(None);
        };
        let ids: Vec<i64> = ids.read()?;
        if ids.len() as u64 != self.exams {
            return Err(RecordError::Content {
                path: self.path.clone(),
                field: "exam_id".to_owned(),
                found: format!("{} numbers for {} tracings", ids.len(), self.exams),
                expected: "one number per tracing; copy the file again".to_owned(),
            });
        }
        Ok(Some(ids))
    }

    /// One exam with the leads `wanted`; zero padding at both ends is removed unless it is kept.
    pub(super) fn read(
        &self,
        row: u64,
        id: &str,
        wanted: &LeadSet,
        keep_padding: bool,
    ) -> Result<Recording, RecordError> {
        let values = self.row(row)?;
        let values = if keep_padding {
            &values
        } else {
            without_padding(&values)
        };
        recording(&self.path, "hdf5", id, &self.leads, wanted, values)
    }

    /// The samples of an exam as stored, `[sample, lead]`.
    fn row(&self, row: u64) -> Result<Vec<f32>, RecordError> {
        let values: Vec<f32> =
            array(&self.file, &self.path)?.read_rows(row..row.saturating_add(1))?;
        if values.len() == self.samples * 12 {
            Ok(values)
        } else {
            Err(content(
                &self.path,
                TRACINGS,
                format!("{} values for an exam", values.len()),
            ))
        }
    }

    /// The order of the augmented leads in most of a few exams, by Goldberger's relations to I and II.
    fn order(&self) -> Result<Option<[Lead; 3]>, RecordError> {
        let looked_at = self.exams.min(EXAMS_LOOKED_AT);
        let mut votes: Vec<([Lead; 3], usize)> = Vec::new();
        for k in 0..looked_at {
            let values = self.row(k * (self.exams / looked_at))?;
            let values = without_padding(&values);
            let lead = |lead: usize| -> Vec<f32> {
                values
                    .chunks_exact(12)
                    .map(|sample| sample[lead] / UNITS_PER_MV)
                    .collect()
            };
            let (i, ii, a, b, c) = (lead(0), lead(1), lead(3), lead(4), lead(5));
            if let Some(order) = augmented_order(&i, &ii, [&a, &b, &c]) {
                match votes.iter_mut().find(|(own, _)| *own == order) {
                    Some((_, count)) => *count += 1,
                    None => votes.push((order, 1)),
                }
            }
        }
        // The first of those with most votes, so that the result is deterministic.
        let most = votes.iter().map(|(_, count)| *count).max();
        Ok(votes
            .into_iter()
            .find(|(_, count)| Some(*count) == most)
            .map(|(order, _)| order))
    }
}

/// Files of tracings, each opened once.
#[derive(Default)]
pub(super) struct TracingFiles(Mutex<HashMap<PathBuf, Arc<Tracings>>>);

impl TracingFiles {
    pub(super) fn open(&self, path: &Path) -> Result<Arc<Tracings>, RecordError> {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = files.get(path) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(Tracings::open(path)?);
        files.insert(path.to_owned(), Arc::clone(&file));
        Ok(file)
    }
}

/// A tracing in its own MATLAB file: `feats`, leads x samples, without padding, in the documented order of leads.
pub(super) fn read_mat(path: &Path, id: &str, wanted: &LeadSet) -> Result<Recording, RecordError> {
    let file = MatFile::read(path)?;
    let feats = file
        .get("feats")
        .and_then(|value| value.numeric())
        .ok_or_else(|| content(path, "feats", file.summary()))?;
    let &[12, samples] = &feats.dims[..] else {
        return Err(content(
            path,
            "feats",
            format!("an array of {:?}", feats.dims),
        ));
    };
    // The lead index varies fastest in MATLAB, as in the HDF5 files.
    let values: Vec<f32> = (0..12usize.saturating_mul(samples))
        .map_while(|index| feats.get(index))
        .map(|value| value as f32)
        .collect();
    recording(path, "mat", id, &LeadSet::standard_12(), wanted, &values)
}

/// A recording from values `[sample, lead]` in units of 1e-4 V.
fn recording(
    path: &Path,
    format: &'static str,
    id: &str,
    leads: &LeadSet,
    wanted: &LeadSet,
    values: &[f32],
) -> Result<Recording, RecordError> {
    let rows = leads
        .rows_of(wanted)
        .map_err(|lead| RecordError::MissingLead {
            path: path.to_owned(),
            lead: lead.to_string(),
            present: leads.to_string(),
        })?;
    let mut samples_mv = Vec::with_capacity(values.len() / 12 * rows.len());
    for row in rows {
        samples_mv.extend(
            values
                .chunks_exact(12)
                .map(|sample| sample[row] / UNITS_PER_MV),
        );
    }
    let mut recording =
        Recording::new(id, wanted.clone(), RATE_HZ, samples_mv).map_err(|source| {
            RecordError::Shape {
                path: path.to_owned(),
                source,
            }
        })?;
    recording.source = Source {
        path: path.to_owned(),
        format,
        comments: Vec::new(),
        also: Vec::new(),
    };
    Ok(recording)
}

/// The samples between the zeros at both ends; all of them if there is nothing else.
fn without_padding(values: &[f32]) -> &[f32] {
    let silent = |sample: &[f32]| sample.iter().all(|value| *value == 0.0);
    let samples = values.chunks_exact(12);
    let Some(first) = samples.clone().position(|sample| !silent(sample)) else {
        return values;
    };
    let after = values.len() / 12
        - samples
            .rev()
            .position(|sample| !silent(sample))
            .unwrap_or(0);
    values.get(first * 12..after * 12).unwrap_or(values)
}

fn array<'a>(file: &'a Hdf5File, path: &Path) -> Result<&'a Dataset, RecordError> {
    file.dataset(TRACINGS).ok_or_else(|| {
        content(
            path,
            TRACINGS,
            format!("missing; the file has: {}", file.summary()),
        )
    })
}

fn content(path: &Path, field: &str, found: String) -> RecordError {
    RecordError::Content {
        path: path.to_owned(),
        field: field.to_owned(),
        found,
        expected: "exams x samples x 12 leads (HDF5, `tracings`) or 12 leads x samples (MATLAB, `feats`); copy the file again"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_at_both_ends_are_cut_off_and_those_within_kept() {
        let mut values = vec![0.0; 12 * 7];
        values[12 * 2 + 3] = 1.0;
        values[12 * 4 + 11] = f32::NAN;
        assert_eq!(without_padding(&values).len(), 12 * 3);
        assert_eq!(without_padding(&values)[3], 1.0);
        assert_eq!(without_padding(&[0.0; 24]).len(), 24);
        values[0] = 1.0;
        values[12 * 7 - 1] = 1.0;
        assert_eq!(without_padding(&values).len(), 12 * 7);
        assert!(without_padding(&[]).is_empty());
    }
}
