//! D-BETA's recordings and manifests.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use purkinje_record::mat::{NewValue, write_mat};
use purkinje_store::{Split, Store};

use super::{ExportError, Job, SPLITS, TEN_SECONDS_SAMPLES, file_name};

/// Folder of the recordings.
const FOLDER: &str = "processed_data";

/// The texts with reports as the original's data preparation writes them; its loader cleans them.
const TEXTS: [&str; 2] = ["d-beta-released", "d-beta"];

pub(super) fn write(job: &mut Job<'_>) -> Result<(), ExportError> {
    job.leave_out_unplaced();
    job.place.folder(FOLDER)?;
    let folder = job.place.path(FOLDER);
    let store = job.store;
    let text = TEXTS.iter().find_map(|name| store.text(name));
    let total = SPLITS.iter().map(|&split| job.part(split).len()).sum();
    let mut taken = HashSet::new();
    for split in SPLITS {
        let rows = job.part(split);
        if rows.is_empty() && split == Split::Test {
            continue;
        }
        // The framework behind the original calls validation so.
        let part = match split {
            Split::Val => "valid",
            split => split.name(),
        };
        let manifest = format!("{part}.tsv");
        let mut lines = job.place.text(&manifest)?;
        let names = names(store, &rows, &mut taken)?;
        let each = |index: usize, samples: Vec<f64>| {
            if samples.len() != 12 * TEN_SECONDS_SAMPLES {
                return Ok(Some("not 10 s long".to_owned()));
            }
            let row = store.row(index)?;
            let report = text.and_then(|text| row.text(text)).or(row.report());
            let Some(report) = report.filter(|report| !report.trim().is_empty()) else {
                return Ok(Some("no report".to_owned()));
            };
            // `rows` is increasing.
            let Some(name) = rows.binary_search(&index).ok().and_then(|at| names.get(at)) else {
                return Ok(Some("no id".to_owned()));
            };
            write_recording(&folder.join(name), &samples, report).map(|()| None)
        };
        let mut left_out = Vec::new();
        let (mut at, mut kept) = (0, 0);
        let (watch, before) = (job.watch, job.done);
        job.rows.for_each(&rows, each, |_, results| {
            for result in results {
                let name = &names[at];
                at += 1;
                match result {
                    Ok(None) => {
                        kept += 1;
                        lines.add(&format!("{name}\t{TEN_SECONDS_SAMPLES}\n"))?;
                    }
                    Err(reason) | Ok(Some(reason)) => left_out.push(reason),
                }
            }
            match watch(before + at, total) {
                true => Ok(()),
                false => Err(ExportError::Stopped),
            }
        })?;
        job.done = before + at;
        for reason in left_out {
            job.leave_out(reason);
        }
        lines.finish()?;
        job.exported.rows.insert(manifest, kept);
    }
    Ok(())
}

/// The files of the recordings at `rows`, none of which is in `taken`.
fn names(
    store: &Store,
    rows: &[usize],
    taken: &mut HashSet<String>,
) -> Result<Vec<String>, ExportError> {
    let mut names = Vec::with_capacity(rows.len());
    for &index in rows {
        let mut name = format!("{}.mat", file_name(store.row(index)?.id()));
        if !taken.insert(name.clone()) {
            name = format!("{index}-{name}");
            taken.insert(name.clone());
        }
        names.push(name);
    }
    Ok(names)
}

/// Writes samples `[12, time]` with their rate and report.
fn write_recording(path: &Path, samples: &[f64], report: &str) -> Result<(), ExportError> {
    let variables = [
        (
            "feats",
            NewValue::Doubles {
                rows: 12,
                columns: TEN_SECONDS_SAMPLES,
                values: samples,
            },
        ),
        (
            "curr_sample_rate",
            NewValue::Doubles {
                rows: 1,
                columns: 1,
                values: &[500.0],
            },
        ),
        ("text", NewValue::Text(report)),
    ];
    File::create(path)
        .and_then(|file| {
            let mut out = BufWriter::new(file);
            write_mat(&mut out, &variables)?;
            out.flush()?;
            out.get_ref().sync_all()
        })
        .map_err(ExportError::write(path))
}
