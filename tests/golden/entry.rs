//! Fields of what a case lists, and the signals that its entries refer to.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::compare::Findings;
use crate::walk::{Case, Tensors};

/// A text.
pub fn text<'a>(entry: &'a Value, key: &str) -> Result<&'a str, String> {
    entry[key]
        .as_str()
        .ok_or_else(|| format!("no text `{key}`"))
}

/// A number.
pub fn number(entry: &Value, key: &str) -> Result<f64, String> {
    entry[key]
        .as_f64()
        .ok_or_else(|| format!("no number `{key}`"))
}

/// The same where the entry may say nothing.
pub fn number_or(entry: &Value, key: &str, otherwise: f64) -> Result<f64, String> {
    match entry.get(key) {
        None => Ok(otherwise),
        Some(_) => number(entry, key),
    }
}

/// A whole number that is not negative.
pub fn index(entry: &Value, key: &str) -> Result<usize, String> {
    whole(&entry[key]).ok_or_else(|| format!("no index `{key}`"))
}

/// The same where the entry may say nothing.
pub fn index_or(entry: &Value, key: &str, otherwise: usize) -> Result<usize, String> {
    match entry.get(key) {
        None => Ok(otherwise),
        Some(_) => index(entry, key),
    }
}

/// A seed of a legacy generator, where the entry may say nothing.
pub fn seed_or(entry: &Value, key: &str, otherwise: u32) -> Result<u32, String> {
    let seed = index_or(entry, key, otherwise as usize)?;
    u32::try_from(seed).map_err(|_| format!("`{key}` is {seed}, which is no seed of 32 bits"))
}

/// A list of whole numbers that are not negative.
pub fn indices(entry: &Value, key: &str) -> Result<Vec<usize>, String> {
    let list = entry[key]
        .as_array()
        .ok_or_else(|| format!("no list `{key}`"))?;
    list.iter()
        .map(whole)
        .collect::<Option<_>>()
        .ok_or_else(|| format!("`{key}` holds something that is no index"))
}

/// A list of texts.
pub fn texts<'a>(entry: &'a Value, key: &str) -> Result<Vec<&'a str>, String> {
    let list = entry[key]
        .as_array()
        .ok_or_else(|| format!("no list `{key}`"))?;
    list.iter()
        .map(Value::as_str)
        .collect::<Option<_>>()
        .ok_or_else(|| format!("`{key}` holds something that is no text"))
}

fn whole(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|value| usize::try_from(value).ok())
}

/// Places as they are stored.
pub fn wide(found: &[usize]) -> Vec<i64> {
    found.iter().map(|index| *index as i64).collect()
}

/// Runs `check` on every entry of `cases.json`, by its name.
pub fn for_each(
    case: &Case,
    findings: &mut Findings,
    check: impl Fn(&str, &Value, &mut Findings) -> Result<(), String>,
) -> Result<(), String> {
    let list = case.json("cases.json")?;
    let list = list.as_array().ok_or("cases.json: expected a list")?;
    let mut names = Vec::new();
    for entry in list {
        let name = text(entry, "name")?;
        names.push(name);
        check(name, entry, findings).map_err(|e| format!("{name}: {e}"))?;
    }
    all_files_listed(case, names.into_iter(), findings)
}

/// The tensors of an entry, if it has a file.
pub fn stored(case: &Case, name: &str) -> Result<Option<Tensors>, String> {
    let file = format!("{name}.safetensors");
    match case.has(&file) {
        true => case.tensors(&file).map(Some),
        false => Ok(None),
    }
}

/// The input of an entry, `[lead, time]` or `[time]`, and its samples per lead: stored with it, a record of the library, or made from
/// one by the listed operations. Length and hash are as the entry says.
pub fn input(
    case: &Case,
    entry: &Value,
    stored: Option<&Tensors>,
    findings: &mut Findings,
) -> Result<(Vec<f32>, usize), String> {
    let name = text(entry, "name")?;
    let (signal, len) = match (entry.get("input"), entry.get("input_record")) {
        (Some(operations), _) => made(case, operations)?,
        (None, Some(_)) => record(case, text(entry, "input_record")?)?,
        (None, None) => load(stored.ok_or("neither a stored signal nor `input`")?)?,
    };
    if entry.get("n_samples").is_some() {
        let expected = index(entry, "n_samples")?;
        findings.exact(&format!("{name}: samples"), len, expected);
    }
    if entry.get("signal_sha256_f32le").is_some() {
        let expected = text(entry, "signal_sha256_f32le")?;
        findings.sha256_f32(&format!("{name}: input"), &signal, expected);
    }
    Ok((signal, len))
}

fn load(tensors: &Tensors) -> Result<(Vec<f32>, usize), String> {
    let shape = tensors.shape("signal")?;
    let len = *shape.last().ok_or("`signal` has no dimension")?;
    Ok((tensors.f32("signal")?.to_vec(), len))
}

fn record(case: &Case, name: &str) -> Result<(Vec<f32>, usize), String> {
    load(&case.tensors(&format!("../records/{name}.safetensors"))?)
}

fn made(case: &Case, operations: &Value) -> Result<(Vec<f32>, usize), String> {
    let operations = operations.as_array().ok_or("`input` is no list")?;
    let (mut signal, mut len) = (Vec::new(), 1);
    let outside = |what: &str| format!("`{what}` reaches beyond the signal");
    for operation in operations {
        match text(operation, "op")? {
            "load" => (signal, len) = record(case, text(operation, "record")?)?,
            "slice" => {
                let (start, stop) = (index(operation, "start")?, index(operation, "stop")?);
                let rows = signal.chunks_exact(len).map(|row| row.get(start..stop));
                let rows: Option<Vec<&[f32]>> = rows.collect();
                signal = rows.ok_or_else(|| outside("slice"))?.concat();
                len = stop - start;
            }
            "permute_leads" => signal = rows(&signal, len, &indices(operation, "order")?)?,
            "scale" => {
                let factor = number(operation, "factor")?;
                for value in &mut signal {
                    *value = (f64::from(*value) * factor) as f32;
                }
            }
            "set_lead_constant" => {
                let row = index(operation, "lead")?;
                let row = signal.get_mut(row * len..(row + 1) * len);
                row.ok_or_else(|| outside("set_lead_constant"))?
                    .fill(number(operation, "value")? as f32);
            }
            other => return Err(format!("operation `{other}` is not known")),
        }
    }
    Ok((signal, len))
}

/// These rows of a signal `[lead, time]`.
pub fn rows(signal: &[f32], len: usize, chosen: &[usize]) -> Result<Vec<f32>, String> {
    let mut all = Vec::with_capacity(chosen.len() * len);
    for row in chosen {
        let samples = signal.get(row * len..(row + 1) * len);
        all.extend(samples.ok_or_else(|| format!("the signal has no row {row}"))?);
    }
    Ok(all)
}

/// A tensor file nobody looked at would be a check that silently does not happen.
pub fn all_files_listed<'a>(
    case: &Case,
    names: impl Iterator<Item = &'a str>,
    findings: &mut Findings,
) -> Result<(), String> {
    let listed: BTreeSet<String> = names.map(|name| format!("{name}.safetensors")).collect();
    for file in case.files(".safetensors")? {
        if !listed.contains(&file) {
            findings.fail(format!("{file} is in no list, so nothing checked it"));
        }
    }
    Ok(())
}

/// The same for a tensor within a file, which is known by its name or by how that begins.
pub fn all_tensors_known(label: &str, stored: &Tensors, known: &[&str], findings: &mut Findings) {
    for name in stored.names() {
        let is_known = known.iter().any(|known| match known.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == *known,
        });
        if !is_known {
            findings.fail(format!(
                "{label}: tensor `{name}` is not known, so nothing checked it"
            ));
        }
    }
}
