//! `purkinje demo`: the whole way on the recordings inside the program, nothing precomputed.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args as ClapArgs;
use miette::{IntoDiagnostic, Result, miette};
use purkinje::{Device, Model, PretrainOptions, ProbeOptions, Registry, pretrain};
use purkinje_datasets::import::PtbXl;
use purkinje_eval::report::ResultTable;
use purkinje_figures::chart::{AxisScale, BarChart, BarRow, LineChart, Series};
use purkinje_figures::page::{Page, Table};
use purkinje_figures::paper::{self, Marks, PaperOptions};
use purkinje_signal::Preprocess;
use purkinje_store::{PrepareOptions, Split, Store, Summary, prepare};
use purkinje_train::run_log::read_run_log;

use crate::output::{self, Show as _};
use crate::progress::{self, Bars, duration};

/// Arguments of `demo`.
#[derive(ClapArgs, Debug)]
pub struct Args {
    /// Folder for everything the demonstration makes.
    #[arg(long, default_value = "demo")]
    out: PathBuf,
    /// Passes of pre-training.
    #[arg(long, default_value_t = 25)]
    epochs: usize,
    /// Seed of every random choice.
    #[arg(long, default_value_t = 0)]
    seed: u32,
    /// Label sets to judge on.
    #[arg(long, value_delimiter = ',', default_value = "superdiagnostic")]
    task: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args, registry: &Registry) -> Result<()> {
    let start = Instant::now();
    begin(&args.out)?;
    let source = args.out.join("ptb-xl");
    let records = purkinje::demo::recordings::unpack(&source).shown()?;
    progress::note(format!(
        "{records} recordings of PTB-XL (CC BY 4.0) unpacked into {}",
        source.display()
    ));

    let store_dir = args.out.join("store");
    let summary = prepare(
        &PtbXl::new(&source),
        &Preprocess::clear_ptbxl(),
        &store_dir,
        &PrepareOptions::default(),
        &(),
    )
    .into_diagnostic()?;
    let store = Store::open(&store_dir).into_diagnostic()?;

    let run = args.out.join("run");
    let options = PretrainOptions {
        system: "clear".into(),
        data: store_dir.clone(),
        out: run.clone(),
        size: Some("tiny".into()),
        epochs: Some(args.epochs),
        batch: Some(32),
        seed: Some(u64::from(args.seed)),
        ..PretrainOptions::default()
    };
    pretrain(&options, &Device::cpu(), registry, &Bars).shown()?;
    let model = Model::load_with(&run, &Device::cpu(), registry).shown()?;

    let tables = probe_all(&args, &store, &model)?;
    for table in &tables {
        output::print(&format!("\n{table}"))?;
    }
    let report = args.out.join("report.html");
    let page = report_page(&args, &store, &summary, &model, &tables, start)?;
    output::write_file(&report, page.as_bytes())?;
    output::print(&format!(
        "\n{} in {}. {} test records are few: mind the intervals.\nReport: {}\n",
        "Read, prepared, pre-trained, probed and judged",
        duration(start.elapsed().as_secs_f64()),
        tables[0].rows()[0].trained.metrics.records,
        report.display()
    ))
}

/// A folder that this command made may be made anew; any other is left alone.
fn begin(out: &Path) -> Result<()> {
    const MARK: &str = ".purkinje-demo";
    if out.exists() {
        if !out.join(MARK).exists() {
            return Err(miette!(
                help = "choose another folder with --out",
                "{} exists and was not made by `purkinje demo`",
                out.display()
            ));
        }
        std::fs::remove_dir_all(out).into_diagnostic()?;
    }
    output::write_file(&out.join(MARK), b"")
}

/// Linear and HUG heads on the encoder and on its twin with random weights.
fn probe_all(args: &Args, store: &Store, model: &Model) -> Result<Vec<ResultTable>> {
    let options = ProbeOptions {
        name: Some("CLEAR tiny".into()),
        tasks: args.task.clone(),
        heads: vec!["linear".into(), "hug".into()],
        seed: args.seed,
        ..ProbeOptions::default()
    };
    let found = purkinje::probe(model, store, &options, &Bars).shown()?;
    for classifier in &found.classifiers {
        let folder = format!("{}-{}", classifier.task, classifier.head);
        let saved = classifier
            .model
            .save(&args.out.join(folder), &classifier.made);
        saved.shown()?;
    }
    Ok(found.tables)
}

fn report_page(
    args: &Args,
    store: &Store,
    summary: &Summary,
    model: &Model,
    tables: &[ResultTable],
    start: Instant,
) -> Result<String> {
    let network = model.network();
    let config = network.config().shown()?;
    let count = |split| store.indices(split).len().to_string();
    let mut page = Page::new("Purkinje: from raw recordings to a diagnosis")
        .summary(&format!(
            "A CLEAR encoder of {} parameters was pre-trained for {} epochs on {} recordings without their labels; a linear and \
             a HUG head then learned the diagnoses from its frozen lead vectors. Everything here was computed in {} by \
             the program that wrote this page.",
            network.weights().count(),
            args.epochs,
            count(Split::Train),
            duration(start.elapsed().as_secs_f64()),
        ))
        .facts([
            ("Recordings", "PTB-XL 1.0.3, 100 Hz, 12 leads, 10 s (CC BY 4.0)".to_owned()),
            ("Stored / skipped / failed", format!("{} / {} / {}", summary.info.outcomes.ok, summary.info.outcomes.skipped, summary.info.outcomes.failed)),
            ("Training / validation / test", format!("{} / {} / {}", count(Split::Train), count(Split::Val), count(Split::Test))),
            ("Encoder", format!("{} layers, width {}, {:?} mode", config["depth"], config["embed_dim"], network.compat())),
            ("Seed", args.seed.to_string()),
        ])
        .section("What the model reads")
        .figure(&ecg(store)?, "A test recording on ECG paper: R-peaks and the borders of the heartbeat tokens are marked.")
        .section("Pre-training")
        .figure(&loss_chart(args)?, "Mean squared error of the hidden heartbeats; 1.0 is what predicting zeros would give.");
    for table in tables {
        page = judged(page, table);
    }
    Ok(page
        .note(
            "The encoder with random weights is judged by the same protocol: a score says something only beside it. \
             Intervals are 95 % bootstrap intervals over patients.",
        )
        .section("The same again")
        .code(&format!(
            "purkinje prepare ptb-xl {0}/ptb-xl --out STORE\n\
             purkinje pretrain clear --data STORE --out RUN --size tiny --batch 32 --epochs {1} --seed {2}\n\
             purkinje probe --model RUN --data STORE --task {3} --head linear,hug",
            args.out.display(),
            args.epochs,
            args.seed,
            args.task.join(",")
        ))
        .finish())
}

fn judged(page: Page, table: &ResultTable) -> Page {
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
    page.section(&format!("Judged on held-out patients: {}", first.task))
        .figure(
            &chart.draw(),
            "Pre-trained encoder beside the same encoder with random weights.",
        )
        .table(&summary)
        .table(&classes)
}

fn loss_chart(args: &Args) -> Result<purkinje_figures::Svg> {
    let log = read_run_log(&args.out.join("run").join("log.jsonl")).into_diagnostic()?;
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
    }
    .draw())
}

fn ecg(store: &Store) -> Result<purkinje_figures::Svg> {
    let row = store.indices(Split::Test).first().copied().unwrap_or(0);
    let row = store.row(row).into_diagnostic()?;
    let mut signal = Vec::new();
    row.signal_mv_into(&mut signal);
    let info = store.info();
    let recording = purkinje_record::Recording::new(
        format!("PTB-XL {}", row.id()),
        info.leads.clone(),
        info.rate_hz,
        signal,
    )
    .into_diagnostic()?;
    let r_peaks: Vec<usize> = row.r_peaks().iter().map(|&p| p.max(0) as usize).collect();
    let view = purkinje::beats::View::of(&recording, &info.preprocess, 0.0)
        .map_err(|problem| miette!("{problem}"))?;
    let sample = |s: f64| (s * info.rate_hz).round() as usize;
    let tokens: Vec<(usize, usize, usize)> = view
        .beats
        .iter()
        .filter_map(|beat| {
            let (from, to) = beat.token_s?;
            Some((sample(from), sample(beat.peak_s), sample(to)))
        })
        .collect();
    let options = PaperOptions::default();
    let marks = Marks {
        r_peaks: &r_peaks,
        tokens: &tokens,
    };
    Ok(paper::draw(&recording, &options, &marks))
}
