//! From the variables of a MATLAB file to a recording.

use std::path::Path;

use super::{Class, MatFile, Numeric, Value};
use crate::array::{Array, Known, Matrix};
use crate::container::{Item, Items, Rows, rate_of_times};
use crate::error::content;
use crate::names::{Said, bare, is_number, unit_in};
use crate::values::Values;
use crate::{OpenOptions, RecordError};

/// Structs within each other whose fields are looked at.
const MAX_LEVELS: usize = 4;
/// Characters of a name; MATLAB has no longer ones.
const MAX_NAME_CHARS: usize = 64;
/// Values of an array that says something about the samples.
const MAX_SAID: usize = 4096;

/// Sampling rate of CPSC2018, whose files do not state it.
const CPSC2018_RATE_HZ: f64 = 500.0;

/// Names of the variable that holds the samples, most telling first.
const SAMPLES: [&str; 8] = [
    "feats", "val", "ecg", "signal", "ecg_data", "data", "tracings", "x",
];

/// What a file says beside the samples.
#[derive(Default)]
struct Extras {
    age: Option<f64>,
    sex: Option<String>,
    report: Option<String>,
}

pub(super) fn recording(
    path: &Path,
    file: &MatFile,
    options: &OpenOptions,
) -> Result<Array, RecordError> {
    let mut values = Vec::new();
    for (name, value) in &file.variables {
        flatten(
            name.chars().take(MAX_NAME_CHARS).collect(),
            value,
            0,
            &mut values,
        );
    }
    let numeric: Vec<(&str, &Numeric)> = values
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.numeric()?)))
        .collect();
    let items: Vec<Item> = numeric.iter().map(|(name, own)| item(name, own)).collect();
    let listed = Items {
        path,
        all: &items,
        what: "variables",
        summary: file.summary(),
        usual: &SAMPLES,
        expected: "a struct `ECG` with `data`, vectors with names of leads, or a matrix of leads and time such as `feats`, `val` or `data`",
    };
    let samples = listed.samples(options)?;
    let (rows, leads, own) = (samples.rows(), samples.leads(), listed.own(&samples));
    let arrays: Vec<(&str, &Numeric)> = rows.iter().map(|&at| numeric[at]).collect();
    let int16 = arrays.iter().all(|(_, own)| own.class == Class::Int16);
    if int16 && bare(&own) == "val" && options.unit.is_none() {
        return Err(content(
            path,
            "the unit of `val`",
            "absent, because the header (.hea) with the gain is not there",
            "the header beside the file, or a unit (`--input-unit`) (uV where 1000 steps make 1 mV)",
        ));
    }
    let mut said = said(&values, &own);
    said.settle(&own);
    let mut rate_hz = is_cpsc2018(&values).then_some(CPSC2018_RATE_HZ);
    if let Some(at) = listed.times(&samples)
        && options.rate_hz.is_none()
        && said.rate(path, &own)?.is_none()
    {
        let (name, times) = numeric[at];
        let (columns, len) = (times.len(), times.len());
        let times = times.values(columns);
        rate_hz = Some(rate_of_times(path, name, &times, false, len)?);
    }
    let each = match &leads {
        None => Vec::new(),
        Some(_) => arrays
            .iter()
            .map(|(name, _)| (unit_in(name), None))
            .collect(),
    };
    let matrix = matrix(path, &arrays, leads.is_none())?;
    let known = Known {
        format: "mat",
        rate_hz,
        leads,
        said,
        own,
        each,
        whole: arrays
            .iter()
            .any(|(_, own)| !matches!(own.class, Class::Single | Class::Double)),
        standard_12: true,
        rate_from: "a sampling rate (`--input-rate`), or a variable `curr_sample_rate` or `fs`",
        leads_from: "names of the leads (`--input-leads`), or twelve standard leads",
    };
    let mut array = Array::new(path, matrix, known, options)?;
    array.about.source.comments.extend(listed.beside(&samples));
    let extras = extras(&|name| find(&values, name));
    array.about.age = extras.age.map(|age| age as f32);
    array.about.sex = extras.sex;
    array.about.report = extras.report;
    Ok(array)
}

/// Adds a variable, or the fields of a struct as `struct.field`; what is alone in a cell counts as without it.
fn flatten<'a>(name: String, value: &'a Value, level: usize, out: &mut Vec<(String, &'a Value)>) {
    match value {
        Value::Struct(own) if own.values.len() == own.fields.len() && level < MAX_LEVELS => {
            for (field, value) in own.fields.iter().zip(&own.values) {
                let field: String = field.chars().take(MAX_NAME_CHARS).collect();
                flatten(format!("{name}.{field}"), value, level + 1, out);
            }
        }
        Value::Cell(cells) => match &cells[..] {
            [only @ (Value::Numeric(_) | Value::Struct(_))] if level < MAX_LEVELS => {
                flatten(name, only, level + 1, out);
            }
            _ => out.push((name, value)),
        },
        _ => out.push((name, value)),
    }
}

fn item(name: &str, own: &Numeric) -> Item {
    Item {
        name: name.to_owned(),
        dims: own.dims.iter().map(|&size| size as u64).collect(),
        said: {
            let dims: Vec<String> = own.dims.iter().map(usize::to_string).collect();
            format!("{} {}", dims.join("x"), own.class)
        },
    }
}

/// The samples: of one matrix, or of a vector for each lead.
fn matrix(path: &Path, arrays: &[(&str, &Numeric)], single: bool) -> Result<Matrix, RecordError> {
    let int16 = arrays.iter().all(|(_, own)| own.class == Class::Int16);
    let (shape, values): ([usize; 2], Box<dyn Values>) = match arrays {
        [(name, own)] if single => {
            let shape = own.matrix_shape().ok_or_else(|| not_two(path, name, own))?;
            (shape, Box::new(own.values(shape[0])))
        }
        _ => {
            let len = arrays.first().map_or(0, |(_, own)| own.len());
            let leads = arrays.iter().map(|(_, own)| {
                let values: Box<dyn Values> = Box::new(own.values(len));
                (values, false)
            });
            let leads = leads.collect();
            ([arrays.len(), len], Box::new(Rows { leads }))
        }
    };
    Ok(Matrix {
        shape,
        column_major: single,
        int16,
        // As in the signal files of WFDB, whose containers these matrices are.
        missing: int16.then_some(f64::from(i16::MIN)),
        values,
    })
}

/// A variable, or a field of a struct, of this name.
fn find<'a>(values: &[(String, &'a Value)], name: &str) -> Option<&'a Value> {
    let variable = values.iter().find(|(own, _)| own == name);
    let field = || {
        values
            .iter()
            .find(|(own, _)| own.split_once('.').is_some_and(|(_, field)| field == name))
    };
    variable.or_else(field).map(|(_, value)| *value)
}

/// Whether this is a file of CPSC2018: it keeps everything in a struct `ECG`.
fn is_cpsc2018(values: &[(String, &Value)]) -> bool {
    let has = |name: &str| values.iter().any(|(own, _)| own == name);
    has("ECG.sex") && has("ECG.age")
}

fn not_two(path: &Path, name: &str, numeric: &Numeric) -> RecordError {
    let dims: Vec<String> = numeric.dims.iter().map(usize::to_string).collect();
    content(
        path,
        &format!("the shape of `{name}`"),
        &dims.join(" x "),
        "two dimensions, leads and time; save one recording a file",
    )
}

/// All that is a text, a cell of texts or of numbers, or numbers about the samples `own`.
fn said(values: &[(String, &Value)], own: &str) -> Said {
    let mut said = Said::default();
    for (name, value) in values {
        let name = name.clone();
        match value {
            Value::Text(text) => said.texts.push((name, vec![text.clone()])),
            Value::Cell(cells) => {
                let texts = cells.iter().map(|own| own.text().map(str::to_owned));
                let numbers = cells.iter().map(Value::scalar);
                if let Some(texts) = texts.collect::<Option<Vec<String>>>() {
                    said.texts.push((name, texts));
                } else if let Some(numbers) = numbers.collect::<Option<Vec<f64>>>() {
                    said.numbers.push((name, numbers));
                } else {
                    said.unread.push((name, "a cell of several kinds".into()));
                }
            }
            Value::Numeric(numeric)
                if name != own && is_number(&name) && numeric.len() <= MAX_SAID =>
            {
                said.numbers.push((name, numeric.to_f64()));
            }
            Value::Other(what) => said
                .unread
                .push((name, format!("a variable of the kind {what}"))),
            _ => {}
        }
    }
    said
}

fn extras<'a>(find: &impl Fn(&str) -> Option<&'a Value>) -> Extras {
    let text = |name: &str| {
        find(name)
            .and_then(Value::text)
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty())
    };
    Extras {
        age: find("age")
            .and_then(Value::scalar)
            .filter(|age| age.is_finite() && *age >= 0.0),
        sex: text("sex").map(|sex| match sex.to_ascii_lowercase().as_str() {
            "female" | "f" => "female".into(),
            "male" | "m" => "male".into(),
            _ => sex,
        }),
        report: text("text"),
    }
}
