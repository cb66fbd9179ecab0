//! Telling patients apart: whether the vector of a patient's second recording is nearest to that of the first.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use purkinje_models::compat::Compat;
use purkinje_store::{Split, Store};
use purkinje_text::neighbours::normalise;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::inputs::{Input, StoreRows};
use crate::model::Model;
use crate::probe::quality_filter;
use crate::reporter::{Reporter, go_on};
use crate::windows::{Used, WindowOptions};
use crate::{Error, Result};

/// How patients are told apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdentifyOptions {
    /// Split of the store; all records if absent.
    pub split: Option<Split>,
    /// How much of each record the model is given, and how its vectors are aggregated.
    pub windows: WindowOptions,
    /// Limits on signal quality that records must keep; none when empty.
    pub quality: String,
    /// Accept a store that was prepared differently than the model expects.
    pub any_preprocessing: bool,
    /// Seed of the same network with random weights, which is measured too; `None` leaves it out.
    pub twin: Option<u64>,
}

impl Default for IdentifyOptions {
    fn default() -> Self {
        IdentifyOptions {
            split: Some(Split::Test),
            windows: WindowOptions::default(),
            quality: String::new(),
            any_preprocessing: false,
            twin: Some(0),
        }
    }
}

/// A share with its 95 % interval (Wilson's).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Share {
    /// The share.
    pub value: f64,
    /// From here.
    pub low: f64,
    /// To here.
    pub high: f64,
}

impl Share {
    fn of(right: usize, all: usize) -> Share {
        const Z: f64 = 1.959_963_984_540_054;
        let (n, p) = (all as f64, right as f64 / all as f64);
        let centre = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
        let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        Share {
            value: p,
            low: (centre - half).max(0.0),
            high: (centre + half).min(1.0),
        }
    }
}

/// How well patients are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Identification {
    /// The share of patients whose own gallery recording is the nearest one.
    pub top_1: Share,
    /// The share of those whose own is among the five nearest.
    pub top_5: Share,
    /// The error rate at the cosine where as many pairs of one patient are refused as pairs of two are accepted.
    pub equal_error_rate: f64,
}

/// The result on a store.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Identified {
    /// Folder of the model; `None` for a model that was not read from disk.
    pub model: Option<PathBuf>,
    /// The store.
    pub data: PathBuf,
    /// Split of the store.
    pub split: Option<&'static str>,
    /// Patients with at least two recordings: the first is in the gallery, the second is looked for.
    pub patients: usize,
    /// Patients with one recording, who are left out.
    pub with_one: usize,
    /// How much of all records together was used.
    pub used: Used,
    /// The figures.
    pub found: Identification,
    /// Those of the same network with random weights.
    pub random_weights: Option<Identification>,
}

/// Tells the patients of a store apart by the cosines of vectors of their first two recordings, in the order of the store.
///
/// # Errors
/// When fewer than five patients have two recordings, the store does not fit the model, or a stop was requested.
pub fn identify(
    model: &Model,
    store: &Store,
    options: &IdentifyOptions,
    reporter: &dyn Reporter,
) -> Result<Identified> {
    let quality = quality_filter(&options.quality)?;
    let mut kept = vec![true; store.len()];
    if let Some(quality) = &quality {
        kept = vec![false; store.len()];
        store
            .indices_of_quality(quality)
            .into_iter()
            .for_each(|row| kept[row] = true);
    }
    let mut recordings: HashMap<&str, Vec<usize>> = HashMap::new();
    let mut order = Vec::new();
    for row in (0..store.len()).filter(|&row| kept[row]) {
        let record = store.row(row)?;
        let wanted = options.split.is_none_or(|split| record.split() == split);
        if let Some(patient) = record.patient().filter(|_| wanted) {
            let own = recordings.entry(patient).or_default();
            if own.is_empty() {
                order.push(patient);
            }
            own.push(row);
        }
    }
    let several: Vec<&Vec<usize>> = order
        .iter()
        .map(|patient| &recordings[patient])
        .filter(|rows| rows.len() > 1)
        .collect();
    if several.len() < 5 {
        return Err(Error::invalid(format!(
            "the store {} has {} of {} patients with at least two recordings{}, expected at least five",
            store.dir().display(),
            several.len(),
            order.len(),
            options.split.map_or_else(String::new, |split| format!(
                " in the split `{}`",
                split.name()
            ))
        )));
    }
    let rows: Vec<usize> = several.iter().flat_map(|rows| [rows[0], rows[1]]).collect();
    let contract =
        model.check_store(store, &model.preprocess().leads, options.any_preprocessing)?;
    let measure = |model: &Model, what: &str| -> Result<(Identification, Used)> {
        let source = StoreRows::under(model, store, &contract, Compat::Paper, 0)?;
        let inputs = rows.iter().map(|&row| Input::Row(&source, row));
        let progress = reporter.begin(what, rows.len(), "records");
        let (mut vectors, mut used) = (Vec::new(), Used::default());
        for found in model.vectors_all(inputs, options.windows)? {
            go_on(reporter)?;
            let (own, of_record) = found?;
            // A system that gives a vector for each lead: their mean.
            let leads = own.values.len() / model.width();
            vectors.extend((0..model.width()).map(|at| {
                let each = own.values.iter().skip(at).step_by(model.width());
                each.sum::<f32>() / leads as f32
            }));
            used.add(&of_record);
            progress.add(1);
        }
        progress.finish();
        normalise(&mut vectors, model.width());
        Ok((identification(&vectors, model.width()), used))
    };
    let (found, used) = measure(model, "identify")?;
    let random_weights = match options.twin {
        None => None,
        Some(seed) => {
            let network = model.network().random_twin(seed, model.device());
            let (contract, device) = (model.preprocess().clone(), model.device());
            let twin = Model::encoder(network, contract, device, model.registry());
            Some(measure(&twin, "random weights")?.0)
        }
    };
    Ok(Identified {
        model: model.folder().map(Path::to_owned),
        data: store.dir().to_owned(),
        split: options.split.map(Split::name),
        patients: several.len(),
        with_one: order.len() - several.len(),
        used,
        found,
        random_weights,
    })
}

/// The figures of unit vectors `[patients, 2, width]`. A recording of another patient that is as near as the own one counts as nearer.
fn identification(vectors: &[f32], width: usize) -> Identification {
    let pairs: Vec<&[f32]> = vectors.chunks_exact(2 * width).collect();
    let cosines: Vec<Vec<f32>> = pairs
        .par_iter()
        .map(|probe| {
            let probe = &probe[width..];
            let of =
                |gallery: &&[f32]| gallery[..width].iter().zip(probe).map(|(a, b)| a * b).sum();
            pairs.iter().map(of).collect()
        })
        .collect();
    let patients = pairs.len();
    let nearer = |(own, all): (usize, &Vec<f32>)| {
        let others = all.iter().enumerate().filter(|&(at, _)| at != own);
        others.filter(|&(_, other)| *other >= all[own]).count()
    };
    let ranks: Vec<usize> = cosines.iter().enumerate().map(nearer).collect();
    let within = |most| ranks.iter().filter(|&&rank| rank < most).count();
    let mut own: Vec<f32> = (0..patients).map(|at| cosines[at][at]).collect();
    let others = cosines.iter().enumerate().flat_map(|(own, all)| {
        let others = all.iter().enumerate();
        others
            .filter(move |&(at, _)| at != own)
            .map(|(_, &cosine)| cosine)
    });
    let mut foreign: Vec<f32> = others.collect();
    own.sort_by(f32::total_cmp);
    foreign.sort_by(f32::total_cmp);
    // Along rising thresholds, until as many own pairs are refused as foreign ones are accepted.
    let mut equal_error_rate = 1.0f64;
    for (refused, &threshold) in own.iter().enumerate() {
        let below = foreign.partition_point(|&cosine| cosine < threshold);
        let accepted = (foreign.len() - below) as f64 / foreign.len() as f64;
        let refused = refused as f64 / own.len() as f64;
        equal_error_rate = equal_error_rate.min(accepted.max(refused));
    }
    Identification {
        top_1: Share::of(within(1), patients),
        top_5: Share::of(within(5), patients),
        equal_error_rate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patients_are_found_by_the_nearest_vector() {
        // Six patients on a circle; the sixth is found at the place of the first.
        let place = |turn: f32| [turn.cos(), turn.sin()];
        let mut vectors = Vec::new();
        for patient in 0..6 {
            vectors.extend(place(patient as f32));
            vectors.extend(place(if patient == 5 {
                0.0
            } else {
                patient as f32 + 0.1
            }));
        }
        let found = identification(&vectors, 2);
        assert!((found.top_1.value - 5.0 / 6.0).abs() < 1e-12);
        assert_eq!(found.top_5.value, 1.0);
        assert!(found.equal_error_rate > 0.0 && found.equal_error_rate <= 1.0 / 6.0);
        assert!(found.top_1.low < found.top_1.value && found.top_1.value < found.top_1.high);
        // Where all vectors are equal nobody is told apart.
        let found = identification(&[1.0, 0.0].repeat(12), 2);
        assert_eq!((found.top_1.value, found.equal_error_rate), (0.0, 1.0));
        assert!((Share::of(8, 10).low - 0.490_2).abs() < 1e-4);
    }
}
