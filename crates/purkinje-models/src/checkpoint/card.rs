//! The model card: the `README.md` of a model folder.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use super::{FolderContents, Labels};

const TEMPLATE: &str = include_str!("card_template.md");
/// What stands where a section has nothing to say.
const NO_DATA: &str = "Not known to the program.";

/// The contents of the model card that are not in the other files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelCard {
    /// Name of the model.
    pub name: String,
    /// What it is, in one paragraph.
    pub description: String,
    /// `paper` or `released`.
    pub compat: String,
    /// The input in one line.
    pub preprocessing: String,
    /// Data sets, their sizes, and what was left out.
    pub training_data: String,
    /// Results; empty if it was not evaluated.
    pub evaluation: Vec<Evaluation>,
    /// SPDX identifier of the licence of the weights.
    pub licence: String,
    /// Commands, versions and source of the weights, one line each.
    pub how_made: Vec<String>,
}

/// One result.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Data and split, for instance `PTB-XL super, fold 10`.
    pub data: String,
    /// The metric, for instance `macro AUROC`.
    pub metric: String,
    /// Its value, with an interval where there is one.
    pub value: String,
    /// How it was measured.
    pub detail: String,
}

impl ModelCard {
    /// The model card as Markdown.
    pub fn render(&self, contents: &FolderContents<'_>) -> String {
        let tensors = contents.weights;
        let architecture = format!(
            "{} parameters in {} tensors (`config.json`)",
            grouped(tensors.parameters()),
            tensors.len()
        );
        let values = BTreeMap::from([
            ("name", self.name.clone()),
            ("description", self.description.clone()),
            ("architecture", architecture),
            ("compat", self.compat.clone()),
            ("training_data", or(&self.training_data, NO_DATA)),
            ("preprocessing", self.settings(&contents.preprocess)),
            ("labels", labels(contents.labels.as_ref())),
            ("evaluation", self.results(contents.labels.is_some())),
            ("licence", or(&self.licence, "unknown")),
            ("how_made", or(&bullets(&self.how_made), NO_DATA)),
        ]);
        fill(TEMPLATE, &values)
    }

    fn settings(&self, preprocess: &Value) -> String {
        match self.preprocessing.as_str() {
            "" => settings(preprocess),
            words => format!("{words}.\n\n{}", settings(preprocess)),
        }
    }

    fn results(&self, classifies: bool) -> String {
        if self.evaluation.is_empty() {
            return match classifies {
                true => "Not evaluated: `purkinje evaluate` measures it on labelled recordings.",
                false => {
                    "None: an encoder has no diagnoses to evaluate. `purkinje probe` fits heads on its vectors and evaluates them beside \
                     those of random weights."
                }
            }
            .to_owned();
        }
        let rows = self.evaluation.iter();
        let rows = rows.map(|r| [&r.data, &r.metric, &r.value, &r.detail].map(Clone::clone));
        table(["data", "metric", "value", "measured"], rows)
    }

    /// The text of a section of a card that was read, by its heading; `None` where it is empty or says that it is not known.
    pub fn section<'c>(card: &'c str, heading: &str) -> Option<&'c str> {
        let (_, after) = card.split_once(&format!("\n## {heading}\n"))?;
        let text = after.split("\n## ").next().unwrap_or(after).trim();
        (!text.is_empty() && text != NO_DATA).then_some(text)
    }
}

/// Replaces every `{{key}}` by its value; values are not searched for keys.
fn fill(template: &str, values: &BTreeMap<&str, String>) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        text.push_str(before);
        let (key, after) = after.split_once("}}").unwrap_or((after, ""));
        text.push_str(values.get(key).map_or("", String::as_str));
        rest = after;
    }
    text + rest
}

fn or(text: &str, otherwise: &str) -> String {
    if text.is_empty() { otherwise } else { text }.to_owned()
}

fn bullets(lines: &[String]) -> String {
    lines
        .iter()
        .map(|line| format!("- {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn settings(preprocess: &Value) -> String {
    match preprocess {
        Value::Object(settings) if !settings.is_empty() => {
            let lines: Vec<String> = settings
                .iter()
                .map(|(key, value)| match value {
                    Value::String(text) => format!("`{key}`: {text}"),
                    other => format!("`{key}`: `{other}`"),
                })
                .collect();
            bullets(&lines)
        }
        other => format!("`{other}`"),
    }
}

fn labels(labels: Option<&Labels>) -> String {
    let Some(labels) = labels else {
        return "None: the model gives representations, not diagnoses.".to_owned();
    };
    let rows = labels.classes.iter().enumerate().map(|(i, class)| {
        let meaning = class.description.clone().unwrap_or_default();
        let code = class.code.clone().unwrap_or_default();
        let threshold = class.threshold.map_or_else(String::new, rounded);
        [i.to_string(), class.name.clone(), meaning, code, threshold]
    });
    let table = table(["output", "name", "meaning", "code", "threshold"], rows);
    format!(
        "Label set: {}. Thresholds are rounded here; `labels.json` has all digits.\n\n{table}",
        labels.task
    )
}

/// A threshold with three digits after the point, or two that count where it is below 0.1.
fn rounded(threshold: f64) -> String {
    let digits = match threshold.abs() {
        small if small > 0.0 && small < 0.1 => 1 - small.log10().floor() as i32,
        _ => 3,
    };
    format!("{threshold:.*}", digits.clamp(3, 12) as usize)
}

fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut text = format!("| {} |\n|{}", head.join(" | "), " --- |".repeat(N));
    for row in rows {
        let cells = row.map(|cell| cell.replace('|', "\\|").replace('\n', " "));
        // Writing to a string cannot fail.
        let _ = write!(text, "\n| {} |", cells.join(" | "));
    }
    text
}

/// 56639072 as `56,639,072`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
