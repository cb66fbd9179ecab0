//! `purkinje store export`: writes a store in the layout of one of the original programs.

use std::path::PathBuf;
use std::sync::OnceLock;

use miette::{IntoDiagnostic, miette};
use purkinje::datasets::export::{ExportError, ExportOptions, Exported, Layout, export};
use purkinje::signal::Preprocess;
use purkinje::store::{QualityFilter, Store};

use crate::output::{self, Show as _, count, printable};
use crate::progress::Progress;
use crate::system;

/// Options of `store export`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
clear-hug   one folder per task: {train,val,test}_data.npy [n,180,96], _data_in_chans, _data_in_times, _data_mask_pad [n,180], _labels
hubert-ecg  recordings/NAME.npy [12,samples] at 500 Hz, and TASK_{train,val,test}.csv
d-beta      processed_data/NAME.mat (feats [12,5000], curr_sample_rate, text), and train.tsv, valid.tsv, test.tsv
deri        train.npy, val.npy int16 [n,12,5000], and train.csv, val.csv (total_report)
merl        the same as mimic_ecg_train.npy, mimic_ecg_val.npy

A store prepared with `--preset raw-500` can be exported to all layouts if its recordings were sampled at 500 Hz.")]
pub struct Args {
    /// The store
    store: PathBuf,
    /// Program whose layout to write: clear-hug, hubert-ecg, d-beta, deri or merl
    #[arg(long, value_name = "NAME")]
    layout: Layout,
    /// Folder to write
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Label sets to export [default: all]
    #[arg(long, value_name = "TASK", value_delimiter = ',')]
    task: Vec<String>,
    /// Preset of preprocessing [default: that of the program for this data set]
    #[arg(long, value_name = "NAME", value_parser = super::preset)]
    preset: Option<Preprocess>,
    /// Export only records whose signal quality keeps these limits, such as `flat=0,missing=10%,limb=ok,noise_mv=0.05`
    #[arg(long, value_name = "FILTER")]
    quality: Option<QualityFilter>,
    /// Replace an existing export
    #[arg(long)]
    overwrite: bool,
}

/// Runs the command.
pub fn run(args: Args) -> miette::Result<()> {
    let store = Store::open(&args.store).shown()?;
    let options = ExportOptions {
        tasks: args.task,
        contract: args.preset,
        quality: args.quality.unwrap_or_default(),
        overwrite: args.overwrite,
    };
    let progress = OnceLock::<Progress>::new();
    let before = std::sync::atomic::AtomicUsize::new(0);
    let watch = |done: usize, total: usize| {
        let progress = progress.get_or_init(|| Progress::new("export", total, "records"));
        let earlier = before.swap(done, std::sync::atomic::Ordering::Relaxed);
        progress.add(done.saturating_sub(earlier));
        !system::stop_requested()
    };
    let result = export(&store, args.layout, &args.out, &options, &watch);
    if let Some(progress) = progress.get() {
        progress.finish();
    }
    match result {
        Ok(exported) => output::print(&in_words(&exported, &args.out)),
        Err(error @ ExportError::Exists { exported: true, .. }) => {
            Err(miette!(help = "`--overwrite` replaces it", "{error}"))
        }
        Err(error @ ExportError::Contract { .. }) => Err(miette!(
            help = "a store of `--preset raw-500` serves every layout if all its recordings came at 500 Hz; otherwise prepare one with the preprocessing of the program",
            "{error}"
        )),
        Err(error @ ExportError::Stopped) => {
            Err(purkinje::Error::Stopped.during(error.to_string())).shown()
        }
        Err(error) => Err(error).into_diagnostic(),
    }
}

fn in_words(exported: &Exported, out: &std::path::Path) -> String {
    let mut text = format!(
        "{}: {} ({}) for {}\n",
        out.display(),
        printable(&exported.name),
        exported.preprocess.in_words(),
        exported.layout
    );
    for (file, rows) in &exported.rows {
        text += &format!("  {}: {}\n", printable(file), count(*rows, "row"));
    }
    for (task, [mean, deviation]) in &exported.standardised {
        text += &format!(
            "{}: standardised with mean {mean:.6} mV, standard deviation {deviation:.6} mV\n",
            printable(task)
        );
    }
    for (reason, records) in &exported.left_out {
        text += &format!("left out, {}: {records}\n", printable(reason));
    }
    text
}
