//! Detection of leakage: a patient in two splits, or the same recording in two splits or two stores.
//!
//! Published data sets overlap (the PhysioNet Challenges include PTB-XL, CPSC 2018 and others, at other sampling rates
//! and under other names), and metrics of a model tested on its training data are too good. Names do not reveal this;
//! samples do.

mod sketch;

use std::collections::HashMap;

use purkinje_record::Lead;
use rayon::prelude::*;
use serde::Serialize;

use crate::error::StoreError;
use crate::schema::Split;
use crate::store::{Row, Store};
use sketch::{
    BANDS, EDGE, Projections, SLOW_HZ, Sketched, band, dot, likeness, sketch_leads, slow_lead,
};

/// Smallest [similarity](SignalPair::similarity) at which two recordings count as the same.
///
/// The recordings of PTB-XL at 100 and at 500 Hz reach it in 40 of 40 cases, and none of 38 million
/// pairs of different patients does.
pub const MIN_SIMILARITY: f32 = 0.98;

/// Smallest median correlation of the leads of such recordings: noise may affect some leads, not all.
const MIN_MEDIAN: f32 = 0.9;

/// The same for the leads of the sketch only, which decides most cases.
const MIN_SKETCH_MEDIAN: f32 = 0.85;

/// Number of leads that must correlate that well; all where fewer are common.
const MIN_LEADS: usize = 3;

/// Largest number of findings of each kind that are listed; all are counted.
pub const MAX_LISTED: usize = 100_000;

/// Similarity of sketches below which recordings are not compared.
const MIN_LIKENESS: f32 = 0.87;

/// Lags that are tried around the one that sketches suggest, in samples at the slow rate.
const LAG_REACH: isize = 5;

/// Longest stretch that is compared, in samples at the slow rate: a minute.
const MAX_COMPARED: usize = 60 * SLOW_HZ as usize;

/// Shortest stretch that is compared: two seconds.
const MIN_COMPARED: usize = 2 * SLOW_HZ as usize;

/// The findings of [`leakage`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LeakageReport {
    /// The stores, in the order given.
    pub stores: Vec<ComparedStore>,
    /// Patients with records in more than one split.
    pub patients: Findings<PatientLeak>,
    /// Recordings with the same samples, across splits or stores.
    pub identical: Findings<SignalPair>,
    /// Recordings that differ only in sampling rate, filter, unit, length or a small shift, across splits or stores.
    pub similar: Findings<SignalPair>,
    /// The leads in which recordings were compared.
    pub leads: Vec<String>,
    /// Records that could not be compared: too short, or a lead without variation.
    pub not_compared: usize,
}

/// One of the stores.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparedStore {
    /// Its folder.
    pub dir: String,
    /// The name of its source.
    pub name: String,
    /// Its records.
    pub records: usize,
}

/// Findings of one kind: all are counted, the first [`MAX_LISTED`] listed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Findings<T> {
    /// The number of findings.
    pub count: usize,
    /// The first of them.
    pub listed: Vec<T>,
}

/// A patient with records in more than one split of a source.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PatientLeak {
    /// The patient.
    pub patient: String,
    /// The first record in every split that has the patient.
    pub records: Vec<RecordRef>,
}

/// Two records of the same recording.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SignalPair {
    /// The one that comes first.
    pub first: RecordRef,
    /// The other.
    pub second: RecordRef,
    /// The correlation reached by three of the common leads (by all where fewer are common); 1 for equal samples.
    pub similarity: f32,
    /// Seconds by which the second is later than the first.
    pub lag_s: f32,
}

/// A record of one of the stores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordRef {
    /// Index of the store.
    pub store: usize,
    /// Row in the store.
    pub row: usize,
    /// Name of the record.
    pub id: String,
    /// Its split.
    pub split: Split,
    /// Its patient.
    pub patient: Option<String>,
}

impl LeakageReport {
    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.patients.count == 0 && self.identical.count == 0 && self.similar.count == 0
    }
}

/// Finds patients and recordings that are in more than one split of a store, or in more than one store.
///
/// Patients are compared within a store and between stores of the same source. Recordings are equal when their [signal
/// hashes](crate::signal_hash) are; they are similar when the median correlation of the standard leads that all stores
/// have, at 100 Hz between about 1 and 15 Hz, exceeds [`MIN_SIMILARITY`] within a tenth of a second. Within one store
/// only records of different splits are compared, and those in no split are left out.
///
/// Similar recordings are found by sketches of 256 bits of 4.8 seconds, from their beginning and from their first beat,
/// so recordings that begin at different beats are not found. Memory is about 200 bytes per record; time is mostly that
/// of reading the stores once.
///
/// # Errors
/// [`StoreError::Settings`] if there are more than 2^32 records.
pub fn leakage(stores: &[&Store]) -> Result<LeakageReport, StoreError> {
    let records = Records::new(stores)?;
    let (identical, pairs) = identical(&records);
    let (similar, leads, not_compared) = similar(&records, &pairs);
    Ok(LeakageReport {
        stores: stores
            .iter()
            .map(|store| ComparedStore {
                dir: store.dir().display().to_string(),
                name: store.info().name.clone(),
                records: store.len(),
            })
            .collect(),
        patients: patients(&records),
        identical,
        similar,
        leads: leads.iter().map(|lead| lead.name().to_owned()).collect(),
        not_compared,
    })
}

/// All records of all stores, numbered consecutively.
struct Records<'a> {
    stores: &'a [&'a Store],
    /// First number of every store.
    starts: Vec<usize>,
    count: usize,
}

impl<'a> Records<'a> {
    fn new(stores: &'a [&'a Store]) -> Result<Self, StoreError> {
        let mut starts = Vec::with_capacity(stores.len());
        let mut count = 0usize;
        for store in stores {
            starts.push(count);
            count = count.saturating_add(store.len());
        }
        if u32::try_from(count).is_err() {
            return Err(StoreError::Settings {
                reason: format!(
                    "found {count} records, expected at most 2^32; compare fewer stores at a time"
                ),
            });
        }
        Ok(Records {
            stores,
            starts,
            count,
        })
    }

    /// Store and row of a record.
    fn place(&self, record: u32) -> (usize, usize) {
        let record = record as usize;
        let store = self.starts.partition_point(|&start| start <= record) - 1;
        (store, record - self.starts[store])
    }

    fn row(&self, record: u32) -> Option<Row<'a>> {
        let (store, row) = self.place(record);
        self.stores[store].row(row).ok()
    }

    fn reference(&self, record: u32) -> Option<RecordRef> {
        let (store, row) = self.place(record);
        let found = self.row(record)?;
        Some(RecordRef {
            store,
            row,
            id: found.id().to_owned(),
            split: found.split(),
            patient: found.patient().map(str::to_owned),
        })
    }

    /// Whether it is leakage if two records are the same.
    fn would_leak(&self, a: u32, b: u32) -> bool {
        let ((a_store, _), (b_store, _)) = (self.place(a), self.place(b));
        if a_store != b_store {
            return true;
        }
        let part = |record| self.row(record).map_or(Split::None, |row| row.split());
        let (a, b) = (part(a), part(b));
        a != b && a != Split::None && b != Split::None
    }

    fn pair(&self, a: u32, b: u32, similarity: f32, lag_s: f32) -> Option<SignalPair> {
        Some(SignalPair {
            first: self.reference(a)?,
            second: self.reference(b)?,
            similarity,
            lag_s,
        })
    }
}

impl<T> Findings<T> {
    fn new() -> Self {
        Findings {
            count: 0,
            listed: Vec::new(),
        }
    }

    fn add(&mut self, finding: impl FnOnce() -> Option<T>) {
        self.count += 1;
        if self.listed.len() < MAX_LISTED {
            self.listed.extend(finding());
        }
    }
}

/// First record of a patient in every split, in the order of [`Split::ALL`].
type SplitsOfPatient = [Option<u32>; 4];

fn patients(records: &Records<'_>) -> Findings<PatientLeak> {
    // By hash: names of patients are not kept twice.
    let mut seen = HashMap::<[u8; 16], SplitsOfPatient>::new();
    for (store, &start) in records.stores.iter().zip(&records.starts) {
        let source = &store.info().name;
        for (index, row) in store.rows().enumerate() {
            let Some(patient) = row.patient().filter(|_| row.split() != Split::None) else {
                continue;
            };
            let mut hasher = blake3::Hasher::new();
            hasher.update(source.as_bytes());
            hasher.update(&[0]);
            hasher.update(patient.as_bytes());
            let mut key = [0; 16];
            key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
            let part = Split::ALL.iter().position(|split| *split == row.split());
            let first = &mut seen.entry(key).or_default()[part.unwrap_or(0)];
            first.get_or_insert((start + index) as u32);
        }
    }
    let mut leaks: Vec<Vec<u32>> = seen
        .into_values()
        .map(|parts| parts.into_iter().flatten().collect::<Vec<u32>>())
        .filter(|parts| parts.len() > 1)
        .collect();
    leaks.sort_unstable();
    let mut findings = Findings::new();
    for leak in leaks {
        findings.add(|| {
            let found: Vec<RecordRef> = leak.iter().filter_map(|&r| records.reference(r)).collect();
            Some(PatientLeak {
                patient: found.first()?.patient.clone()?,
                records: found,
            })
        });
    }
    findings
}

/// Pairs of equal signal hashes, and those pairs as record numbers, sorted.
fn identical(records: &Records<'_>) -> (Findings<SignalPair>, Vec<(u32, u32)>) {
    let mut hashes: Vec<(u128, u32)> = Vec::with_capacity(records.count);
    for (store, &start) in records.stores.iter().zip(&records.starts) {
        hashes.extend(store.rows().enumerate().filter_map(|(index, row)| {
            let hash = u128::from_str_radix(row.signal_hash()?, 16).ok()?;
            Some((hash, (start + index) as u32))
        }));
    }
    hashes.par_sort_unstable();
    let mut pairs = Vec::new();
    let mut count = 0;
    for group in hashes.chunk_by(|a, b| a.0 == b.0) {
        for (index, &(_, a)) in group.iter().enumerate() {
            for &(_, b) in &group[index + 1..] {
                if records.would_leak(a, b) {
                    count += 1;
                    if pairs.len() < MAX_LISTED {
                        pairs.push((a, b));
                    }
                }
            }
        }
    }
    pairs.sort_unstable();
    let listed = pairs
        .iter()
        .filter_map(|&(a, b)| records.pair(a, b, 1.0, 0.0))
        .collect();
    (Findings { count, listed }, pairs)
}

fn similar(
    records: &Records<'_>,
    identical: &[(u32, u32)],
) -> (Findings<SignalPair>, Vec<Lead>, usize) {
    let common: Vec<Lead> = Lead::STANDARD_12
        .into_iter()
        .filter(|lead| {
            let has = |store: &&Store| store.info().leads.position(lead).is_some();
            records.stores.iter().all(has)
        })
        .collect();
    if common.is_empty() || records.stores.is_empty() {
        return (Findings::new(), common, records.count);
    }
    let sketched = sketch_leads(&common);
    let [beginnings, beats] = sketches(records, &sketched);
    let not_compared = records.count - beginnings.len();
    let mut found = Vec::new();
    for sketches in [beginnings, beats] {
        found.extend(alike(&sketches, |a, b| {
            let (first, second) = (a.record.min(b.record), a.record.max(b.record));
            if !records.would_leak(first, second)
                || identical.binary_search(&(first, second)).is_ok()
            {
                return None;
            }
            let (a, b) = if a.record == first { (a, b) } else { (b, a) };
            let lag = b.sketched.anchor as isize - a.sketched.anchor as isize;
            let (similarity, lag_s) = compare(records, &sketched, &common, (first, second), lag)?;
            (similarity > MIN_SIMILARITY).then_some((first, second, similarity, lag_s))
        }));
    }
    // If found twice, the better match is kept.
    found.sort_unstable_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then(b.2.total_cmp(&a.2)));
    found.dedup_by_key(|pair| (pair.0, pair.1));
    let mut findings = Findings::new();
    for (a, b, similarity, lag_s) in found {
        findings.add(|| records.pair(a, b, similarity, lag_s));
    }
    (findings, common, not_compared)
}

/// A record and its sketch.
struct Entry {
    record: u32,
    sketched: Sketched,
}

/// The sketches of every record that has them, in order: of its beginning, and from its first beat.
fn sketches(records: &Records<'_>, leads: &[Lead]) -> [Vec<Entry>; 2] {
    let projections = Projections::new(leads.len());
    let (mut beginnings, mut beats) = (Vec::with_capacity(records.count), Vec::new());
    for (store, &start) in records.stores.iter().zip(&records.starts) {
        let info = store.info();
        let rows: Vec<usize> = leads
            .iter()
            .filter_map(|lead| info.leads.position(lead))
            .collect();
        let found: Vec<[Option<Entry>; 2]> = (0..store.len())
            .into_par_iter()
            .filter_map(|index| {
                let row = store.row(index).ok()?;
                let found = projections.sketches(row, &rows, info.rate_hz);
                Some(found.map(|sketched| {
                    Some(Entry {
                        record: (start + index) as u32,
                        sketched: sketched?,
                    })
                }))
            })
            .collect();
        for [beginning, beat] in found {
            beginnings.extend(beginning);
            beats.extend(beat);
        }
    }
    [beginnings, beats]
}

/// Compares all pairs with an equal band and similar sketches.
fn alike<T: Send>(
    entries: &[Entry],
    closer: impl Fn(&Entry, &Entry) -> Option<T> + Sync,
) -> Vec<T> {
    let mut found = Vec::new();
    let mut order: Vec<u32> = (0..entries.len() as u32).collect();
    let sketch = |at: u32| &entries[at as usize].sketched.sketch;
    for number in 0..BANDS {
        // Sorted by band, equal bands are neighbours.
        order.par_sort_unstable_by_key(|&at| (band(sketch(at), number), at));
        let groups: Vec<&[u32]> = order
            .chunk_by(|&a, &b| band(sketch(a), number) == band(sketch(b), number))
            .filter(|group| group.len() > 1)
            .collect();
        found.par_extend(groups.par_iter().flat_map_iter(|group| {
            let (sketch, closer) = (&sketch, &closer);
            group.iter().enumerate().flat_map(move |(index, &a)| {
                group[index + 1..].iter().filter_map(move |&b| {
                    let alike = likeness(sketch(a), sketch(b)) >= MIN_LIKENESS;
                    // A pair is compared once, for its first equal band.
                    let before = |n| band(sketch(a), n) == band(sketch(b), n);
                    (alike && !(0..number).any(before))
                        .then(|| closer(&entries[a as usize], &entries[b as usize]))
                        .flatten()
                })
            })
        }));
    }
    found
}

/// The [`SignalPair::similarity`] at the best lag near `about`, and that lag in seconds.
fn compare(
    records: &Records<'_>,
    sketched: &[Lead],
    common: &[Lead],
    (a, b): (u32, u32),
    about: isize,
) -> Option<(f32, f32)> {
    let few = (
        slow_leads(records, sketched, a)?,
        slow_leads(records, sketched, b)?,
    );
    best_lag(&few.0, &few.1, about, MIN_SKETCH_MEDIAN)?;
    let (a, b) = (
        slow_leads(records, common, a)?,
        slow_leads(records, common, b)?,
    );
    let (similarity, lag) = best_lag(&a, &b, about, MIN_MEDIAN)?;
    Some((similarity, lag as f32 / SLOW_HZ as f32))
}

/// A lead at the slow rate, with cumulative sums of the squares of its samples.
struct SlowLead {
    samples: Vec<f32>,
    energy: Vec<f64>,
}

fn slow_leads(records: &Records<'_>, leads: &[Lead], record: u32) -> Option<Vec<SlowLead>> {
    let (store, _) = records.place(record);
    let info = records.stores[store].info();
    let row = records.row(record)?;
    let samples = row.samples();
    // Zero padding of the window is not compared.
    let most = match info.preprocess.window() {
        Some(window) if window.pad_to_s.is_some() => {
            MAX_COMPARED.min((window.keep_s * SLOW_HZ) as usize)
        }
        _ => MAX_COMPARED,
    };
    leads
        .iter()
        .map(|lead| {
            let at = info.leads.position(lead)? * samples;
            let signal = &row.signal()[at..at + samples];
            let mut samples = slow_lead(signal, info.rate_hz, most);
            // A record with a sketch is longer.
            samples.truncate(samples.len().saturating_sub(EDGE));
            samples.drain(..EDGE.min(samples.len()));
            let mut energy = vec![0.0];
            let mut sum = 0.0;
            energy.extend(samples.iter().map(|&sample| {
                sum += f64::from(sample) * f64::from(sample);
                sum
            }));
            Some(SlowLead { samples, energy })
        })
        .collect()
}

fn best_lag(a: &[SlowLead], b: &[SlowLead], about: isize, min_median: f32) -> Option<(f32, isize)> {
    let mut lags: Vec<isize> = (about - LAG_REACH..=about + LAG_REACH).collect();
    // The most likely lag first, so that it is preferred where leads are periodic.
    lags.sort_unstable_by_key(|lag| (lag - about).abs());
    let mut best: Option<(f32, isize)> = None;
    for lag in lags {
        if let Some(similarity) = similarity_at(a, b, lag, min_median)
            && best.is_none_or(|(found, _)| similarity > found)
        {
            best = Some((similarity, lag));
        }
    }
    best
}

/// The similarity over the leads that vary in both, where `b` is `lag` samples later than `a`; `None` if most leads do
/// not vary or do not correlate.
fn similarity_at(a: &[SlowLead], b: &[SlowLead], lag: isize, min_median: f32) -> Option<f32> {
    let (skip_a, skip_b) = if lag < 0 {
        (lag.unsigned_abs(), 0)
    } else {
        (0, lag.unsigned_abs())
    };
    let mut correlations: Vec<f32> = a
        .iter()
        .zip(b)
        .filter_map(|(a, b)| {
            let (of_a, of_b) = (a.samples.get(skip_a..)?, b.samples.get(skip_b..)?);
            let len = of_a.len().min(of_b.len());
            if len < MIN_COMPARED {
                return None;
            }
            // Slow leads have no offset, so no mean is subtracted here.
            let energy = (a.energy[skip_a + len] - a.energy[skip_a])
                * (b.energy[skip_b + len] - b.energy[skip_b]);
            let both = f64::from(dot(&of_a[..len], &of_b[..len]));
            (energy > 0.0).then(|| (both / energy.sqrt()) as f32)
        })
        .collect();
    if correlations.is_empty() || 2 * correlations.len() < a.len() {
        return None;
    }
    correlations.sort_unstable_by(f32::total_cmp);
    // The lower of the two in the middle.
    let median = correlations[(correlations.len() - 1) / 2];
    let reached = correlations[correlations.len().saturating_sub(MIN_LEADS)];
    (median >= min_median).then_some(reached)
}
