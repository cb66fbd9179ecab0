//! How generated reports of DERI are judged: kinds `text_metrics` and `text_metrics_more`.

use purkinje_eval::text::{
    BleuOptions, CiderOptions, MeteorOptions, PairScores, TextOptions, TextPair, TextScores,
    label_scores, rouge_tokens, stem, text_scores,
};
use serde_json::{Map, Value};

use crate::Check;
use crate::compare::{Findings, Tolerance};
use crate::entry::{index_or, number_or, text, texts};
use crate::walk::Case;

/// The kinds checked here. Both have the same file, with other scores in it.
pub const CHECKS: &[(&str, Check)] = &[
    ("text_metrics", text_metrics),
    ("text_metrics_more", text_metrics),
];

/// Both sides compute in double precision.
const CLOSE: Tolerance = Tolerance {
    absolute: 1e-12,
    relative: 1e-10,
};

fn text_metrics(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let stored = case.json("metrics.json")?;
    let options = options(&stored)?;
    let list = stored.get("pairs").map_or(Ok(&[][..]), list)?;
    let texts: Vec<TextPair<'_>> = list
        .iter()
        .map(|pair| {
            Ok(TextPair {
                id: "",
                reference: text(pair, "reference")?,
                generated: text(pair, "hypothesis")?,
            })
        })
        .collect::<Result<_, String>>()?;
    let scores = match texts.is_empty() {
        true => None,
        false => Some(text_scores(&texts, &options).map_err(|e| e.to_string())?),
    };
    for (place, stored) in list.iter().enumerate() {
        let scores = scores.as_ref().ok_or("no scores")?;
        pair(place, stored, &scores.pairs[place], findings)
            .map_err(|e| format!("pair {place}: {e}"))?;
    }
    for (key, stored) in object(&stored)? {
        match key.as_str() {
            "pairs" | "bleu" | "meteor" | "cider" => {} // read above
            "averages" => averages(stored, scores.as_ref().ok_or("no pairs")?, findings)?,
            "stems" => {
                for (word, expected) in object(stored)? {
                    let expected = expected.as_str().ok_or("a stem is no text")?;
                    findings.exact(&format!("stem of {word}"), stem(word).as_str(), expected);
                }
            }
            "label_metrics" => labels(stored, findings)?,
            other => findings.fail(format!("`{other}` is not known, so nothing checked it")),
        }
    }
    Ok(())
}

/// The parameters of a case; those of the original program where it names none.
fn options(stored: &Value) -> Result<TextOptions, String> {
    let mut options = TextOptions {
        bleu: BleuOptions::RELEASED,
        ..TextOptions::default()
    };
    if let Some(bleu) = stored.get("bleu") {
        options.bleu.epsilon = number_or(bleu, "epsilon", options.bleu.epsilon)?;
        if let Some(weights) = bleu.get("weights") {
            options.bleu.weights = weights_of(weights)?;
        }
    }
    if let Some(meteor) = stored.get("meteor") {
        let given = MeteorOptions::default();
        let stages = match meteor.get("stages") {
            None => 2,
            Some(_) => stages(&texts(meteor, "stages")?)?,
        };
        if meteor["synonyms"].as_bool() == Some(true) {
            return Err("METEOR with synonyms is not implemented".to_owned());
        }
        options.meteor = MeteorOptions {
            alpha: number_or(meteor, "alpha", given.alpha)?,
            beta: number_or(meteor, "beta", given.beta)?,
            gamma: number_or(meteor, "gamma", given.gamma)?,
            stems: stages == 2,
        };
    }
    if let Some(cider) = stored.get("cider") {
        let given = CiderOptions::default();
        options.cider = CiderOptions {
            order: index_or(cider, "n", given.order)?,
            sigma: number_or(cider, "sigma", given.sigma)?,
            scale: number_or(cider, "scale", given.scale)?,
        };
    }
    Ok(options)
}

fn weights_of(stored: &Value) -> Result<[[f64; 4]; 4], String> {
    let rows = list(stored)?;
    let mut weights = [[0.0; 4]; 4];
    if rows.len() != weights.len() {
        return Err(format!("{} rows of BLEU weights", rows.len()));
    }
    for (row, stored) in weights.iter_mut().zip(rows) {
        for (place, weight) in list(stored)?.iter().enumerate() {
            let own = row.get_mut(place).ok_or("more than four weights")?;
            *own = weight.as_f64().ok_or("a weight is no number")?;
        }
    }
    Ok(weights)
}

/// How many stages of METEOR there are: equal words, then equal stems.
fn stages(names: &[&str]) -> Result<usize, String> {
    match names {
        ["exact"] => Ok(1),
        ["exact", second] if second.contains("stem") => Ok(2),
        other => Err(format!("stages {other:?} of METEOR are not known")),
    }
}

fn pair(
    place: usize,
    stored: &Value,
    found: &PairScores,
    findings: &mut Findings,
) -> Result<(), String> {
    for (key, expected) in object(stored)? {
        let label = format!("pair {place}: {key}");
        match key.as_str() {
            "reference" | "hypothesis" => {}
            "bleu" => findings.close_all(&label, &found.bleu, &numbers(expected)?, CLOSE),
            "meteor" => findings.close(&label, found.meteor, number(expected)?, CLOSE),
            "cider" => findings.close(&label, found.cider, number(expected)?, CLOSE),
            "rougeL" => {
                for (part, expected) in object(expected)? {
                    let found = match part.as_str() {
                        "precision" => found.rouge_l.precision,
                        "recall" => found.rouge_l.recall,
                        "f" => found.rouge_l.f1,
                        other => return Err(format!("`rougeL.{other}` is not known")),
                    };
                    let label = format!("{label}.{part}");
                    findings.close(&label, found, number(expected)?, CLOSE);
                }
            }
            "rouge_tokens_ref" => tokens(&label, text(stored, "reference")?, expected, findings)?,
            "rouge_tokens_hyp" => tokens(&label, text(stored, "hypothesis")?, expected, findings)?,
            other => findings.fail(format!("`{other}` is not known, so nothing checked it")),
        }
    }
    Ok(())
}

fn tokens(
    label: &str,
    text: &str,
    expected: &Value,
    findings: &mut Findings,
) -> Result<(), String> {
    let expected: Option<Vec<String>> = list(expected)?
        .iter()
        .map(|token| token.as_str().map(str::to_owned))
        .collect();
    let expected = expected.ok_or("a token is no text")?;
    findings.exact_all(label, &rouge_tokens(text), &expected);
    Ok(())
}

fn averages(stored: &Value, scores: &TextScores, findings: &mut Findings) -> Result<(), String> {
    let means = &scores.means;
    for (key, expected) in object(stored)? {
        let found = match key.as_str() {
            "bleu1" => means.bleu[0],
            "bleu2" => means.bleu[1],
            "bleu3" => means.bleu[2],
            "bleu4" => means.bleu[3],
            "rougeL_f" => means.rouge_l.f1,
            "rougeL_precision" => means.rouge_l.precision,
            "rougeL_recall" => means.rouge_l.recall,
            "meteor" => means.meteor,
            "cider" => means.cider,
            other => {
                findings.fail(format!("average `{other}` is not known"));
                continue;
            }
        };
        findings.close(&format!("average {key}"), found, number(expected)?, CLOSE);
    }
    Ok(())
}

fn labels(stored: &Value, findings: &mut Findings) -> Result<(), String> {
    // As text, whether they are numbers or names.
    let labels = |key: &str| -> Result<Vec<String>, String> {
        let all = list(&stored[key]).map_err(|e| format!("{key}: {e}"))?;
        Ok(all.iter().map(Value::to_string).collect())
    };
    let found = label_scores(&labels("reference_labels")?, &labels("predicted_labels")?);
    let found = found.map_err(|e| e.to_string())?;
    for (key, expected) in object(stored)? {
        let found = match key.as_str() {
            "reference_labels" | "predicted_labels" => continue,
            "f1" => found.f1,
            "precision" => found.precision,
            "recall" => found.recall,
            other => {
                findings.fail(format!("`label_metrics.{other}` is not known"));
                continue;
            }
        };
        findings.close(&format!("labels: {key}"), found, number(expected)?, CLOSE);
    }
    Ok(())
}

fn object(value: &Value) -> Result<&Map<String, Value>, String> {
    value.as_object().ok_or_else(|| "no object".to_owned())
}

fn list(value: &Value) -> Result<&[Value], String> {
    let list = value.as_array().ok_or("no list")?;
    Ok(list)
}

fn number(value: &Value) -> Result<f64, String> {
    value
        .as_f64()
        .ok_or_else(|| format!("{value} is no number"))
}

fn numbers(value: &Value) -> Result<Vec<f64>, String> {
    list(value)?.iter().map(number).collect()
}
