//! What HuBERT-ECG, D-BETA and DERI do to samples: kinds `preprocessing`, `code_test`, `preprocess`.

use std::collections::BTreeSet;

use purkinje_datasets::import::{DERI_MIN_WORDS, deri_report};
use purkinje_record::LeadSet;
use purkinje_signal::filter::Decimator;
use purkinje_signal::hubert_input::{
    self, CROP_SAMPLES, DECIMATION, HubertInputs, LONG_CROP_SAMPLES,
};
use purkinje_signal::preprocess::{Filter, Preparer, Preprocess, Scale, Step};
use purkinje_signal::resample;
use purkinje_train::class_weights;
use serde_json::Value;

use crate::Check;
use crate::compare::{Findings, Tolerance};
use crate::io::Io;
use crate::walk::Case;

/// The kinds of HuBERT-ECG checked here.
pub const HUBERT: &[(&str, Check)] = &[("preprocessing", hubert)];
/// Those of D-BETA.
pub const D_BETA: &[(&str, Check)] = &[("code_test", code_test)];
/// Those of DERI.
pub const DERI: &[(&str, Check)] = &[("preprocess", deri)];

/// Double precision throughout, stored in it.
const DOUBLE: Tolerance = Tolerance::relative(1e-9);
/// Double precision, stored in single.
const STORED_SINGLE: Tolerance = Tolerance::absolute(1e-6);
/// Double precision from inputs that were stored in single, and may have been rounded then.
const ROUNDED_INPUT: Tolerance = Tolerance::relative(6e-8);
/// The last digit of single precision in values of size 1.
const LAST_DIGIT: Tolerance = Tolerance::absolute(6e-8);

fn hubert(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let meta = case.json("meta.json")?;
    let mut io = Io::open(case)?;
    for tag in io.between("", ".input") {
        conditioning(&tag, &meta[&tag], &mut io, findings).map_err(|e| format!("{tag}: {e}"))?;
    }
    for factor in io.between("decimate.sos.q", "") {
        let decimator = decimator(&factor)?;
        let sections = decimator.sections().concat();
        io.close(
            findings,
            &format!("decimate.sos.q{factor}"),
            &sections,
            DOUBLE,
        )?;
        let states = decimator.steady_states().concat();
        io.close(findings, &format!("decimate.zi.q{factor}"), &states, DOUBLE)?;
    }
    let mut labels = Vec::new();
    for name in io.between("dataset.", ".record") {
        data_set(&name, &meta, &mut io, findings).map_err(|e| format!("{name}: {e}"))?;
        labels.push(io.f64(&format!("dataset.{name}.labels"))?);
    }
    if io.has("weights.multi_label") {
        multi_label_weights(&labels, "weights.multi_label", &mut io, findings)?;
    }
    if io.has("weights.multi_label_20") {
        let rows = io.i64("weights.multi_label_20.labels")?;
        let columns = io.shape("weights.multi_label_20.labels")?[1];
        let rows: Vec<Vec<f64>> = rows
            .chunks_exact(columns)
            .map(|row| row.iter().map(|label| *label as f64).collect())
            .collect();
        multi_label_weights(&rows, "weights.multi_label_20", &mut io, findings)?;
    }
    if io.has("weights.multi_class") {
        let classes = io.i64("weights.multi_class.labels")?;
        let classes: Vec<usize> = classes.into_iter().map(|class| class as usize).collect();
        let found = class_weights::of_classes_released(&classes);
        io.close(
            findings,
            "weights.multi_class",
            &found,
            Tolerance::relative(1e-6),
        )?;
    }
    io.finish(findings);
    Ok(())
}

/// One recording through the contract, and those of its leads that are stored through each step.
fn conditioning(
    tag: &str,
    meta: &Value,
    io: &mut Io,
    findings: &mut Findings,
) -> Result<(), String> {
    let rate_hz = number(meta, "sampling_rate")?;
    let contract = Preprocess::hubert();
    let input = io.f64(&format!("{tag}.input"))?;
    let prepare = |contract: &Preprocess| {
        Preparer::new(contract)
            .and_then(|preparer| preparer.apply_samples(tag, &contract.leads, rate_hz, &input))
            .map(|prepared| prepared.rows)
            .map_err(|e| e.to_string())
    };
    let Some(Filter::Fir(band)) = contract.filter() else {
        return Err("the contract has no such filter".to_owned());
    };
    let taps = band.taps(rate_hz).map_err(|e| e.to_string())?;
    findings.exact(
        &format!("{tag}: taps"),
        taps.len() as f64,
        number(meta, "taps")?,
    );
    io.close(findings, &format!("{tag}.fir_taps"), &taps, DOUBLE)?;

    let resampled = contract.clone().without("scale");
    let mut filtered = resampled.clone().without("resample");
    filtered.rate_hz = rate_hz;
    let found = prepare(&filtered)?;
    findings.exact(
        &format!("{tag}: samples in"),
        (found.len() / contract.leads.len()) as f64,
        number(meta, "samples_in")?,
    );
    leads_of(tag, "filtered", &found, contract.leads.len(), io, findings)?;
    let found = prepare(&resampled)?;
    findings.exact(
        &format!("{tag}: samples out"),
        (found.len() / contract.leads.len()) as f64,
        number(meta, "samples_out")?,
    );
    leads_of(tag, "resampled", &found, contract.leads.len(), io, findings)?;
    io.close(
        findings,
        &format!("{tag}.output"),
        &prepare(&contract)?,
        STORED_SINGLE,
    )
}

/// The leads of `TAG.STEP.leadK`, by the index in the name.
fn leads_of(
    tag: &str,
    step: &str,
    rows: &[f64],
    leads: usize,
    io: &mut Io,
    findings: &mut Findings,
) -> Result<(), String> {
    for lead in io.between(&format!("{tag}.{step}.lead"), "") {
        let name = format!("{tag}.{step}.lead{lead}");
        let lead: usize = lead.parse().map_err(|_| format!("`{name}`: no lead"))?;
        let found = rows.chunks_exact(rows.len() / leads).nth(lead);
        io.close(findings, &name, found.unwrap_or_default(), ROUNDED_INPUT)?;
    }
    Ok(())
}

/// What the loader makes of one stored row.
fn data_set(name: &str, meta: &Value, io: &mut Io, findings: &mut Findings) -> Result<(), String> {
    let record = format!("dataset.{name}.record");
    let leads = io.shape(&record)?[0];
    let rows = io.f64(&record)?;
    let crop = |inputs: &HubertInputs, start, samples| {
        inputs
            .crop(&rows, leads, start, samples)
            .map_err(|e| e.to_string())
    };
    let signal = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>();
    // A mask may be stored without its signal, and the reverse.
    let mut factors: BTreeSet<String> = io
        .between(&format!("dataset.{name}.q"), ".signal")
        .into_iter()
        .collect();
    factors.extend(io.between(&format!("dataset.{name}.q"), ".attention_mask"));
    for factor in factors {
        let decimation = match factor.as_str() {
            "None" => None,
            factor => Some(
                factor
                    .parse()
                    .map_err(|_| format!("decimation `{factor}`"))?,
            ),
        };
        let inputs = HubertInputs::new(decimation).map_err(|e| e.to_string())?;
        let base = format!("dataset.{name}.q{factor}");
        let is_there = |ending: &&str| io.has(&format!("{base}{ending}"));
        let ending = [".signal", ".attention_mask"].into_iter().find(is_there);
        let stored = format!("{base}{}", ending.unwrap_or_default());
        let samples = samples_of(io, &stored, leads, decimation.unwrap_or(1), CROP_SAMPLES)?;
        let input = crop(&inputs, 0, samples)?;
        if io.has(&format!("{base}.signal")) {
            io.close(
                findings,
                &format!("{base}.signal"),
                &signal(&input.signal),
                STORED_SINGLE,
            )?;
        }
        if io.has(&format!("{base}.attention_mask")) {
            let expected = io.i64(&format!("{base}.attention_mask"))?;
            let found: Vec<i64> = input.attention.iter().map(|on| i64::from(*on)).collect();
            findings.exact_all(&format!("{base}.attention_mask"), &found, &expected);
        }
    }
    let inputs = HubertInputs::new(Some(DECIMATION)).map_err(|e| e.to_string())?;
    let random = format!("dataset.{name}.random_crop.signal");
    if io.has(&random) {
        let start = number(&meta["dataset"], "random_crop_start_500hz")? as usize;
        let samples = samples_of(io, &random, leads, DECIMATION, CROP_SAMPLES)?;
        let found = crop(&inputs, start, samples)?.signal;
        io.close(findings, &random, &signal(&found), STORED_SINGLE)?;
        let last = hubert_input::last_start(rows.len() / leads, samples);
        findings.exact(
            "random crop is within reach",
            last.is_some_and(|last| start <= last),
            true,
        );
    }
    let long = format!("dataset.{name}.full_length.signal");
    if io.has(&long) {
        let start = number(&meta["dataset"], "full_length_start_500hz")? as usize;
        let samples = samples_of(io, &long, leads, DECIMATION, LONG_CROP_SAMPLES)?;
        let flat = crop(&inputs, start, samples)?.signal;
        io.close(findings, &long, &signal(&flat), STORED_SINGLE)?;
        let mut crops = Vec::new();
        let starts = io.i64("tta.starts")?;
        let count = io.shape("tta.crops")?.iter().product::<usize>() / (starts.len() * leads);
        for start in starts {
            let columns = hubert_input::columns(&flat, leads, start as usize, count);
            crops.extend(columns.map_err(|e| e.to_string())?);
        }
        io.close(findings, "tta.crops", &signal(&crops), STORED_SINGLE)?;
    }
    Ok(())
}

/// Samples of a lead before decimation by `factor`, of a crop that is stored after it: the usual ones, unless it has another length
/// than these leave.
fn samples_of(
    io: &Io,
    name: &str,
    leads: usize,
    factor: usize,
    usual: usize,
) -> Result<usize, String> {
    let stored = io.shape(name)?.iter().product::<usize>();
    Ok(match (leads * usual).div_ceil(factor) == stored {
        true => usual,
        false => stored / leads * factor,
    })
}

fn multi_label_weights(
    rows: &[Vec<f64>],
    name: &str,
    io: &mut Io,
    findings: &mut Findings,
) -> Result<(), String> {
    let labels = rows.first().map_or(0, Vec::len);
    let positives: Vec<usize> = (0..labels)
        .map(|label| rows.iter().filter(|row| row[label] == 1.0).count())
        .collect();
    let found = class_weights::of_labels_released(&positives, rows.len());
    io.close(findings, name, &found, Tolerance::relative(1e-6))
}

fn code_test(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let config = case.json("config.json")?;
    let mut io = Io::open(case)?;
    let (rate_hz, kept) = (number(&config, "fs_in")?, number(&config, "kept")? as usize);
    let contract = Preprocess::d_beta_code();
    findings.exact("rate", contract.rate_hz, number(&config, "fs_out")?);
    let shape = io.shape("tracings")?;
    let resampled = resample::resampled_len(shape[1], rate_hz, contract.rate_hz);
    findings.exact(
        "resampled length",
        resampled as f64,
        number(&config, "resampled_length")?,
    );
    let preparer = Preparer::new(&contract).map_err(|e| e.to_string())?;
    let tracings = io.f64("tracings")?;
    let mut found = Vec::new();
    for record in tracings.chunks_exact(shape[1] * shape[2]) {
        let rows = transposed(record, shape[2]);
        let prepared = preparer
            .apply_samples("tracing", &contract.leads, rate_hz, &rows)
            .map_err(|e| e.to_string())?;
        findings.exact("kept samples", prepared.rows.len(), shape[2] * kept);
        found.extend(prepared.rows);
    }
    io.close(findings, "processed", &found, STORED_SINGLE)?;
    for name in io.between("resample_", "/in") {
        let out = format!("resample_{name}/out");
        let target = io.shape(&out)?[0];
        let found = resample::fourier(&io.f64(&format!("resample_{name}/in"))?, 1, target);
        io.close(findings, &out, &found, DOUBLE)?;
    }
    io.finish(findings);
    Ok(())
}

fn deri(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let config = case.json("config.json")?;
    for report in config["reports"]
        .as_array()
        .ok_or("config.json: no `reports`")?
    {
        let lines = report["lines"]
            .as_array()
            .ok_or("a report without `lines`")?;
        let lines: Vec<&str> = lines.iter().filter_map(Value::as_str).collect();
        let (text, words) = deri_report(&lines);
        let expected = report["total_report"].as_str();
        findings.exact("report", Some(text.as_str()), expected);
        findings.exact("words", Some(words as u64), report["words"].as_u64());
        findings.exact(
            "kept",
            Some(words >= DERI_MIN_WORDS),
            report["kept"].as_bool(),
        );
    }
    let mut io = Io::open(case)?;
    pre_training(&config, &mut io, findings)?;
    for (name, contract) in [
        ("ptbxl", Preprocess::deri_ptbxl()),
        ("cpsc", Preprocess::deri_cpsc2018()),
        ("csn", Preprocess::deri_csn()),
    ] {
        downstream(name, contract, &config, &mut io, findings)
            .map_err(|e| format!("{name}: {e}"))?;
    }
    io.finish(findings);
    Ok(())
}

/// The int16 array and what is read from it; the window of the case is shorter than the contract's.
fn pre_training(config: &Value, io: &mut Io, findings: &mut Findings) -> Result<(), String> {
    let mut contract = Preprocess::deri();
    let columns = number(config, "window")?;
    let mut per_unit = f64::NAN;
    for step in &mut contract.steps {
        match step {
            Step::Window(window) => window.keep_s = columns / contract.rate_hz,
            Step::Scale(Scale::Truncate { per_unit: steps }) => per_unit = *steps,
            _ => {}
        }
    }
    let shape = io.shape("raw_mv_f64")?;
    let raw = io.f64("raw_mv_f64")?;
    let preparer = Preparer::new(&contract).map_err(|e| e.to_string())?;
    let mut found = Vec::new();
    for record in raw.chunks_exact(shape[1] * shape[2]) {
        let rows = transposed(record, shape[2]);
        let prepared = preparer
            .apply_samples("raw", &contract.leads, contract.rate_hz, &rows)
            .map_err(|e| e.to_string())?;
        found.extend(prepared.rows);
    }
    let steps: Vec<i64> = found
        .iter()
        .map(|v| (v * per_unit).round() as i64)
        .collect();
    findings.exact_all("array_int16", &steps, &io.i64("array_int16")?);
    let loaded: Vec<f64> = found.iter().map(|v| f64::from(*v as f32)).collect();
    findings.exact_all("loaded", &loaded, &io.f64("loaded")?);
    Ok(())
}

/// The input is in the standard order, the output in the one the contract names.
fn downstream(
    name: &str,
    contract: Preprocess,
    config: &Value,
    io: &mut Io,
    findings: &mut Findings,
) -> Result<(), String> {
    let leads = LeadSet::standard_12();
    let rows = if io.has(&format!("{name}.val")) {
        // Converter units, 1000 to a millivolt.
        let units = io.i64(&format!("{name}.val"))?;
        units.into_iter().map(|unit| unit as f64 / 1000.0).collect()
    } else {
        transposed(&io.f64(&format!("{name}.signal_mv"))?, leads.len())
    };
    let prepared = Preparer::new(&contract)
        .and_then(|preparer| preparer.apply_samples(name, &leads, contract.rate_hz, &rows))
        .map_err(|e| e.to_string())?;
    let found: Vec<f64> = prepared.rows.iter().map(|v| f64::from(*v as f32)).collect();
    let len = found.len() / leads.len();
    let columns = |from: usize, to: usize| -> Vec<f64> {
        found
            .chunks_exact(len)
            .flat_map(|row| &row[from..to])
            .copied()
            .collect()
    };
    let out = format!("{name}.out");
    if io.has(&out) {
        io.close(findings, &out, &found, LAST_DIGIT)?;
    }
    let head = format!("{name}.out_head");
    if io.has(&head) {
        let expected: Vec<u64> = config[format!("{name}_output_shape")]
            .as_array()
            .map_or_else(Vec::new, |shape| {
                shape.iter().filter_map(Value::as_u64).collect()
            });
        findings.exact_all(
            &format!("{name}: shape"),
            &[leads.len() as u64, len as u64],
            &expected,
        );
        for part in io.between(&format!("{name}.out_"), "") {
            let part = format!("{name}.out_{part}");
            let width = io.shape(&part)?[1];
            let from = match part.ends_with("_head") {
                true => 0,
                false if part.ends_with("_last") => len - width,
                false => place(&columns, len, &io.f64(&part)?, width),
            };
            io.close(findings, &part, &columns(from, from + width), LAST_DIGIT)?;
        }
        let samples = rows.len() / leads.len();
        findings.exact(
            &format!("{name}: samples in"),
            samples as f64,
            number(config, &format!("{name}_length"))?,
        );
    }
    // Labels pass through the loader; they belong to the data set.
    let target = format!("{name}.target");
    if io.has(&target) {
        let labels = io.f64(&target)?;
        let binary = labels.iter().all(|label| *label == 0.0 || *label == 1.0);
        findings.exact(&target, binary, true);
    }
    Ok(())
}

/// Where columns from the middle of the output begin, which the case does not say in numbers: where they differ least from ours.
fn place(
    columns: &impl Fn(usize, usize) -> Vec<f64>,
    len: usize,
    expected: &[f64],
    width: usize,
) -> usize {
    let error = |from: &usize| -> f64 {
        let found = columns(*from, from + width);
        let pairs = found.iter().zip(expected);
        pairs
            .map(|(found, expected)| (found - expected).abs())
            .sum()
    };
    let starts = 0..(len + 1).saturating_sub(width);
    let best = starts.min_by(|a, b| error(a).total_cmp(&error(b)));
    best.unwrap_or(0)
}

/// `[time, lead]` to `[lead, time]`.
fn transposed(values: &[f64], leads: usize) -> Vec<f64> {
    (0..leads)
        .flat_map(|lead| values[lead..].iter().step_by(leads).copied())
        .collect()
}

fn decimator(factor: &str) -> Result<Decimator, String> {
    let factor = factor
        .parse()
        .map_err(|_| format!("decimation `{factor}`"))?;
    Decimator::new(factor).map_err(|e| e.to_string())
}

fn number(entry: &Value, key: &str) -> Result<f64, String> {
    entry[key]
        .as_f64()
        .ok_or_else(|| format!("no number `{key}`"))
}
