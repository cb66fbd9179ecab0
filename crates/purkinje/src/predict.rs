//! Prediction of labels with probabilities.

use std::sync::Arc;

use purkinje_eval::crops::{Aggregation, aggregate};
use purkinje_models::checkpoint::{LabelClass, Labels};
use purkinje_record::{LeadSet, Recording};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::explain::{Explanation, Reasons};
use crate::inputs::{Input, ReadOptions, Ready};
use crate::model::Model;
use crate::network::Seen;
use crate::stream::Stream;
use crate::{Error, Result};

/// How labels are predicted.
#[derive(Clone, Debug, Default)]
pub struct PredictOptions {
    /// How recordings are read, and the number of crops.
    pub read: ReadOptions,
    /// How the probabilities of crops are aggregated.
    pub aggregation: Aggregation,
    /// Whether to explain each logit by the contributions of the leads.
    pub explain: bool,
}

impl PredictOptions {
    /// One crop of each recording, with the leads of the model, without explanations.
    pub fn new() -> Self {
        PredictOptions {
            read: ReadOptions::new(),
            ..PredictOptions::default()
        }
    }
}

/// The prediction for one recording.
#[derive(Clone, Debug, Serialize)]
pub struct Prediction {
    /// The name of the recording.
    pub id: String,
    /// Path of its file as given, or the source that its store records.
    pub path: String,
    /// BLAKE3 of its files, or of the shard that holds it, in hex; empty for recordings in memory.
    pub blake3: String,
    /// The leads the model was given.
    pub leads: LeadSet,
    /// The name of the label set.
    pub task: String,
    /// One entry for each label, in the order of the model.
    pub labels: Vec<LabelPrediction>,
    /// Whether the R-peaks that beats were cut at were found in the signal; absent where no beats are cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r_peaks_detected: Option<bool>,
    #[serde(skip)]
    pub(crate) reasons: Option<Reasons>,
    #[serde(skip)]
    pub(crate) recording: Option<Arc<Recording>>,
}

/// The prediction for one label.
#[derive(Clone, Debug, Serialize)]
pub struct LabelPrediction {
    /// The name of the label.
    pub name: String,
    /// Its code in the coding system of the data set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Its probability.
    pub probability: f64,
    /// The logit of that probability.
    pub logit: f32,
    /// The decision threshold on the probability, where one was chosen.
    pub threshold: Option<f64>,
    /// Whether the probability reaches the threshold; `None` without a threshold.
    pub present: Option<bool>,
    /// The logit of the reference recording, where an explanation was requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<f64>,
    /// The contribution of each lead, by name; base and contributions sum to the logit.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub contributions: Map<String, Value>,
}

impl Prediction {
    /// Positions of the `n` most probable labels, in order of falling probability.
    pub fn most_probable(&self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.labels.len()).collect();
        order.sort_by(|&a, &b| self.labels[b].logit.total_cmp(&self.labels[a].logit));
        order.truncate(n);
        order
    }

    /// The explanation of the label at a position; `None` where explanations were not requested.
    pub fn explanation(&self, label: usize) -> Option<Explanation> {
        let reasons = self.reasons.as_ref()?;
        let own = self.labels.get(label)?;
        Some(Explanation::new(self, own, reasons))
    }
}

impl Model {
    /// The labels of recordings with their probabilities.
    ///
    /// # Errors
    /// When the model has no classification head, or for the first recording that cannot be used.
    pub fn predict<'r>(
        &self,
        recordings: impl IntoIterator<Item = &'r Recording>,
    ) -> Result<Vec<Prediction>> {
        let recordings = recordings
            .into_iter()
            .map(|r| Input::Recording(Arc::new(r.clone())));
        self.predict_all(recordings, PredictOptions::new())?
            .collect()
    }

    /// The labels of any number of recordings, one by one, in bounded memory.
    ///
    /// # Errors
    /// When the model has no classification head or does not support `options`; recordings that cannot be used are
    /// items of the iterator.
    pub fn predict_all<'a>(
        &self,
        inputs: impl IntoIterator<Item = Input<'a>>,
        options: PredictOptions,
    ) -> Result<impl Iterator<Item = Result<Prediction>>> {
        let labels = self.labelled()?;
        self.check_crops(options.read.crops)?;
        if options.explain {
            self.check_explains()?;
            if options.read.crops > 1 {
                return Err(Error::invalid(format!(
                    "`--crops` is {}, expected 1 with an explanation; leave out `--crops`",
                    options.read.crops
                )));
            }
        }
        let (aggregation, explain) = (options.aggregation, options.explain);
        let work = move |batch: Vec<Ready>| predicted(self, labels, batch, aggregation, explain);
        Ok(Stream::new(self, options.read, inputs.into_iter(), work))
    }
}

/// The probability of a logit: its sigmoid.
pub fn probability(logit: f32) -> f64 {
    1.0 / (1.0 + (-f64::from(logit)).exp())
}

/// The probabilities of logits, in single precision, as the metrics expect.
pub fn probabilities(logits: &[f32]) -> Vec<f32> {
    logits.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect()
}

fn predicted(
    model: &Model,
    labels: &Labels,
    batch: Vec<Ready>,
    aggregation: Aggregation,
    explain: bool,
) -> Result<Vec<Prediction>> {
    let seen: Vec<&Seen> = batch.iter().map(|ready| &ready.seen).collect();
    let (network, device) = (model.network(), model.device());
    let crops = seen.first().map_or(1, |seen| seen.crops);
    let mut logits = Vec::new();
    for crop in 0..crops {
        logits.extend(network.logits(&seen, crop, device)?);
    }
    let logits = aggregated(logits, crops, aggregation)?;
    let mut reasons = match explain {
        true => Reasons::of(model, labels, &seen)?
            .into_iter()
            .map(Some)
            .collect(),
        false => vec![None; batch.len()],
    };
    let classes = labels.classes.len();
    let records = batch.into_iter().zip(logits.chunks_exact(classes));
    let records = records.enumerate().map(|(place, (ready, logits))| {
        let own = reasons[place].take();
        let parts = labels.classes.iter().zip(logits).enumerate();
        Prediction {
            labels: parts
                .map(|(class, (label, &logit))| label_prediction(label, class, logit, own.as_ref()))
                .collect(),
            id: ready.id,
            path: ready.source,
            blake3: ready.blake3,
            leads: ready.seen.leads.clone(),
            task: labels.task.clone(),
            r_peaks_detected: ready.seen.beats_detected,
            reasons: own,
            recording: ready.recording,
        }
    });
    Ok(records.collect())
}

fn label_prediction(
    label: &LabelClass,
    class: usize,
    logit: f32,
    reasons: Option<&Reasons>,
) -> LabelPrediction {
    let probability = probability(logit);
    LabelPrediction {
        name: label.name.clone(),
        code: label.code.clone(),
        probability,
        logit,
        threshold: label.threshold,
        present: label.threshold.map(|threshold| probability >= threshold),
        base: reasons.map(|reasons| reasons.base[class]),
        contributions: reasons.map_or_else(Map::new, |reasons| {
            let parts = reasons.of_label(class);
            parts
                .map(|(lead, part)| (lead.name().to_owned(), json!(part)))
                .collect()
        }),
    }
}

/// Aggregates probabilities over crops; takes and returns logits, `[crop, record, label]` to `[record, label]`.
fn aggregated(logits: Vec<f32>, crops: usize, aggregation: Aggregation) -> Result<Vec<f32>> {
    if crops <= 1 {
        return Ok(logits);
    }
    // The largest probability has the largest logit.
    if aggregation == Aggregation::Max {
        return Ok(aggregate(&logits, crops, Aggregation::Max)?);
    }
    let mean = aggregate(&probabilities(&logits), crops, Aggregation::Mean)?;
    let logit = |p: f32| {
        (p / (1.0 - p).max(f32::MIN_POSITIVE))
            .max(f32::MIN_POSITIVE)
            .ln()
    };
    Ok(mean.into_iter().map(logit).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_probable_come_first() {
        let labels = [0.1, 2.0, -1.0, 0.5].map(|logit| {
            let class = LabelClass {
                name: "x".into(),
                code: None,
                threshold: Some(0.5),
            };
            label_prediction(&class, 0, logit, None)
        });
        assert_eq!(labels[1].present, Some(true));
        let prediction = Prediction {
            id: "r".into(),
            path: String::new(),
            blake3: String::new(),
            leads: LeadSet::standard_12(),
            task: "t".into(),
            labels: labels.to_vec(),
            r_peaks_detected: None,
            reasons: None,
            recording: None,
        };
        assert_eq!(prediction.most_probable(2), [1, 3]);
        assert!((probability(0.0) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn crops_are_aggregated_as_probabilities() {
        let two = vec![0.0, 2.0];
        let mean = aggregated(two.clone(), 2, Aggregation::Mean).unwrap();
        let expected = (0.5 + probability(2.0)) / 2.0;
        assert!((probability(mean[0]) - expected).abs() < 1e-6);
        assert_eq!(aggregated(two, 2, Aggregation::Max).unwrap(), [2.0]);
    }
}
