//! From the variables of a MATLAB file to a recording.

use std::path::Path;

use super::{Class, MatFile, Numeric, Struct, Value};
use crate::array::{Array, Known, Matrix};
use crate::error::{content, listed};
use crate::{OpenOptions, RecordError};

/// Sampling rate of CPSC2018, whose files do not state it.
const CPSC2018_RATE_HZ: f64 = 500.0;

/// Names of the variable that holds the samples, most telling first.
const SAMPLES: [&str; 8] = [
    "feats", "val", "ecg", "signal", "ecg_data", "data", "tracings", "x",
];

/// Names of a variable that holds the sampling rate in hertz.
const RATES: [&str; 9] = [
    "curr_sample_rate",
    "rate_hz",
    "fs",
    "Fs",
    "FS",
    "sampling_rate",
    "sample_rate",
    "samplingRate",
    "sfreq",
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
    // Fields of the only struct count like variables: CPSC2018 keeps everything in `ECG`.
    let record = file.variables.iter().find_map(|(name, value)| match value {
        Value::Struct(fields) if fields.values.len() == fields.fields.len() => {
            Some((name.as_str(), fields))
        }
        _ => None,
    });
    let find = |name: &str| {
        file.get(name)
            .or_else(|| record.and_then(|(_, fields)| fields.get(name)))
    };
    let Some((name, numeric)) = samples(file, &find) else {
        return Err(listed(
            path,
            "the list of variables",
            &file.summary(),
            "a struct `ECG` with `data`, or a matrix of leads and time such as `feats`, `val` or `data`",
        ));
    };
    let shape = numeric
        .matrix_shape()
        .ok_or_else(|| not_two(path, name, numeric))?;
    let int16 = numeric.class == Class::Int16;
    if int16 && name == "val" && options.unit.is_none() {
        return Err(content(
            path,
            "the unit of `val`",
            "absent, because the header (.hea) with the gain is not there",
            "the header beside the file, or a unit from the caller (uV where 1000 steps make 1 mV)",
        ));
    }
    let cpsc = record.is_some_and(|(record, fields)| {
        record == "ECG" && fields.get("sex").is_some() && fields.get("age").is_some()
    });
    let rate_hz = RATES
        .iter()
        .find_map(|name| find(name)?.scalar())
        .or_else(|| cpsc.then_some(CPSC2018_RATE_HZ));
    let matrix = Matrix {
        shape,
        column_major: true,
        int16,
        // As in the signal files of WFDB, whose containers these matrices are.
        missing: int16.then_some(f64::from(i16::MIN)),
        values: Box::new(numeric.values(shape[0])),
    };
    let known = Known {
        format: "mat",
        rate_hz,
        leads: None,
        texts: texts(file, record.map(|(_, fields)| fields)),
        whole: !matches!(numeric.class, Class::Single | Class::Double),
        standard_12: true,
        rate_from: "a sampling rate from the caller, or a variable `curr_sample_rate` or `fs`",
        leads_from: "names of the leads from the caller, or twelve standard leads",
    };
    let mut array = Array::new(path, matrix, known, options)?;
    let extras = extras(&find);
    array.about.age = extras.age.map(|age| age as f32);
    array.about.sex = extras.sex;
    array.about.report = extras.report;
    Ok(array)
}

/// The array of samples, with its name.
fn samples<'a>(
    file: &'a MatFile,
    find: &impl Fn(&str) -> Option<&'a Value>,
) -> Option<(&'a str, &'a Numeric)> {
    let large = |numeric: &&Numeric| numeric.len() > 1;
    let named = SAMPLES
        .iter()
        .find_map(|&name| Some((name, find(name)?.numeric().filter(large)?)));
    named.or_else(|| {
        let mut matrices = file.variables.iter().filter_map(|(name, value)| {
            let numeric = value.numeric()?;
            let shape = numeric.matrix_shape()?;
            (shape[0] > 1 && shape[1] > 1).then_some((name.as_str(), numeric))
        });
        let only = matrices.next()?;
        matrices.next().is_none().then_some(only)
    })
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

/// All variables, and fields of the only struct, that are texts or cells of texts.
fn texts(file: &MatFile, record: Option<&Struct>) -> Vec<(String, Vec<String>)> {
    let variables = file.variables.iter().map(|(name, value)| (name, value));
    let fields = record.into_iter();
    let fields = fields.flat_map(|fields| fields.fields.iter().zip(&fields.values));
    let each = variables.chain(fields).filter_map(|(name, value)| {
        let texts: Vec<String> = match value {
            Value::Cell(cells) => {
                let texts = cells.iter().map(|own| own.text().map(str::to_owned));
                texts.collect::<Option<_>>()?
            }
            Value::Text(text) => vec![text.clone()],
            _ => return None,
        };
        Some((name.clone(), texts))
    });
    each.collect()
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
