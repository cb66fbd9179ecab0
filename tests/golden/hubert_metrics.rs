//! How HuBERT-ECG is judged: kind `metrics`.

use purkinje_base::challenge::ChallengeWeights;
use purkinje_eval::bootstrap::percentile_interval;
use purkinje_eval::challenge::{ChallengeScore, renamed};
use purkinje_eval::crops::{Aggregation, aggregate, probabilities_released};
use purkinje_eval::metrics::{Confusion, Ranking, SingleClass, column, macro_mean};
use purkinje_eval::multi_class::{multi_class, softmax};
use serde_json::Value;

use crate::Check;
use crate::compare::{Findings, Tolerance};
use crate::entry::index_or;
use crate::io::Io;
use crate::walk::Case;

/// The kinds checked here.
pub const CHECKS: &[(&str, Check)] = &[("metrics", metrics)];

const CLOSE: Tolerance = Tolerance::absolute(1e-6);
/// Records of the batches that validation is fed with, where the case does not say.
const BATCH: usize = 20;

fn metrics(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let mut io = Io::open(case)?;
    if io.has("multi_label.labels") {
        let stated = match case.has("config.json") {
            true => case.json("config.json")?,
            false => Value::Null,
        };
        let batch = index_or(&stated, "batch", BATCH)?;
        multi_label(batch, &mut io, findings)?;
    }
    for classes in io.between("multi_class", ".labels") {
        exclusive(&classes, &mut io, findings)?;
    }
    if io.has("tta.probs") {
        let crops = io.shape("tta.probs")?[0];
        let scores = single(&io.f64("tta.probs")?);
        for (name, how) in [
            ("tta.mean", Aggregation::Mean),
            ("tta.max", Aggregation::Max),
        ] {
            let found = aggregate(&scores, crops, how).map_err(|e| e.to_string())?;
            io.close(findings, name, &double(&found), CLOSE)?;
        }
    }
    if io.has("challenge.labels") {
        challenge(case, &mut io, findings)?;
    }
    if io.has("bootstrap.indices") {
        bootstrap(&mut io, findings)?;
    }
    io.finish(findings);
    Ok(())
}

fn multi_label(batch: usize, io: &mut Io, findings: &mut Findings) -> Result<(), String> {
    let classes = io.shape("multi_label.labels")?[1];
    let labels: Vec<bool> = io
        .i64("multi_label.labels")?
        .iter()
        .map(|l| *l == 1)
        .collect();
    let probabilities = single(&io.f64("multi_label.probs")?);
    let logits = single(&io.f64("multi_label.logits")?);
    let logits = probabilities_released(&logits, classes, batch);
    for (part, scores) in [("test", probabilities), ("validation", logits)] {
        let rankings = Ranking::of_matrix(&scores, &labels, classes).map_err(|e| e.to_string())?;
        let confusions: Vec<Confusion> = (0..classes)
            .map(|class| {
                let scores = column(&scores, classes, class);
                Confusion::count(scores, column(&labels, classes, class), 0.5)
            })
            .collect();
        let decided = |metric: fn(&Confusion) -> f64| -> Vec<Option<f64>> {
            confusions.iter().map(|c| Some(metric(c))).collect()
        };
        for (name, values) in [
            ("f1_score", decided(Confusion::f1)),
            ("recall", decided(Confusion::recall)),
            ("precision", decided(Confusion::precision)),
            ("specificity", decided(Confusion::specificity)),
            ("auroc", rankings.iter().map(Ranking::auroc).collect()),
            (
                "auprc",
                rankings.iter().map(Ranking::average_precision).collect(),
            ),
        ] {
            let name = format!("multi_label.{part}.{name}");
            let counted: Vec<f64> = values.iter().map(|v| v.unwrap_or(0.0)).collect();
            io.close(findings, &name, &counted, CLOSE)?;
            let mean = macro_mean(values, SingleClass::Zero)
                .value
                .unwrap_or(f64::NAN);
            io.close(findings, &format!("{name}.macro"), &[mean], CLOSE)?;
        }
    }
    Ok(())
}

fn exclusive(classes: &str, io: &mut Io, findings: &mut Findings) -> Result<(), String> {
    let base = format!("multi_class{classes}");
    let classes = classes
        .parse()
        .map_err(|_| format!("`{base}`: no number of classes"))?;
    let labels: Vec<usize> = io
        .i64(&format!("{base}.labels"))?
        .into_iter()
        .map(|label| label as usize)
        .collect();
    for (part, input, undefined) in [
        ("test", "probs", SingleClass::Half),
        ("validation", "logits", SingleClass::Zero),
    ] {
        let mut scores = single(&io.f64(&format!("{base}.{input}"))?);
        if part == "validation" {
            scores = softmax(&scores, classes);
        }
        let found = multi_class(&scores, &labels, classes, undefined, SingleClass::Zero)
            .map_err(|e| e.to_string())?;
        let value = |mean: Option<f64>| mean.unwrap_or(f64::NAN);
        // The program calls the mean recall accuracy in validation.
        let accuracy = match part {
            "test" => found.accuracy,
            _ => value(found.recall.value),
        };
        for (name, found) in [
            ("accuracy", accuracy),
            ("auroc", value(found.auroc.value)),
            ("auprc", value(found.auprc.value)),
            ("recall", value(found.recall.value)),
            ("specificity", value(found.specificity.value)),
        ] {
            let name = format!("{base}.{part}.{name}");
            if io.has(&name) {
                io.close(findings, &name, &[found], CLOSE)?;
            }
        }
    }
    Ok(())
}

fn challenge(case: &Case, io: &mut Io, findings: &mut Findings) -> Result<(), String> {
    let json = case.json("challenge.json")?;
    let names = |key: &str| -> Result<Vec<String>, String> {
        let list = json[key]
            .as_array()
            .ok_or_else(|| format!("no list `{key}`"))?;
        Ok(list
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect())
    };
    let table = ChallengeWeights::read(&case.path("challenge_weights.csv"));
    let table = table.map_err(|e| e.to_string())?;
    let columns: Vec<String> = table
        .codes
        .iter()
        .map(|codes| renamed(&codes.join("|")))
        .collect();
    findings.exact_all(
        "renamed classes",
        &columns,
        &names("renamed_weight_columns")?,
    );
    let labels: Vec<bool> = io
        .f64("challenge.labels")?
        .iter()
        .map(|l| *l > 0.5)
        .collect();
    let calls: Vec<bool> = io
        .f64("challenge.preds")?
        .iter()
        .map(|p| *p > 0.5)
        .collect();
    for (classes, name) in [
        ("conditions", "challenge.score"),
        (
            "conditions_without_normal",
            "challenge.score_without_normal",
        ),
    ] {
        let score = ChallengeScore::new(&names(classes)?, &table);
        let found = score.of(&labels, &calls).map_err(|e| e.to_string())?;
        io.close(findings, name, &[found], CLOSE)?;
    }
    Ok(())
}

/// AUROC of each label in given resamples; a label without positives counts 0.
fn bootstrap(io: &mut Io, findings: &mut Findings) -> Result<(), String> {
    let shape = io.shape("multi_label.labels")?;
    let (records, classes) = (shape[0], shape[1]);
    let labels: Vec<bool> = io
        .i64("multi_label.labels")?
        .iter()
        .map(|l| *l == 1)
        .collect();
    let scores = single(&io.f64("multi_label.probs")?);
    let auroc = |class: usize, drawn: &[i64]| -> Result<f64, String> {
        let at = |record: &i64| *record as usize * classes + class;
        let scores: Vec<f32> = drawn.iter().map(|record| scores[at(record)]).collect();
        let labels: Vec<bool> = drawn.iter().map(|record| labels[at(record)]).collect();
        let ranking = Ranking::new(&scores, &labels).map_err(|e| e.to_string())?;
        Ok(ranking.auroc().unwrap_or(0.0))
    };
    let draws = io.i64("bootstrap.indices")?;
    let all: Vec<i64> = (0..records as i64).collect();
    let (mut point, mut low, mut high) = (Vec::new(), Vec::new(), Vec::new());
    for class in 0..classes {
        point.push(auroc(class, &all)?);
        let values = draws.chunks_exact(records).map(|drawn| auroc(class, drawn));
        let values = values.collect::<Result<Vec<f64>, _>>()?;
        let ends = percentile_interval(&values, 0.95).map_err(|e| e.to_string())?;
        let ends = ends.ok_or("no resamples")?;
        low.push(ends.low);
        high.push(ends.high);
    }
    for (name, found) in [("point", point), ("low", low), ("high", high)] {
        io.close(findings, &format!("bootstrap.{name}"), &found, CLOSE)?;
    }
    Ok(())
}

fn single(values: &[f64]) -> Vec<f32> {
    values.iter().map(|v| *v as f32).collect()
}

fn double(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}
