//! `purkinje prepare`: preprocesses recordings into a store.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use clap::builder::{PossibleValue, PossibleValuesParser};
use miette::{IntoDiagnostic, WrapErr, miette};
use purkinje::datasets::import::{
    ImportOptions, Importer, LabelTable, TableColumns, data_sets, importer, usual_preprocess,
};
use purkinje::record::{LeadChoice, LeadSet, OpenOptions};
use purkinje::signal::Preprocess;
use purkinje::signal::windows::Take;
use purkinje::store::{
    FailureLimit, Ids, OUTCOMES_FILE, Outcome, PatientSplit, PrepareOptions, QualityFilter, Split,
    SplitRule, Status, Store, StoreError, Summary, prepare, read_outcomes,
};

use super::{ReadArgs, UnusableRecords};
use crate::output::{self, Show as _, Table, count, printable};
use crate::progress::{self, Progress};
use crate::system;

/// Number of failures whose reasons are printed; the table of outcomes has all.
const REASONS_SHOWN: usize = 5;

/// Shortest secret accepted for hashing patient identifiers.
const MIN_SALT_BYTES: usize = 16;

/// Options of `prepare`.
#[derive(clap::Args, Debug)]
#[command(after_help = "`purkinje data-sets` lists the data sets with their splits and options.")]
pub struct Args {
    /// Name of a data set, or `folder` for your own recordings
    #[arg(value_name = "DATA_SET", value_parser = data_set_names(), hide_possible_values = true)]
    data_set: String,
    /// Folder of the data set, as downloaded
    path: PathBuf,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    common: Common,
    /// Only for `folder`
    #[command(flatten)]
    read: ReadArgs,
}

fn data_set_names() -> PossibleValuesParser {
    PossibleValuesParser::new(
        data_sets()
            .iter()
            .map(|set| PossibleValue::new(set.name).help(set.about)),
    )
}

/// Options of the data set.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Options of the data set")]
struct SourceArgs {
    /// Which of the published sampling rates to read (ptb-xl: 100 or 500)
    #[arg(long, value_name = "HZ")]
    rate: Option<u32>,
    /// Name of a published split into train, val and test
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// mimic-iv-ecg: leave out records whose report has fewer words
    #[arg(long, value_name = "N")]
    min_report_words: Option<usize>,
    /// ptb-xl: use only statements of at least this likelihood in percent [default: use all, as the benchmarks do]
    #[arg(long, value_name = "PERCENT")]
    min_likelihood: Option<f32>,
    /// code-15, code-test, sami-trop: keep the zero padding of tracings that are stored in arrays of one length
    #[arg(long)]
    keep_padding: bool,
    /// code-15, sami-trop: horizon in years of the label of death, which also names its label set (`death-2y`)
    /// [default: 2]
    #[arg(long, value_name = "YEARS")]
    horizon_years: Option<f32>,
    /// folder: a table of labels, patients, splits or reports, CSV or Parquet with a column `id` or `path`
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// folder: name of a column of the table, such as `patient=MRN`; meanings are id, path, labels, class, patient,
    /// split, fold, report, value
    #[arg(long, value_name = "MEANING=COLUMN", requires = "table", value_parser = column)]
    column: Vec<(String, String)>,
    /// folder: name of the label set made from the table
    #[arg(long, value_name = "NAME", default_value = "labels")]
    task: String,
    /// folder: a file with a secret; patients named in DICOM, EDF, SCP-ECG and XML files are told apart by salted hashes, and
    /// without it their names are dropped
    #[arg(long, value_name = "FILE")]
    patient_salt: Option<PathBuf>,
}

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Options of the store")]
struct Common {
    /// Folder of the store to write, or to continue
    #[arg(short, long, value_name = "STORE")]
    out: PathBuf,
    /// Preset of preprocessing [default: that of the data set, see `purkinje data-sets`]
    #[arg(long, value_name = "NAME", value_parser = super::preset)]
    preset: Option<Preprocess>,
    /// Preprocessing as a preprocess.json file, for instance that of a model
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    contract: Option<PathBuf>,
    /// Store only these leads, in this order
    #[arg(long, value_name = "LEADS")]
    leads: Option<LeadSet>,
    /// Split into train, val and test by patient, even where the data set has its own split
    #[arg(long, conflicts_with = "split")]
    resplit: bool,
    /// Seed of the split by patient
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    split_seed: u64,
    /// Fraction of the patients for the validation split
    #[arg(long, value_name = "FRACTION", default_value_t = 0.1)]
    val_share: f64,
    /// Fraction of the patients for the test split
    #[arg(long, value_name = "FRACTION", default_value_t = 0.1)]
    test_share: f64,
    /// Largest percentage or number of records that may fail
    #[arg(long, value_name = "LIMIT", default_value = "5%", value_parser = super::failure_limit)]
    max_failed: FailureLimit,
    /// Skip recordings whose signal quality does not keep these limits, such as
    /// `flat=0,missing=10%,limb=ok,noise_mv=0.05`; outcomes.csv lists them with reasons
    #[arg(long, value_name = "FILTER")]
    quality: Option<QualityFilter>,
    /// Windows of the recordings that become rows: all, first, or a number of them, spread evenly; as long as the preprocessing
    /// states, otherwise 10 s [default: one row a recording, of what the preprocessing takes of it]
    #[arg(long, value_name = "WHICH")]
    windows: Option<Take>,
    /// Prepare only part I of N, to use several processes or machines: the shares follow each other and differ by one record at most; `purkinje
    /// store merge` merges the parts
    #[arg(long, value_name = "I/N", value_parser = part)]
    shard: Option<(usize, usize)>,
    /// Replace an existing store
    #[arg(long)]
    overwrite: bool,
    /// How records are called: path (and by a number where the path holds the name, number or birth date of the patient that the file states),
    /// number, or hash (of the path, with `--patient-salt`); with number and hash no path is kept
    #[arg(long, value_name = "HOW", default_value = "path", value_parser = ["path", "number", "hash"])]
    ids: String,
    /// Table to write of what each record is called and its path, for those who may know
    #[arg(long, value_name = "FILE", conflicts_with = "shard")]
    id_map: Option<PathBuf>,
}

/// `meaning=column`.
fn column(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((meaning, column)) if !meaning.is_empty() && !column.is_empty() => {
            Ok((meaning.trim().to_owned(), column.trim().to_owned()))
        }
        _ => Err("expected MEANING=COLUMN, such as patient=MRN".to_owned()),
    }
}

/// `i/n`, from 1.
fn part(text: &str) -> Result<(usize, usize), String> {
    let wrong = || format!("found `{text}`, expected I/N with I from 1 to N, such as 2/8");
    let (number, of) = text.split_once('/').ok_or_else(wrong)?;
    match (number.trim().parse(), of.trim().parse()) {
        (Ok(number), Ok(of)) if (1..=of).contains(&number) => Ok((number, of)),
        _ => Err(wrong()),
    }
}

/// Runs the command.
pub fn run(args: Args) -> miette::Result<()> {
    let options = args.source.options(&args.read)?;
    let ids = match (&*args.common.ids, &options.patient_salt) {
        ("number", _) => Ids::Number,
        ("hash", Some(salt)) => Ids::Hash(salt.clone()),
        ("hash", None) => {
            return Err(miette!(
                "`--ids hash` needs a secret; give a file with `--patient-salt`"
            ));
        }
        _ => Ids::Path,
    };
    let importer = importer(&args.data_set, args.path.clone(), &options).into_diagnostic()?;
    let usual = usual_preprocess(&args.data_set, &options).into_diagnostic()?;
    make(importer.as_ref(), &args.path, usual, &args.common, ids)
}

impl SourceArgs {
    fn options(&self, read: &ReadArgs) -> miette::Result<ImportOptions> {
        let input = read.options(LeadChoice::All);
        let table = match &self.table {
            Some(path) => Some(LabelTable {
                label_set: self.task.clone(),
                columns: columns(&self.column)?,
                ..LabelTable::new(path)
            }),
            None => None,
        };
        Ok(ImportOptions {
            rate_hz: self.rate,
            split: self.split.clone(),
            min_likelihood: self.min_likelihood,
            min_report_words: self.min_report_words,
            keep_padding: self.keep_padding,
            horizon_years: self.horizon_years,
            table,
            input: (input != OpenOptions::default()).then_some(input),
            patient_salt: self.patient_salt.as_deref().map(read_salt).transpose()?,
        })
    }
}

/// The columns of a table by meaning.
fn columns(named: &[(String, String)]) -> miette::Result<TableColumns> {
    let mut columns = TableColumns::default();
    for (meaning, column) in named {
        let one = match meaning.as_str() {
            "id" => &mut columns.id,
            "path" => &mut columns.path,
            "labels" => &mut columns.labels,
            "patient" => &mut columns.patient,
            "split" => &mut columns.split,
            "fold" => &mut columns.fold,
            "report" => &mut columns.report,
            "class" => {
                columns.classes.push(column.clone());
                continue;
            }
            "value" => {
                columns.values.push(column.clone());
                continue;
            }
            _ => {
                return Err(miette!(
                    "`--column {meaning}={column}`: unknown meaning `{meaning}`, expected id, path, labels, class, patient, split, fold, report or value"
                ));
            }
        };
        if one.replace(column.clone()).is_some() {
            return Err(miette!(
                "`--column` names two columns for `{meaning}`, expected one"
            ));
        }
    }
    Ok(columns)
}

/// The secret in a file, without surrounding whitespace.
fn read_salt(path: &Path) -> miette::Result<String> {
    let salt = std::fs::read_to_string(path)
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot read the salt `{}`", path.display()))?;
    let salt = salt.trim();
    if salt.len() < MIN_SALT_BYTES {
        return Err(miette!(
            "the salt in `{}` has {} characters, expected at least {MIN_SALT_BYTES}, so that patients cannot be found by guessing it; use a longer secret",
            path.display(),
            salt.len()
        ));
    }
    Ok(salt.to_owned())
}

fn make(
    importer: &dyn Importer,
    source: &Path,
    usual: Preprocess,
    common: &Common,
    ids: Ids,
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
        quality: common.quality.clone().unwrap_or_default(),
        windows: common.windows,
        threads: Some(rayon::current_num_threads()),
        shard: common.shard,
        overwrite: common.overwrite,
        ids,
        id_map: common.id_map.clone(),
        command: command(std::env::args()),
        source: source.display().to_string(),
        ..PrepareOptions::default()
    };
    let watch = Watch::new("prepare");
    let result = prepare(importer, &contract, &common.out, &options, &watch);
    watch.finish();
    match result {
        Ok(summary) if common.shard.is_some() => output::print(&part_in_words(common, &summary)),
        Ok(summary) => output::print(&in_words(&common.out, &summary)?),
        Err(error @ StoreError::TooManyFailed { .. }) if common.shard.is_none() => {
            for line in reasons(&common.out)? {
                progress::note(line);
            }
            Err(error).shown()
        }
        Err(error @ StoreError::OtherStore { .. }) => Err(miette!(
            help = "replace it with `--overwrite`, or choose another `--out`",
            "{error}"
        )),
        Err(error) => Err(error).shown(),
    }
}

/// The command line recorded in the store, without `--shard`, so that it is the same for every part.
fn command(args: impl Iterator<Item = String>) -> String {
    let mut kept = Vec::new();
    let mut args = args.peekable();
    while let Some(arg) = args.next() {
        if arg == "--shard" {
            args.next();
        } else if !arg.starts_with("--shard=") {
            kept.push(arg);
        }
    }
    kept.join(" ")
}

fn read_contract(path: &Path) -> miette::Result<Preprocess> {
    let text = std::fs::read_to_string(path)
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot read the preprocessing `{}`", path.display()))?;
    Preprocess::from_json(&text)
        .into_diagnostic()
        .wrap_err_with(|| format!("`{}` does not describe preprocessing", path.display()))
}

/// Shows the progress of what goes over the records of a source or store.
pub(super) struct Watch {
    name: &'static str,
    progress: OnceLock<Progress>,
}

impl Watch {
    pub(super) fn new(name: &'static str) -> Self {
        Watch {
            name,
            progress: OnceLock::new(),
        }
    }

    pub(super) fn finish(&self) {
        if let Some(progress) = self.progress.get() {
            progress.finish();
        }
    }
}

impl purkinje::store::Progress for Watch {
    fn begin(&self, total: usize, done: usize) {
        let progress = self
            .progress
            .get_or_init(|| Progress::new(self.name, total, "records"));
        if done > 0 {
            progress::note(format_args!(
                "continuing: {done} of {total} records are already done"
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

fn part_in_words(common: &Common, summary: &Summary) -> String {
    let (number, of) = common.shard.unwrap_or((1, 1));
    let outcomes = summary.info.outcomes;
    format!(
        "{}: part {number} of {of} is complete: {} stored, {} skipped, {} failed, {} without a file\nwhen all parts are complete, run: purkinje store merge {} OTHER_PARTS --out STORE\n",
        common.out.display(),
        outcomes.ok,
        outcomes.skipped,
        outcomes.failed,
        outcomes.missing,
        common.out.display(),
    )
}

fn in_words(out: &Path, summary: &Summary) -> miette::Result<String> {
    let store = Store::open(out).shown()?;
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
            "; it was already complete"
        } else {
            ""
        }
    );
    text += &split_table(&store)?.to_string();
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
    let mut unusable = UnusableRecords::default();
    for row in store.rows() {
        let reason = row.usable(info.rate_hz).err().map(|why| why.to_string());
        unusable.add(row.id(), reason.as_deref());
    }
    let found = unusable.in_words(info.records);
    if !found.is_empty() {
        text += &format!(
            "{found}  `--quality usable` leaves them out, here and in what uses the store\n"
        );
    }
    text += &format!(
        "outcome of each record: {}\n",
        out.join(OUTCOMES_FILE).display()
    );
    Ok(text)
}

/// Number of records in every split, in total and with labels of each task.
pub(super) fn split_table(store: &Store) -> miette::Result<Table> {
    let splits: Vec<Split> = Split::ALL
        .into_iter()
        .filter(|split| store.info().splits.get(split).is_some_and(|&n| n > 0))
        .collect();
    let names = splits.iter().map(|split| split.name().to_owned());
    let header = ["", "classes"].map(str::to_owned).into_iter();
    let mut table = Table::new(1, header.chain(names).chain(["total".to_owned()]));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_counted_from_one() {
        assert_eq!(part("2/8"), Ok((2, 8)));
        for wrong in ["0/2", "3/2", "1", "a/b", "1/0"] {
            assert!(part(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_part_is_not_in_the_command() {
        let kept = |text: &str| command(text.split(' ').map(str::to_owned));
        assert_eq!(
            kept("p prepare x --shard 1/2 --out s"),
            "p prepare x --out s"
        );
        assert_eq!(kept("p --shard=1/2 x"), "p x");
        assert_eq!(kept("p x"), "p x");
    }

    #[test]
    fn columns_have_meanings() {
        let named = |pairs: &[&str]| {
            let pairs: Vec<_> = pairs.iter().map(|pair| column(pair).unwrap()).collect();
            columns(&pairs).map_err(|error| error.to_string())
        };
        let found = named(&["patient=MRN", "value=hr", "value=qrs", "class=AF"]).unwrap();
        assert_eq!(found.patient.as_deref(), Some("MRN"));
        assert_eq!(found.values, ["hr", "qrs"]);
        assert_eq!(found.classes, ["AF"]);
        assert!(
            named(&["patient=a", "patient=b"])
                .unwrap_err()
                .contains("two columns")
        );
        assert!(
            named(&["colour=red"])
                .unwrap_err()
                .contains("unknown meaning")
        );
        assert!(column("patient").is_err());
    }
}
