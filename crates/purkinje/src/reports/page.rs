//! An evaluation as one HTML page: scores, what stands beside them, and recordings with both reports.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use purkinje_eval::bootstrap::Estimate;
use purkinje_figures::chart::{AxisScale, LineChart, Series};
use purkinje_figures::page::{Page, Table};
use purkinje_store::Store;
use purkinje_train::run_log::{Entry, read_run_log};

use super::{Evaluated, Judged, LabelRow, Row, SENTENCE};
use crate::finetune::read_table;
use crate::model::Model;
use crate::report::drawing;
use crate::run_folder::CONFIG;
use crate::text::{count, printable};
use crate::{Error, Result};

/// Points of a line that are drawn.
const POINTS: usize = 200;
/// What begins the names of the numbers of a step that are no losses.
const BESIDE_LOSSES: [&str; 5] = [
    "learning_rate",
    "gradient_norm",
    "records_per_s",
    "epoch",
    "top",
];

/// The page of an evaluation. The records shown are the best two by ROUGE-L, the two in the middle and the worst two.
///
/// # Errors
/// When a record of the evaluation is not in the store.
pub fn page_of(found: &Evaluated, store: &Store, model: &Model) -> Result<String> {
    let about = model.writer()?.about();
    let mut page = Page::new("Generated reports")
        .summary(&summary(found))
        .note(SENTENCE)
        .text(&about.told());
    for group in &found.groups {
        let title = match group.name.as_str() {
            "all" => format!("All {}", count(group.records, "record")),
            name => format!("Reports in `{name}`: {}", count(group.records, "record")),
        };
        page = page.section(&title).table(&scores(&group.rows));
        if !group.labels.is_empty() {
            page = page.table(&labels(&group.labels));
        }
    }
    page = page.section("Records, by score");
    let rows = (0..store.len()).map(|row| Ok((store.row(row)?.id().to_owned(), row)));
    let rows: HashMap<String, usize> = rows.collect::<Result<_>>()?;
    for (what, own) in shown(&found.records) {
        let row = rows.get(&own.id).ok_or_else(|| {
            Error::invalid(format!(
                "the store {} has no record `{}`",
                store.dir().display(),
                own.id
            ))
        })?;
        let caption = format!(
            "Record {}, one of the two {what}: ROUGE-L {:.1}, score {:.3}, {}{}.",
            printable(&own.id),
            100.0 * own.rouge_l,
            own.report.score,
            count(own.report.tokens, "word piece"),
            if own.report.cut {
                ", cut at the limit"
            } else {
                ""
            }
        );
        let (reference, generated) = in_common(&own.reference, &own.report.report);
        page = page
            .figure(&drawing(store, &store.row(*row)?, None)?, &caption)
            .words("true", reference)
            .words("generated", generated);
    }
    Ok(losses(page, model).finish())
}

/// How the losses of the runs of a model fell: that of its writer, and that of its encoder where that is still there.
fn losses(mut page: Page, model: &Model) -> Page {
    let Some(run) = model.folder().and_then(Path::parent) else {
        return page;
    };
    let encoder = read_table(&run.join(CONFIG)).ok().and_then(|config| {
        let folder = config.get("model")?.as_str()?.to_owned();
        Some(Path::new(&folder).parent()?.to_owned())
    });
    let runs = [
        Some((run.to_owned(), "Training of the writer")),
        encoder.map(|run| (run, "Training of the encoder")),
    ];
    let mut begun = false;
    for (run, title) in runs.into_iter().flatten() {
        // A log that is not there, or of another kind, is no fault of the evaluation.
        let Some(chart) = read_run_log(&run.join("log.jsonl"))
            .ok()
            .and_then(|log| loss_chart(title, &log))
        else {
            continue;
        };
        if !begun {
            page = page.section("Losses");
            begun = true;
        }
        page = page.figure(&chart.draw(), &format!("{title}: every term of the loss, means over stretches of updates; held-out records after each validation."));
    }
    page
}

/// Every term of the loss in training, and the loss of held-out records.
fn loss_chart(title: &str, log: &[Entry]) -> Option<LineChart> {
    let mut terms: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    let mut held_out = Vec::new();
    for entry in log {
        let step = entry.step as f64;
        if let Some(loss) = entry.number("validation_loss") {
            held_out.push((step, loss));
        }
        if entry.event != "train" {
            continue;
        }
        for name in entry.fields.keys() {
            if BESIDE_LOSSES.iter().any(|other| name.starts_with(other)) {
                continue;
            }
            if let Some(value) = entry.number(name) {
                terms.entry(name).or_default().push((step, value));
            }
        }
    }
    let longest = terms.values().map(Vec::len).max()?;
    let stretch = longest.div_ceil(POINTS);
    let mut series: Vec<Series> = Vec::new();
    for (name, points) in terms {
        let means = points.chunks(stretch).map(|own| {
            let mean =
                |of: fn(&(f64, f64)) -> f64| own.iter().map(of).sum::<f64>() / own.len() as f64;
            (mean(|p| p.0), mean(|p| p.1))
        });
        series.push(Series {
            name: name.replace('_', " "),
            points: means.collect(),
        });
    }
    if !held_out.is_empty() {
        series.push(Series {
            name: "held-out loss".to_owned(),
            points: held_out,
        });
    }
    Some(LineChart {
        title: title.to_owned(),
        x_label: "update".to_owned(),
        y_label: "loss".to_owned(),
        y_scale: AxisScale::Log,
        series,
        marked: None,
    })
}

fn summary(found: &Evaluated) -> String {
    let Some(group) = found.groups.first() else {
        return String::new();
    };
    let of = |name: &str| group.rows.iter().find(|row| row.name == name);
    let percent = |row: &Row| format!("{:.1}", 100.0 * row.rouge_l);
    let mut text = String::new();
    if let [written, exchanged, ..] = &group.rows[..] {
        text += &format!(
            "ROUGE-L {} over {}; {} when recordings are exchanged within a language: what remains then was not read from the recording.",
            percent(written),
            count(group.records, "record"),
            percent(exchanged),
        );
    }
    if let Some(constant) = of("best constant") {
        text += &format!(" The best constant reaches {}.", percent(constant));
    }
    text
}

fn percent(value: f64) -> String {
    format!("{:.1}", 100.0 * value)
}

fn scores(rows: &[Row]) -> Table {
    let header = [
        "text", "BLEU-1", "BLEU-4", "ROUGE-L", "95 %", "METEOR", "CIDEr", "exact", "distinct",
        "language", "negated", "cut",
    ];
    let mut table = Table::new(header).caption(
        "Scores in percent but CIDEr and numbers of texts. `language`: in the language of the record's own report. `negated`: deny what it affirms, or affirm what it denies.",
    );
    for row in rows {
        let interval = row.rouge_l_interval;
        let interval = interval.map(|(low, high)| format!("{} – {}", percent(low), percent(high)));
        table = table.row([
            row.name.clone(),
            percent(row.bleu[0]),
            percent(row.bleu[3]),
            percent(row.rouge_l),
            interval.unwrap_or_else(|| "–".to_owned()),
            percent(row.meteor),
            format!("{:.3}", row.cider),
            percent(row.exact),
            row.distinct.to_string(),
            percent(row.right_language),
            percent(row.negation_errors),
            row.cut.to_string(),
        ]);
    }
    table
}

fn labels(rows: &[LabelRow]) -> Table {
    let header = [
        "text",
        "precision",
        "recall",
        "F1",
        "accuracy",
        "AUROC",
        "95 %",
        "F1 of labels",
        "accuracy of labels",
    ];
    let mut table = Table::new(header).caption(
        "What texts say. First the one label of each text beside that of the record's own report (clinical efficacy), then all labels of the record by the scores of its text.",
    );
    let of = |value: &Estimate| value.value.map_or_else(|| "–".to_owned(), percent);
    for row in rows {
        let interval = row.auroc.interval;
        let interval = interval.map(|own| format!("{} – {}", percent(own.low), percent(own.high)));
        table = table.row([
            row.name.clone(),
            percent(row.efficacy.precision),
            percent(row.efficacy.recall),
            percent(row.efficacy.f1),
            percent(row.efficacy.accuracy),
            of(&row.auroc),
            interval.unwrap_or_else(|| "–".to_owned()),
            of(&row.f1),
            percent(row.accuracy),
        ]);
    }
    table
}

/// The best two, the two in the middle and the worst two; of equally good ones those whose ids come first.
fn shown(records: &[Judged]) -> Vec<(&'static str, &Judged)> {
    let mut order: Vec<&Judged> = records.iter().collect();
    order.sort_by(|a, b| {
        b.rouge_l
            .total_cmp(&a.rouge_l)
            .then_with(|| a.id.cmp(&b.id))
    });
    let places = [
        ("best", 0),
        ("middling", (order.len() / 2).saturating_sub(1)),
        ("worst", order.len().saturating_sub(2)),
    ];
    let mut seen = Vec::new();
    let mut all = Vec::new();
    for (what, first) in places {
        for own in order.iter().skip(first).take(2) {
            if !seen.contains(&&own.id) {
                seen.push(&own.id);
                all.push((what, *own));
            }
        }
    }
    all
}

/// A word of a text, and whether the other text has it too.
type Words<'t> = Vec<(&'t str, bool)>;

/// The words of two texts, marked where the other has them too; stops and commas do not count.
fn in_common<'t>(one: &'t str, other: &'t str) -> (Words<'t>, Words<'t>) {
    let bare = |word: &str| {
        let letters = word.chars().filter(|c| c.is_alphanumeric());
        letters.flat_map(char::to_lowercase).collect::<String>()
    };
    let marked = |of: &'t str, by: &str| -> Words<'t> {
        let known: Vec<String> = by.split_whitespace().map(bare).collect();
        let words = of.split_whitespace();
        words
            .map(|word| {
                let own = bare(word);
                (word, !own.is_empty() && known.contains(&own))
            })
            .collect()
    };
    (marked(one, other), marked(other, one))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reports::Report;

    fn judged(id: &str, rouge_l: f64) -> Judged {
        Judged {
            id: id.to_owned(),
            reference: String::new(),
            report: Report {
                report: String::new(),
                score: 0.0,
                tokens: 0,
                cut: false,
            },
            rouge_l,
        }
    }

    #[test]
    fn records_are_shown_by_score_and_none_twice() {
        let records: Vec<Judged> = (0..9)
            .map(|at| judged(&at.to_string(), f64::from(at) / 10.0))
            .collect();
        let ids = |records: &[Judged]| -> Vec<String> {
            shown(records)
                .iter()
                .map(|(_, own)| own.id.clone())
                .collect()
        };
        assert_eq!(ids(&records), ["8", "7", "5", "4", "1", "0"]);
        assert_eq!(ids(&records[..3]), ["2", "1", "0"]);
        assert!(ids(&[]).is_empty());
    }

    #[test]
    fn common_words_are_marked_whatever_stands_behind_them() {
        let (one, other) = in_common("Sinus rhythm. Normal ECG - x", "normal, sinus");
        let marks: Vec<bool> = one.iter().map(|(_, marked)| *marked).collect();
        assert_eq!(marks, [true, false, true, false, false, false]);
        assert!(other.iter().all(|(_, marked)| *marked));
    }
}
