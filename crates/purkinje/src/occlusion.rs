//! Explanation of any score by what it loses where a part of the recording is silenced.

use std::sync::Arc;

use purkinje_figures::explain::{self as figure, BeatAttention, Reference};
use purkinje_figures::paper::PaperOptions;
use purkinje_figures::{Svg, raster};
use purkinje_models::compat::Compat;
use purkinje_record::{Lead, LeadSet, Reader};
use purkinje_signal::Prepared;
use purkinje_signal::windows::Take;
use serde::Serialize;

use crate::inputs::{Input, ReadOptions};
use crate::model::Model;
use crate::network::Seen;
use crate::{Error, Result};

/// Seconds of a stretch that is silenced.
const STRETCH_S: f64 = 0.2;
/// Inputs of a pass.
const BATCH: usize = 32;

/// What scores of one recording lose without parts of it.
#[derive(Clone, Debug, Serialize)]
pub struct Occlusion {
    /// The name of the recording.
    pub id: String,
    /// What the scores are called: logit, similarity.
    pub name: &'static str,
    /// The scores of the whole recording.
    pub scores: Vec<f32>,
    /// For each lead by how much the scores fall where it is zero.
    pub leads: Vec<(Lead, Vec<f32>)>,
    /// For each stretch, with start and end in seconds from the start of the model's input, by how much the scores fall where all leads are
    /// zero in it.
    pub stretches: Vec<((f64, f64), Vec<f32>)>,
    #[serde(skip)]
    reader: Option<Arc<Reader>>,
    /// Seconds of the window.
    #[serde(skip)]
    window_s: f64,
}

impl Model {
    /// Silences each lead of a recording, then each stretch of 200 ms in all leads, and compares `scores`, called `name`, of what the network
    /// sees: `[inputs, scores]`. The first window of a recording is taken.
    ///
    /// # Errors
    /// When the recording cannot be used, came from a store, or scores cannot be computed.
    pub fn occlude(
        &self,
        input: Input<'_>,
        read: &ReadOptions,
        name: &'static str,
        scores: impl Fn(&[&Seen]) -> Result<Vec<f32>>,
    ) -> Result<Occlusion> {
        let mut read = read.clone();
        read.windows.take = Some(Take::First);
        let plan = read.windows.plan(self, Compat::Paper)?;
        let opened = input.open(self, &read, &plan)?;
        let (whole, contract) = opened.prepared(0)?;
        let samples = whole.rows.len() / whole.leads.len().max(1);
        let of_stretch = ((STRETCH_S * whole.rate_hz).round() as usize).max(1);
        let stretches: Vec<_> = (0..samples)
            .step_by(of_stretch)
            .map(|start| start..samples.min(start + of_stretch))
            .collect();
        let leads = whole.leads.len();
        // The whole first, then without each lead, then without each stretch.
        let without = |number: usize| -> Prepared {
            let mut part = whole.clone();
            let rows = part.rows.chunks_exact_mut(samples.max(1)).enumerate();
            for (lead, row) in rows {
                match number.checked_sub(1) {
                    None => {}
                    Some(own) if own == lead => row.fill(0.0),
                    Some(own) if own < leads => {}
                    Some(own) => row[stretches[own - leads].clone()].fill(0.0),
                }
            }
            part
        };
        let all: Vec<usize> = (0..1 + leads + stretches.len()).collect();
        let mut found = Vec::new();
        for numbers in all.chunks(BATCH) {
            let seen = numbers.iter().map(|&number| {
                let seen = self.network().see(&without(number), contract, plan.crops);
                seen.map_err(|reason| Error::invalid(format!("`{}`: {reason}", opened.source)))
            });
            let seen: Vec<Seen> = seen.collect::<Result<_>>()?;
            let own = scores(&seen.iter().collect::<Vec<_>>())?;
            let width = own.len() / seen.len();
            found.extend(own.chunks_exact(width.max(1)).map(<[f32]>::to_vec));
        }
        let base = found[0].clone();
        let fall = |own: &Vec<f32>| {
            base.iter()
                .zip(own)
                .map(|(whole, own)| whole - own)
                .collect()
        };
        let names = whole.leads.leads().iter().cloned();
        let seconds = |sample: usize| sample as f64 / whole.rate_hz;
        let places = stretches
            .iter()
            .map(|own| (seconds(own.start), seconds(own.end)));
        Ok(Occlusion {
            leads: names.zip(found[1..=leads].iter().map(fall)).collect(),
            stretches: places.zip(found[1 + leads..].iter().map(fall)).collect(),
            scores: base,
            name,
            window_s: seconds(samples),
            reader: opened.reader.clone(),
            id: opened.id,
        })
    }
}

impl Occlusion {
    /// Draws what score `number`, called `title`, loses, on ECG paper.
    ///
    /// # Errors
    /// When the samples of the recording are not at hand, or it lacks a lead.
    pub fn svg(&self, number: usize, title: &str) -> Result<Svg> {
        let reader = self
            .reader
            .as_ref()
            .ok_or_else(|| Error::invalid(format!("`{}`: its samples are not at hand", self.id)))?;
        let leads = LeadSet::new(self.leads.iter().map(|(lead, _)| lead.clone()).collect());
        let end = (self.window_s * reader.about().rate_hz).round() as usize;
        let recording = reader
            .read(&(0..end.min(reader.len())))?
            .select(&leads)
            .map_err(|lead| Error::invalid(format!("`{}` has no lead {lead}", self.id)))?;
        let sample = |time_s: f64| (time_s * recording.rate_hz).round() as usize;
        let most = self.stretches.iter().map(|(_, falls)| falls[number]);
        let most = f64::from(most.fold(0.0, f32::max));
        // As shares of attention, 3 of which are the darkest: what does not fall is not shaded.
        let shaded = self.stretches.iter().flat_map(|((start, end), falls)| {
            let shares = 1.0 + 2.0 * f64::from(falls[number]) / most.max(f64::MIN_POSITIVE);
            leads.leads().iter().map(move |lead| BeatAttention {
                lead: lead.clone(),
                start: sample(*start),
                end: sample(*end),
                shares: shares.max(0.0),
            })
        });
        let drawn = figure::Explanation {
            class: title.to_owned(),
            reference: Reference::Silenced {
                score: f64::from(self.scores[number]),
                name: self.name,
                stretch_s: STRETCH_S,
                most,
            },
            contributions: self
                .leads
                .iter()
                .map(|(lead, falls)| (lead.clone(), f64::from(falls[number])))
                .collect(),
            attention: shaded.collect(),
            ..figure::Explanation::default()
        };
        Ok(figure::draw(&recording, &PaperOptions::default(), &drawn))
    }

    /// The drawing as PNG.
    ///
    /// # Errors
    /// As [`Occlusion::svg`].
    pub fn png(&self, number: usize, title: &str) -> Result<Vec<u8>> {
        let png = raster::png(&self.svg(number, title)?, raster::CRISP_DPI / 2.0);
        png.map_err(|error| Error::invalid(error.to_string()))
    }
}
