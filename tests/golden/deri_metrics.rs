//! How classification with DERI is judged and on which fractions of labels: kinds `classification_metrics` and
//! `label_fraction_rows`.

use std::collections::BTreeMap;

use purkinje_eval::fraction::{FractionMethod, LabelFraction};
use purkinje_eval::metrics::{
    Confusion, OwnThreshold, Ranking, SingleClass, column, macro_auroc, macro_mean,
};
use serde_json::Value;

use crate::Check;
use crate::compare::{Findings, Tolerance};
use crate::entry::{index, seed_or};
use crate::io::Io;
use crate::walk::{Case, Tensors};

/// The kinds checked here.
pub const CHECKS: &[(&str, Check)] = &[
    ("classification_metrics", classification_metrics),
    ("label_fraction_rows", label_fraction_rows),
];

const CLOSE: Tolerance = Tolerance::absolute(1e-10);
/// The seed of the published fractions, where a case names none.
const SEED: u32 = 42;

fn classification_metrics(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let mut io = Io::open(case)?;
    let shape = io.shape("scores")?;
    let &[_, classes] = &shape[..] else {
        return Err(format!("scores have the shape {shape:?}"));
    };
    if case.has("config.json") {
        let stated = case.json("config.json")?;
        for (key, found) in [("n", shape[0]), ("classes", classes)] {
            if stated.get(key).is_some() {
                findings.exact(key, found, index(&stated, key)?);
            }
        }
    }
    let scores: Vec<f32> = io
        .f64("scores")?
        .iter()
        .map(|&score| score as f32)
        .collect();
    let labels: Vec<bool> = io.f64("labels")?.iter().map(|&label| label > 0.5).collect();
    let auroc = macro_auroc(&scores, &labels, classes, SingleClass::Released);
    let auroc = auroc.map_err(|e| e.to_string())?.value.unwrap_or(f64::NAN);
    let rankings = Ranking::of_matrix(&scores, &labels, classes).map_err(|e| e.to_string())?;
    let own: Vec<OwnThreshold> = rankings
        .iter()
        .map(|ranking| {
            ranking
                .own_f1_threshold()
                .ok_or("a class without positives")
        })
        .collect::<Result<_, _>>()?;
    let accuracy: Vec<f64> = (0..classes)
        .map(|class| {
            let scores = column(&scores, classes, class);
            let labels = column(&labels, classes, class);
            Confusion::count(scores, labels, own[class].threshold).accuracy()
        })
        .collect();
    let percent = |values: &[f64]| {
        let mean = macro_mean(values.iter().copied().map(Some), SingleClass::Released);
        100.0 * mean.value.unwrap_or(f64::NAN)
    };
    let f1: Vec<f64> = own.iter().map(|own| own.f1).collect();
    let each_auroc = rankings.iter().map(|r| r.auroc().unwrap_or(f64::NAN));
    for (name, found) in [
        ("auroc_macro_f64", vec![auroc]),
        ("auroc_per_class_f64", each_auroc.collect()),
        ("f1_mean_percent_f64", vec![percent(&f1)]),
        ("f1_per_class_f64", f1.clone()),
        ("acc_mean_percent_f64", vec![percent(&accuracy)]),
        ("acc_per_class_f64", accuracy.clone()),
    ] {
        if io.has(name) {
            io.close(findings, name, &found, CLOSE)?;
        }
    }
    if io.has("f1_threshold") {
        let found: Vec<f64> = own.iter().map(|own| f64::from(own.threshold)).collect();
        findings.exact_all("f1_threshold", &found, &io.f64("f1_threshold")?);
    }
    io.finish(findings);
    Ok(())
}

/// Rows `<set>.<percent>pct` of training sets. How many records a set has is not stored: it is the number from which fractions of
/// these lengths are drawn and whose draws have the stored rows.
fn label_fraction_rows(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let stated = match case.has("config.json") {
        true => case.json("config.json")?,
        false => Value::Null,
    };
    let seed = seed_or(&stated, "seed", SEED)?;
    let stored = case.tensors("io.safetensors")?;
    let mut sets: BTreeMap<String, Vec<(f64, Vec<usize>)>> = BTreeMap::new();
    for name in stored.names() {
        let share = |name: &str| {
            let (set, percent) = name.rsplit_once('.')?;
            let percent: f64 = percent.strip_suffix("pct")?.parse().ok()?;
            Some((set.to_owned(), percent / 100.0))
        };
        let (set, share) = share(name).ok_or_else(|| format!("`{name}` names no fraction"))?;
        sets.entry(set)
            .or_default()
            .push((share, rows(&stored, name)?));
    }
    for (set, fractions) in sets {
        let draws = |records: usize| -> Vec<Option<Vec<usize>>> {
            let each = fractions.iter();
            each.map(|(share, _)| draw(records, *share, seed)).collect()
        };
        let fits = |records: &usize| {
            let mut each = fractions.iter();
            each.all(|(share, rows)| (*records as f64 * share) as usize == rows.len())
        };
        let right = |found: &[Option<Vec<usize>>]| {
            let mut each = found.iter().zip(&fractions);
            each.all(|(found, (_, rows))| found.as_ref() == Some(rows))
        };
        let largest = fractions.iter().flat_map(|(_, rows)| rows).max();
        let smallest = largest.map_or(0, |row| row + 1);
        let longest = fractions
            .iter()
            .map(|(share, rows)| (rows.len() + 1) as f64 / share);
        let bound = longest.fold(f64::INFINITY, f64::min).ceil() as usize;
        let candidates: Vec<usize> = (smallest..=bound).filter(fits).collect();
        let records = candidates.iter().copied().find(|&n| right(&draws(n)));
        match records {
            Some(records) => {
                for (found, (share, rows)) in draws(records).into_iter().zip(&fractions) {
                    let label = format!("{set}, {share} of {records}");
                    findings.exact_all(&label, &found.unwrap_or_default(), rows);
                }
            }
            None => findings.fail(format!(
                "{set}: no number of records among {candidates:?} gives the stored rows"
            )),
        }
    }
    Ok(())
}

fn draw(records: usize, share: f64, seed: u32) -> Option<Vec<usize>> {
    let fraction = LabelFraction {
        share,
        method: FractionMethod::Permuted,
        seed,
    };
    fraction.draw(&vec![false; records], 1).ok()
}

fn rows(stored: &Tensors, name: &str) -> Result<Vec<usize>, String> {
    let rows = stored.i64(name)?;
    rows.iter()
        .map(|&row| usize::try_from(row).map_err(|_| format!("`{name}`: row {row}")))
        .collect()
}
