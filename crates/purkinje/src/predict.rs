//! Prediction of labels with probabilities.

use std::sync::Arc;

use purkinje_eval::crops::Aggregation;
use purkinje_models::checkpoint::{LabelClass, Labels};
use purkinje_models::compat::Compat;
use purkinje_record::{LeadSet, Reader, Recording};
use purkinje_signal::windows::Take;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::explain::{Explanation, Reasons};
use crate::inputs::{Input, ReadOptions};
use crate::model::Model;
use crate::network::Seen;
use crate::stream::{Stream, Whole};
use crate::windows::{Used, Window, together};
use crate::{Error, Result};

/// How labels are predicted.
#[derive(Clone, Debug, Default)]
pub struct PredictOptions {
    /// How recordings are read, and how much of them the model is given.
    pub read: ReadOptions,
    /// Whether to explain each logit by the contributions of the leads. An explanation is one of a single window in a single crop.
    pub explain: bool,
}

impl PredictOptions {
    /// All of each recording, with the leads of the model, without explanations.
    pub fn new() -> Self {
        PredictOptions::default()
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
    /// Signals by names that are no known lead, where the leads that are there were asked for: a model sees nothing of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_aside: Vec<String>,
    /// Limb leads that the file does not hold and that were computed from two others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub derived: Vec<String>,
    /// The name of the label set.
    pub task: String,
    /// One entry for each label, in the order of the model.
    pub labels: Vec<LabelPrediction>,
    /// Whether the R-peaks that beats were cut at were found in the signal, in every window; absent where no beats are cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r_peaks_detected: Option<bool>,
    /// What found the R-peaks: `multi_lead`, `xqrs` or `file`; absent where no beats are cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r_peaks_by: Option<&'static str>,
    /// How much of the recording was used.
    #[serde(flatten)]
    pub used: Used,
    /// The probabilities of each window.
    #[serde(skip)]
    pub windows: Vec<Window<Vec<f32>>>,
    #[serde(skip)]
    pub(crate) reasons: Option<Reasons>,
    #[serde(skip)]
    pub(crate) reader: Option<Arc<Reader>>,
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
        let PredictOptions { mut read, explain } = options;
        if explain {
            self.check_explains()?;
            let own = &mut read.windows;
            for (name, found, expected) in [
                ("--crops", own.crops.map(|n| n.to_string()), "1"),
                ("--windows", own.take.map(String::from), "first"),
            ] {
                if let Some(found) = found.filter(|found| found != expected) {
                    return Err(Error::invalid(format!(
                        "`{name}` is {found}, expected {expected} with an explanation, which is one of a single input; leave out `{name}`"
                    )));
                }
            }
            (own.crops, own.take) = (Some(1), Some(Take::First));
        }
        let plan = read.windows.plan(self, Compat::Paper)?;
        let work = move |seen: &[&Seen]| scores(self, labels, seen, plan.aggregation, explain);
        let finish = move |whole| predicted(labels, whole, plan.aggregation);
        Ok(Stream::new(
            self,
            read,
            plan,
            inputs.into_iter(),
            work,
            finish,
        ))
    }

    /// The logits of any number of recordings, aggregated over their windows.
    pub(crate) fn logits_all<'a>(
        &self,
        inputs: impl IntoIterator<Item = Input<'a>>,
        options: ReadOptions,
        compat: Compat,
    ) -> Result<impl Iterator<Item = Result<(Vec<f32>, Used)>>> {
        let labels = self.labelled()?;
        let plan = options.windows.plan(self, compat)?;
        let work = move |seen: &[&Seen]| scores(self, labels, seen, plan.aggregation, false);
        let finish = move |whole: Whole<'a, Scores>| {
            let logits = logits_of(&whole.windows, plan.aggregation)?;
            Ok((logits, whole.used))
        };
        let inputs = inputs.into_iter();
        Ok(Stream::new(self, options, plan, inputs, work, finish))
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

/// What a window gives.
pub(crate) struct Scores {
    pub(crate) logits: Vec<f32>,
    reasons: Option<Reasons>,
}

/// The logits of windows that fit into one batch, each aggregated over its crops.
pub(crate) fn scores(
    model: &Model,
    labels: &Labels,
    seen: &[&Seen],
    aggregation: Aggregation,
    explain: bool,
) -> Result<Vec<Scores>> {
    let (network, device) = (model.network(), model.device());
    let crops = seen.first().map_or(0, |seen| seen.crops_s.len());
    let crops = (0..crops).map(|crop| network.logits(seen, crop, device));
    let crops = crops.collect::<Result<Vec<_>>>()?;
    let mut reasons = match explain {
        true => Reasons::of(model, labels, seen)?,
        false => Vec::new(),
    }
    .into_iter();
    let classes = labels.classes.len();
    let scores = (0..seen.len()).map(|window| {
        let own = window * classes..(window + 1) * classes;
        let parts: Vec<&[f32]> = crops.iter().map(|crop| &crop[own.clone()]).collect();
        Ok(Scores {
            logits: together(&parts, aggregation)?,
            reasons: reasons.next(),
        })
    });
    scores.collect()
}

fn logits_of(windows: &[Window<Scores>], aggregation: Aggregation) -> Result<Vec<f32>> {
    let parts: Vec<&[f32]> = windows.iter().map(|window| &*window.value.logits).collect();
    together(&parts, aggregation)
}

fn predicted(
    labels: &Labels,
    whole: Whole<'_, Scores>,
    aggregation: Aggregation,
) -> Result<Prediction> {
    let Whole {
        record,
        mut windows,
        used,
        leads,
    } = whole;
    let logits = logits_of(&windows, aggregation)?;
    let reasons = windows.first_mut().and_then(|w| w.value.reasons.take());
    let classes = labels.classes.iter().zip(logits).enumerate();
    let detected = |window: &Window<Scores>| window.beats.map(|beats| beats.found > 0);
    Ok(Prediction {
        labels: classes
            .map(|(class, (label, logit))| label_prediction(label, class, logit, reasons.as_ref()))
            .collect(),
        id: record.id,
        path: record.source,
        blake3: record.blake3,
        leads,
        left_aside: record.left_aside,
        derived: record.derived.iter().map(ToString::to_string).collect(),
        task: labels.task.clone(),
        r_peaks_detected: windows.iter().filter_map(detected).reduce(|a, b| a && b),
        r_peaks_by: used.beats.map(|_| record.beats_by),
        used,
        reasons,
        reader: record.reader,
        windows: windows
            .into_iter()
            .map(|window| window.map(|scores| probabilities(&scores.logits)))
            .collect(),
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_probable_come_first() {
        let labels = [0.1, 2.0, -1.0, 0.5].map(|logit| {
            let class = LabelClass {
                training_positives: None,
                name: "x".into(),
                description: None,
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
            left_aside: Vec::new(),
            derived: Vec::new(),
            task: "t".into(),
            labels: labels.to_vec(),
            r_peaks_detected: None,
            r_peaks_by: None,
            used: Used::default(),
            windows: Vec::new(),
            reasons: None,
            reader: None,
        };
        assert_eq!(prediction.most_probable(2), [1, 3]);
        assert!((probability(0.0) - 0.5).abs() < 1e-12);
    }
}
