//! `purkinje prepare`: recordings to a store.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use clap::{Subcommand, ValueEnum};
use miette::{IntoDiagnostic, WrapErr, miette};
use purkinje_record::LeadSet;
use purkinje_signal::Preprocess;
use purkinje_store::import::{Folder, Importer, LabelTable, PtbXl, PtbXlRate};
use purkinje_store::{
    FailureLimit, OUTCOMES_FILE, Outcome, PatientSplit, PrepareOptions, Split, SplitRule, Status,
    Store, StoreError, Summary, prepare, read_outcomes,
};

use crate::output::{self, Table, count, printable};
use crate::progress::{self, Progress};
use crate::system;

/// Failures whose reasons are printed; the table of outcomes has them all.
const REASONS_SHOWN: usize = 5;

/// Options of `prepare`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    source: Source,
}

#[derive(Debug, Subcommand)]
enum Source {
    /// Any folder of WFDB, .npy or .csv recordings, at any depth
    Folder {
        /// The folder
        path: PathBuf,
        /// A table of labels, patients, parts or reports: CSV with a column `id` or `path`
        #[arg(long, value_name = "CSV")]
        labels: Option<PathBuf>,
        /// Name of the label set that the table makes
        #[arg(
            long,
            value_name = "NAME",
            default_value = "labels",
            requires = "labels"
        )]
        task: String,
        #[command(flatten)]
        common: Common,
    },
    /// PTB-XL 1.0.3 as PhysioNet publishes it: the folder of ptbxl_database.csv
    PtbXl {
        /// The folder
        path: PathBuf,
        /// Which of the two published sampling rates is read
        #[arg(long, value_name = "HZ", default_value = "100")]
        rate: Rate,
        /// Count only statements of at least this likelihood in percent [default: count all, as the benchmarks do]
        #[arg(long, value_name = "PERCENT")]
        min_likelihood: Option<f32>,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Rate {
    #[value(name = "100")]
    Hz100,
    #[value(name = "500")]
    Hz500,
}

#[derive(clap::Args, Debug)]
struct Common {
    /// The store: a folder to make, or to continue
    #[arg(short, long, value_name = "STORE")]
    out: PathBuf,
    /// How recordings are preprocessed, by name [default: clear; for PTB-XL at 100 Hz clear-ptbxl]
    #[arg(long, value_name = "NAME", value_parser = super::preset)]
    preset: Option<Preprocess>,
    /// How recordings are preprocessed: a preprocess.json, of a model for instance
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    contract: Option<PathBuf>,
    /// Store just these leads, in this order
    #[arg(long, value_name = "LEADS")]
    leads: Option<LeadSet>,
    /// Divide into train, val and test by patient, even where the source says otherwise
    #[arg(long)]
    resplit: bool,
    /// Seed of the division by patient
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    split_seed: u64,
    /// Share of the patients for validation
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    val_share: f64,
    /// Share of the patients for test
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    test_share: f64,
    /// Records that may fail: a share or a number
    #[arg(long, value_name = "LIMIT", default_value = "5%", value_parser = super::failure_limit)]
    max_failed: FailureLimit,
    /// Replace a store that is there
    #[arg(long)]
    overwrite: bool,
}

/// Prepares a store, or continues to.
pub fn run(args: Args) -> miette::Result<()> {
    match args.source {
        Source::Folder {
            path,
            labels,
            task,
            common,
        } => {
            let table = labels.map(|labels| LabelTable {
                label_set: task,
                ..LabelTable::new(labels)
            });
            let folder = Folder {
                table,
                ..Folder::new(&path)
            };
            make(&folder, &path, Preprocess::clear(), &common)
        }
        Source::PtbXl {
            path,
            rate,
            min_likelihood,
            common,
        } => {
            let (rate, contract) = match rate {
                Rate::Hz100 => (PtbXlRate::Hz100, Preprocess::clear_ptbxl()),
                Rate::Hz500 => (PtbXlRate::Hz500, Preprocess::clear()),
            };
            let source = PtbXl {
                rate,
                min_likelihood,
                ..PtbXl::new(&path)
            };
            make(&source, &path, contract, &common)
        }
    }
}

fn make(
    importer: &dyn Importer,
    source: &Path,
    usual: Preprocess,
    common: &Common,
) -> miette::Result<()> {
    let contract = match (&common.contract, &common.preset) {
        (Some(path), _) => read_contract(path)?,
        (None, Some(preset)) => preset.clone(),
        (None, None) => usual,
    };
    let contract = match &common.leads {
        Some(leads) => contract.with_leads(leads.clone()),
        None => contract,
    };
    let patients = PatientSplit {
        seed: common.split_seed,
        val_share: common.val_share,
        test_share: common.test_share,
    };
    let options = PrepareOptions {
        split: if common.resplit {
            SplitRule::Patients(patients)
        } else {
            SplitRule::Source(patients)
        },
        max_failed: common.max_failed,
        threads: Some(rayon::current_num_threads()),
        overwrite: common.overwrite,
        command: std::env::args().collect::<Vec<_>>().join(" "),
        source: source.display().to_string(),
        ..PrepareOptions::default()
    };
    let watch = Watch::default();
    let result = prepare(importer, &contract, &common.out, &options, &watch);
    watch.finish();
    match result {
        Ok(summary) => output::print(&in_words(&common.out, &summary)?),
        Err(error @ StoreError::TooManyFailed { .. }) => {
            for line in reasons(&common.out)? {
                progress::note(line);
            }
            Err(error).into_diagnostic()
        }
        Err(error @ StoreError::OtherStore { .. }) => {
            Err(miette!(help = "`--overwrite` replaces it", "{error}"))
        }
        Err(error) => Err(error).into_diagnostic(),
    }
}

fn read_contract(path: &Path) -> miette::Result<Preprocess> {
    let text = std::fs::read_to_string(path)
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot read the preprocessing `{}`", path.display()))?;
    Preprocess::from_json(&text)
        .into_diagnostic()
        .wrap_err_with(|| format!("`{}` is not a preprocessing contract", path.display()))
}

/// Shows how the preparation goes.
#[derive(Default)]
struct Watch {
    progress: OnceLock<Progress>,
}

impl Watch {
    fn finish(&self) {
        if let Some(progress) = self.progress.get() {
            progress.finish();
        }
    }
}

impl purkinje_store::Progress for Watch {
    fn begin(&self, total: usize, done: usize) {
        let progress = self
            .progress
            .get_or_init(|| Progress::new("prepare", total, "records"));
        if done > 0 {
            progress::note(format_args!(
                "continuing: {done} of {total} records were done before"
            ));
            progress.resume(done);
        }
    }

    fn record(&self, _: &Outcome) {
        if let Some(progress) = self.progress.get() {
            progress.add(1);
        }
    }

    fn stop(&self) -> bool {
        system::stop_requested()
    }
}

fn in_words(out: &Path, summary: &Summary) -> miette::Result<String> {
    let store = Store::open(out).into_diagnostic()?;
    let info = &summary.info;
    let outcomes = info.outcomes;
    let mut text = format!(
        "{}: {}, {} at {} Hz ({}){}\n\n",
        out.display(),
        count(info.records, "record"),
        count(info.leads.len(), "lead"),
        info.rate_hz,
        info.preprocess.in_words(),
        if summary.resumed_at == outcomes.total() {
            "; it was complete already"
        } else {
            ""
        }
    );
    text += &parts(&store)?.to_string();
    text += &format!(
        "\nof {}: {} stored, {} skipped, {} failed, {} without a file\n",
        count(outcomes.total(), "record"),
        outcomes.ok,
        outcomes.skipped,
        outcomes.failed,
        outcomes.missing
    );
    for line in reasons(out)? {
        text += &format!("  {line}\n");
    }
    text += &format!(
        "what became of each: {}\n",
        out.join(OUTCOMES_FILE).display()
    );
    Ok(text)
}

/// Records of every part, in all and with labels of each task.
pub(super) fn parts(store: &Store) -> miette::Result<Table> {
    let splits: Vec<Split> = Split::ALL
        .into_iter()
        .filter(|split| store.info().splits.get(split).is_some_and(|&n| n > 0))
        .collect();
    let names = splits.iter().map(|split| split.name().to_owned());
    let header = ["", "classes"].map(str::to_owned).into_iter();
    let mut table = Table::new(1, header.chain(names).chain(["in all".to_owned()]));
    let mut line = |name: &str, classes: String, counts: Vec<usize>| {
        let all = counts.iter().sum::<usize>();
        let cells = counts.iter().chain([&all]).map(usize::to_string);
        table.row([name.to_owned(), classes].into_iter().chain(cells));
    };
    let of_split = |split: &Split| store.info().splits.get(split).copied().unwrap_or(0);
    line(
        "records",
        String::new(),
        splits.iter().map(of_split).collect(),
    );
    for set in &store.info().label_sets {
        let counts = splits
            .iter()
            .map(|&split| Ok(store.label_matrix_of(&set.name, split)?.rows.len()))
            .collect::<Result<Vec<usize>, StoreError>>()
            .into_diagnostic()?;
        let classes = set.classes.len().to_string();
        line(&printable(&set.name), classes, counts);
    }
    Ok(table)
}

/// The first reasons for failures, one line each.
fn reasons(out: &Path) -> miette::Result<Vec<String>> {
    let failed: Vec<Outcome> = read_outcomes(out)
        .into_diagnostic()?
        .into_iter()
        .filter(|outcome| outcome.status == Status::Failed)
        .collect();
    let shown = failed.iter().take(REASONS_SHOWN);
    let mut lines: Vec<String> = shown
        .map(|outcome| printable(&format!("{}: {}", outcome.id, outcome.reason)))
        .collect();
    if failed.len() > REASONS_SHOWN {
        lines.push(format!("... and {} more", failed.len() - REASONS_SHOWN));
    }
    Ok(lines)
}
