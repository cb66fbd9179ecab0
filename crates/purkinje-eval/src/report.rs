//! Results with everything needed to interpret them, and tables of results.
//!
//! The score of a frozen encoder is hard to interpret by itself: a probe on the same architecture with random weights
//! can come surprisingly close, because architecture, input scaling and probe contribute to it. A [`ResultTable`]
//! therefore cannot be built without that row for every encoder (arXiv 2602.17531).

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

use crate::{
    ClassRanking, EvalError, FEW_POSITIVES, RankingMetrics, TaskMetrics,
    bootstrap::{Estimate, Unit},
    fraction::LabelFraction,
};

/// One model on one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelResult {
    /// Name of the task (for example `ptb-xl/super`).
    pub task: String,
    /// Name of the split evaluated (for example `test`).
    pub split: String,
    /// Name of the model.
    pub model: String,
    /// How the head was trained (for example `linear probe`, `HUG`, `zero-shot`).
    pub head: String,
    /// Fraction of the training labels, and how it was sampled.
    pub fraction: LabelFraction,
    /// Training records after the fraction.
    pub training_records: usize,
    /// All seeds, by purpose.
    pub seeds: Vec<(String, u64)>,
    /// How the reported state was selected.
    pub selection: Selection,
    /// The metrics.
    pub metrics: TaskMetrics,
    /// Further metrics by name, such as the Challenge score.
    #[serde(default)]
    pub other: Vec<(String, f64)>,
}

/// How the reported state (epoch, penalty, thresholds) was selected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// Split it was selected on; never the one reported.
    pub split: String,
    /// What was maximised (for example `macro AUROC`).
    pub criterion: String,
    /// What was selected (for example `epoch 37` or `C = 0.1`).
    pub chosen: String,
    /// Value of the criterion there.
    pub value: Option<f64>,
}

/// What a result was made with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Program and version.
    pub program: String,
    /// The command line without what does not change the result; empty for a call of the library.
    #[serde(default)]
    pub command: String,
    /// BLAKE3 of the weights of the model, in hex; absent for random weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_blake3: Option<String>,
    /// Name of the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// Fingerprint of the store, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_fingerprint: Option<String>,
}

/// As one line of text.
impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.program)?;
        if !self.command.is_empty() {
            write!(f, "; command: {}", self.command)?;
        }
        if let Some(hash) = &self.model_blake3 {
            write!(f, "; model: BLAKE3 {hash}")?;
        }
        if let (Some(name), Some(print)) = (&self.store, &self.store_fingerprint) {
            write!(f, "; store: {name}, fingerprint {print}")?;
        }
        Ok(())
    }
}

/// An encoder and the same encoder with random weights, both trained and evaluated in the same way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EncoderRows {
    /// The encoder with its trained weights.
    pub trained: ModelResult,
    /// The same encoder with random weights; its head may differ, and is named in its row.
    pub random_weights: ModelResult,
    /// What they were made with.
    #[serde(default)]
    pub made_by: Provenance,
}

/// A table of results on one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<EncoderRows>", into = "Vec<EncoderRows>")]
pub struct ResultTable {
    rows: Vec<EncoderRows>,
}

impl ResultTable {
    /// Makes a table of results.
    ///
    /// # Errors
    /// [`EvalError::Empty`] without rows, [`EvalError::NotComparable`] unless all were measured
    /// on the same task, split, classes and records, and every pair on the same label fraction.
    pub fn new(rows: Vec<EncoderRows>) -> Result<Self, EvalError> {
        let Some(first) = rows.first() else {
            return Err(EvalError::Empty {
                what: "The list of results",
            });
        };
        for row in &rows {
            check_comparable(&first.trained, &row.trained, false)?;
            check_comparable(&row.trained, &row.random_weights, true)?;
        }
        Ok(Self { rows })
    }

    /// The rows.
    pub fn rows(&self) -> &[EncoderRows] {
        &self.rows
    }

    fn results(&self) -> impl Iterator<Item = (String, &ModelResult)> {
        self.rows.iter().flat_map(|row| {
            [
                (row.trained.model.clone(), &row.trained),
                ("  random weights".to_owned(), &row.random_weights),
            ]
        })
    }

    /// Per class, the AUROC of every row, whose column names model, head and fraction of the labels; as text with aligned columns.
    pub fn per_class(&self) -> String {
        let mut lines = vec![vec!["class".to_owned(), "positives".to_owned()]];
        lines[0].extend(self.results().map(|(name, result)| {
            let share = 100.0 * result.fraction.share;
            format!("AUROC {}, {}, {share} %", name.trim(), result.head)
        }));
        // `new` lets no table without rows exist, and all rows have the same classes.
        for (index, class) in self.rows[0].trained.metrics.classes.iter().enumerate() {
            let mut line = vec![
                class.class.clone(),
                positives(class.positives, class.prevalence, class.few_positives),
            ];
            line.extend(self.results().map(|(_, result)| {
                let own = &result.metrics.classes[index];
                marked(estimate_text(&own.auroc), own.untrained)
            }));
            lines.push(line);
        }
        let classes = || {
            self.results()
                .flat_map(|(_, result)| &result.metrics.classes)
        };
        let few = classes().any(|class| class.few_positives);
        aligned(&lines) + &notes(few, classes().any(|class| class.untrained))
    }
}

impl TryFrom<Vec<EncoderRows>> for ResultTable {
    type Error = EvalError;

    fn try_from(rows: Vec<EncoderRows>) -> Result<Self, EvalError> {
        Self::new(rows)
    }
}

impl From<ResultTable> for Vec<EncoderRows> {
    fn from(table: ResultTable) -> Self {
        table.rows
    }
}

/// The summary: a row per model, with means over classes and their intervals.
impl fmt::Display for ResultTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = &self.rows[0].trained;
        let metrics = &first.metrics;
        writeln!(
            f,
            "{}, {}: {} records of {} patients, {} classes",
            first.task,
            first.split,
            metrics.records,
            metrics.patients,
            metrics.classes.len()
        )?;
        let header = [
            "model",
            "head",
            "labels",
            "macro AUROC",
            "macro AUPRC",
            "macro F1",
            "exact match",
        ];
        let mut lines = vec![header.map(str::to_owned).to_vec()];
        lines[0].extend(first.other.iter().map(|(figure, _)| figure.clone()));
        for (name, result) in self.results() {
            let metrics = &result.metrics;
            let mut line = vec![
                name,
                result.head.clone(),
                format!(
                    "{} % ({})",
                    100.0 * result.fraction.share,
                    result.training_records
                ),
                estimate_text(&metrics.macro_mean.auroc),
                estimate_text(&metrics.macro_mean.auprc),
                estimate_text(&metrics.macro_mean.f1),
                estimate_text(&metrics.exact_match),
            ];
            line.extend(first.other.iter().map(|(figure, _)| {
                let own = result.other.iter().find(|(name, _)| name == figure);
                own.map_or("-".to_owned(), |(_, value)| format!("{value:.3}"))
            }));
            lines.push(line);
        }
        f.write_str(&aligned(&lines))?;
        if metrics.bootstrap.resamples > 0 {
            writeln!(
                f,
                "In brackets: {} % intervals, {} resamples of {}, seed {}.",
                100.0 * metrics.bootstrap.level,
                metrics.bootstrap.resamples,
                match metrics.bootstrap.unit {
                    Unit::Patients => "patients",
                    Unit::RecordsByLabels => "records stratified by labels",
                },
                metrics.bootstrap.seed
            )?;
        }
        for (name, result) in self.results() {
            let metrics = &result.metrics;
            if metrics.macro_mean.untrained > 0 {
                writeln!(
                    f,
                    "{}, {}, {} %: {} of {} classes have no positive training label and are left out of the macro means.",
                    name.trim(),
                    result.head,
                    100.0 * result.fraction.share,
                    metrics.macro_mean.untrained,
                    metrics.classes.len()
                )?;
            }
        }
        if metrics.macro_mean.undefined_auroc > 0 {
            writeln!(
                f,
                "{} of {} classes have no positives or no negatives in this split, and no AUROC.",
                metrics.macro_mean.undefined_auroc,
                metrics.classes.len()
            )?;
        }
        Ok(())
    }
}

/// How the scores of each class rank records: positives, AUROC and AUPRC with intervals, and their means over classes.
pub fn ranking_table(metrics: &RankingMetrics) -> String {
    let header = ["class", "positives", "AUROC", "AUPRC"].map(str::to_owned);
    let mut lines = vec![header.to_vec()];
    lines.extend(metrics.classes.iter().map(|class| {
        vec![
            class.class.clone(),
            positives(class.positives, class.prevalence, class.few_positives),
            marked(estimate_text(&class.auroc), class.untrained),
            marked(estimate_text(&class.auprc), class.untrained),
        ]
    }));
    lines.push(mean_line(&[&metrics.auroc, &metrics.auprc]));
    let any = |is: fn(&ClassRanking) -> bool| metrics.classes.iter().any(is);
    aligned(&lines)
        + &notes(
            any(|class| class.few_positives),
            any(|class| class.untrained),
        )
}

/// What stands behind the positives of a class that has few.
const FEW: &str = " *";
/// What stands behind figures of a class without a training label.
const UNTRAINED: &str = " \u{2020}";

fn positives(count: usize, prevalence: f64, few: bool) -> String {
    let mark = if few { FEW } else { "" };
    format!("{count} ({:.1} %){mark}", 100.0 * prevalence)
}

fn marked(text: String, untrained: bool) -> String {
    match untrained {
        true => text + UNTRAINED,
        false => text,
    }
}

/// What the marks mean that a table has.
fn notes(few: bool, untrained: bool) -> String {
    let mut text = String::new();
    if few {
        text += &format!(
            "{} fewer than {FEW_POSITIVES} positives: the figures say little.\n",
            FEW.trim()
        );
    }
    if untrained {
        text += &format!(
            "{} no positive training label: left out of the means over classes.\n",
            UNTRAINED.trim()
        );
    }
    text
}

fn mean_line(values: &[&Estimate]) -> Vec<String> {
    let first = ["mean of classes".to_owned(), String::new()];
    let values = values.iter().map(|value| estimate_text(value));
    first.into_iter().chain(values).collect()
}

/// The metrics of one result as text: ranking metrics of each class, then metrics of the decisions at its threshold; a
/// row per class and one for the means.
pub fn class_table(metrics: &TaskMetrics) -> String {
    let mean = &metrics.macro_mean;
    let header = [
        "class",
        "threshold",
        "F1",
        "precision",
        "sensitivity",
        "specificity",
    ];
    let mut decisions = vec![header.map(str::to_owned).to_vec()];
    for class in &metrics.classes {
        decisions.push(vec![
            class.class.clone(),
            format!("{:.3}", class.threshold),
            estimate_text(&class.f1),
            estimate_text(&class.precision),
            estimate_text(&class.recall),
            estimate_text(&class.specificity),
        ]);
    }
    decisions.push(mean_line(&[
        &mean.f1,
        &mean.precision,
        &mean.recall,
        &mean.specificity,
    ]));
    format!(
        "{}\n{}",
        ranking_table(&metrics.ranking()),
        aligned(&decisions)
    )
}

/// `0.912 [0.897, 0.925]`, or `-` where undefined.
/// An estimate with three digits, and its interval in brackets; `-` where it is undefined.
pub fn estimate_text(estimate: &Estimate) -> String {
    match (estimate.value, estimate.interval) {
        (None, _) => "-".to_owned(),
        (Some(value), None) => format!("{value:.3}"),
        (Some(value), Some(interval)) => {
            format!("{value:.3} [{:.3}, {:.3}]", interval.low, interval.high)
        }
    }
}

/// Columns aligned by their widest cell, counted in characters; a rule under the header.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |line: &Vec<String>, column: usize| line.get(column).cloned().unwrap_or_default();
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            lines
                .iter()
                .map(|line| cell(line, column).chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for (number, line) in lines.iter().enumerate() {
        let mut row = String::new();
        for (column, width) in widths.iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = write!(row, "{:<width$}  ", cell(line, column));
        }
        out.push_str(row.trim_end());
        out.push('\n');
        if number == 0 {
            let rule: Vec<String> = widths.iter().map(|&width| "-".repeat(width)).collect();
            out.push_str(&rule.join("  "));
            out.push('\n');
        }
    }
    out
}

fn check_comparable(
    first: &ModelResult,
    second: &ModelResult,
    same_encoder: bool,
) -> Result<(), EvalError> {
    let names = |result: &ModelResult| -> String {
        let names: Vec<&str> = result
            .metrics
            .classes
            .iter()
            .map(|class| class.class.as_str())
            .collect();
        names.join(", ")
    };
    let counts = |result: &ModelResult| -> String {
        let positives: Vec<String> = result
            .metrics
            .classes
            .iter()
            .map(|class| class.positives.to_string())
            .collect();
        positives.join(", ")
    };
    let describe = |result: &ModelResult| {
        let mut facts = vec![
            ("tasks", result.task.clone()),
            ("splits", result.split.clone()),
            ("classes", names(result)),
            ("numbers of records", result.metrics.records.to_string()),
            ("numbers of patients", result.metrics.patients.to_string()),
            ("numbers of positive records", counts(result)),
        ];
        if same_encoder {
            facts.push(("label fractions", format!("{:?}", result.fraction)));
            facts.push((
                "numbers of training records",
                result.training_records.to_string(),
            ));
        }
        facts
    };
    for ((field, first_value), (_, second_value)) in
        describe(first).into_iter().zip(describe(second))
    {
        if first_value != second_value {
            return Err(EvalError::NotComparable {
                first: first.model.clone(),
                second: second.model.clone(),
                field,
                first_value,
                second_value,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EvaluateOptions, evaluate_split};

    fn result(model: &str, scores: &[f32]) -> ModelResult {
        let labels = [true, false, false, true, false, true, true, false];
        let options = EvaluateOptions::new(["AF", "LBBB"]);
        ModelResult {
            task: "ptb-xl/rhythm".into(),
            split: "test".into(),
            model: model.into(),
            head: "linear probe".into(),
            fraction: LabelFraction::ALL,
            training_records: 16832,
            seeds: vec![("fraction".into(), 0)],
            selection: Selection {
                split: "validation".into(),
                criterion: "macro AUROC".into(),
                chosen: "C = 0.1".into(),
                value: Some(0.9),
            },
            metrics: evaluate_split(scores, &labels, &[1, 2, 3, 4], &options).unwrap(),
            other: vec![("Challenge score (2 classes)".into(), 0.25)],
        }
    }

    fn rows() -> EncoderRows {
        EncoderRows {
            trained: result("CLEAR", &[0.9, 0.1, 0.2, 0.8, 0.4, 0.9, 0.7, 0.3]),
            random_weights: result("CLEAR", &[0.9, 0.4, 0.8, 0.3, 0.4, 0.9, 0.7, 0.3]),
            made_by: Provenance::default(),
        }
    }

    #[test]
    fn tables_are_aligned_and_show_the_random_encoder() {
        let table = ResultTable::new(vec![rows()]).unwrap();
        let shown = table.to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(
            lines[0],
            "ptb-xl/rhythm, test: 4 records of 4 patients, 2 classes"
        );
        let auroc = lines[1].find("macro AUROC").unwrap();
        assert!(lines[3].starts_with("CLEAR") && lines[3][auroc..].starts_with("1.000 ["));
        assert!(lines[4].starts_with("  random weights"));
        // AF orders 3 of 4 pairs, LBBB 2.5 of 4.
        assert!(lines[4][auroc..].starts_with("0.688 ["), "{shown}");
        let challenge = lines[1].find("Challenge score").unwrap();
        assert_eq!(&lines[4][challenge..], "0.250");
        let classes = table.per_class();
        let lines: Vec<&str> = classes.lines().collect();
        assert_eq!(lines.len(), 4 + 1);
        for name in [
            "AUROC CLEAR, linear probe, 100 %",
            "AUROC random weights, linear probe, 100 %",
        ] {
            assert!(lines[0].contains(name), "{classes}");
        }
        assert!(lines[2].contains("2 (50.0 %) *"), "{classes}");
        assert!(lines[4].starts_with("* fewer than 10 positives"));
        assert_eq!(
            class_table(&table.rows()[0].trained.metrics)
                .lines()
                .count(),
            5 + 1 + 1 + 5
        );
    }

    #[test]
    fn classes_without_a_training_label_are_marked_and_counted() {
        let scores = [0.9, 0.5, 0.2, 0.5, 0.4, 0.5, 0.7, 0.5];
        let labels = [true, false, false, true, false, true, true, false];
        let untrained = EvaluateOptions {
            untrained: vec![false, true],
            ..EvaluateOptions::new(["AF", "LBBB"])
        };
        let mut own = rows();
        for row in [&mut own.trained, &mut own.random_weights] {
            row.metrics = evaluate_split(&scores, &labels, &[1, 2, 3, 4], &untrained).unwrap();
        }
        let table = ResultTable::new(vec![own]).unwrap();
        let shown = table.to_string();
        assert!(
            shown.contains(
                "CLEAR, linear probe, 100 %: 1 of 2 classes have no positive training label"
            ),
            "{shown}"
        );
        let classes = table.per_class();
        assert!(
            classes.contains("0.500 \u{2020}") || classes.contains("] \u{2020}"),
            "{classes}"
        );
        assert!(
            classes.contains("\u{2020} no positive training label"),
            "{classes}"
        );
        let means = &table.rows()[0].trained.metrics.macro_mean;
        assert_eq!((means.auroc.value, means.untrained), (Some(1.0), 1));
    }

    #[test]
    fn results_of_different_splits_are_kept_apart() {
        let mut wrong = rows();
        wrong.random_weights.task = "ptb-xl/form".into();
        let message = ResultTable::new(vec![wrong]).unwrap_err().to_string();
        assert!(message.contains("their tasks differ (ptb-xl/rhythm and ptb-xl/form)"));
        let mut fewer_labels = rows();
        fewer_labels.random_weights.fraction.share = 0.1;
        assert!(ResultTable::new(vec![fewer_labels]).is_err());
        assert!(ResultTable::new(Vec::new()).is_err());
    }

    #[test]
    fn a_stored_table_needs_its_random_rows() {
        let table = ResultTable::new(vec![rows()]).unwrap();
        let mut json = serde_json::to_value(&table).unwrap();
        assert_eq!(
            serde_json::from_value::<ResultTable>(json.clone()).unwrap(),
            table
        );
        json[0].as_object_mut().unwrap().remove("random_weights");
        assert!(serde_json::from_value::<ResultTable>(json).is_err());
    }
}
