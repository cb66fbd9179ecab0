//! What a generated report must be better than: texts that were not written for the recording.

use std::collections::HashMap;

use purkinje_eval::text::{TextOptions, TextPair, text_scores};
use purkinje_models::random::Stream;
use serde::{Deserialize, Serialize};

use crate::Result;

/// Constants that are tried.
const CONSTANTS: usize = 40;

/// A way of giving every recording a text without looking at it, or with more than a network has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Baseline {
    /// The most frequent training report.
    MostFrequent,
    /// Of the 40 most frequent ones that with the best ROUGE-L on all training reports.
    BestConstant,
    /// A training report drawn at random.
    Random,
    /// The report of the training recording with the most similar vector.
    Nearest,
    /// The same by the vectors of another model.
    NearestByAnother,
    /// The same by the vectors of a network with random weights.
    NearestByRandomWeights,
    /// The most frequent report of training records with the same labels: it knows what is to be found.
    Oracle,
}

impl Baseline {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Baseline::MostFrequent => "most frequent training report",
            Baseline::BestConstant => "best constant",
            Baseline::Random => "random training report",
            Baseline::Nearest => "report of the nearest training recording",
            Baseline::NearestByAnother => "nearest by another model",
            Baseline::NearestByRandomWeights => "nearest by random weights",
            Baseline::Oracle => "oracle: most frequent report of the same labels",
        }
    }
}

/// Records as baselines see them.
#[derive(Clone, Debug, Default)]
pub struct Known<'a> {
    /// Their reports.
    pub texts: Vec<&'a str>,
    /// Their vectors, if they are known.
    pub vectors: Vec<&'a [f32]>,
    /// Those of another model, if they are known.
    pub other_vectors: Vec<&'a [f32]>,
    /// Those of random weights, if they are known.
    pub random_vectors: Vec<&'a [f32]>,
    /// Their labels, as one text, if they are known.
    pub labels: Vec<&'a str>,
}

/// Texts for `records` from `training`, for each baseline that is possible.
///
/// # Errors
/// When texts cannot be scored.
pub fn baselines(
    training: &Known<'_>,
    records: &Known<'_>,
    seed: u64,
) -> Result<Vec<(Baseline, Vec<String>)>> {
    let count = records.texts.len();
    let mut all = Vec::new();
    let ranked = most_frequent(training.texts.iter().copied());
    let Some(&(first, _)) = ranked.first() else {
        return Ok(all);
    };
    let constant = |text: &str| vec![text.to_owned(); count];
    all.push((Baseline::MostFrequent, constant(first)));
    all.push((Baseline::BestConstant, constant(best_constant(&ranked)?)));
    let mut stream = Stream::new(seed, "random reports");
    let drawn = (0..count).map(|_| training.texts[stream.below(training.texts.len())].to_owned());
    all.push((Baseline::Random, drawn.collect()));
    for (baseline, known, own) in [
        (Baseline::Nearest, &training.vectors, &records.vectors),
        (
            Baseline::NearestByAnother,
            &training.other_vectors,
            &records.other_vectors,
        ),
        (
            Baseline::NearestByRandomWeights,
            &training.random_vectors,
            &records.random_vectors,
        ),
    ] {
        if !known.is_empty() && !own.is_empty() {
            let places = nearest(known, own);
            let texts = places
                .into_iter()
                .map(|place| training.texts[place].to_owned());
            all.push((baseline, texts.collect()));
        }
    }
    if !training.labels.is_empty() && !records.labels.is_empty() {
        let mut same: HashMap<&str, Vec<&str>> = HashMap::new();
        for (labels, text) in training.labels.iter().zip(&training.texts) {
            same.entry(labels).or_default().push(text);
        }
        let best: HashMap<&str, &str> = same
            .into_iter()
            .map(|(labels, texts)| (labels, most_frequent(texts.into_iter())[0].0))
            .collect();
        let texts = records.labels.iter();
        let texts = texts.map(|labels| (*best.get(labels).unwrap_or(&first)).to_owned());
        all.push((Baseline::Oracle, texts.collect()));
    }
    Ok(all)
}

/// Distinct texts with how often they occur, the most frequent first; of equally frequent ones that which comes first in the alphabet.
fn most_frequent<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<(&'a str, usize)> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for text in texts {
        *counts.entry(text).or_default() += 1;
    }
    let mut all: Vec<(&str, usize)> = counts.into_iter().collect();
    all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    all
}

/// Of the first texts that which is most like all of them; of equally good ones the first. A sample would choose by chance where
/// reports are few, and a weak constant flatters what stands beside it.
fn best_constant<'a>(ranked: &[(&'a str, usize)]) -> Result<&'a str> {
    let mut best = ("", -1.0);
    for &(text, _) in ranked.iter().take(CONSTANTS) {
        let pairs = ranked.iter().map(|(reference, _)| TextPair {
            id: "",
            reference,
            generated: text,
        });
        let found = text_scores(&pairs.collect::<Vec<_>>(), &TextOptions::default())?;
        let each = found.pairs.iter().zip(ranked);
        let sum: f64 = each
            .map(|(own, (_, times))| own.rouge_l.f1 * *times as f64)
            .sum();
        if sum > best.1 {
            best = (text, sum);
        }
    }
    Ok(best.0)
}

/// For each vector the place of the one with the largest cosine; the first of equal ones.
fn nearest(known: &[&[f32]], own: &[&[f32]]) -> Vec<usize> {
    use rayon::prelude::*;
    let unit = |vector: &[f32]| -> Vec<f32> {
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
        vector.iter().map(|x| x / length).collect()
    };
    let known: Vec<Vec<f32>> = known.iter().map(|vector| unit(vector)).collect();
    own.par_iter()
        .map(|vector| {
            let vector = unit(vector);
            let mut best = (0, f32::NEG_INFINITY);
            for (place, other) in known.iter().enumerate() {
                let cosine: f32 = vector.iter().zip(other).map(|(a, b)| a * b).sum();
                if cosine > best.1 {
                    best = (place, cosine);
                }
            }
            best.0
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_baseline_gives_every_record_a_text() {
        let training = Known {
            texts: vec![
                "sinus rhythm. normal ecg",
                "sinus rhythm. normal ecg",
                "atrial fibrillation",
            ],
            vectors: vec![&[1.0, 0.0], &[1.0, 0.1], &[0.0, 1.0]],
            other_vectors: vec![&[1.0], &[1.0], &[-1.0]],
            labels: vec!["NORM", "NORM", "AFIB"],
            ..Known::default()
        };
        let records = Known {
            texts: vec!["x", "y", "z"],
            vectors: vec![&[0.0, 2.0], &[3.0, 0.0], &[1.0, 0.1]],
            other_vectors: vec![&[2.0], &[-2.0], &[1.0]],
            labels: vec!["AFIB", "NORM", "WPW"],
            ..Known::default()
        };
        let found = baselines(&training, &records, 0).unwrap();
        let names: Vec<Baseline> = found.iter().map(|(name, _)| *name).collect();
        assert!(!names.contains(&Baseline::NearestByRandomWeights));
        let of = |name| &found.iter().find(|(own, _)| *own == name).unwrap().1;
        let (normal, fibrillation) = ("sinus rhythm. normal ecg", "atrial fibrillation");
        assert_eq!(of(Baseline::MostFrequent), &[normal; 3]);
        assert_eq!(of(Baseline::BestConstant), &[normal; 3]);
        assert_eq!(of(Baseline::Nearest), &[fibrillation, normal, normal]);
        assert_eq!(
            of(Baseline::NearestByAnother),
            &[normal, fibrillation, normal]
        );
        assert_eq!(of(Baseline::Oracle), &[fibrillation, normal, normal]);
        assert!(found.iter().all(|(_, texts)| texts.len() == 3));
        assert!(
            baselines(&Known::default(), &records, 0)
                .unwrap()
                .is_empty()
        );
    }
    #[test]
    fn the_best_constant_is_most_like_all_reports_not_the_commonest() {
        let texts = [
            "pacemaker",
            "pacemaker",
            "sinus rhythm left axis",
            "sinus rhythm normal axis",
            "sinus rhythm right axis",
        ];
        let ranked = most_frequent(texts.into_iter());
        assert_eq!(ranked[0], ("pacemaker", 2));
        assert_eq!(best_constant(&ranked).unwrap(), "sinus rhythm left axis");
        let often = most_frequent(texts.into_iter().chain(["pacemaker"; 3]));
        assert_eq!(best_constant(&often).unwrap(), "pacemaker");
    }
}
