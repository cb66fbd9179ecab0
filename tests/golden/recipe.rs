//! CLEAR-HUG, what surrounds the networks: schedules, subsets, orders, metrics. Kind `recipe`.

use purkinje_base::legacy_random::{epoch_order, train_test_split};
use purkinje_eval::fraction::{FractionMethod, LabelFraction};
use purkinje_eval::metrics::{Confusion, Ranking, SingleClass, exact_matches, macro_mean};
use purkinje_train::schedule::CosineSchedule;
use serde_json::Value;

use crate::Check;
use crate::compare::{Findings, Tolerance};
use crate::entry::{index, number, number_or, seed_or};
use crate::walk::{Case, Tensors};

pub const CHECKS: &[(&str, Check)] = &[("recipe", recipe)];

/// Formulas in double precision, evaluated in another order.
const DOUBLE: Tolerance = Tolerance::relative(1e-12);
/// Where a case does not say: the program's default.
const SEED: u32 = 0;

fn recipe(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let parameters = case.json("recipe.json")?;
    let arrays = case.tensors("recipe.safetensors")?;
    let mut split_checked = false;
    for name in arrays.names() {
        let parts: Vec<&str> = name.split('.').collect();
        match parts.as_slice() {
            [plain] if plain.starts_with("schedule_") => {
                if plain.ends_with("_index") {
                    continue; // read with its values
                }
                let (base, steps) = match plain.strip_suffix("_value") {
                    Some(base) => (base, Some(indices(&arrays, &format!("{base}_index"))?)),
                    None => (*plain, None),
                };
                schedule(name, &parameters[base], steps.as_deref(), &arrays, findings)?;
            }
            ["subset", task, share @ ..] => {
                let subset = &parameters["subset"];
                let records = index(&subset["sizes"], task)?;
                let fraction = LabelFraction {
                    share: share
                        .join(".")
                        .parse()
                        .map_err(|_| format!("{name}: no share"))?,
                    method: FractionMethod::Random,
                    seed: seed_or(subset, "seed", SEED)?,
                };
                let found = fraction
                    .draw(&vec![false; records], 1)
                    .map_err(|e| e.to_string())?;
                findings.exact_all(name, &found, &indices(&arrays, name)?);
            }
            ["stratified", "labels"] => {} // read with its indices
            ["stratified", "indices"] => {
                let labels: Vec<bool> = arrays
                    .i64("stratified.labels")?
                    .iter()
                    .map(|&label| label == 1)
                    .collect();
                let classes = arrays.shape("stratified.labels")?[1];
                let stratified = &parameters["stratified"];
                let fraction = LabelFraction {
                    share: number_or(stratified, "ratio", 0.1)?,
                    method: FractionMethod::Stratified,
                    seed: seed_or(stratified, "seed", SEED)?,
                };
                let found = fraction.draw(&labels, classes).map_err(|e| e.to_string())?;
                findings.exact_all(name, &found, &indices(&arrays, name)?);
            }
            ["sampler", stated @ ..] => {
                let found = sampler(&parameters["sampler"], stated)?;
                findings.exact_all(name, &found.concat(), &indices(&arrays, name)?);
            }
            ["train_test_split", _] => {
                if split_checked {
                    continue; // both sides come from one split
                }
                split_checked = true;
                let train = indices(&arrays, "train_test_split.train")?;
                let validation = indices(&arrays, "train_test_split.val")?;
                let found = split(
                    &parameters["train_test_split"],
                    train.len(),
                    validation.len(),
                )?;
                findings.exact_all("train_test_split.train", &found.0, &train);
                findings.exact_all("train_test_split.val", &found.1, &validation);
            }
            ["metrics", "prob"] => {} // read with the targets
            ["metrics", "target"] => {
                metrics(name, &parameters["metrics"], &arrays, findings)?;
            }
            ["metrics", "target_single_class"] => {
                // The key ends with the label that has a single class.
                let expected = parameters.as_object().and_then(|all| {
                    let mut all = all.iter();
                    all.find(|(key, _)| key.starts_with("metrics_single_class"))
                });
                let (_, expected) = expected.ok_or("recipe.json: no `metrics_single_class`")?;
                metrics(name, expected, &arrays, findings)?;
            }
            _ => return Err(format!("the array `{name}` is not known")),
        }
    }
    Ok(())
}

/// Indices of every replica, of a sampler whose array is called `n50.replicas7.epoch0`.
fn sampler(recipe: &Value, stated: &[&str]) -> Result<Vec<Vec<usize>>, String> {
    let of = |word: &str| stated.iter().find_map(|part| after(part, word));
    let known = ["n", "replicas", "epoch", "seed"];
    if let Some(part) = stated
        .iter()
        .find(|part| known.iter().all(|word| after(part, word).is_none()))
    {
        return Err(format!("sampler: `{part}` is not understood"));
    }
    let records = of("n").ok_or("sampler: no number of records")?;
    let seed = match of("seed") {
        Some(seed) => u32::try_from(seed).map_err(|_| format!("sampler: seed {seed}"))?,
        None => seed_or(recipe, "seed", SEED)?,
    };
    let epoch = of("epoch").ok_or("sampler: no epoch")? as u32;
    epoch_order(records, epoch, seed, of("replicas").unwrap_or(1)).map_err(|e| e.to_string())
}

/// Training and validation parts. Their sizes say the share, so that only the seed has to be stated.
fn split(
    recipe: &Value,
    train: usize,
    validation: usize,
) -> Result<(Vec<usize>, Vec<usize>), String> {
    let records = train + validation;
    // The part is rounded up.
    let share = (validation as f64 - 0.5) / records as f64;
    let share = number_or(recipe, "ratio", share)?;
    train_test_split(records, share, seed_or(recipe, "seed", SEED)?).map_err(|e| e.to_string())
}

/// All steps, or those given, of the schedule that `recipe` describes.
fn schedule(
    name: &str,
    recipe: &Value,
    steps: Option<&[usize]>,
    arrays: &Tensors,
    findings: &mut Findings,
) -> Result<(), String> {
    let schedule = CosineSchedule::from_epochs(
        number(recipe, "base")?,
        number(recipe, "final")?,
        index(recipe, "epochs")?,
        index(recipe, "steps_per_epoch")?,
        index(recipe, "warmup_epochs")?,
        recipe
            .get("warmup_steps")
            .and_then(Value::as_u64)
            .map(|steps| steps as usize),
    )
    .map_err(|e| e.to_string())?;
    let expected = arrays.f64(name)?;
    let length = match recipe.get("length") {
        Some(_) => index(recipe, "length")?,
        None => expected.len(),
    };
    findings.exact(&format!("{name}: length"), schedule.total_steps(), length);
    let all: Vec<usize> = (0..length).collect();
    let found: Vec<f64> = steps
        .unwrap_or(&all)
        .iter()
        .map(|&step| schedule.at(step))
        .collect();
    findings.close_all(name, &found, &expected, DOUBLE);
    Ok(())
}

fn metrics(
    name: &str,
    expected: &Value,
    arrays: &Tensors,
    findings: &mut Findings,
) -> Result<(), String> {
    let scores = arrays.f32("metrics.prob")?;
    let labels: Vec<bool> = arrays
        .f32(name)?
        .iter()
        .map(|&label| label == 1.0)
        .collect();
    let classes = arrays.shape(name)?[1];
    let rankings = Ranking::of_matrix(scores, &labels, classes).map_err(|e| e.to_string())?;
    let aurocs: Vec<Option<f64>> = rankings.iter().map(Ranking::auroc).collect();

    // The published programs report NaN as soon as one class has one kind of label.
    let released = macro_mean(aurocs.iter().copied(), SingleClass::Released);
    let roc_auc = match expected["roc_auc"].as_str() {
        Some("nan") => f64::NAN,
        _ => number(expected, "roc_auc")?,
    };
    let found = released.value.unwrap_or(f64::NAN);
    findings.close(&format!("{name}: roc_auc"), found, roc_auc, DOUBLE);
    if let Some(per_class) = expected.get("roc_auc_per_label").and_then(Value::as_array) {
        let per_class: Vec<f64> = per_class.iter().filter_map(Value::as_f64).collect();
        let found: Vec<f64> = aurocs
            .iter()
            .map(|value| value.unwrap_or(f64::NAN))
            .collect();
        findings.close_all(
            &format!("{name}: roc_auc_per_label"),
            &found,
            &per_class,
            DOUBLE,
        );
    }

    let threshold = number_or(expected, "threshold", 0.5)? as f32;
    let confusions: Vec<Confusion> = (0..classes)
        .map(|class| {
            Confusion::count(
                scores.iter().skip(class).step_by(classes).copied(),
                labels.iter().skip(class).step_by(classes).copied(),
                threshold,
            )
        })
        .collect();
    let mean =
        |metric: fn(&Confusion) -> f64| confusions.iter().map(metric).sum::<f64>() / classes as f64;
    let exact =
        exact_matches(scores, &labels, &vec![threshold; classes]).map_err(|e| e.to_string())?;
    let accuracy = exact.iter().filter(|&&right| right).count() as f64 / exact.len() as f64;
    for (metric, found) in [
        ("accuracy", accuracy),
        ("precision", mean(Confusion::precision)),
        ("recall", mean(Confusion::recall)),
        ("f1", mean(Confusion::f1)),
    ] {
        let label = format!("{name}: {metric}");
        findings.close(&label, found, number(expected, metric)?, DOUBLE);
    }
    Ok(())
}

fn indices(arrays: &Tensors, name: &str) -> Result<Vec<usize>, String> {
    arrays
        .i64(name)?
        .into_iter()
        .map(|index| usize::try_from(index).map_err(|_| format!("{name}: {index} is no index")))
        .collect()
}

/// The number in a name like `epoch5`.
fn after(text: &str, word: &str) -> Option<usize> {
    text.strip_prefix(word)?.parse().ok()
}
