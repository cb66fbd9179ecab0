//! HDF5 files that hold one recording.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use super::{Attribute, Dataset, Element, Hdf5File, read};
use crate::array::{Array, Known, Matrix};
use crate::container::{Item, Items, Rows, Samples, rate_of_times};
use crate::error::content;
use crate::mat::Class;
use crate::names::{Said, Scaling};
use crate::values::{Spool, Values};
use crate::{OpenOptions, RecordError, Unit, names};

/// Bytes of the largest chunk that is unpacked again for each stretch of time in it.
const MAX_CHUNK_BYTES: u64 = 1 << 23;

/// Elements of a data set that says something about the samples.
const MAX_SAID: u64 = 4096;
/// Characters and numbers of all of them.
const MAX_ALL: usize = 1 << 20;

/// Names of the data set of samples, most telling first.
const SAMPLES: [&str; 8] = [
    "ecg", "tracings", "data", "signal", "ecg_data", "feats", "val", "x",
];

pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Array, RecordError> {
    let mut file = Hdf5File::open(path)?;
    let (items, places) = items(&file);
    let listed = listed(path, &file, &items);
    let samples = listed.samples(options)?;
    let (rows, leads, own) = (samples.rows(), samples.leads(), listed.own(&samples));
    let datasets: Vec<&Dataset> = rows.iter().map(|&at| &file.datasets[places[at]]).collect();
    let whole = |dataset: &Dataset| matches!(dataset.element, Element::Integer { .. });
    let mut said = said(&file, &datasets, leads.is_none())?;
    said.settle(&own);
    let each = match &leads {
        None => Vec::new(),
        Some(_) => datasets
            .iter()
            .map(|own| of_lead(path, own, options))
            .collect::<Result<_, _>>()?,
    };
    let rate_hz = match listed.times(&samples) {
        Some(at) if options.rate_hz.is_none() && said.rate(path, &own)?.is_none() => {
            let dataset = &file.datasets[places[at]];
            let len = items[at].vector().unwrap_or(0) as usize;
            // A single dimension counts as rows.
            let tall = matrix_shape(dataset).is_some_and(|shape| shape[1] == 1);
            Some(rate_of_times(path, &dataset.name, dataset, tall, len)?)
        }
        _ => None,
    };
    let shape = match &leads {
        Some(_) => [rows.len(), listed.len(&samples)],
        None => datasets
            .first()
            .map_or(Ok([0, 0]), |own| shape_of(path, own))?,
    };
    let known = Known {
        format: "hdf5",
        rate_hz,
        leads,
        said,
        own,
        each,
        whole: datasets.iter().any(|own| whole(own)),
        standard_12: true,
        rate_from: "a sampling rate (`--input-rate`), or an attribute `fs` or `sampling_rate`",
        leads_from: "names of the leads (`--input-leads`) or in an attribute `leads`, or twelve standard leads",
    };
    let int16 = datasets.iter().all(|own| is_int16(own));
    let beside = listed.beside(&samples);
    let Rows { leads: mut vectors } =
        taken(&mut file, rows.iter().map(|&at| places[at]).collect())?;
    let matrix = Matrix {
        shape,
        column_major: false,
        int16,
        missing: None,
        values: match (&samples, vectors.pop()) {
            (Samples::One(_), Some((values, _))) => values,
            (_, last) => {
                vectors.extend(last);
                Box::new(Rows { leads: vectors })
            }
        },
    };
    let mut array = Array::new(path, matrix, known, options)?;
    array.about.source.comments.extend(beside);
    Ok(array)
}

fn is_int16(dataset: &Dataset) -> bool {
    matches!(
        dataset.element,
        Element::Integer {
            bytes: 2,
            signed: true,
            ..
        }
    )
}

/// The values of the data sets `wanted`, in this order, and whether a vector lies along its rows.
fn taken(file: &mut Hdf5File, wanted: Vec<usize>) -> Result<Rows, RecordError> {
    let all = file.datasets.drain(..).enumerate();
    let mut own: HashMap<usize, Dataset> = all.filter(|(at, _)| wanted.contains(at)).collect();
    let each = wanted
        .iter()
        .filter_map(|at| own.remove(at))
        .map(|dataset| {
            // A single dimension counts as rows.
            let tall = matrix_shape(&dataset).is_some_and(|shape| shape[1] == 1);
            Ok((values(dataset, wanted.len())?, tall))
        });
    let leads = each.collect::<Result<_, RecordError>>()?;
    Ok(Rows { leads })
}

/// All data sets of numbers, and which they are.
fn items(file: &Hdf5File) -> (Vec<Item>, Vec<usize>) {
    let numeric = |own: &Dataset| {
        matches!(own.element, Element::Integer { .. } | Element::Float { .. })
            && own.attribute("MATLAB_class").and_then(Attribute::text) != Some("char")
    };
    let own = file.datasets.iter().enumerate();
    let own = own.filter(|(_, dataset)| numeric(dataset));
    own.map(|(at, dataset)| {
        let item = Item {
            name: dataset.name.clone(),
            dims: dataset.shape.clone(),
            said: format!("{} of {}", dataset.written_shape(), dataset.element),
        };
        (item, at)
    })
    .unzip()
}

fn listed<'a>(path: &'a Path, file: &'a Hdf5File, items: &'a [Item]) -> Items<'a> {
    Items {
        path,
        all: items,
        what: "data sets",
        summary: file.summary(),
        usual: &SAMPLES,
        expected: "`ecg`, `tracings`, `data` or `signal`, data sets with names of leads, or just one of two dimensions",
    }
}

/// Everything that the file says beside the samples in `own`; with `alone` these are one data set.
fn said(file: &Hdf5File, own: &[&Dataset], alone: bool) -> Result<Said, RecordError> {
    let mut said = Said::default();
    let mut add = |name: String, value: &Attribute| match value {
        Attribute::Numbers(numbers) => said.numbers.push((name, numbers.clone())),
        Attribute::Texts(texts) => said.texts.push((name, texts.clone())),
    };
    for dataset in own {
        for (name, value) in &dataset.attributes {
            // What else an array of one lead says is not about all of them.
            if alone || names::is_rate(name) {
                add(format!("{}/{name}", dataset.name), value);
            }
        }
    }
    for (name, value) in file.of_groups.iter().chain(&file.attributes) {
        add(name.clone(), value);
    }
    let mut places: Option<HashMap<u64, usize>> = None;
    let mut left = MAX_ALL;
    for dataset in &file.datasets {
        let name = &dataset.name;
        let is_own = own.iter().any(|own| own.address == dataset.address);
        if is_own || name.starts_with('#') {
            continue;
        }
        let places = (dataset.element == Element::Reference).then(|| {
            let all = file.datasets.iter().enumerate();
            &*places.get_or_insert_with(|| all.map(|(at, own)| (own.address, at)).collect())
        });
        let found = match places {
            Some(places) => cells(file, dataset, places),
            None => content_of(dataset),
        };
        let size = match &found {
            Ok(Content::Texts(texts)) => texts.iter().map(|text| text.len() + 1).sum(),
            Ok(Content::Numbers(numbers)) => numbers.len(),
            _ => 0,
        };
        let rest = left.checked_sub(size);
        left = rest.unwrap_or(left);
        match found {
            Ok(_) if rest.is_none() => said.unread.push((name.clone(), "too long".into())),
            Ok(Content::Texts(texts)) => said.texts.push((name.clone(), texts)),
            Ok(Content::Numbers(numbers)) => said.numbers.push((name.clone(), numbers)),
            Ok(Content::Unread(what)) => said.unread.push((name.clone(), what)),
            Ok(Content::Nothing) => {}
            Err(error) if names::says(name) => return Err(error),
            // Something else.
            Err(_) => {}
        }
    }
    Ok(said)
}

/// What a data set says about samples.
enum Content {
    Texts(Vec<String>),
    Numbers(Vec<f64>),
    /// What it is, which is not read.
    Unread(String),
    Nothing,
}

/// The texts of a data set: strings, or characters as MATLAB 7.3 keeps them; or its numbers, where they are about samples.
fn content_of(dataset: &Dataset) -> Result<Content, RecordError> {
    let count = dataset
        .shape
        .iter()
        .try_fold(1u64, |all, &size| all.checked_mul(size));
    let short = count.is_some_and(|count| count <= MAX_SAID);
    let class = dataset.attribute("MATLAB_class").and_then(Attribute::text);
    Ok(match (&dataset.element, class) {
        (Element::FixedText { .. } | Element::Text, _) if short => {
            Content::Texts(dataset.read_texts()?)
        }
        (Element::Integer { .. }, Some("char")) if short => Content::Texts(characters(dataset)?),
        (Element::Integer { .. }, Some(class @ ("string" | "table" | "categorical"))) => {
            Content::Unread(format!("one of MATLAB's class {class}"))
        }
        (Element::Integer { .. } | Element::Float { .. }, _)
            if short && names::is_number(&dataset.name) =>
        {
            Content::Numbers(dataset.read()?)
        }
        (Element::Other { what, .. }, _) => Content::Unread(format!("one of {what}")),
        _ => Content::Nothing,
    })
}

/// The lines of a matrix of characters: those of a row lie one after another in the dimension that comes first.
fn characters(dataset: &Dataset) -> Result<Vec<String>, RecordError> {
    let empty = dataset
        .attribute("MATLAB_empty")
        .and_then(Attribute::number);
    if empty.is_some_and(|empty| empty != 0.0) {
        return Ok(vec![String::new()]);
    }
    let rows = dataset.shape.get(1).copied().unwrap_or(1).max(1) as usize;
    let codes = dataset.read::<i64>()?;
    let text = |row: usize| {
        let codes = codes.iter().skip(row).step_by(rows);
        let letters = codes.map(|&code| {
            let code = u32::try_from(code).ok().and_then(char::from_u32);
            code.unwrap_or(char::REPLACEMENT_CHARACTER)
        });
        letters.collect::<String>().trim().to_owned()
    };
    Ok((0..rows).map(text).collect())
}

/// What the cells of MATLAB 7.3 hold, when it is a text or a number each.
fn cells(
    file: &Hdf5File,
    dataset: &Dataset,
    places: &HashMap<u64, usize>,
) -> Result<Content, RecordError> {
    let count = dataset
        .shape
        .iter()
        .try_fold(1u64, |all, &size| all.checked_mul(size));
    if count.is_none_or(|count| count > MAX_SAID) {
        return Ok(Content::Nothing);
    }
    let (mut texts, mut numbers, mut left) = (Vec::new(), Vec::new(), MAX_ALL);
    for address in read::references(dataset)? {
        let Some(cell) = places.get(&address).and_then(|&at| file.datasets.get(at)) else {
            return Ok(Content::Unread("a cell that leads nowhere".into()));
        };
        let single = cell.shape.iter().all(|&size| size == 1);
        match content_of(cell)? {
            Content::Texts(own) => {
                left = left.saturating_sub(own.iter().map(|text| text.len() + 1).sum());
                texts.push(own.join("\n"));
            }
            Content::Nothing if single => numbers.extend(cell.read::<f64>()?),
            Content::Unread(what) => return Ok(Content::Unread(what)),
            _ => return Ok(Content::Nothing),
        }
        if left == 0 {
            return Ok(Content::Unread("too long".into()));
        }
    }
    Ok(match (texts.is_empty(), numbers.is_empty()) {
        (false, true) => Content::Texts(texts),
        (true, false) => Content::Numbers(numbers),
        _ => Content::Nothing,
    })
}

/// What the data set of one lead says of it alone.
fn of_lead(
    path: &Path,
    dataset: &Dataset,
    options: &OpenOptions,
) -> Result<(Option<Unit>, Option<Scaling>), RecordError> {
    let mut said = Said::default();
    for (name, value) in &dataset.attributes {
        match value {
            Attribute::Numbers(own) => said.numbers.push((name.clone(), own.clone())),
            Attribute::Texts(own) => said.texts.push((name.clone(), own.clone())),
        }
    }
    let unit = names::units(path, &said.texts, 1)?.first().copied();
    let unit = unit.or_else(|| names::unit_in(&dataset.name));
    let whole = matches!(dataset.element, Element::Integer { .. });
    let units = [unit.unwrap_or_default()];
    let scale = said.scales(path, &units, options, whole)?;
    Ok((unit, scale.first().copied()))
}

/// The values of a data set, one of `count`: read where they are needed, unless a chunk is so large that each of them would cost too much.
fn values(mut dataset: Dataset, count: usize) -> Result<Box<dyn Values>, RecordError> {
    if dataset.chunk_bytes() <= MAX_CHUNK_BYTES / count.max(1) as u64 {
        dataset.unpacked = read::Unpacked::one_of(count);
        return Ok(Box::new(dataset));
    }
    let columns = matrix_shape(&dataset).map_or(0, |shape| shape[1]);
    let read: Vec<f32> = match dataset.element {
        // As f32 nothing of these is lost.
        Element::Float { bytes: ..=4, .. } | Element::Integer { bytes: ..=2, .. } => {
            dataset.read()?
        }
        _ => {
            let mut spool = Spool::new(&dataset.source.path, Class::Double).one_of(count);
            dataset
                .read::<f64>()?
                .into_iter()
                .try_for_each(|value| spool.push(value))?;
            return Ok(Box::new(spool.finish(columns)?));
        }
    };
    let mut spool = Spool::new(&dataset.source.path, Class::Single).one_of(count);
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

/// Rows and columns of the samples.
fn shape_of(path: &Path, dataset: &Dataset) -> Result<[usize; 2], RecordError> {
    matrix_shape(dataset).ok_or_else(|| {
        content(
            path,
            &format!("the shape of `{}`", dataset.name),
            &dataset.written_shape(),
            "two dimensions, leads and time: one recording. A file of many recordings is imported as a data set, or read with Hdf5File",
        )
    })
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
