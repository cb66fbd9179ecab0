//! The whole preparation of a folder of recordings, in a process of its own.

use std::path::Path;
use std::time::Instant;

use purkinje_datasets::import::Folder;
use purkinje_signal::Preprocess;
use purkinje_store::{PrepareOptions, Store, prepare};
use serde_json::json;

use crate::Result;
use crate::exchange::Answer;

/// Prepares every record of `folder` by the contract called `preset`, and prints how many and in how many seconds.
pub fn run(folder: &Path, out: &Path, preset: &str) -> Result<()> {
    let source = Folder {
        root: folder.to_owned(),
        table: None,
        patient_salt: None,
    };
    // Many names lead to few files here.
    let options = PrepareOptions {
        threads: std::env::var("RAYON_NUM_THREADS")
            .ok()
            .and_then(|n| n.parse().ok()),
        ..PrepareOptions::default()
    };
    let start = Instant::now();
    let summary = prepare(&source, &Preprocess::preset(preset)?, out, &options, &())?;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{}",
        json!({"records": summary.info.records, "seconds": seconds})
    );
    Ok(())
}

/// Shows what a store holds: signals `[record, lead, time]` in mV, their resolution, R-peaks.
pub fn show(store: &Path, file: &Path) -> Result<()> {
    let store = Store::open(store)?;
    let (mut signals, mut steps, mut r_peaks, mut counts) = (vec![], vec![], vec![], vec![]);
    let mut signal_mv = Vec::new();
    for row in store.rows() {
        row.signal_mv_into(&mut signal_mv);
        signals.extend_from_slice(&signal_mv);
        steps.push(1.0 / f64::from(row.gain_per_mv()));
        // Indices of samples, never negative.
        r_peaks.extend(row.r_peaks().iter().map(|p| *p as usize));
        counts.push(row.r_peaks().len());
    }
    let leads = store.info().leads.len();
    let shape = [
        counts.len(),
        leads,
        signals.len() / leads / counts.len().max(1),
    ];
    Answer::default()
        .f32("signals_mv", &shape, &signals)
        .f64("step_mv", &steps)
        .integers("r_peaks", r_peaks)
        .integers("r_peak_counts", counts)
        .save(file)
}
