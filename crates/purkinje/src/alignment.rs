//! How well vectors of recordings and of their texts fit: what a pre-training on pairs is judged by.

use std::collections::HashSet;

use purkinje_models::compat::Compat;
use purkinje_store::{Split, Store};

use crate::inputs::{Input, StoreRows};
use crate::model::Model;
use crate::network::RowsOfVectors;
use crate::prompts::Prompt;
use crate::reporter::Silent;
use crate::windows::WindowOptions;
use crate::zero_shot::{ZeroShotOptions, text_vectors, zero_shot};
use crate::{Error, Result};

/// Reports among which that of a recording is looked for.
const AMONG: usize = 128;

/// Finding the report of a recording among others that say something else.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Retrieval {
    /// Recordings looked at.
    pub recordings: usize,
    /// Reports in a group, of which one belongs to the recording.
    pub among: usize,
    /// The share of recordings whose own report fits best.
    pub recall_1: f64,
    /// The share of those whose own is among the ten that fit best.
    pub recall_10: f64,
    /// Mean similarity of recordings and their own reports.
    pub own: f64,
    /// Mean similarity of recordings and the other reports of their group.
    pub foreign: f64,
}

/// Looks for the texts of rows of a store among those of 128 rows (of fewer where there are not as many distinct texts). Of rows with one
/// text the first is taken; a report that fits as well as the own one counts as a better one.
///
/// # Errors
/// When the model reads no texts, the store does not fit, or there are fewer than two distinct texts.
pub fn retrieval(
    model: &Model,
    store: &Store,
    rows: &[usize],
    texts: &[String],
) -> Result<Retrieval> {
    let mut seen = HashSet::new();
    let pairs = rows.iter().zip(texts);
    let distinct: Vec<(usize, &str)> = pairs
        .filter(|(_, text)| seen.insert(text.as_str()))
        .map(|(&row, text)| (row, text.as_str()))
        .collect();
    let among = AMONG.min(distinct.len());
    if among < 2 {
        return Err(Error::invalid(format!(
            "found {} distinct texts, expected at least two to look for one among them",
            distinct.len()
        )));
    }
    let contract = model.check_store(store, &model.preprocess().leads, false)?;
    let source = StoreRows::under(model, store, &contract, Compat::Paper, 0)?;
    let width = model.width();
    let mut found = Retrieval {
        among,
        ..Retrieval::default()
    };
    for group in distinct.chunks_exact(among) {
        let inputs = group.iter().map(|&(row, _)| Input::Row(&source, row));
        let mut recordings = Vec::with_capacity(among * width);
        for vectors in model.vectors_all(inputs, WindowOptions::default())? {
            recordings.extend(vectors?.0.values);
        }
        let texts: Vec<&str> = group.iter().map(|&(_, text)| text).collect();
        let texts = text_vectors(model, &texts)?.values;
        let rows = |values| RowsOfVectors { values, width };
        let network = model.network();
        let similar = network.similarity(rows(&recordings), rows(&texts), model.device())?;
        let similar = similar.ok_or_else(|| Error::invalid("the model compares no texts"))?;
        for (own, all) in similar.chunks_exact(among).enumerate() {
            let others = all.iter().enumerate().filter(|&(at, _)| at != own);
            let better = others.filter(|&(_, other)| *other >= all[own]).count();
            found.recall_1 += f64::from(u8::from(better == 0));
            found.recall_10 += f64::from(u8::from(better < 10));
            found.own += f64::from(all[own]);
            let sum: f64 = all.iter().map(|&x| f64::from(x)).sum();
            found.foreign += (sum - f64::from(all[own])) / (among - 1) as f64;
        }
        found.recordings += among;
    }
    let count = found.recordings.max(1) as f64;
    for mean in [
        &mut found.recall_1,
        &mut found.recall_10,
        &mut found.own,
        &mut found.foreign,
    ] {
        *mean /= count;
    }
    Ok(found)
}

/// Judges models of pairs during their training.
pub struct Judge<'a> {
    /// The store.
    pub store: &'a Store,
    /// Rows with a text.
    pub rows: &'a [usize],
    /// Their texts.
    pub texts: &'a [String],
    /// A label set, and sentences for its classes.
    pub labels: Option<(String, Vec<Prompt>)>,
}

impl Judge<'_> {
    /// Retrieval, and zero-shot diagnosis of the validation split where there are labels: values for the log of a run, by name.
    ///
    /// # Errors
    /// As [`retrieval`] and [`zero_shot`].
    pub fn found(&self, model: &Model) -> Result<Vec<(&'static str, f64)>> {
        let found = retrieval(model, self.store, self.rows, self.texts)?;
        let mut values = vec![
            ("recall_among", found.among as f64),
            ("recall_1", found.recall_1),
            ("recall_10", found.recall_10),
            ("similarity_own", found.own),
            ("similarity_foreign", found.foreign),
        ];
        if let Some((task, prompts)) = &self.labels {
            let options = ZeroShotOptions {
                task: task.clone(),
                split: Split::Val,
                resamples: 0,
                twin: false,
                ..ZeroShotOptions::default()
            };
            let found = zero_shot(model, self.store, prompts, None, &options, &Silent)?;
            values.extend(
                found
                    .ranking
                    .auroc
                    .value
                    .map(|auroc| ("zero_shot_auroc", auroc)),
            );
            values.push(("label_correlation", found.label_correlation));
        }
        Ok(values)
    }
}
