//! Export of stores in the layouts of the original programs, so that their code can run on the same data.
//!
//! [`export`] writes a folder in one of the [`Layout`]s. The layout's preprocessing is applied to stored rows if it can
//! be reached from their own ([`Preprocess::serve`]); otherwise nothing is written, and the error says how to prepare a
//! suitable store.
//!
//! The folder appears whole or not at all: it is written as `<out>.partial` and renamed at the end. Memory is bounded
//! for any number of records, and the same store gives the same bytes.

mod clear_hug;
mod d_beta;
mod deri;
mod error;
mod hubert;
mod place;
mod rows;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use purkinje_signal::Preprocess;
use serde::Serialize;

use purkinje_store::{QualityFilter, Split, Store, StoreInfo};

pub use error::ExportError;
use place::Place;
use rows::Rows;

/// File that describes an exported folder.
pub const EXPORT_FILE: &str = "export.json";

/// Samples that D-BETA and DERI expect of a lead: 10 s at 500 Hz.
pub const TEN_SECONDS_SAMPLES: usize = 5000;

/// Fewest samples of a lead that HuBERT-ECG can use: 5 s at 500 Hz.
pub const HUBERT_SAMPLES: usize = 2500;

/// Records per folder of CLEAR-HUG's pre-training data.
pub const CLEAR_HUG_BATCH: usize = 100_100;

/// The data layout of an original program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// CLEAR-HUG's token files, one folder per task: `{train,val,test}_data.npy` float32 `[n, 180, 96]`,
    /// `_data_in_chans.npy`, `_data_in_times.npy`, `_data_mask_pad.npy` int64 `[n, 180]` and `_labels.npy` int64 `[n,
    /// classes]`. PTB-XL's samples are standardised with mean and standard deviation of the task's training split, as
    /// published. Without label sets: `batch_0`, `batch_1`, ... of [`CLEAR_HUG_BATCH`] records, as for pre-training.
    ClearHug,
    /// HuBERT-ECG's recordings and tables: `recordings/NAME.npy` float64 `[12, samples]` at 500 Hz, and for each
    /// task `TASK_{train,val,test}.csv` with `filename`, `age`, `sex` (PTB-XL: and `strat_fold`; SPH: and `Patient_ID`) and a column
    /// of 0 and 1 for each class.
    HubertEcg,
    /// D-BETA's recordings and manifests: `processed_data/NAME.mat` with `feats` float64 `[12, 5000]`,
    /// `curr_sample_rate` and `text`, and `train.tsv`, `valid.tsv`, `test.tsv` without a header. Records without a report are left out.
    DBeta,
    /// DERI's pre-training arrays: `train.npy`, `val.npy` int16 `[n, 12, 5000]` and `train.csv`, `val.csv` with
    /// `total_report`. Records without a report are left out.
    Deri,
    /// The same with MERL's file names: `mimic_ecg_train.npy`, `mimic_ecg_val.npy`.
    Merl,
}

impl Layout {
    /// All layouts.
    pub const ALL: [Layout; 5] = [
        Layout::ClearHug,
        Layout::HubertEcg,
        Layout::DBeta,
        Layout::Deri,
        Layout::Merl,
    ];

    /// Its name: `clear-hug`, `hubert-ecg`, `d-beta`, `deri`, `merl`.
    pub fn name(self) -> &'static str {
        match self {
            Layout::ClearHug => "clear-hug",
            Layout::HubertEcg => "hubert-ecg",
            Layout::DBeta => "d-beta",
            Layout::Deri => "deri",
            Layout::Merl => "merl",
        }
    }

    /// The preprocessing of the layout for this store: that of the store, where it is one of the original program's,
    /// otherwise the original's preprocessing for the data set.
    pub fn usual_contract(self, info: &StoreInfo) -> Preprocess {
        let (own, usual): (&[&str], &str) = match self {
            Layout::ClearHug => {
                let usual = match info.name.as_str() {
                    "ptb-xl" => "clear-ptbxl",
                    "mimic-iv-ecg" => "clear-mimic",
                    "csn" => "clear-csn",
                    "cpsc2018" => "clear-cpsc2018",
                    _ => "clear",
                };
                let own = &[
                    "clear",
                    "clear-ptbxl",
                    "clear-mimic",
                    "clear-csn",
                    "clear-cpsc2018",
                    "clear-cpsc2018-int16",
                ];
                (own, usual)
            }
            Layout::HubertEcg => (&[], "hubert"),
            Layout::DBeta => match info.name.as_str() {
                "code-test" | "code-15" => (&["d-beta"], "d-beta-code"),
                _ => (&["d-beta-code"], "d-beta"),
            },
            Layout::Deri | Layout::Merl => (&["deri-ptbxl", "deri-cpsc2018", "deri-csn"], "deri"),
        };
        let preset = |name: &str| Preprocess::preset(name).ok();
        let done = own
            .iter()
            .filter_map(|name| preset(name))
            .find(|contract| contract.same_samples(&info.preprocess))
            .map(|_| info.preprocess.clone());
        // A test checks that the presets named here exist.
        done.or_else(|| preset(usual))
            .unwrap_or_else(|| info.preprocess.clone())
    }

    /// The sampling rate of the original program's input, in hertz.
    fn rate_hz(self) -> f64 {
        match self {
            Layout::ClearHug => purkinje_signal::beats::RATE_HZ,
            _ => 500.0,
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An unknown layout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown layout `{0}`: expected one of {names}", names = Layout::ALL.map(Layout::name).join(", "))]
pub struct UnknownLayout(pub String);

impl FromStr for Layout {
    type Err = UnknownLayout;

    fn from_str(text: &str) -> Result<Self, UnknownLayout> {
        let wanted = text.trim().to_ascii_lowercase().replace('_', "-");
        Layout::ALL
            .into_iter()
            .find(|layout| layout.name() == wanted)
            .ok_or_else(|| UnknownLayout(text.to_owned()))
    }
}

/// How a store is exported.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExportOptions {
    /// Label sets to export; all when empty. Layouts without labels ignore them.
    pub tasks: Vec<String>,
    /// Preprocessing to use instead of [`Layout::usual_contract`].
    pub contract: Option<Preprocess>,
    /// Limits on signal quality that records must keep.
    pub quality: QualityFilter,
    /// Replace an earlier export in the target folder.
    pub overwrite: bool,
}

/// The result of an export; also the contents of [`EXPORT_FILE`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Exported {
    /// Name of the layout.
    pub layout: &'static str,
    /// Name of the data set.
    pub name: String,
    /// Fingerprint of the store.
    pub fingerprint: String,
    /// The preprocessing of the samples.
    pub preprocess: Preprocess,
    /// Limits on signal quality, as text; empty if there are none.
    pub quality: String,
    /// The number of rows of every array and table, by path in the folder. Files of single records are not listed.
    pub rows: BTreeMap<String, usize>,
    /// Classes of every task in the order of the columns.
    pub classes: BTreeMap<String, Vec<String>>,
    /// Mean and standard deviation, in millivolts, with which a task's samples were standardised.
    pub standardised: BTreeMap<String, [f64; 2]>,
    /// The number of records of the store left out, by reason.
    pub left_out: BTreeMap<String, usize>,
}

/// Called with the number of records done and in total (over all passes); returns false to stop.
pub type Watch<'a> = &'a (dyn Fn(usize, usize) -> bool + Sync);

/// Writes `store` to the folder `out` in a layout.
///
/// # Errors
/// [`ExportError`]; `out` is then unchanged.
pub fn export(
    store: &Store,
    layout: Layout,
    out: &Path,
    options: &ExportOptions,
    watch: Watch<'_>,
) -> Result<Exported, ExportError> {
    let contract = match &options.contract {
        Some(contract) => contract.clone(),
        None => layout.usual_contract(store.info()),
    };
    let rows = Rows::new(store, layout, contract, &options.quality)?;
    let tasks = tasks(store, &options.tasks)?;
    let place = Place::begin(out, options.overwrite)?;
    let mut job = Job {
        store,
        rows,
        tasks,
        place,
        watch,
        done: 0,
        exported: Exported {
            layout: layout.name(),
            name: store.info().name.clone(),
            fingerprint: store.info().fingerprint.clone(),
            preprocess: Preprocess::raw(1.0),
            quality: options.quality.to_string(),
            rows: BTreeMap::new(),
            classes: BTreeMap::new(),
            standardised: BTreeMap::new(),
            left_out: BTreeMap::new(),
        },
    };
    job.exported.preprocess = job.rows.contract().clone();
    job.exported.left_out = job.rows.left_out();
    match layout {
        Layout::ClearHug => clear_hug::write(&mut job)?,
        Layout::HubertEcg => hubert::write(&mut job)?,
        Layout::DBeta => d_beta::write(&mut job)?,
        Layout::Deri => deri::write(&mut job, "")?,
        Layout::Merl => deri::write(&mut job, "mimic_ecg_")?,
    }
    let Job {
        place, exported, ..
    } = job;
    if exported.rows.values().all(|&rows| rows == 0) {
        return Err(ExportError::NoRecords {
            layout,
            left_out: exported.left_out,
        });
    }
    let text = serde_json::to_string_pretty(&exported).unwrap_or_default() + "\n";
    place.write(EXPORT_FILE, text.as_bytes())?;
    place.finish()?;
    Ok(exported)
}

/// An export in progress.
struct Job<'a> {
    store: &'a Store,
    rows: Rows<'a>,
    /// Positions of the label sets.
    tasks: Vec<usize>,
    place: Place,
    watch: Watch<'a>,
    done: usize,
    exported: Exported,
}

/// The splits that are exported.
const SPLITS: [Split; 3] = [Split::Train, Split::Val, Split::Test];

impl Job<'_> {
    /// Leaves a record out.
    fn leave_out(&mut self, reason: impl Into<String>) {
        *self.exported.left_out.entry(reason.into()).or_default() += 1;
    }

    /// The usable rows of one split.
    fn part(&self, split: Split) -> Vec<usize> {
        let in_part = |&index: &usize| self.store.row(index).is_ok_and(|row| row.split() == split);
        self.rows.usable().iter().copied().filter(in_part).collect()
    }

    /// Counts the usable rows that are in no split.
    fn leave_out_unplaced(&mut self) {
        let unplaced = self.part(Split::None).len();
        if unplaced > 0 {
            let reason = "in no split (train, val, test)".to_owned();
            self.exported.left_out.insert(reason, unplaced);
        }
    }
}

fn tasks(store: &Store, wanted: &[String]) -> Result<Vec<usize>, ExportError> {
    if wanted.is_empty() {
        return Ok((0..store.info().label_sets.len()).collect());
    }
    let mut tasks = Vec::new();
    for name in wanted {
        let task = store.label_set(name)?;
        if !tasks.contains(&task) {
            tasks.push(task);
        }
    }
    Ok(tasks)
}

/// A text as a file name: letters, digits, `.`, `_` and `-`, not hidden and not too long.
fn file_name(text: &str) -> String {
    const LONGEST: usize = 150;
    let name: String = text
        .chars()
        .take(LONGEST)
        .map(|c| match c {
            '.' | '_' | '-' => c,
            c if c.is_ascii_alphanumeric() => c,
            _ => '_',
        })
        .collect();
    match name.trim_start_matches('.') {
        "" => "record".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_have_names() {
        for layout in Layout::ALL {
            assert_eq!(layout.name().parse(), Ok(layout));
        }
        assert_eq!("D_BETA".parse(), Ok(Layout::DBeta));
        let error = "clear".parse::<Layout>().unwrap_err().to_string();
        assert!(error.contains("clear-hug, hubert-ecg"), "{error}");
    }

    #[test]
    fn names_of_files_are_plain() {
        assert_eq!(file_name("patient001/s0010_re"), "patient001_s0010_re");
        assert_eq!(file_name("../../etc"), "_.._etc");
        assert_eq!(file_name(".."), "record");
        assert_eq!(file_name(&"x".repeat(1000)).len(), 150);
    }
}
