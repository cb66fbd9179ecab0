//! CLEAR-HUG, from samples to tokens: kinds `records`, `tokenizer`, `xqrs`, `preprocess`.

use std::collections::BTreeSet;

use purkinje_record::{Lead, LeadSet, Recording};
use purkinje_signal::beats::{BEATS_PER_LEAD, TOKEN_SAMPLES, Tokenized};
use purkinje_signal::preprocess::{Preparer, Preprocess, Window};
use purkinje_signal::r_peaks::{Running, Xqrs};
use purkinje_signal::{Tokenizer, quality, repair};
use serde_json::Value;

use crate::Check;
use crate::compare::{Findings, Tolerance};
use crate::walk::{Case, Tensors};

pub const CHECKS: &[(&str, Check)] = &[
    ("records", records),
    ("tokenizer", tokenizer),
    ("xqrs", xqrs),
    ("preprocess", preprocess),
];

/// Tolerance of double-precision signals, relative to their largest value.
const DOUBLE: Tolerance = Tolerance::relative(1e-9);
/// Tolerance where the reference transforms in single precision.
const SINGLE: Tolerance = Tolerance::absolute(2e-6);

/// The excerpts are what their list says, and each can be taken in as a recording.
fn records(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let list = case.json("records.json")?;
    let list = list.as_object().ok_or("records.json: expected an object")?;
    all_files_listed(case, list.keys().map(String::as_str), findings)?;
    for (name, entry) in list {
        let tensors = case.tensors(&format!("{name}.safetensors"))?;
        let signal = tensors.f32("signal")?;
        let shape: Vec<usize> = numbers(entry, "shape")?;
        findings.exact_all(&format!("{name}: shape"), tensors.shape("signal")?, &shape);
        findings.sha256_f32(
            &format!("{name}: sha256"),
            signal,
            text(entry, "sha256_f32le")?,
        );

        let leads = match entry.get("lead_order").and_then(Value::as_array) {
            Some(names) => names
                .iter()
                .filter_map(Value::as_str)
                .map(Lead::parse)
                .collect(),
            None => vec![Lead::II],
        };
        let rows = leads.len();
        let rate_hz = number(entry, "fs")?;
        let recording =
            Recording::new(name.as_str(), LeadSet::new(leads), rate_hz, signal.to_vec())
                .map_err(|e| e.to_string())?;
        findings.exact(
            &format!("{name}: samples per lead"),
            Some(&recording.len()),
            shape.last(),
        );
        let quality = quality::assess(&recording);
        findings.exact(
            &format!("{name}: leads assessed"),
            quality.leads.len(),
            rows,
        );
        let missing: usize = quality.leads.iter().map(|l| l.missing_samples).sum();
        findings.exact(&format!("{name}: missing samples"), missing, 0);
    }
    Ok(())
}

fn tokenizer(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let list = case.json("cases.json")?;
    let list = list.as_array().ok_or("cases.json: expected a list")?;
    let mut names = Vec::new();
    for entry in list {
        let name = text(entry, "name")?;
        names.push(name);
        tokenizer_entry(case, name, entry, findings).map_err(|e| format!("{name}: {e}"))?;
    }
    all_files_listed(case, names.into_iter(), findings)
}

fn tokenizer_entry(
    case: &Case,
    name: &str,
    entry: &Value,
    findings: &mut Findings,
) -> Result<(), String> {
    let file = format!("{name}.safetensors");
    let stored = if case.has(&file) {
        Some(case.tensors(&file)?)
    } else {
        None
    };
    let (signal, len) = input(case, entry, stored.as_ref())?;
    findings.sha256_f32(
        &format!("{name}: input"),
        &signal,
        text(entry, "signal_sha256_f32le")?,
    );

    let used: Vec<usize> = numbers(entry, "used_channels")?;
    let leads = used
        .iter()
        .map(|row| Lead::STANDARD_12[*row].clone())
        .collect();
    let rows: Vec<f32> = used
        .iter()
        .flat_map(|row| &signal[row * len..(row + 1) * len])
        .copied()
        .collect();
    let mut tokenizer = Tokenizer::new(&LeadSet::new(leads)).map_err(|e| e.to_string())?;
    let outcome = tokenizer.tokenize(&rows).map_err(|e| e.to_string())?;

    let skipped = entry["skipped"].as_bool().ok_or("no `skipped`")?;
    findings.exact(
        &format!("{name}: skipped"),
        outcome == Tokenized::Silent,
        skipped,
    );
    if let Some(stored) = &stored {
        all_tensors_known(
            name,
            stored,
            &[
                "signal",
                "qrs_indices",
                "tokens",
                "tokens_lead1",
                "in_chans",
                "in_times",
                "mask_pad",
            ],
            findings,
        );
        peaks_of_every_row(name, entry, &signal, len, stored, findings)?;
    }
    let Tokenized::Beats(beats) = outcome else {
        return Ok(());
    };
    if skipped {
        return Ok(());
    }

    let detected = entry["beats_detected"]
        .as_bool()
        .ok_or("no `beats_detected`")?;
    findings.exact(&format!("{name}: beats detected"), beats.detected, detected);
    if let Some(expected) = entry.get("n_indices").and_then(Value::as_u64) {
        findings.exact(
            &format!("{name}: R-peaks"),
            beats.r_peaks.len() as u64,
            expected,
        );
    }
    if let Some(expected) = entry.get("n_tokens").and_then(Value::as_u64) {
        findings.exact(
            &format!("{name}: tokens"),
            beats.padding.len() as u64,
            expected,
        );
    }
    if let Some(expected) = entry.get("tokens_sha256_f32le").and_then(Value::as_str) {
        findings.sha256_f32(&format!("{name}: tokens"), &beats.samples, expected);
    }
    let wide: Vec<f64> = rows.iter().map(|value| f64::from(*value)).collect();
    let from_wide = tokenizer.tokenize(&wide).map_err(|e| e.to_string())?;
    let same = from_wide == Tokenized::Beats(beats.clone());
    findings.exact(
        &format!("{name}: double precision gives the same"),
        same,
        true,
    );

    let Some(stored) = stored else { return Ok(()) };
    let check = |findings: &mut Findings, tensor: &str, found: Vec<i64>| -> Result<(), String> {
        if stored.has(tensor) {
            findings.exact_all(&format!("{name}, {tensor}"), &found, &stored.i64(tensor)?);
        }
        Ok(())
    };
    check(findings, "qrs_indices", indices(&beats.r_peaks))?;
    check(
        findings,
        "in_chans",
        beats.lead_index.iter().map(|v| i64::from(*v)).collect(),
    )?;
    check(
        findings,
        "in_times",
        beats.time_index.iter().map(|v| i64::from(*v)).collect(),
    )?;
    check(
        findings,
        "mask_pad",
        beats.padding.iter().map(|v| i64::from(*v)).collect(),
    )?;
    if stored.has("tokens") {
        findings.exact_all(
            &format!("{name}, tokens"),
            &beats.samples,
            stored.f32("tokens")?,
        );
    }
    if stored.has("tokens_lead1") {
        let lead = BEATS_PER_LEAD * TOKEN_SAMPLES;
        let found = beats.samples.get(lead..2 * lead).unwrap_or_default();
        findings.exact_all(
            &format!("{name}, tokens_lead1"),
            found,
            stored.f32("tokens_lead1")?,
        );
    }
    Ok(())
}

/// The detector on each of the stored rows, selected or not.
fn peaks_of_every_row(
    name: &str,
    entry: &Value,
    signal: &[f32],
    len: usize,
    stored: &Tensors,
    findings: &mut Findings,
) -> Result<(), String> {
    let mut detector = Xqrs::new(number(entry, "fs")?).map_err(|e| e.to_string())?;
    for (row, samples) in signal.chunks_exact(len).enumerate() {
        let tensor = format!("xqrs_lead_{row}");
        if !stored.has(&tensor) {
            continue;
        }
        let samples: Vec<f64> = samples.iter().map(|value| f64::from(*value)).collect();
        let found = indices(&detector.detect(&samples));
        findings.exact_all(&format!("{name}, {tensor}"), &found, &stored.i64(&tensor)?);
    }
    Ok(())
}

/// The input signal `[lead, time]` and its samples per lead: stored, or made by the listed operations.
fn input(
    case: &Case,
    entry: &Value,
    stored: Option<&Tensors>,
) -> Result<(Vec<f32>, usize), String> {
    let load = |tensors: &Tensors| -> Result<(Vec<f32>, usize), String> {
        let len = *tensors
            .shape("signal")?
            .last()
            .ok_or("`signal` has no dimension")?;
        Ok((tensors.f32("signal")?.to_vec(), len))
    };
    let Some(operations) = entry.get("input").and_then(Value::as_array) else {
        return load(stored.ok_or("neither a stored signal nor `input`")?);
    };
    let (mut signal, mut len) = (Vec::new(), 1);
    for operation in operations {
        match text(operation, "op")? {
            "load" => {
                let record = text(operation, "record")?;
                let file = format!("../records/{record}.safetensors");
                (signal, len) = load(&case.tensors(&file)?)?;
            }
            "slice" => {
                let (start, stop) = (index(operation, "start")?, index(operation, "stop")?);
                let rows = signal.chunks_exact(len);
                signal = rows.flat_map(|row| &row[start..stop]).copied().collect();
                len = stop - start;
            }
            "permute_leads" => {
                let order: Vec<usize> = numbers(operation, "order")?;
                let rows = order
                    .iter()
                    .flat_map(|row| &signal[row * len..(row + 1) * len]);
                signal = rows.copied().collect();
            }
            "scale" => {
                let factor = number(operation, "factor")?;
                for value in &mut signal {
                    *value = (f64::from(*value) * factor) as f32;
                }
            }
            "set_lead_constant" => {
                let row = index(operation, "lead")?;
                signal[row * len..(row + 1) * len].fill(number(operation, "value")? as f32);
            }
            other => return Err(format!("operation `{other}` is not known")),
        }
    }
    Ok((signal, len))
}

fn xqrs(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let list = case.json("cases.json")?;
    let list = list.as_array().ok_or("cases.json: expected a list")?;
    let mut names = Vec::new();
    for entry in list {
        let name = text(entry, "name")?;
        names.push(name);
        xqrs_entry(case, name, entry, findings).map_err(|e| format!("{name}: {e}"))?;
    }
    all_files_listed(case, names.into_iter(), findings)
}

fn xqrs_entry(
    case: &Case,
    name: &str,
    entry: &Value,
    findings: &mut Findings,
) -> Result<(), String> {
    let stored = case.tensors(&format!("{name}.safetensors"))?;
    all_tensors_known(
        name,
        &stored,
        &[
            "signal",
            "qrs_inds",
            "backsearch_qrs_inds",
            "peak_inds_i",
            "sig_f",
            "sig_i",
        ],
        findings,
    );
    let signal = stored.f64("signal")?;
    let mut detector = Xqrs::new(number(entry, "fs")?).map_err(|e| e.to_string())?;

    let constants = *detector.constants();
    let derived = [
        ("filter_gain", constants.band_pass_gain),
        ("mwi_gain", constants.wavelet_gain),
        (
            "transform_gain",
            constants.band_pass_gain * constants.wavelet_gain,
        ),
        ("rr_init", constants.rr_init),
        ("rr_max", constants.rr_max),
        ("rr_min", constants.rr_min),
        ("qrs_width", constants.width_samples as f64),
        ("qrs_radius", constants.radius_samples as f64),
        ("ref_period", constants.refractory_samples as f64),
    ];
    for (key, found) in derived {
        if entry.get(key).is_some() {
            findings.close(
                &format!("{name}, {key}"),
                found,
                number(entry, key)?,
                DOUBLE,
            );
        }
    }

    let analysis = detector.analyse(&signal);
    let r_peaks = detector.detect(&signal);
    findings.exact_all(
        &format!("{name}, qrs_inds"),
        &indices(&r_peaks),
        &stored.i64("qrs_inds")?,
    );
    let started = entry.get("init").is_some();
    findings.exact(&format!("{name}: started"), analysis.is_some(), started);
    let Some(analysis) = analysis.filter(|_| started) else {
        return Ok(());
    };
    findings.exact_all(
        &format!("{name}: peaks of the analysis"),
        &analysis.r_peaks,
        &r_peaks,
    );
    for (tensor, found) in [
        ("backsearch_qrs_inds", &analysis.back_search),
        ("peak_inds_i", &analysis.local_peaks),
    ] {
        if stored.has(tensor) {
            findings.exact_all(
                &format!("{name}, {tensor}"),
                &indices(found),
                &stored.i64(tensor)?,
            );
        }
    }
    for (tensor, found) in [
        ("sig_f", &analysis.filtered),
        ("sig_i", &analysis.integrated),
    ] {
        if stored.has(tensor) {
            findings.close_all(
                &format!("{name}, {tensor}"),
                found,
                &stored.f64(tensor)?,
                DOUBLE,
            );
        }
    }
    if let Some(expected) = entry["init"].get("learned").and_then(Value::as_bool) {
        findings.exact(&format!("{name}, learned"), analysis.learned, expected);
    }
    running(
        &format!("{name}, init"),
        &entry["init"],
        &analysis.initial,
        findings,
    )?;
    running(
        &format!("{name}, final"),
        &entry["final"],
        &analysis.last,
        findings,
    )
}

fn running(
    label: &str,
    expected: &Value,
    found: &Running,
    findings: &mut Findings,
) -> Result<(), String> {
    for (key, found) in [
        ("qrs_amp_recent", found.qrs_amplitude),
        ("noise_amp_recent", found.noise_amplitude),
        ("qrs_thr", found.threshold),
        ("rr_recent", found.rr),
        ("last_qrs_ind", found.last_qrs),
    ] {
        if expected.get(key).is_some() {
            findings.close(
                &format!("{label} {key}"),
                found,
                number(expected, key)?,
                DOUBLE,
            );
        }
    }
    Ok(())
}

fn preprocess(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let config = case.json("config.json")?;
    let mut known = Vec::new();
    for (name, check) in [
        ("mimic", mimic as RecipeCheck),
        ("csn", csn),
        ("cpsc", cpsc),
    ] {
        let file = format!("{name}.safetensors");
        if case.has(&file) {
            check(&case.tensors(&file)?, &config[name], findings)
                .map_err(|e| format!("{name}: {e}"))?;
            known.push(name);
        }
    }
    all_files_listed(case, known.into_iter(), findings)
}

type RecipeCheck = fn(&Tensors, &Value, &mut Findings) -> Result<(), String>;

/// Converter units per millivolt in all of these cases.
const UNITS_PER_MV: f64 = 1000.0;

fn mimic(stored: &Tensors, config: &Value, findings: &mut Findings) -> Result<(), String> {
    let len = stored.shape("adc")?[1];
    let mut samples = millivolts(stored)?;
    let places: Vec<usize> = stored
        .i64("nan_positions")?
        .chunks_exact(2)
        .map(|place| place[0] as usize * len + place[1] as usize)
        .collect();
    places.iter().for_each(|place| samples[*place] = f64::NAN);

    let contract = Preprocess::clear_mimic();
    let mut repaired = samples.clone();
    for row in repaired.chunks_exact_mut(len) {
        repair::repair(row, contract.missing());
    }
    let filled: Vec<f64> = places.iter().map(|place| repaired[*place]).collect();
    let expected = stored.f64("after_nan_fill_at_positions")?;
    findings.close_all(
        "mimic, after_nan_fill_at_positions",
        &filled,
        &expected,
        DOUBLE,
    );

    let leads = lead_list(text(config, "lead_order_in")?)?;
    let out = lead_list(text(config, "lead_order_out")?)?;
    findings.exact("mimic: lead order", &contract.leads, &out);
    let rate_hz = number(config, "fs")?;
    let prepare = |contract: &Preprocess| {
        Preparer::new(contract)
            .and_then(|preparer| preparer.apply_samples("mimic", &leads, rate_hz, &samples))
            .map_err(|e| e.to_string())
    };
    let unfiltered = prepare(&contract.clone().without("filter"))?;
    let expected = stored.f64("resampled_reordered")?;
    let found = unfiltered.rows.get(..expected.len()).unwrap_or_default();
    findings.close_all("mimic, resampled_reordered", found, &expected, DOUBLE);

    let prepared = prepare(&contract)?;
    findings.close_all(
        "mimic, output",
        &prepared.rows,
        &stored.f64("output")?,
        DOUBLE,
    );
    let count: usize = prepared.repairs.iter().map(|repair| repair.samples).sum();
    findings.exact("mimic: repaired samples", count, places.len());

    // The way a user's recording goes: single precision in, the rest alike.
    let narrow = samples.iter().map(|value| *value as f32).collect();
    let recording =
        Recording::new("mimic", leads.clone(), rate_hz, narrow).map_err(|e| e.to_string())?;
    let prepared = contract.apply(&recording).map_err(|e| e.to_string())?;
    let expected = stored.f64("output")?;
    findings.close_all(
        "mimic, output from a recording",
        &prepared.rows,
        &expected,
        Tolerance::relative(1e-6),
    );
    Ok(())
}

fn csn(stored: &Tensors, _: &Value, findings: &mut Findings) -> Result<(), String> {
    let shape = stored.shape("adc")?;
    let leads = first_leads(shape[0])?;
    let contract = Preprocess::clear_csn().with_leads(leads.clone());
    let rate_hz = contract.rate_hz * shape[1] as f64 / stored.shape("output")?[1] as f64;
    let samples = millivolts(stored)?;
    let prepare = |contract: Preprocess| {
        Preparer::new(&contract)
            .and_then(|preparer| preparer.apply_samples("csn", &leads, rate_hz, &samples))
            .map_err(|e| e.to_string())
    };
    let unfiltered = contract.clone().without("filter");
    let normalized = prepare(unfiltered.clone().at_rate(rate_hz))?;
    let expected = stored.f64("normalized_first_lead")?;
    let found = normalized.rows.get(..expected.len()).unwrap_or_default();
    findings.close_all("csn, normalized_first_lead", found, &expected, SINGLE);
    let resampled = prepare(unfiltered)?.rows;
    findings.close_all(
        "csn, resampled",
        &resampled,
        &stored.f64("resampled")?,
        SINGLE,
    );
    let output = prepare(contract)?.rows;
    findings.close_all("csn, output", &output, &stored.f64("output")?, SINGLE);
    Ok(())
}

fn cpsc(stored: &Tensors, config: &Value, findings: &mut Findings) -> Result<(), String> {
    let shape = stored.shape("adc")?;
    let leads = first_leads(shape[0])?;
    let float = Preprocess::clear_cpsc2018().with_leads(leads.clone());
    let int16 = Preprocess::clear_cpsc2018_int16().with_leads(leads.clone());
    let Some(Window { keep_s, .. }) = float.window() else {
        return Err("the contract has no window".to_owned());
    };
    let rate_hz = shape[1] as f64 / keep_s;
    let samples = millivolts(stored)?;
    let prepare = |contract: &Preprocess| {
        Preparer::new(contract)
            .and_then(|preparer| preparer.apply_samples("cpsc", &leads, rate_hz, &samples))
            .map_err(|e| e.to_string())
    };
    let float_rows = prepare(&float)?.rows;
    let int16_rows = prepare(&int16)?.rows;
    let expected = stored.f64("output_float_arithmetic")?;
    findings.close_all(
        "cpsc, output_float_arithmetic",
        &float_rows,
        &expected,
        DOUBLE,
    );
    let expected = stored.f64("output_int16_arithmetic")?;
    findings.close_all(
        "cpsc, output_int16_arithmetic",
        &int16_rows,
        &expected,
        DOUBLE,
    );
    let expected = stored.f64("normalized_int16_lead0")?;
    let normalized = prepare(&int16.at_rate(rate_hz))?.rows;
    let found = normalized.get(..expected.len()).unwrap_or_default();
    findings.close_all("cpsc, normalized_int16_lead0", found, &expected, DOUBLE);
    if config.get("max_abs_difference").is_some() {
        let pairs = float_rows.iter().zip(&int16_rows);
        let found = pairs.map(|(f, i)| (f - i).abs()).fold(0.0, f64::max);
        let expected = number(config, "max_abs_difference")?;
        findings.close("cpsc, max_abs_difference", found, expected, DOUBLE);
    }
    Ok(())
}

fn millivolts(stored: &Tensors) -> Result<Vec<f64>, String> {
    let adc = stored.i64("adc")?;
    Ok(adc
        .into_iter()
        .map(|value| value as f64 / UNITS_PER_MV)
        .collect())
}

fn first_leads(count: usize) -> Result<LeadSet, String> {
    let leads = Lead::STANDARD_12
        .get(..count)
        .ok_or("more than twelve rows")?;
    Ok(LeadSet::new(leads.to_vec()))
}

/// Reads `I II III aVR aVF aVL V1..V6 (a remark)`.
fn lead_list(text: &str) -> Result<LeadSet, String> {
    let names = text.split('(').next().unwrap_or(text).trim();
    names
        .replace("V1..V6", "V1 V2 V3 V4 V5 V6")
        .parse()
        .map_err(|e| format!("lead order `{text}`: {e}"))
}

/// A tensor file nobody looked at would be a check that silently does not happen.
fn all_files_listed<'a>(
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

/// The same for a tensor within a file.
fn all_tensors_known(label: &str, stored: &Tensors, known: &[&str], findings: &mut Findings) {
    for name in stored.names() {
        if !known.contains(&name) && !name.starts_with("xqrs_lead_") {
            findings.fail(format!(
                "{label}: tensor `{name}` is not known, so nothing checked it"
            ));
        }
    }
}

fn indices(found: &[usize]) -> Vec<i64> {
    found.iter().map(|index| *index as i64).collect()
}

fn text<'a>(entry: &'a Value, key: &str) -> Result<&'a str, String> {
    entry[key]
        .as_str()
        .ok_or_else(|| format!("no text `{key}`"))
}

fn number(entry: &Value, key: &str) -> Result<f64, String> {
    entry[key]
        .as_f64()
        .ok_or_else(|| format!("no number `{key}`"))
}

fn index(entry: &Value, key: &str) -> Result<usize, String> {
    let value = entry[key]
        .as_u64()
        .and_then(|value| usize::try_from(value).ok());
    value.ok_or_else(|| format!("no index `{key}`"))
}

fn numbers(entry: &Value, key: &str) -> Result<Vec<usize>, String> {
    let list = entry[key]
        .as_array()
        .ok_or_else(|| format!("no list `{key}`"))?;
    list.iter()
        .map(|value| value.as_u64().and_then(|value| usize::try_from(value).ok()))
        .collect::<Option<_>>()
        .ok_or_else(|| format!("`{key}` holds something that is no index"))
}
