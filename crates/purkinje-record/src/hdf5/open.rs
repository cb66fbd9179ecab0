//! HDF5 files that hold one recording.

use std::path::Path;

use super::{Attribute, Dataset, Element, Hdf5File};
use crate::array::{self, Known, Matrix};
use crate::error::{content, listed};
use crate::{Lead, LeadSet, OpenOptions, RecordError, Recording};

/// Names of the data set of samples, most telling first.
const SAMPLES: [&str; 8] = [
    "ecg", "tracings", "data", "signal", "ecg_data", "feats", "val", "x",
];
/// Names of an attribute or a data set with the sampling rate in hertz.
const RATES: [&str; 9] = [
    "rate_hz",
    "fs",
    "Fs",
    "sampling_rate",
    "sample_rate",
    "sampling_frequency",
    "curr_sample_rate",
    "sfreq",
    "freq",
];

pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Recording, RecordError> {
    let file = Hdf5File::open(path)?;
    let (dataset, shape) = samples(path, &file)?;
    let values = match dataset.element {
        // As f32 nothing of these is lost.
        Element::Float { bytes: ..=4, .. } | Element::Integer { bytes: ..=2, .. } => {
            Values::Small(dataset.read()?)
        }
        _ => Values::Large(dataset.read()?),
    };
    let value = |index: usize| match &values {
        Values::Small(values) => values.get(index).map_or(f64::NAN, |&v| f64::from(v)),
        Values::Large(values) => values.get(index).copied().unwrap_or(f64::NAN),
    };
    let matrix = Matrix {
        shape,
        column_major: false,
        int16: matches!(
            dataset.element,
            Element::Integer {
                bytes: 2,
                signed: true,
                ..
            }
        ),
        value: &value,
    };
    let attribute = |name: &str| {
        dataset.attribute(name).or_else(|| {
            file.attributes()
                .iter()
                .find(|(own, _)| own == name)
                .map(|(_, value)| value)
        })
    };
    let rate_hz = RATES.iter().find_map(|name| {
        let attribute = attribute(name).and_then(Attribute::number);
        attribute.or_else(|| {
            let dataset = file.dataset(name)?;
            let single = dataset.shape().iter().all(|&size| size == 1);
            single.then(|| dataset.read::<f64>().ok()?.first().copied())?
        })
    });
    let unit = ["unit", "units"]
        .iter()
        .find_map(|name| attribute(name)?.text());
    let leads =
        ["leads", "lead_names", "lead", "sig_name"]
            .iter()
            .find_map(|name| match attribute(name)? {
                Attribute::Texts(texts) if texts.len() > 1 => Some(texts.clone()),
                Attribute::Texts(texts) => {
                    Some(texts.first()?.split(',').map(str::to_owned).collect())
                }
                Attribute::Numbers(_) => None,
            });
    let known = Known {
        format: "hdf5",
        rate_hz,
        leads: leads
            .map(|names| LeadSet::new(names.iter().map(|name| Lead::parse(name)).collect())),
        unit: match unit {
            Some(unit) if options.unit.is_none() => {
                Some(unit.parse().map_err(|_| RecordError::Unit {
                    path: path.to_owned(),
                    signal: dataset.name().to_owned(),
                    unit: unit.to_owned(),
                })?)
            }
            _ => None,
        },
        standard_12: true,
        rate_from: "a sampling rate from the caller, or an attribute `fs` or `sampling_rate`",
        leads_from: "names of the leads from the caller or in an attribute `leads`, or twelve standard leads",
    };
    array::recording(path, &matrix, known, options)
}

/// Whether the file at `path` holds one recording, as far as its data sets tell.
pub(crate) fn is_recording(path: &Path) -> bool {
    Hdf5File::open(path).is_ok_and(|file| samples(path, &file).is_ok())
}

enum Values {
    Small(Vec<f32>),
    Large(Vec<f64>),
}

/// The data set of samples, and its rows and columns.
fn samples<'a>(path: &Path, file: &'a Hdf5File) -> Result<(&'a Dataset, [usize; 2]), RecordError> {
    let numeric = |dataset: &&Dataset| {
        matches!(
            dataset.element,
            Element::Integer { .. } | Element::Float { .. }
        )
    };
    let named = SAMPLES.iter().find_map(|name| {
        let mut own = file.datasets().iter().filter(numeric).filter(|dataset| {
            dataset.name.rsplit('/').next() == Some(name)
                && dataset.shape.iter().any(|&size| size > 1)
        });
        own.next()
    });
    let found = named.or_else(|| {
        let mut matrices = file
            .datasets()
            .iter()
            .filter(numeric)
            .filter(|dataset| matrix_shape(dataset).is_some_and(|[a, b]| a > 1 && b > 1));
        let only = matrices.next()?;
        matrices.next().is_none().then_some(only)
    });
    let Some(dataset) = found else {
        return Err(listed(
            path,
            "the list of data sets",
            &file.summary(),
            "`ecg`, `tracings`, `data` or `signal`, or just one of two dimensions",
        ));
    };
    let shape = matrix_shape(dataset).ok_or_else(|| {
        content(
            path,
            &format!("the shape of `{}`", dataset.name),
            &dataset.written_shape(),
            "two dimensions, leads and time: one recording. A file of many recordings is imported as a data set, or read with Hdf5File",
        )
    })?;
    Ok((dataset, shape))
}

/// Rows and columns, provided that all other dimensions are of size 1.
fn matrix_shape(dataset: &Dataset) -> Option<[usize; 2]> {
    let size = |size: u64| usize::try_from(size).ok();
    match dataset.shape[..] {
        [rows, columns] => Some([size(rows)?, size(columns)?]),
        _ => {
            let mut more = dataset.shape.iter().copied().filter(|&size| size != 1);
            let shape = [more.next().unwrap_or(1), more.next().unwrap_or(1)];
            let shape = [size(shape[0])?, size(shape[1])?];
            more.next().is_none().then_some(shape)
        }
    }
}
