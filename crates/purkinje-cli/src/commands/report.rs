//! `purkinje report`: trains what writes reports from recordings, writes them, and scores them.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use miette::{IntoDiagnostic as _, miette};
use purkinje::eval::bootstrap::Estimate;
use purkinje::eval::text::TextPair;
use purkinje::figures::raster;
use purkinje::inputs::{Input, ReadOptions, StoreRows, list, told};
use purkinje::made::{Made, PROGRAM, lines, provenance};
use purkinje::prompts::read_prompts;
use purkinje::record::LeadChoice;
use purkinje::reports::{
    DecoderKind, Evaluated, Judging, LabelRow, Labelling, Row, SENTENCE, Select, TrainOptions,
    WriteOptions, evaluate_reports, page_of, picture, read_pairs, scores_of_pairs, train_writer,
    write_reports, write_table,
};
use purkinje::store::{FailureLimit, Split, Store};
use purkinje::{Device, Level, Model, Registry};

use super::embed::stores_of;
use super::predict::Pictures;
use super::{ReadArgs, UnusableRecords, WindowArgs};
use crate::output::{self, Show as _, Table, count, printable};
use crate::progress::Bars;

/// Options of `report`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Train what writes reports from the vectors of an encoder, which does not change; the folder `model` of --out is the encoder with its
    /// writer
    Train(Box<TrainArgs>),
    /// Write the reports of recordings or stores
    Generate(GenerateArgs),
    /// Score written reports against those of a store, beside texts that were not written for the recording; or the pairs of a file
    Evaluate(EvaluateArgs),
}

#[derive(clap::Args, Debug)]
struct TrainArgs {
    /// Folder of the encoder, or of the run that made it
    #[arg(long, value_name = "RUN")]
    model: PathBuf,
    /// Prepared store with reports and splits
    #[arg(long, value_name = "STORE")]
    data: PathBuf,
    /// Folder of the run
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Text column of the store [default: the report]
    #[arg(long, value_name = "NAME", default_value = "")]
    text: String,
    /// What writes: gpt2, or r2gen, whose norms follow a memory of what was written
    #[arg(long, value_name = "NAME", default_value = "gpt2", value_parser = super::by_name::<DecoderKind>)]
    decoder: DecoderKind,
    /// Size of a decoder with random weights: tiny, small, and distil (six layers of 768) for gpt2 or published (three of 512) for r2gen
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "small",
        conflicts_with = "decoder_model"
    )]
    decoder_size: String,
    /// Folder of a GPT-2 as Hugging Face lays it out, to start from; what it lacks (attention to the recording) is random
    #[arg(long, value_name = "DIR")]
    decoder_model: Option<PathBuf>,
    /// Which vector of a recording, where the encoder has several, such as mix or align [default: that of the model]
    #[arg(long, value_name = "NAME")]
    feature: Option<String>,
    /// What the decoder attends to: the vector of the recording, or all at another level that the encoder has (lead, beat, group or token)
    /// [default: recording; for r2gen token, where the encoder has them]
    #[arg(long, value_name = "LEVEL", value_parser = super::by_name::<Level>)]
    level: Option<Level>,
    /// Texts without recordings that the decoder learns first: a .csv, .tsv or .parquet table, or a file with a text in each line
    #[arg(long, value_name = "FILE")]
    text_only: Option<PathBuf>,
    /// What the kept weights are chosen by: loss, or bleu4 of reports that are written for held-out recordings
    #[arg(long, default_value = "loss", value_parser = super::by_name::<Select>)]
    select: Select,
    /// Word pieces of the longest report; longer ones lose their end
    #[arg(long, default_value_t = 256, value_name = "N")]
    max_tokens: usize,
    /// Epochs
    #[arg(long, default_value_t = 10)]
    epochs: usize,
    /// Highest learning rate
    #[arg(long, default_value_t = 1e-3)]
    lr: f64,
    /// Reports of a batch
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Seed of every random choice
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Continue the stopped run in --out from its checkpoint
    #[arg(long)]
    resume: bool,
    /// Device: cpu, or cuda, cuda:1, vulkan, metal, webgpu or rocm if built in
    #[arg(long, default_value = "cpu")]
    device: Device,
}

/// How reports are written.
#[derive(clap::Args, Debug)]
struct WriteArgs {
    /// Sequences followed at a time; 1 takes the most likely word piece at each step
    #[arg(long, default_value_t = 3, value_name = "N")]
    beams: usize,
    /// What sums of log-probabilities are divided by: the number of word pieces to this power
    #[arg(long, default_value_t = 1.0, value_name = "P")]
    length_penalty: f64,
    /// Word pieces of the longest report [default: as long as it learned]
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// Recordings that are written at once
    #[arg(long, default_value_t = 16)]
    batch: usize,
}

impl WriteArgs {
    fn options(&self) -> WriteOptions {
        WriteOptions {
            beams: self.beams,
            length_penalty: self.length_penalty,
            max_tokens: self.max_tokens,
            batch: self.batch,
        }
    }
}

#[derive(clap::Args, Debug)]
struct GenerateArgs {
    /// Recordings, folders of recordings, or stores
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Folder of a model that writes, or of the run that made it
    #[arg(long, value_name = "RUN")]
    model: PathBuf,
    /// File to write: .jsonl, .csv or .parquet
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Write a picture of each recording with its report to this folder, as SVG and PNG
    #[arg(long, value_name = "DIR")]
    figure: Option<PathBuf>,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    windows: WindowArgs,
    #[command(flatten)]
    read: ReadArgs,
    /// Largest percentage or number of recordings that may fail
    #[arg(long, value_name = "LIMIT", default_value = "5%", value_parser = super::failure_limit)]
    max_failed: FailureLimit,
    /// Device: cpu, or cuda, cuda:1, vulkan, metal, webgpu or rocm if built in
    #[arg(long, default_value = "cpu")]
    device: Device,
}

#[derive(clap::Args, Debug)]
#[command(group(clap::ArgGroup::new("source").required(true).args(["model", "reports"])))]
struct EvaluateArgs {
    /// Folder of a model that writes, or of the run that made it
    #[arg(long, value_name = "RUN", requires = "data")]
    model: Option<PathBuf>,
    /// Prepared store with reports
    #[arg(long, value_name = "STORE", requires = "model")]
    data: Option<PathBuf>,
    /// Split of the store: train, val, test, or none of them
    #[arg(long, default_value = "test", value_parser = super::by_name::<Split>)]
    split: Split,
    /// A .csv table with the columns id, reference and generated, by whoever wrote them, instead of a model
    #[arg(long, value_name = "FILE")]
    reports: Option<PathBuf>,
    /// Also score texts that were not written for the recording: the most frequent training report, the best constant, a random one, that of
    /// the nearest training recording, and an oracle that knows the labels
    #[arg(long, requires = "model")]
    baselines: bool,
    /// Another model by whose vectors the nearest training recording is found as well, such as one that was trained on labels
    #[arg(long, value_name = "RUN", requires = "baselines")]
    nearest_by: Option<PathBuf>,
    /// Store with the same records that the other model reads [default: --data]
    #[arg(long, value_name = "STORE", requires = "nearest_by")]
    nearest_data: Option<PathBuf>,
    /// Sentences of labels: what texts say is scored too, by the sentences that each is most like
    #[arg(long, value_name = "FILE", requires = "model")]
    prompts: Option<PathBuf>,
    /// Model whose text branch compares texts and sentences; it must have learned nothing from generated reports [default: --model]
    #[arg(long, value_name = "RUN", requires = "prompts")]
    text_branch: Option<PathBuf>,
    /// Label set of the store that texts are scored against
    #[arg(
        long,
        value_name = "NAME",
        requires = "prompts",
        default_value = "superdiagnostic"
    )]
    task: String,
    /// Bootstrap resamples for the 95 % intervals
    #[arg(long, default_value_t = 1000)]
    resamples: usize,
    /// Seed of all draws
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder to write results.json and every report to
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    write: WriteArgs,
    /// Device: cpu, or cuda, cuda:1, vulkan, metal, webgpu or rocm if built in
    #[arg(long, default_value = "cpu")]
    device: Device,
}

/// Runs the command.
pub fn run(args: Args, registry: &Registry) -> miette::Result<()> {
    match args.action {
        Action::Train(args) => train(&args, registry),
        Action::Generate(args) => generate(&args, registry),
        Action::Evaluate(args) => evaluate(&args, registry),
    }
}

fn train(args: &TrainArgs, registry: &Registry) -> miette::Result<()> {
    let model = Model::load_with(&args.model, &args.device, registry).shown()?;
    let store = Store::open(&args.data).shown()?;
    let options = TrainOptions {
        text: args.text.clone(),
        size: args.decoder_size.clone(),
        decoder: args.decoder,
        decoder_model: args.decoder_model.clone(),
        max_tokens: args.max_tokens,
        text_only: args.text_only.clone(),
        select: args.select,
        epochs: args.epochs,
        lr: args.lr,
        batch: args.batch,
        seed: args.seed,
        feature: args.feature.clone(),
        level: args.level,
    };
    let run = (args.out.as_path(), args.resume);
    let found = train_writer(&model, &store, &options, run, &Bars).shown()?;
    let folder = args.out.join("model");
    let sentence = format!(
        "{PROGRAM} report train: a writer of reports for {}, {} epochs, seed {}",
        super::last_part(&args.model),
        args.epochs,
        args.seed
    );
    let made_by = provenance(&Bars, Some(&model), Some(&store));
    let made = Made {
        how: [vec![sentence], lines(&made_by)].concat(),
        ..Made::default()
    };
    let made = made.from_model(&model);
    found.model.save(&folder, made).shown()?;
    let about = found.model.writer().shown()?.about().told();
    output::print(&format!(
        "{}: writes reports. {about}\n{SENTENCE}\n",
        printable(&folder.display().to_string())
    ))
}

fn generate(args: &GenerateArgs, registry: &Registry) -> miette::Result<()> {
    let model = Model::load_with(&args.model, &args.device, registry).shown()?;
    model.writer().shown()?;
    let stores = stores_of(&args.inputs)?;
    let rows = stores.iter().map(|store| {
        let store = store.as_ref();
        store
            .map(|store| StoreRows::new(&model, store, None, false))
            .transpose()
    });
    let rows = rows.collect::<Result<Vec<_>, _>>().shown()?;
    let mut inputs = Vec::new();
    for (path, rows) in args.inputs.iter().zip(&rows) {
        match rows {
            None => {
                let files = list(path).shown()?;
                let names = told(&files);
                inputs.extend(names.into_iter().zip(files.into_iter().map(Input::File)));
            }
            Some(rows) => {
                for row in 0..rows.store().len() {
                    let id = rows.store().row(row).into_diagnostic()?.id().to_owned();
                    inputs.push((id, Input::Row(rows, row)));
                }
            }
        }
    }
    let records = inputs.len();
    let allowed = super::allowed(args.max_failed, records);
    let read = ReadOptions {
        open: args.read.options(LeadChoice::Voltages),
        ..args.windows.options().into()
    };
    let own: Vec<Input<'_>> = inputs.iter().map(|(_, input)| input.clone()).collect();
    let found = write_reports(&model, inputs, read, &args.write.options(), &Bars).shown()?;
    let (mut reports, mut failures) = (Vec::new(), Vec::new());
    let mut drawn = Vec::new();
    for (found, input) in found.into_iter().zip(&own) {
        match found {
            Ok(report) => {
                drawn.push(input);
                reports.push(report);
            }
            Err(error) => failures.push(error.to_string()),
        }
    }
    super::report(&failures, records, allowed)?;
    let mut unusable = UnusableRecords::default();
    for own in &reports {
        unusable.add(&own.recording, own.unusable_because.as_deref());
    }
    unusable.warn(records);
    write_table(&args.out, &reports).shown()?;
    if let Some(folder) = &args.figure {
        let mut pictures = Pictures::default();
        for (report, input) in reports.iter().zip(drawn) {
            let name = Path::new(&report.recording).file_stem();
            let name = name.unwrap_or_default().to_string_lossy();
            let drawn = picture(input, &report.report).shown()?;
            pictures.save(&name, &drawn, raster::CRISP_DPI / 2.0, folder)?;
        }
    }
    let cut = reports.iter().filter(|own| own.report.cut).count();
    let mut text = String::new();
    for own in reports.iter().take(3) {
        let name = printable(&own.recording);
        text += &format!("{name}: {}\n", printable(&own.report.report));
    }
    output::print(&format!(
        "{text}{}: {} of {}{}{}\n{SENTENCE}\n",
        args.out.display(),
        count(reports.len(), "report"),
        count(records, "recording"),
        match failures.len() {
            0 => String::new(),
            n => format!(", {n} left out"),
        },
        match cut {
            0 => String::new(),
            n => format!(", {n} cut at the limit of their length"),
        },
    ))
}

fn evaluate(args: &EvaluateArgs, registry: &Registry) -> miette::Result<()> {
    if let Some(path) = &args.reports {
        return pairs(path, args.out.as_deref());
    }
    let (Some(folder), Some(data)) = (&args.model, &args.data) else {
        return Err(miette!("give `--model` with `--data`, or `--reports`"));
    };
    let model = Model::load_with(folder, &args.device, registry).shown()?;
    let store = Store::open(data).shown()?;
    let load = |folder: &Option<PathBuf>| {
        let found = folder
            .as_ref()
            .map(|own| Model::load_with(own, &args.device, registry));
        found.transpose().shown()
    };
    let (other, branch) = (load(&args.nearest_by)?, load(&args.text_branch)?);
    let others = args
        .nearest_data
        .as_ref()
        .map(Store::open)
        .transpose()
        .shown()?;
    let prompts = args
        .prompts
        .as_deref()
        .map(read_prompts)
        .transpose()
        .shown()?;
    let judging = Judging {
        baselines: args.baselines,
        nearest_by: other
            .as_ref()
            .map(|own| (own, others.as_ref().unwrap_or(&store))),
        labelling: prompts.as_ref().map(|prompts| Labelling {
            model: branch.as_ref().unwrap_or(&model),
            prompts,
            task: &args.task,
        }),
        resamples: args.resamples,
        seed: args.seed,
    };
    let how = args.write.options();
    let found = evaluate_reports(&model, &store, args.split, &how, judging, &Bars).shown()?;
    let text = tables(&found);
    if let Some(out) = &args.out {
        std::fs::create_dir_all(out).into_diagnostic()?;
        let json = output::json_made_by(&found, Some(&model), Some(&store))?;
        output::write_file(&out.join("results.json"), json.as_bytes())?;
        let made_by = provenance(&Bars, Some(&model), Some(&store));
        output::write_file(
            &out.join("tables.txt"),
            format!("{text}{made_by}\n").as_bytes(),
        )?;
        let page = page_of(&found, &store, &model).shown()?;
        output::write_file(&out.join("report.html"), page.as_bytes())?;
    }
    let told = model.writer().shown()?.about().told();
    output::print(&format!("{text}{told}\n{SENTENCE}\n"))
}

/// What was found, a table for each group.
fn tables(found: &Evaluated) -> String {
    let percent = |value: f64| format!("{:.2} ", 100.0 * value);
    let mut text = String::new();
    for group in &found.groups {
        let header = [
            "text", "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "[95 %]", "Unicode",
            "METEOR", "CIDEr", "exact", "distinct", "language", "negated", "words", "repeated",
            "cut",
        ];
        let mut table = Table::new(1, header);
        for row in &group.rows {
            let mut cells = vec![row.name.clone()];
            cells.extend(row.bleu.map(percent));
            cells.push(percent(row.rouge_l));
            cells.push(interval(row));
            cells.extend([percent(row.rouge_l_unicode), percent(row.meteor)]);
            cells.push(format!("{:.3} ", row.cider));
            cells.extend([percent(row.exact), format!("{} ", row.distinct)]);
            cells.extend([percent(row.right_language), percent(row.negation_errors)]);
            cells.extend([format!("{:.1} ", row.words), percent(row.repeated)]);
            cells.push(format!("{} ", row.cut));
            table.row(cells);
        }
        text += &format!(
            "{}: {}\n{table}\n",
            group.name,
            count(group.records, "record")
        );
        if !group.labels.is_empty() {
            text += &format!(
                "{}, what texts say\n{}\n",
                group.name,
                labels(&group.labels)
            );
        }
    }
    text + "In percent but CIDEr, numbers of texts and words. `Unicode` is ROUGE-L over letters of all scripts; `language` the share of texts in the language of the reference.\n"
}

/// What texts say: the one label of each text beside that of the record's own report, and all labels of the record.
fn labels(rows: &[LabelRow]) -> Table {
    let percent = |value: f64| format!("{:.2} ", 100.0 * value);
    let estimate = |own: &Estimate| own.value.map_or_else(|| "- ".to_owned(), percent);
    let header = [
        "text",
        "precision",
        "recall",
        "F1",
        "accuracy",
        "records",
        "AUROC",
        "[95 %]",
        "F1 of labels",
        "accuracy of labels",
    ];
    let mut table = Table::new(1, header);
    for row in rows {
        let own = &row.efficacy;
        let mut cells = vec![row.name.clone()];
        cells.extend([own.precision, own.recall, own.f1, own.accuracy].map(percent));
        cells.extend([format!("{} ", row.records), estimate(&row.auroc)]);
        cells.push(row.auroc.interval.map_or_else(String::new, |own| {
            format!("{:.2}-{:.2} ", 100.0 * own.low, 100.0 * own.high)
        }));
        cells.extend([estimate(&row.f1), percent(row.accuracy)]);
        table.row(cells);
    }
    table
}

fn interval(row: &Row) -> String {
    row.rouge_l_interval
        .map_or_else(String::new, |(low, high)| {
            format!("{:.2}-{:.2} ", 100.0 * low, 100.0 * high)
        })
}

/// Scores the pairs of a table.
fn pairs(path: &Path, out: Option<&Path>) -> miette::Result<()> {
    let rows = read_pairs(path).shown()?;
    let pairs: Vec<TextPair<'_>> = rows
        .iter()
        .map(|[id, reference, generated]| TextPair {
            id,
            reference,
            generated,
        })
        .collect();
    let found = scores_of_pairs(&pairs).shown()?;
    let means = &found.means;
    let percent = |value: f64| format!("{:.2} ", 100.0 * value);
    let mut table = Table::new(1, ["score", "mean"]);
    for (at, bleu) in means.bleu.iter().enumerate() {
        table.row([format!("BLEU-{}", at + 1), percent(*bleu)]);
    }
    for (name, value) in [
        ("ROUGE-L", percent(means.rouge_l.f1)),
        ("ROUGE-L, all scripts", percent(means.rouge_l_unicode.f1)),
        ("METEOR", percent(means.meteor)),
        ("CIDEr", format!("{:.3} ", means.cider)),
        ("exact", format!("{} ", found.exact_matches)),
        ("distinct", format!("{} ", found.distinct_generated)),
        (
            "with negation errors",
            format!("{} ", found.pairs_with_negation_errors),
        ),
        ("words", format!("{:.1} ", means.generated_words)),
    ] {
        table.row([name.to_owned(), value]);
    }
    if let Some(out) = out {
        std::fs::create_dir_all(out).into_diagnostic()?;
        let json = output::json_made_by(&found, None, None)?;
        output::write_file(&out.join("results.json"), json.as_bytes())?;
    }
    output::print(&format!(
        "{}\n{table}\nIn percent but CIDEr and numbers.\n",
        count(pairs.len(), "pair")
    ))
}
