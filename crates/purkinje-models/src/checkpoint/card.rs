//! The model card: the `README.md` of a model folder.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use super::{FolderContents, Labels};

const TEMPLATE: &str = include_str!("card_template.md");

/// The contents of the model card that are not in the other files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelCard {
    /// Name of the model.
    pub name: String,
    /// What it is, in one paragraph.
    pub description: String,
    /// `paper` or `released`.
    pub compat: String,
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
            ("training_data", or(&self.training_data, "Not stated.")),
            ("preprocessing", settings(&contents.preprocess)),
            ("labels", labels(contents.labels.as_ref())),
            ("evaluation", evaluation(&self.evaluation)),
            ("licence", or(&self.licence, "unknown")),
            ("how_made", or(&bullets(&self.how_made), "Not stated.")),
        ]);
        fill(TEMPLATE, &values)
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
        let code = class.code.clone().unwrap_or_default();
        let threshold = class.threshold.map_or_else(String::new, |t| t.to_string());
        [i.to_string(), class.name.clone(), code, threshold]
    });
    let table = table(["output", "name", "code", "threshold"], rows);
    format!("Task: {} (`labels.json`).\n\n{table}", labels.task)
}

fn evaluation(results: &[Evaluation]) -> String {
    if results.is_empty() {
        return "Not evaluated.".to_owned();
    }
    let rows = results
        .iter()
        .map(|r| [&r.data, &r.metric, &r.value, &r.detail].map(Clone::clone));
    table(["data", "metric", "value", "measured"], rows)
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
