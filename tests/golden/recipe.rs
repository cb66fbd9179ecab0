//! CLEAR-HUG, what surrounds the networks: schedules, subsets, orders, metrics. Kind `recipe`.

use purkinje_base::legacy_random::{epoch_order, train_test_split};
use purkinje_eval::fraction::{FractionMethod, LabelFraction};
use purkinje_eval::metrics::{Confusion, Ranking, SingleClass, exact_matches, macro_mean};
use purkinje_train::schedule::CosineSchedule;
use serde_json::Value;

use crate::Check;
use crate::compare::{Findings, Tolerance};
use crate::walk::{Case, Tensors};

pub const CHECKS: &[(&str, Check)] = &[("recipe", recipe)];

/// Formulas in double precision, evaluated in another order.
const DOUBLE: Tolerance = Tolerance::relative(1e-12);

fn recipe(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let parameters = case.json("recipe.json")?;
    let arrays = case.tensors("recipe.safetensors")?;
    let mut split_checked = false;
    for name in arrays.names() {
        let parts: Vec<&str> = name.split('.').collect();
        match parts.as_slice() {
            ["schedule_pretrain_index"] => {} // read with its values
            ["schedule_pretrain_value"] => {
                let steps = indices(&arrays, "schedule_pretrain_index")?;
                schedule(
                    name,
                    &parameters["schedule_pretrain"],
                    Some(&steps),
                    &arrays,
                    findings,
                )?;
            }
            [plain] if plain.starts_with("schedule_") => {
                schedule(name, &parameters[name], None, &arrays, findings)?;
            }
            ["subset", task, share @ ..] => {
                let subset = &parameters["subset"];
                let records = integer(&subset["sizes"], task)?;
                let fraction = LabelFraction {
                    share: share
                        .join(".")
                        .parse()
                        .map_err(|_| format!("{name}: no share"))?,
                    method: FractionMethod::Random,
                    seed: integer(subset, "seed")? as u32,
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
                let fraction = LabelFraction {
                    share: 0.1,
                    method: FractionMethod::Stratified,
                    seed: 0,
                };
                let found = fraction.draw(&labels, classes).map_err(|e| e.to_string())?;
                findings.exact_all(name, &found, &indices(&arrays, name)?);
            }
            ["sampler", records, rest @ ..] => {
                let (replicas, epoch) = match rest {
                    [epoch] => (1, after(epoch, "epoch")?),
                    [replicas, epoch] => (after(replicas, "replicas")?, after(epoch, "epoch")?),
                    _ => return Err(format!("{name}: not understood")),
                };
                let found = epoch_order(after(records, "n")?, epoch as u32, 0, replicas)
                    .map_err(|e| e.to_string())?;
                findings.exact_all(name, &found.concat(), &indices(&arrays, name)?);
            }
            ["train_test_split", _] => {
                if split_checked {
                    continue; // both sides come from one split
                }
                split_checked = true;
                let train = indices(&arrays, "train_test_split.train")?;
                let validation = indices(&arrays, "train_test_split.val")?;
                let found = train_test_split(train.len() + validation.len(), 0.1, 0)
                    .map_err(|e| e.to_string())?;
                findings.exact_all("train_test_split.train", &found.0, &train);
                findings.exact_all("train_test_split.val", &found.1, &validation);
            }
            ["metrics", "prob"] => {} // read with the targets
            ["metrics", "target"] => {
                metrics(name, &parameters["metrics"], &arrays, findings)?;
            }
            ["metrics", "target_single_class"] => {
                metrics(
                    name,
                    &parameters["metrics_single_class_label_3"],
                    &arrays,
                    findings,
                )?;
            }
            _ => return Err(format!("the array `{name}` is not known")),
        }
    }
    Ok(())
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
        integer(recipe, "epochs")?,
        integer(recipe, "steps_per_epoch")?,
        integer(recipe, "warmup_epochs")?,
        recipe
            .get("warmup_steps")
            .and_then(Value::as_u64)
            .map(|steps| steps as usize),
    )
    .map_err(|e| e.to_string())?;
    let expected = arrays.f64(name)?;
    let length = match recipe.get("length") {
        Some(_) => integer(recipe, "length")?,
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

    let confusions: Vec<Confusion> = (0..classes)
        .map(|class| {
            Confusion::count(
                scores.iter().skip(class).step_by(classes).copied(),
                labels.iter().skip(class).step_by(classes).copied(),
                0.5,
            )
        })
        .collect();
    let mean =
        |metric: fn(&Confusion) -> f64| confusions.iter().map(metric).sum::<f64>() / classes as f64;
    let exact = exact_matches(scores, &labels, &vec![0.5; classes]).map_err(|e| e.to_string())?;
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

fn number(json: &Value, key: &str) -> Result<f64, String> {
    json[key]
        .as_f64()
        .ok_or_else(|| format!("recipe.json: no number `{key}`"))
}

fn integer(json: &Value, key: &str) -> Result<usize, String> {
    let value = json[key]
        .as_u64()
        .ok_or_else(|| format!("recipe.json: no integer `{key}`"))?;
    Ok(value as usize)
}

/// The number in a name like `epoch5`.
fn after(text: &str, word: &str) -> Result<usize, String> {
    text.strip_prefix(word)
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| format!("`{text}` is not `{word}` and a number"))
}
