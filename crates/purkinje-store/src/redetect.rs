//! R-peaks of a store found again, without preparing its recordings again.

use std::path::{Path, PathBuf};

use purkinje_record::{LeadChoice, OpenOptions, Reader};
use purkinje_signal::beats::{RATE_HZ, evenly_spaced};
use purkinje_signal::preprocess::BeatSearch;
use purkinje_signal::r_peaks::{Beats, find_beats, find_beats_in};
use rayon::prelude::*;

use crate::columns::NewRow;
use crate::error::StoreError;
use crate::outcome::{Outcome, Status, read_outcomes};
use crate::prepare::{NO_BEATS, Progress, WINDOW_START};
use crate::schema::{MadeBy, RedetectedBeats, SCHEMA_VERSION};
use crate::store::{Row, Store};
use crate::writer::{Begin, StoreSpec, StoreWriter};

/// Rows that are worked on at a time.
const CHUNK: usize = 512;

/// How a store with new R-peaks is made.
#[derive(Clone, Debug, Default)]
pub struct RedetectOptions {
    /// The folder that the recordings were read from: R-peaks are found in those that can be read, in the stored signal of the others.
    pub from: Option<PathBuf>,
}

/// A store with new R-peaks.
#[derive(Clone, Debug, PartialEq)]
pub struct Redetected {
    /// Rows.
    pub records: usize,
    /// What the R-peaks were found in.
    pub beats: RedetectedBeats,
    /// R-peaks before and now, and those of now that had one within 50 ms before.
    pub before: usize,
    /// See `before`.
    pub now: usize,
    /// See `before`.
    pub kept: usize,
}

/// Copies a store to `target` with R-peaks found on all leads together ([`find_beats`]), of which the contract then says so.
/// Samples, labels and everything else stay as they are. An interrupted copy is continued.
///
/// # Errors
/// [`StoreError::Settings`] for a store that has these R-peaks already; otherwise as [`prepare`](crate::prepare()).
pub fn redetect(
    store: &Store,
    target: &Path,
    options: &RedetectOptions,
    progress: &dyn Progress,
) -> Result<Redetected, StoreError> {
    let info = store.info();
    if info.preprocess.beats == BeatSearch::MultiLead && info.made_by.redetected.is_none() {
        return Err(StoreError::Settings {
            reason: format!(
                "the R-peaks of store `{}` were found in its recordings on all leads together already: nothing to do",
                store.dir().display()
            ),
        });
    }
    let outcomes = read_outcomes(store.dir())?;
    let stored: Vec<&Outcome> = outcomes.iter().filter(|o| o.status == Status::Ok).collect();
    let found = find_all(store, &stored, options, progress)?;
    let from_recordings = found.iter().filter(|found| found.from_recording).count();
    let beats = RedetectedBeats {
        in_recordings: from_recordings,
        in_stored_signal: found.len() - from_recordings,
    };
    let mut written = Redetected {
        records: found.len(),
        beats,
        before: 0,
        now: 0,
        kept: 0,
    };
    let spec = StoreSpec {
        name: info.name.clone(),
        preprocess: info.preprocess.clone().with_beats(BeatSearch::MultiLead),
        leads: info.leads.clone(),
        rate_hz: info.rate_hz,
        unit: info.unit.clone(),
        label_sets: info.label_sets.clone(),
        texts: info.texts.clone(),
        values: info.values.clone(),
        made_by: MadeBy {
            redetected: Some(beats),
            ..info.made_by.clone()
        },
        fingerprint: fingerprint(&info.fingerprint, beats),
        rows_per_shard: info
            .shards
            .iter()
            .map(|shard| shard.rows)
            .max()
            .unwrap_or(1),
        rows_per_batch: 256,
        schema_version: SCHEMA_VERSION,
        part: None,
    };
    let near = info.rate_hz * 0.05;
    let mut rows = store.rows().zip(&found);
    let writer = StoreWriter::begin(target, spec)?;
    let mut writer = match writer {
        Begin::Complete(_) => None,
        Begin::Writing(writer) => Some(writer),
    };
    let mut done = writer.as_ref().map_or(0, |writer| writer.items_done());
    for outcome in outcomes {
        let row = match outcome.status {
            Status::Ok => rows.next(),
            _ => None,
        };
        if let Some((row, found)) = &row {
            written.count(row, found, near);
        }
        let Some(writer) = &mut writer else { continue };
        if done > 0 {
            done -= 1;
            continue;
        }
        let new = row.map(|(row, found)| NewRow {
            r_peaks: found.r_peaks.clone(),
            beats_detected: found.detected,
            ..row.to_new(store)
        });
        writer.append(outcome_with(outcome, new.as_ref()), new)?;
    }
    if let Some(writer) = writer {
        writer.finish()?;
    }
    Ok(written)
}

/// The R-peaks of one row.
struct Found {
    r_peaks: Vec<i32>,
    /// Whether they are beats, and no evenly spaced positions.
    detected: bool,
    from_recording: bool,
}

impl Redetected {
    /// Counts detected beats only, no evenly spaced positions.
    fn count(&mut self, row: &Row<'_>, found: &Found, near: f64) {
        let of = |peaks: &[i32], detected: bool| if detected { peaks.to_vec() } else { Vec::new() };
        let before = of(row.r_peaks(), row.beats_detected());
        let now = of(&found.r_peaks, found.detected);
        let close = |a: i32, b: i32| f64::from(a.abs_diff(b)) <= near;
        let kept = |now: &&i32| before.iter().any(|&before| close(**now, before));
        self.before += before.len();
        self.now += now.len();
        self.kept += now.iter().filter(kept).count();
    }
}

/// The outcome of a record with its new beats; one that is not stored keeps its own.
fn outcome_with(outcome: Outcome, row: Option<&NewRow>) -> Outcome {
    let Some(row) = row else {
        return outcome;
    };
    let notes = outcome.reason.split("; ");
    let mut notes: Vec<&str> = notes
        .filter(|note| !note.is_empty() && *note != NO_BEATS)
        .collect();
    let beats = match row.beats_detected {
        true => row.r_peaks.len(),
        false => {
            notes.push(NO_BEATS);
            0
        }
    };
    Outcome {
        reason: notes.join("; "),
        beats,
        ..outcome
    }
}

fn find_all(
    store: &Store,
    outcomes: &[&Outcome],
    options: &RedetectOptions,
    progress: &dyn Progress,
) -> Result<Vec<Found>, StoreError> {
    progress.begin(store.len(), 0);
    let mut found = Vec::with_capacity(store.len());
    for first in (0..store.len()).step_by(CHUNK) {
        if progress.stop() {
            return Err(StoreError::Stopped {
                items_done: first,
                kept: 0,
                items: store.len(),
            });
        }
        let rows = first..store.len().min(first + CHUNK);
        let of_row = |index: usize| -> Result<Found, StoreError> {
            let row = store.row(index)?;
            let from = options.from.as_deref();
            let original = from.and_then(|folder| in_recording(store, &row, folder));
            let from_recording = original.is_some();
            let mut r_peaks = original.unwrap_or_else(|| in_stored_signal(store, &row));
            let detected = !r_peaks.is_empty();
            if !detected && store.info().rate_hz == RATE_HZ && row.samples() > 0 {
                r_peaks = evenly_spaced(row.samples());
            }
            Ok(Found {
                r_peaks: r_peaks.into_iter().map(|peak| peak as i32).collect(),
                detected,
                from_recording,
            })
        };
        let chunk: Result<Vec<Found>, StoreError> =
            rows.clone().into_par_iter().map(of_row).collect();
        found.extend(chunk?);
        let chunk = outcomes.get(rows).unwrap_or_default();
        chunk.iter().for_each(|outcome| progress.record(outcome));
    }
    Ok(found)
}

/// `None` where the file cannot be read or lacks a lead.
fn in_recording(store: &Store, row: &Row<'_>, folder: &Path) -> Option<Vec<usize>> {
    let options = OpenOptions {
        leads: LeadChoice::Voltages,
        ..OpenOptions::default()
    };
    let info = store.info();
    let reader = Reader::open(folder.join(row.source()), &options).ok()?;
    let rate_hz = reader.about().rate_hz;
    reader.about().leads.rows_of(&info.leads).ok()?;
    let found = find_beats_in(&info.leads, &reader).ok()?;
    // Rows may be windows of their recordings.
    let start_s = store
        .value(WINDOW_START)
        .and_then(|column| row.value(column));
    let first = (f64::from(start_s.unwrap_or(0.0)) * rate_hz).round() as usize;
    let beats = found.within(&(first..reader.len().max(first))).beats;
    Some(beats.at_rate(rate_hz, info.rate_hz, row.samples()))
}

fn in_stored_signal(store: &Store, row: &Row<'_>) -> Vec<usize> {
    let info = store.info();
    let mut signal = Vec::new();
    row.signal_mv_into(&mut signal);
    let rows: Vec<&[f32]> = signal.chunks_exact(row.samples().max(1)).collect();
    let beats: Beats = find_beats(&info.leads, info.rate_hz, &rows).beats;
    beats.at_rate(info.rate_hz, info.rate_hz, row.samples())
}

fn fingerprint(before: &str, beats: RedetectedBeats) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(before.as_bytes());
    hasher.update(format!("r-peaks {} {}", beats.in_recordings, beats.in_stored_signal).as_bytes());
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_follow_the_new_beats() {
        let outcome = |reason: &str, beats| Outcome {
            beats,
            ..Outcome::not_stored("r", Path::new("r.hea"), Status::Ok, reason)
        };
        let row = |beats_detected| NewRow {
            r_peaks: vec![3, 9],
            beats_detected,
            ..NewRow::default()
        };
        let with = |before: Outcome, detected| {
            let after = outcome_with(before, Some(&row(detected)));
            (after.reason, after.beats)
        };
        let lost = with(outcome("without variation: V1", 12), false);
        assert_eq!(lost, ("without variation: V1; no beats detected".into(), 0));
        let found = with(
            outcome("7 missing samples replaced; no beats detected", 0),
            true,
        );
        assert_eq!(found, ("7 missing samples replaced".into(), 2));
        assert_eq!(with(outcome(NO_BEATS, 0), false), (NO_BEATS.into(), 0));
        let skipped = outcome("flat", 0);
        assert_eq!(outcome_with(skipped.clone(), None), skipped);
    }
}
