//! HDF5 files that hold one recording.

use std::ops::Range;
use std::path::Path;

use super::{Attribute, Dataset, Element, Hdf5File};
use crate::array::{Array, Known, Matrix};
use crate::error::{content, listed};
use crate::mat::Class;
use crate::values::{Spool, Values};
use crate::{OpenOptions, RecordError, names};

/// Bytes of the largest chunk that is unpacked again for each stretch of time in it.
const MAX_CHUNK_BYTES: u64 = 1 << 23;

/// Elements of a data set of texts that is read.
const MAX_TEXTS: u64 = 4096;

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

pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Array, RecordError> {
    let mut file = Hdf5File::open(path)?;
    let (at, shape) = samples(path, &file)?;
    let dataset = &file.datasets[at];
    let int16 = matches!(
        dataset.element,
        Element::Integer {
            bytes: 2,
            signed: true,
            ..
        }
    );
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
    let mut texts = Vec::new();
    for (name, value) in dataset.attributes().iter().chain(file.attributes()) {
        if let Attribute::Texts(own) = value {
            texts.push((name.clone(), own.clone()));
        }
    }
    for own in file.datasets.iter().filter(|own| own.name != dataset.name) {
        texts.extend(texts_of(path, own)?.map(|texts| (own.name.clone(), texts)));
    }
    let whole = matches!(dataset.element, Element::Integer { .. });
    let known = Known {
        format: "hdf5",
        rate_hz,
        leads: None,
        texts,
        whole,
        standard_12: true,
        rate_from: "a sampling rate from the caller, or an attribute `fs` or `sampling_rate`",
        leads_from: "names of the leads from the caller or in an attribute `leads`, or twelve standard leads",
    };
    let matrix = Matrix {
        shape,
        column_major: false,
        int16,
        missing: None,
        values: values(file.datasets.swap_remove(at))?,
    };
    Array::new(path, matrix, known, options)
}

/// Texts of a data set that is about all samples: strings, or characters as MATLAB 7.3 keeps them.
///
/// # Errors
/// When it is called as lists of leads are and cannot be read: nothing is assumed then.
fn texts_of(path: &Path, dataset: &Dataset) -> Result<Option<Vec<String>>, RecordError> {
    let count = dataset.shape().iter().product::<u64>();
    if count > MAX_TEXTS {
        return Ok(None);
    }
    if matches!(dataset.element, Element::Text | Element::FixedText { .. }) {
        return match dataset.read_texts() {
            Ok(texts) => Ok(Some(texts)),
            Err(error) if names::matters(dataset.name()) => Err(error),
            // A text about something else.
            Err(_) => Ok(None),
        };
    }
    let class = dataset.attribute("MATLAB_class").and_then(Attribute::text);
    match (&dataset.element, class) {
        (Element::Integer { .. }, Some("char")) => {
            // Characters of a row lie one after another in the dimension that comes first.
            let rows = dataset.shape().get(1).copied().unwrap_or(1).max(1) as usize;
            let codes = dataset.read::<i64>()?;
            let text = |row: usize| {
                let codes = codes.iter().skip(row).step_by(rows);
                let letters = codes.map(|&code| {
                    let code = u32::try_from(code).ok().and_then(char::from_u32);
                    code.unwrap_or(char::REPLACEMENT_CHARACTER)
                });
                letters.collect::<String>().trim().to_owned()
            };
            Ok(Some((0..rows).map(text).collect()))
        }
        (Element::Other { what, .. }, _) if names::is_list_of_leads(dataset.name()) => {
            Err(content(
                path,
                &format!("the data set `{}`", dataset.name()),
                &format!("one of {what}, and so not read"),
                "strings with the names of the leads, or names from the caller",
            ))
        }
        _ => Ok(None),
    }
}

/// The values of a data set: read where they are needed, unless a chunk is so large that each of them would cost too much.
fn values(dataset: Dataset) -> Result<Box<dyn Values>, RecordError> {
    if dataset.chunk_bytes() <= MAX_CHUNK_BYTES {
        return Ok(Box::new(dataset));
    }
    let columns = matrix_shape(&dataset).map_or(0, |shape| shape[1]);
    let read: Vec<f32> = match dataset.element {
        // As f32 nothing of these is lost.
        Element::Float { bytes: ..=4, .. } | Element::Integer { bytes: ..=2, .. } => {
            dataset.read()?
        }
        _ => {
            let mut spool = Spool::new(&dataset.source.path, Class::Double);
            dataset
                .read::<f64>()?
                .into_iter()
                .try_for_each(|value| spool.push(value))?;
            return Ok(Box::new(spool.finish(columns)?));
        }
    };
    let mut spool = Spool::new(&dataset.source.path, Class::Single);
    read.into_iter()
        .try_for_each(|value| spool.push(f64::from(value)))?;
    Ok(Box::new(spool.finish(columns)?))
}

impl Values for Dataset {
    fn read(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        out: &mut Vec<f64>,
    ) -> Result<(), RecordError> {
        let mut block = self.all();
        let ranges = [rows, columns].map(|range| range.start as u64..range.end as u64);
        for (axis, range) in matrix_axes(&self.shape).into_iter().zip(ranges) {
            // A row or a column that is no dimension of the file is the only one.
            if let Some(own) = axis.and_then(|axis| block.get_mut(axis)) {
                *own = range;
            }
        }
        out.append(&mut self.read_block(&block)?);
        Ok(())
    }
}

/// Where among the data sets that of samples is, and its rows and columns.
fn samples(path: &Path, file: &Hdf5File) -> Result<(usize, [usize; 2]), RecordError> {
    let numeric = |dataset: &Dataset| {
        matches!(
            dataset.element,
            Element::Integer { .. } | Element::Float { .. }
        )
    };
    let all = &file.datasets;
    let named = SAMPLES.iter().find_map(|name| {
        all.iter().position(|dataset| {
            numeric(dataset)
                && dataset.name.rsplit('/').next() == Some(name)
                && dataset.shape.iter().any(|&size| size > 1)
        })
    });
    let found = named.or_else(|| {
        let matrix = |dataset: &Dataset| matrix_shape(dataset).is_some_and(|[a, b]| a > 1 && b > 1);
        let mut matrices = (0..all.len()).filter(|&at| numeric(&all[at]) && matrix(&all[at]));
        let only = matrices.next()?;
        matrices.next().is_none().then_some(only)
    });
    let Some(at) = found else {
        return Err(listed(
            path,
            "the list of data sets",
            &file.summary(),
            "`ecg`, `tracings`, `data` or `signal`, or just one of two dimensions",
        ));
    };
    let dataset = &all[at];
    let shape = matrix_shape(dataset).ok_or_else(|| {
        content(
            path,
            &format!("the shape of `{}`", dataset.name),
            &dataset.written_shape(),
            "two dimensions, leads and time: one recording. A file of many recordings is imported as a data set, or read with Hdf5File",
        )
    })?;
    Ok((at, shape))
}

/// Rows and columns, provided that all other dimensions are of size 1.
fn matrix_shape(dataset: &Dataset) -> Option<[usize; 2]> {
    let more = dataset.shape.iter().filter(|&&size| size != 1).count();
    if dataset.shape.len() != 2 && more > 2 {
        return None;
    }
    let mut shape = [1; 2];
    for (size, axis) in shape.iter_mut().zip(matrix_axes(&dataset.shape)) {
        *size = usize::try_from(axis.map_or(1, |axis| dataset.shape[axis])).ok()?;
    }
    Some(shape)
}

/// The dimensions that are rows and columns: both of two, and otherwise those that are not of size 1.
fn matrix_axes(shape: &[u64]) -> [Option<usize>; 2] {
    if shape.len() == 2 {
        return [Some(0), Some(1)];
    }
    let mut more = (0..shape.len()).filter(|&axis| shape[axis] != 1);
    [more.next(), more.next()]
}
