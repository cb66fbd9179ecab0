//! The R-peak detector of CLEAR-HUG: kind `xqrs`.

use purkinje_signal::r_peaks::{Running, Xqrs};
use serde_json::Value;

use crate::Check;
use crate::compare::{Findings, Tolerance};
use crate::entry::{all_tensors_known, for_each, index, input, number, stored, text, wide};
use crate::walk::Case;

/// The kinds checked here.
pub const CHECKS: &[(&str, Check)] = &[("xqrs", xqrs)];

/// Double precision, relative to the largest value.
const DOUBLE: Tolerance = Tolerance::relative(1e-9);

const KNOWN: [&str; 6] = [
    "signal",
    "qrs_inds",
    "backsearch_qrs_inds",
    "peak_inds_i",
    "sig_f",
    "sig_i",
];

fn xqrs(case: &Case, findings: &mut Findings) -> Result<(), String> {
    for_each(case, findings, |name, entry, findings| {
        entry_of(case, name, entry, findings)
    })
}

fn entry_of(case: &Case, name: &str, entry: &Value, findings: &mut Findings) -> Result<(), String> {
    let stored = stored(case, name)?;
    if let Some(stored) = &stored {
        all_tensors_known(name, stored, &KNOWN, findings);
    }
    let (signal, _) = input(case, entry, stored.as_ref(), findings)?;
    let signal: Vec<f64> = signal.iter().map(|value| f64::from(*value)).collect();
    let mut detector = Xqrs::new(number(entry, "fs")?).map_err(|e| e.to_string())?;
    constants(name, entry, &detector, findings)?;

    let analysis = detector.analyse(&signal);
    let r_peaks = detector.detect(&signal);
    let holding = |tensor: &str| stored.as_ref().filter(|stored| stored.has(tensor));
    if let Some(stored) = holding("qrs_inds") {
        let expected = stored.i64("qrs_inds")?;
        findings.exact_all(&format!("{name}, qrs_inds"), &wide(&r_peaks), &expected);
    }
    if entry.get("n_qrs").is_some() {
        findings.exact(
            &format!("{name}, n_qrs"),
            r_peaks.len(),
            index(entry, "n_qrs")?,
        );
    }
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
        if let Some(stored) = holding(tensor) {
            let expected = stored.i64(tensor)?;
            findings.exact_all(&format!("{name}, {tensor}"), &wide(found), &expected);
        }
    }
    for (tensor, found) in [
        ("sig_f", &analysis.filtered),
        ("sig_i", &analysis.integrated),
    ] {
        if let Some(stored) = holding(tensor) {
            let (label, expected) = (format!("{name}, {tensor}"), stored.f64(tensor)?);
            findings.close_all(&label, found, &expected, DOUBLE);
        }
        let hash = format!("{tensor}_quantised_sha256_i32le");
        if entry.get(&hash).is_some() {
            let quantum = number(entry, &format!("{tensor}_quantum"))?;
            let steps: Vec<i32> = found.iter().map(|v| (v / quantum).round() as i32).collect();
            findings.sha256_i32(&format!("{name}, {hash}"), &steps, text(entry, &hash)?);
        }
    }
    if let Some(expected) = entry["init"].get("learned").and_then(Value::as_bool) {
        findings.exact(&format!("{name}, learned"), analysis.learned, expected);
    }
    for (when, found) in [("init", &analysis.initial), ("final", &analysis.last)] {
        running(&format!("{name}, {when}"), &entry[when], found, findings)?;
    }
    Ok(())
}

/// Gains and counts that follow from the rate.
fn constants(
    name: &str,
    entry: &Value,
    detector: &Xqrs,
    findings: &mut Findings,
) -> Result<(), String> {
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
            let expected = number(entry, key)?;
            findings.close(&format!("{name}, {key}"), found, expected, DOUBLE);
        }
    }
    Ok(())
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
            let expected = number(expected, key)?;
            findings.close(&format!("{label} {key}"), found, expected, DOUBLE);
        }
    }
    Ok(())
}
