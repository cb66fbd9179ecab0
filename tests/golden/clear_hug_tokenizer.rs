//! CLEAR-HUG's heartbeat tokens: kind `tokenizer`.

use purkinje_record::{Lead, LeadSet};
use purkinje_signal::Tokenizer;
use purkinje_signal::beats::{BEATS_PER_LEAD, BeatTokens, RATE_HZ, TOKEN_SAMPLES, Tokenized};
use purkinje_signal::preprocess::{BeatSearch, Preprocess};
use purkinje_signal::r_peaks::Xqrs;
use serde_json::Value;

use crate::Check;
use crate::compare::Findings;
use crate::entry::{
    all_tensors_known, for_each, index, indices, input, number, rows, stored, text, texts, wide,
};
use crate::walk::{Case, Tensors};

/// The kinds checked here.
pub const CHECKS: &[(&str, Check)] = &[("tokenizer", tokenizer)];

const KNOWN: [&str; 8] = [
    "signal",
    "qrs_indices",
    "tokens",
    "tokens_lead*",
    "in_chans",
    "in_times",
    "mask_pad",
    "xqrs_lead_*",
];

fn tokenizer(case: &Case, findings: &mut Findings) -> Result<(), String> {
    for_each(case, findings, |name, entry, findings| {
        entry_of(case, name, entry, findings)
    })
}

fn entry_of(case: &Case, name: &str, entry: &Value, findings: &mut Findings) -> Result<(), String> {
    let stored = stored(case, name)?;
    let (signal, len) = input(case, entry, stored.as_ref(), findings)?;
    findings.exact(&format!("{name}: rate"), RATE_HZ, number(entry, "fs")?);
    let used = indices(entry, "used_channels")?;
    let samples = rows(&signal, len, &used)?;
    let mut tokenizer = released(&used)?;
    let outcome = tokenizer.tokenize(&samples).map_err(|e| e.to_string())?;

    let skipped = entry["skipped"].as_bool().ok_or("no `skipped`")?;
    findings.exact(
        &format!("{name}: skipped"),
        outcome == Tokenized::Silent,
        skipped,
    );
    if let Some(stored) = &stored {
        all_tensors_known(name, stored, &KNOWN, findings);
    }
    peaks_of_every_row(name, entry, &signal, len, stored.as_ref(), findings)?;
    let Tokenized::Beats(beats) = outcome else {
        return Ok(());
    };
    if skipped {
        return Ok(());
    }
    listed(name, entry, &beats, findings)?;
    let wide: Vec<f64> = samples.iter().map(|value| f64::from(*value)).collect();
    let from_wide = tokenizer.tokenize(&wide).map_err(|e| e.to_string())?;
    let same = from_wide == Tokenized::Beats(beats.clone());
    findings.exact(
        &format!("{name}: double precision gives the same"),
        same,
        true,
    );
    stored.map_or(Ok(()), |stored| tensors(name, &stored, &beats, findings))
}

/// The program's tokenizer for rows of the standard twelve leads.
fn released(rows: &[usize]) -> Result<Tokenizer, String> {
    let lead = |row: &usize| Lead::STANDARD_12.get(*row).cloned();
    let leads: Option<Vec<Lead>> = rows.iter().map(lead).collect();
    let leads = leads.ok_or("`used_channels` names a thirteenth lead")?;
    let contract = Preprocess::clear_raw()
        .with_leads(LeadSet::new(leads))
        .with_beats(BeatSearch::RELEASED);
    Tokenizer::for_contract(&contract).map_err(|e| e.to_string())
}

/// The numbers and hashes of the list.
fn listed(
    name: &str,
    entry: &Value,
    beats: &BeatTokens,
    findings: &mut Findings,
) -> Result<(), String> {
    let detected = entry["beats_detected"]
        .as_bool()
        .ok_or("no `beats_detected`")?;
    findings.exact(&format!("{name}: beats detected"), beats.detected, detected);
    for (key, found) in [
        ("n_indices", beats.r_peaks.len()),
        ("n_tokens", beats.padding.len()),
    ] {
        if entry.get(key).is_some() {
            findings.exact(&format!("{name}: {key}"), found, index(entry, key)?);
        }
    }
    if entry.get("tokens_shape").is_some() {
        let found = [beats.samples.len() / TOKEN_SAMPLES, TOKEN_SAMPLES];
        let expected = indices(entry, "tokens_shape")?;
        findings.exact_all(&format!("{name}: tokens_shape"), &found, &expected);
    }
    if entry.get("tokens_sha256_f32le").is_some() {
        let expected = text(entry, "tokens_sha256_f32le")?;
        findings.sha256_f32(&format!("{name}: tokens"), &beats.samples, expected);
    }
    if entry.get("tokens_lead_sha256_f32le").is_some() {
        let expected = texts(entry, "tokens_lead_sha256_f32le")?;
        let leads = beats.samples.chunks_exact(BEATS_PER_LEAD * TOKEN_SAMPLES);
        findings.exact(&format!("{name}: leads"), leads.len(), expected.len());
        for (lead, (found, expected)) in leads.zip(expected).enumerate() {
            findings.sha256_f32(&format!("{name}: tokens of lead {lead}"), found, expected);
        }
    }
    Ok(())
}

/// The tensors of one entry.
fn tensors(
    name: &str,
    stored: &Tensors,
    beats: &BeatTokens,
    findings: &mut Findings,
) -> Result<(), String> {
    let bytes = |values: &[u8]| values.iter().map(|v| i64::from(*v)).collect::<Vec<i64>>();
    let padding = beats.padding.iter().map(|pad| i64::from(*pad)).collect();
    for (tensor, found) in [
        ("qrs_indices", wide(&beats.r_peaks)),
        ("in_chans", bytes(&beats.lead_index)),
        ("in_times", bytes(&beats.time_index)),
        ("mask_pad", padding),
    ] {
        if stored.has(tensor) {
            findings.exact_all(&format!("{name}, {tensor}"), &found, &stored.i64(tensor)?);
        }
    }
    let names: Vec<&str> = stored.names().filter(|n| n.starts_with("tokens")).collect();
    for tensor in names {
        let lead = BEATS_PER_LEAD * TOKEN_SAMPLES;
        let found = match tensor.strip_prefix("tokens_lead") {
            None => &beats.samples[..],
            Some(row) => {
                let row: usize = row.parse().map_err(|_| format!("`{tensor}`: no lead"))?;
                let samples = beats.samples.get(row * lead..(row + 1) * lead);
                samples.unwrap_or_default()
            }
        };
        findings.exact_all(&format!("{name}, {tensor}"), found, stored.f32(tensor)?);
    }
    Ok(())
}

/// The detector on each row that something is said about, selected or not.
fn peaks_of_every_row(
    name: &str,
    entry: &Value,
    signal: &[f32],
    len: usize,
    stored: Option<&Tensors>,
    findings: &mut Findings,
) -> Result<(), String> {
    let mut detector = Xqrs::new(number(entry, "fs")?).map_err(|e| e.to_string())?;
    let counts = match entry.get("xqrs_counts") {
        Some(_) => indices(entry, "xqrs_counts")?,
        None => Vec::new(),
    };
    for (row, samples) in signal.chunks_exact(len).enumerate() {
        let tensor = format!("xqrs_lead_{row}");
        let stored = stored.filter(|stored| stored.has(&tensor));
        if stored.is_none() && counts.get(row).is_none() {
            continue;
        }
        let samples: Vec<f64> = samples.iter().map(|value| f64::from(*value)).collect();
        let found = detector.detect(&samples);
        if let Some(expected) = counts.get(row) {
            findings.exact(
                &format!("{name}, xqrs_counts[{row}]"),
                found.len(),
                *expected,
            );
        }
        if let Some(stored) = stored {
            let expected = stored.i64(&tensor)?;
            findings.exact_all(&format!("{name}, {tensor}"), &wide(&found), &expected);
        }
    }
    Ok(())
}
