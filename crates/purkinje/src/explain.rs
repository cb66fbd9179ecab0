//! Explanations: why a model gave a label its probability.
//!
//! Where a head is affine in the contributions of the leads, a logit is exactly a sum over leads. The contribution of a
//! lead is meaningful only relative to its contribution in other recordings, so it is taken relative to the mean
//! recording of the training split, which is stored with the head ([`Reference`]). The base is the logit of that mean
//! recording; the contributions are the differences of this recording from it.

use std::sync::Arc;

use purkinje_figures::explain::{self as figure, BeatAttention};
use purkinje_figures::paper::PaperOptions;
use purkinje_figures::{Svg, raster};
use purkinje_models::checkpoint::{Labels, Reference};
use purkinje_models::compat::Compat;
use purkinje_record::{Lead, LeadSet, Reader, Recording};
use purkinje_signal::Preprocess;
use purkinje_store::Store;
use serde::Serialize;

use crate::inputs::{Input, ReadOptions};
use crate::model::Model;
use crate::network::Seen;
use crate::occlusion::Occlusion;
use crate::predict::{LabelPrediction, PredictOptions, Prediction, scores};
use crate::reporter::{Reporter, go_on};
use crate::system::Stretch;
use crate::{Error, Result};

/// Largest number of training records that the mean recording is computed from; they are spread evenly over the
/// training split.
const REFERENCE_RECORDS: usize = 1024;
/// Records per batch.
const BATCH: usize = 32;

/// The logits of one recording as sums over leads.
#[derive(Clone, Debug)]
pub struct Reasons {
    leads: LeadSet,
    /// The logit of the reference recording, for each label.
    pub(crate) base: Vec<f64>,
    /// Number of records in the mean recording that is the reference; `None` where the reference is all zeros.
    records: Option<usize>,
    /// `[leads, labels]`.
    contributions: Vec<f64>,
    attention: Vec<Stretch>,
}

impl Reasons {
    pub(crate) fn of(model: &Model, labels: &Labels, seen: &[&Seen]) -> Result<Vec<Reasons>> {
        let (network, device) = (model.network(), model.device());
        let parts = network.contributions(seen, device)?;
        let attention = network.attention(seen, device)?;
        let classes = parts.bias.len();
        let Some(first) = seen.first() else {
            return Ok(Vec::new());
        };
        let leads = first.leads.len();
        let reference = labels.reference.as_ref();
        let reference = reference.filter(|r| r.fits(&first.leads.to_string(), leads * classes));
        let base: Vec<f64> = (0..classes)
            .map(|class| {
                let mean = reference.map_or(0.0, |r| {
                    r.contributions.iter().skip(class).step_by(classes).sum()
                });
                f64::from(parts.bias[class]) + mean
            })
            .collect();
        let records = parts.contributions.chunks_exact(leads * classes);
        let reasons = records
            .zip(seen)
            .zip(attention)
            .map(|((own, seen), attention)| {
                let mean = |i: usize| reference.map_or(0.0, |r| r.contributions[i]);
                let parts = own.iter().enumerate();
                Reasons {
                    leads: seen.leads.clone(),
                    base: base.clone(),
                    records: reference.map(|reference| reference.records),
                    contributions: parts.map(|(i, &part)| f64::from(part) - mean(i)).collect(),
                    attention,
                }
            });
        Ok(reasons.collect())
    }

    /// The contribution of each lead to the logit of a label, relative to the base.
    pub(crate) fn of_label(&self, label: usize) -> impl Iterator<Item = (&Lead, f64)> {
        let labels = self.base.len();
        let leads = self.leads.leads().iter().enumerate();
        leads.map(move |(lead, name)| (name, self.contributions[lead * labels + label]))
    }
}

/// The explanation of one label of one recording.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The name of the recording.
    pub id: String,
    /// The name of the label.
    pub label: String,
    /// Its probability.
    pub probability: f64,
    /// Its logit.
    pub logit: f32,
    /// The logit of the reference recording.
    pub base: f64,
    /// Number of training records whose mean is the reference; `None` where no mean is stored with the model and the
    /// reference is a recording whose features are all zero.
    pub reference_records: Option<usize>,
    /// The contribution of each lead; base and contributions sum to the logit.
    pub contributions: Vec<(Lead, f64)>,
    /// The attention of the network to stretches of the leads.
    pub attention: Vec<Attended>,
    #[serde(skip)]
    reader: Option<Arc<Reader>>,
    /// What found the R-peaks: `multi_lead`, `xqrs` or `file`; absent where no beats are cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r_peaks_by: Option<&'static str>,
    /// Seconds of its window.
    #[serde(skip)]
    window_s: f64,
}

/// A stretch of a lead, with the attention it gets.
#[derive(Clone, Debug, Serialize)]
pub struct Attended {
    /// The lead.
    pub lead: Lead,
    /// Start and end, in seconds from the start of the model's input.
    pub time_s: (f64, f64),
    /// Its attention as a multiple of uniform attention: 1 if all tokens were attended to alike.
    pub shares: f64,
}

impl Explanation {
    pub(crate) fn new(of: &Prediction, label: &LabelPrediction, reasons: &Reasons) -> Self {
        let place = of.labels.iter().position(|own| std::ptr::eq(own, label));
        let place = place.unwrap_or_default();
        let leads = reasons.leads.leads();
        let attention = reasons.attention.iter().map(|stretch| Attended {
            lead: leads[stretch.lead].clone(),
            time_s: stretch.time_s,
            shares: f64::from(stretch.weight / stretch.uniform),
        });
        Explanation {
            id: of.id.clone(),
            label: label.name.clone(),
            probability: label.probability,
            logit: label.logit,
            base: reasons.base[place],
            reference_records: reasons.records,
            contributions: reasons
                .of_label(place)
                .map(|(lead, part)| (lead.clone(), part))
                .collect(),
            attention: attention.collect(),
            reader: of.reader.clone(),
            r_peaks_by: of.r_peaks_by,
            window_s: of.windows.first().map_or(0.0, |window| window.seconds),
        }
    }

    /// The sum of base and contributions: the logit, up to rounding.
    pub fn sum(&self) -> f64 {
        self.base + self.contributions.iter().map(|(_, part)| part).sum::<f64>()
    }

    /// Draws the explanation on ECG paper.
    ///
    /// # Errors
    /// When the samples of the recording are not available (it came from a store), or it lacks a lead.
    pub fn svg(&self) -> Result<Svg> {
        let reader = self.reader.as_ref().ok_or_else(|| {
            Error::invalid(format!(
                "`{}` came from a store, which does not keep the original recording; explain the recording's own file to get a drawing",
                self.id
            ))
        })?;
        let leads = LeadSet::new(
            self.contributions
                .iter()
                .map(|(lead, _)| lead.clone())
                .collect(),
        );
        let end = (self.window_s * reader.about().rate_hz).round() as usize;
        let recording = reader
            .read(&(0..end.min(reader.len())))?
            .select(&leads)
            .map_err(|lead| Error::invalid(format!("`{}` has no lead {lead}", self.id)))?;
        let sample = |time_s: f64| (time_s * recording.rate_hz).round() as usize;
        let attention = self.attention.iter().map(|stretch| BeatAttention {
            lead: stretch.lead.clone(),
            start: sample(stretch.time_s.0),
            end: sample(stretch.time_s.1),
            shares: stretch.shares,
        });
        let drawn = figure::Explanation {
            class: self.label.clone(),
            probability: self.probability,
            base: self.base,
            reference: match self.reference_records {
                Some(records) => figure::Reference::MeanRecording { records },
                None => figure::Reference::Zero,
            },
            contributions: self.contributions.clone(),
            attention: attention.collect(),
            beats: match self.r_peaks_by {
                Some("xqrs") => Some("Beats: as the released program finds them, by XQRS in one lead at the rate of the model; P and T waves may be among them."),
                Some("file") => Some("Beats: those that the file brings."),
                _ => None,
            }
            .map(str::to_owned),
        };
        Ok(figure::draw(&recording, &PaperOptions::default(), &drawn))
    }

    /// The drawing as PNG.
    ///
    /// # Errors
    /// As [`svg`](Explanation::svg).
    pub fn png(&self) -> Result<Vec<u8>> {
        let png = raster::png(&self.svg()?, raster::CRISP_DPI / 2.0);
        png.map_err(|error| Error::invalid(error.to_string()))
    }
}

/// The records that the mean recording is computed from, among the training records.
pub(crate) fn spread(rows: &[usize]) -> Vec<usize> {
    let step = rows.len().div_ceil(REFERENCE_RECORDS).max(1);
    rows.iter().copied().step_by(step).collect()
}

impl Model {
    /// Explains one label of a recording.
    ///
    /// # Errors
    /// When the model has no such label, its logits are not sums over leads, or the recording cannot be used.
    pub fn explain(&self, recording: &Recording, label: &str) -> Result<Explanation> {
        let place = self.label(label)?;
        let options = PredictOptions {
            explain: true,
            ..PredictOptions::new()
        };
        let input = Input::Recording(Arc::new(recording.clone()));
        let mut predictions = self.predict_all([input], options)?;
        let prediction = predictions.next().unwrap_or(Err(Error::Stopped))?;
        prediction.explanation(place).ok_or_else(|| {
            Error::invalid(format!(
                "`{}`: the prediction has no explanation",
                prediction.id
            ))
        })
    }

    /// What the logits of all labels lose where a lead or a stretch of a recording is silenced: for heads of any kind.
    ///
    /// # Errors
    /// When the model has no labels, or the recording cannot be used or came from a store.
    pub fn occlude_labels(&self, input: Input<'_>, read: &ReadOptions) -> Result<Occlusion> {
        let labels = self.labelled()?;
        let plan = read.windows.plan(self, Compat::Paper)?;
        self.occlude(input, read, "logit", |seen| {
            let found = scores(self, labels, seen, plan.aggregation, false)?;
            Ok(found.into_iter().flat_map(|own| own.logits).collect())
        })
    }

    /// The position of a label among the outputs.
    ///
    /// # Errors
    /// When the model has no such label; the message names those it has.
    pub fn label(&self, name: &str) -> Result<usize> {
        let labels = self.labelled()?;
        let found = labels.classes.iter().position(|class| class.name == name);
        found.ok_or_else(|| {
            let known: Vec<&str> = labels.classes.iter().map(|c| c.name.as_str()).collect();
            Error::invalid(format!(
                "the model has no label `{name}`: its labels are {}",
                known.join(", ")
            ))
        })
    }

    /// Checks that the model's predictions can be explained.
    ///
    /// # Errors
    /// When the logits of its head are not sums over leads, or it has no head.
    pub fn check_explains(&self) -> Result<()> {
        if self.explains() {
            return Ok(());
        }
        let head = self
            .network()
            .head_name()
            .unwrap_or_else(|| "missing".to_owned());
        Err(self.registry().unsupported(
            format!("an explanation (the logits of a {head} head are not sums over leads)"),
            self.about(),
            |about| about.name != self.about().name,
        ))
    }

    /// The contributions of the mean training recording under the head of this model, to be stored with it. The mean is
    /// over at most 1,024 of the training rows, spread evenly. `None` where logits are not sums over leads.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn reference(
        &self,
        store: &Store,
        rows: &[usize],
        contract: &Preprocess,
        reporter: &dyn Reporter,
    ) -> Result<Option<Reference>> {
        if !self.explains() || rows.is_empty() {
            return Ok(None);
        }
        let chosen = spread(rows);
        let all = self
            .network()
            .rows(store, chosen.clone(), contract, Compat::Paper, 0)?;
        let mut sum: Vec<f64> = Vec::new();
        let places: Vec<usize> = (0..chosen.len()).collect();
        for places in places.chunks(BATCH) {
            go_on(reporter)?;
            let seen: Vec<Seen> = places
                .iter()
                .map(|&place| all.see(place, &(0..all.samples(place)?.0), Some(1)))
                .collect::<Result<_>>()?;
            let seen: Vec<&Seen> = seen.iter().collect();
            let parts = self.network().contributions(&seen, self.device())?;
            let each = parts.contributions.len() / seen.len();
            sum.resize(each, 0.0);
            for record in parts.contributions.chunks_exact(each) {
                sum.iter_mut()
                    .zip(record)
                    .for_each(|(s, p)| *s += f64::from(*p));
            }
        }
        let records = chosen.len();
        Ok(Some(Reference {
            records,
            leads: contract.leads.to_string(),
            contributions: sum.iter().map(|s| s / records as f64).collect(),
        }))
    }
}
