//! The HTML report of the demonstration.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use purkinje_eval::report::ResultTable;
use purkinje_figures::Svg;
use purkinje_figures::chart::{AxisScale, BarChart, BarRow, LineChart, Series};
use purkinje_figures::page::{Page, Table};
use purkinje_figures::paper::{self, Marks, PaperOptions};
use purkinje_record::{Reader, Recording};
use purkinje_store::{Split, Store, Summary};
use purkinje_train::run_log::read_run_log;

use super::{DemoOptions, SIZE};
use crate::beats::View;
use crate::model::Model;
use crate::text::duration;
use crate::{Error, Result};

/// What the demonstration did and measured, as HTML.
pub(super) fn page(
    options: &DemoOptions,
    store: &Store,
    summary: &Summary,
    model: &Model,
    tables: &[ResultTable],
    took: Duration,
) -> Result<String> {
    let count = |split| store.indices(split).len().to_string();
    let about = model.about();
    let outcomes = &summary.info.outcomes;
    let took = duration(took.as_secs_f64());
    let mut page = Page::new("Purkinje: from raw recordings to a diagnosis")
        .summary(&format!(
            "A {} encoder of {} parameters was pre-trained for {} epochs on {} recordings without their labels; \
             classification heads then learned the diagnoses from its frozen vectors. Everything here was computed in {took} \
             by the program that wrote this page.",
            about.title,
            model.network().weights().count(),
            options.epochs,
            count(Split::Train),
        ))
        .facts([
            ("Recordings", "PTB-XL 1.0.3, 100 Hz, 12 leads, 10 s (CC BY 4.0)".to_owned()),
            (
                "Stored / skipped / failed",
                format!("{} / {} / {}", outcomes.ok, outcomes.skipped, outcomes.failed),
            ),
            (
                "Training / validation / test",
                format!("{} / {} / {}", count(Split::Train), count(Split::Val), count(Split::Test)),
            ),
            ("Encoder", format!("{} {SIZE}: {}", about.title, about.summary)),
            ("Seed", options.seed.to_string()),
        ])
        .section("What the model reads")
        .figure(
            &ecg(store)?,
            "A test recording on ECG paper: R-peaks and the borders of the heartbeat tokens are marked.",
        )
        .section("Pre-training")
        .figure(
            &loss_chart(&options.out)?,
            "Mean squared error of the hidden heartbeats; 1.0 is what predicting zeros would give.",
        );
    for table in tables {
        page = evaluated(page, table);
    }
    Ok(page
        .note(
            "The encoder with random weights is evaluated by the same protocol, as the baseline that pre-training must exceed. \
             Intervals are 95 % bootstrap intervals over patients.",
        )
        .section("The same again")
        .code(&format!(
            "purkinje prepare ptb-xl {0}/ptb-xl --out STORE\n\
             purkinje pretrain {4} --data STORE --out RUN --size {SIZE} --batch 32 --epochs {1} --seed {2}\n\
             purkinje probe --model RUN --data STORE --task {3} --head {5}",
            options.out.display(),
            options.epochs,
            options.seed,
            options.tasks.join(","),
            about.name,
            about.frozen_heads.join(",")
        ))
        .finish())
}

fn evaluated(page: Page, table: &ResultTable) -> Page {
    let first = &table.rows()[0].trained;
    let mut summary = Table::new(["encoder", "head", "macro AUROC", "macro AUPRC", "macro F1"]);
    let mut bars = Vec::new();
    let cell = |e: &purkinje_eval::bootstrap::Estimate| match (e.value, &e.interval) {
        (Some(v), Some(i)) => format!("{v:.3} ({:.3}\u{2013}{:.3})", i.low, i.high),
        (Some(v), None) => format!("{v:.3}"),
        _ => "\u{2013}".to_owned(),
    };
    for row in table.rows() {
        for (name, result) in [
            ("pre-trained", &row.trained),
            ("random weights", &row.random_weights),
        ] {
            let mean = &result.metrics.macro_mean;
            let cells = [
                name.to_owned(),
                result.head.clone(),
                cell(&mean.auroc),
                cell(&mean.auprc),
                cell(&mean.f1),
            ];
            summary = summary.row(cells);
            bars.push(BarRow {
                label: format!("{name}, {}", result.head),
                value: mean.auroc.value.unwrap_or(f64::NAN),
                interval: mean.auroc.interval.as_ref().map(|i| (i.low, i.high)),
                is_reference: name == "random weights",
            });
        }
    }
    let mut classes =
        Table::new(["class", "positives", "AUROC", "AUPRC", "prevalence"]).caption(&format!(
            "Pre-trained encoder, {} head, by class.",
            table.rows().last().map_or("", |r| r.trained.head.as_str())
        ));
    if let Some(last) = table.rows().last() {
        for class in &last.trained.metrics.classes {
            classes = classes.row([
                class.class.clone(),
                class.positives.to_string(),
                cell(&class.auroc),
                cell(&class.auprc),
                format!("{:.3}", class.prevalence),
            ]);
        }
    }
    let chart = BarChart {
        title: format!(
            "{}: macro AUROC on {} test records",
            first.task, first.metrics.records
        ),
        x_label: "AUROC, 95 % bootstrap interval over patients".into(),
        origin: 0.5,
        limit: Some(1.0),
        decimals: 3,
        rows: bars,
    };
    page.section(&format!("Evaluated on held-out patients: {}", first.task))
        .figure(
            &chart.draw(),
            "Pre-trained encoder beside the same encoder with random weights.",
        )
        .table(&summary)
        .table(&classes)
}

fn loss_chart(out: &Path) -> Result<Svg> {
    let log = read_run_log(&out.join("run").join("log.jsonl"))
        .map_err(|error| Error::invalid(error.to_string()))?;
    let points = log
        .iter()
        .filter_map(|entry| Some((entry.step as f64, entry.number("loss")?)))
        .collect();
    Ok(LineChart {
        title: "Reconstruction loss".into(),
        x_label: "step".into(),
        y_label: "mean squared error".into(),
        y_scale: AxisScale::Linear,
        series: vec![Series {
            name: "training".into(),
            points,
        }],
        marked: None,
    }
    .draw())
}

fn ecg(store: &Store) -> Result<Svg> {
    let row = store.indices(Split::Test).first().copied().unwrap_or(0);
    let row = store.row(row)?;
    let mut signal = Vec::new();
    row.signal_mv_into(&mut signal);
    let info = store.info();
    let name = format!("PTB-XL {}", row.id());
    let recording = Recording::new(name, info.leads.clone(), info.rate_hz, signal)?;
    let r_peaks: Vec<usize> = row.r_peaks().iter().map(|&p| p.max(0) as usize).collect();
    let recording = Arc::new(recording);
    let reader = Reader::from(Arc::clone(&recording));
    let view = View::of(&reader, &info.preprocess, 0.0).map_err(Error::invalid)?;
    let sample = |s: f64| (s * info.rate_hz).round() as usize;
    let tokens: Vec<(usize, usize, usize)> = view
        .beats
        .iter()
        .filter_map(|beat| {
            let (from, to) = beat.token_s?;
            Some((sample(from), sample(beat.peak_s), sample(to)))
        })
        .collect();
    let marks = Marks {
        r_peaks: &r_peaks,
        tokens: &tokens,
    };
    Ok(paper::draw(&recording, &PaperOptions::default(), &marks))
}
